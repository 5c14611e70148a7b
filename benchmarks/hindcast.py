"""Ten inits or a thousand: what hindcasts hold in memory, and how fast they go.

    python benchmarks/hindcast.py [--pack enso-ersst] [--inits 10 100 1000]

Simulated sea surface temperature of 90 years lies in a Zarr store and is read lazily; forecasts
stream to another: by `hindcast` in a Python of its own, by the two processes of a dask cluster, and
as a lazy `forecast` that dask's two threads write. Prints the peak of resident memory over that of
a Python that has imported everything and loaded the pack (of a cluster, that of its largest
worker, without dask's profiler, which keeps an hour of a worker's stacks), and inits a second,
starts not counted.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = ("hindcast, here", "hindcast, cluster", "forecast, threads")


def peak() -> float:
    """The most resident memory this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def ready(pack: str) -> float:
    """Import everything and load a pack; the peak of memory then."""
    import torch

    import xearthformer as xef
    from xearthformer.hindcasts import hindcast  # noqa: F401
    from xearthformer.inference import engine

    torch.set_num_threads(1)
    engine.load(xef.open_pack(pack), engine.Settings("cpu", batch_size=1))
    return peak()


def save_data(path: str, months: int) -> None:
    import xearthformer as xef

    sst = xef.synthetic_sst(years=max(30, -(-months // 12)), start="1920-01")
    ssta = sst["sst"].earthformer.anomaly(("1920", "1949"))
    ssta.drop_encoding().to_dataset(name="ssta").chunk(time=12).to_zarr(path)


def measure(case: str, inits: int, pack: str, data: str) -> dict[str, float]:
    """One case, in this Python: seconds, and the peak of memory in MB over what it has at first."""
    import dask
    import xarray as xr

    import xearthformer as xef

    ssta = xr.open_zarr(data)["ssta"]
    first = xef.open_pack(pack).card.context - 1
    asked = slice(*ssta["time"].values[[first, first + inits - 1]])
    base = ready(pack)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "out.zarr")
        start = time.perf_counter()
        if case == "hindcast, here":
            xef.hindcast(ssta, pack, store, init=asked)
        elif case == "forecast, threads":
            fc = ssta.earthformer.forecast(pack, init=asked, chunks=8)
            with dask.config.set(num_workers=2):
                fc.drop_encoding().to_dataset(name="ssta").to_zarr(store)
        else:
            from distributed import Client, LocalCluster

            dask.config.set({"distributed.worker.profile.enabled": False})
            setup = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
            with LocalCluster(**setup) as cluster, Client(cluster) as client:
                before = client.run(ready, pack)
                start = time.perf_counter()
                xef.hindcast(ssta, pack, store, init=asked)
                seconds = time.perf_counter() - start
                after = client.run(peak)
            return {"seconds": seconds, "over": max(after[w] - before[w] for w in after)}
        return {"seconds": time.perf_counter() - start, "over": peak() - base}


def alone(*arguments: str) -> dict[str, float]:
    """`measure` in a fresh Python."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="enso-ersst")
    parser.add_argument("--inits", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        case, inits, pack, data = asked.measure
        print(json.dumps(measure(case, int(inits), pack, data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "in.zarr")
        save_data(data, max(asked.inits) + 60)
        print("case                inits  MB over       s  inits/s")
        for case in CASES:
            for inits in asked.inits:
                found = alone(case, str(inits), asked.pack, data)
                speed = inits / found["seconds"]
                print(
                    f"{case:18}{inits:7}{found['over']:9.0f}{found['seconds']:8.1f}{speed:9.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
