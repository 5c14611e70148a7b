"""An ensemble by diffusion, free and told to be wetter; the same from dask; scored and drawn.

    python examples/ensemble.py radar_mch_20160711.nc   # a record that xef.open_radar opens
    python examples/ensemble.py                          # simulated storms

Writes stamps.png, exceedance.png, ranks.png and control.png to the working directory.
"""

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr

import xearthformer as xef
from xearthformer.plots import panels

matplotlib.use("agg")
import matplotlib.pyplot as plt

SIGMAS = (-4, -2, 0, 2, 4)
REACH = 6  # frames of ten minutes


def open_rain(path: Path | None) -> xr.DataArray:
    """Rain rate in mm/h every ten minutes, in a square of 128 km where it rains most."""
    if path is None:
        rain = xef.synthetic_storms(seed=7, size=192)["rain_rate"].isel(event=0, drop=True)
    else:
        rain = xef.open_radar(path)
    rain = rain.isel(time=slice(None, None, 2)).load()
    wet = (rain >= 0.5).mean("time").fillna(0)
    y, x = (dim for dim in rain.dims if dim != "time")
    here = wet.rolling({y: 128, x: 128}).sum().argmax([y, x])
    return rain.isel({dim: slice(int(end) - 127, int(end) + 1) for dim, end in here.items()})


def draw_control(rain: xr.DataArray, swept: xr.DataArray, free: xr.DataArray) -> plt.Figure:
    """The paper's figure: context, truth, and a row for each number of standard deviations."""
    init = swept["init"].values[0]
    before = rain.sel(time=slice(None, init)).isel(time=slice(-REACH, None))
    truth = rain.sel(time=swept["valid_time"].values[0])
    rows = {"context": before, "truth": truth, "free": free.isel(init=0, member=0)}
    rows |= {f"{n:+d} sigma": swept.isel(init=0, member=m) for m, n in enumerate(SIGMAS)}
    size = REACH * 1.5, len(rows) * 1.5 + 1
    _, axes = plt.subplots(len(rows), REACH, figsize=size, layout="compressed")
    colours = panels.class_colours([rain])
    for (name, frames), line in zip(rows.items(), axes, strict=True):
        northward = frames.sortby(list(frames.dims[1:]))
        for k, ax in enumerate(line):
            image = panels.draw_frame(ax, northward[k], colours, pixels=True)
        line[0].set_ylabel(name)
    label = panels.variable_label(rain) + panels.unknown_note(free)
    return panels.finish(axes, image, label, "10 minutes a frame", extend="max")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--members", type=int, default=20)
    options = parser.parse_args()
    rain = open_rain(options.file)
    inits = rain["time"].values[[-REACH - 1]]
    how = {"init": inits, "members": options.members, "seed": 1}

    started = time.perf_counter()
    free = rain.earthformer.forecast("prediff-radar", **how)
    print(f"{options.members} members in {time.perf_counter() - started:.0f} s: {dict(free.sizes)}")
    wet = xef.anticipated_intensity(sigmas=+2)
    told = rain.earthformer.forecast("prediff-radar", guidance=wet, **how)
    lazy = rain.chunk({"time": 3}).earthformer.forecast("prediff-radar", guidance=wet, **how)
    same = np.array_equal(lazy.compute(), told, equal_nan=True)
    print(f"the same bits from dask: {same}")
    print(
        f"mean rain, free and at +2 sigma: {float(free.mean()):.2f}, {float(told.mean()):.2f} mm/h"
    )

    scores = free.earthformer.verify(rain, scores=["crps", "spread_skill", "rank_histogram"])
    by_lead = scores[["crps", "spread_skill"]].reset_coords(drop=True).to_dataframe()
    print(by_lead.round(3).to_string())

    swept = rain.earthformer.forecast(
        "prediff-radar",
        init=inits,
        members=len(SIGMAS),
        seed=1,
        guidance=xef.anticipated_intensity(sigmas=SIGMAS),
    )
    scaled = xef.open_pack("prediff-radar").card.scale.apply(swept)  # as its network sees it
    intensity = scaled.mean([dim for dim in swept.dims if dim != "member"]).values
    by_sigma = ", ".join(f"{n:+d}: {one:.3f}" for n, one in zip(SIGMAS, intensity, strict=True))
    print(f"mean intensity by sigma: {by_sigma}")

    free.earthformer.plot.stamps(rain).savefig("stamps.png")
    free.earthformer.plot.exceedance(1.0, rain).savefig("exceedance.png")
    free.earthformer.plot.rank_histogram(rain).figure.savefig("ranks.png")
    draw_control(rain, swept, free).savefig("control.png")
    print("drawn: stamps.png, exceedance.png, ranks.png, control.png")


if __name__ == "__main__":
    main()
