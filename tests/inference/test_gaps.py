"""Nowcasts from records with missing frames: what is not there is not zero rain."""

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from small_still import still_pack

import xearthformer as xef

INIT = "2016-07-11T22:00"
RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}


def storm(frames=20, size=128, speed=3.0):
    """Showers that move 3 km every five minutes to the east; the last frame at 22:00."""
    time = xr.date_range(end=INIT, periods=frames, freq="5min")
    y, x = 1000.0 * np.arange(size)[::-1], 1000.0 * np.arange(size)
    rows, columns = np.mgrid[:size, :size]
    at = [(30, 20, 8.0), (64, 50, 15.0), (100, 35, 5.0), (50, 90, 10.0)]
    rain = np.stack(
        [
            sum(
                peak * np.exp(-((rows - r) ** 2 + (columns - c - speed * k) ** 2) / 90)
                for r, c, peak in at
            )
            for k in range(frames)
        ]
    )
    coords = {"time": time, "y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"})}
    return xr.DataArray(rain.astype("f4"), coords, ("time", "y", "x"), name="rain", attrs=RAIN)


def nowcast(rain, **options):
    return rain.earthformer.forecast("nowcast-radar", lead=3, **options)


@pytest.fixture(scope="module")
def whole():
    return nowcast(storm(), init=INIT)


def error(fc, whole):
    """Mean absolute error in mm/h over pixels 40 km from the edges."""
    inside = {"y": slice(40, 88), "x": slice(40, 88)}
    return float(np.abs(fc - whole).isel(inside).mean())


def test_frames_of_nan_before_the_init_change_little(whole):
    rain = storm()
    rain[-3:-1] = np.nan
    with pytest.warns(UserWarning, match="2 of 4 frames"):
        fc = nowcast(rain, init=INIT)
    assert error(fc, whole) < 0.1
    dry = nowcast(rain.fillna(0), init=INIT)  # what zeros would do
    assert error(dry, whole) > 5 * error(fc, whole)


def test_stamps_that_are_missing_are_frames_that_are(whole):
    rain = storm()
    with pytest.warns(UserWarning, match="2 of 4 frames are missing"):
        fc = nowcast(rain.drop_isel(time=[-2, -3]), init=INIT)
    assert error(fc, whole) < 0.1
    assert "2 of 4 frames are missing" in fc.attrs["history"]
    with pytest.warns(UserWarning, match="1 of 4 frames are missing"):
        late = nowcast(rain.drop_isel(time=-2), init=INIT)
    assert error(late, whole) < 0.1


def test_the_last_frame_may_be_missing(whole):
    rain = storm()
    rain[-1] = np.nan
    with pytest.warns(UserWarning, match="1 of 4 frames .*, the newest among them"):
        fc = nowcast(rain, init=INIT)
    assert fc.init.item() == whole.init.item() and error(fc, whole) < 0.2
    assert fc.notnull().all()


def test_two_frames_give_a_forecast_with_a_warning_and_one_an_error(whole):
    with pytest.warns(UserWarning, match="2 of 4 frames are missing and read as not seen"):
        fc = nowcast(storm()[-2:])
    assert error(fc, whole) < 0.3
    with pytest.raises(ValueError, match="2 frames with values or more among the 4"):
        nowcast(storm()[-1:])
    alone = storm()
    alone[:-1] = np.nan
    with pytest.raises(ValueError, match=re.escape("1 up to 2016-07-11 22:00:00")):
        nowcast(alone)


def test_a_gap_elsewhere_in_the_record_does_not_matter(whole):
    rain = storm(frames=40)
    rain = rain.drop_isel(time=list(range(5, 15)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fc = nowcast(rain)
    own = nowcast(storm(frames=40))
    xr.testing.assert_identical(fc.drop_attrs(), own.drop_attrs())


def test_inits_of_a_slice_in_a_record_with_a_gap():
    rain = storm(size=64)
    with pytest.warns(UserWarning, match="1 of 4 frames are missing"):
        fc = nowcast(rain.drop_isel(time=10), init=slice(None))
    assert fc.sizes["init"] == 16


def test_lazy_and_eager_forecasts_of_a_gappy_record_are_the_same():
    rain = storm().drop_isel(time=-3)
    with pytest.warns(UserWarning):
        eager, lazy = nowcast(rain), nowcast(rain.chunk(time=4))
    assert lazy.chunks is not None and lazy["known"].chunks is not None
    xr.testing.assert_identical(eager, lazy.compute())


def test_known_is_a_coordinate_on_the_users_own_grid(whole):
    known = whole["known"]
    assert known.dims == ("init", "lead", "y", "x") and known.dtype == np.float32
    assert known.attrs == {
        "long_name": "share of the value that stems from what was seen",
        "units": "1",
    }
    # 3 km a step come in over the western edge; nothing else does
    assert (known.isel(lead=2, x=slice(30, None)) > 0.99).all()
    assert (known.isel(lead=2, x=0) < known.isel(lead=0, x=0)).all()
    flipped = nowcast(storm().transpose("x", "time", "y")[::-1], init=INIT)
    assert flipped["known"].dims == ("init", "lead", "x", "y")
    same = flipped["known"].transpose(*known.dims).sel(x=known.x)
    np.testing.assert_allclose(same.values, known.values, atol=1e-4)


def test_beyond_nan_says_nothing_where_little_is_known(whole):
    fc = nowcast(storm(frames=13, speed=6.0), init=INIT, beyond="nan")
    assert (fc.notnull() == (fc["known"] >= 0.5)).all()
    assert fc.isnull().any() and whole.notnull().all()
    assert "NaN" in fc.attrs["history"]
    with pytest.raises(ValueError, match="a nowcast, for beyond"):
        storm().earthformer.forecast("persistence", init=INIT, lead=3, beyond="nan")
    with pytest.raises(ValueError, match="beyond as one of"):
        nowcast(storm(), beyond="mirror")


def test_what_no_frame_has_seen_stays_nan():
    rain = storm()
    rain[:, :10] = np.nan  # no radar there
    rain[-1, 50:60] = np.nan  # one that was off for the last frame
    fc = nowcast(rain, init=INIT)
    assert fc.isel(y=slice(0, 10)).isnull().all()
    assert fc.isel(y=slice(10, None)).notnull().all()


def test_members_go_on_without_frames_too():
    rain = storm(frames=13)
    rain = rain.isel(time=slice(None, None, 2)).assign_attrs(RAIN)
    gappy = rain.copy()
    gappy[-2] = np.nan
    with pytest.warns(UserWarning, match="1 of 7 frames"):
        fc = gappy.earthformer.forecast("prediff-radar", members=2, steps=3, lead=2)
    own = rain.earthformer.forecast("prediff-radar", members=2, steps=3, lead=2)
    assert fc["known"].dims == ("init", "lead", "y", "x")
    xr.testing.assert_allclose(fc["known"], own["known"], atol=0.1)
    wet = own.isel(x=slice(30, 100)).mean(), fc.isel(x=slice(30, 100)).mean()
    assert float(wet[1]) == pytest.approx(float(wet[0]), rel=0.25)


def test_a_gap_of_a_day_is_no_matter_for_slices_lists_and_hindcasts(whole, tmp_path):
    """Two events in one record, a day apart: each init has its own frames."""
    two = xr.concat(
        [storm(), storm().assign_coords(time=storm().time + np.timedelta64(1, "D"))], "time"
    )
    inits = [np.datetime64(INIT), np.datetime64(INIT) + np.timedelta64(1, "D")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fc = nowcast(two, init=inits)
    with pytest.warns(UserWarning, match="2 of 4 frames"):  # after the gap there are two
        every = nowcast(two, init=slice(None, None, 7))
    assert fc.chunks is None and fc["init"].values.astype("M8[s]").tolist() == [
        stamp.astype("M8[s]").item() for stamp in inits
    ]
    for one in range(2):
        np.testing.assert_array_equal(fc[one].values, whole[0].values)
    assert set(every["init"].values) <= set(two["time"].values) and every.sizes["init"] == 5
    hind = xef.hindcast(two, "nowcast-radar", tmp_path / "h.zarr", init=inits, lead=3)
    np.testing.assert_array_equal(hind["rain"].values, fc.values)
    np.testing.assert_array_equal(hind["known"].values, fc["known"].values)


def test_inits_of_a_slice_are_times_of_the_record():
    rain = storm(size=64).drop_isel(time=14)
    with pytest.warns(UserWarning, match="1 of 4 frames"):
        fc = nowcast(rain, init=slice(None))
    assert set(fc["init"].values) <= set(rain["time"].values) and fc.sizes["init"] == 16


def test_known_is_a_share_in_any_units(whole):
    flux = (storm() / 3600).assign_attrs(RAIN, units="kg m-2 s-1").astype("f8")
    fc = nowcast(flux, init=INIT)
    np.testing.assert_allclose(fc["known"].values, whole["known"].values, atol=1e-4)
    assert fc["known"].dtype == np.float32 and fc.dtype == np.float64


def test_known_of_each_realization():
    mirrored = storm()[:, :, ::-1].assign_coords(x=storm().x)
    fc = nowcast(xr.concat([storm(), mirrored], "realization"), init=INIT)
    assert fc["known"].dims == ("init", "lead", "realization", "y", "x")
    for k, each in enumerate((storm(), mirrored)):
        own = nowcast(each, init=INIT)["known"].values
        np.testing.assert_array_equal(fc["known"].isel(realization=k).values, own)


def test_infinite_rain_is_refused_and_its_mend_works():
    rain = storm()
    rain[-1, 5, 5] = np.inf
    with pytest.raises(ValueError, match=re.escape("da.where(np.isfinite(da))")):
        nowcast(rain, init=INIT)
    assert nowcast(rain.where(np.isfinite(rain)), init=INIT).notnull().all()


@pytest.mark.parametrize("chunks", [None, {"time": 1}])
def test_a_last_frame_without_values_is_said(tmp_path, chunks):
    """By packs that take missing values as they are: what they give is made of nothing."""
    pack = still_pack(tmp_path, context=2, lead=1)
    rain = storm(size=8).isel(y=slice(0, 4), x=slice(0, 6)).copy()
    rain[[7, 12]] = np.nan
    lazy = rain if chunks is None else rain.chunk(chunks)
    with pytest.warns(UserWarning, match="in the last frame, of 2016-07-11 21:00:00 and 1"):
        fc = lazy.earthformer.forecast(pack, init=slice(None)).compute(scheduler="synchronous")
    np.testing.assert_array_equal(fc.isnull().all(["lead", "y", "x"]).sum(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        rain.earthformer.forecast(pack)  # the latest init, whose frames are there


def test_one_pixel_is_enough(tmp_path):
    rain = storm(size=8).isel(y=slice(0, 4), x=slice(0, 6)).copy()
    rain[-1] = rain[-1].where(rain[-1] == rain[-1, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        rain.earthformer.forecast(still_pack(tmp_path, context=2, lead=1))
