"""Scores of events: counts of hits, misses and false alarms at thresholds, and their ratios."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .base import Group, Measure, Pair, Score, ratio

if TYPE_CHECKING:
    import xarray as xr

COUNTS = "hits", "misses", "false_alarms"


def count_events(pair: Pair, measure: Measure) -> np.ndarray:
    """Return hits, misses and false alarms (3, threshold)."""
    counts = []
    for threshold in measure.thresholds:
        forecast, observed = pair.events(threshold)
        hits = np.count_nonzero(forecast & observed)
        misses = np.count_nonzero(observed) - hits
        counts.append([hits, misses, np.count_nonzero(forecast) - hits])
    return np.array(counts, float).T


def max_pool(field: np.ndarray, valid: np.ndarray, size: int) -> np.ndarray:
    """Return the maximum of the valid pixels of each block of size x size; -inf without any.

    Blocks at the far edges hold the pixels that are left.

    >>> max_pool(np.array([[1.0, 5.0, 2.0]]), np.array([[True, False, True]]), 2)
    array([[1., 2.]])
    """
    rows, columns = (-(-pixels // size) for pixels in field.shape)  # rounded up
    # -inf is no event at any threshold, and marks blocks without a valid pixel.
    blocks = np.full((rows * size, columns * size), -np.inf, field.dtype)
    blocks[: field.shape[0], : field.shape[1]] = np.where(valid, field, -np.inf)
    return blocks.reshape(rows, size, columns, size).max(axis=(1, 3))


def count_pooled_events(pair: Pair, measure: Measure, size: int) -> np.ndarray:
    """Return the same counts of max-pooled fields, over the blocks with a valid pixel."""
    # A pixel that one side lacks is left out of both maxima.
    forecast, observed = (max_pool(f, pair.valid, size) for f in (pair.forecast, pair.observed))
    return count_events(Pair(forecast, observed, np.isfinite(forecast)), measure)


def csi(total: xr.Dataset, pool: str = "") -> xr.DataArray:
    """Return hits over hits, misses and false alarms."""
    hits, misses, false_alarms = (total[name + pool] for name in COUNTS)
    return ratio(hits, hits + misses + false_alarms)


CONTINGENCY = Group(COUNTS, count_events, ("threshold",))
# Maxima of blocks of 4 x 4 and 16 x 16 pixels: near misses count as hits.
POOLED = {
    size: Group(
        tuple(f"{name}_pool{size}" for name in COUNTS),
        partial(count_pooled_events, size=size),
        ("threshold",),
        fields=True,
    )
    for size in (4, 16)
}

SCORES = {
    "csi": Score(
        "critical success index",
        CONTINGENCY,
        csi,
        column="CSI",
        about="hits / (hits + misses + false alarms)",
        default=True,
    ),
    "pod": Score(
        "probability of detection",
        CONTINGENCY,
        lambda total: ratio(total["hits"], total["hits"] + total["misses"]),
        about="hits / observed events",
        default=True,
    ),
    "sucr": Score(
        "success ratio",
        CONTINGENCY,
        lambda total: ratio(total["hits"], total["hits"] + total["false_alarms"]),
        about="hits / forecast events",
        default=True,
    ),
    "bias": Score(
        "frequency bias",
        CONTINGENCY,
        lambda t: ratio(t["hits"] + t["false_alarms"], t["hits"] + t["misses"]),
        about="forecast events / observed events",
        default=True,
    ),
    "csi_m": Score(
        "mean critical success index of the thresholds",
        CONTINGENCY,
        lambda total: csi(total).mean("threshold"),
        about="without those that neither side reaches",
        default=True,
    ),
    **{
        f"csi_pool{size}": Score(
            f"critical success index of {size} x {size} maxima",
            group,
            partial(csi, pool=f"_pool{size}"),
        )
        for size, group in POOLED.items()
    },
}
