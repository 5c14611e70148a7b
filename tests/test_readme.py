"""The README: its Python runs as printed, its links lead somewhere, its numbers are the tables'."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("error")  # what is printed runs without a warning

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict:
    """Names after the README's Python has run, in a folder of its own."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("agg")
    plt.close("all")  # of other tests: more than twenty are a warning
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    names: dict = {"folder": tmp_path_factory.mktemp("readme")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(names["folder"])
        exec(compile(code, "README.md", "exec"), names)
    return names


def test_python_runs_as_printed(said):
    sizes = {"init": 1, "lead": 14, "member": 50, "lat": 89, "lon": 180}
    assert dict(said["fc"].sizes) == sizes
    assert said["past"].sizes["init"] == 120
    assert (said["folder"] / "plume.png").stat().st_size > 10_000


def test_error_is_as_printed(said):
    """The one in Start, of the same data."""
    with pytest.raises(ValueError) as error:
        said["sst"].earthformer.forecast("enso-ersst")
    page = (DOCS / "start.md").read_text()
    shown = re.search(r">>> sst.earthformer.forecast\(.*?\)\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == f"ValueError: {error.value}"


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert len(links) > 15 and all((ROOT / link).is_file() for link in links), links


def test_the_picture_is_small():
    (picture,) = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert (ROOT / picture).read_bytes()[:4] == b"\x89PNG"
    assert (ROOT / picture).stat().st_size < 300_000


def test_skill_is_that_of_the_tables():
    """Five lines, all of whose scores stand in the tables."""
    section = README.split("## How good is it?")[1].split("\n## ")[0]
    assert section.count("\n- ") == 5
    scores = re.findall(r"(?<![\d.])0?(\.\d+)", section)
    tables = re.findall(r"0?(\.\d+)", (DOCS / "skill.md").read_text())
    assert len(scores) >= 9 and not set(scores) - set(tables)
