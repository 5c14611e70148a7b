"""Training windows: what a model reads and what it should forecast, in batches.

`Windows` are cut out of records in time, `Crops` in space too; `Draws` says which of them an epoch
sees. Legend: N frames of a record, S windows, B batch, T time, H W space, C channels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import mismatch, whole_number


@dataclass(frozen=True)
class Crop:
    """How windows are cut in space."""

    size: int  # pixels of a side
    stride: int  # pixels from one crop to the next
    beyond: int = 0  # pixels by which crops may reach over the edge of a record, missing there
    # smallest share of pixels above zero (scaled) in the middle of a crop, half of each side, in
    # the last input frame; crops with less rain are left out
    least: float = 0.05
    checks: int = 64  # number of crops to validate on, spread evenly over all

    def __post_init__(self) -> None:
        for name, low in {"size": 1, "stride": 1, "beyond": 0, "checks": 1}.items():
            whole_number(f"crop.{name}", getattr(self, name), low, f"{name}={low} or more")
        if not 0 <= self.least <= 1:
            raise mismatch("crop.least as a share, from 0 to 1", repr(self.least), "least=0.05")


class Batches(Dataset):
    """A data set that is indexed by a tensor and gives a whole batch: input and target."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def in_order(self, batch_size: int) -> DataLoader:
        """Return a loader of all windows, first to last."""
        # the sampler gives whole batches, so that the loader itself must not collate
        return DataLoader(self, batch_size=None, sampler=torch.arange(len(self)).split(batch_size))


def _split(frames_BTHWC: Tensor, context: int, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return input (B, context, H, W, C), and as target the rest, of some channels only."""
    target = frames_BTHWC[:, context:]
    return frames_BTHWC[:, :context], target if targets is None else target[..., targets]


@dataclass(frozen=True)
class Windows(Batches):
    """Windows in time over whole frames; none runs from one record into the next."""

    frames: Tensor  # (N, H, W, C), scaled, one record after another
    starts: Tensor  # (S,) int64, the first frame of every window
    context: int  # number of input frames
    lead: int  # number of target frames
    targets: Tensor | None = None  # channels that are forecast; None: all

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return input (B, context, H, W, C) and target (B, lead, H, W, C)."""
        offsets = torch.arange(self.context + self.lead)
        window_BTHWC = self.frames[self.starts[index, None] + offsets]
        return _split(window_BTHWC, self.context, self.targets)

    def contents(self) -> tuple[Tensor, list[Tensor]]:
        """Return the places of windows and the frames behind them, to tell runs apart."""
        return self.starts, [self.frames]


@dataclass(frozen=True)
class Crops(Batches):
    """Windows in time and space, out of records that may differ in height and width."""

    records: list[Tensor]  # (N, H, W, C) each, scaled
    places: Tensor  # (S, 4) int64: record, first frame, first row, first column
    context: int  # number of input frames
    lead: int  # number of target frames
    size: int  # pixels of a side
    targets: Tensor | None = None  # channels that are forecast; None: all
    known: int = 0  # last channels, the same at all pixels and so known beyond the edge

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return input (B, context, size, size, C) and target (B, lead, size, size, C)."""
        crop_BTHWC = torch.stack([self._crop(*place) for place in self.places[index].tolist()])
        return _split(crop_BTHWC, self.context, self.targets)

    def _crop(self, record: int, start: int, row: int, column: int) -> Tensor:
        """Return one crop (T, size, size, C), NaN over the edge of its record."""
        frames = self.records[record][start : start + self.context + self.lead]
        top, left = max(0, row), max(0, column)
        # ends are clipped too: a negative one would count from the far side
        inside = frames[:, top : max(0, row + self.size), left : max(0, column + self.size)]
        crop = frames.new_full((len(frames), self.size, self.size, frames.shape[-1]), torch.nan)
        y, x = top - row, left - column
        crop[:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
        if self.known:
            crop[..., -self.known :] = frames[:, :1, :1, -self.known :]
        return crop

    def contents(self) -> tuple[Tensor, list[Tensor]]:
        """Return the places of crops and the frames behind them, to tell runs apart."""
        return self.places, self.records


def find_crops(frames_NHWC: Tensor, starts: np.ndarray, context: int, crop: Crop) -> Tensor:
    """Return first frame, row and column (S, 3) of a record's crops that have enough rain.

    Examples
    --------
    Of two crops of 4 pixels next to each other, only the second has something in its 2 x 2 middle:

    >>> frames_NHWC = torch.zeros(2, 4, 8, 1)
    >>> frames_NHWC[0, 1, 6] = 1
    >>> find_crops(frames_NHWC, np.array([0]), 1, Crop(size=4, stride=4)).tolist()
    [[0, 0, 4]]
    """
    height, width = frames_NHWC.shape[1:3]
    quarter, half = crop.size // 4, crop.size // 2
    # at least one crop a side, also where a record is smaller than a crop
    rows, columns = (
        np.arange(-crop.beyond, max(1 - crop.beyond, n + crop.beyond - crop.size + 1), crop.stride)
        for n in (height, width)
    )
    top, left = (rows + quarter).clip(0, height), (columns + quarter).clip(0, width)
    bottom = (rows + quarter + half).clip(0, height)
    right = (columns + quarter + half).clip(0, width)
    places = [np.empty((0, 3), np.int64)]  # for records without a window
    for start in starts.tolist():
        above = (frames_NHWC[start + context - 1, ..., 0] > 0).numpy()  # NaN isn't above zero
        # sums over rectangles as differences of the summed-area table, zero over the edge
        sums = np.pad(above, ((1, 0), (1, 0))).cumsum(0, np.int64).cumsum(1)
        between = sums[bottom] - sums[top]  # rows
        in_middle = between[:, right] - between[:, left]
        # one pixel at least, so that least=0 doesn't let in crops without any
        row, column = np.nonzero(in_middle >= max(1, crop.least * half**2))
        places.append(np.stack([np.full(row.shape, start), rows[row], columns[column]], axis=1))
    return torch.from_numpy(np.concatenate(places))


class Draws(Sampler):
    """Which windows an epoch sees, in batches: a function of the seed and the epoch alone.

    Windows come in groups, one after another, of `counts` windows each. `shares` says how often an
    epoch sees each window of a group: 1 once, 0.1 a tenth of them, another tenth each epoch, 2.5
    two or three times. Batches hold up to `batch_size` windows and are as even as can be.

    Examples
    --------
    >>> draws = Draws([4, 100], [1, 0.02], batch_size=3, seed=0)
    >>> [len(batch) for batch in draws], sorted(torch.cat(list(draws)).tolist())[:4]
    ([3, 3], [0, 1, 2, 3])
    """

    def __init__(
        self, counts: Sequence[int], shares: Sequence[float], batch_size: int, seed: int
    ) -> None:
        if not all(0 <= share < math.inf for share in shares):
            raise ValueError(f"shares: expected finite numbers from 0 up, found {shares}")
        self.counts, self.seed, self.epoch = counts, seed, 0
        self.sizes = [round(n * share) for n, share in zip(counts, shares, strict=True)]
        if not sum(self.sizes):
            raise mismatch("a window or more an epoch", f"none, of {counts}", "share=1")
        self.batches = math.ceil(sum(self.sizes) / batch_size)

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; Lightning calls this, in a resumed run too."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        # a generator of its own: what else is random in a run doesn't change the order
        rng = np.random.default_rng([self.seed, self.epoch])
        first, groups = 0, []
        for count, size in zip(self.counts, self.sizes, strict=True):
            # whole passes, so that no window comes twice before every other came once
            passes = [rng.permutation(count) for _ in range(math.ceil(size / max(1, count)))]
            groups.append(first + np.concatenate([*passes, np.empty(0, np.int64)])[:size])
            first += count
        order = rng.permutation(np.concatenate(groups))
        yield from map(torch.from_numpy, np.array_split(order, self.batches))


def turn_at_random(x_BTHWC: Tensor, y_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Turn every sample by quarters and mirror it, at random, input and target alike."""
    quarters = torch.randint(4, (len(x_BTHWC),)).tolist()
    mirrors = torch.randint(2, (len(x_BTHWC),)).tolist()

    def turn(x_THWC: Tensor, k: int, mirror: int) -> Tensor:
        x_THWC = torch.rot90(x_THWC, k, dims=(1, 2))
        return x_THWC.flip(2) if mirror else x_THWC

    turns = list(zip(quarters, mirrors, strict=True))
    x, y = (
        torch.stack([turn(sample, *how) for sample, how in zip(batch, turns, strict=True)])
        for batch in (x_BTHWC, y_BTHWC)
    )
    return x, y
