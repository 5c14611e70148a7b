"""Forecasts of stamps at the end of their month match by the months of their time bounds."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.verification.align import match_valid_times, pick_variable
from xearthformer.verification.enso import enso_seasons, enso_skill
from xearthformer.verification.seasonal import seasonal_mean

N = 60


def months(start, n):
    return xr.date_range(start, periods=n, freq="MS").values


def observed(**coords):
    values = np.sin(np.arange(float(N)) ** 2)
    return xr.DataArray(values, {"time": months("2000-01", N), **coords}, ("time",), "nino")


def forecast(late):
    """Four leads from each month; `late` stamps each month at its end, and keeps its middle."""
    at = np.arange(48)[:, None] + np.arange(1, 5)
    stamps = months("2000-02" if late else "2000-01", N)
    coords = {"init": stamps[:48], "lead": range(1, 5)}
    coords["valid_time"] = ("init", "lead"), stamps[at]
    if late:
        middles = months("2000-01", N) + np.timedelta64(15, "D")
        coords["time_middle"] = ("init", "lead"), middles[at]
    return xr.DataArray(observed().values[at] / 2, coords, ("init", "lead"))


def test_scores_and_seasons_are_those_of_the_months():
    plain, late = forecast(False), forecast(True)
    positions = match_valid_times(late, observed()["time"])
    np.testing.assert_array_equal(positions, np.arange(48)[:, None] + np.arange(1, 5))
    for score in (enso_skill, enso_seasons):
        expected = score(plain, observed()).reset_coords(drop=True)
        xr.testing.assert_equal(score(late, observed()).reset_coords(drop=True), expected)
    season = seasonal_mean(late)["season"]
    assert season.values[0].tolist() == ["FMA", "MAM"]


@pytest.mark.parametrize("bounds", [True, False])
def test_observations_of_the_same_form_match_by_their_own_bounds(bounds):
    ends = months("2000-02", N)
    ds = xr.Dataset({"nino": ("time", observed().values)}, {"time": ends})
    if bounds:
        ds["time_bnds"] = ("time", "nv"), np.stack([months("2000-01", N), ends], axis=1)
        ds["time"].attrs["bounds"] = "time_bnds"
    time = pick_variable(ds, "nino")["time"]
    first = match_valid_times(forecast(True), time)[0].tolist()
    # without bounds, a stamp on 1 February is of February: one position earlier
    assert first == ([1, 2, 3, 4] if bounds else [0, 1, 2, 3])
