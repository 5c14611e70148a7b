"""Published networks: old names and habits have a room of their own.

`from_published` reads the configurations that published checkpoints were trained with, and
`load_published` takes the checkpoints' weights. What isn't built here is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..earthformer.earthformer import Earthformer, EarthformerConfig
from ..layers.attention import expect_one_of
from ..layers.stem import Stem
from . import prediff

# Keys that mean here what they mean there.
SAME = (
    "input_shape",
    "target_shape",
    "base_units",
    "num_heads",
    "enc_depth",
    "dec_depth",
    "enc_attn_patterns",
    "dec_self_attn_patterns",
    "dec_cross_attn_patterns",
    "downsample",
    "ffn_activation",
    "padding_type",
    "pos_embed_type",
)
# The same, and left out of some publications: what their absence means.
DEFAULTS = {
    "num_global_vectors": 0,
    "use_global_self_attn": False,
    "separate_global_qkv": False,
}
# One `dropout` here.
DROPOUTS = ("attn_drop", "proj_drop", "ffn_drop")
# Options with the one value that every publication has; no other is built.
FIXED = {
    "block_units": None,
    "scale_alpha": 1,
    "enc_use_inter_ffn": True,
    "dec_use_inter_ffn": True,
    "dec_hierarchical_pos_embed": False,
    "downsample_type": "patch_merge",
    "upsample_type": "upsample",
    "use_dec_self_global": False,
    "use_dec_cross_global": False,
    "use_global_vector_ffn": False,
    "global_dim_ratio": 1,
    "dec_cross_last_n_frames": None,
    "dec_cross_start": 0,
    "gated_ffn": False,
    "norm_layer": "layer_norm",
    "use_relative_pos": True,
    "self_attn_use_final_proj": True,
    "dec_use_first_self_attn": False,
    "z_init_method": "zeros",
    "attn_linear_init_mode": "0",
    "ffn_linear_init_mode": "0",
    "conv_init_mode": "0",
    "down_up_linear_init_mode": "0",
    "norm_init_mode": "0",
}
# Options that change nothing: memory saved in training, an update of globals that nobody reads.
IGNORED = ("checkpoint_level", "dec_self_update_global")
# The stem's keys, by its kind. Those of the other kind may stand by unread.
STEM_TYPE, STEM_ACTIVATION = "initial_downsample_type", "initial_downsample_activation"
STEM_KEYS = {
    "conv": (
        "initial_downsample_scale",
        "initial_downsample_conv_layers",
        "final_upsample_conv_layers",
    ),
    "stack_conv": (
        "initial_downsample_stack_conv_num_layers",
        "initial_downsample_stack_conv_dim_list",
        "initial_downsample_stack_conv_downscale_list",
        "initial_downsample_stack_conv_num_conv_list",
    ),
}


def from_published(name: str, config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a published configuration, with fresh weights.

    Parameters
    ----------
    name : str
        "earthformer", "prediff-unet", "prediff-alignment" or "prediff-vae".
    config : mapping
        The `model` section of the publication's configuration, with its own key names.

    Raises
    ------
    KeyError
        When no published configurations of this name are known.
    ValueError
        When a key is unknown, one that is needed is missing, or one has a value that isn't built.

    Examples
    --------
    >>> from_published("earthformer", {"z_init_method": "last"})
    Traceback (most recent call last):
    ValueError: expected z_init_method='zeros', the only value built here, found 'last'
    """
    if name not in PUBLISHED:
        raise KeyError(f"expected a published model, one of {sorted(PUBLISHED)}, found {name!r}")
    return PUBLISHED[name](config)


def load_published(model: nn.Module, checkpoint: Mapping[str, Any]) -> nn.Module:
    """Load published weights into a network, every one of them; gives the network back.

    Parameters
    ----------
    model : nn.Module
        The network, as `from_published` or `build` make it.
    checkpoint : mapping
        A bare state dict, or a Lightning checkpoint, whose keys may all have one prefix
        (such as "torch_nn_module."); of PreDiff also a moving average, whose keys have no dots.

    Raises
    ------
    ValueError
        When keys are missing, left over or of another shape: weights of another configuration.
    """
    own = model.state_dict()
    weights = prediff.renamed(published_weights(checkpoint, own), own)
    found = {key: tuple(weight.shape) for key, weight in weights.items()}
    wanted = {key: tuple(weight.shape) for key, weight in own.items()}
    complaints = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{key} {found[key]} for {wanted[key]}"
            for key in sorted(wanted.keys() & found.keys())
            if found[key] != wanted[key]
        ],
        "built for other cuboids": [
            key
            for key in sorted(wanted.keys() & found.keys())
            if not own[key].is_floating_point()
            and found[key] == wanted[key]
            and not torch.equal(own[key].cpu(), weights[key].cpu())
        ],
    }
    if any(complaints.values()):
        raise ValueError(
            f"expected weights for the {len(own)} entries of {type(model).__name__}, found "
            + "; ".join(
                f"{len(keys)} {what}: {_few(keys)}" for what, keys in complaints.items() if keys
            )
            + ". Build the network from the configuration that these weights were trained with."
        )
    model.load_state_dict(weights, strict=True)
    return model


def published_weights(checkpoint: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in a checkpoint, without Lightning's wrapping and prefix.

    Parameters
    ----------
    checkpoint : mapping
        A state dict, or a mapping that has one under "state_dict".
    keys : mapping
        The network's own state dict; the prefix is what stands before its first key.

    Examples
    --------
    >>> published_weights({"state_dict": {"net.w": 1, "net.b": 2}}, {"w": 0, "b": 0})
    {'w': 1, 'b': 2}
    """
    state = checkpoint.get("state_dict", checkpoint)
    if all(key in state for key in keys):
        return dict(state)
    first = next(iter(keys))
    prefixes = [key.removesuffix(first) for key in state if key.endswith(first)]
    prefix = min(prefixes, key=len, default="")
    return {key.removeprefix(prefix): weight for key, weight in state.items()}


def _earthformer(config: Mapping[str, Any]) -> Earthformer:
    for key, wanted in FIXED.items():
        found = config.get(key, wanted)
        if found != wanted and str(found) != str(wanted):
            raise ValueError(
                f"expected {key}={wanted!r}, the only value built here, found {found!r}"
            )
    known = {*SAME, *DEFAULTS, *DROPOUTS, *FIXED, *IGNORED, STEM_TYPE, STEM_ACTIVATION}
    known.update(*STEM_KEYS.values())
    if unknown := sorted(config.keys() - known):
        raise ValueError(f"expected keys of a published Earthformer, found unknown ones: {unknown}")
    _expect_keys(config, (*SAME, *DROPOUTS, STEM_TYPE, STEM_ACTIVATION))
    dropouts = {config[key] for key in DROPOUTS}
    if len(dropouts) > 1:
        found = {key: config[key] for key in DROPOUTS}
        raise ValueError(f"expected the same value in {', '.join(DROPOUTS)}, found {found}")
    return Earthformer(
        EarthformerConfig(
            **{key: config[key] for key in SAME},
            **{key: config.get(key, default) for key, default in DEFAULTS.items()},
            dropout=dropouts.pop(),
            stem=_stem(config),
        )
    )


def _stem(config: Mapping[str, Any]) -> Stem:
    kind = config[STEM_TYPE]
    expect_one_of(STEM_TYPE, kind, STEM_KEYS)
    _expect_keys(config, STEM_KEYS[kind])
    values = [config[key] for key in STEM_KEYS[kind]]
    activation = config[STEM_ACTIVATION]
    if kind == "conv":
        scale, convs, final_convs = values
        scales = (_only_in_space("initial_downsample_scale", scale),)
        return Stem(kind, scales, (convs,), (), (final_convs,), activation)
    stages, dims, scales, convs = values
    if not stages == len(dims) == len(scales) == len(convs):
        raise ValueError(
            f"expected lists of {STEM_KEYS[kind][0]}={stages} entries, "
            f"found {dict(zip(STEM_KEYS[kind][1:], values[1:], strict=True))}"
        )
    return Stem(kind, tuple(scales), tuple(convs), tuple(dims), (), activation)


def _only_in_space(key: str, scale: int | list[int]) -> tuple[int, int]:
    """A published factor, n or [t, h, w], as (h, w)."""
    if isinstance(scale, int):
        return scale, scale
    t, h, w = scale
    if t != 1:
        raise ValueError(f"expected {key}=[1, h, w], time stays as it is here, found {scale}")
    return h, w


def _expect_keys(config: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    if missing := [key for key in keys if key not in config]:
        raise ValueError(
            f"expected {', '.join(keys)} in a published Earthformer, missing: {missing}"
        )


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


PUBLISHED = {
    "earthformer": _earthformer,
    "prediff-unet": prediff.unet,
    "prediff-alignment": prediff.alignment,
    "prediff-vae": prediff.vae,
}
