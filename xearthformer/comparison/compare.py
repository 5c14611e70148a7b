"""Ways to forecast side by side, scored on the same cells, leads and inits of the same data.

Block of inits by block: the frames of a block are read once, every way forecasts from them and is
scored against them where all have a value, and sums are added up. The block sets the memory.
"""

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import xarray as xr

from ..errors import mismatch, renamed, whole_number
from ..fields.axes import find_axes, find_grid
from ..fields.forms import takes_any_form
from ..fields.quantities import KNOWN
from ..fields.sentinels import check_values
from ..fields.time_axis import (
    LeadLike,
    Step,
    check_time,
    count_steps,
    round_jitter,
    shift_time,
    stamps_on_grid,
    str_time,
)
from ..fields.windows import InitLike, blocks, find_inits
from ..inference import optical_flow
from ..inference.engine import Progress, has_noise, is_generative, progress_bar
from ..inference.forecast import BLOCK_BYTES, forecast
from ..inference.pysteps_methods import METHODS
from ..packs.pack import NoPackError, Pack, open_pack
from ..verification.align import has_value, pick_variable
from ..verification.confidence import check_block, check_confidence
from ..verification.regimes import by_regime, labels_of
from ..verification.scores import check_names, default_scores
from ..verification.verify import check_share, quantity, scores_at, statistics, thresholds_of
from .square import Square, find_square

# Among the names of packs: methods of pysteps, which read the last frames alone.
RIVALS = {
    "pysteps": "extrapolation",
    "sprog": "sprog",
    "steps": "steps",
    "anvil": "anvil",
    "linda": "linda",
}
PAST_FRAMES = 4  # that their motion is found from
Data = xr.DataArray | xr.Dataset
LEAD = 12  # time steps, where no pack says how far it goes
HOUR = np.timedelta64(60, "m")


@dataclass(frozen=True)
class Forecaster:
    """One way to forecast, and what it needs."""

    name: str
    context: int  # number of frames that it reads
    lead: int | None  # longest lead in time steps; None: any
    # From data (time, y, x), inits and a number of time steps to the forecast of `verify`.
    run: Callable[[Data, list[np.datetime64], int], xr.DataArray]
    members: int = 1
    any_data: bool = False  # takes any record, and so its lead is no reason to stop there


def forecaster(
    name: str,
    device: str = "auto",
    *,
    variable: str | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Forecaster:
    """Return the way to forecast of a pack, as `open_pack` takes it, or of a name in `RIVALS`.

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
        A method of pysteps where it is not installed.
    """
    if name in RIVALS:
        return _rival(name, variable, members, seed)
    pack = pack_of(name)

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

    anything = not pack.card.input.standard_name
    return Forecaster(name, pack.card.context, pack.card.lead, run, count or 1, anything)


def pack_of(name: str) -> Pack:
    """Return a pack; the error of an unknown name lists the methods of pysteps too."""
    try:
        return open_pack(name)
    except NoPackError as error:
        raise NoPackError(f"{error}; or by pysteps {', '.join(RIVALS)}") from None


def _rival(name: str, variable: str | None, members: int | None, seed: int) -> Forecaster:
    """Return the way to forecast of a method of pysteps."""
    method = RIVALS[name]
    optical_flow.load_pysteps(method)  # before anything is forecast
    way = METHODS[method]
    count = (members or (optical_flow.MEMBERS if way.always else None)) if way.draws else None

    def run(data: Data, inits: list[np.datetime64], lead: int) -> xr.DataArray:
        return optical_flow.extrapolate(
            pick_variable(data, variable),
            method=method,
            init=inits,
            lead=lead,
            frames=PAST_FRAMES,
            members=count,
            seed=seed,
        )

    return Forecaster(name, PAST_FRAMES, None, run, count or 1)


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
@takes_any_form
def compare(
    data: Data,
    packs: Sequence[str | Forecaster],
    *,
    variable: str | None = None,
    init: InitLike = slice(None),
    lead: LeadLike | None = None,
    members: int | None = None,
    seed: int = 0,
    scores: Sequence[str] = (),
    thresholds: Sequence[float] | None = None,
    window: float | str | Sequence[float | str] = "16 km",
    reference: str | None = None,
    square: int | None = None,
    surroundings: int | None = None,
    known: float | None = None,
    by: str | xr.DataArray | Callable[[xr.DataArray], xr.DataArray] | None = None,
    confidence: float | None = None,
    block: int | str | None = None,
    device: str = "auto",
    progress: Progress = "auto",
) -> xr.Dataset:
    """Score several ways to forecast on data that holds both their past and their future.

    Parameters
    ----------
    data : DataArray (time, y, x) or Dataset
        In any form that `forecast` takes. Lazy data is read one block of inits at a time.
    packs : sequence of str or Forecaster
        Packs, and by pysteps, from the last four frames: "pysteps" for extrapolation along the
        optical flow, "sprog", "steps", "anvil", "linda" for the methods of `extrapolate`;
        forecasts that exist already by `given_forecast`. An ensemble takes two rows: its members,
        their sums added up, and its mean.
    variable : str, optional
        What is scored of a Dataset: packs of one variable read it, those of several read them all.
        Default: its only variable.
    init : label, slice or list of labels
        Where forecasts start. A slice takes every time in it that has the context of the most
        demanding pack and all of its future in the data. Default: all of these.
    lead : int, or a duration such as "60min", optional
        Number of time steps. Default: the longest that all packs forecast in one go; an hour, or
        what fits the record, where all of them take any record.
    members, seed : int
        Number of members and random seed of what can draw some; the others forecast once. "steps"
        draws 20 where no number is given.
    scores : sequence of str
        Further scores of `xearthformer.verify`, beside those given by default.
    thresholds, window
        As in `xearthformer.verify`; without thresholds there is no fss.
    reference : str, optional
        One of `packs`, or the mean of an ensemble as "<pack> mean": the skill of all against it is
        given as `<score>_skill` (see `xearthformer.skill_score`).
    square : int, optional
        Pixels: score the square of this side where it rains most often in the whole record, by the
        first threshold. Default: the whole domain.
    surroundings : int, optional
        Pixels around the square that every forecast reads too. Default: the whole domain.
    known : float, optional
        Score pixels alone of which at least this share stems from what was seen, by every forecast
        that says it (see the coordinate `known` of nowcasts).
    by : str, DataArray or function, optional
        A label of each init, which scores are grouped by: the name of a coordinate along time, or
        labels along it, as in `xearthformer.verify`; or a function that gives them of the frames
        observed at the inits (of the square, where one is scored), such as `rain_regime`.
    confidence : float, optional
        Level of confidence intervals by blocks of inits, as in `xearthformer.verify`.
    block : int or str, optional
        Length of these blocks: a number of inits, or a duration such as "3h". Default: the longest
        lead.
    device : str
        Where packs run: "auto", "cpu", "cuda".
    progress : bool or "auto"
        As in `xearthformer.forecast`.

    Returns
    -------
    Dataset ([label,] forecast, lead, [window], [threshold], [rank], [wavelength])
        Scores as `verify` gives them, in memory; `forecast` are the names in `packs`. All are
        scored on the same pairs of values: from the inits in the coordinate `init`, where every
        forecast has a value. `left_out` is the number of pairs of each that another has no value
        for; with labels, `inits` is the number of theirs. With an ensemble among them also its
        ranks, and for rain the spectra of all.

    Raises
    ------
    ValueError
        No init has its past and its future in the data; data that a pack cannot serve; a square
        that the domain doesn't hold; `known` that is no share; too few inits for confidence.
    ImportError
        A method of pysteps where it is not installed.

    Examples
    --------
    >>> import xearthformer as xef
    >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
    >>> table = xef.compare(rain, ["persistence"], lead=3, thresholds=[1], progress=False)
    >>> table["csi"].dims, table["forecast"].values, table["init"].size
    (('forecast', 'lead', 'threshold'), array(['persistence'], dtype='<U11'), 10)
    """
    _check_packs(packs)
    rows = [
        forecaster(each, device, variable=variable, members=members, seed=seed)
        if isinstance(each, str)
        else each
        for each in packs
    ]
    _check_rows(rows, members, reference)
    check_names(scores)
    check_block(block, confidence)
    if known is not None:
        check_share(known)
    data, present = _with_every_stamp(data, variable)
    scored = pick_variable(data, variable)
    at = thresholds_of(scored, thresholds)
    setting = _Setting(
        variable,
        at,
        window if at else None,
        known,
        any(row.members > 1 for row in rows) and quantity(scored) == "rain",
        _square(scored, square, surroundings, at),
        tuple(scores),
    )
    time = scored[find_axes(scored).time]
    step = check_time(time)
    context = max(row.context for row in rows)
    most = _default_lead(rows, step, time.size, context)
    lead = most if lead is None else count_steps(lead, step, most)
    positions = find_inits(time, context, init).positions
    if isinstance(init, slice) and present[positions].any():
        positions = positions[present[positions]]
    positions = _with_future(time, positions, lead, init)
    if confidence is not None:
        _check_inits(time[positions], step, lead, confidence, block)
    labels = None if by is None else _labels(by, scored, positions, setting.square)
    read = data if setting.square is None else setting.square.crop(data)
    sums: dict[str, list[xr.Dataset]] = {}
    forecasts_at_once = sum(row.members for row in rows)
    for pieces, inits in _blocks(read, time, positions, context, lead, forecasts_at_once, progress):
        for row, part in _block_sums(rows, pieces, inits, lead, setting):
            sums.setdefault(row, []).append(part)
    totals = {name: _concat(parts, "init") for name, parts in sums.items()}
    other = None if reference is None else totals[reference]

    def scores_of(inits: slice | np.ndarray) -> xr.Dataset:
        each = [_scores(total, other, confidence, block, inits) for total in totals.values()]
        return _concat(each, "forecast")

    result = scores_of(slice(None)) if labels is None else by_regime(labels, scores_of)
    result.attrs |= _attributes(rows, setting, lead, positions.size)
    rows_of = xr.Variable("forecast", [*sums], {"long_name": "what was forecast with"})
    attrs = {"standard_name": "forecast_reference_time"}
    starts = xr.Variable("init", time.values[positions], attrs)
    return result.assign_coords(forecast=rows_of, init=starts)


def _check_packs(packs: Sequence[str | Forecaster]) -> None:
    """Raise for what is no list of ways to forecast, none, or one of them twice."""
    listed = [] if isinstance(packs, str) or not isinstance(packs, Collection) else list(packs)
    if not all(isinstance(each, str | Forecaster) for each in listed):  # nor is a pack a name
        listed = []
    names = [each if isinstance(each, str) else each.name for each in listed]
    if not names or len({*names}) < len(names):
        found = ", ".join(names) or repr(packs)
        hint = f"packs={[*dict.fromkeys(names)] or ['persistence']}"
        raise mismatch("a list of packs by name, folder or file, each once", found, hint)


def _check_rows(rows: Sequence[Forecaster], members: int | None, reference: str | None) -> None:
    """Raise for members that nothing draws, and a reference that is no row."""
    names = [row.name for row in rows]
    if members is not None:
        whole_number("members", members)
    if members is not None and all(row.members == 1 for row in rows) and members > 1:
        found = f"{', '.join(names)}, whose forecasts are deterministic"
        raise mismatch("a pack that draws members", found, "leave members out")
    means = [f"{row.name} mean" for row in rows if row.members > 1]
    if reference is not None and reference not in (*names, *means):
        found, hint = repr(reference), f'reference="{names[0]}"'
        raise mismatch(f"a reference among {', '.join([*names, *means])}", found, hint)


def _with_every_stamp(data: Data, variable: str | None) -> tuple[Data, np.ndarray]:
    """Return a record whose gaps are filled with missing frames, and which of them it had.

    Stamps that are seconds off are rounded; months are returned as they are.
    """
    dim = find_axes(pick_variable(data, variable)).time
    if isinstance(data, xr.DataArray):
        data = round_jitter(data)
    time = data[dim]
    step, places = stamps_on_grid(time)
    present = np.ones(time.size, bool)
    if isinstance(step, str) or places[-1] == time.size - 1:
        return data, present
    stamps = shift_time(time, step, np.array([0]), np.arange(places[-1] + 1))[0]
    stamps[places] = time.values  # decoded floats may differ by less than a second
    return data.reindex({dim: stamps}), np.isin(np.arange(stamps.size), places)


@dataclass(frozen=True)
class _Setting:
    """How the rows of a comparison are scored."""

    variable: str | None
    thresholds: tuple[float, ...]
    window: float | str | Sequence[float | str] | None
    known: float | None
    spectra: bool
    square: Square | None
    further: tuple[str, ...]  # scores that are asked for


def _square(
    scored: xr.DataArray, side: int | None, surroundings: int | None, at: Sequence[float]
) -> Square | None:
    """Return the square that is scored, if one is asked for."""
    if side is not None:
        return find_square(scored, side, surroundings, at[0] if len(at) else None)
    if surroundings is not None:
        expected = "a square that the surroundings lie around"
        half = min(scored.sizes[dim] for dim in find_grid(scored)) // 2
        raise mismatch(expected, f"surroundings={surroundings} alone", f"square={half}")
    return None


def _default_lead(rows: Sequence[Forecaster], step: Step, size: int, context: int) -> int:
    """Return the number of time steps that all forecast in one go; of any record, an hour's."""
    reach = [row.lead for row in rows if row.lead is not None]
    own = [row for row in rows if row.lead is not None and not row.any_data]
    if own or isinstance(step, str):
        return min(reach, default=LEAD)
    hour = round(HOUR / step) if step < HOUR else LEAD
    return max(1, min(hour, size - context))


def _check_inits(
    inits: xr.DataArray, step: Step, lead: int, level: float, block: int | str | None
) -> None:
    """Raise for too few inits for confidence, before anything is forecast."""
    steps = np.arange(1, lead + 1)
    leads = steps if isinstance(step, str) else steps * step
    init = inits.rename({inits.dims[0]: "init"}) if inits.dims != ("init",) else inits
    check_confidence(init, xr.DataArray(leads, dims="lead"), level, block)


def _labels(
    by: str | xr.DataArray | Callable[[xr.DataArray], xr.DataArray],
    scored: xr.DataArray,
    positions: np.ndarray,
    square: Square | None,
) -> xr.DataArray:
    """Return the label of each init, by what was observed then."""
    dim = find_axes(scored).time
    at_init = scored.isel({dim: positions})
    if callable(by):
        by = by(at_init if square is None else square.inside(at_init))
    inits = at_init.rename({dim: "init"})
    return labels_of(by, inits, "xef.wet_area", f'da["{dim}"].values')


def _block_sums(
    rows: Sequence[Forecaster],
    pieces: Data,
    inits: list[np.datetime64],
    lead: int,
    setting: _Setting,
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the sums of each row of a block of inits, and that of the mean of its members."""
    block = check_values(pick_variable(pieces, setting.variable))
    forecasts = {row.name: row.run(pieces, inits, lead) for row in rows}
    if setting.square is not None:
        block = setting.square.inside(block)
        forecasts = {name: setting.square.inside(fc) for name, fc in forecasts.items()}
    if setting.known is not None and not any(KNOWN in fc.coords for fc in forecasts.values()):
        found = f"none of {', '.join(forecasts)} does"
        raise mismatch(f"a forecast that says what is {KNOWN}", found, "known=None")
    everywhere = reduce(operator.and_, (has_value(fc, setting.known) for fc in forecasts.values()))
    for name, fc in forecasts.items():
        single = fc.isel(member=0, drop=True) if "member" in fc.dims else fc
        own = statistics(single.where(has_value(fc)), block, [])["n"]
        for row, each in _with_mean(name, fc.where(everywhere)).items():
            yield row, _pooled_sums(each, block, setting).assign(own=own)


def _with_mean(name: str, fc: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return a forecast by its name, and the mean of an ensemble too."""
    if "member" not in fc.dims:
        return {name: fc}
    return {name: fc, f"{name} mean": fc.mean("member", skipna=False, keep_attrs=True)}


def _pooled_sums(fc: xr.DataArray, observed: xr.DataArray, setting: _Setting) -> xr.Dataset:
    """Return the sums of a forecast; those of an ensemble's members are added up."""
    names = default_scores(setting.thresholds, setting.window)
    # The CRPS of a single forecast is its mean absolute error: comparable with an ensemble's.
    names += ["crps"]
    if fc.sizes.get("member", 1) > 1:
        names += ["spread_skill", "rank_histogram"]
    if setting.spectra:
        names += ["spectrum"]
    names += setting.further
    sums = statistics(fc, observed, names, thresholds=setting.thresholds, window=setting.window)
    if "member" not in fc.dims:
        return sums
    return sums.sum("member", keep_attrs=True).assign(n=sums["cases"])  # pairs, not times members


def _scores(
    sums: xr.Dataset,
    reference: xr.Dataset | None,
    confidence: float | None,
    block: int | str | None,
    inits: slice | np.ndarray,
) -> xr.Dataset:
    """Return the scores of one row, and the number of its own pairs that they leave out."""
    result = scores_at(sums, reference, None, confidence, block, inits)
    left_out = sums["own"].isel(init=inits).sum("init").astype(np.int64) - result["n"]
    attrs = {"long_name": "pairs of values that another forecast has none for", "units": "1"}
    return result.assign(left_out=left_out.assign_attrs(attrs))


def _attributes(
    rows: Sequence[Forecaster], setting: _Setting, lead: int, inits: int
) -> dict[str, str]:
    """Return what was scored, in words."""
    attrs = {"pairs": f"{lead} lead{'s' * (lead > 1)} from {inits} init{'s' * (inits > 1)}"}
    if setting.square is not None:
        attrs["square"] = setting.square.words
    counts = [f"{row.members} members of {row.name}" for row in rows if row.members > 1]
    if counts:
        attrs["members"] = ", ".join(counts)
    if setting.known is not None:
        attrs["known"] = f"where {setting.known:g} or more of each value stems from what was seen"
    return attrs


def _concat(datasets: list[xr.Dataset], dim: str) -> xr.Dataset:
    """Concatenate Datasets whose other labels agree, but for ranks of ensembles of other sizes."""
    return xr.concat(
        datasets,
        dim,
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="override",
    )


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
