"""What was seen: gaps of frames and pixels, closed along the motion, and what lies beyond them.

Legend of the shape suffixes: B batch, T time, L leads, H W space, h w the same in coarse cells, 2
the components (x, y) of a motion.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import flow
from .flow import COARSE

FADE = 8.0  # pixels: how far rain is taken to go on where nothing was seen
LITTLE = 0.01  # a share of what was seen that is none


def complete(x_BTHW: Tensor, seen_BTHW: Tensor, v_B2hw: Tensor) -> tuple[Tensor, Tensor]:
    """Frames with their gaps closed along the motion, and what is seen then.

    A missing frame is the nearest one, the earlier of two, moved to its time. Pixels that the last
    frame lacks are those of the latest frame that has them. What no frame tells is 0.
    """
    rows = zip(x_BTHW.split(1), seen_BTHW.split(1), v_B2hw.split(1), strict=True)
    for i, row in enumerate(rows):
        x_1THW, seen_1THW = _last_completed(*_frames_filled(*row))
        if x_1THW is not row[0]:  # a copy is made where there are gaps alone
            x_BTHW, seen_BTHW = x_BTHW.clone(), seen_BTHW.clone()
            x_BTHW[i], seen_BTHW[i] = x_1THW[0], seen_1THW[0]
    return x_BTHW, seen_BTHW


def _frames_filled(
    x_1THW: Tensor, seen_1THW: Tensor, v_12hw: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One row without missing frames."""
    there, count = flow.frames_seen(seen_1THW[0]), x_1THW.shape[1]
    if there and len(there) < count:
        x_1THW, seen_1THW = x_1THW.clone(), seen_1THW.clone()
        for t in sorted({*range(count)}.difference(there)):
            nearest = min(there, key=lambda s: (abs(s - t), s))
            x_1THW[:, t], seen_1THW[:, t] = _moved(x_1THW, seen_1THW, v_12hw, nearest, t)
    return x_1THW, seen_1THW, v_12hw


def _last_completed(x_1THW: Tensor, seen_1THW: Tensor, v_12hw: Tensor) -> tuple[Tensor, Tensor]:
    """One row, its last frame completed from those before it."""
    last = x_1THW.shape[1] - 1
    lost = seen_1THW[:, :-1].any(dim=1) & ~seen_1THW[:, -1]  # seen before, but not now
    if lost.any():
        x_1HW, seen_1HW = x_1THW[:, -1], seen_1THW[:, -1]
        for t in reversed(range(last)):
            moved_1HW, there_1HW = _moved(x_1THW, seen_1THW, v_12hw, t, last)
            x_1HW = torch.where(there_1HW & ~seen_1HW, moved_1HW, x_1HW)
            seen_1HW = seen_1HW | there_1HW
            if not (lost & ~seen_1HW).any():
                break
        x_1THW = torch.cat([x_1THW[:, :-1], x_1HW[:, None]], dim=1)
        seen_1THW = torch.cat([seen_1THW[:, :-1], seen_1HW[:, None]], dim=1)
    return x_1THW, seen_1THW


def _moved(
    x_1THW: Tensor, seen_1THW: Tensor, v_12hw: Tensor, source: int, target: int
) -> tuple[Tensor, Tensor]:
    """The frame at `source`, and what is seen of it, moved to the time of `target`."""
    steps, sign = abs(target - source), -1 if source < target else 1
    at_12HW = flow.ends(flow.paths(v_12hw, steps, sign)[:, -1], x_1THW)
    x_1HW = flow.sample(x_1THW[:, source, None], at_12HW)[:, 0]
    seen_1HW = flow.sample(seen_1THW[:, source, None].to(x_1THW), at_12HW)[:, 0] > 0.99
    return x_1HW * seen_1HW, seen_1HW


def continued(x_BHW: Tensor, seen_BHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A frame that goes on where it isn't seen, the share of it that is known, and its mean.

    From where it is seen rain goes on as its local mean, of which less and less is known over two
    dozen pixels. Further on it is the mean of all that is seen (B), its climatology.

    Examples
    --------
    >>> x_BHW = torch.tensor([[[2.0, 4.0, 0.0]]])
    >>> on_BHW, known_BHW, mean_B = continued(x_BHW, torch.tensor([[[True, True, False]]]))
    >>> [round(value, 1) for value in on_BHW.flatten().tolist()], mean_B.item()
    ([2.0, 4.0, 3.0], 3.0)
    """
    seen = seen_BHW.to(x_BHW)
    mean_B = (x_BHW * seen).sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp(min=1)
    share_BHW, around_BHW = _blurred(seen), _blurred(x_BHW * seen)
    around_BHW = around_BHW / share_BHW.clamp(min=LITTLE / 2)
    known_BHW = (2 * share_BHW).clamp(max=1)  # at a straight edge half of what is around is seen
    known_BHW = torch.where(seen_BHW, 1.0, torch.where(known_BHW < LITTLE, 0.0, known_BHW))
    beyond_BHW = torch.where(known_BHW > 0, around_BHW, mean_B[:, None, None])
    return torch.where(seen_BHW, x_BHW, beyond_BHW), known_BHW, mean_B


def _blurred(x_BHW: Tensor) -> Tensor:
    """The field smoothed by `FADE`, by way of coarse pixels; none of it lies beyond the edges."""
    coarse_B1hw = F.avg_pool2d(x_BHW[:, None], COARSE, ceil_mode=True)
    return flow.finer(flow.smooth(coarse_B1hw, FADE / COARSE), x_BHW.shape[-2:])[:, 0]


def carried(known_BHW: Tensor, v_B2hw: Tensor, lead: int) -> Tensor:
    """The share of the last frame that is known, moved on along the motion (B, L, H, W)."""
    ways = flow.paths(v_B2hw, lead, -1).unbind(1)
    return torch.cat([flow.share_at(known_BHW, flow.ends(way, known_BHW)) for way in ways], dim=1)


def random_rain(x_HW: Tensor, seen_HW: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A field of rain drawn at random, with the spectrum and the values of a frame; periodic.

    White noise, drawn on the CPU, filtered by the amplitudes of the frame's Fourier transform, has
    its structure; rank by rank its values are replaced by those that were seen. The frame fades
    out towards its edges first: rain that is cut off there would be streaks along them.

    Examples
    --------
    >>> x_HW = torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    >>> drawn_HW = random_rain(x_HW, torch.ones(2, 2, dtype=torch.bool), torch.Generator())
    >>> sorted(drawn_HW.flatten().tolist())
    [0.0, 0.0, 1.0, 5.0]
    """
    noise_HW = torch.randn(x_HW.shape, generator=generator, dtype=torch.float32).to(x_HW)
    values_N = x_HW[seen_HW].sort().values
    if not values_N.numel():
        return torch.zeros_like(x_HW)
    departure_HW = torch.where(seen_HW, x_HW - values_N.mean(), 0)
    amplitude = torch.fft.rfft2(departure_HW * _tapered(seen_HW).to(x_HW)).abs()
    shaped_HW = torch.fft.irfft2(torch.fft.rfft2(noise_HW) * amplitude, s=tuple(x_HW.shape))
    order_P = shaped_HW.flatten().argsort(stable=True)
    rank_P = torch.arange(order_P.numel(), device=x_HW.device) * values_N.numel() // order_P.numel()
    drawn_P = torch.empty_like(x_HW).flatten()
    drawn_P[order_P] = values_N[rank_P]
    return drawn_P.view_as(x_HW)


def _tapered(seen_HW: Tensor) -> Tensor:
    """A weight that falls from 1 in the middle of what is seen to 0 at its edges (Hann's)."""
    weight_HW = seen_HW.new_ones(seen_HW.shape, dtype=torch.float32)
    for dim in (0, 1):
        within = seen_HW.any(1 - dim).nonzero()
        first, last = within[0], within[-1]
        at = torch.arange(seen_HW.shape[dim], device=seen_HW.device, dtype=torch.float32)
        of_dim = torch.sin(torch.pi * (at + 0.5 - first) / (last + 1 - first)) ** 2
        of_dim = torch.where((at >= first) & (at <= last), of_dim, 0)
        weight_HW = weight_HW * of_dim.unsqueeze(1 - dim)
    return weight_HW
