"""Files and folders that are written aside: whole or not there, whoever else writes them."""

import os
import time

import pytest

from xearthformer.aside import KILLED, written_aside


def write(part, kind, text):
    if kind == "folder":
        part.mkdir()
        part /= "file"
    part.write_text(text)


def read(path):
    return (path / "file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_that_write_at_once_each_is_whole(tmp_path, kind):
    path = tmp_path / "out"
    with written_aside(path) as one:
        write(one, kind, "half")
        with written_aside(path) as two:
            write(two, kind, "the other's")
        assert read(path) == "the other's"
        write(one if kind == "file" else one / "more", "file", "all of the first")
    assert (path / "more" if kind == "folder" else path).read_text() == "all of the first"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_leaves_what_was_there(tmp_path, kind):
    path = tmp_path / "out"
    write(path, kind, "before")
    with pytest.raises(OSError, match="full"), written_aside(path) as part:
        write(part, kind, "half")
        raise OSError("the disk is full")
    assert read(path) == "before" and os.listdir(tmp_path) == ["out"]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    old, new, others = (tmp_path / f"{name}.part" for name in ("a.nc.1", "a.nc.2", "b.nc.1"))
    for left in (old, new, others):
        left.write_text("half")
    for left in (old, others):
        os.utime(left, times=(time.time() - 2 * KILLED,) * 2)
    with written_aside(tmp_path / "a.nc") as part:
        part.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "a.nc.2.part", "b.nc.1.part"]
