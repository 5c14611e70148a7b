"""Modules of other packages loaded once more, to run with other names in them.

Some seed NumPy's global generator, print, or warn. To put such state back afterwards fails in
threads: one restores what another has set. A copy of the module finds what it needs in itself.
"""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType
from typing import Any

import numpy as np


class NumPy:
    """`numpy`, with another module `random`."""

    def __init__(self, random: Any) -> None:
        self.random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def found(name: str) -> tuple[ModuleType, Any]:
    """Return an empty module of this name, and the function that fills it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module {name}")
    module = importlib.util.module_from_spec(spec)
    return module, functools.partial(spec.loader.exec_module, module)
