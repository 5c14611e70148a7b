"""PreDiff's networks: golden outputs, published key names, mosaics, what a config may not be."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from golden_rule import GOLDEN, arrays, card, fill
from small_prediff import untrained

import xearthformer as xef
from xearthformer.errors import PackError
from xearthformer.models import build, from_published
from xearthformer.models.layers.mosaic import Mosaic, in_batches
from xearthformer.models.prediff import alignment, denoiser, prediff
from xearthformer.models.prediff.prediff import PRESETS, AutoencoderConfig, PreDiffConfig
from xearthformer.models.published.weights import load_published

NAMES = sorted(path.stem for path in GOLDEN.glob("prediff_*.json"))
# 20 and 10 s in float64: their blocks are those of the tiny ones, but for width and number.
LONG = "prediff_unet_v1", "prediff_vae_v1"
KINDS = {"vae": "prediff-vae", "unet": "prediff-unet", "alignment": "prediff-alignment"}


def published(name: str) -> torch.nn.Module:
    return from_published(KINDS[name.split("_")[1]], card(name)["model"])


def golden_state(name: str) -> dict[str, torch.Tensor]:
    """A published state dict by the golden rule, under its published names."""
    own = published(name).state_dict()
    shapes = card(name)["state_dict"]
    made = fill({key: torch.empty(shape) for key, shape in shapes.items()})
    return {key: own[key] if key.endswith("_index") else value for key, value in made.items()}


def loaded(name: str, dtype: torch.dtype) -> torch.nn.Module:
    kind, config = KINDS[name.split("_")[1]], card(name)["model"]
    return from_published(kind, config, golden_state(name)).to(dtype).eval()


def given(name: str, key: str, dtype: torch.dtype) -> torch.Tensor:
    about = card(name)[key]
    rng = np.random.default_rng(about["seed"])
    draw = rng.random if "uniform" in about["dist"] else rng.standard_normal
    return torch.from_numpy(draw(tuple(about["shape"]), dtype=np.float32)).to(dtype)


def error(found: torch.Tensor, golden: np.ndarray) -> float:
    """Largest error in standard deviations of the golden output (of one number: in itself)."""
    assert tuple(found.shape) == golden.shape
    spread = golden.std() if golden.size > 1 else np.abs(golden)
    return float(np.abs(found.detach().numpy() - golden).max() / spread)


def outputs(name: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    model = loaded(name, dtype)
    if "vae" in name:
        with torch.no_grad():
            moments = model.encode(given(name, "x", dtype)).latent_dist
            recon = model.decode(moments.mean).sample
        return {"latent_mean": moments.mean, "latent_logvar": moments.logvar, "recon": recon}
    t = torch.tensor(card(name)["t"])
    if "unet" in name:
        with torch.no_grad():
            return {"y": model(given(name, "x", dtype), t, given(name, "cond", dtype))}
    z = given(name, "z", dtype).requires_grad_()
    pred = model(z, t)
    value = torch.linalg.vector_norm(pred.mean(dim=1) - card(name)["target"])
    (grad,) = torch.autograd.grad(value, z)
    return {"pred": pred, "value": value, "grad": grad}


def test_all_six_golden_models_are_here():
    assert len(NAMES) == 6


@pytest.mark.parametrize("name", NAMES)
def test_published_keys_load_strictly(name):
    about = card(name)
    model = published(name)
    assert sum(p.numel() for p in model.parameters()) == about["n_params"]
    own = model.state_dict()
    if "vae" not in name:
        assert {key: list(value.shape) for key, value in own.items()} == about["state_dict"]
    shapes = about["state_dict"].items()
    state = {k: own[k] if k.endswith("_index") else torch.zeros(shape) for k, shape in shapes}
    load_published(model, {f"torch_nn_module.{key}": value for key, value in state.items()})
    lost = dict(list(state.items())[1:])
    with pytest.raises(ValueError, match="missing"):
        load_published(model, lost)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in NAMES]
)
def test_golden_outputs(name):
    golden = arrays(name)
    for key, found in outputs(name, torch.float64).items():
        assert error(found, golden[key]) < 1e-6, key


@pytest.mark.parametrize("name", [name for name in NAMES if "tiny" in name])
def test_golden_outputs_in_float32(name):
    golden = arrays(name)
    for key, found in outputs(name, torch.float32).items():
        assert error(found, golden[key]) < 1e-4, key


@pytest.mark.parametrize(
    "name", ["prediff_unet_tiny", "prediff_alignment_tiny", "prediff_vae_tiny"]
)
def test_a_moving_average_is_read_by_its_names_without_dots(name):
    model = published(name)
    own = dict(model.named_parameters())
    averaged = {
        f"model_ema.{key.replace('.', '')}": torch.full_like(value, 0.5)
        for key, value in own.items()
    }
    load_published(model, {**averaged, "model_ema.decay": torch.tensor(0.9)})
    assert all(bool((value == 0.5).all()) for value in model.parameters())


@pytest.mark.parametrize(
    ("kind", "name", "change", "words"),
    [
        ("prediff-unet", "prediff_unet_tiny", {"unet_res_connect": False}, "unet_res_connect=True"),
        ("prediff-unet", "prediff_unet_tiny", {"num_global_vectors": 8}, "num_global_vectors=0"),
        (
            "prediff-unet",
            "prediff_unet_tiny",
            {"time_embed_use_scale_shift_norm": True},
            "time_embed_use_scale_shift_norm=False",
        ),
        (
            "prediff-alignment",
            "prediff_alignment_tiny",
            {"hierarchical_pos_embed": True},
            "hierarchical_pos_embed=False",
        ),
        ("prediff-alignment", "prediff_alignment_tiny", {"pool": "mean"}, "pool='attention'"),
        ("prediff-vae", "prediff_vae_tiny", {"act_fn": "relu"}, "act_fn='silu'"),
        ("prediff-vae", "prediff_vae_tiny", {"more": 1}, "unknown"),
        ("prediff-unet", "prediff_unet_tiny", {"proj_drop": 0.3}, "the same value"),
    ],
)
def test_what_is_not_built_is_an_error(kind, name, change, words):
    with pytest.raises(ValueError, match=words):
        from_published(kind, {**card(name)["model"], **change})


def test_the_published_networks_are_the_preset():
    with torch.device("meta"):
        for name, preset in (
            ("prediff_unet_v1", denoiser.PRESETS["sevir-lr"]),
            ("prediff_alignment_v1", alignment.PRESETS["sevir-lr"]),
        ):
            assert published(name).config == preset
        found = PRESETS["sevir-lr"].autoencoder.build().config
    for key, value in card("prediff_vae_v1")["model"].items():
        assert list(np.ravel(found[key])) == list(np.ravel(value))


def test_three_published_files_become_one_pack(tmp_path, monkeypatch):
    """Of the tiny configuration, in place of the published one, which is a gigabyte."""
    monkeypatch.setitem(PRESETS, "sevir-lr", PRESETS["tiny"])
    model = untrained("tiny")
    files = []
    for name in ("denoiser", "alignment", "autoencoder"):
        files.append(tmp_path / f"{name}.pt")
        torch.save(getattr(model, name).state_dict(), files[-1])
    pack = xef.convert(files, "prediff-sevir-lr", tmp_path / "pack")
    assert (pack.card.context, pack.card.lead, pack.card.time_step) == (3, 2, "10min")
    for key, value in pack.model().state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    with pytest.raises(PackError, match=r"expects 3 checkpoint file\(s\)"):
        xef.convert(files[:2], "prediff-sevir-lr", tmp_path / "other")
    with pytest.raises(PackError, match="isn't a checkpoint"):
        xef.convert([files[0], files[1], files[1]], "prediff-sevir-lr", tmp_path / "other")


# --- configurations


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trips_through_json(preset):
    config = PRESETS[preset]
    again = json.loads(json.dumps(asdict(config)))
    assert PreDiffConfig(**again) == config


def test_parts_that_do_not_fit_are_an_error():
    tiny = PRESETS["tiny"]
    with pytest.raises(ValueError, match="as the autoencoder makes them"):
        PreDiffConfig(AutoencoderConfig((8, 8), 1, 8, 4), tiny.denoiser, tiny.alignment)
    with pytest.raises(ValueError, match=r"alignment\.input_shape"):
        PreDiffConfig(tiny.autoencoder, tiny.denoiser, alignment.AlignmentConfig())
    with pytest.raises(ValueError, match="norm_num_groups"):
        AutoencoderConfig((12, 16), norm_num_groups=8)
    with pytest.raises(ValueError, match="a pattern for each of the 2 levels"):
        denoiser.EarthformerUNetConfig(depth=(1, 1), attn_patterns=("axial",))
    with pytest.raises(ValueError, match="found 'axiall'"):
        denoiser.EarthformerUNetConfig(attn_patterns="axiall")


def test_a_fresh_denoiser_says_how_noisy_it_is():
    """Its residual branches begin at zero, so that the output is a linear map of the input."""
    torch.manual_seed(0)
    net = denoiser.EarthformerUNet(denoiser.PRESETS["tiny"]).eval()
    z, context = torch.randn(2, 2, 4, 4, 4), torch.randn(2, 3, 4, 4, 4)
    assert torch.equal(net(z, torch.tensor([1, 1]), context), net(z, torch.tensor([9, 9]), context))
    filled = untrained("tiny").denoiser
    near, far = (filled(z, torch.tensor([t, t]), context) for t in (1, 900))
    assert not torch.allclose(near, far)


@pytest.mark.slow
def test_the_denoiser_compiles_as_one_graph():
    net = untrained("tiny").denoiser
    args = torch.randn(1, 2, 4, 4, 4), torch.tensor([5]), torch.randn(1, 3, 4, 4, 4)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*args), net(*args))


# --- mosaics


def test_tiles_come_together_without_a_seam():
    """A constant and a plane come back; and the gradient of the plane shows no tile."""
    mosaic = Mosaic((20, 37), 8)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(37.0), indexing="ij")
    for field in (torch.ones(20, 37), 2 * y - x):
        whole = mosaic.join(mosaic.split(field[None, None, ..., None]))[0, 0, ..., 0]
        torch.testing.assert_close(whole, field)


def test_a_row_in_batches_knows_no_neighbours():
    net = torch.nn.Conv2d(3, 5, 3)
    x = torch.randn(7, 3, 9, 9)
    with torch.no_grad():
        whole = in_batches(net, x, size=3)
        alone = torch.cat([in_batches(net, row[None], size=3) for row in x])
    assert torch.equal(whole, alone)


def test_what_a_domain_is_padded_to_is_cut_off_again():
    model = untrained("tiny")
    x = torch.rand(1, 3, 19, 26, 1)
    context = model.context(x)
    assert context.z_BThwC.shape[2:4] == (5, 7) and model.tiles((19, 26)) == 4
    assert model.decode(context.z_BThwC[:, :2], context).shape == (1, 2, 19, 26, 1)


def test_a_forecast_grows_so_far_beyond_its_context():
    model = untrained("tiny")
    calm, wild = torch.full((1, 3, 16, 16, 1), 0.5), torch.full((1, 3, 16, 16, 1), 3.0)
    for x, most in ((calm, 1.1), (wild, 3.3)):
        context = model.context(x)
        model.autoencoder.decoder.conv_out.bias.data.fill_(50.0)
        z = context.z_BThwC[:, :2]
        assert float(model.decode(z, context).max()) > 10
        model.config = replace(PRESETS["tiny"], growth=1.1)
        assert float(model.decode(z, context).max()) == pytest.approx(most)
        model.config = PRESETS["tiny"]


def test_less_than_the_least_is_none():
    model = untrained("tiny")
    context = model.context(torch.rand(1, 3, 16, 16, 1))
    z = context.z_BThwC[:, :2]
    y = model.decode(z, context)
    least = float(y.median().clamp(min=0.01))
    model.config = replace(PRESETS["tiny"], least=least)
    torch.testing.assert_close(model.decode(z, context), torch.where(y < least, 0, y))


def test_less_noise_is_found_where_the_noise_is_scaled():
    model = untrained("tiny")
    context = model.context(torch.rand(1, 3, 16, 16, 1))
    z = torch.randn(1, *model.noise_shape(context))
    noise = model.denoise(z, 500, context)
    model.config = replace(PRESETS["tiny"], noise_scale=1.25)
    torch.testing.assert_close(model.denoise(z, 500, context), noise / 1.25)
    with pytest.raises(ValueError, match="expected noise_scale above 0, found 0"):
        replace(PRESETS["tiny"], noise_scale=0.0)


def test_limits_hold_where_frames_were_carried():
    """Between pixels cubics overshoot; what is forecast keeps within its limits all the same."""
    model = untrained("tiny-motion")
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    cells = torch.stack(
        [2.0 * ((y - 16).abs().maximum((x - 8 - 2.5 * k).abs()) < 4) for k in range(4)]
    )
    context = model.context(cells[None, ..., None])
    model._decode_frame = lambda z, context: 2.0 * (context.frames_BTHW[:, -1:, ..., None] > 1)
    z = context.z_BThwC[:, :2]
    assert float(model.decode(z, context).min()) < 0 and float(model.decode(z, context).max()) > 2
    model.config = replace(PRESETS["tiny-motion"], growth=1.0, least=0.1)
    limited = model.decode(z, context)
    assert float(limited.max()) == 2 and float(limited[limited != 0].min()) >= 0.1


def test_no_rain_is_made_where_none_has_been_within_reach():
    """A standing column of rain, and a network that forecasts 1 everywhere: that much is left up to
    32 pixels from the column, half of it at 40, and none from 48 on."""
    model = untrained("tiny-motion")
    model._decode_frame = lambda z, context: torch.ones(*context.near_BHW.shape[:1], 1, 32, 128, 1)
    rain, dry = torch.zeros(2, 4, 32, 128, 1).split(1)
    rain[:, :, :, :4] = 2.0  # the last column with rain is 3
    for x, expected in ((rain, [1, 1, 0.5, 0, 0]), (dry, [0, 0, 0, 0, 0])):
        context = model.context(x)
        y = model.decode(context.z_BThwC[:, :2], context)[0, ..., 0]
        found = y[:, :, [0, 35, 43, 51, 127]]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=y.dtype).expand_as(found))
    both = prediff.Context.join([model.context(rain), model.context(dry)])
    generators = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)]
    y = model.decode(both.z_BThwC[:, :2], both, generators)
    assert y[0].any() and not y[1].any()


def test_a_gradient_through_frames_is_the_same_piece_by_piece(monkeypatch):
    model = untrained("tiny").requires_grad_(False)
    context = model.context(torch.rand(1, 3, 20, 24, 1))
    gradients, pieces = [], []
    kept = prediff.checkpoint
    for how in (
        lambda net, *args, **options: pieces.append(net) or kept(net, *args, **options),
        lambda net, *args, **options: net(*args),
    ):
        monkeypatch.setattr(prediff, "checkpoint", how)
        z = context.z_BThwC[:, :2].clone().requires_grad_()
        gradients += torch.autograd.grad(model.decode(z, context).square().sum(), z)
    assert torch.equal(*gradients) and len(pieces) == 2 * model.tiles((20, 24))


def test_frames_stand_still_along_their_motion():
    """A blob that moves 3 pixels a frame is in one place in all frames, and goes on as it went."""
    model = untrained("tiny-motion")
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    frames = torch.stack(
        [2 * torch.exp(-((y - 40) ** 2 + (x - 30 - 3 * k) ** 2) / 72) for k in range(6)]
    )
    context = model.context(frames[None, :4, ..., None])
    padded = model._padded(frames[None, :4])
    still = prediff.flow.to_lagrangian(padded, context.motion_B2hw)[0]
    assert (still[0] - still[-1]).abs().max() < 0.3 < (padded[0, 0] - padded[0, -1]).abs().max()
    last = padded[:, -1:].expand(1, 2, -1, -1)
    went = prediff.flow.from_lagrangian(last, context.motion_B2hw)[0]
    assert (went - frames[4:]).abs().max() < 0.3


def test_a_build_by_name():
    assert build("prediff", "tiny").samples and not build("earthformer", "tiny").samples
