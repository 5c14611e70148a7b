"""Verification: a forecast against what was observed at its valid times.

    align  ->  statistics (init, lead)  ->  scores.score

Labels are compared first, and what doesn't fit is refused before a value is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..climate.regions import cell_areas
from ..errors import mismatch
from ..fields import quantities
from ..fields.axes import coordinate, find_grid, find_time, is_degrees, spacing_in_metres
from ..fields.time_axis import month_numbers, str_time
from ..fields.units import convert_units, equal_units, to_metres
from .frame_sums import GROUPS, Measure
from .scores import (
    AT_THRESHOLDS,
    CATEGORICAL,
    CONTINUOUS,
    RAIN_THRESHOLDS,
    SCORES,
    SEVIR_THRESHOLDS,
    groups_of,
    score,
    take,
)
from .spectra import Rings

Data = xr.Dataset | xr.DataArray

METRES_PER_DEGREE = 6_371_000 * np.pi / 180
RAIN_UNITS = "mm h-1"  # of RAIN_THRESHOLDS
OF_FIELDS = "fractions", "contingency_pool4", "contingency_pool16", "spectrum"  # groups


def verify(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    scale: float | str | None = None,
) -> xr.Dataset:
    """Score forecasts against observations, by lead and over all leads.

    Parameters
    ----------
    forecast : DataArray or Dataset ([init,] lead, [member,] [y, x])
        With the coordinate `valid_time`, as `forecast` gives it. Members are scored one by one, but
        for the scores of all together; the ensemble mean is scored as `forecast.mean("member",
        skipna=False, keep_attrs=True)`.
    observed : DataArray or Dataset (time, [y, x])
        The same variable on the cells of the forecast, or more of them; dims in any order,
        longitudes to 180 or to 360. It may be longer than needed. Its units are converted to the
        forecast's.
    scores : sequence of str, optional
        "mse", "rmse", "mae", "me" (mean error), "correlation", "spectrum"; by threshold "csi",
        "pod", "sucr", "bias" (of frequency), "csi_pool4", "csi_pool16" (of the maxima of 4 x 4 and
        16 x 16 pixels) and "fss"; "csi_m", the mean csi of the thresholds, but for those that
        nobody reaches. Of all members together "crps", "spread_skill" and "rank_histogram"; by
        threshold "brier", "reliability" and "roc". None: the first five; csi, pod, sucr, bias and
        csi_m where there are thresholds; fss where there is a scale besides; and where there are
        members, all those of members together.
    thresholds : sequence of float, optional
        An event is a value of at least this, in the forecast's units. None: 0.5, 1 and 5 mm h-1 for
        rain rate, SEVIR's six for its VIL in 0..255 (a variable `vil` of units "1"), else none.
    scale : float or str, optional
        Width of the neighbourhoods of fss: pixels, or a length such as "16 km".

    Returns
    -------
    Dataset
        `<score>` (lead, [member,] [threshold]) of all inits together, `<score>_pooled` of all leads
        besides: hits, errors and so on are summed first. `n` (lead): pairs of values that count,
        those without a missing side; the attribute `pairs` says how many frames found one observed.
        Errors are area-weighted means on latitude and longitude, plain means elsewhere; events are
        counted by pixels. Lazy if either side is. See the notes for scores of ensembles and for
        spectra, which bring more than one variable.

    Raises
    ------
    ValueError
        Nothing to compare: no valid time is observed; times that aren't decoded; other cells, dims
        or units; a score without its thresholds or scale; an unknown score; spread_skill without
        two members.

    Notes
    -----
    Scores of ensembles count the pixels where the observation and every member have a value:
    `cases` (lead). A forecast without members is an ensemble of one.

    - `crps` is the fair one (Ferro, 2014), which doesn't depend on the number of members; of one
      member it is the mean absolute error.
    - `spread_skill` is `spread`, the root of the mean unbiased variance times (M + 1) / M, over
      `rmse_of_mean`: 1 for members that differ as much as the truth does from them.
    - `rank_histogram` (lead, rank) counts observations that 0 to M members lie below. Where members
      equal the observation, as where all is dry, it is shared evenly by the ranks that it may have.
    - `brier` is the fair one too: what the plain one would be with members without end.
    - `reliability` (lead, threshold, probability) is how often the event was observed where k of M
      members forecast it, `reliability_n` how often that was.
    - `roc` is the area under the curve of `roc_pod` over `roc_pofd`, those of warnings where the
      probability is this or more.

    `spectrum` (lead, [member,] wavelength) is the spectral density of frames, by Hann's window and
    averaged around rings; beside it `spectrum_observed`, of the same pixels, and `spectrum_ratio`.
    Pixels that don't count hold the mean. Wavelengths are in the units of the grid's coordinates,
    in km on latitude and longitude, in pixels where there is no length.

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
    sums = statistics(forecast, observed, scores, thresholds=thresholds, scale=scale)
    return score(sums, scores)


def statistics(
    forecast: Data,
    observed: Data,
    scores: Sequence[str] | None = None,
    *,
    thresholds: Sequence[float] | None = None,
    scale: float | str | None = None,
) -> xr.Dataset:
    """What `verify` takes its scores of: sums (init, lead), with the same arguments.

    Sums add up. Those of other inits, files or machines are put together by
    `xr.concat(..., "init")`, and `scores.score` takes the scores of all.
    """
    fc = _pick(forecast)
    fc, obs, at = align(fc, _pick(observed, fc.name))
    measures, said = _measures(fc, obs, scores, thresholds, scale)
    together = fc if "member" in fc.dims else fc.expand_dims("member", axis=2)
    parts = [take(together if each.members else fc, obs, at, each) for each in measures]
    sums = xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    n, inits = int((at >= 0).sum()), at.shape[0]
    said["pairs"] = f"{n} of {at.size} frames from {inits} init{'s' * (inits > 1)}"
    return sums.assign_attrs(said)


# --- alignment


def align(
    forecast: xr.DataArray, observed: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, np.ndarray]:
    """A forecast and observations on the same cells, and which frame each one is to meet.

    Returns
    -------
    forecast : DataArray (init, lead, [member,] [y, x])
    observed : DataArray (time, [y, x])
        In the forecast's units.
    at : int array (init, lead)
        Positions along `time`; -1 where there is no observation.

    Raises
    ------
    ValueError
        As `verify`.
    """
    forecast = _as_forecast(forecast)
    time = find_time(observed)
    extra = [d for d in observed.dims if d not in (time, *forecast.dims) and observed.sizes[d] == 1]
    observed = observed.squeeze(extra, drop=True)
    space = _space(forecast, observed, time)
    leading = [dim for dim in forecast.dims if dim in ("init", "lead", "member")]
    leading.sort(key=("init", "lead", "member").index)
    forecast = forecast.transpose(*leading, *space)
    observed = _in_units_of(forecast, observed.transpose(time, *space))
    at = _positions(forecast, observed[time])
    for dim in space:
        observed = _on_cells_of(forecast, observed, dim)
    return forecast, observed, at


def _pick(data: Data, name: Any = None) -> xr.DataArray:
    """The array itself; of a Dataset the variable of that name, or its only one."""
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        raise TypeError(f"expected an xarray DataArray or Dataset\n   found {type(data).__name__}")
    names = list(data.data_vars)
    if len(names) != 1 and name not in names:
        raise mismatch(
            "one variable" if name is None else f"one variable, or one named {name!r}",
            ", ".join(map(str, names)) or "none",
            "ds['...'], with the name of the variable",
        )
    return data[name if name in names else names[0]]


def _as_forecast(forecast: xr.DataArray) -> xr.DataArray:
    """With the dims init and lead, and valid_time along both."""
    if "valid_time" not in forecast.coords or not {"init", "lead"} <= {*forecast.coords}:
        raise mismatch(
            "a forecast, with the coordinates init, lead and valid_time",
            f"dims {forecast.dims}, coordinates {list(forecast.coords)}",
            "da.earthformer.forecast(...) for the forecast, obs for the observations",
        )
    valid = forecast["valid_time"].reset_coords(drop=True)
    lead = forecast["lead"]
    months = lead.dtype.kind in "iuf" and lead.attrs.get("units", "months") == "months"
    if valid.dtype.kind not in "MO" or not (months or lead.dtype.kind == "m"):
        raise mismatch(
            "valid times as dates, and leads as durations or months",
            f"valid_time {valid.dtype}, lead {lead.dtype} in {lead.attrs.get('units')}",
            "xr.open_dataset(..., decode_times=True, decode_timedelta=True)",
        )
    forecast = forecast.drop_vars("valid_time")
    for dim in ("init", "lead"):
        if dim not in forecast.dims:
            forecast = forecast.expand_dims(dim)
        if dim not in valid.dims:
            valid = valid.expand_dims({dim: forecast.sizes[dim]})
    valid = valid.drop_vars(["init", "lead"], errors="ignore").transpose("init", "lead")
    return forecast.assign_coords(valid_time=valid)


def _space(forecast: xr.DataArray, observed: xr.DataArray, time: str) -> list[str]:
    """The dims of the cells, y before x; none of an index."""
    own = {dim for dim in forecast.dims if dim not in ("init", "lead", "member")}
    found = {dim for dim in observed.dims if dim != time}
    if own != found or len(own) not in (0, 2):
        names = dict(zip(sorted(found - own, key=str), sorted(own - found, key=str), strict=False))
        raise mismatch(
            f"observations with the forecast's dims {tuple(map(str, own))} and time",
            f"dims {observed.dims}",
            f"obs.rename({names})" if names else "an index of both, or the fields of both",
        )
    return list(find_grid(observed)) if own else []


def _in_units_of(forecast: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Observations in the forecast's units; anomalies meet anomalies alone."""
    wanted, found = (str(da.attrs.get("units", "")) for da in (forecast, observed))
    difference = quantities.is_difference(forecast)
    if difference != quantities.is_difference(observed):
        kinds = "anomalies", "absolute values"
        raise mismatch(
            f"{kinds[not difference]}, as the forecast has them",
            f"{kinds[difference]} observed",
            "obs.earthformer.anomaly(...), with the climatology that the forecast's data had"
            if difference
            else "the observations that the anomaly was taken of",
        )
    if wanted == found:
        return observed
    if not wanted:
        raise mismatch(f"a forecast in {found}", "no units", f'fc.assign_attrs(units="{found}")')
    return convert_units(observed, wanted, difference=difference)


def _positions(forecast: xr.DataArray, time: xr.DataArray) -> np.ndarray:
    """Where along `time` each valid time stands (init, lead); -1 where it doesn't."""
    monthly = forecast["lead"].dtype.kind != "m"
    held = _stamps(time, monthly).tolist()
    known = {stamp: position for position, stamp in enumerate(held)}
    if len(known) < len(held):
        twice = next(stamp for stamp in held if held.count(stamp) > 1)
        first = str_time(time.values[held.index(twice)])
        raise mismatch(
            "one observation a month" if monthly else "every time of observation once",
            f"more than one for {first}",
            f'obs.resample({time.name}="MS").mean()'
            if monthly
            else f'obs.drop_duplicates("{time.name}")',
        )
    valid = forecast["valid_time"]
    wanted = _stamps(valid, monthly)
    at = [known.get(stamp, -1) for stamp in wanted.ravel().tolist()]
    if max(at, default=-1) < 0:
        raise mismatch(
            f"observations of the times forecast, {_span(valid)}",
            f"{_span(time)}; nothing to compare",
            "a record that covers them, or forecasts from earlier inits",
        )
    return np.array(at).reshape(wanted.shape)


def _stamps(time: xr.DataArray, monthly: bool) -> np.ndarray:
    """What equal times have in common: the month, or the second; a cftime date is itself."""
    if monthly:
        return month_numbers(time)
    if time.dtype.kind != "M":
        return time.values
    return (time.values.astype("M8[ms]").astype(np.int64) + 500) // 1000


def _span(time: xr.DataArray) -> str:
    return f"{str_time(time.values.min())} to {str_time(time.values.max())}"


def _on_cells_of(forecast: xr.DataArray, observed: xr.DataArray, dim: str) -> xr.DataArray:
    """Observations of the forecast's cells along a dim, in its order."""
    error = mismatch(
        f"observations that hold the cells of the forecast along {dim}",
        f"{observed.sizes[dim]} others, or a part of them",
        "obs.interp_like(fc), or a forecast from these observations",
    )
    if dim not in forecast.coords or dim not in observed.coords:
        if forecast.sizes[dim] != observed.sizes[dim]:
            raise error
        return observed
    cells, held = forecast[dim].values, observed[dim].values
    if is_degrees(observed[dim]):  # longitudes to 180 or to 360; rounded, for -1e-15 % 360
        cells, held = (np.round(degrees.astype(float), 6) % 360 for degrees in (cells, held))
    order = np.argsort(held)
    places = np.searchsorted(held[order], cells)
    near = np.stack([order[(places + step).clip(0, held.size - 1)] for step in (-1, 0)])
    gaps = np.abs(held[near] - cells)
    at = np.take_along_axis(near, gaps.argmin(axis=0)[None], axis=0)[0]
    spacing = np.abs(np.diff(cells)).min() if cells.size > 1 else 1.0
    if (gaps.min(axis=0) > 1e-3 * spacing).any():
        raise error
    return observed if np.array_equal(at, np.arange(held.size)) else observed.isel({dim: at})


# --- what is measured


def quantity(da: xr.DataArray) -> str | None:
    """ "rain" for rain rate in mm h-1, "vil" for SEVIR's liquid in 0..255, None for all else."""
    units = str(da.attrs.get("units", ""))
    rain = quantities.names_of("rainfall_rate")
    if da.attrs.get("standard_name") in rain and units and equal_units(units, RAIN_UNITS):
        return "rain"
    return "vil" if da.name == "vil" and units == "1" else None


def default_thresholds(da: xr.DataArray) -> tuple[float, ...]:
    """The thresholds at which a variable is scored unless others are named; none for most."""
    known = {"rain": RAIN_THRESHOLDS, "vil": SEVIR_THRESHOLDS}
    return known.get(quantity(da) or "", ())


def _measures(
    forecast: xr.DataArray,
    observed: xr.DataArray,
    scores: Sequence[str] | None,
    thresholds: Sequence[float] | None,
    scale: float | str | None,
) -> tuple[list[Measure], dict[str, Any]]:
    """What to sum of members one by one and of all together, and what the attributes say of it."""
    at = default_thresholds(forecast) if thresholds is None else _as_numbers(thresholds)
    members = forecast.sizes.get("member", 1)
    if scores is None:
        scores = _default_scores(at, scale, members)
    groups = _check_scores(scores, at, scale, members)
    gridded = observed.ndim == 3
    for name in scores:
        if not gridded and SCORES[name].group in OF_FIELDS:
            raise mismatch(f"fields, for {name}", "an index", 'scores=["csi", "mse"]')
    window = _window(observed, scale) if "fractions" in groups and scale is not None else None
    areas = cell_areas(observed).values if gridded and _is_latlon(observed) else None
    rings = _rings(observed) if "spectrum" in groups else None
    said = {}
    if window is not None:
        width = scale if isinstance(scale, str) else f"{scale:g} px"
        said["fss_window"] = f"{width}: {window[0]} x {window[1]} pixels"
    single = tuple(name for name in groups if not GROUPS[name].ensemble)
    of_all = tuple(name for name in groups if GROUPS[name].ensemble)
    measures = [Measure(single, at, window, areas, rings)] if single else []
    measures += [Measure(of_all, at, areas=areas, members=members)] if of_all else []
    return measures, said


def _default_scores(
    thresholds: tuple[float, ...], scale: float | str | None, members: int
) -> list[str]:
    scores = [*CONTINUOUS, *(CATEGORICAL if thresholds else ())]
    scores += ["fss"] if thresholds and scale is not None else []
    if members > 1:
        scores += ["crps", "spread_skill", "rank_histogram"]
        scores += ["brier", "reliability", "roc"] if thresholds else []
    return scores


def _as_numbers(thresholds: Sequence[float]) -> tuple[float, ...]:
    try:
        return tuple(float(threshold) for threshold in thresholds)
    except (TypeError, ValueError) as error:
        found = repr(thresholds)
        raise mismatch(
            "a list of numbers as thresholds", found, "thresholds=[0.5, 1, 5]"
        ) from error


def _check_scores(
    scores: Sequence[str], thresholds: tuple[float, ...], scale: float | str | None, members: int
) -> tuple[str, ...]:
    """The groups of sums that scores need, once nothing is missing for them."""
    if isinstance(scores, str):
        raise mismatch("a list of scores", repr(scores), f'scores=["{scores}"]')
    for name in scores:
        if name not in SCORES:
            raise mismatch(f"scores among {', '.join(SCORES)}", repr(name), 'scores=["mse"]')
        if name in AT_THRESHOLDS and not thresholds:
            raise mismatch(f"thresholds, for {name}", "none", "thresholds=[0.5, 1, 5]")
        if SCORES[name].group == "spread" and members < 2:
            expected = f"an ensemble of 2 members or more, for {name}"
            raise mismatch(expected, f"{members} member", 'scores=["crps", "rmse"]')
    if "fss" in scores and scale is None:
        raise mismatch("a scale, for fss", "none", 'scale="16 km", or a number of pixels')
    return groups_of(scores)


def _is_latlon(da: xr.DataArray) -> bool:
    axes = coordinate(da, "y"), coordinate(da, "x")
    return all(axis is not None and is_degrees(axis) for axis in axes)


def _window(da: xr.DataArray, scale: float | str) -> tuple[int, int]:
    """Pixels, y and x, of a width in pixels, or in a unit of length.

    At most twice the domain: from there on every window holds all of it, and FSS stays the same.
    """
    y, x = find_grid(da)
    pixels = _pixels(da, y, x, scale)
    return min(pixels[0], 2 * da.sizes[y]), min(pixels[1], 2 * da.sizes[x])


def _pixels(da: xr.DataArray, y: str, x: str, scale: float | str) -> tuple[int, int]:
    mend = 'scale="16 km", or a number of pixels from 1'
    if not isinstance(scale, str):
        if scale < 1:
            raise mismatch("a scale of 1 pixel or more", repr(scale), mend)
        return round(scale), round(scale)
    number, unit = scale.rstrip("abcdefghijklmnopqrstuvwxyz "), scale.lstrip("0123456789. ")
    metres = to_metres(unit)
    try:
        width = float(number) * metres if metres else 0.0
    except ValueError:
        width = 0.0
    if width <= 0:
        raise mismatch("a scale as a length", repr(scale), mend)
    spacings = _spacings(da, y, x)
    if None in spacings:
        found = f"no lengths along {y} and {x}"
        raise mismatch("a grid whose pixels have a length", found, "scale=16, a number of pixels")
    pixels = [max(1, round(width / spacing)) for spacing in spacings if spacing]
    return pixels[0], pixels[1]


def _spacings(da: xr.DataArray, y: str, x: str) -> list[float | None]:
    """Metres from pixel to pixel, y and x; None where a coordinate is no length."""
    if not _is_latlon(da):
        return [spacing_in_metres(da, dim) for dim in (y, x)]
    shrink = float(np.cos(np.radians(np.mean(da[y].values))))
    degrees = [float(np.median(np.abs(np.diff(da[dim].values)))) for dim in (y, x)]
    return [degrees[0] * METRES_PER_DEGREE, degrees[1] * METRES_PER_DEGREE * shrink]


def _rings(da: xr.DataArray) -> Rings:
    """What a spectrum is averaged around, in a length or, without any, in pixels."""
    y, x = find_grid(da)
    shape = da.sizes[y], da.sizes[x]
    if min(shape) < 2:
        raise mismatch("fields of 2 x 2 pixels or more, for spectrum", f"{shape}", 'scores=["mse"]')
    spacings = [each for each in _spacings(da, y, x) if each]
    if len(spacings) < 2:
        return Rings(shape, (1.0, 1.0))
    units = "km" if _is_latlon(da) else str(da[y].attrs["units"])
    metres = to_metres(units) or 1.0
    return Rings(shape, (spacings[0] / metres, spacings[1] / metres), units)
