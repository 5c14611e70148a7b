"""ConvLSTM (Shi et al., NeurIPS 2015): one stack of convolutional LSTMs reads, another forecasts.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..layers import recurrent
from ..layers.checks import expect_counts
from .base import ENSO, TINY, FrameConfig, FrameForecaster


@dataclass(frozen=True)
class ConvLSTMConfig(FrameConfig):
    """The frames, as `FrameConfig` describes them, and the shape of a ConvLSTM.

    Parameters
    ----------
    patch : (h, w)
        Pixels of a frame that become one place of the network's grid.
    hidden : tuple of int
        Channels of each layer, bottom to top, the same in both stacks.
    kernel : int
        Side of the convolutions, odd.
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    patch: tuple[int, int] = (6, 8)
    hidden: tuple[int, ...] = (192, 192, 192)
    kernel: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        recurrent.expect_patch(self.patch, (self.height, self.width))
        expect_counts("hidden", self.hidden)
        recurrent.expect_odd("kernel", self.kernel)


PRESETS = {
    "sevir": ConvLSTMConfig(),
    "enso": ConvLSTMConfig(*ENSO, patch=(4, 4)),
    "tiny": ConvLSTMConfig(*TINY, patch=(2, 2), hidden=(16, 16)),
}


class ConvLSTM(FrameForecaster[ConvLSTMConfig]):
    """The encoding and forecasting network of Shi et al. (2015, section 3.2 and Figure 3).

    The encoding stack reads the frames; the forecasting stack begins with the states in which the
    first one ends, and has no input at its bottom: its frames come from a 1x1 convolution of the
    hidden states of all its layers. So it is never fed a frame in training that it isn't fed in
    forecasts.

    With the widths, kernels and frames of the paper's Table 1 it has exactly that table's numbers
    of parameters. It differs in its loss, the squared error instead of the cross-entropy of
    digits. The sizes of `sevir` (13.6 M parameters, 524 GMAC) and `enso` (13.4 M, 12.5 GMAC),
    the same three layers of 3x3 kernels, are chosen to match the tables of Gao et al. (2022,
    "Earthformer"): 14.0 M and 527, 14.0 M and 11.1.
    """

    def __init__(self, config: ConvLSTMConfig):
        super().__init__(config)
        folded = config.patch[0] * config.patch[1] * config.channels  # channels of a patch
        self.encoding, self.forecasting = (
            nn.ModuleList(
                recurrent.ConvLSTMCell(below, width, config.kernel, peephole=True)
                for below, width in zip((bottom, *config.hidden), config.hidden, strict=False)
            )
            for bottom in (folded, 0)  # the forecasting stack has no input
        )
        self.readout = nn.Conv2d(sum(config.hidden), folded, 1)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        self.config.expect_frames(x_BTHWC)
        states: list[recurrent.State | None] = [None] * len(self.config.hidden)
        for x_BCHW in recurrent.to_patches(x_BTHWC, self.config.patch).unbind(dim=1):
            states = recurrent.run_stack(self.encoding, x_BCHW, states)
        frames = []  # each (B, h w C, H / h, W / w)
        for _ in range(self.out_len):
            states = recurrent.run_stack(self.forecasting, None, states)
            frames.append(self.readout(torch.cat([h_BCHW for h_BCHW, _ in states], dim=1)))
        return recurrent.from_patches(torch.stack(frames, dim=1), self.config.patch)
