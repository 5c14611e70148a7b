"""Fit what ships without a network: packs `lim` and `damped-persistence`, and the SST simulator.

    python examples/fit_lim.py ersst_v3b_1960_2009.nc --period 1960 2009 --out fitted

reads monthly SST on a global grid, takes the anomaly against the period's own climatology, brings
it onto the 5-degree grid of ICAR-ENSO, fits, and writes fitted/lim, fitted/damped-persistence and
fitted/ersst_patterns.safetensors.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import xearthformer as xef
from xearthformer import cf, grid
from xearthformer.cards import ICAR_GRID, LAND, SEA, SST_ANOMALY, Card, ModelSpec, Training
from xearthformer.data.synthetic import Patterns, fit_patterns, save_patterns
from xearthformer.models.lim import LIM, LIMConfig
from xearthformer.models.persistence import DampedPersistence

TITLES = {
    "lim": "Linear inverse model of sea surface temperature anomaly",
    "damped-persistence": "Sea surface temperature anomaly, fading as each cell remembers",
}
REFERENCES = {
    "lim": ["Penland and Sardeshmukh, J. Climate 8, 1999-2024, 1995"],
    "damped-persistence": [],
}


def on_model_grid(sst: xr.DataArray) -> xr.DataArray:
    """Anomaly (time, y, x) against the climatology of the whole record, on the ICAR-ENSO grid."""
    years = sst["time"].dt.year.values
    ssta = xef.anomaly(sst, climatology=(str(years[0]), str(years[-1])))
    prepared, _ = cf.prepare(ssta, units="degC", difference=True, latlon=True)
    return grid.to_model(prepared, ICAR_GRID.latitude, ICAR_GRID.longitude)


def fit(sst: xr.DataArray, config: LIMConfig | None = None) -> tuple[LIM, Patterns]:
    """The LIM of a record of SST (time, lat, lon), and the simulator that it drives.

    `synthetic_sst(patterns=...)` takes the second: fit it to the training years alone where the
    simulation is to augment training data.
    """
    ssta = on_model_grid(sst)
    lim = LIM.fit(ssta.to_numpy(), ICAR_GRID.latitude, config)
    components = lim.project(torch.from_numpy(ssta.to_numpy())[..., None])[:, 0].numpy()
    patterns = fit_patterns(sst, components, lim.propagator.numpy(), lim.noise_covariance.numpy())
    return lim, patterns


def card(name: str, land: np.ndarray, period: tuple[str, str]) -> Card:
    """What `forecast` must know of a fitted model on the ICAR-ENSO grid."""
    rows = ["".join(row) for row in np.where(land, LAND, SEA)]
    return Card(
        name=name,
        version="1",
        title=TITLES[name],
        model=ModelSpec(name=name, config={}),
        input=SST_ANOMALY,
        output=SST_ANOMALY,
        grid=ICAR_GRID.model_copy(update={"land": rows}),
        time_step="month",
        history=1,
        reach=14,
        missing="land",
        training=Training(
            data="NOAA ERSST v3b, anomaly against the climatology of the period",
            period=f"{period[0]}-01/{period[1]}-12",
            licence="public domain (US Government)",
        ),
        references=REFERENCES[name],
    )


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="netCDF of monthly SST (ERSST)")
    parser.add_argument("--period", nargs=2, default=("1960", "2009"), metavar=("FROM", "TO"))
    parser.add_argument("--out", type=Path, default=Path("fitted"))
    args = parser.parse_args()
    with xr.open_dataset(args.path) as ds:
        sst = ds["sst"].sel(time=slice(*args.period)).load()
    lim, patterns = fit(sst)
    ssta = on_model_grid(sst)
    land = ssta.isnull().any("time").to_numpy()
    for name, model in (("lim", lim), ("damped-persistence", DampedPersistence.fit(ssta))):
        print(xef.save_pack(args.out / name, model, card(name, land, tuple(args.period))))
    about = f"fitted to NOAA ERSST v3b, {'-'.join(args.period)}"
    save_patterns(patterns, args.out / "ersst_patterns.safetensors", about)


if __name__ == "__main__":
    main()
