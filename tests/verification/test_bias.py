"""Bias by lead and calendar month: by hand, and no forecast is corrected by its own year."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.verification.bias import correct_bias

ATTRS = {"units": "degC", "units_metadata": "temperature: difference"}


@pytest.fixture
def past():
    """Four years of inits, two leads; observed 0, and errors lead * month + year (0 .. 3)."""
    time = xr.date_range("2000-01", periods=50, freq="MS")
    obs = xr.DataArray(np.zeros(50), {"time": time}, ("time",), "nino3.4", ATTRS)
    init = np.arange(48)
    values = (init % 12 + 1)[:, None] * [1.0, 2.0] + (init // 12)[:, None]
    coords = {
        "init": time[:48],
        "lead": ("lead", [1, 2], {"units": "months"}),
        "valid_time": (("init", "lead"), time.values[init[:, None] + [1, 2]]),
    }
    return xr.DataArray(values, coords, ("init", "lead"), "nino3.4", ATTRS), obs


def test_the_other_years_correct(past):
    hindcast, obs = past
    found = hindcast.earthformer.correct_bias(hindcast, obs)
    # year y less the mean of the others: 0 - 2, 1 - 5/3, 2 - 4/3, 3 - 1
    expected = np.repeat([-2, -2 / 3, 2 / 3, 2], 12)
    np.testing.assert_allclose(found[:, 0], expected)
    np.testing.assert_allclose(found[:, 1], expected)
    assert found.attrs["units"] == "degC"
    assert "hindcasts from 2000-01 to 2003-12" in found.attrs["history"]


def test_a_forecast_of_a_new_year_is_corrected_by_all(past):
    hindcast, obs = past
    new = hindcast.isel(init=[5, 7]).assign_coords(
        init=xr.date_range("2010-06", periods=2, freq="2MS"),
        valid_time=(
            ("init", "lead"),
            xr.date_range("2010-07", periods=4, freq="MS").values.reshape(2, 2),
        ),
    )
    found = correct_bias(new, hindcast, obs)
    np.testing.assert_allclose(found, -1.5)  # year 0, less the mean of 0 .. 3
    one = correct_bias(new.isel(init=0), hindcast, obs)
    assert one.dims == ("lead",) and set(one.coords) == {"init", "lead", "valid_time"}
    np.testing.assert_allclose(one, -1.5)
    np.testing.assert_allclose(correct_bias(new.isel(lead=[1]), hindcast, obs), -1.5)


@pytest.mark.parametrize("lazy", [False, True])
def test_members_fields_and_units(past, lazy):
    hindcast, obs = past
    expected = correct_bias(hindcast, hindcast, obs)
    grid = {"lat": [0.0, 2.0], "lon": [190.0]}

    def field(da, north):
        land = xr.DataArray([1.0, north], dims="lat")
        return (da.expand_dims(grid, (-2, -1)) * land).assign_attrs(ATTRS).rename("nino3.4")

    members = xr.concat([hindcast - 1, hindcast + 1], "member").transpose("init", "lead", "member")
    fc = field(members, 1.0).astype("f4")
    kelvin = field(members, np.nan).assign_attrs(ATTRS, units="K").isel(lat=[1, 0])
    truth = field(obs, 1.0)
    if lazy:
        fc, kelvin, truth = fc.chunk(init=9), kelvin.chunk(init=8), truth.chunk(time=7)
    found = correct_bias(fc.to_dataset(), kelvin.to_dataset(), truth)["nino3.4"]
    assert (found.chunks is not None) == lazy
    assert found.dims == fc.dims and found.dtype == "f4"
    np.testing.assert_allclose(found[:, :, 0, 0, 0], expected - 1, atol=1e-5)
    np.testing.assert_allclose(found[:, :, 1, 0, 0], expected + 1, atol=1e-5)
    assert found.isel(lat=1).isnull().all()  # the hindcast has no value there


def test_what_cannot_be_corrected(past):
    hindcast, obs = past
    with pytest.raises(ValueError, match=r"from month 1 of other years than 2000\n.*2000"):
        correct_bias(hindcast.isel(init=[0]), hindcast.isel(init=slice(12)), obs)
    with pytest.raises(ValueError, match=r"the forecast's leads\n.*1 leads\n.*lead=2"):
        correct_bias(hindcast, hindcast.isel(lead=[0]), obs)
    other = hindcast.assign_attrs(climatology_period="1981-01/2010-12")
    with pytest.raises(ValueError, match=r'against \("1971", "2000"\).*\n.*\n.*a hindcast from'):
        correct_bias(hindcast.assign_attrs(climatology_period="1971-01/2000-12"), other, obs)
    absolute = hindcast.assign_attrs(units_metadata="temperature: on_scale")
    with pytest.raises(ValueError, match="anomalies, as the forecast has them"):
        correct_bias(hindcast, absolute, obs)


def test_packed_integers_are_refused(past):
    hindcast, obs = past
    packed = (hindcast * 100).astype("i2").assign_attrs(scale_factor=0.01)
    with pytest.raises(TypeError, match="decode_cf"):
        correct_bias(packed, hindcast, obs)
