"""One writer at a time: the lock of a Zarr store, which a process holds while it lives.

A key of the store says who holds the lock. What makes it a lock depends on the store:

- In a local folder, the operating system locks a file next to the key, through filelock. Such a
  lock ends with its process, whatever ends that.
- Buckets, memory and disks without such locks have no file that filelock could lock. There the
  key itself is the lock, and its holder renews it every few seconds. A holder that is gone holds
  nothing: on its own machine its process is looked up; from elsewhere the key is watched for
  renewals.
"""

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout
from zarr.abc.store import Store
from zarr.storage import LocalStore

from ..errors import mismatch
from .store import create, delete, explain_full_disk, is_session, read, write

BEAT = 5.0  # seconds between renewals
SILENCE = 60.0  # seconds without one, by the clocks of both machines, before a lock is doubted
WATCH = 3 * BEAT  # seconds that a doubted lock is watched for a renewal: clocks may disagree
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # of disks that can't lock a file


@dataclass(frozen=True)
class Owner:
    """The holder of a lock; `place` and `born` make its pid mean one process.

    They are "" where the system doesn't tell: then renewals alone count.
    """

    token: str  # identifies one call: two calls in one process are two owners
    host: str  # for people to read
    pid: int
    place: str  # the boot and the namespace that the pid counts in
    born: str  # when the process began
    beat: float  # time of the last renewal, in seconds since 1970

    def text(self) -> bytes:
        """Return the owner as it is written to the key of a lock."""
        return json.dumps(asdict(self)).encode()


def this_process() -> Owner:
    """Return this process as the owner of one more lock."""
    pid = os.getpid()
    return Owner(uuid.uuid4().hex, socket.gethostname(), pid, _place(), _born(pid), time.time())


@dataclass(frozen=True)
class Lock:
    """A lock that this process has taken; `check` says whether it still holds it.

    Without a key it is of a store that no other process writes.
    """

    store: Store
    key: str
    owner: Owner
    failures: list[Exception] = field(default_factory=list)  # of renewals, since one succeeded

    def check(self) -> None:
        """Raise ValueError if another took the lock over, as it may when not renewed for long."""
        if not self.key:
            return
        # A local lock is checked too: a user may have deleted the folder and begun another store.
        present = _parse(read(self.store, self.key))
        if present is None or present.token != self.owner.token:
            found = f"{_name(present)} writing it, after this process was silent for long"
            hint = "this call again, when the other has ended"
            if present is None:
                found, hint = "its lock gone, or unreadable", "this call again"
            if self.failures:
                error = self.failures[-1]
                found += f"; its lock couldn't be renewed: {type(error).__name__}: {error}"
            raise mismatch(f"to be the only writer of {self.store}", found, hint)

    def remove(self) -> None:
        """Delete the key, if it is still this owner's."""
        # One that can't be deleted now isn't renewed any more: it is forgotten after a while.
        with suppress(Exception):
            self.check()
            delete(self.store, self.key)


@contextmanager
def hold(store: Store, key: str) -> Iterator[Lock]:
    """Hold the lock at a key; ValueError if another process, alive, holds it."""
    if is_session(store):
        yield Lock(store, "", this_process())
        return
    lock = Lock(store, key, this_process())
    with ExitStack() as stack:  # undone from the last to the first
        with explain_full_disk(store, "nothing was written"):
            file = _lock_file(store, key)
            if file is None:
                _claim(lock)
            else:
                stack.callback(_unlock, file)
                write(store, key, lock.owner.text())  # over that of a process that was killed
        lock.check()
        stack.callback(lock.remove)
        if file is None:
            stack.enter_context(_renewals(lock))
        yield lock


def _lock_file(store: Store, key: str) -> FileLock | None:
    """Lock a file by the operating system; None where store or disk has no such locks."""
    if not isinstance(store, LocalStore):
        return None
    path = store.root / f"{key}.os"  # not the key: Windows lets nobody read a locked file
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without filelock's own substitute for such disks, which knows no processes of other machines.
    file = FileLock(path, fallback_to_soft=False)
    try:
        file.acquire(timeout=0)
    except Timeout as error:
        raise _taken(store, read(store, key)) from error
    except (NotImplementedError, OSError) as error:  # the first from older versions of filelock
        if getattr(error, "errno", errno.ENOSYS) not in NO_LOCKS:
            raise
        path.unlink(missing_ok=True)
        return None
    return file


def _unlock(file: FileLock) -> None:
    # Deleted while it is locked: never a file that another process has locked since. Windows
    # deletes no open file, and filelock does it there.
    with suppress(OSError):
        Path(file.lock_file).unlink()
    file.release()


def _claim(lock: Lock) -> None:
    """Write the key that is a lock, or refuse.

    Two that come at the same moment are told apart by the store where it creates a key only once
    (memory); elsewhere the last to write wins, and the other sees that when it reads its own key
    back or, at the latest, at its next `Lock.check`.
    """
    store, key, ours = lock.store, lock.key, lock.owner.text()
    present = read(store, key)
    if present is not None:
        if _is_held(present, store, key):
            raise _taken(store, present)
        if read(store, key) == present:
            delete(store, key)
    create(store, key, ours)
    present = read(store, key)
    if present is not None and present != ours:
        raise _taken(store, present)


@contextmanager
def _renewals(lock: Lock) -> Iterator[None]:
    """Renew a lock every few seconds, in a thread."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(BEAT):
            # Whatever a network or a full disk does to one renewal, the next may succeed.
            try:
                present = _parse(read(lock.store, lock.key))
                if present is not None and present.token == lock.owner.token:
                    write(lock.store, lock.key, replace(lock.owner, beat=time.time()).text())
                    lock.failures.clear()
            except Exception as error:
                lock.failures.append(error)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_held(text: bytes, store: Store, key: str) -> bool:
    """Whether the owner of a lock that is renewed lives."""
    owner = _parse(text)
    if owner is not None and _is_gone(owner):
        return False
    if owner is not None and abs(time.time() - owner.beat) < SILENCE:
        return True
    end = time.monotonic() + WATCH
    while time.monotonic() < end:
        if read(store, key) != text:
            return True
        time.sleep(min(1.0, WATCH / 10))
    return False


def _taken(store: Store, text: bytes | None) -> ValueError:
    return mismatch(
        f"one writer at a time of {store}",
        f"{_name(_parse(text))} writing it",
        f"again when it has ended; a process that was killed is forgotten at once on its own "
        f"machine, elsewhere {SILENCE + WATCH:.0f} s after its end",
    )


def _name(owner: Owner | None) -> str:
    return "another process" if owner is None else f"process {owner.pid} on {owner.host}"


def _parse(text: bytes | None) -> Owner | None:
    try:
        owner = None if text is None else Owner(**json.loads(text))
    except (ValueError, TypeError):
        return None
    # of the right types, whatever has written it
    is_whole = owner is not None and all(
        isinstance(value, float | int if name in ("pid", "beat") else str)
        for name, value in asdict(owner).items()
    )
    return owner if is_whole else None


def _place() -> str:
    """Where a pid means one process: a machine since it was started, and its pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_gone(owner: Owner) -> bool:
    """Whether the owner's process has ended; False where this machine can't tell."""
    if not owner.place or owner.place != _place():
        return False
    born = _born(owner.pid)
    if born:
        return born != owner.born  # the pid may have gone to another process
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
