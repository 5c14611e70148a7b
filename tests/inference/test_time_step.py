"""Rain at another time step: storms keep their speed and their peak, and no stamp holds the future.

Small storms whose motion is known, so that the frames in between are too.
"""

import warnings

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.inference.time_step import BLOCK

RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}
INSIDE = {
    "y": slice(8, 88),
    "x": slice(40, 80),
}  # what comes in over the edge is in one of two frames alone


def storms(frames=13, minutes=5, speed=0.8, size=96):
    """Storms that move `speed` pixels a minute along x, a frame every few minutes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size]
    where = rng.uniform((0, -20), (size, size - 30), (16, 2))
    values = [
        sum(6 * np.exp(-((y - a) ** 2 + (x - b - speed * t) ** 2) / 50) for a, b in where)
        for t in np.arange(frames) * minutes
    ]
    start = pd.Timestamp("2016-07-11T22:00")
    coords = {
        "time": pd.to_datetime(
            [start + pd.Timedelta(minutes=t) for t in range(0, frames * minutes, minutes)]
        ),
        "y": ("y", 1e3 * np.arange(size)[::-1], {"units": "m"}),
        "x": ("x", 1e3 * np.arange(size), {"units": "m"}),
        "crs": ((), 0, {"grid_mapping_name": "polar_stereographic"}),
    }
    attrs = {**RAIN, "grid_mapping": "crs", "history": "made"}
    return xr.DataArray(np.array(values, "f4"), coords, ("time", "y", "x"), "rain", attrs)


def minutes_of(da):
    return (
        (da["time"] - np.datetime64("2016-07-11T22:00")) // np.timedelta64(1, "m")
    ).values.tolist()


def speed_of(da):
    """Pixels a frame, by the column that the rain's mass is centred on; no rain is near an edge."""
    column = (da * np.arange(da.sizes["x"])).sum(["y", "x"]) / da.sum(["y", "x"])
    return column.diff("time").values


def one_storm(minutes, times=(0, 10, 20), speed=1.2):
    """One storm of 10 mm/h at its middle, which stays away from the edges."""
    y, x = np.mgrid[:96, :96]
    values = [10 * np.exp(-((y - 48) ** 2 + (x - 30 - speed * t) ** 2) / 40) for t in times]
    time = np.datetime64("2016-07-11T22:00") + np.array(times, "m8[m]")
    return xr.DataArray(np.array(values, "f4"), {"time": time}, ("time", "y", "x"), "rain", RAIN)


# --- to a shorter step


@pytest.mark.parametrize("minutes", [10, 15])
def test_frames_in_between_are_where_the_storms_are(minutes):
    every = storms()
    rain = every[:: minutes // 5]
    new = xef.to_step(rain, "5min")
    assert minutes_of(new) == list(range(0, 61, 5))
    wrong = [np.abs(da - every).isel(INSIDE).mean() for da in (new, rain.interp_like(every))]
    assert wrong[0] < 0.03 * wrong[1]
    kept = new.sel(time=rain["time"])
    np.testing.assert_array_equal(kept, rain)  # the record's own frames are as they were


def test_a_storm_keeps_its_speed_and_its_peak():
    new = xef.to_step(one_storm(10), "5min")
    np.testing.assert_allclose(speed_of(new), 6, rtol=0.02)
    np.testing.assert_allclose(new.max(["y", "x"]), 10, rtol=0.02)
    # what the mean of two frames makes of it: the same centre, but two storms of half the rain
    assert one_storm(10).interp(time=new["time"])[1].max() < 6


def test_nothing_moves_where_nothing_falls():
    dry = 0 * storms()[::2]
    assert float(xef.to_step(dry, "5min").max()) == 0


def test_steps_that_do_not_divide():
    every = storms(frames=61, minutes=1)
    new = xef.to_step(every[::15], "10min")
    assert minutes_of(new) == [0, 10, 20, 30, 40, 50, 60]
    np.testing.assert_allclose(new.isel(INSIDE), every[::10].isel(INSIDE), atol=0.1)


# --- to a longer step


def test_a_longer_step_is_the_mean_of_its_frames():
    rain = storms(frames=12, minutes=1)[1:]  # 22:01 to 22:11
    new = xef.to_step(rain, "5min")
    assert minutes_of(new) == [5, 10]  # closed and labelled at the end; 22:15 isn't whole
    np.testing.assert_allclose(new[0], rain[:5].mean("time"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new[1], rain[5:10].mean("time"), rtol=1e-5, atol=1e-6)


def test_frames_that_do_not_divide_a_longer_step():
    every = storms(frames=41, minutes=1)
    new = xef.to_step(every[::2], "5min")
    truth = xef.to_step(every, "5min")
    assert minutes_of(new) == minutes_of(truth) == [5, 10, 15, 20, 25, 30, 35, 40]
    wrong = np.abs(new - truth).isel(INSIDE)
    plain = every[::2].resample(time="5min", closed="right", label="right").mean()
    assert wrong.mean() < 0.1 * np.abs(plain - truth).isel(INSIDE).mean()
    np.testing.assert_allclose(speed_of(new.isel(INSIDE)), speed_of(truth.isel(INSIDE)), atol=0.05)


def test_the_first_frame_stands_for_a_step():
    rain = storms(frames=11, minutes=2)[1:]  # 22:02 to 22:20, from 22:00 on
    assert minutes_of(xef.to_step(rain, "5min")) == [5, 10, 15, 20]
    assert minutes_of(xef.to_step(rain[1:], "5min")) == [10, 15, 20]


def test_frames_at_half_minutes_are_averaged_as_they_are():
    rain = storms(frames=10, minutes=1)
    rain = rain.assign_coords(time=rain["time"] + np.timedelta64(30, "s"))
    new = xef.to_step(rain, "5min")
    assert minutes_of(new) == [5]
    np.testing.assert_allclose(new[0], rain[:5].mean("time"), rtol=1e-5, atol=1e-6)


def test_no_stamp_holds_what_came_after_it():
    rain = storms(frames=31, minutes=2)
    later = rain.where(rain["time"] <= rain["time"][20], 99.0)  # to 22:40
    seen = [xef.to_step(da, "10min").sel(time="2016-07-11T22:40") for da in (rain, later)]
    np.testing.assert_array_equal(*seen)


# --- what is missing, and what is irregular


def test_missing_frames_are_bridged_along_the_motion():
    every = storms()
    gaps = every[[0, 1, 2, 4, *range(6, 13)]]
    empty = every.where(~every["time"].isin(every["time"][[2, 3]]))[[*range(11), 12]]  # and a gap
    for holed in (gaps, empty):
        new = xef.to_step(holed, "5min")
        assert minutes_of(new) == list(range(0, 61, 5))
        np.testing.assert_allclose(new.isel(INSIDE), every.isel(INSIDE), atol=0.2)


def test_a_long_gap_stays_missing():
    every = storms(frames=25)
    new = xef.to_step(every[[*range(8), *range(15, 25)]], "5min")  # 22:35 to 23:15
    lost = new.isnull().all(["y", "x"])
    assert np.flatnonzero(lost).tolist() == list(range(8, 15))
    assert not new[~lost].isnull().any()


def test_pixels_that_no_radar_sees():
    rain = storms()[::2]
    blind = rain.where(rain["y"] < 80e3)
    new = xef.to_step(blind, "5min")
    assert bool((new.isnull() == blind[0].isnull().drop_vars("time")).all())
    # seen in every other frame alone: there from that one
    half = rain.where((rain["y"] < 80e3) | rain["time"].isin(rain["time"][::2]))
    new = xef.to_step(half, "5min")
    assert not new[1::2].isnull().any()
    np.testing.assert_allclose(new[1].isel(INSIDE), storms()[1].isel(INSIDE), atol=0.6)


def test_irregular_frames_come_onto_whole_steps():
    every = storms(frames=61, minutes=1)
    rain = every[[0, 6, 11, 15, 22, 26, 31, 37, 41, 45, 52, 57]]
    new = xef.to_step(rain, "5min")
    assert minutes_of(new)[0] in (0, 5) and minutes_of(new)[-1] == 55
    truth = every.sel(time=new["time"])
    assert np.abs(new - truth).isel(INSIDE).mean() < 0.1 * np.abs(truth).isel(INSIDE).mean()


def test_seconds_off_count_as_whole_minutes():
    rain = storms()[::2]
    off = np.array([3, -5, 0, 9, -2, 0, 4], "m8[s]")
    jittered = rain.assign_coords(time=rain["time"] + off)
    xr.testing.assert_identical(xef.to_step(jittered, "5min"), xef.to_step(rain, "5min"))


# --- labels


def test_the_form_is_the_users():
    rain = storms()[::2]
    rate = (rain / 3.6e6).assign_attrs({**rain.attrs, "units": "m s-1"}).astype("f8")
    mine = rate.rename(time="valid_time", y="north", x="east").transpose(
        "east", "valid_time", "north"
    )
    mine["valid_time"].attrs["standard_name"] = "time"
    mine["north"].attrs["standard_name"] = "projection_y_coordinate"
    mine["east"].attrs["standard_name"] = "projection_x_coordinate"
    mine.encoding["grid_mapping"] = "crs"
    new = xef.to_step(mine.to_dataset(name="rain"), "5min")
    assert new.dims == mine.dims and new.dtype == "f8" and new.name == "rain"
    assert new.attrs.items() > {**RAIN, "units": "m s-1", "grid_mapping": "crs"}.items()
    made, said = new.attrs["history"].splitlines()
    assert made == "made" and "every 10 min to every 5 min along the motion" in said
    assert new["valid_time"].attrs == {"standard_name": "time"}
    xr.testing.assert_identical(new["crs"], mine["crs"])
    xr.testing.assert_identical(new["north"], mine["north"])
    assert new.encoding["grid_mapping"] == "crs"
    plain = xef.to_step(rain, "5min").transpose("x", "time", "y")
    np.testing.assert_allclose(new * 3.6e6, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("minutes", "step", "words"),
    [
        (
            [0, 5, 10, 15],
            "10min",
            "every 5 min to every 10 min, each the mean of the frames in its step",
        ),
        (
            [0, 10, 20, 30],
            "15min",
            "every 10 min to every 15 min, each the mean of the frames in its step, frames in "
            "between along the motion",
        ),
        (
            [0, 5, 10, 20, 25],
            "5min",
            "every 5 min to every 5 min; 1 missing frame bridged along the motion",
        ),
    ],
)
def test_history_says_what_frames_are(minutes, step, words):
    new = xef.to_step(one_storm(5, times=minutes), step)
    assert new.attrs["history"].partition(": ")[2] == words


def test_what_has_the_step_is_left_alone():
    rain = storms()
    assert xef.to_step(rain, np.timedelta64(5, "m")) is rain


@pytest.mark.parametrize("stride, step", [(2, "5min"), (1, "15min")])
def test_lazy_and_eager_are_the_same_bits(stride, step):
    rain = storms(frames=37)[::stride]
    new = xef.to_step(rain, step)
    for chunks in ({"time": 1, "x": 50}, {"time": -1}):
        lazy = xef.to_step(rain.chunk(chunks), step)
        assert lazy.chunks is not None and max(lazy.chunks[0]) <= BLOCK
        xr.testing.assert_identical(lazy.compute(), new)


# --- what it refuses


REFUSED = {
    "months": (
        lambda: storms(3).assign_coords(time=pd.date_range("2000-01", periods=3, freq="MS")),
        "every 30 minutes or more often.*found every 30 days",
    ),
    "hours": (lambda: storms(5, 60), "every 30 minutes or more often.*found every 0 days 01"),
    "reflectivity": (
        lambda: storms(3).assign_attrs(standard_name="equivalent_reflectivity_factor"),
        "rainfall_rate.*xef.open_radar",
    ),
    "one frame": (lambda: storms(1), "2 times or more"),
    "descending": (lambda: storms(3)[::-1], r'ascending time.*sortby\("time"\)'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_refuses(case):
    data, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        xef.to_step(data(), "15min")


@pytest.mark.parametrize("step", ["soon", "MS", 0, "-5min", None])
def test_steps_that_are_none(step):
    with pytest.raises(ValueError, match=r'a time step.*\n.*\n.*step="5min"'):
        xef.to_step(storms(3), step)


def test_a_record_shorter_than_a_step():
    da = storms(3)
    with pytest.raises(ValueError, match="a whole step of 60 min") as error:
        xef.to_step(da, "1h")
    line = str(error.value).split(" or ")[-1]
    assert line == 'xef.to_step(da, "5min")'
    assert eval(line, {"xef": xef, "da": da}) is da


# --- real rain


@pytest.mark.shared
def test_frames_that_were_left_out_come_back(shared):
    every = xef.open_radar(shared / "data" / "radar_mch_20160711.nc")
    every = every.isel(time=slice(0, 13), y=slice(200, 456), x=slice(200, 456)).load()
    rain = every[::2]
    ways = {
        "along the motion": xef.to_step(rain, "5min"),
        "linear": rain.interp_like(every),
        "as before": rain.reindex_like(every, method="ffill"),
    }
    truth = every[1::2].values
    seen = ~np.isnan(truth)
    error = {name: np.mean((da[1::2].values - truth)[seen] ** 2) for name, da in ways.items()}
    assert error["along the motion"] < 0.35 * error["linear"] < 0.35 * error["as before"]
    heavy = {
        name: ((da[1::2].values >= 5) & (truth >= 5)).sum()
        / ((da[1::2].values >= 5) | (truth >= 5)).sum()
        for name, da in ways.items()
    }
    assert heavy["along the motion"] > heavy["linear"] + 0.15 > heavy["as before"] + 0.15


class TestForecastsFromFramesInBetween:
    """A frame in between is made of the next one: a forecast from it is not to be scored."""

    def test_each_frame_names_the_newest_that_it_was_made_of(self):
        stepped = xef.to_step(storms(minutes=10, frames=4), "5min")
        assert minutes_of(stepped) == [0, 5, 10, 15, 20, 25, 30]
        newest = stepped["newest"]
        ahead = (newest - stepped["time"]) // np.timedelta64(1, "m")
        assert ahead.values.tolist() == [0, 5, 0, 5, 0, 5, 0]

    def test_a_frame_of_nan_is_bridged_by_a_later_one(self):
        rain = storms(minutes=10, frames=4)
        rain[1] = np.nan
        stepped = xef.to_step(rain, "5min")
        assert minutes_of(stepped) == [0, 5, 10, 15, 20, 25, 30]
        ahead = (stepped["newest"] - stepped["time"]) // np.timedelta64(1, "m")
        assert ahead.values.tolist() == [0, 15, 10, 5, 0, 5, 0]

    def test_a_mean_of_what_was_seen_knows_nothing_later(self):
        means = xef.to_step(storms(minutes=5, frames=7), "10min")
        assert (means["newest"] == means["time"]).all()

    @pytest.mark.parametrize("method", ["extrapolation", "persistence"])
    def test_a_forecast_from_one_warns_and_says_which_to_take(self, method):
        def make(rain, **options):
            if method == "persistence":
                return xef.forecast(rain, method, **options)
            pytest.importorskip("pysteps")
            return xef.extrapolate(rain, method=method, **options)

        rain = xef.to_step(storms(minutes=10, frames=7), "5min")
        with pytest.warns(UserWarning, match="know frames after them") as said:
            fc = make(rain, init=slice("2016-07-11T22:20", "2016-07-11T22:50"), lead=2)
        assert "inits know frames after them" in fc.attrs["history"]
        text = next(str(w.message) for w in said if "know frames" in str(w.message))
        line = text[text.index("init=") :].removesuffix(" has those that don't")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            honest = make(rain, lead=2, **eval(f"dict({line})"))
        assert honest["init"].dt.minute.values.tolist() == [20, 30, 40, 50]
        assert "know frames" not in honest.attrs["history"]

    @pytest.mark.parametrize("door", ["forecast", "extrapolate", "hindcast"])
    def test_a_missing_frame_of_lazy_data_is_told_when_it_is_read(self, door):
        """10 minutes to 5: of three whole stamps the middle one is NaN, and bridged by the next."""

        def refuse(dsk, keys, **kwargs):
            raise AssertionError("something was computed")

        rain = storms(minutes=10, frames=6)
        rain[3] = np.nan
        eager, lazy = (xef.to_step(da, "5min") for da in (rain, rain.chunk(time=2)))
        assert lazy["newest"].chunks is not None
        xr.testing.assert_identical(lazy.compute(), eager)
        init = ["2016-07-11T22:20", "2016-07-11T22:30", "2016-07-11T22:40"]
        said = "1 of 3 inits know frames after them"
        if door == "forecast":
            with warnings.catch_warnings(), dask.config.set(scheduler=refuse):
                warnings.simplefilter("error")
                fc = xef.forecast(lazy, "persistence", init=init, lead=1)
            assert "may know frames after them" in fc.attrs["history"]
            with pytest.warns(UserWarning, match="2016-07-11 22:30:00: .*know frames after"):
                fc.compute(scheduler="synchronous")
            return
        pytest.importorskip("pysteps") if door == "extrapolate" else pytest.importorskip("zarr")
        with pytest.warns(UserWarning, match=said) as told:
            if door == "extrapolate":
                fc = xef.extrapolate(lazy, init=init, lead=1)
                assert said in fc.attrs["history"]
            else:
                xef.hindcast(lazy, "persistence", "memory://later.zarr", init=init, lead=1)
        assert sum(said in str(each.message) for each in told) == 1

    def test_a_call_warns_once_whatever_it_forecasts(self):
        rain = xef.to_step(storms(minutes=10, frames=4), "5min")
        rain = rain.expand_dims(model=2)  # each is forecast by itself
        with pytest.warns(UserWarning, match="1 of 1 inits know frames after") as told:
            xef.forecast(rain, "persistence", init="2016-07-11T22:15", lead=1)
        assert len(told) == 1
