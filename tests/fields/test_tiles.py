"""Where tiles lie, how they blend, and forecasts of domains larger than the model."""

import tracemalloc

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.optimization import cull

import xearthformer as xef
from xearthformer import models
from xearthformer.fields.tiles import (
    OVERLAP,
    Axis,
    Tiles,
    blend,
    tile_starts,
    tile_weights,
)
from xearthformer.inference import engine
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Quantity, Training
from xearthformer.packs.scale import Scale

NINE = Tiles(Axis(20, 8), Axis(17, 8))


# --- where they lie, and what they count for


@pytest.mark.parametrize("tile", [1, 2, 3, 8])
def test_tiles_cover_the_axis_evenly_and_overlap(tile):
    for size in range(tile, 5 * tile + 2):
        at = tile_starts(size, tile)
        steps = np.diff(at)
        assert at[0] == 0 and at[-1] + tile == size
        assert (
            all(steps <= max(1, tile - OVERLAP * tile)) and np.ptp([*steps, *steps[:1]] or 0) <= 1
        )


def test_a_domain_smaller_than_a_tile():
    with pytest.raises(ValueError, match="(?s)at least 8 pixels.*found 7"):
        tile_starts(7, 8)


@pytest.mark.parametrize("tile", [1, 2, 3, 8, 384])
def test_weights_sum_to_one_exactly_also_over_both_axes(tile):
    for size in {tile, tile + 1, 2 * tile - 1, 2 * tile, 3 * tile + 1, 5 * tile + 3}:
        at = tile_starts(size, tile)
        along = np.zeros(size, np.float32)
        for start, counts in zip(at, tile_weights(at, tile), strict=True):
            assert counts.min() >= 0
            along[start : start + tile] += counts
        assert (along == 1).all()
    ones = [np.ones((8, 8), np.float32)] * len(NINE)
    assert (blend(ones, NINE) == 1).all()


def test_three_tiles_may_meet_in_a_pixel():
    # tiles of 8 on 15 pixels start at 0, 3 and 7: pixel 7 lies in all of them
    assert tile_starts(15, 8) == (0, 3, 7)
    first, middle, last = tile_weights((0, 3, 7), 8)
    assert first[7] + middle[4] + last[0] == 1


def round_trip(field):
    field = np.asarray(field, np.float32)
    return blend((field[place] for place in NINE.places), NINE)


def test_blend_undoes_cutting():
    y, x = np.mgrid[:20, :17]
    constant = np.full((20, 17), 273.15)
    np.testing.assert_allclose(round_trip(constant), constant, rtol=2e-7)
    linear = 3.0 * y - 2.0 * x + 5
    np.testing.assert_allclose(round_trip(linear), linear, atol=1e-5)
    for axis, slope in ((0, 3.0), (1, -2.0)):
        np.testing.assert_allclose(np.diff(round_trip(linear), axis=axis), slope, atol=1e-5)
    noise = np.random.default_rng(0).standard_normal((20, 17))
    np.testing.assert_allclose(round_trip(noise), noise, atol=1e-6)


def test_tiles_that_disagree_fade_into_each_other():
    # two tiles of 384, one all 0 and one all 1, share 96 pixels: no step above 1.5 / 96
    two = Tiles(Axis(672, 384), Axis(384, 384))
    assert two.y.starts == (0, 288)
    field = blend([np.full((384, 384), value, np.float32) for value in (0, 1)], two)[:, 0]
    assert (field[:288] == 0).all() and (field[384:] == 1).all()
    steps = np.diff(field)
    assert steps.min() >= 0 and steps.max() < 1.6 / 96
    assert np.abs(np.diff(steps)).max() < 10 / 96**2  # nor a kink: 6 / 96**2, and rounded weights


def test_a_chunk_has_the_same_bits_as_the_whole():
    rng = np.random.default_rng(1)
    parts = [rng.standard_normal((2, 8, 8)).astype("f4") for _ in range(len(NINE))]
    whole = blend(parts, NINE)
    chunks = [chunk for row in NINE.chunks for chunk in row]
    for chunk in [*chunks, (slice(3, 19), slice(5, 6))]:
        mine = (parts[i] for i in NINE.tiles_in(chunk))
        np.testing.assert_array_equal(blend(mine, NINE, chunk), whole[:, *chunk])
    assert sum((y.stop - y.start) * (x.stop - x.start) for y, x in chunks) == 20 * 17


def test_missing_is_missing_only_where_its_tile_counts():
    parts = [np.zeros((8, 8), np.float32) for _ in range(len(NINE))]
    parts[0][:] = np.nan
    missing = np.isnan(blend(parts, NINE))
    assert missing[:8, :8].all() and missing.sum() == 64


# --- forecasts


RAIN = Quantity(standard_name="rainfall_rate", units="mm h-1", valid_min=0.0)


def save(folder, name, config, **about):
    import torch

    torch.manual_seed(0)
    model = models.build(name, config)
    usual = {"grid": PixelGrid(height=8, width=8), "missing": "forbidden", "time_step": "5min"}
    card = Card(
        name=name,
        version="1",
        title="a test",
        model=ModelSpec(name=name, config={}),
        input=RAIN,
        output=RAIN,
        history=model.in_len,
        reach=model.out_len,
        scale=Scale(factor=4.0),
        training=Training(data="none"),
        **{**usual, **about},
    )
    return xef.save_pack(folder / name, model, card)


@pytest.fixture
def network(tmp_path):
    shapes = {"input_shape": (3, 8, 8, 1), "target_shape": (2, 8, 8, 1)}
    return save(tmp_path, "earthformer", {**shapes, "base_units": 16, "num_heads": 2})


@pytest.fixture
def persistence(tmp_path):
    return save(tmp_path, "persistence", {"in_len": 2, "out_len": 2}, missing="allowed")


@pytest.fixture
def rain():
    """Eight frames of 20 x 17 pixels, rows from the north."""
    values = np.random.default_rng(0).gamma(1, 2, (8, 20, 17)).astype("f4")
    return xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={
            "time": pd.date_range("2020-06-01", periods=8, freq="5min"),
            "y": ("y", 1000.0 * np.arange(20)[::-1], {"units": "m"}),
            "x": ("x", 1000.0 * np.arange(17), {"units": "m"}),
        },
        name="rain",
        attrs={"standard_name": "rainfall_rate", "units": "mm h-1"},
    )


def test_persistence_comes_back_as_the_last_frame(rain, persistence):
    fc = rain.earthformer.forecast(persistence)
    assert "3 x 3 tiles of 8 x 8 pixels, overlapping by 2 x 3 or more, blended" in fc.history
    xr.testing.assert_identical(fc["y"], rain["y"])
    np.testing.assert_allclose(fc[0, 1].values, rain[-1].values, rtol=3e-7)


def test_the_answer_is_each_tiles_own_forecast_blended(rain, network):
    inits = slice(None, None, 2)
    fc = rain.earthformer.forecast(network, init=inits, batch_size=2, lead=5)
    assert fc.attrs["rollout"] == "leads 3 to 5 from the model's own output, tile by tile"
    south_up = rain.isel(y=slice(None, None, -1))
    parts = [
        south_up[:, y, x].earthformer.forecast(network, init=inits, batch_size=2, lead=5).values
        for y, x in NINE.places
    ]
    assert fc.sizes["init"] == 3
    np.testing.assert_array_equal(fc.values, blend(parts, NINE)[:, :, ::-1])


def test_a_domain_of_the_packs_size_goes_through_whole(rain, network):
    import torch

    small = rain.isel(y=slice(8), x=slice(8))
    fc = small.earthformer.forecast(network, batch_size=1)
    assert "tiles" not in fc.attrs["history"]
    x = torch.from_numpy(small.values[-3:, ::-1] / 4)[None, ..., None]
    expected = (
        engine.load(network, engine.Settings("cpu", 1)).predict(x)[0, ..., 0].numpy()[:, ::-1] * 4
    )
    np.testing.assert_array_equal(fc.values[0], expected)


def test_longer_along_one_axis_only(rain, network):
    fc = rain.isel(x=slice(8)).earthformer.forecast(network)
    assert "3 x 1 tiles of 8 x 8 pixels, overlapping by 2 x 0" in fc.attrs["history"]
    assert bool(fc.notnull().all())


def test_lazy_equals_eager_under_any_chunking_and_form(rain, network):
    inits = slice("2020-06-01T00:10", None)
    eager = rain.earthformer.forecast(network, init=inits, batch_size=2)
    for chunks in ({"time": 1}, {"time": 3, "y": 7, "x": 5}, {}):
        lazy = rain.chunk(chunks).earthformer.forecast(network, init=inits, batch_size=2, chunks=2)
        assert lazy.chunksizes["init"] == (2, 2, 2)
        assert lazy.chunksizes["y"] == (7, 7, 6)
        xr.testing.assert_identical(lazy.compute(scheduler="threads"), eager)
    odd = rain.transpose("x", "time", "y").astype("f8").assign_attrs(units="m s-1") / 3.6e6
    odd = odd.assign_attrs(rain.attrs, units="m s-1")
    straight = odd.earthformer.forecast(network, init=inits)
    assert straight.dims == ("init", "lead", "x", "y") and straight.dtype == "f8"
    xr.testing.assert_identical(
        odd.chunk(time=2).earthformer.forecast(network, init=inits), straight
    )
    np.testing.assert_allclose(
        straight.transpose("init", "lead", "y", "x").values * 3.6e6, eager.values, rtol=1e-4
    )


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_chunks_suit_zarr(rain, network, order, tmp_path):
    fc = rain.isel(y=order).chunk(time=2).earthformer.forecast(network)
    fc.to_dataset().to_zarr(tmp_path / "fc.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "fc.zarr", consolidated=False) as back:
        np.testing.assert_array_equal(back["rain"].values, fc.values)


def test_lazy_computes_nothing(rain, network):
    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        fc = rain.chunk(time=4).earthformer.forecast(network, init=slice(None))
        with pytest.raises(AssertionError, match="was computed"):
            fc.compute()


def test_a_task_reads_only_its_own_tiles_frames_and_a_block_reads_a_chunk_once(rain, network):
    read = []

    def load(block, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return block

    data = dask.array.from_array(rain.values[:, ::-1], chunks=(1, 2, 1))
    counted = data.map_blocks(load, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    da = rain.isel(y=slice(None, None, -1)).copy(data=counted)
    fc = da.earthformer.forecast(network, init=["2020-06-01T00:30", "2020-06-01T00:35"], chunks=1)
    assert read == []
    # the inits see frames 4 to 6 and 5 to 7; the sixth tile lies in rows 6 to 13, columns 9 to 16
    graph = dict(fc.__dask_graph__())
    found = []
    for tile in (key for key in graph if str(key[0]).startswith("tile") and key[1] == 5):
        dask.get(cull(graph, [tile])[0], tile)
        found.append(sorted(read))
        read.clear()
    rows, columns = range(3, 7), range(9, 17)  # chunks of two rows and a column
    assert sorted(found) == [
        [(t, y, x) for t in frames for y in rows for x in columns]
        for frames in ((4, 5, 6), (5, 6, 7))
    ]
    fc.compute(scheduler="synchronous")
    assert len(read) == 2 * 3 * 10 * 17


def test_a_smaller_domain_is_refused(rain, network):
    with pytest.raises(ValueError, match="(?s)at least 8 x 8 pixels.*found 20 x 7.*packs"):
        rain.isel(x=slice(7)).earthformer.forecast(network)


def test_missing_values_where_none_may_be(rain, network):
    holed = rain.where((rain["y"] != 4000) | (rain["x"] != 15000))
    place = "(?s)finite values.*the first at time .*, y 4000.0, x 15000.0"
    with pytest.raises(ValueError, match=place):
        holed.earthformer.forecast(network)
    lazy = holed.chunk(time=2).earthformer.forecast(network)
    with pytest.raises(ValueError, match=place):
        lazy.compute(scheduler="synchronous")
    # without coordinates a place is a pixel of the domain, not of the tile
    bare = holed.drop_vars(("y", "x"))
    for form in (bare, bare.chunk(time=2)):
        with pytest.raises(ValueError, match="y 15, x 15"):
            form.earthformer.forecast(network).compute(scheduler="synchronous")


def test_missing_values_where_they_may_be(rain, persistence):
    holed = rain.where((rain["y"] < 5000) | (rain["x"] > 3000))
    fc = holed.earthformer.forecast(persistence)
    np.testing.assert_array_equal(np.isnan(fc[0, 0].values), np.isnan(holed[-1].values))
    lazy = holed.chunk(time=2, x=6).earthformer.forecast(persistence)
    xr.testing.assert_identical(lazy.compute(), fc)


def test_the_graph_is_small(rain, network):
    import cloudpickle

    long = rain.isel(time=np.arange(600) % 8)
    long = long.assign_coords(time=pd.date_range("2020-06-01", periods=600, freq="5min"))
    long = long.assign_coords(area=(("y", "x"), np.ones((20, 17))))
    fc = long.chunk(time=60).earthformer.forecast(network, init=slice(None), chunks=60)
    layers = [dict(layer) for name, layer in fc.data.dask.layers.items() if "blend" in name]
    assert len(layers) == 10
    # bytes: the frames of a block are 80 kB, the weights 500 kB
    assert all(len(cloudpickle.dumps(layer)) < 20_000 for layer in layers)


@pytest.mark.shared
@pytest.mark.slow
def test_a_continents_radar_through_a_model_of_384(shared, tmp_path):
    path = shared / "data" / "radar_mrms_20190610_east.nc"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    pack = save(
        tmp_path,
        "persistence",
        {"in_len": 2, "out_len": 3},
        missing="allowed",
        grid=PixelGrid(height=384, width=384),
        time_step="2min",
    )
    with xr.open_dataset(path, decode_coords="all", chunks={}) as ds:
        rain = ds["rain_rate"]
        fc = rain.earthformer.forecast(pack, init=slice(None, None, 12))
        assert "8 x 7 tiles of 384 x 384 pixels" in fc.attrs["history"]
        with dask.config.set(scheduler="synchronous"):
            tracemalloc.start()
            worst = abs(fc[:, -1] - rain.sel(time=fc["init"]).drop_vars("time")).max().compute()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert float(worst) < 1e-4
        assert peak < rain.nbytes / 2
