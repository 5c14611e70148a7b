"""Rain rates from what radars store: reflectivity, amounts, fluxes of mass, codes for no echo."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...errors import mismatch
from ...fields.cf import OF_NUMBERS, add_history, with_labels_of
from ...fields.codes import HIGHEST_RATE, NO_FULL_BYTES, NOISE, full_bytes
from ...fields.quantities import RAIN, RAIN_AMOUNT, RAIN_UNITS, REFLECTIVITY, names_of
from ...fields.units import (
    DECIBELS,
    LEAST,
    commensurable,
    convert_units,
    equal_units,
    is_readable,
    respelled,
    undecibeled,
)
from .amounts import as_rates, check_own_step, minutes, periods
from .call import Call
from .declared import FILLS, VALID, Declared, check_unpacked, declared

Kind = Literal["rate", "amount", "reflectivity", "linear"]

ATTRS = {"standard_name": RAIN, "long_name": "radar rain rate", "units": RAIN_UNITS}
# Z = a R**b, of Marshall and Palmer (1948): what most services use, where the data says none.
MARSHALL_PALMER = 200.0, 1.6
NO_ECHO = 0.0  # dBZ: below is no rain. Z-R makes .0003 mm/h of a radar's lowest code, -32 dBZ
# Beyond these a number is a code, and not a measurement. Hail of the largest kind is of 75 to 80
# dBZ, and the code 255 of gain .5 and offset -32, for what was not seen, of 95.5.
LOWEST_DBZ, HIGHEST_DBZ = -40.0, 80.0

# What units of each kind convert to. The first row of a kind that is commensurable is taken.
UNITS: dict[Kind, tuple[str, ...]] = {
    "rate": (RAIN_UNITS, "kg m-2 h-1"),
    "amount": ("mm", "kg m-2"),
    "reflectivity": ("dBZ",),
    "linear": ("mm6 m-3",),
}
NAMED = {*names_of(RAIN), *names_of(RAIN_AMOUNT), *names_of(REFLECTIVITY)}
# Of several variables, a rate comes before an amount, and an amount before a reflectivity.
ORDER: tuple[Kind, ...] = ("rate", "amount", "reflectivity", "linear")
# Words that tell rain from other things in its units, such as wind in m s-1 and heights in m.
RAINY = ("mm", "kg", "dbz", "inch")
RAINY_RATE = re.compile(r"\b(in|cm|l|litres?|liters?)\b", re.I)  # per hour: "in/h", "l m-2 h-1"
# Amounts per step, as people write them: "mm/5min", "mm (5 min)-1", "kg m-2 per 10 minutes",
# "mm 5min-1".
PER_MINUTES = re.compile(
    r"(.+?)\s*(?:/|per|\(|\s(?=.*-1$))\s*\(?(\d+)\s*min(?:utes?)?\)?(?:\^?-1)?", re.I
)
# Of several rates, what rain is called, and what isn't rain.
OF_RAIN, NOT_RAIN = (re.compile(words, re.I) for words in ("rain|prec", "snow|hail|evap|ice|err"))


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
            raise _several(found, call)
    raise _none(on_grid, call)


def _several(found: list[str], call: Call) -> ValueError:
    """Return the error for several variables of rain; what is called rain is named first."""
    ordered = sorted(found, key=lambda n: (bool(NOT_RAIN.search(n)), not OF_RAIN.search(n)))
    lines = [f"{call.selected(name)}, for {name}" for name in ordered[:3]]
    return mismatch(
        "one variable of rain", f"{len(found)}: {', '.join(found)}", "; or ".join(lines)
    )


def _none(on_grid: dict[str, xr.DataArray], call: Call) -> ValueError:
    """Return the error for no variable of rain, with the line for one that may be meant."""
    for name, da in on_grid.items():
        one = call.variable(name)
        if units_of(da).lower() == DECIBELS:  # its dry pixels are some number below the threshold
            line = undecibeled(one)
            return mismatch(
                "units that can be read: mm h-1, kg m-2 s-1, mm, kg m-2, dBZ, mm6 m-3",
                f"{name} in {units_of(da)!r}, decibels of mm h-1 for pysteps",
                f"{replace(call, data=line, zero_below=call.zero_below or LEAST).again()}, if "
                "that is what it is",
            )
        if meant := _meant(da):
            units, factor = meant
            line = f'{one}.assign_attrs(units="{units}")'
            if factor != 1:
                line = f'({one} * {factor:g}).assign_attrs({one}.attrs, units="{units}")'
            return mismatch(
                "units that can be read: mm h-1, kg m-2 s-1, mm, kg m-2, dBZ, mm6 m-3",
                f"{name} in {units_of(da)!r}",
                f"{replace(call, data=line).again()}, if that is what it is",
            )
    listed = "; ".join(f"{n} ({units_of(da) or 'no units'})" for n, da in on_grid.items())
    # one without units or by another name may be meant, but not one of another quantity
    unclear = [n for n, da in on_grid.items() if not units_of(da) or _is_rainy(units_of(da))]
    unclear = [n for n in unclear if _quantity(on_grid[n])[0] != RAIN] or unclear
    hint = "a file that holds one"
    if unclear:
        standard_name, own = _quantity(on_grid[unclear[0]])
        units = "" if units_of(on_grid[unclear[0]]) else f', units="{own}"'
        line = f'{call.variable(unclear[0])}.assign_attrs(standard_name="{standard_name}"{units})'
        hint = f"{replace(call, data=line).again()}, if that is what it is"
    return mismatch(
        "a variable of rain: a rain rate (mm h-1, kg m-2 s-1), amounts (mm, kg m-2) or a "
        "reflectivity (dBZ, mm6 m-3)",
        listed or "no variable on a grid",
        hint,
    )


def _quantity(da: xr.DataArray) -> tuple[str, str]:
    """Return the standard_name and units that a variable without units is taken for, by name."""
    called = {str(da.attrs.get("standard_name", "")), str(da.name).lower()}
    for standard_name, units in ((REFLECTIVITY, "dBZ"), (RAIN_AMOUNT, "mm")):
        if called & names_of(standard_name) and not called & names_of(RAIN):
            return standard_name, units
    return RAIN, RAIN_UNITS


def _meant(da: xr.DataArray) -> tuple[str, float] | None:
    """Return the units that are meant by ones that can't be read, and how many of them."""
    for ones in UNITS.values():
        for one in ones:
            if (meant := respelled(units_of(da), one)) and (_is_named(da) or _is_rainy(meant[0])):
                return meant
    if _is_named(da) and units_of(da) and not is_readable(units_of(da)):
        return _quantity(da)[1], 1.0
    return None


def _is_named(da: xr.DataArray) -> bool:
    return str(da.attrs.get("standard_name", da.name)).lower() in NAMED


def _is_rainy(units: str) -> bool:
    is_rate = RAINY_RATE.search(units) and commensurable(units, RAIN_UNITS)
    return bool(is_rate) or any(word in units.lower() for word in RAINY)


@dataclass(frozen=True)
class Conversion:
    """Values of one kind to rain rates in mm/h, block by block."""

    kind: Kind
    factor: float  # to mm/h, dBZ or mm6 m-3
    zr: tuple[float, float]
    call: Call
    given: Declared = Declared()
    name: str = "rain"
    along: int | None = None  # the axis of time, of amounts that should each be of a step
    as_rates: str = ""  # the line that opens these as rates

    def __call__(self, values: NDArray) -> NDArray:
        dtype = values.dtype if values.dtype.kind == "f" else np.dtype("f4")
        unseen = np.zeros(values.shape, bool)
        for code in self.call.missing:
            unseen |= np.isclose(values, code, rtol=1e-6, atol=1e-9)
        for code in self.given.fills:
            unseen |= values == code
        if self.given.names:
            unseen |= self._invalid(values, unseen)
        self._check(values, unseen)
        if self.along is not None:
            seen = np.where(unseen, np.nan, values)
            check_own_step(seen, self.along, self.name, self.call, self.as_rates)
        # in float16, the factor of m s-1 is infinite
        rain = self._rates(values.astype(np.promote_types(dtype, np.float32), copy=False))
        if self.call.zero_below is not None:
            rain = np.where(rain < self.call.zero_below, 0, rain)
        if unseen.any():
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
        full = np.zeros(values.shape, bool)
        if self.kind == "rate" and self.factor == 1:
            full = full_bytes(values) & ~above
        if unseen.any():
            below, above, full = below & ~unseen, above & ~unseen, full & ~unseen
        but = NO_FULL_BYTES if full.any() and not (below.any() or above.any()) else ""
        above |= full
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
        rates = f"rain of 0 to {HIGHEST_RATE:g} mm h-1{but}"
        raise mismatch(
            f"{low:g} to {high:g} {units}" if units else rates,
            f"{', '.join(f'{one:g}' for one in shown)}{more}, in {int((below | above).sum())} of "
            f"{values.size} pixels",
            "; or ".join(hints)
            or "the units that the numbers are in, by da.assign_attrs(units=...)",
        )

    def _invalid(self, values: NDArray, unseen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return what is beyond the valid limits; ValueError if they may be of a file's codes."""
        low, high = self.given.low, self.given.high
        noise = NOISE / self.factor if self.kind in ("rate", "amount") else 0.0
        beyond = ((values < low - noise) | (values > high + noise)) & ~unseen
        beyond &= values > -np.inf  # which is reflectivity of nothing
        if not self.given.in_doubt or not beyond.any():
            return beyond
        one = self.call.variable(self.name)
        bare = ", ".join(f"{key}=None" for key in self.given.names)
        conditions = [f"{one} >= {low:.9g}"] if low > -np.inf else []
        conditions += [f"{one} <= {high:.9g}"] if high < np.inf else []
        where = conditions[0] if len(conditions) == 1 else "({}) & ({})".format(*conditions)
        seen = replace(self.call, data=f"{one}.where({where})").again()
        every = replace(self.call, data=f"{one}.assign_attrs({bare})").again()
        raise mismatch(
            f"{self.name} of {low:g} to {high:g}, by {' and '.join(self.given.names)}",
            f"{values[beyond].min():g} to {values[beyond].max():g} in {int(beyond.sum())} of "
            f"{values.size} pixels",
            f"{seen}, where nothing was seen there; or {every}, where the limits are of codes",
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
    check_unpacked(da, call)
    factor, along, as_rate = _factor(units_of(da), kind), None, ""
    if kind == "amount":
        da, hours, by_bounds = periods(da, ds, call, units_of(da))
        factor /= hours
        changes.append(f"amounts divided by the {minutes(hours)} they fell in")
        along = None if by_bounds else da.get_axis_num("time")
        as_rate = as_rates(da, call, units_of(da), hours)
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
    given = declared(da)
    if given.fills:  # on top of what xarray has decoded
        codes = ", ".join(f"{one:g}" for one in given.fills)
        changes.append(f"missing where it was {codes}, as declared")
    if given.names and not given.in_doubt:
        changes.append(f"missing beyond {given.low:g} to {given.high:g}, as declared")
    convert = Conversion(kind, factor, zr, call, given, name, along, as_rate)
    dtype = da.dtype if da.dtype.kind == "f" else np.dtype("f4")
    rain = xr.apply_ufunc(convert, da, dask="parallelized", output_dtypes=[dtype])
    rain = with_labels_of(rain, da)
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


def _attrs(
    da: xr.DataArray, ds: xr.Dataset, kind: Kind, zr: tuple[float, float], changes: list[str]
) -> dict[str, object]:
    """Return the attributes of the rain rate."""
    packing = OF_NUMBERS | {*VALID, *FILLS, "_Undetect", "unit", "units_metadata"}
    own = {k: v for k, v in da.attrs.items() if k not in packing}
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
