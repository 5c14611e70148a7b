"""The figures of "How it works", drawn by matplotlib: python docs/figures.py FOLDER."""

import sys
from pathlib import Path


def draw_all(folder: Path) -> None:
    """Draw every figure into a folder, unless they are there and newer than this file."""


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
