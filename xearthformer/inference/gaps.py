"""Gaps of a record that a nowcast doesn't mind: frames that are missing, read as not seen.

A model that moves rain along closes gaps itself, along the motion. Here the time axis becomes whole
for it: where stamps are missing, and before a record that is too short, come frames of NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_time
from ..fields.time_axis import check_time, shift_time, stamps_on_grid, str_time
from ..fields.windows import InitLike, find_inits
from ..packs.card import Card
from .inputs import Entry

LEAST = 2  # frames that tell a motion
LONGEST = 10  # times as long as its frames: a record with more gaps is several records
FEW = 0.1  # of the values in the fullest frame: one with fewer is missing


def with_frames(entries: Sequence[Entry], card: Card, init: InitLike) -> list[Entry]:
    """Return the inputs of a model that moves rain along with a frame at every time step.

    An init that is named, or the latest, gets all of its context, NaN before the record begins;
    inits of a slice must have theirs, as with any pack. Warns of frames that are missing. Data
    without gaps is returned as it is.

    Raises
    ------
    ValueError
        Fewer than two frames up to an init; a record that is mostly gaps.
    """
    time = entries[0].da[find_time(entries[0].da)]
    if time.size < LEAST:
        raise _too_few(card, time.size, str_time(time.values[-1]) if time.size else "the init")
    step, at = stamps_on_grid(time)
    first, last = 0, int(at[-1])
    ends = np.arange(card.context - 1, last + 1)
    if not isinstance(init, slice):
        stamps = shift_time(time, step, np.array([0]), np.arange(last + 1))[0]
        ends = find_inits(_axis(time, stamps), 1, init).positions
        first, last = int(ends.min()) - card.context + 1, int(ends.max())
    there = (at >= first) & (at <= last)
    if there.sum() == last - first + 1:  # gaps elsewhere, if any, are left out
        at_most = slice(None) if at.size > at[-1] else np.flatnonzero(there)
        return [replace(e, da=e.da.isel({find_time(e.da): at_most})) for e in entries]
    if last - first > LONGEST * there.sum():
        check_time(time)  # says where the gaps are
    stamps = shift_time(time, step, np.array([0]), np.arange(first, last + 1))[0]
    has_stamp = np.isin(np.arange(first, last + 1), at)
    most = _most_missing(has_stamp, ends - first, stamps, card)
    if any(entry.da.chunks is not None for entry in entries):  # values in memory tell more
        _warn(most, card)
    note = f"{most} of {card.context} frames are missing and read as not seen"
    return [replace(entry, da=_reindexed(entry.da, stamps), note=note) for entry in entries]


def warn_of_missing(x: xr.DataArray, ends: np.ndarray, card: Card) -> None:
    """Warn of frames without values up to an init; the errors are those of `check_seen`."""
    if most := check_seen(x, ends, card):
        _warn(most, card)


def check_seen(x: xr.DataArray, ends: np.ndarray, card: Card) -> int:
    """Return the most frames without values that an init of `x` has, of those that have a stamp.

    An init up to which fewer than two frames have values is a ValueError.
    """
    counts = np.array([np.isfinite(frame.to_numpy()).sum() for frame in x])
    has_values = np.zeros(counts.size, bool)
    for end in ends:
        window = slice(end - card.context + 1, end + 1)
        has_values[window] = (counts[window] > 0) & (counts[window] >= FEW * counts[window].max())
    return _most_missing(has_values, ends, x["time"].values, card)


def _most_missing(there: np.ndarray, ends: np.ndarray, stamps: np.ndarray, card: Card) -> int:
    """Return the most frames that are missing up to an init; with fewer than two it is an error."""
    counts = [int(there[max(0, end - card.context + 1) : end + 1].sum()) for end in ends]
    if counts and min(counts) < LEAST:
        raise _too_few(card, min(counts), str_time(stamps[ends[int(np.argmin(counts))]]))
    return card.context - min(counts, default=card.context)


def _warn(most: int, card: Card) -> None:
    words = f"{most} of {card.context} frames are missing and read as not seen"
    warnings.warn(f"{words} (pack {card.name!r})", stacklevel=4)


def _axis(time: xr.DataArray, stamps: np.ndarray) -> xr.DataArray:
    name = str(time.name)
    return xr.DataArray(stamps, dims=name, coords={name: (name, stamps, time.attrs)}, name=name)


def _reindexed(da: xr.DataArray, stamps: np.ndarray) -> xr.DataArray:
    """Return data at these stamps, NaN where it has none; labels along time are left out."""
    dim = find_time(da)
    along = [name for name, coord in da.coords.items() if dim in coord.dims and name != dim]
    time = xr.Variable(dim, stamps, da[dim].attrs, da[dim].encoding)
    return da.drop_vars(along).reindex({dim: pd.Index(stamps)}).assign_coords({dim: time})


def _too_few(card: Card, count: int, when: str) -> ValueError:
    return mismatch(
        f"{LEAST} frames with values or more among the {card.context} up to each init, to tell the "
        f"motion (pack {card.name!r})",
        f"{count} up to {when}",
        "a longer record, or a later init",
    )
