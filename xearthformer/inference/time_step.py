"""Rain at another time step: frames in between lie along the motion of the rain.

The mean in time of two frames is two showers where one has moved on, and the frame before is a
shower that stands still and then jumps. Here both frames are moved to where the rain is at the time
in between, and then averaged.
Legend of the shape suffixes: T time, N times of the answer, Y X space, B batch (of one), H W space
in whole coarse cells, h w coarse cells, 2 the components (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from .. import __version__
from ..errors import mismatch
from ..fields import cf, quantities
from ..fields.axes import find_time
from ..fields.codes import check_rain
from ..fields.forms import takes_any_form
from ..fields.quantities import RAIN, RAIN_UNITS
from ..fields.time_axis import (
    MINUTE,
    NEWEST,
    apart,
    duration,
    regular_steps,
    round_jitter,
    str_time,
)
from ..models.layers import flow
from ..packs.scale import Scale

if TYPE_CHECKING:
    import dask.array

SCALE = Scale(factor=20.0, floor=0.1)  # on which motion is looked for: heavy rain is of order one
LONGEST = 30 * MINUTE  # between two frames whose motion is still told from them
FINEST = 0.1  # of a step: whole divisors of both steps that are shorter are not looked at
BLOCK = 12  # frames of the answer that one task makes


@dataclass(frozen=True)
class Times:
    """When the frames of the answer are, in microseconds since the first day's midnight."""

    own_T: np.ndarray  # of the record
    new_N: np.ndarray
    parts: tuple[np.ndarray, ...]  # for each of the new ones: the times whose mean it is


@takes_any_form
def to_step(
    data: xr.DataArray | xr.Dataset, step: str | timedelta | np.timedelta64
) -> xr.DataArray:
    """Bring rain to another time step, along its motion.

    To a shorter step, each new frame is the mean of the frame before it, moved on, and the frame
    after it, moved back, weighted by how near they are. To a longer step, it is the mean of the
    frames in the step that ends at its stamp, so that no stamp holds what came after it; where the
    steps don't divide, those in between are made first. Stamps of an irregular record are brought
    onto whole steps the same way.

    Parameters
    ----------
    data : DataArray or Dataset
        Rain rate every 30 minutes or more often, dims time, y and x in any order. Of a Dataset, its
        variable `rainfall_rate`.
    step : str or timedelta64
        The new step: "5min".

    Returns
    -------
    DataArray
        Rain in the user's units, dtype, order of dims, coordinates and attributes, at multiples of
        the step since midnight; a record whose own step is a multiple of the new one keeps its own
        stamps. Steps of which the record holds a part alone, at its ends, are left out. Lazy when
        `data` is, one task for each dozen frames, with the same bits. A record that is regular and
        has the step already is returned as it is.

    Raises
    ------
    ValueError
        Frames more than 30 minutes apart, another quantity, a record shorter than a step, numbers
        that are no rain (of lazy data, when they are computed).

    Notes
    -----
    Frames that are missing, as stamps or as NaN, are bridged along the motion where those on both
    sides are at most 30 minutes apart; else they are NaN. A pixel is NaN where neither frame has
    it, and in a mean where fewer than half of the frames have it.
    A frame in between knows the frame after it. The coordinate `newest` along time is the stamp of
    the newest frame that each was made of, and forecasts from frames that know later ones warn:
    scored, they would look better than they are. Of lazy data it is lazy, as a frame of NaN is made
    of the next one, and forecasts warn when they are computed.

    Examples
    --------
    >>> time = xr.date_range("2016-07-11 22:00", periods=3, freq="10min")
    >>> attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    >>> rain = xr.DataArray(np.zeros((3, 8, 8)), {"time": time}, ("time", "y", "x"), attrs=attrs)
    >>> to_step(rain, "5min")["time"].dt.minute.values
    array([ 0,  5, 10, 15, 20])
    """
    new = _microseconds(step)
    if isinstance(data, xr.Dataset):
        data = data[quantities.find_variable(data, standard_name=RAIN, difference=False)]
    da = check_rain(round_jitter(data))
    time = da[find_time(da)]
    deltas = apart(time)
    regular = regular_steps(time, deltas)
    own = int(np.median(deltas)) if regular is None else int(regular[0] // np.timedelta64(1, "us"))
    if own > LONGEST:
        raise mismatch(
            "rain every 30 minutes or more often, for frames to tell its motion",
            f"every {pd.Timedelta(own, 'us')}",
            "a record with a shorter step",
        )
    prepared, origin = cf.prepare(
        da, units=RAIN_UNITS, difference=False, standard_name=RAIN, latlon=False
    )
    if own == new and regular is not None and regular[1][-1] == deltas.size:
        return da
    times = _times(time, deltas, None if regular is None else own, new)
    values = [_lazily(prepared, times, block) for block in _blocks(times)]
    answer = xr.concat(values, "time").assign_coords(time=_stamps(time, times))
    line = f"xearthformer {__version__}: {_words(times, deltas, regular is None, new)}"
    stepped = cf.new_values(cf.restore(answer, origin), data, line)
    newest = _newest(prepared, time, times)
    return stepped.assign_coords({NEWEST: (find_time(stepped), newest.data, newest.attrs)})


# --- when


def _microseconds(step: str | timedelta | np.timedelta64) -> int:
    length = duration(step)
    if length is None or length < np.timedelta64(1, "s"):
        raise mismatch("a time step of a second or more", repr(step), 'step="5min"')
    return int(length // np.timedelta64(1, "us"))


def _text(microseconds: int) -> str:
    return f"{microseconds / MINUTE:g} min"


def _times(time: xr.DataArray, deltas: np.ndarray, own: int | None, new: int) -> Times:
    """Return when the new frames are; `own` is the record's step, None for an irregular one."""
    first = time[0].dt
    seconds = int(first.hour) * 3600 + int(first.minute) * 60 + int(first.second)
    start = seconds * 10**6 + int(first.microsecond)
    own_T = start + np.concatenate([[0], deltas.cumsum()])
    typical = int(np.median(deltas)) if own is None else own
    upward = new <= typical
    anchor = start if own is not None and own % new == 0 else 0
    # a frame stands for the step that ends at it, and the first for one step as well
    earliest = start if upward else start - typical + new
    new_N = np.arange(anchor + -(-(earliest - anchor) // new) * new, own_T[-1] + 1, new)
    if not new_N.size:
        raise mismatch(
            f"a record that holds a whole step of {_text(new)}",
            f"{str_time(time.values[0])} to {str_time(time.values[-1])}",
            f'a longer record, or xef.to_step(da, "{_text(typical).replace(" ", "")}")',
        )
    if upward:
        return Times(own_T, new_N, tuple(new_N[:, None]))
    each = math.gcd(typical, new)
    if own is None or each < FINEST * typical:
        each = new // -(-new // typical)
        offset_N = np.zeros_like(new_N)
    else:
        offset_N = (new_N - start) % each  # of a record whose frames are not at whole steps
    parts = [
        np.arange(end - offset, end - new, -each)[::-1]
        for end, offset in zip(new_N, offset_N, strict=True)
    ]
    return Times(own_T, new_N, tuple(parts))


def _stamps(time: xr.DataArray, times: Times) -> xr.Variable:
    """Return the stamps of the new frames, in the calendar of the record."""
    attrs = {key: value for key, value in time.attrs.items() if key != "bounds"}
    stamps = _after(times.new_N - times.own_T[0], time.values[0], time.dtype)
    return xr.Variable("time", stamps, attrs)


def _after(microseconds: np.ndarray, start: object, dtype: np.dtype) -> np.ndarray:
    """Return stamps so long after the first one of a record."""
    ahead = microseconds.astype("timedelta64[us]")
    return (start + (ahead if dtype.kind == "M" else ahead.astype(object))).astype(dtype)


def _newest(prepared: xr.DataArray, time: xr.DataArray, times: Times) -> xr.Variable:
    """Return the stamp of the newest frame of the record that each new frame is made of.

    A frame of NaN is bridged by the one after it; which these are, lazy data tells when computed.
    """
    parts = [
        _per_block(_newest_in, (len(times.parts[block]),), "i8", prepared, times, block)
        for block in _blocks(times)
    ]
    variables = [xr.Variable("time", part) for part in parts]
    newest = xr.Variable.concat(variables, "time").data
    start, dtype = time.values[0], time.dtype
    if prepared.chunks is None:
        stamps = _after(newest, start, dtype)
    else:
        stamps = newest.map_blocks(_after, start, dtype, dtype=dtype)
    attrs = {"long_name": "time of the newest frame that a frame is made of"}
    return xr.Variable("time", stamps, attrs)


def _blocks(times: Times) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, times.new_N.size, BLOCK)]


def _words(times: Times, deltas: np.ndarray, irregular: bool, new: int) -> str:
    """Return what is done, for the history."""
    own = int(np.median(deltas))
    every = "irregular steps" if irregular else f"every {_text(own)}"
    means = any(part.size > 1 for part in times.parts)
    made = irregular or ((np.concatenate(times.parts) - times.own_T[0]) % own).any()
    words = f"{every} to every {_text(new)}"
    words += ", each the mean of the frames in its step" if means else ""
    if made:
        words += ", frames in between along the motion" if means else " along the motion"
    gaps = deltas[(deltas > own) & (deltas <= LONGEST)]
    if irregular or not gaps.size:
        return words
    count = round(np.rint(gaps / own - 1).sum())
    return f"{words}; {count} missing frame{'s' * (count > 1)} bridged along the motion"


# --- what


def _lazily(da: xr.DataArray, times: Times, block: slice) -> xr.DataArray:
    """Return a block of new frames of (time, y, x): one task if the data is lazy."""
    labels = {name: c for name, c in da.coords.items() if "time" not in c.dims}
    shape = len(times.parts[block]), da.sizes["y"], da.sizes["x"]
    values = _per_block(_frames, shape, "f4", da, times, block)
    return xr.DataArray(values, labels, ("time", "y", "x"))


def _per_block(
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: str,
    da: xr.DataArray,
    times: Times,
    block: slice,
) -> np.ndarray | dask.array.Array:
    """Return what a function makes of the frames that a block of new ones is made of."""
    parts = times.parts[block]
    # what bridges a gap may lie as far away as the longest gap
    near = (times.own_T >= parts[0][0] - LONGEST) & (times.own_T <= parts[-1][-1] + LONGEST)
    piece = da.isel(time=np.flatnonzero(near))
    own_T, first = times.own_T[near], int(times.own_T[0])
    if da.chunks is None:
        return function(piece.to_numpy(), own_T, first, parts)
    import dask
    import dask.array

    task = dask.delayed(function)(piece.data, own_T, first, parts)
    return dask.array.from_delayed(task, shape, np.dtype(dtype))


def _newest_in(
    past_TYX: np.ndarray, own_T: np.ndarray, first: int, parts: Sequence[np.ndarray]
) -> np.ndarray:
    """Return how long after the first frame of the record the newest one of each part is (N,)."""
    own_T = own_T[~np.isnan(past_TYX).all(axis=(1, 2))]
    last_N = np.array([part[-1] for part in parts])
    begins = own_T.size > 0 and own_T[0] == first  # which is moved back too
    around = np.concatenate([[first if begins else -np.inf], own_T, [np.inf]])
    after_N = np.searchsorted(own_T, last_N)
    bridged_N = around[after_N + 1] - around[after_N] <= LONGEST
    exact_N = around[after_N + 1] == last_N
    return np.where(bridged_N | exact_N, around[after_N + 1], last_N).astype(np.int64) - first


def _frames(
    past_TYX: np.ndarray, own_T: np.ndarray, first: int, parts: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the mean rain over the times of each part (N, Y, X); `first` begins the record."""
    record = _Record(past_TYX, own_T, first)
    new_NYX = np.empty((len(parts), *past_TYX.shape[1:]), np.float32)
    for new_YX, part in zip(new_NYX, parts, strict=True):
        if part.size == 1:
            new_YX[:] = record.at(part[0])
            continue
        total, count = np.zeros_like(new_YX), np.zeros_like(new_YX)
        for when in part:
            frame_YX = record.at(when)
            seen_YX = ~np.isnan(frame_YX)
            total[seen_YX] += frame_YX[seen_YX]
            count += seen_YX
        new_YX[:] = np.where(2 * count >= part.size, total / np.maximum(count, 1), np.nan)
    return new_NYX


class _Record:
    """Frames that can be asked for at any time."""

    def __init__(self, past_TYX: np.ndarray, own_T: np.ndarray, first: int) -> None:
        self.seen_TYX = ~np.isnan(past_TYX)
        there_T = self.seen_TYX.any(axis=(1, 2))  # frames of NaN are missing
        self.past_TYX, self.seen_TYX = past_TYX[there_T], self.seen_TYX[there_T]
        self.own_T, self.first = own_T[there_T], first
        self.motions: dict[int, Tensor] = {}

    def at(self, when: int) -> np.ndarray:
        """Return the frame at a time: one of the record, or one in between along the motion."""
        after = int(np.searchsorted(self.own_T, when))
        if after < self.own_T.size and self.own_T[after] == when:
            return self.past_TYX[after]
        if after == 0 and self.own_T[:1] == self.first:
            after = 1  # its first frame moved back, within the step that it stands for
        if not 0 < after < self.own_T.size:
            return self._nothing()
        apart = self.own_T[after] - self.own_T[after - 1]
        if apart > LONGEST:
            return self._nothing()
        return self._between(after - 1, float((when - self.own_T[after - 1]) / apart))

    def _nothing(self) -> np.ndarray:
        return np.full(self.past_TYX.shape[1:], np.nan, np.float32)

    def _between(self, before: int, share: float) -> np.ndarray:
        """Return a frame, `share` of the way from one to the next; below 0 it is before both."""
        if before not in self.motions:
            self.motions = {before: self._motion(before)}  # times come in order
        v_B2hw = self.motions[before]
        weights = (1 - share, share) if share > 0 else (1.0, 0.0)
        moved = [self._moved(before + k, v_B2hw, share - k) for k in (0, 1)]
        weight = sum(part * seen for part, (_, seen) in zip(weights, moved, strict=True))
        total = sum(part * seen * rain for part, (rain, seen) in zip(weights, moved, strict=True))
        height, width = self.past_TYX.shape[1:]
        rain_YX = (total / weight)[0, :height, :width].numpy()
        one_YX, other_YX = self.past_TYX[before], self.past_TYX[before + 1]
        still_YX = np.where(np.isnan(one_YX), other_YX, one_YX)
        # at an edge, both may come from beyond it; and what neither sees stays NaN
        return np.where(np.isnan(rain_YX) | np.isnan(still_YX), still_YX, rain_YX)

    def _motion(self, before: int) -> Tensor:
        """The motion from a frame to the next, in coarse cells."""
        pair = slice(before, before + 2)
        rain_TYX = np.nan_to_num(self.past_TYX[pair])
        scaled_BTHW = _padded(SCALE.apply(rain_TYX))[None]
        return flow.motion(scaled_BTHW, _padded(self.seen_TYX[pair])[None])

    def _moved(self, k: int, v_B2hw: Tensor, way: float) -> tuple[Tensor, Tensor]:
        """Frame `k` moved by a share of a motion, and where that comes from what was seen."""
        rain_B1HW = _padded(np.nan_to_num(self.past_TYX[k]))[None, None]
        seen_B1HW = _padded(self.seen_TYX[k]).to(rain_B1HW)[None, None]
        way_B2hw = flow.paths(v_B2hw * (abs(way) / 2), 2, -1 if way > 0 else 1)[:, -1]
        from_B2HW = flow.ends(way_B2hw, rain_B1HW)
        # cubics keep small cells, and overshoot at them and next to them
        moved_B1HW = flow.sample(rain_B1HW, from_B2HW, "bicubic", "border")
        moved_B1HW = moved_B1HW.clamp(min=0, max=float(rain_B1HW.max()))
        seen_B1HW = flow.sample(seen_B1HW, from_B2HW) > 0.99
        return moved_B1HW[:, 0], seen_B1HW[:, 0].to(rain_B1HW)


def _padded(x_YX: np.ndarray) -> Tensor:
    """A field as a tensor of whole coarse cells; what is added is 0, or False."""
    below, right = (-size % flow.COARSE for size in x_YX.shape[-2:])
    x = torch.from_numpy(np.ascontiguousarray(x_YX))
    return F.pad(x, (0, right, 0, below))
