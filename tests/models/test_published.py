"""Published networks: golden outputs, key names, and the options that are not built."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_rule import GOLDEN, arrays, card, fill, uniform

from xearthformer.models import from_published
from xearthformer.models.earthformer.earthformer import PRESETS, Earthformer
from xearthformer.models.published.weights import load_published

NAMES = sorted(path.stem for path in GOLDEN.glob("earthformer_*.json"))
TINY = [name for name in NAMES if "_tiny_" in name]
SEVIR_V1 = "earthformer_sevir_v1"  # half a minute in float64; test_fused has its output in float32
ENSO = card("earthformer_enso_v1")["model"]
SEVIR = card("earthformer_sevir_v1")["model"]


def conv_in_strips(self: torch.nn.Conv2d, x_FCHW: torch.Tensor) -> torch.Tensor:
    """The same 3x3 convolution, 16 rows of one frame at a time.

    In float64 a CPU copies its whole input nine times for a convolution: 8 GB, and most of the
    time, for `sevir_v1`.
    """
    y_FCHW = x_FCHW.new_empty(len(x_FCHW), self.out_channels, *x_FCHW.shape[2:])
    for x_CHW, y_CHW in zip(F.pad(x_FCHW, (1, 1, 1, 1)), y_FCHW, strict=True):
        for row in range(0, y_CHW.shape[1], 16):
            strip = x_CHW[:, row : row + 18]
            y_CHW[:, row : row + 16] = F.conv2d(strip, self.weight, self.bias)
    return y_FCHW


def golden_error(name: str, dtype: torch.dtype) -> float:
    """Largest error of a golden model's output, in standard deviations of that output."""
    golden, about = arrays(name), card(name)
    model = from_published("earthformer", about["model"])
    load_published(model, fill(model.state_dict())).to(dtype)
    with torch.no_grad():
        y = model.predict(uniform(about["input"]["shape"], about["input"]["seed"]).to(dtype))
    if about["y_saved"] == "y[:, :, ::8, ::8]":
        y = y[:, :, ::8, ::8]
    assert y.shape == golden["y"].shape
    return np.abs(y.numpy() - golden["y"]).max() / golden["stats"][1]


def test_all_seven_golden_models_are_here():
    assert len(NAMES) == 7 and len(TINY) == 5


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_the_published_ones(name):
    about = card(name)
    model = from_published("earthformer", about["model"])
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == about["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == about["n_params"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == SEVIR_V1)) for n in NAMES]
)
def test_golden_outputs(name, monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "forward", conv_in_strips)
    assert golden_error(name, torch.float64) < 1e-6


@pytest.mark.parametrize("name", TINY)
def test_golden_outputs_in_float32(name):
    assert golden_error(name, torch.float32) < 1e-4


@pytest.mark.parametrize(("published", "preset"), [(SEVIR, "sevir"), (ENSO, "enso")])
def test_published_checkpoints_are_presets(published, preset):
    with torch.device("meta"):
        assert from_published("earthformer", published).config == PRESETS[preset]


# --- configurations ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_init_method": "last"}, "z_init_method='zeros', .* found 'last'"),
        ({"scale_alpha": 0.5}, "scale_alpha=1, .* found 0.5"),
        ({"gated_ffn": True}, "gated_ffn=False, .* found True"),
        ({"use_dec_self_global": True}, "use_dec_self_global=False"),
        ({"dec_cross_last_n_frames": 3}, "dec_cross_last_n_frames=None, .* found 3"),
        ({"downsample_type": "conv"}, "downsample_type='patch_merge'"),
        ({"norm_layer": "rms_norm"}, "norm_layer='layer_norm'"),
        ({"padding_type": "nearest"}, "padding_type.*found 'nearest'"),
        ({"ffn_drop": 0.2}, "same value in attn_drop, proj_drop, ffn_drop, found .*0.2"),
        ({"initial_downsample_type": "patch"}, "initial_downsample_type.*found 'patch'"),
        ({"initial_downsample_scale": [2, 1, 2]}, r"\[1, h, w\].*found \[2, 1, 2\]"),
        ({"enc_attn_patterns": ["axial", "spiral"]}, "found 'spiral'"),
        ({"moe_experts": 4}, r"unknown ones: \['moe_experts'\]"),
    ],
)
def test_options_that_are_not_built(change, message):
    with pytest.raises(ValueError, match=message):
        from_published("earthformer", {**ENSO, **change})


def test_stack_stem_of_unequal_lists():
    change = {"initial_downsample_stack_conv_dim_list": [16, 128]}
    with pytest.raises(ValueError, match=r"num_layers=3 entries.*\[16, 128\]"):
        from_published("earthformer", {**SEVIR, **change})


def test_missing_keys():
    for key in ("base_units", "attn_drop", "initial_downsample_scale"):
        config = {k: v for k, v in ENSO.items() if k != key}
        with pytest.raises(ValueError, match=rf"missing: \['{key}'\]"):
            from_published("earthformer", config)


def test_absent_options_mean_the_published_ones():
    absent = {"num_global_vectors", "separate_global_qkv", "z_init_method", "checkpoint_level"}
    with torch.device("meta"):
        model = from_published("earthformer", {k: ENSO[k] for k in ENSO.keys() - absent})
    assert model.config == PRESETS["enso"]


def test_unknown_publication():
    with pytest.raises(KeyError, match="one of .*earthformer.*found 'unet'"):
        from_published("unet", {})


def test_a_configuration_and_its_checkpoint_make_a_network():
    config = card(TINY[0])["model"]
    weights = fill(from_published("earthformer", config).state_dict())
    model = from_published("earthformer", config, {"state_dict": weights})
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="1 left over: more"):
        from_published("earthformer", config, {**weights, "more": torch.zeros(1)})


# --- weights ---


@pytest.fixture
def model() -> Earthformer:
    return Earthformer(PRESETS["tiny"])


@pytest.mark.parametrize("prefix", ["", "torch_nn_module.", "model._orig_mod."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_prefixes_and_wrapping(model, prefix, wrapped):
    weights = fill(model.state_dict())
    checkpoint = {prefix + key: value for key, value in weights.items()}
    load_published(model, {"state_dict": checkpoint, "epoch": 7} if wrapped else checkpoint)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_weights_that_do_not_fit(model):
    weights, key = fill(model.state_dict()), "dec_final_proj.bias"
    with pytest.raises(ValueError, match=f"1 missing: {key}"):
        load_published(model, {k: v for k, v in weights.items() if k != key})
    with pytest.raises(ValueError, match="1 left over: loss.weight"):
        load_published(model, {**weights, "loss.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=rf"1 of another shape: {key} \(2,\) for \(1,\)"):
        load_published(model, {**weights, key: torch.zeros(2)})
    index = "encoder.blocks.0.0.attn_l.1.relative_position_index"
    with pytest.raises(ValueError, match=f"1 built for other cuboids: {index}"):
        load_published(model, {**weights, index: weights[index].T})
    with pytest.raises(ValueError, match="missing"):
        load_published(model, {})


def test_a_checkpoint_that_holds_the_network_twice(model):
    """One may be the moving average of the other: which is meant isn't for a prefix to say."""
    weights = fill(model.state_dict())
    twice = {f"{prefix}{key}": v for prefix in ("net.", "ema.") for key, v in weights.items()}
    floats = {k.replace(".", ""): v for k, v in weights.items() if v.is_floating_point()}
    average = {f"net.{k}": v for k, v in weights.items()} | {
        f"ema.{k}": v for k, v in floats.items()
    }
    for state in (twice, average):
        with pytest.raises(ValueError, match=r"once, found ema\.\* and net\.\*: keep one"):
            load_published(model, {"state_dict": state})
    with pytest.raises(ValueError, match="with such a dict as state_dict, found also model, epoch"):
        load_published(model, {"model": weights, "epoch": 3})


def test_nothing_is_loaded_when_something_does_not_fit(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="left over"):
        load_published(model, {**fill(before), "more": torch.zeros(1)})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
