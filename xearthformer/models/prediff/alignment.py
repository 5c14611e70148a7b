"""The knowledge-alignment network of PreDiff: what do noisy frames say of the frames to come?

U(z_t, t) of Gao et al. (NeurIPS 2023), section 3.3: the way down of an Earthformer-UNet on the
noisy frames alone, then an answer for every frame by attention over its pixels. Its gradient tells
the sampler where to go (guidance.py). Legend of the shape suffixes: B batch, T time, H W space,
C channels, F frames (B and T together), P places of a frame with their mean before them, N heads,
D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import expect_counts, init_weights
from .denoiser import DownPath, LevelsConfig, start_as_identity


@dataclass(frozen=True)
class AlignmentConfig(LevelsConfig):
    """Everything that shapes an alignment network: the fields of `LevelsConfig`, and these.

    Parameters
    ----------
    input_shape : (T, H, W, C)
        Of the noisy frames.
    out_channels : int
        Numbers in an answer.
    out_len : int
        Frames, the last ones, that are answered for.

    Raises
    ------
    ValueError
        When the parts do not fit one another; the message names the field.
    """

    base_units: int = 128
    depth: tuple[int, ...] = (1, 1)
    input_shape: tuple[int, int, int, int] = (6, 16, 16, 64)
    out_channels: int = 1
    out_len: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_counts("input_shape", self.input_shape, length=4)
        expect_counts("out_channels", (self.out_channels,))
        expect_counts("out_len", (self.out_len,))
        self.level_shapes(self.input_shape[:3])
        if self.out_len > self.input_shape[0]:
            raise ValueError(
                f"expected out_len of at most the {self.input_shape[0]} frames of input_shape, "
                f"found {self.out_len}"
            )


PRESETS: dict[str, AlignmentConfig] = {
    # The published checkpoint: the mean intensity of a frame of SEVIR-LR.
    "sevir-lr": AlignmentConfig(),
    # Small enough for a test.
    "tiny": AlignmentConfig(
        base_units=16, num_heads=2, dropout=0.0, input_shape=(2, 4, 4, 4), out_len=2
    ),
}


class AttentionPool(nn.Module):
    """One answer for a frame: its mean, as a query, attends to [the mean | every place]."""

    def __init__(self, dim: int, places: int, out_channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.positional_embedding = nn.Parameter(torch.randn(dim, places + 1) / dim**0.5)
        self.qkv_proj = nn.Conv1d(dim, 3 * dim, 1)
        self.c_proj = nn.Conv1d(dim, out_channels, 1)

    def forward(self, x_FCHW: Tensor) -> Tensor:
        x_FCP = x_FCHW.flatten(2)
        x_FCP = torch.cat([x_FCP.mean(dim=-1, keepdim=True), x_FCP], dim=-1)
        x_FCP = x_FCP + self.positional_embedding
        q, k, v = rearrange(
            self.qkv_proj(x_FCP), "f (three n d) p -> three f n p d", three=3, n=self.num_heads
        )
        scale = q.shape[-1] ** -0.25  # on queries and keys each, which keeps half precision safe
        weight = ((q[..., :1, :] * scale) @ (k * scale).mT).softmax(-1)
        return self.c_proj(rearrange(weight @ v, "f n p d -> f (n d) p"))[..., 0]


class Alignment(DownPath):
    """The network U(z_t, t): (B, T, H, W, C) and steps (B,) to answers (B, out_len, out_channels).

    Parameters
    ----------
    config : AlignmentConfig
        Its shape; `PRESETS` has the published one.

    Examples
    --------
    >>> network = Alignment(PRESETS["tiny"])
    >>> network(torch.randn(3, 2, 4, 4, 4), torch.tensor([0, 10, 999])).shape
    torch.Size([3, 2, 1])
    """

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__(config, config.input_shape[-1], config.input_shape[:3])
        self.config = config
        width, (_, h, w) = config.widths[-1], self.shapes[-1]
        self.out = nn.Sequential(
            nn.GroupNorm(min(width, 32), width),
            nn.SiLU(),
            AttentionPool(width, h * w, config.out_channels, config.num_heads),
        )
        self.apply(init_weights).apply(start_as_identity)

    def forward(self, z_BTHWC: Tensor, t_B: Tensor) -> Tensor:
        outputs, _ = self.descend(z_BTHWC, t_B)
        answer_FC = self.out(rearrange(outputs[-1], "b t h w c -> (b t) c h w"))
        answer_BTC = rearrange(answer_FC, "(b t) c -> b t c", b=len(z_BTHWC))
        return answer_BTC[:, -self.config.out_len :]
