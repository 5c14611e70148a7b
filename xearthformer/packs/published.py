"""Published checkpoints as packs: what each of them reads and writes, and their conversion."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PackError, did_you_mean
from .card import Card, LatLonGrid, ModelSpec, PixelGrid, Quantity, Training
from .pack import Pack, save_pack
from .scale import Scale

if TYPE_CHECKING:
    from torch import nn

REFERENCES = {
    "earthformer": ["Gao et al., Earthformer, NeurIPS 2022"],
    "prediff": ["Gao et al., PreDiff, NeurIPS 2023", "Gao et al., Earthformer, NeurIPS 2022"],
}

LFS = b"version https://git-lfs"  # how a file begins that Git LFS left in another's place

# ICAR-ENSO's grid: 5 degrees, 55S to 60N, 95E to 330E (across the date line).
ICAR_GRID = LatLonGrid(
    latitude=[-55.0 + 5 * i for i in range(24)], longitude=[95.0 + 5 * j for j in range(48)]
)
# Lowest and highest anomaly in ICAR-ENSO, degC: the published network sees them as 0 and 1.
ICAR_SST_RANGE = -16.549121856689453, 10.198975563049316
SST_ANOMALY = Quantity(
    standard_name="sea_surface_temperature",
    units="degC",
    difference=True,
    valid_min=-20.0,
    valid_max=20.0,
)
BYTES = Quantity(units="1", valid_min=0.0, valid_max=255.0)  # SEVIR's VIL, and images

# Card fields of the published checkpoints, by the presets of `packs convert --preset NAME`.
PUBLISHED: dict[str, dict[str, object]] = {
    "enso": {
        "title": "Earthformer, sea surface temperature anomaly, as published (ICAR-ENSO)",
        "input": SST_ANOMALY,
        "grid": ICAR_GRID,
        "time_step": "month",
        "scale": Scale(offset=ICAR_SST_RANGE[0], factor=ICAR_SST_RANGE[1] - ICAR_SST_RANGE[0]),
        "training": Training(data="ICAR-ENSO 2021: CMIP5 and CMIP6 simulations"),
    },
    "sevir": {
        "title": "Earthformer, vertically integrated liquid, as published (SEVIR)",
        "input": BYTES,
        "grid": PixelGrid(height=384, width=384, spacing=1000.0),
        "time_step": "5min",
        "scale": Scale(factor=255.0),
        "training": Training(data="SEVIR", period="2017/2019-01-01"),
    },
    "sevir-lr": {
        "title": "Earthformer, vertically integrated liquid at 3 km and 10 minutes (SEVIR-LR)",
        "input": BYTES,
        "grid": PixelGrid(height=128, width=128, spacing=3000.0),
        "time_step": "10min",
        "scale": Scale(factor=255.0),
        "training": Training(data="SEVIR-LR", period="2017/2019-06-01"),
    },
    "nbody": {
        "title": "Earthformer, N-body MNIST, as published",
        "input": BYTES,
        "grid": PixelGrid(height=64, width=64),
        "time_step": None,
        "scale": Scale(factor=255.0),
        "training": Training(data="N-body MNIST"),
    },
}
PUBLISHED["prediff-sevir-lr"] = {
    **PUBLISHED["sevir-lr"],
    "title": "PreDiff, vertically integrated liquid at 3 km, 10 minutes, as published (SEVIR-LR)",
}
PUBLISHED["enso-paper"] = PUBLISHED["enso"]
PUBLISHED["sevir-paper"] = PUBLISHED["sevir"]


def convert(
    checkpoint: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    preset: str,
    path: "str | os.PathLike[str]",
    *,
    overwrite: bool = False,
) -> Pack:
    """Convert published checkpoints (bare state dicts, or Lightning's) to a pack.

    Parameters
    ----------
    checkpoint : path, or list of paths
        Earthformer: one `.pt` or `.ckpt` file. PreDiff: three, in any order (autoencoder, denoiser,
        alignment network). They are read by `torch.load(weights_only=True)`, which executes
        nothing.
    preset : str
        Its published configuration, a name in `PUBLISHED` such as "enso" or "prediff-sevir-lr".
    path : path
        The folder, or `.safetensors` file, to write.
    overwrite : bool
        Whether to replace a pack that is there.

    Raises
    ------
    PackError
        A file that holds more than tensors, or keys or shapes other than the preset's; too few
        files, or too many.
    FileExistsError
        Another pack, or anything else, at `path`.
    """
    from ..models import build
    from ..models.prediff.losses import STAGES

    if preset not in PUBLISHED:
        names = ", ".join(PUBLISHED) + did_you_mean(preset, PUBLISHED)
        raise PackError(f"no published preset {preset!r}: one of {names}")
    files = [checkpoint] if isinstance(checkpoint, str | os.PathLike) else list(checkpoint)
    kind = "prediff" if preset.startswith("prediff-") else "earthformer"
    model = build(kind, preset.removeprefix("prediff-"))
    # PreDiff's networks were trained, and are published, one by one.
    networks = {name: getattr(model, name) for name in STAGES} if kind == "prediff" else {"": model}
    if len(files) != len(networks):
        names = ", ".join(STAGES) if kind == "prediff" else "one"
        raise PackError(
            f"preset {preset!r} expects {len(networks)} checkpoint file(s) ({names}), "
            f"found {len(files)}"
        )
    for file in files:
        _load_into_one(networks, file, preset)
    card = Card.model_validate(
        {
            "name": preset if kind == "prediff" else f"earthformer-{preset}",
            "version": "1",
            "model": ModelSpec(name=kind, config={}),
            "context": model.in_len,
            "lead": model.out_len,
            "references": REFERENCES[kind],
            **PUBLISHED[preset],
        }
    )
    return save_pack(path, model, card, overwrite=overwrite)


def _load_into_one(
    networks: "dict[str, nn.Module]", file: "str | os.PathLike[str]", preset: str
) -> None:
    """Load a checkpoint into the network that it fits, and remove that network from the dict."""
    import torch

    from ..models.published.weights import load_published

    if not Path(file).is_file():  # a pipe might never end
        raise PackError(f"{file} is refused: expected a file of tensors, found none there")
    with open(file, "rb") as start:
        if start.read(len(LFS)) == LFS:
            found = f"only where Git LFS keeps it: git lfs pull --include {Path(file).name}"
            raise PackError(f"{file} is refused: expected a file of tensors, found {found}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, whose words tell how to switch safety off
        raise PackError(
            f"{file} is refused: expected a file of tensors, found something that would have to be "
            "executed, or a damaged file"
        ) from error
    if not isinstance(state, Mapping):
        found = f"a {type(state).__name__}"
        raise PackError(f"{file} is refused: expected tensors by name, found {found}")
    reasons = []
    for name, network in networks.items():
        try:
            load_published(network, state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reasons.append(f"{name}: {error}" if name else str(error))
            continue
        del networks[name]  # the next file must fit another one
        return
    raise PackError(f"{file} isn't a checkpoint of preset {preset!r}: {'; '.join(reasons)}")
