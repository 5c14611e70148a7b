"""Nowcasts of real radar by event and by regime: a pack beside all its rivals.

    python benchmarks/nowcast_table.py radar_mch_20160711.nc radar_rmi_20210704.nc \
        --packs persistence pysteps sprog nowcast-radar --held-out radar_rmi_20210704.nc=folds/rmi
    ... --packs steps nowcast-radar --members 20 --square 128 --surroundings 128

The last pack is the one that is judged; for the files of --held-out other weights stand in for it,
those that never saw the event. An hour from every init that has one before and after it; from a
shorter record one forecast, as far as the record goes. All ways are scored where each has a value.
An event is scored on its whole domain; its regimes are those of squares of some 256 km, each by
what is seen there at the init (`xearthformer.rain_regime`). Sums of hits, errors and so on are
added up over inits, squares and events, and scores taken of the sums of each lead; the tables hold
their means over the leads, "-" where at one of these nothing reached the threshold, observed or
forecast. With --members the table is of ensembles: CRPS, CSI and FSS (16 km) of the members, MSE of
their mean; spread over error, members' mean over that observed; ranks beyond all members by what
their share should be; power over that observed, by wavelength.
"""

import argparse
import itertools
import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xearthformer as xef
from xearthformer.cli.files import parse_inits
from xearthformer.comparison.compare import RIVALS, Forecaster, forecaster, pack_of
from xearthformer.comparison.square import Square, find_square
from xearthformer.errors import mismatch
from xearthformer.fields.axes import find_grid, find_time
from xearthformer.fields.spacing import pixel_size
from xearthformer.fields.windows import find_inits
from xearthformer.verification.base import ratio_of
from xearthformer.verification.deterministic import MOMENTS
from xearthformer.verification.probabilistic import CRPS, SPREAD
from xearthformer.verification.regimes import REGIMES, rain_regime
from xearthformer.verification.scores import score
from xearthformer.verification.verify import statistics

STEP, LEAD = "5min", 12
SPIN_UP = 13  # frames: an hour before the init, though packs may read less of it
THRESHOLDS = 0.5, 1.0, 5.0
SCORES = ["csi", "bias", "fss", "mse"]
OF_ALL = ["csi", "fss", "mse", "crps", "spectrum"]  # of ensembles, and of what stands beside them
OF_MEMBERS = ["spread_skill", "rank_histogram"]
MOST = 900.0  # mm/h: what is more is no rain, but clutter, as in OPERA's column maxima
PREFIX = "radar_"  # of files, and of events in cards that are named after them
MINUTES = 5, 15, 30, 60  # of frequency bias
KM = 128.0, 64.0, 32.0, 16.0, 8.0  # of spectra
SQUARE = 256  # km, a regime
FEW = 10  # squares: what they say of a regime is of little weight
RARE = 1e-3  # share of observed events below which a square is no best and no worst forecast


@dataclass(frozen=True)
class Event:
    """A record of rain, where forecasts of it start, and what they are made with."""

    name: str
    rain: xr.DataArray  # every five minutes
    positions: np.ndarray  # of the inits
    context: int
    lead: int
    ways: Mapping[str, Forecaster]
    saw: Mapping[str, str]  # whether the weights of each saw the event

    @property
    def words(self) -> str:
        """What is forecast."""
        time = self.rain[find_time(self.rain)].values[self.positions]
        first, last = (np.datetime_as_string(stamp, "m") for stamp in time[[0, -1]])
        words = f"{self.name}: {time.size} init{'s' * (time.size > 1)}, {first} to {last}"
        if self.lead < LEAD:
            words += f"; a short record, whose leads go to {5 * self.lead} min alone"
        return words


@dataclass(frozen=True)
class Sums:
    """The sums of every way: of each event, and of each regime with the event it is of."""

    events: dict[str, list[dict[str, xr.Dataset]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    regimes: dict[str, list[tuple[str, dict[str, xr.Dataset]]]] = field(
        default_factory=lambda: defaultdict(list)
    )


@dataclass(frozen=True)
class Picture:
    """The forecasts of a square, and how much better the last one is than the one before it."""

    gain: float
    words: str
    file: str
    forecasts: Mapping[str, xr.DataArray]
    rain: xr.DataArray


# --- events


def open_event(file: str, options: argparse.Namespace) -> Event:
    """Open a record lazily; ValueError where nothing can be forecast from it."""
    name = event_name(file)
    rain = xef.open_radar(file)
    rain = xef.to_step(rain.where(rain < MOST), STEP)
    *others, judged = options.packs
    own = {**{pack: pack for pack in others}, judged: options.held_out.get(name, judged)}
    ways = {row: forecaster(pack, members=options.members) for row, pack in own.items()}
    context = max(way.context for way in ways.values())
    time = rain[find_time(rain)]
    if time.size >= max(context, SPIN_UP) + LEAD:
        lead = LEAD
        positions = find_inits(time, max(context, SPIN_UP), parse_inits([options.init])).positions
        positions = positions[positions + lead < time.size]
    else:
        lead, positions = min(LEAD, time.size - context), np.array([context - 1])
    if lead < 1:
        expected = f"a record of {context + 1} frames or more, for {', '.join(ways)}"
        raise mismatch(expected, f"{time.size} in {file}", f"files other than {file}")
    if not positions.size:
        found = f"--init {options.init} of {file}"
        raise mismatch(f"inits that have {5 * lead} minutes after them", found, "--init //1")
    saw = {row: weights_saw(pack, name) for row, pack in own.items()}
    return Event(name, rain, positions, context, lead, ways, saw)


def event_name(file: str) -> str:
    """Return the name of an event, as cards have it: mch_20160711 of radar_mch_20160711.nc."""
    return Path(file).stem.removeprefix(PREFIX)


def training_events(pack: str) -> list[str] | None:
    """Return the events that weights are made from; None where a card does not list them."""
    if pack in RIVALS:
        return []
    training = pack_of(pack).card.training
    found = getattr(training, "events", None)
    if not found:
        return [] if training.data == "none" else None
    return [name.removeprefix(PREFIX) for name in found]


def weights_saw(pack: str, event: str) -> str:
    """Return whether a pack's weights saw an event: yes, no, "-" without weights, "?" unknown."""
    events = training_events(pack)
    if not events:
        return "?" if events is None else "-"
    return "yes" if any(event.startswith(one) or one.startswith(event) for one in events) else "no"


def footnotes(packs: Sequence[str], held_out: Mapping[str, str]) -> Iterator[str]:
    """Yield what the weights of each pack saw."""
    stand_ins = [(pack, f", for {event}") for event, pack in held_out.items()]
    for pack, place in [*((pack, "") for pack in packs), *stand_ins]:
        events = training_events(pack)
        if events is None:
            yield f"- {pack}{place}: its card lists no events; {pack_of(pack).card.training.data}"
        elif events:
            yield f"- {pack}{place}: weights made from {', '.join(events)}"


# --- parts of domains


def cut(da: xr.DataArray, pixels: Sequence[float]) -> list[dict[str, slice]]:
    """Return parts of even size that cover a domain, of about so many pixels along y and x.

    >>> [part["y"] for part in cut(xr.DataArray(np.zeros((5, 4)), dims=("y", "x")), (2.5, 9))]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    dims = find_grid(da)
    edges = [
        np.linspace(0, da.sizes[dim], max(1, round(da.sizes[dim] / size)) + 1).astype(int).tolist()
        for dim, size in zip(dims, pixels, strict=True)
    ]
    along = [[slice(a, b) for a, b in itertools.pairwise(ends)] for ends in edges]
    return [dict(zip(dims, part, strict=True)) for part in itertools.product(*along)]


def areas(rain: xr.DataArray, options: argparse.Namespace) -> list[Square]:
    """Return what is forecast and scored: the domain, parts of a large one, or a square of it."""
    if options.square is not None:
        return [find_square(rain, options.square, options.surroundings, THRESHOLDS[0])]
    return [Square(part, part) for part in cut(rain, [options.largest] * 2)]


def squares(rain: xr.DataArray) -> list[dict[str, slice]]:
    """Return the parts of a domain that have a regime each."""
    sizes = [SQUARE * 1000 / metres if metres else SQUARE for metres in pixel_size(rain)]
    return cut(rain, sizes)


# --- forecasts and sums


def forecast_all(
    event: Event, area: Square, frames: xr.DataArray, init: np.datetime64
) -> dict[str, xr.DataArray]:
    """Forecast an area by all ways; a pixel has a value where it has one by each of them."""
    found = {
        name: area.inside(way.run(frames, [init], event.lead)) for name, way in event.ways.items()
    }
    valid = [fc.notnull() for fc in found.values()]
    valid = [each.all("member") if "member" in each.dims else each for each in valid]
    everywhere = reduce(operator.and_, (each.drop_vars("known", errors="ignore") for each in valid))
    return {name: fc.where(everywhere) for name, fc in found.items()}


def sums_of(fc: xr.DataArray, rain: xr.DataArray, ensemble: bool) -> xr.Dataset:
    """Return the sums of a forecast: of members added up, pixels of weight 1, spectra at `KM`."""
    names = OF_ALL + OF_MEMBERS * ("member" in fc.dims) if ensemble else SCORES
    sums = statistics(fc, rain, names, thresholds=THRESHOLDS, window="16 km")
    if "member" in sums.dims:
        sums = sums.sum("member", keep_attrs=True)
    # On degrees weights are areas, whose unit differs from one grid to the next.
    for weight, count, weighted in (
        ("weight", "n", MOMENTS.names),
        ("cases_weight", "cases", (*CRPS.names, *SPREAD.names, "cases_weight")),
    ):
        if weight in sums:
            unit = sums[count] / sums[weight].where(sums[weight] > 0)
            present = [name for name in weighted if name in sums]
            sums = sums.assign({name: sums[name] * unit for name in present})
    if "wavelength" in sums.dims:  # in metres or km
        per_km = 1000 if sums["wavelength"].attrs.get("units") == "m" else 1
        nearest = sums.sel(wavelength=np.array(KM) * per_km, method="nearest")
        sums = nearest.assign_coords(wavelength=("wavelength", list(KM), {"units": "km"}))
    return sums.drop_vars([name for name in sums.coords if name not in sums.dims])


def add_event(event: Event, options: argparse.Namespace, sums: Sums, pictures: dict) -> str:
    """Forecast an event, add up its sums and those of its regimes; return it in words."""
    rain = event.rain.compute()  # one event in memory at a time
    dim = find_time(rain)
    parts, dry = areas(rain, options), 0
    for area, position in itertools.product(parts, event.positions):
        first, last = position - event.context + 1, position + event.lead
        frames = area.crop(rain).isel({dim: slice(first, last + 1)})
        now, seen = rain[dim].values[position], area.inside(frames)
        if len(parts) > 1 and regime_at(seen, now) in ("dry", ""):
            dry += 1
            continue
        found = forecast_all(event, area, frames, now)
        ensemble = options.members is not None
        own = {name: sums_of(fc, seen, ensemble) for name, fc in found.items()}
        sums.events[event.name].append(own)
        for square in squares(seen):
            part, observed = (
                {name: fc.isel(square) for name, fc in found.items()},
                seen.isel(square),
            )
            regime = regime_at(observed, now)
            if not regime:
                continue
            own = {name: sums_of(fc, observed, ensemble) for name, fc in part.items()}
            sums.regimes[regime].append((event.name, own))
            if options.pictures and len(own) > 1:
                keep_extremes(pictures, regime, picture_of(event, part, observed, own))
    words = event.words
    if len(parts) > 1:
        words += f"; forecast in {len(parts)} parts, {dry} of them left out as dry at the init"
    elif options.square is not None:
        words += f"; {parts[0].words}"
    return words


def regime_at(rain: xr.DataArray, init: np.datetime64) -> str:
    """Return the regime of rain at an init; "" where too little was seen."""
    return str(rain_regime(rain.sel({find_time(rain): [init]})).item())


def total(sums: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the sums by lead of inits, squares and events whose leads may differ."""
    joined = xr.concat(
        sums, "init", join="outer", coords="minimal", compat="override", combine_attrs="override"
    )
    return joined.sum("init", keep_attrs=True)


# --- tables


def single_columns(sums: xr.Dataset) -> dict[tuple[str, str], str]:
    """Return what is printed of forecasts without members."""
    found = score(sums)
    mean = found.mean("lead", skipna=False)
    columns = {("CSI", f"{at:g}"): f"{mean['csi'].sel(threshold=at):.3f}" for at in THRESHOLDS}
    columns |= {("FSS", f"{at:g}"): f"{mean['fss'].sel(threshold=at):.3f}" for at in (1, 5)}
    columns["MSE", ""] = f"{mean['mse']:.3f}"
    leads = np.array(MINUTES, "m8[m]").astype("m8[ns]")
    by_lead = found["bias"].reindex(lead=leads)
    for at in (1, 5):
        for minutes, value in zip(MINUTES, by_lead.sel(threshold=at).values, strict=True):
            columns[f"bias {at}", f"{minutes} min"] = f"{value:.2f}"
    return columns


def ensemble_columns(sums: xr.Dataset) -> dict[tuple[str, str], str]:
    """Return what is printed of ensembles; of a single forecast, what there is of it."""
    found = score(sums)
    mean = found.mean("lead", skipna=False)
    of_mean = found["rmse_of_mean"] ** 2 if "rmse_of_mean" in found else found["mse"]
    columns = {("CRPS", ""): f"{mean['crps']:.3f}"}
    columns |= {(name.upper(), "1"): f"{mean[name].sel(threshold=1):.3f}" for name in SCORES[::2]}
    columns["MSE", "of mean"] = f"{of_mean.mean():.3f}"
    ratios = {"mean/observed": ratio_of(["f"], ["o"])(sums)}
    if "spread_skill" in found:
        ratios = {"spread/error": found["spread_skill"], **ratios}
    for name, by_lead in ratios.items():
        columns[name, ""] = f"{by_lead.mean():.2f}"
        columns[name, "worst"] = f"{worst(by_lead):.2f}"
    if "rank_lowest" in found:
        for rank in ("lowest", "highest"):
            times = mean[f"rank_{rank}"] * found.sizes["rank"]
            columns["rank beyond", rank] = f"{times:.2f}"
    for km in KM:
        ratio = worst(found["spectrum_ratio"].sel(wavelength=km))
        columns["power, worst lead", f"{km:g} km"] = (
            f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0e}"
        )
    return columns


def worst(by_lead: xr.DataArray) -> float:
    """Return the ratio that is farthest from 1, as a factor.

    >>> worst(xr.DataArray([0.4, 1.0, 2.0], dims="lead"))
    0.4
    """
    values = by_lead.values
    with np.errstate(divide="ignore"):
        off = np.nan_to_num(np.abs(np.log(values)), nan=-1, posinf=np.inf)
    return float(values[off.argmax()])


def table(sums: Sequence[Mapping[str, xr.Dataset]], saw: Mapping[str, str], ensemble: bool) -> str:
    """Return the scores of all ways, one row each, of sums that are added up first."""
    columns = ensemble_columns if ensemble else single_columns
    rows = {name: columns(total([each[name] for each in sums])) for name in sums[0]}
    found = pd.DataFrame.from_dict(rows, orient="index").fillna("-").replace("nan", "-")
    found["weights", "saw it"] = pd.Series(saw)
    found.columns = pd.MultiIndex.from_tuples(found.columns)
    return found.to_string()


def regime_tables(sums: Sums, events: Sequence[Event], ensemble: bool) -> Iterator[str]:
    """Yield the table of each regime, and how many squares it is of."""
    for regime in (*REGIMES[1:], REGIMES[0]):  # dry last
        each = sums.regimes[regime]
        names = dict.fromkeys(name for name, _ in each)
        saws = [event.saw for event in events if event.name in names]
        counts = (
            f"{len(each)} square{'s' * (len(each) > 1)} of {', '.join(names)}"
            if each
            else "no squares"
        )
        few = f"; fewer than {FEW}, which says little" if 0 < len(each) < FEW else ""
        lines = [f"{regime}: {counts}{few}"]
        if each:
            saw = {name: of_events([one[name] for one in saws]) for name in saws[0]}
            lines.append(table([own for _, own in each], saw, ensemble))
        yield "\n".join(lines)


def of_events(saw: Sequence[str]) -> str:
    """Return how many events weights saw.

    >>> of_events(["yes", "no", "no"]), of_events(["-", "-"])
    ('1 of 3', '-')
    """
    if len({*saw}) == 1 and saw[0] in "-?":
        return saw[0]
    return f"{saw.count('yes')} of {len(saw)}" + (f", {saw.count('?')} ?" if "?" in saw else "")


# --- pictures


def picture_of(
    event: Event,
    inside: Mapping[str, xr.DataArray],
    observed: xr.DataArray,
    sums: Mapping[str, xr.Dataset],
) -> Picture:
    """Return a square as a picture of the last two forecasts; by CSI at 1 mm/h of all leads."""
    last = dict([*inside.items()][-2:])
    found = {name: score(sums[name], ["csi", "base_rate"]).sel(threshold=1) for name in last}
    before, judged = (each["csi_pooled"].item() for each in found.values())
    often = all(each["base_rate_pooled"] >= RARE for each in found.values())
    init = next(iter(inside.values()))["init"].values[0]
    stamp = pd.Timestamp(init).strftime("%H%M")
    corner = "_".join(f"{observed[dim].values[0]:.10g}" for dim in find_grid(observed))
    words = ", ".join(f"{name} {each['csi_pooled']:.3f}" for name, each in found.items())
    shown = {name: fc.isel(member=0) if "member" in fc.dims else fc for name, fc in last.items()}
    gain = judged - before if often else np.nan
    return Picture(gain, words, f"{event.name}_{stamp}_{corner}.png", shown, observed)


def keep_extremes(pictures: dict, regime: str, picture: Picture) -> None:
    """Keep a picture that is the best or the worst of its regime so far."""
    if np.isnan(picture.gain):
        return
    for kind, sign in (("best", 1), ("worst", -1)):
        kept = pictures.get((regime, kind))
        if kept is None or sign * picture.gain > sign * kept.gain:
            pictures[regime, kind] = picture


def draw(pictures: Mapping[tuple[str, str], Picture], folder: Path) -> Iterator[str]:
    """Write the best and the worst forecast of each regime; yield what each is of."""
    from xearthformer.plots.frames import frames

    folder.mkdir(parents=True, exist_ok=True)
    for (regime, kind), picture in sorted(pictures.items()):
        path = folder / f"{regime}_{kind}_{picture.file}"
        frames(picture.forecasts, picture.rain).savefig(path, dpi=120)
        yield f"{path}: CSI at 1 mm/h {picture.words}"


# --- the command


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; the events of --held-out are by their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="records of radar")
    parser.add_argument("--packs", nargs="+", required=True, help="the last one is judged")
    parser.add_argument(
        "--init", default="//4", help="as of xearthformer verify; //4: every fourth"
    )
    parser.add_argument("--held-out", nargs="+", default=[], metavar="FILE=PACK")
    parser.add_argument("--largest", type=int, default=1300, help="pixels a side, forecast whole")
    parser.add_argument("--members", type=int, help="the table is of ensembles")
    parser.add_argument("--square", type=int, help="pixels: where it rains most often, alone")
    parser.add_argument("--surroundings", type=int, help="pixels around it that are read")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="of the last two packs")
    options = parser.parse_args(arguments)
    pairs = [pair.partition("=") for pair in options.held_out]
    options.held_out = {event_name(file): pack for file, _, pack in pairs}
    unknown = {*options.held_out} - {event_name(file) for file in options.files}
    if unknown or not all(options.held_out.values()):
        parser.error(
            f"--held-out is of a file given, FILE=PACK; found {' '.join(map(''.join, pairs))}"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    ensemble = options.members is not None
    events = [open_event(file, options) for file in options.files]  # before anything is forecast
    sums, pictures = Sums(), {}
    for event in events:
        print(add_event(event, options, sums, pictures))
        own = sums.events[event.name]
        print(table(own, event.saw, ensemble) if own else "nothing but dry squares", flush=True)
        print()
    print("\n\n".join(regime_tables(sums, events, ensemble)))
    print("\nWeights")
    print("\n".join(footnotes(options.packs, options.held_out)) or "- none of these has any")
    if options.pictures:
        print("\nBest and worst of each regime")
        print("\n".join(draw(pictures, options.pictures)))


if __name__ == "__main__":
    main()
