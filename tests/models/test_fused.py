"""A fused Earthformer gives what the plain one gives, and golden values still hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_rule import GOLDEN, arrays, card, fill, uniform

from xearthformer.models import build, from_published
from xearthformer.models.earthformer.earthformer import PRESETS, Earthformer
from xearthformer.models.earthformer.fused import (
    CrossLayer,
    FusedEarthformer,
    LocalAttention,
    PlainLayer,
    SelfLayer,
    fuse,
)
from xearthformer.models.earthformer.fused_stem import (
    CoarsePair,
    Convolution,
    NormActivation,
    Resize,
    upsampling,
    upsampling_pair,
)
from xearthformer.models.layers.stem import Stem, Upsampling, conv_block
from xearthformer.models.published.weights import load_published

NAMES = sorted(path.stem for path in GOLDEN.glob("earthformer_*.json"))
TINY = PRESETS["tiny"]
SEVIR_LIKE = replace(
    PRESETS["sevir"],
    input_shape=(5, 48, 36, 1),
    target_shape=(7, 48, 36, 1),
    base_units=16,
    stem=replace(PRESETS["sevir"].stem, dims=(4, 8, 16)),
)
ENSO_LIKE = replace(
    PRESETS["enso-paper"],
    input_shape=(4, 8, 12, 1),
    target_shape=(6, 8, 12, 1),
    base_units=16,
    enc_depth=(1, 2),
    dec_depth=(2, 1),
)
ONE_LEVEL = {
    "enc_attn_patterns": "axial",
    "dec_self_attn_patterns": "axial",
    "dec_cross_attn_patterns": "cross_1x1",
}
CONFIGS = {
    "tiny": TINY,
    "no globals": replace(TINY, num_global_vectors=0, use_global_self_attn=False),
    "globals apart": replace(TINY, use_global_self_attn=False),
    "one level": replace(TINY, enc_depth=(2,), dec_depth=(2,), **ONE_LEVEL),
    "sevir": SEVIR_LIKE,
    "sevir, sizes that don't divide": replace(
        SEVIR_LIKE, input_shape=(5, 50, 35, 1), target_shape=(7, 50, 35, 1)
    ),
    "sevir, one coarse row": replace(
        SEVIR_LIKE, input_shape=(2, 12, 24, 2), target_shape=(2, 12, 24, 3)
    ),
    "enso": ENSO_LIKE,
    "gelu stem": replace(ENSO_LIKE, stem=Stem(scales=((2, 1),), activation="gelu")),
    "windows": replace(TINY, enc_attn_patterns="divided_st", dec_cross_attn_patterns="cross_4x4"),
    "windows padded in time": replace(
        TINY, target_shape=(7, 8, 8, 1), dec_self_attn_patterns="video_swin_2x8"
    ),
    "all of it padded in time": replace(
        TINY, target_shape=(7, 8, 8, 1), dec_self_attn_patterns="full"
    ),
    "dilated": replace(
        TINY, enc_attn_patterns="spatial_lg_2", dec_cross_attn_patterns="cross_2x2_lg"
    ),
    "masked": replace(TINY, enc_attn_patterns="video_swin_2x2", padding_type="ignore"),
}


def filled(model: Earthformer) -> Earthformer:
    """A network in evaluation mode, with weights by the golden rule."""
    model.load_state_dict(fill(model.state_dict()))
    return model.eval().requires_grad_(False)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, in standard deviations of what was expected."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


def how_many(model: torch.nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


# --- fused and plain are equal ---


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_fused_equals_plain(config):
    model = filled(Earthformer(config)).double()
    x_BTHWC = uniform([2, *config.input_shape], seed=0).double()
    fused = fuse(model)
    assert isinstance(fused, FusedEarthformer)
    assert error(fused.predict(x_BTHWC), model.predict(x_BTHWC)) < 1e-10


@pytest.mark.parametrize("name", [name for name in NAMES if "_tiny_" in name])
def test_fused_equals_plain_for_the_golden_models(name):
    model = filled(from_published("earthformer", card(name)["model"])).double()
    x_BTHWC = uniform(card(name)["input"]["shape"], seed=0).double()
    assert error(fuse(model).predict(x_BTHWC), model.predict(x_BTHWC)) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_golden_outputs(name):
    golden, about = arrays(name), card(name)
    model = from_published("earthformer", about["model"])
    fused = fuse(load_published(model, fill(model.state_dict())).eval().requires_grad_(False))
    y = fused.predict(uniform(about["input"]["shape"], about["input"]["seed"]))
    if about["y_saved"] == "y[:, :, ::8, ::8]":
        y = y[:, :, ::8, ::8]
    assert np.abs(y.numpy() - golden["y"]).max() < 1e-4 * golden["stats"][1]


def test_a_sample_is_bit_equal_in_any_batch():
    fused = fuse(filled(Earthformer(TINY)))
    x_BTHWC = uniform([3, *TINY.input_shape], seed=0)
    assert torch.equal(fused.predict(x_BTHWC)[1:2], fused.predict(x_BTHWC[1:2]))


def test_the_input_stays_as_it_is():
    x_BTHWC = uniform([1, *TINY.input_shape], seed=0)
    before = x_BTHWC.clone()
    fuse(filled(Earthformer(TINY))).predict(x_BTHWC)
    assert torch.equal(x_BTHWC, before)


def test_the_published_layers_are_all_fused():
    for config in (SEVIR_LIKE, ENSO_LIKE):
        fused = fuse(filled(Earthformer(config)))
        assert how_many(fused, SelfLayer) and how_many(fused, CrossLayer)
        assert not how_many(fused, PlainLayer)
        assert how_many(fused, CoarsePair) == len(config.stem.scales)
    assert how_many(fuse(filled(Earthformer(CONFIGS["masked"]))), PlainLayer)


# --- what stays as it is ---


@pytest.mark.parametrize(
    "other", [build("lim", "tiny"), build("persistence", "enso"), torch.nn.Linear(1, 1)]
)
def test_other_models_come_back_unchanged(other):
    assert fuse(other.eval()) is other


def test_a_network_in_training_or_elsewhere_comes_back_unchanged():
    training = Earthformer(TINY)
    assert fuse(training) is training
    elsewhere = Earthformer(TINY).eval().to("meta")
    assert fuse(elsewhere) is elsewhere


def test_a_fused_network_says_what_it_expects():
    fused = fuse(filled(Earthformer(TINY)))
    assert (fused.in_len, fused.out_len, fused.config) == (4, 3, TINY)
    with pytest.raises(ValueError, match=r"input_shape=\(4, 8, 8, 1\).*found \(1, 3, 8, 8, 1\)"):
        fused.predict(torch.zeros(1, 3, 8, 8, 1))


# --- its parts ---


@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (3, 3), (4, 5), (1, 2), (3, 1)])
@pytest.mark.parametrize("size", [(3, 4), (1, 2), (1, 1)])
def test_upsampling_on_the_coarse_image(size, factor):
    torch.manual_seed(0)
    fine = tuple(n * f for n, f in zip(size, factor, strict=True))
    upsample = Upsampling(2, 3, fine).double().requires_grad_(False)
    conv = torch.nn.Conv2d(3, 4, 3, padding=1).double().requires_grad_(False)
    x_FHWC = torch.rand(1, *size, 2).double()
    once = upsample(x_FHWC[None])[0]
    twice = conv(once.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(upsampling(upsample, size)(x_FHWC), once)
    torch.testing.assert_close(CoarsePair(upsample.conv, conv, factor)(x_FHWC), twice)
    torch.testing.assert_close(upsampling_pair(upsample, conv, size)(x_FHWC), twice)


def test_upsampling_by_two_reads_two_cells_a_side():
    upsample = Upsampling(1, 1, (4, 4)).requires_grad_(False)
    assert upsampling(upsample, (2, 2)).convolve.weight.shape == (4, 1, 2, 2)


def test_pairs_stay_apart_where_that_is_less_arithmetic():
    # Without upsampling a pair's kernel is 5 x 5 = 25, more than 2 (3 x 3) = 18.
    conv = torch.nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)
    upsample = Upsampling(1, 1, (4, 4)).requires_grad_(False)
    assert not how_many(upsampling_pair(upsample, conv, (4, 4)), CoarsePair)
    assert how_many(upsampling_pair(upsample, conv, (2, 2)), CoarsePair)
    assert how_many(upsampling_pair(upsample, conv, (3, 2)), Resize)


def test_group_norm_keeps_its_digits():
    # Torch's own, of channels-last images, is wrong by 1e-4 here.
    torch.manual_seed(0)
    _, norm, activation = conv_block((1, 16), 4, "leaky").requires_grad_(False)
    x_FCHW = torch.randn(1, 16, 256, 256) + 1
    expected = F.leaky_relu(F.group_norm(x_FCHW.double(), 4), 0.1)
    x_FHWC = x_FCHW.permute(0, 2, 3, 1).contiguous()
    found = NormActivation(norm, activation)(x_FHWC).permute(0, 3, 1, 2)
    assert error(found.double(), expected) < 2e-6


def test_images_of_one_channel_stay_channels_last():
    conv = Convolution(torch.rand(16, 1, 3, 3), torch.rand(16), (1, 1))
    assert conv(torch.rand(1, 32, 32, 1)).is_contiguous()


def test_a_padding_is_one_key():
    # Bias log 2 for the own key, log 1 and log 3 for two zero keys; scores 0: weight 2 / (2 + 4).
    own, padding = torch.tensor([[[2.0]]]).log(), torch.tensor([[[1.0, 3.0]]]).log()
    attention = LocalAttention(own, padding_NVP=padding)
    kv_MSC = torch.tensor([[[0.0, 6.0]]])  # key 0, value 6
    assert attention(torch.ones(1, 1, 1), kv_MSC).item() == pytest.approx(2.0)


@pytest.mark.slow
def test_torch_compile_sees_one_graph():
    shapes = {"input_shape": (1, 4, 4, 1), "target_shape": (1, 4, 4, 1)}
    config = replace(TINY, enc_depth=(1,), dec_depth=(1,), **ONE_LEVEL, **shapes)
    fused = fuse(filled(Earthformer(config)))
    x_BTHWC = uniform([1, *config.input_shape], seed=0)
    compiled = torch.compile(fused, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x_BTHWC), fused(x_BTHWC))
