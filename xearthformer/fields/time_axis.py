"""Time axes: the one time step of a record, months included, and the stamps that come after it.

NumPy and cftime datetimes alike; an irregular time axis is an error that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from .axes import find_time

if TYPE_CHECKING:
    import cftime

Step: TypeAlias = np.timedelta64 | Literal["month"]
LeadLike: TypeAlias = int | str | timedelta | np.timedelta64 | np.ndarray | xr.DataArray
Stamp: TypeAlias = "pd.Timestamp | cftime.datetime"

SECOND = 1_000_000  # microseconds
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MONTH_APART = 20 * DAY, 45 * DAY  # stamps in consecutive months, whatever the day in each
MIDDLE = "time_middle"  # the coordinate along time with the middles of the bounds
NEWEST = "newest"  # that with the time of the newest frame which each frame was made of
EPOCHS = [f"{unit} since 1970-01-01" for unit in ("seconds", "microseconds", "nanoseconds")]
DECODED = 1e-3  # share of a step that times decoded from floats may be off by
JITTER = 20 * SECOND  # between the earliest and the latest of stamps that are rounded
LAST_YEAR = 9999  # that Python can say
YEAR_AND_MONTH = 100001, 299912  # numbers that may be both
YEAR_MONTH = "year", "month"  # levels of an index, or dims, that are one axis of time
EVERYDAY = {"standard", "gregorian", "proleptic_gregorian", "noleap"}  # whose dates all are
LONGEST_FILLED = 2  # missing months in a row that are filled rather than cut off
MOST_JOINED = 3  # stamps a month that are those of monthly records, or of dekads
SHOWN = 4  # stamps or months an error names before it counts the rest


def month_numbers(time: xr.DataArray) -> np.ndarray:
    """Return months since January of year 0, one per stamp; consecutive months differ by 1."""
    return (time.dt.year.values * 12 + time.dt.month.values - 1).astype(np.int64)


def months_of(time: xr.DataArray) -> np.ndarray:
    """Return the months that values are of, numbered as by `month_numbers`.

    By the middles of time bounds, if `time_bounds.with_middles` has put them next to the stamps;
    else by the stamps: one at 00:00 on the first is of the month it begins.
    """
    return month_numbers(time.coords.get(MIDDLE, time))


def whole_years(time: xr.DataArray) -> tuple[int, int]:
    """Return the first and last calendar year of which monthly data holds every month.

    >>> whole_years(xr.DataArray(xr.date_range("1999-12", periods=30, freq="MS"), dims="time"))
    (2000, 2001)
    """
    months = months_of(time)
    return -(-int(months[0]) // 12), (int(months[-1]) + 1) // 12 - 1


def str_month(number: int) -> str:
    """Return a month number as text.

    >>> str_month(1981 * 12)
    '1981-01'
    """
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def str_time(stamp: np.datetime64 | Stamp) -> str:
    """Return a stamp as text, without the time of day if it is midnight.

    >>> str_time(np.datetime64("1999-12-31T00:00:00"))
    '1999-12-31'
    """
    text = str(pd.Timestamp(stamp)) if isinstance(stamp, np.datetime64) else str(stamp)
    return text.removesuffix(" 00:00:00")


def str_step(step: Step) -> str:
    """Return a time step as pandas and xarray write it.

    >>> str_step(np.timedelta64(300, "s")), str_step(np.timedelta64(1, "D")), str_step("month")
    ('5min', '1D', 'month')
    """
    if isinstance(step, str):
        return step
    days = step / np.timedelta64(1, "D")
    if days == int(days):  # which pandas writes as hours
        return f"{int(days)}D"
    text = pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr
    return text if text[0].isdigit() else f"1{text}"


def check_time(time: xr.DataArray) -> Step:
    """Return the one step of a time coordinate, of NumPy or cftime datetimes in any calendar.

    "month" if the stamps lie in consecutive months, whatever their day; else a timedelta64. A
    constant step may jitter by a thousandth, as times decoded from floats do, or by seconds, as
    `round_jitter` mends. Time that is not decoded, descends, has fewer than 2 stamps, duplicates,
    a gap or no constant step is an error.

    >>> ends = pd.to_datetime(["1999-12-31", "2000-01-31", "2000-02-29"])
    >>> check_time(xr.DataArray(ends, dims="time"))
    'month'
    """
    deltas = apart(time)
    months = month_numbers(time)
    shortest, longest = deltas.min(), deltas.max()
    # the length as well: 31 January and 1 February are in consecutive months
    if (np.diff(months) == 1).all() and shortest >= MONTH_APART[0] and longest <= MONTH_APART[1]:
        return "month"
    regular = regular_steps(time, deltas)
    if regular is not None and regular[1][-1] == deltas.size:
        return regular[0]
    middle = int(np.median(deltas))
    if middle > MONTH_APART[1] and time.size > 4 and deltas.min() > MONTH_APART[1]:
        found = f"one of every {round(middle / (30.44 * DAY))} months"
        raise mismatch("every month", found, "monthly means, of which these are made")
    if MONTH_APART[0] <= middle and len(np.unique(months)) == months.size:
        missing = sorted(set(range(months[0], months[-1])) - set(months.tolist()))
        found = f"no {_shortened([str_month(m) for m in missing])}"
        raise mismatch("every month", found, _mend_gaps(months, missing, _name(time)))
    # of a month each, now and then two; or the stamps of two monthly records, as of an outer join
    months_there = len(np.unique(months))
    joined = regular is None and months.size <= MOST_JOINED * months_there
    if months_there < months.size and longest <= 32 * DAY and (joined or longest >= 27 * DAY):
        twice = [str_month(int(m)) for m in months[1:][np.diff(months) == 0]]
        raise mismatch(
            "one stamp a month",
            f"duplicate months, with different days: {_shortened(twice)}",
            f'da.resample({_name(time)}="MS").mean(keep_attrs=True)',
        )
    raise _irregular(time, deltas)


def stamps_on_grid(time: xr.DataArray) -> tuple[Step, np.ndarray]:
    """Return the step of a record that may have gaps, and how many steps after the first each is.

    The second is an int array that starts at 0; where it grows by more than 1, stamps are missing.
    Step and errors are as of `check_time`, but a gap is none: at least half of the stamps must come
    one step after another. Stamps that are seconds off count as `round_jitter` has them.

    >>> times = [f"2016-07-11T22:{text}" for text in ("00:00", "05:04", "15:00")]
    >>> stamps_on_grid(xr.DataArray(np.array(times, "M8[ns]"), dims="time"))
    (np.timedelta64(300,'s'), array([0, 1, 3]))
    """
    deltas = apart(time)
    months = month_numbers(time)
    after = np.diff(months)
    by_month = deltas.min() >= MONTH_APART[0] and after.min() == 1
    if by_month and (after == 1).sum() * 2 >= after.size:
        return "month", months - months[0]
    regular = regular_steps(time, deltas)
    if regular is None:
        raise _irregular(time, deltas)
    return regular


def duration(value: object) -> np.timedelta64 | None:
    """Return a duration given in any form; None for what is none.

    A number is no duration, though pandas reads it as nanoseconds, but for one with units: of a
    coordinate that was not decoded.

    >>> forms = "30min", timedelta(minutes=30), xr.DataArray(1800, attrs={"units": "seconds"})
    >>> [int(duration(form) / np.timedelta64(1, "s")) for form in forms]
    [1800, 1800, 1800]
    >>> duration(30) is None
    True
    """
    value, units = _bare(value)
    if _is_number(value) or isinstance(value, float | np.floating):
        value = f"{value} {units}" if units else None
    try:
        length = pd.Timedelta(value)
    except (TypeError, ValueError):
        return None
    return None if pd.isna(length) else length.to_timedelta64()


def count_steps(lead: LeadLike, step: Step, default: int) -> int:
    """Return how many time steps a lead is, which is given as their number or as a duration.

    What is no whole number of steps from 1 is an error, whose hint is the `default`.

    >>> count_steps("30min", np.timedelta64(300, "s"), 12), count_steps("3 months", "month", 12)
    (6, 3)
    """
    value, units = _bare(lead)
    if isinstance(value, str) and value.isdecimal():  # a number, from the command line
        value = int(value)
    steps: float = 0
    if _is_number(value) and units in ("", "1", *(["months", "month"] if step == "month" else [])):
        steps = float(value)  # type: ignore[arg-type]
    elif step != "month":
        length = duration(lead)
        steps = 0 if length is None else length / step
    elif isinstance(value, str) and (months := re.fullmatch(r" *(\d+) *months? *", value)):
        steps = float(months[1])
    elif isinstance(value, np.timedelta64) and np.datetime_data(value)[0] in "YM":
        steps = value / np.timedelta64(1, "M")  # others are no number of months
    if steps < 1 or steps != int(steps):
        unit = "months" if step == "month" else f"time steps of {pd.Timedelta(step)}"
        found = f"{value!r} {units}".strip()
        raise mismatch(f"lead as a whole number of {unit}, from 1", found, f"lead={default}")
    return int(steps)


def _bare(value: object) -> tuple[object, str]:
    """Return what an array without dims holds, and its units."""
    units = str(value.attrs.get("units", "")) if isinstance(value, xr.DataArray) else ""
    if isinstance(value, xr.DataArray | np.ndarray) and value.ndim == 0:
        value = np.asarray(value)[()]  # not .item(): of nanoseconds, that is an integer
    return value, units


def _is_number(value: object) -> bool:
    """Return whether a value is a number; for NumPy and Python, durations and truth are some."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def round_jitter(da: xr.DataArray) -> xr.DataArray:
    """Return data whose stamps are seconds off a constant step with stamps to the minute.

    Off by up to ten seconds, or a twentieth of the step if that is more, and only where rounding
    makes all of them regular, gaps aside; other data is returned as it is. Each stamp is rounded by
    itself, so that a part of a record and its observations get the same.

    >>> times = np.array(["2016-07-11T22:00:04", "2016-07-11T22:04:58"], "M8[ns]")
    >>> da = xr.DataArray([1.0, 2.0], {"time": times}, "time")
    >>> round_jitter(da)["time"].dt.strftime("%H:%M:%S").values.tolist()
    ['22:00:00', '22:05:00']
    """
    dim = find_time(da)
    if dim not in da.coords or da.sizes[dim] < 2 or not _is_datetime(da[dim]):
        return da
    time = da[dim]
    deltas = _microseconds(time)
    if (deltas <= 0).any() or _is_exact(deltas) or _rounded_steps(time, deltas) is None:
        return da
    own = _since_minute(time, deltas)
    shift = (to_minute(own) - own).astype("timedelta64[us]")
    stamps = time.values + (shift if time.dtype.kind == "M" else shift.astype(object))
    new = xr.Variable(dim, stamps.astype(time.dtype), time.attrs, time.encoding)
    return da.assign_coords({dim: new})


def apart(time: xr.DataArray) -> np.ndarray:
    """Return how many microseconds after the one before each stamp is: an int array.

    Time that is not decoded or doesn't ascend, and fewer than 2 stamps, are errors.
    """
    check_decoded(time, _name(time))
    if time.size < 2:
        raise mismatch("2 times or more, to know the step", f"{time.size}", "a longer record")
    deltas = _microseconds(time)
    if (deltas <= 0).any():
        raise _irregular(time, deltas)
    return deltas


def regular_steps(
    time: xr.DataArray, deltas: np.ndarray
) -> tuple[np.timedelta64, np.ndarray] | None:
    """Return what `stamps_on_grid` does of stamps that are `deltas` apart; None without a step."""
    exact = _whole_steps(deltas)
    if exact is not None and _is_exact(deltas):
        return exact
    return _rounded_steps(time, deltas) or exact


def to_minute(microseconds: np.ndarray) -> np.ndarray:
    """Return times in microseconds to the nearest minute, halves up.

    To the second first: decoded floats lie on either side of half a minute.
    """
    seconds = (microseconds + SECOND // 2) // SECOND * SECOND
    return (seconds + MINUTE // 2) // MINUTE * MINUTE


def _is_exact(deltas: np.ndarray) -> bool:
    """Return whether stamps need no rounding: two seem regular whatever their seconds are."""
    exact = _whole_steps(deltas)
    if exact is None:
        return False
    return deltas.size > 1 or exact[0] % np.timedelta64(60, "s") == np.timedelta64(0)


def _whole_steps(deltas: np.ndarray) -> tuple[np.timedelta64, np.ndarray] | None:
    """Return the step of which all deltas (microseconds) are multiples, and their running sum.

    The step is the shortest delta, and half of the others or more: else any whole minutes would
    have one.
    """
    step = int(np.median(deltas[deltas < 1.5 * deltas.min()]))
    counts = np.rint(deltas / step).astype(np.int64)
    off = np.abs(deltas - counts * step).max()
    if off > DECODED * step or (counts == 1).sum() * 2 < counts.size:
        return None
    return _timedelta(step), np.concatenate([[0], counts.cumsum()])


def _rounded_steps(
    time: xr.DataArray, deltas: np.ndarray
) -> tuple[np.timedelta64, np.ndarray] | None:
    """Return the same of stamps to the minute; None where that moves them apart by too much."""
    own = _since_minute(time, deltas)
    whole = np.diff(to_minute(own))
    regular = _whole_steps(whole) if (whole > 0).all() else None
    if regular is None:
        return None
    step = regular[0] / np.timedelta64(1, "us")
    spread = np.ptp(own - regular[1] * step)
    # never a fifth of the step: frames 45 seconds apart are none of every minute
    return regular if spread <= min(max(JITTER, step / 10), step / 5) else None


def _since_minute(time: xr.DataArray, deltas: np.ndarray) -> np.ndarray:
    """Return microseconds since the start of the minute in which the first stamp lies."""
    first = time.values[0]
    if time.dtype.kind == "M":
        start = int(first.astype("datetime64[us]").astype(np.int64)) % MINUTE
    else:
        start = first.second * SECOND + first.microsecond
    return start + np.concatenate([[0], deltas.cumsum()])


def _microseconds(time: xr.DataArray) -> np.ndarray:
    """Return how long after the one before each stamp is."""
    return np.diff(time.values).astype("timedelta64[us]").astype(np.int64)


def _mend_gaps(months: np.ndarray, missing: list[int], name: str) -> str:
    """Return the line that fills missing months, or that takes the longest part without any.

    To fill comes first where gaps are short, for what is left beside them may be too short.
    """
    fill = f'da.resample({name}="MS").mean(keep_attrs=True).interpolate_na("{name}")'
    edges = np.array([months[0] - 1, *missing, months[-1] + 1])
    parts = np.diff(edges)
    longest = parts.size - 1 - int(parts[::-1].argmax())  # the latest of equal ones
    first, last = (str_month(m) for m in (edges[longest] + 1, edges[longest + 1] - 1))
    cut = f'da.sel({name}=slice("{first}", "{last}"))'
    gap = max(map(len, np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)))
    if gap <= LONGEST_FILLED:
        return f"{fill} to fill the gaps, or the longest part without one, {cut}"
    return f"{cut}, the longest part without a gap, or fill them by {fill}"


def shift_time(
    time: xr.DataArray, step: Step, positions: np.ndarray, k: int | np.ndarray
) -> np.ndarray:
    """Return the stamps `k` steps (of `check_time`) after those at `positions` of a record.

    They have shape `positions.shape + k.shape`; a negative `k` goes back. A month that the record
    holds is stamped as it is there. Beyond it the record's habit goes on: month ends stay month
    ends, middles of months stay middles, a day of the month stays that day.

    >>> ends = xr.DataArray(pd.to_datetime(["1999-12-31", "2000-01-31"]), dims="time")
    >>> shift_time(ends, "month", np.array([1]), 1).astype("datetime64[D]")
    array(['2000-02-29'], dtype='datetime64[D]')
    """
    values, positions, k = time.values, np.asarray(positions), np.asarray(k)
    is_numpy = values.dtype.kind == "M"  # else objects of cftime
    start = positions.reshape(positions.shape + (1,) * k.ndim)  # broadcasts with k
    if step != "month":
        if is_numpy:
            return (values[start] + k * step).astype(values.dtype)
        return values[start] + k.astype(object) * step.astype("timedelta64[us]").item()
    stamps = list(map(pd.Timestamp, values)) if is_numpy else list(values)
    months = month_numbers(time)
    by_month = dict(zip(months.tolist(), stamps, strict=True))
    day = _day_of_month(stamps)
    goal = months[start] + k
    out = np.empty(goal.shape, object)
    for i, month in np.ndenumerate(goal):
        after = by_month.get(int(month))
        if after is None:
            like = stamps[positions[i[: positions.ndim]]]  # its time of day goes on
            # the day first: 31 January has no like in February
            first = like.replace(day=1).replace(year=int(month) // 12, month=int(month) % 12 + 1)
            if day == "middle":
                after = _middle_of(first)
            else:
                after = first.replace(day=min(day, _days_in_month(first)))
        out[i] = after.to_datetime64() if is_numpy else after
    return out.astype(values.dtype)


def check_end(time: xr.DataArray, step: Step, positions: np.ndarray, lead: int) -> None:
    """Raise ValueError where the last of `lead` steps lies beyond what time stamps can say.

    NumPy would begin again in 1677, and a list of all leads may not fit into memory.
    """
    last = np.array([positions.max()])
    try:
        if step == "month":
            end = shift_time(time, step, last, np.array([lead]))[0, 0]
        elif time.dtype.kind == "M":
            end = pd.Timestamp(time.values[last[0]]).as_unit("ns") + lead * pd.Timedelta(step)
        else:
            end = time.values[last[0]] + lead * step.astype("timedelta64[us]").item()
        end = pd.Timestamp(end) if isinstance(end, np.datetime64) else end
        if end.year > LAST_YEAR:  # which no file could be written of
            raise ValueError(f"the year {end.year}")
    except (ValueError, OverflowError) as error:
        found = f"lead={lead} from {str_time(time.values[last[0]])}"
        raise mismatch("leads up to a time that stamps can say", found, "a shorter lead") from error


def whole_encoding(stamps: np.ndarray, own: Mapping[str, object]) -> dict[str, object]:
    """Return an encoding of stamps as whole numbers: in the user's own units where they are that.

    Left to itself, xarray counts in whole days since the first stamp that it writes, and five
    minutes that are appended later become five days.

    >>> stamps = np.array(["2000-01-01T00:00", "2000-01-01T00:05"], "M8[ns]")
    >>> whole_encoding(stamps, {"units": "minutes since 1990-01-01"})["units"]
    'minutes since 1990-01-01'
    >>> whole_encoding(stamps, {"units": "days since 1990-01-01"})["units"]
    'seconds since 1970-01-01'
    """
    calendar: str = xr.DataArray(stamps.ravel(), dims="time").dt.calendar
    if stamps.dtype.kind == "M" and own.get("calendar") in ("standard", "gregorian"):
        calendar = str(own["calendar"])  # the same dates, under the name that the file has
    units = [str(own["units"])] if "units" in own else []
    held = (one for one in (*units, *EPOCHS) if _are_whole(stamps.ravel(), one, calendar))
    return {"units": next(held, EPOCHS[-1]), "calendar": calendar, "dtype": np.dtype(np.int64)}


def _are_whole(stamps: np.ndarray, units: str, calendar: str) -> bool:
    """Return whether stamps are whole numbers in units such as "hours since 1900-01-01"."""
    import cftime  # it takes a while

    try:
        zero, one = cftime.num2date([0, 1], units, calendar)
    except ValueError:  # such as months, which have no one length
        return False
    if stamps.dtype.kind == "M":
        if (stamps.astype("M8[us]") != stamps).any():
            return False
        zero, one = (np.datetime64(stamp.isoformat(), "us") for stamp in (zero, one))
        stamps = stamps.astype("M8[us]")
    elif zero.calendar != stamps[0].calendar:
        return False
    since, tick = (np.asarray(each - zero, "m8[us]").astype(np.int64) for each in (stamps, one))
    return bool(tick and (since % tick == 0).all())


def calendar_months(
    time: xr.DataArray, step: Step, positions: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """Return the months (1 to 12) `k` steps after those at `positions`: int, (positions, k).

    >>> time = xr.DataArray(pd.to_datetime(["1999-11-30", "1999-12-31"]), dims="time")
    >>> calendar_months(time, "month", np.array([1]), np.array([-1, 0, 1]))
    array([[11, 12,  1]])
    """
    if step == "month":
        return (months_of(time)[positions][:, None] + k) % 12 + 1
    stamps = shift_time(time, step, positions, k)
    flat = xr.DataArray(stamps.ravel(), dims="time")
    return flat.dt.month.values.reshape(stamps.shape)


def _day_of_month(stamps: list[Stamp]) -> int | Literal["middle"]:
    """Return the day of the month of a record's stamps (31: the last), or "middle".

    One stamp at 00:00 on the 15th is the 15th, though February's middle may be the same.
    """
    if all(stamp.day == _days_in_month(stamp) for stamp in stamps):
        return 31
    hour = timedelta(hours=1)  # HadISST's middles are seconds off
    middles = all(abs(stamp - _middle_of(stamp)) <= hour for stamp in stamps)
    if middles and not all(stamp.day == 15 and stamp.hour == 0 for stamp in stamps):
        return "middle"
    return max(stamp.day for stamp in stamps)


def _middle_of(stamp: Stamp) -> Stamp:
    """Return the middle of a month: 16 January 12:00, 15 February 00:00 in a common year."""
    first = stamp.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first + timedelta(days=_days_in_month(first)) / 2


def _days_in_month(stamp: Stamp) -> int:
    # pandas deprecates `daysinmonth`, the only name in cftime
    return stamp.days_in_month if isinstance(stamp, pd.Timestamp) else stamp.daysinmonth


def _is_datetime(time: xr.DataArray) -> bool:
    """Return whether a coordinate holds datetimes, of NumPy or cftime."""
    return time.dtype.kind == "M" or bool(time.size and hasattr(time.values.flat[0], "calendar"))


def _name(time: xr.DataArray) -> str:
    return str(time.name or (time.dims[0] if time.dims else "time"))


def check_decoded(time: xr.DataArray, name: str) -> None:
    """Raise ValueError unless a coordinate is datetimes, without missing stamps."""
    units = str(time.attrs.get("units", ""))
    if _is_datetime(time):
        missing = int(time.isnull().sum())
        if not missing:
            _check_one_calendar(time, name)
            return
        found, hint = f"{missing} missing stamps", f'da.isel({name}=da["{name}"].notnull().values)'
    elif name not in time.coords:
        found = "no coordinate along it"
        hint = f'da.assign_coords({name}=xr.date_range("1960-01", periods=..., freq="MS"))'
    elif units.startswith("month"):
        found = f"numbers in {units!r}, which only a 360-day calendar decodes"
        hint = f'ds["{name}"].attrs["calendar"] = "360_day"; ds = xr.decode_cf(ds)'
    elif " since " in units:
        found = f"numbers in {units!r}: time was not decoded"
        hint = 'ds = xr.decode_cf(ds), or of an array xr.decode_cf(da.to_dataset(name="a"))["a"]'
    else:
        first = time.values.flat[0] if time.size else None
        found = f"{time.dtype} values ({first}, ...)" if time.size else "nothing"
        hint = f"da.assign_coords({name}=...) with datetimes, such as pd.to_datetime(...)"
        if isinstance(first, str):
            hint = f'da.assign_coords({name}=pd.to_datetime(da["{name}"].values))'
        elif isinstance(first, tuple) and {*YEAR_MONTH} == {*time.to_index().names}:
            dates = f'pd.to_datetime(da.indexes["{name}"].to_frame().assign(day=1)).values'
            hint = f'da.drop_vars(["{name}", "year", "month"]).assign_coords({name}={dates})'
        elif isinstance(first, bytes):
            hint = f'da.assign_coords({name}=pd.to_datetime(da["{name}"].values.astype(str)))'
        elif isinstance(first, np.integer | np.floating) and (
            YEAR_AND_MONTH[0] <= first <= YEAR_AND_MONTH[1]
        ):
            whole = "" if isinstance(first, np.integer) else ".astype(int)"
            months = f'pd.to_datetime(da["{name}"]{whole}.astype(str), format="%Y%m")'
            hint = f"da.assign_coords({name}={months}), where {first:g} is a year and a month"
    raise mismatch(f"datetimes along {name!r}", found, hint)


def _check_one_calendar(time: xr.DataArray, name: str) -> None:
    """Raise ValueError for stamps of cftime in several calendars, as of two models joined."""
    if time.dtype.kind == "M":
        return
    calendars = sorted({str(stamp.calendar) for stamp in time.values.flat})
    if len(calendars) > 1:
        hint = "convert_calendar of each record, before they are joined"
        if {*calendars} <= EVERYDAY:
            stamps = f'pd.to_datetime([t.isoformat() for t in da["{name}"].values])'
            hint = f"da.assign_coords({name}={stamps})"
        raise mismatch("stamps in one calendar", ", ".join(calendars), hint)


def _irregular(time: xr.DataArray, deltas: np.ndarray) -> ValueError:
    """Return the error for stamps that repeat, go back, have gaps, or keep no step at all."""
    name = _name(time)
    unique, count = np.unique(time.values, return_counts=True)
    twice = _shortened([str_time(stamp) for stamp in unique[count > 1]])
    if twice:
        hint = f'da.drop_duplicates("{name}")'
        back, usual = deltas <= 0, int(np.median(deltas))
        if usual < HOUR:  # else an hour that is there twice
            back &= deltas < 0
        in_autumn = back.any() and (deltas[back] == usual - HOUR).all()
        if in_autumn and (usual < HOUR or _when_clocks_change(time[:-1][back])):
            hint = in_zone(time, ambiguous=True)
        return mismatch("every time once", f"duplicate {twice}", hint)
    if (deltas <= 0).any():
        order = "descending" if (deltas < 0).all() else "unordered"
        return mismatch("ascending time", f"{order} time", f'da.sortby("{name}")')
    steps, counts = np.unique(deltas, return_counts=True)
    step = int(steps[counts.argmax()]) if counts.max() > 1 else int(np.median(deltas))
    gaps = np.flatnonzero(deltas > 1.5 * step)
    # rounding mends jitter up to a quarter of the step; beyond it, only means of steps do
    jitters = not gaps.size and np.abs(deltas - step).max() * 4 <= step
    if jitters and not _is_one_each(deltas, step):  # in turns more and less than the step
        step = _round_step(deltas.mean())
        jitters = _is_one_each(deltas, step)
    freq = "MS" if 28 * DAY <= step <= 31 * DAY else str_step(_timedelta(step))
    if gaps.size and counts.max() * 2 >= deltas.size and (deltas >= 0.99 * step).all():
        ends = [f"{str_time(time.values[i])} to {str_time(time.values[i + 1])}" for i in gaps]
        hint = f'da.sel({name}=slice("{str_time(time.values[gaps[-1] + 1])}", None))'
        if step >= DAY:  # within a day things move: a mean of two showers is none
            fill = f'da.resample({name}="{freq}").asfreq().interpolate_na("{name}")'
            hint = f"{fill} to fill them, or {hint}"
        if skips_an_hour(time, deltas):
            hint = f"{in_zone(time)}; or where an hour is missing {hint}"
        return mismatch(f"a time every {freq}", f"gaps from {_shortened(ends)}", hint)
    return mismatch(
        "one constant step, or one stamp a month",
        f"steps from {pd.Timedelta(deltas.min(), 'us')} to {pd.Timedelta(deltas.max(), 'us')}",
        f'da.assign_coords({name}=da["{name}"].dt.round("{freq}"))'
        if jitters
        else f'da.resample({name}="{freq}").mean(keep_attrs=True)',
    )


def in_zone(time: xr.DataArray, ambiguous: bool = False) -> str:
    """Return the line that brings stamps of the clocks of a zone to UTC."""
    name, how = _name(time), ', ambiguous="infer"' if ambiguous else ""
    zoned = f'da.indexes["{name}"].tz_localize(...{how}).tz_convert("UTC")'
    return f"da.assign_coords({name}={zoned}), with the zone of these clocks for the dots"


def skips_an_hour(time: xr.DataArray, deltas: np.ndarray) -> bool:
    """Return whether stamps `deltas` apart leave out the hour that clocks do in spring.

    >>> time = pd.date_range("2021-03-28T00:00", "2021-03-28T04:30", freq="30min", tz="UTC")
    >>> time = xr.DataArray(time.tz_convert("Europe/Berlin").tz_localize(None), dims="time")
    >>> skips_an_hour(time, apart(time))
    True
    """
    step = int(np.median(deltas))
    gaps = deltas > 1.5 * step
    hours = bool(gaps.any() and (deltas[gaps] == step + HOUR).all())
    return hours and _when_clocks_change(time[:-1][gaps])


def _when_clocks_change(time: xr.DataArray) -> bool:
    """Return whether stamps are of nights before Sundays of spring or autumn, on either half."""
    night = (time.dt.dayofweek == 6) & (time.dt.hour < 4)
    return bool((night & time.dt.month.isin([3, 4, 9, 10, 11])).all())


def _is_one_each(deltas: np.ndarray, step: int) -> bool:
    """Return whether stamps so far apart are one in each step, whose start is that of the first."""
    return bool((np.diff(np.rint(np.append(0, deltas.cumsum()) / step)) == 1).all())


def _round_step(microseconds: float) -> int:
    """Return a step in whole days, hours, minutes or seconds, the largest that is near."""
    for unit in (DAY, 60 * MINUTE, MINUTE):
        if abs(round(microseconds / unit) * unit - microseconds) <= 0.02 * microseconds:
            return round(microseconds / unit) * unit
    return max(1, round(microseconds / SECOND)) * SECOND


def _timedelta(microseconds: int) -> np.timedelta64:
    """Return a step, in whole seconds where a thousandth of it allows that."""
    seconds = round(microseconds / 1e6)
    if abs(seconds * 10**6 - microseconds) * 1000 <= microseconds:
        return np.timedelta64(seconds, "s")
    return np.timedelta64(microseconds, "us")


def _shortened(texts: list[str]) -> str:
    """Return the first few texts, and the number of the others."""
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
