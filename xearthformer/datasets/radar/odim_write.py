"""Rain written as ODIM HDF5 composites, which `odim` reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends.locks import HDF5_LOCK

from ... import __version__
from ...aside import written_aside
from ...errors import mismatch
from ...fields.axes import find_grid, find_time
from ...fields.quantities import KNOWN, KNOWN_ATTRS, check_quantity
from ...fields.units import convert_units, to_metres
from .frames import RATE
from .geotiff import MADE_WITH, check_map
from .projection import crs_variable

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

GAIN = 0.01  # mm h-1: a hundredth is finer than any radar, and 16 bits reach 655 mm h-1
NODATA = 65535
KNOWN_GAIN = 0.004  # 0 to 1 in bytes


def write_odim(rain: xr.DataArray, path: str | os.PathLike[str]) -> str:
    """Write rain rates as an ODIM HDF5 composite: one file, a dataset for each time or lead.

    Parameters
    ----------
    rain : DataArray
        Rain rate with dims y and x, and time or lead: a record, or the forecast of one init
        (`fc.isel(init=0)`, and one member of an ensemble). It has a map projection (`crs`), or
        latitude and longitude.
    path : path
        The file. What is there is replaced, once the new file is whole.

    Returns
    -------
    str
        The path.

    Raises
    ------
    ValueError
        Another quantity, other dims, no projection, or pixels of several sizes.

    Notes
    -----
    Quantity RATE, 16 bits: hundredths of mm h-1 (coarser if it rains above 655 mm h-1), 0 for no
    rain, 65535 for NaN. A rate is of the step that ends at its time. The nominal time is the init,
    or the last time of a record. The coordinate `known` of a nowcast becomes the quality index
    QIND. Lazy data is computed.

    Examples
    --------
    >>> import xearthformer as xef
    >>> fc = rain.earthformer.forecast("nowcast-radar", init=-1)  # doctest: +SKIP
    >>> write_odim(fc.isel(init=0), "nowcast.h5")  # doctest: +SKIP
    'nowcast.h5'
    """
    import h5py

    path = os.fspath(path)
    check_quantity(rain, RATE["standard_name"], difference=False)
    frames, dim = _frames(rain, path)
    where = _where(frames, path)
    frames = convert_units(frames, RATE["units"], difference=False).compute()
    times, nominal = _times(frames, dim)
    with written_aside(path) as part, HDF5_LOCK, h5py.File(part, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_4")
        what = {"object": "COMP", "version": "H5rad 2.4", "source": "CMT:xearthformer"}
        _put(file, "what", {**what, **_date("", nominal)})
        _put(file, "where", where)
        law = {key: float(rain.attrs[key]) for key in ("zr_a", "zr_b") if key in rain.attrs}
        made = {MADE_WITH: str(rain.attrs[MADE_WITH])} if MADE_WITH in rain.attrs else {}
        how = {"software": "xearthformer", "sw_version": __version__}
        _put(file, "how", {**how, **law, **made})
        for i, (start, end) in enumerate(times):
            _put_frame(file, f"dataset{i + 1}", frames.isel({dim: i}), start, end)
    return path


def _frames(rain: xr.DataArray, path: str) -> tuple[xr.DataArray, str]:
    """Return rain as (time or lead, y, x), north and west first, and the name of its first dim."""
    y, x = find_grid(rain)
    others = [str(dim) for dim in rain.dims if dim not in (y, x)]
    dim = next((d for d in others if d == "lead"), None)
    if dim is None:
        dim = find_time(rain) if others else "time"
    further = {d: 0 for d in others if d != dim}
    longer = [f"{d} ({rain.sizes[d]})" for d in further if rain.sizes[d] > 1]
    if longer:
        choice = ", ".join(f"{d}=0" for d in further)
        raise mismatch(
            f"a record, or the forecast of one init and member: {dim}, {y}, {x}",
            f"also {', '.join(longer)}",
            f"write_odim(rain.isel({choice}), {path!r})",
        )
    rain = rain.isel(further)
    if dim not in rain.dims:
        rain = rain.expand_dims(dim)
    for axis, ascending in ((y, False), (x, True)):
        if axis in rain.coords:
            rain = rain.sortby(axis, ascending=ascending)
    return rain.transpose(dim, y, x), dim


def _where(rain: xr.DataArray, path: str) -> dict[str, str | float | int]:
    """Return ODIM's group /where: projection, corners and pixels."""
    import pyproj

    hint = f'write_odim(rain.rio.write_crs("EPSG:..."), {path!r}), by rioxarray'
    crs, (y, x) = check_map(rain, hint, "rain"), find_grid(rain)
    (top, height), (left, width) = (_edge(rain[axis]) for axis in (y, x))
    rows, columns = rain.sizes[y], rain.sizes[x]
    right, bottom = left + columns * width, top + rows * height  # height is negative
    proj = pyproj.Proj(crs)
    corners = {"LL": (left, bottom), "UL": (left, top), "UR": (right, top), "LR": (right, bottom)}
    where: dict[str, str | float | int] = {
        "projdef": str(crs_variable(crs).attrs["proj4"]).replace(" +type=crs", ""),
        "xsize": columns,
        "ysize": rows,
        "xscale": width,
        "yscale": -height,
    }
    for name, (at_x, at_y) in corners.items():
        lon, lat = (at_x, at_y) if crs.is_geographic else proj(at_x, at_y, inverse=True)
        where |= {f"{name}_lon": float(lon), f"{name}_lat": float(lat)}
    return where


def _edge(axis: xr.DataArray) -> tuple[float, float]:
    """Return the outer edge of the first pixel and the step, in metres or degrees."""
    factor = to_metres(str(axis.attrs.get("units", ""))) or 1.0
    values = axis.values.astype(float) * factor
    step = np.diff(values).mean()
    return float(values[0] - step / 2), float(step)


def _times(
    rain: xr.DataArray, dim: str
) -> tuple[list[tuple[pd.Timestamp, pd.Timestamp]], pd.Timestamp]:
    """Return the interval of each frame, and the nominal time: init, or the last of a record."""
    ends = rain["valid_time"] if "valid_time" in rain.coords else rain[dim]
    stamps = [pd.Timestamp(value) for value in np.atleast_1d(ends.values)]
    first = [pd.Timestamp(rain["init"].item())] if dim == "lead" and "init" in rain.coords else []
    known = [*first, *stamps]
    step = known[1] - known[0] if len(known) > 1 else pd.Timedelta(0)
    starts = [*first, *stamps][: len(stamps)] if first else [stamps[0] - step, *stamps[:-1]]
    return list(zip(starts, stamps, strict=True)), first[0] if first else stamps[-1]


def _put_frame(
    file: h5py.File, name: str, frame: xr.DataArray, start: pd.Timestamp, end: pd.Timestamp
) -> None:
    """Write one frame as /datasetN/data1, packed, and what is known of a nowcast as its quality."""
    rain = frame.values
    most = float(np.nanmax(rain, initial=0.0))
    _put(file, f"{name}/what", {"product": "SURF", **_date("start", start), **_date("end", end)})
    _put_codes(file, f"{name}/data1", "RATE", rain, max(GAIN, most / (NODATA - 1)), np.uint16)
    if KNOWN in frame.coords:
        quality = f"{name}/data1/quality1"
        _put_codes(file, quality, "QIND", frame[KNOWN].values, KNOWN_GAIN, np.uint8)
        _put(file, f"{quality}/how", {"task": KNOWN_ATTRS["long_name"]})


def _put_codes(
    file: h5py.File, group: str, quantity: str, values: np.ndarray, gain: float, dtype: type
) -> None:
    """Write values as whole multiples of `gain`: 0 for none, the highest code for NaN."""
    nodata = np.iinfo(dtype).max
    seen = np.isfinite(values)
    codes = np.where(seen, np.rint(np.where(seen, values, 0.0).clip(0) / gain), nodata)
    packing = {"gain": gain, "offset": 0.0, "nodata": float(nodata), "undetect": 0.0}
    _put(file, f"{group}/what", {"quantity": quantity, **packing})
    data = file[group].create_dataset("data", data=codes.astype(dtype), compression="gzip")
    data.attrs["CLASS"], data.attrs["IMAGE_VERSION"] = np.bytes_("IMAGE"), np.bytes_("1.2")


def _date(which: str, time: pd.Timestamp) -> dict[str, str]:
    return {f"{which}date": f"{time:%Y%m%d}", f"{which}time": f"{time:%H%M%S}"}


def _put(file: h5py.File, group: str, attrs: Mapping[str, str | float | int]) -> None:
    """Write attributes of a group, text as ODIM wants it: ASCII of a fixed length."""
    place = file.require_group(group)
    for key, value in attrs.items():
        place.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
