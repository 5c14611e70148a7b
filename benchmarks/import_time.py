"""What `import xearthformer` costs against `import xarray`: medians of fresh Pythons, in turns.

    python benchmarks/import_time.py [--runs 15]

Prints both medians in milliseconds and their ratio; the house asks for 1.2 at most.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(package: str) -> float:
    """Time one import in a Python of its own."""
    command = [sys.executable, "-c", CODE.format(package)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    packages = ("xarray", "xearthformer")
    for package in packages:  # fill the disk cache, write the .pyc files
        seconds(package)
    times = [[seconds(package) for package in packages] for _ in range(runs)]
    base, ours = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"xarray        {1000 * base:7.1f} ms   (median of {runs})")
    print(f"xearthformer  {1000 * ours:7.1f} ms")
    print(f"ratio         {ours / base:7.3f}      (at most 1.2)")


if __name__ == "__main__":
    main()
