"""Scores, each in three steps: sums over every pair of frames, their total, the score of the total.

Sums add up: those of inits, events, chunks or machines combine before the score is taken. Scores of
El Nino have a file of their own, `enso_scores`, and are known here by the same names.
"""

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import itemgetter
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from ..errors import mismatch
from . import ensemble_scores as ensemble
from .frame_sums import GROUPS, Measure
from .moments import correlation

SEVIR_THRESHOLDS = 16.0, 74.0, 133.0, 160.0, 181.0, 219.0  # of vertically integrated liquid, 0..255
RAIN_THRESHOLDS = 0.5, 1.0, 5.0  # mm h-1
BLOCK_BYTES = 128 * 2**20  # of a forecast in memory, that a task compares to lazy observations
MEANS = "f", "o", "ff", "oo", "fo"  # what a correlation is made of
COUNTS = {"n": "pairs of values", "cases": "observations that every member has a value for"}
DIMS = {
    "rank": {"long_name": "members below the observation"},
    "probability": {"long_name": "share of members that forecast the event", "units": "1"},
}


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


def _spectrum(total: xr.Dataset, of: str) -> xr.DataArray:
    return total[of] / total["frames"].where(total["frames"] > 0)


def _spectrum_ratio(total: xr.Dataset) -> xr.DataArray:
    observed = total["power_observed"]
    return total["power"] / observed.where(observed > 0)


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
    "spectrum": Score("power spectrum, forecast", "spectrum", partial(_spectrum, of="power"), 2),
    "spectrum_observed": Score(
        "power spectrum, observed", "spectrum", partial(_spectrum, of="power_observed"), 2
    ),
    "spectrum_ratio": Score("power, forecast over observed", "spectrum", _spectrum_ratio),
    "crps": Score("fair continuous ranked probability score", "crps", ensemble.crps, 1),
    "spread_skill": Score("spread over error of the mean", "spread", ensemble.spread_skill),
    "spread": Score("spread of the members", "spread", ensemble.spread, 1),
    "rmse_of_mean": Score(
        "root mean square error of the ensemble mean", "spread", ensemble.rmse_of_mean, 1
    ),
    "rank_histogram": Score("observations of this rank", "ranks", itemgetter("ranks")),
    "brier": Score("fair Brier score", "probabilities", ensemble.brier),
    "reliability": Score("observed frequency", "probabilities", ensemble.reliability),
    "reliability_n": Score(
        "forecasts of this probability", "probabilities", itemgetter("forecasts")
    ),
    "roc": Score("area under the ROC curve", "probabilities", ensemble.roc),
    "roc_pod": Score("probability of detection", "probabilities", ensemble.roc_pod),
    "roc_pofd": Score("probability of false detection", "probabilities", ensemble.roc_pofd),
}
# What is given with a score that it is read beside.
BESIDE = {
    "spectrum": ("spectrum_observed", "spectrum_ratio"),
    "spread_skill": ("spread", "rmse_of_mean"),
    "reliability": ("reliability_n",),
    "roc": ("roc_pod", "roc_pofd"),
}
CONTINUOUS = tuple(name for name, score in SCORES.items() if score.group == "moments")
CATEGORICAL = tuple(name for name, score in SCORES.items() if score.group == "contingency")
AT_THRESHOLDS = tuple(k for k, each in SCORES.items() if "threshold" in GROUPS[each.group].dims)


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
        count, by lead; `cases`, those of scores of ensembles. NaN where there is no pair, or no
        event.

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
    wanted = {key: None for name in names or () for key in (name, *BESIDE.get(name, ()))}
    wanted = dict.fromkeys(served) if names is None else wanted
    for name in wanted:
        if name not in served:
            raise mismatch(f"one of {', '.join(served)}", repr(name), f"sums taken for {name!r}")
    by_lead = sums.sum("init", keep_attrs=True) if "init" in sums.dims else sums
    pooled = by_lead.sum("lead", keep_attrs=True)
    units = str(sums.attrs.get("units", ""))
    length = sums["wavelength"].attrs["units"] if "wavelength" in sums.coords else ""
    out = {}
    for name in wanted:
        each = SCORES[name]
        attrs = {"long_name": each.long_name, **_units(units, each.power)}
        if each.group == "spectrum" and each.power and length != "1":
            attrs["units"] = f"{attrs.get('units', '')} {length}^2".removeprefix("1").strip()
        out[name] = each.of(by_lead).assign_attrs(attrs)
        attrs["long_name"] += ", all leads"
        out[f"{name}_pooled"] = each.of(pooled).assign_attrs(attrs)
    for name, counted in COUNTS.items():
        if name in by_lead:
            attrs = {"long_name": counted, "units": "1"}
            out[name] = by_lead[name].astype(np.int64).assign_attrs(attrs)
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
        In memory, or lazy: it is then read a chunk of inits at a time. With the dim member where
        the measure is of ensembles.
    observed : DataArray (time, y, x)
        On the same pixels in the same order, in the same units. In memory or lazy.
    at : int array (init, lead)
        Positions along `time`; -1 where there is no observation.
    measure : Measure

    Returns
    -------
    Dataset (init, lead, [member,] [threshold], [rank], [probability], [wavelength])
        float64, a variable a sum; lazy if either side is. The labels along init and lead, and what
        stands along the other dims.
    """
    lazy = forecast.chunks is not None or observed.chunks is not None
    run = _graph if lazy else _take
    values = run(forecast.data, observed.data, at, measure)
    leading = [str(dim) for dim in forecast.dims[: _leading(forecast, observed, measure)]]
    coords: dict[Any, Any] = {
        name: c for name, c in forecast.coords.items() if set(c.dims) <= {*leading}
    }
    units = {key: forecast.attrs[key] for key in ("units",) if key in forecast.attrs}
    about = {"threshold": units, **DIMS}
    if measure.rings is not None:
        about["wavelength"] = {"long_name": "wavelength", "units": measure.rings.units}
    named = {
        name: ([*leading, *measure.dims(name)], part) for name, part in measure.name(values).items()
    }
    used = {dim for dims, _ in named.values() for dim in dims}
    for dim, labels in measure.labels.items():
        if labels.size and (dim in used or dim == "threshold"):
            coords[dim] = (dim, labels, about[dim])
    return xr.Dataset(named, coords, units)


def _leading(f: Any, o: Any, measure: Measure) -> int:
    """How many axes of a forecast stand before those of what is measured at once."""
    return 2 if measure.members else f.ndim - o.ndim + 1


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
    leading = _leading(f, o, measure)
    ends = np.cumsum((0, *f.chunks[0])).tolist()
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        held, positions = _held(at[start:end], o.chunks[0])
        frames = [(o.name, chunk, *(0,) * (o.ndim - 1)) for chunk in held]
        task = _take_block, (f.name, i, *rest), frames, positions, how
        nothing = np.zeros, (end - start, *f.shape[1:leading], measure.size)
        graph[name, i, *(0,) * leading] = task if frames else nothing
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[f, o])
    chunks = (f.chunks[0], *f.chunks[1:leading], (measure.size,))
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
    leading = f.shape[: _leading(f, o, measure)]
    sums = np.zeros((*leading, measure.size))
    for index in np.ndindex(leading):
        position = at[index[:2]]
        if position >= 0:
            sums[index] = measure.take(f[index], o[position])
    return sums


def groups_of(names: Sequence[str]) -> tuple[str, ...]:
    """The groups of sums that scores are made of, each once, and the counts of pairs."""
    groups = dict.fromkeys(SCORES[name].group for name in names)
    of_all = sum(GROUPS[group].ensemble for group in groups)
    apart = not of_all or of_all < len(groups)
    return (*["count"] * apart, *["cases"] * bool(of_all), *groups)
