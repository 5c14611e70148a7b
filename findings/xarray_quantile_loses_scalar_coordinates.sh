#!/usr/bin/env bash
# DataArray.quantile loses every coordinate without a dim, a map projection among them.
#
# xarray 2026.9.0, numpy 2.4.6, Python 3.11, Linux.
#
# The coordinates of a reduction are those of the data that don't lie along the reduced dim: so it is
# for mean, median, std, max ... A good guess is that quantile(0.5) is median. But coordinates that
# have no dim at all, such as `crs` or `spatial_ref` (the map projection, as CF and rioxarray have
# it), the level or the run, are gone from quantiles, without a word; those along other dims stay.
# A file of quantiles then has no projection, though one of the means has. It is so for one quantile
# and for several, in memory and in dask, of DataArrays and of Datasets. Put them back:
# out.assign_coords(crs=da["crs"]).
#
# Output seen (the coordinates of what comes out; k is along x):
#     mean ['crs', 'k']
#     median ['crs', 'k']
#     quantile ['k', 'quantile']
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q xarray==2026.9.0 numpy==2.4.6
cat > look.py <<'PY'
import numpy as np
import xarray as xr

coords = {"crs": 0, "k": ("x", [1, 2])}
da = xr.DataArray(np.arange(6.0).reshape(3, 2), coords, ("member", "x"))
print("mean", sorted(da.mean("member").coords))
print("median", sorted(da.median("member").coords))
print("quantile", sorted(da.quantile(0.5, "member").coords))
PY
venv/bin/python look.py | tee seen
cat > expected <<'TXT'
mean ['crs', 'k']
median ['crs', 'k']
quantile ['k', 'quantile']
TXT
diff expected seen || { echo "quantiles have other coordinates now"; exit 1; }
