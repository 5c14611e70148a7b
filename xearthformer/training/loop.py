"""The training loop: a model with a `loss`, frames in one tensor, Lightning. It knows no labels.

A run lives in a folder and survives a kill: what is random in an epoch or a step follows from the
seed and its number alone, so that a run taken up again repeats the one that was not interrupted, on
a CPU bit by bit. Letters: N frames of all records, B batch, T time, H W space, C channels.
"""

import copy
import csv
import json
import logging
import math
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Sampler
from tqdm.auto import tqdm

from .recipe import PRECISIONS, Recipe
from .windows import Batches, Crops, turned

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from .stopwatch import Stopwatch
except ImportError as error:
    raise ImportError(
        "training needs Lightning, which isn't installed: pip install 'xearthformer[train]'"
    ) from error

RUN, LAST, LOSSES = "run.json", "last.ckpt", "losses.csv"


@dataclass(frozen=True)
class Run:
    """Where and how a run goes on.

    Attributes
    ----------
    folder : Path
        For the checkpoint after the last epoch, which holds the best weights too, the losses, and
        what the run is.
    identity : mapping
        What makes this run this run, JSON-able: only an equal one is taken up again.
    device : str
        "auto" takes a GPU when there is one.
    progress : bool
        Whether to show a bar.
    """

    folder: Path
    identity: Mapping[str, Any]
    device: str = "auto"
    progress: bool = True


@dataclass(frozen=True)
class Windows(Batches):
    """Windows cut out of frames: an index tensor in, a whole batch out.

    Attributes
    ----------
    frames : Tensor (N, H, W, C)
        The frames of all records, one record after another, scaled.
    starts : int64 Tensor (S,)
        Where windows begin; none runs from one record into the next.
    history, reach : int
        Frames of input and of target.
    """

    frames: Tensor
    starts: Tensor
    history: int
    reach: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Input (B, history, H, W, C) and target (B, reach, H, W, C) of the windows of an index."""
        steps = torch.arange(self.history + self.reach)
        window_BTHWC = self.frames[self.starts[index, None] + steps]
        return window_BTHWC[:, : self.history], window_BTHWC[:, self.history :]


class Draws(Sampler[Tensor]):
    """Which windows an epoch takes, in batches: a function of the seed and the epoch.

    Parameters
    ----------
    counts : sequence of int
        Windows of each group; a group's windows stand together.
    shares : sequence of float
        How often an epoch takes each window of a group: 1 once, 0.1 every tenth anew, 2.5 two or
        three times.
    batch_size : int
        The largest batch; all are as even as can be.
    seed : int

    Examples
    --------
    >>> draws = Draws([4, 100], [1, 0.02], batch_size=3, seed=0)
    >>> [len(batch) for batch in draws], sorted(torch.cat(list(draws)).tolist())[:4]
    ([3, 3], [0, 1, 2, 3])
    """

    def __init__(self, counts: list[int], shares: list[float], batch_size: int, seed: int) -> None:
        if min(shares) < 0:
            raise ValueError(f"shares: expected numbers from 0 up, found {shares}")
        self.counts, self.seed, self.epoch = counts, seed, 0
        self.taken = [round(n * share) for n, share in zip(counts, shares, strict=True)]
        self.batches = math.ceil(sum(self.taken) / batch_size)

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        rng = np.random.default_rng([self.seed, self.epoch])
        first, groups = 0, []
        for count, taken in zip(self.counts, self.taken, strict=True):
            passes = [rng.permutation(count) for _ in range(math.ceil(taken / max(1, count)))]
            groups.append(first + np.concatenate([*passes, np.empty(0, np.int64)])[:taken])
            first += count
        order = rng.permutation(np.concatenate(groups))
        yield from map(torch.from_numpy, np.array_split(order, self.batches))


class Epoch(TypedDict):
    """A line of `losses.csv`."""

    epoch: int
    steps: int
    learning_rate: float
    training_loss: float
    validation_loss: float


class Task(LightningModule):
    """The model, the moving average of its weights, and the losses of each epoch so far."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, run: Run) -> None:
        super().__init__()
        self.model, self.recipe, self.steps, self.run = model, recipe, steps, run
        self.ema = AveragedModel(model, multi_avg_fn=self._average).requires_grad_(False).eval()
        self.model.train()
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self._training: list[Tensor] = []
        self._validation: list[tuple[Tensor, int]] = []

    def on_train_start(self) -> None:
        show = {"unit": "step", "mininterval": 1, "disable": not self.run.progress}
        recipe = self.recipe
        steps = self.steps // recipe.epochs * (recipe.stop or recipe.epochs)
        self.bar = tqdm(total=steps, initial=self.global_step, **show)

    def on_train_end(self) -> None:
        self.bar.close()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x_BTHWC, y_BTHWC = batch
        torch.manual_seed(_seed(self.recipe.seed, 0, self.global_step))
        if self.recipe.turns:
            x_BTHWC, y_BTHWC = turned(x_BTHWC, y_BTHWC)
        if self.recipe.noise:
            x_BTHWC = x_BTHWC + self.recipe.noise * torch.randn_like(x_BTHWC)
        loss = self.model.loss(x_BTHWC, y_BTHWC)
        self._training.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.ema.update_parameters(self.model)
        self.bar.update()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        torch.manual_seed(_seed(self.recipe.seed, 1, index))
        loss = self.ema.module.loss(*batch)
        self._validation.append((loss, len(batch[0])))

    def on_train_epoch_end(self) -> None:
        """After training and validation of an epoch, and before its checkpoint."""
        training = torch.stack(self._training).double().mean().item()
        windows = sum(n for _, n in self._validation)
        validation = sum(loss.item() * n for loss, n in self._validation) / max(1, windows)
        self._training, self._validation = [], []
        if not math.isfinite(training + validation):
            raise ValueError(
                f"the loss of epoch {self.current_epoch} is {training} in training, {validation} "
                "in validation: lower recipe.learning_rate "
                f"({self.recipe.learning_rate:g}), or look at the card's scale"
            )
        self.history.append(
            {
                "epoch": self.current_epoch,
                "steps": self.global_step,
                "learning_rate": self.optimizers().param_groups[0]["lr"],
                "training_loss": training,
                "validation_loss": validation if windows else math.nan,
            }
        )
        if not windows or validation <= min(epoch["validation_loss"] for epoch in self.history):
            self.best = {key: v.clone() for key, v in self.ema.module.state_dict().items()}
        self.bar.set_postfix(training=f"{training:.4g}", validation=f"{validation:.4g}")
        _write_losses(self.history, self.run.folder / LOSSES)
        self.trainer.should_stop = is_over(self.history, self.recipe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["losses"], checkpoint["best"] = self.history, self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.best = checkpoint["losses"], checkpoint["best"]

    def configure_optimizers(self) -> Any:
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
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _average(self, averages: Any, weights: Any, n: Tensor | int) -> None:
        decay = min(self.recipe.ema_decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averages, weights, 1 - decay)


def is_over(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether a run has had all its epochs, or too many without a better validation loss.

    Examples
    --------
    >>> losses = [{"validation_loss": loss} for loss in (3.0, 1.0, 2.0, 1.5)]
    >>> is_over(losses, Recipe(patience=2)), is_over(losses, Recipe(patience=3))
    (True, False)
    """
    if len(history) >= (recipe.stop or recipe.epochs):
        return True
    losses = [epoch["validation_loss"] for epoch in history]
    if not losses or math.isnan(losses[0]):
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= recipe.patience


def fit(
    model: nn.Module,
    training: Windows | Crops,
    validation: Windows | Crops | None,
    draws: Draws,
    recipe: Recipe,
    run: Run,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a model, or go on where a killed run in the same folder stopped.

    Parameters
    ----------
    model : nn.Module
        With `loss(x_BTHWC, y_BTHWC)`; it is left as it is.
    training, validation : Windows or Crops
    draws : Draws
        Over `training`.
    recipe : Recipe
    run : Run

    Returns
    -------
    nn.Module, list of Epoch
        The averaged model of the best epoch (without validation, the last), in evaluation mode on
        the CPU; the losses.

    Raises
    ------
    ValueError
        A model without trainable parameters; a folder that holds another run; a loss that isn't
        finite.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"expected a model with parameters to train, found {type(model).__name__}, which has "
            "none: write it as it is by save_pack(path, model, card)"
        )
    claim(run)
    last = run.folder / LAST
    steps = len(draws) * recipe.epochs
    task = Task(copy.deepcopy(model), recipe, steps, run)
    if last.exists():
        task.history = _load(last)["losses"]
    if not is_over(task.history, recipe):
        with _quiet(), torch.random.fork_rng():
            _trainer(recipe, run).fit(
                task,
                DataLoader(training, batch_size=None, sampler=draws),
                validation.in_order(recipe.batch_size) if validation is not None else None,
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
    fitted = copy.deepcopy(model)
    fitted.load_state_dict(_load(last)["best"])
    return fitted.eval(), task.history


@torch.no_grad()
def evaluate(
    model: nn.Module, windows: Windows | Crops, sea_HW: Tensor | None, batch_size: int, device: str
) -> tuple[float, Tensor]:
    """Mean loss, and the mean squared error of each step (T,) over the cells of a mask."""
    where = device_of(device)
    model = copy.deepcopy(model).to(where)
    loss, squares_THW = 0.0, torch.zeros(())
    with torch.random.fork_rng():
        for index, batch in enumerate(windows.in_order(batch_size)):
            torch.manual_seed(_seed(0, 1, index))
            x_BTHWC, y_BTHWC = (part.to(where) for part in batch)
            loss += float(model.loss(x_BTHWC, y_BTHWC)) * len(x_BTHWC)
            error_BTHWC = torch.nan_to_num(model.predict(x_BTHWC) - y_BTHWC)
            squares_THW = squares_THW + error_BTHWC.square().sum(dim=0).mean(dim=-1).cpu().double()
    squares_TS = squares_THW.flatten(1) if sea_HW is None else squares_THW[:, sea_HW]
    return loss / len(windows), squares_TS.mean(dim=1) / len(windows)


def _trainer(recipe: Recipe, run: Run) -> Trainer:
    where = device_of(run.device)
    last = ModelCheckpoint(
        run.folder,
        filename=Path(LAST).stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return Trainer(
        accelerator=where.type,
        devices=1 if where.type == "cpu" else [where.index or 0],
        max_epochs=recipe.epochs,
        precision=PRECISIONS[recipe.precision],
        gradient_clip_val=recipe.clip or None,
        callbacks=[last, Stopwatch(run.folder)],
        default_root_dir=run.folder,
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def claim(run: Run) -> None:
    """Make the folder this run's, or see that it is."""
    said = json.loads(json.dumps(run.identity))
    path = run.folder / RUN
    if not (run.folder / LAST).exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said, indent=2) + "\n")
        return
    found = json.loads(path.read_text()) if path.exists() else {}
    other = sorted(key for key in said.keys() | found.keys() if said.get(key) != found.get(key))
    if other:
        raise ValueError(
            f"{run.folder} holds another run: it differs in "
            + "; ".join(f"{key} (there {found.get(key)}, here {said.get(key)})" for key in other)
            + ". Choose another folder, or delete that one."
        )


def _load(checkpoint: Path) -> dict[str, Any]:
    """Tensors and plain values; nothing in it is executed."""
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{checkpoint} is damaged, or no checkpoint of a training run: delete "
            f"{checkpoint.parent} to train anew, or choose another folder"
        ) from error


def _write_losses(history: list[Epoch], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*Epoch.__annotations__])
        writer.writeheader()
        writer.writerows(history)


def device_of(name: str) -> torch.device:
    """A device by its name; "auto" is a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])


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
