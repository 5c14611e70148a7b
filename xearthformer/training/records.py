"""Records for training: the way in of a forecast, one tensor of frames, where windows start in it.

cf.prepare · grid.to_model · scale.apply · tensors.to_tensor · (windows as positions)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from ..errors import mismatch
from ..fields import regrid
from ..fields.time_axis import str_time
from ..inference import inputs, tensors
from ..packs.card import Card, LatLonGrid
from .loop import Windows
from .windows import Crop, Crops, find

Record = xr.DataArray | xr.Dataset
Period = tuple[str | int, str | int]


def listed(data: Record | Sequence[Record]) -> list[Record]:
    return [data] if isinstance(data, xr.DataArray | xr.Dataset) else list(data)


def on_grid(data: Record, card: Card) -> xr.DataArray:
    """A record (time, y, x) in the card's units on the card's grid, in memory; land is NaN."""
    prepared, _ = inputs.prepare(inputs.variable(data, card), card)
    if isinstance(card.grid, LatLonGrid):
        prepared = regrid.to_model(prepared, card.grid.latitude, card.grid.longitude)
    return prepared.compute()


def within(da: xr.DataArray, span: Period | None) -> xr.DataArray:
    """The part of a record between two time labels, both included."""
    return da if span is None else da.sel(time=slice(*map(str, span)))


def _span(da: xr.DataArray, span: Period | None) -> tuple[int, int]:
    """First and one-past-last position of a period in a record; equal when it holds none of it."""
    here = xr.DataArray(np.arange(da.sizes["time"]), coords={"time": da["time"]}, dims="time")
    found = within(here, span).to_numpy()
    return (int(found[0]), int(found[-1]) + 1) if found.size else (0, 0)


def check_periods(
    records: list[xr.DataArray],
    period: Period | None,
    validation: Period | list[xr.DataArray] | None,
) -> None:
    """See that the training period holds data, and the validation period none of it."""
    if not any(_span(da, period)[1] for da in records):
        raise mismatch(
            "a training period that holds data",
            f"period {_text(period)}; the data spans {', '.join(map(ends, records[:3]))}",
            "period=(start, end) within the data",
        )
    if validation is None or isinstance(validation, list):
        return
    for da in records:
        first, last = _span(da, period)
        start, end = _span(da, validation)
        if max(first, start) < min(last, end):
            raise mismatch(
                "a validation period apart from the training period",
                f"period {_text(period)} and validation {_text(validation)}, which overlap",
                "period=(start, end), validation=(start, end) with no time in both",
            )


def _text(span: Period | None) -> str:
    return "of the whole record" if span is None else f"{span[0]} .. {span[1]}"


@dataclass(frozen=True)
class Cut:
    """What training sees of the records.

    Attributes
    ----------
    training, validation : Windows or Crops
    counts : [int, int]
        Training windows of the records, then of the extras.
    spans : list of slice
        The frames of the training period, a slice a record, then each extra.
    """

    training: Windows | Crops
    validation: Windows | Crops | None
    counts: list[int]
    spans: list[slice]


def cut(
    records: list[xr.DataArray],
    extras: list[xr.DataArray],
    card: Card,
    period: Period | None,
    validation: Period | list[xr.DataArray] | None,
    crop: Crop | None = None,
) -> Cut:
    """Frames of all records, and where windows start in them.

    Training windows lie wholly in the period, extras are taken whole; of validation windows the
    targets lie wholly in the validation period, and validation records are taken whole. With
    `crop` windows are cut in space too.

    Raises
    ------
    ValueError
        No window fits; missing values that aren't land, unless the card allows them.
    """
    held_out = validation if isinstance(validation, list) else []
    between = None if isinstance(validation, list) else validation
    frames = [_to_frames(da, card) for da in [*records, *extras, *held_out]]
    _check_holes(frames, card)
    ends_of, spans = _share_out(records, extras, held_out, card, period, between)
    places = []
    for group in ends_of:  # training, extra, validation
        starts = [_starts(first, end, card) for first, end in group]
        places.append(_crops(frames, starts, card, crop) if crop else _in_all(frames, starts))
    training, checks = torch.cat(places[:2]), places[2]
    _check_some("period", places[0], _text(period), records, card, crop)
    if validation is not None:
        said = "the records to validate on" if held_out else _text(between)
        _check_some("validation", checks, said, records, card, crop)
    if crop is not None:
        checks = checks[:: max(1, -(-len(checks) // crop.checks))]
        made = [Crops(frames, p, card.context, card.lead, crop.size) for p in (training, checks)]
    else:
        joined = torch.cat(frames)
        made = [Windows(joined, p, card.context, card.lead) for p in (training, checks)]
    counts = [len(places[0]), len(places[1])]
    return Cut(made[0], made[1] if validation is not None else None, counts, spans)


def _share_out(
    records: list[xr.DataArray],
    extras: list[xr.DataArray],
    held_out: list[xr.DataArray],
    card: Card,
    period: Period | None,
    between: Period | None,
) -> tuple[list[list[tuple[int, int]]], list[slice]]:
    """First and one-past-last frame of each record in training, as extra, and in validation.

    And the frames of the training period among those of all records.
    """
    groups: list[list[tuple[int, int]]] = [[], [], []]
    spans, begin, none = [], 0, (0, 0)
    for i, da in enumerate([*records, *extras, *held_out]):
        whole = 0, da.sizes["time"]
        if i < len(records):
            start, end = _span(da, between) if between is not None else none
            mine = _span(da, period), none, (max(0, start - card.context), end)
        elif i < len(records) + len(extras):
            mine = none, whole, none
        else:
            mine = none, none, whole
        for group, part in zip(groups, mine, strict=True):
            group.append(part)
        if i < len(records) + len(extras):
            first, last = mine[0] if i < len(records) else whole
            spans.append(slice(begin + first, begin + last))
        begin += da.sizes["time"]
    return groups, spans


def _check_some(
    name: str,
    places: torch.Tensor,
    said: str,
    records: list[xr.DataArray],
    card: Card,
    crop: Crop | None,
) -> None:
    """See that there is a window."""
    if not len(places):
        wet = f", {crop.least:.0%} of its middle above zero" if crop else ""
        raise mismatch(
            f"a window of {card.context} time steps in and {card.lead} out in {name}{wet}",
            f"none in {said}; the data spans {', '.join(map(ends, records[:3]))}",
            f"{name}=(start, end) with more between them, or bring a longer record",
        )


def _in_all(frames: list[torch.Tensor], starts: list[np.ndarray]) -> torch.Tensor:
    """Where windows start among the frames of all records, one record after another."""
    begins = np.cumsum([0, *map(len, frames)])
    return torch.from_numpy(np.concatenate([b + s for b, s in zip(begins, starts, strict=False)]))


def _crops(
    frames: list[torch.Tensor], starts: list[np.ndarray], card: Card, crop: Crop
) -> torch.Tensor:
    """The places of all crops: record, first frame, row and column."""
    places = [find(f, s, card.context, crop) for f, s in zip(frames, starts, strict=True)]
    return torch.cat([F.pad(place, (1, 0), value=i) for i, place in enumerate(places)])


def _check_holes(frames: list[torch.Tensor], card: Card) -> None:
    holes = sum(int(frames_NHWC.isnan().sum()) for frames_NHWC in frames)
    if holes and card.missing != "allowed":
        raise mismatch(
            "no missing values in training data but on land",
            f"{holes} on the model's grid",
            "da.fillna(...) or da.interpolate_na(...) first",
        )


def _starts(first: int, end: int, card: Card) -> np.ndarray:
    """Where windows start that lie wholly in frames first .. end - 1."""
    return np.arange(first, max(first, end - card.context - card.lead + 1))


def _to_frames(da: xr.DataArray, card: Card) -> torch.Tensor:
    """A record as the model sees it (N, H, W, 1): land filled, scaled."""
    return tensors.to_tensor(inputs.enter(da, card).expand_dims("init"))[0]


def ends(da: xr.DataArray) -> str:
    """The first and the last time of a record, in words."""
    return f"{str_time(da['time'].values[0])} .. {str_time(da['time'].values[-1])}"
