"""What bfloat16 does to the forecasts of a network of SST anomalies: drift in degC, and in skill.

python benchmarks/bf16.py ersst_v3b_1960_2009.nc earthformer-ersst

The pack earthformer-ersst is what examples/earthformer_ersst.yaml trains.
"""

import sys

import xarray as xr

import xearthformer as xef


def rms(da: xr.DataArray) -> float:
    return float((da**2).mean() ** 0.5)


def main(path: str, pack: str) -> None:
    ssta = xr.open_dataset(path)["sst"].load().earthformer.anomaly(("1970", "1999"))
    observed, inits = ssta.earthformer.index("nino3.4"), slice("2000", "2009")
    fc = ssta.earthformer.forecast(pack, init=inits, progress=False)
    half = ssta.earthformer.forecast(pack, init=inits, precision="bf16", progress=False)
    index, half_index = (each.earthformer.index("nino3.4") for each in (fc, half))
    print(f"{pack}, every init of 2000 to 2009, bf16 against float32")
    for name, one, other in (("anomaly", fc, half), ("Nino3.4", index, half_index)):
        drift = other - one
        print(
            f"{name}: {rms(drift):.4f} degC rms, {float(abs(drift).max()):.3f} at most; "
            f"the forecasts themselves {rms(one):.3f} rms"
        )
    skills = [xef.enso_skill(each, observed)["correlation_mean"] for each in (index, half_index)]
    print(f"C-Nino3.4-M: {float(skills[0]):.4f} in float32, {float(skills[1]):.4f} in bf16")


if __name__ == "__main__":
    main(*sys.argv[1:])
