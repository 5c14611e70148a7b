"""The way into a model's terms and back, in every form data comes in."""

import dask
import numpy as np
import pytest
import xarray as xr
from small_field import ANOMALY, TEMPERATURE, field

from xearthformer.fields import cf, quantities


def prepare(da, units="degC", difference=True, latlon=True, **kwargs):
    return cf.prepare(da, units=units, difference=difference, latlon=latlon, **kwargs)


# --- the way in


def test_prepared_by_hand():
    # rows 10, 0 and columns -90, 0 become rows 0, 10 and columns 0, 270
    da = field(lat=[10, 0], lon=[-90, 0]).transpose("lon", "lat", "time")
    out, _ = prepare(da)
    assert out.dims == ("time", "y", "x") and out.dtype == "f4" and out.name == "sst"
    assert out.y.values.tolist() == [0, 10] and out.x.values.tolist() == [0, 270]
    np.testing.assert_allclose(out[1], [[100, 100.27], [110, 110.27]], rtol=1e-6)
    assert set(out.coords) == {"time", "y", "x"}
    assert out.attrs["units"] == "degC" and out.y.attrs == {"units": "degrees_north"}


def test_rows_of_a_projection_ascend_and_columns_stay():
    coords = {"y": ("y", [3.0, 2.0, 1.0], {"units": "km"}), "x": ("x", [5.0, 4.0], {"units": "km"})}
    da = xr.DataArray(np.arange(6.0).reshape(1, 3, 2), coords, ("time", "y", "x"))
    out, origin = prepare(da.assign_attrs(units="mm/h"), "mm/h", difference=False, latlon=False)
    assert out.y.values.tolist() == [1, 2, 3] and out.x.values.tolist() == [5, 4]
    assert out.values.tolist() == [[[4, 5], [2, 3], [0, 1]]]
    xr.testing.assert_identical(cf.restore(out, origin), da.assign_attrs(units="mm/h"))


def test_rows_without_a_coordinate_stay():
    da = xr.DataArray(
        np.arange(6.0).reshape(1, 3, 2), dims=("time", "y", "x"), attrs={"units": "1"}
    )
    out, origin = prepare(da, "1", difference=False, latlon=False)
    np.testing.assert_array_equal(out, da)
    xr.testing.assert_identical(cf.restore(out, origin), da)


def test_kelvin_on_scale_and_as_a_difference():
    on_scale, _ = prepare(field({**TEMPERATURE, "units": "K"}), difference=False)
    difference, _ = prepare(field({**ANOMALY, "units": "K"}))
    np.testing.assert_allclose(difference - on_scale, 273.15, rtol=1e-5)


def test_units_none_takes_numbers_as_they_are():
    for attrs in (ANOMALY, {"units": "furlong"}, {}):
        da = field(attrs)
        out, origin = prepare(da, units=None, difference=False)
        np.testing.assert_array_equal(out, da)
        xr.testing.assert_identical(cf.restore(out, origin), da)


# --- and back

FORMS = {
    "as it is": lambda da: da,
    "lat lon time": lambda da: da.transpose("lat", "lon", "time"),
    "lon time lat": lambda da: da.transpose("lon", "time", "lat"),
    "descending latitude": lambda da: da[:, ::-1],
    "-180..180": lambda da: da.assign_coords(
        lon=("lon", (da.lon.values + 180) % 360 - 180, da.lon.attrs)
    ).sortby("lon"),
    "descending longitude": lambda da: da[:, :, ::-1],
    "a region": lambda da: da.isel(lat=slice(1, 3), lon=slice(1, 3)),
    "a region over Greenwich": lambda da: da.isel(lon=[3, 0]).assign_coords(lon=[-90.0, 0.0]),
    "other names": lambda da: da.rename(time="T", lat="Y", lon="X"),
    "a dim of size 1": lambda da: da.expand_dims(lev=[5.0], axis=2),
    "scalar coordinates": lambda da: da.assign_coords(member=3, crs=0, y=1.0),
    "more coordinates": lambda da: da.assign_coords(
        area=(("lon", "lat"), np.arange(12.0).reshape(4, 3)), year=("time", [2000, 2000])
    ),
    "coordinates by other names": lambda da: (
        da.assign_coords(j=("lat", [0, 1, 2]), t=("time", [0, 1]))
        .swap_dims(lat="j", time="t")
        .drop_vars(("j", "t"))
    ),
    "float64": lambda da: da.astype("f8"),
    "Kelvin": lambda da: da.assign_attrs(units="K"),
    "Fahrenheit": lambda da: da.assign_attrs(units="degF"),
    "delta units": lambda da: da.drop_attrs(deep=False).assign_attrs(units="delta_degC"),
    "noleap": lambda da: da.convert_calendar("noleap", use_cftime=True),
    "no name": lambda da: da.rename(None),
}


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(form):
    da = FORMS[form](field())
    out, origin = prepare(da)
    assert out.dims == ("time", "y", "x") and out.dtype == "f4"
    assert (np.diff(out.y) > 0).all() and (np.diff(out.x) > 0).all()
    assert out.x.min() >= 0 and out.x.max() < 360
    back = cf.restore(out, origin)
    if form in ("Fahrenheit", "float64"):
        np.testing.assert_allclose(back, da, rtol=1e-6)
        back = back.copy(data=da.values)
    xr.testing.assert_identical(back, da)
    assert back.dtype == da.dtype


@pytest.mark.parametrize("form", FORMS)
def test_a_forecast_comes_back_in_the_users_form(form):
    da = FORMS[form](field())
    out, origin = prepare(da)
    # a forecast from the first month: that month itself, at leads 1 and 2, of 1 init, in 2 members
    fc = xr.concat([out[0], out[0]], "lead").drop_vars("time").expand_dims(init=[7], axis=0)
    fc = fc.expand_dims(member=[0, 1], axis=2).assign_coords(lead=[1, 2])
    back = cf.restore(fc.assign_attrs(pack="lim"), origin)
    spatial = [d for d in da.dims if d not in ("time", "T", "t", "lev")]
    assert back.dims == ("init", "lead", "member", *spatial)
    time = next(d for d in ("time", "T", "t") if d in da.dims)
    first = da.isel({time: 0}).squeeze()
    np.testing.assert_allclose(back[0, 1, 1], first, rtol=1e-6)
    for dim in spatial:
        if dim in da.coords:
            assert back[dim].variable.identical(da[dim].variable)
    assert back.attrs == {**da.attrs, "pack": "lim"} and back.name == da.name
    assert back.dtype == da.dtype
    assert back["member"].values.tolist() == [0, 1]  # not the user's scalar
    if form == "a dim of size 1":
        assert back["lev"].ndim == 0 and back["lev"] == 5.0
    if form == "more coordinates":
        xr.testing.assert_equal(back["area"].variable, da["area"].variable)
        assert "year" not in back.coords


def test_part_of_a_record_keeps_its_own_time():
    da = field().rename(time="T")
    out, origin = prepare(da)
    xr.testing.assert_identical(cf.restore(out[1:], origin), da[1:])


def test_attributes_that_were_added_come_along():
    out, origin = prepare(field())
    assert cf.restore(out.assign_attrs(history="regridded"), origin).attrs["history"] == "regridded"


def test_another_grid_is_refused():
    out, origin = prepare(field())
    with pytest.raises(ValueError, match="the prepared grid, 3 x 4\n.*2 x 4\n.*to_user"):
        cf.restore(out[:, :2], origin)


def test_lazy_stays_lazy_and_computes_nothing():
    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    da = FORMS["-180..180"](field({**ANOMALY, "units": "K"}))[:, ::-1].chunk(time=1, lat=2)
    with dask.config.set(scheduler=refuse):
        out, origin = prepare(da)
        back = cf.restore(out, origin)
    assert out.chunksizes["time"] == (1, 1)
    assert back.chunksizes["time"] == (1, 1)
    xr.testing.assert_identical(back.compute(), da.compute())


# --- what data that can't be served gets

PACKED = {"scale_factor": 0.01, **ANOMALY}
BAD = {
    "absolute": (
        field(TEMPERATURE),
        {},
        r"an anomaly\n.*absolute values: sst.*'SST'.*da.earthformer.anomaly\(climatology=.*"
        r'assign_attrs\(units_metadata="temperature: difference"\)',
    ),
    "anomaly": (
        field(),
        {"difference": False},
        'absolute values\n.*an anomaly.*"temperature: on_scale"',
    ),
    "another quantity": (
        field({**ANOMALY, "standard_name": "air_temperature"}),
        {"standard_name": "sea_surface_temperature"},
        'sea_surface_temperature\n.*air_temperature.*assign_attrs.standard_name="sea_surf',
    ),
    "no units": (
        field({k: v for k, v in ANOMALY.items() if k != "units"}),
        {},
        'assign_attrs.units="degC"',
    ),
    "wrong units": (field({**ANOMALY, "units": "m s-1"}), {}, "degC\n.*'m s-1'"),
    "a long dim": (field().expand_dims(lev=[1, 2]), {}, r"also lev \(2\)\n.*da.isel\(lev=0\)"),
    "no time": (field()[0].drop_vars("time"), {}, "a time axis"),
    "a projection": (field().drop_vars("lon"), {}, "no coordinates"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_served(case):
    da, kwargs, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        prepare(da, **kwargs)


@pytest.mark.parametrize("dtype", ["i2", "u1", "?", "O", "c8"])
def test_what_is_no_floating_point(dtype):
    with pytest.raises(TypeError, match=r'(?s)floating-point data\n.*try da.astype\("float32"\)'):
        prepare(field().astype(dtype))
    with pytest.raises(TypeError, match="xr.decode_cf"):
        prepare(field(PACKED).astype(dtype))


def test_the_line_for_absolute_values_mends():
    mended = field(TEMPERATURE).assign_attrs(units_metadata="temperature: difference")
    assert prepare(mended)[0].shape == (2, 3, 4)


def test_standard_name_of_the_same_thing_or_none_passes():
    wanted = "sea_surface_temperature"
    for name in ("unknown", "sea_surface_skin_temperature", "sea_surface_temperature_anomaly"):
        named = field({**ANOMALY, "standard_name": name})
        assert prepare(named, standard_name=wanted)[0].attrs["standard_name"] == name
    nameless = field({k: v for k, v in ANOMALY.items() if k != "standard_name"})
    assert "standard_name" not in prepare(nameless, standard_name=wanted)[0].attrs


def test_history_grows_by_a_line():
    assert cf.add_history({"units": "K"}, "one") == {"units": "K", "history": "one"}
    assert cf.add_history({"history": "one"}, "two")["history"] == "one\ntwo"


@pytest.mark.shared
def test_ersst_there_and_back(ersst):
    da = ersst["sst"][:24]
    out, origin = prepare(da, difference=False, units="K", standard_name="sea_surface_temperature")
    assert out.sizes == {"time": 24, "y": 89, "x": 180}
    assert 271 < float(out.min()) < 272 and 303 < float(out.max()) < 307
    back = cf.restore(out, origin)
    np.testing.assert_allclose(back, da, atol=3e-5)
    xr.testing.assert_identical(back.copy(data=da.values), da)
    name = quantities.find_variable(
        ersst, standard_name="sea_surface_temperature", difference=False
    )
    assert name == "sst"
