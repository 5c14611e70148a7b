"""Hindcasts that are killed, robbed, crowded and short of disk: the store resumes, to the byte."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask.utils
import numpy as np
import pytest
import xarray as xr
from small_hindcast import Mortal, anomalies, files, forecast, forking, hindcast, status, through
from zarr.storage import LocalStore, MemoryStore

import xearthformer as xef
from xearthformer.hindcasts import blocks, lock
from xearthformer.hindcasts.store import LOCK, Ledger, write
from xearthformer.models.layers.parallel import one_thread

STATUS = "hindcast_log/status/c"


@pytest.fixture
def ssta(tiny_pack):
    return anomalies(tiny_pack)


@pytest.fixture
def straight(ssta, tiny_pack):
    return forecast(ssta, tiny_pack)


@pytest.fixture(autouse=True)
def same_threads():
    with one_thread():
        yield


def alone(*args, **options):
    """In a process of its own, with the threads that tests have."""
    with one_thread():
        hindcast(*args, **options)


@pytest.fixture(scope="module")
def child():
    """Start a hindcast in a process of its own, forked from one that has imported everything."""
    context = forking()

    def start(*args, **options):
        process = context.Process(target=alone, args=args, kwargs=options)
        process.start()
        return process

    return start


def writer_of(store):
    """The process whose lock a store has, if any."""
    path = store / LOCK
    return json.loads(path.read_bytes())["pid"] if path.exists() else None


def until(condition, seconds=120):  # a child imports all it needs first, on a busy machine
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def dawdle(values):
    time.sleep(0.2)
    return values


def killed_at(deadline, moment, ssta, pack, folder, child):
    """Kill at a write, then go on: the store is, to the byte, one that nothing happened to.

    Says whether it came to the killing: a hindcast may take fewer writes.
    """
    if not (folder / "whole.zarr").exists():
        hindcast(ssta, pack, folder / "whole.zarr", chunks=4)
    whole, store = files(folder / "whole.zarr"), folder / f"{moment}{deadline}.zarr"
    process = child(ssta, pack, Mortal(store, deadline, moment), chunks=4)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    for block in (store / STATUS).glob("[0-9]"):  # a block that is marked is whole
        name = Path(f"ssta/c.{block.name}.0.0.0")
        assert (store / name).read_bytes() == whole[name]
    hindcast(ssta, pack, store, chunks=4)
    assert files(store) == whole, (deadline, moment)
    return process.exitcode != 0


def test_killed_at_a_few_writes_and_resumed(ssta, tiny_pack, tmp_path, child):
    for point in [(3, "after"), (16, "half"), (20, "after")]:
        assert killed_at(*point, ssta, tiny_pack, tmp_path, child)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_at_every_write_and_resumed(ssta, tiny_pack, tmp_path, child, moment):
    """A lock, the skeleton, three blocks of data, digests and marker, the end."""
    deadlines = itertools.count(1)
    points = itertools.takewhile(
        lambda deadline: killed_at(deadline, moment, ssta, tiny_pack, tmp_path, child), deadlines
    )
    assert 20 < len(list(points)) < 40


@pytest.mark.slow
def test_killed_twenty_times_at_any_moment_and_resumed(ssta, tiny_pack, tmp_path, child):
    """One store after the other, each killed again and again, while it is written, until whole."""
    started = time.monotonic()
    child(ssta, tiny_pack, tmp_path / "whole.zarr", chunks=1).join()
    took, whole = time.monotonic() - started, files(tmp_path / "whole.zarr")
    random, store, kills = np.random.default_rng(), tmp_path / "h.zarr", 0
    while kills < 20:
        process = child(ssta, tiny_pack, store, chunks=1)
        process.join(random.uniform(0, took))
        process.kill()
        process.join()
        if process.exitcode == 0:
            assert files(store) == whole
            shutil.rmtree(store)
        else:  # its lock, left behind, says that it had begun
            kills += writer_of(store) == process.pid
    hindcast(ssta, tiny_pack, store, chunks=1)
    assert files(store) == whole


def test_a_second_writer_is_refused_until_the_first_is_gone(ssta, tiny_pack, tmp_path, child):
    store = tmp_path / "h.zarr"
    process = child(through(dawdle, ssta), tiny_pack, store, chunks=2)
    until((store / STATUS).exists)
    with pytest.raises(ValueError, match=f"(?s)one writer at a time.*process {process.pid} on "):
        hindcast(ssta, tiny_pack, store)
    assert process.is_alive()
    process.kill()
    process.join()
    assert (store / LOCK).exists() and 0 in status(store)
    hind = hindcast(ssta, tiny_pack, store)
    xr.testing.assert_identical(hind["ssta"].load(), forecast(ssta, tiny_pack))


def test_two_that_come_at_once(ssta, tiny_pack, straight, tmp_path):
    """Of many threads on an empty store one gets to write."""
    outcomes = []

    def run():
        try:
            outcomes.append(hindcast(ssta, tiny_pack, tmp_path / "h.zarr"))
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [text for text in outcomes if isinstance(text, str)]
    assert 1 <= len(refused) <= 3 and all("one writer at a time" in text for text in refused)
    with xr.open_zarr(tmp_path / "h.zarr") as found:
        xr.testing.assert_identical(found["ssta"].load(), straight)


def test_who_lost_the_lock_stops_writing(ssta, tiny_pack, tmp_path):
    store = LocalStore(tmp_path / "h.zarr")

    def rob(values):
        if values[..., 0].any():
            time.sleep(0.1)
            write(store, LOCK, json.dumps(lock.asdict(lock.this_process())).encode())
        return values

    with pytest.raises(ValueError, match="to be the only writer"):
        hindcast(through(rob, ssta.fillna(0)), tiny_pack, store)
    assert set(status(store)) == {0}
    assert (tmp_path / "h.zarr" / LOCK).exists()  # the other's


def test_a_marker_that_cannot_be_read_marks_nothing(ssta, tiny_pack, tmp_path):
    hindcast(ssta, tiny_pack, tmp_path / "h.zarr", chunks=4)
    whole = files(tmp_path / "h.zarr")
    (tmp_path / "h.zarr" / STATUS / "1").write_bytes(b"")
    (tmp_path / "h.zarr" / "ssta" / "c.1.0.0.0").write_bytes(b"")
    hindcast(ssta, tiny_pack, tmp_path / "h.zarr")
    assert files(tmp_path / "h.zarr") == whole


class Full(LocalStore):
    """A disk with room for so many writes."""

    left = 0

    async def _set(self, key, value, exclusive=False):
        type(self).left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await super()._set(key, value, exclusive)


@pytest.mark.parametrize(
    ("room", "there"),
    [(0, "nothing was"), (5, "no init is"), (20, "4 of 10 inits are"), (27, "10 of 10")],
)
def test_a_full_disk_is_named_and_the_store_resumes(ssta, tiny_pack, tmp_path, room, there):
    hindcast(ssta, tiny_pack, tmp_path / "whole.zarr", chunks=4)
    Full.left = room
    store = Full(tmp_path / "h.zarr")
    with pytest.raises(OSError, match=f"No space left on device: .*h.zarr; {there}") as raised:
        hindcast(ssta, tiny_pack, store, chunks=4)
    assert raised.value.errno == errno.ENOSPC
    Full.left = 1000
    hindcast(ssta, tiny_pack, store, chunks=4)
    assert files(tmp_path / "h.zarr") == files(tmp_path / "whole.zarr")


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 100 kB, of the kind that memory makes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(ssta, tiny_pack, tmp_path, small_disk):
    hindcast(ssta, tiny_pack, tmp_path / "whole.zarr", chunks=1)
    with pytest.raises(OSError, match=r"h.zarr; [1-9] of 10 inits are there and stay"):
        hindcast(ssta, tiny_pack, small_disk / "h.zarr", chunks=1)
    with pytest.raises(OSError, match="No space left on device"):
        hindcast(ssta, tiny_pack, small_disk / "h.zarr", chunks=1)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    hindcast(ssta, tiny_pack, small_disk / "h.zarr", chunks=1)
    assert files(small_disk / "h.zarr") == files(tmp_path / "whole.zarr")


# --- on a cluster


@pytest.fixture
def client():
    """Of a cluster of two threads of this process."""
    distributed = pytest.importorskip("distributed")
    setup = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with (
        distributed.LocalCluster(**setup, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def tasks_of(client):
    """What a cluster's scheduler has heard of: every key, without what makes it unique."""
    log = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.transition_log))
    return {dask.utils.key_split(transition[0]) for transition in log}


LAZY = {
    "memory": lambda da: da,
    "lazy": lambda da: da.chunk({"time": 5}),
    "persisted": lambda da: da.chunk({"time": 5}).persist(),
}


@pytest.mark.parametrize("form", LAZY)
def test_on_a_cluster_of_threads(ssta, tiny_pack, straight, client, form):
    data, stores = LAZY[form](ssta), [MemoryStore(), MemoryStore(), MemoryStore()]
    july = data.where(ssta.time.dt.month != 7)
    with pytest.raises(ValueError, match="2000-07-15"):
        hindcast(july, tiny_pack, stores[0])
    skipped = hindcast(july, tiny_pack, stores[1], on_error="skip")
    assert skipped.attrs["incomplete"].startswith("3 of 10 inits")
    hindcast(data, tiny_pack, stores[2], init=slice("2000-05", None), chunks=2)
    # were its data tasks as well, blocks would share their keys, and a worker could wait for ever
    assert form == "persisted" or tasks_of(client) == {"forecast"}
    with xr.open_zarr(stores[2]) as found:
        xr.testing.assert_identical(
            found["ssta"].load(),
            straight[2:].assign_attrs(history=found["ssta"].attrs["history"]),
        )


def test_a_client_that_is_closed_is_an_error_and_no_wait(
    ssta, tiny_pack, straight, client, monkeypatch
):
    wait = blocks._next

    def close_then_wait(*arguments):
        threading.Timer(0.1, client.close).start()  # once the first blocks are on their way
        return wait(*arguments)

    monkeypatch.setattr(blocks, "_next", close_then_wait)
    store = MemoryStore()
    with pytest.raises(ConnectionError, match="the same call goes on"):
        hindcast(through(dawdle, ssta), tiny_pack, store, chunks=1)
    hind = hindcast(ssta, tiny_pack, store)
    xr.testing.assert_identical(hind["ssta"].load(scheduler="threads"), straight)


def test_a_cluster_without_workers_is_waited_for_and_named(
    ssta, tiny_pack, straight, client, monkeypatch
):
    monkeypatch.setattr(blocks, "POLL", 0.1)
    client.cluster.scale(0)
    until(lambda: not client.nthreads())
    count = blocks._threads

    def then_one_comes(client):
        threads = count(client)
        if not threads:  # seen to be none: however long it took to get here
            threading.Timer(0.3, client.cluster.scale, [1]).start()
        return threads

    monkeypatch.setattr(blocks, "_threads", then_one_comes)
    with pytest.warns(UserWarning, match="no workers: waiting"):
        hind = hindcast(ssta, tiny_pack, MemoryStore())
    xr.testing.assert_identical(hind["ssta"].load(), straight)


def test_hindcasts_that_are_tasks_do_not_wait_for_each_other(ssta, tiny_pack, tmp_path, client):
    """Both threads of the cluster have one: no third is there to make their blocks."""
    lazy, paths = ssta.chunk(time=1), [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    both = [client.submit(hindcast, lazy, tiny_pack, path) for path in paths]
    assert [future.result(timeout=60)["ssta"].sizes["init"] for future in both] == [10, 10]
    assert files(paths[0]) == files(paths[1])


@pytest.mark.slow
def test_a_worker_that_is_killed_is_made_up_for(ssta, tiny_pack, tmp_path):
    distributed = pytest.importorskip("distributed")
    with one_thread():
        hindcast(ssta, tiny_pack, tmp_path / "whole.zarr", chunks=1)
    store, killed = tmp_path / "h.zarr", []

    def kill(pids):
        until((store / STATUS).exists)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(status(store))

    setup = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(**setup, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        other = threading.Thread(target=kill, args=(pids,))
        other.start()
        hindcast(through(dawdle, ssta), tiny_pack, store, chunks=1)
        other.join()
        assert pids[0] not in client.run(os.getpid).values()
    assert 0 in killed[0] and 1 in killed[0]
    assert files(store) == files(tmp_path / "whole.zarr")


@pytest.mark.slow
def test_the_example(tmp_path):
    pytest.importorskip("distributed")
    xef.synthetic_sst(years=31, seed=1, start="1970-01").to_netcdf(tmp_path / "sst.nc")
    example = Path(__file__).parents[2] / "examples" / "hindcast.py"
    command = [sys.executable, str(example), "sst.nc", "--pack", "lim"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "killed after" in done.stdout and "resumed: 100% done" in done.stdout
    assert "are the same bits" in done.stdout
    assert done.stdout.splitlines()[-2].startswith("lim ")


# --- what is lost, and what was not said


def test_chunks_that_are_lost_are_forecast_again(ssta, tiny_pack, straight, tmp_path):
    hindcast(ssta, tiny_pack, tmp_path / "h.zarr")
    whole = files(tmp_path / "h.zarr")
    for chunk in ("c.3.0.0.0", "c.7.0.0.0"):
        (tmp_path / "h.zarr" / "ssta" / chunk).unlink()
    with pytest.warns(UserWarning, match="2 of 10 inits that were there have lost their chunks"):
        hind = hindcast(ssta, tiny_pack, tmp_path / "h.zarr")
    xr.testing.assert_identical(hind["ssta"].load(), straight)
    assert files(tmp_path / "h.zarr") == whole


@pytest.mark.parametrize("key", ["zarr.json", "hindcast_log/zarr.json", "ssta/zarr.json"])
def test_metadata_that_is_damaged_is_named(ssta, tiny_pack, tmp_path, key):
    store = tmp_path / "h.zarr"
    hindcast(ssta, tiny_pack, store)
    whole = (store / key).read_bytes()
    (store / key).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"(?s)metadata is whole.*found {key} damaged.*another"):
        hindcast(ssta, tiny_pack, store)
    (store / key).write_bytes(whole)
    assert "incomplete" not in hindcast(ssta, tiny_pack, store).attrs


def test_a_chunk_that_is_damaged_is_an_error_when_it_is_read(ssta, tiny_pack, tmp_path):
    hind = hindcast(ssta, tiny_pack, tmp_path / "h.zarr")
    path = tmp_path / "h.zarr" / "ssta" / "c.3.0.0.0"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="checksum"):
        hind["ssta"].load()


def test_after_a_kill_the_store_says_how_much_is_missing(ssta, tiny_pack, tmp_path, monkeypatch):
    """Between two blocks nothing is cleaned up: the attribute has been written before."""
    saved = Ledger.save

    def save_two(self, inits, *args):
        if self.done == 2:
            raise KeyboardInterrupt
        saved(self, inits, *args)

    monkeypatch.setattr(Ledger, "save", save_two)
    with pytest.raises(KeyboardInterrupt):
        hindcast(ssta, tiny_pack, tmp_path / "h.zarr", chunks=1)
    found = xr.open_zarr(tmp_path / "h.zarr").attrs["incomplete"]
    assert found.startswith("8 of 10 inits aren't there yet")
