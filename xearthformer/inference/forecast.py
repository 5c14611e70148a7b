"""A forecast: the page to read first.

The way in and the way out mirror each other, and the model stands in the middle:

    admission.prepare · admission.enter · windows.cut · tensors.to_tensor
                             engine.predict
    cf.restore · grid.to_user · scale.undo · tensors.to_labeled

In-memory data is forecast at once; dask data gives the same answer as a graph, one task a block
of inits. A domain larger than a model of pixels goes through it in overlapping tiles (tiles.cut),
a task each, which tiles.blend puts together again; or whole, if the card says that it may.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm.auto import tqdm

from .. import __version__
from ..errors import mismatch
from ..fields import cf, regrid, windows
from ..fields.tiles import Axis, Tiles, blend, blend_lazily, cut
from ..fields.time_axis import check_time, str_time
from ..models.prediff.samplers import Sampler
from ..packs.card import Card, LatLonGrid, PixelGrid
from ..packs.pack import Pack, open_pack
from . import engine, tensors
from . import inputs as admission
from .guidance import Guidance

XarrayObject = TypeVar("XarrayObject", xr.Dataset, xr.DataArray)

# Bytes of the user's frames, in and out, that a block of inits may hold.
BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Plan:
    """What a block of inits needs beside its data. It holds no weights: a worker opens the pack.

    `tiles` is None where the data goes through the model whole, `ensemble` where it is
    deterministic.
    """

    pack: Pack
    lead: int
    origin: cf.Origin
    settings: engine.Settings
    tiles: Tiles | None
    ensemble: engine.Ensemble | None


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
    precision: engine.Precision = "float32",
    compile: bool = False,
    chunks: int | Literal["auto"] = "auto",
    progress: engine.Progress = "auto",
) -> XarrayObject:
    """Forecast labelled data with a pack.

    Parameters
    ----------
    data : DataArray or Dataset
        Dims time, y and x in any order and by any name that CF conventions or common use tell. Of a
        Dataset, the one variable that the pack's card asks for. A pack of pixels serves any
        domain that is at least as large as its own.
    pack : str or Pack
        A pack, or anything `open_pack` opens.
    init : None, label, slice or list of labels
        Last time step that a forecast may see. None: the latest. A slice: every time in it that
        has the history the pack needs; `slice("2000", "2009", 12)` takes every twelfth.
    lead : int, or a duration such as "60min"
        Time steps to forecast. None: the pack's reach. Beyond it the model reads its own output
        (a tile that of the same tile, before any blending), and the attribute `rollout` says from
        where on.
    members : int or None
        Of a pack that samples, such as "prediff-radar": how many samples. None: one.
    seed : int
        Member m of an init follows from weights, data, seed, init and m alone: it is the same bits
        whatever members and inits are asked for beside it, at a given batch size.
    sampler : {"dpm++", "ddim", "ddpm"} or Sampler
        Of a pack that samples; "ddpm" is the paper's, and takes 1000 steps.
    steps : int or None
        None: 20 for dpm++, 50 for ddim, 1000 for ddpm.
    guidance : anticipated_intensity(...), constraint(...), or a list of these
        What the forecast is told to be like: see these functions.
    device : str
        "auto" takes a GPU when there is one.
    batch_size : int or "auto"
        Windows that run through the model together; of a pack that samples, tiles of its members.
    precision : {"float32", "bf16"}
        "bf16" is faster, and off by what benchmarks/README.md says.
    compile : bool
        Have torch compile the network: a minute or more at first, for many forecasts on a GPU.
    chunks : int or "auto"
        Inits that are read, forecast and given back together: a task of the graph (or a task a
        tile), and a chunk of a lazy answer. "auto": whole batches, as many as 128 MB hold. It
        never changes a number.
    progress : bool or "auto"
        Whether to show a bar on stderr for data in memory. "auto": once two seconds have passed, in
        the main thread. Lazy forecasts show dask's own: `dask.diagnostics.ProgressBar`, or the
        dashboard. The environment variable TQDM_DISABLE=1 turns every bar off.

    Returns
    -------
    DataArray or Dataset, as given
        Dims init, lead, member if the pack samples, then the user's own spatial dims; coordinates
        `init`, `lead`, `member`, `valid_time` and the user's own; the user's units, dtype and
        attributes, and `history`, `pack`, `pack_version` and `pack_weights_sha256`, and of samples
        `seed`. NaN where the last frame is NaN, and outside the pack's grid. Lazy when `data` is.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed, for whatever the pack can't serve: units, missing axes, an
        irregular time axis, too short a history, missing values, a domain that doesn't hold the
        pack's grid.
        With dask data, what depends on values is raised by the computation.
    ArithmeticError
        NaN while sampling: the message names step and member.
    PackError
        A pack that isn't there or can't be trusted.

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
    card = pack.card
    da = admission.variable(data, card)
    prepared, origin = admission.prepare(da, card)
    time = prepared["time"]
    lead = _lead_steps(lead, check_time(time), card)
    inits = windows.find_inits(time, card.context, init)
    ensemble = engine.ensemble(card, members, seed, sampler, steps, guidance)
    count = ensemble.members if ensemble else None
    empty = windows.template(da, time, inits.positions, lead, count)
    tiles = _tiles(prepared, origin, card)
    shape = prepared.sizes["y"], prepared.sizes["x"]
    if isinstance(card.grid, LatLonGrid) or tiles is not None:
        shape = card.grid.shape
    plan = Plan(
        pack,
        lead,
        replace(origin, coords={}),  # the labels stand in `empty`; the numbers need none
        engine.settings(pack, shape, device, batch_size, precision, compile),
        tiles,
        ensemble,
    )
    size = _inits_per_block(chunks, prepared, plan)
    answer = empty.copy(data=_values(prepared, inits.positions, plan, size, empty, progress))
    answer.attrs = {**da.attrs, **_attributes(prepared, inits, plan)}
    if isinstance(data, xr.Dataset):
        return answer.to_dataset(name=da.name).assign_attrs(data.attrs)
    return answer


def _values(
    da: xr.DataArray,
    positions: np.ndarray,
    plan: Plan,
    size: int,
    empty: xr.DataArray,
    progress: engine.Progress,
) -> Any:
    """The numbers of the forecast, block by block: a dask array when `da` is one, else numpy's."""
    history = plan.pack.card.context
    pieces, starts = [], []
    for block in windows.blocks(positions, history, size):
        first = positions[block][0] - history + 1
        pieces.append(da.isel(time=slice(first, positions[block][-1] + 1)))
        starts.append(positions[block] - first)
    if da.chunks is None:
        values, done = np.empty(empty.shape, empty.dtype), 0
        for part in (_blocks if plan.tiles is None else _blocks_of_tiles)(
            pieces, starts, plan, progress
        ):
            values[done : done + len(part)] = part
            done += len(part)
        return values
    import dask
    import dask.array

    if plan.tiles is not None:
        blocks = [_graph_of_tiles(*block, plan) for block in zip(pieces, starts, strict=True)]
        return dask.array.concatenate(blocks)
    run, same = dask.delayed(_run, pure=False), dask.delayed(plan, traverse=False)
    tasks = [
        dask.array.from_delayed(
            run(piece, start, same), shape=(len(start), *empty.shape[1:]), dtype=empty.dtype
        )
        for piece, start in zip(pieces, starts, strict=True)
    ]
    return dask.array.concatenate(tasks)


def _blocks(
    pieces: list[xr.DataArray], starts: list[np.ndarray], plan: Plan, progress: engine.Progress
) -> Iterator[np.ndarray]:
    """In-memory data: blocks of inits one after the other, once all the data is seen to be good."""
    inputs = [admission.enter(piece, plan.pack.card) for piece in pieces]
    with engine.progress_bar(sum(map(len, starts)), "init", progress) as bar:
        for x, piece, start in zip(inputs, pieces, starts, strict=True):
            yield _give_back(_predict(x, start, plan), piece, start, plan).to_numpy()
            bar.update(len(start))


def _blocks_of_tiles(
    pieces: list[xr.DataArray], starts: list[np.ndarray], plan: Plan, progress: engine.Progress
) -> Iterator[np.ndarray]:
    """The same, a tile at a time: beside the data and the answer it holds a block and a tile."""
    for piece in pieces:  # seen to be good, and let go again
        admission.enter(piece, plan.pack.card)
    with engine.progress_bar(len(pieces) * len(plan.tiles), "tile", progress) as bar:
        for piece, start in zip(pieces, starts, strict=True):
            parts = (_run_tile(tile, start, plan, bar) for tile in cut(piece, plan.tiles))
            fc = xr.DataArray(blend(parts, plan.tiles), dims=tensors.FORECAST_DIMS)
            yield _give_back(fc, piece, start, plan).to_numpy()


def _graph_of_tiles(piece: xr.DataArray, positions: np.ndarray, plan: Plan) -> Any:
    """Dask data: a block of inits as a dask array, a task a tile.

    A block reads its frames by itself: were they tasks that the next block shares, a scheduler
    would be free to run one tile of all blocks first, and so to hold all their answers.
    """
    import dask

    (data,) = dask.optimize(piece.data)  # reading and slicing fuse into tasks of the block's own
    piece = piece.copy(data=data)
    leading = len(positions), plan.lead
    fc = blend_lazily(piece, plan.tiles, _run_tile, (positions, plan), leading)
    fc = xr.DataArray(fc, dims=tensors.FORECAST_DIMS)
    return _give_back(fc, piece, positions, plan).data


def _run(da: xr.DataArray, positions: np.ndarray, plan: Plan) -> np.ndarray:
    """One task: a block of inits from the user's prepared data (time, y, x) to values."""
    fc = _predict(admission.enter(da, plan.pack.card), positions, plan)
    return _give_back(fc, da, positions, plan).to_numpy()


def _run_tile(
    da: xr.DataArray, positions: np.ndarray, plan: Plan, bar: tqdm | None = None
) -> np.ndarray:
    """One task: a block of inits of one tile, to values (init, lead, y, x) in the card's units."""
    values = _predict(admission.enter(da, plan.pack.card), positions, plan).to_numpy()
    if bar is not None:
        bar.update()
    return values


def _predict(x: xr.DataArray, positions: np.ndarray, plan: Plan) -> xr.DataArray:
    """Through the model: a forecast (init, lead, y, x) on the model's grid, in the card's units."""
    card = plan.pack.card
    windowed = windows.cut(x, card.context, positions)
    model = engine.load(plan.pack, plan.settings)
    if plan.ensemble is not None:
        return card.scale.undo(_sample(model, windowed, x["time"].values[positions], plan))
    blank = None
    if card.land is not None:
        blank = torch.where(torch.from_numpy(card.land), card.scale.apply(card.fill), torch.nan)
        blank = blank.unsqueeze(-1)
    y = engine.predict(model, tensors.to_tensor(windowed), plan.lead, plan.settings, blank)
    fc = card.scale.undo(tensors.to_labeled(y, windowed))
    if card.land is not None:
        fc = fc.where(~xr.DataArray(card.land, dims=("y", "x")))
    return fc


def _sample(model: Any, windowed: xr.DataArray, inits: np.ndarray, plan: Plan) -> xr.DataArray:
    """A scaled forecast (init, lead, member, y, x)."""
    names = {"y": str(plan.origin.axes.y), "x": str(plan.origin.axes.x)}
    y = engine.sample(
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
    return tensors.to_labeled(y, windowed)


def _give_back(
    fc: xr.DataArray, da: xr.DataArray, positions: np.ndarray, plan: Plan
) -> xr.DataArray:
    """The way back: (init, lead, *the user's spatial dims), NaN where the last frame is."""
    if isinstance(plan.pack.card.grid, LatLonGrid):
        fc = regrid.to_user(fc, da["y"], da["x"])
    last = da.isel(time=positions).rename(time="init").drop_vars("init")
    if fc.chunks is not None:
        last = last.chunk({dim: fc.chunksizes[dim] for dim in last.dims})
    return cf.restore(fc.where(last.notnull()), plan.origin)


def _tiles(da: xr.DataArray, origin: cf.Origin, card: Card) -> Tiles | None:
    """How a domain larger than a model of pixels is cut; None where it goes through whole."""
    whole = engine.samples(card) or not isinstance(card.grid, PixelGrid)
    if whole or card.grid.larger == "whole":
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
    if chunks == "auto":
        batch = plan.settings.batch_size
        frame = da.sizes["y"] * da.sizes["x"] * np.dtype(np.float32).itemsize
        members = plan.ensemble.members if plan.ensemble else 1
        return max(1, BLOCK_BYTES // (frame * (1 + plan.lead * members) * batch)) * batch
    if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
        raise mismatch("chunks as a whole number of inits from 1", f"{chunks!r}", 'chunks="auto"')
    return chunks


def _lead_steps(lead: Any, step: str | np.timedelta64, card: Card) -> int:
    if lead is None:
        return card.lead
    if isinstance(lead, (int, np.integer)) and not isinstance(lead, bool):
        steps = float(lead)
    elif step == "month":
        steps = 0.0
    else:
        steps = pd.Timedelta(lead) / pd.Timedelta(step)
    if steps < 1 or steps != int(steps):
        unit = "months" if step == "month" else f"time steps of {pd.Timedelta(step)}"
        raise mismatch(f"lead as a whole number of {unit}, from 1", repr(lead), f"lead={card.lead}")
    return int(steps)


def _attributes(da: xr.DataArray, inits: windows.Inits, plan: Plan) -> dict[str, str | int]:
    """What was done, in words, for the answer's attributes."""
    card = plan.pack.card
    said = [f"forecast by pack {card.name} {card.version}"]
    if inits.dropped:
        said.append(inits.dropped)
    if plan.ensemble is not None:
        said.append(str(plan.ensemble))
    if plan.settings.precision != "float32":
        said.append(f"in {plan.settings.precision}")
    if plan.tiles is not None:
        said.append(f"{plan.tiles}, blended")
    if isinstance(card.grid, LatLonGrid):
        regridded = regrid.describe(da, card.grid.latitude, card.grid.longitude)
        said += [regridded] if regridded else []
        if card.land is not None:
            said.append(f"land read as {card.fill:g} {card.input.units}, answered as NaN")
    if isinstance(card.grid, PixelGrid) and card.missing == "allowed":
        said.append("missing pixels read as not seen, answered as NaN where the last frame is")
    attrs = {}
    if plan.lead > card.lead:
        attrs["rollout"] = f"leads {card.lead + 1} to {plan.lead} from the model's own output"
        attrs["rollout"] += ", tile by tile" if plan.tiles else ""
        said.append(attrs["rollout"])
    line = f"xearthformer {__version__}: " + "; ".join(said)
    before = str(plan.origin.attrs.get("history", ""))
    return {
        "history": f"{before}\n{line}".strip(),
        "pack": card.name,
        "pack_version": card.version,
        "pack_weights_sha256": str(card.weights_sha256),
        **({"seed": plan.ensemble.seed} if plan.ensemble else {}),
        **attrs,
    }
