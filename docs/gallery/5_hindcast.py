"""
Ten years of forecasts, and their skill
=======================================

A hindcast forecasts from every month of a record into a Zarr store. Killed and called again, it
goes on where it stopped; when the record grows, it adds what is new.
"""

import tempfile

import xarray as xr

import xearthformer as xef

sst = xef.synthetic_sst(years=50, start="1960-01")["sst"]
ssta = sst.earthformer.anomaly(climatology=("1970", "1999"))

store = f"{tempfile.mkdtemp()}/hindcast.zarr"
xef.hindcast(ssta, "enso-ersst", store, init=slice("1999", "2008"), lead=12)

# %%
# The store is plain Zarr: xarray opens it, lazily, with all labels.

past = xr.open_zarr(store)["sst"]
past

# %%
# The skill of Niño 3.4 by lead: the correlation of 3-month means with what was observed.

nino34, observed = (da.earthformer.index("nino3.4") for da in (past.load(), ssta))
skill = xef.enso_skill(nino34, observed)
skill["correlation"].round(2).to_series()

# %%
# The same by the season that is forecast, and by how far ahead.

past.earthformer.plot.skill_by_season(ssta)

# %%
# And where: the anomaly correlation of every cell of the tropics. The record is simulated by a
# linear model, so this is not the skill on real data: see :doc:`../skill`.

past.earthformer.plot.skill_map(ssta, lead=[1, 4, 8])
