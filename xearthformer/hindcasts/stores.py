"""Zarr stores, as who writes them sees them: opened from anything, keys, full disks, safe disks."""

import errno
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.mapping import FSMap  # type: ignore[import-untyped]
from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from ..errors import mismatch

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # of disks that can't create a key only once
SYNCS = 8  # files that are sent to the disk at the same time


def open_store(store: Any) -> Store:
    """A Zarr store from a path, a URL that fsspec knows, its mapping, or a store that is open.

    Raises
    ------
    TypeError, ValueError
        Anything else; a store that can't be written to, or not twice (a zip file).
    """
    if isinstance(store, Store):
        opened: Store = store
    elif isinstance(store, FSMap):
        opened = FsspecStore.from_mapper(store)
    elif isinstance(store, str | os.PathLike):
        text = os.fspath(store)
        text = text.removeprefix("file://") if isinstance(text, str) else os.fsdecode(text)
        remote = "://" in text or "::" in text
        opened = FsspecStore.from_url(text) if remote else LocalStore(Path(text).expanduser())
    else:
        raise TypeError(
            f"expected a path, a URL or a Zarr store\n   found {type(store).__name__}\n"
            "     try group.store, of a Zarr group at the root of its store"
        )
    if opened.read_only or not opened.supports_deletes:
        raise mismatch(
            "a store to write to, over and over",
            f"{opened}, read-only or without deletion (a zip file)",
            "a folder, copied into a zip file when it is finished",
        )
    return opened


def read(store: Store, key: str) -> bytes | None:
    """The value of a key, None where there is none."""
    value = sync(store.get(key, default_buffer_prototype()))
    return None if value is None else value.to_bytes()


def write(store: Store, key: str, value: bytes) -> None:
    """Set a key: at once and whole, where the store can (zarr's own stores can)."""
    sync(store.set(key, cpu.Buffer.from_bytes(value)))


def create(store: Store, key: str, value: bytes) -> None:
    """Set a key that isn't there yet; of many at once one wins, where the store can tell."""
    try:
        sync(store.set_if_not_exists(key, cpu.Buffer.from_bytes(value)))
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        write(store, key, value)


def delete(store: Store, key: str) -> None:
    """Remove a key, if it is there."""
    sync(store.delete(key))


def keys(store: Store) -> list[str]:
    """Every key of a store."""

    async def listed(every: AsyncIterator[str]) -> list[str]:
        return [key async for key in every]

    return sync(listed(store.list()))


@contextmanager
def room(store: Store, there: str) -> Iterator[None]:
    """Say of a full disk whose it is, and what is there already."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = f"{os.strerror(error.errno)}: {store}; {there}"
        raise OSError(error.errno, f"{message}; make room, and the same call goes on") from error


def settle(store: Store, keys: Iterable[str]) -> None:
    """See that keys of a local store have reached the disk, folders included.

    Other stores answer a write when it is safe, or (memory) never.
    """
    if not isinstance(store, LocalStore):
        return
    files = [path for path in (store.root / key for key in keys) if path.exists()]  # not all-NaN
    folders = {f for path in files for f in path.parents if f.is_relative_to(store.root)}
    with ThreadPoolExecutor(SYNCS) as pool:  # disks answer many at once as fast as one
        list(pool.map(_fsync, files))
    if hasattr(os, "O_DIRECTORY"):  # a folder can be opened
        for folder in folders:
            _fsync(folder, unsupported=(errno.EINVAL, errno.ENOTSUP))


def clean(store: Store) -> None:
    """Remove what writes that were cut short have left behind."""
    if isinstance(store, LocalStore):
        for path in store.root.rglob("*.partial"):
            path.unlink(missing_ok=True)


def _fsync(path: Path, unsupported: tuple[int, ...] = ()) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in unsupported:
            raise
    finally:
        os.close(handle)
