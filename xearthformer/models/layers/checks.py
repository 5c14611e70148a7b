"""Checks of the values in a model's config; each error names the field and shows the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields

from torch.overrides import TorchFunctionMode

from ...errors import did_you_mean

LARGEST = 1_000_000  # in a configuration: a side, a width, a number of layers or of frames


def lists_to_tuples(config: object) -> None:
    """Make tuples of a frozen config's lists: JSON has lists only, and a config is hashed."""
    for field in fields(config):
        if isinstance(value := getattr(config, field.name), list):
            object.__setattr__(config, field.name, tuple(value))


def expect_one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise a ValueError unless `value` is one of `allowed`."""
    if value not in (allowed := tuple(allowed)):
        raise ValueError(f"expected {name} to be one of {allowed}, found {value!r}")


def expect_counts(name: str, values: object, length: int | None = None) -> None:
    """Raise a ValueError unless `values` is a tuple of whole numbers >= 1, of this length."""
    fits = isinstance(values, tuple) and len(values) == (length or len(values) or 1)
    # True, a "yes" of a file of settings, is a whole number for Python
    if not fits or not all(type(value) is int and value >= 1 for value in values):
        many = f"{length} " if length else ""
        raise ValueError(f"expected {name} to be {many}whole numbers from 1 on, found {values!r}")


def expect_fields(kind: type, values: Mapping[str, object]) -> None:
    """Raise a ValueError unless `values` can fill the dataclass `kind`."""
    names = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in names]:
        found = f"{unknown}{did_you_mean(unknown[0], names)}"
        raise ValueError(f"expected fields of {kind.__name__}, {names}, found {found}")
    # a field without a default has MISSING in both places
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"expected {needed} for a {kind.__name__}, missing: {missing}")


def expect_small(name: str, part: object) -> None:
    """Raise a ValueError for a whole number in a configuration that no network could have."""
    if isinstance(part, int) and abs(part) > LARGEST:
        raise ValueError(f"expected numbers of at most {LARGEST} in {name}, found {part:.3g}")
    parts = part.values() if isinstance(part, Mapping) else part
    for one in parts if isinstance(parts, Iterable) and not isinstance(parts, str) else ():
        expect_small(name, one)


class Steps(TorchFunctionMode):
    """Raises a ValueError after so many calls of torch, by this thread."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple = (), kwargs: object = None
    ) -> object:
        self.left -= 1
        if self.left < 0:
            raise ValueError("expected a configuration of as many layers as weights, found more")
        return func(*args, **(kwargs or {}))
