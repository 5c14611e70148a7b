"""Climatologies, anomalies and running means, by hand and on real sea surface temperature."""

import warnings

import cloudpickle
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xearthformer.climate.climatology import anomaly, climatology, running_mean
from xearthformer.climate.regions import index

FIRSTS = "; stamps at 00:00 on the first are of the month they begin"
ATTRS = {"units": "degC", "long_name": "SST", "standard_name": "surface_temperature"}


def record(years=3, start="2000-01", calendar=None, dtype="f4", **attrs):
    """Month m of year y holds 100 * y + m (y from 0, m from 1), plus 1000 in the second column."""
    kwargs = {"calendar": calendar, "use_cftime": True} if calendar else {}
    n = round(12 * years)
    time = xr.date_range(start, periods=n, freq="MS", **kwargs)
    month = np.arange(n) + int(start[-2:]) - 1
    values = (100 * (month // 12) + month % 12 + 1)[:, None, None] + np.array([0, 1000])
    coords = {"time": time, "lat": [0.0], "lon": [10.0, 350.0]}
    return xr.DataArray(
        values.astype(dtype), coords, ("time", "lat", "lon"), "sst", {**ATTRS, **attrs}
    )


# --- climatology


def test_climatology_by_hand():
    clim = climatology(record())  # January: the mean of 1, 101 and 201
    assert clim.dims == ("month", "lat", "lon") and clim.dtype == "f4"
    assert clim["month"].values.tolist() == list(range(1, 13))
    assert clim[:, 0, 0].values.tolist() == [101.0 + m for m in range(12)]
    assert clim[0, 0, 1] == 1101.0
    assert clim.attrs["climatology_period"] == "2000-01/2002-12"
    assert clim.attrs["units"] == "degC" and clim.attrs["units_metadata"] == "temperature: on_scale"
    assert clim.attrs["history"].endswith(f"monthly means over 2000-01/2002-12{FIRSTS}")


PERIODS = {  # the year-numbers y whose mean January, 100 * y + 1, is
    "years": (("2000", "2001"), 51),
    "numbers": ((2001, 2002), 151),
    "one year": (("2001", "2001"), 101),
    "months": (("2000-01", "2001-12"), 51),
    "days": (("2000-01-01", "2001-12-31"), 51),
    "from July": (("2000-07", "2002-06"), 151),
    "a slice": (slice("2000", "2001"), 51),
    "a list": (["2000", "2001"], 51),
    "datetimes": ((np.datetime64("2000-01"), np.datetime64("2001-12")), 51),
}


@pytest.mark.parametrize("case", PERIODS)
def test_periods(case):
    period, january = PERIODS[case]
    assert climatology(record(), period)[0, 0, 0] == january


def test_a_missing_month_is_left_out_of_its_mean():
    da = record().where(record()["time"].dt.year != 2000)
    da[:, 0, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clim = climatology(da)
    assert clim[0, 0, 0] == 151.0 and bool(clim[:, 0, 1].isnull().all())


def test_float32_is_summed_in_float64():
    da = record(100) * 0 + np.float32(300.1)
    assert (climatology(da) == np.float32(300.1)).all()


@pytest.mark.parametrize("flox", [True, False])
def test_lazy_climatology_keeps_spatial_chunks(flox):
    with xr.set_options(use_flox=flox):
        clim = climatology(record().chunk(time=7, lon=1))
    assert clim.chunksizes == {"month": (12,), "lat": (1,), "lon": (1, 1)}
    xr.testing.assert_identical(clim.compute(), climatology(record()))


# --- anomaly


def test_anomaly_by_hand():
    out = anomaly(record(), ("2000", "2001"))  # years 0, 1, 2 minus their mean over 0 and 1
    assert out.dims == ("time", "lat", "lon") and out.dtype == "f4" and out.name == "sst"
    assert out[::12, 0, 0].values.tolist() == [-50, 50, 150] == out[11::12, 0, 1].values.tolist()
    xr.testing.assert_identical(out["time"], record()["time"])
    assert set(out.coords) == {"time", "lat", "lon"}


def test_anomaly_says_what_it_is():
    attrs = anomaly(record(valid_range=[-2.0, 40.0], history="made"), (2000, 2001)).attrs
    assert attrs == {
        "units": "degC",
        "standard_name": "surface_temperature",
        "long_name": "SST anomaly",
        "units_metadata": "temperature: difference",
        "climatology_period": "2000-01/2001-12",
        "history": "made\nxearthformer anomaly: minus the monthly means over 2000-01/2001-12"
        + FIRSTS,
    }


def test_rain_is_no_temperature():
    assert "units_metadata" not in anomaly(record(units="mm h-1"), (2000, 2002)).attrs


FORMS = {
    "noleap": lambda da: da.convert_calendar("noleap", use_cftime=True),
    "360_day": lambda da: da.convert_calendar("360_day", align_on="date"),
    "standard": lambda da: da.convert_calendar("standard", use_cftime=True),
    "mid-month": lambda da: da.assign_coords(time=da.time.values + np.timedelta64(14, "D")),
    "transposed": lambda da: da.transpose("lon", "time", "lat"),
    "other names": lambda da: da.rename(time="T", lat="Y", lon="X"),
    "more dims": lambda da: da.expand_dims(member=[0, 1], axis=2),
    "curvilinear": lambda da: da.drop_vars(("lat", "lon")).rename(lat="y", lon="x"),
    "float64": lambda da: da.astype("f8"),
    "month coordinate": lambda da: da.assign_coords(month=da["time"].dt.month),
}


@pytest.mark.parametrize("form", FORMS)
def test_anomaly_in_every_form(form):
    da = FORMS[form](record())
    out = anomaly(da, ("2000", "2001"))
    assert out.dims == da.dims and out.dtype == da.dtype
    np.testing.assert_array_equal(out, FORMS[form](anomaly(record(), ("2000", "2001"))))
    assert set(out.coords) == set(da.coords)


@pytest.mark.parametrize("flox", [True, False])
def test_lazy_anomaly_keeps_every_chunk(flox):
    da = record(6).chunk(time=(30, 1, 41), lon=1)
    with xr.set_options(use_flox=flox):
        out = anomaly(da, (2000, 2004))
    assert out.chunksizes == da.chunksizes
    xr.testing.assert_identical(out.compute(), anomaly(record(6), (2000, 2004)))


def test_a_dataset_variable_by_variable():
    ds = xr.Dataset({"sst": record(), "bounds": ("time", np.arange(36)), "area": ("lat", [1.0])})
    out = anomaly(ds, (2000, 2001))
    xr.testing.assert_identical(out["sst"], anomaly(record(), (2000, 2001)))
    xr.testing.assert_identical(out[["bounds", "area"]], ds[["bounds", "area"]])
    again = anomaly(ds, climatology(ds, (2000, 2001)))["sst"]
    xr.testing.assert_equal(again, out["sst"])


# --- months by time bounds


def as_cesm(da, calendar="noleap"):
    """A Dataset in CESM's form: stamps at the end of the month, 00:00 on the first of the next."""
    da = da.convert_calendar(calendar, use_cftime=True)
    ends = xr.date_range(
        "2000-02", periods=da.sizes["time"], freq="MS", calendar=calendar, use_cftime=True
    )
    bounds = np.stack([da["time"].values, ends], axis=1)
    ds = da.assign_coords(time=("time", ends, {"bounds": "time_bound"})).to_dataset(name="SST")
    return ds.assign(time_bound=(("time", "d2"), bounds))


@pytest.mark.parametrize("chunks", [None, {"time": 5}])
def test_stamps_at_the_end_of_the_month_count_for_the_month_of_their_bounds(chunks):
    ds = as_cesm(record()) if chunks is None else as_cesm(record()).chunk(chunks)
    clim = climatology(ds, (2000, 2001))["SST"]
    np.testing.assert_array_equal(clim, climatology(record(), (2000, 2001)))
    out = anomaly(ds, (2000, 2001))
    np.testing.assert_array_equal(out["SST"], anomaly(record(), (2000, 2001)))
    assert out["time"].identical(ds["time"].assign_coords(out["SST"].time_middle.coords))
    said = "months by the time bounds: 2000-02-01 is of 2000-01"
    assert out["SST"].attrs["history"].endswith(said) and clim.attrs["history"].endswith(said)
    assert str(out["SST"].time_middle.values[0]) == "2000-01-16 12:00:00"
    # the variable alone has no bounds, but the anomaly kept the middles
    straight = climatology(anomaly(record(), (2000, 2001)), (2001, 2002))
    np.testing.assert_array_equal(climatology(out["SST"], (2001, 2002)), straight)


def test_without_bounds_a_stamp_on_the_first_begins_its_month():
    ds = as_cesm(record())
    clim = climatology(ds.drop_vars("time_bound")["SST"], (2001, 2002))
    assert clim.sel(month=2)[0, 0] == 151  # what the bounds say is January
    assert clim.attrs["history"].endswith(FIRSTS)


def test_bounds_that_agree_with_the_stamps_change_nothing():
    da = record()
    days = np.timedelta64(31, "D")
    bounds = ("time", "nv"), np.stack([da["time"].values, da["time"].values + days], axis=1)
    out = anomaly(da.to_dataset().assign(time_bnds=bounds), (2000, 2001))["sst"]
    xr.testing.assert_identical(out, anomaly(da, (2000, 2001)))


def test_bounds_of_another_year():
    ds = as_cesm(record())
    ds["time_bound"][2] = ds["time_bound"][30]
    with pytest.raises(
        ValueError, match="(?s)2002-07-01 to 2002-08-01 for 2000-04-01.*try"
    ) as error:
        anomaly(ds, (2000, 2001))
    mended = eval(str(error.value).split("try ")[1].split(", to go")[0])
    assert anomaly(mended, (2001, 2002)).attrs == ds.attrs


# --- a climatology made elsewhere

ELSEWHERE = {
    "as made here": lambda clim: clim,
    "Kelvin": lambda clim: (clim + 273.15).assign_attrs(units="K"),
    "descending": lambda clim: clim[:, :, ::-1],
    "-180..180": lambda clim: clim.assign_coords(lon=[10.0, -10.0]).sortby("lon"),
    "more cells": lambda clim: clim.pad(lon=(1, 1)).assign_coords(lon=[5.0, 10.0, 350.0, 355.0]),
    "other names": lambda clim: clim.rename(lat="latitude", lon="longitude"),
    "float64": lambda clim: clim.astype("f8"),
    "months in another order": lambda clim: clim.roll(month=3, roll_coords=True),
    "stamps of year 1": lambda clim: clim.rename(month="time").assign_coords(
        time=xr.date_range("0001-01-01", periods=12, freq="MS", use_cftime=True)
    ),
    "a dim of size 1": lambda clim: clim.expand_dims(lev=[0.0], axis=1),
    "rounded coordinates": lambda clim: clim.assign_coords(lon=np.float32([10.0001, 350.0])),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_climatology_made_elsewhere(case):
    clim = ELSEWHERE[case](climatology(record(), (2000, 2001)))
    out = anomaly(record(), clim)
    np.testing.assert_allclose(out, anomaly(record(), (2000, 2001)), atol=1e-4)
    assert out.dtype == "f4" and out.dims == ("time", "lat", "lon")
    assert out["lon"].values.tolist() == [10.0, 350.0]
    said = ", converted from K to degC" if case == "Kelvin" else ""
    assert out.attrs["history"].endswith(f"2000-01/2001-12, made elsewhere{said}{FIRSTS}")
    assert out.attrs["climatology_period"] == "2000-01/2001-12"


def test_climatology_of_a_longer_record_on_lazy_data():
    clim = climatology(record(10))
    da = record(1).chunk(time=5)
    out = anomaly(da, clim)
    assert out.chunksizes == da.chunksizes
    assert (out == -450.0).all()


def test_a_lazy_anomaly_carries_twelve_months_and_not_a_thousand():
    """Of 500 cells, float32: 24 kB of climatology; 2.4 MB, were it written out for 100 years."""
    wide = record(100).isel(lon=np.zeros(500, int)).assign_coords(lon=np.arange(500.0))
    zeros = dask.array.zeros(wide.shape, dtype="f4", chunks=(60, -1, -1))
    out = anomaly(wide.copy(data=zeros), climatology(wide))
    assert len(cloudpickle.dumps(out.__dask_graph__())) < 60_000
    assert (out[::12] == -4951.0).all() and (out[11::12] == -4962.0).all()


def test_units_spelt_otherwise_are_no_conversion():
    clim = climatology(record(), (2000, 2001)).assign_attrs(units="degree_Celsius")
    assert "converted" not in anomaly(record(), clim).attrs["history"]


def test_climatology_of_unstated_period():
    clim = climatology(record()).drop_attrs(deep=False).assign_attrs(units="degC")
    assert "unstated" in anomaly(record(), clim).attrs["climatology_period"]


# --- what can't be served

CLIM = climatology(record())
DAILY = xr.DataArray(np.zeros(60, "f4"), {"time": xr.date_range("2000-01-01", periods=60)}, "time")
BAD = {
    "period beyond": (
        lambda: anomaly(record()),
        r'data, 2000-01 to 2002-12\n.*1981-01 to 2010-12\n.*try \("2000", "2002"\)',
    ),
    "period beyond part of a year": (
        lambda: anomaly(record(2.5, "2000-07")),
        r'2000-07 to 2002-12\n.*try \("2001", "2002"\)',
    ),
    "part of a year": (
        lambda: climatology(record(), ("2000-03", "2001")),
        "whole years\n.*2000-03 to",
    ),
    "record of part of a year": (
        lambda: climatology(record(2.5)),
        r'whole years\n.*2000-01 to 2002-06\n.*try \("2000", "2001"\)',
    ),
    "half a year of data": (
        lambda: climatology(record(0.5)),
        "whole years.*a record of whole years",
    ),
    "backwards": (lambda: climatology(record(), (2002, 2000)), "2002-01 to 2000-12"),
    "text": (lambda: climatology(record(), "2000-2001"), r"\(start, end\)\n.*'2000-2001'"),
    "no year": (lambda: climatology(record(), ("all", "2001")), "a year or a month\n.*'all'"),
    "a quarter": (lambda: climatology(record(), ("2000Q2", "2001Q1")), "a year or a month"),
    "one digit": (lambda: climatology(record(), ("2000-6", "2001-5")), "a year or a month"),
    "month 13": (lambda: climatology(record(), ("2000-13", "2001")), "a year or a month"),
    "daily": (lambda: anomaly(DAILY), r'monthly data\n.*1 day.*try da.resample\(time="MS"\).mean'),
    "a gap": (lambda: anomaly(record()[[0, 1, 3]]), "no 2000-03"),
    "no time": (lambda: anomaly(record()[0].drop_vars("time")), "a time axis"),
    "twice": (
        lambda: anomaly(anomaly(record(), (2000, 2002)), (2000, 2002)),
        "absolute values\n.*an anomaly already .units_metadata=.*climatology_period=.*on_scale",
    ),
    "called an anomaly": (
        lambda: anomaly(record(long_name="SST anomaly")),
        "an anomaly already .long_name='SST anomaly'",
    ),
    "another grid": (
        lambda: anomaly(record(), CLIM.assign_coords(lon=[11.0, 351.0])),
        r"data along lon, 2 from 10 to 350\n.*2 from 11 to 351\n.*climatology=.*, of the data",
    ),
    "fewer cells": (lambda: anomaly(record(), CLIM[:, :, :1]), "along lon"),
    "other units": (lambda: anomaly(record(), CLIM.assign_attrs(units="m")), "degC\n.*'m'"),
    "no units": (
        lambda: anomaly(record(), CLIM.drop_attrs(deep=False)),
        'units of both\n.*\n.*clim.assign_attrs.units="degC"',
    ),
    "more dims": (
        lambda: anomaly(record(), CLIM.expand_dims(lev=[0, 1])),
        r"dimensions of the data\n.*also lev \(2\)\n.*isel\(lev=0\)",
    ),
    "11 months": (lambda: anomaly(record(), CLIM[:11]), r"month, 1 to 12\n.*month \(11\)"),
    "2 years": (lambda: anomaly(record(), record(2)), r"month, 1 to 12\n.*time \(24\).*groupby"),
    "months without numbers": (
        lambda: anomaly(record(), CLIM.drop_vars("month")),
        r"assign_coords\(month=range\(1, 13\)\)",
    ),
    "an anomaly as climatology": (
        lambda: anomaly(record(), CLIM.assign_attrs(units_metadata="temperature: difference")),
        "climatology of absolute values",
    ),
    "another variable": (
        lambda: anomaly(xr.Dataset({"sst": record()}), xr.Dataset({"tos": CLIM})),
        "with the variable 'sst'\n.*tos",
    ),
    "nothing to serve": (
        lambda: anomaly(xr.Dataset({"n": record().astype(int)})),
        "floating-point variable with time\n.*int64 n",
    ),
    "even": (lambda: running_mean(record(), 4), "odd number of steps, at most 36\n.*4\n.*n=5"),
    "too many": (lambda: running_mean(record(), 37), "at most 36\n.*37\n.*n=35"),
    "another dim": (lambda: running_mean(record(), 3, "lead"), "a dimension 'lead'"),
    "a gap to average over": (lambda: running_mean(record()[[0, 1, 3]], 3), "no 2000-03"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_served(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        make()


def test_integers_are_told_apart():
    with pytest.raises(TypeError, match="int16.*(?s:.*)astype"):
        anomaly(record().astype("i2"))


# --- running means


def test_running_mean_by_hand():
    da = xr.DataArray(np.array([0, 3, 6, 0, np.nan, 1], "f4"), dims="lead", attrs={"units": "K"})
    out = running_mean(da, 3)
    np.testing.assert_array_equal(out, [np.nan, 3, 3, np.nan, np.nan, np.nan])
    assert out.dtype == "f4" and out.attrs["units"] == "K"
    assert out.attrs["history"].endswith("centred over 3 steps of lead")
    np.testing.assert_array_equal(running_mean(da, 1), da)


def test_running_mean_is_along_lead_if_there_is_one_else_time():
    da = record()
    assert np.isnan(running_mean(da, 3)[0]).all() and running_mean(da, 3)[1, 0, 0] == 2.0
    fc = da[:4].drop_vars("time").rename(time="lead").expand_dims(init=da["time"].values[:3])
    assert np.isnan(running_mean(fc, 3)[:, 0]).all() and running_mean(fc, 3).dims == fc.dims
    assert np.isnan(running_mean(fc, 3, "init")[0]).all()


def test_running_mean_of_years():
    years = xr.date_range("2000-01", periods=5, freq="YS")
    da = xr.DataArray(np.arange(5.0), {"time": years}, "time")
    np.testing.assert_array_equal(running_mean(da, 3)[1:-1], [1, 2, 3])


def test_running_mean_stays_lazy_in_its_chunks():
    da = record(6).chunk(time=20, lon=1)
    out = running_mean(da, 5)
    assert out.chunksizes == da.chunksizes
    xr.testing.assert_identical(out.compute(), running_mean(record(6), 5))


# --- real data


@pytest.mark.shared
def test_nino34_of_ersst(ersst):
    ssta = anomaly(ersst["sst"], ("1981", "2009"))
    nino = running_mean(index(ssta, "nino3.4"), 3)
    # 3-month means of 1981-2010 anomalies, ../shared/spec/data.md; 1981-2009 here
    peaks = {"1972-12": 1.94, "1973-12": -2.22, "1983-01": 2.16, "1988-12": -1.99, "1997-11": 2.36}
    for month, value in peaks.items():
        assert nino.sel(time=month).item() == pytest.approx(value, abs=0.06)
    # persistence: correlation and RMSE at leads 1, 3, 6, 9, 12 as measured there
    known = {1: (0.97, 0.19), 3: (0.80, 0.52), 6: (0.44, 0.87), 9: (0.09, 1.10), 12: (-0.11, 1.22)}
    values = nino.values[1:-1].astype(float)
    for lead, (correlation, rmse) in known.items():
        x, y = values[:-lead], values[lead:]
        assert np.corrcoef(x, y)[0, 1] == pytest.approx(correlation, abs=0.006)
        assert np.sqrt(np.mean((x - y) ** 2)) == pytest.approx(rmse, abs=0.01)
    assert float(ssta.sel(time=slice("1981", "2009")).mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.shared
def test_the_indian_ocean_dipole_of_1997(ersst):
    iod = index(anomaly(ersst["sst"], ("1981", "2009")), "iod")
    assert str(iod["time"].values[iod.values.argmax()])[:7] in ("1997-11", "1961-10", "1994-10")


# --- curvilinear grids


def curved(da):
    lat, lon = np.meshgrid([0.0, 1.0], [10.0, 350.0], indexing="ij")
    da = da.isel(lat=[0, 0]).drop_vars(("lat", "lon")).rename(lat="j", lon="i")
    return da.assign_coords(latitude=(("j", "i"), lat), longitude=(("j", "i"), lon))


@pytest.mark.parametrize("gridded", [True, False])
def test_a_climatology_of_members_is_theirs_by_label(gridded):
    """In whatever order, of a larger ensemble, and of indices too, which have no grid."""
    members = xr.DataArray([0.0, 10, 30], {"member": ["a", "b", "c"]})
    da = record() if gridded else record()[:, 0, 0].drop_vars(["lat", "lon"])
    da = (da + members).assign_attrs(da.attrs)
    right, clim = anomaly(da, (2000, 2002)), climatology(da)
    for order in (["a", "b", "c"], ["c", "a"]):
        found = anomaly(da.sel(member=order), clim.sel(member=["b", "c", "a"]))
        np.testing.assert_allclose(found, right.sel(member=order).transpose(*found.dims), atol=1e-5)


def test_a_climatology_of_the_same_curvilinear_cells():
    clim = climatology(curved(record()), (2000, 2001))
    expected = anomaly(curved(record()), (2000, 2001))
    assert set(expected.coords) == {"time", "latitude", "longitude"}
    turned = clim.assign_coords(longitude=clim["longitude"] - 360).transpose("i", "month", "j")
    xr.testing.assert_equal(anomaly(curved(record()), turned), expected)
    other = clim.assign_coords(latitude=clim["latitude"] + 1)
    with pytest.raises(ValueError, match="cells of the data, by latitude"):
        anomaly(curved(record()), other)


def test_a_climatology_that_is_mirrored_has_other_cells():
    """170 E has the sine of 10 E."""
    lon, lat = np.meshgrid([10.0, 170.0], [-5.0, 5.0])
    places = {"latitude": (("j", "i"), lat), "longitude": (("j", "i"), lon)}
    da = record().rename(lat="j", lon="i").isel(i=[0, 0], j=[0, 0]).drop_vars(["i", "j"])
    da = da.assign_coords(places)
    mirrored = climatology(da, (2000, 2001)).assign_coords(longitude=da["longitude"][:, ::-1])
    with pytest.raises(ValueError, match="cells of the data, by latitude"):
        anomaly(da, mirrored)


@pytest.mark.parametrize("long", [False, True])
def test_stamps_of_a_climatology_are_of_the_months_that_their_bounds_begin(long):
    """CESM stamps January at its end; bounds of a climatology may span all of its years."""
    ds = record().to_dataset(name="sst")
    usual = climatology(record(), (2000, 2001)).rename(month="time")
    starts = pd.date_range("2001-01", periods=13, freq="MS")
    first, last = starts[:-1] - pd.DateOffset(years=9 * long), starts[1:]
    clim = usual.assign_coords(time=("time", last, {"bounds": "time_bnds"})).to_dataset(name="sst")
    clim["time_bnds"] = (("time", "nv"), np.stack([first, last], axis=1))
    expected = anomaly(ds, (2000, 2001))["sst"]
    np.testing.assert_array_equal(anomaly(ds, clim)["sst"], expected)


def test_a_slice_that_selects_nothing_is_told():
    for use in (climatology, lambda da: anomaly(da, (2000, 2001))):
        with pytest.raises(ValueError, match="cells along lat\n +found none"):
            use(record().sel(lat=slice(90, -90)))


# --- what stands next to the data


@pytest.mark.parametrize("where", ["attrs", "encoding", "name"])
def test_bounds_stay_as_they_are(where):
    da = record()
    edges = np.stack([np.arange(36.0), np.arange(36.0) + 1], axis=1)  # numbers, not decoded
    south_north = np.broadcast_to([-5.0, 5.0], (36, 1, 2))
    name = "time_bnds" if where == "name" else "edges_of_months"
    cells = {name: (("time", "nv"), edges), "lat_bnds": (("time", "lat", "nv"), south_north)}
    ds = da.to_dataset().assign(cells).assign_attrs(history="observed")
    if where != "name":
        getattr(ds["time"], where)["bounds"] = name
    for function in (lambda ds: anomaly(ds, (2000, 2001)), lambda ds: running_mean(ds, 3)):
        found = function(ds)
        xr.testing.assert_equal(found[list(cells)], ds[list(cells)])
        assert found.attrs["history"].startswith("observed\nxearthformer ")
    assert list(climatology(ds).data_vars) == ["sst"]


def test_areas_of_every_month_stay_as_they_are():
    da = record().assign_attrs(cell_measures="area: areacello")
    ds = da.to_dataset().assign(areacello=xr.ones_like(da))
    assert (anomaly(ds, (2000, 2001))["areacello"] == 1).all()


@pytest.mark.parametrize("kind", [lambda da: da, lambda da: da.to_dataset()])
def test_packed_integers_are_refused_with_what_unpacks_them(kind):
    packed = (record() * 10).astype("i2").assign_attrs(units="degC", scale_factor=0.1)
    functions = (climatology, lambda d: running_mean(d, 3), lambda d: anomaly(d, (2000, 2001)))
    for function in functions:
        with pytest.raises(TypeError, match="(?s)int16.*try ds = xr.decode_cf"):
            function(kind(packed))
    unpacked = xr.decode_cf(packed.to_dataset())
    assert running_mean(unpacked, 3)["sst"].dtype.kind == "f"


@pytest.mark.parametrize("units", ["degC", "m"])
@pytest.mark.parametrize("about", [{}, {"long_name": "in the air"}])
def test_an_anomaly_and_its_climatology_are_absolute(units, about):
    da = record().rename("air")
    da.attrs = {"units": units, **about}
    clim = climatology(da, (2000, 2001))
    for keep in (True, False):
        with xr.set_options(keep_attrs=keep):
            total = anomaly(da, clim) + clim.sel(month=da["time"].dt.month)
        again = anomaly(total, (2000, 2001))
        np.testing.assert_allclose(again, anomaly(da, clim), atol=1e-4)
