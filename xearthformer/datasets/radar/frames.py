"""Frames of radar composites in HDF5: read when they are indexed, their codes turned to values.

A code is a value times `gain` plus `offset`, or says that a pixel was not seen, or that nothing
was detected there. HDF5 is opened and read under xarray's own lock, one call at a time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from xarray.backends import CachingFileManager
from xarray.backends.locks import HDF5_LOCK
from xarray.core import indexing

from ...errors import mismatch
from ...fields.quantities import RAIN, RAIN_AMOUNT, RAIN_UNITS, REFLECTIVITY
from ..sevir.files import EventArray

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

# Names and attributes of what composites hold, by unit. Nothing detected is no rain; of
# reflectivity it is no power, and 10 log10 0 is -inf: neither NaN (not seen) nor a small rain.
RATE = {"standard_name": RAIN, "long_name": "radar rain rate", "units": RAIN_UNITS}
ACCUMULATION = {"standard_name": RAIN_AMOUNT, "long_name": "radar rain amount", "units": "mm"}
DBZ = {
    "standard_name": REFLECTIVITY,
    "long_name": "radar reflectivity",
    "units": "dBZ",
    "comment": "-inf where nothing was detected, NaN where nothing was seen",
}


@dataclass(frozen=True)
class Frame:
    """Where a frame lies in its file, and what its codes mean."""

    path: str
    gain: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()  # codes of pixels that were not seen
    undetected: float | None = None  # the code of pixels where nothing was detected
    nothing: float = 0.0  # the value of those

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of codes, float32.

        >>> Frame("", 0.5, -32, missing=(255,), undetected=0, nothing=-np.inf).decode(
        ...     np.array([0, 1, 255], "u1")
        ... )
        array([ -inf, -31.5,   nan], dtype=float32)
        """
        if codes.dtype.kind == "u" and codes.dtype.itemsize <= 2 and codes.size > 2**16:
            # each code once: a large composite is a look-up, without arrays of 64 bits
            return self.decode(np.arange(2 ** (8 * codes.dtype.itemsize), dtype=codes.dtype))[codes]
        values = codes * np.float64(self.gain) + self.offset
        if self.undetected is not None:
            values[_equal(codes, self.undetected)] = self.nothing
        for code in self.missing:  # last: a code for both is not seen
            values[_equal(codes, code)] = np.nan
        return values.astype(np.float32)


def _equal(codes: np.ndarray, code: float) -> np.ndarray:
    # a code such as -9999.99 is in the file's own precision
    return (
        np.isnan(codes)
        if np.isnan(code)
        else codes == (codes.dtype.type(code) if codes.dtype.kind == "f" else code)
    )


class Reader:
    """A file that is opened when it is read; one object serves threads, and can be pickled."""

    def __init__(self, path: str) -> None:
        import h5py

        self.path = path
        self._manager = CachingFileManager(h5py.File, path, mode="r", lock=HDF5_LOCK)

    def read(self, dataset: str, rows: slice) -> np.ndarray:
        """Read rows of a dataset; the error for a damaged file names it."""
        # needs_lock=False: the lock is not re-entrant, and this thread has it already
        opened = self._manager.acquire_context(needs_lock=False)
        with HDF5_LOCK, _named(self.path), opened as file:
            return file[dataset][rows]

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._manager.close()


class Frames(EventArray):
    """Frames of one quantity (time, y, x), float32; None where the file lacks one: NaN."""

    def __init__(
        self, reader: Reader, frames: Sequence[Frame | None], shape: tuple[int, int]
    ) -> None:
        self.reader, self.frames = reader, list(frames)
        super().__init__((len(self.frames), *shape), np.float32)

    def event(self, i: int, rows: slice) -> np.ndarray:
        """Return one frame, some of its rows (rows, x)."""
        frame = self.frames[i]
        if frame is None:
            return np.full((rows.stop - rows.start, self.shape[-1]), np.nan, np.float32)
        return frame.decode(self.reader.read(frame.path, rows))


@contextmanager
def open_hdf5(path: str) -> Iterator[h5py.File]:
    """Open a file to read what it holds; the error for a damaged one names it."""
    import h5py

    with HDF5_LOCK, _named(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the file in h5py's errors for one that is damaged or isn't there."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    except (OSError, RuntimeError, KeyError) as error:
        words = mismatch(f"a whole HDF5 file: {path}", str(error), "another copy of it")
        raise OSError(str(words)) from error


def local_path(filename_or_obj: object) -> str:
    """Return the path of a local file as text."""
    if not isinstance(filename_or_obj, str | os.PathLike):
        found = type(filename_or_obj).__name__
        raise mismatch("the path of a file", found, "its path, as a string")
    return os.path.abspath(os.path.expanduser(os.fspath(filename_or_obj)))


def attributes(group: h5py.Group, name: str = "") -> dict[str, str | float]:
    """Return the attributes of a group, or of a group in it, as text and numbers; {} if absent."""
    if name and name not in group:
        return {}
    found = (group[name] if name else group).attrs
    return {key: value for key in found if (value := _plain(found[key])) is not None}


def numbered(group: h5py.Group, stem: str) -> list[str]:
    """Return the names of groups data1, data2, ..., data10 in the order of their numbers."""
    found = [name for name in group if re.fullmatch(rf"{stem}\d+", name)]
    return sorted(found, key=lambda name: int(name.removeprefix(stem)))


def _plain(value: object) -> str | float | None:
    """Return an attribute as text or a number: services write bytes, and arrays of one."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return None
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip("\x00 ")
    return float(value) if isinstance(value, int | float | np.number) else None


def variable(frames: Frames, dims: tuple[str, str], attrs: dict[str, object]) -> xr.Variable:
    """Return frames as a lazy variable, one chunk for each time."""
    lazy = xr.Variable(("time", *dims), indexing.LazilyIndexedArray(frames), attrs)
    lazy.encoding["preferred_chunks"] = {"time": 1}  # a frame is one dataset in the file
    return lazy


def closable(
    ds: xr.Dataset, reader: Reader, drop_variables: str | Iterable[str] | None
) -> xr.Dataset:
    """Return a Dataset without some variables, which closes the reader of its file with it."""
    dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
    kept = ds.drop_vars(dropped, errors="ignore")
    kept.set_close(reader.close)
    return kept
