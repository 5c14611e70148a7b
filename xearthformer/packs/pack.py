"""Packs: trained models that can be opened, checked, saved and shared.

A pack is a folder (`card.json`, `weights.safetensors`, and a `README.md` for people, as the Hugging
Face Hub shows it) or a single `.safetensors` file with the card in its metadata. Nothing in it is
executable, and the card holds a hash of the weights.
"""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pydantic
from pydantic_core import to_json
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ..aside import written_aside
from ..errors import PackError, did_you_mean, mismatch, problems, warn
from ..html import html_table
from .card import Card, ModelSpec
from .readme import HUB, readme

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD, WEIGHTS, README = "card.json", "weights.safetensors", "README.md"
SHIPPED = Path(__file__).parent / "shipped"
ENTRY_POINTS = "xearthformer.packs"  # the group under which other packages register packs
# Models that are others now than a version ago: a field that only the old configuration has.
REPLACED = {"nowcast": "lags"}
INDEX = "relative_position_index"  # the end of a name: a buffer of places in a table of biases
LFS = b"version https://git-lfs"  # how a file begins that Git LFS left in another's place
MOST_CARD = 2**24  # bytes of a card: text of a few kB, or of a MB with the land of a fine grid


class NoPackError(PackError):
    """A name that no pack has."""


@dataclass(frozen=True)
class Pack:
    """An opened pack: its card, and the path of its weights.

    Examples
    --------
    >>> import xearthformer as xef
    >>> pack = xef.open_pack("lim")
    >>> pack.card.context, pack.card.time_step
    (12, 'month')
    """

    card: Card
    path: Path

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name; raises `PackError` unless their hash is the card's."""
        file = self.path if self.path.suffix == ".safetensors" else self.path / WEIGHTS
        if file.exists() and not file.is_file():  # a pipe, or a device, might never end
            raise PackError(f"{file} is no regular file")
        try:
            arrays = load_file(file)
        except (OSError, SafetensorError, TypeError) as error:  # the last of bfloat16
            raise PackError(f"{file} can't be read: {_why(file, error)}") from error
        sha256 = weights_hash(arrays)
        if sha256 != self.card.weights_sha256:
            raise PackError(
                f"pack {self.card.name!r} at {self.path}: the card expects weights with hash "
                f"{self.card.weights_sha256}, found {sha256}. The file was damaged or exchanged; "
                "fetch the pack again."
            )
        _check_finite(self, arrays)
        return arrays

    def model(self) -> "nn.Module":
        """Return the network with its weights, in evaluation mode, float32, on the CPU."""
        import torch  # slow to import; cards and weights are read without it

        from .. import models
        from ..models.state import defaults

        try:
            # weights are kept: made in the user's inference mode, they'd have no gradients later
            with defaults():
                state = {name: torch.from_numpy(array) for name, array in self.arrays().items()}
                shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
                if SHIPPED not in self.path.parents:  # what checks takes torch seconds
                    models.expect_shapes(self.card.model.name, self.card.model.config, shapes)
                model = models.build(self.card.model.name, self.card.model.config)
                _check_stored(model, state)
                model.load_state_dict(state, strict=True)
        except PackError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise PackError(
                f"pack {self.card.name!r} at {self.path}: weights and model "
                f"{self.card.model.name!r} of the card don't fit: {error}"
            ) from error
        found = {"context": model.in_len, "lead": model.out_len}
        _compare(self, {name: (getattr(self.card, name), n) for name, n in found.items()})
        return model.eval().requires_grad_(False)

    def __repr__(self) -> str:
        card = self.card
        return (
            f"<Pack {card.name} {card.version}: {card.title}; "
            f"{card.context} x {card.time_step or 'any step'} in, {card.lead} out>"
        )

    def _repr_html_(self) -> str:
        """Return the card as a table, for notebooks."""
        return html_table(self.card.title, [*self.card.rows(), ("path", str(self.path))])


def _check_finite(pack: Pack, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise PackError for weights that are no numbers."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PackError(
                f"pack {pack.card.name!r} at {pack.path}: expected finite weights, found NaN "
                f"or infinity in {name}; fetch the pack again, or train it again"
            )


def _why(file: Path, error: Exception) -> str:
    """Return in words why a file of weights can't be read."""
    with suppress(OSError), file.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            return f"a Git LFS pointer to it: git lfs pull --include {file.name}"
    if "bfloat16" in str(error):
        return "weights in bfloat16, expected float32 or float16: xef.save_pack writes them so"
    return str(error)


def _check_stored(model: "nn.Module", state: "Mapping[str, Tensor]") -> None:
    """Raise ValueError for numbers of another kind, or other places in tables, than the model's.

    Whole numbers in place of weights would be taken for these. Other places than those of the
    configuration may lie outside of a table: an IndexError in a forecast, or a GPU's end.
    """
    for name, own in model.state_dict().items():
        if name in state and own.is_floating_point() != state[name].is_floating_point():
            raise ValueError(f"expected {name} as {own.dtype}, found {state[name].dtype}")
        if name.endswith(INDEX) and name in state and not own.equal(state[name]):
            raise ValueError(f"expected {name} as the configuration gives it, found another")


def weights_hash(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of every array's name, dtype, shape and bytes, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.data if array.size else b"")  # an empty array has no buffer
    return digest.hexdigest()


def list_packs() -> dict[str, str]:
    """Return name and title of every shipped pack and of those in other installed packages.

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
        A name from `list_packs()`, a folder, a `.safetensors` file, or
        "hf://owner/name[@revision]" on the Hugging Face Hub.

    Raises
    ------
    PackError
        Unknown name; a card that fails validation, or is of a model that is no more; weights whose
        hash isn't the card's.

    Examples
    --------
    >>> import xearthformer as xef
    >>> pack = xef.open_pack("lim")
    >>> pack.card.title
    'Seasonal linear inverse model of sea surface temperature anomaly, with members'
    >>> pack.card.context, pack.card.lead
    (12, 14)
    """
    return name if isinstance(name, Pack) else _open(_locate(name))


def _open(path: Path) -> Pack:
    """Open the pack at a path, whatever packs have its name."""
    # a link may name a file that has no suffix, as those of caches
    path = path.absolute() if path.suffix == ".safetensors" else path.resolve()
    pack = Pack(_read_card(path), path)
    _check_model(pack)
    pack.arrays()  # damaged weights are an error here, not in the middle of a forecast
    return pack


def save_pack(
    path: "str | os.PathLike[str]", model: "nn.Module", card: Card, *, overwrite: bool = False
) -> Pack:
    """Write a model and its card to a folder, or to one file when `path` ends in `.safetensors`.

    The card's model configuration and weights hash are set from `model`. Returns the opened pack.
    What is there already is an error, unless it is the same pack or `overwrite` says to replace it.
    A folder has the form of a repository on the Hugging Face Hub: its `README.md` is made from the
    card, and one that is there already stays, but for `overwrite`.

    Examples
    --------
    >>> import tempfile
    >>> import xearthformer as xef
    >>> pack = xef.open_pack("persistence")
    >>> card = pack.card.model_copy(update={"name": "same-again", "title": "What is stays"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = xef.save_pack(f"{folder}/same-again.safetensors", pack.model(), card)
    >>> saved.card.name, saved.card.weights_sha256 == pack.card.weights_sha256
    ('same-again', True)
    """
    model = getattr(model, "_orig_mod", model)  # of one that torch.compile has wrapped
    arrays = {
        key: np.ascontiguousarray(_as_array(tensor)) for key, tensor in model.state_dict().items()
    }
    config = json.loads(json.dumps(dataclasses.asdict(model.config)))  # tuples become lists
    spec = ModelSpec(name=card.model.name, config=config)
    card = card.model_copy(update={"model": spec, "weights_sha256": weights_hash(arrays)})
    card = Card.model_validate(card.model_dump())  # `model_copy` checks nothing
    path = Path(os.path.expanduser(path))
    new = Pack(card, path)  # checked before a pack that is there is replaced by it
    _check_model(new)
    _check_finite(new, arrays)
    if not overwrite and is_taken(path) and not _is_pack(path, card):
        raise taken(path)
    if path.suffix == ".safetensors":
        _replace(path, save(arrays, metadata={"card": _card_text(card)}))
    else:
        page = path / README
        _write_folder(path, arrays, card, None if page.exists() and not overwrite else readme(card))
    return _open(path)


def _as_array(tensor: "Tensor") -> np.ndarray:
    """Return a tensor as an array; NumPy has no bfloat16, whose numbers are float32's too."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def push_pack(
    pack: "str | os.PathLike[str] | Pack", repository: str, *, private: bool | None = None
) -> str:
    """Upload a pack to the Hugging Face Hub, with a page for people that is made from its card.

    Parameters
    ----------
    pack : str, path or Pack
        Anything `open_pack` opens. A `README.md` of your own in its folder is taken as it is.
    repository : str
        "owner/name"; made where it isn't there. What it has of an earlier version is replaced, and
        can still be opened by that version's address.
    private : bool, optional
        Whether a repository that is made is private. Default: as the owner's settings say.

    Returns
    -------
    str
        "hf://owner/name@revision", which opens this very version.

    Raises
    ------
    PackError
        A pack that can't be opened, or that the Hub doesn't take: log in by `hf auth login`, with a
        token that may write.

    Examples
    --------
    >>> import xearthformer as xef
    >>> address = xef.push_pack("tiny-enso", "owner/tiny-enso")  # doctest: +SKIP
    >>> pack = xef.open_pack(address)  # doctest: +SKIP
    """
    from huggingface_hub import HfApi  # needed on the way to and from the Hub alone

    pack = open_pack(pack)
    page, own = readme(pack.card, f"{HUB}{repository}"), pack.path / README
    if own.is_file() and own.read_text("utf-8") != readme(pack.card):
        page = own.read_text("utf-8")
    with TemporaryDirectory() as folder:
        _write_folder(Path(folder), pack.arrays(), pack.card, page)
        try:
            hub = HfApi(library_name="xearthformer")
            hub.create_repo(repository, private=private, exist_ok=True)
            message = f"{pack.card.name} {pack.card.version}"
            commit = hub.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=message
            )
        except Exception as error:  # the network, the hub and a bad name raise many kinds
            raise PackError(
                f"{pack.card.name!r} can't be pushed to {repository}: {type(error).__name__}: "
                f"{error}; hf auth login, with a token that may write"
            ) from error
    return f"{HUB}{repository}@{commit.oid}"


def _write_folder(
    folder: Path, arrays: dict[str, np.ndarray], card: Card, page: str | None
) -> None:
    """Write a pack as a folder; the page for people where there is one."""
    _replace(folder / WEIGHTS, save(arrays))
    if page is not None:
        _replace(folder / README, page.encode())
    # last: a folder without it is no pack
    _replace(folder / CARD, f"{_card_text(card)}\n".encode())


def _card_text(card: Card) -> str:
    return to_json(card.to_fields(), indent=2).decode()


def is_taken(path: Path) -> bool:
    """Return whether something is at a path that a pack would replace; an empty folder isn't."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def taken(path: Path) -> FileExistsError:
    """Return the error for a path where something else is."""
    hint = "another path, or overwrite=True"
    return FileExistsError(str(mismatch("a path where nothing is", f"{path} there already", hint)))


def _is_pack(path: Path, card: Card) -> bool:
    """Return whether the pack of this card is at a path already; its weights by their hash."""
    try:
        return _open(path).card == card
    except PackError:
        return False


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as part:
        part.write_bytes(content)


def _read_card(path: Path) -> Card:
    text: str | bytes
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as weights:
                text = (weights.metadata() or {}).get("card", "")
        else:
            with (path / CARD).open("rb") as file:
                text = file.read(MOST_CARD + 1)
        if len(text) > MOST_CARD:
            raise PackError(f"the card of {path} is of more than {MOST_CARD} bytes")
        return Card.model_validate_json(text)
    except (OSError, SafetensorError) as error:
        raise PackError(f"{path} holds no readable {CARD}: {_why(path, error)}") from error
    except pydantic.ValidationError as error:
        raise PackError(f"the card of {path} isn't valid: {problems(error)}") from error


def _compare(pack: Pack, pairs: Mapping[str, tuple[object, object]]) -> None:
    """Raise PackError for an entry of the card that isn't the model's."""
    for name, (said, found) in pairs.items():
        # a card may promise less than its model gives, as of a persistence
        if said != found and not (name == "lead" and said < found):  # type: ignore[operator]
            raise PackError(
                f"pack {pack.card.name!r} at {pack.path}: the card says {name} {said}, and its "
                f"model's is {found}. The card was changed or exchanged; fetch the pack again."
            )


def _check_model(pack: Pack) -> None:
    """Raise PackError for a card that isn't its model's, as far as the configuration tells.

    Models that have become another one under the same name are refused too.
    """
    card, config = pack.card, pack.card.model.config
    # (T, H, W, C) of Earthformer; other models have the sizes by name
    given, ahead = (config.get(key) or [None] * 4 for key in ("input_shape", "target_shape"))
    for shape in (given, ahead):
        if not isinstance(shape, list | tuple) or len(shape) != 4:
            raise PackError(
                f"the card of {pack.path} isn't valid: model.config: expected shapes of four "
                f"numbers, found {reprlib.repr(shape)}"
            )
    sizes = dict(zip(("in_len", "height", "width", "channels"), given, strict=True))  # type: ignore
    sizes["out_len"] = ahead[0]  # type: ignore[index]
    sizes |= {key: config[key] for key in sizes if key in config}
    pairs: dict[str, tuple[object, object]]
    pairs = {"context": (card.context, sizes["in_len"]), "lead": (card.lead, sizes["out_len"])}
    if card.grid is not None:
        pairs["grid"] = card.grid.shape, (sizes["height"], sizes["width"])
    unknown = None, (None, None)
    _compare(pack, {name: pair for name, pair in pairs.items() if pair[1] not in unknown})
    field = REPLACED.get(card.model.name)
    if field in card.model.config:
        raise PackError(
            str(
                mismatch(
                    f"a pack of the model {card.model.name!r} as it is now",
                    f"{card.name!r} {card.version} at {pack.path}, of the one that read {field!r}",
                    'the pack "nowcast-radar", or another training: python examples/fit_nowcast.py '
                    "radar_*.nc",
                )
            )
        )


def _locate(name: "str | os.PathLike[str]") -> Path:
    text = os.fspath(name)
    if text.startswith(HUB):
        return _from_hub(text)
    path = Path(os.path.expanduser(text))
    if path.name in (CARD, WEIGHTS) and (path.with_name(CARD)).is_file():
        path = path.parent
    is_file = path.is_file() and ".safetensors" in (path.suffix, path.resolve().suffix)
    is_there = is_file or (path / CARD).is_file()
    if is_there and (not isinstance(name, str) or path.name != text):
        return path  # a path, not a name
    installed = _installed()
    if text in installed:  # before folders: a folder named "lim" must not hide the pack
        if is_there:
            warn(f"{text!r} is the pack that is installed; that of the folder here is './{text}'")
        return installed[text]
    if is_there:
        return path
    also = did_you_mean(text, installed)
    if path.is_file():
        also = ", found another file" + "; unpack it" * (path.suffix in (".zip", ".gz", ".tar"))
    raise NoPackError(
        f"no pack {text!r}: expected one of {', '.join(sorted(installed))}, a folder with {CARD} "
        f"and weights.safetensors, a .safetensors file, or 'hf://owner/name'{also}"
    )


def _from_hub(address: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = address.removeprefix(HUB).partition("@")
    try:
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=[CARD, WEIGHTS])
        )
    except Exception as error:  # the network, the hub and a bad name raise many kinds
        raise PackError(f"{address} can't be fetched: {type(error).__name__}: {error}") from error


def _installed() -> dict[str, Path]:
    """Return the folders of shipped packs and of packs in other installed packages, by name."""
    folders = {folder.name: folder for folder in SHIPPED.glob("*") if (folder / CARD).is_file()}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        spec = importlib.util.find_spec(entry.module)  # looks a package up, doesn't run it
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / CARD).is_file():
                folders.setdefault(entry.name, Path(folder))  # shipped packs keep their names
    return folders
