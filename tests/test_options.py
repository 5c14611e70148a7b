"""Settings of the session."""

import pytest

import xearthformer as xef
from xearthformer.options import OPTIONS


def test_set_for_good_and_for_a_while():
    with xef.set_options(progress=False):
        assert OPTIONS["progress"] is False
    assert OPTIONS["progress"] is True


@pytest.mark.parametrize("settings", [{"colour": True}, {"progress": "no"}])
def test_what_there_is_not_is_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        xef.set_options(**settings)
    assert OPTIONS == {"progress": True}


def test_a_bar_shows_when_it_takes_long(monkeypatch, capsys):
    import sys

    from xearthformer import forecast  # noqa: F401  (the function; its module is loaded by it)

    module = sys.modules["xearthformer.forecast"]
    now = iter(range(0, 1000, 3))
    monkeypatch.setattr("tqdm.std.time", lambda: next(now))
    for shown in (True, False):
        with xef.set_options(progress=shown), module._bar(3, "init") as bar:
            bar.update(1)
            bar.update(1)
        assert ("init" in capsys.readouterr().err) is shown
