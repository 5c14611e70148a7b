"""Gaps of a record that a nowcast doesn't mind: frames that are missing, read as not seen.

A model that moves rain along closes gaps itself, along the motion. Here the time axis becomes whole
for it: where stamps are missing, and before a record that is too short, come frames of NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch, warn
from ..fields.axes import find_time
from ..fields.time_axis import NEWEST, shift_time, stamps_on_grid, str_time
from ..fields.windows import InitLike, find_inits
from ..packs.card import Card
from .inputs import Entry

LEAST = 2  # frames that tell a motion
LONGEST = 2  # times as long as its frames: a record with more gaps is filled lazily
FEW = 0.1  # of the values in the fullest frame: one with fewer is missing


def with_frames(
    entries: Sequence[Entry], card: Card, init: InitLike
) -> tuple[list[Entry], InitLike]:
    """Return the inputs of a model that moves rain along with a frame at every time step.

    The second is where forecasts start. An init that is named, or the latest, gets all of its
    context, NaN before the record begins; a slice takes the record's own times that are late enough
    for theirs and have two frames in it. Warns of frames that are missing. Data without gaps is
    returned as it is; with gaps that are longer than the frames, as dask arrays.

    Raises
    ------
    ValueError
        Fewer than two frames up to an init.
    """
    time = entries[0].da[find_time(entries[0].da)]
    if time.size < LEAST:
        raise _too_few(card, time.size, str_time(time.values[-1]) if time.size else "the init")
    step, at = stamps_on_grid(time)
    whole = at.size > at[-1]
    stamps = shift_time(time, step, np.array([0]), np.arange(int(at[-1]) + 1))[0]
    if isinstance(init, slice):
        if whole:
            return list(entries), init
        ends = at[find_inits(time, 1, init).positions]
        ends = ends[(ends >= card.context - 1) & (_present(at, ends, card) >= LEAST)]
        if not ends.size:
            raise _too_few(card, 0, f"any in {init.start!r} to {init.stop!r}")
        init = stamps[ends]
    else:
        ends = find_inits(_axis(time, stamps), 1, init).positions
        init = stamps[ends] if init is not None else None
    counts = _present(at, ends, card)
    if counts.min() < LEAST:
        raise _too_few(card, int(counts.min()), str_time(stamps[ends[counts.argmin()]]))
    first, last = int(ends.min()) - card.context + 1, int(ends.max())
    there = (at >= first) & (at <= last)
    if there.sum() == last - first + 1:  # gaps elsewhere, if any, are left out
        kept = slice(None) if whole else np.flatnonzero(there)
        return [replace(e, da=e.da.isel({find_time(e.da): kept})) for e in entries], init
    long = last - first > LONGEST * max(card.context, there.sum())
    most = card.context - int(counts.min())
    note = ""
    if most:
        note = _words(most, not np.isin(ends, at).all(), card)
        if long or any(entry.da.chunks is not None for entry in entries):
            warn(f"{note} (pack {card.name!r})")  # else the values do, which tell more
    stamps = shift_time(time, step, np.array([0]), np.arange(first, last + 1))[0]
    return [replace(e, da=_reindexed(e.da, stamps, long), note=note) for e in entries], init


def _present(at: np.ndarray, ends: np.ndarray, card: Card) -> np.ndarray:
    """Return how many frames there are in the context of each init."""
    return np.searchsorted(at, ends, "right") - np.searchsorted(at, ends - card.context, "right")


def warn_of_missing(x: xr.DataArray, ends: np.ndarray, card: Card) -> None:
    """Warn of frames without values up to an init; the errors are those of `check_seen`."""
    if words := check_seen(x, ends, card):
        warn(f"{words} (pack {card.name!r})")


def check_seen(x: xr.DataArray, ends: np.ndarray, card: Card) -> str:
    """Return in words the most frames without values that an init of `x` has; "" for none.

    An init up to which fewer than two frames have values is a ValueError.
    """
    values = np.array([np.isfinite(frame.to_numpy()).sum() for frame in x])
    most, newest = 0, False
    for end in ends:
        own = values[end - card.context + 1 : end + 1]
        seen = (own > 0) & (own >= FEW * own.max())
        if seen.sum() < LEAST:
            raise _too_few(card, int(seen.sum()), str_time(x["time"].values[end]))
        most, newest = max(most, int((~seen).sum())), newest or not seen[-1]
    return _words(most, newest, card) if most else ""


def _words(most: int, newest: bool, card: Card) -> str:
    """Say how many frames are missing, and whether an init's own, the newest, is among them."""
    words = f"{most} of {card.context} frames are missing and read as not seen"
    return f"{words}, the newest among them" if newest else words


def _axis(time: xr.DataArray, stamps: np.ndarray) -> xr.DataArray:
    name = str(time.name)
    return xr.DataArray(stamps, dims=name, coords={name: (name, stamps, time.attrs)}, name=name)


def _reindexed(da: xr.DataArray, stamps: np.ndarray, long: bool) -> xr.DataArray:
    """Return data at these stamps, NaN where it has none; other labels along time are left out.

    With `long` gaps it is lazy, as frames of NaN would take too much memory.
    """
    dim = find_time(da)
    da = da.chunk({dim: 1}) if long and da.chunks is None else da
    along = [name for name, c in da.coords.items() if dim in c.dims and name not in (dim, NEWEST)]
    time = xr.Variable(dim, stamps, da[dim].attrs, da[dim].encoding)
    return da.drop_vars(along).reindex({dim: pd.Index(stamps)}).assign_coords({dim: time})


def _too_few(card: Card, count: int, when: str) -> ValueError:
    return mismatch(
        f"{LEAST} frames with values or more among the {card.context} up to each init, to tell the "
        f"motion (pack {card.name!r})",
        f"{count} up to {when}",
        "a longer record, or a later init",
    )
