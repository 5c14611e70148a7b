"""The documentation: the reference is complete."""

import re
from pathlib import Path

import xearthformer as xef
from xearthformer.accessor import EarthformerAccessor, Plots
from xearthformer.cli import COMMANDS

DOCS = Path(__file__).parents[1] / "docs"


def listed(page: str, prefix: str = "") -> set[str]:
    """Names in the lists of a page of the reference."""
    return set(re.findall(rf"^   {prefix}(\w+)$", (DOCS / "api" / page).read_text(), re.MULTILINE))


def public(of: type) -> set[str]:
    return {name for name in vars(of) if not name.startswith("_")}


def test_every_public_name_is_in_the_reference_once():
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
