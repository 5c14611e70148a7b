"""The part of a domain that is scored, and the surroundings that forecasts read around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from ..errors import mismatch, whole_number
from ..fields.axes import find_axes

Data: TypeAlias = "xr.DataArray | xr.Dataset"


@dataclass(frozen=True)
class Square:
    """Where pixels are scored, and the wider part of the domain that forecasts read: by dim."""

    scored: Mapping[str, slice]
    read: Mapping[str, slice]

    @property
    def words(self) -> str:
        """What is scored and what is read, in words."""
        (y, scored_y), (x, scored_x) = self.scored.items()
        size = scored_y.stop - scored_y.start
        read = " x ".join(str(part.stop - part.start) for part in self.read.values())
        corner = f"from pixel {scored_y.start} along {y} and {scored_x.start} along {x}"
        return f"the square of {size} x {size} pixels {corner}, of {read} that are read"

    def crop(self, data: Data) -> Data:
        """Return the part of the data that forecasts read."""
        return data.isel(self.read, missing_dims="ignore")

    def inside(self, da: xr.DataArray) -> xr.DataArray:
        """Return the scored part of a forecast or of observations.

        They hold the domain, what was read of it, or just the square.
        """
        parts = {}
        for dim, scored in self.scored.items():
            size, read = scored.stop - scored.start, self.read[dim]
            if da.sizes[dim] == read.stop - read.start:
                parts[dim] = slice(scored.start - read.start, scored.stop - read.start)
            elif da.sizes[dim] != size:
                parts[dim] = scored
        return da.isel(parts)


def find_square(
    da: xr.DataArray, side: int, surroundings: int | None, threshold: float | None
) -> Square:
    """Return the square, at multiples of a quarter of its side, where it rains most often.

    Parameters
    ----------
    da : DataArray (time, y, x)
        Read as a whole, but not kept.
    side : int
        Pixels.
    surroundings : int, optional
        Pixels around the square that are read too, as far as the domain goes. Default: all of it.
    threshold : float, optional
        What counts as rain, in the units of the data.

    Raises
    ------
    ValueError
        A square that the domain doesn't hold, or no threshold.

    Examples
    --------
    >>> rain = xr.DataArray(np.zeros((1, 8, 8)), dims=("time", "y", "x"))
    >>> rain[0, 5, 4] = 1
    >>> find_square(rain, 4, 1, 0.5).scored
    {'y': slice(4, 8, None), 'x': slice(4, 8, None)}
    """
    axes = find_axes(da)
    sizes = {dim: da.sizes[dim] for dim in (axes.y, axes.x)}
    shorter = min(sizes.values())
    whole_number("square", side)
    if surroundings is not None:
        whole_number("surroundings", surroundings, least=0)
    if side > shorter:
        expected = f"a square within the domain, {' x '.join(map(str, sizes.values()))} pixels"
        raise mismatch(expected, f"{side} pixels", f"square={shorter}")
    if threshold is None:
        expected = "a threshold, for the square where it rains most often"
        raise mismatch(expected, "none", "thresholds=[0.5, 1, 5]")
    others = [dim for dim in da.dims if dim not in sizes]
    wet = (da >= threshold).mean(others).transpose(*sizes).to_numpy()
    sums = np.pad(wet, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # of all above and to the left
    step = max(1, side // 4)
    rows, columns = (np.arange(0, size - side + 1, step) for size in wet.shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    share = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    # Rounded: of equal ones the last, whatever the order of the sums.
    best = np.flatnonzero(np.round(share, 9).ravel() == np.round(share, 9).max())[-1]
    scored = {
        dim: slice(int(start), int(start) + side)
        for dim, start in zip(sizes, (y.ravel()[best], x.ravel()[best]), strict=True)
    }
    read = {
        dim: slice(0, sizes[dim])
        if surroundings is None
        else slice(max(0, part.start - surroundings), min(sizes[dim], part.stop + surroundings))
        for dim, part in scored.items()
    }
    return Square(scored, read)
