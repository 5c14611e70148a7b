"""A hindcast: forecasts from many inits, streamed to a Zarr store that survives being killed.

The empty answer is written first; then blocks of inits are forecast, by this process or by the
workers of a dask cluster, and written by this process alone: data, then the block's marker. A
second call forecasts what has no marker, and makes room for inits that the store lacks.
"""

from collections import deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Literal

import numpy as np
import xarray as xr
from zarr.abc.store import Store

from ..errors import mismatch, said_once, whole_number
from ..fields import windows
from ..fields.axes import coordinate, find_grid
from ..fields.cf import file_of_forecasts
from ..fields.quantities import KNOWN
from ..fields.time_axis import LeadLike, str_time
from ..inference import engine, gaps, inputs
from ..inference.ensemble import Ensemble
from ..inference.forecast import Setup, set_up
from ..inference.guidance import Constraint, Guidance, digest_of
from ..inference.options import Beyond, Options, Precision, documented
from ..models.prediff.samplers import Sampler
from ..packs.card import Card
from ..packs.pack import Pack, open_pack
from ..verification.request import Products
from . import blocks
from .growth import finish_growth, grow, put_in_order, read_inits
from .lock import Lock, hold
from .store import (
    LOCK,
    NO_DIGEST,
    Ledger,
    StoreLike,
    check_metadata,
    check_name,
    digest,
    frame_digests,
    is_session,
    is_writable,
    load_ledger,
    open_ledger,
    open_store,
    read_record,
    remove_partial_files,
)

INITS_PER_BLOCK = 8  # forecast, sent and marked together, unless `chunks` says otherwise,
LIGHT_INITS_PER_BLOCK = 64  # or the model takes a few milliseconds for each,
BLOCK_BYTES = 2**28  # or their forecasts are larger than this
FRAMES_COMPARED = 3  # of lazy data with a store: reading all of it would take too long
MISSING_COMPARED = 16  # and of the frames that it lacked
LISTS = ("init", "times")  # entries of a store's record: they grow with the store
# Settings that decide a forecast's numbers, next to the lead: a part of a store's record.
RECORDED = ("precision", "compile")
BATCH, DEVICE = "batch_size", "device"  # which earlier stores don't say


@documented
def hindcast(
    data: xr.DataArray | xr.Dataset,
    pack: str | Pack,
    store: StoreLike,
    *,
    init: windows.InitLike = None,
    lead: LeadLike | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str | Sampler = "dpm++",
    steps: int | None = None,
    guidance: Guidance | Sequence[Guidance] | None = None,
    products: Products | None = None,
    chunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
    beyond: Beyond = "climatology",
    progress: engine.Progress = "auto",
) -> xr.Dataset:
    """Forecast from many inits into a Zarr store; called again, go on, and grow by new inits.

    Parameters
    ----------
    data, pack, progress
        As in `forecast`, which gives the same forecasts.
    store : path, URL, fsspec mapping or Zarr store
        Where to write, Zarr format 3: a folder, "s3://bucket/name.zarr", "memory://...", an open
        `zarr.storage` store, or that of a session of icechunk, which you commit. Empty, or of an
        earlier call with the same arguments, to which inits may have been added.
    init : label, slice or list of labels, optional
        Default: every time that has the context the pack needs.
    {options}
    products : Products, optional
        What is kept in place of members: probabilities, quantiles, amounts, as
        `Products(quantiles=[0.1, 0.5, 0.9])`. Default: the forecasts as they are.
    chunks : int, optional
        Number of inits that are one Zarr chunk, and are forecast, written and marked together.
        Default: one chunk per init, and blocks of about 8 inits (64 of a light model, such as
        "lim"), in whole batches.
    on_error : {"raise", "skip"}
        What to do about an init that can't be forecast (missing values in its window, data that
        can't be read): stop there, or leave it NaN and go on. The next call tries it again.

    Returns
    -------
    Dataset
        The store, opened by `xarray.open_zarr`: the variable of `data` with dims init, lead and the
        user's own, the labels and attributes that `forecast` gives; or its products. While inits
        are missing, its attribute `incomplete` says how many and why, and `status` (init) in the
        store's group "hindcast_log" says which.

    Raises
    ------
    ValueError, TypeError
        What `forecast` refuses; a store that another process is writing; a store of other data, of
        another pack, grid, lead, ensemble, constraint, precision, batch size (where it is part of
        the bits), products or chunks, compiled or not; a list of inits that lacks some of the
        store's; an init that fails.
    OSError
        A disk that is full, or another failure of the store. What is written stays.

    Notes
    -----
    With a `dask.distributed` client, blocks are forecast by its workers, a few ahead of what is
    written; a block whose worker dies is forecast by another, and a cluster without workers is
    waited for. A block is one task, that reads its data by itself; data in the cluster's memory
    (`persist`) comes through this process. Without a client, blocks are forecast one after the
    other, here. Whatever `data` is computed from is computed for each block: take a climatology of
    lazy data by `climatology(...).compute()` first.

    On a machine with several GPUs, `Client(dask_cuda.LocalCUDACluster())` starts one worker per
    GPU: each has a `CUDA_VISIBLE_DEVICES` that begins with its own, which device "auto" takes.
    Elsewhere, and where this process has no GPU while workers have, give `batch_size` and `chunks`:
    "auto" looks at this process's device.

    The device is part of a network's bits, and of most networks `batch_size` is: "auto" takes that
    of the store. The number of cores, threads and workers is not. A store knows a constraint by its
    code and by what that refers to: a function with the same name is another constraint.

    A store grows: inits that it lacks, as of a record that has one more month or frame, are put
    behind those that are there, in the order in which they come; `.sortby("init")` sorts what was
    added in between. Inits never leave a store.

    A store keeps a digest of every frame that its forecasts were made from, and another call's data
    is compared with it to the bit: all of it where it is in memory, three frames where it is lazy,
    which is never read whole. Coordinates, times, units and name are compared in full. Frames that
    no forecast was made from may change: corrected data goes on with what was skipped.

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
    if chunks is not None:
        chunks = whole_number("chunks", chunks, hint="chunks=None")
    products = Products() if products is None else products
    if not isinstance(products, Products):
        hint = "products=xef.Products(quantiles=[0.1, 0.5, 0.9])"
        raise mismatch("products as xef.Products", repr(products), hint)
    products.check()
    pack, opened = open_pack(pack), open_store(store)
    if batch_size == "auto":  # of which other devices have others
        made_with = (read_record(opened) or {}).get(BATCH)
        batch_size = int(made_with) if made_with else "auto"
    entries = inputs.select(data, pack.card)
    if engine.moves_rain(pack.card):
        entries, init = gaps.with_frames(entries, pack.card, slice(None) if init is None else init)
    options = Options(
        lead,
        members,
        seed,
        sampler,
        steps,
        guidance,
        device,
        batch_size,
        precision,
        compile,
        beyond,
    )
    setup = set_up(entries, pack, slice(None) if init is None else init, options)
    answers = list(setup.answers.values())
    for answer in answers:
        check_name(answer.name)
    time = coordinate(entries[0].da, "time")
    assert time is not None  # or there would be no answer
    job = blocks.Job(
        entries=entries,
        time=str(time.dims[0]),
        times=time.values,
        positions=setup.inits.positions,
        pack=pack,
        options=replace(options, lead=answers[0].sizes["lead"]),
        products=products,
    )
    # products that can't be made are refused
    empty = _empty(job, setup, data.attrs if isinstance(data, xr.Dataset) else {})
    _check_once(job)
    # before a lock is left in another's store
    theirs = read_record(opened)
    check_metadata(opened)
    _check_record(theirs, _record(job, setup, theirs), opened, leave_out=LISTS)
    if not is_writable(opened):
        _check_finished(job, setup, empty, opened)
        return xr.open_zarr(opened)
    with hold(opened, LOCK) as lock:
        remove_partial_files(opened)
        job, ledger = _begin_or_grow(job, setup, empty, opened, chunks)
        _fill(job, ledger, lock, on_error, progress)
    return xr.open_zarr(opened)


def _begin_or_grow(
    job: blocks.Job, setup: Setup, empty: xr.Dataset, store: Store, chunks: int | None
) -> tuple[blocks.Job, Ledger]:
    """Open a store's ledger with room for every init; the job comes back in the store's order.

    `empty` is what the store is to hold, in the order of `job`. The inits that are there keep their
    places, and new ones follow them.
    """
    finish_growth(store)
    there = read_inits(store)
    order, known = put_in_order(job.times[job.positions], there)
    job = replace(job, positions=job.positions[order])
    begun = replace(job, positions=job.positions[: known or None])
    theirs = read_record(store)
    record = _record(begun, setup, theirs)
    # nothing is lost where the skeleton isn't whole: it is built again, for the inits of this call
    _check_record(theirs, record, store, leave_out=LISTS if there is None else ())
    batch_size, light = setup.plan.settings.batch_size, engine.is_light(job.pack.card)
    empty = empty.isel(init=order)
    ledger = open_ledger(
        store,
        empty,
        record,
        frames=begun.used.stop - begun.used.start,
        chunk=chunks or 1,
        block=chunks or _inits_per_block(setup.computed, batch_size, light),
    )
    _check_chunks(chunks, ledger)
    _check_data(begun, ledger)
    if len(job.positions) > len(begun.positions):
        frames, before = job.used.stop - job.used.start, begun.used.start - job.used.start
        ledger = grow(ledger, empty, _record(job, setup, theirs), frames=frames, before=before)
    return job, ledger


def _empty(job: blocks.Job, setup: Setup, attrs: Mapping[Hashable, object]) -> xr.Dataset:
    """Return what the store is to hold, without its values, from data in a file with `attrs`."""
    own = {entry.name: entry.da.name or "forecast" for entry in job.entries}
    empty = xr.Dataset({own[name]: answer for name, answer in setup.answers.items()})
    if setup.known is not None:
        empty = empty.assign_coords({KNOWN: setup.known})
    empty = job.products.of(empty)
    return empty.assign_attrs(file_of_forecasts(attrs, empty.data_vars.values()))


# --- the work


def _fill(
    job: blocks.Job,
    ledger: Ledger,
    lock: Lock,
    on_error: Literal["raise", "skip"],
    progress: engine.Progress,
) -> None:
    """Forecast and write what is missing. A block that fails is tried again chunk by chunk."""
    todo = deque(ledger.todo())
    made: dict[int, np.bool_] = {}  # inits, and whether they know frames after them
    bar = engine.progress_bar(ledger.size, "init", progress, ledger.size - sum(map(len, todo)))
    outcomes = blocks.outcomes(job, todo)
    with bar, closing(outcomes), said_once(set()):
        for inits, outcome in outcomes:
            lock.check()
            chunks = ledger.chunks_of(inits)
            if not isinstance(outcome, Exception):
                ledger.save(inits, outcome.values, job.frames(inits), outcome.digests)
                bar.update(len(inits))
                made |= dict(zip(inits.tolist(), outcome.late, strict=True))
            elif len(chunks) > 1:
                todo.extendleft(reversed(chunks))
            else:
                text = f"{type(outcome).__name__}: {' '.join(str(outcome).split())}"
                ledger.fail(inits, job.labels(inits), text)
                if on_error == "raise":
                    raise mismatch(
                        "a forecast from every init",
                        f"{_ends(job.labels(inits))}: {text}",
                        f'on_error="skip", or the same call on corrected data: {ledger.done} of '
                        f"{ledger.size} inits are in the store and stay",
                    ) from outcome
        ledger.update_attributes()
    stamps = job.times[job.positions[[*made]]] if made else job.times[:0]
    windows.warn_of_later(job.entries[0].da, stamps, np.array([*made.values()], np.bool_))


def _inits_per_block(answers: Sequence[xr.DataArray], batch_size: int, light: bool) -> int:
    """Whole batches, about INITS_PER_BLOCK, within BLOCK_BYTES; part of one where it is larger."""
    most = max(1, BLOCK_BYTES // sum(answer[0].nbytes for answer in answers))
    inits = min(max(batch_size, LIGHT_INITS_PER_BLOCK if light else INITS_PER_BLOCK), most)
    return inits // batch_size * batch_size or inits  # a batch that is not full costs a whole one


# --- what a store was made from


def _record(job: blocks.Job, setup: Setup, theirs: Mapping[str, str] | None) -> dict[str, str]:
    """What goes into a hindcast, as text that people can read; long lists end in a digest.

    `theirs` is the record that the store has, if any: its words are kept where they say the same.
    The texts stay as they are: a store of an earlier version goes on if they are equal.
    """
    card, plan = job.pack.card, setup.plan
    answers = list(setup.answers.values())
    record = {
        "format": "1",
        "pack": f"{card.name} {card.version}, weights {card.weights_sha256}, card {_hash(card)}",
        "lead": str(answers[0].sizes["lead"]),
        **{name: str(getattr(plan.settings, name)) for name in RECORDED},
        DEVICE: plan.settings.device.partition(":")[0],
    }
    drawn = plan.ensemble is not None and plan.ensemble.sampling is None  # window by window
    if engine.is_batched(card, plan.settings) and not drawn:
        record[BATCH] = str(plan.settings.batch_size)
    if plan.ensemble is not None and (code := _constraints(plan.ensemble)):
        record["constraints"] = code
    if plan.beyond == "nan":  # the default is not said: earlier records know no other
        record["beyond"] = plan.beyond
    if job.products:
        record["products"] = str(job.products)
    if plan.ensemble is not None:
        # Records say `scale` for a constraint's strength, its name until 0.1.
        record["ensemble"] = str(plan.ensemble).replace(" strength=", " scale=")
    arrays = [entry.da for entry in job.entries]
    units = [
        " ".join(str(da.attrs.get(key, "")) for key in ("units", "units_metadata")) for da in arrays
    ]
    variables = [
        f"{da.name} {da.dtype.name} {own}".strip() for da, own in zip(arrays, units, strict=True)
    ]
    return {
        **record,
        "init": _list_text(job.times[job.positions]),
        "grid": _grids(arrays, job.time, theirs),
        "variable": "; ".join(variables),
        "times": _list_text(job.times[job.used]),
    }


def _constraints(ensemble: Ensemble) -> str:
    """The digests of the functions that members are steered by; two may have the same name."""
    terms = ensemble.sampling.guidance if ensemble.sampling else ()
    return ", ".join(digest_of(term.fn) for term in terms if isinstance(term, Constraint))


def _grids(arrays: Sequence[xr.DataArray], time: str, there: Mapping[str, str] | None) -> str:
    """The grid of each array, in the words of the record that is there, if it is the same.

    Coordinates go by their names: some stores, such as icechunk's, list them in another order each
    time. Records of earlier versions have them as they came.
    """
    as_named, as_they_come = (
        "; ".join(_grid_text(da, time, in_order) for da in arrays) for in_order in (True, False)
    )
    return as_they_come if there and there.get("grid") == as_they_come else as_named


def _grid_text(da: xr.DataArray, time: str, in_order: bool) -> str:
    """The sizes of an array's spatial dims, and a digest of the labels along them."""
    field = da.isel({time: 0}, drop=True)
    y, x = find_grid(field)
    field = field.squeeze([dim for dim in field.dims if dim not in (y, x)])
    sizes = ", ".join(f"{dim} ({size})" for dim, size in field.sizes.items())
    names = sorted(field.coords, key=str) if in_order else field.coords
    cells = digest(part for name in names for part in (name, field[name].values))
    return f"{sizes}, digest {cells}"


def _hash(card: Card) -> str:
    """A digest of what decides a forecast's numbers."""
    return digest([card.deciding()])


def _list_text(stamps: np.ndarray) -> str:
    labels = list(map(str_time, stamps))
    return f"{len(labels)}, {_ends(labels)}, digest {digest(labels)}"


def _ends(labels: list[str]) -> str:
    return " .. ".join(dict.fromkeys([labels[0], labels[-1]]))


# --- what is refused


def _check_record(
    theirs: Mapping[str, str] | None,
    ours: Mapping[str, str],
    store: Store,
    leave_out: Collection[str] = (),
) -> None:
    """Refuse a store that was made from something else; entries to leave out are not compared."""
    theirs = ours if theirs is None else theirs
    # an option that only one of two versions knows is a difference
    unsaid = [name for name in (BATCH, DEVICE) if name not in theirs]
    for name in [name for name in {**ours, **theirs} if name not in (*leave_out, *unsaid)]:
        found, expected = ours.get(name, "none"), theirs.get(name, "none")
        if found != expected:
            raise mismatch(
                f"the {name.replace('_', ' ')} that {store} was made with: {expected}",
                found,
                "another store, or data and init with all that are there and more"
                if name in LISTS
                else "another store, or the arguments that this one was made with",
            )


def _check_finished(job: blocks.Job, setup: Setup, empty: xr.Dataset, store: Store) -> None:
    """Refuse a store that can't be written unless it holds all of this hindcast."""
    there = read_inits(store)
    order, known = put_in_order(job.times[job.positions], there)
    names = [str(name) for name in empty.data_vars]
    ledger = None if there is None else load_ledger(store, names, "r")
    missing = len(order)
    if ledger is not None:
        missing += ledger.size - ledger.done + ledger.lost().size - known
    if ledger is None or missing:
        raise mismatch(
            f"a store that can be written, or is finished: {store}",
            f"{missing} inits missing, and no permission to write",
            'the store of repo.writable_session("main")' if is_session(store) else "another store",
        )
    job = replace(job, positions=job.positions[order])
    theirs = read_record(store)
    _check_record(theirs, _record(job, setup, theirs), store)
    _check_data(job, ledger)


def _check_data(job: blocks.Job, ledger: Ledger) -> None:
    """Refuse data that isn't what the forecasts in the store were made from.

    All of it where it is in memory, else a few frames. What no init was made from may have changed.
    """
    frames = np.flatnonzero(ledger.digests.values != NO_DIGEST)
    if not frames.size:
        return
    missing = _digest_of_missing(job)
    if all(getattr(entry.da.variable, "_in_memory", False) for entry in job.entries):
        digests = frame_digests(job.frames_at(job.used), job.time)[frames]
    else:
        late = frames[ledger.digests.values[frames] == missing]  # those that may have come since
        frames = np.union1d(_sample(frames, FRAMES_COMPARED), _sample(late, MISSING_COMPARED))
        data = job.frames_at(job.used.start + frames)
        loaded = [da.load(scheduler=job.scheduler) for da in data]
        digests = frame_digests(loaded, job.time)
    changed = frames[digests != ledger.digests.values[frames]]
    if changed.size:
        when = str_time(job.times[job.used.start + changed[0]])
        if (ledger.digests.values[changed] == missing).all():
            stamps = job.times[job.used.start + changed]
            listed = ", ".join(f'"{str_time(stamp)}"' for stamp in stamps)
            raise mismatch(
                f"the data that {ledger.store} was made from, without a frame at {when}",
                f"one there now, and in all {changed.size} that came late",
                f"da.drop_sel({job.time}=pd.to_datetime([{listed}])), the record as it was, or "
                "another store, for forecasts that know these frames",
            )
        raise mismatch(
            f"the data that {ledger.store} was made from",
            f"other values at {when}, and in all at {changed.size} of {frames.size} times compared",
            "another store, or the data that this one was made from",
        )


def _sample(frames: np.ndarray, count: int) -> np.ndarray:
    """Return some of the frames, the first and the last among them."""
    places = np.linspace(0, frames.size - 1, min(count, frames.size)).round().astype(int)
    return frames[np.unique(places)]


def _digest_of_missing(job: blocks.Job) -> np.uint64:
    """Return the digest of a frame that a nowcast read as not seen: NaN, in every input."""
    frame = job.frames_at(slice(job.used.start, job.used.start + 1))
    nothing = [xr.DataArray(np.full(da.shape, np.nan, da.dtype), dims=da.dims) for da in frame]
    return frame_digests(nothing, job.time)[0]


def _check_chunks(chunks: int | None, ledger: Ledger) -> None:
    if chunks is not None and chunks != ledger.chunk:
        raise mismatch(
            f"the chunks that {ledger.store} was made with: {ledger.chunk}",
            f"chunks={chunks}",
            "chunks=None, for those of the store",
        )


def _check_once(job: blocks.Job) -> None:
    unique, counts = np.unique(job.positions, return_counts=True)
    if (counts > 1).any():
        twice = str_time(job.times[unique[counts > 1][0]])
        raise mismatch("every init once", f"{twice} more than once", "init=np.unique(init)")
