"""Synthetic storms: endless, seeded rain in the form of SEVIR, to train on and to try things with.

A Gaussian field with a power-law spectrum forgets its small scales sooner than its large ones (a
continuous form of the cascades of Seed 2003, J. Appl. Meteor. 42, 381-388, and of STEPS: Bowler et
al. 2006, Q. J. R. Meteorol. Soc. 132, 2127-2155) while a wind that turns, shears and spreads
carries it along. Where it is high it rains, at lognormal rates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..sevir.vil import vil_of_rain, vil_to_kg_m2

MINUTES = 5  # between frames
METRES = 1000.0  # between pixels
START = np.datetime64("2000-01-01T00:00", "ns")
# The fields live on a world without ends, this many pixels wider than the window, and no smaller.
MARGIN, SMALLEST = 128, 256
DRY, MOST = 0.1, 150.0  # mm/h; less is no rain, more is cut as radars do (hail)

# An event's own numbers lie between these, logarithmically uniform and each on its own.
RANGES: dict[str, tuple[float, float]] = {
    "wet": (0.06, 0.4),  # share of pixels and frames
    "median": (0.7, 1.8),  # mm/h, where it rains
    "spread": (0.8, 1.25),  # standard deviation of the logarithm of the rate
    "slope": (3.2, 4.0),  # the field's power at a wavelength grows with this power of it
    "outer": (100.0, 250.0),  # up to about this wavelength, km
    "stretch": (1.0, 1.5),  # shapes are longer by this in one direction, shorter across it
    "memory": (1.2, 2.4),  # minutes; see MEMORY_POWER
    "speed": (3.0, 18.0),  # of the wind, m/s
}
TURN = 2e-5  # 1/s; standard deviation of each of the wind's four gradients
# What is L km long keeps a correlation of 1/e for memory * L ** MEMORY_POWER minutes, seen by who
# moves along. Radar in Finland, the Netherlands and Switzerland: about 7 minutes at 5 km, 24 at
# 19 km, 80 at 70 km.
MEMORY_POWER = 0.9
E_FOLD = 2.146  # solves (1 + x) exp(-x) = 1 / e

ATTRS: dict[str, dict[str, Any]] = {
    "vil": {
        "long_name": "vertically integrated liquid, on SEVIR's byte scale",
        "units": "1",
        "grid_mapping": "crs",
    },
    "rain_rate": {
        "standard_name": "rainfall_rate",
        "long_name": "rain rate",
        "units": "mm h-1",
        "grid_mapping": "crs",
    },
    "event": {"long_name": "seed and number of the event"},
    "time": {"standard_name": "time", "axis": "T", "comment": "any; the same for every event"},
    "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
    "crs": {
        "grid_mapping_name": "lambert_azimuthal_equal_area",
        "latitude_of_projection_origin": 38.0,
        "longitude_of_projection_origin": -98.0,
        "false_easting": 0.0,
        "false_northing": 0.0,
        "earth_radius": 6370997.0,
    },
    "": {
        "Conventions": "CF-1.8",
        "title": "Synthetic storms in the form of SEVIR",
        "institution": "none: simulated",
        "source": "thresholded Gaussian field with scale-dependent memory, carried by a wind",
    },
}


def synthetic_storms(
    seed: int = 0, events: int = 16, *, size: int = 384, frames: int = 49
) -> xr.Dataset:
    """Simulate storms: rain that moves, grows and decays, in the form of SEVIR's events.

    Parameters
    ----------
    seed : int
        From 0 on.
    events : int
        How many. Event k depends on the seed, k, `size` and `frames` alone: its bits are the same
        whatever is computed beside it.
    size : int
        Pixels of 1 km along a side.
    frames : int
        Every 5 minutes.

    Returns
    -------
    Dataset
        `rain_rate` in mm h-1, `vil` on SEVIR's byte scale (whole numbers 0 .. 254) and `vil_kg_m2`,
        what these stand for; (event, time, y, x), float32, lazy, an event a chunk. y and x are in
        metres about SEVIR's point of projection, row 0 in the south; the times mean nothing.

    Raises
    ------
    ValueError
        A number that isn't whole, or too small.

    Notes
    -----
    Of 64 events of seed 0: wet (0.1 mm/h and more) in 6 to 37 % of pixels, 18 % in the mean; power
    spectrum of log rain, per mode between 4 and 64 km, with slopes of -2.6 to -3.2, -2.9 in the
    mean; the last frame as a forecast has a CSI at 1 mm/h of .28 after 30 minutes, .16 after 60.

    Examples
    --------
    >>> ds = synthetic_storms(seed=1, events=3, size=64, frames=13)
    >>> ds["vil"].sizes
    Frozen({'event': 3, 'time': 13, 'y': 64, 'x': 64})
    >>> storm = ds["rain_rate"].isel(event=2).load()
    >>> 0.04 < float((storm > 0).mean()) < 0.4
    True
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("events", events, 1),
        ("size", size, 8),
        ("frames", frames, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name}: expected a whole number from {least}, found {value!r}")
    import dask.array

    numbers = dask.array.arange(events, chunks=1)
    rain = numbers.map_blocks(
        _block,
        seed=int(seed),
        frames=int(frames),
        size=int(size),
        new_axis=[1, 2, 3],
        chunks=(numbers.chunks[0], frames, size, size),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    metres = (np.arange(size) + (1 - size) / 2) * METRES
    coords = {
        "event": np.array([f"{seed}-{k}" for k in range(events)]),
        "time": START + np.arange(frames) * np.timedelta64(MINUTES, "m"),
        "y": metres,
        "x": metres,
    }
    rate = xr.DataArray(
        rain,
        {
            **{name: (name, values, ATTRS[name]) for name, values in coords.items()},
            "crs": ((), 0, ATTRS["crs"]),
        },
        ("event", "time", "y", "x"),
        attrs=ATTRS["rain_rate"],
    )
    vil = vil_of_rain(rate).round().assign_attrs(ATTRS["vil"])
    return xr.Dataset(
        {"vil": vil, "vil_kg_m2": vil_to_kg_m2(vil), "rain_rate": rate},
        attrs={
            **ATTRS[""],
            "history": f"synthetic_storms({seed=}, {events=}, {size=}, {frames=})",
        },
    )


def _block(numbers: np.ndarray, seed: int, frames: int, size: int) -> np.ndarray:
    return np.stack([rain_event(seed, int(number), frames, size) for number in numbers])


# --- one event


@dataclass(frozen=True)
class Storm:
    """What an event is like, before chance plays it out; `RANGES` tells of the first eight."""

    wet: float
    median: float
    spread: float
    slope: float
    outer: float
    stretch: float
    memory: float
    speed: float
    heading: float
    bearing: float
    gradient: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Storm":
        """A storm, by chance; angles in radians from x towards y, the wind's gradients in 1/s."""
        own = {name: float(np.exp(rng.uniform(*np.log(ends)))) for name, ends in RANGES.items()}
        heading, bearing = rng.uniform(0, 2 * np.pi, 2).tolist()
        gradient = TURN * rng.standard_normal((2, 2))
        return cls(**own, heading=heading, bearing=bearing, gradient=gradient)

    def way_back(self, minutes: float, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Where air that is at pixel p (y, x) was `minutes` ago: matrix @ p + offset.

        The wind is steady, and linear about the middle of the window: an exact matrix exponential.
        """
        from scipy.linalg import expm

        mean = self.speed / METRES * np.array([np.sin(self.heading), np.cos(self.heading)])
        wind = np.zeros((3, 3))  # d(y, x, 1)/dt = wind @ (y, x, 1), pixels a second
        wind[:2, :2] = self.gradient
        wind[:2, 2] = mean - self.gradient.sum(axis=1) * (size - 1) / 2
        back = expm(-60 * minutes * wind)
        return back[:2, :2], back[:2, 2]


def rain_event(seed: int, event: int, frames: int, size: int) -> np.ndarray:
    """Rain rate of one event: (frames, size, size), mm/h, float32; zero or at least `DRY`."""
    from scipy.special import ndtr, ndtri

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(event,)))
    storm = Storm.draw(rng)
    field = _field(storm, rng, frames, size)
    field -= field.mean(dtype=np.float64)
    field /= field.std(dtype=np.float64)
    edge = np.quantile(field, 1 - storm.wet)
    wet = field > edge
    heavier = ndtr(-field[wet]) / ndtr(-edge)  # the share of the rain that is heavier
    rate = storm.median * np.exp(-storm.spread * ndtri(heavier))
    rain = np.zeros_like(field)
    rain[wet] = np.where(rate < DRY, 0, rate.clip(max=MOST))
    return rain


def _field(storm: Storm, rng: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """The Gaussian field of a storm, carried along: (frames, size, size), float32."""
    from scipy import fft
    from scipy.ndimage import affine_transform

    world = fft.next_fast_len(max(size + MARGIN, SMALLEST), real=True)
    y, x = fft.fftfreq(world)[:, None], fft.rfftfreq(world)
    along = storm.stretch * (x * np.cos(storm.bearing) + y * np.sin(storm.bearing))
    across = (y * np.cos(storm.bearing) - x * np.sin(storm.bearing)) / storm.stretch
    wavenumber = np.hypot(along, across) * 1000 / METRES  # 1/km
    amplitude = (wavenumber**2 + storm.outer**-2) ** (-storm.slope / 4)
    # over the response of the cubic splines by which the field is read between its pixels
    amplitude *= 9 / ((2 + np.cos(2 * np.pi * y)) * (2 + np.cos(2 * np.pi * x)))
    wavenumber[0, 0] = wavenumber[0, 1]  # the mean remembers as long as the largest scale
    minutes = storm.memory * wavenumber**-MEMORY_POWER

    def noise() -> np.ndarray:
        white = rng.standard_normal((world, world), np.float32)
        return np.asarray(fft.rfft2(white))

    out = np.empty((frames, size, size), np.float32)
    states = _remembering(np.exp(-E_FOLD * MINUTES / minutes), noise)
    for t, (frame, state) in enumerate(zip(out, states, strict=False)):
        spline = fft.irfft2(state * amplitude, s=(world, world))
        matrix, offset = storm.way_back(MINUTES * (t - (frames - 1) / 2), size)
        affine_transform(
            spline, matrix, offset, output=frame, order=3, mode="grid-wrap", prefilter=False
        )
    return out


def _remembering(kept: np.ndarray, noise: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """States in time of the noise's variance: two steps of memory, critically damped (AR(2)).

    z(t) = 2 a z(t-1) - a^2 z(t-2) + c noise, for each mode with its own a = `kept`: correlated by
    (1 + n (1 - a^2) / (1 + a^2)) a^n after n steps. Steady from the first state on.
    """
    square = kept**2
    next_to = 2 * kept / (1 + square)
    fresh = np.sqrt((1 - square) ** 3 / (1 + square))
    before = noise()
    now = next_to * before + np.sqrt(1 - next_to**2) * noise()
    while True:
        yield before
        before, now = now, 2 * kept * now - square * before + fresh * noise()
