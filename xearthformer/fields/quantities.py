"""Which variable is which physical quantity: by standard_name, by common names, by attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import xarray as xr

from ..errors import mismatch
from .axes import find_time
from .time_axis import whole_years
from .units import DIFFERENCE, ON_SCALE, commensurable, is_temperature

Labelled = TypeVar("Labelled", xr.Dataset, xr.DataArray)

BOUNDS = re.compile(r"(.*_)?(bnds|bounds|bound|vertices|corners)|(bounds|bnds)_.*")
SST = "sea_surface_temperature"
RAIN, REFLECTIVITY = "rainfall_rate", "equivalent_reflectivity_factor"
RAIN_AMOUNT = "lwe_thickness_of_precipitation_amount"
RAIN_UNITS = "mm h-1"
KNOWN = "known"  # coordinate of a nowcast, with these attributes
KNOWN_ATTRS = {"long_name": "share of the value that stems from what was seen", "units": "1"}

# Standard name of a quantity: other standard names of it, and common short names.
ALIASES = {
    standard_name: names.split()
    for standard_name, names in {
        SST: """
            sea_surface_temperature_anomaly sea_surface_foundation_temperature
            sea_surface_skin_temperature sea_surface_subskin_temperature
            bulk_sea_surface_temperature
            sst ssta tos tosa sst_anom sst_anomaly ssta_anom sea_surface_temp analysed_sst
            sosstsst""",
        RAIN: """
            rainfall_flux precipitation_flux lwe_precipitation_rate precipitation_rate
            rain_rate rainrate rr precip_rate preciprate mmh prate tprate
            rain rainfall precip prec pr rate""",
        RAIN_AMOUNT: """
            rainfall_amount precipitation_amount thickness_of_rainfall_amount
            acrr precipitation accum_prcp tp tot_prec mm""",
        REFLECTIVITY: "dbz dbzh reflectivity refl rare",
        "sea_surface_height_above_geoid": """
            sea_surface_height sea_surface_height_above_sea_level
            sea_surface_height_above_mean_sea_level sea_surface_height_anomaly
            zos zosa ssh ssha sla adt sshg sossheig""",
        "depth_of_isosurface_of_sea_water_potential_temperature": """
            d20 z20 t20d iso20 so20chgt depth_20c""",
        "integral_wrt_depth_of_sea_water_potential_temperature_expressed_as_heat_content": """
            hc300 ohc300 sohtc300 ohc_300m""",
        "sea_water_potential_temperature": "t300 thetao300",
    }.items()
}


def names_of(standard_name: str) -> set[str]:
    """Return every name of a quantity: its standard name and, in lower case, the aliases."""
    return {standard_name, *ALIASES.get(standard_name, ())}


def same_quantity(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Return whether data is of one quantity, by the standard names of both; True without these.

    "unknown" is cfgrib's word for none. Capitals and spaces, as old files have, don't count.
    """
    names = [
        "_".join(str(da.attrs.get("standard_name", "")).lower().split()) for da in (one, other)
    ]
    known = [
        next((key for key in ALIASES if name in names_of(key)), name.removesuffix("_anomaly"))
        for name in names
    ]
    return not {"", "unknown"}.isdisjoint(names) or known[0] == known[1]


def has(ds: xr.Dataset, standard_name: str) -> bool:
    """Return whether a Dataset has a variable of this quantity, by attribute or by name."""
    names = names_of(standard_name)
    return any(
        str(name).lower() in names or da.attrs.get("standard_name") in names
        for name, da in ds.items()
    )


def is_difference(da: xr.DataArray) -> bool:
    """Return whether the values are anomalies, by their attributes.

    `units_metadata` decides (CF 1.11, section 3.1.2). Without it, units such as delta_degC or
    "anomaly" in a name. Not the `climatology_period` that `climate.anomaly` leaves: a climatology
    has it too, and xarray keeps it in their sum, which is none.
    """
    stated = str(da.attrs.get("units_metadata", "")).replace(": ", ":")
    if stated in ("temperature:difference", "temperature:on_scale"):
        return stated == "temperature:difference"
    names = f"{da.attrs.get('standard_name', '')} {da.attrs.get('long_name', '')}".lower()
    units = str(da.attrs.get("units", ""))
    return "anomal" in names or units.startswith("delta_")


def find_variable(ds: xr.Dataset, *, standard_name: str | None, difference: bool) -> str:
    """Return the name of the one variable of a Dataset that is the quantity asked for.

    The attribute standard_name comes first, then common short names (sst, ssta, tos, ...). Of
    several matches, the one that is an anomaly if `difference`, else the one that is not. With
    `standard_name` None, the only variable on a grid. None or two raise ValueError.
    """
    cells = of_cells(ds)
    on_grid = [
        str(n)
        for n, da in ds.data_vars.items()
        if da.ndim > 2 and da.dtype.kind in "fiu" and n not in cells
    ]
    matches = on_grid
    if standard_name is not None:
        names = names_of(standard_name)
        by_attribute = [n for n in on_grid if ds[n].attrs.get("standard_name") in names]
        by_name = [n for n in on_grid if n.lower() in names]
        matches = by_attribute or by_name
        # NCEI's: the absolute values have a standard_name, and the anomaly next to them none
        if by_attribute and not _of_kind(ds, by_attribute, difference):
            matches = _of_kind(ds, by_name, difference) or matches
    if len(matches) > 1:
        matches = _of_kind(ds, matches, difference) or matches
    if len(matches) == 1:
        if difference and not is_difference(ds[matches[0]]):
            _check_others(ds, matches[0], _of_kind(ds, on_grid, difference), standard_name)
        return matches[0]
    quantity = f"{standard_name or 'one variable on a grid'}{' (anomaly)' if difference else ''}"
    listed = "".join(f"\n         {_describe(ds[n])}" for n in matches or ds.data_vars)
    if matches:
        others = ", ".join(f'"{name}"' for name in matches[1:])
        hint = f"ds.drop_vars([{others}]), to keep {matches[0]}"
        raise mismatch(f"one variable that is {quantity}", f"{len(matches)}:{listed}", hint)
    hint = f'ds["..."].attrs["standard_name"] = "{standard_name}"' if standard_name else 'ds["..."]'
    if standard_name == RAIN and (has(ds, REFLECTIVITY) or has(ds, RAIN_AMOUNT)):
        hint = "xef.open_radar(ds), which makes it a rain rate"
    raise mismatch(f"a variable that is {quantity}", listed.strip() or "no data variables", hint)


def _of_kind(ds: xr.Dataset, names: Iterable[str], difference: bool) -> list[str]:
    """Return those of some variables that are anomalies, or those that are not."""
    return [name for name in names if is_difference(ds[name]) == difference]


def _check_others(
    ds: xr.Dataset, absolute: str, anomalies: list[str], standard_name: str | None
) -> None:
    """Name the anomaly next to absolute values: OISST's has no name that tells its quantity."""
    units = str(ds[absolute].attrs.get("units", ""))
    others = [n for n in anomalies if commensurable(str(ds[n].attrs.get("units", "")), units)]
    if others and standard_name:
        raise mismatch(
            "an anomaly",
            f"absolute values of {absolute}, and {_describe(ds[others[0]])}",
            f'ds["{others[0]}"].assign_attrs(standard_name="{standard_name}"), if that is its '
            f'anomaly, or ds["{absolute}"].earthformer.anomaly({years_of(ds[absolute])})',
        )


def on_each(
    obj: Labelled, function: Callable[[xr.DataArray], xr.DataArray], dims: Iterable[str]
) -> Labelled:
    """Apply `function` to a DataArray, or to each floating-point variable of a Dataset on `dims`.

    The other variables stay as they are, bounds among them, and so do coordinates that stand on
    none of them; those along a dim that `function` removes are dropped. `history` of a Dataset goes
    on with that of its variables. A Dataset without a floating-point variable on all of `dims`
    raises ValueError, and integers that are still packed raise TypeError.
    """
    if isinstance(obj, xr.DataArray):
        check_unpacked(obj)
        return function(obj)
    required, cells = set(dims), of_cells(obj)
    on_dims = {n: da for n, da in obj.data_vars.items() if required.issubset(da.dims)}
    for da in on_dims.values():
        check_unpacked(da)
    results = {
        name: function(da)
        for name, da in on_dims.items()
        if da.dtype.kind == "f" and name not in cells
    }
    others = {name: da for name, da in obj.data_vars.items() if name not in results}
    if not results:
        found = ", ".join(f"{da.dtype} {name}{da.dims}" for name, da in others.items())
        raise mismatch(
            f"a floating-point variable with {' and '.join(sorted(required))}",
            found or "no data variables",
            'ds["..."].astype("float32")',
        )
    removed = required.difference(*(da.dims for da in results.values()))
    others = {name: da for name, da in others.items() if removed.isdisjoint(da.dims)}
    out = xr.Dataset({**results, **others}, attrs=obj.attrs)
    lines: list[str] = [str(da.attrs.get("history", "")).split("\n")[-1] for da in results.values()]
    if "history" in obj.attrs and lines[0]:
        out.attrs["history"] = "\n".join([obj.attrs["history"], *dict.fromkeys(lines)])
    carried = {name for da in obj.data_vars.values() for name in da.coords}
    alone = {name: c.variable for name, c in obj.coords.items() if name not in carried}
    fits = {**obj.sizes, **out.sizes}  # not along a dim that `function` has cut
    kept = {
        name: c
        for name, c in alone.items()
        if removed.isdisjoint(c.dims) and all(fits[dim] == n for dim, n in c.sizes.items())
    }
    return out.assign_coords(kept)


def of_cells(ds: xr.Dataset) -> set[str]:
    """Return the names of variables that describe cells: their bounds, along time too, and areas.

    By the attributes of what they describe, in the encoding where xarray has decoded it; else by
    the names that models and tools give to bounds.

    >>> sorted(of_cells(xr.Dataset({"sst": 0.0, "time_bnds": 0.0, "bounds_lat": 0.0})))
    ['bounds_lat', 'time_bnds']
    """
    stated = {
        word
        for variable in ds.variables.values()
        for kind in (variable.attrs, variable.encoding)
        for key in ("bounds", "climatology", "cell_measures")
        for word in str(kind.get(key, "")).split()
    }
    return {
        str(name)
        for name in ds.variables
        if name in stated or BOUNDS.fullmatch(str(name).lower()) is not None
    }


def check_float(da: xr.DataArray) -> None:
    """Raise TypeError for dtypes that hold no NaN: integers (packed data?), booleans, objects.

    So do floats of more than eight bytes, which few libraries know.
    """
    check_unpacked(da)
    if da.dtype.kind != "f" or da.dtype.itemsize > 8:
        found = f"{da.dtype} ({_describe(da)})"
        hint = f'da.astype("{"float32" if da.dtype.kind != "f" else "float64"}")'
        raise TypeError(str(mismatch("floating-point data", found, hint)))


def check_unpacked(da: xr.DataArray) -> None:
    """Raise TypeError for what is no float and has attributes that say how to unpack it."""
    if da.dtype.kind != "f" and {"scale_factor", "add_offset", "_FillValue"} & {*da.attrs}:
        found = f"{da.dtype} ({_describe(da)})"
        hint = f"ds = xr.decode_cf(ds), as the data is packed, or of an array {decoded(da)}"
        raise TypeError(str(mismatch("floating-point data", found, hint)))


def decoded(da: xr.DataArray) -> str:
    """Return the line that decodes an array that was opened as it is stored."""
    name = da.name or "data"
    return f'xr.decode_cf(da.to_dataset(name="{name}"))["{name}"]'


def check_quantity(da: xr.DataArray, standard_name: str | None, difference: bool) -> None:
    """Raise ValueError for another quantity, or for one of anomalies and absolute values.

    Data without a standard_name passes: many files have none.
    """
    found = da.attrs.get("standard_name", "unknown")
    named = found if found != "unknown" else str(da.name).lower()
    units = str(da.attrs.get("units", ""))
    if standard_name == RAIN and named in names_of(REFLECTIVITY) and not _is_of_rain(units):
        hint = 'xef.open_radar(da.assign_attrs(units="dBZ")), if that is what the numbers are in'
        raise mismatch("a rain rate in mm h-1", f"{_describe(da)}, without units of rain", hint)
    if standard_name and found not in {"unknown", *names_of(standard_name)}:
        hint = f'da.assign_attrs(standard_name="{standard_name}"), if that is what it is'
        if standard_name == RAIN and found in names_of(REFLECTIVITY):
            hint = "xef.open_radar(da), which makes it a rain rate"
        if standard_name == RAIN and found in names_of(RAIN_AMOUNT):
            hint = "xef.open_radar(da), which divides amounts by the time they fell in"
        raise mismatch(standard_name, _describe(da), hint)
    if is_difference(da) == difference:
        return
    if difference:
        expected, other, mark = "an anomaly", "absolute values", f'units_metadata="{DIFFERENCE}"'
        if not is_temperature(str(da.attrs.get("units", ""))):  # of which CF has no such mark
            mark = f'long_name="{da.name or "data"} anomaly"'
        hint = f"da.earthformer.anomaly(climatology={years_of(da)}), or if these are anomalies"
    else:
        expected, other, mark = "absolute values", "an anomaly", f'units_metadata="{ON_SCALE}"'
        hint = 'da + climatology.sel(month=da["time"].dt.month), or if these are absolute values'
    hint += f" already da.assign_attrs({mark})"
    raise mismatch(expected, f"{other}: {_describe(da)}", hint)


def _is_of_rain(units: str) -> bool:
    """Return whether units are of something that becomes a rain rate."""
    kinds = ("mm h-1", "kg m-2 h-1", "mm", "kg m-2", "dBZ", "mm6 m-3")
    return any(commensurable(units, one) for one in kinds)


def years_of(da: xr.DataArray) -> str:
    """Return the years of a climatology that the record holds: 1981-2010, else the latest thirty.

    >>> time = xr.date_range("1960-01", periods=600, freq="MS")
    >>> years_of(xr.DataArray(time, dims="time", coords={"time": time}))
    '("1980", "2009")'
    """
    time = da[find_time(da)]
    first, last = whole_years(time) if time.dtype.kind in "MO" else (1981, 2010)
    if first <= 1981 and last >= 2010 or first > last:
        first, last = 1981, 2010
    return f'("{max(first, last - 29):04d}", "{last:04d}")'


def _describe(da: xr.DataArray) -> str:
    """Return a variable in one line: its name, dims and the attributes that identify it."""
    keys = [key for key in ("standard_name", "long_name", "units") if key in da.attrs]
    attributes = ", ".join(f"{key}={da.attrs[key]!r}" for key in keys) or "no attributes"
    return f"{da.name or 'data'}({', '.join(map(str, da.dims))}) {attributes}"
