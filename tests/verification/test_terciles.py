"""Terciles: edges by season, probabilities, and the RPSS by hand and against the library scores."""

import numpy as np
import pytest
import xarray as xr
from small_nino34 import ATTRS, labels, record

import xearthformer as xef
from xearthformer.verification.terciles import rpss, terciles

YEARS = 6


def forecasts(obs, inits, leads, members):
    """Members (init, lead, member) from the first months of a record, all 0."""
    _, coords = labels(obs, inits, leads)
    values = np.zeros((inits, leads, members))
    return xr.DataArray(values, coords, ("init", "lead", "member"), "nino3.4", ATTRS)


@pytest.fixture
def january():
    """Month m of year y holds 100 m + y, y = 0 .. 6: edges of terciles at y = 2 and 4."""
    months = np.arange(12 * 7)
    return record(100 * (months % 12 + 1) + months // 12)


def test_probabilities_by_hand(january):
    fc = forecasts(january, 1, 2, 4)
    # February: edges 202 and 204; March: 302 and 304. Values at an edge are above it.
    fc[0, 0], fc[0, 1] = [201, 202, 203, 204], [0, 0, 0, np.nan]
    found = fc.earthformer.terciles(january, months=1)
    assert found.dims == ("init", "lead", "category")
    assert found["category"].values.tolist() == ["below normal", "near normal", "above normal"]
    np.testing.assert_allclose(found[0, 0], [0.25, 0.5, 0.25])
    assert found[0, 1].isnull().all()
    early = terciles(fc, january, period=("2000", "2002"), months=1)
    # of 200, 201, 202: edges 200 2/3 and 201 1/3
    np.testing.assert_allclose(early[0, 0], [0, 0.25, 0.75])


def test_of_months_to_come(january):
    """A record that ends with the init: edges need the past alone."""
    fc = forecasts(january, 25, 1, 4)[-1:]
    past = january.sel(time=slice(None, fc.init.values[0]))
    fc[0, 0] = [199, 200.5, 200.5, 202]  # February: 200 and 201, edges 200 1/3 and 200 2/3
    found = terciles(fc, past, months=1)
    assert found.valid_time.values[0, 0] > past.time.values[-1]
    np.testing.assert_allclose(found[0, 0], [0.25, 0.5, 0.25])
    with pytest.raises(ValueError, match="nothing to compare"):
        rpss(fc, past, months=1)


def test_rpss_by_hand(january):
    fc = forecasts(january, 1, 1, 4)
    fc[0, 0] = [201, 202, 203, 204]
    # Observed 200, below normal: cumulative shares 1/4 and 3/4 against 1 and 1.
    found = fc.earthformer.rpss(january, months=1)
    plain = (3 / 4) ** 2 + (1 / 4) ** 2
    fair = plain - 2 * (1 / 4) * (3 / 4) / 3
    assert found["rps"].item() == pytest.approx(fair)
    assert found["rps_reference"].item() == pytest.approx((2 / 3) ** 2 + (1 / 3) ** 2)
    assert found["rpss"].item() == pytest.approx(1 - fair / (5 / 9))
    assert found["n"].item() == 1
    # one that is sure and wrong by one tercile, as a reference
    sure = fc.isel(member=1)
    against = rpss(fc, january, sure, months=1)
    assert against["rps_reference"].item() == pytest.approx(1)
    assert against["rpss"].item() == pytest.approx(1 - fair)


def test_climatology_has_no_skill_and_the_truth_has_all():
    rng = np.random.default_rng(0)
    obs = record(rng.standard_normal(12 * 40))
    fc = forecasts(obs, 12 * 39, 5, 25)
    drawn = fc.copy(data=rng.standard_normal(fc.shape))
    skill = rpss(drawn, obs)
    assert skill["rpss"].dims == ("lead",) and skill.sizes["lead"] == 3
    # sure that it averages months that are drawn alone: seasons are as variable on both sides
    np.testing.assert_allclose(skill["rpss"], 0, atol=0.05)
    at = np.arange(12 * 39)[:, None] + np.arange(1, 6)
    truth = fc + obs.values[at][..., None]
    assert rpss(truth.assign_attrs(ATTRS), obs)["rpss"].values.tolist() == [1, 1, 1]


def test_fields_lazy_and_with_gaps():
    rng = np.random.default_rng(1)
    obs = record(rng.standard_normal(12 * YEARS))
    fc = (forecasts(obs, 40, 4, 5) + rng.standard_normal((40, 4, 5))).assign_attrs(ATTRS)
    expected = rpss(fc, obs)
    grid = {"lat": [0.0, 2.0], "lon": [190.0]}
    fields = fc.expand_dims(grid, (-2, -1)).where(xr.DataArray([True, False], dims="lat"))
    fields_obs = obs.expand_dims(grid, (-2, -1))
    found = rpss(fields.chunk(init=7, member=2), fields_obs.chunk(time=11))
    assert found["rpss"].chunks is not None
    np.testing.assert_allclose(found["rpss"][:, 0, 0], expected["rpss"])
    assert found["rpss"][:, 1].isnull().all() and found["n"][:, 1].values.tolist() == [[0], [0]]
    shares = terciles(fields, fields_obs)
    assert shares.dims == ("init", "lead", "category", "lat", "lon")
    np.testing.assert_allclose(shares[..., 0, 0], terciles(fc, obs))
    np.testing.assert_allclose(shares[..., 0, 0].sum("category"), 1)
    # an init without a member counts for nothing
    gap = rpss(fc.where(fc.init != fc.init[3]), obs)
    xr.testing.assert_allclose(gap, rpss(fc.drop_isel(init=3), obs))


def test_what_has_no_terciles(january):
    fc = forecasts(january, 2, 3, 2)
    with pytest.raises(ValueError, match=r"members=50"):
        terciles(fc.isel(member=0), january)
    with pytest.raises(ValueError, match="seasons of every month"):
        rpss(fc, january, period=("2000-01", "2000-06"))
    with pytest.raises(ValueError, match="anomalies, as the forecast has them"):
        rpss(fc, january.assign_attrs(units_metadata="temperature: on_scale"))
    with pytest.raises(ValueError, match=r"reference with the forecast's inits.*\n.*\n.*fc.init"):
        rpss(fc.isel(init=[0]), january, fc.isel(init=[1]))
    assert xef.rpss is rpss and xef.terciles is terciles
