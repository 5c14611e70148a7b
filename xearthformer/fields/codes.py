"""Numbers in rain that stand for something else, and that nothing declares: -1, 255, infinity.

As rain they would be averaged, moved along and scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import mismatch, warn
from .quantities import RAIN, RAIN_UNITS, is_difference, names_of
from .units import commensurable, convert_units

FLUX = "kg m-2 h-1"  # the same number
HIGHEST_RATE = 5000.0  # mm/h; a minute of 1872 mm/h is the most that a gauge has measured
NOISE = 1e-3  # mm/h: what packing and interpolation leave below zero
# The largest numbers of one byte and two, packed in hundredths or tenths too: of what isn't seen
PACKED = (254.0, 255.0, 327.67, 655.35, 3276.7)
NO_FULL_BYTES = ", and none that stands for a full byte or two"
FEW_DRY = 0.2  # of what is there: rain seen by radar has 0 at a third of the pixels or more
SHOWN = 4  # codes that an error names; more are no codes, but other units


@dataclass(frozen=True)
class _Check:
    """Values as they are, if they are rain; `factor` is to the units that the user has."""

    name: str
    low: float
    high: float
    factor: float
    forecast: bool
    few: bool
    packed: tuple[float, ...]

    def __call__(self, values: NDArray) -> NDArray:
        beyond = (values < self.low) | (values > self.high)
        beyond |= full_bytes(values, self.packed)
        if self.forecast and beyond.any():
            # a model's own numbers below zero are none of the whole numbers that codes are
            beyond &= (values > self.high) | (values == np.rint(values))
        if self.few and beyond.any() and np.unique(values[beyond]).size > SHOWN:
            beyond = values > self.high  # many below zero are some noise, which is scored
        if beyond.any():
            codes = np.unique(values[beyond].astype(float)) * self.factor
            shown = ", ".join(f"{code:.6g}" for code in codes[:SHOWN])
            more = f" and {codes.size - SHOWN} more" if codes.size > SHOWN else ""
            worst = values[beyond]
            of_bytes = ((worst >= self.low) & (worst <= self.high)).all()
            but = NO_FULL_BYTES if of_bytes else ""
            raise mismatch(
                f"rain of 0 to {HIGHEST_RATE:g} {RAIN_UNITS}{but}",
                f"{shown}{more}, in {int(beyond.sum())} of {values.size} pixels of {self.name}",
                self._mend(codes),
            )
        self._warn_of_dry(values)
        return values

    def _warn_of_dry(self, values: NDArray) -> None:
        """Warn where what is missing may be what is dry: scores leave it out, as not seen."""
        missing = np.isnan(values)
        some = missing & ~missing.all(axis=(-2, -1), keepdims=True) if values.ndim > 1 else missing
        dry = int((values == 0).sum())
        # echoes too weak to be rain are 0 too: a tenth of them
        if some.sum() * 2 > values.size and dry <= FEW_DRY * (values.size - missing.sum()):
            warn(  # in the same words for each block of lazy data, which `said_once` tells once
                f"most of {self.name} is missing and "
                f"{'few pixels are' if dry else 'no pixel is'} 0: where that is for no rain, "
                f"{self.name}.fillna(0)"
            )

    def _mend(self, codes: NDArray) -> str:
        if self.forecast:
            line = f"{self.name}.where(({self.name} >= 0) & ({self.name} < {self.high:.6g}))"
            return f"{line}, where nothing is forecast"
        if codes.size <= SHOWN:
            typed = ", ".join(map(_typed, codes))
            typed = f"({typed})" if codes.size > 1 else typed
            return f"xef.open_radar({self.name}, missing={typed}), where nothing was seen"
        if codes.max() < 0:
            return f"xef.open_radar({self.name}, zero_below=0), where nothing fell"
        return f"{self.name}.assign_attrs(units=...), with the units that the numbers are in"


def check_rain(
    da: xr.DataArray,
    name: str = "da",
    *,
    units: str | None = None,
    forecast: bool = False,
    few: bool = False,
) -> xr.DataArray:
    """Return a rain rate as it is; numbers that it cannot be are an error.

    The error names them and the line that mends them: at once for data in memory, else when the
    values are computed. Other quantities, and anomalies, pass unseen.

    Parameters
    ----------
    da : DataArray
        Any dims.
    name : str
        What the line calls it.
    units : str, optional
        Units that the user has it in, if these are others.
    forecast : bool
        Whether a model may have made it: below zero, only whole numbers are refused.
    few : bool
        Whether many different numbers below zero pass: codes are few.

    >>> rain = xr.DataArray([2.0, -1.0], dims="x", name="rainrate", attrs={"units": "mm h-1"})
    >>> check_rain(rain)
    Traceback (most recent call last):
    ValueError: expected rain of 0 to 5000 mm h-1
       found -1, in 1 of 2 pixels of da
         try xef.open_radar(da, missing=-1), where nothing was seen
    """
    if not is_rain(da):
        return da
    own = str(da.attrs["units"])
    per_hour = _factor(own, RAIN_UNITS)
    back = 1.0 if units in (None, own) else _factor(own, str(units))
    # codes are numbers that the user has, in mm h-1
    packed = tuple(code / back for code in PACKED) if np.isclose(per_hour, back) else ()
    check = _Check(name, -NOISE / per_hour, HIGHEST_RATE / per_hour, back, forecast, few, packed)
    if da.chunks is None:
        check(da.values)
        return da
    import dask.array  # which data in memory doesn't need

    checked = dask.array.map_blocks(check, da.data, dtype=da.dtype, meta=da.data._meta)
    return da.copy(data=checked)


def full_bytes(values: NDArray, packed: tuple[float, ...] = PACKED) -> NDArray[np.bool_]:
    """Return where the largest number of a byte or two stands, without rain that leads to it.

    Hail may give as much in a pixel, but next to others that have a little less.

    >>> full_bytes(np.array([0.0, 3.0, 255.0, 255.0]))
    array([False, False,  True,  True])
    >>> full_bytes(np.array([150.0, 200.0, 255.0, 255.0]))
    array([False, False, False, False])
    """
    found = np.zeros(values.shape, bool)
    if not packed or not (values >= packed[0]).any():
        return found
    equals = [np.isclose(values, code, rtol=1e-6, atol=0) for code in packed]
    any_code = np.logical_or.reduce(equals)
    for code, equal in zip(packed, equals, strict=True):
        if equal.sum() > max(1, ((values > code / 2) & (values < code) & ~any_code).sum()):
            found |= equal
    return found


def is_rain(da: xr.DataArray) -> bool:
    """Return whether data is a rate of rain, by standard_name or else name, in units of one."""
    named = str(da.attrs.get("standard_name", da.name)).lower() in names_of(RAIN)
    units = str(da.attrs.get("units", ""))
    known = commensurable(units, RAIN_UNITS) or commensurable(units, FLUX)
    return named and known and not is_difference(da)


def _factor(units: str, target: str) -> float:
    return float(convert_units(xr.DataArray(1.0, attrs={"units": units}), target, difference=False))


def _typed(code: float) -> str:
    """Return a code as it is typed.

    >>> _typed(-1.0), _typed(np.inf)
    ('-1', 'np.inf')
    """
    return f"{code:.6g}".replace("inf", "np.inf")
