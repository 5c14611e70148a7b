#!/usr/bin/env bash
# climpred's bootstrap of a hindcast without members asks for the members.
#
# climpred 2.6.0, xarray 2026.9.0, Python 3.11, Linux.
#
# HindcastEnsemble takes a hindcast of one forecast an init, and verify() scores it. A good guess is
# that bootstrap() of the same object, with the same metric, comparison and dim, resamples the inits:
# there is nothing else to resample. But its `resample_dim` is "member" whatever the hindcast holds,
# and the answer is a KeyError about a dim that nobody named. With resample_dim="init" it works.
# (Constructing the object fetches CF's table of names; an empty file stands in for it, which climpred
# passes over.)
#
# Output seen:
#     verify: ok
#     bootstrap: KeyError "No variable named 'member'. Variables on the dataset include ..."
#     bootstrap with resample_dim="init": ok
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q climpred==2.6.0 xarray==2026.9.0
: > table.xml
venv/bin/python -W ignore - <<'PY' | tee seen
import numpy as np
import pooch
import xarray as xr
from climpred import HindcastEnsemble

pooch.retrieve = lambda *args, **kwargs: "table.xml"
rng = np.random.default_rng(0)
init = xr.date_range("1990-01-01", periods=30, freq="YS", use_cftime=True)
lead = xr.DataArray([1, 2], dims="lead", attrs={"units": "years"})
values = ("init", "lead"), rng.normal(size=(30, 2))
hindcast = xr.Dataset({"sst": values}, {"init": init, "lead": lead})
time = xr.date_range("1990-01-01", periods=33, freq="YS", use_cftime=True)
observed = xr.Dataset({"sst": ("time", rng.normal(size=33))}, {"time": time})
both = HindcastEnsemble(hindcast).add_observations(observed)
how = {"metric": "rmse", "comparison": "e2o", "dim": "init", "alignment": "same_inits"}


def tried(name, call):
    try:
        call()
        print(f"{name}: ok")
    except Exception as error:
        print(f"{name}: {type(error).__name__} {error}")


again = {"iterations": 3, **how}
tried("verify", lambda: both.verify(**how))
tried("bootstrap", lambda: both.bootstrap(**again))
tried('bootstrap with resample_dim="init"', lambda: both.bootstrap(resample_dim="init", **again))
PY
grep -q "^bootstrap: KeyError .*named 'member'" seen && [ "$(grep -c ': ok$' seen)" = 2 ] || {
  echo "it has changed"
  exit 1
}
