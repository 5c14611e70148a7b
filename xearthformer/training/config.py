"""Training from a configuration file: what its entries are, and where their records come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import pydantic

from ..climate import climatology
from ..datasets.local import open_file
from ..datasets.radar import open_radar
from ..datasets.simulated.nbody import nbody
from ..datasets.simulated.sst import load_patterns, synthetic_sst
from ..datasets.simulated.storms import synthetic_storms
from ..errors import problems
from ..fields.axes import find_axes
from ..packs.pack import Pack
from .recipe import Recipe
from .records import Period, Record
from .train import PAPER, train
from .windows import Crop

Result = TypeVar("Result")


@dataclass(frozen=True)
class Source:
    """Where a record comes from.

    Attributes
    ----------
    path : str
        A file that xarray opens, a Zarr store (`.zarr`), "synthetic" (see `synthetic_sst`),
        "storms" (the rain of `synthetic_storms`, a record an event), or "nbody" (see `nbody`, a
        record a sequence).
    variable : str or None
        None: the one variable that the card asks for.
    anomaly : (start, end) or None
        Take the anomaly from the climatology of this period.
    years, seed, patterns : int, int, path or None
        Of what is simulated; the patterns as `save_patterns` writes them.
    events, size : int
        Of "storms"; of "nbody" sequences, and pixels of a side.
    frames, bodies : int
        Of "nbody".
    radar : bool
        Open it as a rain rate every five minutes, by `open_radar`.
    every : int
        Take every second, third, .. frame: as many records, each beginning a frame later.
    pad : (int, int)
        Empty time steps to put before and after the record, for a model that can do with less
        history and be told with fewer leads.
    """

    path: str
    variable: str | None = None
    anomaly: Period | None = None
    years: int = 50
    seed: int = 0
    patterns: str | None = None
    events: int = 16
    size: int = 384
    frames: int = 20
    bodies: int = 3
    radar: bool = False
    every: int = 1
    pad: tuple[int, int] = (0, 0)

    def open(self) -> list[Record]:
        """The records, lazily."""
        return [
            self._pad(data.isel({str(find_axes(data).time): slice(first, None, self.every)}))
            for data in self._open()
            for first in range(self.every)
        ]

    def _open(self) -> list[Record]:
        data: Record
        if self.path == "synthetic":
            patterns = load_patterns(self.patterns) if self.patterns else None
            chunks = {"time": 120}
            data = synthetic_sst(self.years, self.seed, chunks=chunks, patterns=patterns)
        elif self.path == "storms":
            storms = synthetic_storms(self.seed, self.events, size=self.size)["rain_rate"]
            return [storms.isel(event=event, drop=True) for event in range(self.events)]
        elif self.path == "nbody":
            how = {"bodies": self.bodies, "frames": self.frames, "size": self.size}
            digits = nbody(self.seed, self.events, **how)["frames"].astype("float32").load()
            return [digits.isel(sequence=i) for i in range(self.events)]
        elif self.radar:
            data = open_radar(self.path)
        else:
            data = open_file(self.path)
        if self.variable is not None:
            data = data[self.variable]
        if self.anomaly is not None:
            start, end = map(str, self.anomaly)
            data = climatology.anomaly(data, climatology=(start, end))
        return [data]

    def _pad(self, data: Record) -> Record:
        return _padded(data, *self.pad) if any(self.pad) else data


def _padded(data: Record, before: int, after: int) -> Record:
    """A record with empty time steps before and after it."""
    name = str(find_axes(data).time)
    time = data.indexes[name]
    step = time[1] - time[0]
    whole = pd.date_range(time[0] - before * step, time[-1] + after * step, freq=step)
    return data.reindex({name: whole})


@dataclass(frozen=True)
class Network:
    """A model's name, and a preset of it or the fields of its config."""

    name: str
    config: str | dict[str, Any]


def train_from_config(
    model: Network,
    data: Source | list[Source],
    card: dict[str, Any],
    pack: str,
    period: Period | None = None,
    validation: Period | Source | list[Source] | None = None,
    share: float = 1.0,
    extra: Source | list[Source] | None = None,
    extra_share: float = 1.0,
    crop: Crop | None = None,
    part: str | dict[str, Any] | None = None,
    start: str | None = None,
    recipe: Recipe = PAPER,
    folder: str | None = None,
    device: str = "auto",
) -> Pack:
    """Train a model as a configuration file says: see `train` for the entries.

    Where `train` takes data, a file names one `Source` or several; `model` is a `Network`.
    """
    held_out = isinstance(validation, Source) or (
        isinstance(validation, list) and all(isinstance(one, Source) for one in validation)
    )
    return train(
        model.name,
        opened(data),
        config=model.config,
        card=card,
        pack=pack,
        period=period,
        validation=opened(validation) if held_out else validation,  # type: ignore[arg-type]
        share=share,
        extra=() if extra is None else opened(extra),
        extra_share=extra_share,
        crop=crop,
        part=part,
        start=start,
        recipe=recipe,
        folder=folder,
        device=device,
    )


def opened(sources: Source | list[Source]) -> list[Record]:
    """The records of one source or of several."""
    listed = [sources] if isinstance(sources, Source) else sources
    return [record for source in listed for record in source.open()]


def call_with_entries(command: Callable[..., Result], entries: Mapping[str, Any]) -> Result:
    """Call a function with the entries of a configuration file.

    Entries are checked against the annotations of the function and of the dataclasses in them, and
    converted (lists to tuples, "1e-4" to a number). They are data: a file cannot name a class to
    import or a function to call, so reading one executes nothing.

    Parameters
    ----------
    command : callable
        `train_from_config` or `train_table`.
    entries : mapping
        As YAML has them.

    Raises
    ------
    ValueError
        Entries that are unknown, missing or of another type; nothing has been called then.

    Examples
    --------
    >>> call_with_entries(opened, {"sources": {"path": "nbody", "events": "many"}})
    Traceback (most recent call last):
    ...
    ValueError: sources...events: Input should be a valid integer, ... found 'many'...
    """
    checked = pydantic.validate_call(command, config=pydantic.ConfigDict(extra="forbid"))
    try:
        return checked(**entries)
    except pydantic.ValidationError as error:
        raise ValueError(problems(error)) from error
