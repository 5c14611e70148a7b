"""A mosaic: a field larger than a network's tile goes through it in overlapping tiles.

What comes out of neighbouring tiles fades from one into the other. A denoiser in a mosaic sees one
field at every step, so that all tiles of a sample agree (Bar-Tal et al. 2023, "MultiDiffusion").
Legend of the shape suffixes: B batch, N tiles of a field, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

OVERLAP = 0.25  # the share of a tile that it has in common with the next, at least


def starts(size: int, tile: int) -> list[int]:
    """Where tiles start on an axis: as few as the overlap allows, evenly, flush with both rims.

    >>> starts(20, 8), starts(8, 8)
    ([0, 6, 12], [0])
    """
    free = size - tile
    steps = -(-free // int(tile * (1 - OVERLAP)))
    return [i * free // steps for i in range(steps + 1)] if steps else [0]


def fade(tile: int, like: Tensor) -> Tensor:
    """What the places of a tile weigh (H, W): one in the middle, less and less towards the rims."""
    t = torch.arange(tile, dtype=like.dtype, device=like.device) + 0.5
    t = (torch.minimum(t, tile - t) / max(1, int(tile * OVERLAP))).clamp(max=1)
    ramp = t * t * (3 - 2 * t)
    return ramp[:, None] * ramp


@dataclass(frozen=True)
class Mosaic:
    """How a field (B, T, H, W, C) is cut into square tiles, and put together from them.

    Parameters
    ----------
    size_HW : (H, W)
        Of the field; at least a tile.
    tile : int
        Side of a tile.

    Examples
    --------
    A constant and a ramp come back as they were:

    >>> mosaic = Mosaic((8, 20), 8)
    >>> x_BTHWC = torch.arange(20.0).expand(1, 1, 8, 20)[..., None] + 1
    >>> bool(torch.allclose(mosaic.join(mosaic.cut(x_BTHWC)), x_BTHWC))
    True
    """

    size_HW: tuple[int, int]
    tile: int

    @property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of each tile."""
        h, w = self.size_HW
        return list(product(starts(h, self.tile), starts(w, self.tile)))

    def cut(self, x_BTHWC: Tensor) -> Tensor:
        """All tiles of all fields, (B N, T, tile, tile, C); a field's tiles stand together."""
        n = self.tile
        tiles = [x_BTHWC[:, :, y : y + n, x : x + n] for y, x in self.corners]
        return torch.stack(tiles, dim=1).flatten(0, 1)

    def join(self, tiles: Tensor) -> Tensor:
        """The inverse of `cut`: a mean that fades out towards the rims of each tile."""
        corners, n = self.corners, self.tile
        tiles_BNTHWC = tiles.unflatten(0, (-1, len(corners)))
        if len(corners) == 1:
            return tiles_BNTHWC[:, 0]
        fade_HW1 = fade(n, tiles)[..., None]
        b, _, steps, _, _, channels = tiles_BNTHWC.shape
        total = tiles.new_zeros(b, steps, *self.size_HW, channels)
        counts_HW1 = tiles.new_zeros(*self.size_HW, 1)
        for (y, x), tile in zip(corners, tiles_BNTHWC.unbind(1), strict=True):
            total[:, :, y : y + n, x : x + n] += fade_HW1 * tile
            counts_HW1[y : y + n, x : x + n] += fade_HW1
        return total / counts_HW1


def in_batches(net: Callable[..., Tensor], *parts: Tensor, size: int) -> Tensor:
    """A network over rows in batches of exactly `size`: a row's arithmetic knows no neighbours.

    The last batch is filled up with copies of its first row.
    """
    answers = []
    for batch in zip(*(part.split(size) for part in parts), strict=True):
        rows = len(batch[0])
        fill = [part[:1].expand(size - rows, *part.shape[1:]) for part in batch]
        whole = [torch.cat(both) for both in zip(batch, fill, strict=True)]
        answers.append(net(*whole)[:rows])
    return torch.cat(answers)
