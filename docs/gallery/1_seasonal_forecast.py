"""
A seasonal forecast
===================

Sea surface temperature goes in, the temperature of the next fourteen months comes out, on the same
grid and in the same units.
"""

import xearthformer as xef

# %%
# Fifty years of simulated temperature stand for your own file; `xr.open_dataset("sst.nc")["sst"]`
# is the usual first line. Seasonal packs forecast anomalies: departures from the mean annual
# cycle.

sst = xef.synthetic_sst(years=50, start="1960-01")["sst"]
ssta = sst.earthformer.anomaly(climatology=("1970", "1999"))

# %%
# One call forecasts from the latest month, here with fifty members.

fc = ssta.earthformer.forecast("enso-ersst", members=50)
fc

# %%
# At a glance: whose forecast it is, from when, and how far.

fc.earthformer

# %%
# The plume of Niño 3.4 shows where El Niño is heading, and how sure the ensemble is of it.

fc.earthformer.plot.plume(obs=ssta.sel(time=slice("2008", None)))

# %%
# The same as a forecaster's bars: how likely are La Niña, neutral and El Niño, season by season.

fc.earthformer.plot.categories()

# %%
# And the whole map, as the mean of the members. The attributes `pack` and `history` say how it
# was made.

fc.mean("member", keep_attrs=True).earthformer.plot.field(lead=[1, 4, 7])
