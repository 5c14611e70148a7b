"""Forecasts and observations in the form that climpred's `HindcastEnsemble` takes.

climpred itself is not imported: building one of its ensembles reads a table from the network.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_time
from ..fields.quantities import check_unpacked
from ..fields.time_axis import check_time

# Seconds of the units that climpred knows; a lead is in the longest that all are whole in.
UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def to_climpred(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return a forecast, or the observations to compare with it, as climpred wants them.

    climpred adds leads to inits by itself, and months from the first of the month on: stamps of
    monthly data become those, of forecasts and observations alike. Pass both through here.

    Parameters
    ----------
    data : DataArray or Dataset
        A forecast ([init,] lead, ...), or observations with a time axis.

    Returns
    -------
    Dataset
        A forecast has the dims init, lead (whole numbers, with the attribute `units`), member if it
        has members, then its own; no `valid_time`, which climpred makes. Observations have the dim
        time. A DataArray becomes the variable of its name. Lazy if `data` is, with one chunk along
        init, member and time, as climpred needs it.

    Raises
    ------
    ValueError
        Neither a forecast nor observations; leads that are not whole seconds.

    Examples
    --------
    >>> months = np.array(["2000-01-15", "2000-02-15"], "M8[ns]")
    >>> coords = {"init": months[0], "lead": [1], "valid_time": ("lead", months[1:])}
    >>> ds = to_climpred(xr.DataArray([0.5], coords, "lead", name="nino3.4"))
    >>> ds["nino3.4"].dims, ds["init"].values.astype("M8[D]"), ds["lead"].attrs["units"]
    (('init', 'lead'), array(['2000-01-01'], dtype='datetime64[D]'), 'months')

    With climpred installed:

    >>> hindcast = HindcastEnsemble(to_climpred(fc))  # doctest: +SKIP
    >>> hindcast = hindcast.add_observations(to_climpred(obs))  # doctest: +SKIP
    """
    ds = data if isinstance(data, xr.Dataset) else data.to_dataset(name=data.name or "forecast")
    for da in ds.values():
        check_unpacked(da)
    if "lead" not in ds.dims:
        return _observations(ds)
    if "init" not in ds.coords:
        hint = "fc.assign_coords(init=...), or da.earthformer.forecast(...)"
        raise mismatch("a forecast with the coordinate init", f"{list(ds.coords)}", hint)
    ds = ds.drop_vars("valid_time", errors="ignore")
    if "init" not in ds.dims:
        ds = ds.expand_dims("init")
    lead = ds["lead"]
    if lead.dtype.kind != "m":
        ds = ds.assign_coords(init=_first_of_month(ds["init"]))
        numbers, units = lead.values, ["months"]
    else:
        seconds = lead.values / np.timedelta64(1, "s")
        units = [unit for unit, size in UNITS.items() if not (seconds % size).any()]
        if not units:
            hint = 'fc.assign_coords(lead=fc["lead"].dt.round("s"))'
            raise mismatch("leads of whole seconds", f"{seconds} s", hint)
        numbers = (seconds / UNITS[units[0]]).astype(int)
    ds = ds.assign_coords(lead=("lead", numbers, {**lead.attrs, "units": units[0]}))
    ds = ds.transpose("init", "lead", *(["member"] if "member" in ds.dims else []), ...)
    return _in_one_chunk(ds, "init", "member")


def _observations(ds: xr.Dataset) -> xr.Dataset:
    """Return a record with the dim time, in months by their first."""
    dim = find_time(ds)
    ds = ds.rename({dim: "time"}) if dim != "time" else ds
    monthly = isinstance(check_time(ds["time"]), str)
    ds = ds.assign_coords(time=_first_of_month(ds["time"])) if monthly else ds
    return _in_one_chunk(ds, "time")


def _in_one_chunk(ds: xr.Dataset, *whole: str) -> xr.Dataset:
    """Return lazy data with one chunk along some dims; what else is chunked is cut anew to fit.

    climpred computes along these dims, and refuses several chunks there: a hindcast's store has one
    for each init.
    """
    chunks = {dim: -1 if dim in whole else "auto" for dim in ds.chunksizes}
    return ds.chunk(chunks) if chunks else ds


def _first_of_month(time: xr.DataArray) -> xr.DataArray:
    """Return stamps at the start of their months, in their own calendar."""
    if time.dtype.kind == "M":
        first = time.values.astype("M8[M]").astype(time.dtype)
    else:
        midnight = {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
        first = np.array([stamp.replace(**midnight) for stamp in time.values], object)
    return time.copy(data=first)
