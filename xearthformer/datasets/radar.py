"""Radar: composites of rain as one quantity, a rain rate in mm/h every five minutes."""

import os

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_axes
from ..fields.time_axis import check_time

STEP = pd.Timedelta("5min")
RAIN = {"standard_name": "rainfall_rate", "long_name": "radar rain rate", "units": "mm h-1"}
REFLECTIVITY = "equivalent_reflectivity_factor"
ZR = {"zr_a": 223.0, "zr_b": 1.53}  # Z = a R**b where the data doesn't say its own a and b


def rain_from_dbz(dbz: xr.DataArray) -> xr.DataArray:
    """Reflectivity in dBZ as a rain rate in mm/h, by Z = a R**b.

    The attributes `zr_a` and `zr_b` say which a and b, else they are those of FMI, 223 and 1.53.

    Examples
    --------
    >>> dbz = xr.DataArray([23.48304863], dims="x")  # 10 log10 223
    >>> rain_from_dbz(dbz).round(6).item()
    1.0
    """
    a, b = (float(dbz.attrs.get(name, usual)) for name, usual in ZR.items())
    kept = {"grid_mapping": dbz.attrs["grid_mapping"]} if "grid_mapping" in dbz.attrs else {}
    rain = ((10 ** (dbz / 10) / a) ** (1 / b)).astype(dbz.dtype).rename("rain_rate")
    return rain.assign_attrs({**RAIN, **kept, "zr_a": a, "zr_b": b})


def open_radar(data: "str | os.PathLike[str] | xr.Dataset") -> xr.DataArray:
    """Open a radar composite as a rain rate every five minutes.

    Parameters
    ----------
    data : path or Dataset
        A file that xarray opens, or what came out of one. It holds a rainfall rate, or a
        reflectivity in dBZ, which becomes one by `rain_from_dbz`.

    Returns
    -------
    DataArray
        Rain rate in mm/h, with the dims, coordinates and missing values of the data; lazy when it
        is opened from a file. Frames that come more often than every five minutes are averaged
        over the five minutes that end at each new time; five minutes that lack a frame, at the
        ends of the record, are left out. What was done stands in `history`.

    Raises
    ------
    ValueError
        Neither or both quantities; a step that isn't regular, or is longer than five minutes.

    Examples
    --------
    >>> time = xr.date_range("2019-06-10 00:02", periods=5, freq="2min")
    >>> rain = xr.DataArray([1.0, 3.0, 0.0, 0.0, 6.0], {"time": time}, attrs=RAIN, name="rain")
    >>> open_radar(rain.expand_dims(y=1, x=1, axis=(1, 2)).to_dataset()).values.ravel()
    array([2., 2.])
    """
    if not isinstance(data, xr.Dataset):
        data = xr.open_dataset(data, chunks={}, decode_coords="all")
    da, said = _rain(data)
    time = str(find_axes(da).time)
    step = check_time(da[time])
    if step == "month" or step > STEP:
        raise mismatch(
            "a radar frame every five minutes or more often",
            f"one every {step if step == 'month' else pd.Timedelta(step)}",
            "a record with a shorter step",
        )
    if step < STEP:
        da = _every_five_minutes(da, time, pd.Timedelta(step))
        said.append(f"{pd.Timedelta(step).seconds / 60:g}-minute frames averaged over 5 minutes")
    if not said:
        return da
    before = str(data.attrs.get("history", ""))
    return da.assign_attrs(history=f"{before}\nxearthformer: {'; '.join(said)}".strip())


def _rain(ds: xr.Dataset) -> tuple[xr.DataArray, list[str]]:
    """The rain rate of a Dataset in mm/h, and what was done to get it."""
    named = {name: da.attrs.get("standard_name") for name, da in ds.data_vars.items()}
    found = [name for name, said in named.items() if said in (RAIN["standard_name"], REFLECTIVITY)]
    if len(found) != 1:
        raise mismatch(
            f"one variable with standard_name {RAIN['standard_name']!r} or {REFLECTIVITY!r}",
            f"{len(found)} among {', '.join(map(str, named)) or 'no variables'}",
            'ds["..."].attrs["standard_name"] = "rainfall_rate", or ds[["..."]] with one of them',
        )
    da = ds[found[0]]
    if named[found[0]] == REFLECTIVITY:
        da = rain_from_dbz(da)
        a, b = da.attrs["zr_a"], da.attrs["zr_b"]
        return da, [f"rain rate from reflectivity by Z = {a:g} R**{b:g}"]
    return da, []


def _every_five_minutes(da: xr.DataArray, time: str, step: pd.Timedelta) -> xr.DataArray:
    """Means over the five minutes that end at each new time, where no frame of them lacks."""
    means = da.resample({time: STEP}, closed="right", label="right").mean(
        skipna=False, keep_attrs=True
    )
    first, last = da.indexes[time][[0, -1]]
    ends = means.indexes[time]
    whole = (ends - STEP >= first - step) & (ends < last + step)
    means = means.isel({time: np.flatnonzero(whole)}).transpose(*da.dims)
    means[time].attrs.update(da[time].attrs)
    return means
