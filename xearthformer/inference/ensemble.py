"""Ensembles: members drawn by a generative model, each with a stream of noise of its own.

Member m of an init has the same bits whatever members and inits are asked for next to it.
Legend of the shape suffixes: B windows, T time, H W space, C channels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import mismatch, whole_number
from ..models.prediff import samplers
from ..models.prediff.prediff import Context, PreDiff
from ..packs.card import Card
from . import guidance
from .engine import Settings, fixed_batches, is_generative
from .options import Options


@dataclass(frozen=True)
class Ensemble:
    """How members are drawn; a member's bits depend on all of it but the number of members."""

    members: int
    seed: int
    sampler: str  # one of `samplers.METHODS`
    steps: int  # of the sampler
    eta: float  # share of noise that is added at each step of "ddim"
    guidance: tuple[guidance.Guidance, ...]

    def __str__(self) -> str:
        eta = f", eta {self.eta:g}" if self.eta else ""
        terms = "".join(f", guided by {guidance.describe(term)}" for term in self.guidance)
        method = f"{self.sampler} in {self.steps} steps{eta}"
        return f"{self.members} members of seed {self.seed} by {method}{terms}"


def ensemble(
    card: Card,
    members: int | None,
    seed: int,
    sampler: str | samplers.Sampler,
    steps: int | None,
    terms: guidance.Guidance | Sequence[guidance.Guidance] | None,
) -> Ensemble | None:
    """Check the options of an ensemble, before anything is sampled; None for a deterministic model.

    Raises ValueError for what the pack cannot serve, TypeError for guidance of another type.
    """
    listed = guidance.listed(terms)
    if not is_generative(card):
        other_sampler = None if sampler == Options.sampler else sampler
        for name, value in (
            ("members", members),
            ("sampler", other_sampler),
            ("steps", steps),
            ("guidance", listed or None),
        ):
            if value is not None:
                raise mismatch(
                    f"a pack that samples, for {name}",
                    f"{card.name!r}, whose forecasts are deterministic",
                    f"another pack, such as 'prediff-radar', or leave {name} out",
                )
        return None
    members = whole_number("members", 1 if members is None else members)
    seed = whole_number("seed", seed, least=0)
    chosen = samplers.Sampler(sampler) if isinstance(sampler, str) else sampler
    step_count = chosen.count(steps)
    guidance.check(listed, card, members)
    return Ensemble(members, seed, chosen.name, step_count, chosen.eta, listed)


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
) -> Tensor:
    """Draw every member of every window, `lead` steps each.

    One row per member of a window goes through the model, in batches of one fixed size. The noise
    of a row comes from a generator of its own, named by the window's init (`stamps`). Beyond
    `model.out_len` each member reads its own output. Constraints see frames with the data's own
    `dims` of y and x and their labels (`coords`).

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
    owner = [window for window in range(len(x_BTHWC)) for _ in range(members)]  # window of a row
    tiles = model.tiles((x_BTHWC.shape[2], x_BTHWC.shape[3]))
    size = max(1, settings.batch_size // tiles)  # rows per batch
    batches = -(-size * tiles // settings.batch_size)
    at_once = -(-size * tiles // batches)  # tiles per call of the denoiser, as even as possible
    draw = _Draw(model, settings, ensemble, card, dims, coords)
    x = x_BTHWC
    outputs: list[Tensor] = []
    while len(outputs) * model.out_len < lead:
        contexts = [model.context(window.to(settings.device)[None], at_once) for window in x]
        pieces = []
        for batch, count in fixed_batches(len(rows), size):
            context = Context.join([contexts[owner[row]] for row in batch])
            y = draw(context, [rows[row] for row in batch], len(outputs))
            pieces.append(y[:count].cpu())
        outputs.append(torch.cat(pieces))
        x = torch.cat([x[owner], outputs[-1].to(x)], dim=1)[:, -model.in_len :]
        owner = list(range(len(rows)))  # from the second pass on, each member has its own context
    y_BTHWC = torch.cat(outputs, dim=1)[:, :lead]
    return y_BTHWC.unflatten(0, (-1, members)).transpose(1, 2)  # (B, lead, members, H, W, C)


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
        z = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        terms = guidance.Terms(
            ensemble.guidance,
            [member for _, member in rows],
            self.card.scale,
            self.card.climatology,
            self.dims,
            self.coords,
        )
        try:
            z = samplers.sample(
                ensemble.sampler,
                lambda z, t: self._denoise(z, t, context),
                z.to(self.settings.device),
                ensemble.steps,
                ensemble.eta,
                generators,
                guidance.guide(model, context, terms),
            )
        except samplers.NotFinite as error:
            stamp, member = rows[error.rows[0]]
            raise ArithmeticError(
                f"NaN or infinity at step {error.step} of {error.steps} in member {member} of init "
                f"{stamp}: try precision='float32', or a smaller strength of the guidance"
            ) from error
        return model.decode(z, context)

    def _denoise(self, z: Tensor, t: int, context: Context) -> Tensor:
        bf16 = self.settings.precision == "bf16"
        with torch.autocast(z.device.type, torch.bfloat16, enabled=bf16):
            return self.model.denoise(z, t, context).float()


def _generator(seed: int, stamp: str, member: int, turn: int) -> torch.Generator:
    """Return the source of noise of one row in one pass, which no other row shares."""
    name = f"{seed}|{stamp}|{member}|{turn}".encode()
    # seven bytes: torch takes seeds below 2**63
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "big"))
