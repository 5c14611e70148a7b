"""Configuration files: plain data of a bounded size; a mistake is a line with its place."""

import math

import pytest

from xearthformer.cli import _entries
from xearthformer.cli.entries import load_yaml

BAD = {
    "half a list": ("a: [1", r"line 1, column 6: expected ',' or '\]'"),
    "a tab": ("a:\n\t- 1", "line 2, column 1: found character"),
    "a colon": ("a: b: c", "line 1, column 5: mapping values"),
    "an alias of nothing": ("a: *b", "line 1, column 4: found undefined alias"),
    "a list as a key": ("[a]: 1", "line 1, column 1: found unhashable key"),
    "two documents": ("a: 1\n---\nb: 1", "line 2, column 1: but found another document"),
    "a key twice": ("a: 1\nb: 1\na: 2", "each key once.*line 3, column 1: 'a' again"),
    "a tag": ("a: !mine 1", "line 1, column 4: could not determine a constructor"),
    "a control character": ("a: \x07", "unacceptable character #x0007"),
    "a long text": ("a: " + "x" * 30_000, "at most 20000 characters"),
    "one alias many times": (f"a: &a {'x' * 900}\nb: [{'*a, ' * 900}]", "aliases written out"),
    "an alias of itself": ("a: &a [*a]", "aliases written out"),
    "lists in lists": ("[" * 2000 + "]" * 2000, "entries in entries without end"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_says_where(case):
    text, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}.*\n +try "):
        load_yaml(text, "the file")


def test_an_alias_may_stand_for_an_entry():
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a"
    assert load_yaml(text, "it") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}


def test_dates_are_text_as_times_are():
    assert load_yaml("[1990-01-01, 1990-01, 1990]", "it") == ["1990-01-01", "1990-01", 1990]


def test_an_anchor_deeper_than_its_alias():
    """The alias is read first then, and has put what it merges into the anchor's node."""
    text = "a: &a {x: 1}\nin: {in: {b: &b {<<: *a, x: 2}}}\nc: {<<: *b, y: 3}"
    assert load_yaml(text, "it") == {
        "a": {"x": 1},
        "in": {"in": {"b": {"x": 2}}},
        "c": {"x": 2, "y": 3},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0400", "0400"),  # a year; of YAML 1.1 the octal number 256
        ("12:30", "12:30"),  # a time; of YAML 1.1 750 minutes
        ("1e-4", 1e-4),  # of YAML 1.1 text
        ("-1_000", -1000),
        ("0x10", 16),
        ("+.5", 0.5),
        ("3.", 3.0),
        ("-.inf", -math.inf),
        ("1.2.3", "1.2.3"),
        ("_1", "_1"),
        ("0", 0),
    ],
)
def test_numbers_are_those_that_one_sees(text, value):
    assert load_yaml(text, "it") == value and type(load_yaml(text, "it")) is type(value)


def test_an_empty_section_takes_entries():
    assert _entries("recipe:", ["recipe.epochs=3"]) == {"recipe": {"epochs": 3}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=x", "found 'model.name=x', where model is 'unet'\n +try model=VALUE"),
        ("pack=[1", "YAML in the value of pack"),
        ("pack=" + "x" * 30_000, "at most 20000 characters in the value of pack"),
        ("pack", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE\n +found '=3'\n +try KEY.KEY=VALUE"),
        ("recipe..epochs=3", "expected KEY=VALUE"),
        (".model=3", "expected KEY=VALUE"),
    ],
)
def test_overrides_are_read_alike(override, message):
    with pytest.raises(ValueError, match=message):
        _entries("model: unet", [override])
