"""Persistence, plain and damped."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from xearthformer.models.baselines.persistence import (
    DAMPED_PRESETS,
    PRESETS,
    DampedPersistence,
    DampedPersistenceConfig,
    Persistence,
    PersistenceConfig,
)

CELL = DampedPersistenceConfig(out_len=2, height=1, width=1)


def test_the_last_frame_again_on_any_field():
    model = Persistence(PersistenceConfig(in_len=3, out_len=4))
    x = torch.randn(2, 3, 5, 7, 2)
    x[0, -1, 0, 0, 0] = torch.nan
    y = model.predict(x)
    assert y.shape == (2, 4, 5, 7, 2)
    for k in range(4):
        torch.testing.assert_close(y[:, k], x[:, -1], equal_nan=True, rtol=0, atol=0)


def test_loss():
    model = Persistence(PersistenceConfig(out_len=2))
    x = torch.ones(1, 1, 1, 1, 1)
    y = torch.tensor([2.0, 4.0]).reshape(1, 2, 1, 1, 1)
    assert model.loss(x, y).item() == (1 + 9) / 2


def test_plain_has_no_weights():
    model = Persistence(PersistenceConfig())
    model.load_state_dict({}, strict=True)
    assert not model.state_dict()


def test_damping_by_hand():
    # 2, 1, 1, -1: mean square 7/4; products one apart 2, 1, -1 (mean 2/3), two apart 2, -1 (1/2).
    x = np.reshape([2.0, 1.0, 1.0, -1.0], (4, 1, 1))
    model = DampedPersistence.fit(x, CELL)
    np.testing.assert_allclose(model.damping.flatten(), [(2 / 3) / (7 / 4), (1 / 2) / (7 / 4)])
    y = model.predict(torch.full((1, 1, 1, 1, 1), 21.0))
    np.testing.assert_allclose(y.flatten(), [8.0, 6.0])


def test_damping_stays_within_zero_and_one():
    # The third cell grows, so its products one apart exceed its mean square.
    x = np.array([[1, 0, 1], [-1, 0, 2], [1, 0, 4], [-1, 0, 8]], float)[:, None]
    x[-1, 0, 2] = 5
    model = DampedPersistence.fit(x, dataclasses.replace(CELL, width=3))
    assert model.damping[0].tolist() == [[0.0, 0.0, pytest.approx(30 / 3 / (46 / 4))]]
    assert model.damping[1, 0, 0] == 1.0  # the alternating cell, two apart
    assert model.damping.min() >= 0 and model.damping.max() <= 1


def test_land_is_zero():
    x = np.array([[1.0, np.nan], [1.0, np.nan], [1.0, np.nan]])[:, None]
    model = DampedPersistence.fit(x, dataclasses.replace(CELL, width=2))
    assert model.damping[0].tolist() == [[1.0, 0.0]]


def test_damped_contract():
    config = DampedPersistenceConfig(in_len=2, out_len=3, height=4, width=6)
    model = DampedPersistence.fit(np.random.default_rng(0).standard_normal((50, 4, 6)), config)
    x, y = torch.randn(5, 2, 4, 6, 2), torch.randn(5, 3, 4, 6, 2)
    forecast = model.predict(x)
    assert forecast.shape == y.shape and not model.samples
    torch.testing.assert_close(forecast[1, 2, :, :, 1], x[1, -1, :, :, 1] * model.damping[2])
    torch.testing.assert_close(model.loss(x, y), ((forecast - y) ** 2).mean())
    copy = DampedPersistence(DampedPersistenceConfig(**dataclasses.asdict(config)))
    copy.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(copy.predict(x), forecast)


@pytest.mark.parametrize("shape", [(9, 1, 2), (2, 1, 1), (9, 1)])
def test_what_cannot_be_fitted(shape):
    with pytest.raises(ValueError, match=r"expected x \(T, 1, 1\) with T above 2.*found"):
        DampedPersistence.fit(np.zeros(shape), CELL)


@pytest.mark.parametrize("name", DAMPED_PRESETS)
def test_damped_presets(name):
    config = DAMPED_PRESETS[name]
    y = DampedPersistence(config).predict(torch.ones(1, 1, config.height, config.width, 1))
    assert y.shape == (1, config.out_len, config.height, config.width, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = PRESETS[name]
    model = Persistence(config)
    assert model.predict(torch.ones(1, config.in_len, 2, 2, 1)).shape[1] == config.out_len


def test_float64_keeps_its_digits():
    """The only model that computes nothing gives the user's own numbers, and not float32's."""
    time = xr.date_range("2000-01", periods=3, freq="MS")
    da = xr.DataArray(np.pi * np.arange(12.0).reshape(3, 2, 2), {"time": time}, ("time", "y", "x"))
    for data in (da, da.chunk(time=1)):
        fc = data.earthformer.forecast("persistence", lead=2)
        assert fc.dtype == np.float64 and (fc.isel(init=0) == da[-1]).all()
    assert da.astype("f4").earthformer.forecast("persistence", lead=2).dtype == np.float32
