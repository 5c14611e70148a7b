"""What climpred is given: its names, whole leads with units, months by their first."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef

# climpred 2.6.0: classes.py asks for these, constants.py lists the units.
DIMS = ("init", "lead", "member")
LEAD_UNITS = {"months", "days", "hours", "minutes", "seconds"}


def record(time):
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    values = np.arange(len(time))[:, None, None] * np.ones((2, 3))
    return xr.DataArray(values, {"time": time}, ("time", "y", "x"), "rain_rate", attrs)


def months_after(init, lead, units):
    """The valid times as climpred makes them: an offset from month starts for months."""
    offset = pd.offsets.MonthBegin if units == "months" else None
    return init + (offset(lead) if offset else pd.Timedelta(**{units: lead}))


@pytest.mark.parametrize(
    ("time", "leads", "units"),
    [
        (
            pd.date_range("2000-01", periods=12, freq="MS") + pd.Timedelta("14D"),
            [1, 2, 3],
            "months",
        ),
        (xr.date_range("2000-01-31", periods=12, freq="ME"), [1, 2, 3], "months"),
        (xr.date_range("2000-01-01", periods=12, freq="5min"), [5, 10, 15], "minutes"),
        (xr.date_range("2000-01-01", periods=12, freq="D"), [1, 2, 3], "days"),
        (xr.date_range("2000-01-01", periods=12, freq="20s"), [20, 40, 60], "seconds"),
    ],
)
def test_inits_and_leads_meet_the_observations(time, leads, units):
    rain = record(time)
    fc = rain.earthformer.forecast("persistence", init=list(time[[2, 5]]), lead=3)
    attrs = dict(fc["lead"].attrs)
    members = xr.concat([fc, fc], "member").assign_coords(member=[0, 1]).transpose("y", ...)
    out, obs = members.earthformer.to_climpred(), rain.earthformer.to_climpred()
    assert out["rain_rate"].dims[:3] == DIMS and out["lead"].values.tolist() == leads
    assert out["lead"].dtype.kind == "i" and out["lead"].attrs["units"] == units in LEAD_UNITS
    assert members["lead"].attrs == attrs  # the user's stay
    assert "valid_time" not in out.coords and obs["rain_rate"].dims == ("time", "y", "x")
    for init, source in zip(out["init"].to_index(), fc["init"].values, strict=True):
        for lead, label in zip(leads, fc["lead"].values, strict=True):
            truth = rain.sel(time=fc["valid_time"].sel(init=source, lead=label))
            found = obs["rain_rate"].sel(time=months_after(init, lead, units))
            np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(out["rain_rate"].transpose(*members.dims), members)


def test_an_index_of_one_init_in_another_calendar():
    time = xr.date_range("2000-01-16", periods=3, freq="30D", calendar="360_day", use_cftime=True)
    coords = {"init": time[0], "lead": [1, 2], "valid_time": ("lead", time[1:])}
    fc = xr.DataArray([0.0, 1.0], coords, ("lead",), "nino3.4")
    out = xef.to_climpred(fc.chunk(lead=1))
    assert out["nino3.4"].dims == ("init", "lead") and out["nino3.4"].chunks is not None
    (init,) = out["init"].values
    assert (init.month, init.day, init.calendar) == (1, 1, "360_day")
    assert xef.to_climpred(fc.rename(None).to_dataset(name="a")).sizes == {"init": 1, "lead": 2}


def test_what_climpred_cannot_take():
    lead = np.array([1500, 3000], "m8[ms]")
    fc = xr.DataArray([0.0, 1.0], {"lead": lead}, ("lead",), "a")
    with pytest.raises(ValueError, match="the coordinate init"):
        xef.to_climpred(fc)
    fc = fc.assign_coords(init=np.datetime64("2000-01-01", "ns"))
    with pytest.raises(ValueError, match="whole seconds") as error:
        xef.to_climpred(fc)
    mended = eval(str(error.value).split("try ")[1], {"fc": fc})
    assert xef.to_climpred(mended)["lead"].attrs["units"] == "seconds"


def test_packed_integers_are_refused():
    da = record(pd.date_range("2000-01", periods=3, freq="D"))
    with pytest.raises(TypeError, match="decode_cf"):
        xef.to_climpred(da.astype("i2").assign_attrs(scale_factor=0.5))
