"""Cuboids: how a space-time grid is cut into groups that attend within, and patterns of such cuts.

After Gao et al. (2022), "Earthformer", section 3. Geometry only: layers with weights are in
attention.py.
Legend of the shape suffixes: B batch, T time, H W space, C channels, M cuboids in a grid,
V elements of a cuboid, S elements of the memory's cuboid.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Cuboid:
    """The cuboid of one attention layer, before it meets a grid.

    The strategy has a letter per axis: "l", local, neighbours; "d", dilated, elements (axis / b)
    apart.
    """

    size: Size  # elements along time, height, width: (bt, bh, bw)
    strategy: str = "lll"
    shift: Size = (0, 0, 0)  # how far the grid is rolled back before it is cut

    def on(self, shape_THW: Size) -> CuboidGrid:
        """This cuboid on a grid: no longer than an axis; no shift of a whole or dilated axis."""
        size, shift = [], []
        for n, b, s, layout in zip(shape_THW, self.size, self.shift, self.strategy, strict=True):
            size.append(min(b, n))
            shift.append(s if layout == "l" and n > b else 0)
        return CuboidGrid(shape_THW, tuple(size), self.strategy, tuple(shift))


@dataclass(frozen=True)
class CuboidGrid:
    """How a grid is cut into cuboids, and joined from them again.

    Examples
    --------
    >>> grid = Cuboid((1, 1, 2), "lld").on((1, 1, 4))
    >>> x_BTHWC = torch.arange(4.0).reshape(1, 1, 1, 4, 1)
    >>> grid.cut(x_BTHWC)[0, :, :, 0].tolist()
    [[0.0, 2.0], [1.0, 3.0]]
    """

    shape: Size
    size: Size
    strategy: str
    shift: Size

    @property
    def padded(self) -> Size:
        """The grid's shape with every axis padded to a multiple of the cuboid."""
        return tuple(ceil(n / b) * b for n, b in zip(self.shape, self.size, strict=True))

    @property
    def is_padded(self) -> bool:
        """Whether some axis is not a multiple of its cuboid."""
        return self.padded != self.shape

    def cut(self, x_BTHWC: Tensor) -> Tensor:
        """Pad at the end of each axis, roll, and fold into cuboids: x_BMVC."""
        if self.is_padded:
            pt, ph, pw = (p - n for p, n in zip(self.padded, self.shape, strict=True))
            x_BTHWC = F.pad(x_BTHWC, (0, 0, 0, pw, 0, ph, 0, pt))  # F.pad counts from the last axis
        if any(self.shift):
            x_BTHWC = x_BTHWC.roll([-s for s in self.shift], dims=(1, 2, 3))
        return self._fold(x_BTHWC)

    def join(self, x_BMVC: Tensor) -> Tensor:
        """The inverse of `cut`: unfold, roll back, crop: x_BTHWC."""
        (t, h, w), x_BTHWC = self.shape, self._fold(x_BMVC, back=True)
        if any(self.shift):
            x_BTHWC = x_BTHWC.roll(self.shift, dims=(1, 2, 3))
        return x_BTHWC[:, :t, :h, :w]  # without the padding

    def regions(self) -> Tensor:
        """The region of every element (M, V): only elements of the same one may attend.

        Along a shifted axis the last cuboid holds both the axis's end and its start, rolled round,
        so the axis has three regions, [:-b], [-b:-s] and [-s:] (the mask of Swin, Liu et al. 2021).
        """
        region_THW = torch.zeros(self.padded, dtype=torch.long)
        for axis, (n, b, s) in enumerate(zip(self.padded, self.size, self.shift, strict=True)):
            i = torch.arange(n)
            slices = (i >= n - b).long() + (i >= n - s).long() if s else torch.zeros_like(i)
            # digits of base 3, one per axis
            region_THW = 3 * region_THW + slices.reshape([-1 if a == axis else 1 for a in range(3)])
        return self._fold(region_THW[None, ..., None])[0, ..., 0]

    def inside(self) -> Tensor:
        """Whether an element of a cuboid is one of the grid (M, V), and not padding."""
        return self.cut(torch.ones(1, *self.shape, 1))[0, ..., 0].bool()

    def _fold(self, x: Tensor, back: bool = False) -> Tensor:
        """Grid to cuboids, x_BTHWC to x_BMVC, or back."""
        # an axis is n cuboids of length b; where it is dilated, neighbours fall into different ones
        layout = {"l": "(n{0} b{0})", "d": "(b{0} n{0})"}
        grid = " ".join(layout[s].format(a) for s, a in zip(self.strategy, "thw", strict=True))
        sides = f"b {grid} c", "b (nt nh nw) (bt bh bw) c"
        counts = (p // b for p, b in zip(self.padded, self.size, strict=True))
        names = "bt", "bh", "bw", "nt", "nh", "nw"
        lengths = dict(zip(names, (*self.size, *counts), strict=True))
        return rearrange(x, " -> ".join(reversed(sides) if back else sides), **lengths)


def attention_mask(query: CuboidGrid, memory: CuboidGrid, ignore_padding: bool) -> Tensor | None:
    """The memory's elements that a query's may attend to, (M, V, S) bool; None for all of them."""
    hides_padding = ignore_padding and memory.is_padded
    if not any(query.shift) and not hides_padding:
        return None  # saves the time and memory of a mask that masks nothing
    mask_MVS = query.regions()[:, :, None] == memory.regions()[:, None, :]  # (M, V, 1), (M, 1, S)
    return mask_MVS & memory.inside()[:, None, :] if hides_padding else mask_MVS


def masked_softmax(score: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis, exactly zero where masked, also in a row that is all masked."""
    if mask is None:
        return score.softmax(-1)
    # -inf would give NaN in such a row, hence the lowest number and the second fill
    weight = score.masked_fill(~mask, torch.finfo(score.dtype).min).softmax(-1)
    return weight.masked_fill(~mask, 0.0)


def relative_position_index(size: Size) -> Tensor:
    """Row of the bias table for every pair of elements of a cuboid, (V, V) int64.

    The differences (dt, dh, dw), made non-negative, are read as the digits of one number:
    (dt + bt - 1)(2 bh - 1)(2 bw - 1) + (dh + bh - 1)(2 bw - 1) + (dw + bw - 1).

    Examples
    --------
    >>> relative_position_index((1, 1, 3)).tolist()
    [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    """
    place_V3 = torch.cartesian_prod(*(torch.arange(b) for b in size))  # in the order of `cut`
    difference_VV3 = place_V3[:, None] - place_V3[None]
    index_VV = torch.zeros_like(difference_VV3[..., 0])
    for axis, b in enumerate(size):
        index_VV = index_VV * (2 * b - 1) + difference_VV3[..., axis] + b - 1
    return index_VV


# Patterns: the cuboids of a block, by name.


def _video_swin(t: int, h: int, w: int, p: int = 2, m: int = 4) -> list[Cuboid]:
    p, m = min(p, t), min(m, h, w)
    # the second layer's windows lie across the edges of the first's
    return [Cuboid((p, m, m)), Cuboid((p, m, m), shift=(p // 2, m // 2, m // 2))]


def _spatial_lg(t: int, h: int, w: int, m: int) -> list[Cuboid]:
    if h <= m and w <= m:  # local and global are one: the whole frame
        return SELF_PATTERNS["divided_st"](t, h, w)
    return [Cuboid((t, 1, 1)), Cuboid((1, m, m)), Cuboid((1, m, m), "ddd")]


def _axial_space_dilate(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    k = min(k, h, w)
    column, row = (1, h // k, 1), (1, 1, w // k)
    dilated_then_local = [Cuboid(size, how) for size in (column, row) for how in ("ddd", "lll")]
    return [Cuboid((t, 1, 1)), *dilated_then_local]


def _cross(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    """Local, dilated and shifted windows of k x k; a pattern takes the first few."""
    k = min(k, h, w)
    size = (t, k, k)
    return [Cuboid(size), Cuboid(size, "ddd"), Cuboid(size, shift=(0, k // 2, k // 2))]


# A regular expression for the name (its groups are numbers) -> the cuboids on a level's (T, H, W).
SELF_PATTERNS: dict[str, Callable[..., list[Cuboid]]] = {
    r"axial": lambda t, h, w: [Cuboid((t, 1, 1)), Cuboid((1, h, 1)), Cuboid((1, 1, w))],
    r"full": lambda t, h, w: [Cuboid((t, h, w))],
    r"divided_st": lambda t, h, w: [Cuboid((t, 1, 1)), Cuboid((1, h, w))],
    r"video_swin": _video_swin,
    r"video_swin_([1-9]\d*)x([1-9]\d*)": _video_swin,
    r"spatial_lg_([1-9]\d*)": _spatial_lg,
    r"axial_space_dilate_([1-9]\d*)": _axial_space_dilate,
}
CROSS_PATTERNS: dict[str, Callable[..., list[Cuboid]]] = {
    r"cross_([1-9]\d*)x\1": lambda *sizes: _cross(*sizes)[:1],
    r"cross_([1-9]\d*)x\1_lg": lambda *sizes: _cross(*sizes)[:2],
    r"cross_([1-9]\d*)x\1_heter": _cross,
}
PATTERN_NAMES = {
    "self": "axial, full, divided_st, video_swin, video_swin_PxM, spatial_lg_M, "
    "axial_space_dilate_K",
    "cross": "cross_KxK, cross_KxK_lg, cross_KxK_heter",
}


def self_pattern(name: str, shape_THW: Size) -> list[Cuboid]:
    """The cuboids of a self-attention block on the encoder's grid, one per layer.

    A ValueError unless the name is one of `PATTERN_NAMES["self"]`, the capitals being numbers.

    Examples
    --------
    >>> [cuboid.size for cuboid in self_pattern("axial", (12, 24, 24))]
    [(12, 1, 1), (1, 24, 1), (1, 1, 24)]
    """
    return _pattern("self", SELF_PATTERNS, name, shape_THW)


def cross_pattern(name: str, shape_THW: Size) -> list[Cuboid]:
    """The cuboids of a cross-attention block, one per layer; each spans the whole of time.

    Examples
    --------
    >>> [(cuboid.size, cuboid.strategy) for cuboid in cross_pattern("cross_4x4_lg", (12, 24, 24))]
    [((12, 4, 4), 'lll'), ((12, 4, 4), 'ddd')]
    """
    return _pattern("cross", CROSS_PATTERNS, name, shape_THW)


def _pattern(
    kind: str, table: dict[str, Callable[..., list[Cuboid]]], name: str, shape_THW: Size
) -> list[Cuboid]:
    for form, cuboids in table.items():
        if match := re.fullmatch(form, name):
            return cuboids(*shape_THW, *map(int, match.groups()))
    raise ValueError(
        f"expected the name of a {kind}-attention pattern, one of {PATTERN_NAMES[kind]} "
        f"(capitals stand for numbers), found {name!r}"
    )
