"""Pictures of forecasts: plumes of an index, and maps next to what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import Data
from ..fields.forms import takes_any_form
from ..fields.quantities import is_difference
from ..fields.units import DIFFERENCE, convert_units, is_temperature
from ..verification.align import match_index, pick_indexed, pick_observed, pick_variable
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..fields.windows import InitLike

EVENTS = {-0.5: "La Niña", 0.5: "El Niño"}  # degC: what NOAA calls so
QUANTILES, MANY_MEMBERS = (0.05, 0.25, 0.75, 0.95), 10  # bands of a plume; from so many members on
WIDTH = 3.4  # inches of a map
YEAR = np.timedelta64(400, "D")  # of observations before the first forecast, and some


@takes_any_form
def plume(
    forecast: Data,
    observed: Data | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    quantiles: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the forecasts of an index by valid time, over the observed index.

    Up to six inits get a colour each; more share one. A forecast whose init is observed starts from
    that value, so that the plume hangs on the observed line. Members are lines, or a median within
    bands.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead[, member])
        An index of a forecast, with coordinates `valid_time` and `init`.
    observed : DataArray or Dataset (time,), optional
        The same index of observations, against the same climatology; its units are converted. It
        is drawn from a year before the first forecast on.
    thresholds : sequence of float, optional
        Where to draw dashed lines, in the index's units. Default: -0.5 and 0.5 degC, La Nina and El
        Nino, for temperature anomalies of Nino regions; none for other indices.
    quantiles : sequence of float, optional
        Edges of the bands about the median of the members, the outermost with one another and so
        on; none, (), for one line per member. Default: 0.05, 0.25, 0.75 and 0.95 from ten members
        on, and of more than six inits the median alone: their bands would hide one another.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Dims other than these; quantiles that make no bands; observations in other units, against
        another climatology or absolute where the forecast is an anomaly.

    Examples
    --------
    >>> import xarray as xr
    >>> attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    >>> fc = xr.DataArray([0.4, 0.7], dims="lead", name="nino3.4", attrs=attrs)
    >>> months = xr.date_range("1997-05", periods=2, freq="MS")
    >>> fc = fc.assign_coords(valid_time=("lead", months), init=months[0])
    >>> ax = plume(fc)
    >>> ax.get_ylabel()
    'nino3.4 index (°C)'
    >>> [label.get_text() for label in ax.child_axes[0].get_yticklabels()]
    ['La Niña', 'El Niño']
    """
    forecast = _as_index(pick_indexed(forecast))
    members = forecast.sizes["member"]
    bands = _bands(quantiles, members)
    median = bool(bands)
    if quantiles is None and forecast.sizes["init"] > len(panels.COLOURS):
        bands = []
    line = pd.Series(dtype=float) if observed is None else _observed_line(observed, forecast)
    events = _events(forecast) if thresholds is None else {}
    ax = panels.new_figure((9, 3.6)).subplots() if ax is None else ax
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=1.5)
    for value in events if thresholds is None else thresholds:
        ax.axhline(value, color="0.6", linewidth=0.8, linestyle=(0, (4, 4)), zorder=1.5)
    if line.size:
        valid = panels.as_dates(forecast["valid_time"].values)
        shown = line[(line.index >= valid.min() - YEAR) & (line.index <= valid.max())]
        dates, values, colour = shown.index.to_numpy(), shown.to_numpy(), panels.OBSERVED
        ax.plot(dates, values, color=colour, label="observed", linewidth=1.6, zorder=2)
    _draw_inits(ax, forecast, line.to_dict(), bands, median)
    ax.set_ylabel(panels.with_units(panels.index_label(forecast), forecast))
    ax.spines[["top", "right"]].set_visible(False)
    _label_dates(ax)
    _label_events(ax, events)
    right = 1.08 if events else 1.0  # of their names
    ax.legend(loc="upper left", bbox_to_anchor=(right, 1.0), frameon=False, fontsize="small")
    title = f"forecasts{panels.str_pack(forecast)}"
    if median:
        spans = " and ".join(f"{low:.0%} to {high:.0%}" for low, high in bands)
        title += f": median{', ' if bands else ''}{spans} of {members} members"
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


@takes_any_form
def field(
    forecast: Data,
    observed: Data | None = None,
    *,
    init: InitLike = None,
    lead: panels.LeadLike = None,
    vmax: float | None = None,
    figure: panels.Canvas | None = None,
) -> panels.Canvas:
    """Draw maps of one forecast, one column per lead, above what was observed at those times.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] [lead,] y, x)
        Outer rows and columns without any value are left out; longitudes run eastward from 0, or
        from the west of a domain that lies across it; cells without a value (land) are grey. Maps
        of 30 degrees and more have the coast.
    observed : DataArray or Dataset (time, y, x), optional
        On the forecast's cells, or more of them. Its units are converted to the forecast's.
    init : label, optional
        Default: the last.
    lead : label or list of labels, optional
        Default: four, from the first to the last.
    vmax : float, optional
        End of the colours, which are symmetric about zero where values go below it. Default: what
        99.5 % of the values stay within.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    KeyError
        An init or a lead that the forecast does not have.
    ValueError
        Dims other than these; nothing but missing values; observations that do not match.
    """
    frames = panels.crop(panels.select(pick_variable(forecast), init, lead))
    rows = {"forecast": frames}
    if observed is not None:
        rows["observed"] = panels.observed_at(frames, pick_observed(observed, frames))
    colours = panels.smooth_colours(rows.values(), vmax)
    grid, stacked = panels.add_rows(figure, len(rows), frames, WIDTH, pixels=False)
    axes = grid.T if stacked else grid
    for row, da in zip(axes, rows.values(), strict=True):
        for ax, frame in zip(row, da, strict=True):
            image = panels.draw_frame(ax, frame, colours, pixels=False)
    _label_maps(axes, [*rows], panels.frame_titles(frames), stacked)
    extend = "both" if colours.norm.vmin else "max"  # from 0 on nothing lies below
    title = f"forecast{panels.str_pack(frames)}{panels.str_init(frames)}"
    label = panels.variable_label(frames) + panels.unknown_note(frames)
    return panels.finish(grid, image, label, title, extend, length=1.5)


def _label_maps(axes: np.ndarray, names: list[str], titles: list[str], stacked: bool) -> None:
    """Label maps (name, lead) at their outer edges; those in columns by names, each by itself."""
    if stacked:
        for row, name in zip(axes, names, strict=True):
            for ax, title in zip(row, titles, strict=True):
                ax.set_title(f"{name}, {title}" if len(names) > 1 else title, fontsize="small")
        return
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize="medium")


def skill(
    scores: xr.Dataset,
    name: str = "correlation",
    *,
    lead: panels.LeadLike = None,
    figure: panels.Canvas | None = None,
    label: str = "",
) -> panels.Canvas:
    """Draw maps of the skill of many forecasts, one column per lead.

    Parameters
    ----------
    scores : Dataset (lead, y, x)
        As `xearthformer.skill_map` gives it.
    name : str
        "correlation" (the anomaly correlation) or "rmse".
    lead, figure
        As in `field`.
    label : str
        The title.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    KeyError
        A lead that the scores do not have.
    ValueError
        A score that is missing; other dims; nothing but missing values.
    """
    panels.check_skill(scores, name, ("lead",), "xef.skill_map(fc, obs)")
    frames = panels.crop(panels.select(scores[name], None, lead))
    colours = panels.skill_colours(frames)
    axes, _ = panels.add_rows(figure, 1, frames, WIDTH, pixels=False)
    titles = panels.frame_titles(frames)
    for ax, frame, title in zip(axes.flat, frames, titles, strict=True):
        image = panels.draw_frame(ax, frame, colours, pixels=False)
        ax.set_title(title, fontsize="medium")
    extend = "neither" if name == "correlation" else "max"
    return panels.finish(axes, image, panels.skill_label(frames), label, extend, length=1.5)


# --- plumes


def _as_index(forecast: xr.DataArray) -> xr.DataArray:
    """Return an index (init, lead, member) in memory, from whichever of these dims it has."""
    extra = set(forecast.dims) - {"init", "lead", "member"}
    if extra or "lead" not in forecast.dims or "valid_time" not in forecast.coords:
        hint = 'fc.earthformer.index("nino3.4") first'
        if len(extra) == 1:  # of several models, say
            hint = f"fc.isel({extra.pop()}=0)"
        raise mismatch(
            "an index of a forecast, dims ([init,] lead[, member]) with valid_time",
            f"dims {forecast.dims}, coordinates {list(forecast.coords)}",
            hint,
        )
    for dim in ("init", "member"):
        if dim not in forecast.dims:
            forecast = forecast.expand_dims(dim)
    valid = forecast["valid_time"]
    if "init" not in valid.dims:
        forecast = forecast.assign_coords(valid_time=valid.expand_dims("init"))
    return forecast.transpose("init", "lead", "member").compute()


def _events(forecast: xr.DataArray) -> dict[float, str]:
    """Return the thresholds of El Nino and La Nina in an index's units, with their names."""
    units, name = str(forecast.attrs.get("units", "")), str(forecast.name).lower()
    is_nino = name.startswith(("nino", "relative_nino")) or name == "oni"
    if not (is_nino and is_difference(forecast) and is_temperature(units)):
        return {}
    degrees = xr.DataArray([*EVENTS], attrs={"units": "degC", "units_metadata": DIFFERENCE})
    values = convert_units(degrees, units, difference=True).values.tolist()
    return dict(zip(values, EVENTS.values(), strict=True))


def _label_events(ax: Axes, events: dict[float, str]) -> None:
    """Name thresholds at the right edge."""
    if events:
        right = ax.secondary_yaxis("right")
        right.set_yticks([*events], labels=[*events.values()], fontsize="small", color="0.4")
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)


def _observed_line(observed: Data, forecast: xr.DataArray) -> pd.Series:
    """Return an observed index by date, in the forecast's units."""
    index = pick_variable(observed, forecast.name)
    if index.ndim != 1:
        hint = 'obs.earthformer.index("nino3.4") first'
        raise mismatch("an observed index, one dim of time", f"dims {index.dims}", hint)
    index = match_index(forecast, index)
    return pd.Series(index.to_numpy(), panels.as_dates(index[index.dims[0]].values))


def _bands(quantiles: Sequence[float] | None, members: int) -> list[tuple[float, float]]:
    """Return the low and high edge of each band, the widest first.

    >>> _bands(None, 20), _bands(None, 9), _bands([0.9, 0.1], 9)
    ([(0.05, 0.95), (0.25, 0.75)], [], [(0.1, 0.9)])
    """
    if quantiles is None:
        quantiles = QUANTILES if members >= MANY_MEMBERS else ()
    edges = sorted(quantiles)
    half = len(edges) // 2
    if len(edges) % 2 or (edges and not 0 <= edges[0] <= edges[-1] <= 1):
        raise mismatch(
            "an even number of quantiles from 0 to 1", repr(quantiles), "quantiles=(0.1, 0.9)"
        )
    return list(zip(edges[:half], edges[: half - 1 : -1], strict=True))


def _draw_inits(
    ax: Axes,
    forecast: xr.DataArray,
    starts: dict[pd.Timestamp, float],
    bands: list[tuple[float, float]],
    median: bool,
) -> None:
    """Draw one line per init and member, or a median in bands, from the observed value on."""
    count, members = forecast.sizes["init"], forecast.sizes["member"]
    many = count > len(panels.COLOURS)
    for i, one in enumerate(forecast):
        dates, values = panels.as_dates(one["valid_time"].values), one.values  # (lead, member)
        label = f"{count} forecasts" if many else "forecast"
        if "init" in one.coords:
            init = panels.as_dates(one["init"].values)
            label = label if many else f"from {panels.str_date(init, one)}"
            start = starts.get(pd.Timestamp(init.item()))
            if start is not None:
                dates = np.append(init, dates)
                values = np.concatenate([np.full((1, members), start), values])
        colour = panels.COLOURS[0 if many else i]
        for low, high in bands:
            edges = np.quantile(values, (low, high), axis=1)
            ax.fill_between(dates, *edges, color=colour, alpha=0.18, linewidth=0, zorder=2.5)
        lines = ax.plot(
            dates,
            np.median(values, axis=1) if median else values,
            color=colour,
            linewidth=1.0 if many else 1.5,
            alpha=0.6 if many or (members > 1 and not median) else 1.0,
            zorder=3,
        )
        if not (many and i):  # one entry of the legend for all
            lines[0].set_label(label)


def _label_dates(ax: Axes) -> None:
    """Label the time axis by few, short dates below faint lines."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    ax.set_xmargin(0.01)
    ax.set_axisbelow(True)
    ax.grid(axis="x", color="0.92", linewidth=0.8)
