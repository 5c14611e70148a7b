"""Training: in as a forecast goes in, a loop where the model stands, and a pack at the end.

    records.on_grid · records.make_windows · loop.fit · save_pack

Models with a closed-form `fit` go the same way, without the loop.
"""

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from .. import models
from ..errors import PackError, mismatch, renamed
from ..fields.time_axis import months_of
from ..inference.engine import Progress
from ..models import state
from ..models.prediff.losses import AutoencoderStage, Stage
from ..packs.card import Card, LatLonGrid, PixelGrid
from ..packs.pack import Pack, is_taken, open_pack, save_pack, taken
from . import cards, loop, stages
from .cards import short
from .recipe import Recipe
from .records import Period, Record, WindowSets, check_periods, is_period, make_windows, on_grids
from .windows import Crop, Draws, Windows

PAPER = Recipe()
SAVED = "saved.sha256"  # in the folder of a run: the hash of the weights of its pack


@renamed(part="stage")
@state.training()
def train(
    model: str,
    data: Record | Sequence[Record],
    *,
    config: object,
    card: Mapping[str, object],
    pack: str | Path,
    period: Period | None = None,
    validation: Period | Record | Sequence[Record] | None = None,
    share: float = 1.0,
    extra: Record | Sequence[Record] = (),
    extra_share: float = 1.0,
    crop: Crop | None = None,
    stage: str | Mapping[str, object] | None = None,
    start: str | Path | Pack | None = None,
    recipe: Recipe = PAPER,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: Progress = "auto",
    overwrite: bool = False,
) -> Pack:
    """Train a model on labelled data and write it as a pack.

    Called again with the same arguments after a kill, it resumes after the last finished epoch; on
    the CPU the losses are the same bits as without the kill.

    Parameters
    ----------
    model : str
        Name in `models.MODELS`. A model with a closed-form `fit` is fitted to the training period.
    data, extra : DataArray, Dataset, or list of these
        Records of the card's quantity, in any form that `forecast` takes; all frames are kept in
        memory. No window runs from one record into another. Those of `extra`, such as simulations,
        are used whole, whatever their dates.
    config : preset name, dict, or the model's config
        Its shapes must be those of the card's grid.
    card : mapping
        Entries of the pack's card (see `packs.card.Card`). `like` copies quantity, grid and time
        step from a published pack ("enso", "sevir", ...). Left out, these come from the data: time
        step; land (cells without a value in the first record); scale (standard deviation in the
        training period, and mean, or 0 for a difference).
    pack : path
        Folder or `.safetensors` file to write.
    period, validation : (start, end)
        Time labels, both included. Training windows lie wholly in `period` (None: all data). The
        targets of validation windows lie wholly in `validation`; their inputs may start before it.
        `validation` may also be one record or several, used whole. The best epoch is shipped;
        without validation, the last.
    share, extra_share : float
        How often an epoch sees each window of `data` and of `extra`: 0.1 means a tenth of the
        windows, another tenth each epoch.
    crop : Crop
        Cut windows in space too; records may then differ in height and width.
    stage : str or mapping
        For models that are trained in stages ("prediff": "autoencoder", "alignment", "denoiser"):
        the stage's name, or its name and options (see `models.prediff.losses`).
    start : pack
        Weights, config and card to begin with, of the same model; entries of `card` replace the
        pack's, whose scores and periods aren't kept.
    recipe : Recipe
        How to train.
    folder : path
        For checkpoints, `losses.csv` and `seconds.csv`. Default: `<pack>.run`, next to the pack.
    device : str
        "auto" uses a GPU when there is one.
    progress : bool or "auto"
        Whether to show a progress bar. "auto": after two seconds, on a terminal or in a notebook.
    overwrite : bool
        Whether to replace a pack that is there and isn't of this run.

    Returns
    -------
    Pack
        Its card's scores hold `validation_loss` (mean squared error of scaled values) and
        `validation_rmse_lead_<k>` (in the card's units, land left out; not for decibels).

    Raises
    ------
    ValueError
        Before training: data that the card doesn't fit, periods that overlap or hold no window, a
        config of other shapes, a folder that holds another run. During: a loss that isn't finite.
    FileExistsError
        A pack of another run, or anything else, at `pack`.

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
    >>> pack.card.input.missing, pack.card.time_step, pack.card.training.period
    ('land', 'month', '1990/1998')
    """
    first = open_pack(start) if start is not None else None
    if first and first.card.model.name != model:
        found = f"{first.card.name!r}, which is one of {first.card.model.name!r}"
        hint = f'train("{first.card.model.name}", ...), or start=None'
        raise mismatch(f"a pack of the model {model!r} to start from", found, hint)
    # an opened pack's network is frozen
    network = first.model().requires_grad_(True) if first else build(model, config, recipe.seed)
    pack = Path(os.path.expanduser(pack))
    place = Path(os.path.expanduser(folder or f"{pack}.run"))
    # what is there may be of this very run; a closed form is fitted first, and then compared
    fits = hasattr(type(network), "fit")
    if is_taken(pack) and not (overwrite or fits or _is_of_run(pack, place, not folder)):
        raise taken(pack)
    chosen = stages.choose(model, network, stage)
    stages.check_crop(network, chosen, crop)
    entries = cards.start_entries(first, card, pack.stem, staged=chosen is not None)
    draft = cards.draft_card(entries, model, network, pack)
    records, extras = (on_grids(some, draft) for some in (data, extra))
    checks: Period | list[xr.Dataset] | None = None
    if is_period(validation):
        checks = validation[0], validation[1]  # a list, from some callers
    elif validation is not None:
        checks = on_grids(validation, draft)
    check_periods(records, period, checks)
    full = cards.complete_card(draft, entries, records, period, checks)
    check_shapes(network, full, records[0], crop)
    task = chosen.task(network) if chosen else network
    lengths = {"context": task.in_len, "lead": task.out_len}  # a stage's may be shorter
    windows = make_windows(records, extras, full.model_copy(update=lengths), period, checks, crop)
    shares = [share, extra_share]
    if fits:
        best, notes = _fit_closed_form(network, windows, full, records[0]), "closed-form fit"
    else:
        identity = _identity(full, network, windows, recipe, shares, first, chosen)
        run = loop.Run(place, identity, device, progress)
        loop.claim(run)  # before latent windows are written into its folder
        if chosen and not isinstance(chosen, AutoencoderStage):
            windows = stages.to_latent(network, windows, chosen.views, recipe.seed, run)
            shares = [share]  # latent windows of extra records are among the others
        draws = Draws(windows.counts, shares, recipe.batch_size, recipe.seed)
        best, losses = loop.fit(task, windows.training, windows.validation, draws, recipe, run)
        notes = cards.notes(losses, windows, shares, recipe)
    if chosen:
        notes = f"{chosen.name}: {notes}"
        best, full = stages.finish(chosen, best, network, full, windows, losses)
    else:
        scores = _scores(best, windows, full, recipe.batch_size, device)
        full = full.model_copy(update={"scores": {**full.scores, **scores}})
    notes = "; ".join(filter(None, [full.training.notes, notes]))
    training = full.training.model_copy(update={"notes": notes})
    full = full.model_copy(update={"training": training})
    saved = save_pack(pack, best, full, overwrite=overwrite or not fits)
    if not fits:
        (place / SAVED).write_text(f"{saved.card.weights_sha256}\n")
    return saved


def _is_of_run(pack: Path, place: Path, next_to: bool) -> bool:
    """Return whether the pack that is there was saved by the run of a folder.

    Versions until 0.2 have not written down what they saved: then a run next to its pack counts.
    """
    if not (place / loop.LAST).exists():
        return False
    if not (place / SAVED).exists():
        return next_to
    try:
        return open_pack(pack).card.weights_sha256 == (place / SAVED).read_text().strip()
    except PackError:
        return False


# --- the model


def build(name: str, config: object, seed: int) -> nn.Module:
    """Return a fresh network whose weights follow from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.build(name, config).eval()


def check_shapes(network: nn.Module, card: Card, da: Record, crop: Crop | None = None) -> None:
    """Send one empty window through the model, to see a wrong shape before training."""
    shape = (crop.size, crop.size) if crop else (da.sizes["y"], da.sizes["x"])
    if isinstance(card.grid, PixelGrid) and network.samples:
        shape = card.grid.shape  # a sampling model sees tiles, not the whole field
    output = (1, card.lead, *shape, len(card.outputs))
    quickly = {"steps": 2} if network.samples else {}
    hint = f"config=... with height {shape[0]}, width {shape[1]}, one channel"
    if card.channels > 1:
        out = f"{len(card.outputs)} out"
        hint = hint.replace("one channel", f"{card.channels} channels in and {out}")
    try:
        with torch.no_grad():
            empty_BTHWC = torch.zeros(1, card.context, *shape, card.channels)
            found = tuple(network.predict(empty_BTHWC, **quickly).shape)
    except (RuntimeError, ValueError) as error:
        expected = f"a {card.model.name} for {shape[0]} x {shape[1]} cells, the card's grid"
        reason = str(error).splitlines()[0]
        words = f"a config that doesn't take them ({reason}): {network.config}"
        raise mismatch(expected, words, hint) from error
    if found != output:
        form = f"{output} (B, T, H, W, C), as the card's grid asks"
        expected = f"a {card.model.name} that gives {form}"
        raise mismatch(expected, f"{found} from {network.config}", hint)


def _identity(
    card: Card,
    network: nn.Module,
    windows: WindowSets,
    recipe: Recipe,
    shares: list[float],
    start: Pack | None,
    stage: Stage | None,
) -> dict[str, object]:
    """Return all that a run's losses depend on: only an equal run is resumed."""
    how = dataclasses.asdict(recipe)
    how.pop("stop")  # a run may be stopped early and then go on
    sets = [windows.training] + ([windows.validation] if windows.validation else [])
    places, frames = zip(*(batches.contents() for batches in sets), strict=True)
    return {
        "model": card.model.name,
        "config": dataclasses.asdict(network.config),
        "recipe": how,
        "share": shares[0],
        "extra_share": shares[1],
        # which channels are the target
        **({"outputs": card.outputs} if [*card.inputs] != card.outputs else {}),
        "windows": [len(one) for one in places],
        "starts": _digest(torch.cat(places)),
        "frames": _digest(*frames[0]),
        **({"start": start.card.weights_sha256} if start else {}),
        **({"stage": dataclasses.asdict(stage)} if stage else {}),
    }


def _digest(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _fit_closed_form(
    network: nn.Module, windows: WindowSets, card: Card, record: xr.Dataset
) -> nn.Module:
    """Fit a model that has a closed form to the frames of the training period; land is NaN."""
    if len(windows.spans) != 1 or not isinstance(windows.training, Windows):
        expected = f"one record for {card.model.name}, which is fitted in closed form, and no crop"
        found = f"{len(windows.spans)}, counting extra ones"
        hint = "data=data[0], extra=(), or another record alone"
        if not isinstance(windows.training, Windows):
            hint = "crop=None"
        raise mismatch(expected, found, hint)
    span = windows.spans[0]
    x_THWC = windows.training.frames[span, ..., : len(card.inputs)].numpy().copy()
    for c, name in enumerate(card.inputs):
        if (land := card.land(name)) is not None:
            x_THWC[:, land, c] = np.nan
    arguments: dict[str, object] = {"x_THWC": x_THWC, "x_THW": x_THWC[..., 0]}
    if isinstance(card.grid, LatLonGrid):
        arguments["latitude"] = np.array(card.grid.latitude)
    arguments["first_month"] = int(months_of(record["time"])[span.start] % 12 + 1)
    fit = type(network).fit
    parameters = inspect.signature(fit).parameters
    # one LIM asks for latitudes, another for the month too; damped persistence for neither
    arguments = {name: value for name, value in arguments.items() if name in parameters}
    return fit(config=network.config, **arguments)


def _scores(
    model: nn.Module, windows: WindowSets, card: Card, batch_size: int, device: str
) -> dict[str, float]:
    """Return the loss, and the error of each output at every lead, on the validation windows."""
    if windows.validation is None:
        return {}
    on_earth = isinstance(card.grid, LatLonGrid)
    masks = [card.land(name) if on_earth else None for name in card.outputs]
    seas = [None if mask is None else torch.from_numpy(~mask) for mask in masks]
    loss, squares_TC = loop.evaluate(model, windows.validation, seas, batch_size, device)
    scores = {"validation_loss": short(loss)}
    for name, squares_T in zip(card.outputs, squares_TC.unbind(dim=1), strict=True):
        scale = card.inputs[name].scale
        if scale.floor is not None:  # in decibels, an error has no units of the card
            continue
        of = "" if len(card.outputs) == 1 else f"{name}_"
        for lead, error in enumerate(squares_T.sqrt().tolist(), start=1):
            scores[f"validation_{of}rmse_lead_{lead}"] = short(error * scale.factor)
    return scores
