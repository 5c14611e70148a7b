"""Errors and correlation of forecasts: weighted moments of pairs, and formulas of their means."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr

from .base import Group, Measure, Pair, Score, ratio

MEANS = "f", "o", "ff", "oo", "fo"  # what a correlation is made of
ROUNDING = 1e-13  # share of the mean square below which a variance is rounding error


def sum_moments(pair: Pair, measure: Measure) -> np.ndarray:
    """Return weighted sums of 1, f, o, f f, o o, f o, |f - o| and (f - o)^2."""
    f = np.where(pair.valid, pair.forecast, 0).astype(float)  # NaN * 0 would be NaN
    o = np.where(pair.valid, pair.observed, 0).astype(float)
    w = pair.valid.astype(float) if measure.areas is None else pair.valid * measure.areas
    wf, wo, error = w * f, w * o, f - o
    # vdot sums products without an array of them.
    squares = [np.vdot(wf, f), np.vdot(wo, o), np.vdot(wf, o)]
    errors = [np.vdot(w, np.abs(error)), np.vdot(w * error, error)]
    return np.array([w.sum(), wf.sum(), wo.sum(), *squares, *errors])


MOMENTS = Group(("weight", "f", "o", "ff", "oo", "fo", "ae", "ee"), sum_moments)


def moments(forecast: xr.DataArray, observed: xr.DataArray) -> xr.Dataset:
    """Return the moments of every pair, unsummed: f, o, ff, oo, fo and ee, float64.

    A pair with a missing side is missing in all of them. Dims are those of both, broadcast.
    """
    forecast, observed = forecast.astype(np.float64), observed.astype(np.float64)
    valid = forecast.notnull() & observed.notnull()
    f, o = forecast.where(valid), observed.where(valid)
    return xr.Dataset({"f": f, "o": o, "ff": f * f, "oo": o * o, "fo": f * o, "ee": (f - o) ** 2})


def mean(total: xr.Dataset, name: str) -> xr.DataArray:
    """Return the weighted mean of a moment."""
    return ratio(total[name], total["weight"])


def correlation(means: Mapping[str, xr.DataArray] | xr.Dataset) -> xr.DataArray:
    """Return the Pearson correlation of mean moments; NaN where either side does not vary."""
    product = means["fo"] - means["f"] * means["o"]
    for mean_square, average in ((means["ff"], means["f"]), (means["oo"], means["o"])):
        variance = mean_square - average**2
        product = product / variance.where(variance > ROUNDING * mean_square) ** 0.5
    return product


def slope(means: Mapping[str, xr.DataArray] | xr.Dataset) -> xr.DataArray:
    """Return the slope of the regression of forecasts on observations: 1 where amplitudes agree."""
    variance = means["oo"] - means["o"] ** 2
    covariance = means["fo"] - means["f"] * means["o"]
    return covariance / variance.where(variance > ROUNDING * means["oo"])


SCORES = {
    "mse": Score(
        "mean square error",
        MOMENTS,
        partial(mean, name="ee"),
        power=2,
        perfect=0,
        column="MSE",
    ),
    "rmse": Score(
        "root mean square error",
        MOMENTS,
        lambda t: mean(t, "ee") ** 0.5,
        power=1,
        perfect=0,
    ),
    "mae": Score("mean absolute error", MOMENTS, partial(mean, name="ae"), power=1, perfect=0),
    "me": Score(
        "mean error, forecast less observation",
        MOMENTS,
        lambda t: mean(t, "f") - mean(t, "o"),
        power=1,
    ),
    "correlation": Score(
        "Pearson correlation",
        MOMENTS,
        lambda t: correlation({name: mean(t, name) for name in MEANS}),
        perfect=1,
        column="correlation",
    ),
}
