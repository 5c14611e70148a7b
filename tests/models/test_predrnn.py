"""PredRNN: a step of its cell and its decoupling loss in numpy, the zigzag, sizes, bad configs."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conv_by_hand import convolve, random_frames, sigmoid

from xearthformer.models.baselines.predrnn import (
    PRESETS,
    PredRNN,
    PredRNNConfig,
    STLSTMCell,
    likeness,
)
from xearthformer.models.layers.recurrent import from_patches, to_patches

TINY = PRESETS["tiny"]


def step_by_hand(cell, x, h, c, m):
    """A step of one sample; the seven gates of x stand one after another, each of n channels."""
    n = len(h)
    parts = [slice(k * n, (k + 1) * n) for k in range(7)]
    x_i, x_f, x_g, x_i2, x_f2, x_g2, x_o = (convolve(x, cell.from_x, part) for part in parts)
    h_i, h_f, h_g, h_o = (convolve(h, cell.from_h, part) for part in parts[:4])
    m_i, m_f, m_g = (convolve(m, cell.from_m, part) for part in parts[:3])
    written_c = sigmoid(x_i + h_i) * np.tanh(x_g + h_g)
    written_m = sigmoid(x_i2 + m_i) * np.tanh(x_g2 + m_g)
    c = sigmoid(x_f + h_f) * c + written_c
    m = sigmoid(x_f2 + m_f) * m + written_m
    both = np.concatenate([c, m])
    o = sigmoid(x_o + h_o + convolve(both, cell.from_memories))
    return o * np.tanh(convolve(both, cell.join)), c, m, written_c, written_m


def test_a_step_of_the_cell():
    torch.manual_seed(0)
    cell = STLSTMCell(2, 3, kernel=3).double()
    before = [random_frames(1, n, 4, 5, seed=seed) for seed, n in enumerate((2, 3, 3, 3))]
    expected = step_by_hand(cell, *(each[0].numpy() for each in before))
    states, written = cell(*before)
    for found, by_hand in zip((*states, *written), expected, strict=True):
        np.testing.assert_allclose(found[0].detach(), by_hand)


def test_likeness_is_the_papers_decoupling():
    a, b = (random_frames(2, 3, 4, 5, seed=seed).numpy() for seed in (1, 2))
    inner = np.abs((a * b).sum(axis=(2, 3)))
    norms = np.sqrt((a**2).sum(axis=(2, 3)) * (b**2).sum(axis=(2, 3)))
    found = likeness(torch.from_numpy(a), torch.from_numpy(b))
    assert float(found) == pytest.approx((inner / norms).mean())
    assert float(likeness(torch.from_numpy(a), -3 * torch.from_numpy(a))) == pytest.approx(1)


def test_nothing_written_has_a_finite_gradient():
    a = torch.zeros(1, 2, 3, 3, requires_grad=True)
    likeness(a, torch.rand(1, 2, 3, 3)).backward()
    assert a.grad.isfinite().all()


@pytest.fixture
def tiny() -> PredRNN:
    torch.manual_seed(0)
    return PredRNN(TINY).double()


def zigzag(model, frames):
    """The network's forecasts of the frames after these; what was written, all layers and steps."""
    zero = torch.zeros(len(frames[0]), TINY.hidden, 4, 4, dtype=torch.float64)
    h, c, m = [zero, zero], [zero, zero], zero
    made, written = [], []
    for x in frames:
        (h[0], c[0], m), low = model.cells[0](x, h[0], c[0], m)
        (h[1], c[1], m), high = model.cells[1](h[0], h[1], c[1], m)
        written += [low, high]
        made.append(model.readout(h[1]))
    return made, written


def test_the_forecast_written_out(tiny):
    x_BTHWC = random_frames(2, 4, 16, 16, 1)
    frames = list(to_patches(x_BTHWC, TINY.patch).unbind(1))
    for _ in range(3):
        made, _ = zigzag(tiny, frames)
        frames.append(made[-1])
    expected = from_patches(torch.stack(frames[4:], dim=1), TINY.patch)
    torch.testing.assert_close(tiny.predict(x_BTHWC), expected)


def test_the_loss_in_training_written_out(tiny):
    x_BTHWC, y_BTHWC = random_frames(2, 4, 16, 16, 1), random_frames(2, 3, 16, 16, 1, seed=1)
    truth = list(to_patches(torch.cat([x_BTHWC, y_BTHWC], dim=1), TINY.patch).unbind(1))
    tiny.context_sampling.step += TINY.sampling_steps  # the whole context from the truth
    tiny.forecast_sampling.start = 1.0  # and at the first step all the rest too
    made, written = zigzag(tiny, truth[:-1])
    squares = [(a - b).square().mean() for a, b in zip(made, truth[1:], strict=True)]
    alike = [likeness(tiny.decouple(c), tiny.decouple(m)) for c, m in written]
    assert len(squares) == 6 and len(alike) == 12
    expected = torch.stack(squares).mean() + TINY.decoupling * torch.stack(alike).mean()
    torch.testing.assert_close(tiny.loss(x_BTHWC, y_BTHWC), expected)


def test_training_feeds_its_own_frames_too(tiny):
    x_BTHWC, y_BTHWC = random_frames(2, 4, 16, 16, 1), random_frames(2, 3, 16, 16, 1, seed=1)
    losses = {}
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.setdefault(seed, []).append(tiny.loss(x_BTHWC, y_BTHWC).item())
    assert tiny.context_sampling.step == tiny.forecast_sampling.step == 3
    tiny.context_sampling.step.zero_()
    tiny.forecast_sampling.step.zero_()
    torch.manual_seed(0)
    assert tiny.loss(x_BTHWC, y_BTHWC).item() == losses[0][0] != losses[1][0]


def test_after_the_schedule_training_is_fed_as_a_forecast_is(tiny):
    x_BTHWC, y_BTHWC = random_frames(2, 4, 16, 16, 1), random_frames(2, 3, 16, 16, 1, seed=1)
    for sampling in (tiny.context_sampling, tiny.forecast_sampling):
        sampling.step += TINY.sampling_steps
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(tiny.loss(x_BTHWC, y_BTHWC).item())
    assert losses[0] == losses[1]


def test_evaluation_is_the_forecasts_squared_error(tiny):
    x_BTHWC = random_frames(2, 4, 16, 16, 1)
    y_BTHWC = tiny.predict(x_BTHWC).detach()
    loss = tiny.eval().loss(x_BTHWC, y_BTHWC + 2)
    torch.testing.assert_close(loss, torch.tensor(4.0).double())
    assert tiny.context_sampling.step == tiny.forecast_sampling.step == 0


def test_a_longer_forecast_begins_with_the_shorter(tiny):
    longer = PredRNN(replace(TINY, out_len=7)).double()
    longer.load_state_dict(tiny.state_dict())
    x_BTHWC = random_frames(1, 4, 16, 16, 1)
    y_BTHWC = longer.predict(x_BTHWC)
    assert y_BTHWC.shape == (1, 7, 16, 16, 1)
    assert torch.equal(y_BTHWC[:, :3], tiny.predict(x_BTHWC))


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trips_through_json(preset):
    again = json.loads(json.dumps(asdict(PRESETS[preset])))
    assert PredRNNConfig(**again) == PRESETS[preset]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": 4}, "expected kernel to be odd, found 4"),
        ({"patch": 4}, "expected patch to be 2 whole numbers"),
        ({"patch": (3, 2)}, r"divides frames of \(16, 16\), found \(3, 2\)"),
        ({"layers": 0}, "expected layers to be"),
        ({"hidden": 0}, "expected hidden to be"),
        ({"in_len": 0}, "expected in_len to be"),
        ({"decoupling": 0.0}, "expected decoupling above 0, found 0.0"),
        ({"sampling_steps": -1}, r"sampling_steps as a whole number from 0\n   found -1"),
    ],
)
def test_bad_configs(change, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def test_another_shape_than_configured(tiny):
    for ask in (tiny.predict, lambda x: tiny.loss(x, torch.zeros(1, 3, 16, 16, 1))):
        with pytest.raises(ValueError, match=r"found \(1, 5, 16, 16, 1\)"):
            ask(torch.zeros(1, 5, 16, 16, 1))
