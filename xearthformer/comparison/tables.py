"""More of a comparison as text: what ensembles show, FSS by scale, and confidence intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..fields.units import to_metres
from ..verification.scores import SCORES, printed_columns

WAVELENGTHS = 256, 128, 64, 32, 16, 8, 4  # km, or pixels


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
