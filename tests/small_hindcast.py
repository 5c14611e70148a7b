"""A hindcast small enough for tests: ten inits of a tiny network, and ways to look at its store."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from zarr.storage import LocalStore

import xearthformer as xef

ONE = {"batch_size": 1}  # a batch is padded to its size, and these are few


def anomalies(pack):
    """Twelve months on the pack's own grid, NaN on its land: ten inits, of three months each."""
    grid = pack.card.grid
    values = np.random.default_rng(0).standard_normal((12, *grid.shape)).astype("f4")
    return xr.DataArray(
        np.where(grid.is_land, np.nan, values).astype("f4"),
        dims=("time", "lat", "lon"),
        coords={
            "time": pd.date_range("2000-01-15", periods=12, freq=pd.DateOffset(months=1)),
            "lat": ("lat", grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        name="ssta",
        attrs={
            "standard_name": "sea_surface_temperature",
            "units": "degC",
            "units_metadata": "temperature: difference",
        },
    )


def forecast(da, pack, init=slice(None), **options):
    """What a hindcast must be."""
    return da.earthformer.forecast(pack, init=init, **ONE, **options)


def hindcast(*args, **options):
    return xef.hindcast(*args, **ONE, **options)


def forking():
    """Processes of their own, forked from one that has imported what a hindcast takes."""
    context = multiprocessing.get_context("forkserver")
    slow = ["torch._dynamo", "distributed", "cf_xarray", "pint"]  # one that is missing goes unsaid
    context.set_forkserver_preload(["xearthformer.hindcasts.hindcast", *slow])
    return context


def files(store):
    """Every file of a store and what is in it: two equal stores are equal to the byte."""
    return {p.relative_to(store): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}


def status(store):
    """Whether each init is there: 0 missing, 1 done, 2 failed."""
    return xr.open_zarr(store, group="hindcast_log")["status"].values.tolist()


def through(function, da):
    """The same data, each month of which goes through a function when dask reads it."""
    lazy, meta = da.chunk({"time": 1}), np.empty((0, 0, 0), "f4")
    return lazy.copy(data=lazy.data.map_blocks(function, dtype="f4", meta=meta))


class Mortal(LocalStore):
    """Kills its process at its n-th write: before it, with half of it in a file, or after it."""

    def __init__(self, root, deadline=0, moment="before", *, read_only=False):
        super().__init__(root, read_only=read_only)
        self.deadline, self.moment, self.lock = deadline, moment, threading.Lock()

    def __getstate__(self):
        return str(self.root), self.deadline, self.moment

    def __setstate__(self, state):
        self.__init__(*state)

    async def _set(self, key, value, exclusive=False):
        with self.lock:
            self.deadline -= 1
            last = self.deadline == 0
        if last and self.moment == "half":
            path = self.root / f"{key}.0.partial"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.to_bytes()[: len(value) // 2])
        if last and self.moment != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        await super()._set(key, value, exclusive)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
