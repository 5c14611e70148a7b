"""The corrected LIM: its network by hand, what training gains, its members, what it ignores."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from xearthformer import models
from xearthformer.models.baselines import corrected_lim as module
from xearthformer.models.baselines.corrected_lim import PRESETS, CorrectedLIM, CorrectedLIMConfig

# Two cells on the equator: one component, their difference, and a level.
PAIR = CorrectedLIMConfig(3, 3, 1, 2, n_eofs=1, delays=(0,), ridge=0.01, network_eofs=1, memory=1)
MONTHS = 480
EAST = np.array([[0.0, 1.0]])  # the index: the second cell


def with_month(x_BTHWC, last: int = 1) -> torch.Tensor:
    """Frames with the channels of the month, which is `last` (1..12) in the last frame."""
    x = torch.as_tensor(x_BTHWC, dtype=torch.float32)
    angle = (2 * np.pi / 12) * (last + torch.arange(x.shape[1]) + 1 - x.shape[1])
    month_T = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return torch.cat([x, month_T[:, None, None].expand(*x.shape[:-1], 2)], dim=-1)


def frames(*differences: float, level: float = 0.0, last: int = 1) -> torch.Tensor:
    x = np.multiply.outer(differences, [1.0, -1.0]) + level
    return with_month(x.reshape(1, -1, 1, 2, 1), last)


def by_hand() -> CorrectedLIM:
    """z is half the difference of the cells, and the LIM forecasts z = 0."""
    model = CorrectedLIM(PAIR)
    maps = torch.tensor([[0.5, -0.5], [0.5, 0.5]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    for part in (model, model.lim):
        part.projection, part.patterns = (a.reshape(2, 1, 2, 1) for a in maps)
    return model.eval()


def record(seed: int = 0) -> np.ndarray:
    """Differences that follow what was two months before, in which a LIM without delays fails."""
    noise = np.random.default_rng(seed).standard_normal(MONTHS)
    z = np.zeros(MONTHS)
    for t in range(3, MONTHS):
        z[t] = 0.8 * z[t - 3] + 0.4 * noise[t]
    return np.multiply.outer(z, [1.0, -1.0]).reshape(MONTHS, 1, 2, 1)


@pytest.fixture(scope="module")
def fitted() -> CorrectedLIM:
    return CorrectedLIM.fit(record(), 1, [0.0], EAST, PAIR)


def test_the_network_by_hand():
    model = by_hand()
    with torch.no_grad():
        model.step[0], model.recall[0] = 0.5, 1.0
        model.keep[:], model.write[:] = 0.5, 0.25
        model.remember[:] = torch.tensor([1.0, 2.0])[:, None, None]
    # Given z = 1, 2, 4: the memory is 1 x 1 + 2 x 2 = 5. z = 4/2 + 5 = 7, memory 5/2 + 4/4 = 3.5;
    # z = 7/2 + 3.5 = 7, memory 3.5/2 + 7/4 = 3.5; z = 7/2 + 3.5 = 7. Half of it: the LIM says 0.
    y = model.predict(frames(1.0, 2.0, 4.0))
    np.testing.assert_allclose(y[0, :, 0, 0, 0].detach(), [3.5, 3.5, 3.5], rtol=1e-6)
    np.testing.assert_allclose(y[0, :, 0, 1, 0].detach(), [-3.5, -3.5, -3.5], rtol=1e-6)


def test_steps_follow_the_calendar():
    model = by_hand()
    with torch.no_grad():
        model.step[:, 0, 0] = torch.tensor([1.0, 0.5, 0.0])  # 1 + cos(2 pi m / 12) / 2
    # From December, 1 + 1/2, then January, 1 + cos(30)/2, then February, 1 + 1/4; half of it.
    expected = 0.5 * np.cumprod([1.5, 1 + np.sqrt(3) / 4, 1.25])
    y = model.predict(frames(0.0, 0.0, 1.0, last=12))
    np.testing.assert_allclose(y[0, :, 0, 0, 0].detach(), expected, rtol=1e-6)


def test_training_starts_from_the_propagators_of_the_months():
    month = np.arange(1, 13) * np.pi / 6
    a_12KK = np.array([[1.0, 2.0], [3.0, 4.0]]) + 0.1 * np.cos(month)[:, None, None]
    harmonics = module._harmonics_of(torch.from_numpy(a_12KK))
    np.testing.assert_allclose(harmonics[0], [[1.0, 3.0], [2.0, 4.0]], atol=1e-12)
    np.testing.assert_allclose(harmonics[1], np.full((2, 2), 0.1), atol=1e-12)
    np.testing.assert_allclose(harmonics[2], 0, atol=1e-12)


def test_memory_is_what_training_gains(fitted, monkeypatch):
    x = record(seed=1)  # another record of the same kind

    def error(model):
        index = x[:, 0, 1, 0]
        last = np.arange(2, MONTHS - 3)
        windows = torch.stack([with_month(x[None, t - 2 : t + 1], t % 12 + 1)[0] for t in last])
        with torch.no_grad():
            east = 2 * model.predict(windows)[..., 0, 1, 0] - model.lim(windows)[..., 0, 1, 0]
        truth = np.mean([index[last + k] for k in (1, 2, 3)], axis=0)
        return float(((east.mean(dim=1).numpy() - truth) ** 2).mean())

    monkeypatch.setattr(module, "STEPS", 0)
    untrained = CorrectedLIM.fit(record(), 1, [0.0], EAST, PAIR)
    assert error(fitted) < 0.97 * error(untrained)  # training is short: it stays near its start


def test_a_fit_is_reproducible(fitted):
    again = CorrectedLIM.fit(record(), 1, [0.0], EAST, PAIR).state_dict()
    for name, tensor in fitted.state_dict().items():
        torch.testing.assert_close(tensor, again[name], rtol=0, atol=0)


def test_months_of_weight_zero_teach_nothing(fitted):
    x, weight = record(), np.ones(MONTHS)
    weight[200:230] = 0
    spoilt = x.copy()
    spoilt[200:230] += np.random.default_rng(2).standard_normal((30, 1, 2, 1))
    states = [CorrectedLIM.fit(a, 1, [0.0], EAST, PAIR, None, weight) for a in (x, spoilt)]
    ours, theirs = (state.state_dict() for state in states)
    for name in ours.keys() - {"lim.noise"}:  # the noise of levels reads the months before
        torch.testing.assert_close(ours[name], theirs[name])
    assert not torch.equal(states[0].step, fitted.step)


def test_a_constant_comes_out_as_it_went_in(fitted):
    with torch.no_grad():
        low, high = (fitted.predict(frames(1.0, 0.5, 2.0, level=v)) for v in (0.0, 0.3))
    torch.testing.assert_close(high, low + 0.3)


def test_the_period_of_the_anomalies_taught_with_does_not_matter(fitted):
    season = np.cos(np.arange(MONTHS) * np.pi / 6)[:, None, None, None]
    other = CorrectedLIM.fit(record() + season, 1, [0.0], EAST, PAIR)
    torch.testing.assert_close(other.step, fitted.step, rtol=1e-4, atol=1e-5)


def test_members_have_the_noise_of_the_lim(fitted):
    x = frames(1.0, 0.5, 2.0)
    with torch.no_grad():
        mean = fitted.predict(x)
        member, again = (fitted.predict(x, torch.Generator().manual_seed(3)) for _ in range(2))
        noise = fitted.lim.predict(x, torch.Generator().manual_seed(3)) - fitted.lim.predict(x)
    assert torch.equal(member, again)
    torch.testing.assert_close(member - mean, noise)
    assert (member - mean).abs().min() > 0


def test_a_batch_gives_the_bits_of_its_samples(fitted):
    one, two = frames(1.0, 0.5, 2.0), frames(-1.0, 0.3, 1.1, last=7)
    with torch.no_grad():
        batch = fitted.predict(torch.cat([one, two]))
        assert torch.equal(batch, torch.cat([fitted.predict(one), fitted.predict(two)]))


def test_land_is_ignored_and_zero():
    x = np.concatenate([record(), np.full((MONTHS, 1, 1, 1), np.nan)], axis=2)
    config = dataclasses.replace(PAIR, width=3)
    model = CorrectedLIM.fit(x, 1, [0.0], np.pad(EAST, ((0, 0), (0, 1))), config)
    given = with_month(x[None, 100:103], 7)
    with torch.no_grad():
        y = model.predict(given)
        given[..., 2, 0] = 99.0
        assert torch.equal(model.predict(given), y)
    assert torch.isfinite(y).all() and (y[..., 2, 0] == 0).all()


def test_a_config_comes_back_from_json():
    config = PRESETS["tiny"]
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    model = models.build("corrected-lim", fields)
    assert model.config == config and (model.in_len, model.out_len) == (4, 3)
    with pytest.raises(ValueError, match="ascending whole numbers"):
        CorrectedLIMConfig(delays=(3, 0))
    with pytest.raises(ValueError, match="expected 1 channel"):
        CorrectedLIMConfig(channels=2)


def test_what_a_fit_refuses():
    with pytest.raises(ValueError, match=r"zero on land, found \(2, 1\)"):
        CorrectedLIM.fit(record(), 1, [0.0], EAST.T, PAIR)
    weight = np.arange(MONTHS) % 7 < 5  # five months in a row, and a window has six
    with pytest.raises(ValueError, match="expected 6 months in a row"):
        CorrectedLIM.fit(record(), 1, [0.0], EAST, PAIR, None, weight)
    with pytest.raises(ValueError, match="expected x of shape"):
        CorrectedLIM(PAIR).predict(torch.zeros(1, 2, 1, 2, 3))
