"""PreDiff as published: configurations and key names of its three networks.

`compat.from_published` and `compat.load_published` are the doors; what is particular to PreDiff's
checkpoints stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..prediff.alignment import Alignment, AlignmentConfig
from ..prediff.denoiser import EarthformerUNet, EarthformerUNetConfig
from ..prediff.prediff import AutoencoderConfig

# Keys that mean here what they mean there; `block_attn_patterns` is `attn_patterns` here.
SAME = (
    "input_shape",
    "base_units",
    "num_heads",
    "depth",
    "downsample",
    "ffn_activation",
    "padding_type",
    "pos_embed_type",
)
DROPOUTS = ("attn_drop", "proj_drop", "ffn_drop")
# Options with the one value that every publication has; no other is built.
FIXED = {
    "scale_alpha": 1,
    "downsample_type": "patch_merge",
    "num_global_vectors": 0,
    "global_dim_ratio": 1,
    "gated_ffn": False,
    "norm_layer": "layer_norm",
    "use_relative_pos": True,
    "self_attn_use_final_proj": True,
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
# How weights start, memory saved in training, and global vectors, of which there are none.
IGNORED = (
    "checkpoint_level",
    "use_global_vector_ffn",
    "use_global_self_attn",
    "separate_global_qkv",
    "attn_linear_init_mode",
    "ffn_linear_init_mode",
    "ffn2_linear_init_mode",
    "attn_proj_linear_init_mode",
    "conv_init_mode",
    "down_linear_init_mode",
    "up_linear_init_mode",
    "global_proj_linear_init_mode",
    "norm_init_mode",
)
VAE = ("block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups")
# diffusers' names of the autoencoder's attention, once and now.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def unet(config: Mapping[str, Any]) -> EarthformerUNet:
    """The denoiser of a published configuration."""
    fields = _fields(config, FIXED_UNET, ("target_shape",), "Earthformer-UNet")
    return EarthformerUNet(EarthformerUNetConfig(**fields))


def alignment(config: Mapping[str, Any]) -> Alignment:
    """The alignment network of a published configuration."""
    more = ("out_channels", "out_len")
    fields = _fields(config, FIXED_ALIGNMENT, more, "knowledge-alignment network")
    return Alignment(AlignmentConfig(**fields))


def vae(config: Mapping[str, Any]) -> nn.Module:
    """The autoencoder of a published configuration."""
    levels = len(config.get("block_out_channels", ()))
    fixed = {
        "in_channels": 1,
        "out_channels": 1,
        "act_fn": "silu",
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    _expect(config, fixed, VAE, (), "autoencoder")
    return AutoencoderConfig(**{key: config[key] for key in VAE}).build()


def _fields(
    config: Mapping[str, Any], fixed: Mapping[str, Any], more: tuple[str, ...], what: str
) -> dict[str, Any]:
    named = (*SAME, "block_attn_patterns", *more, *DROPOUTS)
    _expect(config, fixed, named, IGNORED, what)
    dropouts = {config[key] for key in DROPOUTS}
    if len(dropouts) > 1:
        found = {key: config[key] for key in DROPOUTS}
        raise ValueError(f"expected the same value in {', '.join(DROPOUTS)}, found {found}")
    fields = {key: config[key] for key in (*SAME, *more)}
    return {**fields, "attn_patterns": config["block_attn_patterns"], "dropout": dropouts.pop()}


def _expect(
    config: Mapping[str, Any],
    fixed: Mapping[str, Any],
    needed: tuple[str, ...],
    ignored: tuple[str, ...],
    what: str,
) -> None:
    """Refuse values that aren't built, keys that aren't known, keys that are missing."""
    for key, wanted in fixed.items():
        found = config.get(key, wanted)
        found = list(found) if isinstance(found, tuple) else found
        if found != wanted:
            raise ValueError(
                f"expected {key}={wanted!r}, the only value built here, found {found!r}"
            )
    if unknown := sorted(config.keys() - {*fixed, *needed, *ignored}):
        raise ValueError(f"expected keys of a published {what}, found unknown ones: {unknown}")
    if missing := [key for key in needed if key not in config]:
        raise ValueError(f"expected {', '.join(needed)} in a published {what}, missing: {missing}")


def renamed(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """A published state dict under the names that the network has for its entries.

    The autoencoder's attention had other names; and the moving average of a network is kept under
    names without dots, of trained entries alone: the others are the network's own.

    Examples
    --------
    >>> renamed({"mid.query.weight": 1}, {"mid.to_q.weight": 0})
    {'mid.to_q.weight': 1}
    >>> import torch
    >>> averaged = {"ema.downweight": 1, "ema.decay": 2}
    >>> renamed(averaged, {"down.weight": torch.zeros(1), "down.index": torch.tensor(3)})
    {'down.weight': 1, 'down.index': tensor(3)}
    """
    plain = {key.replace(".", ""): key for key in own}
    trained = [name for name, key in plain.items() if _is_trained(own[key])]
    last = trained[0] if trained and not own.keys() <= state.keys() else None
    ends = [key.removesuffix(last) for key in state if last and key.endswith(last)]
    for prefix in sorted(ends, key=len):
        if all(f"{prefix}{name}" in state for name in trained):
            return {key: state.get(f"{prefix}{name}", own[key]) for name, key in plain.items()}
    return {_now(key) if key not in own else key: value for key, value in state.items()}


def _now(key: str) -> str:
    parts = key.split(".")
    if len(parts) > 1:
        parts[-2] = ATTENTION.get(parts[-2], parts[-2])
    return ".".join(parts)


def _is_trained(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
