"""What a dask worker's allocator is told, and that it is told the opposite again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from xearthformer.inference.allocator import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(2**22, "f4")  # 16 MB: more than any hole that imports leave in the heap
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
with kept_memory():
    with kept_memory():  # of another thread, say
        faults()
    within = faults()
print(before, within, faults())
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own settings")


def page_faults(monkeypatch, threshold):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", threshold)
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    return [int(count) for count in done.stdout.split()]


@needs_glibc
def test_memory_is_kept_within_and_given_back_after(monkeypatch):
    """Dask's setting: each piece is 4096 page faults, or as many as the system's pages are."""
    before, within, after = page_faults(monkeypatch, "65536")
    assert before >= 50 and after >= 50
    assert within < before / 10


@needs_glibc
@pytest.mark.parametrize("threshold", ["", "99999999999", "many"])
def test_another_setting_is_left_as_it_is(monkeypatch, threshold):
    before, within, after = page_faults(monkeypatch, threshold)
    assert max(within, after) < 50 + 2 * before
