"""PhyDNet: a cell that steps a learned differential equation, next to a ConvLSTM for the rest.

After Le Guen and Thome (2020), "Disentangling Physical Dynamics from Unknown Factors for
Unsupervised Video Prediction", section 3. Legend of the shape suffixes: B batch, T time, H W space,
C channels, N filters, I J orders of a derivative along H and W, k l places of a filter along them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import factorial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import recurrent
from ..layers.checks import expect_counts
from .base import ENSO, SEVIR, TINY, FrameConfig, StepForecaster

ORDERS = 7  # derivatives along each axis, from order 0: 49 filters of 7x7, as in the paper
MOMENT_WEIGHT = 1.0  # lambda of section 3.3

Branches = tuple[Tensor, list[recurrent.State]]  # states of the PhyCell and of the ConvLSTMs


@dataclass(frozen=True)
class PhyDNetConfig(FrameConfig):
    """The frames, as `FrameConfig` describes them, and the shape of a PhyDNet.

    Parameters
    ----------
    widths : tuple of int
        Channels after each stage of the encoder, multiples of 8; the last is the latent's.
    scales : tuple of int or (h, w)
        How much coarser each stage makes the grid; together they must divide the frames.
    hidden : tuple of int
        Channels of the ConvLSTM's layers; the last must be the latent's, as the two are added.
    kernel : int
        Side of the ConvLSTM's convolutions, odd.
    sampling_steps : int
        Training steps until the network is fed its own forecasts alone.
    """

    widths: tuple[int, ...] = (32, 64)
    scales: tuple[tuple[int, int], ...] = ((2, 2), (2, 2))  # (h, w) of each stage
    hidden: tuple[int, ...] = (128, 128, 64)
    kernel: int = 3
    sampling_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        factors = recurrent.stage_factors(self.scales, self.widths, (self.height, self.width))
        object.__setattr__(self, "scales", factors)
        expect_counts("hidden", self.hidden)
        recurrent.expect_odd("kernel", self.kernel)
        if self.hidden[-1] != self.widths[-1]:
            raise ValueError(
                f"expected hidden to end with the latent's channels, {self.widths[-1]}, "
                f"found {self.hidden}"
            )


PRESETS = {
    "sevir": PhyDNetConfig(
        *SEVIR, widths=(16, 64, 128), scales=((2, 2),) * 3, hidden=(296, 288, 128)
    ),
    "enso": PhyDNetConfig(*ENSO, hidden=(136, 136, 64)),
    "tiny": PhyDNetConfig(*TINY, widths=(16, 16), hidden=(16, 16), sampling_steps=100),
}


def moment_matrix(size: int) -> Tensor:
    """Return the matrix (I, k) with entries k^i / i!, places k counted from the middle; float64.

    >>> moment_matrix(3).tolist()
    [[1.0, 1.0, 1.0], [-1.0, 0.0, 1.0], [0.5, 0.0, 0.5]]
    """
    place_k = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.stack([place_k**i / factorial(i) for i in range(size)])


def moments(w_kl: Tensor) -> Tensor:
    """Return the moments (..., I, J) of square filters (..., k, l) (Long et al., 2018, "PDE-Net").

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


class PhyCell(nn.Module):
    """One step of a differential equation, then a correction by the observed frame (section 3.2).

    The filters' responses are group-normed, one group per order along H, before they are combined.
    The paper has no norm there; but filters that compute derivatives have sums of absolute weights
    from 1 up to 4096, and the recurrence would grow by the largest. `orders` is the number of
    derivatives along each axis and the side of the filters, odd.
    """

    def __init__(self, channels: int, orders: int = ORDERS):
        super().__init__()
        recurrent.expect_odd("orders", orders)
        n = orders**2
        self.filters = nn.Conv2d(channels, n, orders, padding=orders // 2, bias=False)
        self.norm = nn.GroupNorm(orders, n)
        self.combine = nn.Conv2d(n, channels, 1, bias=False)  # c_ij
        self.gate = nn.Conv2d(2 * channels, channels, 3, padding=1)  # W_h, W_u and b_k

    def forward(self, u_BCHW: Tensor, h_BCHW: Tensor | None = None) -> Tensor:
        """Return the next state, from the embedded frame and the state; None: zero."""
        if h_BCHW is None:
            h_BCHW = torch.zeros_like(u_BCHW)
        # Prediction: an explicit step of dh/dt = Phi(h).
        h_BCHW = h_BCHW + self.combine(self.norm(self.filters(h_BCHW)))
        # Correction: the gain, as in a Kalman filter, says how far the frame is trusted.
        gain_BCHW = torch.tanh(self.gate(torch.cat([h_BCHW, u_BCHW], dim=1)))
        return h_BCHW + gain_BCHW * (u_BCHW - h_BCHW)

    def moment_loss(self) -> Tensor:
        """Return how far filter (i, j) is from computing d^(i+j) / dy^i dx^j alone, a scalar.

        The mean square of the moments' errors, so that the pull fades as they are met; the paper
        (section 3.3) adds up Frobenius norms. In float32 or better.
        """
        w_NCkl = self.filters.weight
        # Moments are sums of large terms that nearly cancel: bfloat16 would lose them.
        with torch.autocast(w_NCkl.device.type, enabled=False):
            target_NIJ = torch.eye(len(w_NCkl)).to(w_NCkl).unflatten(1, w_NCkl.shape[-2:])
            return (moments(w_NCkl) - target_NIJ[:, None]).square().mean()


class Decoder(nn.Module):
    """Latent to frame, the encoder's stages mirrored.

    The finer ones also see `skips`, the outputs of the encoder's stages but the last.
    """

    def __init__(self, config: PhyDNetConfig):
        super().__init__()
        self.stages = nn.ModuleList(recurrent.up_stages(config.widths, config.scales, skips=True))
        self.last = nn.Conv2d(config.widths[0], config.channels, 3, padding=1)

    def forward(self, h_BCHW: Tensor, skips: list[Tensor]) -> Tensor:
        for i, stage in enumerate(self.stages):
            h_BCHW = stage(h_BCHW if i == 0 else torch.cat([h_BCHW, skips[-i]], dim=1))
        return self.last(h_BCHW)


class PhyDNet(StepForecaster[PhyDNetConfig, Branches]):
    """The network of section 3.1: (B, in_len, H, W, C) to (B, out_len, H, W, C).

    A frame is encoded; a PhyCell and a stack of ConvLSTM cells, side by side, take it into their
    states; the sum of the two is decoded into the next frame, with skips from the encoder. The
    frames of the forecast are fed back as if they were observed.

    Differences from the paper: see `PhyCell`. Norms are group norms. Teacher forcing is decided
    for every sample and frame. One encoder and one decoder serve both branches, and the coarsest
    stage has no skip. The PhyCell corrects its state at every frame it is fed, its own forecasts
    too. The 49 filters of 7x7 and the three layers of ConvLSTM are the paper's; widths and grids
    are chosen to meet what Gao et al. (2022) report: 13.4 M parameters and 758 GMAC for SEVIR
    (13.7 and 701), 3.1 M and 5.8 GMAC for ENSO (3.1 and 5.7).
    """

    def __init__(self, config: PhyDNetConfig):
        super().__init__(config)
        widths, latent = config.widths, config.widths[-1]
        stages = recurrent.down_stages(config.channels, widths, config.scales)
        self.encoder = nn.ModuleList(stages)
        self.physical = PhyCell(latent)
        self.residual = nn.ModuleList(
            recurrent.ConvLSTMCell(c_in, c_out, config.kernel)
            for c_in, c_out in pairwise((latent, *config.hidden))
        )
        self.decoder = Decoder(config)
        self.sampling = recurrent.ScheduledSampling(config.sampling_steps)

    def step(self, x_BCHW: Tensor, state: Branches | None = None) -> tuple[Tensor, Branches]:
        physical_BCHW, residual = state or (None, [None] * len(self.residual))
        features = []  # fine to coarse
        for stage in self.encoder:
            x_BCHW = stage(x_BCHW)
            features.append(x_BCHW)
        physical_BCHW = self.physical(x_BCHW, physical_BCHW)
        residual = recurrent.run_stack(self.residual, x_BCHW, residual)
        y_BCHW = self.decoder(physical_BCHW + residual[-1][0], features[:-1])
        return y_BCHW, (physical_BCHW, residual)

    def training_loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Return the squared error under scheduled sampling plus the moment loss (section 3.3)."""
        error = F.mse_loss(self(x_BTHWC, y_BTHWC, self.sampling), y_BTHWC)
        return error + MOMENT_WEIGHT * self.physical.moment_loss()
