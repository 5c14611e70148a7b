"""The commands that score: verify, on the user's own data; table, as the papers do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..climate.regions import index
from ..datasets.local import holds_zarr, open_files
from ..errors import mismatch
from ..fields import quantities
from ..fields.axes import find_time
from ..fields.cf import CONVENTIONS
from ..fields.forms import in_plain_form
from ..fields.quantities import RAIN, SST
from ..fields.time_axis import check_time, months_of, str_month, str_time, whole_years
from ..fields.units import equal_units
from ..verification.align import pick_variable
from ..verification.regimes import rain_regime, wet_area
from .files import (
    Radar,
    check_anomaly,
    check_target,
    open_rain,
    parse_inits,
    select_variable,
    take_anomalies,
    write_file,
)

if TYPE_CHECKING:
    from ..comparison.compare import Forecaster

FSS_PIXELS = 1, 2, 4, 8, 16, 32, 64  # widths of the table of FSS
NINO = "nino3.4"
XRO = "xro"  # among the names of packs: it forecasts the index alone, and has no row of fields


def verify_file(
    input: Sequence[str],
    *,
    packs: Sequence[str],
    radar: Radar,
    init: Sequence[str] | None = None,
    lead: str | None = None,
    members: int | None = None,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    window: float | str = "16 km",
    scores: Sequence[str] = (),
    reference: str | None = None,
    square: int | None = None,
    surroundings: int | None = None,
    known: float | None = None,
    by: str | None = None,
    confidence: float | None = None,
    block: str | None = None,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    by_lead: bool = False,
    fss_table: bool = False,
    fit: tuple[str, str] | None = None,
    output: str | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Forecast from every time of a record with several packs, and score them on the record itself.

    Prints events, errors and CRPS; for an ensemble those of its members, pooled, and of its mean,
    then its ranks and the power by wavelength. For sea surface temperature also the skill of
    Nino3.4.

    Parameters
    ----------
    lead : int, or a duration such as "60min"
        Number of time steps, or a duration; as far as all packs reach when not given, an hour where
        none says.
    members : int
        Number of ensemble members, of the packs that can draw some.
    seed : int
        Random seed of the members.
    window : float or str
        Width of the neighbourhoods of FSS: pixels, or a length.
    scores : sequence of str
        Further scores to print, such as far, ets, hss and sal_structure.
    reference : str
        One of the packs: the skill of all against it is printed.
    square : int
        Pixels: score the square of this side where it rains most often; the whole domain when not
        given.
    surroundings : int
        Pixels around the square that every forecast reads; the whole domain when not given.
    known : float
        Score pixels alone of which at least this share stems from what was seen.
    by : str
        Print the scores by a label of each init: rain_regime and wet_area of the frame observed,
        its season, or a coordinate along time.
    confidence : float
        Level of confidence intervals by blocks of inits, such as 0.9.
    block : int or str
        Length of these blocks: a number of inits, or a duration such as 3h; the longest lead when
        not given.
    """
    target = None if output is None else check_target(output, overwrite, input)
    from ..comparison.compare import compare, forecaster
    from ..comparison.tables import (
        confidence_tables,
        ensemble_tables,
        fss_tables,
        lead_tables,
        skill_table,
        summary,
    )
    from ..verification.enso import enso_table

    if fit is not None and XRO not in packs:
        hint = f"--packs {' '.join(packs)} xro"
        raise mismatch("xro among the packs, for --fit", " ".join(packs), hint)
    inits = slice(None) if init is None else parse_inits(init)
    indices: dict[str, list[xr.DataArray]] = {}
    with _data(input, packs, variable, anomaly, radar) as (data, name):
        rows = [
            forecaster(pack, device, variable=name, members=members, seed=seed)
            for pack in packs
            if pack != XRO
        ]
        da = data if isinstance(data, xr.DataArray) else data[name]
        if XRO in packs:
            _check_xro(da, packs, lead, fit)
        if _has_nino(da):
            rows = [_with_index(row, indices) for row in rows]
        result = compare(
            data,
            rows,
            variable=name,
            init=inits,
            lead=lead,
            members=None if XRO in packs else members,  # whether any draws them: xro does
            thresholds=thresholds,
            window=_widths(window) if fss_table else window,
            scores=scores,
            reference=reference,
            square=square,
            surroundings=surroundings,
            known=known,
            by=LABELS.get(by, by) if by is not None else None,
            confidence=confidence,
            block=int(block) if block and block.isdecimal() else block,
        )
        observed = index(da, NINO).compute() if indices else None
        if XRO in packs and fit is not None:
            indices[XRO] = [_by_xro(data, result, fit, members, seed)]
    print(f"{', '.join(input)}: {da.name}, {_words(result)}")
    for heading, scored in _by_label(result):
        tables = [heading + summary(scored, scores)]
        tables += [ensemble_tables(scored), lead_tables(scored) if by_lead else ""]
        tables += [fss_tables(scored)] if fss_table and "fss" in scored else []
        tables += [confidence_tables(scored, scores)] if confidence is not None else []
        tables += [skill_table(scored, reference, scores)] if reference is not None else []
        print("\n\n".join(filter(None, tables)))
    if observed is not None:
        skills = {row: _nino_skill(parts, observed) for row, parts in indices.items()}
        units = str(observed.attrs.get("units", "degC"))
        units = "degC" if equal_units(units, "degC") else units  # of many spellings
        table = enso_table(skills, units=units)
        print(f"\nNino3.4 index, mean of three months from each lead on\n\n{table}")
        result = _with_nino_skill(result, skills)
    for line in _already_seen(packs, result):
        print(line)
    if target is not None:
        write_file(_as_file(result, packs, ", ".join(input)), target)


def _as_file(result: xr.Dataset, packs: Sequence[str], source: str) -> xr.Dataset:
    """Return scores with what a file of them has to say; no map projection, of means over maps."""
    projections = [name for name, c in result.coords.items() if "grid_mapping_name" in c.attrs]
    result = result.drop_vars([name for name in projections if not {"y", "x"} & {*result.dims}])
    return result.assign_attrs(
        Conventions=CONVENTIONS,
        title="Scores of forecasts",
        source=source,
        history=f"xearthformer verify of {', '.join(packs)}",
    )


def _widths(window: float | str) -> list[float | str]:
    """Return the width of FSS in the main table, then those of the table of FSS, each once."""
    return [window, *(pixels for pixels in FSS_PIXELS if pixels != window)]


def _season(observed: xr.DataArray) -> xr.DataArray:
    """Return the season of each frame: DJF, MAM, JJA or SON."""
    season: xr.DataArray = observed[find_time(observed)].dt.season
    return season


# What inits are grouped by, of the frames observed then.
LABELS: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "rain_regime": rain_regime,
    "wet_area": wet_area,
    "season": _season,
}


def _by_label(result: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the scores of each label of inits with a heading; all scores where there is none."""
    if "inits" not in result:
        yield "", result
        return
    (dim,) = result["inits"].dims
    for i, label in enumerate(result[dim].values):
        scored = result.isel({dim: i}, drop=True)
        inits = scored["inits"].item()
        yield f"\n{label}, {inits} init{'s' * (inits > 1)}\n", scored


def _words(result: xr.Dataset) -> str:
    """Return what was scored, in words."""
    first, last = (str_time(stamp) for stamp in result["init"].values[[0, -1]])
    words = f"{result.attrs['pairs']}, {first} to {last}; means over the leads"
    if "threshold" in result:
        words += f"; thresholds in {result['threshold'].attrs.get('units', 'units of the data')}"
    for attribute in ("members", "square", "known"):
        words += f"; {result.attrs[attribute]}" if attribute in result.attrs else ""
    left_out = result["left_out"]
    left_out = left_out.sum([dim for dim in left_out.dims if dim != "forecast"])
    if left_out.any():
        name = left_out.idxmax("forecast").item()
        words += "; all are scored where each has a value, which leaves out "
        words += f"{left_out.sel(forecast=name).item()} pairs of {name}"
    return words


def _already_seen(packs: Sequence[str], result: xr.Dataset) -> Iterator[str]:
    """Yield a line for each pack whose weights may know the years that are scored."""
    from ..comparison.compare import RIVALS
    from ..packs.pack import open_pack

    months = months_of(result["init"])
    scored = str_month(int(months.min())), str_month(int(months.max()))
    for name in packs:
        period = None if name in (*RIVALS, XRO) else open_pack(name).card.training.period
        first, _, last = (period or "").partition("/")
        if first <= scored[1] and scored[0] <= last:
            yield f"{name} was fitted to {period}: observations of these years are no test of it"


# --- El Nino


def _has_nino(da: xr.DataArray) -> bool:
    """Return whether data are monthly anomalies of SST that cover the box of Nino3.4."""
    names = quantities.names_of(SST)
    is_sst = str(da.name).lower() in names or da.attrs.get("standard_name") in names
    if not (is_sst and quantities.is_difference(da) and check_time(da[find_time(da)]) == "month"):
        return False
    try:
        index(da.isel({find_time(da): 0}), NINO)
    except ValueError:  # another region
        return False
    return True


def _with_index(row: "Forecaster", indices: dict[str, list[xr.DataArray]]) -> "Forecaster":
    """Return a way to forecast that also keeps the index of what it forecasts."""
    from ..verification.enso import SEASON

    def run(data: xr.DataArray | xr.Dataset, inits: list[np.datetime64], lead: int) -> xr.DataArray:
        fc = row.run(data, inits, lead)
        if lead >= SEASON:  # else no mean over a season is forecast
            indices.setdefault(row.name, []).append(index(fc, NINO))
        return fc

    return replace(row, run=run)


def _check_xro(
    da: xr.DataArray, packs: Sequence[str], lead: str | None, fit: tuple[str, str] | None
) -> None:
    """Raise for what XRO's row in the table needs, before anything is forecast."""
    from ..inference.xro import LEAST_YEARS, load_xro
    from ..verification.enso import SEASON

    load_xro()
    others = [pack for pack in packs if pack != XRO]
    if not others:
        hint = "--packs persistence xro"
        raise mismatch("a pack next to xro, which forecasts the index Nino3.4 alone", "xro", hint)
    first, last = whole_years(da[find_time(da)])
    if not _has_nino(da) or (lead is not None and lead.isdecimal() and int(lead) < SEASON):
        hint = f"--packs {' '.join(others)}"
        if quantities.has(da.to_dataset(name=da.name), SST) and not quantities.is_difference(da):
            hint = f"--anomaly {first} {last}"
        expected = f"monthly anomalies of SST and {SEASON} leads or more, for xro"
        raise mismatch(expected, f"{da.name}, {lead or 'all'} leads", hint)
    if fit is None:
        until = max(first + LEAST_YEARS - 1, first + (last - first) * 2 // 3)
        raise mismatch("the years that xro is fitted to", "none", f"--fit {first} {until}")


def _by_xro(
    data: xr.DataArray | xr.Dataset,
    result: xr.Dataset,
    fit: tuple[str, str],
    members: int | None,
    seed: int,
) -> xr.DataArray:
    """Return XRO's forecasts of Nino3.4 from the inits and leads of the other ways."""
    from ..inference.xro import xro

    inits = list(result["init"].values)
    lead = result.sizes["lead"]
    return xro(data, fit=(fit[0], fit[1]), init=inits, lead=lead, members=members, seed=seed)


def _nino_skill(parts: Sequence[xr.DataArray], observed: xr.DataArray) -> xr.Dataset:
    """Return the skill of an index in blocks of inits; of an ensemble's mean and members."""
    from ..verification.enso import enso_ensemble_skill, enso_skill

    fc = xr.concat(parts, "init", coords="minimal", compat="override", join="exact")
    if fc.sizes.get("member", 1) > 1:
        return enso_ensemble_skill(fc, observed)
    return enso_skill(fc.squeeze("member") if "member" in fc.dims else fc, observed)


def _with_nino_skill(result: xr.Dataset, skills: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return scores with those of Nino3.4 next to them, named nino34_..."""
    rows = xr.Variable("forecast", [*skills])
    skill = xr.concat([*skills.values()], rows, coords="minimal", compat="override", join="exact")
    named = skill.rename({name: f"nino34_{name}" for name in skill.data_vars})
    return result.merge(named.drop_attrs(deep=False), join="left", compat="override")


# --- the papers' tables


def sevir_scores(*, data: str, packs: Sequence[str], device: str = "auto") -> None:
    """Score packs on the test events of SEVIR, next to the results of the Earthformer paper.

    Parameters
    ----------
    data : str
        SEVIR's folder or URL.
    """
    from ..comparison.papers import sevir_table, text
    from ..datasets.sevir.backend import open_sevir

    with open_sevir(data, split="test") as ds:
        print(text(sevir_table(ds["vil"], packs, device)))


def icar_enso_scores(*, data: str, packs: Sequence[str], device: str = "auto") -> None:
    """Score packs on the test simulations of ICAR-ENSO, next to those of the Earthformer paper.

    Parameters
    ----------
    data : str
        The folder with CMIP_train.nc.
    """
    from ..comparison.papers import enso_table, text
    from ..datasets.icar_enso import open_icar_enso

    with open_icar_enso(data, split="test") as ds:
        print(text(enso_table(ds["sst"], packs, device)))
    print("MSE here is over the cells that a pack forecasts.")


# --- the data


def _is_folder(path: str) -> bool:
    """Return whether a path is a folder of files, and no Zarr store."""
    return Path(path).is_dir() and not holds_zarr(path)


@contextmanager
def _data(
    input: Sequence[str],
    packs: Sequence[str],
    variable: str | None,
    anomaly: tuple[str, str] | None,
    radar: Radar,
) -> Iterator[tuple[xr.DataArray | xr.Dataset, str]]:
    """Open the variable named, or the one that the packs ask for; rain through `open_radar`.

    Yields what the packs read, which is a Dataset where one of them reads several variables, and
    the name of the variable to score.
    """
    from ..comparison.compare import RIVALS, pack_of
    from ..inference.xro import HEAT

    cards = [pack_of(name).card for name in packs if name not in (*RIVALS, XRO)]
    particular = [card for card in cards if card.input.standard_name]  # persistence takes anything
    quantity = particular[0].inputs[particular[0].outputs[0]] if particular else None
    rain = bool({*RIVALS} & {*packs}) if quantity is None else quantity.standard_name == RAIN
    # a folder is one of radar files, for packs that take anything too
    rain |= quantity is None and XRO not in packs and any(map(_is_folder, input))
    if variable is None and (rain or radar.given):
        da = open_rain(input, radar)
        yield da, str(da.name)
        return
    if radar.given:
        found = f"the variable {variable}"
        raise mismatch(f"rain, for {radar.given}", found, "the same without --variable")
    difference = XRO in packs or (quantity is not None and quantity.difference)
    difference = difference and anomaly is None
    with open_files(input) as ds:
        ds = in_plain_form(ds)
        name = (
            RAIN if rain else quantity.standard_name if quantity else SST if XRO in packs else None
        )
        name = variable or quantities.find_variable(ds, standard_name=name, difference=difference)
        several = any(len(card.inputs) > 1 for card in cards)
        if XRO in packs:  # reads what stands for warm water volume, where there is any
            several |= any(quantities.has(ds, kind) for kind in HEAT)
        data = (
            (ds if anomaly is None else take_anomalies(ds, anomaly))
            if several
            else select_variable(ds, name, anomaly)
        )
        for card in particular:
            check_anomaly(pick_variable(data, name), card)
        yield data, name
