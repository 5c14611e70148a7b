"""Flow: how a field of rain moves, where its pieces come from and go to, and fields moved along.

Dense Lucas-Kanade, coarse to fine, and semi-Lagrangian paths; nothing in here is trained.
In Lagrangian coordinates, which move with the rain, every frame lies where the last one is.
Legend of the shape suffixes: B batch, T time, H W space, h w the same in coarse cells, L leads,
2 the components (x, y), in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 4  # a side of the motion field's cells, in pixels
LEVELS = (8, 4, 2)  # pixels that each pass averages the frames over, coarsest first
ITERATIONS = 3  # of each pass
WINDOW = 30.0  # pixels: standard deviation of the Gaussian window that shares one motion
LEAN = 0.05  # how much a window leans on the motion of the whole domain
DAMPING = 0.02  # of the least squares, as a share of their trace
OUTLIER = 0.15  # a change of brightness that counts half
LARGEST_STEP = 2.0  # of one iteration, in pixels of its level
SLANT = 0.6  # of what is mirrored: pixels sideways for each pixel beyond the edge


def smooth(x_HW: Tensor, sigma: float) -> Tensor:
    """Gaussian filter over the last two axes; zeros beyond the edges."""
    radius = max(1, math.ceil(2.5 * sigma))  # beyond it lies 1 % of the weight
    t = torch.arange(-radius, radius + 1, dtype=x_HW.dtype, device=x_HW.device)
    kernel = torch.exp(-t * t / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    flat = x_HW.reshape(-1, 1, *x_HW.shape[-2:])  # (..., H, W) to (images, 1, H, W)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0)), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius)), kernel.view(1, 1, -1, 1))
    return flat.reshape(x_HW.shape)


def places(x_HW: Tensor) -> Tensor:
    """Pixel coordinates (1, 2, H, W) of a field, x then y."""
    axes = (torch.arange(n, dtype=x_HW.dtype, device=x_HW.device) for n in x_HW.shape[-2:])
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y])[None]


def sample(x_BCHW: Tensor, at_B2HW: Tensor, mode: str = "bilinear", edge: str = "zeros") -> Tensor:
    """Read fields at pixel coordinates.

    Beyond the edges: zeros, the edge's own values ("border"), or the field mirrored ("reflection").

    Examples
    --------
    >>> x_BCHW = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    >>> sample(x_BCHW, places(x_BCHW) + torch.tensor([0.5, 0.0]).view(1, 2, 1, 1)).tolist()
    [[[[0.5, 1.5, 1.0]]]]
    """
    h, w = x_BCHW.shape[-2:]
    x, y = at_B2HW.unbind(1)
    # torch counts from -1 at the outer edge of the first pixel to 1 at that of the last
    at_BHW2 = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    return F.grid_sample(x_BCHW, at_BHW2, mode=mode, padding_mode=edge, align_corners=False)


def finer(x_BCHW: Tensor, size_HW: Sequence[int]) -> Tensor:
    """A coarse field on more pixels, linear between the middles of its own."""
    return F.interpolate(x_BCHW, size=tuple(size_HW), mode="bilinear", align_corners=False)


def motion(x_BTHW: Tensor) -> Tensor:
    """Mean motion from frame to frame (B, 2, h, w), in coarse cells per frame.

    Pyramidal Lucas-Kanade (Bouguet 2000) with a broad Gaussian window around every coarse cell, of
    two frames or more without missing values, of order one; H and W are multiples of `COARSE`.
    """
    v_B2hw = None  # in pixels per frame
    for level in LEVELS:
        p_BTHW = F.avg_pool2d(x_BTHW, level, ceil_mode=True, count_include_pad=False)
        cell = max(level, COARSE)  # a coarse level has no finer cells than its own pixels
        size = tuple(-(-n * level // cell) for n in p_BTHW.shape[-2:])
        if v_B2hw is None:
            v_B2hw = p_BTHW.new_zeros(len(p_BTHW), 2, *size)
        v_B2hw = finer(v_B2hw, size)
        for _ in range(ITERATIONS):
            v_B2hw = v_B2hw + level * _lucas_kanade(p_BTHW, v_B2hw / level, cell // level, cell)
    return v_B2hw / COARSE


def _lucas_kanade(p_BTHW: Tensor, v_B2hw: Tensor, pixels: int, cell: int) -> Tensor:
    """The correction of each cell's motion, by least squares on frames moved half a step to meet.

    A side of a cell is `pixels` pixels of these averaged frames, and `cell` pixels of the data.
    """
    at_B2HW = places(p_BTHW)
    half_B2HW = finer(v_B2hw, p_BTHW.shape[-2:]) / 2
    before = sample(p_BTHW[:, :-1], at_B2HW - half_B2HW, edge="border")
    after = sample(p_BTHW[:, 1:], at_B2HW + half_B2HW, edge="border")
    middle, change = (before + after) / 2, after - before
    dx, dy = torch.zeros_like(middle), torch.zeros_like(middle)
    dx[..., 1:-1] = (middle[..., 2:] - middle[..., :-2]) / 2
    dy[..., 1:-1, :] = (middle[..., 2:, :] - middle[..., :-2, :]) / 2
    # Robust: where rain grows or dies, brightness changes without any motion.
    weight = 1 / (1 + (change / OUTLIER) ** 2)
    products = (dx * dx, dx * dy, dy * dy, dx * change, dy * change)
    sums = torch.stack([(weight * product).mean(dim=1) for product in products], dim=1)
    sums = F.avg_pool2d(sums, pixels, ceil_mode=True, count_include_pad=False)  # (B, 5, h, w)
    sums = smooth(sums, WINDOW / cell) + LEAN * sums.mean(dim=(-2, -1), keepdim=True)
    xx, xy, yy, xt, yt = sums.unbind(1)
    damping = DAMPING * (xx + yy) + 1e-9  # of no rain there is no motion, not 0/0
    xx, yy = xx + damping, yy + damping
    # The 2 x 2 normal equations, (xx xy; xy yy) step = -(xt yt), by Cramer's rule.
    step = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / (xx * yy - xy * xy)[:, None]
    return step.clamp(-LARGEST_STEP, LARGEST_STEP)


# Along the motion.


def paths(v_B2HW: Tensor, steps: int, sign: int) -> Tensor:
    """Displacement along a steady motion after 1, 2, .. L steps (B, L, 2, H, W).

    Semi-Lagrangian, each step by the midpoint rule: to where each pixel goes (sign 1), or where it
    came from (-1). The motion is in pixels per step.

    Examples
    --------
    >>> paths(torch.full((1, 2, 1, 1), 2.0), 3, -1)[0, :, 0].flatten().tolist()
    [-2.0, -4.0, -6.0]
    """
    at_B2HW, way, ways = places(v_B2HW), torch.zeros_like(v_B2HW), []
    for _ in range(steps):
        half = sign / 2 * sample(v_B2HW, at_B2HW + way, edge="border")
        way = way + sign * sample(v_B2HW, at_B2HW + way + half, edge="border")
        ways.append(way)
    return torch.stack(ways, dim=1)


def ends(way_B2hw: Tensor, x_BTHW: Tensor) -> Tensor:
    """Where a way in coarse cells ends (B, 2, H, W), in pixels, from every pixel of a field."""
    return places(x_BTHW) + COARSE * finer(way_B2hw, x_BTHW.shape[-2:])


def to_lagrangian(
    x_BTHW: Tensor, v_B2hw: Tensor, lags: Sequence[int] | None = None, mode: str = "bilinear"
) -> Tensor:
    """Past frames, each moved along the motion to where the last one is; zeros from outside.

    `lags` picks the frames, in steps before the last, the longest first; by default all of them.
    """
    lags = range(x_BTHW.shape[1])[::-1] if lags is None else lags
    ways = paths(v_B2hw, lags[0], -1) if lags[0] else None
    frames = []
    for lag in lags:
        x_B1HW = x_BTHW[:, -1 - lag, None]
        frames.append(sample(x_B1HW, ends(ways[:, lag - 1], x_BTHW), mode) if lag else x_B1HW)
    return torch.cat(frames, dim=1)


def future_to_lagrangian(y_BLHW: Tensor, v_B2hw: Tensor) -> Tensor:
    """Future frames moved back to where the last past one is; NaN where none is seen.

    Each pixel keeps its value, so that a loss meets rain as sharp as it was observed.
    """
    seen_BLHW, y_BLHW, frames = ~y_BLHW.isnan(), torch.nan_to_num(y_BLHW), []
    for lead, way_B2hw in enumerate(paths(v_B2hw, y_BLHW.shape[1], 1).unbind(1)):
        both_B2HW = torch.stack([y_BLHW[:, lead], seen_BLHW[:, lead].to(y_BLHW)], dim=1)
        y_BHW, seen_BHW = sample(both_B2HW, ends(way_B2hw, y_BLHW), "nearest").unbind(1)
        frames.append(torch.where(seen_BHW > 0.5, y_BHW, torch.nan))
    return torch.stack(frames, dim=1)


def from_lagrangian(y_BLHW: Tensor, v_B2hw: Tensor) -> Tensor:
    """Future frames that lie where the last past one is, moved on along the motion.

    Between pixels by cubics, which keep small cells. What comes in from beyond the edges is what
    lies inside them, mirrored and slanted, so that no symmetry shows.
    """
    last_2 = places(y_BLHW)[:, :, -1:, -1:]  # coordinates of the last pixel
    frames = []
    for lead, way_B2hw in enumerate(paths(v_B2hw, y_BLHW.shape[1], -1).unbind(1)):
        from_B2HW = ends(way_B2hw, y_BLHW)
        beyond_B2HW = (from_B2HW - from_B2HW.clamp(min=0).minimum(last_2)).abs()
        sideways_B2HW = torch.stack([-beyond_B2HW[:, 1], beyond_B2HW[:, 0]], dim=1)
        from_B2HW = from_B2HW + SLANT * sideways_B2HW
        frames.append(sample(y_BLHW[:, lead, None], from_B2HW, "bicubic", "reflection"))
    return torch.cat(frames, dim=1)
