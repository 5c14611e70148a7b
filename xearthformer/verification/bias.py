"""The bias of forecasts, by lead and calendar month, from a hindcast: estimated and taken off."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.cf import new_values
from ..fields.forms import takes_any_form
from ..fields.quantities import Labelled, check_unpacked
from ..fields.sentinels import check_values
from ..fields.time_axis import month_numbers, str_month
from .align import (
    LEADING,
    align,
    check_places,
    concat,
    match_cells,
    match_units,
    observed_by_lead,
    pick_observed,
    pick_variable,
)

Data = xr.Dataset | xr.DataArray


@takes_any_form
def correct_bias(forecast: Labelled, hindcast: Data, observed: Data) -> Labelled:
    """Return forecasts less the mean error of a hindcast: by lead and calendar month of the init.

    An error that grows with the lead is drift; it is taken off like any other. Hindcasts from the
    year of a forecast do not count for it: a hindcast that is corrected by itself is corrected by
    its other years, so that the skill of what is returned is honest. Of few years the mean error is
    itself uncertain, and can cost more than it mends.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, [member,] [y, x])
        Monthly, or of any other step.
    hindcast : DataArray or Dataset (init, lead, [member,] [y, x])
        Past forecasts of the same variable by the same pack, from the same calendar months; of an
        ensemble, the error of the mean is used for every member.
    observed : DataArray or Dataset (time, [y, x])
        What came; units are converted.

    Returns
    -------
    DataArray or Dataset
        Dims, coordinates and attributes of `forecast`; `history` names the inits of the hindcast.
        NaN where no hindcast of another year has an error. Lazy if any of the three is.

    Raises
    ------
    ValueError
        A hindcast without the forecast's leads or cells, or without an init of its calendar month
        in another year; what `verify` refuses.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=48, freq="MS")
    >>> observed = xr.DataArray(np.zeros(48), {"time": time}, ("time",))
    >>> valid = ("init", "lead"), time.values[1:37:12, None]
    >>> coords = {"init": time[:36:12], "lead": [1], "valid_time": valid}
    >>> hindcast = xr.DataArray([[1.0], [2.0], [6.0]], coords, ("init", "lead"))
    >>> correct_bias(hindcast, hindcast, observed).values.ravel()  # 1 - (2 + 6) / 2, ...
    array([-3. , -1.5,  4.5])
    """
    if isinstance(forecast, xr.DataArray):
        past = pick_variable(hindcast, forecast.name)
        return _correct(forecast, past, pick_observed(observed, forecast))
    variables = {
        name: _correct(fc, pick_variable(hindcast, name), pick_observed(observed, fc))
        for name, fc in forecast.data_vars.items()
    }
    return forecast.assign(variables)


def _correct(
    forecast: xr.DataArray, hindcast: xr.DataArray, observed: xr.DataArray
) -> xr.DataArray:
    check_unpacked(forecast)
    forecast = check_values(forecast, "fc", forecast=True)
    fc = forecast if "init" in forecast.dims else forecast.expand_dims("init")
    error = _match(fc, _errors(fc, hindcast, observed))
    init, past = fc["init"], error["init"]
    biases = []
    for i in range(init.size):
        month, year = init[i].dt.month.item(), init[i].dt.year.item()
        others = (past.dt.month.values == month) & (past.dt.year.values != year)
        if not others.any():
            found = ", ".join(map(str, sorted({*past.dt.year.values.tolist()})))
            expected = f"hindcasts from month {month} of other years than {year}"
            raise mismatch(expected, f"inits of {found}", "a hindcast from more years")
        biases.append(error.isel(init=np.flatnonzero(others)).mean("init"))
    bias = concat(biases, "init").astype(fc.dtype)
    out = fc.copy(data=(fc.variable - bias.variable).transpose(*fc.dims).data)
    span = " to ".join(str_month(number) for number in month_numbers(past)[[0, -1]])
    line = f"xearthformer correct_bias: less the mean error of hindcasts from {span}, by lead and "
    line += "calendar month of the init, the year of each forecast left out"
    out = new_values(out, fc, line)
    return (
        out
        if "init" in forecast.dims
        else out.isel(init=0).drop_vars({*out.coords} - {*forecast.coords})
    )


def _errors(fc: xr.DataArray, hindcast: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return the errors (init, lead, [y, x]) of a hindcast, in the forecast's units."""
    if "member" in hindcast.dims:
        hindcast = hindcast.mean("member", skipna=False, keep_attrs=True)
    past, obs, positions = align(match_units(fc, hindcast), observed, name="hindcast")
    parts = []
    for k, truth in enumerate(observed_by_lead(obs, positions)):
        one = past.isel(lead=k)
        parts.append(one.copy(data=one.data - truth.transpose(*one.dims).data))
    return concat(parts, "lead").transpose(*past.dims)


def _match(fc: xr.DataArray, error: xr.DataArray) -> xr.DataArray:
    """Return errors at the leads and on the cells of a forecast."""
    own = [dim for dim in fc.dims if dim not in LEADING]
    if {*own} != {*error.dims[2:]}:
        found = f"dims {error.dims}"
        raise mismatch(f"a hindcast with the forecast's dims {tuple(own)}", found, "both fields")
    missing = sorted({*fc["lead"].values.tolist()} - {*error["lead"].values.tolist()})
    if missing:
        found = f"{error.sizes['lead']} leads"
        raise mismatch("a hindcast with the forecast's leads", found, f"lead={fc.sizes['lead']}")
    error = error.sel(lead=fc["lead"].values)
    for dim in own:
        error = match_cells(fc, error, str(dim))
    if own:
        check_places(fc, error, "hindcast")
    return error.transpose("init", "lead", *own)
