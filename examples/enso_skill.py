"""How well packs forecast El Nino: Nino3.4 from every month of 2000-2009.

    python examples/enso_skill.py ersst_v5_*.nc --zos godas_ssh_1980_2009.nc --members 50 \
        --packs persistence damped-persistence fitted/lim-1999 fitted/enso-ocean-1999 xro \
        --ham ham2019_cnn_nino34_hindcasts_to_2009.nc

The index is the mean anomaly of 5S-5N, 170W-120W, averaged over three months: lead k stands for the
months k, k+1 and k+2 after the init. Forecasts whose months lie beyond the record don't count.

A test needs packs that have not seen the years it is of. Those that ship are fitted to all years up
to 2009; `examples/fit_lim.py ... --test 2000 2009` writes others, fitted/lim-1999 among them. "xro"
is the extended recharge oscillator of Zhao et al. (2024), fitted here to the years of --fit; --ham
adds the hindcasts of the network of Ham et al. (2019), scored where their years overlap.
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import xearthformer as xef
from xearthformer.fields import quantities
from xearthformer.inference.engine import has_noise
from xearthformer.verification.enso import enso_ensemble_skill, enso_table

PACKS = ["persistence", "damped-persistence", "lim", "enso-ersst"]
SEASONS = ["JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ", "DJF"]
OF_MEMBERS = ["spread_skill", "crps", "crps_dressed"]


def read(paths: list[str], standard_name: str, years: list[str], variable: str | None = None):
    """The anomaly of one variable, in one file or several, by month."""
    with xr.open_mfdataset(paths) as ds:
        name = variable or quantities.find_variable(
            ds, standard_name=standard_name, difference=False
        )
        da = ds[name].load()
    months = da["time"].values.astype("datetime64[M]").astype("datetime64[ns]")
    return da.assign_coords(time=months).earthformer.anomaly(climatology=tuple(years))


def together(ssta: xr.DataArray, zosa: xr.DataArray) -> xr.Dataset:
    """Both variables in the months that both have, each on the grid it came on."""
    own = {dim: f"{dim}_zos" for dim in zosa.dims if dim != "time"}
    ssta, zosa = xr.align(ssta, zosa.rename(own))
    return xr.Dataset({"sst": ssta, "zos": zosa})


def skill_of(name: str, data: dict[str, xr.DataArray], args: argparse.Namespace) -> xr.Dataset:
    """The skill of a pack or of XRO without noise; if it has noise, also that of its members."""
    how = {"init": slice(*args.inits), "lead": args.lead}
    pack = None if name == "xro" else xef.open_pack(name)
    if pack is not None and len(pack.card.inputs) > len(data):
        raise SystemExit(f"{name} reads {', '.join(pack.card.inputs)}: give --zos")
    several = "zos" in data and (pack is None or len(pack.card.inputs) > 1)
    fields = together(data["sst"], data["zos"]) if several else data["sst"]

    def nino34(**members: int) -> xr.DataArray:
        if pack is None:
            return xef.xro(fields, fit=tuple(args.fit), **how, **members)
        fc = xef.forecast(fields, pack, **how, **members)
        return xef.index(fc["sst"] if isinstance(fc, xr.Dataset) else fc, "nino3.4")

    observed = xef.index(data["sst"], "nino3.4")
    skill = xef.enso_skill(nino34(), observed)
    if args.members and (pack is None or has_noise(pack.card)):
        of_members = enso_ensemble_skill(nino34(members=args.members), observed)
        skill = skill.assign(of_members[OF_MEMBERS])
    return skill


def skill_of_ham(path: str, observed: xr.DataArray, inits: xr.DataArray, leads: int) -> xr.Dataset:
    """The skill of the hindcasts of Ham et al. (2019), which are means over three months."""
    with xr.open_dataset(path) as ds:
        table = ds["nino34"].sel(lead=slice(1, leads)).load()
    first = [SEASONS.index(season) for season in table["season"].values]
    starts = (table["year"].values[:, None] - 1970) * 12 + first  # months since January 1970
    columns = table.transpose("year", "season", "lead").values.reshape(starts.size, -1)
    row_of = {start: row for row, start in enumerate(starts.ravel().tolist())}
    targets = inits.values.astype("datetime64[M]")[:, None] + table["lead"].values
    rows = np.vectorize(lambda month: row_of.get(month, -1))(targets.astype(int))
    values = np.where(rows >= 0, columns[rows, np.arange(columns.shape[1])], np.nan)
    valid = ("init", "lead"), targets.astype("datetime64[ns]")
    coords = {"init": inits.values, "lead": table["lead"].values, "valid_time": valid}
    fc = xr.DataArray(values, coords, ("init", "lead"), attrs=observed.attrs)
    seasons = observed.rolling(time=3).mean().shift(time=-2)  # at the first of their months
    return xef.enso_skill(fc, seasons.assign_attrs(observed.attrs), months=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    years = {"nargs": 2, "metavar": ("FROM", "TO")}
    parser.add_argument("sst", nargs="+", help="monthly sea surface temperature, one record in all")
    parser.add_argument("--variable", help="its name, where the files hold several")
    parser.add_argument(
        "--zos", nargs="+", help="monthly sea surface height, for enso-ocean and xro"
    )
    parser.add_argument("--packs", nargs="+", default=PACKS, help="names or folders; and xro")
    parser.add_argument("--members", type=int, help="of the packs that have noise of their own")
    parser.add_argument("--inits", default=["2000", "2009"], **years)
    parser.add_argument("--climatology", default=["1980", "2009"], help="of the anomaly", **years)
    parser.add_argument(
        "--fit", default=["1980", "1999"], help="years that xro is fitted to", **years
    )
    parser.add_argument("--lead", type=int, default=14, help="months")
    parser.add_argument("--ham", help="hindcasts of the network of Ham et al. (2019)")
    args = parser.parse_args()

    data = {"sst": read(args.sst, "sea_surface_temperature", args.climatology, args.variable)}
    if args.zos:
        data["zos"] = read(args.zos, "sea_surface_height_above_geoid", args.climatology)
    skills = {Path(pack).name: skill_of(pack, data, args) for pack in args.packs}
    observed = xef.index(data["sst"], "nino3.4")
    inits = data["sst"]["time"].sel(time=slice(*args.inits))
    if args.ham:
        skills["Ham et al. (2019)"] = skill_of_ham(args.ham, observed, inits, args.lead - 2)

    first, last = (str(t)[:7] for t in inits.values[[0, -1]])
    print(f"Nino3.4 from every month of {first} .. {last}, {args.lead} months each;")
    print(f"anomaly against {'-'.join(args.climatology)}\n")
    print(enso_table(skills))


if __name__ == "__main__":
    main()
