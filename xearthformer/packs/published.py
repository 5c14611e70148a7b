"""Published checkpoints as packs: what each of them reads and writes, and their conversion."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import is_zipfile

from ..errors import PackError, did_you_mean, mismatch
from .card import Card, LatLonGrid, ModelSpec, PixelGrid, Quantity, Training
from .pack import LFS, Pack, save_pack
from .scale import Scale

if TYPE_CHECKING:
    from torch import nn

REFERENCES = {
    "earthformer": ["Gao et al., Earthformer, NeurIPS 2022"],
    "prediff": ["Gao et al., PreDiff, NeurIPS 2023", "Gao et al., Earthformer, NeurIPS 2022"],
}

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


PLAIN = dict, list, int, float, str, bool  # types that are named in settings
# Packages of objects in checkpoints that no network needs: settings, callbacks, metrics.
FORGOTTEN = {
    *("omegaconf", "lightning", "pytorch_lightning", "torchmetrics"),
    *("argparse", "collections", "numpy", "pathlib", "typing"),
}


def convert(
    checkpoint: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    preset: str,
    path: "str | os.PathLike[str]",
    config: "Mapping[str, object] | None" = None,
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
    config : mapping, optional
        Configuration of an Earthformer of your own, trained by the published scripts on the
        preset's data: the section `model` of its YAML file. Default: the published one.
    overwrite : bool
        Whether to replace a pack that is there.

    Raises
    ------
    PackError
        A file that is no checkpoint, or would have to be executed; keys or shapes other than those
        of the configuration; another grid than the preset's; too few files, or too many.
    FileExistsError
        Another pack, or anything else, at `path`.

    Examples
    --------
    Fresh weights, in place of a file that was downloaded:

    >>> import tempfile, torch
    >>> import xearthformer as xef
    >>> network = xef.models.build("earthformer", "nbody")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(network.state_dict(), f"{folder}/earthformer_nbody.pt")
    ...     pack = xef.convert(f"{folder}/earthformer_nbody.pt", "nbody", f"{folder}/nbody")
    >>> pack
    <Pack earthformer-nbody 1: Earthformer, N-body MNIST, as published; 10 x any step in, 10 out>
    """
    from ..models.prediff.losses import STAGES

    if preset not in PUBLISHED:
        names = ", ".join(PUBLISHED) + did_you_mean(preset, PUBLISHED)
        raise PackError(f"no published preset {preset!r}: one of {names}")
    files = [checkpoint] if isinstance(checkpoint, str | os.PathLike) else list(checkpoint)
    kind = "prediff" if preset.startswith("prediff-") else "earthformer"
    model = _network(kind, preset, config)
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


def _network(kind: str, preset: str, config: Mapping[str, object] | None) -> "nn.Module":
    """Return the network of a preset, or of a configuration for the preset's data."""
    from ..models import build, from_published

    if config is None:
        return build(kind, preset.removeprefix("prediff-"))
    if kind != "earthformer":
        expected = "a configuration of one network, an Earthformer"
        raise PackError(str(mismatch(expected, f"preset {preset!r}", 'preset="enso"')))
    try:
        model = from_published(kind, config)
    except (ValueError, TypeError) as error:
        raise PackError(f"the configuration can't be built: {error}") from error
    grid = PUBLISHED[preset]["grid"]
    shape = tuple(model.config.input_shape[1:])
    if shape != (*grid.shape, 1):  # type: ignore[attr-defined]
        raise PackError(
            f"preset {preset!r} expects fields of {(*grid.shape, 1)}, "  # type: ignore[attr-defined]
            f"found {shape} (height, width, channels) in the configuration"
        )
    return model


class _Forgotten:
    """Stands for an object of a checkpoint that is no tensor: it takes its state and does nothing.

    So the settings and the state of a training, which no network needs, execute nothing.
    """

    def __new__(cls, *_: object) -> "_Forgotten":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __hash__(self) -> int:
        return 0


def read_checkpoint(file: "str | os.PathLike[str]") -> Mapping[str, object]:
    """Return what a checkpoint holds, by `torch.load(weights_only=True)`; nothing is executed."""
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    file = Path(file)
    if not file.is_file():  # a pipe might never end
        raise PackError(f"{file} is refused: expected a file of tensors, found none there")
    with file.open("rb") as opened:
        head = opened.read(100)
    try:
        names = get_unsafe_globals_in_checkpoint(file) if is_zipfile(file) else []
        forgotten = [n for n in names if n.partition(".")[0] in FORGOTTEN]
        with safe_globals([*PLAIN, *((_Forgotten, name) for name in forgotten)]):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of what is no checkpoint torch raises KeyError, IndexError, ...
        raise PackError(
            f"{file} is refused: expected a file of tensors, found {_why(file, head)}"
        ) from error
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise PackError(f"{file}: expected a dict of tensors, or Lightning's, found a {kind}")
    return found


def _why(file: Path, head: bytes) -> str:
    """Return in words why torch can't read a file."""
    if not head:
        return "an empty file: download it again"
    if head.startswith(LFS):
        return f"a Git LFS pointer to them: git lfs pull --include {file.name}"
    if head.lstrip()[:1] == b"<":
        return "a web page: download the file that it links to"
    if head.startswith(b"PK") and not is_zipfile(file):
        return "a part of one: download it again"
    return "something that would have to be executed, or no checkpoint, or a damaged one"


def _load_into_one(
    networks: "dict[str, nn.Module]", file: "str | os.PathLike[str]", preset: str
) -> None:
    """Load a checkpoint into the network that it fits, and remove that network from the dict."""
    from ..models.published.weights import load_published

    state = read_checkpoint(file)
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
