#!/usr/bin/env bash
# A Zarr store in icechunk lists its arrays in another order each time it is asked.
#
# icechunk 1.1.21, zarr 3.1.6, xarray 2026.9.0, Python 3.11, Linux.
#
# A committed snapshot never changes, so a good guess is that opening it twice gives the same Dataset
# down to the order of its variables, as a folder, a zip file or a consolidated store does. Through
# icechunk the order of coordinates and variables differs between two openings of one session in one
# process. Values are equal and `identical` holds: but what goes through them in order (a digest of
# "everything that this was made from", the first data variable, the columns of a table) differs.
#
# Output seen (orders among 30 openings of one session; values identical in all):
#     orders: more than one
#     identical: True
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q icechunk==1.1.21 zarr==3.1.6 xarray==2026.9.0 dask==2026.7.1
venv/bin/python -W ignore - <<'PY' | tee seen
import icechunk
import numpy as np
import xarray as xr

repo = icechunk.Repository.create(icechunk.local_filesystem_storage("repo"))
session = repo.writable_session("main")
coords = {name: np.arange(3.0) for name in ("time", "lat", "lon", "depth", "station")}
ds = xr.Dataset({"sst": ("time", np.arange(3.0))}, coords)
ds.to_zarr(session.store, consolidated=False)
session.commit("one")
store = repo.readonly_session("main").store
opened = [xr.open_zarr(store, consolidated=False) for _ in range(30)]
orders = {tuple(one.coords) for one in opened}
print("orders:", "more than one" if len(orders) > 1 else "one")
print("identical:", all(one.identical(opened[0]) for one in opened))
PY
grep -q "^orders: more than one" seen && grep -q "^identical: True" seen || { echo "it has changed"; exit 1; }
