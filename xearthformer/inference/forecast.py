"""A forecast: the page to read first.

The way in and the way out mirror each other, and the model stands in the middle:

    inputs.prepare · inputs.enter · windows.cut_windows · tensors.to_tensor
                       engine.predict or ensemble.sample
    cf.restore · regrid.to_user · scale.undo · tensors.to_labeled

`set_up` looks at labels alone and makes the empty, labelled answer. The values are one dask graph,
one task per block of inits; with data in memory it is run at once, block by block. A domain larger
than the window of a model of pixels is forecast in overlapping tiles, one task per tile
(`tiles.blend_lazily`), or whole where the card allows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar
from uuid import uuid4

import dask
import dask.array
import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm.auto import tqdm

from .. import __version__
from ..errors import mismatch, whole_number
from ..fields import cf, regrid, windows
from ..fields.tiles import Axis, Tiles, blend_lazily
from ..fields.time_axis import check_time, str_time
from ..models.prediff.samplers import Sampler
from ..packs.card import Card, LatLonGrid, PixelGrid
from ..packs.pack import Pack, open_pack
from . import engine, ensemble, inputs, tensors
from .guidance import Guidance
from .options import Options, Precision, documented

XarrayObject = TypeVar("XarrayObject", xr.Dataset, xr.DataArray)

# Bytes of the user's frames, in and out, that one block of inits may hold.
BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Plan:
    """What each task needs next to its data. It holds no weights: workers open the pack."""

    pack: Pack
    lead: int
    origin: cf.Origin
    settings: engine.Settings
    tiles: Tiles | None  # None: the data goes through the model whole
    ensemble: ensemble.Ensemble | None  # None: the model is deterministic


@dataclass(frozen=True)
class Setup:
    """A forecast of which no value is computed."""

    data: xr.DataArray  # (time, y, x), as `inputs.prepare` returns it
    inits: windows.Inits
    answer: xr.DataArray  # every label and attribute of the forecast, on the user's own dims
    plan: Plan


@documented
def forecast(
    data: XarrayObject,
    pack: str | Pack,
    *,
    init: windows.InitLike = None,
    lead: int | str | np.timedelta64 | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str | Sampler = "dpm++",
    steps: int | None = None,
    guidance: Guidance | Sequence[Guidance] | None = None,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
    chunks: int | Literal["auto"] = "auto",
    progress: engine.Progress = "auto",
) -> XarrayObject:
    """Forecast labelled data with a pack.

    Parameters
    ----------
    data : DataArray or Dataset
        Dims time, y and x in any order, under any name that CF conventions or common use know. Of a
        Dataset, the variable that the pack's card asks for is forecast. A pack of pixels serves any
        domain that is at least as large as its own.
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
        the main thread. For lazy forecasts use `dask.diagnostics.ProgressBar` or the dashboard. The
        environment variable TQDM_DISABLE=1 turns every bar off.

    Returns
    -------
    DataArray or Dataset, as given
        Dims init, lead, member (generative packs), then the user's own spatial dims; coordinates
        `init`, `lead`, `member`, `valid_time` and the user's own; the user's units, dtype and
        attributes, and `history`, `pack`, `pack_version`, `pack_weights_sha256`, for an ensemble
        also `seed`. NaN where the last frame is NaN, and outside the pack's grid. Lazy when `data`
        is.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed, for whatever the pack cannot serve: units, missing axes, an
        irregular time axis, too short a context, missing values, a domain that does not hold the
        pack's grid. With dask data, errors that depend on values are raised by the computation.
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
        lead, members, seed, sampler, steps, guidance, device, batch_size, precision, compile
    )
    da = inputs.variable(data, pack.card)
    setup = set_up(da, pack, init, options)
    answer = setup.answer.copy(data=_values(setup, chunks, progress))
    if isinstance(data, xr.Dataset):
        return answer.to_dataset(name=da.name).assign_attrs(data.attrs)
    return answer


def set_up(da: xr.DataArray, pack: Pack, init: windows.InitLike, options: Options) -> Setup:
    """Check everything that labels tell, and lay out the answer; no value is read."""
    card = pack.card
    prepared, origin = inputs.prepare(da, card)
    time = prepared["time"]
    lead = _lead_steps(options.lead, check_time(time), card)
    inits = windows.find_inits(time, card.context, init)
    members = ensemble.ensemble(
        card, options.members, options.seed, options.sampler, options.steps, options.guidance
    )
    answer = windows.template(da, time, inits.positions, lead, members.members if members else None)
    tiles = _tiles(prepared, origin, card)
    shape = prepared.sizes["y"], prepared.sizes["x"]
    if card.grid is not None and (isinstance(card.grid, LatLonGrid) or tiles is not None):
        shape = card.grid.shape
    settings = engine.settings(
        pack, shape, options.device, options.batch_size, options.precision, options.compile
    )
    # the labels stand in the answer; tasks compute numbers and need none
    plan = Plan(pack, lead, replace(origin, coords={}), settings, tiles, members)
    answer.attrs = {**da.attrs, **_attributes(prepared, inits, plan)}
    return Setup(prepared, inits, answer, plan)


# --- the values: one graph of blocks


def _values(
    setup: Setup, chunks: int | Literal["auto"], progress: engine.Progress
) -> np.ndarray | dask.array.Array:
    """The values of the forecast: a dask array for dask data; else the same graph, run at once."""
    da, positions, answer, plan = setup.data, setup.inits.positions, setup.answer, setup.plan
    context = plan.pack.card.context
    blocks = []
    shared_plan = dask.delayed(plan, traverse=False)  # one node of the graph, for all blocks
    for block in windows.blocks(positions, context, _inits_per_block(chunks, da, plan)):
        first = positions[block][0] - context + 1
        piece = da.isel(time=slice(first, positions[block][-1] + 1))
        ends = positions[block] - first
        if plan.tiles is None:
            values = dask.delayed(_run, pure=False)(piece, ends, shared_plan)
            shape = len(ends), *answer.shape[1:]
            blocks.append(dask.array.from_delayed(values, shape, answer.dtype))
        else:
            blocks.append(_tiled(piece, ends, plan))
    if da.chunks is not None:
        return dask.array.concatenate(blocks)
    _check_values(da, positions, plan)
    return _run_at_once(blocks, answer, plan, progress)


def _check_values(da: xr.DataArray, positions: np.ndarray, plan: Plan) -> None:
    """See that all the data can be served before the first forecast is made, piece by piece."""
    frames = np.unique(positions[:, None] - np.arange(plan.pack.card.context))
    frame_bytes = da.sizes["y"] * da.sizes["x"] * np.dtype(np.float32).itemsize
    for part in np.array_split(frames, -(-len(frames) * frame_bytes // BLOCK_BYTES)):
        inputs.enter(da.isel(time=part), plan.pack.card)


class _Target:
    """An array that shows on a progress bar what is written to it."""

    def __init__(self, values: np.ndarray, bar: tqdm, by_init: bool) -> None:
        self.values, self.bar, self.by_init = values, bar, by_init

    def __setitem__(self, place: tuple[slice, ...], values: np.ndarray) -> None:
        self.values[place] = values
        self.bar.update(len(values) if self.by_init else 1)

    def __dask_tokenize__(self) -> str:
        return uuid4().hex  # or dask would hash all values


def _run_at_once(
    blocks: list[dask.array.Array], answer: xr.DataArray, plan: Plan, progress: engine.Progress
) -> np.ndarray:
    """Compute blocks one after the other; each part is written where it belongs and let go."""
    values = np.empty(answer.shape, answer.dtype)
    whole = plan.tiles is None
    total = len(values) if whole else sum(block.npartitions for block in blocks)
    start = 0
    with engine.progress_bar(total, "init" if whole else "tile", progress) as bar:
        for block in blocks:
            target = _Target(values[start : start + len(block)], bar, whole)
            # in this thread: torch uses the cores itself
            dask.array.store(block, target, lock=False, scheduler="synchronous")  # type: ignore
            start += len(block)
    return values


def _tiled(piece: xr.DataArray, ends: np.ndarray, plan: Plan) -> dask.array.Array:
    """A block of inits as a dask array, one task per tile.

    A block reads its frames by itself: were they tasks shared with the next block, a scheduler
    would be free to run one tile of all blocks first, and so to hold all their answers.
    """
    assert plan.tiles is not None
    if piece.chunks is None:
        piece = piece.chunk(token=uuid4().hex)  # a name of its own: dask need not hash the data
    (data,) = dask.optimize(piece.data)  # reading and slicing fuse into tasks of the block's own
    piece = piece.copy(data=data)
    values = blend_lazily(piece, plan.tiles, _run_tile, (ends, plan), (len(ends), plan.lead))
    fc = xr.DataArray(values, dims=tensors.FORECAST_DIMS)
    return _give_back(fc, piece, ends, plan).data


# --- one task


def _run(da: xr.DataArray, ends: np.ndarray, plan: Plan) -> np.ndarray:
    """One task: a block of inits, from the prepared data (time, y, x) to the user's grid."""
    fc = _predict(da, ends, plan)
    return _give_back(fc, da, ends, plan).to_numpy()


def _run_tile(da: xr.DataArray, ends: np.ndarray, plan: Plan) -> np.ndarray:
    """One task: a block of inits of one tile, to values (init, lead, y, x) in the card's units."""
    return _predict(da, ends, plan).to_numpy()


def _predict(da: xr.DataArray, ends: np.ndarray, plan: Plan) -> xr.DataArray:
    """Through the model: a forecast (init, lead, y, x) on the model's grid, in the card's units."""
    card = plan.pack.card
    x = inputs.enter(da, card)
    windowed = windows.cut_windows(x, card.context, ends)
    model = engine.load(plan.pack, plan.settings)
    if plan.ensemble is not None:
        y = _sample(model, windowed, x["time"].values[ends], plan)
        return card.scale.undo(tensors.to_labeled(y, windowed))
    if card.land is None:
        y = engine.predict(model, tensors.to_tensor(windowed), plan.lead, plan.settings)
        return card.scale.undo(tensors.to_labeled(y, windowed))
    fill_value = torch.where(torch.from_numpy(card.land), card.scale.apply(card.fill), torch.nan)
    y = engine.predict(
        model, tensors.to_tensor(windowed), plan.lead, plan.settings, fill_value.unsqueeze(-1)
    )
    fc = card.scale.undo(tensors.to_labeled(y, windowed))
    return fc.where(~xr.DataArray(card.land, dims=("y", "x")))


def _sample(
    model: torch.nn.Module, windowed: xr.DataArray, inits: np.ndarray, plan: Plan
) -> torch.Tensor:
    """A scaled ensemble (B, T, members, H, W, C)."""
    names = {"y": str(plan.origin.axes.y), "x": str(plan.origin.axes.x)}
    return ensemble.sample(
        model,
        tensors.to_tensor(windowed),
        [str_time(init) for init in inits],
        plan.lead,
        plan.settings,
        plan.ensemble,
        plan.pack.card,
        (names["y"], names["x"]),
        {names[dim]: windowed[dim].values for dim in names if dim in windowed.coords},
    )


def _give_back(fc: xr.DataArray, da: xr.DataArray, ends: np.ndarray, plan: Plan) -> xr.DataArray:
    """The way back: (init, lead, *the user's spatial dims), NaN where the last frame is."""
    if isinstance(plan.pack.card.grid, LatLonGrid):
        fc = regrid.to_user(fc, da["y"], da["x"])
    last = da.isel(time=ends).rename(time="init").drop_vars("init")
    if fc.chunks is not None:
        last = last.chunk({dim: fc.chunksizes[dim] for dim in last.dims})
    return cf.restore(fc.where(last.notnull()), plan.origin)


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


def _inits_per_block(chunks: int | Literal["auto"], da: xr.DataArray, plan: Plan) -> int:
    if chunks != "auto":
        return whole_number("chunks", chunks, hint='chunks="auto"')
    members = plan.ensemble.members if plan.ensemble else 1
    frame_bytes = da.sizes["y"] * da.sizes["x"] * np.dtype(np.float32).itemsize
    batch_bytes = frame_bytes * (1 + plan.lead * members) * plan.settings.batch_size
    # whole batches: a batch that is not full costs as much as one that is
    return max(1, BLOCK_BYTES // batch_bytes) * plan.settings.batch_size


def _lead_steps(
    lead: int | str | np.timedelta64 | None, step: str | np.timedelta64, card: Card
) -> int:
    if lead is None:
        return card.lead
    if isinstance(lead, int | np.integer) and not isinstance(lead, bool):
        steps = float(lead)
    elif step == "month":
        steps = 0.0  # months are no duration
    else:
        steps = pd.Timedelta(lead) / pd.Timedelta(step)
    if steps < 1 or steps != int(steps):
        unit = "months" if step == "month" else f"time steps of {pd.Timedelta(step)}"
        raise mismatch(f"lead as a whole number of {unit}, from 1", repr(lead), f"lead={card.lead}")
    return int(steps)


def _attributes(da: xr.DataArray, inits: windows.Inits, plan: Plan) -> dict[str, str | int]:
    """The forecast's own attributes: what was done, in words, and the pack that did it."""
    card = plan.pack.card
    attrs: dict[str, str | int] = {}
    notes = [f"forecast by pack {card.name} {card.version}"]
    if inits.dropped:
        notes.append(inits.dropped)
    if plan.ensemble is not None:
        notes.append(str(plan.ensemble))
        attrs["seed"] = plan.ensemble.seed
    if plan.settings.precision != "float32":
        notes.append(f"in {plan.settings.precision}")
    if plan.tiles is not None:
        notes.append(f"{plan.tiles}, blended")
    if isinstance(card.grid, LatLonGrid):
        if regridding := regrid.describe(da, card.grid.latitude, card.grid.longitude):
            notes.append(regridding)
        if card.land is not None:
            notes.append(f"land read as {card.fill:g} {card.input.units}, answered as NaN")
    if isinstance(card.grid, PixelGrid) and card.missing == "allowed":
        notes.append("missing pixels read as not seen, answered as NaN where the last frame is")
    if plan.lead > card.lead:
        rollout = f"leads {card.lead + 1} to {plan.lead} from the model's own output"
        notes.append(rollout + (", tile by tile" if plan.tiles else ""))
        attrs["rollout"] = notes[-1]
    attrs |= {
        "pack": card.name,
        "pack_version": card.version,
        "pack_weights_sha256": str(card.weights_sha256),
    }
    line = f"xearthformer {__version__}: {'; '.join(notes)}"
    return attrs | {"history": str(cf.add_history(plan.origin.attrs, line)["history"])}
