"""xearthformer: Earthformer and PreDiff for labelled data.

Importing registers `da.earthformer` and `ds.earthformer`; torch stays unloaded until a model is
needed.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from . import accessor as accessor

__version__ = "0.1.0"

# Public name: the module that holds it, opened when the name is first used.
_HOME = {
    "forecast": "forecast",
    "hindcast": "hindcast",
    "set_options": "options",
    "train": "train",
    "Recipe": "train",
    "Pack": "packs",
    "PackError": "errors",
    "anticipated_intensity": "guidance",
    "constraint": "guidance",
    "Sampler": "models.samplers",
    "packs": "packs",
    "open_pack": "packs",
    "save_pack": "packs",
    "convert": "packs",
    "climatology": "climate",
    "anomaly": "climate",
    "index": "climate",
    "running_mean": "climate",
    "enso_skill": "scores",
    "verify": "verification",
    "synthetic_sst": "data.synthetic",
    "open_sevir": "data.sevir",
    "sevir_windows": "data.sevir",
    "to_sevir_lr": "data.vil",
    "vil_to_kg_m2": "data.vil",
    "kg_m2_to_vil": "data.vil",
    "vil_of_rain": "data.vil",
    "rain_of_vil": "data.vil",
    "open_icar_enso": "data.icar_enso",
    "synthetic_storms": "data.storms",
    "nbody": "data.nbody",
    "open_catalog": "catalogs",
    "open_radar": "data.radar",
    "extrapolate": "extrapolation",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Package(ModuleType):
    """Keeps `xearthformer.forecast` the function when the submodule of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
