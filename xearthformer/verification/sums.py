"""Sums over every pair of frames, in memory or lazily, as one labelled Dataset."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import xarray as xr

from ..fields.cf import find_grid_mapping
from .base import Array, Measure

if TYPE_CHECKING:
    import dask.array
    from dask.typing import Key

BLOCK_BYTES = 128 * 2**20  # of a forecast in memory, per task that compares it to lazy observations
LABELS = {
    "window": {"long_name": "width of the neighbourhoods"},
    "rank": {"long_name": "members below the observation"},
    "probability": {"long_name": "share of members that forecast the event", "units": "1"},
}


def sum_pairs(
    forecast: xr.DataArray, observed: xr.DataArray, positions: np.ndarray, measure: Measure
) -> xr.Dataset:
    """Return the sums of every forecast frame and the frame observed at its valid time.

    All three are as `align` gives them; the forecast has the dim member where the measure is of
    ensembles. The Dataset has one float64 variable per sum (init, lead, [member,] and the sum's own
    dims), with the forecast's labels; lazy if either side is.
    """
    # One lazy side is enough: the other is then put into the graph.
    lazy = forecast.chunks is not None or observed.chunks is not None
    sum_all = _build_graph if lazy else _sum_frames
    values = sum_all(forecast.data, observed.data, positions, measure)
    leading = [str(dim) for dim in forecast.dims[: _leading(forecast, observed, measure)]]
    units = {key: forecast.attrs[key] for key in ("units",) if key in forecast.attrs}
    attrs = {"threshold": {"long_name": "threshold of events", **units}, **LABELS}
    if measure.rings is not None:
        attrs["wavelength"] = {"long_name": "wavelength", "units": measure.rings.units}
    named = {
        name: ((*leading, *dims), part, {"long_name": name.replace("_", " ")})
        for name, (dims, part) in measure.split(values).items()
    }
    used = {"threshold", *(dim for dims, *_ in named.values() for dim in dims)}
    coords: dict[Hashable, object] = {
        name: coord for name, coord in forecast.coords.items() if set(coord.dims) <= {*leading}
    }
    coords.pop(find_grid_mapping(forecast), None)  # of a map that sums don't have
    for dim, labels in measure.labels.items():
        if labels.size and dim in used:
            coords[dim] = xr.Variable(dim, labels, attrs[dim], {"_FillValue": None})
    return xr.Dataset(named, coords, units)


def _leading(f: Array | xr.DataArray, o: Array | xr.DataArray, measure: Measure) -> int:
    """Return how many axes of a forecast come before those that are measured together."""
    return 2 if measure.members else f.ndim - o.ndim + 1


def _build_graph(f: Array, o: Array, positions: np.ndarray, measure: Measure) -> dask.array.Array:
    """Return the same as `_sum_frames`, lazily: one task per block of inits.

    A chunk of inits of a lazy forecast is a block. Each task reads the chunks of observations that
    it compares with, and no others; that is why the graph is written by hand.
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    whole = dict.fromkeys(range(1, f.ndim), -1)  # no frame is split
    if isinstance(o, np.ndarray):
        lazy_o = dask.array.from_array(o, chunks=-1)
    else:
        lazy_o = o.rechunk(dict.fromkeys(range(1, o.ndim), -1))
    if isinstance(f, np.ndarray):
        inits = max(1, BLOCK_BYTES // max(1, f[:1].nbytes))
        lazy_f = dask.array.from_array(f, chunks={0: inits, **whole})
    else:
        lazy_f = f.rechunk(whole)
    token, rest = uuid4().hex, (0,) * (f.ndim - 1)
    name, key = f"sums-{token}", f"measure-{token}"
    graph: dict[Key, object] = {key: measure}  # once, whatever the number of tasks
    leading = _leading(f, o, measure)
    ends = np.cumsum([0, *lazy_f.chunks[0]]).tolist()
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        chunks, within = _chunks_with(positions[start:end], lazy_o.chunks[0])
        parts = [(lazy_o.name, chunk, *(0,) * (o.ndim - 1)) for chunk in chunks]
        task = _sum_frames, (lazy_f.name, i, *rest), parts, within, key
        # Without observations the forecast's block is no dependency: it is never computed.
        zeros = np.zeros, (end - start, *f.shape[1:leading], measure.size)
        graph[name, i, *(0,) * leading] = task if parts else zeros
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[lazy_f, lazy_o])
    shape = (lazy_f.chunks[0], *lazy_f.chunks[1:leading], (measure.size,))
    return dask.array.Array(layers, name, shape, dtype=float)


def _chunks_with(positions: np.ndarray, sizes: tuple[int, ...]) -> tuple[list[int], np.ndarray]:
    """Return the chunks along time with these positions, and the positions in them concatenated.

    >>> _chunks_with(np.array([[5, 1], [-1, 4]]), (2, 2, 2))
    ([0, 2], array([[ 3,  1],
           [-1,  2]]))
    """
    edges = np.cumsum((0, *sizes))
    # searchsorted gives the edge beyond a position; -1 falls in chunk -1, the spare entry of shift.
    chunk = np.searchsorted(edges, positions, side="right") - 1
    needed = np.unique(chunk[positions >= 0])
    before = np.cumsum((0, *np.array(sizes)[needed]))[:-1]
    shift = np.zeros(len(sizes) + 1, int)
    shift[needed] = before - edges[needed]
    return needed.tolist(), np.where(positions >= 0, positions + shift[chunk], -1)


def _sum_frames(
    f: np.ndarray, o: np.ndarray | list[np.ndarray], positions: np.ndarray, measure: Measure
) -> np.ndarray:
    """Return sums (init, lead, [member,] sum), frame by frame; 0 without an observation."""
    if isinstance(o, list):  # chunks along time; a single one is not copied
        o = o[0] if len(o) == 1 else np.concatenate(o)
    leading = f.shape[: _leading(f, o, measure)]
    sums = np.zeros((*leading, measure.size))
    for at in np.ndindex(leading[:2]):
        if positions[at] < 0:
            continue
        seen: dict[Hashable, object] = {}  # members share their observation
        for member in np.ndindex(leading[2:]):
            index = (*at, *member)
            sums[index] = measure.compute(f[index], o[positions[at]], seen)
    return sums
