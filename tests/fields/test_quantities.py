"""Which variable is which quantity, by names and attributes; and each variable of a Dataset."""

import numpy as np
import pytest
import xarray as xr
from small_field import TEMPERATURE, field

import xearthformer as xef
from xearthformer.fields import quantities

DIFFERENCES = {
    "units_metadata": ({"units_metadata": "temperature: difference"}, True),
    "no blank": ({"units_metadata": "temperature:difference"}, True),
    "units": ({"units": "delta_degC"}, True),
    "long_name": ({"long_name": "Monthly SST Anomalies"}, True),
    "standard_name": ({"standard_name": "surface_temperature_anomaly"}, True),
    # arithmetic carries it along, into the sum of an anomaly and its climatology
    "period": ({"climatology_period": "1981-01/2010-12"}, False),
    "on_scale decides": (
        {"long_name": "anomaly", "units_metadata": "temperature: on_scale"},
        False,
    ),
    "nothing": ({"units": "degC", "long_name": "SST"}, False),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_is_difference(case):
    attrs, expected = DIFFERENCES[case]
    assert quantities.is_difference(field(attrs)) is expected


def test_a_climatology_is_no_difference():
    clim = field({"climatology_period": "1981-01/2010-12"}).rename(time="month")
    assert not quantities.is_difference(clim)


def find(ds, standard_name="sea_surface_temperature", difference=True):
    return quantities.find_variable(ds, standard_name=standard_name, difference=difference)


def test_find_variable():
    a, t = field(), field(TEMPERATURE)
    other = field({"standard_name": "air_temperature", "units": "K"})
    assert find(xr.Dataset({"foo": a, "bar": other})) == "foo"
    assert find(xr.Dataset({"foo": a, "bar": t})) == "foo"
    assert find(xr.Dataset({"foo": a, "bar": t}), difference=False) == "bar"
    assert find(xr.Dataset({"sst": field({"standard_name": "unknown"}), "bar": other})) == "sst"
    assert find(xr.Dataset({"SSTA": field({}), "bar": other})) == "SSTA"
    assert find(xr.Dataset({"foo": t})) == "foo"  # prepare says that it isn't an anomaly
    assert find(xr.Dataset({"foo": a, "crs": 0}), standard_name=None) == "foo"
    assert find(xr.Dataset({"rr": field({})}), standard_name="rainfall_rate") == "rr"


def test_find_variable_among_none_or_two():
    other = field({"standard_name": "air_temperature", "units": "K"})
    message = (
        r"(?s)sea_surface_temperature \(anomaly\)\n.*bar\(time, lat, lon\) .*'air_temperature'"
    )
    with pytest.raises(ValueError, match=message):
        find(xr.Dataset({"bar": other}))
    ds = xr.Dataset({"foo": field(), "bar": field()})
    with pytest.raises(ValueError, match=r"(?s)2:.*foo.*bar.*ds\.drop_vars.*to keep foo") as error:
        find(ds)
    line = str(error.value).split("try ")[1].split(", to")[0]
    assert find(eval(line, {"ds": ds})) == "foo"
    with pytest.raises(ValueError, match="no data variables"):
        find(xr.Dataset())


@pytest.mark.parametrize(
    "name, units, value, rain",
    [
        ("equivalent_reflectivity_factor", "dBZ", 23.0103, 1),  # 10 log10 200
        ("rainfall_amount", "kg m-2", 1, 12),  # in five minutes
    ],
)
def test_what_radars_measure_is_opened_as_rain(name, units, value, rain):
    time = xr.date_range("2019-01-01", periods=2, freq="5min")
    attrs = {"standard_name": name, "units": units}
    da = xr.DataArray([value] * 2, {"time": time}, ("time",), None, attrs)
    da = da.expand_dims(y=1, x=1, axis=(1, 2)).astype("f8")
    with pytest.raises(ValueError, match=r"expected rainfall_rate\n.*\n.*xef.open_radar") as error:
        quantities.check_quantity(da, "rainfall_rate", False)
    line = str(error.value).split("try ")[1].split(", which")[0]
    assert eval(line, {"xef": xef, "da": da}).values == pytest.approx(rain, rel=1e-5)
    ds = xr.Dataset({"v": da, "quality": da.drop_attrs()})
    with pytest.raises(ValueError, match="a variable that is rainfall_rate") as error:
        find(ds, standard_name="rainfall_rate", difference=False)
    line = str(error.value).split("try ")[1].split(", which")[0]
    assert eval(line, {"xef": xef, "ds": ds}).values == pytest.approx(rain, rel=1e-5)


@pytest.mark.parametrize("years", [(1960, 2009), (1970, 2020), (1990, 2001)])
def test_the_climatology_of_the_hint_lies_within_the_record(years):
    time = xr.date_range(f"{years[0]}-01", f"{years[1]}-12", freq="MS")
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    da = xr.DataArray(np.full((time.size, 1, 1), 20.0), {"time": time}, ("time", "y", "x"))
    with pytest.raises(ValueError, match="expected an anomaly") as error:
        quantities.check_quantity(da.assign_attrs(attrs), "sea_surface_temperature", True)
    line = str(error.value).split("try ")[1].split(", or")[0]
    assert eval(line, {"da": da.assign_attrs(attrs)}).values == pytest.approx(0)
    period = {1960: '("1980", "2009")', 1970: '("1981", "2010")', 1990: '("1990", "2001")'}
    assert period[years[0]] in line


def test_what_makes_an_anomaly_of_a_height_is_not_a_mark_of_temperatures():
    da = field({"standard_name": "sea_surface_height_above_geoid", "units": "m"}).rename("zos")
    with pytest.raises(ValueError, match="expected an anomaly") as error:
        quantities.check_quantity(da, "sea_surface_height_above_geoid", True)
    line = str(error.value).split("already ")[1]
    assert line == 'da.assign_attrs(long_name="zos anomaly")'
    quantities.check_quantity(eval(line, {"da": da}), "sea_surface_height_above_geoid", True)


# --- Datasets, variable by variable


def test_on_each_serves_what_has_the_dims_and_leaves_the_rest():
    ds = xr.Dataset(
        {"a": field(), "n": ("time", [1, 2]), "z": ("time", [1.0, 2.0])}, attrs={"t": 1}
    )
    out = quantities.on_each(ds, lambda da: da.mean("lat"), ["lat", "lon"])
    assert out["a"].dims == ("time", "lon") and out.attrs == {"t": 1}
    for name in ("n", "z"):
        assert out[name].variable.identical(ds[name].variable)
    with pytest.raises(ValueError, match="floating-point variable with lat and lon\n.*int64 n"):
        quantities.on_each(ds[["n"]], lambda da: da, ["lat", "lon"])


def test_on_each_keeps_coordinates_that_no_variable_carries():
    # what decode_coords="all" makes of bounds: coordinates with a dim that no variable has
    bounds = {"lat_bnds": (("lat", "nv"), np.zeros((3, 2))), "crs": 0}
    bounds["time_bnds"] = (("time", "nv"), np.zeros((2, 2)))
    ds = xr.Dataset({"a": field()}, bounds).set_coords(["lat_bnds", "crs", "time_bnds"])
    same = quantities.on_each(ds, lambda da: da + 1, ["time"])
    assert set(same.coords) == set(ds.coords)
    mean = quantities.on_each(ds, lambda da: da.mean("lat"), ["lat"])
    assert {"time_bnds", "crs"} <= set(mean.coords) and "lat_bnds" not in mean.coords
    cut = quantities.on_each(ds, lambda da: da.isel(time=slice(1)), ["time"])
    assert "time_bnds" not in cut.coords and "lat_bnds" in cut.coords


# --- absolute values and their anomaly in one file


def two(name, **attrs):
    """A file of SST, and of another variable next to it that says that it is an anomaly."""
    time = xr.date_range("1980-01", periods=24, freq="MS")
    coords = {"time": time, "lat": [0.0, 1.0], "lon": [0.0, 1.0]}
    sst = xr.DataArray(np.full((24, 2, 2), 20.0), coords, ("time", "lat", "lon"))
    absolute = {"units": "degC", "standard_name": "sea_surface_temperature"}
    other = {"units": "degC", "long_name": "SST anomalies", **attrs}
    return xr.Dataset({"sst": sst.assign_attrs(absolute), name: (sst - 19).assign_attrs(other)})


def test_the_anomaly_next_to_absolute_values_is_found_by_its_name():
    ds = two("ssta")
    for difference, name in ((True, "ssta"), (False, "sst")):
        ask = {"standard_name": "sea_surface_temperature", "difference": difference}
        found = quantities.find_variable(ds, **ask)
        assert found == name


def test_an_anomaly_of_another_name_is_named():
    ds = two("anom")
    with pytest.raises(ValueError, match=r"absolute values of sst, and anom") as error:
        quantities.find_variable(ds, standard_name="sea_surface_temperature", difference=True)
    mended = eval(str(error.value).split("try ")[1].split(", if")[0], {"ds": ds})
    assert mended.name == "anom" and mended.attrs["standard_name"] == "sea_surface_temperature"
    quantities.check_quantity(mended, "sea_surface_temperature", difference=True)


def test_anomalies_of_both_name_the_one_that_is_an_anomaly():
    ds = two("anom")
    with pytest.raises(ValueError, match="anom, an anomaly already") as error:
        ds.earthformer.anomaly((1980, 1981))
    mended = eval(str(error.value).split("try ")[1], {"ds": ds})
    assert (mended.earthformer.anomaly((1980, 1981))["sst"] == 0).all()
