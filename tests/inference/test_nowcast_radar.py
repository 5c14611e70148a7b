"""The shipped pack `nowcast-radar`: it opens, follows rain, refuses, and beats persistence."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.packs.pack import SHIPPED

PACK = "nowcast-radar"


def showers(steps=4, size=96, dx=4.0, spacing=1000.0):
    """Showers that move `dx` pixels a frame along x; no radar sees the first ten rows."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size]
    where = rng.uniform((0, -40), (size, size), (20, 2))
    frames = [
        sum(6 * np.exp(-((y - a) ** 2 + (x - b - dx * t) ** 2) / 50) for a, b in where)
        for t in range(steps)
    ]
    values = np.array(frames, "f4")
    values[:, :10] = np.nan
    coords = {
        "time": pd.date_range("2016-07-11", periods=steps, freq="5min"),
        "y": ("y", spacing * np.arange(size)[::-1], {"units": "m"}),
        "x": ("x", spacing * np.arange(size), {"units": "m"}),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", attrs)


def csi(forecast, observed, threshold=1.0):
    """Hits by hits, misses and false alarms, over all leads and the pixels seen on both sides."""
    seen = forecast.notnull().values & observed.notnull().values
    said, came = (part.values >= threshold for part in (forecast, observed))
    return (said & came & seen).sum() / ((said | came) & seen).sum()


def test_it_is_small_and_says_what_it_is():
    size = sum(file.stat().st_size for file in (SHIPPED / PACK).iterdir())
    card = xef.open_pack(PACK).card
    assert size < 25e6
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < 100e6
    assert card.context == 4 and card.lead == 12 and card.time_step == "5min"
    assert (card.grid.height, card.grid.width) == (64, 64) and card.grid.larger == "whole"
    assert card.input.units == "mm h-1" and card.input.standard_name == "rainfall_rate"
    assert "MeteoSwiss" in card.training.data and "CC BY 4.0" in card.training.licence


def test_it_follows_moving_rain():
    rain = showers(steps=10)
    init = rain.time.values[3]
    fc, stay = (
        rain.earthformer.forecast(pack, init=init, lead=6) for pack in (PACK, "persistence")
    )
    seen = rain[4:].values[:, :, 40:]  # what came in over the edge nobody could know
    fc, stay = fc[0][:, :, 40:], stay[0][:, :, 40:]
    seen = fc.copy(data=seen)
    assert csi(fc, seen) > 0.6 > 0.4 > csi(stay, seen)


def test_its_answer():
    rain = showers()
    fc = rain.earthformer.forecast(PACK)
    assert fc.dims == ("init", "lead", "y", "x") and fc.sizes["lead"] == 12
    assert fc.attrs["units"] == "mm h-1" and "where little is known" in fc.attrs["history"]
    assert bool((fc.isnull().any("lead")[0] == rain[-1].isnull()).all())
    assert float(fc.min()) == 0 and 2 < float(fc.max()) < 100


def test_its_members():
    """As much rain as the single forecast about, each of them rain elsewhere, none where dry."""
    rain = showers()
    fc = rain.earthformer.forecast(PACK, members=4, seed=3)
    assert fc.dims == ("init", "lead", "member", "y", "x") and fc.sizes["lead"] == 12
    assert bool((fc.isnull().any(["lead", "member"])[0] == rain[-1].isnull()).all())
    assert float(fc.min()) == 0 and float(fc.max()) <= 210  # mm/h, the most of the card
    single = rain.earthformer.forecast(PACK)
    assert 0.4 < float(fc.mean() / single.mean()) < 2.5
    spread = fc.std("member").mean(["y", "x"])[0]
    assert float(spread[0]) > 0.05 and float(spread[5]) > float(spread[0])
    dry = xr.zeros_like(rain[:, 10:])
    assert not dry.earthformer.forecast(PACK, members=4).any()


def test_what_it_refuses():
    with pytest.raises(ValueError, match="pixels of 1000 m"):
        showers(spacing=2000.0).earthformer.forecast(PACK)
    with pytest.raises(ValueError, match="time step of 5min"):
        rain = showers()
        rain.assign_coords(time=rain.time[0] + 2 * (rain.time - rain.time[0])).earthformer.forecast(
            PACK
        )
    with pytest.raises(ValueError, match="at least 64 x 64 pixels"):
        showers(size=60).earthformer.forecast(PACK)
    with pytest.raises(ValueError, match="units"):
        showers().assign_attrs(units="dBZ").earthformer.forecast(PACK)


@pytest.mark.shared
def test_it_beats_persistence_on_an_event_of_real_radar(shared):
    rain = xef.open_radar(shared / "data" / "radar_mch_20160711.nc")
    rain = rain.isel(y=slice(264, 392), x=slice(264, 392)).load()
    at = (12, 27)
    init = rain.time.values[list(at)]
    seen = xr.concat([rain[i + 1 : i + 13].drop_vars("time") for i in at], "init")
    scores = {
        pack: csi(rain.earthformer.forecast(pack, init=init, lead=12), seen)
        for pack in (PACK, "persistence")
    }
    assert scores[PACK] > scores["persistence"] + 0.1
