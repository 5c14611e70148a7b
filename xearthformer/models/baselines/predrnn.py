"""PredRNN (Wang et al., 2017 and 2022): LSTMs with a second memory that runs zigzag through layers.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import recurrent
from .base import ENSO, TINY, FrameConfig, StepForecaster

START_SHARE = 0.5  # share of truth among the frames fed when training begins

Memory = tuple[list[recurrent.State], Tensor]  # (h, c) of each layer, and M (B, C, H, W)
Increments = tuple[Tensor, Tensor]  # what a step adds to C and to M of a cell, each (B, C, H, W)


@dataclass(frozen=True)
class PredRNNConfig(FrameConfig):
    """The frames, as `FrameConfig` describes them, the shape of a PredRNN and its training.

    Parameters
    ----------
    patch : (h, w)
        Pixels of a frame that become one place of the network's grid.
    layers : int
        Number of cells, one above another.
    hidden : int
        Channels of each cell.
    kernel : int
        Side of the convolutions, odd.
    decoupling : float
        Weight of the decoupling loss in training, next to the squared error; above 0.
    sampling_steps : int
        Training steps until the network is fed the same frames as in a forecast.
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    patch: tuple[int, int] = (24, 24)
    layers: int = 4
    hidden: int = 150
    kernel: int = 5
    decoupling: float = 0.01
    sampling_steps: int = 50_000

    def __post_init__(self) -> None:
        super().__post_init__()
        recurrent.expect_patch(self.patch, (self.height, self.width))
        self.expect_counts("layers", "hidden")
        recurrent.expect_odd("kernel", self.kernel)
        if not self.decoupling > 0:
            raise ValueError(f"expected decoupling above 0, found {self.decoupling!r}")
        recurrent.ScheduledSampling(self.sampling_steps)  # raises its own error


PRESETS = {
    "sevir": PredRNNConfig(),
    "enso": PredRNNConfig(*ENSO, patch=(2, 4), hidden=128),
    "tiny": PredRNNConfig(*TINY, patch=(4, 4), layers=2, hidden=16, kernel=3, sampling_steps=50),
}


class STLSTMCell(nn.Module):
    """A spatiotemporal LSTM: a memory C of its own place and time, and M from the layer below.

    Wang et al. (2017, section 3; the same in 2022):

        C = f * C + i * g                i, f, g of X and H
        M = f' * M + i' * g'             i', f', g' of X and M
        H = o * tanh(W_1x1 [C, M])       o of X, H and the new C and M

    With the new states, of `hidden` channels each, it returns the increments of the two memories,
    i * g and i' * g'.
    """

    def __init__(self, c_in: int, hidden: int, kernel: int):
        super().__init__()
        recurrent.expect_odd("kernel", kernel)

        def conv(before: int, after: int, side: int = kernel, bias: bool = False) -> nn.Conv2d:
            return nn.Conv2d(before, after, side, padding=side // 2, bias=bias)

        # Gates that see the same are one convolution; one bias per gate is enough, that of x.
        self.from_x = conv(c_in, 7 * hidden, bias=True)  # i f g of C, i f g of M, o
        self.from_h = conv(hidden, 4 * hidden)  # i f g of C, o
        self.from_m = conv(hidden, 3 * hidden)  # i f g of M
        self.from_memories = conv(2 * hidden, hidden)  # o
        self.join = conv(2 * hidden, hidden, side=1)  # W_1x1

    def forward(
        self, x_BCHW: Tensor, h_BCHW: Tensor, c_BCHW: Tensor, m_BCHW: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Increments]:
        n = h_BCHW.shape[1]
        x_c, x_m, x_o = self.from_x(x_BCHW).split([3 * n, 3 * n, n], dim=1)
        h_c, h_o = self.from_h(h_BCHW).split([3 * n, n], dim=1)
        c_BCHW, dc_BCHW = _remember(x_c + h_c, c_BCHW)
        m_BCHW, dm_BCHW = _remember(x_m + self.from_m(m_BCHW), m_BCHW)
        memories = torch.cat([c_BCHW, m_BCHW], dim=1)  # (B, 2 C, H, W)
        o = torch.sigmoid(x_o + h_o + self.from_memories(memories))
        return (o * torch.tanh(self.join(memories)), c_BCHW, m_BCHW), (dc_BCHW, dm_BCHW)


def _remember(gates_BCHW: Tensor, memory_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return a memory after its input and forget gates, and its increment."""
    i, f, g = gates_BCHW.chunk(3, dim=1)
    increment = torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(f) * memory_BCHW + increment, increment


def likeness(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Return the mean over samples and channels of |cosine| of the angle between two fields.

    >>> a, b = torch.tensor([3.0, 4.0]), torch.tensor([-1.0, 0.0])
    >>> round(float(likeness(a.reshape(1, 1, 1, 2), b.reshape(1, 1, 1, 2))), 4)
    0.6
    """
    return F.cosine_similarity(a_BCHW.flatten(2), b_BCHW.flatten(2), dim=2).abs().mean()


class PredRNN(StepForecaster[PredRNNConfig, Memory]):
    """Layers of ST-LSTM: the memory M goes up through them, then to the lowest of the next step.

    Wang et al. (2017, NeurIPS, "PredRNN", section 3; 2022, IEEE TPAMI, "PredRNN", with the
    decoupling loss and reverse scheduled sampling). It forecasts every next frame, also those it
    is given, and learns from all of them. Differences from the 2022 paper:

    - The decoupling loss is a mean over steps, layers and channels, not a sum, and its weight is
      chosen here.
    - Both shares of truth go linearly, from one half: up to all frames of the context, down to none
      of the future ones.
    - `sevir` (47.5 M parameters, 292 GMAC) and `enso` (23.7 M, 85.2 GMAC) have the paper's four
      layers of 5x5 kernels, and `enso` its 128 channels; patches, and the width of `sevir`, are
      chosen to match the tables of Gao et al. (2022, "Earthformer"): 46.6 M and 328, 23.8 M and
      85.8.
    """

    def __init__(self, config: PredRNNConfig):
        super().__init__(config)
        self.patch, n = config.patch, config.hidden
        folded = config.patch[0] * config.patch[1] * config.channels  # channels of a patch
        self.cells = nn.ModuleList(
            STLSTMCell(n if layer else folded, n, config.kernel) for layer in range(config.layers)
        )
        self.readout = nn.Conv2d(n, folded, 1)
        self.decouple = nn.Conv2d(n, n, 1, bias=False)  # used by the decoupling loss alone
        # Reverse sampling ends as a forecast begins: with the whole context from the truth.
        self.context_sampling = recurrent.ScheduledSampling(config.sampling_steps, START_SHARE, 1)
        self.forecast_sampling = recurrent.ScheduledSampling(config.sampling_steps, START_SHARE, 0)

    def step(
        self,
        x_BCHW: Tensor,
        state: Memory | None = None,
        increments: list[Increments] | None = None,
    ) -> tuple[Tensor, Memory]:
        """Return the next frame and the new memories; append those of all cells to `increments`."""
        if state is None:
            b, _, h, w = x_BCHW.shape
            zero = x_BCHW.new_zeros(b, self.config.hidden, h, w)
            state = [(zero, zero)] * len(self.cells), zero
        layers, m_BCHW = state
        new_layers = []
        for cell, (h_BCHW, c_BCHW) in zip(self.cells, layers, strict=True):
            (x_BCHW, c_BCHW, m_BCHW), both = cell(x_BCHW, h_BCHW, c_BCHW, m_BCHW)
            new_layers.append((x_BCHW, c_BCHW))
            if increments is not None:
                increments.append(both)
        return self.readout(x_BCHW), (new_layers, m_BCHW)

    def training_loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Return the mean squared error of all frames but the first, and the decoupling loss."""
        self.config.expect_frames(x_BTHWC)
        truth_BTCHW = recurrent.to_patches(torch.cat([x_BTHWC, y_BTHWC], dim=1), self.patch)
        b, device = len(x_BTHWC), x_BTHWC.device
        context_BT = self.context_sampling(b, self.in_len, device)
        forecast_BT = self.forecast_sampling(b, self.out_len - 1, device)
        mask_BT = torch.cat([context_BT, forecast_BT], dim=1)  # one column per step
        increments: list[Increments] = []
        step = partial(self.step, increments=increments)
        y_BTCHW = recurrent.unroll(step, truth_BTCHW, self.in_len + self.out_len - 1, mask_BT)
        # C and M are to learn different things: their increments should be orthogonal.
        similarities = [likeness(self.decouple(dc), self.decouple(dm)) for dc, dm in increments]
        error = F.mse_loss(y_BTCHW, truth_BTCHW[:, 1:])
        return error + self.config.decoupling * torch.stack(similarities).mean()
