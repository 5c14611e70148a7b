"""Verification: the golden values of SEVIR, alignment by labels, and what is refused."""

import json
from pathlib import Path

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.climate.regions import cell_areas
from xearthformer.verification import scores
from xearthformer.verification.regimes import by_regime
from xearthformer.verification.verify import default_thresholds, statistics, verify

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics_sevir.json").read_text())
RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}
METRES = {"units": "m", "standard_name": "projection_y_coordinate"}
STEP = np.timedelta64(300, "s")


def observations(values, start: str = "2016-07-11T21:00") -> xr.DataArray:
    """Frames (time, y, x) every 5 minutes, rows from north to south, pixels of 1 km."""
    values = np.asarray(values, float)
    time, y, x = (np.arange(size) for size in values.shape)
    coords = {
        "time": pd.Timestamp(start).to_datetime64() + time * STEP,
        "y": ("y", -1000.0 * y, METRES),
        "x": ("x", 1000.0 * x, {**METRES, "standard_name": "projection_x_coordinate"}),
    }
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain", RAIN)


def forecasts(observed: xr.DataArray, values, inits=(0,)) -> xr.DataArray:
    """Forecasts (init, lead, y, x) from these positions."""
    values = np.asarray(values, float)
    init = observed.time.values[list(inits)]
    lead = np.arange(1, values.shape[1] + 1) * STEP
    coords = {
        "init": init,
        "lead": lead,
        "valid_time": (("init", "lead"), init[:, None] + lead),
        "y": observed.y,
        "x": observed.x,
    }
    return xr.DataArray(values, coords, ("init", "lead", "y", "x"), "rain", RAIN)


@pytest.fixture
def small():
    """Five frames 2 x 2, and forecasts of three leads from the first two."""
    rng = np.random.default_rng(0)
    observed = observations(rng.gamma(0.5, 4, (5, 2, 2)))
    return forecasts(observed, rng.gamma(0.5, 4, (2, 3, 2, 2)), [0, 1]), observed


# --- the numbers


@pytest.fixture(scope="module")
def sevir() -> xr.Dataset:
    """The scores of GOLDEN["input"], its samples an hour and more apart."""
    rng = np.random.default_rng(7)
    pred = rng.beta(0.6, 1.2, (3, 12, 24, 24, 1)).astype("f4")
    target = np.clip(pred + 0.25 * rng.standard_normal(pred.shape), 0, 1).astype("f4")
    pred, target = pred[..., 0] * 255, target[..., 0] * 255
    frames = np.concatenate([np.pad(sample, ((1, 0), (0, 0), (0, 0))) for sample in target])
    observed = observations(frames.astype("f4")).rename("vil").assign_attrs(units="1")
    fc = forecasts(observed, pred, [0, 13, 26]).assign_attrs(units="1").rename("vil")
    return verify(fc, observed)


@pytest.mark.parametrize("name", ["csi", "pod", "sucr", "bias"])
def test_sevir_golden(sevir, name):
    habit = (lambda da: (da / np.log(2)) ** 2) if name == "bias" else (lambda da: da)
    pooled, by_lead = habit(sevir[f"{name}_pooled"]), habit(sevir[name])
    for threshold in map(str, GOLDEN["thresholds"]):
        at = {"threshold": float(threshold)}
        expected = [GOLDEN["modes"][mode][threshold][name] for mode in "012"]
        found = [pooled.sel(at), by_lead.sel(at), by_lead.sel(at).mean("lead")]
        for one, golden in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, golden, rtol=1e-5)
    expected = [GOLDEN["modes"][mode]["avg"][name] for mode in "01"]
    for one, golden in zip((pooled, by_lead), expected, strict=True):
        np.testing.assert_allclose(one.mean("threshold"), golden, rtol=1e-5)


def test_sevir_golden_csi_m(sevir):
    for name, mode in (("csi_m_pooled", "0"), ("csi_m", "1")):
        expected = GOLDEN["modes"][mode]["avg"]["csi"]
        np.testing.assert_allclose(sevir[name], expected, rtol=1e-5)


def test_sevir_thresholds_are_the_default_for_vil(sevir):
    assert sevir["threshold"].values.tolist() == GOLDEN["thresholds"]
    assert sevir["n"].values.tolist() == [3 * 24 * 24] * 12


def test_scores_by_hand():
    # One frame, thresholds 2 and 9: hit 1, miss 1, false alarm 1; then nothing at all.
    observed = observations([[[0, 0], [0, 0]], [[4, 1], [5, 0]]])
    fc = forecasts(observed, [[[[3, 2], [1, 0]]]])
    found = verify(fc, observed, thresholds=[2, 9])
    at_2 = {name: found[name].sel(threshold=2).item() for name in ("csi", "pod", "sucr", "bias")}
    assert at_2 == {"csi": 1 / 3, "pod": 1 / 2, "sucr": 1 / 2, "bias": 1}
    assert found["csi"].sel(threshold=9).isnull().all()
    assert found["csi_m"].values.tolist() == [1 / 3]
    # Errors -1, 1, -4, 0.
    assert found["mse"].values.tolist() == [18 / 4]
    assert found["rmse"].values.tolist() == [np.sqrt(18 / 4)]
    assert found["mae"].values.tolist() == [6 / 4]
    assert found["me"].values.tolist() == [-4 / 4]
    expected = np.corrcoef([3, 2, 1, 0], [4, 1, 5, 0])[0, 1]
    np.testing.assert_allclose(found["correlation"], [expected])
    assert found["n"].values.tolist() == [4]
    assert found.attrs["pairs"] == "1 of 1 frames from 1 init"
    assert found["mse"].attrs["units"] == "(mm h-1)^2" and found["csi"].attrs["units"] == "1"
    assert found["threshold"].attrs["units"] == "mm h-1"


def test_leads_are_pooled_before_the_score_is_taken():
    # Lead 1: one hit. Lead 2: one hit, three misses. CSI 1 and 1/4; of both leads 2 / 5.
    observed = observations([[[0, 0]] * 2, [[1, 0], [0, 0]], [[1, 1], [1, 1]]])
    fc = forecasts(observed, [[[[1, 0], [0, 0]], [[1, 0], [0, 0]]]])
    found = verify(fc, observed, ["csi"], thresholds=[1])
    assert found["csi"].values.ravel().tolist() == [1, 1 / 4]
    assert found["csi_pooled"].values.tolist() == [2 / 5]


def test_fss_pools_over_frames():
    # Windows of one pixel: errors and squares of the frames are 2 and 2, then 0 and 2: 1 - 2 / 4.
    observed = observations([[[0, 0]] * 2, [[1, 0], [0, 0]], [[1, 0], [0, 0]]])
    fc = forecasts(observed, [[[[0, 1], [0, 0]], [[1, 0], [0, 0]]]])
    found = verify(fc, observed, ["fss"], thresholds=[1], window=1)
    assert found["fss"].values.ravel().tolist() == [0, 1]
    assert found["fss_pooled"].values.tolist() == [1 / 2]


@pytest.mark.parametrize(
    ("window", "words"),
    [(3, "3 px: 3 x 3"), ("4 km", "4 km: 4 x 4"), ("2500m", "2500m: 2 x 2"), ("0.3 km", "1 x 1")],
)
def test_a_window_is_pixels_or_a_length(small, window, words):
    assert words in verify(*small, window=window).attrs["fss_window"]


def test_a_window_wider_than_the_domain_is_the_domain(small):
    found = [verify(*small, ["fss"], window=window)["fss"] for window in (4, "9 km", "1 parsec")]
    xr.testing.assert_allclose(found[1], found[0])
    xr.testing.assert_allclose(found[2], found[0])


def test_a_window_on_latitude_and_longitude():
    observed = observations(np.zeros((2, 3, 4)))
    # 0.1 degrees: 11.1 km northward, and half of that eastward at 60 N.
    cells = {"y": [60.1, 60.0, 59.9], "x": [10.0, 10.1, 10.2, 10.3]}
    observed = observed.assign_coords(cells).rename(y="lat", x="lon")
    fc = forecasts(observed.rename(lat="y", lon="x"), np.zeros((1, 1, 3, 4)))
    found = verify(fc.rename(y="lat", x="lon"), observed, window="22.3 km")
    assert found.attrs["fss_window"] == "22.3 km: 2 x 4 pixels"


def test_errors_are_weighted_by_area_on_latitude_and_longitude():
    # Bands 30S..30N and 30N..90N: sines reach over 1 and 1/2. Errors 1 and 4: (1 + 8) / 1.5.
    observed = observations(np.zeros((2, 2, 2)))
    cells = {"y": [0.0, 60.0], "x": [0.0, 10.0]}
    names = {"y": "lat", "x": "lon"}
    fc = forecasts(observed, [[[[1, 1], [4, 4]]]]).assign_coords(cells).rename(names)
    found = verify(fc, observed.assign_coords(cells).rename(names), ["mse", "me", "mae"])
    np.testing.assert_allclose(found["mse"], (1 + 16 / 2) / 1.5)
    np.testing.assert_allclose(found["me"], (1 + 4 / 2) / 1.5)
    assert found["n"].item() == 4


@pytest.mark.parametrize("north_first", [False, True])
def test_areas_of_the_globe_add_up(north_first):
    # sin 90 - sin -90 is 2, and there are 360 degrees; a cell at the pole ends there.
    lat, lon = np.arange(-90.0, 91, 30), np.arange(-180.0, 180, 60)
    coords = {"lat": lat[::-1] if north_first else lat, "lon": lon}
    areas = cell_areas(xr.DataArray(np.zeros((7, 6)), coords, ("lat", "lon")))
    assert areas.sum().item() == pytest.approx(720)
    np.testing.assert_allclose(areas[3], 60 * 2 * np.sin(np.radians(15)))


def test_missing_pairs_count_for_nothing(small):
    fc, observed = small
    holes = observed.copy()
    holes[1, 0, 0] = np.nan  # lead 1 of the first init
    fc[1, 1, 1, 1] = np.nan  # lead 2 of the second
    found = verify(fc, holes, ["mse", "csi"])
    assert found["n"].values.tolist() == [7, 7, 8]
    pairs = fc.isel(lead=0).values, np.stack([holes[1].values, holes[2].values])
    np.testing.assert_allclose(found["mse"][0], np.nanmean((pairs[0] - pairs[1]) ** 2))


# --- sums add up, lazily


EVERY = [name for name, each in scores.SCORES.items() if each.group.least_members < 2]


def test_sums_of_inits_and_machines_add_up(small):
    fc, observed = small
    whole = verify(fc, observed, EVERY, window=2)
    parts = [statistics(fc[i : i + 1], observed, EVERY, window=2) for i in (0, 1)]
    joined = scores.score(xr.concat(parts, "init"), EVERY)
    xr.testing.assert_allclose(joined, whole)
    added = scores.score(parts[0].sum("init") + parts[1].sum("init"), EVERY)
    xr.testing.assert_allclose(added.drop_attrs(), whole.drop_attrs())
    assert joined["mse"].attrs == whole["mse"].attrs


@pytest.mark.parametrize("lazy", ["both", "forecast", "observed"])
def test_lazy_is_the_same_in_any_chunks_and_computes_nothing(small, lazy):
    fc, observed = small
    expected = verify(fc, observed, EVERY, window=2)
    if lazy != "observed":
        fc = fc.copy(data=fc.chunk(init=1, y=1).data)
    if lazy != "forecast":
        observed = observed.chunk(time=2, x=1)

    def bomb(*_, **__):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=bomb):
        found = verify(fc, observed, EVERY, window=2)
    assert found["csi"].chunks is not None and found["n"].chunks is not None
    xr.testing.assert_allclose(found.compute(), expected)


def test_a_task_reads_its_own_inits_and_frames_alone():
    read = []

    def block(block_info):
        read.append(tuple(block_info[None]["chunk-location"]))
        return np.ones(block_info[None]["chunk-shape"])

    frames = dask.array.map_blocks(block, chunks=((1,) * 20, 2, 2), dtype=float, meta=np.empty(0))
    observed = observations(np.zeros((20, 2, 2))).copy(data=frames)
    fc = forecasts(observed, np.zeros((2, 2, 2, 2)), [3, 12]).chunk(init=1)
    sums = statistics(fc, observed, ["mse"])
    with dask.config.set(scheduler="synchronous"):
        sums["ee"].isel(init=0).compute()
    assert sorted(i for i, *_ in read) == [4, 5]


def test_blocks_without_an_observation_forecast_nothing():
    observed = observations(np.ones((4, 2, 2)))
    longer = observations(np.ones((9, 2, 2)))

    def bomb(block, block_info):
        if block_info[None]["chunk-location"][0] == 1:
            raise AssertionError("a forecast that nothing is compared to")
        return block

    values = np.ones((2, 2, 2, 2))
    fc = forecasts(longer, values, [0, 6]).chunk(init=1)
    fc = fc.copy(data=fc.data.map_blocks(bomb, dtype=float, meta=np.empty((0, 0, 0, 0))))
    found = verify(fc, observed, ["mse"])
    assert found["n"].values.tolist() == [4, 4]
    assert found.attrs["pairs"] == "2 of 4 frames from 2 inits"


def test_without_scores_pairs_are_counted_alone(small):
    assert {*statistics(*small, [])} == {"n"}


# --- alignment


def test_alignment_is_by_labels(small):
    fc, observed = small
    expected = verify(fc, observed, window=2)
    longer = xr.concat([observed, observed.isel(time=[4]) * 0], "time")
    longer["time"] = observed.time.values[0] + np.arange(6) * STEP
    wider = longer.pad(y=1, x=2, constant_values=7.0)
    wider["y"], wider["x"] = 1000.0 - 1000 * np.arange(4), -2000.0 + 1000 * np.arange(6)
    wider["y"].attrs, wider["x"].attrs = observed.y.attrs, observed.x.attrs
    shuffled = wider.isel(time=[3, 1, 0, 5, 4, 2], y=slice(None, None, -1)).transpose("x", ...)
    for same in (longer, wider, shuffled, shuffled.expand_dims(band=1)):
        xr.testing.assert_allclose(verify(fc, same, window=2), expected)
    turned = fc.transpose("x", "y", "lead", "init")
    xr.testing.assert_allclose(verify(turned, observed, window=2), expected)
    one = fc.isel(init=0, lead=1)
    np.testing.assert_allclose(
        verify(one, observed)["mse_pooled"], ((one - observed[2]) ** 2).mean()
    )


def test_longitudes_may_run_to_180_or_to_360():
    longitude = np.array([-2.0, -1e-15, 2.0])
    observed = observations(np.arange(8 * 9.0).reshape(8, 3, 3)).drop_attrs()
    observed = observed.assign_coords(y=[10.0, 0.0, -10.0], x=longitude).rename(y="lat", x="lon")
    fc = observed.earthformer.forecast("persistence", init=observed.time.values[2], lead=3)
    turned = observed.assign_coords(lon=[358.0, 0.0, 2.0]).sortby("lon")
    xr.testing.assert_allclose(verify(fc, turned), verify(fc, observed))
    with pytest.raises(ValueError, match="cells of the forecast along lon"):
        verify(fc, observed.assign_coords(lon=longitude + 180))


def test_datasets_give_their_variable(small):
    fc, observed = small
    expected = verify(fc, observed)
    ds = observed.to_dataset().assign(other=observed)
    xr.testing.assert_identical(fc.to_dataset().earthformer.verify(ds), expected)
    with pytest.raises(ValueError, match=r"one named 'rain'\n +found a, b"):
        verify(fc, xr.Dataset({"a": observed, "b": observed}))
    with pytest.raises(TypeError, match="expected an xarray DataArray or Dataset"):
        verify(fc, observed.values)


def test_units_are_converted(small):
    fc, observed = small
    metres = (observed / 3.6e6).assign_attrs(RAIN, units="m s-1")
    xr.testing.assert_allclose(verify(fc, metres), verify(fc, observed))


def test_members_are_scored_one_by_one(small):
    fc, observed = small
    both = xr.concat([fc, fc + 1], "member")
    apart = [name for name in EVERY if not scores.SCORES[name].group.least_members]
    found = verify(both, observed, apart, window=2)
    assert found["csi"].dims == ("lead", "member", "threshold")
    for member, one in enumerate([fc, fc + 1]):
        one = verify(one.assign_attrs(fc.attrs), observed, apart, window=2)
        xr.testing.assert_allclose(found.isel(member=member), one)


def test_months_meet_whatever_the_day_and_the_calendar():
    time = xr.date_range("2000-01", periods=12, freq="MS")
    attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    rng = np.random.default_rng(0)
    index = xr.DataArray(rng.standard_normal(12), {"time": time}, "time", attrs=attrs)
    init, lead = time[:4], np.arange(1, 4)
    valid = np.array([time[i + lead] for i in range(4)])
    coords = {"init": init, "lead": lead, "valid_time": (("init", "lead"), valid)}
    fc = xr.DataArray(rng.standard_normal((4, 3)), coords, ("init", "lead"), attrs=attrs)
    found = verify(fc, index, ["correlation"])
    for k in range(3):
        expected = np.corrcoef(fc[:, k], index.values[k + 1 : k + 5])[0, 1]
        assert found["correlation"][k].item() == pytest.approx(expected)
    middles = index.assign_coords(time=time + pd.Timedelta("14D")).convert_calendar("noleap")
    xr.testing.assert_identical(verify(fc, middles, ["correlation"]), found)
    twice = xr.concat([index, index[:1]], "time")
    with pytest.raises(ValueError, match=r"more than one for 2000-01-01\n.*resample"):
        verify(fc, twice)


def test_stamps_seconds_off_are_of_their_minute(small):
    fc, observed = small
    expected = verify(fc, observed)
    off = np.array([4, -6, 9, 0, -29], "m8[s]")
    xr.testing.assert_identical(
        verify(fc, observed.assign_coords(time=observed.time + off)), expected
    )
    # half a minute after is of the next one; and where two are of a minute, neither is the one
    for seconds in (30, -31):
        later = observed.assign_coords(time=observed.time + np.timedelta64(seconds, "s"))
        with pytest.raises(ValueError, match="nothing to compare"):
            verify(fc, later)
    shift = np.timedelta64(5, "s")
    both = xr.concat(
        [observed.assign_coords(time=observed.time + s) for s in (shift, -shift)], "time"
    )
    with pytest.raises(ValueError, match="nothing to compare"):
        verify(fc, both)
    # leads that are no whole minutes match to the second, as ever
    halves = fc.assign_coords(lead=fc.lead / 2, valid_time=fc.init + fc.lead / 2)
    with pytest.raises(ValueError, match="nothing to compare"):
        verify(halves.isel(lead=[0]), observed.assign_coords(time=observed.time + shift))


def test_times_may_differ_by_what_floats_do(small):
    fc, observed = small
    off = observed.assign_coords(time=observed.time + np.timedelta64(400, "us"))
    xr.testing.assert_identical(verify(fc, off), verify(fc, observed))


@pytest.mark.parametrize(
    ("units", "name", "expected"),
    [
        ("mm h-1", "rain", (0.5, 1, 5)),
        ("mm/h", "rain", (0.5, 1, 5)),
        ("m s-1", "rain", ()),
        ("1", "vil", (16, 74, 133, 160, 181, 219)),
    ],
)
def test_default_thresholds(units, name, expected):
    attrs = {"units": units, **({"standard_name": "rainfall_rate"} if name == "rain" else {})}
    assert default_thresholds(xr.DataArray(0.0, attrs=attrs, name=name)) == expected


# --- what is refused


def test_nothing_aligned_is_an_error_with_both_spans(small):
    fc, observed = small
    message = r"21:05:00 to 2016-07-11 21:20:00\n +found 1999-01-01 to 1999-01-01 00:20:00; nothing"
    with pytest.raises(ValueError, match=message):
        verify(fc, observations(observed.values, "1999-01-01"))


def test_leads_in_units_of_a_month_are_months():
    time = xr.date_range("2000-01", periods=3, freq="MS")
    obs = xr.DataArray([0.0, 1.0, 3.0], {"time": time}, ("time",), attrs={"units": "degC"})
    coords = {"init": time[:1], "lead": ("lead", [1, 2], {"units": "month"})}
    fc = xr.DataArray([[0.0, 0.0]], coords, ("init", "lead"), attrs={"units": "degC"})
    fc = fc.assign_coords(valid_time=(("init", "lead"), time.values[None, 1:]))
    assert verify(fc, obs, ["mse"])["mse"].values.tolist() == [1.0, 9.0]


REFUSED = {
    "no forecast": (lambda fc, obs: (obs, obs), r"a forecast, with .* init, lead and valid_time"),
    "other cells": (lambda fc, obs: (fc, obs.isel(x=[0])), r"cells of the forecast along x"),
    "shifted": (
        lambda fc, obs: (fc, obs.assign_coords(y=obs.y + 400)),
        r"along y\n.*\n.*interp_like",
    ),
    "no labels": (lambda fc, obs: (fc, obs.isel(x=[0, 1, 1]).drop_vars("x")), r"along x"),
    "other names": (lambda fc, obs: (fc, obs.rename(x="lon")), r"obs.rename\(\{'lon': 'x'\}\)"),
    "an index": (lambda fc, obs: (fc, obs.mean(["y", "x"])), "an index of both, or the fields"),
    "another dim": (lambda fc, obs: (fc, obs.expand_dims(z=2)), r"dims \('z', 'time', 'y', 'x'\)"),
    "other units": (lambda fc, obs: (fc, obs.assign_attrs(units="dBZ")), "convert to mm h-1"),
    "no units": (lambda fc, obs: (fc, obs.drop_attrs(deep=False)), "no attribute units"),
    "unlike": (lambda fc, obs: (fc.drop_attrs(deep=False), obs), r"a forecast in mm h-1"),
    "an anomaly": (
        lambda fc, obs: (fc.assign_attrs(units_metadata="temperature: difference"), obs),
        r"anomalies, as the forecast has them\n.*absolute.*\n.*obs.earthformer.anomaly",
    ),
    "twice": (lambda fc, obs: (fc, obs.isel(time=[0, 1, 1])), r'drop_duplicates\("time"\)'),
    "leads not decoded": (
        lambda fc, obs: (fc.assign_coords(lead=("lead", [5, 10, 15], {"units": "minutes"})), obs),
        r"lead int64 in minutes\n.*decode_timedelta=True",
    ),
    "times not decoded": (
        lambda fc, obs: (fc.assign_coords(valid_time=fc.valid_time.astype(int)), obs),
        r"valid_time int64, .*\n.*decode_times=True",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(small, case):
    spoil, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        verify(*spoil(*small))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": ["skill"]}, "scores among mse, .*\n +found 'skill'"),
        ({"scores": "csi"}, r'a list of scores\n.*\n.*scores=\["csi"\]'),
        ({"scores": ["fss"]}, "a window, for fss"),
        ({"scores": ["csi"], "thresholds": []}, "thresholds, for csi"),
        ({"thresholds": 1}, r"numbers as thresholds\n +found 1\n.*thresholds=\[0.5, 1, 5\]"),
        ({"thresholds": "1 mm"}, r"numbers as thresholds\n +found '1 mm'"),
        ({"scores": ["fss"], "window": "16 degC"}, "a window as a length"),
        ({"scores": ["fss"], "window": "km"}, "a window as a length"),
        ({"scores": ["fss"], "window": 0}, "a window of 1 pixel or more"),
    ],
)
def test_what_cannot_be_scored(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        verify(*small, **arguments)


def test_a_window_in_km_needs_pixels_of_known_length(small):
    fc, observed = (da.drop_vars(["y", "x"]) for da in small)
    with pytest.raises(ValueError, match="number of pixels"):
        verify(fc, observed, window="2 km")
    assert verify(fc, observed, window=2)["fss"].dims == ("lead", "threshold")


def test_sums_serve_the_scores_they_were_taken_for(small):
    with pytest.raises(ValueError, match="sums taken for 'csi'"):
        scores.score(statistics(*small, ["mse"]), ["csi"])


@pytest.mark.shared
def test_persistence_of_real_rain(shared):
    """Persistence's CSI at 1 mm/h is what was measured by other means."""
    with xr.open_dataset(shared / "data" / "radar_mch_20160711.nc", chunks={}) as ds:
        rain = ds["rain_rate"]
        fc = rain.earthformer.forecast("persistence", init=rain.time.values[[12, 20, 27]], lead=12)
        found = xef.verify(fc, rain, ["csi"], thresholds=[1]).compute()
    assert found.attrs["pairs"] == "36 of 36 frames from 3 inits"
    # stated beside the file: .22 after 30 minutes, .10 after 60, over more inits
    assert found["csi"].values[5, 0] == pytest.approx(0.22, abs=0.05)
    assert found["csi"].values[11, 0] == pytest.approx(0.10, abs=0.05)


def test_observations_on_a_curvilinear_grid_are_brought_onto_the_cells_of_the_forecast():
    lat, lon = np.meshgrid([0.5, 1.5], [0.5, 1.5, 2.5, 3.5], indexing="ij")
    time = xr.date_range("2000-01", periods=2, freq="MS")
    coords = {"time": time, "nav_lat": (("j", "i"), lat), "nav_lon": (("j", "i"), lon)}
    frames = [[[1.0, 3, 5, 7]] * 2, [[2.0, 4, 6, 8]] * 2]
    observed = xr.DataArray(frames, coords, ("time", "j", "i"), "tos", {"units": "degC"})
    coords = {"init": time[:1], "lead": [1], "valid_time": (("init", "lead"), [time[1:]])}
    coords |= {"lat": [1.5, 0.5], "lon": [1.0, 3.0]}  # cells of two columns each; from the north
    dims = ("init", "lead", "lat", "lon")
    fc = xr.DataArray([[[[3.0, 9.0]] * 2]], coords, dims, "tos", {"units": "degC"})
    # seen are (2 + 4) / 2 = 3 and (6 + 8) / 2 = 7: errors of 0 and 2
    assert verify(fc, observed, ["mse"])["mse"].item() == pytest.approx(2.0)
    with pytest.raises(ValueError, match="curvilinear grid without longitude 5"):
        verify(fc.assign_coords(lon=[1.0, 5.0]), observed, ["mse"])


@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian"])
def test_observations_of_the_same_dates_in_cftime_match(calendar):
    observed = observations(np.arange(4.0).reshape(4, 1, 1))
    cf = observed.convert_calendar(calendar, use_cftime=True)
    # the forecasts of 2 and 3 are 1 too low
    ours = forecasts(observed, [[[[1.0]], [[2.0]]]], (1,))
    valid = cf["time"].values[None, 2:]
    theirs = ours.assign_coords(valid_time=(("init", "lead"), valid))
    for forecast, other in ((ours, cf), (theirs, observed), (theirs, cf)):
        assert verify(forecast, other, ["mse"])["mse"].values.tolist() == [1.0, 1.0]


def test_observations_of_other_dates_name_the_line_that_converts_them():
    observed = observations(np.arange(4.0).reshape(4, 1, 1))
    obs = observed.convert_calendar("noleap")
    forecast = forecasts(observed, [[[[1.0]]]], (1,))
    with pytest.raises(ValueError, match="in the calendar noleap") as error:
        verify(forecast, obs, ["mse"])
    mended = eval(str(error.value).split("try ")[1], {"obs": obs})
    assert verify(forecast, mended, ["mse"])["mse"].item() == 1.0


@pytest.mark.parametrize("places", [True, False])
def test_a_rotated_pole_is_scored_on_its_own_cells(places):
    """Its degrees are none of latitude, whether or not these stand next to them."""
    values = np.random.default_rng(0).uniform(0, 5, (4, 5, 6)).astype("f4")
    degrees = {"y": np.arange(5) / 100, "x": np.arange(6) / 100}
    plain = small_rain(values).drop_vars(["y", "x"])
    named = {d: ("r" + d, v, {"units": "degrees"}) for d, v in degrees.items()}
    rotated = plain.rename(y="ry", x="rx").assign_coords(ry=named["y"], rx=named["x"])
    rotated["ry"].attrs |= {"standard_name": "grid_latitude", "axis": "Y"}
    rotated["rx"].attrs |= {"standard_name": "grid_longitude", "axis": "X"}
    if places:  # the same numbers, in another order
        lon, lat = np.meshgrid(degrees["x"][::-1], degrees["y"][::-1])
        rotated = rotated.assign_coords(lat=(("ry", "rx"), lat), lon=(("ry", "rx"), lon))
    scores = [
        da.earthformer.forecast("persistence", init=da["time"][1], lead=2).earthformer.verify(da)
        for da in (plain, rotated)
    ]
    for name in ("mse", "csi"):
        np.testing.assert_allclose(scores[1][name], scores[0][name], rtol=1e-5)


TURNS = {
    "rows": {"j": slice(None, None, -1)},
    "columns": {"i": slice(None, None, -1)},
    "both": {"j": slice(None, None, -1), "i": slice(None, None, -1)},
}


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("turn", TURNS)
def test_curvilinear_cells_are_matched_by_their_places(turn, labels):
    """Rows from the north are as many as rows from the south; 170 E has the sine of 10 E."""
    lon, lat = np.meshgrid([10.0, 90.0, 170.0], [-20.0, 0.0, 30.0])
    places = {"nav_lat": (("j", "i"), lat), "nav_lon": (("j", "i"), lon)}
    values = np.random.default_rng(0).normal(size=(4, 3, 3))
    time = pd.date_range("2000-01", periods=4, freq="MS")
    obs = xr.DataArray(values, {"time": time, **places}, ("time", "j", "i"), attrs={"units": "m"})
    obs = obs.assign_coords(i=range(3), j=range(3)) if labels else obs
    fc = obs.earthformer.forecast("persistence", init=time[:2], lead=2)
    right = verify(fc, obs, ["mse"])
    other = obs.isel(TURNS[turn])
    if labels:  # matched by these
        xr.testing.assert_equal(verify(fc, other, ["mse"]), right)
        other = other.assign_coords(i=range(3), j=range(3))
    with pytest.raises(ValueError, match="cells in the places of the forecast") as error:
        verify(fc, other, ["mse"])
    mended = eval(str(error.value).split("try ")[1], {"obs": other})
    xr.testing.assert_equal(verify(fc, mended, ["mse"]), right)
    shifted = obs.assign_coords(nav_lon=obs["nav_lon"] + 5).drop_vars(["i", "j"], errors="ignore")
    with pytest.raises(ValueError, match="regrid onto the cells of the forecast"):
        verify(fc, shifted, ["mse"])
    turned = obs.assign_coords(nav_lon=obs["nav_lon"] - 360)
    xr.testing.assert_equal(verify(fc, turned, ["mse"]), right)
    nowhere = obs.assign_coords(nav_lon=obs["nav_lon"].where(obs["nav_lat"] > 0))
    xr.testing.assert_equal(verify(fc, nowhere, ["mse"]), right)


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_blocks_of_land_that_nemo_leaves_out_are_nowhere(fill):
    lon, lat = np.meshgrid([10.0, 90.0, 170.0], [-20.0, 0.0, 30.0])
    places = {"nav_lat": (("y", "x"), lat), "nav_lon": (("y", "x"), lon)}
    time = pd.date_range("2000-01", periods=4, freq="MS")
    values = np.random.default_rng(0).normal(size=(4, 3, 3))
    obs = xr.DataArray(values, {"time": time, **places}, ("time", "y", "x"), attrs={"units": "m"})
    fc = obs.earthformer.forecast("persistence", init=time[:2], lead=2)
    sea = obs["nav_lat"] < 30
    left_out = {name: obs[name].where(sea, fill) for name in places}
    found = verify(fc, obs.assign_coords(left_out), ["mse"])
    xr.testing.assert_equal(found, verify(fc, obs, ["mse"]))


def test_cells_by_degrees_of_a_rotated_pole_are_found_in_a_larger_record():
    """By their own labels, whatever these are called; 2-D latitudes stand next to them."""
    lon, lat = np.meshgrid([10.0, 11.0, 12.0, 13.0], [50.0, 51.0, 52.0])
    curved = {"lat": (("rlat", "rlon"), lat), "lon": (("rlat", "rlon"), lon)}
    attrs = [{"units": "degrees", "standard_name": f"grid_{n}"} for n in ("latitude", "longitude")]
    time = pd.date_range("2000-01", periods=4, freq="MS")
    labels = {"rlat": ("rlat", [0.0, 1, 2], attrs[0]), "rlon": ("rlon", [0.0, 1, 2, 3], attrs[1])}
    values = np.random.default_rng(0).normal(size=(4, 3, 4))
    obs = xr.DataArray(values, {"time": time, **labels, **curved}, ("time", "rlat", "rlon"))
    fc = obs.isel(rlat=slice(1, 3)).earthformer.forecast("persistence", init=time[:2], lead=2)
    other = obs.rename(rlat="grid_latitude", rlon="grid_longitude").isel(grid_latitude=[2, 1, 0])
    xr.testing.assert_equal(verify(fc, other, ["mse"]), verify(fc, obs, ["mse"]))


def test_a_grid_of_as_many_latitudes_and_longitudes_is_another():
    lon, lat = np.meshgrid([10.0, 90.0, 170.0], [-20.0, 0.0, 30.0])
    places = {"lat": (("j", "i"), lat + 1), "lon": (("j", "i"), lon)}
    time = pd.date_range("2000-01", periods=4, freq="MS")
    obs = xr.DataArray(np.ones((4, 3, 3)), {"time": time, **places}, ("time", "j", "i"))
    obs.attrs["units"] = "m"
    fc = obs.earthformer.forecast("persistence", init=time[:2], lead=2)
    units = {"units": "degrees"}
    degrees = {"lat": ("lat", lat[:, 0], units), "lon": ("lon", lon[0], units)}
    other = xr.DataArray(obs.values, {"time": time, **degrees}, ("time", "lat", "lon"))
    other.attrs["units"] = "m"
    with pytest.raises(ValueError, match="the fields of both on the same cells"):
        verify(fc, other, ["mse"])
    with pytest.raises(ValueError, match="cells in the places of the forecast"):
        verify(fc, other.rename(lat="j", lon="i"), ["mse"])


def test_other_quantities_and_indices_are_told():
    time = pd.date_range("2000-01", periods=6, freq="MS")
    obs = xr.DataArray(np.arange(6.0), {"time": time}, ("time",), "nino34")
    attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    obs = obs.assign_attrs(attrs, standard_name="sea_surface_temperature_anomaly")
    valid = (("init", "lead"), time.values[1:5, None])
    fc = xr.DataArray(
        np.zeros((4, 1)), {"init": time[:4], "lead": [1], "valid_time": valid}, ("init", "lead")
    ).assign_attrs(obs.attrs, standard_name="sea_surface_temperature")
    for name in ("nino3.4", None, "sst"):
        assert verify(fc.rename(name), obs, ["mse"])["mse"].item() == 7.5  # (1 + 4 + 9 + 16) / 4
    with pytest.raises(ValueError, match="observations of nino3\n +found nino3.4"):
        verify(fc.rename("nino3"), obs, ["mse"])
    with pytest.raises(ValueError, match="observations of sea_surface_temperature"):
        verify(fc, obs.assign_attrs(standard_name="air_temperature"), ["mse"])
    for of_nemo in ("bulk_sea_surface_temperature", "Sea Surface Temperature "):
        other = obs.assign_attrs(standard_name=of_nemo)
        assert verify(fc, other, ["mse"])["mse"].item() == 7.5
    of_cfgrib = obs.assign_attrs(standard_name="unknown")
    assert verify(fc, of_cfgrib, ["mse"])["mse"].item() == 7.5


def test_kilometres_meet_metres(small):
    forecast, obs = small
    y, x = (np.arange(obs.sizes[d]) * 2000.0 for d in ("y", "x"))
    metres = {"y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"})}
    kilometres = {"y": ("y", y / 1e3, {"units": "km"}), "x": ("x", x / 1e3, {"units": "km"})}
    forecast, right = forecast.assign_coords(metres), obs.assign_coords(metres)
    turned = obs.assign_coords(kilometres).isel(y=slice(None, None, -1))
    found, expected = (verify(forecast, one, ["mse", "csi"]) for one in (turned, right))
    xr.testing.assert_equal(found, expected)


def test_an_init_that_is_there_twice_would_weigh_double(small):
    forecast, obs = small
    with pytest.raises(ValueError, match="every init once"):
        verify(xr.concat([forecast, forecast], "init"), obs, ["mse"])
    with pytest.raises(ValueError, match="one init and one lead or more"):
        verify(forecast.isel(init=slice(0)), obs, ["mse"])


def test_a_single_level_of_the_forecast_is_none(small):
    forecast, obs = small
    level = forecast.expand_dims(depth=[0.0], axis=2)
    xr.testing.assert_equal(verify(level, obs, ["mse"]), verify(forecast, obs, ["mse"]))


def test_what_is_not_known_is_not_called_missing(recwarn):
    """Rain everywhere, most of which `known` leaves out: no fc.fillna(0) is told."""
    time = pd.date_range("2016-07-11T21:00", periods=3, freq="5min")
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    rain = xr.DataArray(np.full((3, 4, 4), 2.0), {"time": time}, ("time", "y", "x"), attrs=attrs)
    fc = rain.earthformer.forecast("persistence", init=time[1], lead=1)
    share = xr.zeros_like(fc)
    share[..., 0] = 1.0  # one column of four
    result = xef.verify(fc.assign_coords(known=share), rain, ["mse"], known=0.5)
    assert result["n"].item() == 4 and not len(recwarn)


@pytest.mark.parametrize("name", ["mse", "n", "threshold"])
def test_labels_that_are_called_as_a_score_or_a_dim_is(name):
    """Errors of 1 and 3 at the inits a and b."""
    sums = xr.Dataset({"mse": ("threshold", [1.0, 9.0]), "n": ((), 1)})
    labels = xr.DataArray(["a", "b"], dims="init", name=name)
    result = by_regime(labels, lambda at: sums.isel(threshold=at))
    assert result["regime"].values.tolist() == ["a", "b"]
    assert result["mse"].values.ravel().tolist() == [1, 9]
    assert result["inits"].dims == ("regime",)
