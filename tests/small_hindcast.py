"""A hindcast small enough for tests: ten inits of a tiny network, and ways to look at its store."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

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


@contextmanager
def one_thread():
    """Of torch, as in dask's worker processes: how it shares out a sum is part of its bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
