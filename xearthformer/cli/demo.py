"""The demo: the package's main job from end to end, on data that ships with it.

Fifty years of simulated sea surface temperature; forecasts of its last ten by three packs; their
skill, as a table and as a picture. The seed is one whose largest El Nino comes in 1997: an ensemble
of it, as a plume and as probabilities.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..datasets.simulated.sst import synthetic_sst
from ..packs.pack import open_pack
from ..plots import maps, panels, seasons
from ..verification.enso import enso_skill, enso_table
from ..verification.seasonal import categories

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKS = ("persistence", "lim", "enso-ersst")
SEED = 7
CLIMATOLOGY = ("1960", "1999")
INITS = ("2000", "2009")
MONTHS = 14
BETWEEN = 6  # months between the inits whose plumes are drawn
AHEAD = 6  # months from the init whose maps are drawn to the largest event
EVENT = ("1997-01", "1997-05", "1997-09")  # inits of the ensemble
MEMBERS = 50
PICTURE, EVENT_PICTURE = "enso.png", "enso_1997.png"
TITLE = "Forecasts of simulated sea surface temperature"


def demo(folder: Path, packs: Sequence[str] = PACKS) -> Path:
    """Simulate, forecast, score and draw; print progress. Return the path of the picture.

    Parameters
    ----------
    folder : Path
        Where to write the pictures; created if missing.
    packs : sequence of str
        What to forecast with; maps are drawn of the last, an ensemble of the first with noise of
        its own.
    """
    from ..inference.engine import has_noise  # loads torch

    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)  # first: a file of that name is an error
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
    path = folder / PICTURE
    draw(indices, observed, fc, ssta).savefig(path, dpi=150)
    print(f"picture: {path.resolve()}")
    noisy = next((pack for pack in opened.values() if has_noise(pack.card)), None)
    if noisy is not None:
        fc = ssta.earthformer.forecast(noisy, init=list(EVENT), lead=MONTHS, members=MEMBERS)
        ensemble = fc.earthformer.index("nino3.4")
        print(f"\n{event_table(ensemble)}\n")
        draw_event(ensemble, observed).savefig(folder / EVENT_PICTURE, dpi=150)
        print(f"picture: {(folder / EVENT_PICTURE).resolve()}")
    print(f"took {time.perf_counter() - start:.0f} s")
    return path


def event_table(ensemble: xr.DataArray) -> str:
    """Return the chance of El Nino by season, forecast from the first init, as a table to print.

    >>> months = xr.date_range("1997-02", periods=4, freq="MS")
    >>> fc = xr.DataArray([[[1.0, 0.0]] * 4], dims=("init", "lead", "member"), name="nino3.4")
    >>> fc = fc.assign_coords(init=[np.datetime64("1997-01", "ns")], lead=[1, 2, 3, 4])
    >>> print(event_table(fc.assign_coords(valid_time=(("init", "lead"), [months]))))
    El Nino from 1997-01, 2 members
    season   FMA  MAM
    percent   50   50
    """
    first = ensemble.isel(init=0)
    shares = categories(first).sel(category="El Nino").compute()
    init = first["init"].dt.strftime("%Y-%m").item()
    seasons_row = "".join(f"{season:>5}" for season in shares["season"].values)
    percent_row = "".join(f"{100 * share:5.0f}" for share in shares.values)
    head = f"El Nino from {init}, {ensemble.sizes['member']} members"
    return f"{head}\nseason {seasons_row}\npercent{percent_row}"


def draw_event(ensemble: xr.DataArray, observed: xr.DataArray) -> "Figure":
    """Draw the plumes of an ensemble, above the probabilities by season of its first init.

    Parameters
    ----------
    ensemble : DataArray (init, lead, member)
        Nino3.4 as forecast.
    observed : DataArray (time,)
        Nino3.4 as observed.
    """
    figure = panels.new_figure((11, 7.2))
    top, bottom = figure.subplots(2, 1)
    maps.plume(ensemble, observed, ax=top)
    seasons.categories(ensemble, observed, init=ensemble["init"].values[0], ax=bottom)
    return figure


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
