"""Tables as notebooks show them: what an object is, at a glance."""

from collections.abc import Iterable
from html import escape


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a title over rows of a name and a text, all of them escaped.

    What is shown may be other people's text, as a pack's card is: it stays text.

    >>> html_table("lim", [("inputs", "sst < 40")])
    '<strong>lim</strong><table><tr><th>inputs</th><td>sst &lt; 40</td></tr></table>'
    """
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<strong>{escape(title)}</strong><table>{''.join(lines)}</table>"
