"""Type what a message says: the line after "try", into the call that failed, once more."""

import ast
import builtins
import contextlib
import functools
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer import errors

WORD = re.compile(r"(?<![\w.\"'])(?=[\dA-Za-z_(\"'\[])")
END = re.compile(r"[,;]? (?=[a-z#(])|[,;:] |$")


@dataclass(frozen=True)
class Case:
    """One fault in valid data, the door that refuses it, and what is right when it is mended."""

    fault: str  # statements
    call: str  # of a public door
    right: str  # of the answer
    dots: dict[str, str] = field(default_factory=dict)  # what the user puts in their place
    into: str | int | None = None  # the argument that a bare value is for
    only: int | None = None  # of several lines, the one to type; the others are typed elsewhere


def scope() -> dict[str, object]:
    from mends import data

    own = {name: one for name, one in vars(data).items() if not name.startswith("_")}
    return {**own, "xef": xef, "xearthformer": xef, "np": np, "pd": pd, "xr": xr, "pytest": pytest}


@contextmanager
def hints_made(monkeypatch) -> Iterator[list[tuple[str, str]]]:
    """Yield where each hint was made, and the hint."""
    made: list[tuple[str, str]] = []
    real = errors.mismatch
    _import_all()  # else a module that is opened meanwhile keeps what stands in

    def noted(expected: str, found: str, hint: str) -> ValueError:
        frame = sys._getframe(1)
        module = frame.f_globals["__name__"].partition(".")[2]
        made.append((f"{module}:{frame.f_code.co_name}", hint))
        return real(expected, found, hint)

    with monkeypatch.context() as patch:
        for name, module in [*sys.modules.items()]:
            if name.startswith("xearthformer") and vars(module).get("mismatch") is real:
                patch.setattr(module, "mismatch", noted)
        yield made


@functools.cache
def _import_all() -> None:
    for module in pkgutil.walk_packages(xef.__path__, "xearthformer."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)


def type_it(case: Case) -> str:
    """Return the hint of a case, every line of which has served."""
    names = scope()
    exec(case.fault, names)
    with np.errstate(all="ignore"):
        try:
            eval(case.call, names)
        except Exception as error:
            message = str(error)
        else:
            raise AssertionError(f"served as it is: {case.call}")
        hint = message.rpartition("try ")[2]
        said = hint
        for dots, given in case.dots.items():
            said = said.replace(dots, given)
        lines = typed_lines(said, names, case.into not in [None, "answer", *names])
        assert lines, f"nothing to type in: {message}"
        if case.only is not None:
            lines = [lines[case.only]]
        for k, line in enumerate(lines):
            if k:  # as it was before the line above
                names = scope()
                exec(case.fault, names)
            try:
                names["answer"] = _again(line, case, names)
            except Exception as error:
                raise AssertionError(f"{message}\n   typed {line}\n     got {error!r}") from error
            right = eval(case.right, names)
            assert bool(right), f"{message}\n   typed {line}\n     got {names['answer']}"
    return hint


def typed_lines(said: str, names: dict[str, object], bare: bool = False) -> list[str]:
    """Return the lines of Python in a hint, the longest at each place."""
    found, at = [], 0
    while at < len(said):
        start = WORD.search(said, at)
        if start is None:
            break
        ends = sorted({m.start() for m in END.finditer(said, start.end())} | {len(said)})
        for end in reversed(ends):
            line = said[start.start() : end]
            if _is_python(line, names, bare and start.start() == 0):
                found.append(line)
                at = end
                break
        else:
            at = start.end() + 1
            while at < len(said) and (said[at].isalnum() or said[at] in "_."):
                at += 1
    return found


def tree_of(line: str) -> ast.AST | None:
    """Return a line as an expression, as arguments of a call, or as statements."""
    for text, mode in ((line, "eval"), (f"_({line})", "eval"), (line, "exec")):
        try:
            return ast.parse(text, mode=mode)
        except SyntaxError:
            continue
    return None


def _is_arguments(tree: ast.AST) -> bool:
    call = getattr(tree, "body", None)
    return isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_"


def _is_python(line: str, names: dict[str, object], bare: bool) -> bool:
    tree = tree_of(line)
    if tree is None:
        return False
    own = {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    own |= {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - own - {"_"}
    if not all(name in names or hasattr(builtins, name) for name in used):
        return False
    if _is_arguments(tree):
        return not tree.body.args
    if isinstance(tree, ast.Module):
        values = [getattr(s, "value", None) for s in tree.body]
        return all(isinstance(s, ast.Assign | ast.Expr) for s in tree.body) and not any(
            isinstance(value, ast.Tuple) for value in values
        )
    body = tree.body
    if bare and isinstance(body, ast.Constant | ast.List | ast.Tuple):
        return True
    while isinstance(body, ast.Attribute):  # of what a call gives
        body = body.value
    return isinstance(body, ast.Call | ast.Subscript | ast.BinOp)


def _again(line: str, case: Case, names: dict[str, object]) -> object:
    """Return what the call gives once a line has been typed."""
    tree, call = tree_of(line), ast.parse(case.call, mode="eval")
    if isinstance(tree, ast.Module) or _assigns(tree, case, names):
        exec(line, names)
        return eval(case.call, names)
    if _is_arguments(tree):
        for keyword in tree.body.keywords:
            _give(call, keyword.arg, keyword.value)
        return eval(compile(ast.fix_missing_locations(call), "again", "eval"), names)
    if case.into not in [None, "answer", *names]:
        _give(call, case.into, tree.body)
        return eval(compile(ast.fix_missing_locations(call), "again", "eval"), names)
    value = eval(line, names)
    if case.into == "answer":  # another function's
        return value
    same = isinstance(tree.body, ast.Call) and _name(tree.body) == _name(call.body)
    if same and case.into is None:
        return value
    names[_data_of(tree, case, names)] = value
    return eval(case.call, names)


def _assigns(tree: ast.AST, case: Case, names: dict[str, object]) -> bool:
    """Return whether `ds = ...`, which reads as an argument too, is of a variable."""
    return _is_arguments(tree) and all(
        k.arg == case.into or isinstance(names.get(k.arg), xr.DataArray | xr.Dataset)
        for k in tree.body.keywords
    )


def _name(call: ast.expr) -> str:
    function = getattr(call, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def _give(tree: ast.Expression, name: str | int, value: ast.expr) -> None:
    """Put an argument into the call that has it already, or else into the outermost."""
    outer = tree.body
    if isinstance(name, int):
        outer.args[name] = value
        return
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    having = [c for c in calls if name in [k.arg for k in c.keywords]]
    target = having[0] if having else outer
    target.keywords = [k for k in target.keywords if k.arg != name]
    target.keywords.append(ast.keyword(name, value))


def _data_of(tree: ast.AST, case: Case, names: dict[str, object]) -> str:
    """Return the user's variable that a line makes anew: the first that it names."""
    if isinstance(case.into, str):
        return case.into
    own = scope()
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id not in own]
    used = [n for n in used if not hasattr(builtins, n.id) and n.id in names]
    if not used:
        raise AssertionError(f"no data of the user's in: {ast.unparse(tree)}")
    return min(used, key=lambda n: (n.lineno, n.col_offset)).id
