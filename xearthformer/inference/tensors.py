"""The border: labelled windows become tensors (B T H W C), and forecasts become labelled again."""

import numpy as np
import torch
import xarray as xr

WINDOW_DIMS = ("init", "time", "y", "x")
FORECAST_DIMS = ("init", "lead", "y", "x")
ENSEMBLE_DIMS = ("init", "lead", "member", "y", "x")


def to_tensor(windows: xr.DataArray) -> torch.Tensor:
    """Windows (init, time, y, x) as a float32 tensor (B, T, H, W, 1)."""
    values = windows.transpose(*WINDOW_DIMS).to_numpy()
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).unsqueeze(-1)


def to_labeled(y_BTHWC: torch.Tensor, windows: xr.DataArray) -> xr.DataArray:
    """A forecast of `windows` on their y and x.

    (B, T, H, W, 1) becomes (init, lead, y, x), and with members (B, T, M, H, W, 1) becomes
    (init, lead, member, y, x).
    """
    values = y_BTHWC.squeeze(-1).cpu().numpy()
    coords = {name: windows[name] for name in ("y", "x") if name in windows.coords}
    dims = FORECAST_DIMS if values.ndim == len(FORECAST_DIMS) else ENSEMBLE_DIMS
    return xr.DataArray(values, dims=dims, coords=coords)
