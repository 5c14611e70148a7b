"""From a new radar frame to a written nowcast: nowcast-radar beside pysteps' extrapolation.

    python benchmarks/radar_latency.py radar.nc [--frames 3] [--size 0]

Frames of a record lie in a folder, one NetCDF file each. One way forecasts an hour from the newest
and writes it as NetCDF: `xef.watch` with nowcast-radar, or pysteps (Lucas-Kanade on three frames,
semi-Lagrangian extrapolation of twelve leads). Prints seconds in a fresh process, from its start,
and in one that goes on, from each further file (the median), and the peak of resident memory; then
how often pysteps' own these are.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

ROOT = Path(__file__).parents[1]
CONTEXT, LEADS, STEP = 4, 12, pd.Timedelta("5min")
WAYS = ("pysteps", "nowcast-radar")


def cut(file: str, folder: Path, frames: int, size: int) -> None:
    """Write the last frames of a record as files of one frame each, in the record's own codes."""
    with xr.open_dataset(file, decode_coords="all") as ds:
        square = {dim: slice(0, size) for dim in ("y", "x")} if size else {}
        for i in range(-CONTEXT - frames, 0):
            one = ds.isel({"time": [i], **square})
            for variable in one.variables.values():
                variable.encoding.pop("chunksizes", None)
            one.to_netcdf(folder / f"{one.time[0].dt.strftime('%Y%m%dT%H%M').item()}.nc")


def by_watch(folder: Path, out: Path) -> Iterator[Path]:
    """Yield each nowcast that watch writes."""
    from xearthformer.cli.watch import Made, watch

    for event in watch(folder, "nowcast-radar", out, every=0.05):
        if not isinstance(event, Made):
            raise RuntimeError(str(event))
        yield event.path


def by_pysteps(folder: Path, out: Path) -> Iterator[Path]:
    """Yield a nowcast for each new file, read like watch does: what was read is kept."""
    from pysteps import motion, nowcasts
    from pysteps.utils import transformation

    import xearthformer as xef
    from xearthformer.cli.files import write_file

    flow = motion.get_method("LK")
    extrapolate = nowcasts.get_method("extrapolation")
    read: dict[Path, xr.DataArray] = {}
    while True:
        new = [path for path in sorted(folder.glob("*.nc"))[-3:] if path not in read]
        if not new:
            time.sleep(0.05)
            continue
        read |= {path: xef.open_radar(path).load() for path in new}
        frames = [read[path] for path in sorted(read)[-3:]]
        rain = np.concatenate([np.nan_to_num(frame.values) for frame in frames])
        decibels, _ = transformation.dB_transform(rain, threshold=0.1, zerovalue=-15.0)
        values = extrapolate(rain[-1], flow(decibels), LEADS)
        fc = nowcast(frames[-1], values)
        path = out / f"{frames[-1].time[0].dt.strftime('%Y%m%dT%H%M').item()}.nc"
        write_file(fc.to_dataset(name="rain_rate"), path)
        yield path


def nowcast(frame: xr.DataArray, values: np.ndarray) -> xr.DataArray:
    """Put the labels of a forecast on values (lead, y, x)."""
    init = frame["time"].values
    lead = STEP.to_timedelta64() * np.arange(1, LEADS + 1)
    coords = {name: coord for name, coord in frame.coords.items() if "time" not in coord.dims}
    coords |= {"init": ("init", init), "lead": ("lead", lead)}
    fc = xr.DataArray(values[None].astype("f4"), coords, ("init", "lead", "y", "x"))
    return fc.assign_coords(valid_time=fc["init"] + fc["lead"]).assign_attrs(frame.attrs)


def run(way: str, source: Path, folder: Path, out: Path) -> None:
    """Nowcast from the folder, then from each further file of the source; print what it took."""
    nowcasts = {"pysteps": by_pysteps, "nowcast-radar": by_watch}[way](folder, out)
    next(nowcasts)
    print(json.dumps({"first": time.time()}), flush=True)
    warm = []
    for path in sorted(source.glob("*.nc"))[CONTEXT:]:
        shutil.copy(path, folder)
        started = time.perf_counter()
        next(nowcasts)
        warm.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"warm": statistics.median(warm), "peak": peak}))


def measure(way: str, source: Path) -> dict[str, float]:
    """Run one way in a Python of its own: seconds fresh and warm, and MB."""
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "in", Path(place) / "out"
        folder.mkdir()
        out.mkdir()
        for path in sorted(source.glob("*.nc"))[:CONTEXT]:
            shutil.copy(path, folder)
        command = [sys.executable, __file__, "--run", way, *map(str, (source, folder, out))]
        started = time.time()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {"fresh": lines[0]["first"] - started, **lines[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a record of radar, every five minutes")
    parser.add_argument("--frames", type=int, default=3, help="further files")
    parser.add_argument("--size", type=int, default=0, help="of a square; 0: all")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        way, *paths = asked.run
        run(way, *map(Path, paths))
        return
    with tempfile.TemporaryDirectory() as place:
        cut(asked.file, Path(place), asked.frames, asked.size)
        found = pd.DataFrame({way: measure(way, Path(place)) for way in WAYS}).T
    found.loc["times pysteps"] = found.loc["nowcast-radar"] / found.loc["pysteps"]
    found.columns = ["fresh, s", "warm, s", "peak, MB"]
    print(found.round(2).to_string())


if __name__ == "__main__":
    main()
