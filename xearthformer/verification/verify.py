"""Verification: the scores of a forecast against what was observed at its valid times.

align.align  ->  statistics: sums (init, lead)  ->  scores.score
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import indent

import numpy as np
import xarray as xr

from ..climate.regions import cell_areas
from ..errors import mismatch, renamed
from ..fields import quantities
from ..fields.axes import coordinate, find_grid, is_degrees, spacing_in_metres
from ..fields.units import equal_units, to_metres
from .align import align, pick_observed, pick_variable
from .base import Measure
from .scores import SCORES, default_scores, describe_scores, groups_of, score
from .spectra import Rings
from .sums import sum_pairs

Data = xr.Dataset | xr.DataArray
METRES_PER_DEGREE = 6_371_000 * np.pi / 180
SEVIR_THRESHOLDS = 16.0, 74.0, 133.0, 160.0, 181.0, 219.0  # of vertically integrated liquid, 0..255
RAIN_THRESHOLDS = 0.5, 1.0, 5.0
RAIN_UNITS = "mm h-1"  # of RAIN_THRESHOLDS


@renamed(scale="window")
def verify(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    window: float | str | None = None,
) -> xr.Dataset:
    """Score forecasts against observations, by lead and over all leads.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, [member,] [y, x])
        With the coordinate `valid_time`, as `forecast` gives it. Members are scored one by one,
        except by the scores of all members together; to score the ensemble mean, pass
        `forecast.mean("member", skipna=False, keep_attrs=True)`.
    observed : DataArray or Dataset (time, [y, x])
        The same variable on the cells of the forecast, or more of them; dims in any order,
        longitudes to 180 or to 360, any length of record. Its units are converted to the
        forecast's.
    scores : sequence of str, optional
        Names from the list in the notes. None: those marked "by default" that have what they need:
        thresholds, a window, two members or more.
    thresholds : sequence of float, optional
        An event is a value of at least this, in the forecast's units. None: 0.5, 1 and 5 mm h-1 for
        rain rate, SEVIR's six for its VIL in 0..255 (a variable `vil` of units "1"), else none.
    window : float or str, optional
        Width of the neighbourhoods of fss: a number of pixels, or a length such as "16 km".

    Returns
    -------
    Dataset
        `<score>` (lead, [member,] [threshold]) over all inits, and `<score>_pooled` over all leads
        too: hits, errors and so on are summed first. `n` (lead) is the number of pairs of values,
        both sides present; the attribute `pairs` says how many frames had an observed one. Errors
        are area-weighted means on latitude and longitude, plain means elsewhere; events are counted
        by pixels. Lazy if either side is.

    Raises
    ------
    ValueError
        Nothing to compare: no valid time is observed; times are not decoded; other cells, dims or
        units; a score without its thresholds or window; an unknown score; spread_skill without two
        members.

    Notes
    -----
    The scores, what they need, and which are given by default:

    <list of scores>

    Scores of all members together count the pixels where the observation and every member have a
    value: `cases` (lead). M is the number of members; a forecast without members is an ensemble of
    one. In spectra, pixels without a value hold the mean; wavelengths are in the units of the
    grid's coordinates, km on latitude and longitude, pixels where coordinates are no lengths.

    Examples
    --------
    >>> import xearthformer as xef
    >>> time = xr.date_range("2016-07-11T21:00", periods=6, freq="5min")
    >>> attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    >>> rain = xr.DataArray(np.ones((6, 2, 2)), {"time": time}, ("time", "y", "x"), attrs=attrs)
    >>> fc = rain.earthformer.forecast("persistence", init=time[2], lead=3)
    >>> result = xef.verify(fc, rain, ["csi", "mse"])
    >>> result["csi"].sel(threshold=1).values, result["mse_pooled"].item()
    (array([1., 1., 1.]), 0.0)
    >>> result.attrs["pairs"]
    '3 of 3 frames from 1 init'
    """
    sums = statistics(forecast, observed, scores, thresholds=thresholds, window=window)
    return score(sums, scores)


# The registry's list in place of its mark, indented like the mark; python -OO has no docstrings.
MARK = r"(?m)^( *)<list of scores>$"
verify.__doc__ = re.sub(MARK, lambda m: indent(describe_scores(), m[1]), verify.__doc__ or "")


@renamed(scale="window")
def statistics(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    window: float | str | None = None,
) -> xr.Dataset:
    """Return the sums (init, lead) that `verify` computes its scores of; the same arguments.

    Sums add up: concatenate those of other inits, files or machines by `xr.concat(..., "init")`,
    and `scores.score` gives the scores of all.
    """
    fc = pick_variable(forecast)
    # Labels are compared before any value is read.
    fc, obs, positions = align(fc, pick_observed(observed, fc))
    measures, attrs = _measures(fc, obs, scores, thresholds, window)
    # Without members it is an ensemble of one; scores one by one keep the dims as they are.
    ensemble = fc if "member" in fc.dims else fc.expand_dims("member", axis=2)
    parts = [sum_pairs(ensemble if m.members else fc, obs, positions, m) for m in measures]
    sums = xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    n, inits = int((positions >= 0).sum()), len(positions)
    pairs = f"{n} of {positions.size} frames from {inits} init{'s' * (inits > 1)}"
    return sums.assign_attrs(attrs, pairs=pairs)


# --- arguments


def quantity(da: xr.DataArray) -> str | None:
    """Return "rain" for rain rate in mm h-1, "vil" for SEVIR's liquid in 0..255, else None."""
    units = str(da.attrs.get("units", ""))
    rain = da.attrs.get("standard_name") in quantities.names_of("rainfall_rate")
    if rain and units and equal_units(units, RAIN_UNITS):
        return "rain"
    return "vil" if da.name == "vil" and units == "1" else None


def default_thresholds(da: xr.DataArray) -> tuple[float, ...]:
    """Return the thresholds of a variable that are used when none are named; none for most."""
    return {"rain": RAIN_THRESHOLDS, "vil": SEVIR_THRESHOLDS}.get(quantity(da) or "", ())


def _measures(
    forecast: xr.DataArray,
    observed: xr.DataArray,
    scores: Sequence[str] | None,
    thresholds: Sequence[float] | None,
    window: float | str | None,
) -> tuple[list[Measure], dict[str, str]]:
    """Return what to sum, of members one by one and all together, and the attributes."""
    if thresholds is None:
        thresholds = default_thresholds(forecast)
    try:
        at = tuple(map(float, thresholds))
    except (TypeError, ValueError) as error:
        hint = "thresholds=[0.5, 1, 5]"
        raise mismatch("a list of numbers as thresholds", repr(thresholds), hint) from error
    members = forecast.sizes.get("member", 1)
    if scores is None:
        scores = default_scores(at, window, members)
    gridded = observed.ndim == 3  # an index has the dim time alone
    if isinstance(scores, str):
        raise mismatch("a list of scores", repr(scores), f'scores=["{scores}"]')
    for name in scores:
        _check(name, at, window, members, gridded)
    pixels = rings = areas = None
    attrs = {}
    if window is not None and any(SCORES[name].group.window for name in scores):
        pixels = _window_pixels(observed, window)
        width = window if isinstance(window, str) else f"{window:g} px"
        attrs["fss_window"] = f"{width}: {pixels[0]} x {pixels[1]} pixels"
    if gridded and _is_latlon(observed):
        areas = cell_areas(observed).values
    if any("wavelength" in SCORES[name].group.dims for name in scores):
        rings = _rings(observed)
    single, together = groups_of(scores)
    measures = [Measure(single, at, pixels, areas, rings)] if single else []
    measures += [Measure(together, at, areas=areas, members=members)] if together else []
    return measures, attrs


def _check(name: str, at: Sequence[float], window: object, members: int, gridded: bool) -> None:
    """Raise ValueError for an unknown score, or one that lacks something it needs."""
    if name not in SCORES:
        raise mismatch(f"scores among {', '.join(SCORES)}", repr(name), 'scores=["mse"]')
    group = SCORES[name].group
    if "threshold" in group.dims and not at:
        raise mismatch(f"thresholds, for {name}", "none", "thresholds=[0.5, 1, 5]")
    if members < group.least_members:
        expected = f"an ensemble of {group.least_members} members or more, for {name}"
        raise mismatch(expected, f"{members} member", 'scores=["crps", "rmse"]')
    if group.window and window is None:
        raise mismatch(f"a window, for {name}", "none", 'window="16 km", or a number of pixels')
    if group.fields and not gridded:
        raise mismatch(f"fields, for {name}", "an index", 'scores=["csi", "mse"]')


# --- the grid


def _is_latlon(da: xr.DataArray) -> bool:
    axes = coordinate(da, "y"), coordinate(da, "x")
    return all(axis is not None and is_degrees(axis) for axis in axes)


def _window_pixels(da: xr.DataArray, window: float | str) -> tuple[int, int]:
    """Return the pixels, y and x, of a width in pixels or in a unit of length."""
    y, x = find_grid(da)
    hint = 'window="16 km", or a number of pixels from 1'
    if not isinstance(window, str):
        if window < 1:
            raise mismatch("a window of 1 pixel or more", repr(window), hint)
        pixels = [round(window)] * 2
    else:
        width = _metres(window)
        if width <= 0:
            raise mismatch("a window as a length", repr(window), hint)
        spacings = _spacings(da, y, x)
        if None in spacings:
            lengths = f"no lengths along {y} and {x}"
            hint = "window=16, a number of pixels"
            raise mismatch("a grid whose pixels have a length", lengths, hint)
        # At least the pixel itself, where pixels are wider than the window.
        pixels = [max(1, round(width / spacing)) for spacing in spacings if spacing]
    # From twice the domain on every window holds all of it, and FSS stays the same.
    return min(pixels[0], 2 * da.sizes[y]), min(pixels[1], 2 * da.sizes[x])


def _metres(length: str) -> float:
    """Return a length such as "16 km" in metres; 0 for what is no length."""
    number, unit = length.rstrip("abcdefghijklmnopqrstuvwxyz "), length.lstrip("0123456789. ")
    try:
        return float(number) * (to_metres(unit) or 0.0)
    except ValueError:
        return 0.0


def _spacings(da: xr.DataArray, y: str, x: str) -> list[float | None]:
    """Return metres from pixel to pixel, y and x; None where a coordinate is no length."""
    if not _is_latlon(da):
        return [spacing_in_metres(da, dim) for dim in (y, x)]
    shrink = float(np.cos(np.radians(np.mean(da[y].values))))  # of a degree of longitude
    degrees = [float(np.median(np.abs(np.diff(da[dim].values)))) for dim in (y, x)]
    return [degrees[0] * METRES_PER_DEGREE, degrees[1] * METRES_PER_DEGREE * shrink]


def _rings(da: xr.DataArray) -> Rings:
    """Return the rings of a grid, in its unit of length or, without any, in pixels."""
    y, x = find_grid(da)
    shape = da.sizes[y], da.sizes[x]
    if min(shape) < 2:
        raise mismatch("fields of 2 x 2 pixels or more, for spectrum", f"{shape}", 'scores=["mse"]')
    spacings = [spacing for spacing in _spacings(da, y, x) if spacing]
    if len(spacings) < 2:  # no length along y or x
        return Rings(shape, (1.0, 1.0))
    units = "km" if _is_latlon(da) else str(da[y].attrs["units"])
    metres = to_metres(units) or 1.0
    return Rings(shape, (spacings[0] / metres, spacings[1] / metres), units)
