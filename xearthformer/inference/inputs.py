"""What a pack can serve: data is taken in by its card, or refused before anything is computed.

`prepare` looks at labels alone; `enter` looks at values, on their way into the model's terms.
"""

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch
from ..fields import cf, quantities, regrid
from ..fields.axes import find_axes, spacing_in_metres
from ..fields.time_axis import check_time
from ..packs.card import Card, LatLonGrid, PixelGrid


def variable(data: xr.Dataset | xr.DataArray, card: Card) -> xr.DataArray:
    """The array itself, or of a Dataset the one variable that the card asks for."""
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        found = type(data).__name__
        raise TypeError(f"expected an xarray DataArray or Dataset\n   found {found}")
    name = quantities.find_variable(
        data, standard_name=card.input.standard_name, difference=card.input.difference
    )
    return data[name]


def prepare(da: xr.DataArray, card: Card) -> tuple[xr.DataArray, cf.Origin]:
    """`cf.prepare` as the card wants it, once time step and grid are seen to be the card's."""
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
    """Prepared data in the model's terms: on its grid, checked, land filled, scaled."""
    if isinstance(card.grid, LatLonGrid):
        da = regrid.to_model(da, card.grid.latitude, card.grid.longitude)
    if card.land is not None:
        da = da.where(~xr.DataArray(card.land, dims=("y", "x")), card.fill)
    _check_values(da, card)
    return card.scale.apply(da)


def _check_step(step: str | np.timedelta64, card: Card) -> None:
    if card.step is not None and step != card.step:
        found = step if step == "month" else pd.Timedelta(step)
        frequency = "MS" if card.step == "month" else card.time_step
        raise mismatch(
            f"a time step of {card.time_step} (pack {card.name!r})",
            f"one of {found}",
            f'da.resample(time="{frequency}").mean()',
        )


def _check_grid(da: xr.DataArray, card: Card) -> None:
    if isinstance(card.grid, LatLonGrid):
        regrid.check_contains(da, card.grid.latitude, card.grid.longitude)
    elif isinstance(card.grid, PixelGrid):
        found = da.sizes["y"], da.sizes["x"]
        height, width = card.grid.shape
        if found[0] < height or found[1] < width:
            raise mismatch(
                f"a domain of at least {height} x {width} pixels, y by x (pack {card.name!r})",
                f"{found[0]} x {found[1]}",
                "a wider cut of your data; xef.list_packs() lists the other packs",
            )
        for dim in ("y", "x"):
            spacing = spacing_in_metres(da, dim)
            if card.grid.spacing and spacing and abs(spacing / card.grid.spacing - 1) > 0.01:
                raise mismatch(
                    f"pixels of {card.grid.spacing:g} m (pack {card.name!r})",
                    f"{spacing:g} m along {dim}",
                    "da.coarsen(...).mean() or da.interp(...) onto that spacing",
                )


def _check_values(da: xr.DataArray, card: Card) -> None:
    """NaN and infinity, and values that can't be of the card's quantity."""
    values = da.to_numpy()
    if card.missing != "allowed":
        bad = ~np.isfinite(values)
        if bad.any():
            places = zip(da.dims, bad.nonzero(), strict=True)
            where = {dim: da[dim].values[i[0]] for dim, i in places}
            allowed = "none missing but on land" if card.missing == "land" else "none missing"
            first = ", ".join(f"{dim} {value}" for dim, value in where.items())
            raise mismatch(
                f"finite values, {allowed} (pack {card.name!r})",
                f"{bad.sum()} of {bad.size} missing or infinite, the first at {first}",
                "da.interpolate_na(dim=...) or da.fillna(...)",
            )
    low, high = card.input.valid_min, card.input.valid_max
    for bound, worst, wrong in ((low, np.nanmin, np.less), (high, np.nanmax, np.greater)):
        if bound is not None and np.isfinite(values).any() and wrong(worst(values), bound):
            raise mismatch(
                f"values within [{low}, {high}] {card.input.units} (pack {card.name!r})",
                f"{worst(values):g} {card.input.units}, by the data's units attribute",
                "da.assign_attrs(units=...), with the units the values are in",
            )
