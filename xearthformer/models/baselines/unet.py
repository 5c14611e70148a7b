"""U-Net (Ronneberger et al., 2015): frames in as channels, frames out as channels.

Down through coarser and wider levels, up again, each level's features handed across to its mirror
image; as Veillette et al. (NeurIPS 2020, "SEVIR") use it for nowcasting, in one pass and without
recurrence. Legend of the shape suffixes: B batch, T time, H W space, C channels; a tensor whose
channels hold its frames is BCHW.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import init_weights
from ..layers.checks import expect_counts
from ..layers.stem import conv_block
from .base import ForecastConfig, FrameForecaster

GROUPS = 8  # groups of every group norm
ACTIVATION = "leaky"  # LeakyReLU(0.1)


@dataclass(frozen=True)
class UNetConfig(ForecastConfig):
    """The shape of a U-Net, see `ForecastConfig`.

    Parameters
    ----------
    in_len, out_len : int
        Number of frames given and forecast; of any height and width.
    channels : int
        Variables of a frame, the same in and out.
    widths : tuple of int
        Channels of two or more levels, finest first, multiples of 8; each level halves H and W.
    """

    in_len: int = 13
    out_len: int = 12
    channels: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256, 448, 448)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_counts("in_len", "out_len", "channels")
        expect_counts("widths", self.widths)
        if len(self.widths) < 2:
            raise ValueError(f"expected widths of two levels or more, found {self.widths}")
        if any(width % GROUPS for width in self.widths):
            raise ValueError(
                f"expected widths divisible by the {GROUPS} groups of their norm, "
                f"found {self.widths}"
            )


PRESETS = {
    "sevir": UNetConfig(),
    "enso": UNetConfig(in_len=12, out_len=14, widths=(40, 80, 160, 320, 640)),
    "tiny": UNetConfig(in_len=4, out_len=3, widths=(16, 32, 64)),
}


class UpLevel(nn.Module):
    """One level of the way up: 2x2 up-convolution, joined with the skip, two convolutions."""

    def __init__(self, dim_below: int, dim: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(dim_below, dim, 2, stride=2)
        self.convs = conv_block((2 * dim, dim, dim), GROUPS, ACTIVATION)

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        h, w = skip_BCHW.shape[-2:]
        # Odd sides were rounded up on the way down: drop the row and column too many.
        x_BCHW = self.up(below_BCHW)[..., :h, :w]
        return self.convs(torch.cat([skip_BCHW, x_BCHW], dim=1))


class UNet(FrameForecaster[UNetConfig]):
    """The network: (B, in_len, H, W, C) to (B, out_len, H, W, C), for any H and W.

    Ronneberger et al. (2015), section 2 and figure 1: at each level two 3x3 convolutions; down by
    2x2 max pooling, up by 2x2 up-convolution; the level's features from the way down are
    concatenated; a 1x1 convolution ends it. Differences: convolutions keep the size (padded, as
    in Veillette et al.); group norm and LeakyReLU(0.1), where Veillette et al. have batch norm and
    ReLU, so that a forecast doesn't depend on its neighbours in the batch; an odd H or W is rounded
    up when it is halved, and what the way up has too much is dropped.

    The widths of the presets are chosen for the sizes that Gao et al. (2022), "Earthformer",
    report, but do not lay out: `sevir` has 16.8 M parameters and 31.0 G multiply-adds (reported:
    16.6 M, 33 G), `enso` 12.1 M and 0.35 G (12.1 M, 0.4 G).
    """

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        widths = config.widths
        ends = pairwise((config.in_len * config.channels, *widths))
        self.down = nn.ModuleList(conv_block((a, b, b), GROUPS, ACTIVATION) for a, b in ends)
        self.up = nn.ModuleList(UpLevel(b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = nn.Linear(widths[0], config.out_len * config.channels)  # the 1x1 convolution
        self.apply(init_weights)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        in_len, channels = self.in_len, self.config.channels
        if (x_BTHWC.shape[1], x_BTHWC.shape[4]) != (in_len, channels):
            raise ValueError(
                f"expected x of shape (batch, in_len={in_len}, H, W, channels={channels}), "
                f"found {tuple(x_BTHWC.shape)}"
            )
        x_BCHW = rearrange(x_BTHWC, "b t h w c -> b (t c) h w")
        skips: list[Tensor] = []
        for convs in self.down:
            if skips:  # the first level keeps the frames' own grid
                x_BCHW = F.max_pool2d(x_BCHW, 2, ceil_mode=True)  # odd sides rounded up
            x_BCHW = convs(x_BCHW)
            skips.append(x_BCHW)
        # The coarsest level goes up itself; it is no skip.
        for up, skip_BCHW in zip(self.up, reversed(skips[:-1]), strict=True):
            x_BCHW = up(x_BCHW, skip_BCHW)
        y_BHWC = self.head(rearrange(x_BCHW, "b c h w -> b h w c"))
        return rearrange(y_BHWC, "b h w (t c) -> b t h w c", t=self.out_len)
