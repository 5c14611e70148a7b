"""The commands forecast and hindcast: a file or store of data in, forecasts out."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from ..datasets.local import is_remote
from ..fields.cf import file_of_forecasts
from ..verification.request import Products
from .files import (
    FORECASTS,
    RASTERS,
    Radar,
    as_option,
    check_apart,
    check_raster,
    check_target,
    open_data,
    parse_inits,
    paths_read,
    write_forecast,
)

# The fields of `inference.options.Options`; `sigmas` stands for guidance: cli.OPTION_TYPES.
Options = Any


def forecast_file(
    input: Sequence[str],
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    sigmas: float | None = None,
    radar: Radar,
    products: Products,
    overwrite: bool = False,
    **options: Options,
) -> None:
    """Forecast files with a pack, and write a NetCDF file, a Zarr store, GeoTIFF or ODIM files."""
    started = time.perf_counter()
    target = check_target(output, overwrite, input, FORECASTS)
    products.check(target, as_option(target.with_suffix(".nc")))
    from ..packs.pack import open_pack

    opened = open_pack(pack)  # before torch is loaded: an unknown name is an error at once
    with open_data(input, opened, variable, anomaly, radar) as (da, attrs):
        if len(opened.card.outputs) == 1 or variable:
            check_raster(da, target, as_option(target.with_suffix(".nc")))
        from ..inference.forecast import forecast

        options["guidance"] = _guidance(sigmas)
        fc = forecast(da, opened, init=parse_inits(init), **options)  # type: ignore[type-var]
        result = products.of(fc)
        result.attrs = file_of_forecasts(attrs, _as_dataset(fc).data_vars.values())
        written = write_forecast(result, target)
    names = " and ".join(map(str, result.data_vars))
    where = str(target) if written == [str(target)] else f"{written[0]} .. ({len(written)} files)"
    print(f"{where}: {_sizes(result)} of {names} by {opened.card.name}, {_elapsed(started)}")


def hindcast_file(
    input: Sequence[str],
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    sigmas: float | None = None,
    radar: Radar,
    products: Products,
    chunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    **options: Options,
) -> None:
    """Forecast from many inits into a Zarr store; killed and called again, go on where it stopped.

    Parameters
    ----------
    chunks : int
        Inits per Zarr chunk; one when not given.
    """
    started = time.perf_counter()
    if output.endswith((".nc", ".zip", *RASTERS)):
        raise ValueError(f"output: expected a Zarr store (a folder or a URL), found {output}")
    if not is_remote(output):
        check_apart(Path(os.path.expanduser(output)), paths_read(input))
    from ..packs.pack import open_pack

    opened = open_pack(pack)
    with open_data(input, opened, variable, anomaly, radar) as (da, attrs):
        from ..hindcasts.hindcast import hindcast

        # a variable that the pack finds by itself brings the file's attributes with it
        data = da if variable else _as_dataset(da).assign_attrs(attrs)
        options |= {"guidance": _guidance(sigmas), "chunks": chunks, "on_error": on_error}
        result = hindcast(
            data, opened, output, init=parse_inits(init), products=products, **options
        )
    names = " and ".join(map(str, _as_dataset(result).data_vars))
    print(f"{output}: {_sizes(result)} of {names} by {opened.card.name}, {_elapsed(started)}")
    if "incomplete" in result.attrs:
        print(result.attrs["incomplete"])


def _as_dataset(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Return a Dataset as it is, and a DataArray as the one variable of one."""
    return data if isinstance(data, xr.Dataset) else data.to_dataset()


def _guidance(sigmas: float | None) -> object:
    from ..inference.guidance import anticipated_intensity

    return None if sigmas is None else anticipated_intensity(sigmas=sigmas)


def _sizes(fc: xr.DataArray | xr.Dataset) -> str:
    """Return the numbers of inits, leads and members, in words.

    >>> _sizes(xr.DataArray(range(3), dims="init").expand_dims(lead=2))
    '3 x 2 (init x lead)'
    """
    dims = [dim for dim in ("init", "lead", "member") if dim in fc.dims]
    return f"{' x '.join(str(fc.sizes[dim]) for dim in dims)} ({' x '.join(dims)})"


def _elapsed(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"
