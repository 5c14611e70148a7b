"""The lock of a store: who holds it, until when, and whose counts."""

import errno
import json
import threading
import time

import pytest
from zarr.storage import LocalStore, MemoryStore

from xearthformer.hindcasts import lock, stores


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in {"BEAT": 0.05, "SILENCE": 1.0, "WATCH": 0.3}.items():
        monkeypatch.setattr(lock, name, seconds)


def owned(store, **changes):
    """A store whose lock somebody holds: this process, but for the changes."""
    owner = lock.asdict(lock.me()) | changes
    stores.write(store, "lock", json.dumps(owner).encode())


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
        with pytest.raises(ValueError, match="one writer at a time"), lock.held(store, "lock"):
            pass
        return
    with lock.held(store, "lock") as held:
        held.check()
    assert stores.read(store, "lock") is None


def test_a_disk_without_links_is_locked_all_the_same(tmp_path):
    class NoLinks(LocalStore):
        async def set_if_not_exists(self, key, value):
            raise OSError(errno.EPERM, "no links here")

    store = NoLinks(tmp_path)
    with lock.held(store, "lock") as held:
        held.check()
        with pytest.raises(ValueError, match="one writer at a time"), lock.held(store, "lock"):
            pass
    assert not (tmp_path / "lock").exists()


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
        with pytest.raises(ValueError, match="one writer at a time"), lock.held(store, "lock"):
            pass
    finally:
        stop.set()
        other.join()
