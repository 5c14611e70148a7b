"""Several files as one record: along time, next to each other, on grids of their own."""

import os

import numpy as np
import pytest
import xarray as xr

from xearthformer.cli import main
from xearthformer.datasets.local import open_files

LAT = {"units": "degrees_north"}


def record(name="sst", start="2000-01", months=24, lat=(-2.0, 2.0)):
    """Month n since 2000 holds n, plus the latitude."""
    time = xr.date_range(start, periods=months, freq="MS")
    number = (time.year - 2000) * 12 + time.month - 1
    values = number.values[:, None, None] + np.asarray(lat)[:, None] + np.zeros(3)
    coords = {"time": time, "lat": ("lat", list(lat), LAT), "lon": [190.0, 210.0, 230.0]}
    da = xr.DataArray(values, coords, ("time", "lat", "lon"), name, {"units": "m"})
    return da.to_dataset()


def write(ds, path):
    if path.suffix == ".zarr":
        ds.to_zarr(path, zarr_format=2)
    else:
        ds.to_netcdf(path)
    return str(path)


def test_files_follow_one_another_in_time(tmp_path):
    whole = record()
    write(whole.isel(time=slice(12)), tmp_path / "b.nc")
    write(whole.isel(time=slice(12, None)), tmp_path / "a.nc")  # by time, not by name
    with open_files([str(tmp_path / "?.nc")]) as ds:
        assert ds["sst"].chunks is not None
        xr.testing.assert_equal(ds.load(), whole)
    part = write(whole.isel(time=slice(12, None)), tmp_path / "a.zarr")
    with open_files([str(tmp_path / "b.nc"), part]) as ds:
        xr.testing.assert_equal(ds.load(), whole)
    with open_files([part]) as ds:
        assert ds.sizes["time"] == 12


def test_other_variables_stand_next_to_them_in_common_months(tmp_path):
    # sst in two files, 2000 and 2001; zos from July 2000 on, in middles of months, on another grid
    whole = record()
    paths = [
        write(whole.isel(time=slice(12)), tmp_path / "sst0.nc"),
        write(whole.isel(time=slice(12, None)), tmp_path / "sst1.nc"),
    ]
    zos = record("zos", "2000-07", 30, lat=(-1.0, 0.0, 1.0))
    zos = zos.assign_coords(time=zos.time + np.timedelta64(14, "D"))
    with open_files([*paths, write(zos, tmp_path / "zos.nc")]) as ds:
        assert ds.sizes == {"time": 18, "lat": 2, "lon": 3, "lat_zos": 3}
        assert ds["time"].values[0] == np.datetime64("2000-07-01")
        np.testing.assert_array_equal(ds["sst"][:, 0, 0], np.arange(6, 24) - 2)
        np.testing.assert_array_equal(ds["zos"][:, 1, 0], np.arange(6, 24))
        assert ds["lat_zos"].attrs["units"] == "degrees_north"


def test_months_of_files_are_those_of_their_time_bounds(tmp_path):
    zos = record("zos")
    ends = (zos["time"].to_index() + np.timedelta64(40, "D")).to_period("M").to_timestamp()
    zos["time_bnds"] = ("time", "nv"), np.stack([zos["time"].values, ends.values], axis=1)
    zos = zos.assign_coords(time=("time", ends.values, {"bounds": "time_bnds"}))
    with open_files([write(record(), tmp_path / "a.nc"), write(zos, tmp_path / "b.nc")]) as ds:
        assert ds.sizes["time"] == 24 and ds["time"].values[0] == np.datetime64("2000-01-01")
        np.testing.assert_array_equal(ds["zos"], ds["sst"])


def test_files_that_make_no_record(tmp_path):
    first = write(record(months=12), tmp_path / "one.nc")
    again = write(record(start="2000-12"), tmp_path / "two.nc")
    with pytest.raises(
        ValueError, match=r"sst that follow one another.*\n.*2000-12-01.*2000-12-01"
    ):
        open_files([first, again])
    other = write(record(start="2001-01", lat=(-2.0, 3.0)), tmp_path / "three.nc")
    with pytest.raises(ValueError, match="files of sst on one grid"):
        open_files([first, other])
    later = write(record("zos", start="2005-01"), tmp_path / "zos.nc")
    with pytest.raises(ValueError, match=r"times in common\n.*2000-01-01 to 2000-12-01 and 2005"):
        open_files([first, later])
    with pytest.raises(FileNotFoundError, match="no file matches"):
        open_files([str(tmp_path / "none_*.nc")])


def test_the_command_takes_files_and_patterns(tiny_pack, tmp_path, capsys):
    grid = tiny_pack.card.grid
    values = np.random.default_rng(0).standard_normal((24, *grid.shape)).astype("f4")
    coords = {
        "time": xr.date_range("2000-01", periods=24, freq="MS"),
        "lat": ("lat", grid.latitude, LAT),
        "lon": ("lon", grid.longitude, {"units": "degrees_east"}),
    }
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    sst = xr.DataArray(values + 20, coords, ("time", "lat", "lon"), "sst", attrs).to_dataset()
    sst.to_netcdf(tmp_path / "all.nc")
    for year in ("2000", "2001"):
        sst.sel(time=year).to_netcdf(tmp_path / f"sst_{year}.nc")
    words = ["--pack", str(tiny_pack.path), "--anomaly", "2000", "2001", "--init", "2000-12"]
    results = []
    for number, files in enumerate((["all.nc"], ["sst_2000.nc", "sst_2001.nc"], ["sst_*.nc"])):
        out = tmp_path / f"out{number}.zarr"
        paths = [str(tmp_path / file) for file in files]
        assert main(["forecast", *paths, *words, "-o", str(out)]) == 0
        results.append(xr.open_zarr(out)["sst"].load())
    for each in results[1:]:
        np.testing.assert_array_equal(each, results[0])
    store = str(tmp_path / "hindcast.zarr")
    assert main(["hindcast", str(tmp_path / "sst_*.nc"), *words, "-o", store]) == 0
    np.testing.assert_array_equal(xr.open_zarr(store)["sst"], results[0])
    capsys.readouterr()
    missing = ["hindcast", str(tmp_path / "tos_*.nc"), *words, "-o", store]
    assert main(missing) == 2 and "no file matches" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["text", "nothing", "a folder", "a pipe"])
def test_what_holds_no_data_is_named_and_never_waited_for(tmp_path, kind):
    path = tmp_path / "a.dat"
    make = {"text": lambda: path.write_text("text"), "nothing": path.touch, "a folder": path.mkdir}
    make.get(kind, lambda: os.mkfifo(path))()
    with pytest.raises(ValueError, match=r"a NetCDF file or a Zarr store\n +found .*a\.dat, \w"):
        open_files([str(path)])
