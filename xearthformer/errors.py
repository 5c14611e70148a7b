"""How a refusal reads: what was expected, what was found, and the line that mends it."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class PackError(ValueError):
    """A pack that can't be found, read or trusted."""


def mismatch(expected: str, found: str, mend: str) -> ValueError:
    """The error for data that can't be served: what was expected and found, the line to type.

    >>> print(mismatch("3 frames or more", "2", "a longer record"))
    expected 3 frames or more
       found 2
         try a longer record
    """
    return ValueError(f"expected {expected}\n   found {found}\n     try {mend}")


def problems(error: ValidationError) -> str:
    """What pydantic found wrong, in one line: each entry, why, and what stands there."""
    found = []
    for one in error.errors():
        place = ".".join(map(str, one["loc"])) or "card"
        given = "" if one["type"] == "missing" else f", found {reprlib.repr(one['input'])}"
        found.append(f"{place}: {one['msg']}{given}")
    return "; ".join(found)
