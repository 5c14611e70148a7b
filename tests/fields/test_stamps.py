"""Stamps in other forms: under another name, in UTC, as 19400101, in another calendar."""

from datetime import date

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.fields.axes import find_time
from xearthformer.fields.stamps import as_label, microseconds, with_datetimes
from xearthformer.fields.windows import find_inits

DAYS = pd.date_range("1940-01-01", periods=3, freq="D")


def along(dim, name, stamps, attrs=None, **coords):
    """A series along a dim, with a coordinate of stamps."""
    return xr.DataArray([1.0, 2.0, 3.0], {name: (dim, stamps, attrs), **coords}, dim)


@pytest.mark.parametrize(
    "da",
    [
        along("Time", "XTIME", DAYS),  # WRF
        along("time_counter", "time_centered", DAYS, {"standard_name": "time"}),  # IPSL
        along("record", "time", DAYS),
        along("month", "time", DAYS, month=np.arange(3)),
        along("time", "time", DAYS.tz_localize("UTC")),
        along("time", "time", np.array([*DAYS.tz_localize("UTC")], object)),
        along("time", "time", [19400101, 19400102, 19400103]),
        along("time", "time", [19400101.0, 19400102.0, 19400103.0], {"units": "day as %Y%m%d.%f"}),
        along("time", "time", pd.period_range("1940-01-01", periods=3, freq="D")),
        along("time", "time", np.array([date(1940, 1, day) for day in (1, 2, 3)], object)),
    ],
)
def test_stamps_in_other_forms_are_read(da):
    read = with_datetimes(da)
    dim = find_time(read)
    assert read[dim].dtype.kind == "M" and "units" not in read[dim].attrs
    assert (read.indexes[dim] == DAYS).all()


def test_steps_from_one_start_are_read_by_their_valid_times():
    start = xr.Variable((), DAYS[0], {"standard_name": "forecast_reference_time"})
    steps = ("step", DAYS - DAYS[0], {"standard_name": "forecast_period"})
    da = along("step", "valid_time", DAYS, {"standard_name": "time"}, time=start, step=steps)
    assert (with_datetimes(da).indexes["step"] == DAYS).all()


@pytest.mark.parametrize(
    "da",
    [
        along("time", "time", DAYS),
        along("time", "time", [7, 8, 9]),
        along("time", "time", [19400101, 19400102, 19400133]),  # no date
        along("time", "time", [19400101, 19400102, 19400103], {"units": "hours since 1900-01-01"}),
        along("x", "x", [1, 2, 3]),
        along("lead", "valid_time", DAYS, {"standard_name": "time"}, lead=[1, 2, 3], init=DAYS[0]),
    ],
)
def test_other_data_is_returned_as_it_is(da):
    assert with_datetimes(da) is da


@pytest.mark.parametrize(
    ("freq", "first"), [("5min", "1999-12-31T23:00"), ("D", "2000-01-01T00:00")]
)
def test_another_zone_is_an_error_whose_line_works(freq, first):
    stamps = pd.date_range("2000-01-01", periods=3, freq=freq, tz="Europe/Zurich")
    da = along("time", "time", stamps)
    with pytest.raises(ValueError, match="stamps in UTC") as error:
        with_datetimes(da)
    mended = eval(str(error.value).split("try ")[1], {"da": da})
    assert with_datetimes(mended).indexes["time"][0] == pd.Timestamp(first)


def test_labels_take_the_form_of_the_axis():
    ours = xr.DataArray(DAYS, dims="time", coords={"time": DAYS})
    cf = xr.date_range("1940-01-01", periods=3, freq="D", use_cftime=True)
    theirs = xr.DataArray(cf, dims="time", coords={"time": cf})
    second = DAYS[1]
    for label in [
        ours[1],
        [ours[1]],
        second.tz_localize("UTC"),
        second.tz_localize("UTC").tz_convert("Europe/Zurich"),
        "1940-01-02T00:00Z",
        "1940-01-02T01:00+01:00",
        second.date(),
        pd.Period("1940-01-02"),
        cf[1],
        slice(cf[1], cf[1]),
    ]:
        assert find_inits(ours, 1, label).positions.tolist() == [1], label
        assert find_inits(theirs, 1, label).positions.tolist() == [1], label
    assert as_label(np.datetime64("1940-01"), ours) == "1940-01"
    for label in ({"1940-01-02"}, cftime.DatetimeNoLeap(1940, 1, 2)):
        with pytest.raises(ValueError, match="an init among the data's own times"):
            find_inits(ours, 1, label)


def test_one_moment_is_one_number_in_all_calendars_with_the_same_dates():
    for calendar in ("standard", "proleptic_gregorian"):
        cf = xr.date_range("1940-01-01", periods=3, calendar=calendar, use_cftime=True)
        here = xr.DataArray(cf, dims="time")
        assert (microseconds(here) == microseconds(xr.DataArray(DAYS, dims="time"))).all()
    assert microseconds(xr.DataArray([cftime.DatetimeNoLeap(1940, 1, 1)], dims="time")).dtype == "O"


def test_steps_of_one_forecast_of_cfgrib_are_a_time_axis():
    """Whose valid times need no attributes: of `to_step` too, and of what it gives."""
    rain = small_rain(np.arange(6.0 * 3 * 4).reshape(6, 3, 4))
    labels = {
        "time": rain["time"].values[0],
        "step": rain["time"].values - rain["time"].values[0],
        "valid_time": ("step", rain["time"].values),
    }
    own = rain.rename(time="step").assign_coords(labels)
    made, right = (xef.to_step(da, "10min") for da in (own, rain))
    np.testing.assert_array_equal(made, right)
    fc, wanted = (da.earthformer.forecast("persistence", lead=1) for da in (made, right))
    np.testing.assert_array_equal(fc, wanted)
    assert fc["valid_time"].values == wanted["valid_time"].values


@pytest.mark.parametrize("form", ["%Y%m%d%H%M", "%Y%m%d%H%M%S"])
def test_dates_and_times_as_numbers(form):
    rain = small_rain(np.ones((4, 3, 4)))
    own = rain.assign_coords(time=rain["time"].dt.strftime(form).astype(np.int64))
    fc = own.earthformer.forecast("persistence", lead=1)
    assert fc["init"].values == rain["time"].values[-1]
