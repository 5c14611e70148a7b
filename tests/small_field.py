"""A small field of sea surface temperature, whose every value says where it belongs."""

import numpy as np
import xarray as xr

ANOMALY = {
    "standard_name": "sea_surface_temperature",
    "units": "degC",
    "units_metadata": "temperature: difference",
}
TEMPERATURE = {"standard_name": "sea_surface_temperature", "units": "degC", "long_name": "SST"}


def field(attrs=ANOMALY, dtype="f4", lat=(-10, 0, 10), lon=(0, 90, 180, 270)):
    """Two months; each cell holds 100 * month + its latitude + its longitude / 1000."""
    time = xr.date_range("2000-01", periods=2, freq="MS")
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    values = 100 * np.arange(2)[:, None, None] + lat[:, None] + lon % 360 / 1000
    coords = {
        "time": ("time", time, {"axis": "T"}),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.DataArray(values.astype(dtype), coords, ("time", "lat", "lon"), "sst", attrs)
