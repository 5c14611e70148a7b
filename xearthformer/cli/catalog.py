"""The command `xearthformer catalog`: list | show | check."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from ..datasets.catalog import open_catalog

if TYPE_CHECKING:
    from intake.readers.entry import Catalog  # type: ignore[import-untyped]


def list_entries(only: str | None = None) -> None:
    """List the entries of the catalogues that ship.

    Parameters
    ----------
    only : str
        A catalogue: enso, nbody or sevir; all of them when not given.
    """
    catalog = open_catalog(only)
    width = max(map(len, catalog))
    for entry in catalog:
        print(f"{entry:{width}}  {catalog.entries[entry].metadata['title']}")


def show_entry(entry: str) -> None:
    """Show an entry: what it is, where it is published, how it is read.

    Parameters
    ----------
    entry : str
        A name from `catalog list`.
    """
    catalog = open_catalog()
    if entry not in catalog.entries:
        raise ValueError(f"no entry {entry!r}: one of {', '.join(catalog)}")
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
    """Open every entry that can be reached, and say which can't be; status 1 if one can't.

    Parameters
    ----------
    only : str
        A catalogue: enso, nbody or sevir; all of them when not given.
    data_root : str
        Folder or address of a copy of your own, in place of where the entries are published.
    timeout : float
        Seconds to wait for an entry.
    """
    catalog = open_catalog(only)
    width = max(map(len, catalog))
    failed = 0
    for entry, why in _checked(catalog, data_root, timeout):
        failed += bool(why)
        print(f"{entry:{width}}  {why or 'opens'}")
    print(f"{len(catalog) - failed} of {len(catalog)} open")
    if failed:
        print('a copy of your own: .read(data_root="FOLDER"), or catalog check --data_root FOLDER')
    return int(failed > 0)


def _checked(
    catalog: "Catalog", data_root: str | None, timeout: float
) -> Iterator[tuple[str, str]]:
    """Each entry, and what is wrong with it: the places side by side, each one's entries in turn.

    A place that doesn't answer in time isn't waited for again.
    """
    places: dict[str, list[str]] = {}
    for entry in catalog:
        places.setdefault(_place(catalog, entry, data_root), []).append(entry)
    answers: dict[str, Future[str]] = {entry: Future() for entry in catalog}
    for place, entries in places.items():
        work = catalog, place, entries, data_root, answers
        threading.Thread(target=_open_in_turn, args=work, daemon=True).start()
    late = set()
    for place, entries in places.items():
        for entry in entries:
            try:
                yield entry, answers[entry].result(0 if place in late else timeout)
            except TimeoutError:
                late.add(place)
                yield entry, f"{place} doesn't answer within {timeout:g} s"


def _open_in_turn(
    catalog: "Catalog",
    place: str,
    entries: list[str],
    data_root: str | None,
    answers: "dict[str, Future[str]]",
) -> None:
    """Open the entries of a place; when the first fails at an address, so do the others."""
    why, where = "", {"data_root": data_root} if data_root and place else {}
    for entry in entries:
        if not (why and "://" in place):
            try:
                catalog[entry].read(**where).close()
                why = ""
            except Exception as error:  # whatever it is, it is this entry's answer
                lines = [line.strip() for line in str(error).splitlines()]
                told = "; ".join(line for line in lines if not line.startswith("try "))
                why = told or type(error).__name__
        answers[entry].set_result(why)


def _place(catalog: "Catalog", entry: str, data_root: str | None) -> str:
    """Where an entry's files are looked for; "" for one that is made."""
    published = catalog.entries[entry].user_parameters.get("data_root")
    return "" if published is None else data_root or published.default
