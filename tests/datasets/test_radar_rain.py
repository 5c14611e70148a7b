"""What is no rain rate: errors name what was found, and their lines, typed as printed, mend it."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef


def frames(values, units, name, **attrs):
    """One pixel with these values, and next to it one with a 1."""
    da = small_rain([[[value, 1.0]] for value in values]).rename(name)
    return (
        da.assign_attrs(units=units, standard_name=None)
        .drop_attrs()
        .assign_attrs(units=units, grid_mapping="crs", **attrs)
    )


def mends(error, data):
    """Evaluate each line of an error that is to be typed."""
    hint = str(error.value).split("try ")[1]
    lines = re.findall(r"xef\.open_radar\(.*?\)(?=, where|, if|, for|, which|$)", hint)
    assert lines, hint
    return [eval(line, {"xef": xef, "np": np, "xr": xr, **data}) for line in lines]


def first(rain):
    return rain[:, 0, 0].values.tolist()


CODES = {
    # what is in the data: its units, its name, and what the two lines make of it
    "-1 among rates": ([-1, 2], "mm h-1", "rr", [np.nan, 2], [0, 2]),
    "-1 among amounts": ([-1, 2], "mm", "acrr", [np.nan, 24], [0, 24]),
    "-99 dBZ": ([-99, 10 * np.log10(200)], "dBZ", "dbz", [np.nan, 1], [0, 1]),
    "-999 in linear reflectivity": ([-999, 200], "mm6 m-3", "refl", [np.nan, 1], [0, 1]),
    "255 dBZ": ([255, 10 * np.log10(200)], "dBZ", "dbz", [np.nan, 1], None),
    "a fill value": ([1e20, 2], "mm h-1", "rr", [np.nan, 2], None),
    "infinity": ([np.inf, 2], "mm h-1", "rr", [np.nan, 2], None),
    "two codes": ([-999, -1, 65535, 2], "mm h-1", "rr", [np.nan, np.nan, np.nan, 2], None),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("case", CODES)
def test_numbers_that_stand_for_something_else(case, lazy):
    values, units, name, missing, none = CODES[case]
    da = frames(values, units, name)
    with pytest.raises(ValueError, match=r"(?s)^expected .*\n   found .*pixels\n") as error:
        xef.open_radar(da.chunk(time=1) if lazy else da).load()
    if lazy and case == "two codes":
        return  # a block names the codes in it
    unseen, *no_echo = mends(error, {"da": da})
    np.testing.assert_allclose(first(unseen), missing, rtol=1e-6)
    assert bool(no_echo) == (none is not None)
    for rain in no_echo:
        np.testing.assert_allclose(first(rain), none, rtol=1e-6)


def test_many_numbers_below_zero_are_no_codes():
    da = frames([-0.5, -0.4, -0.3, -0.2, -0.1, 2], "mm h-1", "rr")
    with pytest.raises(ValueError, match="found -0.5, -0.4, -0.3, -0.2 and 1 more") as error:
        xef.open_radar(da)
    (rain,) = mends(error, {"da": da})
    assert first(rain) == [0] * 5 + [2]


def test_a_name_that_nobody_knows():
    da = frames([1, 2], "mm h-1", "v", standard_name="radar_rain_of_our_service")
    with pytest.raises(ValueError, match=r"found v \(mm h-1\)") as error:
        xef.open_radar(da)
    assert first(mends(error, {"da": da})[0]) == [1, 2]


def test_the_line_keeps_what_was_asked_for():
    da = frames([-99, 10 * np.log10(223)], "dBZ", "dbz")
    with pytest.raises(ValueError, match=r"zr=\(223, 1.53\), missing=-99\)") as error:
        xef.open_radar(da, zr=(223, 1.53))
    for rain in mends(error, {"da": da}):
        assert first(rain)[1] == pytest.approx(1) and rain.attrs["zr_a"] == 223


def test_a_file_is_typed_by_its_path(tmp_path):
    path = tmp_path / "rain.nc"
    frames([-1, 2], "mm h-1", "rr").to_netcdf(path)
    with pytest.raises(ValueError, match=re.escape(f'xef.open_radar("{path}", missing=-1)')) as e:
        xef.open_radar(path).load()
    assert first(mends(e, {})[0])[1] == 2


def test_units_that_are_missing():
    da = frames([1, 2], "", "rr")
    del da.attrs["units"]
    with pytest.raises(ValueError, match=r"(?s)a variable of rain: .*found rr \(no units\)") as e:
        xef.open_radar(da)
    assert first(mends(e, {"da": da})[0]) == [1, 2]
    ds = da.to_dataset()
    with pytest.raises(ValueError, match="no units") as error:
        xef.open_radar(ds)
    assert first(mends(error, {"ds": ds})[0]) == [1, 2]


@pytest.mark.parametrize("units", ["mm/5min", "mm (5 min)-1", "mm per 5 minutes", "kg m-2/5min"])
def test_amounts_that_say_their_step(units):
    # the record has a frame every five minutes too, but the units go first
    da = frames([1, 0.5], units, "rr").assign_coords(time=np.arange(2) * np.timedelta64(1, "h"))
    da["time"] = np.datetime64("2020-01-01") + np.arange(2) * np.timedelta64(1, "h")
    assert first(xef.open_radar(da)) == [12, 6]


@pytest.mark.parametrize(
    "name, units, standard_name",
    [("t2m", "K", "air_temperature"), ("wind", "m s-1", None), ("vil", "kg m-2", "mass_of_water")],
)
def test_another_product(name, units, standard_name):
    attrs = {"standard_name": standard_name} if standard_name else {}
    ds = frames([1, 2], units, name, **attrs).to_dataset()
    with pytest.raises(ValueError, match=rf"(?s)a variable of rain.*found {name} \({units}\)"):
        xef.open_radar(ds)
    with pytest.raises(ValueError, match="found no variable on a grid"):
        xef.open_radar(ds.drop_vars(name))


def test_two_variables_of_rain():
    ds = frames([1, 2], "mm h-1", "rr").to_dataset()
    ds["rain_rate"] = ds["rr"] * 2
    ds["rain_rate"].attrs = ds["rr"].attrs
    with pytest.raises(ValueError, match="found 2: rr, rain_rate") as error:
        xef.open_radar(ds)
    assert [first(rain) for rain in mends(error, {"ds": ds})] == [[2, 4], [1, 2]]
    ds = ds.rename(rr="snow_rate", rain_rate="acc_rain")
    for da in ds.values():
        da.attrs["standard_name"] = "precipitation_flux"
    with pytest.raises(ValueError, match="found 2: snow_rate, acc_rain") as error:
        xef.open_radar(ds)
    assert first(mends(error, {"ds": ds})[0]) == [2, 4]  # rain before snow


def test_two_variables_of_rain_in_a_file(tmp_path):
    ds = frames([1, 2], "mm h-1", "rr").to_dataset()
    ds["rain_rate"] = ds["rr"].assign_attrs()
    ds.to_netcdf(tmp_path / "rain.nc")
    with pytest.raises(ValueError, match="found 2: rr, rain_rate") as error:
        xef.open_radar(tmp_path / "rain.nc")
    assert first(mends(error, {})[0]) == [1, 2]


@pytest.mark.parametrize("units", ["mm", "kg m-2"])
def test_one_frame_of_amounts(units):
    da = frames([1], units, "acrr")
    with pytest.raises(ValueError, match="two frames or more, or the bounds of time") as error:
        xef.open_radar(da)
    assert first(mends(error, {"da": da})[0]) == [12]


def test_amounts_over_periods_of_several_lengths():
    ds = frames([1, 2, 3], "mm", "acrr").to_dataset()
    lengths = np.array([5, 5, 60]) * np.timedelta64(1, "m")
    ds["time_bnds"] = ("time", "bnds"), np.stack([ds.time.values - lengths, ds.time.values], -1)
    with pytest.raises(ValueError, match="periods from 5 minutes to 60 minutes") as error:
        xef.open_radar(ds)
    assert first(mends(error, {"ds": ds})[0]) == [12, 24]


def test_a_frame_without_its_time():
    ds = frames([3], "mm h-1", "rr").isel(time=0, drop=True).to_dataset()
    with pytest.raises(ValueError, match="expected a time, of one frame or along a dim") as error:
        xef.open_radar(ds)
    line = str(error.value).split("try ")[1].split(", with its own")[0]
    assert first(eval(line, {"xef": xef, "np": np, "ds": ds})) == [3]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"zr": (200,)}, r"zr as a and b.*\n.*\n.*zr=\(200, 1.6\)"),
        ({"zr": (0, 1.6)}, "zr as a and b"),
        ({"zero_below": -1}, "zero_below as a rain rate"),
        ({"on_error": "ignore"}, 'on_error as "raise" or "skip"'),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        xef.open_radar(frames([1], "mm h-1", "rr"), **options)


@pytest.mark.parametrize(
    "attrs",
    [
        {"standard_name": "rainfall_amount", "units": "mm"},
        {"units": "mm"},
        {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"},
    ],
)
def test_a_forecast_of_what_is_no_rate_sends_people_here(attrs):
    rain = small_rain(np.random.default_rng(0).gamma(0.5, 4, (13, 8, 8)).clip(0.05))
    dbz = 10 * np.log10(200) + 16 * np.log10(rain)
    da = (rain / 12 if attrs["units"] == "mm" else dbz).rename("v")
    da.attrs = attrs | {"grid_mapping": "crs"}
    with pytest.raises(ValueError, match=r"xef.open_radar\(da\)") as error:
        da.earthformer.forecast("nowcast-radar")
    np.testing.assert_allclose(mends(error, {"da": da})[0], rain, rtol=1e-4)


def test_a_flux_of_mass_is_forecast_as_it_is():
    rain = small_rain(np.random.default_rng(0).gamma(0.5, 4, (13, 128, 128)))
    flux = (rain / 3600).assign_attrs(rain.attrs, units="kg m-2 s-1", standard_name="rainfall_flux")
    fc = flux.earthformer.forecast("nowcast-radar", lead=1)
    assert fc.attrs["units"] == "kg m-2 s-1"
    wanted = rain.earthformer.forecast("nowcast-radar", lead=1)
    np.testing.assert_allclose(fc * 3600, wanted, rtol=1e-3, atol=1e-3)


# --- what attributes declare, and nothing has applied


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "attrs",
    [
        {"_FillValue": 255.0},
        {"missing_value": np.array([250.0, 255.0])},
        {"valid_max": 200.0},
        {"valid_range": np.array([0.0, 200.0])},
    ],
)
def test_a_declared_fill_value_is_missing(attrs, lazy):
    da = frames([255, 2], "mm h-1", "rr", **attrs)
    opened = xef.open_radar(da.chunk(time=1) if lazy else da)
    np.testing.assert_array_equal(first(opened), [np.nan, 2])
    assert "as declared" in opened.attrs["history"] and not set(attrs) & set(opened.attrs)


def test_limits_that_may_be_of_codes_are_asked_about():
    da = frames([255, 2], "mm h-1", "rr", valid_min=0, valid_max=200)
    with pytest.raises(ValueError, match="of 0 to 200, by valid_min and valid_max") as error:
        xef.open_radar(da)
    seen, every = mends(error, {"da": da})
    np.testing.assert_array_equal(first(seen), [np.nan, 2])
    assert first(every) == [255, 2]


def test_limits_of_packed_data_are_of_its_codes(tmp_path):
    da = frames([-20, 10 * np.log10(200)], "dBZ", "dbz")
    da.attrs["valid_range"] = np.array([0, 200], "i2")  # -32 to 68 dBZ
    da.encoding = {"dtype": "i2", "scale_factor": 0.5, "add_offset": -32.0, "_FillValue": 255}
    da.to_netcdf(tmp_path / "dbz.nc")
    np.testing.assert_allclose(first(xef.open_radar(tmp_path / "dbz.nc")), [0, 1], rtol=0.05)
    with xr.open_dataset(tmp_path / "dbz.nc", mask_and_scale=False) as ds:
        for data, key in ((ds, "ds"), (ds["dbz"], "da")):
            with pytest.raises(ValueError, match="codes of dbz, packed by scale_factor 0.5") as e:
                xef.open_radar(data)
            np.testing.assert_allclose(first(mends(e, {key: data})[0]), [0, 1], rtol=0.05)


def test_the_code_of_a_byte_is_no_reflectivity():
    da = frames([95.5, 10 * np.log10(200)], "dBZ", "dbz")  # 255 of gain .5 and offset -32
    with pytest.raises(ValueError, match="expected -40 to 80 dBZ\n   found 95.5") as error:
        xef.open_radar(da)
    np.testing.assert_allclose(first(mends(error, {"da": da})[0]), [np.nan, 1], rtol=1e-6)


# --- amounts of more than a step


def test_sums_since_a_start():
    each = np.random.default_rng(0).gamma(0.5, 4, (5, 4, 4)).clip(0.1)
    da = small_rain(each.cumsum(0)).assign_attrs(units="mm", standard_name="rainfall_amount")
    for data in (da, da.chunk(x=2)):
        with pytest.raises(ValueError, match="5 frames of rain_rate in which no pixel") as error:
            xef.open_radar(data).load()
    apart, own = mends(error, {"da": da})
    np.testing.assert_allclose(apart, each[1:] * 12, rtol=1e-4)
    np.testing.assert_allclose(own, da * 12)
    xef.open_radar(da[:3])  # too few to tell
    xef.open_radar(small_rain(each).assign_attrs(units="mm", standard_name="rainfall_amount"))


def test_amounts_that_cell_methods_say_are_of_an_hour():
    da = frames([6, 12], "mm", "acrr", cell_methods="time: sum (interval: 1 hour)")
    with pytest.raises(ValueError, match="a step of the record, 5 minutes") as error:
        xef.open_radar(da)
    assert first(mends(error, {"da": da})[0]) == [6, 12]
    da.attrs["cell_methods"] = "time: sum (interval: 1 minute)"
    assert first(xef.open_radar(da)) == [72, 144]


# --- units and names


@pytest.mark.parametrize(
    "name, units, value, spelling",
    [
        ("rain", "mmh-1", 3, "mm h-1"),
        ("v", "0.1 mm/h", 30, "mm/h"),
        ("rain", "MM/H", 3, "mm h-1"),
        ("rr", "unknown", 3, "mm h-1"),
        ("acrr", "0.01 mm", 25, "mm"),
        ("dbz", "dBZe", 10 * np.log10(200 * 3**1.6), "dBZ"),
        ("dbz", "dB", 10 * np.log10(200 * 3**1.6), "dBZ"),
    ],
)
def test_units_that_cannot_be_read(name, units, value, spelling):
    da = frames([value, value], units, name)
    with pytest.raises(ValueError, match=rf"can be read.*\n   found {name} in '{units}'") as error:
        xef.open_radar(da)
    assert f'units="{spelling}"' in str(error.value)
    np.testing.assert_allclose(first(mends(error, {"da": da})[0]), 3, rtol=1e-5)


@pytest.mark.parametrize("name", ["rain", "precip", "pr", "prec", "rainfall", "RATE", "TOT_PREC"])
@pytest.mark.parametrize("units, factor", [("m s-1", 3.6e6), ("in/h", 25.4), ("m", 12000)])
def test_names_of_rain_in_any_units(name, units, factor):
    da = frames([3, 3], units, name)
    opened = xef.open_radar((da / factor).assign_attrs(da.attrs))
    np.testing.assert_allclose(first(opened), 3, rtol=1e-5)


@pytest.mark.parametrize("units, factor", [("in/h", 25.4), ("cm h-1", 10), ("l m-2 h-1", 1)])
def test_units_that_only_rain_has(units, factor):
    np.testing.assert_allclose(first(xef.open_radar(frames([3 / factor], units, "v"))), 3, 1e-5)


@pytest.mark.parametrize("name", ["dbz", "DBZH"])
def test_reflectivity_without_units_is_no_rain_rate(name):
    values = np.full((13, 8, 8), 10 * np.log10(200), "f4")
    da = small_rain(values).rename(name).assign_attrs(standard_name=None)
    da.attrs = {"grid_mapping": "crs"}
    for call in (xef.open_radar, lambda data: data.earthformer.forecast("nowcast-radar")):
        with pytest.raises(ValueError, match='units="dBZ"') as error:
            call(da)
        np.testing.assert_allclose(mends(error, {"da": da})[0], 1, rtol=1e-5)


def test_another_quantity_in_units_that_can_be_read():
    ds = frames([1, 2], "mm/h", "sn", standard_name="snowfall_flux").to_dataset()
    with pytest.raises(ValueError, match=r"expected a variable of rain: .*\n   found sn \(mm/h\)"):
        xef.open_radar(ds)


def test_times_that_are_text():
    da = frames([1, 2], "mm h-1", "rr")
    text = da.assign_coords(time=da["time"].dt.strftime("%Y-%m-%d %H:%M").values)
    with pytest.raises(ValueError, match="text, such as '2021-07-04 15:50', along time") as error:
        xef.open_radar(text)
    line = str(error.value).split("try ")[1].split(", or")[0]
    assert eval(line, {"xef": xef, "pd": pd, "da": text}).time.equals(da.time)


def test_no_files():
    with pytest.raises(ValueError, match="expected files of radar data\n   found an empty list"):
        xef.open_radar([])


@pytest.mark.parametrize("units, factor", [("mm h-1", 1), ("kg m-2 s-1", 3600)])
@pytest.mark.parametrize("code", [-1.0, 9999.0])
def test_a_forecast_of_codes_names_them(code, units, factor):
    rain = small_rain(np.random.default_rng(0).gamma(0.5, 4, (13, 128, 128)))
    da = (rain / factor).where(rain["x"] > 20_000, code).assign_attrs(rain.attrs, units=units)
    with pytest.raises(ValueError, match=rf"xef.open_radar\(da, missing={code:g}\)") as error:
        da.earthformer.forecast("nowcast-radar", lead=1)
    (mended,) = mends(error, {"da": da})
    assert mended.isnull().mean() == 20 / 128
    assert mended.earthformer.forecast("nowcast-radar", lead=1).notnull().any()
