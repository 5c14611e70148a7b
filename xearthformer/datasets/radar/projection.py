"""Map projections of radar composites: from PROJ strings and corners to CF coordinates, and back.

Services say where a composite lies by a PROJ string, a corner and the size of a pixel. Here that
becomes coordinates of the pixels' centres in metres (or degrees), the scalar coordinate `crs` that
CF calls a grid mapping, and `crs_of` reads it back.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ...errors import ignored, mismatch

if TYPE_CHECKING:
    import pyproj

GRID_MAPPING = "crs"  # the name of the coordinate that carries the projection
PLANE = {
    "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
}
SPHERE = {
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
LARGEST_IN_KM = 10_000.0  # the Earth's radius is 6 378 in kilometres, and 6 378 137 in metres


def read_crs(text: str, hint: str) -> pyproj.CRS:
    """Return the projection of a PROJ string, in metres (or degrees) whatever units it states.

    Raises
    ------
    ValueError
        PROJ cannot read it; `hint` is the line that opens the file without it.

    Examples
    --------
    >>> read_crs("+proj=laea +lat_0=55 +lon_0=10 +units=km", "").axis_info[0].unit_name
    'metre'
    """
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        crs = pyproj.CRS(_in_metres(text) if "proj=" in text else text)
    except CRSError as error:
        found = f"{text!r} ({str(error).strip().splitlines()[0]})"
        raise mismatch("a map projection that PROJ reads", found, hint) from error
    if not (crs.is_projected or crs.is_geographic):
        raise mismatch("a map projection", f"{text!r}, which is none", hint)
    return crs


def _in_metres(text: str) -> str:
    """Return a PROJ string with its units taken out; an Earth in kilometres (KNMI) into metres."""
    tokens = [token.lstrip("+") for token in text.replace("\x00", " ").split()]
    kept = []
    for name, _, value in (token.partition("=") for token in tokens):
        if name in ("units", "to_meter", "type"):
            continue
        if name in ("a", "b", "R") and 0 < float(value) < LARGEST_IN_KM:
            value = f"{float(value) * 1000:.10g}"
        kept.append(f"+{name}={value}" if value else f"+{name}")
    return " ".join([*kept, "+type=crs"])


def metres_of(text: str) -> float:
    """Return the length of a PROJ string's own unit: 1000 where it is in kilometres.

    >>> metres_of("+proj=stere +lat_0=90 +units=km"), metres_of("+proj=longlat")
    (1000.0, 1.0)
    """
    import pyproj

    tokens = dict(token.lstrip("+").partition("=")[::2] for token in text.split())
    if "to_meter" in tokens:
        return float(tokens["to_meter"])
    if "units" in tokens and "proj" in tokens:
        unit = pyproj.CRS(f"+proj=laea +units={tokens['units']} +type=crs").axis_info[0]
        return float(unit.unit_conversion_factor)
    return 1.0


@dataclass(frozen=True)
class Grid:
    """Pixels in rows from north to south: outer edges and pixel sizes, in metres or degrees.

    `crs` is None where the projection isn't known; `left` and `top` are then 0.
    """

    crs: pyproj.CRS | None
    left: float
    top: float
    width: float  # of a pixel
    height: float
    shape: tuple[int, int]  # rows, columns

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the dims: y and x, or lat and lon."""
        y, x = SPHERE if self.crs is not None and self.crs.is_geographic else PLANE
        return y, x

    def coords(self) -> dict[str, xr.Variable]:
        """Return the coordinates of the pixels' centres, and `crs`."""
        attrs = {**PLANE, **SPHERE}
        y, x = self.dims
        rows, columns = (np.arange(n) + 0.5 for n in self.shape)
        out = {
            y: xr.Variable(y, (self.top - rows * self.height).round(9), attrs[y]),
            x: xr.Variable(x, (self.left + columns * self.width).round(9), attrs[x]),
        }
        if self.crs is not None:
            out[GRID_MAPPING] = crs_variable(self.crs)
        return out

    def coords_in_time(
        self, times: np.ndarray, bounds: np.ndarray | None = None
    ) -> dict[str, xr.Variable]:
        """Return the coordinates of frames at some times; `bounds` are (time, 2)."""
        attrs = {"standard_name": "time", "axis": "T"}
        out = {"time": xr.Variable("time", times, attrs), **self.coords()}
        if bounds is not None:
            out["time_bnds"] = xr.Variable(("time", "bnds"), bounds)
            out["time"].attrs["bounds"] = "time_bnds"
        return out


def crs_variable(crs: pyproj.CRS | str) -> xr.Variable:
    """Return the scalar coordinate of a projection, as CF and rioxarray read it.

    Examples
    --------
    >>> crs_variable("EPSG:3067").attrs["grid_mapping_name"]
    'transverse_mercator'
    """
    import pyproj

    return xr.Variable((), np.int32(0), _attrs_of(pyproj.CRS(crs)))


@functools.cache  # the files of a folder have one projection
def _attrs_of(crs: pyproj.CRS) -> Mapping[str, object]:
    with ignored(category=UserWarning):  # what neither can say stands in crs_wkt
        proj4, attrs = crs.to_proj4(), crs.to_cf()
    # the file formats have no tuples
    attrs = {key: list(v) if isinstance(v, tuple) else v for key, v in attrs.items()}
    name = {"long_name": "coordinate reference system"}
    return MappingProxyType({**attrs, **name, "proj4": proj4})


def crs_of(da: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """Return the projection of labelled data by its grid mapping; None if it has none.

    Latitude and longitude without a grid mapping are on WGS 84.

    Examples
    --------
    >>> da = xr.DataArray(0.0, {"crs": crs_variable("EPSG:2056")}, attrs={"grid_mapping": "crs"})
    >>> crs_of(da).to_epsg()
    2056
    """
    import pyproj

    from ...fields.axes import coordinate, is_degrees

    variables: list[xr.DataArray] = [da] if isinstance(da, xr.DataArray) else [*da.values()]
    named = [
        v.encoding.get(key) or v.attrs.get(key) for v in variables for key in ("grid_mapping",)
    ]
    for name in [*named, GRID_MAPPING, "spatial_ref"]:
        if name is not None and name in da.coords:
            crs = _of_attrs(da.coords[name].attrs)
            if crs is not None:
                return crs
    x = coordinate(da, "x")
    return pyproj.CRS("EPSG:4326") if x is not None and is_degrees(x) else None


def _of_attrs(attrs: Mapping[str, object]) -> pyproj.CRS | None:
    import pyproj

    for key in ("crs_wkt", "spatial_ref", "proj4"):
        if attrs.get(key):
            return pyproj.CRS(attrs[key])
    return pyproj.CRS.from_cf(dict(attrs)) if "grid_mapping_name" in attrs else None
