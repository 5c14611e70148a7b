"""Skill of forecasts of El Nino: the scores of the ICAR-ENSO benchmark for the index Nino3.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from scipy.special import ndtr

from ..errors import mismatch
from ..fields.forms import takes_any_form
from ..fields.time_axis import MIDDLE, months_of
from .align import (
    check_once,
    concat,
    match_index,
    match_valid_times,
    pick_indexed,
    pick_variable,
    str_span,
)
from .deterministic import correlation, moments, slope
from .probabilistic import fair_and_plain_crps
from .scores import named
from .seasonal import check_leads, check_members, forward_mean, season_names

Data = xr.DataArray | xr.Dataset

# Weights b_k of C-Nino3.4-WM: up to which lead (months), and how much a correlation there counts.
ENSO_WEIGHTS = ((4, 1.5), (11, 2.0), (np.inf, 3.0))
SEASON = 3  # months of the mean
ICAR_SHAPE = 24, 48  # latitudes -55 .. 60, longitudes 95 .. 330, every 5 degrees
ICAR_NINO34 = slice(10, 13), slice(19, 30)  # 5S .. 5N, 190E .. 240E


@takes_any_form
def enso_skill(forecast_index: Data, observed_index: Data, months: int = SEASON) -> xr.Dataset:
    """Return the skill of forecasts of a monthly index, as the ICAR-ENSO benchmark defines it.

    Both sides are averaged over `months` months from each lead on, so that 14 leads give 12 values:
    lead k stands for leads k .. k + 2, against the observed mean of the same months.

    Parameters
    ----------
    forecast_index : DataArray or Dataset (init, lead)
        Monthly means of an index such as Nino3.4, with the coordinate `valid_time` (init, lead) and
        successive whole numbers of months as `lead`. Other dims stay.
    observed_index : DataArray or Dataset (time,)
        The observed index, in the same units and against the same climatology.
    months : int
        Length of the running mean. Default 3.

    Returns
    -------
    Dataset
        `correlation` C_k, `rmse`, `slope` of the regression of forecasts on observations (below 1
        where forecasts are too weak) and `n`, the number of pairs, all (lead);
        `correlation_mean`, C-Nino3.4-M = mean_k C_k;
        `correlation_weighted_mean`, C-Nino3.4-WM = mean_k (a_k C_k) with a_k = b_k ln k, and b_k =
        1.5 up to lead 4, 2 up to lead 11, 3 beyond; `rmse_mean`. A NaN lead makes these means NaN.

    Raises
    ------
    ValueError
        No `valid_time`; leads that are not successive months or are too few for the running mean; a
        month observed twice; no forecast with an observation.

    Examples
    --------
    >>> import pandas as pd
    >>> time = pd.date_range("2000-01", periods=9, freq="MS")
    >>> index = [0.0, 1.0, 3.0, 2.0, 0.0, -2.0, -1.0, 0.0, 1.0]
    >>> observed = xr.DataArray(index, {"time": time}, "time")
    >>> valid = ("init", "lead"), [time[i + 1 : i + 5] for i in range(4)]
    >>> forecast = xr.DataArray(
    ...     [index[i + 1 : i + 5] for i in range(4)],
    ...     {"init": time[:4], "lead": [1, 2, 3, 4], "valid_time": valid},
    ...     ("init", "lead"),
    ... )
    >>> skill = enso_skill(forecast + 0.5, observed)
    >>> skill.correlation.values.round(6), skill.rmse.values.round(6), skill.n.values
    (array([1., 1.]), array([0.5, 0.5]), array([4, 4]))
    """
    return skill_of(enso_pairs(forecast_index, observed_index, months))


@takes_any_form
def enso_pairs(forecast_index: Data, observed_index: Data, months: int = SEASON) -> xr.Dataset:
    """Return the moments (init, lead) of every pair that `enso_skill` scores; the same arguments.

    Concatenate those of several records along `init` to score them as one by `skill_of`.
    """
    forecast_index = pick_indexed(forecast_index)
    observed_index = pick_variable(observed_index, forecast_index.name)
    _check_dims(forecast_index)
    check_leads(forecast_index, months)
    observed_index = match_index(forecast_index, observed_index)
    observed = _at_valid_times(observed_index, forecast_index, months)
    pairs = moments(forward_mean(forecast_index, months), forward_mean(observed, months))
    return pairs.assign_attrs(units=forecast_index.attrs.get("units", "1"))


def skill_of(pairs: xr.Dataset) -> xr.Dataset:
    """Return the skill that `enso_skill` gives, from `enso_pairs`."""
    means = pairs.mean("init")
    scores = {"correlation": correlation(means), "rmse": means["ee"] ** 0.5, "slope": slope(means)}
    skill = xr.Dataset({**scores, "n": pairs["f"].count("init")})
    weight = xr.DataArray(_enso_weights(skill["lead"].values), dims="lead")
    # skipna=False: a lead without pairs leaves the mean open, not easier.
    skill = skill.assign(
        correlation_mean=skill["correlation"].mean("lead", skipna=False),
        correlation_weighted_mean=(weight * skill["correlation"]).mean("lead", skipna=False),
        rmse_mean=skill["rmse"].mean("lead", skipna=False),
    )
    return named(skill, pairs.attrs["units"])


@takes_any_form
def enso_ensemble_skill(
    forecast_index: Data, observed_index: Data, months: int = SEASON
) -> xr.Dataset:
    """Return the skill of an ensemble's mean, as `enso_skill`, and of its members together.

    Parameters
    ----------
    forecast_index : DataArray or Dataset (init, lead, member)
        Two members or more.
    observed_index, months
        As in `enso_skill`.

    Returns
    -------
    Dataset
        The skill of the ensemble mean, and by lead: `spread`, the root of the members' mean
        unbiased variance times (M + 1) / M (Fortin et al., 2014); `spread_skill`, the spread over
        the error of the mean, 1 where members differ as much as the truth does from them; `crps`,
        the fair one (Ferro, 2014); `crps_dressed`, that of the ensemble mean alone, dressed with a
        normal distribution of its own root mean square error at this lead over these same pairs.

    Raises
    ------
    ValueError
        As in `enso_skill`; fewer than two members.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=3, freq="MS")
    >>> observed = xr.DataArray([0.0, 0.0, 2.0], {"time": time}, "time")
    >>> valid = ("init", "lead"), time.values[[[1], [2]]]
    >>> coords = {"init": time[:2], "lead": [1], "valid_time": valid}
    >>> forecast = xr.DataArray([[[-1.0, 1.0]], [[0.0, 2.0]]], coords, ("init", "lead", "member"))
    >>> skill = enso_ensemble_skill(forecast, observed, months=1)  # variance 2, errors 0 and 1
    >>> [round(skill[name].item() ** 2, 9) for name in ("spread", "rmse", "crps")]
    [3.0, 0.5, 0.0]
    """
    forecast_index = pick_indexed(forecast_index)
    check_members(forecast_index)
    count = forecast_index.sizes["member"]
    if count < 2:
        hint = "da.earthformer.forecast(..., members=50)"
        raise mismatch("an ensemble of 2 members or more", f"{count}", hint)
    mean = forecast_index.mean("member", skipna=False, keep_attrs=True)
    pairs = enso_pairs(mean, observed_index, months)
    skill = skill_of(pairs)
    members = forward_mean(forecast_index.astype(np.float64), months)
    # a case without an observation or a member is missing in both
    members = members.where(pairs["o"].notnull())
    variance = members.var("member", ddof=1, skipna=False) * (count + 1) / count
    spread = variance.mean("init") ** 0.5
    crps = xr.apply_ufunc(
        _crps_of,
        members.chunk(member=-1) if members.chunks is not None else members,
        pairs["o"],
        input_core_dims=[["member"], []],
        dask="parallelized",
        output_dtypes=[float],
    )
    dressed = _normal_crps(pairs["f"] - pairs["o"], skill["rmse"])
    scores = {
        "spread": spread,
        "spread_skill": spread / skill["rmse"],
        "crps": crps.mean("init"),
        "crps_dressed": dressed.mean("init"),
    }
    return named(skill.assign(scores), pairs.attrs["units"]).assign_attrs(members=count)


def _crps_of(members: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the fair CRPS of members (..., member)."""
    first = np.moveaxis(members, -1, 0).reshape(members.shape[-1], -1)
    shape = members.shape[:-1]
    fair, _ = fair_and_plain_crps(first, np.broadcast_to(observed, shape).ravel())
    return fair.reshape(shape)


def _normal_crps(error: xr.DataArray, sigma: xr.DataArray) -> xr.DataArray:
    """Return the CRPS of a normal distribution about a forecast (Gneiting et al., 2005, Eqn 5)."""
    z = error / sigma
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    below = xr.apply_ufunc(ndtr, z, dask="parallelized", output_dtypes=[float])
    return sigma * (z * (2 * below - 1) + 2 * density - 1 / np.sqrt(np.pi))


@takes_any_form
def enso_seasons(forecast_index: Data, observed_index: Data, months: int = SEASON) -> xr.Dataset:
    """Return the skill of forecasts of an index by target season and lead.

    Parameters
    ----------
    forecast_index, observed_index, months
        As in `enso_skill`.

    Returns
    -------
    Dataset (season, lead)
        `correlation` (NaN of fewer than three pairs), `rmse` and `n`, the number of pairs. `season`
        is that of the target, from DJF to NDJ; a season begins `lead` months after the init.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=60, freq="MS")
    >>> observed = xr.DataArray(np.sin(np.arange(60.0) ** 2), {"time": time}, "time")
    >>> at = np.arange(48)[:, None] + np.arange(1, 7)
    >>> valid = ("init", "lead"), time.values[at]
    >>> coords = {"init": time[:48], "lead": range(1, 7), "valid_time": valid}
    >>> forecast = xr.DataArray(observed.values[at], coords, ("init", "lead"))
    >>> skill = enso_seasons(forecast, observed)
    >>> round(skill["correlation"].sel(season="DJF", lead=1).item(), 6), skill["n"].shape
    (1.0, (12, 4))
    """
    pairs = enso_pairs(forecast_index, observed_index, months)
    month = pairs["valid_time"].copy(data=months_of(pairs["valid_time"]) % 12 + 1)
    own = ["valid_time", MIDDLE]
    pairs, month = pairs.drop_vars(own, errors="ignore"), month.drop_vars(own, errors="ignore")
    names = season_names(months)
    order = [12, *range(1, 12)] if months > 1 else range(1, 13)  # from DJF, or from January
    parts = []
    for first in order:
        of_season = pairs.where(month == first)
        means, n = of_season.mean("init"), of_season["f"].count("init")
        scores = {"correlation": correlation(means).where(n > 2), "rmse": means["ee"] ** 0.5}
        parts.append(xr.Dataset({**scores, "n": n}))
    labels = xr.Variable("season", [names[first - 1] for first in order])
    labels.attrs["long_name"] = "target season"
    return named(concat(parts, labels), pairs.attrs["units"])


def icar_nino34(anomaly: xr.DataArray) -> xr.DataArray:
    """Return the Nino3.4 index on the ICAR-ENSO grid: the plain mean of 3 x 11 cells.

    The last two dims of the SST anomaly (degC) are latitude and longitude, both ascending.
    """
    y, x = anomaly.dims[-2:]
    if anomaly.shape[-2:] != ICAR_SHAPE:
        raise mismatch(
            f"{ICAR_SHAPE} cells in the last two dims, the latitude and longitude of ICAR-ENSO",
            str(dict(anomaly.sizes)),
            'da.transpose(..., "lat", "lon")',
        )
    rows, columns = ICAR_NINO34
    return anomaly.isel({y: rows, x: columns}).mean([y, x], skipna=False)


def _check_dims(forecast: xr.DataArray) -> None:
    """Raise ValueError for a forecast without init: skill is taken over inits."""
    if "init" not in forecast.dims:
        raise mismatch(
            "a forecast with dims init and lead and the coordinate valid_time",
            f"dims {forecast.dims}, coordinates {list(forecast.coords)}",
            'fc.expand_dims("init")'
            if "init" in forecast.coords
            else 'da.earthformer.forecast(...).earthformer.index("nino3.4")',
        )
    check_once(forecast["init"])


def _at_valid_times(observed: xr.DataArray, forecast: xr.DataArray, months: int) -> xr.DataArray:
    """Return the observations (init, lead) of the months forecast; NaN where there is none."""
    if "time" not in observed.dims:
        dim = observed.dims[0] if observed.ndim == 1 else "..."
        hint = f'obs.rename({{"{dim}": "time"}})'
        raise mismatch("an observed index with dim time", f"{observed.dims}", hint)
    valid = forecast["valid_time"].reset_coords(drop=True)
    positions = valid.copy(data=match_valid_times(forecast, observed["time"]))
    # A mean counts only where all its months are observed.
    if not forward_mean((positions >= 0).astype(float), months).isin(1.0).any():
        raise mismatch(
            f"observations of {months} successive months that are forecast, {str_span(valid)}",
            f"{str_span(observed['time'])}; nothing to compare",
            "a record that covers them",
        )
    observed = observed.reset_coords(drop=True).drop_vars("time")
    return observed.isel(time=positions).where(positions >= 0)


def _enso_weights(leads: np.ndarray) -> np.ndarray:
    """Return a_k = b_k ln k."""
    b = [next(weight for last, weight in ENSO_WEIGHTS if k <= last) for k in leads]
    return np.array(b) * np.log(leads)


def enso_table(
    skills: Mapping[str, xr.Dataset], leads: Sequence[int] = (1, 3, 6, 9, 12), units: str = "degC"
) -> str:
    """Return the skill of named forecasts, as `enso_skill` gives it, as a table to print.

    Columns are correlation and error at those of `leads`, in months, that all forecasts have, the
    slope of forecasts on observations at the first of them, and C-Nino3.4-M over all leads.
    Ensembles, as `enso_ensemble_skill` gives theirs, have a second table: the spread over the error
    of the mean, and the CRPS of the members and of the dressed mean.

    >>> lead = {"lead": [1, 2]}
    >>> skill = xr.Dataset({
    ...     "correlation": ("lead", [0.9, 0.7]), "rmse": ("lead", [0.2, 0.41]),
    ...     "slope": ("lead", [0.85, 0.6]), "n": ("lead", [10, 9]), "correlation_mean": 0.8}, lead)
    >>> print(enso_table({"lim": skill}, leads=[1, 2]))
                   correlation RMSE (degC) slope C-Nino3.4-M
    lead (months)      1     2     1     2     1      1 .. 2
    lim             0.90  0.70  0.20  0.41  0.85       0.800
    pairs             10     9
    >>> crps = {name: ("lead", [0.1, 0.2]) for name in ("spread_skill", "crps", "crps_dressed")}
    >>> print(enso_table({"lim": skill.assign(crps)}, leads=[1, 2]).partition("\\n\\n")[2])
                    spread / error CRPS (degC)  CRPS dressed
    lead (months)       1       2     1     2      1      2
    lim              0.10    0.20 0.100 0.200  0.100  0.200
    """
    all_leads = next(iter(skills.values()))["lead"].values
    leads = [lead for lead in leads if all(lead in skill["lead"] for skill in skills.values())]
    leads = leads or all_leads[:1].tolist()
    at = {name: skill.sel(lead=leads).compute() for name, skill in skills.items()}
    counts = {name: [str(n) for n in skill["n"].values] for name, skill in at.items()}
    same = len({tuple(n) for n in counts.values()}) == 1  # then one row of counts is enough
    pairs = {"pairs" if same else f"pairs, {name}": n for name, n in counts.items()}
    ensembles = {name: skill for name, skill in at.items() if "crps" in skill}
    label = max(map(len, ["lead (months)", *skills, *pairs])) + 1
    columns = [
        _columns("correlation", at, "correlation", leads),
        _columns(f"RMSE ({units})", at, "rmse", leads),
        _columns("slope", at, "slope", leads[:1]),
        [" C-Nino3.4-M", f"{all_leads[0]} .. {all_leads[-1]}"]
        + [f"{skill['correlation_mean'].item():.3f}" for skill in at.values()],
    ]
    lines = _join(["", "lead (months)", *at], columns, label)
    lines += [f"{name:{label}}" + "".join(f"{n:>6}" for n in row) for name, row in pairs.items()]
    if ensembles:
        columns = [
            _columns("spread / error", ensembles, "spread_skill", leads),
            _columns(f"CRPS ({units})", ensembles, "crps", leads, 3),
            _columns("CRPS dressed", ensembles, "crps_dressed", leads, 3),
        ]
        lines += ["", *_join(["", "lead (months)", *ensembles], columns, label)]
    return "\n".join(lines)


def _columns(
    title: str,
    skills: Mapping[str, xr.Dataset],
    name: str,
    leads: Sequence[int],
    digits: int = 2,
) -> list[str]:
    """Return the lines of a score: its title, the leads, and the numbers of each forecast."""
    width = max(6, -(-(len(title) + 1) // len(leads)))  # per lead, so that the title fits above
    cells = [
        leads,
        *(
            [f"{v:.{digits}f}" for v in s[name].sel(lead=list(leads)).values]
            for s in skills.values()
        ),
    ]
    rows = ["".join(f"{cell:>{width}}" for cell in row) for row in cells]
    return [f" {title:>{len(rows[0]) - 1}}", *rows]


def _join(labels: Sequence[str], columns: Sequence[Sequence[str]], label: int) -> list[str]:
    """Return the lines of columns side by side, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *row in zip(labels, *columns, strict=True):
        cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
        lines.append(f"{name:{label}}" + "".join(cells))
    return lines
