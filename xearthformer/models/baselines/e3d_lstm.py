"""E3D-LSTM: 3-D convolutions inside the cell, and a memory that recalls all it has been.

After Wang et al. (2019), "Eidetic 3D LSTM: A Model for Video Prediction and Beyond", section 3.
Legend of the shape suffixes: B batch, T time (inside a cell: the clip's frames), H W space,
C channels, Q places of a clip (T, H and W together), S places of all memories so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import expect_counts
from ..layers.recurrent import HW, ScheduledSampling, expect_frames, expect_odd
from ..layers.strided import down, expect_stages, forecast, pairs, up


@dataclass(frozen=True)
class E3DLSTMConfig:
    """The shape of an E3D-LSTM. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    height, width, channels : int
        Of a frame.
    widths : tuple of int
        Channels after each stage of the encoder, multiples of 8; the last is the cells'.
    scales : tuple of int or (h, w)
        How much coarser each stage makes the grid; together they must divide the frames.
    layers : int
        Cells, one above the other.
    clip : int
        Frames that a cell sees at once, the present one and those before it.
    kernel : (t, k)
        Of the 3-D convolutions: frames, looking back, and a side in space, odd.
    sampling_steps : int
        Training steps until the network is fed its own forecasts alone.

    Raises
    ------
    ValueError
        When the parts do not fit one another; the message names the field.
    """

    in_len: int
    out_len: int
    height: int
    width: int
    channels: int = 1
    widths: tuple[int, ...] = (64,)
    scales: tuple[HW, ...] = ((2, 2),)
    layers: int = 4
    clip: int = 2
    kernel: tuple[int, int] = (2, 5)
    sampling_steps: int = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))
        object.__setattr__(self, "scales", pairs("scales", self.scales))
        expect_stages(self)
        expect_counts("layers", (self.layers,))
        expect_counts("clip", (self.clip,))
        expect_counts("kernel", self.kernel, length=2)
        expect_odd("kernel's side in space", self.kernel[1])
        if self.kernel[0] > self.clip:
            raise ValueError(
                f"expected a kernel of no more frames than the clip's {self.clip}, "
                f"found {self.kernel}"
            )


PRESETS = {
    "sevir": E3DLSTMConfig(
        in_len=13,
        out_len=12,
        height=384,
        width=384,
        widths=(16, 32, 64, 104),
        scales=((3, 3), (2, 2), (2, 2), (2, 2)),
    ),
    "enso": E3DLSTMConfig(
        in_len=12,
        out_len=14,
        height=24,
        width=48,
        widths=(32, 64),
        scales=((1, 2), (2, 2)),
    ),
    "tiny": E3DLSTMConfig(
        in_len=4,
        out_len=3,
        height=16,
        width=16,
        widths=(16,),
        layers=2,
        kernel=(2, 3),
        sampling_steps=100,
    ),
}


# The cell.


class CausalConv3d(nn.Conv3d):
    """A 3-D convolution that looks back: the clip is padded before its first frame, not after.

    Examples
    --------
    >>> CausalConv3d(4, 8, (2, 5))(torch.zeros(1, 4, 2, 6, 7)).shape
    torch.Size([1, 8, 2, 6, 7])
    """

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int]):
        t, k = kernel
        super().__init__(c_in, c_out, (t, k, k), padding=(0, k // 2, k // 2))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        before = self.kernel_size[0] - 1
        return super().forward(F.pad(x_BCTHW, (0, 0, 0, 0, before, 0)))


def recall(r_BCTHW: Tensor, memories: Sequence[Tensor]) -> Tensor:
    """What a gate recalls of all memories so far, each c_BCTHW: again a c_BCTHW.

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
    """A cell with two memories: its own, which recalls its past, and one that wanders through all
    layers (section 3).

    Gates that see the same are one convolution. The layer norm is over the whole of a clip, with a
    scale and a shift for every channel.

    Parameters
    ----------
    c_in : int
        Channels of the input.
    hidden : int
        Channels of the state and of both memories.
    kernel : (t, k)
        Of the convolutions: frames, looking back, and a side in space.

    Examples
    --------
    >>> cell = E3DLSTMCell(4, 8, (2, 3))
    >>> x, zero = torch.zeros(1, 4, 2, 5, 6), torch.zeros(1, 8, 2, 5, 6)
    >>> h, c, m = cell(x, zero, [zero], zero)
    >>> h.shape
    torch.Size([1, 8, 2, 5, 6])
    """

    def __init__(self, c_in: int, hidden: int, kernel: tuple[int, int]):
        super().__init__()
        self.of_x = CausalConv3d(c_in, 7 * hidden, kernel)  # with the biases: r i g, i' g' f', o
        self.of_h = CausalConv3d(hidden, 4 * hidden, kernel)  # r i g, o
        self.of_m = CausalConv3d(hidden, 3 * hidden, kernel)  # i' g' f'
        self.of_memories = CausalConv3d(2 * hidden, hidden, kernel)  # o, of both that are new
        self.norm = nn.GroupNorm(1, hidden)
        self.mix = nn.Conv3d(2 * hidden, hidden, 1)

    def forward(
        self, x_BCTHW: Tensor, h_BCTHW: Tensor, memories: Sequence[Tensor], m_BCTHW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The new h, c and m.

        Parameters
        ----------
        x_BCTHW, h_BCTHW : Tensor
            The input, and this layer's state a step ago.
        memories : sequence of c_BCTHW
            This layer's memories, the last one of a step ago.
        m_BCTHW : Tensor
            The wandering memory, from the layer below or, in the first, the top a step ago.
        """
        rx, ix, gx, imx, gmx, fmx, ox = self.of_x(x_BCTHW).chunk(7, dim=1)
        rh, ih, gh, oh = self.of_h(h_BCTHW).chunk(4, dim=1)
        imm, gmm, fmm = self.of_m(m_BCTHW).chunk(3, dim=1)
        # The memory of this layer.
        recalled = recall(torch.sigmoid(rx + rh), memories)
        kept_BCTHW = self.norm(memories[-1] + recalled)
        c_BCTHW = torch.sigmoid(ix + ih) * torch.tanh(gx + gh) + kept_BCTHW
        # The memory that wanders.
        new_BCTHW = torch.sigmoid(imx + imm) * torch.tanh(gmx + gmm)
        m_BCTHW = new_BCTHW + torch.sigmoid(fmx + fmm) * m_BCTHW
        # The state.
        both_BCTHW = torch.cat([c_BCTHW, m_BCTHW], dim=1)
        o_BCTHW = torch.sigmoid(ox + oh + self.of_memories(both_BCTHW))
        return o_BCTHW * torch.tanh(self.mix(both_BCTHW)), c_BCTHW, m_BCTHW


# The network.


class Past(NamedTuple):
    """What the network knows after a step: the encoded frames of the clip, each layer's state and
    all its memories, and the wandering memory, whose path through layers and steps is a zigzag."""

    clip: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    memories: tuple[tuple[Tensor, ...], ...]
    wandering: Tensor


class E3DLSTM(nn.Module):
    """The network of section 3: (B, in_len, H, W, C) to (B, out_len, H, W, C).

    Every frame is encoded; the clip of it and those just before goes through the cells; what the
    top one makes of the clip becomes the next frame. Before the first frame the clip holds the
    first frame again. The frames of the forecast are fed back as if they had come.

    What differs from the paper: frames are encoded and decoded one by one, by 2-D convolutions,
    but for the one that makes a frame of a clip. The first of the memories is the zero before the
    first step. Four layers and, for ENSO, 64 channels are the paper's; clips, kernels and grids
    were chosen so as to meet what Gao et al. (2022) report: 35.0 M parameters and 500 GMAC for
    SEVIR (35.6 and 523), 13.2 M and 109 GMAC for ENSO (12.9 and 99.8).

    Parameters
    ----------
    config : E3DLSTMConfig
        Its shape.

    Examples
    --------
    >>> model = E3DLSTM(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 16, 16, 1)).shape
    torch.Size([1, 3, 16, 16, 1])
    """

    samples = False

    def __init__(self, config: E3DLSTMConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        width, finest = config.widths[-1], config.widths[0]
        steps = pairwise((config.channels, *config.widths))
        self.encoder = nn.Sequential(
            *(down(*widths, scale) for widths, scale in zip(steps, config.scales, strict=True))
        )
        self.cells = nn.ModuleList(
            E3DLSTMCell(width, width, config.kernel) for _ in range(config.layers)
        )
        self.to_frame = nn.Conv3d(width, width, (config.clip, 1, 1))
        steps = pairwise((*reversed(config.widths), finest))
        self.decoder = nn.Sequential(
            *(up(*widths, s) for widths, s in zip(steps, reversed(config.scales), strict=True)),
            nn.Conv2d(finest, config.channels, 3, padding=1),
        )
        self.sampling = ScheduledSampling(config.sampling_steps)

    def step(self, x_BCHW: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """The next frame and what is then known, from this frame and what was known."""
        z_BCHW = self.encoder(x_BCHW)
        if past is None:
            clip = (z_BCHW,) * self.config.clip
            zero_BCTHW = torch.zeros_like(torch.stack(clip, dim=2))
            zeros = (zero_BCTHW,) * self.config.layers
            past = Past(clip, zeros, tuple((zero,) for zero in zeros), zero_BCTHW)
        else:
            clip = (*past.clip[1:], z_BCHW)
        h_BCTHW, m_BCTHW = torch.stack(clip, dim=2), past.wandering
        states, all_memories = [], []
        for cell, before, memories in zip(self.cells, past.states, past.memories, strict=True):
            h_BCTHW, c_BCTHW, m_BCTHW = cell(h_BCTHW, before, memories, m_BCTHW)
            states.append(h_BCTHW)
            all_memories.append((*memories, c_BCTHW))
        y_BCHW = self.decoder(self.to_frame(h_BCTHW).squeeze(2))
        return y_BCHW, Past(clip, tuple(states), tuple(all_memories), m_BCTHW)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast; in training, with scheduled sampling of the frames
        that are fed, the mean absolute error is added (section 4); a scalar."""
        if not self.training:
            return F.mse_loss(self._forecast(x_BTHWC), y_BTHWC)
        made_BTHWC = self._forecast(x_BTHWC, y_BTHWC, self.sampling)
        return F.mse_loss(made_BTHWC, y_BTHWC) + F.l1_loss(made_BTHWC, y_BTHWC)

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast, which has no randomness: `generator`, a part of every model's contract, is
        unused."""
        return self._forecast(x_BTHWC)

    def _forecast(self, x_BTHWC: Tensor, *teacher: Tensor | ScheduledSampling) -> Tensor:
        expect_frames(x_BTHWC, self.config)
        return forecast(self.step, x_BTHWC, self.out_len, *teacher)
