"""Numbers in rain that stand for something else, and that nothing declares: -1, 9999, infinity.

As rain they would be averaged, moved along and scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import mismatch
from .quantities import RAIN, is_difference, names_of
from .units import commensurable, convert_units

UNITS = "mm h-1"
FLUX = "kg m-2 h-1"  # the same number
HIGHEST_RATE = 5000.0  # mm/h; a minute of 1872 mm/h is the most that a gauge has measured
NOISE = 1e-3  # mm/h: what packing and interpolation leave below zero
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

    def __call__(self, values: NDArray) -> NDArray:
        beyond = (values < self.low) | (values > self.high)
        if self.forecast and beyond.any():
            # a model's own numbers below zero are none of the whole numbers that codes are
            beyond &= (values > self.high) | (values == np.rint(values))
        if self.few and beyond.any() and np.unique(values[beyond]).size > SHOWN:
            beyond = values > self.high  # many below zero are some noise, which is scored
        if beyond.any():
            codes = np.unique(values[beyond].astype(float)) * self.factor
            shown = ", ".join(f"{code:.6g}" for code in codes[:SHOWN])
            more = f" and {codes.size - SHOWN} more" if codes.size > SHOWN else ""
            raise mismatch(
                f"rain of 0 to {HIGHEST_RATE:g} {UNITS}",
                f"{shown}{more}, in {int(beyond.sum())} of {values.size} pixels of {self.name}",
                self._mend(codes),
            )
        return values

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
    own = str(da.attrs.get("units", ""))
    known = commensurable(own, UNITS) or commensurable(own, FLUX)
    if not _is_rain(da) or is_difference(da) or not known:
        return da
    per_hour = _factor(own, UNITS)
    back = 1.0 if units in (None, own) else _factor(own, str(units))
    check = _Check(name, -NOISE / per_hour, HIGHEST_RATE / per_hour, back, forecast, few)
    if da.chunks is None:
        check(da.values)
        return da
    import dask.array  # which data in memory doesn't need

    checked = dask.array.map_blocks(check, da.data, dtype=da.dtype, meta=da.data._meta)
    return da.copy(data=checked)


def _is_rain(da: xr.DataArray) -> bool:
    return str(da.attrs.get("standard_name", da.name)).lower() in names_of(RAIN)


def _factor(units: str, target: str) -> float:
    return float(convert_units(xr.DataArray(1.0, attrs={"units": units}), target, difference=False))


def _typed(code: float) -> str:
    """Return a code as it is typed.

    >>> _typed(-1.0), _typed(np.inf)
    ('-1', 'np.inf')
    """
    return f"{code:.6g}".replace("inf", "np.inf")
