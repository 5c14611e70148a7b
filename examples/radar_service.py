"""A folder of a weather service's radar files: opened, watched, forecast and scored.

    python examples/radar_service.py                  # ODIM, KNMI, MRMS and BoM, made on the spot
    python examples/radar_service.py --folder FOLDER  # your own files

For each service: `open_radar` of the folder, `to_step` and `to_spacing` where its files are of
another step or spacing, a nowcast that `watch` writes as for a file that has just arrived, and
tables of scores of the last hour, of single forecasts and of ensembles, beside pysteps' methods,
where pysteps is installed. Storms are simulated: the tables show how methods are compared, not
which of them is best in real rain. Writes OUT/<service>/ with the forecasts,
and OUT/<service>.png.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path

import matplotlib
import radar_files  # in the same folder
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main as xearthformer
from xearthformer.comparison.compare import compare
from xearthformer.comparison.tables import summary
from xearthformer.plots import frames as plots

matplotlib.use("agg")

SERVICES = {
    "fmi": radar_files.write_fmi,  # ODIM HDF5, reflectivity
    "knmi": radar_files.write_knmi,  # HDF5, amounts of five minutes
    "mrms": radar_files.write_mrms,  # GRIB2, rates on latitude and longitude
    "bom": radar_files.write_bom,  # NetCDF, amounts
}
PACK = "nowcast-radar"
FRAMES = 26  # an hour before the init, and an hour after it
SIDE = 192  # pixels; 128 of them are scored, the others are the surroundings
SQUARE, SURROUNDINGS = 128, 32
MEMBERS = 4  # a service takes 20 or more


def nowcast(folder: Path, out: Path) -> xr.DataArray:
    """The record as the pack takes it, after `watch` has forecast from its newest file."""
    xearthformer(["watch", str(folder), "--pack", PACK, "-o", str(out), "--once", "--picture"])
    rain = xef.open_radar(folder)
    return xef.to_spacing(xef.to_step(rain, "5min"), "1 km").load()


def score(rain: xr.DataArray, name: str, picture: Path) -> None:
    """Single forecasts and ensembles of the last hour, from the frame before it; and a picture."""
    by_pysteps = importlib.util.find_spec("pysteps") is not None
    singles = ["persistence", *(["pysteps", "sprog"] if by_pysteps else []), PACK]
    ensembles = [*(["steps"] if by_pysteps else []), PACK]
    init = rain["time"].values[-13]
    square = {"square": SQUARE, "surroundings": SURROUNDINGS}
    for packs, members in ((singles, None), (ensembles, MEMBERS)):
        scores = compare(rain, packs, init=[init], lead=12, members=members, **square)
        print(f"\n{name}: {scores.attrs['pairs']} of a square of {SQUARE} km\n{summary(scores)}\n")
    fc = rain.earthformer.forecast(PACK, init=init, lead=12)
    leads = fc["lead"].values[[2, 5, 11]]
    plots.frames({PACK: fc}, rain, init=init, lead=leads).savefig(picture, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="radar files of a service")
    parser.add_argument("-o", "--out", type=Path, default=Path("nowcasts"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        folders = {} if args.folder is None else {args.folder.name: args.folder}
        if not folders:
            rain = radar_files.storms(FRAMES, SIDE)
            for name, write in SERVICES.items():
                folders[name] = Path(root) / name
                folders[name].mkdir()
                write(folders[name], rain)
        for name, folder in folders.items():
            rain = nowcast(folder, args.out / name)
            score(rain, name, args.out / f"{name}.png")


if __name__ == "__main__":
    main()
