"""The work of a hindcast: blocks of inits, forecast by this process or by a cluster's workers.

What comes of them comes back one block at a time, in the order in which they are done.
"""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr

from ..fields import windows
from ..fields.time_axis import str_time
from ..inference.forecast import forecast
from ..packs.pack import Pack
from . import store

if TYPE_CHECKING:
    from distributed import Client, Future

CLUSTERS = (None, "distributed", "dask.distributed")  # what dask calls the scheduler of a cluster
LOOK = 5.0  # seconds between looks at a cluster from which nothing comes
GONE = "the dask cluster, or this process's client of it, went away: the same call goes on"

# Data from one time step to another, and the inits to forecast from it.
Piece = tuple[xr.DataArray, list[Any]]
# A block's forecasts and the digests of the frames they were made from.
Made = tuple[np.ndarray, np.ndarray]
# What comes of a block: its positions among the inits, and their forecasts or an error.
Outcome = tuple[np.ndarray, Made | Exception]


@dataclass(frozen=True)
class Job:
    """What to forecast.

    Attributes
    ----------
    da : DataArray
        The user's data, as it is.
    time : str
        Its time dim.
    times : array (time,)
        The stamps along it.
    positions : int array (init,)
        Of each init on that dim.
    pack : Pack
    options : mapping
        Further arguments of `forecast`.
    """

    da: xr.DataArray
    time: str
    times: np.ndarray
    positions: np.ndarray
    pack: Pack
    options: Mapping[str, Any]

    @property
    def used(self) -> slice:
        """The time steps that go into it, two or more: a single one doesn't tell the step."""
        first, end = self.positions.min() - self.pack.card.context + 1, self.positions.max() + 1
        return _two_or_more(int(first), int(end), 0)

    def spans(self, which: np.ndarray) -> list[tuple[slice, list[Any]]]:
        """The time steps that some inits need, and these inits, for each run of them."""
        history, found = self.pack.card.context, []
        for run in windows.blocks(self.positions[which], history, len(which)):
            positions = self.positions[which[run]]
            first, end = int(positions[0]) - history + 1, int(positions[-1]) + 1
            steps = _two_or_more(first, end, self.used.start)
            found.append((steps, list(self.times[positions])))
        return found

    def pieces(self, which: np.ndarray) -> list[Piece]:
        """The same with the data."""
        return [(self.da.isel({self.time: steps}), init) for steps, init in self.spans(which)]

    def frames(self, which: np.ndarray) -> np.ndarray:
        """The same time steps, counted from the first that is used."""
        steps = [np.arange(steps.start, steps.stop) for steps, _ in self.spans(which)]
        return np.concatenate(steps) - self.used.start

    def labels(self, which: np.ndarray) -> list[str]:
        """Inits in words."""
        return [str_time(stamp) for stamp in self.times[self.positions[which]]]

    @property
    def work(self) -> Callable[..., Made]:
        """What makes forecasts of pieces; it takes no data and no weights along."""
        return partial(_forecast, time=self.time, pack=self.pack, options=self.options)

    @cached_property
    def persisted(self) -> bool:
        """Whether the data, or some of it, lies on a cluster."""
        if self.da.chunks is None or "distributed" not in sys.modules:
            return False
        from distributed import futures_of

        return bool(futures_of(self.da))

    @property
    def scheduler(self) -> Any:
        """What dask reads the data with here: the threads of this process, if not told otherwise.

        No cluster, but where the data lies on one. Two reads share keys, and each one's graph,
        optimized alone, gives them another meaning: for workers that hear both the wait may have
        no end (https://github.com/dask/dask/issues/9888).
        """
        chosen = dask.config.get("scheduler", None)
        return "threads" if chosen in CLUSTERS and not self.persisted else chosen


def outcomes(job: Job, tasks: deque[np.ndarray]) -> Generator[Outcome, None, None]:
    """Do blocks, which may become more on the way, here or on the cluster that there is.

    Parameters
    ----------
    job : Job
    tasks : deque of int arrays
        Blocks, as positions among the inits; each is taken out when it is begun.

    Yields
    ------
    int array, (array, uint64 array) or Exception
        A block, and its forecasts (init, lead, *the user's spatial dims) with the digests of the
        frames that they were made from, or what went wrong.

    Raises
    ------
    ConnectionError
        The cluster went away.
    """
    client = _client()
    if client is not None:
        yield from _on_cluster(job, tasks, client)
        return
    while tasks:
        which = tasks.popleft()
        outcome: Made | Exception
        try:
            outcome = job.work(job.pieces(which), scheduler=job.scheduler)
        except Exception as error:
            outcome = error
        yield which, outcome


def _on_cluster(
    job: Job, tasks: deque[np.ndarray], client: "Client"
) -> Generator[Outcome, None, None]:
    """Blocks as tasks, two for each thread of the cluster; one at a time comes here.

    A block is one task under a key of its own, that reads its data by itself: see `Job.scheduler`.
    """
    running: dict[Future, np.ndarray] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    try:
        while tasks or running:
            while tasks and len(running) < 2 * max(1, _threads(client)):
                which = tasks.popleft()
                try:
                    pieces = [(_to_send(da, job), init) for da, init in job.pieces(which)]
                except Exception as error:
                    yield which, error
                    continue
                with warnings.catch_warnings():  # it sends the block's own data, and no more
                    warnings.filterwarnings("ignore", "Sending large graph")
                    future = client.submit(job.work, pieces, scheduler="threads", pure=False)
                running[future] = which
                future.add_done_callback(finished.put)
            future = _next(finished, client)
            which = running.pop(future)
            if future.cancelled():
                raise ConnectionError(GONE)
            failure = future.exception()
            yield which, future.result() if failure is None else failure
            del future  # the cluster keeps a result while someone here knows of it
    finally:
        if client.status == "running":
            client.cancel(list(running))


def _to_send(da: xr.DataArray, job: Job) -> xr.DataArray:
    """Dask data as the part of its graph that it needs; what workers can't read is read here."""
    if da.chunks is None or job.persisted:
        return da.load()
    (part,) = dask.optimize(da)
    return part


def _next(finished: "SimpleQueue[Future]", client: "Client") -> "Future":
    """The next block that is done, failed or cancelled; no wait for what can't come."""
    said = False
    while True:
        try:
            return finished.get(timeout=LOOK)
        except Empty:
            if _threads(client) == 0 and not said:
                said = True
                warnings.warn("the dask cluster has no workers: waiting for some", stacklevel=2)


def _threads(client: "Client") -> int:
    """How many threads the cluster's workers have, now."""
    if client.status not in ("running", "connecting"):
        raise ConnectionError(GONE)
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise ConnectionError(GONE) from error


def _client() -> "Client | None":
    """The dask.distributed client of this process, if it is open and waits for its answers.

    None in a task of a cluster: all of its threads may be such tasks, that wait for each other.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client, get_worker

    with suppress(ValueError):
        get_worker()
        return None
    with suppress(ValueError):
        client = default_client()
        return None if client.asynchronous or client.status == "closed" else client
    return None


def _forecast(
    pieces: list[Piece],
    *,
    time: str,
    pack: Pack,
    options: Mapping[str, Any],
    scheduler: Any,
) -> Made:
    """A block: its forecasts, dims (init, lead, *the user's spatial dims), and what of."""
    answers, digests = [], []
    for da, init in pieces:
        da = da.load(scheduler=scheduler)
        answers.append(forecast(da, pack, init=init, progress=False, **options).to_numpy())
        digests.append(store.frame_digests(da, time))
    return np.concatenate(answers), np.concatenate(digests)


def _two_or_more(first: int, end: int, lowest: int) -> slice:
    """A slice with a neighbour where it is of a single step."""
    if end - first > 1:
        return slice(first, end)
    return slice(first - 1, end) if first > lowest else slice(first, end + 1)
