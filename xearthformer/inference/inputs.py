"""The way in: data as a pack's card wants it, or a refusal before anything is computed.

`prepare` looks at labels alone; `enter` looks at values, on their way to the model's input.
"""

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields import cf, quantities, regrid
from ..fields.axes import find_axes, spacing_in_metres
from ..fields.time_axis import check_time
from ..packs.card import Card, LatLonGrid, PixelGrid

SPACING_TOLERANCE = 0.01  # a share: projections are not exact to the metre


def variable(data: xr.Dataset | xr.DataArray, card: Card) -> xr.DataArray:
    """Return the array itself, or the one variable of a Dataset that the card asks for."""
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        raise TypeError(f"expected an xarray DataArray or Dataset\n   found {type(data).__name__}")
    name = quantities.find_variable(
        data, standard_name=card.input.standard_name, difference=card.input.difference
    )
    return data[name]


def prepare(da: xr.DataArray, card: Card) -> tuple[xr.DataArray, cf.Origin]:
    """Return data in the card's units and orientation, and how to restore the user's own.

    Time step and grid are checked first; see `cf.prepare`.
    """
    _check_step(check_time(da[find_axes(da).time]), card)
    prepared, origin = cf.prepare(
        da,
        units=card.input.units,
        difference=card.input.difference,
        standard_name=card.input.standard_name,
        latlon=isinstance(card.grid, LatLonGrid),
    )
    _check_grid(prepared, card)
    return prepared, origin


def enter(da: xr.DataArray, card: Card) -> xr.DataArray:
    """Return prepared data as the model reads it: on its grid, checked, land filled, scaled."""
    if isinstance(card.grid, LatLonGrid):
        da = regrid.to_model(da, card.grid.latitude, card.grid.longitude)
    if card.land is not None:
        da = da.where(~xr.DataArray(card.land, dims=("y", "x")), card.fill)
    _check_values(da, card)
    return card.scale.apply(da)


def _check_step(step: str | np.timedelta64, card: Card) -> None:
    if card.step is not None and step != card.step:
        interval = step if step == "month" else pd.Timedelta(step)
        frequency = "MS" if card.step == "month" else card.time_step
        raise mismatch(
            f"a time step of {card.time_step} (pack {card.name!r})",
            f"one of {interval}",
            f'da.resample(time="{frequency}").mean()',
        )


def _check_grid(da: xr.DataArray, card: Card) -> None:
    if isinstance(card.grid, LatLonGrid):
        regrid.check_contains(da, card.grid.latitude, card.grid.longitude)
    elif isinstance(card.grid, PixelGrid):
        rows, columns = da.sizes["y"], da.sizes["x"]
        height, width = card.grid.shape
        if rows < height or columns < width:
            raise mismatch(
                f"a domain of at least {height} x {width} pixels, y by x (pack {card.name!r})",
                f"{rows} x {columns}",
                "a wider cut of your data; xef.list_packs() lists the other packs",
            )
        for dim in ("y", "x"):
            spacing = spacing_in_metres(da, dim)
            if not card.grid.spacing or not spacing:
                continue  # pixels of any size, or of a size that the data does not tell
            if abs(spacing / card.grid.spacing - 1) > SPACING_TOLERANCE:
                raise mismatch(
                    f"pixels of {card.grid.spacing:g} m (pack {card.name!r})",
                    f"{spacing:g} m along {dim}",
                    "da.coarsen(...).mean() or da.interp(...) onto that spacing",
                )


def _check_values(da: xr.DataArray, card: Card) -> None:
    """Refuse NaN, infinity and values that the card's quantity cannot have."""
    values = da.to_numpy()
    finite = np.isfinite(values)
    if card.missing != "allowed" and not finite.all():
        bad = (~finite).nonzero()
        first = ", ".join(
            f"{dim} {da[dim].values[i[0]]}" for dim, i in zip(da.dims, bad, strict=True)
        )
        allowed = "none missing but on land" if card.missing == "land" else "none missing"
        raise mismatch(
            f"finite values, {allowed} (pack {card.name!r})",
            f"{len(bad[0])} of {values.size} missing or infinite, the first at {first}",
            "da.interpolate_na(dim=...) or da.fillna(...)",
        )
    low, high = card.input.valid_min, card.input.valid_max
    for bound, worst, beyond in ((low, np.nanmin, np.less), (high, np.nanmax, np.greater)):
        if bound is not None and finite.any() and beyond(worst(values), bound):
            raise mismatch(
                f"values within [{low}, {high}] {card.input.units} (pack {card.name!r})",
                f"{worst(values):g} {card.input.units}, by the data's units attribute",
                "da.assign_attrs(units=...), with the units the values are in",
            )
