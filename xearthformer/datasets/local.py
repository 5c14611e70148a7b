"""Open a NetCDF file or a Zarr store: the one place where the package reads a file by its path."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import xarray as xr


def is_remote(address: str) -> bool:
    """Say whether fsspec must open an address: "s3://...", "simplecache::https://..."."""
    return "://" in address or "::" in address


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
    return xr.open_dataset(
        source, engine=engine, chunks={}, decode_coords=decode_coords, backend_kwargs=options
    )
