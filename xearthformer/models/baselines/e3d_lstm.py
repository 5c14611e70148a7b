"""E3D-LSTM: 3-D convolutions inside the cell, and a memory that recalls all it has been.

After Wang et al. (2019), "Eidetic 3D LSTM: A Model for Video Prediction and Beyond", section 3.
Legend of the shape suffixes: B batch, T time (inside a cell: the clip's frames), H W space,
C channels, Q places of a clip (T, H and W together), S places of all memories so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers import recurrent
from ..layers.checks import expect_counts
from .base import ENSO, SEVIR, TINY, FrameConfig, StepForecaster


@dataclass(frozen=True)
class E3DLSTMConfig(FrameConfig):
    """The frames, as `FrameConfig` describes them, and the shape of an E3D-LSTM.

    Parameters
    ----------
    widths : tuple of int
        Channels after each stage of the encoder, multiples of 8; the last is the cells'.
    scales : tuple of int or (h, w)
        How much coarser each stage makes the grid; together they must divide the frames.
    layers : int
        Number of cells, one above another.
    clip : int
        Frames that a cell sees at once, the present one and those before it.
    kernel : (t, k)
        The 3-D convolutions' frames, looking back, and their side in space, odd.
    sampling_steps : int
        Training steps until the network is fed its own forecasts alone.
    """

    widths: tuple[int, ...] = (64,)
    scales: tuple[tuple[int, int], ...] = ((2, 2),)  # (h, w) of each stage
    layers: int = 4  # as in the paper
    clip: int = 2
    kernel: tuple[int, int] = (2, 5)
    sampling_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        factors = recurrent.stage_factors(self.scales, self.widths, (self.height, self.width))
        object.__setattr__(self, "scales", factors)
        self.expect_counts("layers", "clip")
        expect_counts("kernel", self.kernel, length=2)
        recurrent.expect_odd("kernel's side in space", self.kernel[1])
        if self.kernel[0] > self.clip:
            raise ValueError(
                f"expected a kernel of no more frames than the clip's {self.clip}, "
                f"found {self.kernel}"
            )


PRESETS = {
    "sevir": E3DLSTMConfig(
        *SEVIR, widths=(16, 32, 64, 104), scales=((3, 3), (2, 2), (2, 2), (2, 2))
    ),
    "enso": E3DLSTMConfig(*ENSO, widths=(32, 64), scales=((1, 2), (2, 2))),
    "tiny": E3DLSTMConfig(*TINY, widths=(16,), layers=2, kernel=(2, 3), sampling_steps=100),
}


class CausalConv3d(nn.Conv3d):
    """A 3-D convolution that looks back: the clip is padded before its first frame, not after."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int]):
        t, k = kernel
        super().__init__(c_in, c_out, (t, k, k), padding=(0, k // 2, k // 2))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        before = self.kernel_size[0] - 1
        return super().forward(F.pad(x_BCTHW, (0, 0, 0, 0, before, 0)))  # pairs: W, H, T


def recall(r_BCTHW: Tensor, memories: Sequence[Tensor]) -> Tensor:
    """Return what a gate recalls of all memories so far, each c_BCTHW: again a c_BCTHW.

    Every place of the gate attends to every place of every memory, by softmax(R C') C
    (section 3, RECALL).

    Examples
    --------
    A gate that is zero attends to all alike:

    >>> memory = torch.arange(4.0).reshape(1, 1, 1, 2, 2)
    >>> recall(torch.zeros(1, 1, 1, 2, 2), [memory, memory + 2]).flatten().tolist()
    [2.5, 2.5, 2.5, 2.5]
    """
    t, h, w = r_BCTHW.shape[-3:]
    r_BQC = rearrange(r_BCTHW, "b c t h w -> b (t h w) c")
    c_BSC = rearrange(torch.cat(list(memories), dim=2), "b c s h w -> b (s h w) c")
    recalled_BQC = torch.softmax(r_BQC @ c_BSC.mT, dim=-1) @ c_BSC
    return rearrange(recalled_BQC, "b (t h w) c -> b c t h w", t=t, h=h, w=w)


class E3DLSTMCell(nn.Module):
    """A cell with two memories, its own and one that wanders through all layers (section 3).

    Its own recalls all it has been. Gates that see the same are one convolution. The layer norm is
    over the whole of a clip, with a factor and a shift for every channel. `hidden` is the number of
    channels of the state and of both memories.
    """

    def __init__(self, c_in: int, hidden: int, kernel: tuple[int, int]):
        super().__init__()
        self.of_x = CausalConv3d(c_in, 7 * hidden, kernel)  # with the biases: r i g, i' g' f', o
        self.of_h = CausalConv3d(hidden, 4 * hidden, kernel)  # r i g, o
        self.of_m = CausalConv3d(hidden, 3 * hidden, kernel)  # i' g' f'
        self.of_memories = CausalConv3d(2 * hidden, hidden, kernel)  # o, of both that are new
        self.norm = nn.GroupNorm(1, hidden)  # one group: a layer norm over C, T, H and W
        self.mix = nn.Conv3d(2 * hidden, hidden, 1)

    def forward(
        self, x_BCTHW: Tensor, h_BCTHW: Tensor, memories: Sequence[Tensor], m_BCTHW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the new h, c and m, from this layer's h and `memories` (its c, oldest first).

        m comes from the layer below, or in the lowest from the top one step ago.
        """
        rx, ix, gx, imx, gmx, fmx, ox = self.of_x(x_BCTHW).chunk(7, dim=1)
        rh, ih, gh, oh = self.of_h(h_BCTHW).chunk(4, dim=1)
        imm, gmm, fmm = self.of_m(m_BCTHW).chunk(3, dim=1)
        # This layer's memory: recall stands where an LSTM has its forget gate.
        recalled_BCTHW = recall(torch.sigmoid(rx + rh), memories)
        past_BCTHW = self.norm(memories[-1] + recalled_BCTHW)
        c_BCTHW = torch.sigmoid(ix + ih) * torch.tanh(gx + gh) + past_BCTHW
        # The memory that wanders.
        increment_BCTHW = torch.sigmoid(imx + imm) * torch.tanh(gmx + gmm)
        m_BCTHW = increment_BCTHW + torch.sigmoid(fmx + fmm) * m_BCTHW
        # The state.
        both_BCTHW = torch.cat([c_BCTHW, m_BCTHW], dim=1)  # (B, 2 C, T, H, W)
        o_BCTHW = torch.sigmoid(ox + oh + self.of_memories(both_BCTHW))
        return o_BCTHW * torch.tanh(self.mix(both_BCTHW)), c_BCTHW, m_BCTHW


class Past(NamedTuple):
    """The state of the network after a step."""

    clip: tuple[Tensor, ...]  # encoded frames, oldest first, each (B, C, H, W)
    states: tuple[Tensor, ...]  # h of each layer, (B, C, T, H, W)
    memories: tuple[tuple[Tensor, ...], ...]  # c of each layer at all steps so far
    wandering: Tensor  # m, whose path through layers and steps is a zigzag


class E3DLSTM(StepForecaster[E3DLSTMConfig, Past]):
    """The network of section 3: (B, in_len, H, W, C) to (B, out_len, H, W, C).

    Every frame is encoded; the clip of it and those just before goes through the cells; the top
    cell's state of the clip becomes the next frame. Before the first frame the clip holds the
    first frame again. The frames of the forecast are fed back as if they were observed.

    Differences from the paper: frames are encoded and decoded one by one, by 2-D convolutions,
    but for the one that makes a frame of a clip. The first of the memories is the zero before the
    first step. Four layers and, for ENSO, 64 channels are the paper's; clips, kernels and grids
    are chosen to meet what Gao et al. (2022) report: 35.0 M parameters and 500 GMAC for SEVIR
    (35.6 and 523), 13.2 M and 109 GMAC for ENSO (12.9 and 99.8).
    """

    def __init__(self, config: E3DLSTMConfig):
        super().__init__(config)
        width, scales = config.widths[-1], config.scales
        self.encoder = nn.Sequential(*recurrent.down_stages(config.channels, config.widths, scales))
        self.cells = nn.ModuleList(
            E3DLSTMCell(width, width, config.kernel) for _ in range(config.layers)
        )
        self.to_frame = nn.Conv3d(width, width, (config.clip, 1, 1))
        self.decoder = nn.Sequential(
            *recurrent.up_stages(config.widths, scales),
            nn.Conv2d(config.widths[0], config.channels, 3, padding=1),
        )
        self.sampling = recurrent.ScheduledSampling(config.sampling_steps)

    def step(self, x_BCHW: Tensor, state: Past | None = None) -> tuple[Tensor, Past]:
        z_BCHW = self.encoder(x_BCHW)
        if state is None:
            clip = (z_BCHW,) * self.config.clip  # as if the first frame had stood still
            zero_BCTHW = torch.zeros_like(torch.stack(clip, dim=2))
            zeros = (zero_BCTHW,) * self.config.layers
            state = Past(clip, zeros, tuple((zero,) for zero in zeros), zero_BCTHW)
        else:
            clip = (*state.clip[1:], z_BCHW)
        h_BCTHW, m_BCTHW = torch.stack(clip, dim=2), state.wandering
        states, all_memories = [], []
        for cell, before, memories in zip(self.cells, state.states, state.memories, strict=True):
            h_BCTHW, c_BCTHW, m_BCTHW = cell(h_BCTHW, before, memories, m_BCTHW)
            states.append(h_BCTHW)
            all_memories.append((*memories, c_BCTHW))
        y_BCHW = self.decoder(self.to_frame(h_BCTHW).squeeze(2))  # T is 1 by now
        return y_BCHW, Past(clip, tuple(states), tuple(all_memories), m_BCTHW)

    def training_loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Return the squared plus the absolute error (section 4), under scheduled sampling."""
        forecast_BTHWC = self(x_BTHWC, y_BTHWC, self.sampling)
        return F.mse_loss(forecast_BTHWC, y_BTHWC) + F.l1_loss(forecast_BTHWC, y_BTHWC)
