"""CF conventions at the border: from a user's array to a model's terms, and back.

`prepare` turns any labelled array into (time, y, x) in a model's units; `restore` is its inverse.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..errors import mismatch
from .axes import Axes, Role, coordinate, find_axes, find_latlon
from .columns import without_repeats
from .quantities import Labelled, check_float, check_quantity
from .time_axis import MIDDLE
from .units import convert_units

ROLES: tuple[Role, ...] = ("time", "y", "x")
CONVENTIONS = "CF-1.11"  # that of units_metadata, by which anomalies are told

# Attributes that say what the numbers of a file can be, packed or not: new values are others.
OF_NUMBERS = {
    "valid_min",
    "valid_max",
    "valid_range",
    "valid_range_source",
    "actual_range",
    "missing_value",
    "_FillValue",
    "scale_factor",
    "add_offset",
    "_Unsigned",
    "_ChunkSizes",
    "flag_values",
    "flag_masks",
    "flag_meanings",
}
# Those that say how data came about that was forecast; CMIP's, ACDD's and COARDS's among them.
OF_DATA = {
    "cell_methods",
    "title",
    "source",
    "source_id",
    "processing_level",
    "product_version",
    "dataset",
    "statistic",
    "parent_stat",
    "level_desc",
    "tracking_id",
    "id",
}
# Of a whole file, those that hold of forecasts from it as well.
SHARED = {"license", "acknowledgement", "acknowledgment"}
# Those that name other variables.
REFERENCES = {
    "bounds",
    "grid_mapping",
    "cell_measures",
    "ancillary_variables",
    "formula_terms",
    "coordinates",
}


@dataclass(frozen=True, eq=False)
class Origin:
    """The user's form of a prepared array: what `restore` needs to give it back.

    `order_y` and `order_x` are the user's positions in prepared order, and `back_x` is where each
    of the user's columns is among the prepared ones, several in one place where a column repeats.
    `model_units` is None where the units were left as they are.
    """

    axes: Axes
    dims: tuple[str, ...]
    coords: Mapping[str, xr.DataArray]
    name: Hashable | None
    attrs: Mapping[str, object]
    dtype: np.dtype
    model_units: str | None
    difference: bool
    order_y: np.ndarray  # int, (y,)
    order_x: np.ndarray  # int, (x,)
    back_x: np.ndarray  # int, (the user's x,)


def find_grid_mapping(da: xr.DataArray) -> str | None:
    """Return the name of the coordinate that holds the map projection; None if there is none.

    By the attribute or encoding `grid_mapping`; arithmetic loses these, and then a scalar
    coordinate that describes a projection is it.

    >>> crs = xr.Variable((), 0, {"grid_mapping_name": "polar_stereographic"})
    >>> find_grid_mapping(xr.DataArray([1.0], dims="x", coords={"crs": crs}))
    'crs'
    """
    named = da.encoding.get("grid_mapping") or da.attrs.get("grid_mapping")
    if named in da.coords:
        return str(named)
    marks = ("grid_mapping_name", "crs_wkt", "spatial_ref")
    scalars = [name for name, coord in da.coords.items() if coord.ndim == 0]
    return next((str(n) for n in scalars if any(m in da.coords[n].attrs for m in marks)), None)


def mappings_as_coords(data: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Return a Dataset in which map projections are coordinates, as decode_coords="all" has them.

    A variable that is selected then keeps its projection. A DataArray is returned as it is.
    """
    if not isinstance(data, xr.Dataset):
        return data
    named = {da.attrs.get("grid_mapping") for da in data.data_vars.values()}
    return data.set_coords([name for name in data.data_vars if name in named])


def with_grid_mapping(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset without encoding but that of times, whose variables name their projection.

    What reads the file then finds the projection: rioxarray, GDAL, and xarray with
    `decode_coords="all"`.
    """
    mappings = {name: find_grid_mapping(da) for name, da in ds.data_vars.items() if da.ndim > 1}
    kept = ("units", "calendar", "dtype")
    times = {
        name: {key: variable.encoding[key] for key in kept if key in variable.encoding}
        for name, variable in ds.variables.items()
        if variable.dtype.kind in "MO"
    }
    ds = ds.drop_encoding()
    for name, encoding in times.items():
        ds[name].encoding = encoding
    for name, mapping in mappings.items():
        if mapping is not None:
            ds[name].attrs["grid_mapping"] = mapping
            if not {"standard_name", "long_name"} & {*ds[mapping].attrs}:
                ds[mapping].attrs = {
                    **ds[mapping].attrs,
                    "long_name": "coordinate reference system",
                }
    return ds


def unfilled(ds: xr.Dataset) -> dict[str, dict[str, object]]:
    """Return the encoding of coordinates to write: as it is, without the fill value NaN."""
    return {str(name): {**c.encoding, "_FillValue": None} for name, c in ds.coords.items()}


def add_history(attrs: Mapping[str, object], line: str) -> dict[str, object]:
    """Return `attrs` with one more line in `history`, as CF conventions ask (section 2.6.2)."""
    return {**attrs, "history": f"{attrs.get('history', '')}\n{line}".strip()}


def new_values(out: xr.DataArray, da: xr.DataArray, line: str = "") -> xr.DataArray:
    """Return `out`, values made from those of `da`, with what still holds of its attributes.

    Name, attributes and those of the labels are as of `da`, whatever xarray keeps of them (before
    2025.11, nothing); with a line more in `history`, if there is one. Ranges, codes and packing are
    of the old values: netCDF4 masks what lies beyond `valid_range`.
    """
    out = with_labels_of(out, da).rename(da.name)
    attrs = {key: value for key, value in da.attrs.items() if key not in OF_NUMBERS}
    out.attrs = add_history(attrs, line) if line else attrs
    out.encoding = {k: v for k, v in da.encoding.items() if k == "grid_mapping"}
    return out


def with_labels_of(out: Labelled, *sources: xr.DataArray) -> Labelled:
    """Return `out` whose coordinates have the attributes that those of its sources have."""
    out = out.copy(deep=False)
    for name, coord in out.coords.items():
        for source in sources:
            if not coord.attrs and name in source.coords:
                coord.attrs = source[name].attrs
    return out


def of_forecast(attrs: Mapping[str, object], names: Container[str]) -> dict[str, object]:
    """Return the attributes that a forecast shares with its data; `names` are its coordinates.

    >>> of_forecast({"units": "K", "cell_methods": "time: mean", "valid_min": 0}, [])
    {'units': 'K'}
    """
    kept = {k: v for k, v in attrs.items() if k not in OF_NUMBERS | OF_DATA}
    return without_dangling(kept, names)


def without_dangling(attrs: Mapping[str, object], names: Container[str]) -> dict[str, object]:
    """Return attributes without those that name variables which aren't there.

    >>> without_dangling({"bounds": "lat_bnds", "cell_measures": "area: areacello"}, ["areacello"])
    {'cell_measures': 'area: areacello'}
    """

    def named(key: str) -> list[str]:
        words = str(attrs[key]).split()
        return words if key == "grid_mapping" else [one for one in words if one[-1] != ":"]

    gone = {
        key
        for key in REFERENCES & {*attrs}
        if not all(word.rstrip(":") in names for word in named(key))
    }
    return {key: value for key, value in attrs.items() if key not in gone}


def file_of_forecasts(
    attrs: Mapping[Any, object], forecasts: Iterable[xr.DataArray]
) -> dict[str, object]:
    """Return the global attributes of a pack's forecasts from a Dataset with `attrs`.

    What else the data's say (title, identity, processing level, model) is of the data. `history`
    goes on with what was done to each variable.
    """
    answers = list(forecasts)
    names = ", ".join(str(da.name) for da in answers)
    pack = "pack {pack} {pack_version}".format(**answers[0].attrs)
    data = f", from {attrs['title']}" if attrs.get("title") else ""
    own = {k: v for k, v in attrs.items() if k in SHARED | {"history"}}
    own |= {"Conventions": CONVENTIONS, "title": f"Forecast of {names} by {pack}"}
    own["source"] = f"xearthformer, {pack}{data}"
    for line in dict.fromkeys(str(da.attrs.get("history", "")).split("\n")[-1] for da in answers):
        own = add_history(own, line)
    return own


def prepare(
    da: xr.DataArray,
    *,
    units: str | None,
    difference: bool,
    standard_name: str | None = None,
    latlon: bool,
    exact: bool = False,
) -> tuple[xr.DataArray, Origin]:
    """Bring a user's array into a model's terms; `restore` is the inverse.

    The data has dims time, y and x (`find_axes`) in any order, and others only of size 1. What
    comes back is float32 (time, y, x), lazy if `da` is. With `latlon`, the model's grid is of
    latitude and longitude, not of pixels: y is latitude, ascending, and x is longitude in
    [0, 360), ascending, each once (`columns`); else y ascends if it has a coordinate.

    `difference` says whether the model takes anomalies, and `standard_name` which quantity; with
    `units` None the numbers are taken as they are, anomalies or not. With `exact`, float64 stays.
    Data that does not fit raises ValueError; data that is not floating-point raises TypeError.
    """
    check_float(da)
    axes = find_axes(da)
    time, y, x = (coordinate(da, role) for role in ROLES)
    others = [dim for dim in da.dims if dim not in (axes.time, axes.y, axes.x)]
    longer = [dim for dim in others if da.sizes[dim] > 1]
    if longer:
        raise mismatch(
            f"the dimensions {axes.time}, {axes.y}, {axes.x} alone",
            "also " + ", ".join(f"{dim} ({da.sizes[dim]})" for dim in longer),
            f"da.isel({longer[0]}=0), or forecast each on its own",
        )
    once, place = without_repeats(da) if latlon else (da, None)
    out = once.isel(dict.fromkeys(others, 0), drop=True)
    if latlon:
        y, x = find_latlon(once)
    if units is not None:
        check_quantity(da, standard_name, difference)
        out = convert_units(out, units, difference=difference)
    order_y = np.arange(da.sizes[axes.y]) if y is None else np.argsort(y.values)
    # columns of a projection stay: only longitudes come in more than one convention
    order_x = np.argsort(x.values) if latlon and x is not None else np.arange(da.sizes[axes.x])
    back_x = np.argsort(order_x)  # of a permutation it is the inverse
    dtype = np.float64 if exact and da.dtype == np.float64 else np.float32
    out = out.transpose(axes.time, axes.y, axes.x).astype(dtype)
    out = _reorder(_reorder(out, axes.y, order_y), axes.x, order_x)
    coords = {
        role: xr.Variable(role, values.values[order], values.attrs, values.encoding)
        for role, values, order in (("time", time, ...), ("y", y, order_y), ("x", x, order_x))
        if values is not None
    }
    if MIDDLE in da.coords:  # says which months the stamps are of
        coords[MIDDLE] = xr.Variable("time", da[MIDDLE].values, da[MIDDLE].attrs)
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
        back_x=back_x if place is None else back_x[place],
    )
    return xr.DataArray(out.data, coords, ROLES, da.name, out.attrs), origin


def restore(da: xr.DataArray, origin: Origin) -> xr.DataArray:
    """Return a prepared array, or a forecast from it, in the user's form; inverse of `prepare`.

    `da` (..., y, x) is in the model's units on the prepared grid. The answer has its leading dims
    (init, lead, member), then the user's spatial dims: their names, order, direction, longitudes,
    coordinates, units, name, attributes (those that `da` adds are kept) and dtype. An array
    (time, y, x) gets the user's own order of dims. Another grid raises ValueError.
    """
    found = f"{da.sizes['y']} x {da.sizes['x']}"
    expected = f"{origin.order_y.size} x {origin.order_x.size}"
    if found != expected:
        raise mismatch(f"the prepared grid, {expected}", found, "regrid.to_user(da, y, x)")
    leading = [str(dim) for dim in da.dims if dim not in ("y", "x")]
    names = {"y": origin.axes.y, "x": origin.axes.x}
    if leading == ["time"]:  # the record itself, not a forecast from it
        names["time"] = origin.axes.time
    # not narrower than it was made: in float16, units of small numbers lose their digits
    out = da.transpose(*leading, "y", "x").astype(np.promote_types(origin.dtype, np.float32))
    out = _reorder(_reorder(out, "y", np.argsort(origin.order_y)), "x", origin.back_x)
    if origin.model_units is not None:
        out = out.assign_attrs(units=origin.model_units)
        out = convert_units(out, str(origin.attrs["units"]), difference=origin.difference)
    out = out.astype(origin.dtype, copy=False)
    dims = [names.get(str(dim), str(dim)) for dim in out.dims]
    new = {k: v for k, v in out.attrs.items() if k not in ("units", "units_metadata")}
    out = xr.DataArray(out.data, dims=dims, name=origin.name, attrs={**origin.attrs, **new})
    if leading == ["time"]:
        out = out.expand_dims([d for d in origin.dims if d not in dims]).transpose(*origin.dims)
    else:
        spatial = [dim for dim in origin.dims if dim in (names["y"], names["x"])]
        out = out.transpose(*leading, *spatial)
    return out.assign_coords(_restored_coords(da, out, origin))


def _reorder(da: xr.DataArray, dim: str, order: np.ndarray) -> xr.DataArray:
    """Return `da` in another order along `dim`; slices where possible, for they copy nothing."""
    ascending = np.arange(da.sizes[dim])
    if np.array_equal(order, ascending):
        return da
    if np.array_equal(order, ascending[::-1]):
        return da.isel({dim: slice(None, None, -1)})
    return da.isel({dim: order})


def _restored_coords(da: xr.DataArray, out: xr.DataArray, origin: Origin) -> dict[str, xr.Variable]:
    """Return the coordinates of `out`: leading ones from `da`, the others from the user's array."""
    own = {name: coord.variable for name, coord in origin.coords.items()}
    time, grid = origin.axes.time, {origin.axes.y, origin.axes.x}
    if time in out.dims and "time" in da.coords:
        stamps = da["time"].variable
        along_time = [coord for coord in own.values() if coord.dims == (time,)]
        if not any(np.array_equal(coord.values, stamps.values) for coord in along_time):
            # part of the record: the user's coordinates along time no longer fit
            own = {name: coord for name, coord in own.items() if time not in coord.dims}
            own[time] = xr.Variable(time, stamps.values, stamps.attrs, stamps.encoding)
    coords = {}
    for name, coord in own.items():
        gone = set(coord.dims) - set(out.dims)
        if not gone & {time, *grid}:
            coords[name] = coord.isel(dict.fromkeys(gone, 0))
    leading = {
        str(name): coord.variable
        for name, coord in da.coords.items()
        if set(coord.dims) <= set(out.dims) - {time, *grid}
    }
    return {**coords, **leading}
