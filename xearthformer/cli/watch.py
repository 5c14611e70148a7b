"""The command watch: a folder in which radar files arrive, a new nowcast for each new frame.

The loop yields what it has done, so that a caller may log it, test it or stop. It looks at the
folder every second or so. What it knows lies in the folders themselves: a forecast that is there is
not made again, and its file's time stamp is that of the newest file it was made from.
"""

import glob
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from ..datasets.radar.geotiff import init_label
from ..errors import mismatch, whole_number
from ..fields.axes import find_axes
from ..fields.time_axis import stamps_on_grid, str_time
from .files import check_raster, remove, write_forecast
from .folder import UNFINISHED, Failed, Folder

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
    frames: int  # that it was made from, ...
    context: int  # ... of those that the pack looks at
    after_file: float  # seconds since the newest file arrived
    after_frame: float  # seconds since the init
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = f"{self.init}: {self.path}, from {self.frames} of {self.context} frames, "
        words += f"{_ago(self.after_file)} after the file, {_ago(self.after_frame)} after the frame"
        return "; ".join([words, *self.notes])


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
    **options: Options,
) -> Iterator[Made | Failed]:
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
    zr : (a, b), optional
        As in `open_radar`.
    **options
        As in `forecast`: lead, members, seed, ...

    Yields
    ------
    Made or Failed
        What was done, as it is done; `str` of it is a line for a log.

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
      times, and skipped until it changes. Files on another grid than most are named and left out.
    - Frames that are missing are read as not seen, by packs that can; others wait for them. A
      record with another step than the pack's is brought to it by `to_step`.
    - A forecast has its name once it is whole.

    Examples
    --------
    >>> for event in watch("radar", "nowcast-radar", "nowcasts", keep=12):  # doctest: +SKIP
    ...     print(event)
    2016-09-28 15:00:00: nowcasts/nowcast-radar_20160928T1500.nc, from 13 of 13 frames, 7.2 s ...
    """
    out = _check(folder, output, format, keep)
    from ..packs.pack import open_pack

    pack = open_pack(pack)
    step, rain = pack.card.time_step, pack.card.input.standard_name
    if step in (None, "month") or rain != "rainfall_rate":
        found = f"{pack.card.name!r}, of {rain or 'any quantity'}"
        raise mismatch("a pack of rain, with a time step", found, 'the pack "nowcast-radar"')
    members = _forecast_of_nothing(pack, options).sizes.get("member", 1)
    if picture:
        import matplotlib  # noqa: F401  # or the first forecast would be the first to lack it
    written = _Output(out, pack.card.name, format, members, picture, keep)
    return _loop(str(folder), pack, written, every, once, zr, options)


def _check(
    folder: str | os.PathLike[str], output: str | os.PathLike[str], format: str, keep: int | None
) -> Path:
    """Refuse what can't be watched, or written."""
    if format not in SUFFIXES:
        raise mismatch(f"format as one of {', '.join(SUFFIXES)}", repr(format), 'format="nc"')
    if keep is not None:
        whole_number("keep", keep, hint="keep=12")
    place, out = Path(folder), Path(output)
    if not place.is_dir() and not glob.has_magic(str(place)):
        raise FileNotFoundError(f"no folder {place}: mkdir -p {place}")
    inside = place if place.is_dir() else place.parent
    if out.resolve() == inside.resolve():
        raise mismatch("a folder of its own for forecasts", str(out), f"-o {out}/nowcasts")
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
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    rain = xr.DataArray(values, coords, ("time", "y", "x"), "rain", attrs)
    return forecast(rain, pack, **options)


def _loop(
    place: str,
    pack: "Pack",
    output: "_Output",
    every: float,
    once: bool,
    zr: tuple[float, float] | None,
    options: dict[str, Options],
) -> Iterator[Made | Failed]:
    span = (pack.card.context + 1) * pd.Timedelta(pack.card.time_step)
    folder = Folder(place, zr, span, patient=not once)
    output.clean()
    tried: object = None
    while True:
        yield from folder.look()
        state = {stamp: frame.arrived for stamp, frame in folder.frames.items()}
        if state and state != tried:
            tried = state
            yield from _forecast_newest(folder, pack, output, options)
        if once:
            return
        time.sleep(every)


def _forecast_newest(
    folder: Folder, pack: "Pack", output: "_Output", options: dict[str, Options]
) -> Iterator[Made | Failed]:
    """Forecast from the newest frame, unless that has been done with the same files."""
    from ..inference.forecast import forecast

    step, context = pd.Timedelta(pack.card.time_step), pack.card.context
    init = str_time(max(folder.frames))
    try:
        rain = _record(folder, step)
        time_dim = str(find_axes(rain).time)
        stamp = rain[time_dim].values[-1]
        init = str_time(stamp)
        first = stamp - context * step.to_timedelta64()
        used = {t: frame.arrived for t, frame in folder.frames.items() if first < t <= stamp}
        target = output.target(rain[time_dim][-1])
        if output.is_made(target, max(used.values())):
            return
        check_raster(rain, Path(f"nowcast{output.kind}"), "--format nc")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            fc = forecast(rain, pack, progress=False, **options)
        output.write(fc, rain, target, max(used.values()))
    except FAILURES as error:
        yield Failed(f"no forecast from {init}", str(error) or type(error).__name__)
        return
    now = time.time()
    yield Made(
        init,
        target,
        int((rain[time_dim].values > first).sum()),
        context,
        now - used[max(used)] / 1e9,
        now - stamp.astype("datetime64[ns]").astype(np.int64) / 1e9,
        tuple(str(w.message) for w in caught if w.category is UserWarning),
    )


def _record(folder: Folder, step: pd.Timedelta) -> xr.DataArray:
    """Return the frames as one record with the pack's step, which may have gaps."""
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
        return rain
    try:
        own, _ = stamps_on_grid(rain["time"])
    except ValueError:  # an irregular record
        own = "month"
    if own == "month" or pd.Timedelta(own) != step:
        from ..inference.time_step import to_step

        return to_step(rain, step.to_timedelta64())
    return rain


# --- the folder of forecasts


@dataclass(frozen=True)
class _Output:
    """Where forecasts are written, and what they are called."""

    folder: Path
    pack: str
    format: str
    members: int
    picture: bool
    keep: int | None

    @property
    def suffix(self) -> str:
        """How the names of forecasts end: "" for a folder of files."""
        return "" if self.format == "odim" and self.members > 1 else SUFFIXES[self.format]

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

    def is_made(self, target: Path, arrived: int) -> bool:
        """Whether a forecast is there, and no file that it is made from arrived since."""
        with suppress(FileNotFoundError):
            return target.stat().st_mtime_ns >= arrived
        return False

    def write(self, fc: xr.DataArray, rain: xr.DataArray, target: Path, arrived: int) -> None:
        """Write a forecast and its picture, and delete those that are too old to keep."""
        ds = fc.to_dataset().assign_attrs(Conventions="CF-1.8")
        if self.suffix:
            write_forecast(ds, target)
        else:
            part = target.with_name(f"{target.name}.part")
            remove(part)
            part.mkdir()
            write_forecast(ds, part / f"{self.pack}{self.kind}")
            remove(target)
            os.replace(part, target)
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


def _draw(fc: xr.DataArray, rain: xr.DataArray, path: Path) -> None:
    import matplotlib.pyplot as plt

    plot = fc.isel(init=0).earthformer.plot
    figure = plot.stamps() if "member" in fc.dims else plot.frames(rain)
    part = path.with_name(f"{path.name}.part")
    figure.savefig(part, format="png")
    plt.close(figure)
    os.replace(part, path)


# --- the command


def watch_folder(
    folder: str,
    *,
    pack: str,
    output: str,
    format: Format = "nc",
    picture: bool = False,
    keep: int | None = None,
    every: float = 1.0,
    once: bool = False,
    zr: Sequence[float] | None = None,
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
    a_b = None if zr is None else (float(zr[0]), float(zr[1]))
    how = {"format": format, "picture": picture, "keep": keep, "every": every, "once": once}
    failed = False
    try:
        for event in watch(folder, pack, output, zr=a_b, **how, **options):  # type: ignore[arg-type]
            print(event, file=sys.stderr, flush=True)
            failed = failed or (isinstance(event, Failed) and event.what.startswith("no forecast"))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return int(once and failed)
