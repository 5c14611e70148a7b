"""The registry of scores: every family's table in one, and the scores of sums that were taken.

A new score is written in its family's file and listed in that file's `SCORES`; `verify`, its
documentation and the printed tables read the registry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from textwrap import fill

import numpy as np
import xarray as xr

from ..errors import did_you_mean, mismatch
from . import categorical, deterministic, probabilistic, sal, spatial, spectra
from .base import CASES, COUNT, Group, Score

# In the order of the documentation and of results.
SCORES: dict[str, Score] = {
    **deterministic.SCORES,
    **categorical.SCORES,
    **spatial.SCORES,
    **sal.SCORES,
    **spectra.SCORES,
    **probabilistic.SCORES,
}
# Scores that are no sums of `verify`'s: long name, and whether they have the variable's units.
FURTHER = {
    "slope": ("slope of the regression of forecasts on observations", False),
    "correlation_mean": ("correlation, mean over leads", False),
    "correlation_weighted_mean": ("correlation, weighted mean over leads", False),
    "rmse_mean": ("root mean square error, mean over leads", True),
    "crps_dressed": ("CRPS of the ensemble mean dressed with normal errors", True),
    "rps": ("fair ranked probability score", False),
    "rps_reference": ("ranked probability score of the reference", False),
    "rpss": ("ranked probability skill score", False),
}
ENDINGS = {
    "_difference": ", forecast less reference",
    "_low": ", lower end of the interval",
    "_high": ", upper end of the interval",
}
COUNTED = {"n": "pairs of values", "cases": "observations that every member has a value for"}


def default_scores(
    thresholds: Sequence[float], window: object = None, members: int = 1
) -> list[str]:
    """Return the names of the scores that are given when none are named."""
    return [
        name
        for name, entry in SCORES.items()
        if entry.default
        and (thresholds or "threshold" not in entry.group.dims)
        and (window is not None or not entry.group.window)
        and (members > 1 or not entry.group.least_members)
    ]


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for the name of no score, and for what is no list of names."""
    if isinstance(names, str) or not isinstance(names, Collection):
        given = names if isinstance(names, str) else "mse"
        raise mismatch("a list of scores", repr(names), f'scores=["{given}"]')
    for name in names:
        if not isinstance(name, str) or name not in SCORES:
            found = f"{name!r}{did_you_mean(name, SCORES)}"
            raise mismatch(f"scores among {', '.join(SCORES)}", found, 'scores=["mse"]')


def as_thresholds(
    given: Sequence[float], hint: str = "thresholds=[0.5, 1, 5]"
) -> tuple[float, ...]:
    """Return thresholds as numbers; an error for anything but a list of such.

    >>> as_thresholds(np.array([1, 5]))
    (1.0, 5.0)
    """
    at: tuple[float, ...] = (np.nan,)  # of a text, each sign may be a number
    if not isinstance(given, str | bytes):
        with suppress(TypeError, ValueError):
            at = tuple(map(float, given))
    if np.isnan(at).any():
        raise mismatch("a list of numbers as thresholds", repr(given), hint)
    return at


def groups_of(names: Iterable[str]) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Return the groups of sums that scores need: of members one by one, and of all together.

    Each comes once, after the count of its pairs; without any score pairs are counted all the same.
    """
    groups = dict.fromkeys(SCORES[name].group for name in names)
    single = [group for group in groups if not group.least_members]
    together = [group for group in groups if group.least_members]
    return (
        tuple(dict.fromkeys([COUNT, *single])) if single or not together else (),
        tuple(dict.fromkeys([CASES, *together])) if together else (),
    )


def score(sums: xr.Dataset, names: Iterable[str] | None = None) -> xr.Dataset:
    """Return the scores of sums, by lead and of all leads together.

    Parameters
    ----------
    sums : Dataset ([init,] lead, ...)
        As `statistics` gives it, or several of these together: concatenated along `init`, or added
        where `init` is summed over already.
    names : iterable of str, optional
        Names in `SCORES`. None: all scores that these sums have what they need for.

    Returns
    -------
    Dataset
        One variable per score with dims (lead, [member,] [threshold]), and `<score>_pooled` without
        lead: of the sums over all leads, not the mean of the others. `n` (lead), the number of
        pairs of values; `cases` (lead), that of scores of ensembles. NaN without pairs or events.

    Raises
    ------
    ValueError
        A name that is not in `SCORES`, or whose sums are missing.

    Examples
    --------
    Two inits; hits 1 and 2, misses 1 and 0, false alarms 0 and 1: 3 / (3 + 1 + 1).

    >>> counts = {"hits": [[1.0], [2.0]], "misses": [[1.0], [0.0]], "false_alarms": [[0.0], [1.0]]}
    >>> sums = xr.Dataset({k: (("init", "lead"), v) for k, v in counts.items()})
    >>> score(sums.assign(n=(("init", "lead"), [[9.0], [9.0]])), ["csi"])["csi"].values
    array([0.6])
    """
    available = [name for name, entry in SCORES.items() if entry.group.names[0] in sums]
    names = available if names is None else list(names)
    for name in names:
        if name not in available:
            found = f"{name!r}{did_you_mean(name, available)}"
            raise mismatch(f"one of {', '.join(available)}", found, f"sums taken for {name!r}")
    selected = dict.fromkeys(key for name in names for key in (name, *SCORES[name].companions))
    by_lead = sums.sum("init", keep_attrs=True) if "init" in sums.dims else sums
    pooled = by_lead.sum("lead", keep_attrs=True)  # sums, never scores, are pooled
    result = {}
    for name in selected:
        entry = SCORES[name]
        attrs = {"long_name": entry.long_name, **_units(entry, sums)}
        result[name] = entry.formula(by_lead).assign_attrs(attrs)
        attrs["long_name"] += ", all leads"
        result[f"{name}_pooled"] = entry.formula(pooled).assign_attrs(attrs)
    for name, long_name in COUNTED.items():
        if name in by_lead:
            attrs = {"long_name": long_name, "units": "1"}
            result[name] = by_lead[name].astype(np.int64).assign_attrs(attrs)
    return xr.Dataset(result, attrs={k: v for k, v in sums.attrs.items() if k != "units"})


def _units(entry: Score, sums: xr.Dataset) -> dict[str, str]:
    """Return the attribute `units` of a score, such as (mm h-1)^2; none without the variable's."""
    units = str(sums.attrs.get("units", ""))
    if entry.power == 0:  # a ratio or a count
        return {"units": "1"}
    if units and units != "1" and entry.power > 1:
        units = f"({units})^{entry.power}"
    length = sums["wavelength"].attrs["units"] if "wavelength" in entry.group.dims else "1"
    if length != "1":  # a spectral density is of an area
        units = f"{units} {length}^2".removeprefix("1").strip()
    return {"units": units} if units else {}


def named(skill: xr.Dataset, units: str) -> xr.Dataset:
    """Return scores of a variable in these units with the attributes `long_name` and `units` alone.

    >>> named(xr.Dataset({"rmse": 1.0, "rpss": 0.5}), "K")["rmse"].attrs
    {'long_name': 'root mean square error', 'units': 'K'}
    """
    known = {name: (entry.long_name, entry.power > 0) for name, entry in SCORES.items()}
    known |= FURTHER | {name: (words, False) for name, words in COUNTED.items()}
    for ending, words in ENDINGS.items():
        known |= {name + ending: (long + words, has) for name, (long, has) in known.items()}
    out = skill.copy(deep=False)
    for name in out:
        long_name, has_units = known[str(name)]
        out[name].attrs = {"long_name": long_name, "units": units if has_units else "1"}
    return out


def describe_scores() -> str:
    """Return all scores as a list for documentation: name, needs, what it is."""
    lines = []
    for name, entry in SCORES.items():
        group = entry.group
        ensemble = f"{group.least_members} members" if group.least_members > 1 else "all members"
        needs = {
            "thresholds": "threshold" in group.dims,
            "window": group.window,
            ensemble: group.least_members > 0,
            "by default": entry.default,
        }
        words = ", ".join(need for need, needed in needs.items() if needed)
        line = f"- `{name}`{words and f' ({words})'}: {entry.long_name}"
        line += entry.about and f"; {entry.about}"
        lines.append(fill(line, 92, subsequent_indent="  "))  # 96 columns, indented
    return "\n".join(lines)


def printed_columns(result: xr.Dataset, further: Sequence[str] = ()) -> dict[str, str]:
    """Return the scores of a result that are printed, and their headings; by threshold first.

    `further` are printed beside those that always are, but for what has a value for each of
    something else, as spectra have; ValueError for one that `result` lacks.
    """
    for name in further:
        if name not in SCORES or name not in result:
            there = [key for key in SCORES if key in result]
            found = f"{name!r}{did_you_mean(name, there)}"
            raise mismatch(f"a score among {', '.join(there)}", found, f"further={there[:2]}")
    asked = {k: e for k, e in SCORES.items() if k in result and (e.column or k in further)}
    printed = {k: e for k, e in asked.items() if not further_dims(result[k])}
    names = sorted(printed, key=lambda name: "threshold" not in printed[name].group.dims)
    return {name: printed[name].column or _heading(name) for name in names}


def further_dims(one: xr.DataArray) -> list[str]:
    """Return the dims of a score for which a table of numbers by lead and threshold has no room."""
    return [str(dim) for dim in one.dims if dim not in ("forecast", "lead", "threshold", "window")]


def _heading(name: str) -> str:
    """Return a short name as the abbreviation that it is.

    >>> _heading("far"), _heading("sal_structure")
    ('FAR', 'sal_structure')
    """
    return name.upper() if len(name) <= 4 and name != "bias" else name
