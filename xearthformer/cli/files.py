"""What the commands share: variables picked from a file, files written whole, times from words."""

import glob
import os
import sys
import warnings
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import xarray as xr

from ..aside import written_aside
from ..climate import climatology
from ..datasets.local import holds_zarr, is_remote, open_files
from ..errors import did_you_mean, mismatch
from ..fields import quantities
from ..fields.axes import find_curvilinear, find_time
from ..fields.cf import unfilled, with_grid_mapping
from ..fields.curvilinear import to_latlon
from ..fields.forms import in_plain_form
from ..fields.time_axis import whole_years
from ..fields.time_bounds import with_middles

if TYPE_CHECKING:
    from ..packs.card import Card
    from ..packs.pack import Pack

RASTERS = (".tif", ".h5")  # pictures on a map: GeoTIFF and ODIM
FORECASTS = (".nc", ".zarr", *RASTERS)


def parse_inits(labels: Sequence[str] | None) -> str | list[str] | slice | None:
    """Return the argument `init` of `forecast` from the words of the command line.

    >>> parse_inits(["1997-06"]), parse_inits(["2000/2009"]), parse_inits(["1997-06", "1998-06"])
    ('1997-06', slice('2000', '2009', None), ['1997-06', '1998-06'])
    >>> parse_inits(["2000/2009/12"])
    slice('2000', '2009', 12)
    """
    if not labels:
        return None
    first, *span = labels[0].split("/")
    if len(labels) == 1 and not span:
        return first
    if not any("/" in label for label in labels):
        return list(labels)
    last, *step = span or [""]
    if len(labels) > 1 or len(step) > 1 or not all(text.isdecimal() for text in step):
        found = " ".join(labels)
        raise ValueError(f"--init takes one span A/B, or A/B/N, or times; found {found}")
    return slice(first or None, last or None, *map(int, step))


@contextmanager
def open_data(
    paths: Sequence[str],
    pack: "Pack",
    variable: str | None,
    anomaly: tuple[str, str] | None,
    radar: "Radar",
) -> Iterator[tuple[xr.DataArray | xr.Dataset, Mapping[Hashable, object]]]:
    """Open what a pack reads, and yield it with the attributes of its file: see `find_data`.

    Radar files of any format are opened as rain, unless a variable is named.
    """
    quantity = pack.card.input.standard_name
    if quantity is None and radar.given:  # of a pack that takes anything
        quantity = quantities.RAIN
    is_rain = quantity == quantities.RAIN and len(pack.card.inputs) == 1
    if is_rain and variable is None:
        yield open_rain(paths, radar), {}
        return
    if radar.given:
        found = f"the variable {variable}" if variable else f"pack {pack.card.name!r}"
        raise mismatch(f"rain, for {radar.given}", found, "the same without")
    with open_files(paths) as ds:
        yield find_data(in_plain_form(ds), pack, variable, anomaly), ds.attrs


@dataclass(frozen=True)
class Radar:
    """What `open_radar` is told of files, and the time step that their rain is brought to."""

    step: str | None = None
    zr: Sequence[float] | None = None
    missing: Sequence[float] | None = None
    zero_below: float | None = None
    skip_broken: bool = False

    @property
    def given(self) -> str:
        """The options that were given, in the words of the command line."""
        options = {
            "--step": self.step,
            "--zr": self.zr,
            "--missing": self.missing,
            "--zero-below": self.zero_below,
            "--skip-broken": self.skip_broken or None,
        }
        return " and ".join(name for name, value in options.items() if value is not None)


def open_rain(paths: Sequence[str], radar: Radar) -> xr.DataArray:
    """Open radar files of any format as rain, at a time step."""
    from ..datasets.radar.open import open_radar

    rain = open_radar(
        paths[0] if len(paths) == 1 else list(paths),
        zr=None if radar.zr is None else (radar.zr[0], radar.zr[1]),
        missing=radar.missing,
        zero_below=radar.zero_below,
        on_error="skip" if radar.skip_broken else "raise",
    )
    if radar.step is None:
        return rain
    from ..inference.time_step import to_step

    return to_step(rain, radar.step)


def find_data(
    ds: xr.Dataset, pack: "Pack", variable: str | None, anomaly: tuple[str, str] | None
) -> xr.DataArray | xr.Dataset:
    """Return the variable of this name, or the one that the pack forecasts; see select_variable.

    For a pack of several variables the whole Dataset, its absolute values made anomalies.
    """
    if len(pack.card.inputs) > 1 and variable is None:
        data = ds if anomaly is None else take_anomalies(ds, anomaly)
        cells = quantities.of_cells(data)
        for name, da in data.data_vars.items():
            if da.ndim > 2 and name not in cells:
                check_anomaly(da, pack.card)
        return data
    quantity = pack.card.input
    # an anomaly from `anomaly` is still to be computed: look for the absolute values
    difference = quantity.difference and anomaly is None
    name = variable or quantities.find_variable(
        ds, standard_name=quantity.standard_name, difference=difference
    )
    da = select_variable(ds, name, anomaly)
    check_anomaly(da, pack.card)
    from ..packs.card import LatLonGrid  # with pydantic, of which `--help` needs none

    grid = pack.card.grid
    if isinstance(grid, LatLonGrid) and all(find_curvilinear(da)):
        da = to_latlon(da, grid.latitude, grid.longitude, ds)  # by the cells' bounds, in ds alone
    return da


def check_anomaly(da: xr.DataArray, card: "Card") -> None:
    """Raise ValueError, with the option that mends it, where a pack of anomalies finds none.

    The library's own error says it in Python, and does not know the years of the file.
    """
    if not card.input.difference or quantities.is_difference(da):
        return
    first, last = whole_years(da[find_time(da)])
    start, end = card.baseline.period if card.baseline else ("1981", "2010")
    if not first <= int(start) <= int(end) <= last:  # else the latest thirty years of the file
        start, end = str(max(first, last - 29)), str(last)
    raise mismatch(
        f"an anomaly (pack {card.name!r})",
        f"absolute values of {da.name}, by the attributes of the file",
        f"--anomaly {start} {end}",
    )


def take_anomalies(ds: xr.Dataset, anomaly: tuple[str, str]) -> xr.Dataset:
    """Return a Dataset whose variables on a grid are anomalies from these years."""
    cells = quantities.of_cells(ds)
    absolute = [
        str(name)
        for name, da in ds.data_vars.items()
        if da.ndim > 2 and da.dtype.kind == "f" and name not in cells
        if not quantities.is_difference(da)
    ]
    return ds.assign({name: select_variable(ds, name, anomaly) for name in absolute})


def select_variable(ds: xr.Dataset, name: str, anomaly: tuple[str, str] | None) -> xr.DataArray:
    """Return a variable; with `anomaly`, its anomaly from the climatology of these years."""
    if name not in ds.data_vars:
        found = ", ".join(map(str, ds.data_vars)) or "none"
        found += did_you_mean(name, map(str, ds.data_vars))
        raise ValueError(f"expected a variable {name!r} in the input, found {found}")
    da = with_middles(ds[name], ds)  # bounds of time are in ds alone
    if anomaly is None:
        return da
    return climatology.anomaly_with_cycle(da, anomaly)


def check_target(
    output: str,
    overwrite: bool,
    inputs: Sequence[str],
    kinds: Sequence[str] = (".nc", ".zarr"),
) -> Path:
    """Return the path to write; called before anything is computed, so that errors come at once.

    One that is among the inputs, or the files of their patterns and folders, is an error.
    """
    if is_remote(output):
        raise ValueError(f"output: expected a file or store of this machine, found {output}")
    path = Path(os.path.expanduser(output))
    if path.suffix not in kinds:
        expected = " or ".join(
            f"store{kind}" if kind == ".zarr" else f"file{kind}" for kind in kinds
        )
        raise ValueError(f"output: expected {expected}, found {output}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent}: mkdir -p {quote(str(path.parent))}")
    taken = [path] if path.exists() else []
    if path.suffix in RASTERS:  # names get init and lead
        taken += sorted(path.parent.glob(f"{glob.escape(path.stem)}_*{path.suffix}"))
    read = paths_read(inputs)
    if own := [one for one in taken if one.resolve() in read]:
        raise FileExistsError(f"{own[0]} is read, and stays: name another")
    check_apart(path, read)
    if taken and not overwrite:
        raise FileExistsError(f"{taken[0]} is there already: name another, or add --overwrite")
    # --overwrite replaces files of ours only: never a folder that merely ends in .zarr
    if path.exists() and not (holds_zarr(path) if path.suffix == ".zarr" else path.is_file()):
        raise FileExistsError(f"{path} is no {path.suffix} of xarray's and stays: name another")
    return path


def check_apart(path: Path, read: Collection[Path]) -> None:
    """Raise for a target in a folder that is read: next time it would be read as data."""
    if path.parent.resolve() in read and not holds_zarr(path.parent):  # groups are apart
        raise FileExistsError(f"all in the folder {path.parent} is read: name another")


def paths_read(inputs: Sequence[str]) -> set[Path]:
    """Return what is read: files and folders, and the files of patterns."""
    given = [os.path.expanduser(text) for text in inputs]  # as xarray does
    return {Path(one).resolve() for text in given for one in (text, *glob.glob(text))}


def as_option(path: Path) -> str:
    """Return the option that names a target, as a shell takes it."""
    return f"-o {quote(str(path))}"


def check_raster(data: xr.DataArray | xr.Dataset, path: Path, hint: str) -> None:
    """Raise ValueError, before anything is computed, for data that GeoTIFF or ODIM can't hold."""
    if path.suffix not in RASTERS:
        return
    from ..datasets.radar.geotiff import check_map

    da = pick_raster(data, path)
    check_map(da, hint)
    if path.suffix == ".h5":
        quantities.check_quantity(da, quantities.RAIN, difference=False)


def pick_raster(data: xr.DataArray | xr.Dataset, path: Path) -> xr.DataArray:
    """Return the one variable that goes into a GeoTIFF or ODIM file."""
    if isinstance(data, xr.DataArray):
        return data
    if len(data.data_vars) != 1:
        names = ", ".join(map(str, data.data_vars))
        raise mismatch(f"one variable for {path}", names, as_option(path.with_suffix(".nc")))
    return next(iter(data.data_vars.values()))


def write_forecast(ds: xr.Dataset, path: Path) -> list[str]:
    """Write a forecast as the suffix says, and return what was written.

    GeoTIFF: one file per init and lead, and variable where there are several. ODIM: one per init
    and member, a dataset for each lead; the name is the given one where there is only one such
    file.
    """
    if path.suffix == ".tif":
        return _write_geotiff(ds, path)
    if path.suffix == ".h5":
        return _write_odim(pick_raster(ds, path), path)
    write_file(ds, path)
    return [str(path)]


def _write_geotiff(ds: xr.Dataset, path: Path) -> list[str]:
    from ..datasets.radar.geotiff import write_geotiff

    if len(ds.data_vars) == 1:
        return write_geotiff(pick_raster(ds, path), path)
    written = []
    for i in range(ds.sizes["init"]):
        of_init = ds.isel(init=[i]).load()  # once for all: products of one forecast share it
        for name, da in of_init.data_vars.items():
            written += write_geotiff(da, path.with_name(f"{path.stem}_{name}{path.suffix}"))
    return written


def _write_odim(fc: xr.DataArray, path: Path) -> list[str]:
    from ..datasets.radar.geotiff import init_label
    from ..datasets.radar.odim_write import write_odim

    one = fc.sizes["init"] * fc.sizes.get("member", 1) == 1
    written = []
    for i, init in enumerate(fc["init"]):
        of_init = fc.isel(init=i).load()
        for member in of_init["member"].values if "member" in fc.dims else [None]:
            field = of_init if member is None else of_init.sel(member=member, drop=True)
            name = f"{path.stem}_{init_label(init)}" + ("" if member is None else f"_{member:03d}")
            written.append(write_odim(field, path if one else path.with_name(f"{name}.h5")))
    return written


def write_file(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset to a file or store, which replaces the target when it is whole."""
    from dask.diagnostics import ProgressBar

    ds = with_grid_mapping(ds)
    encoding = unfilled(ds)
    is_shown = sys.stderr is not None and sys.stderr.isatty()  # none: of a service
    bar = ProgressBar(minimum=2.0, out=sys.stderr) if is_shown else nullcontext()
    with written_aside(path) as part, bar, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        warnings.filterwarnings("ignore", "The data type .FixedLengthUTF32")  # names of packs
        if path.suffix == ".nc":
            for name, one in ds.variables.items():
                if name in ds.data_vars or one.ndim > 2:  # such as what is known of a nowcast
                    encoding.setdefault(str(name), {}).update(zlib=True, complevel=1)
            ds.to_netcdf(part, encoding=encoding)
        else:
            # one chunk per init: a reader mostly wants one forecast whole
            one_init = {dim: 1 if dim == "init" else -1 for dim in ds.dims}
            ds.chunk(one_init).to_zarr(part, encoding=encoding)
