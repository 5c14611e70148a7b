"""Configurations of PreDiff's three networks as published (Gao et al. 2023).

`xearthformer.models.from_published` is the public door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from torch import nn

from ..prediff.alignment import Alignment, AlignmentConfig
from ..prediff.denoiser import EarthformerUNet, EarthformerUNetConfig, LevelsConfig
from ..prediff.prediff import AutoencoderConfig
from .earthformer import DROPOUTS, FIXED_IN_ALL, INIT_KINDS, common_dropout, expect_published

# Keys that have the same name and meaning in the configs here. LevelsConfig has one `dropout` for
# three, and its `attn_patterns` are `block_attn_patterns`.
OWN_FIELDS = {"dropout", "attn_patterns"}
SAME = ("input_shape", *(f.name for f in fields(LevelsConfig) if f.name not in OWN_FIELDS))
# Options that have this one value in every publication; other values are not built.
FIXED = {
    **FIXED_IN_ALL,
    "num_global_vectors": 0,
    "time_embed_channels_mult": 4,
    "time_embed_use_scale_shift_norm": False,
    "time_embed_dropout": 0,
}
FIXED_UNET = {
    **FIXED,
    "upsample_type": "upsample",
    "upsample_kernel_size": 3,
    "unet_res_connect": True,
}
FIXED_ALIGNMENT = {
    **FIXED,
    "use_inter_ffn": True,
    "hierarchical_pos_embed": False,
    "pool": "attention",
    "readout_seq": True,
}
# Options that don't change the output: how weights start, memory saved in training, and what
# global vectors do, of which no publication has any.
IGNORED = (
    "checkpoint_level",
    "use_global_vector_ffn",
    "use_global_self_attn",
    "separate_global_qkv",
    *(f"{kind}_init_mode" for kind in INIT_KINDS),
    *(f"{kind}_linear_init_mode" for kind in ("ffn2", "attn_proj", "down", "up", "global_proj")),
)
VAE = ("block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups")


def unet(config: Mapping[str, object]) -> EarthformerUNet:
    """Build the denoiser of a published configuration."""
    values = _field_values("Earthformer-UNet", config, FIXED_UNET, "target_shape")
    return EarthformerUNet(EarthformerUNetConfig(**values))


def alignment(config: Mapping[str, object]) -> Alignment:
    """Build the alignment network of a published configuration."""
    kind = "knowledge-alignment network"
    values = _field_values(kind, config, FIXED_ALIGNMENT, "out_channels", "out_len")
    return Alignment(AlignmentConfig(**values))


def vae(config: Mapping[str, object]) -> nn.Module:
    """Build the autoencoder of a published configuration."""
    levels = len(config.get("block_out_channels", ()))
    fixed = {
        "in_channels": 1,
        "out_channels": 1,
        "act_fn": "silu",
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    expect_published("autoencoder", config, fixed, VAE)
    return AutoencoderConfig(**{key: config[key] for key in VAE}).build()


def _field_values(
    kind: str, config: Mapping[str, object], fixed: Mapping[str, object], *own: str
) -> dict[str, object]:
    """Return the values of `LevelsConfig`, and of a network's own fields, from published keys."""
    needed = (*SAME, "block_attn_patterns", *own, *DROPOUTS)
    expect_published(kind, config, fixed, needed, IGNORED)
    values = {key: config[key] for key in (*SAME, *own)}
    patterns = config["block_attn_patterns"]
    return {**values, "attn_patterns": patterns, "dropout": common_dropout(config)}
