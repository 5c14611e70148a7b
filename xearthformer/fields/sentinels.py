"""Values that are no data: fill values that nothing declares, and numbers that stand for ice.

HadISST has -1000 under ice; files without `_FillValue` have -999, -32768 or 1e20 on land. As
temperatures they would turn into anomalies, and into forecasts. `check_values` is the guard of
every way in; of rain, `codes` knows more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ..errors import mismatch, warn
from .codes import check_rain, is_rain
from .quantities import SST, is_difference, names_of
from .time_axis import str_time
from .units import convert_units, is_temperature

LOWEST, HIGHEST = -5.0, 45.0  # degC
LARGEST = 25.0  # degrees from the climatology: no sea is further, -999 and 99 are fill values
TYPICAL = 10.0  # the same, in the mean of a field: absolute values are further
MODELS_OWN = 25.0  # degrees beyond, which a model that drifts away may give
FILL = 9.9e19  # of any quantity: 1e20, 1e30 and NetCDF's 9.97e36 are fill values, and infinity too
ROUNDED = 1e-4  # degrees: 273.15 K of float32
NEAR_ZERO = 1.5  # degrees, beyond the next number of data that is rounded to whole ones
ICY = 20  # values at the freezing point, which are ice and no coincidence
ICE, FREEZING = -1000.0, -1.8  # what HadISST has under ice, and the temperature there, degC


@dataclass(frozen=True)
class Range:
    """What values may be, in units of the data, and the dims that they lie along."""

    name: str  # of the array, in a line to type
    quantity: str
    dims: tuple[str, ...]
    units: str
    low: float
    high: float
    typical: float = np.inf  # the most that their mean size may be
    margin: float = 0.0  # inside both ends: where a model drifts, but no one number stands often
    zero: float | None = None  # 0 degC in these units, of absolute temperatures


def check_values(
    da: xr.DataArray,
    name: str = "da",
    *,
    units: str | None = None,
    forecast: bool = False,
    few: bool = False,
) -> xr.DataArray:
    """Return data as it is; values that its quantity cannot have are an error.

    Sea surface temperature, absolute or an anomaly, is within the range of the sea, and rain of
    what falls (`codes.check_rain`); no other quantity is infinite or 1e20. Absolute values that are
    marked as anomalies, as a sum may be, are told where they are large (in kelvin, all are) or at
    the freezing point under ice; not those of an ice-free sea of less than ten degrees. The error
    names the first place, the count and the line that mends it: at once for data in memory, else
    when the values are computed.

    Parameters
    ----------
    da : DataArray
        Any dims.
    name : str
        What the line calls it.
    units, few : str and bool, optional
        Of rain: as in `check_rain`.
    forecast : bool
        Whether a model may have made it: its values may lie somewhat beyond, unless most of those
        are one number, such as 50.

    >>> sst = xr.DataArray([20.0, -1000.0], dims="x", name="sst", attrs={"units": "degC"})
    >>> check_values(sst)
    Traceback (most recent call last):
    ValueError: expected sea surface temperature from -5 to 45 degC
       found -1000 at x 1, and in all 1 of 2 values beyond
         try da.where(~(da < -5), -1.8), for ice under which the sea is at its freezing point
    >>> check_values(sst.where(~(sst < -5), -1.8)).values
    array([20. , -1.8])
    """
    if da.dtype.kind != "f":
        return da
    if is_rain(da):
        return check_rain(da, name, units=units, forecast=forecast, few=few)
    allowed = _range(da, name, forecast)
    labels = {str(dim): da[dim].values for dim in da.dims if dim in da.coords}
    if da.chunks is None:
        _check(da.values, labels, allowed)
        return da
    if allowed.high == FILL:  # so rare that labels, in the graph, are not worth it
        labels = {}
    import dask.array  # heavy, and `xearthformer --help` needs none of it

    checked = dask.array.map_blocks(
        _check_block,
        da.data,
        dask.delayed((labels, allowed), traverse=False),  # one node of the graph, for all blocks
        dtype=da.dtype,
        meta=da.data._meta,
    )
    return da.copy(data=checked)


def _range(da: xr.DataArray, name: str, forecast: bool) -> Range:
    """Return what the values of data may be."""
    units = str(da.attrs.get("units", "")).strip()
    dims, margin = tuple(map(str, da.dims)), MODELS_OWN * forecast
    if is_sst(da) and is_difference(da):
        sizes = LARGEST + margin, TYPICAL
        size, typical = (_in(units, s, difference=True) if units else s for s in sizes)
        if size is not None and typical is not None:
            quantity = f"{SST} anomalies".replace("_", " ")
            inside = size * margin / sizes[0]
            return Range(name, quantity, dims, units, -size, size, typical, inside)
    elif is_sst(da):
        # without units, of both scales: only fill values are beyond
        ends = LOWEST - margin, HIGHEST + margin
        low, high = (_in(units, end) for end in ends) if units else (ends[0], 320.0 + margin)
        if low is not None and high is not None:
            inside = margin * (high - low) / (ends[1] - ends[0])
            zero = _in(units, 0.0) if units else None
            quantity = SST.replace("_", " ")
            return Range(name, quantity, dims, units, low, high, zero=zero, margin=inside)
    return Range(name, "values", dims, units, -FILL, FILL)


def is_sst(da: xr.DataArray) -> bool:
    """Return whether data is sea surface temperature, by its standard_name or else its name."""
    stated = da.attrs.get("standard_name")
    return (stated or str(da.name).lower()) in names_of(SST)


def _in(units: str, celsius: float, difference: bool = False) -> float | None:
    """Return a temperature in other units, rounded as people write it; None for no temperature."""
    if not is_temperature(units):
        return None
    value = xr.DataArray(celsius, attrs={"units": "degC"})
    return round(float(convert_units(value, units, difference=difference)), 2)


def _check_block(
    values: NDArray,
    known: tuple[dict[str, NDArray], Range],
    block_info: dict | None = None,
) -> NDArray:
    """Check one block of dask's, which lies where `block_info` says."""
    labels, allowed = known
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
    code = None if beyond.any() or not allowed.margin else _find_code(values, allowed)
    if code is not None:
        beyond = values == code
    if allowed.typical < np.inf and _look_absolute(values, beyond, allowed):
        seen = values[np.isfinite(values)]
        raise mismatch(
            f"{allowed.quantity}, of up to {allowed.high:g} {allowed.units}".rstrip(),
            f"values from {seen.min():g} to {seen.max():g}, {seen.mean():.3g} in the mean",
            f'{allowed.name}.assign_attrs(units_metadata="temperature: on_scale"), for absolute '
            "values, as the sum of an anomaly and a climatology is",
        )
    if not beyond.any():
        if allowed.zero is not None and _has_zero_land(values - allowed.zero):
            given, zero = allowed.name, f"{allowed.zero:g}"
            sea = f"abs({given} - {zero}) > 0.01" if allowed.zero else f"{given} != 0"
            warn(
                f"exactly {zero} {allowed.units} in many places of {given}: where that is land, "
                f"{given}.where({sea})"
            )
        return
    first = np.argwhere(beyond)[0]
    place = [
        f"{dim} {_text(labels[dim][i]) if dim in labels else i}"
        for dim, i in zip(allowed.dims, first, strict=True)
    ]
    span = f"{allowed.quantity} from {allowed.low:g} to {allowed.high:g} {allowed.units}".strip()
    raise mismatch(
        span if code is None else f"{span}, and no fill value",
        f"{values[tuple(first)]:g} at {', '.join(place)}, and in all {beyond.sum()} of "
        f"{values.size} values beyond",
        _mend(values, beyond, allowed)
        if code is None
        else f"{allowed.name}.where(abs({allowed.name} - {code:g}) > 0.01), for land that is NaN",
    )


def _has_zero_land(values: NDArray) -> bool:
    """Return whether 0 stands more often than all that is near it, as it does on land."""
    zeros = int((np.abs(values) < ROUNDED).sum())
    if zeros < max(ICY, 0.01 * values.size):
        return False
    near = np.abs(values) < NEAR_ZERO
    return bool(zeros > 2 * (near.sum() - zeros)) and bool((~near & np.isfinite(values)).any())


def _find_code(values: NDArray, allowed: Range) -> float | None:
    """Return the number that most of the values in the margin are; None where these differ."""
    inner = allowed.low + allowed.margin, allowed.high - allowed.margin
    numbers, counts = np.unique(
        values[(values < inner[0]) | (values > inner[1])], return_counts=True
    )
    if not numbers.size or counts.max() * 2 <= counts.sum():
        return None
    code = numbers[counts.argmax()]
    return float(code) if counts.max() > 1 or code == np.rint(code) else None


def _look_absolute(values: NDArray, beyond: NDArray[np.bool_], allowed: Range) -> bool:
    """Return whether values that are marked as anomalies are the sea's own: xarray keeps the mark.

    By their size, and near 0 degC by the ice among them: the sea under it is at its freezing point
    in cell after cell, and none is colder. Cold water without ice can't be told from an anomaly by
    its values. Those beyond are the same number if they are a fill value.
    """
    if beyond.any() and (values[beyond] == values[beyond][0]).all():
        values = values[~beyond]
    own = values[np.isfinite(values)]
    if not own.size or np.abs(own).max() >= 400:
        return False
    if np.abs(own).mean() > allowed.typical:
        return True
    frozen = np.abs(own - FREEZING) < 0.01
    floor = own.min() > FREEZING - 0.2 and own.max() > FREEZING + 1
    in_celsius = allowed.units and _in(allowed.units, FREEZING) == FREEZING
    return bool(in_celsius and floor and frozen.sum() >= max(ICY, 0.1 * own.size))


def _mend(values: NDArray, beyond: NDArray[np.bool_], allowed: Range) -> str:
    """Return the line that mends values beyond: ice is at its freezing point, other places land."""
    da, units, low, high = allowed.name, allowed.units, allowed.low, allowed.high
    if low == -high:  # not of the sea itself
        return f"{da}.where(abs({da}) < {high:g}), for a fill value that nothing declares"
    finite = values[np.isfinite(values)]
    for scale, least, most in (("degC", LOWEST, HIGHEST), ("K", 268.15, 318.15)):
        inside = (finite > least) & (finite < most)
        if inside.sum() * 2 > finite.size and not low < least + 1 < high:
            return f'{da}.assign_attrs(units="{scale}"), for what looks like {scale}'
    if beyond.sum() * 2 > finite.size and (np.abs(values[beyond]) < 900).all():
        return f"{da}.assign_attrs(units=...), with the units the values are in"
    for factor in (0.01, 0.001):  # packed, or in hundredths
        inside = (finite * factor > low) & (finite * factor < high)
        if beyond.sum() * 2 > finite.size and inside.mean() > 0.5:
            return f"({da} * {factor:g}).assign_attrs({da}.attrs), for whole numbers of {factor:g}"
    ice = np.isclose(values, ICE, atol=0.5)
    # degrees Celsius: where HadISST has been converted, its -1000 has been too
    if units:
        in_units = _in(units, ICE)
        ice |= np.isclose(values, ICE if in_units is None else in_units, atol=0.5)
    freezing = _in(units, FREEZING) if units else FREEZING
    frozen = ""
    if ice.any():
        frozen = f"{da}.where(~(abs({da} + {-values[ice][0]:g}) < 1), {freezing:g})"
    low_ones, high_ones = (beyond & ~ice & side for side in (values < low, values > high))
    if ice.any() and not (low_ones.any() or high_ones.any()):
        # not da > low, which is False on land and would freeze it
        mend = f"{da}.where(~({da} < {low:g}), {freezing:g})"
        return f"{mend}, for ice under which the sea is at its freezing point"
    name = "a" if ice.any() else da
    conditions = [
        condition
        for condition, ones in ((f"{name} > {low:g}", low_ones), (f"{name} < {high:g}", high_ones))
        if ones.any()
    ]
    condition = conditions[0] if len(conditions) == 1 else "({}) & ({})".format(*conditions)
    if ice.any():
        return f"{frozen}.where(lambda a: {condition}), for land, and ice at the freezing point"
    return f"{da}.where({condition}), for land that is NaN"


def _text(label: object) -> str:
    if isinstance(label, np.timedelta64):  # for NumPy, a duration is an integer
        return str(pd.Timedelta(label))
    is_number = isinstance(label, int | float | np.integer | np.floating)
    return f"{label:g}" if is_number else str_time(label)
