"""Power spectra of forecast and observed frames, and their ratio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .base import Group, Measure, Pair, Score, ratio

if TYPE_CHECKING:
    import xarray as xr


def sum_spectra(pair: Pair, measure: Measure) -> np.ndarray:
    """Return (3, wavelength): 1 for a frame with valid pixels, and both spectral densities."""
    assert measure.rings is not None
    densities = [measure.rings.density(f, pair.valid) for f in (pair.forecast, pair.observed)]
    return np.stack([np.full_like(densities[0], pair.valid.any()), *densities])


def mean_spectrum(total: xr.Dataset, name: str) -> xr.DataArray:
    """Return the mean over frames of a power spectrum."""
    return ratio(total[name], total["frames"])


def spectrum_ratio(total: xr.Dataset) -> xr.DataArray:
    """Return the power of the forecast over that of the observations."""
    return ratio(total["power"], total["power_observed"])


SPECTRUM = Group(("frames", "power", "power_observed"), sum_spectra, ("wavelength",), fields=True)

SCORES = {
    "spectrum": Score(
        "power spectrum, forecast",
        (SPECTRUM,),
        partial(mean_spectrum, name="power"),
        power=2,
        about="spectral density, Hann's taper, averaged around rings of one wavelength",
        companions=("spectrum_observed", "spectrum_ratio"),
    ),
    "spectrum_observed": Score(
        "power spectrum, observed",
        (SPECTRUM,),
        partial(mean_spectrum, name="power_observed"),
        power=2,
        about="over the same pixels",
    ),
    "spectrum_ratio": Score("power, forecast over observed", (SPECTRUM,), spectrum_ratio),
}
