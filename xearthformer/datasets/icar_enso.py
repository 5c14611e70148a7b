"""ICAR-ENSO 2021: simulated and reanalysed anomalies, in rows of 36 months, as continuous records.

A row starts in January and a year after the row before it, with which it has 24 months in common.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import mismatch
from ..fields.units import DIFFERENCE

# Of each source: its files of fields and of labels, then models and rows (years) a model, in order.
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

LATITUDE, LONGITUDE = np.arange(-55.0, 61, 5), np.arange(0.0, 360, 5)
ATTRS: dict[str, dict[str, str]] = {
    "sst": {
        "standard_name": "sea_surface_temperature",
        "long_name": "sea surface temperature anomaly",
        "units": "degC",
        "units_metadata": DIFFERENCE,
    },
    "t300": {"long_name": "heat content anomaly of the upper 300 m"},
    "ua": {"long_name": "zonal wind anomaly"},
    "va": {"long_name": "meridional wind anomaly"},
    "nino": {
        "long_name": "Nino3.4 index, mean of the month and the two after it",
        "units": "degC",
        "units_metadata": DIFFERENCE,
    },
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
TOLERANCE = 1e-4  # of what is the same month in two rows, in the data's own units
EDGE = 2  # last months of a row whose label may know less than the next row's


def open_icar_enso(
    folder: str | os.PathLike[str], split: str | None = None, source: str = "cmip"
) -> xr.Dataset:
    """Open ICAR-ENSO: continuous months of every model, from rows of 36 that overlap.

    Parameters
    ----------
    folder : path
        Where CMIP_train.nc and CMIP_label.nc lie, or SODA_train.nc and SODA_label.nc.
    split : {None, "train", "val", "test"}
        None: every model. The papers' splits of CMIP: train is all of CMIP6 and models 1 to 15 of
        CMIP5, val is model 16 of CMIP5, test its model 17.
    source : {"cmip", "soda"}
        Simulations, or the SODA reanalysis, as one model.

    Returns
    -------
    Dataset
        sst, t300, ua, va (model, time, lat, lon), float32, lazy, a model a chunk: anomalies on the
        whole grid of 5 degrees, -55 to 60 and 0 to 355; nino (model, time), the labels, in memory.
        Time is monthly, of a calendar without leap days that starts in the year 1: the archive
        doesn't say the years. The coordinate `months` (model,) is the length of each record: 1836
        for CMIP6, 1704 for CMIP5, 1224 for SODA; a shorter one ends in NaN, which
        `isel(time=slice(int(ds.months[i])))` takes off.

    Raises
    ------
    FileNotFoundError
    ValueError
        An unknown split or source; a file of other dims; rows that don't agree where they
        overlap, of labels at once, of fields when they are computed. The file is named.

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
    parts = [_unfolded(Path(folder) / name, rows) for name in (fields, labels)]
    months = {model: (years - 1) * YEAR + MONTHS for model, years in rows.items()}
    ds = xr.merge(parts, join="exact").assign_coords(_coords(months))
    if split is not None:
        ds = ds.sel(model=SPLITS[split])
    ds = ds.isel(time=slice(int(ds["months"].max())))
    ds["nino"] = ds["nino"].compute()
    for name in ds.data_vars:
        ds[name].attrs = dict(ATTRS.get(str(name), {}))
    return ds.assign_attrs(ATTRS[""], source=source, split=split or "none")


def _coords(months: Mapping[str, int]) -> dict[str, Any]:
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


def _unfolded(path: Path, rows: Mapping[str, int]) -> xr.Dataset:
    """Every variable of a file, (year, month, ...) as (model, time, ...), lazy."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    ds = xr.open_dataset(path)
    _check_form(ds, path, sum(rows.values()))
    ds = ds.drop_vars(ds.coords)
    years = tuple(rows.values())
    longest = (max(years) - 1) * YEAR + MONTHS
    unfolded = {}
    for name, var in ds.chunk({"year": years}).variables.items():
        data = var.data.map_blocks(
            _unfold,
            longest,
            f"{name} of {path}",
            list(rows),
            chunks=((1,) * len(years), (longest,), *var.data.chunks[2:]),
            dtype=var.dtype,
            meta=np.empty((0,) * var.ndim, var.dtype),
        )
        unfolded[name] = (("model", "time", *var.dims[2:]), data)
    return xr.Dataset(unfolded)


def _check_form(ds: xr.Dataset, path: Path, years: int) -> None:
    mend = "the file as the archive has it"
    wanted = {"year": years, "month": MONTHS}
    rows = all(var.dims[:2] == ("year", "month") for var in ds.data_vars.values())
    if not rows or any(ds.sizes[dim] != size for dim, size in wanted.items()):
        found = ", ".join(f"{dim} {size}" for dim, size in ds.sizes.items())
        raise mismatch(f"rows (year {years}, month {MONTHS}, ...): {path}", found, mend)
    for dim, values in (("lat", LATITUDE), ("lon", LONGITUDE)):
        if dim in ds.dims and (
            ds.sizes[dim] != values.size
            or (dim in ds.coords and not np.array_equal(ds[dim], values))
        ):
            expected = f"{dim} {values[0]:g} to {values[-1]:g}, every 5 degrees: {path}"
            raise mismatch(expected, f"{ds[dim].values}", mend)


def _unfold(
    rows: np.ndarray, length: int, name: str, models: list[str], block_id: tuple[int, ...]
) -> np.ndarray:
    """Rows of a model (years, 36, ...) as one record (1, length, ...), NaN after its end."""
    here, after = rows[:-1, YEAR:], rows[1:, : MONTHS - YEAR]
    known = MONTHS - YEAR - (EDGE if rows.ndim == 2 else 0)
    same = np.isclose(here[:, :known], after[:, :known], rtol=0, atol=TOLERANCE, equal_nan=True)
    if not same.all():
        year, month = (int(i[0]) for i in (~same).nonzero()[:2])
        raise mismatch(
            f"rows that agree where they overlap: {name}",
            f"month {month + YEAR} of row {year} of {models[block_id[0]]} isn't month {month} of "
            f"row {year + 1}",
            "the file as the archive has it",
        )
    out = np.full((1, length, *rows.shape[2:]), np.nan, rows.dtype)
    first = rows[:, :YEAR].reshape(-1, *rows.shape[2:])
    out[0, : len(first)] = first
    out[0, len(first) : len(first) + MONTHS - YEAR] = rows[-1, YEAR:]
    return out
