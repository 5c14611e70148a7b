"""Scores of events at thresholds, by pixels and by maxima of blocks.

Equal to those of `scores` (`BinaryContingencyManager`) and xskillscore (`Contingency`), whatever
counts as an event, and to `pysteps.verification.det_cat_fct` but for ties and NaN: there an event
is a value above the threshold, not at it, and a pixel without a value is no event; here it does not
count. A score is NaN where its denominator is 0.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .base import Formula, Group, Measure, Pair, Score, ratio, ratio_of

if TYPE_CHECKING:
    import xarray as xr

COUNTS = "hits", "misses", "false_alarms"
NEGATIVES = "correct_negatives"
FORECAST, OBSERVED = ("hits", "false_alarms"), ("hits", "misses")  # events of either side


def count_events(pair: Pair, measure: Measure) -> np.ndarray:
    """Return hits, misses, false alarms and correct negatives (4, threshold)."""
    counts, pixels = [], np.count_nonzero(pair.valid)
    for threshold in measure.thresholds:
        forecast, observed = pair.events(threshold)
        hits = np.count_nonzero(forecast & observed)
        misses = np.count_nonzero(observed) - hits
        false_alarms = np.count_nonzero(forecast) - hits
        counts.append([hits, misses, false_alarms, pixels - hits - misses - false_alarms])
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
    """Return hits, misses and false alarms of max-pooled fields, over blocks with a valid pixel."""
    # A pixel that one side lacks is left out of both maxima.
    forecast, observed = (max_pool(f, pair.valid, size) for f in (pair.forecast, pair.observed))
    return count_events(Pair(forecast, observed, np.isfinite(forecast)), measure)[: len(COUNTS)]


CONTINGENCY = Group((*COUNTS, NEGATIVES), count_events, ("threshold",))
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


def ets(total: xr.Dataset) -> xr.DataArray:
    """Return the equitable threat score: the critical success index beyond hits by chance.

    Hits by chance are (hits + misses) (hits + false alarms) / pixels.
    """
    hits, misses, false_alarms, negatives = (total[name] for name in CONTINGENCY.names)
    events = hits + misses + false_alarms
    chance = ratio((hits + misses) * (hits + false_alarms), events + negatives)
    return ratio(hits - chance, events - chance)


def hss(total: xr.Dataset) -> xr.DataArray:
    """Return Heidke's skill score: the share of right pixels beyond what is right by chance."""
    hits, misses, false_alarms, negatives = (total[name] for name in CONTINGENCY.names)
    chance = (hits + misses) * (misses + negatives)
    chance = chance + (hits + false_alarms) * (false_alarms + negatives)
    return ratio(2 * (hits * negatives - misses * false_alarms), chance)


def event_score(
    long_name: str, formula: Formula, about: str, perfect: float | None = 1, column: str = ""
) -> Score:
    """Return a score of the counts of events."""
    return Score(long_name, CONTINGENCY, formula, about, perfect=perfect, column=column)


SCORES = {
    "csi": event_score(
        "critical success index", csi, "hits / (hits + misses + false alarms)", column="CSI"
    ),
    "pod": event_score(
        "probability of detection", ratio_of(["hits"], OBSERVED), "hits / observed events"
    ),
    "sucr": event_score("success ratio", ratio_of(["hits"], FORECAST), "hits / forecast events"),
    "bias": event_score(
        "frequency bias", ratio_of(FORECAST, OBSERVED), "forecast events / observed events", None
    ),
    "far": event_score(
        "false alarm ratio",
        ratio_of(["false_alarms"], FORECAST),
        "false alarms / forecast events; 1 - sucr",
        perfect=0,
    ),
    "pofd": event_score(
        "probability of false detection",
        ratio_of(["false_alarms"], ["false_alarms", NEGATIVES]),
        "false alarms / pixels without the event; also called false alarm rate",
        perfect=0,
    ),
    "ets": event_score(
        "equitable threat score",
        ets,
        "csi beyond hits by chance; also called Gilbert skill score (GSS)",
    ),
    "hss": event_score("Heidke skill score", hss, "right pixels beyond those by chance"),
    "base_rate": event_score(
        "base rate",
        ratio_of(OBSERVED, CONTINGENCY.names),
        "observed events / pixels",
        perfect=None,
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
            perfect=1,
            default=False,
        )
        for size, group in POOLED.items()
    },
}
