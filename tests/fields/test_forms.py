"""Labelled data in the forms that files and libraries give: pint, Zarr's codecs and shards."""

import numpy as np
import pandas as pd
import pint
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.climate.indices import index
from xearthformer.fields.forms import in_plain_form


@pytest.fixture
def rain():
    return small_rain(np.arange(8.0 * 4 * 5).reshape(8, 4, 5))


@pytest.mark.parametrize(
    ("units", "text", "metadata"),
    [
        ("mm/hour", "hour-1 millimeter", None),
        ("kg/m**2/s", "kilogram meter-2 second-1", None),
        ("degC", "degree_Celsius", None),
        ("delta_degC", "degree_Celsius", "temperature: difference"),
        ("dimensionless", "1", None),
    ],
)
def test_quantities_of_pint_are_numbers_with_units(units, text, metadata):
    da = xr.DataArray(pint.UnitRegistry().Quantity(np.ones(2), units), dims="x", attrs={"a": 1})
    for plain in (in_plain_form(da), in_plain_form(da.to_dataset(name="b"))["b"]):
        assert type(plain.data) is np.ndarray
        assert plain.attrs["units"] == text and plain.attrs["a"] == 1
        assert plain.attrs.get("units_metadata") == metadata


def test_every_door_takes_quantities_of_pint(rain):
    quantities = rain.copy(data=pint.UnitRegistry().Quantity(rain.values, "mm/hour"))
    del quantities.attrs["units"]
    fc = quantities.earthformer.forecast("persistence", init=rain["time"][3], lead=2)
    wanted = rain.earthformer.forecast("persistence", init=rain["time"][3], lead=2)
    np.testing.assert_array_equal(fc, wanted)
    score = wanted.earthformer.verify(quantities, scores=["mse"])
    xr.testing.assert_equal(score, wanted.earthformer.verify(rain, scores=["mse"]))
    np.testing.assert_array_equal(xef.to_step(quantities, "10min"), xef.to_step(rain, "10min"))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("shards", [False, True])
def test_stores_in_and_out(rain, tmp_path, zarr_format, shards):
    ds = rain.to_dataset(name="rain_rate")
    if shards:
        encoding = {"rain_rate": {"chunks": (1, 4, 5), "shards": (4, 4, 5)}}
        ds.to_zarr(tmp_path / "in.zarr", zarr_format=3, encoding=encoding)
    else:
        ds.to_zarr(tmp_path / "in.zarr", zarr_format=5 - zarr_format)
    opened = xr.open_zarr(tmp_path / "in.zarr")
    kept = {name: dict(variable.encoding) for name, variable in opened.variables.items()}
    init = rain["time"].values[3:5]
    for name, answer in {
        "fc": opened.earthformer.forecast("persistence", init=init, lead=2),
        "array": opened["rain_rate"].earthformer.forecast("persistence", init=init, lead=2),
        "step": xef.to_step(opened["rain_rate"], "10min"),
    }.items():
        answer.to_zarr(tmp_path / f"{name}.zarr", zarr_format=zarr_format)
        again = xr.open_zarr(tmp_path / f"{name}.zarr")["rain_rate"]
        np.testing.assert_array_equal(again, answer if name != "fc" else answer["rain_rate"])
    assert kept == {name: dict(variable.encoding) for name, variable in opened.variables.items()}


def test_a_forecast_in_shards(rain, tmp_path):
    fc = rain.earthformer.forecast("persistence", init=rain["time"][2:6], lead=2)
    encoding = {"rain_rate": {"chunks": (1, 1, 4, 5), "shards": (4, 2, 4, 5)}}
    fc.to_zarr(tmp_path / "fc.zarr", encoding=encoding)
    again = xr.open_zarr(tmp_path / "fc.zarr")
    scores = [each.earthformer.verify(rain, scores=["mse"]).compute() for each in (fc, again)]
    xr.testing.assert_equal(*scores)


@pytest.mark.parametrize("name", ["init", "lead", "valid_time", "known"])
def test_data_named_like_a_label_of_its_forecast(rain, name):
    ds = rain.to_dataset(name=name)
    for data in (ds, ds[name]):
        with pytest.raises(ValueError, match="another name than the labels") as error:
            data.earthformer.forecast("persistence", lead=1)
    mended = eval(str(error.value).split(", or ")[1], {"ds": ds})
    assert list(mended.earthformer.forecast("persistence", lead=1)) == [f"{name}_value"]


@pytest.mark.parametrize("lazy", [False, True])
def test_places_that_are_written_again_at_each_time(lazy):
    """WRF's XLAT and XLONG lie along time too; of a grid that moves they stay as they are."""
    lon, lat = np.meshgrid(np.arange(185.0, 245, 5), np.arange(-10.0, 11, 5))
    time = pd.date_range("2000-01", periods=24, freq="MS")
    coords = {"XTIME": ("Time", time)}
    values = np.random.default_rng(0).normal(size=(24, *lat.shape)).astype("f4")
    dims = "Time", "south_north", "west_east"
    flat = {"XLAT": (dims[1:], lat), "XLONG": (dims[1:], lon)}
    again = {name: (dims, np.tile(map_, (24, 1, 1))) for name, (_, map_) in flat.items()}
    attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    ours = xr.DataArray(values, coords | flat, dims, "SST", attrs)
    theirs = xr.DataArray(values, coords | again, dims, "SST", attrs)
    theirs = theirs.chunk(Time=5) if lazy else theirs
    found = index(theirs.to_dataset(), "nino3.4")["SST"]
    np.testing.assert_array_equal(found, index(ours, "nino3.4"))
    with pytest.raises(ValueError):  # of no frame, which has no first map
        index(theirs.isel(Time=slice(0)), "nino3.4")
    moving = theirs.assign_coords(XLAT=theirs["XLAT"] + xr.DataArray(np.arange(24.0), dims="Time"))
    with pytest.raises(ValueError, match="expected latitude and longitude"):
        index(moving, "nino3.4")


@pytest.mark.parametrize("given", ["sst.nc", np.zeros((3, 2, 2)), None])
def test_what_is_no_labelled_data_is_told_at_every_door(given):
    doors = [
        lambda: xef.climatology(given),
        lambda: xef.anomaly(da=given),
        lambda: xef.index(given, "nino3.4"),
        lambda: xef.exceedance(given, 1),
        lambda: xef.quantiles(given, 0.5),
        lambda: xef.accumulate(given, "1h"),
        lambda: xef.verify(given, given),
        lambda: xef.forecast(given, "lim"),
    ]
    for door in doors:
        with pytest.raises(TypeError, match="expected an xarray DataArray or Dataset\n   found "):
            door()
