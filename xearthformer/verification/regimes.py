"""Scores by regime: inits grouped by a label, such as how much of the domain it rains on.

Labels are of what is seen at the init, never of what came: a forecaster could choose by them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, find_time
from ..fields.forms import takes_any_form
from ..fields.quantities import RAIN_UNITS
from ..fields.spacing import pixel_size
from ..fields.time_axis import months_of, str_time
from ..fields.units import convert_units
from .align import concat, pick_variable

Data = xr.Dataset | xr.DataArray
CONFIDENCE = "confidence"  # the attribute of scores with intervals
WET = 0.1  # mm h-1: a pixel with rain
EDGES = 0.05, 0.2  # of the wet share of the domain: showers, and widespread rain
INTENSE = 5.0  # mm h-1: about 34 dBZ, which steady rain seldom reaches
GAP = 4.0  # km: intense rain apart by up to this is one area, as the cells of a line are
SEEN = 0.25  # share of the pixels that must have a value, for the frame to have a regime
WINTER = 11, 12, 1, 2, 3  # months, of the northern hemisphere

# The regimes of rain: a frame is of the first one whose bounds (from, below) hold all it names.
# Bounds without a source were set by looking at squares of 256 km of seven events.
#   wet      share of the pixels seen with rain, from WET on
#   intense  share of these that is INTENSE
#   length   km, the major axis of the largest area of intense rain
#   cold     1 in the months of winter
ANY = math.inf
RULES: tuple[tuple[str, Mapping[str, tuple[float, float]]], ...] = (
    # Of a square of 256 km less than 26 by 26: scores are of a few pixels that come in.
    ("dry", {"wet": (0, 0.01)}),
    # A band of convection is 100 km long (Parker and Johnson, 2000), of 40 dBZ; 75 km, for the edge
    # of a square cuts it. Heavy steady rain has such areas too, but less than 5 % of it is intense,
    # or it rains on more than 45 %: a front, whose bright band may be as intense.
    ("organised", {"wet": (0, 0.45), "intense": (0.05, ANY), "length": (75, ANY)}),
    # Cells apart, however many: steady rain with cells in it has shares of .01 to .08.
    ("showers", {"wet": (0, 0.45), "intense": (0.1, ANY)}),
    # Fronts and showers of low tops. What is convective above is so in November too: the storms of
    # autumn over a warm sea are no winter rain.
    ("winter", {"cold": (1, ANY)}),
    # On less than a fifth of the domain (`wet_area` calls more widespread), and of some strength:
    # where less than 2 % is intense, it is the light edge of rain that the square cuts.
    ("showers", {"wet": (0, 0.2), "intense": (0.02, ANY)}),
    ("stratiform", {}),
)
REGIMES = tuple(dict.fromkeys(name for name, _ in RULES))


def wet_area(
    observed: Data, threshold: float = WET, edges: Sequence[float] = EDGES
) -> xr.DataArray:
    """Return the class of each observed frame by the share of its pixels with rain.

    For `verify(fc, obs, by=wet_area(obs))`, which scores forecasts from showers apart from those
    from widespread rain.

    Parameters
    ----------
    observed : DataArray or Dataset (time, y, x)
        Rain rate; pixels without a value do not count.
    threshold : float
        A pixel is wet from this value on, in the units of the data.
    edges : sequence of float
        Shares between 0 and 1 that separate the classes.

    Returns
    -------
    DataArray (time,)
        Such as "under 5 %", "5 to 20 %" and "over 20 %", and "" of frames without any value. In
        memory.

    Examples
    --------
    >>> from xearthformer.verification.regimes import wet_area
    >>> time = xr.date_range("2016-07-11", periods=2, freq="5min")
    >>> rain = xr.DataArray([[[0.0, 2.0]], [[0.0, 0.0]]], {"time": time}, ("time", "y", "x"))
    >>> wet_area(rain, edges=[0.3]).values
    array(['over 30 %', 'under 30 %'], dtype='<U10')
    """
    shares = [float(edge) for edge in edges]
    if not shares or shares != sorted({*shares}) or not 0 < shares[0] <= shares[-1] < 1:
        raise mismatch("rising shares between 0 and 1", repr(edges), "edges=[0.05, 0.2]")
    da = pick_variable(observed)
    time, grid = find_time(da), find_grid(da)
    wet = ((da >= threshold).where(da.notnull())).mean(grid).transpose(time).compute()
    percent = [f"{100 * edge:g}" for edge in shares]
    inner = [f"{a} to {b} %" for a, b in zip(percent, percent[1:], strict=False)]
    names = [f"under {percent[0]} %", *inner, f"over {percent[-1]} %", ""]
    classes = np.digitize(np.nan_to_num(wet.values), shares)
    labels = np.array(names)[np.where(wet.isnull(), -1, classes)]
    words = {"long_name": f"share of the domain from {threshold:g} {da.attrs.get('units', '')} on"}
    return xr.DataArray(labels, {time: da[time]}, (time,), "wet_area", words)


@takes_any_form
def rain_regime(observed: Data, winter: Sequence[int] = WINTER) -> xr.DataArray:
    """Return the regime of each observed frame of rain: how wet, how intense, how organised it is.

    For `verify(fc, obs, by=rain_regime(obs))`. A frame has one regime, so that large domains are
    better labelled square by square, of some 250 km.

    Parameters
    ----------
    observed : DataArray or Dataset (time, y, x)
        Rain rate, in units that convert to mm h-1, pixels of known length.
    winter : sequence of int
        Months of the cold season, 1 to 12. Default: November to March.

    Returns
    -------
    DataArray (time,)
        "stratiform", "showers", "organised" (squall lines and other convection 75 km and more
        long), "winter", "dry" (rain on less than 1 % of the pixels), or "" of frames of which less
        than a quarter was seen; the rules are `RULES`. In memory.

    Raises
    ------
    ValueError
        Pixels of unknown length; other units; months that are none.

    Examples
    --------
    >>> from xearthformer.verification.regimes import rain_regime
    >>> time = xr.date_range("2016-07-11", periods=2, freq="5min")
    >>> km = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    >>> coords = {"time": time} | {dim: (dim, km, {"units": "km"}) for dim in ("y", "x")}
    >>> rain = xr.DataArray(np.ones((2, 6, 6)), coords, ("time", "y", "x"))
    >>> rain = rain.assign_attrs(units="mm h-1")
    >>> rain[1] = 0
    >>> rain[1, 3] = 20  # a line of 120 km
    >>> rain_regime(rain).values
    array(['stratiform', 'organised'], dtype='<U10')
    """
    if not set(winter) <= {*range(1, 13)}:
        raise mismatch("months from 1 to 12", repr(winter), "winter=(11, 12, 1, 2, 3)")
    da = convert_units(pick_variable(observed), RAIN_UNITS, difference=False)
    time, grid = find_time(da), find_grid(da)
    y, x = _kilometres(da, grid)
    cold = np.isin(months_of(da[time]) % 12 + 1, list(winter))
    frames = da.transpose(time, *grid)
    labels = [
        _regime(frame.values, (y, x), bool(is_cold))
        for frame, is_cold in zip(frames, cold, strict=True)
    ]
    words = {"long_name": "regime of rain"}
    return xr.DataArray(np.array(labels), {time: da[time]}, (time,), "rain_regime", words)


def _kilometres(da: xr.DataArray, grid: tuple[str, str]) -> tuple[float, float]:
    """Return the km from pixel to pixel, along y and x; ValueError where nothing tells them."""
    y, x = pixel_size(da)
    if y is None or x is None:
        labels = ", ".join(
            f'{dim}=("{dim}", 1.0 * np.arange({da.sizes[dim]}), {{"units": "km"}})' for dim in grid
        )
        found = f"no lengths along {grid[0]} and {grid[1]}"
        hint = f"obs.assign_coords({labels}), for pixels of 1 km"
        raise mismatch("pixels whose length is known", found, hint)
    return y / 1000, x / 1000


def _regime(rain_YX: np.ndarray, spacing: tuple[float, float], cold: bool) -> str:
    """Return the regime of a frame in mm h-1, by `RULES`; "" where too little was seen."""
    seen = np.isfinite(rain_YX)
    if seen.mean() < SEEN:
        return ""
    wet, intense = rain_YX >= WET, rain_YX >= INTENSE
    found = {
        "wet": wet.sum() / seen.sum(),
        "intense": intense.sum() / max(1, wet.sum()),
        "length": _length(intense, spacing),
        "cold": float(cold),
    }
    return next(
        name
        for name, bounds in RULES
        if all(low <= found[key] < high for key, (low, high) in bounds.items())
    )


def _length(area_YX: np.ndarray, spacing: tuple[float, float]) -> float:
    """Return the km of the major axis of the largest area, that of the ellipse with its moments.

    Areas up to `GAP` apart are one.

    >>> _length(np.array([[1, 1, 1, 0, 1]], bool), (10, 10)) / 10  # 2 n / sqrt(3) of a line of n
    3.46...
    """
    from scipy.ndimage import binary_dilation, label

    if not area_YX.any():
        return 0.0
    size = [2 * round(GAP / 2 / step) + 1 for step in spacing]
    near, _ = label(binary_dilation(area_YX, np.ones(size)), np.ones((3, 3)))
    pixels = np.bincount(near[area_YX])  # of the rain itself, not of the gaps that were closed
    y_x = np.argwhere(area_YX & (near == pixels.argmax())) * spacing
    # The moments of whole pixels, which those of their centres are short of.
    moments = np.cov(y_x.T, bias=True) + np.diag(np.square(spacing) / 12)
    return float(4 * np.sqrt(np.linalg.eigvalsh(moments)[-1]))


def labels_of(
    by: Hashable | xr.DataArray,
    forecast: xr.DataArray,
    wet: str = "xef.wet_area(obs)",
    inits: str = "fc.init.values",
) -> xr.DataArray:
    """Return the label of each init: of a coordinate's name, or of labels along init or a time.

    ValueError where inits are missing, none has a label, or there is no such coordinate along init;
    `wet` and `inits` are what its hints name.
    """
    init = np.atleast_1d(forecast["init"].values)
    if not isinstance(by, xr.DataArray):
        along = [str(n) for n, c in forecast.coords.items() if c.dims == ("init",) and n != "init"]
        if by not in along:
            hint = f"by={wet}, or labels as a DataArray (init,)"
            found = f"{by!r}, of the coordinates {', '.join(along) or 'none'}"
            raise mismatch("a label of each init as a coordinate along init", found, hint)
        by = forecast[by]
    by = by.squeeze(drop=True) if by.ndim > 1 else by
    if by.ndim != 1:
        hint = f"by={wet}"
        raise mismatch("labels along one dim, init or time", f"dims {by.dims}", hint)
    dim = by.dims[0]
    missing = ~np.isin(init, by[dim].values)
    if missing.any():
        hint = f'by=labels.reindex({dim}={inits}, fill_value=""), which leaves it out'
        raise mismatch("a label of every init", f"none for {str_time(init[missing][0])}", hint)
    values = by.drop_vars([n for n in by.coords if n != dim]).sel({dim: init}).values
    name = by.name if by.name not in (None, "init", "lead", "member") else "regime"
    labels = xr.DataArray(values, dims="init", name=name, attrs=by.attrs)
    if not _has_label(labels).any():
        raise mismatch("inits with a label", "none", f"by={wet}")
    return labels


def _has_label(labels: xr.DataArray) -> np.ndarray:
    """Return where a label is neither missing nor empty."""
    return np.asarray(labels.notnull().values & (labels.values != ""))


def by_regime(labels: xr.DataArray, score_of: Callable[[np.ndarray], xr.Dataset]) -> xr.Dataset:
    """Return scores (label, ...), `score_of` the positions of each label's inits; "" is left out.

    `inits` counts those of each label.
    """
    named = _has_label(labels)
    values = np.unique(labels.values[named])
    positions = [np.flatnonzero(named & (labels.values == value)) for value in values]
    each = [score_of(at) for at in positions]
    taken = {*each[0].variables, *each[0].dims, "inits"}  # a label may be called as a score is
    name = "regime" if labels.name in taken else labels.name
    scores = concat(each, xr.Variable(name, values, labels.attrs))
    for words in [one.attrs[CONFIDENCE] for one in each if CONFIDENCE in one.attrs][:1]:
        # how many blocks there are differs from label to label
        scores.attrs[CONFIDENCE] = re.sub(r"\d+ blocks", "blocks", words)
    attrs = {"long_name": "inits of this label", "units": "1"}
    return scores.assign(inits=(name, [at.size for at in positions], attrs))
