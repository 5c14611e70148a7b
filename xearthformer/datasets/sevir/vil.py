"""Vertically integrated liquid in SEVIR: bytes to kg m-2 and back, and the form of SEVIR-LR."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from ...errors import mismatch
from ...fields.cf import new_values
from ...fields.quantities import Labelled, on_each

# The byte scale X: nothing up to ZERO, linear up to LINEAR, logarithmic above it.
ZERO, LINEAR, LAST = 5, 18, 254
SLOPE, OFFSET = 90.66, 2.0
LOG_SLOPE, LOG_OFFSET = 38.9, 83.9
MISSING = 255
DIGITS = 3  # of a code from kg m-2: more than float32 holds, and whole codes come back whole

# Liquid water over a rain of R mm/h, in kg m-2: 3.44e-6 Z^(4/7) a metre (Greene and Clark 1972,
# Mon. Wea. Rev. 100, 548-552), Z = 200 R^1.6, in a column of 4 km at 1 mm/h, of 8 km at 100 mm/h.
WATER, WATER_POWER = 0.284, 1.065
RAIN = {"standard_name": "rainfall_rate", "long_name": "rain rate", "units": "mm h-1"}
# Attributes that a conversion keeps: where the data lies, and where a forecast comes from.
KEPT_ATTRS = (
    "grid_mapping",
    "history",
    "pack",
    "pack_version",
    "pack_weights_sha256",
    "pack_card_sha256",
)

# From SEVIR to SEVIR-LR: every second frame, and the largest of each 3 x 3 pixels.
FRAME_STEP, PIXELS = 2, 3


def vil_to_kg_m2(vil: xr.DataArray) -> xr.DataArray:
    """Convert SEVIR's byte scale to vertically integrated liquid in kg m-2.

    Parameters
    ----------
    vil : DataArray
        Codes 0 to 254 with the attribute units "1", whole or (a forecast) between; NaN, or 255
        among integers, where missing.

    Returns
    -------
    DataArray
        float32, lazy if `vil` is; NaN where missing. 0 up to code 5, (X - 2) / 90.66 up to 18,
        exp((X - 83.9) / 38.9) above.

    Raises
    ------
    ValueError
        Units other than "1".

    Examples
    --------
    >>> codes = xr.DataArray(np.array([5, 16, 74, 219, 255], "u1"), dims="x", attrs={"units": "1"})
    >>> vil_to_kg_m2(codes).values.round(3)
    array([ 0.   ,  0.154,  0.775, 32.234,    nan], dtype=float32)
    """
    _check_units(vil, "1", "vil_to_kg_m2")
    return _convert(vil, _to_kg_m2, "kg m-2", "vertically integrated liquid")


def kg_m2_to_vil(kg_m2: xr.DataArray) -> xr.DataArray:
    """Convert vertically integrated liquid in kg m-2 to SEVIR's byte scale; undoes vil_to_kg_m2.

    Parameters
    ----------
    kg_m2 : DataArray
        With the attribute units "kg m-2", else ValueError.

    Returns
    -------
    DataArray
        float32, lazy if `kg_m2` is. Codes from 6 on come back whole; 0 stands for codes 0 to 5.

    Examples
    --------
    >>> kg_m2 = xr.DataArray([0.0, 0.775, 32.234], dims="x", attrs={"units": "kg m-2"})
    >>> kg_m2_to_vil(kg_m2).values.round(1)
    array([  0.,  74., 219.], dtype=float32)
    """
    _check_units(kg_m2, "kg m-2", "kg_m2_to_vil")
    return _convert(kg_m2, _to_code, "1", "vertically integrated liquid, on SEVIR's byte scale")


def vil_of_rain(rate: xr.DataArray) -> xr.DataArray:
    """Estimate vertically integrated liquid from a rain rate, on SEVIR's byte scale, 0 to 254.

    A rough relation: 3.44e-6 Z^(4/7) kg m-3 of water (Greene and Clark 1972) where Z = 200 R^1.6,
    in a column of 4 km at 1 mm/h and of 8 km at 100 mm/h.

    Parameters
    ----------
    rate : DataArray
        With the attribute units "mm h-1", else ValueError.

    Returns
    -------
    DataArray
        `vil`, float32, lazy if `rate` is; NaN where missing.

    Examples
    --------
    >>> rate = xr.DataArray([0, 0.1, 1, 10, 100, 1000], dims="x", attrs={"units": "mm h-1"})
    >>> vil_of_rain(rate).values.round()
    array([  0.,   4.,  35., 130., 226., 254.], dtype=float32)
    """
    _check_units(rate, "mm h-1", "vil_of_rain", "a rain rate")
    mass = (WATER * rate**WATER_POWER).assign_attrs(rate.attrs, units="kg m-2")
    return kg_m2_to_vil(mass).clip(max=LAST, keep_attrs=True).rename("vil")


def rain_of_vil(vil: xr.DataArray) -> xr.DataArray:
    """Estimate the rain rate in mm/h from vertically integrated liquid; undoes `vil_of_rain`.

    With it a pack of rain rates can be used on SEVIR. What is aloft need not reach the ground, nor
    at once.

    Parameters
    ----------
    vil : DataArray
        On SEVIR's byte scale, with the attribute units "1", else ValueError.

    Examples
    --------
    >>> vil = xr.DataArray([0.0, 35.0, 130.0], dims="x", attrs={"units": "1"})
    >>> rain_of_vil(vil).values.round(1)
    array([0. , 1. , 9.9], dtype=float32)
    """
    rate = (vil_to_kg_m2(vil) / WATER) ** (1 / WATER_POWER)
    return rate.astype(np.float32).assign_attrs(RAIN, **_kept_attrs(vil)).rename("rain_rate")


def _kept_attrs(da: xr.DataArray) -> dict[str, str]:
    return {key: da.attrs[key] for key in KEPT_ATTRS if key in da.attrs}


def _check_units(da: xr.DataArray, units: str, function: str, what: str = "vil") -> None:
    if not isinstance(da, xr.DataArray):
        hint = f'xef.{function}(ds["vil"])'
        raise TypeError(str(mismatch(f"a DataArray for {function}", type(da).__name__, hint)))
    found = da.attrs.get("units")
    if found != units:
        words = f"units {found!r}" if found else "no attribute units"
        hint = f'da.assign_attrs(units="{units}")'
        raise mismatch(f"{what} in {units!r} for {function}", words, hint)


def _convert(
    da: xr.DataArray, function: Callable[[np.ndarray], np.ndarray], units: str, long_name: str
) -> xr.DataArray:
    out = xr.apply_ufunc(
        function, da, keep_attrs=True, dask="parallelized", output_dtypes=[np.float32]
    )
    # the source's other attributes (valid_range, scale_factor, ...) are of its own units
    out.attrs = {"long_name": long_name, "units": units, **_kept_attrs(da)}
    return out


def _to_kg_m2(code: np.ndarray) -> np.ndarray:
    x = np.asarray(code, np.float64)
    if np.asarray(code).dtype.kind in "iu":  # bytes that xarray has not masked
        x = np.where(code == MISSING, np.nan, x)
    out = np.where(x <= LINEAR, (x - OFFSET) / SLOPE, np.exp((x - LOG_OFFSET) / LOG_SLOPE))
    return np.where(x <= ZERO, 0, out).astype(np.float32)


def _to_code(kg_m2: np.ndarray) -> np.ndarray:
    v = np.asarray(kg_m2, np.float64)
    # the two branches leave a gap of values between their ends: these become LINEAR
    below = np.minimum(v * SLOPE + OFFSET, LINEAR)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.log(v) * LOG_SLOPE + LOG_OFFSET
    out = np.where(above > LINEAR, above, below)
    return np.where(v <= 0, 0, out).round(DIGITS).astype(np.float32)


def to_sevir_lr(vil: Labelled) -> Labelled:
    """Reduce SEVIR's vil to SEVIR-LR: every second frame, the largest of each 3 x 3 pixels.

    Parameters
    ----------
    vil : DataArray, or Dataset of it
        Dims time, y, x and any others; y and x multiples of 3. On either scale.

    Returns
    -------
    DataArray or Dataset, like `vil`
        384 x 384 pixels of 1 km and 49 frames become 128 x 128 of 3 km and 25 of 10 minutes; lazy
        if `vil` is. Missing where any of the 9 pixels is. The coordinates are those of the central
        pixel.

    Raises
    ------
    ValueError
        A dim is missing; y or x is no multiple of 3; other sensors next to vil.

    Examples
    --------
    >>> vil = xr.DataArray(np.arange(27.0).reshape(3, 3, 3), dims=("time", "y", "x"))
    >>> to_sevir_lr(vil).values.ravel()
    array([ 8., 26.])
    """
    if isinstance(vil, xr.Dataset):
        _check_alone(vil)
    return on_each(vil, _low_resolution, ("time", "y", "x"))


def _check_alone(ds: xr.Dataset) -> None:
    """Other sensors would keep every frame, vil every second."""
    others = [str(name) for name, da in ds.items() if not {"y", "x"} <= {*da.dims}]
    if others:
        raise mismatch("a Dataset of vil alone", f"also {', '.join(others)}", 'ds[["vil"]]')


def _low_resolution(vil: xr.DataArray) -> xr.DataArray:
    sizes = {str(dim): size for dim, size in vil.sizes.items()}
    if "time" not in sizes or any(sizes.get(dim, 1) % PIXELS for dim in ("y", "x")):
        found = ", ".join(f"{dim} {size}" for dim, size in sizes.items())
        raise mismatch(f"time, and y and x of a multiple of {PIXELS} pixels", found, "SEVIR's vil")
    frames = vil.isel(time=slice(None, None, FRAME_STEP))
    middle = {dim: slice(PIXELS // 2, None, PIXELS) for dim in ("y", "x")}
    # np.max, as xarray's own maximum would skip missing pixels
    largest = frames.variable.coarsen({"y": PIXELS, "x": PIXELS}, func=np.max)
    line = "xearthformer: every second frame, the largest of each 3 x 3 pixels (SEVIR-LR)"
    out = frames.isel(middle).copy(data=largest.data)
    return new_values(out, vil, line)
