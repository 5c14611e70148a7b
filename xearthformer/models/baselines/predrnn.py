"""PredRNN (Wang et al., 2017 and 2022): LSTMs with a second memory that runs zigzag through layers.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import expect_counts
from ..layers.recurrent import (
    HW,
    ScheduledSampling,
    expect_frames,
    expect_layout,
    expect_odd,
    from_patches,
    to_patches,
    unroll,
)

SHARE = 0.5  # of truth among the frames fed, on both sides, when training begins


@dataclass(frozen=True)
class PredRNNConfig:
    """The shape of a PredRNN and of its training. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    height, width, channels : int
        Of a frame.
    patch : (h, w)
        Pixels of a frame that become one place of the network's grid.
    layers : int
        Cells one above another.
    hidden : int
        Channels of each.
    kernel : int
        Side of the convolutions, odd.
    decoupling : float
        What the decoupling loss counts beside the squared error, in training; above 0.
    sampling_steps : int
        Training steps until the frames fed are those of a forecast.

    Raises
    ------
    ValueError
        A patch that doesn't divide the frame, an even kernel, a number that isn't a count, a weight
        that isn't above 0.
    """

    in_len: int = 13
    out_len: int = 12
    height: int = 384
    width: int = 384
    channels: int = 1
    patch: HW = (24, 24)
    layers: int = 4
    hidden: int = 150
    kernel: int = 5
    decoupling: float = 0.01
    sampling_steps: int = 50_000

    def __post_init__(self) -> None:
        if isinstance(self.patch, list):
            object.__setattr__(self, "patch", tuple(self.patch))
        expect_layout(self)
        expect_counts("layers", (self.layers,))
        expect_counts("hidden", (self.hidden,))
        expect_odd("kernel", self.kernel)
        if not self.decoupling > 0:
            raise ValueError(f"expected decoupling above 0, found {self.decoupling!r}")
        ScheduledSampling(self.sampling_steps)  # checks


PRESETS = {
    "sevir": PredRNNConfig(),
    "enso": PredRNNConfig(in_len=12, out_len=14, height=24, width=48, patch=(2, 4), hidden=128),
    "tiny": PredRNNConfig(
        in_len=4,
        out_len=3,
        height=16,
        width=16,
        patch=(4, 4),
        layers=2,
        hidden=16,
        kernel=3,
        sampling_steps=50,
    ),
}


class STLSTMCell(nn.Module):
    """A spatiotemporal LSTM: a memory C of its own place and time, and M from the layer below.

    Wang et al. (2017, section 3; the same in 2022):

        C = f * C + i * g                i, f, g of X and H
        M = f' * M + i' * g'             i', f', g' of X and M
        H = o * tanh(W_1x1 [C, M])       o of X, H and the new C and M

    Beside the new states it gives what was written into the two memories, i * g and i' * g'.

    Parameters
    ----------
    c_in : int
        Channels of the input.
    hidden : int
        Channels of h, c and m.
    kernel : int
        Side of the convolutions, odd.

    Examples
    --------
    >>> cell = STLSTMCell(3, 8, kernel=5)
    >>> zero = torch.zeros(2, 8, 6, 7)
    >>> (h, c, m), (written_c, written_m) = cell(torch.zeros(2, 3, 6, 7), zero, zero, zero)
    >>> h.shape == c.shape == m.shape == written_m.shape == zero.shape
    True
    """

    def __init__(self, c_in: int, hidden: int, kernel: int):
        super().__init__()
        expect_odd("kernel", kernel)

        def conv(before: int, after: int, side: int = kernel, bias: bool = False) -> nn.Conv2d:
            return nn.Conv2d(before, after, side, padding=side // 2, bias=bias)

        self.from_x = conv(c_in, 7 * hidden, bias=True)  # i f g of C, i f g of M, o
        self.from_h = conv(hidden, 4 * hidden)  # i f g of C, o
        self.from_m = conv(hidden, 3 * hidden)  # i f g of M
        self.from_memories = conv(2 * hidden, hidden)  # o
        self.join = conv(2 * hidden, hidden, side=1)

    def forward(
        self, x_BCHW: Tensor, h_BCHW: Tensor, c_BCHW: Tensor, m_BCHW: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The new (h, c, m), and what was written into c and m."""
        n = h_BCHW.shape[1]
        x_c, x_m, x_o = self.from_x(x_BCHW).split([3 * n, 3 * n, n], dim=1)
        h_c, h_o = self.from_h(h_BCHW).split([3 * n, n], dim=1)
        c_BCHW, written_c = _remember(x_c + h_c, c_BCHW)
        m_BCHW, written_m = _remember(x_m + self.from_m(m_BCHW), m_BCHW)
        both = torch.cat([c_BCHW, m_BCHW], dim=1)
        o = torch.sigmoid(x_o + h_o + self.from_memories(both))
        return (o * torch.tanh(self.join(both)), c_BCHW, m_BCHW), (written_c, written_m)


def _remember(gates_BCHW: Tensor, memory_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """A memory after its input and forget gates, and what was written into it."""
    i, f, g = gates_BCHW.chunk(3, dim=1)
    written = torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(f) * memory_BCHW + written, written


def likeness(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Mean over samples and channels of |cosine| of the angle between two fields; a scalar.

    Examples
    --------
    >>> a, b = torch.tensor([3.0, 4.0]), torch.tensor([-1.0, 0.0])
    >>> round(float(likeness(a.reshape(1, 1, 1, 2), b.reshape(1, 1, 1, 2))), 4)
    0.6
    """
    return F.cosine_similarity(a_BCHW.flatten(2), b_BCHW.flatten(2), dim=2).abs().mean()


class PredRNN(nn.Module):
    """Layers of ST-LSTM: the memory M goes up through them, then to the lowest of the next step.

    Wang et al. (2017, NeurIPS, "PredRNN", section 3; 2022, IEEE TPAMI, "PredRNN", with the
    decoupling loss and reverse scheduled sampling). It forecasts every next frame, those it is
    given too, and learns from all of them. What differs from the 2022 paper:

    - The decoupling loss is a mean over steps, layers and channels, not a sum, and its weight is
      chosen here.
    - Both shares of truth go linearly, from one half: up to all frames of the context, down to none
      of those to come.
    - `sevir` (47.5 M parameters, 292 GMAC) and `enso` (23.7 M, 85.2 GMAC) have the paper's four
      layers of 5x5 kernels, and `enso` its 128 channels; patches, and the width of `sevir`, are
      chosen to match the tables of Gao et al. (2022, "Earthformer"): 46.6 M and 328, 23.8 M and
      85.8.

    Parameters
    ----------
    config : PredRNNConfig

    Examples
    --------
    >>> model = PredRNN(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 16, 16, 1)).shape
    torch.Size([1, 3, 16, 16, 1])
    """

    samples = False

    def __init__(self, config: PredRNNConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        folded, n = config.patch[0] * config.patch[1] * config.channels, config.hidden
        self.cells = nn.ModuleList(
            STLSTMCell(n if layer else folded, n, config.kernel) for layer in range(config.layers)
        )
        self.readout = nn.Conv2d(n, folded, 1)
        self.decouple = nn.Conv2d(n, n, 1, bias=False)
        self.context_sampling = ScheduledSampling(config.sampling_steps, SHARE, 1)
        self.forecast_sampling = ScheduledSampling(config.sampling_steps, SHARE, 0)

    def _unroll(
        self,
        truth_BTCHW: Tensor,
        mask_BT: Tensor | None = None,
        written: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """The forecasts of all frames but the first; `written` takes what went into memories."""

        def step(x_BCHW: Tensor, state: tuple | None) -> tuple[Tensor, tuple]:
            if state is None:
                b, _, h, w = x_BCHW.shape
                zero = x_BCHW.new_zeros(b, self.config.hidden, h, w)
                state = [(zero, zero)] * len(self.cells), zero
            layers, m_BCHW = state
            after = []
            for cell, (h_BCHW, c_BCHW) in zip(self.cells, layers, strict=True):
                (x_BCHW, c_BCHW, m_BCHW), both = cell(x_BCHW, h_BCHW, c_BCHW, m_BCHW)
                after.append((x_BCHW, c_BCHW))
                if written is not None:
                    written.append(both)
            return self.readout(x_BCHW), (after, m_BCHW)

        return unroll(step, truth_BTCHW, self.in_len + self.out_len - 1, mask_BT)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error against what came, y; a scalar.

        In training it is that of all frames but the first, fed as the schedule says, and the
        decoupling loss is added.
        """
        if not self.training:
            return F.mse_loss(self.predict(x_BTHWC), y_BTHWC)
        expect_frames(x_BTHWC, self.config)
        truth_BTCHW = to_patches(torch.cat([x_BTHWC, y_BTHWC], dim=1), self.config.patch)
        b, where = len(x_BTHWC), x_BTHWC.device
        context_BT = self.context_sampling(b, self.in_len, where)
        forecast_BT = self.forecast_sampling(b, self.out_len - 1, where)
        written: list[tuple[Tensor, Tensor]] = []
        mask_BT = torch.cat([context_BT, forecast_BT], dim=1)
        made_BTCHW = self._unroll(truth_BTCHW, mask_BT, written)
        alike = [likeness(self.decouple(c), self.decouple(m)) for c, m in written]
        error = F.mse_loss(made_BTCHW, truth_BTCHW[:, 1:])
        return error + self.config.decoupling * torch.stack(alike).mean()

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, C); the same in training and evaluation mode."""
        expect_frames(x_BTHWC, self.config)
        made_BTCHW = self._unroll(to_patches(x_BTHWC, self.config.patch))
        return from_patches(made_BTCHW[:, -self.out_len :], self.config.patch)
