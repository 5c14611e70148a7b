"""Which inits exist, how windows are cut, and the empty answer."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.fields import windows


def months(n, start="2000-01", **kwargs):
    time = xr.date_range(start, periods=n, freq="MS", **kwargs)
    return xr.DataArray(time, dims="time", coords={"time": time}, name="time")


def test_latest_init_is_the_default():
    assert windows.find_inits(months(6), 3).positions.tolist() == [5]


def test_slice_leaves_out_what_lacks_context_and_says_so():
    inits = windows.find_inits(months(6), 3, slice(None, "2000-05"))
    assert inits.positions.tolist() == [2, 3, 4]
    assert inits.dropped == "2 of 5 inits lack 3 frames of context"


def test_a_step_of_a_slice_counts_inits():
    time = months(36)
    # of the Januaries of 2000, 2001 and 2002, the first lacks context
    inits = windows.find_inits(time, 3, slice("2000-01", "2002-06", 12))
    assert inits.positions.tolist() == [12, 24]
    assert inits.dropped == "1 of 3 inits lack 3 frames of context"
    # a step counts from the first time of the slice, and stays in it
    assert windows.find_inits(time, 1, slice("2000-02", "2000-08", 3)).positions.tolist() == [
        1,
        4,
        7,
    ]
    assert windows.find_inits(time, 1, slice(None, None, np.int64(20))).positions.tolist() == [
        0,
        20,
    ]


@pytest.mark.parametrize("step", [0, -1, 1.5, True, "12MS"])
def test_a_step_that_counts_nothing(step):
    with pytest.raises(
        ValueError, match="(?s)the step of the slice init as a whole number from 1.*found .*12\\)"
    ):
        windows.find_inits(months(36), 3, slice("2000-01", None, step))


def test_a_month_a_list_and_a_datetime_are_labels():
    time = months(6)
    assert windows.find_inits(time, 2, "2000-03").positions.tolist() == [2]
    assert windows.find_inits(time, 2, ["2000-05", "2000-03"]).positions.tolist() == [4, 2]
    assert windows.find_inits(time, 2, np.datetime64("2000-04-01")).positions.tolist() == [3]
    assert windows.find_inits(time, 2, time[3]).positions.tolist() == [3]
    assert windows.find_inits(time, 2, time[3:5]).positions.tolist() == [3, 4]


def test_cftime_labels():
    time = months(6, calendar="noleap", use_cftime=True)
    assert windows.find_inits(time, 2, "2000-03").positions.tolist() == [2]
    assert windows.find_inits(time, 2, slice("2000-03", "2000-04")).positions.tolist() == [2, 3]


@pytest.mark.parametrize("init", ["2001-01", "soon", ["2000-03", "1999-12"], np.datetime64("1999")])
def test_init_outside_the_data(init):
    with pytest.raises(ValueError, match="the data's own times, 2000-01-01 to 2000-06-01"):
        windows.find_inits(months(6), 3, init)


def test_slice_without_an_init():
    with pytest.raises(ValueError, match="(?s)2000-03-01 to 2000-06-01.*found none in '2001'"):
        windows.find_inits(months(6), 3, slice("2001", "2002"))


def test_label_without_context_names_the_first_possible():
    with pytest.raises(
        ValueError, match="(?s)expected 3 frames up to each init.*found 2.*2000-03-01"
    ):
        windows.find_inits(months(6), 3, "2000-02")


def test_record_shorter_than_a_window():
    with pytest.raises(
        ValueError, match="(?s)expected a record of at least 12 time steps.*found 6"
    ):
        windows.find_inits(months(6), 12)


def test_empty_list():
    with pytest.raises(ValueError, match="found an empty list"):
        windows.find_inits(months(6), 2, [])


def test_blocks_break_at_the_size_at_gaps_and_where_order_turns():
    # context 2: windows at 1, 2, 4 overlap or touch; 9 is far; 8 turns back
    positions = np.array([1, 2, 4, 9, 8])
    assert [positions[b].tolist() for b in windows.blocks(positions, 2, 10)] == [
        [1, 2, 4],
        [9],
        [8],
    ]
    assert [b.stop for b in windows.blocks(np.arange(5), 2, 2)] == [2, 4, 5]


@pytest.mark.parametrize("context", [1, 3])
def test_cut_gives_the_frames_up_to_each_position(context):
    # frame k holds the number k everywhere
    da = xr.DataArray(np.arange(5.0), dims="time", coords={"time": months(5).values})
    da = da.expand_dims(y=[0.0, 1.0], x=[0.0, 1.0, 2.0]).transpose("time", "y", "x")
    cut = windows.cut_windows(da, context, np.array([2, 4]))
    assert cut.dims == ("init", "time", "y", "x")
    assert cut[:, :, 0, 0].values.tolist() == [list(range(p - context + 1, p + 1)) for p in (2, 4)]


def template_of(time, dims=("time", "lat", "lon"), positions=(1, 2), lead=3):
    sizes = {"time": time.size, "lat": 2, "lon": 3}
    coords = {"time": time.values, "lat": [0.0, 5.0], "lon": [0.0, 5.0, 10.0], "crs": 0}
    data = np.zeros([sizes[d] for d in dims], "f4")
    da = xr.DataArray(data, dims=dims, coords=coords, name="ssta")
    return windows.template(da, da["time"], np.array(positions), lead)


def test_template_has_every_label_and_no_value():
    empty = template_of(months(4))
    assert empty.dims == ("init", "lead", "lat", "lon")
    assert empty.chunks is not None
    assert empty["lead"].values.tolist() == [1, 2, 3]
    assert empty["lead"].attrs["units"] == "months"
    assert empty["init"].attrs["standard_name"] == "forecast_reference_time"
    assert empty["valid_time"].dims == ("init", "lead")
    # init 2000-02 and lead 2 is 2000-04; init 2000-03 and lead 3 lies beyond the record: 2000-06
    assert empty["valid_time"].values[0, 1] == np.datetime64("2000-04-01")
    assert empty["valid_time"].values[1, 2] == np.datetime64("2000-06-01")
    assert "crs" in empty.coords and "time" not in empty.coords


def test_template_keeps_the_order_of_the_users_spatial_dims():
    empty = template_of(months(4), dims=("lon", "lat", "time"))
    assert empty.dims == ("init", "lead", "lon", "lat")


def test_lead_below_a_day_is_a_duration():
    time = xr.date_range("2000-01-01", periods=4, freq="5min")
    empty = template_of(xr.DataArray(time, dims="time"))
    assert empty["lead"].values[2] == np.timedelta64(15, "m")
    assert empty["valid_time"].values[0, 0] == np.datetime64("2000-01-01T00:10")


def test_an_init_by_a_stamp_that_was_rounded():
    time = xr.date_range("2000-01-01", periods=4, freq="5min")
    time = xr.DataArray(time, dims="time", coords={"time": time})
    for seconds in (4, -10, 0):
        label = time[2] + np.timedelta64(seconds, "s")
        assert windows.find_inits(time, 1, label).positions.tolist() == [2]
    with pytest.raises(ValueError, match="an init among the data's own times"):
        windows.find_inits(time, 1, time.values[2] + np.timedelta64(40, "s"))
