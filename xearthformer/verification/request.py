"""The products that are asked for: what is written in place of members, or next to them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import mismatch


@dataclass(frozen=True)
class Products:
    """The products of a forecast that are kept in place of its members: for `hindcast`.

    The command line has the same options.

    Parameters
    ----------
    exceed : list of float or str
        Thresholds, of rates or, with `accumulate`, of amounts: as in `exceedance`.
    window, anywhere
        As in `exceedance`.
    quantiles : list of float
        As in `quantiles`.
    mean : bool
        Whether the members' mean and standard deviation are written: NAME_mean, NAME_spread.
    accumulate : str, optional
        The period of amounts, which all products are of: as in `accumulate`.
    with_members : bool
        Whether the members are written too.

    Examples
    --------
    >>> import xearthformer as xef
    >>> fc = xr.DataArray([[0.0, 1.0, 2.0]], dims=("x", "member"), name="t")
    >>> ds = xef.Products(exceed=[1], quantiles=[0.5]).of(fc)
    >>> ds["probability"].values.round(2), ds["t_quantiles"].values
    (array([[0.67]]), array([[1.]]))
    """

    exceed: Sequence[float | str] = ()
    window: float | str | None = None
    anywhere: bool = False
    quantiles: Sequence[float] = ()
    mean: bool = False
    accumulate: str | None = None
    with_members: bool = False

    def __post_init__(self) -> None:
        # arrays, lists and one number alone are the same request, and compare as one
        for name in ("exceed", "quantiles"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if np.ndim(value) else (value,))

    def __bool__(self) -> bool:
        """Whether anything is asked for but the forecast as it is."""
        return self != Products()

    def __str__(self) -> str:
        """The words of the command line, which files remember.

        >>> str(Products(exceed=[1, "5 mm/h"], window="16 km"))
        "--exceed 1 '5 mm/h' --window '16 km'"
        """
        words: list[object] = []
        for name in ("exceed", "window", "quantiles", "accumulate"):
            value = getattr(self, name)
            if value not in (None, ()):
                words += [f"--{name}", *(value if isinstance(value, tuple) else [value])]
        for name in ("anywhere", "mean", "with_members"):
            words += [f"--{name.replace('_', '-')}"] if getattr(self, name) else []
        return shlex.join(f"{word:g}" if isinstance(word, float) else str(word) for word in words)

    def check(self, path: Path | None = None, hint: str = "") -> None:
        """Raise ValueError for options that are of no product, or a file that can't hold any."""
        if not self:
            return
        if not self.exceed and (self.window is not None or self.anywhere):
            given = "window" if self.window is not None else "anywhere"
            hint = "products=xef.Products(exceed=[0.5, 1, 5])"
            raise mismatch(f"thresholds, for {given}", "none", hint)
        if self.with_members and self == Products(with_members=True):
            raise mismatch("products, with members next to them", "none", "products=None")
        if path is not None and path.suffix == ".h5":
            raise mismatch("file.nc, store.zarr or file.tif, for products", str(path), hint)

    def of(self, fc: xr.DataArray | xr.Dataset) -> xr.Dataset:
        """Return the products of a forecast as variables of a Dataset; lazy if the forecast is.

        Without any it is the forecast as it is.
        """
        if not self:
            return fc if isinstance(fc, xr.Dataset) else fc.to_dataset()
        from . import products

        if isinstance(fc, xr.Dataset) and len(fc.data_vars) > 1:
            names = ", ".join(map(str, fc.data_vars))
            raise mismatch(f"one variable, for {self}", names, "the same without")
        da = fc if isinstance(fc, xr.DataArray) else next(iter(fc.data_vars.values()))
        if self.accumulate is not None:
            da = products.accumulate(da, self.accumulate)
        made = []
        if self.exceed:
            chances = products.exceedance(
                da, list(self.exceed), window=self.window, anywhere=self.anywhere
            )
            made.append(chances)
        if self.quantiles:
            made.append(products.quantiles(da, list(self.quantiles)).rename(f"{da.name}_quantiles"))
        if self.mean:
            made += products.mean_and_spread(da)
        if self.with_members or not made:
            made.append(da)
        members = {"members": da.sizes["member"]} if "member" in da.dims else {}
        made = [one.assign_attrs(members, products=str(self)) for one in made]
        # Their labels are those of one forecast: nothing is compared, which would compute `known`.
        merged = xr.merge(made, compat="override", join="exact", combine_attrs="override")
        merged.attrs = dict(fc.attrs) if isinstance(fc, xr.Dataset) else {}  # not the first's
        return merged
