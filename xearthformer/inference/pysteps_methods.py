"""Nowcasts of one init by pysteps, on plain arrays: its methods, their settings, and their guards.

`nowcast` finds the motion, carries the last rain seen along it, and lets a method of `METHODS` say
how the rain changes on the way. What was seen is told from what was not: pixels that were not
observed, whole frames that are missing, and all that comes from beyond the domain.
Legend of the shape suffixes: T time, L leads, M members, Y X space, 2 the components (x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DRY = 0.1  # mm/h: below it there is no rain for the motion and the cascades
DRY_DB = -15.0  # the value of dry pixels, in dB above 1 mm/h: pysteps' own choice
THRESHOLD_DB = 10 * np.log10(DRY)
KNOWN_FROM = 0.5  # share of what was seen from which a value counts as known
# What pysteps raises on fields that its autoregression or its features can't be taken from.
FAILURES = (np.linalg.LinAlgError, IndexError, ValueError, ZeroDivisionError)


@dataclass(frozen=True)
class Pysteps:
    """The functions of pysteps that are used here."""

    flow: Callable[..., np.ndarray]
    path: Callable[..., tuple[None, np.ndarray]]  # semi-Lagrangian, of displacements alone
    extrapolation: Callable[..., np.ndarray]
    sprog: Callable[..., np.ndarray]
    steps: Callable[..., None]
    anvil: Callable[..., np.ndarray]
    linda: Callable[..., np.ndarray]
    decibels: Callable[..., tuple[np.ndarray, dict[str, object]]]
    noise: tuple[Callable[..., Any], Callable[..., np.ndarray]]  # to set up, to draw


@dataclass(frozen=True)
class Ensemble:
    """What members depend on: their number, a seed, kilometres a pixel and minutes a step."""

    members: int
    seed: int
    kmperpixel: float
    timestep: float


@dataclass(frozen=True)
class Past:
    """The frames up to an init, and the motion that they show."""

    frames_TYX: np.ndarray  # mm/h, NaN where not observed
    motion_2YX: np.ndarray  # pixels a step
    last_YX: np.ndarray  # the last rain seen, moved to the init; 0 where none was seen
    seen_YX: np.ndarray  # the share of it that was seen, 0 to 1

    def rain_seen(self) -> np.ndarray:
        """Every value that was observed."""
        return self.frames_TYX[np.isfinite(self.frames_TYX)]

    def observed(self) -> tuple[Past, int]:
        """The same up to the last frame that is not missing, and how many steps ago that was."""
        present = np.flatnonzero(np.isfinite(self.frames_TYX).any(axis=(1, 2)))
        age = len(self.frames_TYX) - 1 - int(present[-1])
        if not age:
            return self, 0
        frames_TYX = self.frames_TYX[:-age]
        last_YX, seen_YX = np.nan_to_num(frames_TYX[-1]), np.isfinite(frames_TYX[-1]).astype(float)
        return Past(frames_TYX, self.motion_2YX, last_YX, seen_YX), age


@dataclass(frozen=True)
class Nowcast:
    """The rain of the coming steps, how much of it was seen, and what was out of the ordinary."""

    rain: np.ndarray  # (lead, [member,] y, x), mm/h
    known_LYX: np.ndarray
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Method:
    """A way of pysteps to change the rain while it is carried."""

    title: str
    frames: int  # the fewest that it takes
    # From what was seen, a number of leads and the members, to the rain (lead, [member,] y, x), NaN
    # where the method has none; and what it did otherwise than usual.
    run: Callable[[Past, int, Ensemble | None, Pysteps], tuple[np.ndarray, list[str]]] | None
    draws: bool = False  # can draw members
    always: bool = False  # has no forecast without members


def nowcast(
    past_TYX: np.ndarray,
    lead: int,
    method: Method,
    ensemble: Ensemble | None,
    beyond: str,
    pysteps: Pysteps,
) -> Nowcast:
    """Forecast `lead` steps from the frames (time, y, x) of rain in mm/h up to an init.

    Beyond what was seen stands the mean of the rain seen, or members' own draws of it; or NaN, with
    `beyond` "nan". Pixels that none of the frames observed are NaN at every lead.
    """
    observed_TYX = np.isfinite(past_TYX)
    shape = past_TYX.shape[1:]
    if not observed_TYX.any():
        nothing = np.full((lead, *([ensemble.members] if ensemble else []), *shape), np.nan)
        return Nowcast(
            nothing, np.zeros((lead, *shape)), ["no value in the last frames: no forecast"]
        )
    motion, notes = find_motion(past_TYX, pysteps)
    past = Past(past_TYX, motion, *last_seen(past_TYX, motion, pysteps))
    carried_LYX, known_LYX = (
        carry(field_YX, motion, lead, pysteps) for field_YX in (past.last_YX, past.seen_YX)
    )
    rain: np.ndarray | None = None
    if method.run is not None and (past.last_YX >= DRY).any():
        observed, age = past.observed()
        with np.errstate(all="ignore"):
            try:
                rain, said = method.run(observed, lead + age, ensemble, pysteps)
                rain = rain[age:]
                if (carried_LYX[0] >= DRY).any() and not (rain[0] >= DRY).any():
                    raise ValueError("nothing but dry pixels")
                notes += said
            except FAILURES as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                rain = None
                notes.append(f"{method.title} can't be run ({reason}): extrapolated instead")
    mean = past.rain_seen().mean() if beyond == "climatology" else None
    if ensemble is None:
        values = _single(rain, carried_LYX, known_LYX, mean)
    else:
        values = _members(rain, carried_LYX, known_LYX, ensemble)
        if mean is not None:
            _draw_beyond(values, past, ensemble, pysteps)
    values[..., ~observed_TYX.any(axis=0)] = np.nan
    return Nowcast(values, known_LYX, notes)


# --- what was seen, and how it moves


def find_motion(past_TYX: np.ndarray, pysteps: Pysteps) -> tuple[np.ndarray, list[str]]:
    """Return the motion (2, y, x) in pixels a step, of the latest frames that follow one another.

    Lucas-Kanade leaves out pixels that were not observed. Frames without rain are left out here,
    missing or dry, for it follows showers into them: of frames that are never neighbours the last
    two count, their motion shared by the steps between.
    """
    wet = np.flatnonzero((np.nan_to_num(past_TYX) >= DRY).any(axis=(1, 2)))
    if wet.size < 2:
        still = np.zeros((2, *past_TYX.shape[1:]))
        return still, ["one frame alone has rain, which shows no motion"] if wet.size else []
    runs = np.split(wet, np.flatnonzero(np.diff(wet) > 1) + 1)
    used = next((run for run in reversed(runs) if run.size > 1), wet[-2:])
    notes = []
    if used.size < len(past_TYX):
        notes.append(f"motion from {used.size} of {len(past_TYX)} frames: others dry or missing")
    rain_TYX = past_TYX[used]
    decibels_TYX = np.where(np.isfinite(rain_TYX), _decibels(rain_TYX, pysteps), np.nan)
    with np.errstate(all="ignore"):
        motion = pysteps.flow(decibels_TYX, verbose=False)
    return motion / (used[1] - used[0]), notes


def last_seen(
    past_TYX: np.ndarray, motion_2YX: np.ndarray, pysteps: Pysteps
) -> tuple[np.ndarray, np.ndarray]:
    """Return the last rain seen (y, x), moved to the time of the init, and the share seen of it.

    Where the last frame lacks what an earlier one saw at the same place, earlier frames are carried
    there. Rain is weighted by its share: 0 where none was seen.
    """
    seen_TYX = np.isfinite(past_TYX)
    last_YX, share_YX = np.nan_to_num(past_TYX[-1]), seen_TYX[-1].astype(float)
    hole_YX = ~seen_TYX[-1] & seen_TYX.any(axis=0)
    for age in range(1, len(past_TYX)):
        if not (hole_YX & (share_YX < 1)).any():
            break
        if seen_TYX[-1 - age].any():
            moved, share = (
                carry(np.nan_to_num(field_YX), motion_2YX, age, pysteps)[-1]
                for field_YX in (past_TYX[-1 - age], seen_TYX[-1 - age].astype(float))
            )
            rest_YX = np.where(hole_YX, 1 - share_YX, 0)
            last_YX, share_YX = last_YX + rest_YX * moved, share_YX + rest_YX * share
    return last_YX, share_YX


def carry(field_YX: np.ndarray, motion_2YX: np.ndarray, steps: int, pysteps: Pysteps) -> np.ndarray:
    """Return a field along the motion after 1, 2, .. steps; 0 from beyond the domain."""
    return pysteps.extrapolation(field_YX, motion_2YX, steps, extrap_kwargs={"outval": 0.0})


def _decibels(rain: np.ndarray, pysteps: Pysteps) -> np.ndarray:
    """Return rain in dB; dry where there is none, little or no observation."""
    return pysteps.decibels(np.nan_to_num(rain), threshold=DRY, zerovalue=DRY_DB)[0]


def _rain(decibels: np.ndarray, pysteps: Pysteps) -> np.ndarray:
    return pysteps.decibels(decibels, threshold=THRESHOLD_DB, inverse=True)[0]


# --- the methods


def _cascade_frames(past: Past, pysteps: Pysteps) -> tuple[np.ndarray, list[str]]:
    """Return the two or three last frames in dB that an autoregression can be fitted to.

    A frame without rain, missing or dry, has no variance, and pysteps' cascades of it are NaN. The
    order of the autoregression is then lower, and of frames further apart the older one is moved
    to the step before the last.
    """
    rain_TYX = np.nan_to_num(past.frames_TYX)
    rain_TYX[-1] = past.last_YX / np.where(past.seen_YX > 0, past.seen_YX, 1)
    wet = (rain_TYX >= DRY).any(axis=(1, 2))
    if wet[-3:].all():
        return _decibels(rain_TYX[-3:], pysteps), []
    if wet[-2]:
        note = "a dry or missing frame among the last three: autoregression of the last two"
        return _decibels(rain_TYX[-2:], pysteps), [note]
    older = np.flatnonzero(wet[:-1])
    if not older.size:
        raise ValueError("one frame alone has rain")
    age = len(wet) - 1 - int(older[-1])
    moved_YX = carry(rain_TYX[older[-1]], past.motion_2YX, age - 1, pysteps)[-1]
    note = f"dry or missing frames before the last: autoregression with the one {age} steps before"
    return _decibels(np.stack([moved_YX, rain_TYX[-1]]), pysteps), [note]


def _whole_frames(past: Past, count: int) -> np.ndarray:
    """Return the last frames in mm/h; 0 where not observed.

    A frame that is missing or dry is an error: what the others differ from it by is no growth.
    """
    frames_TYX = np.nan_to_num(past.frames_TYX[-count:])
    if len(frames_TYX) < count or not (frames_TYX >= DRY).any(axis=(1, 2)).all():
        raise ValueError(f"a frame is dry or missing among the last {count}")
    return frames_TYX


def _sprog(
    past: Past, lead: int, _: Ensemble | None, pysteps: Pysteps
) -> tuple[np.ndarray, list[str]]:
    frames, notes = _cascade_frames(past, pysteps)
    order = len(frames) - 1
    decibels = pysteps.sprog(frames, past.motion_2YX, lead, precip_thr=THRESHOLD_DB, ar_order=order)
    return _finite(_rain(decibels, pysteps)), notes


def _steps(
    past: Past, lead: int, ensemble: Ensemble | None, pysteps: Pysteps
) -> tuple[np.ndarray, list[str]]:
    assert ensemble is not None  # as for every method that always draws
    frames, notes = _cascade_frames(past, pysteps)
    shape = ensemble.members, *past.last_YX.shape
    leads: list[np.ndarray] = []

    def keep(decibels_MYX: np.ndarray) -> None:  # lead by lead: a half of the memory, or less
        leads.append(_rain(decibels_MYX.reshape(shape), pysteps).astype(np.float32))

    pysteps.steps(
        frames,
        past.motion_2YX,
        lead,
        n_ens_members=ensemble.members,
        precip_thr=THRESHOLD_DB,
        ar_order=len(frames) - 1,
        kmperpixel=ensemble.kmperpixel,
        timestep=ensemble.timestep,
        seed=ensemble.seed,
        callback=keep,
        return_output=False,
    )
    return _finite(np.stack(leads)), notes


def _anvil(
    past: Past, lead: int, _: Ensemble | None, pysteps: Pysteps
) -> tuple[np.ndarray, list[str]]:
    return pysteps.anvil(_whole_frames(past, 4), past.motion_2YX, lead), []


def _linda(
    past: Past, lead: int, ensemble: Ensemble | None, pysteps: Pysteps
) -> tuple[np.ndarray, list[str]]:
    frames = _whole_frames(past, 3)
    if ensemble is None:
        return pysteps.linda(frames, past.motion_2YX, lead, add_perturbations=False), []
    members = pysteps.linda(
        frames,
        past.motion_2YX,
        lead,
        n_ens_members=ensemble.members,
        kmperpixel=ensemble.kmperpixel,
        timestep=ensemble.timestep,
        seed=ensemble.seed,
    )
    return members.swapaxes(0, 1), []


def _finite(rain: np.ndarray) -> np.ndarray:
    """Return the rain; an error where nothing is finite, as a singular autoregression leaves it."""
    if not np.isfinite(rain).any():
        raise ValueError("no finite value")
    return rain


METHODS = {
    "extrapolation": Method("extrapolation", 2, None),
    "sprog": Method("S-PROG", 3, _sprog),
    "steps": Method("STEPS", 3, _steps, draws=True, always=True),
    "anvil": Method("ANVIL", 4, _anvil),
    "linda": Method("LINDA", 3, _linda, draws=True),
}


# --- what comes from beyond, and members


def _single(
    rain: np.ndarray | None, carried_LYX: np.ndarray, known_LYX: np.ndarray, mean: float | None
) -> np.ndarray:
    """Return a forecast (lead, y, x) that fades to a mean as less of it was seen; None: to NaN.

    Where a method has no rain stands what is carried, which is weighted by its share.
    """
    own = (
        carried_LYX if rain is None else np.where(np.isfinite(rain), known_LYX * rain, carried_LYX)
    )
    if mean is None:
        return np.where(known_LYX >= KNOWN_FROM, own / np.maximum(known_LYX, KNOWN_FROM), np.nan)
    return own + (1 - known_LYX) * mean


def _members(
    rain: np.ndarray | None, carried_LYX: np.ndarray, known_LYX: np.ndarray, ensemble: Ensemble
) -> np.ndarray:
    """Return members (lead, member, y, x), NaN where they have to be drawn."""
    if rain is None:  # all alike: nothing tells how this rain changes
        with np.errstate(invalid="ignore"):
            carried_LYX = carried_LYX / known_LYX
        shape = len(carried_LYX), ensemble.members, *carried_LYX.shape[1:]
        rain = np.broadcast_to(carried_LYX[:, None], shape)
    rain = np.require(rain, np.float32, "W")  # a copy of what is broadcast alone
    rain[np.broadcast_to(known_LYX[:, None] < KNOWN_FROM, rain.shape)] = np.nan
    return rain


def _draw_beyond(
    values_LMYX: np.ndarray,
    past: Past,
    ensemble: Ensemble,
    pysteps: Pysteps,
) -> None:
    """Fill members, in place, where they have no value: rain as it may come from beyond.

    Each member has a field of noise with the spectrum of the wettest frame and the distribution of
    the rain seen, which lies around the domain and moves in with the motion. Noise is periodic, so
    that a place beyond the edge is one of its pixels.
    """
    if np.isfinite(values_LMYX).all():
        return
    fields_MYX = _drawn_fields(past, ensemble, pysteps)
    height, width = past.last_YX.shape
    y, x = np.mgrid[:height, :width]
    way = None
    for values_MYX in values_LMYX:
        _, way = pysteps.path(
            None, past.motion_2YX, [1], displacement_prev=way, return_displacement=True
        )
        rows = np.rint(y + way[1]).astype(int) % height
        columns = np.rint(x + way[0]).astype(int) % width
        for values_YX, field_YX in zip(values_MYX, fields_MYX, strict=True):
            unknown = np.isnan(values_YX)
            values_YX[unknown] = field_YX[rows[unknown], columns[unknown]]


def _drawn_fields(past: Past, ensemble: Ensemble, pysteps: Pysteps) -> np.ndarray:
    """Return a field of rain (member, y, x) for each member, of noise alone."""
    shape = past.last_YX.shape
    rain = np.sort(past.rain_seen())
    fields = np.zeros((ensemble.members, *shape), np.float32)
    if rain[-1] < DRY:
        return fields
    wettest = np.nansum(past.frames_TYX, axis=(1, 2)).argmax()
    set_up, draw = pysteps.noise
    with np.errstate(all="ignore"):
        shaped = set_up(_decibels(past.frames_TYX[wettest], pysteps))
        for member, field_YX in enumerate(fields):
            seed = _member_seed(ensemble.seed, member, "beyond")
            noise = draw(shaped, randstate=np.random.RandomState(seed))
            ranks = np.empty(noise.size, int)
            ranks[noise.ravel().argsort()] = np.arange(noise.size)
            field_YX[:] = rain[ranks * rain.size // noise.size].reshape(shape)
    return fields


def _member_seed(seed: int, member: int, use: str = "") -> int:
    """Return the seed of one member, whatever the number of members."""
    words = [seed, member, *use.encode()]
    return int(np.random.SeedSequence(words).generate_state(1)[0] % 2**31)
