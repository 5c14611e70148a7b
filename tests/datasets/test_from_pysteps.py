"""Arrays of pysteps and their metadata: labelled, and given back."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import LAEA, radar_files, small_rain

import xearthformer as xef
from xearthformer.datasets.radar.projection import crs_of

NAN = np.nan
TIMES = pd.date_range("2021-07-04T15:50", periods=2, freq="5min")
PLACE = {
    "projection": LAEA,
    "cartesian_unit": "m",
    "x1": 1_000_000.0,
    "x2": 1_003_000.0,
    "y1": -2_002_000.0,
    "y2": -2_000_000.0,
    "xpixelsize": 1000.0,
    "ypixelsize": 1000.0,
    "yorigin": "upper",
}
RATES = PLACE | {"unit": "mm/h", "transform": None, "zerovalue": 0.0, "accutime": 5.0}
RAIN = np.array([[[0, 1, 2.5], [NAN, 10, 0]], [[0, 0, 40], [NAN, 0.5, 1]]])


def typed(error, **names):
    """The line that an error says to type, evaluated."""
    hint = re.search(r"try (xef.*)", str(error)).group(1)
    for tail in (", with", ", if", ", without"):
        hint = hint.partition(tail)[0]
    return eval(hint, {"xef": xef, "pd": pd, **names})


def test_rates():
    rain = xef.from_pysteps(RAIN, RATES, TIMES)
    expected = small_rain(RAIN, left=1_000_000, top=-2_000_000)
    np.testing.assert_array_equal(rain, RAIN)
    for coord in ("time", "y", "x"):
        np.testing.assert_array_equal(rain[coord], expected[coord])
    assert rain.dims == ("time", "y", "x") and crs_of(rain).equals(crs_of(expected))
    assert rain.attrs["units"] == "mm h-1" and rain.attrs["grid_mapping"] == "crs"


def test_decibels_are_undone():
    dbr = np.array([[[-15.0, 10, 0]]])  # 10 dBR are 10 mm/h; -15 is pysteps' zero
    said = RATES | {"transform": "dB", "zerovalue": -15.0, "y1": -2_001_000.0}
    rain = xef.from_pysteps(dbr, said, TIMES[:1])
    np.testing.assert_allclose(rain, [[[0, 10, 1]]])


@pytest.mark.parametrize("transform", ["dB", None])
def test_reflectivity(transform):
    """OPERA's importer gives -30 for no echo, and calls dBZ transformed."""
    dbz = np.array([[[-30.0, 23.0103, NAN]]])  # 10 log10 200, which is 1 mm/h
    said = RATES | {"unit": "dBZ", "transform": transform, "zerovalue": -30.0}
    rain = xef.from_pysteps(dbz, said, TIMES[:1])
    np.testing.assert_allclose(rain, [[[0, 1, NAN]]], rtol=1e-5)
    assert rain.attrs["zr_a"] == 200 and rain.attrs["zr_b"] == 1.6
    swiss = xef.from_pysteps(dbz, said | {"zr_a": 316.0, "zr_b": 1.5}, TIMES[:1])
    assert swiss[0, 0, 1] == pytest.approx((200 / 316) ** (1 / 1.5), rel=1e-5)


def test_amounts():
    said = RATES | {"unit": "mm", "accutime": 10}
    np.testing.assert_array_equal(xef.from_pysteps(RAIN, said, TIMES), RAIN * 6)


def test_the_first_row_may_be_the_southernmost():
    rain = xef.from_pysteps(RAIN, RATES | {"yorigin": "lower"}, TIMES)
    assert rain.y.values.tolist() == [-2_001_500, -2_000_500]
    np.testing.assert_array_equal(rain, RAIN)


def test_kilometres_and_degrees():
    km = {key: PLACE[key] / 1000 for key in ("x1", "x2", "y1", "y2")}
    said = RATES | km | {"cartesian_unit": "km", "projection": LAEA.replace("=m", "=km")}
    rain = xef.from_pysteps(RAIN, said, TIMES)
    np.testing.assert_allclose(rain.x, [1_000_500, 1_001_500, 1_002_500])
    assert crs_of(rain).axis_info[0].unit_name == "metre"
    corners = {"x1": 5.0, "x2": 5.03, "y1": 50.0, "y2": 50.02}
    said = RATES | corners | {"cartesian_unit": "degrees", "projection": "+proj=longlat"}
    rain = xef.from_pysteps(RAIN, said, TIMES)
    assert rain.dims == ("time", "lat", "lon")
    np.testing.assert_allclose(rain.lat, [50.015, 50.005])


def test_one_frame_and_its_time():
    for time in (TIMES[0], TIMES[0].to_pydatetime(), TIMES.values[0], [TIMES[0]]):
        rain = xef.from_pysteps(RAIN[0], RATES, time)
        assert rain.shape == (1, 2, 3) and rain.time.values[0] == TIMES.values[0]


def test_members_and_single_frames():
    members = np.stack([RAIN, RAIN + 1, RAIN + 2])
    assert xef.from_pysteps(members, RATES, TIMES).dims == ("member", "time", "y", "x")
    stamps = RATES | {"timestamps": [TIMES[1].to_pydatetime()]}
    assert xef.from_pysteps(RAIN[1], stamps).time.values == TIMES[1:].values
    masked = np.ma.masked_invalid(RAIN)
    np.testing.assert_array_equal(xef.from_pysteps(masked, RATES, TIMES), RAIN)


@pytest.mark.parametrize("south_first", [False, True])
def test_there_and_back(south_first):
    rain = small_rain(RAIN, left=1_000_000, top=-2_000_000)
    rain = rain.isel(y=slice(None, None, -1)) if south_first else rain
    field, metadata = xef.to_pysteps(rain)
    assert metadata["yorigin"] == ("lower" if south_first else "upper")
    said = {key: metadata[key] for key in ("x1", "x2", "y1", "y2", "xpixelsize", "accutime")}
    assert said == {key: RATES[key] for key in said}
    assert metadata["threshold"] == 0.5 and metadata["unit"] == "mm/h"
    again = xef.from_pysteps(field, metadata)
    np.testing.assert_array_equal(again, rain)
    for coord in ("time", "y", "x"):
        np.testing.assert_array_equal(again[coord], rain[coord])
    assert crs_of(again).equals(crs_of(rain))


def test_a_forecast_to_pysteps():
    rain = small_rain(RAIN).rename(time="lead")
    fc = rain.assign_coords(lead=TIMES - TIMES[0], valid_time=("lead", TIMES), init=TIMES[0])
    field, metadata = xef.to_pysteps(xr.concat([fc] * 3, "member"))
    assert field.shape == (3, 2, 2, 3) and list(metadata["timestamps"]) == list(TIMES)


def test_members_there_and_back():
    """Forecasts have dims init, lead, member, y and x; pysteps has member first, and no init."""
    fc = small_rain(RAIN).rename(time="lead").expand_dims(init=TIMES[:1])
    fc = fc.assign_coords(lead=TIMES - TIMES[0] + TIMES.freq)
    fc = fc.assign_coords(valid_time=fc["init"] + fc["lead"])
    members = xr.concat([fc, fc + 1, fc + 2], "member").transpose("init", "lead", "member", ...)
    members = members.assign_attrs(fc.attrs)
    field, metadata = xef.to_pysteps(members)
    np.testing.assert_array_equal(field, [RAIN, RAIN + 1, RAIN + 2])
    again = xef.from_pysteps(field, metadata)
    assert again.dims == ("member", "time", "y", "x")
    assert (again["time"].values == fc["valid_time"].values[0]).all()
    # of one lead, and without members
    assert xef.to_pysteps(members.isel(lead=0))[0].shape == (3, 1, 2, 3)
    assert xef.from_pysteps(*xef.to_pysteps(members.isel(lead=0))).sizes["time"] == 1
    np.testing.assert_array_equal(xef.to_pysteps(fc)[0], RAIN)


@pytest.mark.parametrize(
    ("dim", "words"), [("init", "found 2 along init"), ("sweep", "time, y and x alone")]
)
def test_several_inits_are_too_many_for_pysteps(dim, words):
    rain = xr.concat([small_rain(RAIN), small_rain(RAIN)], dim)
    with pytest.raises(ValueError, match=words) as error:
        xef.to_pysteps(rain)
    field, _ = typed(error.value, rain=rain)
    np.testing.assert_array_equal(field, RAIN)


def test_pysteps_takes_it_and_gives_it_back():
    """Its own functions on what `to_pysteps` gives: to decibels, and from its importer."""
    pytest.importorskip("pysteps")
    from pysteps.utils import to_reflectivity
    from pysteps.utils.transformation import dB_transform

    rain = small_rain(np.nan_to_num(RAIN))
    field, metadata = xef.to_pysteps(rain)
    for changed in (
        dB_transform(field, metadata, threshold=0.1, zerovalue=-15.0),
        to_reflectivity(field, metadata),
    ):
        again = xef.from_pysteps(*changed)
        np.testing.assert_allclose(again, rain, rtol=1e-5)
        assert (again.values[rain.values == 0] == 0).all()


def test_what_pysteps_reads_of_a_file_is_what_the_engine_reads(tmp_path):
    pytest.importorskip("pysteps")
    from pysteps.io import import_odim_hdf5

    rain = small_rain(RAIN, left=1_000_000, top=-2_000_000)
    (path, _) = radar_files.write_opera(tmp_path, rain)
    field, _, metadata = import_odim_hdf5(str(path), qty="DBZH")
    theirs = xef.from_pysteps(field, metadata, TIMES[:1])
    ours = xef.open_radar(path)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    np.testing.assert_allclose(theirs.x, ours.x)


def test_refused():
    with pytest.raises(ValueError, match="metadata without x1") as error:
        xef.from_pysteps(RAIN, {key: RATES[key] for key in RATES if key != "x1"}, TIMES)
    assert "pysteps.io.import_" in str(error.value)
    names = {"field": RAIN, "metadata": RATES}
    with pytest.raises(ValueError, match="times of 2 frames\n   found none") as error:
        xef.from_pysteps(RAIN, RATES)
    assert typed(error.value, **names).time.dt.minute.values.tolist() == [0, 5]
    for change, words in (
        ({"unit": "mm", "accutime": None}, "accutime, for amounts"),
        ({"unit": "inches"}, "found 'inches'"),
        ({"projection": "+proj=nonsense"}, "a map projection that PROJ reads"),
    ):
        names["metadata"] = RATES | change | {"timestamps": TIMES}
        with pytest.raises(ValueError, match=words) as error:
            xef.from_pysteps(RAIN, names["metadata"])
        factor = 12 if "accutime" in change else 1
        np.testing.assert_array_equal(typed(error.value, **names), RAIN * factor)
    with pytest.raises(ValueError, match="rainfall_rate"):
        xef.to_pysteps(small_rain(RAIN).assign_attrs(standard_name="air_temperature"))


@pytest.mark.parametrize("name", ["boxcox", "sqrt"])
def test_other_transformations_are_undone_by_pysteps(name):
    pysteps = pytest.importorskip("pysteps")
    import pysteps.utils.transformation as transformation

    forward = getattr(transformation, f"{name}_transform")
    said = RATES | {"timestamps": TIMES, "threshold": 0.1}
    field, metadata = forward(np.nan_to_num(RAIN), said)
    with pytest.raises(ValueError, match="rain as it is, or in decibels") as error:
        xef.from_pysteps(field, metadata)
    again = typed(error.value, field=field, metadata=metadata, pysteps=pysteps)
    np.testing.assert_allclose(again, np.nan_to_num(RAIN), atol=1e-6)
