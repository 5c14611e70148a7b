"""The way in: data as a pack's card wants it, or a refusal before anything is computed.

`select` and `prepare` look at labels alone; `enter` looks at values, on their way to the model's
input.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ..climate.baseline import ATTRIBUTE as PERIOD
from ..climate.baseline import baseline, str_period
from ..climate.ocean import is_open_sea
from ..errors import mismatch
from ..fields import cf, quantities, regrid
from ..fields.axes import check_labelled, find_axes, find_curvilinear, find_grid, find_time
from ..fields.codes import NOISE
from ..fields.curvilinear import to_latlon
from ..fields.forms import in_plain_form
from ..fields.quantities import RAIN
from ..fields.sentinels import check_values
from ..fields.spacing import is_even, pixel_size, sized_by_latlon, with_labels
from ..fields.time_axis import (
    MINUTE,
    apart,
    check_time,
    in_zone,
    months_of,
    regular_steps,
    round_jitter,
    skips_an_hour,
    str_step,
    str_time,
)
from ..fields.time_bounds import with_middles
from ..fields.units import convert_units
from ..packs.card import Baseline, Card, LatLonGrid, PixelGrid, Variable

SPACING_TOLERANCE = 0.01  # a share: projections are not exact to the metre
# On latitude and longitude, of the root of a pixel's area: 0.01 degrees are 1.1 km by 0.6 to 1.1 km
DEGREES_TOLERANCE = 0.25
EXPVER = "expver"
FEW = 0.01  # share of values beyond that may be real ones; more are in other units
CODES = 4  # numbers beyond the range of rain; more are no codes, but other units
OWN_UNITS = "own_units"  # of prepared data, in its encoding: what the user has it in
OWN_TIME = "own_time"  # the name of its dim
LONGEST_MOVED = 30  # minutes between frames of rain that `to_step` can bring to another step


@dataclass(frozen=True, eq=False)
class Entry:
    """One input of a pack, and the user's array that is read as it."""

    name: str
    variable: Variable  # of the card, or what stands in for it
    da: xr.DataArray
    note: str = ""  # on what was done to it, for the history


def select(data: xr.Dataset | xr.DataArray, card: Card) -> list[Entry]:
    """Return the user's array for each input of the card, in order, on one time axis.

    A DataArray is the input of a pack of one. In a Dataset, inputs are found by standard_name, by
    common names, or by their name in the card; else something that the card lets stand in. What
    only a Dataset holds is used here: bounds of times, and of the cells of a curvilinear grid,
    which is brought onto the card's.
    """
    data = in_plain_form(cf.mappings_as_coords(data))
    entries = [replace(e, da=round_jitter(with_middles(e.da, data))) for e in _found(data, card)]
    first = entries[0]
    _check_rain(first, card, gaps=True)
    _check_projections(entries, data, card)
    entries = [first, *(_on_time_of(first, entry) for entry in entries[1:])]
    return [replace(entry, da=_on_latlon(entry.da, data, card)) for entry in entries]


def _found(data: xr.Dataset | xr.DataArray, card: Card) -> list[Entry]:
    """Return the user's array for each input of the card, as it is."""
    if isinstance(data, xr.DataArray):
        if len(card.inputs) > 1:
            names = ", ".join(f'"{name}": ...' for name in card.inputs)
            raise mismatch(
                f"a Dataset of {_listed(card)} (pack {card.name!r})",
                f"the DataArray {data.name or 'without a name'!r} alone",
                f"xr.Dataset({{{names}}}), with your arrays for the dots",
            )
        return [Entry(name, variable, data) for name, variable in card.inputs.items()]
    check_labelled(data)
    if len(card.inputs) == 1:
        variable = card.input
        found = quantities.find_variable(
            data, standard_name=variable.standard_name, difference=variable.difference
        )
        return [Entry(next(iter(card.inputs)), variable, data[found])]
    return [_find(data, name, variable) for name, variable in card.inputs.items()]


def _on_latlon(da: xr.DataArray, labels: xr.Dataset | xr.DataArray, card: Card) -> xr.DataArray:
    """Return data with 2-D latitude and longitude on the card's grid; other data as it is."""
    if not isinstance(card.grid, LatLonGrid) or not all(find_curvilinear(da)):
        return da
    return to_latlon(da, card.grid.latitude, card.grid.longitude, labels)


def _check_projections(
    entries: Sequence[Entry], data: xr.Dataset | xr.DataArray, card: Card
) -> None:
    """Refuse inputs of pixels on two map projections: their x and y are not the same."""
    if isinstance(card.grid, LatLonGrid) or not isinstance(data, xr.Dataset):
        return
    found: dict[str, str] = {}
    for entry in entries:
        da = entry.da
        mapping = da.attrs.get("grid_mapping") or da.encoding.get("grid_mapping")
        if mapping in data.variables:
            attrs = {key: str(value) for key, value in data[mapping].attrs.items()}
            found.setdefault(repr(sorted(attrs.items())), f"{da.name} on {mapping}")
    if len(found) > 1:
        first, other = list(found.values())[:2]
        raise mismatch(
            "inputs on one map projection",
            f"more than one grid mapping: {first}, {other}",
            f"a reprojection of {other.split()[0]} onto {first.split()[0]} (rioxarray)",
        )


def _listed(card: Card) -> str:
    """Return in words what a pack reads."""
    words = [f"{name} ({v.standard_name or 'by this name'})" for name, v in card.inputs.items()]
    return " and ".join(words)


def _find(data: xr.Dataset, name: str, variable: Variable) -> Entry:
    """Return one of several inputs: its quantity, what may stand in, or the variable so named."""
    quantity, difference = variable.standard_name, variable.difference
    quantities_known = [quantity, *variable.substitutes] if quantity else []
    for one in quantities_known:
        if quantities.has(data, one):
            found = quantities.find_variable(data, standard_name=one, difference=difference)
            own = variable if one == quantity else variable.substituted(one)
            return Entry(name, own, _floating(data[found]))
    if name in data:
        return Entry(name, variable, _floating(data[name]))
    called = [
        f"{one} ({', '.join(sorted(quantities.names_of(one) - {one}))})" for one in quantities_known
    ]
    listed = ", ".join(map(str, data.data_vars)) or "no data variables"
    hint = f'ds.rename({{"...": "{name}"}}), with the name of yours for the dots'
    raise mismatch(f"a variable {name}{': ' if called else ''}{' or '.join(called)}", listed, hint)


def _floating(da: xr.DataArray) -> xr.DataArray:
    """Return counts (of lightning) as float32; packed integers stay, to be refused."""
    packed = {"scale_factor", "add_offset", "_FillValue"} & {*da.attrs}
    return da if da.dtype.kind not in "iu" or packed else da.astype(np.float32)


def _on_time_of(first: Entry, entry: Entry) -> Entry:
    """Return an entry with the time labels of the first: the same months, or the same times."""
    dim, other = find_time(first.da), find_time(entry.da)
    time, stamps = first.da[dim], entry.da[other]
    monthly = check_time(time) == check_time(stamps) == "month"
    numbers = [months_of(axis) if monthly else axis.values for axis in (time, stamps)]
    if not np.array_equal(numbers[0], numbers[1]):
        raise mismatch(
            f"{first.name} and {entry.name} of the same {'months' if monthly else 'times'}",
            f"{first.name} {_span(time)}, {entry.name} {_span(stamps)}",
            _common_span((dim, other), (time, stamps), numbers),
        )
    if other == dim:
        return entry
    da = entry.da.drop_vars([n for n, c in entry.da.coords.items() if other in c.dims])
    return Entry(entry.name, entry.variable, da.rename({other: dim}).assign_coords({dim: time}))


def _span(time: xr.DataArray) -> str:
    return f"{str_time(time.values[0])} to {str_time(time.values[-1])} ({time.size})"


def _common_span(
    dims: tuple[str, str], axes: tuple[xr.DataArray, xr.DataArray], numbers: list[np.ndarray]
) -> str:
    """Return the line that cuts both time axes to what they have in common."""
    start, end = max(n[0] for n in numbers), min(n[-1] for n in numbers)
    if start > end:
        return "records that overlap"
    cuts = []
    for dim, axis, n in zip(dims, axes, numbers, strict=True):
        inside = axis.values[(n >= start) & (n <= end)]
        cuts.append(f'{dim}=slice("{str_time(inside[0])}", "{str_time(inside[-1])}")')
    return f"ds.sel({', '.join(cuts)})"


def further_dims(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the dims that are neither time nor grid (members, models), and their sizes.

    Those of size 1 do not count: what has one level only is a field. One along which times or
    places differ (events) is an error: the forecasts would have no labels in common.
    """
    found: dict[str, int] = {}
    for entry in entries:
        da, axes = entry.da, find_axes(entry.da)
        own = [axes.time, axes.y, axes.x]
        further = {str(dim): n for dim, n in da.sizes.items() if n > 1 and dim not in own}
        if EXPVER in further:
            first, last = (repr(label) for label in da[EXPVER].values[[0, -1]].tolist())
            parts = f"da.sel({EXPVER}={first}).combine_first(da.sel({EXPVER}={last}))"
            raise mismatch(
                "one record",
                f"{EXPVER} {first} and {last}: final and preliminary times of ERA5, each missing "
                "where the other is",
                f"{parts}.assign_attrs(da.attrs)",
            )
        for dim, n in further.items():
            varying = [name for name in own if name in da.coords and dim in da[name].dims]
            if varying:
                raise mismatch(
                    f"the dimensions {', '.join(own)} alone, or others that share their labels",
                    f"also {dim} ({n}), along which {' and '.join(varying)} differ",
                    f"da.isel({dim}=0), or forecast each on its own",
                )
        found |= further
    return found


def prepare(entry: Entry, card: Card, exact: bool = False) -> tuple[xr.DataArray, cf.Origin]:
    """Return data in the card's units and orientation, and how to restore the user's own.

    Time step, baseline and grid are checked first; with `exact`, float64 stays: see `cf.prepare`.
    """
    variable = entry.variable
    if variable.units is not None:  # before the time step: rain is no monthly temperature
        quantities.check_quantity(entry.da, variable.standard_name, variable.difference)
    _check_step(entry, card)
    prepared, origin = cf.prepare(
        entry.da,
        units=variable.units,
        difference=variable.difference,
        standard_name=variable.standard_name,
        latlon=isinstance(card.grid, LatLonGrid),
        exact=exact,
    )
    # for a line that names numbers of the user's
    prepared.encoding[OWN_UNITS] = str(entry.da.attrs.get("units", ""))
    prepared.encoding[OWN_TIME] = origin.axes.time
    _check_baseline(entry.da, card)
    if isinstance(card.grid, LatLonGrid) or entry.name == next(iter(card.inputs)):
        _check_grid(prepared, entry.da, card)  # other inputs are taken onto the pixels of the first
    return prepared, origin


def on_same_pixels(data: list[xr.DataArray], card: Card) -> list[xr.DataArray]:
    """Return the inputs of a pack of pixels on the pixels of the first, each the nearest.

    A pack on latitudes and longitudes brings each to its own grid on the way in. An output must
    have the pixels of the first itself, for the forecast has them.
    """
    if isinstance(card.grid, LatLonGrid) or len(data) == 1:
        return data
    first, rest = data[0], data[1:]
    return [
        first,
        *(
            _nearest(da, first, name, card)
            for da, name in zip(rest, list(card.inputs)[1:], strict=True)
        ),
    ]


def _nearest(da: xr.DataArray, first: xr.DataArray, name: str, card: Card) -> xr.DataArray:
    positions = {}
    for dim in ("y", "x"):
        if dim in da.coords and dim in first.coords:
            ours, theirs = first[dim].values, da[dim].values
            nearest = np.abs(ours[:, None] - theirs).argmin(axis=1)
            spacing = np.abs(np.diff(theirs)).max() if theirs.size > 1 else np.inf
            apart = bool((np.abs(ours - theirs[nearest]) > spacing).any())
        else:  # pixels without labels fill the same domain
            size, other = first.sizes[dim], da.sizes[dim]
            nearest = (np.arange(size) * other) // size
            apart = max(size, other) % min(size, other) != 0
        same = np.array_equal(nearest, np.arange(da.sizes[dim]))
        if apart or (name in card.outputs and not same):
            raise mismatch(
                f"{name} on the pixels of {next(iter(card.inputs))}",
                f"{da.sizes['y']} x {da.sizes['x']} others, of another domain or size",
                f"an interpolation of {name} onto those pixels",
            )
        if not same:
            positions[dim] = nearest
    labels = {dim: first[dim] for dim in ("y", "x") if dim in first.coords}
    return da.drop_vars(["y", "x"], errors="ignore").isel(positions).assign_coords(labels)


def enter(da: xr.DataArray, name: str, variable: Variable, card: Card) -> xr.DataArray:
    """Return prepared data as the model reads it: on its grid, checked, land filled, scaled.

    Where the data has land and the card has sea, the nearest neighbour that has a value counts;
    inland waters further away from any are read as land.
    """
    entered = da
    if isinstance(card.grid, LatLonGrid):
        entered = regrid.to_model(da, card.grid.latitude, card.grid.longitude)
    land = card.land(name)
    if land is not None:
        entered = regrid.fill_coasts(entered, ~land)
        # lakes and enclosed seas that the data hasn't are land too
        inland = ~is_open_sea(entered["y"].values[:, None], entered["x"].values)
        as_land = land | (inland & np.isnan(entered.to_numpy()))
        entered = entered.where(~xr.DataArray(as_land, dims=entered.dims), variable.fill)
    entered = _without_noise(entered, variable)
    _check_values(entered, da, variable, card)
    return variable.scale.apply(entered)


def _without_noise(da: xr.DataArray, variable: Variable) -> xr.DataArray:
    """Return 0 for what packing and interpolation have left below it, where 0 is the least."""
    if variable.valid_min != 0:
        return da
    values = da.to_numpy()
    noise = (values < 0) & (values >= -NOISE)
    return da.where(~noise, 0) if noise.any() else da


def other_baseline(da: xr.DataArray, card: Card) -> str | None:
    """Return the climatology period of anomalies where it isn't the card's; None where it is.

    Data that doesn't say its period is taken as it is.
    """
    found = baseline(da)
    if card.baseline is None or found is None or found == _months(card.baseline):
        return None
    return str(da.attrs[PERIOD])


def _months(period: Baseline) -> tuple[int, int]:
    """Return the first and last month number of a card's climatology period."""
    start, end = map(int, period.period)
    return start * 12, end * 12 + 11


def _check_baseline(da: xr.DataArray, card: Card) -> None:
    found = other_baseline(da, card)
    if found is None or card.baseline is None or card.baseline.blind:
        return
    months, (start, end) = months_of(da[find_time(da)]), _months(card.baseline)
    period = str_period((start, end))
    hint = _mend(f"{{da}}.earthformer.rebase({period})", da, card)
    if months.min() > start or months.max() < end:  # too short a record to change its baseline
        hint = f"da.earthformer.anomaly(climatology={period}), of absolute values of these years"
    raise mismatch(
        f"an anomaly against {'-'.join(card.baseline.period)} (pack {card.name!r})",
        f"{da.name or 'one'} against {found}",
        hint,
    )


def _check_step(entry: Entry, card: Card) -> None:
    _check_rain(entry, card, gaps=False)
    step = check_time(entry.da[find_time(entry.da)])
    if card.step is not None and step != card.step:
        frequency = "MS" if card.step == "month" else card.time_step
        raise mismatch(
            f"a time step of {card.time_step} (pack {card.name!r})",
            f"one of {str_step(step)}",
            f'da.resample({find_time(entry.da)}="{frequency}").mean(keep_attrs=True)',
        )


def _check_rain(entry: Entry, card: Card, gaps: bool) -> None:
    """Refuse rain at another step, or at none: means over time would spoil how it moves.

    With `gaps`, frames may be missing. Other quantities pass.
    """
    time = entry.da[find_time(entry.da)]
    of_pack = entry.variable.standard_name == RAIN  # else of a pack that takes any quantity
    is_rain = of_pack or entry.da.attrs.get("standard_name") in quantities.names_of(RAIN)
    another = entry.variable.standard_name not in (RAIN, None)  # which is refused as such
    if not is_rain or another or len(card.inputs) > 1 or time.size < 2:
        return
    if of_pack:
        quantities.check_quantity(entry.da, RAIN, entry.variable.difference)
    deltas = apart(time)
    step, positions = regular_steps(time, deltas) or (None, np.array([0]))
    whole = step is not None and (gaps or positions[-1] == deltas.size)
    if whole and card.step in (None, step):
        return
    typical = np.median(deltas) / MINUTE if step is None else step / np.timedelta64(60, "s")
    if not of_pack and typical > LONGEST_MOVED:
        return  # months of rain, which `check_time` looks at
    new = card.time_step or (_rounded(typical) if step is None else f"{typical:g}min")
    hint = f"a record of shorter steps: from 30 minutes on, xef.to_step makes them {new}"
    if typical <= LONGEST_MOVED:
        hint = f'xef.to_step(da, "{new}")'
    if not whole and skips_an_hour(time, deltas):
        hint = f"{in_zone(time)}; or where an hour is missing {hint}"
    raise mismatch(
        f"a time step of {new} (pack {card.name!r})",
        f"one of {typical:g} min"
        if whole
        else f"steps from {deltas.min() / MINUTE:.3g} to {deltas.max() / MINUTE:.3g} min",
        hint,
    )


def _rounded(minutes: float) -> str:
    """Return a step as text, to whole minutes, or seconds of shorter ones.

    >>> _rounded(5.05), _rounded(0.51)
    ('5min', '31s')
    """
    return f"{round(minutes)}min" if minutes >= 1 else f"{round(60 * minutes)}s"


def _check_grid(da: xr.DataArray, own: xr.DataArray, card: Card) -> None:
    """Refuse a domain that isn't the pack's: `da` is the user's `own` data, prepared."""
    if isinstance(card.grid, LatLonGrid):
        regrid.check_contains(da, card.grid.latitude, card.grid.longitude)
    elif isinstance(card.grid, PixelGrid):
        if card.grid.spacing:
            _check_spacing(own, card.grid.spacing, card)
        rows, columns = da.sizes["y"], da.sizes["x"]
        height, width = card.grid.shape
        if rows < height or columns < width:
            raise mismatch(
                f"a domain of at least {_str_size(height, width, card.grid)}, y by x "
                f"(pack {card.name!r})",
                _str_size(rows, columns, card.grid),
                "a wider cut of your data; xef.list_packs() lists the other packs",
            )


def _str_size(rows: int, columns: int, grid: PixelGrid) -> str:
    pixels = f"{rows} x {columns} pixels"
    if grid.spacing is None:
        return pixels
    return f"{pixels} ({' x '.join(f'{n * grid.spacing / 1000:g}' for n in (rows, columns))} km)"


def _check_spacing(da: xr.DataArray, spacing: float, card: Card) -> None:
    """Refuse pixels of another size than the pack's; those that tell no size pass."""
    sizes = pixel_size(da)
    known = [size for size in sizes if size]
    if not known:
        return
    off = max(abs(size / spacing - 1) for size in known)
    tolerance = SPACING_TOLERANCE
    if sized_by_latlon(da):
        off, tolerance = (
            abs(float(np.prod(known)) ** (1 / len(known)) / spacing - 1),
            DEGREES_TOLERANCE,
        )
    even = is_even(da)
    if off > tolerance or not even:
        length = f"{spacing / 1000:g} km" if spacing >= 1000 else f"{spacing:g} m"
        hint = f'xef.to_spacing({with_labels(da)}, "{length}")'
        if _is_near_km(known, spacing):  # kilometres under the units of metres, as after x / 1000
            labels = [f'{d}=da["{d}"].assign_attrs(units="km")' for d in find_grid(da)]
            hint = f"da.assign_coords({', '.join(labels)}), if that is what they are in"
        if not even and "assign_coords" in hint:
            hint = "a regrid onto a map projection first (rioxarray, xesmf)"
        raise mismatch(
            f"pixels of {spacing:g} m (pack {card.name!r})",
            " by ".join("unknown" if size is None else f"{size:.5g} m" for size in sizes)
            + f", along y and x{'' if even else ', and others of other sizes'}",
            hint,
        )


def _is_near_km(sizes: list[float], spacing: float) -> bool:
    return all(abs(1000 * size / spacing - 1) <= SPACING_TOLERANCE for size in sizes)


def _check_values(entered: xr.DataArray, da: xr.DataArray, variable: Variable, card: Card) -> None:
    """Refuse NaN, infinity and values that an input's quantity cannot have.

    `entered` is on the model's grid. What `da` holds is named: a fill value that was averaged with
    its neighbours is one that nobody finds in their data.
    """
    values = entered.to_numpy()
    finite = np.isfinite(values)
    low, high = variable.valid_min, variable.valid_max
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    least = -NOISE if low == 0 else low
    # where the pack has land too: a fill value there was averaged with the coast
    own = da.to_numpy()
    beyond = np.isfinite(own) & ((own < least) | (own > high))
    if beyond.any():
        worst = np.unravel_index(np.where(beyond, np.abs(own), -1.0).argmax(), own.shape)
        raise mismatch(
            f"values within [{low:g}, {high:g}] {variable.units} (pack {card.name!r})",
            f"{own[worst]:g} {variable.units} at {_place(da, worst, card)}, and in all "
            f"{beyond.sum()} of {own.size} such values{_of(da, card)}, by the data's units "
            "attribute",
            _mend_beyond(own[beyond], da, variable, card, share=float(beyond.mean())),
        )
    infinite = np.isinf(own)
    if infinite.any() and (variable.missing == "allowed" or finite.all()):
        raise mismatch(
            f"finite values, or NaN where nothing was seen (pack {card.name!r})",
            f"{infinite.sum()} of {own.size} infinite{_of(da, card)}, the first at "
            f"{_place(da, np.argwhere(infinite)[0], card)}",
            _mend("{da}.where(np.isfinite({da}))", da, card),
        )
    if variable.missing != "allowed" and not finite.all():
        allowed = "none missing but on land" if variable.missing == "land" else "none missing"
        raise mismatch(
            f"finite values, {allowed} (pack {card.name!r})",
            f"{(~finite).sum()} of {values.size} missing or infinite{_of(da, card)} on the pack's "
            f"grid, the first at {_place(entered, np.argwhere(~finite)[0], card)}",
            _mend_missing(da, variable, card),
        )
    # which knows codes; of packs that take any quantity, all there is
    check_values(da, units=da.encoding.get(OWN_UNITS))


def _place(da: xr.DataArray, position: Iterable[int | np.signedinteger], card: Card) -> str:
    """Return in words where a value is, by latitude and longitude if there are any."""
    names = {"y": "latitude", "x": "longitude"} if isinstance(card.grid, LatLonGrid) else {}
    parts = []
    for dim, i in zip(da.dims, position, strict=True):
        label = da[dim].values[i]
        text = str_time(label) if dim == "time" else f"{label:g}" if names else str(label)
        parts.append(f"{names.get(str(dim), dim)} {text}")
    return ", ".join(parts)


def _of(da: xr.DataArray, card: Card) -> str:
    """Return which of several inputs is meant, in words."""
    return f" in {da.name}" if len(card.inputs) > 1 else ""


def _mend(line: str, da: xr.DataArray, card: Card) -> str:
    """Return a line that mends `{da}`; of several inputs, one that mends it in its Dataset."""
    if len(card.inputs) == 1:
        return line.format(da="da")
    name = f'"{da.name}"'
    return f"ds.assign({{{name}: {line.format(da=f'ds[{name}]')}}})"


def _mend_missing(da: xr.DataArray, variable: Variable, card: Card) -> str:
    """Return the line that mends missing values, for data whose dims may have any name."""
    line = "{da}.where(np.isfinite({da}), 0)" if np.isinf(da).any() else "{da}.fillna(0)"
    meaning = "the climatology" if variable.difference else f"0 {variable.units or ''}".strip()
    filled = f"{_mend(line, da, card)}, which reads what is missing as {meaning}"
    empty = ~np.isfinite(da.to_numpy()).any(axis=(1, 2))
    if empty.any() and (empty[1:] != empty[:-1]).sum() <= 1:  # a record that begins or ends there
        several, time = len(card.inputs) > 1, da.encoding.get(OWN_TIME, "time")
        subset = f', subset=["{da.name}"]' if several else ""
        cut = f'{"ds" if several else "da"}.dropna("{time}", how="all"{subset})'
        return f"{cut}, the months with values alone, or {filled}"
    return f"{filled}, or data without gaps"


def _mend_beyond(
    values: np.ndarray, da: xr.DataArray, variable: Variable, card: Card, share: float
) -> str:
    """Return the line that mends values beyond a variable's range, which are a share of all."""
    codes = np.unique(values)
    if share < FEW and _is_near(codes, variable):
        line = f"{_clip(da, variable, card)}, for values that are real"
        code = f", or {_mend_codes(codes, da, card)}" if variable.standard_name == RAIN else ""
        return line + code
    if variable.standard_name == RAIN and (codes < 0).all() and codes.size > CODES:
        line = _mend("xef.open_radar({da}, zero_below=0)", da, card)
        return f"{line}, where nothing fell"
    if variable.standard_name == RAIN and codes.size <= CODES:
        return _mend_codes(codes, da, card)
    if share < 0.5 and variable.valid_max is not None and variable.valid_min == -variable.valid_max:
        # else units that aren't those of the numbers
        (most,) = _in_own_units(np.array([variable.valid_max]), da)
        line = _mend(f"{{da}}.where(abs({{da}}) < {most:.6g})", da, card)
        return f"{line}, for a fill value that nothing declares"
    if (np.abs(values) > 900).all():  # no unit of what packs read makes that of a value in range
        line = _mend("{da}.where(abs({da}) < 900)", da, card)
        return f"{line}, for a fill value that nothing declares"
    line = _mend("{da}.assign_attrs(units=...)", da, card)
    return f"{line}, with the units the values are in"


def _is_near(values: np.ndarray, variable: Variable) -> bool:
    """Return whether values just beyond a range may be real: no codes, and not in other units."""
    low, high = variable.valid_min, variable.valid_max
    if low is None or high is None:
        return False
    span = high - low
    above = (values > high).all() and (values <= high + span).all()
    rounded = low == 0 and (values < 0).all() and (values > -1).all()
    below = low < 0 and (values < low).all() and (values >= low - span).all()
    return bool(above or below or rounded)


def _clip(da: xr.DataArray, variable: Variable, card: Card) -> str:
    """Return the line that brings values into a variable's range, in the units the user has."""
    limits = np.array([variable.valid_min, variable.valid_max], float)
    low, high = own = _in_own_units(limits, da)
    if not np.array_equal(own, limits):  # not beyond the limit again, when converted back
        low, high = low + 1e-5 * (high - low) * (low != 0), high - 1e-5 * (high - low)
    typed = f"min={low:.7g}, max={high:.7g}"
    return _mend(f"{{da}}.clip({typed})", da, card)


def _mend_codes(codes: np.ndarray, da: xr.DataArray, card: Card) -> str:
    own = _in_own_units(codes, da)
    typed = ", ".join(f"{code:.6g}" for code in own)
    line = f"xef.open_radar({{da}}, missing={f'({typed})' if codes.size > 1 else typed})"
    return f"{_mend(line, da, card)}, for what stands for nothing seen"


def _in_own_units(values: np.ndarray, da: xr.DataArray) -> np.ndarray:
    """Return values of prepared data in the units that the user has it in."""
    back = da.encoding.get(OWN_UNITS) or da.attrs["units"]
    own = xr.DataArray(values.astype(float), attrs=da.attrs)
    return convert_units(own, back, difference=quantities.is_difference(da)).values
