"""Latent windows: what PreDiff's denoiser learns on, made of frames once and kept in a Zarr store.

It knows no labels. Letters: S windows, B batch, T time, H W space, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from tqdm.auto import tqdm

from .crops import Batches, turned
from .models.prediff import PreDiff
from .models.prediff_training import latent_window

BLOCK = 32  # windows that are encoded together; a resumed run goes on with the next block
NAMES = "context", "target"


@dataclass(frozen=True)
class Latents(Batches):
    """Latent windows out of a store: an index tensor in, a whole batch out, like `loop.Windows`.

    Attributes
    ----------
    context, target : zarr.Array (S, T, h, w, C)
    """

    context: zarr.Array
    target: zarr.Array

    def __len__(self) -> int:
        return self.context.shape[0]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Context and target (see `latent_window`) of the windows of an index, float32."""
        rows = index.numpy()
        both = (array.oindex[rows].astype(np.float32) for array in (self.context, self.target))
        context, target = map(torch.from_numpy, both)
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
) -> Latents:
    """Encode windows once: each in `views` random turns and mirrorings, or with 0 as it is.

    Called again with the same arguments after a kill, it goes on with the block that it was at.
    """
    count = len(windows) * max(1, views)
    group = zarr.open_group(store, mode="a")
    done = int(group.attrs.get("done", 0))
    with tqdm(total=count, initial=done, unit="window", delay=2, disable=not progress) as bar:
        for first, rows in _blocks(count):
            if first < done:
                continue
            x, y = windows[rows % len(windows)]
            if views:
                with torch.random.fork_rng():
                    torch.manual_seed(
                        int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
                    )
                    x, y = turned(x, y)
            for name, part in zip(NAMES, latent_window(model, x, y), strict=True):
                _array(group, name, count, part)[first : first + len(rows)] = part.numpy()
            group.attrs["done"] = first + len(rows)
            bar.update(len(rows))
    return Latents(*(group[name] for name in NAMES))


def _blocks(count: int) -> Iterator[tuple[int, Tensor]]:
    for rows in torch.arange(count).split(BLOCK):
        yield int(rows[0]), rows


def _array(group: zarr.Group, name: str, count: int, part: Tensor) -> Any:
    if name in group:
        return group[name]
    shape = tuple(part.shape[1:])
    return group.create_array(name, shape=(count, *shape), chunks=(1, *shape), dtype="float16")
