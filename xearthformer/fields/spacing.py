"""The size of pixels, and data on pixels of another size.

Averages weighted by area, along y and along x: a new pixel is the mean of what it covers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import mismatch
from .axes import (
    METRES_PER_DEGREE,
    RADIANS,
    Role,
    cell_edges,
    coordinate,
    coordinates,
    find_curvilinear,
    find_grid,
    is_degrees,
    spacing_in_metres,
)
from .cf import find_grid_mapping, new_values
from .quantities import Labelled, check_float, on_each
from .sentinels import check_values
from .units import to_metres

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SAME = 1e-3  # a share of the spacing: pixels whose sizes differ by less have the same
SEEN = 0.5  # share of a new pixel that must have values, for it to have one
MAP_UNITS = 50.0  # numbers without units that are farther apart are metres, and else kilometres
UNEVEN = 0.1  # a share of the spacing: pixels that differ by more are of several sizes
UNEVEN_DEGREES = 0.25  # of latitudes: those of a Mercator map shrink towards the poles
SATELLITE = 35_786_000  # metres above the equator: geostationary
ROLES: tuple[Role, Role] = ("y", "x")
FINE = 0.5  # degrees: numbers without units that are nearer may be degrees


def pixel_size(da: xr.DataArray) -> tuple[float | None, float | None]:
    """Return metres from one pixel to the next, along y and along x.

    By the coordinates along y and x; where there are none, or mere numbers (0, 1, 2, ...), by 2-D
    latitude and longitude; None where nothing tells it. Without units, coordinates next to a map
    projection are in metres, and those called latitude and longitude in degrees; others, and those
    whose units are no length, raise ValueError.
    """
    sizes = [_along(da, role, dim) for role, dim in zip(ROLES, find_grid(da), strict=True)]
    if None in sizes:
        curved = _on_earth(da)
        if curved is not None:
            medians = (float(np.nanmedian(one)) if one.size else None for one in curved)
            sizes = [size or median for size, median in zip(sizes, medians, strict=True)]
    return sizes[0], sizes[1]


def _along(da: xr.DataArray, role: Role, dim: str) -> float | None:
    """Return metres between the labels along y or x; None without labels, or for mere numbers."""
    coord = coordinate(da, role)
    if coord is None or coord.size < 2:
        return None
    steps = np.abs(np.diff(coord.values.astype(float)))
    units = str(coord.attrs.get("units", ""))
    size = spacing_in_metres(da, dim)
    if size is not None and (units or is_degrees(coord)) and units not in RADIANS:
        return size
    if (steps == 1).all():  # the numbers of the pixels, also next to a map projection
        return None
    if not units and (size is not None or find_grid_mapping(da) is not None):
        return float(np.median(steps))
    if not units and _on_earth(da) is not None:
        return None
    raise mismatch(
        "pixels whose size is known, by the units of their coordinates",
        f"{coord.name} from {coord.values[0]:g} to {coord.values[-1]:g}, "
        + (f"in {units!r}" if units else "without units"),
        _mend_angles(da) if units in RADIANS else _mend_units(da),
    )


def is_even(da: xr.DataArray) -> bool:
    """Return whether pixels have one size along y, and one along x, as far as anything tells it."""
    for k, role in enumerate(ROLES):
        coord = coordinate(da, role)
        if coord is None or coord.size < 2:
            curved = _on_earth(da)
            steps, off = (curved[k] if curved else np.ones(1)), UNEVEN_DEGREES
        else:
            steps = np.abs(np.diff(coord.values.astype(float)))
            off = UNEVEN_DEGREES if is_degrees(coord) else UNEVEN
        if steps.size and not np.nanmax(np.abs(steps / np.nanmedian(steps) - 1)) <= off:
            return False
    return True


def sized_by_latlon(da: xr.DataArray) -> bool:
    """Return whether the size of pixels is told by latitude and longitude, in 1-D or 2-D."""
    y = coordinate(da, "y")
    if y is not None and is_degrees(y):
        return True
    along = [_along(da, role, dim) for role, dim in zip(ROLES, find_grid(da), strict=True)]
    return None in along and _on_earth(da) is not None


def _on_earth(da: xr.DataArray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return metres between neighbours along y and along x, by 2-D latitude and longitude."""
    names = find_curvilinear(da)
    dims = find_grid(da)
    if names[0] is None or names[1] is None:
        return None
    both = [da[name] for name in names]
    if any({*one.dims} != {*dims} for one in both):
        return None
    lat, lon = (np.radians(one.transpose(*dims).values.astype(float)) for one in both)
    # along a chord: exact for neighbours, whatever the latitude
    places = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    radius = np.degrees(METRES_PER_DEGREE)
    along = (radius * np.sqrt((np.diff(places, axis=k) ** 2).sum(axis=0)) for k in (1, 2))
    y, x = along
    return y, x


def with_labels(da: xr.DataArray) -> str:
    """Return what to type for data whose pixels have labels: those without get their size's."""
    labels = [
        f'{dim}=("{dim}", {size / 1000:.4g} * np.arange({da.sizes[dim]}), {{"units": "km"}})'
        for role, dim, size in zip(ROLES, find_grid(da), pixel_size(da), strict=True)
        if size is not None and _along(da, role, dim) is None
    ]
    return f"da.assign_coords({', '.join(labels)})" if labels else "da"


def _mend_angles(da: xr.DataArray) -> str:
    """Return the line for coordinates in radians: those of a geostationary satellite."""
    coords = [c for c in coordinates(da, "y", "x") if c is not None]
    line = '{name}=({height} * da["{name}"]).assign_attrs(units="m")'
    parts = ", ".join(line.format(name=c.name, height=SATELLITE) for c in coords)
    return f"da.assign_coords({parts}), for the angles of a satellite at this height in metres"


def _mend_units(da: xr.DataArray) -> str:
    """Return the line that gives y and x the units that their numbers seem to be in."""
    coords = [c for c in coordinates(da, "y", "x") if c is not None]
    farthest = max(float(np.median(np.abs(np.diff(c.values)))) for c in coords if c.size > 1)
    units = ["m" if farthest >= MAP_UNITS else "km"] * 2
    on_earth = all(np.abs(c.values).max() <= 360 for c in coords)
    if on_earth and np.abs(coords[0].values).max() <= 90 and farthest < FINE:
        units = ["degrees_north", "degrees_east"]
    parts = [
        f'{c.name}=da["{c.name}"].assign_attrs(units="{unit}")'
        for c, unit in zip(coords, units, strict=False)
    ]
    return f"da.assign_coords({', '.join(parts)}), if that is what they are in"


def to_spacing(data: Labelled, spacing: str) -> Labelled:
    """Bring data to pixels of another size: means, weighted by area, of what each covers.

    Parameters
    ----------
    data : DataArray or Dataset
        Dims y and x, on a map projection or on latitude and longitude, and any others. Of a
        Dataset, each variable that has both.
    spacing : str
        Length of a side of the new pixels: "1 km", "500 m". On latitude and longitude it holds at
        the middle of the domain.

    Returns
    -------
    DataArray or Dataset, as given
        New pixels from the domain's edge at the first row and column on. A pixel has a value where
        half of it or more had; at the other ends, it is left out if less of it is there. Units,
        order of dims, direction of y, attributes, dtype and map projection stay; 2-D coordinates
        are left out. Lazy when `data` is. Smaller pixels repeat what they are parts of. Data that
        has the spacing already is returned as it is.

    Raises
    ------
    ValueError
        Pixels of unknown size, decibels (whose mean is none), a domain smaller than a pixel, rain
        with numbers that are none.

    Examples
    --------
    >>> metres = {dim: (dim, [0.0, 500.0], {"units": "m"}) for dim in ("y", "x")}
    >>> rain = xr.DataArray([[1.0, 2.0], [3.0, 6.0]], metres, ("y", "x"))
    >>> to_spacing(rain, "1 km").values, to_spacing(rain, "1 km")["x"].item()
    (array([[3.]]), 250.0)
    """
    metres = _length(spacing)
    return on_each(data, lambda da: _respaced(da, metres, spacing), find_grid(data))


def _length(spacing: str) -> float:
    """Return a length in metres."""
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([A-Za-z]+)\s*", str(spacing))
    metres = float(found[1]) * (to_metres(found[2]) or 0.0) if found else 0.0
    if not metres > 0:
        raise mismatch("a length with its unit", repr(spacing), 'xef.to_spacing(da, "1 km")')
    return metres


@dataclass(frozen=True)
class _Cells:
    """New cells along one axis: their centres, and the weights (new, old) of what each covers."""

    centres: np.ndarray
    weights: csr_array


def _respaced(da: xr.DataArray, metres: float, spacing: str) -> xr.DataArray:
    check_float(da)
    if str(da.attrs.get("units", "")).lower() == "dbz":
        hint = f'xef.to_spacing(xef.open_radar(da), "{spacing}")'
        raise mismatch("a quantity that has a mean, such as rain rate", "decibels (dBZ)", hint)
    da = check_values(da)
    sized = _sized(da)
    if all(abs(metres / size - 1) <= SAME for _, size in sized) and is_even(da):
        return da
    y, x = (_cells(da, coord, metres / size, spacing) for coord, size in sized)
    dims = [str(coord.dims[0]) for coord, _ in sized]
    out = xr.apply_ufunc(
        _averaged,
        da.chunk(dict.fromkeys(dims, -1)) if da.chunks is not None else da,
        input_core_dims=[dims],
        output_core_dims=[dims],
        exclude_dims=set(dims),
        kwargs={"y": y.weights, "x": x.weights},
        dask="parallelized",
        output_dtypes=[da.dtype],
        dask_gufunc_kwargs={"output_sizes": {dims[0]: y.centres.size, dims[1]: x.centres.size}},
        keep_attrs=True,
    ).transpose(*da.dims)
    labels = {
        str(coord.name): (coord.dims, cells.centres, _kept(coord.attrs))
        for (coord, _), cells in zip(sized, (y, x), strict=True)
    }
    line = f"xearthformer: onto pixels of {spacing}, means weighted by area"
    return _with_mapping(new_values(out.assign_coords(labels), da, line), da)


def _sized(da: xr.DataArray) -> list[tuple[xr.DataArray, float]]:
    """Return the coordinates along y and x, and metres from one pixel to the next."""
    sized = []
    for role, dim, size in zip(ROLES, find_grid(da), pixel_size(da), strict=True):
        coord = coordinate(da, role)
        if size is not None and _along(da, role, dim) is None:
            raise mismatch(
                "coordinates along y and x, of one map projection",
                f"pixels of about {size / 1000:.3g} km along {dim}, by 2-D latitude and longitude",
                f"{with_labels(da)}, where they are that far apart everywhere; else regrid them "
                "onto a map projection (rioxarray, xesmf)",
            )
        if size is None or coord is None:
            numbers = f'("{dim}", 1.0 * np.arange({da.sizes[dim]}), {{"units": "km"}})'
            raise mismatch(
                "pixels whose size is known",
                f"nothing that tells it along {dim}",
                f"da.assign_coords({dim}={numbers}), with its own numbers and units",
            )
        sized.append((coord, size))
    return sized


def _kept(attrs: dict[str, object]) -> dict[str, object]:
    """Return attributes of a coordinate, but for the bounds of the old cells."""
    return {key: value for key, value in attrs.items() if key not in ("bounds", "actual_range")}


def _with_mapping(out: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
    """Return new data that names its projection, from which the old pixels' corner is gone."""
    mapping = find_grid_mapping(da)
    if mapping is None:
        return out
    attrs = {key: value for key, value in da[mapping].attrs.items() if key != "GeoTransform"}
    out = out.assign_coords({mapping: da[mapping].variable.copy()})
    out[mapping].attrs = attrs
    if "grid_mapping" not in out.attrs:
        out.encoding["grid_mapping"] = mapping
    return out


def _cells(da: xr.DataArray, coord: xr.DataArray, factor: float, spacing: str) -> _Cells:
    """Return cells `factor` times as long as those of a coordinate."""
    values = coord.values.astype(float)
    sign = 1.0 if values[-1] > values[0] else -1.0
    edges = np.sort(sign * cell_edges(da, coord.copy(data=values)), axis=1)  # ascend with the data
    steps = np.diff(values)
    if (sign * steps <= 0).any():
        hint = f'da.sortby("{coord.name}")'
        raise mismatch(f"{coord.name} that ascends or descends", "neither", hint)
    length = factor * float(np.median(np.abs(steps)))
    first, last = edges[0, 0], edges[-1, 1]
    count = int((last - first) / length + 1 - SEEN + SAME)
    if not count:
        size = f"{(last - first) / length:.3g} of one along {coord.name}"
        raise mismatch(f"a domain of one pixel of {spacing} or more", size, "a wider cut")
    new = first + length * np.arange(count + 1)
    old = np.append(edges[:, 0], last)
    if is_degrees(coord) and coord.dims == (find_grid(da)[0],):  # areas shrink towards the poles
        areas = [np.sin(np.radians(sign * e)) * sign for e in (old, new)]
    else:
        areas = [old, new]
    centres = sign * (new[:-1] + new[1:]) / 2
    return _Cells(centres, _overlaps(*areas))


def _overlaps(old: np.ndarray, new: np.ndarray) -> csr_array:
    """Return which share of each new cell each old one is, by the ascending edges of both.

    >>> _overlaps(np.array([0.0, 1, 2, 3]), np.array([0.0, 1.5, 3])).toarray().round(2)
    array([[0.67, 0.33, 0.  ],
           [0.  , 0.33, 0.67]])
    """
    from scipy.sparse import csr_array  # it takes a while

    edges = np.unique(np.concatenate([old, new]))
    edges = edges[(edges >= max(old[0], new[0])) & (edges <= min(old[-1], new[-1]))]
    middles, lengths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    rows = np.searchsorted(new, middles) - 1
    columns = (np.searchsorted(old, middles) - 1).clip(0, old.size - 2)
    shares = lengths / np.diff(new)[rows]
    return csr_array((shares, (rows, columns)), shape=(new.size - 1, old.size - 1))


def _averaged(values: np.ndarray, y: csr_array, x: csr_array) -> np.ndarray:
    """Return means (..., new y, new x) of what isn't NaN; by frame: chunks change no bit."""
    out = np.empty((*values.shape[:-2], y.shape[0], x.shape[0]), values.dtype)
    for place in np.ndindex(values.shape[:-2]):
        seen = ~np.isnan(values[place])
        total, share = (
            (x @ (y @ field).T).T for field in (np.where(seen, values[place], 0), seen * 1.0)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            out[place] = np.where(share >= SEEN - 1e-9, total / share, np.nan)
    return out
