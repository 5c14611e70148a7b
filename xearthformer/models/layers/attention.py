"""What Earthformer, and the networks after it, are built of: cuboid attention and its company.

After Gao et al. (2022), "Earthformer", section 3; attribute names are the published checkpoints'.
Legend of the shape suffixes: B batch, T time, H W space, C channels, K global vectors, N heads,
D = C/N channels of a head, M cuboids in a grid, V elements of a cuboid, S elements of the memory's,
F frames (B and T together).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .cuboid import Cuboid, Size, attention_mask, masked_softmax, relative_position_index

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "leaky": lambda: nn.LeakyReLU(0.1),
}
PADDING_TYPES = ("zeros", "ignore")
POS_EMBED_TYPES = ("t+h+w", "t+hw")

QKV = Sequence[Tensor]  # queries, keys, values, each (B, N, ..., D)


def expect_one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise a ValueError unless `value` is one of the allowed."""
    if value not in (allowed := tuple(allowed)):
        raise ValueError(f"expected {name} to be one of {allowed}, found {value!r}")


def expect_counts(name: str, values: object, length: int | None = None) -> None:
    """Raise a ValueError unless `values` is a tuple of whole numbers >= 1, this many of them."""
    fits = isinstance(values, tuple) and len(values) == (length or len(values) or 1)
    if not fits or not all(isinstance(value, int) and value >= 1 for value in values):
        many = f"{length} " if length else ""
        raise ValueError(f"expected {name} to be {many}whole numbers from 1 on, found {values!r}")


def expect_fields(kind: type, given: Mapping[str, object]) -> None:
    """Raise a ValueError unless `given` can fill the dataclass `kind`."""
    known = {field.name: field for field in fields(kind)}
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"expected fields of {kind.__name__}, {list(known)}, found {unknown}")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"expected {needed} for a {kind.__name__}, missing: {missing}")


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a network have in common; the names are `EarthformerConfig`'s."""

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
        """Whether padded elements are hidden from every attention, and not just zero."""
        return self.padding_type == "ignore"


# Layers around the attention.


class PositionEmbedding(nn.Module):
    """A learned vector for every place of a grid, summed over its axes ("t+h+w" or "t+hw")."""

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
            where_HWC = self.H_embed.weight[:, None] + self.W_embed.weight
        else:
            where_HWC = rearrange(self.HW_embed.weight, "(h w) c -> h w c", h=self.height)
        return x_BTHWC + self.T_embed.weight[:, None, None] + where_HWC


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
        return x + self.dropout(self.ffn_2(hidden))


def per_frame(net: Callable[[Tensor], Tensor], x_BTHWC: Tensor) -> Tensor:
    """Apply a network of images (B, C, H, W) to every frame."""
    x_FCHW = net(rearrange(x_BTHWC, "b t h w c -> (b t) c h w"))
    return rearrange(x_FCHW, "(b t) c h w -> b t h w c", t=x_BTHWC.shape[1])


def conv_block(channels: Sequence[int], groups: int, activation: str) -> nn.Sequential:
    """3x3 convolution, group norm, activation, once for every step from one width to the next."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [
            nn.Conv2d(c_in, c_out, 3, padding=1),
            nn.GroupNorm(groups, c_out),
            ACTIVATIONS[activation](),
        ]
    return nn.Sequential(*layers)


class PatchMerging(nn.Module):
    """Downsampling: fold (dt, dh, dw) neighbours into channels, normalise, project.

    An axis is padded with zeros at its end to a multiple of its factor, in both padding modes.
    """

    def __init__(self, dim_in: int, dim_out: int, factor: Size):
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(prod(factor) * dim_in)
        self.reduction = nn.Linear(prod(factor) * dim_in, dim_out, bias=False)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        pt, ph, pw = (-n % f for n, f in zip(x_BTHWC.shape[1:4], self.factor, strict=True))
        x_BTHWC = F.pad(x_BTHWC, (0, 0, 0, pw, 0, ph, 0, pt))
        folded = rearrange(
            x_BTHWC,
            "b (t dt) (h dh) (w dw) c -> b t h w (dt dh dw c)",
            **dict(zip(("dt", "dh", "dw"), self.factor, strict=True)),
        )
        return self.reduction(self.norm(folded))


class Upsampling(nn.Module):
    """Nearest-neighbour resize of each frame to (H, W), then a 3x3 convolution."""

    def __init__(self, dim_in: int, dim_out: int, size_HW: tuple[int, int]):
        super().__init__()
        self.size_HW = size_HW
        self.conv = nn.Conv2d(dim_in, dim_out, 3, padding=1)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return per_frame(lambda x_FCHW: self.conv(F.interpolate(x_FCHW, self.size_HW)), x_BTHWC)


# Cuboid attention.


class CuboidAttention(nn.Module):
    """What self- and cross-attention share: norm, heads, relative position bias, projection out."""

    relative_position_index: Tensor
    mask: Tensor | None

    def __init__(self, dim: int, bias_size: Size, options: BlockOptions):
        super().__init__()
        self.num_heads = options.num_heads
        self.head_dim = dim // options.num_heads
        self.scale = self.head_dim**-0.5
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(options.dropout)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(prod(2 * b - 1 for b in bias_size), options.num_heads)
        )
        self.register_buffer("relative_position_index", relative_position_index(bias_size))

    def heads(self, x: Tensor) -> Tensor:
        """Split channels into heads, and first into the one to three of q, k, v they hold.

        (B, ..., P N D) to (P, B, N, ..., D): unpack it along P.
        """
        return rearrange(x, "b ... (p n d) -> p b n ... d", n=self.num_heads, d=self.head_dim)

    def score(self, q_BNMVD: Tensor, k_BNMSD: Tensor) -> Tensor:
        """Scaled products and position bias, (B, N, M, V, S).

        A cuboid smaller than the configured one uses the top-left corner of the index as it is,
        a habit of the published networks.
        """
        index_VS = self.relative_position_index[: q_BNMVD.shape[-2], : k_BNMSD.shape[-2]]
        bias_NVS = rearrange(self.relative_position_bias_table[index_VS], "v s n -> n v s")
        return self.scale * (q_BNMVD @ k_BNMSD.mT) + bias_NVS[:, None]

    def out(self, x_BNMVD: Tensor) -> Tensor:
        """Bring the heads together and project: x_BMVC."""
        return self.dropout(self.proj(rearrange(x_BNMVD, "b n m v d -> b m v (n d)")))


class CuboidSelfAttention(CuboidAttention):
    """Attention inside each cuboid, to and from global vectors if there are any.

    Parameters
    ----------
    dim : int
        Channels C.
    shape_THW : (T, H, W)
        The grid it works on; its masks are built here, once.
    cuboid : Cuboid
        The cuboid, as a pattern names it.
    options : BlockOptions
        With `num_global_vectors` > 0 the layer updates the global vectors too.
    """

    global_mask: Tensor | None

    def __init__(self, dim: int, shape_THW: Size, cuboid: Cuboid, options: BlockOptions):
        super().__init__(dim, cuboid.size, options)
        self.grid = cuboid.on(shape_THW)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.use_global_self_attn = options.use_global_self_attn
        self.separate_global_qkv = options.separate_global_qkv
        mask = attention_mask(self.grid, self.grid, options.ignore_padding)
        global_mask = None
        if k := options.num_global_vectors:
            self._add_global_layers(dim)
            if mask is not None:
                mask = F.pad(mask, (0, k), value=True)
            if options.ignore_padding and self.grid.is_padded:
                seen = k if self.use_global_self_attn else 0
                global_mask = F.pad(self.grid.inside().flatten(), (0, seen), value=True)
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
        qkv = self.heads(self.qkv(x_BMVC))
        if g_BKC is None:
            q, k, v = qkv
            weight = self.dropout(masked_softmax(self.score(q, k), self.mask))
            return self.grid.join(self.out(weight @ v)), None
        l2g, g2l, g2g = self._global_qkv(x_BMVC, self.global_vec_norm(g_BKC), qkv)
        x_BNMVD = self._attend_locals(qkv, l2g)
        g_BKC = rearrange(self._attend_globals(g2l, g2g), "b n k d -> b k (n d)")
        return self.grid.join(self.out(x_BNMVD)), self.dropout(self.global_proj(g_BKC))

    def _global_qkv(self, x_BMVC: Tensor, g_BKC: Tensor, qkv: QKV) -> tuple[QKV, QKV, QKV | None]:
        """The three roles: local to global, global to local, global to global (if it is used)."""
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
        """An element sees [its cuboid | the global vectors] under one softmax: x_BNMVD."""
        q, k, v = local
        gq, gk_BNKD, gv_BNKD = l2g
        near = self.score(q, k)
        far = self.scale * torch.einsum("bnmvd,bnkd->bnmvk", gq, gk_BNKD)
        weight = self.dropout(masked_softmax(torch.cat([near, far], dim=-1), self.mask))
        near, far = weight.split([near.shape[-1], far.shape[-1]], dim=-1)
        return near @ v + torch.einsum("bnmvk,bnkd->bnmvd", far, gv_BNKD)

    def _attend_globals(self, g2l: QKV, g2g: QKV | None) -> Tensor:
        """A global vector sees [every element | the global vectors] under one softmax: g_BNKD."""
        q_BNKD, k, v = g2l
        k, v = (rearrange(each, "b n m v d -> b n (m v) d") for each in (k, v))
        score = self.scale * (q_BNKD @ k.mT)
        if g2g is not None:
            gq, gk, gv = g2g
            score = torch.cat([score, self.scale * (gq @ gk.mT)], dim=-1)
            v = torch.cat([v, gv], dim=-2)
        return self.dropout(masked_softmax(score, self.global_mask)) @ v


class CuboidCrossAttention(CuboidAttention):
    """Attention of the decoder's cuboids to the encoder's memory in the same places.

    Parameters
    ----------
    dim : int
        Channels C of query and memory.
    shape_THW, memory_THW : (T, H, W)
        Their grids, which differ in time only. A cuboid spans the whole of time in both.
    cuboid : Cuboid
        The cuboid, as a pattern names it.
    max_T : int
        The reach of the position bias in time: the model's frames in and out together.
    options : BlockOptions
        Global vectors take no part.
    """

    def __init__(
        self,
        dim: int,
        shape_THW: Size,
        memory_THW: Size,
        cuboid: Cuboid,
        max_T: int,
        options: BlockOptions,
    ):
        _, bh, bw = cuboid.size
        super().__init__(dim, (max_T, bh, bw), options)
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
        (q,) = self.heads(self.q_proj(self.grid.cut(self.norm(x_BTHWC))))
        k, v = self.heads(self.kv_proj(self.memory_grid.cut(memory_BTHWC)))
        weight = self.dropout(masked_softmax(self.score(q, k), self.mask))
        return self.grid.join(self.out(weight @ v))


# Blocks: a pattern's layers one after another, each with its feed-forward.


class SelfAttentionBlock(nn.Module):
    """For each cuboid of a pattern: x += attention(x), x = feed-forward(x); so too the globals,
    which have no feed-forward."""

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
        max_T: int,
        options: BlockOptions,
    ):
        super().__init__()
        self.attn_l = nn.ModuleList(
            CuboidCrossAttention(dim, shape_THW, memory_THW, cuboid, max_T, options)
            for cuboid in pattern
        )
        self.ffn_l = nn.ModuleList(FeedForward(dim, options) for _ in pattern)

    def forward(self, x_BTHWC: Tensor, memory_BTHWC: Tensor) -> Tensor:
        for attention, feed_forward in zip(self.attn_l, self.ffn_l, strict=True):
            x_BTHWC = feed_forward(x_BTHWC + attention(x_BTHWC, memory_BTHWC))
        return x_BTHWC


def init_weights(module: nn.Module) -> None:
    """How a network starts when it is trained from scratch; give it to `nn.Module.apply`.

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
