"""Which dims are time, y and x, and the coordinates along them.

cf-xarray decides, by the attributes axis, standard_name and units; then names in common use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import xarray as xr

from ..errors import mismatch
from .units import to_metres

Role = Literal["time", "y", "x"]
Data = xr.Dataset | xr.DataArray

# What cf-xarray calls an axis, and a coordinate that lies along it.
CF_KEYS = {"time": ("T", "time"), "y": ("Y", "latitude"), "x": ("X", "longitude")}

# Names of dims without attributes, any case, the likelier first: CMIP, ERA5, NEMO, MOM, WRF, IRI.
AXIS_NAMES = {
    role: names.split()
    for role, names in {
        "time": "time valid_time t time_counter date datetime dates month xtime",
        "y": """lat latitude nav_lat y rlat yc yh yt_ocean j nj nlat south_north northing
                grid_latitude projection_y_coordinate""",
        "x": """lon longitude long nav_lon x rlon xc xh xt_ocean i ni nlon west_east easting
                grid_longitude projection_x_coordinate""",
    }.items()
}
RADIANS = {"rad", "radian", "radians"}
DEGREES = {"lat", "latitude", "lon", "longitude"}  # names that are degrees without any attribute

APART = 1e-4  # of the Earth's radius: centres no farther apart are the same place
METRES_PER_DEGREE = 6_371_000 * np.pi / 180  # of latitude

# Names of 2-D coordinates without attributes: CMIP, NEMO, CESM (T: centres of tracers), MOM, WRF.
CURVED_NAMES = {
    "latitude": ["lat", "latitude", "nav_lat", "tlat", "geolat", "geolat_t", "xlat", "ulat"],
    "longitude": ["lon", "longitude", "nav_lon", "tlong", "geolon", "geolon_t", "xlong", "ulong"],
}


@dataclass(frozen=True)
class Axes:
    """Names of the dims that are time, y (latitude or rows) and x (longitude or columns)."""

    time: str
    y: str
    x: str


def check_labelled(data: object) -> None:
    """Raise TypeError for what is no labelled data, such as the path of a file.

    >>> check_labelled("sst.nc")
    Traceback (most recent call last):
    TypeError: expected an xarray DataArray or Dataset
       found str
    """
    if not isinstance(data, xr.DataArray | xr.Dataset):
        raise TypeError(f"expected an xarray DataArray or Dataset\n   found {type(data).__name__}")


def find_axes(obj: Data) -> Axes:
    """Return which dims are time, y and x; one that is missing or found twice is an error.

    >>> find_axes(xr.DataArray(np.zeros((2, 3, 4)), dims=("longitude", "T", "LAT")))
    Axes(time='T', y='LAT', x='longitude')
    """
    (time, _), y, x = _locate(obj, "time", "y", "x")
    return Axes(time, *_grid(obj, y, x))


def find_time(obj: Data) -> str:
    """Return which dim is time; the data may have no grid (an index)."""
    return _locate(obj, "time")[0][0]


def find_grid(obj: Data) -> tuple[str, str]:
    """Return which dims are y and x; the data may have no time axis (a forecast, a climatology)."""
    y, x = _locate(obj, "y", "x")
    return _grid(obj, y, x)


def _grid(obj: Data, *found: tuple[str, str | None]) -> tuple[str, str]:
    """Return the dims of y and x, given with their coordinates: of two, in degrees, with cells."""
    (y, latitude), (x, longitude) = found
    if y == x:
        named = {
            key: [n for n in obj.coords if str(n).lower() in names[:2]] or [y]
            for key, names in CURVED_NAMES.items()
        }
        marked = _marked(obj)
        latlon = [marked.get(key, names)[0] for key, names in named.items()]
        raise mismatch(
            "a grid, with one dimension for y and another for x",
            f"latitude and longitude both along {y!r} (stations, or an unstructured grid)",
            f"da.set_index({y}={latlon}).unstack({y!r}) if the points fill a grid",
        )
    _check_in_degrees(obj, (latitude, longitude))
    check_cells(obj, (y, x))
    return y, x


def _check_in_degrees(obj: Data, names: Iterable[str | None]) -> None:
    """Refuse latitude and longitude in radians."""
    axes = [obj[name] for name in names if name]
    if not any(str(axis.attrs.get("units", "")) in RADIANS and is_degrees(axis) for axis in axes):
        return
    lines = [
        f'{axis.name}=np.degrees(da["{axis.name}"]).assign_attrs(units="{units}")'
        for axis, units in zip(axes, ("degrees_north", "degrees_east"), strict=False)
    ]
    found = " and ".join(str(axis.name) for axis in axes)
    hint = f"da.assign_coords({', '.join(lines)})"
    raise mismatch("latitude and longitude in degrees", f"{found} in radians", hint)


def check_cells(obj: Data, dims: Iterable[str]) -> None:
    """Refuse data without any cell, which is what a slice against the order of labels selects."""
    for dim in dims:
        if obj.sizes[dim] == 0:
            hint = "the ends of a slice in the order of its labels, which ascend or descend"
            raise mismatch(f"data with cells along {dim}", "none", hint)


def coordinate(obj: Data, role: Role) -> xr.DataArray | None:
    """Return the 1-D coordinate along the time, y or x axis, by whatever name; None if absent."""
    return coordinates(obj, role)[0]


def coordinates(obj: Data, *roles: Role) -> list[xr.DataArray | None]:
    """Return the 1-D coordinates along axes, in the order asked for; None where one is absent."""
    return [None if name is None else obj[name] for _, name in _locate(obj, *roles)]


# What cf-xarray found, by all that it reads: it takes half a millisecond, and a forecast asks it
# fifty times.
_known: dict[Hashable, dict[str, list[Hashable]]] = {}


def _marked(obj: Data) -> dict[str, list[Hashable]]:
    """Return the coordinates that cf-xarray finds by their attributes, by its keys."""
    import cf_xarray

    variables = obj.variables if isinstance(obj, xr.Dataset) else obj.coords.variables
    read = [(n, v.dims, repr(v.attrs), getattr(v._data, "units", 0)) for n, v in variables.items()]
    stated = str({**obj.encoding, **obj.attrs}.get("coordinates"))
    criteria = repr(cf_xarray.options.OPTIONS["custom_criteria"])
    key = (*read, *obj.coords, (*obj.xindexes,), stated, criteria)
    found = _known.get(key)
    if found is None:  # another thread may clear what is known meanwhile
        if len(_known) > 1000:
            _known.clear()
        found = _known[key] = {**obj.cf.axes, **obj.cf.coordinates}
    return found


def _locate(obj: Data, *roles: Role) -> list[tuple[str, str | None]]:
    """Return the dim of each axis, and the name of the coordinate along it."""
    check_labelled(obj)
    marked = _marked(obj)
    return [_find(obj, role, marked) for role in roles]


def _find(obj: Data, role: Role, of_cf: dict[str, list[Hashable]]) -> tuple[str, str | None]:
    """Return the dim of one axis, and its coordinate's name, given what cf-xarray finds."""
    axis, coord = CF_KEYS[role]
    marked = [*of_cf.get(axis, []), *of_cf.get(coord, [])]
    candidates: dict[str, list[str]] = {}  # dim: names of the coordinates along it
    for name in (str(n) for n in marked if obj[n].ndim == 1):
        candidates.setdefault(str(obj[name].dims[0]), []).append(name)
    if not candidates:  # nothing is marked: the likeliest name among the dims
        by_case = {str(dim).lower(): str(dim) for dim in obj.dims}
        if role == "time" and {"year", "month"} <= by_case.keys():
            both = [by_case["year"], by_case["month"]]
            raise mismatch("one time axis", " and ".join(both), f"da.stack(time={both})")
        likeliest = [by_case[name] for name in AXIS_NAMES[role] if name in by_case][:1]
        likeliest = likeliest or _of_curvilinear(obj, role, of_cf)
        candidates = {dim: [dim] if dim in obj.coords else [] for dim in likeliest}
    if not candidates:  # nor is a dim: a coordinate along another, a record's
        along = {str(n): c.dims[0] for n, c in obj.coords.items() if c.ndim == 1}
        usual = AXIS_NAMES[role] if role == "time" else CURVED_NAMES[CF_KEYS[role][1]][:2]
        named = sorted((n for n in along if n.lower() in usual), key=str.lower)
        candidates = {str(along[name]): [name] for name in named}
    if len(candidates) == 1:
        dim, names = next(iter(candidates.items()))
        return dim, dim if dim in obj.coords else next(iter(names), None)
    if len(candidates) > 1 and isinstance(obj, xr.Dataset):
        _check_one_grid(obj, candidates)
    if candidates:
        listed = f"{len(candidates)}: {', '.join(candidates)}"
        usual = AXIS_NAMES[role]
        place = {
            dim: usual.index(dim.lower()) if dim.lower() in usual else 99 for dim in candidates
        }
        least = max(reversed(candidates), key=place.__getitem__)  # the least likely to be the axis
        raise mismatch(f"one {role} axis", listed, f"da.isel({least}=0)")
    found = "dimensions " + (", ".join(f"{d} ({n})" for d, n in obj.sizes.items()) or "none")
    usual = AXIS_NAMES[role]
    hint = f"da.rename({{...: {usual[0]!r}}}), with the dimension's name for the dots"
    named = [str(n) for n in obj.coords if str(n).lower() in usual]
    scalars = [str(n) for n in (*marked, *named) if obj[n].ndim == 0]
    if scalars:  # one time was selected, and its dim went with it
        found += f"; {scalars[0]} is a single value"
        hint = f"da.expand_dims({scalars[0]!r})"
    raise mismatch(
        f"a {role} axis: axis={axis!r} among a coordinate's attributes, or a dimension named "
        f"{', '.join(usual[:4])}, ...",
        found,
        hint,
    )


def _of_curvilinear(obj: Data, role: Role, of_cf: dict[str, list[Hashable]]) -> list[str]:
    """Return the dim of y or x by 2-D latitudes, whatever they are called: rows, then columns."""
    names = {*CURVED_NAMES["latitude"], *map(str, of_cf.get("latitude", []))}
    curved = [c for n, c in obj.coords.items() if c.ndim == 2 and {str(n), str(n).lower()} & names]
    place = {"y": 0, "x": 1}.get(role)
    return [] if place is None or not curved else [str(curved[0].dims[place])]


def _check_one_grid(ds: xr.Dataset, dims: Iterable[str]) -> None:
    """Refuse a Dataset whose variables lie on different dims of one role: two grids."""
    along = {
        dim: [str(name) for name, da in ds.data_vars.items() if dim in da.dims] for dim in dims
    }
    names = [name for variables in along.values() for name in variables]
    if len(set(names)) < len(names) or not names:
        return  # a variable has two of them itself
    grids = [f"{', '.join(variables)} along {dim}" for dim, variables in along.items() if variables]
    first = next(variables for variables in along.values() if variables)
    raise mismatch(
        "a Dataset on one grid",
        f"{len(grids)}: {'; '.join(grids)}",
        f"ds[{first}], and then the others",
    )


def find_latlon(da: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return latitude, and longitude in [0, 360), both 1-D and float64, in the order of the data.

    A curvilinear or projected grid is an error, and so is a coordinate that is missing or repeats.
    """
    y, x = coordinates(da, "y", "x")
    hint = "a regrid onto 1-D latitude and longitude first (xesmf, cdo remapbil)"
    expected = "latitude and longitude, 1-D"
    curved = [name for name in find_curvilinear(da) if name]
    if curved:
        raise mismatch(expected, f"a curvilinear grid: 2-D {' and '.join(curved)}", hint)
    if y is None or x is None:
        labels = ", ".join(f"{dim}=..." for dim in find_grid(da))
        raise mismatch(expected, "no coordinates along y or x", f"da.assign_coords({labels})")
    projected = [
        str(axis.name)
        for axis in (y, x)
        if str(axis.attrs.get("standard_name", "")).startswith(("projection_", "grid_"))
        or to_metres(str(axis.attrs.get("units", ""))) is not None
    ]
    if projected:
        raise mismatch(expected, f"a map projection along {' and '.join(projected)}", hint)
    latitude, longitude = y.values.astype(float), x.values.astype(float) % 360.0
    longitude[longitude >= 360.0] = 0.0  # -1e-15 % 360.0 is 360.0
    if (np.abs(latitude) > 90.01).any():
        raise mismatch(expected, f"{y.name} from {y.values.min()} to {y.values.max()}", hint)
    for axis, values in ((y, latitude), (x, longitude)):
        if not np.isfinite(values).all():
            hint = f'da.isel({axis.dims[0]}=da["{axis.name}"].notnull().values)'
            raise mismatch(f"every {axis.name}", "NaN among them", hint)
        first = np.unique(values.round(6), return_index=True)[1]
        if first.size < values.size:
            kept = first_of_each(first, values.size)
            found = f"{values.size - first.size} of {values.size} twice (as 0 and 360 are)"
            raise mismatch(
                f"every {axis.name} once",
                found,
                f"da.isel({axis.dims[0]}={kept}), where those have the same values",
            )
    return y.copy(data=latitude), x.copy(data=longitude)


def first_of_each(first: np.ndarray, size: int) -> str:
    """Return what to type in `isel` for the first of each label, by their places.

    >>> first_of_each(np.array([2, 0, 1]), 5), first_of_each(np.array([0, 1, 3]), 4)
    ('slice(None, -2)', '[0, 1, 3]')
    """
    if first.max() < first.size:
        return f"slice(None, {first.size - size})"
    return str(sorted(first.tolist()))


def find_curvilinear(da: Data) -> tuple[str | None, str | None]:
    """Return the names of latitude and longitude where they are 2-D; None where they are not.

    Of several (CESM has centres of tracers and of currents), those that the file's attribute
    `coordinates` names, then the likelier name. 2-D coordinates next to 1-D ones in degrees do not
    count.

    >>> curved = {"nav_lat": (("y", "x"), np.zeros((2, 3))), "nav_lon": (("y", "x"), np.eye(2, 3))}
    >>> find_curvilinear(xr.DataArray(np.zeros((2, 3)), curved, ("y", "x")))
    ('nav_lat', 'nav_lon')
    """
    of_cf = _marked(da)
    (_, y), (_, x) = _find(da, "y", of_cf), _find(da, "x", of_cf)
    marked = {key: {str(n) for n in of_cf.get(key, [])} for key in CURVED_NAMES}
    degrees = DEGREES | marked["latitude"] | marked["longitude"]
    if {y, x} <= degrees:
        return None, None
    stated = str(da.encoding.get("coordinates", "")).split()
    found: list[str | None] = []
    for key, usual in CURVED_NAMES.items():
        named = {
            str(name): (name not in stated, [*usual, str(name).lower()].index(str(name).lower()))
            for name, coord in da.coords.items()
            if coord.ndim == 2 and (name in marked[key] or str(name).lower() in usual)
        }
        found.append(min(named, key=named.__getitem__, default=None))
    return found[0], found[1]


def same_places(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Return whether cells lie in the same places, where a grid is curvilinear; True for others.

    Cells whose place is unknown on either side, as in blocks of land, do not count. Next to 1-D
    latitudes and longitudes those are compared that they make.
    """
    grids = [find_grid(da) for da in (one, other)]
    curved = [all(find_curvilinear(da)) for da in (one, other)]
    labelled = [
        all(dim in da.coords for dim in grid) for da, grid in zip((one, other), grids, strict=True)
    ]
    if not any(curved) or (all(labelled) and not all(curved)):
        return True
    places, others = _degrees(one), _degrees(other)
    if places is None or others is None:
        return True
    (latitude, longitude), (latitudes, longitudes) = places, others
    if latitude.shape != latitudes.shape:
        return False
    if all(map(partial(np.array_equal, equal_nan=True), places, others)):  # most often
        return True
    north, east = np.radians(latitudes - latitude), np.radians(longitudes - longitude)
    across = np.cos(np.radians(latitude)) * np.cos(np.radians(latitudes))
    # haversine: of half the angle between two places
    apart = np.sin(north / 2) ** 2 + across * np.sin(east / 2) ** 2
    return not (apart > (APART / 2) ** 2).any()


def _degrees(da: xr.DataArray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return latitude and longitude (y, x), NaN where unknown; None where nothing says them.

    Blocks of land that NEMO doesn't compute have 0 or -1 for both.
    """
    y, x = find_grid(da)
    names = find_curvilinear(da)
    if all(names):
        latitude, longitude = (da[name].transpose(y, x).values.astype(float) for name in names)
    elif all(dim in da.coords and is_degrees(da[dim]) for dim in (y, x)):
        latitude, longitude = np.meshgrid(da[y].values, da[x].values, indexing="ij")
    else:
        return None
    unknown = (latitude == longitude) & np.isin(latitude, (0, -1))
    unknown |= (np.abs(latitude) >= 1e3) | (np.abs(longitude) >= 1e3)
    return np.where(unknown, np.nan, latitude), np.where(unknown, np.nan, longitude)


def cell_edges(labels: Data, centres: xr.DataArray, around: bool = False) -> np.ndarray:
    """Return the edges of cells (cells, 2), the lower first: CF bounds, or halfway to neighbours.

    `labels` may hold the bounds that `centres` names. With `around`, centres are longitudes in
    [0, 360), neighbours may be across 0, and bounds 359 and 1 become 359 and 361.
    """
    bounds = centres.attrs.get("bounds") or centres.encoding.get("bounds")
    variables = labels.variables if isinstance(labels, xr.Dataset) else labels.coords
    if bounds in variables and variables[bounds].shape == (centres.size, 2):
        edges = variables[bounds].values.astype(float)
        if not around:
            return np.sort(edges, axis=1)
        width = (edges[:, 1] - edges[:, 0]) % 360.0  # above 180: the edges are given east first
        low = np.where(width <= 180.0, edges[:, 0], edges[:, 1])
        return np.column_stack([low, low + np.where(width <= 180.0, width, 360.0 - width)])
    if centres.size < 2:
        hint = f"a Dataset that holds the cell's edges, by the attribute bounds of {centres.name}"
        raise mismatch(f"2 cells or more along {centres.name}", "1", hint)
    order = np.argsort(centres.values)
    values = centres.values[order]
    gaps = np.diff(values)
    if around:
        across = values[0] + 360.0 - values[-1]
        widest = int(np.argmax([*gaps, across]))
        if across < gaps.max():  # the domain lies across 0: begin after its widest gap
            order = np.roll(order, -widest - 1)
            values = np.unwrap(centres.values[order], period=360.0)
            gaps = np.diff(values)
    middles = values[:-1] + gaps / 2
    first, last = values[0] - gaps[0] / 2, values[-1] + gaps[-1] / 2
    edges = np.empty((values.size, 2))
    edges[order] = np.column_stack([[first, *middles], [*middles, last]])
    return edges


def is_degrees(coord: xr.DataArray) -> bool:
    """Return whether a coordinate is a latitude or a longitude, by its attributes or its name."""
    units = str(coord.attrs.get("units", ""))
    marked = units.startswith("degree") or coord.attrs.get("standard_name") in DEGREES
    return marked or str(coord.name).lower() in DEGREES


def spacing_in_metres(obj: Data, dim: str) -> float | None:
    """Return the grid spacing along a dim, y or x; None if nothing tells it.

    That of longitudes is what it is at the middle latitude. A coordinate of a projection that says
    no units is in metres, as in the CF conventions.

    >>> degrees = {"lat": [59.0, 60.0, 61.0], "lon": [10.0, 11.0]}
    >>> da = xr.DataArray(np.zeros((1, 3, 2)), degrees, ("time", "lat", "lon"))
    >>> round(spacing_in_metres(da, "lat")), round(spacing_in_metres(da, "lon"))
    (111195, 55597)
    """
    y, x = coordinates(obj, "y", "x")
    coord = next((c for c in (y, x) if c is not None and c.dims == (dim,)), None)
    if coord is None or coord.size < 2:
        return None
    # the median: coordinates in float32 jitter
    step = float(np.median(np.abs(np.diff(coord.values.astype(float)))))
    metres = to_metres(str(coord.attrs.get("units", "")))
    if metres is not None:
        return step * metres
    if is_degrees(coord):
        across = y is not None and coord.name != y.name and is_degrees(y)
        shrink = float(np.cos(np.radians(y.values.mean()))) if across and y is not None else 1.0
        return step * METRES_PER_DEGREE * shrink
    of_projection = str(coord.attrs.get("standard_name", "")).startswith("projection_")
    return step if of_projection and "units" not in coord.attrs else None
