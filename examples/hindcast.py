"""Forecasts from every month of a record, on a cluster; killed half-way, resumed, verified.

    python examples/hindcast.py ersst_v3b_1960_2009.nc

Writes hindcast.zarr to the working directory, and prints how good the forecasts are.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import xarray as xr
from distributed import Client, LocalCluster

import xearthformer as xef
from xearthformer.verification.enso import enso_table

CLIMATOLOGY = ("1970", "1999")


def anomaly(path: str) -> xr.DataArray:
    """Anomalies, lazily; only the annual cycle is computed, or every block would do it anew."""
    sst = xr.open_dataset(path, chunks={"time": 60})["sst"]
    cycle = sst.earthformer.climatology(CLIMATOLOGY).compute()
    return sst.earthformer.anomaly(cycle)


def make(path: str, pack: str, store: str) -> None:
    """The whole of it: a cluster of this machine's cores, and the call that resumes."""
    with LocalCluster(threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        xef.hindcast(anomaly(path), pack, store)


def share_done(store: str) -> float:
    if not Path(store, "zarr.json").exists():
        return 0.0
    status = xr.open_zarr(store, group="hindcast_log")["status"]
    return float((status == status.attrs["flag_values"][1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", help="monthly sea surface temperature `sst` that xarray opens")
    parser.add_argument("--pack", default="enso-ersst", help="a name, or a folder")
    parser.add_argument("--store", default="hindcast.zarr")
    args = parser.parse_args()

    # A process makes the hindcast, and is killed by SIGKILL, which no process can catch, once half
    # of the forecasts are marked as done. Its workers end with it.
    started = time.perf_counter()
    work = multiprocessing.get_context("spawn").Process(target=make, kwargs=vars(args))
    work.start()
    while work.is_alive() and share_done(args.store) < 0.5:
        time.sleep(0.1)
    work.kill()
    work.join()
    took = time.perf_counter() - started
    print(f"killed after {took:.0f} s with {share_done(args.store):.0%} of the forecasts done")

    started = time.perf_counter()
    make(**vars(args))
    print(f"resumed: {share_done(args.store):.0%} done, {time.perf_counter() - started:.0f} s")

    # Plain xarray opens it. Its forecasts are, to the bit, those made here, one at a time.
    hindcast = xr.open_zarr(args.store)["sst"]
    ssta = anomaly(args.path).load()
    some = hindcast["init"].values[:: len(hindcast) // 5]
    for init in some:
        alone = ssta.earthformer.forecast(args.pack, init=init)
        np.testing.assert_array_equal(hindcast.sel(init=[init]), alone)
    print(
        f"verified: {len(some)} of {len(hindcast)} forecasts, made again alone, are the same bits"
    )
    skill = xef.enso_skill(
        hindcast.earthformer.index("nino3.4").load(), ssta.earthformer.index("nino3.4")
    )
    first, last = (str(t)[:7] for t in hindcast["init"].values[[0, -1]])
    print(f"Nino3.4 from every month of {first} .. {last}, those that {args.pack} has learnt from")
    print(f"included; anomaly against {'-'.join(CLIMATOLOGY)}\n")
    print(enso_table({args.pack: skill}))


if __name__ == "__main__":
    main()
