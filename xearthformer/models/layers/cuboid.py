"""Cuboids: how a space-time grid is cut into groups that attend within, and patterns of such cuts.

After Gao et al. (2022), "Earthformer", section 3. Geometry only: what has weights is in blocks.py.
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
    """One attention layer's cuboid, as a pattern names it: a size, and per axis how it is laid out.

    Parameters
    ----------
    size : (bt, bh, bw)
        Elements along time, height, width.
    strategy : str
        A letter per axis: "l", local, a contiguous run; "d", dilated, elements size/b apart.
    shift : (st, sh, sw)
        How far the grid is rolled back before it is cut.
    """

    size: Size
    strategy: str = "lll"
    shift: Size = (0, 0, 0)

    def on(self, shape_THW: Size) -> CuboidGrid:
        """This cuboid on a grid: at most as long as an axis; a whole or dilated axis stays put."""
        size, shift = [], []
        for n, b, s, layout in zip(shape_THW, self.size, self.shift, self.strategy, strict=True):
            size.append(min(b, n))
            shift.append(s if layout == "l" and n > b else 0)
        return CuboidGrid(shape_THW, tuple(size), self.strategy, tuple(shift))


@dataclass(frozen=True)
class CuboidGrid:
    """How one grid comes apart into cuboids (`cut`) and together again (`join`).

    Examples
    --------
    >>> grid = Cuboid((1, 1, 2), "lld").on((1, 1, 4))
    >>> x_BTHWC = torch.arange(4.0).reshape(1, 1, 1, 4, 1)
    >>> grid.cut(x_BTHWC)[0, :, :, 0].tolist()
    [[0.0, 2.0], [1.0, 3.0]]
    >>> bool((grid.join(grid.cut(x_BTHWC)) == x_BTHWC).all())
    True
    """

    shape: Size
    size: Size
    strategy: str
    shift: Size

    @property
    def padded(self) -> Size:
        """The grid's shape after padding every axis to a multiple of the cuboid."""
        return tuple(ceil(n / b) * b for n, b in zip(self.shape, self.size, strict=True))

    @property
    def is_padded(self) -> bool:
        """Whether some axis is not a multiple of its cuboid."""
        return self.padded != self.shape

    def cut(self, x_BTHWC: Tensor) -> Tensor:
        """Pad at the end of each axis, roll, and fold into cuboids: x_BMVC."""
        if self.is_padded:
            pt, ph, pw = (p - n for p, n in zip(self.padded, self.shape, strict=True))
            x_BTHWC = F.pad(x_BTHWC, (0, 0, 0, pw, 0, ph, 0, pt))
        if any(self.shift):
            x_BTHWC = x_BTHWC.roll([-s for s in self.shift], dims=(1, 2, 3))
        return self._fold(x_BTHWC)

    def join(self, x_BMVC: Tensor) -> Tensor:
        """The inverse of `cut`: unfold, roll back, crop: x_BTHWC."""
        t, h, w = self.shape
        whole, parts = self._axes()
        x_BTHWC = rearrange(x_BMVC, f"{parts} -> {whole}", **self._lengths())
        if any(self.shift):
            x_BTHWC = x_BTHWC.roll(self.shift, dims=(1, 2, 3))
        return x_BTHWC[:, :t, :h, :w]

    def regions(self) -> Tensor:
        """The region of every element: elements that were neighbours before the roll share one.

        Along a shifted axis the last cuboid holds two strangers, its own end and what was rolled
        round, so the axis has three regions (the Swin mask): [:-b], [-b:-s], [-s:].
        """
        region_THW = torch.zeros(self.padded, dtype=torch.long)
        for axis, (n, b, s) in enumerate(zip(self.padded, self.size, self.shift, strict=True)):
            i = torch.arange(n)
            slices = (i >= n - b).long() + (i >= n - s).long() if s else torch.zeros_like(i)
            region_THW = 3 * region_THW + slices.reshape([-1 if a == axis else 1 for a in range(3)])
        return self._fold(region_THW[None, ..., None])[0, ..., 0]

    def inside(self) -> Tensor:
        """Whether an element of a cuboid is the grid's own (M, V), and not padding."""
        return self.cut(torch.ones(1, *self.shape, 1))[0, ..., 0].bool()

    def _fold(self, x_BTHWC: Tensor) -> Tensor:
        whole, parts = self._axes()
        return rearrange(x_BTHWC, f"{whole} -> {parts}", **self._lengths())

    def _axes(self) -> tuple[str, str]:
        layout = {"l": "(n{0} b{0})", "d": "(b{0} n{0})"}
        axes = [layout[s].format(a) for s, a in zip(self.strategy, "thw", strict=True)]
        return f"b {' '.join(axes)} c", "b (nt nh nw) (bt bh bw) c"

    def _lengths(self) -> dict[str, int]:
        counts = (p // b for p, b in zip(self.padded, self.size, strict=True))
        return dict(zip(("bt", "bh", "bw", "nt", "nh", "nw"), (*self.size, *counts), strict=True))


def attention_mask(query: CuboidGrid, memory: CuboidGrid, ignore_padding: bool) -> Tensor | None:
    """Which memory elements a query element may see, (M, V, S) bool; None when it may see all."""
    hides_padding = ignore_padding and memory.is_padded
    if not any(query.shift) and not hides_padding:
        return None
    mask_MVS = query.regions()[:, :, None] == memory.regions()[:, None, :]
    return mask_MVS & memory.inside()[:, None, :] if hides_padding else mask_MVS


def masked_softmax(score: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis, exactly zero where masked, also in a row that is all masked."""
    if mask is None:
        return score.softmax(-1)
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
    place_V3 = torch.cartesian_prod(*(torch.arange(b) for b in size))
    difference_VV3 = place_V3[:, None] - place_V3[None]
    index_VV = torch.zeros_like(difference_VV3[..., 0])
    for axis, b in enumerate(size):
        index_VV = index_VV * (2 * b - 1) + difference_VV3[..., axis] + b - 1
    return index_VV


# Patterns: the cuboids of a block, by name.


def _video_swin(t: int, h: int, w: int, p: int = 2, m: int = 4) -> list[Cuboid]:
    p, m = min(p, t), min(m, h, w)
    return [Cuboid((p, m, m)), Cuboid((p, m, m), shift=(p // 2, m // 2, m // 2))]


def _spatial_lg(t: int, h: int, w: int, m: int) -> list[Cuboid]:
    if h <= m and w <= m:
        return _divided_st(t, h, w)
    return [Cuboid((t, 1, 1)), Cuboid((1, m, m)), Cuboid((1, m, m), "ddd")]


def _axial_space_dilate(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    k = min(k, h, w)
    column, row = (1, h // k, 1), (1, 1, w // k)
    return [
        Cuboid((t, 1, 1)),
        *(Cuboid(column, "ddd"), Cuboid(column)),
        *(Cuboid(row, "ddd"), Cuboid(row)),
    ]


def _axial(t: int, h: int, w: int) -> list[Cuboid]:
    return [Cuboid((t, 1, 1)), Cuboid((1, h, 1)), Cuboid((1, 1, w))]


def _divided_st(t: int, h: int, w: int) -> list[Cuboid]:
    return [Cuboid((t, 1, 1)), Cuboid((1, h, w))]


def _full(t: int, h: int, w: int) -> list[Cuboid]:
    return [Cuboid((t, h, w))]


def _cross(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    k = min(k, h, w)
    return [Cuboid((t, k, k))]


def _cross_lg(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    (local,) = _cross(t, h, w, k)
    return [local, Cuboid(local.size, "ddd")]


def _cross_heter(t: int, h: int, w: int, k: int) -> list[Cuboid]:
    local, dilated = _cross_lg(t, h, w, k)
    half = local.size[1] // 2
    return [local, dilated, Cuboid(local.size, shift=(0, half, half))]


# A regular expression for the name (its groups are numbers) -> the cuboids on a level's (T, H, W).
SELF_PATTERNS: dict[str, Callable[..., list[Cuboid]]] = {
    r"axial": _axial,
    r"full": _full,
    r"divided_st": _divided_st,
    r"video_swin": _video_swin,
    r"video_swin_([1-9]\d*)x([1-9]\d*)": _video_swin,
    r"spatial_lg_([1-9]\d*)": _spatial_lg,
    r"axial_space_dilate_([1-9]\d*)": _axial_space_dilate,
}
CROSS_PATTERNS: dict[str, Callable[..., list[Cuboid]]] = {
    r"cross_([1-9]\d*)x\1": _cross,
    r"cross_([1-9]\d*)x\1_lg": _cross_lg,
    r"cross_([1-9]\d*)x\1_heter": _cross_heter,
}
PATTERN_NAMES = {
    "self": "axial, full, divided_st, video_swin, video_swin_PxM, spatial_lg_M, "
    "axial_space_dilate_K",
    "cross": "cross_KxK, cross_KxK_lg, cross_KxK_heter",
}


def self_pattern(name: str, shape_THW: Size) -> list[Cuboid]:
    """The cuboids of a self-attention block, one a layer.

    Parameters
    ----------
    name : str
        One of `PATTERN_NAMES["self"]`, the capitals standing for numbers.
    shape_THW : (T, H, W)
        The encoder's grid at this level.

    Raises
    ------
    ValueError
        When no pattern has this name.

    Examples
    --------
    >>> [cuboid.size for cuboid in self_pattern("axial", (12, 24, 24))]
    [(12, 1, 1), (1, 24, 1), (1, 1, 24)]
    """
    return _pattern("self", SELF_PATTERNS, name, shape_THW)


def cross_pattern(name: str, shape_THW: Size) -> list[Cuboid]:
    """The cuboids of a cross-attention block; each spans the whole of time.

    Examples
    --------
    >>> [(cuboid.size, cuboid.strategy) for cuboid in cross_pattern("cross_4x4_lg", (12, 24, 24))]
    [((12, 4, 4), 'lll'), ((12, 4, 4), 'ddd')]
    """
    return _pattern("cross", CROSS_PATTERNS, name, shape_THW)


def _pattern(kind: str, table: dict, name: str, shape_THW: Size) -> list[Cuboid]:
    for form, cuboids in table.items():
        if match := re.fullmatch(form, name):
            return cuboids(*shape_THW, *map(int, match.groups()))
    raise ValueError(
        f"expected the name of a {kind}-attention pattern, one of {PATTERN_NAMES[kind]} "
        f"(capitals stand for numbers), found {name!r}"
    )
