"""A folder in which radar files arrive: looked at again and again, one frame for each time.

Files that are half-written, late, broken or of another product are told from those that count.
"""

import glob
import os
import re
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

from ..datasets.radar.call import Call
from ..datasets.radar.files import NO_FILES, difference, open_paths, pattern_of, product_of
from ..datasets.radar.files import Frame as Opened
from ..datasets.radar.labels import with_labels
from ..datasets.radar.rain import to_rain
from ..errors import mismatch
from ..fields.axes import find_axes

UNFINISHED = (".part", ".tmp", ".writing")  # names of files that somebody still writes
LOOKED_AT = 100  # files of a folder when its watch begins: so many by name, as many by arrival
TRIES = 3  # looks at a file that can't be read, before it is skipped
# The usual product has so many times the frames of all others. Of two that arrive by turns one is
# ahead at times, and is not usual for that.
CLEARLY = 1.5
AGAIN, GIVEN_UP = "it is tried again", "given up"
PYTHON = re.compile(r"try .*\b(xef|xr|np|pd|da|ds|rain|fc|dask)\b[.\[(]")


@dataclass(frozen=True)
class Failed:
    """A file that could not be read, or an init from which no forecast could be made."""

    what: str
    reason: str
    then: str = ""  # what comes of it

    @property
    def final(self) -> bool:
        """Whether nothing is tried again until the file, or the folder, changes."""
        return self.then != AGAIN

    def __str__(self) -> str:
        lines = [" ".join(line.split()) for line in self.reason.splitlines()]
        # who runs a command can't do what an error says in Python
        reason = "; ".join(line for line in lines if line and not PYTHON.match(line))
        words = reason if self.what in reason else f"{self.what}: {reason}"
        return f"{words}; {self.then}" if self.then else words


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


@dataclass
class Folder:
    """A folder, or the files of a pattern, and the frames in them; it is looked at again and again.

    Frames older than `span` before the newest are let go. Those of another product than most are
    held as long, as it may become the usual one.
    """

    place: str
    call: Call  # of open_radar, for each of the files
    span: pd.Timedelta
    patient: bool  # wait until a file no longer changes, and try again where it can't be read
    products: list[Opened] = field(default_factory=list)  # of each that was met, the labels
    held: dict[tuple[int, np.datetime64], Frame] = field(default_factory=dict)  # by product
    usual: int | None = None  # the product that most frames are of
    listed: dict[Path, Stat] = field(default_factory=dict)  # at the last look
    done: dict[Path, Stat] = field(default_factory=dict)  # read, or skipped
    tries: Counter[tuple[Path, Stat]] = field(default_factory=Counter)
    named: dict[Path, int] = field(default_factory=dict)  # files of other products, by arrival
    undecided: str = ""  # what was said of products of which none is the usual one

    @property
    def frames(self) -> dict[np.datetime64, Frame]:
        """The frames of the usual product, in the order of time."""
        return {stamp: self.held[of, stamp] for of, stamp in sorted(self.held) if of == self.usual}

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
        self._forget_old()
        for key, frame in list(self.held.items()):
            if not frame.is_loaded:
                del self.held[key]  # until it has been read
                yield from self._attempt(frame.path, found[frame.path], self._load, key, frame)
        yield from self._choose_usual()

    def _list(self) -> dict[Path, Stat]:
        folder = Path(self.place)
        paths: Iterable[Path] = map(Path, glob.glob(self.place))
        if folder.is_dir():
            paths = folder.iterdir()
        found = {}
        for path in paths:
            if NO_FILES.match(path.name):
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
                reason = str(error) or type(error).__name__
                yield Failed(str(path), reason, GIVEN_UP if final else AGAIN)

    def _open(self, path: Path, stat: Stat) -> None:
        call = replace(self.call, data=f'"{path}"')
        ds = with_labels(open_paths(path, call), call)
        rain = to_rain(ds, call).astype("float32", copy=False)
        axes = find_axes(rain)
        time, others = str(axes.time), {*rain.dims} - {axes.time, axes.y, axes.x}
        if others:
            raise mismatch("frames (y, x)", f"also {', '.join(map(str, others))}", "other files")
        product = self._number(Opened(str(path), ds, product_of(ds, call)))
        stamps = rain[time].values
        rain = rain.drop_vars([name for name, c in rain.coords.items() if time in c.dims])
        for i, stamp in enumerate(stamps):
            frame = Frame(rain.isel({time: i}), path, stat.arrived)
            there = self.held.get((product, stamp))
            if there is None or there.arrived <= stat.arrived:  # a correction
                self.held[product, stamp] = frame

    def _number(self, opened: Opened) -> int:
        """Return which of the products a file is of, by what it holds and its grid."""
        for i, product in enumerate(self.products):
            if difference(product, opened) is None:
                return i
        da = opened.ds[opened.product[0]]
        # the labels alone: a file that stays open can't be replaced everywhere
        nothing = xr.Variable(da.dims, np.broadcast_to(np.float32(0), da.shape))
        labels = {dim: opened.ds[dim].variable for dim in da.dims if dim in opened.ds.coords}
        self.products.append(replace(opened, ds=xr.Dataset({da.name: nothing}, labels)))
        return len(self.products) - 1

    def _load(self, key: tuple[int, np.datetime64], frame: Frame) -> None:
        self.held[key] = replace(frame, rain=frame.rain.load(), is_loaded=True)

    def _forget_old(self) -> None:
        """Let go of frames that are old by the newest of their own product."""
        newest = {of: stamp for of, stamp in sorted(self.held)}
        self._keep_since({of: stamp - self.span.to_timedelta64() for of, stamp in newest.items()})

    def _keep_since(self, oldest: dict[int, np.datetime64]) -> None:
        self.held = {key: one for key, one in self.held.items() if key[1] >= oldest[key[0]]}

    def _choose_usual(self) -> Iterator[Failed]:
        """Choose the product of most frames, and name files of others; none, where it isn't clear.

        Frames older than that product's are let go, so that one that ended gives way to the next.
        """
        self.usual = None
        if not self.held:
            return
        counts = Counter(of for of, _ in self.held)
        newest = {of: stamp for of, stamp in sorted(self.held)}
        most = max(counts, key=lambda of: (counts[of], newest[of]))
        self._keep_since(dict.fromkeys(counts, newest[most] - self.span.to_timedelta64()))
        counts = Counter(of for of, _ in self.held)
        if counts[most] < CLEARLY * (counts.total() - counts[most]):
            reason = self._unclear(most, counts)
            if reason != self.undecided:
                yield Failed("no forecast", reason)
            self.undecided = reason
            return
        self.usual, self.undecided = most, ""
        others = {one.path: (of, one.arrived) for (of, _), one in self.held.items() if of != most}
        for path, (of, arrived) in others.items():
            if self.named.get(path) != arrived:
                how = difference(self.products[most], self.products[of])
                yield Failed(str(path), f"another product than most files: {how}", "left out")
        self.named = {path: arrived for path, (_, arrived) in others.items()}

    def _unclear(self, most: int, counts: Counter[int]) -> str:
        """Return what is wrong with files of several products, and the pattern of one of them."""
        paths: dict[int, list[str]] = {of: [] for of, _ in counts.most_common()}
        for of, stamp in sorted(self.held):
            path = str(self.held[of, stamp].path)
            paths[of].append(path if os.path.dirname(path) else os.path.join(".", path))
        like = " and ".join(f"{len(names)} like {names[-1]}" for names in paths.values())
        other = next(of for of in paths if of != most)
        how = difference(self.products[other], self.products[most])
        unlike = [path for of, names in paths.items() if of != most for path in names]
        pattern = pattern_of(sorted({*paths[most]}), unlike)
        hint = "a folder, or a pattern, for each" if pattern is None else f'watch "{pattern}"'
        words = mismatch("files that are mostly of one product on one grid", f"{like}: {how}", hint)
        return str(words)
