"""The commands forecast and hindcast: a file or store of data in, forecasts out."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..datasets.local import open_file
from .files import check_target, find_data, parse_inits, write_file

if TYPE_CHECKING:
    import xarray as xr

# The fields of `inference.options.Options` but guidance, which `sigmas` stands for: cli.OPTIONS.
Options = Any


def forecast_file(
    input: str,
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    sigmas: float | None = None,
    overwrite: bool = False,
    **options: Options,
) -> None:
    """Forecast a NetCDF file or Zarr store with a pack, and write the same kind of file."""
    started = time.perf_counter()
    target = check_target(output, overwrite)
    from ..packs.pack import open_pack

    opened = open_pack(pack)  # before torch is loaded: an unknown name is an error at once
    with open_file(input) as ds:
        da = find_data(ds, opened, variable, anomaly)
        from ..inference.forecast import forecast

        options["guidance"] = _guidance(sigmas)
        fc = forecast(da, opened, init=parse_inits(init), **options)
        write_file(fc.to_dataset().assign_attrs({"Conventions": "CF-1.8", **ds.attrs}), target)
    print(f"{target}: {_sizes(fc)} of {fc.name} by {opened.card.name}, {_elapsed(started)}")


def hindcast_file(
    input: str,
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    sigmas: float | None = None,
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
    if output.endswith((".nc", ".zip")):
        raise ValueError(f"output: expected a Zarr store (a folder or a URL), found {output}")
    from ..packs.pack import open_pack

    opened = open_pack(pack)
    with open_file(input) as ds:
        da = find_data(ds, opened, variable, anomaly)
        from ..hindcasts.hindcast import hindcast

        inits = slice(None) if init is None else parse_inits(init)
        # a variable that the pack finds by itself brings the file's attributes with it
        data = da if variable else da.to_dataset().assign_attrs(ds.attrs)
        options |= {"guidance": _guidance(sigmas), "chunks": chunks, "on_error": on_error}
        result = hindcast(data, opened, output, init=inits, **options)
    print(f"{output}: {_sizes(result)} of {da.name} by {opened.card.name}, {_elapsed(started)}")
    if "incomplete" in result.attrs:
        print(result.attrs["incomplete"])


def _guidance(sigmas: float | None) -> object:
    from ..inference.guidance import anticipated_intensity

    return None if sigmas is None else anticipated_intensity(sigmas=sigmas)


def _sizes(fc: "xr.DataArray | xr.Dataset") -> str:
    """Return the numbers of inits, leads and members, in words.

    >>> import xarray as xr
    >>> _sizes(xr.DataArray(range(3), dims="init").expand_dims(lead=2))
    '3 x 2 (init x lead)'
    """
    dims = [dim for dim in ("init", "lead", "member") if dim in fc.dims]
    return f"{' x '.join(str(fc.sizes[dim]) for dim in dims)} ({' x '.join(dims)})"


def _elapsed(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"
