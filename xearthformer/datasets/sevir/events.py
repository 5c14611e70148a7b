"""SEVIR's catalogue: which events there are, in which file, and where and when they were.

Rows of a table of events (pandas) become CF coordinates; a pixel's place is that of its centre,
and row 0 is the south, in the files as in `y`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core import indexing

from ...errors import mismatch
from ..local import is_remote
from .files import FRAMES, Contents, EventArray, options_of

Catalog: TypeAlias = str | os.PathLike[str] | pd.DataFrame

CATALOG = "CATALOG.csv"
COLUMNS = {
    "id": "str",
    "file_name": "str",
    "file_index": "int64",
    "img_type": "str",
    "time_utc": "str",
    "minute_offsets": "str",
    "event_type": "str",
    "llcrnrlat": "float64",
    "llcrnrlon": "float64",
    "proj": "str",
    "height_m": "float64",
    "width_m": "float64",
    "pct_missing": "float64",
}

# The papers' split: an event belongs where after < time_utc <= until.
SPLITS = {
    "train": (pd.Timestamp.min, pd.Timestamp("2019-01-01")),
    "val": (pd.Timestamp("2019-01-01"), pd.Timestamp("2019-06-01")),
    "test": (pd.Timestamp("2019-06-01"), pd.Timestamp.max),
}


# --- the table


def read_catalog(catalog: Catalog, storage_options: Mapping[str, Any] | None = None) -> Any:
    """SEVIR's CATALOG.csv, or rows of it, as a DataFrame of the columns in COLUMNS.

    Raises
    ------
    FileNotFoundError
    ValueError
        A column is missing.
    """
    if isinstance(catalog, pd.DataFrame):
        return _typed(catalog, "the catalogue given")
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    address = os.fspath(catalog)
    system, path = url_to_fs(address, **options_of(address, storage_options))
    try:
        return _read(system, path, address, system.ukey(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no catalogue {address}") from error


@functools.lru_cache(maxsize=4)
def _read(system: Any, path: str, address: str, version: str) -> pd.DataFrame:
    """The table at an address; `version` changes when the file does."""
    with system.open(path, "rb") as file:
        table = pd.read_csv(file, usecols=lambda name: name in COLUMNS, dtype=COLUMNS)
    return _typed(table, address)


def _typed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    absent = [column for column in COLUMNS if column not in table]
    if absent:
        raise mismatch(
            f"SEVIR's columns: {name}",
            f"no {', '.join(absent)}",
            "CATALOG.csv as the archive has it",
        )
    table = table[list(COLUMNS)].reset_index(drop=True)
    return table.assign(time_utc=pd.to_datetime(table["time_utc"]))


def find_catalog(file: str) -> str | None:
    """Where the catalogue of a file has its place: the file is <root>/data/<type>/<year>/<name>."""
    if is_remote(file):
        parts = file.rsplit("/", 4)
        return f"{parts[0]}/{CATALOG}" if len(parts) == 5 else None
    parents = PurePath(os.path.abspath(file)).parents
    return str(parents[3] / CATALOG) if len(parents) > 3 else None


def exists(address: str, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether there is a file to read at an address."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address, **options_of(address, storage_options))
    try:
        return bool(system.exists(path))
    except PermissionError:  # so S3 says of a key that isn't there, where it may not be listed
        return False


# --- which events


def of_file(catalog: pd.DataFrame, name: str, contents: Contents) -> pd.DataFrame | None:
    """The rows of one file, in its order; NaN for an event without one; None if it has no row.

    Raises
    ------
    ValueError
        A row without its event, or of another.
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
    """See that a file holds what rows of the catalogue say, where they say it.

    Raises
    ------
    ValueError
    """
    if contents.sensor == "lght":
        there = rows["id"].isin(list(contents.ids if contents.ids is not None else ()))
        found = "no such dataset"
    else:
        place = rows["file_index"].to_numpy()
        inside = (place >= 0) & (place < contents.events)
        there = pd.Series(inside, rows.index)
        found = f"{contents.events} events"
        if contents.ids is not None and inside.any():
            there[inside] &= contents.ids[place[inside]] == rows["id"].to_numpy(str)[inside]
            wrong = rows[~there & inside]
            found = f"{contents.ids[wrong['file_index'].iloc[0]]}" if len(wrong) else found
    if not there.all():
        first = rows[~there].iloc[0]
        where = "" if contents.sensor == "lght" else f" at place {first['file_index']}"
        raise mismatch(
            f"event {first['id']}{where}, as its row of the catalogue says: {name}",
            found,
            "the file and the CATALOG.csv of one download",
        )


def check_path(file_name: str) -> str:
    """A `file_name` of the catalogue, if it stays below the root.

    Raises
    ------
    ValueError
        It leads elsewhere.
    """
    parts = re.split(r"[/\\]", file_name)
    if ".." in parts or "" in parts or ":" in file_name or "~" in parts[0]:
        raise mismatch(
            "file names below the folder data, in the catalogue",
            repr(file_name),
            "CATALOG.csv as the archive has it",
        )
    return file_name


def select(
    catalog: pd.DataFrame, sensors: Sequence[str], split: str | None, events: Iterable[str] | None
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """The rows of each sensor, of the same events in the same order; how many ids were dropped.

    Dropped is an id that a sensor has more than once, one that not every sensor has, and, with a
    split, one of which a raster misses something (`pct_missing`). What lies outside the split, or
    isn't among `events`, is not counted.

    Raises
    ------
    ValueError
        An unknown split; a sensor without rows; an event that isn't there; no event left.
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
        tables = {
            sensor: rows[(rows["time_utc"] > after) & (rows["time_utc"] <= until)]
            for sensor, rows in tables.items()
        }
    every = list(dict.fromkeys(id for rows in tables.values() for id in rows["id"]))
    twice = {id for rows in tables.values() for id in rows["id"][rows["id"].duplicated()]}
    aligned = set(every).intersection(*(set(rows["id"]) for rows in tables.values()))
    missing = {
        id
        for sensor, rows in tables.items()
        if sensor != "lght" and split is not None
        for id in rows["id"][rows["pct_missing"] != 0]
    }
    dropped = {
        "repeated_id": twice,
        "not_of_every_sensor": set(every) - aligned - twice,
        "incomplete": (missing & aligned) - twice,
    }
    gone = set().union(*dropped.values())
    kept = [id for id in every if id not in gone]
    if events is not None:
        kept = _asked([events] if isinstance(events, str) else list(events), kept, dropped)
    if not kept:
        named = f"events of {', '.join(sensors)}" + (f" in {split}" if split else "")
        raise mismatch(named, "none that are left", "another split, or another catalogue")
    rows = {sensor: t[t["id"].isin(kept)].set_index("id") for sensor, t in tables.items()}
    ordered = {sensor: t.loc[kept].reset_index() for sensor, t in rows.items()}
    return ordered, {why: len(ids) for why, ids in dropped.items()}


def _asked(events: list[str], kept: list[str], dropped: Mapping[str, set[str]]) -> list[str]:
    known = set(kept)
    for event in events:
        if event not in known:
            why = [why.replace("_", " ") for why, ids in dropped.items() if event in ids]
            found = f"{event!r}, dropped: {why[0]}" if why else f"{event!r}"
            raise mismatch("events of these sensors and this split", found, "events=None, for all")
    return events


# --- coordinates


def coordinates(
    events: pd.DataFrame, size: int, frames: int, name: str
) -> dict[str, xr.Variable | tuple[Any, ...]]:
    """CF coordinates of events, `size` x `size` pixels and `frames` frames each.

    Parameters
    ----------
    events : DataFrame
        Columns of the catalogue.
    name : str
        Of the catalogue or file, for errors.

    Returns
    -------
    dict
        event, time_utc, event_type, pct_missing (event,); time, offset (event, time); y (event, y),
        x (event, x); lat, lon (event, y, x), lazy; crs. See `open_sevir`.
    """
    offset = _offsets(events, frames, name)
    centre = events["time_utc"].to_numpy("datetime64[ns]")
    proj, (x0, y0) = _corners(events, name)
    dx, dy = (events[column].to_numpy() / size for column in ("width_m", "height_m"))
    pixels = np.arange(size) + 0.5
    shape = ("event", "y", "x")
    lat, lon = (
        xr.Variable(
            shape,
            indexing.LazilyIndexedArray(Degrees(proj, x0, y0, dx, dy, size, axis)),
            attrs,
            {"preferred_chunks": {"event": 1}},
        )
        for axis, attrs in (
            (1, {"standard_name": "latitude", "units": "degrees_north"}),
            (0, {"standard_name": "longitude", "units": "degrees_east"}),
        )
    )
    plane = {"units": "m", "long_name": "centre of the pixel"}
    return {
        **identity(events["id"]),
        "time_utc": ("event", centre, {"long_name": "time of the event (UTC)"}),
        "event_type": (
            "event",
            events["event_type"].fillna("").to_numpy(str),
            {"long_name": "type in the NWS storm events database; empty for a random event"},
        ),
        "pct_missing": (
            "event",
            events["pct_missing"].to_numpy(),
            {"long_name": "fraction of the pixels that are missing", "units": "1"},
        ),
        "time": (
            ("event", "time"),
            centre[:, None] + offset,
            {"standard_name": "time", "long_name": "time of the frame (UTC)", "axis": "T"},
        ),
        "offset": (("event", "time"), offset, {"long_name": "time of the frame since time_utc"}),
        "y": (
            ("event", "y"),
            y0[:, None] + pixels * dy[:, None],
            {"standard_name": "projection_y_coordinate", **plane, "axis": "Y"},
        ),
        "x": (
            ("event", "x"),
            x0[:, None] + pixels * dx[:, None],
            {"standard_name": "projection_x_coordinate", **plane, "axis": "X"},
        ),
        "lat": lat,
        "lon": lon,
        "crs": ((), np.int32(0), grid_mapping(proj)),
    }


def identity(ids: Any) -> dict[str, tuple[Any, ...]]:
    """The coordinate `event`."""
    return {
        "event": ("event", np.asarray(ids, dtype=str), {"long_name": "SEVIR's id of the event"})
    }


def nominal_offsets(frames: int) -> np.ndarray:
    """Of the frames from time_utc: -120 to 120 minutes, every 5 (49 frames) or 10 (25)."""
    minutes = FRAMES[:: (FRAMES.size - 1) // (frames - 1)]
    return minutes.astype("timedelta64[m]").astype("timedelta64[ns]")


def _offsets(events: pd.DataFrame, frames: int, name: str) -> np.ndarray:
    """The real offsets (event, time), timedelta64; nominal ones where the catalogue has none."""
    of_text: dict[Any, np.ndarray] = {}
    for text in events["minute_offsets"].dropna().unique():
        try:
            minutes = np.array(text.split(":"), dtype=float)
        except ValueError:
            minutes = np.empty(0)
        if minutes.size != FRAMES.size:
            raise mismatch(
                f"minute_offsets of {FRAMES.size} minutes with colons between: {name}",
                repr(text),
                "CATALOG.csv as the archive has it",
            )
        every = minutes[:: (FRAMES.size - 1) // (frames - 1)]
        of_text[text] = (every * 60).astype("timedelta64[s]").astype("timedelta64[ns]")
    nominal = nominal_offsets(frames)
    rows = [of_text.get(text, nominal) for text in events["minute_offsets"]]
    return np.array(rows, "timedelta64[ns]").reshape(len(events), frames)


def _corners(events: pd.DataFrame, name: str) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """The projection of events, and their outer lower left corners in it.

    The catalogue rounds corners to some 5 mm; SEVIR's lie at whole kilometres.
    """
    projections = {text.strip() for text in events["proj"].dropna()}
    if len(projections) != 1:
        raise mismatch(
            f"one map projection: {name}",
            ", ".join(sorted(projections)) or "none",
            "events of one projection",
        )
    import pyproj

    proj = projections.pop()
    lon, lat = (events[column].to_numpy() for column in ("llcrnrlon", "llcrnrlat"))
    x0, y0 = (np.full(len(events), np.nan) for _ in range(2))
    known = np.isfinite(lon) & np.isfinite(lat)
    x0[known], y0[known] = (c.round() for c in pyproj.Proj(proj)(lon[known], lat[known]))
    return proj, (x0, y0)


def grid_mapping(proj: str) -> dict[str, Any]:
    """CF attributes of a Lambert azimuthal equal area projection on a sphere, by its PROJ string.

    Raises
    ------
    ValueError
        Another projection.

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
    params = {param.name: param.value for param in operation.params} if operation else {}
    equal_area = operation is not None and "Azimuthal Equal Area" in operation.method_name
    if (
        not equal_area
        or ellipsoid is None
        or ellipsoid.semi_minor_metre != ellipsoid.semi_major_metre
    ):
        raise mismatch("a spherical +proj=laea", repr(proj), "CATALOG.csv as the archive has it")
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
    """Latitude (axis 1) or longitude (axis 0) of pixel centres (event, y, x), when asked for."""

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

    def event(self, i: int, rows: slice) -> np.ndarray:
        import pyproj

        pixels = np.arange(self.shape[-1]) + 0.5
        x, y = self.x0[i] + pixels * self.dx[i], self.y0[i] + pixels[rows] * self.dy[i]
        if not np.isfinite(self.x0[i]):
            return np.full((y.size, x.size), np.nan)
        columns, rows_ = np.meshgrid(x, y)
        return pyproj.Proj(self.proj)(columns, rows_, inverse=True)[self.axis]
