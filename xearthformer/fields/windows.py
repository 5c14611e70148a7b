"""Where to cut: which forecasts can start, their windows, and the empty answer they fill.

xbatcher cuts the windows; the way back, from a batch to labels, is the template.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import xbatcher

from ..errors import mismatch
from .axes import find_axes
from .time_axis import check_time, shift_time, str_time

InitLike = Any  # None, a label, a slice of labels, or a list of labels


@dataclass(frozen=True)
class Inits:
    """Positions on the time axis of the last frame of each window, in ascending order of asking.

    `dropped` says how many of those asked for by a slice could not start, and why; "" when none.
    """

    positions: np.ndarray
    dropped: str = ""


def find_inits(time: xr.DataArray, history: int, init: InitLike = None) -> Inits:
    """Which of the inits asked for have `history` frames up to and including themselves.

    Parameters
    ----------
    time : DataArray (time,)
        A regular, ascending time coordinate.
    history : int
        Frames a window needs.
    init : None, label, slice or list of labels
        None: the last time. A slice takes, as in xarray, every time between both ends, or every
        `step`-th from the first on, and leaves out those without history; a label or a list must
        be served whole.

    Raises
    ------
    ValueError
        Too short a history; an init outside the data; a step that is no whole number from 1.

    Examples
    --------
    >>> import xarray as xr
    >>> time = xr.date_range("2000-01", periods=6, freq="MS")
    >>> time = xr.DataArray(time, dims="time", coords={"time": time})
    >>> find_inits(time, 3, slice("2000-01", "2000-05"))
    Inits(positions=array([2, 3, 4]), dropped='2 of 5 inits lack 3 frames of history')
    >>> find_inits(time, 1, slice("2000-02", None, 2)).positions
    array([1, 3, 5])
    """
    if time.size < history:
        raise mismatch(
            f"a history of at least {history} time steps",
            f"{time.size} ({_span(time)})",
            "a longer record",
        )
    if init is None:
        return Inits(np.array([time.size - 1]))
    if isinstance(init, slice):
        asked = _positions(time, slice(init.start, init.stop))[:: _stride(init)]
        kept = asked[asked >= history - 1]
        if not kept.size:
            raise mismatch(
                f"inits that have {history} frames up to themselves: {_span(time[history - 1 :])}",
                f"none in {init.start!r} to {init.stop!r}",
                f"init=slice({str_time(time.values[history - 1])!r}, None)",
            )
        lost = asked.size - kept.size
        reason = f"{lost} of {asked.size} inits lack {history} frames of history"
        return Inits(kept, reason if lost else "")
    labels = list(init) if _is_listlike(init) else [init]
    if not labels:
        raise mismatch("at least one init", "an empty list", "init=None, for the latest")
    positions = np.concatenate([_positions(time, label) for label in labels])
    if positions.min() < history - 1:
        raise mismatch(
            f"a history of {history} frames up to each init",
            f"{positions.min() + 1} up to {str_time(time.values[positions.min()])}",
            f"an init from {str_time(time.values[history - 1])} on",
        )
    return Inits(positions)


def blocks(positions: np.ndarray, history: int, size: int) -> Iterator[slice]:
    """Cut a list of inits into runs of at most `size` whose windows overlap or touch.

    A run is what is read, regridded and forecast together: one task of a dask graph.
    """
    start = 0
    for i in range(1, len(positions) + 1):
        full = i - start == size
        if i == len(positions) or full or not 0 < positions[i] - positions[i - 1] <= history:
            yield slice(start, i)
            start = i


def cut(da: xr.DataArray, history: int, positions: np.ndarray) -> xr.DataArray:
    """The windows that end at `positions`, dims (init, time, y, x); `time` counts frames.

    Parameters
    ----------
    da : DataArray (time, y, x)
    history : int
    positions : int array
        Of the last frame of each window.
    """
    generator = xbatcher.BatchGenerator(
        da.drop_vars(da.coords),  # a label costs more than the cut itself
        input_dims={"time": history, "y": da.sizes["y"], "x": da.sizes["x"]},
        input_overlap={"time": history - 1} if history > 1 else {},
        concat_input_dims=False,
        preload_batch=False,
    )
    windows = [generator[int(p) - history + 1].variable for p in positions]
    labels = {name: coord for name, coord in da.coords.items() if "time" not in coord.dims}
    return xr.DataArray(xr.Variable.concat(windows, "init"), labels, name=da.name)


def template(
    user: xr.DataArray,
    time: xr.DataArray,
    positions: np.ndarray,
    lead: int,
    members: int | None = None,
) -> xr.DataArray:
    """The empty answer: every label of the forecast, no value (a dask array of nothing).

    Parameters
    ----------
    user : DataArray
        The user's data: its spatial dims, their order and coordinates stay as they are.
    time : DataArray (time,)
        Its time coordinate.
    positions : int array
        Where the forecasts start.
    lead : int
        Number of steps.
    members : int or None
        Of an ensemble; None: there is no such dim.

    Returns
    -------
    DataArray (init, lead, [member,] *spatial)
        Coordinates `init` (forecast_reference_time), `lead` (forecast_period), `member`
        (realization) and `valid_time(init, lead)` (time), CF attributes included.
    """
    import dask.array

    step = check_time(time)
    axes = find_axes(user)
    user = user.squeeze([dim for dim in user.dims if dim not in (axes.time, axes.y, axes.x)])
    spatial = [str(dim) for dim in user.dims if dim in (axes.y, axes.x)]
    leads = np.arange(1, lead + 1)
    init = time.variable[positions].values
    valid = shift_time(time, step, positions, leads)
    coords: dict[str, Any] = {
        str(name): coord for name, coord in user.coords.items() if axes.time not in coord.dims
    }
    coords["init"] = ("init", init, {"standard_name": "forecast_reference_time", "axis": "T"})
    coords["valid_time"] = (("init", "lead"), valid, {"standard_name": "time"})
    attrs = {"standard_name": "forecast_period", "long_name": "time since init"}
    if step == "month":
        coords["lead"] = ("lead", leads, {**attrs, "units": "months"})
    else:
        coords["lead"] = ("lead", leads * step, attrs)
    sizes = {"init": len(positions), "lead": lead}
    if members is not None:
        sizes["member"] = members
        coords["member"] = ("member", np.arange(members), {"standard_name": "realization"})
    sizes.update({dim: user.sizes[dim] for dim in spatial})
    empty = dask.array.empty(tuple(sizes.values()), dtype=user.dtype)
    return xr.DataArray(empty, dims=tuple(sizes), coords=coords, name=user.name)


def _positions(time: xr.DataArray, label: Any) -> np.ndarray:
    """Where a label or slice of labels stands on the time axis."""
    axis = xr.DataArray(
        np.arange(time.size), dims="time", coords={"time": time.variable.to_index_variable()}
    )
    if not isinstance(label, slice) and not isinstance(label, str):
        label = np.asarray(label).item() if isinstance(label, xr.DataArray) else label
    try:
        found = np.atleast_1d(axis.sel(time=label).values)
    except (KeyError, ValueError, TypeError) as error:
        raise _outside(time, label) from error
    if not found.size and not isinstance(label, slice):
        raise _outside(time, label)
    return found


def _stride(init: slice) -> int:
    """The step of a slice of inits: it counts times, whatever the labels are."""
    step = 1 if init.step is None else init.step
    if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 1:
        raise mismatch(
            "the step of a slice as a whole number of inits, from 1",
            repr(init.step),
            f"init=slice({init.start!r}, {init.stop!r}, 12), for every twelfth",
        )
    return int(step)


def _outside(time: xr.DataArray, label: Any) -> ValueError:
    return mismatch(
        f"an init among the data's own times, {_span(time)}",
        repr(label),
        "init=None, for the latest",
    )


def _is_listlike(init: Any) -> bool:
    return not isinstance(init, str) and np.ndim(init) > 0


def _span(time: xr.DataArray) -> str:
    return f"{str_time(time.values[0])} to {str_time(time.values[-1])}"
