"""Configurations of published Earthformers, and the checks that all published configurations share.

`xearthformer.models.from_published` is the public door. A published option that this package does
not build is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from ..earthformer.earthformer import Earthformer, EarthformerConfig
from ..layers.checks import expect_one_of
from ..layers.stem import Stem

# Keys with the same name and meaning here, and the value that a publication without the key means.
DEFAULTS = {"num_global_vectors": 0, "use_global_self_attn": False, "separate_global_qkv": False}
# EarthformerConfig has one `dropout` for these three.
DROPOUTS = ("attn_drop", "proj_drop", "ffn_drop")
# All other fields have the same name and meaning in every publication.
OWN_FIELDS = {*DEFAULTS, "dropout", "stem"}
SAME = tuple(f.name for f in fields(EarthformerConfig) if f.name not in OWN_FIELDS)
INIT_KINDS = ("attn_linear", "ffn_linear", "conv", "norm")  # of layers; keys end in _init_mode
# Options that have this one value in every publication; other values are not built.
FIXED_IN_ALL = {
    "scale_alpha": 1,
    "downsample_type": "patch_merge",
    "global_dim_ratio": 1,
    "gated_ffn": False,
    "norm_layer": "layer_norm",
    "use_relative_pos": True,
    "self_attn_use_final_proj": True,
}
FIXED = {
    **FIXED_IN_ALL,
    "block_units": None,
    "enc_use_inter_ffn": True,
    "dec_use_inter_ffn": True,
    "dec_hierarchical_pos_embed": False,
    "upsample_type": "upsample",
    "use_dec_self_global": False,
    "use_dec_cross_global": False,
    "use_global_vector_ffn": False,
    "dec_cross_last_n_frames": None,
    "dec_cross_start": 0,
    "dec_use_first_self_attn": False,
    "z_init_method": "zeros",
    # how weights start, by kind of layer
    **{f"{kind}_init_mode": "0" for kind in (*INIT_KINDS, "down_up_linear")},
}
# What YAML files call the patterns of the blocks, and whose depth says how many blocks there are.
PATTERNS = {
    "self_pattern": ("enc_attn_patterns", "enc_depth"),
    "cross_self_pattern": ("dec_self_attn_patterns", "dec_depth"),
    "cross_pattern": ("dec_cross_attn_patterns", "dec_depth"),
}
# Options that don't change the output: the first saves memory in training, the second updates
# global vectors that no later layer reads.
IGNORED = ("checkpoint_level", "dec_self_update_global")
# The keys of each kind of stem. A configuration may also hold those of the other kind, unused.
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


def expect_published(
    kind: str,
    config: Mapping[str, object],
    fixed: Mapping[str, object],
    needed: Sequence[str],
    optional: Sequence[str] = (),
) -> None:
    """Raise a ValueError for a value other than the fixed one, an unknown key or a missing key."""
    for key, built in fixed.items():
        value = config.get(key, built)
        value = list(value) if isinstance(value, tuple) else value
        # As strings too: the mode "0" without its quotes is YAML's number 0.
        if value != built and str(value) != str(built):
            raise ValueError(
                f"expected {key}={built!r}, the only value built here, found {value!r}"
            )
    if unknown := sorted(config.keys() - {*fixed, *needed, *optional}):
        raise ValueError(f"expected keys of a published {kind}, found unknown ones: {unknown}")
    if missing := [key for key in needed if key not in config]:
        raise ValueError(f"expected {', '.join(needed)} in a published {kind}, missing: {missing}")


def common_dropout(config: Mapping[str, object]) -> object:
    """Return the one value of a configuration's three dropouts."""
    dropouts = {key: config[key] for key in DROPOUTS}
    if len(set(dropouts.values())) > 1:
        raise ValueError(f"expected the same value in {', '.join(DROPOUTS)}, found {dropouts}")
    return dropouts[DROPOUTS[0]]


def earthformer(config: Mapping[str, object]) -> Earthformer:
    """Build the Earthformer of a published configuration."""
    config = _with_patterns(config)
    kind = config.get(STEM_TYPE)
    # The keys of the stem are needed for the kind that is built; those of the other may be absent.
    needed = (*SAME, *DROPOUTS, STEM_TYPE, STEM_ACTIVATION, *STEM_KEYS.get(str(kind), ()))
    unused = (key for keys in STEM_KEYS.values() for key in keys)
    expect_published("Earthformer", config, FIXED, needed, (*DEFAULTS, *IGNORED, *unused))
    return Earthformer(
        EarthformerConfig(
            **{key: config[key] for key in SAME},
            **{key: config.get(key, default) for key, default in DEFAULTS.items()},
            dropout=common_dropout(config),
            stem=_stem(config),
        )
    )


def _with_patterns(config: Mapping[str, object]) -> dict[str, object]:
    """Return a configuration with one pattern a block, where a YAML file has one for all blocks."""
    own = {key: value for key, value in config.items() if key not in PATTERNS}
    for key in PATTERNS.keys() & config.keys():
        name, depth = PATTERNS[key]
        value, blocks = config[key], config.get(depth, ())
        own[name] = [value] * len(blocks) if isinstance(value, str) else value
    return own


def _stem(config: Mapping[str, object]) -> Stem:
    """Translate the keys of either kind of stem."""
    kind, activation = config[STEM_TYPE], config[STEM_ACTIVATION]
    expect_one_of(STEM_TYPE, kind, STEM_KEYS)
    if kind == "conv":
        factor, convs, final_convs = (config[key] for key in STEM_KEYS[kind])
        t, h, w = (1, factor, factor) if isinstance(factor, int) else factor
        if t != 1:
            raise ValueError(
                f"expected {STEM_KEYS[kind][0]}=[1, h, w], time stays as it is here, found {factor}"
            )
        return Stem(kind, ((h, w),), (convs,), (), (final_convs,), activation)
    stages, *lists = (config[key] for key in STEM_KEYS[kind])
    if {len(values) for values in lists} != {stages}:
        raise ValueError(
            f"expected lists of {STEM_KEYS[kind][0]}={stages} entries, "
            f"found {dict(zip(STEM_KEYS[kind][1:], lists, strict=True))}"
        )
    dims, factors, convs = map(tuple, lists)
    return Stem(kind, factors, convs, dims, (), activation)
