"""Radar composites as one quantity: a rain rate in mm/h every five minutes."""

import os

import numpy as np
import pandas as pd
import xarray as xr

from ...errors import mismatch
from ...fields.axes import find_axes
from ...fields.cf import add_history
from ...fields.time_axis import check_time
from ..local import open_file

STEP = pd.Timedelta("5min")
RAIN = {"standard_name": "rainfall_rate", "long_name": "radar rain rate", "units": "mm h-1"}
REFLECTIVITY = "equivalent_reflectivity_factor"
ZR = {"zr_a": 223.0, "zr_b": 1.53}  # Z = a R**b where the data doesn't say its own a and b


def rain_from_dbz(dbz: xr.DataArray) -> xr.DataArray:
    """Convert reflectivity in dBZ to a rain rate in mm/h, by Z = a R**b.

    The attributes `zr_a` and `zr_b` give a and b; without them they are FMI's, 223 and 1.53.

    Examples
    --------
    >>> dbz = xr.DataArray([23.48304863], dims="x")  # 10 log10 223
    >>> rain_from_dbz(dbz).round(6).item()
    1.0
    """
    a, b = (float(dbz.attrs.get(name, usual)) for name, usual in ZR.items())
    grid = {key: dbz.attrs[key] for key in ("grid_mapping",) if key in dbz.attrs}
    rain = ((10 ** (dbz / 10) / a) ** (1 / b)).astype(dbz.dtype).rename("rain_rate")
    return rain.assign_attrs({**RAIN, **grid, "zr_a": a, "zr_b": b})


def open_radar(data: "str | os.PathLike[str] | xr.Dataset") -> xr.DataArray:
    """Open a radar composite as a rain rate every five minutes.

    Parameters
    ----------
    data : path or Dataset
        A file that xarray opens, or its Dataset. It holds a rainfall rate, or a reflectivity in
        dBZ, which `rain_from_dbz` converts.

    Returns
    -------
    DataArray
        Rain rate in mm/h, with the dims, coordinates and missing values of the data; lazy if
        opened from a file. Frames more frequent than every five minutes are averaged over the
        five minutes that end at each new time; five minutes that lack a frame, at the ends of the
        record, are left out. The attribute `history` names each of these changes.

    Raises
    ------
    ValueError
        Neither or both quantities; times that are not regular, or more than five minutes apart.

    Examples
    --------
    >>> time = xr.date_range("2019-06-10 00:02", periods=5, freq="2min")
    >>> rain = xr.DataArray([1.0, 3.0, 0.0, 0.0, 6.0], {"time": time}, attrs=RAIN, name="rain")
    >>> open_radar(rain.expand_dims(y=1, x=1, axis=(1, 2)).to_dataset()).values.ravel()
    array([2., 2.])
    """
    if not isinstance(data, xr.Dataset):
        data = open_file(data)
    da, changes = _rain(data)
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
        changes.append(f"{pd.Timedelta(step).seconds / 60:g}-minute frames averaged over 5 minutes")
    if not changes:
        return da
    # the file's history goes on with the variable, its other attributes don't
    attrs = add_history(data.attrs, f"xearthformer: {'; '.join(changes)}")
    return da.assign_attrs(history=attrs["history"])


def _rain(ds: xr.Dataset) -> tuple[xr.DataArray, list[str]]:
    """Return the rain rate of a Dataset in mm/h, and the changes to get it, for `history`."""
    names = {name: da.attrs.get("standard_name") for name, da in ds.data_vars.items()}
    rainy = [name for name in names if names[name] in (RAIN["standard_name"], REFLECTIVITY)]
    if len(rainy) != 1:
        raise mismatch(
            f"one variable with standard_name {RAIN['standard_name']!r} or {REFLECTIVITY!r}",
            f"{len(rainy)} among {', '.join(map(str, names)) or 'no variables'}",
            'ds["..."].attrs["standard_name"] = "rainfall_rate", or ds[["..."]] with one of them',
        )
    if names[rainy[0]] != REFLECTIVITY:
        return ds[rainy[0]], []
    da = rain_from_dbz(ds[rainy[0]])
    a, b = da.attrs["zr_a"], da.attrs["zr_b"]
    return da, [f"rain rate from reflectivity by Z = {a:g} R**{b:g}"]


def _every_five_minutes(da: xr.DataArray, time: str, step: pd.Timedelta) -> xr.DataArray:
    """Average over the five minutes that end at each new time, where all their frames exist."""
    means = da.resample({time: STEP}, closed="right", label="right").mean(
        skipna=False, keep_attrs=True
    )
    # resample also gives the first and the last five minutes, of which the record has a part only
    first, last = da.indexes[time][[0, -1]]
    ends = means.indexes[time]
    whole = (ends - STEP >= first - step) & (ends < last + step)
    means = means.isel({time: np.flatnonzero(whole)}).transpose(*da.dims)
    means[time].attrs.update(da[time].attrs)
    return means
