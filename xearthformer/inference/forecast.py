"""A forecast: the page to read first.

The way in and the way out mirror each other, and the model stands in the middle:

    inputs.prepare · inputs.enter · windows.cut_windows · tensors.to_tensor
              engine.predict, engine.nowcast, or ensemble's sample, draw, draw_nowcasts
    cf.restore · regrid.to_user · scale.undo · tensors.to_labeled

Each variable goes its own way in and out; between `to_tensor` and `to_labeled` they are channels.
`set_up` looks at labels alone and makes the empty, labelled answers. The values are one dask graph,
one task per block of inits; with data in memory it is run at once, block by block. A domain larger
than the window of a model of pixels is forecast in overlapping tiles, one task per tile
(`tiles.blend_lazily`), or whole where the card allows it. What a task does is in `tasks`.

A model that moves rain along, a nowcast, doesn't mind gaps (`gaps`), and says what share of each
value stems from what was seen: `known`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args
from uuid import uuid4

import dask
import dask.array
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from .. import __version__
from ..errors import mismatch, said_once, warn, whole_number
from ..fields import cf, regrid, windows
from ..fields.quantities import KNOWN, KNOWN_ATTRS
from ..fields.spacing import pixel_size
from ..fields.tiles import Axis, Tiles, blend_lazily
from ..fields.time_axis import NEWEST, LeadLike, Step, check_time, count_steps, str_time
from ..fields.time_bounds import reading
from ..models.prediff.samplers import Sampler
from ..packs.card import Card, LatLonGrid, PixelGrid
from ..packs.pack import Pack, open_pack
from . import engine, ensemble, gaps, inputs, tasks
from .guidance import Guidance
from .options import Beyond, Options, Precision, documented
from .tasks import Plan
from .tensors import FORECAST_DIMS
from .workers import workers

XarrayObject = TypeVar("XarrayObject", xr.Dataset, xr.DataArray)

# Bytes of the user's frames, in and out, that one block of inits may hold.
BLOCK_BYTES = 128 * 2**20
BLOCKS_PER_WORKER = 4  # at least, where there are as many batches


@dataclass(frozen=True)
class Setup:
    """A forecast of which no value is computed."""

    data: list[xr.DataArray]  # each input (time, y, x), as `inputs.prepare` returns it
    inits: windows.Inits
    # every label and attribute of the forecast of each output, on the user's own dims
    answers: dict[str, xr.DataArray]
    known: xr.DataArray | None  # the same of the coordinate `known`, of a nowcast
    plan: Plan

    @property
    def computed(self) -> list[xr.DataArray]:
        """All that `compute` gives values for: the answers, then `known`."""
        return [*self.answers.values(), *([] if self.known is None else [self.known])]


@documented
def forecast(
    data: XarrayObject,
    pack: str | Pack,
    *,
    init: windows.InitLike = None,
    lead: LeadLike | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str | Sampler = "dpm++",
    steps: int | None = None,
    guidance: Guidance | Sequence[Guidance] | None = None,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
    beyond: Beyond = "climatology",
    chunks: int | Literal["auto"] = "auto",
    progress: engine.Progress = "auto",
) -> XarrayObject:
    """Forecast labelled data with a pack.

    Parameters
    ----------
    data : DataArray or Dataset
        Dims time, y and x in any order, under any name that CF conventions or common use know. Of a
        Dataset, the variables that the pack's card asks for are read, by standard_name and by
        common names; a pack of several variables takes a Dataset alone. A pack of pixels serves any
        domain that is at least as large as its own. Data on a curvilinear grid (2-D latitude and
        longitude) is forecast on the pack's grid; with further dims, it is forecast along each.
        Bounds of times and of curvilinear cells are read from a Dataset: a DataArray selected from
        it has lost them.
    pack : str or Pack
        A pack, or anything `open_pack` opens.
    init : label, slice or list of labels, optional
        Last time step that a forecast may see. Default: the latest. A slice takes every time in it
        that has the context the pack needs; `slice("2000", "2009", 12)` takes every twelfth.
    {options}
    chunks : int or "auto"
        Number of inits that are read, forecast and returned together: one task of the graph (or one
        per tile), and one chunk of a lazy answer. "auto": whole batches, as many as 128 MB hold.
        It never changes a number.
    progress : bool or "auto"
        Whether to show a progress bar on stderr for data in memory. "auto": after two seconds, in
        the main thread, on a terminal or in a notebook. For lazy forecasts use
        `dask.diagnostics.ProgressBar` or the dashboard. The environment variable TQDM_DISABLE=1
        turns every bar off.

    Returns
    -------
    DataArray or Dataset, as given
        Of a Dataset, the variables that the pack forecasts. Dims init, lead, member (of an
        ensemble), then further dims of the data, then its own spatial dims; coordinates
        `init`, `lead`, `member`, `valid_time` and the user's own; the user's units, dtype and
        attributes, and `history`, `pack`, `pack_version`, `pack_weights_sha256`,
        `pack_card_sha256` (of the card's entries that decide numbers), for an ensemble also `seed`.
        NaN where the last frame is NaN, and outside the pack's grid; of a nowcast, where no frame
        has a value, and with the coordinate `known` (init, lead, y, x): the share of each value
        that stems from what was seen. Lazy when `data` is.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed, for whatever the pack cannot serve: units, missing axes, an
        irregular time axis, too short a context, missing values, a domain that does not hold the
        pack's grid. Nowcasts need two frames, and warn where others are missing. With dask data,
        errors that depend on values are raised by the computation.
    ArithmeticError
        NaN while sampling: the message names step and member.
    PackError
        A pack that does not exist or cannot be trusted.

    Examples
    --------
    >>> import xearthformer as xef
    >>> sst = xef.synthetic_sst(years=31, start="1980-01")["sst"]
    >>> ssta = sst.earthformer.anomaly(climatology=("1981", "2010"))
    >>> fc = xef.forecast(ssta, "lim", init=["2009-12", "2010-01"], lead=6)
    >>> dict(fc.sizes)
    {'init': 2, 'lead': 6, 'lat': 89, 'lon': 180}
    """
    pack = open_pack(pack)
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
    entries = inputs.select(data, pack.card)
    is_lazy = any(entry.da.chunks is not None for entry in entries)
    if engine.moves_rain(pack.card):
        entries, init = gaps.with_frames(entries, pack.card, init)
    answers = _for_each(entries, pack, init, options, chunks, progress)
    stamps = next(iter(answers.values()))["init"].values
    windows.warn_of_later(entries[0].da, stamps, windows.later_inits(entries[0].da, stamps))
    if not is_lazy:  # nor is the answer, however the gaps were filled
        answers = {
            name: answer.compute() if dask.is_dask_collection(answer) else answer
            for name, answer in answers.items()
        }
    if isinstance(data, xr.Dataset):
        attrs = cf.file_of_forecasts(data.attrs, answers.values())
        return xr.Dataset({answer.name: answer for answer in answers.values()}, attrs=attrs)
    return next(iter(answers.values()))


def _for_each(
    entries: Sequence[inputs.Entry],
    pack: Pack,
    init: windows.InitLike,
    options: Options,
    chunks: int | Literal["auto"],
    progress: engine.Progress,
) -> dict[str, xr.DataArray]:
    """The forecast of each output, along all further dims of the data (models, realizations)."""
    further = inputs.further_dims(entries)
    if not further:
        setup = set_up(entries, pack, init, options)
        values = _warning_of_later(compute(setup, chunks, progress), setup, entries[0].da)
        filled = [one.copy(data=data) for one, data in zip(setup.computed, values, strict=True)]
        known = {} if setup.known is None else {KNOWN: filled.pop()}
        answers = zip(setup.answers, filled, strict=True)
        return {name: answer.assign_coords(known) for name, answer in answers}
    dim, size = next(iter(further.items()))
    has_members = options.members is not None or engine.is_generative(pack.card)
    if dim in ("init", "lead") or (dim == "member" and has_members):
        raise mismatch(
            "dims of the data with other names than those of the forecast",
            dim,
            f'da.rename({dim}="realization")',
        )
    each = []
    for k in range(size):
        here = [replace(e, da=e.da.isel({dim: k}, missing_dims="ignore")) for e in entries]
        each.append(_for_each(here, pack, init, options, chunks, progress))
    own = {entry.name: entry.da for entry in entries}
    place = 3 if has_members else 2  # after init, lead and member
    return {
        name: _joined([answers[name] for answers in each], own[name], dim, place)
        for name in each[0]
    }


def _joined(answers: list[xr.DataArray], da: xr.DataArray, dim: str, place: int) -> xr.DataArray:
    """Forecasts of `da` from each position along `dim`, as one, with that dim at a place."""
    labels = {name: coord for name, coord in da.coords.items() if dim in coord.dims}
    known = {}
    if KNOWN in answers[0].coords:
        each = [answer[KNOWN].drop_vars(labels, errors="ignore") for answer in answers]
        shares = xr.concat(each, dim, coords="minimal", compat="override", join="override")
        known = {KNOWN: shares.variable.transpose("init", "lead", dim, ...)}
    out = xr.concat(
        [answer.drop_vars([KNOWN, *labels], errors="ignore") for answer in answers],
        dim,
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    dims = [each for each in out.dims if each != dim]
    out = out.transpose(*dims[:place], dim, *dims[place:])
    kept = {name: coord for name, coord in labels.items() if set(coord.dims) <= set(out.dims)}
    return out.assign_coords({name: coord.variable for name, coord in kept.items()} | known)


def set_up(
    entries: Sequence[inputs.Entry], pack: Pack, init: windows.InitLike, options: Options
) -> Setup:
    """Check everything that labels tell, and lay out the answers; no value is read."""
    card = pack.card
    exact = engine.is_exact(card)
    prepared, origins = zip(*(inputs.prepare(entry, card, exact) for entry in entries), strict=True)
    data = inputs.on_same_pixels(list(prepared), card)
    first = data[0]
    time = first["time"]
    step = check_time(time)
    lead = _lead_steps(options.lead, step, card)
    inits = windows.find_inits(time, card.context, init)
    members = ensemble.ensemble(
        card, options.members, options.seed, options.sampler, options.steps, options.guidance
    )
    tiles = _tiles(first, origins[0], card)
    shape = first.sizes["y"], first.sizes["x"]
    if card.grid is not None and (isinstance(card.grid, LatLonGrid) or tiles is not None):
        shape = card.grid.shape
    settings = engine.settings(
        pack, shape, options.device, options.batch_size, options.precision, options.compile
    )
    beyond = _beyond(options.beyond, card)
    plan = Plan(
        pack,
        lead,
        step,
        variables={entry.name: entry.variable for entry in entries},
        # the labels stand in the answers; tasks compute numbers and need none
        origins={e.name: replace(o, coords={}) for e, o in zip(entries, origins, strict=True)},
        settings=settings,
        tiles=tiles,
        ensemble=members,
        beyond=beyond,
    )
    count = members.members if members else None
    answers = {}
    for entry, da in zip(entries, data, strict=True):
        if entry.name in card.outputs:
            answer = windows.template(entry.da, time, inits.positions, lead, count)
            answer.attrs |= _attributes(entry, da, inits, plan)
            answers[entry.name] = answer
    known = None
    if beyond is not None:
        known = windows.template(entries[0].da, time, inits.positions, lead)
        known = known.astype(np.float32).rename(KNOWN)
        known.attrs = KNOWN_ATTRS
    return Setup(data, inits, answers, known, plan)


def _beyond(beyond: Beyond, card: Card) -> Beyond | None:
    """What stands where nothing is known; None for a pack that isn't a nowcast."""
    if beyond not in get_args(Beyond):
        raise mismatch(f"beyond as one of {get_args(Beyond)}", repr(beyond), 'beyond="climatology"')
    if engine.moves_rain(card):
        return beyond
    if beyond != Options.beyond:
        found = f"{card.name!r}, which doesn't move rain along"
        raise mismatch("a nowcast, for beyond", found, 'the pack "nowcast-radar", or no beyond')
    return None


# --- the values: one graph of blocks


def compute(
    setup: Setup, chunks: int | Literal["auto"], progress: engine.Progress
) -> "list[np.ndarray] | list[dask.array.Array]":
    """Return the values of `setup.computed`: lazy for dask data, else one graph, run at once."""
    positions, answers, plan = setup.inits.positions, setup.computed, setup.plan
    context = plan.pack.card.context
    blocks = []
    shared_plan = dask.delayed(plan, traverse=False)  # one node of the graph, for all blocks
    is_lazy = any(da.chunks is not None for da in setup.data)
    for block in windows.blocks(positions, context, _inits_per_block(chunks, setup, is_lazy)):
        first = positions[block][0] - context + 1
        steps = slice(first, positions[block][-1] + 1)
        pieces = [da.isel(time=steps) for da in setup.data]
        ends = positions[block] - first
        if plan.tiles is None:
            values = dask.delayed(tasks.run, pure=False, nout=len(answers))(
                pieces, ends, shared_plan
            )
            blocks.append(
                [
                    dask.array.from_delayed(one, (len(ends), *answer.shape[1:]), answer.dtype)
                    for one, answer in zip(values, answers, strict=True)
                ]
            )
        else:
            blocks.append(_tiled(pieces, ends, plan))
    if is_lazy:
        return [dask.array.concatenate(of_one) for of_one in zip(*blocks, strict=True)]
    _check_values(setup)
    return _run_at_once(blocks, answers, plan, progress)


def _warning_of_later(
    values: "list[np.ndarray] | list[dask.array.Array]", setup: Setup, da: xr.DataArray
) -> "list[np.ndarray] | list[dask.array.Array]":
    """Return lazy values that warn of inits made of later frames, where values alone tell these."""
    stamps = setup.data[0]["time"].values[setup.inits.positions]
    first, *others = values
    if windows.later_inits(da, stamps) is not None or not isinstance(first, dask.array.Array):
        return values
    late = da[NEWEST].data[setup.inits.positions] > stamps
    late = late.rechunk((first.chunks[0],))[(slice(None), *(None,) * (first.ndim - 1))]
    warned = dask.array.map_blocks(
        _warn_of_later, first, late, stamps=stamps, dtype=first.dtype, meta=first._meta
    )
    return [warned, *others]


def _warn_of_later(
    values: np.ndarray, late: np.ndarray, stamps: np.ndarray, block_info: dict
) -> np.ndarray:
    start, stop = block_info[0]["array-location"][0]
    if (late := late.ravel()).any():
        first, more = str_time(stamps[start:stop][late][0]), int(late.sum()) - 1
        warn(
            f"{first}{f' and {more} more inits' if more else ''}: inits that know frames after "
            "them, as frames in between do; scores of theirs would be too good"
        )
    return values


def _check_values(setup: Setup) -> None:
    """See that all the data can be served before the first forecast is made, piece by piece."""
    plan = setup.plan
    frames = np.unique(setup.inits.positions[:, None] - np.arange(plan.pack.card.context))
    for da, (name, variable) in zip(setup.data, plan.variables.items(), strict=True):
        frame_bytes = da.sizes["y"] * da.sizes["x"] * np.dtype(np.float32).itemsize
        for part in np.array_split(frames, -(-len(frames) * frame_bytes // BLOCK_BYTES)):
            with said_once(plan.said):
                inputs.enter(da.isel(time=part), name, variable, plan.pack.card)
    if plan.beyond is not None:
        gaps.warn_of_missing(setup.data[0], setup.inits.positions, plan.pack.card)


class _Target:
    """An array that shows on a progress bar what is written to it."""

    def __init__(self, values: np.ndarray, bar: tqdm | None, by_init: bool) -> None:
        self.values, self.bar, self.by_init = values, bar, by_init

    def __setitem__(self, place: tuple[slice, ...], values: np.ndarray) -> None:
        self.values[place] = values
        if self.bar is not None:
            self.bar.update(len(values) if self.by_init else 1)

    def __dask_tokenize__(self) -> str:
        return uuid4().hex  # or dask would hash all values


def _run_at_once(
    blocks: list[list[dask.array.Array]],
    answers: Sequence[xr.DataArray],
    plan: Plan,
    progress: engine.Progress,
) -> list[np.ndarray]:
    """Compute blocks one after the other; each part is written where it belongs and let go."""
    values = [np.empty(answer.shape, answer.dtype) for answer in answers]
    whole = plan.tiles is None
    total = len(values[0]) if whole else sum(block[0].npartitions for block in blocks)
    start = 0
    with engine.progress_bar(total, "init" if whole else "tile", progress) as bar:
        for block in blocks:
            stop = start + len(block[0])
            # only the first of several outputs moves the bar
            targets = [
                _Target(one[start:stop], bar if one is values[0] else None, whole) for one in values
            ]
            # in this thread: torch uses the cores itself; by name, dask would import distributed
            dask.array.store(block, targets, lock=False, scheduler=dask.get)  # type: ignore
            start = stop
    return values


def _tiled(pieces: list[xr.DataArray], ends: np.ndarray, plan: Plan) -> list[dask.array.Array]:
    """A block of inits as dask arrays, one task per tile for all of them.

    A block reads its frames by itself: were they tasks shared with the next block, a scheduler
    would be free to run one tile of all blocks first, and so to hold all their answers.
    """
    assert plan.tiles is not None
    # the frames of all inputs, one after another
    stacked = pieces[0] if len(pieces) == 1 else xr.concat(pieces, "time", join="override")
    if stacked.chunks is None:
        stacked = stacked.chunk(token=uuid4().hex)  # a name of its own: dask need not hash the data
    (data,) = dask.optimize(stacked.data)  # reading and slicing fuse into tasks of the block's own
    stacked = stacked.copy(data=data)
    outputs = plan.pack.card.outputs
    leading = len(outputs), len(ends), plan.lead
    values = blend_lazily(stacked, plan.tiles, tasks.run_tile, (ends, plan), leading)
    frames = pieces[0].sizes["time"]
    answers = []
    for i, name in enumerate(outputs):
        first = list(plan.variables).index(name) * frames
        own = stacked.isel(time=slice(first, first + frames))
        fc = xr.DataArray(values[i], dims=FORECAST_DIMS)
        answers.append(tasks.give_back(fc, own, ends, name, plan).data)
    return answers


def _tiles(da: xr.DataArray, origin: cf.Origin, card: Card) -> Tiles | None:
    """How a domain larger than a model of pixels is cut; None where it goes through whole."""
    if engine.is_generative(card) or not isinstance(card.grid, PixelGrid):
        return None
    if card.grid.larger == "whole":
        return None
    y, x = (
        Axis(da.sizes[dim], pixels, backwards=bool(order[0] > order[-1]))
        for dim, pixels, order in zip(
            ("y", "x"), card.grid.shape, (origin.order_y, origin.order_x), strict=True
        )
    )
    tiles = Tiles(y, x)
    return tiles if len(tiles) > 1 else None


def _inits_per_block(chunks: int | Literal["auto"], setup: Setup, is_lazy: bool) -> int:
    if chunks != "auto":
        return whole_number("chunks", chunks, hint='chunks="auto"')
    da, plan, batch_size = setup.data[0], setup.plan, setup.plan.settings.batch_size
    members = plan.ensemble.members if plan.ensemble else 1
    frame_bytes = da.sizes["y"] * da.sizes["x"] * np.dtype(np.float32).itemsize
    batch_bytes = frame_bytes * (1 + plan.lead * members) * batch_size
    # whole batches: a batch that is not full costs as much as one that is
    largest = max(1, BLOCK_BYTES // batch_bytes) * batch_size
    if not is_lazy:  # one block after another
        return largest
    return _shared_out(len(setup.inits.positions), largest, batch_size)


def _shared_out(inits: int, largest: int, batch_size: int) -> int:
    """Inits per block, whole batches of them, so that there are some blocks for each worker.

    >>> _shared_out(inits=50_000, largest=64, batch_size=16)
    64
    """
    share = -(-inits // (BLOCKS_PER_WORKER * workers()))
    return min(largest, -(-share // batch_size) * batch_size)


def _lead_steps(lead: LeadLike | None, step: Step, card: Card) -> int:
    if lead is None:
        return card.lead
    steps = count_steps(lead, step, card.lead)
    if steps > card.lead and len(card.outputs) < len(card.inputs):
        raise mismatch(
            f"lead up to {card.lead}: pack {card.name!r} doesn't forecast all that it reads",
            f"lead={steps}",
            f"lead={card.lead}",
        )
    return steps


def _attributes(
    entry: inputs.Entry, da: xr.DataArray, inits: windows.Inits, plan: Plan
) -> dict[str, str | int]:
    """The own attributes of one output: what was done, in words, and the pack that did it."""
    card = plan.pack.card
    attrs: dict[str, str | int] = {}
    notes = [f"forecast by pack {card.name} {card.version}"]
    if entry.variable.standard_name != card.inputs[entry.name].standard_name:
        notes.append(f"{entry.variable.standard_name} read in place of {entry.name}")
    if inits.dropped:
        notes.append(inits.dropped)
    late = windows.later_inits(entry.da, da["time"].values[inits.positions])
    if later := windows.describe_later(late):
        notes.append(later)
    if entry.note:
        notes.append(entry.note)
    if plan.step == "month" and (months := reading(da["time"])):
        notes.append(months)
    if period := inputs.other_baseline(entry.da, card):
        notes.append(f"anomalies against {period}, which the pack hardly depends on")
    if plan.ensemble is not None:
        notes.append(str(plan.ensemble))
        attrs["seed"] = plan.ensemble.seed
    if plan.settings.precision != "float32":
        notes.append(f"in {plan.settings.precision}")
    if plan.tiles is not None:
        notes.append(f"{plan.tiles}, blended")
    origin = plan.origins[entry.name]
    if origin.back_x.size > origin.order_x.size:
        notes.append("columns of longitude that are there twice read once")
    if isinstance(card.grid, LatLonGrid):
        if regridding := regrid.describe(da, card.grid.latitude, card.grid.longitude):
            notes.append(regridding)
        if card.land(entry.name) is not None:
            fill = f"{entry.variable.fill:g} {entry.variable.units}"
            notes.append(f"land read as {fill}, answered as NaN")
            notes.append(
                "sea that is land in the data read from the nearest cell next to it, inland waters "
                "as land"
            )
    if plan.beyond is not None:
        elsewhere = "drawn at random" if plan.ensemble else "the mean of what was seen"
        elsewhere = "NaN" if plan.beyond == "nan" else elsewhere
        notes.append(f"where little is known, rain is {elsewhere}")
    elif isinstance(card.grid, PixelGrid) and entry.variable.missing == "allowed":
        notes.append("missing pixels read as not seen, answered as NaN where the last frame is")
    if isinstance(card.grid, PixelGrid) and card.grid.spacing and not any(pixel_size(entry.da)):
        notes.append(f"pixels taken to be of {card.grid.spacing:g} m, as nothing tells their size")
    if plan.lead > card.lead:
        rollout = f"leads {card.lead + 1} to {plan.lead} from the model's own output"
        notes.append(rollout + (", tile by tile" if plan.tiles else ""))
        attrs["rollout"] = notes[-1]
    attrs |= {
        "pack": card.name,
        "pack_version": card.version,
        "pack_weights_sha256": str(card.weights_sha256),
        "pack_card_sha256": hashlib.sha256(card.deciding().encode()).hexdigest(),
    }
    line = f"xearthformer {__version__}: {'; '.join(notes)}"
    return attrs | {"history": str(cf.add_history(entry.da.attrs, line)["history"])}
