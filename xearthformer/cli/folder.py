"""A folder in which radar files arrive: looked at again and again, one frame for each time.

Files that are half-written, late, broken or of another product are told from those that count.
"""

import glob
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ..datasets.radar.open import open_radar
from ..errors import mismatch
from ..fields.axes import find_axes

UNFINISHED = (".part", ".tmp", ".writing")  # names of files that somebody still writes
LOOKED_AT = 100  # files of a folder when its watch begins: so many by name, as many by arrival
TRIES = 3  # looks at a file that can't be read, before it is skipped


@dataclass(frozen=True)
class Failed:
    """A file that could not be read, or an init from which no forecast could be made."""

    what: str
    reason: str
    final: bool = True  # nothing is tried again until the file, or the folder, changes

    def __str__(self) -> str:
        reason = " ".join(self.reason.split())
        words = reason if self.what in reason else f"{self.what}: {reason}"
        return words if self.final else f"{words}; it is tried again"


class Stat(NamedTuple):
    """By which a file that changed is told from one that didn't."""

    size: int
    modified: int  # ns
    changed: int  # ns: a file that is moved here keeps its time of modification

    @property
    def arrived(self) -> int:
        """When the file came to be as it is, in nanoseconds since 1970."""
        return max(self.modified, self.changed)


@dataclass(frozen=True)
class Frame:
    """One time of a radar record."""

    rain: xr.DataArray  # (y, x)
    path: Path
    arrived: int
    is_loaded: bool = False

    @property
    def grid(self) -> tuple[object, ...]:
        """What frames of one record have in common."""
        y, x = self.rain.dims
        ends = [float(self.rain[dim][end]) for dim in (y, x) for end in (0, -1)]
        return (y, x, *self.rain.shape, *ends)


@dataclass
class Folder:
    """A folder, or the files of a pattern, and the frames in them; it is looked at again and again.

    Frames older than `span` before the newest are let go.
    """

    place: str
    zr: tuple[float, float] | None
    span: pd.Timedelta
    patient: bool  # wait until a file no longer changes, and try again where it can't be read
    frames: dict[np.datetime64, Frame] = field(default_factory=dict)
    listed: dict[Path, Stat] = field(default_factory=dict)  # at the last look
    done: dict[Path, Stat] = field(default_factory=dict)  # read, or skipped
    tries: Counter[tuple[Path, Stat]] = field(default_factory=Counter)

    def look(self) -> Iterator[Failed]:
        """Take in what is new, and yield what can't be read."""
        found = self._list()
        if not self.listed and not self.done:
            latest = {*sorted(found)[-LOOKED_AT:]}
            latest.update(sorted(found, key=lambda path: found[path].arrived)[-LOOKED_AT:])
            self.done = {path: stat for path, stat in found.items() if path not in latest}
        settled = found if not self.patient else self.listed
        self.listed = found
        self.done = {path: stat for path, stat in self.done.items() if path in found}
        self.tries = Counter({key: n for key, n in self.tries.items() if key[0] in found})
        for path, stat in sorted(found.items(), key=lambda item: item[1].arrived):
            if self.done.get(path) != stat and settled.get(path) == stat:
                yield from self._attempt(path, stat, self._open, path, stat)
        yield from self._keep_one_grid()
        self._forget_old()
        for stamp, frame in list(self.frames.items()):
            if not frame.is_loaded:
                del self.frames[stamp]  # until it has been read
                yield from self._attempt(frame.path, found[frame.path], self._load, stamp, frame)

    def _list(self) -> dict[Path, Stat]:
        folder = Path(self.place)
        paths: Iterable[Path] = map(Path, glob.glob(self.place))
        if folder.is_dir():
            paths = folder.iterdir()
        found = {}
        for path in paths:
            if path.name.startswith(".") or path.name.endswith(UNFINISHED):
                continue
            with suppress(FileNotFoundError):  # it went away while we looked
                if path.is_file():
                    stat = path.stat()
                    found[path] = Stat(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return found

    def _attempt(
        self, path: Path, stat: Stat, work: Callable[..., None], *arguments: object
    ) -> Iterator[Failed]:
        """Do what may fail with a file: it is done then, or tried again at the next look."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work(*arguments)
            self.done[path] = stat
        except Exception as error:  # half a file may fail in any way
            self.tries[path, stat] += 1
            final = not self.patient or self.tries[path, stat] >= TRIES
            if final:
                self.done[path] = stat
            else:
                self.done.pop(path, None)
            if final or self.tries[path, stat] == 1:
                yield Failed(str(path), str(error) or type(error).__name__, final)

    def _open(self, path: Path, stat: Stat) -> None:
        rain = open_radar(path, zr=self.zr)
        axes = find_axes(rain)
        time, others = str(axes.time), {*rain.dims} - {axes.time, axes.y, axes.x}
        if others:
            raise mismatch("frames (y, x)", f"also {', '.join(map(str, others))}", "other files")
        stamps = rain[time].values
        rain = rain.drop_vars([name for name, c in rain.coords.items() if time in c.dims])
        for i, stamp in enumerate(stamps):
            frame = Frame(rain.isel({time: i}), path, stat.arrived)
            there = self.frames.get(stamp)
            if there is None or there.arrived <= stat.arrived:  # a correction
                self.frames[stamp] = frame

    def _load(self, stamp: np.datetime64, frame: Frame) -> None:
        self.frames[stamp] = replace(frame, rain=frame.rain.load(), is_loaded=True)

    def _keep_one_grid(self) -> Iterator[Failed]:
        """Let go of frames on another grid than most: of another product."""
        grids = Counter(frame.grid for frame in self.frames.values())
        if len(grids) < 2:
            return
        usual, _ = grids.most_common(1)[0]
        for stamp, frame in list(self.frames.items()):
            if frame.grid != usual:
                del self.frames[stamp]
                y, x = frame.rain.shape
                yield Failed(str(frame.path), f"{y} x {x} pixels, on another grid than most files")

    def _forget_old(self) -> None:
        if self.frames:
            oldest = max(self.frames) - self.span.to_timedelta64()
            self.frames = {t: self.frames[t] for t in sorted(self.frames) if t >= oldest}
