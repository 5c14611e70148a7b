"""What a nowcast is put together from: fields by hand, coefficients, sides of any length."""

import math

import pytest
import torch

from xearthformer.models.layers import flow
from xearthformer.models.nowcast.network import (
    BANDS,
    FIELDS,
    HEAVY,
    PARAMETERS,
    Coefficients,
    UNet,
    autoregression,
    fields,
)

CHANGED, GROWN, HEAVY_AROUND, WET_AROUND, ONES, SPROG = range(BANDS, FIELDS)
LEADS = 3


def random_frames(size=(24, 32)):
    x_BTHW = torch.rand(1, 4, *size, generator=torch.Generator().manual_seed(0)) - 0.3
    return x_BTHW.clamp(min=0), torch.ones(1, 4, *size, dtype=torch.bool)


def test_bands_add_up_to_the_last_frame():
    x_BTHW, seen_BTHW = random_frames()
    seen_BTHW[..., :10] = False
    x_BTHW = x_BTHW * seen_BTHW
    found = fields(x_BTHW, seen_BTHW, LEADS).at(0)
    assert found.shape == (1, FIELDS, 24, 32)
    torch.testing.assert_close(found[:, :BANDS].sum(dim=1), x_BTHW[:, -1])


def test_changes_by_hand():
    """Frames 2, unseen, 4, 6: their mean is 4, two below the last; from 2 they grew to 5."""
    x_BTHW = torch.tensor([2.0, 0.0, 4.0, 6.0]).view(1, 4, 1, 1).expand(1, 4, 24, 24)
    seen_BTHW = torch.ones_like(x_BTHW, dtype=torch.bool)
    seen_BTHW[:, 1] = False
    found = fields(x_BTHW, seen_BTHW, LEADS).at(0)[0, :, 12, 12]
    assert found[[CHANGED, GROWN, HEAVY_AROUND, WET_AROUND, ONES]].tolist() == pytest.approx(
        [-2.0, 3.0, 1.0, 1.0, 1.0]
    )
    seen_BTHW[:, 0] = False  # of what came before nothing is known, and so nothing grew
    found = fields(x_BTHW * seen_BTHW, seen_BTHW, LEADS).at(0)
    assert found[0, GROWN].abs().max() == 0


def test_means_around_are_of_what_is_seen_alone():
    """The same rain all over, a stripe of it out of sight: no mean has less beside it."""
    x_BTHW, seen_BTHW = torch.full((1, 4, 24, 40), 0.5), torch.ones(1, 4, 24, 40, dtype=torch.bool)
    seen_BTHW[..., 10:14] = False
    found = fields(x_BTHW * seen_BTHW, seen_BTHW, LEADS).at(0)[0]
    there = seen_BTHW[0, -1]
    for band in range(BANDS - 1):
        assert found[band][there].abs().max() < 1e-5
    torch.testing.assert_close(found[BANDS - 1], torch.full((24, 40), 0.5))
    torch.testing.assert_close(found[WET_AROUND], torch.ones(24, 40))
    assert found[HEAVY_AROUND].abs().max() == 0 and HEAVY > 0.5


def test_mirrored_frames_have_mirrored_fields():
    x_BTHW, seen_BTHW = random_frames()
    found = fields(x_BTHW, seen_BTHW, LEADS).at(2)
    for dim in (-1, -2):
        mirrored = fields(x_BTHW.flip(dim), seen_BTHW.flip(dim), LEADS).at(2)
        torch.testing.assert_close(mirrored, found.flip(dim))


def test_every_other_pixel_of_the_fields():
    found = fields(*random_frames(), LEADS)
    torch.testing.assert_close(found.every(2).at(1), found.at(1)[..., ::2, ::2])


def test_an_autoregression_by_hand():
    """Correlations of .8 over one step and .5 over two: the Yule-Walker equations give the rest."""
    last, across, beyond = (
        torch.tensor(row).view(1, 4)
        for row in ([1.0, 1, -1, -1], [1.0, -1, 1, -1], [1.0, -1, -1, 1])
    )
    before = 0.8 * last + 0.6 * across
    earlier = 0.5 * last + 0.75**0.5 * beyond
    bands_BTNHW = torch.stack([earlier, before, last])[None, :, None]
    seen_BTHW = torch.ones(1, 3, 1, 4, dtype=torch.bool)
    weights_LN2 = autoregression(bands_BTNHW, seen_BTHW, 2)[0]
    first, second = 0.8 * (1 - 0.5) / (1 - 0.64), (0.5 - 0.64) / (1 - 0.64)
    assert weights_LN2[0, 0].tolist() == pytest.approx([first, second], rel=1e-5)
    expected = [first * first + second, first * second]
    assert weights_LN2[1, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_what_stays_as_it_is_is_forecast_to_stay_and_what_does_not_to_go():
    x_BTHW, seen_BTHW = random_frames((64, 64))
    still = x_BTHW[:, -1:].expand(-1, 4, -1, -1)
    torch.testing.assert_close(
        fields(still, seen_BTHW, 12).at(11)[:, SPROG], x_BTHW[:, -1], atol=0.01, rtol=0
    )
    left = fields(x_BTHW, seen_BTHW, 12).at(11)[0, SPROG]  # frames of noise
    assert left.std() < 0.1 * x_BTHW[:, -1].std()
    assert fields(torch.zeros_like(x_BTHW), seen_BTHW, 12).at(11)[:, SPROG].abs().max() == 0


def test_of_pixels_that_were_not_seen_nothing_is_compared():
    x_BTHW, seen_BTHW = random_frames((64, 64))
    x_BTHW = x_BTHW[:, -1:].repeat(1, 4, 1, 1)
    seen_BTHW[:, -2, :, :16] = False
    found = fields(x_BTHW * seen_BTHW, seen_BTHW, 12).at(11)[0, SPROG, :, 40:]
    torch.testing.assert_close(found, x_BTHW[0, -1, :, 40:], atol=0.02, rtol=0)


def coefficients():
    torch.manual_seed(0)
    return Coefficients(in_len=4, out_len=3, widths=(8, 16), functions=5).requires_grad_(False)


def test_without_weights_the_middle_is_the_forecast_of_sprog():
    network = coefficients()
    network.unet.last.weight.zero_()
    x_BTHW, seen_BTHW = random_frames()
    mixed_BChw = network(x_BTHW, seen_BTHW)
    assert mixed_BChw.shape == (1, PARAMETERS * FIELDS * 5, 6, 8)
    of_frames = fields(x_BTHW, seen_BTHW, LEADS)
    for lead in range(LEADS):
        middle, log_width, dry = network.parameters_at(mixed_BChw, of_frames.at(lead), lead)[0]
        torch.testing.assert_close(middle, of_frames.at(lead)[0, SPROG])
        torch.testing.assert_close(log_width, torch.full((24, 32), math.log(0.35)))
        torch.testing.assert_close(dry, -1 - 2 * of_frames.at(lead)[0, WET_AROUND])


def test_coefficients_are_functions_of_the_lead_mixed_and_linear_between_coarse_pixels():
    network = coefficients()
    network.everywhere_LPD.zero_()
    x_BTHW, seen_BTHW = random_frames()
    of_frames = fields(x_BTHW, seen_BTHW, LEADS)
    mixed_BChw = torch.zeros(1, PARAMETERS * FIELDS * 5, 6, 8)
    mixed = mixed_BChw.unflatten(1, (PARAMETERS, FIELDS, 5))
    mixed[:, 1, ONES, 1] = torch.arange(8.0)  # the lead itself, more of it to the right
    coarse = network.parameters_at(mixed_BChw, of_frames.at(1), 1)
    expected = 2 / 3 * flow.finer(torch.arange(8.0).expand(1, 1, 6, 8), (24, 32))[0, 0]
    torch.testing.assert_close(coarse[0, 1], expected)
    assert not coarse[0, [0, 2]].any()
    fine = network.parameters_at(flow.finer(mixed_BChw, (24, 32)), of_frames.at(1), 1)
    torch.testing.assert_close(fine, coarse)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 9)])
def test_a_unet_of_sides_of_any_length(size):
    assert UNet(3, 5, (8, 16, 24))(torch.zeros(2, 3, *size)).shape == (2, 5, *size)
