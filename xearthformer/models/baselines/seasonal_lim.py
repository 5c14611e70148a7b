"""Seasonal LIM: a linear inverse model whose propagator and noise follow the calendar month.

The state is a few principal components of each variable's anomaly, now and at some months before,
relative to the variable's mean over the tropics. A month multiplies it by that month's matrix and
adds that month's noise. The fit is closed form.
Legend of the shape suffixes: B batch, T time, H W space, C variables, N components (of each
variable its principal components, then its level), K principal components, D delays, S ocean
cells, P = D K predictors, R rows of a regression, M calendar months.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from numpy.typing import ArrayLike
from torch import Tensor

from ..layers.checks import expect_counts
from .base import FrameConfig, FrameForecaster
from .lim import MAX_RADIUS, companion

# Chosen by leaving decades out of 1920-1999 (several variables: four years out of 1980-1999).
TROPICS = 20.0  # degrees: the mean between 20S and 20N is what "relative SST" is relative to
RIDGE = {"delayed": 10.0, "seasonal": 10.0}  # times config.ridge, for what the record tells worse
JOINT = 30.0  # times config.ridge, for what only the years tell that have all variables
BLOCKS = 6  # parts of the record, each forecast by a fit without it: their errors are the noise
NEIGHBOURS = {-1: 0.25, 0: 0.5, 1: 0.25}  # shares of the months before and after in a month's noise
# Left-out blocks overstate the errors of a fit to all of them, so that the spread is scaled.
NOISE = 0.8  # variance of what is drawn, as a share of the errors' variance
START = 0.25  # variance of a start's error, observations being uncertain: this share of a month's
GROWTH = 0.2  # noise is this much stronger per standard deviation of the first component,
RANGE = 0.5, 1.8  # within these limits: El Nino is stirred more than La Nina
MEMORY = 0.7  # autocorrelation of the level around its slow part, after a month


@dataclass(frozen=True)
class SeasonalLIMConfig(FrameConfig):
    """The frames of a seasonal LIM and its fit.

    Parameters
    ----------
    in_len, out_len : int
        Number of frames given (more than the longest delay) and forecast.
    height, width, channels : int
        Cells of the field, and number of variables; the calendar month's two channels come on top.
    n_eofs : tuple of int
        Number of principal components of each variable.
    delays : tuple of int
        The frames that the state holds, counted back from the last; ascending from 0.
    ridge : float
        Added to the predictors' covariance (1 is the variance of a component): it damps what the
        record can't tell.

    Examples
    --------
    >>> SeasonalLIMConfig(channels=2, n_eofs=[15, 5]).n_eofs
    (15, 5)
    """

    in_len: int = 12
    out_len: int = 14
    height: int = 31
    width: int = 180
    n_eofs: tuple[int, ...] = (15,)
    delays: tuple[int, ...] = (0, 3, 6)
    ridge: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_counts("n_eofs", self.n_eofs)
        delays = self.delays
        whole = all(isinstance(delay, int) and not isinstance(delay, bool) for delay in delays)
        if not delays or not whole or delays[0] != 0 or delays != tuple(sorted(set(delays))):
            raise ValueError(
                f"expected delays as ascending whole numbers from 0 on, found {delays}: "
                "SeasonalLIMConfig(delays=(0, 3, 6))"
            )
        if self.in_len <= delays[-1]:
            raise ValueError(
                f"expected in_len above {delays[-1]}, the longest of the delays, found "
                f"{self.in_len}: SeasonalLIMConfig(in_len={1 + delays[-1]}, ...)"
            )
        if len(self.n_eofs) != self.channels:
            raise ValueError(
                f"expected n_eofs of {self.channels} variables, found {self.n_eofs}: "
                f"SeasonalLIMConfig(channels={len(self.n_eofs)}, ...)"
            )
        if not 0 <= self.ridge < math.inf:
            raise ValueError(
                f"expected a ridge from 0 on, found {self.ridge}: SeasonalLIMConfig(ridge=0)"
            )


PRESETS = {
    "enso": SeasonalLIMConfig(),
    "enso-ocean": SeasonalLIMConfig(channels=2, n_eofs=(15, 5)),
    "tiny": SeasonalLIMConfig(4, 3, height=4, width=6, n_eofs=(2,), delays=(0, 2)),
}


class SeasonalLIM(FrameForecaster[SeasonalLIMConfig]):
    """z(t + 1) = sum_d A_d(month) z(t - d) + noise(month), with z the components of the anomaly.

    Cyclostationary, as Shin et al. (2021), J. Climate 34, 171-193; without seasons and delays
    it is the model of Penland and Sardeshmukh (1995), J. Climate 8, 1999-2024.

    A variable's level is what a uniform warming adds to: its tropical mean, less what the principal
    components say of it. The level is forecast as its mean over the frames given. So a constant
    added to all frames of a variable comes out as it went in, and changes nothing else: the
    forecast is blind to the period that anomalies are taken from, as far as periods differ by a
    constant.

    The forecast is the field E y of the components y = P x, and P E = 1: a forecast read again is
    the state that it came from, so that a model that goes on from its own output is the same model,
    if it forecasts as many frames as it reads. Land is ignored on the way in and zero on the way
    out. The last two channels are sine and cosine of the calendar month.

    With a generator the forecast is a member: noise is drawn and added month by month.

    Examples
    --------
    Two cells that keep half of their difference in a month, and 0.1 of warming in both:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.zeros((6000, 1, 2, 1))
    >>> for t in range(1, 6000):
    ...     x[t, 0, :, 0] = 0.5 * x[t - 1, 0, :, 0] + rng.normal() * np.array([1, -1])
    >>> config = SeasonalLIMConfig(1, 3, 1, 2, n_eofs=(1,), delays=(0,))
    >>> lim = SeasonalLIM.fit(x, 1, [0.0], config)
    >>> month = np.full((1, 2, 2), [np.sin(np.pi / 6), np.cos(np.pi / 6)])  # January
    >>> given = np.concatenate([[[[1.1], [-0.9]]], month], axis=-1)
    >>> y = lim.predict(torch.tensor(given[None, None], dtype=torch.float32))
    >>> print(y.squeeze().numpy().round(1))
    [[ 0.6 -0.4]
     [ 0.3 -0.1]
     [ 0.2 -0. ]]
    """

    sample_by_sample = True  # a batch need not be filled up, see `forward`
    draws = True  # members, where a generator is given
    light = True
    ocean: Tensor  # (H, W, C) of bool, false on land
    projection: Tensor  # P (N, H, W, 1): each component's variable to the component
    patterns: Tensor  # E (N, H, W, 1): components to their variable
    propagator: Tensor  # A (M, D, K, K), January first
    noise: Tensor  # (M, N, N), symmetric: times white noise, the noise of the step out of a month

    def __init__(self, config: SeasonalLIMConfig) -> None:
        super().__init__(config)
        k, n = sum(config.n_eofs), sum(config.n_eofs) + config.channels
        shape = config.height, config.width, config.channels
        self.register_buffer("ocean", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("projection", torch.zeros(n, *shape[:2], 1))
        self.register_buffer("patterns", torch.zeros(n, *shape[:2], 1))
        self.register_buffer("propagator", torch.zeros(12, len(config.delays), k, k))
        self.register_buffer("noise", torch.zeros(12, n, n))
        self.levels, self.eofs = _places(config.n_eofs)
        self.sizes = [n + 1 for n in config.n_eofs]  # of each variable: components and level

    @classmethod
    def fit(
        cls,
        x_THWC: ArrayLike,
        first_month: int,
        latitude: ArrayLike,
        config: SeasonalLIMConfig | None = None,
        weight_HWC: ArrayLike | None = None,
        weight_T: ArrayLike | None = None,
    ) -> SeasonalLIM:
        """Fit a seasonal LIM to a record of anomalies, in float64; return it in float32.

        Parameters
        ----------
        x_THWC : array
            One frame per month without gaps, NaN on land. All but the first variable may begin
            later: NaN everywhere until then. It is fitted to departures from the record's own
            climatology, whatever period these anomalies are taken from.
        first_month : int
            The calendar month of the first frame, 1..12.
        latitude : array (H,)
            Cell centres, degrees north.
        weight_HWC : array, optional
            Weights of the cells in the EOFs, besides their area's; default 1. The pattern of a
            component covers cells of weight 0 too.
        weight_T : array, optional
            Weights of the frames; 0 leaves a frame out. Default 1.

        Raises
        ------
        ValueError
            When shapes aren't the config's, values are missing at some times only, or the record is
            too short.
        """
        config = config or SeasonalLIMConfig()
        x_THWC, latitude = np.asarray(x_THWC, np.float64), np.asarray(latitude, np.float64)
        weight_T = np.ones(len(x_THWC)) if weight_T is None else np.asarray(weight_T, np.float64)
        weight_HWC = np.broadcast_to(1.0 if weight_HWC is None else weight_HWC, x_THWC.shape[1:])
        ocean_HWC, present_TC = _ocean(x_THWC, latitude, weight_T, config)
        month_T = (first_month - 1 + np.arange(len(x_THWC))) % 12
        x_THWC = _centred(x_THWC, month_T, present_TC, weight_T)
        components = [
            _components(x_THWC[..., c], ocean_HWC[..., c], latitude, weight_HWC[..., c],
                        weight_T * present_TC[:, c], config.n_eofs[c], config.in_len)
            for c in range(config.channels)
        ]  # fmt: skip
        projection, patterns = (np.concatenate(maps) for maps in zip(*components, strict=True))
        parts = [
            np.einsum("thw, nhw -> tn", x_THWC[..., c], p) for c, (p, _) in enumerate(components)
        ]
        y_TN = np.hstack(parts)
        fit = _Fit(y_TN, present_TC, weight_T, month_T, config)
        state = {
            "ocean": ocean_HWC,
            "projection": projection[..., None],
            "patterns": patterns[..., None],
            "propagator": fit.propagator(fit.weight_T),
            "noise": fit.noise(),
        }
        model = cls(config)  # float32: loading rounds the fit
        model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return model.eval()

    def project(self, x_THWC: Tensor) -> Tensor:
        """Return the components (..., N) of fields (..., H, W, C)."""
        x_THWC = torch.where(self.ocean, x_THWC, 0)  # NaN on land times 0 is NaN
        maps = zip(x_THWC.unbind(-1), self.projection[..., 0].split(self.sizes), strict=True)
        return torch.cat([sum_of_rows(x_THW, own_NHW) for x_THW, own_NHW in maps], dim=-1)

    def expand(self, y_TN: Tensor) -> Tensor:
        """Return the fields (..., H, W, C) of components (..., N)."""
        own = self.patterns.flatten(1).split(self.sizes)
        maps = zip(y_TN.split(self.sizes, dim=-1), own, strict=True)
        fields = [own_TN @ own_NS for own_TN, own_NS in maps]
        return torch.stack(fields, dim=-1).unflatten(-2, self.patterns.shape[1:3])

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the forecast (B, out_len, H, W, C): its mean, or with a generator a member."""
        return self(x_BTHWC, generator)

    def forward(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        config = self.config
        shape = config.in_len, config.height, config.width, config.channels + 2
        if tuple(x_BTHWC.shape[1:]) != shape:
            raise ValueError(
                "expected x of shape (batch, in_len, height, width, channels and 2 of the month) = "
                f"(batch, {', '.join(map(str, shape))}), found {tuple(x_BTHWC.shape)}"
            )
        # Sample by sample: in a product of few rows, a row's arithmetic may depend on its place,
        # and a forecast must be the same bits in any batch.
        return torch.stack([self._one_sample(x_THWC, generator) for x_THWC in x_BTHWC])

    def _one_sample(self, x_THWC: Tensor, generator: torch.Generator | None) -> Tensor:
        y_TN = self.project(x_THWC[..., : self.config.channels])
        past_K = list(y_TN[:, self.eofs].unbind())
        slow_C = y_TN[:, self.levels].mean(dim=0)
        level_C, month = torch.zeros_like(slow_C), _month(x_THWC)
        start_N = self._noise((month - 1) % 12, past_K[-1], generator)
        past_K[-1] = past_K[-1] + START**0.5 * start_N[self.eofs]
        future_N = []
        for _ in range(self.out_len):
            # A month's matrix and noise are those that lead out of it.
            noise_N = self._noise(month, past_K[-1], generator)
            terms = zip(self.config.delays, self.propagator[month], strict=True)
            z_K = sum(a_KK @ past_K[-1 - delay] for delay, a_KK in terms) + noise_N[self.eofs]
            level_C = MEMORY * level_C + noise_N[self.levels]
            past_K.append(z_K)
            y_N = torch.empty_like(noise_N)
            y_N[self.eofs], y_N[self.levels] = z_K, slow_C + level_C
            future_N.append(y_N)
            month = (month + 1) % 12
        return self.expand(torch.stack(future_N))

    def _noise(self, month: int, z_K: Tensor, generator: torch.Generator | None) -> Tensor:
        factor_NN = self.noise[month]
        if generator is None:
            return factor_NN.new_zeros(len(factor_NN))
        white_N = torch.randn(
            len(factor_NN), generator=generator, device=generator.device, dtype=torch.float32
        )
        return (1 + GROWTH * z_K[0]).clip(*RANGE) * (factor_NN @ white_N.to(factor_NN))


def sum_of_rows(x_THW: Tensor, maps_NHW: Tensor) -> Tensor:
    """Return what maps weigh of fields (..., H, W): (..., N).

    Row by row: a sum over all cells would be shared out among threads, and how many there are would
    be a part of a forecast's bits.
    """
    return einsum(x_THW, maps_NHW, "... h w, n h w -> ... h n").sum(dim=-2)


def _month(x_THWC: Tensor) -> int:
    """Return the calendar month of the last frame, from 0, of its sine and cosine channels."""
    sine, cosine = x_THWC[-1, 0, 0, -2:].tolist()
    return (round(math.atan2(sine, cosine) * 6 / math.pi) - 1) % 12


def _places(n_eofs: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return where the levels and where the principal components stand among the components.

    >>> _places((2, 1))
    ([2, 4], [0, 1, 3])
    """
    levels = [int(end) + c for c, end in enumerate(np.cumsum(n_eofs))]
    return levels, [n for n in range(levels[-1]) if n not in levels]


def _ocean(
    x_THWC: np.ndarray, latitude: np.ndarray, weight_T: np.ndarray, config: SeasonalLIMConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return ocean mask (H, W, C) and presence (T, C); raise unless record and config fit."""
    shape = config.height, config.width, config.channels
    if x_THWC.ndim != 4 or x_THWC.shape[1:] != shape or latitude.shape != shape[:1]:
        raise ValueError(
            f"expected x (T, {', '.join(map(str, shape))}) and latitude ({shape[0]},), as the "
            f"config says; found {x_THWC.shape} and {latitude.shape}: "
            "SeasonalLIMConfig(height=..., width=..., channels=...)"
        )
    if weight_T.shape != x_THWC.shape[:1]:
        raise ValueError(
            f"expected a weight for each of {len(x_THWC)} frames, found {weight_T.shape}: "
            "SeasonalLIM.fit(..., weight_T=None)"
        )
    is_finite = np.isfinite(x_THWC)
    present_TC = is_finite.any(axis=(1, 2))
    ocean_HWC = is_finite.any(axis=0)
    gaps = ~is_finite & ocean_HWC & present_TC[:, None, None]
    begins_late = (np.diff(present_TC.astype(int), axis=0) >= 0).all() and present_TC[:, 0].all()
    if gaps.any() or not begins_late:
        raise ValueError(
            f"expected NaN on land alone, at all times from a variable's first frame on; found "
            f"{gaps.any(axis=0).sum()} cells that are missing at some times: fill or mask them"
        )
    rows = int((present_TC.all(axis=1) & (weight_T > 0)).sum()) - config.delays[-1] - 1
    if rows < 24 * BLOCKS:
        raise ValueError(
            f"expected at least {24 * BLOCKS + config.delays[-1] + 1} months of all variables, "
            f"found {rows + config.delays[-1] + 1}: SeasonalLIM.fit takes a longer record"
        )
    return ocean_HWC, present_TC


def _centred(
    x_THWC: np.ndarray, month_T: np.ndarray, present_TC: np.ndarray, weight_T: np.ndarray
) -> np.ndarray:
    """Return departures from the weighted mean of each calendar month, 0 where missing."""
    x_THWC, weight_TC = np.nan_to_num(x_THWC), weight_T[:, None] * present_TC
    for month in range(12):
        rows = month_T == month
        total_HWC = np.einsum("tc, thwc -> hwc", weight_TC[rows], x_THWC[rows])
        x_THWC[rows] -= total_HWC / weight_TC[rows].sum(axis=0)
    return x_THWC * present_TC[:, None, None]


def _trailing(x_T: np.ndarray, n: int) -> np.ndarray:
    """Return the mean of the last n along the first axis; of fewer at its start.

    >>> _trailing(np.array([1.0, 3.0, 5.0]), 2)
    array([1., 2., 4.])
    """
    total = np.cumsum(x_T, axis=0)
    count = np.minimum(np.arange(1, len(x_T) + 1), n).reshape(-1, *[1] * (x_T.ndim - 1))
    total[n:] = total[n:] - total[:-n]
    return total / count


def _components(
    x_THW: np.ndarray,
    ocean_HW: np.ndarray,
    latitude: np.ndarray,
    weight_HW: np.ndarray,
    weight_T: np.ndarray,
    n: int,
    memory: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return projection and patterns (n + 1, H, W): n principal components, then the level."""
    used_T = weight_T > 0
    x_TS, weight_T = x_THW[used_T][:, ocean_HW], weight_T[used_T] / weight_T.sum()
    area_HW = np.broadcast_to(np.cos(np.deg2rad(latitude))[:, None], ocean_HW.shape).clip(0)
    tropics_HW = area_HW * (np.abs(latitude) <= TROPICS)[:, None]
    mean_S = tropics_HW[ocean_HW] / tropics_HW[ocean_HW].sum()
    relative_TS = x_TS - (x_TS @ mean_S)[:, None]
    # An EOF is of the covariance, so the root of the area is used.
    root_S = np.sqrt(area_HW[ocean_HW]) * weight_HW[ocean_HW]
    _, _, eofs_KS = np.linalg.svd(
        np.sqrt(weight_T)[:, None] * relative_TS * root_S, full_matrices=False
    )
    projection_KS = eofs_KS[:n] * root_S
    z_TK = relative_TS @ projection_KS.T
    std_K = np.sqrt(weight_T @ z_TK**2)
    if len(std_K) < n or not (std_K > 1e-6 * std_K[0]).all():  # below it is rounding
        raise ValueError(
            f"n_eofs is {n}, but the record varies in {(std_K > 1e-6 * std_K[0]).sum()} ways only: "
            "take fewer EOFs"
        )
    # The sign of an EOF is arbitrary: large values are positive, El Nino rather than La Nina.
    std_K = np.where(weight_T @ z_TK**3 < 0, -std_K, std_K)
    projection_KS, z_TK = projection_KS / std_K[:, None], z_TK / std_K
    patterns_KS = (z_TK * weight_T[:, None]).T @ relative_TS  # z are uncorrelated: P E = 1
    # What z says of the tropical mean, of deviations from what comes before as the level is.
    fast = [a - _trailing(a, memory) for a in (z_TK, x_TS @ mean_S)]
    root_T = np.sqrt(weight_T)
    mean_K = np.linalg.lstsq(root_T[:, None] * fast[0], root_T * fast[1], rcond=None)[0]
    # z of the relative anomaly x - m(x) is that of x by the projection that forgets its constant.
    projection_KS -= projection_KS.sum(axis=1)[:, None] * mean_S
    maps = np.zeros((2, n + 1, *ocean_HW.shape))
    maps[0][:, ocean_HW] = np.vstack([projection_KS, mean_S - mean_K @ projection_KS])
    maps[1][:, ocean_HW] = np.vstack([patterns_KS + mean_K[:, None], np.ones_like(mean_S)])
    return maps[0], maps[1]


def _harmonics(month: ArrayLike) -> np.ndarray:
    """Return 1, cos and sin (..., 3) of a month of the year, from 0 for January."""
    angle = 2 * np.pi * (np.asarray(month) + 1) / 12
    return np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], axis=-1)


class _Fit:
    """The regressions of a fit: propagator and noise of the components of a record."""

    def __init__(
        self,
        y_TN: np.ndarray,
        present_TC: np.ndarray,
        weight_T: np.ndarray,
        month_T: np.ndarray,
        config: SeasonalLIMConfig,
    ) -> None:
        levels, eofs = _places(config.n_eofs)
        self.config, self.weight_T = config, weight_T
        self.z_TK, self.level_TC = y_TN[:, eofs], y_TN[:, levels]
        self.all_T, self.month_T = present_TC.all(axis=1), month_T

    def propagator(self, weight_T: np.ndarray) -> np.ndarray:
        """Return A (M, D, K, K): the first variable's own, corrected where there are others."""
        config = self.config
        d, k, first = len(config.delays), self.z_TK.shape[1], config.n_eofs[0]
        own = self._regression(weight_T, config.ridge, np.zeros((3, d, first, first)))
        if k == first:
            return _stable(_by_month(own), config.delays)
        # The others' prior is a persistence that fades; the first's is what it does by itself.
        prior = np.zeros((3, d, k, k))
        prior[:, :, :first, :first] = own
        weight_T = weight_T * self.all_T
        rows = self._rows(weight_T)
        z, target = self.z_TK[rows], self.z_TK[rows + 1]
        fading_K = (weight_T[rows] @ (z * target)) / (weight_T[rows] @ z**2)
        others = np.arange(first, k)
        prior[0, 0, others, others] = fading_K[others]
        joint = self._regression(weight_T, JOINT * config.ridge, prior)
        return _stable(_by_month(joint), config.delays)

    def noise(self) -> np.ndarray:
        """Return the factor (M, N, N) of each month's noise, from the errors of left-out blocks."""
        config = self.config
        levels, eofs = _places(config.n_eofs)
        full_T = (self.weight_T == self.weight_T.max()) & self.all_T
        month_R, error_RN = [], []
        fast_TC = self.level_TC - _trailing(self.level_TC, config.in_len)
        for block in np.array_split(np.flatnonzero(full_T), BLOCKS):
            weight_T = self.weight_T.copy()
            weight_T[block[0] : block[-1] + 1] = 0
            a_MDKK = self.propagator(weight_T)
            rows = block[(block > block[0] + config.delays[-1])] - 1
            past_RDK = np.stack([self.z_TK[rows - delay] for delay in config.delays], axis=1)
            expected_RK = np.einsum("rdij, rdj -> ri", a_MDKK[self.month_T[rows]], past_RDK)
            error = np.empty((len(rows), len(levels) + len(eofs)))
            error[:, eofs] = self.z_TK[rows + 1] - expected_RK
            error[:, levels] = fast_TC[rows + 1] - MEMORY * fast_TC[rows]
            month_R.append(self.month_T[rows])
            error_RN.append(error / (1 + GROWTH * self.z_TK[rows, :1]).clip(*RANGE))
        month, error_RN = np.concatenate(month_R), np.concatenate(error_RN)
        own_MNN = np.stack(
            [error_RN[month == m].T @ error_RN[month == m] / (month == m).sum() for m in range(12)]
        )
        shared = [share * np.roll(own_MNN, -step, axis=0) for step, share in NEIGHBOURS.items()]
        # The symmetric root, for it is unique: a fit is reproducible.
        variance_MN, vectors_MNN = np.linalg.eigh(NOISE * sum(shared))
        return vectors_MNN * np.sqrt(variance_MN.clip(0))[:, None, :] @ vectors_MNN.swapaxes(1, 2)

    def _rows(self, weight_T: np.ndarray) -> np.ndarray:
        """Return the frames from which a step starts, none of its frames being left out."""
        longest = self.config.delays[-1]
        used = np.lib.stride_tricks.sliding_window_view(weight_T > 0, longest + 2).all(axis=1)
        return np.flatnonzero(used) + longest

    def _regression(self, weight_T: np.ndarray, ridge: float, prior: np.ndarray) -> np.ndarray:
        """Return the harmonics (3, D, K, K) of A: a ridge regression, drawn to the prior."""
        _, d, k, _ = prior.shape
        rows, z_TK = self._rows(weight_T), self.z_TK[:, :k]
        past_RP = np.hstack([z_TK[rows - delay] for delay in self.config.delays])
        predictors = np.einsum("rh, rp -> rhp", _harmonics(self.month_T[rows]), past_RP)
        predictors = predictors.reshape(len(rows), -1)
        penalty = np.ones((3, d, k))
        penalty[:, 1:] *= RIDGE["delayed"]
        penalty[1:] *= RIDGE["seasonal"]
        weight_R = weight_T[rows]
        prior_QK = prior.transpose(0, 1, 3, 2).reshape(-1, k)
        error_RK = z_TK[rows + 1] - predictors @ prior_QK
        weighted = predictors.T * weight_R
        covariance = weighted @ predictors + np.diag(ridge * weight_R.sum() * penalty.ravel())
        change_QK = np.linalg.solve(covariance, weighted @ error_RK)
        return (prior_QK + change_QK).reshape(3, d, k, k).transpose(0, 1, 3, 2)


def _by_month(harmonics_3DKK: np.ndarray) -> np.ndarray:
    return np.einsum("mh, hdij -> mdij", _harmonics(np.arange(12)), harmonics_3DKK)


def _stable(a_MDKK: np.ndarray, delays: tuple[int, ...]) -> np.ndarray:
    """Shrink what a year does, should any of its modes not fade within decades."""
    year = np.linalg.multi_dot([companion(a_DKK, delays) for a_DKK in a_MDKK[::-1]])
    radius = np.abs(np.linalg.eigvals(year)).max() ** (1 / 12)
    shrink = min(1.0, MAX_RADIUS / radius) if radius > 0 else 1.0
    return a_MDKK * shrink ** (np.array(delays) + 1.0)[:, None, None]
