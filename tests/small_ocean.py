"""A pack of two variables, whose forecasts can be worked out by hand, and an ocean for it."""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import nn

import xearthformer as xef
from xearthformer.packs.card import Card

GRID = {"kind": "latlon", "latitude": [-2.0, 0.0, 2.0], "longitude": [0.0, 2.0]}
SST = {"standard_name": "sea_surface_temperature", "units": "degC", "difference": True}
ZOS = {"standard_name": "sea_surface_height_above_geoid", "units": "m", "difference": True}


@dataclass(frozen=True)
class AddsConfig:
    in_len: int = 2
    out_len: int = 2


class Adds(nn.Module):
    """Forecasts sst + 10 zos of the last frame, and zos + the sine of the last month."""

    samples, draws, sample_by_sample = False, True, True

    def __init__(self, config):
        super().__init__()
        self.config, self.in_len, self.out_len = config, config.in_len, config.out_len

    def predict(self, x_BTHWC, generator=None):
        sst, zos, sine, _ = x_BTHWC[:, -1].unbind(dim=-1)
        noise = 0.0 if generator is None else torch.randn((), generator=generator)
        y = torch.stack([sst + 10 * zos + noise, zos + sine], dim=-1)
        return torch.stack([y, y], dim=1)


def save(path, **changes):
    """Write the pack; to open it, `MODELS` needs an entry "adds": (AddsConfig, Adds, {})."""
    fields = {
        "name": "adds",
        "version": "1",
        "title": "a sum",
        "model": {"name": "adds", "config": {}},
        "inputs": {"sst": SST, "zos": ZOS},
        "outputs": ["sst", "zos"],
        "known": ["month"],
        "grid": GRID,
        "time_step": "month",
        "context": 2,
        "lead": 2,
        "training": {"data": "none"},
        **changes,
    }
    model = Adds(AddsConfig())
    return xef.save_pack(path, model, Card.model_validate(fields), overwrite=True)


def ocean(months=6, start="2000-01", **sizes):
    """SST anomalies that count months up to 8 and again, and a height of .1, .2, ... m."""
    time = xr.date_range(start, periods=months, freq="MS")
    coords = {"time": time, "lat": [-2.0, 0.0, 2.0], "lon": [0.0, 2.0]}
    count = np.arange(months, dtype="f4")[:, None, None] % 9 * np.ones((1, 3, 2), "f4")
    attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    sst = xr.DataArray(count, coords, ("time", "lat", "lon"), attrs=attrs)
    long_name = "sea surface height anomaly"
    zos = xr.DataArray(count / 10, coords, sst.dims, attrs={"units": "m", "long_name": long_name})
    return xr.Dataset({"sst": sst, "zos": zos}, attrs={"title": "an ocean"})
