"""Errors that say what was expected, what was found, and the line that mends it."""

from __future__ import annotations

import difflib
import functools
import operator
import reprlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from pydantic import ValidationError


FILTERS = threading.RLock()  # of warnings
SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)  # warnings of a call
# Names of modules between the user's line and a warning: torch and contextlib where they decorate.
BETWEEN = "xearthformer", "torch.", "contextlib"
P = ParamSpec("P")
R = TypeVar("R")


class PackError(ValueError):
    """A pack that cannot be found, read or trusted.

    Examples
    --------
    >>> import xearthformer as xef
    >>> try:
    ...     xef.open_pack("limm")
    ... except xef.PackError as error:
    ...     print(error)
    no pack 'limm': expected one of ..., did you mean 'lim'?
    """


def mismatch(expected: str, found: str, hint: str) -> ValueError:
    """Return the error for input that cannot be served.

    >>> print(mismatch("3 frames or more", "2", "a longer record"))
    expected 3 frames or more
       found 2
         try a longer record
    """
    return ValueError(f"expected {expected}\n   found {found}\n     try {hint}")


def printable(text: str) -> str:
    r"""Return text with its control characters as escapes: a terminal would obey them.

    >>> print(printable("red from here \033[31m"))
    red from here \x1b[31m
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return the most similar of the names as a question to put after one that isn't there.

    >>> did_you_mean("limm", ["lim", "unet"]), did_you_mean("dance", ["lim", "unet"])
    (", did you mean 'lim'?", '')
    """
    near = difflib.get_close_matches(str(name)[:100], names, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def problems(error: ValidationError, names: Iterable[str] = ()) -> str:
    """Return what pydantic found wrong, in one line: each entry, the reason, the value.

    An entry that isn't known is asked whether one of the names is meant.
    """
    found = []
    for one in error.errors():
        place = printable(".".join(map(str, one["loc"]))) or "card"
        # our own words say what was found
        told = one["type"].startswith(("missing", "value_error"))
        given = "" if told else f", found {reprlib.repr(one['input'])}"
        last = one["loc"][-1] if one["loc"] else ""  # of an entry in an entry
        meant = did_you_mean(last, names) if one["type"].startswith("unexpected") else ""
        found.append(f"{place}: {one['msg'].removeprefix('Value error, ')}{given}{meant}")
    return "; ".join(found)


def whole_number(name: str, value: object, least: int = 1, hint: str | None = None) -> int:
    """Return the value as an int; an error for anything but a whole number of at least `least`.

    >>> whole_number("batch_size", 8)
    8
    >>> whole_number("batch_size", 0, hint='batch_size="auto"')
    Traceback (most recent call last):
    ...
    ValueError: expected batch_size as a whole number from 1
       found 0
         try batch_size="auto"
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    # True is a whole number for Python, but no number of members
    if isinstance(value, bool) or number < least:
        raise mismatch(
            f"{name} as a whole number from {least}", repr(value), hint or f"{name}={least}"
        )
    return number


def is_number(value: object) -> bool:
    """Return whether a value is a real number: True and durations are, for Python and NumPy.

    >>> is_number(np.float32(0.5)), is_number("0.5"), is_number(True)
    (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool | np.timedelta64)


@contextmanager
def ignored(message: str = "", category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings that are raised in here.

    Filters belong to all threads. One at a time changes them: of two, one would put back the
    filters that the other had set, for good.
    """
    with FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield


@contextmanager
def said_once(said: set[str]) -> Iterator[None]:
    """Warn of the same once, in here and where else this set is given; an outer one goes first.

    Python's own filters see to that no longer once NumPy, xarray or dask have changed any.
    """
    token = SAID.set(said) if SAID.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            SAID.reset(token)


def warn(words: str) -> None:
    """Warn the user, at the line of theirs that called this package, however deep it was called."""
    said = SAID.get()
    if said is not None and words in said:
        return
    if said is not None:
        said.add(words)
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(BETWEEN):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(words, UserWarning, stacklevel=level)


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
                if old in kwargs and new in kwargs:
                    raise TypeError(f"{function.__name__}: {old!r} is {new!r} now: give one")
                if old in kwargs:
                    words = f"{function.__name__}: the argument {old!r} is now {new!r}"
                    warnings.warn(words, FutureWarning, stacklevel=2)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate
