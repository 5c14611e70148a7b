"""What a variable's attributes declare of its numbers, where nothing has applied them yet.

xarray moves `_FillValue`, `missing_value`, `scale_factor` and `add_offset` to the encoding when it
decodes a file. Those that stand in the attributes have not been applied: somebody opened the file
with mask_and_scale=False, or wrote them by hand. `valid_min`, `valid_max` and `valid_range` are
never applied by xarray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ...errors import mismatch
from .call import Call

FILLS = "_FillValue", "missing_value"
VALID = "valid_min", "valid_max", "valid_range"


@dataclass(frozen=True)
class Declared:
    """Numbers that stand for "nothing was seen", and the limits of those that don't."""

    fills: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    # limits of whole numbers next to others: of the numbers, or of a file's codes for them?
    in_doubt: bool = False
    names: tuple[str, ...] = ()  # the attributes that hold limits


def check_unpacked(da: xr.DataArray, call: Call) -> None:
    """Raise ValueError for codes of packed data, which are whole numbers without a unit.

    >>> da = xr.DataArray([120], dims="x", name="dbz", attrs={"scale_factor": 0.5})
    >>> check_unpacked(da, Call("da"))
    Traceback (most recent call last):
    ValueError: expected numbers as they are
       found int64 codes of dbz, packed by scale_factor 0.5
         try xef.open_radar(xr.decode_cf(da.to_dataset(name="dbz"))["dbz"])
    """
    packing = {"scale_factor": 1.0, "add_offset": 0.0}
    given = {key: _numbers(da, key) for key in packing}
    given = {key: found for key, found in given.items() if found not in ((), (packing[key],))}
    if da.dtype.kind not in "iu" or not given:
        return
    words = " and ".join(f"{key} {found[0]:g}" for key, found in given.items())
    data = f"xr.decode_cf({call.opened})"
    if call.data == "da":
        data = f'xr.decode_cf(da.to_dataset(name="{da.name}"))["{da.name}"]'
    raise mismatch(
        "numbers as they are",
        f"{da.dtype} codes of {da.name}, packed by {words}",
        replace(call, data=data).again(),
    )


def declared(da: xr.DataArray) -> Declared:
    """Return what the attributes declare, in the units of the data.

    >>> declared(xr.DataArray(255.0, attrs={"_FillValue": 255.0, "valid_max": 200.0}))
    Declared(fills=(255.0,), low=-inf, high=200.0, in_doubt=False, names=('valid_max',))
    """
    fills = tuple(one for key in FILLS for one in _numbers(da, key) if not np.isnan(one))
    names = tuple(key for key in VALID if _numbers(da, key))
    low, high = -np.inf, np.inf
    for key in names:
        found = _numbers(da, key)
        low = found[0] if key != "valid_max" else low
        high = found[-1] if key != "valid_min" else high
    whole = bool(names) and all(np.asarray(da.attrs[key]).dtype.kind in "iu" for key in names)
    in_doubt = False
    if whole and da.dtype.kind == "f":
        # limits of the type of a file's codes are limits of these, which xarray leaves as they are
        packing = {"scale_factor", "add_offset"} & set(da.encoding)
        scale = float(np.ravel(da.encoding.get("scale_factor", 1.0))[0])
        offset = float(np.ravel(da.encoding.get("add_offset", 0.0))[0])
        low, high = sorted((low * scale + offset, high * scale + offset))
        in_doubt = not packing
    return Declared(tuple(dict.fromkeys(fills)), low, high, in_doubt, names)


def _numbers(da: xr.DataArray, key: str) -> tuple[float, ...]:
    """Return an attribute as numbers; () for none, and for text that is none."""
    try:
        return tuple(float(one) for one in np.ravel(da.attrs[key]))
    except (KeyError, TypeError, ValueError):
        return ()
