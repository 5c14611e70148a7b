"""Golden values: weights filled by a rule from key and shape alone, and the outputs that must follow."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    """The rule's float32 values for one entry of a state dict."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    n = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) >= 2:
        n = n / np.float32(math.sqrt(math.prod(shape[1:])))
    elif key.endswith("weight"):
        n = 1 + np.float32(0.1) * n
    else:
        n = np.float32(0.1) * n
    return torch.from_numpy(n)


def fill_state_dict(built: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every floating-point entry by the rule; integer entries stay as built."""
    return {
        key: fill(key, tuple(value.shape)) if value.is_floating_point() else value
        for key, value in built.items()
    }


def uniform(shape: list[int], seed: int) -> Tensor:
    """The input "uniform": float32 in [0, 1)."""
    return torch.from_numpy(np.random.default_rng(seed).random(tuple(shape), dtype=np.float32))


def card(name: str) -> dict:
    """The JSON of a golden model: configuration, state dict's shapes, input."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def arrays(name: str) -> dict[str, np.ndarray]:
    """The NPZ of a golden model: its outputs."""
    with np.load(GOLDEN / f"{name}.npz") as npz:
        return dict(npz)
