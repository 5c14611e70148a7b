"""The engine: runs a network over windows, in batches of one fixed size, on one device.

Legend of the shape suffixes: B windows, T time, H W space, C channels.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..errors import PackError, mismatch, warn, whole_number
from ..models import MODELS
from ..models.earthformer.earthformer import Earthformer
from ..models.earthformer.fused import fuse, is_faster
from ..models.layers import parallel
from ..models.state import defaults
from ..packs.card import Card
from ..packs.pack import Pack, open_pack
from .options import Precision

# Input elements per batch, by device type: enough to keep it busy, little enough to fit in memory.
BATCH_ELEMENTS = {"cpu": 60_000, "cuda": 8_000_000, "mps": 2_000_000}
# Tiles of latent frames per batch of a generative model.
BATCH_TILES = {"cpu": 2, "cuda": 64, "mps": 16}
LARGEST_BATCH = 64  # small windows gain nothing beyond it

OPENING = threading.Lock()  # threads that start together open a pack once

Progress = bool | Literal["auto"]
Batch = tuple[list[int], int]  # rows, and how many of them count
Part = TypeVar("Part")
Result = TypeVar("Result")


def progress_bar(total: int, unit: str, progress: Progress, initial: int = 0) -> tqdm:
    """Return a bar on stderr; "auto" shows it after two seconds, and in the main thread only.

    And only where it can move: on a terminal or in a notebook, not in the log of a job.
    """
    if progress not in (True, False, "auto"):
        raise mismatch('progress=True, False or "auto"', repr(progress), 'progress="auto"')
    automatic = progress == "auto"
    shown = progress
    if automatic:
        shown = sys.stderr is not None and sys.stderr.isatty()  # none: of a service
        moves = shown or "ipykernel" in sys.modules
        shown = moves and threading.current_thread() is threading.main_thread()
    delay = 2 if automatic else 0
    # `disable=False` would not let the environment turn it off
    make: Callable[..., tqdm] = tqdm if shown else partial(tqdm, disable=True)
    return make(total=total, initial=initial, unit=unit, delay=delay)


# --- where and how a network runs


@dataclass(frozen=True)
class Settings:
    """Where and how a network runs; a forecast's bits depend on these, the weights and the data."""

    device: str
    batch_size: int
    precision: Precision = "float32"
    compile: bool = False

    def autocast(self) -> torch.autocast:
        """Where products and convolutions are in bfloat16, if that is the precision."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")


def settings(
    pack: Pack,
    shape: tuple[int, int],
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
) -> Settings:
    """Choose device and batch size for input of this height and width.

    "auto" depends on pack, shape and device only, never on the data. "bf16" means autocast:
    products and convolutions in bfloat16; sums, norms, inputs and outputs in float32. A network
    that is not compiled is fused (`fused.fuse`) where that is faster. What torch cannot do here is
    a ValueError.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise mismatch(
            "a device that torch finds here", f"{device!r}: {reason}", 'device="auto"'
        ) from error
    device = str(torch.device(device))  # torch's own devices too
    kind = torch.device(device).type
    if batch_size == "auto" and is_generative(pack.card):
        batch_size = BATCH_TILES.get(kind, BATCH_TILES["cpu"])
    elif batch_size == "auto":
        elements = pack.card.context * shape[0] * shape[1] * pack.card.channels
        budget = BATCH_ELEMENTS.get(kind, BATCH_ELEMENTS["cpu"])
        batch_size = max(1, min(LARGEST_BATCH, budget // elements))
    batch_size = whole_number("batch_size", batch_size, hint='batch_size="auto"')
    if precision not in get_args(Precision):
        raise mismatch('precision="float32" or "bf16"', repr(precision), 'precision="float32"')
    if precision == "bf16" and kind == "cpu" and not _computes_bf16():
        warn("this CPU has no instructions for bf16, which is slower here than float32")
    products = torch.get_float32_matmul_precision()  # of the process: no call can set its own
    if products != "highest" and not is_exact(pack.card):
        warn(
            f"torch's precision of float32 products is set to {products!r}: forecasts may have "
            "other bits than with 'highest'"
        )
    return Settings(device, batch_size, precision, bool(compile))


def _computes_bf16() -> bool:
    """Whether this CPU has instructions for bf16, as far as torch can tell."""
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    told = [has for name, has in known.items() if "bf16" in name]
    return not told or any(told)


def is_generative(card: Card) -> bool:
    """Whether the card's model draws samples, so that its forecasts always have members."""
    return getattr(_model_class(card), "samples", False)


def has_noise(card: Card) -> bool:
    """Whether a deterministic model can add noise of its own, so that it can have members."""
    return getattr(_model_class(card), "draws", False)


def is_exact(card: Card) -> bool:
    """Whether a model gives numbers as they are, in float64 too."""
    return getattr(_model_class(card), "exact", False)


def is_batched(card: Card, settings: Settings) -> bool:
    """Whether the bits of a forecast depend on the size of the batch it is computed in."""
    model = _model_class(card)
    alone = getattr(model, "sample_by_sample", False) or not getattr(model, "batched", True)
    return settings.compile or not alone


def moves_rain(card: Card) -> bool:
    """Whether a model moves rain along its motion: it closes gaps, and says what is `known`."""
    carries = getattr(_model_class(card), "carries", None)
    return carries is not None and carries(card.model.config)


def is_light(card: Card) -> bool:
    """Whether the model's operations are so small that threads would only wait for Python."""
    return _is_light(_model_class(card))


def _is_light(model: nn.Module | type[nn.Module] | None) -> bool:
    return getattr(model, "light", False)


def _model_class(card: Card) -> type[nn.Module] | None:
    return MODELS[card.model.name][1] if card.model.name in MODELS else None


def load(pack: Pack, settings: Settings) -> nn.Module:
    """Return the pack's network, ready to run; each process opens it once."""
    with OPENING:
        return _load(pack.path, identity(pack.card), settings.device, settings.compile)


def identity(card: Card) -> tuple[str | None, str]:
    """Return what makes a network and its numbers: the hash of its weights, and the card's part."""
    return card.weights_sha256, card.deciding()


@lru_cache(maxsize=4)
@defaults()
def _load(path: Path, wanted: tuple[str | None, str], device: str, compile: bool) -> nn.Module:
    pack = open_pack(path)
    # a worker may read another file than the process that set the forecast up
    found = identity(pack.card)
    if found != wanted:
        what = "another card" if found[0] == wanted[0] else "other weights"
        raise PackError(
            f"{path} holds {what} now than when the forecast was set up: set it up again"
        )
    model = pack.model().to(device)
    if not compile:
        small = isinstance(model, Earthformer) and not is_faster(model.config)
        return model if small else fuse(model)
    if is_generative(pack.card):
        model.denoiser = torch.compile(model.denoiser)
    elif moves_rain(pack.card):  # around the network, shapes depend on the data
        model.network = torch.compile(model.network)
    else:
        model.predict = torch.compile(model.predict)
    return model


def check_finite(model: nn.Module, x: Tensor, y: Tensor, pack: Pack) -> None:
    """Raise PackError for a network that makes NaN or infinity of finite numbers, once a load."""
    if getattr(model, "seen_finite", False) or not torch.isfinite(x).all():
        return
    wrong = int((~torch.isfinite(y)).sum())
    if wrong:
        raise PackError(
            f"pack {pack.card.name!r} at {pack.path}: expected finite forecasts of finite data, "
            f"found NaN or infinity in {wrong} of {y.numel()} values. Its weights, or the scale of "
            "its card, are of another model; fetch the pack again."
        )
    model.seen_finite = True


# --- running it


@torch.no_grad()
def predict(
    model: nn.Module,
    x_BTHWC: Tensor,
    lead: int,
    settings: Settings,
    fill_value_HWC: Tensor | None = None,
    known_BTHWK: Tensor | None = None,
) -> Tensor:
    """Forecast every scaled window, `lead` steps each.

    Beyond `model.out_len` the model reads its own output. `fill_value_HWC` is the scaled value of
    the cells that are not forecast (land), NaN at the others: it replaces the model's output there
    before the model reads it again. `known_BTHWK` are further channels of the input, over its own
    time steps and those forecast; their H and W may be 1.

    Returns
    -------
    Tensor (B, lead, H, W, C)
        On the CPU.
    """

    def run(batch: Batch) -> Tensor:
        rows, count = batch
        x = x_BTHWC[rows].to(settings.device)
        known = None if known_BTHWK is None else known_BTHWK[rows].to(settings.device)
        with settings.autocast():
            y = roll_out(model, x, lead, fill_value_HWC, known)
        return y[:count].cpu()

    alone = getattr(model, "sample_by_sample", False)  # a batch need not be filled up
    size = 1 if alone and not _is_light(model) else settings.batch_size
    batches = fixed_batches(len(x_BTHWC), size, pad=not alone)
    return _joined(each(run, batches, settings, model))


def each(
    function: Callable[[Part], Result],
    parts: Iterable[Part],
    settings: Settings,
    model: nn.Module,
) -> list[Result]:
    """As `parallel.each`, but one part after another for a light or a compiled model."""
    if settings.compile:
        return [function(part) for part in parts]
    if _is_light(model):
        with parallel.one_thread():
            return [function(part) for part in parts]
    return parallel.each(function, parts, settings.device)


@torch.no_grad()
def nowcast(
    model: nn.Module, x_BTHWC: Tensor, lead: int, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Forecast as `predict` does with a model that moves rain along.

    Returns
    -------
    tuple of Tensor (B, lead, H, W, C) and (B, lead, H, W)
        The forecast, and the share of each value that stems from what was seen; on the CPU.
    """

    def run(batch: Batch) -> tuple[Tensor, Tensor]:
        rows, count = batch
        x = x_BTHWC[rows].to(settings.device)
        with settings.autocast():
            past = model.past(x)
            y = roll_out(model, x, lead, first=model.ahead(past, min(lead, model.out_len)))
            known = model.known(past, lead).float()
        return y[:count].cpu(), known[:count].cpu()

    batches = fixed_batches(len(x_BTHWC), settings.batch_size)
    forecasts, shares = zip(*each(run, batches, settings, model), strict=True)
    return _joined(forecasts), _joined(shares)


def _joined(batches: Sequence[Tensor]) -> Tensor:
    """Batches as one tensor; one alone is large, and not copied."""
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def fixed_batches(total: int, size: int, pad: bool = True) -> Iterator[Batch]:
    """Yield the rows of each batch, and how many of them count.

    The last batch is padded with copies of its first row: libraries choose their kernels by shape,
    and the same kernel gives a row the same bits whatever its batch holds besides.

    >>> list(fixed_batches(5, 3))
    [([0, 1, 2], 3), ([3, 4, 3], 2)]
    """
    for first in range(0, total, size):
        rows = list(range(first, min(first + size, total)))
        yield rows + [first] * (size - len(rows) if pad else 0), len(rows)


def roll_out(
    model: nn.Module,
    x_BTHWC: Tensor,
    lead: int,
    fill_value_HWC: Tensor | None = None,
    known_BTHWK: Tensor | None = None,
    generators: Iterator[torch.Generator] | None = None,
    first: Tensor | None = None,
) -> Tensor:
    """Forecast one batch, pass after pass; each pass takes the next generator of noise, if any.

    `first` is what the first pass gave, if it has been made.
    """
    outputs: list[Tensor] = []
    context, done = x_BTHWC.shape[1], 0
    while True:
        given = x_BTHWC
        if known_BTHWK is not None:
            now = known_BTHWK[:, done : done + context]
            given = torch.cat([given, now.expand(*given.shape[:-1], -1)], dim=-1)
        if first is not None and not outputs:
            y = first
        else:
            noise = {} if generators is None else {"generator": next(generators)}
            y = model.predict(given, **noise)
        y = y.to(x_BTHWC)  # back to float32 after autocast
        if fill_value_HWC is not None:
            fill_value = fill_value_HWC.to(y)
            y = torch.where(torch.isnan(fill_value), y, fill_value)
        outputs.append(y)
        done += y.shape[1]
        if done >= lead:
            return (y if len(outputs) == 1 else torch.cat(outputs, dim=1))[:, :lead]
        x_BTHWC = torch.cat([x_BTHWC, y], dim=1)[:, -context:]
