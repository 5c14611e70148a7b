"""SEVIR for xarray: `xr.open_dataset(path, engine="sevir")` opens a file, `open_sevir` a folder.

An event is like any other radar or satellite record: `ds.isel(event=3)` is a Dataset (time, y, x)
with its own times, metres and degrees.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.conventions import decode_cf_variable
from xarray.core import indexing

from ...errors import mismatch, whole_number
from .events import (
    CATALOG,
    ORIGINAL,
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
from .files import NAME, SENSORS, File, FileLike, Flashes, Options, Rasters

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

    def open_dataset(  # type: ignore[override]  # an open store is no SEVIR file
        self,
        filename_or_obj: FileLike,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        catalog: Catalog | None = None,
        storage_options: Options | None = None,
    ) -> xr.Dataset:
        """Open the events of one file lazily, in the file's order; `open_sevir` describes them.

        Parameters
        ----------
        filename_or_obj : path, URL that fsspec knows, or binary file object
        drop_variables : str or iterable of str, optional
        mask_and_scale : bool
            False gives the bytes and integers of the file.
        catalog : path, URL or DataFrame, optional
            SEVIR's CATALOG.csv. None: `<root>/CATALOG.csv` for the file
            `<root>/data/<type>/<year>/<name>.h5`. If that doesn't exist, or has no row of the
            file, the Dataset has ids and nominal offsets only; a warning says so, and the
            attribute `catalog`.
        storage_options : mapping, optional
            Options for fsspec. None: S3 is read anonymously.

        Raises
        ------
        OSError
            A damaged file; FileNotFoundError if there is none.
        ValueError
            A dataset is missing or of another shape; a row of the catalogue without its event; a
            `catalog` without rows of the file. The error names the file.
        """
        file = File(filename_or_obj, storage_options)
        named = isinstance(filename_or_obj, str | os.PathLike)
        rows, source = _rows(file, named, catalog, storage_options)
        ds = _dataset([file], rows, mask_and_scale, source)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
        ds = ds.drop_vars(dropped, errors="ignore").assign_attrs(catalog=source)
        ds.set_close(file.close)
        return ds

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Decide by the name alone: SEVIR_<TYPE>_<EVENTS>_<YEAR>_<MMDD>_<MMDD>.h5."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return NAME.search(str(os.fspath(filename_or_obj))) is not None


def _rows(
    file: File, named: bool, catalog: Catalog | None, options: Options | None
) -> tuple[pd.DataFrame | None, str]:
    """Return the catalogue's rows of a file, or None, and the catalogue's name."""
    contents, source = file.contents, catalog
    place = find_catalog(file.name) if named and catalog is None else None
    if place is not None and exists(place, options):
        source = place
    if source is None:
        why = f"no catalogue to read at {place}" if place else "no catalogue"
    else:
        name = _name(source)
        rows = of_file(read_catalog(source, options), file.name, contents)
        if rows is not None:
            return rows, name
        if catalog is not None:
            raise mismatch(f"rows of {file.name} in the catalogue", "none", "SEVIR's CATALOG.csv")
        why = f"no row of {file.name} in {name}"
    warnings.warn(
        f"{why}: event ids and nominal offsets alone, no times and no places; "
        'try xr.open_dataset(..., engine="sevir", catalog="CATALOG.csv")',
        stacklevel=4,  # the line that calls xr.open_dataset
    )
    return None, NO_CATALOG


def _name(catalog: Catalog) -> str:
    return "a DataFrame" if isinstance(catalog, pd.DataFrame) else os.fspath(catalog)


def _dataset(
    files: Sequence[File], rows: pd.DataFrame | None, mask_and_scale: bool, source: str
) -> xr.Dataset:
    """Return events of one sensor, from any number of files; without rows, all of the first."""
    contents = files[0].contents
    coords: dict[str, xr.Variable | tuple[object, ...]]
    if rows is None:
        row = np.arange(contents.events)
        file, ids = np.zeros_like(row), contents.ids
        offset = ("time", nominal_offsets(contents.frames), {"long_name": "nominal offset"})
        coords = {**({} if ids is None else identity(ids)), "offset": offset}
    else:
        coords = coordinates(rows, contents.size, contents.frames, source)
        file, row, ids = (rows[column].to_numpy() for column in ("file", "row", "id"))
    array: Flashes | Rasters
    if contents.sensor == "lght":
        assert ids is not None  # its ids are the names of its datasets
        array = Flashes(files, file, ids.tolist())
    else:
        array = Rasters(files, file, row)
    attrs = dict(SENSORS[contents.sensor].attrs)
    if rows is not None:
        attrs["grid_mapping"] = "crs"
    raw = xr.Variable(DIMS, indexing.LazilyIndexedArray(array), attrs)
    decoded = decode_cf_variable(contents.sensor, raw, mask_and_scale=mask_and_scale)
    decoded.encoding["preferred_chunks"] = {"event": 1}  # an event is contiguous in its file
    return xr.Dataset({contents.sensor: decoded}, coords, ATTRS)


# --- a folder of files


def open_sevir(
    root: str | os.PathLike[str],
    catalog: Catalog | None = None,
    sensors: Sequence[str] = ("vil",),
    split: str | None = None,
    events: Iterable[str] | None = None,
    storage_options: Options | None = None,
) -> xr.Dataset:
    """Open SEVIR: the events of all its files, with several sensors if asked for.

    Parameters
    ----------
    root : path, or URL that fsspec knows
        The folder that holds CATALOG.csv and data/: "sevir", "s3://sevir". SEVIR-LR has the same
        layout.
    catalog : path, URL or DataFrame, optional
        A catalogue to use in place of the root's; rows of it, if the folder holds some of the
        files only.
    sensors : sequence of str
        From "vil", "ir069", "ir107", "vis" and "lght". Events that lack one of them are left out.
    split : {None, "train", "val", "test"}
        None: every event. The papers' splits: train until 2019-01-01, val until 2019-06-01, test
        after it, without events of which a raster misses anything (`pct_missing`).
    events : iterable of str, optional
        Ids, which also set the order. None: all.
    storage_options : mapping, optional
        Options for fsspec. None: S3 is read anonymously.

    Returns
    -------
    Dataset
        A variable (event, time, y, x) for each sensor, float32, lazy, one chunk per event: vil on
        the byte scale with NaN for the byte 255, ir069 and ir107 in degC, vis as reflectance; lght
        is int16, flashes counted on 48 x 48 pixels in the five minutes up to each frame.
        Coordinates:

        - event: id; time_utc, event_type, pct_missing (event,)
        - time: UTC, and offset, from time_utc (event, time): the real ones of each frame, of which
          satellites have some twice
        - y, x: metres (event, y), (event, x), of pixel centres, row 0 in the south; lat, lon
          (event, y, x); crs, the map projection

        The first sensor's grid is y and x. Another grid's dims and coordinates carry its pixel
        size: y_2km, x_2km, lat_2km, lon_2km; and each further sensor has its own time_<sensor> and
        pct_missing_<sensor>. The attributes dropped_repeated_id, dropped_not_of_every_sensor and
        dropped_incomplete count the ids left out.

    Raises
    ------
    OSError
        A damaged file; FileNotFoundError for a row of the catalogue without its file.
    ValueError
        An unknown sensor, split or event; a dataset that is missing or of another shape; a row of
        the catalogue without its event, or that leads out of the root. The error names the file.

    Notes
    -----
    Veillette, Samsi, Mattioli (2020), NeurIPS 33; the split is that of Gao et al. (2022), NeurIPS
    35.

    Examples
    --------
    Forecast one event from its thirteenth frame, by way of the rain below::

        ds = xef.open_sevir("s3://sevir", split="test")
        rain = xef.rain_of_vil(ds["vil"].isel(event=0))
        fc = rain.earthformer.forecast("nowcast-radar", init=rain["time"].values[12])
        vil = xef.vil_of_rain(fc)
    """
    sensors = (sensors,) if isinstance(sensors, str) else tuple(sensors)
    unknown = [sensor for sensor in sensors if sensor not in SENSORS]
    if unknown or not sensors:
        raise mismatch(f"sensors of {', '.join(SENSORS)}", repr(sensors), 'sensors=("vil",)')
    root = os.fspath(root).rstrip("/")
    source = f"{root}/{CATALOG}" if catalog is None else catalog
    chosen, dropped = select(read_catalog(source, storage_options), sensors, split, events)
    datasets = {}
    for sensor, rows in chosen.items():
        files, rows = _files(root, sensor, rows, storage_options)
        datasets[sensor] = _chunked(_dataset(files, rows, True, _name(source)))
    ds = _side_by_side(datasets)
    counts = {f"dropped_{why}": count for why, count in dropped.items()}
    return ds.assign_attrs(catalog=_name(source), split=split or "none", **counts)


def _files(
    root: str, sensor: str, rows: pd.DataFrame, options: Options | None
) -> tuple[list[File], pd.DataFrame]:
    """Return the files that hold events, checked, and the rows with their file and place in it."""
    names = list(dict.fromkeys(rows["file_name"]))
    files = []
    for name in names:
        own = rows[rows["file_name"] == name]
        file = File(f"{root}/data/{check_path(name)}", options)
        try:
            contents = file.contents
        except FileNotFoundError as error:
            words = mismatch(
                f"data/{name}, where the catalogue has {len(own)} of the events",
                f"no such file: {file.name}",
                "catalog=rows[rows.file_name.isin([...])], of the files at hand, or a download",
            )
            raise FileNotFoundError(str(words)) from error
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
    """Turn variables on the grid into dask arrays, one chunk per event; the others stay."""
    big = [name for name, var in ds.variables.items() if {"y", "x"} <= set(var.dims)]
    return ds.assign({name: ds[name].variable.chunk({"event": 1}) for name in big})


def _side_by_side(datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Merge sensors of the same events into one Dataset; the first one's grid is y and x."""
    first, *others = datasets
    ds = datasets[first]
    grids = {ds.sizes["x"]}
    for sensor in others:
        other = datasets[sensor]
        apart = (np.abs(_corners(other) - _corners(datasets[first])) > 1).any(axis=0)  # metres
        if apart.any():
            raise mismatch(
                f"event {other['event'].values[apart][0]} in one place",
                f"one of {first} and another of {sensor}",
                ORIGINAL,
            )
        own = {name: f"{name}_{sensor}" for name in ("time", "pct_missing")}
        other = other.rename_vars(own).drop_vars(["offset", "time_utc", "event_type", "crs"])
        size = other.sizes["x"]
        if size != ds.sizes["x"]:
            names = ("y", "x", "lat", "lon")
            other = other.rename({name: f"{name}_{_pixel(other)}" for name in names})
        if size in grids:  # its coordinates are there already
            other = other.drop_vars([name for name in other.coords if name in ds.coords])
        grids.add(size)
        ds = ds.assign_coords(other.coords).assign({sensor: other[sensor].variable})
    return ds


def _corners(ds: xr.Dataset) -> np.ndarray:
    """Return outer lower left corners (2, event), from the first two pixel centres."""
    return np.stack([1.5 * ds[c].values[:, 0] - 0.5 * ds[c].values[:, 1] for c in ("x", "y")])


def _pixel(ds: xr.Dataset) -> str:
    """Return the size of pixels in words: "2km", "500m"."""
    metres = round(float(np.diff(ds["x"].values[0, :2])[0]))
    return f"{metres // 1000}km" if metres % 1000 == 0 else f"{metres}m"


def sevir_windows(ds: xr.Dataset, frames: int = 25, stride: int = 12) -> xr.Dataset:
    """Split events into windows, each in the form of an event: the papers' three of 25 frames.

    Parameters
    ----------
    ds : Dataset
        Dims event and time, as `open_sevir` gives them.
    frames : int
        Frames of a window: 25 (13 in, 12 out), for SEVIR-LR 13 (7 in, 6 out).
    stride : int
        Frames from the start of one window to that of the next: 12, for SEVIR-LR 6.

    Returns
    -------
    Dataset
        Windows along `event`, those of an event one after the other, each with the id, the times
        and the place of its event; lazy. Frames after the last full window are left out.

    Raises
    ------
    ValueError
        Other dims; a window that doesn't fit; events without their own times.

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
            'xef.sevir_windows(ds[["vil"]]), or of one event ds[["vil"]].isel(event=[0])',
        )
    total = ds.sizes["time"]
    whole_number("stride", stride)
    if whole_number("frames", frames) > total:
        raise mismatch(f"windows of 1 to {total} frames", f"{frames}", f"frames={total}")
    alone = [name for name, coord in ds.coords.items() if coord.dims == ("time",)]
    if alone:
        raise mismatch(
            "times of each event (event, time)",
            f"{alone[0]} (time,): SEVIR opened without its catalogue",
            'xr.open_dataset(..., engine="sevir", catalog="CATALOG.csv")',
        )
    ds = _chunked(ds)
    starts = range(0, total - frames + 1, stride)
    pieces = [ds.isel(time=slice(start, start + frames)) for start in starts]
    windows = xr.concat(pieces, "event", coords="minimal", compat="override", join="override")
    # concat puts all first windows before all second ones: order them by event
    order = np.arange(windows.sizes["event"]).reshape(len(starts), -1).T.ravel()
    return windows.isel(event=order)
