"""The grid of a forecast: the length of its pixels, and widths of neighbourhoods in pixels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import is_number, mismatch
from ..fields.axes import (
    METRES_PER_DEGREE,
    coordinates,
    find_curvilinear,
    find_grid,
    is_degrees,
    spacing_in_metres,
)
from ..fields.units import to_metres
from .spectra import Rings


def is_latlon(da: xr.DataArray) -> bool:
    """Return whether a grid is of latitude and longitude, 1-D or 2-D; not of a rotated pole's."""
    axes = [axis for axis in coordinates(da, "y", "x") if axis is not None]
    rotated = any(str(a.attrs.get("standard_name", "")).startswith("grid_") for a in axes)
    in_degrees = len(axes) == 2 and all(map(is_degrees, axes))
    return in_degrees and (not rotated or all(find_curvilinear(da)))


def window_pixels(da: xr.DataArray, window: float | str) -> tuple[int, int]:
    """Return the pixels, y and x, of a width in pixels or in a unit of length."""
    y, x = find_grid(da)
    hint = 'window="16 km", or a number of pixels from 1'
    if not isinstance(window, str):
        if not is_number(window) or not window >= 1:  # NaN as well
            raise mismatch("a window of 1 pixel or more", repr(window), hint)
        pixels = [round(window)] * 2
    else:
        width = _metres(window)
        if width <= 0:
            raise mismatch("a window as a length", repr(window), hint)
        spacings = spacings_of(da, y, x)
        if None in spacings:
            lengths = f"no lengths along {y} and {x}"
            hint = "window=16, a number of pixels"
            raise mismatch("a grid whose pixels have a length", lengths, hint)
        # At least the pixel itself, where pixels are wider than the window.
        pixels = [max(1, round(width / spacing)) for spacing in spacings if spacing]
    # From twice the domain on every window holds all of it, and FSS stays the same.
    return min(pixels[0], 2 * da.sizes[y]), min(pixels[1], 2 * da.sizes[x])


def _metres(length: str) -> float:
    """Return a length such as "16 km" in metres; 0 for what is no length."""
    number, unit = length.rstrip("abcdefghijklmnopqrstuvwxyz "), length.lstrip("0123456789. ")
    try:
        return float(number) * (to_metres(unit) or 0.0)
    except ValueError:
        return 0.0


def spacings_of(da: xr.DataArray, y: str, x: str) -> list[float | None]:
    """Return metres from pixel to pixel, y and x; None where a coordinate is no length."""
    if not is_latlon(da):
        return [spacing_in_metres(da, dim) for dim in (y, x)]
    shrink = float(np.cos(np.radians(np.mean(da[y].values))))  # of a degree of longitude
    degrees = [float(np.median(np.abs(np.diff(da[dim].values)))) for dim in (y, x)]
    return [degrees[0] * METRES_PER_DEGREE, degrees[1] * METRES_PER_DEGREE * shrink]


def spacing_of(da: xr.DataArray) -> tuple[float, float]:
    """Return the length from pixel to pixel, y and x; 1 of both without lengths, or of one row."""
    y, x = find_grid(da)
    if min(da.sizes[y], da.sizes[x]) > 1:
        along_y, along_x = spacings_of(da, y, x)
        if along_y and along_x:
            return along_y, along_x
    return 1.0, 1.0


def rings_of(da: xr.DataArray) -> Rings:
    """Return the rings of a grid, in its unit of length or, without any, in pixels."""
    y, x = find_grid(da)
    shape = da.sizes[y], da.sizes[x]
    if min(shape) < 2:
        raise mismatch("fields of 2 x 2 pixels or more, for spectrum", f"{shape}", 'scores=["mse"]')
    spacings = [spacing for spacing in spacings_of(da, y, x) if spacing]
    if len(spacings) < 2:  # no length along y or x
        return Rings(shape, (1.0, 1.0))
    units = "km" if is_latlon(da) else str(da[y].attrs["units"])
    metres = to_metres(units) or 1.0
    return Rings(shape, (spacings[0] / metres, spacings[1] / metres), units)
