"""The page of error messages: what the source says where it raises, read and not run."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "xearthformer"
ANY = "…"  # what is told when it happens
LABELS = r"\b(expected|found|try)\b"
MOST = 4  # forms of one part of a message
Scope = dict[str, list[ast.expr]]


def assigned(node: ast.AST) -> Scope:
    """Return the expressions that names are assigned in a module or a function."""
    found: Scope = {}
    for each in ast.walk(node):
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            found.setdefault(each.targets[0].id, []).append(each.value)
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Tuple):
            values = each.value.elts if isinstance(each.value, ast.Tuple) else []
            for target, value in zip(each.targets[0].elts, values, strict=False):
                found.setdefault(getattr(target, "id", ANY), []).append(value)
    return found


def forms(node: ast.expr, scope: Scope) -> list[str]:
    """Return the texts that an expression can be, with … for what is known only as it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            pieces = [forms(p, scope) for p in parts]
        case ast.FormattedValue(value=value, conversion=how):
            texts = forms(value, scope)
            return [repr(text) if how == ord("r") and text != ANY else text for text in texts]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            pieces = [forms(left, scope), forms(right, scope)]
        case ast.IfExp(body=body, orelse=other):
            return [*forms(body, scope), *forms(other, scope)]
        case ast.BoolOp(values=values):
            return [text for value in values for text in forms(value, scope)]
        case ast.Name(id=name) if name in scope:
            rest = {key: value for key, value in scope.items() if key != name}
            return [text for value in scope[name] for text in forms(value, rest)][:MOST]
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return forms(inner, scope)
        case ast.Call(func=ast.Attribute(value=inner, attr="format" | "rstrip" | "strip")):
            return forms(inner, scope)
        case _:
            return [ANY]
    texts = ["".join(parts) for parts in itertools.islice(itertools.product(*pieces), MOST)]
    return [re.sub(f"{ANY}+", ANY, text) for text in texts]


def has_words(text: str) -> bool:
    """Return whether a message says something that can be searched for."""
    return any(c.isalpha() for c in text)


def message(call: ast.Call, scope: Scope) -> list[str]:
    """Return what a call says if it makes an error or a warning, one text per form."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    parts = [forms(arg, scope) for arg in call.args]
    if name == "mismatch":
        expected, found, hints = parts
        tries = "".join(f"\n     try {hint}" for hint in dict.fromkeys(hints) if has_words(hint))
        return [f"expected {each}\n   found {found[0]}{tries}" for each in expected]
    if name == "whole_number":
        return [f"expected {each} as a whole number from {ANY}" for each in parts[0]]
    if name == "warn" or name.endswith("Error"):
        return next((texts for texts in parts if has_words("".join(texts))), [])
    return []


def calls(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
    """Yield the calls below a node, with what is assigned where they stand."""
    for child in ast.iter_child_nodes(node):
        inner = scope | assigned(child) if isinstance(child, ast.FunctionDef) else scope
        if isinstance(child, ast.Call):
            yield child, inner
        yield from calls(child, inner)


def messages(path: Path) -> list[str]:
    """Return the messages of a file, in the order of its lines, each once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = (text for call, scope in calls(tree, assigned(tree)) for text in message(call, scope))
    return [text for text in dict.fromkeys(found) if has_words(re.sub(LABELS, "", text))]


def page() -> str:
    """Return all messages as MyST, by room and file."""
    lines = []
    for path in sorted(SOURCE.rglob("*.py")):
        room, *_ = names = path.relative_to(SOURCE).parts
        if found := messages(path):
            title = f"## {Path(room).stem}\n"
            lines += [*([] if title in lines else [title]), f"### `{'/'.join(names)}`\n"]
            lines += ["```text", "\n\n".join(found), "```\n"]
    return "\n".join(lines)
