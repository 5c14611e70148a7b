"""Extrapolation by optical flow, by pysteps: what a nowcaster would use instead of a network.

Lucas-Kanade on the last frames gives a motion field, along which the last frame is carried. An
ensemble is made by STEPS, which adds noise with the structure of the rain, and perturbs the motion.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from .. import __version__
from ..errors import mismatch, whole_number
from ..fields import cf, quantities, windows
from ..fields.axes import find_axes, spacing_in_metres
from ..fields.time_axis import check_time

RAIN = "rainfall_rate"
UNITS = "mm h-1"
DRY = 0.1  # mm/h: below it there is no rain for the motion
DRY_DBR = -15.0  # the value of dry pixels, in dB above 1 mm/h: pysteps' own choice
STEPS_FRAMES = 3  # that its autoregressive model of order 2 is fitted to


def extrapolate(
    data: xr.DataArray | xr.Dataset,
    *,
    init: windows.InitLike = None,
    lead: int = 12,
    frames: int = 4,
    members: int | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Carry the last frame of rain along its motion (pysteps, Pulkkinen et al. 2019).

    With `members`, an ensemble by STEPS (Bowler et al. 2006) with pysteps' defaults: noise shaped
    like the rain's spectrum in six bands, which fade at the rates that the last three frames show;
    perturbed motion; the distribution of the last frame.

    Parameters
    ----------
    data : DataArray or Dataset
        Rain rate, dims time, y and x in any order. Of a Dataset, its variable `rainfall_rate`.
    init : label, slice or list of labels, optional
        As in `forecast`.
    lead : int
        Number of time steps to forecast.
    frames : int
        Number of last frames that the motion is taken from; three or more for STEPS.
    members : int, optional
        Number of ensemble members. Default: a single forecast, without noise.
    seed : int
        Random seed of STEPS. A member depends on the seed, the init and its own number alone: it is
        the same whatever other inits and further members are asked for.

    Returns
    -------
    DataArray
        As `forecast` returns it: dims init, lead, [member,] then the user's own spatial dims, in
        the user's units. NaN where the last frame is NaN; rain carried in from where nothing was
        observed is 0. Computed at once, whether or not `data` is lazy.

    Raises
    ------
    ImportError
        pysteps is not installed.
    ValueError
        Too few frames up to an init, an irregular time axis, another quantity; for STEPS, pixels
        of unknown length, or steps of a month.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.open_radar("radar_mch_20160711.nc")  # doctest: +SKIP
    >>> fc = xef.extrapolate(rain, init="2016-07-11T22:00")  # doctest: +SKIP
    """
    whole_number("lead", lead)
    whole_number("frames", frames, least=2 if members is None else STEPS_FRAMES)
    if members is not None:
        whole_number("members", members)
        whole_number("seed", seed, least=0)
    if isinstance(data, xr.Dataset):
        data = data[quantities.find_variable(data, standard_name=RAIN, difference=False)]
    time = data[find_axes(data).time]
    step = check_time(time)
    noise = None if members is None else {"n_ens_members": members, **_resolution(data, step)}
    pysteps = load_pysteps()
    prepared, origin = cf.prepare(
        data, units=UNITS, difference=False, standard_name=RAIN, latlon=False
    )
    inits = windows.find_inits(prepared["time"], frames, init)
    empty = windows.template(data, prepared["time"], inits.positions, lead, members)
    method = "semi-Lagrangian" if members is None else f"STEPS, {members} members, seed {seed}"
    notes = [f"extrapolated by pysteps: Lucas-Kanade on {frames} frames, {method}"]
    if inits.dropped:
        notes.append(inits.dropped)
    values = np.empty((*empty.shape[:-2], *prepared.shape[1:]), np.float32)
    for i, position in enumerate(inits.positions):
        past = prepared[position - frames + 1 : position + 1].to_numpy()
        if noise is not None:
            noise["seed"] = _seed(seed, time.values[position])
        values[i] = _ahead(past, lead, noise, pysteps)
    fc = cf.restore(xr.DataArray(values, dims=(*empty.dims[:-2], "y", "x")), origin)
    line = f"xearthformer {__version__}: {'; '.join(notes)}"
    return empty.copy(data=fc.to_numpy()).assign_attrs(cf.add_history(data.attrs, line))


@dataclass(frozen=True)
class Pysteps:
    """The functions of pysteps that are used here."""

    flow: Callable[..., np.ndarray]
    extrapolation: Callable[..., np.ndarray]
    steps: Callable[..., np.ndarray]
    decibels: Callable[..., tuple[np.ndarray, dict[str, object]]]


def load_pysteps() -> Pysteps:
    """Import pysteps.

    Raises
    ------
    ImportError
        It, or OpenCV for its Lucas-Kanade, is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it greets when imported
            import cv2  # noqa: F401  (pysteps looks for it when the motion is computed: too late)
            from pysteps import motion, nowcasts
            from pysteps.utils.transformation import dB_transform
    except ImportError as error:
        raise ImportError(
            "extrapolation by optical flow needs pysteps and opencv-python-headless, which aren't "
            'installed: pip install "xearthformer[pysteps]"'
        ) from error
    extrapolation, steps = (nowcasts.get_method(name) for name in ("extrapolation", "steps"))
    return Pysteps(motion.get_method("LK"), extrapolation, steps, dB_transform)


def _ahead(
    past_TYX: np.ndarray, lead: int, noise: dict[str, float] | None, pysteps: Pysteps
) -> np.ndarray:
    """Return the rain of the coming steps (lead, [member,] y, x)."""
    rain_TYX = np.nan_to_num(past_TYX)  # pixels that were not observed count as dry
    decibels_TYX, _ = pysteps.decibels(rain_TYX, threshold=DRY, zerovalue=DRY_DBR)
    motion = pysteps.flow(decibels_TYX, verbose=False)
    if noise is None:
        rain = pysteps.extrapolation(rain_TYX[-1], motion, lead)
    else:
        threshold = 10 * np.log10(DRY)
        last = decibels_TYX[-STEPS_FRAMES:]
        with _quiet():
            members = pysteps.steps(last, motion, lead, precip_thr=threshold, **noise)
        rain = pysteps.decibels(members, threshold=threshold, inverse=True)[0]
        rain = rain.swapaxes(0, 1)  # (member, lead, y, x) -> (lead, member, y, x)
    return np.where(np.isnan(past_TYX[-1]), np.nan, np.nan_to_num(rain))


def _resolution(data: xr.DataArray, step: str | np.timedelta64) -> dict[str, float]:
    """Return what STEPS asks for: kilometres per pixel and minutes per time step."""
    axes = find_axes(data)
    lengths = [spacing_in_metres(data, dim) for dim in (axes.y, axes.x)]
    metres = [length for length in lengths if length]
    if len(metres) < 2 or isinstance(step, str):
        found = f"no lengths along {axes.y} and {axes.x}" if len(metres) < 2 else "steps of a month"
        raise mismatch(
            "a grid whose pixels have a length, and steps that have one, for STEPS",
            found,
            "members=None, for a single forecast",
        )
    minutes = float(step / np.timedelta64(60, "s"))
    return {"kmperpixel": float(np.mean(metres)) / 1000, "timestep": minutes}


def _seed(seed: int, stamp: object) -> int:
    """Return the seed of one init, from the user's seed and the date alone."""
    seconds = int(np.datetime64(str(stamp)).astype("M8[s]").astype(np.int64))
    return int(np.random.SeedSequence([seed, seconds % 2**63]).generate_state(1)[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence STEPS, and restore the state of NumPy's global generator, which it seeds."""
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        np.random.set_state(state)
