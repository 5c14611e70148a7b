"""The distribution of rain at a pixel, its likelihood by hand, and rain laid where it is likely."""

import math

import pytest
import torch

from xearthformer.models.nowcast.rain import (
    BEND,
    ODDS,
    TAIL,
    WIDTHS,
    Rain,
    _flatter,
    _steeper,
    match,
    normal_to_share,
)


def rain_of(middle=1.0, log_width=0.0, dry=0.0, shape=()):
    return Rain(*(torch.full(shape, float(value)) for value in (middle, log_width, dry)))


# --- the distribution


def test_exceedance_by_hand():
    """Half dry; else logistic about 1: of the tail, 4 widths up, less than a logistic has."""
    rain = rain_of()
    assert float(rain.exceedance(1.0)) == pytest.approx(0.25)
    assert float(rain.exceedance(0.0)) == pytest.approx(0.5 / (1 + math.exp(-1)))
    bent = TAIL + BEND * (math.exp(1 / BEND) - 1)  # z of 4
    assert float(rain.exceedance(5.0)) == pytest.approx(0.5 / (1 + math.exp(bent)))


def test_the_tail_and_its_inverse():
    z = torch.linspace(-5, 10, 61)
    torch.testing.assert_close(_flatter(_steeper(z)), z)
    assert torch.equal(_steeper(z[z < TAIL]), z[z < TAIL])
    assert (_steeper(z).diff() > 0).all() and (_steeper(z) >= z).all()


def test_quantiles_undo_exceedances():
    share = torch.linspace(0.02, 0.998, 50)
    rain = rain_of(middle=0.7, log_width=-0.5, dry=-1.0, shape=(50,))
    found = rain.quantile(share)
    dry_share = float(1 - rain.exceedance(0.0)[0])
    wet = share > dry_share
    assert (found[~wet] == 0).all() and 10 < wet.sum() < 45
    back = torch.stack([rain.exceedance(float(q))[0] for q in found[wet]])
    torch.testing.assert_close(back, 1 - share[wet])


def test_likely_rain_goes_on_below_none():
    """Where there is rain it is the quantile; where there is none it still ranks the pixels."""
    middle = torch.tensor([-2.0, -1.0, 0.5, 2.0])
    rain = Rain(middle, torch.zeros(4), torch.full((4,), -3.0))
    likely, quantile = rain.likely(0.75), rain.quantile(0.75)
    assert (likely.diff() > 0).all() and (likely[:1] < 0).all()
    torch.testing.assert_close(likely.clamp(min=0), quantile)


def test_a_networks_outputs_are_held_within_limits():
    rain = Rain.of(torch.tensor([[9.0, -9.0, -99.0], [9.0, 9.0, 99.0]]), dim=1)
    assert rain.log_width.tolist() == list(WIDTHS) and rain.dry.tolist() == [-ODDS, ODDS]
    assert rain[0].middle == 9.0


# --- the likelihood


def test_likelihood_of_one_pixel_by_hand():
    """Half dry, else about 1 with a width of 1."""
    rain = rain_of(shape=(1, 1, 1, 1))

    def loss(y):
        return float(rain.loss(torch.tensor(y).view(1, 1, 1, 1)))

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    wet = 0.5 * (sigmoid(0.05) - sigmoid(-0.05))  # within half a decibel of the middle
    assert loss(1.0) == pytest.approx(-math.log(wet), rel=1e-4)
    assert loss(0.0) == pytest.approx(-math.log(0.5 + 0.5 * sigmoid(-1)))  # dry, or below 0
    assert loss(float("nan")) == 0


def test_every_lead_counts_alike_and_what_is_not_seen_does_not():
    """Lead 1 has one dry pixel, lead 2 three wet ones."""
    nan = float("nan")
    y_BLHW = torch.tensor([[0.0, nan, nan], [1.0, 1.0, 1.0]]).view(1, 2, 1, 3)
    rain = rain_of(shape=(1, 2, 1, 3))
    dry, wet = (
        rain_of(shape=(1, 1, 1, 1)).loss(torch.full((1, 1, 1, 1), value)) for value in (0.0, 1.0)
    )
    torch.testing.assert_close(rain.loss(y_BLHW), (dry + wet) / 2)


def test_what_is_out_of_reach_has_a_finite_loss_and_gradient():
    middle = torch.tensor([-9.0, -9.0, 9.0, 9.0]).view(1, 1, 1, 4).requires_grad_()
    width = torch.full((1, 1, 1, 4), WIDTHS[0], requires_grad=True)
    dry = torch.tensor([ODDS, -ODDS, -ODDS, ODDS]).view(1, 1, 1, 4).requires_grad_()
    loss = Rain(middle, width, dry).loss(
        torch.tensor([3.0, 0.0, 0.0, float("nan")]).view(1, 1, 1, 4)
    )
    loss.backward()
    assert loss.isfinite() and loss > 10
    assert all(x.grad.isfinite().all() for x in (middle, width, dry))
    assert width.grad[..., 3] == 0  # it wasn't seen


# --- rain laid where it is likely


def laid(score_HW, share_K, levels_K=(0.0, 0.5, 1.0), inside_HW=None):
    inside_HW = torch.ones_like(score_HW, dtype=torch.bool) if inside_HW is None else inside_HW
    return match(score_HW, inside_HW, torch.tensor(levels_K), torch.tensor(share_K))


def test_matched_rain_has_the_shares_that_are_asked_for():
    score_HW = torch.rand(40, 50, generator=torch.Generator().manual_seed(0))
    y_HW = laid(score_HW, (0.4, 0.2, 0.05))
    for level, share in ((0.0, 0.4), (0.5, 0.2), (1.0 - 1e-6, 0.05)):
        assert float((y_HW > level).sum()) == pytest.approx(share * 2000, abs=1)
    order = score_HW.flatten().argsort()
    assert (y_HW.flatten()[order].diff() >= 0).all()  # the likelier, the more


def test_pixels_outside_are_ranked_but_not_counted():
    """Scores 0 to 3 are inside: the upper half of these has rain, and so has the 9 outside."""
    score_HW = torch.tensor([[9.0, 0.0, 1.0, 2.0, 3.0, -9.0]])
    inside_HW = (score_HW > -1) & (score_HW < 9)
    y_HW = laid(score_HW, (0.5, 0.25), (0.0, 1.0), inside_HW)
    assert y_HW.tolist() == [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("share_K", [(0.0, 0.0, 0.0), (1e-4, 0.0, 0.0)])
def test_no_rain_is_laid_where_none_is_likely(share_K):
    assert not laid(torch.rand(4, 4), share_K).any()


def test_nothing_is_laid_where_nothing_is_inside():
    score_HW = torch.rand(4, 4)
    assert not laid(score_HW, (0.5, 0.2, 0.1), inside_HW=score_HW > 2).any()


def test_shares_of_noise():
    share = normal_to_share(torch.tensor([0.0, 1.6449, -1.6449, 99.0, -99.0]))
    assert share[:3].tolist() == pytest.approx([0.5, 0.95, 0.05], abs=1e-4)
    assert 0 < share[4] < share[3] < 1
