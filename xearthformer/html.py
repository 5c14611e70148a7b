"""Tables as notebooks show them: what an object is, at a glance."""

from collections.abc import Iterable
from html import escape

# Notebooks put text to the right; long texts would leave names no room.
CELL = 'style="text-align: left; vertical-align: top"'
HEAD = 'style="text-align: left; vertical-align: top; min-width: 14em"'


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a title over rows of a name and a text, all of them escaped.

    What is shown may be other people's text, as a pack's card is: it stays text. Long names may
    break after a dot or an underscore.

    >>> from re import sub
    >>> print(sub(" style=.*?>", ">", html_table("lim", [("sst.units", "sst < 40")])))
    <strong>lim</strong><table><tr><th>sst.<wbr>units</th><td>sst &lt; 40</td></tr></table>
    """
    cells = ((_breakable(escape(name)), escape(text)) for name, text in rows)
    lines = (f"<tr><th {HEAD}>{name}</th><td {CELL}>{text}</td></tr>" for name, text in cells)
    return f"<strong>{escape(title)}</strong><table>{''.join(lines)}</table>"


def _breakable(name: str) -> str:
    return name.replace(".", ".<wbr>").replace("_", "_<wbr>")
