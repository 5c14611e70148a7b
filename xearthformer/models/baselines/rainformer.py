"""Rainformer (Bai et al., 2022): a U of window attention and channel attention, gated together.

Frames in are channels, and so are frames out. At every level, on the way down and on the way up, a
global unit looks far by attention within windows, a local unit looks near by convolution and
weighs its channels, and a gate decides how much of each goes on. Legend of the shape suffixes:
B batch, T time, H W space, C channels; a tensor whose channels hold its frames has one frame, and
is B1HWC.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import BlockOptions, SelfAttentionBlock, init_weights
from ..layers.cuboid import Size, self_pattern
from ..layers.stem import PatchMerging, Upsampling, conv_block, per_frame
from .base import ENSO, TINY, FrameConfig, FrameForecaster

GROUPS = 4  # groups of the local unit's group norms
ACTIVATION = "leaky"  # LeakyReLU(SLOPE)
SLOPE = 0.1  # leaky ReLU below zero
SQUEEZE = 4  # how much narrower channel attention is inside


@dataclass(frozen=True)
class RainformerConfig(FrameConfig):
    """The frames, as `FrameConfig` describes them, and the shape of a Rainformer.

    Parameters
    ----------
    patch : int
        Side, in pixels, of the patches that are the finest level's places.
    base_units : int
        Channels of the finest level; the next has twice as many and half the H and W.
    num_heads : int
        Attention heads of the finest level; the next has twice as many.
    levels : int
        Number of levels of the U.
    window : int
        Side of the windows of attention, the same at every level; the coarsest level's grid has to
        be whole windows.
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    patch: int = 4
    base_units: int = 180
    num_heads: int = 6
    levels: int = 4
    window: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_counts("patch", "base_units", "num_heads", "levels", "window")
        for name, divisor in (("num_heads", self.num_heads), ("the groups of a norm", GROUPS)):
            if self.base_units % divisor:
                raise ValueError(
                    f"expected base_units divisible by {name}, {divisor}, found {self.base_units}"
                )
        unit = self.patch * 2 ** (self.levels - 1) * self.window  # pixels: the coarsest's window
        if self.height % unit or self.width % unit:
            raise ValueError(
                f"expected height and width divisible by {unit} (patch={self.patch}, halved "
                f"levels - 1 = {self.levels - 1} times, window={self.window}), "
                f"found {self.height} and {self.width}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base_units * 2**i for i in range(self.levels))

    @property
    def level_shapes(self) -> list[Size]:
        """Grid (1, H, W) of each level, of one frame whose channels are all frames."""
        sides = [self.patch * 2**i for i in range(self.levels)]
        return [(1, self.height // side, self.width // side) for side in sides]


PRESETS = {
    "sevir": RainformerConfig(),
    "enso": RainformerConfig(*ENSO, patch=2, base_units=116, num_heads=4, levels=3, window=3),
    "tiny": RainformerConfig(*TINY, patch=2, base_units=16, num_heads=2, levels=2, window=4),
}


class ChannelAttention(nn.Module):
    """Every channel times a weight that depends on the means of all channels.

    Squeeze and excitation (Hu et al., 2018, Eqn 2 to 4), x * sigmoid(W2 act(W1 mean(x))), with a
    leaky ReLU for their ReLU, which can fall silent in a narrow layer.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.squeeze = nn.Linear(dim, dim // SQUEEZE)
        self.excite = nn.Linear(dim // SQUEEZE, dim)

    def forward(self, x_B1HWC: Tensor) -> Tensor:
        mean_B111C = x_B1HWC.mean(dim=(2, 3), keepdim=True)
        squeezed_B111C = F.leaky_relu(self.squeeze(mean_B111C), SLOPE)  # SQUEEZE times fewer C
        return x_B1HWC * torch.sigmoid(self.excite(squeezed_B111C))


class LocalUnit(nn.Module):
    """Local features: two 3x3 convolutions and channel attention, added to the input."""

    def __init__(self, dim: int):
        super().__init__()
        self.convs = conv_block((dim, dim, dim), GROUPS, ACTIVATION)
        self.attention = ChannelAttention(dim)

    def forward(self, x_B1HWC: Tensor) -> Tensor:
        return x_B1HWC + self.attention(per_frame(self.convs, x_B1HWC))


class GlobalUnit(SelfAttentionBlock):
    """Global features: attention within windows, then within windows shifted by half a window.

    W-MSA and SW-MSA of Swin (Liu et al., 2021, Eqn 3), each with its feed-forward: cuboid attention
    whose cuboids are one frame long.
    """

    def __init__(self, dim: int, shape_1HW: Size, window: int, num_heads: int):
        pattern = self_pattern(f"video_swin_1x{window}", shape_1HW)
        super().__init__(dim, shape_1HW, pattern, BlockOptions(num_heads))


class GateFusionUnit(nn.Module):
    """Local features l and global features g as one, each through a gate that sees both.

    With [l, g] their channels side by side and * a product of elements,

        z_l, z_g = sigmoid(W_z [l, g] + b_z),   y = W_y [z_l * l, z_g * g] + b_y.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.gates = nn.Linear(2 * dim, 2 * dim)  # W_z: both gates as one layer
        self.fuse = nn.Linear(2 * dim, dim)  # W_y

    def forward(self, local_B1HWC: Tensor, global_B1HWC: Tensor) -> Tensor:
        both = torch.cat([local_B1HWC, global_B1HWC], dim=-1)  # (B, 1, H, W, 2 C)
        return self.fuse(torch.sigmoid(self.gates(both)) * both)


class BalancedBlock(nn.Module):
    """The features extraction balanced module: local and global unit side by side, then fused."""

    def __init__(self, dim: int, shape_1HW: Size, window: int, num_heads: int):
        super().__init__()
        self.near = LocalUnit(dim)
        self.far = GlobalUnit(dim, shape_1HW, window, num_heads)
        self.fusion = GateFusionUnit(dim)

    def forward(self, x_B1HWC: Tensor) -> Tensor:
        far_B1HWC, _ = self.far(x_B1HWC)  # no global vectors
        return self.fusion(self.near(x_B1HWC), far_B1HWC)


class UpLevel(nn.Module):
    """One level of the way up: upsampling, joined with the level's skip, a balanced module."""

    def __init__(self, dim: int, shape_1HW: Size, window: int, num_heads: int):
        super().__init__()
        self.up = Upsampling(2 * dim, dim, shape_1HW[1:])
        self.merge = nn.Linear(2 * dim, dim)
        self.block = BalancedBlock(dim, shape_1HW, window, num_heads)

    def forward(self, below_B1HWC: Tensor, skip_B1HWC: Tensor) -> Tensor:
        joined = torch.cat([skip_B1HWC, self.up(below_B1HWC)], dim=-1)  # (B, 1, H, W, 2 C)
        return self.block(self.merge(joined))


class Rainformer(FrameForecaster[RainformerConfig]):
    """The network: (B, in_len, H, W, C) to (B, out_len, H, W, C), H and W as configured.

    Bai et al. (2022), "Rainformer: Features Extraction Balanced Network for Radar-Based
    Precipitation Nowcasting", section II: the U, its balanced modules, their global and local
    units and the gate fusion unit between them. The insides of the local unit and of the gate are
    one reading of the letter's description, not checked against its layers; so are the skips
    (concatenated) and the way up (nearest neighbours, then a 3x3 convolution). Group norm stands
    where a batch norm might, so that a forecast doesn't depend on its neighbours in the batch, and
    the loss is the mean squared error, as in the comparison of Gao et al. (2022), "Earthformer".

    The widths and windows of the presets are chosen for the sizes reported there: `sevir` has
    186.2 M parameters and 167 G multiply-adds (reported: 184.0 M, 170 G), `enso` 19.0 M and
    1.25 G (19.2 M, 1.3 G).
    """

    def __init__(self, config: RainformerConfig):
        super().__init__(config)
        patch, widths, shapes = config.patch, config.widths, config.level_shapes
        levels = [
            (dim, shape_1HW, config.window, config.num_heads * 2**i)  # heads keep their width
            for i, (dim, shape_1HW) in enumerate(zip(widths, shapes, strict=True))
        ]
        self.embed = nn.Conv2d(config.in_len * config.channels, widths[0], patch, stride=patch)
        self.down = nn.ModuleList(BalancedBlock(*level) for level in levels)
        self.merges = nn.ModuleList(PatchMerging(a, b, (1, 2, 2)) for a, b in pairwise(widths))
        self.up = nn.ModuleList(UpLevel(*level) for level in reversed(levels[:-1]))
        self.finest = Upsampling(widths[0], widths[0], (config.height, config.width))
        self.head = nn.Linear(widths[0], config.out_len * config.channels)
        self.apply(init_weights)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        self.config.expect_frames(x_BTHWC)
        frames_B1HWC = rearrange(x_BTHWC, "b t h w c -> b 1 h w (t c)")
        x_B1HWC = per_frame(self.embed, frames_B1HWC)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            if i:
                x_B1HWC = self.merges[i - 1](x_B1HWC)
            x_B1HWC = block(x_B1HWC)
            skips.append(x_B1HWC)
        # The coarsest level goes up itself; it is no skip.
        for up, skip_B1HWC in zip(self.up, reversed(skips[:-1]), strict=True):
            x_B1HWC = up(x_B1HWC, skip_B1HWC)
        y_B1HWC = self.head(F.leaky_relu(self.finest(x_B1HWC), SLOPE))
        return rearrange(y_B1HWC, "b 1 h w (t c) -> b t h w c", t=self.out_len)
