"""A forecast: the page to read first.

The way in and the way out mirror each other, and the model stands in the middle:

    cf.prepare · grid.to_model · scale.apply · windows.cut · tensors.to_tensor
                              engine.predict
    cf.restore · grid.to_user · scale.undo · (template)    · tensors.to_labeled

In-memory data is forecast at once; dask data gives the same answer as a graph, one task a block
of inits.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr

from . import __version__, cf, engine, grid, tensors, windows
from .cards import Card, LatLonGrid, PixelGrid
from .errors import mismatch
from .packs import Pack, open_pack

XarrayObject = TypeVar("XarrayObject", xr.Dataset, xr.DataArray)

INITS_PER_BLOCK = 32


@dataclass(frozen=True)
class Plan:
    """What a block of inits needs beside its data. It holds no weights: a worker opens the pack."""

    pack: Pack
    lead: int
    origin: cf.Origin
    settings: engine.Settings

    @property
    def card(self) -> Card:
        return self.pack.card

    @property
    def land(self) -> np.ndarray | None:
        return self.card.grid.is_land if isinstance(self.card.grid, LatLonGrid) else None


def forecast(
    data: XarrayObject,
    pack: str | Pack,
    *,
    init: windows.InitLike = None,
    lead: int | str | np.timedelta64 | None = None,
    device: str = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> XarrayObject:
    """Forecast labelled data with a pack.

    Parameters
    ----------
    data : DataArray or Dataset
        Dims time, y and x in any order and by any name that CF conventions or common use tell. Of a
        Dataset, the one variable that the pack's card asks for.
    pack : str or Pack
        A pack, or anything `open_pack` opens.
    init : None, label, slice or list of labels
        Last time step that a forecast may see. None: the latest. A slice: every time in it that
        has the history the pack needs.
    lead : int, or a duration such as "60min"
        Time steps to forecast. None: the pack's reach. Beyond it the model reads its own output, and
        the attribute `rollout` says from where on.
    device : str
        "auto" takes a GPU when there is one.
    batch_size : int or "auto"
        Windows that run through the model together.

    Returns
    -------
    DataArray or Dataset, as given
        Dims init, lead, then the user's own spatial dims; coordinates `init`, `lead`,
        `valid_time` and the user's own; the user's units, dtype and attributes, and `history`,
        `pack`, `pack_version` and `pack_weights_sha256`. NaN where the last frame is NaN, and
        outside the pack's grid. Lazy when `data` is lazy.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed, for whatever the pack can't serve: units, missing axes, an
        irregular time axis, too short a history, missing values, a domain without the pack's grid.
        With dask data, what depends on values is raised by the computation.
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
    da = _variable(data, card)
    axes = cf.find_axes(da)
    step = cf.check_time(da[axes.time])
    _check_step(step, card)
    lead = _lead_steps(lead, step, card)
    prepared, origin = cf.prepare(
        da,
        units=card.input.units,
        difference=card.input.difference,
        standard_name=card.input.standard_name,
        latlon=isinstance(card.grid, LatLonGrid),
    )
    _check_grid(prepared, card)
    inits = windows.find_inits(prepared["time"], card.history, init)
    empty = windows.template(da, prepared["time"], inits.positions, lead, axes)
    shape = prepared.sizes["y"], prepared.sizes["x"]
    shape = card.grid.shape if card.grid else shape
    plan = Plan(pack, lead, origin, engine.settings(pack, shape, device, batch_size))
    answer = empty.copy(data=_values(prepared, inits.positions, plan, empty))
    answer.attrs = {**da.attrs, **_attributes(prepared, inits, plan)}
    if isinstance(data, xr.Dataset):
        return answer.to_dataset(name=da.name).assign_attrs(data.attrs)
    return answer


def _values(da: xr.DataArray, positions: np.ndarray, plan: Plan, empty: xr.DataArray) -> Any:
    """The numbers of the forecast, block by block: a dask array when `da` is one, else numpy's."""
    history = plan.card.history
    pieces, starts = [], []
    for block in windows.blocks(positions, history, INITS_PER_BLOCK):
        first = positions[block][0] - history + 1
        pieces.append(da.isel(time=slice(first, positions[block][-1] + 1)))
        starts.append(positions[block] - first)
    if da.chunks is None:
        inputs = [_enter(piece, plan) for piece in pieces]
        blocks = [_run(*args, plan) for args in zip(inputs, pieces, starts, strict=True)]
        return np.concatenate(blocks)
    import dask
    import dask.array

    run = dask.delayed(_enter_and_run, pure=False)
    tasks = [
        dask.array.from_delayed(
            run(piece, start, plan), shape=(len(start), *empty.shape[1:]), dtype=empty.dtype
        )
        for piece, start in zip(pieces, starts, strict=True)
    ]
    return dask.array.concatenate(tasks)


def _enter_and_run(da: xr.DataArray, positions: np.ndarray, plan: Plan) -> np.ndarray:
    """One task: a block of inits from the user's prepared data (time, y, x) to values."""
    return _run(_enter(da, plan), da, positions, plan)


def _enter(da: xr.DataArray, plan: Plan) -> xr.DataArray:
    """Prepared data in the model's terms: on its grid, checked, land filled, scaled."""
    card = plan.card
    if isinstance(card.grid, LatLonGrid):
        da = grid.to_model(da, card.grid.latitude, card.grid.longitude)
    if card.missing == "land":
        land = xr.DataArray(plan.land, dims=("y", "x"))
        _check_values(da.where(~land, card.fill), card)
        da = da.where(~land, card.fill)
    else:
        _check_values(da, card)
    return plan.card.scale.apply(da)


def _run(x: xr.DataArray, da: xr.DataArray, positions: np.ndarray, plan: Plan) -> np.ndarray:
    """Through the model and back: values with dims (init, lead, *the user's spatial dims)."""
    cut = windows.cut(x, plan.card.history, positions)
    model = engine.load(plan.pack, plan.settings.device)
    blank = None
    if plan.land is not None:
        fill = plan.card.scale.apply(plan.card.fill)
        blank = torch.from_numpy(np.where(plan.land, fill, np.nan)).float().unsqueeze(-1)
    y = engine.predict(model, tensors.to_tensor(cut), plan.lead, plan.settings, blank)
    fc = plan.card.scale.undo(tensors.to_labeled(y, cut))
    if plan.land is not None:
        fc = fc.where(~xr.DataArray(plan.land, dims=("y", "x")))
    if isinstance(plan.card.grid, LatLonGrid):
        fc = grid.to_user(fc, da["y"], da["x"])
    last = da.isel(time=positions).rename(time="init").drop_vars("init")
    return cf.restore(fc.where(last.notnull()), plan.origin).to_numpy()


def _variable(data: xr.Dataset | xr.DataArray, card: Card) -> xr.DataArray:
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        found = type(data).__name__
        raise TypeError(f"expected an xarray DataArray or Dataset\n   found {found}")
    name = cf.find_variable(
        data, standard_name=card.input.standard_name, difference=card.input.difference
    )
    return data[name]


def _check_step(step: str | np.timedelta64, card: Card) -> None:
    if card.step is not None and step != card.step:
        found = step if step == "month" else pd.Timedelta(step)
        frequency = "MS" if card.step == "month" else card.time_step
        raise mismatch(
            f"a time step of {card.time_step} (pack {card.name!r})",
            f"one of {found}",
            f'da.resample(time="{frequency}").mean()',
        )


def _check_grid(da: xr.DataArray, card: Card) -> None:
    if isinstance(card.grid, LatLonGrid):
        grid.check_contains(da, card.grid.latitude, card.grid.longitude)
    elif isinstance(card.grid, PixelGrid):
        found = da.sizes["y"], da.sizes["x"]
        if found != card.grid.shape:
            height, width = card.grid.shape
            raise mismatch(
                f"{height} x {width} pixels, y by x (pack {card.name!r})",
                f"{found[0]} x {found[1]}",
                f"da.isel(y=slice({height}), x=slice({width})), by your own dims' names",
            )
        for dim in ("y", "x"):
            spacing = cf.spacing_in_metres(da, dim)
            if card.grid.spacing and spacing and abs(spacing / card.grid.spacing - 1) > 0.01:
                raise mismatch(
                    f"pixels of {card.grid.spacing:g} m (pack {card.name!r})",
                    f"{spacing:g} m along {dim}",
                    "da.coarsen(...).mean() or da.interp(...) onto that spacing",
                )


def _check_values(da: xr.DataArray, card: Card) -> None:
    """NaN and infinity, and values that can't be of the card's quantity."""
    values = da.to_numpy()
    if card.missing != "allowed":
        bad = ~np.isfinite(values)
        if bad.any():
            places = zip(da.dims, bad.nonzero(), strict=True)
            where = {dim: da[dim].values[i[0]] for dim, i in places}
            allowed = "none missing but on land" if card.missing == "land" else "none missing"
            first = ", ".join(f"{dim} {value}" for dim, value in where.items())
            raise mismatch(
                f"finite values, {allowed} (pack {card.name!r})",
                f"{bad.sum()} of {bad.size} missing or infinite, the first at {first}",
                "da.interpolate_na(dim=...) or da.fillna(...)",
            )
    low, high = card.input.valid_min, card.input.valid_max
    for bound, worst, wrong in ((low, np.nanmin, np.less), (high, np.nanmax, np.greater)):
        if bound is not None and np.isfinite(values).any() and wrong(worst(values), bound):
            raise mismatch(
                f"values within [{low}, {high}] {card.input.units} (pack {card.name!r})",
                f"{worst(values):g} {card.input.units}, by the data's units attribute",
                "da.assign_attrs(units=...), with the units the values are in",
            )


def _lead_steps(lead: Any, step: str | np.timedelta64, card: Card) -> int:
    if lead is None:
        return card.reach
    if isinstance(lead, (int, np.integer)) and not isinstance(lead, bool):
        steps = float(lead)
    elif step == "month":
        steps = 0.0
    else:
        steps = pd.Timedelta(lead) / pd.Timedelta(step)
    if steps < 1 or steps != int(steps):
        unit = "months" if step == "month" else f"time steps of {pd.Timedelta(step)}"
        raise mismatch(
            f"lead as a whole number of {unit}, from 1", repr(lead), f"lead={card.reach}"
        )
    return int(steps)


def _attributes(da: xr.DataArray, inits: windows.Inits, plan: Plan) -> dict[str, str]:
    """What was done, in words, for the answer's attributes."""
    card = plan.card
    said = [f"forecast by pack {card.name} {card.version}"]
    if inits.dropped:
        said.append(inits.dropped)
    if isinstance(card.grid, LatLonGrid):
        regridded = grid.describe(da, card.grid.latitude, card.grid.longitude)
        said += [regridded] if regridded else []
        if plan.land is not None:
            said.append(f"land read as {card.fill:g} {card.input.units}, answered as NaN")
    attrs = {}
    if plan.lead > card.reach:
        attrs["rollout"] = f"leads {card.reach + 1} to {plan.lead} from the model's own output"
        said.append(attrs["rollout"])
    line = f"xearthformer {__version__}: " + "; ".join(said)
    before = str(plan.origin.attrs.get("history", ""))
    return {
        "history": f"{before}\n{line}".strip(),
        "pack": card.name,
        "pack_version": card.version,
        "pack_weights_sha256": str(card.weights_sha256),
        **attrs,
    }
