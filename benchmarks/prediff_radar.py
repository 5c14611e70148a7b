"""How good is prediff-radar? An ensemble of real radar beside what a nowcaster would use instead.

python benchmarks/prediff_radar.py radar.nc [--size 128] [--inits 8] [--members 20] [--around 0]
                                            [--samplers] [--time]

The square where it rains most often: prediff-radar forecasts it from its own frames, or from
--around so many pixels of surroundings too, every ten minutes; nowcast-radar (alone, and its
members), STEPS (if pysteps is installed) and persistence every five, of which the ten are scored,
and from 128 pixels of surroundings too, as anyone would run them. Prints the scores of
docs/skill.md, the ratio of power spectra down to 8 km, ranks, and, with --samplers, what fewer
steps cost (hours: ddpm takes 1000). With --time it prints seconds alone: of both packs' members of
256 x 256 pixels.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
import xarray as xr

import xearthformer as xef
from xearthformer.comparison.compare import compare, given_forecast
from xearthformer.comparison.square import Square, find_square
from xearthformer.comparison.tables import summary

LEAD = 6
SURROUNDINGS = 128  # pixels
MEMBERS = "nowcast-radar, members"
KM = 128, 64, 32, 16, 8, 4


def nowcasts(
    domain: xr.DataArray, square: Square, inits: np.ndarray, members: int
) -> dict[str, xr.DataArray]:
    """Forecasts of a square by five-minute frames, of which every second lead is kept."""
    rain, how = square.crop(domain), {"init": inits, "lead": 2 * LEAD}
    ways = {
        "persistence": lambda: rain.earthformer.forecast("persistence", **how),
        "nowcast-radar": lambda: rain.earthformer.forecast("nowcast-radar", **how),
        MEMBERS: lambda: rain.earthformer.forecast("nowcast-radar", members=members, **how),
        "steps": lambda: xef.extrapolate(rain, members=members, seed=0, **how),
    }
    found = {}
    for name, way in ways.items():
        try:
            # A copy of the square: members of all that was read are a gigabyte.
            found[name] = square.inside(way().isel(lead=slice(1, None, 2))).copy()
        except ImportError:
            print("STEPS is left out: pip install 'xearthformer[pysteps]'")
    return found


def timed(
    rain: xr.DataArray, inits: np.ndarray, name: str = "prediff-radar", **how
) -> tuple[xr.DataArray, float]:
    started = time.perf_counter()
    fc = rain.earthformer.forecast(name, init=inits, **how)
    return fc, time.perf_counter() - started


def in_time(domain: xr.DataArray, members: int) -> None:
    """Print the seconds of ensembles of an hour as a weather service would make them."""
    rain = find_square(domain, 256, 0, 0.5).inside(domain)
    init = rain["time"].values[[12]]
    slow = rain.isel(time=slice(None, None, 2))
    for name, frames, quick in (("nowcast-radar", rain, {}), ("prediff-radar", slow, {"steps": 2})):
        timed(frames, init, name, members=1, **quick)  # opens the pack
        fc, seconds = timed(frames, init, name, members=members)
        sizes = " x ".join(f"{fc.sizes[dim]} {dim}" for dim in ("member", "lead", "y", "x"))
        print(f"{name}, {sizes}, {torch.get_num_threads()} threads: {seconds:.0f} s")


def spectra(forecasts: dict[str, xr.DataArray], rain: xr.DataArray) -> pd.DataFrame:
    """Power of forecasts' members over that observed, by wavelength: of all leads, of the last."""
    rows = {}
    for name, fc in forecasts.items():
        power = fc.earthformer.verify(rain, scores=["spectrum"])
        power = power.mean([dim for dim in power.dims if dim not in ("lead", "wavelength")])
        per_km = 1000 if power["wavelength"].attrs.get("units") == "m" else 1
        for title, of in ((name, power.mean("lead")), (f"  {10 * LEAD} min", power.isel(lead=-1))):
            ratio = of["spectrum"] / of["spectrum_observed"]
            rows[name, title] = {
                f"{km} km": float(ratio.sel(wavelength=km * per_km, method="nearest")) for km in KM
            }
    return pd.DataFrame(rows).T.droplevel(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--inits", type=int, default=8)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--around", type=int, default=0, help="pixels that prediff-radar reads")
    parser.add_argument("--zr", type=float, nargs=2, help="of reflectivity; FMI's are 223 1.53")
    parser.add_argument("--samplers", action="store_true")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    domain = xef.open_radar(options.file, zr=options.zr and tuple(options.zr)).load()
    if options.time:
        return in_time(domain, options.members)
    square, around = (
        find_square(domain, options.size, pixels, 0.5) for pixels in (SURROUNDINGS, options.around)
    )
    rain = square.inside(domain)
    slow = rain.isel(time=slice(None, None, 2))
    possible = slow["time"].values[6:-LEAD]
    inits = possible[np.linspace(0, len(possible) - 1, options.inits).astype(int)]

    forecasts = nowcasts(domain, square, inits, options.members)
    read = around.crop(domain).isel(time=slice(None, None, 2))
    ensemble, seconds = timed(read, inits, members=options.members)
    forecasts["prediff-radar"] = around.inside(ensemble)
    print(f"{len(inits)} inits x {options.members} members of prediff-radar: {seconds:.0f} s")
    rows = [given_forecast(name, fc) for name, fc in forecasts.items()]
    result = compare(slow, rows, init=list(inits), lead=LEAD, thresholds=[0.5, 1.0, 5.0])
    print(summary(result))
    print("\nPower of rain over that observed")
    print(spectra(forecasts, slow).round(2).to_string())
    for name in ("steps", MEMBERS, "prediff-radar"):
        if name in forecasts:
            found = forecasts[name].earthformer.verify(slow, scores=["rank_histogram"])
            print(f"\nShare of each rank, {name}")
            share = found["rank_histogram"].mean("lead")
            print((share / share.sum()).round(3).values)
    if options.samplers:
        samplers(slow, inits)


def samplers(rain: xr.DataArray, inits: np.ndarray) -> None:
    """CRPS and seconds of fewer steps beside ddpm in 1000, on the same seeds, init by init."""
    crps, seconds = {}, {}
    for name, steps in (("dpm++", 6), ("dpm++", 20), ("ddim", 50), ("ddpm", 1000)):
        how = {"members": 8, "sampler": name, "steps": steps}
        drawn = [timed(rain, init, **how) for init in inits[:, None]]
        found = [fc.earthformer.verify(rain, scores=["crps"])["crps"].mean() for fc, _ in drawn]
        crps[f"{name}, {steps}"] = [float(each) for each in found]
        seconds[f"{name}, {steps}"] = np.median([taken for _, taken in drawn])
    by_init, seconds = pd.DataFrame(crps), pd.Series(seconds)
    ddpm = by_init["ddpm, 1000"]
    table = pd.DataFrame(
        {
            "CRPS": by_init.mean(),
            "CRPS / ddpm": by_init.mean() / ddpm.mean(),
            "standard error": by_init.sub(ddpm, axis="index").sem() / ddpm.mean(),
            "s an init": seconds,
            "times as fast": seconds["ddpm, 1000"] / seconds,
        }
    )
    print(f"\nSamplers, 8 members of {len(inits)} inits")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
