"""N-body MNIST: digits in a box that attract each other, and their energy, which is conserved.

The data set of the Earthformer paper (Gao et al. 2022, NeurIPS 35), made as it is asked for: each
digit is a body, gravity is softened, walls reflect.
"""

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ...errors import mismatch

if TYPE_CHECKING:
    import dask.array

DIGIT = 20  # pixels along a side of scikit-learn's digits, which have 8
GRAVITY = 100.0  # pixel^3 / frame^2, for the mass of 1 that every body has
SOFTENING = 5.0  # pixels
SPEED = (1.0, 3.0)  # pixels / frame, at the start
SUBSTEPS = 128  # of the integration, a frame
BLOCK = 64  # sequences a chunk
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
    "time": {"standard_name": "time", "axis": "T", "comment": "a frame a second, whenever"},
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
        From 0 on.
    sequences : int
        How many. Sequence k depends on the seed, k and the arguments below alone: its bits are the
        same whatever is computed beside it.
    bodies, frames, size : int
        Digits in a sequence, frames of it (the paper's: 10 in, 10 out), pixels along a side.
    digits : array (n, height, width), optional
        What bodies look like: MNIST, from wherever you have it; its largest value becomes 255.
        None: scikit-learn's 1797 digits, drawn with 20 x 20 pixels.

    Returns
    -------
    Dataset
        - frames (sequence, time, y, x), uint8: light adds up, to 255
        - position (sequence, time, body, axis), float64: of each digit's middle, in pixels
        - energy (sequence, time), float64: mass pixel^2 / frame^2, for bodies of mass 1
        - digit (sequence, body), int64: which of the digits

        Lazy, 64 sequences a chunk.

    Raises
    ------
    ValueError
        A number that isn't whole, or too small; digits of another shape, or larger than a frame.
    ImportError
        No scikit-learn to take the digits from.

    Notes
    -----
    Body i is accelerated by the sum over j of G m_j (x_j - x_i) / (d_ij + s)^3, with the distance
    d_ij and the softening s. Velocity Verlet, 128 steps a frame, keeps the energy: over 20 frames
    of 512 sequences, where 8.2 of it is kinetic in the mean, to 0.0002 between bounces and to 0.03
    with them.

    Examples
    --------
    >>> ds = nbody(seed=1, sequences=2, digits=np.ones((1, 8, 8)))
    >>> ds["frames"].sizes
    Frozen({'sequence': 2, 'time': 20, 'y': 64, 'x': 64})
    """
    counts = {"sequences": sequences, "bodies": bodies, "frames": frames, "size": size}
    for name, value in {"seed": seed, **counts}.items():
        least = int(name != "seed")
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name}: expected a whole number from {least}, found {value!r}")
    looks = _scikit_learn_digits() if digits is None else _as_bytes(digits)
    if max(looks.shape[1:]) > size:
        fit = f"digits of at most {size} x {size} pixels, a frame's"
        raise mismatch(fit, " x ".join(map(str, looks.shape[1:])), f"size={max(looks.shape[1:])}")
    arrays = {
        name: (DIMS[name], array, ATTRS[name])
        for name, array in _lazy(looks, seed, *counts.values()).items()
    }
    time = START + np.arange(frames) * np.timedelta64(1, "s")
    coords = {
        "time": ("time", time, ATTRS["time"]),
        "y": ("y", np.arange(size), ATTRS["y"]),
        "x": ("x", np.arange(size), ATTRS["x"]),
        "axis": ["y", "x"],
    }
    history = f"nbody({seed=}, {sequences=}, {bodies=}, {frames=}, {size=})"
    return xr.Dataset(arrays, coords, {**ATTRS[""], "history": history})


def _lazy(
    looks: np.ndarray, seed: int, sequences: int, bodies: int, frames: int, size: int
) -> "dict[str, dask.array.Array]":
    """The arrays of a Dataset, BLOCK sequences a chunk."""
    import dask.array

    number = dask.array.arange(sequences, chunks=BLOCK)
    room = tuple(float(size - side) for side in looks.shape[1:])
    digit = number.map_blocks(
        *(_choose, seed, bodies, len(looks)),
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
        *(dask.array.from_array(looks, chunks=-1), "nhw", size, None),
        new_axes={"y": size, "x": size},
        concatenate=True,
        meta=np.empty((0, 0, 0, 0), np.uint8),
    )
    return {
        "frames": drawn,
        "position": state[..., :2] + np.array(looks.shape[1:]) / 2,
        "energy": state.map_blocks(energy_of, drop_axis=[2, 3], meta=np.empty((0, 0))),
        "digit": digit,
    }


# --- what bodies look like


@lru_cache(maxsize=1)
def _scikit_learn_digits() -> np.ndarray:
    """The digits that come with scikit-learn, drawn larger: uint8 (1797, 20, 20)."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            "the digits come from scikit-learn, which isn't installed: "
            'pip install "xearthformer[nbody]", or pass your own: nbody(digits=...)'
        ) from error
    from scipy.ndimage import zoom

    images = load_digits().images * (255 / 16)  # (1797, 8, 8), 0 .. 16
    larger = zoom(images, (1, DIGIT / 8, DIGIT / 8), order=1, mode="nearest", grid_mode=True)
    return np.rint(larger).astype(np.uint8)


def _as_bytes(digits: ArrayLike) -> np.ndarray:
    """Digits as uint8, the brightest pixel of all at 255."""
    looks = np.asarray(digits)
    if looks.ndim != 3 or not looks.size or looks.dtype.kind not in "uif":
        found = f"{looks.dtype} of shape {looks.shape}"
        raise mismatch("digits (n, height, width), of numbers", found, "digits=images, an array")
    if not (np.isfinite(looks).all() and looks.min() >= 0 and looks.max() > 0):
        raise mismatch("brightness from 0 up", "less, or NaN, or nothing", "digits.clip(0)")
    return np.rint(looks * (255 / float(looks.max()))).astype(np.uint8)


# --- blocks of sequences: S sequences, T frames, B bodies


def _rng(seed: int, number: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(number), stream)))


def _choose(numbers_S: np.ndarray, seed: int, bodies: int, among: int) -> np.ndarray:
    """Which digit each body looks like: (S, B)."""
    return np.stack([_rng(seed, number, 0).integers(among, size=bodies) for number in numbers_S])


def _simulate(
    numbers_S: np.ndarray, seed: int, bodies: int, frames: int, room: tuple[float, float]
) -> np.ndarray:
    """Positions and velocities, (y, x, vy, vx) of each body: (S, T, B, 4).

    A position is that of a digit's upper left corner, between 0 and `room`.
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
    """A frame later: (S, B, 4) by velocity Verlet, bodies flying straight between the kicks.

    Straight flight, reflected by the walls, is exact, as the kicks are; so that the whole is
    symplectic (Hairer, Lubich, Wanner 2006, Geometric Numerical Integration, section I.1.4).
    """
    at, speed = state[..., :2].copy(), state[..., 2:].copy()
    step = 1 / SUBSTEPS
    pull = _acceleration(at)
    for _ in range(SUBSTEPS):
        speed += step / 2 * pull
        at += step * speed
        for axis, wall in enumerate(room):
            x, v = at[..., axis], speed[..., axis]
            v[(x < 0) | (x > wall)] *= -1
            np.abs(x, out=x)
            x[x > wall] = 2 * wall - x[x > wall]
        pull = _acceleration(at)
        speed += step / 2 * pull
    return np.concatenate([at, speed], axis=-1)


def _acceleration(at: np.ndarray) -> np.ndarray:
    """Of bodies at (S, B, 2), pair by pair, so that no bit depends on how many sequences there are.

    Bits of element-wise arithmetic don't, those of a sum over an axis might.
    """
    out = np.zeros_like(at)
    for i, j in combinations(range(at.shape[1]), 2):
        apart, distance = _between(at, i, j)
        soft = distance + SOFTENING
        pull = (GRAVITY / (soft * soft * soft))[..., None] * apart
        out[:, i] += pull
        out[:, j] -= pull
    return out


def energy_of(state: np.ndarray) -> np.ndarray:
    """Kinetic energy, and that of attraction: (S, T) of a state (S, T, B, 4).

    Examples
    --------
    Two bodies at rest, 5 pixels apart; the force G d / (d + s)^3 integrates to
    -G (1 / (d + s) - s / 2 / (d + s)^2):

    >>> energy_of(np.array([[[[0.0, 0, 0, 0], [3, 4, 0, 0]]]]))
    array([[-7.5]])
    """
    energy = np.zeros(state.shape[:2])
    for body in range(state.shape[2]):
        for axis in (2, 3):
            energy += state[:, :, body, axis] ** 2 / 2
    for i, j in combinations(range(state.shape[2]), 2):
        soft = _between(state[..., :2], i, j)[1] + SOFTENING
        energy -= GRAVITY * (1 / soft - SOFTENING / 2 / (soft * soft))
    return energy


def _between(at: np.ndarray, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """The way from body i to body j (..., 2), and its length."""
    apart = at[..., j, :] - at[..., i, :]
    return apart, np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2)


def _draw(state: np.ndarray, digit: np.ndarray, looks: np.ndarray, size: int) -> np.ndarray:
    """Frames (S, T, size, size): digits between pixels are spread over these, light adds up."""
    height, width = looks.shape[1:]
    canvas = np.zeros((*state.shape[:2], size + 1, size + 1), np.float32)
    for s, t, b in np.ndindex(state.shape[:3]):
        (y, fy), (x, fx) = (divmod(float(place), 1) for place in state[s, t, b, :2])
        look = looks[digit[s, b]]
        for down, right, share in (
            (0, 0, (1 - fy) * (1 - fx)),
            (0, 1, (1 - fy) * fx),
            (1, 0, fy * (1 - fx)),
            (1, 1, fy * fx),
        ):
            top, left = int(y) + down, int(x) + right
            canvas[s, t, top : top + height, left : left + width] += np.float32(share) * look
    return np.rint(canvas[..., :size, :size].clip(max=255)).astype(np.uint8)
