"""Ctrl-C ends the command `xearthformer` with one line, and no traceback."""

import os
import sys
from types import TracebackType

INTERRUPTED = 130  # the exit status of shells for Ctrl-C


def say_interrupted() -> int:
    """Print the line, and return the exit status."""
    print("xearthformer: interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED


def say_so_while_loading() -> None:
    """Have Ctrl-C end the process while the command is loaded: its `main` can't tell yet."""
    sys.excepthook = _end


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        os._exit(say_interrupted())
    sys.__excepthook__(kind, error, trace)
