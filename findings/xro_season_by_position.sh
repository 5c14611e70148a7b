#!/usr/bin/env bash
# XRO.reforecast takes the season of an init from its place in the data, not from its date.
#
# xro 1.0.4, xarray 2026.9.0, numpy 2.4.6, Python 3.11, Linux.
#
# XRO is a model of El Nino whose coefficients differ by calendar month. `reforecast` runs it on from
# each time of a Dataset, whose time coordinate holds dates, and which its documentation calls the
# "Dataset containing the initial conditions"; the answer has these dates as `init`:
#
#     fc = model.reforecast(fit_ds=fitted, init_ds=obs.sel(time=obs.time.dt.month == 6))
#
# A good guess is that the forecast of a date is the same whatever other dates are asked for. But the
# month is read from the first date alone; the second is taken for the month after it, the third for
# the one after that. So the Junes above are forecast as a June, a July, an August ..., without a
# word, under the labels of June. A gap in the dates does the same to all that comes after it. Only
# inits in successive months, or one at a time, have their own season.
# `fit_matrix` is alike: it takes the first month of its data for January, whatever the date.
#
# Below, x grows in spring and decays in autumn. Output seen (forecasts of the next month from x = 1
# in June 1980 to 1983, among all months and as Junes alone; the coefficient "of January", per year,
# of fits to a record from January on and to the same record from July on):
#     all months:  0.98 0.98 0.98 0.98
#     Junes alone: 0.98 0.93 0.89 0.87
#     January:     -0.4 -1.9
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q xro==1.0.4 xarray==2026.9.0 numpy==2.4.6
cat > look.py <<'PY'
import warnings

import numpy as np
import xarray as xr

warnings.simplefilter("ignore")  # of calls that xarray has renamed
from XRO import XRO

time = xr.date_range("1980-01", periods=360, freq="MS")
growth = 0.2 * np.sin(2 * np.pi * (time.month.values - 0.5) / 12) - 0.1  # per month
rng = np.random.default_rng(0)


def record():
    x = np.zeros(360)
    for k in range(359):
        x[k + 1] = x[k] * (1 + growth[k]) + rng.normal()
    return "time", x


obs = xr.Dataset({"x": record(), "h": record()}, {"time": time})
model = XRO(ncycle=12, ac_order=1)
fitted = model.fit_matrix(obs)
start, june = xr.ones_like(obs), time.month.values == 6


def ahead(init):
    fc = model.reforecast(fitted, init, n_month=1, noise_type="zero")["x"].sel(lead=1)
    return fc.isel(init=fc["init"].dt.month.values == 6)


def say(title, values):
    print(f"{title:12} " + " ".join(values))


say("all months:", [f"{v:.2f}" for v in ahead(start).values[:4]])
say("Junes alone:", [f"{v:.2f}" for v in ahead(start.isel(time=june)).values[:4]])
fits = fitted, model.fit_matrix(obs.isel(time=slice(6, None)))
say("January:", [f"{fit['Lac'].sel(ranky=1, rankx=1)[0]:.1f}" for fit in fits])
PY
v/bin/python look.py | tee seen
cat > expected <<'TXT'
all months:  0.98 0.98 0.98 0.98
Junes alone: 0.98 0.93 0.89 0.87
January:     -0.4 -1.9
TXT
diff expected seen || { echo "the season of an init is found otherwise now"; exit 1; }
