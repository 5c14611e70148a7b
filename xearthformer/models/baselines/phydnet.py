"""PhyDNet: a cell that steps a learned differential equation, beside a ConvLSTM for the rest.

After Le Guen and Thome (2020), "Disentangling Physical Dynamics from Unknown Factors for
Unsupervised Video Prediction", section 3. Legend of the shape suffixes: B batch, T time, H W space,
C channels, I J orders of a derivative along H and W, k l places of a filter along them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from math import factorial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import expect_counts
from ..layers.recurrent import HW, ConvLSTMCell, ScheduledSampling, State, expect_frames, expect_odd
from ..layers.strided import down, expect_stages, forecast, pairs, up

ORDERS = 7  # of derivatives along each axis, from 0 on: 49 filters of 7x7, as in the paper
MOMENT_WEIGHT = 1.0  # lambda of section 3.3


@dataclass(frozen=True)
class PhyDNetConfig:
    """The shape of a PhyDNet. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in and frames out.
    height, width, channels : int
        Of a frame.
    widths : tuple of int
        Channels after each stage of the encoder, multiples of 8; the last is the latent's.
    scales : tuple of int or (h, w)
        How much coarser each stage makes the grid; together they must divide the frames.
    hidden : tuple of int
        Channels of the ConvLSTM's layers; the last must be the latent's, as the two are added.
    kernel : int
        Of the ConvLSTM, odd.
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
    widths: tuple[int, ...] = (32, 64)
    scales: tuple[HW, ...] = ((2, 2), (2, 2))
    hidden: tuple[int, ...] = (128, 128, 64)
    kernel: int = 3
    sampling_steps: int = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))
        object.__setattr__(self, "scales", pairs("scales", self.scales))
        expect_stages(self)
        expect_counts("hidden", self.hidden)
        expect_odd("kernel", self.kernel)
        if self.hidden[-1] != self.widths[-1]:
            raise ValueError(
                f"expected hidden to end with the latent's channels, {self.widths[-1]}, "
                f"found {self.hidden}"
            )


PRESETS = {
    "sevir": PhyDNetConfig(
        in_len=13,
        out_len=12,
        height=384,
        width=384,
        widths=(16, 64, 128),
        scales=((2, 2), (2, 2), (2, 2)),
        hidden=(296, 288, 128),
    ),
    "enso": PhyDNetConfig(in_len=12, out_len=14, height=24, width=48, hidden=(136, 136, 64)),
    "tiny": PhyDNetConfig(
        in_len=4,
        out_len=3,
        height=16,
        width=16,
        widths=(16, 16),
        hidden=(16, 16),
        sampling_steps=100,
    ),
}


# Filters and derivatives.


def moment_matrix(size: int) -> Tensor:
    """The matrix (I, k) with entries k^i / i!, places k counted from the middle; float64.

    Parameters
    ----------
    size : int
        Places of a filter along one axis, odd; as many orders i, from 0 on.

    Examples
    --------
    >>> moment_matrix(3).tolist()
    [[1.0, 1.0, 1.0], [-1.0, 0.0, 1.0], [0.5, 0.0, 0.5]]
    """
    place_k = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.stack([place_k**i / factorial(i) for i in range(size)])


def moments(w_kl: Tensor) -> Tensor:
    """The moments (..., I, J) of square filters (..., k, l) (Long et al., 2018, "PDE-Net").

    M_ij = sum over k, l of k^i l^j w_kl / (i! j!): by Taylor's theorem the factor of the derivative
    d^(i+j) / dy^i dx^j in what the filter computes (cross-correlation, as `conv2d` does it).

    Examples
    --------
    >>> d_dx = torch.tensor([[0.0, 0.0, 0.0], [-0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    >>> moments(d_dx).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    a_Ik = moment_matrix(w_kl.shape[-1]).to(w_kl)
    return a_Ik @ w_kl @ a_Ik.mT


def from_moments(m_IJ: Tensor) -> Tensor:
    """The one filter with these moments: the inverse of `moments`.

    Examples
    --------
    >>> m_IJ = torch.zeros(3, 3, dtype=torch.float64)
    >>> m_IJ[0, 2] = 1  # the second derivative along a row
    >>> from_moments(m_IJ)[1].round().tolist()
    [1.0, -2.0, 1.0]
    """
    inverse_kI = torch.linalg.inv(moment_matrix(m_IJ.shape[-1])).to(m_IJ)
    return inverse_kI @ m_IJ @ inverse_kI.mT


class PhyCell(nn.Module):
    """One step of a differential equation, then a correction by what came (section 3.2).

    The filters' responses are group-normed, a group for each order along H, before they are
    combined. The paper has no norm there; but filters that compute derivatives have sums of
    absolute weights from 1 up to 4096, and the recurrence would grow by the largest.

    Parameters
    ----------
    channels : int
        Of state and input.
    orders : int
        Derivatives' orders along each axis, and the side of the filters; odd.

    Examples
    --------
    >>> cell = PhyCell(8)
    >>> cell(torch.zeros(1, 8, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, channels: int, orders: int = ORDERS):
        super().__init__()
        expect_odd("orders", orders)
        n = orders**2
        self.filters = nn.Conv2d(channels, n, orders, padding=orders // 2, bias=False)
        self.norm = nn.GroupNorm(orders, n)
        self.combine = nn.Conv2d(n, channels, 1, bias=False)  # c_ij
        self.gate = nn.Conv2d(2 * channels, channels, 3, padding=1)  # W_h, W_u and b_k

    def forward(self, u_BCHW: Tensor, h_BCHW: Tensor | None = None) -> Tensor:
        """The next state, from the embedded frame and the state; None: zero."""
        if h_BCHW is None:
            h_BCHW = torch.zeros_like(u_BCHW)
        # Prediction: an explicit step of dh/dt = Phi(h).
        h_BCHW = h_BCHW + self.combine(self.norm(self.filters(h_BCHW)))
        # Correction, as far as the Kalman gain says.
        gain_BCHW = torch.tanh(self.gate(torch.cat([h_BCHW, u_BCHW], dim=1)))
        return h_BCHW + gain_BCHW * (u_BCHW - h_BCHW)

    def moment_loss(self) -> Tensor:
        """How far filter (i, j) is from computing d^(i+j) / dy^i dx^j alone, of every channel.

        The mean square of what its moments differ by, so that the pull fades as they are met; the
        paper (section 3.3) adds up Frobenius norms. In float32 or better.
        """
        w_NCkl = self.filters.weight
        with torch.autocast(w_NCkl.device.type, enabled=False):
            target_NIJ = torch.eye(len(w_NCkl)).to(w_NCkl).unflatten(1, w_NCkl.shape[-2:])
            return (moments(w_NCkl) - target_NIJ[:, None]).square().mean()


# The network.


class Decoder(nn.Module):
    """Latent to frame, the encoder's stages mirrored; the finer ones also see the encoder's."""

    def __init__(self, config: PhyDNetConfig):
        super().__init__()
        finest = config.widths[0]
        steps = list(pairwise((*reversed(config.widths), finest)))
        self.stages = nn.ModuleList(
            up(c_in if i == 0 else 2 * c_in, c_out, scale)
            for i, ((c_in, c_out), scale) in enumerate(
                zip(steps, reversed(config.scales), strict=True)
            )
        )
        self.last = nn.Conv2d(finest, config.channels, 3, padding=1)

    def forward(self, h_BCHW: Tensor, seen: list[Tensor]) -> Tensor:
        """The frame; `seen` is what each stage of the encoder but the last made of this input."""
        for i, stage in enumerate(self.stages):
            h_BCHW = stage(h_BCHW if i == 0 else torch.cat([h_BCHW, seen[-i]], dim=1))
        return self.last(h_BCHW)


class PhyDNet(nn.Module):
    """The network of section 3.1: (B, in_len, H, W, C) to (B, out_len, H, W, C).

    A frame is encoded; a PhyCell and a stack of ConvLSTM cells, side by side, take it into their
    states; the sum of the two is decoded into the next frame, with skips from the encoder. The
    frames of the forecast are fed back as if they had come.

    What differs from the paper: see `PhyCell`. Norms are group norms. Teacher forcing is decided
    for every sample and frame. One encoder and one decoder serve both branches, and the coarsest
    stage has no skip. The PhyCell corrects its state at every frame it is fed, its own forecasts
    too. The 49 filters of 7x7 and the three layers of ConvLSTM are the
    paper's; widths and grids were chosen so as to meet what Gao et al. (2022) report: 13.4 M
    parameters and 758 GMAC for SEVIR (13.7 and 701), 3.1 M and 5.8 GMAC for ENSO (3.1 and 5.7).

    Parameters
    ----------
    config : PhyDNetConfig
        Its shape.

    Examples
    --------
    >>> model = PhyDNet(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 16, 16, 1)).shape
    torch.Size([1, 3, 16, 16, 1])
    """

    samples = False

    def __init__(self, config: PhyDNetConfig):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        steps = pairwise((config.channels, *config.widths))
        self.encoder = nn.ModuleList(
            down(*widths, scale) for widths, scale in zip(steps, config.scales, strict=True)
        )
        self.physical = PhyCell(config.widths[-1])
        self.residual = nn.ModuleList(
            ConvLSTMCell(c_in, c_out, config.kernel)
            for c_in, c_out in pairwise((config.widths[-1], *config.hidden))
        )
        self.decoder = Decoder(config)
        self.sampling = ScheduledSampling(config.sampling_steps)

    def step(
        self, x_BCHW: Tensor, state: tuple[Tensor | None, list[State | None]] | None = None
    ) -> tuple[Tensor, tuple[Tensor, list[State]]]:
        """The next frame and state, from this frame and the state of PhyCell and ConvLSTMs."""
        physical_BCHW, residual = state or (None, [None] * len(self.residual))
        seen = []
        for stage in self.encoder:
            x_BCHW = stage(x_BCHW)
            seen.append(x_BCHW)
        physical_BCHW = self.physical(x_BCHW, physical_BCHW)
        states = []
        for cell, before in zip(self.residual, residual, strict=True):
            x_BCHW, c_BCHW = cell(x_BCHW, before)
            states.append((x_BCHW, c_BCHW))
        y_BCHW = self.decoder(physical_BCHW + x_BCHW, seen[:-1])
        return y_BCHW, (physical_BCHW, states)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast; in training with teacher forcing, which fades, and
        the moment loss (section 3.3); a scalar."""
        if not self.training:
            return F.mse_loss(self._forecast(x_BTHWC), y_BTHWC)
        error = F.mse_loss(self._forecast(x_BTHWC, y_BTHWC, self.sampling), y_BTHWC)
        return error + MOMENT_WEIGHT * self.physical.moment_loss()

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast, which has no randomness: `generator`, a part of every model's contract, is
        unused."""
        return self._forecast(x_BTHWC)

    def _forecast(self, x_BTHWC: Tensor, *teacher: Tensor | ScheduledSampling) -> Tensor:
        expect_frames(x_BTHWC, self.config)
        return forecast(self.step, x_BTHWC, self.out_len, *teacher)
