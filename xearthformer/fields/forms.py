"""Labelled data in the forms that files and libraries give, as the package reads it.

Quantities of pint become numbers with units among the attributes, stamps datetimes, and places that
are written again at each time one map. How a Zarr store holds data is forgotten: an answer has
another shape, and may be written in another format.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

import xarray as xr

from .axes import CURVED_NAMES, check_labelled
from .stamps import with_datetimes
from .units import DIFFERENCE

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PLACES = {name for names in CURVED_NAMES.values() for name in names}
CODECS = {"compressor", "compressors", "filters", "serializer", "chunks", "shards"}
DELTA = "delta_"  # how pint marks a difference of temperatures


def takes_any_form(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take labelled data in any form that `in_plain_form` reads.

    What it takes first is labelled data, or several by name.
    """
    first = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for data in args[:1] or [kwargs[name] for name in kwargs if name == first]:
            if not isinstance(data, Mapping):
                check_labelled(data)
        given = {name: in_plain_form(arg) for name, arg in kwargs.items()}
        return function(*map(in_plain_form, args), **given)  # type: ignore[arg-type]

    return wrapper


def in_plain_form(data: T) -> T:
    """Return labelled data as the package reads it; anything else as it is.

    >>> import pint
    >>> rain = xr.DataArray(pint.UnitRegistry().Quantity([1.0], "mm/hour"), dims="time")
    >>> in_plain_form(rain).attrs["units"]
    'hour-1 millimeter'
    """
    plain: xr.DataArray | xr.Dataset
    if isinstance(data, xr.Dataset):
        plain = data.assign({name: _as_numbers(da) for name, da in data.items() if _is_pint(da)})
    elif isinstance(data, xr.DataArray):
        plain = _as_numbers(data) if _is_pint(data) else data
    else:
        return data
    return with_datetimes(_with_still_places(_without_codecs(plain)))  # type: ignore[return-value]


def _is_pint(da: xr.DataArray) -> bool:
    return hasattr(da.variable._data, "unit_items")  # not `data`, which would read a file


def _as_numbers(da: xr.DataArray) -> xr.DataArray:
    """Return quantities of pint as numbers, with their units as UDUNITS reads them."""
    named = sorted(da.data.unit_items())
    units = " ".join(name if power == 1 else f"{name}{power:g}" for name, power in named)
    attrs = {"units_metadata": DIFFERENCE} if units.startswith(DELTA) else {}
    out = da.copy(data=da.data.magnitude)
    return out.assign_attrs(units=units.removeprefix(DELTA) or "1", **attrs)


def _with_still_places(data: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Return data whose latitudes and longitudes (time, y, x), as WRF writes them, are (y, x).

    Only where they stay the same: a grid that moves is left as it is.
    """
    still = {}
    for name, coord in data.coords.items():
        if coord.ndim == 3 and coord.size and str(name).lower() in PLACES:
            first = coord.variable[0]
            if bool((coord.variable == first).all()):
                still[name] = first
    return data.drop_vars(list(still)).assign_coords(still) if still else data


def _without_codecs(data: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    if not any(CODECS & variable.encoding.keys() for variable in _variables(data)):
        return data
    out = data.copy(deep=False)
    for variable in _variables(out):
        variable.encoding = {k: v for k, v in variable.encoding.items() if k not in CODECS}
    return out


def _variables(data: xr.DataArray | xr.Dataset) -> Iterator[xr.Variable]:
    if isinstance(data, xr.Dataset):
        yield from data.variables.values()
    else:
        yield data.variable
        yield from (coord.variable for coord in data.coords.values())
