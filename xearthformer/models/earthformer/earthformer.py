"""Earthformer (Gao et al., NeurIPS 2022, section 3): a space-time transformer of frames.

A convolutional stem makes the grid coarser; an encoder of cuboid self-attention leaves a memory at
each of its levels; a decoder attends to those memories, coarse to fine; the stem mirrored brings
the grid back.
Legend of the shape suffixes: B batch, T time, H W space, C channels, K global vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import (
    POS_EMBED_TYPES,
    BlockOptions,
    CrossAttentionBlock,
    PositionEmbedding,
    SelfAttentionBlock,
    init_weights,
)
from ..layers.checks import expect_counts, expect_fields, expect_one_of, lists_to_tuples
from ..layers.cuboid import Size, cross_pattern, self_pattern
from ..layers.stem import FinalDecoder, InitialEncoder, PatchMerging, Stem, Upsampling, coarser

PATTERN_FIELDS = ("enc_attn_patterns", "dec_self_attn_patterns", "dec_cross_attn_patterns")


@dataclass(frozen=True)
class EarthformerConfig:
    """The shape of an Earthformer. Lists and dicts, as JSON has them, are welcome.

    Fields that do not fit one another are a ValueError whose message names the field.

    Parameters
    ----------
    input_shape, target_shape : (T, H, W, C)
        Frames in and frames out; the same H and W.
    base_units, num_heads : int
        Channels at the finest level, the next has `downsample` times as many; attention heads.
    enc_depth, dec_depth : tuple of int
        Number of blocks at each level, finest first; one entry per level.
    enc_attn_patterns, dec_self_attn_patterns, dec_cross_attn_patterns : tuple of str
        Cuboid pattern of each level (see `cuboid.PATTERN_NAMES`); one name serves all levels.
    downsample : int
        How much coarser in H and W each level is than the one before.
    dropout : float
        Share dropped from attention weights, projections and feed-forwards.
    ffn_activation : str
        "gelu" or "leaky" (slope 0.1).
    padding_type : "zeros" or "ignore"
        Whether padding counts in the softmax as zeros (every published model) or is masked.
    pos_embed_type : "t+h+w" or "t+hw"
        Position embedding: a vector per frame, row and column, or per frame and place.
    num_global_vectors : int
        Number of global vectors of the encoder; 0 for none.
    use_global_self_attn, separate_global_qkv : bool
        Whether the global vectors attend to one another; whether each of their roles has
        projections of its own.
    stem : Stem
        The convolutions around the transformer.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> config = replace(PRESETS["tiny"], input_shape=(12, 8, 8, 1))
    >>> config == EarthformerConfig(**asdict(config))
    True
    """

    input_shape: tuple[int, int, int, int]
    target_shape: tuple[int, int, int, int]
    base_units: int = 64
    num_heads: int = 4
    enc_depth: tuple[int, ...] = (1, 1)
    dec_depth: tuple[int, ...] = (1, 1)
    enc_attn_patterns: tuple[str, ...] | str = "axial"
    dec_self_attn_patterns: tuple[str, ...] | str = "axial"
    dec_cross_attn_patterns: tuple[str, ...] | str = "cross_1x1"
    downsample: int = 2
    dropout: float = 0.1
    ffn_activation: str = "gelu"
    padding_type: str = "zeros"
    pos_embed_type: str = "t+h+w"
    num_global_vectors: int = 0
    use_global_self_attn: bool = False
    separate_global_qkv: bool = False
    stem: Stem = Stem()

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        if isinstance(self.stem, dict):
            expect_fields(Stem, self.stem)
            object.__setattr__(self, "stem", Stem(**self.stem))
        self._check_values()  # first, as the patterns need the levels
        for name in PATTERN_FIELDS:
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,) * self.levels)
            if len(getattr(self, name)) != self.levels:
                raise ValueError(
                    f"expected a pattern for each of the {self.levels} levels of "
                    f"enc_depth={self.enc_depth}, found {name}={getattr(self, name)}"
                )
        for i, shape_THW in enumerate(self.level_shapes):  # a ValueError where a name is unknown
            self_pattern(self.enc_attn_patterns[i], shape_THW)
            self_pattern(self.dec_self_attn_patterns[i], shape_THW)
            cross_pattern(self.dec_cross_attn_patterns[i], shape_THW)

    def _check_values(self) -> None:
        for name in ("input_shape", "target_shape"):
            expect_counts(name, getattr(self, name), length=4)
        expect_counts("enc_depth", self.enc_depth)
        expect_counts("dec_depth", self.dec_depth, length=self.levels)
        expect_counts("base_units", (self.base_units,))
        expect_counts("downsample", (self.downsample,))
        expect_one_of("pos_embed_type", self.pos_embed_type, POS_EMBED_TYPES)
        self.stem.widths(self.base_units)
        if self.base_units % self.block_options.num_heads:
            raise ValueError(
                f"expected base_units divisible by num_heads={self.num_heads}, "
                f"found {self.base_units}"
            )
        if self.input_shape[1:3] != self.target_shape[1:3]:
            raise ValueError(
                f"expected the same (H, W) in input_shape and target_shape, "
                f"found {self.input_shape[1:3]} and {self.target_shape[1:3]}"
            )

    @property
    def levels(self) -> int:
        """Levels of the hierarchy."""
        return len(self.enc_depth)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.base_units * self.downsample**i for i in range(self.levels))

    @property
    def level_shapes(self) -> list[Size]:
        """(T, H, W) of the encoder at each level."""
        finest_HW = coarser(self.input_shape[1:3], self.stem.scales)[-1]
        factors = ((self.downsample, self.downsample),) * (self.levels - 1)
        return [(self.input_shape[0], h, w) for h, w in coarser(finest_HW, factors)]

    @property
    def block_options(self) -> BlockOptions:
        """The fields that every block shares."""
        return BlockOptions(**{f.name: getattr(self, f.name) for f in fields(BlockOptions)})

    def expect_input(self, x_BTHWC: Tensor) -> None:
        """Raise a ValueError unless these are frames of `input_shape`."""
        if tuple(x_BTHWC.shape[1:]) != self.input_shape:
            raise ValueError(
                f"expected x of shape (batch, *input_shape={self.input_shape}), "
                f"found {tuple(x_BTHWC.shape)}"
            )


_GLOBALS = {"num_global_vectors": 8, "use_global_self_attn": True}
_DEEP = {"enc_depth": (4, 4), "dec_depth": (4, 4)}
_SEVIR = EarthformerConfig(
    input_shape=(13, 384, 384, 1),
    target_shape=(12, 384, 384, 1),
    base_units=128,
    stem=Stem("stack_conv", scales=(3, 2, 2), convs=(2, 2, 2), dims=(16, 64, 128)),
)
_ENSO = EarthformerConfig(
    input_shape=(12, 24, 48, 1),
    target_shape=(14, 24, 48, 1),
    stem=Stem("conv", scales=((1, 2),), convs=(2,), final_convs=(1,)),
)

PRESETS: dict[str, EarthformerConfig] = {
    # The published checkpoints.
    "sevir": replace(_SEVIR, **_GLOBALS, separate_global_qkv=True),
    "enso": _ENSO,
    # The sizes of the paper's tables.
    "sevir-paper": replace(_SEVIR, **_GLOBALS, enc_depth=(2, 2), dec_depth=(2, 2)),
    "enso-paper": replace(_ENSO, **_DEEP, **_GLOBALS),
    "sevir-lr": replace(
        _SEVIR,
        input_shape=(7, 128, 128, 1),
        target_shape=(6, 128, 128, 1),
        base_units=64,
        stem=Stem("stack_conv", scales=(1, 2, 2), convs=(2, 2, 2), dims=(4, 16, 64)),
    ),
    "nbody": replace(
        _ENSO,
        input_shape=(10, 64, 64, 1),
        target_shape=(10, 64, 64, 1),
        **_DEEP,
        pos_embed_type="t+hw",
        stem=Stem("conv", scales=(2,), convs=(2,), final_convs=(1,)),
    ),
    # Small enough for a test, with global vectors and a padded decoder.
    "tiny": EarthformerConfig(
        input_shape=(4, 8, 8, 1),
        target_shape=(3, 8, 8, 1),
        base_units=32,
        num_heads=2,
        num_global_vectors=2,
        use_global_self_attn=True,
    ),
}


def repeat(depth: int, block: Callable[..., nn.Module], *args: object) -> nn.ModuleList:
    """`depth` blocks of the same shape, each with its own weights."""
    return nn.ModuleList(block(*args) for _ in range(depth))


class Encoder(nn.Module):
    """Levels of cuboid self-attention, fine to coarse; every level's output is a memory."""

    def __init__(self, config: EarthformerConfig):
        super().__init__()
        options, n = config.block_options, config.downsample
        self.blocks = nn.ModuleList()
        levels = config.widths, config.level_shapes, config.enc_attn_patterns, config.enc_depth
        for dim, shape_THW, name, depth in zip(*levels, strict=True):
            pattern = self_pattern(name, shape_THW)
            self.blocks.append(repeat(depth, SelfAttentionBlock, dim, shape_THW, pattern, options))
        widths = list(pairwise(config.widths))
        self.down_layers = nn.ModuleList(PatchMerging(a, b, (1, n, n)) for a, b in widths)
        if config.num_global_vectors:
            self.down_layer_global_proj = nn.ModuleList(nn.Linear(a, b) for a, b in widths)

    def forward(self, x_BTHWC: Tensor, g_BKC: Tensor | None) -> list[Tensor]:
        memory = []  # finest level first
        for i, level in enumerate(self.blocks):
            if i > 0:
                x_BTHWC = self.down_layers[i - 1](x_BTHWC)  # H, W down; C up
                g_BKC = None if g_BKC is None else self.down_layer_global_proj[i - 1](g_BKC)
            for block in level:
                x_BTHWC, g_BKC = block(x_BTHWC, g_BKC)
            memory.append(x_BTHWC)
        return memory


class Decoder(nn.Module):
    """Levels coarse to fine: self-attention, cross-attention to the level's memory, upsampling.

    The coarsest level starts with its cross-attention, and has one self-attention block less.
    Cuboids are those of the encoder's grids, although the number of frames may differ.
    """

    def __init__(self, config: EarthformerConfig):
        super().__init__()
        options = replace(config.block_options, num_global_vectors=0)
        self.self_blocks, self.cross_blocks = nn.ModuleList(), nn.ModuleList()
        for i, (dim, memory_THW) in enumerate(zip(config.widths, config.level_shapes, strict=True)):
            shape_THW = (config.target_shape[0], *memory_THW[1:])
            within = self_pattern(config.dec_self_attn_patterns[i], memory_THW)
            across = cross_pattern(config.dec_cross_attn_patterns[i], memory_THW)
            depth, is_coarsest = config.dec_depth[i], i == config.levels - 1
            shared = dim, shape_THW, within, options
            self.self_blocks.append(repeat(depth - is_coarsest, SelfAttentionBlock, *shared))
            shared = dim, shape_THW, memory_THW, across, options
            self.cross_blocks.append(repeat(depth, CrossAttentionBlock, *shared))
        self.upsample_layers = nn.ModuleList(
            Upsampling(b, a, shape_THW[1:])  # the coarsest level's shape is left over
            for (a, b), shape_THW in zip(pairwise(config.widths), config.level_shapes, strict=False)
        )

    def forward(self, z_BTHWC: Tensor, memory: Sequence[Tensor]) -> Tensor:
        coarsest = len(memory) - 1
        for i in range(coarsest, -1, -1):
            cross_blocks = list(self.cross_blocks[i])
            if i == coarsest:  # the query knows nothing of the sample yet
                z_BTHWC = cross_blocks.pop(0)(z_BTHWC, memory[i])
            for within, across in zip(self.self_blocks[i], cross_blocks, strict=True):
                z_BTHWC, _ = within(z_BTHWC)
                z_BTHWC = across(z_BTHWC, memory[i])
            if i > 0:
                z_BTHWC = self.upsample_layers[i - 1](z_BTHWC)  # to the grid of the next memory
        return z_BTHWC


class Earthformer(nn.Module):
    """The network: (B, T_in, H, W, C_in) to (B, T_out, H, W, C_out), in any floating dtype.

    Examples
    --------
    >>> model = Earthformer(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 8, 8, 1)).shape
    torch.Size([1, 3, 8, 8, 1])
    """

    samples = False

    def __init__(self, config: EarthformerConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.input_shape[0], config.target_shape[0]
        stem, base = config.stem, config.base_units
        self.initial_encoder = InitialEncoder(stem, config.input_shape[-1], base)
        self.enc_pos_embed = PositionEmbedding(base, config.level_shapes[0], config.pos_embed_type)
        if k := config.num_global_vectors:
            self.init_global_vectors = nn.Parameter(torch.empty(k, base))
            nn.init.trunc_normal_(self.init_global_vectors, std=0.02)
        self.encoder = Encoder(config)
        width, (_, h, w) = config.widths[-1], config.level_shapes[-1]
        self.query_shape = (1, self.out_len, h, w, width)
        self.dec_pos_embed = PositionEmbedding(width, (self.out_len, h, w), config.pos_embed_type)
        self.z_proj = nn.Linear(width, width)
        self.decoder = Decoder(config)
        self.final_decoder = FinalDecoder(stem, base, config.target_shape[1:3])
        self.dec_final_proj = nn.Linear(stem.widths(base)[0], config.target_shape[-1])
        self.apply(init_weights)  # the global vectors, a plain parameter, have theirs

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        self.config.expect_input(x_BTHWC)
        batch, g_BKC = x_BTHWC.shape[0], None
        if self.config.num_global_vectors:
            g_BKC = self.init_global_vectors.expand(batch, -1, -1)
        x_BTHWC = self.enc_pos_embed(self.initial_encoder(x_BTHWC))  # H, W, C of the finest level
        memory = self.encoder(x_BTHWC, g_BKC)
        # the query is zeros with a position embedding, at the coarsest level
        z_1THWC = self.z_proj(self.dec_pos_embed(x_BTHWC.new_zeros(self.query_shape)))
        y_BTHWC = self.decoder(z_1THWC.expand(batch, -1, -1, -1, -1), memory)
        return self.dec_final_proj(self.final_decoder(y_BTHWC))  # H, W, C of the target

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast from x against the target y; a scalar."""
        return F.mse_loss(self(x_BTHWC), y_BTHWC)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast without dropout, whatever mode the model is in; gradients stay on.

        The network is deterministic: `generator`, part of every model's contract, is unused.
        """
        if not self.training:  # switching modes would touch every module
            return self(x_BTHWC)
        self.eval()
        try:
            return self(x_BTHWC)
        finally:
            self.train()
