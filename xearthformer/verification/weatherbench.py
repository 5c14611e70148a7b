"""Forecasts and observations in the form that WeatherBench-X takes."""

from __future__ import annotations

import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, find_time, is_degrees
from ..fields.forecasts import as_forecast

# Of WeatherBench-X's loaders and scores, which need these.
NAMES = {"init": "init_time", "lead": "lead_time", "member": "number"}


def to_weatherbench(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return a forecast, or the observations to compare with it, as WeatherBench-X wants them.

    Parameters
    ----------
    data : DataArray or Dataset
        A forecast ([init,] lead, ...) whose leads are durations, or observations with a time axis.

    Returns
    -------
    Dataset
        A forecast has the dims init_time, lead_time (timedelta64), number if it has members, then
        its own; observations have valid_time. Latitude and longitude have these names; values,
        units and the order of cells stay. A DataArray becomes the variable of its name. Lazy if
        `data` is.

    Raises
    ------
    ValueError
        Leads in months, which have no fixed length; neither a forecast nor observations.

    Examples
    --------
    >>> import numpy as np
    >>> time = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")
    >>> coords = {"time": time, "lat": [0.0], "lon": [5.0]}
    >>> rain = xr.DataArray([[[1.0]], [[2.0]]], coords, name="tp")
    >>> dict(to_weatherbench(rain).sizes)
    {'valid_time': 2, 'latitude': 1, 'longitude': 1}

    With WeatherBench-X installed; `rename_dimensions=None`, or it looks for older names:

    >>> loader = PredictionsFromXarray(
    ...     ds=to_weatherbench(fc), rename_dimensions=None
    ... )  # doctest: +SKIP
    >>> targets = TargetsFromXarray(
    ...     ds=to_weatherbench(obs), rename_dimensions=None
    ... )  # doctest: +SKIP
    """
    ds = data if isinstance(data, xr.Dataset) else data.to_dataset(name=data.name or "forecast")
    if "lead" in {*ds.dims, *ds.coords}:
        ds = as_forecast(ds)
        if ds["lead"].dtype.kind != "m":
            hint = "fc.earthformer.to_climpred(), for climpred, which knows months"
            raise mismatch("leads as durations", "leads in months", hint)
        ds = ds.drop_vars("valid_time")  # WeatherBench-X adds leads to inits by itself
        for dim in ("lead", "init"):
            ds = ds if dim in ds.dims else ds.expand_dims(dim)
        ds = ds.assign_coords(lead=ds["lead"].astype("m8[ns]"), init=ds["init"].astype("M8[ns]"))
        ds = ds.rename({dim: name for dim, name in NAMES.items() if dim in ds.dims})
    else:
        time = find_time(ds)
        ds = ds.rename({time: "valid_time"}) if time != "valid_time" else ds
    return _with_whole_names(ds)


def _with_whole_names(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with the names latitude and longitude, where its grid is of these."""
    try:
        y_x = find_grid(ds)
    except ValueError:  # an index
        return ds
    names = dict(zip(y_x, ("latitude", "longitude"), strict=True))
    if not all(dim in ds.coords and is_degrees(ds[dim]) for dim in y_x):
        return ds
    return ds.rename({own: name for own, name in names.items() if own != name})
