"""The README: its Python runs as printed, and the error it shows is the error one gets."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("error")  # what is printed runs without a warning

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict:
    """Names after the README's Python has run, in a folder of its own."""
    import matplotlib

    matplotlib.use("agg")
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
    with pytest.raises(ValueError) as error:
        said["sst"].earthformer.forecast("enso-ersst")
    shown = re.search(r">>> sst.earthformer.forecast\(.*?\)\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == f"ValueError: {error.value}"
