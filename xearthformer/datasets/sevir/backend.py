"""SEVIR as xarray sees it: `xr.open_dataset(path, engine="sevir")`, and `open_sevir` for a folder.

An event has the form of any other record of radar or satellite: `ds.isel(event=3)` is a Dataset
(time, y, x) with times, metres and degrees of its own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.conventions import decode_cf_variable
from xarray.core import indexing

from ...errors import mismatch
from .events import (
    Catalog,
    check_ids,
    check_path,
    coordinates,
    exists,
    find_catalog,
    identity,
    nominal_offsets,
    of_file,
    read_catalog,
    select,
)
from .files import NAME, SENSORS, File, Flashes, Rasters

ATTRS = {
    "Conventions": "CF-1.8",
    "title": "SEVIR: Storm EVent ImagRy",
    "institution": "MIT Lincoln Laboratory",
    "references": "Veillette, M. S., S. Samsi, C. J. Mattioli (2020): SEVIR: A storm event imagery "
    "dataset for deep learning applications in radar and satellite meteorology, NeurIPS 33",
    "license": "There are no restrictions on the use of this data.",
}
NO_CATALOG = "none: ids and nominal offsets alone, no times and no places"
DIMS = ("event", "time", "y", "x")


class SevirBackendEntrypoint(BackendEntrypoint):
    """Opens a SEVIR HDF5 file of any sensor: `xr.open_dataset(path, engine="sevir")`."""

    description = "Open SEVIR's HDF5 files (.h5) of vil, ir069, ir107, vis and lght"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        catalog: Catalog | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Events of one file, as `open_sevir` describes them, lazy and in the file's order.

        Parameters
        ----------
        filename_or_obj : path, URL that fsspec knows, or binary file object
        drop_variables : str or iterable of str, optional
        mask_and_scale : bool
            False gives the bytes and integers of the file.
        catalog : path, URL or DataFrame, optional
            SEVIR's CATALOG.csv. None: the one at its place, `<root>/CATALOG.csv` of
            `<root>/data/<type>/<year>/<name>.h5`. Without one, or without a row of the file in the
            one at its place, there are ids and nominal offsets alone: a warning says so, and the
            attribute `catalog`.
        storage_options : mapping, optional
            For fsspec. None: S3 is read anonymously.

        Raises
        ------
        OSError
            A damaged file; FileNotFoundError if there is none.
        ValueError
            A dataset is missing or of another shape; a row of the catalogue without its event; no
            row of the file in the catalogue given. The file is named.
        """
        file = File(filename_or_obj, storage_options)
        named = isinstance(filename_or_obj, str | os.PathLike)
        rows, source = _rows(file, named, catalog, storage_options)
        ds = _dataset([file], rows, mask_and_scale, source)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
        ds = ds.drop_vars(dropped, errors="ignore").assign_attrs(catalog=source)
        ds.set_close(file.close)
        return ds

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """By its name alone: SEVIR_<TYPE>_<EVENTS>_<YEAR>_<MMDD>_<MMDD>.h5."""
        name = isinstance(filename_or_obj, str | os.PathLike)
        return name and NAME.search(os.fspath(filename_or_obj)) is not None


def _rows(
    file: File, named: bool, catalog: Catalog | None, options: Mapping[str, Any] | None
) -> tuple[pd.DataFrame | None, str]:
    """The catalogue's rows of a file, and what to call the catalogue; None if there are none."""
    contents, found = file.contents, catalog
    if found is None:
        place = find_catalog(file.name) if named else None
        found = place if place is not None and exists(place, options) else None
    if found is None:
        why = f"no catalogue to read at {place}" if named and place else "no catalogue"
    else:
        source = "a DataFrame" if isinstance(found, pd.DataFrame) else os.fspath(found)
        rows = of_file(read_catalog(found, options), file.name, contents)
        if rows is not None:
            return rows, source
        if catalog is not None:
            raise mismatch(f"rows of {file.name} in the catalogue", "none", "SEVIR's CATALOG.csv")
        why = f"no row of {file.name} in {source}"
    warnings.warn(
        f"{why}: event ids and nominal offsets alone, no times and no places; "
        'try xr.open_dataset(..., engine="sevir", catalog="CATALOG.csv")',
        stacklevel=4,
    )
    return None, NO_CATALOG


def _dataset(
    files: Sequence[File], rows: pd.DataFrame | None, mask_and_scale: bool, source: str
) -> xr.Dataset:
    """Events of one sensor, of any number of files; without rows, all of the first file."""
    contents = files[0].contents
    if rows is None:
        every = np.arange(contents.events)
        ids = {} if contents.ids is None else identity(contents.ids)
        offset = ("time", nominal_offsets(contents.frames), {"long_name": "nominal offset"})
        coords: dict[str, Any] = {**ids, "offset": offset}
        file, row, names = np.zeros_like(every), every, contents.ids
    else:
        coords = dict(coordinates(rows, contents.size, contents.frames, source))
        file, row, names = (rows[column].to_numpy() for column in ("file", "row", "id"))
    array: Flashes | Rasters
    if contents.sensor == "lght":
        assert names is not None
        array = Flashes(files, file, names.tolist())
    else:
        array = Rasters(files, file, row)
    attrs = dict(SENSORS[contents.sensor].attrs)
    if rows is not None:
        attrs["grid_mapping"] = "crs"
    raw = xr.Variable(DIMS, indexing.LazilyIndexedArray(array), attrs)
    decoded = decode_cf_variable(contents.sensor, raw, mask_and_scale=mask_and_scale)
    decoded.encoding["preferred_chunks"] = {"event": 1}
    return xr.Dataset({contents.sensor: decoded}, coords, ATTRS)


# --- a folder of files


def open_sevir(
    root: str | os.PathLike[str],
    catalog: Catalog | None = None,
    sensors: Sequence[str] = ("vil",),
    split: str | None = None,
    events: Iterable[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open SEVIR: the events of all its files, sensors side by side.

    Parameters
    ----------
    root : path, or URL that fsspec knows
        Of the folder that holds CATALOG.csv and data/: "sevir", "s3://sevir". SEVIR-LR has the same
        form.
    catalog : path, URL or DataFrame, optional
        Another catalogue than the root's; rows of it, where the folder holds some of the files.
    sensors : sequence of str
        Of "vil", "ir069", "ir107", "vis" and "lght". An event must have them all.
    split : {None, "train", "val", "test"}
        None: every event. The papers' splits are train until 2019-01-01, val until 2019-06-01, test
        after it, and leave out events of which a raster misses anything (`pct_missing`).
    events : iterable of str, optional
        Ids, in the order wanted. None: all.
    storage_options : mapping, optional
        For fsspec. None: S3 is read anonymously.

    Returns
    -------
    Dataset
        A variable (event, time, y, x) for each sensor, float32, lazy, an event a chunk: vil on the
        byte scale with NaN for the byte 255, ir069 and ir107 in degC, vis as reflectance; lght is
        int16, flashes counted on 48 x 48 pixels in the five minutes up to each frame. Coordinates:

        - event: id; time_utc, event_type, pct_missing (event,)
        - time: UTC, and offset, from time_utc (event, time): the real ones of each frame, of which
          satellites have some twice
        - y, x: metres (event, y), (event, x), of pixel centres, row 0 in the south; lat, lon
          (event, y, x); crs, the map projection

        The first sensor's grid is y and x. Another grid's dims and coordinates carry its pixel
        size: y_2km, x_2km, lat_2km, lon_2km; and each further sensor has time_<sensor> and
        pct_missing_<sensor> of its own. The attributes dropped_repeated_id,
        dropped_not_of_every_sensor and dropped_incomplete count the ids left out.

    Raises
    ------
    OSError
        A damaged file; FileNotFoundError for a row of the catalogue without its file.
    ValueError
        An unknown sensor, split or event; a dataset that is missing or of another shape; a row of
        the catalogue without its event, or that leads out of the root. The file is named.

    Notes
    -----
    Veillette, Samsi, Mattioli (2020), NeurIPS 33; the split is that of Gao et al. (2022), NeurIPS
    35.

    Examples
    --------
    Forecast one event, from its thirteenth frame on::

        ds = xef.open_sevir("s3://sevir", split="test")
        event = ds["vil"].isel(event=0)
        fc = event.earthformer.forecast("nowcast-radar", init=event.time.values[12])
    """
    sensors = (sensors,) if isinstance(sensors, str) else tuple(sensors)
    unknown = [sensor for sensor in sensors if sensor not in SENSORS]
    if unknown or not sensors:
        raise mismatch(f"sensors of {', '.join(SENSORS)}", repr(sensors), 'sensors=("vil",)')
    root = os.fspath(root).rstrip("/")
    source = f"{root}/CATALOG.csv" if catalog is None else catalog
    told = "a DataFrame" if isinstance(source, pd.DataFrame) else os.fspath(source)
    table = read_catalog(source, storage_options)
    chosen, dropped = select(table, sensors, split, events)
    parts = {}
    for sensor, rows in chosen.items():
        files, rows = _files(root, sensor, rows, storage_options)
        parts[sensor] = _chunked(_dataset(files, rows, True, told))
    ds = _side_by_side(parts)
    counts = {f"dropped_{why}": count for why, count in dropped.items()}
    return ds.assign_attrs(catalog=told, split=split or "none", **counts)


def _files(
    root: str, sensor: str, rows: pd.DataFrame, options: Mapping[str, Any] | None
) -> tuple[list[File], pd.DataFrame]:
    """The files that hold events, each looked into; the rows with their file and place in it."""
    names = list(dict.fromkeys(rows["file_name"]))
    files = []
    for name in names:
        own = rows[rows["file_name"] == name]
        file = File(f"{root}/data/{check_path(name)}", options)
        try:
            contents = file.contents
        except FileNotFoundError as error:
            raise FileNotFoundError(
                str(
                    mismatch(
                        f"data/{name}, where the catalogue has {len(own)} of the events",
                        f"no such file: {file.name}",
                        "downloading it, or catalog=rows[rows.file_name.isin([...])] with the "
                        "files at hand",
                    )
                )
            ) from error
        if contents.sensor != sensor:
            raise mismatch(f"a file of {sensor}: {file.name}", contents.sensor, "another file")
        check_ids(own, file.name, contents)
        files.append(file)
    sizes = {file.contents.size: file.name for file in files}
    if len(sizes) > 1:
        raise mismatch("files of one size", f"{sizes}", "a root for each of SEVIR and SEVIR-LR")
    number = {name: i for i, name in enumerate(names)}
    return files, rows.assign(file=rows["file_name"].map(number), row=rows["file_index"])


def _chunked(ds: xr.Dataset) -> xr.Dataset:
    """What is read from files, or made, as dask arrays, an event a chunk."""
    big = [name for name, var in ds.variables.items() if {"y", "x"} <= set(var.dims)]
    return ds.assign({name: ds[name].variable.chunk({"event": 1}) for name in big})


def _side_by_side(parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Sensors of the same events in one Dataset; the first one's grid is y and x."""
    first, *others = parts
    ds = parts[first]
    grids = {ds.sizes["x"]}
    for sensor in others:
        part = parts[sensor]
        apart = (np.abs(_corners(part) - _corners(parts[first])) > 1).any(axis=0)
        if apart.any():
            raise mismatch(
                f"event {part['event'].values[apart][0]} in one place",
                f"one of {first} and another of {sensor}",
                "CATALOG.csv as the archive has it",
            )
        own = {name: f"{name}_{sensor}" for name in ("time", "pct_missing")}
        part = part.rename_vars(own).drop_vars(["offset", "time_utc", "event_type", "crs"])
        size = part.sizes["x"]
        if size != ds.sizes["x"]:
            part = part.rename(
                {name: f"{name}_{_pixel(part)}" for name in ("y", "x", "lat", "lon")}
            )
        if size in grids:
            part = part.drop_vars([name for name in part.coords if name in ds.coords])
        grids.add(size)
        ds = ds.assign_coords(part.coords).assign({sensor: part[sensor].variable})
    return ds


def _corners(ds: xr.Dataset) -> np.ndarray:
    """Outer lower left corners (2, event) of events, from their first two pixel centres."""
    return np.stack([1.5 * ds[c].values[:, 0] - 0.5 * ds[c].values[:, 1] for c in ("x", "y")])


def _pixel(ds: xr.Dataset) -> str:
    """The size of pixels in words: "2km", "500m"."""
    metres = round(float(np.diff(ds["x"].values[0, :2])[0]))
    return f"{metres // 1000}km" if metres % 1000 == 0 else f"{metres}m"


def sevir_windows(ds: xr.Dataset, frames: int = 25, stride: int = 12) -> xr.Dataset:
    """Cut events into windows, each in the form of an event: the papers' three of 25 frames.

    Parameters
    ----------
    ds : Dataset
        Dims event and time, as `open_sevir` gives them.
    frames : int
        Length of a window: 25 (13 in, 12 out), for SEVIR-LR 13 (7 in, 6 out).
    stride : int
        From the start of one to that of the next: 12, for SEVIR-LR 6.

    Returns
    -------
    Dataset
        Windows along `event`, those of an event one after the other, each with the id, the times
        and the place of its event; lazy. Frames after the last whole window are left out.

    Raises
    ------
    ValueError
        Other dims; no window fits; events without times of their own.

    Examples
    --------
    >>> offset = (("event", "time"), np.arange(98).reshape(2, 49))
    >>> ds = xr.Dataset({"vil": offset}, {"event": ["S1", "S2"], "offset": offset})
    >>> windows = sevir_windows(ds)
    >>> dict(windows.sizes), windows.event.values.tolist()
    ({'event': 6, 'time': 25}, ['S1', 'S1', 'S1', 'S2', 'S2', 'S2'])
    >>> windows.offset[:, 0].values
    array([ 0, 12, 24, 49, 61, 73])
    """
    if not isinstance(ds, xr.Dataset) or not {"event", "time"} <= {*ds.dims}:
        raise mismatch(
            "a Dataset with dims event and time, as open_sevir gives it",
            f"a {type(ds).__name__}, dims {tuple(ds.dims)}",
            'sevir_windows(ds[["vil"]]), or of one event ds[["vil"]].isel(event=[0])',
        )
    total = ds.sizes["time"]
    if frames < 1 or stride < 1 or total < frames:
        raise mismatch(f"windows of 1 to {total} frames", f"{frames}, every {stride}", "fewer")
    alone = [name for name, coord in ds.coords.items() if coord.dims == ("time",)]
    if alone:
        raise mismatch(
            "times of each event (event, time)",
            f"{alone[0]} (time,): SEVIR opened without its catalogue",
            'xr.open_dataset(..., engine="sevir", catalog="CATALOG.csv")',
        )
    ds = _chunked(ds)
    starts = range(0, total - frames + 1, stride)
    cuts = [ds.isel(time=slice(start, start + frames)) for start in starts]
    windows = xr.concat(cuts, "event", coords="minimal", compat="override", join="override")
    order = np.arange(windows.sizes["event"]).reshape(len(starts), -1).T.ravel()
    return windows.isel(event=order)
