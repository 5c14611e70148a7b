"""The code of "How to: my own SST", as printed, on files as the archives of models lay them out."""

import re
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr
from small_tripolar import tripolar

import xearthformer as xef

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "sst.md").read_text()


def code(words):
    """The block of the page with these words."""
    (found,) = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.S) if words in each]
    return found


@pytest.fixture(scope="module")
def globe():
    """A cycle of the year on a coarse curvilinear grid, with ERSST's land."""
    land = xef.synthetic_sst(years=1)["sst"].isel(time=0).isnull().load()
    grid = tripolar(lambda lat, lon: lat, step=6.0, halo=0)
    at = {dim: grid[dim].variable for dim in ("lat", "lon")}
    place = {name: at[dim] for name, dim in zip(land.dims, at, strict=True)}
    return grid.assign(land=(("j", "i"), land.sel(place, method="nearest").values))


def months(first, last, calendar, unit):
    """The bounds (time, 2) of the months of years, as numbers."""
    starts = [(year, month) for year in range(first, last + 1) for month in range(1, 13)]
    edges = [cftime.datetime(*start, 1, calendar=calendar) for start in [*starts, (last + 1, 1)]]
    numbers = cftime.date2num(edges, unit, calendar).astype(float)
    return np.stack([numbers[:-1], numbers[1:]], axis=1)


def field(globe, count):
    warm = np.sin(2 * np.pi * np.arange(count) / 12)[:, None, None]
    values = 20 + warm * np.ones(globe["land"].shape)
    return np.where(globe["land"], np.nan, values).astype("f4")


def run(words):
    space = {"xr": xr, "xef": xef}
    exec(code(words), space)
    return space["fc"]


def test_cmip6_on_a_native_grid_in_two_files(globe, tmp_path, monkeypatch):
    """As of IPSL-CM6A-LR: y and x without labels, nav_lat and nav_lon, bounds by attribute."""
    monkeypatch.chdir(tmp_path)
    unit, dims = "days since 1850-01-01", ("y", "x")
    for first, last in ((1949, 1979), (1980, 2010)):
        bounds = months(first, last, "standard", unit)
        attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
        ds = xr.Dataset(
            {
                "tos": (("time", *dims), field(globe, len(bounds)), attrs),
                "time_bounds": (("time", "axis_nbounds"), bounds),
                "bounds_nav_lat": ((*dims, "nvertex"), globe["lat_bnds"].values),
                "bounds_nav_lon": ((*dims, "nvertex"), globe["lon_bnds"].values),
                "area": (dims, np.ones(globe["lat"].shape), {"standard_name": "cell_area"}),
                "time": ("time", bounds.mean(axis=1), {"units": unit, "bounds": "time_bounds"}),
            }
        )
        for name, of in (("nav_lat", "lat"), ("nav_lon", "lon")):
            attrs = globe[of].attrs | {"bounds": f"bounds_{name}"}
            ds[name] = (dims, (globe[of].values + 180) % 360 - 180, attrs)
        ds["tos"].encoding = {"coordinates": "nav_lat nav_lon", "_FillValue": 1e20}
        ds.to_netcdf(f"tos_Omon_IPSL-CM6A-LR_historical_r1i1p1f1_gn_{first}01-{last}12.nc")
    fc = run("tos_Omon")["tos"]
    assert fc.sizes == {"init": 600, "lead": 14, "lat": 31, "lon": 180}
    assert str(fc["init"].values[0]) == "1950-01-16T12:00:00.000000000"
    assert "by the cells' bounds" in fc.attrs["history"]
    assert np.isfinite(fc.isel(init=-1, lead=0)).mean() > 0.7  # all but land


def test_cesm_with_land_that_has_no_place(globe, tmp_path, monkeypatch):
    """As POP writes it: stamped at the month's end, one level, no place in blocks of land."""
    monkeypatch.chdir(tmp_path)
    dims, unit = ("nlat", "nlon"), "days since 0001-01-01 00:00:00"
    bounds = months(1980, 2010, "noleap", unit)
    blocks = globe["land"].coarsen(j=3, i=4, boundary="pad").construct(j=("b", "v"), i=("c", "w"))
    block = blocks.all(["v", "w"]).broadcast_like(blocks).transpose("b", "v", "c", "w")
    nowhere = block.values.reshape(-1, globe["land"].shape[1])[: globe["land"].shape[0]]
    assert nowhere.any()
    ds = xr.Dataset(
        {
            "SST": (("time", "z_t", *dims), field(globe, len(bounds))[:, None], {"units": "degC"}),
            "z_t": ("z_t", [500.0], {"units": "centimeters", "positive": "down"}),
            "time_bound": (("time", "d2"), bounds),
            "time": ("time", bounds[:, 1], {"units": unit, "bounds": "time_bound"}),
            "moc_components": ("moc_comp", np.array([b"Total", b"Submeso"])),
            "KMT": (dims, np.ones(nowhere.shape), {"long_name": "k Index of Deepest Grid Cell"}),
            "grav": ((), 980.6, {"units": "centimeter/s^2"}),
        }
    )
    ds["time"].attrs["calendar"] = "noleap"
    for letter, shift in (("T", 0.0), ("U", 3.0)):
        for name, of in (("LAT", "lat"), ("LONG", "lon")):
            values = np.where(nowhere, np.nan, globe[of].values + shift)
            ds[letter + name] = (dims, values, {"units": globe[of].attrs["units"]})
    ds["KMT"].encoding["coordinates"] = "ULONG ULAT"
    ds["SST"].encoding["coordinates"] = "TLONG TLAT z_t time"
    ds.to_netcdf("b.e21.BHIST.f09_g17.pop.h.SST.nc", format="NETCDF3_64BIT")
    fc = run("pop.h")["SST"]
    assert fc.sizes == {"init": 1, "lead": 6, "lat": 31, "lon": 180}
    assert "1980-02-01 is of 1980-01" in fc.attrs["history"]
    assert float(abs(fc).max()) < 1e-4  # a year like any other stays one
