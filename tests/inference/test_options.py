"""The options of a forecast: one definition, held equal wherever they are spelt out."""

import dataclasses
import inspect
import typing
from collections.abc import Sequence

import numpy as np
import pytest

import xearthformer as xef
from xearthformer.accessor import EarthformerAccessor
from xearthformer.cli import OPTION_TYPES, parser
from xearthformer.fields.windows import InitLike, Label
from xearthformer.inference.engine import Progress
from xearthformer.inference.guidance import Guidance
from xearthformer.inference.options import Options, Precision, descriptions

FIELDS = {field.name: field for field in dataclasses.fields(Options)}
WITH_OPTIONS = {
    "forecast": xef.forecast,
    "hindcast": xef.hindcast,
    "accessor": EarthformerAccessor.forecast,
}


# What annotations name that is imported for type checkers alone.
NAMES = {
    "np": np,
    "Guidance": Guidance,
    "Pack": xef.Pack,
    "Precision": Precision,
    "Progress": Progress,
    "Sampler": xef.Sampler,
    "Sequence": Sequence,
    "InitLike": InitLike,
    "Label": Label,
}


@pytest.mark.parametrize("where", WITH_OPTIONS)
def test_signatures_have_the_options_with_their_types_and_defaults(where):
    function = WITH_OPTIONS[where]
    parameters = inspect.signature(function).parameters
    assert [name for name in parameters if name in FIELDS] == list(FIELDS)
    types = typing.get_type_hints(function, localns=NAMES)
    for name, expected in typing.get_type_hints(Options, localns=NAMES).items():
        assert parameters[name].default == FIELDS[name].default
        assert types[name] == expected, name


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
