"""Ways to forecast side by side, scored on the same cells, leads and inits of the same data.

Block of inits by block: the frames of a block are read once, every forecast is made from them and
scored against them where all have a value, and its sums are kept. Memory is set by the block.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch, renamed
from ..fields.axes import find_axes
from ..fields.time_axis import check_time, str_time
from ..fields.windows import InitLike, blocks, find_inits
from ..inference import optical_flow
from ..inference.engine import Progress, progress_bar
from ..inference.forecast import BLOCK_BYTES, forecast
from ..packs.pack import open_pack
from ..verification.scores import default_scores, score
from ..verification.verify import default_thresholds, statistics

EXTRAPOLATION = "pysteps"  # among the names of packs: optical flow moves the last frame on
PAST_FRAMES = 4  # that the flow is found from
LEAD = 12  # time steps, where no pack says how far it reaches


@dataclass(frozen=True)
class Forecaster:
    """One way to forecast: how many frames it reads, how far it reaches, and the forecast.

    `run` takes data (time, y, x), a list of inits and the number of time steps; where it gives an
    ensemble, `members` says of how many.
    """

    name: str
    history: int
    reach: int | None
    run: Callable[[xr.DataArray, list[np.datetime64], int], xr.DataArray]
    members: int = 1


def forecaster(name: str, device: str = "auto") -> Forecaster:
    """A pack by anything that `open_pack` opens, or "pysteps"."""
    if name == EXTRAPOLATION:

        def extrapolate(da: xr.DataArray, inits: list[np.datetime64], lead: int) -> xr.DataArray:
            return optical_flow.extrapolate(da, init=inits, lead=lead, frames=PAST_FRAMES)

        return Forecaster(name, PAST_FRAMES, None, extrapolate)
    pack = open_pack(name)

    def run(da: xr.DataArray, inits: list[np.datetime64], lead: int) -> xr.DataArray:
        return forecast(da, pack, init=inits, lead=lead, device=device, progress=False)

    return Forecaster(name, pack.card.context, pack.card.lead, run)


def made(name: str, fc: xr.DataArray) -> Forecaster:
    """What was forecast already, (init, lead, [member,] y, x), to stand beside others."""

    def run(da: xr.DataArray, inits: list[np.datetime64], lead: int) -> xr.DataArray:
        missing = [stamp for stamp in inits if stamp not in fc["init"].values]
        if missing or lead > fc.sizes["lead"]:
            found = f"none from {str_time(missing[0])}" if missing else f"{fc.sizes['lead']} leads"
            raise mismatch(
                f"forecasts of {name} from all inits compared, {lead} leads each",
                found,
                "init=list(fc.init.values)" if missing else f"lead={fc.sizes['lead']}",
            )
        return fc.sel(init=inits).isel(lead=slice(lead))

    return Forecaster(name, 1, fc.sizes["lead"], run, fc.sizes.get("member", 1))


@renamed(scale="window")
def compare(
    data: xr.DataArray,
    packs: Sequence[str | Forecaster],
    *,
    init: InitLike = slice(None),
    lead: int | None = None,
    thresholds: Sequence[float] | None = None,
    window: float | str = "16 km",
    device: str = "auto",
    progress: Progress = "auto",
) -> xr.Dataset:
    """Score several ways to forecast on data that holds both their past and their future.

    Parameters
    ----------
    data : DataArray (time, y, x)
        In any form that `forecast` takes. Lazy data is read a block of inits at a time.
    packs : sequence of str or Forecaster
        Packs, and "pysteps" for extrapolation along the optical flow of the last four frames; what
        was forecast already by `made`. An ensemble takes two rows: its members, their sums taken
        together, and its mean.
    init : label, slice or list of labels
        Where forecasts start; of a slice, those with the history that the most demanding one
        needs, and all of their future, in the data.
    lead : int, optional
        Time steps. None: as far as all packs reach.
    thresholds, window
        As in `xearthformer.verify`; without thresholds there is no fss.
    device : str
        For the packs.
    progress : bool or "auto"
        As in `xearthformer.forecast`.

    Returns
    -------
    Dataset (forecast, lead, [threshold])
        Scores as `verify` gives them, in memory; `forecast` are the names in `packs`. All are
        scored on the same pairs of values: from the starts that the coordinate `init` lists, where
        every forecast has a value. `left_out` counts the pairs of each that another has no value
        for.

    Raises
    ------
    ValueError
        No init has its past and its future in the data; what a pack can't serve.
    ImportError
        "pysteps" where it isn't installed.
    """
    known = [each if isinstance(each, str) else each.name for each in packs]
    if not known or len({*known}) < len(known):
        raise mismatch("packs to compare, each once", ", ".join(known) or "none", "['persistence']")
    rows = [forecaster(each, device) if isinstance(each, str) else each for each in packs]
    time = data[find_axes(data).time]
    check_time(time)
    history = max(row.history for row in rows)
    lead = lead or min((row.reach for row in rows if row.reach is not None), default=LEAD)
    positions = _with_future(time, find_inits(time, history, init).positions, lead, init)
    scored = default_thresholds(data) if thresholds is None else thresholds
    how: dict[str, Any] = {"thresholds": scored, "window": window if scored else None}
    sums: dict[str, list[xr.Dataset]] = {}
    held = sum(row.members for row in rows)
    for part, inits in _blocks(data, str(time.dims[0]), positions, history, lead, held, progress):
        forecasts = {row.name: row.run(part, inits, lead) for row in rows}
        in_all = reduce(operator.and_, map(_seen, forecasts.values()))
        for row, fc in forecasts.items():
            one = fc.isel(member=0, drop=True) if "member" in fc.dims else fc
            own = statistics(one.where(_seen(fc)), part, [])["n"]
            for name, each in _with_mean(row, fc.where(in_all)).items():
                sums.setdefault(name, []).append(_pooled(each, part, how).assign(own=own))
    names = xr.Variable("forecast", [*sums], {"long_name": "what was forecast with"})
    how = {"coords": "minimal", "compat": "override", "combine_attrs": "override"}
    results = [_scores(xr.concat(each, "init", **how)) for each in sums.values()]
    result = xr.concat(results, "forecast", **how)
    count = positions.size
    result.attrs["pairs"] = f"{lead} lead{'s' * (lead > 1)} from {count} init{'s' * (count > 1)}"
    coords = {"forecast": names, "init": ("init", time.values[positions])}
    return result.assign_coords(coords)


def _seen(fc: xr.DataArray) -> xr.DataArray:
    """Where a forecast has a value; an ensemble, where all its members have."""
    there = fc.notnull()
    return there.all("member") if "member" in fc.dims else there


def _with_mean(name: str, fc: xr.DataArray) -> dict[str, xr.DataArray]:
    """A forecast; of an ensemble its mean too."""
    if "member" not in fc.dims:
        return {name: fc}
    return {name: fc, f"{name} mean": fc.mean("member", skipna=False, keep_attrs=True)}


def _pooled(fc: xr.DataArray, observed: xr.DataArray, how: dict[str, Any]) -> xr.Dataset:
    """The sums of a forecast, those of its members added up."""
    names = default_scores(how["thresholds"], how["window"])
    of_all = ["crps", "spread_skill"] if fc.sizes.get("member", 1) > 1 else ["crps"]
    sums = statistics(fc, observed, [*names, *of_all], **how)
    if "member" not in fc.dims:
        return sums
    return sums.sum("member", keep_attrs=True).assign(n=sums["cases"])


def _scores(sums: xr.Dataset) -> xr.Dataset:
    """The scores of one way to forecast, and how many of its own pairs of values they leave out."""
    result = score(sums)
    left_out = sums["own"].sum("init").astype(np.int64) - result["n"]
    said = {"long_name": "pairs of values that another forecast has none for", "units": "1"}
    return result.assign(left_out=left_out.assign_attrs(said))


def _with_future(
    time: xr.DataArray, positions: np.ndarray, lead: int, init: InitLike
) -> np.ndarray:
    """The inits whose forecasts end within the data: all of them must, unless a slice was given."""
    kept = positions[positions + lead < time.size]
    if kept.size and (isinstance(init, slice) or kept.size == positions.size):
        return kept
    last = time.size - 1 - lead
    raise mismatch(
        f"inits with {lead} time steps of future in the data, up to {str_time(time.values[-1])}",
        f"none from {str_time(time.values[positions[0]])} on"
        if not kept.size
        else f"some without, such as {str_time(time.values[positions.max()])}",
        f"inits until {str_time(time.values[last])}, or fewer leads"
        if last >= 0
        else "fewer leads",
    )


def _blocks(
    data: xr.DataArray,
    time: str,
    positions: np.ndarray,
    history: int,
    lead: int,
    held: int,
    progress: Progress,
) -> Iterator[tuple[xr.DataArray, list[np.datetime64]]]:
    """Inits, and in memory the frames from the first one's past to the last one's future.

    Of a block so many forecasts, counting members, are in memory together.
    """
    frame = data.isel({time: 0}).size * np.dtype(np.float32).itemsize
    size = max(1, BLOCK_BYTES // (frame * lead * held))
    runs = list(blocks(positions, history + lead, size))
    with progress_bar(positions.size, "init", progress) as bar:
        for run in runs:
            first, last = positions[run].min() - history + 1, positions[run].max() + lead
            part = data.isel({time: slice(first, last + 1)}).load()
            yield part, list(data[time].values[positions[run]])
            bar.update(len(positions[run]))


# --- in words


def summary(result: xr.Dataset) -> str:
    """What `compare` gave, as a table to print: means over the leads, and the pairs of values.

    Examples
    --------
    >>> scores = {
    ...     "csi": (("forecast", "lead", "threshold"), [[[0.5, 0.3], [0.3, 0.1]]]),
    ...     "mse": (("forecast", "lead"), [[1.0, 3.0]], {"units": "(mm h-1)^2"}),
    ...     "n": (("forecast", "lead"), [[100, 100]]),
    ... }
    >>> at = ("threshold", [0.5, 1.0], {"units": "mm h-1"})
    >>> print(summary(xr.Dataset(scores, {"forecast": ["persistence"], "threshold": at})))
                  CSI              MSE pairs
                  0.5     1 (mm h-1)^2
    persistence 0.400 0.200      2.000   200
    """
    columns = {}
    means = result.mean("lead", skipna=False)
    window = result.attrs.get("fss_window", "").partition(":")[0]
    for name, title in (("csi", "CSI"), ("fss", f"FSS {window}")):
        for threshold in result["threshold"].values if name in result else ():
            columns[title, f"{threshold:g}"] = means[name].sel(threshold=threshold).values
    for name, title in (("mse", "MSE"), ("crps", "CRPS")):
        if name in result:
            columns[title, result[name].attrs.get("units", "")] = means[name].values
    if "spread_skill" in result:
        columns["spread", "/ skill"] = means["spread_skill"].values
    if "csi" not in result:
        columns["correlation", ""] = means["correlation"].values
    columns["pairs", ""] = result["n"].sum("lead").values
    return _text(pd.DataFrame(columns, index=result["forecast"].values))


def lead_tables(result: xr.Dataset) -> str:
    """CSI at each lead, a table a threshold; the mean square error where there is none.

    Examples
    --------
    >>> lead = ("lead", np.array([300, 600]).astype("m8[s]"))
    >>> scores = {"csi": (("forecast", "lead", "threshold"), [[[0.5], [0.3]]])}
    >>> at = ("threshold", [1.0], {"units": "mm h-1"})
    >>> ds = xr.Dataset(scores, {"forecast": ["persistence"], "threshold": at, "lead": lead})
    >>> print(lead_tables(ds))
    CSI from 1 mm h-1, by lead (min)
                     5    10
    persistence  0.500 0.300
    """
    lead = result["lead"]
    minutes = lead.dtype.kind == "m"
    heads = lead.values / np.timedelta64(60, "s") if minutes else lead.values
    by = f"by lead ({'min' if minutes else lead.attrs.get('units', '')})"
    tables = {}
    if "csi" in result:
        for at in result["threshold"]:
            title = f"CSI from {at.item():g} {at.attrs.get('units', '')}".strip()
            tables[title] = result["csi"].sel(threshold=at)
    else:
        tables[f"MSE {result['mse'].attrs.get('units', '')}".strip()] = result["mse"]
    names = result["forecast"].values
    return "\n\n".join(
        f"{title}, {by}\n" + _text(pd.DataFrame(da.values, names, [f"{head:g}" for head in heads]))
        for title, da in tables.items()
    )


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")
