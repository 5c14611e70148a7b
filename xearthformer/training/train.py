"""Training: the way in of a forecast, a loop where the model stands, and a pack at the end.

    records.on_grid · records.cut · loop.fit · save_pack

Models with a closed-form `fit` take the same door.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from .. import models
from ..errors import mismatch
from ..fields.time_axis import check_time
from ..models.prediff import losses as prediff_training
from ..packs.card import LAND, SEA, Card, LatLonGrid, ModelSpec, PixelGrid
from ..packs.pack import Pack, open_pack, save_pack
from ..packs.published import PUBLISHED
from ..packs.scale import Scale
from . import loop, stages
from .recipe import Recipe
from .records import Cut, Period, Record, check_periods, cut, ends, listed, on_grid, within
from .stages import short
from .windows import Crop, Crops

PAPER = Recipe()
LIKE = "input", "grid", "time_step"  # what `like` takes over from a published pack's card


def train(
    model: str,
    data: Record | Sequence[Record],
    *,
    config: Any,
    card: Mapping[str, Any],
    pack: str | Path,
    period: Period | None = None,
    validation: Period | Record | list[Record] | None = None,
    share: float = 1.0,
    extra: Record | Sequence[Record] = (),
    extra_share: float = 1.0,
    crop: Crop | None = None,
    part: str | Mapping[str, Any] | None = None,
    start: str | Path | Pack | None = None,
    recipe: Recipe = PAPER,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Pack:
    """Train a model on labelled data and write it as a pack.

    Called again with the same arguments after a kill, it goes on after the last finished epoch; on
    the CPU the losses are the same bits as without the kill.

    Parameters
    ----------
    model : str
        A name in `models.MODELS`. One with a closed-form `fit` is fitted to the training period.
    data : DataArray, Dataset, or list of these
        Records of the quantity that the card says, each in any form that `forecast` takes. All
        frames are held in memory, on the model's grid. No window runs from one record into another.
    config : preset name, dict, or the model's config
        Its shapes must be the card's grid.
    card : mapping
        Entries of the pack's card (see `cards.Card`). `like` takes quantity, grid and time step
        from a published pack ("enso", "sevir", ...). What is left out is found: the time step; the
        land (cells of the model's grid without a value at any time of the first record); the scale
        (standard deviation in the training period, and mean, or 0 for a difference). History,
        reach, periods, weights and scores come from the training.
    pack : path
        Folder or `.safetensors` file to write.
    period, validation : (start, end)
        Time labels, both included. Training windows lie wholly in `period` (None: all of it). The
        targets of validation windows lie wholly in `validation`; their inputs may reach back
        before it. `validation` may also be a record, or a list of them, taken whole. Without
        validation the last epoch is shipped, else the best.
    share : float
        How often an epoch takes each window of `data`: 0.1 takes every tenth, another each epoch.
    extra : DataArray, Dataset, or list of these
        More records to train on, whole, whatever their dates: simulations.
    extra_share : float
        The same of `extra`.
    crop : Crop
        Windows are cut in space too; records may then differ in height and width.
    part : str or mapping
        Of a model that is trained in parts ("prediff": "autoencoder", then "denoiser" and
        "alignment"), which; or its name and options, see `models.prediff.losses`. The denoiser
        and the alignment network learn on latent windows, which are made once and kept in `folder`.
    start : pack
        Weights, config and card to begin with; `config` is then not looked at, and entries of
        `card` take the place of the pack's.
    recipe : Recipe
    folder : path
        For checkpoints and `losses.csv`. None: `<pack>.run`, beside the pack.
    device : str
        "auto" takes a GPU when there is one.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Pack
        Opened; its card's scores hold `validation_loss` (mean squared error of scaled values) and
        `validation_rmse_lead_<k>` (in the card's units, over the cells that aren't land; not of
        a scale of decibels).

    Raises
    ------
    ValueError
        Before training: data the card doesn't fit, periods that overlap or hold no window, a config
        of other shapes, a folder that holds another run. During: a loss that isn't finite.

    Examples
    --------
    >>> import tempfile
    >>> import xearthformer as xef
    >>> sst = xef.synthetic_sst(years=12, start="1990-01")["sst"]
    >>> ssta = sst.earthformer.anomaly(climatology=("1990", "2001"))
    >>> card = {"like": "enso", "training": {"data": "a simulation"}}
    >>> periods = {"period": ("1990", "1998"), "validation": ("1999", "2001")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pack = train("damped-persistence", ssta, config="enso", card=card, **periods,
    ...                  pack=f"{folder}/damped")
    >>> pack.card.missing, pack.card.time_step, pack.card.training.period
    ('land', 'month', '1990/1998')
    """
    begun = open_pack(start) if start is not None else None
    network = begun.model().requires_grad_(True) if begun else build(model, config, recipe.seed)
    chosen = stages.choose(model, network, part)
    entries = stages.entries(begun, card)
    draft = draft_card(entries, model, network, Path(pack))
    records, extras = ([on_grid(r, draft) for r in listed(x)] for x in (data, extra))
    if validation is not None and all(isinstance(r, Record) for r in listed(validation)):
        validation = [on_grid(r, draft) for r in listed(validation)]
    elif validation is not None:
        validation = validation[0], validation[1]
    check_periods(records, period, validation)
    full = _settle(draft, entries, records, period, validation)
    check_shapes(network, full, records[0])
    learner = chosen.task(network) if chosen else network
    lengths = {"context": learner.in_len, "lead": learner.out_len}
    windows = cut(records, extras, full.model_copy(update=lengths), period, validation, crop)
    shares = [share, extra_share]
    if hasattr(type(network), "fit"):
        fitted, notes = _solve(network, windows, full), "closed-form fit"
    else:
        identity = _identity(full, network, windows, recipe, shares, begun, chosen)
        run = loop.Run(Path(folder or f"{pack}.run"), identity, device, progress)
        loop.claim(run)
        if hasattr(chosen, "views"):
            windows = stages.latent(network, windows, chosen.views, recipe.seed, run)
            shares = [share]
        draws = loop.Draws(windows.counts, shares, recipe.batch_size, recipe.seed)
        fitted, losses = loop.fit(learner, windows.training, windows.validation, draws, recipe, run)
        notes = _notes(losses, windows, shares, recipe)
    if chosen:
        notes = f"{chosen.name}: {notes}"
        fitted, full = stages.finish(chosen, fitted, network, full, windows, losses)
    else:
        scores = _scores(fitted, windows, full, recipe.batch_size, device)
        full = full.model_copy(update={"scores": {**full.scores, **scores}})
    notes = _join(full.training.notes, notes)
    training = full.training.model_copy(update={"notes": notes})
    return save_pack(pack, fitted, full.model_copy(update={"training": training}))


# --- the card


def draft_card(entries: Mapping[str, Any], name: str, network: nn.Module, pack: Path) -> Card:
    """The card as far as it is known before the data is seen; it lets missing values pass."""
    given = dict(entries)
    like = given.pop("like", None)
    if like is not None and like not in PUBLISHED:
        raise ValueError(f"card.like: expected one of {', '.join(PUBLISHED)}, found {like!r}")
    known = {
        "name": pack.stem,
        "version": "1",
        "title": f"{name}, {network.in_len} frames in, {network.out_len} out",
        "grid": None,
        "time_step": None,
        "training": {"data": "not said"},
        **({key: PUBLISHED[like][key] for key in LIKE} if like else {}),
        **given,
    }
    if "input" not in known:
        raise ValueError(
            "the card must say what quantity the model reads: type card={'input': "
            "{'standard_name': ..., 'units': ..., 'difference': ...}, ...}, or card={'like': ...} "
            f"with one of {', '.join(PUBLISHED)}"
        )
    taken = {
        "model": ModelSpec(name=name, config={}),
        "output": known["input"],
        "context": network.in_len,
        "lead": network.out_len,
        "missing": "allowed",
    }
    return Card.model_validate({**known, **taken})


def _settle(
    draft: Card,
    entries: Mapping[str, Any],
    records: list[xr.DataArray],
    period: Period | None,
    validation: Period | list[xr.DataArray] | None,
) -> Card:
    """The card with what the data tells: time step, land, scale, periods."""
    first = records[0]
    never = first.isnull().all("time").to_numpy()
    card: dict[str, Any] = draft.model_dump()
    on_earth = isinstance(draft.grid, LatLonGrid)
    guess = "land" if on_earth and never.any() else "forbidden"
    card["missing"] = entries.get("missing", guess)
    if card["missing"] == "land" and on_earth and card["grid"]["land"] is None:
        card["grid"]["land"] = ["".join(row) for row in np.where(never, LAND, SEA)]
    if "scale" not in entries:
        values = np.concatenate([within(da, period).to_numpy().ravel() for da in records])
        offset = 0.0 if draft.input.difference else short(np.nanmean(values, dtype=np.float64))
        factor = short(np.sqrt(np.nanmean((values - offset) ** 2, dtype=np.float64)))
        card["scale"] = Scale(offset=offset, factor=factor)
    if draft.time_step is None:
        step = check_time(first["time"])
        card["time_step"] = step if step == "month" else str(pd.Timedelta(step))
    for name, span in (("period", period), ("validation", validation)):
        if isinstance(span, list):
            card["training"][name] = "; ".join(map(ends, span))
        elif span is not None:
            card["training"][name] = f"{span[0]}/{span[1]}"
    return Card.model_validate(card)


def _notes(losses: list[loop.Epoch], windows: Cut, shares: list[float], recipe: Recipe) -> str:
    """How the weights came about, in words."""
    best = min(losses, key=lambda epoch: epoch["validation_loss"])  # the first, when all are NaN
    chosen = losses[-1] if windows.validation is None else best
    counts = f"{windows.counts[0]} training windows"
    if shares[0] != 1:
        counts = f"{shares[0]:g} x {counts}"
    if windows.counts[1:] and windows.counts[1]:
        counts += f" and {shares[1]:g} x {windows.counts[1]} from further records an epoch"
    how = json.dumps(dataclasses.asdict(recipe))
    return f"epoch {chosen['epoch'] + 1} of {len(losses)}; {counts}; recipe {how}"


def _join(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)


# --- the model


def build(name: str, config: Any, seed: int) -> nn.Module:
    """A fresh network whose weights follow from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.build(name, config).eval()


def check_shapes(network: nn.Module, card: Card, da: xr.DataArray) -> None:
    """Send one empty window through the model."""
    shape = da.sizes["y"], da.sizes["x"]
    if isinstance(card.grid, PixelGrid) and network.samples:
        shape = card.grid.shape
    wanted = (1, card.lead, *shape, 1)
    quickly = {"steps": 2} if network.samples else {}
    try:
        with torch.no_grad():
            empty = torch.zeros(1, card.context, *shape, 1)
            found = tuple(network.predict(empty, **quickly).shape)
    except (RuntimeError, ValueError) as error:
        raise mismatch(
            f"a {card.model.name} for {shape[0]} x {shape[1]} cells, the card's grid",
            f"a config that doesn't take them ({str(error).splitlines()[0]}): {network.config}",
            f"config=... with height {shape[0]}, width {shape[1]}, one channel",
        ) from error
    if found != wanted:
        raise mismatch(
            f"a {card.model.name} that gives {wanted} (B, T, H, W, C), as the card's grid asks",
            f"{found} from {network.config}",
            f"config=... with height {shape[0]}, width {shape[1]}, one channel",
        )


def _identity(
    card: Card,
    network: nn.Module,
    windows: Cut,
    recipe: Recipe,
    shares: list[float],
    begun: Pack | None,
    part: prediff_training.Stage | None,
) -> dict[str, Any]:
    """What makes a run the same run: all that its losses depend on."""
    how = dataclasses.asdict(recipe)
    how.pop("stop")
    made = [windows.training] + ([windows.validation] if windows.validation else [])
    starts, frames = zip(*(_places(part) for part in made), strict=True)
    return {
        "model": card.model.name,
        "config": dataclasses.asdict(network.config),
        "recipe": how,
        "share": shares[0],
        "extra_share": shares[1],
        "windows": [len(s) for s in starts],
        "starts": _digest(torch.cat(starts)),
        "frames": _digest(*frames[0]),
        **({"start": begun.card.weights_sha256} if begun else {}),
        **({"part": dataclasses.asdict(part)} if part else {}),
    }


def _places(windows: loop.Windows | Crops) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Where windows start, and the frames they are cut from."""
    if isinstance(windows, Crops):
        return windows.places, windows.records
    return windows.starts, [windows.frames]


def _digest(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _solve(network: nn.Module, windows: Cut, card: Card) -> nn.Module:
    """Fit a model that has a closed form to the frames of the training period; land is NaN."""
    if len(windows.spans) != 1:
        raise mismatch(
            f"one record for {card.model.name}, which is fitted in closed form",
            f"{len(windows.spans)}, counting extra ones",
            "train(..., data=the longest of them)",
        )
    x_THW = windows.training.frames[windows.spans[0], ..., 0].numpy().copy()
    known: dict[str, Any] = {}
    if isinstance(card.grid, LatLonGrid):
        known["latitude"] = np.array(card.grid.latitude)
        if card.grid.is_land is not None:
            x_THW[:, card.grid.is_land] = np.nan
    fit = type(network).fit
    asked = inspect.signature(fit).parameters
    return fit(x_THW, config=network.config, **{k: v for k, v in known.items() if k in asked})


def _scores(
    model: nn.Module, windows: Cut, card: Card, batch_size: int, device: str
) -> dict[str, float]:
    """Loss, and error at every lead, on the validation windows."""
    if windows.validation is None:
        return {}
    land = card.grid.is_land if isinstance(card.grid, LatLonGrid) else None
    sea = None if land is None else torch.from_numpy(~land)
    loss, error_T = loop.evaluate(model, windows.validation, sea, batch_size, device)
    scores = {"validation_loss": short(loss)}
    if card.scale.floor is not None:
        return scores
    for lead, error in enumerate(error_T.sqrt().tolist(), start=1):
        scores[f"validation_rmse_lead_{lead}"] = short(error * card.scale.factor)
    return scores
