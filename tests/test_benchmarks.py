"""The benchmarks run: small, and whatever they print."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.name)
def test_a_benchmark_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert callable(runpy.run_path(str(path), run_name="imported")["main"])


@pytest.mark.parametrize("name", ["sevir", "enso-paper"])
def test_the_networks_that_are_timed_take_their_data(name, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    speed = runpy.run_path(str(BENCHMARKS / "speed.py"), run_name="imported")
    case = speed["CASES"][name]
    pack, da, inits = speed["pack_and_data"](case, tmp_path)
    fc = da.chunk().earthformer.forecast(pack, init=inits)  # lazy: labels alone are looked at
    assert fc.sizes["init"] == case.batch


@pytest.mark.slow
def test_a_hindcast_is_measured_in_every_case():
    how = ["--pack", "damped-persistence", "--inits", "3"]
    command = [sys.executable, str(BENCHMARKS / "hindcast.py"), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["hindcast,", "hindcast,", "forecast,"]
    assert all(float(row[-1]) > 0 for row in rows)


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tmp_path):
    how = ["--inits", "2", "4", "--size", "64", "--members", "1", "2", "--workers", "1"]
    picture = tmp_path / "growth.png"
    command = [sys.executable, str(BENCHMARKS / "growth.py"), *how, "--picture", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    cases = [row[1] for row in rows]
    assert cases == [*["inits"] * 2, "pixels", *["members"] * 2, "workers", "workers,"]
    assert all(float(row[-2]) > 0 for row in rows) and picture.stat().st_size > 10_000


@pytest.mark.slow
def test_another_implementation_is_timed_beside_ours(tmp_path):
    other = tmp_path / "other.py"
    other.write_text(
        "from xearthformer.models import build\n"
        "def network(preset):\n    return build('earthformer', preset)\n"
    )
    how = ["--runs", "1", "--only", "enso-paper", "--reference", str(other)]
    command = [sys.executable, str(BENCHMARKS / "speed.py"), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("  reference"))
    assert 0.5 < float(row.partition("plain ")[2].partition(",")[0]) < 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_roads_are_compared(precision):
    how = ["--inits", "4", "--runs", "1", "--roads", "memory", "synchronous", "cluster 2"]
    how += ["--precision", precision]
    command = [sys.executable, str(BENCHMARKS / "roads.py"), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == 3 and all(row.endswith("same bits") for row in rows)
