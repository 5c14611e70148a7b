"""Files of forecasts and scores in iris, compliance-checker, kerchunk, VirtualiZarr and hvplot."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import xearthformer as xef
from tests.small_radar import small_rain

EVENTS = ["csi", "bias", "fss", "rmse", "crps", "brier", "reliability", "rank_histogram"]
# What is no error of a file: that it has no groups.
NO_ERRORS = ("found in same group",)


def sst():
    """Thirty years of anomalies on 18 x 24 cells, described as CF asks."""
    time = pd.date_range("1981-01-15", periods=360, freq=pd.DateOffset(months=1))
    lat = {"standard_name": "latitude", "units": "degrees_north"}
    lon = {"standard_name": "longitude", "units": "degrees_east"}
    coords = {
        "time": ("time", time, {"standard_name": "time"}),
        "lat": ("lat", np.arange(-85.0, 86, 10), lat),
        "lon": ("lon", np.arange(0.0, 360, 15), lon),
    }
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    values = 20 + np.random.default_rng(0).standard_normal((360, 18, 24)).astype("f4")
    da = xr.DataArray(values, coords, ("time", "lat", "lon"), "sst", attrs)
    return xef.anomaly(da, ("1981", "2010"))


def rain():
    """Six frames on a map, as `open_radar` describes them."""
    da = small_rain(np.random.default_rng(0).gamma(0.5, 4, (6, 16, 16)))
    for name in "yx":
        da[name].attrs["standard_name"] = f"projection_{name}_coordinate"
    return da


def with_members(fc):
    """Three members, one of them the forecast."""
    one = fc.expand_dims(member=3, axis=2).copy()
    one["member"] = "member", np.arange(3), xef.forecast(sst(), "lim", members=2)["member"].attrs
    one[{"member": 1}] = one[{"member": 1}] + 1
    return one


@pytest.fixture(scope="module")
def products():
    """What a user writes to files."""
    ssta, frames = sst(), rain()
    fc = xef.forecast(ssta, "lim", init=slice("2008-01", "2009-06", 3), lead=4, members=3)
    single = fc.isel(member=0, drop=True)
    nowcast = with_members(xef.forecast(frames, "persistence", init=slice(None), lead=2))
    store = zarr.storage.MemoryStore()
    xef.hindcast(ssta, "persistence", store, init=slice("2009-01", "2009-03"), lead=2)
    obs, index = ssta.earthformer.index("nino3.4"), fc.earthformer.index("nino3.4")
    return {
        "forecast": xef.forecast(ssta.to_dataset(), "persistence", lead=2),
        "members": fc,
        "nowcast": nowcast,
        "hindcast": xr.open_zarr(store),
        "index": index.rename("nino34"),
        "quantiles": fc.earthformer.quantiles([0.1, 0.9]),
        "exceedance": nowcast.earthformer.exceedance([1, 5]),
        "accumulate": nowcast.earthformer.accumulate("10min"),
        "terciles": fc.earthformer.terciles(ssta),
        "categories": fc.earthformer.categories(),
        "scores": xef.verify(fc, ssta),
        "scores of events": xef.verify(nowcast, frames, EVENTS, window=3, reference=nowcast),
        "statistics": xef.statistics(nowcast, frames, ["csi", "brier"]),
        "enso_skill": xef.enso_skill(index.mean("member", keep_attrs=True), obs),
        "enso_ensemble_skill": xef.enso_ensemble_skill(index, obs),
        "enso_seasons": xef.enso_seasons(single.earthformer.index("nino3.4"), obs),
        "skill_map": xef.skill_map(single, ssta),
        "rpss": xef.rpss(fc, ssta),
    }


NAMES = """forecast,members,nowcast,hindcast,index,quantiles,exceedance,accumulate,terciles,
categories,scores,scores of events,statistics,enso_skill,enso_ensemble_skill,enso_seasons,
skill_map,rpss""".replace("\n", "").split(",")


def write(products, name, folder):
    path, encoding = folder / "product.nc", {}
    if name in ("hindcast", "rpss"):  # xarray fills coordinates from stores and sums, CF forbids it
        encoding = {dim: {"_FillValue": None} for dim in ("lat", "lon")}
    products[name].to_netcdf(path, encoding=encoding)
    return str(path)


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("name", NAMES)
def test_files_have_no_error_by_compliance_checker(products, tmp_path, name):
    runner = pytest.importorskip("compliance_checker.runner")
    runner.CheckSuite.load_all_available_checkers()
    suite = runner.CheckSuite()
    dataset = suite.load_dataset(write(products, name, tmp_path))
    groups, _ = suite.run_all(dataset, ["cf:1.11"])["cf:1.11"]
    dataset.close()
    errors, waiting = [], list(groups)
    while waiting:
        result = waiting.pop()
        waiting += result.children or []
        errors += result.msgs if result.weight == 3 else []
    assert [error for error in errors if not any(word in error for word in NO_ERRORS)] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_files_open_in_iris(products, tmp_path, name):
    iris = pytest.importorskip("iris")
    product = products[name]
    cubes = iris.load(write(products, name, tmp_path))
    variables = product.data_vars if isinstance(product, xr.Dataset) else {product.name: product}
    assert {cube.var_name for cube in cubes} == {*variables}
    for cube in cubes:
        one = variables[cube.var_name]
        assert cube.shape == one.shape
        np.testing.assert_array_equal(np.ma.filled(cube.data, np.nan), one.values)
    if name == "members":
        found = {coord.standard_name for coord in cubes[0].coords()}
        assert found == {
            *("forecast_reference_time", "forecast_period", "realization", "time"),
            *("latitude", "longitude"),
        }


# --- references to a file


@pytest.fixture
def netcdf(tmp_path):
    """A compressed file of several chunks, its path and the forecast from it."""
    path = str(tmp_path / "ssta.nc")
    chunks = {"zlib": True, "chunksizes": (60, 18, 24)}
    sst().to_netcdf(path, encoding={"sst": chunks})
    with xr.open_dataset(path) as ds:
        yield path, ds["sst"].earthformer.forecast("persistence", init="2009-06", lead=2).load()


def same_forecast(ds, expected):
    found = ds["sst"].earthformer.forecast("persistence", init="2009-06", lead=2)
    return found.compute().identical(expected)


@pytest.mark.filterwarnings("ignore")
def test_references_of_kerchunk_are_forecast_with_the_same_bits(netcdf):
    hdf = pytest.importorskip("kerchunk.hdf")
    path, expected = netcdf
    references = hdf.SingleHdf5ToZarr(path).translate()
    assert same_forecast(xr.open_dataset(references, engine="kerchunk", chunks={}), expected)


@pytest.mark.filterwarnings("ignore")
def test_references_of_virtualizarr_are_forecast_with_the_same_bits(netcdf):
    parsers = pytest.importorskip("virtualizarr.parsers")
    registry = pytest.importorskip("obspec_utils.registry")
    stores = pytest.importorskip("obstore.store")
    path, expected = netcdf
    files = registry.ObjectStoreRegistry({"file://": stores.LocalStore()})
    store = parsers.HDFParser()(url=f"file://{path}", registry=files)
    ds = xr.open_zarr(store, consolidated=False, zarr_format=3)
    assert same_forecast(ds, expected)


# --- hvplot


@pytest.mark.filterwarnings("ignore")
def test_hvplot_has_a_map_with_a_slider_for_each_other_dim(products):
    pytest.importorskip("hvplot.xarray")
    holoviews = pytest.importorskip("holoviews")
    for name, (x, y) in {"members": ("lon", "lat"), "nowcast": ("x", "y")}.items():
        fc = products[name]
        maps = fc.hvplot.image(x=x, y=y)
        assert {dim.name for dim in maps.kdims} == {"init", "lead", "member"}
        at = {dim: fc[dim].values[-1] for dim in ("init", "lead", "member")}
        image = maps[tuple(at[dim.name] for dim in maps.kdims)]
        image = image.last if isinstance(image, holoviews.HoloMap) else image
        shown = image.dimension_values(2, flat=False)
        expected = fc.sel(at).transpose(y, x).sortby([y, x]).values
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.filterwarnings("ignore")
def test_hvplot_has_lines_of_an_index(products):
    pytest.importorskip("hvplot.xarray")
    index = products["index"].isel(init=0)
    by_lead = index.hvplot.line(x="lead", by="member")
    assert [dim.name for dim in by_lead.kdims] == ["member"] and len(by_lead) == 3
    curve = by_lead.last
    assert "time since init (months)" in str(curve.kdims[0].pprint_label)
    assert len(index.hvplot.line(x="valid_time", by="member")) == 3
