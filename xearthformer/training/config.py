"""Training from a configuration file: what its entries are, and where their records come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from inspect import signature
from itertools import chain
from typing import TypeVar, get_args, get_type_hints

import pandas as pd
import pydantic
import yaml

from ..climate import climatology
from ..datasets.catalog import read_entry
from ..datasets.local import open_file
from ..datasets.radar.open import open_radar
from ..errors import mismatch, problems, renamed, whole_number
from ..fields.axes import find_time
from ..inference.time_step import to_step
from ..packs.pack import Pack
from .recipe import Recipe
from .records import Period, Record, is_period, label
from .train import PAPER, train
from .windows import Crop

Result = TypeVar("Result")
MANY = "event", "sequence", "model"  # dims along which a data set holds one record per label
# What `path` said in version 0.1 for simulated data: the entry, its variable, differing defaults.
MOVED: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "synthetic": ("synthetic_sst", {}, {}),
    "storms": ("synthetic_storms", {"variable": "rain_rate"}, {}),
    "nbody": ("nbody", {"variable": "frames"}, {"sequences": 16, "size": 384}),
}
MOVED_FIELDS = "years", "seed", "patterns", "events", "size", "frames", "bodies"


@dataclass(frozen=True)
class DataSource:
    """Where records come from: a file, or an entry of the catalogues that ship."""

    path: str | None = None  # a NetCDF file, or a Zarr store (.zarr)
    # in place of `path`, an entry of `xearthformer.open_catalog()`: "ersst_v5", "synthetic_sst"
    catalog: str | None = None
    # arguments for the entry, such as {years: 50, seed: 0}
    options: dict[str, object] = field(default_factory=dict)
    variable: str | None = None  # None: the one variable that the card asks for
    anomaly: Period | None = None  # use the anomaly from the climatology of this period
    radar: bool = False  # rain every five minutes, by `open_radar` and `to_step`
    every: int = 1  # use every second, third, ... frame: as many records, each one frame later
    # empty frames to put before and after each record, for models that can do with fewer input
    # frames and learn from fewer leads
    pad: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if (self.path is None) == (self.catalog is None):
            both = f"path {self.path} and catalog {self.catalog}"
            found = "neither" if self.path is None else both
            hint = "path: FILE or catalog: ENTRY"
            raise mismatch("a path or an entry of a catalogue", found, hint)
        if self.path is not None and self.options:
            expected, found = "options of an entry of a catalogue", f"options of path {self.path}"
            raise mismatch(expected, found, "catalog: ENTRY, or no options")

        whole_number("every", self.every, hint="every: 1")
        for frames in self.pad:
            whole_number("pad", frames, least=0, hint="pad: [0, 0]")

    def open(self) -> list[Record]:
        """Open the records lazily."""
        data = self._read()
        dim = next((dim for dim in MANY if dim in data.dims), None)
        wholes = [data]
        if dim is not None:
            wholes = [data.isel({dim: i}, drop=True) for i in range(data.sizes[dim])]
        time = find_time(wholes[0])
        if self.every > wholes[0].sizes[time]:
            expected = f"every as {wholes[0].sizes[time]} at most, the frames of a record"
            raise mismatch(expected, f"{self.every}", "every: 1")
        if max(self.pad) > wholes[0].sizes[time]:
            expected = f"pad of {wholes[0].sizes[time]} at most, the frames of a record"
            raise mismatch(expected, f"{max(self.pad)}", "pad: [0, 0]")
        if "months" in data.coords and data["months"].dims == (dim,):
            # ICAR-ENSO's shorter records end in missing values
            lengths = map(int, data["months"].values)
            pairs = zip(wholes, lengths, strict=True)
            wholes = [whole.isel({time: slice(months)}) for whole, months in pairs]
        records = [
            whole.isel({time: slice(first, None, self.every)})
            for whole in wholes
            for first in range(self.every)
        ]
        return (
            [_padded(record, time, *self.pad) for record in records] if any(self.pad) else records
        )

    def _read(self) -> Record:
        data: Record
        if self.catalog is not None:
            data = read_entry(self.catalog, self.options)
        elif self.radar:
            data = to_step(open_radar(str(self.path)), "5min")
        else:
            data = open_file(str(self.path))
        if self.variable is not None:
            data = data[self.variable]
            if self.catalog is not None and data.dtype.kind in "iu":
                data = data.astype("float32")  # images in bytes; in a file, integers may be packed
        if self.anomaly is not None:
            start, end = map(label, self.anomaly)
            data = climatology.anomaly(data, climatology=(start, end))  # type: ignore[type-var]
        return data


def _padded(data: Record, time: str, before: int, after: int) -> Record:
    """Return a record with empty frames before and after it."""
    times = data.indexes[time]
    step = times[1] - times[0]
    # whole steps on both sides: reindexing keeps the record's own times
    whole = pd.date_range(times[0] - before * step, times[-1] + after * step, freq=step)
    return data.reindex({time: whole})


@dataclass(frozen=True)
class Network:
    """A model's name, and a preset of it or the fields of its config."""

    name: str
    config: str | dict[str, object]


def train_from_config(
    model: Network,
    data: DataSource | list[DataSource],
    card: dict[str, object],
    pack: str,
    period: Period | None = None,
    validation: Period | DataSource | list[DataSource] | None = None,
    share: float = 1.0,
    extra: DataSource | list[DataSource] | None = None,
    extra_share: float = 1.0,
    crop: Crop | None = None,
    stage: str | dict[str, object] | None = None,
    start: str | None = None,
    recipe: Recipe = PAPER,
    folder: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> Pack:
    """Train a model as a configuration file says: see `train` for the entries.

    Where `train` takes data, a file names one `DataSource` or several; `model` is a `Network`.
    """
    checks = validation if validation is None or is_period(validation) else opened(validation)
    return train(
        model.name,
        opened(data),
        config=model.config,
        card=card,
        pack=pack,
        period=period,
        validation=checks,
        share=share,
        extra=() if extra is None else opened(extra),
        extra_share=extra_share,
        crop=crop,
        stage=stage,
        start=start,
        recipe=recipe,
        folder=folder,
        device=device,
        overwrite=overwrite,
    )


def opened(sources: DataSource | list[DataSource]) -> list[Record]:
    """Open the records of one source or of several."""
    listed = [sources] if isinstance(sources, DataSource) else sources
    if not listed:
        raise mismatch("a source of data or more", "none", "path: FILE or catalog: ENTRY")
    return [record for source in listed for record in source.open()]


def call_with_entries(command: Callable[..., Result], entries: Mapping[str, object]) -> Result:
    """Call a function with the entries of a configuration file.

    Entries are checked against the annotations of the function and of the dataclasses in them, and
    converted (lists to tuples, "1e-4" to a number). They are data: a file cannot name a class to
    import or a function to call, so reading one executes nothing. Entries that are unknown, missing
    or of another type are a ValueError, before anything is called.

    Examples
    --------
    >>> call_with_entries(opened, {"sources": {"path": "rain.nc", "every": "other"}})
    Traceback (most recent call last):
    ...
    ValueError: sources...every: Input should be a valid integer, ... found 'other'...
    """
    # before pydantic, which would only name the fields that are gone
    for name, value in entries.items():
        for source in value if isinstance(value, list) else [value]:
            if isinstance(source, Mapping) and str(source.get("path")) in MOVED:
                line = yaml.safe_dump(_moved(source), default_flow_style=True, sort_keys=False)
                hint = f"{name}: {' '.join(line.split())}"
                raise mismatch("the path of a file", f"path: {source['path']}", hint)

    @wraps(command)
    def call(**checked: object) -> Result:
        for name, value in checked.items():
            _check_truth(name, entries.get(name), value)
        return command(**checked)

    # not jsonargparse, which imports classes that a file names
    checked = pydantic.validate_call(config=pydantic.ConfigDict(extra="forbid"))(call)
    try:  # `renamed` outside: pydantic would refuse the old name
        return renamed(part="stage")(checked)(**entries)
    except pydantic.ValidationError as error:
        for one in error.errors():  # an error of this package's own has the line to type
            cause = one.get("ctx", {}).get("error")
            if isinstance(cause, ValueError) and "\n     try " in str(cause):
                raise cause from error
        hints = {**get_type_hints(command)}.values()
        names = {*signature(command).parameters, *chain.from_iterable(map(_fields, hints))}
        raise ValueError(problems(error, names)) from error


def _fields(kind: object) -> Iterator[str]:
    """Yield the names of the fields of the dataclasses in an annotation."""
    if is_dataclass(kind):
        yield from (one.name for one in fields(kind))
    yield from chain.from_iterable(map(_fields, get_args(kind)))


def _check_truth(place: str, given: object, taken: object) -> None:
    """Raise ValueError where "yes" or "true" of a file has been taken for the number 1."""
    if isinstance(given, bool) and not isinstance(taken, bool):
        raise mismatch(f"{place} as a number", str(given).lower(), f"{place}={taken}")
    if isinstance(given, Mapping):
        for name, value in given.items():
            if not isinstance(taken, Mapping):  # else taken as it is, such as options
                _check_truth(f"{place}.{name}", value, getattr(taken, str(name), value))
    elif isinstance(given, list) and isinstance(taken, list | tuple):
        for i, pair in enumerate(zip(given, taken, strict=True)):
            _check_truth(f"{place}.{i}", *pair)


def _moved(source: Mapping[str, object]) -> dict[str, object]:
    """Return the catalogue's entry that gives what a magic path gave in version 0.1."""
    entry, variable, defaults = MOVED[str(source["path"])]
    options = defaults | {key: source[key] for key in MOVED_FIELDS if key in source}
    if entry == "nbody" and "events" in options:
        options["sequences"] = options.pop("events")
    rest = {key: value for key, value in source.items() if key not in ("path", *MOVED_FIELDS)}
    return {"catalog": entry, "options": options, **variable, **rest}
