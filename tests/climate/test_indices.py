"""Indices that are fitted to a record, each on a field whose answer is known beforehand."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xearthformer.climate.indices import index
from xearthformer.climate.regions import REGIONS

ANOMALY = {
    "standard_name": "sea_surface_temperature",
    "units": "degC",
    "units_metadata": "temperature: difference",
    "climatology_period": "1951-01/1980-12",
}
LAT, LON = np.arange(-85.0, 86, 10), np.arange(5.0, 360, 10)
SEASONS = ["DJF", "JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ"]


def record(series, pattern=None, start="1951-01", attrs=ANOMALY):
    """A series over months, times a pattern over a globe of 10 degrees; else the same anywhere."""
    coords = {"time": xr.date_range(start, periods=len(series), freq="MS"), "lat": LAT, "lon": LON}
    here = xr.DataArray(np.asarray(series, float), dims="time")
    there = xr.DataArray(np.ones((LAT.size, LON.size)), dims=("lat", "lon"))
    field = here * (there if pattern is None else pattern)
    return field.assign_coords(coords).rename("ssta").assign_attrs(attrs)


def box(name):
    """1 in the cells whose centres lie in a box, else 0."""
    region = REGIONS[name]
    lat, lon = xr.DataArray(LAT, dims="lat"), xr.DataArray(LON, dims="lon")
    inside = (lat > region.south) & (lat < region.north)
    return (inside & ((lon - region.west) % 360 < region.width)).astype(float)


def perfect(da, inits, leads=4):
    """Forecasts that come true."""
    pieces = [da[i + 1 : i + 1 + leads].rename(time="lead") for i in inits]
    fc = xr.concat(pieces, "init", coords="minimal", compat="override", join="override")
    months = da.time.values
    return fc.assign_coords(
        init=months[inits],
        lead=("lead", np.arange(1, leads + 1), {"units": "months"}),
        valid_time=(("init", "lead"), np.stack([months[i + 1 : i + 1 + leads] for i in inits])),
    )


@pytest.fixture
def waves():
    """Forty years of noise in the Pacific on slow warming."""
    noise = np.random.default_rng(0).standard_normal((3, 480))
    pattern = np.stack([box("nino3.4"), box("emi_centre"), np.ones((18, 36))])
    pattern = xr.DataArray(pattern, dims=("k", "lat", "lon"))
    series = xr.DataArray(noise + [[0], [0], [1]] * np.linspace(0, 1, 480), dims=("k", "time"))
    one = xr.dot(series, pattern, dim="k")
    return record(np.ones(480), one.transpose("time", "lat", "lon")).transpose("time", ...)


def test_oni_is_against_sliding_climatologies():
    # 0.1 degC a year from 0 in 1951. Until 1970 against 1951 to 1980, of which the mean is 1.45; in
    # 1971 to 1975 against 1956 to 1985, 1.95; from 1976 on against 1961 to 1990, 2.45.
    sst = record(np.repeat(0.1 * np.arange(40), 12), attrs={"units": "degC"})
    oni = index(sst, "ONI")
    june = oni.sel(time=oni.time.dt.month == 6)
    expected = {1951: -1.45, 1967: 0.15, 1970: 0.45, 1972: 0.15, 1976: 0.05, 1990: 1.45}
    years = june.assign_coords(time=june.time.dt.year).sel(time=list(expected))
    np.testing.assert_allclose(years, list(expected.values()), atol=1e-9)
    # the middle of November, December (0.45) and January (2.0 - 1.95)
    assert oni.sel(time="1970-12").item() == pytest.approx((0.45 + 0.45 + 0.05) / 3)
    assert np.isnan(oni.values[[0, -1]]).all() and not np.isnan(oni.values[1:-1]).any()
    assert oni.name == "oni" and oni.attrs["units_metadata"] == "temperature: difference"


def test_oni_of_anomalies_is_that_of_the_absolute_values(waves):
    sst = (waves + 20 + waves.time.dt.month).drop_attrs().assign_attrs(units="degC")
    anomaly = sst.earthformer.anomaly(climatology=("1961", "1990"))
    np.testing.assert_allclose(index(anomaly, "oni"), index(sst, "oni"), atol=1e-9)
    assert "climatology_period" not in index(anomaly, "oni").attrs


@pytest.mark.shared
def test_oni_is_that_of_noaa(shared):
    paths = [shared / "data" / f"ersst_v5_{years}.nc" for years in ("1900_1959", "1960_2009")]
    table = pd.read_csv(shared / "data" / "tables" / "cpc_oni_1950_2009.csv")
    parts = [xr.open_dataset(path)["sst"].sel(lat=slice(-8, 8)) for path in paths]
    oni = index(xr.concat(parts, "time", join="override"), "oni").sel(time=slice("1950", None))
    months = table["year"] * 12 + table["season"].map(SEASONS.index)
    np.testing.assert_array_equal(months, oni.time.dt.year * 12 + oni.time.dt.month - 1)
    error = oni - table["oni"].values
    # rounding is 0.005; NOAA's first mean holds December 1949 on the base of 1951
    assert abs(error.sel(time=slice("1950-02", "1995-11"))).max() < 0.022
    assert abs(error[0]) < 0.05
    # from 1996 on NOAA's bases end in 2010 to 2020, where this record ends in 2009
    assert abs(error).max() < 0.14


def test_warming_everywhere_leaves_the_relative_nino_alone(waves):
    trend = xr.DataArray(np.linspace(0, 3, 480), dims="time")
    relative = index(waves, "relative nino3.4")
    np.testing.assert_allclose(
        index(waves + trend, "rnino34").std(), index(waves + trend, "n34").std()
    )
    less = index(waves, "nino3.4") - index(waves, "tropics")
    scale = index(waves, "nino3.4").std() / less.std()
    np.testing.assert_allclose(relative, less * scale)
    again = index(waves + trend, "relative nino3.4")
    assert xr.corr(relative, again).item() == pytest.approx(1)
    assert relative.name == "relative_nino3.4"


@pytest.mark.parametrize("name", ["oni", "relative_nino3.4"])
def test_a_reference_may_hold_more_cells_than_the_forecast(waves, name):
    tropics = waves.isel(lat=slice(None, None, -1)).where(abs(waves.lat) <= 25, drop=True)
    np.testing.assert_allclose(index(tropics, name, reference=waves), index(waves, name))


def pdo_pattern():
    """Below normal in the middle of the North Pacific, above it along America."""
    lat, lon = xr.DataArray(LAT, dims="lat"), xr.DataArray(LON, dims="lon")
    north = (lat > 20) & (lat < 60)
    cold = north & (lon > 160) & (lon < 210)
    coast = north & (lon > 220) & (lon < 240)
    return coast * 0.7 - cold * 1.0


def test_pdo_is_the_pattern_planted():
    series = np.sin(np.arange(120) / 7) + 0.5
    ssta = record(series, pdo_pattern())
    pdo = index(ssta, "pdo")
    np.testing.assert_allclose(pdo, (series - series.mean()) / series.std(), atol=1e-6)
    assert pdo.attrs["units"] == "1" and "units_metadata" not in pdo.attrs
    np.testing.assert_allclose(index(ssta.transpose("lon", "time", "lat"), "pdo"), pdo, atol=1e-6)
    # fitted to its first five years: those are in standard deviations
    early = index(ssta, "pdo", reference=ssta[:60])
    assert early[:60].std().item() == pytest.approx(1) and early[
        :60
    ].mean().item() == pytest.approx(0, abs=1e-9)
    # cells that a field lacks leave its amount alone, until they are a tenth of the pattern
    few = ssta.where((ssta.lat != 55) | (ssta.lon != 225) | (ssta.time != ssta.time[3]))
    np.testing.assert_allclose(index(few, "pdo", reference=ssta)[3], pdo[3], atol=1e-3)
    assert np.isnan(index(ssta.where(ssta.lat < 40), "pdo", reference=ssta)).all()


def test_amo_is_the_north_atlantic_less_the_globe():
    amo = index(record([2.0, 4.0], box("north_atlantic")), "AMO")
    # all of 80 of 360 degrees, from the equator to 60N, of 60S to 60N
    np.testing.assert_allclose(amo, np.array([2, 4]) * (1 - 80 / 360 / 2))


@pytest.mark.parametrize("name", ["oni", "relative_nino3.4", "pdo", "amo", "nino3.4"])
def test_a_forecast_that_comes_true_has_the_index_observed(waves, name):
    ssta = waves + record(np.cos(np.arange(480) / 9), pdo_pattern()).values
    observed = index(ssta, name)
    forecast = index(perfect(ssta, [100, 238, 300]), name, reference=ssta)
    assert forecast.dims == ("init", "lead")
    true = observed.sel(time=forecast.valid_time)
    inner = slice(1, -1) if name == "oni" else slice(None)
    np.testing.assert_allclose(forecast[:, inner], true[:, inner], atol=1e-6)
    assert forecast.isnull().sum() == (6 if name == "oni" else 0)
    kelvin = ssta.assign_attrs(units="K").to_dataset()  # a difference of 1 K is one of 1 degC
    members = perfect(ssta, [100]).expand_dims(member=2).to_dataset()
    out = index(members, name, reference=kelvin)["ssta"]
    np.testing.assert_allclose(out.isel(member=1, init=0), forecast[0], atol=1e-6)


@pytest.mark.parametrize("name", ["oni", "relative_nino3.4", "pdo", "amo"])
def test_lazy_data_stays_lazy(waves, name):

    def refuse(*args, **kwargs):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        out = index(waves.chunk(time=100, lat=9), name)
    assert out.chunks is not None
    np.testing.assert_allclose(out, index(waves, name), atol=1e-6)


def type_hint(error, fc, ssta):
    """What the line of an error gives, typed as printed."""
    return eval(str(error.value).split("try ")[1], {"fc": fc, "ssta": ssta})


def test_the_hint_for_a_forecast_alone_works(waves):
    fc, ssta = perfect(waves, [100]), waves
    for name in ("oni", "relative_nino3.4", "pdo"):
        with pytest.raises(ValueError, match="a forecast alone") as error:
            fc.earthformer.index(name)
        assert type_hint(error, fc, ssta).name == name
    ax = fc.earthformer.plot.plume(ssta, index="relative nino3.4")
    assert ax.get_ylabel() == "relative nino3.4 index (°C)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda da: da.assign_attrs(climatology_period="1961-01/1990-12"), "anomalies against"),
        (lambda da: da.assign_attrs(units_metadata="temperature: on_scale"), "of anomalies, as"),
        (lambda da: da.assign_coords(lon=LON + 1), "on the cells of the data"),
        (lambda da: da.rename("other").to_dataset(), "a reference with the variable 'ssta'"),
        (lambda da: da[:300], "30 years from a year that ends in 1 or 6.*\n.*1951 to 1975"),
    ],
)
def test_a_reference_that_does_not_fit(waves, change, message):
    fc, reference = perfect(waves, [100]), change(waves)
    with pytest.raises(ValueError, match=message) as error:
        index(fc, "oni", reference=reference)
    if "ssta)" in str(error.value):
        assert type_hint(error, fc, waves).name == "oni"
    elif "rebase" in str(error.value):
        line = str(error.value).split("try ")[1].replace("obs.", "reference.")
        mended = eval(line, {"reference": reference})
        assert mended.attrs["climatology_period"] == fc.attrs["climatology_period"]
        index(fc, "oni", reference=mended)
    else:
        line = str(error.value).split("try ")[1]
        assert eval(line, {"da": reference}).name == "nino3.4"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda da: index(da, "pda"), "one of nino3.4, .*amo, oni, relative_nino3.4, pdo"),
        (
            lambda da: index(da.assign_attrs(units_metadata="temperature: on_scale"), "pdo"),
            "an anom",
        ),
        (lambda da: index(da.where(da.lat < 20), "pdo"), "without gaps in time, for the PDO"),
    ],
)
def test_what_has_no_index(waves, make, message):
    with pytest.raises(ValueError, match=message):
        make(waves)


@pytest.mark.parametrize("west", [0, -180])
def test_pdo_of_columns_that_are_there_twice(west):
    ssta = record(np.sin(np.arange(120) / 7) + 0.5, pdo_pattern())
    plain = ssta.assign_coords(lon=(ssta.lon - west) % 360 + west).sortby("lon")
    rim = xr.concat([plain, plain[..., :1].assign_coords(lon=plain.lon[:1] + 360)], "lon")
    assert np.isfinite(index(plain, "pdo")).all()
    for data, reference in [(rim, None), (rim, plain), (plain, rim)]:
        pdo = index(data, "pdo", reference=reference)
        np.testing.assert_array_equal(pdo, index(plain, "pdo"))


@pytest.mark.shared
def test_pdo_of_the_last_century_has_its_known_phases(shared):
    sst = xr.open_dataset(shared / "data" / "ersst_v5_1960_2009.nc")["sst"]
    ssta = sst.earthformer.anomaly(climatology=("1971", "2000"))
    pdo = index(ssta, "pdo")
    # Mantua and Hare (2002), J. Oceanogr. 58, 35-44: cool to 1976, warm to 1997, cool in 1999
    years = pdo.groupby("time.year").mean()
    assert years.sel(year=slice(1961, 1975)).mean() < -0.4
    assert years.sel(year=slice(1977, 1997)).mean() > 0.4
    assert years.sel(year=[1999, 2000, 2008]).max() < -0.4
    assert 0.3 < xr.corr(pdo, index(ssta, "nino3.4")) < 0.7
