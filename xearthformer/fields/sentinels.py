"""Values that no sea has: fill values that nothing declares, and numbers that stand for ice.

HadISST has -1000 under ice; files without `_FillValue` have -999, -32768 or 1e20 on land. As
temperatures they would turn into anomalies, and into forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ..errors import mismatch
from .quantities import is_difference, names_of
from .time_axis import str_time
from .units import convert_units, is_temperature

SST = "sea_surface_temperature"
LOWEST, HIGHEST = -5.0, 45.0  # degC
ICE, FREEZING = -1000.0, -1.8  # what HadISST has under ice, and the temperature there, degC


@dataclass(frozen=True)
class Range:
    """What values may be, in units of the data, and the dims that they lie along."""

    dims: tuple[str, ...]
    units: str
    low: float
    high: float


def check_sst(da: xr.DataArray) -> xr.DataArray:
    """Return absolute sea surface temperature as it is; values that it cannot have are an error.

    The error names the first place, the count and the line that mends it: at once for data in
    memory, else when the values are computed. Other quantities pass unseen.

    >>> sst = xr.DataArray([20.0, -1000.0], dims="x", name="sst", attrs={"units": "degC"})
    >>> check_sst(sst)
    Traceback (most recent call last):
    ValueError: expected sea surface temperature from -5 to 45 degC
       found -1000 at x 1, and in all 1 of 2 values beyond
         try da.where(~(da < -5), -1.8), for ice under which the sea is at its freezing point
    >>> check_sst(sst.where(~(sst < -5), -1.8)).values
    array([20. , -1.8])
    """
    units = str(da.attrs.get("units", "")).strip()
    # without units, of both scales: only fill values are beyond
    low, high = (_in(units, value) for value in (LOWEST, HIGHEST)) if units else (LOWEST, 320.0)
    if not _is_sst(da) or is_difference(da) or low is None or high is None:
        return da
    labels = {str(dim): da[dim].values for dim in da.dims if dim in da.coords}
    allowed = Range(tuple(map(str, da.dims)), units, low, high)
    if da.chunks is None:
        _check(da.values, labels, allowed)
        return da
    import dask.array  # heavy, and `xearthformer --help` needs none of it

    checked = dask.array.map_blocks(
        _check_block,
        da.data,
        dask.delayed(labels, traverse=False),  # one node of the graph, for all blocks
        allowed,
        dtype=da.dtype,
        meta=da.data._meta,
    )
    return da.copy(data=checked)


def _is_sst(da: xr.DataArray) -> bool:
    """Return whether data is sea surface temperature, by its standard_name or else its name."""
    stated = da.attrs.get("standard_name")
    return (stated or str(da.name).lower()) in names_of(SST)


def _in(units: str, celsius: float) -> float | None:
    """Return a temperature in other units, rounded as people write it; None for no temperature."""
    if not is_temperature(units):
        return None
    value = xr.DataArray(celsius, attrs={"units": "degC"})
    return round(float(convert_units(value, units, difference=False)), 2)


def _check_block(
    values: NDArray,
    labels: dict[str, NDArray],
    allowed: Range,
    block_info: dict | None = None,
) -> NDArray:
    """Check one block of dask's, which lies where `block_info` says."""
    spans = block_info[0]["array-location"] if block_info else [(0, n) for n in values.shape]
    own = {
        dim: labels[dim][start:stop]
        for dim, (start, stop) in zip(allowed.dims, spans, strict=True)
        if dim in labels
    }
    _check(values, own, allowed)
    return values


def _check(values: NDArray, labels: dict[str, NDArray], allowed: Range) -> None:
    """Raise ValueError for values beyond; NaN is land, and infinity a fill value."""
    beyond = (values < allowed.low) | (values > allowed.high)
    if not beyond.any():
        return
    first = np.argwhere(beyond)[0]
    place = [
        f"{dim} {_text(labels[dim][i]) if dim in labels else i}"
        for dim, i in zip(allowed.dims, first, strict=True)
    ]
    raise mismatch(
        f"sea surface temperature from {allowed.low:g} to {allowed.high:g} {allowed.units}".strip(),
        f"{values[tuple(first)]:g} at {', '.join(place)}, and in all {beyond.sum()} of "
        f"{values.size} values beyond",
        _mend(values, beyond, allowed),
    )


def _mend(values: NDArray, beyond: NDArray[np.bool_], allowed: Range) -> str:
    """Return the line that mends values beyond: ice is at its freezing point, other places land."""
    units, low, high = allowed.units, allowed.low, allowed.high
    finite = values[np.isfinite(values)]
    for scale, least, most in (("degC", LOWEST, HIGHEST), ("K", 268.15, 318.15)):
        inside = (finite > least) & (finite < most)
        if inside.sum() * 2 > finite.size and not low < least + 1 < high:
            return f'da.assign_attrs(units="{scale}"), for what looks like {scale}'
    if beyond.sum() * 2 > finite.size and (np.abs(values[beyond]) < 900).all():
        return "da.assign_attrs(units=...), with the units the values are in"
    ice = np.isclose(values, ICE, atol=0.5)
    # degrees Celsius: where HadISST has been converted, its -1000 has been too
    if units:
        in_units = _in(units, ICE)
        ice |= np.isclose(values, ICE if in_units is None else in_units, atol=0.5)
    freezing = _in(units, FREEZING) if units else FREEZING
    frozen = f"da.where(~(abs(da + {-values[ice][0]:g}) < 1), {freezing:g})" if ice.any() else ""
    low_ones, high_ones = (beyond & ~ice & side for side in (values < low, values > high))
    if ice.any() and not (low_ones.any() or high_ones.any()):
        # not da > low, which is False on land and would freeze it
        mend = f"da.where(~(da < {low:g}), {freezing:g})"
        return f"{mend}, for ice under which the sea is at its freezing point"
    name = "a" if ice.any() else "da"
    conditions = [
        condition
        for condition, ones in ((f"{name} > {low:g}", low_ones), (f"{name} < {high:g}", high_ones))
        if ones.any()
    ]
    condition = conditions[0] if len(conditions) == 1 else "({}) & ({})".format(*conditions)
    if ice.any():
        return f"{frozen}.where(lambda a: {condition}), for land, and ice at the freezing point"
    return f"da.where({condition}), for land that is NaN"


def _text(label: object) -> str:
    if isinstance(label, np.timedelta64):  # for NumPy, a duration is an integer
        return str(pd.Timedelta(label))
    is_number = isinstance(label, int | float | np.integer | np.floating)
    return f"{label:g}" if is_number else str_time(label)
