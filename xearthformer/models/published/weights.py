"""Weights of published checkpoints, under the names that the networks here have for them.

Checkpoints wrap their state dict, prefix its keys, use diffusers' older names, or keep a moving
average of the weights under names without dots; all of that ends here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# diffusers' names of the autoencoder's attention layers, in old checkpoints and today.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_published(model: nn.Module, checkpoint: Mapping[str, object]) -> nn.Module:
    """Load all weights of a published checkpoint into a network, and return the network.

    The checkpoint is a state dict, or Lightning's, whose keys may all have one prefix (such as
    "torch_nn_module."); for PreDiff's networks also a moving average, whose keys have no dots.
    Keys that are missing, left over or of another shape, weights of another configuration, are a
    ValueError. The network then keeps the weights that it had.
    """
    own = model.state_dict()
    weights = renamed(published_weights(checkpoint, own), own)
    shared = sorted(own.keys() & weights.keys())
    complaints = {
        "missing": sorted(own.keys() - weights.keys()),
        "left over": sorted(weights.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(weights[key].shape)} for {tuple(own[key].shape)}"
            for key in shared
            if weights[key].shape != own[key].shape
        ],
        # Integer entries are index tables that follow from the configuration: never overwritten
        # by others, which would give wrong outputs without any error.
        "built for other cuboids": [
            key
            for key in shared
            if not own[key].is_floating_point()
            and weights[key].shape == own[key].shape
            and not torch.equal(own[key].cpu(), weights[key].cpu())
        ],
    }
    if any(complaints.values()):
        raise ValueError(
            f"expected weights for the {len(own)} entries of {type(model).__name__}, found "
            + "; ".join(
                f"{len(keys)} {what}: {', '.join(keys[:3])}{', ...' * (len(keys) > 3)}"
                for what, keys in complaints.items()
                if keys
            )
            + ". Build the network from the configuration that these weights were trained with."
        )
    model.load_state_dict(weights, strict=True)
    return model


def published_weights(
    checkpoint: Mapping[str, object], keys: Mapping[str, object]
) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, without Lightning's wrapping and prefix.

    The prefix is what stands before the first of the network's own keys; keys without it go.

    >>> state = {key: torch.zeros(()) for key in ("net.w", "net.b", "valid_mse.total")}
    >>> [*published_weights({"state_dict": state}, {"w": 0, "b": 0})]
    ['w', 'b']
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        others = [key for key in checkpoint if not isinstance(checkpoint[key], Tensor)]
        raise ValueError(
            "expected a dict of tensors, or one with such a dict as state_dict, found also "
            f"{', '.join(map(str, others[:5]))}"
        )
    if all(key in state for key in keys):
        return dict(state)
    whole = _copies(state, [*keys])
    copies = {*whole, *(_copies(state, _averaged(keys)) if whole else ())}
    if len(copies) > 1:  # as of a moving average next to the network
        names = " and ".join(f"{prefix}*" for prefix in sorted(copies))
        raise ValueError(f"expected the network once, found {names}: keep one of them")
    first = next(iter(keys))
    prefixes = whole or [key.removesuffix(first) for key in state if key.endswith(first)]
    prefix = min(prefixes, key=len, default="")  # the shortest: keys may end in one another
    # what lies elsewhere in Lightning's module, such as metrics, is no part of the network
    named = {key: weight for key, weight in state.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): weight for key, weight in named.items()}


def renamed(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state dict under the names of the network's own.

    The autoencoder's attention layers had other names. A moving average holds the trained entries
    only, under names without dots; the other entries are then the network's own.

    >>> renamed({"mid.query.weight": 1}, {"mid.to_q.weight": 0})
    {'mid.to_q.weight': 1}
    >>> averaged = {"ema.downweight": 1, "ema.decay": 2}
    >>> renamed(averaged, {"down.weight": torch.zeros(1), "down.index": torch.tensor(3)})
    {'down.weight': 1, 'down.index': tensor(3)}
    """
    plain = {key.replace(".", ""): key for key in own}
    copies = [] if own.keys() <= state.keys() else _copies(state, _averaged(own))
    if copies:
        prefix = min(copies, key=len)
        return {key: state.get(f"{prefix}{name}", own[key]) for name, key in plain.items()}
    return {key if key in own else _todays_name(key): value for key, value in state.items()}


def _averaged(own: Mapping[str, object]) -> list[str]:
    """Return the names that a moving average of a network has: of what is trained, without dots."""
    trained = [k for k, v in own.items() if isinstance(v, Tensor) and v.is_floating_point()]
    return [key.replace(".", "") for key in trained]


def _copies(state: Mapping[str, object], names: list[str]) -> list[str]:
    """Return the prefixes under which a state dict has all of these names."""
    prefixes = [key.removesuffix(names[0]) for key in state if names and key.endswith(names[0])]
    return [one for one in prefixes if all(f"{one}{name}" in state for name in names)]


def _todays_name(key: str) -> str:
    """Return diffusers' present name of a key: its last word but one may have changed."""
    *path, last = key.split(".")
    if path:
        path[-1] = ATTENTION.get(path[-1], path[-1])
    return ".".join([*path, last])
