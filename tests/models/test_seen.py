"""Gaps of frames and pixels closed along the motion, and what is known of what comes after."""

import pytest
import torch

from xearthformer.models import build
from xearthformer.models.layers import flow, seen

H, W = 64, 96


def blob(x, size=(H, W)):
    """A round shower at row 30 and column x."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    return torch.exp(-((rows - 30) ** 2 + (columns - x) ** 2) / 72)


def moving(frames=6, speed=3.0):
    """A shower that moves 3 pixels a frame to the right (1, T, H, W)."""
    return torch.stack([blob(30 + speed * k) for k in range(frames)])[None]


def uniform(speed=3.0):
    v_B2hw = torch.zeros(1, 2, H // flow.COARSE, W // flow.COARSE)
    v_B2hw[:, 0] = speed / flow.COARSE
    return v_B2hw


def everywhere(x_BTHW):
    return torch.ones_like(x_BTHW, dtype=torch.bool)


def test_a_missing_frame_is_not_zero_rain_for_the_motion():
    x_BTHW = moving()
    whole = flow.motion(x_BTHW)
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[:, 3:5] = False  # the two before the last
    gappy = flow.motion(x_BTHW * seen_BTHW, seen_BTHW)
    near = (slice(None), 0, slice(5, 10), slice(9, 14))  # cells under the shower
    torch.testing.assert_close(gappy[near], whole[near], atol=0.1, rtol=0)
    as_zero = flow.motion(x_BTHW * seen_BTHW)
    assert (as_zero[near] - whole[near]).abs().mean() > 0.2  # what reading zeros would give


def test_two_frames_tell_the_motion_and_one_tells_none():
    x_BTHW = moving()
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[:, :4] = False
    v = flow.COARSE * flow.motion(x_BTHW * seen_BTHW, seen_BTHW)[0, 0, 7, 11]
    assert v == pytest.approx(3.0, abs=0.4)
    seen_BTHW[:, :5] = False
    assert not flow.motion(x_BTHW * seen_BTHW, seen_BTHW).any()


def test_the_edge_of_what_is_seen_does_not_stand_still():
    """Rain cut off by the edge of the radar: the edge stays, the rain moves on."""
    x_BTHW = moving()
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[..., :33] = False  # through the shower
    v = flow.COARSE * flow.motion(x_BTHW * seen_BTHW, seen_BTHW)[0, 0, 7, 11]
    assert v == pytest.approx(3.0, abs=0.4)
    cut = flow.COARSE * flow.motion(x_BTHW * seen_BTHW)[0, 0, 7, 11]
    assert cut < v - 0.2


def test_a_row_has_the_same_bits_whatever_its_neighbours_lack():
    x_BTHW = moving().repeat(2, 1, 1, 1)
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[1, 3] = False
    both = flow.motion(x_BTHW * seen_BTHW, seen_BTHW)
    assert torch.equal(both[:1], flow.motion(x_BTHW[:1]))


def test_missing_frames_are_the_nearest_moved_to_their_time():
    x_BTHW = moving()
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[:, [0, 3, 5]] = False  # the first, one between, the last
    filled, there = seen.complete(x_BTHW * seen_BTHW, seen_BTHW, uniform())
    inside = slice(8, W - 8)  # what moves in from beyond the edge is not seen
    torch.testing.assert_close(filled[..., inside], x_BTHW[..., inside], atol=0.02, rtol=0)
    assert there[..., inside].all()
    assert not there[0, 5, :, :3].any()  # moved in over the left edge


def test_pixels_the_last_frame_lacks_come_from_the_frame_that_has_them():
    x_BTHW = moving()
    seen_BTHW = everywhere(x_BTHW)
    seen_BTHW[:, -1, :, 40:50] = False  # one radar is off
    seen_BTHW[..., :, 90:] = False  # nobody ever sees this
    filled, there = seen.complete(x_BTHW * seen_BTHW, seen_BTHW, uniform())
    torch.testing.assert_close(filled[0, -1, :, 40:50], x_BTHW[0, -1, :, 40:50], atol=0.02, rtol=0)
    assert there[0, -1, :, 40:50].all()
    assert not there[0, 0, :, 90:].any()


def test_known_falls_from_one_to_none_over_two_dozen_pixels():
    frame_BHW = torch.full((1, H, W), 2.0)
    seen_BHW = torch.ones(1, H, W, dtype=torch.bool)
    seen_BHW[..., 40:] = False
    on_BHW, known_BHW, mean_B = seen.continued(frame_BHW * seen_BHW, seen_BHW)
    assert mean_B.item() == 2.0
    torch.testing.assert_close(on_BHW, frame_BHW, atol=1e-4, rtol=0)
    row = known_BHW[0, 32]
    assert (row[:40] == 1).all() and (row[64:] == 0).all()
    assert (row[39:64].diff() <= 0).all() and 0.9 < row[40] < 1


def test_what_is_known_moves_on():
    known_BHW = torch.ones(1, H, W)
    known_BLHW = seen.carried(known_BHW, uniform(speed=4.0), lead=3)
    for lead in range(3):  # 4 pixels a step come in over the left edge
        edge = 4 * (lead + 1)
        assert (known_BLHW[0, lead, :, edge:] > 0.99).all()
        assert (known_BLHW[0, lead, :, : edge - 1] == 0).all()


def test_random_rain_has_the_values_and_the_spectrum_of_the_frame():
    generator = torch.Generator().manual_seed(0)
    field = flow.smooth(torch.randn(1, 1, H, W, generator=generator), 3.0)[0, 0]
    rain_HW = (field / field.std() - 0.5).clamp(min=0)
    whole = torch.ones_like(rain_HW, dtype=torch.bool)
    drawn = [seen.random_rain(rain_HW, whole, torch.Generator().manual_seed(k)) for k in (1, 2)]
    for drawn_HW in drawn:
        torch.testing.assert_close(
            drawn_HW.flatten().sort().values, rain_HW.flatten().sort().values
        )
    correlation = torch.corrcoef(torch.stack([rain_HW.flatten(), *(d.flatten() for d in drawn)]))
    assert correlation.triu(1).abs().max() < 0.3  # no copy, no mirror image, and not the same twice

    def neighbours(x_HW):
        return torch.corrcoef(torch.stack([x_HW[:, 1:].flatten(), x_HW[:, :-1].flatten()]))[0, 1]

    assert neighbours(drawn[0]) == pytest.approx(float(neighbours(rain_HW)), abs=0.1)
    again = seen.random_rain(rain_HW, whole, torch.Generator().manual_seed(1))
    assert torch.equal(again, drawn[0])
    assert not seen.random_rain(torch.zeros(H, W), whole).any()


def test_rain_that_is_cut_off_by_an_edge_draws_no_streaks():
    """Streaks along x, of rain that gets heavier towards the lower edge: power where k_x is 0."""
    noise_HW = torch.randn(1, 1, 80, 80, generator=torch.Generator().manual_seed(0))
    field_HW = flow.smooth(noise_HW, 4.0)[0, 0, 8:72, 8:72]
    rain_HW = (field_HW / field_HW.std() + 1).clamp(min=0) * torch.linspace(0, 3, 64)[:, None]
    whole = torch.ones_like(rain_HW, dtype=torch.bool)
    for seed in range(3):
        drawn_HW = seen.random_rain(rain_HW, whole, torch.Generator().manual_seed(seed))
        power_HW = torch.fft.fft2(drawn_HW).abs() ** 2
        assert power_HW[8:-8, 0].sum() < 2 * power_HW[8:-8, 8:-8].sum()  # 4 times, without fading


def test_a_nowcast_fades_to_the_mean_of_what_was_seen():
    """A shower that moves 8 pixels a frame: what comes in behind it is not known."""
    torch.manual_seed(0)
    model = build("nowcast", "tiny").eval().requires_grad_(False)
    model.network.unet.last.weight.zero_()  # an extrapolation, sure of what is dry
    model.network.everywhere_LPD[:, 1, -2] = -1.5
    model.network.everywhere_LPD[:, 2, -3:-1] = torch.tensor([-12.0, 6.0])
    frames = [(2 * blob(40 + 8 * k, (64, 128)) - 0.1).clamp(min=0) for k in range(4)]
    x_BTHWC = torch.stack(frames)[None, ..., None]
    y, known = model.predict(x_BTHWC)[0, ..., 0], model.known(model.past(x_BTHWC), 3)[0]
    assert known.shape == (3, 64, 128) and known.min() >= 0 and known.max() <= 1
    mean = frames[-1].mean()
    unknown = known[-1] == 0
    assert unknown.sum() > 100
    torch.testing.assert_close(y[-1][unknown], mean.expand(int(unknown.sum())), atol=1e-3, rtol=0)
    far = torch.ones(64, 128, dtype=torch.bool)
    far[:, 24:112] = False  # dry, and where it is known not a trace of the mean may be left
    assert not y[0][far & (known[0] == 1)].any()
    peak = divmod(int(y[-1].argmax()), 128)
    assert abs(peak[0] - 30) <= 2 and abs(peak[1] - (40 + 8 * 6)) <= 4


def test_members_over_the_edge_are_drawn_and_differ():
    """Where rain comes from beyond the domain two members differ, and none mirrors the domain."""
    v_B2hw = uniform(speed=8.0)
    still_BLHW = moving(1).expand(1, 3, H, W)
    known_BHW = torch.ones(1, H, W)
    fields = [
        seen.random_rain(still_BLHW[0, 0], known_BHW[0] > 0, torch.Generator().manual_seed(k))
        for k in (0, 1)
    ]
    one, other = (
        flow.from_lagrangian(still_BLHW, v_B2hw, known_BHW, field[None])[0, -1] for field in fields
    )
    assert torch.equal(one[:, 26:], other[:, 26:])  # from inside: the same in both
    assert (one[:, :22] - other[:, :22]).abs().max() > 0.1
