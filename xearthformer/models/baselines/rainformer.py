"""Rainformer (Bai et al., 2022): a U of window attention and channel attention, gated together.

Frames in are channels, and so are frames out. At every level, on the way down and on the way up, a
global unit looks far by attention within windows, a local unit looks near by convolution and
weighs its channels, and a gate says how much of each goes on. Legend of the shape suffixes:
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

from ..layers.attention import (
    BlockOptions,
    PatchMerging,
    SelfAttentionBlock,
    Upsampling,
    conv_block,
    expect_counts,
    init_weights,
    per_frame,
)
from ..layers.cuboid import Size, self_pattern

GROUPS = 4  # of the local unit's group norms
ACTIVATION = "leaky"
SLOPE = 0.1  # of the leaky ReLU below zero
SQUEEZE = 4  # how much narrower channel attention is inside


# Configuration.


@dataclass(frozen=True)
class RainformerConfig:
    """Everything that shapes a Rainformer.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    height, width : int
        H and W of a frame: windows have to fit.
    channels : int
        Variables of a frame, the same in and out.
    patch : int
        Pixels of a side of the patches that the finest level is made of.
    base_units : int
        Channels of the finest level; the next has twice as many and half the H and W.
    num_heads : int
        Attention heads of the finest level; the next has twice as many.
    levels : int
        Levels of the U.
    window : int
        Side of the windows of attention, the same at every level.

    Raises
    ------
    ValueError
        When a number is below 1, patches, levels or windows don't divide H and W, or heads and
        groups don't divide the channels.

    Examples
    --------
    >>> PRESETS["enso"].level_shapes
    [(1, 12, 24), (1, 6, 12), (1, 3, 6)]
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    channels: int = 1
    patch: int = 4
    base_units: int = 180
    num_heads: int = 6
    levels: int = 4
    window: int = 12

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            expect_counts(name, (getattr(self, name),))
        for name, parts in (("num_heads", self.num_heads), ("the groups of a norm", GROUPS)):
            if self.base_units % parts:
                raise ValueError(
                    f"expected base_units divisible by {name}, {parts}, found {self.base_units}"
                )
        unit = self.patch * 2 ** (self.levels - 1) * self.window
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
        """(1, H, W) of each level."""
        sides = [self.patch * 2**i for i in range(self.levels)]
        return [(1, self.height // side, self.width // side) for side in sides]


PRESETS = {
    "sevir": RainformerConfig(),
    "enso": RainformerConfig(
        in_len=12,
        out_len=14,
        height=24,
        width=48,
        patch=2,
        base_units=116,
        num_heads=4,
        levels=3,
        window=3,
    ),
    "tiny": RainformerConfig(
        in_len=4,
        out_len=3,
        height=16,
        width=16,
        patch=2,
        base_units=16,
        num_heads=2,
        levels=2,
        window=4,
    ),
}


# Units.


class ChannelAttention(nn.Module):
    """Every channel times a weight that the means of all channels tell.

    Squeeze and excitation (Hu et al., 2018, Eqn 2 to 4), x * sigmoid(W2 act(W1 mean(x))), with a
    leaky ReLU for their ReLU, which can fall silent in a narrow layer.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.squeeze = nn.Linear(dim, dim // SQUEEZE)
        self.excite = nn.Linear(dim // SQUEEZE, dim)

    def forward(self, x_B1HWC: Tensor) -> Tensor:
        mean_B111C = x_B1HWC.mean(dim=(2, 3), keepdim=True)
        squeezed = F.leaky_relu(self.squeeze(mean_B111C), SLOPE)
        return x_B1HWC * torch.sigmoid(self.excite(squeezed))


class LocalUnit(nn.Module):
    """Local features: two 3x3 convolutions and channel attention, added to what came in."""

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
        self.gates = nn.Linear(2 * dim, 2 * dim)
        self.fuse = nn.Linear(2 * dim, dim)

    def forward(self, local_B1HWC: Tensor, global_B1HWC: Tensor) -> Tensor:
        both = torch.cat([local_B1HWC, global_B1HWC], dim=-1)
        return self.fuse(torch.sigmoid(self.gates(both)) * both)


class BalancedBlock(nn.Module):
    """The features extraction balanced module: global and local unit side by side, then fused."""

    def __init__(self, dim: int, shape_1HW: Size, window: int, num_heads: int):
        super().__init__()
        self.near = LocalUnit(dim)
        self.far = GlobalUnit(dim, shape_1HW, window, num_heads)
        self.fusion = GateFusionUnit(dim)

    def forward(self, x_B1HWC: Tensor) -> Tensor:
        far_B1HWC, _ = self.far(x_B1HWC)
        return self.fusion(self.near(x_B1HWC), far_B1HWC)


class UpLevel(nn.Module):
    """One level of the way up: upsampling, the level's own skip beside it, a balanced module."""

    def __init__(self, dim: int, shape_1HW: Size, window: int, num_heads: int):
        super().__init__()
        self.up = Upsampling(2 * dim, dim, shape_1HW[1:])
        self.merge = nn.Linear(2 * dim, dim)
        self.block = BalancedBlock(dim, shape_1HW, window, num_heads)

    def forward(self, below_B1HWC: Tensor, skip_B1HWC: Tensor) -> Tensor:
        beside = torch.cat([skip_B1HWC, self.up(below_B1HWC)], dim=-1)
        return self.block(self.merge(beside))


# The network.


class Rainformer(nn.Module):
    """The network: (B, in_len, H, W, C) to (B, out_len, H, W, C), H and W as configured.

    Bai et al. (2022), "Rainformer: Features Extraction Balanced Network for Radar-Based
    Precipitation Nowcasting", section II: the U, its balanced modules, their global and local
    units and the gate fusion unit between them. What is inside the local unit and the gate is
    written here as one reading of the letter's description, not checked against its layers; so
    are the skips (concatenated) and the way up (nearest neighbours, then a 3x3 convolution).
    Group norm stands where a batch norm might, so that a forecast doesn't depend on its
    neighbours in the batch, and the loss is the plain mean squared error, as in the comparison
    of Gao et al. (2022), "Earthformer".

    The widths and windows of the presets are chosen for the sizes reported there: `sevir` has
    186.2 M parameters and 167 G multiply-adds (reported: 184.0 M, 170 G), `enso` 19.0 M and
    1.25 G (19.2 M, 1.3 G).

    Parameters
    ----------
    config : RainformerConfig
        Its shape.

    Examples
    --------
    >>> model = Rainformer(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 16, 16, 1)).shape
    torch.Size([1, 3, 16, 16, 1])
    """

    samples = False

    def __init__(self, config: RainformerConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        patch, widths, shapes = config.patch, config.widths, config.level_shapes
        levels = [
            (dim, shape_1HW, config.window, config.num_heads * 2**i)
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
        config = self.config
        shape = (config.in_len, config.height, config.width, config.channels)
        if tuple(x_BTHWC.shape[1:]) != shape:
            raise ValueError(
                f"expected x of shape (batch, in_len, height, width, channels), (batch, "
                f"{', '.join(map(str, shape))}), found {tuple(x_BTHWC.shape)}"
            )
        frames_B1HWC = rearrange(x_BTHWC, "b t h w c -> b 1 h w (t c)")
        x_B1HWC = per_frame(self.embed, frames_B1HWC)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            if i:
                x_B1HWC = self.merges[i - 1](x_B1HWC)
            x_B1HWC = block(x_B1HWC)
            skips.append(x_B1HWC)
        for up, skip_B1HWC in zip(self.up, reversed(skips[:-1]), strict=True):
            x_B1HWC = up(x_B1HWC, skip_B1HWC)
        y_B1HWC = self.head(F.leaky_relu(self.finest(x_B1HWC), SLOPE))
        return rearrange(y_B1HWC, "b 1 h w (t c) -> b t h w c", t=self.out_len)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast from x against what came, y; a scalar."""
        return F.mse_loss(self(x_BTHWC), y_BTHWC)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, C).

        The network is the same in training and evaluation and has no randomness, so `generator`
        (part of every model's contract) is unused.
        """
        return self(x_BTHWC)
