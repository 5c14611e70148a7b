"""Ensembles: labels, and the bits of a member whatever stands beside it."""

from functools import partial

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from small_prediff import rain, save

import xearthformer as xef
from xearthformer.inference import engine, ensemble
from xearthformer.models.layers.parallel import one_thread
from xearthformer.models.prediff.denoiser import EarthformerUNet

EVERY = {"init": slice(None), "steps": 3, "batch_size": 4}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return save(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def da():
    return rain(height=20, width=28)


@pytest.fixture(scope="module")
def five(pack, da):
    with one_thread():
        return da.earthformer.forecast(pack, members=5, **EVERY)


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    """Here and in processes to come."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with one_thread():
        yield


def test_an_ensemble_is_labelled(five, da):
    assert five.dims == ("init", "lead", "member", "northing", "easting")
    assert dict(five.sizes) == {"init": 6, "lead": 2, "member": 5, "northing": 20, "easting": 28}
    assert five["member"].attrs["standard_name"] == "realization"
    assert five["member"].values.tolist() == [0, 1, 2, 3, 4]
    xr.testing.assert_identical(five["northing"], da["northing"])
    assert five.attrs["seed"] == 0 and five.attrs["units"] == "mm h-1"
    assert "5 members of seed 0 by dpm++ in 3 steps" in five.attrs["history"]
    assert (five >= 0).all() and five.std("member").max() > 0


def test_members_are_the_same_bits_however_many_are_asked_for(pack, da, five):
    three = da.earthformer.forecast(pack, members=3, **EVERY)
    xr.testing.assert_equal(three, five.isel(member=slice(3)))


def test_members_are_the_same_bits_whatever_inits_stand_beside_them(pack, da, five):
    some = da.earthformer.forecast(pack, members=5, **{**EVERY, "init": five["init"].values[3:5]})
    xr.testing.assert_equal(some, five.isel(init=slice(3, 5)))


def test_one_member_where_none_is_asked_for(pack, da, five):
    one = da.earthformer.forecast(pack, **EVERY)
    xr.testing.assert_equal(one, five.isel(member=slice(1)))


def test_another_seed_is_another_ensemble(pack, da, five):
    other = da.earthformer.forecast(pack, members=5, seed=1, **EVERY)
    assert not np.isclose(other, five).all(axis=(0, 1, 3, 4)).any()


def test_across_batch_sizes_equal_to_rounding(pack, da, five):
    two = five.isel(init=slice(2))
    for size in (1, 7):
        how = {**EVERY, "init": two["init"].values, "batch_size": size}
        other = da.earthformer.forecast(pack, members=5, **how)
        xr.testing.assert_allclose(other, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_every_scheduler_and_chunking_gives_the_eager_bits(pack, da, five, scheduler):
    lazy = [
        da.chunk(chunks).earthformer.forecast(pack, members=5, chunks=inits, **EVERY)
        for chunks, inits in (({"when": 1}, 1), ({"when": 3, "easting": 5}, 4))
    ]
    assert all(dask.is_dask_collection(fc) for fc in lazy)
    for fc in dask.compute(*lazy, scheduler=scheduler, num_workers=2):
        xr.testing.assert_identical(fc, five)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", xef.Sampler("ddim", eta=1.0)])
def test_every_sampler_keeps_members_apart(pack, da, sampler):
    how = {**EVERY, "init": None, "sampler": sampler}
    three = da.earthformer.forecast(pack, members=3, **how)
    five = da.earthformer.forecast(pack, members=5, **how)
    xr.testing.assert_equal(three, five.isel(member=slice(3)))


def test_beyond_the_reach_each_member_reads_its_own_output(pack, da, five):
    how = {**EVERY, "init": five["init"].values[-1:]}
    long = da.earthformer.forecast(pack, members=5, lead=5, **how)
    assert long.sizes["lead"] == 5 and long.attrs["rollout"].startswith("leads 3 to 5")
    xr.testing.assert_equal(
        long.isel(lead=slice(2)).drop_vars("valid_time"),
        five.isel(init=slice(-1, None)).drop_vars("valid_time"),
    )
    assert long.isel(lead=4).std("member").mean() > 0
    three = da.earthformer.forecast(pack, members=3, lead=5, **how)
    xr.testing.assert_equal(three, long.isel(member=slice(3)))


def test_the_context_is_encoded_once_an_init(pack, da, five, monkeypatch):
    seen = []
    encode = type(pack.model()).context

    def count(self, x_BTHWC, at_once=1):
        seen.append(len(x_BTHWC))
        return encode(self, x_BTHWC, at_once)

    monkeypatch.setattr(type(pack.model()), "context", count)
    da.earthformer.forecast(pack, members=9, **{**EVERY, "init": five["init"].values[:2]})
    assert seen == [1] * 2


def test_missing_pixels_stay_missing(pack, da):
    holes = da.where(da["easting"] > 3000)
    fc = holes.earthformer.forecast(pack, members=2, steps=2)
    assert fc.isel(easting=slice(4)).isnull().all()
    assert fc.isel(easting=slice(4, None)).notnull().all()


def test_along_the_motion_members_are_the_same_bits(tmp_path):
    pack = save(tmp_path / "moving", "tiny-motion")
    da = rain(steps=4, height=32, width=40)
    two = da.earthformer.forecast(pack, members=2, steps=2, batch_size=64)
    three = da.earthformer.forecast(pack, members=3, steps=2, batch_size=64)
    assert dict(two.sizes) == {"init": 1, "lead": 2, "member": 2, "northing": 32, "easting": 40}
    xr.testing.assert_equal(two, three.isel(member=slice(2)))


@pytest.mark.slow
def test_a_compiled_denoiser_draws_the_same_to_rounding(pack, da, five, monkeypatch):
    asked, compile = [], partial(torch.compile, fullgraph=True, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda call: asked.append(call) or compile(call))
    how = {**EVERY, "init": five["init"].values[:1], "members": 2}
    fc = da.earthformer.forecast(pack, compile=True, **how)
    assert [type(call) for call in asked] == [EarthformerUNet]
    np.testing.assert_allclose(fc, five.isel(init=[0], member=slice(2)), rtol=1e-3, atol=1e-4)


def test_bf16_is_near(pack, da, five):
    how = {**EVERY, "init": five["init"].values[:1], "members": 5}
    low = da.earthformer.forecast(pack, precision="bf16", **how)
    assert 0 < float(abs(low - five.isel(init=[0])).mean()) < 0.1 * float(five.std())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"members": 0}, "members as a whole number from 1"),
        ({"members": 2.5}, "members as a whole number from 1"),
        ({"seed": -1}, "seed as a whole number from 0"),
        ({"seed": 2**63}, "seed as a whole number up to 9223372036854775807"),
        ({"sampler": "euler"}, "expected a sampler, one of"),
        ({"steps": 1}, "steps as a whole number from 2"),
        ({"sampler": "ddpm", "steps": 2000}, "at most 1000 steps"),
    ],
)
def test_bad_requests_are_errors_before_sampling(pack, da, monkeypatch, how, words):
    monkeypatch.setattr(ensemble, "sample", lambda *_: pytest.fail("sampled"))
    with pytest.raises(ValueError, match=words):
        da.earthformer.forecast(pack, **how)


def test_a_short_context_is_an_error(pack, da):
    with pytest.raises(ValueError, match="a record of at least 3"):
        da.isel(when=slice(2)).earthformer.forecast(pack, members=2)


def test_a_deterministic_pack_has_no_members(da):
    with pytest.raises(ValueError, match="(?s)members.*'lim', 'nowcast-radar' or 'prediff-radar',"):
        da.earthformer.forecast("persistence", members=3)
    with pytest.raises(ValueError, match="for guidance"):
        da.earthformer.forecast("persistence", guidance=xef.anticipated_intensity(sigmas=1))


def test_nan_names_step_member_and_init(tmp_path, da):
    pack = save(tmp_path / "nan")
    model = pack.model()

    def broken(z, t, context):
        found = z.clone()
        found[1] = float("nan")
        return found

    model.denoise = broken
    told = ensemble.ensemble(pack.card, 3, 0, "dpm++", 4, None)
    x = engine.torch.zeros(1, 3, 16, 16, 1)
    settings = engine.settings(pack, (16, 16), batch_size=4)
    with pytest.raises(ArithmeticError, match="step 1 of 4 in member 1 of init 2016"):
        ensemble.sample(model, x, ["2016"], 2, settings, told, pack.card, ("y", "x"), {})
