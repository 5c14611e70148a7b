"""Methods of pysteps, so that they leave the process as it is.

pysteps prints, warns, seeds NumPy's global generator (though it draws from generators of its own),
and uses whatever scheduler of dask is set. Here its modules are loaded a second time, next to its
own, with other names in them.
"""

from __future__ import annotations

import functools
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..errors import ignored
from .copies import NumPy, found

IMPORTING = threading.Lock()


class _Random:
    """`numpy.random`, without a seed for all."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np.random, name)

    def seed(self, seed: object = None) -> None:
        """Do nothing: no number is drawn from the global generator."""


def _say_nothing(*_: object, **__: object) -> None:
    """Stand in for `print` and `warn`."""


NAMES = {
    "np": NumPy(_Random()),
    "print": _say_nothing,
    "warnings": SimpleNamespace(warn=_say_nothing),
    "DASK_IMPORTED": False,
}


def load_quietly() -> None:
    """Import pysteps, without its greeting and its filter of everybody's RuntimeWarnings."""
    with IMPORTING:
        if "pysteps" in sys.modules:
            return
        module, run = found("pysteps")
        vars(module)["print"] = _say_nothing
        sys.modules["pysteps"] = module
        try:
            with ignored():
                run()
        except BaseException:
            del sys.modules["pysteps"]
            raise
        del vars(module)["print"]


@functools.cache
def load_methods(names: tuple[str, ...]) -> dict[str, Any]:
    """Return functions of pysteps: `flow` (Lucas-Kanade), and nowcasts of these names."""
    flow = _copy("motion.lucaskanade", _copy("utils.cleansing")).dense_lucaskanade
    shared = _copy("nowcasts.utils"), _copy("utils.check_norain")
    return {"flow": flow} | {name: _copy(f"nowcasts.{name}", *shared).forecast for name in names}


def _copy(name: str, *others: ModuleType) -> Any:
    """Return a module of pysteps as a copy, that uses other copies in place of the originals."""
    module, run = found(f"pysteps.{name}")
    run()
    own = vars(module)
    for other in others:
        original = sys.modules[other.__name__]
        for key, value in [*own.items()]:
            if value is original:
                own[key] = other
            elif callable(value) and value is vars(original).get(key):
                own[key] = vars(other)[key]
    own.update(NAMES)
    return module
