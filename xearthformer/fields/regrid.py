"""Onto the model's grid and back onto the user's: separable weights from xarray-regrid, land kept.

Both ways are two small matrices, one for latitude and one for longitude: M onto the model's cells
(`_forward`), and P back, for which M P = 1 (`_backward`). Each field is multiplied on its own, so
that the answer's bits do not depend on how the data is chunked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import mismatch

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Weights = TypeVar("Weights")

OCEAN_SHARE = 0.5  # a cell is ocean when at least this share of it is
GAP = 1.75  # a step this many times its smaller neighbour is a hole: one missing cell gives 2
SAME = 1e-3  # centres agree when they differ by less than this share of a cell
POLE = {"y": 90.0, "x": np.inf}  # no cell centre lies beyond it
ROUNDING = 1e-4  # degrees; a float32 longitude is good to 3e-5
NEGLIGIBLE = 1e-12  # a weight of less, or that is so near to 1, is rounding
STABLE = 4.0  # largest condition number to undo averaging by: 2.1 from 5 to 2 degrees, 2.9 to 4


@dataclass(frozen=True)
class Cells:
    """Cell centres of one axis in ascending order; longitudes may run past 360."""

    centres: Floats
    columns: NDArray[np.intp]  # which index of the data each of them is
    periodic: bool  # goes once round the globe


# --- the cells of an axis ------------------------------------------------------------------------


def _centres(values: ArrayLike, name: str) -> Floats:
    """Return cell centres as float64; fewer than two, or any that do not ascend, are an error."""
    centres = np.asarray(values, dtype=np.float64)
    if centres.ndim != 1 or centres.size < 2:
        raise mismatch(
            f"two or more cell centres along {name}",
            f"shape {centres.shape}",
            "a larger domain (cut the answer instead)",
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


def _steps(axis: str, centres: Floats) -> tuple[Floats, Floats]:
    """Return the step from each centre to the next, and the smaller one of its neighbours.

    The last step goes round the globe along x. A hole stands out against its neighbours.
    """
    steps = np.diff(centres, append=centres[0] + 360.0 if axis == "x" else np.inf)
    if steps[-1] <= 0:
        raise mismatch(
            "longitudes along x within one turn of the globe",
            f"{centres[0]:g} .. {centres[-1]:g}",
            "da.isel(x=slice(0, -1)), which drops the repeated column",
        )
    return steps, np.minimum(np.roll(steps, 1), np.roll(steps, -1))


def _cells(axis: str, centres: Floats, model: Floats) -> Cells:
    """Return the cells of one axis; longitudes unroll into the turn around the model's middle.

    Data for 340 .. 358 and 0 .. 20 comes sorted, as 0 .. 20 and 340 .. 358; around 0 it is
    -20 .. 20, in one piece: the seam is on the far side of the globe.
    """
    steps, neighbours = _steps(axis, centres)
    if axis == "x":
        seam = float(model[0] + model[-1]) / 2 - 180.0
        centres = seam + (centres - seam) % 360.0
    columns = np.argsort(centres)
    return Cells(centres[columns], columns, bool((steps <= GAP * neighbours).all()))


# --- weights -------------------------------------------------------------------------------------


def _remembered(
    function: Callable[[str, Floats, Floats], Weights],
) -> Callable[[str, Floats, Floats], Weights]:
    """Keep the weights of the last few pairs of axes: each block of a forecast asks for the same.

    They are not to be written to.
    """

    @lru_cache(maxsize=16)
    def of_bytes(axis: str, *centres: bytes) -> Weights:
        user, model = (np.frombuffer(each) for each in centres)
        return function(axis, user, model)

    @wraps(function)
    def of_arrays(axis: str, user: Floats, model: Floats) -> Weights:
        return of_bytes(axis, *(np.asarray(each, np.float64).tobytes() for each in (user, model)))

    return of_arrays


def _method(user: Floats, model: Floats) -> str:
    """Return "conservative" onto coarser or equal cells, "linear" onto finer ones."""
    return "conservative" if _step(model) >= _step(user) * (1 - SAME) else "linear"


def _weights(cells: Cells, target: Floats, axis: str, method: str) -> Floats:
    """Return the matrix (target cell, data cell) that regrids one axis; its rows sum to one.

    A periodic axis goes on round the globe as far as `target` may touch it; any other repeats its
    outermost cell once, up to the pole.
    """
    import xarray_regrid  # noqa: F401  (registers .regrid; here, as it takes a while)

    centres, columns = cells.centres, cells.columns
    if cells.periodic:
        margin = _step(np.sort(target)) + 2 * float(np.diff(centres).max())
        turns = np.concatenate([centres + turn for turn in (-360.0, 0.0, 360.0)])
        near = (turns >= target.min() - margin) & (turns <= target.max() + margin)
        centres, columns = turns[near], np.tile(columns, 3)[near]
    else:
        first, second, before_last, last = centres[[0, 1, -2, -1]]
        low, high = max(-POLE[axis], 2 * first - second), min(POLE[axis], 2 * last - before_last)
        added = int(low < first), int(high > last)  # none where the outermost cell is at the pole
        centres = np.concatenate([[low][: added[0]], centres, [high][: added[1]]])
        columns = np.pad(columns, added, mode="edge")
    # regridding the unit vectors gives the weights: a column per cell of the data
    one_hot = np.eye(cells.columns.size)[:, columns]
    unit = xr.DataArray(one_hot, dims=("cell", axis), coords={axis: centres})
    goal = xr.Dataset(coords={axis: np.clip(target, centres[0], centres[-1])})
    if method == "linear":
        weights = unit.regrid.linear(goal)
    else:
        latitude = "y" if axis == "y" else None  # areas shrink towards the poles
        weights = unit.regrid.conservative(goal, latitude_coord=latitude, skipna=False)
    return weights.transpose(axis, "cell").to_numpy()


@_remembered
def _forward(axis: str, user: Floats, model: Floats) -> Floats:
    """Return the weights M (model cell, user cell) of `to_model` along one axis."""
    return _weights(_cells(axis, user, model), model, axis, _method(user, model))


@_remembered
def _backward(axis: str, user: Floats, model: Floats) -> tuple[Floats, str]:
    """Return the weights P (user cell, model cell) of `to_user`, and their name.

    P = U inv(M U), with linear weights U, is linear between nodes such that the cells' means are
    the model's values: M P = 1. M counts only the user's cells inside the model's, for the answer
    is NaN in the others. Where M does not average, or where undoing it would blow up noise (cells
    of nearly the same size, out of step), P is U.
    """
    cells = _cells(axis, model, model)
    first, second, before_last, last = model[[0, 1, -2, -1]]
    low, high = first - (second - first) / 2, last + (last - before_last) / 2
    target = user
    if axis == "x":
        target = low - ROUNDING + (user - low + ROUNDING) % 360.0
    linear = _weights(cells, target, axis, "linear")
    if not cells.periodic:
        linear[(target < low - ROUNDING) | (target > high + ROUNDING)] = 0.0
    if _method(user, model) == "conservative":
        forward = _forward(axis, user, model) * linear.any(axis=1)
        means = forward @ linear / np.maximum(forward.sum(axis=1, keepdims=True), SAME)
        if np.linalg.cond(means) < STABLE:
            return linear @ np.linalg.inv(means), "linear keeping cell means"
    return linear, "linear"


# --- fields --------------------------------------------------------------------------------------


def ocean_means(
    values: NDArray[np.floating], shape: tuple[int, ...], mean: Callable[[NDArray], NDArray]
) -> NDArray:
    """Regrid fields (..., y, x) one by one in float64, each cell of `shape` the mean of its ocean.

    `mean` takes one field to its weighted means, with weights that sum to one at most. A cell of
    which less than `OCEAN_SHARE` is ocean is NaN, and so is one with no weights.
    """
    fields = values.reshape(-1, *values.shape[-2:])
    out = np.empty((len(fields), *shape), dtype=values.dtype)
    last_ocean: Mask | None = None
    share = np.zeros(shape)
    for k, field in enumerate(fields):
        ocean = ~np.isnan(field)
        if last_ocean is None or not np.array_equal(ocean, last_ocean):  # seldom: land stays
            last_ocean, share = ocean, mean(ocean.astype(np.float64))
        total = mean(np.where(ocean, field, 0).astype(np.float64))
        is_ocean = share >= OCEAN_SHARE - 1e-9  # half a cell is ocean, whatever its rounding
        out[k] = np.where(is_ocean, total / np.where(is_ocean, share, 1.0), np.nan)
    return out.reshape(*values.shape[:-2], *shape)


def _picked(weights: Floats) -> NDArray[np.intp] | None:
    """Return which cell each row of weights takes as it is, -1 for none; None if any row mixes.

    >>> _picked(np.array([[0.0, 1.0], [0.0, 0.0]])), _picked(np.array([[0.5, 0.5]]))
    (array([ 1, -1]), None)
    """
    taken = np.abs(weights) > NEGLIGIBLE
    if taken.sum(axis=1).max() > 1 or (np.abs(weights[taken] - 1) > NEGLIGIBLE).any():
        return None
    return np.where(taken.any(axis=1), taken.argmax(axis=1), -1)


def _multiply(values: NDArray[np.floating], y_weights: Floats, x_weights: Floats) -> NDArray:
    """Regrid fields (..., y, x) by two matrices; see `ocean_means`."""
    shape = len(y_weights), len(x_weights)
    rows, columns = _picked(y_weights), _picked(x_weights)
    if rows is not None and columns is not None:  # the same numbers, twice as fast
        out = np.full((*values.shape[:-2], *shape), np.nan, values.dtype)
        there = np.ix_(rows >= 0, columns >= 0)
        out[..., there[0], there[1]] = values[..., rows[rows >= 0][:, None], columns[columns >= 0]]
        return out
    return ocean_means(values, shape, lambda field: y_weights @ field @ x_weights.T)


def _fill_land(values: NDArray[np.floating], latitude: Floats, longitude: Floats) -> NDArray:
    """Give each NaN of fields (..., y, x) the value of the nearest cell that has one."""
    fields = values.reshape(-1, values.shape[-2] * values.shape[-1])
    if not np.isnan(fields).any():
        return values
    from scipy.spatial import cKDTree

    lat, lon = np.meshgrid(np.radians(latitude), np.radians(longitude), indexing="ij")
    # on the unit sphere: nearest along a chord is nearest along the ground
    xyz = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    points = np.stack([a.ravel() for a in xyz], axis=-1)
    missing = np.isnan(fields)
    out = fields.copy()
    # most often land is the same in all fields
    alike = (missing == missing[0]).all()
    for k in range(1 if alike else len(fields)):
        land, group = missing[k], slice(None) if alike else slice(k, k + 1)
        if land.all() or not land.any():
            continue
        nearest = np.flatnonzero(~land)[cKDTree(points[~land]).query(points[land])[1]]
        out[group, land] = fields[group, nearest]
    return out.reshape(values.shape)


def fill_coasts(da: xr.DataArray, sea: Mask) -> xr.DataArray:
    """Give cells of the sea that never have a value that of the nearest neighbour that has one.

    `da` (..., y, x) is on a model's grid, and `sea` (y, x) is that model's. Where coasts differ by
    a cell, data has land in the model's sea. A cell all of whose eight neighbours are NaN stays so,
    and so does one that is NaN at some times only: a gap in the data.

    >>> da = xr.DataArray([[1.0, np.nan, np.nan, np.nan]] * 2, dims=("y", "x"),
    ...                   coords={"y": [0.0, 5.0], "x": [0.0, 5.0, 10.0, 15.0]})
    >>> fill_coasts(da, np.ones((2, 4), bool)).values[0]
    array([ 1.,  1., nan, nan])
    """
    da = da.transpose(..., "y", "x")
    values = da.to_numpy()
    missing = np.isnan(values).all(axis=tuple(range(values.ndim - 2))) & sea
    if not missing.any():
        return da
    latitude, longitude = da["y"].values, da["x"].values
    apart = _step(latitude), _step(longitude) * np.cos(np.radians(np.median(latitude)))
    around = [(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i]
    around.sort(key=lambda shift: np.hypot(shift[0] * apart[0], shift[1] * apart[1]))
    others = [(0, 0)] * (values.ndim - 2)
    padded = np.pad(values, [*others, (1, 1), (1, 1)], constant_values=np.nan)
    if _cells("x", longitude, longitude).periodic:
        padded[..., [0, -1]] = padded[..., [-2, 1]]
    out = values.copy()
    rows, columns = values.shape[-2:]
    for j, i in around:
        beside = padded[..., 1 + j : 1 + j + rows, 1 + i : 1 + i + columns]
        out = np.where(missing & np.isnan(out), beside, out)
    return da.copy(data=out)


def _on_fields(
    function: Callable[..., NDArray], da: xr.DataArray, y_weights: Floats, x_weights: Floats
) -> xr.DataArray:
    """Call `function` on the (y, x) fields of `da` with these weights, block by block if lazy."""
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


def same_grid(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> bool:
    """Return whether the cell centres of `da` are these, modulo 360 and to a thousandth of a cell.

    >>> da = xr.DataArray(np.zeros((2, 3)), dims=("y", "x"),
    ...                   coords={"y": [0.0, 5.0], "x": [345.0, 350.0, 355.0]})
    >>> same_grid(da, [0, 5], [-15, -10, -5]), same_grid(da, [0, 4], [-15, -10, -5])
    (True, False)
    """
    for axis, goal in (("y", latitude), ("x", longitude)):
        data, model = _centres(da[axis], axis), _centres(goal, axis)
        if data.shape != model.shape:
            return False
        apart = data - model
        if axis == "x":
            apart = (apart + 180.0) % 360.0 - 180.0
        if (np.abs(apart) > SAME * _step(model)).any():
            return False
    return True


def describe(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> str:
    """Return in words how `da` is regridded both ways, for `history`; "" if it is not.

    >>> da = xr.DataArray(np.zeros((90, 180)), dims=("y", "x"),
    ...                   coords={"y": np.arange(-89.0, 90, 2), "x": np.arange(0.0, 360, 2)})
    >>> describe(da, np.arange(-55, 61, 5), np.arange(95, 331, 5))  # doctest: +NORMALIZE_WHITESPACE
    'regridded from 2 x 2 to 5 x 5 degrees (conservative), forecast brought back (linear keeping
    cell means)'
    """
    if same_grid(da, latitude, longitude):
        return ""
    user = [_centres(da[axis], axis) for axis in "yx"]
    model = [_centres(latitude, "y"), _centres(longitude, "x")]
    if all(map(_among, "yx", user, model)):
        return ""  # a cut: the values of the cells stay
    found, wanted = (" x ".join(f"{_step(axis):.3g}" for axis in grid) for grid in (user, model))
    there = " x ".join(dict.fromkeys(map(_method, user, model)))
    back = " x ".join(dict.fromkeys(name for _, name in map(_backward, "yx", user, model)))
    return f"regridded from {found} to {wanted} degrees ({there}), forecast brought back ({back})"


def _among(axis: str, user: Floats, model: Floats) -> bool:
    """Return whether the model's cells along an axis are some of the user's."""
    apart = np.abs(model[:, None] - user)
    if axis == "x":
        apart = np.abs((apart + 180.0) % 360.0 - 180.0)
    same_size = abs(_step(user) - _step(model)) <= ROUNDING
    return same_size and bool((apart.min(axis=1) <= ROUNDING).all())


def check_contains(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> None:
    """Raise ValueError unless prepared data holds the model's grid; no values are read.

    Every model cell centre must lie in a cell of the data, or, beyond the edge or in a hole, at
    most half a model cell and one cell of the data from the nearest centre of the data.

    >>> da = xr.DataArray(np.zeros((11, 21)), dims=("y", "x"),
    ...                   coords={"y": np.arange(-20.0, 21, 4), "x": np.arange(190.0, 271, 4)})
    >>> check_contains(da, [-20, -10, 0, 10, 20], [190, 200, 210])
    >>> check_contains(da, [-60, 0, 60], [190, 200, 210])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: expected data that holds the model's grid, latitude -60 .. 60, ...
       found latitude -20 .. 20, longitude 190 .. 270; without latitude -60, 60
         try the field before it was cut in latitude or longitude ...
    """
    wanted, found, missing = [], [], []
    for axis, name, goal in (("y", "latitude", latitude), ("x", "longitude", longitude)):
        data, model = _centres(da[axis], axis), _centres(goal, name)
        steps, neighbours = _steps(axis, data)
        holes = steps > GAP * neighbours
        pieces = np.split(data, np.flatnonzero(holes[:-1]) + 1)
        wanted.append(f"{name} {model[0]:g} .. {model[-1]:g}")
        found.append(f"{name} " + " and ".join(f"{p[0]:g} .. {p[-1]:g}" for p in pieces))
        steps = np.where(holes, neighbours, steps)
        cell = np.maximum(steps, np.roll(steps, 1))
        apart = np.abs(model[:, None] - data)  # (model cell, data cell)
        if axis == "x":
            apart = np.abs((apart + 180.0) % 360.0 - 180.0)
        farthest = np.clip(_step(model) / 2, cell / 2, cell)
        outside = model[np.all(apart > farthest + ROUNDING, axis=1)]
        if outside.size:
            more = ", ..." if outside.size > 4 else ""
            missing.append(f"{name} {', '.join(f'{v:g}' for v in outside[:4])}{more}")
    if missing:
        raise mismatch(
            f"data that holds the model's grid, {', '.join(wanted)} (cell centres)",
            f"{', '.join(found)}; without {'; '.join(missing)}",
            "the field before it was cut in latitude or longitude (cut the answer instead), or a "
            "pack with a smaller grid: xef.list_packs()",
        )


# --- there and back ------------------------------------------------------------------------------


def to_model(da: xr.DataArray, latitude: ArrayLike, longitude: ArrayLike) -> xr.DataArray:
    """Regrid prepared data (..., y, x) onto the model's cell centres; `to_user` is the way back.

    An axis on which the model's cells are coarser than the data's, or equal, is averaged by
    overlapping area (conservative); one on which they are finer is interpolated (linear). NaN is
    land: a cell is the mean of its ocean, and NaN when less than half of it is ocean. Data round
    the globe is periodic in longitude; at any other edge the outermost cell counts once more, so
    that a centre up to half a model cell, and one cell of the data, outside is still served.

    `latitude` and `longitude` ascend, in degrees; longitudes may run past 360 or below 0. Dims may
    come in any order; name, attributes, dtype (float32 or float64), other coordinates, chunks and
    laziness stay, and on the model's own grid the values do. An axis that does not ascend and
    data that does not hold the model's grid (`check_contains`) raise ValueError.

    >>> da = xr.DataArray([[1.0, 3.0, 5.0, np.nan]] * 2, dims=("y", "x"),
    ...                   coords={"y": [0.0, 2.0], "x": [1.0, 3.0, 5.0, 7.0]})
    >>> to_model(da, [0, 2], [2, 6]).values.tolist()
    [[2.0, 5.0], [2.0, 5.0]]
    """
    check_contains(da, latitude, longitude)
    y, x = _centres(latitude, "y"), _centres(longitude, "x")
    if same_grid(da, y, x):
        out = da.transpose(..., "y", "x")
    else:
        user = [_centres(da[axis], axis) for axis in "yx"]
        out = _on_fields(_multiply, da, *map(_forward, "yx", user, (y, x)))
    return out.assign_coords(y=("y", y, da["y"].attrs), x=("x", x, da["x"].attrs))


def to_user(da: xr.DataArray, y: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """Bring fields on the model's grid back onto the user's cell centres; undoes `to_model`.

    Linear between nodes at the model's cell centres, the nearest one within half a cell of the
    edge, NaN outside the model's cells. Along an axis that `to_model` averages, the nodes are such
    that the means of the model's cells stay: without land, `to_model` of the answer is `da`. They
    overshoot next to a step, by 0.2 of it (0.45 at a corner). Along any other axis, or where the
    cells of both are too nearly of one size for that, the nodes are the values of `da`. NaN in
    `da` (land) is filled from the nearest ocean first, so that coasts keep their values; the
    user's own land mask is for the caller to put back.

    The grid of `da` (..., y, x) is the model's, as `to_model` returns it; `y` and `x` are the
    user's prepared coordinates: ascending latitude, ascending longitude in [0, 360). All else stays
    as in `da`, and so do the values on the model's own grid.

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
    user = _centres(y, "y"), _centres(x, "x")
    if same_grid(da, *user):
        out = da.transpose(..., "y", "x")
    else:
        model = [_centres(da[axis], axis) for axis in "yx"]
        (y_weights, _), (x_weights, _) = map(_backward, "yx", user, model)

        def fill_and_multiply(values: NDArray, **weights: Floats) -> NDArray:
            return _multiply(_fill_land(values, *model), **weights)

        out = _on_fields(fill_and_multiply, da, y_weights, x_weights)
    return out.assign_coords(y=("y", y.to_numpy(), y.attrs), x=("x", x.to_numpy(), x.attrs))
