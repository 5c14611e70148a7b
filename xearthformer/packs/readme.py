"""The page of a pack for people: a README.md with the front matter of the Hugging Face Hub.

A card's texts are its author's. In the front matter they are YAML strings; in the page they are
single lines whose punctuation is escaped, so that none becomes a link, HTML or a line of YAML.
"""

import re
from collections.abc import Iterable

import numpy as np
import yaml

from .card import KNOWN, Card, LatLonGrid, PixelGrid, Variable

HUB = "hf://"
TASK = "time-series-forecasting"  # the Hub's word for it
# The Hub's names of licences, which are SPDX's in lower case.
LICENCES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "lgpl-3.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
}
# What Markdown, HTML and formulas are made of; and what makes a list at the beginning of a line.
MEANING, LIST = re.compile(r"([\\`*_\[\]<>&|~#$])"), re.compile(r"^(\d*)([-+=.)])(?!\d)")


def readme(card: Card, address: str = f"{HUB}owner/name") -> str:
    """Return the page of a pack, in Markdown with YAML front matter.

    Parameters
    ----------
    card : Card
    address : str
        Where the pack is opened from, for the line that opens it.

    Examples
    --------
    >>> import xearthformer as xef
    >>> page = readme(xef.open_pack("lim").card)
    >>> print(*page.splitlines()[:4], sep="\\n")
    ---
    license: apache-2.0
    library_name: xearthformer
    pipeline_tag: time-series-forecasting
    """
    front = yaml.safe_dump(_front(card), sort_keys=False, allow_unicode=True, width=2**20)
    parts = [
        f"---\n{front}---",
        f"# {plain(card.title)}",
        f"A pack of xearthformer, which forecasts labelled data: {plain(card.name)}, "
        f"version {plain(card.version)}.",
        f'```python\nimport xearthformer as xef\n\npack = xef.open_pack("{address}")\n'
        f"fc = {'da' if len(card.inputs) == 1 else 'ds'}.earthformer.forecast(pack)\n```",
        "## What goes in, and what comes out",
        _table(["variable", "quantity", "units", "range", "missing values"], _variables(card)),
        _items(_shape(card)),
        "## What it was made from",
        _items(_training(card)),
    ]
    if card.scores:
        scores = [[plain(name), f"{value:g}"] for name, value in card.scores.items()]
        parts += ["## Scores", _table(["score", "value"], scores)]
    if card.references:
        parts += ["## References", _items(map(plain, card.references))]
    parts += [
        f"Licence of the weights: {plain(card.licence)}.",
        "Nothing in the pack is executed when it is opened, and its weights must have this hash: "
        f"{plain(card.weights_sha256 or 'none')}.",
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is.

    >>> print(plain("<b>rain</b> in [mm](x)"))
    \\<b\\>rain\\</b\\> in \\[mm\\](x)
    """
    return LIST.sub(r"\1\\\2", MEANING.sub(r"\\\1", _line(text)))


def _front(card: Card) -> dict[str, object]:
    licence = card.licence.lower()
    quantities = [variable.standard_name for variable in card.inputs.values()]
    front: dict[str, object] = {
        "license": licence if licence in LICENCES else "other",
        "library_name": "xearthformer",
        "pipeline_tag": TASK,
        "tags": ["xarray", "weather", "climate", card.model.name, *filter(None, quantities)],
    }
    if card.scores:
        result = {
            "task": {"type": TASK},
            # no data set of the Hub's; the page says which
            "dataset": {"type": "other", "name": _line(card.training.validation) or "held out"},
            "metrics": [{"type": name, "value": value} for name, value in card.scores.items()],
        }
        front["model-index"] = [{"name": card.name, "results": [result]}]
    return front


def _variables(card: Card) -> list[list[str]]:
    """Return a row for each input."""
    rows = []
    for name, one in card.inputs.items():
        quantity = f"{one.standard_name or 'any'}{', anomaly' if one.difference else ''}"
        cells = [name, quantity, one.units or "any", _range(one), one.missing]
        rows.append([plain(cell) for cell in cells])
        rows[-1][0] += "" if name in card.outputs else " (input alone)"
    return rows


def _range(one: Variable) -> str:
    bounds = ["" if bound is None else f"{bound:g}" for bound in (one.valid_min, one.valid_max)]
    return f"{bounds[0]} to {bounds[1]}".strip() if any(bounds) else "any"


def _shape(card: Card) -> list[str]:
    """Return the lines on time and space."""
    lines = [
        f"Time step: {plain(card.time_step or 'any')}. It reads {card.context} steps and forecasts "
        f"{card.lead} in one pass.",
        f"Grid: {_grid(card.grid)}",
    ]
    if card.known:
        known = ", ".join(name for name in KNOWN if name in card.known)
        lines.append(f"Brought along by itself: {known}.")
    if card.baseline is not None:
        years = " to ".join(card.baseline.period)
        lines.append(f"Anomalies against the climatology of {years}.")
    return lines


def _grid(grid: LatLonGrid | PixelGrid | None) -> str:
    if grid is None:
        return "any."
    height, width = grid.shape
    if isinstance(grid, PixelGrid):
        size = "" if grid.spacing is None else f" of {grid.spacing / 1000:g} km"
        return f"{height} x {width} pixels{size}, or any larger domain."
    sides = (
        f"{name} {values[0]:g} to {values[-1]:g} by {np.diff(values).mean():.3g}"
        for name, values in (("latitude", grid.latitude), ("longitude", grid.longitude))
    )
    return f"{height} x {width} cells, {', '.join(sides)} degrees; other grids are regridded."


def _training(card: Card) -> list[str]:
    """Return a line for each thing that the card says of the training."""
    entries = card.training.model_dump() | {"events": ", ".join(card.training.events)}
    return [f"{name.capitalize()}: {plain(text)}" for name, text in entries.items() if text]


def _line(text: str | None) -> str:
    """Return a text without line breaks; "" of None."""
    return " ".join((text or "").split())


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
