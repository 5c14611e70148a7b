"""The contract of every baseline: a config with in_len and out_len, `forward`, `predict`, `loss`.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.checks import expect_counts, lists_to_tuples
from ..layers.recurrent import HW, S, ScheduledSampling, from_patches, to_patches, unroll

# (in_len, out_len, height, width) of the frames in Gao et al. (2022), "Earthformer", and of tests.
SEVIR = (13, 12, 384, 384)
ENSO = (12, 14, 24, 48)
TINY = (4, 3, 16, 16)


@dataclass(frozen=True)
class ForecastConfig:
    """Number of frames given and forecast; the base of every baseline's config.

    Lists, as JSON has them, become tuples; a ValueError names fields that do not fit one another.
    """

    in_len: int
    out_len: int

    def __post_init__(self) -> None:
        lists_to_tuples(self)  # so that a config read from a file equals the one that was written

    def expect_counts(self, *names: str) -> None:
        """Raise a ValueError unless these fields are whole numbers from 1."""
        for name in names:
            expect_counts(name, (getattr(self, name),))


@dataclass(frozen=True)
class FrameConfig(ForecastConfig):
    """Number and size of the frames of a network that is built for one size."""

    height: int  # pixels
    width: int
    channels: int = 1  # variables of a frame, the same in and out

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_counts("in_len", "out_len", "height", "width", "channels")

    def expect_frames(self, x_BTHWC: Tensor) -> None:
        """Raise a ValueError unless x holds in_len frames of the configured size."""
        shape = self.in_len, self.height, self.width, self.channels
        if tuple(x_BTHWC.shape[1:]) != shape:
            raise ValueError(
                f"expected x of shape (batch, in_len, height, width, channels) = "
                f"(batch, *{shape}), found {tuple(x_BTHWC.shape)}"
            )


Config = TypeVar("Config", bound=ForecastConfig)
Framed = TypeVar("Framed", bound=FrameConfig)


class FrameForecaster(nn.Module, Generic[Config]):
    """A deterministic model: (B, in_len, H, W, C) to (B, out_len, H, W, C).

    A subclass writes `forward`, and `training_loss` where that is not the mean squared error.
    """

    samples = False  # a single forecast, unless members are asked for and
    draws = False  # the model has noise of its own: `predict` then takes a generator
    batched = True  # a sample's bits depend on the size of its batch
    exact = False  # it computes nothing, and float64 keeps its digits
    light = False  # its operations are too small for threads of their own

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the forecast (B, out_len, H, W, C), the same in training and evaluation mode."""
        return self(x_BTHWC)  # a generator is for models that draw at random

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Return the loss of the forecast from x against the truth y, a scalar."""
        if self.training:
            return self.training_loss(x_BTHWC, y_BTHWC)
        return F.mse_loss(self(x_BTHWC), y_BTHWC)  # comparable between models

    def training_loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Return what training minimises; here the mean squared error."""
        return F.mse_loss(self(x_BTHWC), y_BTHWC)


class StepForecaster(FrameForecaster[Framed], Generic[Framed, S]):
    """A recurrent model that makes the next frame from the last, and is fed its own forecasts.

    A subclass writes `step`; `patch` folds pixels into channels before it (none by default).

    Examples
    --------
    A network that adds one. After 0 and 10 it is fed its own frames; with the truth it is fed that:

    >>> class AddOne(StepForecaster):
    ...     def step(self, x_BCHW, state=None):
    ...         return x_BCHW + 1, state
    >>> model = AddOne(FrameConfig(in_len=2, out_len=3, height=1, width=1))
    >>> x = torch.tensor([0.0, 10.0]).reshape(1, 2, 1, 1, 1)
    >>> model.predict(x).flatten().tolist()
    [11.0, 12.0, 13.0]
    >>> model(x, 5 * x, ScheduledSampling(steps=0, end=1)).flatten().tolist()
    [11.0, 1.0, 51.0]
    """

    patch: HW = (1, 1)

    def step(self, x_BCHW: Tensor, state: S | None = None) -> tuple[Tensor, S]:
        """Return the next frame and the new state; the first state is None."""
        raise NotImplementedError

    def forward(
        self,
        x_BTHWC: Tensor,
        y_BTHWC: Tensor | None = None,
        sampling: ScheduledSampling | None = None,
    ) -> Tensor:
        """Return the forecast; of the truth y, `sampling` feeds some frames."""
        self.config.expect_frames(x_BTHWC)
        truth_BTHWC, mask_BT = x_BTHWC, None
        if y_BTHWC is not None and sampling is not None:
            # The last frame of y is never fed: there is no frame after it to forecast.
            truth_BTHWC = torch.cat([x_BTHWC, y_BTHWC[:, : self.out_len - 1]], dim=1)
            mask_BT = sampling(len(x_BTHWC), self.out_len - 1, x_BTHWC.device)
            mask_BT = F.pad(mask_BT, (self.in_len, 0), value=True)  # x is fed as it is
        truth_BTCHW = to_patches(truth_BTHWC, self.patch)
        y_BTCHW = unroll(self.step, truth_BTCHW, self.in_len + self.out_len - 1, mask_BT)
        return from_patches(y_BTCHW[:, -self.out_len :], self.patch)
