"""Skill over the inits of seasonal forecasts: maps of it, and how certain it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from scipy import stats

from ..errors import ignored, mismatch, whole_number
from ..fields.cf import with_labels_of
from ..fields.forms import takes_any_form
from .align import align, concat, observed_by_lead, pick_observed, pick_variable
from .deterministic import MEANS, correlation, moments
from .scores import named
from .seasonal import seasonal_mean

Data = xr.Dataset | xr.DataArray
SUMS = *MEANS, "ee", "n"  # of which all scores here are made
BATCH_BYTES = 64 * 2**20  # of resampled sums in memory together


@takes_any_form
def skill_map(forecast: Data, observed: Data, *, months: int = 3) -> xr.Dataset:
    """Return the correlation and error of seasonal forecasts over their inits, cell by cell.

    Parameters
    ----------
    forecast : DataArray or Dataset (init, lead, [member,] [y, x])
        Monthly anomalies, for an anomaly correlation. The mean of an ensemble is scored.
    observed : DataArray or Dataset (time, [y, x])
        The same variable on the cells of the forecast, or more of them.
    months : int
        Length of a season. Default 3: lead k stands for leads k .. k + 2; 1 for single months.

    Returns
    -------
    Dataset (lead, [y, x])
        `correlation`, `rmse`, and `n`, the number of pairs. Lazy if either side is.

    Raises
    ------
    ValueError
        What `verify` and `seasonal_mean` refuse.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=5, freq="MS")
    >>> observed = xr.DataArray([0.0, 1.0, 0.0, 2.0, 0.0], {"time": time}, ("time",))
    >>> valid = ("init", "lead"), time.values[1:, None]
    >>> coords = {"init": time[:4], "lead": [1], "valid_time": valid}
    >>> forecast = xr.DataArray(observed.values[1:, None] / 2, coords, ("init", "lead"))
    >>> skill = skill_map(forecast, observed, months=1)
    >>> skill["correlation"].values, skill["rmse"].values ** 2  # errors 1/2, 0, 1, 0
    (array([1.]), array([0.3125]))
    """
    fc = pick_variable(forecast)
    parts = []
    for pairs in _pairs(fc, pick_observed(observed, fc), months):
        means, n = pairs.mean("init"), pairs["f"].count("init")
        parts.append(
            xr.Dataset({"correlation": correlation(means), "rmse": means["ee"] ** 0.5, "n": n})
        )
    return named(concat(parts, "lead"), str(fc.attrs.get("units", "1")))


@takes_any_form
def skill_confidence(
    forecast: Data,
    observed: Data,
    reference: Data | None = None,
    *,
    months: int = 3,
    years: int = 1,
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Return the skill of seasonal forecasts with confidence intervals, and against a reference.

    The bootstrap draws whole years of inits, since forecasts from neighbouring months are alike:
    the interval is that of percentiles.

    Parameters
    ----------
    forecast, observed, months
        As in `skill_map`; an index or fields.
    reference : DataArray or Dataset, optional
        A forecast to compare with: both are scored on the inits and leads that both have, and
        resampled together.
    years : int
        Length of a block in calendar years of inits. Longer blocks allow for events that go on
        from one year to the next.
    level : float
        Confidence level. Default 0.9.
    resamples : int
        Number of resamples.
    seed : int
        Random seed.

    Returns
    -------
    Dataset (lead, [y, x])
        `correlation`, `rmse`, and `correlation_mean`, the mean over leads (C-Nino3.4-M of Nino3.4);
        the ends of their intervals with the suffixes `_low` and `_high`. With a reference also
        `correlation_difference`, `rmse_difference` and so on, forecast less reference, with theirs:
        an interval without 0 is a difference that the years support. In memory.

    Raises
    ------
    ValueError
        Fewer than 3 blocks of years; what `skill_map` refuses; a reference without common inits.

    Examples
    --------
    >>> time = xr.date_range("1990-01", periods=121, freq="MS")
    >>> noise = np.random.default_rng(0).standard_normal((3, 121))
    >>> observed = xr.DataArray(noise[0], {"time": time}, ("time",))
    >>> valid = ("init", "lead"), time.values[1:, None]
    >>> coords = {"init": time[:120], "lead": [1], "valid_time": valid}
    >>> good = xr.DataArray((noise[0] + 0.5 * noise[1])[1:, None], coords, ("init", "lead"))
    >>> bad = xr.DataArray((noise[0] + 2.0 * noise[2])[1:, None], coords, ("init", "lead"))
    >>> skill = skill_confidence(good, observed, bad, months=1)
    >>> skill["correlation_difference_low"].item() > 0
    True
    """
    fc = pick_variable(forecast)
    obs = pick_observed(observed, fc)
    whole_number("years", years)
    whole_number("resamples", resamples)
    if not 0 < level < 1:
        raise mismatch("a confidence level between 0 and 1", repr(level), "level=0.9")
    pairs = [concat(list(_pairs(fc, obs, months)), "lead")]
    if reference is not None:
        other = pick_variable(reference, fc.name)
        both = xr.align(pairs[0], concat(list(_pairs(other, obs, months)), "lead"), join="inner")
        valid = both[0]["f"].notnull() & both[1]["f"].notnull()
        pairs = [each.where(valid) for each in both]
    sums = [_by_block(each, years) for each in pairs]
    template = sums[0]["n"].isel(block=0, drop=True).transpose("lead", ...)
    arrays = [each[name].transpose("lead", ..., "block").values for each in sums for name in SUMS]
    blocks = sums[0].sizes["block"]
    if blocks < 3:
        found = f"{blocks}, of {years} year{'s' * (years > 1)} each"
        raise mismatch("3 blocks of inits or more", found, "inits of more years")
    size = sum(array.nbytes for array in arrays) // blocks  # of one resample

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        # how often each block was drawn, and not the blocks themselves: one product of matrices
        times = (drawn[..., None] == np.arange(blocks)).sum(axis - 1).astype(float)
        return np.stack(list(_scores([array @ times.T for array in arrays]).values()))

    with ignored(category=stats.DegenerateDataWarning):  # land
        result = stats.bootstrap(
            (np.arange(blocks),),
            statistic,
            axis=-1,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, BATCH_BYTES // size),
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    units = str(fc.attrs.get("units", "1"))
    skill = {}
    whole = _scores([array.sum(-1) for array in arrays])
    for i, (name, value) in enumerate(whole.items()):
        for suffix, values in {"": value, "_low": low[i], "_high": high[i]}.items():
            da = with_labels_of(template.copy(data=values), fc)
            is_mean = name.startswith("correlation_mean")
            skill[name + suffix] = da.isel(lead=0, drop=True) if is_mean else da
    words = f"{level:g}, from {resamples} resamples of {blocks} blocks of {years} years of inits"
    return named(xr.Dataset(skill), units).assign_attrs(confidence=words)


def _pairs(forecast: xr.DataArray, observed: xr.DataArray, months: int) -> Iterator[xr.Dataset]:
    """Yield the moments (init, [y, x]) of an ensemble's mean by lead, with the lead's label."""
    if "member" in forecast.dims:
        forecast = forecast.mean("member", skipna=False, keep_attrs=True)
    means = seasonal_mean(observed, months)
    fc, obs, positions = align(seasonal_mean(forecast, months), means)
    for k, truth in enumerate(observed_by_lead(obs, positions)):
        one = fc.isel(lead=k).drop_vars(["season", "valid_time"])
        # the forecast's labels: centres of cells may differ by rounding
        yield moments(one, one.copy(data=truth.transpose(*one.dims).data))


def _by_block(pairs: xr.Dataset, years: int) -> xr.Dataset:
    """Return sums and counts of pairs by blocks of years of inits, those without any left out."""
    year = pairs["init"].dt.year
    block = ((year - int(year.min())) // years).rename("block")
    sums = pairs.assign(n=pairs["f"].notnull().astype(float)).fillna(0.0).groupby(block).sum("init")
    sums = sums.compute()
    counts = sums["n"].sum([dim for dim in sums["n"].dims if dim != "block"])
    return sums.isel(block=np.flatnonzero(counts.values))


def _scores(sums: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scores (lead, ...) of sums (lead, ...); of two forecasts their differences too."""
    each = []
    for start in range(0, len(sums), len(SUMS)):
        totals = sums[start : start + len(SUMS)]
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 in a cell without pairs
            means = [xr.DataArray(total / totals[-1]) for total in totals[:-1]]
        moments_of = dict(zip(SUMS, means, strict=False))
        values = correlation(moments_of).values
        mean = np.broadcast_to(values.mean(axis=0), values.shape)  # by lead, like the others
        scores = {"correlation": values, "rmse": (moments_of["ee"] ** 0.5).values}
        each.append({**scores, "correlation_mean": mean})
    first, *others = each
    for other in others:
        first = first | {f"{name}_difference": first[name] - other[name] for name in other}
    return first
