"""Pictures of nowcasts: the right frames, labels and colours; nothing is compared by pixels."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.comparison.compare import compare
from xearthformer.plots.frames import by_lead, frames


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def rain() -> xr.DataArray:
    """Frame k holds k mm/h; the south-west pixel is 50, the north-east one isn't covered."""
    values = np.ones((20, 4, 5)) * np.arange(20)[:, None, None]
    values[:, -1, 0], values[:, 0, -1] = 50, np.nan
    attrs = {"units": "m"}
    coords = {
        "time": xr.date_range("2016-07-11T21:00", periods=20, freq="5min"),
        "y": (
            "y",
            1000.0 * np.arange(4)[::-1],
            {**attrs, "standard_name": "projection_y_coordinate"},
        ),
        "x": ("x", 1000.0 * np.arange(5), {**attrs, "standard_name": "projection_x_coordinate"}),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", attrs)


@pytest.fixture
def fc(rain):
    return rain.earthformer.forecast("persistence", init=list(rain.time.values[[2, 7]]), lead=12)


def rows(figure):
    """The images of each row, by its label."""
    found = {}
    for ax in figure.axes:
        if ax.get_label() == "<colorbar>":
            continue
        if ax.get_ylabel():
            row = found.setdefault(ax.get_ylabel(), [])
        row.extend(ax.images)
    return found


def values(images):
    return [float(image.get_array()[1, 1]) for image in images]


def test_frames_stand_under_what_was_observed(fc, rain):
    figure = fc.earthformer.plot.frames(rain)
    found = rows(figure)
    assert list(found) == ["before", "observed", "persistence"]
    # from frame 7: 10 to 60 minutes on, and from 50 minutes before; the record begins at frame 0
    assert values(found["observed"]) == [9, 11, 13, 15, 17, 19]
    assert values(found["before"]) == [1, 3, 5, 7]
    assert values(found["persistence"]) == [7] * 6
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:4] == ["−30 min, 21:05", "−20 min, 21:15", "−10 min, 21:25", "0 min, 21:35"]
    assert titles[4:] == [
        f"+{k} min, {21 + (35 + k) // 60}:{(35 + k) % 60:02d}" for k in range(10, 61, 10)
    ]
    assert figure.get_suptitle() == "forecast from 2016-07-11 21:35"


def test_north_is_up_and_what_is_not_covered_is_grey(fc, rain):
    for turned in (fc, fc.isel(y=slice(None, None, -1)), fc.transpose("x", "y", ...)):
        figure = turned.earthformer.plot.frames(rain)
        for image in (images[-1] for images in rows(figure).values()):
            left, right, bottom, top = image.get_extent()
            assert (left, right, bottom, top) == (-500, 4500, -500, 3500)
            assert image.origin == "lower" and image.axes.get_ylim() == (bottom, top)
            drawn = image.get_array()
            assert drawn[0, 0] == 50 and np.ma.getmaskarray(drawn)[-1, -1]
            assert image.axes.get_facecolor()[:3] == (0.82, 0.82, 0.82)
            assert image.cmap.get_bad()[3] == 0  # so that the grey shows


def test_rain_and_vil_have_levels_of_their_own(fc, rain):
    norm = rows(frames(fc))["persistence"][0].norm
    assert norm.boundaries.tolist() == [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    vil = rain.rename("vil").assign_attrs(units="1", standard_name="", long_name="liquid")
    figure = frames(vil.earthformer.forecast("persistence", lead=2))
    image = rows(figure)["persistence"][0]
    assert image.norm.boundaries.tolist() == [16, 31, 59, 74, 100, 133, 160, 181, 219, 255]
    assert image.cmap(image.norm(10)) == (1, 1, 1, 1)
    middles = np.array([20, 40, 60, 80, 120, 150, 170, 200, 230])
    shades = image.cmap(image.norm(middles))[:, :3]
    hue = (matplotlib.colors.rgb_to_hsv(shades)[:, 0] * 360 + 30) % 360  # red is 30
    assert (np.abs(hue[:3] - 150) < 25).all()  # greens
    assert (np.diff(hue[3:8]) < 0).all() and hue[3] < 90 and hue[7] > 20  # from yellow to red
    assert 300 < hue[8] < 340  # purple
    lightness = shades @ [0.299, 0.587, 0.114]
    for part in (lightness[:3], lightness[3:8]):
        assert (np.diff(part) < -0.05).all()
    other = rain.assign_attrs(units="K", standard_name="air_temperature")
    image = rows(frames(other.earthformer.forecast("persistence", lead=2)))["persistence"][0]
    assert image.norm.boundaries[0] <= 19 and image.norm.boundaries[-1] >= 50


def test_several_forecasts_init_and_lead(fc, rain):
    figure = frames(
        {"as it is": fc, "twice": 2 * fc}, rain, init=rain.time.values[2], lead=["30min"]
    )
    found = rows(figure)
    assert {name: values(images) for name, images in found.items()} == {
        "before": [2],
        "observed": [8],
        "as it is": [2],
        "twice": [4],
    }
    bar = next(ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    assert bar.get_xlabel() == "rainfall rate (mm/h)"
    assert [text.get_text() for text in bar.get_xticklabels()][:3] == ["0.1", "0.2", "0.5"]


def test_a_record_that_ends_says_so_and_one_that_begins_late_has_no_past(fc, rain):
    found = rows(frames(fc, rain.isel(time=slice(8, 12))))
    assert list(found) == ["observed", "persistence"]
    texts = [[text.get_text() for text in image.axes.texts] for image in found["observed"]]
    assert texts == [[], []] + [["no observation"]] * 4


def test_frames_less_than_a_minute_apart_are_told_in_seconds(rain):
    time = xr.date_range("2000-01-01", periods=20, freq="20s")
    fc = rain.assign_coords(time=time).earthformer.forecast("persistence", lead=3)
    titles = [ax.get_title() for ax in frames(fc).axes if ax.get_title()]
    assert titles == ["+20 s, 00:06:40", "+40 s, 00:07:00", "+60 s, 00:07:20"]


def test_frames_are_drawn_where_told(fc):
    half = plt.figure().subfigures(1, 2)[1]
    assert fc.to_dataset().earthformer.plot.frames(figure=half) is half


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda fc: fc.isel(lead=0), r"its leads durations\n.*\n.*plot.field"),
        (lambda fc: fc.assign_coords(lead=np.arange(12)), "leads in months"),
        (lambda fc: fc.expand_dims(member=2), "also member"),
    ],
)
def test_what_is_no_nowcast(fc, spoil, message):
    with pytest.raises(ValueError, match=message):
        frames(spoil(fc))


def test_csi_by_lead_has_a_panel_a_threshold(fc, rain):
    figure = fc.earthformer.plot.csi(rain, thresholds=[3, 60])
    expected = xef.verify(fc, rain, ["csi"], thresholds=[3, 60])["csi"]
    panels = figure.axes
    assert [ax.get_title() for ax in panels] == ["from 3 mm/h", "from 60 mm/h"]
    (line,) = panels[0].get_lines()
    assert line.get_xdata().tolist() == list(range(5, 61, 5))
    np.testing.assert_array_equal(line.get_ydata(), expected.sel(threshold=3))
    assert line.get_label() == "persistence" and panels[0].get_ylim()[0] == 0
    assert [panels[0].get_ylabel(), panels[1].get_xlabel()] == [
        "critical success index",
        "lead (min)",
    ]


def test_forecasts_are_lines_told_apart_by_colour_and_marker(rain):
    scores = compare(rain, ["persistence"], lead=3, thresholds=[1, 5], window=2)
    both = {"one": scores.sel(forecast="persistence"), "two": scores.sel(forecast="persistence")}
    figure = by_lead(both, "mse")
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["one", "two"]
    assert lines[0].get_color() != lines[1].get_color()
    assert lines[0].get_marker() != lines[1].get_marker()
    assert figure.axes[0].get_ylabel() == "mean square error ((mm h-1)^2)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]
    assert len(by_lead(scores, "me").axes[0].get_lines()) == 1
    assert by_lead(scores, "me").axes[0].get_ylim()[0] < 0


def test_csi_of_members_is_a_band_about_their_mean(fc, rain):
    both = xr.concat([fc, fc + 1], "member").assign_attrs(fc.attrs)
    ax, expected = both.earthformer.plot.csi(rain, thresholds=[3]).axes[0], []
    for one in (fc, fc + 1):
        expected.append(
            xef.verify(one.assign_attrs(fc.attrs), rain, ["csi"], thresholds=[3])["csi"]
        )
    (line,), (band,) = ax.get_lines(), ax.collections
    mean = (expected[0] + expected[1])[:, 0] / 2
    np.testing.assert_allclose(line.get_ydata(), mean)
    assert (expected[0] < expected[1]).any()
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == expected[0].min() and heights.max() == expected[1].max()
    assert line.get_label() == "persistence\n(mean, range of 2 members)"


def test_leads_are_to_be_durations(fc, rain):
    with pytest.raises(ValueError, match=r"durations\n +found \[5, 10\]"):
        fc.earthformer.plot.frames(rain, lead=[5, 10])


def test_months_are_whole_on_the_axis():
    lead = ("lead", np.arange(1, 13), {"units": "months"})
    figure = by_lead(xr.Dataset({"mse": ("lead", np.ones(12))}, {"lead": lead}), "mse")
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert ticks.size > 2 and (ticks % 1 == 0).all()


def test_six_thresholds_fill_two_rows(rain):
    scores = compare(rain, ["persistence"], lead=3, thresholds=[1, 2, 3, 4], window=2)
    axes = by_lead(scores).axes
    assert [ax.get_visible() for ax in axes] == [True] * 4 + [False] * 2
    assert [bool(ax.get_xlabel()) for ax in axes[:4]] == [False, True, True, True]


def test_a_score_that_is_not_there(fc, rain):
    with pytest.raises(ValueError, match=r"csi by lead of here.*\n +found scores mse, n\n.*verify"):
        by_lead({"here": xef.verify(fc, rain, ["mse"])})
    with pytest.raises(ValueError, match=r"dims \('threshold',\)"):
        by_lead(xef.verify(fc, rain, ["csi"]), "csi_pooled")


def test_degrees_shrink_to_the_north(rain):
    degrees = rain.assign_coords(y=60.0 + 0.1 * np.arange(4), x=-93 + 0.1 * np.arange(5))
    degrees = degrees.rename(y="lat", x="lon")
    figure = degrees.earthformer.forecast("persistence", lead=2).earthformer.plot.frames(degrees)
    image = rows(figure)["before"][0]
    assert image.axes.get_aspect() == pytest.approx(1 / np.cos(np.radians(60.15)))
    # two rows of frames 2.5 inches wide, 4 pixels high and 5 wide; 0.25 and 1.1 for titles
    height = 2 * (2.5 * image.axes.get_aspect() * 4 / 5 + 0.25) + 1.1
    assert figure.get_size_inches()[1] == pytest.approx(height)
