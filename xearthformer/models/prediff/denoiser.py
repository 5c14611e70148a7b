"""Earthformer-UNet: finds the noise in frames, given the frames before them.

The denoiser of PreDiff (Gao et al., NeurIPS 2023, section 3.1): down through levels of cuboid
attention and up again, with the step t of the diffusion (how noisy the frames are) as an input of
every level. The alignment network (alignment.py) has the same way down.
Legend of the shape suffixes: B batch, T time, H W space, C channels, E channels of the embedding
of the step t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import (
    POS_EMBED_TYPES,
    BlockOptions,
    PositionEmbedding,
    SelfAttentionBlock,
    init_weights,
)
from ..layers.checks import expect_counts, expect_one_of, lists_to_tuples
from ..layers.cuboid import Size, self_pattern
from ..layers.stem import PatchMerging, Upsampling, coarser

EMBED_WIDTH = 4  # channels of the embedding of t, in base_units
SLOWEST = 10_000  # its longest period, in steps of the diffusion over 2 pi (Vaswani et al. 2017)


@dataclass(frozen=True)
class LevelsConfig:
    """The fields that the denoiser and the alignment network share. Lists are welcome.

    Fields that do not fit one another are a ValueError that names them.

    Parameters
    ----------
    base_units : int
        Channels at the finest level; an even number.
    num_heads : int
        Number of attention heads.
    depth : tuple of int
        Number of blocks at each level, finest first.
    attn_patterns : tuple of str
        Cuboid pattern of each level (see `cuboid.PATTERN_NAMES`); one name serves all levels.
    downsample, dropout, ffn_activation, padding_type, pos_embed_type
        As in `EarthformerConfig`.
    """

    base_units: int = 256
    num_heads: int = 4
    depth: tuple[int, ...] = (4, 4)
    attn_patterns: tuple[str, ...] | str = "axial"
    downsample: int = 2
    dropout: float = 0.1
    ffn_activation: str = "gelu"
    padding_type: str = "zeros"
    pos_embed_type: str = "t+h+w"

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        expect_counts("depth", self.depth)
        expect_counts("base_units", (self.base_units,))
        expect_counts("downsample", (self.downsample,))
        expect_one_of("pos_embed_type", self.pos_embed_type, POS_EMBED_TYPES)
        # Even: half of the embedding of t are sines, half cosines.
        if self.base_units % self.block_options.num_heads or self.base_units % 2:
            raise ValueError(
                f"expected base_units even and divisible by num_heads={self.num_heads}, "
                f"found {self.base_units}"
            )
        if isinstance(self.attn_patterns, str):
            object.__setattr__(self, "attn_patterns", (self.attn_patterns,) * len(self.depth))
        if len(self.attn_patterns) != len(self.depth):
            raise ValueError(
                f"expected a pattern for each of the {len(self.depth)} levels of "
                f"depth={self.depth}, found attn_patterns={self.attn_patterns}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base_units * self.downsample**i for i in range(len(self.depth)))

    def level_shapes(self, shape_THW: Size) -> list[Size]:
        """Return (T, H, W) of each level; an error where a level's pattern does not fit."""
        factors = ((self.downsample, self.downsample),) * (len(self.depth) - 1)
        shapes = [(shape_THW[0], h, w) for h, w in coarser(shape_THW[1:], factors)]
        for name, shape in zip(self.attn_patterns, shapes, strict=True):
            self_pattern(name, shape)
        return shapes

    @property
    def block_options(self) -> BlockOptions:
        """The fields that every cuboid block shares; without global vectors."""
        names = "num_heads", "dropout", "ffn_activation", "padding_type"
        return BlockOptions(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class EarthformerUNetConfig(LevelsConfig):
    """The shape of an Earthformer-UNet: the fields of `LevelsConfig`, and two more.

    Parameters
    ----------
    input_shape, target_shape : (T, H, W, C)
        Shapes of the context and of the noisy frames; the same H, W and C.
    """

    input_shape: tuple[int, int, int, int] = (7, 16, 16, 64)
    target_shape: tuple[int, int, int, int] = (6, 16, 16, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_counts("input_shape", self.input_shape, length=4)
        expect_counts("target_shape", self.target_shape, length=4)
        if self.input_shape[1:] != self.target_shape[1:]:
            raise ValueError(
                f"expected the same (H, W, C) in input_shape and target_shape, "
                f"found {self.input_shape[1:]} and {self.target_shape[1:]}"
            )
        self.level_shapes(self.shape_THW)

    @property
    def shape_THW(self) -> Size:
        """(T, H, W) of context and noisy frames, one after another."""
        return (self.input_shape[0] + self.target_shape[0], *self.input_shape[1:3])


PRESETS: dict[str, EarthformerUNetConfig] = {
    "sevir-lr": EarthformerUNetConfig(),  # the published checkpoint, for latents of SEVIR-LR
    "tiny": EarthformerUNetConfig(  # small enough for a test
        base_units=16,
        num_heads=2,
        depth=(1, 1),
        dropout=0.0,
        input_shape=(3, 4, 4, 4),
        target_shape=(2, 4, 4, 4),
    ),
}


class TimeEmbedding(nn.Module):
    """The step t as a vector (B, E): cosines and sines of t, then Linear, SiLU, Linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.layer = nn.Sequential(
            nn.Linear(dim, EMBED_WIDTH * dim),
            nn.SiLU(),
            nn.Linear(EMBED_WIDTH * dim, EMBED_WIDTH * dim),
        )

    def forward(self, t_B: Tensor) -> Tensor:
        half, dtype = self.dim // 2, self.layer[0].weight.dtype
        exact = torch.promote_types(dtype, torch.float32)  # bfloat16 can't count to 1000
        k = torch.arange(half, dtype=exact, device=t_B.device)
        angle = t_B[:, None].to(exact) * torch.exp(-math.log(SLOWEST) * k / half)
        return self.layer(torch.cat([angle.cos(), angle.sin()], dim=-1).to(dtype))  # (B, E)


class ResidualBlock(nn.Module):
    """Two convolutions over space and time, with the embedding of t added between them.

    (B, T, H, W, C) in and out. Without `embed_dim` nothing is added.
    """

    def __init__(self, c_in: int, c_out: int, embed_dim: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(_norm(c_in), nn.SiLU(), nn.Conv3d(c_in, c_out, 3, padding=1))
        if embed_dim is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, c_out))
        self.out_layers = nn.Sequential(
            _norm(c_out), nn.SiLU(), nn.Dropout(dropout), nn.Conv3d(c_out, c_out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv3d(c_in, c_out, 1)

    def forward(self, x_BTHWC: Tensor, embed_BE: Tensor | None = None) -> Tensor:
        # Contiguous: on a CPU torch's group norm over channels that come last is less exact, and
        # crashes in the backward pass of an input that needs no gradient.
        x_BCTHW = rearrange(x_BTHWC, "b t h w c -> b c t h w").contiguous()
        inner = self.in_layers(x_BCTHW)
        if embed_BE is not None:
            inner = inner + self.emb_layers(embed_BE)[:, :, None, None, None]  # by channel
        x_BCTHW = self.skip_connection(x_BCTHW) + self.out_layers(inner)
        return rearrange(x_BCTHW, "b c t h w -> b t h w c")


def _norm(channels: int) -> nn.GroupNorm:
    """32 groups, as published; one group per channel where 32 does not divide them (small nets)."""
    return nn.GroupNorm(channels if channels % 32 else 32, channels)


def start_as_identity(module: nn.Module) -> None:
    """Let residual branches start at zero; for `nn.Module.apply`, after `init_weights`."""
    match module:
        case ResidualBlock():
            last = [module.out_layers[-1]]
        case SelfAttentionBlock():
            last = [attention.proj for attention in module.attn_l]
            last += [feed_forward.ffn_2 for feed_forward in module.ffn_l]
        case _:
            last = []
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class DownPath(nn.Module):
    """The way down that the denoiser and the alignment network share: noisy frames into levels."""

    def __init__(self, config: LevelsConfig, channels: int, shape_THW: Size) -> None:
        super().__init__()
        base, n = config.base_units, config.downsample
        self.config = config
        self.shapes = config.level_shapes(shape_THW)
        self.first_proj = ResidualBlock(channels, base, None, config.dropout)
        self.pos_embed = PositionEmbedding(base, shape_THW, config.pos_embed_type)
        self.time_embed = TimeEmbedding(base)
        self.downsample_layers = nn.ModuleList(
            PatchMerging(a, b, (1, n, n)) for a, b in pairwise(config.widths)
        )
        self.down_time_embed_blocks, self.down_self_blocks = self.levels()

    def levels(self) -> tuple[nn.ModuleList, nn.ModuleList]:
        """Build a residual block for each level, which all of its depth shares, and its blocks."""
        config = self.config
        embed_dim = EMBED_WIDTH * config.base_units
        residuals = nn.ModuleList(
            ResidualBlock(dim, dim, embed_dim, config.dropout) for dim in config.widths
        )
        blocks = nn.ModuleList()
        levels = zip(config.widths, self.shapes, config.attn_patterns, config.depth, strict=True)
        for dim, shape_THW, name, depth in levels:
            options = dim, shape_THW, self_pattern(name, shape_THW), config.block_options
            blocks.append(nn.ModuleList(SelfAttentionBlock(*options) for _ in range(depth)))
        return residuals, blocks

    def descend(self, x_BTHWC: Tensor, t_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the frames after each level, fine to coarse, and the embedding of t."""
        x_BTHWC = self.pos_embed(self.first_proj(x_BTHWC))
        embed_BE = self.time_embed(t_B)
        outputs: list[Tensor] = []
        levels = zip(self.down_time_embed_blocks, self.down_self_blocks, strict=True)
        for i, (residual, blocks) in enumerate(levels):
            if i > 0:
                x_BTHWC = self.downsample_layers[i - 1](x_BTHWC)  # H W smaller, C larger
            outputs.append(x_BTHWC := one_level(x_BTHWC, embed_BE, residual, blocks))
        return outputs, embed_BE


def one_level(
    x_BTHWC: Tensor, embed_BE: Tensor, residual: nn.Module, blocks: nn.ModuleList
) -> Tensor:
    """Apply one level: the residual block, which knows t, before each of its cuboid blocks."""
    for block in blocks:
        x_BTHWC, _ = block(residual(x_BTHWC, embed_BE))  # the second: global vectors, none here
    return x_BTHWC


class EarthformerUNet(DownPath):
    """The denoiser eps(z_t, t, z_cond): the noise in z_t, of its shape, in any floating dtype.

    Examples
    --------
    >>> denoiser = EarthformerUNet(PRESETS["tiny"])
    >>> z_BTHWC, context_BTHWC = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 3, 4, 4, 4)
    >>> denoiser(z_BTHWC, torch.tensor([500]), context_BTHWC).shape
    torch.Size([1, 2, 4, 4, 4])
    """

    def __init__(self, config: EarthformerUNetConfig) -> None:
        channels = config.input_shape[-1]
        # One channel more: it marks the frames of the context.
        super().__init__(config, channels + 1, config.shape_THW)
        # Drawn before the way up's other layers: the order of drawing fixes a seed's weights.
        self.up_time_embed_blocks, self.up_self_blocks = self.levels()
        sizes = [shape_THW[1:] for shape_THW in self.shapes[:-1]]
        self.upsample_layers = nn.ModuleList(
            Upsampling(coarse, fine, size_HW)
            for (fine, coarse), size_HW in zip(pairwise(config.widths), sizes, strict=True)
        )
        self.final_proj = nn.Linear(config.base_units, channels)
        self.apply(init_weights).apply(start_as_identity)

    def forward(self, z_BTHWC: Tensor, t_B: Tensor, context_BTHWC: Tensor) -> Tensor:
        config = self.config
        for name, x_BTHWC in (("input_shape", context_BTHWC), ("target_shape", z_BTHWC)):
            if tuple(x_BTHWC.shape[1:]) != getattr(config, name):
                raise ValueError(
                    f"expected frames of shape (batch, *{name}={getattr(config, name)}), "
                    f"found {tuple(x_BTHWC.shape)}"
                )
        marked_BTHWC = F.pad(context_BTHWC, (0, 1), value=1)  # C + 1 channels
        x_BTHWC = torch.cat([marked_BTHWC, F.pad(z_BTHWC, (0, 1))], dim=1)  # along T
        outputs, embed_BE = self.descend(x_BTHWC, t_B)
        x_BTHWC = outputs[-1]
        for i in reversed(range(len(outputs))):  # the coarsest level has a way up of its own too
            if i < len(outputs) - 1:
                x_BTHWC = self.upsample_layers[i](x_BTHWC) + outputs[i]
            residual, blocks = self.up_time_embed_blocks[i], self.up_self_blocks[i]
            x_BTHWC = one_level(x_BTHWC, embed_BE, residual, blocks)
        return self.final_proj(x_BTHWC[:, config.input_shape[0] :])  # of the noisy frames alone
