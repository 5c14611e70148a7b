"""A hindcast: forecasts from many inits, streamed to a Zarr store that survives being killed.

The empty answer is written first; then blocks of inits are forecast, by this process or by the
workers of a dask cluster, and written by this process alone: data, then the block's marker. A
second call does what has no marker.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Literal

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields import windows
from ..fields.axes import coordinate
from ..fields.time_axis import str_time
from ..inference import engine, inputs
from ..inference.forecast import forecast
from ..inference.guidance import Guidance
from ..models.prediff.samplers import Sampler
from ..packs.pack import Pack, open_pack
from . import blocks, lock, stores
from . import store as ledger

INITS_PER_BLOCK = 8  # forecast, sent and marked together, unless `chunks` says otherwise,
BLOCK_BYTES = 2**28  # or their forecasts are larger than this
SAMPLED = 3  # frames of lazy data that a store is compared with
# Options of `forecast` that, beside the lead, decide its numbers: a part of what a store is of.
# One that is None, which says nothing, isn't written.
DECIDE = ("precision", "compile")


def hindcast(
    data: xr.DataArray | xr.Dataset,
    pack: str | Pack,
    store: Any,
    *,
    init: windows.InitLike = None,
    lead: int | str | np.timedelta64 | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str | Sampler = "dpm++",
    steps: int | None = None,
    guidance: Guidance | Sequence[Guidance] | None = None,
    chunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: engine.Precision = "float32",
    compile: bool = False,
    progress: engine.Progress = "auto",
) -> xr.Dataset:
    """Forecast from many inits into a Zarr store; called again, go on where it stopped.

    Parameters
    ----------
    data, pack, lead, members, seed, sampler, steps, guidance, device, batch_size, precision,
    compile, progress
        As in `forecast`, which gives the same forecasts.
    store : path, URL, fsspec mapping or Zarr store
        Where to write, Zarr format 3: a folder, "s3://bucket/name.zarr", "memory://...", or an open
        `zarr.storage` store. Empty, or of an earlier call with the same arguments.
    init : None, label, slice or list of labels
        None: every time that has the history the pack needs.
    chunks : int, optional
        Inits that are one Zarr chunk, and are forecast, written and marked together. None: a chunk
        an init, and blocks of some 8 inits, in whole batches.
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
        another pack, grid, list of inits, lead, ensemble, precision or chunks, compiled or not; an
        init that fails.
    OSError
        A disk that is full, or another failure of the store. What is written stays.

    Notes
    -----
    With a `dask.distributed` client, blocks are forecast by its workers, a few ahead of what is
    written; a block whose worker dies is forecast by another, and workers that are gone are waited
    for. A block is one task, that reads its data by itself; data that the cluster holds
    (`persist`) comes through this process. Without a client, blocks are forecast one after the
    other, here. Whatever `data` is computed from is computed for each block: take a climatology of
    lazy data by `climatology(...).compute()` first.

    On a machine of several GPUs, `Client(dask_cuda.LocalCUDACluster())` starts a worker a GPU: each
    has a `CUDA_VISIBLE_DEVICES` that begins with its own, which is what device "auto" takes.
    Elsewhere, and where this process has no GPU while workers have, `batch_size` and `chunks` are
    to be given: "auto" looks at this process's device.

    How many threads torch runs is part of a forecast's bits, as is the device. The workers of a
    cluster of processes run one (dask sets OMP_NUM_THREADS=1); forecasts with more threads are
    equal to rounding, and to the bit after `torch.set_num_threads(1)`.

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
    if chunks is not None and (type(chunks) is not int or chunks < 1):
        raise mismatch("chunks as a whole number of inits, from 1", repr(chunks), "chunks=None")
    pack, opened = open_pack(pack), stores.open_store(store)
    da = inputs.variable(data, pack.card)
    runs: dict[str, Any] = {"device": device, "batch_size": batch_size}
    runs |= {"precision": precision, "compile": bool(compile)}
    draws = {"members": members, "seed": seed, "sampler": sampler, "steps": steps}
    options = {"lead": lead, **draws, "guidance": guidance, **runs}
    empty = _template(da, pack, slice(None) if init is None else init, options)
    time = coordinate(da, "time")
    assert time is not None  # or there would be no template
    job = blocks.Job(
        da=da,
        time=str(time.dims[0]),
        times=time.values,
        positions=time.to_index().get_indexer(empty["init"].to_index()),
        pack=pack,
        options={**options, "lead": empty.sizes["lead"]},
    )
    _check_once(job)
    told = engine.ensemble(pack.card, members, seed, sampler, steps, guidance)
    record = _record(job, empty, told)
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
            block=chunks or _inits_per_block(empty, pack, runs),
        )
        _check_chunks(chunks, book)
        _check_data(job, book)
        _fill(job, book, held, on_error, progress)
    return xr.open_zarr(opened)


# --- the work


def _fill(
    job: blocks.Job,
    book: ledger.Ledger,
    held: lock.Lock,
    on_error: Literal["raise", "skip"],
    progress: engine.Progress,
) -> None:
    """Forecast and write what is missing. What fails is taken apart until it is a single chunk."""
    tasks = deque(book.missing())
    todo = sum(map(len, tasks))
    bar = engine.progress_bar(book.count, "init", progress, initial=book.count - todo)
    outcomes = blocks.outcomes(job, tasks)
    with bar, closing(outcomes):
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


def _failed(inits: list[str], error: str, book: ledger.Ledger) -> ValueError:
    return mismatch(
        "a forecast from every init",
        f"{_ends(inits)}: {error}",
        f'on_error="skip", or the same call on mended data: {book.done} of {book.count} inits '
        "are in the store and stay",
    )


# --- what a store is of


def _template(da: xr.DataArray, pack: Pack, init: Any, options: Mapping[str, Any]) -> xr.DataArray:
    """The answer without values, and every refusal that needs none."""
    import dask.array

    nothing = dask.array.empty(da.shape, dtype=da.dtype, chunks=-1)
    return forecast(da.copy(data=nothing), pack, init=init, **options)


def _record(
    job: blocks.Job, empty: xr.DataArray, ensemble: engine.Ensemble | None
) -> dict[str, str]:
    """What goes into a hindcast, as text: what can be read, and a digest of what is too long."""
    card, da = job.pack.card, job.da
    decides = {"model", "input", "grid", "time_step", "context", "lead", "missing", "fill"}
    made = ledger.digest(
        [card.model_dump_json(include={*decides, "scale", "climatology"}, by_alias=True)]
    )
    spatial = [c for c in empty.coords.values() if {*c.dims} <= {*da.dims}]
    sizes = ", ".join(f"{dim} ({size})" for dim, size in empty.sizes.items() if dim in da.dims)
    decided = {name: str(job.options[name]) for name in DECIDE if job.options[name] is not None}
    if ensemble is not None:
        decided["ensemble"] = str(ensemble)
    cells = ledger.digest(part for c in spatial for part in (c.name, c.values))
    units = " ".join(str(da.attrs.get(key, "")) for key in ("units", "units_metadata"))
    return {
        "format": "1",
        "pack": f"{card.name} {card.version}, weights {card.weights_sha256}, card {made}",
        "lead": str(empty.sizes["lead"]),
        **decided,
        "init": _listed(job.times[job.positions]),
        "grid": f"{sizes}, digest {cells}",
        "variable": f"{da.name} {da.dtype.name} {units}".strip(),
        "times": _listed(job.times[job.used]),
    }


def _check_data(job: blocks.Job, book: ledger.Ledger) -> None:
    """Refuse data that isn't what the inits that are done were made from.

    All of it where it is in memory, else a few frames. What no init was made from may have changed.
    """
    known = np.flatnonzero(book.digests.values != ledger.UNKNOWN)
    if not known.size:
        return
    if getattr(job.da.variable, "_in_memory", False):
        found = ledger.frame_digests(job.da.isel({job.time: job.used}), job.time)[known]
    else:
        known = known[np.unique(np.linspace(0, known.size - 1, SAMPLED).round().astype(int))]
        frames = job.da.isel({job.time: job.used.start + known})
        found = ledger.frame_digests(frames.load(scheduler=job.scheduler), job.time)
    changed = known[found != book.digests.values[known]]
    if changed.size:
        when = str_time(job.times[job.used.start + changed[0]])
        raise mismatch(
            f"the data that {book.store} was made from",
            f"other values at {when}, and in all at {changed.size} of {known.size} times compared",
            "another store, or the data that this one was made from",
        )


def _listed(stamps: np.ndarray) -> str:
    texts = list(map(str_time, stamps))
    return f"{len(texts)}, {_ends(texts)}, digest {ledger.digest(texts)}"


def _ends(labels: list[str]) -> str:
    return " .. ".join(dict.fromkeys([labels[0], labels[-1]]))


def _compare(there: Mapping[str, Any] | None, record: Mapping[str, str], store: Any) -> None:
    """Refuse a store that was made from something else."""
    there = record if there is None else there
    for name in {**record, **there}:
        ours, theirs = record.get(name, "none"), there.get(name, "none")
        if ours != theirs:
            raise mismatch(
                f"the {name.replace('_', ' ')} that {store} was made with: {theirs}",
                ours,
                "another store, or the arguments that this one was made with",
            )


def _inits_per_block(empty: xr.DataArray, pack: Pack, runs: Mapping[str, Any]) -> int:
    """Whole batches, about INITS_PER_BLOCK, within BLOCK_BYTES."""
    height, width = pack.card.grid.shape if pack.card.grid else empty.shape[-2:]
    batch = engine.settings(pack, (height, width), **runs).batch_size
    inits = max(batch, INITS_PER_BLOCK // batch * batch)
    return max(1, min(inits, BLOCK_BYTES // empty[0].nbytes))


def _check_chunks(chunks: int | None, book: ledger.Ledger) -> None:
    if chunks is not None and chunks != book.chunk:
        raise mismatch(
            f"the chunks that {book.store} was made with: {book.chunk}",
            f"chunks={chunks}",
            "chunks=None, for those of the store",
        )


def _check_once(job: blocks.Job) -> None:
    unique, counts = np.unique(job.positions, return_counts=True)
    if (counts > 1).any():
        twice = str_time(job.times[unique[counts > 1][0]])
        raise mismatch("every init once", f"{twice} more than once", "init=sorted(set(init))")
