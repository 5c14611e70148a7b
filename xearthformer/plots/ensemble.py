"""Pictures of ensembles: members side by side, probabilities of an event, rank histograms.

Frames whose leads are durations look like those of `frames`, all others like those of `maps`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import mismatch, whole_number
from ..fields.axes import Data
from ..fields.forms import takes_any_form
from ..verification.align import pick_observed, pick_variable
from ..verification.products import exceedance
from ..verification.verify import quantity
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..fields.windows import InitLike

STAMPS = 7  # per row
WIDTH, HEIGHT = 1.7, 0.6  # least inches of a stamp
# Edges of the classes of probability; below the first nothing is drawn.
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DARKEST = 0.9  # end of their colours
EVENT = "#00C2D1"  # the outline of an observed event: seen on white and on the darkest colour


@takes_any_form
def stamps(
    forecast: Data,
    observed: Data | None = None,
    *,
    init: InitLike = None,
    lead: int | str | np.timedelta64 | None = None,
    columns: int | None = None,
    figure: panels.Canvas | None = None,
) -> panels.Canvas:
    """Draw every member of one forecast at one lead as a stamp, next to what was observed.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] [lead,] member, y, x)
    observed : DataArray or Dataset (time, y, x), optional
        The first stamp. On the forecast's cells; its units are converted to the forecast's.
    lead : label, optional
        A single one, such as "30min". Default: the last.
    columns : int, optional
        Number of stamps per row. Default: 7, or fewer where the frames are wide.
    init, figure
        As in `maps.field`.

    Raises
    ------
    KeyError, ValueError
        As `maps.field`; no members; more than one lead.
    """
    if columns is not None:
        whole_number("columns", columns)
    forecast = pick_variable(forecast)
    if lead is None and "lead" in forecast.dims:
        lead = forecast["lead"].values[-1]
    members = _select(forecast, init, lead)
    if members.sizes["lead"] > 1:
        hint = f"lead={panels.as_typed(members['lead'][-1])}"
        raise mismatch("one lead, for stamps", f"{members.sizes['lead']}", hint)
    frames = {f"member {m.item()}": members.sel(member=m)[0] for m in members["member"]}
    if observed is not None:
        first = panels.observed_at(members, pick_observed(observed, members))[0]
        frames = {"observed": first, **frames}
    pixels = panels.has_durations(members)
    colours = (panels.class_colours if pixels else panels.smooth_colours)([*frames.values()])
    columns = columns or panels.columns_of(members, STAMPS, WIDTH, pixels, HEIGHT)
    shape = math.ceil(len(frames) / columns), min(columns, len(frames))
    axes = panels.add_panels(figure, shape, members, WIDTH, pixels, HEIGHT)
    for ax in axes.flat[len(frames) :]:
        ax.set_visible(False)
    for ax, (name, frame) in zip(axes.flat, frames.items(), strict=False):
        image = panels.draw_frame(ax, frame, colours, pixels)
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize="small", fontweight="bold" if name == "observed" else None)
    between = ": " if shape[1] > 4 else "\n"  # narrow pictures have no room for all in one line
    title = f"{_title(members)}{between}{panels.frame_titles(members)[0]}"
    label = panels.variable_label(members) + panels.unknown_note(members)
    extend = "max" if pixels and quantity(members) == "rain" else "neither"  # as in `frames`
    return panels.finish(axes, image, label, title, extend)


@takes_any_form
def exceedance_maps(
    forecast: Data,
    threshold: float,
    observed: Data | None = None,
    *,
    init: InitLike = None,
    lead: panels.LeadLike = None,
    figure: panels.Canvas | None = None,
) -> panels.Canvas:
    """Draw the share of members that reach a threshold, one map per lead.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] [lead,] member, y, x)
    threshold : float
        In the forecast's units.
    observed : DataArray or Dataset (time, y, x), optional
        Where it reached the threshold is outlined.
    init, lead, figure
        As in `maps.field`.

    Raises
    ------
    KeyError, ValueError
        As `maps.field`; no members.
    """
    forecast = pick_variable(forecast)
    members = _select(forecast, init, lead)
    shares = exceedance(members, threshold).transpose("lead", *members.dims[-2:])
    pixels = panels.has_durations(members)
    axes, _ = panels.add_rows(figure, 1, members, WIDTH, pixels)
    colours = panels.ramp_colours(PROBABILITIES, end=DARKEST)
    label = f"probability of at least {threshold:g} {panels.short_units(members)}".strip()
    events = None
    if observed is not None:
        events = panels.observed_at(members, pick_observed(observed, members)) >= threshold
        label += " (observed: outlined)"
    label += panels.unknown_note(members)
    for k, (ax, title) in enumerate(zip(axes.flat, panels.frame_titles(members), strict=True)):
        image = panels.draw_frame(ax, shares[k], colours, pixels)
        ax.set(xticks=[], yticks=[])
        if events is not None:
            _outline(ax, events[k])
        ax.set_title(title, fontsize="small")
    return panels.finish(axes, image, label, _title(members))


def rank_histogram(
    scores: xr.Dataset, *, lead: panels.LeadLike = None, ax: Axes | None = None, label: str = ""
) -> Axes:
    """Draw how often so many members lay below the observation, next to what is expected.

    Parameters
    ----------
    scores : Dataset
        As `xearthformer.verify` gives it of the score "rank_histogram".
    lead : label, optional
        Default: all leads together.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    label : str
        The title.

    Returns
    -------
    Axes
        Bars of the share of observations, and a dashed line where each would end for members that
        are drawn as the truth is.

    Raises
    ------
    KeyError
        A lead that is missing.
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
        counts = counts.sel(lead=panels.as_lead(counts, lead))
    if counts.dims != ("rank",):
        raise mismatch("counts by rank alone", f"dims {counts.dims}", "one forecast, one lead")
    ax = panels.new_figure((5.2, 3.0)).subplots() if ax is None else ax
    from matplotlib.ticker import MaxNLocator

    shares = (counts / counts.sum()).values
    ax.bar(counts["rank"].values, shares, width=0.9, color=panels.COLOURS[0])
    ax.axhline(1 / shares.size, color=panels.OBSERVED, linestyle=(0, (4, 3)), linewidth=1.2)
    ax.set_xlabel("members below the observation")
    ax.set_ylabel("share of observations")
    ax.set_title(label, loc="left", fontsize="medium")
    ax.set_xlim(-0.6, shares.size - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def check_ensemble(forecast: xr.DataArray) -> None:
    """Raise ValueError for a forecast without members."""
    if "member" not in forecast.dims:
        hint = "fc.earthformer.plot.frames()"
        raise mismatch("an ensemble, with the dim member", f"dims {forecast.dims}", hint)


def _select(forecast: xr.DataArray, init: InitLike, lead: panels.LeadLike) -> xr.DataArray:
    """Return the frames of all members to draw (lead, member, y, x), members labelled."""
    check_ensemble(forecast)
    members = panels.select(forecast, init, lead, "member")
    if not panels.has_durations(members):
        members = panels.crop(members)
    if "member" not in members.coords:
        members = members.assign_coords(member=np.arange(members.sizes["member"]))
    return members


def _title(members: xr.DataArray) -> str:
    return f"forecast{panels.str_pack(members)}{panels.str_init(members)}"


def _outline(ax: Axes, event: xr.DataArray) -> None:
    """Draw a line around where an event was observed, if it was, but not everywhere."""
    if bool(event.any()) and not bool(event.all()):
        at_y, at_x = panels.centres(event)
        inside = event.values.astype(float)  # 1, and 0 outside
        ax.contour(at_x, at_y, inside, levels=[0.5], colors=EVENT, linewidths=1.2)
