"""The documentation: the reference is complete, and the code of the pages runs as printed.

A block after the line `% needs data` isn't run, but its calls are checked against what they call.
"""

import ast
import inspect
import os
import re
import runpy
import shlex
from pathlib import Path

import pytest

import xearthformer as xef
from xearthformer import models
from xearthformer.accessor import EarthformerAccessor, Plots
from xearthformer.cli import COMMANDS, parser
from xearthformer.packs.card import Card

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"api", "auto_gallery", "_build"}
PAGES = {
    str(path.relative_to(DOCS)): path.read_text()
    for path in sorted(DOCS.rglob("*.md"))
    if path.relative_to(DOCS).parts[0] not in MADE
}
NEEDS_DATA = "% needs data\n"


def blocks(page: str, language: str) -> list[tuple[bool, str]]:
    """The fenced blocks of a page: whether one needs data, and its code."""
    found = re.findall(rf"^({NEEDS_DATA})?```{language}\n(.*?)^```", PAGES[page], re.M | re.S)
    return [(bool(needs), code) for needs, code in found]


def pages(language: str, needs: bool | None = None) -> list[str]:
    return [name for name in PAGES if any(needs in (None, n) for n, _ in blocks(name, language))]


# --- the reference


def listed(page: str, prefix: str = "") -> set[str]:
    """Names in the lists of a page of the reference."""
    return set(re.findall(rf"^   {prefix}(\w+)$", (DOCS / "api" / page).read_text(), re.MULTILINE))


def public(of: type) -> set[str]:
    return {name for name in vars(of) if not name.startswith("_")}


def test_every_public_name_is_in_the_reference():
    modules = {"models", "packs"}  # sections of the page
    assert listed("functions.rst") == set(xef.__all__) - modules
    page = (DOCS / "api" / "functions.rst").read_text()
    assert all(f".. automodule:: xearthformer.{name}" in page for name in modules)


def test_every_method_is_in_the_reference():
    methods = public(EarthformerAccessor) - {"plot"}  # whose methods are listed themselves
    assert listed("accessor.rst", r"DataArray\.earthformer\.") == methods
    assert listed("accessor.rst", r"Plots\.") == public(Plots)


def test_every_command_is_in_the_reference():
    page = (DOCS / "api" / "command.md").read_text()
    words = {
        f"{name} {action}".strip()
        for name, command in COMMANDS.items()
        for action in (command if isinstance(command, dict) else [""])
    }
    assert set(re.findall(r"^## (.+)$", page, re.MULTILINE)) == words


def test_every_public_name_has_an_example():
    """Doctests, which run with the others; where data is needed that doesn't ship, a block."""
    documented = {name: getattr(xef, name) for name in set(xef.__all__) - {"models", "packs"}}
    documented |= {"build": models.build, "from_published": models.from_published, "Card": Card}
    for owner in (EarthformerAccessor, Plots):
        documented |= {f"{owner.__name__}.{name}": vars(owner)[name] for name in public(owner)}
    without = [
        name
        for name, what in documented.items()
        if "Examples\n" not in (inspect.getdoc(what) or "")
        and ">>>" not in (inspect.getdoc(what) or "")
    ]
    assert not without


@pytest.mark.parametrize("path", sorted((DOCS / "inventories").glob("*.txt")), ids=lambda p: p.stem)
def test_an_inventory_is_as_sphinx_reads_it(path):
    """Version 1: three lines, then name, role and page; the anchor of a name is the name."""
    head, project, _, *lines = path.read_text().splitlines()
    assert (head, project) == ("# Sphinx inventory version 1", f"# Project: {path.stem}")
    assert lines and all(re.fullmatch(r"[\w.]+ (class|data) [\w./]+\.html", line) for line in lines)
    conf = (DOCS / "conf.py").read_text()
    assert re.search(rf'"{path.stem}": "https://', conf)


# --- the pages


@pytest.mark.slow  # make docs-check runs it
@pytest.mark.filterwarnings("error", "ignore:.*non-interactive")
@pytest.mark.parametrize("page", pages("python", needs=False))
def test_python_runs_as_printed(page, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(code for needs, code in blocks(page, "python") if not needs)
    exec(compile(code, page, "exec"), {})


def misfits(code: str) -> list[str]:
    """Calls of this package's functions and methods that they don't take."""
    wrong = []
    for call in ast.walk(ast.parse(code)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        owner, name = call.func.value, call.func.attr
        if isinstance(owner, ast.Name) and owner.id == "xef":
            function, first = getattr(xef, name, None), ()
        elif isinstance(owner, ast.Attribute) and owner.attr == "earthformer":
            function, first = getattr(EarthformerAccessor, name, None), (None,)
        else:
            continue
        words = {word.arg: None for word in call.keywords if word.arg}
        try:
            inspect.signature(function).bind(*first, *call.args, **words)
        except TypeError as error:
            wrong.append(f"{name}: {error}")
    return wrong


@pytest.mark.parametrize("page", pages("python", needs=True))
def test_python_that_needs_data_calls_what_there_is(page):
    assert not [each for needs, code in blocks(page, "python") if needs for each in misfits(code)]


def test_a_call_of_what_there_is_not_is_found():
    code = 'xef.open_rador("a"); xef.open_radar("a", colour=1); da.earthformer.forecast("lim", x=1)'
    assert [each.partition(":")[0] for each in misfits(code)] == [
        "open_rador",
        "open_radar",
        "forecast",
    ]


@pytest.mark.parametrize("page", pages("sh"))
def test_commands_are_as_the_command_line_takes_them(page):
    for _, code in blocks(page, "sh"):
        for line in code.replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            check_command([word for k, word in enumerate(words) if k or "=" not in word])


def check_command(words: list[str]) -> None:
    """Fail for a command of this project that doesn't exist, or not with these arguments."""
    program, *rest = words
    if program == "xearthformer":
        parser().parse_args(rest)
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    else:
        assert program in {"pip", "hf"}


@pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="not in an sdist")
def test_continuous_integration_builds_the_site_and_ends_with_the_suite():
    steps = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "make" in line]
    assert "make docs" in steps and steps[-1] == "make test"
    (code_of_pages,) = [step for step in steps if "tests/test_docs.py" in step]
    assert "-m slow" in code_of_pages and "runs_as_printed" in code_of_pages


# --- the list of error messages


@pytest.fixture(scope="module")
def messages():
    return runpy.run_path(str(DOCS / "messages.py"))


SOURCE = """
LEAST = "2 frames"
def check(da, pack=None):
    expected = f"{LEAST} or more, of {da.name!r}"
    hint = "a longer record" if pack else f"lead={len(da)}"
    if da.ndim:
        raise mismatch(expected, str(da.ndim), hint)
    number = whole_number("members", da)
    raise ValueError("no " + ("rain" if pack else "snow"))
"""


def test_messages_are_read_from_the_source(messages, tmp_path):
    (tmp_path / "room.py").write_text(SOURCE)
    assert messages["messages"](tmp_path / "room.py") == [
        "expected 2 frames or more, of …\n   found …\n     try a longer record\n     try lead=…",
        "expected members as a whole number from …",
        "no rain",
        "no snow",
    ]


def test_an_error_is_found_by_its_first_words(messages):
    page = messages["page"]()
    with pytest.raises(ValueError, match="^expected an anomaly\n") as error:
        xef.synthetic_sst(years=2)["sst"].earthformer.forecast("lim")
    assert str(error.value).partition("\n")[0] in page.splitlines()
    assert "try da.earthformer.anomaly(climatology=" in page
    assert set(re.findall(r"^## (\w+)$", page, re.M)) >= {"fields", "inference", "packs", "cli"}


# --- the links, as far as files tell; make docs-check follows all of them


def leads_somewhere(page: str, target: str) -> bool:
    """Whether a link of a page leads to a page, a figure, a gallery script or a public name."""
    folder = DOCS / page / ".."
    place = Path(os.path.normpath(DOCS / target[1:] if target[0] == "/" else folder / target))
    path, name = place.relative_to(DOCS), place.stem
    if path.parts[0] == "figures":
        drawn = (DOCS / "figures.py").read_text() + (DOCS / "start.md").read_text()
        return f"def {name}() -> Figure" in drawn or f'"{name}.png"' in drawn
    if path.parts[0] == "auto_gallery":
        return name == "index" or (DOCS / "gallery" / f"{name}.py").is_file()
    if path.parts[:2] == ("api", "generated"):
        return place.name.removeprefix("xearthformer.") in listed("functions.rst")
    return any((place.parent / (place.name + end)).is_file() for end in ("", ".md", ".rst"))


def links(text: str) -> list[str]:
    """The targets of links, images, cards and tables of contents that aren't on the web."""
    found = re.findall(r"\]\(([^)#]+)\)|\{doc\}`[^`<]+<([^>]+)>`|^:link: (.+)$", text, re.M)
    tables = re.findall(r"```\{toctree\}\n(?::.*\n)*((?:[\w/]+\n)+)```", text)
    targets = [target for groups in found for target in groups if target]
    targets += [target for table in tables for target in table.split()]
    return [target for target in targets if not target.startswith("http")]


@pytest.mark.parametrize("page", [*PAGES, "api/index.md"])
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text()
    assert not [target for target in links(text) if not leads_somewhere(page, target)]


def test_a_link_to_nowhere_is_found():
    page = "[a](sst.md) [b](nix.md) {doc}`c </api/generated/xearthformer.nix>` ![d](/figures/e.png)"
    assert [leads_somewhere("howto/x.md", target) for target in links(page)] == [True] + [False] * 3
