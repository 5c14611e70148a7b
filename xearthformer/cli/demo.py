"""The demo: the package's main job from end to end, on data that ships with it.

Fifty years of simulated sea surface temperature; forecasts of its last ten by three packs; their
skill, as a table and as a picture.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..datasets.simulated.sst import synthetic_sst
from ..packs.pack import open_pack
from ..plots import maps, panels
from ..verification.enso import enso_skill, enso_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKS = ("persistence", "lim", "enso-ersst")
SEED = 7
CLIMATOLOGY = ("1960", "1999")
INITS = ("2000", "2009")
MONTHS = 14
BETWEEN = 6  # months between the inits whose plumes are drawn
AHEAD = 6  # months from the init whose maps are drawn to the largest event
PICTURE = "enso.png"
TITLE = "Forecasts of simulated sea surface temperature"


def demo(folder: Path, packs: Sequence[str] = PACKS) -> Path:
    """Simulate, forecast, score and draw; print progress. Return the path of the picture.

    Parameters
    ----------
    folder : Path
        Where to write the picture; created if missing.
    packs : sequence of str
        What to forecast with; maps are drawn of the last.
    """
    start = time.perf_counter()
    opened = {pack: open_pack(pack) for pack in packs}  # first, so that a missing one is an error
    print("Sea surface temperature 1960-2009, simulated by a linear inverse model of ERSST v3b.")
    print(f"Anomaly against {'-'.join(CLIMATOLOGY)}.")
    print(f"Forecasts from every month of {'-'.join(INITS)}, {MONTHS} months each:")
    sst = synthetic_sst(years=50, seed=SEED, start="1960-01")["sst"]
    ssta = sst.earthformer.anomaly(climatology=CLIMATOLOGY).load()
    observed = ssta.earthformer.index("nino3.4")
    indices, skills = {}, {}
    for name, pack in opened.items():
        pack_start = time.perf_counter()
        fc = ssta.earthformer.forecast(pack, init=slice(*INITS), lead=MONTHS)
        indices[name] = fc.earthformer.index("nino3.4")
        skills[name] = enso_skill(indices[name], observed)
        seconds = time.perf_counter() - pack_start
        print(f"  {name}: {fc.sizes['init']} forecasts in {seconds:.1f} s")
    print(f"\nNino3.4 index, mean of three months from each lead on\n\n{enso_table(skills)}\n")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PICTURE
    draw(indices, observed, fc, ssta).savefig(path, dpi=150)
    print(f"picture: {path.resolve()}\ntook {time.perf_counter() - start:.0f} s")
    return path


def draw(
    indices: Mapping[str, xr.DataArray],
    observed: xr.DataArray,
    forecast: xr.DataArray,
    ssta: xr.DataArray,
) -> "Figure":
    """Draw plumes of every pack, above maps of one pack's forecast of the largest event.

    Parameters
    ----------
    indices : mapping of packs to DataArrays (init, lead)
        Nino3.4 as forecast.
    observed : DataArray (time,)
        Nino3.4 as observed.
    forecast : DataArray (init, lead, y, x)
        Forecasts of one pack; those from half a year before the largest event are drawn.
    ssta : DataArray (time, y, x)
        Observations.
    """
    heights = 1.8 * len(indices), 5.2
    figure = panels.new_figure((11, sum(heights)))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = top.subplots(len(indices), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, index in zip(axes, indices.values(), strict=True):
        maps.plume(index[::BETWEEN], observed, ax=ax)
    for ax in axes[1:]:  # one legend is enough: the colours are the same
        ax.get_legend().remove()
    top.suptitle(TITLE)
    years = observed.sel(time=slice(*INITS))
    # A position among the values from AHEAD months on: that of the month AHEAD before the largest.
    init = years["time"].values[np.abs(years.values[AHEAD:-AHEAD]).argmax()]
    maps.field(forecast, ssta, init=init, lead=[1, 6, 12], figure=bottom)
    return figure
