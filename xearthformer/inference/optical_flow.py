"""Extrapolation by optical flow, as pysteps does it: what a nowcaster would use instead of a model.

Lucas-Kanade on the last frames gives a motion; the last frame is carried along it. An ensemble is
carried by STEPS, which adds noise that has the structure of the rain, and to the motion as well.
"""

import contextlib
import importlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from .. import __version__
from ..errors import mismatch
from ..fields import cf, quantities, windows
from ..fields.axes import find_axes, spacing_in_metres
from ..fields.time_axis import check_time

RAIN = "rainfall_rate"
UNITS = "mm h-1"
DRY = 0.1  # mm/h: what counts as no rain for the motion
DRY_DBR = -15.0  # what stands for it, in dB above 1 mm/h
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

    With `members`, an ensemble by STEPS (Bowler et al. 2006) as pysteps has it by default: noise
    shaped like the rain's spectrum on six scales, which fade at the rates that the last three
    frames show; perturbed motion; the distribution of the last frame.

    Parameters
    ----------
    data : DataArray or Dataset
        Rain rate, dims time, y and x in any order; of a Dataset, its variable `rainfall_rate`.
    init : None, label, slice or list of labels
        As `forecast` takes it.
    lead : int
        Time steps to forecast.
    frames : int
        The last frames, which tell the motion; for STEPS three or more.
    members : int, optional
        None: a single forecast, without noise.
    seed : int
        Of the noise of STEPS. A member's is made of the seed, the init and its own number: it is
        the same whatever other inits and further members are asked for.

    Returns
    -------
    DataArray
        In the form that `forecast` gives: dims init, lead, [member,] then the user's own spatial
        dims, in the user's units. NaN where the last frame is NaN; rain carried in from where none
        was seen is none. It is computed at once, whether or not `data` is lazy.

    Raises
    ------
    ImportError
        pysteps isn't installed.
    ValueError
        Too few frames up to an init, an irregular time axis, another quantity; for STEPS, pixels
        whose length isn't known, or steps of a month.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.open_radar("radar_mch_20160711.nc")  # doctest: +SKIP
    >>> fc = xef.extrapolate(rain, init="2016-07-11T22:00")  # doctest: +SKIP
    """
    asked = {"lead": (lead, 1), "frames": (frames, 2 if members is None else STEPS_FRAMES)}
    asked |= {} if members is None else {"members": (members, 1), "seed": (seed, 0)}
    for name, (value, least) in asked.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise mismatch(f"{name} as a whole number from {least}", repr(value), f"{name}={least}")
    if isinstance(data, xr.Dataset):
        data = data[quantities.find_variable(data, standard_name=RAIN, difference=False)]
    time = data[find_axes(data).time]
    step = check_time(time)
    noise = None if members is None else {"n_ens_members": members, **_scales(data, step)}
    tools = _pysteps()
    prepared, origin = cf.prepare(
        data, units=UNITS, difference=False, standard_name=RAIN, latlon=False
    )
    inits = windows.find_inits(prepared["time"], frames, init)
    empty = windows.template(data, prepared["time"], inits.positions, lead)
    said = f"extrapolated by pysteps: Lucas-Kanade on {frames} frames, "
    if members is None:
        said += "semi-Lagrangian"
    else:
        said += f"STEPS, {members} members, seed {seed}"
        label = {"member": ("member", np.arange(members), {"standard_name": "realization"})}
        empty = empty.expand_dims(member=members, axis=2).assign_coords(label)
    values = np.empty((*empty.shape[:-2], *prepared.shape[1:]), np.float32)
    for i, position in enumerate(inits.positions):
        past = prepared[position - frames + 1 : position + 1].to_numpy()
        if noise is not None:
            noise["seed"] = _seed(seed, time.values[position])
        values[i] = _ahead(past, lead, noise, *tools)
    fc = cf.restore(xr.DataArray(values, dims=(*empty.dims[:-2], "y", "x")), origin)
    said += f"; {inits.dropped}" if inits.dropped else ""
    before = str(data.attrs.get("history", ""))
    history = f"{before}\nxearthformer {__version__}: {said}".strip()
    return empty.copy(data=fc.to_numpy()).assign_attrs({**data.attrs, "history": history})


def _ahead(
    past: np.ndarray,
    lead: int,
    noise: dict[str, Any] | None,
    flow: Any,
    carry: Any,
    steps: Any,
    decibels: Any,
) -> np.ndarray:
    """The rain of the coming steps (lead, [member,] y, x), from frames of rain (time, y, x)."""
    seen = np.nan_to_num(past)
    logs, _ = decibels(seen, threshold=DRY, zerovalue=DRY_DBR)
    motion = flow(logs, verbose=False)
    if noise is None:
        rain = carry(seen[-1], motion, lead)
    else:
        dry = 10 * np.log10(DRY)
        with _quiet():
            many = steps(logs[-STEPS_FRAMES:], motion, lead, precip_thr=dry, **noise)
        rain = decibels(many, threshold=dry, inverse=True)[0].swapaxes(0, 1)
    return np.where(np.isnan(past[-1]), np.nan, np.nan_to_num(rain))


def _scales(data: xr.DataArray, step: Any) -> dict[str, float]:
    """What STEPS asks for: kilometres of a pixel and minutes of a step."""
    axes = find_axes(data)
    metres = [spacing_in_metres(data, dim) for dim in (axes.y, axes.x)]
    known = [each for each in metres if each]
    if len(known) < 2 or isinstance(step, str):
        found = f"no lengths along {axes.y} and {axes.x}" if len(known) < 2 else "steps of a month"
        raise mismatch(
            "a grid whose pixels have a length, and steps that have one, for STEPS",
            found,
            "members=None, for a single forecast",
        )
    return {"kmperpixel": float(np.mean(known)) / 1000, "timestep": step / np.timedelta64(60, "s")}


def _seed(seed: int, stamp: Any) -> int:
    """The seed of one init: of the seed asked for and the date alone."""
    seconds = int(np.datetime64(str(stamp)).astype("M8[s]").astype(np.int64))
    return int(np.random.SeedSequence([seed, seconds % 2**63]).generate_state(1)[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what STEPS prints, and NumPy's own random numbers as they were: it seeds them."""
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        np.random.set_state(state)


def _pysteps() -> tuple[Any, Any, Any, Any]:
    """Its motion, its extrapolation, its STEPS, and its decibels."""
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
    methods = [nowcasts.get_method(name) for name in ("extrapolation", "steps")]
    return motion.get_method("LK"), *methods, transformation.dB_transform
