"""Columns of longitude that are there twice, as 0 and 360: read once, answered as they came."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.climate.indices import index
from xearthformer.climate.regions import cell_areas
from xearthformer.fields.columns import without_repeats


@pytest.fixture(scope="module")
def ssta():
    """A year of anomalies round the globe, from 0 to 358 degrees."""
    sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
    return sst.earthformer.anomaly(("1990", "1992")).isel(time=slice(-12, None)).load()


def wrapped(da, before, after):
    """Data with its last columns once more before the first, and its first after the last."""
    parts = [da[..., da.sizes["lon"] - before :], da, da[..., :after]]
    for part, turn in ((parts[0], -360), (parts[2], 360)):
        part["lon"] = part["lon"] + turn
    return xr.concat(parts, "lon").transpose(*da.dims).assign_attrs(da.attrs)


def without(da, columns):
    da = da.copy()
    da[..., columns] = np.nan
    return da


FORMS = {
    "0 to 360": lambda da: wrapped(da, 0, 1),
    "-180 to 180": lambda da: wrapped(
        da.assign_coords(lon=(da["lon"] + 180) % 360 - 180).sortby("lon"), 0, 1
    ),
    "a halo on both sides": lambda da: wrapped(da, 2, 3),
    "the last is missing": lambda da: without(wrapped(da, 0, 1), [-1]),
    "the first is missing": lambda da: without(wrapped(da, 0, 1), [0]),
    "lazy": lambda da: without(wrapped(da, 1, 1), [0]).chunk(time=6, lon=50),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_that_of_each_column_once(form, ssta):
    own, given = ssta, FORMS[form](ssta)
    fc, right = (da.earthformer.forecast("damped-persistence", lead=2) for da in (given, own))
    assert fc["lon"].equals(given["lon"]) and fc.dims == right.dims
    assert "there twice read once" in fc.attrs["history"]
    whole = right.sel(lon=given["lon"].values % 360)
    np.testing.assert_array_equal(fc, whole)
    np.testing.assert_allclose(index(given, "nino3.4"), index(own, "nino3.4"), rtol=1e-6)
    np.testing.assert_allclose(index(given, "globe"), index(own, "globe"), rtol=1e-5)
    assert cell_areas(given).sum().item() == pytest.approx(cell_areas(own).sum().item())


def test_scores_count_it_once(ssta):
    given = wrapped(ssta, 0, 1)
    init = ssta["time"].values[-3]
    fc, right = (
        da.earthformer.forecast("damped-persistence", init=init, lead=2) for da in (given, ssta)
    )
    expected = xef.verify(right, ssta, ["mse"])
    for forecast in (fc, right):
        for obs in (given, without(given, [-1]), without(given, [0]), ssta):
            found = xef.verify(forecast, obs, ["mse"])
            np.testing.assert_allclose(found["mse"], expected["mse"], rtol=1e-6)
            np.testing.assert_array_equal(found["n"], expected["n"])


@pytest.mark.parametrize("lazy", [False, True])
def test_other_values_are_an_error_whose_line_mends(lazy, ssta):
    given = wrapped(ssta, 0, 1)
    given[..., -1] += 1
    given = given.chunk() if lazy else given
    with pytest.raises(ValueError, match="values that differ, such as") as error:
        given.earthformer.forecast("damped-persistence", lead=2).compute()
    da = eval(str(error.value).split("try ")[1].split(", for")[0], {"da": given})
    right = ssta.earthformer.forecast("damped-persistence", lead=2)
    xr.testing.assert_equal(da.earthformer.forecast("damped-persistence", lead=2).compute(), right)


def test_what_is_no_longitude_repeats_nothing():
    """Metres, places by number, and 2-D longitudes."""
    x = np.array([0.0, 120, 240, 360])
    for coords in (
        {"x": ("x", x, {"units": "m"})},
        {"x": ("x", x, {"standard_name": "projection_x_coordinate"})},
        {"x": x},
        {},
    ):
        da = xr.DataArray(np.zeros((2, 4)), coords, ("y", "x"))
        assert without_repeats(da)[1] is None
    curved = {name: (("j", "i"), np.zeros((2, 4))) for name in ("lat", "lon")}
    da = xr.DataArray(np.zeros((2, 4)), {**curved, "i": x}, ("j", "i"))
    assert without_repeats(da)[1] is None


def test_pairs_of_a_column_that_is_there_twice_are_counted_once():
    """Three rows of five columns, the last of which is the first: 12 pairs, and not 15."""
    time = pd.date_range("2000-01-01", periods=3, freq="D")
    coords = {"time": time, "lat": [-10.0, 0, 10], "lon": [0.0, 90, 180, 270, 360]}
    da = xr.DataArray(np.ones((3, 3, 5)), coords, ("time", "lat", "lon"), name="t")
    fc = da.earthformer.forecast("persistence", init=time[1], lead=1)
    assert xef.verify(fc, da, ["mse"])["n"].item() == 12
