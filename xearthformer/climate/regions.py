"""Regional means and climate indices: a table of boxes, and exact weights at their edges."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import cell_edges, find_grid, find_latlon
from ..fields.cf import new_values
from ..fields.columns import find_repeats, first_columns, without_repeats
from ..fields.curvilinear import Curvilinear, area_of, geometry, grid_of
from ..fields.quantities import Labelled, check_float, on_each
from ..fields.sentinels import check_values
from .ocean import where_enough

REGION_HINT = "xearthformer.Region(south=-5, north=5, west=190, east=240), for a box of your own"


@dataclass(frozen=True)
class Region:
    """A box in degrees, from `west` eastwards to `east`, across Greenwich if need be.

    Parameters
    ----------
    south, north : float
        Latitudes of its edges, from -90 to 90.
    west, east : float
        Longitudes of its edges, to 180 or to 360.

    Raises
    ------
    ValueError
        Latitudes that do not ascend, or lie beyond the poles.

    Examples
    --------
    >>> Region(south=-5, north=5, west=-170, east=-120).width  # Nino3.4
    50.0
    """

    south: float
    north: float
    west: float
    east: float

    def __post_init__(self) -> None:
        if not -90 <= self.south < self.north <= 90:
            south, north = sorted((self.south, self.north))
            hint = f"xearthformer.Region({south:g}, {north:g}, {self.west:g}, {self.east:g})"
            if south == north or not -90 <= south < north <= 90:
                hint = REGION_HINT
            found = f"south {self.south:g}, north {self.north:g}"
            raise mismatch("latitudes of a box, south below north", found, hint)

    @property
    def width(self) -> float:
        """Width in degrees of longitude.

        >>> Region(-20, 0, 330, 10).width
        40.0
        """
        return (self.east - self.west) % 360.0 or 360.0

    def __str__(self) -> str:
        """Return the box in words.

        >>> str(Region(-5, 5, 190, 240))
        '5S-5N, 170W-120W'
        """
        lats = self.south, self.north
        lons = (v if v == 180 else (v + 180) % 360 - 180 for v in (self.west, self.east))
        south_north = "-".join(f"{abs(v):g}{'S' if v < 0 else 'N' if v else ''}" for v in lats)
        if self.width == 360.0:
            return f"{south_north}, all longitudes"
        west_east = "-".join(f"{abs(v):g}{'W' if v < 0 else 'E' if v else ''}" for v in lons)
        return f"{south_north}, {west_east}"


REGIONS = {
    # Trenberth (1997), Bull. Amer. Meteor. Soc. 78, 2771-2777; NOAA CPC's boxes.
    "nino3.4": Region(-5, 5, 190, 240),
    "nino3": Region(-5, 5, 210, 270),
    "nino4": Region(-5, 5, 160, 210),
    "nino1+2": Region(-10, 0, 270, 280),
    # Saji et al. (1999), Nature 401, 360-363.
    "iod_west": Region(-10, 10, 50, 70),
    "iod_east": Region(-10, 0, 90, 110),
    # Enfield et al. (1999), J. Geophys. Res. 104, 7841-7848.
    "tna": Region(5, 25, 305, 345),
    "tsa": Region(-20, 0, 330, 10),
    # Zebiak (1993), J. Climate 6, 1567-1586.
    "atl3": Region(-3, 3, 340, 360),
    # Ashok et al. (2007), J. Geophys. Res. 112, C11007: El Nino Modoki.
    "emi_centre": Region(-10, 10, 165, 220),
    "emi_east": Region(-15, 5, 250, 290),
    "emi_west": Region(-10, 20, 125, 145),
    # Trenberth and Shea (2006), Geophys. Res. Lett. 33, L12704.
    "north_atlantic": Region(0, 60, 280, 360),
    "globe": Region(-60, 60, 0, 360),  # what ice covers beyond has no anomaly
    # Van Oldenborgh et al. (2021), Environ. Res. Lett. 16, 044003.
    "tropics": Region(-20, 20, 0, 360),
}

# Indices that are weighted sums of regional means.
SUMS = {
    "iod": {"iod_west": 1.0, "iod_east": -1.0},  # the Dipole Mode Index of Saji et al. (1999)
    "emi": {"emi_centre": 1.0, "emi_east": -0.5, "emi_west": -0.5},
    "amo": {"north_atlantic": 1.0, "globe": -1.0},  # of Trenberth and Shea (2006)
}

TURNS = (-720.0, -360.0, 0.0, 360.0, 720.0)  # so that every convention meets every box

# Further spellings, without the case and punctuation that `_spelling` removes.
OTHER_NAMES = {
    "n34": "nino3.4",
    "n3": "nino3",
    "n4": "nino4",
    "n12": "nino1+2",
    "dmi": "iod",
    "wtio": "iod_west",
    "seio": "iod_east",
    "setio": "iod_east",
    "amv": "amo",
    "rnino34": "relative_nino3.4",
}


def region_mean(da: Labelled, region: str | Region) -> Labelled:
    """Return the area-weighted mean over a box, with the exact edges of the box.

    A cell counts with the part of its area inside the box; NaN cells (land) do not count.

    Parameters
    ----------
    da : DataArray or Dataset
        With latitude and longitude in any order and convention; other dims stay. Cells end at the
        CF bounds of a Dataset if it has them, else halfway to their neighbours. On a curvilinear
        grid (2-D latitude and longitude) areas are those of `areacello` or the like, if it is
        there; without bounds, cells whose centre is in the box then count whole.
    region : str or Region
        A box, or a name in `REGIONS` in any spelling: "nino3.4", "Nino 3.4", "nino34".

    Returns
    -------
    DataArray or Dataset
        Without latitude and longitude; NaN where every cell of the box is NaN. Lazy if `da` is.

    Raises
    ------
    ValueError
        If the name is unknown, or the cells of the data do not cover the box.

    Examples
    --------
    >>> coords = {"lat": [-2.0, 2.0], "lon": [180.0, 200.0, 220.0, 240.0]}
    >>> da = xr.DataArray([[0.0, 1, 2, 3]] * 2, coords, ("lat", "lon"))
    >>> region_mean(da, Region(-4, 4, 190, 220)).item()  # 20 degrees of 1, 10 degrees of 2
    1.3333333333333333
    """
    box = region if isinstance(region, Region) else REGIONS[_spelling(region, REGIONS)]
    return on_each(_fields(da), lambda each: _mean(each, box, da), find_grid(da))


def index(da: Labelled, name: str | Region) -> Labelled:
    """Return a climate index: a regional mean, or a weighted sum of regional means.

    Parameters
    ----------
    da : DataArray or Dataset
        Usually anomalies: observed, or forecast with dims init, lead, member.
    name : str or Region
        A name in `REGIONS`, or "iod" (Dipole Mode Index), "emi" (El Nino Modoki); or a box.

    Returns
    -------
    DataArray or Dataset
        Without latitude and longitude. A DataArray is named `name` ("index" for a box); the
        attributes `long_name` and `region` describe it. NaN, with a warning, where less than 90 %
        of a box's ocean has values: see `ocean.where_enough`.

    Raises
    ------
    ValueError
        As in `region_mean`.
    """
    title = "index" if isinstance(name, Region) else _spelling(name, {**REGIONS, **SUMS})
    boxes = {title: name} if isinstance(name, Region) else REGIONS
    weights = SUMS.get(title, {title: 1.0})
    region = " ".join(f"{w:+g} {key} ({boxes[key]})" for key, w in weights.items())
    region = str(boxes[title]) if title in boxes else region

    def one(each: xr.DataArray) -> xr.DataArray:
        means = [w * _mean(each, boxes[key], da, enough=True) for key, w in weights.items()]
        total = new_values(sum(means[1:], start=means[0]).astype(each.dtype), each)
        variable = each.attrs.get("long_name", each.name)
        label = title if title == "index" else f"{title} index"
        long_name = label + (f" of {variable}" if variable else "")
        return total.assign_attrs(long_name=long_name, region=region)

    out = on_each(_fields(da), one, find_grid(da))
    return out.rename(title) if isinstance(out, xr.DataArray) else out


def cell_areas(da: xr.DataArray) -> xr.DataArray:
    """Return the areas (y, x) of the cells of data, relative to each other.

    >>> lat, lon = [0.0, 60.0], [0.0, 10.0]  # bands 30S .. 30N and 30N .. 90N
    >>> areas = cell_areas(xr.DataArray(np.zeros((2, 2)), {"lat": lat, "lon": lon}, ("lat", "lon")))
    >>> (areas / areas[0, 0]).values.round(3)
    array([[1. , 1. ],
           [0.5, 0.5]])
    """
    if grid := grid_of(da):
        areas = area_of(da)
        return _on_grid(grid, grid.areas) if areas is None else areas
    y, x = find_grid(da)
    if (place := find_repeats(da)) is not None:  # of a column that is there twice one alone counts
        kept = first_columns(place)
        whole = cell_areas(da.isel({x: kept})).isel({x: place})
        return whole * xr.DataArray(np.isin(np.arange(place.size), kept), dims=x)
    latitude, longitude = find_latlon(da)
    north = np.sin(np.radians(np.clip(cell_edges(da, latitude), -90.0, 90.0)))
    rows = xr.DataArray(np.diff(north)[:, 0], dims=y)
    return rows * xr.DataArray(np.diff(cell_edges(da, longitude, around=True))[:, 0], dims=x)


def _spelling(name: str, table: Mapping[str, object]) -> str:
    """Return the table's spelling of a name; an unknown one is an error."""
    keys = _keys(table)
    if _key(name) in keys:
        return keys[_key(name)]
    near = difflib.get_close_matches(_key(name), keys, n=1, cutoff=0.5)
    hint = f'"{keys[near[0]]}"' if near else REGION_HINT
    raise mismatch(f"one of {', '.join(table)}", repr(name), hint)


def spelt(name: object, table: Iterable[str]) -> str | None:
    """Return the table's spelling of a name; None for an unknown one.

    >>> spelt("Niño 3.4", REGIONS), spelt("sst", REGIONS)
    ('nino3.4', None)
    """
    return _keys(table).get(_key(name))


def _keys(table: Iterable[str]) -> dict[str, str]:
    keys = {_key(entry): entry for entry in table}
    return keys | {other: entry for other, entry in OTHER_NAMES.items() if entry in keys.values()}


def _key(text: object) -> str:
    """Return a name without case, accents and punctuation: "nino34" for "Niño 3.4"."""
    plain = unicodedata.normalize("NFKD", str(text)).lower()
    return "".join(letter for letter in plain if letter.isascii() and letter.isalnum())


def _fields(da: Labelled) -> Labelled:
    """Return the data without variables that describe cells: they have no mean over a box."""
    return da.drop_vars(geometry(da)) if isinstance(da, xr.Dataset) else da


def _mean(
    da: xr.DataArray, box: Region, labels: xr.Dataset | xr.DataArray, enough: bool = False
) -> xr.DataArray:
    """Return the mean over a box; `labels` may hold the bounds of the cells.

    With `enough`, NaN where less than 90 % of the box's ocean has values.
    """
    check_float(da)
    grid = grid_of(da, labels)
    da, place = without_repeats(da)
    if place is not None:
        labels = labels.isel({find_grid(da)[1]: first_columns(place)})
    weights = _weights(da, box, labels) if grid is None else _shares(da, grid, box, labels)
    inside = {
        dim: np.flatnonzero(weights.any([d for d in weights.dims if d != dim]))
        for dim in weights.dims
    }
    cells, weights = da.isel(inside), weights.isel(inside)
    cells = check_values(cells, forecast="lead" in da.coords)
    mean = cells.weighted(weights).mean(weights.dims, keep_attrs=True).astype(da.dtype)
    if enough:
        mean = where_enough(mean, cells, weights, str(box))
    return new_values(mean, da).assign_attrs(region=str(box))


def _shares(
    da: xr.DataArray, grid: Curvilinear, box: Region, labels: xr.Dataset | xr.DataArray
) -> xr.DataArray:
    """Return the area of each cell of a curvilinear grid inside a box."""
    west = box.west % 360.0
    edges = [box.south, box.north], [west, west + box.width]
    shares = grid.overlaps(*edges).toarray()[0]
    whole = float(np.diff(np.sin(np.radians(edges[0])))[0] * box.width)
    # cells on land may have no place
    least = 0.99 if np.isfinite(grid.latitude).all() else 0.5
    if shares.sum() < least * whole:
        raise mismatch(
            f"data that covers {box}",
            f"a curvilinear grid that covers {shares.sum() / whole:.0%} of it",
            "data of a larger domain, or another region",
        )
    areas = area_of(da, labels)
    if areas is None:
        return _on_grid(grid, shares)
    if grid.corners is not None:  # the part of a cell that is inside, of its area as it is given
        part = np.divide(shares, grid.areas, out=np.zeros_like(shares), where=grid.areas > 0)
    else:
        eastwards = (grid.longitude - west) % 360.0
        part = (grid.latitude >= box.south) & (grid.latitude < box.north) & (eastwards < box.width)
        part &= grid.first  # a halo repeats columns, and counts once
    return _on_grid(grid, part) * areas.transpose(*grid.dims).fillna(0)


def _on_grid(grid: Curvilinear, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values.reshape(grid.shape), dims=grid.dims)


def _weights(da: xr.DataArray, box: Region, labels: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the area of each cell inside a box, relative to each other."""
    y, x = find_grid(da)
    latitude, longitude = find_latlon(da)
    lat_edges = np.clip(cell_edges(labels, latitude), -90.0, 90.0)
    lon_edges = cell_edges(labels, longitude, around=True)
    # area between two parallels is the difference of the sines of latitude
    south, north = np.sin(np.radians([box.south, box.north]))
    rows = _overlap(np.sin(np.radians(lat_edges)), south, north)
    west = box.west % 360.0
    turns = [_overlap(lon_edges + turn, west, west + box.width) for turn in TURNS]
    columns = np.sum(turns, axis=0)
    # to a thousandth of the box: edges halfway between rounded centres are not exact
    if not (rows.sum() >= 0.999 * (north - south) and columns.sum() >= 0.999 * box.width):
        raise mismatch(
            f"data that covers {box}",
            f"cells from {lat_edges.min():g} to {lat_edges.max():g} N and "
            f"{lon_edges.min():g} to {lon_edges.max():g} E",
            "data of a larger domain, or another region",
        )
    return xr.DataArray(rows, dims=y) * xr.DataArray(columns, dims=x)


def _overlap(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return how much of each cell, given its edges (cells, 2), lies between `low` and `high`."""
    return np.clip(np.minimum(edges[:, 1], high) - np.maximum(edges[:, 0], low), 0.0, None)
