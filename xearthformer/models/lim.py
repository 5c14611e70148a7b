"""LIM: a linear inverse model (Penland and Sardeshmukh 1995, J. Climate 8, 1999-2024).

The state is a few leading principal components of an anomaly field; a month multiplies it by one
matrix and adds noise that is white in time. The fit is closed form.

Letters: B batch, T time, H W space, C channels, K principal components.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from numpy.typing import ArrayLike
from torch import Tensor, nn


@dataclass(frozen=True)
class LIMConfig:
    """What a LIM sees, and how it is fitted.

    Attributes
    ----------
    in_len : int
        Frames it is given; it looks at the last one alone.
    out_len : int
        Frames it forecasts.
    height, width : int
        Cells of the field.
    n_eofs : int
        Principal components in the state (K).
    lag : int
        Steps between the two covariances of the fit.
    """

    in_len: int = 1
    out_len: int = 14
    height: int = 24
    width: int = 48
    n_eofs: int = 15
    lag: int = 3


PRESETS = {
    "enso": LIMConfig(),
    "tiny": LIMConfig(out_len=3, height=4, width=6, n_eofs=2, lag=1),
}


class LIM(nn.Module):
    """A linear inverse model: x(t + k) = E G^k P x(t).

    The principal components are in units of their own standard deviation, so that their covariance
    C(0) is the identity. Land counts for nothing on the way in and is zero on the way out.

    Attributes
    ----------
    ocean : Tensor (H, W) of bool
        False on land.
    projection : Tensor (K, H, W)
        P: field to principal components, with area weights and land mask.
    patterns : Tensor (K, H, W)
        E: principal components to field, in units of the field per standard deviation.
    propagator : Tensor (K, K)
        G, one step; its spectral radius is below one.
    noise_covariance : Tensor (K, K)
        Q = C(0) - G C(0) G^T, positive semi-definite.

    Examples
    --------
    Two cells that turn by a quarter a step and lose a tenth, stirred by noise:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.zeros((5000, 1, 2))
    >>> for t in range(1, 5000):
    ...     x[t, 0] = 0.9 * np.array([-x[t - 1, 0, 1], x[t - 1, 0, 0]]) + rng.normal(size=2)
    >>> config = LIMConfig(out_len=2, height=1, width=2, n_eofs=2, lag=1)
    >>> lim = LIM.fit(x, [0.0], config)
    >>> y = lim.predict(torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2, 1))
    >>> print(y.squeeze().numpy().round(1) + 0.0)
    [[ 0.   0.9]
     [-0.8  0. ]]
    """

    samples = False
    ocean: Tensor
    projection: Tensor
    patterns: Tensor
    propagator: Tensor
    noise_covariance: Tensor

    def __init__(self, config: LIMConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        h, w, k = config.height, config.width, config.n_eofs
        self.register_buffer("ocean", torch.ones(h, w, dtype=torch.bool))
        self.register_buffer("projection", torch.zeros(k, h, w))
        self.register_buffer("patterns", torch.zeros(k, h, w))
        self.register_buffer("propagator", torch.zeros(k, k))
        self.register_buffer("noise_covariance", torch.eye(k))

    @classmethod
    def fit(cls, x_THW: ArrayLike, latitude: ArrayLike, config: LIMConfig | None = None) -> "LIM":
        """Fit a LIM to a record of anomalies, in float64.

        EOFs are weighted by sqrt(cos(latitude)). G = (C(lag) C(0)^-1)^(1/lag), where both
        covariances are sums divided by T (the Yule-Walker estimate), which by itself keeps the
        spectral radius of G below one. A lag of a few months serves better than one, because SST
        isn't quite a Markov process. A mode of C(lag) that is negative and real has no real root:
        it is given no memory.

        Parameters
        ----------
        x_THW : array (T, H, W)
            Anomalies, a frame a step without gaps, zero meaning the climatology; NaN on land.
        latitude : array (H,)
            Cell centres, degrees north.
        config : LIMConfig, optional

        Returns
        -------
        LIM
            In float32 and evaluation mode.

        Raises
        ------
        ValueError
            Shapes that aren't the config's, missing values that aren't land, too short a record.
        """
        config = config or LIMConfig()
        x_THW, latitude = np.asarray(x_THW, np.float64), np.asarray(latitude, np.float64)
        ocean_HW = _check(x_THW, latitude, config)
        x_TS = x_THW[:, ocean_HW]
        weight_S = np.broadcast_to(_area_weight(latitude)[:, None], ocean_HW.shape)[ocean_HW]
        projection_KS, z_TK = _principal_components(x_TS, weight_S, config.n_eofs)
        patterns_KS = z_TK.T @ x_TS / len(x_TS)  # regression on components of unit variance
        propagator = _propagator(z_TK, config.lag)

        model = cls(config)
        state = {
            "projection": _on_map(projection_KS, ocean_HW),
            "patterns": _on_map(patterns_KS, ocean_HW),
            "propagator": propagator,
            "noise_covariance": _noise_covariance(propagator),
        }
        tensors = {name: torch.from_numpy(array).float() for name, array in state.items()}
        model.load_state_dict({"ocean": torch.from_numpy(ocean_HW), **tensors})
        return model.eval()

    def project(self, x_BHWC: Tensor) -> Tensor:
        """Principal components (B, C, K) of fields (B, H, W, C)."""
        x_BHWC = torch.where(self.ocean[..., None], x_BHWC, 0)
        return einsum(x_BHWC, self.projection, "b h w c, k h w -> b c k")

    def expand(self, z_BTCK: Tensor) -> Tensor:
        """Fields (B, T, H, W, C) of principal components (B, T, C, K)."""
        return einsum(z_BTCK, self.patterns, "b t c k, k h w -> b t h w c")

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The mean forecast, frames 1 .. out_len after the last one given (B, out_len, H, W, C)."""
        z_BCK = self.project(x_BTHWC[:, -1])
        steps = []
        for _ in range(self.out_len):
            z_BCK = z_BCK @ self.propagator.T
            steps.append(z_BCK)
        return self.expand(torch.stack(steps, dim=1))

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast."""
        return nn.functional.mse_loss(self.predict(x_BTHWC), y_BTHWC)


def _check(x_THW: np.ndarray, latitude: np.ndarray, config: LIMConfig) -> np.ndarray:
    """The ocean (H, W), once record, latitudes and config are seen to fit."""
    shape = config.height, config.width
    if x_THW.ndim != 3 or x_THW.shape[1:] != shape or latitude.shape != shape[:1]:
        raise ValueError(
            f"expected x (T, {shape[0]}, {shape[1]}) and latitude ({shape[0]},), as the config "
            f"says; found {x_THW.shape} and {latitude.shape}: LIMConfig(height=..., width=...)"
        )
    valid = np.isfinite(x_THW)
    ocean_HW = valid.all(axis=0)
    gaps = valid.any(axis=0) & ~ocean_HW
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"expected NaN on land alone, at all times; found {gaps.sum()} cells that are missing "
            f"at some times, the first at row {row}, column {column}: fill or mask them"
        )
    cells = int(ocean_HW.sum())
    if not 1 <= config.n_eofs <= min(cells, len(x_THW) - 1) or not 1 <= config.lag < len(x_THW):
        raise ValueError(
            f"n_eofs {config.n_eofs} and lag {config.lag} need more data: found {len(x_THW)} "
            f"frames of {cells} ocean cells; take fewer EOFs, a shorter lag, or a longer record"
        )
    return ocean_HW


def _area_weight(latitude: np.ndarray) -> np.ndarray:
    return np.sqrt(np.clip(np.cos(np.deg2rad(latitude)), 0, None))


def _principal_components(
    x_TS: np.ndarray, weight_S: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Projection (K, S) and principal components (T, K) of unit mean square; signs are fixed."""
    _, _, eofs_KS = np.linalg.svd(x_TS * weight_S, full_matrices=False)
    projection_KS = eofs_KS[:n] * weight_S
    z_TK = x_TS @ projection_KS.T
    scale_K = np.sqrt((z_TK**2).mean(axis=0))
    varies_K = scale_K > 1e-6 * scale_K[0]
    if not varies_K.all():
        raise ValueError(
            f"n_eofs is {n}, but the record varies in {varies_K.sum()} ways only: take fewer EOFs"
        )
    scale_K = np.where(projection_KS.sum(axis=1) < 0, -scale_K, scale_K)
    return projection_KS / scale_K[:, None], z_TK / scale_K


def _propagator(z_TK: np.ndarray, lag: int) -> np.ndarray:
    """G = C(lag)^(1/lag) for components with C(0) = 1."""
    covariance = z_TK[lag:].T @ z_TK[:-lag] / len(z_TK)
    if lag == 1:
        return covariance
    values, vectors = np.linalg.eig(covariance)
    rootless = (np.abs(values.imag) < 1e-12) & (values.real < 0)
    roots = np.where(rootless, 0, values).astype(np.complex128) ** (1 / lag)
    return (vectors @ np.diag(roots) @ np.linalg.inv(vectors)).real


def _noise_covariance(propagator: np.ndarray) -> np.ndarray:
    """Q = 1 - G G^T; what is negative in it, which a lag above one can leave, is set to zero."""
    values, vectors = np.linalg.eigh(np.eye(len(propagator)) - propagator @ propagator.T)
    return vectors @ np.diag(values.clip(0)) @ vectors.T


def _on_map(values_KS: np.ndarray, ocean_HW: np.ndarray) -> np.ndarray:
    maps_KHW = np.zeros((len(values_KS), *ocean_HW.shape))
    maps_KHW[:, ocean_HW] = values_KS
    return maps_KHW
