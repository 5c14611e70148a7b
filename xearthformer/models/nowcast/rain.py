"""How likely which rain is at a pixel: none with some probability, else by its logarithm.

Rain is normalised: the decimal logarithm over the least rain that counts, and 0 for none.
Legend of the shape suffixes: B batch, L leads, H W space, K levels, N values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALF = 0.05  # half of the interval that an observed value stands for: half a decibel
WIDTHS = -2.5, 1.0  # limits of the logarithm of the width
ODDS = 8.0  # limit of the logit of a dry pixel
# Widths above the middle from which the tail is thinner, and over which. Without it, an hour ahead
# and on records that had no part in it, 20 mm/h were forecast 3 times as often as they came, and
# 50 mm/h 10 times.
TAIL, BEND = 3.0, 2.0


def _steeper(z: Tensor) -> Tensor:
    """From widths above the middle to the logit of less rain than that."""
    further = torch.expm1(((z - TAIL) / BEND).clamp(0, 4))  # at 4, one in 10 to the power of 47
    return torch.where(z > TAIL, TAIL + BEND * further, z)


def _flatter(logit: Tensor) -> Tensor:
    """The inverse of `_steeper`."""
    further = torch.log1p(((logit - TAIL) / BEND).clamp(min=0))
    return torch.where(logit > TAIL, TAIL + BEND * further, logit)


@dataclass(frozen=True)
class Rain:
    """The distribution of normalised rain, a value of each parameter for every pixel.

    Rain is none with the probability `sigmoid(dry)`; otherwise its logarithm has a logistic
    distribution about `middle` with the scale `width`, and what lies below 0 is no rain either.
    More than `TAIL` widths above the middle rain gets rarer sooner: a logistic tail has cloudbursts
    everywhere.

    Examples
    --------
    >>> rain = Rain(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0))
    >>> round(float(rain.exceedance(1.0)), 3)  # half of the half that isn't dry
    0.25
    >>> round(float(rain.quantile(torch.tensor(0.75))), 3)
    1.0
    """

    middle: Tensor
    log_width: Tensor
    dry: Tensor

    @classmethod
    def of(cls, parameters: Tensor, dim: int) -> Rain:
        """The distribution of a network's three outputs along a dim, held within limits."""
        middle, log_width, dry = parameters.unbind(dim)
        return cls(middle, log_width.clamp(*WIDTHS), dry.clamp(-ODDS, ODDS))

    def __getitem__(self, where: Tensor | int | tuple[slice, slice]) -> Rain:
        """The distribution of some of the pixels, as tensors are indexed."""
        return Rain(self.middle[where], self.log_width[where], self.dry[where])

    @cached_property
    def width(self) -> Tensor:
        """Scale of the logistic distribution."""
        return self.log_width.exp()

    def exceedance(self, level: float) -> Tensor:
        """Probability of more than a level of 0 or above."""
        above = _steeper((level - self.middle) / self.width)
        return torch.sigmoid(-self.dry) * torch.sigmoid(-above)

    def quantile(self, share: Tensor | float) -> Tensor:
        """The rain of which less falls with this probability; 0 is none."""
        wet = torch.sigmoid(-self.dry)
        share = torch.as_tensor(share, dtype=wet.dtype, device=wet.device)
        within = 1 - (1 - share) / wet  # the share of the logistic alone
        least = torch.finfo(wet.dtype).eps
        logit = torch.logit(within.clamp(least, 1 - least))
        rain = self.middle + self.width * _flatter(logit)
        return torch.where(within > 0, rain, 0).clamp(min=0)

    def likely(self, share: float) -> Tensor:
        """As `quantile`, but it goes on below 0: how much rain may fall, to rank by."""
        within = 1 - (1 - share) / torch.sigmoid(-self.dry)
        return self.middle + self.width * _flatter(torch.logit(within.clamp(1e-4, 1 - 1e-4)))

    def loss(self, y_BLHW: Tensor) -> Tensor:
        """Minus the mean log-likelihood of what came, NaN where nothing was seen; a scalar.

        Wet pixels stand for an interval of one decibel, dry ones for all that is no rain. Every
        lead counts alike.
        """
        seen = ~y_BLHW.isnan()
        y = torch.nan_to_num(y_BLHW)
        below = _steeper(((y - HALF).clamp(min=0) - self.middle) / self.width)
        above = _steeper((y + HALF - self.middle) / self.width)
        wet = F.logsigmoid(-self.dry)
        # log(sigmoid(above) - sigmoid(below)) without the cancellation
        between = torch.log(-torch.expm1((below - above).clamp(max=-1e-4)))
        shower = wet + F.logsigmoid(above) + F.logsigmoid(-below) + between
        none = torch.logaddexp(
            F.logsigmoid(self.dry), wet + F.logsigmoid(-self.middle / self.width)
        )
        unlikely = torch.where(y <= 0, -none, -shower) * seen
        return (unlikely.sum((0, 2, 3)) / seen.sum((0, 2, 3)).clamp(min=1)).mean()


def match(score_HW: Tensor, inside_HW: Tensor, levels_K: Tensor, share_K: Tensor) -> Tensor:
    """Rain of given shares of the area, laid where the score is highest (H, W); 0 is none.

    Probability matching: as large a share of the pixels inside as is given exceeds each level.
    Levels ascend, and their shares descend.

    Examples
    --------
    >>> score_HW = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    >>> inside_HW = torch.ones(1, 4, dtype=torch.bool)
    >>> match(score_HW, inside_HW, torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.25]))
    tensor([[0.0000, 0.0000, 0.5000, 1.0000]])
    """
    sorted_N = _ascending(score_HW[inside_HW])
    if not sorted_N.numel() or not share_K[0] > 0:
        return torch.zeros_like(score_HW)
    first_K = ((1 - share_K) * sorted_N.numel()).round().long()
    some_K = first_K < sorted_N.numel()  # of the highest levels there may be none
    cut_K, levels_K = sorted_N[first_K[some_K]], levels_K[some_K]
    if not cut_K.numel():
        return torch.zeros_like(score_HW)
    wet_HW, rain_HW = score_HW >= cut_K[0], torch.zeros_like(score_HW)
    rain_HW[wet_HW] = between(score_HW[wet_HW], cut_K, levels_K, right=True)
    return rain_HW


def _ascending(x_N: Tensor) -> Tensor:
    """Values in order; by NumPy, which sorts floats seven times as fast, where it can."""
    if x_N.device.type != "cpu" or x_N.dtype == torch.bfloat16:
        return x_N.sort().values
    return torch.from_numpy(np.sort(x_N.numpy()))


def mapped(levels: Sequence[float], share_K: Tensor, new_share_K: Tensor) -> Tensor:
    """What rain of each level becomes (K), so that areas have new shares instead of their own.

    Both descend. A share is looked up among the new ones by its logarithm; what is rarer than all
    of them becomes the highest level that there is.

    Examples
    --------
    >>> share_K = torch.tensor([0.1, 0.01, 0.001])
    >>> mapped((0.0, 1.0, 2.0), share_K, share_K / 10)  # a tenth of the area: one level lower
    tensor([0., 0., 1.])
    """
    old_K, new_K = (-each.clamp(min=1e-9).log() for each in (share_K, new_share_K))
    return between(old_K, new_K, new_K.new_tensor(levels)).cummax(0).values


def between(x: Tensor, points_K: Tensor, values_K: Tensor, right: bool = False) -> Tensor:
    """Values at points that ascend, linear between them, constant beyond the ends.

    Where points are equal it is the first of them or, with `right`, the last.

    Examples
    --------
    >>> points_K, values_K = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0])
    >>> between(torch.tensor([-1.0, 0.5, 3.0]), points_K, values_K)
    tensor([2., 3., 4.])
    """
    after = torch.searchsorted(points_K, x.contiguous(), right=right)
    below, above = (after - 1).clamp(min=0), after.clamp(max=len(points_K) - 1)
    step = (points_K[above] - points_K[below]).clamp(min=1e-9)
    part = ((x - points_K[below]) / step).clamp(0, 1)
    return values_K[below] + part * (values_K[above] - values_K[below])


def normal_to_share(noise: Tensor) -> Tensor:
    """The probability below a value of the standard normal distribution, away from 0 and 1."""
    return (0.5 * (1 + torch.erf(noise / math.sqrt(2)))).clamp(1e-6, 1 - 1e-6)
