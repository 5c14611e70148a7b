"""Guidance: the paper's formula, constraints of one's own, and members that leave each other be."""

import cloudpickle
import numpy as np
import pytest
import torch
import xarray as xr
from golden_rule import arrays, card
from small_prediff import rain, save, untrained
from test_prediff_networks import given, loaded

import xearthformer as xef
from xearthformer.inference import guidance
from xearthformer.inference.guidance import Frames, Terms, guide
from xearthformer.models.layers.parallel import one_thread
from xearthformer.packs.scale import Scale

HOW = {"steps": 4, "batch_size": 4}
SPACE = ("northing", "easting")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return save(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def da():
    return rain(steps=3)


@pytest.fixture(autouse=True)
def threads():
    with one_thread():
        yield


def terms(told: list, rows: int, climatology=None) -> Terms:
    return Terms(
        tuple(told), list(range(rows)), Scale(factor=20.0, floor=0.1), climatology, SPACE, {}
    )


def test_the_shift_is_the_papers_with_the_golden_gradient():
    """mu <- mu - sigma lambda grad || mean over frames of U - target ||, at batch size one."""
    name = "prediff_alignment_v1"
    model = untrained("tiny").double()
    model.alignment = loaded(name, torch.float64)
    model._mosaic = lambda z: type(model)._mosaic(model, z[:, :, :4, :4])  # one tile, of any size
    model.align = lambda z, t: model.alignment(z, torch.full((len(z),), t))
    z = given(name, "z", torch.float64)
    context = model.context(torch.zeros(1, 3, 16, 16, 1, dtype=torch.float64))
    told = xef.anticipated_intensity(value=card(name)["target"], scale=50)
    model.noise_shape = lambda context: tuple(z.shape[1:])
    shift = guide(model, context, terms([told], 1))
    moved = shift(z, card(name)["t"][0], z, 0.07, False)
    golden = -0.07 * 50 * arrays(name)["grad"]
    assert np.abs(moved.numpy() - golden).max() < 1e-6 * golden.std()


def test_several_constraints_add_up():
    model = untrained("tiny")
    context = model.context(torch.rand(2, 3, 16, 16, 1))
    one = xef.anticipated_intensity(value=0.3, strength=5)
    two = xef.constraint(lambda fc, past: fc.mean("lead", *SPACE), 2.0, strength=3)
    z = torch.randn(2, *model.noise_shape(context))
    parts = [guide(model, context, terms([t], 2))(z, 500, z, 0.1, False) for t in (one, two)]
    both = guide(model, context, terms([one, two], 2))(z, 500, z, 0.1, False)
    torch.testing.assert_close(both, parts[0] + parts[1])
    assert parts[0].abs().max() > 0 and parts[1].abs().max() > 0


def test_a_careful_step_ends_where_a_linear_aim_is_met():
    """|mean z - 1| has a slope of 1/n in each of n components: one step meets it."""
    model = untrained("tiny")
    context = model.context(torch.rand(1, 3, 16, 16, 1))
    model.align = lambda z, t: z.mean(dim=(2, 3, 4))[..., None]
    shift = guide(model, context, terms([xef.anticipated_intensity(value=1.0, strength=1e9)], 1))
    z = torch.randn(1, *model.noise_shape(context))
    torch.testing.assert_close((z + shift(z, 500, z, 0.1, True)).mean(), torch.tensor(1.0))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
@pytest.mark.parametrize("kind", ["intensity", "constraint"])
def test_a_guided_member_is_the_same_alone_and_among_others(pack, da, sampler, kind):
    def told(values):
        if kind == "intensity":
            return xef.anticipated_intensity(sigmas=values)
        return xef.constraint(lambda fc, past: fc.mean("lead", *SPACE), values, strength=20)

    how = {**HOW, "sampler": sampler}
    alone = da.earthformer.forecast(pack, members=1, guidance=told([3.0]), **how)
    among = da.earthformer.forecast(pack, members=5, guidance=told([3, -4, 0, 2, 9]), **how)
    free = da.earthformer.forecast(pack, members=1, **how)
    xr.testing.assert_equal(alone, among.isel(member=slice(1)))
    assert not np.allclose(alone, free)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
def test_a_region_mean_is_pulled_towards_its_target(pack, da, sampler):
    mask = (da["easting"] > 7000).astype("float32") * xr.ones_like(da["northing"])
    target = [0.0, 0.5, 1.0, 2.0]
    told = xef.constraint(
        lambda fc, past: fc.weighted_mean(mask, *SPACE).mean("lead"), target, strength=300
    )
    how = {"steps": 20, "batch_size": 4, "members": 4, "sampler": sampler}
    fc = da.earthformer.forecast(pack, guidance=told, **how)
    free = da.earthformer.forecast(pack, **how)
    off, before = (abs(f.weighted(mask).mean(("lead", *SPACE)) - target) for f in (fc, free))
    assert (off < before).all()


def test_lazy_guidance_gives_the_eager_bits(pack, da):
    told = [
        xef.anticipated_intensity(sigmas=2),
        xef.constraint(lambda fc, past: (fc - 5).clip(min=0).sum("lead", *SPACE)),
    ]
    how = {"members": 2, "guidance": told, **HOW}
    eager = da.earthformer.forecast(pack, **how)
    lazy = da.chunk({"when": 1}).earthformer.forecast(pack, **how)
    sent = cloudpickle.loads(cloudpickle.dumps(lazy))  # to a worker of dask
    xr.testing.assert_identical(sent.compute(scheduler="synchronous"), eager)


def test_a_constraint_sees_forecast_and_context_in_the_datas_units(pack, da):
    seen = []

    def look(fc, past):
        seen.append((fc, past))
        return fc.mean("lead", *SPACE) - past.isel(time=-1).mean(*SPACE)

    da.earthformer.forecast(pack, members=2, guidance=xef.constraint(look), steps=2, batch_size=2)
    fc, past = seen[-1]
    assert fc.dims == ("member", "lead", "northing", "easting") and past.dims[1] == "time"
    assert past.values.shape == (2, 3, 16, 16)
    last = xr.DataArray(past.values[0, -1].detach(), {d: past.coords[d] for d in SPACE}, SPACE)
    known = da.isel(when=-1, drop=True)
    expected = known.where(known > 0.1, 0).transpose(*SPACE)
    np.testing.assert_allclose(last.sel(northing=known["northing"]), expected, rtol=1e-5)


# --- frames


def frames() -> Frames:
    values = torch.arange(16.0).reshape(2, 2, 2, 2)
    return Frames(values, ("member", "lead", "y", "x"), {"y": np.array([1.0, 2.0])})


def test_frames_align_by_dims_and_labels():
    fc = frames()
    down = xr.DataArray([10.0, 0.0], {"y": [2.0, 1.0]}, ["y"])  # the other way round
    weighted = (fc * down).sum("lead", "y", "x")
    assert weighted.values.tolist() == [10 * (2 + 3 + 6 + 7), 10 * (10 + 11 + 14 + 15)]
    assert (fc - fc.isel(lead=0)).isel(lead=1, y=0, x=0).values.tolist() == [4.0, 4.0]
    assert (fc / 2 + 1).max("lead", "y", "x").values.tolist() == [4.5, 8.5]
    assert fc.weighted_mean(down, "lead", "y", "x").values.tolist() == [4.5, 12.5]
    assert fc.clip(max=1).sum("lead", "y", "x").values.tolist() == [7.0, 8.0]


def test_frames_refuse_what_they_cannot_align():
    with pytest.raises(ValueError, match=r"found \['z'\]"):
        frames().mean("z")
    with pytest.raises(ValueError, match=r"labels along \['y'\]"):
        frames() * xr.DataArray([1.0, 2.0], dims="y")


# --- what is refused, before any sampling


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda fc, past: fc.mean("member", "lead", *SPACE), "`member` as its first dim"),
        (lambda fc, past: 3.0, "`member` as its first dim"),
        (lambda fc, past: past.mean("time", *SPACE), "differentiable"),
        (lambda fc, past: torch.as_tensor(fc.values.detach().mean((1, 2, 3))), "differentiable"),
        (lambda fc, past: fc.isel(lead=0).sum(*SPACE) + torch.zeros(7, 1), "`member` as its"),
    ],
)
def test_a_constraint_that_cannot_serve_is_refused(pack, da, monkeypatch, fn, words):
    from xearthformer.models.prediff import samplers

    monkeypatch.setattr(samplers, "sample", lambda *_: pytest.fail("sampled"))
    with pytest.raises(ValueError, match=words):
        da.earthformer.forecast(pack, members=2, guidance=xef.constraint(fn), **HOW)


def test_what_a_card_cannot_serve_is_refused(tmp_path, da):
    bare = save(tmp_path / "bare", climatology=False)
    with pytest.raises(ValueError, match="climatology that sigmas count from"):
        da.earthformer.forecast(bare, guidance=xef.anticipated_intensity(sigmas=1))
    deaf = save(tmp_path / "deaf", alignment=False)
    with pytest.raises(ValueError, match="an alignment network"):
        da.earthformer.forecast(deaf, guidance=xef.anticipated_intensity(value=0.1))
    with pytest.raises(ValueError, match="one for each of 3 members"):
        da.earthformer.forecast(
            bare, members=3, guidance=xef.anticipated_intensity(value=[0.1, 0.2])
        )
    with pytest.raises(TypeError, match="guidance by xef.anticipated_intensity"):
        da.earthformer.forecast(bare, guidance="wet")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: xef.anticipated_intensity(), ValueError),
        (lambda: xef.anticipated_intensity(0.1, sigmas=1), ValueError),
        (lambda: xef.anticipated_intensity(sigmas=np.nan), ValueError),
        (lambda: xef.anticipated_intensity(sigmas=1, strength=0), ValueError),
        (lambda: xef.constraint(3), TypeError),
        (lambda: xef.constraint(abs, target=[[1.0]]), ValueError),
    ],
)
def test_guidance_that_means_nothing_is_refused(make, error):
    with pytest.raises(error, match="expected"):
        make()


def test_guidance_in_words():
    assert (
        guidance.describe(xef.constraint(len, 2.0)) == "constraint(len, target=2.0, strength=50.0)"
    )


def test_the_old_name_of_strength_is_heard_for_one_version():
    with pytest.warns(FutureWarning, match="'scale' is now 'strength'"):
        old = xef.anticipated_intensity(sigmas=1, scale=5)
    assert old == xef.anticipated_intensity(sigmas=1, strength=5)
