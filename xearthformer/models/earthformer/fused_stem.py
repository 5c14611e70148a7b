"""The stem of a fused Earthformer (fused.py): the same convolutions in less arithmetic and memory.

Images are (F, H, W, C) in memory, "channels last", which is fastest on a CPU, and each frame goes
through all stages alone, which asks the system for no large memory.
Legend of the shape suffixes: F frames, T time, H W space, C channels; of a convolution O I channels
out and in, M channels between two, P Q pixels of a coarse cell, U V coarse cells that its taps
read; of a group norm G groups, I channels of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.stem import FinalDecoder, InitialEncoder, Upsampling


class Convolution(nn.Module):
    """A convolution of images in the layout (F, H, W, C)."""

    def __init__(self, weight_OIHW: Tensor, bias_O: Tensor, padding: tuple[int, int]):
        super().__init__()
        self.padding = padding
        self.register_buffer("weight", weight_OIHW.to(memory_format=torch.channels_last))
        self.register_buffer("bias", bias_O.clone())

    def forward(self, x_FHWC: Tensor) -> Tensor:
        x_FCHW = x_FHWC.permute(0, 3, 1, 2)  # a view: torch runs it channels last
        return F.conv2d(x_FCHW, self.weight, self.bias, padding=self.padding).permute(0, 2, 3, 1)


def convolution(conv: nn.Conv2d) -> Convolution:
    """The same 3x3 convolution for images in the layout (F, H, W, C)."""
    return Convolution(conv.weight, conv.bias, (1, 1))


def in_place(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same activation, writing over its input."""
    match activation:
        case nn.LeakyReLU():
            return nn.LeakyReLU(activation.negative_slope, inplace=True)
        case nn.GELU():
            return torch.ops.aten.gelu_
    return activation


class NormActivation(nn.Module):
    """Group norm and activation of one image, in the image's own memory.

    Torch's group norm of channels-last images loses digits on a CPU, as it adds up a whole image in
    one float32. Here torch's batch norm gives the mean and variance of every column of pixels, by
    two passes over it, and those of a group are combined from its columns.
    """

    def __init__(self, norm: nn.GroupNorm, activation: nn.Module):
        super().__init__()
        self.norm, self.activation = norm, in_place(activation)

    def forward(self, x_FHWC: Tensor) -> Tensor:
        x_FHWC = x_FHWC.to(self.norm.weight)
        columns = rearrange(x_FHWC, "f h w c -> f (w c) h 1")  # each column a channel of its own
        moments = torch.batch_norm_update_stats(columns, None, None, 0.0)
        shape_WGI = x_FHWC.shape[2], self.norm.num_groups, -1
        mean_WGI, variance_WGI = (each.view(shape_WGI) for each in moments)
        mean_G1 = mean_WGI.mean((0, 2))[:, None]
        # variance of a group: mean variance of its columns, plus variance of their means
        variance_G1 = (variance_WGI + (mean_WGI - mean_G1) ** 2).mean((0, 2))[:, None]
        weight_GI, bias_GI = (each.view(len(mean_G1), -1) for each in self.norm.parameters())
        slope_GI = weight_GI * (variance_G1 + self.norm.eps).rsqrt()
        offset_GI = bias_GI - mean_G1 * slope_GI
        torch.addcmul(offset_GI.flatten(), x_FHWC, slope_GI.flatten(), out=x_FHWC)
        return self.activation(x_FHWC)


def after_first_convolution(block: nn.Sequential) -> nn.Sequential:
    """A block of convolutions without its first one: norm, activation, convolution, norm, ..."""
    _, norm, activation, *rest = block
    layers: list[nn.Module] = [NormActivation(norm, activation)]
    while rest:
        conv, norm, activation, *rest = rest
        layers += [convolution(conv), NormActivation(norm, activation)]
    return nn.Sequential(*layers)


# Upsampling and convolutions.


def compose(first_MI33: Tensor, second_OM33: Tensor) -> Tensor:
    """The kernel of two convolutions one after the other, as a product of polynomials."""
    h, w = second_OM33.shape[2:]
    turned = second_OM33.flip(2, 3)  # torch's convolution is a correlation
    return F.conv2d(first_MI33.transpose(0, 1), turned, padding=(h - 1, w - 1)).transpose(0, 1)


def cells_of_taps(taps: int, factor: int) -> tuple[Tensor, int]:
    """The coarse cell that each tap reads for each pixel of a cell, counted from this cell.

    Also how many pixels before the cell the first of these pixels lies, where that saves cells.

    Examples
    --------
    >>> cells_of_taps(5, 2)  # pixels -2 to 2, and -1 to 3, in cells of two
    (tensor([[-1, -1,  0,  0,  1],
            [-1,  0,  0,  1,  1]]), 0)
    >>> cells_of_taps(3, 2)  # pixels -2 to 0, and -1 to 1: no third cell
    (tensor([[-1, -1,  0],
            [-1,  0,  0]]), 1)
    """
    pixel = torch.arange(factor)[:, None] + torch.arange(taps) - taps // 2
    choices = [((pixel - early) // factor, early) for early in (0, taps // 2)]
    return min(choices, key=lambda choice: int(choice[0].max() - choice[0].min()))


class CoarseConvolution(nn.Module):
    """Nearest-neighbour upsampling and a convolution after it, done on the coarse image.

    The pixels of a coarse cell differ only in the cells that their taps read. So they are channels
    of one coarse convolution, (p q o), that are then laid out as pixels.
    """

    def __init__(self, weight_OIHW: Tensor, bias_O: Tensor, factor: tuple[int, int]):
        super().__init__()
        self.factor = factor
        shape_HW = weight_OIHW.shape[2:]
        cells, self.early = zip(*map(cells_of_taps, shape_HW, factor), strict=True)
        padding = tuple(-int(cell.min()) for cell in cells)
        # per axis (pixel, tap, cell): taps that read the same cell add up
        reads = (F.one_hot(cell - cell.min()).to(weight_OIHW) for cell in cells)
        weight = torch.einsum("oihw,phu,qwv->pqoiuv", weight_OIHW, *reads).flatten(0, 2)
        self.convolve = Convolution(weight, bias_O.repeat(prod(factor)), padding)

    def forward(self, x_FHWC: Tensor) -> Tensor:
        (_, h, w, _), (p, q), (top, left) = x_FHWC.shape, self.factor, self.early
        y_FHWC = rearrange(self.convolve(x_FHWC), "f h w (p q o) -> f (h p) (w q) o", p=p, q=q)
        # early pixels belong to the cell before
        return y_FHWC[:, top : top + h * p, left : left + w * q]


# A strip along an edge of an image, its first or last row (column): its place, and the taps of a
# first and of a second convolution by which it reaches itself, through a row beyond the edge.
STRIPS = {
    "first": (slice(0, 1), slice(2, 3), slice(0, 1)),
    "all": (slice(None), slice(None), slice(None)),
    "last": (slice(-1, None), slice(0, 1), slice(2, 3)),
}


class CoarsePair(nn.Module):
    """Upsampling, a convolution, and the next convolution: all three as one on the coarse image.

    Beyond the edges the second convolution reads zeros, and the product of both what the first
    would have there. That is subtracted again along the four edges, and added back at the corners,
    where it was subtracted twice: each a coarse convolution too, of a strip of the image.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d, factor: tuple[int, int]):
        super().__init__()
        self.strips, self.places = nn.ModuleList(), []
        for edges in product(("all", "first", "last"), repeat=2):
            places, taps1, taps2 = zip(*(STRIPS[edge] for edge in edges), strict=True)
            w1, w2 = (conv.weight.double() for conv in (first, second))  # rounded once, at the end
            w1, w2 = w1[:, :, *taps1], w2[:, :, *taps2]
            bias_O = torch.einsum("omhw,m->o", w2, first.bias.double())
            if edges == ("all", "all"):
                bias_O = bias_O + second.bias
            sign = (-1) ** (2 - edges.count("all"))  # image 1, edges -1, corners 1
            f = tuple(f if edge == "all" else 1 for f, edge in zip(factor, edges, strict=True))
            strip = CoarseConvolution(sign * compose(w1, w2), sign * bias_O, f)
            self.strips.append(strip.to(first.weight.dtype))
            self.places.append(places)

    def forward(self, x_FHWC: Tensor) -> Tensor:
        y_FHWC = self.strips[0](x_FHWC)  # the whole image, then its edges and corners
        for strip, (rows, columns) in zip(self.strips[1:], self.places[1:], strict=True):
            y_FHWC[:, rows, columns] += strip(x_FHWC[:, rows, columns])
        return y_FHWC


class Resize(nn.Module):
    """Nearest-neighbour upsampling by any factor, whole or not."""

    def __init__(self, size_HW: tuple[int, int]):
        super().__init__()
        self.size_HW = size_HW

    def forward(self, x_FHWC: Tensor) -> Tensor:
        return F.interpolate(x_FHWC.permute(0, 3, 1, 2), self.size_HW).permute(0, 2, 3, 1)


def upsampling(upsample: Upsampling, size_HW: tuple[int, int]) -> nn.Module:
    """Upsampling and its convolution, from images of this size."""
    (h, w), (fine_h, fine_w) = size_HW, upsample.size_HW
    if fine_h % h or fine_w % w:  # a coarse cell is no whole number of pixels
        return nn.Sequential(Resize(upsample.size_HW), convolution(upsample.conv))
    factor = fine_h // h, fine_w // w
    return CoarseConvolution(upsample.conv.weight, upsample.conv.bias, factor)


def upsampling_pair(upsample: Upsampling, conv: nn.Conv2d, size_HW: tuple[int, int]) -> nn.Module:
    """Upsampling, its convolution and the next one: as one, if that is no more arithmetic."""
    first = upsampling(upsample, size_HW)
    apart = nn.Sequential(first, convolution(conv))
    if not isinstance(first, CoarseConvolution):
        return apart
    pair = CoarsePair(upsample.conv, conv, first.factor)
    # multiplications per coarse pixel
    cost_apart = first.convolve.weight.numel() + prod(first.factor) * conv.weight.numel()
    return pair if pair.strips[0].convolve.weight.numel() <= cost_apart else apart


# The stem, a frame at a time through all its stages.


class Encode(nn.Module):
    """`InitialEncoder` for one frame."""

    def __init__(self, plain: InitialEncoder):
        super().__init__()
        blocks, patches = zip(*plain.stages, strict=True)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(block[0]), after_first_convolution(block)) for block in blocks
        )
        self.patches = nn.ModuleList(patches)

    def forward(self, x_FHWC: Tensor) -> Tensor:
        for block, patch in zip(self.blocks, self.patches, strict=True):
            x_FHWC = patch(block(x_FHWC)[None])[0]  # a batch of one
        return x_FHWC


class Decode(nn.Module):
    """`FinalDecoder` and the last projection for one frame."""

    def __init__(self, plain: FinalDecoder, sizes_HW: Sequence[tuple[int, int]], last: nn.Linear):
        super().__init__()
        self.stages = nn.Sequential()
        for (upsample, block), size_HW in zip(plain.stages, sizes_HW, strict=True):
            self.stages.append(upsampling_pair(upsample, block[0], size_HW))
            self.stages.append(after_first_convolution(block))
        self.last = last

    def forward(self, x_FHWC: Tensor) -> Tensor:
        return self.last(self.stages(x_FHWC))
