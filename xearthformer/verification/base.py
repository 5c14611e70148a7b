"""What a score is: sums over every pair of frames, and a formula of their total. NumPy only.

Sums add up over leads, inits, events and machines; formulas are taken of totals alone. A family of
scores (`deterministic`, `categorical`, ...) writes its sums as a `Group` and lists its scores in a
table `SCORES`; `scores` merges the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .rings import Rings

if TYPE_CHECKING:
    import dask.array
    import xarray as xr

Array: TypeAlias = "np.ndarray | dask.array.Array"


@dataclass(frozen=True, eq=False)
class Pair:
    """A forecast frame, the observed frame of its valid time, and where both have a value.

    Frames have any shape, (y, x) for scores of fields. The forecast of an ensemble, and `valid`
    with it, have an axis of members in front.
    """

    forecast: np.ndarray
    observed: np.ndarray
    valid: np.ndarray  # bool

    def events(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the valid pixels that reach a threshold, forecast and observed."""
        forecast, observed = self.forecast >= threshold, self.observed >= threshold
        return forecast & self.valid, observed & self.valid

    def cases(self, measure: Measure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return members (member, pixel), observations and weights where all members are valid."""
        valid = np.asarray(self.valid.all(axis=0))
        count = np.count_nonzero(valid)
        weights = np.ones(count) if measure.areas is None else measure.areas[valid]
        members = self.forecast[:, valid].astype(float)
        return members, np.asarray(self.observed)[valid].astype(float), weights


@dataclass(frozen=True)
class Group:
    """Sums that are computed together.

    Attributes
    ----------
    names : tuple of str
        Names of the sums; no two groups share one.
    compute : callable
        Gives the sums of a pair, (name, *dims).
    dims : tuple of str
        Dims of each sum, among the `labels` of a measure.
    least_members : int
        Smallest ensemble that it can be computed of, all members together. 0: members are compared
        with the observation one by one.
    fields : bool
        Whether it needs a grid: an index has no such score.
    window : bool
        Whether it needs the width of a neighbourhood.
    """

    names: tuple[str, ...]
    compute: Callable[[Pair, Measure], np.ndarray]
    dims: tuple[str, ...] = ()
    least_members: int = 0
    fields: bool = False
    window: bool = False


@dataclass(frozen=True)
class Score:
    """A score, as one entry of a family's table.

    Attributes
    ----------
    long_name : str
        The attribute `long_name` of the result.
    group : Group
        The sums it needs. The counts `n` and `cases_weight` are there besides.
    formula : callable
        Gives the score of a total: a Dataset of the sums.
    power : int
        The score has this power of the variable's units. Default 0, a pure number.
    column : str
        Heading of its column in printed tables. Default "": not printed.
    about : str
        A few more words for the documentation.
    companions : tuple of str
        Names of scores that are always given with this one.
    default : bool
        Whether `verify` gives it when no scores are named and its needs are met.
    """

    long_name: str
    group: Group
    formula: Callable[[xr.Dataset], xr.DataArray]
    power: int = 0
    column: str = ""
    about: str = ""
    companions: tuple[str, ...] = ()
    default: bool = False


@dataclass(frozen=True, eq=False)
class Measure:
    """The groups of sums to compute of a pair of frames, and what they need to know.

    Attributes
    ----------
    groups : tuple of Group
    thresholds : tuple of float
        A pixel is an event where its value is at least this.
    window : (int, int), optional
        Neighbourhood of FSS in pixels, y and x.
    areas : array (y, x), optional
        Weight of each pixel in errors. None: all the same.
    rings : Rings, optional
        Rings of wavenumbers that spectra are averaged around.
    members : int, optional
        Number of members, for groups of ensembles. None: frames are compared one by one.
    """

    groups: tuple[Group, ...]
    thresholds: tuple[float, ...] = ()
    window: tuple[int, int] | None = None
    areas: np.ndarray | None = None
    rings: Rings | None = None
    members: int | None = None

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels along each dim that sums may have."""
        labels = {"threshold": np.array(self.thresholds)}
        if self.rings is not None:
            labels["wavelength"] = self.rings.wavelengths
        if self.members is not None:
            labels["rank"] = np.arange(self.members + 1)  # 0 .. M members lie below
            labels["probability"] = labels["rank"] / self.members
        return labels

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each group's sums: names, then its dims."""
        labels = self.labels
        return [(len(g.names), *(len(labels[dim]) for dim in g.dims)) for g in self.groups]

    @property
    def size(self) -> int:
        """The number of sums."""
        return sum(math.prod(shape) for shape in self.shapes)

    def compute(self, forecast: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Return all sums of a pair of frames, float64 (size,); `split` names them."""
        pair = Pair(forecast, observed, ~(np.isnan(forecast) | np.isnan(observed)))
        return np.concatenate([np.ravel(group.compute(pair, self)) for group in self.groups])

    def split(self, sums: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
        """Return the dims and values of each sum by name, of sums (..., size) end to end."""
        named, start = {}, 0
        for group, (_, *shape) in zip(self.groups, self.shapes, strict=True):
            for name in group.names:
                stop = start + math.prod(shape)
                values = sums[..., start:stop] if shape else sums[..., start]
                named[name] = group.dims, values.reshape((*sums.shape[:-1], *shape))
                start = stop
        return named


def count_pairs(pair: Pair, measure: Measure) -> np.ndarray:
    """Return the number of valid pixels."""
    return np.array([np.count_nonzero(pair.valid)], float)


def count_cases(pair: Pair, measure: Measure) -> np.ndarray:
    """Return the number and the weight of the pixels where all members are valid."""
    *_, weights = pair.cases(measure)
    return np.array([weights.size, weights.sum()])


# Counted with every score: of members one by one, and of all members together.
COUNT = Group(("n",), count_pairs)
CASES = Group(("cases", "cases_weight"), count_cases, least_members=1)


def ratio(sums: xr.DataArray, counts: xr.DataArray) -> xr.DataArray:
    """Return sums over counts; NaN where nothing was counted."""
    return sums / counts.where(counts > 0)
