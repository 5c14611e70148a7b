"""ICAR-ENSO 2021: simulated and reanalysed anomalies as continuous monthly records.

The files hold rows of 36 months. A row starts in January, a year after the row before it, so that
two rows overlap by 24 months.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.units import DIFFERENCE

# For each source: the files of fields and labels, then models and rows (years) per model, in order.
SOURCES: dict[str, tuple[str, str, Mapping[str, tuple[int, int]]]] = {
    "cmip": ("CMIP_train.nc", "CMIP_label.nc", {"cmip6": (15, 151), "cmip5": (17, 140)}),
    "soda": ("SODA_train.nc", "SODA_label.nc", {"soda": (1, 100)}),
}
MONTHS, YEAR = 36, 12

# The papers' split, by models.
SPLITS = {
    "train": [f"cmip6-{i:02d}" for i in range(1, 16)] + [f"cmip5-{i:02d}" for i in range(1, 16)],
    "val": ["cmip5-16"],
    "test": ["cmip5-17"],
}

DEGREES = {"units": "degC", "units_metadata": DIFFERENCE}
LATITUDE, LONGITUDE = np.arange(-55.0, 61, 5), np.arange(0.0, 360, 5)
ATTRS: dict[str, dict[str, str]] = {
    "sst": {
        "standard_name": "sea_surface_temperature",
        "long_name": "sea surface temperature anomaly",
        **DEGREES,
    },
    "t300": {"long_name": "heat content anomaly of the upper 300 m"},
    "ua": {"long_name": "zonal wind anomaly"},
    "va": {"long_name": "meridional wind anomaly"},
    "nino": {"long_name": "Nino3.4 index, mean of the month and the two after it", **DEGREES},
    "time": {
        "standard_name": "time",
        "long_name": "month, counted from January of the year 1, the first of the record",
        "axis": "T",
    },
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    "model": {"long_name": "generation, and number in the order of the file"},
    "months": {"long_name": "length of the record", "units": "1"},
    "": {
        "Conventions": "CF-1.11",
        "title": "ICAR-ENSO 2021",
        "institution": "Institute for Climate and Application Research (ICAR), NUIST",
        "references": "https://tianchi.aliyun.com/dataset/98942",
    },
}
TOLERANCE = 1e-4  # between two rows' values of one month, in the data's own units
EDGE = 2  # last months of a row, whose three-month mean may lack months that the next row has
ORIGINAL = "the file as the archive has it"


def open_icar_enso(
    folder: str | os.PathLike[str], split: str | None = None, source: str = "cmip"
) -> xr.Dataset:
    """Open ICAR-ENSO: one continuous monthly record per model, from overlapping rows.

    Parameters
    ----------
    folder : path
        The folder of CMIP_train.nc and CMIP_label.nc, or of SODA_train.nc and SODA_label.nc.
    split : {None, "train", "val", "test"}
        None: every model. The papers' splits of CMIP: train is all of CMIP6 and models 1 to 15 of
        CMIP5, val is model 16 of CMIP5, test its model 17.
    source : {"cmip", "soda"}
        Simulations, or the SODA reanalysis, which counts as one model.

    Returns
    -------
    Dataset
        sst, t300, ua, va (model, time, lat, lon), float32, lazy, one chunk per model: anomalies on
        the 5-degree grid, -55 to 60 and 0 to 355; nino (model, time), the labels, in memory. Time
        is monthly, in a calendar without leap days that starts in the year 1, as the archive does
        not give the years. The coordinate `months` (model,) is the length of each record: 1836 for
        CMIP6, 1704 for CMIP5, 1224 for SODA. Shorter records end in NaN, which
        `isel(time=slice(int(ds.months[i])))` removes.

    Raises
    ------
    FileNotFoundError
    ValueError
        An unknown split or source; a file of other dims; rows that differ where they overlap,
        found at once for labels, for fields when they are computed. The error names the file.

    Notes
    -----
    The split is that of Gao et al. (2022), NeurIPS 35.

    Examples
    --------
    Forecast with one simulation::

        ds = xef.open_icar_enso("enso_round1_train_20210201", split="test")
        fc = ds["sst"].isel(model=0).earthformer.forecast("enso-ersst")
    """
    if source not in SOURCES:
        raise mismatch(f"source {' or '.join(SOURCES)}", repr(source), 'source="cmip"')
    if split is not None and (split not in SPLITS or source != "cmip"):
        expected = f"split {', '.join(SPLITS)} of cmip, or None"
        raise mismatch(expected, f"{split!r} of {source}", "split=None")
    fields, labels, generations = SOURCES[source]
    rows = {
        f"{generation}-{i + 1:02d}" if models > 1 else generation: years
        for generation, (models, years) in generations.items()
        for i in range(models)
    }
    records = [_read_records(Path(folder) / name, rows) for name in (fields, labels)]
    months = {model: (years - 1) * YEAR + MONTHS for model, years in rows.items()}
    ds = xr.merge(records, join="exact").assign_coords(_coords(months))
    if split is not None:
        ds = ds.sel(model=SPLITS[split])
    ds = ds.isel(time=slice(int(ds["months"].max())))
    ds["nino"] = ds["nino"].compute()  # small, and its rows are checked before any work
    for name in ds.data_vars:
        ds[name].attrs = dict(ATTRS.get(str(name), {}))
    return ds.assign_attrs(ATTRS[""], source=source, split=split or "none")


def _coords(months: Mapping[str, int]) -> dict[str, tuple[object, ...]]:
    time = xr.date_range(
        "0001-01-01", periods=max(months.values()), freq="MS", calendar="noleap", use_cftime=True
    )
    return {
        "model": ("model", list(months), ATTRS["model"]),
        "months": ("model", list(months.values()), ATTRS["months"]),
        "time": ("time", time, ATTRS["time"]),
        "lat": ("lat", LATITUDE, ATTRS["lat"]),
        "lon": ("lon", LONGITUDE, ATTRS["lon"]),
    }


def _read_records(path: Path, rows: Mapping[str, int]) -> xr.Dataset:
    """Read a file lazily, each variable (year, month, ...) as records (model, time, ...)."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    ds = xr.open_dataset(path)  # without dask: the file's own chunks would split rows
    _check_form(ds, path, sum(rows.values()))
    ds = ds.drop_vars(ds.coords)
    years = tuple(rows.values())
    longest = (max(years) - 1) * YEAR + MONTHS
    variables = {}
    for name, var in ds.chunk({"year": years}).variables.items():
        data = var.data.map_blocks(
            _join_rows,
            longest,
            f"{name} of {path}",
            list(rows),
            chunks=((1,) * len(years), (longest,), *var.data.chunks[2:]),
            dtype=var.dtype,
            meta=np.empty((0,) * var.ndim, var.dtype),
        )
        variables[name] = (("model", "time", *var.dims[2:]), data)
    return xr.Dataset(variables)


def _check_form(ds: xr.Dataset, path: Path, years: int) -> None:
    sizes = {"year": years, "month": MONTHS}
    in_rows = all(var.dims[:2] == ("year", "month") for var in ds.data_vars.values())
    if not in_rows or any(ds.sizes[dim] != size for dim, size in sizes.items()):
        found = ", ".join(f"{dim} {size}" for dim, size in ds.sizes.items())
        raise mismatch(f"rows (year {years}, month {MONTHS}, ...): {path}", found, ORIGINAL)
    for dim, values in (("lat", LATITUDE), ("lon", LONGITUDE)):
        if dim in ds.dims and (
            ds.sizes[dim] != values.size
            or (dim in ds.coords and not np.array_equal(ds[dim], values))
        ):
            expected = f"{dim} {values[0]:g} to {values[-1]:g}, every 5 degrees: {path}"
            raise mismatch(expected, f"{ds[dim].values}", ORIGINAL)


def _join_rows(
    rows: np.ndarray, length: int, name: str, models: list[str], block_id: tuple[int, ...]
) -> np.ndarray:
    """Join the rows (years, 36, ...) of a model to a record (1, length, ...), NaN after its end."""
    here, after = rows[:-1, YEAR:], rows[1:, : MONTHS - YEAR]
    overlap = MONTHS - YEAR - (EDGE if rows.ndim == 2 else 0)  # labels have two dims
    same = np.isclose(here[:, :overlap], after[:, :overlap], rtol=0, atol=TOLERANCE, equal_nan=True)
    if not same.all():
        year, month = (int(i[0]) for i in (~same).nonzero()[:2])
        raise mismatch(
            f"rows that agree where they overlap: {name}",
            f"month {month + YEAR} of row {year} of {models[block_id[0]]} isn't month {month} of "
            f"row {year + 1}",
            ORIGINAL,
        )
    out = np.full((1, length, *rows.shape[2:]), np.nan, rows.dtype)
    # each row gives its first year, which all later rows lack; the last gives all its months
    first = rows[:, :YEAR].reshape(-1, *rows.shape[2:])
    out[0, : len(first)] = first
    out[0, len(first) : len(first) + MONTHS - YEAR] = rows[-1, YEAR:]
    return out
