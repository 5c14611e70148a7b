"""Normalisation: the numbers between a variable's units and what a network sees.

A `Scale` travels with the weights; `apply` and `undo` are each other's inverses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """An affine scale, `(x - offset) / factor`, of the data or of its decibels.

    Works on anything with arithmetic: numbers, NumPy and dask arrays, xarray objects; without
    `floor` on tensors too. The numbers are Python floats, so the dtype of the data stays.

    Parameters
    ----------
    offset : float
        What becomes 0, in the units of the data (a mean, or a minimum).
    factor : float
        What becomes 1, counted from `offset` (a standard deviation, or a range).
    floor : float, optional
        Of a quantity like rain: the scale is one of decibels above this value,
        `10 * log10(x / floor)`. What isn't above it counts as none: it is read as the floor and
        given back as 0.

    Raises
    ------
    ValueError
        If a number is not finite, `factor` is 0, or `floor` is not above 0.

    Examples
    --------
    >>> scale = Scale(offset=10.0, factor=4.0)
    >>> scale.apply(18.0), scale.undo(2.0)
    (2.0, 18.0)

    Rain of 10 mm/h lies 20 dB above a floor of 0.1 mm/h:

    >>> rain = Scale(factor=20.0, floor=0.1)
    >>> rain.apply(np.array([0.0, 10.0])), rain.undo(np.array([0.0, 1.0]))
    (array([0., 1.]), array([ 0., 10.]))
    """

    offset: float = 0.0
    factor: float = 1.0
    floor: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "factor", float(self.factor))
        if not (math.isfinite(self.offset) and math.isfinite(self.factor)) or self.factor == 0:
            raise ValueError(
                "expected a finite offset and a finite factor other than 0, "
                f"found offset={self.offset}, factor={self.factor}; "
                "a constant field has no spread: type Scale(offset, 1.0)"
            )
        if self.floor is not None:
            object.__setattr__(self, "floor", float(self.floor))
            if not (math.isfinite(self.floor) and self.floor > 0):
                raise ValueError(f"expected a finite floor above 0, found floor={self.floor}")

    def apply(self, x: T) -> T:
        """Into the network's numbers; shape and dtype of `x` stay, and so does NaN."""
        levels: Any = x
        if self.floor is not None:
            levels = 10 * np.log10(np.maximum(levels, self.floor) / self.floor)
        return (levels - self.offset) / self.factor

    def undo(self, x: T) -> T:
        """Back into the data's units; shape and dtype of `x` stay, and so does NaN."""
        levels: Any = x * self.factor + self.offset  # type: ignore[operator]
        if self.floor is None:
            return levels
        return self.floor * 10 ** (levels / 10) * np.logical_not(levels <= 0)
