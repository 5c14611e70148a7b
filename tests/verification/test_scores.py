"""Scores: the ICAR-ENSO golden values, alignment, and statistics that add up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xearthformer.verification import enso
from xearthformer.verification.deterministic import correlation, moments
from xearthformer.verification.enso import enso_skill, icar_nino34

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics_enso.json").read_text())
SST_MIN, SST_MAX = -16.549121856689453, 10.198975563049316


def months(start: str, n: int) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq="MS")


def forecast_of(values, start: str = "2000-01", first_lead: int = 1) -> xr.DataArray:
    """A forecast (init, lead), an init a month."""
    values = np.asarray(values, float)
    n, leads = values.shape
    time = months(start, n + leads + first_lead)
    valid = [time[i + first_lead : i + first_lead + leads] for i in range(n)]
    coords = {
        "init": time[:n],
        "lead": ("lead", np.arange(first_lead, first_lead + leads), {"units": "months"}),
        "valid_time": (("init", "lead"), np.array(valid)),
    }
    return xr.DataArray(values, coords, ("init", "lead"), attrs={"units": "degC"})


def observed_of(values, start: str = "2000-01") -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), {"time": months(start, len(values))}, "time")


@pytest.fixture(scope="module")
def golden() -> tuple[xr.DataArray, xr.DataArray]:
    """Forecast and truth as GOLDEN["input"] says: scaled SST anomaly (sample, time, lat, lon)."""
    rng = np.random.default_rng(11)
    true = (rng.standard_normal((40, 14, 24, 48)) * 0.05 + 0.6).astype("f4")
    pred = true + (rng.standard_normal((40, 14, 24, 48)) * 0.03).astype("f4")
    dims = "init", "lead", "lat", "lon"
    return xr.DataArray(pred, dims=dims), xr.DataArray(true, dims=dims)


def test_icar_golden(golden):
    index = [icar_nino34(da.astype(float) * (SST_MAX - SST_MIN) + SST_MIN) for da in golden]
    # Samples stand 20 months apart, so that no month is observed twice.
    valid = np.array([months("1900-01", 800)[20 * i + 1 : 20 * i + 15] for i in range(40)])
    coords = {"lead": np.arange(1, 15), "valid_time": (("init", "lead"), valid)}
    forecast = index[0].assign_coords(coords)
    observed = xr.DataArray(index[1].to_numpy().ravel(), {"time": valid.ravel()}, "time")
    skill = enso_skill(forecast, observed)
    expected = {
        "correlation_mean": GOLDEN["C_nino34_M"],
        "correlation_weighted_mean": GOLDEN["C_nino34_WM"],
        "rmse_mean": GOLDEN["rmse_sum"] / 12,
    }
    for name, value in expected.items():
        assert skill[name].item() == pytest.approx(value, rel=1e-5)
    assert skill["correlation"].sum().item() == pytest.approx(GOLDEN["corr_sum"], rel=1e-5)
    assert skill["n"].values.tolist() == [40] * 12
    for da, name in zip(index, ("pred", "true"), strict=True):
        first = da.isel(init=0).rolling(lead=3).mean().values[2:]
        np.testing.assert_allclose(first, GOLDEN[f"nino34_{name}_first_sample"], rtol=1e-4)


def test_golden_mean_square_error(golden):
    statistics = moments(*golden)
    means = statistics.mean()
    assert means["ee"].item() == pytest.approx(GOLDEN["mse_scaled"], rel=1e-5)


def test_enso_skill_by_hand():
    # Three-month means of the observations: from February 1, from March 2, from April 4.
    observed = observed_of([9, 0, 1, 2, 3, 7])
    # Lead 1 stands for leads 1..3: forecast means 1, 3, 2 against 1, 2, 4.
    skill = enso_skill(forecast_of([[0, 1, 2], [3, 3, 3], [0, 3, 3]]), observed)
    assert skill["lead"].values.tolist() == [1]
    # Anomalies (-1, 1, 0) and (-4/3, -1/3, 5/3): covariance 1, squares 2 and 14/3.
    assert skill["correlation"].item() == pytest.approx(1 / np.sqrt(2 * 14 / 3))
    assert skill["rmse"].item() == pytest.approx(np.sqrt((0 + 1 + 4) / 3))
    assert skill["n"].item() == 3
    assert skill["correlation_mean"].item() == skill["correlation"].item()
    assert skill["correlation_weighted_mean"].item() == 0  # ln 1
    assert skill["rmse"].attrs["units"] == "degC"
    assert skill["correlation"].attrs["units"] == "1"


def test_enso_weights():
    a = enso._enso_weights(np.arange(1, 13))
    np.testing.assert_allclose(
        a[[0, 3, 4, 10, 11]] / [1, *np.log([4, 5, 11, 12])], [0, 1.5, 2, 2, 3]
    )


def test_pairs_are_months_whatever_day_and_calendar():
    rng = np.random.default_rng(0)
    forecast, observed = forecast_of(rng.random((9, 5))), observed_of(rng.random(20))
    expected = enso_skill(forecast, observed)
    shifted = observed.assign_coords(time=observed.time + np.timedelta64(14, "D"))
    xr.testing.assert_identical(enso_skill(forecast, shifted), expected)
    shuffled = observed.isel(time=rng.permutation(20))
    xr.testing.assert_identical(enso_skill(forecast, shuffled), expected)
    noleap = observed.convert_calendar("noleap")
    xr.testing.assert_identical(enso_skill(forecast, noleap), expected)


def test_what_is_not_observed_does_not_count():
    rng = np.random.default_rng(0)
    forecast, observed = forecast_of(rng.random((9, 5))), observed_of(rng.random(10))
    skill = enso_skill(forecast, observed)
    # Means that end by October: inits i = 0.. with i + k + 2 <= 9.
    assert skill["n"].values.tolist() == [7, 6, 5]
    whole = enso_skill(forecast.isel(init=slice(5)), observed)
    np.testing.assert_allclose(skill["correlation"][2], whole["correlation"][2])
    gap = observed.copy()
    gap[4] = np.nan
    # Means over months i + k .. i + k + 2 that hold month 4: i = 1, 2, 3; i = 0, 1, 2; i = 0, 1.
    assert enso_skill(forecast, gap)["n"].values.tolist() == [4, 3, 3]
    xr.testing.assert_identical(
        enso_skill(forecast, gap.dropna("time")),
        enso_skill(forecast, gap),
    )


def test_a_lead_without_pairs_leaves_the_mean_open():
    forecast, observed = forecast_of(np.eye(3, 5)), observed_of([1, 0, 0, 5, 3, 2])
    skill = enso_skill(forecast, observed)
    assert skill["n"].values.tolist() == [3, 2, 1]
    assert np.isnan(skill["correlation"][2]) and np.isnan(skill["correlation_mean"])
    assert np.isfinite(skill["rmse_mean"])


def test_other_dims_stay():
    forecast = forecast_of(np.random.default_rng(0).random((6, 4)))
    both = xr.concat([forecast, forecast + 1], "member")
    skill = enso_skill(both, observed_of(np.arange(12) ** 2))
    assert skill["correlation"].dims == ("member", "lead")
    np.testing.assert_allclose(skill["correlation"][0], skill["correlation"][1])


def test_lazy_in_lazy_out():
    rng = np.random.default_rng(0)
    forecast, observed = forecast_of(rng.random((9, 5))), observed_of(rng.random(20))
    lazy = enso_skill(forecast.chunk(init=2), observed.chunk(time=7))
    assert lazy["correlation"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), enso_skill(forecast, observed))


def test_statistics_add_up():
    rng = np.random.default_rng(0)
    f, o = xr.DataArray(rng.random(10), dims="s"), xr.DataArray(rng.random(10), dims="s")
    whole = moments(f, o).mean("s")
    parts = [moments(f[s], o[s]).mean("s") for s in (slice(4), slice(4, 10))]
    share = xr.DataArray([4, 6], dims="part")
    joined = xr.concat(parts, "part").weighted(share).mean("part")
    assert correlation(joined).item() == pytest.approx(np.corrcoef(f, o)[0, 1])
    assert joined["ee"].item() == pytest.approx(whole["ee"].item())


def test_no_variation_has_no_correlation():
    f = xr.DataArray([0.1, 0.1, 0.1], dims="s")
    means = moments(f, xr.DataArray([1.0, 2.0, 4.0], dims="s")).mean("s")
    assert np.isnan(correlation(means))


@pytest.mark.parametrize(
    ("forecast", "observed", "match"),
    [
        (
            forecast_of(np.eye(3)),
            observed_of([1, 2, 3], "1950-01"),
            "1950-01-01 to 1950-03-01; nothing to compare",
        ),
        (forecast_of(np.eye(3)), observed_of([1, 2, 3]), "nothing to compare"),
        (
            forecast_of(np.eye(3)),
            observed_of([1, 2]).rename(time="t"),
            r"dim time\n +found \('t',\)",
        ),
        (forecast_of(np.eye(3)).drop_vars("valid_time"), observed_of([1]), "valid_time"),
        (forecast_of(np.eye(3)).isel(init=0), observed_of([1]), "dims init and lead"),
        (forecast_of(np.eye(2)), observed_of([1]), r"3 leads or more, .*\n +found 2"),
        (
            forecast_of(np.eye(3)).isel(lead=[0, 2]),
            observed_of([1]),
            r"successive .*\n +found \[1 3\]",
        ),
        (
            forecast_of(np.eye(3), first_lead=0),
            observed_of([1]),
            r"from 1 on .*\n +found \[0 1 2\]",
        ),
        (
            forecast_of(np.eye(3)),
            xr.concat([observed_of([1, 2]), observed_of([3])], "time"),
            "one observation a month\n +found more than one for 2000-01-01",
        ),
    ],
)
def test_what_cannot_be_scored(forecast, observed, match):
    with pytest.raises(ValueError, match=match):
        enso_skill(forecast, observed)


def test_icar_nino34_wants_the_icar_grid():
    da = xr.DataArray(np.zeros((2, 24, 48)), dims=("time", "lat", "lon"))
    da[:, 10:13, 19:30] = [[[1.0]], [[2.0]]]
    assert icar_nino34(da).values.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"\(24, 48\) cells.*\n.*\n.*transpose"):
        icar_nino34(da.transpose("time", "lon", "lat"))
