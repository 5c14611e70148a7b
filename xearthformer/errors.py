"""How a refusal reads: what was expected, what was found, and the line that mends it."""


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
