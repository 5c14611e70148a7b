"""Skill scores: how much of the way from a reference forecast to a perfect one is gone."""

from __future__ import annotations

import xarray as xr

from ..errors import mismatch
from .align import LEADING, has_value, match_cells, match_units, pick_variable
from .scores import SCORES


def skill_score(scores: xr.Dataset, reference: xr.Dataset | str) -> xr.Dataset:
    """Return the skill of scores against those of a reference.

    (score - reference) / (perfect - reference): 1 for a forecast without error, 0 for one as good
    as the reference, below 0 for a worse one; 1 - score / reference where 0 is perfect.

    Parameters
    ----------
    scores : Dataset
        As `verify` or `compare` gives them.
    reference : Dataset or str
        Scores of the reference on the same pairs of values; or its name along the dim `forecast`
        of `scores`.

    Returns
    -------
    Dataset
        `<score>_skill` and `<score>_pooled_skill` of each score that has a perfect value: errors
        (0), events, fss and roc (1), crps and brier (0); not bias, spectra, spread or ranks. NaN
        where the reference is perfect.

    Raises
    ------
    ValueError
        A name that is not among the forecasts; scores that have none in common.

    Examples
    --------
    The error is halved.

    >>> scores = xr.Dataset({"mse": ("forecast", [4.0, 2.0])}, {"forecast": ["persistence", "a"]})
    >>> skill_score(scores, "persistence")["mse_skill"].values
    array([0. , 0.5])
    """
    name = "reference"
    if isinstance(reference, str):
        names = [str(label) for label in scores["forecast"].values] if "forecast" in scores else []
        if reference not in names:
            expected = f"a reference among {', '.join(names)}" if names else "forecasts with names"
            hint = f"reference={names[0]!r}" if names else "xef.skill_score(scores, other_scores)"
            raise mismatch(expected, repr(reference), hint)
        name, reference = reference, scores.sel(forecast=reference, drop=True)
    skills = {}
    for key, entry in SCORES.items():
        for column in (key, f"{key}_pooled"):
            if entry.perfect is None or column not in scores or column not in reference:
                continue
            score, other = scores[column], reference[column]
            room = other - entry.perfect
            skill = (other - score) / room.where(room != 0) + 0.0  # no -0
            skill = skill.transpose(*score.dims)
            attrs = {"long_name": f"skill of the {entry.long_name} against {name}", "units": "1"}
            skills[f"{column}_skill"] = skill.drop_attrs(deep=False).assign_attrs(attrs)
    if not skills:
        common = [str(key) for key in scores.data_vars if key in reference]
        hint = 'scores=["mse"], of both'
        raise mismatch("a score that has a perfect value", ", ".join(common) or "none", hint)
    return xr.Dataset(skills)


def on_common_pixels(
    forecast: xr.DataArray, reference: xr.Dataset | xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a forecast and its reference on the inits, leads and pixels where both have a value.

    An ensemble has a value where all its members have. The reference is in the forecast's units, on
    its cells. ValueError where they have no init or lead in common, or are of other cells or units.
    """
    other = match_units(forecast, pick_variable(reference, forecast.name))
    for dim in ("init", "lead"):
        forecast, other = (
            da if dim in da.dims or dim not in da.coords else da.expand_dims(dim)
            for da in (forecast, other)
        )
        if {dim} <= {*forecast.dims} & {*other.dims}:
            common = forecast.indexes[dim].intersection(other.indexes[dim])
            if common.empty:
                raise mismatch(
                    f"a reference with {dim}s of the forecast's, such as {forecast[dim].values[0]}",
                    f"others, such as {other[dim].values[0]}",
                    "a reference from init=list(fc.init.values), as many leads",
                )
            forecast, other = forecast.sel({dim: common}), other.sel({dim: common})
    for dim in map(str, forecast.dims):
        if dim not in LEADING:
            other = match_cells(forecast, other, dim)
            if dim in forecast.coords:  # centres may differ by rounding
                other = other.assign_coords({dim: forecast[dim]})
    valid, other_valid = has_value(forecast), has_value(other)
    return forecast.where(other_valid), other.where(valid)
