"""Pictures of forecasts: plumes of an index, and maps beside what was observed.

This file draws what it is given and computes nothing; matplotlib is imported when it is needed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields import quantities
from ..fields.axes import find_grid, is_degrees
from ..fields.time_axis import month_numbers
from . import coastlines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's colours, which differ for every kind of colour vision; black is the observations'.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
OBSERVED = "black"
LAND = "0.85"
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
THRESHOLDS = (-0.5, 0.5)  # degC: what NOAA calls La Nina and El Nino
UNITS = {"degC": "°C", "degree_Celsius": "°C", "degrees_Celsius": "°C", "celsius": "°C", "1": ""}
UNITS |= {"mm h-1": "mm/h", "kg m-2": "kg/m²"}
QUANTILES, MANY_MEMBERS = (0.05, 0.25, 0.75, 0.95), 10  # bands of a plume; from so many members on
MAPS = 4  # leads drawn when none are named
WIDTH = 3.4  # inches of a map


def array(data: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """What can be drawn: a DataArray, or the one variable of a Dataset.

    Raises
    ------
    ValueError
        A Dataset of several variables, or none.
    """
    if isinstance(data, xr.DataArray):
        return data
    names = list(data.data_vars)
    if len(names) != 1:
        found = ", ".join(map(str, names)) or "none"
        raise ValueError(f"expected one variable to draw, found {found}: name it, ds['...']")
    return data[names[0]]


def plume(
    forecast: xr.DataArray,
    observed: xr.DataArray | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    quantiles: Sequence[float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the forecasts of an index by valid time, over the observed index.

    Up to six inits get a colour each; more share one. A forecast whose init is observed starts from
    that value, so that the plume hangs on the observed line. Members are lines, or a median within
    bands.

    Parameters
    ----------
    forecast : DataArray ([init,] lead[, member])
        An index of a forecast, with coordinates `valid_time` and `init`.
    observed : DataArray (time,), optional
        The same index of observations. It is drawn from a year before the first forecast on.
    thresholds : sequence of float
        Where dashed lines go, in the index's units.
    quantiles : sequence of float, optional
        Rims of the bands about the median of the members, the outermost with one another and so on;
        none, (), for a line a member. None: 0.05, 0.25, 0.75 and 0.95 from ten members on.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Dims other than these; nothing to draw; quantiles that make no bands.

    Examples
    --------
    >>> import xarray as xr
    >>> fc = xr.DataArray([0.4, 0.7], dims="lead", name="nino3.4", attrs={"units": "degC"})
    >>> months = xr.date_range("1997-05", periods=2, freq="MS")
    >>> fc = fc.assign_coords(valid_time=("lead", months), init=months[0])
    >>> ax = plume(fc)
    >>> ax.get_ylabel()
    'nino3.4 index (°C)'
    """
    forecast = _as_plume(forecast)
    observed = _as_line(observed)
    bands = _bands(quantiles, forecast.sizes["member"])
    ax = new_figure((9, 3.6), "constrained").subplots() if ax is None else ax
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=1.5)
    for value in thresholds:
        ax.axhline(value, color="0.6", linewidth=0.8, linestyle=(0, (4, 4)), zorder=1.5)
    if observed is not None:
        _draw_observed(ax, observed, _dates(forecast["valid_time"].values))
    _draw_inits(ax, forecast, observed, bands)
    ax.set_ylabel(_with_units(f"{forecast.name or ''} index".strip(), forecast))
    ax.spines[["top", "right"]].set_visible(False)
    _time_axis(ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    title = " ".join(["forecasts", *made_by(forecast)])
    if bands:
        told = " and ".join(f"{low:.0%} to {high:.0%}" for low, high in bands)
        title += f": median, {told} of {forecast.sizes['member']} members"
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def field(
    forecast: xr.DataArray,
    observed: xr.DataArray | None = None,
    *,
    init: Any = None,
    lead: Any = None,
    vmax: float | None = None,
    figure: "Figure | SubFigure | None" = None,
) -> "Figure | SubFigure":
    """Draw maps of one forecast, a column a lead, beside what was observed at those times.

    Parameters
    ----------
    forecast : DataArray ([init,] [lead,] y, x)
        Of several inits the one named by `init` is drawn. Rows and columns without any value are
        left out; longitudes run eastward from 0; cells without a value (land) are grey. With
        coastlines where cartopy is installed and has them on this machine.
    observed : DataArray (time, y, x), optional
        On the forecast's grid, in its units.
    init : label, optional
        None: the last.
    lead : label or list of labels, optional
        None: four, from the first to the last.
    vmax : float, optional
        End of the colour scale, which is symmetric about zero where values go below it. None: what
        99.5 % of the values stay within.
    figure : matplotlib Figure or SubFigure, optional
        Where to draw; a new one when not given.

    Returns
    -------
    Figure or SubFigure
        As given; a new Figure when none was.

    Raises
    ------
    KeyError
        An init or a lead that isn't in the forecast.
    ValueError
        Dims other than these; nothing but missing values.
    """
    forecast = pick(forecast, init, lead)
    y, x = find_grid(forecast)
    forecast = crop(eastward(forecast.compute(), x), y, x)
    rows = {"forecast": forecast}
    if observed is not None:
        rows["observed"] = at_valid_times(observed, forecast, y, x)
    norm = shared_colours(list(rows.values()), vmax)
    shape = len(rows), forecast.sizes["lead"]
    if figure is None:
        figure = _map_figure(forecast.sizes[y] / forecast.sizes[x], shape)
    axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for row, (name, da) in zip(axes, rows.items(), strict=True):
        for ax, k in zip(row, range(shape[1]), strict=True):
            image = draw_map(ax, da.isel(lead=k), y, x, norm)
        row[0].set_ylabel(name)
    coastlines.draw(axes.ravel().tolist(), forecast, y, x)
    _captions(figure, axes, image, forecast)
    return figure


def _as_plume(forecast: xr.DataArray) -> xr.DataArray:
    """The index with dims (init, lead, member), however many of them it came with."""
    strange = set(forecast.dims) - {"init", "lead", "member"}
    if strange or "lead" not in forecast.dims or "valid_time" not in forecast.coords:
        raise mismatch(
            "an index of a forecast, dims ([init,] lead[, member]) with valid_time",
            f"dims {forecast.dims}, coordinates {list(forecast.coords)}",
            'fc.earthformer.index("nino3.4") first',
        )
    attrs = forecast.attrs
    for dim in ("init", "member"):
        if dim not in forecast.dims:
            forecast = forecast.expand_dims(dim)
    valid = forecast["valid_time"]
    if "init" not in valid.dims:
        forecast = forecast.assign_coords(valid_time=valid.expand_dims("init"))
    return forecast.transpose("init", "lead", "member").assign_attrs(attrs).compute()


def _as_line(observed: xr.DataArray | None) -> xr.DataArray | None:
    """The observed index in memory, if there is one."""
    if observed is not None and observed.ndim != 1:
        mend = 'obs.earthformer.index("nino3.4") first'
        raise mismatch("an observed index, one dim of time", f"dims {observed.dims}", mend)
    return None if observed is None else observed.compute()


def _draw_observed(ax: "Axes", observed: xr.DataArray, valid: np.ndarray) -> None:
    """The observed line, from a year before the first valid time to the last."""
    dates = _dates(observed[observed.dims[0]].values)
    shown = (dates >= valid.min() - np.timedelta64(400, "D")) & (dates <= valid.max())
    line = {"color": OBSERVED, "linewidth": 1.6, "zorder": 2}
    ax.plot(dates[shown], observed.values[shown], label="observed", **line)


def _bands(quantiles: Sequence[float] | None, members: int) -> list[tuple[float, float]]:
    """Low and high rim of each band, the widest first.

    >>> _bands(None, 20), _bands(None, 9), _bands([0.9, 0.1], 9)
    ([(0.05, 0.95), (0.25, 0.75)], [], [(0.1, 0.9)])
    """
    if quantiles is None:
        quantiles = QUANTILES if members >= MANY_MEMBERS else ()
    rims = sorted(quantiles)
    half = len(rims) // 2
    if len(rims) % 2 or (rims and not 0 <= rims[0] <= rims[-1] <= 1):
        raise mismatch(
            "an even number of quantiles from 0 to 1", repr(quantiles), "quantiles=(0.1, 0.9)"
        )
    return list(zip(rims[:half], rims[: half - 1 : -1], strict=True))


def _draw_inits(
    ax: "Axes",
    forecast: xr.DataArray,
    observed: xr.DataArray | None,
    bands: list[tuple[float, float]],
) -> None:
    """One line an init and member, or a median in bands, from the observed value at its init on."""
    starts = {}
    if observed is not None:
        dates = _dates(observed[observed.dims[0]].values)
        starts = dict(zip(dates.tolist(), observed.values, strict=True))
    many, members = forecast.sizes["init"] > len(COLOURS), forecast.sizes["member"]
    for i in range(forecast.sizes["init"]):
        one = forecast.isel(init=i)
        dates, values = _dates(one["valid_time"].values), one.values
        if "init" in one.coords:
            init = _dates(one["init"].values)
            label = f"from {_month(init, one)}"
            if init.tolist() in starts:
                start = np.full((1, members), starts[init.tolist()])
                dates, values = np.append(init, dates), np.concatenate([start, values])
        else:
            label = "forecast"
        if many:
            label = f"{forecast.sizes['init']} forecasts"
        colour = COLOURS[0 if many else i]
        for low, high in bands:
            rims = np.quantile(values, (low, high), axis=1)
            ax.fill_between(dates, *rims, color=colour, alpha=0.18, linewidth=0, zorder=2.5)
        lines = ax.plot(
            dates,
            np.median(values, axis=1) if bands else values,
            color=colour,
            linewidth=1.0 if many else 1.5,
            alpha=0.6 if many or (members > 1 and not bands) else 1.0,
            zorder=3,
        )
        if not (many and i):
            lines[0].set_label(label)


def _time_axis(ax: "Axes") -> None:
    """Few, short dates below faint lines."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    ax.set_xmargin(0.01)
    ax.set_axisbelow(True)
    ax.grid(axis="x", color="0.92", linewidth=0.8)


def pick(forecast: xr.DataArray, init: Any, lead: Any, *others: str) -> xr.DataArray:
    """One init and a few leads, with a dimension `lead`; other dims than these may not be there."""
    if "init" in forecast.dims:
        forecast = forecast.isel(init=-1) if init is None else forecast.sel(init=init)
        if forecast.sizes.get("init") == 1:  # by a label that stands for a span, as "1997-06" does
            forecast = forecast.squeeze("init")
    strange = set(forecast.dims) - {"lead", *others, *find_grid(forecast)}
    if strange:
        raise mismatch(
            "maps of one forecast, dims ([lead,] y, x)",
            f"also {', '.join(map(str, strange))}",
            f"fc.isel({min(map(str, strange))}=0)",
        )
    if "lead" not in forecast.dims:
        return forecast.expand_dims("lead")
    if lead is None:
        n = forecast.sizes["lead"]
        picked = np.unique(np.linspace(0, n - 1, min(n, MAPS)).round().astype(int))
        return forecast.isel(lead=picked)
    return forecast.sel(lead=np.atleast_1d(lead))


def eastward(da: xr.DataArray, x: str) -> xr.DataArray:
    """Longitudes from 0 eastward, which leaves the Pacific whole; other coordinates unchanged."""
    if x not in da.coords or not is_degrees(da[x]):
        return da
    attrs = da[x].attrs
    return da.assign_coords({x: (x, da[x].values % 360, attrs)}).sortby(x)


def crop(da: xr.DataArray, y: str, x: str) -> xr.DataArray:
    """Without the rim that holds no value, such as what lies beyond the pack's grid."""
    there = da.notnull()
    keep = {}
    for dim in (y, x):
        positions = np.flatnonzero(there.any([d for d in da.dims if d != dim]).values)
        if not positions.size:
            raise ValueError("nothing to draw: every value of this forecast is missing")
        keep[dim] = slice(positions[0], positions[-1] + 1)
    return da.isel(keep)


def at_valid_times(observed: xr.DataArray, forecast: xr.DataArray, y: str, x: str) -> xr.DataArray:
    """The observations of the forecast's valid times and cells; missing beyond the record."""
    names = dict(zip(find_grid(observed), (y, x), strict=True))
    (time,) = set(observed.dims) - set(names)
    observed = observed.rename({own: name for own, name in names.items() if own != name})
    observed = eastward(observed, x)
    held, wanted = observed[time], forecast["valid_time"]
    if _is_monthly(forecast):  # whatever the day of the month
        held, wanted = held.copy(data=month_numbers(held)), wanted.copy(data=month_numbers(wanted))
    observed = observed.assign_coords({time: held}).reindex({time: np.atleast_1d(wanted)})
    observed = observed.rename({time: "lead"}).drop_vars("lead")
    for dim in (y, x):
        if dim in forecast.coords and dim in observed.coords:
            cells = forecast[dim]
            close = 1e-3 * float(np.abs(np.diff(cells)).min())
            try:
                observed = observed.sel({dim: cells.values}, method="nearest", tolerance=close)
            except KeyError as error:
                raise mismatch(
                    f"observations that hold the cells of the forecast along {dim}",
                    f"{observed.sizes[dim]} others, or a part of them",
                    "obs.interp_like(fc)",
                ) from error
    return observed.transpose("lead", *[d for d in forecast.dims if d != "lead"]).compute()


def shared_colours(maps: list[xr.DataArray], vmax: float | None) -> dict[str, Any]:
    """Colour map and limits that all maps share."""
    values = np.concatenate([da.values[np.isfinite(da.values)] for da in maps])
    if vmax is None:
        vmax = float(f"{np.quantile(np.abs(values), 0.995):.2g}") or 1.0
    if values.min() < 0:
        return {"cmap": DIVERGING, "vmin": -vmax, "vmax": vmax}
    return {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": vmax}


def draw_map(ax: "Axes", da: xr.DataArray, y: str, x: str, colours: dict[str, Any]) -> Any:
    """One map; grey where there is no value."""
    from matplotlib.ticker import MaxNLocator

    ax.set_facecolor(LAND)
    da = da.transpose(y, x)
    coords = [da[dim].values if dim in da.coords else np.arange(da.sizes[dim]) for dim in (x, y)]
    image = ax.pcolormesh(*coords, da.values, shading="nearest", rasterized=True, **colours)
    ax.set_aspect("equal")
    if not bool(da.notnull().any()):
        ax.text(0.5, 0.5, "no observation", transform=ax.transAxes, ha="center", va="center")
    for axis, dim, signs in ((ax.yaxis, y, "NS"), (ax.xaxis, x, "EW")):
        if dim in da.coords and is_degrees(da[dim]):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 3, 6, 9, 10]))
            axis.set_major_formatter(lambda value, _, signs=signs: _degrees(value, signs))
    ax.tick_params(labelsize="small", length=2)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _captions(
    figure: "Figure | SubFigure", axes: np.ndarray, image: Any, forecast: xr.DataArray
) -> None:
    """Titles of columns and figure, and the colour bar."""
    for k, ax in enumerate(axes[0]):
        ax.set_title(lead_title(forecast.isel(lead=k)), fontsize="medium")
    shrink = min(1.0, 5.0 / WIDTH / axes.shape[1])
    under = {"location": "bottom", "shrink": shrink, "aspect": 35, "pad": 0.03}
    extend = "both" if image.norm.vmin < 0 else "max"
    bar = figure.colorbar(image, ax=axes, extend=extend, **under)
    bar.set_label(variable_label(forecast))
    bar.outline.set_visible(False)
    title = " ".join(["forecast", *made_by(forecast)])
    if "init" in forecast.coords:
        title += f" from {date_text(forecast['init'].values, forecast)}"
    figure.suptitle(title, fontsize="large")


def _degrees(value: float, signs: str) -> str:
    """A latitude or longitude as an atlas writes it.

    >>> _degrees(210, "EW"), _degrees(-5, "NS"), _degrees(0, "NS")
    ('150°W', '5°S', '0°')
    """
    value = (value + 180) % 360 - 180 if signs == "EW" else value
    edge = value in (0, -180)
    return f"{abs(value):g}°" + ("" if edge else signs[0] if value > 0 else signs[1])


def lead_title(forecast: xr.DataArray) -> str:
    """A map's title: its lead and its valid time."""
    parts = []
    if "lead" in forecast.coords:
        lead = forecast["lead"]
        if lead.dtype.kind == "m":
            parts.append(f"lead {pd.Timedelta(lead.values)}".replace("0 days 0", "").strip())
        else:
            units = str(lead.attrs.get("units", ""))
            units = units.removesuffix("s") if lead.item() == 1 else units
            parts.append(f"lead {lead.item()} {units}".strip())
    if "valid_time" in forecast.coords:
        parts.append(date_text(forecast["valid_time"].values, forecast))
    return ", ".join(parts)


def _month(date: np.datetime64, forecast: xr.DataArray) -> str:
    """A date as short as the forecast's steps allow: a month, or to the minute."""
    form = "%b %Y" if _is_monthly(forecast) else "%Y-%m-%d %H:%M"
    return pd.Timestamp(date.item()).strftime(form)


def date_text(time: np.ndarray, forecast: xr.DataArray) -> str:
    """The same of a time of any calendar."""
    return _month(_dates(time), forecast)


def _is_monthly(forecast: xr.DataArray) -> bool:
    return "lead" not in forecast.coords or forecast["lead"].dtype.kind != "m"


def _dates(times: np.ndarray) -> np.ndarray:
    """datetime64 of any calendar's times; 30 February falls on the first days of March."""
    times = np.asarray(times)
    if times.dtype.kind == "M":
        return times.astype("M8[s]")
    days = [np.datetime64(f"{t.year:04d}-{t.month:02d}", "D") + (t.day - 1) for t in times.flat]
    seconds = [(t.hour * 60 + t.minute) * 60 + t.second for t in times.flat]
    stamps = np.array(days, "M8[s]") + np.array(seconds, "m8[s]")
    return stamps.reshape(times.shape)


def made_by(forecast: xr.DataArray) -> list[str]:
    """Whose forecast it is, where it says so."""
    return [f"by {forecast.attrs['pack']}"] if "pack" in forecast.attrs else []


def variable_label(da: xr.DataArray) -> str:
    """What a colour bar shows, and its units."""
    name = str(da.attrs.get("standard_name") or da.attrs.get("long_name") or da.name or "")
    anomaly = " anomaly" if quantities.is_difference(da) and "anomaly" not in name else ""
    return _with_units(name.replace("_", " ") + anomaly, da)


def _with_units(name: str, da: xr.DataArray) -> str:
    units = str(da.attrs.get("units", ""))
    units = UNITS.get(units, units)
    return f"{name} ({units})" if units else name


def new_figure(size: tuple[float, float], layout: str) -> "Figure":
    """An empty figure, size in inches; an ImportError that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib, which isn't installed: pip install 'xearthformer[plot]'"
        ) from error
    return plt.figure(figsize=size, layout=layout)


def _map_figure(height_by_width: float, shape: tuple[int, int]) -> "Figure":
    """Room for rows and columns of maps, titles and a colour bar below."""
    rows, columns = shape
    width = WIDTH if columns > 1 else 1.6 * WIDTH
    size = columns * width + 0.6, rows * (width * height_by_width + 0.2) + 1.1
    return new_figure(size, "compressed")
