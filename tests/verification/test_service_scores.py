"""Scores of a weather service: by hand, and as pysteps, scores and xskillscore have them."""

import numpy as np
import pytest
import xarray as xr
from test_probabilistic import ensemble, frames, one_frame
from test_verify import forecasts, observations

from xearthformer.verification.verify import statistics, verify

NAN = np.nan


def pair_of(forecast, observed) -> tuple[xr.DataArray, xr.DataArray]:
    """One frame (y, x) and what came."""
    obs = observations([np.zeros_like(observed, dtype=float), observed])
    return forecasts(obs, np.asarray(forecast, float)[None, None]), obs


def showers(seed: int, *shape: int) -> np.ndarray:
    """Rain in steps of .1 with many zeros."""
    return np.maximum(np.random.default_rng(seed).gamma(0.5, 4, shape).round(1) - 1, 0)


@pytest.fixture
def rain():
    """Two leads from two inits of rain, with a hole."""
    observed = observations(showers(0, 5, 12, 15))
    fc = forecasts(observed, showers(1, 2, 2, 12, 15), [0, 2])
    return fc, observed


# --- events


def test_events_by_hand():
    # 10 pixels from 1 on: 2 hits, 1 miss, 1 false alarm, 6 right without an event; a hole.
    forecast = [[1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 5]]
    observed = [[4, 1, 1, 0, 0, 0, 0, 0, 0, 0, NAN]]
    found = verify(*pair_of(forecast, observed), thresholds=[1])
    expected = {
        "far": 1 / 3,
        "pofd": 1 / 7,
        "ets": (2 - 0.9) / (4 - 0.9),  # 3 x 3 / 10 hits by chance
        "hss": 2 * (2 * 6 - 1 * 1) / (3 * 7 + 3 * 7),
        "base_rate": 3 / 10,
    }
    assert {name: found[name].item() for name in expected} == pytest.approx(expected)
    # where nothing is forecast, observed or both there is no score, and no warning of a division
    dry = verify(*pair_of([[0, 0]], [[0, 0]]), thresholds=[1])
    assert all(np.isnan(dry[name].item()) for name in ("far", "ets", "hss"))
    assert dry["pofd"].item() == 0


def test_events_are_those_of_scores_and_xskillscore(rain):
    xs = pytest.importorskip("xskillscore")
    categorical = pytest.importorskip("scores.categorical")
    fc, observed = rain
    found = verify(fc, observed, thresholds=[2])
    f = fc.stack(frame=["init", "lead"]).transpose("frame", "y", "x").values
    o = observed.values[[1, 2, 3, 4]]
    assert (f == 2).any() and (o == 2).any()  # a value at the threshold is an event in all three
    f, o = (xr.DataArray(values, dims=("frame", "y", "x")) for values in (f, o))
    theirs = categorical.BinaryContingencyManager((f >= 2).astype(int), (o >= 2).astype(int))
    edges = np.array([0.0, 2.0, 1e9])
    table = xs.Contingency(o, f, edges, edges, dim=["frame", "y", "x"])
    pairs = {
        "far": (theirs.false_alarm_ratio(), table.false_alarm_ratio()),
        "pofd": (theirs.probability_of_false_detection(), table.false_alarm_rate()),
        "ets": (theirs.gilberts_skill_score(), table.equit_threat_score()),
        "hss": (theirs.heidke_skill_score(), table.heidke_score()),
        "csi": (theirs.critical_success_index(), table.threat_score()),
        "pod": (theirs.probability_of_detection(), table.hit_rate()),
        "bias": (theirs.frequency_bias(), table.bias_score()),
        "base_rate": (theirs.base_rate(),),
    }
    for name, others in pairs.items():
        for other in others:
            assert found[f"{name}_pooled"].item() == pytest.approx(other.item()), name


def test_events_are_those_of_pysteps_but_at_the_threshold_and_for_nan(rain):
    detcat = pytest.importorskip("pysteps.verification.detcatscores")
    fc, observed = rain
    names = {"far": "FAR", "pofd": "FA", "ets": "GSS", "hss": "HSS", "csi": "CSI", "bias": "BIAS"}

    def theirs(f, o, threshold):
        return {k: float(detcat.det_cat_fct(f, o, threshold, [v])[v]) for k, v in names.items()}

    def ours(fc, observed):
        found = verify(fc, observed, thresholds=[2])
        return {name: found[f"{name}_pooled"].item() for name in names}

    f, o = fc.values.reshape(4, 12, 15), observed.values[1:]
    # pysteps counts what lies above: 1.95 separates the same pixels as "from 2 on" does
    assert ours(fc, observed) == pytest.approx(theirs(f, o, 1.95))
    assert ours(fc, observed) != pytest.approx(theirs(f, o, 2.0))
    # a hole in the observations is dry for pysteps, and does not count here
    holes = observed.copy()
    holes[1, :6] = NAN
    kept = np.isfinite(holes.values[1:])
    assert ours(fc, holes) == pytest.approx(theirs(f[kept], o[kept], 1.95))
    assert ours(fc, holes) != pytest.approx(theirs(f, holes.values[1:], 1.95))


# --- ensembles


def test_plain_scores_by_hand():
    # Members 0 2 4 against 1: mean error 5/3, less (2 + 2 + 4) / 3^2; fair: less 8 / (3 x 2).
    fc, observed = one_frame([[[0.0]], [[2.0]], [[4.0]]], [[1.0]])
    found = verify(fc, observed, ["crps_ensemble", "crps", "brier_ensemble"], thresholds=[2])
    assert found["crps_ensemble"].item() == pytest.approx(5 / 3 - 8 / 9)
    assert found["crps"].item() == pytest.approx(5 / 3 - 8 / 6)
    assert found["brier_ensemble"].item() == pytest.approx(4 / 9)  # 2 of 3 members, no event
    one = verify(fc.isel(member=[1]), observed, ["crps_ensemble", "brier_ensemble"], thresholds=[2])
    assert one["crps_ensemble"].item() == 1 and one["brier_ensemble"].item() == 1


def test_shares_of_the_outer_ranks_by_hand():
    # Against 1: one member of three below. Against 9: all. Against 0, with two members at 0: a
    # third of it in each of the ranks 0, 1 and 2.
    members = [[[0, 1, 0]], [[2, 2, 0]], [[4, 3, 5]]]
    found = verify(*one_frame(members, [[1, 9, 0]]), ["rank_lowest", "rank_highest"])
    assert found["rank_lowest"].item() == pytest.approx(1 / 9)
    assert found["rank_highest"].item() == pytest.approx(1 / 3)


def test_plain_scores_are_those_of_the_libraries():
    xs = pytest.importorskip("xskillscore")
    theirs = pytest.importorskip("scores.probability")
    observed = frames(showers(0, 2, 8, 9))
    fc = ensemble(observed, showers(1, 1, 1, 5, 8, 9))
    found = verify(fc, observed, ["crps_ensemble", "brier_ensemble", "brier"], thresholds=[2])
    members, o = fc[0, 0].reset_coords(drop=True), observed[1].reset_coords(drop=True)
    crps = found["crps_ensemble_pooled"].item()
    assert crps == pytest.approx(theirs.crps_for_ensemble(members, o, "member", method="ecdf"))
    assert crps == pytest.approx(xs.crps_ensemble(o, members, member_dim="member"))
    for name, fair in {"brier_ensemble": False, "brier": True}.items():
        other = theirs.brier_score_for_ensemble(members, o, "member", 2.0, fair_correction=fair)
        assert found[f"{name}_pooled"].item() == pytest.approx(other.item())
    # xskillscore's events lie above the threshold
    plain = found["brier_ensemble_pooled"].item()
    brier = [xs.threshold_brier_score(o, members, [at], member_dim="member") for at in (1.95, 2.0)]
    assert plain == pytest.approx(brier[0].item()) and plain != pytest.approx(brier[1].item())


def test_plain_crps_is_pysteps_but_where_a_member_is_the_observation():
    probscores = pytest.importorskip("pysteps.verification.probscores")
    rng = np.random.default_rng(0)
    observed = frames(rng.gamma(1, 4, (2, 8, 9)))
    fc = ensemble(observed, rng.gamma(1, 4, (1, 1, 5, 8, 9)))
    found = verify(fc, observed, ["crps_ensemble"])["crps_ensemble_pooled"].item()
    assert found == pytest.approx(probscores.CRPS(fc.values[0, 0], observed.values[1]))
    # 1 and 3 against 1: mean error 1, less 2 x 2 / (2 x 2^2)
    assert probscores.CRPS(np.array([[1.0], [3.0]]), np.array([1.0])) == 0
    tied = verify(*one_frame([[[1.0]], [[3.0]]], [[1.0]]), ["crps_ensemble"])
    assert tied["crps_ensemble"].item() == 0.5


# --- neighbourhoods


def test_fss_of_several_windows_is_a_table(rain):
    windows = ["1 km", "3 km", "8 km"]
    found = verify(*rain, ["fss", "csi"], thresholds=[1, 4], window=windows)
    assert found["fss"].dims == ("lead", "window", "threshold")
    assert found["csi"].dims == ("lead", "threshold")
    assert found.attrs["fss_window"].startswith("1 km: 1 x 1 pixels, 3 km: 3 x 3 pixels")
    for window in windows:
        alone = verify(*rain, ["fss"], thresholds=[1, 4], window=window)
        for name in ("fss", "fss_pooled"):
            one = found[name].sel(window=window, drop=True).drop_attrs()
            xr.testing.assert_identical(one, alone[name].drop_attrs())
    pixels = verify(*rain, ["fss"], thresholds=[1], window=(1, 8))["fss"]
    assert pixels["window"].values.tolist() == [1, 8]
    lazy = verify(rain[0].chunk(init=1), rain[1], ["fss"], window=[1, 8])["fss"]
    assert lazy.chunks is not None and lazy.sizes["window"] == 2
    with pytest.raises(ValueError, match=r'each once\n.*\n.*window=\["1 km"'):
        verify(*rain, window=[2, 2])


@pytest.mark.parametrize("window", [1, 4, 9])
def test_fss_is_pysteps_at_the_edges_and_at_the_threshold_too(rain, window):
    spatial = pytest.importorskip("pysteps.verification.spatialscores")
    fc, observed = rain
    found = verify(fc, observed, ["fss"], thresholds=[2], window=window)
    theirs = spatial.fss_init(2, window)
    for f, o in zip(fc.values.reshape(4, 12, 15), observed.values[1:], strict=True):
        spatial.fss_accum(theirs, f, o)
    assert found["fss_pooled"].item() == pytest.approx(spatial.fss_compute(theirs))
    assert found["fss"][0, 0].item() != pytest.approx(found["fss"][1, 0].item())


# --- structure, amplitude, location


def sal_of(forecast, observed) -> list[float]:
    found = verify(*pair_of(forecast, observed), ["sal_structure"])
    return [found[f"sal_{part}"].item() for part in ("structure", "amplitude", "location")]


def test_sal_by_hand():
    # On 3 x 4 pixels the longest way is 5. One pixel of 4 where one of 2 came, three columns off.
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, 0], observed[1, 3] = 4, 2
    assert sal_of(forecast, observed) == pytest.approx([0, 2 * 2 / 6, 3 / 5])
    # Three pixels of 1 (volume 3) for one of 3 (volume 1), about the same centre.
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, :3], observed[1, 1] = 1, 3
    assert sal_of(forecast, observed) == pytest.approx([2 * 2 / 4, 0, 0])
    # Two showers 1.5 from their centre, for one: centres 1.5 apart, and 2 x 1.5 for the scatter.
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, [0, 3]], observed[1, 0] = 1, 2
    assert sal_of(forecast, observed) == pytest.approx([0, 0, (1.5 + 3) / 5])
    # A pixel below a fifteenth of the heaviest is no object: the centre feels it, S does not.
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, [0, 3]], observed[1, 0] = [99, 1], 99
    structure, amplitude, location = sal_of(forecast, observed)
    assert structure == 0 and amplitude == pytest.approx(2 * 1 / 199)
    assert location == pytest.approx((0.03 + 2 * 0.03) / 5)


def test_sal_takes_rain_below_zero_for_none():
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, 0], observed[1, 3] = 4, 2
    expected = sal_of(forecast, observed)
    # what an interpolation leaves is neither rain nor the smallest of it
    assert sal_of(np.where(forecast > 0, forecast, -0.3), observed) == pytest.approx(expected)


def test_sal_of_dry_frames():
    wet, dry = np.pad([[3.0]], 1), np.zeros((3, 3))
    np.testing.assert_array_equal(sal_of(dry, wet), [-2, -2, NAN])
    np.testing.assert_array_equal(sal_of(wet, dry), [2, 2, NAN])
    np.testing.assert_array_equal(sal_of(dry, dry), [NAN] * 3)
    # Frames without a value for a part do not count in its mean; each frame's parts are the sums.
    observed = observations([dry, wet, dry])
    fc = forecasts(observed, [[dry, dry]])
    assert verify(fc, observed, ["sal_amplitude"])["sal_amplitude_pooled"].item() == -2
    assert statistics(fc, observed, ["sal_amplitude"])["amplitude"].values.tolist() == [[-2, 0]]
    # what one side lacks is left out of both
    hole = wet.copy()
    hole[1, 1] = NAN
    np.testing.assert_array_equal(sal_of(wet, hole), [NAN] * 3)


def test_sal_measures_lengths_on_latitude_and_longitude():
    forecast, observed = np.zeros((2, 3, 4))
    forecast[1, 0], observed[1, 3] = 2, 2
    fc, obs = pair_of(forecast, observed)
    # at 60 N a degree of longitude is half as long: 3 x .5 of the way sqrt(3^2 + (4 x .5)^2)
    names, cells = {"y": "lat", "x": "lon"}, {"y": [61.0, 60.0, 59.0], "x": [0.0, 1.0, 2.0, 3.0]}
    fc, obs = (da.assign_coords(cells).rename(names) for da in (fc, obs))
    found = verify(fc, obs, ["sal_location"])["sal_location"].item()
    assert found == pytest.approx(1.5 / np.sqrt(9 + 4), rel=1e-6)


def test_sal_is_pysteps_for_showers_that_are_large_and_apart():
    pytest.importorskip("skimage")
    theirs = pytest.importorskip("pysteps.verification.salscores")
    y, x = np.mgrid[:60, :80]

    def shower(at_y, at_x, width, peak):
        rain = peak * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / 2 / width**2)
        return np.where(rain < 0.05, 0, rain)

    observed = shower(20, 20, 6, 10) + shower(40, 60, 5, 6)
    forecast = shower(22, 26, 6, 8) + shower(38, 55, 7, 7)
    expected = theirs.sal(forecast, observed, 1 / 15, 0.95)
    assert sal_of(forecast, observed) == pytest.approx(expected)
    # showers of fewer than 50 pixels are none for pysteps: S differs, A does not
    observed = observed + shower(8, 70, 1.2, 9)
    expected = theirs.sal(forecast, observed, 1 / 15, 0.95)
    structure, amplitude, _ = sal_of(forecast, observed)
    assert amplitude == pytest.approx(expected[1])
    assert abs(structure - expected[0]) > 1e-3
