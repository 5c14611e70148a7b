"""A pack of rain every five minutes that stays as it is, for tests of what is around a nowcast."""

from pathlib import Path

import xearthformer as xef
from xearthformer import models
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Quantity, Training


def still_pack(folder: Path, context: int, lead: int) -> xef.Pack:
    """Persistence on 4 x 6 pixels, which doesn't mind missing values."""
    rate = Quantity(standard_name="rainfall_rate", units="mm h-1")
    card = Card(
        name="still",
        version="1",
        title="persistence of rain",
        model=ModelSpec(name="persistence", config={}),
        input=rate,
        output=rate,
        grid=PixelGrid(height=4, width=6),
        time_step="5min",
        history=context,
        reach=lead,
        missing="allowed",
        training=Training(data="none"),
    )
    model = models.build("persistence", {"in_len": context, "out_len": lead})
    return xef.save_pack(folder / "still", model, card)
