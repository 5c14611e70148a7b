"""Scores of ensembles: by hand, as the library `scores` has them, of ensembles that are right."""

import dask
import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.verification import scores
from xearthformer.verification.base import CASES, Measure
from xearthformer.verification.probabilistic import CRPS, RANKS, SPREAD
from xearthformer.verification.products import exceedance
from xearthformer.verification.verify import statistics, verify

RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}
STEP = np.timedelta64(300, "s")
NAN = np.nan
OF_ALL = [name for name, each in scores.SCORES.items() if each.group.least_members]


def frames(values) -> xr.DataArray:
    """Observations (time, y, x) every 5 minutes, pixels of 1 km."""
    values = np.asarray(values, float)
    coords = {"time": np.datetime64("2016-07-11T21:00", "ns") + np.arange(len(values)) * STEP}
    for dim, size in zip("yx", values.shape[1:], strict=True):
        attrs = {"units": "m", "standard_name": f"projection_{dim}_coordinate"}
        coords[dim] = (dim, 1000.0 * np.arange(size), attrs)
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain", RAIN)


def ensemble(observed: xr.DataArray, values, inits=(0,)) -> xr.DataArray:
    """Forecasts (init, lead, member, y, x) from these positions."""
    values = np.asarray(values, float)
    init = observed.time.values[list(inits)]
    lead = np.arange(1, values.shape[1] + 1) * STEP
    coords = {
        "init": init,
        "lead": lead,
        "member": ("member", np.arange(values.shape[2]), {"standard_name": "realization"}),
        "valid_time": (("init", "lead"), init[:, None] + lead),
        "y": observed.y,
        "x": observed.x,
    }
    return xr.DataArray(values, coords, ("init", "lead", "member", "y", "x"), "rain", RAIN)


def one_frame(members, observed) -> tuple[xr.DataArray, xr.DataArray]:
    """An ensemble (member, y, x) of one lead, and what came."""
    obs = frames([np.zeros_like(observed, dtype=float), observed])
    return ensemble(obs, np.asarray(members, float)[None, None]), obs


@pytest.fixture
def by_hand():
    """Three members and observations of 2 x 2 pixels; the last pixel has a member without value."""
    members = [[[0, 3], [1, 9]], [[2, 1], [1, NAN]], [[4, 5], [1, 9]]]
    return one_frame(members, [[1, 3], [1, 9]])


@pytest.fixture
def random():
    """Five members of rain with many zeros, three leads from two inits, and holes in both."""
    rng = np.random.default_rng(0)

    def rain(*shape):
        return np.maximum(rng.gamma(0.5, 4, shape).round(1) - 1, 0)

    observed = frames(rain(6, 5, 7))
    fc = ensemble(observed, rain(2, 3, 5, 5, 7), [0, 2])
    observed[2, 0, 0] = NAN
    fc[1, 1, 3, 2, 2] = NAN
    return fc, observed


# --- by hand


def test_crps_by_hand(by_hand):
    # 0 2 4 against 1: mean error 5/3, pairs 2 + 2 + 4 = 8, over M (M - 1) / 2 pairs twice: 4/3.
    # 3 1 5 against 3: 4/3 less the same. 1 1 1 against 1: 0. The last pixel doesn't count.
    found = verify(*by_hand, ["crps"])
    assert found["crps"].values == pytest.approx([(1 / 3 + 0 + 0) / 3])
    assert found["crps_pooled"].item() == pytest.approx(1 / 9)
    assert found["crps"].attrs["units"] == "mm h-1" and found["crps"].dims == ("lead",)
    assert found["cases"].values.tolist() == [3] and "n" not in found


def test_spread_and_skill_by_hand(by_hand):
    # Unbiased variances 4, 4, 0, times 4/3. Means 2, 3, 1 against 1, 3, 1.
    found = verify(*by_hand, ["spread_skill"])
    assert found["spread"].item() == pytest.approx(np.sqrt(8 / 3 * 4 / 3))
    assert found["rmse_of_mean"].item() == pytest.approx(np.sqrt(1 / 3))
    assert found["spread_skill"].item() == pytest.approx(np.sqrt(32 / 3))
    assert found["spread"].attrs["units"] == "mm h-1"
    assert found["spread_skill"].attrs["units"] == "1"


def test_rank_histogram_by_hand(by_hand):
    # One member below 1. One below 3 and one that equals it: ranks 1 and 2, half each. All equal 1:
    # a quarter to each of the four ranks.
    found = verify(*by_hand, ["rank_histogram"])
    assert found["rank_histogram"].dims == ("lead", "rank")
    assert found["rank_histogram"].values[0] == pytest.approx([0.25, 1.75, 0.75, 0.25])
    assert found["rank"].values.tolist() == [0, 1, 2, 3]


def test_probabilities_by_hand(by_hand):
    # From 2 on: two of three and none observed; two of three, observed; none, none observed.
    found = verify(*by_hand, ["brier", "reliability", "roc"], thresholds=[2])
    at = found.isel(lead=0, threshold=0)
    assert found["probability"].values == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert at["reliability_n"].values.tolist() == [1, 0, 2, 0]
    np.testing.assert_array_equal(at["reliability"], [0, NAN, 1 / 2, NAN])
    # (2/3)^2 + (1/3)^2 + 0, less 2 times 2 (3 - 2) / (9 * 2), over 3
    assert at["brier"].item() == pytest.approx((5 / 9 - 2 / 9) / 3)
    # warnings from 0, 1/3, 2/3 and 1 on
    assert at["roc_pod"].values.tolist() == [1, 1, 1, 0]
    assert at["roc_pofd"].values.tolist() == [1, 0.5, 0.5, 0]
    # the event (2/3) against what was none (2/3 and 0): one even, one won
    assert at["roc"].item() == pytest.approx(3 / 4)
    # from 9 on nothing is observed or forecast of the pixels that count
    none = verify(*by_hand, ["brier", "roc"], thresholds=[9])
    assert none["brier"].item() == 0 and none["roc"].isnull().all()


def test_a_forecast_without_members_is_an_ensemble_of_one():
    fc, observed = one_frame([[[0, 3], [1, NAN]]], [[1, 3], [3, 9]])
    for one in (fc, fc.isel(member=0, drop=True)):
        found = verify(one, observed, ["crps", "mae", "brier", "rank_histogram"], thresholds=[2])
        assert found["crps"].item() == found["mae"].item() == 1
        assert found["brier"].item() == pytest.approx(1 / 3)
        assert found["rank_histogram"].values.tolist() == [[0.5, 2.5]]  # one even, two above
        assert "member" in found["mae"].dims or one.ndim == 4
        with pytest.raises(ValueError, match=r"2 members or more, for spread_skill\n +found 1 m"):
            verify(one, observed, ["spread_skill"])


def test_errors_weigh_by_area_and_events_by_pixels():
    # Bands 30S..30N and 30N..90N: sines reach over 1 and 1/2, as weights 2/3 and 1/3.
    fc, observed = one_frame([[[1, 1], [4, 4]], [[1, 1], [8, 8]]], np.zeros((2, 2)))
    names = {"y": "lat", "x": "lon"}
    cells = {"y": [0.0, 60.0], "x": [0.0, 10.0]}
    fc, observed = (da.assign_coords(cells).rename(names) for da in (fc, observed))
    found = verify(fc, observed, ["crps", "spread_skill", "brier"], thresholds=[2])
    # 1 - 0, and 6 - 2; means 1 and 6, variances 0 and 8 times 3/2
    assert found["crps"].item() == pytest.approx((2 * 1 + 4) / 3)
    assert found["rmse_of_mean"].item() == pytest.approx(np.sqrt((2 * 1 + 36) / 3))
    assert found["spread"].item() == pytest.approx(np.sqrt(12 / 3))
    assert found["brier"].item() == pytest.approx(1 / 2)


# --- as the library has them


@pytest.fixture
def library():
    return pytest.importorskip("scores.probability")


@pytest.fixture
def pairs(random):
    """Members and what came, for the library: holes in either are holes in both."""
    fc, observed = random
    truth = observed.sel(time=fc["valid_time"]).drop_vars("time")
    there = fc.notnull().all("member") & truth.notnull()
    return fc.where(there), truth.where(there)


CELLS = ["init", "y", "x"]


def test_crps_is_the_librarys(random, pairs, library):
    expected = library.crps_for_ensemble(*pairs, "member", method="fair", reduce_dims=CELLS)
    found = verify(*random, ["crps"])
    np.testing.assert_allclose(found["crps"], expected, rtol=1e-12)
    assert found["cases"].values.tolist() == [70, 68, 70]


def test_rank_histogram_is_the_librarys(random, pairs, library):
    with pytest.warns(UserWarning, match="NaN"):
        expected = library.rank_histogram(*pairs, "member", reduce_dims=CELLS)
    found = verify(*random, ["rank_histogram"])
    shares = found["rank_histogram"] / found["cases"]
    np.testing.assert_allclose(shares, expected.transpose("lead", "rank"), rtol=1e-12)


def test_brier_and_roc_are_the_librarys(random, pairs, library):
    fc, truth = pairs
    found = verify(*random, ["brier", "roc"], thresholds=[0.1, 2])
    expected = library.brier_score_for_ensemble(fc, truth, "member", [0.1, 2], reduce_dims=CELLS)
    np.testing.assert_allclose(found["brier"], expected.transpose("lead", "threshold"), rtol=1e-12)
    for threshold in (0.1, 2):
        events = (truth >= threshold).where(truth.notnull())
        p = exceedance(fc, threshold)
        curve = library.roc_curve_data(p, events, np.arange(6) / 5, reduce_dims=CELLS)
        at = found.sel(threshold=threshold)
        for name, theirs in (("roc_pod", "POD"), ("roc_pofd", "POFD")):
            mine = at[name].transpose("lead", "probability")
            np.testing.assert_allclose(mine, curve[theirs].transpose("lead", "threshold")[:, :6])
        area = library.roc_auc(p, events, reduce_dims=CELLS)
        np.testing.assert_allclose(at["roc"], area, rtol=1e-9)


def test_brier_is_what_reliability_and_its_counts_make(random):
    found = verify(*random, ["brier", "reliability"], thresholds=[1])
    n, o, p = found["reliability_n"], found["reliability"].fillna(0), found["probability"]
    # the plain score of each probability, less the fair one's p (1 - p) / (M - 1)
    expected = (n * (o * (1 - p) ** 2 + (1 - o) * p**2 - p * (1 - p) / 4)).sum("probability")
    np.testing.assert_allclose(found["brier"], expected / n.sum("probability"))


# --- ensembles that are right, and wrong


def drawn(members: int, spread: float = 1.0, size: int = 60) -> tuple[xr.DataArray, xr.DataArray]:
    """Members and truth of each pixel from one distribution about a mean known to both."""
    rng = np.random.default_rng(members)
    mean = rng.normal(0, 3, (10, size, size))
    observed = frames(np.concatenate([mean[:1] * 0, mean + rng.normal(0, 1, mean.shape)]))
    values = mean[:, None] + rng.normal(0, spread, (10, members, size, size))
    return ensemble(observed, values[None]), observed


@pytest.mark.parametrize("members", [2, 5, 20])
def test_an_ensemble_that_is_right(members):
    found = verify(
        *drawn(members),
        ["crps", "spread_skill", "rank_histogram", "brier", "reliability"],
        thresholds=[1],
    )
    # CRPS of a normal distribution of which the truth is drawn: 1 / sqrt(pi), however many members
    assert found["crps_pooled"].item() == pytest.approx(1 / np.sqrt(np.pi), rel=0.015)
    assert found["spread_skill_pooled"].item() == pytest.approx(1, abs=0.015)
    counts = found["rank_histogram_pooled"]
    flat = 36000 / (members + 1)
    assert counts.sum() == pytest.approx(36000)
    # chi-squared of M degrees of freedom: five standard deviations
    assert (((counts - flat) ** 2) / flat).sum() < members + 5 * np.sqrt(2 * members)
    # the fair Brier score doesn't depend on the number of members either
    assert found["brier_pooled"].item() == pytest.approx(drawn_brier(), rel=0.05)


def drawn_brier() -> float:
    """mean p (1 - p) of P(value >= 1), means normal of deviation 3, values of deviation 1."""
    from scipy.stats import norm

    means = norm.ppf((np.arange(10000) + 0.5) / 10000) * 3
    p = norm.sf(1 - means)
    return float((p * (1 - p)).mean())


def test_members_too_alike_make_a_valley():
    found = verify(*drawn(9, spread=0.5, size=30), ["spread_skill", "rank_histogram"])
    assert found["spread_skill_pooled"] < 0.6
    counts = found["rank_histogram_pooled"].values
    assert min(counts[0], counts[-1]) > 2 * counts[3:7].max()


def test_what_is_forecast_with_this_probability_comes_as_often():
    found = verify(*drawn(20), ["reliability"], thresholds=[0])
    often = found["reliability_pooled"].isel(threshold=0)
    # members are drawn like the truth: k of M, drawn of means between, draws to the middle a bit
    assert np.abs(often - found["probability"]).max() < 0.06


# --- beside the other scores


def test_members_are_scored_one_by_one_and_together(random):
    fc, observed = random
    found = verify(fc, observed, ["csi", "crps", "spread_skill"])
    assert found["csi"].dims == ("lead", "member", "threshold") and found["crps"].dims == ("lead",)
    assert found["n"].values[1].tolist() == [69, 69, 69, 68, 69]
    alone = verify(fc.isel(member=2), observed, ["csi"])
    xr.testing.assert_allclose(found["csi"].sel(member=2), alone["csi"])
    mean = fc.mean("member", skipna=False, keep_attrs=True)
    rmse = verify(mean, observed, ["rmse"])["rmse"]
    np.testing.assert_allclose(found["rmse_of_mean"], rmse)
    pooled = scores.score(statistics(fc, observed, ["csi"]).sum("member"), ["csi"])["csi"]
    assert pooled.dims == ("lead", "threshold")


def test_an_ensemble_is_scored_as_one_unless_told(random):
    found = verify(*random)
    assert {*OF_ALL, "mse", "csi", "n", "cases"} <= {*found}
    fc, observed = random
    assert not {*OF_ALL} & {*verify(fc.isel(member=0), observed)}
    assert "brier" not in verify(fc, observed, thresholds=[])


def test_sums_of_ensembles_add_up(random):
    fc, observed = random
    whole = verify(fc, observed, OF_ALL)
    parts = [statistics(fc[i : i + 1], observed, OF_ALL) for i in (0, 1)]
    xr.testing.assert_allclose(scores.score(xr.concat(parts, "init"), OF_ALL), whole)
    assert statistics(fc, observed, ["roc"])["forecasts"].dims == (
        "init",
        "lead",
        "threshold",
        "probability",
    )


@pytest.mark.parametrize("lazy", ["both", "forecast", "observed"])
def test_lazy_is_the_same_in_any_chunks_and_computes_nothing(random, lazy):
    fc, observed = random
    every = [*OF_ALL, "mse", "csi"]
    expected = verify(fc, observed, every)
    if lazy != "observed":
        fc = fc.copy(data=fc.chunk(init=1, member=2, y=2).data)
    if lazy != "forecast":
        observed = observed.chunk(time=2, x=3)

    def bomb(*_, **__):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=bomb):
        found = verify(fc, observed, every)
    assert found["roc"].chunks is not None and found["rank_histogram"].chunks is not None
    assert statistics(fc, observed, ["roc"])["forecasts"].chunks[0] == (
        (2,) if lazy == "observed" else (1, 1)
    )
    xr.testing.assert_allclose(found.compute(), expected)


def test_an_index_has_ensembles_too():
    time = xr.date_range("2000-01", periods=4, freq="MS")
    index = xr.DataArray([0.0, 1, 2, 3], {"time": time}, "time", attrs={"units": "degC"})
    coords = {"init": time[:1], "lead": [1, 2], "valid_time": (("init", "lead"), [time[1:3]])}
    values = [[[0.0, 2, 4], [2, 2, 2]]]
    fc = xr.DataArray(values, coords, ("init", "lead", "member"), attrs=index.attrs)
    found = verify(fc, index)
    assert found["crps"].values == pytest.approx([1 / 3, 0])  # as in `test_crps_by_hand`
    assert found["rank_histogram"].values.tolist() == [[0, 1, 0, 0], [0.25] * 4]


def test_the_accessor_is_a_door(random):
    fc, observed = random
    found = fc.to_dataset().earthformer.verify(observed, ["crps"])
    xr.testing.assert_identical(found, xef.verify(fc, observed, ["crps"]))


def test_exceedance_is_the_share_of_members(random):
    fc, _ = random
    found = exceedance(fc.chunk(init=1), 2.0)
    assert found.chunks is not None and found.dims == ("init", "lead", "y", "x")
    assert found.isnull().sum() == 1 and "valid_time" in found.coords
    np.testing.assert_allclose(found[0], (fc[0] >= 2).sum("member") / 5)
    with pytest.raises(ValueError, match="an ensemble, with the dim member"):
        exceedance(fc.isel(member=0), 2.0)


def test_no_frame_no_score():
    """Blocks without any pixel that counts add nothing."""
    measure = Measure((CASES, CRPS, SPREAD, RANKS), members=2)
    sums = measure.compute(np.full((2, 3, 3), NAN), np.zeros((3, 3)))
    assert sums.tolist() == [0] * measure.size
