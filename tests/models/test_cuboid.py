"""Cuboids: the cut and its inverse, the masks, the bias index, the patterns by name."""

import pytest
import torch

from xearthformer.models.layers.attention import (
    BlockOptions,
    CuboidCrossAttention,
    CuboidSelfAttention,
)
from xearthformer.models.layers.cuboid import (
    Cuboid,
    attention_mask,
    cross_pattern,
    masked_softmax,
    relative_position_index,
    self_pattern,
)


def numbered(*shape_THW: int) -> torch.Tensor:
    """A grid whose elements are their own number, from 1: 0 is padding."""
    n = torch.arange(1.0, 1 + torch.Size(shape_THW).numel())
    return n.reshape(1, *shape_THW, 1)


def pieces(cuboid: Cuboid, *shape_THW: int) -> list[list[int]]:
    """The numbers in each cuboid."""
    return cuboid.on(shape_THW).cut(numbered(*shape_THW))[0, ..., 0].int().tolist()


@pytest.mark.parametrize(
    ("cuboid", "shape", "expected"),
    [
        # A row of 4 in two: neighbours together, or elements 4/2 apart.
        (Cuboid((1, 1, 2)), (1, 1, 4), [[1, 2], [3, 4]]),
        (Cuboid((1, 1, 2), "ddd"), (1, 1, 4), [[1, 3], [2, 4]]),
        # Rolled back by one: 1 2 3 4 becomes 2 3 4 1.
        (Cuboid((1, 1, 2), shift=(0, 0, 1)), (1, 1, 4), [[2, 3], [4, 1]]),
        # Padded at the end to 4, then rolled: 1 2 3 . becomes 2 3 . 1.
        (Cuboid((1, 1, 2)), (1, 1, 3), [[1, 2], [3, 0]]),
        (Cuboid((1, 1, 2), shift=(0, 0, 1)), (1, 1, 3), [[2, 3], [0, 1]]),
        # A dilated axis never shifts.
        (Cuboid((1, 1, 2), "lld", (0, 0, 1)), (1, 1, 4), [[1, 3], [2, 4]]),
        # An axis no longer than its cuboid is taken whole, unshifted and unpadded.
        (Cuboid((1, 1, 4), shift=(0, 0, 2)), (1, 1, 3), [[1, 2, 3]]),
        # Elements in (t, h, w) order, cuboids in (T, H, W) order:  1 2 | 5 6
        #                                                           3 4 | 7 8
        (Cuboid((2, 1, 1)), (2, 2, 2), [[1, 5], [2, 6], [3, 7], [4, 8]]),
        (Cuboid((1, 2, 1)), (2, 2, 2), [[1, 3], [2, 4], [5, 7], [6, 8]]),
        (Cuboid((2, 1, 2)), (2, 2, 2), [[1, 2, 5, 6], [3, 4, 7, 8]]),
        # One strategy per axis: rows dilated, columns local.
        (Cuboid((1, 2, 1), "ldl"), (1, 4, 1), [[1, 3], [2, 4]]),
    ],
)
def test_cut(cuboid, shape, expected):
    assert pieces(cuboid, *shape) == expected


@pytest.mark.parametrize("strategy", ["lll", "ddd", "ldl"])
@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 2, 1)])
def test_join_is_the_inverse_of_cut(strategy, shift):
    grid = Cuboid((2, 4, 3), strategy, shift).on((5, 6, 7))
    x_BTHWC = torch.randn(2, 5, 6, 7, 3)
    assert torch.equal(grid.join(grid.cut(x_BTHWC)), x_BTHWC)


def test_shift_mask_by_hand():
    # 1 2 3 4 rolled is 2 3 | 4 1. The neighbours 2 3 see each other, the strangers 4 and 1 don't.
    grid = Cuboid((1, 1, 2), shift=(0, 0, 1)).on((1, 1, 4))
    assert grid.regions().tolist() == [[0, 0], [1, 2]]
    mask_MVV = attention_mask(grid, grid, ignore_padding=False)
    assert mask_MVV.int().tolist() == [[[1, 1], [1, 1]], [[1, 0], [0, 1]]]


def test_shift_mask_in_two_axes_by_hand():
    # 4 x 4 in 2 x 2, both axes shifted by 1: the last of the four cuboids joins all four corners.
    grid = Cuboid((1, 2, 2), shift=(0, 1, 1)).on((1, 4, 4))
    assert grid.cut(numbered(1, 4, 4))[0, -1, :, 0].tolist() == [16, 13, 4, 1]
    mask_MVV = attention_mask(grid, grid, ignore_padding=False)
    assert mask_MVV[0].all()  # 6 7 10 11, the middle
    assert mask_MVV[1].int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert mask_MVV[2].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert torch.equal(mask_MVV[3], torch.eye(4).bool())


def test_padding_mask_by_hand():
    # 1 2 | 3 . : nobody sees the padding, when it is ignored.
    grid = Cuboid((1, 1, 2)).on((1, 1, 3))
    mask_MVV = attention_mask(grid, grid, ignore_padding=True)
    assert mask_MVV.int().tolist() == [[[1, 1], [1, 1]], [[1, 0], [1, 0]]]
    assert attention_mask(grid, grid, ignore_padding=False) is None


def test_no_mask_where_all_is_seen():
    grid = Cuboid((1, 2, 2), "ddd").on((1, 4, 4))
    assert attention_mask(grid, grid, ignore_padding=True) is None


def test_masked_softmax_is_exactly_zero_and_never_nan():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    for dtype in (torch.float32, torch.bfloat16):
        weight = masked_softmax(
            torch.tensor([[0.0, 0.0, 99.0], [1.0, 2.0, 3.0]], dtype=dtype), mask
        )
        assert weight.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_relative_position_index_by_hand():
    # A 1 x 2 x 2 cuboid: (dh + 1) * 3 + (dw + 1), places (0,0) (0,1) (1,0) (1,1).
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_position_index((1, 2, 2)).tolist() == expected
    # Time counts most: (dt + 1) * 1 * 3 + (dw + 1), places (0,0) (0,1) (1,0) (1,1).
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_position_index((2, 1, 2)).tolist() == expected


def rows(pattern: list[Cuboid]) -> list[tuple]:
    return [(c.size, c.strategy, c.shift) for c in pattern]


def plain(*sizes: tuple) -> list[tuple]:
    return [(size, "lll", (0, 0, 0)) for size in sizes]


T, H, W = 5, 8, 12


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("axial", (T, H, W), plain((T, 1, 1), (1, H, 1), (1, 1, W))),
        ("full", (T, H, W), plain((T, H, W))),
        ("divided_st", (T, H, W), plain((T, 1, 1), (1, H, W))),
        ("video_swin", (T, H, W), [*plain((2, 4, 4)), ((2, 4, 4), "lll", (1, 2, 2))]),
        ("video_swin_3x5", (T, H, W), [*plain((3, 5, 5)), ((3, 5, 5), "lll", (1, 2, 2))]),
        ("video_swin_9x10", (T, H, W), [*plain((5, 8, 8)), ((5, 8, 8), "lll", (2, 4, 4))]),
        (
            "spatial_lg_4",
            (T, H, W),
            [*plain((T, 1, 1), (1, 4, 4)), ((1, 4, 4), "ddd", (0, 0, 0))],
        ),
        (
            "spatial_lg_10",  # H fits in, W does not: the size stays as configured
            (T, H, W),
            [*plain((T, 1, 1), (1, 10, 10)), ((1, 10, 10), "ddd", (0, 0, 0))],
        ),
        ("spatial_lg_12", (T, H, W), plain((T, 1, 1), (1, H, W))),
        (
            "axial_space_dilate_2",
            (T, H, W),
            [
                *plain((T, 1, 1)),
                ((1, 4, 1), "ddd", (0, 0, 0)),
                ((1, 4, 1), "lll", (0, 0, 0)),
                ((1, 1, 6), "ddd", (0, 0, 0)),
                ((1, 1, 6), "lll", (0, 0, 0)),
            ],
        ),
        (
            "axial_space_dilate_9",  # K = H = 8: 8 // 8 rows, 12 // 8 columns
            (T, H, W),
            [
                *plain((T, 1, 1)),
                ((1, 1, 1), "ddd", (0, 0, 0)),
                ((1, 1, 1), "lll", (0, 0, 0)),
                ((1, 1, 1), "ddd", (0, 0, 0)),
                ((1, 1, 1), "lll", (0, 0, 0)),
            ],
        ),
    ],
)
def test_self_patterns(name, shape, expected):
    assert rows(self_pattern(name, shape)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_1x1", plain((T, 1, 1))),
        ("cross_4x4", plain((T, 4, 4))),
        ("cross_4x4_lg", [*plain((T, 4, 4)), ((T, 4, 4), "ddd", (0, 0, 0))]),
        (
            "cross_9x9_heter",  # K = H = 8
            [*plain((T, 8, 8)), ((T, 8, 8), "ddd", (0, 0, 0)), ((T, 8, 8), "lll", (0, 4, 4))],
        ),
    ],
)
def test_cross_patterns(name, expected):
    assert rows(cross_pattern(name, (T, H, W))) == expected


@pytest.mark.parametrize("name", ["", "axial_2", "video_swin_2", "spatial_lg_0", "cross_1x1"])
def test_unknown_self_pattern(name):
    with pytest.raises(ValueError, match=r"self-attention pattern, one of axial, .* found"):
        self_pattern(name, (T, H, W))


@pytest.mark.parametrize("name", ["cross_1x2", "cross_0x0", "cross_2x2_", "axial"])
def test_unknown_cross_pattern(name):
    with pytest.raises(ValueError, match=r"cross-attention pattern, one of cross_KxK, .* found"):
        cross_pattern(name, (T, H, W))


# --- attention ---


@pytest.fixture
def eight_channels(request) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(1, 1, 1, 3, 8)


def test_ignored_padding_never_counts(eight_channels):
    # 1 2 | 3 . : with the padding masked, 3 is alone, and gets its own value whatever the rest.
    x_BTHWC = eight_channels
    options = BlockOptions(num_heads=2, padding_type="ignore")
    layer = CuboidSelfAttention(8, (1, 1, 3), Cuboid((1, 1, 2)), options).double()
    y_BTHWC, _ = layer(x_BTHWC.double())
    value = layer.qkv(layer.norm(x_BTHWC.double()))[..., 16:]
    torch.testing.assert_close(y_BTHWC[0, 0, 0, 2], layer.proj(value)[0, 0, 0, 2])


def test_zero_padding_counts_in_the_softmax(eight_channels):
    # 3 sees itself and one zero, whose key is zero: its weight is e^s / (e^s + 1).
    x_BTHWC = eight_channels.double()
    options = BlockOptions(num_heads=1, padding_type="zeros")
    layer = CuboidSelfAttention(8, (1, 1, 3), Cuboid((1, 1, 2)), options).double()
    y_BTHWC, _ = layer(x_BTHWC)
    q, k, v = layer.qkv(layer.norm(x_BTHWC))[0, 0, 0, 2].chunk(3)
    weight = torch.sigmoid((q * k).sum() / 8**0.5)
    torch.testing.assert_close(y_BTHWC[0, 0, 0, 2], layer.proj(weight * v))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("self_attn", [False, True])
def test_global_vectors_do_not_see_ignored_padding(separate, self_attn):
    # The same grid cut with padding (3 in twos) and without (3 at once): what a global vector
    # gathers from all of its elements is the same.
    options = BlockOptions(2, 0.0, "gelu", "ignore", 4, self_attn, separate)
    torch.manual_seed(0)
    padded = CuboidSelfAttention(8, (1, 1, 3), Cuboid((1, 1, 2)), options)
    whole = CuboidSelfAttention(8, (1, 1, 3), Cuboid((1, 1, 3)), options)
    shared = {k: v for k, v in padded.state_dict().items() if "relative" not in k}
    whole.load_state_dict(shared, strict=False)
    x_BTHWC, g_BKC = torch.randn(2, 1, 1, 3, 8), torch.randn(2, 4, 8)
    torch.testing.assert_close(padded(x_BTHWC, g_BKC)[1], whole(x_BTHWC, g_BKC)[1])


def test_memory_of_another_length():
    # 3 frames ask 5; each place its own: changing the memory at one place changes that place only.
    options = BlockOptions(num_heads=2)
    layer = CuboidCrossAttention(8, (3, 2, 2), (5, 2, 2), Cuboid((5, 1, 1)), options)
    x_BTHWC, memory_BTHWC = torch.randn(1, 3, 2, 2, 8), torch.randn(1, 5, 2, 2, 8)
    before = layer(x_BTHWC, memory_BTHWC)
    memory_BTHWC[:, :, 0, 1] += 1
    changed_BTHW = (layer(x_BTHWC, memory_BTHWC) != before).any(-1)
    assert changed_BTHW.sum() == 3 and changed_BTHW[:, :, 0, 1].all()


def test_a_smaller_cuboid_uses_the_corner_of_the_index():
    # Configured for 1 x 3 x 3, on a grid of 1 x 3 x 2: rows and columns 0..5 of the 9 x 9 index.
    layer = CuboidSelfAttention(8, (1, 3, 2), Cuboid((1, 3, 3)), BlockOptions(num_heads=1))
    assert layer.relative_position_index.shape == (9, 9)
    table = torch.arange(25.0)[:, None]
    layer.relative_position_bias_table.data.copy_(table)
    q = torch.zeros(1, 1, 1, 6, 8)
    bias_VV = layer.score(q, q)[0, 0, 0]
    assert torch.equal(bias_VV, relative_position_index((1, 3, 3))[:6, :6].float())


def test_masks_stay_out_of_the_state_dict():
    options = BlockOptions(2, padding_type="ignore", num_global_vectors=3)
    layer = CuboidSelfAttention(8, (1, 4, 3), Cuboid((1, 2, 2), shift=(0, 1, 1)), options)
    assert layer.mask.shape == (4, 4, 4 + 3) and layer.global_mask.shape == (4 * 4,)
    assert not [key for key in layer.state_dict() if "mask" in key]
