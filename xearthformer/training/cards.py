"""The card of a trained pack: from entries, from the data, and notes in words."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydantic
import xarray as xr
from torch import nn

from ..errors import mismatch, problems
from ..fields.time_axis import check_time, str_step
from ..packs.card import LAND, SEA, Card, LatLonGrid, ModelSpec, Quantity
from ..packs.pack import Pack
from ..packs.published import PUBLISHED
from ..packs.scale import Scale
from .loop import Epoch
from .recipe import Recipe
from .records import Period, WindowSets, ends, label, within

LIKE = "input", "grid", "time_step"  # card entries that `like` copies from a published pack
# What a card keeps of the pack that training begins with.
KEPT = {"title", "inputs", "outputs", "known", "grid", "time_step", "baseline", "climatology"}
KEPT |= {"training", "scores", "references", "licence"}
ONE = "missing", "fill", "scale"  # of the variable of a card that says `input`


def short(value: float) -> float:
    """Round to six digits: enough for a scale, and short in the card."""
    return float(f"{value:.6g}")


def start_entries(
    start: Pack | None, card: Mapping[str, object], name: str, staged: bool
) -> dict[str, object]:
    """Return the card's entries, and those kept of the pack that training begins with.

    Scores, periods and notes are of the weights before, and go, but for those of earlier stages.
    Under the pack's own `name` another version comes.
    """
    if start is None:
        return dict(card)
    kept = start.card.model_dump(include=KEPT)
    if not staged:
        before = kept["training"]
        period = f" {before['period']}" if before["period"] else ""
        notes = f"from {start.card.name} {start.card.version} ({before['data']}{period})"
        kept["training"] = {**before, "period": None, "validation": None, "notes": notes}
        kept["scores"] = {}
    if card.get("name", name) == start.card.name and not staged:
        number = start.card.version
        kept["version"] = str(int(number) + 1) if number.isdecimal() else f"{number}.1"
    if "input" in card or set(ONE) & set(card):  # words for the one variable of a pack
        del kept["inputs"], kept["outputs"]
        kept["input"] = start.card.input.model_dump(include={*Quantity.model_fields})
        kept |= start.card.input.model_dump(include={"missing", "scale"})
    training = card.get("training", {})
    if isinstance(training, Mapping):  # else for the card to refuse
        training = {**kept["training"], **training}
    return {**kept, **card, "training": training}


def draft_card(entries: Mapping[str, object], name: str, network: nn.Module, pack: Path) -> Card:
    """Return the card as far as it is known before the data; it lets missing values pass."""
    like = entries.get("like")
    if like is not None and like not in PUBLISHED:
        raise ValueError(f"card.like: expected one of {', '.join(PUBLISHED)}, found {like!r}")
    card = {
        "name": pack.stem,
        "version": "1",
        "title": f"{name}, {network.in_len} frames in, {network.out_len} out",
        "grid": None,
        "time_step": None,
        "training": {"data": "not said"},
        **({key: PUBLISHED[like][key] for key in LIKE} if isinstance(like, str) else {}),
        # the frames in and out, by their names in files too, are the network's own
        **{k: value for k, value in entries.items() if k not in ("like", "history", "reach")},
    }
    if "input" not in card and "inputs" not in card:
        raise ValueError(
            "the card must say what quantity the model reads: type card={'input': "
            "{'standard_name': ..., 'units': ..., 'difference': ...}, ...}, or card={'like': ...} "
            f"with one of {', '.join(PUBLISHED)}; of several, card={{'inputs': {{'sst': ...}}}}"
        )
    if "inputs" in card:
        said = card["inputs"]
        if not isinstance(said, Mapping) or "input" in card:
            found = "also input" if "input" in card else repr(said)
            hint = "card={'inputs': {'sst': {'standard_name': ..., 'units': ...}, ...}}"
            raise mismatch("card.inputs alone, a section for each variable", found, hint)
        card["inputs"] = {
            name: {**_fields(one), "missing": "allowed"} for name, one in said.items()
        }
        card.setdefault("outputs", list(said))
    else:
        card |= {"output": card["input"], "missing": "allowed"}
    card |= {
        "model": ModelSpec(name=name, config={}),  # save_pack writes the network's own
        "context": network.in_len,
        "lead": network.out_len,
    }
    known, grid = card.get("known"), card["grid"]
    has_land = _fields(grid).get("land") or (isinstance(grid, LatLonGrid) and grid.land)
    if isinstance(known, list) and not has_land:
        # where land is follows from the data: `complete_card` adds both
        card["known"] = [one for one in known if one != "land"]
    return valid(card)


def valid(card: Mapping[str, object]) -> Card:
    """Return the card of these fields; one ValueError that lists all that is wrong with them."""
    try:
        return Card.model_validate(card)
    except pydantic.ValidationError as error:
        raise ValueError(f"the card isn't valid: {problems(error)}") from error


def _fields(section: object) -> dict[str, object]:
    """Return what a section of a card says."""
    if isinstance(section, Quantity):
        return section.model_dump(exclude_unset=True)
    return dict(section) if isinstance(section, Mapping) else {}


def _said(entries: Mapping[str, object], name: str) -> dict[str, object]:
    """Return what the entries of a card say of the way in of an input."""
    if isinstance(entries.get("inputs"), Mapping):
        return _fields(entries["inputs"][name])  # type: ignore[index]
    return {key: entries[key] for key in ONE if key in entries}


def complete_card(
    draft: Card,
    entries: Mapping[str, object],
    records: list[xr.Dataset],
    period: Period | None,
    validation: Period | list[xr.Dataset] | None,
) -> Card:
    """Return the card with what the data says: time step, land, scale, periods."""
    first = records[0]
    card = draft.model_dump()
    on_earth = isinstance(draft.grid, LatLonGrid)
    for name, variable in card["inputs"].items():
        said = _said(entries, name)
        never = first[name].isnull().all("time").to_numpy()  # (y, x)
        by_data = "land" if on_earth and never.any() else "forbidden"
        variable["missing"] = said.get("missing", by_data)
        if variable["missing"] == "land" and on_earth and said.get("land") is None:
            rows = ["".join(row) for row in np.where(never, LAND, SEA)]
            if card["grid"]["land"] is None:
                card["grid"]["land"] = rows
            elif len(card["inputs"]) > 1 and rows != card["grid"]["land"]:
                variable["land"] = rows
        if "scale" not in said:
            # of the training period alone, so that nothing of the validation leaks in
            parts = [within(record, period)[name].to_numpy().ravel() for record in records]
            values = np.concatenate(parts)
            difference = draft.inputs[name].difference
            offset = 0.0 if difference else short(np.nanmean(values, dtype=np.float64))
            factor = short(np.sqrt(np.nanmean((values - offset) ** 2, dtype=np.float64)))
            variable["scale"] = Scale(offset=offset, factor=factor)
    if draft.time_step is None:
        step = check_time(first["time"])
        card["time_step"] = str_step(step)
    for name, span in (("period", period), ("validation", validation)):
        if isinstance(span, list):
            card["training"][name] = "; ".join(map(ends, span))
        elif span is not None:
            card["training"][name] = "/".join(map(label, span))
    return valid({**card, "known": entries.get("known", card["known"])})


def notes(losses: list[Epoch], windows: WindowSets, shares: list[float], recipe: Recipe) -> str:
    """Describe in words how the weights came about."""
    best = min(losses, key=lambda epoch: epoch["validation_loss"])  # the first, when all are NaN
    epoch = losses[-1] if windows.validation is None else best
    counts = f"{windows.counts[0]} training windows"
    if shares[0] != 1:
        counts = f"{shares[0]:g} x {counts}"
    if windows.counts[1:] and windows.counts[1]:
        counts += f" and {shares[1]:g} x {windows.counts[1]} from further records an epoch"
    how = json.dumps(dataclasses.asdict(recipe))
    return f"epoch {epoch['epoch'] + 1} of {len(losses)}; {counts}; recipe {how}"
