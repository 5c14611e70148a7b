"""The stem of an Earthformer: convolutions that make frames coarser, and the mirrored way back.

Attribute names are those of the published checkpoints (Gao et al. 2022, "Earthformer").
Legend of the shape suffixes: B batch, T time, H W space, C channels, F frames (B and T together).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import ACTIVATIONS
from .checks import expect_counts, expect_one_of, lists_to_tuples
from .cuboid import Size

KINDS = ("conv", "stack_conv")
HW = tuple[int, int]


def coarser(size_HW: HW, factors: Sequence[HW]) -> list[HW]:
    """A grid's (H, W), and what it becomes factor by factor, rounded up because merging pads.

    Examples
    --------
    >>> coarser((24, 9), [(1, 2), (2, 2)])
    [(24, 9), (24, 5), (12, 3)]
    """
    sizes = [size_HW]
    for fh, fw in factors:
        h, w = sizes[-1]
        sizes.append((-(-h // fh), -(-w // fw)))
    return sizes


# Layers that also networks without a stem are built of.


def per_frame(net: Callable[[Tensor], Tensor], x_BTHWC: Tensor) -> Tensor:
    """Apply a network of images (B, C, H, W) to every frame."""
    x_FCHW = net(rearrange(x_BTHWC, "b t h w c -> (b t) c h w"))
    return rearrange(x_FCHW, "(b t) c h w -> b t h w c", t=x_BTHWC.shape[1])


def conv_block(channels: Sequence[int], groups: int, activation: str) -> nn.Sequential:
    """3x3 convolution, group norm, activation, once for every step from one width to the next."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(groups, c_out)]
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


class PatchMerging(nn.Module):
    """Downsampling: fold (dt, dh, dw) neighbours into channels, normalise, project.

    An axis is padded with zeros at its end to a multiple of its factor, in both padding modes.
    """

    def __init__(self, dim_in: int, dim_out: int, factor: Size):
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(prod(factor) * dim_in)
        self.reduction = nn.Linear(prod(factor) * dim_in, dim_out, bias=False)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        pt, ph, pw = (-n % f for n, f in zip(x_BTHWC.shape[1:4], self.factor, strict=True))
        if pt or ph or pw:  # padding copies, also by nothing
            x_BTHWC = F.pad(x_BTHWC, (0, 0, 0, pw, 0, ph, 0, pt))  # F.pad counts from the last axis
        folded = rearrange(
            x_BTHWC,
            "b (t dt) (h dh) (w dw) c -> b t h w (dt dh dw c)",
            **dict(zip(("dt", "dh", "dw"), self.factor, strict=True)),
        )
        return self.reduction(self.norm(folded))  # (B, T/dt, H/dh, W/dw, dim_out)


class Upsampling(nn.Module):
    """Nearest-neighbour resize of each frame to (H, W), then a 3x3 convolution."""

    def __init__(self, dim_in: int, dim_out: int, size_HW: HW):
        super().__init__()
        self.size_HW = size_HW
        self.conv = nn.Conv2d(dim_in, dim_out, 3, padding=1)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        # a size, not a factor: it restores what merging rounded up
        return per_frame(lambda x_FCHW: self.conv(F.interpolate(x_FCHW, self.size_HW)), x_BTHWC)


@dataclass(frozen=True)
class Stem:
    """The convolutions before the encoder and, mirrored, after the decoder.

    A stage is a block of convolutions, then patch merging. On the way back it is upsampling to the
    size before that merging, then a block of convolutions to the stage's own channels. Fields that
    do not fit one another, or have values other than these, are a ValueError.

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
        lists_to_tuples(self)
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
        for name in ("dims", "final_convs"):
            if values := getattr(self, name):
                expect_counts(f"stem.{name}", values, length=stages)

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
        return 16 if self.kind == "conv" else max(1, channels // 4)  # as published

    def convolve(self, c_in: int, c_out: int, n: int) -> nn.Sequential:
        """A stage's block of n convolutions."""
        return conv_block((c_in, *(c_out,) * n), self.groups(c_out), self.activation)


class Stages(nn.Module):
    """Pairs of layers, one pair per stage.

    Published checkpoints know the layers of a "conv" stem by `names`, and those of a "stack_conv"
    stem by `names` with "_list", also where it has a single stage.
    """

    def __init__(
        self, kind: str, names: tuple[str, str], stages: Iterable[tuple[nn.Module, nn.Module]]
    ):
        super().__init__()
        self.names = names if kind == "conv" else tuple(f"{name}_list" for name in names)
        for name, layers in zip(self.names, zip(*stages, strict=True), strict=True):
            setattr(self, name, layers[0] if kind == "conv" else nn.ModuleList(layers))

    @property
    def stages(self) -> list[tuple[nn.Module, nn.Module]]:
        """The pairs, in the order in which they run."""
        first, second = (getattr(self, name) for name in self.names)
        if isinstance(first, nn.ModuleList):
            return list(zip(first, second, strict=True))
        return [(first, second)]


class InitialEncoder(Stages):
    """Frames to the encoder's grid: stage by stage, convolutions, then patch merging."""

    def __init__(self, stem: Stem, channels: int, base_units: int):
        widths = pairwise((channels, *stem.widths(base_units)))
        stages = (
            (stem.convolve(c_in, c_out, n), PatchMerging(c_out, c_out, (1, *factor)))
            for (c_in, c_out), n, factor in zip(widths, stem.convs, stem.scales, strict=True)
        )
        super().__init__(stem.kind, ("conv_block", "patch_merge"), stages)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        for convolve, merge in self.stages:
            x_BTHWC = merge(per_frame(convolve, x_BTHWC))  # C of the stage, then H and W down
        return x_BTHWC


class FinalDecoder(Stages):
    """The decoder's grid to frames: the stages mirrored, upsampling, then convolutions."""

    def __init__(self, stem: Stem, base_units: int, size_HW: HW):
        widths = pairwise((base_units, *reversed(stem.widths(base_units))))
        convs = stem.final_convs or stem.convs[::-1]
        sizes = reversed(coarser(size_HW, stem.scales)[:-1])  # rounding up has no inverse
        stages = (
            (Upsampling(c_in, c_in, size), stem.convolve(c_in, c_out, n))
            for (c_in, c_out), n, size in zip(widths, convs, sizes, strict=True)
        )
        super().__init__(stem.kind, ("upsample", "conv_block"), stages)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        for upsample, convolve in self.stages:
            x_BTHWC = per_frame(convolve, upsample(x_BTHWC))  # H and W up, then C of the stage
        return x_BTHWC
