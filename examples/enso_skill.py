"""How well the shipped packs forecast El Nino: Nino3.4 from every month of 2000-2009.

    python examples/enso_skill.py ersst_v3b_1960_2009.nc

The index is the mean anomaly of 5S-5N, 170W-120W, averaged over three months: lead k stands for the
months k, k+1 and k+2 after the init. Forecasts whose months lie beyond the record don't count.
"""

import argparse
from pathlib import Path

import xarray as xr

import xearthformer as xef
from xearthformer.fields import quantities
from xearthformer.verification.enso import enso_table

PACKS = ["persistence", "lim", "enso-ersst"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", help="monthly sea surface temperature that xarray opens")
    parser.add_argument("--variable", help="its name, where the file holds several")
    parser.add_argument("--packs", nargs="+", default=PACKS, help="names or folders")
    parser.add_argument("--inits", nargs=2, default=["2000", "2009"], metavar=("FROM", "TO"))
    parser.add_argument("--climatology", nargs=2, default=["1970", "1999"], metavar=("FROM", "TO"))
    parser.add_argument("--lead", type=int, default=14, help="months")
    args = parser.parse_args()

    with xr.open_dataset(args.path) as ds:
        name = args.variable or quantities.find_variable(
            ds, standard_name="sea_surface_temperature", difference=False
        )
        sst = ds[name].load()
    ssta = sst.earthformer.anomaly(climatology=tuple(args.climatology))
    observed = ssta.earthformer.index("nino3.4")

    skills = {}
    for pack in args.packs:
        fc = ssta.earthformer.forecast(pack, init=slice(*args.inits), lead=args.lead)
        skills[Path(pack).name] = xef.enso_skill(fc.earthformer.index("nino3.4"), observed)

    first, last = (str(t)[:7] for t in fc.init.values[[0, -1]])
    print(f"Nino3.4 from every month of {first} .. {last}, {args.lead} months each;")
    print(f"anomaly against {'-'.join(args.climatology)}\n")
    print(enso_table(skills))


if __name__ == "__main__":
    main()
