"""Seasons of monthly forecasts: means over three months, and probabilities of categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..climate.indices import index
from ..climate.regions import Region
from ..errors import mismatch, whole_number
from ..fields.axes import find_grid, find_time
from ..fields.cf import new_values
from ..fields.forms import takes_any_form
from ..fields.quantities import Labelled, is_difference, on_each
from ..fields.time_axis import check_time, months_of
from ..fields.units import DIFFERENCE, convert_units
from .align import concat, pick_indexed
from .scores import as_thresholds

INITIALS = "JFMAMJJASOND"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
ENSO_THRESHOLDS = -0.5, 0.5  # degC, of Nino3.4 over three months: NOAA's
ENSO_CATEGORIES = "La Nina", "neutral", "El Nino"


def season_names(months: int) -> list[str]:
    """Return the names of the means over some months, by their first month, January to December.

    >>> season_names(3)[:2], season_names(3)[-1], season_names(1)[0]
    (['JFM', 'FMA'], 'DJF', 'Jan')
    """
    if months == 1:
        return MONTHS
    return [(INITIALS * 2)[first : first + months] for first in range(12)]


@takes_any_form
def seasonal_mean(da: Labelled, months: int = 3) -> Labelled:
    """Return means over successive months, labelled with the first and with the season's name.

    Lead k of a forecast stands for leads k .. k + 2, and a time of a record for the three months
    from it on: `verify(seasonal_mean(fc), seasonal_mean(obs))` scores seasons.

    Parameters
    ----------
    da : DataArray or Dataset
        Monthly: a forecast with the dim `lead`, or a record with a time axis. Other dims stay.
    months : int
        Length of a season, up to 12. Default 3.

    Returns
    -------
    DataArray or Dataset
        Two leads (or times) fewer, with the coordinate `season`: "DJF", "JFM", ... A mean is NaN
        where any of its months is. Lazy if `da` is.

    Raises
    ------
    ValueError
        Leads that are not successive months, or data that is not monthly; too few of them.

    Examples
    --------
    >>> time = xr.date_range("2000-11", periods=4, freq="MS")
    >>> mean = seasonal_mean(xr.DataArray([0.0, 3.0, 6.0, 0.0], {"time": time}, ("time",)))
    >>> mean.values, mean["season"].values
    (array([3., 3.]), array(['NDJ', 'DJF'], dtype='<U3'))
    """
    whole_number("months", months)
    along = "lead" if "lead" in da.dims else find_time(da)
    if along == "lead":
        check_leads(da, months)
        first = da["valid_time"]
    else:
        first = da[along]
        step = check_time(first)
        if not isinstance(step, str) or da.sizes[along] < months:
            found = f"{da.sizes[along]}" if isinstance(step, str) else f"a step of {step.item()}"
            hint = f'da.resample({along}="MS").mean(keep_attrs=True)'
            raise mismatch(f"{months} months or more", found, hint)
    first = first.isel({along: slice(da.sizes[along] - months + 1)})
    names = np.array(season_names(months))[months_of(first) % 12]
    line = f"xearthformer seasonal_mean: over {months} months from each {along} on"

    def one(each: xr.DataArray) -> xr.DataArray:
        return new_values(forward_mean(each, months, along), each, line)

    return on_each(da, one, [along]).assign_coords(season=(first.dims, names))


def forward_mean(da: xr.DataArray, months: int, along: str = "lead") -> xr.DataArray:
    """Return means over positions k .. k + months - 1 of a dim, with the labels of k.

    Missing when any of them is.
    """
    last = da.sizes[along] - months + 1  # positions with a whole mean
    out = da.isel({along: slice(last)})
    # Variables, since labels of shifted leads differ; NaN in any of them spreads to the sum.
    total = out.variable
    for i in range(1, months):
        total = total + da.variable.isel({along: slice(i, i + last)})
    return out.copy(data=(total / months).data)


def check_leads(forecast: xr.DataArray | xr.Dataset, months: int) -> None:
    """Raise ValueError for leads that are not successive months, or too few of them."""
    if "lead" not in forecast.dims or "valid_time" not in forecast.coords:
        raise mismatch(
            "a forecast with dims init and lead and the coordinate valid_time",
            f"dims {tuple(forecast.dims)}, coordinates {list(forecast.coords)}",
            "da.earthformer.forecast(...)",
        )
    leads = forecast["lead"].to_numpy()
    if not np.issubdtype(leads.dtype, np.integer) or (np.diff(leads) != 1).any() or leads[0] < 1:
        hint = "da.earthformer.forecast(...), of monthly data"
        raise mismatch("successive months from 1 on as lead", str(leads), hint)
    if months < 1 or leads.size < months:
        expected = f"{max(months, 1)} leads or more, for means over {months} months"
        raise mismatch(expected, f"{leads.size}", f"lead={max(months, 1)} or more")


def check_members(forecast: xr.DataArray) -> None:
    """Raise ValueError for a forecast without members."""
    if "member" not in forecast.dims:
        hint = "da.earthformer.forecast(..., members=50)"
        raise mismatch("an ensemble, with the dim member", f"dims {forecast.dims}", hint)


@takes_any_form
def categories(
    forecast: xr.DataArray | xr.Dataset,
    name: str | Region = "nino3.4",
    *,
    thresholds: Sequence[float] | None = None,
    months: int = 3,
) -> xr.DataArray:
    """Return the probabilities of La Nina, neutral and El Nino by season: shares of members.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, member, [y, x])
        Monthly anomalies of an ensemble, as fields or as an index.
    name : str or Region
        The index to take of fields, as in `index`.
    thresholds : sequence of float, optional
        Edges of the categories, in the forecast's units; a value that equals one belongs to the
        category farther from zero. Default for Nino indices: -0.5 and 0.5 degC.
    months : int
        Length of a season. Default 3: lead k stands for leads k .. k + 2, as in `enso_skill`.

    Returns
    -------
    DataArray ([init,] lead, category)
        From 0 to 1; over `category` they add up to 1. Labels are La Nina, neutral, El Nino for two
        thresholds of a Nino index, else spans such as "-0.4 to 0.4". Coordinates `season` ("DJF")
        and `valid_time`, of the season's first month. NaN where any member is NaN. Lazy if the
        forecast is.

    Raises
    ------
    ValueError
        No members; leads that are not successive months; absolute values or another index without
        `thresholds`.

    Examples
    --------
    Of four members, one is at -1, one at 0 and two are above 0.5 degC.

    >>> months = xr.date_range("1997-12", periods=3, freq="MS")
    >>> fc = xr.DataArray([[-1.0, 0.0, 0.7, 2.0]] * 3, dims=("lead", "member"), name="nino3.4")
    >>> fc = fc.assign_coords(lead=[1, 2, 3], valid_time=("lead", months))
    >>> probability = categories(fc)
    >>> probability.values, probability["season"].values
    (array([[0.25, 0.25, 0.5 ]]), array(['DJF'], dtype='<U3'))
    """
    members = _as_index(pick_indexed(forecast), name)
    check_members(members)
    # An index of a Dataset keeps the variable's name, and says in words what it is.
    words = f"{members.name or ''} {members.attrs.get('long_name', '')}".strip().lower()
    is_nino = not words or "nino" in words or members.name == "oni"
    if thresholds is None:
        members = _in_degrees(members, is_nino)
        thresholds = ENSO_THRESHOLDS
    at = sorted(as_thresholds(thresholds, "thresholds=(-0.5, 0.5)"))
    if not at or len({*at}) < len(at):
        raise mismatch("thresholds that differ", repr(thresholds), "thresholds=(-0.5, 0.5)")
    mean = seasonal_mean(members, months)
    # the number of thresholds passed is the category
    passed = xr.zeros_like(mean, np.int8)
    for value in at:
        passed = passed + (mean >= value if value > 0 else mean > value)
    valid = mean.notnull().all("member")
    shares = [(passed == i).mean("member").where(valid) for i in range(len(at) + 1)]
    labels = list(ENSO_CATEGORIES) if is_nino and len(at) == 2 else _spans(at)
    out = concat(shares, xr.Variable("category", labels)).transpose(..., "category")
    units = str(members.attrs.get("units", ""))
    words = f"probability of {members.name or 'the index'} by {months}-month season"
    origin = {key: mean.attrs[key] for key in ("pack", "history", "region") if key in mean.attrs}
    attrs = {"long_name": words, "units": "1", "thresholds": at, "thresholds_units": units}
    return out.drop_attrs(deep=False).assign_attrs({**origin, **attrs}).rename("probability")


def _as_index(forecast: xr.DataArray, name: str | Region) -> xr.DataArray:
    """Return the index of fields; an index as it is."""
    try:
        find_grid(forecast)
    except ValueError:  # no grid
        return forecast
    return index(forecast, name)


def _in_degrees(members: xr.DataArray, is_nino: bool) -> xr.DataArray:
    """Return an index that the default thresholds suit, in degC; bare numbers as they are."""
    hint = "thresholds=(-0.5, 0.5)"
    if not is_nino:
        raise mismatch("thresholds, for another index than Nino's", f"{members.name}", hint)
    if "units" not in members.attrs:
        return members
    if not is_difference(members):
        hint = f'fc.assign_attrs(units_metadata="{DIFFERENCE}"), if these are anomalies'
        raise mismatch("anomalies, for thresholds of -0.5 and 0.5 degC", "absolute values", hint)
    return convert_units(members, "degC", difference=True)


def _spans(at: Sequence[float]) -> list[str]:
    """Return the categories between thresholds in words.

    >>> _spans([-1.0, 0.5])
    ['below -1', '-1 to 0.5', 'above 0.5']
    """
    between = [f"{low:g} to {high:g}" for low, high in zip(at, at[1:], strict=False)]
    return [f"below {at[0]:g}", *between, f"above {at[-1]:g}"]
