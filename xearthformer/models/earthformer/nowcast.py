"""Nowcast: rain carried along by its motion, and an Earthformer for what becomes of it on the way.

Frames are drawn into one place along the paths of their motion, so that what is left to forecast
stands still. There an Earthformer, tile by tile, says for every lead how much each scale of the
last frame still counts and how much rain comes or goes; then the frame so changed is carried on.
Legend of the shape suffixes: B batch, T time, L leads, H W space, h w the same in coarse pixels,
C channels, K scales, 2 the components (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.flow import COARSE, back_in_place, fine, finer, motion, paths, places, sample, smooth
from ..layers.mosaic import fade, starts
from ..layers.stem import Stem
from .earthformer import Earthformer, EarthformerConfig

FLOW_FRAMES = 4  # the last frames, which tell the motion
SIGMAS = (1.0, 2.0, 4.0, 8.0)  # between them lie the scales of a frame, in pixels
CHANNELS = COARSE**2 + 2  # of a frame in coarse pixels: its pixels, their maximum, share seen
MARGIN = 64  # pixels beyond the rim that are forecast too, from where rain may come in
GRID = 2 * COARSE  # sides become multiples of it
AT_ONCE = 8  # tiles
GROWTH = 1.1  # how far rain may grow, in highest thresholds: beyond them no loss has told how
SETTLED = 4  # the lead from which on a change counts whole; before it, in proportion

# The loss.
WIDTH = 0.1  # of the step from below a threshold to above it, as a share of the threshold
LITTLE = 50.0  # pixels below which a threshold hardly counts
SQUARES = 0.5  # what the squared error counts, beside a critical success index


@dataclass(frozen=True)
class NowcastConfig:
    """The shape of a nowcast and of its Earthformer. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    tile : int
        Pixels of a side of the Earthformer's tiles; a multiple of 8.
    lags : tuple of int
        The frames it sees, in steps before the last, descending to 0.
    base_units, num_heads, depth
        Of the Earthformer, see there: the same depth on the way in and on the way out.
    thresholds : tuple of float
        Of scaled rain, whose critical success index the loss rewards.

    Raises
    ------
    ValueError
        A tile that isn't a multiple of 8; lags that don't descend from within `in_len` to 0.
    """

    in_len: int = 13
    out_len: int = 12
    tile: int = 128
    lags: tuple[int, ...] = (12, 7, 4, 2, 1, 0)
    base_units: int = 48
    num_heads: int = 4
    depth: tuple[int, ...] = (1, 1)
    thresholds: tuple[float, ...] = (0.35, 0.5, 0.85)

    def __post_init__(self) -> None:
        for name in ("lags", "depth", "thresholds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.tile < GRID or self.tile % GRID:
            raise ValueError(f"expected tile as a multiple of {GRID}, found {self.tile}")
        descend = all(a > b for a, b in pairwise(self.lags))
        if not descend or self.lags[-1:] != (0,) or self.lags[0] >= self.in_len:
            raise ValueError(
                f"expected lags that descend from below in_len={self.in_len} to 0, "
                f"found {self.lags}"
            )
        if self.in_len < FLOW_FRAMES:
            raise ValueError(f"expected in_len of {FLOW_FRAMES} or more, found {self.in_len}")

    @property
    def earthformer(self) -> EarthformerConfig:
        """The Earthformer of one tile, in coarse pixels."""
        side = self.tile // COARSE
        return EarthformerConfig(
            input_shape=(len(self.lags), side, side, CHANNELS),
            target_shape=(self.out_len, side, side, len(SIGMAS) + 2),
            base_units=self.base_units,
            num_heads=self.num_heads,
            enc_depth=self.depth,
            dec_depth=self.depth,
            dropout=0.0,
            stem=Stem("conv", scales=((2, 2),), convs=(1,)),
        )


PRESETS = {
    "radar": NowcastConfig(),
    "tiny": NowcastConfig(
        in_len=4, out_len=3, tile=32, lags=(2, 0), base_units=16, num_heads=2, depth=(1,)
    ),
}


def scales(last_BHW: Tensor) -> Tensor:
    """A frame by scale, fine to coarse (B, K, H, W): they add up to it; then a plain one.

    Examples
    --------
    >>> x_BHW = torch.rand(1, 64, 64)
    >>> bool(torch.allclose(scales(x_BHW)[:, :-1].sum(dim=1), x_BHW, atol=1e-6))
    True
    """
    steps = [last_BHW, *(smooth(last_BHW, sigma) for sigma in SIGMAS)]
    bands = [fine - coarse for fine, coarse in pairwise(steps)]
    return torch.stack([*bands, steps[-1], torch.ones_like(last_BHW)], dim=1)


def soft_csi_loss(v_BLHW: Tensor, y_BLHW: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """One less the critical success index, step softened, averaged over leads and thresholds.

    Pixels whose target is NaN count for nothing; hits, misses and false alarms add up over the
    batch, as they do in the score.
    """
    seen_BLHW = (~y_BLHW.isnan()).to(v_BLHW)
    some_L = (seen_BLHW.sum(dim=(0, 2, 3)) > 0).to(v_BLHW)
    total = v_BLHW.new_zeros(())
    for threshold in thresholds:
        said = torch.sigmoid((v_BLHW - threshold) / (WIDTH * threshold)) * seen_BLHW
        came = (torch.nan_to_num(y_BLHW) >= threshold).to(v_BLHW) * seen_BLHW
        hits_L = (said * came).sum(dim=(0, 2, 3))
        either_L = (said + came - said * came).sum(dim=(0, 2, 3))
        missed_L = 1 - hits_L / (either_L + LITTLE)
        total = total + (missed_L * some_L).sum() / some_L.sum().clamp(min=1)
    return total / len(thresholds)


def squared_error(v_BLHW: Tensor, y_BLHW: Tensor) -> Tensor:
    """Mean squared error where there is a target; a forecast below zero is a forecast of none."""
    seen_BLHW = (~y_BLHW.isnan()).to(v_BLHW)
    error = (v_BLHW.clamp(min=0) - torch.nan_to_num(y_BLHW)).square() * seen_BLHW
    return error.sum() / seen_BLHW.sum().clamp(min=1)


class Nowcast(nn.Module):
    """Rain to come from rain that was: (B, T, H, W, 1) of any H and W from `tile` up.

    Rain is scaled so that none is 0 and heavy rain of order one; NaN is what no radar sees.
    Untrained, it is close to an extrapolation.

    Examples
    --------
    >>> model = Nowcast(PRESETS["tiny"]).eval()
    >>> model.predict(torch.zeros(1, 4, 40, 37, 1)).shape
    torch.Size([1, 3, 40, 37, 1])
    """

    samples = False

    def __init__(self, config: NowcastConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        self.earthformer = Earthformer(config.earthformer)
        with torch.no_grad():
            self.earthformer.dec_final_proj.weight.mul_(0.1)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Of square crops larger than a tile, the loss in the tile at the middle; a scalar.

        What came is drawn into the place of the last frame, so that both stand still.
        """
        x_BTHW, y_BLHW = x_BTHWC[..., 0], y_BTHWC[..., 0]
        seen_BTHW, x_BTHW = ~x_BTHW.isnan(), torch.nan_to_num(x_BTHW)
        size, tile = x_BTHW.shape[-1], self.config.tile
        start = (size - tile) // GRID * COARSE
        with torch.no_grad():
            v_B2hw = motion(x_BTHW[:, -FLOW_FRAMES:])
            still_BTHW = self._in_place(x_BTHW, seen_BTHW, v_B2hw)
            y_BLHW = back_in_place(y_BLHW, v_B2hw)
            scales_BKHW = scales(x_BTHW[:, -1])
        middle = slice(start, start + tile)
        mix_BLKhw = self._mix(still_BTHW[..., middle, middle])
        v_BLHW = torch.stack(
            [
                self._changed(mix_BLKhw[:, lead], scales_BKHW[..., middle, middle])
                for lead in range(self.out_len)
            ],
            dim=1,
        )
        y_BLHW = y_BLHW[..., middle, middle]
        csi = soft_csi_loss(v_BLHW, y_BLHW, self.config.thresholds)
        return csi + SQUARES * squared_error(v_BLHW, y_BLHW)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, 1), none below zero, NaN nowhere; no randomness."""
        x_BTHW = x_BTHWC[..., 0]
        height, width = x_BTHW.shape[-2:]
        below, right = (-(size + 2 * MARGIN) % GRID for size in (height, width))
        x_BTHW = F.pad(x_BTHW, (MARGIN, MARGIN + right, MARGIN, MARGIN + below), value=float("nan"))
        seen_BTHW, x_BTHW = ~x_BTHW.isnan(), torch.nan_to_num(x_BTHW)
        v_B2hw = motion(x_BTHW[:, -FLOW_FRAMES:])
        mix_BLKhw = self._mix_in_tiles(self._in_place(x_BTHW, seen_BTHW, v_B2hw))
        scales_BKHW, at_B2HW = scales(x_BTHW[:, -1]), places(x_BTHW)
        most_BHW = x_BTHW[:, -1].clamp(min=GROWTH * self.config.thresholds[-1])
        frames = []
        for lead, way_B2hw in enumerate(paths(v_B2hw, self.out_len, -1).unbind(1)):
            v_BHW = self._changed(mix_BLKhw[:, lead], scales_BKHW).clamp(min=0).minimum(most_BHW)
            at = at_B2HW + fine(way_B2hw, x_BTHW)
            frames.append(sample(v_BHW[:, None], at, rim="border"))
        y_BLHW = torch.cat(frames, dim=1)
        return y_BLHW[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width, None]

    def _in_place(self, x_BTHW: Tensor, seen_BTHW: Tensor, v_B2hw: Tensor) -> Tensor:
        """The frames of all lags, drawn to where the last one is; NaN where nothing is seen."""
        lags = self.config.lags
        ways = paths(v_B2hw, lags[0], -1) if lags[0] else None
        at_B2HW = places(x_BTHW)
        frames = []
        for lag in lags:
            x_B1HW, seen_B1HW = x_BTHW[:, -1 - lag, None], seen_BTHW[:, -1 - lag, None]
            if lag:
                at = at_B2HW + fine(ways[:, lag - 1], x_BTHW)
                x_B1HW = sample(x_B1HW, at)
                seen_B1HW = sample(seen_B1HW.to(x_B1HW), at, "nearest") > 0.5
            frames.append(torch.where(seen_B1HW, x_B1HW, torch.nan))
        return torch.cat(frames, dim=1)

    def _mix(self, still_BTHW: Tensor) -> Tensor:
        """The Earthformer on tiles: for each lead, what to add to each scale (B, L, K, h, w)."""
        pixels = rearrange(still_BTHW, "b t (h i) (w j) -> b t h w (i j)", i=COARSE, j=COARSE)
        seen = (~pixels.isnan()).to(pixels).mean(dim=-1, keepdim=True)
        pixels = torch.nan_to_num(pixels)
        channels = [pixels, pixels.amax(dim=-1, keepdim=True), seen]
        mix_BLhwK = self.earthformer(torch.cat(channels, dim=-1))
        lead_L = torch.arange(1, self.out_len + 1, device=mix_BLhwK.device)
        counts_L = (lead_L / SETTLED).clamp(max=1).to(mix_BLhwK)
        return rearrange(mix_BLhwK * counts_L.view(-1, 1, 1, 1), "b l h w k -> b l k h w")

    def _mix_in_tiles(self, still_BTHW: Tensor) -> Tensor:
        """The same on a domain: overlapping tiles, each fading into the next."""
        tile, side = self.config.tile, self.config.tile // COARSE
        batch, (h, w) = len(still_BTHW), (n // COARSE for n in still_BTHW.shape[-2:])
        corners = list(product(starts(h, side), starts(w, side)))
        tiles = [
            still_BTHW[..., COARSE * y : COARSE * y + tile, COARSE * x : COARSE * x + tile]
            for y, x in corners
        ]
        parts = [self._mix(part) for part in torch.cat(tiles).split(AT_ONCE)]
        fade_hw = fade(side, still_BTHW)
        total = still_BTHW.new_zeros(batch, self.out_len, len(SIGMAS) + 2, h, w)
        counts_hw = still_BTHW.new_zeros(h, w)
        for (y, x), part in zip(corners, torch.cat(parts).split(batch), strict=True):
            here = slice(y, y + side), slice(x, x + side)
            total[..., *here] += fade_hw * part
            counts_hw[here] += fade_hw
        return total / counts_hw

    def _changed(self, mix_BKhw: Tensor, scales_BKHW: Tensor) -> Tensor:
        """The last frame with what a lead adds to each of its scales (B, H, W)."""
        mix_BKHW = finer(mix_BKhw, scales_BKHW.shape[-2:])
        last_BHW = scales_BKHW[:, :-1].sum(dim=1)
        return last_BHW + (mix_BKHW * scales_BKHW).sum(dim=1)
