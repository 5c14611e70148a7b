"""What it costs to start: medians of fresh Pythons, in turns.

    python benchmarks/start.py [--runs 15]

The import beside that of xarray, of which it may take 1.2 times as long; then the help of the
command and a forecast of one init by a pack that ships, beside `import torch`, which the forecast
needs: at most 1.2 s more.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORECAST = """
import numpy as np, xarray as xr, xearthformer as xef
grid = xef.open_pack("lim").card.grid
times = xr.date_range("1990-01", periods=24, freq="MS")
shape = len(times), len(grid.latitude), len(grid.longitude)
attrs = {"units": "K", "units_metadata": "temperature: difference"}
coords = {"time": times, "lat": grid.latitude, "lon": grid.longitude}
ssta = xr.DataArray(np.zeros(shape, "f4"), coords, ("time", "lat", "lon"), "ssta", attrs)
ssta.earthformer.forecast("lim")
"""
PYTHON = sys.executable
STARTS = {
    "import xarray": [PYTHON, "-c", "import xarray"],
    "import xearthformer": [PYTHON, "-c", "import xearthformer"],
    "import torch": [PYTHON, "-c", "import torch"],
    "xearthformer --help": [str(Path(PYTHON).with_name("xearthformer")), "--help"],
    "forecast of one init": [PYTHON, "-c", FORECAST],
}


def seconds(command: list[str]) -> float:
    """Time one Python, from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    starts = {"python": [PYTHON, "-c", ""], **STARTS}
    for command in starts.values():  # fill the disk cache, write the .pyc files
        seconds(command)
    times = [[seconds(command) for command in starts.values()] for _ in range(runs)]
    empty, *found = (statistics.median(column) for column in zip(*times, strict=True))
    spent = {name: each - empty for name, each in zip(STARTS, found, strict=True)}
    print(f"medians of {runs}, over an empty Python's {1000 * empty:.0f} ms")
    for name, each in spent.items():
        print(f"{name:<22}{1000 * each:7.0f} ms")
    ratio = spent["import xearthformer"] / spent["import xarray"]
    more = spent["forecast of one init"] - spent["import torch"]
    print(f"the import takes {ratio:.2f} times that of xarray (at most 1.2)")
    print(f"a forecast takes {more:.2f} s more than import torch (at most 1.2)")


if __name__ == "__main__":
    main()
