"""Persistence: what is stays, as it is or fading towards the climatology.

Letters: B batch, T time, H W space, C channels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn


@dataclass(frozen=True)
class PersistenceConfig:
    """Frames given (the last one counts) and frames forecast."""

    in_len: int = 1
    out_len: int = 14


PERSISTENCE_PRESETS = {
    "enso": PersistenceConfig(),
    "sevir": PersistenceConfig(in_len=13, out_len=12),
    "tiny": PersistenceConfig(out_len=3),
}


class Persistence(nn.Module):
    """The last frame, again and again; any height, width and channels.

    Examples
    --------
    >>> model = Persistence(PersistenceConfig(in_len=2, out_len=3))
    >>> x = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1, 1)
    >>> model.predict(x).flatten().tolist()
    [2.0, 2.0, 2.0]
    """

    samples = False

    def __init__(self, config: PersistenceConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The last frame, `out_len` times (B, out_len, H, W, C)."""
        return x_BTHWC[:, -1:].repeat(1, self.out_len, 1, 1, 1)

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast."""
        return nn.functional.mse_loss(self.predict(x_BTHWC), y_BTHWC)


@dataclass(frozen=True)
class DampedPersistenceConfig:
    """Frames given (the last one counts), frames forecast, and cells of the field."""

    in_len: int = 1
    out_len: int = 14
    height: int = 24
    width: int = 48


DAMPED_PRESETS = {
    "enso": DampedPersistenceConfig(),
    "tiny": DampedPersistenceConfig(out_len=3, height=4, width=6),
}


class DampedPersistence(nn.Module):
    """The last anomaly times its autocorrelation at the lead: the best forecast a cell makes alone.

    Attributes
    ----------
    damping : Tensor (out_len, H, W)
        Autocorrelation at leads 1 .. out_len, within [0, 1].

    Examples
    --------
    The mean square of (2, 1, -1, 0) is 6/4; its lagged products 2, -1, 0 have mean 1/3, and the
    products two steps apart, -2 and 0, have a negative mean:

    >>> config = DampedPersistenceConfig(out_len=2, height=1, width=1)
    >>> model = DampedPersistence.fit(np.reshape([2.0, 1.0, -1.0, 0.0], (4, 1, 1)), config)
    >>> model.predict(torch.full((1, 1, 1, 1, 1), 9.0)).flatten().tolist()
    [2.0, 0.0]
    """

    samples = False
    damping: Tensor

    def __init__(self, config: DampedPersistenceConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        self.register_buffer("damping", torch.zeros(config.out_len, config.height, config.width))

    @classmethod
    def fit(
        cls, x_THW: ArrayLike, config: DampedPersistenceConfig | None = None
    ) -> "DampedPersistence":
        """Fit the autocorrelation of every cell, in float64.

        Parameters
        ----------
        x_THW : array (T, H, W)
            Anomalies, a frame a step without gaps, zero meaning the climatology. The forecast is
            zero in cells that are missing at any time (land) or never vary (ice).
        config : DampedPersistenceConfig, optional

        Raises
        ------
        ValueError
            A shape that isn't the config's; a record not longer than the forecast.
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
        variance_HW = (x_THW**2).mean(axis=0)
        covariance_LHW = np.stack(
            [(x_THW[k:] * x_THW[:-k]).mean(axis=0) for k in range(1, config.out_len + 1)]
        )
        damping = np.divide(
            covariance_LHW, variance_HW, out=np.zeros_like(covariance_LHW), where=variance_HW > 0
        )
        model = cls(config)
        model.load_state_dict({"damping": torch.from_numpy(damping.clip(0, 1)).float()})
        return model.eval()

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The last frame, faded (B, out_len, H, W, C); missing stays missing."""
        return x_BTHWC[:, -1:] * self.damping[..., None]

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Mean squared error of the forecast."""
        return nn.functional.mse_loss(self.predict(x_BTHWC), y_BTHWC)
