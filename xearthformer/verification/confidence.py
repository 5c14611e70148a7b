"""How certain scores are: a bootstrap of blocks of inits, on the sums that scores are made of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import ignored, is_number, mismatch, whole_number
from ..fields.time_axis import months_of
from .scores import COUNTED, SCORES, score
from .skill_score import skill_score

LEAST_BLOCKS = 3


def score_confidence(
    sums: xr.Dataset,
    scores: Iterable[str] | None = None,
    *,
    reference: xr.Dataset | None = None,
    block: int | str | None = None,
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Return scores with confidence intervals, by a bootstrap of blocks of consecutive inits.

    Forecasts from neighbouring inits see the same weather, so that whole blocks of them are drawn.
    The interval is that of percentiles: from 5 to 95 % for a level of 0.9.

    Parameters
    ----------
    sums : Dataset (init, lead, ...)
        As `statistics` gives it.
    scores : iterable of str, optional
        Names of scores. Default: all that these sums have what they need for.
    reference : Dataset (init, lead, ...), optional
        The sums of another forecast from the same inits, on the same pairs of values: it is drawn
        with the first, which gives the skill against it and how certain that is.
    block : int or str, optional
        Length of a block: a number of inits, or a duration such as "3h". Default: the longest lead,
        since forecasts from inits nearer to one another are scored on the same frames. Where the
        same weather goes on for longer, intervals are too narrow: name a longer one.
    level : float
        Confidence level.
    resamples : int
        Number of resamples.
    seed : int
        Random seed.

    Returns
    -------
    Dataset (lead, ...)
        The scores as `score` gives them, and the ends of their intervals as `<score>_low` and
        `<score>_high`; with a reference also `<score>_skill`, as `skill_score` gives it, and its
        ends: an interval without 0 is a difference that the inits support. Resamples in which a
        score is not defined, such as those without an event, do not count. In memory; the attribute
        `confidence` says of what blocks.

    Raises
    ------
    ValueError
        Fewer than 3 blocks; sums without inits, or a reference with others.

    Examples
    --------
    Hits of one frame in four inits, an hour apart; every frame has four observed events.

    >>> from xearthformer.verification.confidence import score_confidence
    >>> init = pd.date_range("2016-07-11", periods=4, freq="h")
    >>> hits = np.array([[4.0], [3.0], [1.0], [2.0]])
    >>> counts = {"hits": hits, "misses": 4 - hits, "false_alarms": 0 * hits, "n": 9 + 0 * hits}
    >>> coords = {"init": init, "lead": pd.to_timedelta(["1h"])}
    >>> sums = xr.Dataset({k: (("init", "lead"), v) for k, v in counts.items()}, coords)
    >>> result = score_confidence(sums, ["pod"])
    >>> [round(result[f"pod{end}"].item(), 2) for end in ("_low", "", "_high")]
    [0.43, 0.62, 0.81]
    """
    whole_number("resamples", resamples)
    if "init" not in sums.dims:
        hint = "xef.statistics(fc, obs), not summed over init"
        raise mismatch("sums by init", f"dims {tuple(map(str, sums.dims))}", hint)
    labels, length = check_confidence(sums["init"], sums["lead"], level, block)
    if reference is not None and not sums.indexes["init"].equals(reference.indexes["init"]):
        hint = "xef.verify(fc, obs, reference=other, confidence=0.9)"
        raise mismatch("a reference from the same inits", "others", hint)
    names = None if scores is None else list(scores)
    count = np.unique(labels).size
    rng = np.random.default_rng(seed)
    # How often each block is drawn: resampled totals are sums of blocks with these weights.
    times = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(float)
    weights = xr.DataArray(times, dims=("resample", "block"))
    result, resampled = score(sums, names).compute(), score(_draw(sums, labels, weights), names)
    if reference is not None:
        skill = skill_score(result, score(reference).compute())
        result = result.merge(skill, compat="override")
        other = score(_draw(reference, labels, weights))
        resampled = resampled.merge(skill_score(resampled, other), compat="override")
    words = f"{level:g}, from {resamples} resamples of {count} blocks of {length}"
    return _with_ends(result, resampled, level).assign_attrs(confidence=words)


def check_confidence(
    init: xr.DataArray, lead: xr.DataArray, level: float, block: int | str | None = None
) -> tuple[xr.DataArray, str]:
    """Return the block of each init, and a block's length in words; ValueError for too few."""
    if not is_number(level) or not 0 < level < 1:
        raise mismatch("a confidence level between 0 and 1", repr(level), "0.9")
    init = init if init.ndim else init.expand_dims("init")
    labels, length = _blocks(init, lead, block)
    count = np.unique(labels).size
    if count < LEAST_BLOCKS:
        found = f"{count} of {length}, from {init.size} in all"
        raise mismatch(f"{LEAST_BLOCKS} blocks of inits or more", found, "inits of a longer time")
    return labels, length


def check_block(block: int | str | None, level: float | None) -> None:
    """Raise ValueError for the length of blocks where no interval is asked for."""
    if block is not None and level is None:
        raise mismatch(f"a confidence level, for block={block!r}", "none", "confidence=0.9")


def count_blocks(init: xr.DataArray, lead: xr.DataArray, block: int | str | None = None) -> int:
    """Return the number of blocks that inits fall in, as long as the longest lead or as named."""
    return np.unique(_blocks(init, lead, block)[0]).size


def _with_ends(result: xr.Dataset, resampled: xr.Dataset, level: float) -> xr.Dataset:
    """Return scores and the ends of their intervals, next to one another."""
    ends = {"_low": (1 - level) / 2, "_high": (1 + level) / 2}
    out = {}
    for name, da in result.items():
        out[name] = da
        if name in COUNTED:
            continue
        with ignored("All-NaN slice"):  # no event in any resample
            found = resampled[name].quantile([*ends.values()], "resample", skipna=True)
        for k, suffix in enumerate(ends):
            words = f"{da.attrs['long_name']}, {ends[suffix]:.0%} quantile"
            end = found.isel(quantile=k, drop=True).transpose(*da.dims)
            out[f"{name}{suffix}"] = end.assign_attrs(da.attrs, long_name=words)
    return xr.Dataset(out, attrs=result.attrs)


def _draw(sums: xr.Dataset, labels: xr.DataArray, weights: xr.DataArray) -> xr.Dataset:
    """Return the sums of each resample (resample, lead, ...) of blocks of inits."""
    groups = {name for entry in SCORES.values() for name in entry.group.names}
    needed = sums[[name for name in sums if name in groups | {"n", "cases", "cases_weight"}]]
    blocks = needed.groupby(labels).sum("init").compute()
    drawn = {name: xr.dot(weights, da, dim="block") for name, da in blocks.items()}
    return xr.Dataset(drawn, attrs=sums.attrs)


def _blocks(
    init: xr.DataArray, lead: xr.DataArray, block: int | str | None
) -> tuple[xr.DataArray, str]:
    """Return the block of each init, and a block's length in words; the first init begins one."""
    months = lead.dtype.kind != "m"
    if block is None and months:
        longest = max(1, int(lead.max()))
        since = months_of(init) - months_of(init).min()
        return _labelled(since // longest), f"{longest} months of inits"
    if block is None or isinstance(block, str):
        try:
            length = pd.Timedelta(lead.values.max() if block is None else block)
        except ValueError:
            length = pd.Timedelta(0)
        if length <= pd.Timedelta(0):
            hint = 'block="3h", or a number of inits'
            raise mismatch("the length of a block as a duration", repr(block), hint)
        since = ((init - init.min()) / length.to_timedelta64()).values
        words = block or f"{length.total_seconds() / 60:g} min"
        return _labelled(np.floor(since + 1e-9).astype(int)), f"{words} of inits"
    whole_number("block", block)
    order = np.argsort(np.argsort(init.values))
    return _labelled(order // block), f"{block} init{'s' * (block > 1)}"


def _labelled(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims="init", name="block")
