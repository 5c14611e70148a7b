"""Rainformer: its size, each unit by hand, the shifted windows, the skips, bad configs."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from xearthformer.models import build
from xearthformer.models.baselines.rainformer import (
    PRESETS,
    BalancedBlock,
    ChannelAttention,
    GateFusionUnit,
    GlobalUnit,
    LocalUnit,
    Rainformer,
    RainformerConfig,
)

TINY = PRESETS["tiny"]


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return build("rainformer", "tiny").eval().requires_grad_(False)


# --- units ---


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_gate_fusion_against_its_equations():
    torch.manual_seed(0)
    unit = GateFusionUnit(3).double()
    near, far = torch.randn(2, 2, 1, 4, 5, 3, dtype=torch.float64)
    both = np.concatenate([near.numpy(), far.numpy()], axis=-1)
    z = sigmoid(linear(unit.gates, both))
    z_near, z_far = z[..., :3], z[..., 3:]
    expected = linear(unit.fuse, np.concatenate([z_near * near.numpy(), z_far * far.numpy()], -1))
    np.testing.assert_allclose(unit(near, far).detach().numpy(), expected, rtol=1e-12)


def test_a_shut_gate_lets_nothing_through():
    unit = GateFusionUnit(3).requires_grad_(False)
    unit.gates.weight.zero_()
    unit.gates.bias.copy_(torch.tensor([-1e4] * 3 + [1e4] * 3))  # local shut, global open
    near, far = torch.randn(2, 1, 1, 2, 2, 3)
    expected = unit.fuse(torch.cat([torch.zeros_like(near), far], dim=-1))
    torch.testing.assert_close(unit(near, far), expected)


def test_channel_attention_by_hand():
    # Means 2 and 5, and two channels of zeros. Squeezed to 2 - 5 = -3, leaky: -0.3; then times
    # (0, 1, 2, 3) through a sigmoid: the weights of the channels.
    unit = ChannelAttention(4).requires_grad_(False)
    unit.squeeze.weight.copy_(torch.tensor([[1.0, -1.0, 7.0, 7.0]]))
    unit.squeeze.bias.zero_()
    unit.excite.weight.copy_(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
    unit.excite.bias.zero_()
    x_B1HWC = torch.zeros(1, 1, 1, 2, 4)
    x_B1HWC[..., 0] = torch.tensor([1.0, 3.0])
    x_B1HWC[..., 1] = torch.tensor([4.0, 6.0])
    weights = sigmoid(-0.3 * np.arange(4))
    expected = [[0.5 * 1, weights[1] * 4, 0, 0], [0.5 * 3, weights[1] * 6, 0, 0]]
    np.testing.assert_allclose(unit(x_B1HWC)[0, 0, 0].numpy(), expected, rtol=1e-6)


def test_channel_attention_sees_its_own_sample_only():
    unit = ChannelAttention(8)
    x_B1HWC = torch.randn(2, 1, 3, 3, 8)
    alone = unit(x_B1HWC[:1])
    torch.testing.assert_close(unit(x_B1HWC)[:1], alone)


def reached(unit: torch.nn.Module, size: int, row: int, column: int) -> torch.Tensor:
    """Which pixels (H, W) of what comes out change with one pixel of what goes in."""
    x_B1HWC = torch.randn(1, 1, size, size, 8)
    before, changed = unit(x_B1HWC), x_B1HWC.clone()
    changed[:, :, row, column] += torch.randn(8)
    return (unit(changed) != before)[0, 0].any(-1)


def only(mask_HW: torch.Tensor, rows: slice, columns: slice) -> bool:
    """Whether these pixels are reached, and no others."""
    expected = torch.zeros_like(mask_HW)
    expected[rows, columns] = True
    return torch.equal(mask_HW, expected)


@pytest.fixture
def windows():
    """8 x 8 pixels in windows of 4 x 4; the first layer, then the shifted one, each alone."""
    torch.manual_seed(0)
    unit = GlobalUnit(8, (1, 8, 8), window=4, num_heads=2).requires_grad_(False)
    plain, shifted = (lambda x, layer=layer: layer(x)[0] for layer in unit.attn_l)
    return plain, shifted


def test_windows_are_worlds_of_their_own(windows):
    plain, _ = windows
    assert only(reached(plain, 8, 0, 0), slice(0, 4), slice(0, 4))
    assert only(reached(plain, 8, 3, 5), slice(0, 4), slice(4, 8))


def test_shifted_windows_join_neighbours_but_no_strangers(windows):
    _, shifted = windows
    # Across the borders of the first layer's windows, at 4.
    assert only(reached(shifted, 8, 3, 4), slice(2, 6), slice(2, 6))
    # What is rolled round, from the top and left rim, stays unseen from the other rim.
    assert only(reached(shifted, 8, 0, 0), slice(0, 2), slice(0, 2))
    assert only(reached(shifted, 8, 7, 7), slice(6, 8), slice(6, 8))
    assert only(reached(shifted, 8, 0, 4), slice(0, 2), slice(2, 6))


def test_a_window_attends_as_swin_says():
    """Softmax(q k / sqrt(d) + bias) v in the first window, one head, in numpy."""
    torch.manual_seed(0)
    unit = GlobalUnit(4, (1, 4, 4), window=2, num_heads=1).double().requires_grad_(False)
    layer = unit.attn_l[0]
    layer.relative_position_bias_table.normal_()
    x_B1HWC = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64)
    normed = layer.norm(x_B1HWC)[0, 0, :2, :2].reshape(4, 4).numpy()
    q, k, v = np.split(normed @ layer.qkv.weight.numpy().T, 3, axis=-1)
    # Row (dy + 1) * 3 + (dx + 1) of the table for a pixel that far below and right of the other.
    places = [(y, x) for y in range(2) for x in range(2)]
    rows = [[(y - b + 1) * 3 + (x - a + 1) for b, a in places] for y, x in places]
    score = q @ k.T / 4**0.5 + layer.relative_position_bias_table.numpy()[rows, 0]
    weight = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
    expected = linear(layer.proj, weight @ v)
    found = layer(x_B1HWC)[0][0, 0, :2, :2].reshape(4, 4).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_local_unit_adds_to_what_came_in():
    torch.manual_seed(0)
    unit = LocalUnit(8).requires_grad_(False)
    x_B1HWC = torch.randn(2, 1, 5, 6, 8)
    convolved = unit.convs(x_B1HWC[:, 0].movedim(-1, 1)).movedim(1, -1)[:, None]
    torch.testing.assert_close(unit(x_B1HWC), x_B1HWC + unit.attention(convolved))
    unit.convs[4].weight.zero_()  # the last norm, whose bias is zero
    assert torch.equal(unit(x_B1HWC), x_B1HWC)


def test_both_units_count_in_a_block():
    torch.manual_seed(0)
    block = BalancedBlock(8, (1, 4, 4), window=4, num_heads=2).requires_grad_(False)
    x_B1HWC = torch.randn(1, 1, 4, 4, 8)
    whole = block(x_B1HWC)
    near, (far, _) = block.near(x_B1HWC), block.far(x_B1HWC)
    torch.testing.assert_close(whole, block.fusion(near, far))
    assert not torch.allclose(whole, block.fusion(torch.zeros_like(near), far))
    assert not torch.allclose(whole, block.fusion(near, torch.zeros_like(far)))


# --- network ---


def test_the_skip_is_used(tiny):
    """With nothing coming up from below, what the finest level saw still reaches the forecast."""
    x_BTHWC = torch.randn(1, 4, 16, 16, 1)
    (up,) = tiny.up
    up.up.conv.weight.zero_()
    assert not torch.equal(tiny.predict(x_BTHWC), tiny.predict(x_BTHWC.flip(1)))
    up.merge.weight[:, : TINY.base_units] = 0  # the skip's half of the channels
    torch.testing.assert_close(tiny.predict(x_BTHWC), tiny.predict(x_BTHWC.flip(1)))


def test_the_coarsest_level_is_used(tiny):
    x_BTHWC = torch.randn(1, 4, 16, 16, 1)
    before = tiny.predict(x_BTHWC)
    tiny.down[-1].fusion.fuse.weight.neg_()
    assert not torch.allclose(tiny.predict(x_BTHWC), before)


def test_several_variables_and_a_wide_grid():
    config = replace(TINY, channels=2, height=16, width=32)
    y_BTHWC = Rainformer(config).predict(torch.randn(1, 4, 16, 32, 2))
    assert y_BTHWC.shape == (1, 3, 16, 32, 2)


def test_heads_and_channels_double_from_level_to_level():
    with torch.device("meta"):
        model = Rainformer(PRESETS["enso"])
    layers = [block.far.attn_l[0] for block in model.down]
    assert [layer.num_heads for layer in layers] == [4, 8, 16]
    assert [layer.head_dim for layer in layers] == [29, 29, 29]


def test_a_batch_is_its_samples(tiny):
    x_BTHWC = torch.randn(3, 4, 16, 16, 1)
    together = tiny.predict(x_BTHWC)
    for i in range(3):
        torch.testing.assert_close(tiny.predict(x_BTHWC[i : i + 1]), together[i : i + 1])


def test_loss_is_the_mean_squared_error(tiny):
    x_BTHWC, y_BTHWC = torch.randn(2, 4, 16, 16, 1), torch.randn(2, 3, 16, 16, 1)
    expected = (tiny.predict(x_BTHWC) - y_BTHWC).square().mean()
    torch.testing.assert_close(tiny.loss(x_BTHWC, y_BTHWC), expected)


def test_config_from_json():
    assert build("rainformer", asdict(TINY)).config == TINY


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        # 16 / 2 = 8 pixels, then 4: windows of 3 fit in neither, of 8 in the finer one only.
        ({"window": 3}, r"height and width divisible by 12 .*window=3\), found 16 and 16"),
        ({"window": 8}, r"height and width divisible by 32 .*window=8\), found 16 and 16"),
        ({"height": 24}, r"height and width divisible by 16 .* found 24 and 16"),
        ({"width": 24}, r"height and width divisible by 16 .* found 16 and 24"),
        ({"patch": 4}, r"height and width divisible by 32 \(patch=4.* found 16 and 16"),
        ({"levels": 3}, r"halved levels - 1 = 2 times.* found 16 and 16"),
        ({"num_heads": 3}, r"base_units divisible by num_heads, 3, found 16"),
        ({"base_units": 18}, r"base_units divisible by the groups of a norm, 4, found 18"),
        ({"window": 0}, r"expected window .* found \(0,\)"),
        ({"levels": 0}, r"expected levels .* found \(0,\)"),
        ({"in_len": 1.5}, r"expected in_len .* found \(1.5,\)"),
    ],
)
def test_bad_configs(fields, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **fields)


def test_frames_of_another_shape(tiny):
    with pytest.raises(
        ValueError, match=r"expected x of shape .*4, 16, 16, 1\)\), found \(1, 4, 16"
    ):
        tiny.predict(torch.zeros(1, 4, 16, 32, 1))


def test_the_default_is_the_sevir_preset():
    assert RainformerConfig() == PRESETS["sevir"]
