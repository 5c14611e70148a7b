"""Forecasts and hindcasts give the same bits from, and keep them in, every form of a Zarr store."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from small_nowcast import small_nowcast
from small_radar import small_rain

import xearthformer as xef

FORMS = {"v2": 2, "v3": 3, "shards": 3}  # and Zarr's version


class Zarr:
    """A store in a folder, in one of the forms."""

    def __init__(self, form: str, path: Path) -> None:
        self.form, self.path = form, path

    def write(self, da: xr.DataArray) -> None:
        encoding = {}
        if self.form == "shards":
            encoding = {"chunks": (1,) * (da.ndim - 2) + (16, 16), "shards": da.shape}
        da.to_zarr(self.path, zarr_format=FORMS[self.form], encoding={da.name: encoding})
        array = zarr.open_group(self.path, mode="r")[da.name]
        assert array.metadata.zarr_format == FORMS[self.form]
        assert array.shards == encoding.get("shards")

    def read(self) -> xr.Dataset:
        return xr.open_zarr(self.path)


class Icechunk:
    """A repository, with a session for each visit."""

    def __init__(self, form: str, path: Path) -> None:
        icechunk = pytest.importorskip("icechunk")
        storage = icechunk.local_filesystem_storage(str(path))
        self.repo = icechunk.Repository.open_or_create(storage)

    def write(self, da: xr.DataArray) -> None:
        session = self.repo.writable_session("main")
        da.to_zarr(session.store, zarr_format=3, consolidated=False)
        session.commit("written")

    def read(self) -> xr.Dataset:
        store = self.repo.readonly_session("main").store
        return xr.open_zarr(store, consolidated=False)


PLACES = dict.fromkeys(FORMS, Zarr) | {"icechunk": Icechunk}


@pytest.fixture(scope="module")
def rain() -> xr.DataArray:
    y, x = np.mgrid[:32, :32]
    frames = [9 * np.exp(-((y - 16) ** 2 + (x - 8 - 2 * t) ** 2) / 40) for t in range(6)]
    return small_rain(frames)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> xef.Pack:
    return small_nowcast(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def wanted(rain, pack) -> xr.DataArray:
    return rain.earthformer.forecast(pack, init=rain["time"].values[3:5], lead=2)


@pytest.mark.parametrize("form", PLACES)
def test_the_same_bits_from_and_in_every_form(rain, pack, wanted, tmp_path, form):
    data, answer = (PLACES[form](form, tmp_path / name) for name in ("in", "out"))
    data.write(rain)
    fc = data.read()["rain_rate"].earthformer.forecast(pack, init=wanted["init"], lead=2)
    xr.testing.assert_equal(fc.compute(), wanted)
    answer.write(fc)
    again = answer.read()["rain_rate"]
    assert again.dtype == wanted.dtype and again.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(again, wanted)


@pytest.mark.parametrize("form", ["v2", "shards", "icechunk"])
def test_the_same_hindcast_from_every_form(rain, pack, wanted, tmp_path, form):
    data = PLACES[form](form, tmp_path / "in")
    data.write(rain)
    hind = xef.hindcast(data.read(), pack, tmp_path / "h.zarr", init=wanted["init"], lead=2)
    np.testing.assert_array_equal(hind["rain_rate"], wanted)


def test_from_icechunk_to_icechunk(rain, pack, wanted, tmp_path):
    """A second session goes on where the first was committed."""
    data, answer = (Icechunk("", tmp_path / name) for name in ("in", "out"))
    data.write(rain)
    for count in (1, 2):
        session = answer.repo.writable_session("main")
        xef.hindcast(data.read(), pack, session.store, init=wanted["init"][:count], lead=2)
        session.commit(f"{count} inits")
    np.testing.assert_array_equal(answer.read()["rain_rate"], wanted)
    assert len(list(answer.repo.ancestry(branch="main"))) == 3
