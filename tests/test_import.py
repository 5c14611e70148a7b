"""`import xearthformer` is as light as `import xarray`: torch and the rest wait for their turn.

What is counted is what gets loaded, which is the same on every machine; the time that takes is
measured by benchmarks/start.py.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "lightning", "pytorch_lightning", "distributed", "matplotlib"}


def loaded(*statements: str) -> set[str]:
    """Return the top-level packages beyond the standard library that a fresh Python has loaded."""
    code = "\n".join([*statements, "import json, sys", "print(json.dumps(list(sys.modules)))"])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    return {name for name in names if name not in sys.stdlib_module_names and name != "__main__"}


def test_import_loads_nothing_that_xarray_does_not():
    assert loaded("import xearthformer") - loaded("import xarray") == {
        "lazy_loader",
        "xearthformer",
    }


def test_import_and_the_accessor_leave_torch_unloaded():
    names = loaded(
        "import xearthformer, xarray as xr",
        "door = xr.DataArray([0.0], dims='time').earthformer",
    )
    assert not names & HEAVY


def test_the_command_loads_neither_dask_nor_scipy():
    assert not loaded("from xearthformer import cli") & {*HEAVY, "dask", "scipy"}


def test_a_forecast_in_memory_loads_no_cluster():
    names = loaded(
        "import numpy as np, xearthformer, xarray as xr",
        "time = np.arange('2000-01-01', '2000-01-04', dtype='M8[D]').astype('M8[ns]')",
        "da = xr.DataArray(np.ones((3, 4, 4)), {'time': time}, ('time', 'y', 'x'))",
        "da.attrs['units'] = '1'",
        "da.earthformer.forecast('persistence', lead=1)",
    )
    assert "torch" in names and not names & {"distributed", "lightning", "matplotlib"}
