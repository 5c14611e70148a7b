"""Data in the forms that users bring: curvilinear grids, time bounds, coasts, further dims."""

import re
from dataclasses import dataclass

import dask
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import xearthformer as xef
from xearthformer.fields.time_axis import months_of
from xearthformer.inference import inputs
from xearthformer.models import MODELS
from xearthformer.packs.card import Card, ModelSpec

ANOMALY = {
    "standard_name": "sea_surface_temperature",
    "units": "degC",
    "units_metadata": "temperature: difference",
}


@pytest.fixture
def ssta(tiny_pack):
    """Twelve months of anomalies on the tiny pack's own grid, NaN on its one land cell."""
    grid = tiny_pack.card.grid
    values = np.random.default_rng(0).standard_normal((12, *grid.shape)).astype("f4")
    return xr.DataArray(
        np.where(grid.is_land, np.nan, values).astype("f4"),
        dims=("time", "lat", "lon"),
        coords={
            "time": pd.date_range("2000-01", periods=12, freq="MS"),
            "lat": ("lat", grid.latitude, {"units": "degrees_north"}),
            "lon": ("lon", grid.longitude, {"units": "degrees_east"}),
        },
        name="ssta",
        attrs=ANOMALY,
    )


@dataclass(frozen=True)
class LastConfig:
    in_len: int = 2
    out_len: int = 2


class Last(nn.Module):
    """Forecasts the last frame, the sine of the last month and, of a member, its noise."""

    samples, draws, sample_by_sample = False, True, True

    def __init__(self, config):
        super().__init__()
        self.config, self.in_len, self.out_len = config, config.in_len, config.out_len

    def predict(self, x_BTHWC, generator=None):
        sst, sine, _ = x_BTHWC[:, -1].unbind(dim=-1)
        noise = 0.0 if generator is None else torch.randn((), generator=generator)
        return torch.stack([sst + sine + noise] * 2, dim=1).unsqueeze(-1)


@pytest.fixture
def seasonal_pack(monkeypatch, tmp_path, tiny_pack):
    """A pack that knows the month, and draws members."""
    monkeypatch.setitem(MODELS, "last", (LastConfig, Last, {}))
    changes = {"name": "last", "known": ["month"], "context": 2, "lead": 2}
    changes["model"] = ModelSpec(name="last", config={})
    return xef.save_pack(
        tmp_path / "last", Last(LastConfig()), tiny_pack.card.model_copy(update=changes)
    )


# --- curvilinear grids


def rotated(ssta, bounds=True, step=2.5):
    """The field on cells of 2.5 degrees, each wholly in a cell of the pack, with 2-D coordinates.

    Rows run westwards and columns southwards, as on no regular grid.
    """
    fine = ssta.reindex(
        lat=np.arange(-20 + step / 2, 20, step),
        lon=np.arange(157.5 + step / 2, 197.5, step),
        method="nearest",
    ).transpose("time", "lon", "lat")[:, ::-1, ::-1]
    lon, lat = np.meshgrid(fine["lon"], fine["lat"], indexing="ij")
    coords = {"latitude": (("j", "i"), lat), "longitude": (("j", "i"), lon), "time": ssta["time"]}
    ds = xr.DataArray(fine.values, coords, ("time", "j", "i"), "tos", ANOMALY).to_dataset()
    if bounds:
        for name, signs in (("latitude", [-1, 1, 1, -1]), ("longitude", [-1, -1, 1, 1])):
            ds[f"vertices_{name}"] = ds[name] + xr.DataArray(signs, dims="vertices") * step / 2
    return ds


@pytest.mark.parametrize("bounds", [True, False])
def test_a_curvilinear_grid_is_forecast_on_the_packs(ssta, tiny_pack, bounds):
    straight = ssta.earthformer.forecast(tiny_pack, init=slice("2000-08", None))
    ds = rotated(ssta, bounds)
    fc = ds.earthformer.forecast(tiny_pack, init=slice("2000-08", None))["tos"]
    assert fc.dims == ("init", "lead", "lat", "lon") and set(fc.coords) == {
        *("init", "lead", "valid_time", "lat", "lon")
    }
    # each cell of the pack is the mean of four that hold its value
    np.testing.assert_allclose(fc, straight, rtol=1e-4, atol=1e-4)
    said = "conservative, by the cells' bounds" if bounds else "no bounds"
    assert "from a curvilinear grid of 16 x 16 cells onto latitude -17.5" in fc.attrs["history"]
    assert said in fc.attrs["history"]
    lazy = ds.chunk(time=3, j=5).earthformer.forecast(tiny_pack, init=slice("2000-08", None))
    assert lazy["tos"].chunks is not None
    xr.testing.assert_identical(lazy["tos"].compute(), fc)


def test_a_curvilinear_grid_goes_through_anomaly_and_index(ssta, tiny_pack):
    absolute = rotated(ssta).assign_attrs(title="t")
    attrs = {"standard_name": "sea_surface_temperature", "units": "K"}
    absolute["tos"] = (absolute["tos"] + 290).drop_attrs(deep=False).assign_attrs(attrs)
    anomaly = absolute.earthformer.anomaly(climatology=(2000, 2000))
    assert "vertices_latitude" in anomaly and float(abs(anomaly["tos"]).max()) == 0  # of one year
    fc = anomaly.earthformer.forecast(tiny_pack)
    assert fc["tos"].attrs["units"] == "K"
    box = xef.Region(-10, 10, 165, 190)
    index = xef.index(rotated(ssta), box)["tos"]
    np.testing.assert_allclose(index, xef.index(ssta, box), rtol=1e-4)


def test_a_curvilinear_grid_that_lacks_the_packs_is_refused(ssta, tiny_pack):
    with pytest.raises(ValueError, match="a curvilinear grid without longitude 160, 165"):
        rotated(ssta).isel(j=slice(12)).earthformer.forecast(tiny_pack)


# --- time bounds


def as_cesm(da):
    """The same months, stamped at their ends, with bounds."""
    ends = da["time"].to_index() + pd.offsets.MonthBegin(1)
    ds = da.assign_coords(time=("time", ends, {"bounds": "time_bound"})).to_dataset(name="SST")
    ds["time_bound"] = ("time", "d2"), np.stack([da["time"].values, ends], axis=1)
    return ds


def test_labels_of_a_forecast_from_stamps_at_the_end_of_the_month(ssta, tiny_pack):
    ds = as_cesm(ssta)
    fc = ds.earthformer.forecast(tiny_pack, init="2000-12-01")["SST"]  # of November
    np.testing.assert_array_equal(fc, ssta.earthformer.forecast(tiny_pack, init="2000-11"))
    assert fc["init"].values == np.datetime64("2000-12-01")
    assert fc["valid_time"].values[0].astype("M8[D]").astype(str).tolist() == [
        *("2001-01-01", "2001-02-01")
    ]
    assert "months by the time bounds: 2000-02-01 is of 2000-01" in fc.attrs["history"]
    # the bounds' middles of what is valid then
    assert fc["time_middle"].values.astype("M8[D]").astype(str).tolist() == [
        ["2000-12-16", "2001-01-16"]
    ]
    assert months_of(fc["valid_time"]).tolist() == [[2000 * 12 + 11, 2001 * 12]]
    plain = ssta.earthformer.forecast(tiny_pack)
    assert "on the first are of the month they begin" in plain.attrs["history"]


def test_a_pack_that_knows_the_month_goes_by_the_bounds(ssta, seasonal_pack):
    expected = ssta.earthformer.forecast(seasonal_pack, init=slice("2000-04", None))
    fc = as_cesm(ssta).earthformer.forecast(seasonal_pack, init=slice("2000-05", None))["SST"]
    np.testing.assert_array_equal(fc, expected)
    later = as_cesm(ssta).drop_vars("time_bound")
    other = later.earthformer.forecast(seasonal_pack, init=slice("2000-05", None))["SST"]
    assert float(abs(other.values - expected.values)[:, :, 1:].max()) > 1e-3  # a month off


# --- coasts


def test_land_in_the_packs_sea_is_read_from_the_nearest_neighbour(ssta, tiny_pack):
    # the second column is land in the data: the nearest in each row is the first or the third, of
    # which the first comes first but where it is land itself
    land = ssta.copy()
    land[:, :, 1] = np.nan
    filled = ssta.copy()
    filled[:, :, 1] = ssta[:, :, 0]
    filled[:, 0, 1] = ssta[:, 0, 2]
    fc = land.earthformer.forecast(tiny_pack, init=slice("2000-03", None))
    expected = filled.earthformer.forecast(tiny_pack, init=slice("2000-03", None))
    np.testing.assert_array_equal(fc, expected.where(land[0].notnull()))
    assert "sea that is land in the data read from the nearest cell" in fc.attrs["history"]


def test_sea_further_than_a_cell_from_any_value_is_named(ssta, tiny_pack):
    hole = ssta.where((ssta.lat > -12) | (ssta.lon > 170))
    message = r"3 of 192 missing .*, the first at time 2000-\d\d-01, latitude -17.5, longitude 165"
    with pytest.raises(ValueError, match=message) as error:
        hole.earthformer.forecast(tiny_pack)
    mended = eval(str(error.value).split("try ")[1].split(", which")[0], {"da": hole})
    expected = ssta.where(hole.notnull(), 0).earthformer.forecast(tiny_pack)
    np.testing.assert_array_equal(mended.earthformer.forecast(tiny_pack), expected)
    infinite = hole.fillna(np.inf)
    with pytest.raises(ValueError, match=r"try da.where\(np.isfinite\(da\), 0\), which"):
        infinite.earthformer.forecast(tiny_pack)
    with pytest.raises(ValueError, match=message):
        hole.chunk(time=4).earthformer.forecast(tiny_pack).compute(scheduler="synchronous")


def test_lakes_that_the_data_has_not_are_read_as_land(ssta, tiny_pack):
    # the pack's cells, moved to North America: 47.5N, 275E is Lake Superior
    grid = tiny_pack.card.grid.model_copy(
        update={
            "latitude": [32.5 + 5 * i for i in range(8)],
            "longitude": [260.0 + 5 * j for j in range(8)],
        }
    )
    card = tiny_pack.card.model_copy(update={"grid": grid})
    ((name, variable),) = card.inputs.items()
    coords = {"time": ssta["time"].values, "y": grid.latitude, "x": grid.longitude}
    da = xr.DataArray(ssta.values, coords, ("time", "y", "x"))
    lake = da.where((abs(da.y - 47.5) > 6) | (abs(da.x - 275) > 6))
    entered = inputs.enter(lake, name, variable, card)
    assert (entered.sel(y=47.5, x=275) == 0).all()
    # its neighbours are read from theirs
    np.testing.assert_array_equal(entered.sel(y=47.5, x=270), da.sel(y=47.5, x=265) / 2)


@pytest.mark.parametrize("fill", [-999.0, 1e20, -32768.0])
def test_fill_values_are_named_as_they_are_and_not_regridded(ssta, tiny_pack, fill):
    fine = ssta.interp(
        lat=np.arange(-19.0, 20, 2),
        lon=np.arange(158.0, 197, 2),
        method="nearest",
        kwargs={"fill_value": "extrapolate"},
    )
    fine = fine.assign_attrs(ANOMALY).astype("f4").fillna(0)
    land = fine.where(fine.lat + fine.lon > 145, fill)  # the corner
    with pytest.raises(
        ValueError, match=f"found {re.escape(f'{fill:g}')} degC at time .*, latitude -19,"
    ) as error:
        land.earthformer.forecast(tiny_pack)
    hint = str(error.value).split("try ")[1].split(", for")[0]
    mended = eval(hint, {"da": land}).earthformer.forecast(tiny_pack)
    assert mended[0, 0, 0, 0].isnull() and mended.notnull().sum() > 700


# --- further dims


def models(ssta):
    scale = xr.DataArray([1.0, 0.5, 2.0], {"model": ["a", "b", "c"]}, "model")
    out = (ssta * scale).astype("f4").transpose("model", "lon", "time", "lat")
    out = out.assign_coords(centre=("model", [1, 2, 3])).assign_attrs(ANOMALY)
    return out.rename("ssta")


@pytest.mark.parametrize("form", ["in memory", "lazy", "Dataset"])
def test_each_of_a_further_dim_is_forecast(ssta, tiny_pack, form):
    data = models(ssta)
    given = {"in memory": data, "lazy": data.chunk(time=3), "Dataset": data.to_dataset()}[form]
    inits = slice("2000-10", None)
    fc = given.earthformer.forecast(tiny_pack, init=inits)
    if form == "Dataset":
        fc = fc["ssta"]
    assert fc.dims == ("init", "lead", "model", "lon", "lat")
    assert (fc.chunks is not None) == (form == "lazy")
    xr.testing.assert_identical(fc["model"], data["model"])
    xr.testing.assert_identical(fc["centre"], data["centre"])
    for k in range(3):
        one = data.isel(model=k).earthformer.forecast(tiny_pack, init=inits)
        xr.testing.assert_identical(fc.isel(model=k).compute(), one)


def test_two_further_dims_stay_in_order_and_compute_nothing(ssta, tiny_pack):
    data = models(ssta).expand_dims(realization=[5, 7]).transpose("model", "realization", ...)

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        fc = data.chunk(time=3).earthformer.forecast(tiny_pack)
    assert fc.dims == ("init", "lead", "model", "realization", "lon", "lat")
    one = data.isel(model=1, realization=1).earthformer.forecast(tiny_pack)
    xr.testing.assert_identical(fc.isel(model=1, realization=1).compute(), one)


def test_further_dims_next_to_members(ssta, seasonal_pack):
    data = models(ssta)
    fc = data.earthformer.forecast(seasonal_pack, members=2, seed=3)
    assert fc.dims == ("init", "lead", "member", "model", "lon", "lat")
    one = data.isel(model=2).earthformer.forecast(seasonal_pack, members=2, seed=3)
    xr.testing.assert_identical(fc.isel(model=2), one)
    with pytest.raises(ValueError, match='rename\\(member="realization"\\)'):
        data.rename(model="member").earthformer.forecast(seasonal_pack, members=2)
    plain = data.rename(model="member").earthformer.forecast(seasonal_pack)
    assert plain.dims == ("init", "lead", "member", "lon", "lat")


def test_a_hindcast_takes_one_of_a_further_dim(ssta, tiny_pack, tmp_path):
    data = models(ssta)
    with pytest.raises(ValueError, match=r"(?s)also model \(3\).*da.isel\(model=0\)"):
        xef.hindcast(data, tiny_pack, tmp_path / "a.zarr")
    hind = xef.hindcast(data.isel(model=0), tiny_pack, tmp_path / "a.zarr", progress=False)
    assert hind.sizes["init"] == 10


# --- trees


def test_a_tree_goes_through_leaf_by_leaf(ssta, tiny_pack):
    tree = xr.DataTree.from_dict(
        {"/a": ssta.to_dataset(), "/b/c": (2 * ssta).assign_attrs(ANOMALY).to_dataset()}
    )
    fc = tree.earthformer.forecast(tiny_pack, init="2000-12")
    assert [node.path for node in fc.leaves] == ["/a", "/b/c"]
    xr.testing.assert_identical(
        fc["/b/c"].to_dataset(), tree["/b/c"].to_dataset().earthformer.forecast(tiny_pack)
    )
    box = xef.Region(-10, 10, 165, 190)
    index = tree.earthformer.index(box)
    xr.testing.assert_identical(
        index["/a"]["ssta"], ssta.to_dataset().earthformer.index(box)["ssta"]
    )
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}

    def celsius(da):
        return (da + 20).drop_attrs(deep=False).assign_attrs(attrs)

    absolute = tree.map_over_datasets(lambda ds: ds.map(celsius, keep_attrs=False))
    anomaly = absolute.earthformer.anomaly(climatology=(2000, 2000))
    assert float(abs(anomaly["/b/c/ssta"]).max()) == 0


# --- what is refused


def test_rain_is_another_quantity_before_it_is_another_time_step(ssta, tiny_pack):
    time = xr.date_range("2000-01-01", periods=12, freq="5min")
    rain = ssta.assign_coords(time=time).drop_attrs(deep=False).rename("rain")
    rain = rain.assign_attrs(standard_name="rainfall_rate", units="mm h-1")
    with pytest.raises(ValueError, match="(?s)expected sea_surface_temperature.*rainfall_rate"):
        rain.earthformer.forecast(tiny_pack)


def test_inputs_on_two_map_projections():
    grid = {"kind": "pixels", "height": 2, "width": 2}
    given = {"inputs": {"vil": {}, "ir069": {}}, "outputs": ["vil"], "grid": grid}
    given |= {"name": "two", "version": "1", "title": "two sensors", "training": {"data": "none"}}
    given |= {"model": {"name": "persistence", "config": {}}, "context": 1, "lead": 1}
    card = Card.model_validate({**given, "time_step": "5min"})
    time = xr.date_range("2019-01-01", periods=3, freq="5min")
    vil = xr.DataArray(np.zeros((3, 2, 2)), {"time": time}, ("time", "y", "x"))
    laea = {"grid_mapping_name": "lambert_azimuthal_equal_area", "earth_radius": 6370997.0}
    ds = xr.Dataset({"vil": vil, "ir069": vil}, {"a": ((), 0, laea), "b": ((), 0, laea)})
    ds["vil"].attrs["grid_mapping"], ds["ir069"].attrs["grid_mapping"] = "a", "b"
    assert len(inputs.select(ds, card)) == 2  # two names of one projection
    ds["b"].attrs["earth_radius"] = 6371229.0
    with pytest.raises(ValueError, match="more than one grid mapping: vil on a, ir069 on b"):
        inputs.select(ds, card)


def test_two_versions_of_a_record_are_joined_by_the_line(ssta, tiny_pack):
    final, preliminary = ssta.where(ssta.time < ssta.time[9]), ssta.where(ssta.time >= ssta.time[9])
    da = xr.concat([final, preliminary], xr.Variable("expver", [1, 5]))
    with pytest.raises(ValueError, match="final and preliminary") as error:
        da.earthformer.forecast(tiny_pack)
    joined = eval(str(error.value).split("try ")[1], {"da": da})
    wanted = ssta.earthformer.forecast(tiny_pack)
    np.testing.assert_array_equal(joined.earthformer.forecast(tiny_pack), wanted)
