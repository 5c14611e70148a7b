"""Parts of a computation next to one another, each on one thread.

Torch shares the work of one operation between threads of its own: the order of sums, and so the
last bits of a result, then depend on how many there are, and on a busy machine they wait for one
another. Here the caller says what the parts are, and a part is the same whatever runs it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


class _Thread(threading.local):
    has_part = False  # whether this thread, one of the pool's, is at a part


_thread = _Thread()


class _Pool:
    """The threads of this process, started when there is work for two."""

    def __init__(self) -> None:
        self.lock, self.executor = threading.Lock(), None

    def get(self) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None:
                self.executor = _started(workers())
            return self.executor


_pool = _Pool()


def _forget() -> None:
    """In a process that was forked: threads stay behind."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _started(count: int) -> ThreadPoolExecutor:
    """A pool whose threads are all there, each with one thread of torch's."""
    before, all_there = torch.get_num_threads(), threading.Barrier(count + 1)

    def start() -> None:
        torch.get_num_threads()  # or the first operation would set what all threads start with
        torch.set_num_threads(1)
        _thread.has_part = True
        all_there.wait()

    executor = ThreadPoolExecutor(count, "xearthformer", start)
    for _ in range(count):
        executor.submit(lambda: None)
    all_there.wait()
    torch.set_num_threads(before)  # what new threads of others start with
    return executor


def workers() -> int:
    """Number of parts that run at a time.

    In a process that another one started, as workers of dask's are, one: they are as many as there
    are cores, and each of their own threads runs a part.
    """
    if multiprocessing.parent_process() is not None:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    function: Callable[[Part], Result], parts: Iterable[Part], device: torch.device | str = "cpu"
) -> list[Result]:
    """Return what a function makes of each part, in order.

    On a CPU parts run next to one another; parts of a part one after another, but those of a part
    that is alone next to one another. Gradients and autocast are on or off as they are here. An
    error of a part is raised here.

    Examples
    --------
    >>> each(torch.sum, [torch.ones(2), torch.ones(3)])
    [tensor(2.), tensor(3.)]
    """
    parts = list(parts)
    if torch.compiler.is_compiling() or _thread.has_part or torch.device(device).type != "cpu":
        return [function(part) for part in parts]
    if len(parts) < 2 or workers() < 2:
        with one_thread():
            return [function(part) for part in parts]
    gradients, autocast = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    def run(part: Part) -> Result:
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", dtype, enabled=autocast):
            return function(part)

    return list(_pool.get().map(run, parts))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for what is called in here."""
    if (before := torch.get_num_threads()) == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
