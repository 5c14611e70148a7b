"""Scores by regime: inits grouped by a label, such as how much of the domain it rains on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, find_time
from ..fields.time_axis import str_time
from .align import concat, pick_variable

Data = xr.Dataset | xr.DataArray
WET = 0.1  # mm h-1: a pixel with rain
EDGES = 0.05, 0.2  # of the wet share of the domain: showers, and widespread rain


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


def labels_of(by: Hashable | xr.DataArray, forecast: xr.DataArray) -> xr.DataArray:
    """Return the label of each init: of a coordinate's name, or of labels along init or a time.

    ValueError where inits are missing, none has a label, or there is no such coordinate along init.
    """
    init = np.atleast_1d(forecast["init"].values)
    if not isinstance(by, xr.DataArray):
        along = [str(n) for n, c in forecast.coords.items() if c.dims == ("init",) and n != "init"]
        if by not in along:
            hint = "by=xef.wet_area(obs), or labels as a DataArray (init,)"
            found = f"{by!r}, of the coordinates {', '.join(along) or 'none'}"
            raise mismatch("a label of each init as a coordinate along init", found, hint)
        by = forecast[by]
    by = by.squeeze(drop=True) if by.ndim > 1 else by
    if by.ndim != 1:
        hint = "by=xef.wet_area(obs)"
        raise mismatch("labels along one dim, init or time", f"dims {by.dims}", hint)
    dim = by.dims[0]
    missing = ~np.isin(init, by[dim].values)
    if missing.any():
        hint = f'by=labels.reindex({dim}=fc.init.values, fill_value=""), which leaves it out'
        raise mismatch("a label of every init", f"none for {str_time(init[missing][0])}", hint)
    values = by.drop_vars([n for n in by.coords if n != dim]).sel({dim: init}).values
    name = by.name if by.name not in (None, "init", "lead", "member") else "regime"
    labels = xr.DataArray(values, dims="init", name=name, attrs=by.attrs)
    if not _has_label(labels).any():
        raise mismatch("inits with a label", "none", "by=xef.wet_area(obs)")
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
    scores = concat(
        [score_of(at) for at in positions], xr.Variable(labels.name, values, labels.attrs)
    )
    attrs = {"long_name": "inits of this label", "units": "1"}
    return scores.assign(inits=(labels.name, [at.size for at in positions], attrs))
