"""
A nowcast
=========

Four radar frames go in, the rain of the next hour comes out.
"""

import xearthformer as xef

# %%
# A simulated storm of 192 x 192 km stands for your own radar; `xef.open_radar("a folder")` reads
# files as weather services publish them.

rain = xef.synthetic_storms(seed=7, size=192)["rain_rate"].isel(event=5).load()

# %%
# From the frame of one hour on, for the hour that follows. The forecast is scored further down,
# so `rain` holds what came as well; the pack never sees it.

hour = rain.earthformer.forecast("nowcast-radar", init=rain["time"].values[[12]])
hour.earthformer.plot.frames(rain, lead=["10min", "20min", "40min", "60min"])

# %%
# Hatched is what no forecast can know: rain that comes from beyond the domain. The coordinate
# `known` says what share of each value stems from what was seen.

hour["known"].mean(["y", "x"]).round(2).to_series()

# %%
# How much of the rain was hit? The critical success index is 1 for a perfect forecast.

hour.earthformer.plot.csi(rain, thresholds=[1, 5, 10])
