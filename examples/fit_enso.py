"""Fit the pack enso-ersst: a seasonal LIM and a recurrent network, trained for Nino3.4.

    python examples/fit_enso.py ersst_v5_*.nc --test 2000 2009

reads, prepares and scores SST as examples/fit_lim.py does, and writes the pack fitted/enso-ersst.
The network's settings are those that forecast left-out decades of 1950-1999 best.
"""

import argparse
from pathlib import Path

import fit_lim
import numpy as np
import xarray as xr
from fit_lim import LATITUDE, LONGITUDE

import xearthformer as xef
from xearthformer.climate.regions import REGIONS
from xearthformer.models.baselines.corrected_lim import CorrectedLIM
from xearthformer.packs.card import Card, ModelSpec

TITLE = "Seasonal linear inverse model and a recurrent network, sea surface temperature anomaly"
NOTES = (
    "the mean of the LIM of the pack `lim` and of a linear recurrent network with 26 principal "
    "components and a memory of 2 numbers, trained through its own forecasts for Nino3.4 at leads "
    "1-12. Members have the noise of `lim`. Settings by leaving decades of 1950-1999 out, where "
    "mean correlation of leads 1-12 is .763 (`lim` .748) and mean error .549 degC (`lim` .566); "
    "networks with nonlinear layers, an Earthformer among them, gained nothing more"
)


def box_weights(name: str, land: np.ndarray) -> np.ndarray:
    """Share of each cell (y, x) in the mean over a region; 2-degree cells."""
    box, half = REGIONS[name], 1.0
    edges = (LATITUDE, box.south, box.north), (LONGITUDE, box.west, box.east)
    inside = [
        (np.minimum(x + half, high) - np.maximum(x - half, low)).clip(0) for x, low, high in edges
    ]
    weight = np.outer(inside[0] * np.cos(np.deg2rad(LATITUDE)), inside[1]) * ~land
    return weight / weight.sum()


def fit(sst: xr.DataArray, until: str) -> tuple[CorrectedLIM, np.ndarray]:
    """The model of a record up to a year, and its land (y, x)."""
    field = fit_lim.on_model_grid(sst, fit_lim.VARIABLES["sst"], until)
    field = field.sel(time=slice(fit_lim.FIRST, None))
    land = field.isnull().all("time").to_numpy()
    lat, lon = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    west, east = fit_lim.PACIFIC["longitude"]
    pacific = (np.abs(lat) <= fit_lim.PACIFIC["latitude"]) & (lon >= west) & (lon <= east)
    model = CorrectedLIM.fit(
        field.to_numpy()[..., None],
        first_month=int(field["time"].dt.month[0]),
        latitude=LATITUDE,
        index_HW=box_weights("nino3.4", land),
        weight_HWC=np.where(pacific, 1.0, fit_lim.ELSEWHERE["sst"])[..., None],
        weight_T=np.where(field["time"].dt.year < fit_lim.SURE, fit_lim.DOUBT, 1.0),
    )
    return model, land


def fitted_card(model: CorrectedLIM, land: np.ndarray, until: str) -> Card:
    """What `forecast` must know of the model: what it must know of `lim`, but for a few words."""
    card = fit_lim.fitted_card("lim", model.lim, [land], until)
    update = {
        "name": "enso-ersst",
        "version": "2",
        "title": TITLE,
        "model": ModelSpec(name="corrected-lim", config={}),
        "training": card.training.model_copy(update={"notes": NOTES}),
    }
    return card.model_copy(update=update)


def main() -> None:
    """Fit, test and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sst", nargs="+", help="netCDF of monthly SST (ERSST), one record in all")
    parser.add_argument("--until", default="2009", help="last year to fit to")
    parser.add_argument("--test", nargs=2, metavar=("FROM", "TO"), help="years to score")
    parser.add_argument("--out", type=Path, default=Path("fitted"))
    args = parser.parse_args()
    sst = xr.open_mfdataset(args.sst)["sst"].load()
    tested, how = {}, ""
    if args.test:
        before = str(int(args.test[0]) - 1)
        model, land = fit(sst, before)
        card = fitted_card(model, land, before)
        pack = xef.save_pack(args.out / f"enso-ersst-{before}", model, card)
        tested = fit_lim.scores(pack, {"sst": sst}, args.test)
        how = (
            f"; scores: every init of {'-'.join(args.test)} by a fit to years up to {before}, "
            f"{fit_lim.MEMBERS} members; anomaly against {'-'.join(fit_lim.BASELINE)}; means of "
            "leads k .. k + 2, k = 1 .. 12; degC"
        )
    model, land = fit(sst, args.until)
    card = fitted_card(model, land, args.until)
    training = card.training.model_copy(update={"notes": NOTES + how})
    card = card.model_copy(update={"scores": tested, "training": training})
    print(xef.save_pack(args.out / "enso-ersst", model, card), tested)


if __name__ == "__main__":
    main()
