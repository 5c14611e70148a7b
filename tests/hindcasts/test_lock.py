"""The lock of a store: who holds it, until when, and whose counts."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from zarr.storage import LocalStore, MemoryStore

from xearthformer.hindcasts import lock
from xearthformer.hindcasts.store import delete, read, write


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in {"BEAT": 0.05, "SILENCE": 1.0, "WATCH": 0.3}.items():
        monkeypatch.setattr(lock, name, seconds)


def owned(store, **changes):
    """A store whose lock somebody holds: this process, but for the changes."""
    owner = lock.asdict(lock.this_process()) | changes
    write(store, "lock", json.dumps(owner).encode())


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),
        ({"born": "1"}, False),  # the pid went to another process
        ({"pid": 2**22 + 1, "born": "1"}, False),  # there is no such process
        ({"place": "elsewhere", "pid": 2**22 + 1}, True),  # another machine's, just renewed
        ({"place": "elsewhere", "beat": 0.0}, False),  # another machine's, long silent
        ({"place": "", "beat": 0.0}, False),
    ],
)
def test_whose_lock_counts(impatient, changes, refused):
    store = MemoryStore()
    owned(store, **changes)
    if refused:
        with pytest.raises(ValueError, match="one writer at a time"), lock.hold(store, "lock"):
            pass
        return
    with lock.hold(store, "lock") as ours:
        ours.check()
    assert read(store, "lock") is None


def test_a_local_lock_ends_with_its_process(tmp_path):
    """It is the system's: no time must pass, and what the other has written is no obstacle."""
    store = LocalStore(tmp_path)
    code = (
        "import time; from zarr.storage import LocalStore\n"
        "from xearthformer.hindcasts import lock\n"
        f"with lock.hold(LocalStore({str(tmp_path)!r}), 'group/lock'):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        refused = pytest.raises(ValueError, match=f"(?s)one writer.*process {other.pid} on ")
        with refused, lock.hold(store, "group/lock"):
            pass
        other.kill()
    assert json.loads((tmp_path / "group" / "lock").read_bytes())["pid"] == other.pid
    started = time.monotonic()
    with lock.hold(store, "group/lock") as ours:
        ours.check()
    assert time.monotonic() - started < lock.BEAT
    assert not any((tmp_path / "group").iterdir())


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1, "born": "1"}, {"place": "elsewhere"}])
def test_a_lock_that_an_earlier_version_left_in_a_folder_is_nobodys(tmp_path, changes):
    store = LocalStore(tmp_path)
    owned(store, **changes)
    with lock.hold(store, "lock") as ours:
        ours.check()
    assert read(store, "lock") is None


def test_in_a_folder_one_thread_holds_the_lock(tmp_path):
    store = LocalStore(tmp_path)
    refused = pytest.raises(ValueError, match=f"(?s)one writer at a time.*process {os.getpid()} on")
    with lock.hold(store, "lock") as ours, ThreadPoolExecutor(1) as pool:

        def hold():
            with lock.hold(LocalStore(tmp_path), "lock"):
                pass

        with refused:
            pool.submit(hold).result()
        with refused:
            hold()
        ours.check()


class NoLinks(LocalStore):
    """A folder on a disk that can't create a key only once."""

    async def set_if_not_exists(self, key, value):
        raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("kind", [LocalStore, NoLinks])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSYS, "no locks here"), NotImplementedError("no locks here")]
)
def test_a_disk_without_locks_or_links_is_locked_all_the_same(tmp_path, monkeypatch, kind, error):
    def refuse(self, **options):
        (tmp_path / "lock.os").touch()
        raise error

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    store = kind(tmp_path)
    with lock.hold(store, "lock") as ours:
        ours.check()
        with pytest.raises(ValueError, match="one writer at a time"), lock.hold(store, "lock"):
            pass
    assert not any(tmp_path.iterdir())


def test_a_lock_is_renewed_and_a_clock_that_is_wrong_does_not_matter(impatient):
    """The other machine's clock is a day late: its lock looks old, and is renewed all the same."""
    store, stop = MemoryStore(), threading.Event()

    def renew():
        while not stop.wait(0.05):
            owned(store, place="elsewhere", beat=time.time() - 86_400)

    owned(store, place="elsewhere", beat=time.time() - 86_400)
    other = threading.Thread(target=renew)
    other.start()
    try:
        with pytest.raises(ValueError, match="one writer at a time"), lock.hold(store, "lock"):
            pass
    finally:
        stop.set()
        other.join()


@pytest.mark.parametrize(
    "changes", [{"beat": "soon"}, {"beat": None}, {"pid": "1"}, {"place": 3}, {"token": []}]
)
def test_a_lock_of_other_types_is_nobodys_after_a_while(impatient, changes):
    store = MemoryStore()
    owned(store, **{"place": "elsewhere", **changes})
    with lock.hold(store, "lock") as ours:
        ours.check()


def test_a_lock_that_could_not_be_renewed_says_why(impatient, monkeypatch):
    store = MemoryStore()
    with lock.hold(store, "lock") as ours:

        def refused(*_):
            raise PermissionError("the token has expired")

        with monkeypatch.context() as broken:
            broken.setattr(lock, "write", refused)
            end = time.monotonic() + 5
            while not ours.failures and time.monotonic() < end:
                time.sleep(0.01)
        delete(store, "lock")
        with pytest.raises(ValueError, match="lock gone.*PermissionError: the token has expired"):
            ours.check()
