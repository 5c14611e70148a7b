"""Corrected LIM: a seasonal LIM and a small recurrent network, which forecast together.

The network has more principal components than the LIM, a memory of what was before, and is trained
through its own forecasts, so that an index (Nino3.4) is right at all leads. The forecast is the
mean of both. The network has no nonlinearity: every one that was tried forecast left-out decades
worse.
Legend of the shape suffixes: B batch, T time, H W space, C variables (one), N components (the
principal components, then the level), K principal components, M memory, L leads, R records'
windows, 3 the harmonics of the year (1, cosine, sine).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .base import FrameConfig, FrameForecaster
from .seasonal_lim import SeasonalLIM, SeasonalLIMConfig, sum_of_rows

# Chosen by leaving out the decades of 1950-1999, one by one; a wide plateau around each.
STEPS = 50  # of Adam on all windows at once
LEARNING_RATE = 2e-3
WARMUP = 5
STAY = 6.0  # penalty on leaving the start, in squared errors of the start
SMALL = 0.6  # penalty on the weights that write the memory of the frames given
KEPT = 0.9  # of the memory, a month later, at the start
SEASON = 3  # months, of the means that are to be right


@dataclass(frozen=True)
class CorrectedLIMConfig(FrameConfig):
    """The frames of a corrected LIM, and the sizes of its two parts.

    Parameters
    ----------
    in_len, out_len : int
        Number of frames given (more than the longest delay of the LIM) and forecast.
    height, width, channels : int
        Cells of the field, and 1 variable; the calendar month's two channels come on top.
    n_eofs, delays, ridge
        Of the LIM, see `SeasonalLIMConfig`, where `n_eofs` is of one variable.
    network_eofs, memory : int
        Principal components of the network, and numbers that it remembers besides.

    Examples
    --------
    >>> CorrectedLIMConfig().lim.n_eofs
    (15,)
    """

    in_len: int = 12
    out_len: int = 14
    height: int = 31
    width: int = 180
    n_eofs: int = 15
    delays: tuple[int, ...] = (0, 3, 6)
    ridge: float = 0.01
    network_eofs: int = 26
    memory: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_counts("n_eofs", "network_eofs", "memory")
        if self.channels != 1 or self.in_len < 2 or self.out_len < SEASON:
            raise ValueError(
                f"expected 1 channel, in_len from 2 and out_len from {SEASON} on, found "
                f"{self.channels}, {self.in_len} and {self.out_len}: CorrectedLIMConfig()"
            )
        _ = self.lim  # a ValueError where its fields don't fit one another

    @property
    def lim(self) -> SeasonalLIMConfig:
        """The LIM."""
        return self._lim(self.n_eofs, self.delays)

    @property
    def start(self) -> SeasonalLIMConfig:
        """The LIM from which the network's training starts."""
        return self._lim(self.network_eofs, (0,))

    def _lim(self, n_eofs: int, delays: tuple[int, ...]) -> SeasonalLIMConfig:
        size = self.in_len, self.out_len, self.height, self.width
        return SeasonalLIMConfig(*size, n_eofs=(n_eofs,), delays=delays, ridge=self.ridge)


PRESETS = {
    "enso": CorrectedLIMConfig(),
    "tiny": CorrectedLIMConfig(
        4, 3, height=4, width=6, n_eofs=2, delays=(0, 2), network_eofs=3, memory=1
    ),
}


class CorrectedLIM(FrameForecaster[CorrectedLIMConfig]):
    """The mean of a seasonal LIM and a recurrent network of principal components z and memory e.

    z(t + 1) = S(month) z(t) + R(month) e(t), e(t + 1) = Q e(t) + W z(t), and the memory at the last
    frame given is a linear function of the frames before it. Month by month, S and R follow the
    harmonics of the year.

    The level, what a uniform warming adds to, is treated as by `SeasonalLIM`: a constant added to
    all frames given comes out as it went in, and changes nothing else. Land is ignored on the way
    in and zero on the way out. The last two channels are sine and cosine of the calendar month.

    With a generator the forecast is a member: what the LIM's noise makes of its forecast is added.

    Examples
    --------
    >>> model = CorrectedLIM(PRESETS["tiny"])
    >>> model.predict(torch.zeros(1, 4, 4, 6, 3)).shape
    torch.Size([1, 3, 4, 6, 1])
    """

    sample_by_sample = True  # a batch need not be filled up, see `forward`
    draws = True  # members, where a generator is given
    light = True
    projection: Tensor  # (N, H, W, C): field to the network's components
    patterns: Tensor  # (N, H, W, C): components to field

    def __init__(self, config: CorrectedLIMConfig) -> None:
        super().__init__(config)
        k, m = config.network_eofs, config.memory
        maps = k + 1, config.height, config.width, config.channels
        self.lim = SeasonalLIM(config.lim)
        self.register_buffer("projection", torch.zeros(maps))
        self.register_buffer("patterns", torch.zeros(maps))
        self.step = nn.Parameter(torch.zeros(3, k, k))  # S
        self.recall = nn.Parameter(torch.zeros(3, m, k))  # R
        self.keep = nn.Parameter(KEPT * torch.eye(m))  # Q
        self.write = nn.Parameter(torch.zeros(k, m))  # W
        self.remember = nn.Parameter(torch.zeros(config.in_len - 1, k, m))

    @classmethod
    def fit(
        cls,
        x_THWC: ArrayLike,
        first_month: int,
        latitude: ArrayLike,
        index_HW: ArrayLike,
        config: CorrectedLIMConfig | None = None,
        weight_HWC: ArrayLike | None = None,
        weight_T: ArrayLike | None = None,
    ) -> CorrectedLIM:
        """Fit the LIM, then train the network, in float64; return the model in float32.

        Parameters
        ----------
        x_THWC, first_month, latitude, weight_HWC, weight_T
            See `SeasonalLIM.fit`. The network's patterns see the squares of `weight_HWC`.
        index_HW : array
            Weights of the cells in the index that is to be forecast, zero on land; their sum is 1.

        Raises
        ------
        ValueError
            When shapes aren't the config's, values are missing at some times only, or the record is
            too short.
        """
        config = config or CorrectedLIMConfig()
        x_THWC, index_HW = np.asarray(x_THWC, np.float64), np.asarray(index_HW, np.float64)
        weight_T = np.ones(len(x_THWC)) if weight_T is None else np.asarray(weight_T, np.float64)
        squares_HWC = None if weight_HWC is None else np.square(weight_HWC)
        record = x_THWC, first_month, latitude
        lim = SeasonalLIM.fit(*record, config.lim, weight_HWC, weight_T)
        start = SeasonalLIM.fit(*record, config.start, squares_HWC, weight_T)
        if index_HW.shape != x_THWC.shape[1:3] or (index_HW[~start.ocean[..., 0].numpy()]).any():
            raise ValueError(
                f"expected index_HW of shape {x_THWC.shape[1:3]}, zero on land, found "
                f"{index_HW.shape}: CorrectedLIM.fit(..., index_HW=np.where(ocean, weights, 0))"
            )
        model = cls(config)
        model.lim.load_state_dict(lim.state_dict())
        model.projection.copy_(start.projection)
        model.patterns.copy_(start.patterns)
        model.double()
        month_T = (first_month - 1 + np.arange(len(x_THWC))) % 12
        windows = _Windows(model, np.nan_to_num(x_THWC[..., 0]), index_HW, month_T, weight_T)
        model.step.data = _harmonics_of(start.propagator[:, 0].double())
        _train(model, windows)
        return model.float().eval()

    def forward(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # Sample by sample: a forecast must be the same bits in any batch.
        return torch.cat([self._one_sample(x_1THWC, generator) for x_1THWC in x_BTHWC.split(1)])

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the forecast (B, out_len, H, W, C): its mean, or with a generator a member."""
        return self(x_BTHWC, generator)

    def _one_sample(self, x_1THWC: Tensor, generator: torch.Generator | None) -> Tensor:
        lim_1THWC = self.lim(x_1THWC)  # a ValueError where the shape isn't the config's
        fields = torch.where(self.lim.ocean, x_1THWC[..., : self.config.channels], 0)
        y_1TN = sum_of_rows(fields[..., 0], self.projection[..., 0])
        sine, cosine = x_1THWC[:, -1, 0, 0, -2:].unbind(dim=-1)
        z_1LK = self.components(y_1TN[..., :-1], torch.atan2(sine, cosine))
        slow_1L1 = y_1TN[..., -1].mean(dim=1)[:, None, None].expand(-1, self.out_len, 1)
        y_1LN = torch.cat([z_1LK, slow_1L1], dim=-1)
        network_1THWC = (y_1LN @ self.patterns.flatten(1)).unflatten(-1, self.patterns.shape[1:])
        mean_1THWC = (lim_1THWC + network_1THWC) / 2
        if generator is None:
            return mean_1THWC
        return mean_1THWC + (self.lim(x_1THWC, generator) - lim_1THWC)

    def components(self, z_BTK: Tensor, month_B: Tensor) -> Tensor:
        """Return the network's principal components (B, L, K), of those given.

        `month_B` is the calendar month of the last frame given as an angle, 2 pi m / 12.
        """
        z_BK = z_BTK[:, -1]
        # month by month, as in `sum_of_rows`
        e_BM = einsum(z_BTK[:, :-1], self.remember, "b t k, t k m -> b t m").sum(dim=1)
        future = []
        for _ in range(self.out_len):
            year_3B1 = torch.stack([torch.ones_like(month_B), month_B.cos(), month_B.sin()])[
                ..., None
            ]
            following = (year_3B1 * (z_BK @ self.step + e_BM @ self.recall)).sum(dim=0)
            e_BM = e_BM @ self.keep + z_BK @ self.write
            z_BK, month_B = following, month_B + math.pi / 6
            future.append(z_BK)
        return torch.stack(future, dim=1)


class _Windows:
    """What training sees of a record: components given, the index to come, and its weight."""

    def __init__(
        self,
        model: CorrectedLIM,
        x_THW: np.ndarray,
        index_HW: np.ndarray,
        month_T: np.ndarray,
        weight_T: np.ndarray,
    ) -> None:
        before, after = model.in_len, model.out_len
        used = np.lib.stride_tricks.sliding_window_view(weight_T > 0, before + after).all(axis=1)
        if not used.any():
            raise ValueError(
                f"expected {before + after} months in a row that aren't left out, found none: "
                "CorrectedLIM.fit(..., weight_T=None)"
            )
        last_R = torch.from_numpy(np.flatnonzero(used) + before - 1)  # the last frames given
        x_TS, index_S = torch.from_numpy(x_THW).flatten(1), torch.from_numpy(index_HW).flatten()
        maps_SN = torch.cat([model.projection.flatten(1), index_S[None]]).T
        y_TN, index_T = _centred(x_TS @ maps_SN, month_T, weight_T).tensor_split([-1], dim=1)
        y_RTN = y_TN[last_R[:, None] + torch.arange(1 - before, 1)]
        self.index_N = model.patterns.flatten(1) @ index_S
        self.given_RTK = y_RTN[..., :-1]
        self.slow_R1 = self.index_N[-1] * y_RTN[..., -1].mean(dim=1, keepdim=True)
        self.season_RL = _seasons(index_T[last_R[:, None] + torch.arange(1, after + 1), 0])
        self.month_R = (torch.from_numpy(month_T)[last_R] + 1) * (math.pi / 6)
        weight_R = torch.from_numpy(weight_T)[last_R]
        self.weight_R1 = (weight_R / weight_R.sum())[:, None]

    def squared_error(self, model: CorrectedLIM) -> Tensor:
        """Return the mean squared error (L,) of seasonal means of the index, by lead."""
        z_RLK = model.components(self.given_RTK, self.month_R)
        season_RL = _seasons(z_RLK @ self.index_N[:-1] + self.slow_R1)
        return (self.weight_R1 * (season_RL - self.season_RL) ** 2).sum(dim=0)


def _centred(y_TN: Tensor, month_T: np.ndarray, weight_T: np.ndarray) -> Tensor:
    """Return departures from the weighted mean of each month, as `SeasonalLIM` is fitted to."""
    y_TN, weight_T1 = y_TN.clone(), torch.from_numpy(weight_T)[:, None]
    for month in range(12):
        rows = torch.from_numpy(month_T == month)
        y_TN[rows] -= (weight_T1[rows] * y_TN[rows]).sum(dim=0) / weight_T1[rows].sum()
    return y_TN


def _seasons(x_RL: Tensor) -> Tensor:
    """Return the running means of SEASON months."""
    return F.avg_pool1d(x_RL[:, None], SEASON, stride=1)[:, 0]


def _harmonics_of(a_12KK: Tensor) -> Tensor:
    """Return 1, cosine and sine (3, K, K) of a year's propagators, transposed: z S = A z.

    >>> _harmonics_of(torch.full((12, 1, 1), 2.0)).flatten().abs().round().tolist()
    [2.0, 0.0, 0.0]
    """
    month = torch.arange(1, 13, dtype=a_12KK.dtype) * (math.pi / 6)
    year_3M = torch.stack([torch.full_like(month, 0.5), month.cos(), month.sin()]) / 6
    return einsum(year_3M, a_12KK, "h m, m i j -> h j i")


def _train(model: CorrectedLIM, windows: _Windows) -> None:
    """Train the network to forecast the index at all leads, without leaving its start by much."""
    parameters = [model.step, model.recall, model.keep, model.write, model.remember]
    start = [parameter.detach().clone() for parameter in parameters[:-1]]
    with torch.no_grad():  # a lead's error counts as a share of what it is without training
        unit_L = windows.squared_error(model)
    generator = torch.Generator().manual_seed(0)
    # A memory that nothing is written to or read from would have no gradient.
    for parameter, std in ((model.remember, 0.3), (model.recall, 0.02)):
        normal = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data = normal * std
    model.remember.data /= math.sqrt(model.remember[..., 0].numel())
    model.recall.data[1:] = 0  # of the year's mean alone
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP)
        error = (windows.squared_error(model) / unit_L).mean()
        left = sum(((now - then) ** 2).sum() for now, then in zip(parameters, start, strict=False))
        loss = error + STAY * left + SMALL * (model.remember**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
