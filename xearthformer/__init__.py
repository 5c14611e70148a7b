"""xearthformer: Earthformer and PreDiff for labelled data.

Importing registers `da.earthformer` and `ds.earthformer`. The public names stand in `__init__.pyi`
and are loaded when they are first used: torch stays unloaded until a model is needed.
"""

import sys

if [*getattr(sys, "argv", ()), ""][0].endswith(("/xearthformer", "\\xearthformer.exe")):
    from .interrupted import say_so_while_loading

    say_so_while_loading()

import lazy_loader

from . import accessor as accessor

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
