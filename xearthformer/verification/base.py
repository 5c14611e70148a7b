"""What a score is: sums over every pair of frames, and a formula of their total. NumPy only.

Sums add up over leads, inits, events and machines; formulas are taken of totals alone. A family of
scores (`deterministic`, `categorical`, ...) writes its sums as a `Group` and lists its scores in a
table `SCORES`; `scores` merges the tables.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    import dask.array
    import xarray as xr

    from .spectra import Rings

Result = TypeVar("Result")
Array: TypeAlias = "np.ndarray | dask.array.Array"
Formula: TypeAlias = "Callable[[xr.Dataset], xr.DataArray]"  # a score of the total of its sums


@dataclass(frozen=True, eq=False)
class Pair:
    """A forecast frame, the observed frame of its valid time, and where both have a value.

    Frames have any shape, (y, x) for scores of fields. The forecast of an ensemble, and `valid`
    with it, have an axis of members in front.
    """

    forecast: np.ndarray
    observed: np.ndarray
    valid: np.ndarray  # bool
    areas: np.ndarray | None = None  # as in a measure
    # What was computed of the observed frame for other members, over the same valid pixels.
    seen: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Return what depends on the observed frame and the valid pixels alone."""
        if key not in self.seen:
            self.seen[key] = compute()
        result: Result = self.seen[key]
        return result

    def events(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the valid pixels that reach a threshold, forecast and observed."""
        forecast, observed = self.forecast >= threshold, self.observed >= threshold
        return forecast & self.valid, observed & self.valid

    @functools.cached_property
    def cases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members (member, pixel), observations and weights where all members are valid."""
        valid = np.asarray(self.valid.all(axis=0))
        count = np.count_nonzero(valid)
        weights = np.ones(count) if self.areas is None else self.areas[valid]
        members = self.forecast[:, valid].astype(float)
        return members, np.asarray(self.observed)[valid].astype(float), weights


@dataclass(frozen=True)
class Group:
    """Sums that are computed together."""

    names: tuple[str, ...]  # of the sums; no two groups share one
    compute: Callable[[Pair, Measure], np.ndarray]  # the sums of a pair, (name, *dims)
    dims: tuple[str, ...] = ()  # of each sum, among the `labels` of a measure
    # Smallest ensemble that it can be computed of, all members together; 0: members are compared
    # with the observation one by one.
    least_members: int = 0
    fields: bool = False  # needs a grid: an index has no such score
    window: bool = False  # needs the width of a neighbourhood


@dataclass(frozen=True)
class Score:
    """A score, as one entry of a family's table."""

    long_name: str  # the attribute of the result, and the first words of the documentation
    group: Group  # the sums it needs; the counts `n` and `cases_weight` are always there too
    formula: Formula
    about: str = ""  # more words for the documentation
    power: int = 0  # of the variable's units that the score has; 0: a pure number
    perfect: float | None = None  # value of a forecast without error; None: it makes no skill score
    column: str = ""  # heading of its column in printed tables; "": not printed
    companions: tuple[str, ...] = ()  # scores that are always given with this one
    default: bool = True  # given when no scores are named, where its needs are met


@dataclass(frozen=True, eq=False)
class Measure:
    """The groups of sums to compute of a pair of frames, and what they depend on."""

    groups: tuple[Group, ...]
    thresholds: tuple[float, ...] = ()  # a pixel is an event where its value is at least this
    windows: tuple[tuple[int, int], ...] = ()  # neighbourhoods of FSS in pixels, y and x
    widths: tuple[float | str, ...] = ()  # what they are called
    spacing: tuple[float, float] = (1.0, 1.0)  # from pixel to pixel, y and x, in any unit of length
    areas: np.ndarray | None = None  # (y, x) weights of pixels in errors; None: all the same
    rings: Rings | None = None  # of wavenumbers, that spectra are averaged around
    members: int | None = None  # number of members; None: frames are compared one by one

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels along each dim that sums may have."""
        labels = {"threshold": np.array(self.thresholds), "window": np.array(self.widths)}
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

    def compute(
        self, forecast: np.ndarray, observed: np.ndarray, seen: dict[Hashable, Any] | None = None
    ) -> np.ndarray:
        """Return all sums of a pair of frames, float64 (size,); `split` names them.

        `seen` is the same dict for all forecasts of one observed frame, which is looked at once.
        """
        # An ensemble's members broadcast against the one observed frame.
        valid = ~(np.isnan(forecast) | np.isnan(observed))
        seen = {} if seen is None else seen
        if not np.array_equal(seen.get("valid", ()), valid):  # it was looked at elsewhere
            seen.clear()
            seen["valid"] = valid
        pair = Pair(forecast, observed, valid, self.areas, seen)
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
    *_, weights = pair.cases
    return np.array([weights.size, weights.sum()])


# Counted with every score: of members one by one, and of all members together.
COUNT = Group(("n",), count_pairs)
CASES = Group(("cases", "cases_weight"), count_cases, least_members=1)


def ratio(sums: xr.DataArray, counts: xr.DataArray) -> xr.DataArray:
    """Return sums over counts; NaN where nothing was counted."""
    return sums / counts.where(counts > 0)


def ratio_of(sums: Sequence[str], counts: Sequence[str]) -> Formula:
    """Return the formula that adds up the sums of these names and divides them by the counts."""

    def formula(total: xr.Dataset) -> xr.DataArray:
        above = functools.reduce(operator.add, [total[name] for name in sums])
        return ratio(above, functools.reduce(operator.add, [total[name] for name in counts]))

    return formula
