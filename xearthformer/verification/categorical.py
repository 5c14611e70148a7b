"""Scores of events at thresholds, by pixels and by maxima of blocks."""

from __future__ import annotations

from functools import partial

import numpy as np

from .base import Formula, Group, Measure, Pair, Score, ratio_of

COUNTS = "hits", "misses", "false_alarms"
FORECAST, OBSERVED = ("hits", "false_alarms"), ("hits", "misses")  # events of either side


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
csi = ratio_of(["hits"], COUNTS)


def event_score(long_name: str, formula: Formula, about: str, column: str = "") -> Score:
    """Return a score of the counts of events."""
    return Score(long_name, CONTINGENCY, formula, about, column=column)


SCORES = {
    "csi": event_score(
        "critical success index", csi, "hits / (hits + misses + false alarms)", "CSI"
    ),
    "pod": event_score(
        "probability of detection", ratio_of(["hits"], OBSERVED), "hits / observed events"
    ),
    "sucr": event_score("success ratio", ratio_of(["hits"], FORECAST), "hits / forecast events"),
    "bias": event_score(
        "frequency bias", ratio_of(FORECAST, OBSERVED), "forecast events / observed events"
    ),
    "csi_m": event_score(
        "mean critical success index of the thresholds",
        lambda total: csi(total).mean("threshold"),
        "without those that neither side reaches",
    ),
    **{
        f"csi_pool{size}": Score(
            f"critical success index of {size} x {size} maxima",
            group,
            ratio_of(group.names[:1], group.names),
            default=False,
        )
        for size, group in POOLED.items()
    },
}
