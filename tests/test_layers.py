"""The import rules of the house, read from the source: imports go down, torch keeps to its wing."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xearthformer"

# The house, bottom up: (tensor wing, labelled wing). A name is a file or a folder of the package.
# From row 4 up both wings are in sight, so that the columns end there.
ROWS = [
    (
        {"models"},
        {
            "axes",
            "cf",
            "climate",
            "options",
            "regions",
            "scale",
            "errors",
            "lock",
            "steps",
            "stores",
            "units",
        },
    ),
    ({"tensors"}, {"windows", "grid", "tiles"}),
    (
        {"engine", "guidance", "loop", "crops", "latents", "packs", "cards", "recipe", "stopwatch"},
        {
            "admission",
            "catalogs",
            "coastlines",
            "data",
            "ensemble_scores",
            "ensemble_sums",
            "enso_scores",
            "frame_sums",
            "ledger",
            "moments",
            "plot",
            "plot_ensemble",
            "plot_nowcast",
            "scores",
            "spectra",
            "verification",
        },
    ),
    (
        {
            "comparison",
            "extrapolation",
            "forecast",
            "hindcast",
            "jobs",
            "records",
            "tables",
            "train",
            "training_files",
            "training_parts",
            "training_table",
        },
        set(),
    ),
    ({"accessor"}, set()),
    ({"cli", "demo", "files", "score_commands"}, set()),
]
PLACE = {
    name: (row, column)
    for row, columns in enumerate(ROWS, start=1)
    for column, names in enumerate(columns)
    for name in names
}
WINGS = 3  # rows that stand in one wing alone
LABELLED = 1

# What a part of the house may not import at all, not even inside a function.
TORCH = {"torch", "torchmetrics", "lightning", "pytorch_lightning", "safetensors.torch"}
LABELS = {"xarray", "xbatcher", "cf_xarray", "xarray_regrid"}
FORBIDDEN = {
    **{name: TORCH for _, labelled in ROWS for name in labelled},
    "accessor": TORCH,
    "cards": TORCH,
    "cli": TORCH,
    "demo": TORCH,
    "files": TORCH,
    "ensemble_sums": TORCH | LABELS,
    "frame_sums": TORCH | LABELS,
    "score_commands": TORCH,
    "spectra": TORCH | LABELS,
    "models": LABELS | {"pandas", "dask"},
    "engine": LABELS,
    "loop": LABELS,
    "packs": LABELS,
    "recipe": TORCH | LABELS,
    "stopwatch": LABELS,
    "errors": TORCH | LABELS,
    "scale": TORCH | LABELS,
}
# What a part may import inside a function only: opening the file loads none of it.
LAZY = {
    "__init__": TORCH | {"xarray", "pandas", "dask"},
    "accessor": {name for name, (row, _) in PLACE.items() if row <= 4},
    "packs": TORCH | {"models"},
}
# Files of the tensor wing that load no torch when opened: the labelled wing may import these.
TORCH_FREE = {"packs", "cards"}
# Files of the labelled wing that know no label: the tensor wing may import these.
LABEL_FREE = {"errors", "scale"}


@dataclass(frozen=True)
class Import:
    """One imported name: a part of this package ("cf"), or another module ("torch.nn")."""

    name: str
    ours: bool
    line: int
    lazy: bool  # inside a function, or for type checkers only


def imports(source: str, package: tuple[str, ...]) -> list[Import]:
    """List what a file imports; `package` is the dotted place of its folder, as a tuple."""
    found: list[Import] = []

    def note(dotted: str, line: int, lazy: bool) -> None:
        parts = dotted.split(".")
        if parts[0] != PACKAGE.name:
            found.append(Import(dotted, False, line, lazy))
        elif len(parts) > 1 and parts[1] != "__version__":
            found.append(Import(parts[1], True, line, lazy))

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from . import cf` names files, and so does `from safetensors import torch`
            for alias in node.names:
                note(f"{base}.{alias.name}", node.lineno, lazy)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                note(str(name.value), node.lineno, lazy)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            visit(child, lazy)

    visit(ast.parse(source), False)
    return found


def among(name: str, names: set[str]) -> bool:
    """Say whether a dotted name is one of `names`, or inside one."""
    return any(name == known or name.startswith(f"{known}.") for known in names)


def upwards(part: str, target: str) -> str | None:
    """Return what is wrong with part importing target, both parts of the house, or None."""
    if target not in PLACE:
        return f"{target} has no place in the house: give it one in ROWS"
    (row, column), (target_row, target_column) = PLACE[part], PLACE[target]
    if target_row > row:
        return f"row {row} imports {target} of row {target_row}: imports go down"
    if row > WINGS or target_column == column:
        return None
    if column != LABELLED and target not in LABEL_FREE:
        return f"the tensor wing imports {target} of the labelled wing"
    if column == LABELLED and target not in TORCH_FREE:
        return f"the labelled wing imports {target}, which loads torch"
    return None


def violations(part: str, source: str, package: tuple[str, ...] = (PACKAGE.name,)) -> list[str]:
    """Return every broken rule in one file of `part`, with its line."""
    if part not in PLACE and part != "__init__":
        return [f"{part} has no place in the house: give it one in ROWS"]
    broken = []
    for found in imports(source, package):
        wrong = None
        if found.ours and part != "__init__" and found.name != part:
            wrong = upwards(part, found.name)
        elif not found.ours and among(found.name, FORBIDDEN.get(part, set())):
            wrong = f"imports {found.name}, which has no business here"
        if wrong is None and not found.lazy and among(found.name, LAZY.get(part, set())):
            wrong = f"imports {found.name} when opened: do it inside the function that needs it"
        if wrong:
            broken.append(f"{part}, line {found.line}: {wrong}")
    return broken


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    folders = path.relative_to(PACKAGE).parts[:-1]
    part = folders[0] if folders else path.stem
    assert violations(part, path.read_text(), (PACKAGE.name, *folders)) == []


def test_there_is_a_house():
    assert len(FILES) > 10


@pytest.mark.parametrize(
    ("part", "source", "words"),
    [
        ("cf", "import torch", "torch, which has no business"),
        ("climate", "def f():\n    from torch import nn", "line 2: imports torch.nn"),
        ("data", "import importlib\nimportlib.import_module('torch')", "line 2: imports torch"),
        ("scores", "from safetensors import torch", "safetensors.torch"),
        ("cf", "from .windows import cut", "row 1 imports windows of row 2"),
        ("cf", "from . import __version__, grid", "row 1 imports grid"),
        ("grid", "def f():\n    from .tensors import to_tensor", "tensors, which loads torch"),
        ("scores", "from xearthformer import engine", "engine, which loads torch"),
        ("engine", "from .data.synthetic import simulate", "data of the labelled wing"),
        ("packs", "import torch", "imports torch when opened"),
        ("packs", "from .models import build", "imports models when opened"),
        ("engine", "import xarray as xr", "xarray, which has no business"),
        ("models", "import pandas as pd", "pandas, which has no business"),
        ("accessor", "from .forecast import forecast", "imports forecast when opened"),
        ("__init__", "import torch", "imports torch when opened"),
        ("utils", "import math", "utils has no place"),
        ("forecast", "from .extras import x", "extras has no place"),
    ],
)
def test_a_broken_rule_is_seen(part, source, words):
    (broken,) = violations(part, source)
    assert words in broken


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            "forecast",
            "import torch\nfrom . import cf, engine, grid, tensors\nfrom .packs import Pack",
        ),
        ("tensors", "import torch\nimport xarray as xr"),
        ("packs", "def build():\n    import torch\n    from .models import build"),
        ("packs", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import nn"),
        ("data", "from .packs import open_pack"),
        ("cards", "from .scale import Scale"),
        ("accessor", "def forecast(self):\n    from .forecast import forecast"),
        ("scale", "from . import __version__"),
    ],
)
def test_what_is_allowed_passes(part, source):
    assert violations(part, source) == []


def test_a_folder_sees_its_own_files_and_what_is_beside_it():
    models = ("xearthformer", "models")
    assert violations("models", "from .cuboid import cut\nfrom . import lim", models) == []
    (broken,) = violations("models", "from ..cf import prepare", models)
    assert "the tensor wing imports cf of the labelled wing" in broken
