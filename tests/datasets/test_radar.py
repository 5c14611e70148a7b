"""Radar composites on small made data: reflectivity, two-minute frames, what is refused."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.radar.open import rain_from_dbz


def composite(values, freq="5min", start="2016-09-28T14:45", **attrs):
    """One pixel row of two, a value a frame in the first, missing in the second."""
    values = np.array(values, "f4")
    frames = np.stack([values, np.full_like(values, np.nan)], axis=-1)[:, None]
    said = {"standard_name": "rainfall_rate", "units": "mm h-1", "grid_mapping": "crs", **attrs}
    coords = {
        "time": ("time", pd.date_range(start, periods=len(values), freq=freq), {"axis": "T"}),
        "y": ("y", [0.0], {"units": "m"}),
        "x": ("x", [0.0, 1000.0], {"units": "m"}),
        "crs": 0,
    }
    da = xr.DataArray(frames, coords, ("time", "y", "x"), attrs=said)
    return xr.Dataset({"rain": da}, attrs={"history": "made"})


def test_a_rain_rate_every_five_minutes_comes_as_it_is():
    ds = composite([1, 2, 3])
    xr.testing.assert_identical(xef.open_radar(ds), ds["rain"])


def test_reflectivity_becomes_rain():
    # 10**2.3 / 200 = 0.998 and its 1.6th root is 0.9985
    dbz = composite([23.0], standard_name="equivalent_reflectivity_factor", units="dBZ")
    dbz["rain"].attrs |= {"zr_a": 200.0, "zr_b": 1.6}
    dbz = xr.concat([dbz, dbz.assign_coords(time=dbz.time + np.timedelta64(5, "m"))], "time")
    rain = xef.open_radar(dbz)
    assert float(rain[0, 0, 0]) == pytest.approx((10**2.3 / 200) ** (1 / 1.6))
    assert bool(rain[0, 0, 1].isnull()) and rain.dtype == "f4"
    assert rain.attrs["standard_name"] == "rainfall_rate" and rain.attrs["units"] == "mm h-1"
    assert rain.attrs["grid_mapping"] == "crs" and "crs" in rain.coords
    assert rain.attrs["history"].startswith("made\n") and "200 R**1.6" in rain.attrs["history"]


def test_reflectivity_without_its_own_law():
    assert float(rain_from_dbz(xr.DataArray(10 * np.log10(223 * 2**1.53)))) == pytest.approx(2)


def test_two_minute_frames_are_averaged_over_whole_five_minutes():
    # minutes 0 .. 12: (0, 5] holds 2, 4; (5, 10] holds 6, 8, 10; those that end at 0 and 15 lack
    rain = xef.open_radar(composite([9, 1, 2, 3, 4, 5, 9], "2min", "2019-06-10T00:00"))
    assert rain[:, 0, 0].values.tolist() == [1.5, 4]
    assert rain.time.dt.minute.values.tolist() == [5, 10]
    assert bool(rain[:, 0, 1].isnull().all())
    assert rain.dims == ("time", "y", "x") and rain.time.attrs["axis"] == "T"
    assert "2-minute frames averaged" in rain.attrs["history"]


def test_a_frame_missing_is_missing_in_the_mean():
    ds = composite([np.nan, 1, 2, 3, 4], "2min", "2019-06-10T00:02")
    assert xef.open_radar(ds)[:, 0, 0].isnull().values.tolist() == [True, False]


def test_a_file_is_opened_lazily(tmp_path):
    composite([1, 2, 3]).to_netcdf(tmp_path / "radar.nc")
    rain = xef.open_radar(tmp_path / "radar.nc")
    assert rain.chunks is not None and "crs" in rain.coords
    assert rain[:, 0, 0].values.tolist() == [1, 2, 3]


def test_refused():
    with pytest.raises(ValueError, match="every five minutes or more often\n   found one every"):
        xef.open_radar(composite([1, 2, 3], "10min"))
    with pytest.raises(ValueError, match="one variable with standard_name"):
        xef.open_radar(composite([1, 2], standard_name="air_temperature"))
    with pytest.raises(ValueError, match="found 2 among rain, more"):
        xef.open_radar(composite([1, 2]).assign(more=composite([1, 2])["rain"]))
