"""Mosaic: a field larger than a network's tile goes through the network in overlapping tiles.

Where tiles overlap, each fades into the next. A denoiser in a mosaic sees one field at every step,
so that all tiles of a sample agree (Bar-Tal et al. 2023, "MultiDiffusion").
Legend of the shape suffixes: B batch, N tiles of a field, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .parallel import each

OVERLAP = 0.25  # smallest share of a tile that it has in common with the next


def starts(size: int, tile: int, overlap: float = OVERLAP) -> list[int]:
    """Where tiles start on an axis: as few as the overlap allows, evenly, flush with both edges.

    >>> starts(20, 8), starts(8, 8), starts(16, 8, overlap=0)
    ([0, 6, 12], [0], [0, 8])
    """
    free = size - tile
    steps = -(-free // int(tile * (1 - overlap)))  # rounded up
    return [i * free // steps for i in range(steps + 1)] if steps else [0]


def fade(tile: int, like: Tensor) -> Tensor:
    """The weights of a tile's pixels (H, W): 1 in the middle, falling towards the edges."""
    t = torch.arange(tile, dtype=like.dtype, device=like.device) + 0.5  # never 0 at an edge
    t = (torch.minimum(t, tile - t) / max(1, int(tile * OVERLAP))).clamp(max=1)
    ramp = t * t * (3 - 2 * t)  # smoothstep: flat at both ends, so that no kink shows
    return ramp[:, None] * ramp


@dataclass(frozen=True)
class Mosaic:
    """How a field (B, T, H, W, C) is split into square tiles and joined from them again."""

    size_HW: tuple[int, int]  # of the field; at least one tile
    tile: int  # side of a tile
    overlap: float = OVERLAP

    @property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of each tile."""
        return list(product(*(starts(side, self.tile, self.overlap) for side in self.size_HW)))

    def split(self, x_BTHWC: Tensor) -> Tensor:
        """All tiles of all fields, (B N, T, tile, tile, C); those of one field are neighbours."""
        n = self.tile
        tiles = [x_BTHWC[:, :, y : y + n, x : x + n] for y, x in self.corners]
        return torch.stack(tiles, dim=1).flatten(0, 1)  # (B, N, ...) to (B N, ...)

    def join(self, tiles: Tensor) -> Tensor:
        """The inverse of `split`: a mean weighted by `fade`; T and C may have changed."""
        corners, n = self.corners, self.tile
        tiles_BNTHWC = tiles.unflatten(0, (-1, len(corners)))
        if len(corners) == 1:
            return tiles_BNTHWC[:, 0]  # exact, where the mean below would round
        fade_HW1 = fade(n, tiles)[..., None]
        b, _, t, _, _, c = tiles_BNTHWC.shape
        total = tiles.new_zeros(b, t, *self.size_HW, c)
        weight_HW1 = tiles.new_zeros(*self.size_HW, 1)
        for (y, x), tile in zip(corners, tiles_BNTHWC.unbind(1), strict=True):
            total[:, :, y : y + n, x : x + n] += fade_HW1 * tile
            weight_HW1[y : y + n, x : x + n] += fade_HW1
        return total / weight_HW1


def in_batches(net: Callable[..., Tensor], *inputs: Tensor, size: int) -> Tensor:
    """Apply a network in batches of exactly `size` rows, so that a row's bits ignore the others.

    The last batch is filled up with copies of its first row. On a CPU batches run next to one
    another.
    """

    def answer(batch: tuple[Tensor, ...]) -> Tensor:
        count = len(batch[0])
        padding = [rows[:1].expand(size - count, *rows.shape[1:]) for rows in batch]
        return net(*(torch.cat(pair) for pair in zip(batch, padding, strict=True)))[:count]

    batches = zip(*(rows.split(size) for rows in inputs), strict=True)
    return torch.cat(each(answer, batches, inputs[0].device))
