"""Amounts of rain: how long they fell, and whether each is of its own step."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ...errors import mismatch
from ...fields.time_bounds import bounds_of
from .call import Call

HOUR = pd.Timedelta("1h")
FRAMES = 4  # that never fall, to be a sum since a start
EVIDENCE = 30  # pixels, in all frames, that had rain and could have fallen
# CF's "time: sum (interval: 1 hour)"
INTERVAL = re.compile(r"time:\s*sum\b[^()]*\(\s*interval:\s*([\d.]+\s*[A-Za-z]+)", re.I)


def periods(
    da: xr.DataArray, ds: xr.Dataset, call: Call, units: str
) -> tuple[xr.DataArray, float, bool]:
    """Return amounts with stamps at the ends of their periods, and the hours of each period.

    By the bounds of time, else by the step of the record; the third says whether by bounds.
    """
    bounds = bounds_of(ds["time"], ds)
    if bounds is not None:
        lengths = pd.to_timedelta(bounds[:, 1] - bounds[:, 0]).round("min")
        if not np.array_equal(bounds[:, 1], ds["time"].values):
            time = ds["time"].copy(data=bounds[:, 1])
            da = da.assign_coords(time=time)
    else:
        lengths = pd.to_timedelta(np.diff(np.sort(ds["time"].values))).round("min")
        if not lengths.size:
            raise mismatch(
                "two frames or more, or the bounds of time, to know what time amounts fell in",
                f"one frame of amounts in {units}, without bounds",
                f"{as_rates(da, call, units, 1 / 12)}, for totals of five minutes",
            )
    usual = lengths.to_series().mode().iloc[0]
    if (bounds is not None and (lengths != usual).any()) or usual <= pd.Timedelta(0):
        raise mismatch(
            "amounts over periods of one length",
            f"periods from {minutes(lengths.min() / HOUR)} to {minutes(lengths.max() / HOUR)}",
            _of_one_length(ds["time"], usual, call),
        )
    if bounds is None:
        _check_cell_methods(da, usual, call, units)
    return da, usual / HOUR, bounds is not None


def check_own_step(values: NDArray, axis: int, name: str, call: Call, line: str) -> None:
    """Raise ValueError for amounts that never fall along time: sums since a start.

    Of rain that moves, some pixel gets less than before. Few pixels tell nothing, and pass.
    """
    frames = np.moveaxis(values, axis, 0)
    if len(frames) < FRAMES:
        return
    had_rain = frames[:-1] > 0
    if had_rain.sum() < EVIDENCE or had_rain.any(axis=tuple(range(1, frames.ndim))).sum() < 3:
        return
    fell = frames[1:] < frames[:-1] - 1e-6 * np.abs(frames[:-1])
    if fell.any():
        return
    one = call.variable(name)
    apart = replace(call, data=f'{one}.diff("{call.time}").assign_attrs({one}.attrs)').again()
    raise mismatch(
        "amounts of each step",
        f"{len(frames)} frames of {name} in which no pixel ever falls, as in sums since a start",
        f"{apart}, for sums since a start; or {line}, for amounts of each step",
    )


def _check_cell_methods(da: xr.DataArray, step: pd.Timedelta, call: Call, units: str) -> None:
    """Raise ValueError where the attribute says that amounts are of more than a step."""
    said = INTERVAL.search(str(da.attrs.get("cell_methods", "")))
    if said is None:
        return
    try:
        length = pd.Timedelta(said[1])
    except ValueError:
        return
    if length <= step:  # may be the interval of what was summed
        return
    raise mismatch(
        f"amounts of a step of the record, {minutes(step / HOUR)}",
        f"cell_methods {da.attrs['cell_methods']!r}",
        f"{as_rates(da, call, units, length / HOUR)}, for sums over {minutes(length / HOUR)}",
    )


def as_rates(da: xr.DataArray, call: Call, units: str, hours: float) -> str:
    """Return the line that opens amounts over so many hours as rates."""
    one = call.variable(str(da.name))
    scaled = f'({one} * {1 / hours:.9g}).assign_attrs({one}.attrs, units="{units} h-1")'
    return replace(call, data=scaled).again()


def _of_one_length(time: xr.DataArray, length: pd.Timedelta, call: Call) -> str:
    """Return the line that opens the frames whose amounts are over periods of one length."""
    bounds = time.attrs.get("bounds") or time.encoding.get("bounds") or "time_bnds"
    own = f'np.diff({call.opened}["{bounds}"])[:, 0]'
    wanted = f'np.timedelta64({length / pd.Timedelta("1min"):g}, "m")'
    return replace(call, data=f"{call.opened}.isel({call.time}={own} == {wanted})").again()


def minutes(hours: float) -> str:
    """Return a length of time in words.

    >>> minutes(1 / 12)
    '5 minutes'
    """
    return f"{hours * 60:g} minutes"
