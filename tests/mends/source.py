"""Where the source makes a hint, the last argument of `mismatch`, and the texts it may have."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "xearthformer"
HOLE = "\0"  # what an f-string puts in
DEEPEST = 8
# Something to type has a call, an argument, an option, an entry of YAML or a literal.
TYPED = re.compile(
    rf"""[\w\]]\(|[\w{HOLE}]=["'\[({{{HOLE}\w+.-]|(^|\s)--?[a-z]|\w\[[\["{HOLE}]|^["'\[({HOLE}]|^\w+: .|^[\d.]+$|\.\w+{HOLE}"""
)

CALL = re.compile(rf"[\w.]\((?!s\))|(^|\s)--[a-z]|\w=['\"{HOLE}(]")


@dataclass(frozen=True)
class Function:
    """A function and where it stands."""

    module: str  # under the package: "fields.axes"
    node: ast.FunctionDef
    outer: "Function | None"

    @property
    def place(self) -> str:
        return f"{self.module}:{self.node.name}"

    @property
    def parameters(self) -> list[str]:
        given = self.node.args
        return [a.arg for a in [*given.posonlyargs, *given.args, *given.kwonlyargs]]


class Source:
    """The functions of the package, and the texts of their hints."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.modules: dict[str, ast.Module] = {}
        for path in sorted(PACKAGE.rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            module = module.removesuffix(".__init__") or "__init__"
            self.modules[module] = ast.parse(path.read_text())
            self._visit(self.modules[module], module, None)

    def _visit(self, node: ast.AST, module: str, outer: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            inner = outer
            if isinstance(child, ast.FunctionDef):
                inner = Function(module, child, outer)
                self.functions.append(inner)
            self._visit(child, module, inner)

    def hints(self) -> dict[str, list[str]]:
        """Return the texts of hints of each place; HOLE stands for what is put in."""
        found: dict[str, list[str]] = {}
        for function in self.functions:
            for node in _own(function.node):
                if isinstance(node, ast.Call) and _called(node) == "mismatch":
                    hint = node.args[2] if len(node.args) > 2 else node.keywords[-1].value
                    found.setdefault(function.place, []).extend(self.texts(hint, function))
        return {place: [*dict.fromkeys(texts)] for place, texts in found.items()}

    def said(self) -> dict[str, list[str]]:
        """Return what other errors, and warnings, say to type, for each place."""
        found: dict[str, list[str]] = {}
        for function in self.functions:
            for node in _own(function.node):
                if isinstance(node, ast.Call) and _speaks(node) and function.module != "errors":
                    texts = [text for a in node.args[:2] for text in self.texts(a, function)]
                    lines = [line for text in texts if (line := line_of(text))]
                    found.setdefault(function.place, []).extend(lines)
        return {place: [*dict.fromkeys(lines)] for place, lines in found.items() if lines}

    def texts(self, node: ast.expr, function: Function, seen: frozenset = frozenset()) -> list[str]:
        """Return the texts that an expression may have."""
        if len(seen) > DEEPEST:
            return [HOLE]
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.Constant():
                return []
            case ast.JoinedStr(values=values):
                parts = [[v.value] if isinstance(v, ast.Constant) else [HOLE] for v in values]
                return ["".join(words) for words in product(*parts)]
            case ast.IfExp(body=one, orelse=other):
                return self.texts(one, function, seen) + self.texts(other, function, seen)
            case ast.BoolOp(values=values):
                return [text for v in values for text in self.texts(v, function, seen)]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                ends = [self.texts(side, function, seen) or [HOLE] for side in (left, right)]
                return ["".join(words) for words in product(*ends)]
            case ast.NamedExpr(value=value):
                return self.texts(value, function, seen)
            case ast.Name(id=name):
                return self._of_name(name, function, seen | {(function.place, name)}, seen)
            case ast.Call():
                return self._of_call(node, function, seen | {(function.place, ast.unparse(node))})
        return [HOLE]

    def _of_name(self, name: str, function: Function, seen: frozenset, before: frozenset) -> list:
        if seen == before:
            return [HOLE]
        here: Function | None = function
        while here:
            given = [
                t for value in _assigned(here.node, name) for t in self.texts(value, here, seen)
            ]
            if given:
                return given
            if name in here.parameters:
                return self._of_argument(name, here, seen)
            here = here.outer
        given = _assigned(self.modules[function.module], name)
        if not given and name.isupper():  # a constant of another module
            given = [value for module in self.modules.values() for value in _assigned(module, name)]
        return [t for value in given for t in self.texts(value, function, seen)] or [HOLE]

    def _of_argument(self, name: str, function: Function, seen: frozenset) -> list[str]:
        """Return what the callers of a function give it."""
        found = []
        for caller in self.functions:
            for node in _own(caller.node):
                if not isinstance(node, ast.Call) or _called(node) != function.node.name:
                    continue
                if isinstance(node.func, ast.Attribute) and caller.module != function.module:
                    continue  # of another object
                names = [p for p in function.parameters if p != "self"]
                given = dict(zip(names, node.args, strict=False))
                given |= {k.arg: k.value for k in node.keywords if k.arg}
                if name in given:
                    found += self.texts(given[name], caller, seen)
        return found or [HOLE]

    def _of_call(self, node: ast.Call, function: Function, seen: frozenset) -> list[str]:
        """Return what the functions of this name in the module return."""
        found = []
        for called in self.functions:
            if called.node.name == _called(node) and called.module == function.module:
                values = [n.value for n in _own(called.node) if isinstance(n, ast.Return)]
                found += [t for v in values if v for t in self.texts(v, called, seen)]
        return found or [HOLE]


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions inside."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own(child)


def _speaks(node: ast.Call) -> bool:
    """Return whether a call warns, or makes an error."""
    return _called(node) == "warn" or _called(node).endswith("Error")


def line_of(text: str) -> str:
    """Return the part of a sentence that can be typed: a call, or an option; else nothing."""
    part = re.split(
        r"(?:\btry|\btype|, or add|: pass|it is by|no rain,|is now|: mkdir) |: (?!.*: )", text
    )[-1]
    return part if CALL.search(part) and not part.startswith("expected") else ""


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _assigned(node: ast.AST, name: str) -> list[ast.expr]:
    """Return what is assigned to a name."""
    found: list[ast.expr] = []
    for one in _own(node):
        match one:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.append(value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                places = [k for k, t in enumerate(targets) if getattr(t, "id", "") == name]
                sides = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                found += [v.elts[k] for v in sides if isinstance(v, ast.Tuple) for k in places]
            case ast.AugAssign(target=ast.Name(id=target), value=value) if target == name:
                found.append(
                    ast.BinOp(ast.JoinedStr([ast.FormattedValue(value, -1)]), ast.Add(), value)
                )
    return found


def is_typed(text: str) -> bool:
    """Return whether a hint is something to type; else it is a sentence."""
    return bool(TYPED.search(text))


def pattern(text: str) -> re.Pattern[str]:
    """Return what the hints of one text match."""
    return re.compile(".*".join(map(re.escape, text.split(HOLE))), re.DOTALL)
