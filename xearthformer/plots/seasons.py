"""Pictures of seasonal forecasts: probabilities by season, skill by target season and lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import Data, find_time
from ..verification.align import match_index, match_valid_times, pick_indexed, pick_variable
from ..verification.seasonal import ENSO_CATEGORIES
from ..verification.seasonal import categories as probabilities
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..fields.windows import InitLike

COLD, BETWEEN, WARM = "#2166AC", "0.88", "#B2182B"
MINUS = "\N{MINUS SIGN}"
LUMINANCE = 0.3, 0.59, 0.11  # of red, green and blue
LEAST_LABELLED = 0.08  # a lower bar has no room for its number


def categories(
    forecast: Data,
    observed: Data | None = None,
    *,
    init: InitLike = None,
    thresholds: Sequence[float] | None = None,
    months: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Draw the probabilities of La Nina, neutral and El Nino by season, as stacked bars.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, member)
        An index of an ensemble.
    observed : DataArray or Dataset (time,), optional
        The same index of observations, against the same climatology: a dot in the category that
        came.
    init : label, optional
        Default: the last.
    thresholds, months
        As in `xearthformer.categories`.
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    KeyError
        An init that the forecast does not have.
    ValueError
        As in `xearthformer.categories`; observations that do not match.

    Examples
    --------
    >>> months = xr.date_range("1997-12", periods=3, freq="MS")
    >>> fc = xr.DataArray([[-1.0, 0.0, 0.7, 2.0]] * 3, dims=("lead", "member"), name="nino3.4")
    >>> fc = fc.assign_coords(lead=[1, 2, 3], valid_time=("lead", months))
    >>> ax = categories(fc)
    >>> [float(bar.get_height()) for bar in ax.patches], ax.get_xticklabels()[0].get_text()
    ([0.25, 0.25, 0.5], 'DJF\\n1997/98')
    """
    members = _of_one_init(pick_indexed(forecast), init)
    shares = probabilities(members, thresholds=thresholds, months=months).compute()
    ax = (
        panels.new_figure((1.6 + 0.62 * max(shares.sizes["lead"], 5), 3.6)).subplots()
        if ax is None
        else ax
    )
    at, tops = range(shares.sizes["lead"]), shares.cumsum("category", skipna=False)
    for k, colour in enumerate(_colours(shares.sizes["category"])):
        share, top = shares.isel(category=k).values, tops.isel(category=k).values
        ax.bar(at, share, bottom=top - share, width=0.86, color=colour, label=_label(shares, k))
        for x, height, middle in zip(at, share, top - share / 2, strict=True):
            if height >= LEAST_LABELLED:
                ink = _ink(colour)
                left = 0.1 if observed is not None else 0.0  # the dot is to the right
                ax.text(
                    x - left,
                    middle,
                    f"{height:.0%}",
                    color=ink,
                    ha="center",
                    va="center",
                    fontsize=7,
                )
    if observed is not None:
        came = _observed(pick_variable(observed, members.name), members, thresholds, months)
        _draw_dots(ax, came, tops - shares / 2)
    ax.set_xticks(at, _season_labels(shares, months), fontsize="small")
    ax.set(ylim=(0, 1), ylabel="probability", xlim=(-0.6, len(at) - 0.4))
    ax.yaxis.set_major_formatter(lambda value, position: f"{value:.0%}")
    ax.tick_params(axis="x", length=0)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
    ax.legend(handles[::-1], labels[::-1], fontsize="small", **place)  # as the bars are stacked
    title = f"{panels.index_label(members)}{panels.str_pack(members)}{panels.str_init(members)}"
    ax.set_title(f"{title}: {members.sizes['member']} members", loc="left", fontsize="medium")
    return ax


def skill_by_season(
    scores: xr.Dataset, name: str = "correlation", *, ax: Axes | None = None, label: str = ""
) -> Axes:
    """Draw skill by target season and lead as a heat map, with the number in each cell.

    Parameters
    ----------
    scores : Dataset (season, lead)
        As `xearthformer.enso_seasons` gives it.
    name : str
        "correlation" or "rmse".
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    label : str
        The title.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        A score that is missing; other dims.

    Examples
    --------
    >>> coords = {"season": ["DJF", "JFM"], "lead": [1]}
    >>> scores = xr.Dataset({"correlation": (("season", "lead"), [[0.9], [0.8]])}, coords)
    >>> ax = skill_by_season(scores)
    >>> [text.get_text() for text in ax.texts], ax.get_xlabel()
    (['.90', '.80'], 'target season')
    """
    panels.check_skill(scores, name, ("season", "lead"), "xef.enso_seasons(fc_index, obs_index)")
    skill = scores[name].transpose("lead", "season").compute()
    colours = panels.skill_colours(skill)
    ax = panels.new_figure((8.0, 1.5 + 0.3 * skill.sizes["lead"])).subplots() if ax is None else ax
    seasons, leads = range(skill.sizes["season"]), skill["lead"].values.tolist()
    # edges of the cells, which a single one has too
    edges = np.arange(len(seasons) + 1) - 0.5, np.append(leads[0] - 0.5, np.array(leads) + 0.5)
    image = ax.pcolormesh(*edges, skill.values, cmap=colours.cmap, norm=colours.norm)
    ax.set_facecolor(panels.NO_VALUE)
    for (y, x), value in np.ndenumerate(skill.values):
        if np.isfinite(value):
            ink = _ink(image.cmap(image.norm(value)))
            text = f"{value:.2f}".replace("0.", ".", 1).replace("-", MINUS)
            ax.text(x, leads[y], text, color=ink, ha="center", va="center", fontsize=7)
    ax.set_xticks(seasons, skill["season"].values, fontsize="small")
    ax.set_yticks(leads)
    ax.set(xlabel="target season", ylabel="lead (months)")
    ax.set_title(label, loc="left", fontsize="medium")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, label=panels.skill_label(skill), pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    return ax


def _of_one_init(forecast: xr.DataArray, init: InitLike) -> xr.DataArray:
    """Return the index of one init, in memory."""
    if "init" in forecast.dims:
        forecast = forecast.isel(init=-1) if init is None else forecast.sel(init=init)
        if forecast.sizes.get("init") == 1:  # of a label that stands for a span, such as "1997-06"
            forecast = forecast.squeeze("init")
    extra = sorted(map(str, {*forecast.dims} - {"lead", "member"}))
    if extra:
        hint = f"fc.isel({extra[0]}=0)"
        if len(extra) > 1:
            hint = 'fc.earthformer.index("nino3.4") first'
        expected = "an index of one forecast, dims ([init,] lead, member)"
        raise mismatch(expected, f"also {', '.join(extra)}", hint)
    return forecast.compute()


def _observed(
    observed: xr.DataArray,
    members: xr.DataArray,
    thresholds: Sequence[float] | None,
    months: int,
) -> xr.DataArray:
    """Return the category that came as its probability: an ensemble of one, by the same rule."""
    observed = match_index(members, observed)
    time = observed[find_time(observed)]
    positions = match_valid_times(members, time)
    values = observed.isel({time.name: positions}).values
    one = members.isel(member=[0]).transpose("lead", "member")
    one = one.copy(data=np.where(positions >= 0, values, np.nan)[:, None])
    return probabilities(one, thresholds=thresholds, months=months)


def _draw_dots(ax: Axes, came: xr.DataArray, middles: xr.DataArray) -> None:
    """Draw a dot in the middle of the bar of what came."""
    place = middles.where(came == 1).max("category").values
    at = np.arange(place.size) + 0.33
    ax.plot(at, place, "o", label="observed", color="black", markeredgecolor="white", markersize=6)


def _colours(count: int) -> list[str | tuple[float, ...]]:
    """Return colours of categories, from cold to warm."""
    if count == 3:
        return [COLD, BETWEEN, WARM]
    import matplotlib as mpl

    return [*map(tuple, mpl.colormaps[panels.DIVERGING](np.linspace(0.08, 0.92, count)))]


def _ink(colour: str | Sequence[float] | np.ndarray) -> str:
    """Return the colour of a number on a ground: dark on light, white on dark."""
    from matplotlib.colors import to_rgb

    return "white" if np.dot(to_rgb(colour), LUMINANCE) < 0.5 else "0.15"


def _label(shares: xr.DataArray, k: int) -> str:
    """Return a category with its bound and units, such as "El Niño, from 0.5 °C"."""
    name, at = str(shares["category"].values[k]), shares.attrs["thresholds"]
    units = panels.UNITS.get(shares.attrs["thresholds_units"], shares.attrs["thresholds_units"])
    if name in ENSO_CATEGORIES:
        bounds = [f", to {at[0]:g} {units}", "", f", from {at[-1]:g} {units}"]
        words = name.replace("Nin", "Niñ") + bounds[k]
    else:
        words = f"{name} {units}"
    return words.replace("-", MINUS).strip()


def _season_labels(shares: xr.DataArray, months: int) -> list[str]:
    """Return seasons, with the year below where it is another than that before."""
    first = pd.DatetimeIndex(panels.as_dates(shares["valid_time"].values))
    last = first + pd.DateOffset(months=months - 1)
    years = [
        f"{a.year}" if a.year == b.year else f"{a.year}/{b.year % 100:02d}"
        for a, b in zip(first, last, strict=True)
    ]
    before = ["", *years]
    return [
        f"{season}\n{year if year != other else ''}".rstrip()
        for season, year, other in zip(shares["season"].values, years, before, strict=False)
    ]
