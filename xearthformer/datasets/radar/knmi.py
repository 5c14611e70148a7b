"""KNMI's HDF5 composites for xarray: `xr.open_dataset(path, engine="knmi")`.

The Dutch weather service publishes rain amounts (RAD_NL25_RAC and its kin, 5 minutes to a month),
reflectivity (RAD_NL25_PCP) and its own nowcast of two hours, each as images in one model of HDF5.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendEntrypoint

from ...errors import mismatch
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
from .projection import GRID_MAPPING, Grid, read_crs

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

FORMULA = re.compile(r"GEO\s*=\s*([-+.\deE]+)\s*\*\s*PV\s*\+\s*([-+.\deE]+)")
# By the unit in image_geo_parameter, such as REFLECTIVITY_[DBZ]: a name, attributes, and the value
# where nothing was detected.
QUANTITIES: dict[str, tuple[str, dict[str, str], float]] = {
    "MM": ("rain_amount", {**ACCUMULATION, "cell_methods": "time: sum"}, 0.0),
    "MM/H": ("rain_rate", RATE, 0.0),
    "DBZ": ("dbz", DBZ, -np.inf),
}
METRES = {"KM": 1000.0, "M": 1.0}  # geo_dim_pixel
# KNMI's products by name: https://dataplatform.knmi.nl, "radar"
PRODUCTS = "a composite of rain or reflectivity, such as RAD_NL25_RAC or RAD_NL25_PCP"


class KnmiBackendEntrypoint(BackendEntrypoint):
    """Opens KNMI's HDF5 composites: `xr.open_dataset(path, engine="knmi")`."""

    description = "Open KNMI's HDF5 radar composites: rain amounts, rates and reflectivity"

    def open_dataset(  # type: ignore[override]  # an open store is no KNMI file
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        projection: str | bool = True,
    ) -> xr.Dataset:
        """Open the images of one file lazily, along time.

        Parameters
        ----------
        filename_or_obj : path
        drop_variables : str or iterable of str, optional
        projection : str or bool
            True: what the file says. A PROJ string or an EPSG code: that instead. False: none, and
            metres from the lower left corner.

        Returns
        -------
        Dataset
            Dims time, y (north first) and x, in metres; scalar `crs` with the CF grid mapping. One
            variable: `rain_amount` in mm, with its own start and end in `time_bnds`, `rain_rate` in
            mm h-1, or `dbz` in dBZ. NaN where nothing was seen; where nothing was detected, rain
            is 0 and reflectivity -inf. Time is the end of the product.

        Raises
        ------
        OSError
            A damaged file; FileNotFoundError if there is none.
        ValueError
            Another product, or a projection that cannot be read.
        """
        path = local_path(filename_or_obj)
        with open_hdf5(path) as file:
            _check_product(file, path)
            images = numbered(file, "image")
            name, attrs, frames = _frames(file, images, path)
            times, bounds = _times(file, images, path)
            grid = _grid(file, file[frames[0].path].shape, path, projection)
            title = attributes(file, "overview").get("product_group_name", "radar composite")
            title = attributes(file, "image1").get("image_product_name", title)
        if grid.crs is not None:
            attrs["grid_mapping"] = GRID_MAPPING
        coords = grid.coords_in_time(times, bounds if name == "rain_amount" else None)
        reader = Reader(path)
        data = {name: variable(Frames(reader, frames, grid.shape), grid.dims, attrs)}
        about = {"Conventions": "CF-1.8", "title": str(title), "institution": "KNMI"}
        ds = xr.Dataset(data, coords, about)
        return closable(ds, reader, drop_variables)

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Say whether a file is a composite of KNMI's."""
        return isinstance(filename_or_obj, str | os.PathLike) and is_knmi(filename_or_obj)


def is_knmi(path: str | os.PathLike[str]) -> bool:
    """Say whether a file is HDF5 of KNMI's model that holds an image, by its first groups."""
    try:
        with open_hdf5(os.fspath(path)) as file:
            return {"geographic", "image1", "overview"} <= {*file}
    except OSError:
        return False


def _check_product(file: h5py.File, path: str) -> None:
    if "image1" not in file or "geographic" not in file:
        hint = f"h5py.File({path!r}).visit(print), for what it holds"
        found = ", ".join(file) or "nothing"
        raise mismatch(f"an image of KNMI's model: {path} with image1 and geographic", found, hint)


def _frames(
    file: h5py.File, images: list[str], path: str
) -> tuple[str, dict[str, object], list[Frame]]:
    """Return the name and the attributes of what the images show, and where they lie."""
    frames = []
    parameter = str(attributes(file, "image1").get("image_geo_parameter", ""))
    unit = re.search(r"\[([^]]+)\]", parameter)
    quantity = QUANTITIES.get(unit[1].upper().replace("_", "") if unit else "")
    if quantity is None:
        hint = f"h5py.File({path!r})['image1'].attrs, for what it says of itself"
        raise mismatch(PRODUCTS, f"image_geo_parameter {parameter or 'missing'!r}", hint)
    name, attrs, nothing = quantity
    for image in images:
        # a file of several images may state the codes of the first alone
        calibration = attributes(file, f"{image}/calibration") or attributes(
            file, "image1/calibration"
        )
        formula = FORMULA.search(str(calibration.get("calibration_formulas", "")))
        if formula is None:
            found = repr(calibration.get("calibration_formulas", "none"))
            hint = f"h5py.File({path!r})['{image}/calibration'].attrs, for what it says"
            raise mismatch("calibration_formulas as GEO = a * PV + b", found, hint)
        codes = [
            float(calibration[key])
            for key in ("calibration_out_of_image", "calibration_missing_data")
            if key in calibration
        ]
        # Older files give 0 as the code of missing data, which is also no rain: nearly all of the
        # Netherlands on a dry day. What was not seen has the highest code in them.
        missing = tuple(code for code in codes if code != 0)
        gain, offset = float(formula[1]), float(formula[2])
        frames.append(Frame(f"{image}/image_data", gain, offset, missing, 0.0, nothing))
    return name, dict(attrs), frames


def _times(file: h5py.File, images: list[str], path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the time of each image, and the start and end of its interval (time, 2)."""
    overview = attributes(file, "overview")
    start, end = (_time(overview.get(f"product_datetime_{which}")) for which in ("start", "end"))
    valid = [_time(attributes(file, image).get("image_datetime_valid")) for image in images]
    if len(images) == 1:
        valid = [end if end is not None else valid[0]]
    times = [time for time in valid if time is not None]
    if len(times) < len(images):
        expected = f"a time of each image: product_datetime_end or image_datetime_valid in {path}"
        raise mismatch(expected, f"{len(times)} of {len(images)}", "another copy of the file")
    if len(times) > 1:  # a nowcast: each image is of the step that ends at it
        starts = [times[0] - (times[1] - times[0]), *times[:-1]]
    else:
        starts = [start if start is not None else times[0]]
    both = np.array(list(zip(starts, times, strict=True)), "datetime64[ns]")
    return both[:, 1], both


def _time(text: str | float | None) -> pd.Timestamp | None:
    """Return a time such as 31-AUG-2010;00:05:00.000."""
    time = pd.to_datetime(str(text or ""), format="%d-%b-%Y;%H:%M:%S.%f", errors="coerce")
    return None if pd.isna(time) else time


def _grid(file: h5py.File, shape: tuple[int, int], path: str, projection: str | bool) -> Grid:
    """Return the pixels: KNMI counts columns and rows from the projection's origin."""
    where = attributes(file, "geographic")
    unit = METRES.get(_of_first(file["geographic"].attrs.get("geo_dim_pixel")), 1000.0)
    width, height = (float(where[f"geo_pixel_size_{axis}"]) for axis in ("x", "y"))
    rows, columns = int(shape[0]), int(shape[1])
    left = float(where["geo_column_offset"]) * width * unit
    top = -float(where["geo_row_offset"]) * abs(height) * unit
    if projection is False:
        left, top = 0.0, rows * abs(height) * unit
    without = f"xr.open_dataset({path!r}, engine='knmi', projection=False)"
    own = str(attributes(file, "geographic/map_projection").get("projection_proj4_params", ""))
    text = own if projection is True else projection
    crs = None if text is False else read_crs(str(text), without)
    return Grid(crs, left, top, width * unit, abs(height) * unit, (rows, columns))


def _of_first(text: bytes | str | None) -> str:
    """Return the first of two words such as KM,KM."""
    words = text.decode() if isinstance(text, bytes) else str(text or "")
    return words.split(",")[0].strip().upper()
