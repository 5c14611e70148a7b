"""Coastlines: drawn from a local file in the right place, and never fetched."""

import socket

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection

from xearthformer.plots import coastlines
from xearthformer.plots.frames import frames
from xearthformer.plots.maps import field

LAEA = {
    "grid_mapping_name": "lambert_azimuthal_equal_area",
    "latitude_of_projection_origin": 38.0,
    "longitude_of_projection_origin": -98.0,
    "earth_radius": 6370997.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where cartopy looks for its data: an empty folder; nothing may be fetched."""
    cartopy = pytest.importorskip("cartopy")
    monkeypatch.setitem(cartopy.config, "data_dir", tmp_path)
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", tmp_path / "none")

    def refuse(*_, **__):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket, "socket", refuse)
    return tmp_path


@pytest.fixture
def coast(folder):
    """A coast in three parts: two cross the Great Plains, one is on the other side of the Earth."""
    shapefile = pytest.importorskip("shapefile")
    place = folder / "shapefiles" / "natural_earth" / "physical"
    place.mkdir(parents=True)
    with shapefile.Writer(str(place / "ne_110m_coastline"), shapeType=shapefile.POLYLINE) as file:
        file.field("part", "C")
        for part in (
            [[-98, 36], [-98, 38], [-98, 40]],
            [[-100, 38], [-96, 38]],
            [[82, -38], [84, -38]],
        ):
            file.line([part])
            file.record("coast")
    return place


def metres(sign=1) -> xr.DataArray:
    """40 x 40 pixels of 10 km around 38N 98W."""
    cells = 10_000.0 * (np.arange(40) - 19.5)
    coords = {
        "y": ("y", sign * cells, {"standard_name": "projection_y_coordinate", "units": "m"}),
        "x": ("x", cells, {"standard_name": "projection_x_coordinate", "units": "m"}),
        "crs": ((), 0, LAEA),
    }
    return xr.DataArray(np.ones((40, 40)), coords, ("y", "x"))


def nowcast(da: xr.DataArray) -> xr.DataArray:
    init = np.datetime64("2019-06-01T12:00", "s")
    lead = np.array([300, 600]).astype("m8[s]")
    coords = {"lead": lead, "valid_time": ("lead", init + lead), "init": init}
    return da.expand_dims(lead=2).assign_coords(coords)


def lines(ax):
    return [
        line for c in ax.collections if isinstance(c, LineCollection) for line in c.get_segments()
    ]


def test_without_data_there_is_no_coast_and_no_error(folder):
    assert coastlines.find_file() is None
    figure = frames(nowcast(metres()))
    assert not lines(figure.axes[0])


def test_the_coast_lies_where_the_projection_puts_it(coast):
    assert coastlines.find_file() == coast / "ne_110m_coastline.shp"
    for sign in (1, -1):
        figure = frames(nowcast(metres(sign)))
        for ax in figure.axes[:2]:
            along, across = lines(ax)
            # two degrees of latitude on the sphere are 222.4 km; the origin is at 38N 98W
            expected = np.array([[0, -222_388], [0, 0], [0, 222_388]])
            np.testing.assert_allclose(along, expected, atol=200)
            assert across[0][0] == pytest.approx(-across[1][0])
            assert across[0][0] == pytest.approx(-175_000, rel=0.01)
            assert ax.get_xlim() == (-200_000, 200_000) and ax.get_ylim() == (-200_000, 200_000)


@pytest.mark.parametrize("east", [0, 360])
def test_the_coast_turns_with_the_longitudes(coast, east):
    coords = {"lat": np.arange(30.0, 46), "lon": np.arange(-105.0, -90) + east}
    da = xr.DataArray(np.ones((16, 15)), coords, ("lat", "lon"))
    figure = field(da.assign_attrs(units="degC"))
    along, across = lines(figure.axes[0])
    np.testing.assert_allclose(along, [[262, 36], [262, 38], [262, 40]])  # maps run from 0 eastward
    np.testing.assert_allclose(across, [[260, 38], [264, 38]])


def test_a_map_of_unknown_place_has_no_coast(coast):
    figure = frames(nowcast(metres().drop_vars("crs")))
    assert not lines(figure.axes[0])


def test_without_cartopy_maps_are_drawn_all_the_same(coast, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(coastlines.importlib, "import_module", missing)
    assert coastlines.find_file() is None
    assert frames(nowcast(metres())).axes[0].images


def test_a_coast_that_leaves_and_comes_back_is_broken():
    points = np.array([[0.0, 0], [1, 0], [50, 0], [1, 1], [0, 1], [99, 1]])
    line = coastlines._near(points, np.array([0.0, 0]), np.array([2.0, 2]))
    np.testing.assert_array_equal(line, [[0, 0], [1, 0], [np.nan] * 2, [1, 1], [0, 1]])
    assert not len(coastlines._near(points + 1000, np.zeros(2), np.ones(2)))
