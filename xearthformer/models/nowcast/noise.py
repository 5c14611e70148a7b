"""Noise for the members of a nowcast: Gaussian fields correlated in space, that change with time.

A sum of octaves, from single pixels up. Each moves with the rain and forgets itself by an
autoregression, the small ones sooner (as in STEPS: Bowler et al. 2006; Seed et al. 2013). How much
there is of each follows from the rain that was, whose power members are to have.
Legend of the shape suffixes: L leads, N octaves, H W space, h w the same on an octave's lattice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from ..layers import flow

OCTAVES = (1, 2, 4, 8, 16, 32, 64)  # pixels between the points of the lattices
MEMORY = (0.5, 0.7, 0.82, 0.9, 0.94, 0.97, 0.98)  # of each, from one lead to the next
LEAST, MOST = 0.01, 0.3  # share of the variance that an octave has, and that it has about at most
SPREAD = 1.0  # lattice points: standard deviation of the smoothing of white noise
# Neighbouring points correlate by exp(-1 / 4 SPREAD**2); the mean variance of what lies between two
# of them is (2 + correlation) / 3, once for each axis.
BETWEEN = (2 + math.exp(-1 / (4 * SPREAD**2))) / 3


def octaves(
    size_HW: tuple[int, int], leads: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Noise of unit variance of each octave (N, H, W), lead by lead, drawn on the CPU."""
    shapes = [tuple(-(-n // step) + 3 for n in size_HW) for step in OCTAVES]
    states: list[Tensor] = []
    for _ in range(leads):
        fresh = [_white(shape, generator) for shape in shapes]
        if states:
            pairs = zip(states, fresh, MEMORY, strict=True)
            states = [m * old + math.sqrt(1 - m * m) * new for old, new, m in pairs]
        else:
            states = fresh
        yield torch.stack([_fine(s, n, size_HW) for s, n in zip(states, OCTAVES, strict=True)])


def _white(shape_hw: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Smoothed white noise of unit variance on a lattice, some points more than are asked for."""
    edge = math.ceil(2.5 * SPREAD)
    noise = torch.randn([n + 2 * edge for n in shape_hw], generator=generator, dtype=torch.float32)
    return flow.smooth(noise, SPREAD)[edge:-edge, edge:-edge] / _deviation(edge)


@cache
def _deviation(edge: int) -> float:
    """The standard deviation of white noise of unit variance that was smoothed."""
    one = torch.zeros(2 * edge + 1, 2 * edge + 1, dtype=torch.float32)
    one[edge, edge] = 1
    return float(flow.smooth(one, SPREAD).square().sum().sqrt())


def _fine(state_hw: Tensor, step: int, size_HW: tuple[int, int]) -> Tensor:
    """A lattice's noise on the pixels (H, W), linear between its points."""
    if step == 1:
        return state_hw[: size_HW[0], : size_HW[1]]
    h, w = state_hw.shape
    fine_HW = flow.finer(state_hw[None, None], (h * step, w * step))[0, 0] / BETWEEN
    return fine_HW[step : step + size_HW[0], step : step + size_HW[1]]


def power(y_HW: Tensor) -> Tensor:
    """Variance of a field within bands of about the scales of the octaves (N), on the CPU."""
    smoother = [flow.smooth(y_HW, 0.7 * step) for step in OCTAVES]
    bands = [fine - coarse for fine, coarse in pairwise(smoother)]
    bands.append(smoother[-1] - smoother[-1].mean(-1).mean(-1))
    # by rows, then columns: the order of a sum is the same on any number of threads
    return torch.stack([band.square().mean(-1).mean(-1) for band in bands]).cpu()


def balanced(variance_N: Tensor, power_N: Tensor, wanted_N: Tensor) -> Tensor:
    """Shares of the variance (N) that bring power nearer to what is wanted.

    An octave of whose band there is four times too much gets half as much, before all add up to 1.

    Examples
    --------
    >>> ones = torch.ones(7)
    >>> balanced(ones / 7, torch.tensor([4.0, 1, 1, 1, 1, 1, 1]), ones)[:2]
    tensor([0.0769, 0.1538])
    """
    ratio_N = (power_N / wanted_N.clamp(min=1e-9)).clamp(0.2, 5)
    variance_N = (variance_N / ratio_N.sqrt()).clamp(min=LEAST)
    variance_N = variance_N / variance_N.sum()
    most_N = variance_N >= MOST
    rest = (1 - MOST * most_N.sum(dtype=variance_N.dtype)) / variance_N[~most_N].sum()
    return torch.where(most_N, MOST, rest * variance_N)
