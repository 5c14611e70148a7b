"""Products of ensembles, by hand: probabilities in neighbourhoods, quantiles, amounts."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import small_rain

import xearthformer as xef
from xearthformer.fields.cf import find_grid_mapping
from xearthformer.verification.products import accumulate, exceedance, quantiles

NAN = np.nan


def ensemble(members, leads=1, step="5min"):
    """A forecast of rain in mm/h by members (member, y, x), the same at each lead."""
    rain = small_rain(members).rename(time="member").assign_coords(member=range(len(members)))
    init = pd.DatetimeIndex(["2021-07-04T16:00"])
    lead = pd.timedelta_range(step, periods=leads, freq=step)
    fc = rain.expand_dims(init=init, lead=lead)
    valid = ("init", "lead"), init.values[:, None] + lead.values
    known = (
        ("init", "lead", "y", "x"),
        np.linspace(1, 0, leads)[None, :, None, None] * np.ones((1, leads, *rain.shape[1:])),
    )
    origin = {"pack": "mine", "pack_version": "2", "history": "made"}
    return fc.assign_coords(valid_time=valid, known=known).assign_attrs(origin)


@pytest.fixture
def corner():
    """Two members on 3 x 3 pixels: one with 5 mm/h in the first corner, one without rain."""
    members = np.zeros((2, 3, 3))
    members[0, 0, 0] = 5
    return ensemble(members)


# --- probabilities


def test_thresholds_stand_where_the_members_did(corner):
    found = corner.earthformer.exceedance([1, 5, 6])
    assert found.dims == ("init", "lead", "threshold", "y", "x") and found.name == "probability"
    assert found[0, 0, :, 0, 0].values.tolist() == [0.5, 0.5, 0]  # 5 equals, and counts
    assert found["threshold"].attrs["units"] == "mm h-1"
    assert found["threshold"].attrs["standard_name"] == "rainfall_rate"
    difference = corner.assign_attrs(units_metadata="temperature: difference")
    at = difference.earthformer.exceedance([1])["threshold"]
    assert at.attrs["units_metadata"] == "temperature: difference"
    assert found.attrs["units"] == "1" and "standard_name" not in found.attrs
    assert {"pack", "pack_version", "history", "grid_mapping"} <= {*found.attrs}
    xr.testing.assert_identical(found["known"], corner["known"])
    assert find_grid_mapping(found) == "crs"
    one = exceedance(corner, 5)
    np.testing.assert_array_equal(one, found.sel(threshold=5))
    assert one.attrs["long_name"] == "probability of at least 5 mm h-1"


def test_products_of_a_dataset_are_those_of_its_variable():
    fc = ensemble(np.arange(18.0).reshape(2, 3, 3), leads=2)
    for make in (
        lambda data: exceedance(data, 5),
        lambda data: quantiles(data, [0.5]),
        lambda data: accumulate(data, "10min"),
    ):
        xr.testing.assert_identical(make(fc.to_dataset(name=fc.name)), make(fc))


def test_the_mean_share_of_a_neighbourhood(corner):
    """3 x 3 pixels around the corner are 4 within the domain, of which one of one member: 1 / 8;
    around the middle there are 9: 1 / 18. The far edge sees nothing of it."""
    found = exceedance(corner, [1], window=3)[0, 0, 0]
    expected = [[1 / 8, 1 / 12, 0], [1 / 12, 1 / 18, 0], [0, 0, 0]]
    np.testing.assert_allclose(found, expected)
    assert found.attrs["long_name"].endswith(", mean of members within 3 pixels")


def test_anywhere_in_a_neighbourhood(corner):
    found = exceedance(corner, [1], window="3 km", anywhere=True)[0, 0, 0]
    assert found.values.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]]
    assert found.attrs["long_name"].endswith(" anywhere within 3 km")


@pytest.mark.parametrize("anywhere", [False, True])
def test_a_window_of_a_pixel_is_none_and_one_of_all_is_the_domain(corner, anywhere):
    pixel = exceedance(corner, [1, 5], window=1, anywhere=anywhere)
    np.testing.assert_array_equal(pixel, exceedance(corner, [1, 5]))
    whole = exceedance(corner, 1, window="1000 km", anywhere=anywhere)
    np.testing.assert_allclose(whole, 0.5 if anywhere else 1 / 18)


def test_pixels_without_a_value_do_not_count(corner):
    """The corner's neighbour is not seen by one member: 3 pixels are left around the corner."""
    fc = corner.copy(data=corner.data.copy())
    fc[0, 0, 1, 0, 1] = NAN
    found = exceedance(fc, 1, window=3)[0, 0]
    assert np.isnan(found[0, 1]) and found.isnull().sum() == 1
    assert found[0, 0].item() == pytest.approx(1 / 6) and found[1, 1].item() == 1 / 16
    assert np.isnan(exceedance(fc, 1)[0, 0, 0, 1])


def test_neighbourhoods_of_chunks_are_those_of_whole_fields():
    members = np.random.default_rng(0).gamma(0.5, 2, (3, 5, 4))
    fc = ensemble(members, leads=2).transpose("init", "y", "x", "lead", "member")
    lazy = fc.chunk(y=2, x=3, member=1, lead=1)
    for how in ({"window": 3}, {"window": 2, "anywhere": True}, {}):
        found = exceedance(lazy, [1, 4], **how)
        assert found.chunks is not None and found.dims == ("init", "y", "x", "lead", "threshold")
        xr.testing.assert_identical(found.compute(), exceedance(fc, [1, 4], **how))


def test_thresholds_with_units_of_their_own(corner):
    flux = (corner / 3600).assign_attrs(corner.attrs, units="kg m-2 s-1")
    found = exceedance(flux, ["1 mm/h", "5.1 mm h-1"])
    assert found[0, 0, :, 0, 0].values.tolist() == [0.5, 0]
    np.testing.assert_allclose(found["threshold"], [1 / 3600, 5.1 / 3600])
    assert found["threshold"].attrs["units"] == "kg m-2 s-1"


def test_a_series_has_no_neighbourhood_but_thresholds():
    fc = xr.DataArray([[0.0, 2.0], [1.0, 2.0]], dims=("lead", "member"), attrs={"units": "degC"})
    assert exceedance(fc, [1, 2]).values.tolist() == [[0.5, 0.5], [1, 0.5]]


# --- quantiles


def test_quantiles_are_those_of_xarray_in_the_place_of_members():
    fc = ensemble(np.arange(5)[:, None, None] * np.ones((5, 2, 2)))
    found = fc.chunk(member=2).earthformer.quantiles([0.25, 0.6])
    assert found.chunks is not None and found.dims == ("init", "lead", "quantile", "y", "x")
    np.testing.assert_allclose(found[0, 0, :, 0, 0], [1, 2.4])
    assert found.dtype == fc.dtype and found.attrs == fc.attrs and found.name == fc.name
    assert {"known", "crs", "valid_time"} <= {*found.coords}
    assert quantiles(fc, 0.5).dims == ("init", "lead", "y", "x")
    fc[0, 0, 3, 1, 1] = NAN
    assert quantiles(fc, 0.5)[0, 0].isnull().values.tolist() == [[False] * 2, [False, True]]


# --- amounts


def test_the_amount_of_an_hour():
    """12 leads of five minutes, at 6 and at 12 mm/h: 6 and 12 mm."""
    fc = ensemble([[[6.0]], [[12.0]]], leads=12)
    found = fc.earthformer.accumulate("1h")
    assert found.name == "rain_amount" and found.dims == fc.dims
    np.testing.assert_allclose(found[0, 0, :, 0, 0], [6, 12], rtol=1e-6)
    assert found["lead"].values == np.timedelta64(1, "h")
    assert found["lead_start"].values == np.timedelta64(0)
    assert found["valid_time"].values == np.datetime64("2021-07-04T17:00")
    assert found["known"].item() == pytest.approx(0.5) and found.dtype == fc.dtype
    said = {"units": "mm", "cell_methods": "lead: sum (interval: 5 minutes)"}
    assert said.items() <= found.attrs.items() and find_grid_mapping(found) == "crs"
    assert found.attrs["standard_name"] == "lwe_thickness_of_precipitation_amount"
    assert found.attrs["history"] == "made\nxearthformer accumulate: over 60min"
    assert exceedance(found, [6, 10, "2 cm"])[0, 0, :, 0, 0].values.tolist() == [1, 0.5, 0]


def test_periods_follow_one_another():
    """Rates of 6, 12, 18 and 24 mm/h for ten minutes each: 1 + 2 and 3 + 4 mm."""
    fc = ensemble(np.ones((1, 2, 2)), leads=4, step="10min")
    rates = fc * xr.DataArray([6.0, 12, 18, 24], dims="lead")
    rates = rates.assign_attrs(fc.attrs).astype(np.float64)
    lazy = rates.chunk(lead=1).assign_coords(known=fc["known"].chunk(lead=1))
    found = accumulate(lazy, "20min")
    assert found.chunks is not None and found["known"].chunks is not None
    np.testing.assert_allclose(found[0, :, 0, 0, 0], [3, 7])
    assert (found["lead"] / np.timedelta64(1, "m")).values.tolist() == [20, 40]
    assert (found["lead_start"] / np.timedelta64(1, "m")).values.tolist() == [0, 20]
    np.testing.assert_allclose(found["known"][0, :, 0, 0], [5 / 6, 1 / 6])
    second = accumulate(rates.isel(lead=slice(2, 4)), "20min")
    xr.testing.assert_allclose(second, found.isel(lead=[1]).compute())
    rates[0, 1, 0, 0, 0] = NAN
    assert accumulate(rates, "20min")[0, :, 0, 0, 0].isnull().values.tolist() == [True, False]
    assert "bounds" not in rates["lead"].attrs and "lead_start" not in rates.coords


def test_a_flux_is_a_rate():
    fc = ensemble([[[6.0]]], leads=12)
    flux = (fc / 3600).assign_attrs(units="kg m-2 s-1", standard_name="precipitation_flux")
    assert accumulate(flux, "1h").item() == pytest.approx(6, rel=1e-6)


# --- errors, and that what they say mends them


def mends(error, fc, **names):
    """The value of the line that an error says to try."""
    hint = str(error.value).rpartition("try ")[2].partition(", in ")[0]
    return eval(hint, {"fc": fc, "xef": xef, "xr": xr, **names})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda fc: exceedance(fc, []), r"thresholds that differ\n +found \[\]"),
        (lambda fc: exceedance(fc, [1, "1 mm/h"]), r"thresholds that differ\n"),
        (lambda fc: exceedance(fc, "much"), "a number as threshold.*\n +found 'much'"),
        (lambda fc: exceedance(fc, [NAN]), "a number as threshold.*\n +found nan"),
        (lambda fc: exceedance(fc, "5 K"), "units of the forecast, mm h-1\n +found '5 K'"),
        (lambda fc: exceedance(fc, "10 mm"), "units of the forecast, mm h-1\n +found '10 mm'"),
        (lambda fc: quantiles(fc, [10, 50, 90]), r"quantiles from 0 to 1\n +found \[10, 50, 90\]"),
        (lambda fc: quantiles(fc, [-0.1]), r"quantiles from 0 to 1\n +found \[-0.1\]"),
        (lambda fc: quantiles(fc, "half"), "quantiles from 0 to 1\n +found 'half'"),
        (lambda fc: accumulate(fc, "2h"), "fill periods of 2h\n +found leads over 60min, in steps"),
        (lambda fc: accumulate(fc, "25min"), "fill periods of 25min\n"),
        (lambda fc: accumulate(fc, "7min"), "fill periods of 7min\n"),
        (lambda fc: accumulate(fc, "an hour"), "a period such as 1h\n +found 'an hour'"),
    ],
)
def test_what_is_refused_and_the_line_that_mends_it(call, words):
    fc = ensemble(np.ones((2, 2, 2)), leads=12)
    with pytest.raises(ValueError, match=words) as error:
        call(fc)
    assert mends(error, fc).sizes["init"] == 1


def test_percent_are_quantiles_by_a_hundredth():
    fc = ensemble(np.ones((2, 2, 2)))
    with pytest.raises(ValueError) as error:
        quantiles(fc, [10, 50, 90])
    assert mends(error, fc)["quantile"].values.tolist() == [0.1, 0.5, 0.9]


def test_an_amount_as_threshold_of_rates_is_one_of_their_sum():
    fc = ensemble([[[6.0]], [[12.0]]], leads=12)
    with pytest.raises(ValueError) as error:
        exceedance(fc, "10 mm")
    assert mends(error, fc).values.tolist() == [[[[0.5]]]]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"window": 0}, "a window of 1 pixel or more"),
        ({"window": -16}, "a window of 1 pixel or more"),
        ({"window": "-16 km"}, "a window as a length"),
        ({"window": "16"}, "a window as a length"),
        ({"anywhere": True}, "a window, for anywhere"),
    ],
)
def test_windows_that_are_none(corner, how, words):
    with pytest.raises(ValueError, match=words) as error:
        exceedance(corner, 1, **how)
    hint = str(error.value).rpartition("try ")[2].removesuffix(", or a number of pixels from 1")
    assert eval(f"exceedance(corner, 1, {hint})", {"exceedance": exceedance, "corner": corner}).size


def test_a_length_on_a_grid_without_any_is_a_number_of_pixels(corner):
    bare = corner.drop_vars(["x", "y", "crs"])
    with pytest.raises(ValueError, match="a grid whose pixels have a length.*") as error:
        exceedance(bare, 1, window="3 km")
    assert str(error.value).endswith("try window=16, a number of pixels")
    assert exceedance(bare, 1, window=16).sizes["y"] == 3


@pytest.mark.parametrize("product", [lambda fc: exceedance(fc, 1), lambda fc: quantiles(fc, 0.5)])
def test_a_single_forecast_has_no_products_of_members(corner, product):
    with pytest.raises(ValueError, match="an ensemble, with the dim member") as error:
        product(corner.isel(member=0))
    assert str(error.value).endswith("members=50)")


def test_what_has_no_amount():
    fc = ensemble(np.ones((2, 2, 2)), leads=4)
    wind = fc.assign_attrs(standard_name="wind_speed", units="m s-1")
    cases = [
        (wind, "rainfall_rate\n"),
        (fc.assign_attrs(units="K"), "units that convert to mm h-1"),
        (fc.isel(lead=0), "a forecast with the dim lead"),
        (fc.isel(lead=[0, 1, 3]), "leads one step apart\n +found leads of 5min, 10min, 20min"),
        (fc.isel(lead=[1, 3]).assign_coords(lead=pd.to_timedelta([5, 15], "min")), "one step"),
        (fc.isel(lead=[0]), r"two leads or more, to know their step\n +found 1\n +try lead=2"),
        (
            fc.assign_coords(lead=("lead", range(1, 5), {"units": "minutes"})),
            "minutes\n.*decode",
        ),
        (fc.assign_coords(lead=range(1, 5)), r"leads in months\n.*seasonal_mean\(\)"),
        (accumulate(fc, "20min"), "rainfall_rate\n"),
    ]
    for data, words in cases:
        with pytest.raises(ValueError, match=words):
            accumulate(data, "20min")


def test_a_dataset_of_one_variable_opens_the_same_doors(corner):
    ds = corner.to_dataset()
    xr.testing.assert_identical(ds.earthformer.exceedance([1]), corner.earthformer.exceedance([1]))
    xr.testing.assert_identical(ds.earthformer.quantiles([0.5]), xef.quantiles(corner, [0.5]))
    hour = ensemble(np.ones((2, 2, 2)), leads=12)
    found = hour.to_dataset().earthformer.accumulate("1h")
    xr.testing.assert_identical(found, xef.accumulate(hour, "1h"))


def test_a_request_of_an_array_is_that_of_a_list():
    """A hindcast's record is compared by these words, and none asks for nothing."""
    of_list = xef.Products(exceed=[0.5, 1], quantiles=[0.1, 0.9])
    of_array = xef.Products(exceed=np.array([0.5, 1]), quantiles=np.array([0.1, 0.9]))
    assert of_array == of_list
    assert str(of_array) == str(of_list) == "--exceed 0.5 1 --quantiles 0.1 0.9"
    assert str(xef.Products(exceed="5 mm/h")) == "--exceed '5 mm/h'"
    assert not xef.Products(exceed=[], quantiles=np.array([]))
