"""The store of a hindcast: its skeleton, what it was made from, which inits it holds.

Beside the forecast, in the Zarr group `hindcast_log`, stand the record of what goes into it (the
group's attributes), a digest of every frame of data that went into what is done, and the markers:
`status(init)`, one byte an init, one chunk a block. Everything is written in an order that a
process may be killed in: the root's metadata last of the skeleton, a block's marker after its data
has reached the disk.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ..errors import mismatch
from .stores import keys, read, room, settle, write

LOG = "hindcast_log"
ROOT, LOG_ROOT = "zarr.json", f"{LOG}/zarr.json"
STATUS, DIGESTS = f"{LOG}/status", f"{LOG}/digest"
LOCK = f"{STATUS}/lock"  # in an array's folder: no reader of groups comes across it
MISSING, DONE, FAILED = 0, 1, 2
FLAGS: dict[str, Any] = {
    "long_name": "whether an init's forecast is in the store",
    "flag_values": [MISSING, DONE, FAILED],
    "flag_meanings": "missing done failed",
}
UNKNOWN = 0  # the digest of a frame that nothing was made from yet
FRAMES: dict[str, Any] = {"long_name": "digest of the data of a time step, 0 where it wasn't used"}
FRAMES_PER_CHUNK = 4096
SHOWN = 20  # errors told in the store's attributes


@dataclass(frozen=True)
class Table:
    """A small array in memory, of which every change is written, in whole chunks."""

    array: zarr.Array
    values: np.ndarray

    def set(self, where: np.ndarray, values: Any) -> None:
        new, size = self.values.copy(), self.array.chunks[0]
        new[where] = values
        for chunk in np.unique(where // size):
            here = slice(chunk * size, (chunk + 1) * size)
            self.array[here] = new[here]
        self.values[where] = values


@dataclass(frozen=True)
class Ledger:
    """What a hindcast's store holds, and the one way to write to it.

    Attributes
    ----------
    store : Store
    values : zarr.Array (init, lead, y, x)
        In chunks of one or more inits.
    status : Table (init,)
        MISSING, DONE or FAILED; a chunk is a block, and holds whole chunks of `values`.
    digests : Table (time,)
        Of the frames that went into what is done.
    errors : dict
        What went wrong in this run, by init.
    """

    store: Store
    values: zarr.Array
    status: Table
    digests: Table
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def chunk(self) -> int:
        """Inits a chunk."""
        return int(self.values.chunks[0])

    @property
    def count(self) -> int:
        """Inits, in all."""
        return self.status.values.size

    @property
    def done(self) -> int:
        """Inits that are there."""
        return int((self.status.values == DONE).sum())

    def missing(self) -> list[np.ndarray]:
        """Positions of the inits to forecast, block by block, in whole chunks."""
        every, block = np.arange(self.count), self.status.array.chunks[0]
        lacking = np.unique(np.flatnonzero(self.status.values != DONE) // self.chunk)
        wanted = every[np.isin(every // self.chunk, lacking)]
        return np.split(wanted, np.flatnonzero(np.diff(wanted // block)) + 1) if wanted.size else []

    def chunks_of(self, which: np.ndarray) -> list[np.ndarray]:
        """The same positions, chunk by chunk."""
        return np.split(which, np.flatnonzero(np.diff(which // self.chunk)) + 1)

    def save(
        self, which: np.ndarray, values: np.ndarray, frames: np.ndarray, digests: np.ndarray
    ) -> None:
        """Forecasts into their chunks, on to the disk, and only then the marker.

        Parameters
        ----------
        which : int array
            Positions of the inits, whole chunks of them.
        values : array (init, lead, y, x)
        frames, digests : int array, uint64 array
            Positions of the time steps that they were made from, and their digests.
        """
        with self._room():
            ends = np.flatnonzero(np.diff(which) != 1) + 1
            for inits, part in zip(np.split(which, ends), np.split(values, ends), strict=True):
                self.values[inits[0] : inits[-1] + 1] = part
            settle(self.store, self._keys(which))
            self.digests.set(frames, digests)
            self.status.set(which, DONE)

    def fail(self, which: np.ndarray, labels: Iterable[str], error: str) -> None:
        """Note inits that couldn't be forecast; the next call tries them again."""
        with self._room():
            self.status.set(which, FAILED)
            self.errors.update(dict.fromkeys(labels, error))
        self.sum_up()

    def sum_up(self) -> None:
        """Say in the root's attribute `incomplete` what the store lacks; nothing when it is whole.

        Metadata and consolidated metadata are one key in Zarr format 3: it is replaced at once.
        """
        meta = json.loads(read(self.store, ROOT) or b"{}")
        attributes = {k: v for k, v in meta["attributes"].items() if k != "incomplete"}
        if self.done < self.count:
            attributes["incomplete"] = incomplete(self.done, self.count, self.errors)
        if attributes != meta["attributes"]:
            text = json.dumps({**meta, "attributes": attributes}, indent=2)
            with self._room():
                write(self.store, ROOT, text.encode())

    def _room(self) -> AbstractContextManager[None]:
        return room(self.store, f"{self.done} of {self.count} inits are there and stay")

    def _keys(self, which: np.ndarray) -> list[str]:
        rest = (0,) * (self.values.ndim - 1)
        keys = [
            self.values.metadata.encode_chunk_key((int(chunk), *rest))
            for chunk in np.unique(which // self.chunk)
        ]
        return [f"{self.values.path}/{key}" for key in keys]


# --- from nothing, or from where it stopped


def recorded(store: Store) -> dict[str, Any] | None:
    """What a store's hindcast was made from; None where there is none yet.

    Raises
    ------
    ValueError
        The store holds something else.
    """
    text = read(store, LOG_ROOT)
    if text is not None:
        attributes: dict[str, Any] = json.loads(text)["attributes"]
        return attributes
    for key in keys(store):
        if not key.startswith(f"{LOG}/"):
            raise mismatch(
                "an empty store, or one that hindcast made", f"{key} in {store}", "another store"
            )
    return None


def begin(
    store: Store,
    empty: xr.Dataset,
    record: Mapping[str, str],
    *,
    frames: int,
    chunk: int,
    block: int,
) -> Ledger:
    """Write the skeleton of a hindcast, if it isn't there whole, and open its ledger.

    Parameters
    ----------
    store : Store
    empty : Dataset
        The answer without its values: one variable (init, lead, y, x), coordinates, attributes.
    record : mapping
        What goes into the hindcast; all text, so that a difference can be told.
    frames : int
        Time steps that go into it.
    chunk, block : int
        Of a new store; one that is there keeps its own.
    """
    if read(store, ROOT) is None:
        with room(store, "no init is there yet"):
            _build(store, empty, record, frames, chunk, block)
    (name,) = empty.data_vars
    opened = [
        zarr.open_array(store, path=path, mode="r+", zarr_format=3)
        for path in (str(name), STATUS, DIGESTS)
    ]
    values, status, digests = opened
    return Ledger(store, values, Table(status, _all(status)), Table(digests, _all(digests)))


def _build(
    store: Store, empty: xr.Dataset, record: Mapping[str, str], frames: int, chunk: int, block: int
) -> None:
    """The skeleton is made in memory and copied: the record first, the root's metadata last.

    A store without the root's metadata is no Zarr group yet, and is built again.
    """
    memory = MemoryStore()
    (name,) = empty.data_vars
    count, *rest = empty[name].shape
    encoding: dict[str, dict[str, Any]] = {str(c): {"_FillValue": None} for c in empty.coords}
    encoding[str(name)] = {
        "chunks": (chunk, *rest),
        "fill_value": np.nan,
        "chunk_key_encoding": {"name": "default", "separator": "."},  # a file an init, no folders
    }
    bare = empty.drop_encoding().assign_attrs(incomplete=incomplete(0, count, {}))
    bare[name] = bare[name].variable.chunk({"init": chunk} | dict.fromkeys(bare[name].dims[1:], -1))
    bare.to_zarr(memory, compute=False, zarr_format=3, consolidated=False, encoding=encoding)
    log = zarr.open_group(memory, mode="r+").create_group(LOG, attributes=dict(record))
    tables = (
        (STATUS, "init", count, block, "uint8", FLAGS),
        (DIGESTS, "time", frames, min(frames, FRAMES_PER_CHUNK), "uint64", FRAMES),
    )
    for path, dim, size, part, dtype, about in tables:
        log.create_array(
            path.removeprefix(f"{LOG}/"),
            shape=(size,),
            chunks=(part,),
            dtype=dtype,
            compressors=None,
            fill_value=0,
            dimension_names=[dim],
            attributes=about,
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        zarr.consolidate_metadata(memory)
    first = [LOG_ROOT, *(key for key in keys(memory) if key not in (LOG_ROOT, ROOT))]
    for key in first:
        write(store, key, read(memory, key) or b"")
    settle(store, first)
    write(store, ROOT, read(memory, ROOT) or b"")


def _all(array: zarr.Array) -> np.ndarray:
    """A table's values; a chunk that can't be read (a machine that lost its power) says nothing."""
    unreadable = ValueError, RuntimeError
    with suppress(*unreadable):
        return np.asarray(array[:])
    values = np.zeros(array.shape, array.dtype)
    for start in range(0, values.size, array.chunks[0]):
        chunk = slice(start, start + array.chunks[0])
        with suppress(*unreadable):
            values[chunk] = array[chunk]
    return values


def incomplete(done: int, count: int, errors: Mapping[str, str]) -> str:
    """What the attribute `incomplete` of a store says."""
    told = [f"{init}: {error}" for init, error in errors.items()]
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    head = f"{count - done} of {count} inits aren't there yet, and NaN: see status in group {LOG}"
    return "\n".join([head, *told[:SHOWN], *more])


# --- what data is told apart by


def digest(parts: Iterable[Any]) -> str:
    """A short hash of texts and arrays; byte order doesn't count, and one NaN is like another."""
    found = hashlib.blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            values = np.ascontiguousarray(part, part.dtype.newbyteorder("="))
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
            found.update(f"|{values.shape}".encode() + values.tobytes())
        else:
            text = part.tolist() if isinstance(part, np.ndarray) else part
            found.update(f"|{text}".encode())
    return found.hexdigest()


def frame_digests(da: xr.DataArray, time: str) -> np.ndarray:
    """A number for each time step's values, never 0; to the bit, but for the kind of NaN."""
    values = da.transpose(time, ...).values
    return np.array([int(digest([frame])[:16], 16) or 1 for frame in values], np.uint64)
