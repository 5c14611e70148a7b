"""Structure, amplitude and location (SAL) of rain: each frame as a whole, its showers as objects.

Wernli et al. (2008), Mon. Wea. Rev. 136, 4470-4487, with the threshold of objects of Wernli et al.
(2009), Wea. Forecasting 24, 1472-1484: a fifteenth of the 95th percentile of the pixels with rain.
An object is what touches along edges from that threshold on. `pysteps.verification.sal` has the
same formulas; but its objects come of storm tracking, which drops those of fewer than 50 pixels,
and one of two whose first pixels are less than ten apart: S and L agree where showers are large and
apart. A agrees always, but for pixels that one side lacks: here they count on neither.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .base import Group, Measure, Pair, Score, ratio_of

PARTS = "structure", "amplitude", "location"
WET, SHARE = 0.95, 1 / 15  # the percentile of wet pixels, and its share from which on objects are


def sal(pair: Pair, measure: Measure) -> np.ndarray:
    """Return S, A and L of a pair of frames, then 1 for each that is defined; 0 where it is not.

    A and S need rain on either side: they are -2 where none is forecast, 2 where none is observed.
    L needs rain on both.
    """
    # -0.001 mm/h of an interpolation is no rain, and would not do as a weight.
    fields = [np.where(pair.valid, f, 0).clip(min=0) for f in (pair.forecast, pair.observed)]
    shape = pair.valid.shape
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * measure.spacing
    diagonal = np.hypot(*np.multiply(shape, measure.spacing))  # the longest way in the domain
    total, volume, centre, scatter = _rain(fields[0], place)
    total_o, volume_o, centre_o, scatter_o = pair.once("rain", lambda: _rain(fields[1], place))
    parts = np.zeros(2 * len(PARTS))
    if total + total_o > 0:
        parts[:2] = (
            2 * (volume - volume_o) / (volume + volume_o),
            2 * (total - total_o) / (total + total_o),
        )
        parts[3:5] = 1
    if total > 0 and total_o > 0:
        apart = np.hypot(*(centre - centre_o))
        parts[2] = (apart + 2 * abs(scatter - scatter_o)) / diagonal
        parts[5] = 1
    return parts


def _rain(field: np.ndarray, place: np.ndarray) -> tuple[float, float, np.ndarray, float]:
    """Return the rain of a frame, the scaled volume of its objects, its centre, and their scatter.

    Volume: an object's rain over its maximum. Scatter: the distance of an object's centre from that
    of the frame. Both are means over objects, weighted by their rain.
    """
    total = float(field.sum())
    if total == 0:
        return 0.0, 0.0, np.zeros(2), 0.0
    threshold = SHARE * np.quantile(field[field > 0], WET)
    labels, count = ndimage.label(field >= threshold)
    at = np.arange(1, count + 1)
    rain, largest = ndimage.sum_labels(field, labels, at), ndimage.maximum(field, labels, at)
    centres = np.stack(
        [ndimage.sum_labels(field * place[..., k], labels, at) / rain for k in (0, 1)], -1
    )
    centre = np.array([np.vdot(field, place[..., k]) for k in (0, 1)]) / total
    scatter = np.hypot(*(centres - centre).T)
    return (
        total,
        float(np.average(rain / largest, weights=rain)),
        centre,
        float(np.average(scatter, weights=rain)),
    )


SAL = Group((*PARTS, *(f"{part}_frames" for part in PARTS)), sal, fields=True)
_ABOUT = {
    "structure": "Wernli et al. (2008); -2 to 2; below 0: showers too small or too peaked",
    "amplitude": "-2 to 2; below 0: too little rain in the domain",
    "location": "0 to 2; 0: the rain's centre, and the showers about it, are in place",
}
SCORES = {
    f"sal_{part}": Score(
        f"{part} of SAL, mean of frames",
        SAL,
        ratio_of([part], [f"{part}_frames"]),
        _ABOUT[part],
        companions=tuple(f"sal_{other}" for other in PARTS if other != part),
        default=False,
    )
    for part in PARTS
}
