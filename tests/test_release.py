"""What a release says of itself is the same wherever it is said."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import xearthformer as xef

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
RECIPE = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text())
RELEASES = re.findall(
    r"^## \[(.+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
)
CONDA = {"cf-xarray": "cf_xarray", "dask": "dask-core", "netcdf4": "netcdf4", "torch": "pytorch"}
OF_EXTRAS = {"docstring_parser", "shtab", "typeshed-client"}  # of jsonargparse's


def test_the_version_is_one():
    version, date = RELEASES[0]
    assert version == xef.__version__ == CITATION["version"] == ZENODO["version"]
    assert RECIPE["context"]["version"] == version and str(CITATION["date-released"]) == date


def test_the_papers_that_zenodo_names_are_those_to_cite():
    cited = {one["identifiers"][0]["value"] for one in CITATION["references"]}
    assert {one["identifier"] for one in ZENODO["related_identifiers"]} == cited
    assert ZENODO["license"] == CITATION["license"] == PROJECT["license"]
    assert ZENODO["keywords"] == CITATION["keywords"]
    assert ZENODO["creators"] == [{"name": one["name"]} for one in CITATION["authors"]]


def test_condas_requirements_are_the_packages():
    asked = [re.match(r"([\w-]+)(?:\[.*\])?(>=.+)", line) for line in PROJECT["dependencies"]]
    ours = {CONDA.get(one[1].lower(), one[1]): one[2] for one in asked if one}
    assert len(ours) == len(PROJECT["dependencies"])
    python, *theirs = (line.split(maxsplit=1) for line in RECIPE["requirements"]["run"])
    assert {name: least for name, least in theirs if name not in OF_EXTRAS} == ours
    assert {name for name, _ in theirs} > OF_EXTRAS
    assert python == ["python", ">=${{ python_min }}"]
    assert PROJECT["requires-python"] == f">={RECIPE['context']['python_min']}"
    (script,) = RECIPE["build"]["python"]["entry_points"]
    assert script == "xearthformer = " + PROJECT["scripts"]["xearthformer"]


def test_the_recipe_renders():
    """As rattler-build reads it, which knows the form."""
    rattler_build = pytest.importorskip("rattler_build")
    recipe = rattler_build.Stage0Recipe.from_file(str(ROOT / "recipe" / "recipe.yaml"))
    (variant,) = recipe.render(rattler_build.VariantConfig())
    assert "xearthformer" in str(variant) and xef.__version__ in str(variant)
