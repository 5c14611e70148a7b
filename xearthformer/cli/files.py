"""What the commands share: files read lazily and written whole, and words read as times."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from ..packs.pack import Pack


def parse_inits(labels: Sequence[str] | None) -> Any:
    """`init` of `forecast` from the words of the command line.

    >>> parse_inits(["1997-06"]), parse_inits(["2000/2009"]), parse_inits(["1997-06", "1998-06"])
    ('1997-06', slice('2000', '2009', None), ['1997-06', '1998-06'])
    >>> parse_inits(["2000/2009/12"])
    slice('2000', '2009', 12)
    """
    if not labels:
        return None
    first, *span = labels[0].split("/")
    if len(labels) == 1 and not span:
        return first
    if not any("/" in label for label in labels):
        return list(labels)
    last, *step = span or [""]
    if len(labels) > 1 or len(step) > 1 or not all(text.isdecimal() for text in step):
        found = " ".join(labels)
        raise ValueError(f"--init takes one span A/B, or A/B/N, or times; found {found}")
    return slice(first or None, last or None, *map(int, step))


@contextmanager
def open_file(path: str) -> "Iterator[xr.Dataset]":
    """A file or store, lazily."""
    import xarray as xr

    if path.rstrip("/").endswith(".zarr"):
        ds = xr.open_zarr(path, decode_coords="all")
    else:
        ds = xr.open_dataset(path, chunks={}, decode_coords="all")
    with ds:
        yield ds


def find_data(
    ds: "xr.Dataset", pack: "Pack", variable: str | None, anomaly: tuple[str, str] | None
) -> "xr.DataArray":
    """The variable named, or the one that the pack asks for; as an anomaly where asked for one."""
    from ..fields import cf

    quantity = pack.card.input
    difference = quantity.difference and anomaly is None
    name = variable or cf.find_variable(
        ds, standard_name=quantity.standard_name, difference=difference
    )
    return take_variable(ds, name, anomaly)


def take_variable(ds: "xr.Dataset", name: str, anomaly: tuple[str, str] | None) -> "xr.DataArray":
    """The variable of that name; with the years of a climatology, its anomaly from it."""
    from ..climate import climatology

    if name not in ds.data_vars:
        found = ", ".join(map(str, ds.data_vars)) or "none"
        raise ValueError(f"expected a variable {name!r} in the input, found {found}")
    if anomaly is None:
        return ds[name]
    # the annual cycle is read once, and not for every block of forecasts
    cycle = climatology.climatology(ds[name], anomaly).compute()
    return climatology.anomaly(ds[name], cycle)


def check_target(output: str, overwrite: bool) -> Path:
    """Where to write, checked before anything is computed."""
    path = Path(output)
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"output: expected file.nc or store.zarr, found {output}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent}: mkdir -p {path.parent}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: name another, or add --overwrite")
    kind = path.is_file() if path.suffix == ".nc" else _is_store(path)
    if path.exists() and not kind:
        raise FileExistsError(f"{path} is no {path.suffix} of xarray's and stays: name another")
    return path


def write_file(ds: "xr.Dataset", path: Path) -> None:
    """Write beside the target first, so that what stands there is always whole."""
    from dask.diagnostics import ProgressBar

    ds = ds.drop_encoding()
    part = path.with_name(path.name + ".part")
    _remove(part)
    encoding: dict[str, dict[str, Any]] = {str(name): {"_FillValue": None} for name in ds.coords}
    try:
        bar = ProgressBar(minimum=2.0, out=sys.stderr) if sys.stderr.isatty() else nullcontext()
        with bar, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata")
            warnings.filterwarnings("ignore", "The data type .FixedLengthUTF32")  # names of packs
            if path.suffix == ".nc":
                encoding |= {str(name): {"zlib": True, "complevel": 1} for name in ds.data_vars}
                ds.to_netcdf(part, encoding=encoding)
            else:
                one_init = {dim: 1 if dim == "init" else -1 for dim in ds.dims}
                ds.chunk(one_init).to_zarr(part, encoding=encoding)
        _remove(path)
        os.replace(part, path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_store(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))
