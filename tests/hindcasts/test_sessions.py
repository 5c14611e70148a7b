"""Hindcasts in a session of icechunk, whose store takes keys of Zarr's own alone; names of data."""

import importlib
import re

import numpy as np
import pytest
import xarray as xr
from small_radar import small_rain
from zarr.storage import MemoryStore

import xearthformer as xef

KEY = re.compile(r"(.*/)?(zarr\.json|\.z\w+|c(/\d+)*)")


class Session(MemoryStore):
    """Zarr's own keys alone, as icechunk's session has it."""

    async def get(self, key, prototype=None, byte_range=None):
        assert KEY.fullmatch(key), key
        return await super().get(key, prototype, byte_range)

    async def set(self, key, value, byte_range=None):
        assert KEY.fullmatch(key), key
        await super().set(key, value, byte_range)


Session.__module__ = "icechunk.store"


@pytest.fixture
def rain():
    return small_rain(np.random.default_rng(0).random((8, 4, 5)))


def grown(rain, first, then):
    """The hindcast of a few inits, and then of more."""
    time = rain["time"].values
    xef.hindcast(rain, "persistence", first(), init=time[:3], lead=2)
    return xef.hindcast(rain, "persistence", then(), init=time[:5], lead=2)


def test_a_hindcast_needs_no_other_keys(rain):
    store = Session()
    hind = grown(rain, lambda: store, lambda: store)["rain_rate"]
    wanted = rain.earthformer.forecast("persistence", init=rain["time"][:5], lead=2)
    xr.testing.assert_equal(hind.compute(), wanted)


def test_a_hindcast_in_icechunk(rain):
    icechunk = pytest.importorskip("icechunk")
    repo = icechunk.Repository.create(icechunk.in_memory_storage())
    sessions = [repo.writable_session("main")]

    def committed():
        sessions[0].commit("three inits")
        sessions.append(repo.writable_session("main"))
        return sessions[1].store

    hind = grown(rain, lambda: sessions[0].store, committed)["rain_rate"]
    wanted = rain.earthformer.forecast("persistence", init=rain["time"][:5], lead=2)
    xr.testing.assert_equal(hind.compute(), wanted)
    with pytest.raises(ValueError, match=r'repo.writable_session\("main"\)'):
        xef.hindcast(rain, "persistence", repo.readonly_session("main").store, lead=2)
    sessions[1].commit("five")
    read = xef.hindcast(
        rain, "persistence", repo.readonly_session("main").store, init=rain["time"][:5], lead=2
    )
    xr.testing.assert_equal(read["rain_rate"].compute(), wanted)


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_coordinates_in_another_order_are_the_same_grid(rain, monkeypatch, version):
    """icechunk lists them so; an earlier version's record has them as they came."""
    store = MemoryStore()
    turned = rain.drop_vars(["x", "y"]).assign_coords({name: rain[name] for name in ("x", "y")})
    assert [*turned.coords] != [*rain.coords]
    options = {"pack": "persistence", "store": store, "lead": 1}
    if version == "earlier":
        module = importlib.import_module("xearthformer.hindcasts.hindcast")
        form = module._grid_text
        monkeypatch.setattr(module, "_grid_text", lambda da, time, _: form(da, time, False))
    xef.hindcast(turned, init=rain["time"][:2], **options)
    monkeypatch.undo()
    data = rain if version == "this" else turned
    hind = xef.hindcast(data, init=rain["time"][:3], **options)
    np.testing.assert_array_equal(hind["rain_rate"][:, 0], rain[:3])
    elsewhere = rain.assign_coords(x=rain["x"] + 1)
    with pytest.raises(ValueError, match="the grid that"):
        xef.hindcast(elsewhere, init=rain["time"][:3], **options)


@pytest.mark.parametrize("name", ["a/b", "zarr.json", "..", "hindcast_log", "__a"])
def test_names_that_are_something_else_in_a_store(rain, name):
    da = rain.rename(name)
    with pytest.raises(ValueError, match="a name that an array") as error:
        xef.hindcast(da, "persistence", "memory://names.zarr", lead=1)
    mended = eval(str(error.value).split("try ")[1].split(", or ")[0], {"da": da})
    hind = xef.hindcast(mended, "persistence", f"memory://{abs(hash(name))}.zarr", lead=1)
    assert hind["value"].notnull().all()
