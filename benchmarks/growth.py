"""How cost grows: seconds by number of inits, pixels of the domain, members and workers.

    python benchmarks/growth.py [--inits 10 100 1000 10000] [--size 128 256 512 1024 2048 4096]
        [--members 1 2 5 10 20 50 100] [--workers 1 2] [--picture growth.png]

Inits: a hindcast by `lim`, from one Zarr store to another. Pixels and members: one init of
`nowcast-radar` on simulated storms in memory, two hours ahead; members on 256 x 256 pixels. Workers
are processes of a dask cluster, at a hindcast of 600 inits; beside them as many processes that
multiply matrices, which is how far this machine's own cores help one another. Each case ran once
before, small, which isn't counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import xarray as xr
from hindcast import save_data

import xearthformer as xef

INITS_OF_WORKERS = 600
SIZE_OF_MEMBERS = 256
PRODUCTS = 60  # of 1024 x 1024, shared out among the processes
Row = tuple[int, float]


def seconds(task: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def hindcast(ssta: xr.DataArray, inits: int, folder: str) -> float:
    """Seconds of a hindcast to a new store."""
    first = xef.open_pack("lim").card.context - 1
    asked = slice(*ssta["time"].values[[first, first + inits - 1]])
    with tempfile.TemporaryDirectory(dir=folder) as store:
        return seconds(lambda: xef.hindcast(ssta, "lim", f"{store}/out.zarr", init=asked))


def by_inits(ssta: xr.DataArray, counts: list[int], folder: str) -> Iterator[Row]:
    hindcast(ssta, 2, folder)
    for count in counts:
        yield count, hindcast(ssta, count, folder)


def nowcast(size: int, members: int | None = None) -> float:
    """Seconds of a nowcast of a square domain."""
    frames = xef.open_pack("nowcast-radar").card.context
    storms = xef.synthetic_storms(seed=1, events=1, size=size, frames=frames)
    rain = storms["rain_rate"].isel(event=0).load()
    return seconds(lambda: rain.earthformer.forecast("nowcast-radar", members=members))


def by_size(sizes: list[int]) -> Iterator[Row]:
    nowcast(64)
    for size in sizes:
        yield size, nowcast(size)


def by_members(counts: list[int]) -> Iterator[Row]:
    nowcast(64, 1)
    for count in counts:
        yield count, nowcast(SIZE_OF_MEMBERS, count)


def multiply(count: int) -> None:
    a = np.random.default_rng(0).random((1024, 1024), dtype="f4")
    for _ in range(count):
        a @ a


def products(processes: int) -> float:
    """Seconds of the products by so many processes."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(multiply, [1] * processes))
        share = PRODUCTS // processes
        return seconds(lambda: list(pool.map(multiply, [share] * processes)))


def by_workers(ssta: xr.DataArray, counts: list[int], folder: str) -> Iterator[tuple[Row, Row]]:
    from distributed import Client

    for count in counts:
        with Client(n_workers=count, threads_per_worker=1, dashboard_address=None):
            hindcast(ssta, 2 * count, folder)
            ours = hindcast(ssta, INITS_OF_WORKERS, folder)
        yield (count, ours), (count, products(count))


def picture(path: str, found: dict[str, list[Row]]) -> None:
    """The rows as lines, both axes logarithmic; dotted, what grows in proportion."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="constrained")
    for ax, (name, rows) in zip(np.atleast_1d(axes), found.items(), strict=True):
        x, y = np.array(rows).T
        work = 1 / x if "workers" in name else x**2 if "side" in name else x
        ax.loglog(x, y, "o-")
        ax.loglog(x, y[-1] * work / work[-1], "k:", lw=1)
        ax.set(xlabel=name, ylabel="seconds")
        ax.set_xticks(x, [f"{n:g}" for n in x], rotation=60)
        ax.minorticks_off()
    fig.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--inits", type=int, nargs="*", default=[10, 100, 1000, 10000])
    add("--size", type=int, nargs="*", default=[128, 256, 512, 1024, 2048, 4096])
    add("--members", type=int, nargs="*", default=[1, 2, 5, 10, 20, 50, 100])
    add("--workers", type=int, nargs="*", default=[1, 2])
    add("--picture", help="where to draw it")
    args = parser.parse_args()
    found: dict[str, list[Row]] = {}

    def note(name: str, row: Row) -> None:
        found.setdefault(name, []).append(row)
        print(f"{row[0]:6d} {name:<28}{row[1]:9.2f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "in.zarr")
        inits = [*args.inits, INITS_OF_WORKERS] if args.workers else args.inits
        if inits:
            save_data(path, max(inits) + 60)
            ssta = xr.open_zarr(path)["ssta"]
        for row in by_inits(ssta, args.inits, folder) if args.inits else ():
            note("inits", row)
        for row in by_size(args.size) if args.size else ():
            note("pixels a side", row)
        for row in by_members(args.members) if args.members else ():
            note("members", row)
        for ours, machine in by_workers(ssta, args.workers, folder) if args.workers else ():
            note("workers", ours)
            note("workers, matrix products", machine)
    if args.picture:
        picture(args.picture, found)


if __name__ == "__main__":
    main()
