"""Members of a nowcast, and its single forecast beside them: the same bits, however asked for."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from small_nowcast import small_nowcast

import xearthformer as xef


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """An untrained one: 4 frames in, 3 out, on 32 x 32 pixels or more."""
    return small_nowcast(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="module")
def rain():
    """Showers that move 4 km in five minutes along x, 40 x 44 pixels, 7 frames."""
    y, x = np.mgrid[:40, :44]
    where = np.random.default_rng(3).uniform((0, -20), (40, 40), (9, 2))
    values = [
        sum(6 * np.exp(-((y - a) ** 2 + (x - b - 4 * t) ** 2) / 30) for a, b in where)
        for t in range(7)
    ]
    time = pd.date_range("2016-07-11T22:00", periods=7, freq="5min")
    coords = {"time": time, "y": 1000.0 * np.arange(40), "x": 1000.0 * np.arange(44)}
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    da = xr.DataArray(np.array(values, "f4"), coords, ("time", "y", "x"), "rain", attrs)
    for dim in ("y", "x"):
        da[dim].attrs["units"] = "m"
    return da


@pytest.fixture(scope="module")
def three(rain, pack):
    """Three members from three inits."""
    return rain.earthformer.forecast(pack, init=rain.time.values[3:6], members=3)


def test_the_answer(three):
    assert three.dims == ("init", "lead", "member", "y", "x") and three.shape[:3] == (3, 3, 3)
    assert three["known"].dims == ("init", "lead", "y", "x")
    assert three.attrs["seed"] == 0 and "3 members of seed 0" in three.attrs["history"]
    assert three.notnull().all() and three.min() == 0 and three.max() > 2
    assert (three.std("member").max(["y", "x"]) > 0.1).all()


def test_members_and_inits_have_the_same_bits_whatever_is_next_to_them(rain, pack, three):
    one = rain.earthformer.forecast(pack, init=rain.time[4], members=1)
    np.testing.assert_array_equal(one.isel(init=0, member=0), three.isel(init=1, member=0))
    np.testing.assert_array_equal(one["known"][0], three["known"][1])
    two = rain[:6].earthformer.forecast(pack, members=2)  # of the last init of a shorter record
    np.testing.assert_array_equal(two[0], three.isel(init=2, member=slice(2)))


def test_in_memory_or_lazy_and_in_whatever_chunks(rain, pack, three):
    for chunks in (1, 2):
        lazy = rain.chunk(time=2, y=20).earthformer.forecast(
            pack, init=rain.time.values[3:6], members=3, chunks=chunks
        )
        assert lazy.chunks is not None
        xr.testing.assert_identical(lazy.compute(), three)


def test_a_hindcast_of_members(rain, pack, three, tmp_path):
    how = {"init": rain.time.values[3:6], "members": 3}
    hind = xef.hindcast(rain, pack, tmp_path / "h.zarr", **how)
    np.testing.assert_array_equal(hind["rain"], three)


def test_seeds_differ_and_say_so(rain, pack, three):
    other = rain.earthformer.forecast(pack, init=rain.time[3], members=1, seed=1)
    assert other.attrs["seed"] == 1
    assert float(np.abs(other.isel(init=0) - three[0].isel(member=[0])).max()) > 0.5


def test_single_forecasts_have_the_same_bits_in_any_batch(rain, pack):
    inits = rain.time.values[3:6]
    every = rain.earthformer.forecast(pack, init=inits, batch_size=2)
    for k, init in enumerate(inits):
        own = rain.earthformer.forecast(pack, init=init, batch_size=2)
        np.testing.assert_array_equal(own[0], every[k])


@pytest.mark.parametrize("members", [None, 2])
def test_beyond_the_leads_of_the_pack_it_reads_its_own_forecast(rain, pack, members):
    how = {"init": rain.time[3], "members": members}
    long = rain.earthformer.forecast(pack, lead=7, **how)
    short = rain.earthformer.forecast(pack, lead=3, **how)
    assert long.sizes["lead"] == 7 and long.notnull().all()
    np.testing.assert_array_equal(long.isel(lead=slice(3)), short)
    if members is None:
        own = rain[3:7].copy()
        own[1:] = short[0].values
        again = own.earthformer.forecast(pack, lead=3)
        error = np.abs(again[0].values - long[0, 3:6].values)
        assert error.mean() < 0.05 * float(long.mean())  # ranks of rain hang on its last digits
    else:
        assert float(np.abs(long[0, 6, 0] - long[0, 6, 1]).max()) > 0.5
    known = long["known"].mean(["y", "x"]).values[0]
    assert (np.diff(known) <= 0).all() and known[-1] < 0.7 * known[0]


@pytest.mark.parametrize("members", [None, 2])
def test_in_bfloat16_it_is_nearly_the_same(rain, pack, members):
    how = {"init": rain.time[3], "members": members}
    full = rain.earthformer.forecast(pack, **how)
    half = rain.earthformer.forecast(pack, precision="bf16", **how)
    assert half.dtype == full.dtype and half.notnull().all()
    error = float(np.abs(half - full).mean() / full.mean())
    assert 0 < error < 0.1


@pytest.mark.slow
def test_compiled_it_is_the_same_to_rounding(rain, pack, monkeypatch):
    asked, compile = [], partial(torch.compile, fullgraph=True, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda call: asked.append(call) or compile(call))
    for members in (None, 2):
        how = {"init": rain.time[3], "members": members, "lead": 4}
        fc = rain.earthformer.forecast(pack, compile=True, **how)
        np.testing.assert_allclose(fc, rain.earthformer.forecast(pack, **how), atol=1e-3)
    assert len(asked) == 1  # the network is kept


@pytest.mark.slow
def test_compiled_by_inductor(rain, pack):
    fc = rain.earthformer.forecast(pack, compile=True)
    np.testing.assert_allclose(fc, rain.earthformer.forecast(pack), atol=1e-2)


def test_beyond_nan_members_say_nothing_where_little_is_known(rain, pack, three):
    fc = rain.earthformer.forecast(pack, init=rain.time[3], members=3, beyond="nan")
    seen = (fc["known"] >= 0.5).broadcast_like(fc)
    assert (fc.notnull() == seen).all() and 0.05 < float(fc.isnull().mean()) < 0.9
    np.testing.assert_array_equal(fc[0].where(seen[0]), three[0].where(seen[0]))


def test_gaps_of_frames_leave_no_gaps_in_members(rain, pack):
    gappy = rain[:4].copy()
    gappy[2] = np.nan
    with pytest.warns(UserWarning, match="1 of 4 frames are missing"):
        fc = gappy.earthformer.forecast(pack, members=2)
    assert fc.notnull().all()


def test_dry_rain_stays_dry(rain, pack):
    dry = xr.zeros_like(rain)
    assert not dry.earthformer.forecast(pack, members=2).any()
    assert not dry.earthformer.forecast(pack, lead=5).any()


def test_options_of_samplers_are_refused(rain, pack):
    with pytest.raises(ValueError, match="a pack that samples, for steps"):
        rain.earthformer.forecast(pack, members=2, steps=3)
