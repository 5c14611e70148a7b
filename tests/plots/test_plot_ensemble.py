"""Pictures of ensembles: the right maps, labels and bars; nothing is compared pixel by pixel."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection, QuadMesh

import xearthformer as xef
from xearthformer.plots import ensemble


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def rain() -> xr.DataArray:
    """Frame k holds k mm/h; the north-east pixel isn't covered."""
    values = np.ones((10, 4, 5)) * np.arange(10)[:, None, None]
    values[:, 0, -1] = np.nan
    coords = {
        "time": xr.date_range("2016-07-11T21:00", periods=10, freq="5min"),
        "y": ("y", 1000.0 * np.arange(4)[::-1], {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(5), {"units": "m"}),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", attrs)


@pytest.fixture
def ens(rain) -> xr.DataArray:
    """Member m holds what is at the init, and m mm/h more."""
    fc = rain.earthformer.forecast("persistence", init=list(rain.time.values[[2, 4]]), lead=4)
    members = xr.concat([fc + m for m in range(6)], "member").assign_attrs(fc.attrs)
    members = members.assign_coords(member=np.arange(6))
    return members.transpose("init", "lead", "member", ...)


def maps(figure) -> dict[str, float]:
    """The value that each map holds at its second pixel, by title."""
    return {
        ax.get_title(): float(ax.images[0].get_array()[1, 1])
        for ax in figure.axes
        if ax.get_visible() and ax.images
    }


def words(figure) -> str:
    bar = next(ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    return bar.get_xlabel()


def test_a_stamp_a_member_beside_what_was_observed(ens, rain):
    figure = ens.earthformer.plot.stamps(rain)
    # from frame 4, the fourth lead: frame 8
    assert maps(figure) == {"observed": 8, **{f"member {m}": 4 + m for m in range(6)}}
    assert figure.get_suptitle() == "forecast by persistence from 2016-07-11 21:20: +20 min, 21:40"
    assert words(figure) == "rainfall rate (mm/h)"
    image = figure.axes[0].images[0]
    assert image.norm.boundaries[0] == 0.1 and np.ma.getmaskarray(image.get_array())[-1, -1]


def test_stamps_of_an_init_and_lead_in_rows(ens, rain):
    at = {"init": rain.time.values[2], "lead": "10min", "columns": 4}
    figure = ens.to_dataset().earthformer.plot.stamps(**at)
    assert maps(figure) == {f"member {m}": 2 + m for m in range(6)}
    assert [ax.get_visible() for ax in figure.axes[:8]] == [True] * 6 + [False] * 2
    one = ens.isel(init=0, lead=1).transpose("x", "member", "y").drop_vars("member")
    assert maps(ensemble.stamps(one)) == maps(figure)
    half = plt.figure().subfigures(1, 2)[1]
    assert ens.earthformer.plot.stamps(figure=half) is half


def test_stamps_lie_as_xarray_draws_them(rain):
    corner = rain.copy()
    corner[:, 0, 0] = 50  # the north-west
    fc = corner.earthformer.forecast("persistence", init=rain.time.values[2], lead=1)
    fc = fc.expand_dims(member=2)
    for rows in (slice(None), slice(None, None, -1)):
        figure = fc.isel(y=rows).earthformer.plot.stamps(corner)
        for ax in figure.axes[:3]:
            assert ax.get_ylim()[0] < ax.get_ylim()[1] and ax.get_xlim()[0] < ax.get_xlim()[1]
            assert ax.images[0].origin == "lower" and ax.images[0].get_array()[-1, 0] == 50
        mesh = fc.squeeze("init")[0, 0].isel(y=rows).plot(ax=plt.figure().subplots())
        assert mesh.axes.get_ylim()[0] < mesh.axes.get_ylim()[1]  # north is up there too


def test_exceedance_is_the_share_of_members(ens, rain):
    figure = ens.earthformer.plot.exceedance(7, rain, lead=["5min", "15min"])
    # 4 5 6 7 8 9: three of six
    assert list(maps(figure).values()) == [0.5, 0.5]
    assert list(maps(figure)) == ["+5 min, 21:25", "+15 min, 21:35"]
    assert words(figure) == "probability of at least 7 mm/h (observed: outlined)"
    assert np.ma.getmaskarray(figure.axes[0].images[0].get_array())[-1, -1]
    # frame 5 never reaches 7 and frame 7 does but where it isn't covered
    assert [bool(ax.collections) for ax in figure.axes[:2]] == [False, True]
    assert "observed" not in words(ens.earthformer.plot.exceedance(7))


def test_ranks_are_bars_beside_an_even_line(ens, rain):
    ax = ens.earthformer.plot.rank_histogram(rain)
    expected = xef.verify(ens, rain, ["rank_histogram"])["rank_histogram_pooled"]
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, expected / expected.sum())
    assert ax.get_lines()[0].get_ydata()[0] == pytest.approx(1 / 7)
    assert ax.get_title(loc="left") == "persistence"
    # 5 minutes on: frame k + 1 against k .. k + 5: one below and one alike
    first = ens.earthformer.plot.rank_histogram(rain, lead="5min", ax=plt.figure().subplots())
    assert [bar.get_height() for bar in first.patches] == [0, 0.5, 0.5, 0, 0, 0, 0]


def test_months_are_maps_with_colours_of_anomalies():
    sst = xef.synthetic_sst(years=2, start="1990-01")["sst"].isel(lat=slice(30, 60, 3))
    ssta = sst.earthformer.anomaly(("1990", "1991"))
    fc = ssta.earthformer.forecast("persistence", init=ssta.time.values[12], lead=3)
    ens = xr.concat([fc, fc + 0.5], "member").assign_attrs(fc.attrs)
    ens = ens.transpose("init", "lead", "member", ...)
    figure = ens.earthformer.plot.stamps(ssta, lead=2)
    drawn = [ax for ax in figure.axes if any(isinstance(c, QuadMesh) for c in ax.collections)]
    assert [ax.get_title() for ax in drawn[:3]] == ["observed", "member 0", "member 1"]
    mesh = drawn[0].collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax and mesh.get_cmap().name == "RdBu_r"
    assert figure.get_suptitle().endswith("from Jan 1991\nlead 2 months, Mar 1991")
    figure = ens.earthformer.plot.exceedance(0.2, ssta)
    assert words(figure) == "probability of at least 0.2 °C (observed: outlined)"
    assert [ax.get_title() for ax in figure.axes[:3]][0] == "lead 1 month, Feb 1991"


def test_plumes_have_a_median_in_bands_where_members_are_many():
    time = xr.date_range("1990-01", periods=12, freq="MS")
    valid = np.stack([time[i + 1 : i + 4] for i in (3, 5)])
    coords = {"init": time[[3, 5]], "lead": [1, 2, 3], "valid_time": (("init", "lead"), valid)}
    values = np.broadcast_to(np.arange(11.0), (2, 3, 11))
    fc = xr.DataArray(values, coords, ("init", "lead", "member"), "index")
    from xearthformer.plots.maps import plume

    ax = plume(fc)
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert len(bands) == 4  # two an init
    assert np.ptp(bands[0].get_paths()[0].vertices[:, 1]) == pytest.approx(9)  # 0.5 .. 9.5
    medians = [line for line in ax.get_lines() if line.get_label().startswith("from")]
    assert [line.get_ydata().tolist() for line in medians] == [[5, 5, 5]] * 2
    title = "forecasts: median, 5% to 95% and 25% to 75% of 11 members"
    assert ax.get_title(loc="left") == title
    assert not plume(fc, quantiles=()).collections
    assert len(plume(fc.isel(member=slice(3)), quantiles=(0.1, 0.9)).collections) == 2
    many = fc.isel(init=[0] * 7).assign_coords(init=time[:7])
    ax = plume(many)  # seven bands would hide one another
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert not ax.collections and [line.get_ydata().tolist() for line in lines] == [[5, 5, 5]] * 7
    assert ax.get_title(loc="left") == "forecasts: median of 11 members"
    assert len(plume(many, quantiles=(0.1, 0.9)).collections) == 7
    for wrong in ((0.5,), (0.1, 1.9)):
        with pytest.raises(ValueError, match="an even number of quantiles from 0 to 1"):
            plume(fc, quantiles=wrong)


def test_wide_stamps_make_shorter_rows():
    coords = {"lat": np.arange(-5.0, 6), "lon": np.arange(0.0, 330, 3)}  # ten times as wide as high
    ens = xr.DataArray(np.zeros((8, 11, 110)), coords, ("member", "lat", "lon"))
    figure = ensemble.stamps(ens)
    # 0.6 inches high, so 6 wide: two in a row of 16
    assert figure.axes[0].get_gridspec().get_geometry() == (4, 2)
    assert ensemble.stamps(ens, columns=4).axes[0].get_gridspec().get_geometry() == (2, 4)
    shares = ensemble.exceedance_maps(xr.concat([ens] * 3, "lead"), 1)
    assert shares.axes[0].get_gridspec().get_geometry() == (3, 1)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p, fc: p.stamps(fc.isel(member=0)), "an ensemble, with the dim member"),
        (lambda p, fc: p.exceedance_maps(fc.isel(member=0), 1), "an ensemble, with the dim member"),
        (lambda p, fc: p.stamps(fc, lead=["5min", "10min"]), "one lead, for stamps"),
        (lambda p, fc: p.stamps(fc.expand_dims(level=2)), "also level"),
        (lambda p, fc: p.rank_histogram(xr.Dataset()), "scores with a rank histogram"),
        (
            lambda _, fc: fc.isel(member=0).earthformer.plot.rank_histogram(fc.isel(member=0)),
            "an ensemble, with the dim member",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(ens, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(ensemble, ens)
