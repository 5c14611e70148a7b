"""Ensembles: members drawn by a model, each with a stream of noise of its own.

A generative model (PreDiff) draws by diffusion, in batches (`sample`); a model that knows the noise
of its own steps (LIM) adds it, member by member (`draw`), and so does a nowcast, which reads the
past once for all of them (`draw_nowcasts`). Member m of an init has the same bits whatever members
and inits are asked for next to it.
Legend of the shape suffixes: B windows, T time, H W space, C channels.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import mismatch, whole_number
from ..models.prediff import samplers
from ..models.prediff.prediff import Context, PreDiff
from ..packs.card import Card
from . import guidance
from .engine import (
    Batch,
    Settings,
    each,
    fixed_batches,
    has_noise,
    is_generative,
    moves_rain,
    roll_out,
)
from .options import Options

MOST = 2**63 - 1  # of a seed: files have attributes of 64 bits


@dataclass(frozen=True)
class Sampling:
    """How a generative model draws."""

    sampler: str  # one of `samplers.METHODS`
    steps: int  # of the sampler
    eta: float  # share of noise that is added at each step of "ddim"
    guidance: tuple[guidance.Guidance, ...]

    def __str__(self) -> str:
        eta = f", eta {self.eta:g}" if self.eta else ""
        terms = "".join(f", guided by {guidance.describe(term)}" for term in self.guidance)
        return f" by {self.sampler} in {self.steps} steps{eta}{terms}"


@dataclass(frozen=True)
class Ensemble:
    """How members are drawn; a member's bits depend on all of it but the number of members."""

    members: int
    seed: int
    sampling: Sampling | None  # None: the model adds noise of its own

    def __str__(self) -> str:
        return f"{self.members} members of seed {self.seed}{self.sampling or ''}"


def ensemble(
    card: Card,
    members: int | None,
    seed: int,
    sampler: str | samplers.Sampler,
    steps: int | None,
    terms: guidance.Guidance | Sequence[guidance.Guidance] | None,
) -> Ensemble | None:
    """Check the options of an ensemble before anything is drawn; None for a single forecast.

    Raises ValueError for what the pack cannot serve, TypeError for guidance of another type.
    """
    listed = guidance.listed(terms)
    generative, noisy = is_generative(card), has_noise(card)
    if not generative:
        other_sampler = None if sampler == Options.sampler else sampler
        for name, value in (
            ("members", None if noisy else members),
            ("sampler", other_sampler),
            ("steps", steps),
            ("guidance", listed or None),
        ):
            if value is not None:
                kind = "has noise or samples" if name == "members" else "samples"
                found = f"{card.name!r}, whose members are of its own noise"
                if not noisy:
                    found = f"{card.name!r}, whose forecasts are deterministic"
                hint = f"another pack, such as {_others(card, name)}, or leave {name} out"
                raise mismatch(f"a pack that {kind}, for {name}", found, hint)
        if members is None:
            return None
    members = whole_number("members", 1 if members is None else members)
    seed = whole_number("seed", seed, least=0)
    if seed > MOST:
        raise mismatch(f"seed as a whole number up to {MOST}", str(seed), "seed=0")
    if not generative:
        return Ensemble(members, seed, None)
    chosen = samplers.Sampler(sampler) if isinstance(sampler, str) else sampler
    step_count = chosen.count(steps)
    guidance.check(listed, card, members)
    return Ensemble(members, seed, Sampling(chosen.name, step_count, chosen.eta, listed))


def _others(card: Card, option: str) -> str:
    """Return the packs that ship and serve an option of an ensemble, of a card's time step."""
    if option != "members":
        return "'prediff-radar'"
    monthly, rain = "'lim'", "'nowcast-radar' or 'prediff-radar'"
    # persistence serves months and minutes
    return {"month": monthly, None: f"{monthly}, {rain}"}.get(card.time_step, rain)


@torch.no_grad()
def draw(
    model: nn.Module,
    x_BTHWC: Tensor,
    stamps: Sequence[str],
    lead: int,
    settings: Settings,
    ensemble: Ensemble,
    fill_value_HWC: Tensor | None = None,
    known_BTHWK: Tensor | None = None,
) -> Tensor:
    """Forecast every member of every window with the model's own noise, `lead` steps each.

    Arguments and device as in `engine.predict`; `stamps` are the windows' inits, which with the
    seed and the member's number make the noise.

    Returns
    -------
    Tensor (B, lead, members, H, W, C)
        On the CPU.
    """

    def run(window: int) -> Tensor:
        one = slice(window, window + 1)
        x_1THWC = x_BTHWC[one].to(settings.device)
        known = None if known_BTHWK is None else known_BTHWK[one].to(settings.device)

        def of_member(member: int) -> Tensor:
            turns = _turns(ensemble, stamps[window], member)
            return roll_out(model, x_1THWC, lead, fill_value_HWC, known, turns).cpu()

        return torch.stack(each(of_member, range(ensemble.members), settings, model), dim=2)

    return torch.cat(each(run, range(len(stamps)), settings, model))


@torch.no_grad()
def draw_nowcasts(
    model: nn.Module,
    x_BTHWC: Tensor,
    stamps: Sequence[str],
    lead: int,
    settings: Settings,
    ensemble: Ensemble,
) -> tuple[Tensor, Tensor]:
    """Forecast as `draw` does with a model that moves rain along; the past is read once an init.

    Returns
    -------
    tuple of Tensor (B, lead, members, H, W, C) and (B, lead, H, W)
        The members, and the share of each value that stems from what was seen; on the CPU.
    """

    def run(window: int) -> tuple[Tensor, Tensor]:
        stamp, x_1THWC = stamps[window], x_BTHWC[window : window + 1].to(settings.device)
        with settings.autocast():
            past = model.past(x_1THWC)
            turns = [_turns(ensemble, stamp, member) for member in range(ensemble.members)]
            generators = [next(of_member) for of_member in turns]
            first_MLHWC = model.draw(past, generators, min(lead, model.out_len))
            members = [
                roll_out(model, x_1THWC, lead, generators=of_member, first=first).cpu()
                for of_member, first in zip(turns, first_MLHWC.split(1), strict=True)
            ]
            return torch.stack(members, dim=2), model.known(past, lead).float().cpu()

    windows, shares = zip(*each(run, range(len(stamps)), settings, model), strict=True)
    return torch.cat(windows), torch.cat(shares)


def _turns(ensemble: Ensemble, stamp: str, member: int) -> Iterator[torch.Generator]:
    """The source of noise of one member of an init, for each pass through the model."""
    return (_generator(ensemble.seed, stamp, member, turn) for turn in itertools.count())


@torch.no_grad()
def sample(
    model: PreDiff,
    x_BTHWC: Tensor,
    stamps: Sequence[str],
    lead: int,
    settings: Settings,
    ensemble: Ensemble,
    card: Card,
    dims: tuple[str, str],
    coords: Mapping[str, np.ndarray],
) -> tuple[Tensor, Tensor | None]:
    """Draw every member of every window, `lead` steps each.

    One row per member of a window goes through the model, in batches of one fixed size. The noise
    of a row comes from a generator of its own, named by the window's init (`stamps`). Beyond
    `model.out_len` each member reads its own output. Constraints see frames with the data's own
    `dims` of y and x and their labels (`coords`).

    Returns
    -------
    tuple of Tensor (B, lead, members, H, W, C) and Tensor (B, lead, H, W) or None
        The members, and of a model that moves rain along the share of each value that stems from
        what was seen; on the CPU.

    Raises
    ------
    ArithmeticError
        NaN in a sample: the message names step and member.
    """
    members = ensemble.members
    rows = [(stamp, member) for stamp in stamps for member in range(members)]
    owner = [window for window in range(len(x_BTHWC)) for _ in range(members)]  # window of a row
    tiles = model.tiles((x_BTHWC.shape[2], x_BTHWC.shape[3]))
    size = max(1, settings.batch_size // tiles)  # rows per batch
    batches = -(-size * tiles // settings.batch_size)
    at_once = -(-size * tiles // batches)  # tiles per call of the denoiser, as even as possible
    draw = _Draw(model, settings, ensemble, card, dims, coords)
    x, known = x_BTHWC, None
    outputs: list[Tensor] = []
    while len(outputs) * model.out_len < lead:
        windows = [window.to(settings.device)[None] for window in x]
        contexts = each(partial(model.context, at_once=at_once), windows, settings, model)
        if not outputs and moves_rain(card):
            known = torch.cat([model.known(context, lead).cpu() for context in contexts])
        of_row = [contexts[window] for window in owner]
        run = partial(_sampled, draw, rows, of_row, len(outputs))
        outputs.append(torch.cat(each(run, fixed_batches(len(rows), size), settings, model)))
        x = torch.cat([x[owner], outputs[-1].to(x)], dim=1)[:, -model.in_len :]
        owner = list(range(len(rows)))  # from the second pass on, each member has its own context
    y_BTHWC = torch.cat(outputs, dim=1)[:, :lead]
    return y_BTHWC.unflatten(0, (-1, members)).transpose(1, 2), known


def _sampled(
    draw: _Draw, rows: list[tuple[str, int]], contexts: list[Context], turn: int, batch: Batch
) -> Tensor:
    """The samples of one batch of rows, each of its init's or member's context."""
    some, count = batch
    context = Context.join([contexts[row] for row in some])
    return draw(context, [rows[row] for row in some], turn)[:count].cpu()


@dataclass(frozen=True)
class _Draw:
    """Draws the samples of one batch of rows."""

    model: PreDiff
    settings: Settings
    ensemble: Ensemble
    card: Card
    dims: tuple[str, str]
    coords: Mapping[str, np.ndarray]

    def __call__(self, context: Context, rows: list[tuple[str, int]], turn: int) -> Tensor:
        model, ensemble = self.model, self.ensemble
        generators = [_generator(ensemble.seed, stamp, member, turn) for stamp, member in rows]
        shape = model.noise_shape(context)
        z = torch.stack(
            [torch.randn(shape, generator=each, dtype=torch.float32) for each in generators]
        )
        sampling = ensemble.sampling
        assert sampling is not None  # or `draw` would have been called
        terms = guidance.Terms(
            sampling.guidance,
            [member for _, member in rows],
            self.card.scale,
            self.card.climatology,
            self.dims,
            self.coords,
        )
        try:
            z = samplers.sample(
                sampling.sampler,
                lambda z, t: self._denoise(z, t, context),
                z.to(self.settings.device),
                sampling.steps,
                sampling.eta,
                generators,
                guidance.guide(model, context, terms),
            )
        except samplers.NotFinite as error:
            stamp, member = rows[error.rows[0]]
            raise ArithmeticError(
                f"NaN or infinity at step {error.step} of {error.steps} in member {member} of init "
                f"{stamp}: try precision='float32', or a smaller strength of the guidance"
            ) from error
        return model.decode(z, context, generators)

    def _denoise(self, z: Tensor, t: int, context: Context) -> Tensor:
        with self.settings.autocast():
            return self.model.denoise(z, t, context).float()


def _generator(seed: int, stamp: str, member: int, turn: int) -> torch.Generator:
    """Return the source of noise of one row in one pass, which no other row shares."""
    name = f"{seed}|{stamp}|{member}|{turn}".encode()
    # seven bytes: torch takes seeds below 2**63
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "big"))
