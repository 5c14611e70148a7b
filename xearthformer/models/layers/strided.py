"""Around recurrent cells: convolutions to a coarser grid, the mirrored way back, the forecast.

After Radford et al. (2016), "DCGAN": a stage is one strided convolution, a norm, a leaky ReLU. The
norm is a group norm here, so that no image's arithmetic depends on its neighbours in the batch.
Legend of the shape suffixes: B batch, T time, C channels, H W space.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import expect_counts
from .recurrent import HW, ScheduledSampling, Step, expect_sizes, from_patches, to_patches, unroll

PIXEL = (1, 1)  # patches of a pixel: frames as they are
SLOPE = 0.2  # of the leaky ReLU, as in DCGAN
GROUP = 8  # channels of a group


def pairs(name: str, scales: Sequence[int | Sequence[int]]) -> tuple[HW, ...]:
    """Factors (h, w) of each stage; a single number stands for both.

    Raises
    ------
    ValueError
        Another thing than a list, or an empty one; a factor that isn't a whole number from 1 on.

    Examples
    --------
    >>> pairs("scales", [2, (1, 3)])
    ((2, 2), (1, 3))
    """
    if not isinstance(scales, list | tuple) or not scales:
        raise ValueError(f"expected {name} as a list of one or more, found {scales!r}")
    found = tuple(tuple(s) if isinstance(s, list | tuple) else (s, s) for s in scales)
    for pair in found:
        expect_counts(name, pair, length=2)
    return found


def expect_stages(config: Any) -> None:
    """Raise a ValueError unless a config's frames, widths and scales fit one another.

    Its in_len, out_len, height, width and channels are counts; there is a width for each scale, a
    multiple of a group's channels; the scales, one after the other, divide height and width.
    """
    expect_sizes(config)
    expect_counts("widths", config.widths, length=len(config.scales))
    if any(width % GROUP for width in config.widths):
        raise ValueError(f"expected widths that are multiples of {GROUP}, found {config.widths}")
    factor = tuple(prod(factors) for factors in zip(*config.scales, strict=True))
    if config.height % factor[0] or config.width % factor[1]:
        raise ValueError(
            f"expected scales whose product divides frames of {(config.height, config.width)}, "
            f"found {config.scales}, together {factor}"
        )


def down(c_in: int, c_out: int, scale: HW) -> nn.Sequential:
    """A stage (B, c_in, H, W) to (B, c_out, H / h, W / w); its kernel reaches a pixel beyond.

    Examples
    --------
    >>> down(1, 8, (2, 3))(torch.zeros(1, 1, 4, 6)).shape
    torch.Size([1, 8, 2, 2])
    """
    return _stage(nn.Conv2d, c_in, c_out, scale)


def up(c_in: int, c_out: int, scale: HW) -> nn.Sequential:
    """A stage (B, c_in, H, W) to (B, c_out, H h, W w), `down` mirrored.

    Examples
    --------
    >>> up(8, 8, (2, 3))(torch.zeros(1, 8, 2, 2)).shape
    torch.Size([1, 8, 4, 6])
    """
    return _stage(nn.ConvTranspose2d, c_in, c_out, scale)


def _stage(Conv: type[nn.Module], c_in: int, c_out: int, scale: HW) -> nn.Sequential:
    kernel = tuple(s + 2 for s in scale)
    return nn.Sequential(
        Conv(c_in, c_out, kernel, stride=scale, padding=1),
        nn.GroupNorm(c_out // GROUP, c_out),
        nn.LeakyReLU(SLOPE),
    )


def forecast(
    step: Step,
    x_BTHWC: Tensor,
    out_len: int,
    y_BTHWC: Tensor | None = None,
    sampling: ScheduledSampling | None = None,
) -> Tensor:
    """The frames that follow x, (B, out_len, H, W, C), each fed back to make the next.

    Parameters
    ----------
    step : function
        As `recurrent.unroll` takes it.
    x_BTHWC : Tensor
        The frames given.
    y_BTHWC : Tensor, optional
        What came, of which `sampling` then feeds some frames in place of the forecast's own.

    Examples
    --------
    >>> x = torch.tensor([0.0, 10.0]).reshape(1, 2, 1, 1, 1)
    >>> forecast(lambda x, state: (x + 1, state), x, out_len=3).flatten().tolist()
    [11.0, 12.0, 13.0]
    >>> always = ScheduledSampling(steps=0, end=1)
    >>> forecast(lambda x, state: (x + 1, state), x, 3, 5 * x, always).flatten().tolist()
    [11.0, 1.0, 51.0]
    """
    batch, in_len = x_BTHWC.shape[:2]
    truth_BTHWC, mask_BT = x_BTHWC, None
    if sampling is not None:
        truth_BTHWC = torch.cat([x_BTHWC, y_BTHWC[:, : out_len - 1]], dim=1)
        mask_BT = sampling(batch, out_len - 1, x_BTHWC.device)
        mask_BT = F.pad(mask_BT, (in_len, 0), value=True)  # what is given is fed
    made_BTCHW = unroll(step, to_patches(truth_BTHWC, PIXEL), in_len + out_len - 1, mask_BT)
    return from_patches(made_BTCHW[:, -out_len:], PIXEL)
