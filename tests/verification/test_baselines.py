"""Forecasts and observations in other units, against other periods, or of another kind."""

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.verification.enso import enso_skill
from xearthformer.verification.verify import verify

ATTRS = {"units": "degC", "standard_name": "sea_surface_temperature"}
DIFFERENCE = "temperature: difference"


@pytest.fixture
def sst():
    """Six years of Nino3.4, an annual cycle and a warming of half a degree a year."""
    time = xr.date_range("2000-01", periods=72, freq="MS")
    months = np.arange(72)
    noise = np.random.default_rng(0).standard_normal(72)
    values = 27 + 2 * np.sin(2 * np.pi * months / 12) + 0.5 * (months // 12) + 0.1 * noise
    return xr.DataArray(values, {"time": time}, ("time",), "nino3.4", ATTRS)


def forecast_of(index, leads=4):
    """What came, as if it had been forecast: (init, lead)."""
    n = index.sizes["time"] - leads
    lead = np.arange(1, leads + 1)
    at = np.arange(n)[:, None] + lead
    coords = {
        "init": index.time.values[:n],
        "lead": ("lead", lead, {"units": "months"}),
        "valid_time": (("init", "lead"), index.time.values[at]),
    }
    return xr.DataArray(index.values[at], coords, ("init", "lead"), index.name, index.attrs)


SCORES = {"enso_skill": enso_skill, "verify": lambda fc, obs: verify(fc, obs, ["rmse", "me"])}


@pytest.fixture(params=SCORES)
def score(request):
    return SCORES[request.param]


def mended(error, **names):
    """What the last line of an error, typed as printed, gives."""
    line = str(error.value).partition("try ")[2].split(";")[0].split(", of ")[0]
    return eval(line, {"xef": xef}, names)


def test_other_periods_are_refused_and_the_line_printed_mends_them(sst, score):
    fc = forecast_of(sst.earthformer.anomaly((2000, 2001)))
    obs = sst.earthformer.anomaly((2004, 2005))
    with pytest.raises(
        ValueError, match=r'against \("2000", "2001"\).*\n.*\("2004", "2005"\)'
    ) as e:
        score(fc, obs)
    skill = score(fc, mended(e, obs=obs))
    np.testing.assert_allclose(skill["rmse"], 0, atol=1e-6)
    # a record without those years can't change its baseline: back to the absolute values
    with pytest.raises(ValueError, match="of absolute values of these years") as e:
        score(fc, obs.sel(time=slice("2001", None)))
    np.testing.assert_allclose(score(fc, mended(e, sst=sst))["rmse"], 0, atol=1e-6)


def test_a_period_that_is_not_stated_is_accepted(sst, score):
    fc = forecast_of(sst.earthformer.anomaly((2000, 2001)))
    obs = sst.earthformer.anomaly((2000, 2001))
    del obs.attrs["climatology_period"]
    np.testing.assert_allclose(score(fc, obs)["rmse"], 0, atol=1e-6)


def test_absolute_values_are_not_scored_against_anomalies(sst, score):
    anomalies = sst.earthformer.anomaly((2000, 2001))
    with pytest.raises(ValueError, match=r"expected anomalies.*\n.*absolute values observed") as e:
        score(forecast_of(anomalies), sst)
    np.testing.assert_allclose(score(forecast_of(anomalies), mended(e, obs=sst))["rmse"], 0)
    with pytest.raises(ValueError, match=r"expected absolute values.*\n.*anomalies observed"):
        score(forecast_of(sst), anomalies)


def test_kelvin_and_celsius_are_the_same_temperature(sst, score):
    kelvin = (sst + 273.15).assign_attrs(ATTRS, units="K")
    np.testing.assert_allclose(score(forecast_of(sst), kelvin)["rmse"], 0, atol=1e-6)
    for difference in (sst, kelvin):
        obs = difference.earthformer.anomaly((2000, 2001))
        fc = forecast_of(sst.earthformer.anomaly((2000, 2001)))
        np.testing.assert_allclose(score(fc, obs)["rmse"], 0, atol=1e-6)
    with pytest.raises(ValueError, match="convert to degC"):
        score(forecast_of(sst), sst.assign_attrs(units="m"))


def test_an_index_of_bare_numbers_is_taken_as_it_is(sst):
    fc = forecast_of(sst.earthformer.anomaly((2000, 2001)))
    bare = sst.earthformer.anomaly((2000, 2001)).drop_attrs()
    np.testing.assert_allclose(enso_skill(fc, bare)["rmse"], 0)
    np.testing.assert_allclose(enso_skill(fc.drop_attrs(), bare)["rmse"], 0)
