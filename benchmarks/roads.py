"""The same forecast by every road: seconds as ratios to data in memory, and whether bits are equal.

    python benchmarks/roads.py [--pack small|enso|enso-ersst] [--inits 120] [--runs 3]
    ... --precision bf16

Data in memory, dask's schedulers (one thread, 2 and 4 threads, processes), a cluster of two worker
processes, and beside a process that keeps one core busy; each in a Python of its own, with torch's
own threads as they are and with OMP_NUM_THREADS=1. Dask's processes start anew in each run. Medians
of runs after one that isn't counted. "small" and "enso" are untrained Earthformers, of 41 and 442
thousand numbers at the finest level: the first runs plain, the second fused.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

ROADS = "memory", "busy", "synchronous", "threads 2", "threads 4", "processes", "cluster 2"
BUSY = "while True: pass"


def pack_of(name: str, folder: Path) -> str:
    """A pack of this name: one that ships, or an untrained one, saved first."""
    if name not in ("small", "enso"):
        return name
    import torch
    from speed import network

    import xearthformer as xef
    from xearthformer.models.earthformer.earthformer import Earthformer, EarthformerConfig
    from xearthformer.models.layers.stem import Stem
    from xearthformer.packs.card import Card, ModelSpec
    from xearthformer.packs.published import PUBLISHED

    path = folder / name
    if not path.exists():
        stem = Stem("stack_conv", scales=((2, 2), (1, 1), (2, 2)), convs=(1,) * 3, dims=(8, 16, 48))
        shapes = {"input_shape": (12, 24, 48, 1), "target_shape": (14, 24, 48, 1)}
        torch.manual_seed(0)
        small = Earthformer(EarthformerConfig(**shapes, base_units=48, stem=stem)).eval()
        model = network("enso") if name == "enso" else small
        about = PUBLISHED["enso"]
        spec = ModelSpec(name="earthformer", config={})
        card = Card(name=name, version="0", model=spec, output=about["input"], history=12, reach=14,
                    **about)  # fmt: skip
        xef.save_pack(path, model, card)
    return str(path)


def data_for(pack: str, inits: int):
    """Simulated anomalies on the pack's grid, a time step for each init."""
    import numpy as np
    import xarray as xr

    import xearthformer as xef

    card = xef.open_pack(pack).card
    frames = card.context + inits - 1
    times = xr.date_range("1900-01-01", periods=frames, freq="MS")
    shape = frames, *card.grid.shape
    values = np.random.default_rng(0).normal(size=shape).astype("f4")
    coords = {"time": times, "lat": card.grid.latitude, "lon": card.grid.longitude}
    attrs = {"units": card.input.units, "standard_name": card.input.standard_name,
             "units_metadata": "temperature: difference"}  # fmt: skip
    return xr.DataArray(values, coords, ("time", "lat", "lon"), attrs=attrs, name="ssta")


def road(name: str, pack: str, inits: int, runs: int, precision: str) -> dict[str, object]:
    """Go it, in this Python: seconds, and a digest of the forecast."""
    import dask

    import xearthformer as xef  # noqa: F401

    da = data_for(pack, inits)
    lazy = da.chunk(time=12)
    kind, _, count = name.partition(" ")
    every = slice(None)

    def forecast(data):
        how = {"init": every, "device": "cpu", "precision": precision, "progress": False}
        return data.earthformer.forecast(pack, **how)

    ways: dict[str, Callable] = {
        "memory": lambda: forecast(da),
        "busy": lambda: forecast(da),
        "synchronous": lambda: forecast(lazy).compute(scheduler="synchronous"),
        "threads": lambda: forecast(lazy).compute(scheduler="threads", num_workers=int(count)),
        "processes": lambda: forecast(lazy).compute(scheduler="processes", num_workers=2),
        "cluster": lambda: forecast(lazy).compute(),
    }
    cluster = nullcontext()
    if kind == "cluster":
        from distributed import Client

        cluster = Client(n_workers=int(count), threads_per_worker=1, dashboard_address=None)
    spent = []
    with cluster, dask.config.set(num_workers=int(count) if kind == "threads" else 2):
        for _ in range(runs + 1):
            start = time.perf_counter()
            fc = ways[kind]()
            spent.append(time.perf_counter() - start)
    digest = hashlib.sha256(fc.to_numpy().tobytes()).hexdigest()
    return {"seconds": statistics.median(spent[1:]), "digest": digest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="small")
    parser.add_argument("--inits", type=int, default=120)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--roads", nargs="*", default=ROADS)
    parser.add_argument("--road", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.road:
        print(json.dumps(road(args.road, args.pack, args.inits, args.runs, args.precision)))
        return
    with tempfile.TemporaryDirectory() as folder:
        pack = pack_of(args.pack, Path(folder))
        print(f"{args.pack}, {args.inits} inits, {args.precision}, {os.cpu_count()} cores")
        found: dict[tuple[str, str], dict] = {}
        for threads in ("", "1"):
            env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
            env |= {"OMP_NUM_THREADS": threads} if threads else {}
            for name in args.roads:
                own = [sys.executable, __file__, "--pack", pack, "--inits", str(args.inits)]
                own += ["--runs", str(args.runs), "--precision", args.precision, "--road", name]
                other = subprocess.Popen([sys.executable, "-c", BUSY]) if name == "busy" else None
                try:
                    done = subprocess.run(own, env=env, capture_output=True, text=True, check=False)
                finally:
                    if other:
                        other.kill()
                if done.returncode:
                    raise RuntimeError(done.stderr)
                found[name, threads] = json.loads(done.stdout.splitlines()[-1])
        first = found[args.roads[0], ""]
        for name in args.roads:
            row = [found[name, threads] for threads in ("", "1")]
            ratios = "   ".join(
                f"{one['seconds']:7.2f} s {one['seconds'] / first['seconds']:5.2f}" for one in row
            )
            same = all(one["digest"] == first["digest"] for one in row)
            print(f"{name:<14}{ratios}   {'same bits' if same else 'OTHER BITS'}")


if __name__ == "__main__":
    main()
