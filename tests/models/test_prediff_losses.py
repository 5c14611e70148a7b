"""The three trainings of PreDiff: each learns, goes on after a kill, and leaves the rest alone."""

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from small_prediff import rain, untrained

import xearthformer as xef
from xearthformer.models.layers import flow
from xearthformer.models.prediff import losses
from xearthformer.models.prediff.losses import latent_window, stage
from xearthformer.training import latents
from xearthformer.training.recipe import Recipe
from xearthformer.training.windows import Crop

CARD = {
    "input": {"standard_name": "rainfall_rate", "units": "mm h-1"},
    "grid": {"kind": "pixels", "height": 16, "width": 16, "spacing": 1000.0},
    "time_step": "10min",
    "missing": "allowed",
    "scale": {"factor": 20.0, "floor": 0.1},
    "training": {"data": "noise"},
}
CROP = Crop(size=16, stride=8, least=0.0, checks=8)
RECIPE = Recipe(learning_rate=1e-3, batch_size=8, epochs=2, ema_decay=0.5, warmup=0.1)


def train(name, folder, start=None, recipe=RECIPE, **how):
    return xef.train(
        "prediff",
        rain(steps=12, height=24, width=24),
        config="tiny",
        card={} if start else CARD,
        pack=folder / name,
        stage=how.pop("stage", name),
        start=start,
        validation=rain(steps=7, height=16, width=16, seed=1),
        crop=how.pop("crop", CROP),
        recipe=recipe,
        progress=False,
        **how,
    )


@pytest.mark.parametrize(
    ("stage", "size", "hint"),
    [("autoencoder", 15, 16), ("autoencoder", 1, 4), ("denoiser", 24, 16)],
)
def test_crops_that_cannot_be_encoded_are_an_error_before_training(tmp_path, stage, size, hint):
    with pytest.raises(ValueError, match=rf"size={size}\n +try size={hint}$"):
        train(stage, tmp_path, crop=Crop(size=size, stride=8, least=0.0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The three parts one after another."""
    folder = tmp_path_factory.mktemp("runs")
    with dask.config.set(scheduler="synchronous"):
        first = train("autoencoder", folder)
        second = train("denoiser", folder, start=first.path)
        return folder, first, second, train("alignment", folder, start=second.path)


def same(a: xef.Pack, b: xef.Pack, name: str) -> bool:
    one, other = (getattr(pack.model(), name).state_dict() for pack in (a, b))
    return all(torch.equal(one[key], other[key]) for key in one)


def test_each_part_learns_and_leaves_the_others_alone(trained):
    _, first, second, third = trained
    assert same(first, second, "autoencoder") and same(second, third, "denoiser")
    assert same(first, second, "alignment") and not same(second, third, "alignment")
    assert not same(first, second, "denoiser")


def test_the_card_says_how_it_was_made(trained):
    _, first, _, third = trained
    for name in ("autoencoder", "denoiser", "alignment"):
        assert f"{name}: epoch " in third.card.training.notes
        assert f"{name}_validation_loss" in third.card.scores
    assert first.card.climatology is None and 0 < third.card.climatology.mean < 1
    assert third.card.training.data == "noise" and third.card.time_step == "10min"
    assert (third.card.context, third.card.lead) == (3, 2)
    assert third.card.model.config["latent_scale"] != 1


def test_latent_frames_have_a_spread_of_one(trained):
    model = trained[1].model()
    x = torch.from_numpy(rain(steps=12).transpose("when", ...).values)
    x = 10 * torch.log10(x.clamp(min=0.1) / 0.1) / 20
    z, _ = model.encode(x[None])
    assert float(z.std()) == pytest.approx(1, rel=0.3)


def test_what_is_trained_forecasts_and_is_guided(trained):
    pack, da = trained[3], rain()
    fc = da.earthformer.forecast(
        pack, members=2, steps=4, guidance=xef.anticipated_intensity(sigmas=[-4, 4])
    )
    assert fc.sizes["member"] == 2 and fc.notnull().all()


@pytest.mark.parametrize("name", ["autoencoder", "denoiser", "alignment"])
def test_a_run_cut_short_goes_on_with_the_same_bits(trained, tmp_path, name):
    _, *packs = trained
    before = {"autoencoder": None, "denoiser": packs[0].path, "alignment": packs[1].path}[name]
    whole = packs[["autoencoder", "denoiser", "alignment"].index(name)]
    train(name, tmp_path, start=before, recipe=Recipe(**{**vars(RECIPE), "stop": 1}))
    again = train(name, tmp_path, start=before)
    assert again.card.weights_sha256 == whole.card.weights_sha256


def test_latent_windows_are_made_once_and_go_on_after_a_kill(trained, tmp_path, monkeypatch):
    model = trained[1].model()
    x, y = torch.rand(70, 3, 16, 16, 1), torch.rand(70, 2, 16, 16, 1)

    class Some:
        def __len__(self):
            return 70

        def __getitem__(self, index):
            return x[index], y[index]

    calls = []

    def count(*args):
        calls.append(len(args[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return latent_window(*args)

    monkeypatch.setattr(latents, "latent_window", count)
    with pytest.raises(KeyboardInterrupt):
        latents.encode_windows(model, Some(), tmp_path / "z.zarr", 2, 0, False)
    made = latents.encode_windows(model, Some(), tmp_path / "z.zarr", 2, 0, False)
    assert calls == [32, 32, 32, 32, 32, 12] and len(made) == 140  # the second came to nothing
    latents.encode_windows(model, Some(), tmp_path / "z.zarr", 2, 0, False)
    assert len(calls) == 6
    undisturbed = latents.encode_windows(model, Some(), tmp_path / "other.zarr", 2, 0, False)
    for a, b in zip(made[torch.arange(140)], undisturbed[torch.arange(140)], strict=True):
        assert torch.equal(a, b)


def test_a_latent_window_holds_moments_what_is_seen_and_the_intensity():
    model = untrained("tiny")
    y = torch.rand(1, 2, 16, 16, 1)
    y[0, 1, :4, :8] = torch.nan
    context, target = latent_window(model, torch.rand(1, 3, 16, 16, 1), y)
    assert context.shape == (1, 3, 4, 4, 4) and target.shape == (1, 2, 4, 4, 4 + 4 + 2)
    mean, std = model.encode(torch.nan_to_num(y[..., 0]))
    assert torch.equal(target[..., :4], mean) and torch.equal(target[..., 4:8], std)
    seen = torch.ones(2, 4, 4)
    seen[1, 0, :2] = 0
    assert torch.equal(target[0, ..., 8], seen)
    for frame in range(2):
        expected = y[0, frame, ..., 0].nanmean()
        torch.testing.assert_close(target[0, frame, 1, 1, 9], expected)


def test_along_the_motion_the_middle_of_a_larger_crop_is_learnt():
    model = untrained("tiny-motion")
    x, y = torch.rand(2, 4, 64, 64, 1), torch.rand(2, 2, 64, 64, 1)
    context, target = latent_window(model, x, y)
    assert context.shape == (2, 4, 8, 8, 4) and target.shape == (2, 2, 8, 8, 10)
    v = flow.motion(x[..., 0])
    still = flow.to_lagrangian(x[..., 0], v)[..., 16:48, 16:48]
    torch.testing.assert_close(context, model.encode(still)[0])


@pytest.fixture
def noises(monkeypatch) -> list[torch.Tensor]:
    """The noise that is drawn in a loss, the last drawn at the end."""
    drawn, draw = [], torch.randn_like
    monkeypatch.setattr(losses.torch, "randn_like", lambda z: drawn.append(draw(z)) or drawn[-1])
    return drawn


def test_a_perfect_denoiser_has_no_loss(noises):
    """With logvar 0 the loss is the mean squared error."""
    task = stage("denoiser").task(untrained("tiny")).eval()
    context, target = latent_window(
        untrained("tiny"), torch.rand(4, 3, 16, 16, 1), torch.rand(4, 2, 16, 16, 1)
    )
    torch.manual_seed(0)
    assert float(task.loss(context, target)) > 0.5
    torch.manual_seed(0)
    del task.denoiser
    task.denoiser = lambda z, t, context: noises[-1]
    assert float(task.loss(context, target)) == 0
    task.logvar.fill_(2.0)
    assert float(task.loss(context, target)) == pytest.approx(2.0)


def test_the_log_variance_becomes_that_of_the_errors(noises):
    """Of a denoiser whose error is known at each step."""
    task = stage("denoiser").task(untrained("tiny")).train()
    context, target = latent_window(
        untrained("tiny"), torch.rand(64, 3, 16, 16, 1), torch.rand(64, 2, 16, 16, 1)
    )
    del task.denoiser
    wrong = torch.logspace(-1, 0.3, 1000)
    task.denoiser = lambda z, t, context: noises[-1] + wrong[t].view(-1, 1, 1, 1, 1)
    torch.manual_seed(0)
    for _ in range(300):
        task.loss(context, target)
    learnt = task.logvar.clone()
    torch.testing.assert_close(learnt, 2 * wrong.log(), atol=0.25, rtol=0)
    task.eval().loss(context, target)
    assert torch.equal(task.logvar, learnt)


def test_the_discriminator_learns_beside_the_autoencoder():
    """Its weights get the hinge's gradient alone, the autoencoder's the verdict's."""
    model = untrained("tiny")
    options = {"name": "autoencoder", "discriminator": 0.5, "discriminator_from": 2}
    task = stage(options).task(model).train()
    x = torch.rand(2, 1, 32, 32, 1)
    task.loss(x, x).backward()
    assert all(p.grad is None for p in task.discriminator.parameters())
    task.zero_grad()
    task.loss(x, x).backward()
    assert all(p.grad is not None for p in task.discriminator.parameters())
    frames = torch.cat([x, x], dim=1)[:, :, :, :, 0].reshape(4, 1, 32, 32)
    made = frames * 0.5
    real, fake = task.discriminator(frames), task.discriminator(made)
    hinge = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
    task.zero_grad()
    task._verdict(frames, made.requires_grad_()).backward()
    mine = [p.grad for p in task.discriminator.parameters()]
    expected = torch.autograd.grad(hinge, list(task.discriminator.parameters()))
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert made.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"stage": None}, "the stage of a prediff to train"),
        ({"stage": "decoder"}, "one of"),
        ({"stage": {"name": "denoiser", "turns": 3}}, r"found \['turns'\]"),
    ],
)
def test_a_part_that_is_none_is_an_error(tmp_path, how, words):
    with pytest.raises(ValueError, match=words):
        train("autoencoder", tmp_path, **how)


def test_a_model_that_is_trained_whole_has_no_parts(tmp_path):
    with pytest.raises(ValueError, match="trained whole"):
        xef.train(
            "earthformer", rain(), config="tiny", card=CARD, pack=tmp_path / "x", stage="denoiser"
        )


def test_storms_and_every_second_frame_as_sources(tmp_path):
    from xearthformer.training.config import DataSource

    storms = {"options": {"seed": 3, "events": 2, "size": 64}, "variable": "rain_rate"}
    records = DataSource(catalog="synthetic_storms", **storms, every=2).open()
    assert [r.sizes["time"] for r in records] == [25, 24, 25, 24]
    step = np.diff(records[1]["time"].values)[0]
    assert step == np.timedelta64(10, "m") and records[0].dims == ("time", "y", "x")
    whole = DataSource(catalog="synthetic_storms", **storms).open()[0]
    xr.testing.assert_equal(records[1].isel(time=0), whole.isel(time=1))
