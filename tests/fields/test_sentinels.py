"""Values that no sea has: named with their place, and a line that mends them."""

import warnings

import dask
import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.climate.climatology import anomaly, climatology
from xearthformer.climate.indices import index
from xearthformer.climate.regions import Region
from xearthformer.fields.sentinels import check_values


def small_ssta():
    """A simulated anomaly whose land is NaN."""
    ds = xef.synthetic_sst(years=12, start="1990-01")
    return ds["sst"].earthformer.anomaly(("1990", "2001"))


def sst(bad=(), units="degC", warm=20.0, **attrs):
    """Two years of 2 x 3 cells, the first of them land (NaN); `bad` at the others, by turns."""
    time = xr.date_range("2000-01", periods=24, freq="MS")
    values = np.full((24, 2, 3), warm)
    for k, value in enumerate(bad):
        values[12 + k, 1, k] = value
    values[:, 0, 0] = np.nan
    coords = {"time": time, "lat": [-10.0, 10.0], "lon": [0.0, 2.0, 4.0]}
    attrs = {"units": units, **attrs} if units else attrs
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "sst", attrs)


# what is there: what becomes of it
CASES = {
    "ice": ([-1000], "degC", 20.0, "-1000 at time 2001-01-01, lat 10, lon 0", [-1.8]),
    "ice in kelvin": ([-726.85], "K", 293.15, "-726.85 at", [271.35]),
    "ice as it is, in kelvin": ([-1000], "K", 293.15, "-1000 at", [271.35]),
    "ice in Fahrenheit": ([-1768], "degF", 68.0, "-1768 at", [28.76]),
    "land": ([-999, -999], "degC", 20.0, "in all 2 of 144 values", [np.nan] * 2),
    "packed land": ([-32768], "degC", 20.0, "-32768 at", [np.nan]),
    "land of CMIP": ([1e20], "K", 293.15, r"1e\+20 at", [np.nan]),
    "land of two kinds": ([1e20, -999], "degC", 20.0, "in all 2", [np.nan] * 2),
    "ice and land": ([-1000, 1e20], "degC", 20.0, "in all 2", [-1.8, np.nan]),
    "ice, and land below it": ([-32768, -1000], "degC", 20.0, "in all 2", [np.nan, -1.8]),
    "no units": ([-999], None, 293.15, "from -5 to 320\n", [np.nan]),
    "infinite": ([np.inf], "degC", 20.0, "inf at", [np.nan]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_that_mends(case):
    bad, units, warm, found, mended = CASES[case]
    da = sst(bad, units, warm)
    with pytest.raises(
        ValueError, match=f"expected sea surface temperature(.|\n)*{found}"
    ) as error:
        anomaly(da, (2000, 2001))
    line = str(error.value).split("try ")[1].split(", for")[0]
    out = eval(line, {"da": da})
    assert out.attrs == da.attrs
    anomaly(out, (2000, 2001))
    expected = sst(mended, units, warm)
    np.testing.assert_allclose(out, expected)


def test_numbers_in_another_scale():
    with pytest.raises(ValueError, match=r'(?s)120 of 144 .*da.assign_attrs\(units="K"\)'):
        climatology(sst(warm=293.15))
    with pytest.raises(ValueError, match=r'da.assign_attrs\(units="degC"\)'):
        climatology(sst(units="K"))
    with pytest.raises(ValueError, match=r"assign_attrs\(units=\.\.\.\)"):
        climatology(sst(warm=68.0))  # Fahrenheit


def test_dask_is_told_when_it_computes_and_where():
    da = sst([-1000, -1000]).chunk(time=5, lon=2)

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        out = anomaly(da, (2000, 2001))
    # chunks of 5 months and 2 columns: the place is counted from the chunk's own start
    with pytest.raises(ValueError, match=r"-1000 at time 2001-0[12]-01, lat 10, lon [02], and in"):
        out.compute(scheduler="synchronous")
    with pytest.raises(ValueError, match="lat 10, lon 4, and in all 1 of 10"):
        anomaly(sst([20, 20, -999]).chunk(time=5, lon=2), (2000, 2001)).compute()
    good = anomaly(sst().chunk(time=5, lon=2), (2000, 2001))
    xr.testing.assert_identical(good.compute(), anomaly(sst(), (2000, 2001)))


BAD = (99.0, -999.0, -32768.0, 1e20, -1e30, 9.96921e36, np.inf)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("lazy", [False, True])
def test_fill_values_of_anomalies_at_every_door(bad, lazy):
    """Land that is a fill value: the line that mends gives what land that is NaN gives."""
    right = (sst() - 20.0).assign_attrs(units="degC", units_metadata="temperature: difference")
    fc = right.earthformer.forecast("persistence", init="2001-06", lead=2)
    doors = {
        "da": lambda da: da.earthformer.forecast("persistence", init="2001-06", lead=2),
        "da ": lambda da: index(da, Region(-10, 10, 0, 4)),
        "obs": lambda obs: xef.verify(fc, obs, ["mse"])["n"],
        "fc": lambda fc: xef.verify(fc, right, ["mse"])["n"],
    }
    for name, use in doors.items():
        good = fc if name == "fc" else right
        da = good.fillna(bad).chunk() if lazy else good.fillna(bad)
        with pytest.raises(ValueError, match="fill value that|np.isfinite") as error:
            use(da).compute()
        line = str(error.value).split("try ")[1].split(", for")[0]
        xr.testing.assert_equal(use(eval(line, {name.strip(): da, "np": np})), use(good))


@pytest.mark.parametrize(("bad", "lazy"), [(50.0, False), (-40.0, True)])
@pytest.mark.filterwarnings("ignore:values for 75%")  # land is a quarter of the box
def test_one_number_far_off_among_a_models_anomalies(bad, lazy):
    """As far off a model may drift, but not to the same number in each cell of land."""
    right = (sst() - 20.0).assign_attrs(units="degC", units_metadata="temperature: difference")
    good = right.earthformer.forecast("persistence", init=slice("2000-06", "2001-06", 12), lead=3)
    good = good.expand_dims(member=2, axis=2)
    fc = good.fillna(bad).chunk() if lazy else good.fillna(bad)
    doors = (
        lambda fc: xef.verify(fc, right, ["crps"])["crps"],
        lambda fc: fc.earthformer.index(Region(-10, 10, 0, 4)),
        lambda fc: xef.skill_map(fc, right)["rmse"],
        lambda fc: fc.earthformer.exceedance(0.0),
        lambda fc: fc.earthformer.quantiles(0.5),
        lambda fc: xef.correct_bias(fc, good, right),
    )
    for use in doors:
        with pytest.raises(ValueError, match=f"and no fill value\n   found {bad:g} at") as error:
            use(fc).compute()
        line = str(error.value).split("try ")[1].split(", for")[0]
        name = "fc" if line.startswith("fc") else "da"
        xr.testing.assert_equal(use(eval(line, {name: fc})).compute(), use(good).compute())
    drifts = good.compute().copy()
    drifts[..., 0, 0] = 30.0 + np.arange(12).reshape(2, 3, 2) / 7
    for use in doors[:3]:
        use(drifts)  # numbers that differ are a model's own


def test_a_number_just_beyond_the_sea_among_a_models_values():
    fc = sst().earthformer.forecast("persistence", init="2001-06", lead=2)
    with pytest.raises(ValueError, match=r"from -30 to 70 degC, and no fill value"):
        xef.verify(fc.fillna(-9.0), sst(), ["mse"])
    with pytest.raises(ValueError, match=r"and no fill value"):
        xef.verify(fc.fillna(49.99), sst(), ["mse"])


def test_fill_values_where_a_pack_has_land():
    """Of cells that the pack reads as land they would be averaged into the coasts."""
    ssta = small_ssta()
    land = ssta.isnull().all("time")
    right = ssta.earthformer.forecast("damped-persistence", lead=1)
    for bad in (*BAD[:-1], 50.0):
        da = ssta.where(~land, bad)
        with pytest.raises(ValueError, match=r"values within \[-20, 20\]") as error:
            da.earthformer.forecast("damped-persistence", lead=1)
        mended = eval(str(error.value).split("try ")[1].split(", for")[0], {"da": da})
        xr.testing.assert_equal(mended.earthformer.forecast("damped-persistence", lead=1), right)


def test_fill_values_of_any_quantity():
    height = sst([1e20], units="m", standard_name="geopotential_height")
    for use in (
        lambda da: da.earthformer.forecast("persistence", init="2001-01", lead=1),
        lambda da: anomaly(da, (2000, 2001)),
    ):
        with pytest.raises(ValueError, match=r"1e\+20 at time .*in all 1 of"):
            use(height)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_total_that_kept_the_mark_of_an_anomaly(lazy):
    """xarray keeps attributes in a sum, so that a forecast plus its climatology still has them."""
    ds = xef.synthetic_sst(years=12, start="1990-01")["sst"]
    usual = ds.groupby("time.month").mean("time")
    ssta = small_ssta()
    fc = ssta.earthformer.forecast("persistence", init="2000-06", lead=3)
    marks = {key: fc.attrs[key] for key in ("units", "units_metadata", "standard_name")}

    def total(da, time):
        whole = da.groupby(da[time].dt.month.rename("month")) + usual
        return (whole.chunk() if lazy else whole).assign_attrs(marks)

    whole = total(fc.isel(init=0, drop=True).swap_dims(lead="valid_time"), "valid_time")
    whole = whole.swap_dims(valid_time="lead").expand_dims(init=fc["init"])
    whole = whole.assign_coords(valid_time=fc["valid_time"]).transpose(*fc.dims).drop_vars("month")
    uses = {
        "da": (total(ssta, "time"), lambda da: index(da, "nino3.4")),
        "obs": (total(ssta, "time"), lambda da: xef.verify(fc, da, ["mse"])["mse"]),
        "fc": (whole, lambda da: xef.verify(da, ssta, ["mse"])["mse"]),
        "da ": (whole, lambda da: index(da, "nino3.4")),
    }
    for name, (da, use) in uses.items():
        with pytest.raises(ValueError, match="as the sum of an anomaly") as error:
            use(da).compute()
        line = str(error.value).split("try ")[1].split(", for")[0]
        mended = eval(line, {name.strip(): da})
        if name.startswith("da"):
            assert 20 < float(use(mended).mean()) < 32
        else:
            with pytest.raises(ValueError, match="absolute values"):
                use(mended)
    sums = xef.verify(
        whole.assign_attrs(units_metadata="temperature: on_scale"),
        total(ssta, "time").assign_attrs(units_metadata="temperature: on_scale"),
        ["mse"],
    )
    right = xef.verify(fc, ssta, ["mse"])["mse"]
    np.testing.assert_allclose(sums["mse"], right, rtol=1e-4)


def test_a_total_of_a_cold_sea_that_kept_the_mark_is_told_by_its_ice():
    """Where nothing is frozen, values alone don't tell: -1 to 4 degrees may be an anomaly's."""
    marks = {"units": "degC", "units_metadata": "temperature: difference"}
    cold = sst(warm=0.0).fillna(0.0)
    cold[:] = np.random.default_rng(0).uniform(-1, 4, cold.shape)
    ice = cold.copy()
    ice[:, 1] = -1.8
    for lazy in (ice, ice.chunk()):
        with pytest.raises(ValueError, match=r"-1.8 to .*\n +try da.assign_attrs\(units_m"):
            check_values(lazy.assign_attrs(marks)).compute()
    kelvin = (cold + 273.15).assign_attrs(marks, units="K")
    with pytest.raises(ValueError, match="as the sum of an anomaly"):
        check_values(kelvin)
    colder = ice.copy()
    colder[0, 0, 0] = -3.0  # no sea is
    for passes in (cold, colder, cold.where(cold > 0, -1.8)[:2]):
        assert check_values(passes.assign_attrs(marks)) is not None


def test_land_that_is_zero_is_told():
    """Its anomaly is 0 too, and scores would count it."""
    zero = sst().fillna(0.0)
    with pytest.warns(UserWarning, match=r"where that is land, da.where\(da != 0\)"):
        anomaly(zero, (2000, 2001))
    kelvin = (zero + 273.15).astype("f4").assign_attrs(zero.attrs, units="K")
    with pytest.warns(UserWarning, match=r"exactly 273.15 K .*da.where\(abs\(da - 273.15\) > 0.01"):
        check_values(kelvin)
    rounded = zero.copy()  # of a cold sea in whole degrees
    rounded[:] = np.random.default_rng(0).integers(-1, 3, zero.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for da in (sst(), zero * 0.0, rounded, zero.where(zero != 0)):
            check_values(da.assign_attrs(zero.attrs))
        check_values(kelvin.where(abs(kelvin - 273.15) > 0.01).assign_attrs(kelvin.attrs))


def test_what_is_no_absolute_sea_surface_temperature_passes():
    for da in (
        sst([-1000], standard_name="air_temperature"),
        sst([-1000]).rename("tas"),
        (sst([40]) - 20).assign_attrs(units="degC", units_metadata="temperature: difference"),
        sst([-1000], units="m"),
    ):
        assert check_values(da) is da
    for named in (
        sst([-1000]).rename("TOS"),
        sst([-1000], standard_name="sea_surface_temperature"),
    ):
        with pytest.raises(ValueError, match="values beyond"):
            check_values(named)
