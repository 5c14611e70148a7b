"""Ways to forecast side by side, scored on the same cells, leads and inits of the same data.

Block of inits by block: the frames of a block are read once, every way forecasts from them and is
scored against them where all have a value, and sums are added up. The block sets the memory.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import mismatch, renamed, whole_number
from ..fields.axes import find_axes
from ..fields.time_axis import check_time, str_time
from ..fields.windows import InitLike, blocks, find_inits
from ..inference import optical_flow
from ..inference.engine import Progress, has_noise, is_generative, progress_bar
from ..inference.forecast import BLOCK_BYTES, forecast
from ..packs.pack import open_pack
from ..verification.align import pick_variable
from ..verification.scores import SCORES, default_scores, printed_columns, score
from ..verification.verify import default_thresholds, statistics

EXTRAPOLATION = "pysteps"  # among the names of packs: optical flow carries the last frame on
PAST_FRAMES = 4  # that the flow is found from
Data = xr.DataArray | xr.Dataset
LEAD = 12  # time steps, where no pack says how far it goes


@dataclass(frozen=True)
class Forecaster:
    """One way to forecast, and what it needs."""

    name: str
    context: int  # number of frames that it reads
    lead: int | None  # longest lead in time steps; None: any
    # From data (time, y, x), inits and a number of time steps to the forecast of `verify`.
    run: Callable[[Data, list[np.datetime64], int], xr.DataArray]
    members: int = 1


def forecaster(
    name: str,
    device: str = "auto",
    *,
    variable: str | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Forecaster:
    """Return the way to forecast of a pack, as `open_pack` takes it, or of "pysteps".

    Parameters
    ----------
    name, device
        As in `compare`.
    variable : str, optional
        What is scored, of a Dataset that a pack of several variables reads.
    members, seed : int
        Of a pack that can draw members; a deterministic one forecasts once all the same.

    Raises
    ------
    ImportError
        "pysteps" where it is not installed.
    """
    if name == EXTRAPOLATION:
        optical_flow.load_pysteps()  # before anything is forecast

        def extrapolate(data: Data, inits: list[np.datetime64], lead: int) -> xr.DataArray:
            da = pick_variable(data, variable)
            return optical_flow.extrapolate(da, init=inits, lead=lead, frames=PAST_FRAMES)

        return Forecaster(name, PAST_FRAMES, None, extrapolate)
    pack = open_pack(name)

    count = members if has_noise(pack.card) or is_generative(pack.card) else None
    several = len(pack.card.inputs) > 1

    def run(data: Data, inits: list[np.datetime64], lead: int) -> xr.DataArray:
        fc: Data = forecast(
            data if several else pick_variable(data, variable),  # type: ignore[type-var]
            pack,
            init=inits,
            lead=lead,
            members=count,
            seed=seed,
            device=device,
            progress=False,
        )
        return pick_variable(fc, variable)

    return Forecaster(name, pack.card.context, pack.card.lead, run, count or 1)


def given_forecast(name: str, fc: xr.DataArray) -> Forecaster:
    """Return a forecast (init, lead, [member,] y, x) that exists already, as a way to forecast."""

    def run(_: Data, inits: list[np.datetime64], lead: int) -> xr.DataArray:
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
    data: Data,
    packs: Sequence[str | Forecaster],
    *,
    variable: str | None = None,
    init: InitLike = slice(None),
    lead: int | None = None,
    members: int | None = None,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    window: float | str = "16 km",
    device: str = "auto",
    progress: Progress = "auto",
) -> xr.Dataset:
    """Score several ways to forecast on data that holds both their past and their future.

    Parameters
    ----------
    data : DataArray (time, y, x) or Dataset
        In any form that `forecast` takes. Lazy data is read one block of inits at a time.
    packs : sequence of str or Forecaster
        Packs, and "pysteps" for extrapolation along the optical flow of the last four frames;
        forecasts that exist already by `given_forecast`. An ensemble takes two rows: its members,
        their sums added up, and its mean.
    variable : str, optional
        What is scored of a Dataset: packs of one variable read it, those of several read them all.
        Default: its only variable.
    init : label, slice or list of labels
        Where forecasts start. A slice takes every time in it that has the context of the most
        demanding pack and all of its future in the data. Default: all of these.
    lead : int, optional
        Number of time steps. Default: the longest that all packs forecast in one go.
    members, seed : int
        Number of members and random seed of packs that can draw some; the others forecast once.
    thresholds, window
        As in `xearthformer.verify`; without thresholds there is no fss.
    device : str
        Where packs run: "auto", "cpu", "cuda".
    progress : bool or "auto"
        As in `xearthformer.forecast`.

    Returns
    -------
    Dataset (forecast, lead, [threshold])
        Scores as `verify` gives them, in memory; `forecast` are the names in `packs`. All are
        scored on the same pairs of values: from the inits in the coordinate `init`, where every
        forecast has a value. `left_out` is the number of pairs of each that another has no value
        for.

    Raises
    ------
    ValueError
        No init has its past and its future in the data; data that a pack cannot serve.
    ImportError
        "pysteps" where it is not installed.
    """
    names = [each if isinstance(each, str) else each.name for each in packs]
    if not names or len({*names}) < len(names):
        raise mismatch("packs to compare, each once", ", ".join(names) or "none", "['persistence']")
    rows = [
        forecaster(each, device, variable=variable, members=members, seed=seed)
        if isinstance(each, str)
        else each
        for each in packs
    ]
    if members is not None and all(row.members == 1 for row in rows) and members > 1:
        found = f"{', '.join(names)}, whose forecasts are deterministic"
        raise mismatch("a pack that draws members", found, "leave members out")
    scored = pick_variable(data, variable)
    time = scored[find_axes(scored).time]
    check_time(time)
    context = max(row.context for row in rows)
    if lead is None:
        lead = min((row.lead for row in rows if row.lead is not None), default=LEAD)
    whole_number("lead", lead)
    positions = _with_future(time, find_inits(time, context, init).positions, lead, init)
    at = default_thresholds(scored) if thresholds is None else thresholds
    width = window if at else None
    sums: dict[str, list[xr.Dataset]] = {}
    forecasts_at_once = sum(row.members for row in rows)
    for pieces, inits in _blocks(data, time, positions, context, lead, forecasts_at_once, progress):
        forecasts = {row.name: row.run(pieces, inits, lead) for row in rows}
        block = pick_variable(pieces, variable)
        everywhere = reduce(operator.and_, map(_has_value, forecasts.values()))
        for row, fc in forecasts.items():
            single = fc.isel(member=0, drop=True) if "member" in fc.dims else fc
            own = statistics(single.where(_has_value(fc)), block, [])["n"]
            for name, each in _with_mean(row, fc.where(everywhere)).items():
                pooled = _pooled_sums(each, block, at, width).assign(own=own)
                sums.setdefault(name, []).append(pooled)
    results = [_scores(_concat(parts, "init")) for parts in sums.values()]
    result = _concat(results, "forecast")
    count = positions.size
    result.attrs["pairs"] = f"{lead} lead{'s' * (lead > 1)} from {count} init{'s' * (count > 1)}"
    rows_of = xr.Variable("forecast", [*sums], {"long_name": "what was forecast with"})
    return result.assign_coords(forecast=rows_of, init=("init", time.values[positions]))


def _has_value(fc: xr.DataArray) -> xr.DataArray:
    """Return where a forecast has a value; an ensemble, where all its members have."""
    valid = fc.notnull()
    return valid.all("member") if "member" in fc.dims else valid


def _with_mean(name: str, fc: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return a forecast by its name, and the mean of an ensemble too."""
    if "member" not in fc.dims:
        return {name: fc}
    return {name: fc, f"{name} mean": fc.mean("member", skipna=False, keep_attrs=True)}


def _pooled_sums(
    fc: xr.DataArray, observed: xr.DataArray, at: Sequence[float], window: float | str | None
) -> xr.Dataset:
    """Return the sums of a forecast; those of an ensemble's members are added up."""
    names = default_scores(at, window)
    # The CRPS of a single forecast is its mean absolute error: comparable with an ensemble's.
    names += ["crps", "spread_skill"] if fc.sizes.get("member", 1) > 1 else ["crps"]
    sums = statistics(fc, observed, names, thresholds=at, window=window)
    if "member" not in fc.dims:
        return sums
    return sums.sum("member", keep_attrs=True).assign(n=sums["cases"])  # pairs, not times members


def _scores(sums: xr.Dataset) -> xr.Dataset:
    """Return the scores of one row, and the number of its own pairs that they leave out."""
    result = score(sums)
    left_out = sums["own"].sum("init").astype(np.int64) - result["n"]
    attrs = {"long_name": "pairs of values that another forecast has none for", "units": "1"}
    return result.assign(left_out=left_out.assign_attrs(attrs))


def _concat(datasets: list[xr.Dataset], dim: str) -> xr.Dataset:
    """Concatenate Datasets whose other labels agree."""
    return xr.concat(datasets, dim, coords="minimal", compat="override", combine_attrs="override")


def _with_future(
    time: xr.DataArray, positions: np.ndarray, lead: int, init: InitLike
) -> np.ndarray:
    """Return the inits whose forecasts end within the data: all, unless a slice was given."""
    inside = positions[positions + lead < time.size]
    if inside.size and (isinstance(init, slice) or inside.size == positions.size):
        return inside
    last = time.size - 1 - lead
    raise mismatch(
        f"inits with {lead} time steps of future in the data, up to {str_time(time.values[-1])}",
        f"some without, such as {str_time(time.values[positions.max()])}"
        if inside.size
        else f"none from {str_time(time.values[positions[0]])} on",
        f"inits until {str_time(time.values[last])}, or fewer leads"
        if last >= 0
        else "fewer leads",
    )


def _blocks(
    data: Data,
    time: xr.DataArray,
    positions: np.ndarray,
    context: int,
    lead: int,
    members: int,
    progress: Progress,
) -> Iterator[tuple[Data, list[np.datetime64]]]:
    """Yield blocks in memory, from the first init's past to the last one's future, and their inits.

    `members` is the number of forecasts of an init that are in memory together.
    """
    dim = time.dims[0]
    arrays = [data] if isinstance(data, xr.DataArray) else data.data_vars.values()
    frame = max(da.isel({dim: 0}).size for da in arrays if dim in da.dims) * 4  # bytes of a float32
    size = max(1, BLOCK_BYTES // (frame * lead * members))
    runs = list(blocks(positions, context + lead, size))
    with progress_bar(positions.size, "init", progress) as bar:
        for run in runs:
            at = positions[run]
            block = data.isel({dim: slice(at.min() - context + 1, at.max() + lead + 1)}).load()
            yield block, list(time.values[at])
            bar.update(len(at))


# --- in words


def summary(result: xr.Dataset) -> str:
    """Return the result of `compare` as a table: means over the leads, and the pairs of values.

    The columns are the scores that the registry prints, those by threshold first.

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
    columns: dict[tuple[str, str], np.ndarray] = {}
    window = result.attrs.get("fss_window", "").partition(":")[0]  # "16 km: 16 x 16 pixels"
    for name, title in printed_columns(result).items():
        entry, mean = SCORES[name], result[name].mean("lead", skipna=False, keep_attrs=True)
        heading = f"{title} {window}" if entry.group.window else title
        if "threshold" in mean.dims:
            for at in mean["threshold"].values:
                columns[heading, f"{at:g}"] = mean.sel(threshold=at).values
        else:
            units = mean.attrs.get("units", "") if entry.power else ""  # none of a pure number
            columns[heading, units] = mean.values
    columns["pairs", ""] = result["n"].sum("lead").values
    return _text(pd.DataFrame(columns, index=result["forecast"].values))


def lead_tables(result: xr.Dataset) -> str:
    """Return the first score that is printed, by lead: CSI, one table per threshold, or MSE.

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
    columns = lead.values / np.timedelta64(60, "s") if minutes else lead.values
    by = f"by lead ({'min' if minutes else lead.attrs.get('units', '')})"
    name, title = next(iter(printed_columns(result).items()))
    tables = {f"{title} {result[name].attrs.get('units', '')}": result[name]}
    if "threshold" in result[name].dims:
        tables = {
            f"{title} from {at.item():g} {at.attrs.get('units', '')}": result[name].sel(
                threshold=at
            )
            for at in result["threshold"]
        }
    rows, labels = result["forecast"].values, [f"{column:g}" for column in columns]
    return "\n\n".join(
        f"{words.strip()}, {by}\n{_text(pd.DataFrame(da.values, rows, labels))}"
        for words, da in tables.items()
    )


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")
