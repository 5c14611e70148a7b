"""Normalisation: the numbers between a variable's units and what a network sees.

A `Scale` travels with the weights; `apply` and `undo` are each other's inverses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """An affine scale, `(x - offset) / factor`, of the data or of its decibels.

    Works on anything with arithmetic: numbers, NumPy and dask arrays, xarray objects, tensors
    (`apply` on tensors only without `floor`). The numbers are Python floats, so the dtype of the
    data stays.

    Parameters
    ----------
    offset : float
        The value that becomes 0, in the units of the data (a mean, or a minimum).
    factor : float
        The distance from `offset` that becomes 1 (a standard deviation, or a range).
    floor : float, optional
        For quantities like rain: scale decibels above this value, `10 * log10(x / floor)`.
        Values at or below the floor count as none: they are read as the floor, and `undo` returns
        0 for them.

    Raises
    ------
    ValueError
        If a number is not finite, `factor` is 0 or too close to it, or `floor` is not above 0.

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
        # Python floats: a NumPy scalar would change the dtype of float32 data, and isn't JSON.
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "factor", float(self.factor))
        # in float32 all of them leave numbers that a network can compute with
        if not math.isfinite(self.offset) or not 1e-30 <= abs(self.factor) <= 1e30:
            raise ValueError(
                "expected a finite offset and a factor of 1e-30 to 1e30 in size, "
                f"found offset={self.offset}, factor={self.factor}; "
                "a constant field has no spread: type Scale(offset, 1.0)"
            )
        if self.floor is not None:
            object.__setattr__(self, "floor", float(self.floor))
            if not (math.isfinite(self.floor) and self.floor > 0):
                raise ValueError(f"expected a finite floor above 0, found floor={self.floor}")

    # mypy can't know the arithmetic of a bare type variable: the ignores below.
    def apply(self, x: T) -> T:
        """Scale data to the network's numbers; shape, dtype and NaN stay."""
        if self.floor is not None:
            x = 10 * np.log10(np.maximum(x, self.floor) / self.floor)  # type: ignore
        return (x - self.offset) / self.factor  # type: ignore[operator, return-value]

    def undo(self, x: T) -> T:
        """Scale the network's numbers back to the data's units; shape, dtype and NaN stay."""
        levels = x * self.factor + self.offset  # type: ignore[operator]
        if self.floor is not None:
            # A product, not a `where` function: every kind of array has one. NaN times 0 is NaN.
            levels = self.floor * 10 ** (levels / 10) * (levels > 0)
        return levels  # type: ignore[return-value]
