"""Rings of wavenumbers: the power spectrum of a field, averaged over directions. NumPy only.

Spectra that are compared are computed over the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of wavenumbers that a power spectrum is averaged around.

    The longest side L of the domain sets their width: ring j, from 1, holds the wavenumbers nearest
    to j / L; the last one has the shortest waves, two of the wider pixels long.

    Attributes
    ----------
    shape : (int, int)
        Number of pixels, y and x.
    spacing : (float, float)
        Distance from pixel to pixel, y and x, both in `units`.
    units : str
        Unit of length; "1" for pixels.

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
        """The wavelength of each ring, the longest first, in `units`."""
        last = int(self.length / (2 * max(self.spacing)) + 1e-9)  # 15.999... is 16
        return self.length / np.arange(1, last + 1)

    @cached_property
    def _ring(self) -> np.ndarray:
        """The ring of each coefficient of `scipy.fft.rfft2`; ring 0 is the mean."""
        y, x = self.shape
        along_y = np.fft.fftfreq(y, self.spacing[0])[:, None]
        along_x = np.fft.rfftfreq(x, self.spacing[1])
        return np.rint(np.hypot(along_y, along_x) * self.length).astype(int)

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
        size = len(self.wavelengths) + 1
        ring = np.minimum(self._ring, size).ravel()  # beyond the last ring: left out below
        sums = np.bincount(ring, power.ravel(), minlength=size)[1:size]
        counts = np.bincount(ring, self._multiplicity.ravel(), minlength=size)[1:size]
        # Divided by the taper's power, which the transform is short of.
        return sums / counts * (np.prod(self.spacing) / np.square(taper).sum())
