"""One writer at a time: a lock in a Zarr store, which a process holds while it lives.

The lock is a key of the store, so it is wherever the store is: on a disk, in a bucket, in memory.
It says who holds it, and the holder renews it every few seconds. A holder that is gone holds
nothing: on its own machine its process is looked up; from elsewhere the lock is watched for
renewals.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zarr.abc.store import Store

from ..errors import mismatch
from .stores import create, delete, read, room, write

BEAT = 5.0  # seconds between renewals
SILENCE = 60.0  # seconds without one, by the clocks of both machines, before a lock is doubted
WATCH = 3 * BEAT  # seconds that a doubted lock is watched for a renewal: clocks may disagree


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    token : str
        Of one call: two calls in a process are two owners.
    host, pid
        For people to read.
    place, born : str
        What makes the pid mean one process: the boot and the namespace it counts in, and when it
        began. "" where the system doesn't tell; then renewals alone count.
    beat : float
        When it was last renewed, seconds since 1970.
    """

    token: str
    host: str
    pid: int
    place: str
    born: str
    beat: float


def me() -> Owner:
    """This process, for one call."""
    pid = os.getpid()
    return Owner(uuid.uuid4().hex, socket.gethostname(), pid, _place(), _born(pid), time.time())


class Lock:
    """A lock that is held; `check` says whether it still is."""

    def __init__(self, store: Store, key: str, owner: Owner) -> None:
        self._store, self._key, self._owner = store, key, owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def check(self) -> None:
        """See that nobody took the lock over, as they may once it hasn't been renewed for long.

        Raises
        ------
        ValueError
        """
        found = _parse(read(self._store, self._key))
        if found is None or found.token != self._owner.token:
            raise mismatch(
                f"to be the only writer of {self._store}",
                f"{_who(found)} writing it, after this process was silent for long",
                "this call again, when the other has ended",
            )

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        # a lock that can't be removed now is no longer renewed: it is forgotten after a while
        with suppress(Exception):
            self.check()
            delete(self._store, self._key)

    def _renew(self) -> None:
        while not self._stop.wait(BEAT):
            # whatever a network or a full disk does to one renewal, the next may succeed
            with suppress(Exception):
                self.check()
                beat = replace(self._owner, beat=time.time())
                write(self._store, self._key, _text(beat))


@contextmanager
def held(store: Store, key: str) -> Iterator[Lock]:
    """Hold the lock at a key, or refuse.

    Two that come at the same moment are told apart by the store where it creates a key only once
    (disk, memory); elsewhere the last to write wins, the other sees it when it reads its own lock
    back or, at the latest, at its next `Lock.check`.

    Raises
    ------
    ValueError
        Another process, alive, holds it.
    """
    there = read(store, key)
    if there is not None:
        if _holds(there, store, key):
            raise _taken(there, store, key)
        if read(store, key) == there:
            delete(store, key)
    owner = me()
    with room(store, "nothing was written"):
        create(store, key, _text(owner))
    found = read(store, key)
    if found is not None and found != _text(owner):
        raise _taken(found, store, key)
    lock = Lock(store, key, owner)
    lock.check()
    lock.start()
    try:
        yield lock
    finally:
        lock.release()


def _holds(text: bytes, store: Store, key: str) -> bool:
    """Whether the owner of a lock lives."""
    owner = _parse(text)
    if owner is not None and _gone(owner):
        return False
    if owner is not None and abs(time.time() - owner.beat) < SILENCE:
        return True
    end = time.monotonic() + WATCH
    while time.monotonic() < end:
        if read(store, key) != text:
            return True
        time.sleep(min(1.0, WATCH / 10))
    return False


def _taken(text: bytes, store: Store, key: str) -> ValueError:
    return mismatch(
        f"one writer at a time of {store}",
        f"{_who(_parse(text))} writing it",
        f"again when it has ended; a process that was killed is forgotten at once on its own "
        f"machine, elsewhere {SILENCE + WATCH:.0f} s after its end",
    )


def _who(owner: Owner | None) -> str:
    return "another process" if owner is None else f"process {owner.pid} on {owner.host}"


def _text(owner: Owner) -> bytes:
    return json.dumps(asdict(owner)).encode()


def _parse(text: bytes | None) -> Owner | None:
    try:
        return None if text is None else Owner(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _place() -> str:
    """Where a pid means one process: a machine since it was started, and its pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _gone(owner: Owner) -> bool:
    """Whether the owner's process has ended; False where this machine can't tell."""
    if not owner.place or owner.place != _place():
        return False
    born = _born(owner.pid)
    if born:
        return born != owner.born
    try:
        os.kill(owner.pid, 0)  # signal 0 asks, and does nothing
    except PermissionError:
        return False  # it is there, another user's, and hidden from us
    except ProcessLookupError:
        pass
    return True


def _born(pid: int) -> str:
    """When a process began, in clock ticks since the boot; "" for one that is gone or hidden."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]  # field 22 of proc(5)
