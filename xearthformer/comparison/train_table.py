"""A fair table: models trained alike for several seeds, scored as packs on data kept back.

train, one pack per model and seed · forecast · papers.enso_scores or papers.frame_scores
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

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
from . import papers

PACE = "s/step"
DIGITS = {"parameters (M)": 3, "GFLOPs": 3, "MSE (1e-4)": 3, "MSE (1e-3)": 3, "MAE (1e-2)": 3}
Packs: TypeAlias = dict[tuple[str, int | None], Pack]  # by name and seed; None: no seed
Records: TypeAlias = DataSource | list[DataSource]


@dataclass(frozen=True)
class Table:
    """The scores of trained models.

    Attributes
    ----------
    runs : DataFrame
        One row per model and seed: parameters, multiply-adds of a forecast, scores, seconds per
        training step.
    budget : str
        Number of steps and windows, batch size, seeds and threads, in words.
    """

    runs: pd.DataFrame
    budget: str

    def cells(self) -> pd.DataFrame:
        """Return one row per model, as text: mean and standard deviation over seeds.

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
        spread = spread.loc[:, spread.gt(0).any()]  # of costs, say, there is none to show
        texts = {}
        for name in mean:
            digits = DIGITS.get(name, 4)
            cells = mean[name].map(f"{{:.{digits}f}}".format).where(mean[name].notna(), "-")
            if name in spread:
                more = spread[name].map(f" ± {{:.{digits}f}}".format)
                cells += more.where(spread[name].notna(), "")  # a single run has no spread
            texts[name] = cells
        return pd.DataFrame(texts)

    def text(self) -> str:
        """Return the table and the budget, to print."""
        return f"{self.cells().reset_index().to_string(index=False)}\n{self.budget}"

    def markdown(self) -> str:
        """Return the table and the budget in Markdown."""
        cells = self.cells().reset_index()
        lines = [cells.columns, ["---", *["---:"] * (cells.shape[1] - 1)], *cells.to_numpy()]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\n{self.budget}\n"


def train_table(
    models: list[Network],
    data: Records,
    card: dict[str, object],
    folder: str,
    scores: Literal["enso", "frames"],
    test: Period | Records,
    period: Period | None = None,
    validation: Period | Records | None = None,
    packs: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    recipe: Recipe = PAPER,
    device: str = "auto",
    overwrite: bool = False,
) -> Table:
    """Train models on the same data by the same recipe, and score them on data kept back.

    Called again after a kill, it resumes: models that are trained are not trained again.

    Parameters
    ----------
    models : list of Network
        With the same number of frames in and out. One with a closed-form `fit` is fitted once.
    data : DataSource, or list of DataSource
        What to train on.
    card : dict
        Entries of every pack's card, as in `train`.
    folder : str
        Where to write one pack per model and seed, `table.csv` (one row each) and `table.md`.
    scores : "enso" or "frames"
        "enso": correlations of Nino3.4 and MSE of `papers.enso_scores`, on its grid;
        "frames": MSE, MAE and SSIM of `papers.frame_scores`.
    test : (start, end), DataSource, or list of DataSource
        What to score on. The targets lie wholly in a test period; their inputs may come from
        before it.
    period, validation
        As in `train`. Validation chooses the epoch of each run.
    packs : list of str
        Packs to score as they are, in the same table: "persistence".
    seeds : list of int
        Random seeds of the runs, in place of the recipe's.
    recipe : Recipe
        As in `train`.
    device : str
        Where to train and forecast: "auto", "cpu", "cuda".
    overwrite : bool
        Whether to replace packs that are there and aren't of the same runs.

    Returns
    -------
    Table
        Seconds per step are the median over the steps of an epoch, forward, backward and update,
        without the first of a process, and of these the median over epochs.

    Raises
    ------
    ValueError, KeyError
        Before any training: no models; one named twice, unknown, without parameters, or with other
        lengths or shapes; no seeds, or one twice; periods that overlap.
    """
    folder = os.path.expanduser(folder)
    networks = contenders(models, packs, seeds)
    drafts = {key: draft_card(card, key, net, Path(key)) for key, net in networks.items()}
    draft = next(iter(drafts.values()))
    name, *others = draft.inputs
    if others:
        found = ", ".join(draft.inputs)
        raise mismatch("a card of one variable", found, "xearthformer train, for each model")
    records = [on_grid(record, draft)[name] for record in opened(data)]
    between = validation if is_period(validation) else None
    check_periods(records, period, between)
    for key, network in networks.items():
        check_shapes(network, drafts[key], records[0])
    if is_period(test):
        _check_apart(records, test, {"training": period, "validation": between})
        tested = _test_records(records, test, draft.context)
    else:
        tested = [on_grid(record, draft)[name] for record in opened(test)]
    _check_length(tested, test, draft)
    rivals = papers.open_packs(packs, draft.context) if packs else {}
    if scores == "enso":
        tested = [_for_enso(record, draft) for record in tested]
    else:
        papers.check_frames(tested)
    checks = validation if validation is None or is_period(validation) else opened(validation)
    trained: Packs = {}
    for model in models:
        for seed in [None] if _is_fitted(networks[model.name]) else seeds:
            trained[model.name, seed] = train(
                model.name,
                records,
                config=model.config,
                card=card,
                pack=Path(folder) / _label(model.name, seed),
                period=period,
                validation=checks,
                recipe=replace(recipe, seed=recipe.seed if seed is None else seed),
                device=device,
                overwrite=overwrite,
            )
    untrained: Packs = {(name, None): pack for name, pack in rivals.items()}
    runs = _score_runs(trained | untrained, tested, scores, draft, device)
    table = Table(runs, _budget(trained, recipe))
    table.runs.to_csv(Path(folder) / "table.csv", index=False)
    (Path(folder) / "table.md").write_text(table.markdown())
    return table


# --- models and records


def contenders(
    models: list[Network], packs: Sequence[str], seeds: Sequence[int]
) -> dict[str, nn.Module]:
    """Return the models by name; an error for models and seeds that make no table."""
    for what, listed in (("model", [*(model.name for model in models), *packs]), ("seed", seeds)):
        twice = sorted(str(one) for one, count in Counter(listed).items() if count > 1)
        if twice:
            raise mismatch(f"each {what} once", f"{', '.join(twice)} twice", f"one {what} less")
    if not models or not seeds:
        hint = "seeds: [0, 1, 2]" if models else "models: [{name: NAME, config: CONFIG}]"
        raise mismatch("models and seeds", "none", hint)
    networks = {model.name: build(model.name, model.config, 0) for model in models}
    for name, network in networks.items():
        if getattr(network, "samples", False):
            raise mismatch("models that are trained whole", f"{name}, in parts", "another model")
        if not _is_fitted(network) and not any(True for _ in network.parameters()):
            found = f"{name}, which has no parameters"
            raise mismatch(
                "models to train",
                found,
                f"packs: [{name}], and no such model, to score it as it is",
            )
    lengths = {name: (network.in_len, network.out_len) for name, network in networks.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {i} in and {o} out" for name, (i, o) in lengths.items())
        raise mismatch("models with the same frames in and out", found, "configs that agree")
    return networks


def _is_fitted(network: nn.Module) -> bool:
    """Return whether a model is solved in closed form, whatever the seed."""
    return hasattr(type(network), "fit")


def _check_apart(
    records: list[xr.DataArray], test: Period, others: dict[str, Period | None]
) -> None:
    """Raise ValueError where the test period shares a time with another; None: the whole record."""
    for name, other in others.items():
        if name == "validation" and other is None:  # records of their own, or none
            continue
        for record in records:
            first, second = (within(record, span)["time"].values for span in (other, test))
            if np.intersect1d(first, second).size:
                raise mismatch(
                    f"a test period apart from that of {name}",
                    f"{test[0]} .. {test[1]}, which overlap",
                    "test: [start, end], with no time in both",
                )


def _test_records(records: list[xr.DataArray], test: Period, context: int) -> list[xr.DataArray]:
    """Return the part of each record in the test period, and the context before it."""
    parts = []
    for record in records:
        inside = record.indexes["time"].isin(within(record, test).indexes["time"])
        positions = np.flatnonzero(inside)
        if positions.size:
            first = max(0, positions[0] - context)
            parts.append(record.isel(time=slice(first, positions[-1] + 1)))
    return parts


def _check_length(records: list[xr.DataArray], test: Period | Records, draft: Card) -> None:
    """Raise ValueError unless every record has a forecast to score."""
    if min([record.sizes["time"] for record in records], default=0) < draft.context + draft.lead:
        where = f"{test[0]} .. {test[1]}" if is_period(test) else "records that are shorter"
        raise mismatch(
            f"{draft.context} time steps in and {draft.lead} out in test, of every record",
            f"{where}; {', '.join(map(ends, records[:3])) or 'no data there'}",
            "test: [start, end] with more between them, or longer records",
        )


def _for_enso(record: xr.DataArray, draft: Card) -> xr.DataArray:
    """Return a record with the names and on the grid of the benchmark."""
    months = papers.ENSO_IN, papers.ENSO_OUT
    if (draft.context, draft.lead) != months:
        raise mismatch(
            f"models of {months[0]} months in and {months[1]} out, as the scores of ENSO ask",
            f"{draft.context} in and {draft.lead} out",
            "scores: frames",
        )
    return papers.on_icar_grid(record.rename(y="lat", x="lon"))


# --- results


def _score_runs(
    packs: Packs, records: list[xr.DataArray], scores: str, draft: Card, device: str
) -> pd.DataFrame:
    """Return one row per model and seed: cost, scores, seconds per training step."""
    named = {_label(*key): pack for key, pack in packs.items()}
    if scores == "enso":
        results, columns = papers.enso_scores(records, named, device), papers.ENSO_COLUMNS
    else:
        scale = next(iter(packs.values())).card.scale  # a trained pack's: all have the same
        results = papers.frame_scores(records, named, draft.context, draft.lead, scale, device)
        columns = papers.FRAME_COLUMNS
    shape = records[0].shape[1:]
    costs: dict[str, tuple[float, float]] = {}  # of a model, whatever the seed
    rows = []
    for (name, seed), pack in packs.items():
        if name not in costs:
            costs[name] = papers.cost(pack, shape, draft.lead)
        folder = _run_folder(pack)
        seconds = loop.pace(folder).seconds if folder.is_dir() else papers.NAN
        rows.append((name, seed, *costs[name], *results[_label(name, seed)], seconds))
    return pd.DataFrame(rows, columns=["model", "seed", *columns, PACE]).astype({"seed": "Int64"})


def _label(name: str, seed: int | None) -> str:
    return name if seed is None else f"{name}-{seed}"


def _run_folder(pack: Pack) -> Path:
    """Return where `train` keeps the run of a pack."""
    return Path(f"{pack.path}.run")


def _budget(packs: Packs, recipe: Recipe) -> str:
    """Return what every model was given, in words."""
    folders = {_run_folder(pack): seed for (_, seed), pack in packs.items() if seed is not None}
    if not folders:
        return "Closed forms alone: no steps."
    steps, windows, where = set(), set(), set()
    for folder in folders:
        with (folder / loop.LOSSES).open(newline="") as file:
            steps.add(int([*csv.DictReader(file)][-1]["steps"]))
        windows.add(json.loads((folder / loop.RUN).read_text())["windows"][0])
        pace = loop.pace(folder)
        where.add(f"{pace.device} with {pace.threads} thread{'s' * (pace.threads > 1)}")
    counts = [" to ".join(map(str, sorted({min(n), max(n)}))) for n in (steps, windows)]
    return (
        f"Budget of a model: {counts[0]} steps of up to {recipe.batch_size} out of {counts[1]} "
        f"windows, learning rate {recipe.learning_rate:g}; seeds "
        f"{', '.join(map(str, sorted({*folders.values()})))}; {', '.join(sorted(where))}. Mean ± "
        "standard deviation between seeds; GFLOPs are multiply-adds of a forecast; s/step is the "
        "median over training steps."
    )
