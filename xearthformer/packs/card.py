"""The card of a pack: what goes into its model, what comes out, and what it was made from.

A card is data and nothing else: opening one executes nothing and follows no path or address in it.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from .scale import Scale

LAND, SEA = "#", "."  # a grid's land, cell by cell: text can be read and compared in a card file

# Channels that nobody brings, for they follow from time and grid, and how many each has: the
# calendar month m as sin and cos of 2 pi m / 12, latitude / 90, and 1 on land.
KNOWN = {"month": 2, "latitude": 1, "land": 1}
LATEST = 2  # format of cards
LONG = 6  # items of a list that is shown whole
LONGEST = 100  # characters of a name: it stands in messages, attributes and names of files


class _Section(BaseModel):
    # An unknown field is an error: a misspelled one would otherwise be ignored. And so is NaN, for
    # a limit that compares with nothing lets everything pass.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Quantity(_Section):
    """A physical quantity; a field that is None accepts any value in the user's data."""

    standard_name: str | None = None
    units: str | None = None
    difference: bool = Field(False, description="an anomaly: units convert without their offset")
    valid_min: float | None = None
    valid_max: float | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        # else all data would be refused, with a hint on its units
        if None not in (self.valid_min, self.valid_max) and self.valid_min >= self.valid_max:  # type: ignore[operator]
            raise ValueError(f"valid_min {self.valid_min} isn't below valid_max {self.valid_max}")
        return self


class Substitute(_Section):
    """Another quantity that may stand in for an input, which is `factor` times its anomaly."""

    units: str
    factor: float


class Variable(Quantity):
    """A variable that a model reads, and what becomes of it on the way in.

    Attributes
    ----------
    missing : {"forbidden", "land", "allowed"}
        Where values may be missing: nowhere; on land; anywhere (kept as they are).
    fill : float
        Value on land in the model's input, in `units`.
    land : list of str or None
        Where this variable has no values, as `grid.land`; None: there.
    substitutes : dict
        By standard name: quantities that are taken where a Dataset has no such variable.
    """

    missing: Literal["forbidden", "land", "allowed"] = "forbidden"
    fill: float = 0.0
    scale: Scale = Scale()
    land: list[str] | None = None
    substitutes: dict[str, Substitute] = {}

    def substituted(self, standard_name: str) -> "Variable":
        """Return what this input is where one of the `substitutes` stands in for it."""
        other = self.substitutes[standard_name]
        scale = Scale(self.scale.offset / other.factor, self.scale.factor / other.factor)
        update = {"standard_name": standard_name, "units": other.units, "scale": scale}
        bounds = [
            None if bound is None else bound / other.factor
            for bound in (self.valid_min, self.valid_max)
        ]
        if other.factor < 0:
            bounds.reverse()
        update |= {"valid_min": bounds[0], "valid_max": bounds[1]}
        return self.model_copy(update=update | {"fill": self.fill / other.factor})


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
        if self.latitude[0] < -90 or self.latitude[-1] > 90:
            raise ValueError("grid.latitude must lie in [-90, 90]")
        if self.land is not None:
            self.check_land("grid.land", self.land)
        return self

    def check_land(self, name: str, land: list[str]) -> None:
        """Raise ValueError for a mask that isn't one character per cell."""
        height, width = self.shape
        if len(land) != height or any(len(row) != width for row in land):
            raise ValueError(f"{name} must be {height} lines of {width} characters")
        if set("".join(land)) - {LAND, SEA}:
            raise ValueError(f"{name} is written with {LAND!r} and {SEA!r} alone")
        if SEA not in "".join(land):
            raise ValueError(f"{name} has no sea")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of latitudes and of longitudes."""
        return len(self.latitude), len(self.longitude)

    @property
    def is_land(self) -> np.ndarray | None:
        """Boolean array (y, x), true on land; None for a grid without land."""
        return None if self.land is None else _mask(self.land)


def _mask(rows: list[str]) -> np.ndarray:
    return np.array([[cell == LAND for cell in row] for row in rows])


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
    events: list[str] = Field([], description="the records that the weights saw, by name")
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


def _texts(part: object) -> Iterator[str]:
    """Yield every text in a part of a card, keys too."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping | list | tuple):
        for one in part:
            yield from _texts(one)
    if isinstance(part, Mapping):
        yield from _texts([*part.values()])


def _rows(section: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the entries of a section as keys and short values; long lists are shortened."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{key}.")
        elif isinstance(value, list) and len(value) > LONG:
            ends = "" if isinstance(value[0], str) else f"{value[0]}, {value[1]} .. {value[-1]} "
            yield f"{prefix}{key}", f"{ends}({len(value)})"
        elif value != [] and value != "":
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", text


# The fields of a card that decide a forecast's numbers.
DECIDING = {"model", "grid", "time_step", "climatology"}
DECIDING |= {"inputs", "outputs", "known", "context", "lead", "baseline"}
DECIDING |= {"input", "history", "reach", "missing", "fill", "scale"}  # of format 1

# Fields of a card of format 1 that format 2 says otherwise.
RENAMED = {"history": "context", "reach": "lead"}
FORMAT_1 = {"format", "input", "output", "missing", "fill", "scale", *RENAMED}


def _plain(section: object) -> object:
    """Return a section of a card as a mapping of the fields that differ from their defaults."""
    if isinstance(section, Quantity):
        return section.model_dump(exclude_defaults=True)
    if isinstance(section, Mapping):
        return {
            key: value for key, value in section.items() if value is not None and value is not False
        }
    return section


# a YAML file may say 1981 without quotes
Year = Annotated[str, Field(pattern=r"^[0-9]{4}$", coerce_numbers_to_str=True)]


class Baseline(_Section):
    """The climatology that a pack's anomalies are taken from.

    Attributes
    ----------
    period : (str, str)
        First and last year.
    blind : bool
        Whether other periods give the same forecasts, but for less than a tenth of a degree.
    """

    period: tuple[Year, Year]
    blind: bool = False


class Card(_Section):
    """Everything `forecast` needs to know of a pack before it touches the weights.

    Attributes
    ----------
    inputs : dict of Variable
        What the model reads, by name, in the order of its channels: on `grid`, every `time_step`.
    outputs : list of str
        The inputs that the model forecasts, in the same order.
    known : list of {"month", "latitude", "land"}
        Further channels of the model's input, which nobody brings: see `KNOWN`.
    grid : LatLonGrid, PixelGrid or None
        None: the model takes any grid.
    time_step : str or None
        "month", a pandas duration such as "5min", or None for any regular step.
    context, lead : int
        Number of frames that the model reads, and of frames that it forecasts in one pass.
    baseline : Baseline or None
        The climatology of anomalies; None: any.
    climatology : Climatology or None
        For models that can be steered towards an anticipated intensity.

    Notes
    -----
    Cards of format 1 describe one variable, which is read and forecast, by `input`, `output`,
    `missing`, `fill` and `scale`, and say `history` and `reach` for `context` and `lead`. They are
    read as the same in the form of format 2.

    Examples
    --------
    >>> import xearthformer as xef
    >>> card = xef.open_pack("lim").card
    >>> card.time_step, card.context, card.lead, card.grid.shape
    ('month', 12, 14, (31, 180))
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST)]
    version: Annotated[str, Field(max_length=LONGEST)]
    title: Annotated[str, Field(max_length=10 * LONGEST)]
    model: ModelSpec
    inputs: Annotated[dict[str, Variable], Field(min_length=1)]
    outputs: Annotated[list[str], Field(min_length=1)]
    known: list[Literal["month", "latitude", "land"]] = []
    grid: Annotated[LatLonGrid | PixelGrid, Field(discriminator="kind")] | None
    time_step: str | None
    context: Annotated[int, Field(gt=0)]
    lead: Annotated[int, Field(gt=0)]
    baseline: Baseline | None = None
    climatology: Climatology | None = None
    training: Training
    scores: dict[str, Annotated[float, AllowInfNan(True)]] = {}  # NaN: of a correlation with zeros
    references: list[str] = []
    licence: str = "Apache-2.0"
    weights_sha256: str | None = Field(None, description="of names, dtypes, shapes and bytes")

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, fields: object) -> object:
        """Refuse control characters: a card's texts reach terminals and the attribute `history`."""
        for key, value in fields.items() if isinstance(fields, Mapping) else ():
            for text in (str(key), *_texts(value)):
                # what weights were made from may take several lines
                if not (text.replace("\n", "") if key == "training" else text).isprintable():
                    raise ValueError(f"{key} has characters that can't be printed: {text[:100]!a}")
        return fields

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, fields: object) -> object:
        """Bring a card of format 1 into the form of format 2."""
        if not isinstance(fields, Mapping):
            return fields
        number = fields.get("format", 1)
        if isinstance(number, int) and number > LATEST:
            raise ValueError(
                f"format {number} is of a later version of xearthformer than this one, which reads "
                f"formats up to {LATEST}"
            )
        if "input" not in fields:
            return fields
        if fields.get("format", 1) != 1:
            raise ValueError(f"input is of format 1, found format {fields['format']!r}")
        for then, now in RENAMED.items():
            if then in fields and now in fields:
                raise ValueError(f"{then} is {now}: give one")
        quantity, output = (_plain(fields.get(key)) for key in ("input", "output"))
        if output is not None and output != quantity:
            raise ValueError("output must equal input: a pack forecasts the quantity it reads")
        new = {key: value for key, value in fields.items() if key not in FORMAT_1}
        new |= {RENAMED[key]: fields[key] for key in RENAMED if key in fields}
        if not isinstance(quantity, Mapping):
            raise ValueError(f"input must be a section, found {quantity!r}")
        name = str(quantity.get("standard_name") or "data")
        way_in = {key: fields[key] for key in ("missing", "fill", "scale") if key in fields}
        return {**new, "inputs": {name: {**quantity, **way_in}}, "outputs": [name]}

    @model_validator(mode="after")
    def _check(self) -> "Card":
        if self.time_step not in (None, "month"):
            try:
                is_step = pd.Timedelta(self.time_step) > pd.Timedelta(0)  # false of NaT
            except ValueError as error:
                raise ValueError(f"time_step {self.time_step!r} is no duration: {error}") from error
            if not is_step:
                raise ValueError(f"time_step {self.time_step!r} is no duration above zero")
        if self.outputs != [name for name in self.inputs if name in self.outputs]:
            raise ValueError(
                f"outputs must be some of the inputs {list(self.inputs)}, in their order; found "
                f"{self.outputs}"
            )
        if len({*self.known}) < len(self.known):
            raise ValueError(f"known has each name once, found {self.known}")
        on_earth = isinstance(self.grid, LatLonGrid)
        for name, variable in self.inputs.items():
            if variable.land is not None and isinstance(self.grid, LatLonGrid):
                self.grid.check_land(f"inputs.{name}.land", variable.land)
            if variable.missing == "land" and self.land(name) is None:
                raise ValueError('missing: "land" needs grid.land')
            if variable.substitutes and (variable.scale.floor or not variable.difference):
                raise ValueError(f"inputs.{name}: only an anomaly can have substitutes")
        if "land" in self.known and not (on_earth and self.grid.land):  # type: ignore[union-attr]
            raise ValueError('known: "land" needs grid.land')
        if "latitude" in self.known and not on_earth:
            raise ValueError('known: "latitude" needs a grid of latitudes and longitudes')
        return self

    @property
    def input(self) -> Variable:
        """The first of the inputs; most packs have no other."""
        return next(iter(self.inputs.values()))

    @property
    def scale(self) -> Scale:
        """The scale of the first input."""
        return self.input.scale

    @property
    def channels(self) -> int:
        """Number of channels that the model reads."""
        return len(self.inputs) + sum(KNOWN[name] for name in self.known)

    def to_fields(self) -> dict[str, object]:
        """Return the card as its file says it.

        Format 1 where that can say it all, for earlier versions to open; else format 2.
        """
        fields = self.model_dump()
        if not self.training.events:  # earlier versions know no such field
            fields["training"].pop("events")
        (name, variable), *others = self.inputs.items()
        own = variable.land or variable.substitutes or name != (variable.standard_name or "data")
        if others or own or self.known or self.baseline:
            return fields
        quantity = variable.model_dump(include={*Quantity.model_fields})
        old: dict[str, object] = {"format": 1}
        for key, value in fields.items():
            if key == "inputs":
                old |= {"input": quantity, "output": quantity}
            elif key == "climatology":
                old |= variable.model_dump(include={"missing", "fill", "scale"}) | {key: value}
            elif key not in ("format", "outputs", "known", "baseline"):
                then = {now: then for then, now in RENAMED.items()}
                old[then.get(key, key)] = value
        return old

    def rows(self) -> list[tuple[str, str]]:
        """Return name and text of each entry that says something, to be shown as a table."""
        return [*_rows(self.model_dump(exclude_none=True))]

    def deciding(self) -> str:
        """Return what decides a forecast's numbers, as the card's file says it, in JSON."""
        fields = {key: value for key, value in self.to_fields().items() if key in DECIDING}
        return to_json(fields).decode()

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

    def land(self, name: str) -> np.ndarray | None:
        """Return where an input may be missing and the answer is, true in a boolean array (y, x).

        None for nowhere.
        """
        variable = self.inputs[name]
        if variable.missing != "land" or not isinstance(self.grid, LatLonGrid):
            return None
        return self.grid.is_land if variable.land is None else _mask(variable.land)

    @property
    def step(self) -> "Literal['month'] | np.timedelta64 | None":
        """`time_step` in the form that `time_axis.check_time` returns."""
        if self.time_step is None or self.time_step == "month":
            return self.time_step  # type: ignore[return-value]  # a str, here always "month"
        return pd.Timedelta(self.time_step).to_timedelta64()
