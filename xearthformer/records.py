"""Records for training: the way in of a forecast, one tensor of frames, where windows start in it.

cf.prepare · grid.to_model · scale.apply · tensors.to_tensor · (windows as positions)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from . import admission, grid, tensors
from .cards import Card, LatLonGrid
from .errors import mismatch
from .loop import Windows
from .steps import str_time

Record = xr.DataArray | xr.Dataset
Period = tuple[str | int, str | int]


def listed(data: Record | Sequence[Record]) -> list[Record]:
    return [data] if isinstance(data, xr.DataArray | xr.Dataset) else list(data)


def on_grid(data: Record, card: Card) -> xr.DataArray:
    """A record (time, y, x) in the card's units on the card's grid, in memory; land is NaN."""
    prepared, _ = admission.prepare(admission.variable(data, card), card)
    if isinstance(card.grid, LatLonGrid):
        prepared = grid.to_model(prepared, card.grid.latitude, card.grid.longitude)
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
    records: list[xr.DataArray], period: Period | None, validation: Period | None
) -> None:
    """See that the training period holds data, and the validation period none of it."""
    if not any(_span(da, period)[1] for da in records):
        raise mismatch(
            "a training period that holds data",
            f"period {_text(period)}; the data spans {', '.join(map(_ends, records[:3]))}",
            "period=(start, end) within the data",
        )
    if validation is None:
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
    training, validation : Windows
    counts : [int, int]
        Training windows of the records, then of the extras.
    spans : list of slice
        The frames of the training period, a slice a record, then each extra.
    """

    training: Windows
    validation: Windows | None
    counts: list[int]
    spans: list[slice]


def cut(
    records: list[xr.DataArray],
    extras: list[xr.DataArray],
    card: Card,
    period: Period | None,
    validation: Period | None,
) -> Cut:
    """Frames of all records in one tensor, and where windows start in it.

    Training windows lie wholly in the period, extras are taken whole; of validation windows the
    targets lie wholly in the validation period.

    Raises
    ------
    ValueError
        No window fits; missing values that aren't land.
    """
    frames, spans, begin = [], [], 0
    training: list[np.ndarray] = []
    extra: list[np.ndarray] = []
    validating: list[np.ndarray] = []
    for i, da in enumerate([*records, *extras]):
        own = i < len(records)
        first, end = _span(da, period if own else None)
        spans.append(slice(begin + first, begin + end))
        (training if own else extra).append(begin + _starts(first, end, card))
        if own and validation is not None:
            first, end = _span(da, validation)
            validating.append(begin + _starts(max(0, first - card.history), end, card))
        frames.append(_to_frames(da, card))
        begin += da.sizes["time"]
    frames_NHWC = torch.cat(frames)
    holes = int(frames_NHWC.isnan().sum())
    if holes:
        raise mismatch(
            "no missing values in training data but on land",
            f"{holes} on the model's grid",
            "da.fillna(...) or da.interpolate_na(...) first",
        )

    def windows(name: str, span: Period | None, own: list[np.ndarray], more: list) -> Windows:
        if not _total(own):
            raise mismatch(
                f"a window of {card.history} time steps in and {card.reach} out in {name}",
                f"none in {_text(span)}; the data spans {', '.join(map(_ends, records[:3]))}",
                f"{name}=(start, end) with more between them, or bring a longer record",
            )
        starts = torch.from_numpy(np.concatenate([*own, *more]))
        return Windows(frames_NHWC, starts, card.history, card.reach)

    return Cut(
        training=windows("period", period, training, extra),
        validation=windows("validation", validation, validating, []) if validation else None,
        counts=[_total(training), _total(extra)],
        spans=spans,
    )


def _starts(first: int, end: int, card: Card) -> np.ndarray:
    """Where windows start that lie wholly in frames first .. end - 1."""
    return np.arange(first, max(first, end - card.history - card.reach + 1))


def _total(pieces: list[np.ndarray]) -> int:
    return sum(len(piece) for piece in pieces)


def _to_frames(da: xr.DataArray, card: Card) -> torch.Tensor:
    """A record as the model sees it (N, H, W, 1): land filled, scaled."""
    return tensors.to_tensor(admission.enter(da, card).expand_dims("init"))[0]


def _ends(da: xr.DataArray) -> str:
    return f"{str_time(da['time'].values[0])} .. {str_time(da['time'].values[-1])}"
