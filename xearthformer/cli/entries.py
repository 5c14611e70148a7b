"""Configuration files: YAML, read as plain data of a bounded size."""

import math
import re
from itertools import chain
from pathlib import Path

import yaml

from ..errors import mismatch

MOST_TEXT = 20_000  # characters of a text: YAML's parser may take a second for them,
MOST_DATA = 200_000  # and of what it says once aliases are written out

OTHERS = "timestamp", "int", "float"  # tags that are read otherwise here
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
    r"|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)

HINT = "quotes around text with : # [ ] { } ! & or *, and blanks in place of tabs"


class _Loader(yaml.SafeLoader):
    """A loader of plain data: dates stay text, and no key is given twice in silence.

    Numbers are those of YAML 1.2, but that 0850, a year, stays text: 1.1, which PyYAML reads, has
    octal numbers, 1:30 as ninety, and 1e-4 as text.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.split(":")[-1] not in OTHERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # here, since merging puts into a node the keys that its own replace
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, name in enumerate(names):
            if name in names[:i] and id(node) not in self.merged:
                where = _place(node.value[i][0].start_mark)
                raise mismatch("each key once", f"{where}: {name!r} again", f"one entry {name}")
        self.merged.add(id(node))
        super().flatten_mapping(node)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.merged: set[int] = set()


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", INTEGER, [*"-+0123456789"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, [*"-+.0123456789"])


def read_text(path: str | Path) -> str:
    """Return the text of a configuration file, or as much of it as `load_yaml` needs to refuse."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(MOST_TEXT + 1)
    except UnicodeDecodeError as error:
        raise mismatch("a text file in UTF-8", f"{path}: {error.reason}", "to save it so") from None


def load_yaml(text: str, what: str) -> object:
    """Return what a YAML text says, or raise one ValueError that says where it can't be read.

    A tag that would make anything but plain data is refused, and so is a text that is too long, or
    stands for one that is: an alias repeats all that its anchor names, other aliases too.

    >>> load_yaml("epochs: 3", "the configuration")
    {'epochs': 3}
    >>> load_yaml("title: of: two", "the configuration")
    Traceback (most recent call last):
    ...
    ValueError: expected YAML in the configuration
       found line 1, column 10: mapping values are not allowed here
         try quotes around text with : # [ ] { } ! & or *, and blanks in place of tabs
    """
    if len(text) > MOST_TEXT:
        raise mismatch(f"at most {MOST_TEXT} characters in {what}", "more", "a shorter file")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None and _length(node, {}) > MOST_DATA:
            expected = f"at most {MOST_DATA} characters in {what}, aliases written out"
            raise mismatch(expected, "more", "fewer aliases (*name)")
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        found = f"{_place(error.problem_mark)}: {error.problem}"
        raise mismatch(f"YAML in {what}", found, HINT) from None
    except yaml.YAMLError as error:
        raise mismatch(f"YAML in {what}", str(error), HINT) from None
    except RecursionError:
        raise mismatch(f"YAML in {what}", "entries in entries without end", HINT) from None


def _length(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of characters of a node, aliases written out; infinite where it repeats."""
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: met again inside of itself
        pairs = (part if isinstance(part, tuple) else (part,) for part in node.value)
        known[id(node)] = 1 + sum(_length(part, known) for part in chain.from_iterable(pairs))
    return known[id(node)]


def _place(mark: yaml.Mark | None) -> str:
    return "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
