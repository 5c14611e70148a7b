"""Verification: the scores of a forecast against what was observed at its valid times.

align.align  ->  statistics: sums (init, lead)  ->  scores.score
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from functools import partial
from textwrap import indent

import numpy as np
import xarray as xr

from ..climate.regions import cell_areas
from ..errors import is_number, mismatch, renamed
from ..fields.columns import without_repeats
from ..fields.forecasts import takes_any_forecast
from ..fields.forms import takes_any_form
from ..fields.quantities import KNOWN, RAIN, RAIN_UNITS, names_of
from ..fields.units import equal_units
from .align import LEADING, align, pick_observed, pick_variable
from .base import Measure
from .confidence import (
    LEAST_BLOCKS,
    check_block,
    check_confidence,
    count_blocks,
    score_confidence,
)
from .grid import is_latlon, rings_of, spacing_of, window_pixels
from .regimes import by_regime, labels_of
from .scores import (
    SCORES,
    as_thresholds,
    check_names,
    default_scores,
    describe_scores,
    groups_of,
    score,
)
from .skill_score import on_common_pixels, skill_score
from .sums import sum_pairs

Data = xr.Dataset | xr.DataArray
Window = float | str
SEVIR_THRESHOLDS = 16.0, 74.0, 133.0, 160.0, 181.0, 219.0  # of vertically integrated liquid, 0..255
RAIN_THRESHOLDS = 0.5, 1.0, 5.0  # in RAIN_UNITS


@renamed(scale="window")
@takes_any_forecast
@takes_any_form
def verify(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    window: Window | Sequence[Window] | None = None,
    known: float | None = None,
    reference: Data | None = None,
    by: Hashable | xr.DataArray | None = None,
    confidence: float | None = None,
    block: int | str | None = None,
) -> xr.Dataset:
    """Score forecasts against observations, by lead and over all leads.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, [member,] [y, x])
        With the coordinate `valid_time`, as `forecast` gives it, or with any of the names that
        `as_forecast` knows: those of WeatherBench, earth2studio, cfgrib. Members are scored one by
        one, except by the scores of all members together; to score the ensemble mean, pass
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
    window : float or str, or a list of them, optional
        Width of the neighbourhoods of fss: a number of pixels, or a length such as "16 km". A list
        gives fss the dim `window`: a table by scale and threshold.
    known : float, optional
        Only pixels count of which at least this share stems from what was seen: those where the
        coordinate `known` of a nowcast is this or more, such as 0.5.
    reference : DataArray or Dataset ([init,] lead, [member,] [y, x]), optional
        Another forecast: the result has the skill against it too, and both are scored on the inits,
        leads and pixels where both have a value. The scores of its members are pooled.
    by : str or DataArray, optional
        A label of each init, which scores are grouped by: the name of a coordinate along `init`, or
        labels along init or time, such as `wet_area(observed)`.
    confidence : float, optional
        Level of confidence intervals by `score_confidence`, such as 0.9, in blocks of inits. The
        result is then in memory.
    block : int or str, optional
        Length of these blocks: a number of inits, or a duration such as "3h". Default: the longest
        lead.

    Returns
    -------
    Dataset
        `<score>` (lead, [member,] [window,] [threshold]) over all inits, and `<score>_pooled` over
        all leads too: hits, errors and so on are summed first. `n` (lead) is the number of pairs of
        values, both sides present; the attribute `pairs` says how many frames had an observed one.
        Errors are area-weighted means on latitude and longitude, plain means elsewhere; events are
        counted by pixels. Lazy if either side is.
        With a reference also `<score>_skill`, as `skill_score` gives it; with confidence
        `<score>_low` and `<score>_high`; with labels all of these by label, and `inits`, their
        number.

    Raises
    ------
    ValueError
        Nothing to compare: no valid time is observed; times are not decoded; other cells, dims,
        units, quantity or index; an init that is there twice; numbers that are no rain, such as
        -1 for what was not seen; a score without its
        thresholds or window; an unknown score; spread_skill without two
        members; `known` of a forecast that does not say it; too few inits for confidence.

    Notes
    -----
    The scores, what they need, and which are given by default:

    <list of scores>

    Scores of all members together count the pixels where the observation and every member have a
    value: `cases` (lead). M is the number of members; a forecast without members is an ensemble of
    one. In spectra, pixels without a value hold the mean; wavelengths are in the units of the
    grid's coordinates, km on latitude and longitude, pixels where coordinates are no lengths.

    Where pysteps, scores and xskillscore define the same score, it is the same number, but for
    values at a threshold, ties and pixels without a value: see `verification.categorical`,
    `spatial`, `probabilistic` and `sal`.

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
    fc = pick_variable(forecast)
    at = thresholds_of(fc, thresholds)
    arguments: dict = {"thresholds": at, "window": window, "known": known}
    check_block(block, confidence)
    if confidence is not None:  # before anything is computed
        check_confidence(fc["init"], fc["lead"], confidence, block)
    other = None
    if reference is not None:
        ref = pick_variable(reference, fc.name)
        if known is not None:
            fc = where_known(fc, known)
            # Persistence and others that say nothing of it count wherever the forecast does.
            ref = where_known(ref, known) if KNOWN in ref.coords else ref
            arguments["known"] = None
        fc, ref = on_common_pixels(fc, ref)
    labels = None if by is None else labels_of(by, fc)
    if reference is not None:
        other = _pool_members(statistics(ref, observed, _with_skill(scores), **arguments))
    sums = statistics(fc, observed, scores, **arguments)
    score_of = partial(scores_at, sums, other, scores, confidence, block)
    if labels is None:
        return score_of(slice(None))
    return by_regime(labels, score_of)


# The registry's list in place of its mark, indented like the mark; python -OO has no docstrings.
MARK = r"(?m)^( *)<list of scores>$"
verify.__doc__ = re.sub(MARK, lambda m: indent(describe_scores(), m[1]), verify.__doc__ or "")


def scores_at(
    sums: xr.Dataset,
    other: xr.Dataset | None,
    scores: Sequence[str] | None,
    confidence: float | None,
    block: int | str | None,
    inits: slice | np.ndarray,
) -> xr.Dataset:
    """Return the scores of some inits, their skill against another forecast, and intervals."""
    sums = sums.isel(init=inits)
    other = None if other is None else other.isel(init=inits)
    # Of a regime with too few inits the ends of intervals are missing.
    if confidence is not None and count_blocks(sums["init"], sums["lead"], block) >= LEAST_BLOCKS:
        return score_confidence(sums, scores, reference=other, block=block, level=confidence)
    result = score(sums, scores)
    if other is None:
        return result
    skill = skill_score(result, score(other))
    return result.merge(skill, compat="override", combine_attrs="override")


def _with_skill(scores: Sequence[str] | None) -> Sequence[str] | None:
    """Return the scores that have a perfect value."""
    if scores is None:
        return None
    check_names(scores)
    names = [name for name in scores if SCORES[name].perfect is not None]
    if not names:
        hint = 'scores=["mse"]'
        raise mismatch("a score that has a perfect value", ", ".join(scores) or "none", hint)
    return names


def _pool_members(sums: xr.Dataset) -> xr.Dataset:
    """Return sums with those of members one by one added up."""
    return sums.sum("member", keep_attrs=True) if "member" in sums.dims else sums


@renamed(scale="window")
@takes_any_forecast
@takes_any_form
def statistics(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    window: Window | Sequence[Window] | None = None,
    known: float | None = None,
) -> xr.Dataset:
    """Return the sums (init, lead) that `verify` computes its scores of; the same arguments.

    Sums add up: concatenate those of other inits, files or machines by `xr.concat(..., "init")`,
    and `scores.score` gives the scores of all, `score_confidence` how certain they are. The sums of
    sal are the three of each frame.

    Examples
    --------
    Persistence is off by 2, then by 3; sums of one forecast and of another give the score of both.

    >>> import xearthformer as xef
    >>> from xearthformer.verification.scores import score
    >>> time = xr.date_range("2000-01-01", periods=4, freq="D")
    >>> values = np.array([0.0, 1.0, 3.0, 6.0])[:, None, None]
    >>> observed = xr.DataArray(values, {"time": time}, ("time", "y", "x"))
    >>> fc = observed.earthformer.forecast("persistence", init=time[1:3].values, lead=1)
    >>> parts = [xef.statistics(fc[[k]], observed, ["mse"]) for k in (0, 1)]
    >>> score(xr.concat(parts, "init"), ["mse"])["mse"].values  # (4 + 9) / 2
    array([6.5])
    """
    fc = pick_variable(forecast)
    # Labels are compared before any value is read.
    fc, obs, positions = align(fc, pick_observed(observed, fc))
    if {*fc.dims} - {*LEADING}:  # a column that is there twice, as 0 and 360, counts once
        (fc, _), (obs, _) = without_repeats(fc), without_repeats(obs)
    if known is not None:  # not before: what it leaves out is not missing, and warned of
        fc = where_known(fc, known)
    measures, attrs = _measures(fc, obs, scores, thresholds, window)
    # Without members it is an ensemble of one; scores one by one keep the dims as they are.
    ensemble = fc if "member" in fc.dims else fc.expand_dims("member", axis=2)
    parts = [sum_pairs(ensemble if m.members else fc, obs, positions, m) for m in measures]
    sums = xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    if "window" in sums.dims and not np.ndim(window):  # type: ignore[arg-type]
        sums = sums.squeeze("window", drop=True)
    n, inits = int((positions >= 0).sum()), len(positions)
    pairs = f"{n} of {positions.size} frames from {inits} init{'s' * (inits > 1)}"
    return sums.assign_attrs(attrs, pairs=pairs)


def where_known(forecast: xr.DataArray, known: float) -> xr.DataArray:
    """Return a forecast without the pixels that stem by less than this share from what was seen."""
    if KNOWN not in forecast.coords:
        raise mismatch(
            f"a nowcast with the coordinate {KNOWN}, the share that stems from what was seen",
            ", ".join(map(str, forecast.coords)),
            "known=None, which counts all pixels",
        )
    check_share(known)
    return forecast.where(forecast[KNOWN] >= known)


def check_share(known: float) -> None:
    """Raise ValueError for what isn't a share of a value."""
    if not is_number(known) or not 0 < known <= 1:
        raise mismatch("known as a share above 0 and up to 1", repr(known), "known=0.5")


# --- arguments


def quantity(da: xr.DataArray) -> str | None:
    """Return "rain" for rain rate in mm h-1, "vil" for SEVIR's liquid in 0..255, else None."""
    units = str(da.attrs.get("units", ""))
    rain = da.attrs.get("standard_name") in names_of(RAIN)
    if rain and units and equal_units(units, RAIN_UNITS):
        return "rain"
    return "vil" if da.name == "vil" and units == "1" else None


def default_thresholds(da: xr.DataArray) -> tuple[float, ...]:
    """Return the thresholds of a variable that are used when none are named; none for most."""
    return {"rain": RAIN_THRESHOLDS, "vil": SEVIR_THRESHOLDS}.get(quantity(da) or "", ())


def thresholds_of(da: xr.DataArray, given: Sequence[float] | None) -> tuple[float, ...]:
    """Return thresholds as numbers: those that are given, or else those of the variable."""
    return default_thresholds(da) if given is None else as_thresholds(given)


def _measures(
    forecast: xr.DataArray,
    observed: xr.DataArray,
    scores: Sequence[str] | None,
    thresholds: Sequence[float] | None,
    window: Window | Sequence[Window] | None,
) -> tuple[list[Measure], dict[str, str]]:
    """Return what to sum, of members one by one and all together, and the attributes."""
    at = thresholds_of(forecast, thresholds)
    members = forecast.sizes.get("member", 1)
    if scores is None:
        scores = default_scores(at, window, members)
    gridded = observed.ndim == 3  # an index has the dim time alone
    check_names(scores)
    for name in scores:
        _check(name, at, window, members, gridded)
    rings = areas = None
    windows: list[Window] = []
    pixels: tuple[tuple[int, int], ...] = ()
    if window is not None and any(SCORES[name].group.window for name in scores):
        windows = list(window) if np.ndim(window) else [window]  # type: ignore[arg-type,list-item]
        pixels = tuple(window_pixels(observed, width) for width in windows)
        if not windows or len({*windows}) < len(windows):
            raise mismatch("windows, each once", repr(window), 'window=["1 km", "4 km", "16 km"]')
    named = [width if isinstance(width, str) else f"{width:g} px" for width in windows]
    words = [f"{name}: {y} x {x} pixels" for name, (y, x) in zip(named, pixels, strict=True)]
    attrs = {"fss_window": ", ".join(words)} if words else {}
    if gridded and is_latlon(observed):
        areas = cell_areas(observed).values
    if any("wavelength" in SCORES[name].group.dims for name in scores):
        rings = rings_of(observed)
    single, together = groups_of(scores)
    spacing = spacing_of(observed) if gridded else (1.0, 1.0)
    measures = []
    if single:
        measures = [Measure(single, at, pixels, tuple(windows), spacing, areas, rings)]
    measures += [Measure(together, at, areas=areas, members=members)] if together else []
    return measures, attrs


def _check(name: str, at: Sequence[float], window: object, members: int, gridded: bool) -> None:
    """Raise ValueError for a score that lacks something it needs."""
    group = SCORES[name].group
    if "threshold" in group.dims and not at:
        raise mismatch(f"thresholds, for {name}", "none", "thresholds=[0.5, 1, 5]")
    if members < group.least_members:
        expected = f"an ensemble of {group.least_members} members or more, for {name}"
        raise mismatch(expected, f"{members} member", 'scores=["crps", "rmse"]')
    if group.window and window is None:
        raise mismatch(f"a window, for {name}", "none", 'window="16 km", or a number of pixels')
    if group.fields and not gridded:
        raise mismatch(f"fields, for {name}", "an index", 'scores=["mse"]')
