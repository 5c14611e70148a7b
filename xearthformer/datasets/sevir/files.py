"""SEVIR's HDF5 files: what is in one, and arrays that read an event when they are asked for it.

A file holds (event, y, x, time); what is given is (event, time, y, x). HDF5 is opened and read
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
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from xarray.backends import BackendArray, CachingFileManager
from xarray.backends.locks import HDF5_LOCK
from xarray.core import indexing

from ...errors import mismatch
from ..local import is_remote

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

NAME = re.compile(r"SEVIR_([A-Z0-9]+)_[A-Z]+_\d{4}_\d{4}_\d{4}\.h5$")
ID = re.compile(r"[RS]\d+")
BLOCK = 2**16  # bytes read ahead of a remote file: its head is small, an event is read whole
FRAMES = np.arange(-120, 121, 5)  # minutes from the event's time_utc, nominal
LOW_RESOLUTION = 128, 128, 25  # an event of vil in SEVIR-LR: y, x, time


@dataclass(frozen=True)
class Sensor:
    """How a sensor lies in its files: numbers, pixels along a side, CF attributes to decode by."""

    dtype: str
    size: int
    attrs: Mapping[str, Any]


SENSORS = {
    "vil": Sensor(
        "uint8",
        384,
        {
            "long_name": "vertically integrated liquid, on SEVIR's byte scale",
            "units": "1",
            "comment": "xearthformer.vil_to_kg_m2 converts it to kg m-2",
            "_FillValue": np.uint8(255),
        },
    ),
    "ir069": Sensor(
        "int16",
        192,
        {
            "standard_name": "toa_brightness_temperature",
            "long_name": "GOES-16 brightness temperature at 6.9 um (band 9, water vapour)",
            "units": "degC",
            "scale_factor": np.float32(1e-2),
        },
    ),
    "ir107": Sensor(
        "int16",
        192,
        {
            "standard_name": "toa_brightness_temperature",
            "long_name": "GOES-16 brightness temperature at 10.7 um (band 13, window)",
            "units": "degC",
            "scale_factor": np.float32(1e-2),
        },
    ),
    "vis": Sensor(
        "int16",
        768,
        {
            "standard_name": "toa_bidirectional_reflectance",
            "long_name": "GOES-16 reflectance at 0.64 um (band 2, visible)",
            "units": "1",
            "scale_factor": np.float32(1e-4),
        },
    ),
    "lght": Sensor(
        "int16",
        48,
        {
            "long_name": "lightning flashes in the 5 minutes up to the frame (GOES-16 GLM)",
            "units": "1",
            "comment": "the first frame repeats the second",
            "cell_methods": "time: sum",
        },
    ),
}


def options_of(address: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What fsspec is to be told: what was given; without, S3 is read anonymously."""
    if given is not None:
        return dict(given)
    if "s3://" not in address:
        return {}
    return {"s3": {"anon": True}} if "::" in address else {"anon": True}


# --- one file


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds.

    Attributes
    ----------
    sensor : str
    size, frames : int
        Pixels along a side, and frames of an event.
    events : int
    ids : array of str (events,), or None
        None for SEVIR-LR, whose files leave them to the catalogue.
    """

    sensor: str
    size: int
    frames: int
    events: int
    ids: np.ndarray | None


def _look(file: h5py.File, name: str) -> Contents:
    """The contents of an open file."""
    keys = list(file)
    known = NAME.search(name)
    sensor = known[1].lower() if known else next((s for s in SENSORS if s in keys), None)
    if sensor is None and keys and all(map(ID.fullmatch, keys)):
        sensor = "lght"
    if sensor == "lght":
        return Contents("lght", SENSORS["lght"].size, FRAMES.size, len(keys), np.array(keys))
    if sensor not in SENSORS or sensor not in keys:
        raise mismatch(
            f"a dataset {sensor if sensor in SENSORS else ' or '.join(SENSORS)}: {name}",
            f"the datasets {', '.join(map(repr, keys[:5])) or 'none'}",
            "downloading it once more, or the engine that the file is for",
        )
    wanted = SENSORS[sensor].size, SENSORS[sensor].size, FRAMES.size
    found: tuple[int, ...] = getattr(file[sensor], "shape", None) or ()
    low = sensor == "vil" and found[1:] == LOW_RESOLUTION
    if not low and (found[1:] != wanted or file[sensor].dtype != SENSORS[sensor].dtype):
        raise mismatch(
            f"{sensor} (event, {', '.join(map(str, wanted))}), {SENSORS[sensor].dtype}: {name}",
            f"{found}, {getattr(file[sensor], 'dtype', 'a group')}",
            "downloading it once more",
        )
    events, size, _, frames = found
    ids = _ids(file, events, name) if "id" in file or not low else None
    return Contents(sensor, size, frames, events, ids)


def _ids(file: h5py.File, events: int, name: str) -> np.ndarray:
    if "id" not in file or file["id"].shape != (events,):
        found = f"one of shape {file['id'].shape}" if "id" in file else f"only {', '.join(file)}"
        raise mismatch(f"a dataset id ({events},): {name}", found, "downloading it once more")
    return np.char.decode(file["id"][:].astype(bytes), "ascii")


@dataclass(frozen=True)
class _Opener:
    """Opens a file, anew in another process too; equal openers share an open file."""

    address: Any
    options: Mapping[str, Any] = field(hash=False)

    def __call__(self, mode: str) -> h5py.File:
        import h5py

        if isinstance(self.address, str) and not is_remote(self.address):
            return h5py.File(self.address, mode)
        source = self.address
        if isinstance(source, str):
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]

            system, path = url_to_fs(source, **self.options)
            source = system.open(path, block_size=BLOCK, cache_type="readahead")
        file = h5py.File(source, mode)
        _READ_BY_PYTHON.add(file)
        return file


# HDF5 closes at exit what is still open, and a file that Python reads for it by then crashes it.
_READ_BY_PYTHON: WeakSet[Any] = WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for file in list(_READ_BY_PYTHON):
        file.close()


class File:
    """A SEVIR file, opened when it is read; one object serves threads, and can be pickled.

    Parameters
    ----------
    file : path, URL that fsspec knows, or a binary file object
    storage_options : mapping, optional
        For fsspec.
    """

    def __init__(self, file: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        if isinstance(file, str | os.PathLike):
            file = os.fspath(file)
            file = file.removeprefix("file://")
            self.name: str = file
            options = options_of(file, storage_options)
        else:
            name = getattr(file, "path", None) or getattr(file, "name", None) or repr(file)
            self.name, options = str(name), {}
        self._manager = CachingFileManager(_Opener(file, options), mode="r", lock=HDF5_LOCK)

    @contextmanager
    def _open(self, what: str = "") -> Iterator[h5py.File]:
        """The open file, under the lock; `what` is read of it stands in the errors."""
        with HDF5_LOCK:
            try:
                with self._manager.acquire_context(needs_lock=False) as file:
                    yield file
            except FileNotFoundError as error:
                raise FileNotFoundError(f"there is no file {self.name}") from error
            except PermissionError as error:
                mend = "storage_options={...} with credentials, if the address needs them"
                told = mismatch(f"a file to read: {self.name}", str(error), mend)
                raise PermissionError(str(told)) from error
            except (OSError, RuntimeError, KeyError) as error:  # what h5py makes of damage
                mend = "another copy of it or, if it is remote, the connection"
                told = mismatch(f"a whole HDF5 file: {self.name}{what}", str(error), mend)
                raise OSError(str(told)) from error

    def read(self, dataset: str, key: Any, event: Any) -> np.ndarray:
        """Part of a dataset; the event it belongs to stands in the errors.

        Raises
        ------
        OSError
            Damaged, cut short, or no HDF5; FileNotFoundError if it isn't there. The file is named.
        """
        with self._open(f", event {event}") as file:
            return file[dataset][key]

    def close(self) -> None:
        self._manager.close()

    @cached_property
    def contents(self) -> Contents:
        """What the file holds, by its names, shapes and ids.

        Raises
        ------
        OSError
            As `read`.
        ValueError
            No SEVIR file: a dataset is missing, or of another shape.
        """
        with self._open() as file:
            return _look(file, self.name)


# --- arrays of events


class EventArray(BackendArray, ABC):
    """An array (event, ..., y, x), made event by event when it is indexed.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def event(self, i: int, rows: slice) -> np.ndarray:
        """One event, whole but for its rows: (..., rows, x)."""

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        places = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        out = np.empty([place.size for place in places], self.dtype)
        events, *within = places
        if out.size:
            rows = slice(int(within[-2].min()), int(within[-2].max()) + 1)
            within[-2] = within[-2] - rows.start
            for i, event in enumerate(events.tolist()):
                values = self.event(event, rows)
                for axis, place in enumerate(within):
                    values = _take(values, place, axis)
                out[i] = values
        return out[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]


def _take(values: np.ndarray, place: np.ndarray, axis: int) -> np.ndarray:
    """`values` at places along an axis: a view of them where all are wanted."""
    every = place.size == values.shape[axis] and (np.diff(place) == 1).all()
    return values if every else np.take(values, place, axis)


class Rasters(EventArray):
    """Frames of a sensor, raw, (event, time, y, x): one contiguous read an event.

    Parameters
    ----------
    files : sequence of File
        All of one sensor and of one size.
    file, row : int array (event,)
        The file that holds each event, and where in it.
    """

    def __init__(self, files: Sequence[File], file: np.ndarray, row: np.ndarray) -> None:
        first = files[0].contents
        self.files, self.file, self.row, self.name = files, file, row, first.sensor
        shape = row.size, first.frames, first.size, first.size
        super().__init__(shape, SENSORS[self.name].dtype)

    def event(self, i: int, rows: slice) -> np.ndarray:
        row = int(self.row[i])
        values = self.files[self.file[i]].read(self.name, (row, rows), row)
        return np.moveaxis(values, -1, 0)


class Flashes(EventArray):
    """Counts of lightning flashes (event, time, y, x), from a table of flashes an event.

    Parameters
    ----------
    files : sequence of File
    file : int array (event,)
        The file that holds each event.
    ids : sequence of str (event,)
        And the dataset in it.
    """

    def __init__(self, files: Sequence[File], file: np.ndarray, ids: Sequence[str]) -> None:
        sensor = SENSORS["lght"]
        self.files, self.file, self.ids = files, file, list(ids)
        super().__init__((len(self.ids), FRAMES.size, sensor.size, sensor.size), sensor.dtype)

    def event(self, i: int, rows: slice) -> np.ndarray:
        file = self.files[self.file[i]]
        flashes = file.read(self.ids[i], (), self.ids[i])
        if flashes.size and (flashes.ndim != 2 or flashes.shape[1] != 5):
            raise mismatch(
                f"flashes (n, 5) of event {self.ids[i]}: {file.name}",
                str(flashes.shape),
                "downloading it once more",
            )
        return count_flashes(flashes.reshape(-1, 5))[:, rows]


def count_flashes(flashes: np.ndarray) -> np.ndarray:
    """Flashes on the 48 x 48 grid: int16 (49, y, x).

    Frame k counts start <= t < end of the five minutes up to its nominal time, and frame 0 repeats
    frame 1; what lies outside these four hours, or outside the grid, counts nowhere.

    Parameters
    ----------
    flashes : array (n, 5)
        Seconds from the event's time_utc, latitude, longitude, column X, row Y.

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
    np.add.at(counts, (frame[inside], y[inside], x[inside]), 1)
    counts[0] = counts[1]
    return counts
