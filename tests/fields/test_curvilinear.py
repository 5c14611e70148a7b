"""Curvilinear grids onto 1-D cell centres: overlaps, fields, and tripolar and rotated grids."""

import dask
import numpy as np
import pytest
import xarray as xr
from small_tripolar import tripolar

from xearthformer.fields.axes import find_curvilinear
from xearthformer.fields.curvilinear import area_of, grid_of, to_latlon

LATITUDE = np.arange(-27.5, 28, 5)
LONGITUDE = np.arange(102.5, 290, 5)


def smooth(lat, lon):
    return np.cos(np.radians(2 * lat)) + np.sin(np.radians(lon))


def mean_of_smooth(latitude, longitude):
    """The mean of `smooth` over cells of 5 degrees, by many points of equal area."""
    fine = (np.arange(100) - 49.5) / 20
    lat = latitude[:, None] + fine
    weights = np.cos(np.radians(lat))
    y = (np.cos(np.radians(2 * lat)) * weights).sum(1) / weights.sum(1)
    return y[:, None] + np.sin(np.radians(longitude[:, None] + fine)).mean(1)


# --- overlaps, by hand


def quadrilateral(centre, corners):
    """A grid of one cell with these corners (lat, lon), and of another one far away."""
    lat, lon = np.array(corners, float).T
    ds = xr.Dataset(
        {
            "tos": (("y", "x"), np.zeros((1, 2))),
            "lat_bnds": (("y", "x", "nv"), [[lat, lat * 0 + 60]]),
            "lon_bnds": (("y", "x", "nv"), [[lon, lon * 0 + 200]]),
        },
        {
            "lat": (("y", "x"), [[centre[0], 60.0]]),
            "lon": (("y", "x"), [[centre[1], 200.0]]),
        },
    )
    return grid_of(ds["tos"], ds)


def test_a_cell_is_cut_into_quarters():
    grid = quadrilateral((0, 20), [(-30, 10), (-30, 30), (30, 30), (30, 10)])
    # 10 degrees of longitude times sin 30: each of the four rectangles holds 5 of the 20
    shared = grid.overlaps([-90, 0, 90], [0, 20, 40])[:, [0]].toarray().ravel()
    np.testing.assert_allclose(shared, [5, 5, 5, 5])
    assert grid.areas[0] == pytest.approx(20)


def test_a_diamond_shares_triangles():
    # corners on the axes of its middle: x 10 +- 10, sin(lat) +- 1/2, so an area of 20 * 1 / 2
    grid = quadrilateral((0, 10), [(-30, 10), (0, 20), (30, 10), (0, 0)])
    shared = grid.overlaps([-90, 0, 90], [-10, 10, 30])[:, [0]].toarray().ravel()
    np.testing.assert_allclose(shared, [2.5] * 4)
    # east of 15: a triangle of height 5 and base 1/2
    assert grid.overlaps([-90, 90], [15, 40])[0, 0] == pytest.approx(1.25)


def test_a_cell_across_greenwich_is_in_one_piece():
    grid = quadrilateral((0, 0), [(-30, 350), (-30, 10), (30, 10), (30, 350)])
    assert grid.areas[0] == pytest.approx(20)
    for edges in ([-180, 0, 180], [0, 180, 360], [300, 360, 400]):
        np.testing.assert_allclose(grid.overlaps([-90, 90], edges)[:, [0]].toarray().ravel(), 10)


@pytest.mark.parametrize("bounds", [True, False])
def test_cells_fill_every_rectangle_once(bounds):
    ds = tripolar(smooth, bounds=bounds)
    grid = grid_of(ds["tos"], ds)
    edges = np.arange(-30, 31, 5), np.arange(100, 461, 5)
    shared = grid.overlaps(*edges).sum(axis=1).reshape(12, 72)
    area = np.outer(np.diff(np.sin(np.radians(edges[0]))), np.diff(edges[1]))
    np.testing.assert_allclose(shared / area, 1, rtol=1e-9)


# --- fields


@pytest.mark.parametrize("bounds, tolerance", [(True, 6e-3), (False, 1.5e-2)])
@pytest.mark.parametrize("angle", [0.0, 25.0, 40.0])
def test_a_smooth_field_on_a_tripolar_grid(angle, bounds, tolerance):
    ds = tripolar(smooth, bounds=bounds, angle=angle)
    out = to_latlon(ds["tos"], LATITUDE, LONGITUDE, ds)
    np.testing.assert_allclose(out, mean_of_smooth(LATITUDE, LONGITUDE), atol=tolerance)
    assert ("conservative" in out.attrs["history"]) == bounds
    assert out.dims == ("lat", "lon") and out["lat"].attrs["units"] == "degrees_north"


def test_land_does_not_count_and_half_a_cell_of_it_is_land():
    # four cells of 1 degree in each target of 2 x 2: means of 1, 3 and of 5 alone; then NaN
    lat, lon = np.meshgrid([0.5, 1.5], np.arange(0.5, 6), indexing="ij")
    values = [[1.0, 3, 5, np.nan, np.nan, 7], [1.0, 3, 5, np.nan, np.nan, np.nan]]
    da = xr.DataArray(values, {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}, ("y", "x"))
    out = to_latlon(da, [0.5, 1.5], [1, 3, 5])
    np.testing.assert_allclose(out, [[2, 5, 7], [2, 5, np.nan]])


def test_repeated_columns_count_once():
    with_halo, without = (tripolar(smooth, halo=halo) for halo in (5, 0))
    out = [to_latlon(ds["tos"], LATITUDE, LONGITUDE, ds) for ds in (with_halo, without)]
    np.testing.assert_allclose(*out, atol=1e-12)


@pytest.mark.parametrize("fill", [np.nan, 1e20])
def test_cells_without_a_place_are_land(fill):
    ds = tripolar(smooth)
    land = (ds["lat"] > 10) & (ds["lon"] < 150)
    ds["tos"] = ds["tos"].where(~land)
    expected = to_latlon(ds["tos"], LATITUDE, LONGITUDE, ds)
    ds["lat"], ds["lon"] = (ds[name].where(~land, fill) for name in ("lat", "lon"))
    xr.testing.assert_allclose(to_latlon(ds["tos"], LATITUDE, LONGITUDE, ds), expected)
    assert bool(expected.sel(lat=22.5, lon=102.5).isnull())


def test_lazy_equals_eager_and_holds_the_weights_once():
    ds = tripolar(smooth)
    tos = (ds["tos"] * xr.DataArray(np.arange(6.0), dims="time")).transpose("i", "time", "j")
    eager = to_latlon(tos.astype("f4"), LATITUDE, LONGITUDE, ds)
    assert eager.dims == ("lat", "time", "lon") and eager.dtype == "f4"

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        chunked = tos.astype("f4").chunk(time=2, i=7).assign_coords(ds.coords)
        lazy = to_latlon(chunked, LATITUDE, LONGITUDE, ds)
    assert lazy.chunksizes["time"] == (2, 2, 2)
    xr.testing.assert_identical(lazy.compute(), eager)
    again = to_latlon(tos.astype("f4").chunk(time=1), LATITUDE, LONGITUDE, ds)
    xr.testing.assert_identical(again.compute(), eager)


def test_part_of_the_globe_is_refused_where_it_lacks_rows_or_columns():
    ds = tripolar(smooth, angle=0.0)
    with pytest.raises(ValueError, match=r"without longitude 212.5, 217.5, 222.5, 227.5, \.\.\."):
        to_latlon(ds["tos"][:, :125], LATITUDE, LONGITUDE, ds.isel(i=slice(125)))


# --- names


def test_the_coordinates_of_the_variable_come_first():
    ds = tripolar(smooth, bounds=False).rename(lat="TLAT", lon="TLONG")
    ds = ds.assign_coords(ULAT=ds["TLAT"] + 1, ULONG=ds["TLONG"] + 1)
    assert find_curvilinear(ds["tos"]) == ("TLAT", "TLONG")
    ds["tos"].encoding["coordinates"] = "ULONG ULAT"
    assert find_curvilinear(ds["tos"]) == ("ULAT", "ULONG")


@pytest.mark.parametrize("name", ["vertices_latitude", "lat_vertices", "bounds_lat", "my_corners"])
def test_bounds_by_attribute_or_usual_name(name):
    ds = tripolar(smooth)
    stated = {"bounds": name} if name.startswith("my") else {}
    other = name.replace("latitude", "longitude").replace("lat", "lon").replace("my", "your")
    ds = ds.rename(lat_bnds=name, lon_bnds=other)
    ds["lat"].attrs = stated
    ds["lon"].attrs = {"bounds": other} if stated else {}
    assert grid_of(ds["tos"], ds).corners is not None
    assert grid_of(ds["tos"]).corners is None  # a DataArray has lost them
    assert grid_of(ds["tos"], ds.set_coords([name, other])).corners is not None


def test_areas_stand_next_to_the_data():
    ds = tripolar(smooth).assign(areacello=(("j", "i"), np.ones((85, 182))))
    assert area_of(ds["tos"], ds).identical(ds["areacello"].drop_vars(("lat", "lon")))
    assert area_of(ds["tos"]) is None
    ds = ds.rename(areacello="a").set_coords("a")
    ds["a"].attrs["standard_name"] = "cell_area"
    assert area_of(ds["tos"]) is not None
    ds["a"].attrs.clear()
    assert area_of(ds["tos"]) is None
    ds["tos"].attrs["cell_measures"] = "area: a"
    assert area_of(ds["tos"]) is not None


def test_without_bounds_areas_are_those_of_the_sides():
    ds = tripolar(smooth)
    exact, sides = grid_of(ds["tos"], ds).areas, grid_of(ds["tos"]).areas
    (kept,) = np.nonzero((exact > 0) & (np.abs(ds["lat"].values.ravel()) < 50))
    np.testing.assert_allclose(sides[kept], exact[kept], rtol=0.01)


def test_one_dimension_is_no_curvilinear_grid():
    da = xr.DataArray(np.zeros((2, 3)), {"lat": [0.0, 1], "lon": [0.0, 1, 2]}, ("lat", "lon"))
    assert grid_of(da) is None
    assert grid_of(da.assign_coords(nav_lat=(("lat", "lon"), np.zeros((2, 3))))) is None
