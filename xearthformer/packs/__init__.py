"""Packs: a model with its weights and a card that says what goes in and what comes out."""

import sys
import warnings
from types import ModuleType

from .pack import list_packs


class _CallableModule(ModuleType):
    """Let `xearthformer.packs()`, the name of `list_packs()` until 0.1, be called one version more.

    The module and the former function share a name: the module itself must be callable.
    """

    def __call__(self) -> dict[str, str]:
        warnings.warn("xef.packs() is now xef.list_packs()", FutureWarning, stacklevel=2)
        return list_packs()


sys.modules[__name__].__class__ = _CallableModule
