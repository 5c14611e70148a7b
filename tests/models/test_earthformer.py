"""Earthformer: presets, costs, dtypes, gradients, and what a config may not be."""

import json
from dataclasses import asdict, fields, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from xearthformer.models import build
from xearthformer.models.earthformer.earthformer import PRESETS, Earthformer, EarthformerConfig
from xearthformer.models.layers.attention import PositionEmbedding
from xearthformer.models.layers.stem import PatchMerging, Stem, Upsampling

TINY = PRESETS["tiny"]


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --- presets ---


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("sevir", 8_659_677), ("sevir-lr", 1_505_069), ("enso", 1_394_325), ("nbody", 6_702_109)],
)
def test_parameters_of_the_presets(preset, expected):
    with torch.device("meta"):
        assert parameters(build("earthformer", preset)) == expected


@pytest.mark.parametrize(
    ("preset", "millions", "without_globals", "gmacs"),
    [("sevir-paper", 15.08, 13.08, 255.7), ("enso-paper", 7.60, 6.60, 23.6)],
)
def test_sizes_and_costs_of_the_papers_tables(preset, millions, without_globals, gmacs):
    config = PRESETS[preset]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = build("earthformer", config).eval()
        model(torch.empty(1, *config.input_shape))
        without = build("earthformer", replace(config, num_global_vectors=0))
    assert round(parameters(model) / 1e6, 2) == millions
    assert round(parameters(without) / 1e6, 2) == without_globals
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.03)


def test_about_eighteen_fields():
    assert len(fields(EarthformerConfig)) == 18


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trips_through_json(preset):
    config = PRESETS[preset]
    again = json.loads(json.dumps(asdict(config)))
    assert EarthformerConfig(**again) == config
    with torch.device("meta"):
        assert build("earthformer", again).config == config


# --- the forecast ---


@pytest.fixture
def tiny() -> Earthformer:
    torch.manual_seed(0)
    return Earthformer(TINY)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(2, *TINY.input_shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(tiny, frames, dtype):
    y_BTHWC = tiny.to(dtype).predict(frames.to(dtype))
    assert y_BTHWC.dtype == dtype and y_BTHWC.shape == (2, *TINY.target_shape)
    assert y_BTHWC.isfinite().all()


def test_bf16_is_near_float32(tiny, frames):
    expected = tiny.predict(frames)
    found = tiny.to(torch.bfloat16).predict(frames.bfloat16()).float()
    assert (found - expected).std() < 0.1 * expected.std()


@pytest.mark.parametrize("padding_type", ["zeros", "ignore"])
def test_masked_networks_run_in_bf16(padding_type, frames):
    config = replace(
        TINY,
        padding_type=padding_type,
        enc_attn_patterns="video_swin_2x3",
        dec_self_attn_patterns="spatial_lg_3",
        dec_cross_attn_patterns="cross_3x3_heter",
    )
    assert Earthformer(config).bfloat16().predict(frames.bfloat16()).isfinite().all()


def test_samples_of_a_batch_do_not_meet(tiny, frames):
    apart = torch.cat([tiny.predict(frame[None]) for frame in frames])
    torch.testing.assert_close(tiny.predict(frames), apart)


def test_predict_has_no_dropout_and_leaves_the_mode(frames):
    model = Earthformer(replace(TINY, dropout=0.5)).train()
    assert torch.equal(model.predict(frames), model.predict(frames))
    assert model.training
    assert not torch.equal(model(frames), model(frames))


def test_loss_is_the_mean_squared_error(tiny, frames):
    tiny.eval()
    y_BTHWC = tiny(frames).detach()
    assert tiny.loss(frames, y_BTHWC) == 0
    torch.testing.assert_close(tiny.loss(frames, y_BTHWC + 2), torch.tensor(4.0))


def test_contract(tiny):
    assert (tiny.in_len, tiny.out_len, tiny.samples) == (4, 3, False)
    assert tiny.config == TINY


def test_another_shape_than_configured(tiny):
    with pytest.raises(ValueError, match=r"input_shape=\(4, 8, 8, 1\).*found \(1, 3, 8, 8, 1\)"):
        tiny(torch.zeros(1, 3, 8, 8, 1))


def test_compiles_as_one_graph(frames):
    config = replace(
        TINY,
        padding_type="ignore",
        enc_depth=(1,),
        dec_depth=(1,),
        enc_attn_patterns="video_swin_2x3",
        dec_self_attn_patterns="axial",
        dec_cross_attn_patterns="cross_1x1",
    )
    model = Earthformer(config).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(compiled(frames), model(frames))


# --- learning ---


def dead(model: Earthformer, x_BTHWC: torch.Tensor) -> set[str]:
    """Parameters that the loss does not reach."""
    y_BTHWC = torch.zeros(len(x_BTHWC), *model.config.target_shape)
    model.loss(x_BTHWC, y_BTHWC).backward()
    return {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}


def test_gradients_reach_every_parameter(frames):
    assert dead(Earthformer(replace(TINY, num_global_vectors=0)), frames) == set()


@pytest.mark.parametrize("separate", [False, True])
def test_gradients_reach_all_but_the_last_update_of_the_globals(separate, frames):
    # Nobody reads the global vectors after the encoder's last layer.
    last = "encoder.blocks.1.0.attn_l.2"
    unread = {f"{last}.global_proj.weight", f"{last}.global_proj.bias"}
    if separate:
        unread |= {f"{last}.g2l_{name}.weight" for name in ("global_q_net", "k_net", "v_net")}
        unread |= {f"{last}.g2g_global_qkv_net.weight"}
    assert dead(Earthformer(replace(TINY, separate_global_qkv=separate)), frames) == unread


def test_fits_one_sample(tiny, frames):
    y_BTHWC = frames[:, :3].flip(2)
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=3e-3)
    first = tiny.loss(frames, y_BTHWC).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = tiny.loss(frames, y_BTHWC)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.25 * first


def test_initialisation():
    torch.manual_seed(0)
    model = Earthformer(replace(TINY, base_units=64, num_global_vectors=64))
    layer = model.encoder.blocks[0][0].attn_l[0]
    # Linear: variance 1 / fan_in. Convolution: 2 / (1 + 0.1^2) / fan_out.
    assert layer.qkv.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    conv = model.initial_encoder.conv_block[3]
    assert conv.weight.std().item() == pytest.approx((2 / 1.01 / (9 * 64)) ** 0.5, rel=0.05)
    assert model.init_global_vectors.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.dec_pos_embed.T_embed.weight.std().item() == pytest.approx(0.02, rel=0.1)
    table = layer.relative_position_bias_table
    assert 0.01 < table.std().item() < 0.03
    assert not conv.bias.any() and not layer.proj.bias.any()
    assert (layer.norm.weight == 1).all() and not layer.norm.bias.any()


# --- small layers ---


def test_patch_merging_folds_in_order():
    # 1 x 2 x 3 padded to 1 x 2 x 4, in blocks of 1 x 2 x 2:  1 2 | 3 .
    #                                                         4 5 | 6 .
    layer = PatchMerging(1, 4, (1, 2, 2))
    layer.norm = layer.reduction = torch.nn.Identity()
    folded = layer(torch.tensor([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 1, 2, 3, 1))
    assert folded[0, 0, 0].tolist() == [[1, 2, 4, 5], [3, 0, 6, 0]]


def test_upsampling_repeats_the_nearest():
    layer = Upsampling(1, 1, (1, 4))
    layer.conv = torch.nn.Identity()
    assert layer(torch.tensor([1.0, 2]).reshape(1, 1, 1, 2, 1)).flatten().tolist() == [1, 1, 2, 2]


def test_position_embedding_counts_places_row_by_row():
    layer = PositionEmbedding(1, (2, 2, 3), "t+hw")
    layer.T_embed.weight.data = torch.tensor([[0.0], [10.0]])
    layer.HW_embed.weight.data = torch.arange(6.0)[:, None]
    places_THW = layer(torch.zeros(1, 2, 2, 3, 1))[0, ..., 0]
    assert places_THW.tolist() == [[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 15]]]


# --- what a config may not be ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "base_units divisible by num_heads=5, found 32"),
        ({"num_heads": 0}, "num_heads"),
        ({"enc_attn_patterns": "axal"}, "self-attention pattern.*found 'axal'"),
        ({"dec_cross_attn_patterns": "axial"}, "cross-attention pattern.*found 'axial'"),
        ({"dec_self_attn_patterns": ["axial"]}, "2 levels.*dec_self_attn_patterns"),
        ({"dec_depth": [1]}, "dec_depth to be 2 whole numbers"),
        ({"enc_depth": [1, 0]}, "enc_depth"),
        ({"enc_depth": 2}, "enc_depth"),
        ({"enc_depth": []}, "enc_depth"),
        ({"downsample": 0}, "downsample"),
        ({"input_shape": [4, 8, 8]}, "input_shape to be 4 whole numbers"),
        ({"target_shape": [3, 8, 9, 1]}, r"same \(H, W\)"),
        ({"dropout": 1.0}, "0 <= dropout < 1"),
        ({"num_global_vectors": -1}, "num_global_vectors"),
        ({"padding_type": "nearest"}, "padding_type to be one of .*'zeros', 'ignore'"),
        ({"pos_embed_type": "h+w"}, "pos_embed_type"),
        ({"ffn_activation": "relu"}, "ffn_activation"),
        ({"base_units": 24}, "divisible by the 16 groups"),
        ({"stem": {"kind": "pool"}}, "stem.kind"),
        ({"stem": {"activation": "relu"}}, "stem.activation"),
        ({"stem": {"scale": 2}}, "fields of Stem.*scale"),
        ({"stem": {"scales": [2, 2], "convs": [1, 1]}}, "one stage in a 'conv' stem"),
        ({"stem": {"scales": [0]}}, "stem.scales"),
        ({"stem": {"convs": [1, 1]}}, "stem.convs to be 1 whole"),
        ({"stem": {"kind": "stack_conv", "dims": [8]}}, "stem.dims to end with base_units=32"),
    ],
)
def test_config_errors(change, message):
    with pytest.raises(ValueError, match=message):
        EarthformerConfig(**{**asdict(TINY), **change})


def test_one_pattern_for_all_levels():
    config = replace(
        TINY,
        enc_attn_patterns="full",
        enc_depth=(1, 2, 1),
        dec_depth=(1, 1, 1),
        dec_self_attn_patterns="axial",
        dec_cross_attn_patterns="cross_2x2",
    )
    assert config.enc_attn_patterns == ("full",) * 3
    assert config.level_shapes == [(4, 4, 4), (4, 2, 2), (4, 1, 1)]
    assert Earthformer(config).predict(torch.zeros(1, 4, 8, 8, 1)).shape == (1, 3, 8, 8, 1)


def test_build_says_what_it_knows():
    with pytest.raises(KeyError, match=r"one of \['.*earthformer.*found 'earthfomer'"):
        build("earthfomer", "tiny")
    with pytest.raises(KeyError, match="preset of earthformer.*found 'huge'"):
        build("earthformer", "huge")
    with pytest.raises(ValueError, match=r"fields of EarthformerConfig.*found \['depth'\]"):
        build("earthformer", {**asdict(TINY), "depth": 2})
    with pytest.raises(ValueError, match=r"missing: \['target_shape'\]"):
        build("earthformer", {"input_shape": (4, 8, 8, 1)})
    with pytest.raises(TypeError, match="EarthformerConfig, found Stem"):
        build("earthformer", Stem())
