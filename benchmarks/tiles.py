"""A continent through a model of 384: what tiles cost in time, and what they hold in memory.

    python benchmarks/tiles.py [--data radar_mrms_20190610_east.nc] [--inits 1 8] [--units 16]

Forecasts of 2200 x 2000 pixels by an untrained Earthformer of few units, each in a Python of its
own: of one tile alone; of data in memory; and of dask data, streamed to a Zarr store. Prints
seconds, seconds a tile, and the peak of resident memory over that of a Python that has imported
everything and loaded the pack.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("XEF_SHARED", ROOT / ".." / "shared"))
DATA = SHARED / "data" / "radar_mrms_20190610_east.nc"
HISTORY, REACH, SIDE = 5, 6, 384


def save_pack(folder: Path, units: int) -> None:
    """An untrained network of few units in the published form: 5 frames in, 6 out, 384 x 384."""
    import torch

    import xearthformer as xef
    from xearthformer import models
    from xearthformer.models.layers.stem import Stem
    from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Quantity, Training
    from xearthformer.packs.scale import Scale

    config = {
        "input_shape": (HISTORY, SIDE, SIDE, 1),
        "target_shape": (REACH, SIDE, SIDE, 1),
        "base_units": 4 * units,
        "stem": Stem(
            "stack_conv",
            scales=(3, 2, 2),
            convs=(1, 1, 1),
            dims=(units, 2 * units, 4 * units),
            final_convs=(1, 1, 1),
        ),
    }
    torch.manual_seed(0)
    rain = Quantity(standard_name="rainfall_rate", units="mm h-1", valid_min=0.0)
    card = Card(
        name="few-units",
        version="1",
        title="untrained",
        model=ModelSpec(name="earthformer", config={}),
        input=rain,
        output=rain,
        grid=PixelGrid(height=SIDE, width=SIDE),
        time_step="2min",
        history=HISTORY,
        reach=REACH,
        scale=Scale(factor=20.0),
        training=Training(data="none"),
    )
    xef.save_pack(folder, models.build("earthformer", config), card)


def measure(case: str, inits: int, data: str, pack: str) -> dict[str, float]:
    """One case, in this Python: seconds of the forecast, and the peak of memory in MB."""
    import dask
    import torch
    import xarray as xr

    import xearthformer as xef
    from xearthformer.inference import engine

    torch.set_num_threads(1)  # dask's threads share the cores; the others keep to one, to compare
    pack = xef.open_pack(pack)
    engine.load(pack, engine.Settings("cpu", 1))
    lazy = case != "in memory"
    ds = xr.open_dataset(data, decode_coords="all", chunks={} if lazy else None)
    rain = ds["rain_rate"].fillna(0) if lazy else ds["rain_rate"]
    asked = ds["time"].values[[HISTORY + 3 * i for i in range(inits)]]
    start = time.perf_counter()
    if case == "in memory":
        rain = rain.isel(time=slice(HISTORY + 3 * inits)).load().fillna(0)
        rain.earthformer.forecast(pack, init=asked)
    elif case == "one tile":
        crop = rain.isel(lat=slice(SIDE), lon=slice(SIDE)).load()
        start = time.perf_counter()
        crop.earthformer.forecast(pack, init=asked)
    elif case == "dask to zarr":
        fc = rain.earthformer.forecast(pack, init=asked)
        with tempfile.TemporaryDirectory() as folder, dask.config.set(num_workers=2):
            fc.drop_encoding().to_dataset(name="rain_rate").to_zarr(Path(folder) / "fc.zarr")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "peak": peak}


def alone(*arguments: str) -> dict[str, float]:
    """`measure` in a fresh Python."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=str(DATA), help="the MRMS file")
    parser.add_argument("--inits", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--units", type=int, default=8, help="channels of the finest level")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        case, inits, data, pack = asked.measure
        print(json.dumps(measure(case, int(inits), data, pack)))
        return
    with tempfile.TemporaryDirectory() as folder:
        save_pack(Path(folder), asked.units)
        base = alone("nothing", "1", asked.data, folder)["peak"]
        print(f"a Python with everything imported and the pack loaded: {base:.0f} MB")
        print("case          inits  tiles       s  s/tile  MB over  answer MB")
        cases = [("one tile", 1, 1)]
        cases += [("in memory", n, 56 * n) for n in asked.inits[:1]]
        cases += [("dask to zarr", n, 56 * n) for n in asked.inits]
        for case, inits, tiles in cases:
            found = alone(case, str(inits), asked.data, folder)
            answer = inits * REACH * (SIDE**2 if tiles == 1 else 2200 * 2000) * 4 / 1e6
            each = found["seconds"] / tiles
            over = found["peak"] - base
            print(
                f"{case:14}{inits:6}{tiles:7}{found['seconds']:8.1f}{each:8.2f}{over:9.0f}{answer:11.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
