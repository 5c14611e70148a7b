"""Power spectra of frames: a Fourier transform, averaged around rings of one wavelength, by NumPy.

Spectra that are to be compared are taken of the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of wavenumbers that a spectrum is averaged around.

    The longest side L of the domain sets their width: ring j, from 1, is where the wavenumber is
    j / L, to the nearest; the last one is that of the shortest waves, two of the wider pixels long.

    Attributes
    ----------
    shape : (int, int)
        Pixels, y and x.
    spacing : (float, float)
        Of pixels, y and x, in one unit.
    units : str
        What that unit is; "1" for pixels.

    Examples
    --------
    >>> Rings((4, 8), (1.0, 1.0)).wavelengths.tolist()
    [8.0, 4.0, 2.6666666666666665, 2.0]
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    units: str = "1"

    @property
    def length(self) -> float:
        """The longest side of the domain."""
        return max(n * d for n, d in zip(self.shape, self.spacing, strict=True))

    @property
    def wavelengths(self) -> np.ndarray:
        """One a ring, the longest first, in the unit of the spacing."""
        last = int(self.length / (2 * max(self.spacing)) + 1e-9)
        return self.length / np.arange(1, last + 1)

    @cached_property
    def _ring(self) -> np.ndarray:
        """The ring of each coefficient that `scipy.fft.rfft2` gives; 0 is the mean."""
        y, x = self.shape
        along_y = np.fft.fftfreq(y, self.spacing[0])[:, None]
        along_x = np.fft.rfftfreq(x, self.spacing[1])
        return np.rint(np.hypot(along_y, along_x) * self.length).astype(int)

    @cached_property
    def _times(self) -> np.ndarray:
        """How often each coefficient stands in the whole transform: once, or as two that match."""
        x = self.shape[1]
        times = np.full(x // 2 + 1, 2.0)
        times[0] = 1
        if x % 2 == 0:
            times[-1] = 1
        return np.broadcast_to(times, self._ring.shape)

    @cached_property
    def _taper(self) -> np.ndarray:
        """Hann's window along both sides, which hides that the domain ends."""
        y, x = (np.hanning(n + 2)[1:-1] for n in self.shape)
        return np.outer(y, x)

    def density(self, field: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Spectral density of a field, one value a ring: its units squared, times an area.

        Of the departure from the mean, by Hann's window; pixels that don't count hold the mean.
        White noise of variance v has the density v times the area of a pixel, in every ring.
        """
        from scipy.fft import rfft2

        taper = np.where(there, self._taper, 0)
        total = taper.sum()
        if not total:
            return np.zeros(len(self.wavelengths))
        filled = np.where(there, field, 0).astype(float)
        departure = (filled - np.vdot(taper, filled) / total) * taper
        power = np.square(np.abs(rfft2(departure))) * self._times
        size = len(self.wavelengths) + 1
        ring = np.minimum(self._ring, size).ravel()
        sums = np.bincount(ring, power.ravel(), minlength=size)[1:size]
        counts = np.bincount(ring, self._times.ravel(), minlength=size)[1:size]
        return sums / counts * (np.prod(self.spacing) / np.square(taper).sum())
