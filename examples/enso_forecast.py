"""A forecast of El Nino, step by step.

    python examples/enso_forecast.py                 # simulated data, needs no file
    python examples/enso_forecast.py my_sst.nc       # monthly SST of your own

Writes enso_forecast.nc and enso_forecast.png to the working directory.
"""

import sys

import xarray as xr

import xearthformer as xef

# Any monthly sea surface temperature that xarray opens: any names, grid, units and calendar.
ds = xr.open_dataset(sys.argv[1]) if sys.argv[1:] else xef.synthetic_sst(years=50, start="1960-01")

# Packs forecast anomalies: departures from the mean annual cycle of thirty years.
ssta = ds["sst"].earthformer.anomaly(climatology=("1970", "1999"))

# Which packs there are, and what one wants: 12 months in, 14 months out, on its own 2-degree grid.
print(xef.list_packs())
PACK = "enso-ersst"
print(xef.open_pack(PACK))

# From the latest month; the answer is on the grid of `ds`, with init, lead and valid_time.
fc = ssta.earthformer.forecast(PACK)
print(fc.coords)
print(fc.attrs["history"])

# The Nino3.4 index of the forecast, month by month.
nino34 = fc.earthformer.index("nino3.4")
for month, value in zip(fc.valid_time.values.ravel(), nino34.values.ravel(), strict=True):
    print(f"{month.astype('M8[M]')}  {value:+.2f} degC")

# Forecasts of the past, to see how far to trust it: every init of ten years, scored.
past = ssta.earthformer.forecast(PACK, init=slice("2000", "2009"))
observed = ssta.earthformer.index("nino3.4")
skill = xef.enso_skill(past.earthformer.index("nino3.4"), observed)
print(skill["correlation"].round(2).to_series())

# A picture: the forecasts from each June over what was observed; and files for whoever is next.
june = past.sel(init=past.init.dt.month == 6)
june.earthformer.plot.plume(obs=ssta).figure.savefig("enso_forecast.png", dpi=150)
fc.to_netcdf("enso_forecast.nc")
