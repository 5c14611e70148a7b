"""Pictures of nowcasts: frames next to what was observed, and scores by lead."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import Data
from ..fields.forms import takes_any_form
from ..verification.align import pick_variable
from ..verification.verify import quantity
from . import panels

if TYPE_CHECKING:
    from ..fields.windows import InitLike

LEADS = 6  # drawn when none are named
WIDTH = 1.9  # inches of a frame
MARKERS = "o", "s", "^", "D", "v"  # tell lines apart where colours cannot
PANELS = 3  # thresholds per row


@takes_any_form
def frames(
    forecasts: Data | Mapping[str, Data],
    observed: Data | None = None,
    *,
    init: InitLike = None,
    lead: panels.LeadLike = None,
    figure: panels.Canvas | None = None,
) -> panels.Canvas:
    """Draw forecasts frame by frame, one column per lead, under what was observed before and then.

    VIL in 0..255 has SEVIR's levels and the colours of a weather radar, rain rate in mm h-1 the
    levels of a radar picture; pixels without a value are grey, those of which less than half stems
    from what was seen (the coordinate `known` of a nowcast) are hatched. y runs upward.

    Parameters
    ----------
    forecasts : DataArray or Dataset ([init,] lead, y, x), or mapping of names to these
        One row each, of one variable and the same leads.
    observed : DataArray or Dataset (time, y, x), optional
        Two rows: the frames up to the init, as far apart as the leads drawn, and those forecast.
    init, figure
        As in `maps.field`.
    lead : duration or list of durations such as "30min", optional
        Default: six, evenly up to the last.

    Raises
    ------
    KeyError, ValueError
        As `maps.field`; leads that are not durations.
    """
    if isinstance(forecasts, xr.Dataset | xr.DataArray):
        only = pick_variable(forecasts)
        forecasts = {str(only.attrs.get("pack", "forecast")): only}
    picked = {name: _select(pick_variable(fc), init, lead) for name, fc in forecasts.items()}
    first = next(iter(picked.values()))
    past = {} if observed is None else _observed(pick_variable(observed, first.name), first)
    rows = {**past, **picked}
    count = first.sizes["lead"]
    axes = panels.add_panels(figure, (len(rows), count), first, WIDTH, pixels=True)
    colours = panels.class_colours([*rows.values()])
    first_of_leads = "observed" if "observed" in past else next(iter(picked))
    titled = "before", first_of_leads  # further rows repeat the times
    for row, (name, da) in zip(axes, rows.items(), strict=True):
        left = count - da.sizes["lead"]  # a record that begins late: the last is at the right end
        for ax in row[:left]:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        titles = panels.frame_titles(da) if name in titled else [""] * count
        for ax, frame, title in zip(row[left:], da, titles, strict=False):
            image = panels.draw_frame(ax, frame, colours, pixels=True)
            ax.set_title(title, fontsize=9)
        row[0].set_ylabel(name)
    extend = "max" if quantity(first) == "rain" else "neither"  # the levels of VIL end at its 255
    title = f"forecast{panels.str_init(first)}"  # rows are labelled by the packs
    notes = [panels.unknown_note(da) for da in picked.values()]
    label = panels.variable_label(first) + max(notes, key=len)
    return panels.finish(axes, image, label, title, extend)


def by_lead(
    scores: xr.Dataset | Mapping[str, xr.Dataset],
    name: str = "csi",
    *,
    figure: panels.Canvas | None = None,
) -> panels.Canvas:
    """Draw a score against lead time, one line per forecast, one panel per threshold.

    Parameters
    ----------
    scores : Dataset, or mapping of names to Datasets
        As `xearthformer.verify` gives them, with dim lead; or one that has the dim `forecast` too.
        Scores of members are a line of their mean, in a band from the worst to the best.
    name : str
        The name of a score.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw, of layout "constrained", which makes room for the legend. Default: a new
        figure.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    ValueError
        A score that is missing; other dims.

    Examples
    --------
    >>> lead = ("lead", np.array([300, 600]).astype("m8[s]"))
    >>> coords = {"lead": lead, "threshold": [1.0]}
    >>> scores = xr.Dataset({"csi": (("lead", "threshold"), [[0.6], [0.5]])}, coords)
    >>> figure = by_lead({"persistence": scores})
    >>> figure.axes[0].get_xlabel(), figure.axes[0].lines[0].get_ydata().tolist()
    ('lead (min)', [0.6, 0.5])
    """
    lines = _lines(scores, name)
    first = next(iter(lines.values()))
    thresholds = list(first["threshold"]) if "threshold" in first.dims else [None]
    columns = min(len(thresholds), PANELS)
    rows = -(-len(thresholds) // columns)  # rounded up
    if figure is None:
        figure = panels.new_figure((2.8 * columns + 1.6, 2.4 * rows + 0.4))
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(thresholds) :]:
        ax.set_visible(False)
    for ax, threshold in zip(axes.flat, thresholds, strict=False):
        for i, (label, da) in enumerate(lines.items()):
            at = da if threshold is None else da.sel(threshold=threshold)
            colour = panels.COLOURS[i % len(panels.COLOURS)]
            if "member" in at.dims:
                label += f"\n(mean, range of {at.sizes['member']} members)"
                edges = at.min("member").values, at.max("member").values
                ax.fill_between(_leads(at)[0], *edges, color=colour, alpha=0.18, linewidth=0)
                at = at.mean("member")
            ax.plot(
                _leads(at)[0],
                at.values,
                label=label,
                color=colour,
                marker=MARKERS[i % len(MARKERS)],
                linewidth=1.6,
                markersize=4,
                clip_on=False,  # markers on the axis are drawn whole
                zorder=3,
            )
        if threshold is not None:
            title = f"from {threshold.item():g} {panels.short_units(threshold)}"
            ax.set_title(title.strip(), fontsize="medium")
        ax.grid(color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    if all((da.fillna(0) >= 0).all() for da in lines.values()):
        axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 3, 6, 10]))
    for ax in axes.flat[len(thresholds) - columns : len(thresholds)]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(f"lead ({_leads(first)[1]})")
    for ax in axes[:, 0]:
        ax.set_ylabel(textwrap.fill(panels.variable_label(first), 32))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def _select(forecast: xr.DataArray, init: InitLike, lead: panels.LeadLike) -> xr.DataArray:
    """Return the frames of a nowcast to draw (lead, y, x); by default six, evenly to the last."""
    if "lead" not in forecast.dims or not panels.has_durations(forecast):
        raise mismatch(
            "a nowcast, its leads durations",
            f"dims {forecast.dims}" + (", leads in months" if "lead" in forecast.dims else ""),
            "fc.earthformer.plot.field(...)",
        )
    if lead is None:
        every = forecast["lead"].values
        count = min(every.size, LEADS)
        lead = every[(np.arange(1, count + 1) * every.size / count).round().astype(int) - 1]
    return panels.select(forecast, init, lead)


def _observed(observed: xr.DataArray, forecast: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the rows of observations: up to the init, as far apart as the leads; from it on."""
    leads = forecast["lead"].values
    step = leads[1] - leads[0] if leads.size > 1 else leads[0]
    past = step * np.arange(1 - leads.size, 1)
    times = ("lead", forecast["init"].values + past)
    before = panels.observed_at(forecast.assign_coords(lead=past, valid_time=times), observed)
    rows = {"observed": panels.observed_at(forecast, observed)}
    seen = before.notnull().any(before.dims[1:]).values
    if not seen.any():
        return rows
    if not rows["observed"].notnull().any():
        rows = {}  # a forecast of what is still to come
    return {"before": before.isel(lead=slice(int(seen.argmax()), None)), **rows}


def _lines(scores: xr.Dataset | Mapping[str, xr.Dataset], name: str) -> dict[str, xr.DataArray]:
    """Return the score of each forecast (lead[, member][, threshold]), in memory."""
    if isinstance(scores, xr.Dataset):
        if "forecast" in scores.dims:
            each = scores["forecast"].values
            scores = {str(label): scores.sel(forecast=label) for label in each}
        else:
            scores = {"forecast": scores}
    for label, ds in scores.items():
        dims = ds[name].dims if name in ds else ()
        extra = [dim for dim in dims if dim not in ("lead", "member", "threshold")]
        if "lead" not in dims or extra:
            others = ", ".join(str(key) for key, da in ds.items() if "lead" in da.dims)
            raise mismatch(
                f"{name} by lead of {label}, dims (lead[, threshold])",
                f"dims {dims}" if dims else f"scores {others}",
                f"the forecast's isel({extra[0]}=0)"
                if extra
                else f'xef.verify(fc, obs, scores=["{name}"])',
            )
    return {label: ds[name].compute() for label, ds in scores.items()}


def _leads(da: xr.DataArray) -> tuple[np.ndarray, str]:
    """Return lead times as numbers, and their units."""
    lead = da["lead"]
    if lead.dtype.kind == "m":
        return lead.values / np.timedelta64(60, "s"), "min"
    return lead.values, str(lead.attrs.get("units", "steps"))
