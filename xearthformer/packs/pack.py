"""Packs: a trained model as a thing one can open, check, save and send.

A pack is a folder (`card.json`, `weights.safetensors`) or a single `.safetensors` file with the
card in its metadata. Nothing in it is executable, and its weights are hashed: `weights_hash`.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ..errors import PackError, problems
from .card import PUBLISHED, Card, ModelSpec

if TYPE_CHECKING:
    from torch import nn

CARD, WEIGHTS = "card.json", "weights.safetensors"
SHIPPED = Path(__file__).parent / "shipped"
ENTRY_POINTS = "xearthformer.packs"
REFERENCES = {
    "earthformer": ["Gao et al., Earthformer, NeurIPS 2022"],
    "prediff": ["Gao et al., PreDiff, NeurIPS 2023", "Gao et al., Earthformer, NeurIPS 2022"],
}


@dataclass(frozen=True)
class Pack:
    """An opened pack: its card, and where its weights lie.

    Examples
    --------
    >>> import xearthformer as xef
    >>> pack = xef.open_pack("lim")
    >>> pack.card.context, pack.card.time_step
    (10, 'month')
    """

    card: Card
    path: Path

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name; raises `PackError` when they aren't those of the card."""
        try:
            arrays = load_file(_weights_file(self.path))
        except (OSError, SafetensorError) as error:
            raise PackError(f"{_weights_file(self.path)} can't be read: {error}") from error
        found = weights_hash(arrays)
        if found != self.card.weights_sha256:
            raise PackError(
                f"pack {self.card.name!r} at {self.path}: the card expects weights with hash "
                f"{self.card.weights_sha256}, found {found}. The file was damaged or exchanged; "
                "fetch the pack again."
            )
        return arrays

    def model(self) -> "nn.Module":
        """The network with its weights, in evaluation mode, float32, on the CPU."""
        import torch

        from .. import models

        try:
            model = models.build(self.card.model.name, self.card.model.config)
            state = {name: torch.from_numpy(array) for name, array in self.arrays().items()}
            model.load_state_dict(state, strict=True)
        except PackError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise PackError(
                f"pack {self.card.name!r} at {self.path}: weights and model "
                f"{self.card.model.name!r} of the card don't fit: {error}"
            ) from error
        return model.eval().requires_grad_(False)

    def __repr__(self) -> str:
        card = self.card
        return (
            f"<Pack {card.name} {card.version}: {card.title}; "
            f"{card.context} x {card.time_step or 'any step'} in, {card.lead} out>"
        )


def weights_hash(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over every array's name, dtype, shape and bytes, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def list_packs() -> dict[str, str]:
    """Name and title of every pack at hand: those that ship here, and those of installed packages.

    Examples
    --------
    >>> import xearthformer as xef
    >>> "persistence" in xef.list_packs()
    True
    """
    return {name: _read_card(path).title for name, path in sorted(_installed().items())}


def open_pack(name: "str | os.PathLike[str] | Pack") -> Pack:
    """Open a pack and check its weights.

    Parameters
    ----------
    name : str, path or Pack
        A name that `list_packs()` lists, a folder, a `.safetensors` file, or "hf://owner/name[@revision]".

    Raises
    ------
    PackError
        Unknown name; a card that fails validation; weights whose hash isn't the card's.
    """
    if isinstance(name, Pack):
        return name
    path = _locate(name).resolve()
    pack = Pack(_read_card(path), path)
    pack.arrays()
    return pack


def save_pack(path: "str | os.PathLike[str]", model: "nn.Module", card: Card) -> Pack:
    """Write a model and its card to a folder, or to one file when `path` ends in `.safetensors`.

    The card's model entry and weights hash are set from `model`; the pack is returned opened.
    """
    import dataclasses

    arrays = {
        key: np.ascontiguousarray(tensor.detach().cpu().numpy())
        for key, tensor in model.state_dict().items()
    }
    config = json.loads(json.dumps(dataclasses.asdict(model.config)))
    spec = ModelSpec(name=card.model.name, config=config)
    card = card.model_copy(update={"model": spec, "weights_sha256": weights_hash(arrays)})
    return _write(Path(path), arrays, Card.model_validate(card.model_dump()))


def convert(
    checkpoint: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    preset: str,
    path: "str | os.PathLike[str]",
) -> Pack:
    """Turn published checkpoints (bare state dicts, or Lightning's) into a pack.

    Parameters
    ----------
    checkpoint : path, or list of paths
        A `.pt` or `.ckpt` file of Earthformer; of PreDiff its three, in any order: autoencoder,
        denoiser, alignment network. They are read by `torch.load(weights_only=True)`: tensors
        alone.
    preset : str
        Whose published configuration it is: one of `cards.PUBLISHED`.
    path : path
        The folder, or `.safetensors` file, to write.

    Raises
    ------
    PackError
        A file that holds more than tensors, or keys or shapes other than the preset's; too few
        files, or too many.
    """
    from ..models import build
    from ..models.prediff.losses import STAGES

    if preset not in PUBLISHED:
        raise PackError(f"no published preset {preset!r}: one of {', '.join(PUBLISHED)}")
    files = [checkpoint] if isinstance(checkpoint, str | os.PathLike) else list(checkpoint)
    kind = "prediff" if preset.startswith("prediff-") else "earthformer"
    model = build(kind, preset.removeprefix("prediff-"))
    parts = {name: getattr(model, name) for name in STAGES} if kind == "prediff" else {"": model}
    if len(files) != len(parts):
        names = ", ".join(STAGES) if kind == "prediff" else "one"
        raise PackError(
            f"preset {preset!r} expects {len(parts)} checkpoint file(s) ({names}), "
            f"found {len(files)}"
        )
    for file in files:
        _load_one(file, parts, preset)
    about = PUBLISHED[preset]
    card = Card(
        name=preset if kind == "prediff" else f"earthformer-{preset}",
        version="1",
        model=ModelSpec(name=kind, config={}),
        output=about["input"],
        history=model.in_len,
        reach=model.out_len,
        references=REFERENCES[kind],
        **about,
    )
    return save_pack(path, model, card)


def _load_one(file: "str | os.PathLike[str]", parts: "dict[str, nn.Module]", preset: str) -> None:
    """Load a checkpoint into the one of these networks that it fits, which is taken out of them."""
    import pickle

    import torch

    from ..models.published import earthformer

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise PackError(
            f"{file} is refused: expected a file of tensors, found something that would "
            f"have to be executed, or a damaged file ({str(error).splitlines()[0]})"
        ) from error
    why = []
    for name, network in parts.items():
        try:
            earthformer.load_published(network, state)
        except (KeyError, ValueError, RuntimeError) as error:
            why.append(f"{name}: {error}" if name else str(error))
            continue
        del parts[name]
        return
    raise PackError(f"{file} isn't a checkpoint of preset {preset!r}: {'; '.join(why)}")


def _write(path: Path, arrays: dict[str, np.ndarray], card: Card) -> Pack:
    text = card.model_dump_json(indent=2, by_alias=True)
    if path.suffix == ".safetensors":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save(arrays, metadata={"card": text}))
    else:
        path.mkdir(parents=True, exist_ok=True)
        (path / WEIGHTS).write_bytes(save(arrays))
        (path / CARD).write_text(text + "\n")
    return open_pack(path)


def _read_card(path: Path) -> Card:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                text = (file.metadata() or {}).get("card", "")
        else:
            text = (path / CARD).read_text()
        return Card.model_validate_json(text)
    except (OSError, SafetensorError) as error:
        raise PackError(f"{path} holds no readable {CARD}: {error}") from error
    except pydantic.ValidationError as error:
        raise PackError(f"the card of {path} isn't valid: {problems(error)}") from error


def _weights_file(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path / WEIGHTS


def _locate(name: "str | os.PathLike[str]") -> Path:
    text = os.fspath(name)
    if text.startswith("hf://"):
        return _from_hub(text)
    installed = _installed()
    if text in installed:
        return installed[text]
    path = Path(text)
    if path.is_file() or (path / CARD).is_file():
        return path
    raise PackError(
        f"no pack {text!r}: expected one of {', '.join(sorted(installed))}, a folder with {CARD} "
        "and weights.safetensors, a .safetensors file, or 'hf://owner/name'"
    )


def _from_hub(address: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = address.removeprefix("hf://").partition("@")
    try:
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=[CARD, WEIGHTS])
        )
    except Exception as error:  # whatever the network, the hub or the name raise
        raise PackError(f"{address} can't be fetched: {type(error).__name__}: {error}") from error


def _installed() -> dict[str, Path]:
    """Packs that ship here, and those of installed packages, which aren't imported for it."""
    found = {folder.name: folder for folder in SHIPPED.glob("*") if (folder / CARD).is_file()}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        spec: Any = importlib.util.find_spec(entry.module)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / CARD).is_file():
                found.setdefault(entry.name, Path(folder))
    return found
