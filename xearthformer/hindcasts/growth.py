"""A hindcast's store grows: more inits behind those that are there, in a way that survives a kill.

Several keys change together: the shapes of the arrays, the labels, the record. They are written to
one key first, the plan; then each to its place; then the plan is removed. A process that is killed
on the way leaves the plan, and the next call carries it out before it looks at the store.
"""

import base64
import json
from collections.abc import Mapping

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ..fields.cf import unfilled, with_grid_mapping
from .store import (
    DIGESTS,
    LOG_ROOT,
    ROOT,
    STATUS,
    Ledger,
    consolidate,
    delete,
    explain_full_disk,
    flush,
    incomplete,
    is_session,
    keys,
    load_ledger,
    read,
    write,
)

PLAN = f"{STATUS}/growth"  # in an array's folder: no reader of groups comes across it


def read_inits(store: Store) -> np.ndarray | None:
    """Return the inits of a hindcast's store, in its order; None where there is no hindcast yet."""
    if read(store, ROOT) is None:
        return None
    array = zarr.open_array(store, path="init", mode="r", zarr_format=3)
    coded = xr.Dataset({"init": ("init", np.asarray(array[:]), dict(array.attrs))})
    return xr.decode_cf(coded)["init"].values


def put_in_order(inits: np.ndarray, there: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Return the positions of inits, those of a store first in its order, and how many these are.

    >>> put_in_order(np.array([3, 4, 5, 6]), np.array([5, 4]))
    (array([2, 1, 0, 3]), 2)
    """
    position = {stamp: i for i, stamp in enumerate(_comparable(inits))}
    stored = [] if there is None else _comparable(there)
    first = [position.pop(stamp) for stamp in stored if stamp in position]
    return np.array([*first, *position.values()]), len(first)


def _comparable(stamps: np.ndarray) -> list[object]:
    """Time stamps whose equality does not depend on the unit that they are counted in."""
    if stamps.dtype.kind == "M":
        stamps = stamps.astype("datetime64[ns]").astype(np.int64)
    comparable: list[object] = stamps.tolist()
    return comparable


def grow(
    ledger: Ledger, empty: xr.Dataset, record: Mapping[str, str], *, frames: int, before: int
) -> Ledger:
    """Make room in a store for more inits, all of them missing; the forecasts in it stay.

    `empty` is the whole answer without its values, the store's inits first. `frames` is how many
    time steps go into the hindcast now, `before` how many of them precede those of the store.
    """
    store, memory = ledger.store, MemoryStore()
    root = json.loads(read(store, ROOT) or b"{}")
    for path in root["consolidated_metadata"]["metadata"]:
        write(memory, f"{path}/zarr.json", read(store, f"{path}/zarr.json") or b"")
    bare = {k: v for k, v in root.items() if k != "consolidated_metadata"}
    count = empty.sizes["init"]
    bare["attributes"]["incomplete"] = incomplete(ledger.done, count, {})
    write(memory, ROOT, json.dumps(bare).encode())
    for array in (*ledger.values, ledger.status.array):
        _resize(memory, array.path, count)
    _resize(memory, ledger.digests.array.path, frames)
    log = json.loads(read(memory, LOG_ROOT) or b"{}")
    write(memory, LOG_ROOT, json.dumps({**log, "attributes": dict(record)}, indent=2).encode())
    digests = np.zeros(frames, np.uint64)
    digests[before : before + ledger.digests.values.size] = ledger.digests.values
    zarr.open_array(memory, path=DIGESTS, mode="r+", zarr_format=3)[:] = digests
    _write_labels(memory, empty)
    consolidate(memory)

    changed = {key: read(memory, key) or b"" for key in keys(memory)}
    changed = {key: new for key, new in changed.items() if read(store, key) != new}
    plan = {key: base64.b64encode(new).decode() for key, new in changed.items()}
    if is_session(store):
        _carry_out(store, plan)
    else:
        with explain_full_disk(store, f"{ledger.done} inits are there and stay"):
            write(store, PLAN, json.dumps(plan).encode())
            flush(store, [PLAN])
        finish_growth(store)
    return load_ledger(store, [array.path for array in ledger.values])


def finish_growth(store: Store) -> None:
    """Carry out the plan of a growth that was begun, if there is one."""
    text = None if is_session(store) else read(store, PLAN)
    if text is None:
        return
    try:
        plan = json.loads(text)
    except ValueError:  # a loss of power before it had reached the disk: nothing is done of it
        plan = {}
    with explain_full_disk(store, "what was there stays"):
        _carry_out(store, plan)
        flush(store, plan)
        delete(store, PLAN)


def _carry_out(store: Store, plan: Mapping[str, str]) -> None:
    for key in sorted(plan, key=lambda key: key == ROOT):  # the root's, that readers see, last
        write(store, key, base64.b64decode(plan[key]))


def _resize(memory: Store, path: str, count: int) -> None:
    """Change the length of an array's first dim, and nothing else: its chunks stay readable."""
    meta = json.loads(read(memory, f"{path}/zarr.json") or b"{}")
    meta["shape"][0] = count
    write(memory, f"{path}/zarr.json", json.dumps(meta, indent=2).encode())


def _write_labels(memory: Store, empty: xr.Dataset) -> None:
    """Write the labels of inits, in one chunk each, over those that are there."""
    labels = {
        str(name): coord
        for name, coord in empty.coords.items()
        if "init" in coord.dims and coord.ndim < 3
    }
    fresh = MemoryStore()
    bare = with_grid_mapping(xr.Dataset(coords=labels))
    encoding = unfilled(bare)
    for name, coord in labels.items():
        encoding[name]["chunks"] = coord.shape
    bare.to_zarr(fresh, zarr_format=3, consolidated=False, encoding=encoding)
    for key in keys(fresh):
        if key.partition("/")[0] in labels:
            write(memory, key, read(fresh, key) or b"")
