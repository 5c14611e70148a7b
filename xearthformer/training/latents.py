"""Latent windows: what PreDiff's denoiser learns on, made of frames once and kept in a Zarr store.

It knows no labels. Letters: S windows, B batch, T time, H W space, C channels.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from tqdm.auto import tqdm

from ..models.prediff.losses import latent_window
from ..models.prediff.prediff import PreDiff
from .windows import Batches, turned

BLOCK = 32  # windows that are encoded together; a resumed run goes on with the next block
NAMES = "context", "target"
MEMORY = 4 << 30  # bytes of latent windows that are read into memory, and not batch by batch


@dataclass(frozen=True)
class Latents(Batches):
    """Latent windows out of a store: an index tensor in, a whole batch out, like `loop.Windows`.

    Attributes
    ----------
    context, target : array (S, T, h, w, C)
        In memory where both have room, else in the store.
    """

    context: zarr.Array | np.ndarray
    target: zarr.Array | np.ndarray

    def __len__(self) -> int:
        return self.context.shape[0]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Context and target (see `latent_window`) of the windows of an index, float32."""
        rows = index.numpy()
        arrays = (getattr(array, "oindex", array) for array in (self.context, self.target))
        context, target = (torch.from_numpy(array[rows]).float() for array in arrays)
        return context, target

    def intensities(self) -> Tensor:
        """Mean intensity of each window's target (S,)."""
        parts = [target[..., -1].mean(dim=(1, 2, 3)) for _, target in self.in_order(256)]
        return torch.cat(parts)


def cached(
    model: PreDiff,
    windows: Any,
    store: Path,
    views: int,
    seed: int,
    progress: bool,
    device: torch.device | str = "cpu",
) -> Latents:
    """Encode windows once: each in `views` random turns and mirrorings, or with 0 as it is.

    Called again with the same arguments after a kill, it goes on with the block that it was at.
    """
    count = len(windows) * max(1, views)
    model = copy.deepcopy(model).to(device)
    group = zarr.open_group(store, mode="a")
    done = int(group.attrs.get("done", 0))
    with tqdm(total=count, initial=done, unit="window", delay=2, disable=not progress) as bar:
        for first, rows in _blocks(count):
            if first < done:
                continue
            x, y = (part.to(device) for part in windows[rows % len(windows)])
            if views:
                with torch.random.fork_rng():
                    torch.manual_seed(
                        int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
                    )
                    x, y = turned(x, y)
            for name, part in zip(NAMES, latent_window(model, x, y), strict=True):
                _array(group, name, count, part)[first : first + len(rows)] = part.cpu().numpy()
            group.attrs["done"] = first + len(rows)
            bar.update(len(rows))
    arrays = [group[name] for name in NAMES]
    if sum(array.nbytes for array in arrays) <= MEMORY:
        return Latents(*(array[:] for array in arrays))
    return Latents(*arrays)


def _blocks(count: int) -> Iterator[tuple[int, Tensor]]:
    for rows in torch.arange(count).split(BLOCK):
        yield int(rows[0]), rows


def _array(group: zarr.Group, name: str, count: int, part: Tensor) -> Any:
    if name in group:
        return group[name]
    shape = tuple(part.shape[1:])
    return group.create_array(name, shape=(count, *shape), chunks=(1, *shape), dtype="float16")
