"""N-body MNIST: digits in a box that attract each other, and their energy, which is conserved.

The data set of the Earthformer paper (Gao et al. 2022, NeurIPS 35), simulated when it is read:
each digit is a body, gravity is softened, walls reflect.
"""

from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ...errors import mismatch, whole_number
from ...fields.cf import add_history

if TYPE_CHECKING:
    import dask.array

DIGIT = 20  # pixels along a side of scikit-learn's digits, which have 8
GRAVITY = 100.0  # pixel^3 / frame^2, for the mass of 1 that every body has
SOFTENING = 5.0  # pixels
SPEED = (1.0, 3.0)  # pixels / frame, at the start
SUBSTEPS = 128  # of the integration, per frame
CHUNK = 64  # sequences
START = np.datetime64("2000-01-01T00:00:00", "ns")

DIMS = {
    "frames": ("sequence", "time", "y", "x"),
    "position": ("sequence", "time", "body", "axis"),
    "energy": ("sequence", "time"),
    "digit": ("sequence", "body"),
}
ATTRS: dict[str, dict[str, str]] = {
    "frames": {"long_name": "brightness, 0 .. 255", "units": "1"},
    "energy": {"long_name": "kinetic and potential energy of the bodies", "units": "1"},
    "position": {"long_name": "middle of a digit, from the outer corner of pixel (0, 0)"},
    "digit": {"long_name": "which of the digits a body looks like"},
    "time": {
        "standard_name": "time",
        "axis": "T",
        "comment": "one frame per second; the date is arbitrary",
    },
    "y": {"long_name": "row", "axis": "Y"},
    "x": {"long_name": "column", "axis": "X"},
    "": {
        "title": "N-body MNIST",
        "references": "Gao, Z., et al. (2022): Earthformer: Exploring space-time transformers for "
        "earth system forecasting, NeurIPS 35",
    },
}


def nbody(
    seed: int = 0,
    sequences: int = 1000,
    *,
    bodies: int = 3,
    frames: int = 20,
    size: int = 64,
    digits: ArrayLike | None = None,
) -> xr.Dataset:
    """Simulate digits that move under each other's gravity in a box.

    Parameters
    ----------
    seed : int
        Random seed, 0 or more.
    sequences : int
        Number of sequences. Sequence k depends on the seed, k and the arguments below alone: its
        bits are the same whichever other sequences are computed.
    bodies, frames, size : int
        Digits in a sequence, its frames (the paper's: 10 in, 10 out), pixels along a side.
    digits : array (n, height, width), optional
        Images of the bodies, such as your copy of MNIST; their largest value becomes 255. None:
        scikit-learn's 1797 digits, drawn with 20 x 20 pixels.

    Returns
    -------
    Dataset
        - frames (sequence, time, y, x), uint8: the brightness of digits adds up, to 255 at most
        - position (sequence, time, body, axis), float64: centre of each digit in pixels
        - energy (sequence, time), float64: in mass pixel^2 / frame^2, for bodies of mass 1
        - digit (sequence, body), int64: the number of each body's image

        Lazy, 64 sequences per chunk.

    Raises
    ------
    ValueError
        A number that is not whole, or too small; digits of another shape, or not smaller than a
        frame.
    ImportError
        scikit-learn, where the digits come from, is not installed.

    Notes
    -----
    Body i is accelerated by the sum over j of G m_j (x_j - x_i) / (d_ij + s)^3, with the distance
    d_ij and the softening s. Velocity Verlet with 128 steps per frame conserves the energy: over
    20 frames of 512 sequences, with a mean kinetic energy of 8.2, to 0.0002 between bounces and to
    0.03 with them.

    Examples
    --------
    >>> ds = nbody(seed=1, sequences=2, digits=np.ones((1, 8, 8)))
    >>> ds["frames"].sizes
    Frozen({'sequence': 2, 'time': 20, 'y': 64, 'x': 64})
    """
    counts = {"sequences": sequences, "bodies": bodies, "frames": frames, "size": size}
    whole_number("seed", seed, 0)
    for name, value in counts.items():
        whole_number(name, value)
    images = _scikit_learn_digits() if digits is None else _as_bytes(digits)
    largest = max(images.shape[1:])
    if largest >= size:  # a digit as large as a frame has nowhere to go
        fit = f"digits smaller than {size} x {size} pixels, a frame's"
        raise mismatch(fit, " x ".join(map(str, images.shape[1:])), f"size={largest + 1}")
    arrays = {
        name: (DIMS[name], array, ATTRS[name])
        for name, array in _lazy(images, seed, *counts.values()).items()
    }
    time = START + np.arange(frames) * np.timedelta64(1, "s")
    coords = {
        "time": ("time", time, ATTRS["time"]),
        "y": ("y", np.arange(size), ATTRS["y"]),
        "x": ("x", np.arange(size), ATTRS["x"]),
        "axis": ["y", "x"],
    }
    line = f"nbody({seed=}, {sequences=}, {bodies=}, {frames=}, {size=})"
    return xr.Dataset(arrays, coords, add_history(ATTRS[""], line))


def _lazy(
    images: np.ndarray, seed: int, sequences: int, bodies: int, frames: int, size: int
) -> "dict[str, dask.array.Array]":
    """Return the arrays of the Dataset; CHUNK sequences per chunk."""
    import dask.array

    number = dask.array.arange(sequences, chunks=CHUNK)
    room = tuple(float(size - side) for side in images.shape[1:])
    digit = number.map_blocks(
        *(_choose, seed, bodies, len(images)),
        new_axis=1,
        chunks=(number.chunks[0], bodies),
        meta=np.empty((0, 0), np.int64),
    )
    state = number.map_blocks(
        *(_simulate, seed, bodies, frames, room),
        new_axis=[1, 2, 3],
        chunks=(number.chunks[0], frames, bodies, 4),
        meta=np.empty((0, 0, 0, 0)),
    )
    drawn = dask.array.blockwise(
        *(_draw, "styx", state, "stbc", digit, "sb"),
        # an array of one chunk, so that the images are in the graph once and not in every task
        *(dask.array.from_array(images, chunks=-1), "nhw", size, None),
        new_axes={"y": size, "x": size},
        concatenate=True,
        meta=np.empty((0, 0, 0, 0), np.uint8),
    )
    return {
        "frames": drawn,
        "position": state[..., :2] + np.array(images.shape[1:]) / 2,  # from corner to centre
        "energy": state.map_blocks(energy_of, drop_axis=[2, 3], meta=np.empty((0, 0))),
        "digit": digit,
    }


# --- images of the bodies


@lru_cache(maxsize=1)
def _scikit_learn_digits() -> np.ndarray:
    """Return the digits that come with scikit-learn, enlarged: uint8 (1797, 20, 20)."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            "the digits come from scikit-learn, which isn't installed: "
            'pip install "xearthformer[train]", or pass your own: xef.nbody(digits=...)'
        ) from error
    from scipy.ndimage import zoom

    images = load_digits().images * (255 / 16)  # (1797, 8, 8), 0 .. 16
    larger = zoom(images, (1, DIGIT / 8, DIGIT / 8), order=1, mode="nearest", grid_mode=True)
    return np.rint(larger).astype(np.uint8)


def _as_bytes(digits: ArrayLike) -> np.ndarray:
    """Return digits as uint8, the brightest pixel of all at 255."""
    images = np.asarray(digits)
    if images.ndim != 3 or not images.size or images.dtype.kind not in "uif":
        found = f"{images.dtype} of shape {images.shape}"
        raise mismatch("digits (n, height, width), of numbers", found, "digits=images, an array")
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() > 0):
        hint = "np.nan_to_num(digits).clip(0), of digits that are not all dark"
        raise mismatch("brightness from 0 up", "less, or NaN, or nothing", hint)
    return np.rint(images * (255 / float(images.max()))).astype(np.uint8)


# --- chunks of sequences: S sequences, T frames, B bodies


def _rng(seed: int, number: int, stream: int) -> np.random.Generator:
    # by its own number, a sequence doesn't depend on the others of its chunk
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(number), stream)))


def _choose(numbers_S: np.ndarray, seed: int, bodies: int, among: int) -> np.ndarray:
    """Return the number of each body's image: (S, B)."""
    return np.stack([_rng(seed, number, 0).integers(among, size=bodies) for number in numbers_S])


def _simulate(
    numbers_S: np.ndarray, seed: int, bodies: int, frames: int, room: tuple[float, float]
) -> np.ndarray:
    """Return positions and velocities, (y, x, vy, vx) of each body: (S, T, B, 4).

    A position is that of the corner of a digit's pixel (0, 0), between 0 and `room`.
    """
    state = np.empty((len(numbers_S), frames, bodies, 4))
    for start_B4, number in zip(state[:, 0], numbers_S, strict=True):
        rng = _rng(seed, number, 1)
        start_B4[:, :2] = rng.uniform(0, room, (bodies, 2))
        speed, angle = rng.uniform(*SPEED, bodies), rng.uniform(0, 2 * np.pi, bodies)
        start_B4[:, 2:] = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    for t in range(1, frames):
        state[:, t] = advance(state[:, t - 1], room)
    return state


def advance(state: np.ndarray, room: tuple[float, float]) -> np.ndarray:
    """Return the state (S, B, 4) one frame later, by velocity Verlet.

    Bodies fly straight between the kicks of gravity. Straight flight, reflected by the walls, is
    exact, as the kicks are, so the whole is symplectic (Hairer, Lubich, Wanner 2006, Geometric
    Numerical Integration, section I.1.4).
    """
    position, velocity = state[..., :2].copy(), state[..., 2:].copy()
    dt = 1 / SUBSTEPS
    acceleration = _acceleration(position)
    for _ in range(SUBSTEPS):
        velocity += dt / 2 * acceleration
        position += dt * velocity
        for axis, wall in enumerate(room):
            x, v = position[..., axis], velocity[..., axis]  # views: changed in place
            v[(x < 0) | (x > wall)] *= -1
            np.abs(x, out=x)
            x[x > wall] = 2 * wall - x[x > wall]
        acceleration = _acceleration(position)
        velocity += dt / 2 * acceleration
    return np.concatenate([position, velocity], axis=-1)


def _acceleration(position: np.ndarray) -> np.ndarray:
    """Return the acceleration (S, B, 2) of bodies by the gravity of the others."""
    out = np.zeros_like(position)
    # pair by pair: the bits of a sum over an axis could depend on the number of sequences
    for i, j in combinations(range(position.shape[1]), 2):
        apart, distance = _between(position, i, j)
        soft = distance + SOFTENING
        pull = (GRAVITY / (soft * soft * soft))[..., None] * apart
        out[:, i] += pull
        out[:, j] -= pull
    return out


def energy_of(state: np.ndarray) -> np.ndarray:
    """Return the kinetic plus the potential energy (S, T) of a state (S, T, B, 4).

    Examples
    --------
    Two bodies at rest, 5 pixels apart; the force G d / (d + s)^3 integrates to
    -G (1 / (d + s) - s / 2 / (d + s)^2):

    >>> energy_of(np.array([[[[0.0, 0, 0, 0], [3, 4, 0, 0]]]]))
    array([[-7.5]])
    """
    energy = np.zeros(state.shape[:2])
    for body in range(state.shape[2]):
        for axis in (2, 3):  # vy, vx
            energy += state[:, :, body, axis] ** 2 / 2
    for i, j in combinations(range(state.shape[2]), 2):
        soft = _between(state[..., :2], i, j)[1] + SOFTENING
        energy -= GRAVITY * (1 / soft - SOFTENING / 2 / (soft * soft))
    return energy


def _between(position: np.ndarray, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vector from body i to body j (..., 2), and its length."""
    apart = position[..., j, :] - position[..., i, :]
    return apart, np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2)


def _draw(state: np.ndarray, digit: np.ndarray, images: np.ndarray, size: int) -> np.ndarray:
    """Return frames (S, T, size, size); a digit between pixels is spread over its neighbours."""
    height, width = images.shape[1:]
    # a row and a column too many, for the share 0 of what lies exactly at the far wall
    canvas = np.zeros((*state.shape[:2], size + 1, size + 1), np.float32)
    for s, t, b in np.ndindex(state.shape[:3]):
        (y, fy), (x, fx) = (divmod(float(place), 1) for place in state[s, t, b, :2])
        image = images[digit[s, b]]
        for down, right in product((0, 1), (0, 1)):
            share = (fy if down else 1 - fy) * (fx if right else 1 - fx)
            top, left = int(y) + down, int(x) + right
            canvas[s, t, top : top + height, left : left + width] += np.float32(share) * image
    return np.rint(canvas[..., :size, :size].clip(max=255)).astype(np.uint8)
