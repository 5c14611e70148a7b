"""Ctrl-C while the command `xearthformer` is loaded: one line, as later on, and no traceback."""

import os
import sys
from types import TracebackType

INTERRUPTED = 130  # the exit status of shells for Ctrl-C


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("xearthformer: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


sys.excepthook = _say
