"""Flow: how a field of rain moves, where its pieces come from and go to, and fields moved along.

Dense Lucas-Kanade, coarse to fine, and semi-Lagrangian paths; nothing in here is trained.
In Lagrangian coordinates, which move with the rain, every frame lies where the last one is.
Legend of the shape suffixes: B batch, T time, H W space, h w the same in coarse cells, L leads,
2 the components (x, y), in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 4  # a side of the motion field's cells, in pixels
FLOW_FRAMES = 4  # the last frames, which tell the motion
TRACE = 1e-3  # a share of what is known that is none
ENOUGH = 0.1  # of the pixels seen in the fullest frame: fewer, and a frame is missing
LEVELS = (8, 4, 2)  # pixels that each pass averages the frames over, coarsest first
ITERATIONS = 3  # of each pass
WINDOW = 30.0  # pixels: standard deviation of the Gaussian window that shares one motion
LEAN = 0.05  # how much a window leans on the motion of the whole domain
DAMPING = 0.02  # of the least squares, as a share of their trace
OUTLIER = 0.15  # a change of brightness that counts half
LARGEST_STEP = 2.0  # of one iteration, in pixels of its level


def smooth(x_HW: Tensor, sigma: float) -> Tensor:
    """Gaussian filter over the last two axes; zeros beyond the edges.

    Examples
    --------
    >>> [round(value, 3) for value in smooth(torch.tensor([[0.0, 1.0, 0.0]]), 0.5)[0].tolist()]
    [0.084, 0.619, 0.084]
    """
    radius = max(1, math.ceil(2.5 * sigma))  # beyond it lies 1 % of the weight
    t = torch.arange(-radius, radius + 1, dtype=x_HW.dtype)
    kernel = torch.exp(-t * t / (2 * sigma * sigma))
    weights = (kernel / kernel.sum())[radius:].tolist()  # of the middle, then outwards
    # Sums of shifted fields: a convolution of one channel takes far more time and memory.
    for dim in (-1, -2):
        size = x_HW.shape[dim]
        out = weights[0] * x_HW
        for shift, weight in enumerate(weights[1:size], start=1):
            out.narrow(dim, 0, size - shift).add_(
                x_HW.narrow(dim, shift, size - shift), alpha=weight
            )
            out.narrow(dim, shift, size - shift).add_(
                x_HW.narrow(dim, 0, size - shift), alpha=weight
            )
        x_HW = out
    return x_HW


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


def share_at(known_BHW: Tensor, at_B2HW: Tensor) -> Tensor:
    """Read a share of what is known (B, 1, H, W), 0 beyond the edges; all and nothing are exact.

    A share of almost one would leave a trace of what stands for the unknown in every dry pixel.
    """
    share_B1HW = sample(known_BHW[:, None], at_B2HW)
    share_B1HW = torch.where(share_B1HW > 1 - TRACE, 1.0, share_B1HW)
    return torch.where(share_B1HW < TRACE, 0.0, share_B1HW)


def sample_periodic(x_BCHW: Tensor, at_B2HW: Tensor) -> Tensor:
    """Read fields that go on periodically beyond their edges, at pixel coordinates.

    Examples
    --------
    >>> x_BCHW = torch.tensor([[[[0.0, 1.0, 2.0]]]])
    >>> sample_periodic(x_BCHW, places(x_BCHW) + torch.tensor([2.5, 0.0]).view(1, 2, 1, 1)).tolist()
    [[[[1.0, 0.5, 1.5]]]]
    """
    h, w = x_BCHW.shape[-2:]
    size_2 = at_B2HW.new_tensor([w, h]).view(1, 2, 1, 1)
    x_BCHW = F.pad(x_BCHW, (0, 1, 0, 1), mode="circular")  # between the last pixel and the first
    return sample(x_BCHW, torch.remainder(at_B2HW, size_2))


def finer(x_BCHW: Tensor, size_HW: Sequence[int]) -> Tensor:
    """A coarse field on more pixels, linear between the middles of its own."""
    return F.interpolate(x_BCHW, size=tuple(size_HW), mode="bilinear", align_corners=False)


def frames_seen(seen_THW: Tensor) -> list[int]:
    """Positions of the frames in which something was seen: as good as none of a missing one was.

    Examples
    --------
    >>> seen_THW = torch.ones(3, 2, 2, dtype=torch.bool)
    >>> seen_THW[1] = False
    >>> frames_seen(seen_THW)
    [0, 2]
    """
    counts_T = torch.stack([seen_HW.sum() for seen_HW in seen_THW])  # all at once takes memory
    enough_T = (counts_T > 0) & (counts_T >= ENOUGH * counts_T.max().float())
    return enough_T.nonzero().flatten().tolist()


def motion(x_BTHW: Tensor, seen_BTHW: Tensor | None = None) -> Tensor:
    """Mean motion from frame to frame (B, 2, h, w), in coarse cells per frame.

    Pyramidal Lucas-Kanade (Bouguet 2000) with a broad Gaussian window around every coarse cell, on
    the last four frames of order one that were seen. What wasn't counts for nothing: neither
    pixels of a frame nor whole frames are read as no rain. Without two frames nothing moves. H and
    W are multiples of `COARSE`.
    """
    seen_BTHW = torch.ones_like(x_BTHW, dtype=torch.bool) if seen_BTHW is None else seen_BTHW
    # one by one: the frames seen differ, and no row's bits hang on the rows next to it
    rows = zip(x_BTHW.split(1), seen_BTHW.split(1), strict=True)
    return torch.cat([_motion_of(x_1THW, seen_1THW) for x_1THW, seen_1THW in rows])


def _motion_of(x_1THW: Tensor, seen_1THW: Tensor) -> Tensor:
    """The motion of one row, on the last of its frames that were seen."""
    at = frames_seen(seen_1THW[0])[-FLOW_FRAMES:]
    height, width = x_1THW.shape[-2:]
    if len(at) < 2:
        return x_1THW.new_zeros(1, 2, height // COARSE, width // COARSE)
    x_1THW, seen_1THW = x_1THW[:, at], seen_1THW[:, at].to(x_1THW)
    gaps = [after - before for before, after in pairwise(at)]
    v_12hw = None  # in pixels per frame
    for level in LEVELS:
        pool = partial(F.avg_pool2d, kernel_size=level, ceil_mode=True, count_include_pad=False)
        share_1THW = pool(seen_1THW)
        p_1THW = pool(x_1THW * seen_1THW) / share_1THW.clamp(min=1 / level**2)
        # pixels that were seen whole, and all their neighbours: a gradient needs them
        whole_1THW = (-F.max_pool2d(-share_1THW, 3, stride=1, padding=1) > 1 - 1e-3).to(p_1THW)
        cell = max(level, COARSE)  # a coarse level has no finer cells than its own pixels
        size = tuple(-(-n * level // cell) for n in p_1THW.shape[-2:])
        if v_12hw is None:
            v_12hw = p_1THW.new_zeros(1, 2, *size)
        v_12hw = finer(v_12hw, size)
        for _ in range(ITERATIONS):
            step_12hw = _lucas_kanade(p_1THW, whole_1THW, gaps, v_12hw / level, cell // level, cell)
            v_12hw = v_12hw + level * step_12hw
    return v_12hw / COARSE


def _lucas_kanade(
    p_1THW: Tensor, whole_1THW: Tensor, gaps: list[int], v_12hw: Tensor, pixels: int, cell: int
) -> Tensor:
    """The correction of each cell's motion, by least squares on frames moved half a step to meet.

    `gaps` are the time steps between a frame and the next. A side of a cell is `pixels` pixels of
    these averaged frames, and `cell` pixels of the data.
    """
    at_12HW = places(p_1THW)
    half_12HW = finer(v_12hw, p_1THW.shape[-2:]) / 2
    terms = []
    for gap in sorted({*gaps}):  # pairs equally far apart meet at the same places
        first = [k for k, each in enumerate(gaps) if each == gap]
        second = [k + 1 for k in first]
        back_12HW, on_12HW = at_12HW - gap * half_12HW, at_12HW + gap * half_12HW
        before = sample(p_1THW[:, first], back_12HW, edge="border")
        after = sample(p_1THW[:, second], on_12HW, edge="border")
        seen = sample(whole_1THW[:, first], back_12HW, edge="border")
        seen = seen * sample(whole_1THW[:, second], on_12HW, edge="border")
        middle, change = (before + after) / 2, after - before
        dx, dy = torch.zeros_like(middle), torch.zeros_like(middle)
        dx[..., 1:-1] = gap * (middle[..., 2:] - middle[..., :-2]) / 2
        dy[..., 1:-1, :] = gap * (middle[..., 2:, :] - middle[..., :-2, :]) / 2
        # Robust: where rain grows or dies, brightness changes without any motion.
        weight = (seen > 1 - 1e-3) / (1 + (change / OUTLIER) ** 2)
        products = (dx * dx, dx * dy, dy * dy, dx * change, dy * change)
        terms.append(torch.stack([weight * product for product in products], dim=1))
    sums = torch.cat(terms, dim=2).mean(dim=2)  # over the pairs
    sums = F.avg_pool2d(sums, pixels, ceil_mode=True, count_include_pad=False)  # (1, 5, h, w)
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


def to_lagrangian(x_BTHW: Tensor, v_B2hw: Tensor, mode: str = "bilinear") -> Tensor:
    """Past frames, each moved along the motion to where the last one is; zeros from outside."""
    *before, last_BHW = x_BTHW.unbind(1)
    frames = []
    ways = paths(v_B2hw, len(before), -1).unbind(1) if before else ()
    for x_BHW, way_B2hw in zip(before, reversed(ways), strict=True):
        x_B1HW = x_BHW[:, None].to(v_B2hw)  # of what is seen, one frame at a time
        frames.append(sample(x_B1HW, ends(way_B2hw, x_B1HW), mode))
    return torch.cat([*frames, last_BHW[:, None].to(v_B2hw)], dim=1)


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


def from_lagrangian(
    y_BLHW: Tensor,
    v_B2hw: Tensor,
    known_BHW: Tensor | None = None,
    beyond_BHW: Tensor | None = None,
) -> Tensor:
    """Future frames that lie where the last past one is, moved on along the motion.

    Between pixels by cubics, which keep small cells. What comes from where nothing was seen
    (`known_BHW`, of the last frame, falls to 0 there, and is 0 beyond the edges) is the field
    `beyond_BHW`, which goes on periodically and moves along; without one, the edge's own values.
    """
    frames = []
    for lead, way_B2hw in enumerate(paths(v_B2hw, y_BLHW.shape[1], -1).unbind(1)):
        from_B2HW = ends(way_B2hw, y_BLHW)
        y_B1HW = sample(y_BLHW[:, lead, None], from_B2HW, "bicubic", "border")
        if known_BHW is not None and beyond_BHW is not None:
            known_B1HW = share_at(known_BHW, from_B2HW)
            beyond_B1HW = sample_periodic(beyond_BHW[:, None], from_B2HW)
            y_B1HW = known_B1HW * y_B1HW + (1 - known_B1HW) * beyond_B1HW
        frames.append(y_B1HW)
    return torch.cat(frames, dim=1)
