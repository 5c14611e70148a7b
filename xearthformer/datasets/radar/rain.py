"""Rain rates from what radars store: reflectivity, amounts, fluxes of mass, codes for no echo."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ...errors import mismatch
from ...fields.cf import add_history
from ...fields.quantities import RAIN, RAIN_AMOUNT, REFLECTIVITY, names_of
from ...fields.time_bounds import bounds_of
from ...fields.units import commensurable, convert_units, equal_units
from .call import Call

Kind = Literal["rate", "amount", "reflectivity", "linear"]

ATTRS = {"standard_name": RAIN, "long_name": "radar rain rate", "units": "mm h-1"}
# Z = a R**b, of Marshall and Palmer (1948): what most services use, where the data says none.
MARSHALL_PALMER = 200.0, 1.6
NO_ECHO = 0.0  # dBZ: below is no rain. Z-R makes .0003 mm/h of a radar's lowest code, -32 dBZ
# Beyond these a number is a code, and not a measurement.
LOWEST_DBZ, HIGHEST_DBZ = -40.0, 100.0
HIGHEST_RATE = 5000.0  # mm/h; a minute of 1872 mm/h is the most that a gauge has measured
HOUR = pd.Timedelta("1h")
NOISE = 1e-3  # mm/h: what packing and interpolation leave below zero

# What units of each kind convert to. The first row of a kind that is commensurable is taken.
UNITS: dict[Kind, tuple[str, ...]] = {
    "rate": ("mm h-1", "kg m-2 h-1"),
    "amount": ("mm", "kg m-2"),
    "reflectivity": ("dBZ",),
    "linear": ("mm6 m-3",),
}
NAMED = {*names_of(RAIN), *names_of(RAIN_AMOUNT), *names_of(REFLECTIVITY)}
# Of several variables, a rate comes before an amount, and an amount before a reflectivity.
ORDER: tuple[Kind, ...] = ("rate", "amount", "reflectivity", "linear")
# Words that tell rain from other things in its units, such as wind in m s-1 and heights in m.
RAINY = ("mm", "kg", "dbz", "inch")
# Amounts per step, as people write them: "mm/5min", "mm (5 min)-1", "kg m-2 per 10 minutes".
PER_MINUTES = re.compile(r"(.+?)\s*(?:/|per|\()\s*\(?(\d+)\s*min(?:utes?)?\)?(?:\^?-1)?", re.I)


def units_of(da: xr.DataArray) -> str:
    """Return the units of a variable as they stand; wradlib's RADOLAN has them as `unit`."""
    return str(da.attrs.get("units", da.attrs.get("unit", ""))).strip()


def _plain_units(units: str) -> tuple[str, float]:
    """Return units without a number in them, and the factor to these.

    >>> _plain_units("mm/5min"), _plain_units("dBZ")
    (('mm min-1', 0.2), ('dBZ', 1.0))
    """
    per = PER_MINUTES.fullmatch(units)
    return (f"{per[1]} min-1", 1 / int(per[2])) if per else (units, 1.0)


def kind_of(da: xr.DataArray) -> Kind | None:
    """Return what a variable measures, by its units; None for what is not rain.

    >>> kind_of(xr.DataArray(0.0, name="rr", attrs={"units": "kg m-2 s-1"}))
    'rate'
    """
    stated, units = da.attrs.get("standard_name"), _plain_units(units_of(da))[0]
    if not _is_named(da) and (stated or not _is_rainy(units)):
        return None
    return next((k for k, ones in UNITS.items() for one in ones if commensurable(units, one)), None)


def find_rain(ds: xr.Dataset, call: Call) -> tuple[str, Kind]:
    """Return the variable that is rain, or becomes it, and what it measures."""
    on_grid = {
        str(name): da for name, da in ds.data_vars.items() if da.ndim > 1 and da.dtype.kind in "fiu"
    }
    kinds = {name: kind_of(da) for name, da in on_grid.items()}
    for kind in ORDER:
        # one that is named as rain comes before one that has its units only
        found = [name for name in kinds if kinds[name] == kind]
        found = [name for name in found if _is_named(on_grid[name])] or found
        if len(found) == 1:
            return found[0], kind
        if found:
            listed = f"{len(found)}: {', '.join(found)}"
            raise mismatch("one variable of rain", listed, call.selected(found[0]))
    listed = "; ".join(f"{n} ({units_of(da) or 'no units'})" for n, da in on_grid.items())
    # one without units or by another name may be meant, but not one of another quantity
    unclear = [n for n, da in on_grid.items() if not units_of(da) or _is_rainy(units_of(da))]
    hint = "a file that holds one"
    if unclear:
        one = call.variable(unclear[0])
        units = "" if units_of(on_grid[unclear[0]]) else ', units="mm h-1"'
        hint = f'xef.open_radar({one}.assign_attrs(standard_name="{RAIN}"{units}))'
        hint += ", if that is what it is"
    raise mismatch(
        "a variable of rain: a rain rate (mm h-1, kg m-2 s-1), amounts (mm, kg m-2) or a "
        "reflectivity (dBZ, mm6 m-3)",
        listed or "no variable on a grid",
        hint,
    )


def _is_named(da: xr.DataArray) -> bool:
    return str(da.attrs.get("standard_name", da.name)).lower() in NAMED


def _is_rainy(units: str) -> bool:
    return any(word in units.lower() for word in RAINY)


@dataclass(frozen=True)
class Conversion:
    """Values of one kind to rain rates in mm/h, block by block."""

    kind: Kind
    factor: float  # to mm/h, dBZ or mm6 m-3
    zr: tuple[float, float]
    call: Call

    def __call__(self, values: NDArray) -> NDArray:
        dtype = values.dtype if values.dtype.kind == "f" else np.dtype("f4")
        unseen = np.zeros(values.shape, bool)
        for code in self.call.missing:
            unseen |= np.isclose(values, code, rtol=1e-6, atol=1e-9)
        self._check(values, unseen)
        rain = self._rates(values.astype(dtype, copy=False))
        if self.call.zero_below is not None:
            rain = np.where(rain < self.call.zero_below, 0, rain)
        if self.call.missing:
            rain = np.where(unseen, np.nan, rain)
        return rain.astype(dtype, copy=False)

    def _rates(self, values: NDArray) -> NDArray:
        if self.kind in ("rate", "amount"):
            rain = values if self.factor == 1 else values * values.dtype.type(self.factor)
            return rain if not (rain < 0).any() else np.maximum(rain, 0)
        dbz = values
        if self.kind == "linear":
            with np.errstate(divide="ignore"):
                dbz = 10 * np.log10(np.maximum(values, 0) * dbz.dtype.type(self.factor))
        a, b = self.zr
        # (10**(dbz / 10) / a)**(1 / b), by one exponential, in the precision of the data
        slope, shift = (dbz.dtype.type(one) for one in (np.log(10) / (10 * b), -np.log(a) / b))
        rain = np.exp(dbz * slope + shift)
        if self.call.zero_below is None:  # else the floor is the caller's
            rain[dbz < NO_ECHO] = 0
        return rain

    def _check(self, values: NDArray, unseen: NDArray[np.bool_]) -> None:
        """Raise ValueError for numbers that stand for something else; NaN and -inf do not."""
        low, high = self._limits()
        below, above = values < low, values > high
        if below.any():
            below &= np.isfinite(values)
            below &= self.call.zero_below is None  # else the caller says that these are no rain
        if self.call.missing:
            below, above = below & ~unseen, above & ~unseen
        if not below.any() and not above.any():
            return
        codes = np.unique(values[below | above])
        shown = [float(f"{code:.9g}") for code in codes[:4]]
        more = f" and {codes.size - 4} more" if codes.size > 4 else ""
        unseen_line = self.call.again(missing=(*self.call.missing, *shown))
        hints = [f"{unseen_line}, where nothing was seen"] if not more else []
        if not above.any():
            hints.append(f"{self.call.again(zero_below=self._floor())}, where nothing fell")
        units = {"reflectivity": "dBZ", "linear": "mm6 m-3"}.get(self.kind, "")
        raise mismatch(
            f"{low:g} to {high:g} {units}" if units else f"rain of 0 to {HIGHEST_RATE:g} mm h-1",
            f"{', '.join(f'{one:g}' for one in shown)}{more}, in {int((below | above).sum())} of "
            f"{values.size} pixels",
            "; or ".join(hints)
            or "the units that the numbers are in, by da.assign_attrs(units=...)",
        )

    def _limits(self) -> tuple[float, float]:
        if self.kind == "reflectivity":
            return LOWEST_DBZ, HIGHEST_DBZ
        if self.kind == "linear":
            return 0.0, 10 ** (HIGHEST_DBZ / 10) / self.factor
        return -NOISE / self.factor, HIGHEST_RATE / self.factor

    def _floor(self) -> float:
        """Return the rate at NO_ECHO, or zero for rates."""
        if self.kind in ("rate", "amount"):
            return 0.0
        a, b = self.zr
        return float(f"{(10 ** (NO_ECHO / 10) / a) ** (1 / b):.2g}")


def to_rain(ds: xr.Dataset, call: Call) -> xr.DataArray:
    """Return the rain of a Dataset (time, y, x) as a rate in mm/h; `history` says how."""
    name, kind = find_rain(ds, call)
    da, changes = ds[name], []
    factor = _factor(units_of(da), kind)
    if kind == "amount":
        da, hours = _periods(da, ds, call)
        factor /= hours
        changes.append(f"amounts divided by the {_minutes(hours)} they fell in")
    elif kind == "rate" and not _same(units_of(da)):
        changes.append(f"rain rate in mm h-1 from {units_of(da)}")
    zr, whose = _law(da, call)
    if kind in ("reflectivity", "linear"):
        changes.append(f"rain rate from reflectivity by Z = {zr[0]:g} R**{zr[1]:g}{whose}")
        if call.zero_below is None:
            changes.append(f"0 below {NO_ECHO:g} dBZ")
    if call.missing:
        changes.append(f"missing where it was {', '.join(f'{one:g}' for one in call.missing)}")
    if call.zero_below is not None:
        changes.append(f"0 below {call.zero_below:g} mm h-1")
    convert = Conversion(kind, factor, zr, call)
    dtype = da.dtype if da.dtype.kind == "f" else np.dtype("f4")
    rain = xr.apply_ufunc(convert, da, dask="parallelized", output_dtypes=[dtype])
    rain.attrs = _attrs(da, ds, kind, zr, changes)
    rain.encoding = {}
    for dim in set(rain.dims) & set(da.coords):
        rain[dim].encoding = da[dim].encoding
    return rain if kind == "rate" else rain.rename("rain_rate")


def _factor(units: str, kind: Kind) -> float:
    """Return what numbers of a kind are multiplied by: to mm/h, mm, dBZ or mm6 m-3."""
    units, factor = _plain_units(units)
    target = next(one for one in UNITS[kind] if commensurable(units, one))
    one = xr.DataArray(factor, attrs={"units": units})
    return float(convert_units(one, target, difference=False))  # 1 kg m-2 is 1 mm


def _same(units: str) -> bool:
    return _plain_units(units)[1] == 1 and equal_units(units, ATTRS["units"])


def _law(da: xr.DataArray, call: Call) -> tuple[tuple[float, float], str]:
    """Return a and b of Z = a R**b, and whose they are in words."""
    if call.zr is not None:
        return call.zr, ""
    own = [np.ravel(da.attrs.get(key, np.nan))[0] for key in ("zr_a", "zr_b")]
    try:
        a, b = map(float, own)
    except ValueError:
        a = b = np.nan
    if a > 0 and b > 0:
        return (a, b), ", the data's own"
    return MARSHALL_PALMER, ", of Marshall and Palmer, as the data doesn't say its own"


def _periods(da: xr.DataArray, ds: xr.Dataset, call: Call) -> tuple[xr.DataArray, float]:
    """Return amounts with stamps at the ends of their periods, and the hours of each period.

    By the bounds of time, else by the step of the record.
    """
    bounds = bounds_of(ds["time"], ds)
    if bounds is not None:
        lengths = pd.to_timedelta(bounds[:, 1] - bounds[:, 0]).round("min")
        if not np.array_equal(bounds[:, 1], ds["time"].values):
            time = ds["time"].copy(data=bounds[:, 1])
            da = da.assign_coords(time=time)
    else:
        lengths = pd.to_timedelta(np.diff(np.sort(ds["time"].values))).round("min")
        if not lengths.size:
            one = call.variable(str(da.name))
            raise mismatch(
                "two frames or more, or the bounds of time, to know what time amounts fell in",
                f"one frame of amounts in {units_of(da)}, without bounds",
                f"xef.open_radar(({one} * 12).assign_attrs({one}.attrs, "
                f'units="{units_of(da)} h-1")), for totals of five minutes',
            )
    usual = lengths.to_series().mode().iloc[0]
    if (bounds is not None and (lengths != usual).any()) or usual <= pd.Timedelta(0):
        raise mismatch(
            "amounts over periods of one length",
            f"periods from {_minutes(lengths.min() / HOUR)} to {_minutes(lengths.max() / HOUR)}",
            _of_one_length(ds["time"], usual, call),
        )
    return da, usual / HOUR


def _of_one_length(time: xr.DataArray, length: pd.Timedelta, call: Call) -> str:
    """Return the line that opens the frames whose amounts are over periods of one length."""
    bounds = time.attrs.get("bounds") or time.encoding.get("bounds") or "time_bnds"
    own = f'np.diff({call.opened}["{bounds}"])[:, 0]'
    wanted = f'np.timedelta64({length / pd.Timedelta("1min"):g}, "m")'
    return replace(call, data=f"{call.opened}.isel(time={own} == {wanted})").again()


def _minutes(hours: float) -> str:
    return f"{hours * 60:g} minutes"


def _attrs(
    da: xr.DataArray, ds: xr.Dataset, kind: Kind, zr: tuple[float, float], changes: list[str]
) -> dict[str, object]:
    """Return the attributes of the rain rate."""
    packing = ("valid_min", "valid_max", "valid_range", "missing_value", "_FillValue", "_Undetect")
    own = {k: v for k, v in da.attrs.items() if k not in (*packing, "unit", "units_metadata")}
    if kind != "rate":
        own = {key: own[key] for key in ("grid_mapping", "history") if key in own}
    if changes or "standard_name" not in own:
        own = {**own, **ATTRS}
    attrs: dict[str, object] = {**own, "units": ATTRS["units"]}
    if kind in ("reflectivity", "linear"):
        attrs |= {"zr_a": zr[0], "zr_b": zr[1]}
    if not changes:
        return attrs
    # the file's history goes on with the variable, its other attributes don't
    history = own.get("history") or ds.attrs.get("history")
    if history:
        attrs["history"] = history
    return add_history(attrs, f"xearthformer: {'; '.join(changes)}")
