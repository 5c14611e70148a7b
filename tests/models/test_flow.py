"""Motion found again, and fields carried along it."""

import torch

from xearthformer.models.layers.flow import (
    COARSE,
    finer,
    from_lagrangian,
    motion,
    paths,
    places,
    sample,
    smooth,
)


def moving(dx, dy, steps=4, size=160):
    """Smooth showers everywhere that move (dx, dy) pixels a frame."""
    generator = torch.Generator().manual_seed(0)
    field = smooth(torch.rand(1, 1, size + 64, size + 64, generator=generator), 5.0)
    field = (field - field.mean()) / field.std()
    at = places(torch.zeros(1, 1, size, size)) + 32
    ways = [torch.tensor([dx, dy]).view(1, 2, 1, 1) * t for t in range(steps)]
    return torch.cat([sample(field, at - way) for way in ways], dim=1) * 0.3


def test_a_motion_is_found_again():
    v_B2hw = COARSE * motion(moving(4.0, -2.5))
    assert v_B2hw.shape == (1, 2, 40, 40)
    middle = v_B2hw[..., 8:-8, 8:-8]
    assert (middle[:, 0] - 4.0).abs().max() < 0.4
    assert (middle[:, 1] + 2.5).abs().max() < 0.4


def test_turning_the_frames_turns_the_motion():
    x_BTHW = moving(3.0, 1.0)
    straight = motion(x_BTHW)
    mirrored = motion(x_BTHW.flip(-1)).flip(-1)
    torch.testing.assert_close(mirrored[:, 0], -straight[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(mirrored[:, 1], straight[:, 1], atol=1e-3, rtol=0)


def test_no_rain_does_not_move():
    assert motion(torch.zeros(1, 4, 64, 64)).abs().max() == 0


def test_back_and_forth_along_a_whirl():
    """A slow turn about the middle: the way there, then the way back from there, is no way."""
    at = places(torch.zeros(1, 1, 41, 41))
    v = 0.05 * torch.stack([at[:, 1] - 20, 20 - at[:, 0]], dim=1)
    there = paths(v, 5, 1)[:, -1]
    back = sample(paths(v, 5, -1)[:, -1], at + there)
    assert (there + back)[..., 12:29, 12:29].abs().max() < 0.02


def test_finer_keeps_a_slope():
    slope = torch.arange(5.0).expand(1, 1, 3, 5)
    fine = finer(slope, (12, 20))[0, 0, 0]
    torch.testing.assert_close(fine[2:-2].diff(), torch.full((15,), 0.25))


def test_what_comes_in_joins_what_is_inside_and_mirrors_nothing():
    """A frame carried 12 pixels to the right: shifted, and its left edge goes on without a step."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    frame_HW = torch.sin(y / 4) * torch.cos(x / 5)
    v_B2hw = torch.zeros(1, 2, 10, 12)
    v_B2hw[:, 0] = 3.0  # cells of 4 pixels
    went_HW = from_lagrangian(frame_HW[None, None], v_B2hw)[0, 0]
    torch.testing.assert_close(went_HW[:, 12:], frame_HW[:, :-12], atol=1e-4, rtol=0)
    steps = went_HW.diff(dim=1).abs()
    assert steps[:, 8:14].max() < 2 * frame_HW.diff(dim=1).abs().max()
    mirrored_HW = went_HW[:, 12:24].flip(1)
    assert (went_HW[:, :12] - mirrored_HW)[8:-8, 2:8].abs().mean() > 0.1
    assert went_HW.abs().max() < 1.1
