"""The engine runs a model over windows: where, how many at once, how often on its own output."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..errors import PackError, mismatch
from ..models import MODELS
from ..models.earthformer.fused import fuse
from ..models.prediff import samplers
from ..models.prediff.prediff import Context, PreDiff
from ..packs.card import Card
from ..packs.pack import Pack, open_pack
from . import guidance

# Input elements a batch may hold, by device type: enough to keep it busy, little enough to fit.
BATCH_ELEMENTS = {"cpu": 60_000, "cuda": 8_000_000, "mps": 2_000_000}
# Tiles of latent frames that a model which samples takes at once.
BATCH_TILES = {"cpu": 4, "cuda": 64, "mps": 16}

Precision = Literal["float32", "bf16"]
Progress = bool | Literal["auto"]

OPENING = threading.Lock()  # threads that begin together open a pack once


def progress_bar(total: int, unit: str, progress: Progress, initial: int = 0) -> tqdm:
    """A bar on stderr; "auto" shows one after two seconds, in the main thread alone."""
    shown = progress is True or (
        progress == "auto" and threading.current_thread() is threading.main_thread()
    )
    delay = 2 if progress == "auto" else 0
    return tqdm(total=total, initial=initial, unit=unit, delay=delay, disable=not shown)


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
        Windows; of a model that samples, tiles of its members.
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
    if batch_size == "auto" and samples(pack.card):
        batch_size = BATCH_TILES.get(torch.device(device).type, BATCH_TILES["cpu"])
    elif batch_size == "auto":
        elements = pack.card.context * shape[0] * shape[1]
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
        if samples(pack.card):
            model.denoiser = torch.compile(model.denoiser)
        else:
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


# --- models that sample


def samples(card: Card) -> bool:
    """Whether the card's model gives samples, and so has members."""
    return card.model.name in MODELS and getattr(MODELS[card.model.name][1], "samples", False)


@dataclass(frozen=True)
class Ensemble:
    """Members, and how they are drawn; a member's bits depend on these, but not on how many.

    Attributes
    ----------
    members, seed : int
    sampler : str
        One of `samplers.METHODS`.
    steps : int
    eta : float
        Of "ddim".
    guidance : tuple of guidance terms
    """

    members: int
    seed: int
    sampler: str
    steps: int
    eta: float
    guidance: tuple[guidance.Guidance, ...]

    def __str__(self) -> str:
        eta = f", eta {self.eta:g}" if self.eta else ""
        told = "".join(f", guided by {guidance.describe(term)}" for term in self.guidance)
        how = f"{self.sampler} in {self.steps} steps{eta}"
        return f"{self.members} members of seed {self.seed} by {how}{told}"


def ensemble(
    card: Card,
    members: int | None,
    seed: int,
    sampler: str | samplers.Sampler,
    steps: int | None,
    terms: guidance.Guidance | Sequence[guidance.Guidance] | None,
) -> Ensemble | None:
    """Check what a forecast asks of a model that samples; None for one that doesn't.

    Raises
    ------
    ValueError
        Members or guidance for a deterministic pack; fewer than one member; an unknown sampler;
        steps out of its range; guidance that the pack can't serve.
    TypeError
        Guidance that is none.
    """
    listed = guidance.listed(terms)
    if not samples(card):
        for name, said in (("members", members), ("guidance", listed or None)):
            if said is not None:
                raise mismatch(
                    f"a pack that samples, for {name}",
                    f"{card.name!r}, whose forecasts are deterministic",
                    f"{name}=None, or another pack, such as 'prediff-radar'",
                )
        return None
    members = 1 if members is None else members
    for name, value, least in (("members", members, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise mismatch(f"{name} as a whole number from {least}", repr(value), f"{name}={least}")
    chosen = samplers.Sampler(sampler) if isinstance(sampler, str) else sampler
    taken = chosen.count(steps)
    guidance.check(listed, card, int(members))
    return Ensemble(int(members), int(seed), chosen.name, taken, chosen.eta, listed)


@torch.no_grad()
def sample(
    model: PreDiff,
    x_BTHWC: torch.Tensor,
    stamps: Sequence[str],
    lead: int,
    settings: Settings,
    ensemble: Ensemble,
    card: Card,
    dims: tuple[str, str],
    coords: Mapping[str, np.ndarray],
) -> torch.Tensor:
    """Draw every member of every window, `lead` steps each.

    Rows (a member of a window) go through the model in batches of one fixed size; the last is
    filled up. A row's noise comes from a generator of its own, made from the seed, the stamp of its
    window, its member and the pass, so that its bits don't depend on its company. Beyond the
    model's reach each member reads its own output.

    Parameters
    ----------
    model : PreDiff
    x_BTHWC : Tensor
        Scaled windows.
    stamps : sequence of str
        What names each window: its init.
    lead : int
    settings : Settings
    ensemble : Ensemble
    card : Card
    dims, coords
        Of the frames that constraints see: names of y and x, and their labels.

    Returns
    -------
    Tensor (B, lead, members, H, W, C)
        On the CPU.

    Raises
    ------
    ArithmeticError
        NaN in a sample: the message names step and member.
    """
    members = ensemble.members
    rows = [(stamp, member) for stamp in stamps for member in range(members)]
    owner = [window for window in range(len(x_BTHWC)) for _ in range(members)]
    tiles = model.tiles(tuple(x_BTHWC.shape[2:4]))
    size = max(1, settings.batch_size // tiles)
    draw = _Draw(model, settings, ensemble, card, dims, coords)
    batches = -(-size * tiles // settings.batch_size)
    at_once = -(-size * tiles // batches)  # tiles of a batch: as even as can be
    x, steps, have = x_BTHWC, [], 0
    while have < lead:
        contexts = [model.context(window.to(settings.device)[None], at_once) for window in x]
        parts = []
        for first in range(0, len(rows), size):
            some = range(first, min(first + size, len(rows)))
            filled = [*some, *[first] * (size - len(some))]
            context = Context.join([contexts[owner[row]] for row in filled])
            y = draw(context, [rows[row] for row in filled], len(steps))
            parts.append(y[: len(some)].cpu())
        steps.append(torch.cat(parts))
        have += model.out_len
        x = torch.cat([x[owner], steps[-1].to(x)], dim=1)[:, -model.in_len :]
        owner = list(range(len(rows)))
    y_BTHWC = torch.cat(steps, dim=1)[:, :lead]
    return y_BTHWC.unflatten(0, (-1, members)).transpose(1, 2)


@dataclass(frozen=True)
class _Draw:
    """Draws a batch of rows."""

    model: PreDiff
    settings: Settings
    ensemble: Ensemble
    card: Card
    dims: tuple[str, str]
    coords: Mapping[str, np.ndarray]

    def __call__(self, context: Context, rows: list[tuple[str, int]], turn: int) -> torch.Tensor:
        model, told = self.model, self.ensemble
        generators = [_generator(told.seed, stamp, member, turn) for stamp, member in rows]
        shape = model.noise_shape(context)
        z = torch.stack([torch.randn(shape, generator=one) for one in generators])
        terms = guidance.Terms(
            told.guidance,
            [member for _, member in rows],
            self.card.scale,
            self.card.climatology,
            self.dims,
            self.coords,
        )
        try:
            z = samplers.sample(
                told.sampler,
                lambda z, t: self._denoise(z, t, context),
                z.to(self.settings.device),
                told.steps,
                told.eta,
                generators,
                guidance.guide(model, context, terms),
            )
        except samplers.NotFinite as error:
            stamp, member = rows[error.rows[0]]
            raise ArithmeticError(
                f"NaN or infinity at step {error.step} of {error.steps} in member {member} of init "
                f"{stamp}: try precision='float32', or a smaller scale of the guidance"
            ) from error
        return model.decode(z, context)

    def _denoise(self, z: torch.Tensor, t: int, context: Context) -> torch.Tensor:
        low = self.settings.precision == "bf16"
        with torch.autocast(z.device.type, torch.bfloat16, enabled=low):
            return self.model.denoise(z, t, context).float()


def _generator(seed: int, stamp: str, member: int, turn: int) -> torch.Generator:
    """A stream of noise that no other row has."""
    name = f"{seed}|{stamp}|{member}|{turn}".encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "big"))
