"""Synthetic storms: any number of seeded rain events in the form of SEVIR, for training and trials.

A Gaussian field with a power-law spectrum forgets its short waves sooner than its long ones (a
continuous form of the cascades of Seed 2003, J. Appl. Meteor. 42, 381-388, and of STEPS: Bowler et
al. 2006, Q. J. R. Meteorol. Soc. 132, 2127-2155) while a wind that turns, shears and spreads
carries it along. It rains where the field is high, at lognormal rates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...errors import whole_number
from ...fields.cf import add_history
from ..sevir.vil import vil_of_rain, vil_to_kg_m2

MINUTES = 5  # between frames
METRES = 1000.0  # between pixels
START = np.datetime64("2000-01-01T00:00", "ns")
# The periodic field is at least MARGIN pixels wider than an event, and never below SMALLEST: else
# what leaves on one side would soon come back on the other.
MARGIN, SMALLEST = 128, 256
DRY, MOST = 0.1, 150.0  # mm/h; less is no rain, more is clipped as radars do (hail)

# Ranges of an event's parameters, each drawn by itself, uniformly in its logarithm.
RANGES: dict[str, tuple[float, float]] = {
    "wet": (0.06, 0.4),  # share of pixels and frames
    "median": (0.7, 1.8),  # mm/h, where it rains
    "spread": (0.8, 1.25),  # standard deviation of the logarithm of the rate
    "slope": (3.2, 4.0),  # exponent by which the field's power grows with the wavelength
    "outer": (100.0, 250.0),  # km; above this wavelength the power stays level
    "stretch": (1.0, 1.5),  # factor by which shapes are longer along the bearing, shorter across
    "memory": (1.2, 2.4),  # minutes; see MEMORY_POWER
    "speed": (3.0, 18.0),  # of the wind, m/s
}
TURN = 2e-5  # 1/s; standard deviation of each of the wind's four gradients
# A wave of L km falls to a correlation of 1/e after memory * L ** MEMORY_POWER minutes, in a frame
# that moves with the wind. Radar in Finland, the Netherlands and Switzerland: about 7 minutes at
# 5 km, 24 at 19 km, 80 at 70 km.
MEMORY_POWER = 0.9
E_FOLD = 2.146  # solves (1 + x) exp(-x) = 1 / e

ATTRS: dict[str, dict[str, str | float]] = {
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
        "long_name": "coordinate reference system",
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
        Random seed, 0 or more.
    events : int
        Number of events. Event k depends on the seed, k, `size` and `frames` alone: its bits are
        the same whichever other events are computed.
    size : int
        Pixels of 1 km along a side, 8 or more.
    frames : int
        Number of frames, one every 5 minutes.

    Returns
    -------
    Dataset
        `rain_rate` in mm h-1, `vil` on SEVIR's byte scale (whole numbers 0 .. 254) and `vil_kg_m2`,
        the same in kg m-2; (event, time, y, x), float32, lazy, one chunk per event. y and x are in
        metres from SEVIR's point of projection, row 0 in the south; the dates are arbitrary.

    Raises
    ------
    ValueError
        A number that is not whole, or too small.

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
    whole_number("seed", seed, 0)
    whole_number("events", events)
    whole_number("size", size, 8)
    whole_number("frames", frames)
    import dask.array

    numbers = dask.array.arange(events, chunks=1)
    rain = numbers.map_blocks(
        _rain_events,
        seed=int(seed),
        frames=int(frames),
        size=int(size),
        new_axis=[1, 2, 3],
        chunks=(numbers.chunks[0], frames, size, size),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    metres = (np.arange(size) + (1 - size) / 2) * METRES
    times = START + np.arange(frames) * np.timedelta64(MINUTES, "m")
    coords = {
        "event": ("event", [f"{seed}-{k}" for k in range(events)], ATTRS["event"]),
        "time": ("time", times, ATTRS["time"]),
        "y": ("y", metres, ATTRS["y"]),
        "x": ("x", metres, ATTRS["x"]),
        "crs": ((), 0, ATTRS["crs"]),
    }
    rate = xr.DataArray(rain, coords, ("event", "time", "y", "x"), attrs=ATTRS["rain_rate"])
    vil = vil_of_rain(rate).round().assign_attrs(ATTRS["vil"])
    return xr.Dataset(
        {"vil": vil, "vil_kg_m2": vil_to_kg_m2(vil), "rain_rate": rate},
        attrs=add_history(ATTRS[""], f"synthetic_storms({seed=}, {events=}, {size=}, {frames=})"),
    )


def _rain_events(numbers: np.ndarray, seed: int, frames: int, size: int) -> np.ndarray:
    return np.stack([rain_event(seed, int(number), frames, size) for number in numbers])


# --- one event


@dataclass(frozen=True)
class Storm:
    """The parameters of an event; `RANGES` describes the first eight."""

    wet: float
    median: float
    spread: float
    slope: float
    outer: float
    stretch: float
    memory: float
    speed: float
    heading: float  # direction of the wind; angles in radians from x towards y
    bearing: float  # direction of the stretch
    gradient: np.ndarray  # of the wind, (2, 2), 1/s

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Storm":
        """Draw the parameters at random."""
        own = {name: float(np.exp(rng.uniform(*np.log(ends)))) for name, ends in RANGES.items()}
        heading, bearing = rng.uniform(0, 2 * np.pi, 2).tolist()
        gradient = TURN * rng.standard_normal((2, 2))
        return cls(**own, heading=heading, bearing=bearing, gradient=gradient)

    def way_back(self, minutes: float, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the air at pixel p (y, x) was `minutes` ago, as matrix @ p + offset.

        The wind is steady, and linear about the middle: its path is an exact matrix exponential.
        """
        from scipy.linalg import expm

        mean = self.speed / METRES * np.array([np.sin(self.heading), np.cos(self.heading)])
        wind = np.zeros((3, 3))  # d(y, x, 1)/dt = wind @ (y, x, 1), pixels a second
        wind[:2, :2] = self.gradient
        wind[:2, 2] = mean - self.gradient.sum(axis=1) * (size - 1) / 2
        back = expm(-60 * minutes * wind)
        return back[:2, :2], back[:2, 2]


def rain_event(seed: int, event: int, frames: int, size: int) -> np.ndarray:
    """Return the rain rate of one event: (frames, size, size), mm/h, float32; 0 or at least DRY."""
    from scipy.special import ndtr, ndtri

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(event,)))
    storm = Storm.draw(rng)
    field = _field(storm, rng, frames, size)
    field -= field.mean(dtype=np.float64)
    field /= field.std(dtype=np.float64)
    threshold = np.quantile(field, 1 - storm.wet)  # of this field: `wet` is met exactly
    wet = field > threshold
    heavier = ndtr(-field[wet]) / ndtr(-threshold)  # the share of wet pixels with heavier rain
    rate = storm.median * np.exp(-storm.spread * ndtri(heavier))
    rain = np.zeros_like(field)
    rain[wet] = np.where(rate < DRY, 0, rate.clip(max=MOST))
    return rain


def _field(storm: Storm, rng: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """Return the Gaussian field of a storm, carried by the wind: (frames, size, size), float32."""
    from scipy import fft
    from scipy.ndimage import affine_transform

    world = fft.next_fast_len(max(size + MARGIN, SMALLEST), real=True)
    y, x = fft.fftfreq(world)[:, None], fft.rfftfreq(world)
    along = storm.stretch * (x * np.cos(storm.bearing) + y * np.sin(storm.bearing))
    across = (y * np.cos(storm.bearing) - x * np.sin(storm.bearing)) / storm.stretch
    wavenumber = np.hypot(along, across) * 1000 / METRES  # 1/km
    amplitude = (wavenumber**2 + storm.outer**-2) ** (-storm.slope / 4)
    # divided by the response of the cubic splines that read the field between its pixels
    amplitude *= 9 / ((2 + np.cos(2 * np.pi * y)) * (2 + np.cos(2 * np.pi * x)))
    wavenumber[0, 0] = wavenumber[0, 1]  # the mean's memory is that of the longest wave
    minutes = storm.memory * wavenumber**-MEMORY_POWER

    def noise() -> np.ndarray:
        white = rng.standard_normal((world, world), np.float32)
        return np.asarray(fft.rfft2(white))

    out = np.empty((frames, size, size), np.float32)
    states = _red_noise(np.exp(-E_FOLD * MINUTES / minutes), noise)
    for t, (frame, state) in enumerate(zip(out, states, strict=False)):
        spline = fft.irfft2(state * amplitude, s=(world, world))
        matrix, offset = storm.way_back(MINUTES * (t - (frames - 1) / 2), size)
        affine_transform(
            spline, matrix, offset, output=frame, order=3, mode="grid-wrap", prefilter=False
        )
    return out


def _red_noise(a: np.ndarray, noise: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield states of a critically damped AR(2) process, each of the noise's variance.

    z(t) = 2 a z(t-1) - a^2 z(t-2) + c noise, with an `a` for each mode; the correlation after n
    states is (1 + n (1 - a^2) / (1 + a^2)) a^n.
    """
    square = a**2
    neighbour = 2 * a / (1 + square)  # the correlation of one state with the next
    c = np.sqrt((1 - square) ** 3 / (1 + square))
    before = noise()
    # drawn by its correlation, so that the process is stationary from the first state on
    now = neighbour * before + np.sqrt(1 - neighbour**2) * noise()
    while True:
        yield before
        before, now = now, 2 * a * now - square * before + c * noise()
