"""
An ensemble, and the chance of heavy rain
=========================================

One nowcast says what is most likely. Twenty say how likely.
"""

import matplotlib.pyplot as plt

import xearthformer as xef

rain = xef.synthetic_storms(seed=7, size=192)["rain_rate"].isel(event=5).load()
init = rain["time"].values[[12]]

# %%
# Each member is an hour of rain that could come. The first panel is the hour that came.

ens = rain.earthformer.forecast("nowcast-radar", init=init, members=20, seed=1)
ens.earthformer.plot.stamps(rain, lead="30min")

# %%
# The share of members that reach a threshold is its probability.

ens.earthformer.plot.exceedance(5.0, rain, lead=["15min", "30min", "60min"])

# %%
# A warning is about an area and a sum: the chance of 5 mm in the hour anywhere within 8 km.

chance = ens.earthformer.accumulate("1h").earthformer.exceedance(5, window="8 km", anywhere=True)

km = chance.isel(init=0, lead=0).assign_coords(x=chance["x"] / 1000, y=chance["y"] / 1000)
km = km.where(km >= 0.05)
fig, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
km.plot.contourf(ax=ax, levels=[0.05, 0.25, 0.5, 0.75, 0.95, 1], cmap="YlOrRd")
ax.set(title="the coming hour", xlabel="km", ylabel="km", aspect="equal")

# %%
# Member 3 is the same to the last bit whether twenty are drawn or four, from memory or from dask.

four = rain.earthformer.forecast("nowcast-radar", init=init, members=4, seed=1)
four.sel(member=3).equals(ens.sel(member=3))
