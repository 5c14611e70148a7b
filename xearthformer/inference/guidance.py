"""Guidance: what an ensemble is told to be, beside what its network has learnt.

A constraint sees the forecast and the context, never the truth. At every step of the sampler its
distance from a target, member by member, moves the noisy sample (Gao et al. 2023, section 3.3):

    mu <- mu - sigma_t scale grad || fn - target ||

It knows torch and no labels but the dims that `Frames` carries. Legend of the shape suffixes:
B batch (members), T time, H W space, h w the same in latent pixels, C channels.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import mismatch
from ..models.prediff.prediff import Context, PreDiff
from ..models.prediff.samplers import Guide
from ..packs.card import Card, Climatology
from ..packs.scale import Scale

PAPER_SCALE = 50.0


# --- what a constraint sees


@dataclass(frozen=True)
class Frames:
    """Differentiable frames labelled by dims, in the user's units: a forecast, or its context.

    Sums and the like take the names of dims; arithmetic aligns dims by name, with numbers, tensors
    without dims, other `Frames`, and labelled arrays such as a DataArray.

    Attributes
    ----------
    values : Tensor
    dims : tuple of str
        "member", "lead" (of the context "time"), then the data's own dims of y and x.
    coords : mapping
        The labels of the spatial dims, where the data has some; a labelled array is read by them.

    Examples
    --------
    >>> rain = Frames(torch.ones(2, 3, 4, 4), ("member", "lead", "y", "x"), {})
    >>> rain.mean("lead", "y", "x").values
    tensor([1., 1.])
    >>> ((rain - 0.5) * 2).isel(lead=-1).sum("y", "x").values
    tensor([16., 16.])
    """

    values: Tensor
    dims: tuple[str, ...]
    coords: Mapping[str, np.ndarray]

    def mean(self, *dims: str) -> "Frames":
        """The mean over these dims."""
        return self._without(dims, lambda axes: self.values.mean(dim=axes))

    def sum(self, *dims: str) -> "Frames":
        """The sum over these dims."""
        return self._without(dims, lambda axes: self.values.sum(dim=axes))

    def max(self, *dims: str) -> "Frames":
        """The maximum over these dims."""
        return self._without(dims, lambda axes: self.values.amax(dim=axes))

    def isel(self, **positions: int) -> "Frames":
        """At a position along each of these dims, which are gone then."""
        frames = self
        for dim, position in positions.items():
            (axis,) = frames._axes((dim,))
            picked = frames.values.select(axis, position)
            frames = replace(frames, values=picked, dims=_rest(frames.dims, (dim,)))
        return frames

    def clip(self, min: float | None = None, max: float | None = None) -> "Frames":
        """Values below `min` or above `max` replaced by them."""
        return replace(self, values=self.values.clamp(min, max))

    def weighted_mean(self, weights: Any, *dims: str) -> "Frames":
        """The mean over these dims by weights: a mask, or areas, as arithmetic takes them."""
        ones = replace(self, values=torch.ones_like(self.values))
        return (self * weights).sum(*dims) / (ones * weights).sum(*dims)

    def __add__(self, other: Any) -> "Frames":
        return self._with(other, operator.add)

    def __sub__(self, other: Any) -> "Frames":
        return self._with(other, operator.sub)

    def __mul__(self, other: Any) -> "Frames":
        return self._with(other, operator.mul)

    def __truediv__(self, other: Any) -> "Frames":
        return self._with(other, operator.truediv)

    def _with(self, other: Any, how: Callable[[Any, Any], Tensor]) -> "Frames":
        if isinstance(other, Frames):
            values, dims = other.values, other.dims
        elif hasattr(other, "dims"):
            if bare := [dim for dim in other.dims if dim in self.coords.keys() - other.coords]:
                raise ValueError(
                    f"expected an array with labels along {bare}, as the data has, found none: "
                    'weights.assign_coords(y=da["y"], x=da["x"])'
                )
            other = other.sel({d: self.coords[d] for d in other.dims if d in self.coords})
            values = torch.from_numpy(np.asarray(other.values, dtype=np.float32)).to(self.values)
            dims = tuple(map(str, other.dims))
        else:
            return replace(self, values=how(self.values, other))
        dims_all = self.dims + _rest(dims, self.dims)
        mine, others = (
            _spread(part, own, dims_all) for part, own in ((self.values, self.dims), (values, dims))
        )
        return replace(self, values=how(mine, others), dims=dims_all)

    def _without(self, dims: tuple[str, ...], how: Callable[[tuple[int, ...]], Tensor]) -> "Frames":
        return replace(self, values=how(self._axes(dims)), dims=_rest(self.dims, dims))

    def _axes(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        if unknown := [dim for dim in dims if dim not in self.dims]:
            raise ValueError(f"expected dims of {self.dims}, found {unknown}")
        return tuple(map(self.dims.index, dims))


def _rest(dims: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dim for dim in dims if dim not in gone)


def _spread(values: Tensor, dims: tuple[str, ...], onto: tuple[str, ...]) -> Tensor:
    """A tensor with a place for each of the dims `onto`, of size 1 where it has none of its own."""
    order = [dims.index(dim) for dim in onto if dim in dims]
    places = tuple(slice(None) if dim in dims else None for dim in onto)
    return values.permute(order)[places]


# --- constraints


@dataclass(frozen=True)
class AnticipatedIntensity:
    """See `anticipated_intensity`."""

    value: float | tuple[float, ...] | None
    sigmas: float | tuple[float, ...] | None
    scale: float


@dataclass(frozen=True)
class Constraint:
    """See `constraint`."""

    fn: Callable[[Frames, Frames], Any]
    target: float | tuple[float, ...]
    scale: float


Guidance = AnticipatedIntensity | Constraint


def anticipated_intensity(
    value: float | Sequence[float] | None = None,
    sigmas: float | Sequence[float] | None = None,
    scale: float = PAPER_SCALE,
) -> AnticipatedIntensity:
    """Ask for forecasts of this mean intensity, by the pack's alignment network.

    Parameters
    ----------
    value : float, or one a member
        Mean over the frames to come and the domain, scaled as the network sees it (of SEVIR's
        bytes: a share of 255).
    sigmas : float, or one a member
        The same in standard deviations from the mean of the pack's climatology: 4 is very wet.
        One of `value` and `sigmas`.
    scale : float
        How hard to pull; the paper's is 50 (`guide_scale` of the published configuration).

    Raises
    ------
    ValueError
        Both or none of `value` and `sigmas`; a scale that isn't above 0.

    Examples
    --------
    >>> anticipated_intensity(sigmas=[-4, 0, 4])
    AnticipatedIntensity(value=None, sigmas=(-4.0, 0.0, 4.0), scale=50.0)
    """
    if (value is None) == (sigmas is None):
        raise mismatch(
            "one of value and sigmas", f"value={value!r}, sigmas={sigmas!r}", "sigmas=+4"
        )
    level = None if value is None else _numbers("value", value)
    spread = None if sigmas is None else _numbers("sigmas", sigmas)
    return AnticipatedIntensity(level, spread, _scale(scale))


def constraint(
    fn: Callable[[Frames, Frames], Any],
    target: float | Sequence[float] = 0.0,
    scale: float = PAPER_SCALE,
) -> Constraint:
    """Ask for forecasts of which a function of your own is near a target.

    Parameters
    ----------
    fn : (forecast, context) -> Frames or Tensor
        Differentiable; of the decoded forecast, as the step at hand predicts it, and of the frames
        before it: `Frames` in the data's units. The answer keeps "member", as its first dim; over
        what other dims it has, the distance from the target is a Euclidean norm.
    target : float, or one a member
        Zero of a function that says by how much a bound is broken.
    scale : float
        How hard to pull. The samplers that take fewer steps than DDPM never go further in a step
        than to where the target would be met if `fn` were linear.

    Raises
    ------
    TypeError
        `fn` can't be called.
    ValueError
        A scale that isn't above 0.

    Examples
    --------
    As much rain on a catchment; as much in all as in the last frame; at most 50 mm/h:

    >>> catchment = torch.ones(4, 4)
    >>> on_it = constraint(lambda fc, past: fc.mean("lead", "y", "x"), target=2.0)
    >>> kept = constraint(
    ...     lambda fc, past: fc.mean("y", "x") - past.isel(time=-1).mean("y", "x"), scale=20
    ... )
    >>> bounded = constraint(lambda fc, past: (fc - 50).clip(min=0).sum("lead", "y", "x"))
    """
    if not callable(fn):
        raise TypeError(f"expected a function of forecast and context, found {fn!r}")
    return Constraint(fn, _numbers("target", target), _scale(scale))


def listed(guidance: Guidance | Sequence[Guidance] | None) -> tuple[Guidance, ...]:
    """Guidance as it may be given, as a tuple; what isn't guidance is an error."""
    if guidance is None:
        return ()
    one = isinstance(guidance, AnticipatedIntensity | Constraint) or not isinstance(
        guidance, Sequence
    )
    terms: tuple[Guidance, ...] = (guidance,) if one else tuple(guidance)  # type: ignore
    for term in terms:
        if not isinstance(term, AnticipatedIntensity | Constraint):
            raise TypeError(
                str(
                    mismatch(
                        "guidance as xef.anticipated_intensity(...), xef.constraint(...), or a "
                        "list of these",
                        repr(term),
                        "guidance=xef.anticipated_intensity(sigmas=+4)",
                    )
                )
            )
    return terms


def check(terms: tuple[Guidance, ...], card: Card, members: int) -> None:
    """See that the pack can serve each term, and that targets are one, or one a member."""
    for term in terms:
        for values in _targets(term):
            if isinstance(values, tuple) and len(values) != members:
                raise mismatch(
                    f"one target, or one for each of {members} members",
                    f"{len(values)}",
                    f"members={len(values)}",
                )
        if isinstance(term, AnticipatedIntensity):
            if card.model.config.get("alignment") is None:
                raise mismatch(
                    "a pack with an alignment network", f"none in {card.name!r}", "guidance=None"
                )
            if term.sigmas is not None and card.climatology is None:
                raise mismatch(
                    "a pack whose card has the climatology that sigmas count from",
                    f"none in {card.name!r}",
                    "xef.anticipated_intensity(value=...)",
                )


def _targets(term: Guidance) -> tuple[float | tuple[float, ...] | None, ...]:
    return (term.target,) if isinstance(term, Constraint) else (term.value, term.sigmas)


def describe(term: Guidance) -> str:
    """A term in words, for the history of a forecast.

    >>> describe(anticipated_intensity(sigmas=4))
    'anticipated_intensity(sigmas=4.0, scale=50.0)'
    """
    if isinstance(term, AnticipatedIntensity):
        name = "sigmas" if term.value is None else "value"
        return f"anticipated_intensity({name}={getattr(term, name)}, scale={term.scale})"
    fn = getattr(term.fn, "__qualname__", type(term.fn).__name__)
    return f"constraint({fn}, target={term.target}, scale={term.scale})"


def _numbers(name: str, said: float | Sequence[float]) -> float | tuple[float, ...]:
    values = np.asarray(said, dtype=np.float64)
    if values.ndim > 1 or not np.isfinite(values).all():
        raise mismatch(f"{name} as a finite number, or one a member", repr(said), f"{name}=1.0")
    return float(values) if values.ndim == 0 else tuple(values.tolist())


def _scale(scale: float) -> float:
    if not (np.isfinite(scale) and scale > 0):
        raise mismatch("a scale above 0", repr(scale), f"scale={PAPER_SCALE:g}")
    return float(scale)


# --- what the sampler is given


@dataclass(frozen=True)
class Terms:
    """Guidance for some members of one batch, ready for `guide`.

    Attributes
    ----------
    terms : tuple of Guidance
    members : list of int
        The member in each row of the batch.
    scale, climatology
        The card's.
    dims, coords
        Of `Frames`: the data's names of y and x, and their labels.
    """

    terms: tuple[Guidance, ...]
    members: list[int]
    scale: Scale
    climatology: Climatology | None
    dims: tuple[str, str]
    coords: Mapping[str, np.ndarray]


def guide(model: PreDiff, context: Context, terms: Terms) -> Guide | None:
    """The hook of `samplers.sample` for these terms; None without any.

    Raises
    ------
    ValueError
        A constraint that isn't differentiable, or whose answer has another shape: found out by
        trying it, before any sampling.
    """
    if not terms.terms:
        return None
    parts = [_distance(model, context, term, terms) for term in terms.terms]
    empty = context.z_BThwC.new_zeros(len(terms.members), *model.noise_shape(context))
    for distance in parts:
        _pull(distance, empty, 0, empty)

    def shift(z_B: Tensor, t: int, clean_B: Tensor, strength: float, careful: bool) -> Tensor:
        total_B = torch.zeros_like(z_B)
        for distance, term in zip(parts, terms.terms, strict=True):
            value_B, gradient_B = _pull(distance, z_B, t, clean_B)
            size_B = torch.full_like(value_B, strength * term.scale)
            if careful:
                slope_B = gradient_B.flatten(1).square().sum(dim=1).clamp(min=1e-12)
                size_B = torch.minimum(size_B, value_B / slope_B)
            total_B = total_B - size_B.view(-1, *[1] * (z_B.ndim - 1)) * gradient_B
        return total_B

    return shift


def _pull(distance: Any, z_B: Tensor, t: int, clean_B: Tensor) -> tuple[Tensor, Tensor]:
    """A term's distance from its target in each row, and how it changes with the sample."""
    of, at_clean = distance
    with torch.enable_grad():
        at_B = (clean_B if at_clean else z_B).detach().requires_grad_()
        value_B = of(at_B, t)
        (gradient_B,) = torch.autograd.grad(value_B.sum(), at_B)
    return value_B.detach(), gradient_B


def _distance(
    model: PreDiff, context: Context, term: Guidance, terms: Terms
) -> tuple[Callable[[Tensor, int], Tensor], bool]:
    """(sample, t) to the distance in each row (B,); and whether it is of the clean sample."""
    if isinstance(term, AnticipatedIntensity):
        target: Any = term.value
        if term.sigmas is not None:
            assert terms.climatology is not None  # by `check`
            mean, std = terms.climatology.mean, terms.climatology.std
            target = mean + std * np.asarray(term.sigmas)
        aim_B = _per_row(target, terms.members, context.z_BThwC)

        def intensity(z_B: Tensor, t: int) -> Tensor:
            answer_BC = model.align(z_B, t).mean(dim=1)
            return torch.linalg.vector_norm(answer_BC - aim_B[:, None], dim=1)

        return intensity, False
    aim_B = _per_row(term.target, terms.members, context.z_BThwC)
    past = _frames(context.frames_BTHW, "time", terms)

    def of_forecast(clean_B: Tensor, t: int) -> Tensor:
        frames = _frames(model.decode(clean_B, context)[..., 0], "lead", terms)
        answer = term.fn(frames, past)
        values = answer.values if isinstance(answer, Frames) else answer
        first = answer.dims[:1] if isinstance(answer, Frames) else ("member",)
        rows = len(terms.members)
        if not isinstance(values, Tensor) or values.shape[:1] != (rows,) or first != ("member",):
            found = getattr(answer, "dims", type(answer).__name__)
            raise mismatch(
                f"a constraint whose answer has `member` as its first dim, of size {rows}",
                f"{found}, of shape {tuple(getattr(values, 'shape', ()))}",
                'fc.mean("lead", "y", "x"), which keeps member',
            )
        if not values.requires_grad:
            raise mismatch(
                "a constraint that is differentiable",
                "an answer that doesn't depend on the forecast, or not by way of torch",
                "a function of fc by its own methods, or by torch's of fc.values",
            )
        off = values.flatten(1) if values.ndim > 1 else values[:, None]
        return torch.linalg.vector_norm(off - aim_B[:, None], dim=1)

    return of_forecast, True


def _per_row(target: Any, members: list[int], like: Tensor) -> Tensor:
    """A target, or one a member, as one a row."""
    values = np.asarray(target, dtype=np.float64)
    rows = values[members] if values.ndim else np.full(len(members), values)
    return torch.from_numpy(rows).to(like)


def _frames(scaled_BTHW: Tensor, step: str, terms: Terms) -> Frames:
    """Scaled frames in the data's units."""
    levels = scaled_BTHW * terms.scale.factor + terms.scale.offset
    if (floor := terms.scale.floor) is not None:
        levels = torch.where(levels > 0, floor * 10 ** (levels / 10), 0.0)
    return Frames(levels, ("member", step, *terms.dims), terms.coords)
