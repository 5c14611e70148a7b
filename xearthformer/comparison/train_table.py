"""A fair table: models trained alike for several seeds, scored as packs on data kept back.

train (a pack a model and seed) · forecast · tables.enso_scores or tables.frame_scores
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..errors import mismatch
from ..packs.card import Card
from ..packs.pack import Pack
from ..training import loop
from ..training.cards import draft_card
from ..training.config import DataSource, Network, opened
from ..training.recipe import Recipe
from ..training.records import Period, check_periods, ends, is_period, on_grid, within
from ..training.train import PAPER, build, check_shapes, train
from .papers import (
    ENSO_COLUMNS,
    ENSO_IN,
    ENSO_OUT,
    FRAME_COLUMNS,
    check_frames,
    cost,
    enso_scores,
    frame_scores,
    on_icar_grid,
    open_packs,
)

COLUMNS = {"enso": ENSO_COLUMNS, "frames": FRAME_COLUMNS}
PACE = "s/step"
DIGITS = {"parameters (M)": 3, "GFLOPs": 3, "MSE (1e-4)": 3, "MSE (1e-3)": 3, "MAE (1e-2)": 3}
NONE = float("nan")
Packs = dict[tuple[str, int | None], Pack]  # by name and seed


@dataclass(frozen=True)
class Table:
    """What the runs of a table scored.

    Attributes
    ----------
    runs : DataFrame
        A line a model and seed: parameters, multiply-adds of a forecast, scores, seconds a step.
    budget : str
        Steps, batch, windows, seeds and threads, in words.
    """

    runs: pd.DataFrame
    budget: str

    def cells(self) -> pd.DataFrame:
        """A row a model, as text: the mean over seeds and the standard deviation between them.

        Examples
        --------
        >>> rows = {"model": ["unet", "unet", "persistence"], "seed": [0, 1, None]}
        >>> print(Table(pd.DataFrame({**rows, "SSIM": [0.5, 0.7, 0.1]}), "").cells())
                                SSIM
        model
        unet         0.6000 ± 0.1414
        persistence           0.1000
        """
        groups = self.runs.drop(columns="seed").groupby("model", sort=False)
        mean, spread = groups.mean(), groups.std()
        varied = spread.gt(0).any()
        return pd.DataFrame(
            {
                name: [
                    _cell(m, s if varied[name] else NONE, DIGITS.get(name, 4))
                    for m, s in zip(mean[name], spread[name], strict=True)
                ]
                for name in mean
            },
            mean.index,
        )

    def text(self) -> str:
        """To print."""
        return f"{self.cells().reset_index().to_string(index=False)}\n{self.budget}"

    def markdown(self) -> str:
        """The same for a document."""
        cells = self.cells().reset_index()
        lines = [cells.columns, ["---", *["---:"] * (cells.shape[1] - 1)], *cells.to_numpy()]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\n{self.budget}\n"


def _cell(mean: float, spread: float, digits: int) -> str:
    if np.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if np.isnan(spread) else f" ± {spread:.{digits}f}")


def train_table(
    models: list[Network],
    data: DataSource | list[DataSource],
    card: dict[str, Any],
    folder: str,
    scores: Literal["enso", "frames"],
    test: Period | DataSource | list[DataSource],
    period: Period | None = None,
    validation: Period | DataSource | list[DataSource] | None = None,
    packs: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    recipe: Recipe = PAPER,
    device: str = "auto",
) -> Table:
    """Train models on the same data by the same recipe, and score them on data kept back.

    Called again after a kill it goes on: what is trained isn't trained again.

    Parameters
    ----------
    models : list of Network
        With the same frames in and out. One with a closed-form `fit` is fitted once.
    data : DataSource, or list of DataSource
    card : dict
        Of every pack, see `train`.
    folder : str
        For a pack a model and seed, `table.csv` (a line each) and `table.md`.
    scores : "enso" or "frames"
        "enso": the correlations of Nino3.4 and MSE of `tables.enso_scores`, on its grid;
        "frames": MSE, MAE and SSIM of `tables.frame_scores`.
    test : (start, end), DataSource, or list of DataSource
        What is forecast for the scores: of a period the targets lie wholly in it; their inputs
        may reach back before it.
    period, validation : see `train`
        Validation chooses the epoch of each run.
    packs : list of str
        Packs to score beside, as they are: "persistence".
    seeds : list of int
        Of the recipe.
    recipe : Recipe
    device : str

    Returns
    -------
    Table
        Seconds a step are the median over the steps of an epoch, forward, backward and update,
        without the first of a process, and of these the median over epochs.

    Raises
    ------
    ValueError, KeyError
        Before any training: no models; one named twice, or unknown, or with nothing to train, or
        with other lengths or shapes; no seeds, or one twice; periods that overlap.
    """
    networks = contenders(models, packs, seeds)
    records = opened(data)
    drafts = {name: draft_card(card, name, net, Path(name)) for name, net in networks.items()}
    draft = next(iter(drafts.values()))
    gridded = [on_grid(record, draft) for record in records]
    check_periods(gridded, period, validation if is_period(validation) else None)
    for name, network in networks.items():
        check_shapes(network, drafts[name], gridded[0])
    held_back = _held_back(gridded, test, draft, period, validation)
    _check_length(held_back, test, draft)
    beside = open_packs(packs, draft.context) if packs else {}
    if scores == "enso":
        held_back = [_for_enso(record, draft) for record in held_back]
    else:
        check_frames(held_back)
    held_out = validation if is_period(validation) or validation is None else opened(validation)
    trained: Packs = {}
    for model in models:
        for seed in [None] if _is_fitted(networks[model.name]) else seeds:
            path = Path(folder) / _label(model.name, seed)
            trained[model.name, seed] = train(
                model.name,
                gridded,
                config=model.config,
                card=card,
                pack=path,
                period=period,
                validation=held_out,
                recipe=replace(recipe, seed=recipe.seed if seed is None else seed),
                device=device,
            )
    alone: Packs = {(name, None): pack for name, pack in beside.items()}
    runs = _runs(trained | alone, held_back, scores, draft, device)
    table = Table(runs, _budget(trained, recipe))
    table.runs.to_csv(Path(folder) / "table.csv", index=False)
    (Path(folder) / "table.md").write_text(table.markdown())
    return table


# --- what is compared


def contenders(
    models: list[Network], packs: Sequence[str], seeds: Sequence[int]
) -> dict[str, nn.Module]:
    """The models by name; an error for what makes no table."""
    for what, listed in (("model", [*[model.name for model in models], *packs]), ("seed", seeds)):
        twice = sorted({str(one) for one in listed if list(listed).count(one) > 1})
        if twice:
            raise mismatch(f"each {what} once", f"{', '.join(twice)} twice", f"one {what} less")
    if not models or not seeds:
        raise mismatch("models and seeds", "none", "models: [{name: earthformer, config: tiny}]")
    networks = {model.name: build(model.name, model.config, 0) for model in models}
    for name, network in networks.items():
        if getattr(network, "samples", False):
            raise mismatch("models that are trained whole", f"{name}, in parts", "another model")
        if not _is_fitted(network) and not any(True for _ in network.parameters()):
            found = f"{name}, which has no parameters"
            raise mismatch("models to train", found, f"packs: [{name}], to score it beside")
    lengths = {name: (network.in_len, network.out_len) for name, network in networks.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {i} in and {o} out" for name, (i, o) in lengths.items())
        raise mismatch("models with the same frames in and out", said, "configs that agree")
    return networks


def _is_fitted(network: nn.Module) -> bool:
    return hasattr(type(network), "fit")


def _held_back(
    records: list[xr.DataArray], test: Any, draft: Card, period: Any, validation: Any
) -> list[xr.DataArray]:
    """Records to score on; of a test period the part of each that it needs."""
    if not is_period(test):
        return [on_grid(record, draft) for record in opened(test)]
    for name, span in (("training", period), ("validation", validation)):
        taken = name == "training" or is_period(span)
        if taken and any(_overlap(record, span, test) for record in records):
            raise mismatch(
                f"a test period apart from that of {name}",
                f"{test[0]} .. {test[1]}, which overlap",
                "test: [start, end], with no time in both",
            )
    parts = []
    for record in records:
        among = within(record, test).indexes["time"]
        places = np.flatnonzero(record.indexes["time"].isin(among))
        if places.size:
            first = max(0, places[0] - draft.context)
            parts.append(record.isel(time=slice(first, places[-1] + 1)))
    return parts


def _check_length(records: list[xr.DataArray], test: Any, draft: Card) -> None:
    """See that there is a forecast to score in every record."""
    if min([record.sizes["time"] for record in records], default=0) < draft.context + draft.lead:
        said = f"{test[0]} .. {test[1]}" if is_period(test) else "records that are shorter"
        raise mismatch(
            f"{draft.context} time steps in and {draft.lead} out in test, of every record",
            f"{said}; {', '.join(map(ends, records[:3])) or 'no data there'}",
            "test: [start, end] with more between them, or longer records",
        )


def _overlap(record: xr.DataArray, one: Period | None, other: Period) -> bool:
    first, second = (within(record, span)["time"].values for span in (one, other))
    return bool(np.intersect1d(first, second).size)


def _for_enso(record: xr.DataArray, draft: Card) -> xr.DataArray:
    """A record by the names and on the grid of the benchmark."""
    if (draft.context, draft.lead) != (ENSO_IN, ENSO_OUT):
        raise mismatch(
            f"models of {ENSO_IN} months in and {ENSO_OUT} out, as the scores of ENSO ask",
            f"{draft.context} in and {draft.lead} out",
            "scores: frames",
        )
    return on_icar_grid(record.rename(y="lat", x="lon"))


# --- what came of it


def _runs(
    packs: Packs, records: list[xr.DataArray], scores: str, draft: Card, device: str
) -> pd.DataFrame:
    """A line a model and seed."""
    names = {_label(*key): pack for key, pack in packs.items()}
    shape = records[0].shape[1:]
    if scores == "enso":
        found = enso_scores(records, names, device)
    else:
        lengths = draft.context, draft.lead
        trained = next(iter(packs.values()))
        found = frame_scores(records, names, *lengths, trained.card.scale, device)
    costs: dict[str, tuple[float, float]] = {}
    lines = []
    for (name, seed), pack in packs.items():
        if name not in costs:
            costs[name] = cost(pack, shape, draft.lead)
        run = _run_folder(pack)
        seconds = loop.pace(run).seconds if run.is_dir() else NONE
        lines.append((name, seed, *costs[name], *found[_label(name, seed)], seconds))
    columns = ["model", "seed", *COLUMNS[scores], PACE]
    return pd.DataFrame(lines, columns=columns).astype({"seed": "Int64"})


def _label(name: str, seed: int | None) -> str:
    return name if seed is None else f"{name}-{seed}"


def _run_folder(pack: Pack) -> Path:
    """Where `train` keeps the run of a pack."""
    return Path(f"{pack.path}.run")


def _budget(packs: Packs, recipe: Recipe) -> str:
    """What every model was given, in words."""
    runs = {key: _run_folder(pack) for key, pack in packs.items() if key[1] is not None}
    if not runs:
        return "Closed forms alone: no steps."
    steps, windows, where = set(), set(), set()
    for folder in runs.values():
        with (folder / loop.LOSSES).open(newline="") as file:
            steps.add(int([*csv.DictReader(file)][-1]["steps"]))
        windows.add(json.loads((folder / loop.RUN).read_text())["windows"][0])
        found = loop.pace(folder)
        where.add(f"{found.device} with {found.threads} thread{'s' * (found.threads > 1)}")
    seeds = sorted({key[1] for key in runs if key[1] is not None})
    counts = [" to ".join(map(str, sorted({min(n), max(n)}))) for n in (steps, windows)]
    return (
        f"Budget of a model: {counts[0]} steps of up to {recipe.batch_size} out of {counts[1]} "
        f"windows, learning rate {recipe.learning_rate:g}; seeds {', '.join(map(str, seeds))}; "
        f"{', '.join(sorted(where))}. Mean ± standard deviation between seeds; GFLOPs are "
        "multiply-adds of a forecast; s/step is the median over training steps."
    )
