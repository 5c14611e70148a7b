"""What is read back of forecasts that were written, appended and written again."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

import xearthformer as xef
from xearthformer.cli import main

KNOWN_WARNINGS = pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:.*NetCDF")


def record(step="5min", start="2016-09-28 23:45", calendar="standard", **encoding):
    """Eight fields on a map, at times that a file holds by this encoding."""
    time = xr.date_range(start, periods=8, freq=step, calendar=calendar, use_cftime=None)
    coords = {
        "time": ("time", time),
        "y": ("y", np.arange(4.0), {"units": "m"}),
        "x": ("x", np.arange(5.0), {"units": "m"}),
    }
    da = xr.DataArray(np.ones((8, 4, 5), "f4"), coords, ("time", "y", "x"), "rain")
    da["time"].encoding = encoding
    return da


TIMES = {
    "no encoding": record(),
    "whole in its units": record(units="minutes since 2000-01-01", dtype=np.dtype("i4")),
    "in whole days, hourly": record("1h", units="days since 1850-01-01", dtype=np.dtype("f8")),
    "seconds apart": record("90s", units="minutes since 2000-01-01"),
    "parts of a second": record("1500ms", units="seconds since 2000-01-01"),
    "months": record("MS", units="days since 1800-01-01"),
    "middles of months": record("MS", "2000-01-16 12:00", units="days since 1800-01-01"),
    "noleap": record("1h", "0001-12-31", "noleap", units="days since 0001-01-01"),
    "360_day": record("MS", "2000-02-30", "360_day", units="days since 1800-01-01"),
    "of another calendar": record("1D", units="days since 2000-01-01", calendar="standard"),
    "units of no length": record("MS", units="months since 2000-01-01"),
}


@KNOWN_WARNINGS
@pytest.mark.parametrize("name", TIMES)
def test_appended_forecasts_have_their_own_times(name, tmp_path):
    da = TIMES[name]
    each = [xef.forecast(da, "persistence", init=da.time.values[k], lead=3) for k in (3, 4, 6)]
    for k, fc in enumerate(each):
        fc.to_zarr(tmp_path / "fc.zarr", **({"append_dim": "init"} if k else {}))
    found = xr.open_zarr(tmp_path / "fc.zarr", decode_timedelta=True)
    for label in ("init", "valid_time"):
        np.testing.assert_array_equal(found[label], np.concatenate([fc[label] for fc in each]))


def test_units_of_the_data_are_kept_where_they_hold_every_time():
    fc = xef.forecast(TIMES["whole in its units"], "persistence", lead=3)
    for label in ("init", "valid_time"):
        assert fc[label].encoding["units"] == "minutes since 2000-01-01"
    assert "units" not in fc["y"].encoding


@KNOWN_WARNINGS
def test_hindcasts_and_the_command_write_times_that_can_be_appended_to(tmp_path):
    da = TIMES["no encoding"]
    later = xef.forecast(da, "persistence", init=da.time.values[5], lead=2)
    xef.hindcast(da.isel(time=slice(4)), "persistence", tmp_path / "hind.zarr", lead=2)
    da.isel(time=slice(4)).to_netcdf(tmp_path / "in.nc")
    words = ["forecast", str(tmp_path / "in.nc"), "--pack", "persistence", "--lead", "2", "-o"]
    assert main([*words, str(tmp_path / "fc.zarr")]) == 0
    for store in ("hind.zarr", "fc.zarr"):
        later.to_dataset().to_zarr(tmp_path / store, append_dim="init")
        found = xr.open_zarr(tmp_path / store)
        assert found["init"][-1] == later["init"][0]
        np.testing.assert_array_equal(found["valid_time"][-1], later["valid_time"][0])


@KNOWN_WARNINGS
def test_an_unlimited_init_takes_later_ones(tmp_path):
    da = TIMES["whole in its units"]
    fc = xef.forecast(da, "persistence", init=da.time.values[3], lead=2)
    fc.to_netcdf(tmp_path / "fc.nc", unlimited_dims=["init"])
    with netCDF4.Dataset(tmp_path / "fc.nc", "a") as file:
        stamp = da.time.values[4].astype("M8[s]").item()
        for name in ("init", "valid_time"):
            file[name][1] = netCDF4.date2num(stamp, file[name].units, file[name].calendar)
    assert xr.open_dataset(tmp_path / "fc.nc")["init"].values[1] == da.time.values[4]


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize("pack", ["persistence", "nowcast-radar"])
def test_data_without_a_name_has_forecasts_without_one(pack, chunks):
    da = xr.DataArray(
        np.ones((8, 64, 64), "f4"),
        {
            "time": TIMES["no encoding"].time,
            "y": ("y", np.arange(64.0), {"units": "km"}),
            "x": ("x", np.arange(64.0), {"units": "km"}),
        },
        ("time", "y", "x"),
        attrs={"standard_name": "rainfall_rate", "units": "mm h-1"},
    )
    da = da if chunks is None else da.chunk(chunks)
    assert xef.forecast(da, pack, lead=1).name is None
    assert xef.to_step(da, "10min").name is None
    assert xef.to_spacing(da, "2 km").name is None


def test_a_forecast_points_to_nothing_that_is_gone(tmp_path):
    da = record().assign_attrs(
        cell_methods="time: mean",
        cell_measures="area: areacello",
        ancillary_variables="quality",
        grid_mapping="crs",
        processing_level="Level 4",
        source_id="A-1",
    )
    da["y"].attrs["bounds"] = "y_bnds"
    da["x"].encoding["bounds"] = "x_bnds"
    ds = da.to_dataset().assign(
        y_bnds=(("y", "n"), np.zeros((4, 2))), x_bnds=(("x", "n"), np.zeros((5, 2)))
    )
    ds.attrs = {"Conventions": "CF-1.6", "source_id": "A-1", "title": "a model"}
    fc = ds.earthformer.forecast("persistence", lead=1)
    fc.to_netcdf(tmp_path / "fc.nc")
    with netCDF4.Dataset(tmp_path / "fc.nc") as file:
        for name, variable in file.variables.items():
            gone = {"bounds", "grid_mapping", "cell_measures", "cell_methods", "source_id"}
            gone |= {"ancillary_variables", "processing_level"}
            assert not gone & {*variable.ncattrs()}, name
        assert file.Conventions == "CF-1.11" and "source_id" not in file.ncattrs()
    assert ds["y"].attrs["bounds"] == "y_bnds"  # the user's own stay


def test_a_map_projection_that_is_there_is_named():
    crs = xr.Variable((), 0, {"grid_mapping_name": "polar_stereographic"})
    da = record().assign_coords(crs=crs).assign_attrs(grid_mapping="crs")
    assert xef.forecast(da, "persistence", lead=1).attrs["grid_mapping"] == "crs"
    moved = da.rename(crs="polar")  # the attribute stays behind
    fc = xef.forecast(moved, "persistence", lead=1)
    assert fc.encoding["grid_mapping"] == "polar" and "grid_mapping" not in fc.attrs


@KNOWN_WARNINGS
def test_a_store_of_format_2_gives_forecasts_that_can_be_written(tmp_path):
    record().chunk(time=1).to_zarr(tmp_path / "in.zarr", zarr_format=2)
    da = xr.open_zarr(tmp_path / "in.zarr")["rain"]
    fc = xef.forecast(da, "persistence", lead=2)
    fc.to_zarr(tmp_path / "fc.zarr", zarr_format=3)
    assert zarr.open_group(tmp_path / "fc.zarr").metadata.zarr_format == 3
