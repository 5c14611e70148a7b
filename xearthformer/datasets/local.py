"""Open NetCDF files and Zarr stores: the one place where the package reads files by their paths."""

import glob
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_time
from ..fields.time_axis import check_time, months_of, str_time
from ..fields.time_bounds import with_middles


def is_remote(address: str) -> bool:
    """Say whether fsspec must open an address: "s3://...", "simplecache::https://..."."""
    return "://" in address or "::" in address


def holds_zarr(folder: str | os.PathLike[str]) -> bool:
    """Say whether a folder is a Zarr store, by the metadata in it."""
    marks = ("zarr.json", ".zgroup", ".zmetadata")
    return any(os.path.isfile(os.path.join(folder, mark)) for mark in marks)


def open_file(
    path: str | os.PathLike[str],
    *,
    engine: Literal["zarr"] | None = None,
    decode_coords: Literal["all"] | bool = "all",
    storage_options: Mapping[str, object] | None = None,
) -> xr.Dataset:
    """Open a NetCDF file, or a Zarr store (*.zarr, or engine="zarr"), as dask arrays.

    Chunks are those of the file. decode_coords="all" makes bounds and the grid mapping coordinates.
    With `storage_options` fsspec opens a remote file; without, xarray opens the address itself, as
    OPeNDAP needs. Close the Dataset, or use it as a context manager.
    """
    import pyproj  # noqa: F401  (before xarray's engines: ecCodes' wheel brings a PROJ that spoils it)

    address = os.fspath(path)
    source: Any = address  # fsspec's file objects have no common type
    if engine is None and address.rstrip("/").endswith(".zarr"):
        engine = "zarr"
    options = {}
    if engine == "zarr":
        options["storage_options"] = storage_options  # zarr opens addresses by itself
    elif storage_options is not None and is_remote(address):
        import fsspec  # type: ignore[import-untyped]

        source = fsspec.open(address, **storage_options).open()
    elif os.path.exists(address) and not (os.path.isfile(address) or os.path.isdir(address)):
        raise _no_data(address, "a pipe or a device, which might never end")
    try:
        return xr.open_dataset(
            source, engine=engine, chunks={}, decode_coords=decode_coords, backend_kwargs=options
        )
    except ValueError as error:
        if "did not find a match" not in str(error):  # of xarray, which lists its engines
            raise
        raise _no_data(address, "of no format that is installed here, or damaged") from error


def _no_data(address: str, why: str) -> ValueError:
    hint = "a file whose name ends in .nc, or a folder whose name ends in .zarr"
    return mismatch("a NetCDF file or a Zarr store", f"{address}, {why}", hint)


def open_files(paths: Sequence[str]) -> xr.Dataset:
    """Open several files as one Dataset, lazily: `open_file` of one.

    Files of the same variables follow one another in time; those of other variables stand next to
    them, in the months (or at the times) that all have. Variables on another grid than the first
    keep it, by dims of their own such as lat_zos.

    Parameters
    ----------
    paths : sequence of str
        NetCDF files, Zarr stores, and patterns such as "sst_*.nc".

    Raises
    ------
    FileNotFoundError
        A pattern that no file matches.
    ValueError
        Files that hold the same times, or have none in common; one variable on two grids.
    """
    files = [file for path in paths for file in _matches(path)]
    opened = [open_file(file) for file in files]
    if len(opened) == 1:
        return opened[0]
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for ds in opened:
        groups.setdefault(tuple(sorted(map(str, ds.data_vars))), []).append(ds)
    variables = [_along_time(group) for group in groups.values()]
    joined = variables[0]
    for other in variables[1:]:
        joined = _next_to(joined, other)

    def close() -> None:
        for ds in opened:
            ds.close()

    joined.set_close(close)
    return joined


def _matches(path: str) -> list[str]:
    """Return the files of a pattern, in order; a path as it is."""
    if is_remote(path) or not glob.has_magic(path) or os.path.exists(path):
        return [path]
    files = sorted(glob.glob(path))
    if not files:
        raise FileNotFoundError(f"no file matches {path}")
    return files


def _along_time(group: list[xr.Dataset]) -> xr.Dataset:
    """Return files of the same variables as one record, in the order of their times."""
    if len(group) == 1:
        return group[0]
    dim = find_time(group[0])
    group = sorted(group, key=lambda ds: ds[dim].values[0])
    for one, after in zip(group, group[1:], strict=False):
        if one[dim].values[-1] >= after[dim].values[0]:
            names = ", ".join(map(str, one.data_vars))
            until = str_time(one[dim].values[-1])
            found = f"one until {until} and one from {str_time(after[dim].values[0])}"
            raise mismatch(
                f"files of {names} that follow one another in time", found, "one of them"
            )
    try:
        return xr.concat(
            group, dim, data_vars="minimal", coords="minimal", compat="override", join="exact"
        )
    except xr.AlignmentError as error:
        names = ", ".join(map(str, group[0].data_vars))
        raise mismatch(f"files of {names} on one grid", str(error), "those of one grid") from error


def _next_to(first: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Return Datasets of different variables as one: at common times, each on its own grid."""
    dim, theirs = find_time(first), find_time(other)
    if check_time(first[dim]) == check_time(other[theirs]) == "month":
        stamps = with_middles(first[dim], first), with_middles(other[theirs], other)
        numbers = months_of(stamps[0]), months_of(stamps[1])
    else:
        numbers = first[dim].values, other[theirs].values
    common, *at = np.intersect1d(*numbers, return_indices=True)
    if not common.size:
        spans = [
            f"{str_time(d.values[0])} to {str_time(d.values[-1])}"
            for d in (first[dim], other[theirs])
        ]
        raise mismatch("files with times in common", " and ".join(spans), "files of the same years")
    # slices, since positions would split the chunks
    first, other = (
        ds.isel({name: slice(int(i[0]), int(i[-1]) + 1)})
        for ds, name, i in zip((first, other), (dim, theirs), at, strict=True)
    )
    other = other.rename({theirs: dim} if theirs != dim else {}).assign_coords({dim: first[dim]})
    name = next(iter(other.data_vars))
    unlike = [
        d for d in other.dims if d != dim and d in first.dims and not first[d].equals(other[d])
    ]
    other = other.rename({d: f"{d}_{name}" for d in unlike})
    return xr.merge([first, other], join="exact", compat="override", combine_attrs="override")
