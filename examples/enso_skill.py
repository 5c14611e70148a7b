r"""How well packs forecast El Nino: Nino3.4 from every month of 2000-2009.

    python examples/enso_skill.py ersst_v5_19*.nc godas_ssh_1980_2009.nc --members 50 \
        --packs persistence damped-persistence fitted/lim-1999 fitted/enso-ocean-1999 xro \
        --ham ham2019_cnn_nino34_hindcasts_to_2009.nc

The index is the mean anomaly of 5S-5N, 170W-120W, averaged over three months: lead k stands for the
months k, k+1 and k+2 after the init. Forecasts whose months lie beyond the record don't count.

A test needs packs that have not seen the years it is of. Those that ship are fitted to all years up
to 2009; `examples/fit_lim.py ... --test 2000 2009` writes others, fitted/lim-1999 among them. "xro"
is the extended recharge oscillator of Zhao et al. (2024), fitted here to the years of --fit; --ham
adds the hindcasts of the network of Ham et al. (2019). Files of several variables are cut to the
months that all have.
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.local import open_files
from xearthformer.fields import quantities
from xearthformer.inference.engine import has_noise
from xearthformer.verification.enso import enso_table

PACKS = ["persistence", "damped-persistence", "lim", "enso-ersst"]
SEASONS = ["JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ", "DJF"]
SST, HEIGHT = "sea_surface_temperature", "sea_surface_height_above_geoid"
OF_MEMBERS = ["spread_skill", "crps", "crps_dressed"]


def skill_of(name: str, data: xr.Dataset, args: argparse.Namespace) -> xr.Dataset:
    """The skill of a pack or of XRO without noise; if it has noise, also that of its members."""
    how = {"init": slice(*args.inits), "lead": args.lead}
    pack = None if name == "xro" else xef.open_pack(name)

    def nino34(**members: int) -> xr.DataArray:
        if pack is None:
            return xef.xro(data, fit=tuple(args.fit), **how, **members)
        if len(pack.card.inputs) == 1:
            return xef.index(xef.forecast(data["sst"], pack, **how, **members), "nino3.4")
        return xef.index(xef.forecast(data, pack, **how, **members)["sst"], "nino3.4")

    observed = xef.index(data["sst"], "nino3.4")
    skill = xef.enso_skill(nino34(), observed)
    if args.members and (pack is None or has_noise(pack.card)):
        of_members = xef.enso_ensemble_skill(nino34(members=args.members), observed)
        skill = skill.assign(of_members[OF_MEMBERS])
    return skill.compute()


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
    parser.add_argument("files", nargs="+", help="monthly SST; for two of the packs sea level too")
    parser.add_argument("--variable", help="name of the SST, where the files hold several")
    parser.add_argument("--packs", nargs="+", default=PACKS, help="names or folders; and xro")
    parser.add_argument("--members", type=int, help="of the packs that have noise of their own")
    parser.add_argument("--inits", default=["2000", "2009"], **years)
    parser.add_argument("--climatology", default=["1980", "2009"], help="of the anomaly", **years)
    parser.add_argument("--fit", default=["1980", "1999"], help="years xro is fitted to", **years)
    parser.add_argument("--lead", type=int, default=14, help="months")
    parser.add_argument("--ham", metavar="FILE", help="hindcasts of Ham et al. (2019)")
    args = parser.parse_args()

    with open_files(args.files) as ds:
        name = args.variable or quantities.find_variable(ds, standard_name=SST, difference=False)
        names = {name: "sst"}
        if quantities.has(ds, HEIGHT):
            names[quantities.find_variable(ds, standard_name=HEIGHT, difference=False)] = "zos"
        data = xef.anomaly(ds[[*names]].rename(names).load(), tuple(args.climatology))
    data = data.chunk()  # forecasts become an index block by block: those of all members are large
    skills = {Path(pack).name: skill_of(pack, data, args) for pack in args.packs}
    inits = data["time"].sel(time=slice(*args.inits))
    if args.ham:
        observed = xef.index(data["sst"], "nino3.4")
        skills["Ham et al. (2019)"] = skill_of_ham(args.ham, observed, inits, args.lead - 2)

    first, last = (str(t)[:7] for t in inits.values[[0, -1]])
    print(f"Nino3.4 from every month of {first} .. {last}, {args.lead} months each;")
    print(f"anomaly against {'-'.join(args.climatology)}\n")
    print(enso_table(skills))


if __name__ == "__main__":
    main()
