"""KNMI's composites: amounts, reflectivity and its nowcast, read back by hand."""

import re
import shutil

import h5py
import numpy as np
import pytest
import xarray as xr
from small_radar import LAEA, STEREO, radar_files, small_rain

import xearthformer as xef
from xearthformer.datasets.radar.knmi import KnmiBackendEntrypoint, is_knmi
from xearthformer.datasets.radar.projection import crs_of

NAN = np.nan
# mm/h: multiples of .12 are what hundredths of mm in five minutes can say
RAIN = [[[0, 1.2, 2.4], [NAN, 12, 0]], [[0, 0, 48], [NAN, 0.12, 1.2]]]


def dutch(values=RAIN):
    """Rain on KNMI's projection, a kilometre to a pixel."""
    return small_rain(values, projection=STEREO, left=160_000, top=-3_870_000)


def open_knmi(path, **options):
    return xr.open_dataset(path, engine="knmi", **options)


def change(path, group, **attrs):
    """Write other attributes into a file."""
    with h5py.File(path, "a") as file:
        for key, value in attrs.items():
            file[group].attrs[key] = np.bytes_(value) if isinstance(value, str) else value
    return path


def test_amounts(tmp_path):
    rain = dutch()
    paths = radar_files.write_knmi(tmp_path, rain)
    ds = xr.concat([open_knmi(path) for path in paths], "time", data_vars="minimal")
    amount = ds["rain_amount"]
    # 0 is the code of "missing data" in these files and yet no rain; 65535 is outside
    np.testing.assert_allclose(amount * 12, RAIN, rtol=1e-6)
    assert amount.attrs["units"] == "mm" and amount.dtype == "f4"
    low, high = ds["time_bnds"].values.T
    np.testing.assert_array_equal(high, rain.time)
    np.testing.assert_array_equal(low, rain.time - np.timedelta64(5, "m"))
    assert ds.title == "RAD_NL25_RAC"


def test_places(tmp_path):
    rain = dutch()
    ds = open_knmi(radar_files.write_knmi(tmp_path, rain)[0])
    np.testing.assert_allclose(ds.x, [160_500, 161_500, 162_500], atol=1e-2)
    np.testing.assert_allclose(ds.y, [-3_870_500, -3_871_500], atol=1e-2)
    # the file says +a=6378.14, the Earth in kilometres
    assert crs_of(ds).ellipsoid.semi_major_metre == 6378140
    assert ds["rain_amount"].attrs["grid_mapping"] == "crs"


def test_utrecht_lies_where_it_lies(tmp_path):
    """52.09 N, 5.12 E is x 350.6 km, y -4161.6 km on KNMI's projection: a pixel of the domain."""
    import pyproj

    x, y = pyproj.Proj(crs_of(open_knmi(radar_files.write_knmi(tmp_path, dutch())[0])))(5.12, 52.09)
    assert 0 < x < 700_000 and -4_415_000 < y < -3_650_000
    assert (x, y) == pytest.approx(pyproj.Proj(STEREO)(5.12, 52.09))


def test_reflectivity(tmp_path):
    (path, _) = radar_files.write_knmi_reflectivity(tmp_path, dutch())
    dbz = open_knmi(path)["dbz"]
    a = 10 * np.log10(200)
    # 1.2 mm/h is a + 16 log10 1.2 = 24.28, in half decibels 24.5
    expected = [[-np.inf, 24.5, np.rint((a + 16 * np.log10(2.4)) * 2) / 2], [NAN, 40.5, -np.inf]]
    np.testing.assert_array_equal(dbz[0], expected)
    rain = xef.open_radar(path)
    assert rain.values[0, 0, 0] == 0 and np.isnan(rain.values[0, 1, 0])


def test_formulas_in_both_spellings_and_a_code_of_missing_data(tmp_path):
    (path, _) = radar_files.write_knmi(tmp_path, dutch())
    codes = {"calibration_missing_data": np.int32([65534])}
    formula = "GEO = 0.010000 * PV + -0.500000"
    change(path, "image1/calibration", calibration_formulas=formula, **codes)
    with h5py.File(path, "a") as file:
        file["image1/image_data"][0] = [65534, 100, 65535]
    np.testing.assert_allclose(open_knmi(path)["rain_amount"][0, 0], [NAN, 0.5, NAN], rtol=1e-6)


def test_a_nowcast_of_several_images(tmp_path):
    (path, _) = radar_files.write_knmi(tmp_path, dutch())
    with h5py.File(path, "a") as file:
        for i, minute in ((1, 50), (2, 55)):
            group = file.require_group(f"image{i}")
            valid = f"04-JUL-2021;15:{minute}:00.000"
            group.attrs["image_datetime_valid"] = np.bytes_(valid)
        file["image2/image_data"] = np.full((2, 3), 20, "u2")
    ds = open_knmi(path)
    assert ds.time.dt.minute.values.tolist() == [50, 55]
    assert ds["time_bnds"][1].dt.minute.values.tolist() == [50, 55]
    np.testing.assert_allclose(ds["rain_amount"][1], 0.2)


def test_a_folder_is_opened_as_rain(tmp_path):
    radar_files.write_knmi(tmp_path, dutch())
    rain = xef.open_radar(tmp_path)
    np.testing.assert_allclose(rain, RAIN, rtol=1e-6)
    assert rain.attrs["units"] == "mm h-1" and rain.chunks is not None


def test_refused(tmp_path):
    (path, other) = map(str, radar_files.write_knmi(tmp_path, dutch()))
    third = shutil.copy(other, tmp_path / "third.h5")
    change(path, "image1", image_geo_parameter="HEIGHT_[KM]")
    with pytest.raises(ValueError, match=r"found image_geo_parameter 'HEIGHT_\[KM\]'") as error:
        open_knmi(path)
    hint = re.search(r"try (.*), for", str(error.value)).group(1)
    assert eval(hint, {"h5py": h5py})["image_geo_parameter"] == b"HEIGHT_[KM]"
    change(other, "geographic/map_projection", projection_proj4_params="+proj=stere +lat_0=x")
    with pytest.raises(ValueError, match="a map projection that PROJ reads") as error:
        open_knmi(other)
    ds = eval(re.search(r"try (.*)", str(error.value)).group(1), {"xr": xr})
    np.testing.assert_allclose(ds.x, [500, 1500, 2500])
    assert "crs" not in ds.coords and xef.open_radar(ds).shape == (1, 2, 3)
    assert crs_of(open_knmi(other, projection=LAEA)).equals(crs_of(small_rain(RAIN)))
    change(third, "image1/calibration", calibration_formulas="table 3")
    with pytest.raises(ValueError, match="found 'table 3'"):
        open_knmi(third)


def test_what_is_knmi_s(tmp_path):
    guess = KnmiBackendEntrypoint().guess_can_open
    (knmi, _) = radar_files.write_knmi(tmp_path, dutch())
    (odim, _) = radar_files.write_rmi(tmp_path, dutch())
    assert is_knmi(knmi) and guess(str(knmi))
    assert not is_knmi(odim) and not guess(odim) and not guess(tmp_path / "none") and not guess(1)
    with pytest.raises(ValueError, match="with image1 and geographic"):
        open_knmi(odim)
