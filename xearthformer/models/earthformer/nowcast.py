"""Nowcast: rain moved on along its motion, and an Earthformer for what becomes of it on the way.

Frames are moved along the paths of their motion to where the last one is, so that what is left to
forecast stands still. There an Earthformer, tile by tile, says for every lead how much each band of
the last frame still counts and how much rain comes or goes; then that frame is moved on. What comes
from where nothing was seen fades to the mean of the rain that was.
Legend of the shape suffixes: B batch, T time, L leads, H W space, h w the same in coarse pixels,
P pixels of a coarse pixel, C channels, K spatial bands, 2 the components (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers import flow, seen
from ..layers.checks import lists_to_tuples
from ..layers.flow import COARSE, FLOW_FRAMES
from ..layers.mosaic import Mosaic
from ..layers.stem import Stem
from .earthformer import Earthformer, EarthformerConfig

SIGMAS = (1.0, 2.0, 4.0, 8.0)  # pixels: between these filters lie the bands of a frame
CHANNELS = COARSE**2 + 2  # of a frame in coarse pixels: its pixels, their maximum, share seen
MARGIN = 64  # pixels beyond the edge that are forecast too, from where rain may come in
GRID = 2 * COARSE  # sides become multiples of it
TILES_AT_ONCE = 8
GROWTH = 1.1  # how far rain may grow, in highest thresholds: no loss judged what lies beyond
SETTLED = 4  # the lead from which on a change counts whole; before it, in proportion

# The loss.
WIDTH = 0.1  # of the step from below a threshold to above it, as a share of the threshold
LITTLE = 50.0  # pixels below which a threshold hardly counts
SQUARES = 0.5  # weight of the squared error, next to one critical success index


@dataclass(frozen=True)
class NowcastConfig:
    """The shape of a nowcast and of its Earthformer. Lists, as JSON has them, are welcome.

    A tile that isn't a multiple of 8, or lags that don't descend from within `in_len` to 0, are a
    ValueError.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    tile : int
        Side of the Earthformer's tiles in pixels; a multiple of 8.
    lags : tuple of int
        The frames it sees, in steps before the last, descending to 0.
    base_units, num_heads, depth
        See `EarthformerConfig`; encoder and decoder have the same depth.
    thresholds : tuple of float
        Thresholds of the normalised rain whose critical success index the loss rewards.
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
        lists_to_tuples(self)
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
            # what to add to each band and to the plain frame, see `split_bands`
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


def split_bands(last_BHW: Tensor) -> Tensor:
    """Spatial bands of a frame, fine to coarse, which add up to it, then a plain one: BKHW."""
    smoother = [last_BHW, *(flow.smooth(last_BHW, sigma) for sigma in SIGMAS)]
    bands = [fine - coarse for fine, coarse in pairwise(smoother)]
    # the plain one, all ones, lets rain come where there is none
    return torch.stack([*bands, smoother[-1], torch.ones_like(last_BHW)], dim=1)


def add_mix(bands_BKHW: Tensor, mix_BKhw: Tensor) -> Tensor:
    """The last frame with the mix's share of each of its bands added (B, H, W)."""
    v_BHW = bands_BKHW[:, :-1].sum(dim=1)  # all but the plain
    for k in range(bands_BKHW.shape[1]):  # one by one: all of a country's take much memory
        mix_B1HW = flow.finer(mix_BKhw[:, k, None], bands_BKHW.shape[-2:])
        v_BHW = v_BHW + mix_B1HW[:, 0] * bands_BKHW[:, k]
    return v_BHW


def soft_csi_loss(v_BLHW: Tensor, y_BLHW: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """One minus the critical success index, step softened, averaged over leads and thresholds.

    Pixels whose target is NaN count for nothing; hits, misses and false alarms add up over the
    batch, as they do in the score.
    """
    seen_BLHW = (~y_BLHW.isnan()).to(v_BLHW)
    some_L = (seen_BLHW.sum(dim=(0, 2, 3)) > 0).to(v_BLHW)
    total = v_BLHW.new_zeros(())
    for threshold in thresholds:
        forecast = torch.sigmoid((v_BLHW - threshold) / (WIDTH * threshold)) * seen_BLHW
        event = (torch.nan_to_num(y_BLHW) >= threshold).to(v_BLHW) * seen_BLHW
        hits_L = (forecast * event).sum(dim=(0, 2, 3))
        either_L = (forecast + event - forecast * event).sum(dim=(0, 2, 3))
        missed_L = 1 - hits_L / (either_L + LITTLE)
        total = total + (missed_L * some_L).sum() / some_L.sum().clamp(min=1)
    return total / len(thresholds)


def squared_error(v_BLHW: Tensor, y_BLHW: Tensor) -> Tensor:
    """Mean squared error where there is a target; a forecast below zero counts as zero."""
    seen_BLHW = (~y_BLHW.isnan()).to(v_BLHW)
    error = (v_BLHW.clamp(min=0) - torch.nan_to_num(y_BLHW)).square() * seen_BLHW
    return error.sum() / seen_BLHW.sum().clamp(min=1)


@dataclass(frozen=True)
class Past:
    """What the past of a domain and its margin tells, gaps closed along the motion."""

    size_HW: tuple[int, int]  # of the domain, without the margin
    still_BThwP: Tensor  # the frames of all lags in coarse pixels, moved to where the last one is
    v_B2hw: Tensor  # the motion, in coarse cells per frame
    last_BHW: Tensor  # the last frame, which goes on where nothing is seen
    known_BHW: Tensor  # the share of it that stems from what was seen
    mean_B: Tensor  # of what was seen of it


class Nowcast(nn.Module):
    """Future rain from past rain: (B, T, H, W, 1) of any H and W from `tile` up.

    Rain is normalised so that none is 0 and heavy rain of order one; NaN is what no radar sees.
    Untrained, it is close to an extrapolation.

    Examples
    --------
    >>> model = Nowcast(PRESETS["tiny"]).eval()
    >>> model.predict(torch.zeros(1, 4, 40, 37, 1)).shape
    torch.Size([1, 3, 40, 37, 1])
    """

    samples = False

    @staticmethod
    def carries(config: Mapping[str, object]) -> bool:
        """Whether a model of this configuration moves rain along, and so has `known`."""
        return True

    def __init__(self, config: NowcastConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        self.earthformer = Earthformer(config.earthformer)
        with torch.no_grad():  # training starts near the extrapolation
            self.earthformer.dec_final_proj.weight.mul_(0.1)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """The loss of square crops larger than a tile, taken in the tile at the middle; a scalar.

        The target is moved to where the last frame is, so that forecast and target both stand
        still. Around the tile lies what its motion and its bands need.
        """
        x_BTHW, y_BLHW = x_BTHWC[..., 0], y_BTHWC[..., 0]
        seen_BTHW, x_BTHW = ~x_BTHW.isnan(), torch.nan_to_num(x_BTHW)
        size, tile = x_BTHW.shape[-1], self.config.tile
        start = (size - tile) // GRID * COARSE  # in whole coarse pixels
        middle = slice(start, start + tile)
        with torch.no_grad():  # no weight takes part
            v_B2hw = flow.motion(x_BTHW, seen_BTHW)
            still_BTHW = self._still(x_BTHW, seen_BTHW, v_B2hw)[..., middle, middle]
            y_BLHW = flow.future_to_lagrangian(y_BLHW, v_B2hw)[..., middle, middle]
            bands_BKHW = split_bands(x_BTHW[:, -1])[..., middle, middle]
        mix_BLKhw = rearrange(self._mix(fold(still_BTHW)), "b l h w k -> b l k h w")
        v_BLHW = torch.stack([add_mix(bands_BKHW, mix) for mix in mix_BLKhw.unbind(1)], dim=1)
        csi = soft_csi_loss(v_BLHW, y_BLHW, self.config.thresholds)
        return csi + SQUARES * squared_error(v_BLHW, y_BLHW)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, 1), never below zero or NaN; no randomness."""
        return self.ahead(self.past(x_BTHWC))

    def ahead(self, past: Past) -> Tensor:
        """The forecast from what the past tells."""
        mix_BLKhw = self._mix_in_tiles(past.still_BThwP)
        bands_BKHW = split_bands(past.last_BHW)
        most_BHW = past.last_BHW.clamp(min=GROWTH * self.config.thresholds[-1])
        mean_B111 = past.mean_B[:, None, None, None]
        last_BHW = past.last_BHW
        y_BLHW = last_BHW.new_empty(len(last_BHW), self.out_len, *past.size_HW)
        for lead, way_B2hw in enumerate(flow.paths(past.v_B2hw, self.out_len, -1).unbind(1)):
            v_BHW = add_mix(bands_BKHW, mix_BLKhw[:, lead]).clamp(min=0).minimum(most_BHW)
            at_B2HW = flow.ends(way_B2hw, v_BHW)
            known_B1HW = flow.share_at(past.known_BHW, at_B2HW)
            v_B1HW = flow.sample(v_BHW[:, None], at_B2HW)
            y_B1HW = known_B1HW * v_B1HW + (1 - known_B1HW) * mean_B111
            y_BLHW[:, lead] = without_margin(y_B1HW, *past.size_HW)[:, 0]
        return y_BLHW[..., None]

    def known(self, past: Past, lead: int) -> Tensor:
        """The share of a forecast's values that stems from what was seen (B, lead, H, W)."""
        known_BLHW = seen.carried(past.known_BHW, past.v_B2hw, lead)
        return without_margin(known_BLHW, *past.size_HW)

    def past(self, x_BTHWC: Tensor) -> Past:
        """What past frames tell of the domain and of a margin of which nothing is seen.

        The sides of both together are whole coarse pixels.
        """
        x_BTHW = x_BTHWC[..., 0]
        height, width = x_BTHW.shape[-2:]
        below, right = (-(size + 2 * MARGIN) % GRID for size in (height, width))
        x_BTHW = F.pad(x_BTHW, (MARGIN, MARGIN + right, MARGIN, MARGIN + below), value=float("nan"))
        seen_BTHW = ~x_BTHW.isnan()
        x_BTHW.nan_to_num_()  # in place, as it is a padded copy
        v_B2hw = flow.motion(x_BTHW, seen_BTHW)
        x_BTHW, seen_BTHW = seen.complete(x_BTHW, seen_BTHW, v_B2hw)
        last = seen.continued(x_BTHW[:, -1], seen_BTHW[:, -1])
        still_BThwP = fold(self._still(x_BTHW, seen_BTHW, v_B2hw))
        return Past((height, width), still_BThwP, v_B2hw, *last)

    def _still(self, x_BTHW: Tensor, seen_BTHW: Tensor, v_B2hw: Tensor) -> Tensor:
        """The frames of all lags, moved to where the last one is; NaN where nothing is seen."""
        lags = self.config.lags
        seen_BTHW = flow.to_lagrangian(seen_BTHW, v_B2hw, lags, "nearest") > 0.5
        return torch.where(seen_BTHW, flow.to_lagrangian(x_BTHW, v_B2hw, lags), torch.nan)

    def _mix(self, still_BThwP: Tensor) -> Tensor:
        """The Earthformer on tiles: what each lead adds to each band, as shares (B, L, h, w, K)."""
        seen = (~still_BThwP.isnan()).to(still_BThwP).mean(dim=-1, keepdim=True)
        pixels = torch.nan_to_num(still_BThwP)
        channels = [pixels, pixels.amax(dim=-1, keepdim=True), seen]
        mix_BLhwK = self.earthformer(torch.cat(channels, dim=-1))
        lead_L = torch.arange(1, self.out_len + 1, device=mix_BLhwK.device)
        counts_L = (lead_L / SETTLED).clamp(max=1).to(mix_BLhwK)
        return mix_BLhwK * counts_L.view(-1, 1, 1, 1)

    def _mix_in_tiles(self, still_BThwP: Tensor) -> Tensor:
        """The same on a domain, (B, L, K, h, w): overlapping tiles, each fading into the next."""
        mosaic = Mosaic(tuple(still_BThwP.shape[2:4]), self.config.tile // COARSE)
        mix_BLhwK = mosaic.through(self._mix, still_BThwP, TILES_AT_ONCE)
        # contiguous, as interpolation of bands that come last rounds in another order
        return rearrange(mix_BLhwK, "b l h w k -> b l k h w").contiguous()


def without_margin(y_BLHW: Tensor, height: int, width: int) -> Tensor:
    """The domain itself."""
    return y_BLHW[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width]


def fold(x_BTHW: Tensor) -> Tensor:
    """Coarse pixels, with their pixels as channels (B, T, h, w, P)."""
    return rearrange(x_BTHW, "b t (h i) (w j) -> b t h w (i j)", i=COARSE, j=COARSE)
