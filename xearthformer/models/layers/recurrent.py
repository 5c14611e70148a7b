"""What recurrent networks share: the ConvLSTM cell, patches of frames, whose frame goes in next.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention import expect_counts

HW = tuple[int, int]
State = tuple[Tensor, Tensor]  # h and c of a cell, each (B, C, H, W)


def expect_odd(name: str, kernel: int) -> None:
    """Raise a ValueError unless a kernel's size is odd, so that it has a middle."""
    expect_counts(name, (kernel,))
    if kernel % 2 == 0:
        raise ValueError(f"expected {name} to be odd, found {kernel}")


class ConvLSTMCell(nn.Module):
    """A convolutional LSTM (Shi et al., 2015, "Convolutional LSTM Network", Eqn 3).

    All gates are one convolution of input and hidden state. The equation's peepholes (W_ci, W_cf,
    W_co, through which the gates see the cell) are there when asked for; the parameter counts of
    the paper's Table 1 say that it has a weight for every channel, the same in all places.

    Parameters
    ----------
    c_in : int
        Channels of the input; 0 for a cell that has none.
    hidden : int
        Channels of h and c.
    kernel : int
        Side of the convolution, odd.
    peephole : bool
        Whether the gates see the cell.

    Raises
    ------
    ValueError
        An even kernel.

    Examples
    --------
    >>> cell = ConvLSTMCell(3, 8, kernel=5)
    >>> h, c = cell(torch.zeros(2, 3, 6, 7))
    >>> h, c = cell(torch.zeros(2, 3, 6, 7), (h, c))
    >>> h.shape
    torch.Size([2, 8, 6, 7])
    """

    def __init__(self, c_in: int, hidden: int, kernel: int, peephole: bool = False):
        super().__init__()
        expect_odd("kernel", kernel)
        self.hidden = hidden
        self.gates = nn.Conv2d(c_in + hidden, 4 * hidden, kernel, padding=kernel // 2)
        if peephole:
            self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1))
        else:
            self.peepholes = None

    def forward(self, x_BCHW: Tensor | None, state: State | None = None) -> State:
        """The next (h, c). Without a state it starts from zeros; without an input (None, of a cell
        with `c_in` 0) there must be a state."""
        if state is None:
            b, _, height, width = x_BCHW.shape
            state = (x_BCHW.new_zeros(b, self.hidden, height, width),) * 2
        h_BCHW, c_BCHW = state
        seen_BCHW = h_BCHW if x_BCHW is None else torch.cat([x_BCHW, h_BCHW], dim=1)
        i, f, g, o = self.gates(seen_BCHW).chunk(4, dim=1)
        if self.peepholes is not None:
            i, f = i + self.peepholes[0] * c_BCHW, f + self.peepholes[1] * c_BCHW
        c_BCHW = torch.sigmoid(f) * c_BCHW + torch.sigmoid(i) * torch.tanh(g)
        if self.peepholes is not None:
            o = o + self.peepholes[2] * c_BCHW
        return torch.sigmoid(o) * torch.tanh(c_BCHW), c_BCHW


# Patches: places of a frame become channels, so that the grid is smaller.


def expect_patch(patch: HW, size_HW: HW) -> None:
    """Raise a ValueError unless patches of (h, w) pixels tile frames of (H, W)."""
    expect_counts("patch", patch, length=2)
    if size_HW[0] % patch[0] or size_HW[1] % patch[1]:
        raise ValueError(f"expected a patch that divides frames of {size_HW}, found {patch}")


def expect_sizes(config: Any) -> None:
    """Raise a ValueError unless a config's in_len, out_len, height, width, channels are counts."""
    for name in ("in_len", "out_len", "height", "width", "channels"):
        expect_counts(name, (getattr(config, name),))


def expect_layout(config: Any) -> None:
    """Raise a ValueError unless a config's in_len, out_len, height, width, channels and patch are
    counts that fit one another."""
    expect_sizes(config)
    expect_patch(config.patch, (config.height, config.width))


def expect_frames(x_BTHWC: Tensor, config: Any) -> None:
    """Raise a ValueError unless x holds in_len frames of the config's height, width, channels."""
    shape = config.in_len, config.height, config.width, config.channels
    if tuple(x_BTHWC.shape[1:]) != shape:
        raise ValueError(
            f"expected x of shape (batch, in_len, height, width, channels) = (batch, *{shape}), "
            f"found {tuple(x_BTHWC.shape)}"
        )


def to_patches(x_BTHWC: Tensor, patch: HW) -> Tensor:
    """Frames with patches of (h, w) pixels folded into channels: x_BTCHW.

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
    """The inverse of `to_patches`: x_BTHWC."""
    return rearrange(x_BTCHW, "b t (p q c) h w -> b t (h p) (w q) c", p=patch[0], q=patch[1])


# Whose frame goes in: the truth or the network's own forecast.


class ScheduledSampling(nn.Module):
    """Which frames a network in training is fed from the truth (Bengio et al., 2015, section 2.4).

    For each sample and step a coin is tossed; the share of truth goes linearly from `start` to
    `end` over the first `steps` steps of training and stays there. From 0.5 up to 1 it is the
    reverse kind of Wang et al. (2022, "PredRNN"). The coins are of torch's global
    generator; the count of steps is saved with the weights.

    Parameters
    ----------
    steps : int
        Training steps until `end` is reached; 0: from the beginning.
    start, end : float
        Shares of truth; `end`, which evaluation has, is 0 or 1.

    Raises
    ------
    ValueError
        A share outside of 0..1, an end that is neither 0 nor 1, a negative number of steps.

    Examples
    --------
    >>> sampling = ScheduledSampling(steps=4)
    >>> shares = []
    >>> for _ in range(6):
    ...     shares.append(float(sampling.share()))
    ...     mask_BT = sampling(batch=2, frames=3, device="cpu")
    >>> shares
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    >>> sampling.eval()(batch=1, frames=3, device="cpu")
    tensor([[False, False, False]])
    """

    step: Tensor

    def __init__(self, steps: int, start: float = 1.0, end: float = 0.0):
        super().__init__()
        if not isinstance(steps, int) or steps < 0:
            raise ValueError(f"expected sampling steps as a whole number from 0 on, found {steps}")
        if not 0 <= start <= 1 or end not in (0, 1):
            raise ValueError(
                f"expected a share of truth that starts within 0..1 and ends at 0 or 1, "
                f"found {start} and {end}"
            )
        self.steps, self.start, self.end = steps, start, end
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def share(self) -> Tensor:
        """The share of truth at this step of training, a scalar tensor."""
        done = (self.step / self.steps).clamp(max=1) if self.steps else 1.0
        return torch.as_tensor(self.start + (self.end - self.start) * done)

    def forward(self, batch: int, frames: int, device: torch.device | str) -> Tensor:
        """A mask_BT, true where the truth is fed; in training it also counts the step."""
        if not self.training:
            return torch.full((batch, frames), bool(self.end), device=device)
        mask_BT = torch.rand(batch, frames, device=device) < self.share().to(device)
        self.step += 1
        return mask_BT


Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


def unroll(step: Step, truth_BTCHW: Tensor, length: int, mask_BT: Tensor | None = None) -> Tensor:
    """Feed a network frame after frame, each of the truth or of its own making.

    Parameters
    ----------
    step : function
        (x_BCHW, state) to (the forecast of the next frame, state); the first state is None.
    truth_BTCHW : Tensor
        The frames there are, from the first on. Beyond them the network is fed its own.
    length : int
        Steps: in_len + out_len - 1.
    mask_BT : Tensor, optional
        Where true, the truth is fed, else the forecast made of that frame; of `length` columns,
        the first of which doesn't count. Without a mask the truth is fed while there is one.

    Returns
    -------
    Tensor (B, length, C, H, W)
        The forecasts of the frames 1 .. length, counted from 0; the last out_len are those to come.

    Examples
    --------
    A network that adds one, fed 0 and 10, then its own:

    >>> truth = torch.tensor([0.0, 10.0]).reshape(1, 2, 1, 1, 1)
    >>> unroll(lambda x, state: (x + 1, state), truth, length=4).flatten().tolist()
    [1.0, 11.0, 12.0, 13.0]
    >>> own = torch.zeros(1, 4, dtype=torch.bool)
    >>> unroll(lambda x, state: (x + 1, state), truth, length=4, mask_BT=own).flatten().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    state, x_BCHW, made = None, truth_BTCHW[:, 0], []
    for t in range(length):
        if 0 < t < truth_BTCHW.shape[1]:
            x_BCHW = truth_BTCHW[:, t]
            if mask_BT is not None:
                x_BCHW = torch.where(mask_BT[:, t, None, None, None], x_BCHW, made[-1])
        elif t > 0:
            x_BCHW = made[-1]
        y_BCHW, state = step(x_BCHW, state)
        made.append(y_BCHW)
    return torch.stack(made, dim=1)
