"""The command watch: a folder in which radar files arrive, a new nowcast for each new frame.

The loop yields what it has done, so that a caller may log it, test it or stop. It looks at the
folder every second or so. What it knows lies in the folders themselves: a forecast that is there is
not made again, and its file's time stamp is that of the newest file it was made from.
"""

import glob
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from ..aside import remove, written_aside
from ..datasets.radar.call import Call, as_called
from ..datasets.radar.geotiff import MADE_WITH, init_label
from ..errors import mismatch, printable, whole_number
from ..fields.axes import find_axes
from ..fields.cf import CONVENTIONS
from ..fields.quantities import RAIN, RAIN_UNITS
from ..fields.time_axis import stamps_on_grid, str_time
from ..verification.request import Products
from .files import as_option, check_raster, write_forecast
from .folder import UNFINISHED, Failed, Folder, Frame
from .hints import in_shell

if TYPE_CHECKING:
    from ..packs.pack import Pack

Format: TypeAlias = Literal["nc", "zarr", "tif", "odim"]
# Names of forecasts end like this; "" is a folder of files.
SUFFIXES = {"nc": ".nc", "zarr": ".zarr", "tif": "", "odim": ".h5"}
# What a forecast may fail with while the watch goes on.
FAILURES = (ValueError, KeyError, OSError, ArithmeticError, RuntimeError, EOFError, ImportError)
# The fields of `inference.options.Options` but guidance and compile: cli.OPTION_TYPES.
Options: TypeAlias = Any


# --- what comes out


@dataclass(frozen=True)
class Made:
    """A forecast that was written."""

    init: str
    path: Path
    frames: int  # of the record's own that it was made from, ...
    context: int  # ... of those that the pack looks at
    after_file: float  # seconds since the newest file arrived
    after_frame: float  # seconds since the init
    notes: tuple[str, ...] = ()
    brought: bool = False  # whether the frames were brought to the pack's step
    again: str = ""  # why a forecast that was there was made anew

    def __str__(self) -> str:
        words = [f"{self.init}: {self.path}"]
        if self.again:
            words.append(f"again, {self.again}")
        words.append(self._made_from())
        words.append(f"{_ago(self.after_file)} after the file")
        words.append(f"{_ago(self.after_frame)} after the frame")
        return "; ".join([", ".join(words), *self.notes])

    def _made_from(self) -> str:
        if not self.brought:
            return f"from {self.frames} of {self.context} frames"
        if self.frames < self.context:
            return f"from {self.frames} frames of its own, others of {self.context} interpolated"
        return f"from {self.frames} frames of its own, brought to {self.context}"


@dataclass(frozen=True)
class Idle:
    """Nothing was to be done."""

    place: str
    init: str = ""  # the newest frame, which has been forecast; none is there without

    def __str__(self) -> str:
        if not self.init:
            return f"no frames in {self.place}"
        return f"nothing new: the newest frame, {self.init}, has been forecast"


Event: TypeAlias = Made | Failed | Idle


def _ago(seconds: float) -> str:
    """Return a duration in words: seconds, and days where they are many.

    >>> _ago(7.25), _ago(300000)
    ('7.2 s', '3 days')
    """
    return f"{seconds / 86400:.0f} days" if seconds > 2 * 86400 else f"{seconds:.1f} s"


# --- the loop


def watch(
    folder: str | os.PathLike[str],
    pack: "str | Pack",
    output: str | os.PathLike[str],
    *,
    format: Format = "nc",
    picture: bool = False,
    keep: int | None = None,
    every: float = 1.0,
    once: bool = False,
    zr: tuple[float, float] | None = None,
    missing: float | Sequence[float] | None = None,
    zero_below: float | None = None,
    products: Products | None = None,
    **options: Options,
) -> Iterator[Event]:
    """Forecast from the newest radar frame in a folder, again whenever one arrives.

    Parameters
    ----------
    folder : path or pattern
        Where files arrive, in any format that `open_radar` reads; "radar/*.h5" takes some of them.
    pack : str or Pack
        A pack of rain: "nowcast-radar".
    output : path
        A folder for forecasts, made if it isn't there: "nowcast-radar_20160928T1500.nc", ...
    format : {"nc", "zarr", "tif", "odim"}
        NetCDF, a Zarr store, a folder of GeoTIFF (one file per lead), or ODIM HDF5 (of an ensemble
        a folder, one file per member). Default "nc".
    picture : bool
        Whether to draw each forecast too, to a .png next to it.
    keep : int, optional
        Number of forecasts to keep: older ones of this pack are deleted. Default: all.
    every : float
        Seconds between looks at the folder. Default 1.
    once : bool
        Forecast from what is there, and stop.
    zr, missing, zero_below
        As in `open_radar`.
    products : Products, optional
        What is written in place of members: probabilities, quantiles, amounts. Pictures are of the
        forecast all the same.
    **options
        As in `forecast`: lead, members, seed, ...

    Yields
    ------
    Made, Failed or Idle
        What was done, as it is done; `str` of it is a line for a log. Idle: all had been done
        when the watch began, or nothing is there at `once`.

    Raises
    ------
    ValueError, FileNotFoundError
        Before anything is read: an unknown format, no such folder, one folder for both, options
        that `forecast` refuses.

    Notes
    -----
    - A forecast is made from the newest frame alone: what a gap in the service left out is not
      made up for. The newest one is made again when a late file of its context arrives.
    - A file is read once it is the same at two looks. One that can't be read is named, tried three
      times, and given up until it changes. Files of another product or grid than most, told as in
      `open_radar`, are named and left out; nothing is forecast while it isn't clear which are most.
    - Frames that are missing are read as not seen, by packs that can; others wait for them. A
      record with another step than the pack's is brought to it by `to_step`.
    - A forecast has its name once it is whole, and its attribute `made_with` says what decided it:
      pack, weights, lead, members, seed, products, how files are read, ... The newest one is made
      again where it was made with anything else.

    Examples
    --------
    >>> for event in watch("radar", "nowcast-radar", "nowcasts", keep=12):  # doctest: +SKIP
    ...     print(event)
    2016-09-28 15:00:00: nowcasts/nowcast-radar_20160928T1500.nc, from 4 of 4 frames, 7.2 s ...
    """
    products = products or Products()
    products.check(Path(f"nowcast{SUFFIXES.get(format)}"), "--format nc")
    if not every >= 0:
        raise ValueError(f"every: expected seconds, from 0, found {every}")
    out = _check(folder, output, format, keep)
    call = as_called(folder, zr, zero_below, missing, "raise")
    from ..packs.pack import open_pack

    pack = open_pack(pack)
    step, rain = pack.card.time_step, pack.card.input.standard_name
    if step in (None, "month") or rain != RAIN:
        found = f"{pack.card.name!r}, of {rain or 'any quantity'}"
        raise mismatch("a pack of rain, with a time step", found, 'the pack "nowcast-radar"')
    nothing = _forecast_of_nothing(pack, options)
    products.of(nothing)
    if picture:
        import matplotlib  # noqa: F401  # or the first forecast would be the first to lack it
    made_with = _made_with(nothing, products, call)
    alone = "member" not in nothing.dims or nothing.sizes["member"] == 1
    written = _Output(out, pack.card.name, format, made_with, alone, picture, keep, products)
    return _loop(str(folder), pack, written, every, once, call, options)


def _check(
    folder: str | os.PathLike[str], output: str | os.PathLike[str], format: str, keep: int | None
) -> Path:
    """Refuse what can't be watched, or written."""
    if format not in SUFFIXES:
        raise mismatch(f"format as one of {', '.join(SUFFIXES)}", repr(format), 'format="nc"')
    if keep is not None:
        whole_number("keep", keep, hint="keep=12")
    place, out = Path(folder), Path(os.path.expanduser(output))
    if place.is_file():
        raise NotADirectoryError(f"{place} is a file: name the folder in which it lies")
    if not place.is_dir() and not glob.has_magic(str(place)):
        raise FileNotFoundError(f"no folder {place}: mkdir -p {shlex.quote(str(place))}")
    inside = place if place.is_dir() else place.parent
    if out.resolve() == inside.resolve():
        raise mismatch("a folder of its own for forecasts", str(out), as_option(out / "nowcasts"))
    out.mkdir(parents=True, exist_ok=True)
    return out


def _forecast_of_nothing(pack: "Pack", options: dict[str, Options]) -> xr.DataArray:
    """Return a lazy forecast, never computed: it refuses options that the pack can't serve."""
    import dask.array

    from ..inference.forecast import forecast

    card = pack.card
    height, width = card.grid.shape if card.grid is not None else (128, 128)
    spacing = getattr(card.grid, "spacing", None) or 1000.0
    step = pd.Timedelta(card.time_step)
    coords: dict[str, object] = {
        "time": pd.Timestamp("2000-01-01") + step * np.arange(card.context),
        "y": ("y", spacing * np.arange(height), {"units": "m"}),
        "x": ("x", spacing * np.arange(width), {"units": "m"}),
    }
    values = dask.array.zeros((card.context, height, width), dtype=np.float32)
    attrs = {"standard_name": RAIN, "units": RAIN_UNITS}
    rain = xr.DataArray(values, coords, ("time", "y", "x"), "rain", attrs)
    return forecast(rain, pack, **options)


def _made_with(nothing: xr.DataArray, products: Products, call: Call) -> str:
    """Return all that decides a forecast, in words, from one that isn't computed.

    The pack, its weights and card; leads, members, seed and what else its history says; products;
    how the files are read.
    """
    attrs = nothing.attrs
    history = attrs["history"].partition(": ")[2]  # without the version of this package
    digests = [attrs[f"pack_{of}_sha256"][:12] for of in ("weights", "card")]
    return "; ".join(
        [
            history,
            "weights {}, card {}".format(*digests),
            f"{nothing.sizes['lead']} leads",
            *([str(products)] if products else []),
            replace(call, data="rain").again(),
        ]
    )


def _loop(
    place: str,
    pack: "Pack",
    output: "_Output",
    every: float,
    once: bool,
    call: Call,
    options: dict[str, Options],
) -> Iterator[Event]:
    span = (pack.card.context + 1) * pd.Timedelta(pack.card.time_step)
    folder = Folder(place, call, span, patient=not once)
    output.clean()
    tried: object = None
    while True:
        yield from folder.look()
        state = {stamp: frame.arrived for stamp, frame in folder.frames.items()}
        if state and state != tried:
            is_first, tried = tried is None, state
            for event in _forecast_newest(folder, pack, output, options):
                if is_first or not isinstance(event, Idle):
                    yield event
        if once:
            if not state and not folder.undecided:
                yield Idle(place)
            return
        time.sleep(every)


def _forecast_newest(
    folder: Folder, pack: "Pack", output: "_Output", options: dict[str, Options]
) -> Iterator[Event]:
    """Forecast from the newest frame, unless that has been done with the same files."""
    from ..inference.forecast import forecast

    step, context = pd.Timedelta(pack.card.time_step), pack.card.context
    init = str_time(max(folder.frames))
    try:
        rain, brought = _record(folder, step)
        time_dim = str(find_axes(rain).time)
        stamp = rain[time_dim].values[-1]
        init = str_time(stamp)
        first = stamp - context * step.to_timedelta64()
        used = {t: frame for t, frame in folder.frames.items() if first < t <= stamp}
        latest = max(used.values(), key=lambda frame: frame.arrived)
        target = output.target(rain[time_dim][-1])
        again = output.why(target, latest)
        if again is None:
            yield Idle(folder.place, init)
            return
        check_raster(rain, Path(f"nowcast{output.kind}"), "--format nc")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            fc = forecast(rain, pack, progress=False, **options)
        output.write(fc, rain, target, latest.arrived)
    except FAILURES as error:
        yield Failed(f"no forecast from {init}", str(error) or type(error).__name__)
        return
    now = time.time()
    yield Made(
        init,
        target,
        len(used),
        context,
        now - latest.arrived / 1e9,
        now - stamp.astype("datetime64[ns]").astype(np.int64) / 1e9,
        tuple(str(w.message) for w in caught if w.category is UserWarning),
        brought,
        again,
    )


def _record(folder: Folder, step: pd.Timedelta) -> tuple[xr.DataArray, bool]:
    """Return the frames as one record with the pack's step, which may have gaps.

    Also whether `to_step` brought them to it.
    """
    stamps, frames = zip(*sorted(folder.frames.items(), key=lambda item: item[0]), strict=True)
    rain = xr.concat(
        [frame.rain for frame in frames],
        xr.Variable("time", np.array(stamps), {"standard_name": "time"}),
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    if len(stamps) < 2:
        return rain, False
    try:
        own, _ = stamps_on_grid(rain["time"])
    except ValueError:  # an irregular record
        own = "month"
    if own == "month" or pd.Timedelta(own) != step:
        from ..inference.time_step import to_step

        return to_step(rain, step.to_timedelta64()), True
    return rain, False


# --- the folder of forecasts


@dataclass(frozen=True)
class _Output:
    """Where forecasts are written, and what they are called."""

    folder: Path
    pack: str
    format: str
    made_with: str  # all that decides a forecast: it is an attribute of each
    alone: bool  # one member, or none
    picture: bool
    keep: int | None
    products: Products = Products()

    @property
    def suffix(self) -> str:
        """How the names of forecasts end: "" for a folder of files."""
        return SUFFIXES[self.format] if self.format != "odim" or self.alone else ""

    @property
    def kind(self) -> str:
        """The suffix of the files themselves."""
        return SUFFIXES[self.format] or ".tif"

    def target(self, init: xr.DataArray) -> Path:
        """Return the path of a forecast."""
        return self.folder / f"{self.pack}_{init_label(init)}{self.suffix}"

    def clean(self) -> None:
        """Remove what a killed watch left half written."""
        for path in self.folder.glob(f"{glob.escape(self.pack)}_*"):
            if path.name.endswith(UNFINISHED):
                remove(path)

    def why(self, target: Path, latest: Frame) -> str | None:
        """Return why a forecast is to be made again, "" for the first time; None: it is there.

        `latest` is the frame, of those that it is made from, whose file came last.
        """
        try:
            made = target.stat().st_mtime_ns
        except FileNotFoundError:
            return ""
        if made < latest.arrived:
            return f"after {latest.path}"
        is_drawn = not self.picture or self._picture(target).exists()
        return None if is_drawn and self._read(target) == self.made_with else "with other options"

    def _read(self, target: Path) -> str | None:
        """Return what a forecast that is there was made with; None if it doesn't say."""
        try:
            return READERS[self.format](target).get(MADE_WITH)
        except (*FAILURES, StopIteration):
            return None

    def write(self, fc: xr.DataArray, rain: xr.DataArray, target: Path, arrived: int) -> None:
        """Write a forecast and its picture, and delete those that are too old to keep."""
        ds = self.products.of(fc).assign_attrs(Conventions=CONVENTIONS)
        said = {MADE_WITH: self.made_with}
        ds = ds.assign({name: da.assign_attrs(said) for name, da in ds.data_vars.items()})
        if self.suffix:
            write_forecast(ds, target)
        else:
            with written_aside(target) as part:
                part.mkdir()
                write_forecast(ds, part / f"{self.pack}{self.kind}")
        if self.picture:
            _draw(fc, rain, self._picture(target))
        os.utime(target, ns=(arrived, arrived))
        if self.keep is not None:
            for old in self._made()[: -self.keep]:
                remove(old)
                remove(self._picture(old))

    def _picture(self, target: Path) -> Path:
        return target.with_name(f"{target.name.removesuffix(self.suffix)}.png")

    def _made(self) -> list[Path]:
        """The forecasts that are there, the oldest first."""
        digits = "[0-9]" * 8 + "T" + "[0-9]" * 4
        pattern = f"{glob.escape(self.pack)}_{digits}{self.suffix}"
        return sorted(self.folder.glob(pattern))


def _attrs(target: Path) -> Mapping[str, str]:
    with xr.open_dataset(target) as ds:
        return next(one.attrs for one in ds.data_vars.values())


def _attrs_of_tif(target: Path) -> Mapping[str, str]:
    import rasterio

    with rasterio.open(next(target.glob("*.tif"))) as file:
        tags: dict[str, str] = file.tags()
        return tags


def _attrs_of_odim(target: Path) -> Mapping[str, str]:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(next(target.glob("*.h5")) if target.is_dir() else target) as file:
        return {key: value.decode() for key, value in file["how"].attrs.items() if key == MADE_WITH}


READERS: dict[str, Callable[[Path], Mapping[str, str]]] = {
    "nc": _attrs,
    "zarr": _attrs,
    "tif": _attrs_of_tif,
    "odim": _attrs_of_odim,
}


def _draw(fc: xr.DataArray, rain: xr.DataArray, path: Path) -> None:
    import matplotlib.pyplot as plt

    plot = fc.isel(init=0).earthformer.plot
    figure = plot.stamps() if "member" in fc.dims else plot.frames(rain)
    with written_aside(path) as part:
        figure.savefig(part, format="png")
    plt.close(figure)


# --- the command


def watch_folder(
    folder: str,
    *,
    pack: str,
    output: str,
    products: Products,
    format: Format = "nc",
    picture: bool = False,
    keep: int | None = None,
    every: float = 1.0,
    once: bool = False,
    zr: Sequence[float] | None = None,
    missing: Sequence[float] | None = None,
    zero_below: float | None = None,
    **options: Options,
) -> int:
    """Watch a folder of radar files: a new file in, a new nowcast out.

    Parameters
    ----------
    folder : str
        Where radar files arrive, in any format that open_radar reads; or a pattern.
    format : str
        nc, zarr, tif (GeoTIFF, a folder with one file per lead) or odim.
    keep : int
        Number of forecasts to keep; all when not given.
    every : float
        Seconds between looks at the folder.
    """
    law = None if zr is None else (zr[0], zr[1])
    failed = False
    try:
        with _terminated_like_interrupted():
            events = watch(
                folder,
                pack,
                output,
                format=format,
                picture=picture,
                keep=keep,
                every=every,
                once=once,
                zr=law,
                missing=missing,
                zero_below=zero_below,
                products=products,
                **options,
            )
            for event in events:
                _log(_in_shell_words(event))
                is_none = isinstance(event, Failed) and event.what.startswith("no forecast")
                failed = failed or is_none
    except KeyboardInterrupt:
        _log("stopped")
    return int(once and failed)


def _in_shell_words(event: Event) -> Event:
    """Return what failed with its hint in the words of the command line."""
    if not isinstance(event, Failed):
        return event
    lines = [line.strip() for line in event.reason.splitlines()]
    words = [
        f"try {in_shell(line.removeprefix('try '), 'watch')}" if line.startswith("try ") else line
        for line in lines
    ]
    return replace(event, reason="\n".join(words))


def _log(event: Event | str) -> None:
    """Print a line with the time on the clock."""
    words = "\n".join(map(printable, str(event).splitlines()))  # with names of others' files
    print(f"{pd.Timestamp.now('UTC'):%Y-%m-%d %H:%M:%SZ} {words}", file=sys.stderr, flush=True)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which a service is stopped, end the watch as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # only that may say so
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
