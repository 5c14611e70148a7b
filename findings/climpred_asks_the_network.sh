#!/usr/bin/env bash
# climpred's objects can't be made without a network: each asks for CF's table of names.
#
# climpred 2.6.0, cf-xarray 0.11.3, xarray 2026.9.0, Python 3.11, Linux.
#
# HindcastEnsemble wraps arrays in memory; a good guess is that making one computes and fetches nothing.
# It adds long names by cf_xarray's `add_canonical_attributes`, which without a `source` fetches the
# table of standard names from GitHub, by pooch, without a hash to check it by. A table that can't be
# parsed is passed over, one that can't be fetched isn't: on the nodes of a cluster without a network,
# or while GitHub doesn't answer, the constructor raises a ConnectionError of another package's.
#
# Output seen:
#     asked for cf-standard-name-table.xml, known_hash None
#     without a network: ConnectionError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q climpred==2.6.0 cf-xarray==0.11.3 xarray==2026.9.0
venv/bin/python -W ignore - <<'PY' | tee seen
import numpy as np
import pooch
import xarray as xr
from climpred import HindcastEnsemble


def without_a_network(url, known_hash=None, **kwargs):
    print(f"asked for {url.rpartition('/')[2]}, known_hash {known_hash}")
    raise ConnectionError("no route to host")


pooch.retrieve = without_a_network
init = xr.date_range("1990-01-01", periods=5, freq="YS", use_cftime=True)
lead = xr.DataArray([1, 2], dims="lead", attrs={"units": "years"})
values = ("init", "lead"), np.zeros((5, 2))
try:
    HindcastEnsemble(xr.Dataset({"sst": values}, {"init": init, "lead": lead}))
    print("without a network: made")
except ConnectionError as error:
    print(f"without a network: {type(error).__name__}")
PY
grep -q "^asked for cf-standard-name-table.xml, known_hash None" seen &&
  grep -q "^without a network: ConnectionError" seen || {
  echo "it has changed"
  exit 1
}
