"""Nino3.4 in a few numbers: a monthly record, and the labels of forecasts from its first months."""

import numpy as np
import xarray as xr

ATTRS = {"units": "degC", "units_metadata": "temperature: difference"}


def record(values, start="2000-01"):
    """Observations, monthly."""
    time = xr.date_range(start, periods=len(values), freq="MS")
    return xr.DataArray(np.asarray(values, float), {"time": time}, ("time",), "nino3.4", ATTRS)


def labels(obs, inits, leads):
    """Positions along the record that are forecast (init, lead), and the coordinates of both."""
    lead = np.arange(1, leads + 1)
    at = np.arange(inits)[:, None] + lead
    coords = {
        "init": obs.time.values[:inits],
        "lead": ("lead", lead, {"units": "months"}),
        "valid_time": (("init", "lead"), obs.time.values[at]),
    }
    return at, coords
