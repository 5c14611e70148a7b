"""
Is it any good? Verification of rain
====================================

A nowcast is worth its rivals. Everything below is scored on the same pixels of the same hours.
"""

import xearthformer as xef

rain = xef.synthetic_storms(seed=7, size=192)["rain_rate"].isel(event=5).load()
inits = rain["time"].values[6:36:6]

# %%
# `compare` forecasts from each init with each pack. With pysteps installed, "pysteps", "sprog"
# and "steps" may stand in the list too.

table = xef.compare(rain, ["persistence", "nowcast-radar"], init=inits, progress=False)
table["csi"].sel(threshold=1.0).round(2).to_pandas().T

# %%
# At which scale is a forecast useful? The fractions skill score forgives a shower that is a few
# kilometres off: it grows with the neighbourhood, from the bottom up, and falls as the rain gets
# heavier.

fc = rain.earthformer.forecast("nowcast-radar", init=inits)
fc.earthformer.plot.fss(rain, thresholds=[0.5, 1, 5, 10, 20])

# %%
# Members are judged together. Of all hours for which 30 % of members had rain, it should have
# rained in 30 %: the line should follow the diagonal.

ens = rain.earthformer.forecast("nowcast-radar", init=inits, members=20, seed=1)
ens.earthformer.plot.reliability(rain, thresholds=[1, 5])

# %%
# Where did what came fall among the members? Even bars mean that their spread is right.

ens.earthformer.plot.rank_histogram(rain)

# %%
# The continuous ranked probability score is an error in mm/h, the less the better; spread over
# error is 1 where an ensemble knows how wrong it may be.

scores = ens.earthformer.verify(rain, ["crps", "spread_skill"])
scores[["crps", "spread_skill"]].reset_coords(drop=True).round(2).to_dataframe()
