"""LIM: a linear inverse model with delays, after Penland and Sardeshmukh (1995).

The state is a few leading principal components of an anomaly field, now and at some times before;
a month multiplies it by a matrix and adds noise that is white in time. The fit is closed form.
Legend of the shape suffixes: B batch, T time, H W space, C channels, K principal components,
D delays, S ocean cells, N rows of a regression, P = D K its predictors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from numpy.typing import ArrayLike
from torch import Tensor

from .base import ForecastConfig, FrameForecaster

MAX_RADIUS = 0.995  # largest |eigenvalue|: the slowest mode loses two thirds in 200 steps


@dataclass(frozen=True)
class LIMConfig(ForecastConfig):
    """The frames of a LIM and its fit; `delays=(0,), ridge=0` is the LIM of the paper.

    The defaults are for monthly sea surface temperature, on the ICAR-ENSO grid.

    Parameters
    ----------
    in_len, out_len : int
        Number of frames given (1 + the longest delay) and forecast.
    height, width : int
        Cells of the field.
    n_eofs : int
        Number of principal components in the state (K).
    delays : tuple of int
        The frames that the state holds, counted back from the last; ascending.
    ridge : float
        Added to the predictors' covariance (1 is the variance of a component): it damps what the
        record can't tell. For simulations rather than forecasts use none: the ridge takes from the
        variance.

    Examples
    --------
    >>> LIMConfig(in_len=1, delays=[0], ridge=0).delays
    (0,)
    """

    in_len: int = 10
    out_len: int = 14
    height: int = 24
    width: int = 48
    n_eofs: int = 25
    delays: tuple[int, ...] = (0, 1, 3, 6, 9)
    ridge: float = 0.3

    def __post_init__(self) -> None:
        delays = tuple(self.delays)
        object.__setattr__(self, "delays", delays)
        are_whole = all(isinstance(d, int) and not isinstance(d, bool) for d in delays)
        if not delays or not are_whole or delays[0] < 0 or delays != tuple(sorted(set(delays))):
            raise ValueError(
                f"expected delays as ascending whole numbers from 0 on, found {self.delays}: "
                "LIMConfig(delays=(0, 1, 3), in_len=4)"
            )
        if self.in_len != 1 + delays[-1]:
            raise ValueError(
                f"expected in_len {1 + delays[-1]}, which is 1 + the longest of the delays "
                f"{delays}, found {self.in_len}: LIMConfig(in_len={1 + delays[-1]}, ...)"
            )
        if not 0 <= self.ridge < math.inf:
            raise ValueError(f"expected a ridge from 0 on, found {self.ridge}: LIMConfig(ridge=0)")


PRESETS = {
    "enso": LIMConfig(),
    "tiny": LIMConfig(in_len=3, out_len=3, height=4, width=6, n_eofs=2, delays=(0, 2)),
}


class LIM(FrameForecaster[LIMConfig]):
    """A linear inverse model with delays: z(t + 1) = sum_d A_d z(t - d) + noise, with z = P x.

    Without delays it is the model of Penland and Sardeshmukh (1995), J. Climate 8, 1999-2024.
    The forecast, of the mean, is the field E z. The principal components z are in units of their
    own standard deviation, and P E = 1: a forecast read again is the state that it came from, so
    that a model that goes on from its own output is the same model. Land is ignored on the way in
    and zero on the way out.

    Examples
    --------
    Two cells that turn by a quarter each time and lose a tenth, stirred by noise:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.zeros((5000, 1, 2))
    >>> for t in range(1, 5000):
    ...     x[t, 0] = 0.9 * np.array([-x[t - 1, 0, 1], x[t - 1, 0, 0]]) + rng.normal(size=2)
    >>> config = LIMConfig(1, out_len=2, height=1, width=2, n_eofs=2, delays=(0,), ridge=0)
    >>> lim = LIM.fit(x, [0.0], config)
    >>> y = lim.predict(torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2, 1))
    >>> print(y.squeeze().numpy().round(1) + 0.0)
    [[ 0.   0.9]
     [-0.8  0. ]]
    """

    sample_by_sample = True  # a batch need not be filled up, see `forward`
    ocean: Tensor  # (H, W) of bool, false on land
    projection: Tensor  # P (K, H, W): field to components, with area weights and land mask
    patterns: Tensor  # E (K, H, W): components to field, field units per standard deviation
    propagator: Tensor  # A_d (D, K, K); no eigenvalue of their `companion` is beyond MAX_RADIUS
    noise_covariance: Tensor  # (K, K): of the part of a month that is left unexplained

    def __init__(self, config: LIMConfig) -> None:
        super().__init__(config)
        h, w, k = config.height, config.width, config.n_eofs
        self.register_buffer("ocean", torch.ones(h, w, dtype=torch.bool))
        self.register_buffer("projection", torch.zeros(k, h, w))
        self.register_buffer("patterns", torch.zeros(k, h, w))
        self.register_buffer("propagator", torch.zeros(len(config.delays), k, k))
        self.register_buffer("noise_covariance", torch.eye(k))

    @classmethod
    def fit(cls, x_THW: ArrayLike, latitude: ArrayLike, config: LIMConfig | None = None) -> LIM:
        """Fit a LIM to a record of anomalies, in float64; return it in float32, for evaluation.

        EOFs are weighted by sqrt(cos(latitude)). All A_d together are the ridge regression of the
        components on themselves, delayed: A = B^T X (X^T X + ridge N)^-1, for N rows of predictors
        X and targets B. Where an eigenvalue of the step lies beyond r = 0.995, A_d becomes
        c^(d + 1) A_d with the c that brings the largest to r: this multiplies every eigenvalue by c
        and leaves the modes' shapes and periods as they are.

        The record is one frame per time without gaps, zero meaning the climatology, NaN on land;
        `latitude` (H,) holds cell centres, degrees north. A ValueError says when shapes aren't the
        config's, values are missing at some times only, or the record is too short.
        """
        config = config or LIMConfig()
        x_THW, latitude = np.asarray(x_THW, np.float64), np.asarray(latitude, np.float64)
        ocean_HW = _ocean(x_THW, latitude, config)
        x_TS = x_THW[:, ocean_HW]
        # A cell's area goes with cos(latitude); an EOF is of the covariance, so its root is used.
        weight_H = np.sqrt(np.clip(np.cos(np.deg2rad(latitude)), 0, None))
        weight_S = np.broadcast_to(weight_H[:, None], ocean_HW.shape)[ocean_HW]
        projection_KS, z_TK = _principal_components(x_TS, weight_S, config.n_eofs)
        patterns_KS = z_TK.T @ x_TS / len(x_TS)  # regression on uncorrelated components: P E = 1
        propagator_DKK, noise_covariance = _regression(z_TK, config.delays, config.ridge)
        # Zero on land: whatever stands there is ignored, and the forecast is zero.
        maps = np.zeros((2, config.n_eofs, *ocean_HW.shape))
        maps[..., ocean_HW] = projection_KS, patterns_KS
        state = {
            "ocean": ocean_HW,
            "projection": maps[0],
            "patterns": maps[1],
            "propagator": propagator_DKK,
            "noise_covariance": noise_covariance,
        }
        model = cls(config)  # float32: loading rounds the fit
        model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return model.eval()

    def project(self, x_THWC: Tensor) -> Tensor:
        """Return the principal components (..., C, K) of fields (..., H, W, C)."""
        x_THWC = torch.where(self.ocean[..., None], x_THWC, 0)  # NaN on land times 0 is NaN
        return einsum(x_THWC, self.projection, "... h w c, k h w -> ... c k")

    def expand(self, z_TCK: Tensor) -> Tensor:
        """Return the fields (..., H, W, C) of principal components (..., C, K)."""
        return einsum(z_TCK, self.patterns, "... c k, k h w -> ... h w c")

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        # Sample by sample: in a product of few rows, a row's arithmetic may depend on its place,
        # and a forecast must be the same bits in any batch.
        return torch.cat([self._one_sample(x_1THWC) for x_1THWC in x_BTHWC.split(1)])

    def _one_sample(self, x_1THWC: Tensor) -> Tensor:
        past = list(self.project(x_1THWC[:, -self.in_len :]).unbind(dim=1))  # each (1, C, K)
        for _ in range(self.out_len):
            terms = zip(self.config.delays, self.propagator, strict=True)
            past.append(sum(past[-1 - delay] @ a_KK.T for delay, a_KK in terms))
        return self.expand(torch.stack(past[-self.out_len :], dim=1))


def companion(propagator_DKK: np.ndarray, delays: Sequence[int]) -> np.ndarray:
    """Return the matrix that takes the state with its past, z(t), .. z(t - max d), one time on.

    From A_d (D, K, K) to (M K, M K), with M = 1 + the longest delay.

    >>> companion(np.reshape([0.5, 0.2], (2, 1, 1)), (0, 2))
    array([[0.5, 0. , 0.2],
           [1. , 0. , 0. ],
           [0. , 1. , 0. ]])
    """
    k, past = propagator_DKK.shape[1], max(delays)
    matrix = np.eye((past + 1) * k, k=-k)  # every older state moves one place back
    for delay, a_KK in zip(delays, propagator_DKK, strict=True):
        matrix[:k, delay * k : (delay + 1) * k] = a_KK
    return matrix


def _ocean(x_THW: np.ndarray, latitude: np.ndarray, config: LIMConfig) -> np.ndarray:
    """Return the ocean mask (H, W); raise unless record, latitudes and config fit."""
    shape = config.height, config.width
    if x_THW.ndim != 3 or x_THW.shape[1:] != shape or latitude.shape != shape[:1]:
        raise ValueError(
            f"expected x (T, {shape[0]}, {shape[1]}) and latitude ({shape[0]},), as the config "
            f"says; found {x_THW.shape} and {latitude.shape}: LIMConfig(height=..., width=...)"
        )
    is_finite = np.isfinite(x_THW)
    ocean_HW = is_finite.all(axis=0)
    gaps_HW = is_finite.any(axis=0) & ~ocean_HW
    if gaps_HW.any():
        row, column = np.argwhere(gaps_HW)[0]
        raise ValueError(
            f"expected NaN on land alone, at all times; found {gaps_HW.sum()} cells that are "
            f"missing at some times, the first at row {row}, column {column}: fill or mask them"
        )
    cells, rows = int(ocean_HW.sum()), len(x_THW) - config.in_len
    unknowns = config.n_eofs * len(config.delays)
    # Two rows for a covariance; without a ridge, more equations than unknowns.
    is_long_enough = rows >= 2 and (config.ridge > 0 or rows > unknowns)
    if not 1 <= config.n_eofs <= min(cells, len(x_THW) - 1) or not is_long_enough:
        raise ValueError(
            f"n_eofs {config.n_eofs}, delays {config.delays} and ridge {config.ridge:g} need more "
            f"data: found {len(x_THW)} frames of {cells} ocean cells; take fewer EOFs, fewer or "
            "shorter delays, a ridge above 0, or a longer record"
        )
    return ocean_HW


def _principal_components(
    x_TS: np.ndarray, weight_S: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the projection (K, S) and the components (T, K), of unit mean square."""
    _, _, eofs_KS = np.linalg.svd(x_TS * weight_S, full_matrices=False)
    projection_KS = eofs_KS[:n] * weight_S
    z_TK = x_TS @ projection_KS.T
    std_K = np.sqrt((z_TK**2).mean(axis=0))
    varies_K = std_K > 1e-6 * std_K[0]  # below it is rounding, which unit variance would blow up
    if not varies_K.all():
        raise ValueError(
            f"n_eofs is {n}, but the record varies in {varies_K.sum()} ways only: take fewer EOFs"
        )
    # The sign of an EOF is arbitrary: fix it, so that a fit is reproducible.
    std_K = np.where(projection_KS.sum(axis=1) < 0, -std_K, std_K)
    return projection_KS / std_K[:, None], z_TK / std_K


def _regression(
    z_TK: np.ndarray, delays: Sequence[int], ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return A_d (D, K, K) and the covariance (K, K) of the residuals."""
    k, first = z_TK.shape[1], max(delays)
    target_NK = z_TK[first + 1 :]
    n = len(target_NK)
    past_NP = np.hstack([z_TK[first - d : first - d + n] for d in delays])
    # The ridge as rows of predictors whose target is zero: better conditioned than X^T X.
    damping_PP = np.sqrt(ridge * n) * np.eye(past_NP.shape[1])
    zeros_PK = np.zeros((past_NP.shape[1], k))
    rows, targets = np.vstack([past_NP, damping_PP]), np.vstack([target_NK, zeros_PK])
    coefficients_PK = np.linalg.lstsq(rows, targets, rcond=None)[0]
    propagator_DKK = _stable(coefficients_PK.reshape(len(delays), k, k).swapaxes(1, 2), delays)
    residual_NK = target_NK - past_NP @ propagator_DKK.swapaxes(1, 2).reshape(-1, k)
    return propagator_DKK, np.cov(residual_NK, rowvar=False).reshape(k, k)


def _stable(propagator_DKK: np.ndarray, delays: Sequence[int]) -> np.ndarray:
    """Shrink all eigenvalues by one factor if any of them is beyond `MAX_RADIUS`."""
    radius = np.abs(np.linalg.eigvals(companion(propagator_DKK, delays))).max()
    shrink = min(1.0, MAX_RADIUS / radius) if radius > 0 else 1.0
    return propagator_DKK * shrink ** (np.array(delays) + 1.0)[:, None, None]
