"""The store of a hindcast: how it is opened and written, what it was made from, what it holds.

Next to the forecast, the Zarr group `hindcast_log` holds the record of what the hindcast is made
from (the group's attributes), a digest of every frame of data that was used, and the markers:
`status(init)`, one byte per init, one chunk per block of inits. A process may be killed between any
two writes: the root's metadata comes last of the skeleton, a block's marker after its data has
reached the disk.
"""

import errno
import hashlib
import json
import os
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr
import zarr
from fsspec.mapping import FSMap  # type: ignore[import-untyped]
from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.common import JSON
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from ..errors import ignored, mismatch, warn
from ..fields.cf import unfilled, with_grid_mapping

StoreLike: TypeAlias = str | os.PathLike[str] | FSMap | Store

LOG = "hindcast_log"
ROOT, LOG_ROOT = "zarr.json", f"{LOG}/zarr.json"
STATUS, DIGESTS = f"{LOG}/status", f"{LOG}/digest"
LOCK = f"{STATUS}/lock"  # in an array's folder: no reader of groups comes across it
MISSING, DONE, FAILED = 0, 1, 2
STATUS_ATTRS: dict[str, JSON] = {
    "long_name": "whether an init's forecast is in the store",
    "flag_values": [MISSING, DONE, FAILED],
    "flag_meanings": "missing done failed",
}
NO_DIGEST = 0  # of a frame that no forecast in the store was made from
DIGEST_ATTRS: dict[str, JSON] = {
    "long_name": "digest of the data of a time step, 0 where it wasn't used"
}
FRAMES_PER_CHUNK = 4096
ERRORS_LISTED = 20  # in the store's attributes, which every reader loads
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # of disks that can't create a key only once
SYNCS = 8  # files that are sent to the disk at the same time


# --- any Zarr store: opening, keys, disks


def open_store(store: StoreLike) -> Store:
    """Return a Zarr store from a path, a URL that fsspec knows, its mapping, or an open store."""
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
    if not opened.read_only and not opened.supports_deletes:
        raise mismatch(
            "a store to write to, over and over",
            f"{opened}, without deletion (a zip file)",
            "a folder, copied into a zip file when it is finished",
        )
    return opened


def is_writable(store: Store) -> bool:
    """Return whether a store may be written; one that isn't here tells when it is."""
    if store.read_only or not isinstance(store, LocalStore) or not store.root.exists():
        return not store.read_only
    return os.access(store.root, os.W_OK)


def check_name(name: Hashable) -> None:
    """Refuse a name that would be another thing in a store: a path, its metadata, its log."""
    text = str(name)
    if "/" in text or text in (".", "..", ROOT, LOG) or text.startswith("__"):
        raise mismatch(
            "data of a name that an array in a Zarr store can have",
            repr(name),
            f'da.rename("value"), or ds.rename({{{name!r}: "value"}})',
        )


def is_session(store: Store) -> bool:
    """Whether a store is a session of icechunk's: its writer's own, all or nothing by its commit.

    It takes the keys of Zarr's metadata and chunks alone, and needs neither a lock nor a plan.
    """
    return type(store).__module__.partition(".")[0] == "icechunk"


def read(store: Store, key: str) -> bytes | None:
    """Return the value of a key; None where there is none."""
    value = sync(store.get(key, default_buffer_prototype()))
    return None if value is None else value.to_bytes()


def write(store: Store, key: str, value: bytes) -> None:
    """Set a key: at once and whole, where the store can (zarr's own stores can)."""
    sync(store.set(key, cpu.Buffer.from_bytes(value)))


def create(store: Store, key: str, value: bytes) -> None:
    """Set a key that isn't there yet; of several writers one wins, where the store can tell."""
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
    """Return every key of a store."""

    async def collect(iterator: AsyncIterator[str]) -> list[str]:
        return [key async for key in iterator]

    return sync(collect(store.list()))


@contextmanager
def explain_full_disk(store: Store, present: str) -> Iterator[None]:
    """Add to the error of a full disk which store was written, and what it holds already."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = f"{os.strerror(error.errno)}: {store}; {present}"
        raise OSError(error.errno, f"{message}; make room, and the same call goes on") from error


def flush(store: Store, keys: Iterable[str]) -> None:
    """Wait until keys of a local store, and their folders, have reached the disk.

    Other stores answer a write when it is safe, or (memory) never.
    """
    if not isinstance(store, LocalStore):
        return
    paths = (store.root / key for key in keys)
    files = [path for path in paths if path.exists()]
    folders = {f for path in files for f in path.parents if f.is_relative_to(store.root)}
    with ThreadPoolExecutor(SYNCS) as pool:  # disks answer many at once as fast as one
        list(pool.map(_fsync, files))
    if hasattr(os, "O_DIRECTORY"):  # a folder can be opened: not on Windows
        for folder in folders:
            _fsync(folder, unsupported=(errno.EINVAL, errno.ENOTSUP))


def _fsync(path: Path, unsupported: tuple[int, ...] = ()) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in unsupported:
            raise
    finally:
        os.close(handle)


def remove_partial_files(store: Store) -> None:
    """Remove what interrupted writes have left behind."""
    if isinstance(store, LocalStore):
        for path in store.root.rglob("*.partial"):
            path.unlink(missing_ok=True)


# --- what a hindcast's store holds


@dataclass(frozen=True)
class CachedArray:
    """A small Zarr array that is kept in memory; every change is written, in whole chunks."""

    array: zarr.Array
    values: np.ndarray

    def set(self, where: np.ndarray, values: int | np.ndarray) -> None:
        """Write values at these positions."""
        new, size = self.values.copy(), self.array.chunks[0]
        new[where] = values
        for chunk in np.unique(where // size):
            positions = slice(chunk * size, (chunk + 1) * size)
            self.array[positions] = new[positions]
        self.values[where] = values  # last: memory never says more than the store


@dataclass(frozen=True)
class Ledger:
    """What a hindcast's store holds, and the one way to write to it."""

    store: Store
    # (init, lead, y, x), the forecasts of each variable, then what is known of a nowcast (a
    # coordinate, that stores of earlier versions lack), in chunks of one or more inits
    values: list[zarr.Array]
    # (init,), MISSING, DONE or FAILED; a chunk is a block, and holds whole chunks of `values`
    status: CachedArray
    digests: CachedArray  # (time,), of the frames that the forecasts in the store were made from
    errors: dict[str, str] = field(default_factory=dict)  # what went wrong in this run, by init

    @property
    def chunk(self) -> int:
        """Number of inits per chunk."""
        return int(self.values[0].chunks[0])

    @property
    def size(self) -> int:
        """Number of inits in all."""
        return self.status.values.size

    @property
    def done(self) -> int:
        """Number of inits whose forecast is in the store."""
        return int((self.status.values == DONE).sum())

    def todo(self) -> list[np.ndarray]:
        """Return the positions of the inits to forecast, block by block, in whole chunks."""
        chunks = np.unique(np.flatnonzero(self.status.values != DONE) // self.chunk)
        inits = np.flatnonzero(np.isin(np.arange(self.size) // self.chunk, chunks))
        return _split(inits, self.status.array.chunks[0]) if inits.size else []

    def chunks_of(self, inits: np.ndarray) -> list[np.ndarray]:
        """Split positions of inits by chunk."""
        return _split(inits, self.chunk)

    def save(
        self,
        inits: np.ndarray,
        values: Sequence[np.ndarray],
        frames: np.ndarray,
        digests: np.ndarray,
    ) -> None:
        """Write forecasts to their chunks, see them to the disk, and only then mark them.

        `inits` are positions, whole chunks of them. `frames` are the positions of the time steps
        that the values (init, lead, y, x) of each variable were made from, `digests` those of these
        frames.
        """
        with self._explain_full_disk():
            ends = np.flatnonzero(np.diff(inits) != 1) + 1
            for array, new in zip(self.values, values, strict=False):
                for run, part in zip(np.split(inits, ends), np.split(new, ends), strict=True):
                    array[run[0] : run[-1] + 1] = part
            flush(self.store, self._keys(inits))
            self.digests.set(frames, digests)
            self.status.set(inits, DONE)
        self.update_attributes()  # a process that is killed says no more

    def lost(self) -> np.ndarray:
        """Return the positions of inits that were there and whose chunks are gone."""
        done = np.flatnonzero(self.status.values == DONE)
        if not done.size:
            return done
        there = set(keys(self.store))
        gone = [p for p in self.chunks_of(done) if not there.issuperset(self._keys(p))]
        return np.concatenate(gone) if gone else done[:0]

    def take_lost_for_missing(self) -> None:
        """Warn of inits whose chunks are gone, and have them forecast again."""
        if (inits := self.lost()).size:
            warn(
                f"{self.store}: {inits.size} of {self.done} inits that were there have lost their "
                "chunks, and are forecast again"
            )
            self.status.set(inits, MISSING)

    def _keys(self, inits: np.ndarray) -> list[str]:
        """Return the keys of the chunks of some inits, of every array."""
        found = []
        for array in self.values:
            rest = (0,) * (array.ndim - 1)  # a chunk holds every lead and the whole grid
            for chunk in np.unique(inits // self.chunk):
                key = array.metadata.encode_chunk_key((int(chunk), *rest))
                found.append(f"{array.path}/{key}")
        return found

    def fail(self, inits: np.ndarray, labels: Iterable[str], error: str) -> None:
        """Note inits that couldn't be forecast; the next call tries them again."""
        with self._explain_full_disk():
            # of a chunk that has grown, some may be there already: they stay
            missing = self.status.values[inits] != DONE
            self.status.set(inits[missing], FAILED)
            self.errors.update(dict.fromkeys(compress(labels, missing), error))
        self.update_attributes()

    def update_attributes(self) -> None:
        """Say in the root's attribute `incomplete` what the store lacks; nothing when it is whole.

        Metadata and consolidated metadata are one key in Zarr format 3: it is replaced at once.
        """
        meta = json.loads(read(self.store, ROOT) or b"{}")
        attributes = {k: v for k, v in meta["attributes"].items() if k != "incomplete"}
        if self.done < self.size:
            attributes["incomplete"] = incomplete(self.done, self.size, self.errors)
        if attributes != meta["attributes"]:
            text = json.dumps({**meta, "attributes": attributes}, indent=2)
            with self._explain_full_disk():
                write(self.store, ROOT, text.encode())

    def _explain_full_disk(self) -> AbstractContextManager[None]:
        present = f"{self.done} of {self.size} inits are there and stay"
        return explain_full_disk(self.store, present)


def _split(inits: np.ndarray, size: int) -> list[np.ndarray]:
    """Split ascending positions by chunks of `size`."""
    return np.split(inits, np.flatnonzero(np.diff(inits // size)) + 1)


def incomplete(done: int, size: int, errors: Mapping[str, str]) -> str:
    """The text of a store's attribute `incomplete`."""
    lines = [f"{init}: {error}" for init, error in errors.items()]
    more = [f"and {len(lines) - ERRORS_LISTED} more"] if len(lines) > ERRORS_LISTED else []
    head = f"{size - done} of {size} inits aren't there yet, and NaN: see status in group {LOG}"
    return "\n".join([head, *lines[:ERRORS_LISTED], *more])


# --- a new store, or one to go on with


def read_record(store: Store) -> dict[str, str] | None:
    """Return what a store's hindcast was made from; None where there is none yet."""
    text = read(store, LOG_ROOT)
    if text is not None:
        record: dict[str, str] = _parsed(text, LOG_ROOT, store)["attributes"]
        return record
    for key in keys(store):
        if not key.startswith(f"{LOG}/"):  # a lock may be there before all else
            raise mismatch(
                "an empty store, or one that hindcast made", f"{key} in {store}", "another store"
            )
    return None


def check_metadata(store: Store) -> None:
    """Raise ValueError where metadata of a whole skeleton has been damaged or lost since."""
    text = read(store, ROOT)
    if text is None:  # it is written last: the skeleton is built again
        return
    consolidated = _parsed(text, ROOT, store).get("consolidated_metadata") or {}
    for key in [f"{name}/{ROOT}" for name in consolidated.get("metadata", ())]:
        _parsed(read(store, key), key, store)


def _parsed(text: bytes | None, key: str, store: Store) -> dict[str, Any]:
    """Return metadata as it was read from a key; ValueError where it is damaged or missing."""
    try:
        found: dict[str, Any] = json.loads(text or b"")
        return found
    except ValueError as error:
        raise mismatch(
            "a hindcast whose metadata is whole",
            f"{key} damaged or missing in {store}",
            "another store, or a copy of this one",
        ) from error


def open_ledger(
    store: Store,
    empty: xr.Dataset,
    record: Mapping[str, str],
    *,
    frames: int,
    chunk: int,
    block: int,
) -> Ledger:
    """Open the ledger of a store; write the skeleton of a hindcast if it isn't there whole.

    `empty` is the answer without its values: variables (init, lead, y, x), coordinates and
    attributes. `record` says what goes into the hindcast, as text that people can compare, `frames`
    how many time steps. `chunk` and `block` are the inits per chunk and per block of a new store;
    one that is there keeps its own.
    """
    if read(store, ROOT) is None:
        with explain_full_disk(store, "no init is there yet"):
            _write_skeleton(store, empty, record, frames, chunk, block)
    names = [name for name in _large(empty) if read(store, f"{name}/{ROOT}") is not None]
    ledger = load_ledger(store, names)
    ledger.take_lost_for_missing()
    return ledger


def load_ledger(store: Store, names: Sequence[str], mode: Literal["r", "r+"] = "r+") -> Ledger:
    """Open the ledger of a store whose skeleton is there, with its arrays of these names."""
    with zarr.config.set({"array.write_empty_chunks": True}):  # a chunk that isn't there is lost
        *values, log, frame_log = (
            zarr.open_array(store, path=path, mode=mode, zarr_format=3)
            for path in (*names, STATUS, DIGESTS)
        )
    status, digests = (CachedArray(array, _read_readable(array)) for array in (log, frame_log))
    return Ledger(store, values, status, digests)


def _write_skeleton(
    store: Store, empty: xr.Dataset, record: Mapping[str, str], frames: int, chunk: int, block: int
) -> None:
    """Make the skeleton in memory and copy it: the record first, the root's metadata last.

    A store without the root's metadata is no Zarr group yet, and is built again.
    """
    memory = MemoryStore()
    count = empty.sizes["init"]
    separator = "/" if is_session(store) else "."  # the latter: one file per init, flat
    bare = with_grid_mapping(empty).assign_attrs(incomplete=incomplete(0, count, {}))
    encoding = unfilled(bare)
    small = [name for name in empty.coords if name not in _large(empty)]
    bare = bare.assign_coords(bare.coords.to_dataset()[small].compute().coords)
    for name in _large(empty):
        variable = bare[name].variable
        encoding[name] = {
            "chunks": (chunk, *variable.shape[1:]),
            "fill_value": np.nan,
            "compressors": (ZstdCodec(), Crc32cCodec()),  # a damaged chunk is an error when read
            "chunk_key_encoding": {"name": "default", "separator": separator},
        }
        bare[name] = variable.chunk({"init": chunk} | dict.fromkeys(variable.dims[1:], -1))
    bare.to_zarr(memory, compute=False, zarr_format=3, consolidated=False, encoding=encoding)
    log = zarr.open_group(memory, mode="r+").create_group(LOG, attributes=dict(record))
    for path, dim, size, part, dtype, attrs in (
        (STATUS, "init", count, block, "uint8", STATUS_ATTRS),
        (DIGESTS, "time", frames, min(frames, FRAMES_PER_CHUNK), "uint64", DIGEST_ATTRS),
    ):
        log.create_array(
            path.removeprefix(f"{LOG}/"),
            shape=(size,),
            chunks=(part,),
            dtype=dtype,
            compressors=None,
            fill_value=0,  # MISSING, NO_DIGEST
            dimension_names=[dim],
            attributes=attrs,
        )
    consolidate(memory)
    first = [LOG_ROOT, *(key for key in keys(memory) if key not in (LOG_ROOT, ROOT))]
    for key in first:
        write(store, key, read(memory, key) or b"")
    flush(store, first)
    write(store, ROOT, read(memory, ROOT) or b"")


def _large(empty: xr.Dataset) -> list[str]:
    """Return the names of what is written block by block: variables, then coordinates of pixels."""
    pixels = [name for name, c in empty.coords.items() if "init" in c.dims and c.ndim > 2]
    return [str(name) for name in (*empty.data_vars, *pixels)]


def consolidate(memory: Store) -> None:
    """Put the metadata of all arrays into the root's, which readers then open at once."""
    with ignored("Consolidated metadata"):  # not in the specification yet
        zarr.consolidate_metadata(memory)


def _read_readable(array: zarr.Array) -> np.ndarray:
    """Read an array, with 0 for chunks that can't be read, as after a loss of power."""
    unreadable = ValueError, RuntimeError
    with suppress(*unreadable):
        return np.asarray(array[:])
    values = np.zeros(array.shape, array.dtype)
    for start in range(0, values.size, array.chunks[0]):
        chunk = slice(start, start + array.chunks[0])
        with suppress(*unreadable):
            values[chunk] = array[chunk]
    return values


# --- digests, by which data is compared without being kept


def digest(parts: Iterable[object]) -> str:
    """Return a short hash of texts and arrays; byte order and the kind of NaN don't count."""
    hashed = hashlib.blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            values = np.ascontiguousarray(part, part.dtype.newbyteorder("="))
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
            hashed.update(f"|{values.shape}".encode() + values.tobytes())
        else:
            text = part.tolist() if isinstance(part, np.ndarray) else part
            hashed.update(f"|{text}".encode())
    return hashed.hexdigest()


def frame_digests(data: Sequence[xr.DataArray], time: str) -> np.ndarray:
    """Return one number per time step for its values, never 0 (which says "not used")."""
    frames = zip(*(da.transpose(time, ...).values for da in data), strict=True)
    return np.array([int(digest(of_all)[:16], 16) or 1 for of_all in frames], np.uint64)
