"""A comparison as text: its scores, by lead, of ensembles, FSS by scale, with their confidence."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..fields.units import to_metres
from ..verification.scores import SCORES, further_dims, printed_columns

WAVELENGTHS = 256, 128, 64, 32, 16, 8, 4  # km, or pixels
OF_EVENTS = "csi", "fss"  # without a value where nothing was forecast, and nothing observed


def summary(result: xr.Dataset, further: Sequence[str] = ()) -> str:
    """Return the result of `compare` as a table: means over the leads, and the pairs of values.

    The columns are the scores that the registry prints and further ones, those by threshold first.
    Lines below say why events have no score, and which scores are no column, where that is so.

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
    for name, title in printed_columns(result, further).items():
        entry, mean = SCORES[name], result[name].mean("lead", skipna=False, keep_attrs=True)
        if "window" in mean.dims:  # the first one; all are in `fss_tables`
            mean = mean.isel(window=0, drop=True)
        heading = f"{title} {window}" if entry.group.window else title
        if "threshold" in mean.dims:
            for at in mean["threshold"].values:
                columns[heading, f"{at:g}"] = mean.sel(threshold=at).values
        else:
            units = mean.attrs.get("units", "") if entry.power else ""  # none of a pure number
            columns[heading, units] = mean.values
    columns["pairs", ""] = result["n"].sum("lead").values
    text = _text(pd.DataFrame(columns, index=result["forecast"].values))
    return "\n".join([text, *_without_events(result), *_without_column(result, further)])


def _without_events(result: xr.Dataset) -> Iterator[str]:
    """Yield a line where a mean over the leads is missing as one of them had no events at all."""
    titles = printed_columns(result)
    empty = [titles[name] for name in OF_EVENTS if name in titles and _has_none(result, name)]
    if empty:
        reason = "at some lead nothing reached the threshold, observed or forecast"
        yield f"- for {' and '.join(empty)}: {reason}"


def _without_column(result: xr.Dataset, further: Sequence[str]) -> Iterator[str]:
    """Yield a line for each score that was asked for and that the table has no room for."""
    for name in further:
        if dims := further_dims(result[name]):
            yield f"{name} has a value for each {' and '.join(dims)}: a file of the scores has them"


def _has_none(result: xr.Dataset, name: str) -> bool:
    """Return whether a score is missing at some lead that has pairs of values."""
    return bool((result[name].isnull() & (result["n"] > 0)).any())


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


def ensemble_tables(result: xr.Dataset) -> str:
    """Return what `compare` found of ensembles: ranks, and power by wavelength; "" without any.

    Examples
    --------
    >>> ranks = (("forecast", "lead", "rank"), [[[1.0, 2.0, 1.0]]])
    >>> print(ensemble_tables(xr.Dataset({"rank_histogram": ranks}, {"forecast": ["steps"]})))
    Share of observations below all members, and above them
           lowest  highest  of a perfect ensemble
    steps   0.250    0.250                  0.333
    """
    tables = []
    if "rank_histogram" in result or "rank_lowest" in result:
        tables.append(_rank_table(result))
    if "spectrum_ratio" in result:
        tables.append(_power_table(result))
    return "\n\n".join(tables)


def fss_tables(result: xr.Dataset) -> str:
    """Return FSS by scale and threshold, means over the leads, one table for each forecast.

    Of widths that are the same number of pixels, the last is shown.
    """
    units = str(result["threshold"].attrs.get("units", ""))
    tables = []
    for name in result["forecast"].values:
        mean = result["fss"].sel(forecast=name).mean("lead", skipna=False)
        mean = mean.isel(window=_each_once(result)).transpose("window", "threshold")
        widths = [_width(label) for label in mean["window"].values]
        columns = [f"{at:g}" for at in mean["threshold"].values]
        table = pd.DataFrame(mean.values, widths, columns)
        tables.append(f"FSS of {name}, by width and threshold ({units})\n{_text(table)}")
    return "\n\n".join(tables)


def confidence_tables(result: xr.Dataset, further: Sequence[str] = ()) -> str:
    """Return the printed scores with the ends of their intervals, over all leads together."""
    words = result.attrs.get("confidence", "")
    table = _pooled_table(result, "", further).to_string()
    return f"All leads together, with confidence intervals of {words}\n{table}"


def skill_table(result: xr.Dataset, reference: str, further: Sequence[str] = ()) -> str:
    """Return the skill of the printed scores against a reference, over all leads together.

    Examples
    --------
    >>> skill = {"mse": ("forecast", [4.0, 2.0]), "mse_pooled_skill": ("forecast", [0.0, 0.5])}
    >>> print(skill_table(xr.Dataset(skill, {"forecast": ["persistence", "a"]}), "persistence"))
    Skill against persistence, all leads together: 1 perfect, 0 no better
        persistence     a
    MSE       0.000 0.500
    """
    table = _pooled_table(result, "_skill", further)
    words = f"Skill against {reference}, all leads together: 1 perfect, 0 no better"
    return f"{words}\n{_text(table)}"


def _pooled_table(result: xr.Dataset, suffix: str, further: Sequence[str]) -> pd.DataFrame:
    """Return scores of all leads together by forecast, with the ends of their intervals if any."""
    columns = {}
    for name, title in printed_columns(result, further).items():
        key = f"{name}_pooled{suffix}"
        if key not in result:
            continue
        ends = ["", "_low", "_high"] if f"{key}_low" in result else [""]
        parts = [result[key + end] for end in ends]
        parts = [da.isel(window=0, drop=True) if "window" in da.dims else da for da in parts]
        units = parts[0].attrs.get("units", "") if SCORES[name].power and not suffix else ""
        labels = [f"{title} {units}".strip()]
        values = [[da.values] for da in parts]
        if "threshold" in parts[0].dims:
            labels = [f"{title} {at:g}" for at in parts[0]["threshold"].values]
            values = [list(da.transpose("threshold", "forecast").values) for da in parts]
        for label, *each in zip(labels, *values, strict=True):
            columns[label] = [_with_ends(*numbers) for numbers in zip(*each, strict=True)]
    return pd.DataFrame(columns, index=result["forecast"].values).T


def _with_ends(value: float, *ends: float) -> float | str:
    """Return a score, and the ends of its interval in brackets."""
    if not ends:
        return value
    low, high = ends[:2]
    if not np.isfinite([low, high]).all():  # of a label with too few inits
        return f"{value:.3f}" if np.isfinite(value) else "-"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _rank_table(result: xr.Dataset) -> str:
    """Return how many observations lie below all members, and above them."""
    ranks = result["rank_histogram"].sum("lead")
    rows = {}
    for name in result["forecast"].values:
        counts = ranks.sel(forecast=name).dropna("rank").values
        if counts.sum():
            rows[name] = counts[0] / counts.sum(), counts[-1] / counts.sum(), 1 / counts.size
    columns = ["lowest", "highest", "of a perfect ensemble"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return f"Share of observations below all members, and above them\n{_text(table)}"


def _power_table(result: xr.Dataset) -> str:
    """Return power over that observed, of all leads together and of the last one."""
    last = result["spectrum_ratio"].isel(lead=-1)
    pooled = result["spectrum_ratio_pooled"]
    units = str(pooled["wavelength"].attrs.get("units", "1"))
    metres = to_metres(units)
    name, size = ("px", 1.0) if metres is None else ("km", metres / 1000)
    lengths = pooled["wavelength"].values * size
    shown = [km for km in WAVELENGTHS if lengths.min() <= km * 1.01 and km <= lengths.max()]
    at = [int(np.abs(lengths - km).argmin()) for km in shown]
    parts = {}
    for forecast in result["forecast"].values:
        parts[f"{forecast}"] = pooled.sel(forecast=forecast).isel(wavelength=at).values
        parts[f"{forecast}, last lead"] = last.sel(forecast=forecast).isel(wavelength=at).values
    table = pd.DataFrame.from_dict(parts, orient="index", columns=[f"{km} {name}" for km in shown])
    return f"Power over that observed, by wavelength\n{_text(table)}"


def _each_once(result: xr.Dataset) -> list[int]:
    """Return the positions of the windows, of those of the same pixels the last."""
    said = str(result.attrs.get("fss_window", "")).split(", ")  # "16 km: 16 x 16 pixels", ...
    if len(said) < result.sizes["window"]:
        return list(range(result.sizes["window"]))
    return sorted({words.partition(": ")[2]: k for k, words in enumerate(said)}.values())


def _width(label: object) -> str:
    """Return the width of a neighbourhood: a length as it is, a number as pixels."""
    text = str(label)
    return f"{float(text):g} px" if text.replace(".", "", 1).isdigit() else text


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")
