"""
What if it rains more? Guidance
===============================

A latent diffusion draws its members step by step, and each step can be pulled towards what you ask
for: PreDiff's knowledge control.
"""

import matplotlib.pyplot as plt
from matplotlib.colors import BoundaryNorm

import xearthformer as xef

storms = xef.synthetic_storms(seed=7, size=128)["rain_rate"].isel(event=5).load()
rain = storms[::2]  # prediff-radar reads and forecasts a frame every ten minutes
now = {"init": rain["time"].values[[10]], "seed": 1}

# %%
# The figure of the paper, on radar: five members, each steered towards another intensity, from
# the mean - 4 standard deviations of what is usual to the mean + 4.

sigmas = [-4, -2, 0, 2, 4]
wanted = xef.anticipated_intensity(sigmas=sigmas)
swept = rain.earthformer.forecast("prediff-radar", guidance=wanted, members=5, **now)

levels = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
colours = plt.get_cmap("magma_r", len(levels)).with_extremes(under="white", bad="lightgrey")
norm = BoundaryNorm(levels, len(levels), extend="max")
names = [f"mean {sigma:+d} σ" if sigma else "mean" for sigma in sigmas]
rows = {name: swept.isel(init=0, member=m) for m, name in enumerate(names)}
rows = {"observed": rain.sel(time=swept["valid_time"].values[0])} | rows

fig, axes = plt.subplots(6, 6, figsize=(8, 7.2), layout="compressed")
for line, (name, frames) in zip(axes, rows.items(), strict=True):
    for k, ax in enumerate(line):
        image = ax.imshow(frames[k], cmap=colours, norm=norm, origin="lower")
        ax.set(xticks=[], yticks=[], title=f"+{10 * k + 10} min" if name == "observed" else "")
    line[0].set_ylabel(name)
fig.colorbar(image, ax=axes, shrink=0.6, label="rain (mm/h)")

# %%
# The rain rises with what was asked for.

fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(sigmas, swept.mean(["init", "lead", "y", "x"]), "o-")
ax.set(xlabel="standard deviations asked for", ylabel="mean rain (mm/h)")

# %%
# A constraint of your own is a differentiable function of the forecast. Here: 3 mm/h in the mean
# of the eastern half.


def in_the_east(fc: xef.Frames, past: xef.Frames) -> xef.Frames:
    return fc.weighted_mean(rain["x"] > 0, "y", "x").mean("lead")


wetter = xef.constraint(in_the_east, target=3.0)
free = rain.earthformer.forecast("prediff-radar", members=1, **now)
told = rain.earthformer.forecast("prediff-radar", members=1, guidance=wetter, **now)
east = rain["x"] > 0
print(f"free {float(free.where(east).mean()):.2f} mm/h, told {float(told.where(east).mean()):.2f}")
