"""The card of a pack: what goes into its model, what comes out, and what it was made from.

A card is data and nothing else: opening one executes nothing and follows no path or address in it.
"""

import warnings
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .scale import Scale

LAND, SEA = "#", "."  # a grid's land, cell by cell: text can be read and compared in a card file


class _Section(BaseModel):
    # An unknown field is an error: a misspelled one would otherwise be ignored.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantity(_Section):
    """A physical quantity; a field that is None accepts any value in the user's data."""

    standard_name: str | None = None
    units: str | None = None
    difference: bool = Field(False, description="an anomaly: units convert without their offset")
    valid_min: float | None = None
    valid_max: float | None = None


class LatLonGrid(_Section):
    """Cell centres in degrees, both ascending, longitude in [0, 360)."""

    kind: Literal["latlon"] = "latlon"
    latitude: Annotated[list[float], Field(min_length=2)]
    longitude: Annotated[list[float], Field(min_length=2)]
    land: list[str] | None = Field(
        None, description='one row of "#" (land) and "." (sea) per latitude, from the south'
    )

    @model_validator(mode="after")
    def _check(self) -> "LatLonGrid":
        for name, values in (("latitude", self.latitude), ("longitude", self.longitude)):
            if np.any(np.diff(values) <= 0):
                raise ValueError(f"grid.{name} must ascend")
        if self.longitude[0] < 0 or self.longitude[-1] >= 360:
            raise ValueError("grid.longitude must lie in [0, 360)")
        if self.land is not None:
            height, width = self.shape
            if len(self.land) != height or any(len(row) != width for row in self.land):
                raise ValueError(f"grid.land must be {height} lines of {width} characters")
            if set("".join(self.land)) - {LAND, SEA}:
                raise ValueError(f"grid.land is written with {LAND!r} and {SEA!r} alone")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Number of latitudes and of longitudes."""
        return len(self.latitude), len(self.longitude)

    @property
    def is_land(self) -> np.ndarray | None:
        """Boolean array (y, x), true on land; None for a grid without land."""
        if self.land is None:
            return None
        return np.array([[cell == LAND for cell in row] for row in self.land])


class PixelGrid(_Section):
    """A window of pixels on any map projection; a larger domain is run in tiles, or whole."""

    kind: Literal["pixels"] = "pixels"
    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    spacing: float | None = Field(None, gt=0, description="metres")
    larger: Literal["tiles", "whole"] = "tiles"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


class ModelSpec(_Section):
    """A name in `xearthformer.models.MODELS` and that model's configuration."""

    name: str
    config: dict[str, object]


class Training(_Section):
    """What the weights were made from."""

    data: str
    period: str | None = None
    validation: str | None = None
    licence: str | None = Field(None, description="of the training data")
    notes: str | None = None


class Climatology(_Section):
    """Mean and standard deviation of the mean intensity of training windows.

    The intensity is that of the frames to forecast, as the network sees them (scaled).
    """

    mean: float
    std: Annotated[float, Field(gt=0)]


class Card(_Section):
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
        Number of frames that the model reads, and of frames that it forecasts in one pass;
        `history` and `reach` in a card's file.
    missing : {"forbidden", "land", "allowed"}
        Where the input may be NaN: nowhere; on the grid's land; anywhere (kept as it is).
    fill : float
        Value on land in the model's input, in `input.units`.
    climatology : Climatology or None
        For models that can be steered towards an anticipated intensity.
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
        if self.missing == "land" and self.land is None:
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
        """Boolean array (y, x), true where input may be NaN and the answer is; None for nowhere."""
        if self.missing != "land" or not isinstance(self.grid, LatLonGrid):
            return None
        return self.grid.is_land

    @property
    def step(self) -> "Literal['month'] | np.timedelta64 | None":
        """`time_step` in the form that `time_axis.check_time` returns."""
        if self.time_step is None or self.time_step == "month":
            return self.time_step  # type: ignore[return-value]  # a str, here always "month"
        return pd.Timedelta(self.time_step).to_timedelta64()
