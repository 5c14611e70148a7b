"""The training loop: a model with a `loss`, windows of tensors, Lightning. It knows no labels.

A run lives in a folder and survives a kill: what is random in an epoch or a step follows from the
seed and its number alone, so that a resumed run repeats the one that was not interrupted, on a CPU
bit by bit. Letters: B batch, T time, H W space, C channels.
"""

import copy
import csv
import json
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ..errors import mismatch
from ..inference.engine import Progress, progress_bar
from .recipe import PRECISIONS, Recipe
from .windows import Batches, Draws, turn_at_random

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
except ImportError as error:
    raise ImportError(
        "training needs Lightning, which isn't installed: pip install 'xearthformer[train]'"
    ) from error

# The files of a run: its identity; the last checkpoint, which holds the best weights too; a line
# per epoch of losses, and one of seconds per step.
RUN, LAST, LOSSES, SECONDS = "run.json", "last.ckpt", "losses.csv", "seconds.csv"
WARM_UP = 3  # steps of a process that aren't timed, where an epoch has more: torch makes its plans


@dataclass(frozen=True)
class Run:
    """Where and how a run goes on."""

    folder: Path  # of RUN, LAST, LOSSES and SECONDS
    identity: Mapping[str, object]  # all that losses depend on, JSON-able: resumed only if equal
    device: str = "auto"  # a GPU when there is one
    progress: Progress = "auto"  # whether to show a progress bar


class Epoch(TypedDict):
    """A line of `losses.csv`."""

    epoch: int
    steps: int
    learning_rate: float
    training_loss: float
    validation_loss: float


class Timing(TypedDict):
    """A line of `seconds.csv`: the median over the timed steps of an epoch."""

    epoch: int
    steps: int
    seconds: str
    threads: int
    device: str


class Checkpoint(TypedDict, total=False):
    """What a run adds to Lightning's checkpoint."""

    losses: list[Epoch]
    seconds: list[Timing]
    best: dict[str, Tensor]


class Task(LightningModule):
    """The model, the moving average of its weights, and the losses of each epoch so far."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, run: Run) -> None:
        super().__init__()
        self.model, self.recipe, self.steps, self.run = model, recipe, steps, run
        # parameters are averaged, buffers (BatchNorm's statistics, counters) are the model's own
        self.ema = AveragedModel(model, multi_avg_fn=self._average).requires_grad_(False).eval()
        self.model.train()
        self.loss_curve: list[Epoch] = []
        self.timings: list[Timing] = []
        self.best: dict[str, Tensor] = {}
        self._training: list[Tensor] = []
        self._validation: list[tuple[Tensor, int]] = []
        self._marks: list[Mark] = []
        self._warm = False

    def on_train_start(self) -> None:
        epochs = self.recipe.stop or self.recipe.epochs
        total = self.steps // self.recipe.epochs * epochs
        self.bar = progress_bar(total, "step", self.run.progress, self.global_step)

    def on_train_end(self) -> None:
        self.bar.close()

    def on_train_batch_start(self, *_: object) -> None:
        self._marks.append(_mark(self.device))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x_BTHWC, y_BTHWC = batch
        # a seed per step: a resumed run draws the same turns, noise and dropout
        torch.manual_seed(seed_of(self.recipe.seed, 0, self.global_step))
        if self.recipe.turns:
            x_BTHWC, y_BTHWC = turn_at_random(x_BTHWC, y_BTHWC)
        if self.recipe.noise:
            x_BTHWC = x_BTHWC + self.recipe.noise * torch.randn_like(x_BTHWC)
        loss = self.model.loss(x_BTHWC, y_BTHWC)
        self._training.append(loss.detach())  # no .item(), which would wait for a GPU
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        self._marks.append(_mark(self.device))  # before the average: a step without it
        self.ema.update_parameters(self.model)
        self.bar.update()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        torch.manual_seed(seed_of(self.recipe.seed, 1, index))  # the same noise every epoch
        loss = self.ema.module.loss(*batch)
        self._validation.append((loss, len(batch[0])))

    def on_train_epoch_end(self) -> None:
        """Write down an epoch: after its training and validation, before its checkpoint."""
        training = torch.stack(self._training).double().mean().item()
        windows = sum(n for _, n in self._validation)
        validation = sum(loss.item() * n for loss, n in self._validation) / max(1, windows)
        if not math.isfinite(training + validation):
            raise ValueError(
                f"the loss of epoch {self.current_epoch} is {training} in training, {validation} "
                "in validation: lower recipe.learning_rate "
                f"({self.recipe.learning_rate:g}), or look at the card's scale"
            )
        self.loss_curve.append(
            {
                "epoch": self.current_epoch,
                "steps": self.global_step,
                "learning_rate": self.optimizers().param_groups[0]["lr"],
                "training_loss": training,
                "validation_loss": validation if windows else math.nan,
            }
        )
        if not windows or validation <= min(epoch["validation_loss"] for epoch in self.loss_curve):
            self.best = {key: v.clone() for key, v in self.ema.module.state_dict().items()}
        self.timings.append(self._timing())
        self._training, self._validation = [], []
        self.bar.set_postfix(training=f"{training:.4g}", validation=f"{validation:.4g}")
        _write_lines(self.loss_curve, Epoch, self.run.folder / LOSSES)
        _write_lines(self.timings, Timing, self.run.folder / SECONDS)
        self.trainer.should_stop = is_over(self.loss_curve, self.recipe)

    def _timing(self) -> Timing:
        pairs = zip(self._marks[::2], self._marks[1::2], strict=True)
        seconds = [_seconds(begin, end) for begin, end in pairs]
        timed = seconds if self._warm else seconds[WARM_UP:] or seconds
        self._marks, self._warm = [], True
        return {
            "epoch": self.current_epoch,
            "steps": len(timed),
            "seconds": f"{median(timed):.6g}",
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }

    # what a killed run needs beyond what Lightning keeps (weights, optimizer, schedule, counters)

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        checkpoint["losses"], checkpoint["best"] = self.loss_curve, self.best
        checkpoint["seconds"] = self.timings

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.loss_curve, self.best = checkpoint["losses"], checkpoint["best"]
        self.timings = checkpoint.get("seconds", [])  # version 0.1 kept them apart

    def configure_optimizers(self) -> dict[str, object]:
        recipe = self.recipe
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: recipe.rate(step, self.steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _average(self, averages: list[Tensor], weights: list[Tensor], n: Tensor | int) -> None:
        # the decay grows with n, so that the average forgets the first, random weights
        decay = min(self.recipe.ema_decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averages, weights, 1 - decay)


def is_over(loss_curve: Sequence[Epoch], recipe: Recipe) -> bool:
    """Return whether a run has had all its epochs, or too many without a better validation loss.

    Examples
    --------
    >>> losses = [{"validation_loss": loss} for loss in (3.0, 1.0, 2.0, 1.5)]
    >>> is_over(losses, Recipe(patience=2)), is_over(losses, Recipe(patience=3))
    (True, False)
    """
    if len(loss_curve) >= (recipe.stop or recipe.epochs):
        return True
    losses = [epoch["validation_loss"] for epoch in loss_curve]
    if not losses or math.isnan(losses[0]):  # without validation all are NaN
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= recipe.patience


def fit(
    model: nn.Module,
    training: Batches,
    validation: Batches | None,
    draws: Draws,
    recipe: Recipe,
    run: Run,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a model, or resume the run that was killed in the same folder.

    The model needs `loss(x_BTHWC, y_BTHWC)`; it is not changed. Returned are the averaged model of
    the best epoch (without validation, the last), in evaluation mode on the CPU, and the losses.
    A ValueError tells of a model without trainable parameters, a folder that holds another run, or
    a loss that isn't finite.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"expected a model with parameters to train, found {type(model).__name__}, which has "
            "none: write it as it is by xef.save_pack(path, model, card)"
        )
    claim(run)
    last = run.folder / LAST
    task = Task(copy.deepcopy(model), recipe, len(draws) * recipe.epochs, run)
    if last.exists():  # a finished run is only read
        task.loss_curve = _load(last)["losses"]
    if not is_over(task.loss_curve, recipe):
        # training seeds torch at every step: the caller's random numbers are put back
        with _quiet(), torch.random.fork_rng():
            _trainer(recipe, run).fit(
                task,
                DataLoader(training, batch_size=None, sampler=draws),
                validation.in_order(recipe.batch_size) if validation is not None else None,
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
    best = copy.deepcopy(model)
    best.load_state_dict(_load(last)["best"])
    return best.eval(), task.loss_curve


@torch.no_grad()
def evaluate(
    model: nn.Module,
    windows: Batches,
    seas: Sequence[Tensor | None],
    batch_size: int,
    device: str,
) -> tuple[float, Tensor]:
    """Return the mean loss, and the mean squared error (T, C) over the cells of each mask (H, W).

    A mask of None means all cells.
    """
    target_device = device_of(device)
    model = copy.deepcopy(model).to(target_device)
    loss, squares_THWC = 0.0, torch.zeros(())
    with torch.random.fork_rng():
        for index, batch in enumerate(windows.in_order(batch_size)):
            torch.manual_seed(seed_of(0, 1, index))
            x_BTHWC, y_BTHWC = (tensor.to(target_device) for tensor in batch)
            loss += float(model.loss(x_BTHWC, y_BTHWC)) * len(x_BTHWC)
            error_BTHWC = torch.nan_to_num(model.predict(x_BTHWC) - y_BTHWC)
            # in float64: sums over many windows
            squares_THWC = squares_THWC + error_BTHWC.square().sum(dim=0).cpu().double()
    means = [
        (one_THW.flatten(1) if sea is None else one_THW[:, sea]).mean(dim=1)
        for one_THW, sea in zip(squares_THWC.unbind(dim=-1), seas, strict=True)
    ]
    return loss / len(windows), torch.stack(means, dim=-1) / len(windows)


def _trainer(recipe: Recipe, run: Run) -> Trainer:
    device = device_of(run.device)
    last = ModelCheckpoint(
        run.folder,
        filename=Path(LAST).stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return Trainer(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index or 0],
        max_epochs=recipe.epochs,
        precision=PRECISIONS[recipe.precision],
        gradient_clip_val=recipe.clip or None,
        callbacks=[last],
        default_root_dir=run.folder,
        logger=False,
        num_sanity_val_steps=0,  # it would draw random numbers before the first step
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def claim(run: Run) -> None:
    """Reserve the folder for this run; an error when it holds another."""
    here = json.loads(json.dumps(run.identity))  # as a file gives it back: lists for tuples
    path = run.folder / RUN
    if not (run.folder / LAST).exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(here, indent=2) + "\n")
        return
    try:
        there = dict(json.loads(path.read_text())) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise _damaged(path) from error
    if "part" in there:  # the name of `stage` in version 0.1
        there["stage"] = there.pop("part")
    if here != there:
        words = "; ".join(_differences(there, here))
        raise ValueError(
            f"{run.folder} holds another run: it differs in {words}. "
            "Choose another folder, or delete that one."
        )


def _differences(there: Mapping[str, object], here: Mapping[str, object]) -> Iterator[str]:
    """Yield what differs in words; of a section only its entries that do.

    >>> [*_differences({"recipe": {"seed": 0, "epochs": 9}}, {"recipe": {"seed": 1, "epochs": 9}})]
    ['recipe.seed (there 0, here 1)']
    """
    for key in sorted(here.keys() | there.keys()):
        pair = there.get(key), here.get(key)
        if all(isinstance(one, Mapping) for one in pair):
            yield from (f"{key}.{words}" for words in _differences(*pair))  # type: ignore[arg-type]
        elif pair[0] != pair[1]:
            yield f"{key} (there {pair[0]}, here {pair[1]})"


def _load(checkpoint: Path) -> Checkpoint:
    """Load tensors and plain values; nothing in the file is executed."""
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by where the damage is
        raise _damaged(checkpoint) from error


def _damaged(file: Path) -> ValueError:
    return ValueError(
        f"{file} is damaged, or not of a training run: delete "
        f"{file.parent} to train anew, or choose another folder"
    )


def _write_lines(lines: Sequence[Mapping[str, object]], kind: type, path: Path) -> None:
    """Write a CSV file whose columns are the keys of a TypedDict."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*kind.__annotations__])
        writer.writeheader()
        writer.writerows(lines)


# --- how long a training step takes


Mark: TypeAlias = float | torch.cuda.Event


def _mark(device: torch.device) -> Mark:
    """Mark a moment: on a GPU, which runs behind the program, in its own queue."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, float) or isinstance(end, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1000  # milliseconds


class Pace(NamedTuple):
    """Seconds per training step, and the threads and device that took them."""

    seconds: float
    threads: int
    device: str


def pace(folder: Path) -> Pace:
    """Return the pace of a run: the median over its epochs; threads and device are the last."""
    with (folder / SECONDS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    seconds = median(float(line["seconds"]) for line in lines)
    return Pace(seconds, int(lines[-1]["threads"]), lines[-1]["device"])


# --- devices, seeds, messages


def device_of(name: str) -> torch.device:
    """Return a device by its name; "auto" is a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise mismatch("a device of torch", repr(name), 'device="auto"') from error


def seed_of(*entropy: int) -> int:
    """Return a seed that follows from several numbers, well mixed."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notes on hardware, workers and its own products off the terminal."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)
