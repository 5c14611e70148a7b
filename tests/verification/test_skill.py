"""Maps of skill, and skill with confidence: by hand, and by resampling that has to cover."""

import numpy as np
import pytest
import xarray as xr
from small_nino34 import ATTRS, labels, record

from xearthformer.verification.enso import enso_skill
from xearthformer.verification.skill import skill_confidence, skill_map


def forecasts(obs, inits, leads, error):
    """What came, and an error on it: (init, lead)."""
    at, coords = labels(obs, inits, leads)
    return xr.DataArray(obs.values[at] + error, coords, ("init", "lead"), "nino3.4", ATTRS)


@pytest.fixture(scope="module")
def pair():
    """Eight years, four leads, errors that grow with the lead."""
    rng = np.random.default_rng(0)
    obs = record(rng.standard_normal(101))
    return forecasts(obs, 96, 4, rng.standard_normal((96, 4)) * np.arange(1, 5) / 2), obs


def fields(da):
    """Three cells: the index, twice it, and land."""
    factor = xr.DataArray(
        [[1.0], [2.0], [np.nan]], {"lat": [0.0, 2, 4], "lon": [190.0]}, ("lat", "lon")
    )
    return (da * factor).assign_attrs(ATTRS)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_map_has_the_skill_of_each_cell(pair, lazy):
    fc, obs = pair
    expected = enso_skill(fc, obs)
    # the other way round in latitude, and more of it
    others = fields(obs).isel(lat=[2, 1, 0])
    given = fields(fc), others
    if lazy:
        given = given[0].chunk(init=10), others.chunk(time=20)
    found = skill_map(*given)
    assert (found["correlation"].chunks is not None) == lazy
    assert found["correlation"].dims == ("lead", "lat", "lon")
    np.testing.assert_allclose(found["correlation"][:, 0, 0], expected["correlation"])
    np.testing.assert_allclose(found["correlation"][:, 1, 0], expected["correlation"])
    np.testing.assert_allclose(found["rmse"][:, 1, 0], 2 * expected["rmse"])
    assert found["n"].values[:, :, 0].tolist() == [[96, 96, 0]] * 2
    assert found["correlation"][:, 2].isnull().all()
    assert found["rmse"].attrs["units"] == "degC"


def test_the_mean_of_an_ensemble_is_mapped(pair):
    fc, obs = pair
    ensemble = xr.concat([fc - 1, fc + 1], "member").assign_attrs(ATTRS)
    xr.testing.assert_allclose(skill_map(ensemble, obs), skill_map(fc, obs))


def test_confidence_is_about_the_skill(pair):
    fc, obs = pair
    found = skill_confidence(fc, obs, resamples=200)
    expected = enso_skill(fc, obs)
    np.testing.assert_allclose(found["correlation"], expected["correlation"])
    np.testing.assert_allclose(found["rmse"], expected["rmse"])
    np.testing.assert_allclose(found["correlation_mean"], expected["correlation_mean"])
    for name in ("correlation", "rmse", "correlation_mean"):
        assert (found[f"{name}_low"] < found[name]).all()
        assert (found[name] < found[f"{name}_high"]).all()
    assert found.attrs["confidence"] == "0.9, from 200 resamples of 8 blocks of 1 years of inits"
    xr.testing.assert_identical(found, skill_confidence(fc, obs, resamples=200))
    assert not found.equals(skill_confidence(fc, obs, resamples=200, seed=1))
    wider = skill_confidence(fc, obs, resamples=200, level=0.99)
    assert (wider["rmse_high"] > found["rmse_high"]).all()


def test_years_are_drawn_whole():
    # One year errs by 4, all others by 0: a resample's mean square error is 16 k / 5, with the year
    # drawn k times out of 5. No other values occur.
    obs = record(np.random.default_rng(0).standard_normal(62))
    error = np.repeat([0, 4, 0, 0, 0], 12)[:, None] * [1, 1]
    fc = forecasts(obs, 60, 2, error)
    found = skill_confidence(fc, obs, months=1, resamples=300, level=0.8)
    counts = found["rmse_high"] ** 2 * 5 / 16
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert found["rmse_low"].values.tolist() == [0, 0]
    two = skill_confidence(fc.isel(init=slice(48)), obs, months=1, years=1, resamples=10)
    assert "4 blocks" in two.attrs["confidence"]


def test_a_difference_is_resampled_together(pair):
    fc, obs = pair
    # The reference errs by the same and half a degree more: its error is larger in any year.
    worse = (fc + 3).assign_attrs(ATTRS)
    found = skill_confidence(fc, obs, worse, resamples=100)
    expected = enso_skill(fc, obs)["rmse"] - enso_skill(worse, obs)["rmse"]
    np.testing.assert_allclose(found["rmse_difference"], expected)
    assert (found["rmse_difference_high"] < 0).all()
    np.testing.assert_allclose(found["correlation_difference"], 0, atol=1e-12)
    np.testing.assert_allclose(found["correlation_difference_low"], 0, atol=1e-12)
    # inits that the reference lacks count for neither
    part = skill_confidence(fc, obs, worse.isel(init=slice(48)), resamples=10)
    xr.testing.assert_allclose(
        part["correlation"],
        skill_confidence(fc.isel(init=slice(48)), obs, resamples=10)["correlation"],
    )


def test_fields_have_confidence_too(pair):
    fc, obs = pair
    expected = skill_confidence(fc, obs, resamples=50)
    found = skill_confidence(fields(fc).chunk(init=30), fields(obs), resamples=50)
    for name in ("correlation", "correlation_low", "correlation_mean_high"):
        np.testing.assert_allclose(found[name].isel(lat=1, lon=0), expected[name])
        assert found[name].isel(lat=2).isnull().all()


def test_what_has_no_confidence(pair):
    fc, obs = pair
    with pytest.raises(ValueError, match=r"3 blocks of inits.*\n.*2, of 4 years each"):
        skill_confidence(fc, obs, years=4)
    with pytest.raises(ValueError, match=r"between 0 and 1\n.*90\n.*level=0.9"):
        skill_confidence(fc, obs, level=90)
    with pytest.raises(ValueError, match="whole number from 1"):
        skill_confidence(fc, obs, resamples=0)
