"""The coast on maps in degrees: Natural Earth's at 1:110 million, which is in the public domain.

It ships as points of hundredths of a degree (`coast.npz`: land of Natural Earth 4.1 without its
edges along the date line), so that nothing is ever fetched to draw it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = Path(__file__).with_name("coast.npz")
TURNS = -360.0, 0.0, 360.0  # so that the coast meets every convention of longitudes
LEAST = 30.0  # degrees of longitude; on a map of fewer, so coarse a coast is off
STYLE: dict[str, Any] = {"colors": "0.25", "linewidths": 0.5, "zorder": 2}


@cache
def read_coast() -> list[np.ndarray]:
    """Return the lines of the coast, each (point, 2): longitudes of -180 to 180, latitudes.

    >>> lines = read_coast()
    >>> len(lines), lines[0].dtype
    (129, dtype('float64'))
    """
    with np.load(FILE, allow_pickle=False) as file:
        return np.split(file["points"] / 100, file["starts"])


def draw_coast(ax: Axes) -> None:
    """Draw the coast within the limits of a map in degrees, which stay as they are.

    Nothing on maps of less than `LEAST` degrees of longitude.
    """
    from matplotlib.collections import LineCollection

    (west, east), (south, north) = (sorted(ends) for ends in (ax.get_xlim(), ax.get_ylim()))
    if east - west < LEAST:
        return
    turned = (line + (turn, 0.0) for turn in TURNS for line in read_coast())
    low, high = (west, south), (east, north)
    seen = [one for one in turned if (one.max(0) > low).all() and (one.min(0) < high).all()]
    ax.add_collection(LineCollection(seen, **STYLE), autolim=False)
