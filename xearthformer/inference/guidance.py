"""Guidance: steers the members of an ensemble towards a target while they are sampled.

A constraint sees the forecast and the context, never the truth. At every sampling step the gradient
of its distance from the target moves the noisy sample, member by member (Gao et al. 2023, section
3.3):

    mu <- mu - sigma_t strength grad || fn - target ||

This file knows torch, and no labels but the dims that `Frames` carries. Legend of the shape
suffixes: B batch (members), T time, H W space, h w the same in latent pixels, C channels.
"""

import hashlib
import inspect
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import mismatch, renamed
from ..models.prediff.prediff import Context, PreDiff
from ..models.prediff.samplers import Guide
from ..packs.card import Card, Climatology
from ..packs.scale import Scale

# (sample, t) to the distance from the target in each row, and whether the sample is the clean one.
Distance = tuple[Callable[[Tensor, int], Tensor], bool]

PAPER_STRENGTH = 50.0  # `guide_scale` of the published configuration


# --- the frames that a constraint sees


class LabelledArray(Protocol):
    """What a DataArray offers that `Frames` use."""

    @property
    def dims(self) -> tuple[Hashable, ...]: ...
    @property
    def coords(self) -> Mapping[Any, Any]: ...
    @property
    def values(self) -> np.ndarray: ...
    def sel(self, indexers: Mapping[Any, Any]) -> "LabelledArray": ...


@dataclass(frozen=True)
class Frames:
    """Differentiable frames with named dims, in the user's units: a forecast or its context.

    Reductions take names of dims. Arithmetic aligns dims by name, with numbers, tensors without
    dims, other `Frames`, and labelled arrays such as a DataArray.

    Attributes
    ----------
    values : Tensor
    dims : tuple of str
        "member", "lead" ("time" for the context), then the data's own dims of y and x.
    coords : mapping
        The labels of the spatial dims, where the data has some; labelled arrays are selected by
        them.

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
        """Return the mean over these dims."""
        return self._without(dims, lambda axes: self.values.mean(dim=axes))

    def sum(self, *dims: str) -> "Frames":
        """Return the sum over these dims."""
        return self._without(dims, lambda axes: self.values.sum(dim=axes))

    def max(self, *dims: str) -> "Frames":
        """Return the maximum over these dims."""
        return self._without(dims, lambda axes: self.values.amax(dim=axes))

    def isel(self, **positions: int) -> "Frames":
        """Select one position along each of these dims, which are dropped."""
        frames = self
        for dim, position in positions.items():
            (axis,) = frames._axes((dim,))
            picked = frames.values.select(axis, position)
            frames = replace(frames, values=picked, dims=_rest(frames.dims, (dim,)))
        return frames

    def clip(self, min: float | None = None, max: float | None = None) -> "Frames":
        """Limit values to [min, max]."""
        return replace(self, values=self.values.clamp(min, max))

    def weighted_mean(self, weights: "Operand", *dims: str) -> "Frames":
        """Return the mean over these dims, weighted by a mask, areas or any other operand."""
        ones = replace(self, values=torch.ones_like(self.values))
        return (self * weights).sum(*dims) / (ones * weights).sum(*dims)

    def __add__(self, other: "Operand") -> "Frames":
        return self._with(other, operator.add)

    def __sub__(self, other: "Operand") -> "Frames":
        return self._with(other, operator.sub)

    def __mul__(self, other: "Operand") -> "Frames":
        return self._with(other, operator.mul)

    def __truediv__(self, other: "Operand") -> "Frames":
        return self._with(other, operator.truediv)

    def _with(self, other: "Operand", operation: Callable[..., Tensor]) -> "Frames":
        if isinstance(other, Frames):
            values, dims = other.values, other.dims
        elif not hasattr(other, "dims"):
            return replace(self, values=operation(self.values, other))
        else:
            labelled = cast(LabelledArray, other)
            dims = tuple(map(str, labelled.dims))
            if bare := [dim for dim in dims if dim in self.coords.keys() - labelled.coords]:
                raise ValueError(
                    f"expected an array with labels along {bare}, as the data has, found none: "
                    'weights.assign_coords(y=da["y"], x=da["x"])'
                )
            labelled = labelled.sel({d: self.coords[d] for d in dims if d in self.coords})
            values = np.asarray(labelled.values, dtype=np.float32)
            values = torch.from_numpy(values).to(self.values)
        dims_all = self.dims + _rest(dims, self.dims)
        mine, others = (
            _spread(part, own, dims_all) for part, own in ((self.values, self.dims), (values, dims))
        )
        return replace(self, values=operation(mine, others), dims=dims_all)

    def _without(
        self, dims: tuple[str, ...], reduction: Callable[[tuple[int, ...]], Tensor]
    ) -> "Frames":
        return replace(self, values=reduction(self._axes(dims)), dims=_rest(self.dims, dims))

    def _axes(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        if unknown := [dim for dim in dims if dim not in self.dims]:
            raise ValueError(f"expected dims of {self.dims}, found {unknown}")
        return tuple(map(self.dims.index, dims))


def _rest(dims: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dim for dim in dims if dim not in dropped)


def _spread(values: Tensor, dims: tuple[str, ...], onto: tuple[str, ...]) -> Tensor:
    """Return a view with an axis for each dim of `onto`, of size 1 where the tensor has none."""
    order = [dims.index(dim) for dim in onto if dim in dims]
    axes = tuple(slice(None) if dim in dims else None for dim in onto)
    return values.permute(order)[axes]


# --- constraints

Operand: TypeAlias = Frames | LabelledArray | Tensor | float
Function = Callable[[Frames, Frames], Frames | Tensor]


@dataclass(frozen=True)
class AnticipatedIntensity:
    """See `anticipated_intensity`."""

    value: float | tuple[float, ...] | None
    sigmas: float | tuple[float, ...] | None
    strength: float


@dataclass(frozen=True)
class Constraint:
    """See `constraint`."""

    fn: Function
    target: float | tuple[float, ...]
    strength: float


Guidance = AnticipatedIntensity | Constraint


@renamed(scale="strength")
def anticipated_intensity(
    value: float | Sequence[float] | None = None,
    sigmas: float | Sequence[float] | None = None,
    strength: float = PAPER_STRENGTH,
) -> AnticipatedIntensity:
    """Steer forecasts towards a mean intensity, through the pack's alignment network.

    Give either `value` or `sigmas`.

    Parameters
    ----------
    value : float, or one per member
        Mean over the forecast frames and the domain, scaled as the network sees it (for SEVIR's
        bytes: a share of 255).
    sigmas : float, or one per member
        The same in standard deviations from the mean of the pack's climatology: 4 is very wet.
    strength : float
        How hard to pull. Default: 50, as the paper.

    Raises
    ------
    ValueError
        Both or neither of `value` and `sigmas`; a strength that is not above 0.

    Examples
    --------
    >>> anticipated_intensity(sigmas=[-4, 0, 4])
    AnticipatedIntensity(value=None, sigmas=(-4.0, 0.0, 4.0), strength=50.0)
    """
    if (value is None) == (sigmas is None):
        hint = "sigmas=+4" if value is None else "value=None"
        raise mismatch("one of value and sigmas", f"value={value!r}, sigmas={sigmas!r}", hint)
    level = None if value is None else _numbers("value", value)
    spread = None if sigmas is None else _numbers("sigmas", sigmas)
    return AnticipatedIntensity(level, spread, _positive(strength))


@renamed(scale="strength")
def constraint(
    fn: Function,
    target: float | Sequence[float] = 0.0,
    strength: float = PAPER_STRENGTH,
) -> Constraint:
    """Steer forecasts towards a target value of any differentiable function of theirs.

    Parameters
    ----------
    fn : (forecast, context) -> Frames or Tensor
        A differentiable function of two `Frames` in the data's units: the decoded forecast, as the
        current sampling step predicts it, and the frames before it. The result keeps "member" as
        its first dim; over its other dims the distance from the target is a Euclidean norm.
    target : float, or one per member
        For a function that returns by how much a bound is exceeded, 0.
    strength : float
        How hard to pull. Samplers that take fewer steps than DDPM never go further in one step than
        to where the target would be met if `fn` were linear.

    Raises
    ------
    TypeError
        `fn` is not callable.
    ValueError
        A strength that is not above 0.

    Examples
    --------
    Rain on a catchment; as much in total as in the last frame; at most 50 mm/h:

    >>> catchment = torch.ones(4, 4)
    >>> on_catchment = constraint(lambda fc, past: fc.mean("lead", "y", "x"), target=2.0)
    >>> conserved = constraint(
    ...     lambda fc, past: fc.mean("y", "x") - past.isel(time=-1).mean("y", "x"), strength=20
    ... )
    >>> bounded = constraint(lambda fc, past: (fc - 50).clip(min=0).sum("lead", "y", "x"))
    """
    if not callable(fn):
        raise TypeError(f"expected a function of forecast and context, found {fn!r}")
    return Constraint(fn, _numbers("target", target), _positive(strength))


def listed(guidance: Guidance | Sequence[Guidance] | None) -> tuple[Guidance, ...]:
    """Return guidance as a tuple of terms; anything else is an error."""
    if guidance is None:
        return ()
    terms = tuple(guidance) if isinstance(guidance, Sequence) else (guidance,)
    for term in terms:
        if not isinstance(term, AnticipatedIntensity | Constraint):
            words = mismatch(
                "guidance by xef.anticipated_intensity or xef.constraint, or a list of these",
                repr(term),
                "guidance=xef.anticipated_intensity(sigmas=+4)",
            )
            raise TypeError(str(words))
    return terms


def check(terms: tuple[Guidance, ...], card: Card, members: int) -> None:
    """Check that the pack can serve each term, and that targets are one, or one per member."""
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
    """Return a term in words, for the attribute `history` of a forecast.

    >>> describe(anticipated_intensity(sigmas=4))
    'anticipated_intensity(sigmas=4.0, strength=50.0)'
    """
    if isinstance(term, AnticipatedIntensity):
        name = "sigmas" if term.value is None else "value"
        return f"anticipated_intensity({name}={getattr(term, name)}, strength={term.strength})"
    fn = getattr(term.fn, "__qualname__", type(term.fn).__name__)
    return f"constraint({fn}, target={term.target}, strength={term.strength})"


def digest_of(fn: object) -> str:
    """Return a hash of what a function does: its code, and the values and functions it refers to.

    >>> one, other = (lambda fc, past: fc.sum("lead")), (lambda fc, past: fc.mean("lead"))
    >>> digest_of(one) == digest_of(other), digest_of(one) == digest_of(one)
    (False, True)
    """
    hashed = hashlib.sha256()
    _add(fn, hashed, set())
    return hashed.hexdigest()[:24]


def _add(value: object, hashed: "hashlib._Hash", seen: set[int]) -> None:
    """Add a value to a hash, and what it is made of."""
    if id(value) in seen:  # functions that call each other
        return
    hashed.update(type(value).__name__.encode())
    if isinstance(value, str | bytes | int | float | complex | None):
        hashed.update(repr(value).encode())
        return
    seen.add(id(value))
    parts: Sequence[object]
    if isinstance(value, CodeType):
        parts = [value.co_code, value.co_names, value.co_varnames, value.co_consts]
    elif isinstance(value, FunctionType):
        scope = inspect.getclosurevars(value)
        own = {**scope.globals, **scope.nonlocals}
        parts = [value.__code__, value.__defaults__, value.__kwdefaults__, own]
    elif isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, Mapping):
        parts = [part for key in sorted(value, key=str) for part in (key, value[key])]
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, ModuleType | type | BuiltinFunctionType):
        parts = [getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__)]
    elif isinstance(value, Tensor) or hasattr(value, "__array__"):
        values = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        parts = [str(values.dtype), values.shape, values.tobytes()]
    else:  # an object that can be called
        call = inspect.getattr_static(type(value), "__call__", None)
        parts = [call, getattr(value, "__dict__", {})]
    for part in parts:
        _add(part, hashed, seen)


def _numbers(name: str, target: float | Sequence[float]) -> float | tuple[float, ...]:
    values = np.asarray(target, dtype=np.float64)
    if values.ndim > 1 or not np.isfinite(values).all():
        raise mismatch(f"{name} as a finite number, or one per member", repr(target), f"{name}=1.0")
    return float(values) if values.ndim == 0 else tuple(values.tolist())


def _positive(strength: float) -> float:
    if not (np.isfinite(strength) and strength > 0):
        raise mismatch("a strength above 0", repr(strength), f"strength={PAPER_STRENGTH:g}")
    return float(strength)


# --- the hook of the sampler


@dataclass(frozen=True)
class Terms:
    """Guidance of one batch of members.

    Attributes
    ----------
    terms : tuple of Guidance
    members : list of int
        The member in each row of the batch.
    scale, climatology : from the card
    dims, coords : the data's names of y and x and their labels, for `Frames`
    """

    terms: tuple[Guidance, ...]
    members: list[int]
    scale: Scale
    climatology: Climatology | None
    dims: tuple[str, str]
    coords: Mapping[str, np.ndarray]


def guide(model: PreDiff, context: Context, terms: Terms) -> Guide | None:
    """Return the hook of `samplers.sample` for these terms; None without any.

    Each term is tried once: a constraint that is not differentiable, or whose result has another
    shape, is a ValueError before any sampling.
    """
    if not terms.terms:
        return None
    distances = [_distance(model, context, term, terms) for term in terms.terms]
    empty = context.z_BThwC.new_zeros(len(terms.members), *model.noise_shape(context))
    for distance in distances:
        _pull(distance, empty, 0, empty)

    def shift(z_B: Tensor, t: int, clean_B: Tensor, sigma: float, careful: bool) -> Tensor:
        total_B = torch.zeros_like(z_B)
        for distance, term in zip(distances, terms.terms, strict=True):
            value_B, gradient_B = _pull(distance, z_B, t, clean_B)
            size_B = torch.full_like(value_B, sigma * term.strength)
            if careful:  # one Newton step at most: few steps are long ones
                slope_B = gradient_B.flatten(1).square().sum(dim=1).clamp(min=1e-12)
                size_B = torch.minimum(size_B, value_B / slope_B)
            total_B = total_B - size_B.view(-1, *[1] * (z_B.ndim - 1)) * gradient_B
        return total_B

    return shift


def _pull(distance: Distance, z_B: Tensor, t: int, clean_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return a term's distance from its target in each row, and its gradient by the sample."""
    function, of_clean = distance
    with torch.enable_grad():  # sampling runs under no_grad
        at_B = (clean_B if of_clean else z_B).detach().requires_grad_()
        value_B = function(at_B, t)
        (gradient_B,) = torch.autograd.grad(value_B.sum(), at_B)
    return value_B.detach(), gradient_B


def _distance(model: PreDiff, context: Context, term: Guidance, terms: Terms) -> Distance:
    if isinstance(term, AnticipatedIntensity):
        target = np.asarray(term.value)
        if term.sigmas is not None:
            assert terms.climatology is not None  # by `check`
            mean, std = terms.climatology.mean, terms.climatology.std
            target = mean + std * np.asarray(term.sigmas)
        aim_B = _per_row(target, terms.members, context.z_BThwC)

        def intensity(z_B: Tensor, t: int) -> Tensor:
            intensity_BC = model.align(z_B, t).mean(dim=1)
            return torch.linalg.vector_norm(intensity_BC - aim_B[:, None], dim=1)

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
                f"fc.mean{frames.dims[1:]}, which keeps member",
            )
        if not values.requires_grad:
            raise mismatch(
                "a constraint that is differentiable",
                "an answer that doesn't depend on the forecast, or not by way of torch",
                "a function of fc by its own methods, or by torch's of fc.values",
            )
        values = values.flatten(1) if values.ndim > 1 else values[:, None]
        return torch.linalg.vector_norm(values - aim_B[:, None], dim=1)

    return of_forecast, True


def _per_row(
    target: float | tuple[float, ...] | np.ndarray, members: list[int], like: Tensor
) -> Tensor:
    """Return the target of each row, from one for all or one per member."""
    values = np.asarray(target, dtype=np.float64)
    rows = values[members] if values.ndim else np.full(len(members), values)
    return torch.from_numpy(rows).to(like)


def _frames(scaled_BTHW: Tensor, time_dim: str, terms: Terms) -> Frames:
    """Return scaled frames in the data's units."""
    return Frames(terms.scale.undo(scaled_BTHW), ("member", time_dim, *terms.dims), terms.coords)
