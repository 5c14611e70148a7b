"""Rain to write as each service would, and the writers of examples/radar_files.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from xearthformer.datasets.radar.projection import crs_variable

PLACE = Path(__file__).parents[1] / "examples" / "radar_files.py"
SPEC = importlib.util.spec_from_file_location("radar_files", PLACE)
radar_files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(radar_files)

LAEA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84 +units=m"
STEREO = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +x_0=0 +y_0=0 +units=m"


def small_rain(
    values, step="5min", start="2021-07-04T15:50", projection=LAEA, left=0.0, top=0.0, pixel=1000.0
):
    """Rain (time, y, x) in mm/h, of pixels of a kilometre whose upper left corner is given."""
    values = np.array(values, np.float32)
    frames, rows, columns = values.shape
    coords = {
        "time": pd.date_range(start, periods=frames, freq=step),
        "y": ("y", top - (np.arange(rows) + 0.5) * pixel, {"units": "m", "axis": "Y"}),
        "x": ("x", left + (np.arange(columns) + 0.5) * pixel, {"units": "m", "axis": "X"}),
        "crs": crs_variable(projection),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1", "grid_mapping": "crs"}
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", attrs)
