"""Scores against a reference, by regime, of what was seen, and how certain they are."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from test_service_scores import pair_of, showers
from test_verify import forecasts, observations

import xearthformer as xef
from xearthformer.verification.confidence import score_confidence
from xearthformer.verification.regimes import wet_area
from xearthformer.verification.scores import score
from xearthformer.verification.skill_score import skill_score
from xearthformer.verification.verify import statistics, verify

NAN = np.nan
ENSEMBLE = "crps", "brier", "csi"


@pytest.fixture
def hours():
    """Forecasts of two leads from 24 inits, five minutes apart; a better and a worse one."""
    observed = observations(showers(0, 26, 6, 7))
    noise = showers(1, 2, 24, 2, 6, 7)
    inits = list(range(24))
    truth = np.stack([[observed.values[i + 1], observed.values[i + 2]] for i in inits])
    good, bad = (
        forecasts(observed, truth + 0.3 * noise[0], inits),
        forecasts(observed, truth, inits),
    )
    return good, bad.copy(data=truth + 2 * noise[1]), observed


# --- skill


def test_skill_by_hand():
    # Errors squared 1 and 4 of the forecast, 4 and 4 of the reference: 1 - 5 / 8.
    fc, observed = pair_of([[1, 2]], [[0, 0]])
    reference = fc.copy(data=np.full_like(fc, 2))
    found = verify(fc, observed, ["mse", "csi", "bias"], thresholds=[2], reference=reference)
    assert found["mse_skill"].values.tolist() == [1 - 5 / 8]
    assert found["mse_pooled_skill"].item() == 1 - 5 / 8
    assert "bias_skill" not in found and "bias" in found  # no direction is better
    # events 1 of 1 right at 2 for the forecast, 1 of 2 for the reference: (1 - .5) / (1 - .5)
    fc, observed = pair_of([[0, 2]], [[0, 2]])
    found = verify(fc, observed, ["csi"], thresholds=[2], reference=reference)
    assert found["csi_skill"].item() == 1 and found["csi_skill"].attrs["units"] == "1"
    # nothing is better than a perfect reference
    assert np.isnan(verify(fc, observed, ["mse"], reference=fc)["mse_skill"].item())


def test_what_makes_no_skill(hours):
    good, bad, observed = hours
    with pytest.raises(ValueError, match="a perfect value\n +found bias, me") as error:
        verify(good, observed, ["bias", "me"], reference=bad)
    arguments = str(error.value).split("try ")[1]
    assert "mse_skill" in eval(f"verify(good, observed, {arguments}, reference=bad)")
    with pytest.raises(ValueError, match="a list of scores"):
        verify(good, observed, "csi", reference=bad)
    with pytest.raises(ValueError, match="with inits of the forecast's, such as 2016"):
        verify(good[:3], observed, ["mse"], reference=bad[5:])


def test_both_are_scored_where_both_have_a_value():
    fc, observed = pair_of([[1, 2, NAN]], [[0, 0, 0]])
    reference = fc.copy(data=[[[[NAN, 4, 1]]]])
    found = verify(fc, observed, ["mse"], reference=reference)
    assert found["n"].item() == 1 and found["mse"].item() == 4
    assert found["mse_skill"].item() == 1 - 4 / 16


def test_a_reference_may_be_longer_in_other_units_and_an_ensemble(hours):
    good, bad, observed = hours
    expected = verify(good[3:9], observed, ["mse"], reference=bad[3:9])
    metres = (bad / 3.6e6).assign_attrs(bad.attrs, units="m s-1")
    xr.testing.assert_allclose(verify(good[3:9], observed, ["mse"], reference=metres), expected)
    one = verify(good[3], observed, ["mse"], reference=bad)
    assert one["mse_skill"].values == pytest.approx(
        verify(good[3:4], observed, ["mse"], reference=bad)["mse_skill"].values
    )
    members = xr.concat([bad, bad], "member").transpose("init", "lead", "member", ...)
    found = verify(good, observed, ENSEMBLE, reference=members)
    # two equal members are as good as one, and their events are counted twice
    alone = verify(good, observed, ENSEMBLE, reference=bad)
    for name in ("crps_skill", "csi_skill"):
        xr.testing.assert_allclose(found[name], alone[name])
    by_member = verify(members, observed, ENSEMBLE, reference=good)
    assert by_member["csi_skill"].dims == ("lead", "member", "threshold")
    assert by_member["crps_skill"].dims == ("lead",)


def test_skill_against_a_row_of_a_table():
    rows = {"forecast": ["persistence", "mine"]}
    table = xr.Dataset({"mse": ("forecast", [4.0, 1.0]), "bias": ("forecast", [1.0, 2.0])}, rows)
    found = skill_score(table, "persistence")
    assert {*found} == {"mse_skill"} and found["mse_skill"].values.tolist() == [0, 0.75]
    with pytest.raises(ValueError, match=r"among persistence, mine\n +found 'lim'") as error:
        skill_score(table, "lim")
    hint = str(error.value).split("try ")[1]
    assert eval(f"xef.skill_score(table, {hint})").equals(found)


def test_lazy_skill_computes_nothing(hours):
    good, bad, observed = hours

    def bomb(*_, **__):
        raise AssertionError("something was computed")

    by = wet_area(observed)
    lazies = [da.copy(data=da.chunk(init=size).data) for da, size in ((good, 5), (bad, 7))]
    with dask.config.set(scheduler=bomb):
        lazy = verify(lazies[0], observed, ["csi", "mse"], reference=lazies[1], by=by)
    expected = verify(good, observed, ["csi", "mse"], reference=bad, by=by)
    xr.testing.assert_allclose(lazy.compute(), expected)


# --- confidence


def test_intervals_are_those_of_a_bootstrap_of_blocks(hours):
    good, _, observed = hours
    sums = statistics(good, observed, ["mse"])
    found = score_confidence(sums, ["mse"], block=4, resamples=4000)
    # the same of mean errors of six blocks, all of as many pixels, by SciPy
    blocks = sums["ee"].values.reshape(6, 4, 2).sum(1) / (4 * 42)
    theirs = stats.bootstrap(
        (blocks[:, 0],), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    ends = [found["mse_low"][0].item(), found["mse_high"][0].item()]
    assert ends == pytest.approx([theirs.low, theirs.high], rel=0.02)
    xr.testing.assert_identical(found["mse"], score(sums, ["mse"])["mse"])
    words = "0.9, from 4000 resamples of 6 blocks of 4 inits"
    assert found.attrs["confidence"] == words
    again = score_confidence(sums, ["mse"], block=4, resamples=4000)
    xr.testing.assert_identical(found, again)


def test_blocks_are_of_consecutive_inits_and_as_long_as_the_forecast(hours):
    good, bad, observed = hours
    sums = statistics(good, observed, ["mse"])
    # leads of 5 and 10 minutes: blocks of two inits; "20 min" are four, wherever a gap is
    default, twenty = score_confidence(sums), score_confidence(sums, block="20 min")
    assert "12 blocks of 10 min" in default.attrs["confidence"]
    assert "6 blocks of 20 min" in twenty.attrs["confidence"]
    gap = sums.isel(init=[*range(8), *range(12, 24)])
    assert "5 blocks" in score_confidence(gap, block="20 min").attrs["confidence"]
    shuffled = sums.isel(init=np.random.default_rng(0).permutation(24))
    xr.testing.assert_allclose(score_confidence(shuffled), default)


def test_an_interval_of_skill_tells_a_difference(hours):
    good, bad, observed = hours
    found = verify(good, observed, ["mse", "csi"], reference=bad, confidence=0.9)
    assert (found["mse_skill_low"] > 0).all() and (found["csi_skill_low"] > 0).all()
    assert (found["mse_skill_low"] < found["mse_skill"]).all()
    assert (found["mse_skill"] < found["mse_skill_high"]).all()
    assert found["n"].dims == ("lead",) and "n_low" not in found
    # drawn together: a forecast is as good as itself in every resample
    same = verify(good, observed, ["mse"], reference=good, confidence=0.9)
    assert (same["mse_skill_low"] == 0).all() and (same["mse_skill_high"] == 0).all()


def test_months_are_in_blocks_of_the_longest_lead():
    time = xr.date_range("2000-01", periods=40, freq="MS")
    rng = np.random.default_rng(0)
    observed = xr.DataArray(rng.standard_normal(40), {"time": time}, "time")
    valid = np.array([time[i + 1 : i + 4] for i in range(36)])
    coords = {"init": time[:36], "lead": [1, 2, 3], "valid_time": (("init", "lead"), valid)}
    fc = xr.DataArray(rng.standard_normal((36, 3)), coords, ("init", "lead"))
    found = verify(fc, observed, ["rmse"], confidence=0.9)
    assert "12 blocks of 3 months" in found.attrs["confidence"]
    assert (found["rmse_low"] < found["rmse"]).all() and (found["rmse"] < found["rmse_high"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 90}, "confidence level between 0 and 1\n +found 90"),
        ({"block": "soon"}, r"as a duration\n.*soon.*\n.*block=\"3h\""),
        ({"block": 0}, "block as a whole number"),
        ({"block": 12}, "3 blocks of inits or more\n +found 2 of 12 inits, from 24 in all"),
    ],
)
def test_what_has_no_confidence(hours, arguments, message):
    sums = statistics(hours[0], hours[2], ["mse"])
    with pytest.raises(ValueError, match=message):
        score_confidence(sums, **arguments)
    with pytest.raises(ValueError, match=r"sums by init\n.*\n.*xef.statistics\(fc, obs\)"):
        score_confidence(sums.sum("init"))


def test_too_few_inits_are_refused_before_anything_is_computed(hours):
    good, _, observed = hours

    def bomb(*_, **__):
        raise AssertionError("something was computed")

    lazy = good.isel(init=[0, 1])
    lazy = lazy.copy(data=lazy.chunk().data)
    with dask.config.set(scheduler=bomb), pytest.raises(ValueError, match="3 blocks of inits"):
        verify(lazy, observed, ["mse"], confidence=0.9)


# --- regimes


def test_scores_by_regime_are_those_of_its_inits(hours):
    good, bad, observed = hours
    labels = xr.DataArray(["dry", "wet", ""] * 8, dims="init", name="weather")
    labels = labels.assign_coords(init=good.init)
    found = verify(good, observed, ["csi", "mse"], reference=bad, by=labels)
    assert found["weather"].values.tolist() == ["dry", "wet"]
    assert found["inits"].values.tolist() == [8, 8]
    for k, name in enumerate(["dry", "wet"]):
        alone = verify(good[k::3], observed, ["csi", "mse"], reference=bad[k::3])
        one = found.sel(weather=name, drop=True).drop_vars("inits")
        xr.testing.assert_allclose(one, alone)
    # the same as a coordinate of the forecast, and labels of every time of the record
    named = good.assign_coords(weather=labels)
    again = verify(named, observed, ["csi", "mse"], reference=bad, by="weather")
    xr.testing.assert_identical(again, found)


def test_a_regime_with_few_inits_has_no_interval(hours):
    good, _, observed = hours
    labels = good.init.copy(data=["often"] * 22 + ["rare"] * 2).rename("weather")
    found = verify(good, observed, ["mse"], by=labels, confidence=0.9)
    assert found["mse"].notnull().all()
    assert found["mse_low"].sel(weather="rare").isnull().all()
    assert (found["mse_low"] < found["mse"]).sel(weather="often").all()


def test_the_wet_area_of_each_frame():
    frames = [[[0, 0], [0, 0]], [[0.1, 0], [0, NAN]], [[1, 1], [0, 0]], [[NAN] * 2] * 2]
    observed = observations(frames)
    found = wet_area(observed, edges=[0.3, 0.5])  # shares of 0, 1/3, 1/2 and none
    assert found.values.tolist() == ["under 30 %", "30 to 50 %", "over 50 %", ""]
    fc = forecasts(observed, np.ones((3, 1, 2, 2)), [0, 1, 2])
    scores = verify(fc, observed, ["mse"], by=wet_area(observed, edges=[0.3]))
    assert scores["wet_area"].values.tolist() == ["over 30 %", "under 30 %"]
    assert scores["inits"].values.tolist() == [2, 1]
    with pytest.raises(ValueError, match=r"rising shares.*\n.*\n.*edges=\[0.05, 0.2\]"):
        wet_area(observed, edges=[20])


def test_what_is_no_label(hours):
    fc, _, obs = hours
    with pytest.raises(ValueError, match="found 'weather', of the coordinates none") as error:
        verify(fc, obs, ["mse"], by="weather")
    hint = str(error.value).split("try ")[1].split(",")[0]
    assert "wet_area" in eval(f"xef.verify(fc, obs, ['mse'], {hint})").dims
    labels = wet_area(obs[:4])
    with pytest.raises(ValueError, match="every init\n +found none for 2016-07-11 21:20") as error:
        verify(fc, obs, ["mse"], by=labels)
    hint = str(error.value).split("try ")[1].split(", which")[0]
    found = eval(f"xef.verify(fc, obs, ['mse'], {hint})")
    assert found["inits"].sum().item() == 4 and labels.size == 4
    with pytest.raises(ValueError, match="inits with a label"):
        verify(fc, obs, ["mse"], by=fc.init.copy(data=[""] * 24))
    # numbers are labels too, missing ones left out
    classes = fc.init.copy(data=[1.0] * 20 + [NAN] * 4).rename("class")
    assert verify(fc, obs, ["mse"], by=classes)["inits"].values.tolist() == [20]


# --- what was seen


def test_pixels_that_are_not_known_do_not_count():
    fc, observed = pair_of([[1, 2, 3]], [[0, 0, 0]])
    share = fc.copy(data=[[[[1.0, 0.5, 0.49]]]]).astype("float32")
    fc = fc.assign_coords(known=share.reset_coords(drop=True).variable)
    found = verify(fc, observed, ["mse"], known=0.5)
    assert found["n"].item() == 2 and found["mse"].item() == (1 + 4) / 2
    xr.testing.assert_identical(fc.earthformer.verify(observed, ["mse"], known=0.5), found)
    members = xr.concat([fc, fc + 1], "member").transpose("init", "lead", "member", ...)
    assert verify(members, observed, ["crps"], known=0.5)["cases"].item() == 2
    lazy = verify(fc.copy(data=fc.chunk().data), observed, ["mse"], known=0.5)
    assert lazy["mse"].chunks is not None and lazy.compute().equals(found)
    one = fc.isel(init=0, lead=0)
    assert verify(one, observed, ["mse"], known=0.5)["mse"].item() == found["mse"].item()
    # each of two forecasts knows its own pixels; those that both know count
    other = fc.copy().assign_coords(known=fc["known"].copy(data=[[[[0.0, 1.0, 1.0]]]]))
    assert verify(fc, observed, ["mse"], known=0.5, reference=other)["n"].item() == 1
    # persistence says nothing of it, and counts where the forecast is known
    silent = other.drop_vars("known") + 1
    found = verify(fc, observed, ["mse"], known=0.5, reference=silent.assign_attrs(fc.attrs))
    assert found["n"].item() == 2 and found["mse_skill"].item() == 1 - (1 + 4) / (4 + 9)


def test_known_is_of_nowcasts(hours):
    fc, _, obs = hours
    with pytest.raises(ValueError, match="the coordinate known") as error:
        verify(fc, obs, ["mse"], known=0.5)
    hint = str(error.value).split("try ")[1].split(",")[0]
    assert "mse" in eval(f"xef.verify(fc, obs, ['mse'], {hint})")
    named = fc.assign_coords(known=xr.ones_like(fc).reset_coords(drop=True).variable)
    with pytest.raises(ValueError, match="a share above 0 and up to 1\n +found 50"):
        verify(named, obs, ["mse"], known=50)


def test_all_at_once_from_the_package(hours):
    good, bad, observed = hours
    found = xef.verify(
        good, observed, ["csi", "fss"], thresholds=[1], window=[1, 3], reference=bad, confidence=0.9
    )
    assert found["fss_skill_low"].dims == ("lead", "window", "threshold")
    sums = xef.statistics(good, observed, ["csi"])
    table = xef.score_confidence(sums, block=pd.Timedelta("10min").isoformat())
    assert {"csi", "csi_low", "csi_pooled_high"} <= {*table}
