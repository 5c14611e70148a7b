"""Files of radar composites, told apart by their content, and folders of them as one record."""

from __future__ import annotations

import bz2
import fnmatch
import glob
import gzip
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...errors import mismatch
from ...fields.time_axis import str_time
from ..local import holds_zarr, is_remote, open_file
from .call import Call, Paths
from .frames import attributes, open_hdf5
from .grib import open_grib
from .knmi import KnmiBackendEntrypoint, is_knmi
from .labels import with_labels
from .odim import OdimCompositeBackendEntrypoint, is_odim
from .radolan import HEADER, open_radolan
from .rain import find_rain, units_of

HDF5, NETCDF3, GRIB = b"\x89HDF\r\n\x1a\n", b"CDF", b"GRIB"
PACKED: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
# What lies in folders next to the files of radars: half-written ones, indexes, notes.
NO_FILES = re.compile(r"\.|.*\.(tmp|part|partial|writing|idx|xml|md5|txt|md|json|png|gif)$", re.I)
NAMED = 4  # files that an error names before it counts the rest


def open_paths(data: Paths, call: Call) -> xr.Dataset:
    """Open a file, or several of one product in the order of their times."""
    paths = _files(data)
    if not paths:
        raise mismatch(
            "files of radar data", "an empty list", "the path of their folder, or of one of them"
        )
    if len(paths) == 1:
        try:
            return open_one(paths[0])
        except ImportError:
            raise
        except Exception as error:  # whatever a library raises on a file that is damaged
            if isinstance(error, FileNotFoundError) or paths[0] in str(error):
                raise
            if str(error).startswith("expected"):  # and says what to type
                raise ValueError(f"{error}\n      in {paths[0]}") from error
            words = f"{paths[0]}: {_reason(error, paths[0])}"
            raise mismatch("a whole file of radar data", words, "another copy of it") from error
    good, bad = _opened(paths, call)
    good, unlike = _of_one_product(good)
    good, twice = _in_order(good)
    bad = {**bad, **unlike, **twice}
    if bad:
        folder = os.path.dirname(os.path.commonprefix([f"{path}" for path in paths]))
        short = {os.path.relpath(path, folder or "."): why for path, why in bad.items()}
        listed = "; ".join(f"{path}: {why}" for path, why in list(short.items())[:NAMED])
        listed += f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        found = f"{len(bad)} of {len(paths)} that aren't: {listed}"
        if call.on_error == "raise" or not good:
            hint = f"{call.again(on_error='skip')}, which leaves them out"
            hint = hint if good else "other files: none of these can be read"
            raise mismatch("whole files of one product on one grid", found, hint)
        warnings.warn(f"files of radar data left out, {found}", stacklevel=3)
    return _joined(good)


def open_one(path: str) -> xr.Dataset:
    """Open one file lazily, whichever format it has."""
    if is_remote(path) or os.path.isdir(path):
        return _in_metres(open_file(path))
    head, packed = _head(path)
    if HEADER.match(head):
        return open_radolan(path)
    if GRIB in head:
        return open_grib(path, packed)
    if head.startswith((HDF5, NETCDF3)):
        if packed:
            tool = "gunzip" if path.endswith("gz") else "bunzip2"
            raise mismatch(
                "HDF5 or NetCDF that isn't packed", path, f"{tool} -k {path}, in a shell"
            )
        for knows, engine in (
            (_says_odim, OdimCompositeBackendEntrypoint),
            (is_knmi, KnmiBackendEntrypoint),
        ):
            if knows(path):
                return xr.open_dataset(path, engine=engine, chunks={})
        return _in_metres(open_file(path))
    raise mismatch(
        "radar data in ODIM or KNMI HDF5, MRMS GRIB2, RADOLAN, NetCDF or Zarr",
        f"{path}, which begins with {head[:8]!r}",
        "xef.open_radar(rain), with rain as a DataArray that you made of it",
    )


def _says_odim(path: str) -> bool:
    """Return whether HDF5 is of the ODIM model; the engine refuses its volumes in words."""
    if is_odim(path):
        return True
    try:
        with open_hdf5(path) as file:
            return "object" in attributes(file, "what")
    except OSError:
        return False


def _files(data: Paths) -> list[str]:
    """Return the files of a path, a pattern, a folder or a list, in the order of their names."""
    if not isinstance(data, str | os.PathLike):
        return [file for one in data for file in _files(one)]
    path = os.fspath(data)
    if is_remote(path) or _is_store(path) or os.path.isfile(path):
        return [path]
    found = [path]
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in os.listdir(path)]
    elif glob.has_magic(path):
        found = glob.glob(path, recursive=True)
    elif not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    files = [
        file
        for file in sorted(found)
        if not NO_FILES.match(os.path.basename(file)) and (os.path.isfile(file) or _is_store(file))
    ]
    if not files:
        raise FileNotFoundError(f"there are no files of radar data in {path}")
    return files


def _is_store(path: str) -> bool:
    """Return whether a path is a Zarr store."""
    return os.path.isdir(path) and (path.rstrip("/").endswith(".zarr") or holds_zarr(path))


def _head(path: str) -> tuple[bytes, bool]:
    """Return the first bytes of a file, unpacked, and whether it is packed.

    A packed file is read to its end: that it is cut short would else be seen on computing only.
    """
    with open(path, "rb") as file:
        head = file.read(128)
    unpack = PACKED.get(head[:2])
    if unpack is None:
        return head, False
    with unpack(path, "rb") as file:
        head = file.read(128)
        while file.read(1 << 20):
            pass
    return head, True


def _in_metres(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose projection coordinates are in metres, as its projection is."""
    for name, axis in ds.coords.items():
        stated = str(axis.attrs.get("standard_name", ""))
        is_projected = stated.startswith("projection_") or name in ("x", "y")
        if is_projected and axis.ndim == 1 and axis.attrs.get("units") in ("km", "kilometres"):
            limits = ("valid_min", "valid_max", "valid_range")
            attrs = {key: value for key, value in axis.attrs.items() if key not in limits}
            metres = (axis.values.astype("float64") * 1000).round(3)
            ds = ds.assign_coords({name: (axis.dims, metres, attrs | {"units": "m"})})
    return ds


# --- several files


@dataclass(frozen=True)
class Frame:
    """A file that has been opened, with its labels in order."""

    path: str
    ds: xr.Dataset
    product: tuple[object, ...]


def _opened(paths: list[str], call: Call) -> tuple[list[Frame], dict[str, str]]:
    """Return the files that can be opened, and why others can't."""
    good, bad = [], {}
    for path in paths:
        try:
            ds = with_labels(open_one(path), call)
            good.append(Frame(path, ds, product_of(ds, call)))
        except ImportError:
            raise
        except Exception as error:  # whatever a library raises on a file that is damaged
            bad[path] = _reason(error, path)
    return good, bad


def product_of(ds: xr.Dataset, call: Call) -> tuple[object, ...]:
    """Return what files of one product have in common, but for the grid."""
    name, kind = find_rain(ds, call)
    law = tuple(str(ds[name].attrs.get(key)) for key in ("zr_a", "zr_b"))
    period = None
    if "time_bnds" in ds:
        length = np.diff(ds["time_bnds"].values[0])[0] / np.timedelta64(1, "m")
        period = f"over {round(float(length))} minutes"
    return name, kind, units_of(ds[name]), period, law


def _of_one_product(frames: list[Frame]) -> tuple[list[Frame], dict[str, str]]:
    """Return the files of the most frequent product, and what the others are."""
    groups: list[list[Frame]] = []
    for frame in frames:
        group = next((g for g in groups if difference(g[0], frame) is None), None)
        if group is None:
            groups.append([frame])
        else:
            group.append(frame)
    groups.sort(key=len, reverse=True)
    if len(groups) < 2:
        return frames, {}
    most, *others = groups
    unlike = [frame for group in others for frame in group]
    if len(most) <= len(unlike):
        counts = [f"{len(group)} like {group[0].path}" for group in groups]
        how = difference(most[0], others[0][0])
        raise mismatch(
            "files of one product on one grid",
            f"{' and '.join(counts)}: {how}",
            _pattern(most, unlike),
        )
    bad = {frame.path: str(difference(most[0], frame)) for frame in unlike}
    return most, bad


def difference(one: Frame, other: Frame) -> str | None:
    """Return in words how another file differs; None for the same product and grid."""
    if one.product != other.product:
        words = [
            " ".join(str(part) for part in frame.product[:4] if part and part != frame.product[1])
            for frame in (other, one)
        ]
        return f"{words[0]}, not {words[1]}" if words[0] != words[1] else "another Z-R"
    grids = [
        {dim: size for dim, size in frame.ds[frame.product[0]].sizes.items() if dim != "time"}
        for frame in (other, one)
    ]
    if grids[0] != grids[1]:
        sizes = [" x ".join(map(str, grid.values())) for grid in grids]
        return f"{sizes[0]} pixels, not {sizes[1]}"
    for dim in grids[0]:
        if dim not in one.ds.coords or dim not in other.ds.coords:
            continue
        own, theirs = (frame.ds[dim].values.astype(float) for frame in (one, other))
        pixel = abs(own[1] - own[0]) if own.size > 1 else 1.0
        if not np.allclose(own, theirs, rtol=0, atol=0.01 * pixel):
            return f"{dim} from {theirs[0]:g}, not {own[0]:g}"
    return None


def _pattern(most: list[Frame], unlike: list[Frame]) -> str:
    """Return the line that opens the files of one product alone, also those to come."""
    names = [frame.path for frame in most]
    pattern = pattern_of(names, [frame.path for frame in unlike])
    if pattern is not None:
        return f'xef.open_radar("{pattern}")'
    return (
        f"xef.open_radar({names})"
        if len(names) < NAMED
        else "a pattern of the names of one product, or a list of its files"
    )


def pattern_of(names: list[str], others: list[str]) -> str | None:
    """Return a pattern of the names, also of those to come, that none of the others matches."""
    folder = os.path.dirname(os.path.commonprefix(names))
    start = os.path.commonprefix(names)
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]
    undated = start.rstrip("0123456789_-T"), end.lstrip("0123456789_-T")
    for pattern in (f"{folder}/*{undated[1]}", f"{undated[0]}*", f"{start}*{end}"):
        if len(names) > 1 and not fnmatch.filter(others, pattern):
            return pattern
    return None


def _in_order(frames: list[Frame]) -> tuple[list[Frame], dict[str, str]]:
    """Return files in the order of their times, and those whose times a later one has again."""
    kept: list[Frame] = []
    twice: dict[str, str] = {}
    # a service that sends a frame again gives it a later name
    for frame in sorted(frames, key=lambda frame: (frame.ds["time"].values[0], frame.path)):
        if kept and kept[-1].ds["time"].values[-1] >= frame.ds["time"].values[0]:
            stamp = str_time(frame.ds["time"].values[0])
            older = kept.pop()
            twice[older.path] = f"{stamp}, which {os.path.basename(frame.path)} has too"
        kept.append(frame)
    return kept, twice


def _joined(frames: list[Frame]) -> xr.Dataset:
    """Return files as one Dataset along time; the labels of the grid are those of the first."""
    parts = [frame.ds for frame in frames]
    joined = xr.concat(
        parts,
        "time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )

    def close() -> None:
        for part in parts:
            part.close()

    joined.set_close(close)
    return joined


def _reason(error: Exception, path: str) -> str:
    """Return what is wrong with a file, in one line that doesn't name it again."""
    words = str(error)
    for name in (f": '{path}'", f"{path}: ", f": {path}", path, os.path.abspath(path)):
        words = words.replace(name, "it" if name.endswith(path) and name[0] != ":" else "")
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith("try ")][:2]
    return ", ".join(kept) or type(error).__name__
