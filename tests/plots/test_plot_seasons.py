"""Pictures of seasons: the right bars, dots, cells and words; nothing is compared by pixels."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.plots.maps import skill
from xearthformer.plots.seasons import categories, skill_by_season

ATTRS = {
    "standard_name": "sea_surface_temperature",
    "units": "degC",
    "units_metadata": "temperature: difference",
    "climatology_period": "1981-01/2010-12",
}
LAT, LON = np.arange(-10.0, 11, 2), np.arange(160.0, 273, 2)
MONTHS = xr.date_range("1997-01", periods=36, freq="MS")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def fields(values, dims, coords):
    """Maps that hold one number each."""
    values = np.asarray(values, float)
    shape = *values.shape, LAT.size, LON.size
    values = np.broadcast_to(values[..., None, None], shape)
    return xr.DataArray(
        values, {**coords, "lat": LAT, "lon": LON}, (*dims, "lat", "lon"), "sst", ATTRS
    )


@pytest.fixture
def observed():
    """0 until the summer of 1997, 1 for a year, then -1."""
    return fields([0] * 6 + [1] * 12 + [-1] * 18, ("time",), {"time": MONTHS})


@pytest.fixture
def ens():
    """From June and October 1997: of five members one stays cold, and one more warms each month."""
    lead = np.arange(1, 7)
    one = np.where(np.arange(5) < lead[:, None], 2.0, 0.0)  # (lead, member)
    one[:, 4] = -1
    valid = np.stack([MONTHS[i + 1 : i + 7] for i in (5, 9)])
    coords = {"init": MONTHS[[5, 9]], "lead": ("lead", lead, {"units": "months"})}
    coords |= {"member": np.arange(5), "valid_time": (("init", "lead"), valid)}
    return fields([one, one + 3], ("init", "lead", "member"), coords).assign_attrs(pack="lim")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_bars_are_the_members_in_each_category(ens, observed):
    ax = ens.earthformer.plot.categories(observed, init="1997-06")
    # means over three months: member m has warmed in all, two or one of these by 2, 4/3, 2/3
    # months 1 to 3: members 0, 1, 2 are warm; later all but the last, which is cold
    heights = np.reshape([bar.get_height() for bar in ax.patches], (3, 4))
    np.testing.assert_allclose(heights, [[0.2] * 4, [0.2, 0, 0, 0], [0.6, 0.8, 0.8, 0.8]])
    bottoms = [bar.get_y() for bar in ax.patches[8:]]
    np.testing.assert_allclose(bottoms, [0.4, 0.2, 0.2, 0.2])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["JAS\n1997", "ASO", "SON", "OND"]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["El Niño, from 0.5 °C", "neutral", "La Niña, to −0.5 °C", "observed"]
    assert texts(ax) == ["20%"] * 5 + ["60%"] + ["80%"] * 3
    assert ax.get_title(loc="left") == "nino3.4 index by lim from Jun 1997: 5 members"
    (dots,) = ax.get_lines()  # El Nino came in all four
    np.testing.assert_allclose(dots.get_ydata(), [0.7, 0.6, 0.6, 0.6])


def test_a_dot_lies_in_what_came_and_only_there(ens, observed):
    ax = ens.earthformer.plot.categories(observed[:15] - 2, index="nino3")  # the last init
    (dots,) = ax.get_lines()
    # NDJ to FMA, and the record ends in March; La Nina came, for which there is no bar
    np.testing.assert_allclose(dots.get_ydata(), [0, 0, 0, np.nan])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["NDJ\n1997/98", "DJF", "JFM\n1998", "FMA"]
    half = plt.figure().subplots()
    one = ens[0].earthformer.index("nino3.4")
    assert categories(one, thresholds=[1.5], ax=half) is half
    assert [text.get_text() for text in half.get_legend().get_texts()] == [
        "above 1.5 °C",
        "below 1.5 °C",
    ]
    # means of 2/3 and 4/3 are below 1.5: at first member 0 alone is above
    assert [float(bar.get_height()) for bar in half.patches[4:]] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8]
    )


def test_skill_by_season_is_a_cell_a_number():
    coords = {"season": ["DJF", "JFM"], "lead": [1, 2, 3]}
    values = [[0.9, -0.25, np.nan], [1.0, 0.5, 0.25]]
    scores = xr.Dataset({"correlation": (("season", "lead"), values)}, coords)
    ax = skill_by_season(scores, label="lim")
    assert texts(ax) == [".90", "1.00", "−.25", ".50", ".25"]
    assert [text.get_position() for text in ax.texts[:2]] == [(0, 1), (1, 1)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["DJF", "JFM"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 1.5), (0.5, 3.5))
    assert skill_by_season(scores.sel(lead=[2])).get_ylim() == (1.5, 2.5)
    assert ax.collections[0].get_clim() == (-1, 1) and ax.get_title(loc="left") == "lim"


def forecasts(observed, inits, leads=6):
    """Forecasts of half of what comes."""
    lead = np.arange(1, leads + 1)
    at = np.asarray(inits)[:, None] + lead
    coords = {
        "init": observed.time.values[inits],
        "lead": ("lead", lead, {"units": "months"}),
        "valid_time": (("init", "lead"), observed.time.values[at]),
    }
    series = observed[:, 0, 0].values[at] / 2
    return fields(series, ("init", "lead"), coords).assign_attrs(pack="half")


def test_skill_of_a_forecast_against_observations():
    months = xr.date_range("1990-01", periods=120, freq="MS")
    wave = fields(np.sin(np.arange(120.0) ** 2), ("time",), {"time": months})
    fc = forecasts(wave, range(0, 110)).expand_dims(member=2)
    ax = fc.earthformer.plot.skill_by_season(wave)
    assert texts(ax) == ["1.00"] * 48 and ax.get_xlabel() == "target season"
    assert ax.get_title(loc="left") == "nino3.4 index by half, 3-month means"
    ax = fc.earthformer.plot.skill_by_season(wave.assign_attrs(units="K"), "rmse", index="nino4")
    expected = xef.enso_seasons(
        fc.mean("member", keep_attrs=True).earthformer.index("nino4"),
        wave.earthformer.index("nino4"),
    )
    first = expected["rmse"].sel(lead=1, season="DJF").item()
    assert texts(ax)[0] == f"{first:.2f}".replace("0.", ".")
    figure = fc.earthformer.plot.skill_map(wave, lead=[1, 4])
    assert [ax.get_title() for ax in figure.axes[:2]] == ["lead 1 month", "lead 4 months"]
    image = figure.axes[0].collections[0]
    np.testing.assert_allclose(image.get_array(), 1, atol=1e-6)
    assert image.get_clim() == (-1, 1)
    assert figure.axes[2].get_xlabel() == "correlation"
    assert figure.get_suptitle() == "sea surface temperature anomaly by half, 3-month means"
    figure = fc.earthformer.plot.skill_map(wave, "rmse")
    assert figure.axes[-1].get_xlabel() == "root mean square error (°C)"
    assert figure.axes[0].collections[0].get_clim()[0] == 0


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ens, obs: categories(ens), r"fc.earthformer.index\("),
        (lambda ens, obs: ens.isel(member=0).earthformer.plot.categories(), "an ensemble"),
        (lambda ens, obs: ens.earthformer.plot.categories(index="tna"), "covers 5N-25N"),
        (
            lambda ens, obs: ens.earthformer.plot.categories(
                obs.assign_attrs(climatology_period="1971-01/2000-12")
            ),
            "anomalies against",
        ),
        (lambda ens, obs: skill_by_season(xr.Dataset({"n": 1})), "correlation or rmse by season"),
        (lambda ens, obs: skill(xr.Dataset({"n": 1}), "n"), r"xef.skill_map\(fc, obs\)"),
    ],
)
def test_what_cannot_be_drawn_is_said(ens, observed, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(ens, observed)
