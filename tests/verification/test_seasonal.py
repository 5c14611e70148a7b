"""Seasons: their means and names, probabilities of categories, skill by target season."""

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.verification.enso import enso_ensemble_skill, enso_seasons, enso_skill
from xearthformer.verification.products import exceedance
from xearthformer.verification.seasonal import categories, season_names, seasonal_mean

ATTRS = {"units": "degC", "units_metadata": "temperature: difference"}


def ensemble(values, start="1997-06", attrs=ATTRS):
    """Forecasts (init, lead, member) of Nino3.4, an init a month."""
    values = np.asarray(values, float)
    inits, leads, _ = values.shape
    time = xr.date_range(start, periods=inits + leads, freq="MS")
    lead = np.arange(1, leads + 1)
    coords = {
        "init": time[:inits],
        "lead": ("lead", lead, {"units": "months"}),
        "valid_time": (("init", "lead"), time.values[np.arange(inits)[:, None] + lead]),
    }
    return xr.DataArray(values, coords, ("init", "lead", "member"), "nino3.4", attrs)


def record(values, start="1997-06"):
    time = xr.date_range(start, periods=len(values), freq="MS")
    return xr.DataArray(np.asarray(values, float), {"time": time}, ("time",), "nino3.4", ATTRS)


def test_names_of_seasons():
    assert season_names(3)[::3] == ["JFM", "AMJ", "JAS", "OND"]
    assert season_names(3)[11] == "DJF" and season_names(2)[11] == "DJ"
    assert season_names(1)[11] == "Dec"


@pytest.mark.parametrize("lazy", [False, True])
def test_seasonal_means_of_forecasts_and_records_meet(lazy):
    # Months 0, 1, 2, ... from June 1997; the forecast is what came.
    obs = record(np.arange(8.0))
    fc = ensemble([[[1], [2], [3], [4]], [[2], [3], [4], [5]]]).isel(member=0)
    fc = fc.chunk(init=1) if lazy else fc
    means = seasonal_mean(fc)
    assert (means.chunks is not None) == lazy
    assert means.values.tolist() == [[2, 3], [3, 4]]
    assert means["season"].values.tolist() == [["JAS", "ASO"], ["ASO", "SON"]]
    assert means["lead"].values.tolist() == [1, 2]
    observed = seasonal_mean(obs)
    assert observed.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert observed["season"].values[:2].tolist() == ["JJA", "JAS"]
    assert fc.earthformer.seasonal_mean().identical(means)
    assert xef.verify(means, observed, ["rmse"])["rmse"].values.tolist() == [0, 0]
    assert seasonal_mean(fc.to_dataset())["nino3.4"].identical(means)


def test_what_has_no_seasons():
    with pytest.raises(ValueError, match="successive months from 1 on"):
        seasonal_mean(ensemble(np.zeros((1, 4, 2))).isel(lead=[0, 2, 3]))
    with pytest.raises(ValueError, match="3 months or more.*\n.*2"):
        seasonal_mean(record([0, 1]))
    daily = record([0, 1, 2]).assign_coords(time=xr.date_range("2000", periods=3, freq="D"))
    with pytest.raises(ValueError, match="a step of"):
        seasonal_mean(daily)


# --- categories


def test_categories_by_hand():
    # Means over three months: -0.5 (La Nina), 0.4 (neutral), 0.5 and 1 (El Nino); then one missing.
    first = [[-1, 0.4, 0.5, 1], [0, 0.4, 0.5, 1], [-0.5, 0.4, 0.5, 1]]
    second = [[-1, 0.4, 0.5, np.nan]] * 3
    found = categories(ensemble([first, second], "1997-11"))
    assert found.dims == ("init", "lead", "category")
    assert found["category"].values.tolist() == ["La Nina", "neutral", "El Nino"]
    assert found[0, 0].values.tolist() == [0.25, 0.25, 0.5]
    assert found[1].isnull().all()
    assert found["season"].values.tolist() == [["DJF"], ["JFM"]]
    assert found.attrs["thresholds"] == [-0.5, 0.5] and found.attrs["units"] == "1"
    assert "units_metadata" not in found.attrs  # a probability is no temperature


def test_any_thresholds():
    values = ensemble([[[-2, -1, 0, 3]] * 3])
    found = categories(values, thresholds=[1.5, -1.0, 0.5])
    assert found["category"].values.tolist() == ["below -1", "-1 to 0.5", "0.5 to 1.5", "above 1.5"]
    assert found.values.ravel().tolist() == [0.5, 0.25, 0, 0.25]
    one = categories(values, thresholds=[1.5])
    assert one.values.ravel().tolist() == [0.75, 0.25]
    np.testing.assert_array_equal(
        exceedance(seasonal_mean(values), 1.5), one.sel(category="above 1.5")
    )
    assert seasonal_mean(values).earthformer.exceedance(1.5).item() == 0.25
    strong = categories(values, thresholds=(-1.5, 1.5))
    assert strong["category"].values.tolist() == ["La Nina", "neutral", "El Nino"]
    with pytest.raises(ValueError, match="thresholds that differ"):
        categories(values, thresholds=[0.5, 0.5])


def test_categories_of_fields_one_init_and_other_units():
    index = ensemble(np.random.default_rng(0).normal(0, 1, (2, 4, 6)))
    expected = categories(index)
    grid = {"lat": [-4.0, 0.0, 4.0], "lon": [190.0, 210.0, 230.0]}
    fields = index.expand_dims(grid).transpose("init", "lead", "member", "lat", "lon")
    np.testing.assert_allclose(fields.earthformer.categories("nino3.4"), expected)
    assert categories(fields.chunk(init=1, member=2)).chunks is not None
    np.testing.assert_allclose(categories(fields.chunk(init=1, member=2)), expected)
    np.testing.assert_array_equal(categories(index.isel(init=1)), expected[1])
    fahrenheit = (index * 1.8).assign_attrs(ATTRS, units="degF")
    np.testing.assert_allclose(categories(fahrenheit), expected)
    np.testing.assert_allclose(categories(index.drop_attrs()), expected)
    # an index of a Dataset keeps the variable's name
    ds = fields.rename("sst").to_dataset()
    np.testing.assert_allclose(ds.earthformer.index("nino3.4").earthformer.categories(), expected)
    two = ds.assign(zos=ds["sst"]).earthformer.index("nino3.4")
    with pytest.raises(ValueError, match=r"one variable\n +found sst, zos\n +try ds\[\"sst\"\]"):
        categories(two)
    # of temperature and height, indices are of the temperature
    two["sst"].attrs["standard_name"] = "sea_surface_temperature"
    two["zos"] = (two["zos"] * 100).assign_attrs(units="m")
    np.testing.assert_allclose(categories(two), expected)
    obs = record(np.random.default_rng(1).normal(0, 1, 13))
    both = xr.Dataset({"zos": obs, "sst": obs})
    xr.testing.assert_equal(enso_ensemble_skill(two, both), enso_ensemble_skill(two["sst"], obs))
    fields_of_two = ds.assign(zos=ds["sst"] * 100)
    fields_of_two["sst"].attrs["standard_name"] = "sea_surface_temperature"
    ax = fields_of_two.earthformer.plot.plume()
    assert ax.get_ylabel() == "nino3.4 index (°C)" and max(ax.get_ylim()) < 10


def test_indices_may_stand_in_datasets():
    fc = ensemble(np.random.default_rng(0).normal(0, 1, (8, 4, 6)))
    obs = record(np.random.default_rng(1).normal(0, 1, 13))
    for score in (enso_skill, enso_seasons, enso_ensemble_skill):
        both = fc.to_dataset(), obs.to_dataset()
        xr.testing.assert_identical(score(*both), score(fc, obs))


REFUSED = {
    "no members": (lambda fc: fc.isel(member=0), r"dim member.*\n.*\n.*members=50"),
    "another index": (lambda fc: fc.rename("iod"), r"another index.*\n.*iod\n.*thresholds="),
    "absolute": (
        lambda fc: fc.assign_attrs(units_metadata="temperature: on_scale"),
        r"anomalies, .*\n.*absolute values\n.*units_metadata",
    ),
    "too few leads": (lambda fc: fc.isel(lead=[0, 1]), "3 leads or more"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_categories(case):
    spoil, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        categories(spoil(ensemble(np.zeros((1, 3, 4)))))


# --- skill


def test_skill_by_season_is_that_of_the_inits_before_it():
    rng = np.random.default_rng(0)
    fc = ensemble(rng.standard_normal((60, 6, 1)), "1990-01").isel(member=0)
    obs = record(rng.standard_normal(66), "1990-01")
    found = enso_seasons(fc, obs)
    assert found["correlation"].dims == ("season", "lead")
    assert found["season"].values.tolist() == [season_names(3)[i - 1] for i in range(12)]
    # DJF begins in December: two months ahead of it, forecasts start in October.
    october = fc.isel(init=slice(9, None, 12))
    expected = enso_skill(october, obs).sel(lead=2)
    at = found.sel(season="DJF", lead=2)
    for name in ("correlation", "rmse", "n"):
        assert at[name].item() == pytest.approx(expected[name].item())
    assert found["n"].sum("season").values.tolist() == enso_skill(fc, obs)["n"].values.tolist()
    lazy = enso_seasons(fc.chunk(init=30), obs.chunk(time=40))
    assert lazy["rmse"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), found)
    # two pairs correlate whatever they are
    few = enso_seasons(fc.isel(init=slice(24)), obs)
    assert few["correlation"].isnull().all() and few["rmse"].notnull().all()


def test_slope_is_that_of_forecasts_on_observations():
    obs = record(np.random.default_rng(0).standard_normal(12))
    at = np.arange(8)[:, None, None] + np.arange(1, 5)[:, None]
    fc = ensemble(0.3 * obs.values[at] + 1).isel(member=0)
    np.testing.assert_allclose(enso_skill(fc, obs)["slope"], 0.3)


# --- ensembles


def test_ensembles_by_hand():
    # One lead of one month: members -1, 1, 3 (mean 1, variance 4); observed 2.
    fc, obs = ensemble([[[-1, 1, 3]]]), record([0, 2])
    skill = enso_ensemble_skill(fc, obs, months=1)
    assert skill["spread"].item() == pytest.approx(np.sqrt(4 * 4 / 3))
    assert skill["rmse"].item() == pytest.approx(1)
    assert skill["spread_skill"].item() == pytest.approx(np.sqrt(16 / 3))
    # mean |x - o| = 5/3; mean difference of two members: (2 + 4 + 2) / 3, and half of it 4/3.
    assert skill["crps"].item() == pytest.approx(5 / 3 - 4 / 3)
    # one error as large as its standard deviation: z = 1
    expected = (2 * 0.8413447 - 1) + 2 * 0.2419707 - 1 / np.sqrt(np.pi)
    assert skill["crps_dressed"].item() == pytest.approx(expected, rel=1e-5)
    assert skill.attrs["members"] == 3
    with pytest.raises(ValueError, match="2 members or more"):
        enso_ensemble_skill(fc.isel(member=[0]), obs, months=1)


@pytest.fixture(scope="module")
def sampled():
    """An ensemble of the truth's own distribution: centres of any kind, spread 0.5."""
    rng = np.random.default_rng(1)
    inits, leads, members = 120, 5, 20
    obs = record(rng.standard_normal(inits + leads), "1990-01")
    at = np.arange(inits)[:, None] + np.arange(1, leads + 1)
    values = obs.values[at][..., None] + rng.normal(0, 0.5, (inits, leads, members))
    return ensemble(values, "1990-01"), obs


def test_ensembles_as_the_library_scores_has_them(sampled):
    pytest.importorskip("scores.probability")
    from scores.probability import crps_for_ensemble

    fc, obs = sampled
    means, truth = seasonal_mean(fc), seasonal_mean(obs)
    at = np.arange(120)[:, None] + np.arange(1, 4)
    target = means.isel(member=0, drop=True).copy(data=truth.values[at])
    expected = crps_for_ensemble(means, target, "member", method="fair", reduce_dims=["init"])
    skill = enso_ensemble_skill(fc, obs)
    np.testing.assert_allclose(skill["crps"], expected)
    mean = enso_skill(fc.mean("member", keep_attrs=True), obs)
    xr.testing.assert_allclose(skill[list(mean)].drop_attrs(), mean.drop_attrs())
    lazy = enso_ensemble_skill(fc.chunk(init=50, member=7), obs)
    assert lazy["crps"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), skill)
    gap = enso_ensemble_skill(fc.where(fc.init != fc.init[3]), obs)
    xr.testing.assert_allclose(gap, enso_ensemble_skill(fc.drop_isel(init=3), obs))


def test_a_calibrated_ensemble_spreads_as_it_errs():
    # Forecast of nothing: truth and members are drawn alike, and the mean errs as they spread.
    rng = np.random.default_rng(2)
    fc = ensemble(rng.standard_normal((400, 3, 10)), "1950-01")
    obs = record(rng.standard_normal(403), "1950-01")
    skill = enso_ensemble_skill(fc, obs, months=1)
    np.testing.assert_allclose(skill["spread_skill"], 1, atol=0.08)
    # members of the truth's distribution are as good as the mean dressed with it
    np.testing.assert_allclose(skill["crps"], skill["crps_dressed"], rtol=0.1)
