"""Scores of ensembles, all members together.

A pixel counts where the observation and every member have a value. M is the number of members; a
forecast without members is an ensemble of one.

Fair scores are those of infinitely many members; plain ones score the M members as they are, and
fall as M grows. Equal to `scores` (`crps_for_ensemble(method="fair")` and `"ecdf"`,
`brier_score_for_ensemble`, `rank_histogram`), but that a fair score of one member is its plain one,
not NaN; to xskillscore (`crps_ensemble`, `threshold_brier_score`, both plain) but that its events
lie above the threshold, not at it, and that its ranks of equal values are drawn at random; and to
pysteps (`CRPS`, plain), but where an observation equals a member: pysteps gives 0 there.
"""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from .base import Group, Measure, Pair, Score, ratio, ratio_of

if TYPE_CHECKING:
    import xarray as xr

P = "probability"


# --- sums of one ensemble of frames


def fair_and_plain_crps(members: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fair (Ferro, 2014) and the plain CRPS of members (M, case), in M log M steps.

    Fair: mean |x_i - o| - sum_ij |x_i - x_j| / (2 M (M - 1)), and with x sorted the double sum is
    2 sum_i (2 i - M + 1) x_i; plain: M^2 in place of M (M - 1). A single member has no spread:
    |x - o|.
    """
    error = np.abs(members - observed).mean(axis=0)
    count = len(members)
    if count == 1:  # the mean absolute error
        return error, error
    ranks = (2 * np.arange(count) - count + 1) / (count * (count - 1))
    spread = ranks @ np.sort(members, axis=0)
    return error - spread, error - spread * (count - 1) / count


def sum_crps(pair: Pair, measure: Measure) -> np.ndarray:
    """Return the weighted sums of the fair and of the plain CRPS."""
    members, observed, weights = pair.cases
    return np.array([np.vdot(weights, each) for each in fair_and_plain_crps(members, observed)])


def sum_spread(pair: Pair, measure: Measure) -> np.ndarray:
    """Return weighted sums of the variance and of the squared error of the ensemble mean.

    The variance is the members' unbiased one times (M + 1) / M: for members and observation of one
    distribution its mean is the mean squared error of an ensemble mean of M members (Fortin et al.,
    2014, J. Hydrometeorol. 15, 1708-1713).
    """
    members, observed, weights = pair.cases
    count = len(members)
    mean = members.mean(axis=0)
    error = mean - observed
    variance = np.square(members - mean).sum(axis=0) / (count - 1) * (count + 1) / count
    return np.array([np.vdot(weights, variance), np.vdot(weights * error, error)])


def count_ranks(pair: Pair, measure: Measure) -> np.ndarray:
    """Return how many observations have k members below them, k = 0 .. M (1, rank)."""
    members, observed, _ = pair.cases
    size = len(members) + 2  # ranks 0 .. M, and an end after the last
    low, high = (members < observed).sum(axis=0), (members <= observed).sum(axis=0)
    # Members that equal the observation leave its rank open: all ranks low .. high share it evenly.
    share = 1 / (high - low + 1)
    begin = np.bincount(low, share, minlength=size)
    end = np.bincount(high + 1, share, minlength=size)
    return np.cumsum(begin - end)[None, :-1]


def count_probabilities(pair: Pair, measure: Measure) -> np.ndarray:
    """Return counts (2, threshold, probability) of pixels where k of M members are events.

    First of all pixels, then of those where the observation is an event too. Brier score,
    reliability and ROC are all computed from these.
    """
    members, observed, _ = pair.cases
    size = len(members) + 1  # k = 0 .. M
    counts = np.zeros((2, len(measure.thresholds), size))
    for i, threshold in enumerate(measure.thresholds):
        events = np.count_nonzero(members >= threshold, axis=0)  # k, (pixel,)
        counts[0, i] = np.bincount(events, minlength=size)
        counts[1, i] = np.bincount(events[observed >= threshold], minlength=size)
    return counts


# --- scores of a total


def root_mean(total: xr.Dataset, name: str) -> xr.DataArray:
    """Return the root of a weighted mean over cases."""
    return ratio(total[name], total["cases_weight"]) ** 0.5


def brier_plain(total: xr.Dataset) -> xr.DataArray:
    """Return the Brier score of the shares of members: mean (k / M - o)^2."""
    forecasts, events, p = total["forecasts"], total["events"], total[P]
    square = forecasts * p**2 - 2 * events * p + events  # (p - o)^2, since o^2 = o
    return ratio(square.sum(P), forecasts.sum(P))


def brier(total: xr.Dataset) -> xr.DataArray:
    """Return the fair Brier score (Ferro, 2014): that of infinitely many members.

    mean (k / M - o)^2 - k (M - k) / (M^2 (M - 1)), for k events among M members; the plain score
    where M is 1.
    """
    forecasts, p = total["forecasts"], total[P]
    members = p.size - 1
    if members == 1:
        return brier_plain(total)
    variance = forecasts * p * (1 - p) / (members - 1)
    return brier_plain(total) - ratio(variance.sum(P), forecasts.sum(P))


def rank_share(total: xr.Dataset, rank: int) -> xr.DataArray:
    """Return the share of observations of one rank."""
    ranks = total["ranks"]
    return ratio(ranks.isel(rank=rank, drop=True), ranks.sum("rank"))


def roc_curve(total: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the shares of events, and of non-events, forecast with each probability or more."""
    shares = []
    for counts in (total["events"], total["forecasts"] - total["events"]):
        whole, below = counts.sum(P), counts.cumsum(P) - counts
        # cumsum drops the labels
        shares.append(ratio((whole - below).assign_coords({P: counts[P]}), whole))
    return shares[0], shares[1]


def roc(total: xr.Dataset) -> xr.DataArray:
    """Return the area under the ROC curve, by straight lines from never to always.

    It is how often an event had a higher probability than a non-event; equal ones count half.
    """
    y, x = roc_curve(total)
    # From one probability to the next higher one; beyond the highest no warning is left.
    next_y, next_x = (da.shift({P: -1}, fill_value=0) for da in (y, x))
    return ((x - next_x) * (y + next_y) / 2).sum(P, skipna=False)


CRPS = Group(("crps", "crps_ensemble"), sum_crps, least_members=1)
SPREAD = Group(("variance", "mean_ee"), sum_spread, least_members=2)  # one has no variance
RANKS = Group(("ranks",), count_ranks, ("rank",), least_members=1)
PROBABILITIES = Group(("forecasts", "events"), count_probabilities, ("threshold", P), 1)

SCORES = {
    "crps": Score(
        "fair continuous ranked probability score",
        CRPS,
        ratio_of(["crps"], ["cases_weight"]),
        "whatever the number of members (Ferro, 2014); of one, the mean absolute error",
        power=1,
        perfect=0,
        column="CRPS",
    ),
    "crps_ensemble": Score(
        "continuous ranked probability score",
        CRPS,
        ratio_of(["crps_ensemble"], ["cases_weight"]),
        "the plain one, of the M members as they are",
        power=1,
        perfect=0,
    ),
    "spread_skill": Score(
        "spread over error of the mean",
        SPREAD,
        lambda total: ratio(root_mean(total, "variance"), root_mean(total, "mean_ee")),
        "1 where members differ as much as the truth does from them",
        column="spread / skill",
        companions=("spread", "rmse_of_mean"),
    ),
    "spread": Score(
        "spread of the members",
        SPREAD,
        partial(root_mean, name="variance"),
        "root of the mean unbiased variance times (M + 1) / M",
        power=1,
    ),
    "rmse_of_mean": Score(
        "root mean square error of the ensemble mean",
        SPREAD,
        partial(root_mean, name="mean_ee"),
        power=1,
    ),
    "rank_histogram": Score(
        "observations of this rank",
        RANKS,
        itemgetter("ranks"),
        "with 0 to M members below; members that equal the observation share it evenly",
    ),
    "rank_lowest": Score(
        "share of observations of the lowest rank",
        RANKS,
        partial(rank_share, rank=0),
        "below all members; 1 / (M + 1) where members are drawn as the truth is",
    ),
    "rank_highest": Score(
        "share of observations of the highest rank",
        RANKS,
        partial(rank_share, rank=-1),
        "above all members; 1 / (M + 1) as well",
    ),
    "brier": Score(
        "fair Brier score",
        PROBABILITIES,
        brier,
        "what the plain one would be of infinitely many members (Ferro, 2014)",
        perfect=0,
    ),
    "brier_ensemble": Score(
        "Brier score",
        PROBABILITIES,
        brier_plain,
        "the plain one, of the shares of M members",
        perfect=0,
    ),
    "reliability": Score(
        "observed frequency",
        PROBABILITIES,
        ratio_of(["events"], ["forecasts"]),
        "of the event, where k of M members forecast it",
        companions=("reliability_n",),
    ),
    "reliability_n": Score("forecasts of this probability", PROBABILITIES, itemgetter("forecasts")),
    "roc": Score(
        "area under the ROC curve",
        PROBABILITIES,
        roc,
        "`roc_pod` over `roc_pofd`, where a probability or more is a warning",
        perfect=1,
        companions=("roc_pod", "roc_pofd"),
    ),
    "roc_pod": Score("probability of detection", PROBABILITIES, lambda total: roc_curve(total)[0]),
    "roc_pofd": Score(
        "probability of false detection", PROBABILITIES, lambda total: roc_curve(total)[1]
    ),
}
