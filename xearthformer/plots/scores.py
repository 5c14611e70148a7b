"""Pictures of scores: FSS by scale and threshold, and the reliability of probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import mismatch
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scores = xr.Dataset | Mapping[str, xr.Dataset]
USEFUL = 0.5  # FSS halfway from a random forecast, of FSS f0, to a perfect one: .5 + f0 / 2
DARK = 0.6  # FSS from which a cell is light, and its number dark
WIDTH, HEIGHT = 0.62, 0.42  # inches of a cell


def fss(
    scores: Scores, *, lead: panels.LeadLike = None, figure: panels.Canvas | None = None
) -> panels.Canvas:
    """Draw the fractions skill score by scale and threshold as a table, one panel per forecast.

    Cells in a frame are of a useful forecast: halfway from a random to a perfect one, which is 0.5
    and half the share of observed events (Roberts and Lean, 2008) where the scores have
    `base_rate`, else 0.5.

    Parameters
    ----------
    scores : Dataset, or mapping of names to Datasets
        With `fss` by window and threshold, as `verify(fc, obs, ["fss", "base_rate"],
        window=[1, 4, 16])` gives it; or one that has the dim `forecast` too.
    lead : label, optional
        Default: all leads together.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    KeyError
        A lead that is missing.
    ValueError
        Scores without such a table.

    Examples
    --------
    >>> table = ("window", "threshold"), [[0.4], [0.7]]
    >>> coords = {"window": ["1 km", "16 km"], "threshold": [1.0]}
    >>> figure = fss(xr.Dataset({"fss_pooled": table}, coords))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['.40', '.70']
    """
    tables = {name: _table(ds, lead) for name, ds in _by_name(scores).items()}
    first, _ = next(iter(tables.values()))
    rows, columns = first.shape
    if figure is None:
        size = len(tables) * (columns * WIDTH + 0.5) + 0.9, rows * HEIGHT + 1.9
        figure = panels.new_figure((max(size[0], 3.4), size[1]))
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)
    from matplotlib.colors import Normalize

    for ax, (name, (table, useful)) in zip(axes.flat, tables.items(), strict=True):
        norm = Normalize(0, 1)
        image = ax.imshow(table.values, panels.SEQUENTIAL, norm, origin="lower", aspect="auto")
        _write_cells(ax, table.values, useful)
        ax.set_xticks(range(columns), [f"{at:g}" for at in table["threshold"].values])
        widths = table["window"].values
        ax.set_yticks(range(rows), [str(width) for width in widths])
        units = panels.short_units(table["threshold"])
        ax.set_xlabel(f"threshold ({units})" if units else "threshold")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        if name:
            ax.set_title(name, fontsize="medium")
    pixels = " (pixels)" if first["window"].dtype.kind in "iuf" else ""
    axes[0, 0].set_ylabel(f"width of neighbourhoods{pixels}")
    figure.colorbar(image, ax=axes, location="bottom", aspect=40, shrink=0.9).set_label(
        "fractions skill score (framed: useful)"
    )
    return figure


def _write_cells(ax: Axes, values: np.ndarray, useful: np.ndarray) -> None:
    """Write each score into its cell, and draw a frame around useful ones."""
    from matplotlib.patches import Rectangle

    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            ax.text(column, row, "-", ha="center", va="center", color="0.4")
            continue
        words = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
        colour = "black" if value >= DARK else "white"
        ax.text(column, row, words, ha="center", va="center", color=colour, fontsize="small")
        if value >= useful[column]:
            place = column - 0.46, row - 0.45
            ax.add_patch(Rectangle(place, 0.92, 0.9, fill=False, edgecolor="black", linewidth=1.4))


def _table(scores: xr.Dataset, lead: panels.LeadLike) -> tuple[xr.DataArray, np.ndarray]:
    """Return FSS (window, threshold), and from where on it is useful by threshold."""
    suffix = "_pooled" if lead is None else ""
    name = f"fss{suffix}"
    if name not in scores or not {"window", "threshold"} <= {*scores[name].dims}:
        raise mismatch(
            "scores with fss by window and threshold",
            f"dims {scores[name].dims}" if name in scores else ", ".join(map(str, scores)),
            'xef.verify(fc, obs, ["fss", "base_rate"], window=[1, 4, 16])',
        )
    at = {} if lead is None else {"lead": panels.as_lead(scores[name], lead)}
    table = scores[name].sel(at).transpose("window", "threshold", ...).compute()
    if table.ndim > 2:
        extra = ", ".join(map(str, table.dims[2:]))
        hint = f'scores.mean("{table.dims[2]}"), or one of them'
        raise mismatch("one forecast, one lead", f"also {extra}", hint)
    useful = np.full(table.sizes["threshold"], USEFUL)
    if f"base_rate{suffix}" in scores:
        rate = scores[f"base_rate{suffix}"].sel(at).compute()
        useful = USEFUL + np.nan_to_num(rate.values) / 2
    return table, useful


def _by_name(scores: Scores) -> dict[str, xr.Dataset]:
    """Return scores by the name of each forecast; "" for one without a name."""
    if not isinstance(scores, xr.Dataset):
        return dict(scores)
    if "forecast" not in scores.dims:
        return {"": scores}
    return {str(label): scores.sel(forecast=label) for label in scores["forecast"].values}


def reliability(
    scores: xr.Dataset,
    *,
    lead: panels.LeadLike = None,
    figure: panels.Canvas | None = None,
    label: str = "",
) -> panels.Canvas:
    """Draw how often an event came of which so many members forecast it, one line per threshold.

    Reliable probabilities lie on the dashed line. Below is how often each was forecast.

    Parameters
    ----------
    scores : Dataset
        As `xearthformer.verify` gives it of the score "reliability".
    lead : label, optional
        Default: all leads together.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw. Default: a new figure.
    label : str
        The title.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    KeyError
        A lead that is missing.
    ValueError
        Scores without reliability, or of several forecasts.

    Examples
    --------
    >>> dims, p = ("threshold", "probability"), [0.0, 0.5, 1.0]
    >>> frequency, counts = (dims, [[0.1, 0.4, 0.9]]), (dims, [[70.0, 20, 10]])
    >>> scores = {"reliability_pooled": frequency, "reliability_n_pooled": counts}
    >>> figure = reliability(xr.Dataset(scores, {"threshold": [1.0], "probability": p}))
    >>> figure.axes[0].lines[1].get_ydata().tolist()
    [0.1, 0.4, 0.9]
    """
    suffix = "_pooled" if lead is None else ""
    names = [f"reliability{suffix}", f"reliability_n{suffix}"]
    if not {*names} <= {*scores}:
        found = ", ".join(map(str, scores.data_vars)) or "none"
        raise mismatch("scores of reliability", found, 'xef.verify(fc, obs, ["reliability"])')
    at = {} if lead is None else {"lead": panels.as_lead(scores[names[0]], lead)}
    frequency, counts = (scores[name].sel(at).compute() for name in names)
    if {*frequency.dims} != {"threshold", "probability"}:
        hint = "scores of one forecast, by verify"
        raise mismatch("reliability by threshold", f"dims {frequency.dims}", hint)
    if figure is None:
        figure = panels.new_figure((4.6, 5.0))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color=panels.OBSERVED, linestyle=(0, (4, 3)), linewidth=1.2)
    for i, threshold in enumerate(frequency["threshold"]):
        colour = panels.COLOURS[i % len(panels.COLOURS)]
        units = panels.short_units(threshold)
        one = {"threshold": threshold.item()}
        line = {"color": colour, "marker": "os^Dv"[i % 5], "markersize": 4, "linewidth": 1.6}
        p = frequency["probability"].values
        words = f"from {threshold.item():g} {units}".strip()
        top.plot(p, frequency.sel(one).values, label=words, clip_on=False, **line)
        share = (counts / counts.sum("probability")).sel(one).values
        bottom.plot(p, np.where(share > 0, share, np.nan), **line)
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share observed")
    top.legend(frameon=False, fontsize="small")
    top.set_title(label, loc="left", fontsize="medium")
    bottom.set(yscale="log", xlabel="share of members that forecast it", ylabel="how often")
    for ax in (top, bottom):
        ax.grid(color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
