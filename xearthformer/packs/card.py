"""The card of a pack: what goes into its model, what comes out, and what it was made from.

A card is data and nothing else: opening one executes nothing and follows no path or address in it.
"""

import warnings
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .scale import Scale

LAND, SEA = "#", "."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantity(_Part):
    """A physical quantity; a field that is None accepts anything the user brings."""

    standard_name: str | None = None
    units: str | None = None
    difference: bool = Field(False, description="an anomaly: units convert without their offset")
    valid_min: float | None = None
    valid_max: float | None = None


class LatLonGrid(_Part):
    """Cell centres in degrees, both ascending, longitude in [0, 360); '#' marks land in `land`."""

    kind: Literal["latlon"] = "latlon"
    latitude: Annotated[list[float], Field(min_length=2)]
    longitude: Annotated[list[float], Field(min_length=2)]
    land: list[str] | None = Field(None, description="a line a latitude, from the south; # land")

    @model_validator(mode="after")
    def _check(self) -> "LatLonGrid":
        for name, values in (("latitude", self.latitude), ("longitude", self.longitude)):
            if np.any(np.diff(values) <= 0):
                raise ValueError(f"grid.{name} must ascend")
        if self.longitude[0] < 0 or self.longitude[-1] >= 360:
            raise ValueError("grid.longitude must lie in [0, 360)")
        if self.land is not None:
            shape = len(self.latitude), len(self.longitude)
            if len(self.land) != shape[0] or any(len(row) != shape[1] for row in self.land):
                raise ValueError(f"grid.land must be {shape[0]} lines of {shape[1]} characters")
            if set("".join(self.land)) - {LAND, SEA}:
                raise ValueError(f"grid.land is written with {LAND!r} and {SEA!r} alone")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.latitude), len(self.longitude)

    @property
    def is_land(self) -> np.ndarray | None:
        """Boolean (y, x), true on land; None when the model allows no missing value."""
        if self.land is None:
            return None
        return np.array([[cell == LAND for cell in row] for row in self.land])


class PixelGrid(_Part):
    """A window of pixels on any map projection; a larger domain goes through in tiles, or whole."""

    kind: Literal["pixels"] = "pixels"
    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    spacing: float | None = Field(None, gt=0, description="metres")
    larger: Literal["tiles", "whole"] = "tiles"

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width


class ModelSpec(_Part):
    """A name in `xearthformer.models.MODELS` and that model's configuration."""

    name: str
    config: dict[str, Any]


class Training(_Part):
    """What the weights were made from."""

    data: str
    period: str | None = None
    validation: str | None = None
    licence: str | None = Field(None, description="of the training data")
    notes: str | None = None


class Climatology(_Part):
    """Of the mean intensity of training windows: of a window's frames to come, scaled."""

    mean: float
    std: Annotated[float, Field(gt=0)]


class Card(_Part):
    """Everything `forecast` needs to know of a pack before it touches the weights.

    Attributes
    ----------
    input, output : Quantity
        What the model reads and writes; both on `grid`, every `time_step`.
    grid : LatLonGrid, PixelGrid or None
        None: the model takes any grid.
    time_step : str or None
        "month", a pandas duration such as "5min", or None for any regular step.
    context, lead : int
        Time steps in, time steps out in one pass; `history` and `reach` in a card's file.
    missing : {"forbidden", "land", "allowed"}
        Where the input may be NaN: nowhere; on the grid's land; anywhere (kept as it is).
    fill : float
        What stands on land in the model's input, in `input.units`.
    climatology : Climatology or None
        Of the mean intensity, for a model that can be told how intense its forecast is to be.
    """

    # Files of format 1 say `history` and `reach`; code may say either.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: str
    title: str
    model: ModelSpec
    input: Quantity
    output: Quantity
    grid: Annotated[LatLonGrid | PixelGrid, Field(discriminator="kind")] | None
    time_step: str | None
    context: Annotated[int, Field(gt=0, alias="history")]
    lead: Annotated[int, Field(gt=0, alias="reach")]
    missing: Literal["forbidden", "land", "allowed"] = "forbidden"
    fill: float = 0.0
    scale: Scale = Scale()
    climatology: Climatology | None = None
    training: Training
    scores: dict[str, float] = {}
    references: list[str] = []
    licence: str = "Apache-2.0"
    weights_sha256: str | None = Field(None, description="of names, dtypes, shapes and bytes")

    @model_validator(mode="after")
    def _check(self) -> "Card":
        if self.time_step not in (None, "month"):
            try:
                pd.Timedelta(self.time_step)
            except ValueError as error:
                raise ValueError(f"time_step {self.time_step!r} is no duration: {error}") from error
        if self.output != self.input:
            raise ValueError("output must equal input: a pack forecasts the quantity it reads")
        if self.missing == "land" and not (
            isinstance(self.grid, LatLonGrid) and self.grid.land is not None
        ):
            raise ValueError('missing: "land" needs grid.land')
        return self

    @property
    def history(self) -> int:
        """The name of `context` until 0.1."""
        warnings.warn("card.history is now card.context", FutureWarning, stacklevel=2)
        return self.context

    @property
    def reach(self) -> int:
        """The name of `lead` until 0.1."""
        warnings.warn("card.reach is now card.lead", FutureWarning, stacklevel=2)
        return self.lead

    @property
    def land(self) -> np.ndarray | None:
        """Boolean (y, x), true where the input may be NaN and the answer is; None for nowhere."""
        if self.missing != "land" or not isinstance(self.grid, LatLonGrid):
            return None
        return self.grid.is_land

    @property
    def step(self) -> "Literal['month'] | np.timedelta64 | None":
        """`time_step` as `cf.check_time` gives it."""
        if self.time_step in (None, "month"):
            return self.time_step  # type: ignore[return-value]
        return pd.Timedelta(self.time_step).to_timedelta64()


ICAR_GRID = LatLonGrid(
    latitude=[-55.0 + 5 * i for i in range(24)], longitude=[95.0 + 5 * j for j in range(48)]
)
ICAR_SST_RANGE = -16.549121856689453, 10.198975563049316
SST_ANOMALY = Quantity(
    standard_name="sea_surface_temperature",
    units="degC",
    difference=True,
    valid_min=-20.0,
    valid_max=20.0,
)
BYTES = Quantity(units="1", valid_min=0.0, valid_max=255.0)

# What the published checkpoints read and write, for `packs convert --preset NAME`.
PUBLISHED: dict[str, dict[str, Any]] = {
    "enso": {
        "title": "Earthformer, sea surface temperature anomaly, as published (ICAR-ENSO)",
        "input": SST_ANOMALY,
        "grid": ICAR_GRID,
        "time_step": "month",
        "scale": Scale(offset=ICAR_SST_RANGE[0], factor=ICAR_SST_RANGE[1] - ICAR_SST_RANGE[0]),
        "training": Training(data="ICAR-ENSO 2021: CMIP5 and CMIP6 simulations"),
    },
    "sevir": {
        "title": "Earthformer, vertically integrated liquid, as published (SEVIR)",
        "input": BYTES,
        "grid": PixelGrid(height=384, width=384, spacing=1000.0),
        "time_step": "5min",
        "scale": Scale(factor=255.0),
        "training": Training(data="SEVIR", period="2017/2019-01-01"),
    },
    "sevir-lr": {
        "title": "Earthformer, vertically integrated liquid at 3 km and 10 minutes (SEVIR-LR)",
        "input": BYTES,
        "grid": PixelGrid(height=128, width=128, spacing=3000.0),
        "time_step": "10min",
        "scale": Scale(factor=255.0),
        "training": Training(data="SEVIR-LR", period="2017/2019-06-01"),
    },
    "nbody": {
        "title": "Earthformer, N-body MNIST, as published",
        "input": BYTES,
        "grid": PixelGrid(height=64, width=64),
        "time_step": None,
        "scale": Scale(factor=255.0),
        "training": Training(data="N-body MNIST"),
    },
}
PUBLISHED["prediff-sevir-lr"] = {
    **PUBLISHED["sevir-lr"],
    "title": "PreDiff, vertically integrated liquid at 3 km, 10 minutes, as published (SEVIR-LR)",
}
PUBLISHED["enso-paper"] = PUBLISHED["enso"]
PUBLISHED["sevir-paper"] = PUBLISHED["sevir"]
