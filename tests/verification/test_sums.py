"""Sums of one pair of frames: small enough to count by hand."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from xearthformer.verification.base import COUNT, Measure
from xearthformer.verification.categorical import CONTINGENCY, POOLED, max_pool
from xearthformer.verification.deterministic import MOMENTS
from xearthformer.verification.sal import SAL
from xearthformer.verification.spatial import FRACTIONS, count_in_windows, summed_area
from xearthformer.verification.spectra import SPECTRUM, Rings
from xearthformer.verification.sums import _sum_frames

NAN = np.nan


def sums(forecast, observed, *groups, **how):
    measure = Measure(groups, **how)
    values = measure.compute(np.array(forecast, float), np.array(observed, float))
    return {name: value for name, (_, value) in measure.split(values).items()}


def test_events_are_counted_where_both_sides_have_a_value():
    # From 2 on: 3 is a hit, 2 (just reached) a false alarm, 1 a miss; from 3 on: one hit, one miss.
    found = sums([[3, 2], [1, NAN]], [[4, 1], [5, 9]], COUNT, CONTINGENCY, thresholds=(2, 3))
    assert found["n"] == 3
    assert found["hits"].tolist() == [1, 1]
    assert found["misses"].tolist() == [1, 1]
    assert found["false_alarms"].tolist() == [1, 0]


def test_pooled_events_are_those_of_maxima():
    # Maxima of 4 x 4: (5, 0) forecast, (7, 4) observed: at 3 one hit, one miss.
    forecast, observed = np.zeros((4, 8)), np.zeros((4, 8))
    forecast[0, 0], observed[3, 3], observed[1, 6] = 5, 7, 4
    found = sums(forecast, observed, POOLED[4], thresholds=(3,))
    assert [found[f"{name}_pool4"].item() for name in ("hits", "misses", "false_alarms")] == [
        1,
        1,
        0,
    ]
    # What isn't observed doesn't count in the forecast's maximum either; nor does an empty block.
    observed[0, 0], observed[:, 4:] = NAN, NAN
    found = sums(forecast, observed, POOLED[4], thresholds=(3,))
    assert [found[f"{name}_pool4"].item() for name in ("hits", "misses", "false_alarms")] == [
        0,
        1,
        0,
    ]


def test_pools_at_the_edge_hold_what_is_left():
    field = np.arange(15.0).reshape(3, 5)
    valid = np.ones((3, 5), bool)
    valid[2, 4] = False
    expected = [[6, 8, 9], [11, 13, -np.inf]]
    assert max_pool(field, valid, 2).tolist() == expected


def test_moments_by_hand():
    # f 1 3 | 5, o 2 3 | 1 with weights 1 2 | 3; the fourth pixel has no observation.
    areas = np.array([[1.0, 2.0], [3.0, 9.0]])
    found = sums([[1, 3], [5, 8]], [[2, 3], [1, NAN]], MOMENTS, areas=areas)
    expected = {
        "weight": 6,
        "f": 1 + 6 + 15,
        "o": 2 + 6 + 3,
        "ff": 1 + 18 + 75,
        "oo": 4 + 18 + 3,
        "fo": 2 + 18 + 15,
        "ae": 1 + 0 + 12,
        "ee": 1 + 0 + 48,
    }
    assert {name: float(value) for name, value in found.items()} == expected


def test_fractions_by_hand():
    # Windows of 3 x 1 pixels. Events: forecast 1 0 0 0, observed 0 1 0 0.
    # Fractions: forecast 1/3 1/3 0 0, observed 1/3 1/3 1/3 0; beyond the edge there is none.
    forecast, observed = np.array([[1.0, 0, 0, 0]]).T, np.array([[0.0, 1, 0, 0]]).T
    found = sums(forecast, observed, FRACTIONS, thresholds=(1,), windows=[(3, 1)], widths=[3])
    assert found["fraction_errors"].item() == pytest.approx(1 / 9)
    assert found["fraction_squares"].item() == pytest.approx(5 / 9)
    # Without the third pixel its fraction, the one that differs, doesn't count.
    observed[2] = NAN
    found = sums(forecast, observed, FRACTIONS, thresholds=(1,), windows=[(3, 1)], widths=[3])
    assert found["fraction_errors"].item() == pytest.approx(0)
    assert found["fraction_squares"].item() == pytest.approx(4 / 9)


@pytest.mark.parametrize("window", [(3, 3), (4, 6), (16, 16)])
def test_fractions_are_those_of_the_library_scores(window):
    spatial = pytest.importorskip("scores.spatial")
    # An edge without events, wider than the window: there the two treat the domain's edge alike.
    rng = np.random.default_rng(0)
    forecast, observed = np.pad(rng.random((2, 30, 40)), ((0, 0), (20, 20), (20, 20)))
    found = sums(forecast, observed, FRACTIONS, thresholds=(0.7,), windows=[window], widths=[1])
    expected = spatial.fss_2d_single_field(
        forecast, observed, event_threshold=0.7, window_size=window, zero_padding=False
    )
    fss = 1 - found["fraction_errors"].item() / found["fraction_squares"].item()
    assert fss == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (5, 4), (16, 16), (40, 7)])
def test_windows_are_counted_as_scipys_filter_has_them(window):
    events = np.random.default_rng(0).random((12, 17)) < 0.4
    expected = uniform_filter(events.astype(float), window, mode="constant") * np.prod(window)
    found = count_in_windows(summed_area(events), window)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.dtype.kind == "i"


def test_names_fit_sums_of_any_leading_shape():
    measure = Measure((COUNT, CONTINGENCY, MOMENTS), thresholds=(1.0, 2.0))
    values = np.arange(2 * 17.0).reshape(2, 17)  # 1 + 4 x 2 + 8
    named = {name: value for name, (_, value) in measure.split(values).items()}
    assert named["n"].tolist() == [0, 17]
    assert named["misses"].tolist() == [[3, 4], [20, 21]]
    assert named["ee"].tolist() == [16, 33]


def test_members_share_what_is_computed_of_their_observation_and_nothing_else():
    """Five members, one with a gap: the observed frame is transformed three times, not five."""
    rng = np.random.default_rng(0)
    o = rng.gamma(1.0, size=(2, 12, 16))
    f = rng.gamma(1.0, size=(2, 1, 5, 12, 16))
    f[:, :, 2, 3:5] = NAN
    groups = COUNT, CONTINGENCY, FRACTIONS, SAL, SPECTRUM
    how = {"thresholds": (0.5, 2.0), "windows": [(1, 1), (4, 4)], "widths": [1, 4]}
    measure = Measure(groups, rings=Rings((12, 16), (1.0, 1.0)), **how)
    found = _sum_frames(f, o, np.array([[1], [0]]), measure)
    for init, member in np.ndindex(2, 5):
        alone = measure.compute(f[init, 0, member], o[1 - init])
        np.testing.assert_array_equal(found[init, 0, member], alone)
    seen = {}
    looked_at = []
    for member in f[0, 0]:
        measure.compute(member, o[1], seen)
        looked_at.append(seen["density"])
    assert len({id(density) for density in looked_at}) == 3  # before the gap, in it, after it
