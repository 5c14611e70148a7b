#!/usr/bin/env bash
# XRO.reforecast: the spread of an ensemble that starts in January depends on the units of the data.
#
# xro 1.0.4, xarray 2026.9.0, numpy 2.4.6, Python 3.11, Linux.
#
# XRO is a model of El Nino, linear here, with red noise whose strength is fitted to the residuals of
# each index. Its coefficients take any units, so a good guess is that the ensemble of one index is
# the same whether another index is given in metres or in centimetres: the forecast without noise is,
# to rounding, and so is the ensemble from June. But the noise is a series that begins in January.
# Its state, to be multiplied by the fitted standard deviation, is of size one in all months but that
# one, where it begins with the standard deviation itself: the noise of January goes with the square
# of the unit. A forecast from January begins there, and one from February still remembers. So the
# spread of Nino3.4 from January says as much about the unit of the heat content next to it as about
# El Nino.
#
# Below, x and h turn about each other, and h comes in a unit and in a hundredth of it. Output seen
# (spread of x over 200 members at leads 1, 2, 3 with h in each of the units, then whether the
# forecasts without noise agree to 1e-12):
#     January: 0.13 0.26 0.32, 0.21 0.96 1.67; same without noise: True
#     June:    0.14 0.28 0.38, 0.14 0.28 0.38; same without noise: True
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

time = xr.date_range("1980-01", periods=480, freq="MS")
rng = np.random.default_rng(0)
x, h = np.zeros(480), np.zeros(480)
for k in range(479):  # a damped oscillation, stirred by noise
    x[k + 1] = 0.9 * x[k] + 0.2 * h[k] + 0.3 * rng.normal()
    h[k + 1] = 0.95 * h[k] - 0.2 * x[k] + 0.3 * rng.normal()


def forecast(unit, month):
    obs = xr.Dataset({"x": ("time", x), "h": ("time", h / unit)}, {"time": time})
    model = XRO(ncycle=12, ac_order=1)
    run = {"fit_ds": model.fit_matrix(obs), "init_ds": obs.isel(time=[month - 1]), "n_month": 3}
    members = model.reforecast(**run, ncopy=200, seed=1, noise_type="red")["x"]
    alone = model.reforecast(**run, noise_type="zero")["x"]
    return members.std("member").values.ravel()[1:], alone.values.ravel()[1:]


for name, month in (("January:", 1), ("June:", 6)):
    (spread, alone), (other_spread, other) = forecast(1.0, month), forecast(0.01, month)
    both = ", ".join(" ".join(f"{s:.2f}" for s in each) for each in (spread, other_spread))
    print(f"{name:8} {both}; same without noise: {np.abs(alone - other).max() < 1e-12}")
PY
v/bin/python look.py | tee seen
cat > expected <<'TXT'
January: 0.13 0.26 0.32, 0.21 0.96 1.67; same without noise: True
June:    0.14 0.28 0.38, 0.14 0.28 0.38; same without noise: True
TXT
diff expected seen || { echo "the spread from January is another now"; exit 1; }
