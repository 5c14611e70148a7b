"""The demo's ensemble, of members made by hand: a plume above probabilities, and their table."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from xearthformer.cli import demo
from xearthformer.datasets.simulated.sst import synthetic_sst


@pytest.fixture
def observed():
    """The record that the demo forecasts, near the equator."""
    sst = synthetic_sst(years=50, seed=demo.SEED, start="1960-01")["sst"].sel(lat=slice(-8, 8))
    return sst.earthformer.anomaly(climatology=demo.CLIMATOLOGY).earthformer.index("nino3.4").load()


def test_the_largest_event_of_the_demo_comes_in_1997(observed):
    recent = observed.sel(time=slice("1980", "2009"))
    peak = recent.idxmax("time").dt.strftime("%Y-%m").item()
    assert "1997-09" < peak < "1998-02" and recent.max() > 2.5
    assert observed.sel(time=demo.EVENT[0]).item() < 0.5  # it is still to come


def test_the_ensemble_is_a_plume_above_probabilities(observed):
    months = observed["time"].values.astype("M8[M]")
    at = np.array([np.flatnonzero(months == np.datetime64(init))[0] for init in demo.EVENT])
    steps = np.arange(1, demo.MONTHS + 1)
    # member m is (m - 5) / 4 off the truth
    offsets = (np.arange(20) - 5) / 4
    values = observed.values[at[:, None] + steps][..., None] + offsets
    valid = observed["time"].values[at[:, None] + steps]
    coords = {"init": observed["time"].values[at], "lead": steps, "member": np.arange(20)}
    coords["valid_time"] = (("init", "lead"), valid)
    ensemble = xr.DataArray(values, coords, ("init", "lead", "member"), "nino3.4", observed.attrs)
    figure = demo.draw_event(ensemble, observed)
    plume, bars = figure.axes
    labels = [text.get_text() for text in plume.get_legend().get_texts()]
    assert labels == ["observed", "from Jan 1997", "from May 1997", "from Sep 1997"]
    assert "of 20 members" in plume.get_title(loc="left") and len(bars.patches) == 3 * 12
    assert bars.get_title(loc="left").endswith("from Jan 1997: 20 members")
    head, seasons, percent = demo.event_table(ensemble).splitlines()
    assert head == "El Nino from 1997-01, 20 members"
    assert seasons.split()[:3] == ["season", "FMA", "MAM"] and seasons.split()[-1] == "JFM"
    truth = observed.values[at[0] + np.arange(1, 4)].mean()
    assert int(percent.split()[1]) == 5 * int((truth + offsets >= 0.5).sum())
    plt.close("all")
