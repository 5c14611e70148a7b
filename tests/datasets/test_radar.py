"""Radar composites as rain rates: what is converted, what is none, what stays as it was."""

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.datasets.radar.rain import kind_of


def composite(values, units, name="v", standard_name=None, **attrs):
    """Frames of two pixels each, five minutes apart: a value, and one that was not seen."""
    frames = [[[value, np.nan]] for value in values]
    da = small_rain(frames).rename(name)
    da.attrs = {"units": units, "grid_mapping": "crs", **attrs}
    if standard_name:
        da.attrs["standard_name"] = standard_name
    return da.to_dataset().assign_attrs(history="made")


def first(rain):
    return rain[:, 0, 0].values


def test_a_rain_rate_comes_as_it_is():
    ds = composite([1, 2, 3], "mm h-1", "rain", "rainfall_rate")
    xr.testing.assert_identical(xef.open_radar(ds), ds["rain"])
    xr.testing.assert_identical(xef.open_radar(ds["rain"]), ds["rain"])
    nameless = ds["rain"].rename(None)
    xr.testing.assert_identical(xef.open_radar(nameless), nameless)


@pytest.mark.parametrize("step", ["2min", "7min", "10min", "1h"])
def test_the_step_stays_the_datas_own(step):
    rain = small_rain([[[1.0]], [[2.0]]], step)
    assert xef.open_radar(rain).time.equals(rain.time)


@pytest.mark.parametrize(
    "value, units, rate",
    [
        (1e-6, "m s-1", 3.6),
        (2, "kg m-2 h-1", 2),  # 1 kg m-2 of water stands 1 mm high
        (0.001, "kg m-2 s-1", 3.6),
        (24, "mm day-1", 1),
        (0.1, "inch/hour", 2.54),
    ],
)
def test_rates_and_fluxes_become_mm_per_hour(value, units, rate):
    rain = xef.open_radar(composite([value, 0], units, standard_name="rainfall_flux"))
    assert first(rain) == pytest.approx([rate, 0]) and bool(rain[:, 0, 1].isnull().all())
    assert rain.attrs["standard_name"] == "rainfall_rate" and rain.attrs["units"] == "mm h-1"
    assert rain.attrs["history"] == f"made\nxearthformer: rain rate in mm h-1 from {units}"


def test_amounts_are_divided_by_the_step_of_the_record():
    ds = composite([1, 0, 0.25], "mm", standard_name="rainfall_amount")
    rain = xef.open_radar(ds)
    assert first(rain).tolist() == [12, 0, 3] and rain.name == "rain_rate"
    assert "divided by the 5 minutes" in rain.attrs["history"]
    gap = xr.concat([ds, ds.assign_coords(time=ds.time + np.timedelta64(1, "h"))], "time")
    assert first(xef.open_radar(gap))[:2].tolist() == [12, 0]  # a gap is no longer step


@pytest.mark.parametrize("units", ["mm", "kg m-2"])
def test_amounts_are_divided_by_their_own_bounds(units):
    ds = composite([1, 2], units, standard_name="rainfall_amount")
    starts = ds.time.values - np.timedelta64(15, "m")  # of a quarter of an hour, every 5 minutes
    ds["time_bnds"] = ("time", "bnds"), np.stack([starts, ds.time.values], -1)
    assert first(xef.open_radar(ds)).tolist() == [4, 8]
    # stamps at the start of what they are of move to its end
    early = ds.assign_coords(time=starts)
    xr.testing.assert_equal(xef.open_radar(early), xef.open_radar(ds))


def test_reflectivity_by_the_law_given_the_datas_own_or_the_usual():
    # Z = a R**b: of R = 2, 10 log10(200 * 2**1.6) = 27.827 dBZ
    dbz = composite([10 * np.log10(200 * 2**1.6)], "dBZ", "dbz")
    rain = xef.open_radar(dbz)
    assert first(rain) == pytest.approx(2) and rain.dtype == "f4" and rain.name == "rain_rate"
    assert (rain.attrs["zr_a"], rain.attrs["zr_b"]) == (200, 1.6)
    assert "200 R**1.6, of Marshall and Palmer, as the data" in rain.attrs["history"]
    own = composite([10 * np.log10(223 * 2**1.53)], "dBZ", "dbz", zr_a=223.0, zr_b=1.53)
    assert first(xef.open_radar(own)) == pytest.approx(2)
    assert "223 R**1.53, the data's own" in xef.open_radar(own).attrs["history"]
    given = xef.open_radar(own, zr=(200, 1.6))
    assert first(given) == pytest.approx((223 * 2**1.53 / 200) ** (1 / 1.6))
    assert (given.attrs["zr_a"], given.attrs["zr_b"]) == (200, 1.6)


@pytest.mark.parametrize("units", ["mm6 m-3", "mm^6 m^-3", "mm6/m3", "mm**6 m**-3"])
def test_linear_reflectivity_is_known_by_its_units(units):
    ds = composite([200 * 2**1.6, 0, 0.5], units, standard_name="equivalent_reflectivity_factor")
    assert first(xef.open_radar(ds)) == pytest.approx([2, 0, 0])  # .5 is -3 dBZ: none


def test_no_echo_is_no_rain():
    codes = [-32.5, -32, -np.inf, -0.5, 0]
    ds = composite(codes, "dBZ", "dbz")
    least = (1 / 200) ** (1 / 1.6)  # what 0 dBZ is
    assert first(xef.open_radar(ds)) == pytest.approx([0, 0, 0, 0, least])
    assert "0 below 0 dBZ" in xef.open_radar(ds).attrs["history"]
    # a floor of the user's own, in mm/h, takes its place
    assert first(xef.open_radar(ds, zero_below=0.1)).tolist() == [0] * 5
    lower = first(xef.open_radar(ds, zero_below=1e-4))
    assert lower[0] > 2e-4 and lower[2] == 0 and lower[3] > 0.03


def test_weak_rain_is_none_on_request():
    ds = composite([0.05, 0.1, 3], "mm h-1", "rain_rate")
    assert first(xef.open_radar(ds)) == pytest.approx([0.05, 0.1, 3])
    rain = xef.open_radar(ds, zero_below=0.1)
    assert first(rain) == pytest.approx([0, 0.1, 3])
    assert rain.attrs["history"].endswith("0 below 0.1 mm h-1")


@pytest.mark.parametrize("missing", [-1, [-1, -999], (-999.0, -1.0)])
def test_codes_for_missing_become_nan(missing):
    ds = composite([-1, 2, 0], "mm", standard_name="rainfall_amount")
    rain = xef.open_radar(ds, missing=missing)  # a code is in the data's own units
    assert np.array_equal(first(rain), [np.nan, 24, 0], equal_nan=True)


def test_rounding_noise_below_zero_is_zero():
    assert first(xef.open_radar(composite([-1e-6, 1], "mm h-1", "rr"))).tolist() == [0, 1]


def test_integers_and_doubles():
    ds = composite([1, 2], "mm h-1", "rr").fillna(0)
    assert xef.open_radar(ds.astype("f8")).dtype == "f8"
    assert xef.open_radar(ds.astype("i2")).dtype == "f4"


def test_attributes_of_packing_are_left_behind():
    # a forecast from this would be masked by whoever reads its file
    attrs = {"valid_range": np.array([1, 400]), "valid_min": 0, "comment": "kept"}
    rain = xef.open_radar(composite([1], "mm h-1", "rr", **attrs))
    assert "comment" in rain.attrs and not {"valid_range", "valid_min"} & set(rain.attrs)


def test_a_rate_goes_before_amounts_and_these_before_reflectivity():
    rate = composite([7], "mm h-1", "rr")
    amount = composite([1], "mm", "acc", "rainfall_amount").rename(acc="acrr")
    dbz = composite([0], "dBZ", "dbz")
    quality = composite([1], "1", "quality")
    assert first(xef.open_radar(dbz.assign(quality).assign(amount).assign(rate)))[0] == 7
    both = dbz.assign(quality).assign(amount)
    starts = both.time.values - np.timedelta64(5, "m")
    both["time_bnds"] = ("time", "bnds"), np.stack([starts, both.time.values], -1)
    assert first(xef.open_radar(both))[0] == 12


def test_a_frame_without_an_axis_of_time_gets_one():
    ds = composite([3], "mm h-1", "rr").isel(time=0)
    assert xef.open_radar(ds).dims == ("time", "y", "x")
    renamed = ds.rename(time="valid_time")  # a name that forecasts need themselves
    rain = xef.open_radar(renamed)
    assert rain.dims == ("time", "y", "x") and "valid_time" not in rain.coords
    assert rain.time.values[0] == np.datetime64("2021-07-04T15:50")
    along = composite([3, 4], "mm h-1", "rr").rename(time="valid_time")
    assert first(xef.open_radar(along)).tolist() == [3, 4] and "time" in xef.open_radar(along).dims


def test_a_dim_of_another_name_becomes_time():
    ds = composite([3, 4], "mm", "rr", "rainfall_amount")
    wanted = xef.open_radar(ds)
    xr.testing.assert_equal(xef.open_radar(ds.rename(time="T")), wanted)
    beside = ds.rename_dims(time="t")  # a dim t, and along it a coordinate time
    xr.testing.assert_equal(xef.open_radar(beside.drop_indexes("time")), wanted)


def test_the_projection_is_found_by_rioxarray_and_survives_a_file(tmp_path):
    dbz = composite([23, 24], "dBZ", "dbz")
    rain = xef.open_radar(dbz)
    assert rain.rio.crs.to_dict()["proj"] == "laea"
    rain.to_netcdf(tmp_path / "rain.nc")
    back = xef.open_radar(tmp_path / "rain.nc")
    assert back.rio.crs == rain.rio.crs and back.attrs["grid_mapping"] == "crs"
    xr.testing.assert_identical(back.load(), rain)
    # named by nobody, it is the one variable that describes a projection
    del dbz["dbz"].attrs["grid_mapping"]
    assert xef.open_radar(dbz.reset_coords("crs")).rio.crs == rain.rio.crs


def test_lazy_data_stays_lazy():
    ds = composite([23, 24, 25], "dBZ", "dbz").chunk(time=1)
    rain = xef.open_radar(ds)
    assert rain.chunks == ((1, 1, 1), (1,), (2,))
    xr.testing.assert_equal(rain.compute(), xef.open_radar(ds.compute()))


@pytest.mark.parametrize(
    "attrs, name, kind",
    [
        ({"units": "mm/h"}, None, "rate"),
        ({"unit": "mm h-1"}, "RY", "rate"),  # wradlib's
        ({"units": "mm"}, "precipitation", "amount"),
        ({"units": "dBZ"}, "composite", "reflectivity"),
        ({"units": "m s-1"}, "wind", None),
        ({"units": "m s-1"}, "rainfall_rate", "rate"),
        ({"units": "m s-1", "standard_name": "wind_speed"}, "rr", None),
        ({"units": "kg m-2", "standard_name": "atmosphere_mass_content_of_water"}, "vil", None),
        ({"units": "mm h-1", "standard_name": "water_evaporation_flux"}, "e", None),
        ({"units": "m"}, "height", None),
        ({}, "rr", None),
    ],
)
def test_what_a_variable_measures(attrs, name, kind):
    assert kind_of(xr.DataArray(0.0, name=name, attrs=attrs)) == kind


@pytest.mark.shared
def test_fmi_says_its_own_law_and_opera_too(shared):
    fmi = xef.open_radar(shared / "data" / "radar_fmi_20160928.nc")
    assert (fmi.attrs["zr_a"], fmi.attrs["zr_b"]) == (223, 1.53)
    frame = fmi[0].load()
    assert float((frame == 0).mean()) > 0.4 and float(frame.where(frame > 0).min()) > 0.029
    opera = xef.open_radar(shared / "data" / "radar_opera_20241126.nc")
    assert (opera.attrs["zr_a"], opera.attrs["zr_b"]) == (200, 1.6)


def test_times_are_untouched_by_jitter_and_gaps():
    rain = small_rain([[[1.0]], [[2.0]], [[3.0]]])
    jitter = pd.to_timedelta([3, -8, 70], unit="s").to_numpy()
    late = rain.assign_coords(time=rain.time.values + jitter)
    assert xef.open_radar(late).time.equals(late.time)
