"""Extrapolation by optical flow, as pysteps does it: what a nowcaster would use instead of a model.

Lucas-Kanade on the last frames gives a motion; the last frame is carried along it.
"""

import contextlib
import importlib
import io
from typing import Any

import numpy as np
import xarray as xr

from . import __version__, cf, windows
from .errors import mismatch

RAIN = "rainfall_rate"
UNITS = "mm h-1"
DRY = 0.1  # mm/h: what counts as no rain for the motion
DRY_DBR = -15.0  # what stands for it, in dB above 1 mm/h


def extrapolate(
    data: xr.DataArray | xr.Dataset,
    *,
    init: windows.InitLike = None,
    lead: int = 12,
    frames: int = 4,
) -> xr.DataArray:
    """Carry the last frame of rain along its motion (pysteps, Pulkkinen et al. 2019).

    Parameters
    ----------
    data : DataArray or Dataset
        Rain rate, dims time, y and x in any order; of a Dataset, its variable `rainfall_rate`.
    init : None, label, slice or list of labels
        As `forecast` takes it.
    lead : int
        Time steps to forecast.
    frames : int
        The last frames, which tell the motion.

    Returns
    -------
    DataArray
        In the form that `forecast` gives: dims init, lead, then the user's own spatial dims, in
        the user's units. NaN where the last frame is NaN; rain carried in from where none was seen
        is none. It is computed at once, whether or not `data` is lazy.

    Raises
    ------
    ImportError
        pysteps isn't installed.
    ValueError
        Too few frames up to an init, an irregular time axis, another quantity.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.open_radar("radar_mch_20160711.nc")  # doctest: +SKIP
    >>> fc = xef.extrapolate(rain, init="2016-07-11T22:00")  # doctest: +SKIP
    """
    for name, value, least in (("lead", lead, 1), ("frames", frames, 2)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise mismatch(f"{name} as a whole number from {least}", repr(value), f"{name}={least}")
    flow, carry, to_decibels = _pysteps()
    if isinstance(data, xr.Dataset):
        data = data[cf.find_variable(data, standard_name=RAIN, difference=False)]
    time = data[cf.find_axes(data).time]
    cf.check_time(time)
    prepared, origin = cf.prepare(
        data, units=UNITS, difference=False, standard_name=RAIN, latlon=False
    )
    inits = windows.find_inits(prepared["time"], frames, init)
    empty = windows.template(data, prepared["time"], inits.positions, lead)
    values = np.empty((len(inits.positions), lead, *prepared.shape[1:]), np.float32)
    for i, position in enumerate(inits.positions):
        past = prepared[position - frames + 1 : position + 1].to_numpy()
        seen = np.nan_to_num(past)
        decibels, _ = to_decibels(seen, threshold=DRY, zerovalue=DRY_DBR)
        values[i] = np.nan_to_num(carry(seen[-1], flow(decibels, verbose=False), lead))
        values[i, :, np.isnan(past[-1])] = np.nan
    fc = cf.restore(xr.DataArray(values, dims=("init", "lead", "y", "x")), origin)
    said = f"extrapolated by pysteps: Lucas-Kanade on {frames} frames, semi-Lagrangian"
    said += f"; {inits.dropped}" if inits.dropped else ""
    before = str(data.attrs.get("history", ""))
    history = f"{before}\nxearthformer {__version__}: {said}".strip()
    return empty.copy(data=fc.to_numpy()).assign_attrs({**data.attrs, "history": history})


def _pysteps() -> tuple[Any, Any, Any]:
    """Its motion, its extrapolation, and its decibels."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it greets
            motion = importlib.import_module("pysteps.motion")
            nowcasts = importlib.import_module("pysteps.nowcasts")
            transformation = importlib.import_module("pysteps.utils.transformation")
            importlib.import_module("cv2")
    except ImportError as error:
        raise ImportError(
            "extrapolation needs pysteps and opencv-python-headless, which aren't installed: "
            'pip install "xearthformer[pysteps]"'
        ) from error
    flow = motion.get_method("LK")
    return flow, nowcasts.get_method("extrapolation"), transformation.dB_transform
