"""Forecasts as GeoTIFF, which every GIS opens: one file per init and lead.

Members, or the thresholds or quantiles of a product of theirs, are bands.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ...aside import written_aside
from ...errors import ignored, mismatch
from ...fields.axes import find_grid
from ...fields.time_axis import str_time
from ...fields.units import to_metres
from .projection import crs_of

if TYPE_CHECKING:
    import pyproj

BANDS = "member", "threshold", "quantile"
MADE_WITH = "made_with"  # what decided a forecast, of those that a watch writes
TAGS = (
    "units",
    "standard_name",
    "pack",
    "pack_version",
    "seed",
    "members",
    "products",
    MADE_WITH,
    "zr_a",
    "zr_b",
)


def write_geotiff(fc: xr.DataArray, path: str | os.PathLike[str]) -> list[str]:
    """Write a forecast as GeoTIFF: one file per init and lead, with members as bands.

    Parameters
    ----------
    fc : DataArray
        Dims init, lead, member (of an ensemble, or threshold or quantile), y and x, with a map
        projection (`crs`) or latitude and longitude. Lazy data is computed one init at a time.
    path : path
        "rain.tif" gives "rain_20160928T1500_005min.tif" and so on. What is there is replaced, each
        file once the new one is whole.

    Returns
    -------
    list of str
        The paths, by init and lead.

    Raises
    ------
    ValueError
        No projection, or pixels of several sizes.

    Notes
    -----
    float32, north up, NaN for what has no value. Tags: init, lead, valid_time, units and the pack.

    Examples
    --------
    >>> import xearthformer as xef
    >>> fc = rain.earthformer.forecast("nowcast-radar")  # doctest: +SKIP
    >>> write_geotiff(fc, "rain.tif")[0]  # doctest: +SKIP
    'rain_20160928T1500_005min.tif'
    """
    import rioxarray  # noqa: F401  # the accessor rio

    path, crs = Path(path), check_map(fc, 'fc.rio.write_crs("EPSG:..."), by rioxarray')
    fc = fc.expand_dims([dim for dim in ("init", "lead") if dim not in fc.dims])
    y, x = find_grid(fc)
    dims = [*(dim for dim in BANDS if dim in fc.dims), y, x]
    written = []
    for i in range(fc.sizes["init"]):
        of_init = fc.isel(init=i).load()
        for k, lead in enumerate(lead_labels(fc["lead"])):
            field = of_init.isel(lead=k).transpose(*dims)
            target = path.with_name(f"{path.stem}_{init_label(field['init'])}_{lead}.tif")
            _write(_on_map(field, crs), target, _tags(field, lead))
            written.append(str(target))
    return written


def check_map(da: xr.DataArray, hint: str, name: str = "da") -> pyproj.CRS:
    """Return the projection of data that has one, and pixels of one size.

    ValueError without; `hint` says what to do about a projection that isn't there, and `name` what
    the line about pixels calls the data.
    """
    y, x = find_grid(da)
    crs = crs_of(da)
    if crs is None or y not in da.coords or x not in da.coords:
        raise mismatch(
            "data with a map projection, and coordinates along y and x",
            "none",
            hint,
        )
    for dim in (y, x):
        steps = np.diff(da[dim].values.astype(float))
        if steps.size == 0 or not np.allclose(steps, steps.mean(), rtol=1e-2):
            ends = f"{da[dim].values[0]:g}, {da[dim].values[-1]:g}, {da.sizes[dim]}"
            sizes = np.abs(steps)
            raise mismatch(
                f"two pixels or more of one size along {dim}",
                f"{da.sizes[dim]}{f' of {sizes.min():g} to {sizes.max():g}' if sizes.size else ''}",
                f"{name}.interp({dim}=np.linspace({ends}))",
            )
    return crs


def init_label(init: xr.DataArray) -> str:
    """Return an init as a part of file names.

    >>> init_label(xr.DataArray(np.datetime64("2016-09-28T15:00")))
    '20160928T1500'
    """
    digits = "".join(c for c in str_time(init.values[()]) if c.isdigit())
    return f"{digits[:8]}T{digits[8:12].ljust(4, '0')}"


def lead_labels(lead: xr.DataArray) -> list[str]:
    """Return leads as parts of file names, which sort by time.

    >>> lead_labels(xr.DataArray(np.array([5, 10], "m8[m]")))
    ['005min', '010min']
    >>> lead_labels(xr.DataArray([1, 12], attrs={"units": "months"}))
    ['01month', '12month']
    """
    values = lead.values
    if values.dtype.kind == "m":
        minutes = values / np.timedelta64(1, "m")
        width = max(3, len(f"{minutes.max():.0f}"))
        return [f"{each:0{width}.0f}min" for each in minutes]
    unit = str(lead.attrs.get("units", "")).removesuffix("s")
    return [f"{each:02d}{unit}" for each in values]


def _on_map(field: xr.DataArray, crs: pyproj.CRS) -> xr.DataArray:
    """Return a field ([member,] y, x), north up and west first, in the projection's own units."""
    y, x = field.dims[-2:]
    factors = {}
    for dim in (y, x):
        metres = None if crs.is_geographic else to_metres(str(field[dim].attrs.get("units", "")))
        unit = crs.axis_info[0].unit_conversion_factor if metres else 1.0
        factors[dim] = (metres or 1.0) / unit
    coords = {out: field[dim].values * factors[dim] for out, dim in (("y", y), ("x", x))}
    dims = ("band", "y", "x")[-field.ndim :]
    plain = xr.DataArray(field.values.astype(np.float32), coords, dims)
    plain = plain.sortby("y", ascending=False).sortby("x")
    if field.ndim > 2:
        band = field[field.dims[0]]
        units = band.attrs.get("units", "1")
        words = "" if units == "1" else f" {units}"
        plain.attrs["long_name"] = tuple(f"{band.name} {each:g}{words}" for each in band.values)
    with ignored(".*lost in conversion to CF"):  # the file has the whole projection
        plain = plain.rio.write_crs(crs)
    return plain.rio.write_nodata(np.nan)


def _tags(field: xr.DataArray, lead: str) -> dict[str, str]:
    tags = {key: str(field.attrs[key]) for key in TAGS if key in field.attrs}
    times = {name: field[name] for name in ("init", "valid_time") if name in field.coords}
    return {
        **{name: str_time(time.values[()]) for name, time in times.items()},
        "lead": lead,
        **tags,
    }


def _write(plain: xr.DataArray, target: Path, tags: dict[str, str]) -> None:
    with written_aside(target) as part:
        plain.rio.to_raster(part, driver="GTiff", compress="deflate", predictor=3, tags=tags)
