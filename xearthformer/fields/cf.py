"""CF conventions at the border: what a variable is, and its way into a model's terms and back.

`prepare` turns any labelled array into (time, y, x) in a model's units; `restore` is the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from ..errors import mismatch
from .axes import (
    Axes,
    Role,
    coordinate,
    find_axes,
    find_latlon,
)
from .units import DIFFERENCE, ON_SCALE, convert_units

Labelled = TypeVar("Labelled", xr.Dataset, xr.DataArray)
ROLES: tuple[Role, ...] = ("time", "y", "x")

# Standard name a model asks for: other standard names of the same thing, and common short names.
ALIASES = {
    wanted: names.split()
    for wanted, names in {
        "sea_surface_temperature": """
            sea_surface_temperature_anomaly sea_surface_foundation_temperature
            sea_surface_skin_temperature sea_surface_subskin_temperature
            sst ssta tos tosa sst_anom sst_anomaly ssta_anom sea_surface_temp analysed_sst
            sosstsst""",
        "rainfall_rate": """
            lwe_precipitation_rate precipitation_rate
            rain_rate rainrate rr precip_rate preciprate""",
        "equivalent_reflectivity_factor": "dbz dbzh reflectivity refl",
    }.items()
}


@dataclass(frozen=True, eq=False)
class Origin:
    """What `restore` needs to give a prepared array, or a forecast from it, the user's form.

    `order_y` and `order_x` are the user's positions in prepared order; `model_units` is None where
    the units were left as they are.
    """

    axes: Axes
    dims: tuple[str, ...]
    coords: Mapping[str, xr.DataArray]
    name: Any
    attrs: Mapping[str, Any]
    dtype: np.dtype
    model_units: str | None
    difference: bool
    order_y: np.ndarray
    order_x: np.ndarray


def add_history(attrs: Mapping[str, Any], line: str) -> dict[str, Any]:
    """`attrs` with one more line in `history`, as CF conventions ask (section 2.6.2)."""
    return {**attrs, "history": f"{attrs.get('history', '')}\n{line}".strip()}


def on_each(
    obj: Labelled, serve: Callable[[xr.DataArray], xr.DataArray], dims: Iterable[str]
) -> Labelled:
    """`serve` a DataArray; or, of a Dataset, each floating-point variable that has all of `dims`.

    The Dataset's other variables stay as they are, those on a dim that is no more excepted.
    """
    if isinstance(obj, xr.DataArray):
        return serve(obj)
    return _on_variables(obj, serve, set(dims))


def _on_variables(
    ds: xr.Dataset, serve: Callable[[xr.DataArray], xr.DataArray], need: set[str]
) -> xr.Dataset:
    served, rest = {}, {}
    for name, da in ds.data_vars.items():
        if need <= {*da.dims} and da.dtype.kind == "f":
            served[name] = serve(da)
        else:
            rest[name] = da
    if not served:
        found = ", ".join(f"{da.dtype} {name}{da.dims}" for name, da in rest.items())
        raise mismatch(
            f"a floating-point variable with {' and '.join(sorted(need))}",
            found or "no data variables",
            'ds["..."].astype("float32")',
        )
    gone = need.difference(*(da.dims for da in served.values()))
    rest = {name: da for name, da in rest.items() if not gone & {*da.dims}}
    return xr.Dataset({**served, **rest}, attrs=ds.attrs)


# --- what a variable is


def is_difference(da: xr.DataArray) -> bool:
    """Whether values are anomalies, by their attributes.

    `units_metadata` decides (CF 1.11); else units such as delta_degC, "anomaly" in a name, or the
    `climatology_period` that `climate.anomaly` leaves.
    """
    stated = str(da.attrs.get("units_metadata", "")).replace(": ", ":")
    if stated in ("temperature:difference", "temperature:on_scale"):
        return stated == "temperature:difference"
    names = f"{da.attrs.get('standard_name', '')} {da.attrs.get('long_name', '')}".lower()
    units = str(da.attrs.get("units", ""))
    of_period = "climatology_period" in da.attrs and "month" not in da.dims
    return "anomal" in names or units.startswith("delta_") or of_period


def find_variable(ds: xr.Dataset, *, standard_name: str | None, difference: bool) -> str:
    """The one variable of a Dataset that a model asks for.

    By standard_name, then by common short names (sst, ssta, tos, ...); of several, the one that is
    an anomaly when `difference`, else the one that isn't. With `standard_name` None, the only
    variable on a grid.

    Raises
    ------
    ValueError
        None matches, or two do; the message lists the variables.
    """
    on_grid = [str(n) for n, da in ds.data_vars.items() if da.ndim > 2 and da.dtype.kind in "fiu"]
    matches = on_grid
    if standard_name is not None:
        wanted = {standard_name, *ALIASES.get(standard_name, ())}
        by_attr = [n for n in on_grid if ds[n].attrs.get("standard_name") in wanted]
        by_name = [n for n in on_grid if n.lower() in wanted]
        matches = by_attr or by_name
    if len(matches) > 1:
        matches = [n for n in matches if is_difference(ds[n]) == difference] or matches
    if len(matches) == 1:
        return matches[0]
    what = f"{standard_name or 'one variable on a grid'}{' (anomaly)' if difference else ''}"
    listed = "".join(f"\n         {_describe(ds[n])}" for n in matches or ds.data_vars)
    if matches:
        mend = f'select one: ds["{matches[0]}"].earthformer...'
        raise mismatch(f"one variable that is {what}", f"{len(matches)}:{listed}", mend)
    mend = f'ds["..."].attrs["standard_name"] = "{standard_name}"' if standard_name else 'ds["..."]'
    raise mismatch(f"a variable that is {what}", listed.strip() or "no data variables", mend)


def check_float(da: xr.DataArray) -> None:
    """Refuse what can't hold a missing value: integers (packed data?), booleans, objects.

    Raises
    ------
    TypeError
    """
    if da.dtype.kind == "f":
        return
    packed = {"scale_factor", "add_offset", "_FillValue"} & set(da.attrs)
    mend = "ds = xr.decode_cf(ds): the data is packed" if packed else 'da.astype("float32")'
    raise TypeError(str(mismatch("floating-point data", f"{da.dtype} ({_describe(da)})", mend)))


def _describe(da: xr.DataArray) -> str:
    """A variable in a line: name, dims, what its attributes say."""
    said = [
        f"{key}={da.attrs[key]!r}"
        for key in ("standard_name", "long_name", "units")
        if key in da.attrs
    ]
    return f"{da.name or 'data'}({', '.join(map(str, da.dims))}) " + (
        ", ".join(said) or "no attributes"
    )


def _check_variable(da: xr.DataArray, standard_name: str | None, difference: bool) -> None:
    """Refuse another quantity, absolute values for anomalies, and anomalies for absolute values."""
    found = da.attrs.get("standard_name", "unknown")
    if standard_name and found not in ("unknown", standard_name, *ALIASES.get(standard_name, ())):
        mend = f'da.assign_attrs(standard_name="{standard_name}"), if that is what it is'
        raise mismatch(standard_name, _describe(da), mend)
    if difference and not is_difference(da):
        raise mismatch(
            "an anomaly",
            f"absolute values: {_describe(da)}",
            'da.earthformer.anomaly(climatology=("1981", "2010")), or if these are anomalies '
            f'already da.assign_attrs(units_metadata="{DIFFERENCE}")',
        )
    if not difference and is_difference(da):
        raise mismatch(
            "absolute values",
            f"an anomaly: {_describe(da)}",
            'da + climatology.sel(month=da["time"].dt.month), or if these are absolute values '
            f'already da.assign_attrs(units_metadata="{ON_SCALE}")',
        )


# --- the way in, and the way out


def prepare(
    da: xr.DataArray,
    *,
    units: str | None,
    difference: bool,
    standard_name: str | None = None,
    latlon: bool,
) -> tuple[xr.DataArray, Origin]:
    """A user's array in a model's terms; `restore` is the inverse.

    Parameters
    ----------
    da : DataArray
        Dims time, y and x, found by `find_axes`, in any order; other dims of size 1.
    units : str or None
        Units wanted. None takes the numbers as they are, anomalies or not.
    difference : bool
        An anomaly is wanted.
    standard_name : str, optional
        What is wanted; data without a standard_name passes.
    latlon : bool
        Latitude and longitude are wanted, not rows and columns of a projection.

    Returns
    -------
    DataArray (time, y, x)
        float32, lazy if `da` is. With `latlon`, y is latitude, ascending, and x is longitude in
        [0, 360), ascending; else y ascends if it has a coordinate.
    Origin
        For `restore`.

    Raises
    ------
    ValueError
        An axis is missing, another dim is longer than 1, another quantity, an anomaly or none
        where the other is wanted, units that don't convert, no latitude and longitude.
    TypeError
        Data that isn't floating-point.
    """
    check_float(da)
    axes = find_axes(da)
    time, y, x = (coordinate(da, role) for role in ROLES)
    out = _squeeze(da, axes)
    if latlon:
        y, x = find_latlon(da)
    if units is not None:
        _check_variable(da, standard_name, difference)
        out = convert_units(out, units, difference=difference)
    order_y = np.arange(da.sizes[axes.y]) if y is None else np.argsort(y.values)
    order_x = np.argsort(x.values) if latlon and x is not None else np.arange(da.sizes[axes.x])
    out = out.transpose(axes.time, axes.y, axes.x).astype(np.float32)
    out = _take(_take(out, axes.y, order_y), axes.x, order_x)
    coords = {
        role: xr.Variable(role, values.values[order], values.attrs, values.encoding)
        for role, values, order in (("time", time, ...), ("y", y, order_y), ("x", x, order_x))
        if values is not None
    }
    origin = Origin(
        axes=axes,
        dims=tuple(str(dim) for dim in da.dims),
        coords={str(name): coord for name, coord in da.coords.items()},
        name=da.name,
        attrs=dict(da.attrs),
        dtype=da.dtype,
        model_units=units,
        difference=difference,
        order_y=order_y,
        order_x=order_x,
    )
    return xr.DataArray(out.data, coords, ROLES, da.name, out.attrs), origin


def restore(da: xr.DataArray, origin: Origin) -> xr.DataArray:
    """A prepared array, or a forecast from it, in the user's form; the inverse of `prepare`.

    Parameters
    ----------
    da : DataArray (..., y, x)
        In the model's units, on the prepared grid; leading dims such as init, lead and member.
    origin : Origin
        As `prepare` gave it.

    Returns
    -------
    DataArray
        The leading dims, then the user's spatial dims: their names, order, direction, longitudes,
        coordinates, units, name, attributes (and what `da` has besides) and dtype. An array
        (time, y, x) gets the user's own order of dims.

    Raises
    ------
    ValueError
        `da` isn't on the prepared grid.
    """
    shape = origin.order_y.size, origin.order_x.size
    if (da.sizes["y"], da.sizes["x"]) != shape:
        found = f"{da.sizes['y']} x {da.sizes['x']}"
        raise mismatch(
            f"the prepared grid, {shape[0]} x {shape[1]}", found, "grid.to_user(da, y, x)"
        )
    lead = [str(dim) for dim in da.dims if dim not in ("y", "x")]
    names = {"y": origin.axes.y, "x": origin.axes.x}
    if lead == ["time"]:
        names["time"] = origin.axes.time
    out = da.transpose(*lead, "y", "x").astype(origin.dtype)
    out = _take(_take(out, "y", np.argsort(origin.order_y)), "x", np.argsort(origin.order_x))
    if origin.model_units is not None:
        out = out.assign_attrs(units=origin.model_units)
        out = convert_units(out, origin.attrs["units"], difference=origin.difference)
    dims = [names.get(str(dim), str(dim)) for dim in out.dims]
    new = {k: v for k, v in out.attrs.items() if k not in ("units", "units_metadata")}
    out = xr.DataArray(out.data, dims=dims, name=origin.name, attrs={**origin.attrs, **new})
    if lead == ["time"]:
        out = out.expand_dims([d for d in origin.dims if d not in dims]).transpose(*origin.dims)
    else:
        spatial = [dim for dim in origin.dims if dim in (names["y"], names["x"])]
        out = out.transpose(*lead, *spatial)
    return out.assign_coords(_coords(da, out, origin))


def _squeeze(da: xr.DataArray, axes: Axes) -> xr.DataArray:
    """Without the dims of size 1 beside time, y and x; a longer one is an error."""
    extra = [dim for dim in da.dims if dim not in (axes.time, axes.y, axes.x)]
    long = [dim for dim in extra if da.sizes[dim] > 1]
    if long:
        raise mismatch(
            f"the dimensions {axes.time}, {axes.y}, {axes.x} alone",
            "also " + ", ".join(f"{dim} ({da.sizes[dim]})" for dim in long),
            f"da.isel({long[0]}=0), or forecast each on its own",
        )
    return da.isel(dict.fromkeys(extra, 0), drop=True)


def _take(da: xr.DataArray, dim: str, order: np.ndarray) -> xr.DataArray:
    """`da` in another order along `dim`: a plain slice, and so cheap, wherever one does it."""
    ascending = np.arange(order.size)
    if np.array_equal(order, ascending):
        return da
    if np.array_equal(order, ascending[::-1]):
        return da.isel({dim: slice(None, None, -1)})
    return da.isel({dim: order})


def _coords(da: xr.DataArray, out: xr.DataArray, origin: Origin) -> dict[str, xr.Variable]:
    """Coordinates for `out`: the leading ones of `da`, and the user's own where their dims stay."""
    own = {name: coord.variable for name, coord in origin.coords.items()}
    time = origin.axes.time
    if time in out.dims and "time" in da.coords:
        stamps = da["time"].variable
        if not any(
            np.array_equal(c.values, stamps.values) for c in own.values() if c.dims == (time,)
        ):
            own = {name: coord for name, coord in own.items() if time not in coord.dims}
            own[time] = xr.Variable(time, stamps.values, stamps.attrs, stamps.encoding)
    coords = {}
    for name, coord in own.items():
        gone = set(coord.dims) - set(out.dims)
        if not gone & {time, origin.axes.y, origin.axes.x}:
            coords[name] = coord.isel(dict.fromkeys(gone, 0))
    leading = {
        str(name): coord.variable
        for name, coord in da.coords.items()
        if set(coord.dims) <= set(out.dims) - {time, origin.axes.y, origin.axes.x}
    }
    return {**coords, **leading}
