"""The labels of a radar composite: a time for each frame, what amounts fell in, the projection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from ...errors import mismatch
from ...fields.axes import find_time
from ...fields.time_bounds import bounds_of
from .call import Call
from .rain import find_rain

STAMPS = "time", "valid_time"  # a single time of a file, in the order of preference
START = "start_time"  # BoM's Rainfields: of what fell until valid_time
MAPPING = {"grid_mapping_name", "crs_wkt", "spatial_ref"}  # attributes that a projection has


def with_labels(ds: xr.Dataset, call: Call) -> xr.Dataset:
    """Return the variable of rain alone, on dims time, y and x, with bounds and projection.

    A file of one frame may have its time as a scalar, and BoM's has the bounds as two variables.
    The dim is called time even if the file says valid_time, which forecasts use for another thing.
    """
    name, _ = find_rain(ds, call)
    out = _along_time(ds, name, call)
    bounds = bounds_of(ds["time"], ds) if "time" in ds and ds["time"].ndim else None
    starts = ds.variables.get(START)
    if bounds is None and starts is not None and starts.dtype.kind == "M":
        begun = np.broadcast_to(np.ravel(starts.values), out["time"].shape)
        bounds = np.stack([begun, out["time"].values], axis=-1)
    # the rain rate has no bounds that its time could name; `bounds_of` finds them by their own name
    out["time"].attrs.pop("bounds", None)
    out["time"].encoding.pop("bounds", None)
    if bounds is not None and bounds.shape == (out.sizes["time"], 2):
        out = out.assign_coords(time_bnds=(("time", "bnds"), bounds))
    return _with_projection(out, ds, name)


def time_of(ds: xr.Dataset, call: Call) -> str:
    """Return what the data calls the dim of time of its rain."""
    return _time_of(ds[find_rain(ds, call)[0]]) or "time"


def _along_time(ds: xr.Dataset, name: str, call: Call) -> xr.Dataset:
    """Return the variable with a dim time, and a copy of its labels."""
    out = ds[[name]].drop_vars(START, errors="ignore")
    dim = _time_of(out[name])
    if dim is None:
        return _with_stamp(out, ds, name, call)
    if dim in ds.variables and ds.sizes[dim]:
        _check_stamps(ds[dim], call)
    if dim != "time":
        # a dim such as t may have the times next to it, as a coordinate
        names = [one for one in STAMPS if one in out.coords and out[one].dims == (dim,)]
        if names and names[0] != dim:
            out, dim = out.swap_dims({dim: names[0]}), names[0]
        further = [one for one in STAMPS if one in out.coords and one != dim]
        out = out.drop_vars(further).rename({} if dim == "time" else {dim: "time"})
    return out.assign_coords(time=out["time"].copy())


def _check_stamps(time: xr.DataArray, call: Call) -> None:
    """Raise ValueError for times that are text."""
    text = time.dtype.kind in "US" or isinstance(time.values.ravel()[0], str | bytes)
    if not text:
        return
    stamps = f'pd.to_datetime({call.opened}["{time.name}"].values)'
    parsed = f"{call.opened}.assign_coords({time.name}={stamps})"
    raise mismatch(
        "times",
        f"text, such as {str(time.values.ravel()[0])!r}, along {time.name}",
        f"{replace(call, data=parsed).again()}, or with format= if pandas can't read it",
    )


def _time_of(da: xr.DataArray) -> str | None:
    """Return which dim is time; None for a single frame."""
    if "time" in da.dims and "time" in da.coords:  # the usual one needs no search
        return "time"
    try:
        return find_time(da)
    except ValueError:
        return None


def _with_stamp(out: xr.Dataset, ds: xr.Dataset, name: str, call: Call) -> xr.Dataset:
    """Return the variable of a single frame along a dim of its one time."""
    stamp = next((s for s in STAMPS if s in ds.variables and ds[s].size == 1), None)
    if stamp is None or ds[stamp].dtype.kind not in "MO":
        raise mismatch(
            "a time, of one frame or along a dim",
            f"{name}({', '.join(map(str, ds[name].dims))}) without",
            f'xef.open_radar({call.opened}.expand_dims(time=[np.datetime64("2020-06-01T12:00")]))'
            ", with its own time",
        )
    time = xr.Variable("time", np.ravel(ds[stamp].values), ds[stamp].attrs)
    out = out.drop_vars([one for one in STAMPS if one in out.variables])
    out[name] = out[name].expand_dims("time")
    return out.assign_coords(time=time)


def _with_projection(out: xr.Dataset, ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return the variable with its projection as a coordinate that the attribute names."""
    da = out[name]
    mapping = da.attrs.get("grid_mapping") or da.encoding.get("grid_mapping")
    if mapping not in ds.variables:
        projections = [n for n, v in ds.variables.items() if v.ndim == 0 and MAPPING & set(v.attrs)]
        mapping = str(projections[0]) if len(projections) == 1 else None
    if mapping is None:
        return out
    out = out.assign_coords({mapping: ds[mapping].variable})
    out[name].attrs["grid_mapping"] = mapping  # attributes survive arithmetic, encodings don't
    out[name].encoding.pop("grid_mapping", None)
    return out
