"""Time bounds: the month that a value is of, where its stamp lies in another one.

CESM stamps January at its end, 1 February 00:00, and says so by bounds. Labels stay as they are;
the middles of the bounds stand next to them as a coordinate, for whoever asks for the month.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import mismatch
from .axes import Data, coordinate
from .time_axis import MIDDLE, month_numbers, months_of, str_month, str_time

BOUNDS_NAMES = ("time_bnds", "time_bounds", "time_bound", "bounds_time", "time_counter_bounds")


def with_middles(da: xr.DataArray, labels: Data) -> xr.DataArray:
    """Return data with the middles of its time bounds as a coordinate, where these matter.

    Bounds stand in `labels`, the Dataset that the data is from: a DataArray cannot hold them. Where
    every middle is in the month of its stamp, or without bounds, the data is returned as it is.

    >>> time = xr.DataArray(xr.date_range("2000-02", periods=2, freq="MS"), dims="time")
    >>> bounds = xr.concat([time - np.timedelta64(28, "D"), time], "nv").T
    >>> ds = xr.Dataset({"a": ("time", [0.0, 1]), "time_bnds": bounds}, {"time": time})
    >>> with_middles(ds["a"], ds)["time_middle"].dt.month.values
    array([1, 2])
    """
    if not isinstance(labels, xr.Dataset):
        return da
    try:
        time = coordinate(da, "time")
    except ValueError:  # a climatology, or a forecast of which one init was selected
        return da
    bounds = None if time is None or MIDDLE in time.coords else bounds_of(time, labels)
    if time is None or bounds is None:
        return da
    first, last = bounds.T
    middles = time.copy(data=first + (last - first) / 2)
    if np.array_equal(month_numbers(middles), month_numbers(time)):
        return da
    if (np.abs(month_numbers(middles) - month_numbers(time)) > 1).any():
        k = int(np.argmax(np.abs(month_numbers(middles) - month_numbers(time))))
        raise mismatch(
            "time bounds that end or begin at their stamp",
            f"{str_time(first[k])} to {str_time(last[k])} for {str_time(time.values[k])}",
            f'ds.drop_vars("{_name(time, labels)}"), to go by the stamps alone',
        )
    attrs = {"long_name": "middle of the time bounds", "standard_name": "time"}
    return da.assign_coords({MIDDLE: (time.dims, middles.values, attrs)})


def reading(time: xr.DataArray) -> str:
    """Return in words how months are read from monthly stamps, for `history`; "" if plainly."""
    if MIDDLE in time.coords:
        first = f"{str_time(time.values[0])} is of {str_month(months_of(time)[0])}"
        return f"months by the time bounds: {first}"
    stamps = time.dt
    midnight = (stamps.hour == 0) & (stamps.minute == 0) & (stamps.second == 0)
    if bool(((stamps.day == 1) & midnight).all()):
        return "stamps at 00:00 on the first are of the month they begin"
    return ""


def _name(time: xr.DataArray, labels: xr.Dataset) -> str | None:
    """Return the name of the bounds of time: by attribute, else a usual one."""
    stated = [time.attrs.get("bounds"), time.encoding.get("bounds")]
    names = [*stated, f"{time.name}_bnds", f"{time.name}_bounds", *BOUNDS_NAMES]
    return next((name for name in names if name in labels.variables), None)


def bounds_of(time: xr.DataArray, labels: xr.Dataset) -> np.ndarray | None:
    """Return the bounds of time (time, 2) as datetimes; None without any."""
    name = _name(time, labels)
    if name is None or labels[name].ndim != 2 or time.dims[0] not in labels[name].dims:
        return None
    bounds = labels[name].transpose(time.dims[0], ...).values
    units = {k: time.encoding[k] for k in ("units", "calendar") if k in time.encoding}
    if bounds.dtype.kind in "if" and "units" in units:  # nothing told xarray that these are times
        bounds = xr.decode_cf(xr.Dataset({"a": (("t", "n"), bounds, units)}))["a"].values
    if bounds.shape != (time.size, 2) or bounds.dtype.kind not in "MO":
        return None
    return bounds
