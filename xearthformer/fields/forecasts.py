"""Forecasts of other projects, brought to the dims init, lead and member.

WeatherBench, earth2studio, cfgrib and climpred have the same axes under names of their own. CF's
standard names say which is which, then the names in use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import ParamSpec, TypeVar

import numpy as np
import xarray as xr

from ..errors import mismatch
from .axes import Data
from .stamps import datetimes
from .time_axis import check_decoded, shift_time
from .units import convert_units

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# The standard name of each in CF, and names in use without it, the likelier first.
NAMES = {
    "init": ["forecast_reference_time", "init", "init_time", "initial_time", "reference_time"],
    "lead": ["forecast_period", "lead", "lead_time", "prediction_timedelta", "step", "leadtime"],
    "member": ["realization", "member", "number", "ensemble", "ensemble_member", "ens"],
    "valid_time": ["time", "valid_time"],
}
# Units of leads that have no one length, in months; climpred's among them.
MONTHS = {"1": 1, "month": 1, "season": 3, "year": 12}
LONGEST = 7 * 86400.0  # a week, in seconds: pint has years and months of one length


def takes_any_forecast(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's `forecast`, its first argument, and `reference` be as `as_forecast` reads.

    Outside of `takes_any_form`, which reads cfgrib's steps as the time axis of a record.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        first = [as_forecast(arg) for arg in args[:1]]
        given = {
            name: as_forecast(arg) if name in ("forecast", "reference") else arg
            for name, arg in kwargs.items()
        }
        return function(*first, *args[1:], **given)  # type: ignore[arg-type]

    return wrapper


def as_forecast(data: T) -> T:
    """Return a forecast from any project with the dims init, lead and member, and `valid_time`.

    Parameters
    ----------
    data : DataArray or Dataset
        A forecast whose coordinates CF's standard names tell (forecast_reference_time,
        forecast_period, realization, time), or names in use: init_time and lead_time
        (WeatherBench-X), time and prediction_timedelta (WeatherBench 2), time, step and number
        (cfgrib), time, lead_time and ensemble (earth2studio), init and lead (climpred). Leads are
        durations, or numbers with units of time (of months without any); a single
        init or lead may be a scalar.

    Returns
    -------
    DataArray or Dataset, as given
        Dims init, lead, [member,] then its own; the coordinates `init`, `lead`, `member` and 2-D
        `valid_time`, which is made of init and lead where there is none. A forecast by `forecast`
        is returned as it is.

    Raises
    ------
    ValueError
        No coordinate that is a lead, or none that is an init; inits that are no dates, leads in
        units that are no time; several variables along a dim.

    Examples
    --------
    >>> time, step = np.array(["2000-01-01"], "M8[ns]"), np.array([6, 12], "m8[h]")
    >>> fc = xr.DataArray([[1.0, 2.0]], {"time": time, "prediction_timedelta": step})
    >>> fc = as_forecast(fc)
    >>> fc.dims, fc["valid_time"].dt.hour.values
    (('init', 'lead'), array([[ 6, 12]]))
    """
    if not isinstance(data, xr.DataArray | xr.Dataset):
        return data  # refused by the function that it is given to
    if {"init", "lead", "valid_time"} <= {*data.coords}:
        return data
    return _renamed(_one_variable(data))  # type: ignore[return-value]


def _renamed(data: Data) -> Data:
    """Return a forecast with our names, its valid times made where there are none."""
    names = _find(data)
    if not {"init", "lead"} <= {*names}:
        raise mismatch(
            "a forecast, with the coordinates init, lead and valid_time, or others that say "
            "forecast_reference_time, forecast_period and time",
            f"dims {tuple(data.dims)}, coordinates {list(data.coords)}",
            "da.earthformer.forecast(...) for the forecast, obs for the observations",
        )
    init, lead = (data[names[role]] for role in ("init", "lead"))
    data = data.assign_coords({names["init"]: _dates(init), names["lead"]: _leads(lead)})
    data = data.rename({name: role for role, name in names.items() if name != role})
    for role in names:  # one init or lead is a scalar; leads may lie along a dim of valid times
        dims = data[role].dims if role in data.coords else (role,)
        if role in ("init", "lead") and len(dims) == 1 and dims[0] != role:
            data = data.swap_dims({dims[0]: role})
    for role in ("lead", "init"):
        if role not in data.dims:
            data = data.expand_dims(role)
    if "valid_time" not in data.coords:
        data = data.assign_coords(valid_time=_valid_times(data["init"], data["lead"]))
    return data.transpose("init", "lead", *({"member"} & {*data.dims}), ...)


def _one_variable(data: Data) -> Data:
    """Return the one variable of a DataArray that has a dim of them, as earth2studio's."""
    if isinstance(data, xr.Dataset) or "variable" not in data.coords:
        return data
    names = np.atleast_1d(data["variable"].values)
    if names.size > 1:
        listed = ", ".join(map(str, names))
        raise mismatch("one variable", listed, f'fc.sel(variable="{names[0]}")')
    if "variable" in data.dims:
        data = data.isel(variable=0)
    return data.drop_vars("variable").rename(str(names[0]))


def _find(data: Data) -> dict[str, Hashable]:
    """Return the names that init, lead, member and valid_time have; not those of none."""
    labels = [*data.coords, *(dim for dim in data.dims if dim not in data.coords)]
    found: dict[str, Hashable] = {}
    for role in ("lead", "init", "member", "valid_time"):
        cf_name, *usual = NAMES[role]
        attrs = {name: coord.attrs for name, coord in data.coords.items()}
        marked: list[Hashable] = [n for n in attrs if attrs[n].get("standard_name") == cf_name]
        usual = [name for name in (*usual, cf_name) if name in labels]
        if role == "init":
            usual.append("time")  # where leads have an axis of their own
        free = [name for name in (*marked, *usual) if name in labels and name not in found.values()]
        if role == "member":  # a single one stays a label
            free = [name for name in free if name in data.dims]
        if free:
            found[role] = free[0]
    return found


def _dates(init: xr.DataArray) -> xr.DataArray:
    """Return inits as datetimes, which may be dates as numbers, periods or in UTC."""
    stamps = datetimes(init)
    if stamps is None:
        check_decoded(init, str(init.name))
    return init if stamps is None or stamps is init else init.copy(data=stamps.values)


def _leads(lead: xr.DataArray) -> xr.DataArray:
    """Return leads as durations, or numbers of months, from numbers in the units that they say."""
    if lead.dtype.kind == "m":
        return lead
    units = str(lead.attrs.get("units", "")).strip()
    units = units.lower() if len(units) > 2 else units  # MS is not ms
    one, name = units.removesuffix("s"), lead.name
    if lead.dtype.kind not in "iuf" or not np.isfinite(lead.values).all():
        hint = f'fc.assign_coords({name}=("{name}", [1, 2, ...], {{"units": "months"}})), or "days"'
        raise mismatch("leads as durations, or numbers with units", f"{lead.values}", hint)
    if units in ("", "months"):
        return lead
    attrs = {key: value for key, value in lead.attrs.items() if key != "units"}
    if one in MONTHS:
        return lead.copy(data=lead.values * MONTHS[one]).drop_attrs().assign_attrs(attrs)
    length = _seconds(units)
    if length is None:
        hint = f'fc.assign_coords({name}=fc["{name}"].assign_attrs(units="days")), if they are days'
        raise mismatch("leads in units of time", f"lead in {units!r}", hint)
    durations = np.rint(lead.values * (length * 1e6)).astype("m8[us]")
    return lead.copy(data=durations.astype("m8[ns]")).drop_attrs().assign_attrs(attrs)


def _seconds(units: str) -> float | None:
    """Return how long a unit of time is; None for others, and for those of about a month or more.

    >>> _seconds("hours"), _seconds("d"), _seconds("yr"), _seconds("m")
    (3600.0, 86400.0, None, None)
    """
    one = xr.DataArray(1.0, attrs={"units": units})
    try:
        seconds = float(convert_units(one, "s", difference=False))
    except ValueError:
        return None
    return seconds if seconds <= LONGEST else None


def _valid_times(init: xr.DataArray, lead: xr.DataArray) -> xr.DataArray:
    """Return the valid times (init, lead) of leads that are durations or months."""
    if lead.dtype.kind == "m":
        return (init + lead).drop_attrs().transpose("init", "lead")
    times = shift_time(init, "month", np.arange(init.size), lead.values)
    return xr.DataArray(times, {"init": init, "lead": lead}, ("init", "lead"))
