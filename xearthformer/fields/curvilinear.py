"""Curvilinear grids: 2-D latitude and longitude (tripolar oceans, rotated poles) onto 1-D ones.

Cells are quadrilaterals in the plane of longitude and the sine of latitude, where an area is that
on the sphere. Their corners are the CF bounds, and what they share with a rectangle is exact.
Without bounds, a point belongs to the nearest centre, and areas are counts of points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import mismatch
from .axes import CURVED_NAMES, Data, find_curvilinear
from .cf import new_values
from .regrid import OCEAN_SHARE, ocean_means

if TYPE_CHECKING:  # SciPy, as dask.array, is imported where it is used: it takes a while
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]

# Bounds by the attribute `bounds`, else by these names: {} is that of the coordinate.
BOUNDS_NAMES = [
    *("{}_bnds", "bounds_{}", "{}_bounds", "vertices_{}", "{}_vertices", "{}_vert", "bnds_{}"),
    *("corners_{}", "{}_corners"),
]
AREAS = {"areacello", "areacella", "area", "tarea", "cell_area", "area_t", "e1te2t"}
REACH = 1.5  # a point belongs to no cell beyond this many half diagonals from the nearest centre
POINTS = 2  # without bounds: pairs of points per step between centres, along each side of a
MOST_POINTS = 400  # rectangle, but not more in all; an odd one would lie halfway between centres
TURNS = (-360.0, 0.0, 360.0)


@dataclass(frozen=True, eq=False)
class Curvilinear:
    """The cells of a curvilinear grid, flattened; NaN where they have no place.

    `corners` holds longitude, unrolled around the cell's centre, and the sine of latitude.
    """

    dims: tuple[str, str]
    shape: tuple[int, int]
    latitude: Floats  # degrees, (cell,)
    longitude: Floats
    corners: Floats | None  # (cell, 4, 2)

    def overlaps(self, south_north: ArrayLike, west_east: ArrayLike) -> csr_array:
        """Return the area that each rectangle shares with each cell, (rectangle, cell).

        Rectangles lie between consecutive edges, in degrees and ascending, row by row from the
        south. A rectangle that the cells cover has overlaps that sum to its own area, which is
        degrees of longitude times the difference of the sines of latitude.
        """
        from scipy.sparse import csr_array

        y_edges = np.sin(np.radians(np.asarray(south_north, np.float64)))
        x_edges = np.asarray(west_east, np.float64)
        pairs = self._by_points if self.corners is None else self._by_corners
        parts = zip(*pairs(y_edges, x_edges), strict=True)
        rows, columns, areas = (np.concatenate(part) for part in parts)
        shape = (y_edges.size - 1) * (x_edges.size - 1), self.latitude.size
        return csr_array((areas, (rows, columns)), shape=shape)

    @property
    def method(self) -> str:
        """How overlaps are found, in words."""
        if self.corners is not None:
            return "conservative, by the cells' bounds"
        return "area means of the nearest centres: no bounds"

    @cached_property
    def areas(self) -> Floats:
        """Areas of the cells, (cell,), in the units of `overlaps`; by sides without bounds."""
        if self.corners is None:
            j, i = self._sides
            return np.degrees(np.radians(j) * np.radians(i))
        x, y = self.corners[..., 0], self.corners[..., 1]
        following = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
        twice = np.abs((x * following[1] - following[0] * y).sum(axis=1))
        return np.where(self._proper, twice / 2, 0.0)

    @cached_property
    def _proper(self) -> NDArray[np.bool_]:
        """Cells with corners in order; one that holds a pole, or lies there twice, has none."""
        assert self.corners is not None
        width = np.ptp(self.corners[..., 0], axis=1)  # NaN compares as false
        return (width < 180.0) & self.first

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """The first of the cells with the same centre: a halo repeats columns, a fold its row."""
        centres = np.round([self.latitude, self.longitude % 360.0], 5).T
        first = np.zeros(len(centres), dtype=bool)
        first[np.unique(centres, axis=0, return_index=True)[1]] = True
        return first & np.isfinite(centres).all(axis=1)

    @cached_property
    def _sides(self) -> tuple[Floats, Floats]:
        """Lengths in degrees between neighbours along both dims, the shorter of both directions.

        At a seam or a fold, one of the two leads across the globe.
        """
        points = _on_sphere(self.latitude, self.longitude).reshape(*self.shape, 3)
        sides = []
        for axis in (0, 1):
            chords = np.linalg.norm(np.diff(points, axis=axis), axis=-1)
            chords[chords < 1e-9] = np.nan  # repeated columns
            end = np.full_like(np.take(points[..., 0], [0], axis=axis), np.nan)
            after = np.concatenate([chords, end], axis=axis)
            before = np.concatenate([end, chords], axis=axis)
            shorter = np.fmin(after, before).ravel()
            shorter = np.where(np.isnan(shorter), np.nanmedian(shorter), shorter)
            sides.append(np.degrees(2 * np.arcsin(np.clip(shorter / 2, 0, 1))))
        return sides[0], sides[1]

    def _by_corners(self, y_edges: Floats, x_edges: Floats) -> Iterator[tuple[NDArray, ...]]:
        """Yield rectangles, cells and the areas they share, from the cells' corners."""
        assert self.corners is not None
        cells = np.flatnonzero(self._proper)
        centre = self.longitude[cells]
        seam = (x_edges[0] + x_edges[-1]) / 2 - 180.0
        corners = self.corners[cells]
        corners[..., 0] += (seam + (centre - seam) % 360.0 - centre)[:, None]
        for turn in TURNS:  # a cell across the seam touches both ends of a domain round the globe
            x, y = corners[..., 0] + turn, corners[..., 1]
            ranges = []
            for edges, values in ((x_edges, x), (y_edges, y)):
                first = np.searchsorted(edges, values.min(axis=1), "right") - 1
                stop = np.searchsorted(edges, values.max(axis=1), "left")
                ranges.append((np.maximum(first, 0), np.minimum(stop, edges.size - 1)))
            (west, east), (south, north) = ranges
            wide = np.maximum(east - west, 0)
            count = wide * np.maximum(north - south, 0)
            owner = np.repeat(np.arange(cells.size), count)
            nth = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
            column, row = west[owner] + nth % wide[owner], south[owner] + nth // wide[owner]
            areas = _shared_area(
                np.stack([x[owner], y[owner]], axis=-1),
                (x_edges[column], x_edges[column + 1]),
                (y_edges[row], y_edges[row + 1]),
            )
            yield row * (x_edges.size - 1) + column, cells[owner], areas

    def _by_points(self, y_edges: Floats, x_edges: Floats) -> Iterator[tuple[NDArray, ...]]:
        """Yield rectangles, cells and the areas of the points of one nearest to the other."""
        from scipy.spatial import cKDTree

        cells = np.flatnonzero(self.first)
        tree = cKDTree(_on_sphere(self.latitude[cells], self.longitude[cells]))
        half_diagonal = np.hypot(*self._sides)[cells] / 2
        step = float(np.median(half_diagonal)) * np.sqrt(2)
        width, height = np.diff(x_edges), np.diff(np.degrees(np.arcsin(y_edges)))
        nx, ny = (
            2 * int(np.clip(np.ceil(POINTS * sides.max() / step), POINTS, MOST_POINTS))
            for sides in (width, height)
        )
        x = (x_edges[:-1, None] + width[:, None] * (np.arange(nx) + 0.5) / nx).ravel()
        column = np.repeat(np.arange(width.size), nx)
        for row, (south, north) in enumerate(zip(y_edges[:-1], y_edges[1:], strict=True)):
            # steps of equal area: every point of a rectangle counts alike
            sines = south + (north - south) * (np.arange(ny) + 0.5) / ny
            latitude, longitude = np.meshgrid(np.degrees(np.arcsin(sines)), x, indexing="ij")
            chord, nearest = tree.query(_on_sphere(latitude.ravel(), longitude.ravel()))
            apart = np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
            within = apart <= REACH * half_diagonal[nearest]
            columns = np.tile(column, ny)[within]
            area = width[columns] * (north - south) / (nx * ny)
            yield row * width.size + columns, cells[nearest[within]], area


def grid_of(da: xr.DataArray, labels: Data | None = None) -> Curvilinear | None:
    """Return the cells of data with 2-D latitude and longitude; None for 1-D ones.

    `labels` may hold the bounds that `da` has lost, as a Dataset does.
    """
    names = find_curvilinear(da)
    if not names[0] or not names[1]:
        return None
    first, second = (str(dim) for dim in da.dims if dim in da[names[0]].dims)
    dims = first, second
    latitude, longitude = (da[name].transpose(*dims) for name in names)
    lat, lon = (each.values.astype(np.float64).ravel() for each in (latitude, longitude))
    placed = (np.abs(lat) <= 90.01) & (np.abs(lon) <= 720.0)  # fill values on land are no place
    lat, lon = np.where(placed, lat, np.nan), np.where(placed, lon, np.nan)
    bounds = [_bounds(each, dims, da, labels) for each in (latitude, longitude)]
    corners = None
    if bounds[0] is not None and bounds[1] is not None:
        y = np.sin(np.radians(np.clip(bounds[0], -90.0, 90.0)))
        # a pole has any longitude: one that is beyond half a turn from the centre lies across 0
        x = lon[:, None] + (bounds[1] - lon[:, None] + 180.0) % 360.0 - 180.0
        bad = ~(np.abs(bounds[0]) <= 90.01)
        corners = np.stack([np.where(bad, np.nan, x), np.where(bad, np.nan, y)], axis=-1)
    return Curvilinear(dims, (latitude.shape[0], latitude.shape[1]), lat, lon, corners)


def area_of(da: xr.DataArray, labels: Data | None = None) -> xr.DataArray | None:
    """Return the cell areas that stand next to the data; None without any.

    The attribute `cell_measures` names them, or they are called areacello or the like, or have the
    standard_name cell_area.
    """
    dims = {*da[find_curvilinear(da)[0]].dims}
    measures = str(da.attrs.get("cell_measures") or da.encoding.get("cell_measures", ""))
    names = AREAS | {name.lower() for name in measures.split()[1:]}  # "area: areacello"
    for each in _beside(da, labels):
        named = str(each.name).lower() in names or each.attrs.get("standard_name") == "cell_area"
        if named and set(each.dims) == dims:
            return each.drop_vars(each.coords)
    return None


def geometry(ds: xr.Dataset) -> list[str]:
    """Return the variables of a Dataset that describe its cells: areas, and corners."""
    found = []
    names = [each for each in find_curvilinear(ds) if each]
    bounds = {form for name in names for form in _bounds_names(ds[name])}
    for name, da in ds.data_vars.items():
        is_area = str(name).lower() in AREAS or da.attrs.get("standard_name") == "cell_area"
        if is_area or name in bounds:
            found.append(str(name))
    return found


def to_latlon(
    da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike, labels: Data | None = None
) -> xr.DataArray:
    """Regrid data with 2-D latitude and longitude onto 1-D cell centres, in degrees and ascending.

    A target cell is the mean of what it shares with the cells of the data (`Curvilinear.overlaps`);
    NaN is land, as in `regrid.to_model`: a cell is the mean of its ocean, and NaN when less than
    half of it is. The weights are made at once, from the coordinates; the values stay lazy. Dims
    are those of the data, with lat and lon for its own two; `history` says what was done.

    >>> lat, lon = np.meshgrid([0.5, 1.5], [0.5, 1.5, 2.5, 3.5], indexing="ij")
    >>> da = xr.DataArray([[1.0, 3, 5, np.nan]] * 2, dims=("j", "i"),
    ...                   coords={"lat": (("j", "i"), lat), "lon": (("j", "i"), lon)})
    >>> to_latlon(da, [0.5, 1.5], [1, 3]).values.round(3).tolist()
    [[2.0, 5.0], [2.0, 5.0]]
    """
    from scipy.sparse import csr_array

    grid = grid_of(da, labels)
    assert grid is not None, "check by find_curvilinear"
    y, x = (np.asarray(values, np.float64) for values in (latitude, longitude))
    y_edges, x_edges = _edges(y), _edges(x)
    y_edges = np.clip(y_edges, -90.0, 90.0)
    overlaps = grid.overlaps(y_edges, x_edges)
    areas = np.outer(np.diff(np.sin(np.radians(y_edges))), np.diff(x_edges)).ravel()
    weights = csr_array(overlaps.multiply(1.0 / areas[:, None]))
    _check_covers(weights.sum(axis=1), y, x)
    shape = (y.size, x.size)
    dims = [dim for dim in da.dims if dim not in grid.dims]
    out = da.astype(np.result_type(da.dtype, np.float32), copy=False).transpose(*dims, *grid.dims)
    if out.chunks is None:
        values = _means(out.to_numpy(), weights, shape)
    else:
        import dask.array

        whole = out.variable.chunk(dict.fromkeys(grid.dims, -1))  # and not the labels
        leading = [whole.chunksizes[dim] for dim in dims]
        values = dask.array.map_blocks(
            _means,
            whole.data,
            dask.delayed(weights, traverse=False),  # one node of the graph, for all blocks
            shape,
            dtype=out.dtype,
            chunks=(*leading, *((size,) for size in shape)),
            meta=np.empty((0,) * out.ndim, out.dtype),
        )
    coords = {name: c for name, c in out.coords.items() if not set(grid.dims) & set(c.dims)}
    coords["lat"] = ("lat", y, {"units": "degrees_north", "standard_name": "latitude"})
    coords["lon"] = ("lon", x, {"units": "degrees_east", "standard_name": "longitude"})
    line = (
        f"xearthformer: from a curvilinear grid of {' x '.join(map(str, grid.shape))} cells onto "
        f"latitude {y[0]:g} .. {y[-1]:g}, longitude {x[0]:g} .. {x[-1]:g} ({grid.method})"
    )
    out = new_values(xr.DataArray(values, coords, (*dims, "lat", "lon")), da, line)
    own = dict(zip(grid.dims, ("lat", "lon"), strict=True))
    return out.transpose(*(own.get(str(dim), dim) for dim in da.dims))


def _means(values: NDArray, weights: csr_array, shape: tuple[int, int]) -> NDArray:
    """Regrid fields (..., y, x) by sparse weights, one by one: chunks change no bits."""
    return ocean_means(values, shape, lambda field: (weights @ field.ravel()).reshape(shape))


def _shared_area(corners: Floats, x: tuple[Floats, Floats], y: tuple[Floats, Floats]) -> Floats:
    """Return the area of quadrilaterals (n, 4, 2) within rectangles, one for each.

    By Green's theorem: the sum over edges of the area between the edge, cut to the rectangle, and
    the rectangle's lower side.
    """
    height = y[1] - y[0]
    total = np.zeros(len(corners))
    for k in range(4):
        (xa, ya), (xb, yb) = corners[:, k].T, corners[:, (k + 1) % 4].T
        run = np.where(xb == xa, 1.0, xb - xa)
        ca, cb = np.clip(xa, *x), np.clip(xb, *x)
        a, b = (ya + (yb - ya) / run * (c - xa) - y[0] for c in (ca, cb))
        # the mean of the clipped height along the edge, by the integral of clip(h, 0, height)
        ia, ib = (np.clip(h, 0, height) * (h - np.clip(h, 0, height) / 2) for h in (a, b))
        rise = b - a
        level = np.abs(rise) < 1e-8
        middle = np.clip((a + b) / 2, 0, height)
        total += (cb - ca) * np.where(level, middle, (ib - ia) / np.where(level, 1.0, rise))
    return np.abs(total)


def _check_covers(share: Floats, latitude: Floats, longitude: Floats) -> None:
    """Refuse data none of whose cells reach a row or a column of the target.

    Cells on land may have no place, so that single cells say nothing.
    """
    covered = share.reshape(latitude.size, longitude.size) >= OCEAN_SHARE - 1e-9
    missing = [
        f"{name} {', '.join(f'{v:g}' for v in values[empty][:4])}{', ...' * int(empty.sum() > 4)}"
        for name, values, empty in (
            ("latitude", latitude, ~covered.any(axis=1)),
            ("longitude", longitude, ~covered.any(axis=0)),
        )
        if empty.any()
    ]
    if missing:
        raise mismatch(
            f"data that holds the grid, latitude {latitude[0]:g} .. {latitude[-1]:g}, "
            f"longitude {longitude[0]:g} .. {longitude[-1]:g} (cell centres)",
            f"a curvilinear grid without {'; '.join(missing)}",
            "the field before its rows or columns were cut (cut the answer instead)",
        )


def _edges(centres: Floats) -> Floats:
    middles = (centres[:-1] + centres[1:]) / 2
    first, last = centres[0] - (middles[0] - centres[0]), 2 * centres[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _bounds(
    coord: xr.DataArray, dims: tuple[str, str], da: xr.DataArray, labels: Data | None
) -> Floats | None:
    """Return the corners (cell, 4) of a 2-D coordinate, by attribute or by their usual names."""
    beside = {str(each.name): each for each in _beside(da, labels)}
    for bounds in _bounds_names(coord):
        if bounds in beside and {*dims} < {*beside[bounds].dims} and beside[bounds].ndim == 3:
            values = beside[bounds].transpose(*dims, ...).values.astype(np.float64)
            if values.shape[-1] == 4:
                return values.reshape(-1, 4)
    return None


def _bounds_names(coord: xr.DataArray) -> list[str]:
    """Return what the bounds of a coordinate may be called, the likelier name first."""
    name = str(coord.name)
    role = "latitude" if name.lower() in CURVED_NAMES["latitude"] else "longitude"
    stated = [coord.attrs.get("bounds", ""), coord.encoding.get("bounds", "")]
    usual = [form.format(each) for form in BOUNDS_NAMES for each in (name, role[:3], role)]
    return [*stated, *usual]


def _beside(da: xr.DataArray, labels: Data | None) -> Iterator[xr.DataArray]:
    """Yield what stands next to the values: coordinates, and the variables of the Dataset."""
    yield from da.coords.values()
    if isinstance(labels, xr.Dataset):
        yield from (labels[name] for name in labels.variables)


def _on_sphere(latitude: Floats, longitude: Floats) -> Floats:
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
