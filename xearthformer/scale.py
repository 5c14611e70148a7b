"""Normalisation: the two numbers between a variable's units and what a network sees.

A `Scale` travels with the weights; `apply` and `undo` are each other's inverses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """An affine scale, `(x - offset) / factor`.

    Works on anything with arithmetic: numbers, NumPy and dask arrays, xarray objects, tensors.
    The two numbers are Python floats, so the dtype of the data stays.

    Parameters
    ----------
    offset : float
        What becomes 0, in the units of the data (a mean, or a minimum).
    factor : float
        What becomes 1, counted from `offset` (a standard deviation, or a range).

    Raises
    ------
    ValueError
        If a number is not finite, or `factor` is 0.

    Examples
    --------
    >>> scale = Scale(offset=10.0, factor=4.0)
    >>> scale.apply(18.0), scale.undo(2.0)
    (2.0, 18.0)
    """

    offset: float = 0.0
    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "factor", float(self.factor))
        if not (math.isfinite(self.offset) and math.isfinite(self.factor)) or self.factor == 0:
            raise ValueError(
                "expected a finite offset and a finite factor other than 0, "
                f"found offset={self.offset}, factor={self.factor}; "
                "a constant field has no spread: type Scale(offset, 1.0)"
            )

    def apply(self, x: T) -> T:
        """Into the network's numbers: `(x - offset) / factor`; shape and dtype of `x` stay."""
        return (x - self.offset) / self.factor  # type: ignore[operator,return-value]

    def undo(self, x: T) -> T:
        """Back into the data's units: `x * factor + offset`; shape and dtype of `x` stay."""
        return x * self.factor + self.offset  # type: ignore[operator,return-value]
