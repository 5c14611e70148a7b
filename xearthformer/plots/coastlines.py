"""Coastlines on a map, where cartopy is installed and has its data on this machine already.

Nothing is ever fetched: without cartopy or its data there are no coastlines, and no error.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..fields.axes import is_degrees

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESOLUTIONS = "50m", "10m", "110m"  # of Natural Earth, the one that suits most maps first
TURNS = (-360.0, 0.0, 360.0)  # so that coasts meet every convention of longitudes
STYLE: dict[str, Any] = {"colors": "0.25", "linewidths": 0.6, "zorder": 2}


def draw(axes: Sequence[Axes], da: xr.DataArray, y: str, x: str) -> bool:
    """Draw the coast within the limits of maps of one domain, which stay as they are.

    Parameters
    ----------
    axes : sequence of matplotlib Axes
        The maps, in the units of the coordinates `x` and `y`.
    da : DataArray
        What they show: with latitude and longitude, or with a grid mapping among its coordinates.
    y, x : str
        Its spatial dims.

    Returns
    -------
    bool
        Whether there is a coastline to draw: the place of the data is known, and so is the coast.
    """
    from matplotlib.collections import LineCollection

    path = find_file()
    project = None if path is None else _projection(da, y, x)
    if path is None or project is None:
        return False
    Reader = importlib.import_module("cartopy.io.shapereader").Reader

    low, high = np.sort(np.array([axes[0].get_xlim(), axes[0].get_ylim()]), axis=1).T
    lines = []
    for geometry in Reader(path).geometries():
        for part in getattr(geometry, "geoms", [geometry]):
            for points in project(np.asarray(part.coords)[:, :2]):
                lines.append(_near(points, low, high))
    seen = [line for line in lines if len(line) > 1]
    for ax in axes:
        ax.add_collection(LineCollection(seen, **STYLE), autolim=False)
    return True


def find_file() -> Path | None:
    """Where cartopy keeps the coast on this machine; None where it doesn't, or isn't there."""
    try:
        cartopy, io = (importlib.import_module(name) for name in ("cartopy", "cartopy.io"))
    except ImportError:
        return None
    for resolution in RESOLUTIONS:
        names = "shapefiles", "natural_earth", resolution, "physical", "coastline"
        source = io.Downloader.from_config(names)
        known = {
            "config": cartopy.config,
            "category": "physical",
            "name": "coastline",
            "resolution": resolution,
        }
        for path in (source.pre_downloaded_path(known), source.target_path(known)):
            if path is not None and Path(path).is_file():
                return Path(path)
    return None


def _projection(da: xr.DataArray, y: str, x: str) -> Any:
    """From points (n, 2) of longitude and latitude to those of the map; None if it isn't known."""
    axes = [da.coords[dim] for dim in (y, x) if dim in da.coords]
    if len(axes) == 2 and all(is_degrees(axis) for axis in axes):
        return lambda points: (points + [turn, 0.0] for turn in TURNS)
    mapping = [c for c in da.coords.values() if {"crs_wkt", "grid_mapping_name"} & {*c.attrs}]
    if len(mapping) != 1 or len(axes) < 2:
        return None
    pyproj = importlib.import_module("pyproj")  # cartopy stands on it
    crs = pyproj.CRS.from_cf(mapping[0].attrs)
    place = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)

    def project(points: np.ndarray) -> Iterator[np.ndarray]:
        lon, lat = points.T
        placed = np.column_stack(place.transform(lon, lat))
        # some projections put the far side of the Earth onto the near one: there is no way back
        back = np.column_stack(place.transform(placed[:, 0], placed[:, 1], direction="INVERSE"))
        yield np.where(np.abs(back - points).max(axis=1, keepdims=True) < 1e-3, placed, np.inf)

    return project


def _near(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A line without what is far from the map; broken, by NaN, where something is left out."""
    margin = high - low
    near = ((points > low - margin) & (points < high + margin)).all(axis=1)
    if not near.any():
        return points[:0]
    first, last = np.flatnonzero(near)[[0, -1]]
    return np.where(near[:, None], points, np.nan)[first : last + 1]
