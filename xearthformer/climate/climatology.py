"""Climate statistics of monthly fields: climatologies, anomalies and running means.

Every function takes a DataArray or a Dataset and returns the same type, lazy for lazy data. In a
Dataset, each floating-point variable along the dims in question is replaced; the others stay.
"""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import xarray as xr

from ..errors import mismatch, whole_number
from ..fields.axes import Data, Role, check_cells, coordinate, find_grid, find_time, same_places
from ..fields.cf import new_values
from ..fields.forms import takes_any_form
from ..fields.quantities import Labelled, check_float, is_difference, on_each, years_of
from ..fields.sentinels import check_values
from ..fields.time_axis import check_time, months_of, str_month, whole_years
from ..fields.time_bounds import bounds_of, reading, with_middles
from ..fields.units import DIFFERENCE, ON_SCALE, convert_units, equal_units, is_temperature

MEAN_MONTH = np.timedelta64(730, "h") + np.timedelta64(30, "m")  # a twelfth of 365.25 days
TEN_DAYS = timedelta(days=10)  # into a month, whatever its bounds leave out

Year = str | int
Period = tuple[Year, Year] | slice


@takes_any_form
def climatology(da: Labelled, period: Period | None = None) -> Labelled:
    """Return the mean annual cycle: the mean of each calendar month over a period.

    Parameters
    ----------
    da : DataArray or Dataset
        Monthly data, any calendar. A stamp is of the month of its bounds' middle, if a Dataset has
        time bounds; else one at 00:00 on the first is of the month it begins. A DataArray selected
        from a Dataset has lost its bounds.
    period : (start, end), optional
        Years or months, both included: ("1981", "2010"), (1981, 2010), ("1981-07", "2011-06"). It
        must lie within the data and hold whole years. None: the whole record.

    Returns
    -------
    DataArray or Dataset
        Dims month (1 to 12), then the others; dtype of `da`, summed in float64. The attribute
        `climatology_period` holds the period, as "1981-01/2010-12". A cell's missing months are
        left out of its mean.

    Raises
    ------
    ValueError
        If the data is not monthly, the period lies outside it or is not of whole years, or sea
        surface temperature has values that the sea has not (`fields.sentinels`): with dask data,
        when it is computed.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=24, freq="MS")
    >>> da = xr.DataArray(np.arange(24.0).reshape(24, 1, 1), {"time": time}, ("time", "y", "x"))
    >>> climatology(da).values.ravel()[:3]  # the mean of 0 and 12, of 1 and 13, of 2 and 14
    array([6., 7., 8.])
    """
    return on_each(
        da, lambda each: _climatology(check_values(with_middles(each, da)), period), [find_time(da)]
    )


def _climatology(da: xr.DataArray, period: Period | None) -> xr.DataArray:
    """Return the mean annual cycle of values that have been checked."""
    check_float(da)
    dim, time = _monthly(da)
    months = months_of(time)
    first, last = _bounds(period, time)
    within = slice(first - months[0], last - months[0] + 1)
    # without its labels along time: groupby would carry them along
    part = da.isel({dim: within})
    part = part.drop_vars([n for n, c in da.coords.items() if dim in c.dims])
    by_month = part.assign_coords(month=(dim, months[within] % 12 + 1)).groupby("month")
    mean = by_month.mean(dim, dtype=np.float64).astype(da.dtype).transpose("month", ...)
    if mean.chunks is not None:
        mean = mean.chunk(month=-1)
    text = f"{str_month(first)}/{str_month(last)}"  # an ISO 8601 interval
    line = f"xearthformer climatology: monthly means over {text}{_said(time)}"
    mean = new_values(mean, da, line)
    # another name than the anomaly's: xarray keeps of two attributes in a sum what is in one alone
    mean.attrs |= {"long_name": str(da.attrs.get("long_name", da.name or "data"))}
    mean.attrs["climatology_period"] = text
    if is_temperature(str(da.attrs.get("units", ""))) and not is_difference(da):
        mean.attrs["units_metadata"] = ON_SCALE
    mean["month"].attrs.update(long_name="calendar month", units="1")
    return mean


@takes_any_form
def anomaly(da: Labelled, climatology: Period | Labelled = ("1981", "2010")) -> Labelled:
    """Return the departure from the mean annual cycle.

    Parameters
    ----------
    da : DataArray or Dataset
        Monthly absolute values, any calendar; stamps are read as in `climatology`.
    climatology : (start, end), DataArray or Dataset
        A period of `da`, as in `climatology`; or monthly means from elsewhere (another, longer
        record), with a dim month or 12 stamps, that hold the cells of `da`.

    Returns
    -------
    DataArray or Dataset
        Dims, coordinates, chunks, dtype and attributes of `da`; `climatology_period` and `history`
        say what was subtracted, and `units_metadata` that a temperature is now a difference.

    Raises
    ------
    ValueError
        If the data is an anomaly already or not monthly, the period lies outside it, the
        climatology is of other cells, of units that do not convert, or without 12 months, or sea
        surface temperature has values as in `climatology`.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=24, freq="MS")
    >>> da = xr.DataArray(np.arange(24.0).reshape(24, 1, 1), {"time": time}, ("time", "y", "x"))
    >>> anomaly(da, (2000, 2001)).values.ravel()[[0, 12]]
    array([-6.,  6.])
    """
    if isinstance(da, xr.Dataset):
        _check_all_absolute(da)
    return on_each(da, lambda each: _anomaly(with_middles(each, da), climatology), [find_time(da)])


def _check_all_absolute(ds: xr.Dataset) -> None:
    """Refuse absolute values next to anomalies, as OISST has them: the line parts them."""
    fields = {str(name): is_difference(da) for name, da in ds.items() if da.dtype.kind == "f"}
    anomalies = [name for name, already in fields.items() if already]
    if anomalies and len(anomalies) < len(fields):
        found = f"{', '.join(anomalies)}, an anomaly already, next to them"
        raise mismatch("absolute values", found, f"ds.drop_vars({anomalies})")


def anomaly_with_cycle(da: xr.DataArray, period: Period) -> xr.DataArray:
    """Return the anomaly of lazy data, with its annual cycle read now and not for each block."""
    return _anomaly(da, period, read=True)


def _anomaly(
    da: xr.DataArray, reference: Period | xr.DataArray | xr.Dataset, read: bool = False
) -> xr.DataArray:
    labels: Data = reference if isinstance(reference, xr.Dataset) else da
    if isinstance(reference, xr.Dataset):
        if da.name not in reference:
            raise mismatch(
                f"a climatology with the variable {da.name!r}",
                ", ".join(map(str, reference.data_vars)) or "none",
                f'xef.anomaly(ds["{da.name}"], climatology["..."])',
            )
        reference = reference[da.name]
    check_float(da)
    dim, time = _monthly(da)
    if is_difference(da):
        keys = [k for k in ("units_metadata", "climatology_period") if k in da.attrs]
        shown = [f"{k}={da.attrs[k]!r}" for k in keys or ["long_name"] if k in da.attrs]
        raise mismatch(
            "absolute values",
            f"an anomaly already ({', '.join(shown) or da.name})",
            f'the data as it is, or da.assign_attrs(units_metadata="{ON_SCALE}") if it is absolute',
        )
    da = check_values(da)
    if isinstance(reference, xr.DataArray):
        clim, note = _fit(reference, labels, da)
    else:
        clim, note = _climatology(da, reference), ""
        clim = clim.compute() if read else clim
    if da.chunks is not None:
        clim = clim.chunk()  # the graph holds its 12 months, and not one for each step of `da`
    month = xr.DataArray(months_of(time) % 12 + 1, dims=dim)
    cycle = clim.sel(month=month).drop_vars("month").astype(da.dtype)
    if da.chunks is not None:
        cycle = cycle.chunk({d: c for d, c in da.chunksizes.items() if d in cycle.dims})
    period = clim.attrs.get("climatology_period", "a climatology of unstated period")
    line = f"xearthformer anomaly: minus the monthly means over {period}{note}{_said(time)}"
    out = new_values((da - cycle).transpose(*da.dims), da, line)
    out.attrs["climatology_period"] = period
    out.attrs["long_name"] = f"{da.attrs.get('long_name', da.name or 'data')} anomaly"
    if is_temperature(str(da.attrs.get("units", ""))):
        out.attrs["units_metadata"] = DIFFERENCE
    return out


def _monthly(da: xr.DataArray) -> tuple[str, xr.DataArray]:
    """Return the time dim of monthly data and its stamps; any other step is an error."""
    dim = find_time(da)
    time = coordinate(da, "time")
    time = da[dim] if time is None else time
    step = check_time(time)
    check_cells(da, [str(one) for one in da.dims if one != dim])
    if not isinstance(step, str):
        hint = f'da.resample({dim}="MS").mean(keep_attrs=True)'
        if step > np.timedelta64(28, "D"):  # of which a month may have none
            hint = (
                f'da.resample({dim}="D").interpolate().resample({dim}="MS").mean(keep_attrs=True)'
            )
        if abs(step / MEAN_MONTH - 1) < 0.005:
            first, count = str_month(int(months_of(time)[0])), time.size
            months = f'xr.date_range("{first}", periods={count}, freq="MS")'
            hint = f"da.assign_coords({dim}={months}), for a value of each month"
        raise mismatch("monthly data", f"a step of {step.item()}", hint)
    return dim, time


def _said(time: xr.DataArray) -> str:
    """Return how months were read from the stamps, to end a line of `history`."""
    words = reading(time)
    return f"; {words}" if words else ""


def _bounds(period: Period | None, time: xr.DataArray) -> tuple[int, int]:
    """Return the first and last month number of a period: whole years, within the record."""
    if isinstance(period, slice):
        period = (period.start, period.stop)
    months = months_of(time)
    first, last = int(months[0]), int(months[-1])
    start, end = whole_years(time)  # for whoever has to choose another period
    hint = f'("{start:04d}", "{end:04d}")' if start <= end else "a record of whole years"
    if period is not None:
        if isinstance(period, str) or np.size(period) != 2:
            raise mismatch("a period (start, end)", repr(period), hint)
        ends = []
        # a year without a month begins in January, and ends in December
        for when, month in zip(period, (1, 12), strict=True):
            match = re.match(r"(\d{4})(?:-(\d{2})(?:\D.*)?)?$", str(when))
            if not match or not 1 <= int(match[2] or month) <= 12:
                raise mismatch("a year or a month", repr(when), hint)
            ends.append(int(match[1]) * 12 + int(match[2] or month) - 1)
        first, last = ends
    found = f"{str_month(first)} to {str_month(last)}"
    if first > last or first < months[0] or last > months[-1]:
        record = f"{str_month(months[0])} to {str_month(months[-1])}"
        raise mismatch(f"a period within the data, {record}", found, hint)
    if (last - first + 1) % 12:
        raise mismatch("a period of whole years", found, hint)
    return first, last


def _fit(clim: xr.DataArray, labels: Data, da: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return a climatology in the units and on the cells of `da`, and a note for `history`."""
    if is_difference(clim):
        found = f"an anomaly ({clim.attrs.get('long_name', clim.name)})"
        raise mismatch("a climatology of absolute values", found, f"climatology={years_of(da)}")
    clim = _by_month(clim, labels, da)
    note = ", made elsewhere"
    units, theirs = str(da.attrs.get("units", "")), str(clim.attrs.get("units", ""))
    if bool(units) != bool(theirs):
        hint = f'{"clim" if units else "da"}.assign_attrs(units="{units or theirs}")'
        found = f"{units!r} for the data, {theirs!r} for its climatology"
        raise mismatch("units of both", found, hint)
    if not equal_units(units, theirs):
        clim = convert_units(clim, units, difference=False)
        note += f", converted from {theirs} to {units}"
    names = {}
    if set(clim.dims) != {"month"} and _has_grid(da):  # an index has none
        names = dict(zip(find_grid(clim), find_grid(da), strict=True))
        roles: tuple[Role, Role] = ("y", "x")
        for role, (dim, own) in zip(roles, names.items(), strict=True):
            clim = clim.isel({dim: _same_cells(clim, da, role, dim, own)})
        if not same_places(clim, da):
            expected = "a climatology on the cells of the data, by latitude and longitude"
            hint = f"climatology={years_of(da)}, of the data itself"
            raise mismatch(expected, "others", hint)
    for shared in {*clim.dims} & {*da.dims} - {*names, "month"}:
        clim = clim.isel({shared: _same_labels(clim, da, str(shared))})
    clim = clim.drop_vars([name for name in clim.coords if name != "month"])
    clim = clim.rename({dim: own for dim, own in names.items() if dim != own})
    extra = [dim for dim in clim.dims if dim not in (*da.dims, "month")]
    if any(clim.sizes[dim] > 1 for dim in extra):
        found = ", ".join(f"{dim} ({clim.sizes[dim]})" for dim in extra)
        hint = f"climatology=clim.isel({extra[0]}=0)"
        raise mismatch("a climatology with the dimensions of the data", f"also {found}", hint)
    return clim.squeeze(extra), note


def _by_month(clim: xr.DataArray, labels: Data, da: xr.DataArray) -> xr.DataArray:
    """Return a climatology along a dim month, which may have 12 stamps of any year instead.

    The month of a stamp is the one that its bounds in `labels` begin, those of all years too.
    """
    try:
        time = None if "month" in clim.dims else coordinate(clim, "time")
    except ValueError:  # days of the year
        time = None
    if time is not None and time.size == 12 and hasattr(time, "dt"):
        bounds = bounds_of(time, labels) if isinstance(labels, xr.Dataset) else None
        stamps = time
        if bounds is not None:
            ten_days = TEN_DAYS if bounds.dtype == object else np.timedelta64(TEN_DAYS)
            stamps = time.copy(data=bounds.min(axis=1) + ten_days)
        months = stamps.dt.month.values
        clim = clim.assign_coords(month=(time.dims[0], months)).swap_dims({time.dims[0]: "month"})
    if "month" in clim.coords and sorted(clim["month"].values.tolist()) == list(range(1, 13)):
        return clim
    hint = f"climatology={years_of(da)}, of the data itself"
    if clim.sizes.get("month") == 12:
        hint = "clim.assign_coords(month=range(1, 13)), where January is the first"
    elif time is not None and time.size > 12 and hasattr(time, "dt"):
        hint = f'clim.groupby("{time.dims[0]}.month").mean(keep_attrs=True)'
    raise mismatch(
        "a climatology with a dimension month, 1 to 12",
        ", ".join(f"{dim} ({size})" for dim, size in clim.sizes.items()),
        hint,
    )


def _has_grid(da: xr.DataArray) -> bool:
    try:
        return bool(find_grid(da))
    except ValueError:
        return False


def _same_labels(clim: xr.DataArray, da: xr.DataArray, dim: str) -> np.ndarray | slice:
    """Return where along `dim`, such as member, the climatology has the labels of the data."""
    if dim not in clim.indexes or dim not in da.indexes:
        return slice(None)
    theirs, mine = clim.indexes[dim], da.indexes[dim]
    if theirs.equals(mine) or theirs.size == mine.size == 1:  # a level, rounded
        return slice(None)
    at = theirs.get_indexer_for(mine)
    if (at < 0).any() or at.size != mine.size:
        found = f"{', '.join(map(str, theirs[:5]))}{', ...' if theirs.size > 5 else ''}"
        hint = f"climatology={years_of(da)}, of the data itself"
        raise mismatch(f"a climatology of each {dim} of the data", found, hint)
    return at


def _same_cells(
    clim: xr.DataArray, da: xr.DataArray, role: Role, dim: str, own: str
) -> np.ndarray | slice:
    """Return where along `dim` the climatology has the cells of the data, in whatever order."""
    hint = f"climatology={years_of(da)}, of the data itself, or monthly means on its cells (xesmf)"
    mine, theirs = coordinate(da, role), coordinate(clim, role)
    if mine is None or theirs is None:
        if da.sizes[own] == clim.sizes[dim]:
            return slice(None)
        raise mismatch(f"{da.sizes[own]} cells along {own}", str(clim.sizes[dim]), hint)
    a, b = mine.values.astype(float)[:, None], theirs.values.astype(float)[None, :]
    apart = np.abs(a - b)  # (cells of the data, cells of the climatology)
    if role == "x" and max(np.abs(a).max(), np.abs(b).max()) <= 720.0:  # longitudes, not metres
        apart = np.minimum(apart % 360.0, 360.0 - apart % 360.0)
    spacing = np.abs(np.diff(a[:, 0])).min() if a.size > 1 else 1.0
    if apart.min(axis=1).max() > 1e-3 * spacing:
        cells, found = (f"{v.size} from {v.min():g} to {v.max():g}" for v in (a, b))
        expected = f"a climatology that holds the cells of the data along {own}, {cells}"
        raise mismatch(expected, found, hint)
    return apart.argmin(axis=1)


@takes_any_form
def running_mean(da: Labelled, n: int, dim: str | None = None) -> Labelled:
    """Return the centred running mean over `n` steps; NaN where a step is missing, as at the ends.

    Parameters
    ----------
    da : DataArray or Dataset
    n : int
        Number of steps; odd, for an even number has no centre.
    dim : str, optional
        Default: `lead` if there is one, else the time axis.

    Raises
    ------
    ValueError
        If `n` is even or larger than the dim, or time has a gap.

    Examples
    --------
    >>> running_mean(xr.DataArray([0.0, 3.0, 6.0, 0.0], dims="lead"), 3).values
    array([nan,  3.,  3., nan])
    """
    along = dim or ("lead" if "lead" in da.dims else find_time(da))
    if along not in da.dims:
        usual = "lead" if "lead" in da.dims else find_time(da)
        found = ", ".join(map(str, da.dims))
        raise mismatch(f"a dimension {along!r}", found, f'dim="{usual}"')
    size = da.sizes[along]
    whole_number("n", n, hint=f"n={min(3, size - 1 + size % 2)}")
    if n < 1 or n % 2 == 0 or n > size:
        odd = min(max(n | 1, 1), size - 1 + size % 2)
        raise mismatch(f"an odd number of steps, at most {size}", str(n), f"n={odd}")
    if along in da.coords and da[along].dtype.kind in "MO" and n > 1:
        gaps = np.diff(da[along].values)
        if gaps.max() > 1.5 * gaps.min():  # years, seasons and months are even enough
            check_time(da[along])

    def one(each: xr.DataArray) -> xr.DataArray:
        check_float(each)
        windows = each.rolling({along: n}, center=True).construct("_window")
        out = windows.mean("_window", skipna=False).astype(each.dtype)
        if each.chunks is not None:
            out = out.chunk(each.chunksizes)
        line = f"xearthformer running_mean: centred over {n} steps of {along}"
        return new_values(out, each, line)

    return on_each(da, one, [along])
