"""Knowledge-alignment network of PreDiff: predicts a property of the forecast from noisy frames.

U(z_t, t) of Gao et al. (NeurIPS 2023), section 3.3: the way down of an Earthformer-UNet on the
noisy frames alone, then an answer for every frame by attention over its pixels. Guidance moves a
sample along this network's gradient.
Legend of the shape suffixes: B batch, T time, H W space, C channels, F frames (B and T together),
P pixels of a frame with their mean before them, N heads, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import init_weights
from ..layers.checks import expect_counts
from .denoiser import DownPath, LevelsConfig, start_as_identity


@dataclass(frozen=True)
class AlignmentConfig(LevelsConfig):
    """The shape of an alignment network: the fields of `LevelsConfig`, and three more.

    Parameters
    ----------
    input_shape : (T, H, W, C)
        Shape of the noisy frames.
    out_channels : int
        Number of values in the answer for a frame.
    out_len : int
        Number of frames, the last ones, with an answer.
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
        self.level_shapes(self.input_shape[:3])  # an error where a pattern does not fit
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
    """One answer per frame: the mean over its pixels, as a query, attends to [the mean | pixels].

    The pooling of CLIP's image encoder (Radford et al. 2021).
    """

    def __init__(self, dim: int, pixels: int, out_channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.positional_embedding = nn.Parameter(torch.randn(dim, pixels + 1) / dim**0.5)
        self.qkv_proj = nn.Conv1d(dim, 3 * dim, 1)
        self.c_proj = nn.Conv1d(dim, out_channels, 1)

    def forward(self, x_FCHW: Tensor) -> Tensor:
        x_FCP = x_FCHW.flatten(2)
        x_FCP = torch.cat([x_FCP.mean(dim=-1, keepdim=True), x_FCP], dim=-1)  # P = 1 + H W
        x_FCP = x_FCP + self.positional_embedding
        q, k, v = rearrange(
            self.qkv_proj(x_FCP), "f (three n d) p -> three f n p d", three=3, n=self.num_heads
        )
        # D^-1/2 in two factors, on queries and keys each, which keeps half precision safe.
        factor = q.shape[-1] ** -0.25
        # Only the mean asks: the other queries' answers would not be read.
        weight_FN1P = ((q[..., :1, :] * factor) @ (k * factor).mT).softmax(-1)
        return self.c_proj(rearrange(weight_FN1P @ v, "f n p d -> f (n d) p"))[..., 0]


class Alignment(DownPath):
    """The network U(z_t, t): frames (B, T, H, W, C), steps (B,) to (B, out_len, out_channels)."""

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__(config, config.input_shape[-1], config.input_shape[:3])
        width, (_, h, w) = config.widths[-1], self.shapes[-1]
        self.out = nn.Sequential(
            nn.GroupNorm(min(width, 32), width),
            nn.SiLU(),
            AttentionPool(width, h * w, config.out_channels, config.num_heads),
        )
        self.apply(init_weights).apply(start_as_identity)

    def forward(self, z_BTHWC: Tensor, t_B: Tensor) -> Tensor:
        outputs, _ = self.descend(z_BTHWC, t_B)
        # Of the coarsest level only; every frame is answered for on its own.
        answer_FC = self.out(rearrange(outputs[-1], "b t h w c -> (b t) c h w"))
        answer_BTC = rearrange(answer_FC, "(b t) c -> b t c", b=len(z_BTHWC))
        return answer_BTC[:, -self.config.out_len :]
