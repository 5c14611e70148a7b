"""Golden values: weights made by a rule from key and shape alone, and outputs that must follow."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def entry(key: str, shape: tuple[int, ...]) -> Tensor:
    """One floating-point entry of a state dict, float32."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    n = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) >= 2:
        return torch.from_numpy(n / np.float32(math.sqrt(math.prod(shape[1:]))))
    centre = 1 if key.endswith("weight") else 0
    return torch.from_numpy(centre + np.float32(0.1) * n)


def fill(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its floating-point entries by the rule; integer entries stay as built."""
    return {
        key: entry(key, tuple(value.shape)) if value.is_floating_point() else value
        for key, value in state.items()
    }


def uniform(shape: list[int], seed: int) -> Tensor:
    """An input "uniform": float32 in [0, 1)."""
    return torch.from_numpy(np.random.default_rng(seed).random(tuple(shape), dtype=np.float32))


def card(name: str) -> dict:
    """The JSON of a golden model: its configuration, its state dict's shapes, its input."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def arrays(name: str) -> dict[str, np.ndarray]:
    """The NPZ of a golden model: its outputs."""
    with np.load(GOLDEN / f"{name}.npz") as npz:
        return dict(npz)
