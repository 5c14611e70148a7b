"""MRMS, NOAA's composites of the United States, in GRIB2: read by GDAL, through rioxarray."""

from __future__ import annotations

import os
import re

import numpy as np
import xarray as xr

from ...errors import mismatch

# By unit: the attributes, the code where nothing was detected, those where nothing was seen. By
# NSSL's table of products -3 (-999) is "no coverage"; -1 is "missing", of reflectivity -99: where
# radars look but found no echo.
PRODUCTS: dict[str, tuple[dict[str, str], float | None, tuple[float, ...]]] = {
    "mm/hr": (
        {"standard_name": "rainfall_rate", "long_name": "radar rain rate", "units": "mm h-1"},
        None,
        (-1, -3),
    ),
    "mm": (
        {"standard_name": "lwe_thickness_of_precipitation_amount", "units": "mm"},
        None,
        (-1, -3),
    ),
    "dBZ": ({"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}, -99, (-999,)),
}
NAMES = {"mm/hr": "rain_rate", "mm": "rain_amount", "dBZ": "dbz"}
LENGTH = re.compile(r"_(\d+)(H|M)\b|(\d+)(H)$")  # RadarOnly_QPE_01H, GaugeCorrQPE01H
DEGREES = {
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
CRS = "crs"


def open_grib(path: str, packed: bool = False) -> xr.Dataset:
    """Open a file of MRMS lazily: rain rate, amount or reflectivity (time, lat, lon), float32.

    Latitudes descend, longitudes are west of 0 as negative numbers. Needs rioxarray, whose GDAL
    reads GRIB without eccodes.
    """
    try:
        import rioxarray
    except ImportError as error:
        raise ImportError(
            f'{path} is GRIB, which needs rioxarray: pip install "xearthformer[radar]"'
        ) from error
    address = f"/vsigzip/{os.path.abspath(path)}" if packed else path
    raster = rioxarray.open_rasterio(address, chunks={})
    assert isinstance(raster, xr.DataArray)
    element, unit = (str(raster.attrs.get(f"GRIB_{key}", "?")) for key in ("ELEMENT", "UNIT"))
    unit = unit.strip("[]")
    if raster.sizes["band"] != 1 or unit not in PRODUCTS:
        raise mismatch(
            "GRIB of one product of MRMS, in mm/hr, mm or dBZ",
            f"{raster.sizes['band']} of {element} in {unit}: {path}",
            "a file of PrecipRate",
        )
    attrs, no_echo, unseen = PRODUCTS[unit]
    da = raster.isel(band=0, drop=True).astype("float32").rename(y="lat", x="lon")
    da = da.where(~da.isin(unseen))
    if no_echo is not None:
        da = da.where(da != no_echo, -np.inf)  # no power: 10 log10 0
    valid = np.datetime64(int(raster.attrs["GRIB_VALID_TIME"]), "s").astype("datetime64[ns]")
    crs = xr.Variable(
        (), 0, {k: v for k, v in da["spatial_ref"].attrs.items() if k != "spatial_ref"}
    )
    da = da.drop_vars("spatial_ref").expand_dims(time=[valid])
    da.attrs = {"long_name": element, **attrs, "grid_mapping": CRS}
    da.encoding = {}
    ds = da.to_dataset(name=NAMES[unit]).assign_coords({CRS: crs})
    for name, marks in DEGREES.items():
        degrees = ds[name].values.round(6)  # GDAL has 47.995000000000005
        if name == "lon" and degrees.min() >= 180:
            degrees = (degrees - 360).round(6)
        ds = ds.assign_coords({name: (name, degrees, marks)})
    length = LENGTH.search(element) if unit == "mm" else None
    if length is not None:
        number, letter = length[1] or length[3], length[2] or length[4]
        start = valid - np.timedelta64(int(number), "h" if letter == "H" else "m")
        ds = ds.assign_coords(time_bnds=(("time", "bnds"), [[start, valid]]))
    return ds
