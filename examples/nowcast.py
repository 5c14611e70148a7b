"""A nowcast of radar: opened, forecast, scored beside persistence, and drawn.

    python examples/nowcast.py radar_mch_20160711.nc   # a record that xef.open_radar opens
    python examples/nowcast.py                         # simulated storms, in a SEVIR file made here

Writes frames.png and csi.png to the working directory.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import matplotlib
import numpy as np
import pandas as pd
import xarray as xr

import xearthformer as xef
from xearthformer.plots import frames as plots

matplotlib.use("agg")

SEVIR_FILE = "vil/2019/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5"
CATALOG_ROW = {  # what SEVIR's catalogue says of an event: 384 km around 38 N, 98 W
    "id": "S000001",
    "file_name": SEVIR_FILE,
    "file_index": 0,
    "img_type": "vil",
    "time_utc": "2019-05-26 00:55:00",
    "minute_offsets": ":".join(map(str, range(-120, 125, 5))),
    "event_type": "Hail",
    "llcrnrlat": 36.25356142,
    "llcrnrlon": -100.14123425,
    "urcrnrlat": 39.70573839,
    "urcrnrlon": -95.75553367,
    "proj": "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere ",
    "size_x": 384,
    "size_y": 384,
    "height_m": 384000.0,
    "width_m": 384000.0,
    "pct_missing": 0.0,
}


def make_sevir(root: Path, seed: int) -> Path:
    """An event of simulated storms in a SEVIR file, (event, y, x, time), and its catalogue."""
    vil = xef.synthetic_storms(seed, events=1)["vil"].transpose("event", "y", "x", "time")
    path = root / "data" / SEVIR_FILE
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["vil"] = vil.values.astype(np.uint8)
        file["id"] = np.array([CATALOG_ROW["id"]], "S")
    pd.DataFrame([CATALOG_ROW]).to_csv(root / "CATALOG.csv", index=False)
    return path


def open_frames(path: Path) -> xr.DataArray:
    """Frames every five minutes: rain rate of a radar record, or vil of the first SEVIR event."""
    if path.suffix != ".h5":
        return xef.open_radar(path).load()
    return xr.open_dataset(path, engine="sevir")["vil"].isel(event=0).load()


def forecast(frames: xr.DataArray, name: str, inits: np.ndarray) -> xr.DataArray:
    """An hour ahead by a pack of rain rate; vil goes there as the rain below it, and comes back."""
    if frames.name != "vil":
        return frames.earthformer.forecast(name, init=inits, lead=12)
    rain = xef.rain_of_vil(frames)
    return xef.vil_of_rain(rain.earthformer.forecast(name, init=inits, lead=12))


def nowcast(frames: xr.DataArray, pack: str) -> None:
    """Forecasts from every half hour, their scores as a table, and two pictures."""
    inits = frames["time"].values[12:-12:6]  # an hour before to look at, an hour after to verify
    forecasts = {name: forecast(frames, name, inits) for name in (pack, "persistence")}
    scores = {name: fc.earthformer.verify(frames) for name, fc in forecasts.items()}
    csi = xr.concat(
        [found["csi"].mean("lead", skipna=False) for found in scores.values()],
        pd.Index(list(scores), name="forecast"),
    )
    count = f"{len(inits)} init{'s' * (len(inits) > 1)}"
    print(f"{frames.name}: {count}, critical success index, mean of 5 to 60 minutes:")
    print(csi.to_pandas().round(3).to_string())
    leads = np.array([15, 30, 60], "m8[m]").astype("m8[ns]")
    figure = plots.frames(forecasts, frames, init=inits[-1], lead=leads)
    figure.savefig("frames.png", dpi=120)
    plots.by_lead(scores).savefig("csi.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, help="a radar record, or a SEVIR file (.h5)")
    parser.add_argument("--pack", default="nowcast-radar")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated storms")
    args = parser.parse_args()
    if args.path is not None:
        nowcast(open_frames(args.path), args.pack)
        return
    with tempfile.TemporaryDirectory() as root:
        nowcast(open_frames(make_sevir(Path(root), args.seed)), args.pack)


if __name__ == "__main__":
    main()
