"""Pictures of ensembles: members side by side, probabilities of an event, rank histograms.

Maps of leads that are durations look like those of `plot_nowcast`, all others like `plot.field`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid
from ..verification.probabilistic import exceedance as share
from . import coastlines, frames, maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLUMNS = 7  # stamps of a row
WIDTH, HEIGHT = 1.7, 1.15  # inches of a stamp or map, at least
# Edges of the classes of probability; below the first nothing is drawn.
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EVENT = "#00C2D1"  # the outline of an observed event, on white and on MAP's dark end
MAP = "magma_r"


def stamps(
    forecast: xr.DataArray,
    observed: xr.DataArray | None = None,
    *,
    init: Any = None,
    lead: Any = None,
    columns: int = COLUMNS,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw every member of one forecast at one lead, a stamp each, beside what was observed.

    Parameters
    ----------
    forecast : DataArray ([init,] [lead,] member, y, x)
        Of several inits the one named by `init` is drawn.
    observed : DataArray (time, y, x), optional
        On the forecast's grid, in its units; the first stamp.
    init : label, optional
        None: the last.
    lead : label, optional
        One, such as "30min"; None: the last.
    columns : int
        Stamps of a row.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw; a new one when not given.

    Returns
    -------
    Figure or SubFigure
        As given; a new Figure when none was.

    Raises
    ------
    KeyError
        An init or a lead that isn't there.
    ValueError
        No members; other dims; more than one lead.
    """
    _check_members(forecast)
    if lead is None and "lead" in forecast.dims:
        lead = forecast["lead"].values[-1]
    forecast, y, x = _prepared(forecast, init, lead, "member")
    if forecast.sizes["lead"] > 1:
        raise mismatch("one lead, for stamps", f"{forecast.sizes['lead']}", 'lead="30min"')
    every = {"observed": _observed(observed, forecast, y, x)} if observed is not None else {}
    every |= {f"member {m.item()}": forecast.sel(member=m) for m in forecast["member"]}
    stamps = {name: da.isel(lead=0).transpose(y, x) for name, da in every.items()}
    shape = math.ceil(len(stamps) / columns), min(columns, len(stamps))
    axes, draw = _axes(figure, forecast, y, x, shape, None)
    for ax in axes.flat[len(stamps) :]:
        ax.set_visible(False)
    for ax, (name, da) in zip(axes.flat, stamps.items(), strict=False):
        image = draw(ax, da, list(stamps.values()))
        ax.set_title(name, fontsize="small", fontweight="bold" if name == "observed" else None)
    drawn = list(axes.flat[: len(stamps)])
    return _finish(axes, drawn, image, forecast, maps.variable_label(forecast))


def exceedance(
    forecast: xr.DataArray,
    threshold: float,
    observed: xr.DataArray | None = None,
    *,
    init: Any = None,
    lead: Any = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Draw the share of members that reach a threshold, a map a lead.

    Parameters
    ----------
    forecast : DataArray ([init,] [lead,] member, y, x)
        Of several inits the one named by `init` is drawn.
    threshold : float
        In the forecast's units.
    observed : DataArray (time, y, x), optional
        On the forecast's grid, in its units; a line goes around where it reached the threshold.
    init : label, optional
        None: the last.
    lead : label or list of labels, optional
        None: four, from the first to the last.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw; a new one when not given.

    Returns
    -------
    Figure or SubFigure
        As given; a new Figure when none was.

    Raises
    ------
    KeyError
        An init or a lead that isn't there.
    ValueError
        No members; other dims.
    """
    _check_members(forecast)
    forecast, y, x = _prepared(forecast, init, lead, "member")
    shares = share(forecast, threshold)
    axes, draw = _axes(figure, shares, y, x, (1, shares.sizes["lead"]), PROBABILITIES)
    seen = None if observed is None else _observed(observed, forecast, y, x)
    for k, ax in enumerate(axes[0]):
        image = draw(ax, shares.isel(lead=k).transpose(y, x), [])
        if seen is not None:
            _outline(ax, seen.isel(lead=k).transpose(y, x) >= threshold, y, x)
        ax.set_title(_when(forecast.isel(lead=k)), fontsize="small")
    units = str(forecast.attrs.get("units", ""))
    label = f"probability of at least {threshold:g} {maps.UNITS.get(units, units)}".strip()
    label += " (observed: outlined)" if seen is not None else ""
    return _finish(axes, list(axes[0]), image, forecast, label, timed=False)


def rank_histogram(
    scores: xr.Dataset, *, lead: Any = None, ax: Axes | None = None, label: str | None = None
) -> Axes:
    """Draw how often so many members lay below the observation, beside what is expected.

    Parameters
    ----------
    scores : Dataset
        As `xearthformer.verify` gives it of the score "rank_histogram".
    lead : label, optional
        None: all leads together.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.
    label : str, optional
        What the bars stand for, as the title.

    Returns
    -------
    Axes
        Bars of the share of observations, and a dashed line where each would end for members that
        are drawn as the truth is.

    Raises
    ------
    KeyError
        A lead that isn't there.
    ValueError
        Scores without a rank histogram, or with other dims.

    Examples
    --------
    >>> ranks = xr.DataArray([30.0, 20.0, 50.0], {"rank": [0, 1, 2]}, "rank")
    >>> ax = rank_histogram(xr.Dataset({"rank_histogram_pooled": ranks}))
    >>> [round(float(bar.get_height()), 1) for bar in ax.patches]
    [0.3, 0.2, 0.5]
    """
    name = "rank_histogram_pooled" if lead is None else "rank_histogram"
    if name not in scores:
        raise mismatch(
            "scores with a rank histogram",
            ", ".join(map(str, scores.data_vars)) or "none",
            'xef.verify(fc, obs, scores=["rank_histogram"])',
        )
    counts = scores[name]
    if lead is not None:
        labels = counts["lead"].dtype.kind
        counts = counts.sel(lead=pd.Timedelta(lead).to_timedelta64() if labels == "m" else lead)
    if counts.dims != ("rank",):
        raise mismatch("counts by rank alone", f"dims {counts.dims}", "one forecast, one lead")
    ax = maps.new_figure((5.2, 3.0), "constrained").subplots() if ax is None else ax
    from matplotlib.ticker import MaxNLocator

    shares = (counts / counts.sum()).values
    ax.bar(counts["rank"].values, shares, width=0.9, color=maps.COLOURS[0])
    ax.axhline(1 / shares.size, color=maps.OBSERVED, linestyle=(0, (4, 3)), linewidth=1.2)
    ax.set_xlabel("members below the observation")
    ax.set_ylabel("share of observations")
    ax.set_title(label or "", loc="left", fontsize="medium")
    ax.set_xlim(-0.6, shares.size - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


# --- maps


def _check_members(forecast: xr.DataArray) -> None:
    if "member" not in forecast.dims:
        found = f"dims {forecast.dims}"
        raise mismatch("an ensemble, with the dim member", found, "fc.earthformer.plot.frames()")


def _prepared(
    forecast: xr.DataArray, init: Any, lead: Any, *others: str
) -> tuple[xr.DataArray, str, str]:
    """One init at the leads that are drawn, in memory, eastward and northward; its y and x."""
    if lead is not None and _short(forecast):
        lead = pd.to_timedelta(np.atleast_1d(lead)).values
    if "lead" not in forecast.dims and "lead" in forecast.coords:
        forecast, lead = forecast.expand_dims("lead"), None
    forecast = maps.pick(forecast, init, lead, *others).compute()
    y, x = find_grid(forecast)
    forecast = maps.eastward(forecast, x)
    if not _short(forecast):
        forecast = maps.crop(forecast, y, x)
    if "member" not in forecast.coords:
        forecast = forecast.assign_coords(member=np.arange(forecast.sizes["member"]))
    return forecast.sortby([dim for dim in (y, x) if dim in forecast.coords]), y, x


def _short(forecast: xr.DataArray) -> bool:
    """Whether its leads are durations, and not months."""
    return "lead" in forecast.coords and forecast["lead"].dtype.kind == "m"


def _observed(observed: xr.DataArray, forecast: xr.DataArray, y: str, x: str) -> xr.DataArray:
    return maps.at_valid_times(observed, forecast.isel(member=0, drop=True), y, x)


def _axes(
    figure: Figure | SubFigure | None,
    forecast: xr.DataArray,
    y: str,
    x: str,
    shape: tuple[int, int],
    edges: tuple[float, ...] | None,
) -> tuple[np.ndarray, Callable[[Axes, xr.DataArray, list[xr.DataArray]], Any]]:
    """Room for maps, and what draws one: on classes with these edges, else on those of all maps."""
    tall = frames.aspect(forecast, y) * forecast.sizes[y] / forecast.sizes[x]
    width = max(WIDTH, 5.0 / shape[1], HEIGHT / tall)
    if figure is None:
        size = shape[1] * width + 0.2, shape[0] * (width * tall + 0.25) + 1.2
        figure = maps.new_figure(size, "compressed")
    axes = figure.subplots(*shape, squeeze=False)

    def draw(ax: Axes, da: xr.DataArray, others: list[xr.DataArray]) -> Any:
        if _short(forecast):
            colours = _of_probability(edges) if edges else frames.classes(others[::-1])
            image = frames.picture(ax, da, y, x, {**colours, "interpolation": "nearest"})
        else:
            colours = _of_probability(edges) if edges else maps.shared_colours(others, None)
            image = maps.draw_map(ax, da, y, x, colours)
            ax.set(xticks=[], yticks=[])
        return image

    return axes, draw


def _of_probability(edges: tuple[float, ...]) -> dict[str, Any]:
    import matplotlib as mpl
    from matplotlib.colors import BoundaryNorm, ListedColormap

    shades = mpl.colormaps[MAP](np.linspace(0.05, 0.9, len(edges) - 1))
    colours = ListedColormap(shades, under=frames.DRY, over=shades[-1])
    return {"cmap": colours, "norm": BoundaryNorm(edges, colours.N)}


def _outline(ax: Axes, event: xr.DataArray, y: str, x: str) -> None:
    """A line around where the event was observed, if it was and wasn't."""
    if bool(event.any()) and not bool(event.all()):
        at = [event[d].values if d in event.coords else np.arange(event.sizes[d]) for d in (x, y)]
        ax.contour(*at, event.values.astype(float), levels=[0.5], colors=EVENT, linewidths=1.2)


def _when(frame: xr.DataArray) -> str:
    if not _short(frame):
        return maps.lead_title(frame)
    fine = bool(frame["lead"].values % np.timedelta64(60, "s"))
    return frames.when(frame, fine)


def _finish(
    axes: np.ndarray,
    drawn: list[Axes],
    image: Any,
    forecast: xr.DataArray,
    label: str,
    timed: bool = True,
) -> Figure | SubFigure:
    """Coastlines, a colour bar below and a title."""
    y, x = find_grid(forecast)
    coastlines.draw(drawn, forecast, y, x)
    figure = axes[0, 0].figure
    edges = getattr(image.norm, "boundaries", None)
    under = {"location": "bottom", "shrink": min(1.0, 3.5 / axes.shape[1]), "pad": 0.03}
    bar = figure.colorbar(image, ax=axes, aspect=40, ticks=edges, **under)
    if edges is not None:
        bar.ax.set_xticklabels([f"{edge:g}" for edge in edges])
    bar.set_label(label)
    title = " ".join(["forecast", *maps.made_by(forecast)])
    if "init" in forecast.coords:
        title += f" from {maps.date_text(forecast['init'].values, forecast)}"
    if timed:
        between = ": " if axes.shape[1] > 4 else "\n"
        title += f"{between}{_when(forecast.isel(lead=0))}"
    figure.suptitle(title, fontsize="large")
    return figure
