"""One task of a forecast: a block of inits through the model, from prepared data and back.

`forecast` lays the tasks out; each reads its plan, opens the pack and computes numbers alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

from ..errors import said_once, warn
from ..fields import cf, regrid, windows
from ..fields.quantities import KNOWN
from ..fields.tiles import Tiles
from ..fields.time_axis import Step, calendar_months, str_time
from ..models.state import defaults
from ..packs.card import Card, LatLonGrid, Variable
from ..packs.pack import Pack
from ..packs.scale import Scale
from . import engine, ensemble, gaps, inputs, tensors
from .allocator import kept_memory
from .options import Beyond

UNKNOWN = 0.5  # with beyond="nan" a value of which less is known is NaN


@dataclass(frozen=True)
class Plan:
    """What each task needs next to its data. It holds no weights: workers open the pack."""

    pack: Pack
    lead: int
    step: Step
    variables: Mapping[str, Variable]  # the card's inputs, or what stands in for them
    origins: Mapping[str, cf.Origin]  # of each input
    settings: engine.Settings
    tiles: Tiles | None  # None: the data goes through the model whole
    ensemble: ensemble.Ensemble | None  # None: a single forecast
    beyond: Beyond | None  # what stands where nothing is known; None: not a nowcast
    said: set[str] = field(default_factory=set, compare=False)  # what has been warned of


def run(pieces: list[xr.DataArray], ends: np.ndarray, plan: Plan) -> tuple[np.ndarray, ...]:
    """One task: a block of inits, from prepared data (time, y, x) to the user's grid."""
    forecasts = _predict(pieces, ends, plan)
    own = dict(zip(plan.variables, pieces, strict=True))
    known = forecasts.pop(KNOWN, None)
    if known is not None and plan.beyond == "nan":
        forecasts = {name: fc.where(known >= UNKNOWN) for name, fc in forecasts.items()}
    if known is not None:
        name = plan.pack.card.outputs[0]
        forecasts, own = {**forecasts, KNOWN: known}, {**own, KNOWN: own[name]}
    return tuple(
        give_back(fc, own[name], ends, name, plan).to_numpy() for name, fc in forecasts.items()
    )


def run_tile(stacked: xr.DataArray, ends: np.ndarray, plan: Plan) -> np.ndarray:
    """One task: a block of inits of one tile, to (output, init, lead, y, x) in the card's units."""
    inputs_count = len(plan.variables)
    frames = stacked.sizes["time"] // inputs_count
    pieces = [stacked.isel(time=slice(i * frames, (i + 1) * frames)) for i in range(inputs_count)]
    return np.stack([fc.to_numpy() for fc in _predict(pieces, ends, plan).values()])


@kept_memory()
@defaults()  # not the user's: guidance needs gradients
def _predict(pieces: list[xr.DataArray], ends: np.ndarray, plan: Plan) -> dict[str, xr.DataArray]:
    """Through the model: forecasts (init, lead, y, x) on the model's grid, in the card's units.

    Of a nowcast also what is `known`.
    """
    card = plan.pack.card
    if plan.beyond is not None:
        gaps.check_seen(pieces[0], ends, card)
    windowed = {}
    for da, (name, variable) in zip(pieces, plan.variables.items(), strict=True):
        with said_once(plan.said):
            x = inputs.enter(da, name, variable, card)
        windowed[name] = windows.cut_windows(x, card.context, ends)
    x_BTHWC = tensors.to_tensor([*windowed.values()], engine.is_exact(card))
    if plan.beyond is None and plan.tiles is None:  # nowcasts warn of every such frame
        _warn_of_empty(x_BTHWC, pieces[0]["time"].values[ends], card)
    # from here on their labels alone are needed: values are let go
    windowed = {name: one.isel(init=0, time=0, drop=True).copy() for name, one in windowed.items()}
    del x
    model = engine.load(plan.pack, plan.settings)
    land = {name: card.land(name) for name in card.outputs}
    known_BLHW = None
    if plan.ensemble is not None and plan.ensemble.sampling is not None:
        y_BTHWC, known_BLHW = _sample(
            model, x_BTHWC, windowed[card.outputs[0]], pieces[0], ends, plan
        )
    else:
        time = pieces[0]["time"]
        steps = np.arange(1 - card.context, _frames_needed(card, plan.lead) + 1)
        months = calendar_months(time, plan.step, ends, steps) if card.known else steps[None]
        known = tensors.known_channels(card, months)
        fill_value = _fill_value(land, plan) if any(m is not None for m in land.values()) else None
        further, drawn = (plan.lead, plan.settings), plan.ensemble
        stamps = [str_time(init) for init in time.values[ends]]
        if plan.beyond is not None and drawn is not None:
            y_BTHWC, known_BLHW = ensemble.draw_nowcasts(model, x_BTHWC, stamps, *further, drawn)
        elif plan.beyond is not None:
            y_BTHWC, known_BLHW = engine.nowcast(model, x_BTHWC, *further)
        elif drawn is not None:
            y_BTHWC = ensemble.draw(model, x_BTHWC, stamps, *further, drawn, fill_value, known)
        else:
            y_BTHWC = engine.predict(model, x_BTHWC, *further, fill_value, known)
    engine.check_finite(model, x_BTHWC, y_BTHWC, plan.pack)
    del x_BTHWC
    forecasts = {}
    for channel, name in enumerate(card.outputs):
        fc = tensors.to_labeled(y_BTHWC, windowed[name], channel)
        fc, mask = _undone(fc, plan.variables[name].scale), land[name]
        forecasts[name] = fc if mask is None else fc.where(~xr.DataArray(mask, dims=("y", "x")))
    if known_BLHW is not None:
        forecasts[KNOWN] = tensors.to_labeled(known_BLHW[..., None], windowed[card.outputs[0]])
    return forecasts


def _warn_of_empty(x_BTHWC: torch.Tensor, inits: np.ndarray, card: Card) -> None:
    """Warn of inits whose last frame holds no value at all, by packs that take missing values."""
    empty_B = torch.isnan(x_BTHWC[:, -1]).flatten(1).all(dim=1).numpy()
    if empty_B.any():
        more = f" and {empty_B.sum() - 1} more" if empty_B.sum() > 1 else ""
        warn(f"no value in the last frame, of {str_time(inits[empty_B][0])}{more} ({card.name!r})")


def _undone(fc: xr.DataArray, scale: Scale) -> xr.DataArray:
    """A forecast in the card's units; lead by lead, as the steps between take memory."""
    for lead in range(fc.sizes["lead"]):
        fc[:, lead] = scale.undo(fc[:, lead])
    return fc


def _frames_needed(card: Card, lead: int) -> int:
    """Number of frames after the context that a forecast's last pass may look at the labels of."""
    return -(-lead // card.lead) * card.lead


def _fill_value(land: Mapping[str, np.ndarray | None], plan: Plan) -> torch.Tensor:
    """The scaled value of land (H, W, C), NaN on sea, for each output."""
    assert plan.pack.card.grid is not None
    channels = []
    for name, mask in land.items():
        variable = plan.variables[name]
        mask = np.zeros(plan.pack.card.grid.shape, bool) if mask is None else mask
        fill_value = variable.scale.apply(variable.fill)
        channels.append(torch.where(torch.from_numpy(mask), fill_value, torch.nan))
    return torch.stack(channels, dim=-1)


def _sample(
    model: torch.nn.Module,
    x_BTHWC: torch.Tensor,
    windowed: xr.DataArray,
    da: xr.DataArray,
    ends: np.ndarray,
    plan: Plan,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A scaled ensemble (B, T, members, H, W, C), and of a nowcast what is known."""
    axes = next(iter(plan.origins.values())).axes
    names = {"y": str(axes.y), "x": str(axes.x)}
    return ensemble.sample(
        model,
        x_BTHWC,
        [str_time(init) for init in da["time"].values[ends]],
        plan.lead,
        plan.settings,
        plan.ensemble,
        plan.pack.card,
        (names["y"], names["x"]),
        {names[dim]: windowed[dim].values for dim in names if dim in windowed.coords},
    )


def give_back(
    fc: xr.DataArray, da: xr.DataArray, ends: np.ndarray, name: str, plan: Plan
) -> xr.DataArray:
    """The way back: (init, lead, *the user's spatial dims), NaN where the last frame is.

    Of a nowcast, which closes gaps, NaN where no frame of the context has a value.
    """
    if isinstance(plan.pack.card.grid, LatLonGrid):
        fc = regrid.to_user(fc, da["y"], da["x"])
    if plan.beyond is None:
        has_value = da.isel(time=ends).rename(time="init").drop_vars("init").notnull()
    else:
        context = plan.pack.card.context
        each = [da[end - context + 1 : end + 1].notnull().any("time") for end in ends]
        has_value = xr.concat(each, "init", coords="minimal", compat="override")
    if fc.chunks is not None:
        has_value = has_value.chunk({dim: fc.chunksizes[dim] for dim in has_value.dims})
    origin = plan.origins[plan.pack.card.outputs[0] if name == KNOWN else name]
    if name == KNOWN:  # a share, whatever the units of the rain
        origin = replace(origin, model_units=None, dtype=np.dtype(np.float32), attrs={})
    if fc.chunks is None and bool(has_value.all()):
        return cf.restore(fc, origin)  # no copy of what is large
    return cf.restore(fc.where(has_value), origin)
