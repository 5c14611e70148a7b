"""The linear inverse model: its fit by hand, its stability, and what it ignores."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file

import xearthformer as xef
from xearthformer import models
from xearthformer.inference import engine
from xearthformer.models.baselines import lim as module
from xearthformer.models.baselines.lim import LIM, MAX_RADIUS, PRESETS, LIMConfig, companion
from xearthformer.packs.pack import weights_hash

PAIR = LIMConfig(in_len=1, out_len=3, height=1, width=2, n_eofs=2, delays=(0,), ridge=0)
CELL = dataclasses.replace(PAIR, width=1, n_eofs=1)
TURN = 0.8 * np.array([[0.0, -1.0], [1.0, 0.0]])  # a quarter turn and a loss of a fifth


def stirred(*steps: np.ndarray, n: int, delays=(0,), seed: int = 0) -> np.ndarray:
    """A record (n, 1, K) of x(t + 1) = sum_d A_d x(t - d) + white noise."""
    noise = np.random.default_rng(seed).standard_normal((n, len(steps[0])))
    x = np.zeros_like(noise)
    for t in range(1 + max(delays), n):
        x[t] = noise[t] + sum(a @ x[t - 1 - d] for a, d in zip(steps, delays, strict=True))
    return x[:, None]


def field_of(values, dtype=torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1, 1)


def series(*values: float) -> torch.Tensor:
    """Frames of one cell."""
    return torch.tensor(values).reshape(1, -1, 1, 1, 1)


def radius(lim: LIM) -> float:
    matrix = companion(lim.propagator.double().numpy(), lim.config.delays)
    return np.abs(np.linalg.eigvals(matrix)).max()


def in_field_space(lim: LIM) -> np.ndarray:
    """E A_d P (D, cells, cells)."""
    project, expand = (a.double().numpy()[:, 0] for a in (lim.projection, lim.patterns))
    return expand.T @ lim.propagator.double().numpy() @ project


def test_fit_by_hand():
    # One cell, 2, 1, -1, 0: predictors (2, 1, -1), targets (1, -1, 0), so A = (2 - 1)/6. What is
    # left, (4, -7, 1)/6, has the covariance (66 - 4/3)/36/2 = 97/108; a component's unit is
    # sqrt(6/4), the root mean square.
    lim = LIM.fit(np.reshape([2.0, 1.0, -1.0, 0.0], (4, 1, 1)), [0.0], CELL)
    assert lim.propagator.item() == pytest.approx(1 / 6)
    assert lim.noise_covariance.item() == pytest.approx(97 / 108 / 1.5)
    assert lim.patterns.item() == pytest.approx(np.sqrt(1.5))  # per standard deviation, positive
    assert lim.projection.item() == pytest.approx(1 / np.sqrt(1.5))
    np.testing.assert_allclose(lim.predict(series(36.0)).flatten(), [6.0, 1.0, 1 / 6], rtol=1e-6)


def test_ridge_by_hand():
    # The same in units of sqrt(6/4): X^T X = 4, X^T Y = 2/3, and ridge N = 0.5 x 3 beside the 4.
    config = dataclasses.replace(CELL, ridge=0.5)
    lim = LIM.fit(np.reshape([2.0, 1.0, -1.0, 0.0], (4, 1, 1)), [0.0], config)
    assert lim.propagator.item() == pytest.approx(2 / 3 / 5.5)


def test_ridge_is_that_of_the_normal_equations():
    x = stirred(TURN, n=200)
    lim = LIM.fit(x, [0.0], dataclasses.replace(PAIR, in_len=3, delays=(0, 2), ridge=0.3))
    z = lim.project(torch.from_numpy(x).float()[..., None])[:, 0].double().numpy()
    past, target = np.hstack([z[2:-1], z[:-3]]), z[3:]
    n = len(target)
    m = np.linalg.solve(past.T @ past + 0.3 * n * np.eye(4), past.T @ target)
    np.testing.assert_allclose(lim.propagator, [m[:2].T, m[2:].T], atol=1e-5)
    np.testing.assert_allclose(lim.noise_covariance, np.cov((target - past @ m).T), atol=1e-5)


@pytest.mark.parametrize(("delays", "expected"), [((1,), [0.5]), ((0, 1), [0.0, 0.5])])
def test_delays_by_hand(delays, expected):
    # x(t + 1) = x(t - 1) / 2, without noise.
    x = np.reshape([8.0, 8, 4, 4, 2, 2, 1, 1], (8, 1, 1))
    lim = LIM.fit(x, [0.0], dataclasses.replace(CELL, in_len=2, delays=delays))
    np.testing.assert_allclose(lim.propagator.flatten(), expected, atol=1e-6)
    y = lim.predict(series(6.0, 2.0))
    np.testing.assert_allclose(y.flatten(), [3.0, 1.0, 1.5], rtol=1e-5)
    torch.testing.assert_close(lim.predict(series(99.0, 6.0, 2.0)), y)  # earlier frames don't count


def test_recovers_the_propagator():
    steps = TURN, np.array([[0.1, 0.0], [0.05, -0.1]])
    x = stirred(*steps, n=20_000, delays=(0, 3))
    lim = LIM.fit(x, [0.0], dataclasses.replace(PAIR, in_len=4, delays=(0, 3)))
    np.testing.assert_allclose(in_field_space(lim), steps, atol=0.03)


@pytest.mark.parametrize(("delays", "ridge"), [((0,), 0), ((0, 1, 3), 0), ((0, 2), 0.3)])
@pytest.mark.parametrize("kind", ["noise", "walk", "trend", "growth", "cycle"])
def test_always_stable(kind, delays, ridge):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 4, 6))
    if kind == "walk":
        x = x.cumsum(axis=0)
    elif kind == "trend":
        x = 0.01 * x + np.arange(60)[:, None, None] * rng.random((4, 6))
    elif kind == "growth":
        x = 0.01 * x + 1.1 ** np.arange(60)[:, None, None]
    elif kind == "cycle":
        x = 0.01 * x + np.cos(2 * np.pi * np.arange(60) / 12)[:, None, None]
    shape = {"height": 4, "width": 6, "n_eofs": 8, "delays": delays, "ridge": ridge}
    config = LIMConfig(in_len=1 + max(delays), out_len=2000, **shape)
    lim = LIM.fit(x, [-30, -10, 10, 30], config)
    assert radius(lim) < MAX_RADIUS + 1e-5
    assert np.linalg.eigvalsh(lim.noise_covariance.double()).min() > -1e-6
    torch.testing.assert_close(lim.noise_covariance, lim.noise_covariance.T)
    far = lim.predict(torch.ones(1, config.in_len, 4, 6, 1))
    assert far[:, -1].abs().max() < 0.01 * far.abs().max()


def test_shrinking_multiplies_every_eigenvalue():
    delays = (0, 1, 4)
    grown = 0.8 * np.random.default_rng(1).standard_normal((3, 2, 2))
    before, after = (
        np.sort_complex(np.linalg.eigvals(companion(a, delays)))
        for a in (grown, module._stable(grown, delays))
    )
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(np.abs(after).max(), 0.995)
    np.testing.assert_allclose(after, before * 0.995 / np.abs(before).max(), atol=1e-8)
    # by hand: twice as large a step; and z(t + 1) = 1.99^2 z(t - 1), which does the same
    np.testing.assert_allclose(module._stable(np.full((1, 1, 1), 1.99), (0,)), 0.995)
    np.testing.assert_allclose(module._stable(np.full((1, 1, 1), 3.9601), (1,)), 0.995**2)


def test_what_is_stable_stays_as_it_is():
    calm = np.array([[[0.5]], [[0.3]]])
    assert (module._stable(calm, (0, 2)) == calm).all()
    assert (module._stable(0 * calm, (0, 2)) == 0).all()


def test_components_have_unit_variance_and_patterns_bring_the_field_back():
    x = stirred(TURN, n=500)
    lim = LIM.fit(x, [60.0], PAIR)
    z = lim.project(torch.from_numpy(x).float()[..., None])[:, 0]
    torch.testing.assert_close(z.T @ z / 500, torch.eye(2), atol=1e-5, rtol=0)
    np.testing.assert_allclose(lim.expand(z[:, None])[:, 0, :, 0], x[:, 0], atol=1e-4)


def correlated(n: int = 200) -> tuple[np.ndarray, list[float]]:
    """A record on 4 x 6 cells, one of them land, and its latitudes."""
    x = np.random.default_rng(2).standard_normal((n, 24)) @ np.random.default_rng(3).random(
        (24, 24)
    )
    x = x.reshape(n, 4, 6)
    x[:, 1, 2] = np.nan
    return x, [-40.0, -10.0, 20.0, 70.0]


def test_a_field_of_the_model_projects_onto_its_own_components():
    # P E = 1, whatever the latitudes, the land, and the EOFs left out
    x, latitude = correlated()
    lim = LIM.fit(x, latitude, LIMConfig(height=4, width=6, n_eofs=5))
    z = torch.randn(3, 7, 1, 5)
    torch.testing.assert_close(lim.project(lim.expand(z)), z, atol=1e-5, rtol=0)


@pytest.mark.parametrize("out_len", [3, 5, 12])
def test_beyond_its_reach_on_its_own_output_it_is_the_same_model(out_len):
    x, latitude = correlated()
    shape = {"in_len": 5, "height": 4, "width": 6, "n_eofs": 5, "delays": (0, 1, 4), "ridge": 0.1}
    lim = LIM.fit(x, latitude, LIMConfig(out_len=out_len, **shape))
    longer = LIM(LIMConfig(out_len=30, **shape))
    longer.load_state_dict(lim.state_dict(), strict=True)
    frames = torch.from_numpy(x[:10]).float().reshape(2, 5, 4, 6, 1)
    blank = torch.full((4, 6, 1), torch.nan)
    blank[1, 2] = 0  # the land, as `forecast` fills it
    rolled = engine.predict(lim, frames, 30, engine.Settings("cpu", 2), blank)
    torch.testing.assert_close(rolled, longer.predict(frames), atol=1e-5, rtol=1e-4)


def test_area_weights():
    # Two independent cells of equal variance, at the equator and at 60N (cos = 1/2): the first EOF
    # is the cell at the equator; at the pole a cell counts for nothing at all.
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)[:, :, None]
    config = dataclasses.replace(PAIR, height=2, width=1, n_eofs=1, ridge=1)
    np.testing.assert_allclose(LIM.fit(x, [0, 60], config).projection.flatten(), [1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="varies in 1 ways"):
        LIM.fit(x, [0, 90], dataclasses.replace(config, n_eofs=2))


def test_land_is_ignored_in_and_zero_out():
    x = stirred(TURN, n=200)
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
    x = stirred(TURN, n=200)
    zeros = np.concatenate([x, np.zeros((200, 1, 1))], axis=2)
    lim = LIM.fit(zeros, [0.0], dataclasses.replace(PAIR, width=3))
    y = lim.predict(field_of([1.0, 2.0, 0.0]))
    dry = LIM.fit(x, [0.0], PAIR)
    torch.testing.assert_close(y[..., :2, :], dry.predict(field_of([1.0, 2.0])))


def test_contract():
    config = dataclasses.replace(PAIR, in_len=4, delays=(0, 3))
    lim = LIM.fit(stirred(TURN, n=200), [0.0], config)
    x, y = torch.randn(5, 4, 1, 2, 2), torch.randn(5, 3, 1, 2, 2)
    assert (lim.in_len, lim.out_len, lim.samples) == (4, 3, False)
    forecast = lim.predict(x)
    assert forecast.shape == y.shape
    unseen = x.clone()
    unseen[:, 1] = 7  # no delay of 2: the first forecast doesn't look there, the second does
    torch.testing.assert_close(lim.predict(unseen)[:, 0], forecast[:, 0])
    assert (lim.predict(unseen)[:, 1] != forecast[:, 1]).any()
    torch.testing.assert_close(lim.predict(x[..., 1:]), forecast[..., 1:])  # channels apart
    torch.testing.assert_close(lim.loss(x, y), ((forecast - y) ** 2).mean())


def test_a_sample_is_bit_equal_in_any_batch():
    x, latitude = correlated()
    lim = LIM.fit(x, latitude, LIMConfig(height=4, width=6, n_eofs=5))
    x_BTHWC = torch.randn(5, 10, 4, 6, 1)
    together = lim.predict(x_BTHWC)
    for batch in ([0], [1], [3], [4, 3], [3, 0, 0, 1, 2, 1]):
        assert torch.equal(lim.predict(x_BTHWC[batch]), together[batch])


def test_everything_is_in_the_state_dict():
    lim = LIM.fit(stirred(TURN, n=200), [0.0], PAIR)
    names = {"ocean", "projection", "patterns", "propagator", "noise_covariance"}
    assert set(lim.state_dict()) == names
    assert not list(lim.parameters())
    copy = LIM(LIMConfig(**dataclasses.asdict(lim.config)))
    copy.load_state_dict(lim.state_dict(), strict=True)
    x = field_of([1.0, 2.0])
    assert torch.equal(copy.predict(x), lim.predict(x))


def test_float64():
    lim = LIM.fit(stirred(TURN, n=200), [0.0], PAIR).double()
    y = lim.predict(field_of([1.0, 2.0], torch.float64))
    assert y.dtype == torch.float64


def test_config_from_json():
    config = json.loads(json.dumps(dataclasses.asdict(PRESETS["tiny"])))
    assert config["delays"] == [0, 2]
    assert models.build("lim", config).config == PRESETS["tiny"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"delays": (0, 3)},
            r"in_len 4, which is 1 \+ the longest of the delays \(0, 3\), found 10",
        ),
        ({"in_len": 1}, "in_len 10, .* found 1: LIMConfig"),
        ({"delays": ()}, "ascending whole numbers from 0 on, found"),
        ({"delays": (9, 0)}, "ascending"),
        ({"delays": (0, 0, 9)}, "ascending"),
        ({"delays": (-1, 9)}, "ascending"),
        ({"delays": (0.5, 9)}, "ascending whole numbers"),
        ({"ridge": -0.1}, "ridge from 0 on, found -0.1"),
        ({"ridge": float("nan")}, "ridge from 0 on, found nan"),
    ],
)
def test_what_is_no_config(changes, match):
    with pytest.raises(ValueError, match=match):
        LIMConfig(**changes)


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
        (np.zeros((3, 1, 2)), [0.0], {}, "n_eofs 2, .* need more data: found 3 frames"),
        (np.zeros((3, 1, 2)), [0.0], {"in_len": 2, "delays": (1,), "ridge": 1}, "need more data"),
        (
            np.zeros((8, 1, 2)),
            [0.0],
            {"in_len": 4, "delays": (0, 3)},
            r"delays \(0, 3\) .* ridge 0",
        ),
        (np.zeros((9, 1, 2)), [0.0], {"n_eofs": 3}, "n_eofs 3.* of 2 ocean cells"),
        (np.zeros((9, 1, 2)), [0.0], {}, "varies in 0 ways"),
    ],
)
def test_what_cannot_be_fitted(x, latitude, changes, match):
    with pytest.raises(ValueError, match=match):
        LIM.fit(x, latitude, dataclasses.replace(PAIR, **changes))


def test_a_hole_in_the_ocean_is_an_error():
    x = stirred(TURN, n=9)
    x[4, 0, 1] = np.nan
    with pytest.raises(ValueError, match="1 cells .* row 0, column 1"):
        LIM.fit(x, [0.0], PAIR)


def test_a_pack_as_version_0_1_wrote_it(tmp_path):
    x, _ = correlated()
    latitude, longitude = [-40.0, -10.0, 20.0, 70.0], [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    config = {"in_len": 3, "out_len": 2, "height": 4, "width": 6, "n_eofs": 5}
    config |= {"delays": [0, 2], "ridge": 0.3}
    lim = LIM.fit(x, latitude, LIMConfig(**config))
    arrays = {name: tensor.numpy() for name, tensor in lim.state_dict().items()}
    land = ["......", "..#...", "......", "......"]
    quantity = {"standard_name": "sea_surface_temperature", "units": "degC", "difference": True}
    card = {
        "format": 1,
        "name": "old",
        "version": "1",
        "title": "delays, no seasons",
        "model": {"name": "lim", "config": config},
        "input": quantity,
        "output": quantity,
        "grid": {"kind": "latlon", "latitude": latitude, "longitude": longitude, "land": land},
        "time_step": "month",
        "history": 3,
        "reach": 2,
        "missing": "land",
        "training": {"data": "none"},
        "weights_sha256": weights_hash(arrays),
    }
    save_file(arrays, tmp_path / "weights.safetensors")
    (tmp_path / "card.json").write_text(json.dumps(card))
    ssta = xr.DataArray(
        x[:3].astype("float32"),
        {"time": xr.date_range("2000-01", periods=3, freq="MS"), "lat": latitude, "lon": longitude},
        ("time", "lat", "lon"),
        name="ssta",
        attrs={"units": "degC", "units_metadata": "temperature: difference"},
    )
    fc = ssta.earthformer.forecast(tmp_path, init="2000-03")
    expected = lim.predict(torch.from_numpy(ssta.fillna(0).values)[None, ..., None])[0, ..., 0]
    expected[:, 1, 2] = torch.nan
    np.testing.assert_array_equal(fc.squeeze("init"), expected)
    with pytest.raises(ValueError, match="a pack that has noise or samples, for members"):
        ssta.earthformer.forecast(tmp_path, init="2000-03", members=2)


@pytest.mark.shared
def test_damped_persistence_scores_as_its_card_says_on_years_it_has_not_seen(ersst):
    ssta = xef.anomaly(ersst["sst"], climatology=("1970", "1999"))
    forecast = xef.forecast(ssta, "damped-persistence", init=slice("2000", "2009"), lead=14)
    skill = xef.enso_skill(xef.index(forecast, "nino3.4"), xef.index(ssta, "nino3.4"))
    card = xef.open_pack("damped-persistence").card
    assert card.training.period == "1960-01/1999-12"
    for score in ("correlation", "rmse"):
        said = card.scores[f"nino34_{score}_mean"]
        assert skill[f"{score}_mean"].item() == pytest.approx(said, abs=0.01)
        for lead in (1, 3, 6, 9, 12):
            found = skill[score].sel(lead=lead).item()
            assert found == pytest.approx(card.scores[f"nino34_{score}_lead_{lead}"], abs=0.015)
