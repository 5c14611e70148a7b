"""Scores of ensembles, each of the total of sums that `ensemble_sums` takes of every frame.

`scores` knows them by name; what a threshold does to members, a probability, stands here too.
"""

from __future__ import annotations

import xarray as xr

from ..errors import mismatch

P = "probability"


def exceedance(forecast: xr.DataArray, threshold: float) -> xr.DataArray:
    """The share of members that reach a threshold: the probability of exceedance.

    Parameters
    ----------
    forecast : DataArray (..., member, ...)
    threshold : float
        In the forecast's units; a value that equals it is an event.

    Returns
    -------
    DataArray
        Without the dim member, from 0 to 1. NaN where a member is. Lazy if the forecast is.

    Raises
    ------
    ValueError
        A forecast without members.

    Examples
    --------
    >>> fc = xr.DataArray([[0.0, 1.0], [2.0, 3.0]], dims=("member", "x"), attrs={"units": "mm h-1"})
    >>> one = exceedance(fc, 1.0)
    >>> one.values, one.attrs["long_name"]
    (array([0.5, 1. ]), 'probability of at least 1 mm h-1')
    """
    if "member" not in forecast.dims:
        raise mismatch(
            "an ensemble, with the dim member", f"dims {forecast.dims}", "forecast(..., members=20)"
        )
    there = forecast.notnull().all("member")
    units = str(forecast.attrs.get("units", ""))
    said = f"probability of at least {threshold:g} {units if units != '1' else ''}".strip()
    kept = {key: forecast.attrs[key] for key in ("pack", "history") if key in forecast.attrs}
    share = (forecast >= threshold).mean("member").where(there)
    return share.rename(P).assign_attrs(kept, long_name=said, units="1")


# --- the score of a total


def crps(total: xr.Dataset) -> xr.DataArray:
    """Mean fair continuous ranked probability score."""
    return _mean(total, "crps")


def spread(total: xr.Dataset) -> xr.DataArray:
    """Root of the mean variance of the members, as `ensemble_sums.spread` takes it."""
    return _mean(total, "variance") ** 0.5


def rmse_of_mean(total: xr.Dataset) -> xr.DataArray:
    """Root mean square error of the ensemble mean."""
    return _mean(total, "mean_ee") ** 0.5


def spread_skill(total: xr.Dataset) -> xr.DataArray:
    """Spread divided by the error of the mean: 1 where members are as far off as they differ."""
    error = rmse_of_mean(total)
    return spread(total) / error.where(error > 0)


def brier(total: xr.Dataset) -> xr.DataArray:
    """Fair Brier score (Ferro, 2014): what the plain one would be with members without end.

    mean (k / M - o)^2 - k (M - k) / (M^2 (M - 1)), of k events among M members; the plain score
    where M is 1.
    """
    forecasts, events, p = total["forecasts"], total["events"], total[P]
    members = p.size - 1
    square = forecasts * p**2 - 2 * events * p + events
    fair = forecasts * p * (1 - p) / (members - 1) if members > 1 else 0
    return (square - fair).sum(P) / _positive(forecasts.sum(P))


def reliability(total: xr.Dataset) -> xr.DataArray:
    """How often the event was observed, of the forecasts of each probability."""
    return total["events"] / _positive(total["forecasts"])


def reliability_n(total: xr.Dataset) -> xr.DataArray:
    """How often each probability was forecast."""
    return total["forecasts"]


def roc_pod(total: xr.Dataset) -> xr.DataArray:
    """Probability of detection, where a forecast of this probability or more is a warning."""
    return _at_least(total["events"])


def roc_pofd(total: xr.Dataset) -> xr.DataArray:
    """Probability of false detection: the share of what was no event that was warned of."""
    return _at_least(total["forecasts"] - total["events"])


def roc(total: xr.Dataset) -> xr.DataArray:
    """Area under the curve of `roc_pod` over `roc_pofd`, by straight lines from never to always.

    It is how often an event had the higher probability than what was none; equal ones count half.
    """
    pod, pofd = roc_pod(total), roc_pofd(total)
    # From one probability to the next higher one; beyond the highest no warning is left.
    above = [da.shift({P: -1}, fill_value=0) for da in (pod, pofd)]
    return ((pofd - above[1]) * (pod + above[0]) / 2).sum(P, skipna=False)


def _at_least(counts: xr.DataArray) -> xr.DataArray:
    """The share of all counts that stand at a probability or higher ones."""
    every = counts.sum(P)
    below = counts.cumsum(P) - counts
    return (every - below).assign_coords({P: counts[P]}) / _positive(every)


def _mean(total: xr.Dataset, name: str) -> xr.DataArray:
    return total[name] / _positive(total["cases_weight"])


def _positive(count: xr.DataArray) -> xr.DataArray:
    return count.where(count > 0)
