"""Climate indices: boxes by name, and those that take more than a box.

What an index is fitted to (sliding climatologies, a ratio of variances, a pattern) comes from a
record of observations: the data itself or, for forecasts, the `reference`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.axes import find_grid, find_latlon, find_time
from ..fields.cf import new_values
from ..fields.columns import without_repeats
from ..fields.forms import takes_any_form
from ..fields.quantities import Labelled, check_quantity, is_difference, on_each
from ..fields.time_axis import months_of, whole_years
from ..fields.units import DIFFERENCE, convert_units, equal_units, is_temperature
from . import regions
from .baseline import ATTRIBUTE, check_baselines
from .climatology import climatology, running_mean
from .regions import REGIONS, SUMS, Region, cell_areas

BASE, STEP = 30, 5  # years of a base period of ONI, and years from one to the next
# North of 20N in the Pacific (Mantua et al., 1997, Bull. Amer. Meteor. Soc. 78, 1069-1079).
PACIFIC = Region(20, 70, 110, 260)
COLD = Region(30, 45, 160, 210)  # below normal while the PDO is positive
LEAST_SHARE = 0.9  # of a pattern that a field has to have values for


@takes_any_form
def index(
    da: Labelled, name: str | Region, reference: xr.Dataset | xr.DataArray | None = None
) -> Labelled:
    """Return a climate index: a regional mean, a sum of them, or one fitted to observations.

    Parameters
    ----------
    da : DataArray or Dataset
        Usually anomalies: observed, or forecast with dims init, lead, member.
    name : str
        A region such as "nino3.4"; "iod" (Dipole Mode Index), "emi" (El Nino Modoki) or "amo"
        (North Atlantic less the globe), sums of regions; or one from the list in the notes.
    reference : DataArray or Dataset (time, y, x), optional
        Observations that an index from that list is fitted to, on the cells of `da` and, where
        these are anomalies, against the same climatology. Default: `da` itself. A forecast needs
        them; the other indices do not.

    Returns
    -------
    DataArray or Dataset
        Without latitude and longitude, lazy if `da` is. A DataArray is named `name`; the attributes
        `long_name` and `region` describe it. NaN where a field lacks more than a tenth of what the
        index is made of.

    Raises
    ------
    ValueError
        An unknown name; cells that do not cover the region; a forecast without `reference`, or one
        of other cells, units or climatology; less than 30 years for ONI.

    Notes
    -----
    "oni": the Oceanic Nino Index of NOAA's Climate Prediction Center. Means over three months of
    Nino3.4 against 30-year climatologies, one every five years with these five in its middle: 1961
    to 1965 against 1946 to 1975. Years near an end of the record have the nearest whole one.
    Labelled by the middle month, so the first and last are NaN.

    "relative_nino3.4": Nino3.4 less the mean of the tropics (20S-20N), which warm; times what gives
    it Nino3.4's standard deviation in the reference (van Oldenborgh et al., 2021).

    "pdo": the Pacific Decadal Oscillation. The leading pattern (EOF) of anomalies less their mean
    over the globe (60S-60N) in the Pacific from 20N on, in standard deviations, positive while the
    American coast is warm (Mantua et al., 1997).

    Examples
    --------
    >>> coords = {"lat": [-3.0, 3.0], "lon": [180.0, 200.0, 220.0, 240.0]}
    >>> da = xr.DataArray([[0.0, 1, 2, 3]] * 2, coords, ("lat", "lon"))
    >>> round(index(da, "Nino 3.4").item(), 6)  # of 190 to 240: 20 degrees of 1, 20 of 2, 10 of 3
    1.8
    """
    if not isinstance(name, Region):
        name = regions._spelling(name, {**REGIONS, **SUMS, **FITTED})
    if name not in FITTED:
        return regions.index(da, name)

    fitted = FITTED[name]

    def one(each: xr.DataArray) -> xr.DataArray:
        each, _ = without_repeats(each)  # a column that is there twice would be fitted twice
        out = fitted(each, _observations(each, str(name), reference)).astype(each.dtype)
        variable = each.attrs.get("long_name", each.name)
        out.attrs["long_name"] = f"{name} index" + (f" of {variable}" if variable else "")
        return out

    out = on_each(da, one, find_grid(da))
    return out.rename(name) if isinstance(out, xr.DataArray) else out


def _oni(da: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return Nino3.4 against sliding climatologies, its mean over three months."""
    nino, record = (regions.index(each, "nino3.4") for each in (da, observed))
    time = da["valid_time" if "valid_time" in da.coords else find_time(da)]
    first, months = _bases(record), months_of(time)
    cycle = xr.concat([climatology(record, (year, year + BASE - 1)) for year in first], "base")
    base = np.searchsorted(first, _first_year(months // 12)).clip(0, first.size - 1)
    at = {"base": (time.dims, base), "month": (time.dims, months % 12)}
    cycle = cycle.drop_vars("month").isel({dim: xr.Variable(*where) for dim, where in at.items()})
    out = running_mean((nino - cycle).transpose(*nino.dims), 3)
    out = new_values(out, nino)
    out.attrs.pop(ATTRIBUTE, None)
    if is_temperature(str(nino.attrs.get("units", ""))):
        out.attrs["units_metadata"] = DIFFERENCE
    return out


def _bases(record: xr.DataArray) -> np.ndarray:
    """Return the first years of the base periods that a record holds whole."""
    start, end = whole_years(record[find_time(record)])
    first = np.arange(start + (1 - start) % STEP, end - BASE + 2, STEP)
    if not first.size:
        whole = f"{BASE} years from a year that ends in 1 or 6, such as 1951 to 1980, for ONI"
        raise mismatch(whole, f"{start} to {end}", 'da.earthformer.index("nino3.4")')
    return first


def _first_year(years: np.ndarray) -> np.ndarray:
    """Return the first year of the base period that has each year in its middle.

    >>> _first_year(np.array([1950, 1955, 1956, 1960]))
    array([1936, 1936, 1941, 1941])
    """
    years = np.where(years == 1950, 1951, years)  # CPC's table begins with six years on one base
    return (years - 1) // STEP * STEP + 1 - (BASE - STEP + 5) // 2


def _relative_nino(da: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return Nino3.4 less the tropics, with the standard deviation of Nino3.4."""
    check_quantity(da, None, difference=True)

    def parts(each: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        nino = regions.index(each, "nino3.4")
        return nino, nino - regions.index(each, "tropics")

    (nino, relative), record = parts(da), parts(observed)
    spread = [each.std(find_time(observed), dtype=float) for each in record]
    region = f"{REGIONS['nino3.4']} less {REGIONS['tropics']}"
    return new_values(relative * (spread[0] / spread[1]), nino).assign_attrs(region=region)


def _pdo(da: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """Return how much of the leading pattern of the North Pacific a field holds."""
    check_quantity(da, None, difference=True)
    time, (y, x) = find_time(observed), find_grid(observed)
    record, field = _north_pacific(observed), _north_pacific(da)
    area = cell_areas(observed)
    pattern = xr.apply_ufunc(
        _leading_pattern,
        record.drop_vars(record.coords),
        area / area.max(),
        input_core_dims=[[time, y, x], [y, x]],
        output_core_dims=[[y, x]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[float],
    )
    pattern = pattern * -np.sign(pattern.where(_within(observed, COLD)).sum())
    share = pattern**2 / area.drop_vars(area.coords)  # of the variance, where a cell has its value
    share = share / share.sum()

    def amount(each: xr.DataArray) -> xr.DataArray:
        there = xr.dot(each.notnull().astype(float), share, dim=(y, x))
        return xr.dot(each.fillna(0), pattern, dim=(y, x)) / there.where(there >= LEAST_SHARE)

    amounts = amount(record)
    out = (amount(field) - amounts.mean(time)) / amounts.std(time)
    out = new_values(out, da).assign_attrs(units="1", region=str(PACIFIC))
    for key in ("units_metadata", "standard_name"):
        out.attrs.pop(key, None)
    return out


def _north_pacific(da: xr.DataArray) -> xr.DataArray:
    """Return anomalies less their mean over the globe; NaN outside the North Pacific."""
    return (da - regions.index(da, "globe")).where(_within(da, PACIFIC)).transpose(*da.dims)


def _within(da: xr.DataArray, box: Region) -> xr.DataArray:
    """Return where the centres of cells (y, x) lie in a box."""
    latitude, longitude = find_latlon(da)
    rows = (latitude >= box.south) & (latitude <= box.north)
    columns = (longitude - box.west) % 360.0 <= box.width
    y, x = find_grid(da)
    return xr.DataArray(rows.values, dims=y) & xr.DataArray(columns.values, dims=x)


def _leading_pattern(field_TYX: np.ndarray, area_YX: np.ndarray) -> np.ndarray:
    """Return the leading EOF (y, x) as weights, whose sum with a field is its amount.

    Cells count by area; those that miss a value are left out, with a weight of 0.
    """
    from scipy.sparse.linalg import svds

    inside = np.isfinite(field_TYX).all(axis=0)
    if inside.sum() < 2:
        expected = f"anomalies of {PACIFIC} without gaps in time, for the PDO"
        raise mismatch(expected, "no two cells that have them", "a complete record")
    root = np.sqrt(area_YX[inside])
    x_TC = (field_TYX[:, inside] - field_TYX[:, inside].mean(axis=0)) * root
    # begun from ones, not by chance: the same data gives the same bits
    leading_C = svds(x_TC.astype(float), k=1, v0=np.ones(min(x_TC.shape)))[2][0]
    pattern_YX = np.zeros(area_YX.shape)
    pattern_YX[inside] = leading_C * root
    return pattern_YX


def _observations(
    da: xr.DataArray, name: str, reference: xr.Dataset | xr.DataArray | None
) -> xr.DataArray:
    """Return the record that an index is fitted to, in the units of the data, on its cells."""
    line = f'fc.earthformer.index("{name}", reference=ssta)'
    began = f"{line}  # the data that was forecast"
    if reference is None:
        if "lead" in da.coords or "valid_time" in da.coords:
            raise mismatch(f"the observations that {name} is fitted to", "a forecast alone", began)
        return da
    if isinstance(reference, xr.Dataset):
        if da.name not in reference:
            listed = ", ".join(map(str, reference.data_vars)) or "none"
            hint = f'{line}  # ssta = ds["..."], with the name of the variable'
            raise mismatch(f"a reference with the variable {da.name!r}", listed, hint)
        reference = reference[da.name]
    difference = is_difference(da)
    if is_difference(reference) != difference:
        kinds = "absolute values", "anomalies"
        expected = f"a reference of {kinds[difference]}, as the data"
        raise mismatch(expected, kinds[not difference], began)
    check_baselines(da, reference)
    names = dict(zip(find_grid(reference), find_grid(da), strict=True))
    for their_dim, dim in names.items():
        if np.array_equal(reference[their_dim], da[dim]):
            continue
        index = reference[their_dim].to_index()
        labelled = dim in da.coords and their_dim in reference.coords and index.is_unique
        cells = index.get_indexer(da[dim].values) if labelled else np.array([-1])
        if (cells < 0).any():
            expected = f"a reference on the cells of the data along {dim}, or more of them"
            raise mismatch(expected, f"{reference.sizes[their_dim]} others", began)
        reference = reference.isel({their_dim: cells})
    units, theirs = (str(each.attrs.get("units", "")) for each in (da, reference))
    if units and theirs and not equal_units(units, theirs):
        reference = convert_units(reference, units, difference=difference)
    return reference.rename({theirs: own for theirs, own in names.items() if theirs != own})


# Indices that are fitted to observations: of the data, and of the record to fit to.
FITTED: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "oni": _oni,
    "relative_nino3.4": _relative_nino,
    "pdo": _pdo,
}
