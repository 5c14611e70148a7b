"""What one pair of frames adds to the scores: sums over its pixels, by NumPy and SciPy.

Sums add up over leads, inits, events and machines; scores are taken of totals (`scores`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from . import ensemble_sums
from .spectra import Rings


@dataclass(frozen=True, eq=False)
class Pair:
    """A forecast and an observed frame, and where both have a value; any shape but for pools.

    For the groups of ensembles the forecast has an axis of members in front.
    """

    forecast: np.ndarray
    observed: np.ndarray
    there: np.ndarray


@dataclass(frozen=True, eq=False)
class Measure:
    """Which sums to take of a pair of frames.

    Attributes
    ----------
    groups : tuple of str
        Names in `GROUPS`.
    thresholds : tuple of float
        A pixel is an event where its value is at least this.
    window : (int, int) or None
        Pixels, y and x, of the neighbourhoods of FSS.
    areas : array (y, x) or None
        What each pixel weighs in moments; None: all the same.
    rings : Rings or None
        Of the wavenumbers that spectra are averaged around.
    members : int or None
        How many the ensembles have that groups of ensembles are of; None: frames are compared
        one by one.
    """

    groups: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    window: tuple[int, int] | None = None
    areas: np.ndarray | None = None
    rings: Rings | None = None
    members: int | None = None

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """What stands along each dim that sums may have."""
        labels = {"threshold": np.array(self.thresholds)}
        if self.rings is not None:
            labels["wavelength"] = self.rings.wavelengths
        if self.members is not None:
            labels["rank"] = np.arange(self.members + 1)
            labels["probability"] = labels["rank"] / self.members
        return labels

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """How many sums each group has: names, then its dims."""
        labels = self.labels
        every = [GROUPS[name] for name in self.groups]
        return [(len(each.names), *(len(labels[dim]) for dim in each.dims)) for each in every]

    @property
    def size(self) -> int:
        """How many sums there are."""
        return sum(math.prod(shape) for shape in self.shapes)

    def take(self, forecast: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """All sums of a pair of frames, float64, one after the other; `name` is the way back."""
        pair = Pair(forecast, observed, ~(np.isnan(forecast) | np.isnan(observed)))
        return np.concatenate([np.ravel(GROUPS[name].of(pair, self)) for name in self.groups])

    def name(self, sums: Any) -> dict[str, Any]:
        """The sums (..., size), of NumPy or dask, by name: each (..., *dims of its group)."""
        named, start = {}, 0
        for key, (_, *shape) in zip(self.groups, self.shapes, strict=True):
            for name in GROUPS[key].names:
                stop = start + math.prod(shape)
                part = sums[..., start:stop] if shape else sums[..., start]
                named[name] = part.reshape((*sums.shape[:-1], *shape))
                start = stop
        return named

    def dims(self, name: str) -> tuple[str, ...]:
        """The dims of a sum."""
        return next(GROUPS[key].dims for key in self.groups if name in GROUPS[key].names)


def _count(pair: Pair, how: Measure) -> np.ndarray:
    return np.array([np.count_nonzero(pair.there)], float)


def _moments(pair: Pair, how: Measure) -> np.ndarray:
    """Weighted sums of 1, f, o, f f, o o, f o, |f - o| and (f - o)^2."""
    f = np.where(pair.there, pair.forecast, 0).astype(float)
    o = np.where(pair.there, pair.observed, 0).astype(float)
    w = pair.there.astype(float) if how.areas is None else pair.there * how.areas
    wf, wo, error = w * f, w * o, f - o
    squares = [np.vdot(wf, f), np.vdot(wo, o), np.vdot(wf, o)]
    errors = [np.vdot(w, np.abs(error)), np.vdot(w * error, error)]
    return np.array([w.sum(), wf.sum(), wo.sum(), *squares, *errors])


def _events(pair: Pair, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the forecast and the observation reach the threshold, of the pixels that count."""
    forecast, observed = pair.forecast >= threshold, pair.observed >= threshold
    return forecast & pair.there, observed & pair.there


def _contingency(pair: Pair, how: Measure) -> np.ndarray:
    """Hits, misses and false alarms (3, threshold)."""
    counts = []
    for threshold in how.thresholds:
        forecast, observed = _events(pair, threshold)
        hits = np.count_nonzero(forecast & observed)
        misses = np.count_nonzero(observed) - hits
        counts.append([hits, misses, np.count_nonzero(forecast) - hits])
    return np.array(counts, float).T


def max_pool(field: np.ndarray, there: np.ndarray, size: int) -> np.ndarray:
    """The maximum of each block of size x size pixels, of those that count; -inf where none does.

    Blocks at the far rims hold what is left.

    >>> max_pool(np.array([[1.0, 5.0, 2.0]]), np.array([[True, False, True]]), 2)
    array([[1., 2.]])
    """
    rows, columns = (-(-pixels // size) for pixels in field.shape)
    blocks = np.full((rows * size, columns * size), -np.inf, field.dtype)
    blocks[: field.shape[0], : field.shape[1]] = np.where(there, field, -np.inf)
    return blocks.reshape(rows, size, columns, size).max(axis=(1, 3))


def _pooled_contingency(pair: Pair, how: Measure, size: int) -> np.ndarray:
    """The same of max-pooled fields; a block without a pixel that counts is no event in either."""
    forecast, observed = (max_pool(f, pair.there, size) for f in (pair.forecast, pair.observed))
    return _contingency(Pair(forecast, observed, np.isfinite(forecast)), how)


def _fractions(pair: Pair, how: Measure) -> np.ndarray:
    """Squared difference and squares of neighbourhood fractions (2, threshold), for FSS.

    A fraction is the share of a window that is an event; what lies beyond the rim, or doesn't
    count, is none. Roberts and Lean (2008), Mon. Wea. Rev. 136, 78-97. By SciPy: the library
    `scores` gives the same of a frame without NaN, in seven times the time.
    """
    sums = []
    for threshold in how.thresholds:
        forecast, observed = (
            uniform_filter(events.astype(float), how.window, mode="constant")[pair.there]
            for events in _events(pair, threshold)
        )
        difference = forecast - observed
        square = np.vdot(forecast, forecast) + np.vdot(observed, observed)
        sums.append([np.vdot(difference, difference), square])
    return np.array(sums, float).T


def _spectrum(pair: Pair, how: Measure) -> np.ndarray:
    """By ring: one for a frame that has pixels; spectral densities of forecast and observation."""
    assert how.rings is not None
    found = [how.rings.density(f, pair.there) for f in (pair.forecast, pair.observed)]
    return np.stack([np.full_like(found[0], pair.there.any()), *found])


@dataclass(frozen=True)
class Group:
    """Sums that are taken together.

    Attributes
    ----------
    names : tuple of str
    of : callable
        Gives the sums (name, *dims).
    dims : tuple of str
        Which of the `labels` of the measure each sum has.
    ensemble : bool
        Whether it is of all members together.
    """

    names: tuple[str, ...]
    of: Callable[[Pair, Measure], np.ndarray]
    dims: tuple[str, ...] = ()
    ensemble: bool = False


AT = ("threshold",)
CONTINGENCY = "hits", "misses", "false_alarms"
GROUPS = {
    "count": Group(("n",), _count),
    "moments": Group(("weight", "f", "o", "ff", "oo", "fo", "ae", "ee"), _moments),
    "contingency": Group(CONTINGENCY, _contingency, AT),
    **{
        f"contingency_pool{size}": Group(
            tuple(f"{name}_pool{size}" for name in CONTINGENCY),
            partial(_pooled_contingency, size=size),
            AT,
        )
        for size in (4, 16)
    },
    "fractions": Group(("fraction_errors", "fraction_squares"), _fractions, AT),
    "spectrum": Group(("frames", "power", "power_observed"), _spectrum, ("wavelength",)),
    "cases": Group(("cases", "cases_weight"), ensemble_sums.cases, ensemble=True),
    "crps": Group(("crps",), ensemble_sums.crps, ensemble=True),
    "spread": Group(("variance", "mean_ee"), ensemble_sums.spread, ensemble=True),
    "ranks": Group(("ranks",), ensemble_sums.ranks, ("rank",), ensemble=True),
    "probabilities": Group(
        ("forecasts", "events"), ensemble_sums.probabilities, (*AT, "probability"), ensemble=True
    ),
}
