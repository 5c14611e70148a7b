"""Pictures: the right lines, labels and colours; nothing is compared pixel by pixel."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

from xearthformer.plots import maps as plot

LAT, LON = np.arange(-10.0, 11, 2), np.arange(160.0, 261, 2)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def anomalies(values, time, lon=LON):
    """Maps (time, lat, lon) that hold one number each, NaN on the last column (land)."""
    values = np.broadcast_to(np.reshape(values, (-1, 1, 1)), (len(time), LAT.size, lon.size)).copy()
    values[..., -1] = np.nan
    coords = {"time": time, "lat": LAT, "lon": lon}
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    attrs["units_metadata"] = "temperature: difference"
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "ssta", attrs)


@pytest.fixture
def observed():
    """Month k of 2000 and 2001 is k tenths above or below normal, in turn."""
    time = xr.date_range("2000-01", periods=24, freq="MS")
    return anomalies(0.1 * np.arange(24) * (-1) ** np.arange(24), time)


def forecasts(observed, inits, leads=3):
    """Persistence of the months at these positions."""
    pieces = []
    for i in inits:
        values = observed.isel(time=[i] * leads).values
        valid = xr.date_range(observed.time.values[i], periods=leads + 1, freq="MS")[1:]
        coords = {
            "lead": ("lead", np.arange(1, leads + 1), {"units": "months"}),
            "lat": observed.lat,
            "lon": observed.lon,
            "valid_time": ("lead", valid),
            "init": observed.time.values[i],
        }
        pieces.append(xr.DataArray(values, coords, ("lead", "lat", "lon"), "ssta"))
    fc = xr.concat(pieces, "init", coords="different", compat="equals")
    return fc.assign_attrs(observed.attrs, pack="still")


def test_a_plume_hangs_on_the_observed_line(observed):
    fc = forecasts(observed, [3, 6])
    ax = fc.earthformer.plot.plume(observed)
    lines = {line.get_label(): line for line in ax.get_lines() if line.get_label()[0] != "_"}
    assert list(lines) == ["observed", "from Apr 2000", "from Jul 2000"]
    april = lines["from Apr 2000"]
    np.testing.assert_allclose(april.get_ydata(), [-0.3] * 4, rtol=1e-6)  # April, then 3 leads
    assert april.get_xdata()[0] == np.datetime64("2000-04-01")
    # from the record's first month (a year before the first lead or less) to the last valid time
    assert lines["observed"].get_xdata()[[0, -1]].astype("M8[M]").tolist() == [
        np.datetime64("2000-01").item(),
        np.datetime64("2000-10").item(),
    ]
    assert ax.get_ylabel() == "nino3.4 index (°C)"
    assert ax.get_title(loc="left") == "forecasts by still"
    levels = [line.get_ydata()[0] for line in ax.get_lines() if line.get_label()[0] == "_"]
    assert levels == [0, -0.5, 0.5]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines)


def test_thresholds_stand_where_they_belong(observed):
    fc = forecasts(observed, [3])

    def dashed(ax):
        lines = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
        names = [label.get_text() for child in ax.child_axes for label in child.get_yticklabels()]
        return [line.get_ydata()[0] for line in lines], names

    names = ["La Niña", "El Niño"]
    assert dashed(fc.earthformer.plot.plume(observed)) == ([-0.5, 0.5], names)
    kelvin = fc.assign_attrs(units="K").earthformer.index("nino4")
    assert dashed(plot.plume(kelvin, observed.earthformer.index("nino4"))) == ([-0.5, 0.5], names)
    fahrenheit = fc.assign_attrs(units="degF").earthformer.index("nino4")
    assert dashed(plot.plume(fahrenheit)) == ([-0.9, 0.9], names)
    # neither for other indices, nor for absolute values, nor for other quantities
    index = fc.earthformer.index("nino3.4")
    absolute = index.assign_attrs(units_metadata="temperature: on_scale")
    for other in (index.rename("pdo"), absolute, index.assign_attrs(units="m")):
        assert dashed(plot.plume(other)) == ([], [])
    assert dashed(plot.plume(index.rename("pdo"), thresholds=[1])) == ([1], [])


def test_a_plume_compares_units_and_climatologies(observed):
    fc = forecasts(observed, [3]).earthformer.index("nino3.4")
    obs = observed.earthformer.index("nino3.4")
    lines = plot.plume(fc, (obs * 1.8).assign_attrs(obs.attrs, units="degF")).get_lines()
    line = next(line for line in lines if line.get_label() == "observed")
    np.testing.assert_allclose(line.get_ydata()[3], -0.3, rtol=1e-6)
    one, other = (
        da.assign_attrs(climatology_period=period)
        for da, period in ((fc, "1981-01/2010-12"), (obs, "1971-01/2000-12"))
    )
    with pytest.raises(ValueError, match="anomalies against"):
        plot.plume(one, other)
    with pytest.raises(ValueError, match="absolute values observed"):
        plot.plume(fc, obs.assign_attrs(units_metadata="temperature: on_scale"))


def test_many_inits_share_a_colour_and_a_label(observed):
    fc = forecasts(observed, range(8)).chunk(init=2)
    ax = fc.earthformer.plot.plume()
    plumes = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert len(plumes) == 8 and len({line.get_color() for line in plumes}) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["8 forecasts"]


def test_members_are_lines_of_one_colour(observed):
    fc = forecasts(observed, [3]).expand_dims(member=4)
    ax = fc.earthformer.plot.plume(observed)
    members = [line for line in ax.get_lines() if len(line.get_xdata()) == 4]
    assert len(members) == 4 and len({line.get_color() for line in members}) == 1


def test_plume_draws_on_the_axes_given_and_of_other_calendars(observed):
    fc = forecasts(observed, [3]).earthformer.index("nino3.4")
    times = xr.date_range("2000-02-30", periods=3, freq="D", calendar="360_day", use_cftime=True)
    ax = plt.figure().subplots()
    other = fc[0].assign_coords(valid_time=("lead", times)).drop_vars("init")
    assert plot.plume(other, ax=ax) is ax
    dates = ax.get_lines()[-1].get_xdata().astype("M8[D]").astype(str).tolist()
    assert dates == ["2000-03-01", "2000-03-01", "2000-03-02"]


def test_field_draws_what_it_is_given(observed):
    fc = forecasts(observed, [3, 6])
    figure = fc.earthformer.plot.field(observed, init="2000-07", lead=[1, 3])
    maps = [ax for ax in figure.axes if any(isinstance(c, QuadMesh) for c in ax.collections)]
    maps = [ax for ax in maps if ax.get_label() != "<colorbar>"]
    drawn = [float(np.ma.mean(ax.collections[0].get_array())) for ax in maps]
    np.testing.assert_allclose(drawn, [0.6, 0.6, -0.7, -0.9], rtol=1e-6)  # July; August, October
    assert [ax.get_title() for ax in maps[:2]] == [
        "lead 1 month, Aug 2000",
        "lead 3 months, Oct 2000",
    ]
    assert [maps[0].get_ylabel(), maps[2].get_ylabel()] == ["forecast", "observed"]
    assert figure.get_suptitle() == "forecast by still from Jul 2000"
    image = maps[0].collections[0]
    assert image.get_clim()[0] == -image.get_clim()[1] and image.get_cmap().name == "RdBu_r"
    bar = next(ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    assert bar.get_xlabel() == "sea surface temperature anomaly (°C)"
    figure.canvas.draw()
    labels = [t.get_text() for t in maps[2].get_xticklabels() + maps[0].get_yticklabels()]
    assert "180°" in labels and "120°W" in labels and "0°" in labels


def test_wide_maps_are_stacked(observed):
    record = observed.isel(lon=[0] * 102).assign_coords(lon=np.arange(0.0, 306, 3))  # 11 rows
    fc = forecasts(record, [3])
    figure = fc.earthformer.plot.field(record)
    assert figure.axes[0].get_gridspec().get_geometry() == (3, 2)  # leads down, observed next to it
    assert [ax.get_title() for ax in figure.axes[:3]] == [
        "forecast, lead 1 month, May 2000",
        "observed, lead 1 month, May 2000",
        "forecast, lead 2 months, Jun 2000",
    ]
    drawn = [float(ax.collections[0].get_array()[0, 0]) for ax in figure.axes[:2]]
    np.testing.assert_allclose(drawn, [-0.3, 0.4], rtol=1e-6)
    low, high = (plt.figure(figsize=size) for size in ((12, 3), (6, 6)))  # as they are larger
    maps = [plot.field(fc, record, figure=each).axes[0] for each in (low, high)]
    shapes = [ax.get_gridspec().get_geometry() for ax in maps]
    assert shapes == [(3, 2), (3, 2)]
    fc = forecasts(observed, [3])
    assert fc.earthformer.plot.field(observed).axes[0].get_gridspec().get_geometry() == (2, 3)


def test_field_leaves_out_the_empty_edges_and_says_what_is_not_observed(observed):
    fc = forecasts(observed, [23])
    fc = fc.where((fc.lat > -5) & (fc.lon > 200))
    figure = fc.earthformer.plot.field(observed)
    first, last = figure.axes[0], figure.axes[5]
    assert first.collections[0].get_array().shape == (8, 29)  # 4S .. 10N, 202E .. 258E
    assert [text.get_text() for text in last.texts] == ["no observation"]


def test_field_takes_any_longitudes_and_row_order_and_a_dataset(observed):
    fc = forecasts(observed, [3])
    west = (LON + 180) % 360 - 180
    fc = fc.assign_coords(lon=west).sortby("lon").isel(lat=slice(None, None, -1))
    figure = fc.to_dataset().earthformer.plot.field(observed.to_dataset(), lead=2)
    maps = figure.axes[:2]
    values = [float(np.ma.mean(ax.collections[0].get_array())) for ax in maps]
    np.testing.assert_allclose(values, [-0.3, -0.5], rtol=1e-6)
    assert maps[0].get_xlim()[0] > 150 and maps[0].get_xlim()[1] < 270


def test_a_domain_across_the_meridian_of_greenwich_is_drawn_in_one_piece(observed):
    """Its cells were stretched over the 260 degrees between its ends."""
    here = (LON - 160) / 2 - 30  # 30W to 20E
    obs = observed.assign_coords(lon=here)
    for convention in (here, here % 360):
        fc = forecasts(obs, [3]).assign_coords(lon=convention).sortby("lon")
        maps = fc.earthformer.plot.field(obs, lead=2).axes[:2]
        values = [float(np.ma.mean(ax.collections[0].get_array())) for ax in maps]
        np.testing.assert_allclose(values, [-0.3, -0.5], rtol=1e-6)
        assert maps[0].get_xlim() == (-30.5, 19.5)  # the last column is land


def test_observations_are_drawn_in_the_units_of_the_forecast(observed):
    fc = forecasts(observed, [3])
    kelvin = observed.assign_attrs(units="K")  # a difference of 1 K is one of 1 degC
    both = xr.Dataset({"ssta": kelvin, "other": observed + 1})
    for obs in (kelvin, both):
        drawn = fc.earthformer.plot.field(obs, lead=2).axes[1].collections[0].get_array()
        np.testing.assert_allclose(float(np.ma.mean(drawn)), -0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="absolute values observed"):
        plot.field(fc, observed.assign_attrs(units_metadata="temperature: on_scale"))


def test_maps_compare_climatologies(observed):
    fc = forecasts(observed, [3]).assign_attrs(climatology_period="1981-01/2010-12")
    other = observed.assign_attrs(climatology_period="1971-01/2000-12")
    with pytest.raises(ValueError, match=r'against \("1981", "2010"\)'):
        fc.earthformer.plot.field(other)


def test_days_are_counted_in_the_titles_of_maps(observed):
    fc = forecasts(observed, [3], leads=2).isel(init=0)
    days = np.array([5, 10]).astype("m8[D]")
    valid = ("lead", np.datetime64("2000-04-01", "s") + days)
    figure = plot.field(fc.assign_coords(lead=days, valid_time=valid))
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["+5 d, 2000-04-06", "+10 d, 2000-04-11"]


def test_what_cannot_be_drawn_is_said(observed):
    fc = forecasts(observed, [3])
    with pytest.raises(ValueError, match=r"fc.earthformer.index\("):
        plot.plume(fc)
    with pytest.raises(ValueError, match=r"obs.earthformer.index\("):
        plot.plume(fc.earthformer.index("nino3.4"), observed)
    fc = fc.expand_dims(member=2)
    with pytest.raises(ValueError, match=r"also member\n.*fc.isel\(member=0\)") as error:
        plot.field(fc)
    for line in str(error.value).split("try ")[1].split(", or "):
        plot.field(eval(line, {"fc": fc}))
    fc = fc.isel(member=0)
    with pytest.raises(ValueError, match="every value of this forecast is missing"):
        plot.field(fc.where(fc.lat > 90))
    with pytest.raises(ValueError, match=r"expected one variable\n +found a, b"):
        xr.Dataset({"a": fc, "b": fc}).earthformer.plot.field()
    with pytest.raises(ValueError, match="interp_like"):
        plot.field(fc, observed.isel(lat=slice(3, None)))
