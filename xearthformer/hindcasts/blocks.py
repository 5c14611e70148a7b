"""The work of a hindcast: blocks of inits, forecast by this process or by a cluster's workers.

Results come back one block at a time, in the order in which they are finished.
"""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import dask
import numpy as np
import xarray as xr

from ..errors import ignored
from ..fields import windows
from ..fields.quantities import KNOWN
from ..fields.time_axis import str_time
from ..inference.forecast import Setup, compute, set_up
from ..inference.inputs import Entry
from ..inference.options import Options
from ..inference.workers import open_client
from ..packs.pack import Pack
from ..verification.request import Products
from .store import frame_digests

if TYPE_CHECKING:
    from distributed import Client, Future

CLUSTERS = (None, "distributed", "dask.distributed")  # dask's names for a cluster's scheduler
POLL = 5.0  # seconds between looks at a cluster from which nothing comes
GONE = "the dask cluster, or this process's client of it, went away: the same call goes on"

Scheduler: TypeAlias = str | Callable[..., object] | None  # as dask takes it


class Piece(NamedTuple):
    """Data over consecutive time steps, and the inits to forecast from it."""

    data: list[xr.DataArray]  # one array per input
    inits: list[object]


class BlockForecast(NamedTuple):
    """A block's forecasts, digests of the frames they were made from, and inits that know more."""

    # of each output, and what is known of a nowcast: (init, lead, *the user's spatial dims)
    values: list[np.ndarray]
    digests: np.ndarray  # (time,), uint64
    late: np.ndarray  # (init,), bool: whose own frame was made of later ones


# A block's positions among the inits, and its forecasts, or the error that it ended with.
Outcome: TypeAlias = tuple[np.ndarray, BlockForecast | Exception]


@dataclass(frozen=True)
class Job:
    """What to forecast."""

    entries: list[Entry]  # the user's data, unchanged
    time: str  # its time dim
    times: np.ndarray  # (time,), the stamps along it
    positions: np.ndarray  # (init,), the position of each init along it
    pack: Pack
    options: Options  # how to forecast
    products: Products = Products()  # what is kept of it

    @property
    def used(self) -> slice:
        """The time steps that go into the hindcast."""
        first, end = self.positions.min() - self.pack.card.context + 1, self.positions.max() + 1
        return _two_or_more(int(first), int(end), 0)

    def _spans(self, inits: np.ndarray) -> list[tuple[slice, np.ndarray]]:
        """The time steps that some inits need, run by run, and the positions of these inits."""
        context, spans = self.pack.card.context, []
        for run in windows.blocks(self.positions[inits], context, len(inits)):
            positions = self.positions[inits[run]]
            first, end = int(positions[0]) - context + 1, int(positions[-1]) + 1
            spans.append((_two_or_more(first, end, self.used.start), positions))
        return spans

    def pieces(self, inits: np.ndarray) -> list[Piece]:
        """Return the data that some inits need."""
        return [
            Piece(self.frames_at(steps), list(self.times[positions]))
            for steps, positions in self._spans(inits)
        ]

    def frames_at(self, steps: slice | np.ndarray) -> list[xr.DataArray]:
        """Return the data of each input at some time steps."""
        return [entry.da.isel({self.time: steps}) for entry in self.entries]

    def frames(self, inits: np.ndarray) -> np.ndarray:
        """Return the positions of the same time steps, counted from the first that is used."""
        steps = [np.arange(steps.start, steps.stop) for steps, _ in self._spans(inits)]
        return np.concatenate(steps) - self.used.start

    def labels(self, inits: np.ndarray) -> list[str]:
        """Return inits as text."""
        return [str_time(stamp) for stamp in self.times[self.positions[inits]]]

    @property
    def work(self) -> Callable[..., BlockForecast]:
        """The function that forecasts pieces; it carries neither data nor weights to a worker."""
        bare = [replace(entry, da=xr.DataArray()) for entry in self.entries]
        return partial(
            _forecast,
            time=self.time,
            entries=bare,
            pack=self.pack,
            options=self.options,
            products=self.products,
        )

    @cached_property
    def persisted(self) -> bool:
        """Whether the data, or some of it, is in a cluster's memory."""
        if not self.lazy or "distributed" not in sys.modules:
            return False
        from distributed import futures_of

        return bool(futures_of([entry.da for entry in self.entries]))

    @property
    def lazy(self) -> bool:
        """Whether some of the data is dask's."""
        return any(entry.da.chunks is not None for entry in self.entries)

    @property
    def scheduler(self) -> Scheduler:
        """What dask reads the data with here: threads of this process, unless configured otherwise.

        A cluster only where the data is in its memory. Two reads share keys, and each one's graph,
        optimized alone, gives them another meaning: for workers that hear both the wait may have
        no end (https://github.com/dask/dask/issues/9888).
        """
        chosen: Scheduler = dask.config.get("scheduler", None)
        return "threads" if chosen in CLUSTERS and not self.persisted else chosen


def outcomes(job: Job, blocks: deque[np.ndarray]) -> Generator[Outcome, None, None]:
    """Forecast blocks of inits, here or on the cluster of this process's dask client.

    Each block is taken out of `blocks` when it is begun; the caller may add more on the way. The
    error of a block is its outcome; only a cluster that went away raises one (ConnectionError).
    """
    client = open_client()
    if client is not None:
        yield from _on_cluster(job, blocks, client)
        return
    while blocks:
        inits = blocks.popleft()
        outcome: BlockForecast | Exception
        try:
            outcome = job.work(job.pieces(inits), scheduler=job.scheduler)
        except Exception as error:
            outcome = error
        yield inits, outcome


def _on_cluster(
    job: Job, blocks: deque[np.ndarray], client: "Client"
) -> Generator[Outcome, None, None]:
    """Forecast blocks as tasks, two for each thread of the cluster, so that none has to wait.

    A block is one task under a key of its own, that reads its data by itself: see `Job.scheduler`.
    """
    from distributed.client import FutureCancelledError

    running: dict[Future, np.ndarray] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    try:
        while blocks or running:
            while blocks and len(running) < 2 * max(1, _threads(client)):
                inits = blocks.popleft()
                try:
                    pieces = [Piece(_to_send(data, job), init) for data, init in job.pieces(inits)]
                except Exception as error:
                    yield inits, error
                    continue
                with ignored("Sending large graph"):  # the block's own data, and no more
                    future = client.submit(job.work, pieces, scheduler="threads", pure=False)
                running[future] = inits
                future.add_done_callback(finished.put)
            future = _next(finished, client)
            inits = running.pop(future)
            result: BlockForecast | Exception
            try:
                result = future.exception() or future.result()
            except FutureCancelledError as error:  # done, but the client closed while it came
                result = error
            if future.cancelled() or isinstance(result, FutureCancelledError):
                raise ConnectionError(GONE)
            yield inits, result
            del future, result  # the cluster keeps a result while someone here knows of it
    finally:
        if client.status == "running":
            client.cancel(list(running))


def _to_send(data: list[xr.DataArray], job: Job) -> list[xr.DataArray]:
    """Dask data with only the graph that it needs; what workers can't read is read here."""
    if job.persisted:
        return [da.load() for da in data]
    return [da.load() if da.chunks is None else dask.optimize(da)[0] for da in data]


def _next(finished: "SimpleQueue[Future]", client: "Client") -> "Future":
    """Wait for a block that ended; a cluster that went away is an error, not a wait for ever."""
    warned = False
    while True:
        try:
            return finished.get(timeout=POLL)
        except Empty:
            if _threads(client) == 0 and not warned:
                warned = True
                warnings.warn("the dask cluster has no workers: waiting for some", stacklevel=2)


def _threads(client: "Client") -> int:
    """How many threads the cluster's workers have, now."""
    if client.status not in ("running", "connecting"):
        raise ConnectionError(GONE)
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise ConnectionError(GONE) from error


def _forecast(
    pieces: list[Piece],
    *,
    time: str,
    entries: list[Entry],
    pack: Pack,
    options: Options,
    products: Products,
    scheduler: Scheduler,
) -> BlockForecast:
    """Forecast a block."""
    values, digests, late = [], [], []
    for data, init in pieces:
        loaded = [da.load(scheduler=scheduler) for da in data]
        own = [replace(entry, da=da) for entry, da in zip(entries, loaded, strict=True)]
        setup = set_up(own, pack, init, options)
        forecasts = compute(setup, "auto", progress=False)
        values.append(_products(setup, forecasts, products) if products else forecasts)
        digests.append(frame_digests(loaded, time))
        late.append(np.asarray(windows.later_inits(loaded[0], np.array(init), compute=True)))
    of_each = [np.concatenate(parts) for parts in zip(*values, strict=True)]
    return BlockForecast(of_each, np.concatenate(digests), np.concatenate(late))


def _products(setup: Setup, values: Sequence[Any], products: Products) -> list[np.ndarray]:
    """Return the values of products, and what is known of them, from those of forecasts."""
    answers = dict(zip(setup.answers, values, strict=False))
    ds = xr.Dataset({n: setup.answers[n].copy(data=data) for n, data in answers.items()})
    if setup.known is not None:
        ds = ds.assign_coords({KNOWN: setup.known.copy(data=values[-1])})
    made = products.of(ds)
    known = [made[KNOWN]] if KNOWN in made.coords else []
    return [da.to_numpy() for da in (*made.data_vars.values(), *known)]


def _two_or_more(first: int, end: int, lowest: int) -> slice:
    """A slice of time steps, at least two: from a single one the length of a step can't be told."""
    if end - first > 1:
        return slice(first, end)
    return slice(first - 1, end) if first > lowest else slice(first, end + 1)
