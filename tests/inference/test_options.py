"""The options of a forecast: one definition, held equal wherever they are spelt out."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Literal

import pytest

import xearthformer as xef
from xearthformer.accessor import EarthformerAccessor
from xearthformer.cli import OPTION_TYPES, parser
from xearthformer.fields.time_axis import LeadLike
from xearthformer.inference.guidance import Guidance
from xearthformer.inference.options import Beyond, Options, Precision, descriptions

FIELDS = {field.name: field for field in dataclasses.fields(Options)}
WITH_OPTIONS = {
    "forecast": xef.forecast,
    "hindcast": xef.hindcast,
    "accessor": EarthformerAccessor.forecast,
}


# What annotations name that is imported for type checkers alone.
NAMES = {
    "Beyond": Beyond,
    "Guidance": Guidance,
    "LeadLike": LeadLike,
    "Literal": Literal,
    "Precision": Precision,
    "Sampler": xef.Sampler,
    "Sequence": Sequence,
}


@pytest.mark.parametrize("where", WITH_OPTIONS)
def test_signatures_have_the_options_with_their_types_and_defaults(where):
    function = WITH_OPTIONS[where]
    parameters = inspect.signature(function).parameters
    assert [name for name in parameters if name in FIELDS] == list(FIELDS)
    for name, field in FIELDS.items():
        assert parameters[name].default == field.default
        assert kind(parameters[name].annotation) == kind(field.type), name


def kind(annotation):
    """A type, also from the text of an annotation."""
    return eval(annotation, NAMES) if isinstance(annotation, str) else annotation


@pytest.mark.parametrize("where", WITH_OPTIONS)
def test_docstrings_have_the_words_of_every_option(where):
    doc = inspect.getdoc(WITH_OPTIONS[where])
    assert "{options}" not in doc
    for name, words in descriptions().items():
        assert f"\n{name} : " in doc
        assert words in " ".join(doc.split())


@pytest.mark.parametrize("command", ["forecast", "hindcast"])
def test_commands_have_the_options_with_their_defaults(command):
    arguments = parser().parse_args([command, "in.nc", "--pack", "p", "-o", "out.nc"])[command]
    assert {*FIELDS} - {*OPTION_TYPES} == {"guidance"}  # which --sigmas stands for
    for name in OPTION_TYPES:
        assert arguments[name] == FIELDS[name].default, name
