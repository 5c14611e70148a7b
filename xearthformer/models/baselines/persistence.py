"""Persistence: the last frame stays, as it is or fading towards the climatology.

Legend of the shape suffixes: B batch, T time, L lead, H W space, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .base import ForecastConfig, FrameForecaster


@dataclass(frozen=True)
class PersistenceConfig(ForecastConfig):
    """Number of frames given, of which the last one counts, and of frames forecast."""

    in_len: int = 1
    out_len: int = 14


PRESETS = {
    "enso": PersistenceConfig(),
    "sevir": PersistenceConfig(in_len=13, out_len=12),
    "tiny": PersistenceConfig(out_len=3),
}


class Persistence(FrameForecaster[PersistenceConfig]):
    """The last frame, again and again; any height, width and channels.

    Examples
    --------
    >>> model = Persistence(PersistenceConfig(in_len=2, out_len=3))
    >>> x = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1, 1)
    >>> model.predict(x).flatten().tolist()
    [2.0, 2.0, 2.0]
    """

    batched, exact = False, True

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return x_BTHWC[:, -1:].repeat(1, self.out_len, 1, 1, 1)


@dataclass(frozen=True)
class DampedPersistenceConfig(ForecastConfig):
    """Number of frames given (the last one counts) and forecast, and of the field's cells."""

    in_len: int = 1
    out_len: int = 14
    height: int = 24
    width: int = 48


DAMPED_PRESETS = {
    "enso": DampedPersistenceConfig(),
    "tiny": DampedPersistenceConfig(out_len=3, height=4, width=6),
}


class DampedPersistence(FrameForecaster[DampedPersistenceConfig]):
    """The last anomaly times its autocorrelation at the lead: the best forecast of a lone cell.

    Examples
    --------
    The mean square of (2, 1, -1, 0) is 6/4; its lagged products 2, -1, 0 have mean 1/3, and the
    products two steps apart, -2 and 0, have a negative mean:

    >>> config = DampedPersistenceConfig(out_len=2, height=1, width=1)
    >>> model = DampedPersistence.fit(np.reshape([2.0, 1.0, -1.0, 0.0], (4, 1, 1)), config)
    >>> model.predict(torch.full((1, 1, 1, 1, 1), 9.0)).flatten().tolist()
    [2.0, 0.0]
    """

    batched = False
    damping: Tensor  # (L, H, W): autocorrelation at leads 1 .. out_len, within 0..1

    def __init__(self, config: DampedPersistenceConfig) -> None:
        super().__init__(config)
        self.register_buffer("damping", torch.zeros(config.out_len, config.height, config.width))

    @classmethod
    def fit(
        cls, x_THW: ArrayLike, config: DampedPersistenceConfig | None = None
    ) -> DampedPersistence:
        """Fit the autocorrelation of every cell to a record of anomalies, in float64.

        The record is one frame per time without gaps, zero meaning the climatology, and longer
        than the forecast. Cells missing at any time (land) or without variance (ice) get zero.
        """
        config = config or DampedPersistenceConfig()
        x_THW = np.asarray(x_THW, np.float64)
        shape = config.height, config.width
        if x_THW.ndim != 3 or x_THW.shape[1:] != shape or len(x_THW) <= config.out_len:
            raise ValueError(
                f"expected x (T, {shape[0]}, {shape[1]}) with T above {config.out_len}, as the "
                f"config says; found {x_THW.shape}: DampedPersistenceConfig(height=..., width=...)"
            )
        x_THW = np.where(np.isfinite(x_THW).all(axis=0), x_THW, 0)
        variance_HW = (x_THW**2).mean(axis=0)  # around the climatology, not the record's mean
        covariance_LHW = np.stack(
            [(x_THW[k:] * x_THW[:-k]).mean(axis=0) for k in range(1, config.out_len + 1)]
        )
        damping = np.divide(
            covariance_LHW, variance_HW, out=np.zeros_like(covariance_LHW), where=variance_HW > 0
        )
        model = cls(config)
        # Below 0 the sign would flip; above 1, which a short record can give, it would grow.
        model.load_state_dict({"damping": torch.from_numpy(damping.clip(0, 1)).float()})
        return model.eval()

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return x_BTHWC[:, -1:] * self.damping[..., None]  # (B, 1, H, W, C) by (L, H, W, 1)
