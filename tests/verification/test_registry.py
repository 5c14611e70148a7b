"""The registry of scores: one entry in a family's table is all that a new score needs."""

import dataclasses
import inspect

import numpy as np
import pytest
import xarray as xr
from test_verify import forecasts, observations

import xearthformer as xef
from xearthformer.verification import scores
from xearthformer.verification.base import Group, Score
from xearthformer.verification.verify import statistics, verify


def largest_miss(pair, measure):
    """Sum over frames of the largest error of a frame."""
    return np.array([np.abs(pair.forecast - pair.observed)[pair.valid].max(initial=0)])


TOY = Score(
    "largest error of a frame",
    Group(("miss",), largest_miss),
    lambda total: total["miss"] / total["n"],
    power=1,
    column="MISS",
    about="a toy",
    default=True,
)


@pytest.fixture
def pair():
    """One frame with the errors -1, 1, -4, 0."""
    observed = observations([[[0, 0], [0, 0]], [[4, 1], [5, 0]]])
    return forecasts(observed, [[[[3, 2], [1, 0]]]]), observed


def test_a_score_is_one_entry(monkeypatch, pair):
    monkeypatch.setitem(scores.SCORES, "toy", TOY)
    # the largest error is 4, of four pixels
    toy = verify(*pair, ["toy"])
    assert toy["toy"].values.tolist() == [1] and toy["toy_pooled"].item() == 1
    assert toy["toy"].attrs == {"long_name": "largest error of a frame", "units": "mm h-1"}
    assert "toy" in verify(*pair) and "toy" in scores.default_scores((), None)
    assert "- `toy` (by default): largest error of a frame; a toy" in scores.describe_scores()
    # what the command line prints is chosen from these
    assert scores.printed_columns(verify(*pair))["toy"] == "MISS"
    with pytest.raises(ValueError, match="scores among .*, toy"):
        verify(*pair, ["nix"])


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"dims": ("threshold",)}, "thresholds, for toy"),
        ({"window": True}, "a window, for toy"),
        ({"least_members": 3}, "3 members or more, for toy\n +found 1 member"),
    ],
)
def test_an_entry_says_what_it_needs(monkeypatch, pair, needs, message):
    group = dataclasses.replace(TOY.group, **needs)
    monkeypatch.setitem(scores.SCORES, "toy", dataclasses.replace(TOY, group=group))
    with pytest.raises(ValueError, match=message):
        verify(*pair, ["toy"], thresholds=[])
    assert "toy" not in scores.default_scores((), None)


def test_the_documentation_lists_every_score():
    text = inspect.getdoc(verify)  # Python 3.13 takes the indentation of docstrings away itself
    assert "<list of scores>" not in text
    for name, entry in scores.SCORES.items():
        assert f"\n- `{name}`" in text
        assert set(entry.companions) <= {*scores.SCORES}


def test_no_two_groups_share_a_sum():
    groups = {entry.group for entry in scores.SCORES.values()}
    names = [name for group in groups for name in group.names]
    assert len(names) == len({*names})


def test_columns_by_threshold_come_first(pair):
    columns = scores.printed_columns(verify(*pair, window=2))
    assert [*columns] == ["csi", "fss", "mse", "correlation"]
    more = scores.printed_columns(verify(*pair, window=2), ["mae", "far"])
    assert [*more] == ["csi", "far", "fss", "mse", "mae", "correlation"] and more["far"] == "FAR"
    with pytest.raises(ValueError, match=r"a score among mse, .*\n +found 'roc'"):
        scores.printed_columns(verify(*pair), ["roc"])


def test_scale_is_the_old_name_of_window(pair):
    expected = verify(*pair, window=2)
    for function in (verify, xef.verify, pair[0].earthformer.verify):
        arguments = pair if function in (verify, xef.verify) else pair[1:]
        with pytest.warns(FutureWarning, match="argument 'scale' is now 'window'"):
            xr.testing.assert_identical(function(*arguments, scale=2), expected)
    with pytest.warns(FutureWarning, match="statistics"):
        assert "fraction_errors" in statistics(*pair, scale=2)
