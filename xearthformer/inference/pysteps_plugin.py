"""Packs as a nowcast method of pysteps, and radar files as one of its importers.

pysteps loads this file when it is imported, by the entry point `pysteps.plugins.importers`: it has
such groups for importers and for post-processing, and none for nowcasts, whose methods stand in a
dict of `pysteps.nowcasts.interface`. So the importer that it finds here brings the method along.
Networks are loaded by the first nowcast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ..datasets.radar.pysteps import from_pysteps, to_pysteps
from ..errors import mismatch, whole_number

if TYPE_CHECKING:
    from ..packs.pack import Pack

NAME = "xearthformer"
CORNERS = "x1", "y1", "x2", "y2"
START = "2000-01-01"  # of frames whose times nobody says


def import_xearthformer(
    filename: str | os.PathLike[str], **options: Any
) -> tuple[np.ndarray, None, dict[str, Any]]:
    """Read a radar file of any service that `open_radar` knows, as pysteps' importers do.

    Parameters
    ----------
    filename : path
        A file of one frame.
    **options
        Of `xearthformer.open_radar`, such as `zr=(223, 1.53)`; pysteps' own `dtype` and `fillna`.

    Returns
    -------
    precip : ndarray (y, x)
        Rain rate in mm/h, 0 where there was no echo, NaN where nothing was seen.
    quality : None
    metadata : dict
        In pysteps' words.

    Examples
    --------
    >>> import pysteps  # doctest: +SKIP
    >>> read = pysteps.io.get_method("xearthformer", "importer")  # doctest: +SKIP
    >>> precip, _, metadata = read("radar.h5")  # doctest: +SKIP
    """
    from ..datasets.radar.open import open_radar

    for name in ("dtype", "fillna"):  # read by pysteps afterwards
        options.pop(name, None)
    rain = open_radar(filename, **options)
    if rain.sizes["time"] > 1:
        hint = f'precip, metadata = xef.to_pysteps(xef.open_radar("{filename}"))'
        raise mismatch("a file of one frame", f"{rain.sizes['time']} frames in {filename}", hint)
    precip, metadata = to_pysteps(rain.isel(time=0))
    return precip, None, metadata


def forecast(
    precip: np.ndarray,
    velocity: np.ndarray | None,
    timesteps: int | Sequence[int],
    *,
    pack: str | Pack = "nowcast-radar",
    n_ens_members: int | None = None,
    seed: int | None = None,
    kmperpixel: float | None = None,
    timestep: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> np.ndarray:
    """Nowcast rain with a pack: pysteps' method "xearthformer".

    Parameters
    ----------
    precip : ndarray (time, y, x)
        Rain rates in mm/h up to the start of the nowcast, as many frames as the pack reads or more;
        NaN where nothing was seen.
    velocity : ndarray (2, y, x) or None
        Taken as pysteps' methods take it, and not used: packs find the motion themselves.
    timesteps : int or list of int
        Number of steps, or the steps to return, in increasing order.
    pack : str or Pack
        A pack of rain, or anything `xearthformer.open_pack` opens.
    n_ens_members : int, optional
        Number of members. Default: a single forecast; one member of a pack that samples.
    seed : int, optional
        Random seed of members. Default: 0, so that a nowcast can be repeated.
    kmperpixel, timestep : float, optional
        Length of a pixel in km, and minutes between frames; needed where `metadata` says neither
        or is not given.
    metadata : dict, optional
        What pysteps' importers give: extent, projection and orientation, "timestamps", "accutime".
        Members depend on the time of the last frame, which is 2000-01-01 where it isn't said.
    **options
        Of `xearthformer.forecast`, such as `device`.

    Returns
    -------
    ndarray (lead, y, x), or (member, lead, y, x) of an ensemble
        Rain rate in mm/h, rows and columns as in `precip`; the numbers of
        `xearthformer.forecast`. NaN where no frame has a value.

    Raises
    ------
    ValueError
        Another unit, a transformation, or whatever the pack cannot serve.

    Examples
    --------
    >>> import pysteps  # doctest: +SKIP
    >>> nowcast = pysteps.nowcasts.get_method("xearthformer")  # doctest: +SKIP
    >>> nowcast(precip, velocity, 12, n_ens_members=20, metadata=metadata)  # doctest: +SKIP
    """
    from .forecast import forecast as of_pack

    steps = _steps(timesteps)
    rain = _labelled(np.asarray(precip), kmperpixel, timestep, dict(metadata or {}))
    fc = of_pack(rain, pack, lead=steps[-1], members=n_ens_members, seed=seed or 0, **options)
    return to_pysteps(fc.isel(lead=[step - 1 for step in steps]))[0]


def _steps(timesteps: int | Sequence[int]) -> list[int]:
    """Return the steps to forecast, from 1."""
    if np.ndim(timesteps) == 0:
        return [*range(1, whole_number("timesteps", timesteps) + 1)]
    steps = [whole_number("timesteps", step) for step in timesteps]  # type: ignore[union-attr]
    if not steps or steps != sorted(set(steps)):
        expected = "timesteps as a number of steps, or steps in increasing order"
        raise mismatch(expected, repr(timesteps), "timesteps=12")
    return steps


def _labelled(
    precip: np.ndarray,
    kmperpixel: float | None,
    timestep: float | None,
    metadata: dict[str, Any],
) -> xr.DataArray:
    """Return rain (time, y, x) with its times and its grid."""
    unit, transform = metadata.setdefault("unit", "mm/h"), metadata.get("transform")
    if (unit, transform) != ("mm/h", None):
        found = unit if transform is None else f"{unit} transformed by {transform}"
        hint = "precip, metadata = pysteps.utils.to_rainrate(precip, metadata)"
        raise mismatch("rain rates in mm/h", found, hint)
    if precip.ndim != 3:
        hint = "precip[-4:], the latest frames"
        raise mismatch("precip with dims (time, y, x)", f"{precip.ndim} dims", hint)
    frames, rows, columns = precip.shape
    if any(corner not in metadata for corner in CORNERS):
        if kmperpixel is None:
            raise mismatch(
                "the length of a pixel", "neither kmperpixel nor metadata", "kmperpixel=1"
            )
        ends = 0.0, 0.0, columns * 1000 * kmperpixel, rows * 1000 * kmperpixel
        metadata |= dict(zip(CORNERS, ends, strict=True))
    times = metadata.get("timestamps")
    if times is None:
        minutes = timestep or metadata.get("accutime")
        if not minutes:
            raise mismatch("the time between frames", "neither timestep nor metadata", "timestep=5")
        times = pd.date_range(end=START, periods=frames, freq=pd.Timedelta(minutes=minutes))
    elif len(times) != frames:
        hint = f'metadata=metadata | {{"timestamps": metadata["timestamps"][-{frames}:]}}'
        raise mismatch(f"metadata of {frames} frames", f"{len(times)} timestamps", hint)
    return from_pysteps(precip, metadata, times)


def register() -> None:
    """Add the method to those that `pysteps.nowcasts.get_method` knows."""
    from pysteps.nowcasts import interface

    interface._nowcast_methods.setdefault(NAME, forecast)


if "pysteps" in sys.modules:  # which is loading this file, after its own
    register()
