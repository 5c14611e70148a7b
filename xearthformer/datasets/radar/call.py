"""How `open_radar` was called: its options, and the line to type for a call that differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import xarray as xr

from ...errors import mismatch

OnError = Literal["raise", "skip"]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Call:
    """The data and options of one call, as they would be typed."""

    data: str  # "ds", or a path in quotes
    zr: tuple[float, float] | None = None
    zero_below: float | None = None
    missing: tuple[float, ...] = ()
    on_error: OnError = "raise"
    time: str = "time"  # the dim of the data, which is no option

    @property
    def opened(self) -> str:
        """What to type for the data as xarray holds it."""
        return f"xr.open_dataset({self.data})" if self.data[0] in "\"'" else self.data

    def variable(self, name: str) -> str:
        """Return what to type for one of the variables."""
        return self.data if self.data == "da" else f'{self.opened}["{name}"]'

    def again(self, **options: object) -> str:
        """Return the line that calls again, with other options.

        >>> Call('"radar.nc"', zr=(200.0, 1.6)).again(missing=-1.0)
        'xef.open_radar("radar.nc", zr=(200, 1.6), missing=-1)'
        """
        new = replace(self, **options)  # type: ignore[arg-type]
        given = [
            f"{field.name}={_typed(getattr(new, field.name))}"
            for field in fields(new)[1:-1]
            if getattr(new, field.name) != field.default
        ]
        return f"xef.open_radar({', '.join([self.data, *given])})"

    def selected(self, name: str) -> str:
        """Return the line that calls again with one of the variables."""
        return replace(self, data=f'{self.opened}[["{name}"]]').again()


def as_called(
    data: Paths | xr.Dataset | xr.DataArray,
    zr: tuple[float, float] | None,
    zero_below: float | None,
    missing: float | Sequence[float] | None,
    on_error: OnError,
) -> Call:
    """Return a call whose options have been checked."""
    if zr is not None and (np.shape(zr) != (2,) or not all(float(one) > 0 for one in zr)):
        raise mismatch("zr as a and b of Z = a R**b", repr(zr), "zr=(200, 1.6)")
    if zero_below is not None and not 0 <= float(zero_below) < np.inf:
        raise mismatch("zero_below as a rain rate in mm/h", repr(zero_below), "zero_below=0.1")
    if on_error not in ("raise", "skip"):
        raise mismatch('on_error as "raise" or "skip"', repr(on_error), 'on_error="skip"')
    return Call(
        _typed_data(data),
        None if zr is None else (float(zr[0]), float(zr[1])),
        None if zero_below is None else float(zero_below),
        () if missing is None else tuple(float(one) for one in np.atleast_1d(missing)),
        on_error,
    )


def _typed_data(data: Paths | xr.Dataset | xr.DataArray) -> str:
    if isinstance(data, xr.Dataset):
        return "ds"
    if isinstance(data, xr.DataArray):
        return "da"
    if isinstance(data, str | os.PathLike):
        return f'"{os.fspath(data)}"'
    return "paths"


def _typed(value: object) -> str:
    """Return a value as it is typed: numbers without the zero after the point."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        texts = [_typed(one) for one in value]
        if isinstance(value, tuple) and len(texts) == 1:
            return texts[0]
        return f"({', '.join(texts)})" if isinstance(value, tuple) else f"[{', '.join(texts)}]"
    if isinstance(value, float) and not np.isfinite(value):
        return f"np.{value}"
    return f"{value:.9g}" if isinstance(value, float) else repr(value)
