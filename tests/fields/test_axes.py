"""Time, y and x in the forms that data comes in, and what data without them gets."""

import cf_xarray
import numpy as np
import pytest
import xarray as xr

from xearthformer.fields import axes
from xearthformer.fields.axes import (
    Axes,
    coordinate,
    find_axes,
    find_curvilinear,
    find_grid,
    find_latlon,
    find_time,
    spacing_in_metres,
)


def field(*dims, coords=None):
    return xr.DataArray(np.zeros([2, 3, 4][: len(dims)]), dims=dims, coords=coords or {})


NAMES = {
    "CMIP": ("time", "lat", "lon"),
    "ERA5": ("valid_time", "latitude", "longitude"),
    "IRI": ("T", "Y", "X"),
    "NEMO": ("time_counter", "y", "x"),
    "WRF": ("XTIME", "south_north", "west_east"),
    "rotated": ("time", "rlat", "rlon"),
    "MOM": ("time", "yh", "xh"),
}


@pytest.mark.parametrize("case", NAMES)
def test_by_name(case):
    names = NAMES[case]
    assert find_axes(field(*names)) == Axes(*names)
    assert find_axes(field(*names).to_dataset(name="a")) == Axes(*names)
    assert find_axes(field(*names[::-1])) == Axes(*names)


MARKS = {
    "axis": ({"axis": "T"}, {"axis": "Y"}, {"axis": "X"}),
    "standard_name": (
        {"standard_name": "time"},
        {"standard_name": "latitude"},
        {"standard_name": "longitude"},
    ),
    "units": ({"axis": "T"}, {"units": "degrees_north"}, {"units": "degrees_east"}),
    "projection": (
        {"standard_name": "time"},
        {"standard_name": "projection_y_coordinate"},
        {"standard_name": "projection_x_coordinate"},
    ),
}


@pytest.mark.parametrize("case", MARKS)
def test_attributes_come_before_names(case):
    marks = zip("abc", (2, 3, 4), MARKS[case], strict=True)
    da = field("a", "b", "c", coords={n: (n, np.arange(size), attrs) for n, size, attrs in marks})
    assert find_axes(da) == Axes("a", "b", "c")
    # the names say the contrary: attributes decide
    swapped = da.rename(b="lon", c="lat")
    assert find_axes(swapped) == Axes("a", "lon", "lat")


def test_what_is_known_of_marks_is_of_these_marks():
    """The same names with other attributes, or other criteria of cf-xarray's, are asked anew."""
    da = field("a", "b", "c", coords={"b": ("b", np.arange(3)), "c": ("c", np.arange(4))})
    for y, x in (("b", "c"), ("c", "b")):
        da[y].attrs["axis"], da[x].attrs["axis"] = "Y", "X"
        assert find_grid(da) == find_grid(da.to_dataset(name="v")) == (y, x)
    bare = da.drop_attrs().assign_coords(b=("b", np.arange(3), {"rows": "up"}))
    for _ in range(2):
        with pytest.raises(ValueError, match="a y axis"):
            coordinate(bare, "y")
        with cf_xarray.set_options(custom_criteria={"Y": {"rows": "up"}}):
            assert coordinate(bare, "y").name == "b"


def test_coordinates_of_other_names_than_their_dims():
    coords = {
        "stamp": ("t", [10, 20], {"standard_name": "time"}),
        "latitude": ("nj", [1.0, 2, 3], {"units": "degrees_north"}),
        "longitude": ("ni", [1.0, 2, 3, 4], {"units": "degrees_east"}),
    }
    da = field("t", "nj", "ni", coords=coords)
    assert find_axes(da) == Axes("t", "nj", "ni")
    assert coordinate(da, "time").values.tolist() == [10, 20]
    assert coordinate(da, "y").name == "latitude"
    assert coordinate(field("time", "y", "x"), "y") is None


def test_a_forecast_has_a_grid():
    da = xr.DataArray(np.zeros((1, 2, 3, 4)), dims=("init", "lead", "lat", "lon"))
    assert find_grid(da) == ("lat", "lon")


def test_projected_data_with_2d_latitude_as_well():
    coords = {
        "y": ("y", [2.0, 1.0, 0.0], {"standard_name": "projection_y_coordinate", "units": "km"}),
        "lat": (("y", "x"), np.zeros((3, 4)), {"standard_name": "latitude"}),
    }
    da = field("time", "y", "x", coords=coords)
    assert find_axes(da) == Axes("time", "y", "x")
    assert spacing_in_metres(da, "y") == 1000.0
    assert spacing_in_metres(da, "x") is None


def test_spacing_of_degrees_by_units_name_or_standard_name():
    y, x = [59.5, 60.0, 60.5], [0.0, 0.5, 1.0, 1.5]  # half a degree around 60 degrees north
    named = field("time", "lat", "lon", coords={"lat": y, "lon": x})
    marks = (
        [{"units": "degrees_north"}, {"units": "degrees_east"}],
        [{"standard_name": "latitude"}, {"standard_name": "longitude"}],
    )
    marked = [
        field("time", "y", "x", coords={"y": ("y", y, own[0]), "x": ("x", x, own[1])})
        for own in marks
    ]
    for da in (named, *marked):
        _, along_y, along_x = da.dims
        assert abs(spacing_in_metres(da, along_y) / 55_597 - 1) < 1e-4
        assert abs(spacing_in_metres(da, along_x) / 27_799 - 1) < 1e-4  # cos 60 is one half
    # stations of another name than their dim
    apart = field("time", "j", "i", coords={"lat": ("j", y), "lon": ("i", x)})
    apart["lat"].attrs["units"], apart["lon"].attrs["units"] = "degrees_north", "degrees_east"
    assert abs(spacing_in_metres(apart, "i") / 27_799 - 1) < 1e-4


def test_a_projection_without_units_is_in_metres():
    names = ("projection_y_coordinate", "projection_x_coordinate")
    coords = {
        dim: (dim, 500.0 * np.arange(size), {"standard_name": name})
        for dim, size, name in zip("yx", (3, 4), names, strict=True)
    }
    da = field("time", "y", "x", coords=coords)
    assert spacing_in_metres(da, "y") == spacing_in_metres(da, "x") == 500.0
    da["y"].attrs["units"] = "radian"
    assert spacing_in_metres(da, "y") is None


BAD = {
    "no time": (field("level", "lat", "lon"), r"a time axis.*level \(2\), lat \(3\).*'time'"),
    "one time": (
        field("lat", "lon").assign_coords(time=((), np.datetime64("2000-01"), {"axis": "T"})),
        r"time is a single value\n.*expand_dims\('time'\)",
    ),
    "no grid": (field("time"), r"a y axis.*time \(2\)"),
    "two times": (
        field("a", "lat", "lon", coords={"a": ("a", [0, 1], {"axis": "T"})})
        .expand_dims(b=[0, 1])
        .assign_coords(b=("b", [0, 1], {"axis": "T"})),
        r"one time axis\n.*2: a, b\n.*da.isel\(b=0\)",
    ),
    "stations": (
        field("time", "cell").assign_coords(
            lat=("cell", [1.0, 2, 3], {"units": "degrees_north"}),
            lon=("cell", [1.0, 2, 3], {"units": "degrees_east"}),
        ),
        "both along 'cell'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_missing_axes(case):
    da, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        find_axes(da)


def test_rows_and_columns_of_a_curvilinear_grid_have_any_name():
    place = ("eta_rho", "xi_rho"), np.zeros((3, 4))
    da = field("time", "eta_rho", "xi_rho").assign_coords(
        lat_rho=(*place, {"standard_name": "latitude"}),
        lon_rho=(*place, {"standard_name": "longitude"}),
    )
    assert find_axes(da) == Axes("time", "eta_rho", "xi_rho")
    assert find_curvilinear(da) == ("lat_rho", "lon_rho")


def test_two_grids_in_a_dataset_are_named():
    sst = field("time", "lat", "lon").rename("sst")
    zos = field("time", "lat_2", "lon_2").rename("zos")
    for name in ("lat", "lon"):
        units = {"units": {"lat": "degrees_north", "lon": "degrees_east"}[name]}
        sst[name] = (name, np.arange(sst.sizes[name]) * 1.0, units)
        zos[f"{name}_2"] = (f"{name}_2", np.arange(zos.sizes[f"{name}_2"]) * 2.0, units)
    ds = xr.Dataset({"sst": sst, "ice": sst, "zos": zos})
    with pytest.raises(ValueError, match="2: sst, ice along lat; zos along lat_2\n") as error:
        find_axes(ds)
    line = str(error.value).split("try ")[1].split(", and then")[0]
    assert find_axes(eval(line, {"ds": ds})) == Axes("time", "lat", "lon")


# --- latitude and longitude


def globe(lat, lon, **extra):
    coords = {"lat": np.asarray(lat, float), "lon": np.asarray(lon, float), **extra}
    return xr.DataArray(np.zeros((len(lat), len(lon))), coords, ("lat", "lon"))


def test_longitude_is_brought_to_one_turn_in_the_order_of_the_data():
    latitude, longitude = find_latlon(globe([10, 0], [-180, -90, 0, 90]))
    assert latitude.values.tolist() == [10, 0]
    assert longitude.values.tolist() == [180, 270, 0, 90]
    assert find_latlon(globe([0], [-1e-15]))[1].item() == 0.0


CURVED = {
    "nav_lat": (("y", "x"), np.zeros((3, 4))),
    "nav_lon": (("y", "x"), np.zeros((3, 4))),
}
NO_LATLON = {
    "curvilinear": (
        field("time", "y", "x", coords=CURVED),
        "curvilinear grid: 2-D nav_lat and nav_lon",
    ),
    "CMIP ocean": (
        field(
            "time",
            "j",
            "i",
            coords={
                "j": np.arange(3),
                "i": np.arange(4),
                "latitude": (("j", "i"), np.zeros((3, 4)), {"standard_name": "latitude"}),
            },
        ),
        "curvilinear grid: 2-D latitude",
    ),
    "projection": (
        field(
            "time",
            "y",
            "x",
            coords={
                "y": ("y", [0.0, 1, 2], {"units": "m"}),
                "x": ("x", [0.0, 1, 2, 3], {"units": "m"}),
            },
        ),
        "map projection along y and x",
    ),
    "no coordinates": (field("time", "lat", "lon"), "no coordinates"),
    "no latitudes": (globe([0, 100], [0, 1]), "lat from 0.0 to 100.0"),
    "overlap": (globe([0, 1], [-90, 0, 90, 180, 270, 360]), r"2 of 6 .*slice\(None, -2\)\)"),
    "between": (globe([0, 1], [0, 120, 120, 240]), r"1 of 4 .*isel\(lon=\[0, 1, 3\]\)"),
    "NaN": (globe([0, 1], [0, 120, np.nan]), r'isel\(lon=da\["lon"\].notnull\(\).values\)'),
    "cyclic": (globe([0, 1], [0, 120, 240, 360]), r"every lon once.*isel\(lon=slice\(None, -1\)\)"),
}


@pytest.mark.parametrize("case", NO_LATLON)
def test_what_is_no_latitude_and_longitude(case):
    da, message = NO_LATLON[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        find_latlon(da)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name, axes, spacing",
    [
        ("radar_knmi_20100826", ("time", "y", "x"), 1000.0),
        ("radar_mrms_20190610_east", ("time", "lat", "lon"), 1112.0),
    ],
)
def test_real_radar(shared, name, axes, spacing):
    with xr.open_dataset(shared / "data" / f"{name}.nc", decode_coords="all") as ds:
        assert find_axes(ds) == find_axes(ds["rain_rate"]) == Axes(*axes)
        found = spacing_in_metres(ds, axes[1])
        assert found == spacing or abs(found / spacing - 1) < 0.01


def test_latitude_and_longitude_along_dims_of_other_names():
    """By their names; along one dim they are stations, and no grid."""
    labels = {"lat": ("row", [0.0, 1]), "lon": ("col", [0.0, 1, 2])}
    da = xr.DataArray(np.zeros((2, 3)), labels, ("row", "col"))
    assert find_grid(da) == ("row", "col")
    assert coordinate(da, "x").name == "lon"
    labels = {"lat": ("station", [0.0, 1]), "lon": ("station", [0.0, 1])}
    with pytest.raises(ValueError, match="latitude and longitude both along 'station'") as error:
        find_grid(xr.DataArray(np.zeros(2), labels, ("station",)))
    assert "set_index(station=['lat', 'lon'])" in str(error.value)


def test_what_is_no_labelled_array_is_told():
    for data in (np.zeros((2, 3)), None, "sst.nc", xr.DataTree()):
        with pytest.raises(TypeError, match="expected an xarray DataArray or Dataset"):
            find_time(data)


class Forgotten(dict):
    """What is known, where another thread clears it at once."""

    def __setitem__(self, *_):
        pass


def test_what_is_known_may_be_cleared_meanwhile(monkeypatch):
    monkeypatch.setattr(axes, "_known", Forgotten())
    assert find_axes(field("time", "lat", "lon")) == Axes("time", "lat", "lon")


def test_axes_without_an_index_are_found_by_themselves():
    """Of a file that names its coordinates, cf-xarray reads these and what has an index."""
    labels = {
        "row": ("row", [0.0, 1], {"units": "degrees_north"}),
        "col": ("col", [0.0, 1, 2], {"units": "degrees_east"}),
    }
    da = field("row", "col", coords=labels).assign_attrs(coordinates="time")
    with pytest.raises(ValueError, match="y axis"):
        find_grid(da.drop_indexes(["row", "col"]))
    assert find_grid(da) == ("row", "col")
