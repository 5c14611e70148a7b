"""The catalogues that ship, for Intake: SEVIR, El Nino's data, N-body digits; and the packs.

The YAML files are Intake 2 catalogues; `intake.open_catalog(path)` opens them too. Nothing is
fetched before an entry's `.read()`, which calls one of the openers at the end of this file.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr
from intake.readers.entry import Catalog  # type: ignore[import-untyped]
from intake.readers.readers import BaseReader  # type: ignore[import-untyped]

from ..errors import did_you_mean, mismatch
from ..html import html_table
from .icar_enso import open_icar_enso
from .local import is_remote, open_file
from .sevir.backend import open_sevir
from .sevir.events import CATALOG, read_catalog
from .simulated.nbody import nbody
from .simulated.sst import synthetic_sst
from .simulated.storms import synthetic_storms

if TYPE_CHECKING:
    from ..packs.pack import Pack

# A wheel carries the catalogues inside the package; in a checkout they stand at its top. Both are
# found from this file, never by sys.path: an editable install leaves an old copy on it.
PACKAGED, CHECKOUT = (parent / "catalogs" for parent in Path(__file__).parents[1:3])
FOLDER = PACKAGED if any(PACKAGED.glob("*.yaml")) else CHECKOUT
PACKS = "packs"  # the catalogue of packs, which are no data
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml")) if path.stem != PACKS}
CONNECT, ANSWER = 10, 60  # seconds to wait for a connection, and for each answer over it
# Packages that raise network errors, some of which aren't OSErrors.
NETWORK = {"aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs"}


def open_catalog(name: str | None = None) -> Catalog:
    """Open one of the catalogues that ship with the package.

    Parameters
    ----------
    name : {None, "enso", "nbody", "sevir", "packs"}
        None: the entries of all catalogues of data together.

    Returns
    -------
    intake Catalog
        `list(cat)` gives the names of its entries. `cat[entry].read()` gives a lazy Dataset;
        `.read(data_root="...")` reads your own copy, in a folder or at an address; further
        arguments go to the function that opens the entry, such as `.read(split="test")`. Of
        "packs" it gives a `Pack`, as `open_pack` does.

    Raises
    ------
    ValueError
        No catalogue of this name ships. `intake.open_catalog(path)` opens any other file: such a
        file can call any function, so open it only if you trust it.

    Examples
    --------
    >>> cat = open_catalog("enso")
    >>> "ersst_v5" in cat
    True
    >>> cat["synthetic_sst"].read(years=2)["sst"].sizes
    Frozen({'time': 24, 'lat': 89, 'lon': 180})
    >>> open_catalog("packs")["lim"].read().card.lead
    14
    """
    if name is not None and name not in (*FILES, PACKS):
        raise mismatch(
            f"the name of a catalogue that ships: {', '.join(FILES)}, {PACKS}",
            repr(name),
            "intake.open_catalog(path) for a file from elsewhere, if you trust it: it can call "
            "any function",
        )
    catalog = Catalog()
    for path in FILES.values() if name is None else [FOLDER / f"{name}.yaml"]:
        catalog += Catalog.from_yaml_file(str(path))
    return catalog


def read_entry(name: str, options: Mapping[str, object]) -> xr.Dataset:
    """Read an entry of the catalogues that ship, with options from a file: they stay data.

    Intake's own `.read()` fills in templates: "{func(...)}" in an option would import what it
    names, and "{pickle64(...)}" unpickle it. An unknown entry, or an option that the entry sets
    itself, is a ValueError.

    Examples
    --------
    >>> read_entry("synthetic_sst", {"years": 2})["sst"].sizes["time"]
    24
    """
    catalog = open_catalog()
    if name not in catalog.entries:
        expected = f"an entry of the catalogues: {', '.join(catalog)}"
        found = f"{name!r}{did_you_mean(name, catalog)}"
        raise mismatch(expected, found, "path: FILE, for data of your own")
    entry = catalog.entries[name]
    fixed = dict(entry.kwargs)
    if own := sorted(fixed.keys() & options.keys() - {"chunks"}):
        raise mismatch(f"options of {name} other than its own", ", ".join(own), "options without")
    if "folder" in fixed:
        fixed["folder"] = entry.user_parameters["data_root"].default
    ds: xr.Dataset = CatalogReader(metadata=entry.metadata)._read(**fixed | dict(options))
    return ds


class CatalogReader(BaseReader):
    """Reads an entry of the catalogues that ship; see `xearthformer.open_catalog`."""

    output_instance = "xarray:Dataset"

    def _read(
        self,
        *,
        opener: str,
        folder: str | None = None,
        data_root: str | os.PathLike[str] | None = None,
        **options: object,
    ) -> xr.Dataset:
        """Open the entry lazily, from `data_root` or from `folder`, where it is published.

        Simulated data has no folder. Raises OSError if the files don't exist, can't be reached, or
        are in an archive.
        """
        if folder is None:
            if data_root is not None:
                expected = "no data_root: this is simulated, not read"
                raise mismatch(expected, repr(data_root), "data_root=None")
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
            # fsspec often turns a network error into a bare FileNotFoundError: show the first one
            cause = error.__cause__ if _of_network(error.__cause__) else error
            words = "; ".join(map(str.strip, str(cause).splitlines()))
            raise self._unread(place, f"{type(cause).__name__}: {words}") from None

    def _repr_html_(self) -> str:
        """Return what the entry holds, whose it is and where it lies, for notebooks."""
        rows = {**self.metadata, "read": ".read()"}
        if "folder" in self.kwargs:
            rows |= {"address": self.kwargs["folder"]}
            rows |= {"read": '.read(), or of a copy of your own .read(data_root="FOLDER")'}
        title = str(rows.pop("title", repr(self)))
        return html_table(title, ((key, str(value)) for key, value in rows.items()))

    def _unread(self, place: str, why: str) -> OSError:
        """An error of two lines: the place and the reason, then how to read a copy."""
        holds = self.metadata.get("holds", "the files")
        return OSError(
            f'{place} isn\'t read: {why}\n   try data_root="FOLDER", the folder that holds {holds}'
        )


class PackReader(BaseReader):
    """Opens a pack that an entry of a catalogue names, for `xearthformer.open_pack`."""

    output_instance = "xearthformer.packs.pack:Pack"

    def _read(self, *, pack: str) -> "Pack":
        """Open a pack and check its weights; nothing in it is executed, and no network is built."""
        from ..packs.pack import open_pack

        return open_pack(pack)


def _of_network(error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] in NETWORK


def patience(place: str) -> dict[str, object]:
    """Return fsspec's options for a public address: anonymous, with limits on waiting."""
    if "s3://" in place:
        limits = {
            "connect_timeout": CONNECT,
            "read_timeout": ANSWER,
            "retries": {"max_attempts": 0},
        }
        return {"anon": True, "config_kwargs": limits}
    if place.startswith("http"):
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=CONNECT, sock_read=ANSWER)}}
    return {}


# --- the openers


def open_in_folder(
    folder: str,
    file: str,
    engine: Literal["zarr"] | None = None,
    storage_options: dict[str, object] | None = None,
) -> xr.Dataset:
    """Open a NetCDF file, or with engine="zarr" a store, in a folder or below an address."""
    address = f"{folder}/{file}"
    # decode_coords=True: bounds stay data variables, as with plain xarray.open_dataset
    return open_file(address, engine=engine, decode_coords=True, storage_options=storage_options)


def open_years(root: str, year: int | None = None, **options: Any) -> xr.Dataset:
    """Open SEVIR, all years or one."""
    if year is None:
        return open_sevir(root, **options)
    address = f"{root}/{CATALOG}"
    rows = read_catalog(address, options.get("storage_options"))
    rows = rows[rows["file_name"].str.contains(f"/{year}/", regex=False)]
    if rows.empty:
        raise mismatch(f"events of {year}: {address}", "none", "the entry of another year")
    return open_sevir(root, catalog=rows, **options).assign_attrs(catalog=address)


def open_icar(folder: str, **options: Any) -> xr.Dataset:
    """Open ICAR-ENSO, whose NetCDF files are read from a local folder only."""
    if is_remote(folder):
        raise OSError("ICAR-ENSO is read from a local folder")
    return open_icar_enso(folder, **options)


# What the catalogues may call: an entry names its opener here, never a function by its path.
OPENERS: dict[str, Callable[..., xr.Dataset]] = {
    "netcdf": open_in_folder,
    "zarr": partial(open_in_folder, engine="zarr"),
    "sevir": open_years,
    "icar_enso": open_icar,
    "synthetic_sst": synthetic_sst,
    "synthetic_storms": synthetic_storms,
    "nbody": nbody,
}
