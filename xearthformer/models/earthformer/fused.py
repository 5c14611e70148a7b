"""`fuse` turns a trained Earthformer into an equal network that runs faster on a CPU.

The same function by other arithmetic. Linear maps with no nonlinearity between them become one,
constants are computed once, and the work goes sample by sample, frame by frame, a few cuboids at a
time, so that it stays in the caches, with these parts next to one another. The plain network is in
earthformer.py, layers/attention.py and layers/stem.py; the speed of both in benchmarks/README.md.
Legend of the shape suffixes: T time, H W space, C channels, K global vectors, N heads, D = C/N
channels of a head, J = N K, M cuboids, V elements of a cuboid, S keys of a cuboid, R elements of
all cuboids, B = M N cuboids and heads, F frames, P projections in one. There is no batch: each
sample goes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import (
    CuboidAttention,
    CuboidCrossAttention,
    CuboidSelfAttention,
    FeedForward,
)
from ..layers.parallel import each
from ..layers.stem import coarser
from .earthformer import Earthformer, EarthformerConfig
from .fused_stem import Decode, Encode, in_place, upsampling

# Numbers in the widest tensor of a feed-forward. Fewer, and there are more calls than work; more,
# and cores go without a part, and the system is asked for memory again and again.
CHUNK = 2**20
# Numbers at a network's finest level from which the fused one is faster. On one thread the plain
# one took .45 times its time at 41 thousand of them, 1.4 times at 166 (batches of 4).
SMALLEST = 100_000
# Torch's softmax takes ten times longer per number over shorter rows: they get keys of weight zero.
SHORTEST_ROW = 16
NEVER = -1e30  # the score of such a key; its exponential is exactly zero


def fuse(model: nn.Module) -> nn.Module:
    """Return an equal network that is faster on a CPU, or the model itself if there is none.

    Only an Earthformer in evaluation mode, on the CPU, has one. The fused network has `predict`,
    `config`, `in_len` and `out_len` of the model, and may share weights with it; it is for
    inference only.

    Examples
    --------
    >>> from xearthformer.models.earthformer.earthformer import PRESETS
    >>> model = Earthformer(PRESETS["tiny"]).eval().requires_grad_(False)
    >>> x_BTHWC = torch.rand(2, 4, 8, 8, 1)
    >>> torch.testing.assert_close(fuse(model).predict(x_BTHWC), model.predict(x_BTHWC))
    """
    if type(model) is not Earthformer or model.training or model.z_proj.weight.device.type != "cpu":
        return model
    with torch.no_grad():
        return FusedEarthformer(model).eval().requires_grad_(False)


def is_faster(config: EarthformerConfig) -> bool:
    """Whether the fused network is faster than the plain one, which a small one isn't.

    Examples
    --------
    >>> from xearthformer.models.earthformer.earthformer import PRESETS
    >>> [is_faster(PRESETS[name]) for name in ("sevir", "tiny")]
    [True, False]
    """
    return prod(config.level_shapes[0]) * config.base_units >= SMALLEST


class FusedFeedForward(nn.Module):
    """The feed-forward, its activation in place, without dropout."""

    def __init__(self, plain: FeedForward):
        super().__init__()
        self.norm, self.widen, self.narrow = plain.layer_norm, plain.ffn_1, plain.ffn_2
        self.activation = in_place(plain.activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.activation(self.widen(self.norm(x))))


class LocalAttention(nn.Module):
    """Softmax attention inside cuboids, from queries, keys and values.

    The keys are [the cuboid's own | the global vectors | zero keys]. The score of a zero key is its
    bias alone. One such key stands for all elements of a padding, its bias the logarithm of the sum
    of the exponentials of theirs; others, of weight zero, fill up short rows.
    """

    def __init__(self, bias_NVS: Tensor, num_globals: int = 0, padding_NVP: Tensor | None = None):
        super().__init__()
        n, v, _ = bias_NVS.shape
        columns = [bias_NVS, bias_NVS.new_zeros(n, v, num_globals)]
        if padding_NVP is not None:
            columns.append(padding_NVP.logsumexp(-1, keepdim=True))
        missing = SHORTEST_ROW - sum(column.shape[-1] for column in columns)
        columns.append(bias_NVS.new_full((n, v, max(0, missing)), NEVER))
        self.register_buffer("bias_NVS", torch.cat(columns, dim=-1))

    def forward(
        self, q_MVC: Tensor, kv_MSC: Tensor, far: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Values x_MVC; `far` are the scores (M, V, J) and values (N, K, D) of global vectors."""
        (n, v, s), m = self.bias_NVS.shape, len(q_MVC)
        q_BVD = rearrange(q_MVC, "m v (n d) -> (m n) v d", n=n)
        kv = rearrange(kv_MSC, "m s (p n d) -> p m n s d", p=2, n=n)  # keys, then values
        # keys and values beyond the cuboid's own
        more = kv.new_zeros(2, 1, n, s - kv.shape[-2], kv.shape[-1])
        score_MNVS = self.bias_NVS.expand(m, n, v, s).clone()
        if far is not None:
            far_MVJ, values_NKD = far
            more[1, 0, :, : values_NKD.shape[1]] = values_NKD
            far_MNVK = rearrange(far_MVJ, "m v (n k) -> m n v k", n=n)
            score_MNVS[..., kv.shape[-2] :][..., : far_MNVK.shape[-1]] = far_MNVK
        k_BSD, v_BSD = torch.cat([kv, more.expand(-1, m, -1, -1, -1)], dim=-2).flatten(1, 2)
        # a global vector's key is zero, and its score stands where the others have their bias
        score_BVS = score_MNVS.flatten(0, 1).baddbmm_(q_BVD.to(score_MNVS), k_BSD.mT.to(score_MNVS))
        x_BVD = torch.bmm(score_BVS.softmax(-1), v_BSD)  # one batch of cuboids and heads
        return rearrange(x_BVD, "(m n) v d -> m v (n d)", n=n)


class GlobalExchange(nn.Module):
    """What the global vectors contribute to all elements, and their own update.

    Projections of elements are applied to the few global vectors instead, never to the elements:
    (W x) . g = x . (W^T g), and the sum of weighted W x is W times the sum of weighted x.
    """

    def __init__(self, plain: CuboidSelfAttention):
        super().__init__()
        self.norm, self.proj = plain.global_vec_norm, plain.global_proj
        self.q_factor = plain.q_factor
        if plain.separate_global_qkv:
            near = [plain.l2g_q_net.weight, plain.g2l_k_net.weight, plain.g2l_v_net.weight]
            far = [plain.l2g_global_kv_net.weight, plain.g2l_global_q_net.weight]
            if plain.use_global_self_attn:
                far.append(plain.g2g_global_qkv_net.weight)
        else:
            near = plain.qkv.weight.chunk(3)  # one projection for all roles
            q, k, v = plain.global_qkv.weight.chunk(3)
            far = [k, v, q] + [q, k, v] * plain.use_global_self_attn
        split = {"n": plain.num_heads, "d": plain.head_dim}
        self.register_buffer("near", rearrange(torch.stack(near), "p (n d) c -> p n d c", **split))
        self.register_buffer("far", rearrange(torch.cat(far), "(p n d) c -> p n d c", **split))

    def forward(self, x_RC: Tensor, g_KC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (N K, C) of the elements' scores, values_NKD, and the update g_KC."""
        wq_NDC, wk_NDC, wv_NDC = self.near
        roles_PNKD = torch.einsum("kc,pndc->pnkd", self.norm(g_KC), self.far)
        k_NKD, v_NKD, q_NKD, *among = roles_PNKD  # the rest: q, k, v among themselves
        far_JC = (self.q_factor * k_NKD @ wq_NDC).flatten(0, 1)
        query_JC = (self.q_factor * q_NKD @ wk_NDC).flatten(0, 1)
        score_NKR = (query_JC @ x_RC.mT).unflatten(0, q_NKD.shape[:2])
        if among:
            q, k, v = among
            score_NKR = torch.cat([score_NKR, self.q_factor * q @ k.mT], dim=-1)
        weight_NKR = score_NKR.softmax(-1)  # over [all elements | the global vectors]
        near_NKR, rest = weight_NKR.split([len(x_RC), weight_NKR.shape[-1] - len(x_RC)], dim=-1)
        x_NKC = (near_NKR.flatten(0, 1) @ x_RC).unflatten(0, q_NKD.shape[:2])
        dg_NKD = x_NKC @ wv_NDC.mT + rest @ v if among else x_NKC @ wv_NDC.mT
        return far_JC, v_NKD, self.proj(rearrange(dg_NKD, "n k d -> k (n d)"))


def with_q_factor(plain: CuboidAttention, weight: Tensor) -> Tensor:
    """A projection whose first C channels are queries, with the queries' factor in it."""
    q, kv = weight.tensor_split([weight.shape[1]])
    return torch.cat([plain.q_factor * q, kv])


def some_at_a_time(function: Callable[..., Tensor], *cuboids: Tensor) -> Tensor:
    """What a function makes of cuboids, of as many at a time as have their feed-forward in a chunk.

    That is 4C wide.
    """
    _, v, c = cuboids[0].shape
    size = max(1, CHUNK // (4 * v * c))
    parts = zip(*(each_M.split(size) for each_M in cuboids), strict=True)
    return torch.cat(each(lambda part: function(*part), parts))


class SelfLayer(nn.Module):
    """Self-attention and feed-forward, some cuboids at a time.

    A time axis that is padded to whole cuboids goes in two runs: the whole cuboids, and the rest,
    whose padding is one key.
    """

    def __init__(self, plain: CuboidSelfAttention, feed_forward: FeedForward, num_globals: int):
        super().__init__()
        self.norm, self.proj = plain.norm, plain.proj
        self.feed_forward = FusedFeedForward(feed_forward)
        self.exchange = GlobalExchange(plain) if num_globals else None
        self.register_buffer("qkv", with_q_factor(plain, plain.qkv.weight))
        (frames, h, w), (bt, bh, bw) = plain.grid.shape, plain.grid.size
        bias_NVV = plain.bias(bt * bh * bw, bt * bh * bw)
        whole = frames // bt * bt
        self.runs = [(slice(0, whole), replace(plain.grid, shape=(whole, h, w)))]
        self.local = nn.ModuleList([LocalAttention(bias_NVV, num_globals=num_globals)])
        if rest := frames - whole:
            grid = replace(plain.grid, shape=(rest, h, w), size=(rest, bh, bw))
            own, padding = bias_NVV[:, : rest * bh * bw].tensor_split([rest * bh * bw], dim=-1)
            self.runs.append((slice(whole, frames), grid))
            self.local.append(LocalAttention(own, padding_NVP=padding))

    def forward(self, x_THWC: Tensor, g_KC: Tensor | None) -> tuple[Tensor, Tensor | None]:
        c, frames = x_THWC.shape[-1], []
        for (times, grid), local in zip(self.runs, self.local, strict=True):
            x_MVC = grid.cut(x_THWC[None, times])[0]
            n_MVC = self.norm(x_MVC)
            weight, values_NKD = self.qkv, None
            if g_KC is not None:
                far_JC, values_NKD, dg_KC = self.exchange(n_MVC.flatten(0, 1), g_KC)
                weight, g_KC = torch.cat([self.qkv, far_JC]), g_KC + dg_KC

            def some(x: Tensor, n: Tensor, local=local, weight=weight, values=values_NKD) -> Tensor:
                q, kv, far_MVJ = F.linear(n, weight).tensor_split([c, 3 * c], dim=-1)
                far = None if values is None else (far_MVJ, values)
                return self.feed_forward(x + self.proj(local(q, kv, far)))

            frames.append(grid.join(some_at_a_time(some, x_MVC, n_MVC)[None])[0])
        return torch.cat(frames) if len(frames) > 1 else frames[0], g_KC


class CrossLayer(nn.Module):
    """Cross-attention and feed-forward, some cuboids at a time."""

    def __init__(self, plain: CuboidCrossAttention, feed_forward: FeedForward):
        super().__init__()
        self.norm, self.proj = plain.norm, plain.proj
        self.feed_forward = FusedFeedForward(feed_forward)
        self.grid, self.memory_grid, self.kv = plain.grid, plain.memory_grid, plain.kv_proj
        self.register_buffer("q", with_q_factor(plain, plain.q_proj.weight))
        sizes = prod(self.grid.size), prod(self.memory_grid.size)  # elements of a cuboid
        self.local = LocalAttention(plain.bias(*sizes))

    def forward(self, x_THWC: Tensor, memory_THWC: Tensor) -> Tensor:
        x_MVC = self.grid.cut(x_THWC[None])[0]
        memory_MSC = self.memory_grid.cut(memory_THWC[None])[0]

        def some(x: Tensor, memory: Tensor) -> Tensor:
            update = self.local(F.linear(self.norm(x), self.q), self.kv(memory))
            return self.feed_forward(x + self.proj(update))

        return self.grid.join(some_at_a_time(some, x_MVC, memory_MSC)[None])[0]


class PlainLayer(nn.Module):
    """Any attention of the plain network, unchanged, with its feed-forward."""

    def __init__(self, plain: CuboidAttention, feed_forward: FeedForward):
        super().__init__()
        self.attention, self.feed_forward = plain, FusedFeedForward(feed_forward)
        self.crosses = isinstance(plain, CuboidCrossAttention)

    def forward(
        self, x_THWC: Tensor, other: Tensor | None
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        other = None if other is None else other[None]
        if self.crosses:
            return self.feed_forward(x_THWC + self.attention(x_THWC[None], other)[0])
        dx_BTHWC, dg_BKC = self.attention(x_THWC[None], other)
        g_KC = None if other is None else (other + dg_BKC)[0]
        return self.feed_forward(x_THWC + dx_BTHWC[0]), g_KC


def fused_layer(plain: CuboidAttention, feed_forward: FeedForward, num_globals: int) -> nn.Module:
    """A fused layer where the cuboids allow it: no mask, and padding at the end of time only."""
    # Only a padding in time alone, in runs of neighbours, can go in a run of its own.
    grid = plain.grid
    if plain.mask is not None or grid.padded[1:] != grid.shape[1:]:
        return PlainLayer(plain, feed_forward)
    if isinstance(plain, CuboidCrossAttention):
        return CrossLayer(plain, feed_forward)
    if grid.is_padded and (num_globals or grid.strategy[0] == "d"):
        return PlainLayer(plain, feed_forward)
    return SelfLayer(plain, feed_forward, num_globals)


def fused_layers(blocks: Iterable[nn.Module], num_globals: int = 0) -> nn.ModuleList:
    """All layers of these blocks, one after another."""
    pairs = (pair for block in blocks for pair in zip(block.attn_l, block.ffn_l, strict=True))
    return nn.ModuleList(fused_layer(*pair, num_globals) for pair in pairs)


class FusedEarthformer(nn.Module):
    """An Earthformer for inference on a CPU: (B, T_in, H, W, C_in) to (B, T_out, H, W, C_out).

    Samples run one after another, so that a sample's bits are the same in any batch.
    """

    samples = False
    sample_by_sample = True  # a batch need not be filled up

    def __init__(self, plain: Earthformer):
        super().__init__()
        self.config, self.in_len, self.out_len = plain.config, plain.in_len, plain.out_len
        config, zeros = plain.config, plain.z_proj.weight.new_zeros
        shapes, sizes = config.level_shapes, coarser(config.input_shape[1:3], config.stem.scales)
        self.encode = Encode(plain.initial_encoder)
        # position embedding and initial query do not depend on the input
        place_BTHWC = plain.enc_pos_embed(zeros(1, *shapes[0], config.base_units))
        query_BTHWC = plain.z_proj(plain.dec_pos_embed(zeros(plain.query_shape)))
        self.register_buffer("place_THWC", place_BTHWC[0])
        self.register_buffer("query_THWC", query_BTHWC[0])
        self.init_global_vectors = getattr(plain, "init_global_vectors", None)
        self.inward = nn.ModuleList(
            fused_layers(blocks, config.num_global_vectors) for blocks in plain.encoder.blocks
        )
        self.down = plain.encoder.down_layers
        self.down_global = getattr(plain.encoder, "down_layer_global_proj", None)
        self.within, self.across, decoder = nn.ModuleList(), nn.ModuleList(), plain.decoder
        for within, across in zip(decoder.self_blocks, decoder.cross_blocks, strict=True):
            self.within.append(nn.ModuleList(fused_layers([block]) for block in within))
            self.across.append(nn.ModuleList(fused_layers([block]) for block in across))
        self.up = nn.ModuleList(
            upsampling(up, shape_THW[1:])
            for up, shape_THW in zip(plain.decoder.upsample_layers, shapes[1:], strict=True)
        )
        self.decode = Decode(plain.final_decoder, sizes[:0:-1], plain.dec_final_proj)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        self.config.expect_input(x_BTHWC)
        return torch.stack(each(self._sample, x_BTHWC))

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast; see `Earthformer.predict`."""
        return self(x_BTHWC)

    def _sample(self, x_THWC: Tensor) -> Tensor:
        x_THWC = torch.cat(each(self.encode, x_THWC.split(1)))
        z_THWC = self._decoder(self._encoder(x_THWC + self.place_THWC))
        return torch.cat(each(self.decode, z_THWC.split(1)))

    def _encoder(self, x_THWC: Tensor) -> list[Tensor]:
        memory, g_KC = [], self.init_global_vectors
        for i, level in enumerate(self.inward):
            if i > 0:
                x_THWC = self.down[i - 1](x_THWC[None])[0]
                g_KC = None if g_KC is None else self.down_global[i - 1](g_KC)
            for layer in level:
                x_THWC, g_KC = layer(x_THWC, g_KC)
            memory.append(x_THWC)
        return memory

    def _decoder(self, memory: Sequence[Tensor]) -> Tensor:
        z_THWC, coarsest = self.query_THWC, len(memory) - 1
        for i in range(coarsest, -1, -1):
            # the coarsest level starts with its cross-attention, before which stands no block
            blocks = [*self.within[i]] if i < coarsest else [(), *self.within[i]]
            for within, across in zip(blocks, self.across[i], strict=True):
                for layer in within:
                    z_THWC, _ = layer(z_THWC, None)
                for layer in across:
                    z_THWC = layer(z_THWC, memory[i])
            if i > 0:
                z_THWC = self.up[i - 1](z_THWC)
        return z_THWC
