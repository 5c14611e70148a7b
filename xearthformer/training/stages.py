"""A model that is trained in stages: which stage, its windows, and the whole model again.

The stages of PreDiff, and their losses, are in `models.prediff.losses`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from ..errors import mismatch
from ..models.prediff import losses
from ..models.prediff.prediff import PreDiff
from ..packs.card import Card, Climatology
from .cards import short
from .latents import Latents, encode_windows
from .loop import Epoch, Run, device_of
from .records import WindowSets
from .windows import Batches, Crop

SAMPLE = 256  # training windows from which a stage measures its latent frames' spread


def choose(
    name: str, network: nn.Module, stage: str | Mapping[str, object] | None
) -> losses.Stage | None:
    """Return the stage to train; None for a model that is trained whole."""
    if not isinstance(network, PreDiff):
        if stage is not None:
            raise mismatch(f"a {name}, which is trained whole", f"stage={stage!r}", "stage=None")
        return None
    if stage is None:
        raise mismatch(
            f"the stage of a {name} to train, one of {', '.join(losses.STAGES)}",
            "none",
            'stage="autoencoder", then "alignment" and "denoiser", with start=... the last pack',
        )
    chosen = losses.stage(stage if isinstance(stage, str) else dict(stage))
    if chosen.name == "alignment" and network.config.alignment is None:
        raise mismatch("a config with an alignment network", "none", "config with `alignment`")
    return chosen


def check_crop(network: nn.Module, stage: losses.Stage | None, crop: Crop | None) -> None:
    """Raise ValueError for crops that a stage can't encode, or whose latent frames don't fit."""
    if crop is None or stage is None or not isinstance(network, PreDiff):
        return
    factor, tile = network.config.autoencoder.factor, network.config.tile
    if stage.name != "autoencoder" and crop.size != tile:
        expected, hint = f"crops of {tile} pixels, the config's tiles", f"size={tile}"
    elif crop.size % factor:
        whole = max(1, round(crop.size / factor)) * factor
        expected, hint = f"crops of a multiple of {factor} pixels", f"size={whole}"
    else:
        return
    raise mismatch(f"{expected}, for the stage {stage.name!r}", f"size={crop.size}", hint)


def to_latent(network: PreDiff, windows: WindowSets, views: int, seed: int, run: Run) -> WindowSets:
    """Return the same windows as the autoencoder encodes them."""

    def encode(name: str, batches: Batches, turns: int) -> Latents:
        store, device = run.folder / f"latents_{name}.zarr", device_of(run.device)
        return encode_windows(network, batches, store, turns, seed, run.progress, device)

    training = encode("training", windows.training, views)
    validation = windows.validation
    if validation is not None:
        validation = encode("validation", validation, 0)  # as they are: the same every time
    return WindowSets(training, validation, [len(training)], windows.spans)


def finish(
    stage: losses.Stage,
    task: nn.Module,
    network: nn.Module,
    card: Card,
    windows: WindowSets,
    loss_curve: list[Epoch],
) -> tuple[nn.Module, Card]:
    """Return the whole network with what a stage learnt, and the card with its scores."""
    training = windows.training
    some = torch.linspace(0, len(training) - 1, min(len(training), SAMPLE)).long()
    network = task.into(network, training[some])
    update: dict[str, object] = {}
    if windows.validation is not None:
        best = min(epoch["validation_loss"] for epoch in loss_curve)
        update["scores"] = {**card.scores, f"{stage.name}_validation_loss": short(best)}
    if stage.name == "alignment" and isinstance(training, Latents):
        # guidance towards a climatology needs the distribution that the network was trained on
        intensity = training.intensities().double()
        mean, std = (short(float(x)) for x in (intensity.mean(), intensity.std()))
        update["climatology"] = Climatology(mean=mean, std=std)
    return network, card.model_copy(update=update)
