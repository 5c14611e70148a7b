"""What all pictures share: frames chosen of a forecast, drawn as panels, with colours and titles.

Nothing is computed here but what is drawn. matplotlib, an extra, is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, find_time, is_degrees
from ..fields.quantities import KNOWN, is_difference
from ..fields.time_axis import duration
from ..verification.align import match_cells, match_units, match_valid_times
from ..verification.verify import quantity
from .coast import draw_coast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure, SubFigure

    from ..fields.windows import InitLike

Canvas: TypeAlias = "Figure | SubFigure"
LeadLike: TypeAlias = "int | str | np.timedelta64 | Sequence[int | str] | np.ndarray | None"

# Okabe and Ito's colours, which differ for every kind of colour vision; black is the observations'.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
OBSERVED = "black"
NO_VALUE, DRY = "0.82", "white"  # behind a frame; below the first class
KNOWN_FROM = 0.5  # a value of which less stems from what was seen is hatched
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
RAMP = "magma_r"  # lightness falls evenly, for every kind of colour vision
MOST_CLASSES = 9  # of a variable without levels of its own
LEADS = 4  # drawn when none are named
ROW, HEIGHT = 5.0, 1.15  # least inches of a row of frames, and of a frame's height
LETTERS = 12.5  # of a label to an inch
WIDEST = 16.0  # inches of a row of frames; those of wider ones are stacked

# Edges of the colour classes: SEVIR's own, and those of radar pictures.
LEVELS: dict[str | None, tuple[float, ...]] = {
    "vil": (16, 31, 59, 74, 100, 133, 160, 181, 219, 255),
    "rain": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
}
# Where radar pictures have long had colours of their own: greens, yellows, reds, and purple for the
# heaviest. Other variables are drawn in shades of RAMP.
CLASS_COLOURS: dict[str | None, tuple[str, ...]] = {
    "vil": (
        *("#b5e2ab", "#5cb85a", "#237a38"),
        *("#fbee58", "#f6bd2c", "#ee8420"),
        *("#dd3b2b", "#9b1420", "#b13bd0"),
    ),
}
SKILL = {"correlation": "correlation", "rmse": "root mean square error"}  # by season, or in maps
UNITS = {"degC": "°C", "degree_Celsius": "°C", "degrees_Celsius": "°C", "celsius": "°C", "1": ""}
UNITS |= {"degF": "°F", "mm h-1": "mm/h", "kg m-2": "kg/m²"}
# Seconds of a unit of lead time, and the valid time as precise; the first that leads are whole in.
CLOCKS = {"d": (86_400, "%Y-%m-%d"), "min": (60, "%H:%M"), "s": (1, "%H:%M:%S")}


class Colours(NamedTuple):
    """Colour map and norm, the same for all panels of a picture."""

    cmap: Colormap | str
    norm: Normalize


# --- frames


def has_durations(forecast: xr.DataArray) -> bool:
    """Return whether the leads of a forecast are durations, not months."""
    return "lead" in forecast.coords and forecast["lead"].dtype.kind == "m"


def as_typed(lead: xr.DataArray) -> str:
    """Return a lead as the user types it: "30min", or a number of months."""
    if lead.dtype.kind != "m":
        return str(lead.item())
    return f'"{lead.values / np.timedelta64(1, "m"):g}min"'


def as_lead(forecast: xr.DataArray, lead: object) -> object:
    """Return the labels of a lead or of several: of durations in any form, such as "30min"."""
    if not has_durations(forecast):
        return lead
    is_one = isinstance(lead, str) or np.ndim(lead) == 0  # type: ignore[arg-type]
    lengths = [duration(one) for one in ([lead] if is_one else lead)]  # type: ignore[attr-defined]
    if any(length is None for length in lengths):
        raise mismatch("leads as durations", repr(lead), f"lead={as_typed(forecast['lead'][-1])}")
    return lengths[0] if is_one else lengths


def select(
    forecast: xr.DataArray, init: InitLike = None, lead: LeadLike = None, *others: str
) -> xr.DataArray:
    """Return the frames (lead, *others, y, x) to draw, in memory; rows northward, columns eastward.

    Parameters
    ----------
    forecast : DataArray ([init,] [lead,] *others, y, x)
    init : label, optional
        Default: the last.
    lead : label or list of labels, optional
        Default: four, from the first to the last.
    *others : str
        Dims to keep.

    Raises
    ------
    KeyError
        An init or a lead that the forecast does not have.
    ValueError
        Dims other than these; leads as numbers where they are durations.
    """
    if "init" in forecast.dims:
        forecast = forecast.isel(init=-1) if init is None else forecast.sel(init=init)
        if forecast.sizes.get("init") == 1:  # of a label that stands for a span, such as "1997-06"
            forecast = forecast.squeeze("init")
    y, x = find_grid(forecast)
    extra = sorted(map(str, {*forecast.dims} - {"lead", *others, y, x}))
    if extra:
        raise mismatch(
            f"maps of one forecast, dims ({', '.join(['[lead,]', *others, 'y', 'x'])})",
            f"also {', '.join(extra)}",
            f'fc.mean("member", keep_attrs=True), or fc.isel({extra[0]}=0)'
            if "member" in extra
            else f"fc.isel({extra[0]}=0)",
        )
    if "lead" not in forecast.dims:
        forecast = forecast.expand_dims("lead")
    elif lead is None:
        count = forecast.sizes["lead"]
        spread = np.linspace(0, count - 1, min(count, LEADS))
        forecast = forecast.isel(lead=np.unique(spread.round().astype(int)))
    else:
        leads = np.atleast_1d(np.asarray(as_lead(forecast, lead)))
        forecast = forecast.sel(lead=leads)
    forecast = forecast.compute()
    if x in forecast.coords and is_degrees(forecast[x]):
        longitude = _in_one_piece(forecast[x].values)
        forecast = forecast.assign_coords({x: (x, longitude, forecast[x].attrs)})
    forecast = forecast.sortby([dim for dim in (y, x) if dim in forecast.coords])
    return forecast.transpose("lead", *others, y, x)


def _in_one_piece(longitude: np.ndarray) -> np.ndarray:
    """Return longitudes that run eastward from 0, or from below it where a domain lies across 0.

    So the Pacific is whole, and the Atlantic too.

    >>> _in_one_piece(np.array([-180.0, -90.0, 0.0, 90.0])).tolist()
    [180.0, 270.0, 0.0, 90.0]
    >>> _in_one_piece(np.array([350.0, 0.0, 10.0])).tolist()
    [-10.0, 0.0, 10.0]
    """
    longitude = longitude % 360
    ordered = np.sort(longitude)
    gaps = np.diff(ordered)
    beyond = ordered[0] + 360 - ordered[-1]  # the gap at 0
    if not gaps.size or gaps.max() <= 1.5 * beyond:
        return longitude
    return np.where(longitude > ordered[gaps.argmax()], longitude - 360, longitude)


def crop(frames: xr.DataArray) -> xr.DataArray:
    """Return frames (..., y, x) without the outer rows and columns that hold no value at all."""
    for dim in frames.dims[-2:]:
        valid = frames.notnull().any([other for other in frames.dims if other != dim])
        inside = np.flatnonzero(valid)
        if not inside.size:
            raise ValueError("nothing to draw: every value of this forecast is missing")
        frames = frames.isel({dim: slice(inside[0], inside[-1] + 1)})
    return frames


def observed_at(frames: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return what was observed at the valid times and cells of frames (lead, [member,] y, x).

    In the units of the frames and with their labels, (lead, y, x); missing beyond the record.
    """
    y, x = frames.dims[-2:]
    time = find_time(observed)
    names = zip(find_grid(observed), (y, x), strict=True)
    observed = observed.rename({own: name for own, name in names if own != name})
    observed = match_units(frames, observed)
    for dim in (y, x):
        observed = match_cells(frames, observed, str(dim))
    positions = np.atleast_1d(match_valid_times(frames, observed[time]))
    seen = xr.DataArray(positions >= 0, dims=time)
    observed = observed.isel({time: positions}).where(seen).transpose(time, y, x)
    one = frames.isel(member=0, drop=True) if "member" in frames.dims else frames
    one = one.drop_vars(KNOWN, errors="ignore")  # of the forecast alone
    return one.copy(data=observed.to_numpy())


def check_skill(scores: xr.Dataset, name: str, dims: tuple[str, ...], hint: str) -> None:
    """Raise ValueError for scores without one that is drawn as a picture, on these dims."""
    found = scores[name].dims if name in scores else tuple(map(str, scores.data_vars))
    if name not in SKILL or not {*dims} <= {*found}:
        expected = f"{' or '.join(SKILL)} by {' and '.join(dims)}"
        raise mismatch(expected, f"{name} of {', '.join(map(str, found))}", hint)


# --- panels


def new_figure(size: tuple[float, float], layout: str = "constrained") -> Figure:
    """Return an empty figure, size in inches; ImportError with what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib, which isn't installed: pip install 'xearthformer[plot]'"
        ) from error
    return plt.figure(figsize=size, layout=layout)


def add_panels(
    figure: Canvas | None,
    shape: tuple[int, int],
    frames: xr.DataArray,
    inches: float,
    pixels: bool,
    height: float = HEIGHT,
) -> np.ndarray:
    """Return axes for frames in rows and columns, in a new figure where none is given.

    Panels of a new figure are `inches` wide and `height` high, or more: a row of a few, or a low
    frame, has room for its titles. Maps (not `pixels`) share the labels at the outer edges.
    """
    rows, columns = shape
    if figure is None:
        tall = _tall(frames, pixels)
        width = max(inches, ROW / columns, height / tall)
        # Room for the colour bar, titles of the columns and of the figure; the rest is cut off.
        size = columns * width + 0.4, rows * (width * tall + 0.25) + 1.1
        figure = new_figure(size, "compressed")
    return figure.subplots(rows, columns, squeeze=False, sharex=not pixels, sharey=not pixels)


def add_rows(
    figure: Canvas | None, rows: int, frames: xr.DataArray, inches: float, pixels: bool
) -> tuple[np.ndarray, bool]:
    """Return axes for rows of frames, one for each lead, and whether they are columns instead."""
    shape = rows, frames.sizes["lead"]
    stacked = _is_stacked(figure, shape, frames, inches, pixels)
    shape = shape[::-1] if stacked else shape
    return add_panels(figure, shape, frames, inches, pixels), stacked


def _is_stacked(
    figure: Canvas | None, shape: tuple[int, int], frames: xr.DataArray, inches: float, pixels: bool
) -> bool:
    """Return whether frames are better drawn in columns and rows than in rows and columns.

    So are wide ones, such as the tropics round the globe: where a row would be wider than a page,
    or, in a figure that is given, where they are larger.
    """
    rows, columns = shape
    tall = _tall(frames, pixels)
    if figure is None:
        return columns > 1 and columns * max(inches, HEIGHT / tall) > WIDEST
    width, height = figure.bbox.width, figure.bbox.height
    across = min(width / columns, height / rows / tall)
    return min(width / rows, height / columns / tall) > across


def columns_of(frames: xr.DataArray, most: int, inches: float, pixels: bool, height: float) -> int:
    """Return how many frames a row has that is no wider than a page."""
    return max(1, min(most, int(WIDEST / max(inches, height / _tall(frames, pixels)))))


def _tall(frames: xr.DataArray, pixels: bool) -> float:
    """Return the height of a frame over its width."""
    return (aspect(frames) if pixels else 1.0) * frames.shape[-2] / frames.shape[-1]


def aspect(frames: xr.DataArray) -> float:
    """Return the length of a step along y over one along x: degrees shrink to the north."""
    y = frames.dims[-2]
    if y in frames.coords and is_degrees(frames[y]):
        return float(1 / np.cos(np.radians(frames[y].values.mean())))
    return 1.0


def draw_frame(ax: Axes, frame: xr.DataArray, colours: Colours, pixels: bool) -> ScalarMappable:
    """Draw one frame (y, x); grey where there is no value.

    As the pixels of a regular grid, or as a map: cells of any size, with degrees at its edges and
    the coast.
    """
    at_y, at_x = centres(frame)
    ax.set_facecolor(NO_VALUE)
    image: ScalarMappable
    cmap, norm = colours
    if pixels:
        extent = (*_edges(at_x), *_edges(at_y))
        sharp = "nearest"  # pixels as they are, not smoothed
        image = ax.imshow(
            frame.values, cmap, norm, extent=extent, origin="lower", interpolation=sharp
        )
        ax.set_aspect(aspect(frame))
        ax.set(xticks=[], yticks=[])
    else:
        image = ax.pcolormesh(at_x, at_y, frame.values, cmap=cmap, norm=norm, shading="nearest")
        image.set_rasterized(True)  # a vector graphic would hold every cell
        ax.set_aspect("equal")
        _label_degrees(ax, frame)
        if all(dim in frame.coords and is_degrees(frame[dim]) for dim in frame.dims):
            draw_coast(ax)
    _hatch_unknown(ax, frame)
    if not bool(frame.notnull().any()):
        ax.text(0.5, 0.5, "no observation", transform=ax.transAxes, ha="center", va="center")
    return image


def _hatch_unknown(ax: Axes, frame: xr.DataArray) -> None:
    """Hatch where less than half of a nowcast's value stems from what was seen, behind a line.

    Hatched and not veiled: grey is where there is no value.
    """
    if unknown(frame) and min(frame.shape) > 1 and bool(frame.notnull().any()):
        at_y, at_x = centres(frame)
        # Grey already where there is no value: the line is between what is known and what is not.
        known = np.where(frame.notnull(), frame[KNOWN].transpose(*frame.dims), np.nan)
        lines = {"levels": [-1.0, KNOWN_FROM], "colors": "none", "hatches": ["/////"]}
        filled = ax.contourf(at_x, at_y, known, **lines)
        filled.set(edgecolor="0.35", linewidth=0.0)
        ax.contour(at_x, at_y, known, levels=[KNOWN_FROM], colors="0.2", linewidths=0.8)


def unknown(frames: xr.DataArray) -> bool:
    """Return whether frames have values of which less than half stems from what was seen."""
    if KNOWN not in frames.coords or not {*frames.dims[-2:]} <= {*frames[KNOWN].dims}:
        return False
    return bool(((frames[KNOWN] < KNOWN_FROM) & frames.notnull()).any())


def unknown_note(frames: xr.DataArray) -> str:
    """Return what hatching means, to follow the label of a colour bar; "" where nothing is."""
    return "; hatched: less than half stems from what was seen" if unknown(frames) else ""


def centres(frame: xr.DataArray) -> list[np.ndarray]:
    """Return the coordinates of a frame along y and x; the numbers of its pixels without any."""
    return [frame[dim].values for dim in frame.dims]


def _edges(at: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of the first and the last pixel."""
    half = (at[-1] - at[0]) / max(1, at.size - 1) / 2
    return float(at[0] - half), float(at[-1] + half)


def _label_degrees(ax: Axes, frame: xr.DataArray) -> None:
    """Label latitude and longitude along the edges of a map, without a frame around it."""
    from matplotlib.ticker import MaxNLocator

    for axis, dim, signs in zip((ax.yaxis, ax.xaxis), frame.dims, ("NS", "EW"), strict=True):
        if dim in frame.coords and is_degrees(frame[dim]):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 3, 6, 9, 10]))
            axis.set_major_formatter(partial(_str_degrees, signs))
    ax.tick_params(labelsize="small", length=2)
    ax.spines[:].set_visible(False)


def _str_degrees(signs: str, value: float, position: int | None = None) -> str:
    """Return a latitude ("NS") or longitude ("EW") as an atlas writes it.

    >>> _str_degrees("EW", 210), _str_degrees("NS", -5), _str_degrees("NS", 0)
    ('150°W', '5°S', '0°')
    """
    value = (value + 180) % 360 - 180 if signs == "EW" else value
    neither = value in (0, -180)  # the equator, and the meridians that part east from west
    return f"{abs(value):g}°" + ("" if neither else signs[0] if value > 0 else signs[1])


# --- colours


def smooth_colours(frames: Iterable[xr.DataArray], vmax: float | None = None) -> Colours:
    """Return colours without classes; symmetric about zero where values go below it.

    They end at `vmax`; by default at what 99.5 % of the values stay within, to two digits.
    """
    from matplotlib.colors import Normalize

    values = np.concatenate([da.values[np.isfinite(da.values)] for da in frames])
    if vmax is None:
        vmax = float(f"{np.quantile(np.abs(values), 0.995):.2g}") or 1.0
    if values.min() < 0:
        return Colours(DIVERGING, Normalize(-vmax, vmax))
    return Colours(SEQUENTIAL, Normalize(0.0, vmax))


def skill_colours(skill: xr.DataArray) -> Colours:
    """Return colours of a correlation, from -1 to 1, or of an error, from 0."""
    from matplotlib.colors import Normalize

    correlation = skill.name == "correlation"
    return Colours(DIVERGING, Normalize(-1.0, 1.0)) if correlation else smooth_colours([skill])


def class_colours(frames: Sequence[xr.DataArray]) -> Colours:
    """Return colours in classes: the variable's own, or evenly over the values of all frames."""
    from matplotlib.ticker import MaxNLocator

    kind = quantity(frames[0])
    edges = LEVELS.get(kind)
    if edges is None:
        values = np.concatenate([da.values[np.isfinite(da.values)] for da in frames])
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        edges = tuple(MaxNLocator(MOST_CLASSES).tick_values(low, high))
    return ramp_colours(edges, CLASS_COLOURS.get(kind))


def ramp_colours(
    edges: Sequence[float], shades: Sequence[str] | None = None, end: float = 0.97
) -> Colours:
    """Return one colour per class, none below the first; by default shades of RAMP up to `end`."""
    import matplotlib as mpl
    from matplotlib.colors import BoundaryNorm, ListedColormap

    # From 0.05 on: the first class differs from white.
    ramp = mpl.colormaps[RAMP](np.linspace(0.05, end, len(edges) - 1))
    listed = list(ramp if shades is None else shades)
    cmap = ListedColormap(listed).with_extremes(under=DRY, over=listed[-1])
    return Colours(cmap, BoundaryNorm(edges, cmap.N))


def finish(
    axes: np.ndarray,
    image: ScalarMappable,
    label: str,
    title: str,
    extend: str = "neither",
    length: float = 3.5,
) -> Canvas:
    """Add a colour bar below all panels, as long as so many of them, and a title; give the figure.

    "extend" says which ends of the colours go on: "neither", "max" or "both".
    """
    figure = axes[0, 0].figure
    edges = getattr(image.norm, "boundaries", None)  # of classes
    shrink = min(1.0, length / axes.shape[1])
    place = {"location": "bottom", "shrink": shrink, "aspect": 40, "pad": 0.03}
    bar = figure.colorbar(image, ax=axes, ticks=edges, extend=extend, **place)
    if edges is None:
        bar.outline.set_visible(False)
    else:
        bar.ax.set_xticklabels([f"{edge:g}" for edge in edges])
    room = figure.bbox.width / figure.dpi * LETTERS
    bar.set_label(label if len(label) <= room else label.replace("; ", ";\n"))
    figure.suptitle(title, fontsize="large")
    return figure


# --- words


def as_dates(times: np.ndarray | np.datetime64) -> np.ndarray:
    """Return times of any calendar as datetime64; 30 February falls on the first days of March."""
    times = np.asarray(times)
    if times.dtype.kind == "M":
        return times.astype("M8[s]")
    days = [np.datetime64(f"{t.year:04d}-{t.month:02d}", "D") + (t.day - 1) for t in times.flat]
    seconds = [(t.hour * 60 + t.minute) * 60 + t.second for t in times.flat]
    dates = np.array(days, "M8[s]") + np.array(seconds, "m8[s]")
    return dates.reshape(times.shape)


def str_date(time: np.ndarray | np.datetime64, forecast: xr.DataArray) -> str:
    """Return a date as short as the forecast's leads allow: a month, or to the minute."""
    form = "%Y-%m-%d %H:%M" if has_durations(forecast) else "%b %Y"
    return pd.Timestamp(as_dates(time).item()).strftime(form)


def str_pack(forecast: xr.DataArray) -> str:
    """Return " by" and the pack that made a forecast, where its attributes name it."""
    return f" by {forecast.attrs['pack']}" if "pack" in forecast.attrs else ""


def str_init(forecast: xr.DataArray) -> str:
    """Return " from" and the init of a forecast, where it is labelled."""
    init = forecast.coords.get("init")
    return "" if init is None else f" from {str_date(init.values, forecast)}"


def frame_titles(frames: xr.DataArray) -> list[str]:
    """Return the title of each frame (lead, ...): its lead and its valid time.

    >>> coords = {"lead": [1, 2], "valid_time": ("lead", pd.to_datetime(["2000-08", "2000-09"]))}
    >>> fc = xr.DataArray([0.0, 0.0], coords, "lead")
    >>> fc.lead.attrs["units"] = "months"
    >>> frame_titles(fc)
    ['lead 1 month, Aug 2000', 'lead 2 months, Sep 2000']
    """
    if has_durations(frames):
        return _durations(frames)
    titles = []
    for frame in frames.transpose("lead", ...):
        lead, valid = frame.coords.get("lead"), frame.coords.get("valid_time")
        words = []
        if lead is not None:
            units = str(lead.attrs.get("units", ""))
            words.append(f"lead {lead.item()} {units.removesuffix('s') if lead == 1 else units}")
        if valid is not None:
            words.append(str_date(valid.values, frame))
        titles.append(", ".join(word.strip() for word in words))
    return titles


def _durations(frames: xr.DataArray) -> list[str]:
    """Return titles such as "+30 min, 21:40", all in one unit; "−" before the init."""
    seconds = np.atleast_1d(frames["lead"].values / np.timedelta64(1, "s"))
    dates = np.broadcast_to(as_dates(frames["valid_time"].values), seconds.shape)
    whole = {unit: not (seconds % size).any() for unit, (size, _) in CLOCKS.items()}
    whole["d"] &= bool(seconds.any())  # 0 alone is no number of days
    unit = next((unit for unit in CLOCKS if whole[unit]), "s")
    size, clock = CLOCKS[unit]
    signs = np.array(["", "+", "\N{MINUS SIGN}"])[np.sign(seconds).astype(int)]
    return [
        f"{sign}{abs(lead) / size:g} {unit}, {pd.Timestamp(date):{clock}}"
        for sign, lead, date in zip(signs, seconds, dates, strict=True)
    ]


def variable_label(da: xr.DataArray) -> str:
    """Return what a colour bar or an axis shows, and its units."""
    return with_units(variable_name(da), da)


def variable_name(da: xr.DataArray) -> str:
    """Return a variable in words."""
    name = str(da.attrs.get("standard_name") or da.attrs.get("long_name") or da.name or "")
    anomaly = " anomaly" if is_difference(da) and "anomaly" not in name else ""
    return name.replace("_", " ") + anomaly


def index_label(index: xr.DataArray) -> str:
    """Return what an index is called in pictures; of a box of one's own, where it lies.

    >>> index_label(xr.DataArray(0.0, name="relative_nino3.4"))
    'relative nino3.4 index'
    >>> index_label(xr.DataArray(0.0, name="index", attrs={"region": "5S-5N, 170W-120W"}))
    'mean of 5S-5N, 170W-120W'
    """
    if index.name == "index" and "region" in index.attrs:
        return f"mean of {index.attrs['region']}"
    return f"{index.name or ''} index".replace("_", " ").strip()


def skill_label(skill: xr.DataArray) -> str:
    """Return what a score is called, and its units."""
    return with_units(SKILL[str(skill.name)], skill)


def with_units(name: str, da: xr.DataArray) -> str:
    """Return a name, and the units of a variable in brackets."""
    units = short_units(da)
    return f"{name} ({units})" if units else name


def short_units(da: xr.DataArray) -> str:
    """Return the units of a variable as pictures write them; "" for a pure number."""
    units = str(da.attrs.get("units", ""))
    return UNITS.get(units, units)
