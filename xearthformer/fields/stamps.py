"""Stamps in other forms: of another name than their dim, in UTC, as 19400101, in another calendar.

`with_datetimes` brings the time axis of data to the one form that the package reads, and `as_label`
what a user types to select from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from .axes import AXIS_NAMES, Data, find_time

# Dates as numbers, by how many digits they have.
FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
DAY = np.timedelta64(1, "D")
GREGORIAN = "standard", "gregorian", "proleptic_gregorian"  # the same dates from 1582 on
EPOCH = "seconds since 1970-01-01"
WITH_ZONE = re.compile(r"\d:\d\d.*(Z|[+-]\d\d:?\d\d)$")  # text such as 2000-01-01T00:00Z


def with_datetimes(data: Data) -> Data:
    """Return data whose time dim has a coordinate of its own name, of datetimes without a zone.

    Stamps may stand in a coordinate of another name (WRF's XTIME, `valid_time` along `step`), be in
    UTC, dates, periods, or numbers such as 19400101 and 194001010630. Other data is returned as it
    is. Another time zone is an error: in UTC, its days and months would begin on the day before.

    >>> rain = xr.DataArray([1.0, 2], {"XTIME": ("Time", pd.to_datetime(["2000", "2001"]))}, "Time")
    >>> with_datetimes(rain)["Time"].dt.year.values
    array([2000, 2001])
    """
    if "lead" in {*data.dims, *data.coords}:
        return data  # a forecast, whose leads have valid times next to them
    try:
        dim = find_time(data)
    except ValueError:  # an index of one time, a climatology
        return data
    for coord in _candidates(data, dim):
        stamps = datetimes(coord)
        if stamps is None:
            continue
        if coord.name == dim and stamps is coord:
            return data
        attrs = {k: v for k, v in coord.attrs.items() if not str(v).startswith("day as")}
        if dim.lower() not in AXIS_NAMES["time"]:  # such as `step`, which says no time by its name
            attrs = {"standard_name": "time", **attrs}
        new = xr.Variable(dim, stamps.values, attrs, coord.encoding)
        return data.assign_coords({dim: new})
    return data


def _candidates(data: Data, dim: str) -> Iterable[xr.DataArray]:
    """Yield what may hold the stamps along a dim, the likelier first: that of its own name."""
    along = [coord for coord in data.coords.values() if coord.dims == (dim,)]
    names = [dim.lower(), *AXIS_NAMES["time"]]

    def unlikeliness(coord: xr.DataArray) -> tuple[bool, bool, int]:
        name = str(coord.name).lower()
        place = names.index(name) if name in names else len(names)
        return coord.name != dim, coord.attrs.get("standard_name") != "time", place

    starts = "forecast_reference_time"  # not when values are valid
    return sorted((c for c in along if c.attrs.get("standard_name") != starts), key=unlikeliness)


def datetimes(coord: xr.DataArray) -> xr.DataArray | None:
    """Return stamps as datetimes; None for what are none, or none that this package can tell."""
    is_plain = isinstance(coord.dtype, np.dtype)  # else of pandas: periods, times in a zone
    if is_plain and coord.dtype.kind in "Mm":
        return coord if coord.dtype.kind == "M" else None
    first = coord.values.flat[0] if is_plain and coord.size else None
    if hasattr(first, "calendar") and not isinstance(first, date):  # of cftime
        return coord
    try:
        index = _index(coord, first)
    except (ValueError, TypeError, OverflowError):
        return None
    if index is None:
        return None
    if index.tz is not None and any(stamp.utcoffset() for stamp in index):
        raise _in_zone(index, str(coord.name))
    return xr.DataArray(index.tz_localize(None).to_numpy(), dims=coord.dims)


def _index(coord: xr.DataArray, first: object) -> pd.DatetimeIndex | None:
    """Return dates in pandas' types, in Python's, or as numbers; None for other things."""
    if isinstance(coord.dtype, np.dtype) and coord.dtype.kind in "iuf":
        # elsewhere numbers are counts of something, and pandas reads them as nanoseconds
        units = str(coord.attrs.get("units", ""))
        if units and not units.startswith("day as"):
            return None
        whole = coord.values.astype(np.int64)
        digits = np.unique(np.char.str_len(whole.astype(str)))
        is_date = np.array_equal(whole, coord.values) and digits.size == 1
        known = FORMATS.get(int(digits[0])) if is_date else None
        return pd.to_datetime(whole.astype(str), format=known) if known else None
    own = coord.to_index()
    if isinstance(own, pd.PeriodIndex):
        return own.to_timestamp()
    if isinstance(own, pd.DatetimeIndex) or isinstance(first, date):
        return pd.DatetimeIndex(own)
    return None


def _in_zone(index: pd.DatetimeIndex, name: str) -> ValueError:
    """Return the error for another time zone than UTC."""
    span = (index[-1] - index[0]) / max(1, index.size - 1)
    hint = f'da.assign_coords({name}=da.indexes["{name}"].tz_convert("UTC"))'
    if span >= DAY:  # midnight of a day is another day's in UTC
        hint = f'da.assign_coords({name}=da.indexes["{name}"].tz_localize(None))'
    return mismatch("stamps in UTC, or without a time zone", f"{name} in {index.tz}", hint)


# --- labels


def as_label(label: object, time: xr.DataArray) -> object:
    """Return a label of a time, or a slice of them, in the form of the stamps of an axis.

    >>> time = xr.DataArray(xr.date_range("2000", periods=2, freq="D"), dims="time")
    >>> as_label("2000-01-01T01:00+01:00", time), as_label(pd.Period("2000-01"), time)
    (Timestamp('2000-01-01 00:00:00'), '2000-01')
    """
    if isinstance(label, slice):
        return slice(as_label(label.start, time), as_label(label.stop, time), label.step)
    if isinstance(label, xr.DataArray | np.ndarray) and label.ndim == 0:
        label = np.asarray(label)[()]  # .item() of nanoseconds is an integer
    if isinstance(label, str) and WITH_ZONE.search(label):
        label = pd.Timestamp(label)
    if isinstance(label, datetime) and label.tzinfo is not None:
        label = pd.Timestamp(label).tz_convert(None)
    if isinstance(label, np.datetime64) and np.datetime_data(label)[0] in "YM":
        return str(label)  # all of that year or month, as the same text
    if isinstance(label, pd.Period | date) and not isinstance(label, datetime):
        return str(label)
    return _in_calendar(label, time)


def _in_calendar(label: object, time: xr.DataArray) -> object:
    """Return a date as cftime where the stamps are, and the reverse, where they are the same."""
    ours = getattr(time.values.flat[0], "calendar", None) if time.dtype.kind == "O" else None
    theirs = getattr(label, "calendar", None)
    if ours in GREGORIAN and isinstance(label, np.datetime64 | datetime) and not pd.isna(label):
        import cftime

        moment = pd.Timestamp(label)
        parts = moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second
        return cftime.datetime(*parts, moment.microsecond, calendar=ours)
    if theirs in GREGORIAN and time.dtype.kind == "M":
        return pd.Timestamp(label.isoformat())  # type: ignore[attr-defined]
    return label


def microseconds(time: xr.DataArray) -> np.ndarray:
    """Return stamps as microseconds since 1970, of cftime in a calendar that has the same dates.

    Those of other calendars are returned as they are: they are equal to none of these.
    """
    if time.dtype.kind == "M":
        return time.values.astype("M8[us]").astype(np.int64)
    if time.values.flat[0].calendar not in GREGORIAN:
        return time.values
    import cftime

    values = cftime.date2num(time.values, f"micro{EPOCH}", time.values.flat[0].calendar)
    return np.asarray(values, np.int64)
