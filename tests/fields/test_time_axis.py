"""The one step of a record in every calendar, the stamps after it, and what irregular time gets."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xearthformer.fields.time_axis import (
    check_time,
    round_jitter,
    shift_time,
    stamps_on_grid,
    str_month,
    str_time,
)


def record(stamps, name="time", **attrs):
    """A time coordinate, from stamps that pandas or cftime made."""
    return xr.DataArray(stamps, dims=name, coords={name: (name, stamps, attrs)})[name]


def dates(*texts):
    return record(pd.to_datetime(list(texts), format="ISO8601"))


def months(n, start="2000-01-01", calendar=None, freq="MS"):
    kwargs = {"calendar": calendar, "use_cftime": True} if calendar else {}
    return record(xr.date_range(start, periods=n, freq=freq, **kwargs))


def days(stamps):
    return [str_time(stamp)[:16] for stamp in np.ravel(stamps)]


MONTHLY = {
    "day 1": months(14),
    "day 15": record(months(14).values + np.timedelta64(14, "D")),
    "ends": months(14, freq="ME"),
    "middles": dates("2000-01-16T12", "2000-02-15T12", "2000-03-16T12", "2000-04-16"),
    "any day": dates("2000-01-03", "2000-02-01", "2000-03-06"),
    "noleap": months(14, calendar="noleap"),
    "360_day": months(14, calendar="360_day"),
    "360_day ends": months(14, calendar="360_day", freq="ME"),
    "cftime standard": months(14, calendar="standard"),
    "seconds": dates("1700-01-15", "1700-02-15").astype("datetime64[s]"),
}


@pytest.mark.parametrize("case", MONTHLY)
def test_monthly_whatever_the_day(case):
    assert check_time(MONTHLY[case]) == "month"


@pytest.mark.parametrize("freq, step", [("5min", (5, "m")), ("6h", (6, "h")), ("D", (1, "D"))])
@pytest.mark.parametrize("calendar", [None, "noleap", "360_day"])
def test_constant_step(freq, step, calendar):
    time = months(50, start="2000-02-27", calendar=calendar, freq=freq)
    assert check_time(time) == np.timedelta64(*step)


def test_two_stamps_either_side_of_a_month_are_a_day_apart():
    assert check_time(dates("2000-01-31", "2000-02-01")) == np.timedelta64(1, "D")


def test_thirty_days_is_not_a_month():
    assert check_time(months(5, freq="30D")) == np.timedelta64(30, "D")


def test_jitter_of_decoded_floats_is_forgiven():
    time = record(months(20, freq="5min").values.astype("datetime64[ns]"))
    time = record(time.values + np.arange(20) % 3 * np.timedelta64(900, "ns"))
    assert check_time(time) == np.timedelta64(5, "m")


# --- what irregular time gets

BAD = {
    "gap": (dates("2000-01-15", "2000-02-15", "2000-04-15", "2000-05-15"), "no 2000-03\n.*2000-04"),
    "two gaps": (dates("2000-01-01", "2000-03-01", "2000-05-01"), "no 2000-02, 2000-04\n"),
    "cftime gap": (months(9, calendar="noleap")[[0, 1, 3, 4]], "no 2000-03\n"),
    "duplicate": (
        dates("2000-01-01", "2000-02-01", "2000-02-01"),
        "duplicate 2000-02-01\n.*drop_d",
    ),
    "twice a month": (
        dates("2000-01-01", "2000-02-01", "2000-02-15", "2000-03-01", "2000-04-01"),
        "duplicate months.*2000-02\n.*resample",
    ),
    "descending": (months(5)[::-1], r'descending time\n.*da.sortby\("time"\)'),
    "unordered": (months(5)[[0, 2, 1]], "unordered time"),
    "one stamp": (months(1), "2 times or more.*found 1"),
    "missing frames": (
        months(20, freq="5min")[[*range(10), *range(13, 20)]],
        "a time every 5min\n.*gaps from 2000-01-01 00:45:00 to 2000-01-01 01:05:00\n"
        r'     try da\.sel\(time=slice\("2000-01-01 01:05:00", None\)\)$',
    ),
    "missing days": (
        months(20, freq="1D")[[*range(10), *range(13, 20)]],
        "a time every (24h|1D)\n.*gaps from .*\n.*resample.*interpolate_na.*da.sel",
    ),
    "rough": (
        dates("2000-01-01T00:00", "2000-01-01T00:05", "2000-01-01T00:09:10", "2000-01-01T00:15"),
        r'steps from .*dt.round\("5min"\)',
    ),
    "irregular": (dates("2000-01-01", "2000-01-02", "2000-01-05"), "one constant step"),
    "NaT": (record(np.array(["2000-01-01", "NaT", "2000-03-01"], "M8[ns]")), "1 missing stamps"),
    "days since": (record(np.arange(3), units="days since 2000-01-01"), "xr.decode_cf"),
    "months since": (
        record(np.arange(0.5, 3), units="months since 1960-01-01"),
        '360-day calendar decodes\n.*"360_day"; ds = xr.decode_cf',
    ),
    "numbers": (record(np.arange(3)), r"int64 values.*\n.*pd.to_datetime"),
    "text": (record(np.array(["2000-01", "2000-02"])), "values.*\n.*pd.to_datetime"),
    "no coordinate": (xr.DataArray(np.zeros(3), dims="t")["t"], "no coordinate.*\n.*date_range"),
}


@pytest.mark.parametrize("case", BAD)
def test_irregular_time_says_what_and_where_and_what_to_type(case):
    time, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected.*{message}"):
        check_time(time)


def test_the_line_for_months_since_mends(tmp_path):
    time = ("time", np.arange(0.5, 3), {"units": "months since 1960-01-01", "calendar": "360"})
    ds = xr.Dataset({"a": ("time", np.zeros(3))}, {"time": time})
    ds["time"].attrs["calendar"] = "360_day"
    ds = xr.decode_cf(ds)
    assert check_time(ds["time"]) == "month"


def mends(da):
    """The lines of the error for the time axis of `da`, typed as they are printed."""
    with pytest.raises(ValueError) as error:
        check_time(da["time"])
    words = str(error.value).split("try ")[1]
    return [eval(line, {"da": da}) for line in re.findall(r"da\.(?:[^ ,]|, )+\)", words)], words


def test_the_lines_for_a_gap_mend():
    attrs = {"units": "degC"}
    da = xr.DataArray([0.0, 1, 3, 4, 5], {"time": months(6).values[[0, 1, 3, 4, 5]]}, "time")
    (filled, cut), words = mends(da.assign_attrs(attrs))
    assert words.startswith("da.resample")  # one month: to fill it leaves the whole record
    np.testing.assert_allclose(filled, range(6), atol=0.05)  # February is short
    assert filled.attrs == attrs
    assert check_time(filled["time"]) == check_time(cut["time"]) == "month"
    assert cut.values.tolist() == [3, 4, 5]


def test_long_gaps_are_cut_off():
    # months 0 to 9, a gap of four, 14 and 15: the longest part is the first
    kept = [*range(10), 14, 15]
    da = xr.DataArray(np.array(kept, float), {"time": months(16).values[kept]}, "time")
    (cut, filled), words = mends(da)
    assert words.startswith('da.sel(time=slice("2000-01", "2000-10"))')
    assert cut.values.tolist() == list(range(10))
    np.testing.assert_allclose(filled, range(16), atol=0.1)


def test_a_dozen_missing_months_are_counted():
    with pytest.raises(ValueError, match="no 2000-03, 2000-04, 2000-05, 2000-06 and 8 more"):
        check_time(months(20)[[0, 1, 14, 15, 16]])


# --- the stamps that come after


SHIFTS = {  # record, k, the stamp k months after its last
    "day 1": (months(3), 2, "2000-05-01"),
    "day 15": (dates("2000-01-15", "2000-02-15"), 12, "2001-02-15"),
    "day 15, one stamp": (dates("2001-02-15"), 1, "2001-03-15"),
    "back": (dates("2000-01-15", "2000-02-15"), -3, "1999-11-15"),
    "ends": (months(2, freq="ME"), 1, "2000-03-31"),
    "ends into February": (months(1, freq="ME"), 13, "2001-02-28"),
    "April's end, one stamp": (dates("2001-04-30"), 1, "2001-05-31"),
    "last second": (dates("2000-01-31T23:59", "2000-02-29T23:59"), 1, "2000-03-31 23:59"),
    "day 30": (dates("2000-01-30", "2000-02-29", "2000-03-30"), 11, "2001-02-28"),
    "middles": (dates("2001-01-16T12", "2001-02-15", "2001-03-16T12"), 1, "2001-04-16"),
    "middles into a leap year": (dates("2003-12-16T12", "2004-01-16T12"), 1, "2004-02-15 12:00"),
    "middle, one stamp": (dates("2001-03-16T12"), 1, "2001-04-16"),
    "HadISST's middles": (
        dates("2001-01-16T11:59:59.5", "2001-02-14T23:59:59.997"),
        1,
        "2001-03-16 12:00",
    ),
    "any day": (dates("2000-01-03", "2000-02-01"), 1, "2000-03-03"),
    "noleap": (months(2, "2000-02-01", "noleap", "ME"), 11, "2001-02-28"),
    "noleap middle": (
        record(months(2, calendar="noleap").values + pd.Timedelta("15.5D").to_pytimedelta()),
        0,
        "2000-02-16",
    ),
    "360_day": (months(2, "2000-01-01", "360_day", "ME"), 12, "2001-02-30"),
}


@pytest.mark.parametrize("case", SHIFTS)
def test_months_after_keep_the_manner_of_the_record(case):
    time, k, expected = SHIFTS[case]
    after = shift_time(time, "month", np.array([time.size - 1]), k)
    assert after.dtype == time.dtype
    assert days(after)[0].startswith(expected)


def test_a_month_of_the_record_is_stamped_as_there():
    time = dates("2000-01-03", "2000-02-01", "2000-03-06")
    assert days(shift_time(time, "month", np.array([0, 1]), 1)) == ["2000-02-01", "2000-03-06"]


def test_many_steps_from_many_stamps_give_the_shape_of_valid_time():
    after = shift_time(months(4), "month", np.array([1, 3]), np.arange(1, 4))
    assert after.shape == (2, 3)
    assert days(after[1]) == ["2000-05-01", "2000-06-01", "2000-07-01"]


@pytest.mark.parametrize("calendar", [None, "noleap", "360_day"])
def test_constant_steps_after(calendar):
    time = months(4, "2000-02-28T23:50:00", calendar, "5min")
    after = shift_time(time, check_time(time), np.array([0, 3]), np.array([1, 2]))
    assert after.shape == (2, 2) and after.dtype == time.dtype
    assert after[0, 1] == time.values[2]
    assert str(after[1, 0])[11:16] == "00:10"


def test_text_of_months_and_stamps():
    assert str_month(1999 * 12 + 11) == "1999-12"
    assert str_time(np.datetime64("2000-01-01T06:00")) == "2000-01-01 06:00:00"
    assert str_time(months(1, calendar="360_day").values[0]) == "2000-01-01"


# --- stamps that are seconds off, and records with gaps


def seconds(*offsets, step=300, start="2016-07-11T22:00"):
    """A record whose stamps are whole steps, each off by some seconds."""
    own = np.arange(len(offsets)) * step + np.array(offsets)
    return record(np.datetime64(start, "s") + own.astype("m8[s]"))


def rounded(time):
    da = xr.DataArray(np.zeros(time.size), {"time": time.variable}, "time", attrs={"units": "1"})
    return round_jitter(da)["time"]


def test_seconds_off_are_rounded_to_the_minute():
    time = seconds(3, -10, 10, 0, -4)
    assert check_time(time) == np.timedelta64(5, "m")
    assert days(rounded(time))[1] == "2016-07-11 22:05"
    assert (rounded(time) == seconds(0, 0, 0, 0, 0)).all()
    # each by itself: any two of them are five minutes apart too
    assert check_time(time[:2]) == np.timedelta64(5, "m")
    assert (rounded(time[:2]) == rounded(time)[:2]).all()
    assert rounded(time).dtype == time.dtype


@pytest.mark.parametrize("offsets, step", [((38, 37, 41), 120), ((0, 4, -3), 60)])
def test_of_any_second_and_step(offsets, step):
    time = seconds(*offsets, step=step)
    assert check_time(time) == np.timedelta64(step, "s")
    assert (rounded(time).dt.second == 0).all()


@pytest.mark.parametrize(
    "offsets, step",
    [((30, 30, 30), 300), ((0, 0, 0), 10), ((0, 0), 150), ((0, 0), 90), ((0, 0), 45)],
    ids=str,
)
def test_regular_stamps_are_left_as_they_are(offsets, step):
    time = seconds(*offsets, step=step)
    assert check_time(time) == np.timedelta64(step, "s")
    assert (rounded(time) == time).all()


def test_a_minute_off_is_no_jitter():
    time = seconds(0, 60, 0, 0, 0)
    with pytest.raises(ValueError, match=r'dt.round\("5min"\)'):
        check_time(time)
    assert (rounded(time) == time).all()


def test_dates_of_any_calendar_are_rounded():
    time = months(3, calendar="noleap", freq="5min")
    off = record(time.values + np.array([4, -4, 0], "m8[s]").astype(object))
    assert check_time(off) == np.timedelta64(5, "m")
    assert (rounded(off) == time).all()


def test_a_record_with_gaps_is_on_a_grid():
    step, positions = stamps_on_grid(seconds(0, 2, 0, -3, 0, 1)[[0, 1, 2, 5]])
    assert step == np.timedelta64(5, "m") and positions.tolist() == [0, 1, 2, 5]
    step, positions = stamps_on_grid(months(20)[[0, 1, 4]])
    assert step == "month" and positions.tolist() == [0, 1, 4]
    assert stamps_on_grid(seconds(0, 300, 600, 900))[0] == np.timedelta64(10, "m")


@pytest.mark.parametrize("minutes", [(0, 5, 12, 15), (0, 1, 5, 8, 15)], ids=str)
def test_without_one_step_there_is_no_grid(minutes):
    # the second: all are multiples of one minute, but only one frame follows a minute later
    stamps = np.datetime64("2016-07-11T22:00", "s") + np.array(minutes, "m8[m]")
    with pytest.raises(ValueError, match="one constant step"):
        stamps_on_grid(record(stamps))


def test_the_stamps_of_two_monthly_records_become_months_by_the_line_printed():
    first = xr.date_range("2000-01-01", periods=6, freq="MS")
    one = xr.DataArray(np.arange(6.0), {"time": first}, ("time",))
    two = (one + 10).assign_coords(time=first + np.timedelta64(14, "D"))
    joined = xr.merge([one.rename("sst"), two.rename("zos")], join="outer")
    with pytest.raises(ValueError, match="one stamp a month") as raised:
        check_time(joined["time"])
    assert str(raised.value).endswith('try da.resample(time="MS").mean(keep_attrs=True)')
    mended = joined.resample(time="MS").mean(keep_attrs=True)
    assert check_time(mended["time"]) == "month"
    assert (mended["sst"] == np.arange(6)).all() and (mended["zos"] == np.arange(6) + 10).all()


@pytest.mark.parametrize(("freq", "months"), [("YS", 12), ("QS", 3), ("2MS", 2)])
def test_means_of_several_months_are_no_months_with_gaps(freq, months):
    time = xr.date_range("1990", periods=9, freq=freq)
    with pytest.raises(ValueError, match=f"one of every {months} months"):
        check_time(xr.DataArray(time, dims="time"))
