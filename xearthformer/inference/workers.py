"""Who computes dask's tasks: the workers of a cluster, or this process."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT

if TYPE_CHECKING:
    from distributed import Client


def open_client() -> "Client | None":
    """The dask.distributed client of this process, if it is open and not asynchronous.

    None in a task of a cluster: all of its threads may be such tasks, that wait for each other.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client, get_worker

    with suppress(ValueError):
        get_worker()
        return None
    with suppress(ValueError):
        client = default_client()
        return None if client.asynchronous or client.status == "closed" else client
    return None


def workers() -> int:
    """How many tasks dask runs at a time: on the cluster of this process's client, or here."""
    client = open_client()
    threads = 0 if client is None else sum(client.nthreads().values())
    return threads or dask.config.get("num_workers", None) or CPU_COUNT
