"""Products of an ensemble: probabilities of thresholds, quantiles, and the rain of an hour.

Each keeps the labels of the forecast (init, lead, valid_time, known, the map projection), and is
lazy if the forecast is. Rain is summed first: `accumulate(fc, "1h")` has members, and so
probabilities and quantiles of amounts. Products by season are in `seasonal` and `terciles`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid
from ..fields.cf import new_values, with_labels_of
from ..fields.quantities import KNOWN, RAIN, RAIN_AMOUNT, RAIN_UNITS, check_quantity, is_difference
from ..fields.sentinels import check_values
from ..fields.time_axis import duration
from ..fields.units import DIFFERENCE, convert_units, is_temperature
from .align import pick_variable
from .grid import window_pixels
from .seasonal import check_members
from .spatial import count_in_windows, summed_area
from .verify import Data, Window

# Attributes that stay true of a probability; others describe the variable.
ORIGIN = (
    "pack",
    "pack_version",
    "pack_weights_sha256",
    "pack_card_sha256",
    "seed",
    "history",
    "grid_mapping",
)
WITH_UNITS = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([A-Za-z].*)")  # "5 mm/h"
MINUTE, HOUR = np.timedelta64(1, "m"), np.timedelta64(1, "h")


# --- probabilities


def exceedance(
    forecast: Data,
    threshold: float | str | Sequence[float | str],
    *,
    window: Window | None = None,
    anywhere: bool = False,
) -> xr.DataArray:
    """Return the probability of exceedance: the share of members that reach a threshold.

    Parameters
    ----------
    forecast : DataArray or Dataset (..., member, [y, x])
    threshold : float or str, or a list of them
        A value that equals it is an event. In the forecast's units, or with its own: "5 mm/h".
    window : float or str, optional
        Width of the square neighbourhood around each pixel, as in `verify`: pixels, or a length
        such as "16 km". Default: the pixel alone.
    anywhere : bool
        What is asked of a neighbourhood. False, the default: which share of its pixels has the
        event, on average over the members (neighbourhood ensemble probability). It is still the
        probability at the pixel, of members whose rain may lie elsewhere by half a window. True:
        which share of the members has the event at any pixel of it (neighbourhood maximum ensemble
        probability), as warnings of an area need it; it grows with the window. Names are those of
        Schwartz and Sobash (2017), Mon. Wea. Rev. 145, 3397-3418.

    Returns
    -------
    DataArray
        From 0 to 1, with the dim `threshold`, for a list, in place of member. NaN where any member
        is NaN; such pixels of a neighbourhood, and what is beyond the edge, do not count. Lazy if
        the forecast is.

    Raises
    ------
    ValueError
        No members; a threshold in units that are not the forecast's; a window that is no length, or
        a length on a grid without one.

    Examples
    --------
    >>> fc = xr.DataArray([[0.0, 1.0], [2.0, 3.0]], dims=("member", "x"), attrs={"units": "mm h-1"})
    >>> share = exceedance(fc, 1.0)
    >>> share.values, share.attrs["long_name"]
    (array([0.5, 1. ]), 'probability of at least 1 mm h-1')

    In a window of three pixels, of one member that has rain in the middle:

    >>> fc = fc.expand_dims("y").copy(data=[[[0.0, 0.0], [5.0, 0.0]]])
    >>> exceedance(fc, [1, 5], window=3).sel(threshold=1).values
    array([[0.25, 0.25]])
    >>> exceedance(fc, [1, 5], window=3, anywhere=True).sel(threshold=1).values
    array([[0.5, 0.5]])
    """
    forecast = pick_variable(forecast)
    check_members(forecast)
    forecast = check_values(forecast, "fc", forecast=True)
    is_one = np.ndim(threshold) == 0
    given = [threshold] if is_one else list(threshold)  # type: ignore[arg-type]
    at = [_in_own_units(each, forecast) for each in given]  # type: ignore[arg-type]
    if not at or len({*at}) < len(at):
        hint = "fc.earthformer.exceedance([0.5, 1, 5])"
        raise mismatch("thresholds that differ", repr(threshold), hint)
    if anywhere and window is None:
        raise mismatch("a window, for anywhere", "none", 'window="16 km", anywhere=True')
    units = str(forecast.attrs.get("units", ""))
    labels = {"long_name": "threshold", "units": units, **_named(forecast)}
    along = xr.Variable("threshold", at, labels, {"_FillValue": None})
    if window is None:
        share = _shares(forecast, along)
    else:
        share = _shares_around(forecast, along, window_pixels(forecast, window), anywhere)
    which = f"{at[0]:g} {units if units != '1' else ''}".strip() if is_one else "the threshold"
    words = f"probability of at least {which}{_around(window, anywhere)}"
    dims = [dim if dim != "member" else "threshold" for dim in forecast.dims]
    share = with_labels_of(share.transpose(*dims), forecast).rename("probability")
    share = share.drop_attrs(deep=False)
    origin = {key: forecast.attrs[key] for key in ORIGIN if key in forecast.attrs}
    share = share.assign_attrs(origin, long_name=words, units="1")
    return share.isel(threshold=0, drop=True) if is_one else share


def _shares(forecast: xr.DataArray, at: xr.Variable) -> xr.DataArray:
    """Return the shares of members, pixel by pixel."""
    valid = forecast.notnull().all("member")  # NaN >= threshold is False, not missing
    shares = [(forecast >= each).mean("member").where(valid) for each in at.values]
    return xr.concat(shares, at, coords="minimal", compat="override", join="override")


def _shares_around(
    forecast: xr.DataArray, at: xr.Variable, pixels: tuple[int, int], anywhere: bool
) -> xr.DataArray:
    """Return the shares of members in neighbourhoods, which need whole fields of all members."""
    core = ["member", *find_grid(forecast)]
    whole = forecast if forecast.chunks is None else forecast.chunk(dict.fromkeys(core, -1))
    shares = xr.apply_ufunc(
        count_around,
        whole,
        kwargs={"thresholds": at.values, "window": pixels, "anywhere": anywhere},
        input_core_dims=[core],
        output_core_dims=[["threshold", *core[1:]]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"threshold": at.size}},
    )
    return shares.assign_coords(threshold=at)


def count_around(
    fields: np.ndarray, thresholds: np.ndarray, window: tuple[int, int], anywhere: bool
) -> np.ndarray:
    """Return shares (..., threshold, y, x) of events in the window around each pixel.

    `fields` is (..., member, y, x). Of pixels and members together or, with `anywhere`, of members
    that have an event at any pixel.
    """
    members, *shape = fields.shape[-3:]
    shares = np.full((*fields.shape[:-3], len(thresholds), *shape), np.nan)
    for place in np.ndindex(fields.shape[:-3]):
        seen = ~np.isnan(fields[place]).any(axis=0)
        pixels = 1 if anywhere else count_in_windows(summed_area(seen), window)
        for k, threshold in enumerate(thresholds):
            events = (fields[place] >= threshold) & seen
            if anywhere:
                tables = (summed_area(member) for member in events)
                counts = sum((count_in_windows(table, window) > 0).astype(int) for table in tables)
            else:
                counts = count_in_windows(summed_area(events.sum(axis=0)), window)
            np.divide(counts, members * pixels, out=shares[(*place, k)], where=seen)
    return shares


def _in_own_units(threshold: float | str, forecast: xr.DataArray) -> float:
    """Return a threshold as a number in the forecast's units."""
    units = str(forecast.attrs.get("units", ""))
    hint = "fc.earthformer.exceedance([0.5, 1, 5])" + (f", in {units}" if units else "")
    found = WITH_UNITS.fullmatch(threshold) if isinstance(threshold, str) else None
    try:
        number = float(found[1] if found else threshold)
    except (TypeError, ValueError):
        number = np.nan
    if np.isnan(number):
        raise mismatch("a number as threshold, with its units or without", repr(threshold), hint)
    if found is None:
        return number
    value = xr.DataArray(number, attrs={"units": found[2].strip()})
    try:
        return float(convert_units(value, units, difference=is_difference(forecast)))
    except ValueError as error:
        period = _amount_period(value, forecast)
        if period:
            hint = f'fc.earthformer.accumulate("{period}").earthformer.exceedance("{threshold}")'
        expected = f"thresholds in units of the forecast, {units}" if units else "plain numbers"
        raise mismatch(expected, repr(threshold), hint) from error


def _amount_period(value: xr.DataArray, forecast: xr.DataArray) -> str:
    """Return how long a forecast of rates is, where a value is an amount; else ""."""
    try:
        convert_units(value, "mm", difference=False)
        step, total = _rates(forecast)[1:]
    except ValueError:
        return ""
    return _text(total)


def _around(window: Window | None, anywhere: bool) -> str:
    """Return a neighbourhood in words."""
    if window is None:
        return ""
    width = window if isinstance(window, str) else f"{window:g} pixels"
    return f" anywhere within {width}" if anywhere else f", mean of members within {width}"


def _named(forecast: xr.DataArray) -> dict[str, str]:
    """Return what a variable is, and whether a difference: its thresholds are that too."""
    said = "standard_name", "units_metadata"
    return {name: str(forecast.attrs[name]) for name in said if forecast.attrs.get(name)}


# --- quantiles


def quantiles(forecast: Data, q: float | Sequence[float]) -> xr.DataArray:
    """Return quantiles of the members: `xarray.DataArray.quantile`, linear between members.

    Parameters
    ----------
    forecast : DataArray or Dataset (..., member, ...)
    q : float or list of float
        From 0 to 1.

    Returns
    -------
    DataArray
        With the dim `quantile`, for a list, in place of member; name, units, attributes and dtype
        are the forecast's. NaN where any member is NaN. Lazy if the forecast is.

    Raises
    ------
    ValueError
        No members; quantiles below 0 or above 1.

    Examples
    --------
    >>> fc = xr.DataArray([1.0, 2.0, 4.0], dims="member", attrs={"units": "mm h-1"})
    >>> quantiles(fc, [0.5, 0.75]).values
    array([2., 3.])
    """
    forecast = pick_variable(forecast)
    check_members(forecast)
    forecast = check_values(forecast, "fc", forecast=True)
    try:
        at = np.asarray(q, float)
    except (TypeError, ValueError):
        at = np.array([np.nan])
    if at.ndim > 1 or not at.size or not ((at >= 0) & (at <= 1)).all():
        percent = at.size and ((at >= 0) & (at <= 100)).all()
        wanted = np.unique(at / 100).tolist() if percent else [0.1, 0.5, 0.9]
        raise mismatch("quantiles from 0 to 1", repr(q), f"fc.earthformer.quantiles({wanted})")
    whole = forecast if forecast.chunks is None else forecast.chunk(member=-1)
    # skipna=False, since a quantile of the members that have a value is another one's
    out = whole.quantile(at, "member", skipna=False, keep_attrs=True).astype(forecast.dtype)
    lost = {n: c.variable for n, c in forecast.coords.items() if n not in out.coords}  # the crs
    out = out.assign_coords({n: c for n, c in lost.items() if "member" not in c.dims})
    out["quantile"].attrs = {"long_name": "quantile of the members", "units": "1"}
    out["quantile"].encoding = {"_FillValue": None}
    names = {"member": "quantile"} if at.ndim else {}
    dims = [names.get(str(dim), dim) for dim in forecast.dims]
    return new_values(out.transpose(*[dim for dim in dims if dim != "member"]), forecast)


# --- mean and spread


def mean_and_spread(forecast: xr.DataArray) -> list[xr.DataArray]:
    """Return the mean of the members and their standard deviation: NAME_mean and NAME_spread.

    Of two members or more, as a sample (divided by their number less one); the labels, units and
    dtype are the forecast's. NaN where any member is NaN. Lazy if the forecast is.

    >>> fc = xr.DataArray([1.0, 2.0, 6.0], dims="member", name="t", attrs={"units": "degC"})
    >>> mean, spread = mean_and_spread(fc)
    >>> mean.item(), round(spread.item() ** 2, 9), spread.attrs["units_metadata"]  # (4 + 1 + 9) / 2
    (3.0, 7.0, 'temperature: difference')
    """
    forecast = pick_variable(forecast)
    check_members(forecast)
    if forecast.sizes["member"] < 2:
        raise mismatch("two members or more, for their spread", "one", "members=50")
    forecast = check_values(forecast, "fc", forecast=True)
    whole = forecast if forecast.chunks is None else forecast.chunk(member=-1)
    exact = whole.astype(float)  # so that chunks don't decide the last bits
    mean = exact.mean("member", skipna=False, keep_attrs=True)
    spread = exact.std("member", skipna=False, keep_attrs=True, ddof=1)
    made = []
    for how, method, values in (("mean", "mean", mean), ("spread", "standard_deviation", spread)):
        out = new_values(values.astype(forecast.dtype), forecast).rename(f"{forecast.name}_{how}")
        said = out.attrs.get("cell_methods", "")
        out.attrs["cell_methods"] = f"{said} realization: {method}".strip()
        out.attrs["long_name"] = f"{forecast.attrs.get('long_name', forecast.name)}, {how}"
        made.append(out)
    if is_temperature(str(forecast.attrs.get("units", ""))):
        made[1].attrs["units_metadata"] = DIFFERENCE
    return made


# --- amounts


def accumulate(forecast: Data, period: str | timedelta | np.timedelta64) -> xr.DataArray:
    """Return the rain that falls in successive periods of a forecast of rates, in mm.

    Each lead counts for the step before it: a rate at 5 minutes for those from the init on.

    Parameters
    ----------
    forecast : DataArray or Dataset (..., lead, [member,] ...)
        Rain rates, at leads one step apart.
    period : str or timedelta
        Such as "1h". The leads fill one such period, or several.

    Returns
    -------
    DataArray
        `rain_amount` in mm. `lead` and `valid_time` are of the end of each period, the coordinate
        `lead_start` of its start, and `known` is the mean over it. NaN where any rate is NaN. Lazy
        if the forecast is.

    Raises
    ------
    ValueError
        What is no rain rate; leads that are not one step apart, or that do not fill periods.

    Examples
    --------
    Two rates of 6 and 12 mm/h, for half an hour each, are 9 mm.

    >>> lead = np.array([30, 60], "m8[m]").astype("m8[ns]")
    >>> fc = xr.DataArray([6.0, 12.0], {"lead": lead}, attrs={"units": "mm h-1"})
    >>> amount = accumulate(fc, "1h")
    >>> amount.values, amount.attrs["units"], amount.attrs["cell_methods"]
    (array([9.]), 'mm', 'lead: sum (interval: 30 minutes)')
    """
    forecast = pick_variable(forecast)
    rates, step, total = _rates(forecast)
    length = _length(period, step, total)
    n = int(length // step)
    # labelled as the last lead of each period
    ends = rates.isel(lead=slice(n - 1, None, n))
    amounts = _by_period(rates, n).sum("step", skipna=False) * float(step / HOUR)
    line = f"xearthformer accumulate: over {_text(length)}"
    out = new_values(ends.copy(data=amounts.data), forecast, line).rename("rain_amount")
    if KNOWN in rates.coords:
        known = _by_period(rates[KNOWN], n).mean("step", skipna=False)
        out = out.assign_coords({KNOWN: (known.dims, known.data, rates[KNOWN].attrs)})
    # A DataArray has no room for bounds, of which there are two to a lead.
    start = {"long_name": "start of the period", "standard_name": "forecast_period"}
    out = out.assign_coords(lead_start=("lead", out["lead"].values - length, start))
    interval = f"{step / MINUTE:g} minutes"
    return out.assign_attrs(
        standard_name=RAIN_AMOUNT,
        long_name="rain amount",
        units="mm",
        cell_methods=f"lead: sum (interval: {interval})",
    )


def _by_period(da: xr.DataArray, steps: int) -> xr.DataArray:
    """Return the values of each period along the dim `step` of their own, without labels."""
    plain = da.drop_vars(list(da.coords))
    return plain.coarsen(lead=steps).construct(lead=("lead", "step"))


def _rates(forecast: xr.DataArray) -> tuple[xr.DataArray, np.timedelta64, np.timedelta64]:
    """Return rain rates in mm h-1, the step between their leads, and how long they last."""
    check_quantity(forecast, RAIN, difference=False)
    forecast = check_values(forecast, "fc", forecast=True)
    rates = convert_units(forecast, RAIN_UNITS, difference=False)
    if "lead" not in forecast.dims or "lead" not in forecast.coords:
        hint = "da.earthformer.forecast(...), with all its leads"
        raise mismatch("a forecast with the dim lead", f"dims {forecast.dims}", hint)
    lead = forecast["lead"].values
    if lead.dtype.kind != "m":
        units = forecast["lead"].attrs.get("units", "months")
        hint = "xr.open_dataset(..., decode_times=True, decode_timedelta=True)"
        if units == "months":
            hint = "fc.earthformer.seasonal_mean(), of monthly forecasts"
        raise mismatch("leads as durations", f"leads in {units}", hint)
    if lead.size < 2:
        hint = "lead=2 or more"
        raise mismatch("two leads or more, to know their step", f"{lead.size}", hint)
    steps = np.diff(lead)
    if (steps != steps[0]).any() or not np.timedelta64(0) < steps[0] <= lead[0]:
        found = f"leads of {', '.join(map(_text, lead))}"
        hint = "da.earthformer.forecast(...), with all its leads"
        raise mismatch("leads one step apart", found, hint)
    return rates, steps[0], steps[0] * lead.size


def _length(
    period: str | timedelta | np.timedelta64, step: np.timedelta64, total: np.timedelta64
) -> np.timedelta64:
    """Return a period that the leads fill a whole number of times."""
    hint = f'fc.earthformer.accumulate("{_text(total)}")'
    length = duration(period)
    if length is None:
        raise mismatch("a period such as 1h", repr(period), hint)
    zero = np.timedelta64(0)
    if not zero < length <= total or length % step != zero or total % length != zero:
        found = f"leads over {_text(total)}, in steps of {_text(step)}"
        raise mismatch(f"leads that fill periods of {period}", found, hint)
    return length


def _text(length: np.timedelta64) -> str:
    """Return a duration as pandas and this package read it.

    >>> _text(np.timedelta64(1, "h"))
    '60min'
    """
    return f"{length / MINUTE:g}min"
