"""The shipped pack prediff-radar: what it is, and that its members are rain, apart, and guided."""

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.models.layers.parallel import one_thread


@pytest.fixture(autouse=True)
def threads():
    with one_thread():
        yield


def test_the_card_says_what_it_is():
    pack = xef.open_pack("prediff-radar")
    card = pack.card
    assert (card.context, card.lead, card.time_step) == (7, 6, "10min")
    assert card.input.standard_name == "rainfall_rate" and card.input.units == "mm h-1"
    assert card.climatology is not None and card.training.licence
    size = (pack.path / "weights.safetensors").stat().st_size
    assert size < 60e6


def test_members_are_rain_apart_and_wetter_when_told():
    storms = xef.synthetic_storms(seed=7, size=128, frames=25)["rain_rate"].isel(event=0, drop=True)
    rain = storms[::2].load()
    how = {"init": rain["time"].values[[6]], "members": 3, "steps": 4, "batch_size": 3}
    told = xef.anticipated_intensity(sigmas=[-4, 0, 4])
    free = rain.earthformer.forecast("prediff-radar", **how)
    swept = rain.earthformer.forecast("prediff-radar", guidance=told, **how)
    amounts = swept.mean(("init", "lead", "y", "x")).values
    assert (free >= 0).all() and float(free.max()) < 300
    assert float(free.std("member").mean()) > 0.02 * float(free.mean())
    assert (np.diff(amounts) > 0).all()


def test_a_dry_hour_gives_dry_members():
    """And a single shower gives none far away: here in the opposite corner, 100 km off."""
    storms = xef.synthetic_storms(seed=7, size=128, frames=13)["rain_rate"].isel(event=0, drop=True)
    rain = xr.zeros_like(storms[::2].load())
    how = {"members": 2, "steps": 2, "batch_size": 2}
    assert not rain.earthformer.forecast("prediff-radar", **how).any()
    rain[:, 5:15, 5:15] = 10.0
    fc = rain.earthformer.forecast("prediff-radar", **how)
    assert fc[..., :32, :32].any() and not fc[..., -64:, -64:].any()


@pytest.mark.slow
def test_on_real_radar_an_ensemble_beats_its_own_members(shared):
    rain = xef.open_radar(shared / "data" / "radar_mch_20160711.nc")[::2, 200:328, 250:378].load()
    fc = rain.earthformer.forecast("prediff-radar", init=rain["time"].values[[8]], members=10)
    crps = fc.earthformer.verify(rain, scores=["crps"])["crps"].mean()
    one = xr.concat(
        [fc.isel(member=m).earthformer.verify(rain, scores=["crps"])["crps"] for m in range(3)],
        "member",
    ).mean()
    assert float(crps) < 0.9 * float(one)
