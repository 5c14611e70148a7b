"""The size of pixels in every form that coordinates come in, and data on pixels of another size."""

import re

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.fields.spacing import is_even, pixel_size

MAP = {"grid_mapping_name": "polar_stereographic", "GeoTransform": "0 500 0 0 0 -500"}


def field(y, x, units="m", values=None, **coords):
    """A frame (y, x) whose labels are in some units; None for labels without."""
    attrs = {} if units is None else {"units": units}
    labels = {"y": ("y", np.asarray(y), attrs), "x": ("x", np.asarray(x), attrs), **coords}
    values = np.arange(float(len(y) * len(x))).reshape(len(y), len(x)) if values is None else values
    return xr.DataArray(np.asarray(values, "f4"), labels, ("y", "x"), "rain", {"units": "mm h-1"})


# --- the size


def test_the_size_of_pixels():
    assert pixel_size(field([0.0, 2.0], [0.0, 1.0, 2.0], "km")) == (2000.0, 1000.0)
    assert pixel_size(xr.DataArray(np.zeros((2, 2)), dims=("y", "x"))) == (None, None)
    assert pixel_size(field([0, 1], [5.0, 4.0, 3.0], None)) == (None, None)  # mere numbers
    by_map = field([0.0, 500.0], [0.0, 500.0], None, crs=((), 0, MAP))
    assert pixel_size(by_map) == (500.0, 500.0)
    assert pixel_size(field([0.0, 1.0], [0.0, 1.0], "pixels")) == (None, None)
    # also next to a map: no radar has pixels of a metre
    numbers = field(range(3), range(3), None, crs=((), 0, MAP))
    assert pixel_size(numbers) == (None, None)


@pytest.mark.parametrize("units, metres", [("1", 2000.0), ("pixels", 2000.0), ("radian", 71572.0)])
def test_units_that_are_no_length(units, metres):
    step = 0.002 if units == "radian" else 2.0
    da = field([0.0, step], [0.0, step], units)
    with pytest.raises(ValueError, match=f"(?s)pixels whose size is known.*in '{units}'") as error:
        pixel_size(da)
    line = re.search(r"da\.assign_coords\(.*\)\)", str(error.value))[0]
    np.testing.assert_allclose(pixel_size(eval(line, {"da": da})), metres)
    degrees = da.rename(y="lat", x="lon")
    if units == "radian":
        with pytest.raises(ValueError, match="degrees_north") as error:
            pixel_size(degrees)
        line = re.search(r"da\.assign_coords\(.*\)\)", str(error.value))[0]
        np.testing.assert_allclose(
            pixel_size(eval(line, {"da": degrees, "np": np})), 12742, rtol=1e-3
        )


def curved(spacing, **coords):
    """A frame with 2-D latitude and longitude alone, pixels `spacing` metres apart."""
    y, x = 4, 5
    degrees = spacing / 111194.93
    lat = 60 + degrees * np.arange(y)[:, None] * np.ones(x)
    lon = 10 + degrees * np.arange(x) / np.cos(np.radians(lat))
    places = {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    return xr.DataArray(np.zeros((y, x), "f4"), {**places, **coords}, ("y", "x"), "rain")


def test_the_size_by_2d_latitude_and_longitude():
    np.testing.assert_allclose(pixel_size(curved(2000.0)), 2000, rtol=1e-3)
    numbered = curved(2000.0, y=("y", np.arange(4)), x=("x", np.arange(5)))
    np.testing.assert_allclose(pixel_size(numbered), 2000, rtol=1e-3)
    metres = {d: (d, 500.0 * np.arange(n), {"units": "m"}) for d, n in (("y", 4), ("x", 5))}
    assert pixel_size(curved(2000.0, **metres)) == (500.0, 500.0)
    da = curved(2000.0)
    with pytest.raises(ValueError, match="(?s)about 2 km.*regrid") as error:
        xef.to_spacing(da, "4 km")
    line = re.search(r"da\.assign_coords\(.*?\)\)", str(error.value))[0]
    assert xef.to_spacing(eval(line, {"da": da, "np": np}), "4 km").sizes == {"y": 2, "x": 3}


def test_pixels_of_several_sizes():
    uneven = field([0.0, 1.0, 2.0, 4.0, 6.0], range(2), "km", [[1.0] * 2] * 3 + [[7.0] * 2] * 2)
    assert not is_even(uneven) and is_even(field(range(3), range(3), "km"))
    assert is_even(curved(1000.0)) and is_even(xr.DataArray(np.zeros((2, 2)), dims=("y", "x")))
    lat = curved(1000.0)["lat"]
    assert not is_even(curved(1000.0).assign_coords(lat=lat.where(lat < lat[3, 0], lat + 0.01)))
    # its usual pixel has the size already, the others are cut into it
    even = xef.to_spacing(uneven, "1 km")
    # edges were at 1.5, 3 and 5 km
    assert is_even(even) and even[:, 0].values.tolist() == [1, 1, 1, 4, 7, 7, 7, 7]


@pytest.mark.parametrize(
    "y, x, units, metres",
    [
        ([0.0, 2000.0], [0.0, 2000.0], "m", 2000.0),
        ([0.0, 2.0], [0.0, 2.0], "km", 2000.0),
        ([0.0, 0.01], [5.0, 5.01], "degrees", 1112.0),
    ],
)
def test_labels_without_units_may_be_anything(y, x, units, metres):
    da = field(y, x, None)
    with pytest.raises(ValueError, match="(?s)pixels whose size is known.*without units") as error:
        pixel_size(da)
    line = re.search(r"da\.assign_coords\(.*\)\)", str(error.value))[0]
    assert f'units="{units}' in line
    assert abs(pixel_size(eval(line, {"da": da}))[0] / metres - 1) < 1e-3


# --- pixels of another size


def test_larger_pixels_are_means():
    da = field([0.0, 500.0, 1000.0, 1500.0], [0.0, 500.0])
    #  0 1
    #  2 3  ->  1.5
    #  4 5  ->  5.5
    #  6 7
    new = xef.to_spacing(da, "1 km")
    assert new.values.tolist() == [[1.5], [5.5]]
    assert new["y"].values.tolist() == [250.0, 1250.0] and new["x"].values.tolist() == [250.0]
    assert new.dtype == "f4" and new["y"].attrs == {"units": "m"}


def test_pixels_that_overlap_count_by_their_share():
    da = field([0.0, 1.0], [0.0, 1.0, 2.0], "km", [[3.0, 6.0, 9.0]] * 2)
    new = xef.to_spacing(da, "1500 m")
    # (3 + 6 / 2) / 1.5 and (6 / 2 + 9) / 1.5; along y, half a pixel is left over
    np.testing.assert_allclose(new.values, [[4.0, 8.0]])
    np.testing.assert_allclose(new["x"], [0.25, 1.75])


def test_smaller_pixels_repeat_what_they_are_parts_of():
    da = field([2.0, 0.0], [0.0, 2.0], "km", [[1.0, 2.0], [3.0, 4.0]])  # y descends
    new = xef.to_spacing(da, "1 km")
    assert new.values.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert new["y"].values.tolist() == [2.5, 1.5, 0.5, -0.5]
    xr.testing.assert_allclose(xef.to_spacing(new, "2 km").drop_attrs(), da.drop_attrs())


def test_a_pixel_of_which_half_is_seen():
    nan = np.nan
    da = field(range(2), range(6), "km", [[1, nan, nan, nan, nan, 1], [1, nan, 2, nan, nan, nan]])
    new = xef.to_spacing(da, "2 km")
    np.testing.assert_array_equal(new.values, [[1.0, np.nan, np.nan]])


def test_latitudes_and_longitudes():
    y, x = 60.0 + 0.005 * np.arange(8), 0.01 * np.arange(8)  # 556 m by 556 m
    da = field(y, x, None).rename(y="lat", x="lon")
    new = xef.to_spacing(da, "1112 m")
    assert new.sizes == {"lat": 4, "lon": 4}
    np.testing.assert_allclose(pixel_size(new), 1112, rtol=1e-3)
    np.testing.assert_allclose(new["lat"], 60.0025 + 0.01 * np.arange(4), atol=1e-5)
    np.testing.assert_allclose(new[0, 0], np.mean([0, 1, 8, 9]), rtol=1e-2)


def test_a_mean_is_weighted_by_area():
    # cells from the pole to 30 degrees north, and from there to 30 degrees south
    da = field([60.0, 0.0], [0.0, 120.0], None, [[1.0, 1.0], [3.0, 3.0]]).rename(y="lat", x="lon")
    new = xef.to_spacing(da, f"{120 * 111.1949} km")
    assert new.sizes["lat"] == 1
    # sin 90 - sin 30 is one half, and sin 30 + sin 30 is one
    np.testing.assert_allclose(new.values.ravel()[0], (0.5 * 1 + 1 * 3) / 1.5, rtol=1e-6)


def test_what_is_left_over_at_the_ends():
    values = [[1.0, 2, 3, 4, 5]] * 2
    two = xef.to_spacing(field(range(2), range(5), "km", values), "2 km")
    assert two.values.tolist() == [[1.5, 3.5, 5.0]]  # half a pixel is enough
    three = xef.to_spacing(field(range(3), range(4), "km"), "3 km")
    assert three.sizes == {"y": 1, "x": 1}  # a third isn't


def test_labels_of_the_new_pixels():
    da = field([1500.0, 1000, 500, 0], [0.0, 500], crs=((), 0, MAP), station=((), "here"))
    da = da.assign_coords(lat=(("y", "x"), np.zeros((4, 2)))).assign_attrs(history="made")
    da.encoding["grid_mapping"] = "crs"
    da["y"].attrs["bounds"] = "y_bnds"
    record = da.expand_dims(time=np.array(["2016-07-11", "2016-07-12"], "M8[ns]")).transpose(
        "x", ...
    )
    new = xef.to_spacing(record, "1 km")
    assert new.dims == ("x", "time", "y") and new.name == "rain" and "lat" not in new.coords
    assert new["y"].values.tolist() == [1250.0, 250.0] and new["y"].attrs == {"units": "m"}
    assert new["crs"].attrs == {"grid_mapping_name": "polar_stereographic"}
    assert new["station"] == "here" and new.encoding["grid_mapping"] == "crs"
    assert new.attrs["units"] == "mm h-1" and new.attrs["history"].startswith("made\nxearthformer")
    xr.testing.assert_identical(new["time"].variable, record["time"].variable)


def test_rioxarray_finds_the_new_pixels():
    pytest.importorskip("rioxarray")
    da = field(np.arange(4) * -500.0, np.arange(4) * 500.0).rio.write_crs("EPSG:3067")
    da = da.rio.write_transform()
    new = xef.to_spacing(da, "1 km")
    assert new.rio.crs == da.rio.crs and new.rio.resolution() == (1000.0, -1000.0)
    assert new.rio.bounds() == da.rio.bounds()


def test_lazy_and_eager_are_the_same_bits():
    values = np.random.default_rng(0).gamma(1.0, size=(5, 60, 70)).astype("f4")
    values[values < 0.1] = np.nan
    da = field(0.7 * np.arange(60), 0.7 * np.arange(70), "km").expand_dims(time=5).copy(data=values)
    new = xef.to_spacing(da, "1 km")
    lazy = xef.to_spacing(da.chunk(time=2, y=20), "1 km")
    assert lazy.chunks[0] == (2, 2, 1)
    xr.testing.assert_identical(lazy.compute(), new)


def test_a_dataset():
    ds = xr.Dataset({"rain": field([0.0, 500.0], [0.0, 500.0]), "gauge": ("station", [1.0])})
    new = xef.to_spacing(ds, "1 km")
    assert new["rain"].shape == (1, 1) and new["gauge"].equals(ds["gauge"])


def test_what_has_the_spacing_is_left_alone():
    da = field([0.0, 1000.4], [0.0, 1000.4])
    assert xef.to_spacing(da, "1 km") is da


REFUSED = {
    "no labels": (lambda: xr.DataArray(np.zeros((2, 2)), dims=("y", "x")), "size is known"),
    "decibels": (lambda: field([0.0, 500], [0.0, 500]).assign_attrs(units="dBZ"), "open_radar"),
    "too small": (lambda: field([0.0, 100], [0.0, 100]), "one pixel of 1 km or more.*0.2 of one"),
    "disorder": (lambda: field([0.0, 2000, 1000], [0.0, 500]), r'sortby\("y"\)'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_refuses(case):
    data, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        xef.to_spacing(data(), "1 km")


@pytest.mark.parametrize("spacing", ["1", "km", "-1 km", "0 m", "1 s", 1000])
def test_spacings_that_are_none(spacing):
    with pytest.raises(
        ValueError, match=r'a length with its unit(?s:.*)xef.to_spacing\(da, "1 km"\)'
    ):
        xef.to_spacing(field([0.0, 500.0], [0.0, 500.0]), spacing)


def test_the_line_for_labels_that_are_missing_mends():
    da = xr.DataArray(np.ones((4, 4)), dims=("y", "x"))
    for _ in range(2):  # along y, then along x
        with pytest.raises(ValueError) as error:
            xef.to_spacing(da, "2 km")
        line = str(error.value).split("try ")[1].split(", with its own")[0]
        da = eval(line, {"da": da, "np": np})
    assert xef.to_spacing(da, "2 km").shape == (2, 2)
