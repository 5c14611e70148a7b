"""Sea surface temperature from a linear inverse model: any length, seeded, in the form of ERSST.

SST = monthly climatology + patterns x principal components + a residual. The components follow
the noise-driven model of Penland and Sardeshmukh (1995, J. Climate 8, 1999-2024), with delays; the
residual, the variance that the patterns leave, is smooth red noise. The fitted patterns lie next
to this file; examples/fit_simulator.py fits them to other years.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from safetensors.numpy import load_file, save

from ...errors import whole_number
from ...fields.cf import add_history

if TYPE_CHECKING:
    import dask.array

SHIPPED = Path(__file__).parent / "ersst_patterns.safetensors"
FREEZING = np.float32(-1.8)  # degC; ERSST's SST under ice
NODES = 10.0  # degrees between the points that carry the residual's noise
SLAB = 120  # months built at once: bounds the memory of the intermediate arrays
SPIN_UP = 480  # months dropped; what is left of a start from zero is below 0.995 ** 480 = 0.09
# Maps are stored as integers: their type, and the value of 1 (None: largest / largest integer).
ROUNDING: dict[str, tuple[type[np.signedinteger], float | None]] = {
    "patterns": (np.int8, None),
    "residual": (np.int16, None),
    "climatology": (np.int16, 0.001),
}

# The attributes of ERSST v3b, as its files carry them.
ATTRS: dict[str, dict[str, str]] = {
    "sst": {
        "long_name": "Extended reconstructed sea surface temperature (monthly mean)",
        "standard_name": "sea_surface_temperature",
        "units": "degree_Celsius",
        "cell_methods": "time: mean lat: lon: mean",
    },
    "time": {
        "standard_name": "time",
        "long_name": "time",
        "axis": "T",
        "comment": "day 15 of each month stands for the monthly mean",
    },
    "lat": {
        "standard_name": "latitude",
        "long_name": "latitude",
        "units": "degrees_north",
        "axis": "Y",
        "comment": "2 degree cell centres",
    },
    "lon": {
        "standard_name": "longitude",
        "long_name": "longitude",
        "units": "degrees_east",
        "axis": "X",
        "comment": "2 degree cell centres, 0..358",
    },
    "": {
        "Conventions": "CF-1.8",
        "title": "Synthetic sea surface temperature in the form of ERSST version 3b, 2 degree",
        "institution": "none: simulated",
        "source": "linear inverse model with delays, fitted to NOAA ERSST version 3b",
        "references": "Penland, C., P.D. Sardeshmukh (1995): The optimal growth of tropical sea "
        "surface temperature anomalies, J. Climate 8, 1999-2024. Smith, T.M., R.W. Reynolds, "
        "T.C. Peterson, J. Lawrimore (2008): Improvements to NOAA's historical merged land-ocean "
        "surface temperature analysis (1880-2006), J. Climate 21, 2283-2296.",
        "license": "fitted to ERSST, a NOAA (US Government) product in the public domain",
        "comment": "NaN = land (and all cells south of 76S). Under sea ice SST is -1.8 degC.",
    },
}


@dataclass(frozen=True)
class Patterns:
    """The fitted parameters of the simulation; S ocean cells, K principal components, D delays.

    Arrays are float32 but for `ocean` and `delays`; components are in units of their standard
    deviation.
    """

    latitude: np.ndarray  # (Y,), cell centres in degrees
    longitude: np.ndarray  # (X,)
    ocean: np.ndarray  # (Y, X), bool; False where SST is missing
    climatology: np.ndarray  # (12, S), mean SST of January .. December, degC
    patterns: np.ndarray  # (K, S), anomaly per standard deviation of each component, degC
    propagator: np.ndarray  # (D, K, K), one matrix per delay
    delays: np.ndarray  # (D,), int64, months
    noise_covariance: np.ndarray  # (K, K), of the noise that drives the components
    residual: np.ndarray  # (S,), standard deviation of the residual, degC
    memory: float  # autocorrelation of the residual after a month


def save_patterns(patterns: Patterns, path: str | os.PathLike[str], about: str = "") -> None:
    """Write patterns to a safetensors file: maps as integers, the ocean as bits.

    A component's map is rounded to 1/127 of its largest value, SST to 0.001 degC. `about` is a
    note for the file's metadata.
    """
    arrays = {field.name: getattr(patterns, field.name) for field in fields(patterns)}
    arrays["ocean"] = np.packbits(patterns.ocean)
    for name, (integer, step) in ROUNDING.items():
        values = np.asarray(arrays[name], np.float64)
        largest = np.abs(values).max(axis=-1, keepdims=True)
        fitting = np.where(largest > 0, largest, 1) / np.iinfo(integer).max  # 1: an empty map
        unit = np.full_like(largest, step) if step else fitting
        arrays[name] = np.rint(values / unit).astype(integer)
        arrays[f"{name}_step"] = unit.astype(np.float64)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    Path(path).write_bytes(save(arrays, metadata={"about": about}))


def load_patterns(path: str | os.PathLike[str] = SHIPPED) -> Patterns:
    """Read a file of `save_patterns`; by default the patterns that ship, of ERSST v3b 1960-1999."""
    arrays = load_file(path)
    shape = arrays["latitude"].size, arrays["longitude"].size
    arrays["ocean"] = np.unpackbits(arrays["ocean"], count=shape[0] * shape[1]).reshape(shape) > 0
    for name in ROUNDING:
        arrays[name] = (arrays[name] * arrays.pop(f"{name}_step")).astype(np.float32)
    memory = float(arrays.pop("memory").item())
    return Patterns(memory=memory, **arrays)


def fit_patterns(
    sst: xr.DataArray,
    components: ArrayLike,
    propagator: ArrayLike,
    noise_covariance: ArrayLike,
    delays: Sequence[int] = (0,),
) -> Patterns:
    """Fit the climatology, the map of each component, and the residual.

    `sst` (time, lat, lon) is monthly, in degC, NaN on land; its climatology is that of all its
    years. `components` (T, K) are principal components of the same months, in units of their
    standard deviation. Their model, of `propagator` (D, K, K), `noise_covariance` (K, K) and
    `delays` (D,) in months, is as `models.baselines.lim.LIM` fits it with `ridge=0`.
    """
    time, y, x = sst.dims
    z_TK = np.asarray(components, np.float64)
    if len(z_TK) != sst.sizes[time] or sst.sizes[time] % 12:
        raise ValueError(
            f"expected whole years of SST and one row of components per month, found "
            f"{sst.sizes[time]} months and {len(z_TK)} rows"
        )
    ocean = sst.notnull().all(str(time)).to_numpy()
    values_TS = sst.to_numpy()[:, ocean].astype(np.float64)
    month_T = sst[time].dt.month.to_numpy() - 1
    climatology = np.stack([values_TS[month_T == m].mean(axis=0) for m in range(12)])
    anomaly_TS = values_TS - climatology[month_T]
    patterns = np.linalg.lstsq(z_TK, anomaly_TS, rcond=None)[0]
    rest_TS = anomaly_TS - z_TK @ patterns
    # one memory for the globe: cells count by their variance and their area
    area = np.broadcast_to(np.cos(np.deg2rad(sst[y].to_numpy()))[:, None], ocean.shape)[ocean]
    variance = (rest_TS**2).mean(axis=0)
    covariance = (rest_TS[1:] * rest_TS[:-1]).mean(axis=0)
    arrays = {
        "latitude": sst[y].to_numpy(),
        "longitude": sst[x].to_numpy(),
        "climatology": climatology,
        "patterns": patterns,
        "propagator": _check_propagator(propagator, delays, z_TK.shape[1]),
        "noise_covariance": noise_covariance,
        "residual": np.sqrt(variance),
    }
    return Patterns(
        ocean=ocean,
        delays=np.array(delays, np.int64),
        memory=float((covariance @ area) / (variance @ area)),
        **{name: np.asarray(array, np.float32) for name, array in arrays.items()},
    )


def synthetic_sst(
    years: int = 50,
    seed: int = 0,
    start: str = "1960-01",
    chunks: Mapping[str, int] | None = None,
    patterns: Patterns | str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Simulate monthly SST of the globe, in the form of ERSST v3b.

    Parameters
    ----------
    years : int
        Number of years. A longer simulation begins with the shorter one of the same seed.
    seed : int
        Random seed. The same seed gives the same bits, whatever the chunks.
    start : str
        First month.
    chunks : mapping of "time", "lat", "lon" to sizes, optional
        Build lazily, in chunks of these sizes; other dims stay whole. None: build at once.
    patterns : Patterns or path, optional
        Fitted parameters, or a file of `save_patterns`. None: those of ERSST v3b 1960-1999 that
        ship.

    Returns
    -------
    Dataset
        `sst` (time, lat, lon), float32, degree_Celsius: 89 x 180 cells of 2 degrees, NaN on land,
        -1.8 under ice; each month stamped on its 15th day. CF-1.8.

    Raises
    ------
    ValueError
        Years that are no whole number from 1; a start that is no month; an unknown dim in chunks.

    Examples
    --------
    >>> ds = synthetic_sst(years=2, seed=1, start="1997-01")
    >>> dict(ds.sizes), str(ds.time.values[0].astype("M8[D]"))
    ({'time': 24, 'lat': 89, 'lon': 180}, '1997-01-15')
    """
    whole_number("years", years)
    unknown = set(chunks or ()) - {"time", "lat", "lon"}
    if unknown:
        raise ValueError(f"chunks: expected 'time', 'lat', 'lon', found {sorted(unknown)}")
    if isinstance(patterns, str | os.PathLike):
        patterns = load_patterns(patterns)
    patterns = patterns or _shipped()
    time = _months(start, 12 * int(years))
    sst = _Sst.simulate(patterns, time, seed)
    data = sst[:, :, :] if chunks is None else _lazy(sst, chunks, seed)
    return xr.Dataset(
        {"sst": (("time", "lat", "lon"), data, ATTRS["sst"])},
        coords={
            "time": ("time", time, ATTRS["time"]),
            "lat": ("lat", patterns.latitude, ATTRS["lat"]),
            "lon": ("lon", patterns.longitude, ATTRS["lon"]),
        },
        attrs=add_history(ATTRS[""], f"synthetic_sst({years=}, {seed=}, {start=})"),
    )


def simulate(
    propagator: ArrayLike,
    noise_covariance: ArrayLike,
    months: int,
    rng: np.random.Generator,
    delays: Sequence[int] = (0,),
) -> np.ndarray:
    """Simulate principal components (months, K) by a linear inverse model driven by noise.

    z(t + 1) = sum_d A_d z(t - d) + noise of covariance Q, with the propagator A (D, K, K) for
    `delays` d (D,) in months, and Q (K, K). It starts from zero; the first `SPIN_UP` months are
    dropped. Random numbers are drawn month by month, so that a longer simulation begins with the
    shorter one.

    Examples
    --------
    Every month is half the one before, and noise:

    >>> z = simulate([[[0.5]]], [[0.75]], 10_000, np.random.default_rng(0))
    >>> z.shape, round(float(z.std()), 1)
    ((10000, 1), 1.0)
    """
    values, vectors = np.linalg.eigh(np.asarray(noise_covariance, np.float64))
    root = vectors * np.sqrt(values.clip(0))
    matrices = _check_propagator(propagator, delays, len(root))
    noise = rng.standard_normal((SPIN_UP + months, len(root)))
    past = 1 + max(delays)  # months of zeros that the first month looks back on
    z = np.zeros((past + len(noise), len(root)))
    for t, shock in enumerate(noise, start=past):
        z[t] = root @ shock
        for delay, matrix in zip(delays, matrices, strict=True):
            z[t] += matrix @ z[t - 1 - delay]
    return z[past + SPIN_UP :]


def _check_propagator(propagator: ArrayLike, delays: Sequence[int], k: int) -> np.ndarray:
    """Return the propagator as an array, if its shape is (delays, components, components)."""
    matrices = np.asarray(propagator, np.float64)
    if matrices.shape != (len(delays), k, k):
        raise ValueError(
            f"expected a propagator of shape {(len(delays), k, k)}: delays, components, "
            f"components; found {matrices.shape}: pass lim.propagator and lim.config.delays"
        )
    return matrices


@dataclass(frozen=True)
class _Sst:
    """A simulated SST (T, Y, X) whose fields are computed when it is sliced.

    All arithmetic on fields is element by element, so a value's bits don't depend on the slice.
    """

    patterns: Patterns
    maps_KYX: np.ndarray
    climatology_MYX: np.ndarray
    residual_YX: np.ndarray
    month_T: np.ndarray
    z_TK: np.ndarray
    noise_TJI: np.ndarray  # on nodes: J in latitude, I in longitude

    dtype = np.dtype(np.float32)
    ndim = 3

    @classmethod
    def simulate(cls, patterns: Patterns, time: np.ndarray, seed: int) -> "_Sst":
        # a stream each for the components and the residual: both are drawn month by month
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2)]
        months = len(time)
        model = patterns.propagator, patterns.noise_covariance
        z_TK = simulate(*model, months, streams[0], patterns.delays.tolist())
        return cls(
            patterns=patterns,
            maps_KYX=_on_map(patterns.patterns, patterns.ocean, 0),
            climatology_MYX=_on_map(patterns.climatology, patterns.ocean, np.nan),
            residual_YX=_on_map(patterns.residual, patterns.ocean, 0),
            month_T=time.astype("M8[M]").astype(int) % 12,
            z_TK=z_TK.astype(np.float32),
            noise_TJI=_red_noise(patterns.memory, months, streams[1]),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.month_T), *self.patterns.ocean.shape

    def __getitem__(self, key: tuple[slice | int, slice | int, slice | int]) -> np.ndarray:
        time, y, x = (slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in key)
        t = np.arange(self.shape[0])[time]
        slabs = [self._fields(t[i : i + SLAB], y, x) for i in range(0, max(len(t), 1), SLAB)]
        # a whole number in the key drops its dim
        return np.concatenate(slabs)[tuple(slice(None) if isinstance(k, slice) else 0 for k in key)]

    def _fields(self, t: np.ndarray, y: slice, x: slice) -> np.ndarray:
        sst = self.climatology_MYX[:, y, x][self.month_T[t]]
        # a loop, as the bits of a matrix product depend on the sizes of the slice
        for z_T, map_YX in zip(self.z_TK[t].T, self.maps_KYX[:, y, x], strict=True):
            sst += z_T[:, None, None] * map_YX
        place = self.patterns.latitude[y], self.patterns.longitude[x]
        sst += _interpolate(self.noise_TJI[t], *place) * self.residual_YX[y, x]
        return np.maximum(sst, FREEZING)


_shipped = lru_cache(maxsize=1)(load_patterns)  # read once in a process


def _lazy(sst: _Sst, chunks: Mapping[str, int], seed: int) -> "dask.array.Array":
    import dask.array
    from dask.base import tokenize

    # a name from the arguments: dask takes equal simulations for one
    sizes = tuple(chunks.get(dim, -1) for dim in ("time", "lat", "lon"))
    token = tokenize(sst.patterns, sst.shape, int(sst.month_T[0]), seed, sizes)
    name = f"synthetic-sst-{token}"
    return dask.array.from_array(sst, sizes, name=name, asarray=False, fancy=False)


def _months(start: str, months: int) -> np.ndarray:
    """Return the 15th of each month, in nanoseconds if these reach (until 2262), else seconds."""
    try:
        first = np.datetime64(start, "M")
    except ValueError as error:
        raise ValueError(f"start: expected a month such as '1960-01', found {start!r}") from error
    days = (first + np.arange(months)).astype("M8[D]") + 14
    fits = days[0] > np.datetime64("1678") and days[-1] < np.datetime64("2262")
    return days.astype("M8[ns]" if fits else "M8[s]")


def _on_map(values_S: np.ndarray, ocean: np.ndarray, land: float) -> np.ndarray:
    """Put ocean cells (..., S) on the map (..., Y, X)."""
    maps = np.full((*values_S.shape[:-1], *ocean.shape), land, np.float32)
    maps[..., ocean] = values_S
    return maps


def _red_noise(memory: float, months: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (T, J, I) of unit variance on nodes at -90 .. 90 and 0 .. 350 degrees."""
    noise = rng.standard_normal((months, int(180 / NODES) + 1, int(360 / NODES)), np.float32)
    fresh = np.float32(np.sqrt(1 - memory**2))
    for t in range(1, months):
        noise[t] = np.float32(memory) * noise[t - 1] + fresh * noise[t]
    return noise


def _interpolate(noise_TJI: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Interpolate bilinearly from nodes to cells (T, Y, X), rescaled to unit variance."""
    (south, south_weight), (north, north_weight) = _neighbours((latitude + 90) / NODES)
    (west, west_weight), (east, east_weight) = _neighbours(longitude % 360 / NODES)
    noise_TYI = (
        noise_TJI[:, south] * south_weight[:, None] + noise_TJI[:, north] * north_weight[:, None]
    )
    east = east % noise_TJI.shape[2]  # past 350 degrees comes 0
    return noise_TYI[..., west] * west_weight + noise_TYI[..., east] * east_weight


def _neighbours(position: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the nodes below and above each position, with weights whose squares sum to one."""
    low, high = np.floor(position).astype(int), np.ceil(position).astype(int)
    share = (position - low).astype(np.float32)
    norm = np.sqrt(share**2 + (1 - share) ** 2)
    return [(low, (1 - share) / norm), (high, share / norm)]
