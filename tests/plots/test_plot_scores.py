"""Pictures of scores, and of what a nowcast knows: the right numbers, frames and words."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.contour import QuadContourSet

import xearthformer as xef
from xearthformer.plots import scores


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def rain() -> xr.DataArray:
    """A wet band, two pixels wide, that moves on by a pixel every frame."""
    values = np.zeros((8, 6, 9))
    for k in range(8):
        values[k, :, k : k + 2] = 6
    coords = {
        "time": xr.date_range("2016-07-11T21:00", periods=8, freq="5min"),
        "y": ("y", 1000.0 * np.arange(6), {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(9), {"units": "m"}),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", attrs)


@pytest.fixture
def fc(rain):
    return rain.earthformer.forecast("persistence", init=rain.time.values[[1, 2]], lead=4)


@pytest.fixture
def nowcast(fc):
    """As `fc`; the first column stems from beyond the domain, the second by half."""
    known = np.ones((2, 4, 6, 9), "float32")
    known[..., 0], known[..., 1] = 0, 0.5
    return fc.assign_coords(known=(("init", "lead", "y", "x"), known))


# --- FSS


def test_fss_is_a_table_whose_useful_cells_are_framed(fc, rain):
    widths = ["1 km", "4 km"]
    table = xef.verify(fc, rain, ["fss", "base_rate"], thresholds=[1, 7], window=widths)
    ax = scores.fss(table, lead="5min").axes[0]
    shown = ax.images[0].get_array()
    values = table["fss"].sel(threshold=1, lead="5min").values.ravel()
    np.testing.assert_allclose(shown[:, 0], values)
    assert [label.get_text() for label in ax.get_yticklabels()] == widths
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "7"]
    assert ax.get_xlabel() == "threshold (mm/h)" and ax.get_ylabel() == "width of neighbourhoods"
    words = [text.get_text() for text in ax.texts]  # nothing reaches 7: no score
    assert words[1] == words[3] == "-" and words[0].startswith(".")
    # one column of two is right: FSS .5 pixel by pixel; .5 + .5 x 2 / 9 = .61 is useful
    assert values[0] == 0.5 and values[1] > 0.5 + 1 / 9
    assert [round(patch.get_y()) for patch in ax.patches] == [1]


def test_fss_of_one_lead_and_of_several_forecasts(fc, rain):
    verified = {
        name: xef.verify(each, rain, ["fss"], thresholds=[1], window=[1, 4])
        for name, each in {"persistence": fc, "dry": xr.zeros_like(fc)}.items()
    }
    rows = xr.concat([*verified.values()], xr.Variable("forecast", [*verified]))
    figure = scores.fss(rows, lead="5min")
    first, second = figure.axes[:2]
    assert first.get_title() == "persistence" and second.get_title() == "dry"
    expected = verified["persistence"]["fss"].isel(lead=0, threshold=0)
    np.testing.assert_allclose(first.images[0].get_array()[:, 0], expected)
    assert first.get_ylabel() == "width of neighbourhoods (pixels)"
    with pytest.raises(KeyError):
        scores.fss(rows, lead="7min")


def test_fss_by_the_accessor_and_what_it_refuses(fc, rain):
    figure = fc.earthformer.plot.fss(rain, thresholds=[1])
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2", "4"]
    assert ax.get_title() == "persistence"
    with pytest.raises(ValueError, match="fss by window and threshold") as error:
        scores.fss(xef.verify(fc, rain, ["fss"], window=4))
    obs = rain
    hint = str(error.value).split("try ")[1]
    table = eval(hint)
    assert scores.fss(table).axes[0].images and obs is rain
    members = xr.concat([fc, fc], "member").transpose("init", "lead", "member", ...)
    figure = members.assign_attrs(fc.attrs).earthformer.plot.fss(rain, thresholds=[1])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), ax.images[0].get_array())


# --- reliability


def test_reliability_of_each_threshold(fc, rain):
    shifted = [fc.copy(data=np.roll(fc.values, k, axis=-1)) for k in range(3)]
    members = xr.concat(shifted, "member").transpose("init", "lead", "member", ...)
    figure = members.earthformer.plot.reliability(rain, thresholds=[1, 5])
    top, bottom = figure.axes
    table = xef.verify(members, rain, ["reliability"], thresholds=[1, 5])
    for line, at in zip(top.lines[1:], (1, 5), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [0, 1 / 3, 2 / 3, 1])
        expected = table["reliability_pooled"].sel(threshold=at)
        np.testing.assert_array_equal(line.get_ydata(), expected)
    shares = table["reliability_n_pooled"].sel(threshold=1)
    shown = np.nan_to_num(bottom.lines[0].get_ydata())
    np.testing.assert_allclose(shown, shares / shares.sum())
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == ["from 1 mm/h", "from 5 mm/h"]
    with pytest.raises(ValueError, match=r'verify\(fc, obs, \["reliability"\]\)'):
        scores.reliability(xef.verify(fc, rain, ["csi"]))


# --- what is known


def hatched(ax) -> list[QuadContourSet]:
    return [each for each in ax.collections if isinstance(each, QuadContourSet) and each.filled]


def bar_label(figure) -> str:
    return next(ax for ax in figure.axes if ax.get_label() == "<colorbar>").get_xlabel()


def test_what_is_not_known_is_hatched_in_forecasts_alone(nowcast, fc, rain):
    figure = nowcast.earthformer.plot.frames(rain, lead=["5min", "10min"])
    panels = [ax for ax in figure.axes if ax.images]
    marked = [bool(hatched(ax)) for ax in panels]
    assert marked[-2:] == [True, True] and not any(marked[:-2])
    (filled,) = hatched(panels[-1])
    edge = np.concatenate([path.vertices for path in filled.get_paths()])[:, 0].max()
    assert edge == pytest.approx(1000)  # up to the column that is known by half
    assert bar_label(figure).endswith("hatched: less than half stems from what was seen")
    plain = fc.earthformer.plot.frames(rain)
    assert bar_label(plain) == "rainfall rate (mm/h)"
    assert not any(hatched(ax) for ax in plain.axes)


def test_what_hatching_means_has_a_line_of_its_own_in_a_narrow_picture(nowcast, rain):
    long = nowcast.assign_attrs(standard_name="", long_name="the rain of a radar, in many a word")
    figure = long.earthformer.plot.frames(lead=["5min", "10min", "15min"])
    figure.draw_without_rendering()
    (bar,) = (ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    assert bar.get_xlabel().splitlines()[1].startswith("hatched: less than half")
    box = bar.xaxis.label.get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_what_is_not_known_is_hatched_in_every_picture_of_fields(nowcast, rain):
    members = xr.concat([nowcast, nowcast + 1], "member").transpose("init", "lead", "member", ...)
    members = members.assign_attrs(nowcast.attrs).assign_coords(member=[0, 1])
    stamps = members.earthformer.plot.stamps(rain)
    assert [bool(hatched(ax)) for ax in stamps.axes[:3]] == [False, True, True]
    assert "hatched" in bar_label(stamps)
    maps = members.earthformer.plot.exceedance(1.0, rain)
    assert hatched(maps.axes[0]) and "hatched" in bar_label(maps)


def test_where_there_is_no_value_grey_is_enough(nowcast, rain):
    missing = nowcast.where(nowcast["known"] >= 0.5)
    figure = missing.earthformer.plot.frames(rain)
    assert not any(hatched(ax) for ax in figure.axes) and "hatched" not in bar_label(figure)
