"""SEVIR's HDF5 files: their contents, and arrays that read an event when it is indexed.

A file holds (event, y, x, time); the arrays are (event, time, y, x). HDF5 is opened and read
under xarray's own lock, one call at a time.
"""

from __future__ import annotations

import atexit
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, TypeAlias
from weakref import WeakSet

import numpy as np
from xarray.backends import BackendArray, CachingFileManager
from xarray.backends.locks import HDF5_LOCK
from xarray.core import indexing

from ...errors import mismatch
from ..local import is_remote

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

FileLike: TypeAlias = str | os.PathLike[str] | BinaryIO
Options: TypeAlias = Mapping[str, object]  # storage_options, for fsspec

NAME = re.compile(r"SEVIR_([A-Z0-9]+)_[A-Z]+_\d{4}_\d{4}_\d{4}\.h5$")
ID = re.compile(r"[RS]\d+")
READ_AHEAD = 2**16  # bytes of a remote file: its head is small, an event is read in one piece
FRAMES = np.arange(-120, 121, 5)  # minutes from the event's time_utc, nominal
LOW_RESOLUTION = 128, 128, 25  # an event of vil in SEVIR-LR: y, x, time
DOWNLOAD = "downloading it once more"


@dataclass(frozen=True)
class Sensor:
    """How a sensor's values are stored: dtype, pixels along a side, CF attributes to decode by."""

    dtype: str
    size: int
    attrs: Mapping[str, object]


TEMPERATURE = {
    "standard_name": "toa_brightness_temperature",
    "units": "degC",
    "scale_factor": np.float32(1e-2),
}
GOES = "GOES-16 brightness temperature at"
ATTRS: dict[str, Mapping[str, object]] = {
    "vil": {
        "long_name": "vertically integrated liquid, on SEVIR's byte scale",
        "units": "1",
        "comment": "xearthformer.vil_to_kg_m2 converts it to kg m-2",
        "_FillValue": np.uint8(255),
    },
    "ir069": {**TEMPERATURE, "long_name": f"{GOES} 6.9 um (band 9, water vapour)"},
    "ir107": {**TEMPERATURE, "long_name": f"{GOES} 10.7 um (band 13, window)"},
    "vis": {
        "standard_name": "toa_bidirectional_reflectance",
        "long_name": "GOES-16 reflectance at 0.64 um (band 2, visible)",
        "units": "1",
        "scale_factor": np.float32(1e-4),
    },
    "lght": {
        "long_name": "lightning flashes in the 5 minutes up to the frame (GOES-16 GLM)",
        "units": "1",
        "comment": "the first frame repeats the second",
        "cell_methods": "time: sum",
    },
}
SENSORS = {
    "vil": Sensor("uint8", 384, ATTRS["vil"]),
    "ir069": Sensor("int16", 192, ATTRS["ir069"]),
    "ir107": Sensor("int16", 192, ATTRS["ir107"]),
    "vis": Sensor("int16", 768, ATTRS["vis"]),
    "lght": Sensor("int16", 48, ATTRS["lght"]),
}


def options_of(address: str, options: Options | None) -> dict[str, object]:
    """Return the options for fsspec; by default S3 is read anonymously."""
    if options is not None:
        return dict(options)
    if "s3://" not in address:
        return {}
    # a chain such as simplecache::s3:// takes the options of each protocol by its name
    return {"s3": {"anon": True}} if "::" in address else {"anon": True}


# --- one file


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, without its values."""

    sensor: str
    size: int  # pixels along a side
    frames: int  # per event
    events: int
    ids: np.ndarray | None  # str (events,); None for SEVIR-LR, whose catalogue alone has them


def read_contents(file: h5py.File, name: str) -> Contents:
    """Return the contents of an open file, after a check of its datasets and shapes."""
    keys = list(file)
    match = NAME.search(name)
    sensor = match[1].lower() if match else next((s for s in SENSORS if s in keys), None)
    if sensor is None and keys and all(map(ID.fullmatch, keys)):
        sensor = "lght"  # a renamed file: one dataset per event tells lightning from the rasters
    if sensor == "lght":
        return Contents("lght", SENSORS["lght"].size, FRAMES.size, len(keys), np.array(keys))
    if sensor not in SENSORS or sensor not in keys:
        raise mismatch(
            f"a dataset {sensor if sensor in SENSORS else ' or '.join(SENSORS)}: {name}",
            f"the datasets {', '.join(map(repr, keys[:5])) or 'none'}",
            f"the engine that the file is for, or {DOWNLOAD}",
        )
    dtype, full = SENSORS[sensor].dtype, (SENSORS[sensor].size, SENSORS[sensor].size, FRAMES.size)
    shape: tuple[int, ...] = getattr(file[sensor], "shape", None) or ()
    low = sensor == "vil" and shape[1:] == LOW_RESOLUTION
    if not low and (shape[1:] != full or file[sensor].dtype != dtype):
        raise mismatch(
            f"{sensor} (event, {', '.join(map(str, full))}), {dtype}: {name}",
            f"{shape}, {getattr(file[sensor], 'dtype', 'a group')}",
            DOWNLOAD,
        )
    events, size, _, frames = shape
    if low and "id" not in file:
        return Contents(sensor, size, frames, events, None)
    if "id" not in file or file["id"].shape != (events,):
        found = f"one of shape {file['id'].shape}" if "id" in file else f"only {', '.join(file)}"
        raise mismatch(f"a dataset id ({events},): {name}", found, DOWNLOAD)
    ids = np.char.decode(file["id"][:].astype(bytes), "ascii")
    return Contents(sensor, size, frames, events, ids)


@dataclass(frozen=True)
class _Opener:
    """Opens a file, in another process too; xarray shares one open file among equal openers."""

    address: str | BinaryIO
    options: Options = field(hash=False)

    def __call__(self, mode: str) -> h5py.File:
        import h5py

        source = self.address
        if isinstance(source, str):
            if not is_remote(source):
                return h5py.File(source, mode)
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]

            system, path = url_to_fs(source, **self.options)
            source = system.open(path, block_size=READ_AHEAD, cache_type="readahead")
        file = h5py.File(source, mode)
        _READ_BY_PYTHON.add(file)
        return file


# At exit HDF5 closes the files that are still open. One that it reads through a Python object
# crashes then, as Python is gone already: such files are closed before.
_READ_BY_PYTHON: WeakSet[h5py.File] = WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for file in list(_READ_BY_PYTHON):
        file.close()


class File:
    """A SEVIR file, opened when it is read; one object serves threads, and can be pickled.

    `file` is a path, a URL that fsspec knows (with `storage_options`), or a binary file object.
    """

    def __init__(self, file: FileLike, storage_options: Options | None = None) -> None:
        options: Options = {}
        if isinstance(file, str | os.PathLike):
            file = os.fspath(file).removeprefix("file://")
            self.name: str = file
            options = options_of(file, storage_options)
        else:
            self.name = str(getattr(file, "path", None) or getattr(file, "name", None) or file)
        self._manager = CachingFileManager(_Opener(file, options), mode="r", lock=HDF5_LOCK)

    @contextmanager
    def _open(self, what: str = "") -> Iterator[h5py.File]:
        """Give the open file, under the lock; errors name the file and `what` is read of it."""
        with HDF5_LOCK:
            try:
                # the lock is not re-entrant, and this thread has it already
                with self._manager.acquire_context(needs_lock=False) as file:
                    yield file
            except FileNotFoundError as error:
                raise FileNotFoundError(f"there is no file {self.name}") from error
            except PermissionError as error:
                hint = "storage_options={...} with credentials, if the address needs them"
                words = mismatch(f"a file to read: {self.name}", str(error), hint)
                raise PermissionError(str(words)) from error
            except (OSError, RuntimeError, KeyError) as error:  # h5py's errors for damaged files
                hint = "another copy of it or, if it is remote, the connection"
                words = mismatch(f"a whole HDF5 file: {self.name}{what}", str(error), hint)
                raise OSError(str(words)) from error

    def read(self, dataset: str, key: tuple[int | slice, ...], event: int | str) -> np.ndarray:
        """Read part of a dataset; the error for a damaged file names the file and the event."""
        with self._open(f", event {event}") as file:
            return file[dataset][key]

    def close(self) -> None:
        self._manager.close()

    @cached_property
    def contents(self) -> Contents:
        """The contents of the file; errors as of `read`, and ValueError if it is no SEVIR file."""
        with self._open() as file:
            return read_contents(file, self.name)


# --- arrays of events


class EventArray(BackendArray, ABC):
    """An array (event, ..., y, x) that is read or computed one event at a time, when indexed."""

    def __init__(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def event(self, i: int, rows: slice) -> np.ndarray:
        """Return one event, some of its rows: (..., rows, x)."""

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)

    def _read(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        places = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        out = np.empty([place.size for place in places], self.dtype)
        events, *within = places
        if out.size:
            # only rows are read in part: they are contiguous in the file, columns are not
            rows = slice(int(within[-2].min()), int(within[-2].max()) + 1)
            within[-2] = within[-2] - rows.start
            for i, event in enumerate(events.tolist()):
                values = self.event(event, rows)
                for axis, place in enumerate(within):
                    whole = place.size == values.shape[axis] and (np.diff(place) == 1).all()
                    values = values if whole else np.take(values, place, axis)
                out[i] = values
        # a whole number in the key drops its dim
        return out[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]


class Rasters(EventArray):
    """Raw frames of a sensor (event, time, y, x); one contiguous read per event.

    The files are of one sensor and one size. `file` (event,) is the number of the file that holds
    each event, `row` (event,) the event's place in it.
    """

    def __init__(self, files: Sequence[File], file: np.ndarray, row: np.ndarray) -> None:
        first = files[0].contents
        self.files, self.file, self.row, self.name = files, file, row, first.sensor
        shape = row.size, first.frames, first.size, first.size
        super().__init__(shape, SENSORS[self.name].dtype)

    def event(self, i: int, rows: slice) -> np.ndarray:
        row = int(self.row[i])
        values = self.files[self.file[i]].read(self.name, (row, rows), row)  # (rows, x, time)
        return np.moveaxis(values, -1, 0)


class Flashes(EventArray):
    """Counts of lightning flashes (event, time, y, x), from one list of flashes per event.

    `file` (event,) is the number of the file that holds each event, `ids` (event,) the name of the
    event's dataset in it.
    """

    def __init__(self, files: Sequence[File], file: np.ndarray, ids: Sequence[str]) -> None:
        sensor = SENSORS["lght"]
        self.files, self.file, self.ids = files, file, list(ids)
        super().__init__((len(self.ids), FRAMES.size, sensor.size, sensor.size), sensor.dtype)

    def event(self, i: int, rows: slice) -> np.ndarray:
        file = self.files[self.file[i]]
        flashes = file.read(self.ids[i], (), self.ids[i])
        # an event without flashes has an empty dataset of any shape
        if flashes.size and (flashes.ndim != 2 or flashes.shape[1] != 5):
            expected = f"flashes (n, 5) of event {self.ids[i]}: {file.name}"
            raise mismatch(expected, str(flashes.shape), DOWNLOAD)
        return count_flashes(flashes.reshape(-1, 5))[:, rows]


def count_flashes(flashes: np.ndarray) -> np.ndarray:
    """Count flashes on the grid of 48 x 48 pixels: int16 (49, y, x).

    A flash is a row of seconds from the event's time_utc, latitude, longitude, column X, row Y.
    Frame k counts start <= t < end of the five minutes up to its nominal time, and frame 0 repeats
    frame 1; flashes outside these four hours, or outside the grid, are not counted.

    Examples
    --------
    Two flashes, 119 minutes before the event's time, and one outside the grid:

    >>> counts = count_flashes(np.array([[-7140, 0, 0, 3.5, 2.0]] * 2 + [[0, 0, 0, 48, 2]]))
    >>> counts[:3, 2, 3], int(counts[2:].sum())
    (array([2, 2, 0], dtype=int16), 0)
    """
    size = SENSORS["lght"].size
    frame = np.digitize(flashes[:, 0], FRAMES * 60)
    x, y = np.floor(flashes[:, 3]).astype(int), np.floor(flashes[:, 4]).astype(int)
    inside = (frame > 0) & (frame < FRAMES.size) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
    counts = np.zeros((FRAMES.size, size, size), np.int16)
    # unlike counts[...] += 1, add.at counts several flashes of one pixel and frame
    np.add.at(counts, (frame[inside], y[inside], x[inside]), 1)
    counts[0] = counts[1]
    return counts
