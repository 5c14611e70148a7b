"""What `fc.earthformer` shows: whose forecast it is, from when, how far, and where it is known."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from .axes import Data
from .time_axis import str_time

MINUTE = np.timedelta64(1, "m")
MINUTES_UP_TO = np.timedelta64(3, "h")  # leads of a nowcast; longer ones are told in hours


def summary(obj: Data) -> list[tuple[str, str]]:
    """Return name and text of what a user wants to know of a forecast first; of data, what it is.

    Nothing is computed or read for it: what is not in memory is named, not counted.

    >>> labels = {"init": np.array(["2000-01"], "M8[ns]"), "lead": [1, 2, 3]}
    >>> fc = xr.DataArray(np.zeros((1, 3)), labels, name="sst", attrs={"pack": "lim"})
    >>> fc["lead"].attrs["units"] = "months"
    >>> for row in summary(fc):
    ...     print(*row)
    variable sst (init: 1, lead: 3)
    pack lim
    init 2000-01-01
    lead 1 to 3 months (3)
    """
    variables = [*obj.data_vars.values()] if isinstance(obj, xr.Dataset) else [obj]
    rows = [("variable", _described(variable)) for variable in variables]
    attrs = {key: text for variable in variables for key, text in variable.attrs.items()}
    if "pack" in attrs:
        rows.append(("pack", f"{attrs['pack']} {attrs.get('pack_version', '')}".strip()))
    spans: dict[str, Callable[[xr.DataArray], str]] = {
        "init": lambda init: _span(init, str_time),
        "lead": _leads,
        "valid_time": lambda time: _span(time, str_time, count=False),
        "member": lambda member: str(member.size),
        "known": _known,
    }
    shown = {name: text for name, text in spans.items() if name in obj.coords}
    return rows + [(name, text(obj[name])) for name, text in shown.items()]


def _described(variable: xr.DataArray) -> str:
    sizes = ", ".join(f"{dim}: {size}" for dim, size in variable.sizes.items())
    units = [str(variable.attrs["units"])] if "units" in variable.attrs else []
    return " ".join([str(variable.name or "without a name"), f"({sizes})", *units])


def _span(labels: xr.DataArray, text: Callable[..., str], count: bool = True) -> str:
    """Return the first and last of labels, and how many there are."""
    if not _in_memory(labels):
        return "not loaded"
    values = labels.values.ravel()
    if len(values) < 2:
        return "".join(map(text, values))
    ends = f"{text(values.min())} to {text(values.max())}"
    return f"{ends} ({len(values)})" if count else ends


def _leads(lead: xr.DataArray) -> str:
    """Return leads in their own units; durations in minutes or hours."""
    unit = str(lead.attrs.get("units", ""))
    if lead.dtype.kind == "m":
        short = (lead.values <= MINUTES_UP_TO).all()
        unit, one = ("min", MINUTE) if short else ("h", 60 * MINUTE)
        lead = lead / one
    elif lead.size == 1 and lead == 1:
        unit = unit.removesuffix("s")
    ends, _, count = _span(lead, "{:g}".format).partition(" (")
    return f"{ends} {unit}".strip() + (count and f" ({count}")


def _known(known: xr.DataArray) -> str:
    """Return the share of values that stems from what was seen, at the first and the last lead."""
    if not _in_memory(known):
        return "not loaded"
    share = known.mean([dim for dim in known.dims if dim != "lead"]).values.ravel()
    if len(share) < 2:
        return f"{share[0]:.0%}"
    return f"{share[0]:.0%} at the first lead, {share[-1]:.0%} at the last"


def _in_memory(labels: xr.DataArray) -> bool:
    return bool(getattr(labels.variable, "_in_memory", False))
