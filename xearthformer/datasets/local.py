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
    """Open a NetCDF file or a Zarr store lazily.

    Parameters
    ----------
    path : path or address
        A name that ends in .zarr is a Zarr store.
    engine : "zarr", optional
        For a Zarr store of another name. None: the backend that xarray finds.
    decode_coords : "all" or bool
        As in `xarray.open_dataset`: "all" makes bounds and the grid mapping coordinates.
    storage_options : mapping, optional
        Options for fsspec, which then opens a remote file. None: xarray opens the address itself,
        as OPeNDAP needs.

    Returns
    -------
    Dataset
        Dask arrays, chunked as the file is. Close it, or use it as a context manager.
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
