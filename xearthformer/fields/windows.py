"""Windows of frames: which forecasts can start, the frames they see, and the empty answer.

xbatcher cuts the windows; the way back, from a batch to labels, is the template.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
import xbatcher
from numpy.typing import NDArray

from ..errors import mismatch, warn, whole_number
from .axes import coordinate, find_axes, find_time
from .cf import find_grid_mapping, of_forecast, without_dangling
from .quantities import KNOWN
from .stamps import as_label
from .time_axis import (
    MIDDLE,
    NEWEST,
    check_end,
    check_time,
    shift_time,
    str_time,
    whole_encoding,
)

if TYPE_CHECKING:
    import cftime

Label: TypeAlias = "str | datetime | np.datetime64 | cftime.datetime"
InitLike: TypeAlias = "Label | slice | Sequence[Label] | np.ndarray | xr.DataArray | None"


@dataclass(frozen=True)
class Inits:
    """Where forecasts start: positions on the time axis of the last frame of each window.

    Positions are in the order of the labels given. `dropped` says how many inits of a slice could
    not start, and why; "" if none.
    """

    positions: np.ndarray
    dropped: str = ""


def find_inits(time: xr.DataArray, context: int, init: InitLike = None) -> Inits:
    """Return the inits that have `context` frames up to and including themselves.

    `time` is regular and ascending. `init` None is the last time. A slice selects, as in xarray,
    every time between both ends, or every `step`-th from the first on, without those that lack
    frames; a single label or a list is served whole or not at all. A record shorter than a window
    and an init outside the data raise ValueError.

    >>> time = xr.date_range("2000-01", periods=6, freq="MS")
    >>> time = xr.DataArray(time, dims="time", coords={"time": time})
    >>> find_inits(time, 3, slice("2000-01", "2000-05"))
    Inits(positions=array([2, 3, 4]), dropped='2 of 5 inits lack 3 frames of context')
    >>> find_inits(time, 1, slice("2000-02", None, 2)).positions
    array([1, 3, 5])
    """
    if time.size < context:
        found = f"{time.size} ({_period(time)})"
        raise mismatch(f"a record of at least {context} time steps", found, "a longer record")
    first = context - 1  # position of the first init that has its frames
    if init is None:
        return Inits(np.array([time.size - 1]))
    if isinstance(init, slice):
        every = f"init=slice({init.start!r}, {init.stop!r}, 12), for every twelfth"
        step = 1 if init.step is None else init.step  # counts times, whatever the labels are
        step = whole_number("the step of the slice init", step, hint=every)
        inside = _positions(time, slice(init.start, init.stop))[::step]
        positions = inside[inside >= first]
        if not positions.size:
            raise mismatch(
                f"inits that have {context} frames up to themselves: {_period(time[first:])}",
                f"none in {init.start!r} to {init.stop!r}",
                f"init=slice({str_time(time.values[first])!r}, None)",
            )
        lost = inside.size - positions.size
        reason = f"{lost} of {inside.size} inits lack {context} frames of context"
        return Inits(positions, reason if lost else "")
    is_list = isinstance(init, list | tuple) or (not isinstance(init, str) and np.ndim(init) > 0)  # type: ignore[arg-type]
    labels: list[Label] = list(init) if is_list else [init]  # type: ignore
    if not labels:
        raise mismatch("at least one init", "an empty list", "init=None, for the latest")
    at_once = _found_at_once(time, labels)
    positions = (
        np.concatenate([_positions(time, label) for label in labels])
        if at_once is None
        else at_once
    )
    earliest = positions.min()
    if earliest < first:
        found = f"{earliest + 1} up to {str_time(time.values[earliest])}"
        hint = f"an init from {str_time(time.values[first])} on"
        raise mismatch(f"{context} frames up to each init", found, hint)
    return Inits(positions)


def later_inits(
    da: xr.DataArray, init: np.ndarray, compute: bool = False
) -> NDArray[np.bool_] | None:
    """Return which inits' own frames were made of later ones (`to_step`): bool (init,).

    `init` are stamps of the time axis of `da`. None where values alone tell, in lazy data, unless
    they may be computed.
    """
    time = da[find_time(da)]
    if NEWEST not in time.coords or time.coords[NEWEST].dims != time.dims:
        return np.zeros(len(init), bool)
    own = time[np.isin(time.values, init)]
    newest = own.coords[NEWEST]
    if newest.chunks is not None and not compute:
        return None
    return np.isin(init, own.values[newest.values > own.values])


def describe_later(late: NDArray[np.bool_] | None) -> str:
    """Return in words, for the history, what `later_inits` found; "" if there are none."""
    if late is None:
        return "inits may know frames after them, as frames in between and bridged ones do"
    words = f"{late.sum()} of {late.size} inits know frames after them, as frames in between do"
    return words if late.any() else ""


def warn_of_later(da: xr.DataArray, init: np.ndarray, late: NDArray[np.bool_] | None) -> None:
    """Warn of `late` inits, and name the slice of the others where these are evenly apart."""
    if late is None or not late.any():
        return
    time = da[find_time(da)].values
    places = np.flatnonzero(np.isin(time, init[~late]))
    steps = np.unique(np.diff(places))
    mend = ""
    if steps.size == 1:
        first, last = str_time(time[places[0]]), str_time(time[places[-1]])
        mend = f"; init=slice({first!r}, {last!r}, {steps[0]}) has those that don't"
    warn(f"{describe_later(late)}: scores of theirs would be too good{mend}")


def blocks(positions: np.ndarray, context: int, size: int) -> Iterator[slice]:
    """Split a list of inits into runs of at most `size` whose windows overlap or touch.

    The inits of a run are read, regridded and forecast together: one task of a dask graph.
    """
    start = 0
    for i in range(1, len(positions) + 1):
        full = i - start == size
        # a gap, or a step back in time, would read frames that no window of the run needs
        if i == len(positions) or full or not 0 < positions[i] - positions[i - 1] <= context:
            yield slice(start, i)
            start = i


def cut_windows(da: xr.DataArray, context: int, positions: np.ndarray) -> xr.DataArray:
    """Return the windows of `da` (time, y, x) whose last frames are at `positions`.

    Dims (init, time, y, x); `time` counts the `context` frames of a window.
    """
    generator = xbatcher.BatchGenerator(
        da.drop_vars(da.coords),  # slicing labels costs more than slicing the data
        input_dims={"time": context, "y": da.sizes["y"], "x": da.sizes["x"]},
        input_overlap={"time": context - 1} if context > 1 else {},
        concat_input_dims=False,
        preload_batch=False,
    )
    windows = [generator[int(p) - context + 1].variable for p in positions]
    labels = {name: coord for name, coord in da.coords.items() if "time" not in coord.dims}
    return xr.DataArray(xr.Variable.concat(windows, "init"), labels, name=da.name)


def template(
    user: xr.DataArray,
    time: xr.DataArray,
    positions: np.ndarray,
    lead: int,
    members: int | None = None,
) -> xr.DataArray:
    """Return the empty answer: every label of the forecast and no values (an empty dask array).

    Forecasts start at `positions` of the coordinate `time`, and run for `lead` steps. Dims are
    init, lead, member unless `members` is None, then the user's spatial dims in their own order
    and with their coordinates. The CF standard names are forecast_reference_time (init),
    forecast_period (lead), realization (member) and time (valid_time, along init and lead). Where
    months go by time bounds, the bounds' middles stand next to the valid times. Times are written
    so that a store takes later ones too (`whole_encoding`); attributes are `cf.of_forecast`'s.
    """
    import dask.array

    step = check_time(time)
    axes = find_axes(user)
    stamps = coordinate(user, "time")
    user = user.squeeze([dim for dim in user.dims if dim not in (axes.time, axes.y, axes.x)])
    spatial = [str(dim) for dim in user.dims if dim in (axes.y, axes.x)]
    check_end(time, step, positions, lead)
    leads = np.arange(1, lead + 1)
    init = time.variable[positions].values
    times = {"valid_time": shift_time(time, step, positions, leads)}  # (init, lead)
    if MIDDLE in time.coords:  # valid times are stamps too, which do not say their month
        times[MIDDLE] = shift_time(time.coords[MIDDLE], step, positions, leads)
    own = {} if stamps is None else stamps.encoding
    every = np.concatenate([time.values, *(each.ravel() for each in times.values())])
    encoding = whole_encoding(every, own)
    coords: dict[str, xr.Variable] = {
        str(name): coord.variable.drop_encoding()  # of the file that it was read from
        for name, coord in user.coords.items()
        if axes.time not in coord.dims
    }
    for name in {*coords} & {*spatial}:  # else files get one from xarray, which CF forbids
        coords[name].encoding = {"_FillValue": None}
    attrs: dict[str, str] = {"standard_name": "forecast_reference_time", "axis": "T"}
    coords["init"] = xr.Variable("init", init, attrs, encoding)
    for name, values in times.items():
        attrs = {"standard_name": "time"} if name == "valid_time" else time.coords[name].attrs
        coords[name] = xr.Variable(("init", "lead"), values, attrs, encoding)
    attrs = {"standard_name": "forecast_period", "long_name": "time since init"}
    if step == "month":  # months have no fixed length, and so no timedelta
        coords["lead"] = xr.Variable("lead", leads, {**attrs, "units": "months"})
    else:
        coords["lead"] = xr.Variable("lead", leads * step, attrs)
    sizes = {"init": len(positions), "lead": lead}
    if members is not None:
        sizes["member"] = members
        attrs = {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}
        coords["member"] = xr.Variable("member", np.arange(members), attrs)
    _check_name(user.name, coords)
    sizes.update({dim: user.sizes[dim] for dim in spatial})
    for coord in coords.values():
        coord.attrs = without_dangling(coord.attrs, coords)
    empty = dask.array.empty(tuple(sizes.values()), dtype=user.dtype)
    answer = xr.DataArray(empty, coords, tuple(sizes), attrs=of_forecast(user.attrs, coords))
    answer.name = user.name  # or dask's own, for data without one
    mapping = find_grid_mapping(user)
    if mapping is not None and "grid_mapping" not in answer.attrs:
        answer.encoding["grid_mapping"] = mapping
    return answer


def _check_name(name: Hashable, labels: Iterable[str]) -> None:
    """Refuse data named like a label of its forecast: in a Dataset one would replace the other."""
    if name in (*labels, KNOWN):
        raise mismatch(
            "data of another name than the labels of its forecast",
            repr(name),
            f'da.rename("{name}_value"), or ds.rename({{"{name}": "{name}_value"}})',
        )


def _positions(time: xr.DataArray, label: Label | slice | xr.DataArray) -> np.ndarray:
    """Return the positions on the time axis of a label or a slice of labels."""
    axis = xr.DataArray(
        np.arange(time.size), dims="time", coords={"time": time.variable.to_index_variable()}
    )
    label = as_label(label, time)
    if isinstance(label, np.datetime64 | datetime) and label not in axis.indexes["time"]:
        # a stamp of the user's own, seconds off, where `round_jitter` has rounded the data's
        rounded = pd.Timestamp(label).round("min")
        label = rounded if rounded in axis.indexes["time"] else label
    cause = None
    try:
        positions = np.atleast_1d(axis.sel(time=label).values)
    except (KeyError, ValueError, TypeError, pd.errors.InvalidIndexError) as error:
        cause, positions = error, np.array([], dtype=int)
    if positions.size or (isinstance(label, slice) and not cause):
        return positions
    expected = f"an init among the data's own times, {_period(time)}"
    raise mismatch(expected, repr(label), _mend_init(label, time)) from cause


def _mend_init(label: Label | slice, time: xr.DataArray) -> str:
    """Return what to type for a label that isn't there: its month, or the stamp before it."""
    if isinstance(label, np.datetime64 | datetime) and time.dtype.kind == "M":
        stamp = np.datetime64(label)
        if time.values[0] <= stamp <= time.values[-1]:
            before = time.values[np.searchsorted(time.values, stamp) - 1]
            # a month's stamp may be its first day, its middle or its last
            month = np.median(np.diff(time.values)) >= np.timedelta64(28, "D")
            return f'init="{str(stamp)[:7] if month else str_time(before)}"'
    return "init=None, for the latest"


def _found_at_once(time: xr.DataArray, labels: list[Label]) -> np.ndarray | None:
    """Return the positions of stamps that are all there, as of a long hindcast; None otherwise."""
    if len(labels) == 1 or time.dtype.kind != "M":
        return None
    if not all(isinstance(label, np.datetime64) for label in labels):
        return None
    positions = time.to_index().get_indexer(np.array(labels))
    return None if (positions < 0).any() else positions


def _period(time: xr.DataArray) -> str:
    return f"{str_time(time.values[0])} to {str_time(time.values[-1])}"
