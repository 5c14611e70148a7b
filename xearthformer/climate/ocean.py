"""How much of a box's ocean has values: an index of less than 90 % of it is NaN, with a warning."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from ..datasets.simulated.sst import SHIPPED
from ..fields.axes import find_curvilinear, find_latlon, find_time
from ..fields.sentinels import is_sst

LEAST_SHARE = 0.9
HALF = 0.5
WARNING = "values for {share:.0%} of the ocean in {box}, and {least:.0%} are needed: NaN"


def where_enough(
    mean: xr.DataArray, cells: xr.DataArray, weights: xr.DataArray, box: str
) -> xr.DataArray:
    """Return the mean of `cells` where these have values for enough of the ocean, else NaN.

    The ocean of a record is where it has a value at any time. A forecast ends where its pack's grid
    does, and so its ocean is that of the map (`open_ocean`), as it is of sea surface temperature
    that never has values for half of that. Other data without a time is not judged.
    With values of dask, the warning comes with the computation.
    """
    there = cells.notnull()
    is_forecast = "lead" in cells.coords
    if is_forecast:
        ocean = open_ocean(cells)
    elif is_sst(cells):
        time, of_map = _time_of(cells), open_ocean(cells)
        ever = there.any(time) if time else there
        mostly = xr.dot((ever & of_map).astype(float), weights, dim=weights.dims)
        poor = mostly < HALF * (of_map * weights).sum(weights.dims)
        ocean = ever | (of_map & poor)
    elif time := _time_of(cells):
        ocean = there.any(time)
    else:
        return mean
    needed = ocean * weights
    share = xr.dot(there.astype(float), needed, dim=weights.dims) / needed.sum(weights.dims)
    out: xr.DataArray = xr.apply_ufunc(
        _enough,
        mean,
        share,
        kwargs={"box": box, "is_forecast": is_forecast},
        dask="parallelized",
        output_dtypes=[mean.dtype],
        keep_attrs=True,
    )
    return out.transpose(*mean.dims).assign_attrs(mean.attrs)


def open_ocean(da: xr.DataArray) -> xr.DataArray:
    """Return where cells of latitude and longitude are sea, 2 degrees or more from any land.

    The map is ERSST's, of 2 degrees. Land a cell wide of it is left to each data set's own coasts.

    >>> coords = {"lat": [0.0, 20.0], "lon": [-140.0, 0.0, 20.0]}  # Pacific, Guinea, Congo
    >>> open_ocean(xr.DataArray(np.zeros((2, 3)), coords, ("lat", "lon"))).values.astype(int)
    array([[1, 1, 0],
           [1, 0, 0]])
    """
    names = find_curvilinear(da)
    if names[0] and names[1]:
        latitude, longitude = da[names[0]], da[names[1]]
    else:
        latitude, longitude = find_latlon(da)
    latitude, longitude = (each.drop_vars(each.coords).compute() for each in (latitude, longitude))
    open_sea: xr.DataArray = xr.apply_ufunc(is_open_sea, latitude, longitude)
    return open_sea


def is_open_sea(latitude: ArrayLike, longitude: ArrayLike) -> NDArray[np.bool_]:
    """Return whether points in degrees are in the open ocean, as `open_ocean` says.

    >>> is_open_sea([0.0, 45.0], [220.0, 275.0])  # the Pacific, and Lake Michigan
    array([ True, False])
    """
    map_YX = _map()
    lat, lon = (np.nan_to_num(np.asarray(each, float)) for each in (latitude, longitude))
    row = np.clip(np.round((lat + 88) / 2), 0, len(map_YX) - 1).astype(int)
    column = np.round(lon / 2).astype(int) % map_YX.shape[1]
    return np.asarray(map_YX[row, column])


@cache
def _map() -> NDArray[np.bool_]:
    """Return the open ocean on ERSST's cells: latitude -88 to 88, longitude 0 to 358."""
    with safe_open(SHIPPED, framework="numpy") as file:
        ocean = np.unpackbits(file.get_tensor("ocean"), count=89 * 180).reshape(89, 180) > 0
    around = np.pad(np.pad(ocean, ((0, 0), (1, 1)), mode="wrap"), ((1, 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
    return np.asarray(windows.all(axis=(2, 3)))


def _time_of(da: xr.DataArray) -> str | None:
    """Return the time dim; None for a single field or a climatology."""
    try:
        return find_time(da)
    except ValueError:
        return None


def _enough(
    mean: NDArray[np.floating], share: NDArray[np.floating], box: str, is_forecast: bool
) -> NDArray[np.floating]:
    poor = share < LEAST_SHARE - 1e-9  # NaN, of a box without open ocean, is not judged
    # a month that is missing altogether is no news
    told = poor if is_forecast else poor & ~np.isnan(mean)
    if told.any():
        least = np.broadcast_to(share, told.shape)[told].min()
        warnings.warn(
            WARNING.format(share=least, box=box, least=LEAST_SHARE),
            UserWarning,
            stacklevel=2,
        )
    return np.where(poor, np.asarray(np.nan, mean.dtype), mean)
