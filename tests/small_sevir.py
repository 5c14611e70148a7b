"""SEVIR on a small scale: a few events of its archive's exact layout, files, catalogue and all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyproj

PROJ = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere "
RASTERS = {"vil": ("u1", 384), "ir069": ("i2", 192), "ir107": ("i2", 192), "vis": ("i2", 768)}
MINUTES = np.arange(-120, 121, 5)


@dataclass(frozen=True)
class Event:
    """What the catalogue says of an event, in every sensor; `files` is the middle of file names.

    `left` and `bottom` are the outer lower left corner in kilometres; `first` is the first real
    offset of the radar's frames, in minutes; the frames in `missing` are the byte 255 in vil.
    """

    id: str
    time_utc: str
    files: str
    event_type: str | None = "Hail"
    left: int = 0
    bottom: int = 0
    first: int = -120
    missing: Sequence[int] = ()


# One of each: a complete event of the training period, one that misses frames, one of the
# validation and one of the test period, a random one, and a random one that is there twice.
EVENTS = (
    Event("S728503", "2018-05-12 18:30:00", "STORMEVENTS_2018_0101_0630", left=-274, bottom=-890),
    Event("S728504", "2018-06-01 02:05:00", "STORMEVENTS_2018_0101_0630", missing=(3, 4)),
    Event("R18032505027684", "2018-03-25 05:00:00", "RANDOMEVENTS_2018_0101_0430", None, 20, 40),
    Event("S831344", "2019-05-26 00:55:00", "STORMEVENTS_2019_0101_0630", "Tornado", 222, 66, -122),
    Event("S821019", "2019-06-17 01:00:00", "STORMEVENTS_2019_0101_0630", "Flood", first=-118),
)
TWICE = Event("R19032609517130", "2019-03-26 09:51:00", "RANDOMEVENTS_2019_0101_0430", None)


def frames(sensor: str, event: int) -> np.ndarray:
    """Raw frames (time, y, x) of an event of that number: each corner, time and event differs."""
    dtype, size = RASTERS[sensor]
    t, y, x = (np.arange(n, dtype="i2").reshape(s) for n, s in _axes(size))
    return (20 * event + t + 2 * (y // (size // 24)) + 3 * (x // (size // 24))).astype(dtype)


def _axes(size: int) -> list[tuple[int, tuple[int, ...]]]:
    return [(49, (-1, 1, 1)), (size, (1, -1, 1)), (size, (1, 1, -1))]


def flashes(event: int) -> np.ndarray:
    """Flashes (n, 5) of an event of that number: `event` of them in frame 1, row 2, column 3."""
    one = [-119 * 60.0, 38.0, -98.0, 3.5, 2.5]
    return np.array([one] * event + [[60.0, 38.0, -98.0, 47.9, 0.0]])


def row(event: Event, sensor: str, file_name: str, index: int) -> dict:
    """A row of CATALOG.csv, its 21 columns in order."""
    x0, y0 = event.left * 1000, event.bottom * 1000
    laea = pyproj.Proj(PROJ.strip())
    lon, lat = laea([x0, x0 + 384_000], [y0, y0 + 384_000], inverse=True)
    radar = sensor == "vil"
    offsets = MINUTES + (120 + event.first if radar else 0)
    number = float(event.id[1:]) if event.id.startswith("S") else None
    size = 48 if sensor == "lght" else RASTERS[sensor][1]
    return {
        "id": event.id,
        "file_name": file_name,
        "file_index": index,
        "img_type": sensor,
        "time_utc": event.time_utc,
        "minute_offsets": None if sensor == "lght" else ":".join(map(str, offsets)),
        "episode_id": number and 138793.0,
        "event_id": number,
        "event_type": event.event_type,
        "llcrnrlat": round(lat[0], 8),
        "llcrnrlon": round(lon[0], 8),
        "urcrnrlat": round(lat[1], 8),
        "urcrnrlon": round(lon[1], 8),
        "proj": PROJ,
        "size_x": size,
        "size_y": size,
        "height_m": 384000.0,
        "width_m": 384000.0,
        "data_min": 0.0,
        "data_max": 254.0,
        "pct_missing": len(event.missing) / 49 if radar else 0.0,
    }


def write_raster(path: Path, sensor: str, ids: Sequence[str], values: np.ndarray) -> None:
    """A file of raw frames (event, time, y, x), stored as (event, y, x, time), contiguous."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[sensor] = np.moveaxis(values, 1, -1)
        file["id"] = np.array(ids, "S")


def write_lightning(path: Path, flashes: Mapping[str, np.ndarray]) -> None:
    """A file of flashes (n, 5), a dataset an event."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for event, table in flashes.items():
            file[event] = table


def make(root: Path, events: Sequence[Event] = EVENTS, sensors: Sequence[str] = ("vil",)) -> Path:
    """Write data/<type>/<year>/SEVIR_....h5 and CATALOG.csv below `root`.

    Satellite files hold the events of a year in another order than radar files do, and are cut
    otherwise; lightning lies in files of a month, its rows all at index 0.
    """
    rows = []
    for sensor in sensors:
        for name, held in _files(events, sensor).items():
            ids = [event.id for event in held]
            if sensor == "lght":
                table = {event.id: flashes(events.index(event)) for event in held}
                write_lightning(root / "data" / name, table)
            else:
                write_raster(root / "data" / name, sensor, ids, _values(sensor, held, events))
            at = (lambda i: 0) if sensor == "lght" else (lambda i: i)
            rows += [row(event, sensor, name, at(i)) for i, event in enumerate(held)]
    pd.DataFrame(rows).to_csv(root / "CATALOG.csv", index=False)
    return root


def _values(sensor: str, held: Sequence[Event], events: Sequence[Event]) -> np.ndarray:
    values = np.stack([frames(sensor, events.index(event)) for event in held])
    for i, event in enumerate(held):
        if sensor == "vil":
            values[i, list(event.missing)] = 255
    return values


def _files(events: Sequence[Event], sensor: str) -> dict[str, list[Event]]:
    """Which events lie in which file, in order."""
    files: dict[str, list[Event]] = {}
    for event in events if sensor == "vil" else events[::-1]:
        year, month = event.time_utc[:4], event.time_utc[5:7]
        middle = {"vil": event.files, "lght": f"ALLEVENTS_{year}_{month}01_{month}28"}
        name = middle.get(sensor, f"ALLEVENTS_{year}_0101_1231")
        files.setdefault(f"{sensor}/{year}/SEVIR_{sensor.upper()}_{name}.h5", []).append(event)
    return files


def twice(events: Sequence[Event] = EVENTS) -> tuple[Event, ...]:
    """The events and, in two radar files of 2019, one id that is there twice."""
    return (*events, TWICE, replace(TWICE, files="RANDOMEVENTS_2019_0501_0831"))
