"""The border: labelled windows become tensors (B T H W C), and forecasts become labelled again."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..packs.card import Card, LatLonGrid

WINDOW_DIMS = ("init", "time", "y", "x")
FORECAST_DIMS = ("init", "lead", "y", "x")
ENSEMBLE_DIMS = ("init", "lead", "member", "y", "x")


def to_tensor(windows: Sequence[xr.DataArray], exact: bool = False) -> Tensor:
    """Windows (init, time, y, x) of each variable as one float32 tensor (B, T, H, W, C).

    With `exact`, in the dtype that they have.
    """
    channels = [
        np.ascontiguousarray(
            one.transpose(*WINDOW_DIMS).to_numpy(), dtype=one.dtype if exact else np.float32
        )
        for one in windows
    ]
    if len(channels) == 1:  # no copy of what is large
        return torch.from_numpy(channels[0][..., None])
    return torch.from_numpy(np.stack(channels, axis=-1))


def known_channels(card: Card, months_BT: np.ndarray) -> Tensor | None:
    """Return the channels of the model's input that nobody brings; None for none.

    `months_BT` are calendar months, 1 to 12. The tensor is (B, T, 1 or H, 1 or W, K): what is the
    same at all cells or all times is kept once.
    """
    if not card.known:
        return None
    angle_BT = torch.from_numpy(2 * np.pi * months_BT / 12)
    grid = card.grid
    parts = []
    for name in card.known:
        if name == "month":
            channels = torch.stack([angle_BT.sin(), angle_BT.cos()], dim=-1)[:, :, None, None]
        else:
            assert isinstance(grid, LatLonGrid)  # or the card would have been refused
            field_HW = grid.is_land if name == "land" else np.array(grid.latitude)[:, None] / 90
            channels = torch.from_numpy(np.asarray(field_HW, np.float64))[None, None, ..., None]
        parts.append(channels.float())
    height, width = (max(part.shape[axis] for part in parts) for axis in (2, 3))
    shape = *months_BT.shape, height, width
    return torch.cat([part.expand(*shape, -1) for part in parts], dim=-1)


def to_labeled(y_BTHWC: Tensor, windows: xr.DataArray, channel: int = 0) -> xr.DataArray:
    """One variable of a forecast of `windows`, on their y and x.

    (B, T, H, W, C) becomes (init, lead, y, x), and with members (B, T, M, H, W, C) becomes
    (init, lead, member, y, x).
    """
    values = y_BTHWC[..., channel].cpu().numpy()
    coords = {name: windows[name] for name in ("y", "x") if name in windows.coords}
    dims = FORECAST_DIMS if values.ndim == len(FORECAST_DIMS) else ENSEMBLE_DIMS
    return xr.DataArray(values, dims=dims, coords=coords)
