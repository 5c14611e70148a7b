"""An untrained nowcast of the smallest preset, close to an extrapolation."""

from pathlib import Path

import torch

import xearthformer as xef
from xearthformer import models
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Training


def small_nowcast(folder: Path, side: int = 32) -> xef.Pack:
    """Rain of 5 minutes on `side` x `side` pixels of 1 km or more: 4 frames in, 3 out."""
    torch.manual_seed(0)
    model = models.build("nowcast", "tiny")
    with torch.no_grad():
        model.network.everywhere_LPD[:, 1, -2] = -1.5  # sure of itself: a decibel or two
        model.network.everywhere_LPD[:, 2, -3:-1] = torch.tensor([-8.0, 4.0])  # dry where it is
    quantity = {"standard_name": "rainfall_rate", "units": "mm h-1", "missing": "allowed"}
    card = Card(
        name="small",
        version="1",
        title="untrained",
        model=ModelSpec(name="nowcast", config={}),
        inputs={"rain": {**quantity, "scale": {"factor": 10.0, "floor": 0.1}}},
        outputs=["rain"],
        grid=PixelGrid(height=side, width=side, spacing=1000.0, larger="whole"),
        time_step="5min",
        context=4,
        lead=3,
        training=Training(data="none"),
    )
    return xef.save_pack(folder / "small", model, card)
