"""Units: spellings found in files, absolute values and differences, and what bad units get."""

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.fields.units import (
    commensurable,
    convert_units,
    equal_units,
    is_readable,
    is_temperature,
    respelled,
    to_metres,
)


def field(value, units, dtype="f4", **attrs):
    return xr.DataArray(np.full(2, value, dtype), dims="x", attrs={"units": units, **attrs})


def convert(value, found, wanted, difference=False):
    return float(convert_units(field(value, found, "f8"), wanted, difference=difference)[0])


CELSIUS = ["degC", "C", "celsius", "Celsius", "degrees_C", "deg_C", "degree_Celsius", "degree_C"]
CELSIUS += [
    "degrees_celsius",
    "deg_c",
    "DegC",
    "degreesC",
    "°C",
    "Celsius_scale",
    "degrees C",
    "deg C",
]
KELVIN = ["K", "k", "kelvin", "Kelvin", "degK", "deg_K", "degrees_K", "degrees_kelvin"]
FAHRENHEIT = ["degF", "F", "fahrenheit", "degrees_F", "deg_F"]
RAIN = ["mm/h", "mm h-1", "mm hr-1", "mm/hr", "mm h^-1", "mm h**-1", "mm.h-1", "mm per hour"]


@pytest.mark.parametrize("spelling", CELSIUS)
def test_celsius(spelling):
    assert convert(7, spelling, "K") == pytest.approx(280.15)
    assert convert(280.15, "K", spelling) == pytest.approx(7)
    assert equal_units(spelling, "degC")


@pytest.mark.parametrize("spelling", KELVIN)
def test_kelvin(spelling):
    assert convert(280.15, spelling, "degC") == pytest.approx(7)


@pytest.mark.parametrize("spelling", FAHRENHEIT)
def test_fahrenheit(spelling):
    assert convert(50, spelling, "degC") == pytest.approx(10)  # (50 - 32) * 5 / 9
    assert convert(9, spelling, "degC", difference=True) == pytest.approx(5)


@pytest.mark.parametrize("spelling", RAIN)
def test_rain(spelling):
    assert convert(3.6, spelling, "m s**-1") == pytest.approx(1e-6)  # 3.6 mm/h = 1e-6 m/s


@pytest.mark.parametrize("spelling", ["kg m-2", "kg/m2", "kg m**-2", "kg.m-2", "kg m^-2"])
def test_vertically_integrated_liquid(spelling):
    assert convert(2, spelling, "g m-2") == pytest.approx(2000)


@pytest.mark.parametrize(
    "found, wanted, factor",
    [
        ("1", "%", 100),
        ("m s-1", "km/h", 3.6),
        ("hPa", "Pa", 100),
        ("dBZ", "dBZ", 1),
        ("dBz", "DBZ", 1),
    ],
)
def test_others(found, wanted, factor):
    assert convert(1, found, wanted) == pytest.approx(factor)


@pytest.mark.parametrize("found", ["K", "degC", "delta_degC", "delta_K", "delta degC"])
@pytest.mark.parametrize("wanted", ["K", "degC"])
def test_an_anomaly_of_one_kelvin_is_one_of_one_degree(found, wanted):
    out = convert_units(field(1, found), wanted, difference=True)
    assert out.values.tolist() == [1.0, 1.0]
    assert out.attrs == {"units": wanted, "units_metadata": "temperature: difference"}


def test_dtype_name_and_attributes_stay():
    da = field(280, "K", long_name="sst").rename("sst")
    out = convert_units(da, "degC", difference=False)
    assert out.dtype == "f4" and out.name == "sst"
    assert out.attrs == {"units": "degC", "long_name": "sst"}
    assert da.attrs["units"] == "K"


def test_the_same_units_leave_the_values_alone():
    da = field(0.1, "degree_Celsius")
    assert np.shares_memory(convert_units(da, "degC", difference=False).values, da.values)


def test_lazy_stays_lazy():
    out = convert_units(field(280, "K").chunk(x=1), "degC", difference=False)
    assert out.chunks == ((1, 1),) and out.dtype == "f4"


BAD = {
    "missing": (
        field(1, "").drop_attrs(),
        "degC",
        'no attribute units\n.*assign_attrs.units="degC"',
    ),
    "blank": (field(1, " "), "degC", "no attribute units"),
    "another quantity": (field(1, "m s-1"), "degC", "convert to degC\n.*'m s-1'\n.*assign_attrs"),
    "unknown": (field(1, "furlongs per jiff"), "degC", "unknown units 'furlongs per jiff'"),
    "nonsense": (field(1, "K)("), "degC", r"unknown units 'K\)\('"),
    "reflectivity is no ratio": (field(1, "dBZ"), "1", "convert to 1\n.*'dBZ'"),
    "differences": (field(1, "delta_degC"), "K", "values in K\n.*differences, in 'delta_degC'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_units(case):
    da, units, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        convert_units(da, units, difference=False)


@pytest.mark.parametrize(
    "text",
    [
        "m " * 3000,
        "m" * 101,
        "m*" * 50,
        "1" * 100_000,
        "m ** 100",
        "m ** 2 ** 2",
        "m2 ** 2",
        "m²²²",
        "(m)2",
        "((m))",
        "m + m",
        "2 m",
        "sqrt(m)",
        "m2.5",
        "m;s",
        "m %s",
    ],
)
def test_units_are_products_of_names_and_small_powers_and_no_arithmetic(text):
    assert not is_readable(text) and not commensurable(text, "m") and not equal_units(text, "m")
    assert to_metres(text) is None and respelled(text, "mm h-1") is None
    with pytest.raises(ValueError, match=r"^expected units (that convert to m|of at most 100)"):
        convert_units(field(1, text), "m", difference=False)


@pytest.mark.parametrize(
    "text",
    ["W m-2 sr-1", "J/(kg K)", "(kg m-2) s-1", "m^-2", "m**-2", "m**(-2)", "s⁻¹", "µm"],
)
def test_products_and_ratios_are_units(text):
    assert is_readable(text)


def test_pint_arrays_are_told_to_dequantify():
    pint = pytest.importorskip("pint")
    da = xr.DataArray(pint.UnitRegistry().Quantity(np.ones(2), "degC"), dims="x")
    with pytest.raises(ValueError, match="da.pint.dequantify"):
        convert_units(da, "K", difference=False)


def test_pints_application_registry_stays_the_users():
    import pint

    before = pint.get_application_registry().get()
    convert(1, "K", "degC")
    assert pint.get_application_registry().get() is before


def test_kinds_of_units():
    assert [is_temperature(u) for u in ("degC", "K", "delta_degC", "mm", "?")] == [True] * 3 + [
        False
    ] * 2
    assert [to_metres(u) for u in ("m", "km", "degrees_north", "")] == [1.0, 1000.0, None, None]


@pytest.mark.parametrize(
    "value, units, rain",
    # 10 log10 200 is 1 mm/h by 200 R**1.6; the record has a frame every ten minutes: 2 mm are 12
    [
        (23.0103, "dBZ", 1),
        (200, "mm6 m-3", 1),
        (2, "mm", 12),
        (2, "kg m-2", 12),
        (1, "mm/5min", 12),
    ],
)
def test_what_radars_measure_next_to_rain(value, units, rain):
    da = field(value, units, "f8", note="n").expand_dims(y=1)
    da = da.expand_dims(time=xr.date_range("2019-01-01", periods=2, freq="10min"))
    with pytest.raises(ValueError, match=r"(?s)found .*'\n.*xef.open_radar\(") as error:
        convert_units(da, "mm h-1", difference=False)
    line = str(error.value).split("try ")[1].split(", which")[0]
    assert eval(line, {"xef": xef, "da": da}).values == pytest.approx(rain, rel=1e-5)
    with pytest.raises(ValueError, match="(?s)'.*assign_attrs"):
        convert_units(da, "degC", difference=False)


@pytest.mark.parametrize("units", ["kg m-2 s-1", "kg m**-2 s**-1", "kg/m2/s"])
def test_a_flux_of_water_is_a_rate(units):
    # a kilogram on a square metre stands a millimetre high
    assert convert(1 / 3600, units, "mm h-1") == pytest.approx(1)
    assert convert(1, "mm h-1", units) == pytest.approx(1 / 3600)
    assert convert(2, "kg m-2 h-1", "mm/day") == pytest.approx(48)
    with pytest.raises(ValueError, match="convert to m"):  # a mass on an area is no height of sea
        convert(1, "kg m-2", "m")


@pytest.mark.parametrize(
    "found, value", [("mmh-1", 3.0), ("MM/H", 3.0), ("0.1 mm/h", 30.0), ("1e-3 m s-1", 3 / 3600)]
)
def test_spellings_of_rain_rates_that_cannot_be_read(found, value):
    da = xr.DataArray([value], dims="x", name="rain", attrs={"units": found})
    with pytest.raises(ValueError, match=r"try (\(da \* .*\)|da)\.assign_attrs\(") as error:
        convert_units(da, "mm h-1", difference=False)
    line = str(error.value).split("try ")[1].split(", if")[0]
    mended = convert_units(eval(line, {"da": da}), "mm h-1", difference=False)
    np.testing.assert_allclose(mended, 3)


def test_reflectivity_that_cannot_be_read_is_no_rate():
    da = xr.DataArray([23.0], dims="x", attrs={"units": "dBZe"})
    with pytest.raises(ValueError, match=r'xef.open_radar\(da.assign_attrs\(units="dBZ"\)\), if'):
        convert_units(da, "mm h-1", difference=False)
