"""Scores, each in three steps: sums over every pair of frames, their total, the score of the total.

Sums add up: those of inits, events, chunks or machines combine before the score is taken. Scores of
El Nino have a file of their own, `enso_scores`, and are known here by the same names.
"""

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from .enso_scores import enso_skill as enso_skill
from .enso_scores import enso_table as enso_table
from .enso_scores import icar_nino34 as icar_nino34
from .errors import mismatch
from .frame_sums import GROUPS, Measure
from .moments import correlation as correlation
from .moments import mean as mean
from .moments import moments as moments
from .moments import rmse as rmse

SEVIR_THRESHOLDS = 16.0, 74.0, 133.0, 160.0, 181.0, 219.0  # of vertically integrated liquid, 0..255
RAIN_THRESHOLDS = 0.5, 1.0, 5.0  # mm h-1
BLOCK_BYTES = 128 * 2**20  # of a forecast in memory, that a task compares to lazy observations
MEANS = "f", "o", "ff", "oo", "fo"  # what a correlation is made of


# --- the score of a total


def _mean(total: xr.Dataset, name: str) -> xr.DataArray:
    return total[name] / total["weight"].where(total["weight"] > 0)


def _error(total: xr.Dataset) -> xr.DataArray:
    return _mean(total, "f") - _mean(total, "o")


def _correlation(total: xr.Dataset) -> xr.DataArray:
    return correlation(xr.Dataset({name: _mean(total, name) for name in MEANS}))


def _ratio(total: xr.Dataset, above: str, below: str, pool: str = "") -> xr.DataArray:
    """A ratio of counts, each named by letters: H hits, M misses, F false alarms."""
    names = {"H": "hits", "M": "misses", "F": "false_alarms"}
    up, down = (
        reduce(operator.add, [total[names[letter] + pool] for letter in letters])
        for letters in (above, below)
    )
    return up / down.where(down > 0)


def _fss(total: xr.Dataset) -> xr.DataArray:
    squares = total["fraction_squares"]
    return 1 - total["fraction_errors"] / squares.where(squares > 0)


@dataclass(frozen=True)
class Score:
    """A score: the sums it is made of, how, and the power of the variable's units it comes in."""

    long_name: str
    group: str
    of: Callable[[xr.Dataset], xr.DataArray]
    power: int = 0


_CSI = partial(_ratio, above="H", below="HMF")


def _csi_m(total: xr.Dataset) -> xr.DataArray:
    return _CSI(total).mean("threshold")


SCORES = {
    "mse": Score("mean square error", "moments", lambda total: _mean(total, "ee"), 2),
    "rmse": Score("root mean square error", "moments", lambda total: _mean(total, "ee") ** 0.5, 1),
    "mae": Score("mean absolute error", "moments", lambda total: _mean(total, "ae"), 1),
    "me": Score("mean error, forecast less observation", "moments", _error, 1),
    "correlation": Score("Pearson correlation", "moments", _correlation),
    "csi": Score("critical success index", "contingency", _CSI),
    "pod": Score("probability of detection", "contingency", partial(_ratio, above="H", below="HM")),
    "sucr": Score("success ratio", "contingency", partial(_ratio, above="H", below="HF")),
    "bias": Score("frequency bias", "contingency", partial(_ratio, above="HF", below="HM")),
    "csi_m": Score("mean critical success index of the thresholds", "contingency", _csi_m),
    **{
        f"csi_pool{size}": Score(
            f"critical success index of {size} x {size} maxima",
            f"contingency_pool{size}",
            partial(_CSI, pool=f"_pool{size}"),
        )
        for size in (4, 16)
    },
    "fss": Score("fractions skill score", "fractions", _fss),
}
CONTINUOUS = tuple(name for name, score in SCORES.items() if score.group == "moments")
CATEGORICAL = tuple(name for name, score in SCORES.items() if score.group == "contingency")


def score(sums: xr.Dataset, names: Iterable[str] | None = None) -> xr.Dataset:
    """The scores of `sums`, by lead and of all leads together.

    Parameters
    ----------
    sums : Dataset ([init,] lead, ...)
        As `take` or `verification.statistics` gives it, or several of these put together: along
        `init` by `xr.concat`, or added where `init` is summed over already.
    names : iterable of str, optional
        Names in `SCORES`. None: all that these sums serve.

    Returns
    -------
    Dataset
        A variable a score, with dims (lead, [member,] [threshold]), and `<score>_pooled`, without
        lead: of the sums over all leads, not the mean of the others. `n`, the pairs of values that
        count, by lead. NaN where there is no pair, or no event.

    Raises
    ------
    ValueError
        A score that there isn't, or that these sums don't serve.

    Examples
    --------
    Two inits; hits 1 and 2, misses 1 and 0, false alarms 0 and 1: 3 / (3 + 1 + 1).

    >>> counts = {"hits": [[1.0], [2.0]], "misses": [[1.0], [0.0]], "false_alarms": [[0.0], [1.0]]}
    >>> sums = xr.Dataset({k: (("init", "lead"), v) for k, v in counts.items()})
    >>> score(sums.assign(n=(("init", "lead"), [[9.0], [9.0]])), ["csi"])["csi"].values
    array([0.6])
    """
    served = [key for key, each in SCORES.items() if GROUPS[each.group].names[0] in sums]
    wanted = served if names is None else list(names)
    for name in wanted:
        if name not in served:
            raise mismatch(f"one of {', '.join(served)}", repr(name), f"sums taken for {name!r}")
    by_lead = sums.sum("init", keep_attrs=True) if "init" in sums.dims else sums
    pooled = by_lead.sum("lead", keep_attrs=True)
    units = str(sums.attrs.get("units", ""))
    out = {}
    for name in wanted:
        each = SCORES[name]
        attrs = {"long_name": each.long_name, **_units(units, each.power)}
        out[name] = each.of(by_lead).assign_attrs(attrs)
        attrs["long_name"] += ", all leads"
        out[f"{name}_pooled"] = each.of(pooled).assign_attrs(attrs)
    out["n"] = by_lead["n"].astype(np.int64).assign_attrs(long_name="pairs of values", units="1")
    kept = {key: value for key, value in sums.attrs.items() if key != "units"}
    return xr.Dataset(out, attrs=kept)


def _units(units: str, power: int) -> dict[str, str]:
    """The attribute `units` of a power of them, where there are any.

    >>> _units("mm h-1", 2), _units("degC", 1), _units("K", 0), _units("", 2)
    ({'units': '(mm h-1)^2'}, {'units': 'degC'}, {'units': '1'}, {})
    """
    if power == 0 or units == "1":
        return {"units": "1"}
    return {"units": units if power == 1 else f"({units})^{power}"} if units else {}


# --- the sums of every pair


def take(
    forecast: xr.DataArray, observed: xr.DataArray, at: np.ndarray, measure: Measure
) -> xr.Dataset:
    """Sums over the pixels of every frame forecast and the frame observed at its valid time.

    Parameters
    ----------
    forecast : DataArray (init, lead, [member,] y, x)
        In memory, or lazy: it is then read a chunk of inits at a time.
    observed : DataArray (time, y, x)
        On the same pixels in the same order, in the same units. In memory or lazy.
    at : int array (init, lead)
        Positions along `time`; -1 where there is no observation.
    measure : Measure

    Returns
    -------
    Dataset (init, lead, [member,] [threshold])
        float64, a variable a sum; lazy if either side is. The labels along init and lead, and the
        coordinate threshold.
    """
    lazy = forecast.chunks is not None or observed.chunks is not None
    run = _graph if lazy else _take
    values = run(forecast.data, observed.data, at, measure)
    space = observed.ndim - 1
    dims = [str(dim) for dim in forecast.dims[: forecast.ndim - space]]
    coords: dict[Any, Any] = {
        name: c for name, c in forecast.coords.items() if set(c.dims) <= {"init", "lead", "member"}
    }
    units = {key: forecast.attrs[key] for key in ("units",) if key in forecast.attrs}
    if measure.thresholds:
        coords["threshold"] = ("threshold", list(measure.thresholds), units)
    named = {
        name: ([*dims, "threshold"] if part.ndim > len(dims) else dims, part)
        for name, part in measure.name(values).items()
    }
    return xr.Dataset(named, coords, units)


def _graph(f: Any, o: Any, at: np.ndarray, measure: Measure) -> Any:
    """The same as `_take`, a dask array: a task a block of inits, that reads the frames it needs.

    Either side may be of NumPy or dask; a chunk of inits that is lazy is a block.
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    whole = dict.fromkeys(range(1, f.ndim), -1)
    size = max(1, BLOCK_BYTES // max(1, f[:1].nbytes))
    if isinstance(f, np.ndarray):
        f = dask.array.from_array(f, chunks={0: size, **whole})
    if isinstance(o, np.ndarray):
        o = dask.array.from_array(o, chunks=-1)
    f, o = f.rechunk(whole), o.rechunk(dict.fromkeys(range(1, o.ndim), -1))
    token, rest = uuid4().hex, (0,) * (f.ndim - 1)
    name, how = f"sums-{token}", f"measure-{token}"
    graph: dict[Any, Any] = {how: measure}
    leading = f.ndim - o.ndim + 1
    ends = np.cumsum((0, *f.chunks[0])).tolist()
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        held, positions = _held(at[start:end], o.chunks[0])
        frames = [(o.name, chunk, *(0,) * (o.ndim - 1)) for chunk in held]
        task = _take_block, (f.name, i, *rest), frames, positions, how
        nothing = np.zeros, (end - start, *f.shape[1:leading], sum(measure.sizes))
        graph[name, i, *(0,) * leading] = task if frames else nothing
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[f, o])
    chunks = (f.chunks[0], *f.chunks[1:leading], (sum(measure.sizes),))
    return dask.array.Array(layers, name, chunks, dtype=float)


def _held(at: np.ndarray, sizes: tuple[int, ...]) -> tuple[list[int], np.ndarray]:
    """The chunks along time that hold these positions, and the positions in them put together.

    >>> _held(np.array([[5, 1], [-1, 4]]), (2, 2, 2))
    ([0, 2], array([[ 3,  1],
           [-1,  2]]))
    """
    edges = np.cumsum((0, *sizes))
    chunk = np.searchsorted(edges, at, side="right") - 1
    held = np.unique(chunk[at >= 0])
    before = np.cumsum((0, *np.array(sizes)[held]))[:-1]
    shift = np.zeros(len(sizes) + 1, int)
    shift[held] = before - edges[held]
    return held.tolist(), np.where(at >= 0, at + shift[chunk], -1)


def _take_block(
    f: np.ndarray, frames: list[np.ndarray], at: np.ndarray, measure: Measure
) -> np.ndarray:
    return _take(f, frames[0] if len(frames) == 1 else np.concatenate(frames), at, measure)


def _take(f: np.ndarray, o: np.ndarray, at: np.ndarray, measure: Measure) -> np.ndarray:
    """Sums (init, lead, [member,] sum), frame by frame."""
    leading = f.shape[: f.ndim - o.ndim + 1]
    sums = np.zeros((*leading, sum(measure.sizes)))
    for index in np.ndindex(leading):
        position = at[index[:2]]
        if position >= 0:
            sums[index] = measure.take(f[index], o[position])
    return sums


def groups_of(names: Sequence[str]) -> tuple[str, ...]:
    """The groups of sums that scores are made of, each once, and the count of pairs."""
    return tuple(dict.fromkeys(["count", *(SCORES[name].group for name in names)]))
