"""Crops: windows cut out of frames in space too, where something happens, turned and mirrored.

Letters: N frames of a record, S crops, B batch, T time, H W space, C channels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Crop:
    """How windows are cut in space.

    Attributes
    ----------
    size : int
        Pixels of a side.
    stride : int
        Pixels from one crop to the next.
    beyond : int
        Pixels that crops reach beyond the rim of a record; they are missing there.
    least : float
        Share of the crop's middle (half of each side) that is above zero, scaled, in the last
        frame of the input; crops with less aren't taken.
    checks : int
        Crops of the validation, evenly out of all.
    """

    size: int
    stride: int
    beyond: int = 0
    least: float = 0.05
    checks: int = 64


class Batches(Dataset):
    """A data set that takes an index tensor and gives a whole batch."""

    def in_order(self, batch_size: int) -> DataLoader:
        """Batches of all of it, first to last."""
        return DataLoader(self, batch_size=None, sampler=torch.arange(len(self)).split(batch_size))


@dataclass(frozen=True)
class Crops(Batches):
    """Crops out of records of any shapes: an index tensor in, a whole batch out, like `Windows`.

    Attributes
    ----------
    records : list of Tensor (N, H, W, C)
    places : int64 Tensor (S, 4)
        Record, first frame, first row and first column of every crop.
    history, reach : int
        Frames of input and of target.
    size : int
        Pixels of a side.
    """

    records: list[Tensor]
    places: Tensor
    history: int
    reach: int
    size: int

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Input (B, history, H, W, C) and target (B, reach, H, W, C) of the crops of an index."""
        crops = [self._crop(*place) for place in self.places[index].tolist()]
        crop_BTHWC = torch.stack(crops)
        return crop_BTHWC[:, : self.history], crop_BTHWC[:, self.history :]

    def _crop(self, record: int, start: int, row: int, column: int) -> Tensor:
        """One crop (T, H, W, C); NaN beyond the rim."""
        frames = self.records[record][start : start + self.history + self.reach]
        height, width = frames.shape[1:3]
        top, left = max(0, row), max(0, column)
        part = frames[:, top : max(0, row + self.size), left : max(0, column + self.size)]
        crop = frames.new_full((len(frames), self.size, self.size, frames.shape[-1]), torch.nan)
        y, x = top - row, left - column
        crop[:, y : y + part.shape[1], x : x + part.shape[2]] = part
        return crop


def find(frames_NHWC: Tensor, starts: np.ndarray, history: int, crop: Crop) -> Tensor:
    """First frame, row and column of a record's crops that have enough in their middle.

    Examples
    --------
    Of two crops of 4 pixels side by side, only the second has something in its 2 x 2 middle:

    >>> frames_NHWC = torch.zeros(2, 4, 8, 1)
    >>> frames_NHWC[0, 1, 6] = 1
    >>> find(frames_NHWC, np.array([0]), 1, Crop(size=4, stride=4)).tolist()
    [[0, 0, 4]]
    """
    height, width = frames_NHWC.shape[1:3]
    quarter, half = crop.size // 4, crop.size // 2
    rows, columns = (
        np.arange(-crop.beyond, max(1 - crop.beyond, n + crop.beyond - crop.size + 1), crop.stride)
        for n in (height, width)
    )
    found = []
    for start in starts.tolist():
        above = (frames_NHWC[start + history - 1, ..., 0] > 0).numpy()
        # sums over rectangles as differences of the summed-area table, zero beyond the rim
        table = np.pad(above, ((1, 0), (1, 0))).cumsum(0, np.int64).cumsum(1)
        top, left = (rows + quarter).clip(0, height), (columns + quarter).clip(0, width)
        bottom = (rows + quarter + half).clip(0, height)
        right = (columns + quarter + half).clip(0, width)
        inside = (
            table[np.ix_(bottom, right)]
            - table[np.ix_(top, right)]
            - table[np.ix_(bottom, left)]
            + table[np.ix_(top, left)]
        )
        row, column = np.nonzero(inside >= max(1, crop.least * half**2))
        found.append(np.stack([np.full(row.shape, start), rows[row], columns[column]], axis=1))
    places = np.concatenate(found) if found else np.empty((0, 3))
    return torch.from_numpy(places.astype(np.int64))


def turned(x_BTHWC: Tensor, y_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Input and target of every sample turned by quarters and mirrored alike, at random."""
    quarters = torch.randint(4, (len(x_BTHWC),)).tolist()
    mirrored = torch.randint(2, (len(x_BTHWC),)).tolist()

    def turn(x_THWC: Tensor, k: int, mirror: int) -> Tensor:
        x_THWC = torch.rot90(x_THWC, k, dims=(1, 2))
        return x_THWC.flip(2) if mirror else x_THWC

    both = list(zip(quarters, mirrored, strict=True))
    x, y = (
        torch.stack([turn(sample, *how) for sample, how in zip(part, both, strict=True)])
        for part in (x_BTHWC, y_BTHWC)
    )
    return x, y
