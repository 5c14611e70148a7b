"""MRMS, NOAA's composites of the United States, in GRIB2: read by GDAL, through rasterio."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...errors import mismatch
from ...fields.quantities import RAIN, RAIN_AMOUNT, RAIN_UNITS, REFLECTIVITY
from .projection import GRID_MAPPING, crs_variable


@dataclass(frozen=True)
class Product:
    """What products of one unit are called here, and what their codes mean."""

    name: str
    attrs: dict[str, str]
    unseen: tuple[float, ...]
    no_echo: float | None = None


# By NSSL's table of products, -3 is "no coverage" and -1 "missing"; of reflectivity -999 and -99,
# which stands where radars look but find no echo.
PRODUCTS = {
    "mm/hr": Product("rain_rate", {"standard_name": RAIN, "units": RAIN_UNITS}, (-1, -3)),
    "mm": Product("rain_amount", {"standard_name": RAIN_AMOUNT, "units": "mm"}, (-1, -3)),
    "dBZ": Product("dbz", {"standard_name": REFLECTIVITY, "units": "dBZ"}, (-999,), -99),
}
LENGTH = re.compile(r"_(\d+)(H|M)\b|(\d+)(H)$")  # RadarOnly_QPE_01H, GaugeCorrQPE01H
DEGREES = {
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}


def open_grib(path: str, packed: bool = False) -> xr.Dataset:
    """Open a file of MRMS lazily: rain rate, amount or reflectivity (time, lat, lon), float32.

    Latitudes descend, longitudes are west of 0 as negative numbers. Needs rioxarray, which brings
    a GDAL that reads GRIB without eccodes.
    """
    import dask.array

    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            f'{path} is GRIB, which needs rioxarray: pip install "xearthformer[radar]"'
        ) from error
    address = f"/vsigzip/{os.path.abspath(path)}" if packed else path
    # an Env around all of it: only inside does GDAL find its tables of products
    with rasterio.Env(), rasterio.open(address) as file:
        tags, bands, shape = file.tags(1), file.count, file.shape
        step, corner = (file.transform.a, file.transform.e), (file.transform.c, file.transform.f)
        wkt = file.crs.to_wkt() if file.crs else "EPSG:4326"
    element, unit = tags.get("GRIB_ELEMENT", "?"), tags.get("GRIB_UNIT", "?").strip("[]")
    if bands != 1 or unit not in PRODUCTS:
        raise mismatch(
            "GRIB of one product of MRMS, in mm/hr, mm or dBZ",
            f"{bands} of {element} in {unit}: {path}",
            "a file of PrecipRate",
        )
    product = PRODUCTS[unit]
    values = dask.array.from_delayed(dask.delayed(_read)(address, product), shape, np.float32)
    valid = np.datetime64(int(tags["GRIB_VALID_TIME"]), "s").astype("datetime64[ns]")
    # rounded: GDAL has 47.995000000000005
    lon, lat = (
        (first + (np.arange(n) + 0.5) * each).round(6)
        for first, each, n in zip(corner, step, shape[::-1], strict=True)
    )
    lon = (lon - 360).round(6) if lon.min() >= 180 else lon
    coords: dict[str, object] = {
        "time": ("time", [valid], {"standard_name": "time", "axis": "T"}),
        "lat": ("lat", lat, DEGREES["lat"]),
        "lon": ("lon", lon, DEGREES["lon"]),
        GRID_MAPPING: crs_variable(wkt),
    }
    length = LENGTH.search(element) if unit == "mm" else None
    if length is not None:
        number, letter = length[1] or length[3], length[2] or length[4]
        start = valid - np.timedelta64(int(number), "h" if letter == "H" else "m")
        coords["time_bnds"] = ("time", "bnds"), [[start, valid]]
    attrs = {"long_name": element, **product.attrs, "grid_mapping": GRID_MAPPING}
    return xr.Dataset({product.name: (("time", "lat", "lon"), values[None], attrs)}, coords)


def _read(address: str, product: Product) -> NDArray[np.float32]:
    """Read the values of a file, in a task."""
    import rasterio

    with rasterio.Env(), rasterio.open(address) as file:
        values = file.read(1, out_dtype="float32")
    for code in product.unseen:
        values[values == code] = np.nan
    if product.no_echo is not None:
        values[values == product.no_echo] = -np.inf  # no power: 10 log10 0
    return values
