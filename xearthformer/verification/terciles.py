"""Terciles of seasonal forecasts: their probabilities from members, and the RPSS."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from ..climate.climatology import Period
from ..errors import ignored, mismatch
from ..fields.cf import with_labels_of
from ..fields.forms import takes_any_form
from ..fields.time_axis import months_of
from .align import align, concat, observed_by_lead, pick_observed, pick_variable
from .scores import named
from .seasonal import check_members, seasonal_mean

Data = xr.Dataset | xr.DataArray
TERCILES = "below normal", "near normal", "above normal"
EDGES = 1 / 3, 2 / 3  # quantiles between the terciles, and climatology's cumulative probabilities


@takes_any_form
def terciles(
    forecast: Data, observed: Data, *, period: Period | None = None, months: int = 3
) -> xr.DataArray:
    """Return the probabilities of below, near and above normal by season: shares of members.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, member, [y, x])
        Monthly, an index or fields.
    observed : DataArray or Dataset (time, [y, x])
        The same variable, whose own terciles of each season are the edges. It may end where the
        forecast begins.
    period : (start, end), optional
        Years that the edges are taken of. Default: the whole record.
    months : int
        Length of a season. Default 3: lead k stands for leads k .. k + 2.

    Returns
    -------
    DataArray (init, lead, category, [y, x])
        From 0 to 1; over `category` they add up to 1. NaN where any member is NaN or no season of
        the period is observed. Lazy if either side is.

    Raises
    ------
    ValueError
        No members; no observations in the period; what `verify` and `seasonal_mean` refuse.

    Examples
    --------
    Observed 0, 1, 2 in turn, January to January; both members have what came.

    >>> import numpy as np
    >>> time = xr.date_range("1990-01", periods=49, freq="MS")
    >>> observed = xr.DataArray(np.arange(49) // 12 % 3 + 0.0, {"time": time}, ("time",))
    >>> valid = ("init", "lead"), time.values[12:48, None]
    >>> coords = {"init": time[11:47], "lead": [1], "valid_time": valid}
    >>> fc = xr.DataArray(observed.values[12:48, None], coords, ("init", "lead"))
    >>> chances = terciles(fc.expand_dims(member=2), observed, months=1)
    >>> chances["category"].values.tolist(), chances[[12, 24], 0].values  # of 2, of 0
    (['below normal', 'near normal', 'above normal'], array([[0., 0., 1.],
           [1., 0., 0.]]))
    """
    fc = pick_variable(forecast)
    check_members(fc)
    parts = []
    obs = pick_observed(observed, fc)
    for members, edges, _ in _by_lead(fc, obs, period, months, meet=False):
        low, high = (_share_below(members, edges.isel(edge=i)) for i in range(2))
        parts.append(concat([low, high - low, 1 - high], xr.Variable("category", list(TERCILES))))
    # These coordinates differ by lead.
    labels = ["valid_time", "season"]
    out = xr.concat(parts, "lead", coords=labels, compat="override", join="exact").transpose(
        "init", "lead", "category", ...
    )
    words = f"probability of terciles of {fc.name or 'the forecast'} by {months}-month season"
    origin = {key: fc.attrs[key] for key in ("pack", "history") if key in fc.attrs}
    out = out.rename("probability").drop_attrs(deep=False)
    return out.assign_attrs(origin, long_name=words, units="1")


@takes_any_form
def rpss(
    forecast: Data,
    observed: Data,
    reference: Data | None = None,
    *,
    period: Period | None = None,
    months: int = 3,
) -> xr.Dataset:
    """Return the ranked probability skill score of terciles by season.

    Parameters
    ----------
    forecast, observed, period, months
        As in `terciles`. A forecast without members is an ensemble of one.
    reference : DataArray or Dataset, optional
        A forecast to compare with, scored at the inits and leads that both have. Default:
        climatology, a third for each tercile.

    Returns
    -------
    Dataset (lead, [y, x])
        `rps`, the fair ranked probability score (Ferro, 2014): what that of infinitely many members
        would be; `rps_reference`; `rpss`, 1 - rps / rps_reference; `n`, the number of pairs.

    Raises
    ------
    ValueError
        As in `terciles`; nothing to compare.

    Examples
    --------
    Observed 0, 1, 2 in turn, January to January; both members have what came.

    >>> import numpy as np
    >>> time = xr.date_range("1990-01", periods=49, freq="MS")
    >>> observed = xr.DataArray(np.arange(49) // 12 % 3 + 0.0, {"time": time}, ("time",))
    >>> valid = ("init", "lead"), time.values[12:48, None]
    >>> coords = {"init": time[11:47], "lead": [1], "valid_time": valid}
    >>> fc = xr.DataArray(observed.values[12:48, None], coords, ("init", "lead"))
    >>> skill = rpss(fc.expand_dims(member=2), observed, months=1)
    >>> skill["rps"].item(), skill["rpss"].item(), skill["n"].item()
    (0.0, 1.0, 36)
    """
    fc = pick_variable(forecast)
    obs = pick_observed(observed, fc)
    scores = _rps(fc, obs, period, months)
    own, other = scores["rps"], scores["rps_reference"]
    if reference is not None:
        other = _rps(pick_variable(reference, fc.name), obs, period, months)["rps"]
        own, other = xr.align(own, other, join="inner", exclude=own.dims[2:])
        if not own.size:
            found, hint = "none of its inits and leads", "init=list(fc.init.values)"
            raise mismatch("a reference with the forecast's inits and leads", found, hint)
    both = own.notnull() & other.notnull()
    own, other = own.where(both).mean("init"), other.where(both).mean("init")
    scores = xr.Dataset({"rps": own, "rps_reference": other, "rpss": 1 - own / other})
    scores = with_labels_of(scores.assign(n=both.sum("init")), fc)
    return named(scores, "1")


def _rps(
    forecast: xr.DataArray, observed: xr.DataArray, period: Period | None, months: int
) -> xr.Dataset:
    """Return the fair RPS of every forecast, and that of climatology (init, lead, [y, x])."""
    parts = []
    for members, edges, truth in _by_lead(forecast, observed, period, months):
        count = members.sizes["member"]
        total, climatology = xr.zeros_like(truth), xr.zeros_like(truth)
        for i, quantile in enumerate(EDGES):
            edge = edges.isel(edge=i)
            share = _share_below(members, edge)
            event = (truth < edge).where(truth.notnull() & edge.notnull())
            # what the square would be without the members' own sampling error
            fair = share * (1 - share) / (count - 1) if count > 1 else 0
            total = total + (share - event) ** 2 - fair
            climatology = climatology + (quantile - event) ** 2
        scores = xr.Dataset({"rps": total, "rps_reference": climatology})
        parts.append(scores.drop_vars(["valid_time", "season"], errors="ignore"))
    return concat(parts, "lead").transpose("init", "lead", ...)


def _share_below(members: xr.DataArray, edge: xr.DataArray) -> xr.DataArray:
    """Return the share of members below an edge; NaN where one is missing, or the edge is."""
    valid = members.notnull().all("member") & edge.notnull()
    return (members < edge).mean("member").where(valid)


def _by_lead(
    forecast: xr.DataArray,
    observed: xr.DataArray,
    period: Period | None,
    months: int,
    meet: bool = True,
) -> Iterator[tuple[xr.DataArray, xr.DataArray, xr.DataArray]]:
    """Yield members (init, member, ...), edges (init, edge, ...) and truth (init, ...) by lead.

    By lead, so that no more than one lead of the edges is in memory.
    """
    means, fc_means = seasonal_mean(observed, months), seasonal_mean(forecast, months)
    fc, obs, positions = align(fc_means, means, meet=meet)
    edges = _edges(obs, period)
    fc = fc if "member" in fc.dims else fc.expand_dims("member", axis=2)
    for k, truth in enumerate(observed_by_lead(obs, positions)):
        first = months_of(fc["valid_time"].isel(lead=k)) % 12
        members = fc.isel(lead=k)
        month = xr.Variable("init", first)
        yield members, edges.isel(month=month), truth


def _edges(means: xr.DataArray, period: Period | None) -> xr.DataArray:
    """Return the edges of the terciles (month, edge, ...) of seasons, by their first month."""
    time = means.dims[0]
    if period is not None:
        start, end = (period.start, period.stop) if isinstance(period, slice) else period
        means = means.sel({time: slice(str(start), str(end))})
    months = months_of(means[time]) % 12 + 1
    missing = sorted({*range(1, 13)} - {*months.tolist()})
    if missing:
        found = f"none from month {missing[0]} on, in {means.sizes[time]} seasons"
        raise mismatch("seasons of every month in the period", found, "period=None")
    if means.chunks is not None:
        means = means.chunk({time: -1})
    parts = []
    for month in range(1, 13):
        with ignored("All-NaN slice"):  # land
            own = means.isel({time: months == month})
            parts.append(own.quantile(EDGES, str(time), keep_attrs=False))
    edges = concat(parts, "month").rename(quantile="edge")
    return edges.drop_vars("edge")
