"""Radar composites as one quantity: a rain rate in mm/h, from whatever a service publishes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import xarray as xr

from .call import Paths, as_called
from .files import open_paths
from .labels import time_of, with_labels
from .rain import to_rain


def open_radar(
    data: Paths | xr.Dataset | xr.DataArray,
    *,
    zr: tuple[float, float] | None = None,
    zero_below: float | None = None,
    missing: float | Sequence[float] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> xr.DataArray:
    """Open radar composites as a rain rate.

    Parameters
    ----------
    data : path, list of paths, Dataset or DataArray
        A file; a folder, a pattern such as `"2019/*.h5"` or a list, of files of one product and one
        grid, each with one time or several; or what xarray has opened. Formats, told by their
        content and not by their names:

        ============  ============================================================================
        format        what it needed
        ============  ============================================================================
        ODIM HDF5     RATE, ACRR over its own start and end, DBZH, TH: gain and offset, nodata is
                      NaN, undetect 0, corners by projdef. OPERA, RMI, DPC, FMI, MeteoSwiss
        KNMI HDF5     amounts of 5 minutes, reflectivity: the formula, kilometres from the pole
        MRMS GRIB2    rates, amounts, reflectivity, also in .gz: -3 and -1 are NaN, longitudes
                      from 230 are west. Needs rioxarray
        RADOLAN       RY, YW, RW, SF, RX, ..., also in .gz: precision and interval by the header,
                      forecasts are refused. Needs wradlib
        BoM NetCDF    Rainfields 3: amounts from start_time to valid_time, kilometres of Albers
        MLCast        Zarr or NetCDF: rainfall_flux in kg m-2 h-1, or amounts of a step
        NetCDF, Zarr  by CF's standard names or common names, and by units
        ============  ============================================================================

        The variable is found by its standard_name or a common name, and read by its units: a rate
        (mm h-1, m s-1), a flux of mass (kg m-2 s-1, kg m-2 h-1), amounts (mm, kg m-2) over the
        bounds of time or the step of the record, or a reflectivity (dBZ; mm6 m-3).
    zr : (a, b), optional
        Of Z = a R**b. Default: the data's own `zr_a` and `zr_b`, else 200 and 1.6 (Marshall
        and Palmer, 1948). FMI's own, for files that don't say them, are (223, 1.53).
    zero_below : float, optional
        Less rain than this, in mm/h, is none. Default: nothing for rates and amounts; for
        reflectivity, less than 0 dBZ is none, and with it the radar's codes for "no echo".
    missing : float or list of floats, optional
        Numbers that stand for "nothing was seen" in the data and aren't declared: -1, -999, 255.
        They become NaN, as do a `_FillValue` or `missing_value` and what lies beyond `valid_min`,
        `valid_max` or `valid_range`, where the attributes still have them.
    on_error : {"raise", "skip"}
        What to do about files that are broken, of another product or on another grid than most:
        name them in an error, or leave them out with one warning that names them.

    Returns
    -------
    DataArray
        Rain rate in mm/h on time and the data's own y and x, at its own step: `to_step` makes
        other steps of it. 0 where there was no echo, NaN where nothing was seen. Times are the
        ends of what amounts fell in. The attribute `history` names each change, `zr_a` and `zr_b`
        are those used, and `grid_mapping` names the coordinate with the projection. Lazy for
        files: each is read in a task of its own.

    Raises
    ------
    FileNotFoundError
        No such file, or none that matches.
    ImportError
        A format's reader isn't installed.
    ValueError
        No variable of rain, or two; units that can't be read; packed whole numbers; sums since a
        start; files that are broken or unlike the others. Numbers that aren't rain: below 0 or
        above 5000 mm/h, below -40 or above 80 dBZ. Of numbers in files, when they are computed.

    Examples
    --------
    >>> time = xr.date_range("2019-06-10", periods=2, freq="10min")
    >>> amounts = xr.DataArray([[[1.0]], [[0.5]]], {"time": time}, ("time", "y", "x"), "rain")
    >>> open_radar(amounts.assign_attrs(units="mm")).values.ravel()  # in 10 minutes
    array([6., 3.])
    """
    call = as_called(data, zr, zero_below, missing, on_error)
    if isinstance(data, xr.Dataset):
        call = replace(call, time=time_of(data, call))
        return to_rain(with_labels(data, call), call)
    if isinstance(data, xr.DataArray):
        named = data.rename("rain" if data.name is None else data.name).to_dataset()
        call = replace(call, time=time_of(named, call))
        rain = to_rain(with_labels(named, call), call)
        return rain.rename(None) if data.name is None and rain.name == "rain" else rain
    # codes of two bytes with a scale in eight are decoded to eight
    return to_rain(with_labels(open_paths(data, call), call), call).astype("float32", copy=False)
