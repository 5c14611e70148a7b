"""ODIM HDF5 composites for xarray: `xr.open_dataset(path, engine="odim_composite")`.

The OPERA Data Information Model is what European weather services exchange radar data in (versions
2.0 to 2.4). Its volumes, in polar coordinates, are read by xradar, whose engine is called `odim`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendEntrypoint

from ...errors import mismatch
from ...fields.time_axis import str_time
from .frames import (
    ACCUMULATION,
    DBZ,
    RATE,
    Frame,
    Frames,
    Reader,
    attributes,
    closable,
    local_path,
    numbered,
    open_hdf5,
    variable,
)
from .projection import GRID_MAPPING, Grid, metres_of, read_crs

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
    import pyproj

Attributes = Mapping[str, str | float]

ENGINE = "odim_composite"
OBJECTS = ("COMP", "IMAGE")  # /what/object of two-dimensional products
VOLUMES = ("PVOL", "SCAN", "RAY", "AZIM", "ELEV", "CVOL", "XSEC", "VP")


@dataclass(frozen=True)
class Quantity:
    """How a quantity of ODIM (Table 16) is called here, and its value where nothing was found."""

    name: str
    attrs: dict[str, str]
    nothing: float


QUANTITIES = {
    "RATE": Quantity("rain_rate", RATE, 0.0),
    "ACRR": Quantity("rain_amount", {**ACCUMULATION, "cell_methods": "time: sum"}, 0.0),
    "DBZH": Quantity("dbz", DBZ, -np.inf),
    "TH": Quantity("th", {**DBZ, "long_name": "uncorrected radar reflectivity"}, -np.inf),
    "QIND": Quantity("quality", {"long_name": "quality index, 1 is best", "units": "1"}, 0.0),
}
INTERVALS = ("RATE", "ACRR")  # what is said of the time from start to end, labelled at its end


class OdimCompositeBackendEntrypoint(BackendEntrypoint):
    """Opens ODIM HDF5 composites: `xr.open_dataset(path, engine="odim_composite")`."""

    description = "Open ODIM HDF5 composites (COMP, IMAGE): RATE, ACRR, DBZH, TH, QIND"

    def open_dataset(  # type: ignore[override]  # an open store is no ODIM file
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        dataset: str | None = None,
        projection: str | bool = True,
    ) -> xr.Dataset:
        """Open the composites of one file lazily, along time.

        Parameters
        ----------
        filename_or_obj : path
        drop_variables : str or iterable of str, optional
        dataset : str, optional
            The group to read alone, such as "dataset2", where a file holds a quantity more than
            once at one time. Default: all.
        projection : str or bool
            True: what the file says. A PROJ string or an EPSG code: that instead. False: none, and
            metres from the lower left corner.

        Returns
        -------
        Dataset
            Dims time, y (north first) and x, in metres, or lat and lon; scalar `crs` with the CF
            grid mapping. Variables: `rain_rate` in mm h-1 (RATE), `rain_amount` in mm (ACRR) with
            its own start and end in `time_bnds`, `dbz` (DBZH) and `th` (TH) in dBZ, `quality`
            (QIND); other quantities by their name in lower case. NaN where nothing was seen
            (nodata); where nothing was detected (undetect), rain is 0 and reflectivity -inf. The
            attributes `zr_a` and `zr_b` are those of the file. Time is the end of a rain rate's or
            amount's interval; of other quantities the nominal time.

        Raises
        ------
        OSError
            A damaged file; FileNotFoundError if there is none.
        ValueError
            Another product, a projection that cannot be read, or corners that don't fit the pixels.
        """
        path = local_path(filename_or_obj)
        with open_hdf5(path) as file:
            check_product(file, path)
            layers = read_layers(file, path, dataset)
            grid = read_grid(file, layers, path, projection)
            source = attributes(file, "what").get("source", "")
            version = str(attributes(file).get("Conventions", "ODIM_H5"))
        reader = Reader(path)
        ds = _dataset(reader, layers, grid)
        attrs = {"Conventions": "CF-1.8", "title": f"radar composite ({version})"}
        ds.attrs = {**attrs, "source": str(source)} if source else attrs
        return closable(ds, reader, drop_variables)

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Say whether a file is an ODIM composite."""
        return isinstance(filename_or_obj, str | os.PathLike) and is_odim(filename_or_obj)


def is_odim(path: str | os.PathLike[str]) -> bool:
    """Say whether a file is HDF5 of the ODIM model that holds a composite, by its first groups."""
    return os.path.isfile(path) and _object_of(path) in OBJECTS


def _object_of(path: str | os.PathLike[str]) -> str | None:
    """Return /what/object of a file; None if it is no HDF5 file, or has none."""
    try:
        with open_hdf5(os.fspath(path)) as file:
            kind = attributes(file, "what").get("object")
            return str(kind) if kind and any(key.startswith("dataset") for key in file) else None
    except OSError:
        return None


def check_product(file: h5py.File, path: str) -> None:
    """Refuse a file that holds no composite: a volume, or another model of HDF5."""
    kind = str(attributes(file, "what").get("object", "none"))
    if kind in OBJECTS:
        return
    if kind in VOLUMES:
        hint = f"xradar.io.open_odim_datatree({path!r})"
        found = f"{kind}, a volume in the radar's own coordinates"
    else:
        hint = f"h5py.File({path!r}).visit(print), for what it holds"
        found = f"{kind}: {path} with {', '.join(file) or 'nothing'}"
    raise mismatch("an ODIM composite: /what/object COMP or IMAGE", found, hint)


# --- what a file holds


@dataclass(frozen=True)
class Layer:
    """One quantity at one time: its frame, and what the file says of it."""

    quantity: str
    group: str  # dataset1
    frame: Frame
    shape: tuple[int, int]
    time: pd.Timestamp
    bounds: tuple[pd.Timestamp, pd.Timestamp] | None  # of an interval
    law: dict[str, float]  # zr_a, zr_b, where it has them


def read_layers(file: h5py.File, path: str, dataset: str | None = None) -> list[Layer]:
    """Return all that a composite holds, in the order of its groups."""
    groups = numbered(file, "dataset")
    if dataset is not None and dataset not in groups:
        words = ", ".join(groups) or "none"
        again = f"xr.open_dataset({path!r}, engine={ENGINE!r})"
        raise mismatch(f"the group {dataset!r} in {path}", words, again)
    places = [place for group in groups for place in _places(file, group)]
    # a quantity in several datasets is one of several times
    found = {(place.quantity, place.group) for place in places}
    often = Counter(quantity for quantity, _ in found)
    wanted = [place for place in places if dataset in (None, place.group)]
    if not any(place.quantity != "QIND" for place in wanted):
        hint = f"h5py.File({path!r}).visit(print), for what it holds"
        raise mismatch(f"data in a composite: {path}", ", ".join(file), hint)
    return [_layer(file, place, several=often[place.quantity] > 1) for place in wanted]


@dataclass(frozen=True)
class Place:
    """A group that holds an array, and the attributes that hold for it."""

    group: str  # dataset1
    path: str  # dataset1/data1
    quantity: str
    what: Attributes
    how: Attributes


def _places(file: h5py.File, group: str) -> Iterator[Place]:
    """Yield the data of a dataset, then its first index of quality, wherever that stands.

    Further quality fields (of blockage, of clutter) are about the index.
    """
    data = [f"{group}/{name}" for name in numbered(file[group], "data")]
    fields = [
        f"{owner}/{name}" for owner in (*data, group) for name in numbered(file[owner], "quality")
    ]
    indexed = False
    for path in (*data, *fields):
        quality = path in fields
        # what is said of a dataset holds for its data; a quality field has codes of its own
        levels = [path] if quality else [group, path]
        what = {k: v for level in levels for k, v in attributes(file[level], "what").items()}
        how = {
            k: v for level in ("/", group, path) for k, v in attributes(file[level], "how").items()
        }
        quantity = str(what.get("quantity", "QIND" if quality else "unknown"))
        if quantity != "QIND" or not indexed:
            yield Place(group, path, quantity, what, how)
        indexed = indexed or quantity == "QIND"


def _layer(file: h5py.File, place: Place, several: bool) -> Layer:
    """Return one layer; `several` says that the file holds its quantity at several times."""
    what, how = place.what, place.how
    known = QUANTITIES.get(place.quantity)
    frame = Frame(
        f"{place.path}/data",
        float(what.get("gain", 1.0)),
        float(what.get("offset", 0.0)),
        (float(what["nodata"]),) if "nodata" in what else (),
        float(what["undetect"]) if "undetect" in what else None,
        known.nothing if known else np.nan,
    )
    said = {**attributes(file[place.group], "what"), **what}
    time, bounds = _time(place.quantity, said, attributes(file, "what"), several)
    law = {key: value for key in ("zr_a", "zr_b") if (value := _number(how.get(key))) is not None}
    rows, columns = file[frame.path].shape
    shape = int(rows), int(columns)
    return Layer(place.quantity, place.group, frame, shape, time, bounds, law)


def _number(value: str | float | None) -> float | None:
    """Return a number, which some services write as text; None for "unknown"."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


# --- times


def _time(
    quantity: str, what: Attributes, nominal: Attributes, several: bool
) -> tuple[pd.Timestamp, tuple[pd.Timestamp, pd.Timestamp] | None]:
    """Return the time of a layer and, of a rate or an amount, the interval that ends at it.

    Start and end that are whole minutes apart are an interval. Others are when the radars scanned,
    which jitters: there the nominal time stands, unless the file has `several` times.
    """
    start, end = _span(what)
    if quantity in INTERVALS and start is not None and end is not None and end > start:
        low, high = (time.round("min") for time in (start, end))
        close = pd.Timedelta("1s")  # 14:45:00 to 14:49:59 are five minutes
        if abs(low - start) <= close and abs(high - end) <= close and high > low:
            return high, (low, high)
    stamp = _stamp(nominal, "date", "time")
    if (several or stamp is None) and end is not None:
        return end, None
    if stamp is None:
        expected = "the time of a composite: /what/date and /what/time"
        raise mismatch(expected, "none", "another copy of the file")
    return stamp, None


def _span(what: Attributes) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    return _stamp(what, "startdate", "starttime"), _stamp(what, "enddate", "endtime")


def _stamp(what: Attributes, date: str, time: str) -> pd.Timestamp | None:
    """Return a date and a time such as 20210704 and 155000 as one; None if one is missing."""
    if date not in what or time not in what:
        return None
    text = f"{what[date]}{str(what[time]).ljust(6, '0')}"
    try:
        return pd.Timestamp(datetime.strptime(text, "%Y%m%d%H%M%S"))
    except ValueError:
        return None


# --- places


def read_grid(
    file: h5py.File, layers: Sequence[Layer], path: str, projection: str | bool = True
) -> Grid:
    """Return the pixels of a composite, from its corners, pixel sizes and projection."""
    shapes = {layer.shape for layer in layers}
    if len(shapes) > 1:
        group = layers[0].group
        found = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(shapes))
        hint = f"xr.open_dataset({path!r}, engine={ENGINE!r}, dataset={group!r})"
        raise mismatch("one grid in a composite", found, hint)
    where = {**attributes(file, "where"), **attributes(file[layers[0].group], "where")}
    text = str(where.get("projdef", "")) if projection is True else projection
    without = f"xr.open_dataset({path!r}, engine={ENGINE!r}, projection=False)"
    if text is False:
        return _plain_grid(where, layers[0].shape)
    crs = read_crs(str(text), without)
    return _located(where, crs, metres_of(str(text)), layers[0].shape, without)


def _plain_grid(where: Attributes, shape: tuple[int, int]) -> Grid:
    """Return pixels in metres from the lower left corner, without a projection."""
    width, height = float(where.get("xscale", 1.0)), float(where.get("yscale", 1.0))
    return Grid(None, 0.0, shape[0] * height, width, height, shape)


def _located(
    where: Attributes,
    crs: pyproj.CRS,
    unit: float,
    shape: tuple[int, int],
    hint: str,
) -> Grid:
    """Return pixels by their corners, the outer ones of the domain; sizes may be in `unit`."""
    import pyproj

    proj = pyproj.Proj(crs)
    corners = {}
    for name in ("LL", "UL", "UR", "LR"):
        lon, lat = where.get(f"{name}_lon"), where.get(f"{name}_lat")
        if lon is not None and lat is not None:
            corners[name] = proj(float(lon), float(lat))
    found = {name: xy for name, xy in corners.items() if np.isfinite(xy).all()}
    lefts = [found[name][0] for name in ("LL", "UL") if name in found]
    rights = [found[name][0] for name in ("UR", "LR") if name in found]
    tops = [found[name][1] for name in ("UL", "UR") if name in found]
    bottoms = [found[name][1] for name in ("LL", "LR") if name in found]
    if not (lefts and rights and tops and bottoms):
        words = "LL and UR, or UL and LR, in the projection"
        raise mismatch(f"two opposite corners of a composite: {words}", str([*found]), hint)
    rows, columns = shape
    width = _pixel(where.get("xscale"), unit, lefts[0], rights[0], columns, "columns", hint)
    height = _pixel(where.get("yscale"), unit, bottoms[0], tops[0], rows, "rows", hint)
    # the lower left corner is the one that all versions of ODIM name
    left = lefts[0]
    top = bottoms[0] + rows * height
    digits = 9 if crs.is_geographic else 2  # the projection's own noise would part equal grids
    return Grid(crs, round(left, digits), round(top, digits), width, height, shape)


def _pixel(
    scale: str | float | None,
    unit: float,
    first: float,
    last: float,
    count: int,
    what: str,
    hint: str,
) -> float:
    """Return the size of a pixel: the file's own if the corners agree with it, to one pixel."""
    mean = (last - first) / count
    if scale is None and mean > 0:
        return mean
    # in metres whatever the projection's unit, in that unit, or in kilometres (MeteoSwiss)
    factors = (1.0, unit, 1000.0)
    sizes = [float(scale) * factor for factor in factors] if scale is not None else []
    for size in sizes:
        if size > 0 and abs(last - first - count * size) <= size:
            return size
    raise mismatch(
        f"corners that are {count} {what} of {sizes[0] if sizes else 0:g} apart",
        f"{last - first:g}, {mean:g} to one",
        hint,
    )


# --- the labelled data


def _dataset(reader: Reader, layers: Sequence[Layer], grid: Grid) -> xr.Dataset:
    """Return the layers as variables along time."""
    times = sorted({layer.time for layer in layers})
    quantities = list(dict.fromkeys(layer.quantity for layer in layers))
    variables = {}
    for quantity in quantities:
        of = [layer for layer in layers if layer.quantity == quantity]
        by_time = {layer.time: layer for layer in of}
        if len(by_time) < len(of):
            group = of[0].group
            twice = " and ".join(f"{layer.frame.path} at {str_time(layer.time)}" for layer in of)
            hint = f"xr.open_dataset({reader.path!r}, engine={ENGINE!r}, dataset={group!r})"
            raise mismatch(f"one {quantity} for each time", twice, hint)
        known = QUANTITIES.get(quantity, Quantity(quantity.lower(), {"long_name": quantity}, 0.0))
        attrs: dict[str, object] = {**known.attrs, **of[0].law}
        if quantity == "TH" and "DBZH" in quantities:
            del attrs["standard_name"]  # the corrected one is the reflectivity to use
        if quantity == "QIND":
            attrs = dict(known.attrs)
        if grid.crs is not None:
            attrs["grid_mapping"] = GRID_MAPPING
        frames = [by_time[t].frame if t in by_time else None for t in times]
        variables[known.name] = variable(Frames(reader, frames, grid.shape), grid.dims, attrs)
    ends = {layer.time: layer.bounds for layer in layers if layer.quantity == "ACRR"}
    whole = ends and all(ends.get(time) for time in times)
    bounds = np.array([ends[time] for time in times], "datetime64[ns]") if whole else None
    stamps = np.array(times, "datetime64[ns]")
    return xr.Dataset(variables, grid.coords_in_time(stamps, bounds))
