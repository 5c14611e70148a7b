"""A model that is trained in parts: which part, what its card takes over, and the whole again.

The parts of PreDiff, and their losses, are in `models.prediff.losses`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import mismatch
from ..models.prediff import losses as prediff_training
from ..packs.card import Card, Climatology
from ..packs.pack import Pack
from . import latents
from .loop import Epoch, Run, device_of
from .records import Cut

# What a card takes over from the pack that training begins with.
KEPT = {
    "title",
    "input",
    "grid",
    "time_step",
    "missing",
    "scale",
    "training",
    "scores",
    "references",
    "licence",
    "climatology",
}
SAMPLE = 256  # windows that a finished part may look at


def short(value: float) -> float:
    """Six digits: a scale is no measurement."""
    return float(f"{value:.6g}")


def choose(name: str, network: nn.Module, said: Any) -> prediff_training.Stage | None:
    """The part of a model that is asked for; None of a model that is trained whole."""
    if not getattr(network, "samples", False):
        if said is not None:
            raise mismatch(f"a {name}, which is trained whole", f"part={said!r}", "part=None")
        return None
    if said is None:
        raise mismatch(
            f"the part of a {name} to train, one of {', '.join(prediff_training.STAGES)}",
            "none",
            'part="autoencoder", then "alignment" and "denoiser", with start=... the last pack',
        )
    chosen = prediff_training.stage(said)
    if chosen.name == "alignment" and network.config.alignment is None:
        raise mismatch("a config with an alignment network", "none", "config with `alignment`")
    return chosen


def entries(begun: Pack | None, card: Mapping[str, Any]) -> dict[str, Any]:
    """The card's entries: those given, and others of the pack that training begins with."""
    if begun is None:
        return dict(card)
    known = begun.card.model_dump(include=KEPT)
    training = {**known["training"], **card.get("training", {})}
    return {**known, **card, "training": training}


def latent(network: nn.Module, windows: Cut, views: int, seed: int, run: Run) -> Cut:
    """The same windows, made small by the autoencoder once."""
    made, device = [], device_of(run.device)
    for name, part, turns in (
        ("training", windows.training, views),
        ("validation", windows.validation, 0),
    ):
        store = run.folder / f"latents_{name}.zarr"
        made.append(
            latents.cached(network, part, store, turns, seed, run.progress, device)
            if part is not None
            else None
        )
    return Cut(made[0], made[1], [len(made[0])], windows.spans)


def finish(
    part: prediff_training.Stage,
    fitted: nn.Module,
    network: nn.Module,
    card: Card,
    windows: Cut,
    losses: list[Epoch],
) -> tuple[nn.Module, Card]:
    """The network with this part learnt, and the card with what came of it."""
    some = torch.linspace(0, len(windows.training) - 1, min(len(windows.training), SAMPLE)).long()
    network = fitted.into(network, windows.training[some])
    update: dict[str, Any] = {}
    if windows.validation is not None:
        best = min(epoch["validation_loss"] for epoch in losses)
        update["scores"] = {**card.scores, f"{part.name}_validation_loss": short(best)}
    if part.name == "alignment":
        intensity = windows.training.intensities().double()
        mean, std = (short(float(x)) for x in (intensity.mean(), intensity.std()))
        update["climatology"] = Climatology(mean=mean, std=std)
    return network, card.model_copy(update=update)
