"""Onto the model's grid and back onto the user's: separable weights from xarray-regrid, land kept.

Both ways are two small matrices, one for latitude and one for longitude: M onto the model's cells
(`_there`), and P back, for which M P = 1 (`_back`). Every field is multiplied by itself, so that
the answer's bits do not depend on how the data is chunked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
import xarray_regrid  # noqa: F401  (registers the accessor .regrid)
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ..errors import mismatch

Floats = NDArray[np.float64]

OCEAN_SHARE = 0.5  # a cell is ocean when at least this share of it is
GAP = 1.75  # a step this many times its smaller neighbour is a hole: one missing cell gives 2
SAME = 1e-3  # centres agree when they differ by less than this share of a cell
POLE = {"y": 90.0, "x": np.inf}  # no cell centre lies beyond it
ROUNDING = 1e-4  # degrees; a float32 longitude is good to 3e-5
STABLE = 4.0  # largest condition number to undo averaging by: 2.1 from 5 to 2 degrees, 2.9 to 4


@dataclass(frozen=True)
class Span:
    """Cell centres of one axis in ascending order; longitudes may run past 360."""

    centres: Floats
    columns: NDArray[np.intp]  # which index of the data each of them is
    periodic: bool  # goes once round the globe


# --- the cells of an axis ------------------------------------------------------------------------


def _centres(values: ArrayLike, name: str) -> Floats:
    """Return the cell centres as float64; there are two or more, and they ascend."""
    centres = np.asarray(values, dtype=np.float64)
    if centres.ndim != 1 or centres.size < 2:
        raise mismatch(
            f"two or more cell centres along {name}",
            f"shape {centres.shape}",
            f"da.isel({name}=[0, 1]), which keeps the dimension, or a larger domain",
        )
    if not (np.diff(centres) > 0).all():
        raise mismatch(
            f"cell centres along {name} that ascend, each once",
            f"{', '.join(f'{v:g}' for v in centres[:3])} ... {centres[-1]:g}",
            f"da.sortby({name!r}).drop_duplicates({name!r})",
        )
    return centres


def _step(centres: Floats) -> float:
    return float(np.median(np.diff(centres)))


def _steps(axis: str, centres: Floats) -> Floats:
    """Return the step from each centre to the next; the last one goes round the globe along x."""
    steps = np.diff(centres, append=centres[0] + 360.0 if axis == "x" else np.inf)
    if steps[-1] <= 0:
        raise mismatch(
            "longitudes along x within one turn of the globe",
            f"{centres[0]:g} .. {centres[-1]:g}",
            "da.isel(x=slice(0, -1)), which drops the repeated column",
        )
    return steps


def _beside(steps: Floats) -> Floats:
    """Return the smaller one of each step's neighbours; a hole stands out against it."""
    return np.minimum(np.roll(steps, 1), np.roll(steps, -1))


def _span(axis: str, values: ArrayLike, model: Floats) -> Span:
    """Return the cells of one axis; longitudes unroll into the turn around the model's middle.

    Data for 340 .. 358 and 0 .. 20 comes sorted, as 0 .. 20 and 340 .. 358; around 0 it is
    -20 .. 20, in one piece: the seam is on the far side of the globe.
    """
    centres = _centres(values, axis)
    steps = _steps(axis, centres)
    periodic = bool((steps <= GAP * _beside(steps)).all())
    if axis == "x":
        seam = float(model[0] + model[-1]) / 2 - 180.0
        centres = seam + (centres - seam) % 360.0
    columns = np.argsort(centres)
    return Span(centres[columns], columns, periodic)


def _extend(span: Span, target: Floats, pole: float) -> Span:
    """Add the cells beyond the rim that `target` may touch.

    A periodic axis goes on round the globe; any other repeats its outermost cell once, up to the
    pole.
    """
    if span.periodic:
        reach = _step(np.sort(target)) + 2 * float(np.diff(span.centres).max())
        centres = np.concatenate([span.centres + turn for turn in (-360.0, 0.0, 360.0)])
        near = (centres >= target.min() - reach) & (centres <= target.max() + reach)
        return Span(centres[near], np.tile(span.columns, 3)[near], True)
    first, second, before_last, last = span.centres[[0, 1, -2, -1]]
    low, high = max(-pole, 2 * first - second), min(pole, 2 * last - before_last)
    rim = int(low < first), int(high > last)
    centres = np.concatenate([[low][: rim[0]], span.centres, [high][: rim[1]]])
    return Span(centres, np.pad(span.columns, rim, mode="edge"), False)


# --- weights -------------------------------------------------------------------------------------


def _method(user: Floats, model: Floats) -> str:
    """Return "conservative" onto coarser or equal cells, "linear" onto finer ones."""
    coarser = _step(model) >= _step(user) * (1 - SAME)
    return "conservative" if coarser else "linear"


def _weights(span: Span, target: Floats, axis: str, method: str) -> Floats:
    """Return the matrix (target cell, data cell) that regrids one axis; its rows sum to one."""
    cells, span = span.columns.size, _extend(span, target, POLE[axis])
    one_hot = np.eye(cells)[:, span.columns]
    unit = xr.DataArray(one_hot, dims=("cell", axis), coords={axis: span.centres})
    goal = xr.Dataset(coords={axis: np.clip(target, span.centres[0], span.centres[-1])})
    if method == "linear":
        return unit.regrid.linear(goal).transpose(axis, "cell").to_numpy()
    latitude = "y" if axis == "y" else None  # areas shrink towards the poles
    weights = unit.regrid.conservative(goal, latitude_coord=latitude, skipna=False)
    return weights.transpose(axis, "cell").to_numpy()


def _inside(axis: str, user: Floats, model: Floats) -> Floats:
    """Return linear weights (user cell, model cell), zero for users outside the model's cells."""
    span = _span(axis, model, model)
    first, second, before_last, last = model[[0, 1, -2, -1]]
    low, high = first - (second - first) / 2, last + (last - before_last) / 2
    if axis == "x":
        user = low - ROUNDING + (user - low + ROUNDING) % 360.0
    weights = _weights(span, user, axis, "linear")
    if not span.periodic:
        weights[(user < low - ROUNDING) | (user > high + ROUNDING)] = 0.0
    return weights


def _there(axis: str, user: Floats, model: Floats) -> Floats:
    """Return the weights M (model cell, user cell) of `to_model` along one axis."""
    return _weights(_span(axis, user, model), model, axis, _method(user, model))


def _back(axis: str, user: Floats, model: Floats) -> tuple[Floats, str]:
    """Return the weights P (user cell, model cell) of `to_user`, and what they are called.

    P = U inv(M U), with linear weights U, is linear between nodes such that the cells' means are
    the model's values: M P = 1. M takes only the user's cells inside the model's, for the answer
    is NaN in the others. Where M does not average, or where undoing it would blow up noise (cells
    of nearly the same size, out of step), P is U.
    """
    linear = _inside(axis, user, model)
    if _method(user, model) == "conservative":
        there = _there(axis, user, model) * linear.any(axis=1)
        means = there @ linear / np.maximum(there.sum(axis=1, keepdims=True), SAME)
        if np.linalg.cond(means) < STABLE:
            return linear @ np.linalg.inv(means), "linear keeping cell means"
    return linear, "linear"


# --- fields --------------------------------------------------------------------------------------


def _blend(values: NDArray[np.floating], y_weights: Floats, x_weights: Floats) -> NDArray:
    """Regrid fields (..., y, x) one by one in float64, each cell the mean of its ocean.

    A cell of which less than `OCEAN_SHARE` is ocean is NaN, and so is one with no weights.
    """
    fields = values.reshape(-1, *values.shape[-2:])
    shape = (len(y_weights), len(x_weights))
    out = np.empty((len(fields), *shape), dtype=values.dtype)
    known: NDArray[np.bool_] | None = None
    share = np.zeros(shape)
    for k, field in enumerate(fields):
        ocean = ~np.isnan(field)
        if known is None or not np.array_equal(ocean, known):
            known, share = ocean, y_weights @ ocean.astype(np.float64) @ x_weights.T
        total = y_weights @ np.where(ocean, field, 0).astype(np.float64) @ x_weights.T
        wet = share >= OCEAN_SHARE - 1e-9
        out[k] = np.where(wet, total / np.where(wet, share, 1.0), np.nan)
    return out.reshape(*values.shape[:-2], *shape)


def _fill_land(values: NDArray[np.floating], latitude: Floats, longitude: Floats) -> NDArray:
    """Give each NaN of fields (..., y, x) the value of the nearest cell that has one."""
    fields = values.reshape(-1, values.shape[-2] * values.shape[-1])
    if not np.isnan(fields).any():
        return values
    lat, lon = (
        a.ravel() for a in np.meshgrid(np.radians(latitude), np.radians(longitude), indexing="ij")
    )
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    out = fields.copy()
    known: NDArray[np.bool_] | None = None
    nearest = np.zeros(0, dtype=np.intp)
    for k, field in enumerate(fields):
        land = np.isnan(field)
        if land.all() or not land.any():
            continue
        if known is None or not np.array_equal(land, known):
            known = land
            nearest = np.flatnonzero(~land)[cKDTree(points[~land]).query(points[land])[1]]
        out[k, land] = field[nearest]
    return out.reshape(values.shape)


def _on_fields(
    function: Callable[..., NDArray], da: xr.DataArray, y_weights: Floats, x_weights: Floats
) -> xr.DataArray:
    """Call `function` on the (y, x) fields of `da` with these weights, block by block when lazy."""
    if da.chunks is not None:
        da = da.chunk(y=-1, x=-1)
    da = da.astype(np.result_type(da.dtype, np.float32), copy=False)
    out: xr.DataArray = xr.apply_ufunc(
        function,
        da.drop_vars([name for name, c in da.coords.items() if {"y", "x"} & set(c.dims)]),
        kwargs={"y_weights": y_weights, "x_weights": x_weights},
        input_core_dims=[["y", "x"]],
        output_core_dims=[["new_y", "new_x"]],
        dask="parallelized",
        output_dtypes=[da.dtype],
        dask_gufunc_kwargs={"output_sizes": {"new_y": len(y_weights), "new_x": len(x_weights)}},
        keep_attrs=True,
    )
    return out.rename(new_y="y", new_x="x")


# --- does the data hold the model's grid? --------------------------------------------------------


def _outside(axis: str, data: Floats, model: Floats) -> NDArray[np.bool_]:
    """Mark the model's centres that the data does not reach, beyond its rim or in a hole.

    One that lies in no cell of the data may be half a model cell from the nearest centre of the
    data, but not more than a cell of the data.
    """
    steps = _steps(axis, data)
    steps = np.where(steps > GAP * _beside(steps), _beside(steps), steps)
    cell = np.maximum(steps, np.roll(steps, 1))
    apart = np.abs(model[:, None] - data)
    if axis == "x":
        apart = np.abs((apart + 180.0) % 360.0 - 180.0)
    reach = np.clip(_step(model) / 2, cell / 2, cell)
    return np.all(apart > reach + ROUNDING, axis=1)


def _extent(axis: str, data: Floats) -> str:
    """Return "0 .. 358", or "0 .. 20 and 340 .. 358" where there is a hole."""
    steps = _steps(axis, data)
    pieces = np.split(data, np.flatnonzero((steps > GAP * _beside(steps))[:-1]) + 1)
    return " and ".join(f"{piece[0]:g} .. {piece[-1]:g}" for piece in pieces)


# --- the doors -----------------------------------------------------------------------------------


def same_grid(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> bool:
    """Say whether `da` stands on this grid already, to a thousandth of a cell.

    Parameters
    ----------
    da
        Any array with coordinates ``y`` (latitude) and ``x`` (longitude), in degrees.
    latitude, longitude
        Cell centres in degrees; longitudes are compared modulo 360.

    Examples
    --------
    >>> da = xr.DataArray(np.zeros((2, 3)), dims=("y", "x"),
    ...                   coords={"y": [0.0, 5.0], "x": [345.0, 350.0, 355.0]})
    >>> same_grid(da, [0, 5], [-15, -10, -5]), same_grid(da, [0, 4], [-15, -10, -5])
    (True, False)
    """
    for axis, goal in (("y", latitude), ("x", longitude)):
        found, wanted = _centres(da[axis], axis), _centres(goal, axis)
        if found.shape != wanted.shape:
            return False
        apart = found - wanted
        if axis == "x":
            apart = (apart + 180.0) % 360.0 - 180.0
        if (np.abs(apart) > SAME * _step(wanted)).any():
            return False
    return True


def describe(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> str:
    """Say in a few words what both ways do to `da`, for the history; "" where that is nothing.

    Examples
    --------
    >>> da = xr.DataArray(np.zeros((90, 180)), dims=("y", "x"),
    ...                   coords={"y": np.arange(-89.0, 90, 2), "x": np.arange(0.0, 360, 2)})
    >>> describe(da, np.arange(-55, 61, 5), np.arange(95, 331, 5))  # doctest: +NORMALIZE_WHITESPACE
    'regridded from 2 x 2 to 5 x 5 degrees (conservative), forecast brought back (linear keeping
    cell means)'
    """
    if same_grid(da, latitude, longitude):
        return ""
    user = _centres(da["y"], "y"), _centres(da["x"], "x")
    model = _centres(latitude, "latitude"), _centres(longitude, "longitude")
    found, wanted = (" x ".join(f"{_step(axis):.3g}" for axis in grid) for grid in (user, model))
    there = " x ".join(dict.fromkeys(map(_method, user, model)))
    back = " x ".join(dict.fromkeys(name for _, name in map(_back, "yx", user, model)))
    return f"regridded from {found} to {wanted} degrees ({there}), forecast brought back ({back})"


def check_contains(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> None:
    """Raise ValueError unless prepared data holds the model's grid; reads no values.

    Every model cell centre must lie in a cell of the data, or, beyond the rim or in a hole, at most
    half a model cell and one cell of the data from the nearest centre of the data.

    Examples
    --------
    >>> da = xr.DataArray(np.zeros((11, 21)), dims=("y", "x"),
    ...                   coords={"y": np.arange(-20.0, 21, 4), "x": np.arange(190.0, 271, 4)})
    >>> check_contains(da, [-20, -10, 0, 10, 20], [190, 200, 210])
    >>> check_contains(da, [-60, 0, 60], [190, 200, 210])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: expected data that holds the model's grid, latitude -60 .. 60, ...
       found latitude -20 .. 20, longitude 190 .. 270; without latitude -60, 60
         try the field before any .sel() in latitude or longitude ...
    """
    extents, missing = [], []
    for axis, name, goal in (("y", "latitude", latitude), ("x", "longitude", longitude)):
        data, model = _centres(da[axis], axis), _centres(goal, name)
        extents.append((f"{name} {model[0]:g} .. {model[-1]:g}", f"{name} {_extent(axis, data)}"))
        far = model[_outside(axis, data, model)]
        if far.size:
            more = ", ..." if far.size > 4 else ""
            missing.append(f"{name} {', '.join(f'{v:g}' for v in far[:4])}{more}")
    if missing:
        wanted, found = (", ".join(both) for both in zip(*extents, strict=True))
        raise mismatch(
            f"data that holds the model's grid, {wanted} (cell centres)",
            f"{found}; without {'; '.join(missing)}",
            "the field before any .sel() in latitude or longitude (cut the answer instead), or a "
            "pack with a smaller grid: xef.list_packs()",
        )


def to_model(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> xr.DataArray:
    """Regrid prepared data onto the model's cell centres.

    An axis on which the model's cells are coarser than the data's, or equal, is averaged by
    overlapping area (conservative); one on which they are finer is interpolated (linear). NaN is
    land: a cell takes the mean of its ocean, and is NaN when less than half of it is ocean. Data
    round the globe is periodic in longitude; at any other rim the outermost cell counts once more,
    so that a centre up to half a model cell, and one cell of the data, outside is still served.

    Parameters
    ----------
    da
        Dims (..., "y", "x") in any order, coordinates ``y`` ascending latitude and ``x`` ascending
        longitude in [0, 360), as `xearthformer.fields.cf.prepare` gives them. Dask arrays stay lazy.
    latitude, longitude
        The model's cell centres in degrees, ascending; longitudes may run past 360 or below 0.

    Returns
    -------
    xarray.DataArray
        Dims (..., "y", "x") on those centres; name, attributes, dtype (float32 or float64), the
        other coordinates and their chunks as before. On the model's own grid the values are
        untouched.

    Raises
    ------
    ValueError
        The data does not hold the model's grid (see `check_contains`), or an axis doesn't ascend.

    Examples
    --------
    >>> da = xr.DataArray([[1.0, 3.0, 5.0, np.nan]] * 2, dims=("y", "x"),
    ...                   coords={"y": [0.0, 2.0], "x": [1.0, 3.0, 5.0, 7.0]})
    >>> to_model(da, [0, 2], [2, 6]).values.tolist()
    [[2.0, 5.0], [2.0, 5.0]]
    """
    check_contains(da, latitude, longitude)
    goal_y, goal_x = _centres(latitude, "latitude"), _centres(longitude, "longitude")
    if same_grid(da, goal_y, goal_x):
        out = da.transpose(..., "y", "x")
    else:
        y_weights = _there("y", _centres(da["y"], "y"), goal_y)
        x_weights = _there("x", _centres(da["x"], "x"), goal_x)
        out = _on_fields(_blend, da, y_weights, x_weights)
    return out.assign_coords(y=("y", goal_y, da["y"].attrs), x=("x", goal_x, da["x"].attrs))


def to_user(da: xr.DataArray, y: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """Bring fields on the model's grid back onto the user's cell centres: `to_model` undone.

    Linear between nodes at the model's cell centres, the nearest one within half a cell of the rim,
    NaN outside the model's cells. Along an axis that `to_model` averages, the nodes are such that
    the means of the model's cells stay: without land, `to_model` of the answer is `da`. They
    overshoot beside a step, by 0.2 of it (0.45 at a corner). Along any other axis, or where the
    cells of both are too nearly of one size for that, the nodes are the values of `da`. NaN in
    `da` (land) is filled from the nearest ocean first, so that coasts keep their values; the
    user's own land mask is for the caller to put back.

    Parameters
    ----------
    da
        Dims (..., "y", "x") in any order on the model's grid, as `to_model` gives it.
    y, x
        The user's prepared coordinates: ascending latitude, ascending longitude in [0, 360).

    Returns
    -------
    xarray.DataArray
        Dims (..., "y", "x") with coordinates `y` and `x`; the rest as in `da`. On the model's own
        grid the values are untouched.

    Examples
    --------
    >>> da = xr.DataArray([[3.0, 9.0], [3.0, 9.0]], dims=("y", "x"),
    ...                   coords={"y": [0.0, 4.0], "x": [10.0, 14.0]})
    >>> y = xr.DataArray([0.0, 4.0], dims="y")
    >>> x = xr.DataArray([7.0, 9.0, 11.0, 13.0, 15.0], dims="x")
    >>> fine = to_user(da, y, x)  # 9 and 11 have the mean 3, 13 and 15 the mean 9
    >>> fine.values[0].round(6).tolist()
    [nan, 2.0, 4.0, 8.0, 10.0]
    >>> to_model(fine, da.y, da.x).values[0].round(6).tolist()
    [3.0, 9.0]
    """
    goal_y, goal_x = _centres(y, "y"), _centres(x, "x")
    if same_grid(da, goal_y, goal_x):
        out = da.transpose(..., "y", "x")
    else:
        latitude, longitude = _centres(da["y"], "y"), _centres(da["x"], "x")
        y_weights, _ = _back("y", goal_y, latitude)
        x_weights, _ = _back("x", goal_x, longitude)

        def fill_and_blend(da_yx: NDArray, **weights: Floats) -> NDArray:
            return _blend(_fill_land(da_yx, latitude, longitude), **weights)

        out = _on_fields(fill_and_blend, da, y_weights, x_weights)
    return out.assign_coords(y=("y", y.to_numpy(), y.attrs), x=("x", x.to_numpy(), x.attrs))
