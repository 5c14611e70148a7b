"""The nowcast network: tiles blended, an extrapolation before training, a loss by hand."""

from dataclasses import replace

import pytest
import torch

from xearthformer.models import build
from xearthformer.models.earthformer import nowcast
from xearthformer.models.earthformer.fused import fuse
from xearthformer.models.earthformer.nowcast import (
    PRESETS,
    Nowcast,
    NowcastConfig,
    fold,
    soft_csi_loss,
)
from xearthformer.models.layers.flow import finer

TINY = PRESETS["tiny"]


@pytest.fixture
def tiny():
    """Untrained, and made an extrapolation by a last layer of zeros."""
    torch.manual_seed(0)
    model = Nowcast(TINY).eval().requires_grad_(False)
    model.earthformer.dec_final_proj.weight.zero_()
    model.earthformer.dec_final_proj.bias.zero_()
    return model


def showers(steps, dx=2.0, size=(96, 112)):
    """Two round showers that move `dx` pixels a frame along x (1, steps, H, W, 1)."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    frames = [
        sum(
            torch.exp(-((y - a) ** 2 + (x - b - dx * t) ** 2) / 60) for a, b in ((30, 30), (60, 50))
        )
        for t in range(steps)
    ]
    return torch.stack(frames)[None, ..., None]


def test_without_weight_it_is_an_extrapolation(tiny):
    x_BTHWC = showers(7)
    y_BTHWC = tiny.predict(x_BTHWC[:, :4])
    truth = x_BTHWC[:, 4:]
    assert y_BTHWC.shape == truth.shape
    error = (y_BTHWC - truth).square().mean()
    assert error < 0.05 * (x_BTHWC[:, 3:4] - truth).square().mean()


def test_rain_out_of_sight_is_none_and_no_hole_in_the_answer(tiny):
    x_BTHWC = showers(4)
    x_BTHWC[:, :, :20] = torch.nan
    y_BTHWC = tiny.predict(x_BTHWC)
    assert y_BTHWC.isfinite().all() and y_BTHWC.min() >= 0


def test_a_batch_is_its_samples():
    torch.manual_seed(1)
    model = Nowcast(TINY).eval().requires_grad_(False)
    x_BTHWC = torch.cat([showers(4), showers(4, dx=-1.0)])
    both = model.predict(x_BTHWC)
    for i in range(2):
        torch.testing.assert_close(model.predict(x_BTHWC[i : i + 1]), both[i : i + 1])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (70, 32)])
def test_any_domain_from_a_tile_up(tiny, size):
    assert tiny.predict(torch.zeros(1, 4, *size, 1)).shape == (1, 3, *size, 1)


def test_tiles_blend_a_constant_and_a_slope_unchanged(tiny, monkeypatch):
    """What the network says of a tile is, for once, where the tile lies."""

    def where(self, still_BThwP):
        coarse = still_BThwP[:, -1:].mean(dim=-1)
        return torch.stack([torch.ones_like(coarse), coarse], dim=-1).repeat(1, 3, 1, 1, 3)

    monkeypatch.setattr(Nowcast, "_mix", where)
    slope = torch.arange(88.0).view(-1, 1) + 3 * torch.arange(120.0)
    mix = tiny._mix_in_tiles(fold(slope.expand(1, 2, 88, 120)))
    expected = torch.nn.functional.avg_pool2d(slope[None], nowcast.COARSE)[0]
    torch.testing.assert_close(mix[0, 0, 0], torch.ones(22, 30))
    torch.testing.assert_close(mix[0, 0, 1], expected, rtol=1e-5, atol=0)


def test_tiles_that_disagree_fade_into_each_other(monkeypatch):
    """Of two tiles of 32 coarse pixels, all 0 and all 1, that share 8: no step, and no kink."""

    def number(self, still_BThwP):
        tiles, side = len(still_BThwP), self.config.tile // nowcast.COARSE
        return torch.arange(float(tiles)).view(-1, 1, 1, 1, 1).expand(-1, 3, side, side, 6)

    monkeypatch.setattr(Nowcast, "_mix", number)
    wide = Nowcast(replace(TINY, tile=128))
    mix = wide._mix_in_tiles(fold(torch.zeros(1, 2, 128, 224)))
    along = finer(mix[:, 0], (128, 224))[0, 0, 64]  # as pixels of the data see it
    assert (along[:94] == 0).all() and (along[-94:] == 1).all()
    steps = along.diff()
    assert steps.min() >= 0 and steps.max() < 1.6 / 32
    assert steps.diff().abs().max() < 1.6 / 32 / 4


def test_soft_csi_by_hand():
    """One lead, threshold 0.5: two hits, a miss, a false alarm, a pixel without a target."""
    v = torch.tensor([9.0, 9.0, -9.0, 9.0, -9.0, 9.0]).view(1, 1, 1, 6)
    y = torch.tensor([1.0, 0.5, 0.6, 0.4, 0.0, torch.nan]).view(1, 1, 1, 6)
    loss = soft_csi_loss(v, y, (0.5,))
    assert float(loss) == pytest.approx(1 - 2 / (4 + nowcast.LITTLE))


def test_leads_without_a_target_count_for_nothing():
    v = torch.tensor([9.0, -9.0]).view(1, 2, 1, 1)
    y = torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1)
    assert float(soft_csi_loss(v, y, (0.5,))) == pytest.approx(1 - 1 / (1 + nowcast.LITTLE))


def test_the_loss_compares_in_place(tiny):
    """Showers that just move on are forecast by none but the motion: the squared error is small."""
    x_BTHWC = showers(7, size=(96, 96))
    moving = tiny.loss(x_BTHWC[:, :4], x_BTHWC[:, 4:])
    wrong = tiny.loss(x_BTHWC[:, :4], x_BTHWC[:, 4:].flip(2))
    assert moving < 0.75 * wrong


def test_it_can_be_trained_where_much_is_missing():
    torch.manual_seed(0)
    model = Nowcast(TINY)
    x_BTHWC, y_BTHWC = showers(7).split([4, 3], dim=1)
    x_BTHWC, y_BTHWC = x_BTHWC.clone(), y_BTHWC.clone()
    x_BTHWC[:, :2], y_BTHWC[:, 2], y_BTHWC[..., :40, :] = torch.nan, torch.nan, torch.nan
    square = slice(0, 96)
    loss = model.loss(x_BTHWC[:, :, square, square], y_BTHWC[:, :, square, square])
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


def test_it_runs_as_it_reads():
    """Small tiles go many at a time: fused, frame by frame, they would make threads wait."""
    model = build("nowcast", "tiny").eval().requires_grad_(False)
    assert fuse(model) is model


@pytest.mark.parametrize(
    "wrong", [{"tile": 30}, {"lags": (1, 2, 0)}, {"lags": (2, 1)}, {"lags": (4, 0)}, {"in_len": 3}]
)
def test_a_config_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="expected"):
        NowcastConfig(**{**vars(TINY), **wrong})
