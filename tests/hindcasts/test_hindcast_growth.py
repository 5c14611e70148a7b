"""Hindcasts of a record that grew: new inits join the store, old forecasts stay to the byte."""

import itertools
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_hindcast import Mortal, anomalies, files, forecast, forking, hindcast, status
from small_nowcast import small_nowcast
from small_radar import radar_files
from zarr.storage import MemoryStore

import xearthformer as xef
from xearthformer.hindcasts import blocks
from xearthformer.hindcasts.growth import PLAN
from xearthformer.models.layers.parallel import one_thread


@pytest.fixture(autouse=True)
def same_threads():
    with one_thread():
        yield


@pytest.fixture
def ssta(tiny_pack):
    return anomalies(tiny_pack)


@pytest.fixture
def counted(monkeypatch):
    """The inits that are forecast."""
    set_up, inits = blocks.set_up, []

    def counting(entries, pack, init, options):
        inits.extend(str(stamp)[:7] for stamp in init)
        return set_up(entries, pack, init, options)

    monkeypatch.setattr(blocks, "set_up", counting)
    return inits


@pytest.mark.parametrize(
    ("form", "chunks"), [("memory", 1), ("memory", 4), ("lazy", 4), ("noleap", 1)]
)
def test_a_record_with_more_months(ssta, tiny_pack, tmp_path, counted, form, chunks):
    """Twelve months have ten inits; the first eight have six: a whole chunk of four, half of one.

    A chunk is written whole: its inits that are there already are forecast again with the others.
    """
    ssta = ssta.convert_calendar("noleap") if form == "noleap" else ssta
    ssta = ssta.chunk(time=5) if form == "lazy" else ssta
    store = tmp_path / "h.zarr"
    hindcast(ssta[:8], tiny_pack, store, chunks=chunks)
    before, key = files(store), Path("ssta/c.0.0.0.0")
    counted.clear()
    hind = hindcast(ssta, tiny_pack, store)
    first = 9 if chunks == 1 else 7
    assert counted == [f"2000-{month:02d}" for month in range(first, 13)]
    history = hind["ssta"].attrs["history"]  # of the first call
    expected = forecast(ssta.compute(), tiny_pack).assign_attrs(history=history)
    xr.testing.assert_identical(hind["ssta"].load(), expected)
    assert status(store) == [1] * 10 and "incomplete" not in hind.attrs
    assert before[key] == files(store)[key]
    counted.clear()
    hindcast(ssta, tiny_pack, store)
    assert not counted


def test_inits_before_and_in_between_come_behind(ssta, tiny_pack, tmp_path):
    """The store's own order: as they came; the same call may list them in any order."""
    store, straight = tmp_path / "h.zarr", forecast(ssta, tiny_pack)
    hindcast(ssta[3:], tiny_pack, store, init=["2000-08", "2000-10"])
    hind = hindcast(ssta, tiny_pack, store, init=["2000-04", "2000-08", "2000-09", "2000-10"])
    assert hind["init"].dt.month.values.tolist() == [8, 10, 4, 9]
    for _ in range(2):
        hind = hindcast(ssta, tiny_pack, store)
        assert hind["init"].dt.month.values.tolist() == [8, 10, 4, 9, 3, 5, 6, 7, 11, 12]
        np.testing.assert_array_equal(hind["ssta"].sortby("init"), straight)
    hindcast(ssta, tiny_pack, whole := MemoryStore())
    digests = [xr.open_zarr(s, group="hindcast_log")["digest"].values for s in (store, whole)]
    np.testing.assert_array_equal(*digests)


def test_what_was_missing_stays_noted_and_what_is_there_is_not_called_failed(
    ssta, tiny_pack, tmp_path
):
    """December is missing: of the chunk of November and December, November stays there."""
    store = tmp_path / "h.zarr"
    hindcast(ssta[:11], tiny_pack, store, chunks=2)  # March to November: a chunk of November alone
    bad = ssta.where(ssta.time.dt.month != 12)
    hind = hindcast(bad, tiny_pack, store, on_error="skip")
    assert status(store) == [1] * 9 + [2]
    said = hind.attrs["incomplete"].splitlines()
    assert said[0].startswith("1 of 10 inits") and [line[:10] for line in said[1:]] == [
        "2000-12-15"
    ]
    np.testing.assert_array_equal(hind["ssta"][:9], forecast(ssta[:11], tiny_pack))
    hind = hindcast(ssta, tiny_pack, store)
    np.testing.assert_array_equal(hind["ssta"], forecast(ssta, tiny_pack))


def test_what_is_known_of_nowcasts_grows_with_them(tmp_path):
    """A coordinate (init, lead, y, x), in chunks of its own."""
    rain, store = radar_files.storms(frames=6)[:, :64, :64], tmp_path / "h.zarr"
    hindcast(rain[:5], "nowcast-radar", store, lead=1)
    hind = hindcast(rain, "nowcast-radar", store, lead=1)
    fc = forecast(rain, "nowcast-radar", lead=1)
    np.testing.assert_array_equal(hind["rain_rate"], fc)
    np.testing.assert_array_equal(hind["known"], fc["known"])
    assert "known" in hind.coords and hind["known"].chunks[0] == (1, 1, 1)
    assert 0 <= fc["known"].min() < 0.5 < fc["known"].max() <= 1


def test_a_record_of_other_data_or_with_fewer_inits_changes_nothing(ssta, tiny_pack, tmp_path):
    store = tmp_path / "h.zarr"
    hindcast(ssta[:8], tiny_pack, store)
    before = files(store)
    with xr.set_options(keep_attrs=True):
        other = ssta + ssta.where(ssta.time.dt.month == 7, 0)
    with pytest.raises(ValueError, match="other values at 2000-07-15"):
        hindcast(other, tiny_pack, store)
    with pytest.raises(ValueError, match="(?s)the init that .*: 6, 2000-03.*found 5, .*and more"):
        hindcast(ssta[1:], tiny_pack, store)
    with pytest.raises(ValueError, match="(?s)the lead that"):
        hindcast(ssta, tiny_pack, store, lead=5)
    assert files(store) == before


# --- killed


def alone(*args):
    with one_thread():
        hindcast(*args)


@pytest.fixture(scope="module")
def child():
    context = forking()

    def start(*args):
        process = context.Process(target=alone, args=args)
        process.start()
        process.join()
        return process.exitcode

    return start


def killed_at(deadline, moment, ssta, pack, folder, child):
    """Grow, be killed at a write, go on: to the byte what a growth without a kill leaves."""
    begun, whole = folder / "begun.zarr", folder / "whole.zarr"
    store = folder / f"{moment}{deadline}.zarr"
    if not whole.exists():
        hindcast(ssta[:8], pack, begun, chunks=4)
        shutil.copytree(begun, whole)
        hindcast(ssta, pack, whole)
    shutil.copytree(begun, store)
    code = child(ssta, pack, Mortal(store, deadline, moment))
    assert code in (0, -signal.SIGKILL)
    hindcast(ssta, pack, store)
    assert files(store) == files(whole), (deadline, moment)
    return code != 0


@pytest.mark.parametrize(
    "point",
    [(2, "half"), (10, "after")]
    + [pytest.param(p, marks=pytest.mark.slow) for p in [(2, "after"), (5, "before")]],
)
def test_killed_while_it_grows_and_resumed(ssta, tiny_pack, tmp_path, child, point):
    """A lock, the plan, its eight keys, the forecasts."""
    assert killed_at(*point, ssta, tiny_pack, tmp_path, child)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_every_write_of_a_growth(ssta, tiny_pack, tmp_path, child, moment):
    points = itertools.takewhile(
        lambda deadline: killed_at(deadline, moment, ssta, tiny_pack, tmp_path, child),
        itertools.count(1),
    )
    assert len(list(points)) > 12


def test_a_plan_that_was_not_carried_out_is_not_forgotten(ssta, tiny_pack, tmp_path, monkeypatch):
    """Whatever the next call asks for, its inits are then the store's."""
    store = tmp_path / "h.zarr"
    hindcast(ssta[:8], tiny_pack, store)

    class Stop(Exception):
        pass

    def stop(store):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("xearthformer.hindcasts.growth.finish_growth", stop)
        with pytest.raises(Stop):
            hindcast(ssta, tiny_pack, store)
    assert (store / PLAN).exists()
    with pytest.raises(ValueError, match="(?s)the init that .*: 10, 2000-03.*found 6"):
        hindcast(ssta[:8], tiny_pack, store)
    assert not (store / PLAN).exists() and status(store) == [1] * 6 + [0] * 4


def test_a_frame_that_comes_late_is_named(tmp_path):
    """A store of a nowcast whose record had a gap; the line that is printed goes on with it."""
    pack, store = small_nowcast(tmp_path), tmp_path / "h.zarr"
    storms = xef.synthetic_storms(3, events=1, size=40, frames=8)["rain_rate"]
    da = storms.isel(event=0, drop=True)
    init = slice(da.time.values[4], None)
    first = hindcast(da.drop_sel(time=da.time.values[[2]]), pack, store, init=init).load()
    for data in (da, da.chunk(time=1)):
        with pytest.raises(ValueError, match="without a frame at .*(.|\n)*1 that came") as error:
            hindcast(data, pack, store, init=init)
    line = str(error.value).split("try ")[1].split(", the record")[0]
    mended = eval(line, {"da": da, "pd": pd})
    assert mended.sizes["time"] == 7
    xr.testing.assert_identical(hindcast(mended, pack, store, init=init).load(), first)
