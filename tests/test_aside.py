"""Files and folders that are written aside: whole or not there, whoever else writes them."""

import os
import time

import pytest

from xearthformer import aside
from xearthformer.aside import KILLED, remove, written_aside


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


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_replaced_and_what_it_names_stays(tmp_path, kind, there):
    """A store was not written over a link, once all was computed."""
    path, named = tmp_path / "out", tmp_path / "named"
    if there:
        write(named, kind, "before")
    path.symlink_to("named")
    with written_aside(path) as part:
        write(part, kind, "after")
    assert read(path) == "after" and not path.is_symlink()
    assert not there or read(named) == "before"


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    names = "a.nc.0000000a", "a.nc.0000000b", "b.nc.0000000a", "a.nc.mine"
    old, new, *others = (tmp_path / f"{name}.part" for name in names)
    for left in (old, new, *others):
        left.write_text("half")
    for left in (old, *others):
        os.utime(left, times=(time.time() - 2 * KILLED,) * 2)
    with written_aside(tmp_path / "a.nc") as part:
        part.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted(["a.nc", *(p.name for p in (new, *others))])


def test_what_another_user_left_may_stay(tmp_path, monkeypatch):
    left = tmp_path / "a.nc.0000000a.part"
    left.write_text("half")
    os.utime(left, times=(time.time() - 2 * KILLED,) * 2)

    def refuse(path):
        if path == left:
            raise PermissionError(path)
        remove(path)

    monkeypatch.setattr(aside, "remove", refuse)
    with written_aside(tmp_path / "a.nc") as part:
        part.write_text("whole")
    assert (tmp_path / "a.nc").read_text() == "whole"
