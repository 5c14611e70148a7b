"""Extrapolation by pysteps, in the form of a forecast."""

import builtins
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef


def moving(steps=6, dx=3):
    """Showers that move `dx` pixels a frame along x; y runs from north to south."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    where = rng.uniform(10, 86, (12, 2))
    frames = [
        sum(8 * np.exp(-((y - a) ** 2 + (x - b - dx * t) ** 2) / 40) for a, b in where)
        for t in range(steps)
    ]
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1", "history": "made"}
    coords = {
        "time": pd.date_range("2016-07-11", periods=steps, freq="5min"),
        "y": ("y", 1000.0 * np.arange(96)[::-1], {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(96), {"units": "m"}),
    }
    return xr.DataArray(np.array(frames, "f4"), coords, ("time", "y", "x"), "rain", attrs)


@pytest.fixture
def pysteps():
    pytest.importorskip("cv2")
    return pytest.importorskip("pysteps")


def test_showers_move_on(pysteps):
    rain = moving(steps=8)
    fc = xef.extrapolate(rain, init=rain.time[4], lead=3)
    truth = rain[5:8, 16:80, 32:80]
    error = np.abs(fc[0, :, 16:80, 32:80].values - truth.values).mean()
    stay = np.abs(rain[4, 16:80, 32:80].values - truth.values).mean()
    assert error < 0.2 * stay


def test_the_form_is_a_forecasts(pysteps):
    rain = moving()
    mine = rain.transpose("x", "time", "y")
    fc = xef.extrapolate(mine.to_dataset(), init=slice(None, None), lead=2)
    like = xef.forecast(mine, "persistence", init=slice(rain.time.values[3], None), lead=2)
    assert fc.dims == like.dims == ("init", "lead", "x", "y")
    xr.testing.assert_identical(fc.coords.to_dataset(), like.coords.to_dataset())
    assert fc.name == "rain" and fc.dtype == "f4" and fc.attrs["units"] == "mm h-1"
    made, said = fc.attrs["history"].splitlines()
    assert made == "made" and "pysteps" in said and "3 of 6 inits lack 4 frames" in said


def test_missing_stays_missing_and_units_are_the_users(pysteps):
    rain = moving()
    holed = rain.where((rain.y > 20e3) | (rain.time < rain.time[-1]))
    fc = xef.extrapolate(holed, lead=2)
    assert bool((fc.isnull().any("lead") == holed[-1].isnull()).all())
    rate = (holed / 3.6e6).assign_attrs(standard_name="rainfall_rate", units="m s-1")
    there = xef.extrapolate(rate, lead=2)
    assert there.attrs["units"] == "m s-1"
    np.testing.assert_allclose(there * 3.6e6, fc, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def steps():
    """Four members by STEPS, three leads from the last two inits."""
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    return xef.extrapolate(moving(), init=slice(moving().time.values[4], None), lead=3, members=4)


def test_an_ensemble_is_labelled(steps):
    assert steps.dims == ("init", "lead", "member", "y", "x") and steps.dtype == "f4"
    assert steps["member"].values.tolist() == [0, 1, 2, 3]
    assert steps["member"].attrs == {"standard_name": "realization"}
    assert steps["valid_time"].dims == ("init", "lead")
    assert "STEPS, 4 members, seed 0" in steps.attrs["history"]
    assert float(steps.min()) == 0 and bool(steps.notnull().all())


def test_members_move_on_and_differ(steps):
    there = steps[-1].isel(x=slice(30, 90))
    still = moving()[-1].isel(x=slice(30, 90))
    ahead = xr.DataArray(moving(steps=9)[6:9].values, dims=("lead", "y", "x"))[..., 30:90]
    wrong = np.abs(there.mean("member").values - ahead.values).mean(axis=(1, 2))
    assert (wrong < np.abs(still.values - ahead.values).mean(axis=(1, 2))).all()
    deviation = there.std("member").mean(["y", "x"])
    assert (np.diff(deviation) > 0).all() and deviation[0] > 0.01


def test_a_members_noise_is_its_own(steps):
    rain = moving()
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    fewer = xef.extrapolate(rain, lead=3, members=2)
    assert np.random.random() == expected  # pysteps seeds NumPy; that is undone
    np.testing.assert_array_equal(fewer[0], steps[-1, :, :2])
    other = xef.extrapolate(rain, lead=3, members=2, seed=1)
    assert not np.array_equal(other, fewer)
    turned = xef.extrapolate(rain.transpose("x", "time", "y"), lead=1, members=1)
    assert turned.dims == ("init", "lead", "member", "x", "y")
    np.testing.assert_array_equal(turned[0, 0, 0].T, steps[-1, 0, 0])


def test_an_ensemble_of_little_rain_or_none(pysteps):
    rain = moving()
    assert float(xef.extrapolate(0 * rain, lead=2, members=2).max()) == 0
    holed = rain.where(rain.x > 20e3)
    fc = xef.extrapolate(holed, lead=2, members=2)
    assert bool((fc.isnull() == holed[-1].isnull()).all())
    shower = rain.where(rain > 0.95 * rain.max(), 0)
    assert bool(xef.extrapolate(shower, lead=2, members=2).notnull().all())


def test_steps_needs_lengths():
    with pytest.raises(
        ValueError, match="pixels have a length.*\n +found no lengths along y and x"
    ):
        xef.extrapolate(moving().drop_vars(["y", "x"]), members=2)
    for how in ({"members": 0}, {"members": 2, "frames": 2}, {"members": 2, "seed": -1}):
        with pytest.raises(ValueError, match="as a whole number from"):
            xef.extrapolate(moving(), **how)


def test_a_dry_record_stays_dry(pysteps):
    assert float(xef.extrapolate(0 * moving().assign_attrs(), lead=2).max()) == 0


def test_too_short_a_history(pysteps):
    with pytest.raises(ValueError, match="4 time steps"):
        xef.extrapolate(moving(steps=3))
    with pytest.raises(ValueError, match="frames as a whole number from 2"):
        xef.extrapolate(moving(), frames=1)


def test_without_pysteps_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pysteps"]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "pysteps":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "xearthformer\[pysteps\]"'):
        xef.extrapolate(moving())
