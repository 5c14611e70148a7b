"""The stem of an Earthformer: convolutions that make frames coarser, and the mirrored way back.

Legend of the shape suffixes: B batch, T time, H W space, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from .attention import (
    ACTIVATIONS,
    PatchMerging,
    Upsampling,
    conv_block,
    expect_counts,
    expect_one_of,
    per_frame,
)

KINDS = ("conv", "stack_conv")
HW = tuple[int, int]


def coarser(size_HW: HW, scales: Sequence[HW]) -> list[HW]:
    """A grid's (H, W), and what it becomes step by step, rounded up because merging pads.

    Examples
    --------
    >>> coarser((24, 9), [(1, 2), (2, 2)])
    [(24, 9), (24, 5), (12, 3)]
    """
    sizes = [size_HW]
    for sh, sw in scales:
        h, w = sizes[-1]
        sizes.append((-(-h // sh), -(-w // sw)))
    return sizes


@dataclass(frozen=True)
class Stem:
    """The convolutions before the encoder and, mirrored, after the decoder.

    A stage is a block of convolutions, then patch merging. On the way back it is upsampling to the
    size before that merging, then a block of convolutions to the stage's own channels.

    Parameters
    ----------
    kind : "conv" or "stack_conv"
        One stage with group norms of 16 groups, or several with a group for every 4 channels.
    scales : tuple of (h, w)
        How much coarser each stage makes the grid; a single number stands for both.
    convs : tuple of int
        Convolutions of each stage.
    dims : tuple of int
        Channels of each stage, the last one `base_units`; empty: `base_units` in all of them.
    final_convs : tuple of int
        Convolutions of each stage of the way back, in its order; empty: `convs` reversed.
    activation : str
        "leaky" (slope 0.1) or "gelu".

    Raises
    ------
    ValueError
        When a value is not one of these, or the tuples differ in length.
    """

    kind: str = "conv"
    scales: tuple[HW, ...] = ((2, 2),)
    convs: tuple[int, ...] = (2,)
    dims: tuple[int, ...] = ()
    final_convs: tuple[int, ...] = ()
    activation: str = "leaky"

    def __post_init__(self) -> None:
        pairs = tuple((s, s) if isinstance(s, int) else tuple(s) for s in self.scales)
        object.__setattr__(self, "scales", pairs)
        for name in ("convs", "dims", "final_convs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for pair in pairs:
            expect_counts("stem.scales", pair, length=2)
        expect_one_of("stem.kind", self.kind, KINDS)
        expect_one_of("stem.activation", self.activation, ACTIVATIONS)
        stages = len(pairs)
        if stages < 1 or (self.kind == "conv" and stages > 1):
            raise ValueError(
                f"expected one stage in a 'conv' stem, one or more in a 'stack_conv' stem, "
                f"found stem.scales={pairs}"
            )
        expect_counts("stem.convs", self.convs, length=stages)
        if self.dims:
            expect_counts("stem.dims", self.dims, length=stages)
        if self.final_convs:
            expect_counts("stem.final_convs", self.final_convs, length=stages)

    def widths(self, base_units: int) -> tuple[int, ...]:
        """Channels after each stage; the last is `base_units`, and each divides into its groups."""
        widths = self.dims or (base_units,) * len(self.scales)
        if widths[-1] != base_units:
            raise ValueError(f"expected stem.dims to end with {base_units=}, found {self.dims}")
        for channels in widths:
            if channels % self.groups(channels):
                raise ValueError(
                    f"expected channels of a {self.kind!r} stem divisible by the "
                    f"{self.groups(channels)} groups of their norm, found {channels}"
                )
        return widths

    def groups(self, channels: int) -> int:
        """Groups of the group norm over this many channels."""
        return 16 if self.kind == "conv" else max(1, channels // 4)

    def convolve(self, c_in: int, c_out: int, n: int) -> nn.Sequential:
        """A stage's block of n convolutions."""
        return conv_block((c_in, *(c_out,) * n), self.groups(c_out), self.activation)


class InitialEncoder(nn.Module):
    """Frames to the encoder's grid: stage by stage, convolutions, then patch merging."""

    def __init__(self, stem: Stem, channels: int, base_units: int):
        super().__init__()
        blocks, merges = nn.ModuleList(), nn.ModuleList()
        steps = pairwise((channels, *stem.widths(base_units)))
        for (c_in, c_out), n, scale in zip(steps, stem.convs, stem.scales, strict=True):
            blocks.append(stem.convolve(c_in, c_out, n))
            merges.append(PatchMerging(c_out, c_out, (1, *scale)))
        if stem.kind == "conv":
            self.conv_block, self.patch_merge = blocks[0], merges[0]
        else:
            self.conv_block_list, self.patch_merge_list = blocks, merges

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        if hasattr(self, "conv_block"):
            stages = [(self.conv_block, self.patch_merge)]
        else:
            stages = list(zip(self.conv_block_list, self.patch_merge_list, strict=True))
        for convolve, merge in stages:
            x_BTHWC = merge(per_frame(convolve, x_BTHWC))
        return x_BTHWC


class FinalDecoder(nn.Module):
    """The decoder's grid to frames: the stages mirrored, upsampling, then convolutions."""

    def __init__(self, stem: Stem, base_units: int, size_HW: HW):
        super().__init__()
        upsamples, blocks = nn.ModuleList(), nn.ModuleList()
        steps = pairwise((base_units, *reversed(stem.widths(base_units))))
        sizes = reversed(coarser(size_HW, stem.scales)[:-1])
        convs = stem.final_convs or stem.convs[::-1]
        for (c_in, c_out), n, size in zip(steps, convs, sizes, strict=True):
            upsamples.append(Upsampling(c_in, c_in, size))
            blocks.append(stem.convolve(c_in, c_out, n))
        if stem.kind == "conv":
            self.upsample, self.conv_block = upsamples[0], blocks[0]
        else:
            self.upsample_list, self.conv_block_list = upsamples, blocks

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        if hasattr(self, "conv_block"):
            stages = [(self.upsample, self.conv_block)]
        else:
            stages = list(zip(self.upsample_list, self.conv_block_list, strict=True))
        for upsample, convolve in stages:
            x_BTHWC = per_frame(convolve, upsample(x_BTHWC))
        return x_BTHWC
