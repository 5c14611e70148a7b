"""Columns of longitude that data has twice, as 0 and 360 or a wrapped one: read once."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import mismatch
from .axes import coordinate, find_curvilinear, first_of_each, is_degrees

SAME = 1e-5  # relative and absolute difference between values of the same cell


def find_repeats(da: xr.DataArray) -> NDArray[np.intp] | None:
    """Return for each column its place among those that differ; None where all do.

    Of 1-D longitudes alone, which are the same modulo 360.

    >>> da = xr.DataArray(np.zeros((1, 4)), {"lat": [0.0], "lon": [0.0, 120, 240, 360]})
    >>> find_repeats(da)
    array([0, 1, 2, 0])
    """
    x = coordinate(da, "x")
    if x is None or not is_degrees(x) or any(find_curvilinear(da)) or x.dtype.kind not in "iuf":
        return None
    values = x.values.astype(float)
    if not np.isfinite(values).all():
        return None
    _, first, place = np.unique(
        (values % 360.0).round(6) % 360.0, return_index=True, return_inverse=True
    )
    if first.size == x.size:
        return None
    return np.searchsorted(np.sort(first), first[place])


def first_columns(place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where the columns that differ are first, of what `find_repeats` returns."""
    return np.unique(place, return_index=True)[1]


def without_repeats(da: xr.DataArray) -> tuple[xr.DataArray, NDArray[np.intp] | None]:
    """Return data with each column of longitude once, and where each of its own columns is in it.

    Columns that repeat have the same values, or NaN on one side: the value counts. Others are an
    error, at once for data in memory and else when they are computed. The second is None, and the
    data as it is, where no column repeats.

    >>> da = xr.DataArray([[1.0, 2, 3, np.nan]], {"lat": [0.0], "lon": [0.0, 120, 240, 360]})
    >>> once, place = without_repeats(da)
    >>> once["lon"].values, place
    (array([  0., 120., 240.]), array([0, 1, 2, 0]))
    """
    place = find_repeats(da)
    if place is None:
        return da, None
    x = coordinate(da, "x")
    assert x is not None
    dim = x.dims[0]
    kept = first_columns(place)
    once, left = da.isel({dim: kept}), np.setdiff1d(np.arange(place.size), kept)
    while left.size:  # a column may be there three times
        at, k = np.unique(place[left], return_index=True)
        columns = kept.copy()
        columns[at] = left[k]
        values = xr.apply_ufunc(
            _values_of_both,
            once.variable,
            da.variable.isel({dim: columns}),
            kwargs={"hint": f"da.isel({dim}={first_of_each(kept, place.size)})"},
            dask="parallelized",
            output_dtypes=[da.dtype],
        )
        once, left = once.copy(data=values.data), np.delete(left, k)
    return once, place


def _values_of_both(one: NDArray, other: NDArray, hint: str) -> NDArray:
    if one.dtype.kind != "f":
        return one
    unlike = one != other  # but for NaN, of the few columns that repeat: the others are the same
    ours, theirs = one[unlike], other[unlike]
    missing, theirs_missing = np.isnan(ours), np.isnan(theirs)
    differ = ~np.isclose(ours, theirs, SAME, SAME) & ~missing & ~theirs_missing
    if differ.any():
        raise mismatch(
            "columns that are there twice (as 0 and 360 degrees are) with the same values",
            f"{differ.sum()} of {one.size} values that differ, such as {ours[differ][0]:g} and "
            f"{theirs[differ][0]:g}",
            f"{hint}, for the first of each",
        )
    return np.where(np.isnan(one), other, one) if (missing & ~theirs_missing).any() else one
