"""How a refusal reads: what was expected, what was found, and the line that mends it."""

from __future__ import annotations

import functools
import reprlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError


P = ParamSpec("P")
R = TypeVar("R")


class PackError(ValueError):
    """A pack that can't be found, read or trusted."""


def mismatch(expected: str, found: str, hint: str) -> ValueError:
    """The error for data that can't be served: what was expected and found, the line to type.

    >>> print(mismatch("3 frames or more", "2", "a longer record"))
    expected 3 frames or more
       found 2
         try a longer record
    """
    return ValueError(f"expected {expected}\n   found {found}\n     try {hint}")


def problems(error: ValidationError) -> str:
    """What pydantic found wrong, in one line: each entry, why, and what stands there."""
    found = []
    for one in error.errors():
        place = ".".join(map(str, one["loc"])) or "card"
        given = "" if one["type"] == "missing" else f", found {reprlib.repr(one['input'])}"
        found.append(f"{place}: {one['msg']}{given}")
    return "; ".join(found)


def whole_number(name: str, value: object, least: int = 1, hint: str | None = None) -> int:
    """The value as an int; an error for anything but a whole number of at least `least`.

    >>> whole_number("batch_size", 8)
    8
    >>> whole_number("batch_size", 0, hint='batch_size="auto"')
    Traceback (most recent call last):
    ...
    ValueError: expected batch_size as a whole number from 1
       found 0
         try batch_size="auto"
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]
        raise mismatch(
            f"{name} as a whole number from {least}", repr(value), hint or f"{name}={least}"
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take arguments by their old names for one version, with a FutureWarning.

    >>> @renamed(scale="window")
    ... def verify(window): return window
    >>> verify(window=16)
    16
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old in kwargs:
                    words = f"{function.__name__}: the argument {old!r} is now {new!r}"
                    warnings.warn(words, FutureWarning, stacklevel=2)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate
