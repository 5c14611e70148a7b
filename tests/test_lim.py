"""The linear inverse model: its fit by hand, its stability, and what it ignores."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from xearthformer import cf, climate, grid
from xearthformer.cards import ICAR_GRID
from xearthformer.models.lim import LIM, PRESETS, LIMConfig
from xearthformer.scores import enso_skill

PAIR = LIMConfig(out_len=3, height=1, width=2, n_eofs=2, lag=1)
TURN = 0.8 * np.array([[0.0, -1.0], [1.0, 0.0]])  # a quarter turn and a loss of a fifth


def stirred(propagator: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """A record (n, 1, K) of x(t + 1) = G x(t) + white noise."""
    noise = np.random.default_rng(seed).standard_normal((n, len(propagator)))
    x = np.zeros_like(noise)
    for t in range(1, n):
        x[t] = propagator @ x[t - 1] + noise[t]
    return x[:, None]


def field_of(values, dtype=torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1, 1)


def propagate(lim: LIM) -> np.ndarray:
    """The propagator in field space, E G P."""
    units = torch.eye(lim.config.width).reshape(-1, 1, 1, lim.config.width, 1)
    return lim.predict(units)[:, 0, 0, :, 0].T.numpy()


def test_fit_by_hand():
    # One cell, 2, 1, -1, 0: C(0) = 6/4, C(1) = (2 - 1 + 0)/4, so G = 1/6 and Q = 1 - 1/36.
    config = dataclasses.replace(PAIR, width=1, n_eofs=1)
    lim = LIM.fit(np.reshape([2.0, 1.0, -1.0, 0.0], (4, 1, 1)), [0.0], config)
    assert lim.propagator.item() == pytest.approx(1 / 6)
    assert lim.noise_covariance.item() == pytest.approx(35 / 36)
    assert lim.patterns.item() == pytest.approx(np.sqrt(1.5))  # per standard deviation, positive
    assert lim.projection.item() == pytest.approx(1 / np.sqrt(1.5))
    forecast = lim.predict(field_of([36.0]))
    np.testing.assert_allclose(forecast.flatten(), [6.0, 1.0, 1 / 6], rtol=1e-6)


def test_recovers_the_propagator():
    lim = LIM.fit(stirred(TURN, 20_000), [0.0], PAIR)
    np.testing.assert_allclose(propagate(lim), TURN, atol=0.03)


@pytest.mark.parametrize(("lag", "expected"), [(1, -0.8), (2, 0.8), (3, 0.0)])
def test_a_change_of_sign_has_no_root(lag, expected):
    # x(t + 1) = -0.8 x(t): after two steps the sign is lost, after three there is no real root.
    config = dataclasses.replace(PAIR, width=1, n_eofs=1, lag=lag)
    lim = LIM.fit(stirred(np.array([[-0.8]]), 20_000), [0.0], config)
    assert lim.propagator.item() == pytest.approx(expected, abs=0.02)


def test_slow_oscillation_needs_no_short_lag():
    angle = 2 * np.pi / 48  # four years
    slow = 0.95 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for lag in (1, 3):
        lim = LIM.fit(stirred(slow, 40_000), [0.0], dataclasses.replace(PAIR, lag=lag))
        np.testing.assert_allclose(propagate(lim), slow, atol=0.01)


@pytest.mark.parametrize("lag", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "walk", "trend", "cycle"])
def test_always_stable_and_noise_covariance_is_one(kind, lag):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 4, 6))
    if kind == "walk":
        x = x.cumsum(axis=0)
    elif kind == "trend":
        x = 0.01 * x + np.arange(60)[:, None, None] * rng.random((4, 6))
    elif kind == "cycle":
        x = 0.01 * x + np.cos(2 * np.pi * np.arange(60) / 12)[:, None, None]
    config = LIMConfig(height=4, width=6, n_eofs=8, lag=lag)
    lim = LIM.fit(x, [-30, -10, 10, 30], config)
    assert np.abs(np.linalg.eigvals(lim.propagator.double())).max() < 1
    assert np.linalg.eigvalsh(lim.noise_covariance.double()).min() > -1e-6
    torch.testing.assert_close(lim.noise_covariance, lim.noise_covariance.T)
    far = LIM(dataclasses.replace(config, out_len=600))
    far.load_state_dict(lim.state_dict())
    # a mode of radius r fades as r^k; the slowest possible here loses 1/60 a lag
    assert far.predict(torch.ones(1, 1, 4, 6, 1))[:, -1].abs().max() < 5


def test_noise_covariance_balances_the_budget():
    lim = LIM.fit(stirred(TURN, 500), [0.0], PAIR)
    g, q = lim.propagator.double(), lim.noise_covariance.double()
    torch.testing.assert_close(g @ g.T + q, torch.eye(2).double(), atol=1e-6, rtol=0)


def test_components_have_unit_variance_and_patterns_bring_the_field_back():
    x = stirred(TURN, 500)
    lim = LIM.fit(x, [60.0], PAIR)
    z = lim.project(torch.from_numpy(x).float()[..., None])[:, 0]
    torch.testing.assert_close(z.T @ z / 500, torch.eye(2), atol=1e-5, rtol=0)
    back = lim.expand(z[:, None, None])[:, 0, 0, :, 0]
    np.testing.assert_allclose(back, x[:, 0], atol=1e-4)


def test_area_weights():
    # Two independent cells of equal variance, at the equator and at 60N (cos = 1/2): the first EOF
    # is the cell at the equator; at the pole a cell counts for nothing at all.
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)[:, :, None]
    config = LIMConfig(height=2, width=1, n_eofs=1, lag=1)
    np.testing.assert_allclose(LIM.fit(x, [0, 60], config).projection.flatten(), [1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="varies in 1 ways"):
        LIM.fit(x, [0, 90], dataclasses.replace(config, n_eofs=2))


def test_land_is_ignored_in_and_zero_out():
    x = stirred(TURN, 200)
    wide = np.concatenate([x, np.full((200, 1, 1), np.nan)], axis=2)
    config = dataclasses.replace(PAIR, width=3)
    lim, dry = LIM.fit(wide, [0.0], config), LIM.fit(x, [0.0], PAIR)
    assert lim.ocean.tolist() == [[True, True, False]]
    for land in (np.nan, 7.0):
        y = lim.predict(field_of([1.0, 2.0, land]))
        torch.testing.assert_close(y[..., :2, :], dry.predict(field_of([1.0, 2.0])))
        assert (y[..., 2, :] == 0).all()
    assert lim.predict(field_of([1.0, np.nan, 0.0])).isnan().all()


def test_land_filled_with_zero_fits_the_same():
    x = stirred(TURN, 200)
    zeros = np.concatenate([x, np.zeros((200, 1, 1))], axis=2)
    lim = LIM.fit(zeros, [0.0], dataclasses.replace(PAIR, width=3))
    y = lim.predict(field_of([1.0, 2.0, 0.0]))
    dry = LIM.fit(x, [0.0], PAIR)
    torch.testing.assert_close(y[..., :2, :], dry.predict(field_of([1.0, 2.0])))


def test_contract():
    lim = LIM.fit(stirred(TURN, 200), [0.0], dataclasses.replace(PAIR, in_len=4))
    x, y = torch.randn(5, 4, 1, 2, 2), torch.randn(5, 3, 1, 2, 2)
    assert (lim.in_len, lim.out_len, lim.samples) == (4, 3, False)
    forecast = lim.predict(x)
    assert forecast.shape == y.shape
    torch.testing.assert_close(lim.predict(x[:, -1:]), forecast)  # the last frame alone
    torch.testing.assert_close(lim.predict(x[..., 1:]), forecast[..., 1:])  # channels apart
    torch.testing.assert_close(lim.loss(x, y), ((forecast - y) ** 2).mean())
    # beyond its reach, on its own output, it is the same model
    longer = LIM(dataclasses.replace(lim.config, out_len=6))
    longer.load_state_dict(lim.state_dict(), strict=True)
    torch.testing.assert_close(longer.predict(x)[:, 3:], lim.predict(forecast))


def test_everything_is_in_the_state_dict():
    lim = LIM.fit(stirred(TURN, 200), [0.0], PAIR)
    names = {"ocean", "projection", "patterns", "propagator", "noise_covariance"}
    assert set(lim.state_dict()) == names
    assert not list(lim.parameters())
    copy = LIM(LIMConfig(**dataclasses.asdict(lim.config)))
    copy.load_state_dict(lim.state_dict(), strict=True)
    x = field_of([1.0, 2.0])
    assert torch.equal(copy.predict(x), lim.predict(x))


def test_float64():
    lim = LIM.fit(stirred(TURN, 200), [0.0], PAIR).double()
    y = lim.predict(field_of([1.0, 2.0], torch.float64))
    assert y.dtype == torch.float64


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = PRESETS[name]
    model = LIM(config)
    x = torch.zeros(1, config.in_len, config.height, config.width, 1)
    assert model.predict(x).shape == (1, config.out_len, config.height, config.width, 1)


@pytest.mark.parametrize(
    ("x", "latitude", "changes", "match"),
    [
        (np.zeros((9, 2, 2)), [0.0], {}, r"expected x \(T, 1, 2\).*found \(9, 2, 2\)"),
        (np.zeros((9, 1, 2)), [0.0, 1.0], {}, r"latitude \(1,\).*found .*\(2,\)"),
        (np.zeros((2, 1, 2)), [0.0], {}, "n_eofs 2 and lag 1 need more data: found 2 frames"),
        (np.zeros((9, 1, 2)), [0.0], {"lag": 9}, "lag 9 need more data"),
        (np.zeros((9, 1, 2)), [0.0], {"n_eofs": 3}, "n_eofs 3 .* of 2 ocean cells"),
        (np.zeros((9, 1, 2)), [0.0], {}, "varies in 0 ways"),
    ],
)
def test_what_cannot_be_fitted(x, latitude, changes, match):
    with pytest.raises(ValueError, match=match):
        LIM.fit(x, latitude, dataclasses.replace(PAIR, **changes))


def test_a_hole_in_the_ocean_is_an_error():
    x = stirred(TURN, 9)
    x[4, 0, 1] = np.nan
    with pytest.raises(ValueError, match="1 cells .* row 0, column 1"):
        LIM.fit(x, [0.0], PAIR)


@pytest.mark.shared
def test_forecasts_nino34_better_than_persistence(ersst):
    """Fitted to 1960-1999, every init of 2000-2009: the figures the choice of 15 EOFs rests on."""
    years = ersst["sst"].sel(time=slice("1960", "1999"))
    clim = climate.climatology(years)
    ssta = climate.anomaly(ersst["sst"], clim)
    prepared, _ = cf.prepare(ssta, units="degC", difference=True, latlon=True)
    x_tyx = grid.to_model(prepared, ICAR_GRID.latitude, ICAR_GRID.longitude)
    lim = LIM.fit(x_tyx.sel(time=slice("1960", "1999")).to_numpy(), ICAR_GRID.latitude)
    assert np.abs(np.linalg.eigvals(lim.propagator)).max() < 0.98

    inits = np.flatnonzero(x_tyx["time"].dt.year >= 2000)[:-1]
    frames = torch.from_numpy(x_tyx.to_numpy()[inits])[:, None, ..., None]
    time = xr.date_range("1960-01", periods=600 + 14, freq="MS").values
    valid = ("init", "lead"), np.array([time[i + 1 : i + 15] for i in inits])
    coords = {"lead": np.arange(1, 15), "valid_time": valid}
    fields = x_tyx.isel(time=inits).rename(time="init").drop_vars("init").expand_dims(lead=14)
    fields = fields.transpose("init", "lead", "y", "x").copy(data=lim.predict(frames)[..., 0])
    observed = climate.index(ssta, "nino3.4")
    kept = observed.isel(time=inits).rename(time="init").drop_vars("init").expand_dims(lead=14)
    skill, persistence = (
        enso_skill(index.assign_coords(coords), observed)
        for index in (climate.index(fields, "nino3.4"), kept)
    )
    assert (skill["rmse"] < persistence["rmse"]).all()
    for lead, correlation in ((1, 0.85), (3, 0.67), (6, 0.40), (9, 0.15)):
        assert skill["correlation"].sel(lead=lead) > correlation
        assert skill["correlation"].sel(lead=lead) > persistence["correlation"].sel(lead=lead)
    assert skill["correlation_mean"] > persistence["correlation_mean"] + 0.05
