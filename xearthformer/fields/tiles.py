"""Tiles: how a domain larger than the model is cut into overlapping pieces, and put together again.

`cut` and `blend` are inverses. Where two tiles overlap, one fades into the other; weights are
multiples of 2**-12 along an axis, so that they, and their products over both axes, are exact in
float32 and add up to one at every pixel.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from ..errors import mismatch

# The share of its height and of its width that a tile has in common with the next, at least.
OVERLAP = 0.25
WEIGHT_STEP = 2.0**-12

DIMS = ("time", "y", "x")

Region = tuple[slice, slice]  # of pixels, along y and x


def starts(size: int, tile: int, overlap: float = OVERLAP) -> tuple[int, ...]:
    """Where tiles start on an axis: as few as the overlap allows, evenly, flush with both rims.

    Parameters
    ----------
    size, tile : int
        Pixels of the domain and of a tile.
    overlap : float
        The least share of a tile that it has in common with the next, from 0 to below 1.

    Raises
    ------
    ValueError
        A domain smaller than a tile.

    Examples
    --------
    Tiles of 8 that share 2 pixels may advance by 6: on 20 pixels two steps fill the 12 to go, on
    17 pixels the 9 to go are 4 and 5.

    >>> starts(20, 8), starts(17, 8), starts(8, 8)
    ((0, 6, 12), (0, 4, 9), (0,))
    """
    free = size - tile
    if free < 0:
        raise mismatch(f"at least {tile} pixels", str(size), "a larger domain")
    stride = max(1, tile - int(np.ceil(tile * overlap)))
    steps = -(-free // stride)
    return tuple(i * free // steps for i in range(steps + 1)) if steps else (0,)


def weights(at: tuple[int, ...], tile: int) -> np.ndarray:
    """What each tile counts for at each of its pixels along an axis.

    Over an overlap the next tile rises from 0 to 1 by the smoothstep t * t * (3 - 2 * t), whose
    slope is zero at both ends. A tile counts for what has risen to it less what has risen to the
    next: the sum is one by construction, also where three tiles meet.

    Parameters
    ----------
    at : tuple of int
        Where the tiles start, ascending.
    tile : int

    Returns
    -------
    float32 array (len(at), tile)

    Examples
    --------
    Tiles of 4 that share 2 pixels, whose middles lie at t = 1/4 and 3/4:

    >>> weights((0, 2), 4)
    array([[1.     , 1.     , 0.84375, 0.15625],
           [0.15625, 0.84375, 1.     , 1.     ]], dtype=float32)
    """
    pixel = np.arange(at[-1] + tile)
    risen = [np.ones(pixel.size)]
    for start, after in pairwise(at):
        shared = max(start + tile - after, 0.5)  # tiles that only touch: a step
        t = np.clip((pixel + 0.5 - after) / shared, 0, 1)
        risen.append(np.round(t * t * (3 - 2 * t) / WEIGHT_STEP) * WEIGHT_STEP)
    risen.append(np.zeros(pixel.size))
    counts = [now - after for now, after in pairwise(risen)]
    own = [count[start : start + tile] for start, count in zip(at, counts, strict=True)]
    return np.stack(own).astype(np.float32)


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis: `size` pixels, cut into `tile` pixels each.

    `backwards` says that the user's own axis runs the other way.
    """

    size: int
    tile: int
    backwards: bool = False

    @property
    def at(self) -> tuple[int, ...]:
        """Where tiles start."""
        return starts(self.size, self.tile)

    @property
    def places(self) -> list[slice]:
        """The pixels of each tile."""
        return [slice(start, start + self.tile) for start in self.at]

    @property
    def regions(self) -> list[slice]:
        """Even parts, about as many as tiles, each of which sees two or three of them.

        A smaller part comes last on the user's own axis, as Zarr asks of chunks.

        >>> Axis(17, 8).regions
        [slice(0, 6, None), slice(6, 12, None), slice(12, 17, None)]
        >>> Axis(17, 8, backwards=True).regions
        [slice(0, 5, None), slice(5, 11, None), slice(11, 17, None)]
        """
        ends = list(range(0, self.size, -(-self.size // len(self.at)))) + [self.size]
        if self.backwards:
            ends = [self.size - end for end in reversed(ends)]
        return [slice(*both) for both in pairwise(ends)]

    @property
    def overlap(self) -> int:
        """Pixels that a tile shares with the next, at least; 0 of a single tile."""
        return min((one.stop - other.start for one, other in pairwise(self.places)), default=0)

    def counting(self, region: slice) -> dict[int, tuple[slice, np.ndarray]]:
        """The tiles that count in a region: each one's pixels there, and their weights."""
        found = {}
        for i, (place, counts) in enumerate(
            zip(self.places, weights(self.at, self.tile), strict=True)
        ):
            some = np.flatnonzero(counts) + place.start
            start = max(region.start, int(some[0]))
            stop = min(region.stop, int(some[-1]) + 1)
            if start < stop:
                pixels = slice(start, stop)
                found[i] = pixels, counts[within(pixels, place)]
        return found


@dataclass(frozen=True)
class Tiles:
    """Tiles over a domain, row by row; their places depend on its shape and theirs alone.

    Examples
    --------
    >>> nine = Tiles(Axis(20, 8), Axis(17, 8))
    >>> nine
    3 x 3 tiles of 8 x 8 pixels, overlapping by 2 x 3 or more
    >>> nine.places[1]
    (slice(0, 8, None), slice(4, 12, None))
    >>> nine.having((slice(0, 6), slice(9, 17)))
    [1, 2]
    """

    y: Axis
    x: Axis

    @property
    def places(self) -> list[Region]:
        """The pixels of each tile."""
        return list(product(self.y.places, self.x.places))

    @property
    def regions(self) -> list[list[Region]]:
        """The domain as rows of regions, each of which is blended at once."""
        return [[(y, x) for x in self.x.regions] for y in self.y.regions]

    def having(self, region: Region) -> list[int]:
        """Which tiles count in a region."""
        rows, columns = self.y.counting(region[0]), self.x.counting(region[1])
        return [row * len(self.x.at) + column for row, column in product(rows, columns)]

    def __len__(self) -> int:
        return len(self.y.at) * len(self.x.at)

    def __repr__(self) -> str:
        return (
            f"{len(self.y.at)} x {len(self.x.at)} tiles of {self.y.tile} x {self.x.tile} pixels, "
            f"overlapping by {self.y.overlap} x {self.x.overlap} or more"
        )


def within(pixels: slice, place: slice) -> slice:
    """Pixels of the domain, counted from the start of a place that holds them."""
    return slice(pixels.start - place.start, pixels.stop - place.start)


def cut(da: xr.DataArray, tiles: Tiles) -> Iterator[xr.DataArray]:
    """The tiles of a field (..., y, x), row by row; `blend` is the inverse."""
    for y, x in tiles.places:
        yield da.isel(y=y, x=x)


def blend(parts: Iterable[np.ndarray], tiles: Tiles, region: Region | None = None) -> np.ndarray:
    """Tiles put together, each fading into the next; the inverse of `cut`.

    Parts are taken one at a time and always add up in the order of the tiles, so that a pixel has
    the same bits whatever the region it is blended in.

    Parameters
    ----------
    parts : iterable of float32 arrays (..., y, x)
        Every tile, row by row; with `region`, those that `tiles.having(region)` names.
    tiles : Tiles
    region : (slice, slice), optional
        The part of the domain to give. None: the whole.

    Returns
    -------
    float32 array (..., y, x)
        A pixel is NaN where a tile that counts there is NaN.

    Examples
    --------
    A slope comes back as it was:

    >>> slope = xr.DataArray(np.arange(20.0 * 17).reshape(20, 17), dims=("y", "x"))
    >>> nine = Tiles(Axis(20, 8), Axis(17, 8))
    >>> float(abs(blend((tile.values for tile in cut(slope, nine)), nine) - slope).max()) < 1e-4
    True
    """
    rows, columns = region or (slice(0, tiles.y.size), slice(0, tiles.x.size))
    pairs = product(tiles.y.counting(rows).items(), tiles.x.counting(columns).items())
    out: np.ndarray | None = None
    for ((i, (y, of_y)), (j, (x, of_x))), part in zip(pairs, parts, strict=True):
        if out is None:
            shape = rows.stop - rows.start, columns.stop - columns.start
            out = np.zeros((*part.shape[:-2], *shape), np.float32)
        mine = part[..., within(y, tiles.y.places[i]), within(x, tiles.x.places[j])]
        out[..., within(y, rows), within(x, columns)] += mine * np.outer(of_y, of_x)
    if out is None:
        raise mismatch("a region of the domain", repr(region), "one of tiles.regions")
    return out


# --- the same as a dask graph


def blend_lazily(
    da: xr.DataArray,
    tiles: Tiles,
    run: Callable[..., np.ndarray],
    arguments: tuple[Any, ...],
    leading: tuple[int, ...],
) -> Any:
    """What `run` makes of each tile, blended: a task a tile, and one a region.

    Parameters
    ----------
    da : DataArray (time, y, x)
        Chunked by dask. Each chunk is a task of its own, shared by the tiles that lie in it.
    tiles : Tiles
    run : function
        Called with a tile (time, y, x) and `arguments`; gives an array (*leading, y, x).
    arguments : tuple
        They stand once in the graph.
    leading : tuple of int

    Returns
    -------
    dask array (*leading, y, x)
        float32, a chunk for each region of `tiles`.
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    source, token = da.data, uuid4().hex
    name, tile = f"blend-{token}", f"tile-{token}"
    names = [f"argument{i}-{token}" for i in range(len(arguments))]
    labels = f"labels-{token}"
    graph: dict[Any, Any] = dict(zip(names, arguments, strict=True))
    graph[labels] = xr.Dataset(coords={dim: da[dim] for dim in da.dims})
    keys = np.empty(source.numblocks, object)
    for index in np.ndindex(keys.shape):
        keys[index] = (source.name, *index)
    for i, place in enumerate(tiles.places):
        box = slice(0, da.sizes["time"]), *place
        held, parts = zip(*map(_chunks_of, source.chunks, box), strict=True)
        graph[tile, i] = run, (_take, keys[held].tolist(), parts, box, labels), *names
    first = (0,) * len(leading)
    for row, regions in enumerate(tiles.regions):
        for column, region in enumerate(regions):
            mine = [(tile, i) for i in tiles.having(region)]
            graph[name, *first, row, column] = blend, mine, tiles, region
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[source])
    y, x = (tuple(r.stop - r.start for r in axis.regions) for axis in (tiles.y, tiles.x))
    chunks = (*((size,) for size in leading), y, x)
    return dask.array.Array(layers, name, chunks, dtype=np.float32)


def _chunks_of(sizes: tuple[int, ...], pixels: slice) -> tuple[slice, list[slice]]:
    """Which chunks of an axis hold some of its pixels, and the part of each that does."""
    edges = np.cumsum((0, *sizes))
    first = int(np.searchsorted(edges, pixels.start, side="right")) - 1
    last = int(np.searchsorted(edges, pixels.stop))
    chunks = [slice(*ends) for ends in pairwise(edges[first : last + 1].tolist())]
    common = [slice(max(c.start, pixels.start), min(c.stop, pixels.stop)) for c in chunks]
    parts = [within(some, chunk) for some, chunk in zip(common, chunks, strict=True)]
    return slice(first, last), parts


def _take(
    chunks: list, parts: tuple[list[slice], ...], box: tuple[slice, ...], labels: xr.Dataset
) -> xr.DataArray:
    """A box of labelled data, from the parts of the chunks that hold it."""

    def cut_down(chunk: Any, *taken: slice) -> Any:
        if len(taken) == len(parts):
            return chunk[taken]
        pairs = zip(chunk, parts[len(taken)], strict=True)
        return [cut_down(part, *taken, pixels) for part, pixels in pairs]

    coords = labels.isel(dict(zip(DIMS, box, strict=True))).coords
    return xr.DataArray(np.block(cut_down(chunks)), coords, DIMS)
