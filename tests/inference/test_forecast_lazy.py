"""Forecasts of dask data: the bits of any scheduler and chunks, the graph's size, what is read."""

import cloudpickle
import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from small_hindcast import anomalies

from xearthformer.inference import engine
from xearthformer.models.layers import parallel

CHUNKS = [({"time": 1}, "auto"), ({"time": 5, "lat": 3}, 3), ({}, 4)]  # of the data, of the inits
EVERY = {"init": slice(None), "batch_size": 2}


@pytest.fixture
def ssta(tiny_pack):
    return anomalies(tiny_pack)


@pytest.fixture(autouse=True)
def two_workers():
    """What dask would run at a time by default, on any machine."""
    with dask.config.set(num_workers=2):
        yield


def client_of(**cluster):
    """A client of a cluster of its own, of workers with one thread each."""
    distributed = pytest.importorskip("distributed")
    return distributed.Client(**cluster, threads_per_worker=1, dashboard_address=None)


def assert_eager_bits(ssta, pack, **how):
    eager = ssta.earthformer.forecast(pack, **EVERY)
    lazy = [
        ssta.chunk(data).earthformer.forecast(pack, chunks=inits, **EVERY) for data, inits in CHUNKS
    ]
    assert [fc.chunks[0] for fc in lazy] == [(2, 2, 2, 2, 2), (3, 3, 3, 1), (4, 4, 2)]
    for fc in dask.compute(*lazy, **how):
        xr.testing.assert_identical(fc, eager)


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_every_scheduler_gives_the_eager_bits(ssta, tiny_pack, scheduler):
    assert_eager_bits(ssta, tiny_pack, scheduler=scheduler, num_workers=2)


def test_a_cluster_of_processes_gives_the_eager_bits(ssta, tiny_pack):
    with client_of(n_workers=2, processes=True):
        assert_eager_bits(ssta, tiny_pack)


def test_a_block_of_a_store_is_a_few_kb_of_graph(ssta, tiny_pack, tmp_path):
    """The weights are 500 kB; the data of a block, 100 months of 64 cells, 26 kB."""
    months = xr.date_range("1900-01-15", periods=1000, freq="MS")
    long = ssta.fillna(0).isel(time=np.arange(1000) % 12).assign_coords(time=months)
    long.to_dataset(name="ssta").chunk(time=10).to_zarr(tmp_path / "in.zarr")
    data = xr.open_zarr(tmp_path / "in.zarr")["ssta"]
    fc = data.earthformer.forecast(tiny_pack, chunks=100, **EVERY)
    assert len(cloudpickle.dumps(fc.__dask_graph__())) < 16_000 * len(fc.chunks[0])
    (block,) = dask.optimize(fc.isel(init=slice(100, 200)))
    tasks = dict(block.__dask_graph__())
    assert len(tasks) < 30
    assert max(len(cloudpickle.dumps(task)) for task in tasks.values()) < 16_000


class Counting:
    """An array that keeps which frames are asked of it."""

    def __init__(self, values):
        self.values, self.asked = values, []
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, key):
        self.asked.extend(range(*key[0].indices(len(self.values))))
        return self.values[key]


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_a_block_reads_its_own_windows_each_frame_once(ssta, tiny_pack, chunk):
    """Inits 3, 4 and 5 have windows of the frames 3 .. 7, whatever chunks the data comes in."""
    source = Counting(ssta.values)
    array = dask.array.from_array(source, chunks=(chunk, -1, -1), meta=np.empty(0, ssta.dtype))
    lazy = ssta.copy(data=array)
    fc = lazy.earthformer.forecast(tiny_pack, chunks=3, **EVERY)
    assert source.asked == []
    block = fc.isel(init=slice(3, 6)).compute(scheduler="synchronous")
    assert sorted(source.asked) == [3, 4, 5, 6, 7]
    xr.testing.assert_equal(block, ssta.earthformer.forecast(tiny_pack, **EVERY)[3:6])


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_process_opens_a_pack_once(ssta, tiny_pack, monkeypatch, scheduler):
    opened, open_pack = [], engine.open_pack
    monkeypatch.setattr(engine, "open_pack", lambda path: opened.append(path) or open_pack(path))
    fc = ssta.chunk(time=1).earthformer.forecast(tiny_pack, chunks=1, **EVERY)
    fc.compute(scheduler=scheduler, num_workers=4)
    assert opened == [tiny_pack.path]


def test_blocks_by_default_are_some_for_each_worker_in_whole_batches(ssta, tiny_pack):
    """Ten inits in batches of two: a batch for each block of two workers', two for one's."""
    lazy = ssta.chunk(time=5)
    every = {"init": slice(None), "batch_size": 2}
    for workers, blocks in ((2, (2, 2, 2, 2, 2)), (1, (4, 4, 2)), (100, (2, 2, 2, 2, 2))):
        with dask.config.set(num_workers=workers):
            assert lazy.earthformer.forecast(tiny_pack, **every).chunks[0] == blocks
            one = lazy.earthformer.forecast(tiny_pack, chunks=3, **every)
            assert one.chunks[0] == (3, 3, 3, 1)  # what is asked for


def test_blocks_by_default_are_for_the_workers_of_a_client(ssta, tiny_pack):
    with client_of(n_workers=1, processes=False):
        fc = ssta.chunk(time=5).earthformer.forecast(tiny_pack, **EVERY)
    assert fc.chunks[0] == (4, 4, 2)


def test_bits_do_not_depend_on_threads(ssta, tiny_pack, monkeypatch):
    alone, before = ssta.earthformer.forecast(tiny_pack, **EVERY), torch.get_num_threads()
    try:
        for workers in (1, 2, 4):
            monkeypatch.setattr(parallel, "workers", lambda count=workers: count)
            monkeypatch.setattr(parallel, "_pool", parallel._Pool())
            torch.set_num_threads(workers + 1)
            xr.testing.assert_identical(ssta.earthformer.forecast(tiny_pack, **EVERY), alone)
    finally:
        torch.set_num_threads(before)
