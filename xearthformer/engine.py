"""The engine runs a model over windows: where, how many at once, how often on its own output."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from .errors import PackError, mismatch
from .models.fuse import fuse
from .packs import Pack, open_pack

# Input elements a batch may hold, by device type: enough to keep it busy, little enough to fit.
BATCH_ELEMENTS = {"cpu": 60_000, "cuda": 8_000_000, "mps": 2_000_000}

Precision = Literal["float32", "bf16"]

OPENING = threading.Lock()  # threads that begin together open a pack once


@dataclass(frozen=True)
class Settings:
    """Where and how a model runs; a forecast's bits depend on these, the weights and the data."""

    device: str
    batch_size: int
    precision: Precision = "float32"
    compile: bool = False


def settings(
    pack: Pack,
    shape: tuple[int, int],
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
) -> Settings:
    """Choose device and batch size; "auto" looks at pack and device only, never at the data.

    Parameters
    ----------
    pack : Pack
    shape : (int, int)
        Height and width of the model's input.
    device : str
        "auto" takes a GPU when there is one; else any name torch knows.
    batch_size : int or "auto"
    precision : {"float32", "bf16"}
        "bf16": products and convolutions in bfloat16, by torch's autocast; sums, norms and what the
        model reads and writes stay in float32.
    compile : bool
        Have torch compile the network, instead of fusing it by `models.fuse`.

    Raises
    ------
    ValueError
        A device torch doesn't have here; a batch size below one; another precision.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise mismatch(
            "a device that torch finds here", f"{device!r}: {why}", 'device="auto"'
        ) from error
    if batch_size == "auto":
        elements = pack.card.history * shape[0] * shape[1]
        budget = BATCH_ELEMENTS.get(torch.device(device).type, BATCH_ELEMENTS["cpu"])
        batch_size = max(1, min(64, budget // elements))
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise mismatch(
            "batch_size as a whole number from 1", f"{batch_size!r}", 'batch_size="auto"'
        )
    if precision not in get_args(Precision):
        raise mismatch('precision="float32" or "bf16"', repr(precision), 'precision="float32"')
    return Settings(device, batch_size, precision, bool(compile))


def load(pack: Pack, settings: Settings) -> nn.Module:
    """The pack's network, ready to run as the settings say; opened once a process."""
    with OPENING:
        return _load(pack.path, pack.card.weights_sha256, settings.device, settings.compile)


@lru_cache(maxsize=4)
def _load(path: Path, weights_sha256: str | None, device: str, compile: bool) -> nn.Module:
    pack = open_pack(path)
    if pack.card.weights_sha256 != weights_sha256:
        raise PackError(
            f"{path} holds other weights now ({pack.card.weights_sha256}) than when the forecast "
            f"was set up ({weights_sha256}): set it up again"
        )
    model = pack.model().to(device)
    if compile:
        model.predict = torch.compile(model.predict)
        return model
    return fuse(model)


@torch.no_grad()
def predict(
    model: nn.Module,
    x_BTHWC: torch.Tensor,
    lead: int,
    settings: Settings,
    blank: torch.Tensor | None = None,
) -> torch.Tensor:
    """Forecast every window, `lead` steps each, in batches of one fixed size.

    The last batch is padded with copies of its first window, so that a window's arithmetic is the
    same in whatever company it comes. Beyond the model's reach it reads its own output.

    Parameters
    ----------
    model : nn.Module
    x_BTHWC : Tensor
        Scaled windows.
    lead : int
    settings : Settings
    blank : Tensor (H, W, 1) or None
        The scaled value of cells that the model doesn't forecast, NaN at those it does. It stands
        in the model's output before it is read again.

    Returns
    -------
    Tensor (B, lead, H, W, C)
        On the CPU.
    """
    forecasts = []
    for x in x_BTHWC.split(settings.batch_size):
        size = len(x)
        pad = 0 if getattr(model, "sample_by_sample", False) else settings.batch_size - size
        x = torch.cat([x, x[:1].expand(pad, *x.shape[1:])]) if pad else x
        x = x.to(settings.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            forecasts.append(_roll_out(model, x, lead, blank)[:size].cpu())
    return torch.cat(forecasts)


def _roll_out(
    model: nn.Module, x_BTHWC: torch.Tensor, lead: int, blank: torch.Tensor | None
) -> torch.Tensor:
    steps, have = [], 0
    while have < lead:
        y = model.predict(x_BTHWC).to(x_BTHWC)
        if blank is not None:
            blank = blank.to(y)
            y = torch.where(torch.isnan(blank), y, blank)
        steps.append(y)
        have += y.shape[1]
        x_BTHWC = torch.cat([x_BTHWC, y], dim=1)[:, -x_BTHWC.shape[1] :]
    return torch.cat(steps, dim=1)[:, :lead]
