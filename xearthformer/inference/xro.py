"""XRO, by the package xro: what a forecaster of El Nino would use instead of a network.

In the extended recharge oscillator (Zhao et al., 2024) Nino3.4 and the warm water of the equatorial
Pacific drive one another, and eight modes of other oceans take part, each link with the seasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import dask
import numpy as np
import xarray as xr

from .. import __version__
from ..climate.regions import REGIONS, Region, index
from ..errors import ignored, mismatch, whole_number
from ..fields import quantities, windows
from ..fields.axes import find_axes
from ..fields.cf import add_history
from ..fields.forms import takes_any_form
from ..fields.quantities import SST
from ..fields.time_axis import LeadLike, check_time, count_steps, months_of, str_month, whole_years
from ..fields.time_bounds import with_middles
from .copies import NumPy, found

# What can stand for warm water volume: the first of these that is there. Its units don't matter:
# the fit has a coefficient for each pair of indices.
HEAT = (
    "depth_of_isosurface_of_sea_water_potential_temperature",  # of 20 degC: that of the paper
    "integral_wrt_depth_of_sea_water_potential_temperature_expressed_as_heat_content",
    "sea_water_potential_temperature",  # the mean of the upper 300 m
    "sea_surface_height_above_geoid",
)
EQUATOR = Region(-5, 5, 120, 280)
# Indices of Zhao et al. (2024), as sums of boxes; the package wants Nino3.4 first. Warm water
# volume goes second.
INDICES = {
    "Nino34": {REGIONS["nino3.4"]: 1.0},
    "NPMM": {Region(10, 25, 200, 240): 1.0},  # North and South Pacific Meridional Modes
    "SPMM": {Region(-25, -15, 250, 270): 1.0},
    "IOB": {Region(-20, 20, 40, 100): 1.0},  # Indian Ocean Basin mode
    "IOD": {REGIONS["iod_west"]: 1.0, REGIONS["iod_east"]: -1.0},
    # Southern Indian Ocean Dipole: Jo et al. (2022)
    "SIOD": {Region(-30, -5, 90, 120): 1.0, Region(-25, -10, 65, 85): -1.0},
    "TNA": {REGIONS["tna"]: 1.0},
    "ATL3": {REGIONS["atl3"]: 1.0},
    # South Atlantic Subtropical Dipole: Ham et al. (2021)
    "SASD": {Region(-45, -35, 300, 360): 1.0, Region(-30, -20, 320, 380): -1.0},
}
# Harmonics of the year in each coefficient. The paper has two, fitted to 1979-2022. Of 1979-1999,
# seven years left out at a time, C-Nino3.4-M is .72 by one and .66 by two, some of which run away.
SEASONS = 1
LEAST_YEARS = 10  # each index has 30 coefficients or more
BLOCK = 50  # members that the package draws together: their noise depends on how many they are


@takes_any_form
def xro(
    data: xr.DataArray | xr.Dataset,
    *,
    fit: tuple[str | int, str | int],
    init: windows.InitLike = None,
    lead: LeadLike = 14,
    members: int | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Forecast Nino3.4 with the extended recharge oscillator (package xro, Zhao et al. 2024).

    The model is fitted to ten indices of the data over the years `fit`, and run on from those of
    each init: Nino3.4, warm water volume, and modes of the Pacific, Indian and Atlantic Oceans. Its
    terms are those of the paper, with one harmonic of the year in place of two, of which fits to a
    few decades run away.

    Parameters
    ----------
    data : DataArray or Dataset
        Monthly anomalies of sea surface temperature (45S-25N, all oceans), dims time, y and x in
        any order. In a Dataset, also what stands for warm water volume: the depth of 20 degC, heat
        content or mean temperature of the upper 300 m, or sea surface height, on any grid that
        covers 5S-5N, 120E-80W. Without it, nine indices are fitted, and the forecasts are poorer.
    fit : (start, end)
        Years that the model is fitted to, both included; ten or more. Forecasts from these years
        are not a test of it. The attribute `history` says which they are.
    init : label, slice or list of labels, optional
        As in `forecast`, among the months that have all indices.
    lead : int
        Number of months to forecast. Default 14, for 12 means over three months.
    members : int, optional
        Number of ensemble members: runs with noise of the fit's residuals, by calendar month and
        with their memory. Default: a single run, without noise.
    seed : int
        Random seed of the noise. A member depends on the seed, the init and its own number alone.

    Returns
    -------
    DataArray (init, lead, [member])
        Nino3.4, with the labels that `forecast` gives and the attributes that `index` gives, and
        against the climatology of the data: the model knows no other mean than zero. Computed at
        once, whether or not `data` is lazy.

    Raises
    ------
    ImportError
        The package xro is not installed.
    ValueError
        Absolute values; steps other than a month; a domain that lacks an index; years to fit to, or
        an init, without all indices; more than one record.

    Examples
    --------
    >>> import xearthformer as xef
    >>> ds = xef.anomaly(ds, climatology=("1980", "2009"))  # doctest: +SKIP
    >>> fc = xef.xro(ds, fit=("1980", "1999"), init=slice("2000", "2009"))  # doctest: +SKIP
    >>> xef.enso_skill(fc, ds.earthformer.index("nino3.4")["sst"])  # doctest: +SKIP
    """
    lead = count_steps(lead, "month", 14)
    whole_number("seed", seed, least=0)
    if members is not None:
        whole_number("members", members)
    sst, heat = _fields(data)
    years = _years(fit, sst[find_axes(sst).time])
    package = load_xro()
    table = _table(sst, heat)
    sst, table, fitted_to = _complete(sst, table, years)
    time = sst[find_axes(sst).time]
    time = time.rename({time.dims[0]: "time"})
    inits = windows.find_inits(time, 1, init)
    answer = _template(sst, time, inits.positions, lead, members)
    values = np.empty(answer.shape, answer.dtype)
    with ignored():  # the package calls xarray by names that these days warn
        model = _fit(_with_own_generator(), table.isel(time=fitted_to), noise=members is not None)
        for i, position in enumerate(inits.positions):
            values[i] = model.ahead(table.isel(time=[position]), lead, members, seed)
    stand_in = "without warm water volume" if heat is None else f"{heat.name} as warm water volume"
    how = "without noise" if members is None else f"{members} members, seed {seed}"
    notes = (
        f"XRO {package.__version__} fitted to {years[0]}-{years[1]}, {len(table)} indices, "
        f"{stand_in}; {how}"
    )
    seen = sum(fitted_to.start <= at < fitted_to.stop for at in inits.positions)
    if seen:
        notes += f"; {seen} of {len(inits.positions)} inits lie in the years of the fit"
    line = f"xearthformer {__version__}: {notes}"
    return answer.copy(data=values).assign_attrs(add_history(answer.attrs, line))


def load_xro() -> ModuleType:
    """Import the package xro.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        import XRO
    except ImportError as error:
        raise ImportError(
            'the recharge oscillator needs the package xro: pip install "xearthformer[xro]"'
        ) from error
    return XRO


def _with_own_generator() -> ModuleType:
    """Return the package's module once more, which seeds and draws from a generator of its own.

    The package's seeds NumPy's global one; the legacy generator of NumPy has the same bits.
    """
    module, run = found("XRO.core")
    run()
    vars(module)["np"] = NumPy(np.random.RandomState())
    return module


@dataclass(frozen=True)
class _Model:
    """A fitted model, whose indices are in units of their own."""

    package: Any
    coefficients: xr.Dataset
    units: xr.Dataset  # of each index, in those of the data
    nino34: float  # the unit of Nino3.4

    def ahead(self, start: xr.Dataset, lead: int, members: int | None, seed: int) -> np.ndarray:
        """Return Nino3.4 of the coming months (lead, [member]) from the indices of one month.

        One month at a time: of several, the package takes the season of the first from its date,
        and those of the others from their places in the row.
        """
        run = {"fit_ds": self.coefficients, "init_ds": start / self.units, "n_month": lead}
        if members is None:
            fc = self.package.reforecast(**run, noise_type="zero")["Nino34"]
        else:
            month = start["time"].values[0].astype("datetime64[M]").astype(int)
            blocks = []
            for block in range(-(-members // BLOCK)):
                entropy = [seed, int(month) % 2**32, block]
                own = int(np.random.SeedSequence(entropy).generate_state(1)[0])
                blocks.append(self.package.reforecast(**run, ncopy=BLOCK, seed=own)["Nino34"])
            fc = xr.concat(blocks, "member").isel(member=slice(members))
            fc = fc.transpose("lead", "member")
        return fc.to_numpy()[1:] * self.nino34  # lead 0 is the month it starts from


def _fit(package: ModuleType, table: xr.Dataset, noise: bool) -> _Model:
    """Fit the model to indices (time) that begin in January."""
    model = package.XRO(ncycle=12, ac_order=SEASONS)
    # T^2 and T h make El Nino stronger than La Nina, IOD^2 the positive dipole than the negative
    terms = {"maskb": ["IOD"], "maskNT": ["T2", "TH"] if "WWV" in table else ["T2"]}
    fitted = model.fit_matrix(table, **terms)
    units = np.ones(len(table))
    if noise:
        # The package starts its red noise from a normal draw times the standard deviation of
        # January, where 1 is right. In these units it is 1; with heat in cm it might be 1000.
        units = fitted["xi_stdac"].isel(cycle=0).values
    scales = xr.Dataset(dict(zip(table, units, strict=True)))
    if noise:
        fitted = model.fit_matrix(table / scales, **terms)
    return _Model(model, fitted, scales, float(units[0]))


def _fields(data: xr.DataArray | xr.Dataset) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return the anomalies of sea surface temperature, and of what stands for warm water volume."""
    if isinstance(data, xr.DataArray):
        sst = _one_record(data)
        quantities.check_quantity(sst, SST, difference=True)
        return sst, None
    sst = data[quantities.find_variable(data, standard_name=SST, difference=True)]
    sst = _one_record(with_middles(sst, data))
    kind = next((kind for kind in HEAT if quantities.has(data, kind)), None)
    if kind is None:
        return sst, None
    heat = data[quantities.find_variable(data, standard_name=kind, difference=True)]
    return sst, _one_record(with_middles(heat, data))


def _one_record(da: xr.DataArray) -> xr.DataArray:
    """Return monthly anomalies (time, y, x), in any order; anything else is an error."""
    axes = find_axes(da)
    step = check_time(da[axes.time])
    if step != "month":
        hint = f'data.resample({axes.time}="MS").mean(keep_attrs=True)'
        raise mismatch("monthly data", f"a step of {step}", hint)
    if not quantities.is_difference(da):
        period = _whole_years(da[axes.time])
        hint = f"xef.anomaly(data, climatology={period})"
        raise mismatch("anomalies", f"absolute values of {da.name or 'data'}", hint)
    others = [str(dim) for dim in da.dims if dim not in (axes.time, axes.y, axes.x)]
    several = [dim for dim in others if da.sizes[dim] > 1]
    if several:
        found = f"{da.sizes[several[0]]} along {several[0]}"
        raise mismatch("one record", found, f"data.isel({several[0]}=0)")
    return da.squeeze(others)


def _years(fit: object, time: xr.DataArray) -> tuple[int, int]:
    """Return the first and the last year to fit to."""
    texts = [str(year) for year in fit] if isinstance(fit, tuple | list) else []
    hint = f"fit={_whole_years(time)}"
    if len(texts) != 2 or not all(re.fullmatch(r"\d{4}", text) for text in texts):
        raise mismatch("two years to fit to, (start, end)", repr(fit), hint)
    first, last = map(int, texts)
    if last - first + 1 < LEAST_YEARS:
        raise mismatch(f"{LEAST_YEARS} years or more to fit to", f"{first} to {last}", hint)
    return first, last


def _whole_years(time: xr.DataArray) -> str:
    """Return the first and the last year of which the data has all months, as an argument."""
    first, last = whole_years(time)
    return f'("{first}", "{last}")'


def _table(sst: xr.DataArray, heat: xr.DataArray | None) -> xr.Dataset:
    """Return the indices (time) of each month of the temperature, NaN where one is missing."""
    months = months_of(sst[find_axes(sst).time])
    columns: dict[str, Any] = {
        name: sum(weight * _series(sst, box) for box, weight in boxes.items())
        for name, boxes in INDICES.items()
    }
    volume = None if heat is None else _series(heat, EQUATOR)
    with ignored():  # of months that lack values: they are left out
        columns, volume = dask.compute(columns, volume)  # lazy data is read once
    if volume is not None and heat is not None:
        of_month = dict(zip(months_of(heat[find_axes(heat).time]), volume.values, strict=True))
        own = np.array([of_month.get(month, np.nan) for month in months])
        columns = {"Nino34": columns.pop("Nino34"), "WWV": ("time", own), **columns}
    # NumPy's datetimes, whatever the calendar: the package reads the month of a start from them
    stamps = (months - 1970 * 12).astype("datetime64[M]").astype("datetime64[s]")
    return xr.Dataset(columns, {"time": stamps})


def _series(da: xr.DataArray, box: Region) -> xr.Variable:
    """Return the mean over a box (time,), lazy if the data is."""
    with ignored():
        mean = index(da, box).variable.astype(np.float64)
    return xr.Variable("time", mean.data)


def _complete(
    sst: xr.DataArray, table: xr.Dataset, years: tuple[int, int]
) -> tuple[xr.DataArray, xr.Dataset, slice]:
    """Cut both to the months that have all indices; and say where the years to fit to are.

    Of several such runs of months, the longest: the package goes by places in the row.
    """
    time = sst[find_axes(sst).time]
    months = months_of(time)
    there = np.isfinite(table.to_array().values).all(axis=0)
    edges = np.flatnonzero(np.diff([False, *there, False]))  # of runs: first, past the last, ...
    runs = edges.reshape(-1, 2)
    begin, stop = runs[np.diff(runs)[:, 0].argmax()] if len(runs) else (0, 0)
    first, last = years[0] * 12, years[1] * 12 + 11
    if begin == stop or first < months[begin] or last > months[stop - 1]:
        raise _without(table, time[begin:stop], years)
    sst = sst.isel({time.dims[0]: slice(begin, stop)})
    start = int(first - months[begin])
    return sst, table.isel(time=slice(begin, stop)), slice(start, start + int(last - first) + 1)


def _without(table: xr.Dataset, time: xr.DataArray, years: tuple[int, int]) -> ValueError:
    """Return the error for years to fit to that lack an index; the months of `time` have all."""
    lacking = [str(name) for name, column in table.items() if column.isnull().any()]
    found = f"{years[0]} to {years[1]}"
    if lacking:
        found += f", and data that lacks months of {', '.join(lacking)}"
    span, hint = "none", "data of all tropical oceans"
    if time.size:
        months = months_of(time)
        span = f"{str_month(months[0])} to {str_month(months[-1])}"
        hint = f"fit={_whole_years(time)}"
    return mismatch(f"years within the months that have all indices, {span}", found, hint)


def _template(
    sst: xr.DataArray, time: xr.DataArray, positions: np.ndarray, lead: int, members: int | None
) -> xr.DataArray:
    """Return the empty answer: the labels of a forecast, and the name and attributes of Nino3.4."""
    axes = find_axes(sst)
    like = index(sst.isel({axes.time: slice(2)}), "nino3.4")
    empty = windows.template(sst, time, positions, lead, members)
    empty = empty.isel({axes.y: 0, axes.x: 0}, drop=True)
    return empty.rename(like.name).assign_attrs(like.attrs)
