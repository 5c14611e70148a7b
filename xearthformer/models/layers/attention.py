"""Cuboid attention, from its layers to the blocks that Earthformer and its kin are built of.

After Gao et al. (2022), "Earthformer", section 3; attribute names are the published checkpoints'.
Legend of the shape suffixes: B batch, T time, H W space, C channels, K global vectors, N heads,
D = C/N channels of a head, M cuboids in a grid, V elements of a cuboid, S elements of the memory's,
P projections (of q, k, v) in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .checks import expect_counts, expect_one_of
from .cuboid import Cuboid, Size, attention_mask, masked_softmax, relative_position_index

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "leaky": lambda: nn.LeakyReLU(0.1),
}
PADDING_TYPES = ("zeros", "ignore")
POS_EMBED_TYPES = ("t+h+w", "t+hw")

QKV = Sequence[Tensor]  # queries, keys, values, each (B, N, ..., D)


@dataclass(frozen=True)
class BlockOptions:
    """Options that all blocks of a network share; the names are those of `EarthformerConfig`."""

    num_heads: int = 4
    dropout: float = 0.0
    ffn_activation: str = "gelu"
    padding_type: str = "zeros"
    num_global_vectors: int = 0
    use_global_self_attn: bool = False
    separate_global_qkv: bool = False

    def __post_init__(self) -> None:
        expect_counts("num_heads", (self.num_heads,))
        expect_one_of("ffn_activation", self.ffn_activation, ACTIVATIONS)
        expect_one_of("padding_type", self.padding_type, PADDING_TYPES)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected 0 <= dropout < 1, found {self.dropout!r}")
        if self.num_global_vectors != 0:
            expect_counts("num_global_vectors", (self.num_global_vectors,))

    @property
    def ignore_padding(self) -> bool:
        """Whether attention skips padded elements; otherwise they count as zeros."""
        return self.padding_type == "ignore"


class PositionEmbedding(nn.Module):
    """Adds a learned vector for every place of a grid, a sum over its axes ("t+h+w" or "t+hw")."""

    def __init__(self, dim: int, shape_THW: Size, kind: str):
        super().__init__()
        t, self.height, self.width = shape_THW
        self.kind = kind
        self.T_embed = nn.Embedding(t, dim)
        if kind == "t+h+w":
            self.H_embed = nn.Embedding(self.height, dim)
            self.W_embed = nn.Embedding(self.width, dim)
        else:
            self.HW_embed = nn.Embedding(self.height * self.width, dim)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        if self.kind == "t+h+w":
            place_HWC = self.H_embed.weight[:, None] + self.W_embed.weight
        else:
            place_HWC = rearrange(self.HW_embed.weight, "(h w) c -> h w c", h=self.height)
        return x_BTHWC + self.T_embed.weight[:, None, None] + place_HWC


class FeedForward(nn.Module):
    """Pre-norm residual feed-forward: x + ffn_2(act(ffn_1(norm x))), 4C wide inside."""

    def __init__(self, dim: int, options: BlockOptions):
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.ffn_1 = nn.Linear(dim, 4 * dim)
        self.ffn_2 = nn.Linear(4 * dim, dim)
        self.activation = ACTIVATIONS[options.ffn_activation]()
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.ffn_1(self.layer_norm(x))))
        return x + self.dropout(self.ffn_2(hidden))  # hidden is (..., 4C)


class CuboidAttention(nn.Module):
    """Base of self- and cross-attention: norm, heads, relative position bias, projection out."""

    relative_position_index: Tensor
    mask: Tensor | None

    def __init__(self, dim: int, bias_size: Size, options: BlockOptions):
        super().__init__()
        self.num_heads = options.num_heads
        self.head_dim = dim // options.num_heads
        self.q_factor = self.head_dim**-0.5  # scores of variance 1 (Vaswani et al. 2017)
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(options.dropout)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(prod(2 * b - 1 for b in bias_size), options.num_heads)
        )
        self.register_buffer("relative_position_index", relative_position_index(bias_size))

    def heads(self, x: Tensor) -> Tensor:
        """Split channels into projections and heads, (B, ..., P N D) to (P, B, N, ..., D)."""
        return rearrange(x, "b ... (p n d) -> p b n ... d", n=self.num_heads, d=self.head_dim)

    def bias(self, v: int, s: int) -> Tensor:
        """The position bias of every pair of elements, (N, V, S)."""
        # A cuboid smaller than the configured one takes the index's top-left corner as it is: the
        # published weights were trained so.
        index_VS = self.relative_position_index[:v, :s]
        return rearrange(self.relative_position_bias_table[index_VS], "v s n -> n v s")

    def score(self, q_BNMVD: Tensor, k_BNMSD: Tensor) -> Tensor:
        """Products of queries and keys with the position bias, (B, N, M, V, S)."""
        bias_NVS = self.bias(q_BNMVD.shape[-2], k_BNMSD.shape[-2])
        return self.q_factor * (q_BNMVD @ k_BNMSD.mT) + bias_NVS[:, None]

    def out(self, x_BNMVD: Tensor) -> Tensor:
        """Join the heads and project: x_BMVC."""
        return self.dropout(self.proj(rearrange(x_BNMVD, "b n m v d -> b m v (n d)")))


class CuboidSelfAttention(CuboidAttention):
    """Attention inside each cuboid of a grid, and to and from the global vectors if there are any.

    With `num_global_vectors` > 0 in the options the layer updates the global vectors too.
    """

    global_mask: Tensor | None

    def __init__(self, dim: int, shape_THW: Size, cuboid: Cuboid, options: BlockOptions):
        super().__init__(dim, cuboid.size, options)
        self.grid = cuboid.on(shape_THW)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.use_global_self_attn = options.use_global_self_attn
        self.separate_global_qkv = options.separate_global_qkv
        mask = attention_mask(self.grid, self.grid, options.ignore_padding)  # once, not per step
        global_mask = None
        if k := options.num_global_vectors:
            self._add_global_layers(dim)
            if mask is not None:
                mask = F.pad(mask, (0, k), value=True)  # (M, V, V + K): all global vectors are seen
            if options.ignore_padding and self.grid.is_padded:
                seen = k if self.use_global_self_attn else 0
                inside = self.grid.inside().flatten()
                global_mask = F.pad(inside, (0, seen), value=True)  # (M V + K)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("global_mask", global_mask, persistent=False)

    def _add_global_layers(self, dim: int) -> None:
        self.global_vec_norm = nn.LayerNorm(dim)
        self.global_proj = nn.Linear(dim, dim)
        if not self.separate_global_qkv:
            self.global_qkv = nn.Linear(dim, 3 * dim, bias=False)
            return
        self.l2g_q_net = nn.Linear(dim, dim, bias=False)
        self.l2g_global_kv_net = nn.Linear(dim, 2 * dim, bias=False)
        self.g2l_global_q_net = nn.Linear(dim, dim, bias=False)
        self.g2l_k_net = nn.Linear(dim, dim, bias=False)
        self.g2l_v_net = nn.Linear(dim, dim, bias=False)
        if self.use_global_self_attn:
            self.g2g_global_qkv_net = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, x_BTHWC: Tensor, g_BKC: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The updates of the elements and of the global vectors (None without them)."""
        x_BMVC = self.grid.cut(self.norm(x_BTHWC))
        qkv = self.heads(self.qkv(x_BMVC))  # three of (B, N, M, V, D)
        if g_BKC is None:
            q, k, v = qkv
            weight = self.dropout(masked_softmax(self.score(q, k), self.mask))
            return self.grid.join(self.out(weight @ v)), None
        l2g, g2l, g2g = self._global_qkv(x_BMVC, self.global_vec_norm(g_BKC), qkv)
        x_BNMVD = self._attend_locals(qkv, l2g)
        g_BKC = rearrange(self._attend_globals(g2l, g2g), "b n k d -> b k (n d)")
        return self.grid.join(self.out(x_BNMVD)), self.dropout(self.global_proj(g_BKC))

    def _global_qkv(self, x_BMVC: Tensor, g_BKC: Tensor, qkv: QKV) -> tuple[QKV, QKV, QKV | None]:
        """q, k, v of three roles: local to global, global to local, global to global (if used)."""
        heads = self.heads
        if not self.separate_global_qkv:
            (q, k, v), (gq, gk, gv) = qkv, heads(self.global_qkv(g_BKC))
            return (q, gk, gv), (gq, k, v), (gq, gk, gv) if self.use_global_self_attn else None
        l2g = *heads(self.l2g_q_net(x_BMVC)), *heads(self.l2g_global_kv_net(g_BKC))
        k_and_v = *heads(self.g2l_k_net(x_BMVC)), *heads(self.g2l_v_net(x_BMVC))
        g2l = *heads(self.g2l_global_q_net(g_BKC)), *k_and_v
        g2g = heads(self.g2g_global_qkv_net(g_BKC)) if self.use_global_self_attn else None
        return l2g, g2l, g2g

    def _attend_locals(self, local: QKV, l2g: QKV) -> Tensor:
        """Elements attend to [their cuboid | the global vectors] under one softmax: x_BNMVD."""
        q, k, v = local
        gq, gk_BNKD, gv_BNKD = l2g
        near = self.score(q, k)  # (B, N, M, V, V)
        far = self.q_factor * torch.einsum("bnmvd,bnkd->bnmvk", gq, gk_BNKD)  # no place, no bias
        weight = self.dropout(masked_softmax(torch.cat([near, far], dim=-1), self.mask))
        near, far = weight.split([near.shape[-1], far.shape[-1]], dim=-1)
        return near @ v + torch.einsum("bnmvk,bnkd->bnmvd", far, gv_BNKD)

    def _attend_globals(self, g2l: QKV, g2g: QKV | None) -> Tensor:
        """Global vectors attend to [all elements | global vectors] under one softmax: g_BNKD."""
        q_BNKD, k, v = g2l
        k, v = (rearrange(each, "b n m v d -> b n (m v) d") for each in (k, v))
        score = self.q_factor * (q_BNKD @ k.mT)  # (B, N, K, M V)
        if g2g is not None:
            gq, gk, gv = g2g
            score = torch.cat([score, self.q_factor * (gq @ gk.mT)], dim=-1)
            v = torch.cat([v, gv], dim=-2)  # (B, N, M V + K, D)
        return self.dropout(masked_softmax(score, self.global_mask)) @ v


class CuboidCrossAttention(CuboidAttention):
    """Attention of the decoder's cuboids to the encoder's memory in the same places.

    The grids of query and memory differ in time only; a cuboid spans the whole of time in both.
    Global vectors take no part.
    """

    def __init__(
        self, dim: int, shape_THW: Size, memory_THW: Size, cuboid: Cuboid, options: BlockOptions
    ):
        _, bh, bw = cuboid.size
        # a position bias for the frames of both, as the published weights have it
        super().__init__(dim, (shape_THW[0] + memory_THW[0], bh, bw), options)
        self.grid, self.memory_grid = (
            Cuboid((shape[0], bh, bw), cuboid.strategy, cuboid.shift).on(shape)
            for shape in (shape_THW, memory_THW)
        )
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.kv_proj = nn.Linear(dim, 2 * dim, bias=False)
        mask = attention_mask(self.grid, self.memory_grid, options.ignore_padding)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x_BTHWC: Tensor, memory_BTHWC: Tensor) -> Tensor:
        """The update of the query's elements, x_BTHWC."""
        (q,) = self.heads(self.q_proj(self.grid.cut(self.norm(x_BTHWC))))  # (B, N, M, V, D)
        k, v = self.heads(self.kv_proj(self.memory_grid.cut(memory_BTHWC)))  # (B, N, M, S, D)
        weight = self.dropout(masked_softmax(self.score(q, k), self.mask))
        return self.grid.join(self.out(weight @ v))


# Blocks: the layers of a pattern one after another, each with its feed-forward.


class SelfAttentionBlock(nn.Module):
    """For each cuboid of a pattern: x += attention(x), x = feed-forward(x).

    The global vectors are updated by each attention too, and have no feed-forward.
    """

    def __init__(self, dim: int, shape_THW: Size, pattern: Sequence[Cuboid], options: BlockOptions):
        super().__init__()
        self.attn_l = nn.ModuleList(
            CuboidSelfAttention(dim, shape_THW, cuboid, options) for cuboid in pattern
        )
        self.ffn_l = nn.ModuleList(FeedForward(dim, options) for _ in pattern)

    def forward(self, x_BTHWC: Tensor, g_BKC: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        for attention, feed_forward in zip(self.attn_l, self.ffn_l, strict=True):
            dx_BTHWC, dg_BKC = attention(x_BTHWC, g_BKC)
            x_BTHWC = feed_forward(x_BTHWC + dx_BTHWC)
            g_BKC = None if g_BKC is None else g_BKC + dg_BKC
        return x_BTHWC, g_BKC


class CrossAttentionBlock(nn.Module):
    """For each cuboid of a pattern: x += attention(x, memory), x = feed-forward(x)."""

    def __init__(
        self,
        dim: int,
        shape_THW: Size,
        memory_THW: Size,
        pattern: Sequence[Cuboid],
        options: BlockOptions,
    ):
        super().__init__()
        self.attn_l = nn.ModuleList(
            CuboidCrossAttention(dim, shape_THW, memory_THW, cuboid, options) for cuboid in pattern
        )
        self.ffn_l = nn.ModuleList(FeedForward(dim, options) for _ in pattern)

    def forward(self, x_BTHWC: Tensor, memory_BTHWC: Tensor) -> Tensor:
        for attention, feed_forward in zip(self.attn_l, self.ffn_l, strict=True):
            x_BTHWC = feed_forward(x_BTHWC + attention(x_BTHWC, memory_BTHWC))
        return x_BTHWC


def init_weights(module: nn.Module) -> None:
    """Set the weights with which training from scratch starts; give it to `nn.Module.apply`.

    Linear: Kaiming normal, fan in, gain 1. Convolution: Kaiming normal, fan out, LeakyReLU(0.1).
    Biases 0, norms 1 and 0. Embeddings and bias tables: truncated normal, std 0.02.
    """
    match module:
        case nn.Linear():
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
        case nn.Conv2d():
            nn.init.kaiming_normal_(module.weight, a=0.1, mode="fan_out")
        case nn.Embedding():
            nn.init.trunc_normal_(module.weight, std=0.02)
        case CuboidAttention():
            nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
