"""The coast on maps: there, in the right place, and nothing fetched for it."""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from small_radar import small_rain

import xearthformer as xef
from xearthformer.plots import coast
from xearthformer.plots.frames import frames as plot_frames
from xearthformer.plots.maps import field

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "radar.md"


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def world(west, east, south=-69.0, north=69.0, size=24, units="degrees"):
    attrs = ({"units": f"{units}_north"}, {"units": f"{units}_east"}) if units else ({}, {})
    names = ("lat", "lon") if units else ("y", "x")
    ends = (south, north), (west, east)
    coords = {n: (n, np.linspace(*e, size), a) for n, e, a in zip(names, ends, attrs, strict=True)}
    return xr.DataArray(np.ones((size, size)), coords, names, "sst", {"units": "degC"})


def drawn(figure):
    """The lines on the first map."""
    found = [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    return [line for one in found for line in one.get_segments()]


def distance(lines, longitude, latitude):
    """Of a place from the nearest point of a coast, in degrees."""
    return np.hypot(*(np.concatenate(lines) - (longitude, latitude)).T).min()


@pytest.mark.parametrize(("west", "east"), [(0, 345), (-180, 165), (95, 330)])
def test_the_coast_is_where_it_is_in_every_convention_of_longitudes(west, east):
    """Maps run eastward from 0: Galera Point and Cape Leeuwin at the ends of the Pacific."""
    figure = field(world(west, east).expand_dims(lead=[1]))
    lines = drawn(figure)
    assert distance(lines, 360 - 80.05, 0.8) < 1 and distance(lines, 115.1, -34.4) < 1
    (first, last), (south, north) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert (south, north) == (-72, 72) and last - first == pytest.approx((east - west) * 24 / 23)


def test_no_coast_on_what_it_is_too_coarse_for_or_on_no_degrees():
    for da in (world(100, 124, 0, 24), world(0, 345e3, units=None)):
        assert drawn(field(da.expand_dims(lead=[1]))) == []


def test_the_lines():
    """None runs along the date line, where land is cut in two, or round the globe."""
    lines = coast.read_coast()
    points = np.concatenate(lines)
    assert coast.FILE.stat().st_size < 25_000
    assert (points.min(0) > (-181, -90)).all() and (points.max(0) < (181, 84)).all()
    for line in lines:
        assert len(line) > 1 and np.abs(np.diff(line[:, 0])).max() < 10
        seam = np.abs(np.abs(line[:, 0]) - 180) < 0.01
        assert not (seam[1:] & seam[:-1]).any()


def test_a_finer_coast_by_cartopy_as_the_page_says(tmp_path, monkeypatch):
    """Its file of Natural Earth is a stand-in here: a coast from 52N 4E to 53N 5E."""
    cartopy = pytest.importorskip("cartopy")
    shapefile = pytest.importorskip("shapefile")
    code = re.search(r"```python\n(from cartopy.*?)```", PAGE.read_text(), re.DOTALL)[1]
    resolution = re.search(r'natural_earth\("(\w+)"', code)[1]
    path = tmp_path / "shapefiles" / "natural_earth" / "physical" / f"ne_{resolution}_coastline"
    with shapefile.Writer(str(path), shapefile.POLYLINE) as file:
        file.field("name", "C")
        file.line([[[4.0, 52.0], [5.0, 53.0]]])
        file.record("coast")
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", tmp_path)
    rain = small_rain(np.ones((2, 400, 400)), left=1_400_000, top=-2_200_000)
    names = {"hour": rain.earthformer.forecast("persistence", lead=2), "xef": xef}
    exec(code, names)
    (line,) = names["figure"].axes[0].get_lines()
    x, y = line.get_data()
    assert np.isfinite([x, y]).all() and np.hypot(x[1] - x[0], y[1] - y[0]) == pytest.approx(
        130_500, rel=0.01
    )  # metres from one end to the other
    assert names["figure"].axes[0].get_xlim() == (1_400_000, 1_800_000)


def test_pictures_of_pixels_have_none():
    rain = small_rain(np.ones((2, 8, 8)))
    fc = rain.earthformer.forecast("persistence", lead=1)
    assert drawn(plot_frames(fc)) == []
