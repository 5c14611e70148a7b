"""Pictures of nowcasts: frames beside what was observed, and scores by lead.

This file draws what it is given and computes nothing; matplotlib is imported when it is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, is_degrees
from ..verification.verify import quantity
from . import coastlines
from .maps import COLOURS, UNITS, at_valid_times, eastward, new_figure, pick, variable_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

COLUMNS = 6  # frames of a row, where no leads are named
WIDTH = 1.9  # inches of a frame
UNCOVERED, DRY = "0.82", "white"
MAP = "magma_r"  # lightness falls evenly, for every kind of colour vision
SHADES = 0.05, 0.97  # the part of it that is used


# Edges of the colour classes; below the first nothing is drawn. SEVIR's own, and those of rain.
LEVELS: dict[str | None, tuple[float, ...]] = {
    "vil": (16, 31, 59, 74, 100, 133, 160, 181, 219, 255),
    "rain": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
}
# A colour a class where radar pictures have long had theirs: greens, yellows, reds, and purple for
# the heaviest. Other variables are drawn in shades of MAP.
TABLES: dict[str | None, tuple[str, ...]] = {
    "vil": (
        *("#b5e2ab", "#5cb85a", "#237a38"),
        *("#fbee58", "#f6bd2c", "#ee8420"),
        *("#dd3b2b", "#9b1420", "#b13bd0"),
    ),
}
MARKERS = "o", "s", "^", "D", "v"
CLASSES = 9  # at most, of any other variable


def frames(
    forecasts: xr.DataArray | Mapping[str, xr.DataArray],
    observed: xr.DataArray | None = None,
    *,
    init: Any = None,
    lead: Any = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw forecasts frame by frame, a column a lead, under what was observed before and then.

    Parameters
    ----------
    forecasts : DataArray ([init,] lead, y, x), or mapping of names to these
        A row each, of one variable and the same leads. Of several inits the one named by `init` is
        drawn.
    observed : DataArray (time, y, x), optional
        On the forecasts' pixels, in their units. Two rows: the frames up to the init, as far apart
        as the leads drawn, and those forecast.
    init : label, optional
        None: the last.
    lead : list of durations such as "30min", optional
        None: six, evenly up to the last.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw; a new one when not given.

    Returns
    -------
    Figure or SubFigure
        As given; a new Figure when none was. VIL in 0..255 has SEVIR's levels and the colours of a
        weather radar, rain rate in mm h-1 the levels of a radar picture; what isn't covered is
        grey. y runs upward.

    Raises
    ------
    KeyError
        An init or a lead that isn't there.
    ValueError
        Other dims; leads that aren't durations.
    """
    if isinstance(forecasts, xr.DataArray):
        forecasts = {str(forecasts.attrs.get("pack", "forecast")): forecasts}
    picked = {name: _at(fc, init, lead) for name, fc in forecasts.items()}
    first = next(iter(picked.values()))
    y, x = find_grid(first)
    rows = {**_observed(observed, first, y, x), **picked}
    if figure is None:
        figure = new_figure(_size(first, y, x, len(rows)), "compressed")
    axes = figure.subplots(len(rows), first.sizes["lead"], squeeze=False)
    colours = classes(list(rows.values()))
    titled = "before", "observed" if "observed" in rows else next(iter(picked))
    for row, (name, da) in zip(axes, rows.items(), strict=True):
        image = _row(row, da.transpose("lead", y, x), colours, name in titled)
        row[0].set_ylabel(name)
    coastlines.draw([ax for ax in axes.flat if ax.images], first, y, x)
    edges = colours["norm"].boundaries
    under = {"location": "bottom", "shrink": min(1.0, 3.5 / axes.shape[1]), "pad": 0.03}
    extend = "max" if quantity(first) == "rain" else "neither"
    bar = figure.colorbar(image, ax=axes, ticks=edges, aspect=40, extend=extend, **under)
    bar.ax.set_xticklabels([f"{edge:g}" for edge in edges])
    bar.set_label(variable_label(first))
    start = pd.Timestamp(first["init"].values)
    figure.suptitle(f"forecast from {start:%Y-%m-%d %H:%M}", fontsize="large")
    return figure


def by_lead(
    scores: xr.Dataset | Mapping[str, xr.Dataset],
    name: str = "csi",
    *,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw a score against lead time, a line a forecast, a panel a threshold.

    Parameters
    ----------
    scores : Dataset, or mapping of names to Datasets
        As `xearthformer.verify` gives them, with dim lead; or one with the dim `forecast` besides.
    name : str
        Which score.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw, of layout "constrained", which makes room for the legend; a new one when not
        given.

    Returns
    -------
    Figure or SubFigure
        As given; a new Figure when none was.

    Raises
    ------
    ValueError
        A score that isn't there; other dims.

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
    thresholds = first["threshold"].values if "threshold" in first.dims else [None]
    columns = min(len(thresholds), 3)
    rows = -(-len(thresholds) // columns)
    if figure is None:
        figure = new_figure((2.8 * columns + 1.6, 2.4 * rows + 0.4), "constrained")
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(thresholds) :]:
        ax.set_visible(False)
    for ax, threshold in zip(axes.flat, thresholds, strict=False):
        for i, (label, da) in enumerate(lines.items()):
            da = da if threshold is None else da.sel(threshold=threshold)
            ax.plot(_leads(da)[0], da.values, label=label, **_style(i))
        if threshold is not None:
            ax.set_title(_from(threshold, first["threshold"]), fontsize="medium")
        ax.grid(color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    if all((da.fillna(0) >= 0).all() for da in lines.values()):
        axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 3, 6, 10]))
    for ax in axes.flat[len(thresholds) - columns : len(thresholds)]:
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(f"lead ({_leads(first)[1]})")
    for ax in axes[:, 0]:
        ax.set_ylabel(textwrap.fill(variable_label(first), 32))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


# --- frames


def _at(forecast: xr.DataArray, init: Any, lead: Any) -> xr.DataArray:
    """One init, in memory, at the leads that are drawn; rows northward, columns eastward."""
    if "lead" not in forecast.dims or forecast["lead"].dtype.kind != "m":
        raise mismatch(
            "a nowcast, its leads durations",
            f"dims {forecast.dims}" + (", leads in months" if "lead" in forecast.dims else ""),
            "fc.earthformer.plot.field(...)",
        )
    if lead is None:
        n = forecast.sizes["lead"]
        columns = min(n, COLUMNS)
        every = (np.arange(1, columns + 1) * n / columns).round().astype(int) - 1
        lead = forecast["lead"].values[every]
    leads = np.atleast_1d(lead)
    if leads.dtype.kind in "iuf":
        raise mismatch("leads as durations", repr(lead), 'lead=["30min", "60min"]')
    forecast = pick(forecast, init, pd.to_timedelta(leads).values).compute()
    y, x = find_grid(forecast)
    forecast = eastward(forecast, x)
    return forecast.sortby([dim for dim in (y, x) if dim in forecast.coords])


def _observed(
    observed: xr.DataArray | None, forecast: xr.DataArray, y: str, x: str
) -> dict[str, xr.DataArray]:
    """The rows of observations: before the init, as far apart as the leads; at the valid times."""
    if observed is None:
        return {}
    leads = forecast["lead"].values
    step = leads[1] - leads[0] if leads.size > 1 else leads[0]
    past = step * np.arange(1 - leads.size, 1)
    times = forecast["init"].values + past
    earlier = forecast.assign_coords(lead=past, valid_time=("lead", times))
    rows = {
        name: at_valid_times(observed, like, y, x).assign_coords(
            lead=like["lead"], valid_time=like["valid_time"]
        )
        for name, like in (("before", earlier), ("observed", forecast))
    }
    seen = rows["before"].notnull().any([y, x]).values
    if not seen.any():
        return {"observed": rows["observed"]}
    return {**rows, "before": rows["before"].isel(lead=slice(int(seen.argmax()), None))}


def _row(axes: np.ndarray, da: xr.DataArray, colours: dict[str, Any], titled: bool) -> Any:
    """The frames of a row, the last one at its right end; dims (lead, y, x)."""
    _, y, x = (str(dim) for dim in da.dims)
    for ax in axes[: axes.size - da.sizes["lead"]]:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    fine = bool((da["lead"].values % np.timedelta64(60, "s")).astype(int).any())
    for ax, frame in zip(axes[axes.size - da.sizes["lead"] :], da, strict=True):
        image = picture(ax, frame, y, x, colours)
        if titled:
            ax.set_title(when(frame, fine), fontsize=9)
    return image


def picture(ax: Any, frame: xr.DataArray, y: str, x: str, colours: dict[str, Any]) -> Any:
    """One frame (y, x), rows northward; grey where there is no value."""
    ax.set_facecolor(UNCOVERED)
    image = ax.imshow(frame.values, extent=_extent(frame, y, x), origin="lower", **colours)
    ax.set_aspect(aspect(frame, y))
    ax.set(xticks=[], yticks=[])
    if not bool(frame.notnull().any()):
        ax.text(0.5, 0.5, "no observation", transform=ax.transAxes, ha="center", va="center")
    return image


def when(frame: xr.DataArray, fine: bool) -> str:
    """How long after the init a frame is, and the time of day; in minutes or (fine) seconds."""
    seconds = frame["lead"].values / np.timedelta64(1, "s")
    sign = "+" if seconds > 0 else "\N{MINUS SIGN}" if seconds < 0 else ""
    size, units, clock = (1, "s", "%H:%M:%S") if fine else (60, "min", "%H:%M")
    when = pd.Timestamp(frame["valid_time"].values)
    return f"{sign}{abs(seconds) / size:g} {units}, {when:{clock}}"


def _size(da: xr.DataArray, y: str, x: str, rows: int) -> tuple[float, float]:
    """Width and height, in inches, of a figure of frames, their titles and a colour bar."""
    columns = da.sizes["lead"]
    width = max(WIDTH, 5.0 / columns)
    height = width * aspect(da, y) * da.sizes[y] / da.sizes[x]
    return columns * width + 0.4, rows * height + 1.7


def _extent(da: xr.DataArray, y: str, x: str) -> tuple[float, ...]:
    """Left, right, bottom and top, at the rims of the outer pixels."""
    ends: list[float] = []
    for dim in (x, y):
        values = da[dim].values if dim in da.coords else np.arange(da.sizes[dim])
        half = (values[-1] - values[0]) / max(1, values.size - 1) / 2
        ends += [float(values[0] - half), float(values[-1] + half)]
    return tuple(ends)


def aspect(da: xr.DataArray, y: str) -> float:
    """How much longer a step along y is drawn than one along x: degrees shrink to the north."""
    if y in da.coords and is_degrees(da[y]):
        return float(1 / np.cos(np.radians(da[y].values.mean())))
    return 1.0


def classes(rows: list[xr.DataArray]) -> dict[str, Any]:
    """Colour map and norm that all frames share."""
    import matplotlib as mpl
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.ticker import MaxNLocator

    kind = quantity(rows[-1])
    edges = LEVELS.get(kind)
    if edges is None:
        values = np.concatenate([da.values[np.isfinite(da.values)] for da in rows])
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        edges = tuple(MaxNLocator(CLASSES).tick_values(low, high))
    shades = TABLES.get(kind, mpl.colormaps[MAP](np.linspace(*SHADES, len(edges) - 1)))
    colours = ListedColormap(shades, under=DRY, over=shades[-1])
    norm = BoundaryNorm(edges, colours.N)
    return {"cmap": colours, "norm": norm, "interpolation": "nearest"}


# --- scores


def _lines(scores: xr.Dataset | Mapping[str, xr.Dataset], name: str) -> dict[str, xr.DataArray]:
    """The score of each forecast, in memory, with the dims lead and perhaps threshold."""
    if isinstance(scores, xr.Dataset):
        if "forecast" in scores.dims:
            each = scores["forecast"].values
            scores = {str(label): scores.sel(forecast=label) for label in each}
        else:
            scores = {"forecast": scores}
    for label, ds in scores.items():
        found = ds[name].dims if name in ds else ()
        if "lead" not in found or set(found) - {"lead", "threshold"}:
            have = ", ".join(str(key) for key, da in ds.items() if "lead" in da.dims)
            strange = [dim for dim in found if dim not in ("lead", "threshold")]
            raise mismatch(
                f"{name} by lead of {label}, dims (lead[, threshold])",
                f"dims {found}" if found else f"scores {have}",
                f"the forecast's isel({strange[0]}=0)"
                if strange
                else f'xef.verify(fc, obs, scores=["{name}"])',
            )
    return {label: ds[name].compute() for label, ds in scores.items()}


def _style(i: int) -> dict[str, Any]:
    """The look of the i-th line; markers tell apart what colours can't."""
    look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
    return {"linewidth": 1.6, "markersize": 4, "clip_on": False, "zorder": 3, **look}


def _leads(da: xr.DataArray) -> tuple[np.ndarray, str]:
    """Lead times as numbers, and their units."""
    lead = da["lead"]
    if lead.dtype.kind == "m":
        return lead.values / np.timedelta64(60, "s"), "min"
    return lead.values, str(lead.attrs.get("units", "steps"))


def _from(threshold: float, coord: xr.DataArray) -> str:
    """A panel's title.

    >>> _from(0.5, xr.DataArray(0, attrs={"units": "mm h-1"})), _from(74.0, xr.DataArray(0))
    ('from 0.5 mm/h', 'from 74')
    """
    units = str(coord.attrs.get("units", ""))
    return f"from {threshold:g} {UNITS.get(units, units)}".strip()
