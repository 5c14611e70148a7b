"""The fractions skill score (FSS): events compared in neighbourhoods, not pixel by pixel."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from .base import Group, Measure, Pair, Score, ratio


def sum_fractions(pair: Pair, measure: Measure) -> np.ndarray:
    """Return squared differences, and squares, of the fractions of events (2, threshold).

    A fraction is the share of events in the window around a pixel; pixels beyond the edge, or not
    valid, are none. Roberts and Lean (2008), Mon. Wea. Rev. 136, 78-97.
    """
    # SciPy's filter: the library `scores` gives the same without NaN, in seven times the time.
    sums = []
    for threshold in measure.thresholds:
        forecast, observed = (
            uniform_filter(events.astype(float), measure.window, mode="constant")[pair.valid]
            for events in pair.events(threshold)
        )
        difference = forecast - observed
        # The worst error: events that never meet.
        square = np.vdot(forecast, forecast) + np.vdot(observed, observed)
        sums.append([np.vdot(difference, difference), square])
    return np.array(sums, float).T


FRACTIONS = Group(
    ("fraction_errors", "fraction_squares"), sum_fractions, ("threshold",), fields=True, window=True
)
SCORES = {
    "fss": Score(
        "fractions skill score",
        FRACTIONS,
        lambda total: 1 - ratio(total["fraction_errors"], total["fraction_squares"]),
        "in neighbourhoods of the window (Roberts and Lean, 2008)",
        column="FSS",
    ),
}
