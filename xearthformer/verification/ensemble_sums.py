"""What one ensemble of frames and the observed frame add to the scores: sums, by NumPy.

A pixel counts where the observation and every member have a value. Sums add up like those of
`frame_sums`, which names them; what is made of them stands in `ensemble_scores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .frame_sums import Measure, Pair


def cases(pair: Pair, how: Measure) -> np.ndarray:
    """How many pixels count, and what they weigh."""
    there = _there(pair)
    return np.array([np.count_nonzero(there), _weights(there, how).sum()])


def crps(pair: Pair, how: Measure) -> np.ndarray:
    """Weighted sum of the fair CRPS (Ferro, 2014), in M log M steps by sorting.

    mean |x_i - o| - sum_ij |x_i - x_j| / (2 M (M - 1)), and with x sorted the double sum is
    2 sum_i (2 i - M + 1) x_i. A single member has no spread: |x - o|. The library `scores` gives
    the same of a frame, without the sums that add up over blocks.
    """
    members, observed, weights = _values(pair, how)
    error = np.abs(members - observed).mean(axis=0)
    count = how.members or 1
    if count > 1:
        ranks = (2 * np.arange(count) - count + 1) / (count * (count - 1))
        error -= ranks @ np.sort(members, axis=0)
    return np.array([np.vdot(weights, error)])


def spread(pair: Pair, how: Measure) -> np.ndarray:
    """Weighted sums of the variance and of the squared error of the ensemble mean.

    The variance is the members' unbiased one times (M + 1) / M: for members and observation of one
    distribution its mean is the mean squared error of an ensemble mean of M members (Fortin et al.,
    2014, J. Hydrometeorol. 15, 1708-1713).
    """
    members, observed, weights = _values(pair, how)
    count = how.members or 1
    mean = members.mean(axis=0)
    error = mean - observed
    variance = np.square(members - mean).sum(axis=0) / (count - 1) * (count + 1) / count
    return np.array([np.vdot(weights, variance), np.vdot(weights * error, error)])


def ranks(pair: Pair, how: Measure) -> np.ndarray:
    """How often k members lie below the observation, k = 0 .. M.

    Members that equal the observation leave its rank open: it is shared evenly by all it may be.
    """
    members, observed, _ = _values(pair, how)
    size = (how.members or 1) + 2
    low, high = (members < observed).sum(axis=0), (members <= observed).sum(axis=0)
    share = 1 / (high - low + 1)
    begin = np.bincount(low, share, minlength=size)
    end = np.bincount(high + 1, share, minlength=size)
    return np.cumsum(begin - end)[None, :-1]


def probabilities(pair: Pair, how: Measure) -> np.ndarray:
    """By threshold, how often k members are events, k = 0 .. M, and how often the observation then.

    Reliability, Brier score and ROC are all made of these (2, threshold, probability).
    """
    members, observed, _ = _values(pair, how)
    size = (how.members or 1) + 1
    counts = np.zeros((2, len(how.thresholds), size))
    for i, threshold in enumerate(how.thresholds):
        events = np.count_nonzero(members >= threshold, axis=0)
        counts[0, i] = np.bincount(events, minlength=size)
        counts[1, i] = np.bincount(events[observed >= threshold], minlength=size)
    return counts


def _there(pair: Pair) -> np.ndarray:
    """Where the observation and every member have a value."""
    return np.asarray(pair.there.all(axis=0))


def _weights(there: np.ndarray, how: Measure) -> np.ndarray:
    return np.ones(np.count_nonzero(there)) if how.areas is None else how.areas[there]


def _values(pair: Pair, how: Measure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the pixels that count: members (member, pixel), observation and weight."""
    there = _there(pair)
    members = pair.forecast[:, there].astype(float)
    return members, np.asarray(pair.observed)[there].astype(float), _weights(there, how)
