"""Type what a message says: the line after "try", into the call that failed, once more."""

import ast
import builtins
import contextlib
import functools
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from mends.source import line_of
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

    more: int = 0  # further errors that may follow, whose lines are typed too

    def typed(self, folder: Path) -> list[str]:
        """Return what is said, every line of which has served when typed."""
        return type_it(self)

    def said(self, hint: str) -> str:
        """Return a hint in the words that it is said in."""
        return hint


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


def type_it(case: Case) -> list[str]:
    """Return the hints of a case, every line of which has served."""
    names = scope()
    exec(case.fault, names)
    with np.errstate(all="ignore"):
        message = _refused(case.call, names)
        assert message, f"served as it is: {case.call}"
        hint = message.rpartition("try ")[2] if "try " in message else line_of(message)
        lines = _lines(hint, case, names)
        assert lines, f"nothing to type in: {message}"
        hints = [hint]
        for k, line in enumerate(lines if case.only is None else [lines[case.only]]):
            if k:  # as it was before the line above
                names = scope()
                exec(case.fault, names)
            hints += _serve(line, case, names, message)
    return hints


def serve(error: Exception, call: str, names: dict[str, object], **how) -> object:
    """Return what a call gives once the first line that an error says has been typed."""
    case, names = Case("", call, "True", **how), {**scope(), **names}
    line = _lines(str(error).rpartition("try ")[2], case, names)[0]
    return eval(_again(line, case, names), names)


def _serve(line: str, case: Case, names: dict[str, object], message: str) -> list[str]:
    """Type a line, and then those of the errors that follow; return the hints of these."""
    hints: list[str] = []
    call = _again(line, case, names)
    while len(hints) < case.more and (said := _refused(call, names)):
        hints.append(said.rpartition("try ")[2])
        case, message = replace(case, call=call), f"{message}\n   typed {line}\n{said}"
        line = _lines(hints[-1], case, names)[0]
        call = _again(line, case, names)
    try:
        names["answer"] = eval(call, names)
    except Exception as error:
        raise AssertionError(f"{message}\n   typed {line}\n     got {error!r}") from error
    right = eval(case.right, names)
    assert bool(right), f"{message}\n   typed {line}\n     got {names['answer']}"
    return hints


def _refused(call: str, names: dict[str, object]) -> str:
    """Return the message of the error that a call raises; none where it is served."""
    try:
        with warnings.catch_warnings():  # a warning that says something to type is one too
            for kind in (UserWarning, FutureWarning):
                warnings.filterwarnings("error", r"(?s).*\w\(", kind)
            eval(call, names)
    except Exception as error:
        return str(error)
    return ""


def _lines(hint: str, case: Case, names: dict[str, object]) -> list[str]:
    for dots, given in case.dots.items():
        hint = hint.replace(dots, given)
    return typed_lines(hint, names, case.into not in [None, "answer", *names])


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
            tree = ast.parse(text, mode=mode)
        except SyntaxError:
            continue
        if text == line or not tree.body.args:  # else `a, b = f()` read as an argument
            return tree
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
        return True
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


def _again(line: str, case: Case, names: dict[str, object]) -> str:
    """Return the call as it is once a line has been typed, which may have changed the data."""
    tree, call = tree_of(line), ast.parse(case.call, mode="eval")
    if isinstance(tree, ast.Module) or _assigns(tree, case, names):
        exec(line, names)
        if case.into == "answer":  # of what is assigned
            return ast.unparse(tree.body[0].targets[0])
    elif _is_arguments(tree):
        for keyword in tree.body.keywords:
            _give(call, keyword.arg, keyword.value)
    elif case.into not in [None, "answer", *names]:
        _give(call, case.into, tree.body)
    elif case.into == "answer" or (_calls_the_same(tree, call) and case.into is None):
        return line  # another function's, or the whole call
    else:
        names[_data_of(tree, case, names)] = eval(line, names)
    return ast.unparse(call)


def _assigns(tree: ast.AST, case: Case, names: dict[str, object]) -> bool:
    """Return whether `ds = ...`, which reads as an argument too, is of a variable."""
    return _is_arguments(tree) and all(
        k.arg == case.into or isinstance(names.get(k.arg), xr.DataArray | xr.Dataset)
        for k in tree.body.keywords
    )


def _calls_the_same(tree: ast.Expression, call: ast.Expression) -> bool:
    return isinstance(tree.body, ast.Call) and _name(tree.body) == _name(call.body)


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
