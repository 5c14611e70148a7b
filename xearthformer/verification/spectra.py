"""Power spectra of forecast and observed frames, over the same pixels, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .base import Group, Measure, Pair, Score, ratio_of


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of wavenumbers that a power spectrum is averaged around.

    The longest side L of the domain sets their width: ring j, from 1, holds the wavenumbers nearest
    to j / L; the last one has the shortest waves, two of the wider pixels long.
    """

    shape: tuple[int, int]  # pixels, y and x
    spacing: tuple[float, float]  # from pixel to pixel, y and x, both in `units`
    units: str = "1"  # of length; "1": pixels

    @property
    def wavelengths(self) -> np.ndarray:
        """The wavelength of each ring, the longest first, in `units`."""
        longest = max(n * d for n, d in zip(self.shape, self.spacing, strict=True))  # side, L
        last = int(longest / (2 * max(self.spacing)) + 1e-9)  # 15.999... is 16
        return longest / np.arange(1, last + 1)

    @cached_property
    def _ring(self) -> np.ndarray:
        """The ring of each coefficient of `scipy.fft.rfft2`; ring 0 is the mean."""
        y, x = self.shape
        along_y = np.fft.fftfreq(y, self.spacing[0])[:, None]
        along_x = np.fft.rfftfreq(x, self.spacing[1])
        return np.rint(np.hypot(along_y, along_x) * self.wavelengths[0]).astype(int)

    @cached_property
    def _multiplicity(self) -> np.ndarray:
        """How often the whole transform has each coefficient: twice where rfft2 drops a mirror."""
        x = self.shape[1]
        times = np.full(x // 2 + 1, 2.0)
        times[0] = 1
        if x % 2 == 0:  # the shortest wave of an even side is its own mirror
            times[-1] = 1
        return np.broadcast_to(times, self._ring.shape)

    @cached_property
    def _places(self) -> np.ndarray:
        """The ring of each coefficient in a row; one for all that are beyond the last."""
        return np.minimum(self._ring, len(self.wavelengths) + 1).ravel()

    @cached_property
    def _counts(self) -> np.ndarray:
        """How many coefficients of the whole transform each ring holds."""
        return self._sums(self._multiplicity)

    def _sums(self, of: np.ndarray) -> np.ndarray:
        """Return sums over each ring but that of the mean."""
        size = len(self.wavelengths) + 1
        return np.bincount(self._places, of.ravel(), minlength=size)[1:size]

    @cached_property
    def _taper(self) -> np.ndarray:
        """Hann's taper along both sides, so that the edges of the domain leave no spectrum."""
        y, x = (np.hanning(n + 2)[1:-1] for n in self.shape)  # without the zeros at both ends
        return np.outer(y, x)

    def density(self, field: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return the spectral density of a field in each ring: its units squared times an area.

        The departure from the mean is tapered; pixels that are not valid hold the mean. White noise
        of variance v has the density v times the area of a pixel in every ring.
        """
        from scipy.fft import rfft2

        taper = np.where(valid, self._taper, 0)
        total = taper.sum()
        if not total:
            return np.zeros(len(self.wavelengths))
        filled = np.where(valid, field, 0).astype(float)
        departure = (filled - np.vdot(taper, filled) / total) * taper
        power = np.square(np.abs(rfft2(departure))) * self._multiplicity
        # Divided by the taper's power, which the transform is short of.
        return self._sums(power) / self._counts * (np.prod(self.spacing) / np.square(taper).sum())


def sum_spectra(pair: Pair, measure: Measure) -> np.ndarray:
    """Return (3, wavelength): 1 for a frame with valid pixels, and both spectral densities."""
    assert measure.rings is not None  # as for every measure with this group
    density = measure.rings.density
    power = density(pair.forecast, pair.valid)
    observed = pair.once("density", lambda: density(pair.observed, pair.valid))
    return np.stack([np.full_like(power, pair.valid.any()), power, observed])


SPECTRUM = Group(("frames", "power", "power_observed"), sum_spectra, ("wavelength",), fields=True)

SCORES = {
    "spectrum": Score(
        "power spectrum, forecast",
        SPECTRUM,
        ratio_of(["power"], ["frames"]),
        "spectral density, by Hann's taper, averaged around rings of one wavelength",
        power=2,
        companions=("spectrum_observed", "spectrum_ratio"),
        default=False,
    ),
    "spectrum_observed": Score(
        "power spectrum, observed",
        SPECTRUM,
        ratio_of(["power_observed"], ["frames"]),
        "of the same pixels",
        power=2,
        default=False,
    ),
    "spectrum_ratio": Score(
        "power, forecast over observed",
        SPECTRUM,
        ratio_of(["power"], ["power_observed"]),
        default=False,
    ),
}
