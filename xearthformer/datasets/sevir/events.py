"""SEVIR's catalogue: its events, their files, times and places.

Rows of a table of events (pandas) become CF coordinates. A pixel's place is that of its centre,
and row 0 is the south, in the files as in `y`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core import indexing

from ...errors import mismatch
from ..local import is_remote
from .files import FRAMES, Contents, EventArray, Options, options_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

Catalog: TypeAlias = str | os.PathLike[str] | pd.DataFrame

CATALOG = "CATALOG.csv"
ORIGINAL = "CATALOG.csv as the archive has it"
TEXTS = "id", "file_name", "img_type", "time_utc", "minute_offsets", "event_type", "proj"
NUMBERS = "llcrnrlat", "llcrnrlon", "height_m", "width_m", "pct_missing"
# The columns of the catalogue that are read, and their dtypes.
DTYPES = {"file_index": "int64", **dict.fromkeys(TEXTS, "str"), **dict.fromkeys(NUMBERS, "float64")}

# The papers' split: an event belongs to the one with after < time_utc <= until.
SPLITS = {
    "train": (pd.Timestamp.min, pd.Timestamp("2019-01-01")),
    "val": (pd.Timestamp("2019-01-01"), pd.Timestamp("2019-06-01")),
    "test": (pd.Timestamp("2019-06-01"), pd.Timestamp.max),
}
PLANE = {"units": "m", "long_name": "centre of the pixel"}
ATTRS: dict[str, dict[str, str]] = {
    "event": {"long_name": "SEVIR's id of the event"},
    "time_utc": {"long_name": "time of the event (UTC)"},
    "event_type": {"long_name": "type in the NWS storm events database; empty for a random event"},
    "pct_missing": {"long_name": "fraction of the pixels that are missing", "units": "1"},
    "time": {"standard_name": "time", "long_name": "time of the frame (UTC)", "axis": "T"},
    "offset": {"long_name": "time of the frame since time_utc"},
    "y": {"standard_name": "projection_y_coordinate", **PLANE, "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", **PLANE, "axis": "X"},
    "lat": {"standard_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "units": "degrees_east"},
}


# --- the table


def read_catalog(catalog: Catalog, storage_options: Options | None = None) -> pd.DataFrame:
    """Read SEVIR's CATALOG.csv, or check rows of it; ValueError if a column is missing."""
    if isinstance(catalog, pd.DataFrame):
        return _typed(catalog, "the catalogue")
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    address = os.fspath(catalog)
    system, path = url_to_fs(address, **options_of(address, storage_options))
    try:
        return _read(system, path, address, system.ukey(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no catalogue {address}") from error


@functools.lru_cache(maxsize=4)
def _read(system: AbstractFileSystem, path: str, address: str, version: str) -> pd.DataFrame:
    """Read the table at an address; `version` is for the cache, it changes when the file does."""
    with system.open(path, "rb") as file:
        table = pd.read_csv(file, usecols=lambda name: name in DTYPES, dtype=DTYPES)
    return _typed(table, address)


def _typed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    absent = [column for column in DTYPES if column not in table]
    if absent:
        raise mismatch(f"SEVIR's columns: {name}", f"no {', '.join(absent)}", ORIGINAL)
    table = table[list(DTYPES)].reset_index(drop=True)
    return table.assign(time_utc=pd.to_datetime(table["time_utc"]))


def find_catalog(file: str) -> str | None:
    """Return where the catalogue of a file belongs: the file is <root>/data/<type>/<year>/<name>.

    None for a file with too few folders above it.
    """
    if is_remote(file):
        root, *below = file.rsplit("/", 4)
        return f"{root}/{CATALOG}" if len(below) == 4 else None
    parents = PurePath(os.path.abspath(file)).parents
    return str(parents[3] / CATALOG) if len(parents) > 3 else None


def exists(address: str, storage_options: Options | None = None) -> bool:
    """Return whether there is a file to read at an address."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address, **options_of(address, storage_options))
    try:
        return bool(system.exists(path))
    except PermissionError:  # S3's answer for a missing key in a bucket that may not be listed
        return False


# --- which events


def of_file(catalog: pd.DataFrame, name: str, contents: Contents) -> pd.DataFrame | None:
    """Return one row per event of a file, in its order; None if the catalogue has no row of it.

    An event that the catalogue lacks has a row of NaN; for the errors see `check_ids`.
    """
    base = re.split(r"[/\\]", name)[-1]
    rows = catalog[catalog["file_name"].str.split("/").str[-1] == base]
    if rows.empty:
        return None
    check_ids(rows, name, contents)
    if contents.sensor == "lght":
        rows = rows.drop_duplicates("id").set_index("id").reindex(contents.ids)
        return rows.reset_index(names="id").assign(file=0, row=0)
    every = range(contents.events)
    rows = rows.drop_duplicates("file_index").set_index("file_index").reindex(every)
    if contents.ids is not None:
        rows["id"] = contents.ids
    return rows.assign(id=rows["id"].fillna(""), file=0, row=every).reset_index(drop=True)


def check_ids(rows: pd.DataFrame, name: str, contents: Contents) -> None:
    """Raise ValueError unless a file holds the events that rows of the catalogue name, in place."""
    if contents.sensor == "lght":  # an event is found by its id, not by its place
        agrees = rows["id"].isin([] if contents.ids is None else list(contents.ids))
        found = "no such dataset"
    else:
        place = rows["file_index"].to_numpy()
        inside = (place >= 0) & (place < contents.events)
        agrees = pd.Series(inside, rows.index)
        found = f"{contents.events} events"
        if contents.ids is not None and inside.any():
            agrees[inside] &= contents.ids[place[inside]] == rows["id"].to_numpy(str)[inside]
            others = rows[~agrees & inside]
            found = f"{contents.ids[others['file_index'].iloc[0]]}" if len(others) else found
    if not agrees.all():
        first = rows[~agrees].iloc[0]
        where = "" if contents.sensor == "lght" else f" at place {first['file_index']}"
        raise mismatch(
            f"event {first['id']}{where}, as its row of the catalogue says: {name}",
            found,
            "the file and the CATALOG.csv of one download",
        )


def check_path(file_name: str) -> str:
    """Return a `file_name` of the catalogue; ValueError if it leads out of the root.

    A catalogue may come from anyone, and must not choose which other files are opened.
    """
    folders = re.split(r"[/\\]", file_name)
    if ".." in folders or "" in folders or ":" in file_name or "~" in folders[0]:
        expected = "file names below the folder data, in the catalogue"
        raise mismatch(expected, repr(file_name), ORIGINAL)
    return file_name


def select(
    catalog: pd.DataFrame, sensors: Sequence[str], split: str | None, events: Iterable[str] | None
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Return rows of the same events in the same order for each sensor, and counts of dropped ids.

    An id is dropped if a sensor has it more than once, if not every sensor has it, or, with a
    split, if a raster misses some of it (`pct_missing`). Ids outside the split, or not among
    `events`, are not counted.
    """
    if split is not None and split not in SPLITS:
        expected = " or ".join(f'"{name}"' for name in SPLITS)
        raise mismatch(f"split {expected}, or None", repr(split), 'split="test"')
    tables = {sensor: catalog[catalog["img_type"] == sensor] for sensor in sensors}
    for sensor, rows in tables.items():
        if rows.empty:
            found = ", ".join(sorted(set(catalog["img_type"]))) or "no rows"
            raise mismatch(f"rows of {sensor} in the catalogue", found, "another sensor")
        if split is not None:
            after, until = SPLITS[split]
            tables[sensor] = rows[(rows["time_utc"] > after) & (rows["time_utc"] <= until)]
    every = list(dict.fromkeys(id for rows in tables.values() for id in rows["id"]))
    repeated = {id for rows in tables.values() for id in rows["id"][rows["id"].duplicated()]}
    common = set(every).intersection(*(rows["id"] for rows in tables.values()))
    incomplete = {
        id
        for sensor, rows in tables.items()
        if sensor != "lght" and split is not None  # flashes have no pixels to miss
        for id in rows["id"][rows["pct_missing"] != 0]
    }
    # each id is counted once, under the first reason that holds
    dropped = {
        "repeated_id": repeated,
        "not_of_every_sensor": set(every) - common - repeated,
        "incomplete": (incomplete & common) - repeated,
    }
    ids = [id for id in every if not any(id in gone for gone in dropped.values())]
    if events is not None:
        ids = _check_events([events] if isinstance(events, str) else list(events), ids, dropped)
    if not ids:
        expected = f"events of {', '.join(sensors)}" + (f" in {split}" if split else "")
        raise mismatch(expected, "none that are left", "another split, or another catalogue")
    ordered = {name: rows.set_index("id").loc[ids].reset_index() for name, rows in tables.items()}
    return ordered, {why: len(gone) for why, gone in dropped.items()}


def _check_events(events: list[str], ids: list[str], dropped: Mapping[str, set[str]]) -> list[str]:
    """Return the user's `events`, each of which must be among `ids`."""
    available = set(ids)
    for event in events:
        if event not in available:
            why = [why.replace("_", " ") for why, gone in dropped.items() if event in gone]
            found = f"{event!r}, dropped: {why[0]}" if why else f"{event!r}"
            raise mismatch("events of these sensors and this split", found, "events=None, for all")
    return events


# --- coordinates


def coordinates(
    events: pd.DataFrame, size: int, frames: int, name: str
) -> dict[str, xr.Variable | tuple[object, ...]]:
    """Return CF coordinates of events, rows of the catalogue `name`: see `open_sevir`.

    Each event has `size` x `size` pixels and `frames` frames; lat and lon are lazy.
    """
    offset = _offsets(events, frames, name)
    centre = events["time_utc"].to_numpy("datetime64[ns]")
    proj, (x0, y0) = _corners(events, name)
    dx, dy = (events[column].to_numpy() / size for column in ("width_m", "height_m"))
    pixels = np.arange(size) + 0.5
    x, y = x0[:, None] + pixels * dx[:, None], y0[:, None] + pixels * dy[:, None]
    kind = events["event_type"].fillna("").to_numpy(str)
    lat, lon = (Degrees(proj, x0, y0, dx, dy, size, axis) for axis in (1, 0))
    return {
        **identity(events["id"]),
        "time_utc": ("event", centre, ATTRS["time_utc"]),
        "event_type": ("event", kind, ATTRS["event_type"]),
        "pct_missing": ("event", events["pct_missing"].to_numpy(), ATTRS["pct_missing"]),
        "time": (("event", "time"), centre[:, None] + offset, ATTRS["time"]),
        "offset": (("event", "time"), offset, ATTRS["offset"]),
        "y": (("event", "y"), y, ATTRS["y"]),
        "x": (("event", "x"), x, ATTRS["x"]),
        "lat": lat.variable(ATTRS["lat"]),
        "lon": lon.variable(ATTRS["lon"]),
        "crs": ((), np.int32(0), grid_mapping(proj)),
    }


def identity(ids: pd.Series | np.ndarray) -> dict[str, tuple[object, ...]]:
    """Return the coordinate `event`."""
    return {"event": ("event", np.asarray(ids, dtype=str), ATTRS["event"])}


def nominal_offsets(frames: int) -> np.ndarray:
    """Return the frames' times since time_utc: -120 to 120 minutes, every 5 (49 frames) or 10."""
    minutes = FRAMES[:: (FRAMES.size - 1) // (frames - 1)]
    return minutes.astype("timedelta64[m]").astype("timedelta64[ns]")


def _offsets(events: pd.DataFrame, frames: int, name: str) -> np.ndarray:
    """Return the real offsets (event, time), timedelta64; nominal where the catalogue has none."""
    by_text: dict[str, np.ndarray] = {}  # many events share one text
    for text in events["minute_offsets"].dropna().unique():
        try:
            minutes = np.array(text.split(":"), dtype=float)
        except ValueError:
            minutes = np.empty(0)
        if minutes.size != FRAMES.size:
            expected = f"minute_offsets of {FRAMES.size} minutes with colons between: {name}"
            raise mismatch(expected, repr(text), ORIGINAL)
        every = minutes[:: (FRAMES.size - 1) // (frames - 1)]
        # cut to whole seconds first, as a fraction of a minute is no whole number of nanoseconds
        by_text[text] = (every * 60).astype("timedelta64[s]").astype("timedelta64[ns]")
    nominal = nominal_offsets(frames)
    rows = [by_text.get(text, nominal) for text in events["minute_offsets"]]
    return np.array(rows, "timedelta64[ns]").reshape(len(events), frames)


def _corners(events: pd.DataFrame, name: str) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """Return the projection of events, and their outer lower left corners in it, x and y."""
    projections = {text.strip() for text in events["proj"].dropna()}
    if len(projections) != 1:
        found = ", ".join(sorted(projections)) or "none"
        raise mismatch(f"one map projection: {name}", found, "events of one projection")
    import pyproj

    proj = projections.pop()
    lon, lat = (events[column].to_numpy() for column in ("llcrnrlon", "llcrnrlat"))
    x0, y0 = (np.full(len(events), np.nan) for _ in range(2))
    finite = np.isfinite(lon) & np.isfinite(lat)
    # the catalogue's degrees are rounded, to some 5 mm; SEVIR's corners lie at whole kilometres
    x0[finite], y0[finite] = (c.round() for c in pyproj.Proj(proj)(lon[finite], lat[finite]))
    return proj, (x0, y0)


def grid_mapping(proj: str) -> dict[str, str | float]:
    """Return CF attributes of a spherical Lambert azimuthal equal area projection (PROJ string).

    Examples
    --------
    >>> laea = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere"
    >>> attrs = grid_mapping(laea)
    >>> attrs["grid_mapping_name"], attrs["earth_radius"], attrs["latitude_of_projection_origin"]
    ('lambert_azimuthal_equal_area', 6370997.0, 38.0)
    """
    import pyproj

    crs = pyproj.CRS(proj)
    operation, ellipsoid = crs.coordinate_operation, crs.ellipsoid
    equal_area = operation is not None and "Azimuthal Equal Area" in operation.method_name
    # CF's earth_radius stands for a sphere alone
    sphere = ellipsoid is not None and ellipsoid.semi_minor_metre == ellipsoid.semi_major_metre
    if operation is None or ellipsoid is None or not (equal_area and sphere):
        raise mismatch("a spherical +proj=laea", repr(proj), ORIGINAL)
    params = {param.name: param.value for param in operation.params}
    return {
        "grid_mapping_name": "lambert_azimuthal_equal_area",
        "latitude_of_projection_origin": float(params["Latitude of natural origin"]),
        "longitude_of_projection_origin": float(params["Longitude of natural origin"]),
        "false_easting": float(params["False easting"]),
        "false_northing": float(params["False northing"]),
        "earth_radius": float(ellipsoid.semi_major_metre),
        "crs_wkt": crs.to_wkt(),
        "proj4": proj,
    }


class Degrees(EventArray):
    """Latitude (axis 1) or longitude (axis 0) of pixel centres (event, y, x).

    Computed when indexed: an event takes 1.2 MB, all of SEVIR tens of GB.
    """

    def __init__(
        self,
        proj: str,
        x0: np.ndarray,
        y0: np.ndarray,
        dx: np.ndarray,
        dy: np.ndarray,
        size: int,
        axis: int,
    ) -> None:
        self.proj, self.x0, self.y0, self.dx, self.dy, self.axis = proj, x0, y0, dx, dy, axis
        super().__init__((x0.size, size, size), np.float64)

    def variable(self, attrs: Mapping[str, str]) -> xr.Variable:
        """Return the array as a lazy Variable."""
        data = indexing.LazilyIndexedArray(self)
        return xr.Variable(("event", "y", "x"), data, attrs, {"preferred_chunks": {"event": 1}})

    def event(self, i: int, rows: slice) -> np.ndarray:
        import pyproj

        pixels = np.arange(self.shape[-1]) + 0.5
        x, y = self.x0[i] + pixels * self.dx[i], self.y0[i] + pixels[rows] * self.dy[i]
        if not np.isfinite(self.x0[i]):  # an event without a place in the catalogue
            return np.full((y.size, x.size), np.nan)
        x_YX, y_YX = np.meshgrid(x, y)
        return pyproj.Proj(self.proj)(x_YX, y_YX, inverse=True)[self.axis]
