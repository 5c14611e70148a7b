"""The catalogues that ship: SEVIR, El Nino's data and N-body digits, for Intake.

The YAML files are Intake 2 catalogues; `intake.open_catalog(path)` opens them too. Nothing is
fetched before an entry's `.read()`, which calls one of the package's own openers, by name.
"""

import os
from pathlib import Path
from typing import Any

import xarray as xr
from intake.readers.entry import Catalog  # type: ignore[import-untyped]
from intake.readers.readers import BaseReader  # type: ignore[import-untyped]

from ..errors import mismatch
from .sevir.files import is_remote

# A wheel carries the catalogues inside the package; in a checkout they stand at its top.
PACKAGED, CHECKOUT = (place / "catalogs" for place in Path(__file__).parents[1:3])
FOLDER = PACKAGED if any(PACKAGED.glob("*.yaml")) else CHECKOUT
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
CONNECT, ANSWER = 10, 60  # seconds to wait for a server, and for it to go on
# Packages whose errors tell of the network, though not all of them are OSErrors.
NETWORK = {"aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs"}


def open_catalog(name: str | None = None) -> Catalog:
    """Open one of the catalogues that ship with the package.

    Parameters
    ----------
    name : {None, "enso", "nbody", "sevir"}
        None: the entries of them all.

    Returns
    -------
    intake Catalog
        `list(cat)` are the names of its entries. `cat[entry].read()` gives a lazy Dataset;
        `.read(data_root="...")` that of a copy of your own, in a folder or at an address; further
        arguments go to the function that opens it, such as `.read(split="test")`.

    Raises
    ------
    ValueError
        No catalogue of this name. Another's file is opened by `intake.open_catalog(path)`: it can
        call any function, and so asks for your trust.

    Examples
    --------
    >>> cat = open_catalog("enso")
    >>> "ersst_v5" in cat
    True
    >>> cat["synthetic_sst"].read(years=2)["sst"].sizes
    Frozen({'time': 24, 'lat': 89, 'lon': 180})
    """
    if name is not None and name not in FILES:
        raise mismatch(
            f"the name of a catalogue that ships: {', '.join(FILES)}",
            repr(name),
            "intake.open_catalog(path) for a file from elsewhere, if you trust it: it can call "
            "any function",
        )
    catalog = Catalog()
    for path in FILES.values() if name is None else [FILES[name]]:
        catalog += Catalog.from_yaml_file(str(path))
    return catalog


class CatalogReader(BaseReader):
    """Reads an entry of the catalogues that ship; `xearthformer.open_catalog` tells how."""

    output_instance = "xarray:Dataset"

    def _read(
        self,
        *,
        opener: str,
        folder: str | None = None,
        data_root: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """What an opener gives, lazy.

        Parameters
        ----------
        opener : str
            One of OPENERS.
        folder : str, optional
            Where the entry's files are published.
        data_root : path or address, optional
            Where to look for them instead.
        **options
            For the opener; `storage_options` for fsspec.

        Raises
        ------
        OSError
            They aren't there, can't be reached, or are in an archive.
        """
        if folder is None:
            if data_root is not None:
                raise mismatch("no data_root: this is made, not read", repr(data_root), ".read()")
            return OPENERS[opener](**options)
        place = os.path.expanduser(data_root or folder).rstrip("/")
        if place.endswith(".zip"):
            raise self._unread(place, "an archive, which can't be read in place: unpack it")
        if is_remote(place):
            options.setdefault("storage_options", patience(place))
        try:
            return OPENERS[opener](place, **options)
        except ImportError as error:
            extra = 'pip install "xearthformer[catalog]"'
            raise ImportError(f"{place} can't be read: {error}; {extra}") from error
        except Exception as error:
            if not (isinstance(error, OSError) or _of_network(error)):
                raise
            told = error.__cause__ if _of_network(error.__cause__) else error
            cause = "; ".join(map(str.strip, str(told).splitlines()))
            raise self._unread(place, f"{type(told).__name__}: {cause}") from None

    def _unread(self, place: str, why: str) -> OSError:
        """Two lines: where and why; and how to read a copy."""
        holds = self.metadata.get("holds", "the files")
        return OSError(
            f"{place} isn't read: {why}\n"
            f'   try .read(data_root="FOLDER"), the folder that holds {holds}'
        )


def _of_network(error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] in NETWORK


def patience(place: str) -> dict[str, Any]:
    """fsspec's options for a public address: anonymous, and no waiting without end."""
    if "s3://" in place:
        retries = {"max_attempts": 0}
        limits = {"connect_timeout": CONNECT, "read_timeout": ANSWER, "retries": retries}
        return {"anon": True, "config_kwargs": limits}
    if place.startswith("http"):
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=CONNECT, sock_read=ANSWER)}}
    return {}


# --- the openers


def open_netcdf(folder: str, file: str, storage_options: Any = None) -> xr.Dataset:
    """A NetCDF file of a folder or address."""
    place = f"{folder}/{file}"
    if not is_remote(place):
        return xr.open_dataset(place, chunks={})
    import fsspec  # type: ignore[import-untyped]

    return xr.open_dataset(fsspec.open(place, **storage_options).open(), chunks={})


def open_zarr(folder: str, file: str, storage_options: Any = None) -> xr.Dataset:
    """A Zarr store of a folder or address."""
    options = {"storage_options": storage_options}
    return xr.open_dataset(f"{folder}/{file}", engine="zarr", chunks={}, **options)


def open_years(root: str, year: int | None = None, **options: Any) -> xr.Dataset:
    """SEVIR, of one year or of all."""
    from .sevir import backend, events

    if year is not None:
        table = f"{root}/{events.CATALOG}"
        rows = events.read_catalog(table, options.get("storage_options"))
        rows = rows[rows["file_name"].str.contains(f"/{year}/", regex=False)]
        if rows.empty:
            raise mismatch(f"events of {year}: {table}", "none", "the entry of another year")
        return backend.open_sevir(root, catalog=rows, **options).assign_attrs(catalog=table)
    return backend.open_sevir(root, **options)


def open_icar(folder: str, **options: Any) -> xr.Dataset:
    """ICAR-ENSO."""
    if is_remote(folder):
        raise OSError("ICAR-ENSO is read from a local folder")
    from .icar_enso import open_icar_enso

    return open_icar_enso(folder, **options)


def make_sst(**options: Any) -> xr.Dataset:
    """Synthetic SST."""
    from .simulated.sst import synthetic_sst

    return synthetic_sst(**options)


def make_storms(**options: Any) -> xr.Dataset:
    """Synthetic storms."""
    from .simulated.storms import synthetic_storms

    return synthetic_storms(**options)


def make_nbody(**options: Any) -> xr.Dataset:
    """N-body digits."""
    from .simulated.nbody import nbody

    return nbody(**options)


OPENERS: dict[str, Any] = {
    "netcdf": open_netcdf,
    "zarr": open_zarr,
    "sevir": open_years,
    "icar_enso": open_icar,
    "synthetic_sst": make_sst,
    "synthetic_storms": make_storms,
    "nbody": make_nbody,
}
