"""A lead in every form, at every door."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.fields.time_axis import check_end, count_steps
from xearthformer.plots.panels import as_lead

STEP = np.timedelta64(300, "s")
HALF_HOUR = [
    6,
    np.int32(6),
    np.array(6),
    "30min",
    "1800s",
    timedelta(minutes=30),
    pd.Timedelta("30min"),
    pd.offsets.Minute(30),
    *(np.timedelta64(30, "m").astype(f"m8[{unit}]") for unit in ("m", "s", "ms", "us", "ns")),
    xr.DataArray(np.timedelta64(30, "m").astype("m8[ns]")),
    xr.DataArray(30, attrs={"units": "minutes"}),  # of a file whose leads were not decoded
]
NO_LEADS = [0, -1, 2.5, True, "7min", "nonsense", None, "NaT", np.timedelta64(6, "ns")]
NO_LEADS += [
    np.timedelta64("NaT"),
    np.timedelta64(1, "M"),
    xr.DataArray(3, attrs={"units": "months"}),
]


@pytest.mark.parametrize("lead", ["6 months", "6 month", " 6months "])
def test_months_in_words(lead):
    assert count_steps(lead, "month", 14) == 6
    with pytest.raises(ValueError, match="lead as a whole number of time steps"):
        count_steps(lead, STEP, 12)


@pytest.mark.parametrize("lead", HALF_HOUR, ids=repr)
def test_six_steps_in_any_form(lead):
    assert count_steps(lead, STEP, 12) == 6


@pytest.mark.parametrize("lead", [30_000_000, 10**12, 2**63])
@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_leads_beyond_what_stamps_can_say(lead, calendar):
    """NumPy would begin again in 1677; a list of all of them may not fit into memory."""
    time = xr.date_range("2000", periods=3, freq="5min", calendar=calendar)
    time, month = xr.DataArray(time, dims="time"), xr.DataArray(time[:1], dims="time")
    if calendar == "standard" or lead > 10**9:
        with pytest.raises(ValueError, match=r"a time that stamps can say\n +found lead=.*2000-01"):
            check_end(time, STEP, np.array([2]), lead)
        with pytest.raises(ValueError, match="a time that stamps can say"):
            check_end(month, "month", np.array([0]), lead)
    check_end(time, STEP, np.array([0, 2]), 27_000_000)  # to 2256
    check_end(month, "month", np.array([0]), 3100)  # to 2258


@pytest.mark.parametrize("unit", ["s", "us"])
def test_months_end_with_the_year_that_files_can_say(unit):
    month = xr.DataArray(np.array(["9999-10-01"], f"M8[{unit}]"), dims="time")
    check_end(month, "month", np.array([0]), 2)
    with pytest.raises(
        ValueError, match=r"a time that stamps can say\n +found lead=3 from 9999-10"
    ):
        check_end(month, "month", np.array([0]), 3)


@pytest.mark.parametrize("lead", NO_LEADS, ids=repr)
def test_what_is_no_whole_number_of_steps(lead):
    with pytest.raises(ValueError, match=r"(?s)whole number of time steps.*try lead=12$"):
        count_steps(lead, STEP, 12)


@pytest.mark.parametrize(
    "lead", [3, xr.DataArray(3, attrs={"units": "months"}), np.timedelta64(3, "M"), np.int64(3)]
)
def test_months_are_counted(lead):
    assert count_steps(lead, "month", 12) == 3


@pytest.mark.parametrize(
    "lead", ["90D", np.timedelta64(90, "D"), xr.DataArray(90, attrs={"units": "days"})]
)
def test_months_are_no_duration(lead):
    with pytest.raises(ValueError, match=r"(?s)whole number of months.*try lead=12$"):
        count_steps(lead, "month", 12)


def test_every_door_takes_a_lead_of_a_forecast():
    rain = small_rain(np.random.default_rng(0).random((8, 4, 4)))
    fc = rain.earthformer.forecast("persistence", init=rain.time[3], lead="10min")
    for lead in (fc.lead[-1], fc.lead.values[-1], fc.lead.values[-1].astype("m8[ns]")):
        again = rain.earthformer.forecast("persistence", init=fc.init[0], lead=lead)
        assert again.identical(fc)
        hind = xef.hindcast(rain, "persistence", "memory://leads.zarr", init=fc.init, lead=lead)
        assert hind.sizes["lead"] == 2
        scores = xef.compare(rain, ["persistence"], lead=lead, scores=["mse"])
        assert scores.sizes["lead"] == 2
        assert fc.earthformer.accumulate(lead).sizes["lead"] == 1
        assert as_lead(fc, lead) == fc.lead.values[-1]
        assert xef.to_step(rain, lead).sizes["time"] == 3
