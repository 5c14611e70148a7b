"""The border: labelled windows become tensors (B T H W C), and forecasts become labelled again."""

import numpy as np
import torch
import xarray as xr

WINDOW_DIMS = ("init", "time", "y", "x")
FORECAST_DIMS = ("init", "lead", "y", "x")


def to_tensor(windows: xr.DataArray) -> torch.Tensor:
    """Windows (init, time, y, x) as a float32 tensor (B, T, H, W, 1)."""
    values = windows.transpose(*WINDOW_DIMS).to_numpy()
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).unsqueeze(-1)


def to_labeled(y_BTHWC: torch.Tensor, windows: xr.DataArray) -> xr.DataArray:
    """A forecast (B, T, H, W, 1) of `windows`, as (init, lead, y, x) on their y and x."""
    values = y_BTHWC.squeeze(-1).cpu().numpy()
    coords = {name: windows[name] for name in ("y", "x") if name in windows.coords}
    return xr.DataArray(values, dims=FORECAST_DIMS, coords=coords)
