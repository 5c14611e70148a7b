"""A hindcast: forecasts from many inits, streamed to a Zarr store that survives being killed.

The empty answer is written first; then blocks of inits are forecast, by this process or by the
workers of a dask cluster, and written by this process alone: data, then the block's marker. A
second call does what has no marker.
"""

import hashlib
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from . import admission, cf, engine, ledger, lock, stores, windows
from .errors import mismatch
from .forecast import forecast
from .options import OPTIONS, set_options
from .packs import Pack, open_pack
from .steps import str_time

if TYPE_CHECKING:
    from distributed import Client

INITS_PER_BLOCK = 32  # forecast, sent and marked together, unless `chunks` says otherwise,
BLOCK_BYTES = 2**28  # or their forecasts are larger than this
SAMPLED = 3  # frames of lazy data that a store is compared with

# A block's forecasts and the digests of the frames they were made from.
Made = tuple[np.ndarray, np.ndarray]
# What a piece of work gives: its positions among the inits, and their forecasts or an error.
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
        first, end = self.positions.min() - self.pack.card.history + 1, self.positions.max() + 1
        return _two_or_more(int(first), int(end), 0)

    def spans(self, which: np.ndarray) -> list[tuple[slice, list[Any]]]:
        """The time steps that some inits need, and these inits, for each run of them."""
        history, found = self.pack.card.history, []
        for run in windows.blocks(self.positions[which], history, len(which)):
            positions = self.positions[which[run]]
            first, end = int(positions[0]) - history + 1, int(positions[-1]) + 1
            steps = _two_or_more(first, end, self.used.start)
            found.append((steps, list(self.times[positions])))
        return found

    def pieces(self, which: np.ndarray) -> list[tuple[xr.DataArray, list[Any]]]:
        """The same with the data."""
        return [(self.da.isel({self.time: steps}), init) for steps, init in self.spans(which)]

    def frames(self, which: np.ndarray) -> np.ndarray:
        """The same time steps, counted from the first that is used."""
        steps = [np.arange(steps.start, steps.stop) for steps, _ in self.spans(which)]
        return np.concatenate(steps) - self.used.start

    @property
    def work(self) -> Callable[..., Made]:
        """What makes forecasts of pieces; it takes no data and no weights along."""
        return partial(_forecast, time=self.time, pack=self.pack, options=self.options)

    def labels(self, which: np.ndarray) -> list[str]:
        """Inits in words."""
        return [str_time(stamp) for stamp in self.times[self.positions[which]]]


def hindcast(
    data: xr.DataArray | xr.Dataset,
    pack: str | Pack,
    store: Any,
    *,
    init: windows.InitLike = None,
    lead: int | str | np.timedelta64 | None = None,
    chunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> xr.Dataset:
    """Forecast from many inits into a Zarr store; called again, go on where it stopped.

    Parameters
    ----------
    data, pack, lead, device, batch_size
        As in `forecast`. The bits of a forecast are those that `forecast` gives.
    store : path, URL, fsspec mapping or Zarr store
        Where to write, Zarr format 3: a folder, "s3://bucket/name.zarr", "memory://...", or an open
        `zarr.storage` store. Empty, or of an earlier call with the same arguments.
    init : None, label, slice or list of labels
        None: every time that has the history the pack needs.
    chunks : int, optional
        Inits that are one Zarr chunk, and are forecast, written and marked together. None: a chunk
        an init, and blocks of some 32 inits, in whole batches.
    on_error : {"raise", "skip"}
        What to do about an init that can't be forecast (missing values in its window, data that
        can't be read): stop there, or leave it NaN and go on. The next call tries it again.

    Returns
    -------
    Dataset
        The store, opened by `xarray.open_zarr`: the variable of `data` with dims init, lead and the
        user's own, the labels and attributes that `forecast` gives. While inits are lacking, its
        attribute `incomplete` says how many and why, and `status` (init) in the store's group
        "hindcast_log" says which.

    Raises
    ------
    ValueError, TypeError
        What `forecast` refuses; a store that another process is writing; a store of other data, of
        another pack, grid, list of inits, lead or chunks; an init that fails.
    OSError
        A disk that is full, or another failure of the store. What is written stays.

    Notes
    -----
    With a `dask.distributed` client, blocks are forecast by its workers, a few ahead of what is
    written; a block whose worker dies is forecast by another. Without one, dask data is read block
    by block. Whatever `data` is computed from is computed for each block: take a climatology of
    lazy data by `climatology(...).compute().chunk()` first.

    A store keeps a digest of every frame that went into what is done, and another call's data is
    compared with it to the bit: all of it where it is in memory, three frames where it is lazy,
    which is never read whole. Coordinates, times, units and name are compared in full. Where
    nothing was made from yet, data may change: mended data goes on with what was skipped.

    Examples
    --------
    >>> import xearthformer as xef
    >>> sst = xef.synthetic_sst(years=31, start="1980-01")["sst"]
    >>> ssta = sst.earthformer.anomaly(climatology=("1981", "2010"))
    >>> hind = xef.hindcast(ssta, "lim", "memory://lim.zarr", init=slice("2010", None), lead=3)
    >>> dict(hind.sizes)
    {'init': 12, 'lead': 3, 'lat': 89, 'lon': 180}
    """
    if on_error not in ("raise", "skip"):
        raise mismatch('on_error="raise" or "skip"', repr(on_error), 'on_error="skip"')
    if chunks is not None and (isinstance(chunks, bool) or chunks != int(chunks) or chunks < 1):
        raise mismatch("chunks as a whole number of inits, from 1", repr(chunks), "chunks=None")
    pack, opened = open_pack(pack), stores.open_store(store)
    da = admission.variable(data, pack.card)
    settings = {"device": device, "batch_size": batch_size}
    empty = _template(da, pack, slice(None) if init is None else init, lead, settings)
    time = cf.coordinate(da, "time")
    assert time is not None  # or there would be no template
    job = Job(
        da=da,
        time=str(time.dims[0]),
        times=time.values,
        positions=time.to_index().get_indexer(empty["init"].to_index()),
        pack=pack,
        options={"lead": empty.sizes["lead"], **settings},
    )
    _check_once(job)
    record = _record(job, empty)
    _compare(ledger.recorded(opened), record, opened)
    with lock.held(opened, ledger.LOCK) as held:
        stores.clean(opened)
        _compare(ledger.recorded(opened), record, opened)
        attrs = data.attrs if isinstance(data, xr.Dataset) else {}
        whole = empty.to_dataset(name=da.name or "forecast")
        whole.attrs = {"Conventions": "CF-1.8", **attrs}
        book = ledger.begin(
            opened,
            whole,
            record,
            frames=job.used.stop - job.used.start,
            chunk=chunks or 1,
            block=chunks or _inits_per_block(empty, pack, settings),
        )
        _check_chunks(chunks, book)
        _check_data(job, book)
        _fill(job, book, held, on_error)
    return xr.open_zarr(opened)


# --- the work


def _fill(
    job: Job, book: ledger.Ledger, held: lock.Lock, on_error: Literal["raise", "skip"]
) -> None:
    """Forecast and write what is missing. What fails is taken apart until it is a single chunk."""
    tasks = deque(book.missing())
    todo, quiet = sum(map(len, tasks)), not OPTIONS["progress"]
    bar = tqdm(total=book.count, initial=book.count - todo, unit="init", delay=2, disable=quiet)
    outcomes = _outcomes(job, tasks)
    with bar, closing(outcomes), set_options(progress=False):  # one bar, not one a block
        for which, outcome in outcomes:
            held.check()
            parts = book.chunks_of(which)
            if not isinstance(outcome, Exception):
                values, digests = outcome
                book.save(which, values, job.frames(which), digests)
                bar.update(len(which))
            elif len(parts) > 1:
                tasks.extendleft(reversed(parts))
            else:
                text = f"{type(outcome).__name__}: {' '.join(str(outcome).split())}"
                book.fail(which, job.labels(which), text)
                if on_error == "raise":
                    raise _failed(job.labels(which), text, book) from outcome
        book.sum_up()


def _outcomes(job: Job, tasks: deque[np.ndarray]) -> Generator[Outcome, None, None]:
    """Do tasks, which may become more on the way, here or on the cluster that there is."""
    client = _client()
    if client is not None:
        yield from _on_cluster(job, tasks, client)
        return
    while tasks:
        which = tasks.popleft()
        outcome: Made | Exception
        try:
            outcome = job.work(job.pieces(which))
        except Exception as error:
            outcome = error
        yield which, outcome


def _on_cluster(
    job: Job, tasks: deque[np.ndarray], client: "Client"
) -> Generator[Outcome, None, None]:
    """Blocks as futures, two for each thread of the cluster; one at a time comes here."""
    import dask
    from distributed import as_completed

    work = dask.delayed(job.work, pure=False)
    running: dict[Any, np.ndarray] = {}
    finished = as_completed()
    try:
        while tasks or running:
            ahead = 2 * max(1, sum(client.nthreads().values()))
            while tasks and len(running) < ahead:
                which = tasks.popleft()
                try:
                    pieces = [(_at_hand(da), stamps) for da, stamps in job.pieces(which)]
                except Exception as error:
                    yield which, error
                    continue
                with warnings.catch_warnings():
                    if job.da.chunks is None:  # it sends the block's own data, and no more
                        warnings.filterwarnings("ignore", "Sending large graph")
                    future = client.compute(work(pieces))
                running[future] = which
                finished.add(future)
            future = next(finished)
            which = running.pop(future)
            if future.cancelled():
                raise ConnectionError("the dask cluster went away: the same call goes on")
            failure = future.exception()
            yield which, future.result() if failure is None else failure
            del future  # the cluster keeps a result while someone here knows of it
    finally:
        client.cancel(list(running))


def _forecast(
    pieces: list[tuple[xr.DataArray, list[Any]]],
    *,
    time: str,
    pack: Pack,
    options: Mapping[str, Any],
) -> Made:
    """A block: its forecasts, dims (init, lead, *the user's spatial dims), and what of."""
    answers, digests = [], []
    for da, stamps in pieces:
        answers.append(forecast(da.load(), pack, init=stamps, **options).to_numpy())
        digests.append(_frame_digests(da, time))
    return np.concatenate(answers), np.concatenate(digests)


def _at_hand(da: xr.DataArray) -> xr.DataArray:
    """Dask data as it is; a file's data, which workers needn't see, read."""
    return da if da.chunks is not None else da.load()


def _client() -> "Client | None":
    """The dask.distributed client of this process, if there is one that waits for its answers."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client = default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client


def _failed(inits: list[str], error: str, book: ledger.Ledger) -> ValueError:
    return mismatch(
        "a forecast from every init",
        f"{_ends(inits)}: {error}",
        f'on_error="skip", or the same call on mended data: {book.done} of {book.count} inits '
        "are in the store and stay",
    )


# --- what a store is of


def _template(
    da: xr.DataArray, pack: Pack, init: Any, lead: Any, settings: Mapping[str, Any]
) -> xr.DataArray:
    """The answer without values, and every refusal that needs none."""
    import dask.array

    nothing = dask.array.empty(da.shape, dtype=da.dtype, chunks=-1)
    return forecast(da.copy(data=nothing), pack, init=init, lead=lead, **settings)


def _record(job: Job, empty: xr.DataArray) -> dict[str, str]:
    """What goes into a hindcast, as text: what can be read, and a digest of what is too long."""
    card, da = job.pack.card, job.da
    decides = {"model", "input", "grid", "time_step", "history", "reach", "missing", "fill"}
    made = _digest([card.model_dump_json(include={*decides, "scale"})])
    spatial = [c for c in empty.coords.values() if not {"init", "lead"} & {*c.dims, c.name}]
    sizes = ", ".join(f"{dim} ({size})" for dim, size in empty[0, 0].sizes.items())
    units = " ".join(str(da.attrs.get(key, "")) for key in ("units", "units_metadata"))
    return {
        "format": "1",
        "pack": f"{card.name} {card.version}, weights {card.weights_sha256}, card {made}",
        "lead": str(empty.sizes["lead"]),
        "init": _listed(job.times[job.positions]),
        "grid": f"{sizes}, digest {_digest(part for c in spatial for part in (c.name, c.values))}",
        "variable": f"{da.name} {da.dtype.name} {units}".strip(),
        "times": _listed(job.times[job.used]),
    }


def _check_data(job: Job, book: ledger.Ledger) -> None:
    """Refuse data that isn't what the inits that are done were made from.

    All of it where it is in memory, else a few frames. What no init was made from may have changed.
    """
    known = np.flatnonzero(book.digests.values != ledger.UNKNOWN)
    if not known.size:
        return
    if getattr(job.da.variable, "_in_memory", False):
        found = _frame_digests(job.da.isel({job.time: job.used}), job.time)[known]
    else:
        known = known[np.unique(np.linspace(0, known.size - 1, SAMPLED).round().astype(int))]
        found = _frame_digests(job.da.isel({job.time: job.used.start + known}), job.time)
    changed = known[found != book.digests.values[known]]
    if changed.size:
        when = str_time(job.times[job.used.start + changed[0]])
        raise mismatch(
            f"the data that {book.store} was made from",
            f"other values at {when}, and in all at {changed.size} of {known.size} times compared",
            "another store, or the data that this one was made from",
        )


def _frame_digests(da: xr.DataArray, time: str) -> np.ndarray:
    """A number for each time step's values, never 0; to the bit, but for the kind of NaN."""
    values = da.transpose(time, ...).values
    return np.array([int(_digest([frame])[:16], 16) or 1 for frame in values], np.uint64)


def _listed(stamps: np.ndarray) -> str:
    texts = list(map(str_time, stamps))
    return f"{len(texts)}, {_ends(texts)}, digest {_digest(texts)}"


def _ends(labels: list[str]) -> str:
    return " .. ".join(dict.fromkeys([labels[0], labels[-1]]))


def _digest(parts: Iterable[Any]) -> str:
    """A short hash of texts and arrays; byte order doesn't count, and one NaN is like another."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            values = np.ascontiguousarray(part, part.dtype.newbyteorder("="))
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
            digest.update(f"|{values.shape}".encode() + values.tobytes())
        else:
            text = part.tolist() if isinstance(part, np.ndarray) else part
            digest.update(f"|{text}".encode())
    return digest.hexdigest()


def _compare(there: Mapping[str, Any] | None, record: Mapping[str, str], store: Any) -> None:
    """Refuse a store that was made from something else."""
    for name, ours in record.items():
        theirs = (there or {}).get(name, "")
        if ours and theirs and ours != theirs:
            raise mismatch(
                f"the {name.replace('_', ' ')} that {store} was made with: {theirs}",
                ours,
                "another store, or the arguments that this one was made with",
            )


def _inits_per_block(empty: xr.DataArray, pack: Pack, settings: Mapping[str, Any]) -> int:
    """Whole batches, about INITS_PER_BLOCK, within BLOCK_BYTES."""
    height, width = pack.card.grid.shape if pack.card.grid else empty.shape[-2:]
    batch = engine.settings(pack, (height, width), **settings).batch_size
    inits = max(batch, INITS_PER_BLOCK // batch * batch)
    return max(1, min(inits, BLOCK_BYTES // empty[0].nbytes))


def _check_chunks(chunks: int | None, book: ledger.Ledger) -> None:
    if chunks is not None and chunks != book.chunk:
        raise mismatch(
            f"the chunks that {book.store} was made with: {book.chunk}",
            f"chunks={chunks}",
            "chunks=None, for those of the store",
        )


def _two_or_more(first: int, end: int, lowest: int) -> slice:
    """A slice with a neighbour where it is of a single step."""
    if end - first > 1:
        return slice(first, end)
    return slice(first - 1, end) if first > lowest else slice(first, end + 1)


def _check_once(job: Job) -> None:
    unique, counts = np.unique(job.positions, return_counts=True)
    if (counts > 1).any():
        twice = str_time(job.times[unique[counts > 1][0]])
        raise mismatch("every init once", f"{twice} more than once", "init=sorted(set(init))")
