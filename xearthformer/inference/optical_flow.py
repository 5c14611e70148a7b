"""Extrapolation by optical flow, by pysteps: what a nowcaster would use instead of a network.

Lucas-Kanade on the last frames gives a motion field, along which the last rain seen is carried. Its
other methods also let the rain change on the way: S-PROG and ANVIL smooth what can't be foretold,
LINDA filters around features, and STEPS adds noise with the structure of the rain.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from .. import __version__
from ..datasets.radar.open import open_radar
from ..errors import mismatch, warn, whole_number
from ..fields import cf, quantities, windows
from ..fields.axes import find_axes, spacing_in_metres
from ..fields.codes import HIGHEST_RATE, NOISE, full_bytes
from ..fields.forms import takes_any_form
from ..fields.quantities import KNOWN, KNOWN_ATTRS, RAIN, RAIN_UNITS
from ..fields.time_axis import (
    LeadLike,
    Step,
    count_steps,
    round_jitter,
    shift_time,
    stamps_on_grid,
    str_time,
)
from .options import Beyond
from .pysteps_methods import METHODS, Ensemble, Method, Nowcast, Pysteps, nowcast
from .pysteps_modules import load_methods, load_quietly

MEMBERS = 20  # of STEPS, where no number is given


@takes_any_form
def extrapolate(
    data: xr.DataArray | xr.Dataset,
    *,
    method: str | None = None,
    init: windows.InitLike = None,
    lead: LeadLike = 12,
    frames: int = 4,
    members: int | None = None,
    seed: int = 0,
    beyond: Beyond = "climatology",
) -> xr.DataArray:
    """Carry the last rain along its motion, by a method of pysteps (Pulkkinen et al. 2019).

    Parameters
    ----------
    data : DataArray or Dataset
        Rain rate, dims time, y and x in any order. Of a Dataset, its variable `rainfall_rate`.
    method : str, optional
        One of the methods in the notes. Default: "steps" with `members`, else "extrapolation".
    init : label, slice or list of labels, optional
        As in `forecast`.
    lead : int, or a duration such as "60min"
        As in `forecast`. Default: 12 time steps.
    frames : int
        Number of last frames that the motion is taken from. Some of them may be missing, and a
        record that is shorter is served from two frames on, both with a warning.
    members : int, optional
        Number of ensemble members, of "steps" and "linda". Default: 20 of "steps", and a single
        forecast of the others.
    seed : int
        Random seed of members. A member depends on the seed, the init and its own number alone: it
        is the same whatever other inits and further members are asked for. Not so one of "linda",
        whose motion depends on the number of members too.
    beyond : {"climatology", "nan"}
        What stands where the motion brings in what was not seen, from beyond the domain or from
        pixels that were not observed: the mean of the rain seen, members' own draws of it; or NaN.

    Returns
    -------
    DataArray
        As `forecast` returns it: dims init, lead, [member,] then the user's own spatial dims, in
        the user's units. The coordinate `known` (init, lead, y, x) is the share of each value that
        stems from what was seen. NaN where none of the last frames has a value. Computed at once,
        whether or not `data` is lazy.

    Raises
    ------
    ImportError
        pysteps is not installed; for "linda", scikit-image.
    ValueError
        Too few frames up to an init, an irregular time axis, another quantity, numbers that are no
        rain, an unknown method, members of a method that has none; for members, pixels of unknown
        length, or steps of a month.

    Notes
    -----
    The methods, with pysteps' defaults. All take the motion of pysteps' Lucas-Kanade.

    - "extrapolation": the last frame, unchanged (semi-Lagrangian).
    - "sprog": S-PROG (Seed 2003). Six spatial scales of three frames, in dB, fade as fast as they
      have done; the distribution of the last frame.
    - "steps": STEPS (Bowler et al. 2006). S-PROG's scales with noise in place of what fades,
      perturbed motion, and the distribution of the last frame.
    - "anvil": ANVIL (Pulkkinen et al. 2020). Growth and decay of four frames go on, scale by scale.
    - "linda": LINDA (Pulkkinen et al. 2021). The same of three frames around up to 25 features;
      minutes for a large domain.

    Where pysteps fails or would give nothing but zeros, a warning and the history say what is done
    instead: of a dry or missing frame the autoregression is that of the others; frames that are all
    alike, or of which one alone has rain, are extrapolated.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.open_radar("radar_mch_20160711.nc")  # doctest: +SKIP
    >>> fc = xef.extrapolate(rain, init="2016-07-11T22:00")  # doctest: +SKIP
    >>> ensemble = xef.extrapolate(rain, method="steps", members=20)  # doctest: +SKIP
    """
    way, members = _check_arguments(method, members, frames, seed, beyond)
    name = "steps" if method is None and members is not None else method or "extrapolation"
    if isinstance(data, xr.Dataset):
        data = data[quantities.find_variable(data, standard_name=RAIN, difference=False)]
    data = round_jitter(data)
    step, time, places = _regular_axis(data[find_axes(data).time])
    lead = count_steps(lead, step, 12)
    resolution = None if members is None else _resolution(data, step)
    pysteps = load_pysteps(name)
    prepared, origin = cf.prepare(
        data, units=RAIN_UNITS, difference=False, standard_name=RAIN, latlon=False
    )
    _check_frames(prepared["time"].size, way)
    least = min(frames, prepared.sizes["time"]) if isinstance(init, slice) else way.frames
    inits = windows.find_inits(prepared["time"], max(least, way.frames), init)
    empty = windows.template(data, time, places[inits.positions], lead, members)
    rain = np.empty((*empty.shape[:-2], *prepared.shape[1:]), np.float32)
    known = np.empty((len(rain), lead, *prepared.shape[1:]), np.float32)
    said: dict[str, list[np.datetime64]] = {}
    for i, position in enumerate(inits.positions):
        stamp = prepared["time"].values[position]
        past = _frames_up_to(prepared, places, position, frames)
        _check_rain(past, data)
        ensemble = (
            None if members is None else Ensemble(members, _seed(seed, stamp), *resolution or ())
        )
        found = nowcast(past, lead, way, ensemble, beyond, pysteps)
        rain[i], known[i] = found.rain, found.known_LYX
        for note in _notes(found, past, frames):
            said.setdefault(note, []).append(stamp)
    notes = [_method_note(way, frames, members, seed), *_warnings(said, len(inits.positions))]
    if inits.dropped:
        notes.append(inits.dropped)
    stamps = prepared["time"].values[inits.positions]
    late = windows.later_inits(data, stamps, compute=True)
    windows.warn_of_later(data, stamps, late)
    if later := windows.describe_later(late):
        notes.append(later)
    fc = cf.restore(xr.DataArray(rain, dims=(*empty.dims[:-2], "y", "x")), origin)
    line = f"xearthformer {__version__}: {'; '.join(notes)}"
    fc = empty.copy(data=fc.to_numpy()).assign_attrs(cf.add_history(empty.attrs, line))
    return fc.assign_coords({KNOWN: _known(known, origin)})


def load_pysteps(method: str = "extrapolation") -> Pysteps:
    """Import pysteps, and what a method of it needs.

    Raises
    ------
    ImportError
        It is not installed, or OpenCV for its Lucas-Kanade, or scikit-image for LINDA's features.
    """
    try:
        import cv2  # noqa: F401  (pysteps looks for it when the motion is computed: too late)

        load_quietly()
        from pysteps import extrapolation, noise
        from pysteps.utils.transformation import dB_transform

        methods = load_methods(tuple(METHODS))
    except ImportError as error:
        raise ImportError(
            "extrapolation by optical flow needs pysteps and opencv-python-headless, which aren't "
            'installed: pip install "xearthformer[pysteps]"'
        ) from error
    if method == "linda" and importlib.util.find_spec("skimage") is None:
        raise ImportError(
            'LINDA needs scikit-image, which isn\'t installed: pip install "xearthformer[pysteps]"'
        )
    return Pysteps(
        path=extrapolation.get_method("semilagrangian"),
        decibels=dB_transform,
        noise=noise.get_method("nonparametric"),
        **methods,
    )


# --- arguments


def _check_arguments(
    name: str | None, members: int | None, frames: int, seed: int, beyond: str
) -> tuple[Method, int | None]:
    """Return the method and its number of members; raise for what doesn't go together."""
    if name is None:
        name = "extrapolation" if members is None else "steps"
    if name not in METHODS:
        raise mismatch(f"a method among {', '.join(METHODS)}", repr(name), 'method="sprog"')
    way = METHODS[name]
    if members is not None and not way.draws:
        hint = f'method="steps", or members=None for {name}'
        raise mismatch("a method that draws members: steps or linda", repr(name), hint)
    if members is None and way.always:
        members = MEMBERS
    if beyond not in ("climatology", "nan"):
        raise mismatch('beyond="climatology" or beyond="nan"', repr(beyond), 'beyond="nan"')
    whole_number("frames", frames, least=way.frames)
    if members is not None:
        whole_number("members", members)
        whole_number("seed", seed, least=0)
    return way, members


def _check_frames(count: int, way: Method) -> None:
    """Raise for a record that the method can't be run from, though a simpler one can."""
    least = METHODS["extrapolation"].frames
    if least <= count < way.frames:
        expected = f"a record of {way.frames} frames or more, for {way.title}"
        raise mismatch(expected, str(count), 'method="extrapolation"')


def _resolution(data: xr.DataArray, step: Step) -> tuple[float, float]:
    """Return what members are drawn by: kilometres per pixel and minutes per time step."""
    axes = find_axes(data)
    metres = [length for dim in (axes.y, axes.x) if (length := spacing_in_metres(data, dim))]
    if len(metres) < 2 or isinstance(step, str):
        found = f"no lengths along {axes.y} and {axes.x}" if len(metres) < 2 else "steps of a month"
        raise mismatch(
            "a grid whose pixels have a length, and steps that have one, for members",
            found,
            'method="sprog", members=None, for a single forecast',
        )
    return float(np.mean(metres)) / 1000, float(step / np.timedelta64(60, "s"))


# --- the record


def _regular_axis(time: xr.DataArray) -> tuple[Step, xr.DataArray, np.ndarray]:
    """Return the step, the time axis without its gaps, and the place of each stamp on it."""
    step, places = stamps_on_grid(time)
    if step == "month" or places[-1] == time.size - 1:
        return step, time, np.arange(time.size)
    stamps = shift_time(time, step, np.array([0]), np.arange(places[-1] + 1))[0]
    return step, xr.DataArray(stamps, dims=time.dims, attrs=time.attrs), places


def _frames_up_to(
    prepared: xr.DataArray, places: np.ndarray, position: int, frames: int
) -> np.ndarray:
    """Return the frames (time, y, x) up to a position of the record; NaN for those it lacks."""
    first = max(0, places[position] - frames + 1)
    start = int(np.searchsorted(places, first))
    past = np.full((places[position] - first + 1, *prepared.shape[1:]), np.nan, np.float32)
    past[places[start : position + 1] - first] = prepared[start : position + 1].to_numpy()
    return past


def _check_rain(past_TYX: np.ndarray, data: xr.DataArray) -> None:
    """Raise for numbers that are no rain, such as -999 where nothing was seen."""
    beyond = (past_TYX < -NOISE).any() or (past_TYX > HIGHEST_RATE).any()
    if beyond or full_bytes(past_TYX).any():
        # the error names the numbers in the user's units; in a record that leads to it, 255 is rain
        open_radar(data).compute()


def _seed(seed: int, stamp: object) -> int:
    """Return the seed of one init, from the user's seed and the date alone."""
    seconds = int(np.datetime64(str(stamp)).astype("M8[s]").astype(np.int64))
    return int(np.random.SeedSequence([seed, seconds % 2**63]).generate_state(1)[0])


# --- in words, and labels


def _method_note(way: Method, frames: int, members: int | None, seed: int) -> str:
    words = "semi-Lagrangian" if way.run is None else way.title
    if members is not None:
        words += f", {members} members, seed {seed}"
    return f"extrapolated by pysteps: Lucas-Kanade on {frames} frames, {words}"


def _notes(found: Nowcast, past_TYX: np.ndarray, frames: int) -> Sequence[str]:
    if len(past_TYX) < frames:
        return [f"{len(past_TYX)} frames up to the init instead of {frames}", *found.notes]
    return found.notes


def _warnings(said: dict[str, list[np.datetime64]], count: int) -> list[str]:
    """Warn of what was out of the ordinary, once for all inits; return it for the history."""
    notes = [
        f"{note} ({len(stamps)} of {count} inits, from {str_time(stamps[0])} on)"
        for note, stamps in said.items()
    ]
    for note in notes:
        warn(note)
    return notes


def _known(known: np.ndarray, origin: cf.Origin) -> xr.Variable:
    """Return the share of what was seen on the user's grid (init, lead, y, x)."""
    own = replace(origin, model_units=None, dtype=known.dtype, name=KNOWN, attrs={})
    share = cf.restore(xr.DataArray(known, dims=("init", "lead", "y", "x")), own)
    return xr.Variable(share.dims, share.values, KNOWN_ATTRS)
