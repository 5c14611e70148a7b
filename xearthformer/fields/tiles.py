"""Tiles: a domain larger than the model, as overlapping pieces, and the pieces put together again.

`Tiles.places` takes a domain apart, and `blend` puts it together. Where two tiles overlap, one
fades into the other; weights are multiples of 2**-12 along an axis, so that they, and their
products over both axes, are exact in float32 and add up to one at every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import numpy as np
import xarray as xr

from ..errors import mismatch

if TYPE_CHECKING:
    import dask.array
    from dask.typing import Key

OVERLAP = 0.25  # least share of its height and width that a tile has in common with the next
WEIGHT_STEP = 2.0**-12
DIMS = ("time", "y", "x")

Rectangle: TypeAlias = tuple[slice, slice]  # of pixels, along y and x


def tile_starts(size: int, tile: int) -> tuple[int, ...]:
    """Return where tiles of `tile` pixels start along an axis of `size`, which may not be smaller.

    As few as `OVERLAP` allows, evenly, edge to edge. Tiles of 8 that share 2 pixels may advance by
    6: on 20 pixels two steps fill the 12 to go, on 17 pixels the 9 to go are 4 and 5.

    >>> tile_starts(20, 8), tile_starts(17, 8), tile_starts(8, 8)
    ((0, 6, 12), (0, 4, 9), (0,))
    """
    free = size - tile
    if free < 0:
        raise mismatch(f"at least {tile} pixels", str(size), "a larger domain")
    stride = max(1, tile - int(np.ceil(tile * OVERLAP)))
    advances = -(-free // stride)  # rounded up
    return tuple(i * free // advances for i in range(advances + 1)) if advances else (0,)


def tile_weights(starts: tuple[int, ...], tile: int) -> np.ndarray:
    """Return the weights, float32 (len(starts), tile), of tiles at each of their pixels.

    Over an overlap the next tile rises from 0 to 1 by the smoothstep t * t * (3 - 2 * t), whose
    slope is zero at both ends. The weight of a tile is its own rise less that of the next tile:
    the sum is one by construction, also where three tiles meet. Tiles of 4 share 2 pixels below,
    whose middles lie at t = 1/4 and 3/4.

    >>> tile_weights((0, 2), 4)
    array([[1.     , 1.     , 0.84375, 0.15625],
           [0.15625, 0.84375, 1.     , 1.     ]], dtype=float32)
    """
    pixel = np.arange(starts[-1] + tile)
    rises = [np.ones(pixel.size)]  # nothing lies before the first tile
    for start, after in pairwise(starts):
        shared = max(start + tile - after, 0.5)  # tiles that only touch: a step
        t = np.clip((pixel + 0.5 - after) / shared, 0, 1)
        rises.append(np.round(t * t * (3 - 2 * t) / WEIGHT_STEP) * WEIGHT_STEP)
    rises.append(np.zeros(pixel.size))
    weights = [
        (own - following)[start : start + tile]
        for start, (own, following) in zip(starts, pairwise(rises), strict=True)
    ]
    return np.stack(weights).astype(np.float32)


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis: `size` pixels in tiles of `tile` pixels.

    With `backwards`, the user's own axis runs the other way.
    """

    size: int
    tile: int
    backwards: bool = False

    @property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each tile."""
        return tile_starts(self.size, self.tile)

    @property
    def places(self) -> list[slice]:
        """Pixels of each tile."""
        return [slice(start, start + self.tile) for start in self.starts]

    @property
    def chunks(self) -> list[slice]:
        """Chunks of the blended axis: even, about as many as tiles, over two or three tiles each.

        A smaller chunk comes last on the user's own axis, as Zarr asks for.

        >>> Axis(17, 8).chunks
        [slice(0, 6, None), slice(6, 12, None), slice(12, 17, None)]
        >>> Axis(17, 8, backwards=True).chunks
        [slice(0, 5, None), slice(5, 11, None), slice(11, 17, None)]
        """
        ends = [*range(0, self.size, -(-self.size // len(self.starts))), self.size]
        if self.backwards:
            ends = [self.size - end for end in reversed(ends)]
        return [slice(*both) for both in pairwise(ends)]

    @property
    def overlap(self) -> int:
        """Least number of pixels that a tile shares with the next; 0 for a single tile."""
        return min((one.stop - other.start for one, other in pairwise(self.places)), default=0)

    def weights_in(self, pixels: slice) -> dict[int, tuple[slice, np.ndarray]]:
        """Return the tiles that have weight in a run of pixels: their pixels there, and weights."""
        shares = {}
        all_weights = tile_weights(self.starts, self.tile)
        for i, (place, weights) in enumerate(zip(self.places, all_weights, strict=True)):
            weighted = np.flatnonzero(weights) + place.start
            start = max(pixels.start, int(weighted[0]))
            stop = min(pixels.stop, int(weighted[-1]) + 1)
            if start < stop:
                common = slice(start, stop)
                shares[i] = common, weights[_within(common, place)]
        return shares


@dataclass(frozen=True)
class Tiles:
    """Tiles over a domain, row by row; their places depend on its shape and theirs alone.

    >>> nine = Tiles(Axis(20, 8), Axis(17, 8))
    >>> nine
    3 x 3 tiles of 8 x 8 pixels, overlapping by 2 x 3 or more
    >>> nine.places[1]
    (slice(0, 8, None), slice(4, 12, None))
    >>> nine.tiles_in((slice(0, 6), slice(9, 17)))
    [1, 2]
    """

    y: Axis
    x: Axis

    @property
    def places(self) -> list[Rectangle]:
        """Pixels of each tile."""
        return list(product(self.y.places, self.x.places))

    @property
    def chunks(self) -> list[list[Rectangle]]:
        """Rows of chunks of the blended domain, each of which is blended at once."""
        return [[(y, x) for x in self.x.chunks] for y in self.y.chunks]

    def tiles_in(self, rectangle: Rectangle) -> list[int]:
        """Return the numbers of the tiles that have weight in a rectangle."""
        rows, columns = self.y.weights_in(rectangle[0]), self.x.weights_in(rectangle[1])
        return [row * len(self.x.starts) + column for row, column in product(rows, columns)]

    def __len__(self) -> int:
        return len(self.y.starts) * len(self.x.starts)

    def __repr__(self) -> str:
        return (
            f"{len(self.y.starts)} x {len(self.x.starts)} tiles of {self.y.tile} x {self.x.tile} "
            f"pixels, overlapping by {self.y.overlap} x {self.x.overlap} or more"
        )


def _within(pixels: slice, place: slice) -> slice:
    """Return pixels of the domain as counted from the start of a place that holds them."""
    return slice(pixels.start - place.start, pixels.stop - place.start)


def blend(
    values: Iterable[np.ndarray], tiles: Tiles, rectangle: Rectangle | None = None
) -> np.ndarray:
    """Put float32 tiles (..., y, x) together, each fading into the next.

    `values` holds every tile, row by row, or with `rectangle`, the pixels of the domain to return,
    those of `tiles.tiles_in(rectangle)`. They are read one at a time and always add up in their
    own order, so that a pixel has the same bits in whichever rectangle it is blended. A pixel is
    NaN where a tile with weight there is NaN. A slope comes back as it was:

    >>> slope = np.arange(20.0 * 17).reshape(20, 17)
    >>> nine = Tiles(Axis(20, 8), Axis(17, 8))
    >>> blended = blend((slope[place] for place in nine.places), nine)
    >>> float(abs(blended - slope).max()) < 1e-4
    True
    """
    rows, columns = rectangle or (slice(0, tiles.y.size), slice(0, tiles.x.size))
    pairs = product(tiles.y.weights_in(rows).items(), tiles.x.weights_in(columns).items())
    out: np.ndarray | None = None
    for ((i, (y, weights_y)), (j, (x, weights_x))), tile in zip(pairs, values, strict=True):
        if out is None:  # only the first tile tells the leading dims
            shape = rows.stop - rows.start, columns.stop - columns.start
            out = np.zeros((*tile.shape[:-2], *shape), np.float32)
        mine = tile[..., _within(y, tiles.y.places[i]), _within(x, tiles.x.places[j])]
        out[..., _within(y, rows), _within(x, columns)] += mine * np.outer(weights_y, weights_x)
    if out is None:
        raise mismatch("pixels of the domain", repr(rectangle), "one of tiles.chunks")
    return out


# --- the same as a dask graph


def blend_lazily(
    da: xr.DataArray,
    tiles: Tiles,
    run: Callable[..., np.ndarray],
    arguments: tuple[object, ...],
    leading: tuple[int, ...],
) -> dask.array.Array:
    """Return the blended results of `run` on each tile of lazy data, as a float32 dask array.

    One task per tile, and one more per chunk of the answer (`tiles.chunks`). `run` is called with
    a tile (time, y, x) and `arguments`, and returns an array (*leading, y, x). Arguments are stored
    once in the graph, and the tiles in a chunk of `da` share the task that reads it.
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    source, token = da.data, uuid4().hex
    name, tile = f"blend-{token}", f"tile-{token}"
    names = [f"argument{i}-{token}" for i in range(len(arguments))]
    labels = f"labels-{token}"
    graph: dict[Key, object] = dict(zip(names, arguments, strict=True))
    graph[labels] = xr.Dataset(coords={dim: da[dim] for dim in da.dims})
    keys = np.empty(source.numblocks, object)
    for index in np.ndindex(keys.shape):
        keys[index] = (source.name, *index)
    for i, place in enumerate(tiles.places):
        box = slice(0, da.sizes["time"]), *place
        blocks, pixels = zip(*map(_chunks_of, source.chunks, box), strict=True)
        graph[tile, i] = run, (_assemble, keys[blocks].tolist(), pixels, box, labels), *names
    first = (0,) * len(leading)
    for row, rectangles in enumerate(tiles.chunks):
        for column, rectangle in enumerate(rectangles):
            mine = [(tile, i) for i in tiles.tiles_in(rectangle)]
            graph[name, *first, row, column] = blend, mine, tiles, rectangle
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[source])
    y, x = (tuple(chunk.stop - chunk.start for chunk in axis.chunks) for axis in (tiles.y, tiles.x))
    chunks = (*((size,) for size in leading), y, x)
    return dask.array.Array(layers, name, chunks, dtype=np.float32)


def _chunks_of(sizes: tuple[int, ...], pixels: slice) -> tuple[slice, list[slice]]:
    """Return which chunks of an axis hold some of its pixels, and those pixels within each."""
    edges = np.cumsum((0, *sizes))
    first = int(np.searchsorted(edges, pixels.start, side="right")) - 1
    last = int(np.searchsorted(edges, pixels.stop))
    chunks = [slice(*ends) for ends in pairwise(edges[first : last + 1].tolist())]
    within = [
        _within(slice(max(c.start, pixels.start), min(c.stop, pixels.stop)), c) for c in chunks
    ]
    return slice(first, last), within


def _assemble(
    chunks: list, pixels: tuple[list[slice], ...], box: tuple[slice, ...], labels: xr.Dataset
) -> xr.DataArray:
    """Return a box of labelled data, from the pixels of the chunks (nested lists) that hold it."""

    def crop(chunk: np.ndarray | Sequence, *chosen: slice) -> np.ndarray | list:
        if len(chosen) == len(pixels):
            return chunk[chosen]  # type: ignore[call-overload]
        pairs = zip(chunk, pixels[len(chosen)], strict=True)
        return [crop(part, *chosen, along) for part, along in pairs]

    coords = labels.isel(dict(zip(DIMS, box, strict=True))).coords
    return xr.DataArray(np.block(crop(chunks)), coords, DIMS)
