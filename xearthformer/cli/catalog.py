"""The command `xearthformer catalog`: list | show | check."""

from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..errors import did_you_mean

if TYPE_CHECKING:
    from intake.readers.entry import Catalog  # type: ignore[import-untyped]


# Importing Intake takes long: each command imports the catalogues when it runs, so that the other
# commands of the package stay quick.


def list_entries(only: str | None = None) -> None:
    """List the entries of the catalogues that ship.

    Parameters
    ----------
    only : str
        A catalogue: enso, nbody or sevir; all of them when not given.
    """
    from ..datasets.catalog import open_catalog

    catalog = open_catalog(only)
    width = max(map(len, catalog))
    for entry in catalog:
        print(f"{entry:{width}}  {catalog.entries[entry].metadata['title']}")


def show_entry(entry: str) -> None:
    """Show an entry: title, licence, where it is published, how to read it.

    Parameters
    ----------
    entry : str
        A name from `catalog list`.
    """
    from ..datasets.catalog import open_catalog

    catalog = open_catalog()
    if entry not in catalog.entries:
        near = did_you_mean(entry, catalog)
        raise ValueError(f"no entry {entry!r}: one of {', '.join(catalog)}{near}")
    description = catalog.entries[entry]
    lines = {"entry": entry, **description.metadata}
    if "data_root" in description.user_parameters:
        lines["address"] = description.user_parameters["data_root"].default
    lines["read"] = f'xearthformer.open_catalog()["{entry}"].read()'
    for key, value in lines.items():
        print(f"{key:10}  {value}")


def check_entries(
    only: str | None = None, data_root: str | None = None, timeout: float = 30.0
) -> int:
    """Open every entry, and report those that can't be opened; status 1 if there are any.

    Parameters
    ----------
    only : str
        A catalogue: enso, nbody or sevir; all of them when not given.
    data_root : str
        Folder or address of your own copy, to read in place of the published one.
    timeout : float
        Seconds to wait for an entry.
    """
    from ..datasets.catalog import open_catalog

    catalog = open_catalog(only)
    width = max(map(len, catalog))
    failed = 0
    for entry, why in _check(catalog, data_root, timeout):
        failed += bool(why)
        print(f"{entry:{width}}  {why or 'opens'}")
    print(f"{len(catalog) - failed} of {len(catalog)} open")
    if failed:
        print('a copy of your own: .read(data_root="FOLDER"), or catalog check --data_root FOLDER')
    return int(failed > 0)


def _check(catalog: "Catalog", data_root: str | None, timeout: float) -> Iterator[tuple[str, str]]:
    """Yield each entry and why it can't be opened, "" if it can.

    There is one thread per place, which opens the entries of the place in turn. A place that
    doesn't answer in time isn't waited for again.
    """
    # Threads that import one package at once, by different modules of it, can see it half loaded:
    # load what the openers load late before the first thread starts.
    import dask.array  # noqa: F401
    import h5py  # type: ignore[import-untyped]  # noqa: F401
    import netCDF4  # noqa: F401
    import xarray as xr
    import zarr  # noqa: F401

    xr.backends.list_engines()  # loads every installed backend
    places: dict[str, list[str]] = {}
    for entry, description in catalog.entries.items():
        published = description.user_parameters.get("data_root")
        place = "" if published is None else data_root or published.default  # "": simulated
        places.setdefault(place, []).append(entry)
    answers: dict[str, SimpleQueue[str]] = {place: SimpleQueue() for place in places}
    # Its threads are daemons. Python waits at its exit for those of concurrent.futures, for ever
    # if an address never answers.
    with ThreadPool(len(places)) as pool:
        for place, entries in places.items():
            pool.apply_async(_open_in_turn, (catalog, place, entries, data_root, answers[place]))
        for place, entries in places.items():
            why = late = ""
            for entry in entries:
                # after a timeout the next answer is not that of the next entry
                if not late:
                    try:
                        why = answers[place].get(timeout=timeout)
                    except Empty:
                        late = f"{place} doesn't answer within {timeout:g} s"
                yield entry, late or why


def _open_in_turn(
    catalog: "Catalog",
    place: str,
    entries: list[str],
    data_root: str | None,
    answers: "SimpleQueue[str]",
) -> None:
    """Open the entries of a place; when one fails at an address, the others fail with it."""
    why, where = "", {"data_root": data_root} if data_root and place else {}
    for entry in entries:
        if not (why and "://" in place):
            try:
                opened = catalog[entry].read(**where)
                if hasattr(opened, "close"):  # packs hold no file
                    opened.close()
                why = ""
            except Exception as error:  # of any kind: it is this entry's answer
                lines = [line.strip() for line in str(error).splitlines()]
                words = "; ".join(line for line in lines if not line.startswith("try "))
                why = words or type(error).__name__
        answers.put(why)
