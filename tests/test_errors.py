"""Errors that say what to type, and arguments that still answer to their old names."""

import threading
import warnings

import numpy as np
import pytest

from xearthformer.errors import ignored, renamed, whole_number


@pytest.mark.parametrize("value", [3, np.int32(3), np.array(3)])
def test_a_whole_number_of_any_type_is_an_int(value):
    assert type(whole_number("members", value)) is int and whole_number("members", value) == 3


@pytest.mark.parametrize("value", [0, -1, 1.0, True, np.True_, "3", None, np.array([1, 2])])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="members as a whole number from 1"):
        whole_number("members", value)


@renamed(scale="window")
def width(window: int = 4) -> int:
    return window


def test_an_old_name_warns_and_works():
    with pytest.warns(FutureWarning, match="width: the argument 'scale' is now 'window'") as record:
        assert width(scale=16) == 16
    assert record[0].filename == __file__  # the caller's line


def test_both_names_are_an_error():
    with pytest.raises(TypeError, match="give one"):
        width(scale=16, window=4)


def test_threads_that_ignore_warnings_leave_the_filters_as_they_were():
    before = [*warnings.filters]
    first, second, gone = (threading.Event() for _ in range(3))

    def early():
        with ignored("one"):
            first.set()
            second.wait(0.2)  # the other would set its filters meanwhile
        gone.set()

    def late():
        first.wait()
        with ignored("other"):
            second.set()
            gone.wait(0.2)

    threads = [threading.Thread(target=each) for each in (early, late)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert warnings.filters == before
