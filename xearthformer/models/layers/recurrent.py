"""Building blocks of networks that make one frame after another.

First the ConvLSTM cell; then two ways to a grid coarser than the frames, patches (pixels folded
into channels) and strided stages (learned); last, which frame a network is fed at each step.
Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ...errors import whole_number
from .checks import expect_counts

HW = tuple[int, int]
State = tuple[Tensor, Tensor]  # h and c of a cell, each (B, C, H, W)

SLOPE = 0.2  # leaky ReLU of a strided stage, as in DCGAN
GROUP = 8  # channels per group of a stage's norm


def expect_odd(name: str, kernel: int) -> None:
    """Raise a ValueError unless a kernel's size is odd, so that it has a middle."""
    expect_counts(name, (kernel,))
    if kernel % 2 == 0:
        raise ValueError(f"expected {name} to be odd, found {kernel}")


class ConvLSTMCell(nn.Module):
    """A convolutional LSTM (Shi et al., 2015, "Convolutional LSTM Network", Eqn 3).

    All gates are one convolution of input and hidden state. The equation's peepholes (W_ci, W_cf,
    W_co, through which the gates see the cell) are optional; the parameter counts of the paper's
    Table 1 say that each has one weight per channel, the same at every place.
    `c_in` is 0 for a cell without input; `kernel`, the side of the convolution, is odd.
    """

    def __init__(self, c_in: int, hidden: int, kernel: int, peephole: bool = False):
        super().__init__()
        expect_odd("kernel", kernel)
        self.hidden = hidden
        self.gates = nn.Conv2d(c_in + hidden, 4 * hidden, kernel, padding=kernel // 2)
        # W_ci, W_cf, W_co. Zeros: training begins as without peepholes.
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peephole else None

    def forward(self, x_BCHW: Tensor | None, state: State | None = None) -> State:
        """Return the next (h, c); without a state, start from zeros.

        A cell with `c_in` 0 takes None for its input, and then needs a state.
        """
        if state is None:
            b, _, height, width = x_BCHW.shape
            state = (x_BCHW.new_zeros(b, self.hidden, height, width),) * 2
        h_BCHW, c_BCHW = state
        input_BCHW = h_BCHW if x_BCHW is None else torch.cat([x_BCHW, h_BCHW], dim=1)
        i, f, g, o = self.gates(input_BCHW).chunk(4, dim=1)  # each (B, hidden, H, W)
        if self.peepholes is not None:
            i, f = i + self.peepholes[0] * c_BCHW, f + self.peepholes[1] * c_BCHW
        c_BCHW = torch.sigmoid(f) * c_BCHW + torch.sigmoid(i) * torch.tanh(g)
        if self.peepholes is not None:
            o = o + self.peepholes[2] * c_BCHW  # the output gate sees the new cell
        return torch.sigmoid(o) * torch.tanh(c_BCHW), c_BCHW


def run_stack(
    cells: Iterable[ConvLSTMCell], x_BCHW: Tensor | None, states: Iterable[State | None]
) -> list[State]:
    """Return the next states of a stack of cells, each of which reads h of the one below."""
    new_states = []
    for cell, state in zip(cells, states, strict=True):
        new_states.append(cell(x_BCHW, state))
        x_BCHW = new_states[-1][0]
    return new_states


# Patches: pixels become channels, so that the grid is coarser.


def expect_patch(patch: HW, size_HW: HW) -> None:
    """Raise a ValueError unless patches of (h, w) pixels tile frames of (H, W)."""
    expect_counts("patch", patch, length=2)
    if size_HW[0] % patch[0] or size_HW[1] % patch[1]:
        raise ValueError(f"expected a patch that divides frames of {size_HW}, found {patch}")


def to_patches(x_BTHWC: Tensor, patch: HW) -> Tensor:
    """Fold patches of (h, w) pixels into channels: (B, T, h w C, H / h, W / w).

    Examples
    --------
    >>> x_BTCHW = to_patches(torch.zeros(1, 2, 6, 8, 1), (3, 4))
    >>> x_BTCHW.shape
    torch.Size([1, 2, 12, 2, 2])
    >>> from_patches(x_BTCHW, (3, 4)).shape
    torch.Size([1, 2, 6, 8, 1])
    """
    return rearrange(x_BTHWC, "b t (h p) (w q) c -> b t (p q c) h w", p=patch[0], q=patch[1])


def from_patches(x_BTCHW: Tensor, patch: HW) -> Tensor:
    """Return the frames (B, T, H, W, C): the inverse of `to_patches`."""
    return rearrange(x_BTCHW, "b t (p q c) h w -> b t (h p) (w q) c", p=patch[0], q=patch[1])


# Strided stages: convolutions to a coarser grid, and the way back mirrored.


def stage_factors(
    scales: Sequence[int | Sequence[int]], widths: tuple[int, ...], size_HW: HW
) -> tuple[HW, ...]:
    """Return the factors (h, w) by which each stage makes the grid coarser.

    A single number stands for both sides. Raise a ValueError unless there is one width per stage,
    each a multiple of 8, and the stages together divide the frames' (H, W).

    Examples
    --------
    >>> stage_factors([2, (1, 3)], (8, 16), (4, 6))
    ((2, 2), (1, 3))
    """
    if not isinstance(scales, list | tuple) or not scales:
        raise ValueError(f"expected scales as a list of one or more, found {scales!r}")
    factors = tuple(tuple(s) if isinstance(s, list | tuple) else (s, s) for s in scales)
    for pair in factors:
        expect_counts("scales", pair, length=2)
    expect_counts("widths", widths, length=len(factors))
    if any(width % GROUP for width in widths):
        raise ValueError(f"expected widths that are multiples of {GROUP}, found {widths}")
    together = tuple(prod(side) for side in zip(*factors, strict=True))  # (h, w) of all stages
    if size_HW[0] % together[0] or size_HW[1] % together[1]:
        raise ValueError(
            f"expected scales whose product divides frames of {size_HW}, "
            f"found {factors}, together {together}"
        )
    return factors


def down_stages(channels: int, widths: Sequence[int], factors: Sequence[HW]) -> list[nn.Sequential]:
    """Build the stages from frames (B, channels, H, W) to the coarsest grid.

    After Radford et al. (2016), "DCGAN": a stage is one strided convolution, a norm, a leaky ReLU.
    """
    ends = pairwise((channels, *widths))  # channels before and after each stage
    return [_stage(nn.Conv2d, *end, factor) for end, factor in zip(ends, factors, strict=True)]


def up_stages(
    widths: Sequence[int], factors: Sequence[HW], skips: bool = False
) -> list[nn.Sequential]:
    """Build `down_stages` mirrored: from the coarsest grid to (B, widths[0], H, W).

    With `skips`, every stage but the first takes the encoder's features next to its own, and so
    twice the channels.

    Examples
    --------
    >>> widths, factors = (8, 16), ((2, 3), (2, 1))
    >>> stages = nn.Sequential(*down_stages(1, widths, factors), *up_stages(widths, factors))
    >>> stages[:2](torch.zeros(1, 1, 4, 6)).shape, stages(torch.zeros(1, 1, 4, 6)).shape
    (torch.Size([1, 16, 1, 2]), torch.Size([1, 8, 4, 6]))
    """
    ends = zip(pairwise((*reversed(widths), widths[0])), reversed(factors), strict=True)
    return [
        _stage(nn.ConvTranspose2d, 2 * c_in if skips and i else c_in, c_out, factor)
        for i, ((c_in, c_out), factor) in enumerate(ends)
    ]


def _stage(Conv: type[nn.Module], c_in: int, c_out: int, factor: HW) -> nn.Sequential:
    kernel = tuple(f + 2 for f in factor)  # one pixel more than the stride on each side
    return nn.Sequential(
        Conv(c_in, c_out, kernel, stride=factor, padding=1),
        # A group norm, so that no sample's arithmetic depends on its neighbours in the batch.
        nn.GroupNorm(c_out // GROUP, c_out),
        nn.LeakyReLU(SLOPE),
    )


# Which frame is fed: the truth or the network's own.


class ScheduledSampling(nn.Module):
    """Draw which frames a network in training is fed from the truth.

    Bengio et al. (2015), section 2.4: a coin is tossed for each sample and frame; the share of
    truth goes linearly from `start` to `end` over the first `steps` steps of training and stays
    there; evaluation uses `end`, which is 0 or 1. From 0.5 up to 1 it is the reverse kind of Wang
    et al. (2022, "PredRNN"). The coins come from torch's global generator; the count of steps is
    saved with the weights.

    Examples
    --------
    >>> sampling = ScheduledSampling(steps=4)
    >>> shares = []
    >>> for _ in range(6):
    ...     shares.append(float(sampling.share()))
    ...     mask_BT = sampling(batch=2, frames=3, device="cpu")
    >>> shares
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    step: Tensor

    def __init__(self, steps: int, start: float = 1.0, end: float = 0.0):
        super().__init__()
        self.steps = whole_number("sampling_steps", steps, least=0)
        if not 0 <= start <= 1 or end not in (0, 1):
            raise ValueError(
                f"expected a share of truth that starts within 0..1 and ends at 0 or 1, "
                f"found {start} and {end}"
            )
        self.start, self.end = start, end
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def share(self) -> Tensor:
        """Return the share of truth at this step of training, a scalar."""
        progress = (self.step / self.steps).clamp(max=1) if self.steps else 1.0
        return torch.as_tensor(self.start + (self.end - self.start) * progress)

    def forward(self, batch: int, frames: int, device: torch.device | str) -> Tensor:
        """Return a mask (B, T), true where the truth is fed; in training, count the step."""
        if not self.training:
            return torch.full((batch, frames), bool(self.end), device=device)
        mask_BT = torch.rand(batch, frames, device=device) < self.share().to(device)
        self.step += 1
        return mask_BT


S = TypeVar("S")  # a network's state, whatever it is
Step = Callable[[Tensor, S | None], tuple[Tensor, S]]  # frame and state to the next of both


def unroll(
    step: Step[S], truth_BTCHW: Tensor, length: int, mask_BT: Tensor | None = None
) -> Tensor:
    """Feed a network frame after frame; return its forecasts of frames 1 .. length, BTCHW.

    `step` takes (x_BCHW, state) to (the forecast of the next frame, state); the first state is
    None. The network is fed the truth, from frame 0 on, and after its end its own forecasts. With
    a mask, of `length` columns, it is fed its own where the mask is false; the first column is
    ignored, since no forecast of frame 0 exists.

    Examples
    --------
    A network that adds one, fed 0 and 10, then its own:

    >>> truth = torch.tensor([0.0, 10.0]).reshape(1, 2, 1, 1, 1)
    >>> unroll(lambda x, state: (x + 1, state), truth, length=4).flatten().tolist()
    [1.0, 11.0, 12.0, 13.0]
    """
    state, x_BCHW, forecasts = None, truth_BTCHW[:, 0], []
    for t in range(length):
        if 0 < t < truth_BTCHW.shape[1]:
            x_BCHW = truth_BTCHW[:, t]
            if mask_BT is not None:
                # forecasts[-1] was made for this very frame
                x_BCHW = torch.where(mask_BT[:, t, None, None, None], x_BCHW, forecasts[-1])
        elif t > 0:
            x_BCHW = forecasts[-1]
        y_BCHW, state = step(x_BCHW, state)
        forecasts.append(y_BCHW)
    return torch.stack(forecasts, dim=1)
