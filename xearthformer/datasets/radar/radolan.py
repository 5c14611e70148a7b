"""RADOLAN, DWD's binary composites of Germany: read by wradlib's engine for xarray."""

from __future__ import annotations

import bz2
import gzip
import os
import re

import numpy as np
import xarray as xr

from ...errors import ignored, mismatch

# Product, day, hour and minute, station (10000: a composite), month and year, length in bytes.
HEADER = re.compile(rb"([A-Z%][A-Z0-9])\d{6}\d{5}\d{4}BY\s*(\d+)")
INTERVAL = re.compile(rb"INT\s*(\d+)(?:U(\d))?")  # in minutes; of unit 1, in days
AMOUNTS = "rainfall_amount"
NAMES = {
    "rainfall_rate": "rain_rate",
    AMOUNTS: "rain_amount",
    "equivalent_reflectivity_factor": "dbz",
}


def open_radolan(path: str) -> xr.Dataset:
    """Open a RADOLAN composite lazily: rain rate, amount or reflectivity (time, y, x).

    wradlib makes rates of amounts over five minutes or an hour, and leaves longer ones.
    """
    header = _header(path)
    try:
        import wradlib  # noqa: F401  (registers the engine)
    except ImportError as error:
        raise ImportError(
            f'{path} is RADOLAN, which needs wradlib: pip install "xearthformer[radar]"'
        ) from error
    # of codes for clutter, no data and both, which are all missing
    with ignored(".*multiple fill values.*"):
        ds = xr.open_dataset(path, engine="radolan", chunks={}, decode_coords="all")
    if "prediction_time" in ds and bool((ds["prediction_time"] != ds["time"]).any()):
        ahead = f"{ds['time'].dt.strftime('%H:%M').item()} for a later time: {path}"
        raise mismatch(
            "what a radar has seen", f"a forecast from {ahead}", "a file of RY, YW or RW"
        )
    product = str(next(iter(ds.data_vars)))
    da = ds[product]
    name = NAMES.get(str(da.attrs.get("standard_name")), product)
    attrs = {**da.attrs, "long_name": f"RADOLAN {product}", "units": da.attrs.get("unit", "")}
    attrs.pop("unit", None)
    interval = INTERVAL.search(header)
    if name == "rain_rate" and interval and not interval[2]:
        attrs["history"] = f"wradlib: amounts of {int(interval[1])} min made rates"
    ds = ds.drop_vars([product, "prediction_time"], errors="ignore")
    ds[name] = da.expand_dims("time").assign_attrs(attrs)
    if da.attrs.get("standard_name") == AMOUNTS and interval:
        length = np.timedelta64(int(interval[1]), "D" if interval[2] == b"1" else "m")
        ends = ds["time"].values
        ds = ds.assign_coords(time_bnds=(("time", "bnds"), np.stack([ends - length, ends], -1)))
    return ds


def _header(path: str) -> bytes:
    """Return the header of a file; its length must be what the header says."""
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(os.path.splitext(path)[1], open)
    with opener(path, "rb") as file:  # type: ignore[operator]
        content = file.read()
    header = content.split(b"\x03", 1)[0]
    said = HEADER.match(header)
    if said is None or len(content) < int(said[2]):
        expected = f"{int(said[2]) if said else 'a header and'} bytes of RADOLAN"
        raise mismatch(expected, f"{len(content)}: {path}", "another copy of the file")
    return header
