"""Rain as pysteps holds it, an array next to a dict of metadata, to labelled rain and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ...errors import mismatch
from ...fields.axes import find_grid, is_degrees
from ...fields.forms import takes_any_form
from ...fields.quantities import check_quantity
from ...fields.units import convert_units, to_metres
from .frames import RATE
from .projection import GRID_MAPPING, Grid, crs_of, crs_variable, read_crs

DIMS = ("member", "time")
METRES = {"m": 1.0, "km": 1000.0, "degrees": 1.0}  # cartesian_unit
ZR = {"zr_a": 200.0, "zr_b": 1.6}  # pysteps' own, where its metadata has none
# The functions of pysteps.utils.transformation that undo what isn't decibels.
INVERSES = {"BoxCox": "boxcox", "log": "boxcox", "sqrt": "sqrt", "NQT": "NQ"}


def from_pysteps(
    field: np.ndarray,
    metadata: Mapping[str, Any],
    times: Sequence[Any] | pd.DatetimeIndex | None = None,
) -> xr.DataArray:
    """Label rain that pysteps has read, for all that this package does with it.

    Parameters
    ----------
    field : array (y, x), (time, y, x) or (member, time, y, x)
        As pysteps' importers, `read_timeseries` and nowcasts give it: mm/h, dBZ or mm; in decibels
        or not.
    metadata : dict
        What pysteps gives next to it: projection, x1, y2, pixel sizes, yorigin, unit, transform,
        zerovalue, accutime for amounts, zr_a and zr_b for reflectivity.
    times : list of datetimes, optional
        The end of each frame; one datetime for one frame. Default: `metadata["timestamps"]`.

    Returns
    -------
    DataArray
        Rain rate in mm h-1 with time, y and x in metres (lat and lon in degrees) in the order of
        the array, and the map projection as `crs`. Values of `zerovalue` are 0; NaN stays NaN.

    Raises
    ------
    ValueError
        Metadata that lack something, a transformation other than decibels, or a projection that
        PROJ cannot read.

    See Also
    --------
    to_pysteps : the inverse.

    Examples
    --------
    >>> metadata = {
    ...     "projection": "+proj=laea +lat_0=55 +lon_0=10", "cartesian_unit": "m",
    ...     "x1": 0, "x2": 2000, "y1": 0, "y2": 1000, "yorigin": "upper",
    ...     "unit": "mm/h", "transform": "dB", "zerovalue": -15,
    ... }
    >>> rain = from_pysteps(np.array([[-15.0, 10.0]]), metadata, [np.datetime64("2021-07-04")])
    >>> rain.values, rain.x.values
    (array([[[ 0., 10.]]]), array([ 500., 1500.]))
    """
    values = np.ma.filled(np.ma.asarray(field).astype(float), np.nan)
    if values.ndim == 2:
        values = values[None]
    missing = [key for key in ("unit", "x1", "y1", "x2", "y2") if key not in metadata]
    if missing or values.ndim not in (3, 4):
        found = f"metadata without {', '.join(missing)}" if missing else f"{values.ndim} dims"
        hint = "field, _, metadata = pysteps.io.import_...(path), one of pysteps' importers"
        raise mismatch("an array (time, y, x) and pysteps' metadata of it", found, hint)
    grid = _grid(metadata, (values.shape[-2], values.shape[-1]))
    coords = {"time": _times(metadata, times, values.shape[-3]), **grid.coords()}
    attrs: dict[str, object] = dict(RATE)
    if metadata["unit"] == "dBZ":
        attrs |= {key: float(metadata.get(key, ZR[key])) for key in ZR}
    if grid.crs is not None:
        attrs["grid_mapping"] = GRID_MAPPING
    y, _ = grid.dims
    if metadata.get("yorigin", "upper") == "lower":  # the first row is the southernmost
        coords[y] = coords[y][::-1]
    dims = (*DIMS[4 - values.ndim :], *grid.dims)
    return xr.DataArray(_rates(values, metadata), coords, dims, "rain_rate", attrs)


def _rates(values: np.ndarray, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return rain rates in mm/h of values in any of pysteps' units and transformations."""
    unit, transform = metadata["unit"], metadata.get("transform")
    if transform in INVERSES:
        inverse = f"pysteps.utils.transformation.{INVERSES[transform]}_transform"
        hint = f"xef.from_pysteps(*{inverse}(field, metadata, inverse=True))"
        raise mismatch("rain as it is, or in decibels", f"transform {transform!r}", hint)
    zero = metadata.get("zerovalue")
    dry = np.zeros(values.shape, bool) if zero is None else values <= zero
    if unit == "dBZ":  # decibels by itself, whatever `transform` says
        a, b = (float(metadata.get(key, ZR[key])) for key in ZR)
        rates = (10 ** (values / 10) / a) ** (1 / b)
    elif unit in ("mm/h", "mm"):
        rates = 10 ** (values / 10) if transform == "dB" else values
    else:
        hint = 'xef.from_pysteps(field, metadata | {"unit": "mm/h"}), if that is what it is'
        raise mismatch("unit 'mm/h', 'mm' or 'dBZ'", repr(unit), hint)
    if unit == "mm":
        if not metadata.get("accutime"):
            hint = 'xef.from_pysteps(field, metadata | {"accutime": 5}), with their minutes'
            raise mismatch("accutime, for amounts in mm", "none", hint)
        rates = rates * (60 / float(metadata["accutime"]))
    return np.where(dry, 0.0, rates)


def _grid(metadata: Mapping[str, Any], shape: tuple[int, int]) -> Grid:
    text = metadata.get("projection")
    hint = 'xef.from_pysteps(field, metadata | {"projection": None}), without a map'
    crs = None if text is None else read_crs(str(text), hint)
    unit = METRES.get(str(metadata.get("cartesian_unit", "m")), 1.0)
    x1, y1, x2, y2 = (float(metadata[key]) * unit for key in ("x1", "y1", "x2", "y2"))
    return Grid(crs, x1, y2, (x2 - x1) / shape[1], (y2 - y1) / shape[0], shape)


def _times(
    metadata: Mapping[str, Any], times: Sequence[Any] | pd.DatetimeIndex | None, count: int
) -> xr.Variable:
    if times is None:
        times = metadata.get("timestamps")
    if times is not None and np.ndim(times) == 0:  # of one frame
        times = [times]
    found = 0 if times is None else len(times)
    if found != count:
        minutes = metadata.get("accutime") or 5
        index = f'pd.date_range("2021-07-04", periods={count}, freq="{minutes:g}min")'
        hint = f"xef.from_pysteps(field, metadata, {index}), with the first time"
        raise mismatch(f"the times of {count} frames", str(found or "none"), hint)
    stamps = pd.DatetimeIndex(times).values.astype("datetime64[ns]")
    return xr.Variable("time", stamps, {"standard_name": "time", "axis": "T"})


@takes_any_form
def to_pysteps(rain: xr.DataArray) -> tuple[np.ndarray, dict[str, Any]]:
    """Return rain as pysteps takes it: an array (..., y, x), and the metadata of it.

    Parameters
    ----------
    rain : DataArray
        Rain rate with time (or lead), y and x, and member of an ensemble, in any order; a forecast
        from one init. Lazy data is computed.

    Returns
    -------
    field : ndarray
        Rain rate in mm/h: (y, x), (time, y, x) or (member, time, y, x), as pysteps orders them;
        rows and columns in the order of the data.
    metadata : dict
        In pysteps' words, with the times under "timestamps" as `read_timeseries` has them.

    Raises
    ------
    ValueError
        Another quantity or units, several inits, further dims, or no coordinates along y and x.

    See Also
    --------
    from_pysteps : the inverse; leads are its times.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.synthetic_storms(events=1, size=32, frames=4)["rain_rate"].isel(event=0)
    >>> field, metadata = to_pysteps(rain)
    >>> field.shape, metadata["accutime"], metadata["yorigin"], metadata["xpixelsize"]
    ((4, 32, 32), 5.0, 'lower', 1000.0)
    """
    check_quantity(rain, RATE["standard_name"], difference=False)
    y, x = find_grid(rain)
    rain = _in_order(convert_units(rain, RATE["units"], difference=False), y, x)
    (y1, y2, height), (x1, x2, width) = (_extent(rain, axis) for axis in (y, x))
    crs, degrees = crs_of(rain), is_degrees(rain[x])
    field = rain.to_numpy()
    if "member" in rain.dims and field.ndim == 3:  # of one time, which a member has in pysteps
        field = field[:, None]
    wet = field[field > 0]
    metadata: dict[str, Any] = {
        "projection": None if crs is None else crs_variable(crs).attrs["proj4"],
        "cartesian_unit": "degrees" if degrees else "m",
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "xpixelsize": width,
        "ypixelsize": height,
        "yorigin": "upper" if rain[y].values[0] > rain[y].values[-1] else "lower",
        "unit": "mm/h",
        "transform": None,
        "zerovalue": 0.0,
        "threshold": float(wet.min()) if wet.size else np.nan,
        **{key: float(rain.attrs.get(key, ZR[key])) for key in ZR},
    }
    times = next((name for name in ("valid_time", "time") if name in rain.coords), None)
    if times is not None:
        stamps = pd.DatetimeIndex(np.atleast_1d(rain[times].values))
        metadata["timestamps"] = stamps.to_pydatetime()
        if len(stamps) > 1:
            metadata["accutime"] = float((stamps[1] - stamps[0]) / pd.Timedelta("1min"))
    return field, metadata


def _in_order(rain: xr.DataArray, y: str, x: str) -> xr.DataArray:
    """Return rain of one init in pysteps' order of dims: member, time, y, x."""
    for dim in ("init", "event"):
        if rain.sizes.get(dim, 1) > 1:
            found = f"{rain.sizes[dim]} along {dim}"
            raise mismatch(f"rain of one {dim}", found, f"xef.to_pysteps(rain.isel({dim}=0))")
    rain = rain.squeeze([dim for dim in ("init", "event") if dim in rain.dims])
    members = ["member"] if "member" in rain.dims else []
    times = [dim for dim in rain.dims if dim not in ("member", y, x)]
    if len(times) > 1:
        further = next(dim for dim in times if dim not in ("time", "lead"))
        hint = f"xef.to_pysteps(rain.isel({further}=0))"
        raise mismatch("rain with member, time, y and x alone", f"dims {rain.dims}", hint)
    return rain.transpose(*members, *times, y, x)


def _extent(rain: xr.DataArray, axis: str) -> tuple[float, float, float]:
    """Return the outer edges, the lower first, and the pixel size, in metres or degrees."""
    if axis not in rain.coords or rain.sizes[axis] < 2:
        hint = f"rain.assign_coords({axis}=1000.0 * np.arange({rain.sizes[axis]})), in metres"
        raise mismatch(f"a coordinate of two pixels or more along {axis}", "none", hint)
    factor = to_metres(str(rain[axis].attrs.get("units", ""))) or 1.0
    values = rain[axis].values.astype(float) * factor
    size = abs(values[-1] - values[0]) / (values.size - 1)
    return float(values.min() - size / 2), float(values.max() + size / 2), float(size)
