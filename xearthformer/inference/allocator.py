"""The allocator of a dask worker, told to keep what a network frees and soon asks for again.

Dask starts its worker processes with MALLOC_TRIM_THRESHOLD_=65536, so that what is freed goes back
to the system at once (`distributed.nanny.pre-spawn-environ`, distributed 2026.8). It also keeps
glibc from learning to hold larger pieces. A network asks for such pieces thousands of times, each a
page fault again: forecasts took 1.8 times as long.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MALLOC_TRIM_THRESHOLD_"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEPT, LARGEST = 64 * 2**20, 32 * 2**20  # bytes; where glibc's own learning ends
SMALLEST = 128 * 2**10  # bytes: glibc's threshold for pieces of their own at first


class _Users:
    """How many threads of this process need memory kept."""

    lock, count = threading.Lock(), 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the allocator keep what is freed in here; after it, as its environment says again."""
    told = os.environ.get(VARIABLE, "")
    if not told.isdigit() or int(told) >= KEPT or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    with _Users.lock:
        _Users.count += 1
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if not _Users.count:
                own = os.environ.get("MALLOC_MMAP_THRESHOLD_", "")
                libc.mallopt(M_MMAP_THRESHOLD, int(own) if own.isdigit() else SMALLEST)
                libc.mallopt(M_TRIM_THRESHOLD, int(told))
                libc.malloc_trim(0)
