"""The networks. They know torch and the letters B T H W C; no year, no sea."""

from __future__ import annotations

from typing import Any

from torch import nn

from .baselines import convlstm, e3d_lstm, lim, persistence, phydnet, predrnn, rainformer, unet
from .earthformer import earthformer, nowcast
from .layers.attention import expect_fields
from .prediff import prediff

# Name -> its config's class, its own class, its presets. A new model is a new line.
MODELS: dict[str, tuple[type, type[nn.Module], dict[str, Any]]] = {
    "earthformer": (
        earthformer.EarthformerConfig,
        earthformer.Earthformer,
        earthformer.PRESETS,
    ),
    "nowcast": (nowcast.NowcastConfig, nowcast.Nowcast, nowcast.PRESETS),
    "prediff": (prediff.PreDiffConfig, prediff.PreDiff, prediff.PRESETS),
    "lim": (lim.LIMConfig, lim.LIM, lim.PRESETS),
    "persistence": (
        persistence.PersistenceConfig,
        persistence.Persistence,
        persistence.PERSISTENCE_PRESETS,
    ),
    "damped-persistence": (
        persistence.DampedPersistenceConfig,
        persistence.DampedPersistence,
        persistence.DAMPED_PRESETS,
    ),
    "convlstm": (convlstm.ConvLSTMConfig, convlstm.ConvLSTM, convlstm.PRESETS),
    "predrnn": (predrnn.PredRNNConfig, predrnn.PredRNN, predrnn.PRESETS),
    "phydnet": (phydnet.PhyDNetConfig, phydnet.PhyDNet, phydnet.PRESETS),
    "e3d-lstm": (e3d_lstm.E3DLSTMConfig, e3d_lstm.E3DLSTM, e3d_lstm.PRESETS),
    "rainformer": (rainformer.RainformerConfig, rainformer.Rainformer, rainformer.PRESETS),
    "unet": (unet.UNetConfig, unet.UNet, unet.PRESETS),
}


def build(name: str, config: Any) -> nn.Module:
    """Build a model with fresh weights.

    Parameters
    ----------
    name : str
        The model, one of `MODELS`.
    config : str, dict or the model's config
        A preset's name, the fields of a config (as JSON has them), or a config.

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
        raise KeyError(f"expected a model, one of {sorted(MODELS)}, found {name!r}")
    Config, Model, presets = MODELS[name]
    if isinstance(config, str):
        if config not in presets:
            raise KeyError(
                f"expected a preset of {name}, one of {sorted(presets)}, found {config!r}"
            )
        config = presets[config]
    elif isinstance(config, dict):
        expect_fields(Config, config)
        config = Config(**config)
    if not isinstance(config, Config):
        found = type(config).__name__
        raise TypeError(f"expected a preset's name, a dict or a {Config.__name__}, found {found}")
    return Model(config)
