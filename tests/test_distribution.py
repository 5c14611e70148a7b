"""The sdist and the wheels carry all that the package needs beyond its code."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xearthformer as xef

pytestmark = pytest.mark.slow  # builds in a fresh environment: hatchling comes from PyPI

ROOT = Path(__file__).parents[1]
CATALOGS = {path.name for path in (ROOT / "catalogs").glob("*.yaml")}
DATA = {
    str(path.relative_to(ROOT))
    for pattern in (
        "packs/shipped/*/*",
        "datasets/simulated/*.safetensors",
        "plots/*.npz",
        "__init__.pyi",
        "py.typed",
    )
    for path in (ROOT / "xearthformer").glob(pattern)
}
# What a user of any of them gets; run away from the checkout, whose folder Python would find first.
OPEN = """
import xearthformer
from xearthformer.datasets.catalog import FOLDER
print(xearthformer.__file__)
print(FOLDER)
print(*xearthformer.open_catalog())
print(xearthformer.open_pack("lim").card.name)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """The wheel built from the checkout, and the one built from the sdist."""
    built = {}
    for source, options in {"checkout": ["--wheel"], "sdist": []}.items():
        folder = tmp_path_factory.mktemp(source)
        # without options build makes an sdist, and the wheel from it
        command = [sys.executable, "-m", "build", *options, "--outdir", str(folder), str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        (built[source],) = folder.glob("*.whl")
    return built


def opened(place: Path, cwd: Path) -> list[str]:
    """What the package that lies in a folder opens."""
    env = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, "-c", OPEN]
    run = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_a_wheel_carries_packs_catalogues_and_patterns(wheels, tmp_path, source):
    assert {"enso.yaml", "nbody.yaml", "packs.yaml", "sevir.yaml"} == CATALOGS
    for name in ("packs/shipped/lim/card.json", "packs/shipped/lim/weights.safetensors"):
        assert f"xearthformer/{name}" in DATA
    assert "xearthformer/datasets/simulated/ersst_patterns.safetensors" in DATA
    assert {"xearthformer/__init__.pyi", "xearthformer/plots/coast.npz"} < DATA
    with zipfile.ZipFile(wheels[source]) as wheel:
        names = set(wheel.namelist())
        assert names >= DATA | {f"xearthformer/catalogs/{name}" for name in CATALOGS}
        assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
            "xearthformer"
        }
        wheel.extractall(tmp_path / "unpacked")
    file, folder, entries, pack = opened(tmp_path / "unpacked", tmp_path)
    assert Path(file).parent == tmp_path / "unpacked" / "xearthformer"
    assert Path(folder) == tmp_path / "unpacked" / "xearthformer" / "catalogs"
    assert entries.split() == list(xef.open_catalog()) and pack == "lim"


def test_a_checkout_opens_its_own_catalogues(tmp_path):
    """Not the copy that an editable install leaves among the installed packages."""
    file, folder, entries, pack = opened(ROOT, tmp_path)
    assert Path(file).parent == ROOT / "xearthformer" and Path(folder) == ROOT / "catalogs"
    assert entries.split() == list(xef.open_catalog()) and pack == "lim"
