"""The import rules, read from the source: imports go one way, torch keeps to its wing."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xearthformer"

# The rooms, top down. A room imports from the rows below its own, and from the right of its row.
ROWS = [
    ["cli"],
    ["accessor"],
    ["plots", "comparison"],
    ["hindcasts", "verification", "training"],
    ["inference", "climate", "datasets"],
    ["packs"],
    ["fields"],
    ["models"],
    ["html", "interrupted", "aside", "errors"],
]
ORDER = {room: (row, place) for row, rooms in enumerate(ROWS) for place, room in enumerate(rooms)}
APART = {("fields", "models")}  # the two wings: labels and tensors
# Old import paths that users' files hold: they only point into the house.
OLD_PATHS = {"catalogs"}

TORCH = {"torch", "torchmetrics", "lightning", "pytorch_lightning", "safetensors.torch"}
XARRAY = {"xarray", "xbatcher", "cf_xarray", "xarray_regrid"}
TORCH_FREE = {"fields", "climate", "datasets", "verification", "plots", "accessor", "cli"}
XARRAY_FREE = {"models", "packs", "html", "errors"}
# Rooms that load torch when opened: torch-free rooms open them inside functions only,
LOAD_TORCH = {"models", "inference", "hindcasts", "training", "comparison"}
LIGHT = {"xearthformer.inference.options"}  # but for these files, which load nothing.


@dataclass(frozen=True)
class Import:
    """One imported name: `module` as a dotted path, `name` in it or "" for the module itself."""

    module: str
    name: str
    line: int
    lazy: bool  # inside a function, or for type checkers only

    @property
    def room(self) -> str | None:
        """The room of this package that is imported; None for another package."""
        package, _, rest = f"{self.module}.{self.name}".partition(".")
        return rest.split(".")[0] if package == PACKAGE.name else None


@cache
def imports(source: str, package: str) -> list[Import]:
    """List what a file imports; `package` is the dotted path of its folder."""
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, "", node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.extend(Import(module, alias.name, node.lineno, lazy) for alias in node.names)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            visit(child, lazy)

    visit(ast.parse(source), False)
    return found


def wrong(room: str, found: Import) -> str | None:
    """Say what is wrong with a room importing something; None when nothing is."""
    target = found.room
    if target is None:
        banned = TORCH if room in TORCH_FREE else XARRAY if room in XARRAY_FREE else set()
        dotted = f"{found.module}.{found.name}"
        hit = any(dotted == name or dotted.startswith(f"{name}.") for name in banned)
        return f"{found.module} has no business in {room}" if hit else None
    if target in (room, "__version__"):
        return None
    if target not in ORDER:
        return f"{target} has no place in the house: give it one in ROWS"
    (row, place), (target_row, target_place) = ORDER[room], ORDER[target]
    if (target_row, target_place) < (row, place) or (room, target) in APART:
        return f"{room} imports {target}: imports go down, and to the right"
    late = room in TORCH_FREE and target in LOAD_TORCH or (room, target) == ("packs", "models")
    if late and not found.lazy and found.module not in LIGHT:
        return f"{room} imports {target} when opened: do it inside the function that needs it"
    return None


def violations(room: str, source: str, package: str) -> list[str]:
    """Return every broken rule in a file of a room, with its line."""
    checked = ((found, wrong(room, found)) for found in imports(source, package))
    return [f"line {found.line}: {words}" for found, words in checked if words]


FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in FILES if path.parent != PACKAGE or path.stem in ORDER]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def folder(path: Path) -> str:
    return ".".join([PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]])


@pytest.mark.parametrize("path", ROOMS, ids=name)
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room not in OLD_PATHS:
        assert violations(room, path.read_text(), folder(path)) == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_name_is_imported_from_the_file_that_defines_it(path):
    """No re-export hides where a name comes from, and no module of ours is loaded by a string."""
    source = path.read_text()
    assert f'import_module("{PACKAGE.name}' not in source
    for found in imports(source, folder(path)):
        if found.room in (None, "__version__"):
            continue
        place = PACKAGE.joinpath(*found.module.split(".")[1:])
        if (place / f"{found.name}.py").exists() or (place / found.name).is_dir():
            continue
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        assert found.name in defined(file), f"line {found.line}: {found.name} is defined elsewhere"


@cache
def defined(file: Path) -> set[str]:
    """Return the names of functions, classes and values that a file defines."""
    nodes = [*ast.walk(ast.parse(file.read_text()))]
    named = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    stored = (n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return named | {node.id for node in stored}


def test_every_room_has_files():
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in ROOMS} >= {*ORDER}


@pytest.mark.parametrize(
    ("room", "source", "words"),
    [
        ("fields", "import torch", "torch has no business in fields"),
        ("climate", "def f():\n    from torch import nn", "line 2: torch has no business"),
        ("verification", "from safetensors import torch", "safetensors has no business"),
        ("models", "import xarray as xr", "xarray has no business in models"),
        ("fields", "from ..models.layers import cuboid", "fields imports models"),
        ("models", "from ..fields.cf import prepare", "models imports fields"),
        ("datasets", "from ..climate.regions import index", "datasets imports climate"),
        ("verification", "from ..plots import maps", "verification imports plots"),
        ("verification", "from ..inference import forecast", "when opened"),
        ("packs", "from ..models import build", "when opened"),
        ("cli", "from ..hindcasts.hindcast import hindcast", "when opened"),
        ("plots", "from .. import extras", "extras has no place"),
    ],
)
def test_a_broken_rule_is_seen(room, source, words):
    (broken,) = violations(room, source, f"xearthformer.{room}")
    assert words in broken


@pytest.mark.parametrize(
    ("room", "source"),
    [
        (
            "inference",
            "import torch\nimport xarray as xr\nfrom ..fields import cf\nfrom . import x",
        ),
        ("climate", "from ..datasets.simulated import sst\nfrom .. import __version__"),
        ("packs", "def model():\n    from ..models import build"),
        ("cli", "def f():\n    from ..inference.forecast import forecast"),
        ("plots", "from ..verification.verify import verify"),
    ],
)
def test_what_is_allowed_passes(room, source):
    assert violations(room, source, f"xearthformer.{room}") == []
