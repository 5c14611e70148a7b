"""Moments of pairs of forecast and observation, their weighted means, and the scores of the means.

Moments add up: means over inits, chunks or machines combine before the score is taken.
"""

import numpy as np
import xarray as xr

ROUNDING = 1e-13  # a variance this small beside the mean square is zero


def moments(forecast: xr.DataArray, observed: xr.DataArray) -> xr.Dataset:
    """First and second moments of every pair, the statistics of correlation and error.

    A pair with a missing side is missing in all of them. Dims are those of both, broadcast.
    """
    forecast, observed = forecast.astype(np.float64), observed.astype(np.float64)
    valid = forecast.notnull() & observed.notnull()
    f, o = forecast.where(valid), observed.where(valid)
    return xr.Dataset({"f": f, "o": o, "ff": f * f, "oo": o * o, "fo": f * o, "ee": (f - o) ** 2})


def mean(
    statistics: xr.Dataset, dim: str | list[str], weights: xr.DataArray | None = None
) -> xr.Dataset:
    """Weighted mean of statistics over the pairs that aren't missing."""
    if weights is None:
        return statistics.mean(dim)
    return statistics.weighted(weights).mean(dim)


def correlation(means: xr.Dataset) -> xr.DataArray:
    """Pearson correlation of mean `moments`; NaN where either side doesn't vary."""
    product = means["fo"] - means["f"] * means["o"]
    for mean_square, average in ((means["ff"], means["f"]), (means["oo"], means["o"])):
        variance = mean_square - average**2
        product = product / variance.where(variance > ROUNDING * mean_square) ** 0.5
    return product


def rmse(means: xr.Dataset) -> xr.DataArray:
    """Root mean square error of mean `moments`, in units of the forecast."""
    return means["ee"] ** 0.5
