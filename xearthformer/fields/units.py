"""Units, by pint: CF, UDUNITS and common spellings, and anomalies as the differences they are."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import mismatch

if TYPE_CHECKING:
    import pint

# Spellings of temperature in files that pint does not know or (C, F, k) reads as other units.
TEMPERATURE = re.compile(
    r"(delta[ _])?(?:deg(?:ree)?s?[ _]?|°|º)?(c|celsius|k|kelvin|f|fahrenheit)(?:[ _]scale)?"
)
PINT_NAMES = {"c": "degC", "k": "kelvin", "f": "degF", "dbz": "dBZ"}
# A unit of its own: pint's decibel is a ratio, and would convert to the plain number 1.
OWN_UNITS = ("reflectivity_decibel = [reflectivity_decibel] = dBZ",)
# Spellings that people mean by others, such as "mmh-1" and "MM/H", without their blanks and signs.
READABLE = {
    re.sub(r"[\s.*^_]", "", spelling).lower(): units
    for units, spellings in {
        "mm h-1": "mm h-1,mm/h,mm/hr,mm hr-1,mmph",
        "kg m-2 s-1": "kg m-2 s-1,kg/m2/s,kg/m2s",
        "kg m-2 h-1": "kg m-2 h-1,kg/m2/h,kg/m2h",
        "mm": "mm,millimeter(s),l/m2",
        "kg m-2": "kg m-2,kg/m2",
        "dBZ": "dBZ,dBZe,dBZh,dBZv,dB,dB(Z),dB Z",
        "mm6 m-3": "mm6 m-3,mm6/m3",
    }.items()
    for spelling in spellings.split(",")
}
SCALED = re.compile(r"(\d*\.?\d+(?:[eE][-+]?\d+)?)\s*[*x]?\s*([A-Za-z].*)")  # "0.1 mm/h"
# What is read of UDUNITS' grammar: products and ratios of names with small whole powers, also in
# brackets. pint computes any arithmetic that a text says, and powers of powers take for ever.
SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
POWER = rf"(?:(?:\^|\*\*)?\(?[-+]?\d{{1,2}}\)?|⁻?[{SUPERSCRIPT}]{{1,2}})"
FACTOR = rf"(?:1|(?:[^\W\d{SUPERSCRIPT}]+|[%°]){POWER}?)"
JOINED = r"(?:\s*[./*·]\s*|\s+)"
TERM = rf"(?:{FACTOR}|\({FACTOR}(?:{JOINED}{FACTOR})*\))"
PRODUCT = re.compile(rf"{TERM}(?:{JOINED}{TERM})*")
LONGEST = 100  # characters
DECIBELS, LEAST = "dbr", 0.1  # what pysteps calls rates in dB, and its threshold of rain, mm/h
AMOUNT_PER_STEP = re.compile(r"\d\s*min")  # "mm/5min", which pint doesn't take
WATER = 1000.0  # kg m-3: rain of 1 kg m-2 stands 1 mm high

# CF 1.11, section 3.1.2: the two kinds of temperature, as the attribute units_metadata.
DIFFERENCE = "temperature: difference"
ON_SCALE = "temperature: on_scale"


def convert_units(da: xr.DataArray, units: str, *, difference: bool) -> xr.DataArray:
    """Convert `da` to other units, by pint; lazy data stays lazy, and the dtype stays.

    But for float16, which becomes float32: a factor of 3.6e6 is infinite in it.

    With `difference`, the values are anomalies: one of 1 K is one of 1 degC, not of -272.15. A flux
    of water in kg m-2 s-1 is a rate too: 1 kg m-2 is 1 mm. An attribute `units` that is missing,
    not understood or of another quantity raises ValueError.

    >>> da = xr.DataArray([280.15], dims="x", attrs={"units": "K"})
    >>> convert_units(da, "degC", difference=False).round(2).item()
    7.0
    >>> convert_units(da - 279.15, "degF", difference=True).round(2).item()
    1.8
    """
    found = str(da.attrs.get("units", "")).strip()
    if hasattr(da.data, "units"):
        raise mismatch("plain numbers, units in the attributes", "pint", "da.pint.dequantify()")
    if not found:
        hint = f'da.assign_attrs(units="{units}")'
        whose = f" of {da.name}" if da.name else ""
        raise mismatch(f"units that convert to {units}", f"no attribute units{whose}", hint)
    if len(found) > LONGEST:
        hint = f'da.assign_attrs(units="{units}"), if that is what the numbers are in'
        raise mismatch(f"units of at most {LONGEST} characters", f"{len(found)}", hint)
    factor, offset = _conversion(found, units, difference)
    if (factor, offset) != (1, 0) and da.dtype == np.float16:
        da = da.astype(np.float32)
    # the same units leave the values alone: no copy, and no task in a graph
    out = da if factor == 1 else da * factor
    out = (out if offset == 0 else out + offset).copy(deep=False)
    out.attrs = {**da.attrs, "units": units}
    if difference and is_temperature(units):
        out.attrs["units_metadata"] = DIFFERENCE
    return out


def is_temperature(units: str) -> bool:
    """Return whether units are of temperature, which may be on a scale or a difference."""
    try:
        return dict(_pint_unit(units).dimensionality) == {"[temperature]": 1}
    except Exception:  # pint has no common ancestor for what it raises on nonsense
        return False


@functools.lru_cache(256)
def commensurable(one: str, other: str) -> bool:
    """Return whether units measure the same, whatever their size; False for what isn't understood.

    >>> commensurable("mm/h", "m s-1"), commensurable("mm", "mm h-1"), commensurable("?", "mm")
    (True, False, False)
    """
    try:
        dimensions = [_pint_unit(units).dimensionality for units in (one, other)]
    except Exception:  # as above
        return False
    return dimensions[0] == dimensions[1]


def respelled(units: str, wanted: str) -> tuple[str, float] | None:
    """Return what is meant by units that aren't read, if it converts, and how many of it they are.

    >>> respelled("mmh-1", "mm h-1"), respelled("0.1 mm/h", "m s-1"), respelled("K", "mm h-1")
    (('mm h-1', 1.0), ('mm/h', 0.1), None)
    """
    if len(units) > LONGEST or commensurable(units, wanted):
        return None
    scaled = SCALED.fullmatch(units)
    rest, factor = (scaled[2], float(scaled[1])) if scaled else (units, 1.0)
    meant = rest
    if not (scaled and commensurable(rest, wanted)):
        meant = READABLE.get(re.sub(r"[\s.*^_]", "", rest).lower(), "")
    if not meant or meant == units or not commensurable(meant, wanted):
        return None
    return meant, factor


def is_readable(units: str) -> bool:
    """Return whether units are understood, of whatever they are.

    >>> is_readable("mm/h"), is_readable("mmh-1")
    (True, False)
    """
    try:
        _pint_unit(units)
    except Exception:  # as above
        return False
    return True


def to_metres(units: str) -> float | None:
    """Return how many metres one of a unit of length is; None for other units.

    >>> to_metres("km")
    1000.0
    """
    try:
        return float(_registry().Quantity(1.0, _pint_unit(units)).to("m").magnitude)
    except Exception:  # as above
        return None


def undecibeled(one: str) -> str:
    """Return what to type for rates in mm h-1 from `one` in dBR.

    >>> undecibeled("da")
    '(10 ** (da / 10)).assign_attrs(da.attrs, units="mm h-1")'
    """
    return f'(10 ** ({one} / 10)).assign_attrs({one}.attrs, units="mm h-1")'


def equal_units(one: str, other: str) -> bool:
    """Return whether two spellings are of the same units; False for what isn't understood.

    >>> equal_units("degC", "degree_Celsius"), equal_units("degC", "K")
    (True, False)
    """
    try:
        return one == other or bool(_pint_unit(one) == _pint_unit(other))
    except Exception:  # as above
        return False


@functools.lru_cache(256)
def _conversion(found: str, units: str, difference: bool) -> tuple[float, float]:
    """Return the factor and offset from one unit to another."""
    registry = _registry()
    expected = f"units that convert to {units}"
    hint = f'da.assign_attrs(units="{units}"), if that is what the numbers are in'
    try:
        source = _pint_unit(found)
    except Exception as error:  # as above
        if AMOUNT_PER_STEP.search(found) and commensurable(units, "mm h-1"):
            hint = "xef.open_radar(da), which reads amounts per step"
        elif found.lower() == DECIBELS and commensurable(units, "mm h-1"):
            hint = f"xef.open_radar({undecibeled('da')}, zero_below={LEAST}), if that is what it is"
        elif meant := respelled(found, units):
            hint = f"{_with_units(*meant)}, if that is what the numbers are in"
        elif commensurable(units, "mm h-1") and (meant := respelled(found, "dBZ")):
            hint = f"xef.open_radar({_with_units(*meant)}), if that is what the numbers are in"
        raise mismatch(expected, f"unknown units {found!r}", hint) from error
    target = _pint_unit(units)
    if source.dimensionality != target.dimensionality:
        if (per_mass := _water(source, target)) is not None:
            return per_mass, 0.0
        hint = _other_quantity(source, target) or hint
        if meant := respelled(found, units):  # pint's MM/H is megamolar per henry
            hint = f"{_with_units(*meant)}, if that is what the numbers are in"
        raise mismatch(expected, repr(found), hint)
    if not difference and str(source).startswith("delta_"):
        raise mismatch(f"values in {units}", f"differences, in {found!r}", hint)
    # delta_degree_Celsius for degree_Celsius; units without an offset stay
    deltas = [re.sub(r"^(?=degree_(C|F))", "delta_", str(unit)) for unit in (source, target)]
    one = registry.Quantity(1.0, deltas[0]).to(deltas[1]).magnitude
    zero = 0.0 if difference else registry.Quantity(0.0, source).to(target).magnitude
    return round(float(one), 15), float(zero)  # rounded: pint has 1.7999999999999998 degF in 1 K


def _with_units(units: str, factor: float) -> str:
    """Return the line that gives data other units, and multiplies it."""
    if factor == 1:
        return f'da.assign_attrs(units="{units}")'
    return f'(da * {factor:g}).assign_attrs(da.attrs, units="{units}")'


def _water(source: pint.Unit, target: pint.Unit) -> float | None:
    """Return the factor from a flux of water's mass to a rate of its depth, or back; else None.

    >>> registry = _registry()
    >>> _water(registry.parse_units("kg/m**2/s"), registry.parse_units("mm/hour"))
    3600.0
    """
    registry = _registry()
    water = registry.Quantity(WATER, "kg/m**3")
    rate, flux = (registry.parse_units(units) for units in ("mm/hour", "kg/m**2/s"))
    kinds = source.dimensionality, target.dimensionality
    if kinds == (flux.dimensionality, rate.dimensionality):
        return round(float((registry.Quantity(1.0, source) / water).to(target).magnitude), 15)
    if kinds == (rate.dimensionality, flux.dimensionality):
        return float((registry.Quantity(1.0, source) * water).to(target).magnitude)
    return None


def _other_quantity(source: pint.Unit, target: pint.Unit) -> str:
    """Return the line that makes a rain rate of what radars also measure; "" for other units."""
    registry = _registry()
    if target.dimensionality != registry.parse_units("mm / hour").dimensionality:
        return ""
    if source.dimensionality in _dimensions("dBZ", "mm**6/m**3"):
        return "xef.open_radar(da), which makes it a rain rate"
    if source.dimensionality in _dimensions("mm", "kg/m**2"):
        return "xef.open_radar(da), which divides amounts by the time they fell in"
    return ""


def _dimensions(*units: str) -> list[object]:
    return [_registry().parse_units(one).dimensionality for one in units]


@functools.lru_cache(256)
def _pint_unit(units: str) -> pint.Unit:
    """Parse CF, UDUNITS and common spellings: "kg m-2", "mm/h", "degrees_C", "dBZ"."""
    text = units.strip()
    if len(text) > LONGEST:
        raise ValueError(f"units of {len(text)} characters")
    temperature = TEMPERATURE.fullmatch(text.lower())
    if temperature:
        name = PINT_NAMES[temperature[2][0]]
        # a kelvin has no offset, and so no delta_ form in pint
        is_delta = temperature[1] and name != "kelvin"
        return _registry().parse_units(f"delta_{name}" if is_delta else name)
    text = PINT_NAMES.get(text.lower(), text)
    if text and not PRODUCT.fullmatch(text):
        raise ValueError(f"units that are no product of names and powers: {text!r}")
    text = re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", " ", text)  # UDUNITS: "mm.h-1"
    # powers, "m-2" to "m**-2", but not the exponent of "1e-3"
    return _registry().parse_units(re.sub(r"(?<=[A-Za-z])(?<![0-9][eE])(-?\d+)", r"**\1", text))


@functools.cache
def _registry() -> pint.UnitRegistry:
    """Return a registry of our own: pint's application registry belongs to the user."""
    import pint

    registry: pint.UnitRegistry = pint.UnitRegistry()
    for line in OWN_UNITS:
        registry.define(line)
    return registry
