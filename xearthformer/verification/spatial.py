"""The fractions skill score (FSS): events compared in neighbourhoods, not pixel by pixel.

Equal to `pysteps.verification.fss`: an event is a value of at least the threshold, beyond the edge
there is none, squares are summed over frames before the score is taken. There a pixel without a
value counts as one without the event; here its fraction does not count. `scores.spatial.fss_2d`
counts values above the threshold, takes the windows within the domain alone, or those that touch
it, and scores a pair of dry frames 0; here such a pair has no score (NaN), and adds nothing to that
of others.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .base import Group, Measure, Pair, Score, ratio


def sum_fractions(pair: Pair, measure: Measure) -> np.ndarray:
    """Return squared differences, and squares, of the fractions of events (2, window, threshold).

    A fraction is the share of events in the window around a pixel; pixels beyond the edge, or not
    valid, are none. Roberts and Lean (2008), Mon. Wea. Rev. 136, 78-97.
    """
    sums = np.zeros((2, len(measure.windows), len(measure.thresholds)))
    for j, threshold in enumerate(measure.thresholds):
        events = pair.events(threshold)
        if not (events[0].any() or events[1].any()):
            continue  # nothing to compare: the sums are 0
        ours = _count(events[0], pair, measure)
        theirs = pair.once(("events", threshold), partial(_count, events[1], pair, measure))
        for i, window in enumerate(measure.windows):
            (forecast, own), (observed, other) = ours[i], theirs[i]
            square = own + other  # the worst error: events that never meet
            # Whole numbers: what is left of the difference is not rounded.
            error = square - 2 * np.vdot(forecast, observed)
            pixels = window[0] * window[1]
            sums[:, i, j] = error / pixels**2, square / pixels**2
    return sums


def _count(events: np.ndarray, pair: Pair, measure: Measure) -> list[tuple[np.ndarray, float]]:
    """Return the events around each valid pixel, and the sum of their squares, of each window."""
    table = summed_area(events)
    counts = [
        np.multiply(count_in_windows(table, window), pair.valid, dtype=float)
        for window in measure.windows
    ]
    return [(count, float(np.vdot(count, count))) for count in counts]


def summed_area(events: np.ndarray) -> np.ndarray:
    """Return how many events lie before each corner of the pixels, (y + 1, x + 1).

    Any window's number is the sum of four of these: one table serves windows of all widths, in half
    the time of a filter for each, and without rounding.
    """
    table = np.zeros([size + 1 for size in events.shape], np.int32)
    np.cumsum(events, axis=1, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=0, out=table[1:, 1:])
    return table


def count_in_windows(table: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Return the number of events in the window around each pixel; there are none beyond the edge.

    A window of an even number of pixels has one more before the pixel than after it, as SciPy's
    filters have it.
    """
    for axis, pixels in enumerate(window):
        table = _differences(table, pixels, axis)
    return table


def _differences(table: np.ndarray, pixels: int, axis: int) -> np.ndarray:
    """Return what a summed table gains from the start to the end of each window along an axis."""
    size = table.shape[axis] - 1
    # By slices, the last or the first value beyond the edge: indices take longer.
    before, after = min(pixels // 2, size), min(pixels - pixels // 2, size)
    shape = [size if k == axis else n for k, n in enumerate(table.shape)]
    counts = np.empty(shape, table.dtype)
    out, sums = np.moveaxis(counts, axis, 0), np.moveaxis(table, axis, 0)
    out[: size - after + 1] = sums[after:]
    out[size - after + 1 :] = sums[-1]
    out[before:] -= sums[: size - before]
    return counts


FRACTIONS = Group(
    ("fraction_errors", "fraction_squares"),
    sum_fractions,
    ("window", "threshold"),
    fields=True,
    window=True,
)
SCORES = {
    "fss": Score(
        "fractions skill score",
        FRACTIONS,
        lambda total: 1 - ratio(total["fraction_errors"], total["fraction_squares"]),
        "in neighbourhoods of the window (Roberts and Lean, 2008)",
        perfect=1,
        column="FSS",
    ),
}
