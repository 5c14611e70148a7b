"""From nothing to a first forecast: minutes and megabytes, in an environment made for it.

    python benchmarks/first_forecast.py [--pip ARGS] [--keep FOLDER]

Makes a virtual environment, fetches this checkout's package with the extra `plot` and all that it
needs, installs that, and runs ten lines that forecast El Niño and draw a plume. Nothing is taken
from pip's cache. How long fetching takes is a matter of the network; packages that pip finds in a
folder of this machine cost next to nothing, and count as megabytes all the same. PyPI's torch for
Linux brings CUDA: `--pip="--extra-index-url https://download.pytorch.org/whl/cpu"` spares it.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORECAST = """
import matplotlib
matplotlib.use("agg")
import xearthformer as xef

sst = xef.synthetic_sst(years=50, start="1960-01")["sst"]
ssta = sst.earthformer.anomaly(climatology=("1970", "1999"))
fc = ssta.earthformer.forecast("enso-ersst", members=50)
fc.earthformer.plot.plume(obs=ssta).figure.savefig("plume.png")
print(dict(fc.sizes))
"""


def megabytes(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def step(title: str, *command: str | Path, cwd: Path) -> float:
    """Run a command, print how long it took, and return the seconds."""
    start = time.perf_counter()
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{title}: {done.stderr}")
    taken = time.perf_counter() - start
    print(f"{title:<28}{taken:7.1f} s", flush=True)
    return taken


def measure(folder: Path, pip_args: list[str]) -> None:
    """Go all the way in a folder, and print what it takes."""
    python, wheels = folder / "venv" / "bin" / "python", folder / "wheels"
    pip = python, "-m", "pip"
    fetch = "wheel", "--no-cache-dir", "-c", ROOT / "constraints.txt", "-w", wheels, *pip_args
    taken = step("a virtual environment", sys.executable, "-m", "venv", "venv", cwd=folder)
    empty = megabytes(folder / "venv")
    taken += step("fetching", *pip, *fetch, f"{ROOT}[plot]", cwd=folder)
    local = "install", "--no-index", "--no-deps"
    taken += step("installing", *pip, *local, *sorted(wheels.glob("*.whl")), cwd=folder)
    taken += step("ten lines, first time", python, "-c", FORECAST, cwd=folder)
    on_disk = megabytes(folder / "venv") - empty
    step("ten lines, again", python, "-c", FORECAST, cwd=folder)
    (own,) = wheels.glob("xearthformer-*.whl")
    print(f"{taken / 60:.1f} minutes to the first forecast and its picture")
    print(f"{len(list(wheels.iterdir()))} packages, {megabytes(wheels):.0f} MB fetched,", end=" ")
    print(f"{own.stat().st_size / 1e6:.0f} of them xearthformer's own; {on_disk:.0f} MB on disk")
    for path in sorted(wheels.iterdir(), key=lambda path: -path.stat().st_size)[:5]:
        print(f"  {path.name.partition('-')[0]:<26}{path.stat().st_size / 1e6:7.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip", default="", help="more arguments for pip")
    parser.add_argument("--keep", type=Path, help="an empty folder to do it in, which stays")
    args = parser.parse_args()
    words = shlex.split(args.pip)
    if args.keep:
        args.keep.mkdir(parents=True)
        return measure(args.keep.resolve(), words)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), words)


if __name__ == "__main__":
    main()
