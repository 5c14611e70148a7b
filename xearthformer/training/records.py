"""Records for training: in through a forecast's own door, and cut into windows.

cf.prepare · regrid.to_model · scale.apply · tensors.to_tensor · windows, by where they start
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from ..errors import mismatch, warn
from ..fields import regrid
from ..fields.time_axis import calendar_months, check_time, str_time
from ..inference import inputs, tensors
from ..packs.card import Card, LatLonGrid
from .windows import Batches, Crop, Crops, Windows, find_crops

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Record = xr.DataArray | xr.Dataset
Gridded = TypeVar("Gridded", xr.DataArray, xr.Dataset)
Period = tuple[str | int, str | int]  # two time labels, both included: ("1990", "1998-06")
Stretch = tuple[int, int, int]  # of a record: its number, first and one-past-last frame


def is_period(value: object) -> TypeIs[Period]:
    """Return whether a value is a pair of time labels, and not data."""
    # dates of every calendar have isoformat
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(x, str | int | np.generic) or hasattr(x, "isoformat") for x in value)
    )


def on_grid(data: Record, card: Card) -> xr.Dataset:
    """Return the card's inputs (time, y, x) in its units, on its grid, in memory; land is NaN."""
    entries = inputs.select(data, card)
    prepared = [inputs.prepare(entry, card)[0] for entry in entries]
    record = {}
    for entry, da in zip(entries, inputs.on_same_pixels(prepared, card), strict=True):
        if isinstance(card.grid, LatLonGrid):
            da = regrid.to_model(da, card.grid.latitude, card.grid.longitude)
        # where something stands in for the input, in units of the input from here on
        own = card.inputs[entry.name]
        if entry.variable != own:
            da = own.scale.undo(entry.variable.scale.apply(da)).assign_attrs(units=own.units)
        record[entry.name] = da
    return xr.Dataset(record).compute()


def on_grids(data: Record | Sequence[Record], card: Card) -> list[xr.Dataset]:
    """Return one record or several on the card's grid, as a list."""
    records = [data] if isinstance(data, xr.DataArray | xr.Dataset) else data
    return [on_grid(record, card) for record in records]


def frames_of(record: xr.Dataset, card: Card) -> torch.Tensor:
    """Return a record as the model sees it, (N, H, W, C): land filled, scaled, known channels."""
    entered = [
        inputs.enter(record[name], name, variable, card) for name, variable in card.inputs.items()
    ]
    frames_NHWC = tensors.to_tensor([da.expand_dims("init") for da in entered])[0]
    if not card.known:
        return frames_NHWC
    time = record["time"]
    months_N = calendar_months(time, check_time(time), np.arange(time.size), np.array([0]))[:, 0]
    known = tensors.known_channels(card, months_N[None])
    assert known is not None
    return torch.cat([frames_NHWC, known[0].expand(*frames_NHWC.shape[:-1], -1)], dim=-1)


def within(da: Gridded, period: Period | None) -> Gridded:
    """Return the part of a record in a period; None: all of it."""
    if period is None:
        return da
    labels = [label(one) for one in period]
    try:
        # pandas would take 01/02/2000 for the second of January
        if all(re.match(r"\d{4}", one) for one in labels):
            return da.sel(time=slice(*labels))
        cause = None
    except (KeyError, TypeError, ValueError) as error:  # of what is no time
        cause = error
    expected = "times for the ends of a period, the year first"
    raise mismatch(expected, ", ".join(labels), f"times of the data, {ends(da)}") from cause


def label(time: object) -> str:
    """Return a time label as text; a year has four digits.

    >>> label(850), label("2000-01")
    ('0850', '2000-01')
    """
    return f"{time:04d}" if isinstance(time, int) else str(time)


def _positions(da: Record, period: Period | None) -> tuple[int, int]:
    """Return first and one-past-last position of a period; equal when it holds no data."""
    here = xr.DataArray(np.arange(da.sizes["time"]), coords={"time": da["time"]}, dims="time")
    positions = within(here, period).to_numpy()
    return (int(positions[0]), int(positions[-1]) + 1) if positions.size else (0, 0)


def check_periods(
    records: Sequence[Record],
    period: Period | None,
    validation: Period | Sequence[Record] | None,
) -> None:
    """Check that the training period holds data, and the validation period none of it."""
    if not any(_positions(da, period)[1] for da in records):
        raise mismatch(
            "a training period that holds data",
            f"period {_words(period)}; the data spans {', '.join(map(ends, records[:3]))}",
            "period=(start, end) within the data",
        )
    if not is_period(validation):
        return
    for da in records:
        first, last = _positions(da, period)
        start, end = _positions(da, validation)
        if max(first, start) < min(last, end):
            raise mismatch(
                "a validation period apart from the training period",
                f"period {_words(period)} and validation {_words(validation)}, which overlap",
                "period=(start, end), validation=(start, end) with no time in both",
            )


def _words(period: Period | None) -> str:
    return "of the whole record" if period is None else f"{period[0]} .. {period[1]}"


def ends(da: Record) -> str:
    """Return the first and the last time of a record, in words."""
    return f"{str_time(da['time'].values[0])} .. {str_time(da['time'].values[-1])}"


@dataclass(frozen=True)
class WindowSets:
    """The windows to train and to validate on."""

    training: Batches
    validation: Batches | None
    counts: list[int]  # training windows from the records, and from the extra ones
    spans: list[slice]  # frames of the training period, per record and then per extra record


def make_windows(
    records: Sequence[xr.Dataset],
    extras: Sequence[xr.Dataset],
    card: Card,
    period: Period | None,
    validation: Period | Sequence[xr.Dataset] | None,
    crop: Crop | None = None,
) -> WindowSets:
    """Return the windows of all records.

    Training windows lie wholly in `period`, extra records are used whole. The targets of validation
    windows lie wholly in the validation period; validation records are used whole. With `crop`
    windows are cut in space too.
    """
    between = validation if is_period(validation) else None
    checked = [] if validation is None or is_period(validation) else validation
    frames = [frames_of(record, card) for record in [*records, *extras, *checked]]
    if validation is not None:
        # extra records are trained on whatever their dates, which may be those to validate on
        first = len(records) + len(extras) if checked else len(records)
        _warn_of_same(frames[:first], frames[first:], checked or extras)
    wholes = [(i, 0, len(frames_NHWC)) for i, frames_NHWC in enumerate(frames)]
    training = [(i, *_positions(da, period)) for i, da in enumerate(records)]
    extra = wholes[len(records) : len(records) + len(extras)]
    checks = wholes[len(records) + len(extras) :]
    if between is not None:
        stretches = [(i, *_positions(da, between)) for i, da in enumerate(records)]
        # inputs may come from before the validation period: only the targets are kept apart
        checks = [(i, max(0, start - card.context), end) for i, start, end in stretches]

    begins = [0, *accumulate(map(len, frames))]  # of each record, among all frames
    groups = training, extra, checks
    places = [_places(stretches, frames, begins, card, crop) for stretches in groups]
    _check_some("period", places[0], _words(period), records, card, crop)
    if validation is not None:
        words = "the records to validate on" if checked else _words(between)
        _check_some("validation", places[2], words, records, card, crop)
    to_train, to_check = torch.cat(places[:2]), places[2]
    outputs = [i for i, name in enumerate(card.inputs) if name in card.outputs]
    targets = None if len(outputs) == card.channels else torch.tensor(outputs)
    sets: list[Batches]
    if crop is not None:
        to_check = to_check[:: max(1, math.ceil(len(to_check) / crop.checks))]
        both = to_train, to_check
        known = card.channels - len(card.inputs)
        sets = [Crops(frames, p, card.context, card.lead, crop.size, targets, known) for p in both]
    else:
        joined = torch.cat(frames)
        both = to_train, to_check
        sets = [Windows(joined, p, card.context, card.lead, targets) for p in both]
    spans = [slice(begins[i] + start, begins[i] + end) for i, start, end in training + extra]
    counts = [len(places[0]), len(places[1])]
    return WindowSets(sets[0], sets[1] if validation is not None else None, counts, spans)


def _warn_of_same(
    some: Sequence[torch.Tensor], others: Sequence[torch.Tensor], records: Sequence[xr.Dataset]
) -> None:
    """Warn of a record that is trained on, and validated on too; `records` are the others.

    Their frames are compared: names and dates may have changed.
    """
    for other, record in zip(others, records, strict=True):
        if any(np.array_equal(one, other, equal_nan=True) for one in some):
            warn(
                f"the record of {ends(record)} is trained on, and validated on too: the losses and "
                "scores of validation are no test of the model"
            )


def _places(
    stretches: list[Stretch],
    frames: list[torch.Tensor],
    begins: list[int],
    card: Card,
    crop: Crop | None,
) -> torch.Tensor:
    """Return where windows start that lie wholly in stretches of records.

    Whole frames: positions (S,) among the frames of all records. Crops: record, first frame, row
    and column (S, 4).
    """
    places = [torch.empty((0, 4) if crop else 0, dtype=torch.int64)]  # for no stretches
    for i, first, end in stretches:
        starts = np.arange(first, max(first, end - card.context - card.lead + 1))
        if crop is None:
            places.append(torch.from_numpy(begins[i] + starts))
        else:
            crops = find_crops(frames[i], starts, card.context, crop)
            places.append(F.pad(crops, (1, 0), value=i))
    return torch.cat(places)


def _check_some(
    name: str,
    places: torch.Tensor,
    where: str,
    records: Sequence[xr.Dataset],
    card: Card,
    crop: Crop | None,
) -> None:
    """Check that there is a window."""
    if not len(places):
        wet = f", {crop.least:.0%} of its middle above zero" if crop else ""
        raise mismatch(
            f"a window of {card.context} time steps in and {card.lead} out in {name}{wet}",
            f"none in {where}; the data spans {', '.join(map(ends, records[:3]))}",
            f"{name}=(start, end) with more between them, or bring a longer record",
        )
