"""Fit the simulator of sea surface temperature, and the packs of persistence.

    python examples/fit_simulator.py ersst_v3b_1960_2009.nc --period 1960 1999 --test 2000 2009

reads monthly SST on a global grid, takes the anomaly against the period's own climatology, brings
it onto the 5-degree grid of ICAR-ENSO, fits a LIM with delays but without seasons, and writes to
the folder fitted two simulators that `synthetic_sst(patterns=...)` and the entry `patterns` of a
training's configuration take: ersst_patterns.safetensors, which varies as observed, and
training_patterns.safetensors, whose best forecast is that LIM's; and the packs damped-persistence
and persistence. The years to test on stay unseen by the fit; what damped persistence scores there
goes into its card.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.simulated.sst import Patterns, fit_patterns, save_patterns, simulate
from xearthformer.fields import cf, regrid
from xearthformer.models.baselines.lim import LIM, LIMConfig
from xearthformer.models.baselines.persistence import (
    DampedPersistence,
    DampedPersistenceConfig,
    Persistence,
    PersistenceConfig,
)
from xearthformer.packs.card import LAND, SEA, Card, ModelSpec, Quantity, Training
from xearthformer.packs.published import ICAR_GRID, SST_ANOMALY

PATTERNS = "ersst_patterns.safetensors"
TRAINING_PATTERNS = "training_patterns.safetensors"
LEADS = 1, 3, 6, 9, 12  # months, those scored in a card
DAMPED = "damped-persistence"
REFERENCES = [
    "Smith, T.M., R.W. Reynolds, T.C. Peterson, J. Lawrimore (2008): Improvements to NOAA's "
    "historical merged land-ocean surface temperature analysis (1880-2006), J. Climate 21, "
    "2283-2296 (the data)"
]


def on_model_grid(sst: xr.DataArray) -> xr.DataArray:
    """Anomaly (time, y, x) against the climatology of the whole record, on the ICAR-ENSO grid."""
    years = sst["time"].dt.year.values
    ssta = xef.anomaly(sst, climatology=(str(years[0]), str(years[-1])))
    prepared, _ = cf.prepare(ssta, units="degC", difference=True, latlon=True)
    return regrid.to_model(prepared, ICAR_GRID.latitude, ICAR_GRID.longitude)


def fit(sst: xr.DataArray, config: LIMConfig | None = None) -> tuple[LIM, Patterns]:
    """The LIM of a record of SST (time, lat, lon), and a simulator of the same settings.

    The simulator is fitted without ridge: what a ridge spares a forecast in errors, it takes from
    the variance of a simulation (Nino3.4 would vary by 0.5 degC instead of 0.8).
    """
    ssta = on_model_grid(sst)
    lim = LIM.fit(ssta.to_numpy(), ICAR_GRID.latitude, config)
    free = dataclasses.replace(lim.config, ridge=0.0)
    driver = LIM.fit(ssta.to_numpy(), ICAR_GRID.latitude, free)
    components = driver.project(torch.from_numpy(ssta.to_numpy())[..., None])[:, 0].numpy()
    model = driver.propagator.numpy(), driver.noise_covariance.numpy(), free.delays
    return lim, fit_patterns(sst, components, *model)


def for_training(patterns: Patterns, lim: LIM) -> Patterns:
    """The simulator with the propagator of `lim`, ridge and all, for a network to learn from.

    Its noise is scaled, component by component, until each varies as observed: what the ridge holds
    to be unpredictable has to be simulated as noise.
    """
    propagator = lim.propagator.double().numpy()
    factor = np.linalg.cholesky(lim.noise_covariance.double().numpy())
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z_TK = simulate(propagator, factor @ factor.T, 12_000, rng, lim.config.delays)
        factor = factor / z_TK.std(axis=0)[:, None]
    return dataclasses.replace(
        patterns,
        propagator=propagator.astype(np.float32),
        noise_covariance=(factor @ factor.T).astype(np.float32),
    )


def damped_card(model: DampedPersistence, land: np.ndarray, period: list[str]) -> Card:
    """What `forecast` must know of a model fitted on the ICAR-ENSO grid."""
    rows = ["".join(row) for row in np.where(land, LAND, SEA)]
    return Card(
        name=DAMPED,
        version="1",
        title="Sea surface temperature anomaly, fading as each cell remembers",
        model=ModelSpec(name=DAMPED, config={}),
        input=SST_ANOMALY,
        output=SST_ANOMALY,
        grid=ICAR_GRID.model_copy(update={"land": rows}),
        time_step="month",
        history=model.in_len,
        reach=model.out_len,
        missing="land",
        training=Training(
            data="NOAA ERSST v3b (2 degrees, monthly), anomaly against the climatology of the "
            "same period, averaged onto 5 degrees",
            period=f"{period[0]}-01/{period[1]}-12",
            licence="public domain (US Government)",
            notes="closed form: the autocorrelation of each cell at each lead",
        ),
        references=REFERENCES,
    )


def persistence_card(model: Persistence) -> Card:
    """The last frame of anything: any quantity, grid and time step; missing values stay."""
    return Card(
        name="persistence",
        version="1",
        title="Persistence: the last frame, again and again",
        model=ModelSpec(name="persistence", config={}),
        input=Quantity(),
        output=Quantity(),
        grid=None,
        time_step=None,
        history=model.in_len,
        reach=model.out_len,
        missing="allowed",
        training=Training(data="none", notes="nothing is fitted"),
    )


def tested(pack: xef.Pack, sst: xr.DataArray, years: list[str], climatology: list[str]) -> Card:
    """The pack's card with its Nino3.4 skill, over every init of some years."""
    ssta = xef.anomaly(sst, climatology=tuple(climatology))
    forecast = xef.forecast(ssta, pack, init=slice(*years))
    skill = xef.enso_skill(xef.index(forecast, "nino3.4"), xef.index(ssta, "nino3.4"))
    scores = {}
    for name in ("correlation", "rmse"):
        at = {f"nino34_{name}_lead_{k}": skill[name].sel(lead=k) for k in LEADS}
        at[f"nino34_{name}_mean"] = skill[f"{name}_mean"]
        scores |= {key: round(float(value), 3) for key, value in at.items()}
    how = (
        f"scores: every init of {'-'.join(years)}, which the fit hasn't seen; anomaly against "
        f"{'-'.join(climatology)}; means of leads k .. k + 2, k = 1 .. 12; rmse in degC"
    )
    notes = f"{pack.card.training.notes}; {how}"
    training = pack.card.training.model_copy(update={"notes": notes})
    return pack.card.model_copy(update={"scores": scores, "training": training})


def main() -> None:
    """Fit, test and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="netCDF of monthly SST (ERSST)")
    years = {"nargs": 2, "metavar": ("FROM", "TO")}
    parser.add_argument("--period", default=["1960", "1999"], help="years to fit to", **years)
    parser.add_argument("--test", help="years to score, outside the period", **years)
    parser.add_argument("--climatology", default=["1970", "1999"], help="of the scores", **years)
    parser.add_argument("--out", type=Path, default=Path("fitted"))
    args = parser.parse_args()
    if args.test and args.test[0] <= args.period[1] and args.period[0] <= args.test[1]:
        parser.error(f"--test {args.test} lies within --period {args.period}: set them apart")
    with xr.open_dataset(args.path) as ds:
        sst = ds["sst"].load()
    lim, patterns = fit(sst.sel(time=slice(*args.period)))
    ssta = on_model_grid(sst.sel(time=slice(*args.period)))
    land = ssta.isnull().any("time").to_numpy()
    damped = DampedPersistence.fit(ssta.to_numpy(), DampedPersistenceConfig())
    card = damped_card(damped, land, args.period)
    pack = xef.save_pack(args.out / DAMPED, damped, card)
    if args.test:
        card = tested(pack, sst, args.test, args.climatology)
        pack = xef.save_pack(args.out / DAMPED, damped, card, overwrite=True)
    print(pack, pack.card.scores)
    last = Persistence(PersistenceConfig())
    print(xef.save_pack(args.out / "persistence", last, persistence_card(last)))
    about = (
        f"climatology, principal components and residual of NOAA ERSST v3b (public domain), all of "
        f"{args.period[0]}-01/{args.period[1]}-12"
    )
    save_patterns(patterns, args.out / PATTERNS, about)
    save_patterns(for_training(patterns, lim), args.out / TRAINING_PATTERNS, about)


if __name__ == "__main__":
    main()
