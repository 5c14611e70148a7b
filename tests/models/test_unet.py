"""The U-Net: its size, its skips, odd grids, the up-convolution by hand, bad configs."""

import pytest
import torch

from xearthformer.models import build
from xearthformer.models.baselines.unet import PRESETS, UNet, UNetConfig, UpLevel


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return build("unet", "tiny").eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 16), (15, 18), (7, 5), (1, 3)])
def test_any_height_and_width(tiny, size):
    y_BTHWC = tiny.predict(torch.randn(2, 4, *size, 1))
    assert y_BTHWC.shape == (2, 3, *size, 1) and y_BTHWC.isfinite().all()


def test_several_variables_keep_their_place():
    # Weights of the head that pick feature k for (frame k // 2, variable k % 2).
    model = UNet(UNetConfig(in_len=2, out_len=3, channels=2, widths=(8, 8))).requires_grad_(False)
    model.head.weight.copy_(torch.eye(6, 8))
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    y_BTHWC = model.predict(torch.randn(1, 2, 4, 4, 2))
    for k in range(6):
        torch.testing.assert_close(y_BTHWC[:, k // 2, ..., k % 2], seen[0][..., k])


@pytest.mark.parametrize("level", [0, 1])
def test_each_skip_is_used(tiny, level):
    """The coarsest level and the other skip cut off, this one alone brings the frames across."""
    x_BTHWC = torch.randn(1, 4, 16, 16, 1)

    def frames_count() -> bool:
        return not torch.allclose(tiny.predict(x_BTHWC), tiny.predict(x_BTHWC.flip(1)))

    skips = [
        up.convs[0].weight[:, :width]  # the skip's half of the channels that come in
        for up, width in zip(reversed(tiny.up), PRESETS["tiny"].widths, strict=False)
    ]
    tiny.up[0].up.weight.zero_()
    skips[1 - level].zero_()
    assert frames_count()
    skips[level].zero_()
    assert not frames_count()


def test_the_coarsest_level_is_used(tiny):
    x_BTHWC = torch.randn(1, 4, 16, 16, 1)
    before = tiny.predict(x_BTHWC)
    tiny.down[-1][0].weight.neg_()
    assert not torch.allclose(tiny.predict(x_BTHWC), before)


def test_up_convolution_by_hand():
    # Each pixel below becomes 2 x 2: itself times (1 2 / 3 4). Of the 4 x 4 the skip's 3 x 3 stays.
    level = UpLevel(1, 8).requires_grad_(False)
    level.up.weight.zero_()
    level.up.bias.zero_()
    level.up.weight[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    seen = []
    level.convs.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    skip_BCHW = torch.randn(1, 8, 3, 3)
    level(torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]), skip_BCHW)
    assert torch.equal(seen[0][:, :8], skip_BCHW)
    expected = [[1.0, 2.0, 10.0], [3.0, 4.0, 30.0], [100.0, 200.0, 1000.0]]
    assert seen[0][0, 8].tolist() == expected


def test_odd_sides_are_rounded_up_and_no_row_is_lost(tiny):
    seen = []
    for convs in tiny.down:
        convs.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x_BTHWC = torch.zeros(1, 4, 5, 9, 1)
    x_BTHWC[:, :, -1, -1] = 1  # the corner that rounding down would lose
    tiny.predict(x_BTHWC)
    assert [tuple(x.shape[-2:]) for x in seen] == [(5, 9), (3, 5), (2, 3)]
    corner = seen[2][..., -1, -1].clone()
    tiny.predict(torch.zeros_like(x_BTHWC))
    assert not torch.allclose(seen[-1][..., -1, -1], corner)


def test_a_batch_is_its_samples(tiny):
    x_BTHWC = torch.randn(3, 4, 8, 8, 1)
    together = tiny.predict(x_BTHWC)
    for i in range(3):
        torch.testing.assert_close(tiny.predict(x_BTHWC[i : i + 1]), together[i : i + 1])


def test_loss_is_the_mean_squared_error(tiny):
    x_BTHWC, y_BTHWC = torch.randn(2, 4, 8, 8, 1), torch.randn(2, 3, 8, 8, 1)
    expected = (tiny.predict(x_BTHWC) - y_BTHWC).square().mean()
    torch.testing.assert_close(tiny.loss(x_BTHWC, y_BTHWC), expected)


def test_config_from_json():
    fields = {"in_len": 4, "out_len": 3, "widths": [16, 32, 64]}
    assert build("unet", fields).config == PRESETS["tiny"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"widths": (16, 20)}, r"divisible by the 8 groups .* found \(16, 20\)"),
        ({"widths": (16,)}, r"two levels or more, found \(16,\)"),
        ({"widths": ()}, r"expected widths to be whole numbers .* found \(\)"),
        ({"widths": 16}, r"expected widths to be whole numbers .* found 16"),
        ({"widths": (0, 8)}, r"expected widths to be whole numbers .* found \(0, 8\)"),
        ({"in_len": 0}, r"expected in_len .* found \(0,\)"),
        ({"out_len": 1.5}, r"expected out_len .* found \(1.5,\)"),
        ({"in_len": True}, r"expected in_len .* found \(True,\)"),
        ({"channels": -1}, r"expected channels .* found \(-1,\)"),
    ],
)
def test_bad_configs(fields, words):
    with pytest.raises(ValueError, match=words):
        UNetConfig(**fields)


@pytest.mark.parametrize("shape", [(1, 5, 8, 8, 1), (1, 4, 8, 8, 2)])
def test_frames_or_variables_of_another_number(tiny, shape):
    with pytest.raises(ValueError, match="expected x of shape .*in_len=4.*channels=1.*found"):
        tiny.predict(torch.zeros(shape))
