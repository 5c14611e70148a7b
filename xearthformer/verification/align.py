"""A forecast against observations: the same dims, units, valid times and cells, matched by labels.

Labels are compared first; what does not fit is an error before any value is read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import xarray as xr

from ..climate.baseline import baseline, check_baselines, str_period
from ..climate.indices import FITTED
from ..climate.regions import REGIONS, SUMS, spelt
from ..errors import mismatch
from ..fields.axes import (
    check_labelled,
    find_curvilinear,
    find_grid,
    find_time,
    is_degrees,
    same_places,
)
from ..fields.columns import without_repeats
from ..fields.curvilinear import to_latlon
from ..fields.forecasts import as_forecast
from ..fields.quantities import (
    KNOWN,
    SST,
    Labelled,
    check_unpacked,
    is_difference,
    names_of,
    same_quantity,
)
from ..fields.sentinels import check_values
from ..fields.stamps import GREGORIAN, microseconds
from ..fields.time_axis import SECOND, months_of, str_time, to_minute
from ..fields.time_bounds import with_middles
from ..fields.units import DIFFERENCE, convert_units, to_metres

LEADING = "init", "lead", "member"  # dims of a forecast before those of its cells
SAME_CELL = 1e-3  # of the grid spacing: centres no farther apart are the same cell


def align(
    forecast: xr.DataArray, observed: xr.DataArray, *, meet: bool = True, name: str = "fc"
) -> tuple[xr.DataArray, xr.DataArray, np.ndarray]:
    """Return both on the same cells and in the forecast's units, and where they meet in time.

    Dims are (init, lead, [member,] [y, x]) and (time, [y, x]). The third is an int array (init,
    lead) of positions along `time`, -1 where a valid time is not observed. Errors are as `verify`;
    that nothing is observed of what was forecast is one where they have to `meet`, and so are
    values that are no data (`check_values`). `name` is what lines to type call the forecast.
    """
    units = observed.attrs.get("units")
    forecast = _as_forecast(forecast)
    check_once(forecast["init"], name)
    time = find_time(observed)
    observed = _named_alike(observed, forecast)
    other = [d for d in observed.dims if d not in (time, *forecast.dims) and observed.sizes[d] == 1]
    observed = observed.squeeze(other, drop=True)  # a single level or band
    check_same(forecast, observed)
    own = [d for d in forecast.dims if d not in (*LEADING, *observed.dims)]
    if {*observed.dims} - {time} <= {*forecast.dims} and observed.ndim == 3:
        forecast = forecast.squeeze([d for d in own if forecast.sizes[d] == 1], drop=True)
    space = _match_dims(forecast, observed, time)
    observed = without_repeats(observed)[0] if space else observed
    forecast = forecast.transpose(*[dim for dim in LEADING if dim in forecast.dims], *space)
    observed = match_units(forecast, observed.transpose(time, *space))
    positions = match_valid_times(forecast, observed[time])
    if meet and not positions.size:
        raise mismatch("a forecast of one init and one lead or more", "none", "a larger part of it")
    if meet and positions.max(initial=-1) < 0:
        calendars = [t.dt.calendar for t in (forecast["valid_time"], observed[time])]
        found, hint = "", "a record that covers them, or forecasts from earlier inits"
        if calendars[0] != calendars[1] and not {*calendars} <= {*GREGORIAN}:
            found = f" in the calendar {calendars[1]}"
            hint = f'obs.convert_calendar("{calendars[0]}", dim="{time}")'
        raise mismatch(
            f"observations of the times forecast, {str_span(forecast['valid_time'])}",
            f"{str_span(observed[time])}{found}; nothing to compare",
            hint,
        )
    for dim in space:
        observed = match_cells(forecast, observed, dim)
    if space:
        check_places(forecast, observed)
    observed = check_values(observed, "obs", units=units, few=True)
    return check_values(forecast, name, forecast=True), observed, positions


def pick_variable(data: xr.Dataset | xr.DataArray, name: Hashable | None = None) -> xr.DataArray:
    """Return a DataArray as it is; of a Dataset the variable of that name, or its only one."""
    if isinstance(data, xr.DataArray):
        check_unpacked(data)
        return data
    check_labelled(data)
    names = list(data.data_vars)
    if len(names) != 1 and name not in names:
        raise mismatch(
            "one variable" if name is None else f"one variable, or one named {name!r}",
            ", ".join(map(str, names)) or "none",
            f'ds["{names[0]}"], for one of them' if names else "a Dataset with a variable",
        )
    da = data[name if name in names else names[0]]
    check_unpacked(da)
    return with_middles(da, data)


def pick_indexed(data: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the variable that indices of the climate are of: as `pick_variable`, or the only SST.

    So a forecast of sea surface temperature and height needs no choice where El Nino is asked for.
    """
    if isinstance(data, xr.Dataset) and len(data.data_vars) > 1:
        names = names_of(SST)
        found = [name for name, da in data.items() if da.attrs.get("standard_name") in names]
        return pick_variable(data, found[0] if len(found) == 1 else None)
    return pick_variable(data)


def pick_observed(data: xr.Dataset | xr.DataArray, forecast: xr.DataArray) -> xr.DataArray:
    """Return the observations of a forecast's variable, as `pick_variable`.

    Those on a curvilinear grid are brought onto the latitudes and longitudes of the forecast, by
    the bounds of the cells where a Dataset has them, as the data that was forecast is.
    """
    observed = pick_variable(data, forecast.name)
    dims = {dim for c in observed.coords.values() if c.ndim == 2 for dim in c.dims}
    if not dims <= {*observed.dims} or len(dims) != 2 or not all(find_curvilinear(observed)):
        return observed  # an index has no grid to look for
    y_x = find_grid(forecast)
    if not all(dim in forecast.coords and is_degrees(forecast[dim]) for dim in y_x):
        return observed
    if all(find_curvilinear(forecast)):  # on the same cells: degrees of a rotated pole
        return observed
    latitude, longitude = (np.sort(forecast[dim].values) for dim in y_x)
    regridded = to_latlon(observed, latitude, longitude, data)
    names = zip(("lat", "lon"), y_x, strict=True)
    return regridded.rename({own: dim for own, dim in names if own != dim})


def match_units(forecast: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return observations in the forecast's units.

    Anomalies match anomalies alone, and those against the same climatology period, where both sides
    state one.
    """
    units, observed_units = (str(da.attrs.get("units", "")) for da in (forecast, observed))
    difference = is_difference(forecast)
    if difference != is_difference(observed):
        kinds = "anomalies", "absolute values"
        hint = "the observations that the anomaly was taken of"
        if difference:
            period = baseline(forecast)
            hint = "obs.earthformer.anomaly(...), with the climatology that the forecast's data had"
            if period is not None:
                hint = f"obs.earthformer.anomaly(climatology={str_period(period)})"
            hint += f'; if these are anomalies, obs.assign_attrs(units_metadata="{DIFFERENCE}")'
        expected = f"{kinds[not difference]}, as the forecast has them"
        raise mismatch(expected, f"{kinds[difference]} observed", hint)
    if difference:
        check_baselines(forecast, observed)
    if units == observed_units:
        return observed
    if not units:  # refused, since a forecast without units can be in any
        hint = f'fc.assign_attrs(units="{observed_units}")'
        raise mismatch(f"a forecast in {observed_units}", "no units", hint)
    return convert_units(observed, units, difference=difference)


def match_index(forecast: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return an observed index in the forecast's units, as `match_units`; bare numbers as they are.

    An index is often typed in or read from a table: a side without units is not converted.
    """
    check_same(forecast, observed)
    if "units" in forecast.attrs and "units" in observed.attrs:
        return match_units(forecast, observed)
    check_baselines(forecast, observed)
    return observed


def check_same(forecast: xr.DataArray, observed: xr.DataArray) -> None:
    """Refuse observations of another quantity or index, where both sides say of which they are."""
    if not same_quantity(forecast, observed):
        own, theirs = (da.attrs["standard_name"] for da in (forecast, observed))
        hint = f'obs.assign_attrs(standard_name="{own}"), to compare them all the same'
        raise mismatch(f"observations of {own}", f"{theirs} ({observed.name})", hint)
    indices = {**REGIONS, **SUMS, **FITTED}
    named, found = (spelt(da.name, indices) for da in (forecast, observed))
    if named and found and named != found:
        hint = f'obs.rename("{forecast.name}"), if that is the index observed'
        raise mismatch(f"observations of {named}", found, hint)


def match_valid_times(forecast: xr.DataArray, time: xr.DataArray) -> np.ndarray:
    """Return the position along `time` of each valid time of a forecast; -1 where there is none.

    Monthly forecasts match by month, whatever the day and the calendar; others to the second, or
    to the minute where leads are whole minutes and one observation is of that minute: stamps that
    are seconds off are rounded before a forecast. The result is shaped like `valid_time`; times may
    be in any order, but each is observed once.
    """
    monthly = forecast["lead"].dtype.kind != "m"  # timedelta64
    stamps = _comparable(time, monthly).tolist()
    position_of = {stamp: position for position, stamp in enumerate(stamps)}
    if len(position_of) < len(stamps):
        twice = next(stamp for stamp in stamps if stamps.count(stamp) > 1)
        expected, hint = "every time of observation once", f'obs.drop_duplicates("{time.name}")'
        if monthly:
            ordered = (
                "obs" if time.to_index().is_monotonic_increasing else f'obs.sortby("{time.name}")'
            )
            expected = "one observation a month"
            hint = f'{ordered}.resample({time.name}="MS").mean(keep_attrs=True)'
        when = str_time(time.values[stamps.index(twice)])
        raise mismatch(expected, f"more than one for {when}", hint)
    valid = _comparable(forecast["valid_time"], monthly)
    positions = [position_of.get(stamp, -1) for stamp in valid.ravel().tolist()]
    found = np.array(positions, int).reshape(valid.shape)
    lead = forecast["lead"].values
    if monthly or (lead.astype("m8[s]") % np.timedelta64(60, "s")).any() or (found >= 0).all():
        return found
    return np.where(found >= 0, found, _positions_by_minute(forecast["valid_time"], time))


def _positions_by_minute(valid: xr.DataArray, time: xr.DataArray) -> np.ndarray:
    """Return the position along `time` of the same minute; -1 where none or several are of it."""
    stamps = [microseconds(t) for t in (time, valid)]
    if any(each.dtype == object for each in stamps):  # in a calendar of its own
        return np.full(valid.shape, -1)
    minutes, ours = map(to_minute, stamps)
    order = np.argsort(minutes, kind="stable")
    first, last = (np.searchsorted(minutes[order], ours, side) for side in ("left", "right"))
    return np.where(last - first == 1, order[first.clip(max=order.size - 1)], -1)


def observed_by_lead(observed: xr.DataArray, positions: np.ndarray) -> Iterator[xr.DataArray]:
    """Yield what was observed at the valid times of each lead (init, [y, x]); NaN without any.

    Arguments are as `align` gives them. By lead, so that no more than one of them is in memory.
    """
    time = observed.dims[0]
    along = [name for name, coord in observed.coords.items() if time in coord.dims]
    plain = observed.drop_vars(along)
    for at in positions.T:
        truth = plain.isel({time: xr.Variable("init", at)})
        yield truth.where(xr.DataArray(at >= 0, dims="init"))


def has_value(forecast: xr.DataArray, known: float | None = None) -> xr.DataArray:
    """Return where a forecast has a value; an ensemble, where all its members have.

    With `known`, where at least this share of it stems from what was seen, too, if it says so.
    """
    valid = forecast.notnull()
    valid = valid.all("member") if "member" in forecast.dims else valid
    if known is not None and KNOWN in forecast.coords:
        valid = valid & (forecast[KNOWN] >= known)
    # Other coordinates, such as `known`, are each forecast's own.
    return valid.drop_vars([name for name in valid.coords if name not in valid.dims])


def match_cells(
    forecast: xr.DataArray | xr.Dataset, observed: xr.DataArray, dim: str
) -> xr.DataArray:
    """Return observations of the forecast's cells along a dim, in the forecast's order.

    Longitudes match in either convention, to 180 or to 360. Without a coordinate on both sides the
    cells must be equally many.
    """
    error = mismatch(
        f"observations that hold the cells of the forecast along {dim}",
        f"{observed.sizes[dim]} others, or a part of them",
        _mend_cells(forecast, observed),
    )
    if dim not in forecast.coords or dim not in observed.coords:
        if forecast.sizes[dim] != observed.sizes[dim]:
            raise error
        return observed
    cells, centres = forecast[dim].values, observed[dim].values
    own, theirs = (
        to_metres(str(each[dim].attrs.get("units", ""))) for each in (forecast, observed)
    )
    if own and theirs and own != theirs:  # kilometres on one side
        centres = centres * (theirs / own)
    if is_degrees(observed[dim]):  # rounded first, since -1e-15 % 360 is 360
        cells, centres = (np.round(d.astype(float), 6) % 360 for d in (cells, centres))
    order = np.argsort(centres)  # rows from north to south descend
    places = np.searchsorted(centres[order], cells)
    # The nearest centre is one of the two neighbours in order.
    near = np.stack([order[(places + step).clip(0, centres.size - 1)] for step in (-1, 0)])
    gaps = np.abs(centres[near] - cells)
    at = np.take_along_axis(near, gaps.argmin(axis=0)[None], axis=0)[0]
    spacing = np.abs(np.diff(cells)).min() if cells.size > 1 else 1.0  # one cell: no spacing
    if (gaps.min(axis=0) > SAME_CELL * spacing).any():
        raise error
    # Untouched where nothing moves: an index along a lazy dim would split its chunks.
    return observed if np.array_equal(at, np.arange(centres.size)) else observed.isel({dim: at})


def check_places(forecast: xr.DataArray, observed: xr.DataArray, name: str = "obs") -> None:
    """Refuse what is along the same dims as a forecast but in other places, as 2-D labels say.

    The line turns rows or columns around, where that is all.
    """
    if same_places(forecast, observed):
        return
    grid = find_grid(forecast)
    turn = slice(None, None, -1)
    turns = ({grid[0]: turn}, {grid[1]: turn}, {grid[0]: turn, grid[1]: turn})
    own = next((t for t in turns if same_places(forecast, observed.isel(t))), None)
    hint = "a regrid onto the cells of the forecast first (xesmf)"
    if own is not None:
        hint = f"{name}.isel({', '.join(f'{dim}=slice(None, None, -1)' for dim in own)})"
        numbers = [dim for dim in grid if dim in observed.coords]  # which say otherwise
        hint += f".drop_vars({numbers})" if numbers else ""
    raise mismatch(
        "cells in the places of the forecast, by latitude and longitude",
        f"others along {' and '.join(grid)}",
        hint,
    )


def _mend_cells(forecast: xr.DataArray | xr.Dataset, observed: xr.DataArray) -> str:
    """Return the line that brings observations onto the cells of a forecast.

    Longitudes that go to 180 on one side and to 360 on the other would meet on a half of the globe.
    """
    line, others = "obs", "a forecast from these observations"
    for dim in [dim for dim in observed.dims if dim in forecast.dims]:
        if dim not in forecast.coords or dim not in observed.coords:
            return others
        if not is_degrees(observed[dim]):
            continue
        ends = [(float(each[dim].min()), float(each[dim].max())) for each in (forecast, observed)]
        (west, east), (their_west, their_east) = ends
        if west >= 0 and east > 180 and their_west < 0:
            line += f'.assign_coords({dim}=obs["{dim}"] % 360).sortby("{dim}")'
        elif west < 0 and their_west >= 0 and their_east > 180:
            line += f'.assign_coords({dim}=(obs["{dim}"] + 180) % 360 - 180).sortby("{dim}")'
    return f"{line}.interp_like(fc), or {others}"


def concat(parts: list[Labelled], dim: str | xr.Variable) -> Labelled:
    """Concatenate parts whose other labels agree; coordinates without the dim are the first's."""
    return xr.concat(parts, dim, coords="minimal", compat="override", join="exact")


def str_span(time: xr.DataArray) -> str:
    """Return the first and the last of some times as text."""
    return f"{str_time(time.values.min())} to {str_time(time.values.max())}"


def _as_forecast(forecast: xr.DataArray) -> xr.DataArray:
    """Return a forecast with the dims init and lead, and valid_time along both."""
    forecast = as_forecast(forecast)
    valid = forecast["valid_time"].reset_coords(drop=True)
    lead = forecast["lead"]
    # Bare numbers are months; leads in "minutes" are durations that were not decoded.
    months = lead.dtype.kind in "iuf" and lead.attrs.get("units", "months") in ("months", "month")
    if valid.dtype.kind not in "MO" or not (months or lead.dtype.kind == "m"):
        raise mismatch(
            "valid times as dates, and leads as durations or months",
            f"valid_time {valid.dtype}, lead {lead.dtype} in {lead.attrs.get('units')}",
            "xr.open_dataset(..., decode_times=True, decode_timedelta=True)",
        )
    forecast = forecast.drop_vars("valid_time")  # back below, along both dims
    for dim in ("init", "lead"):
        if dim not in forecast.dims:
            forecast = forecast.expand_dims(dim)
        if dim not in valid.dims:
            valid = valid.expand_dims({dim: forecast.sizes[dim]})
    valid = valid.drop_vars(["init", "lead"], errors="ignore").transpose("init", "lead")
    return forecast.assign_coords(valid_time=valid)


def check_once(init: xr.DataArray, name: str = "fc") -> None:
    """Refuse a forecast that has an init twice, as of files opened twice: it would weigh double."""
    index = init.to_index()
    if index.has_duplicates:
        first = str_time(init.values[index.duplicated()][0])
        hint = f'xef.as_forecast({name}).drop_duplicates("init")'
        raise mismatch("every init once", f"{first} more than once", hint)


def _named_alike(observed: xr.DataArray, forecast: xr.DataArray) -> xr.DataArray:
    """Return observations whose latitude and longitude are named as the forecast's."""
    names = _other_names(forecast, observed)
    degrees = all(
        is_degrees(observed[theirs]) and is_degrees(forecast[own]) for theirs, own in names.items()
    )
    return observed.rename(names) if degrees else observed


def _match_dims(forecast: xr.DataArray, observed: xr.DataArray, time: str) -> list[str]:
    """Return the dims of the cells on both sides, y before x; none for an index."""
    own = [str(dim) for dim in forecast.dims if dim not in LEADING]
    others = [str(dim) for dim in observed.dims if dim != time]
    if {*own} != {*others} or len(own) not in (0, 2):
        raise mismatch(
            f"observations with the forecast's dims {tuple(own)} and time",
            f"dims {observed.dims}",
            _mend_dims(forecast, observed, own, others),
        )
    return list(find_grid(observed)) if own else []


def _mend_dims(
    forecast: xr.DataArray, observed: xr.DataArray, own: list[str], others: list[str]
) -> str:
    """Return the line for other dims of the cells: other names, or further dims on a side."""
    further = [dim for dim in own if dim not in others], [dim for dim in others if dim not in own]
    if not further[1] and (len(others) == 2 or not others and len(further[0]) == 1):
        if "member" in forecast.dims:
            return f"fc.isel({further[0][0]}=0)"
        if len(further[0]) > 1:  # models and their runs
            return f"fc.stack(member={further[0]}), of an ensemble"
        return f'fc.rename({further[0][0]}="member"), of an ensemble, or fc.isel({further[0][0]}=0)'
    if not further[0] and (len(own) == 2 or not own and len(further[1]) == 1):
        return f"obs.isel({further[1][0]}=0)"
    names = _other_names(forecast, observed)
    if names:
        return f"obs.rename({names})"
    if {*own} == {*others} and len(own) in (1, 3):  # members on both sides
        grid = {*find_grid(forecast)} if len(own) == 3 else set()
        dim = next(dim for dim in own if dim not in grid)
        return f"fc = fc.isel({dim}=0); obs = obs.isel({dim}=0), one by one"
    places = [*forecast.coords.values(), *observed.coords.values()]
    curved = any({*c.dims} in ({*own}, {*others}) for c in places if c.ndim == 2)
    if len(own) == len(others) == 2 and not curved:  # dims that don't say what they are
        dots = ", ".join(f"{dim!r}: ..." for dim in others)
        return f"obs.rename({{{dots}}}), with {' and '.join(own)} for the dots"
    return "an index of both, or the fields of both on the same cells"


def _other_names(forecast: xr.DataArray, observed: xr.DataArray) -> dict[str, str]:
    """Return the forecast's names of the observations' rows and columns; none without a grid."""
    try:
        grids = find_grid(observed), find_grid(forecast)
    except ValueError:  # an index
        return {}
    names = {theirs: own for theirs, own in zip(*grids, strict=True) if theirs != own}
    labels = [
        da.coords.get(dim)
        for da, dims in zip((observed, forecast), grids, strict=True)
        for dim in dims
    ]
    # labels that say where cells are may be in another order, or of more of them
    if names and not all(map(_says_where, labels)) and not same_places(forecast, observed):
        return {}
    return names


def _says_where(labels: xr.DataArray | None) -> bool:
    """Return whether labels along a dim are degrees or metres, not numbers of cells."""
    if labels is None:
        return False
    return is_degrees(labels) or to_metres(str(labels.attrs.get("units", ""))) is not None


def _comparable(time: xr.DataArray, monthly: bool) -> np.ndarray:
    """Return values that equal times share: the month, else the second."""
    if monthly:
        return months_of(time)
    stamps = microseconds(time)
    # To the nearest second, since times decoded from floats are off by microseconds.
    return stamps if stamps.dtype == object else (stamps + SECOND // 2) // SECOND
