"""Numbers that no rain has are refused before they are moved, averaged or scored."""

import importlib.util
import re

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

import xearthformer as xef
from xearthformer.comparison.compare import compare
from xearthformer.fields.codes import check_rain


def rain(code=None, frames=8, units="mm h-1", standard_name="rainfall_rate"):
    """Frames (time, y, x) every 5 minutes of 1 mm/h; a code in the first pixel of all of them."""
    values = np.ones((frames, 4, 4), "f4")
    if code is not None:
        values[:, 0, 0] = code
    time = np.datetime64("2016-07-11T22:00") + np.arange(frames) * np.timedelta64(300, "s")
    km = {dim: (dim, 1.0 * np.arange(4), {"units": "km"}) for dim in ("y", "x")}
    attrs = {"standard_name": standard_name, "units": units}
    return xr.DataArray(values, {"time": time, **km}, ("time", "y", "x"), "rain", attrs)


def line_of(error, start="xef"):
    return re.search(rf"try ({start}.*\))", str(error.value))[1]


USES = {
    "to_step": lambda da: xef.to_step(da, "10min"),
    "to_step, the same": lambda da: xef.to_step(da, "5min"),
    "to_spacing": lambda da: xef.to_spacing(da, "2 km"),
    "compare": lambda da: compare(da, ["persistence"], lead=1),
}


@pytest.mark.parametrize("code", [-1.0, 9999.0, np.inf])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("lazy", [False, True])
def test_codes_are_refused_and_the_line_mends(use, code, lazy):
    da = rain(code).chunk(time=3) if lazy else rain(code)
    with pytest.raises(ValueError, match="(?s)rain of 0 to 5000.*pixels of da") as error:
        USES[use](da).compute()
    mended = eval(line_of(error), {"xef": xef, "np": np, "da": da})
    out = USES[use](mended).compute()
    if isinstance(out, xr.DataArray):
        np.testing.assert_allclose(out.values[~np.isnan(out.values)], 1.0)
    else:  # a pixel without a value is no pair
        assert (out["n"] == 7 * 15).all() and (out["mse"] == 0).all()  # of seven inits


@pytest.mark.parametrize("units, factor", [("mm h-1", 1.0), ("kg m-2 s-1", 1 / 3600)])
@pytest.mark.parametrize("lazy", [False, True])
def test_codes_of_observations(units, factor, lazy):
    fc = rain().earthformer.forecast("persistence", init="2016-07-11T22:00", lead=2)
    right = rain() * factor
    obs = right.where(rain(-1) > 0, -1.0).assign_attrs(rain().attrs, units=units)
    obs = obs.chunk(time=2) if lazy else obs
    with pytest.raises(ValueError, match="found -1, in .* of obs") as error:
        xef.verify(fc, obs, ["mse"]).compute()
    mended = eval(line_of(error), {"xef": xef, "obs": obs})
    result = xef.verify(fc, mended, ["mse"]).compute()
    np.testing.assert_allclose(result["mse"], 0, atol=1e-9)
    assert (result["n"] == 15).all()


def test_codes_of_forecasts():
    fc = rain().earthformer.forecast("persistence", init="2016-07-11T22:00", lead=2)
    fc[..., 0, 0] = -1
    with pytest.raises(ValueError, match="-1, in .* of fc") as error:
        xef.verify(fc, rain(), ["mse"])
    mended = eval(line_of(error, "fc"), {"fc": fc})
    assert (xef.verify(mended, rain(), ["mse"])["n"] == 15).all()
    # a regression gives less than none here and there, which is its error
    assert float(xef.verify(fc.where(fc > 0, -0.37), rain(), ["mse"])["mse"][0]) > 0


def test_what_passes():
    assert check_rain(rain(-5e-4)).values.min() < 0  # noise of packing
    for other in ("air_temperature", "thickness_of_rainfall_amount"):
        check_rain(rain(-1, standard_name=other))
    check_rain(rain(-1).assign_attrs(long_name="rain anomaly"))
    check_rain(rain(-1, units="1"))


def test_many_numbers_are_no_codes():
    da = rain().where(rain() < 0, -np.arange(1.0, 129).reshape(8, 4, 4))
    with pytest.raises(ValueError, match="and 124 more") as error:
        check_rain(da)
    assert (eval(line_of(error), {"xef": xef, "da": da}) == 0).all()
    with pytest.raises(ValueError, match="units that the numbers are in"):
        check_rain((-1e4 * da).assign_attrs(da.attrs))


@pytest.mark.parametrize("code", [254.0, 255.0, 327.67, 655.35, 3276.7])
def test_the_largest_number_of_a_byte_is_no_rain(code):
    """No rain leads to it: between its half and it are fewer pixels than are of it."""
    uses = USES | {
        "persistence": lambda da: da.earthformer.forecast("persistence", lead=1),
        "open_radar": xef.open_radar,
    }
    if importlib.util.find_spec("pysteps"):
        uses["extrapolate"] = lambda da: xef.extrapolate(da, lead=1)
    da = rain(code)
    da[:, 0, 1] = code
    for use in uses.values():
        with pytest.raises(ValueError, match="full byte or two") as error:
            use(da).compute()
        mended = eval(line_of(error), {"xef": xef, "da": da})
        assert np.isnan(mended[:, 0, :2]).all() and (mended[:, 1:] == 1).all()
        use(mended)
    storm = da.copy()
    storm[:, 1, :2] = 0.8 * code  # hail, and next to it a little less
    assert (xef.open_radar(storm) == check_rain(storm)).all()


def test_rain_in_half_precision():
    """In float16, the factor from m s-1 to mm h-1 is infinite."""
    small = (rain() / 3.6e6).astype("f2").assign_attrs(rain().attrs, units="m s-1")
    assert xef.open_radar(small).astype("f4").max() == pytest.approx(1, abs=0.1)  # few digits
    fc = rain().earthformer.forecast("persistence", init="2016-07-11T22:00", lead=2)
    assert float(xef.verify(fc, small, ["mse"])["mse"].max()) < 0.01
    pytest.importorskip("pysteps")
    moved = xef.extrapolate(small, lead=1)
    assert moved.dtype == np.float16 and (abs(moved.astype("f4") * 3.6e6 - 1) < 0.1).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_dry_pixels_that_are_missing_are_told(lazy, recwarn):
    """Rain everywhere against rain in a quarter: CSI is 1/4, and 1 of that quarter alone."""
    fc = rain().earthformer.forecast("persistence", init="2016-07-11T22:00", lead=2)
    obs = rain().where(rain().x < 1, 0.0)
    missing = obs.where(obs > 0)
    assert not len(recwarn)
    with pytest.warns(UserWarning, match=r"most of obs is missing .*obs.fillna\(0\)") as told:
        result = xef.verify(fc, missing.chunk(time=4) if lazy else missing, ["csi"]).compute()
    assert told[0].filename == __file__ or lazy
    assert float(result["csi_pooled"][0]) == 1
    mended = xef.verify(fc, missing.fillna(0), ["csi"])
    assert float(mended["csi_pooled"][0]) == 0.25
    xef.verify(fc, obs.where(obs.y > 2), ["csi"])  # a radar that sees a quarter, and dry pixels
    assert not len(recwarn)


def test_missing_pixels_are_told_once_a_call_whatever_the_blocks():
    missing = rain(frames=12).where(rain(frames=12).x < 1)
    missing[::2, 0, 0] = np.nan  # shares that differ from block to block
    how = {"init": slice(None), "lead": 1, "chunks": 2}
    for data in (missing.chunk(time=2), missing):
        for door in (
            lambda da: da.earthformer.forecast("persistence", **how),
            lambda da: xef.hindcast(da, "persistence", MemoryStore(), **how),
        ):
            with pytest.warns(UserWarning, match="most of da is missing") as told:
                door(data).compute()
            assert len([one for one in told if "is missing" in str(one.message)]) == 1


def test_weak_echoes_that_are_zero_dont_hide_dry_pixels_that_are_missing():
    dbz = np.full((2, 10, 10), np.nan)
    dbz[:, 2:6, 2:6], dbz[:, 2, 2] = 25.0, -5.0  # below 0 dBZ is no rain: 1 of 16 pixels seen
    time = xr.date_range("2016-07-11", periods=2, freq="5min")
    da = xr.DataArray(dbz, {"time": time}, ("time", "y", "x"), attrs={"units": "dBZ"})
    rain = xef.open_radar(da)
    with pytest.warns(UserWarning, match=r"most of da is missing and few pixels are 0: .*fillna"):
        check_rain(rain)
