"""E3D-LSTM: a step of the cell by hand, its recall and its clips, sizes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conv_by_hand import sigmoid

from xearthformer.models.baselines.e3d_lstm import (
    E3DLSTM,
    PRESETS,
    CausalConv3d,
    E3DLSTMCell,
    E3DLSTMConfig,
    recall,
)

TINY = PRESETS["tiny"]


def conv(x_CTHW, weight):
    """Cross-correlation, zero-padded before in time and around in space, place by place."""
    _, _, t, k, _ = weight.shape
    _, frames, height, width = x_CTHW.shape
    padded = np.pad(x_CTHW, [(0, 0), (t - 1, 0), (k // 2, k // 2), (k // 2, k // 2)])
    y = np.zeros((len(weight), frames, height, width))
    for f, row, column in np.ndindex(frames, height, width):
        patch = padded[:, f : f + t, row : row + k, column : column + k]
        y[:, f, row, column] = (weight * patch).sum(axis=(1, 2, 3, 4))
    return y


def test_one_step_of_the_cell_by_hand():
    torch.manual_seed(0)
    cell = E3DLSTMCell(2, 3, (2, 3)).double()
    with torch.no_grad():
        cell.norm.weight.normal_()
        cell.norm.bias.normal_()
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 3, 2))  # C T H W
    h, c1, c2, m = rng.standard_normal((4, 3, 2, 3, 2))
    # a weight for every gate
    names = ["r", "i", "g", "im", "gm", "fm", "o"]
    wx = dict(zip(names, np.split(p["of_x.weight"], 7), strict=True))
    b = dict(zip(names, np.split(p["of_x.bias"][:, None, None, None], 7), strict=True))
    wh = dict(zip("rigo", np.split(p["of_h.weight"], 4), strict=True))
    bh = dict(zip("rigo", np.split(p["of_h.bias"][:, None, None, None], 4), strict=True))
    wm = dict(zip(names[3:6], np.split(p["of_m.weight"], 3), strict=True))
    bm = dict(zip(names[3:6], np.split(p["of_m.bias"][:, None, None, None], 3), strict=True))

    def seen(gate):
        return conv(x, wx[gate]) + conv(h, wh[gate]) + b[gate] + bh[gate]

    # recall: 12 places of the gate, 24 of the two memories
    query = sigmoid(seen("r")).reshape(3, 12).T
    memory = np.concatenate([c1.reshape(3, 12), c2.reshape(3, 12)], axis=1).T
    weight = np.exp(query @ memory.T)
    weight /= weight.sum(axis=1, keepdims=True)
    kept = c2 + (weight @ memory).T.reshape(3, 2, 3, 2)
    normed = (kept - kept.mean()) / np.sqrt(kept.var() + 1e-5)
    scale, shift = (p[f"norm.{name}"][:, None, None, None] for name in ("weight", "bias"))
    c = sigmoid(seen("i")) * np.tanh(seen("g")) + scale * normed + shift

    def wandering(gate):
        return conv(x, wx[gate]) + conv(m, wm[gate]) + b[gate] + bm[gate]

    m_new = sigmoid(wandering("im")) * np.tanh(wandering("gm")) + sigmoid(wandering("fm")) * m
    of_c, of_m = np.split(p["of_memories.weight"], 2, axis=1)
    bias = p["of_memories.bias"][:, None, None, None]
    o = sigmoid(seen("o") + conv(c, of_c) + conv(m_new, of_m) + bias)
    mixed = np.einsum("oc,cthw->othw", p["mix.weight"][..., 0, 0, 0], np.concatenate([c, m_new]))
    h_new = o * np.tanh(mixed + p["mix.bias"][:, None, None, None])

    x, h, c1, c2, m = (torch.from_numpy(a)[None] for a in (x, h, c1, c2, m))
    for found, expected in zip(cell(x, h, [c1, c2], m), (h_new, c, m_new), strict=True):
        np.testing.assert_allclose(found[0].detach().numpy(), expected, atol=1e-12)


def test_a_gate_recalls_the_memory_it_looks_like():
    """A place whose gate is far along one channel finds the one place that is so too."""
    old_BCTHW, new_BCTHW = torch.zeros(1, 2, 1, 2, 2), torch.zeros(1, 2, 1, 2, 2)
    old_BCTHW[0, :, 0, 0, 1] = torch.tensor([40.0, 3.0])
    new_BCTHW[0, :, 0, 1, 0] = torch.tensor([2.0, 30.0])
    gate_BCTHW = torch.zeros(1, 2, 1, 2, 2)
    gate_BCTHW[0, 0, 0, 1, 1] = 1  # scores 40 with the old, 2 with the new, 0 elsewhere
    gate_BCTHW[0, 1, 0, 0, 0] = 1  # 3, 30 and 0
    recalled = recall(gate_BCTHW, [old_BCTHW, new_BCTHW])
    torch.testing.assert_close(recalled[0, :, 0, 1, 1], torch.tensor([40.0, 3.0]))
    torch.testing.assert_close(recalled[0, :, 0, 0, 0], torch.tensor([2.0, 30.0]))
    # a gate of zero: the mean over all 8 places
    torch.testing.assert_close(recalled[0, :, 0, 0, 1], torch.tensor([42 / 8, 33 / 8]))


def test_a_convolution_of_a_clip_does_not_look_ahead():
    torch.manual_seed(0)
    layer, x_BCTHW = CausalConv3d(2, 3, (3, 3)), torch.randn(1, 2, 4, 5, 5)
    later = x_BCTHW.clone()
    later[:, :, 2:] += 1
    before, after = layer(x_BCTHW), layer(later)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2], after[:, :, 2])


def test_a_step_keeps_the_clip_and_all_memories_and_the_memory_wanders():
    torch.manual_seed(0)
    model, frames = E3DLSTM(TINY), torch.rand(3, 1, 1, 16, 16)
    with torch.no_grad():
        y, past = model.step(frames[0])
        first = past
        for frame in frames[1:]:
            y, past = model.step(frame, past)
        assert y.shape == (1, 1, 16, 16)
        encoded = [model.encoder(frame) for frame in frames]
        assert all(torch.equal(a, encoded[0]) for a in first.clip)
        assert all(torch.equal(a, b) for a, b in zip(past.clip, encoded[1:], strict=True))
        assert [len(memories) for memories in past.memories] == [4, 4]  # zero and three steps
        assert not past.memories[0][0].any()
        # the first cell takes over what the last one handed on a step ago
        cell, stacked = model.cells[0], torch.stack(encoded[:1] + encoded[:1], dim=2)
        zero = torch.zeros_like(stacked)
        h, c, m = cell(stacked, zero, [zero], zero)
        h, c, m = model.cells[1](h, zero, [zero], m)
        torch.testing.assert_close(first.wandering, m)
        stacked = torch.stack(encoded[:2], dim=2)
        memories = first.memories
        h, c, m = cell(stacked, first.states[0], memories[0], first.wandering)
        torch.testing.assert_close(c, past.memories[0][2])


def test_what_was_long_ago_is_recalled():
    """The oldest memory alone, changed, changes the next step."""
    torch.manual_seed(0)
    cell = E3DLSTMCell(4, 8, (2, 3))
    x, h, m = torch.randn(1, 4, 2, 3, 3), torch.randn(1, 8, 2, 3, 3), torch.randn(1, 8, 2, 3, 3)
    memories = list(torch.randn(3, 1, 8, 2, 3, 3))
    _, c, _ = cell(x, h, memories, m)
    _, other, _ = cell(x, h, [memories[0] + 1, *memories[1:]], m)
    assert not torch.allclose(c, other, atol=1e-3)


def test_training_is_taught_by_the_truth():
    x, y = torch.rand(2, 4, 16, 16, 1), torch.rand(2, 3, 16, 16, 1)
    torch.manual_seed(0)
    model = E3DLSTM(replace(TINY, sampling_steps=1))
    with torch.no_grad():
        off = model.predict(x) - y
        plain = off.square().mean()
        taught, untaught = model.loss(x, y), model.loss(x, y)  # all of the truth, then none
        torch.testing.assert_close(model.eval().loss(x, y), plain)
    both = plain + off.abs().mean()
    torch.testing.assert_close(untaught, both)
    assert not torch.isclose(taught, both, rtol=1e-4)
    assert int(model.sampling.step) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel": (2, 4)}, "expected kernel's side in space to be odd, found 4"),
        ({"kernel": (3, 5)}, "expected a kernel of no more frames than the clip's 2"),
        ({"kernel": (2, 5, 5)}, "expected kernel to be 2 whole numbers"),
        ({"out_len": 0}, "expected out_len to be"),
        ({"width": 17}, r"expected scales whose product divides frames of \(16, 17\)"),
        ({"clip": 0}, "expected clip"),
        ({"layers": 0}, "expected layers to be"),
        ({"widths": (12,)}, "expected widths that are multiples of 8"),
        ({"scales": (2, 2)}, "expected widths to be 2 whole numbers"),
        ({"sampling_steps": -1}, "expected sampling_steps"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error(changes, words):
    with pytest.raises(ValueError, match=words):
        E3DLSTM(replace(TINY, **changes))


def test_frames_of_another_shape_are_an_error():
    model = E3DLSTM(TINY)
    for shape in [(1, 3, 16, 16, 1), (1, 4, 16, 17, 1), (1, 4, 16, 16, 2)]:
        with pytest.raises(ValueError, match=r"expected x of shape .*\(4, 16, 16, 1\)"):
            model.predict(torch.zeros(shape))


def test_a_config_comes_back_from_json():
    as_json = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(TINY).items()}
    assert E3DLSTMConfig(**as_json) == TINY
    assert replace(TINY, scales=[2]) == TINY
