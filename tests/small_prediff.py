"""An untrained PreDiff as a pack, and rain for it to read."""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr

import xearthformer as xef
from xearthformer import models
from xearthformer.models.prediff.prediff import PRESETS
from xearthformer.packs.card import Card, Climatology, ModelSpec, PixelGrid, Quantity, Training
from xearthformer.packs.scale import Scale

RAIN = Quantity(standard_name="rainfall_rate", units="mm h-1", valid_min=0.0, valid_max=1000.0)


def untrained(preset: str = "tiny", seed: int = 0) -> torch.nn.Module:
    """Random weights everywhere, also where a fresh network has zeros, so that nothing is idle."""
    torch.manual_seed(seed)
    model = models.build("prediff", preset).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def save(path, preset: str = "tiny", alignment: bool = True, climatology: bool = True) -> xef.Pack:
    model = untrained(preset)
    if not alignment:
        model = models.build("prediff", replace(PRESETS[preset], alignment=None)).eval()
    tile = model.config.tile
    card = Card(
        name="tiny-prediff",
        version="1",
        title="an untrained PreDiff",
        model=ModelSpec(name="prediff", config={}),
        input=RAIN,
        output=RAIN,
        grid=PixelGrid(height=tile, width=tile, spacing=1000.0),
        time_step="10min",
        history=model.in_len,
        reach=model.out_len,
        missing="allowed",
        scale=Scale(factor=20.0, floor=0.1),
        climatology=Climatology(mean=0.2, std=0.1) if climatology else None,
        training=Training(data="none"),
    )
    return xef.save_pack(path, model, card)


def rain(steps: int = 8, height: int = 16, width: int = 16, seed: int = 0) -> xr.DataArray:
    """Rain with dims of its own names and order, rows from the north."""
    rng = np.random.default_rng(seed)
    values = np.maximum(0, rng.normal(0, 4, (height, steps, width))).astype(np.float32)
    return xr.DataArray(
        values,
        {
            "northing": ("northing", np.arange(height)[::-1] * 1000.0, {"units": "m", "axis": "Y"}),
            "when": (
                "when",
                xr.date_range("2016-07-11", periods=steps, freq="10min"),
                {"standard_name": "time"},
            ),
            "easting": ("easting", np.arange(width) * 1000.0, {"units": "m", "axis": "X"}),
        },
        dims=("northing", "when", "easting"),
        name="rr",
        attrs={"standard_name": "rainfall_rate", "units": "mm h-1"},
    )
