"""The networks: PyTorch modules from frames (B, T, H, W, C) to frames, without labels or units.

`build` makes a network from a configuration of this package, `from_published` from a configuration
and a checkpoint that the authors of Earthformer and PreDiff published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..errors import did_you_mean
from .baselines import (
    convlstm,
    corrected_lim,
    e3d_lstm,
    lim,
    persistence,
    phydnet,
    predrnn,
    rainformer,
    seasonal_lim,
    unet,
)
from .earthformer import earthformer as earthformers
from .layers.checks import Steps, expect_fields, expect_small
from .nowcast import nowcast as nowcasts  # `nowcast` stays the name of the folder
from .prediff import prediff as prediffs
from .published import earthformer as published_earthformer
from .published import prediff as published_prediff
from .published.weights import load_published

STEPS = 25  # calls of torch for each tensor of a model's weights; models here take up to twelve

# Name -> the class of its config, its own class, its presets. A new model is a new line.
MODELS: dict[str, tuple[type, type[nn.Module], Mapping[str, object]]] = {
    # The papers' networks, and `nowcast`, which is this package's own.
    "earthformer": (
        earthformers.EarthformerConfig,
        earthformers.Earthformer,
        earthformers.PRESETS,
    ),
    "nowcast": (nowcasts.NowcastConfig, nowcasts.Nowcast, nowcasts.PRESETS),
    "prediff": (prediffs.PreDiffConfig, prediffs.PreDiff, prediffs.PRESETS),
    # Baselines without gradient descent: linear inverse models, the last anomaly, the same damped.
    "lim": (lim.LIMConfig, lim.LIM, lim.PRESETS),
    "seasonal-lim": (
        seasonal_lim.SeasonalLIMConfig,
        seasonal_lim.SeasonalLIM,
        seasonal_lim.PRESETS,
    ),
    # A seasonal LIM and a network that is trained next to it.
    "corrected-lim": (
        corrected_lim.CorrectedLIMConfig,
        corrected_lim.CorrectedLIM,
        corrected_lim.PRESETS,
    ),
    "persistence": (persistence.PersistenceConfig, persistence.Persistence, persistence.PRESETS),
    "damped-persistence": (
        persistence.DampedPersistenceConfig,
        persistence.DampedPersistence,
        persistence.DAMPED_PRESETS,
    ),
    # Baselines of the papers: recurrent and convolutional networks.
    "convlstm": (convlstm.ConvLSTMConfig, convlstm.ConvLSTM, convlstm.PRESETS),
    "predrnn": (predrnn.PredRNNConfig, predrnn.PredRNN, predrnn.PRESETS),
    "phydnet": (phydnet.PhyDNetConfig, phydnet.PhyDNet, phydnet.PRESETS),
    "e3d-lstm": (e3d_lstm.E3DLSTMConfig, e3d_lstm.E3DLSTM, e3d_lstm.PRESETS),
    "rainformer": (rainformer.RainformerConfig, rainformer.Rainformer, rainformer.PRESETS),
    "unet": (unet.UNetConfig, unet.UNet, unet.PRESETS),
}

# The published networks. PreDiff's three were published one by one, with a checkpoint each.
PUBLISHED: dict[str, Callable[[Mapping[str, object]], nn.Module]] = {
    "earthformer": published_earthformer.earthformer,
    "prediff-unet": published_prediff.unet,
    "prediff-alignment": published_prediff.alignment,
    "prediff-vae": published_prediff.vae,
}


def build(name: str, config: object) -> nn.Module:
    """Build a model with fresh weights.

    Parameters
    ----------
    name : str
        Name of the model, one of `MODELS`.
    config : str, mapping or the model's config
        Name of a preset, fields of a config (as JSON has them), or a config.

    Raises
    ------
    KeyError
        When there is no such model, or no such preset.
    ValueError
        When a field is unknown or missing, or the fields do not fit one another.
    TypeError
        When the config is of another kind.

    Examples
    --------
    >>> model = build("earthformer", "tiny")
    >>> model.in_len, model.out_len
    (4, 3)
    """
    if name not in MODELS:
        found = f"{name!r}{did_you_mean(name, MODELS)}"
        raise KeyError(f"expected a model, one of {sorted(MODELS)}, found {found}")
    Config, Model, presets = MODELS[name]
    if isinstance(config, str):
        if config not in presets:
            found = f"{config!r}{did_you_mean(config, presets)}"
            raise KeyError(f"expected a preset of {name}, one of {sorted(presets)}, found {found}")
        config = presets[config]
    elif isinstance(config, Mapping):
        expect_fields(Config, config)  # before Python's own, less helpful TypeError
        config = Config(**config)
    if not isinstance(config, Config):
        kind = type(config).__name__
        raise TypeError(f"expected a preset's name, a dict or a {Config.__name__}, found {kind}")
    return Model(config).float()  # whatever torch.set_default_dtype says


def expect_shapes(name: str, config: object, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a ValueError unless a model of this configuration has weights of these shapes.

    Nothing large is built, whatever the configuration says: torch's device "meta" keeps shapes
    alone, and the building is stopped once it has taken more steps than so many weights need.

    >>> expect_shapes("persistence", {"in_len": 1, "out_len": 3}, {"weight": (2, 2)})
    Traceback (most recent call last):
    ...
    ValueError: Unexpected key weight
    """
    expect_small("a model's configuration", config)
    with Steps(STEPS * (len(shapes) + 10)), torch.device("meta"):
        state = build(name, config).state_dict()
    own = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in sorted(own.keys() | shapes.keys()):
        if key not in shapes or key not in own:
            raise ValueError(f"{'Unexpected' if key in shapes else 'Missing'} key {key}")
        # a pack keeps a single number as an array of one
        if (own[key] or (1,)) != (shapes[key] or (1,)):
            raise ValueError(f"expected {key} of shape {own[key]}, found {shapes[key]}")


def from_published(
    name: str, config: Mapping[str, object], checkpoint: Mapping[str, object] | None = None
) -> nn.Module:
    """Build a network from its published configuration, and load its published weights.

    The network computes what the published code computes. Its `config` is this package's, so that
    it can be saved and built again like any other.

    Parameters
    ----------
    name : {"earthformer", "prediff-unet", "prediff-alignment", "prediff-vae"}
        The published network; PreDiff's three are its denoiser, alignment network and autoencoder.
    config : mapping
        The `model` section of the published YAML file, with its own key names.
    checkpoint : mapping, optional
        The published weights, as `torch.load` returns them: a state dict or a Lightning
        checkpoint. Every entry must fit. Default: fresh weights.

    Returns
    -------
    nn.Module
        An `Earthformer`, `EarthformerUNet`, `Alignment`, or diffusers' `AutoencoderKL`.

    Raises
    ------
    KeyError
        When the name is not that of a published network.
    ValueError
        When a key of the configuration is unknown or missing, or has a value that is not built
        here; when weights are missing, left over or of another shape.

    References
    ----------
    Gao et al. (2022), "Earthformer"; Gao et al. (2023), "PreDiff"; their code and checkpoints are
    at github.com/amazon-science/earth-forecasting-transformer and github.com/gaozhihan/PreDiff.

    Examples
    --------
    >>> config = {
    ...     "block_out_channels": [8, 16],
    ...     "layers_per_block": 1,
    ...     "latent_channels": 4,
    ...     "norm_num_groups": 4,
    ... }
    >>> autoencoder = from_published("prediff-vae", config)
    >>> checkpoint = {"state_dict": autoencoder.state_dict()}
    >>> from_published("prediff-vae", config, checkpoint).config.latent_channels
    4

    A published option that is not built here is an error:

    >>> from_published("prediff-vae", {**config, "act_fn": "relu"})
    Traceback (most recent call last):
    ValueError: expected act_fn='silu', the only value built here, found 'relu'
    """
    if name not in PUBLISHED:
        raise KeyError(f"expected a published model, one of {sorted(PUBLISHED)}, found {name!r}")
    model = PUBLISHED[name](config)
    return model if checkpoint is None else load_published(model, checkpoint)
