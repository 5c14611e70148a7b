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


@pytest.mark.slow
def test_a_hindcast_is_measured_in_every_case():
    how = ["--pack", "damped-persistence", "--inits", "3"]
    command = [sys.executable, str(BENCHMARKS / "hindcast.py"), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["hindcast,", "hindcast,", "forecast,"]
    assert all(float(row[-1]) > 0 for row in rows)


@pytest.mark.slow
def test_roads_are_compared():
    how = ["--inits", "4", "--runs", "1", "--roads", "memory", "synchronous", "cluster 2"]
    command = [sys.executable, str(BENCHMARKS / "roads.py"), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == 3 and all(row.endswith("same bits") for row in rows)
