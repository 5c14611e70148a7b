"""The period that anomalies are departures from: read from their attributes, compared, changed."""

from __future__ import annotations

import re

import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_time
from ..fields.cf import new_values
from ..fields.forms import takes_any_form
from ..fields.quantities import Labelled, is_difference, on_each
from ..fields.time_axis import months_of, str_month
from .climatology import Period, climatology

ATTRIBUTE = "climatology_period"  # that `anomaly` leaves
INTERVAL = re.compile(r"(\d{4})(?:-(\d{2}))?\D.*?(\d{4})(?:-(\d{2}))?\D*")


def baseline(da: xr.DataArray) -> tuple[int, int] | None:
    """Return the first and last month number of the period of an anomaly; None if unstated.

    >>> months = baseline(xr.DataArray(0.0, attrs={"climatology_period": "1981-01/2010-12"}))
    >>> months == (1981 * 12, 2010 * 12 + 11)
    True
    """
    match = INTERVAL.fullmatch(str(da.attrs.get(ATTRIBUTE, "")))
    if not match:
        return None
    first, last = (
        int(match[year]) * 12 + int(match[year + 1] or month) - 1
        for year, month in ((1, 1), (3, 12))
    )
    return first, last


def str_period(months: tuple[int, int]) -> str:
    """Return a period as the argument of `anomaly` that gives it.

    >>> str_period((1981 * 12, 2010 * 12 + 11)), str_period((1981 * 12 + 6, 2011 * 12 + 5))
    ('("1981", "2010")', '("1981-07", "2011-06")')
    """
    first, last = map(str_month, months)
    if first.endswith("-01") and last.endswith("-12"):
        first, last = first[:4], last[:4]
    return f'("{first}", "{last}")'


def check_baselines(forecast: xr.DataArray, observed: xr.DataArray) -> None:
    """Raise ValueError for anomalies of a forecast and of observations against other periods.

    A side that does not state its period passes.
    """
    own, theirs = baseline(forecast), baseline(observed)
    if own is None or theirs is None or own == theirs:
        return
    period = str_period(own)
    found = f"anomalies against {str_period(theirs)}"
    expected = f"anomalies against {period}, as the forecast has them"
    if "lead" in observed.dims:  # another forecast
        hint = f"a hindcast from sst.earthformer.anomaly(climatology={period})"
        raise mismatch(expected, found, hint)
    months = months_of(observed[find_time(observed)])
    hint = f"obs.earthformer.rebase({period})"
    if months.min() > own[0] or months.max() < own[1]:  # too short a record to change its baseline
        hint = f"sst.earthformer.anomaly(climatology={period}), of absolute values of these years"
    raise mismatch(expected, found, hint)


@takes_any_form
def rebase(da: Labelled, period: Period) -> Labelled:
    """Return anomalies against another period of the same record.

    The mean of each calendar month over the period becomes zero: the same as the anomaly of the
    absolute values from that period.

    Parameters
    ----------
    da : DataArray or Dataset
        Monthly anomalies against any period.
    period : (start, end)
        Years or months, both included, within the data, as in `anomaly`.

    Returns
    -------
    DataArray or Dataset
        Dims, coordinates, dtype and attributes of `da`; `climatology_period` and `history` name the
        new period. Lazy if `da` is.

    Raises
    ------
    ValueError
        If the data is not monthly or not an anomaly, or the period is not in it.

    Examples
    --------
    >>> time = xr.date_range("2000-01", periods=24, freq="MS")
    >>> attrs = {"climatology_period": "2000-01/2000-12", "long_name": "anomaly"}
    >>> da = xr.DataArray([0.0] * 12 + [3.0] * 12, {"time": time}, ("time",), attrs=attrs)
    >>> rebase(da, (2000, 2001)).values[[0, 12]]
    array([-1.5,  1.5])
    """

    def one(each: xr.DataArray) -> xr.DataArray:
        if not is_difference(each):
            hint = f"da.earthformer.anomaly(climatology={period!r})"
            raise mismatch("anomalies", "absolute values", hint)
        dim = find_time(each)
        cycle = climatology(each, period)
        month = xr.DataArray(months_of(each[dim]) % 12 + 1, dims=dim)
        out = each - cycle.sel(month=month).drop_vars("month").astype(each.dtype)
        text = cycle.attrs[ATTRIBUTE]
        line = f"xearthformer rebase: minus the monthly means of these anomalies over {text}"
        return new_values(out.transpose(*each.dims), each, line).assign_attrs({ATTRIBUTE: text})

    return on_each(da, one, [find_time(da)])
