"""Regridding to the model's cells and back, on grids checked by hand and on real SST."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.fields import regrid
from xearthformer.fields.regrid import fill_coasts

ICAR_LAT, ICAR_LON = np.arange(-55.0, 61, 5), np.arange(95.0, 331, 5)  # 24 x 48
USER_LAT, USER_LON = np.arange(-88.0, 89, 2), np.arange(0.0, 360, 2)  # ERSST: 89 x 180


def field(y=USER_LAT, x=USER_LON, value=0.0, **coords) -> xr.DataArray:
    """A prepared field (time, y, x) of one month, `value` broadcast over latitude and longitude."""
    lat, lon = np.meshgrid(y, x, indexing="ij")
    values = value(lat, lon) if callable(value) else np.full(lat.shape, value)
    return xr.DataArray(
        np.float32(values)[None],
        dims=("time", "y", "x"),
        coords={"time": [np.datetime64("2000-01-15")], "y": y, "x": x, **coords},
        name="sst",
        attrs={"units": "K"},
    )


def wave(lat, lon):
    """Smooth, periodic: a few thousand kilometres from crest to crest."""
    return np.cos(np.radians(2 * lat)) * (1 + 0.5 * np.sin(np.radians(2 * lon)))


# --- to_model ------------------------------------------------------------------------------------


def test_coarser_cells_take_the_mean_of_what_they_overlap():
    # Two 4-degree cells of four 2-degree columns on the equator: (1 + 3) / 2 and (5 + 7) / 2.
    da = field([-1.0, 1.0], [1.0, 3.0, 5.0, 7.0], lambda lat, lon: lon)
    out = regrid.to_model(da, [-1, 1], [2, 6])
    assert out.values.tolist() == [[[2.0, 6.0], [2.0, 6.0]]]
    assert out.dims == ("time", "y", "x")
    assert (out.name, out.attrs, out.dtype) == ("sst", {"units": "K"}, np.float32)


def test_a_cell_that_is_cut_takes_its_share():
    # A 3-degree cell 2.5 .. 5.5 takes 1.5 degrees of column 3 (2..4) and 1.5 of column 5 (4..6).
    da = field([-1.0, 1.0], np.arange(1.0, 12, 2), lambda lat, lon: lon**2)
    out = regrid.to_model(da, [-1, 1], [4, 7])
    np.testing.assert_allclose(out[0, 0], [(9 + 25) / 2, (0.5 * 25 + 2 * 49 + 0.5 * 81) / 3])


def test_rows_are_weighed_by_their_area():
    # One 4-degree cell of rows 58 and 60, which are as wide as their cosines.
    da = field([56.0, 58.0, 60.0, 62.0], [0.0, 2.0], lambda lat, lon: lat)
    out = regrid.to_model(da, [55, 59, 63], [0, 2])
    rows = np.cos(np.radians([58.0, 60.0]))
    np.testing.assert_allclose(out[0, 1, 0], (58 * rows[0] + 60 * rows[1]) / rows.sum(), rtol=1e-6)


def test_a_cell_is_land_when_less_than_half_of_it_is_ocean():
    # Cells of 2 x 2 columns; NaN in 0, 1, 2, 3 and 4 of the four.
    land = np.array([[1, 2, 3, np.nan, 5, np.nan, np.nan, np.nan, np.nan, np.nan],
                     [1, 2, 3, 4, 5, np.nan, 7, np.nan, np.nan, np.nan]])  # fmt: skip
    da = field([-1.0, 1.0], np.arange(1.0, 20, 2)).copy(data=np.float32(land)[None])
    da = xr.concat([da, da.assign_coords(y=[3.0, 5.0])], "y")
    out = regrid.to_model(da, [0, 4], np.arange(2.0, 20, 4))
    np.testing.assert_allclose(out[0, 0], [1.5, 10 / 3, 5, np.nan, np.nan], rtol=1e-3)


def test_finer_cells_are_interpolated_and_land_weighs_nothing():
    da = field([0.0, 4.0], [0.0, 4.0, 8.0, 12.0], lambda lat, lon: lon)
    da[..., 3] = np.nan
    out = regrid.to_model(da, [1, 2, 3], [2, 4, 6, 8, 9, 10, 11])
    # Half way to land counts as ocean and takes the ocean's value; beyond, land.
    np.testing.assert_allclose(out[0, 0], [2, 4, 6, 8, 8, 8, np.nan])


def test_each_axis_takes_its_own_method():
    da = field(np.arange(-9.0, 10, 2), np.arange(0.0, 40, 8), lambda lat, lon: lat + lon)
    assert "2 x 8 to 4 x 2 degrees (conservative x linear)" in regrid.describe(
        da, [-4, 0, 4], [10, 12, 14]
    )
    out = regrid.to_model(da, [-4, 0, 4], [10, 12, 14])
    np.testing.assert_allclose(out[0, 1], [10, 12, 14], atol=1e-5)
    assert regrid.describe(da, da.y, da.x) == ""


def test_constants_stay_and_lines_in_latitude_stay():
    there = regrid.to_model(field(value=3.25), ICAR_LAT, ICAR_LON)
    assert (there == 3.25).all()
    back = regrid.to_user(there, field().y, field().x)
    assert set(np.unique(back.values[np.isfinite(back)])) == {np.float32(3.25)}
    assert back.notnull().sum() == 60 * 120  # every cell inside -57.5 .. 62.5, 92.5 .. 332.5

    slope = regrid.to_model(field(value=lambda lat, lon: lat), ICAR_LAT, ICAR_LON)
    tropics = slope.sel(y=slice(-30, 30))
    np.testing.assert_allclose(tropics[0, :, 0], tropics.y, atol=0.03)  # cells weigh by area


def test_the_area_mean_of_the_tropics_is_kept():
    # One box, cut along the edges of both grids: 27.5S .. 27.5N, 97.5E .. 327.5E.
    def mean(da, half):
        area = np.sin(np.radians(da.y + half)) - np.sin(np.radians(da.y - half))
        return float(da.sel(y=slice(-27.5, 27.5), x=slice(97.5, 327.5)).weighted(area).mean())

    da = field(np.arange(-89.0, 90, 1), np.arange(0.0, 360, 1), wave)
    there = regrid.to_model(da, ICAR_LAT, ICAR_LON)
    assert mean(there, 2.5) == pytest.approx(mean(da, 0.5), abs=1e-3)  # of 0.78


def test_longitude_goes_round_the_globe():
    da = field(value=lambda lat, lon: np.cos(np.radians(lon)))
    out = regrid.to_model(da, ICAR_LAT, np.arange(-60.0, 61, 5))
    np.testing.assert_allclose(out[0, 0], out[0, 0, ::-1], atol=1e-6)  # symmetric about Greenwich
    # Cell 0 reaches 2.5 degrees either way: columns 0 and 2 and 358 whole or by 1.5 of 2.
    expected = (2 + 2 * 1.5 * np.cos(np.radians(2))) / 5
    assert float(out.sel(x=0)[0, 0]) == pytest.approx(expected, abs=1e-6)


def test_the_whole_turn_has_no_seam():
    shifted = np.arange(-180.0, 180, 5)
    there = regrid.to_model(field(value=wave), ICAR_LAT, np.arange(0.0, 360, 5))
    same = regrid.to_model(field(value=wave), ICAR_LAT, shifted)
    np.testing.assert_array_equal(np.roll(there, 36, axis=-1), same)


def test_the_poles_are_no_edge():
    da = field(np.arange(-89.5, 90, 1), np.arange(0.5, 360, 1), 7.0)
    out = regrid.to_model(da, np.arange(-90.0, 91, 5), np.arange(0.0, 360, 5))
    assert (out == 7).all()


def test_a_region_across_greenwich_is_joined():
    lon = np.r_[np.arange(0.0, 42, 2), np.arange(320.0, 360, 2)]  # 40W .. 40E, sorted 0 .. 360
    whole, part = field(value=wave), field(x=lon, value=wave)
    goal = np.arange(-35.0, 36, 5)
    np.testing.assert_array_equal(
        regrid.to_model(part, ICAR_LAT, goal), regrid.to_model(whole, ICAR_LAT, goal)
    )


def test_the_same_grid_is_left_alone():
    da = field(ICAR_LAT, ICAR_LON, wave)
    nudged = da.assign_coords(x=np.float32(ICAR_LON) + np.float32(2e-5))
    assert regrid.same_grid(nudged, ICAR_LAT, ICAR_LON - 360)
    assert not regrid.same_grid(da.isel(x=slice(1, None)), ICAR_LAT, ICAR_LON)
    there = regrid.to_model(nudged, ICAR_LAT, ICAR_LON)
    assert there.values.tobytes() == da.values.tobytes()
    back = regrid.to_user(there, nudged.y, nudged.x)
    xr.testing.assert_identical(back, nudged)


def test_a_larger_domain_of_the_same_cells_is_only_cut():
    da = field(np.arange(-60.0, 61, 5), np.arange(0.0, 360, 5), wave)
    da[:, 3:9, 20:40] = np.nan
    out = regrid.to_model(da, ICAR_LAT, ICAR_LON)
    cut = da.sel(y=ICAR_LAT, x=ICAR_LON)
    np.testing.assert_array_equal(out, cut)
    back = regrid.to_user(out, da.y, da.x)
    xr.testing.assert_equal(back.sel(y=ICAR_LAT, x=ICAR_LON).notnull().all(), xr.DataArray(True))
    np.testing.assert_array_equal(back.sel(y=ICAR_LAT, x=ICAR_LON).where(cut.notnull()), cut)
    assert back.sel(y=-60).isnull().all() and back.sel(x=0).isnull().all()
    assert regrid.describe(da, ICAR_LAT, ICAR_LON) == ""
    assert "regridded" in regrid.describe(da, ICAR_LAT + 2.5, ICAR_LON)


def test_coordinates_of_other_dims_stay_and_others_go():
    da = field(value=1.0, month=("time", [1]), run=7, mask=(("y", "x"), np.ones((89, 180))))
    out = regrid.to_model(da.transpose("x", "time", "y"), ICAR_LAT, ICAR_LON)
    assert out.dims == ("time", "y", "x")
    assert set(out.coords) == {"time", "y", "x", "month", "run"}
    assert out.y.dtype == out.x.dtype == np.float64


# --- to_user -------------------------------------------------------------------------------------


def test_back_is_linear_inside_nearest_at_the_edge_and_nan_beyond():
    # The cells of 5 degrees are no coarser than these, and so there are no means to keep.
    da = field([0.0, 5.0], [10.0, 15.0, 20.0], lambda lat, lon: lon)
    y = xr.DataArray([-9.0, -2.0, 4.0, 10.0], dims="y", attrs={"units": "degrees_north"})
    x = xr.DataArray([2.0, 8.0, 11.0, 17.5, 22.0, 29.0], dims="x")
    out = regrid.to_user(da, y, x)
    np.testing.assert_allclose(out[0, 1], [np.nan, 10, 11, 17.5, 20, np.nan], rtol=1e-6)
    np.testing.assert_allclose(out[0, 2], out[0, 1])
    assert out[0, [0, 3]].isnull().all()
    assert out.y.attrs == {"units": "degrees_north"}


def test_back_keeps_the_means_of_coarser_cells():
    # Nodes 2 and 10: longitude 9 takes 2, 11 a quarter of the way, 4; 13 takes 8 and 15 takes 10.
    # The cells' means are (2 + 4) / 2 = 3 and (8 + 10) / 2 = 9.
    da = field([0.0, 4.0], [10.0, 14.0], lambda lat, lon: np.where(lon < 12, 3, 9))
    out = regrid.to_user(da, da.y, xr.DataArray([7.0, 9.0, 11.0, 13.0, 15.0], dims="x"))
    np.testing.assert_allclose(out[0, 0], [np.nan, 2, 4, 8, 10], rtol=1e-6)


@pytest.mark.parametrize("step", [0.5, 1, 2, 2.5, 3, 4])
@pytest.mark.parametrize("goal", [ICAR_LON, np.arange(0.0, 360, 5)], ids=["icar", "globe"])
def test_there_undoes_back_without_land(step, goal):
    da = field(ICAR_LAT, goal)
    da = da + np.random.default_rng(0).standard_normal(da.shape).astype("f4")
    user = field(np.arange(step / 2 - 90, 90, step), np.arange(0.0, 360, step))
    back = regrid.to_user(da, user.y, user.x)
    again = regrid.to_model(back, ICAR_LAT, goal)
    np.testing.assert_allclose(again, da, atol=1e-5)
    assert "(linear keeping cell means)" in regrid.describe(user, ICAR_LAT, goal)


def test_back_leaves_a_line_straight_but_at_the_edge():
    # The nearest node within half a cell of the edge bends it; that fades to a sixth every cell.
    da = field(ICAR_LAT, ICAR_LON, lambda lat, lon: lon)
    back = regrid.to_user(da, field().y, field().x)
    off = abs(back - back.x).isel(time=0).sel(y=slice(-54, 58)).max("y")
    for cells, error in enumerate((0.8, 0.16, 0.025, 0.006)):
        assert off.sel(x=slice(95 + 5 * cells, 330 - 5 * cells)).max() < error  # degrees


def test_back_overshoots_a_step_by_a_fifth():
    step = field(ICAR_LAT, ICAR_LON, lambda lat, lon: lon > 210)
    back = regrid.to_user(step, field().y, field().x)
    assert float(back.max()) == pytest.approx(1.2, abs=0.02)
    assert float(back.min()) == pytest.approx(-0.2, abs=0.02)


@pytest.mark.parametrize("x", [np.arange(2.5, 360, 5), np.arange(0.0, 360, 4.5)])
def test_cells_of_nearly_one_size_are_brought_back_linearly(x):
    # Undoing the averages of two half cells would blow up what alternates from cell to cell.
    da = field(ICAR_LAT, np.arange(0.0, 360, 5), lambda lat, lon: lon % 2)
    back = regrid.to_user(da, da.y, xr.DataArray(x, dims="x"))
    assert float(back.min()) >= 0 and float(back.max()) <= 1
    assert "brought back (linear keeping cell means x linear)" in regrid.describe(
        field(ICAR_LAT[0] + np.arange(0.0, 116, 1), x), ICAR_LAT, da.x
    )


def test_back_fills_land_from_the_nearest_ocean():
    da = field([0.0, 5.0], [0.0, 5.0, 10.0, 15.0], lambda lat, lon: lon)
    da[..., 2:] = np.nan
    out = regrid.to_user(da, da.y, xr.DataArray([3.0, 8.0, 13.0], dims="x"))
    np.testing.assert_allclose(out[0, 0], [3, 5, 5])
    # Cells 0, 5, 5, 5 of 2.5 degrees: nodes such that the two last means, over land, stay 5.
    fine = regrid.to_user(da, da.y, xr.DataArray(np.arange(-1.25, 17, 2.5), dims="x"))
    np.testing.assert_allclose(fine[0, 0].values.reshape(4, 2).mean(1), [0, 5, 5, 5], atol=1e-6)


def test_back_fills_across_greenwich_and_leaves_empty_fields_empty():
    da = field([0.0, 30.0], np.arange(0.0, 360, 30), lambda lat, lon: lon)
    da[..., 0] = np.nan
    da[..., 1:3] = np.nan
    two = xr.concat([da, da * np.nan], "time")
    out = regrid.to_user(two, xr.DataArray([0.0, 15.0], dims="y"), two.x)
    assert out[0, 0, 0] == 330.0  # 0 lies 30 degrees from 330 and 90 from 90
    assert out[1].isnull().all()


def test_back_is_linear_across_the_seam_of_a_global_model():
    da = field([0.0, 30.0], np.arange(0.0, 360, 30), lambda lat, lon: lon)
    out = regrid.to_user(da, da.y, xr.DataArray([7.5, 337.5, 345.0, 352.5], dims="x"))
    np.testing.assert_allclose(out[0, 0], [7.5, 247.5, 165, 82.5])


def test_there_and_back_is_close_for_smooth_fields():
    da = field(value=wave)
    back = regrid.to_user(regrid.to_model(da, ICAR_LAT, ICAR_LON), da.y, da.x)
    inside = back.sel(y=slice(-54, 58), x=slice(96, 328))
    assert inside.notnull().all()
    assert float(abs(inside - da).max()) < 0.04  # of values -1.5 .. 1.5
    assert float(abs(inside - da).sel(y=slice(-51, 56), x=slice(100, 325)).max()) < 0.008
    assert back.sel(y=slice(-88, -58)).isnull().all() and back.sel(x=slice(0, 92)).isnull().all()


def test_there_and_back_by_a_finer_model():
    coarse = field(np.arange(-50.0, 51, 5), np.arange(0.0, 360, 5), wave)
    there = regrid.to_model(coarse, np.arange(-40.0, 41, 1), np.arange(0.0, 360, 1))
    back = regrid.to_user(there, coarse.y, coarse.x).sel(y=slice(-40, 40))
    np.testing.assert_allclose(back, coarse.sel(y=slice(-40, 40)), atol=1e-6)


def test_leading_dims_pass_through_both_ways():
    da = field(value=wave).expand_dims(member=2).rename(time="init").expand_dims(lead=3)
    there = regrid.to_model(da, ICAR_LAT, ICAR_LON)
    assert there.dims == ("lead", "member", "init", "y", "x")
    back = regrid.to_user(there, da.y, da.x)
    assert back.dims == da.dims and back.shape == da.shape


# --- lazy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 5}, {"time": 4, "y": 20, "x": 50}])
def test_the_bits_do_not_depend_on_the_chunks(chunks):
    rng = np.random.default_rng(0)
    da = field(value=wave).isel(time=[0] * 12)
    da = da + np.float32(rng.standard_normal(da.shape))
    da = da.where(rng.random(da.shape) > 0.3).assign_coords(time=np.arange(12))
    eager = regrid.to_model(da, ICAR_LAT, ICAR_LON)
    lazy = regrid.to_model(da.chunk(chunks), ICAR_LAT, ICAR_LON)
    assert lazy.chunks is not None and lazy.chunks[0] == da.chunk(chunks).chunks[0]
    assert lazy.compute().values.tobytes() == eager.values.tobytes()
    back = regrid.to_user(lazy, da.y, da.x)
    assert back.chunks is not None and back.chunks[0] == lazy.chunks[0]
    assert back.compute().values.tobytes() == regrid.to_user(eager, da.y, da.x).values.tobytes()


def test_double_precision_stays_and_integers_become_float():
    assert regrid.to_model(field(value=wave).astype(np.float64), ICAR_LAT, ICAR_LON).dtype == "f8"
    lazy = regrid.to_model(field(value=3.0).astype("i2").chunk(time=1), ICAR_LAT, ICAR_LON)
    assert lazy.dtype == lazy.compute().dtype == np.float32


# --- what does not fit ---------------------------------------------------------------------------


def test_a_domain_too_small_says_both_extents():
    da = field(np.arange(-20.0, 21, 2), np.arange(120.0, 281, 2))
    with pytest.raises(ValueError, match="holds the model's grid") as error:
        regrid.to_model(da, ICAR_LAT, ICAR_LON)
    message = str(error.value)
    assert "latitude -55 .. 60, longitude 95 .. 330 (cell centres)" in message
    assert "found latitude -20 .. 20, longitude 120 .. 280" in message
    assert "without latitude -55, -50, -45, -40, ...; longitude 95, 100, 105, 110, ..." in message
    assert "try the field before it was cut" in message


def test_a_hole_in_longitude_is_named():
    lon = np.r_[np.arange(0.0, 132, 2), np.arange(200.0, 360, 2)]
    with pytest.raises(ValueError, match=r"longitude 0 \.\. 130 and 200 \.\. 358") as error:
        regrid.check_contains(field(x=lon), ICAR_LAT, ICAR_LON)
    assert "without longitude 135, 140, 145, 150, ..." in str(error.value)
    two = np.r_[np.arange(80.0, 132, 2), np.arange(160.0, 340, 2)]
    with pytest.raises(ValueError, match=r"longitude 80 \.\. 130 and 160 \.\. 338"):
        regrid.check_contains(field(x=two), ICAR_LAT, ICAR_LON)


def test_a_hole_in_latitude_is_named():
    lat = np.r_[np.arange(-60.0, -9, 2), np.arange(10.0, 63, 2)]
    with pytest.raises(ValueError, match=r"-60 \.\. -10 and 10 \.\. 62"):
        regrid.check_contains(field(y=lat), ICAR_LAT, ICAR_LON)


def test_holes_outside_the_model_do_not_matter():
    lon = np.r_[np.arange(0.0, 42, 2), np.arange(80.0, 342, 2)]
    regrid.check_contains(field(x=lon), ICAR_LAT, ICAR_LON)


def test_the_edge_is_half_a_model_cell_and_one_cell_of_the_data():
    # Model centres at 95 and 330; half a model cell is 2.5 degrees, one cell of the data 2.
    near = field(np.arange(-53.0, 60, 2), np.arange(97.0, 330, 2), 1.5)  # -53 .. 59, 97 .. 329
    out = regrid.to_model(near, ICAR_LAT, ICAR_LON)
    assert (out == 1.5).all()
    for cut in (near.isel(y=slice(1, None)), near.isel(x=slice(1, None))):
        with pytest.raises(ValueError, match="without (latitude -55|longitude 95)"):
            regrid.to_model(cut, ICAR_LAT, ICAR_LON)


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (field().isel(x=[0]), "two or more cell centres"),
        (field().isel(y=slice(None, None, -1)), "that ascend, each once"),
        (field(x=np.arange(0.0, 361, 2)), "drops the repeated column"),
    ],
)
def test_axes_that_are_no_axes(da, message):
    with pytest.raises(ValueError, match=message):
        regrid.to_model(da, ICAR_LAT, ICAR_LON)


# --- real sea surface temperature ----------------------------------------------------------------


@pytest.mark.shared
def test_nino34_of_real_sst_survives_there_and_back(ersst):
    sst = ersst["sst"].rename(lat="y", lon="x").sel(time=slice("1990", "2009"))
    ssta = sst.groupby("time.month") - sst.groupby("time.month").mean()
    there = regrid.to_model(ssta, ICAR_LAT, ICAR_LON)
    assert there.shape == (240, 24, 48)
    land = there.isnull()
    assert (land == land[0]).all() and 0.15 < float(land[0].mean()) < 0.25
    back = regrid.to_user(there, ssta.y, ssta.x)
    box = ssta.notnull().sel(y=slice(-54, 58), x=slice(96, 328))
    assert back.sel(y=box.y, x=box.x).where(box).notnull().equals(box)  # every ocean cell answered

    def nino34(da):
        part = da.sel(y=slice(-5, 5), x=slice(190, 240))
        return part.weighted(np.cos(np.radians(part.y))).mean(("y", "x"))

    before, after = nino34(ssta), nino34(back)
    assert float(xr.corr(before, after)) > 0.9999
    assert 0.98 < float(after.std() / before.std()) < 1.01


# --- coasts that differ


nan = np.nan


def coast(lon, values, sea=True):
    da = xr.DataArray(values, {"y": [0.0, 5.0, 10.0], "x": np.asarray(lon, float)}, ("y", "x"))
    return fill_coasts(da, np.full(da.shape, sea)).values


def test_sea_without_a_value_takes_the_nearest_neighbours():
    # at 5 degrees north, east and west are nearer than north and south, and west comes first
    field = [[1.0, 2, 3, 4], [5, nan, 7, 8], [9, nan, nan, nan]]
    found = coast([0, 5, 10, 15], field)
    assert found[1].tolist() == [5, 5, 7, 8]
    assert found[2].tolist() == [9, 9, 7, 8]  # south of the last two is a value, west none


def test_coasts_meet_across_the_seam_of_a_globe_alone():
    field = [[nan, nan, 3.0, 4.0]] * 3
    assert coast([0, 90, 180, 270], field)[0].tolist() == [4, 3, 3, 4]
    assert coast([0, 20, 40, 60], field)[0, 1:].tolist() == [3, 3, 4]
    assert np.isnan(coast([0, 20, 40, 60], field)[:, 0]).all()
    poles = [[nan] * 4, [nan] * 4, [1.0] * 4]
    assert np.isnan(coast([0, 90, 180, 270], poles)[0]).all()


def test_land_stays_nan():
    assert np.isnan(coast([0, 5], [[1.0, nan]] * 3, sea=False)[:, 1]).all()
