"""The recipe: how a model is trained, whatever the model and the data."""

import math
from dataclasses import dataclass
from typing import Literal

PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}  # our names: Lightning's
MOST = 2**62  # of whole numbers: torch counts with 64 bits
LIMITS = {  # least and largest value: of which fields
    (0, 1e30): ("learning_rate", "weight_decay", "clip", "noise"),
    (0, MOST): ("seed",),
    (1, MOST): ("batch_size", "epochs", "stop", "patience"),
    (0, 1): ("warmup", "ema_decay"),
}


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the published recipe for ENSO (Gao et al. 2022, appendix).

    Attributes
    ----------
    learning_rate : float
        AdamW's learning rate. It climbs linearly, then falls to zero on a cosine, step by step.
    weight_decay, betas : float, (float, float)
        AdamW's weight decay and moving averages.
    batch_size : int
        Largest number of windows per step; an epoch's batches are as even as can be.
    epochs : int
        Length of the schedule.
    stop : int or None
        Number of epochs after which to stop, however long the schedule.
    warmup : float
        Share of the schedule in which the learning rate climbs.
    clip : float
        Largest norm of the gradient. 0: no limit.
    ema_decay : float
        Decay of the moving average of the weights, which is validated and shipped; at step n at
        most (1 + n) / (10 + n). 0: the weights themselves.
    patience : int
        Number of epochs without a better validation loss after which to stop.
    noise : float
        Standard deviation of Gaussian noise added to the scaled input, against overfitting.
    turns : bool
        Whether to turn every window by quarters and mirror it, at random.
    precision : "float32" or "bf16"
        Precision of products and convolutions; weights and sums stay in float32.
    seed : int
        Random seed of weights, order, dropout, noise and turns.

    Examples
    --------
    >>> import xearthformer as xef
    >>> xef.Recipe(learning_rate=1e-3, batch_size=16, epochs=20).clip
    1.0
    >>> xef.Recipe(warmup=20)
    Traceback (most recent call last):
    ...
    ValueError: recipe.warmup: expected 0 .. 1, found 20
    """

    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    batch_size: int = 64
    epochs: int = 100
    stop: int | None = None
    warmup: float = 0.2
    clip: float = 1.0
    ema_decay: float = 0.999
    patience: int = 20
    noise: float = 0.0
    turns: bool = False
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0

    # checked here: a recipe may come from a file, and a run may take hours
    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # a list, from a file
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"recipe.precision: expected one of {list(PRECISIONS)}, found {self.precision!r}"
            )
        for (low, high), names in LIMITS.items():
            for name in names:
                value = getattr(self, name)
                if value is not None and not low <= value <= high:
                    raise ValueError(f"recipe.{name}: expected {low} .. {high}, found {value!r}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"recipe.betas: expected 0 .. below 1, found {self.betas}")

    def rate(self, step: int, steps: int) -> float:
        """Return the share of `learning_rate` at a step, of `steps` in the schedule.

        Examples
        --------
        >>> [round(Recipe().rate(step, 10), 2) for step in range(10)]
        [0.5, 1.0, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04]
        """
        climb = round(self.warmup * steps)
        if step < climb:
            return (step + 1) / climb  # above zero at the first step, one at the last of the climb
        return (1 + math.cos(math.pi * (step - climb) / max(1, steps - climb))) / 2
