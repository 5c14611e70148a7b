"""The network of a nowcast: from past frames that stand still to the distribution of rain ahead.

A U-Net on coarse pixels gives each place coefficients of a few fields as fine as the frames: what
S-PROG (Pulkkinen et al. 2019) makes of them, the bands of the last one, how it differs from those
before, and where it rains. So S-PROG is where a forecast starts from, and what is seen around says
how it changes.
Legend of the shape suffixes: B batch, T time, L leads, H W space, h w the same in coarse pixels,
C channels, P parameters of a distribution, D fields, N bands, K functions of the lead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import flow
from ..layers.flow import COARSE

SIGMAS = (1.0, 2.0, 4.0, 8.0)  # pixels: between these filters lie the bands of a frame
HEAVY = 0.7  # normalised rain that counts as heavy: 5 times the least
BANDS = len(SIGMAS) + 1
FIELDS = BANDS + 6  # see `Fields`
PARAMETERS = 3  # of the distribution, see `Rain`
GROUPS = 8
STRIP = 16  # coarse rows whose parameters are put together at once


@dataclass(frozen=True)
class Fields:
    """What a forecast is put together from: fields as fine as the frames.

    The same at every lead (B, D - 1, H, W): bands of the last frame, fine to coarse, which add up
    to it; by how much the mean of all frames differs; how it grew; the share of heavy rain, and of
    rain, around; ones. And what changes with the lead: the forecast of S-PROG, which is a sum of
    the bands of the last two frames.
    """

    lasting_BDHW: Tensor
    before_BNHW: Tensor  # bands of the last frame but one
    weights_BLN2: Tensor  # of the bands of both, the last frame first

    def at(self, lead: int) -> Tensor:
        """All of them (B, D, H, W), at one lead, counted from 0."""
        weights_BN211 = self.weights_BLN2[:, lead, ..., None, None]
        last_BNHW = self.lasting_BDHW[:, :BANDS]
        bands_BNHW = weights_BN211[:, :, 0] * last_BNHW + weights_BN211[:, :, 1] * self.before_BNHW
        sprog_B1HW = bands_BNHW.sum(dim=1, keepdim=True)
        return torch.cat([self.lasting_BDHW, sprog_B1HW], dim=1)

    def every(self, stride: int) -> Fields:
        """Those of every so-many-th pixel along both axes."""
        some = (self.lasting_BDHW, self.before_BNHW)
        return Fields(*(each[..., ::stride, ::stride] for each in some), self.weights_BLN2)


def fields(x_BTHW: Tensor, seen_BTHW: Tensor, leads: int) -> Fields:
    """The fields of frames, for so many leads.

    Pixels that aren't seen are 0 in `x_BTHW`, and count for nothing.
    """
    last, there = x_BTHW[:, -1], seen_BTHW[:, -1]
    bands_BTNHW = _bands(x_BTHW[:, -3:], seen_BTHW[:, -3:])
    before_BNHW = torch.where(seen_BTHW[:, -2, None], bands_BTNHW[:, -2], bands_BTNHW[:, -1])
    half = x_BTHW.shape[1] // 2
    before = _mean(x_BTHW[:, :half], seen_BTHW[:, :half])
    after = _mean(x_BTHW[:, half:], seen_BTHW[:, half:])
    grown = torch.where(seen_BTHW[:, :half].any(dim=1), after - before, 0)
    lasting = [
        *bands_BTNHW[:, -1].unbind(1),
        _mean(x_BTHW, seen_BTHW) - last,
        _mean_around(grown, there, 2.0),
        _mean_around((last > HEAVY).to(last), there, 4.0),
        _mean_around((last > 0).to(last), there, 2.0),
        torch.ones_like(last),
    ]
    weights_BLN2 = autoregression(bands_BTNHW, seen_BTHW[:, -3:], leads)
    return Fields(torch.stack(lasting, dim=1), before_BNHW, weights_BLN2)


def _bands(x_BTHW: Tensor, seen_BTHW: Tensor) -> Tensor:
    """Bands of frames (B, T, N, H, W), fine to coarse, which add up to them."""
    smoother = [x_BTHW, *(_mean_around(x_BTHW, seen_BTHW, sigma) for sigma in SIGMAS)]
    bands = [fine - coarse for fine, coarse in pairwise(smoother)]
    return torch.stack([*bands, smoother[-1]], dim=2)


def autoregression(bands_BTNHW: Tensor, seen_BTHW: Tensor, leads: int) -> Tensor:
    """How much of the last frame's bands, and of those before, is left at every lead (B, L, N, 2).

    An autoregression of second order for each band, from its correlations over one step and two in
    the last three frames, as in S-PROG (Pulkkinen et al. 2019, section 2.3).
    """

    def correlation(steps: int) -> Tensor:
        both_B1HW = (seen_BTHW[:, -1] & seen_BTHW[:, -1 - steps])[:, None]
        last, before = (torch.where(both_B1HW, bands_BTNHW[:, n], 0) for n in (-1, -1 - steps))
        # by rows, then columns: the order of a sum is the same on any number of threads
        product, *powers = (
            each.mean(-1).mean(-1) for each in (last * before, last.square(), before.square())
        )
        return product / (powers[0] * powers[1]).sqrt().clamp(min=1e-12)

    one = correlation(1).clamp(0, 0.9995)
    two = correlation(2).maximum(2 * one.square() - 1).minimum(one)  # stationary, and no wave
    first = one * (1 - two) / (1 - one.square())
    second = (two - one.square()) / (1 - one.square())
    none, all_of_it = torch.zeros_like(one), torch.ones_like(one)
    before, last = torch.stack([none, all_of_it], dim=-1), torch.stack([all_of_it, none], dim=-1)
    weights = []
    for _ in range(leads):
        before, last = last, first[..., None] * last + second[..., None] * before
        weights.append(last)
    return torch.stack(weights, dim=1)


def _mean(x_BTHW: Tensor, seen_BTHW: Tensor) -> Tensor:
    """Mean over the frames in which a pixel is seen (B, H, W); 0 where it never is."""
    return (x_BTHW * seen_BTHW).sum(dim=1) / seen_BTHW.sum(dim=1).clamp(min=1)


def _mean_around(x_BHW: Tensor, seen_BHW: Tensor, sigma: float) -> Tensor:
    """A Gaussian mean of the pixels that are seen."""
    weight = flow.smooth(seen_BHW.to(x_BHW), sigma)
    return flow.smooth(x_BHW * seen_BHW, sigma) / weight.clamp(min=1e-3)


class Block(nn.Module):
    """Two convolutions beside a plain one, at half the resolution with a stride of 2."""

    def __init__(self, inward: int, outward: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inward, outward, 3, stride, 1)
        self.norm = nn.GroupNorm(GROUPS, outward)
        self.second = nn.Conv2d(outward, outward, 3, 1, 1)
        self.beside = nn.Conv2d(inward, outward, 1, stride)

    def forward(self, x_BChw: Tensor) -> Tensor:
        h_BChw = self.second(F.silu(self.norm(self.first(x_BChw))))
        return F.silu(self.beside(x_BChw) + h_BChw)


class UNet(nn.Module):
    """A U-Net of two-dimensional convolutions, for sides of any length."""

    def __init__(self, inward: int, outward: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = Block(inward, widths[0])
        self.down = nn.ModuleList(Block(a, b, 2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(a + b, a) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[0], outward, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        levels = [self.first(x_BChw)]
        for block in self.down:
            levels.append(block(levels[-1]))
        y_BChw = levels.pop()
        for block in reversed(self.up):
            finer_BChw = levels.pop()
            y_BChw = flow.finer(y_BChw, finer_BChw.shape[-2:])
            y_BChw = block(torch.cat([finer_BChw, y_BChw], dim=1))
        return self.last(y_BChw)


class Coefficients(nn.Module):
    """Coefficients of the fields for every parameter, as a mixture of a few functions of the lead.

    Untrained, the middle of the distribution is what S-PROG forecasts.
    """

    def __init__(self, in_len: int, out_len: int, widths: tuple[int, ...], functions: int) -> None:
        super().__init__()
        self.functions = functions
        channels = in_len * (COARSE**2 + 2)  # pixels of a coarse one, their maximum, share seen
        self.unet = UNet(channels, PARAMETERS * FIELDS * functions, widths)
        lead = torch.arange(1, out_len + 1) / out_len
        start = [lead.new_ones(out_len), lead, lead.sqrt(), torch.exp(-3 * lead)]
        start += [lead ** (n + 2) for n in range(functions - len(start))]
        self.of_lead_LK = nn.Parameter(torch.stack(start[:functions], dim=1))
        everywhere = torch.zeros(out_len, PARAMETERS, FIELDS)
        everywhere[:, 0, -1] = 1  # the forecast of S-PROG
        everywhere[:, 1, -2] = math.log(0.35)  # of ones: a width of 3.5 decibels
        everywhere[:, 2, -3:-1] = torch.tensor([-2.0, -1.0])  # dry where it hardly rains around
        self.everywhere_LPD = nn.Parameter(everywhere)
        with torch.no_grad():
            self.unet.last.weight.mul_(0.1)
            self.unet.last.bias.zero_()

    def forward(self, x_BTHW: Tensor, seen_BTHW: Tensor) -> Tensor:
        """Coefficients of every function of the lead (B, P D K, h, w), from frames at rest."""
        seen = seen_BTHW.to(x_BTHW)
        folded = F.pixel_unshuffle(x_BTHW, COARSE)
        most = F.max_pool2d(x_BTHW, COARSE)
        x_BChw = torch.cat([folded, F.avg_pool2d(seen, COARSE), most], dim=1)
        return self.unet(x_BChw.contiguous(memory_format=torch.channels_last))

    def parameters_at(self, mixed_BCHW: Tensor, fields_BDHW: Tensor, lead: int) -> Tensor:
        """Parameters of the distribution (B, P, H, W) at one lead, counted from 0.

        The coefficients are on coarse pixels, or as fine as the fields.
        """
        shape = (PARAMETERS, FIELDS, self.functions)
        each_BPDKhw = mixed_BCHW.unflatten(1, shape)
        of_K11 = self.of_lead_LK[lead].view(-1, 1, 1)
        at_PD11 = self.everywhere_LPD[lead][..., None, None]
        at_BPDhw = (each_BPDKhw * of_K11).sum(dim=3) + at_PD11
        height, times = at_BPDhw.shape[-2], fields_BDHW.shape[-2] // at_BPDhw.shape[-2]
        strips = []
        for top in range(0, height, STRIP):  # a processor's cache holds no whole fields
            bottom = min(top + STRIP, height)
            above, below = max(top - 1, 0), min(bottom + 1, height)  # it is linear between rows
            rows = slice(times * (top - above), times * (bottom - above))
            size = times * (below - above), fields_BDHW.shape[-1]
            some_BDHW = fields_BDHW[..., times * top : times * bottom, :]
            each = [
                (flow.finer(at_BDhw[..., above:below, :], size)[..., rows, :] * some_BDHW).sum(1)
                for at_BDhw in at_BPDhw.unbind(1)
            ]
            strips.append(torch.stack(each, dim=1))
        return torch.cat(strips, dim=2)
