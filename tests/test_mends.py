"""Every line that a message tells the user to type is typed, and what it gives is right."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from mends import (
    climate,
    command,
    fields,
    files,
    inference,
    others,
    radar,
    said,
    training,
    verification,
)
from mends.excepted import EXCEPTED, WITH
from mends.source import HOLE, Source, is_typed, pattern
from mends.typed import hints_made, tree_of, typed_lines

import xearthformer as xef
from xearthformer.accessor import EarthformerAccessor, Plots
from xearthformer.cli import parser

ROOMS = (climate, command, fields, files, inference, others, radar, training, verification)
TABLE: dict = {}
for room in ROOMS:
    for place, cases in room.CASES.items():
        TABLE.setdefault(place, []).extend(cases)
# Places whose doors need a package that isn't in the extra `dev`.
OPTIONAL = {
    "inference.optical_flow": "pysteps",
    "fields.cf:prepare": "pysteps",
    "cli.score:verify_file": "XRO",
    "cli.score:_check_xro": "XRO",
}
SENTENCES = Source().said()
HINTS = {
    place: typed
    for place, texts in Source().hints().items()
    if (typed := [text for text in texts if is_typed(text)])
}


@pytest.mark.parametrize("place", TABLE)
def test_what_a_message_says_works_as_typed(place, monkeypatch, tmp_path):
    """Each case of the place, and each of the hints that it has."""
    for part, package in OPTIONAL.items():
        if place.startswith(part):
            pytest.importorskip(package, exc_type=ImportError)
    missing = {text for text in HINTS[place] if text.strip(HOLE)}
    for k, case in enumerate(TABLE[place]):
        folder = tmp_path / str(k)
        folder.mkdir()
        with hints_made(monkeypatch) as made:
            said = case.typed(folder)
        hints = {hint for at, hint in made if at == place and case.said(hint) in said}
        assert hints, f"the message was made elsewhere: {said} of {made}"
        missing -= {text for text in missing for hint in hints if pattern(text).match(hint)}
    left = {text.replace(HOLE, "{}") for text in missing}
    left = {text for text in left if not _is_excepted(place, text)}
    assert not left, f"no case of {place} prints {left}: tests/mends/ has the cases"


@pytest.mark.parametrize("place", said.CASES)
def test_what_a_sentence_says_works_as_typed(place, tmp_path):
    """Warnings, and errors that are no `mismatch`: each case, and each line that the place has."""
    missing = {*SENTENCES[place]}
    for case in said.CASES[place]:
        for line in case.typed(tmp_path):
            missing -= {text for text in missing if pattern(text).match(line)}
    assert not missing, f"no case of {place} prints {missing}: tests/mends/said.py has the cases"


def test_every_sentence_that_says_what_to_type_has_a_case():
    assert {*said.CASES, *said.EXCEPTED} == {*SENTENCES}


def test_every_place_that_says_what_to_type_has_a_case():
    """A new message comes with one, or with the reason why it can't be typed in a test."""
    unknown = {*TABLE, *EXCEPTED} - {*HINTS}
    assert not unknown, f"places that make no hint: {unknown}"
    left = {
        place: said
        for place, texts in HINTS.items()
        if place not in TABLE
        and (said := [t for t in texts if not _is_excepted(place, t.replace(HOLE, "{}"))])
    }
    assert not left


def test_what_is_typed_elsewhere_is_typed_there():
    """The tests and the cases that reasons name are there."""
    both = [*EXCEPTED.values(), *said.EXCEPTED.values()]
    given = [[one] if isinstance(one, str) else one.values() for one in both]
    for reason in [reason for reasons in given for reason in reasons]:
        if reason.startswith(WITH):
            assert any(case.more for case in TABLE[reason.removeprefix(WITH)]), reason
        elif "::" in reason:
            path, _, name = reason.partition("::")
            tree = ast.parse((Path(__file__).parents[1] / path).read_text())
            assert name in [getattr(node, "name", "") for node in tree.body], reason


def _is_excepted(place: str, text: str) -> bool:
    reason = EXCEPTED.get(place, {})
    return isinstance(reason, str) or text in reason


# --- of all hints, typed or not: what they name is there


class Anything:
    """The names that a user may have."""

    def __contains__(self, name: object) -> bool:
        return True


ALL = sorted({text for texts in HINTS.values() for text in texts})
FUNCTIONS = {n: f for n in dir(xef) if callable(f := getattr(xef, n)) and not n.startswith("_")}
METHODS = dict(inspect.getmembers(EarthformerAccessor, callable))
PICTURES = dict(inspect.getmembers(Plots, callable))


def test_functions_and_methods_in_hints_are_there():
    for text in ALL:
        assert {*re.findall(r"\b(?:xef|xearthformer)\.(\w+)", text)} <= {*dir(xef)}, text
        assert {*re.findall(r"\.earthformer\.(\w+)", text)} <= {*METHODS, "plot"}, text
        assert {*re.findall(r"\.plot\.(\w+)", text)} <= {*PICTURES}, text


def test_arguments_in_hints_are_those_of_the_functions():
    for text in ALL:
        for line in typed_lines(text.replace(HOLE, "x"), Anything()):
            for call in [n for n in ast.walk(tree_of(line)) if isinstance(n, ast.Call)]:
                function = _function_of(call)
                known = {*inspect.signature(function).parameters} if function else None
                given = {k.arg for k in call.keywords}
                assert known is None or given <= known, f"{text}: {given - known}"


def _function_of(call: ast.Call) -> object:
    """Return the function of this package that a line calls; None for others."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="xef" | "xearthformer"), attr=name):
            return FUNCTIONS.get(name)
        case ast.Attribute(value=ast.Attribute(attr="plot"), attr=name):
            return PICTURES.get(name)
        case ast.Attribute(value=ast.Attribute(attr="earthformer"), attr=name):
            return METHODS.get(name)
    return None


def test_options_in_hints_are_those_of_the_command_line():
    options = {option for part in _parsers(parser()) for option in part._option_string_actions}
    for text in ALL:
        assert {*re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)} <= {*options, "-k"}, text


def _parsers(one):
    yield one
    for action in one._actions:
        for part in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from _parsers(part)
