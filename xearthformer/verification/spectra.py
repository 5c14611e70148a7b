"""Power spectra of forecast and observed frames, and their ratio."""

from __future__ import annotations

import numpy as np

from .base import Group, Measure, Pair, Score, ratio


def sum_spectra(pair: Pair, measure: Measure) -> np.ndarray:
    """Return (3, wavelength): 1 for a frame with valid pixels, and both spectral densities."""
    assert measure.rings is not None  # as for every measure with this group
    densities = [measure.rings.density(f, pair.valid) for f in (pair.forecast, pair.observed)]
    return np.stack([np.full_like(densities[0], pair.valid.any()), *densities])


SPECTRUM = Group(("frames", "power", "power_observed"), sum_spectra, ("wavelength",), fields=True)

SCORES = {
    "spectrum": Score(
        "power spectrum, forecast",
        SPECTRUM,
        lambda total: ratio(total["power"], total["frames"]),
        power=2,
        about="spectral density, by Hann's taper, averaged around rings of one wavelength",
        companions=("spectrum_observed", "spectrum_ratio"),
    ),
    "spectrum_observed": Score(
        "power spectrum, observed",
        SPECTRUM,
        lambda total: ratio(total["power_observed"], total["frames"]),
        power=2,
        about="of the same pixels",
    ),
    "spectrum_ratio": Score(
        "power, forecast over observed",
        SPECTRUM,
        lambda total: ratio(total["power"], total["power_observed"]),
    ),
}
