"""ConvLSTM (Shi et al., NeurIPS 2015): one stack of convolutional LSTMs reads, another forecasts.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import expect_counts
from ..layers.recurrent import (
    HW,
    ConvLSTMCell,
    State,
    expect_frames,
    expect_layout,
    expect_odd,
    from_patches,
    to_patches,
)


@dataclass(frozen=True)
class ConvLSTMConfig:
    """The shape of a ConvLSTM. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    height, width, channels : int
        Of a frame.
    patch : (h, w)
        Pixels of a frame that become one place of the network's grid.
    hidden : tuple of int
        Channels of each layer, bottom to top, the same in both stacks.
    kernel : int
        Side of the convolutions, odd.

    Raises
    ------
    ValueError
        A patch that doesn't divide the frame, an even kernel, a number that isn't a count.
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    channels: int = 1
    patch: HW = (6, 8)
    hidden: tuple[int, ...] = (192, 192, 192)
    kernel: int = 3

    def __post_init__(self) -> None:
        for name in ("patch", "hidden"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        expect_layout(self)
        expect_counts("hidden", self.hidden)
        expect_odd("kernel", self.kernel)


PRESETS = {
    "sevir": ConvLSTMConfig(),
    "enso": ConvLSTMConfig(in_len=12, out_len=14, height=24, width=48, patch=(4, 4)),
    "tiny": ConvLSTMConfig(in_len=4, out_len=3, height=16, width=16, patch=(2, 2), hidden=(16, 16)),
}


class ConvLSTM(nn.Module):
    """The encoding and forecasting network of Shi et al. (2015, section 3.2 and Figure 3).

    The encoding stack reads the frames; the forecasting stack begins with the states where that
    one ended, and has no input at its bottom: its frames come from a 1x1 convolution of the hidden
    states of all its layers. So it is never fed a frame in training that it isn't fed in forecasts.

    With the widths, kernels and frames of the paper's Table 1 it has that table's numbers of
    parameters, to the last. It differs in its loss, the squared error instead of the cross-entropy
    of digits. The sizes of `sevir` (13.6 M parameters, 524 GMAC) and `enso` (13.4 M, 12.5 GMAC),
    the same three layers of 3x3 kernels, are chosen to match the tables of Gao et al. (2022,
    "Earthformer"): 14.0 M and 527, 14.0 M and 11.1.

    Parameters
    ----------
    config : ConvLSTMConfig

    Examples
    --------
    >>> model = ConvLSTM(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 16, 16, 1)).shape
    torch.Size([1, 3, 16, 16, 1])
    """

    samples = False

    def __init__(self, config: ConvLSTMConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        folded = config.patch[0] * config.patch[1] * config.channels
        self.encoding, self.forecasting = (
            nn.ModuleList(
                ConvLSTMCell(below, width, config.kernel, peephole=True)
                for below, width in zip((bottom, *config.hidden), config.hidden, strict=False)
            )
            for bottom in (folded, 0)
        )
        self.readout = nn.Conv2d(sum(config.hidden), folded, 1)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        expect_frames(x_BTHWC, self.config)
        states: list[State | None] = [None] * len(self.config.hidden)
        for x_BCHW in to_patches(x_BTHWC, self.config.patch).unbind(dim=1):
            states = _through(self.encoding, x_BCHW, states)
        made = []
        for _ in range(self.out_len):
            states = _through(self.forecasting, None, states)
            made.append(self.readout(torch.cat([h_BCHW for h_BCHW, _ in states], dim=1)))
        return from_patches(torch.stack(made, dim=1), self.config.patch)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast from x against what came, y; a scalar."""
        return F.mse_loss(self(x_BTHWC), y_BTHWC)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, C); the same in training and evaluation mode."""
        return self(x_BTHWC)


def _through(
    cells: Iterable[ConvLSTMCell], x_BCHW: Tensor | None, states: Iterable[State | None]
) -> list[State]:
    """One step of a stack: each cell reads the hidden state of the one below."""
    after = []
    for cell, state in zip(cells, states, strict=True):
        after.append(cell(x_BCHW, state))
        x_BCHW = after[-1][0]
    return after
