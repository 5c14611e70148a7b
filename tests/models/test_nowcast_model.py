"""The nowcast: untrained it moves rain on; members; edges, gaps and dry domains; its loss."""

import sys

import pytest
import torch

from xearthformer.models import build
from xearthformer.models.earthformer.fused import fuse
from xearthformer.models.layers import flow
from xearthformer.models.nowcast.network import fields
from xearthformer.models.nowcast.nowcast import (
    LEVELS,
    PRESETS,
    Nowcast,
    NowcastConfig,
    _areas,
    _shares,
    _still,
)
from xearthformer.models.nowcast.rain import Rain, mapped

TINY = PRESETS["tiny"]
SIZE = (64, 72)


@pytest.fixture
def model():
    """Untrained; the network alone says nothing."""
    torch.manual_seed(0)
    made = Nowcast(TINY).eval().requires_grad_(False)
    made.network.unet.last.weight.zero_()
    return made


def showers(steps, dx=2.0, size=SIZE):
    """Two round showers that move `dx` pixels a frame along x (1, steps, H, W, 1); dry around."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    frames = [
        sum(
            2 * torch.exp(-((y - a) ** 2 + (x - b - dx * t) ** 2) / 60)
            for a, b in ((24, 20), (40, 40))
        )
        for t in range(steps)
    ]
    return (torch.stack(frames)[None, ..., None] - 0.1).clamp(min=0)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def members(model, x_BTHWC, *seeds):
    return model.draw(model.past(x_BTHWC), generators(*seeds))


# --- the single forecast


def test_untrained_it_moves_the_last_frame_on(model):
    x_BTHWC = showers(7)
    y_BTHWC = model.predict(x_BTHWC[:, :4])
    truth = x_BTHWC[:, 4:]
    assert y_BTHWC.shape == truth.shape
    stays = (x_BTHWC[:, 3:4] - truth).square().mean(dim=(0, 2, 3, 4))
    error = (y_BTHWC - truth).square().mean(dim=(0, 2, 3, 4))
    assert error[1] < 0.35 * stays[1] and error[2] < 0.2 * stays[2]


def test_as_much_rain_as_is_likely_and_was(model):
    """The area above each level lies between that expected and that of the last frame."""
    x_BTHWC = showers(4, dx=0.0)
    past = model.past(x_BTHWC)
    y_HW, lead = model.ahead(past)[0, 0, ..., 0], model.lead(past, 0)
    inside = lead.known_BHW[0] >= 1
    rain = lead.rain[0][inside]
    wet = y_HW.numel()
    for level in LEVELS[1::4]:
        expected = float(rain.exceedance(level).mean()) * int(inside.sum())
        was = int((x_BTHWC[0, -1] > level).sum())
        found = int((y_HW > level).sum())
        assert min(expected, was) - 60 <= found <= max(expected, was) + 60 and found <= wet
        wet = found


@pytest.mark.parametrize("size", [(1, 1), (5, 30), (33, 47), (64, 64)])
def test_domains_of_any_size(model, size):
    x_BTHWC = torch.rand(1, 4, *size, 1)
    assert model.predict(x_BTHWC).shape == (1, 3, *size, 1)
    assert members(model, x_BTHWC, 0, 1).shape == (2, 3, *size, 1)


def test_a_batch_is_its_rows(model):
    x_BTHWC = torch.cat([showers(4), showers(4, dx=-1.0), 0 * showers(4)])
    x_BTHWC[0, 2] = torch.nan  # gaps of one row are no other's
    both = model.predict(x_BTHWC)
    for i in range(3):
        torch.testing.assert_close(model.predict(x_BTHWC[i : i + 1]), both[i : i + 1])


def test_a_member_for_each_row(model):
    """As a roll-out asks for them."""
    x_BTHWC = torch.cat([showers(4), showers(4, dx=-1.0)])
    (generator,) = generators(0)
    y_BTHWC = model.predict(x_BTHWC, generator)
    assert y_BTHWC.shape == (2, 3, *SIZE, 1)
    torch.testing.assert_close(y_BTHWC[:1], members(model, x_BTHWC[:1], 0))


# --- what is dry, unseen, or comes from beyond


def test_a_dry_past_gives_a_dry_future(model):
    dry = torch.zeros(1, 4, *SIZE, 1)
    half = dry.clone()
    half[:, :, :30] = torch.nan
    for x_BTHWC in (dry, half):
        assert not model.predict(x_BTHWC).any()
        assert not members(model, x_BTHWC, 0, 1).any()


def test_nothing_seen_is_no_rain_and_no_hole(model):
    nothing = torch.full((1, 4, *SIZE, 1), torch.nan)
    assert not model.predict(nothing).any()
    assert not members(model, nothing, 0).any()
    assert not model.known(model.past(nothing), 3).any()


def test_half_a_domain_unseen_and_a_missing_frame_leave_no_hole(model):
    x_BTHWC = showers(4)
    x_BTHWC[:, :, :20] = torch.nan
    x_BTHWC[:, 2] = torch.nan
    for y_BTHWC in (model.predict(x_BTHWC), members(model, x_BTHWC, 0, 1)):
        assert y_BTHWC.isfinite().all() and y_BTHWC.min() == 0 and y_BTHWC.max() > 1


def test_a_missing_frame_changes_little(model):
    x_BTHWC = showers(4)
    whole = model.predict(x_BTHWC)
    for t in (1, 2, 3):
        gappy = x_BTHWC.clone()
        gappy[:, t] = torch.nan
        error = (model.predict(gappy) - whole).abs().mean()
        assert error < 0.05 * whole.mean()  # of the last frame, read as zeros, it is 1


def uniform_shower(dx=8.0):
    """Stripes that move 8 pixels a frame to the right: the left edge is soon unknown."""
    x = torch.arange(float(SIZE[1]))
    frames = [1 + torch.sin((x - dx * t) / 6).expand(SIZE) for t in range(4)]
    rows = torch.sin(torch.arange(float(SIZE[0])) / 5)[:, None]
    return (torch.stack(frames) + rows)[None, ..., None].clamp(min=0)


def test_what_comes_from_beyond_fades_to_the_mean_or_is_drawn(model):
    x_BTHWC = uniform_shower()
    past = model.past(x_BTHWC)
    unknown = model.known(past, 3)[0, -1] == 0
    assert 20 < unknown.sum() < 0.3 * unknown.numel() and not unknown[:, 40:].any()
    y_HW = model.predict(x_BTHWC)[0, -1, ..., 0]
    mean = x_BTHWC[0, -1].mean()
    torch.testing.assert_close(y_HW[unknown], mean.expand(int(unknown.sum())), atol=1e-3, rtol=1e-3)
    drawn = torch.stack([each[-1, ..., 0] for each in members(model, x_BTHWC, *range(4))])
    values = drawn[:, unknown]  # four different fields, of the values that were seen
    assert values.std(dim=0).mean() > 0.3 and values.max() <= x_BTHWC[0, -1].max()
    assert float(values.mean()) == pytest.approx(float(mean), rel=0.4)


def test_a_shower_from_beyond_the_domain_is_not_cut_off_at_its_margin(model):
    """Rain that leaves the domain is still there when it is looked at with its margin."""
    x_BTHWC = showers(4, dx=0.0)
    lead = model.lead(model.past(x_BTHWC), 0)
    assert lead.known_BHW.shape == (1, SIZE[0] + 128, SIZE[1] + 128)
    assert (lead.known_BHW[0, 64:128, 64:136] > 0.99).all() and not lead.known_BHW[0, :30].any()


# --- members


def test_members_are_the_same_whatever_is_drawn_next_to_them(model):
    x_BTHWC = showers(4)
    three = members(model, x_BTHWC, 0, 1, 2)
    assert torch.equal(members(model, x_BTHWC, 1), three[1:2])
    assert torch.equal(members(model, x_BTHWC, 2, 0), three[[2, 0]])
    assert (three[0] - three[1]).abs().max() > 0.1


def test_fewer_leads_are_the_first_of_all(model):
    past = model.past(showers(4))
    assert torch.equal(model.ahead(past, 1), model.ahead(past)[:, :1])
    two = model.draw(past, generators(0, 1), 2)
    assert torch.equal(two, model.draw(past, generators(0, 1))[:, :2])
    dry = model.past(torch.zeros_like(showers(4)))
    assert model.draw(dry, generators(0), 2).shape == (1, 2, *SIZE, 1)


def test_members_have_the_distribution_that_the_network_gives(model, monkeypatch):
    """Of many members, the share above a level is its mean probability, area by area adjusted."""
    small_N = torch.tensor([1.0, 1, 1, 0, 0, 0, 0]) / 3  # scales, to be many draws in each
    monkeypatch.setattr(sys.modules[Nowcast.__module__], "balanced", lambda *_: small_N)
    x_BTHWC = showers(4, dx=0.0)
    past = model.past(x_BTHWC)
    before_K = _shares(past.last_BHW[0], past.seen_BHW[0])
    drawn = model.draw(past, generators(*range(40)))[..., 0]
    for n in range(model.out_len):
        lead = model.lead(past, n)
        _, expected_K, share_K = _areas(lead, 0, before_K)
        at_K = mapped(LEVELS, expected_K, share_K)
        for k in (4, 8):
            expected = lead.rain.exceedance(LEVELS[k])[0, 64:128, 64:136]
            found = (drawn[:, n] > at_K[k]).float().mean(dim=0)
            assert float(found.mean()) == pytest.approx(float(expected.mean()), abs=0.02)
            assert (found - expected).abs().mean() < 0.08


def test_intense_rain_of_members_is_about_as_frequent_as_in_the_last_frame(model):
    """However much of it a network expects that knows other weather."""
    x_BTHWC = showers(4)
    model.network.everywhere_LPD[:, 1, -2] = -0.5  # a width of 6 decibels
    wild = members(model, x_BTHWC, *range(8))
    for level in (1.0, 1.5):
        before = float((x_BTHWC[:, -1] > level).float().mean())
        assert before / 4 < float((wild > level).float().mean()) < 3 * before


# --- training


def test_loss_is_of_what_stands_still(model):
    """Showers that just move on are likely, and mirrored ones are not."""
    x_BTHWC = showers(7, size=(96, 96))
    moving = model.loss(x_BTHWC[:, :4], x_BTHWC[:, 4:])
    assert moving < 0.8 * model.loss(x_BTHWC[:, :4], x_BTHWC[:, 4:].flip(2))


def test_loss_by_hand(model):
    """Nothing moves: minus the log-likelihood of the last frame's distribution."""
    x_BTHWC = showers(4, dx=0.0)
    y_BTHWC = x_BTHWC[:, -1:].expand(-1, 3, -1, -1, -1)
    past, _ = model.at_rest(x_BTHWC[..., 0])
    torch.testing.assert_close(past, x_BTHWC[..., 0], atol=1e-5, rtol=0)
    of_frames = fields(past, ~past.isnan(), model.out_len)
    each = enumerate(model.network.everywhere_LPD)
    parameters = [torch.einsum("pd,bdhw->bphw", p, of_frames.at(n)) for n, p in each]
    rain = Rain.of(torch.stack(parameters, dim=1), dim=2)
    torch.testing.assert_close(model.loss(x_BTHWC, y_BTHWC), rain.loss(y_BTHWC[..., 0]))
    some = model.loss_at_rest(past, y_BTHWC[:, [1], ..., 0], [1], stride=2)
    fewer = rain[:, 1:2, ::2, ::2]
    torch.testing.assert_close(some, fewer.loss(y_BTHWC[:, 1:2, ::2, ::2, 0]))


def test_frames_at_rest_are_means_of_rain_not_of_its_logarithm():
    """Half a pixel to the right: between 1 and 3 lies the logarithm of 505, not 2."""
    x_BTHW = torch.tensor([1.0, 3.0, 0.0, 0.0]).expand(1, 2, 4, 4).contiguous()
    v_B2hw = torch.zeros(1, 2, 1, 1)
    v_B2hw[:, 0] = 0.5 / flow.COARSE
    seen_BTHW = torch.ones_like(x_BTHW, dtype=torch.bool)
    still = _still(x_BTHW, seen_BTHW, v_B2hw)
    assert float(still[0, 0, 1, 1]) == pytest.approx(2.7033, abs=1e-3)
    assert still[0, 0, 1, 3] == 0 and torch.equal(still[:, 1], x_BTHW[:, 1])


def test_it_can_be_trained_where_much_is_missing():
    torch.manual_seed(0)
    made = Nowcast(TINY)
    x_BTHWC, y_BTHWC = (each.clone() for each in showers(7, size=(64, 64)).split([4, 3], dim=1))
    x_BTHWC[:, :2], y_BTHWC[:, 2], y_BTHWC[..., :40, :] = torch.nan, torch.nan, torch.nan
    loss = made.loss(x_BTHWC, y_BTHWC)
    loss.backward()
    gradients = {name: p.grad for name, p in made.named_parameters()}
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients.values())
    assert gradients["network.unet.first.first.weight"].abs().max() > 0
    assert gradients["network.everywhere_LPD"][:2].abs().max() > 0
    assert not gradients["network.everywhere_LPD"][2].any()  # of a lead that nobody saw
    nothing = made.loss(x_BTHWC, torch.full_like(y_BTHWC, torch.nan))
    assert nothing.item() == 0


def test_steps_of_training_make_the_loss_fall():
    """Showers that double as they go: a few steps learn it."""
    torch.manual_seed(0)
    made = Nowcast(TINY)
    frames = showers(7, dx=0.0, size=(64, 64))
    x_BTHWC, y_BTHWC = frames[:, :4], (1.2 * frames[:, 4:])
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(made.loss(x_BTHWC, y_BTHWC))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


# --- what it is


def test_it_runs_as_it_reads():
    made = build("nowcast", "tiny").eval().requires_grad_(False)
    assert fuse(made) is made


@pytest.mark.parametrize(
    "wrong", [{"widths": ()}, {"widths": (12, 16)}, {"in_len": 3}, {"out_len": 0}, {"functions": 0}]
)
def test_a_config_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="expected"):
        NowcastConfig(**{**vars(TINY), **wrong})


def test_a_config_as_json_has_it():
    assert NowcastConfig(out_len=3, widths=[8, 16]) == TINY
