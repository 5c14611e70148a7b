"""Rain at another step or on other pixels: the line that is printed gives the right nowcast.

The untrained `nowcast` of the smallest preset is close to an extrapolation, which is what tells a
motion that a mend has spoilt.
"""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_nowcast import small_nowcast

import xearthformer as xef
from xearthformer.packs.card import Variable

RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A nowcast of 5-minute rain on 32 x 32 pixels of 1 km or more: 4 frames in, 3 out."""
    return small_nowcast(tmp_path_factory.mktemp("packs"))


def storms(frames=9, minutes=5.0, km=1.0, first=0.0):
    """Storms that move 4 km in 5 minutes along x, on 96 km from `first` on."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[first : first + 96 : km, first : first + 96 : km]
    where = rng.uniform((0, -40), (96, 66), (16, 2))
    values = [
        sum(6 * np.exp(-((y - a) ** 2 + (x - b - 0.8 * t) ** 2) / 50) for a, b in where)
        for t in np.arange(frames) * minutes
    ]
    time = np.datetime64("2016-07-11T22:00") + (60 * minutes * np.arange(frames)).astype("m8[s]")
    coords = {"time": time, "y": ("y", y[:, 0], {"units": "km"}), "x": ("x", x[0], {"units": "km"})}
    return xr.DataArray(np.array(values, "f4"), coords, ("time", "y", "x"), "rain", RAIN)


def line_of(data, pack):
    """The line that the error prints."""
    with pytest.raises(ValueError) as error:
        xef.forecast(data, pack)
    return re.search(r"(?:xef|da)\..*\)", str(error.value).split("try ")[1])[0]


def middle_of(fc):
    return fc.isel(init=-1, y=slice(16, 80), x=slice(40, 80))


def error_of(fc, right):
    """Mean error, as a share of that of a nowcast whose rain doesn't move."""
    fc, right = middle_of(fc).values, middle_of(right).values
    return float(np.abs(fc - right).mean() / np.abs(right[:1] - right).mean())


# --- values


@pytest.fixture
def rain():
    return storms().isel(y=slice(32), x=slice(32))


@pytest.mark.parametrize("below", [-1e-6, -9e-4])
def test_rounding_below_zero_is_zero(rain, small, below):
    rain[-1, 3, 4] = 0
    wanted = rain.earthformer.forecast(small)
    rain[-1, 3, 4] = below
    xr.testing.assert_identical(rain.earthformer.forecast(small), wanted)


@pytest.mark.parametrize("units", ["mm h-1", "m s-1"])
@pytest.mark.parametrize("value", [-0.2, 1200.0])
def test_a_pixel_just_beyond_may_be_clipped(rain, small, value, units, tmp_path):
    quantity = {**small.card.inputs["rain"].model_dump(), "valid_min": 0.0, "valid_max": 1000.0}
    card = small.card.model_copy(update={"inputs": {"rain": Variable.model_validate(quantity)}})
    pack = xef.save_pack(tmp_path / "ranged", small.model(), card)
    rain[-1, 3, 4] = value
    own = rain if units == "mm h-1" else (rain / 3.6e6).assign_attrs(RAIN, units=units)
    with pytest.raises(ValueError, match="y 3.*x 4.*in all 1 of") as error:
        own.earthformer.forecast(pack)
    line = str(error.value).split("try ")[1].split(", for values")[0]
    assert line.startswith("da.clip(")
    mended = eval(line, {"da": own})
    wanted = rain.clip(0, 1000).earthformer.forecast(pack)
    factor = 1 if units == "mm h-1" else 3.6e6
    np.testing.assert_allclose(mended.earthformer.forecast(pack) * factor, wanted, atol=0.01)


# --- time steps


@pytest.mark.parametrize("minutes", [10.0, 15.0, 1.0, 2.0, 2.5])
def test_another_step(small, minutes):
    da = storms(int(45 / minutes) + 1, minutes)
    line = line_of(da, small)
    assert line == 'xef.to_step(da, "5min")'
    fc = xef.forecast(eval(line, {"xef": xef, "da": da}), small, init="2016-07-11T22:40")
    right = storms(9)
    if minutes < 5:  # a frame is then the mean rain of its five minutes
        each = 2.5 if minutes == 2.5 else 1.0
        count = int(5 / each)
        right = storms(8 * count + 1, each).rolling(time=count).mean()[count::count]
    right = xef.forecast(right, small)
    assert fc["valid_time"].equals(right["valid_time"])
    assert error_of(fc, right) < 0.06
    # from one lead to the next, storms move on as far as they should
    for k in (0, 1):
        moved = [float((middle_of(each)[k + 1] - middle_of(each)[k]).std()) for each in (fc, right)]
        assert abs(moved[0] / moved[1] - 1) < 0.05


def test_the_old_advice_made_storms_too_fast_or_none():
    da = storms(5, 10.0)
    old = da.resample(time="5min").mean()
    assert bool(old[1].isnull().all())  # every second frame
    assert not xef.to_step(da, "5min").isnull().any()


def test_irregular_rain(small):
    every = storms(46, 1.0)
    da = every[[0, 4, 10, 15, 19, 26, 30, 36, 41, 45]]
    line = line_of(da, small)
    assert line == 'xef.to_step(da, "5min")'
    fc = xef.forecast(eval(line, {"xef": xef, "da": da}), small)
    assert error_of(fc, xef.forecast(every[::5], small)) < 0.1


def test_gaps_of_rain_are_not_filled_by_means_in_time():
    da = storms()[[0, 1, 2, 3, 5, 6, 8]]
    line = line_of(da, "persistence")
    assert line == 'xef.to_step(da, "5min")'
    mended = eval(line, {"xef": xef, "da": da})
    assert xef.forecast(mended, "persistence", lead=1)["init"] == da["time"][-1]
    inside = {"y": slice(16, 80), "x": slice(40, 80)}
    np.testing.assert_allclose(mended.isel(inside), storms().isel(inside), atol=0.2)
    months = da[:4].assign_coords(time=pd.date_range("2000", periods=4, freq="MS"))
    assert xef.forecast(months, "persistence", lead=1)["lead"].attrs["units"] == "months"


def test_rain_too_far_apart_to_move_along(small):
    for da in (
        storms(6, 60.0),
        storms(6).assign_coords(time=pd.date_range("2000", periods=6, freq="MS")),
    ):
        with pytest.raises(
            ValueError, match="a time step of 5min.*\n.*\n.*a record of shorter steps"
        ):
            xef.forecast(da, small)


# --- stamps that are seconds off


def test_seconds_off_change_nothing_but_the_stamps(small):
    da = storms()
    off = np.array([2, -4, 8, 0, 3, -7, 5, 0, 9], "m8[s]")
    jittered = da.assign_coords(time=da["time"] + off)
    fc = xef.forecast(jittered, small, init=slice(None, None, 2))
    xr.testing.assert_identical(fc, xef.forecast(da, small, init=slice(None, None, 2)))
    assert (fc["init"].dt.second == 0).all() and (fc["valid_time"].dt.second == 0).all()
    # an init by its own stamp, and the observations by theirs
    late = xef.forecast(jittered, small, init=jittered["time"][5])
    assert str(late["init"].values[0])[11:19] == "22:25:00"
    scored = [late.earthformer.verify(obs, scores=["mse"])["mse"] for obs in (jittered, da)]
    assert scored[0].equals(scored[1]) and scored[0].notnull().all()


# --- pixels


@pytest.mark.parametrize("km, tolerance", [(0.5, 0.05), (2.0, 0.25)])  # 2 km are four like pixels
def test_other_pixels(small, km, tolerance):
    da = storms(km=km)
    line = line_of(da, small)
    assert line == 'xef.to_spacing(da, "1 km")'
    mended = eval(line, {"xef": xef, "da": da})
    right = storms(first=(1 - km) / 2)  # from the same edge on
    np.testing.assert_allclose(mended["x"], right["x"], atol=1e-9)
    assert error_of(xef.forecast(mended, small), xef.forecast(right, small)) < tolerance


def on_degrees(da, degrees, latitude):
    """Frames whose pixels are so many degrees apart, from a latitude on."""
    y, x = (latitude + degrees * np.arange(da.sizes["y"]), degrees * np.arange(da.sizes["x"]))
    return da.drop_vars(["y", "x"]).rename(y="lat", x="lon").assign_coords(lat=y, lon=x)


def test_pixels_of_degrees(small):
    for latitude in (26.0, 37.0, 52.0):  # as MRMS has them: 0.01 degrees pass for 1 km
        assert xef.forecast(on_degrees(storms(), 0.01, latitude), small).sizes["lat"] == 96
    with pytest.raises(ValueError, match="pixels of 1000 m.*\n.*27799 m by 18[0-9]{3} m"):
        xef.forecast(on_degrees(storms(), 0.25, 37.0), small)
    da = on_degrees(storms(km=0.5), 0.005, 37.0)
    line = line_of(da, small)
    mended = eval(line, {"xef": xef, "da": da})
    fc = xef.forecast(mended, small)  # 106 by 85 km
    assert dict(fc.sizes) == {"init": 1, "lead": 3, "lat": 107, "lon": 85}


def test_labels_without_units(small):
    bare = storms().drop_attrs().assign_attrs(RAIN)
    for factor, units in ((1000.0, "m"), (1.0000001, "km")):
        da = bare.assign_coords(y=bare["y"] * factor, x=bare["x"] * factor)
        line = line_of(da, small)
        assert f'units="{units}"' in line
        fc = xef.forecast(eval(line, {"da": da}), small)
        np.testing.assert_array_equal(fc, xef.forecast(storms(), small))
    numbers = bare.assign_coords(y=np.arange(96), x=np.arange(96))
    np.testing.assert_array_equal(xef.forecast(numbers, small), xef.forecast(storms(), small))


def test_a_domain_smaller_than_the_packs(small):
    with pytest.raises(ValueError) as error:
        xef.forecast(storms()[:, :30, :40], small)
    expected, found, _ = str(error.value).splitlines()
    assert "at least 32 x 32 pixels (32 x 32 km), y by x" in expected
    assert found.endswith("30 x 40 pixels (30 x 40 km)")


# --- pixels that latitude and longitude tell, and pixels of several sizes


def places(km):
    """2-D latitude and longitude of `storms` alone, without labels along y and x."""
    da = storms(km=km)
    degrees = km / 111.19493 * np.arange(da.sizes["y"])
    lat = np.broadcast_to(50 + degrees[:, None], da.shape[1:])
    lon = 5 + degrees / np.cos(np.radians(lat))
    return da.drop_vars(["y", "x"]).assign_coords(lat=(("y", "x"), lat), lon=(("y", "x"), lon))


def test_pixels_sized_by_2d_latitude_and_longitude(small):
    right = xef.forecast(storms(), small)
    xr.testing.assert_equal(
        xef.forecast(places(1.0), small).variable, xef.forecast(storms(), small).variable
    )
    da = places(2.0)
    line = line_of(da, small)
    assert line.startswith("xef.to_spacing(da.assign_coords(y=") and line.endswith('"1 km")')
    fc = xef.forecast(eval(line, {"xef": xef, "da": da, "np": np}), small)
    assert fc.sizes["y"] == right.sizes["y"]
    moved = da.assign_coords(lat=da["lat"].where(da["lat"] < 50.3, da["lat"] * 2 - 50.3))
    with pytest.raises(ValueError, match="(?s)others of other sizes.*a regrid"):
        xef.forecast(moved, small)


def test_pixels_of_several_sizes(small):
    da = storms()
    x = np.cumsum(np.where(np.arange(96) < 48, 1.0, 2.0))
    uneven = da.assign_coords(x=("x", x, {"units": "km"}))
    line = line_of(uneven, small)
    mended = eval(line, {"xef": xef, "da": uneven})
    assert xef.forecast(mended, small).sizes["x"] == 145  # of 144.5 km


def test_jitter_of_rain_for_a_pack_of_any_step():
    da = storms()
    off = np.array([40, -44, 20, 0, 33, -47, 35, 0, 39], "m8[s]")
    jittered = da.assign_coords(time=da["time"] + off)
    line = line_of(jittered, "persistence")
    assert line == 'xef.to_step(da, "5min")'
    assert xef.forecast(eval(line, {"xef": xef, "da": jittered}), "persistence", lead=1).size


def test_pixels_without_labels_are_said_to_be_taken_as_the_pack_has_them(small):
    rain = storms()
    bare = xef.forecast(rain.drop_vars(["y", "x"]), small, lead=1)
    assert "pixels taken to be of 1000 m, as nothing tells their size" in bare.attrs["history"]
    assert "pixels taken" not in xef.forecast(rain, small, lead=1).attrs["history"]
