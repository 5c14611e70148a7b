"""Latent windows: what PreDiff's denoiser learns on, encoded once and kept in a Zarr store.

It knows no labels. Legend: S windows, B batch, T time, H W space, h w the same in latent pixels,
C channels.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zarr
from torch import Tensor

from ..inference.engine import Progress, progress_bar
from ..models.prediff.losses import latent_window
from ..models.prediff.prediff import PreDiff
from .loop import seed_of
from .windows import Batches, turn_at_random

TOGETHER = 32  # windows encoded at a time; a resumed run begins with the next such group
NAMES = "context", "target"
MEMORY = 4 << 30  # bytes up to which latent windows are kept in memory, not read batch by batch


@dataclass(frozen=True)
class Latents(Batches):
    """Latent windows (S, T, h, w, C), both arrays in memory or both in their store."""

    context: zarr.Array | np.ndarray
    target: zarr.Array | np.ndarray

    def __len__(self) -> int:
        return self.context.shape[0]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return context and target (see `latent_window`) of some windows, float32."""
        rows = index.numpy()
        # of a Zarr array only `oindex` takes an array of rows
        arrays = (getattr(array, "oindex", array) for array in (self.context, self.target))
        context, target = (torch.from_numpy(array[rows]).float() for array in arrays)
        return context, target

    def intensities(self) -> Tensor:
        """Return the mean intensity of each window's target (S,)."""
        batches = self.in_order(256)
        return torch.cat([target[..., -1].mean(dim=(1, 2, 3)) for _, target in batches])


def encode_windows(
    model: PreDiff,
    windows: Batches,
    store: Path,
    views: int,
    seed: int,
    progress: Progress,
    device: torch.device | str = "cpu",
) -> Latents:
    """Encode windows once: each in `views` random turns and mirrorings, or with 0 as it is.

    Called again with the same arguments after a kill, it goes on where it stopped.
    """
    count = len(windows) * max(1, views)
    model = copy.deepcopy(model).to(device)
    group = zarr.open_group(store, mode="a")
    first = int(str(group.attrs.get("done", 0)))  # windows written by an earlier, killed call
    with progress_bar(count, "window", progress, first) as bar:
        for begin in range(first, count, TOGETHER):
            end = min(begin + TOGETHER, count)
            rows = torch.arange(begin, end) % len(windows)  # view after view
            x, y = (tensor.to(device) for tensor in windows[rows])
            if views:
                with torch.random.fork_rng():
                    torch.manual_seed(seed_of(seed, begin))  # the same turns in a resumed run
                    x, y = turn_at_random(x, y)
            for name, latent in zip(NAMES, latent_window(model, x, y), strict=True):
                _array(group, name, count, latent)[begin:end] = latent.cpu().numpy()
            group.attrs["done"] = end  # after the data: half a group is encoded again
            bar.update(len(rows))
    context, target = (_array(group, name, count) for name in NAMES)
    if context.nbytes + target.nbytes <= MEMORY:
        return Latents(np.asarray(context[:]), np.asarray(target[:]))
    return Latents(context, target)


def _array(group: zarr.Group, name: str, count: int, like: Tensor | None = None) -> zarr.Array:
    """Return an array of the store; made on first use, with room for all windows."""
    if like is not None and name not in group:
        shape = tuple(like.shape[1:])
        group.create_array(name, shape=(count, *shape), chunks=(1, *shape), dtype="float16")
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array
