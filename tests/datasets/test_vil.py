"""VIL: the byte scale's published values, both ways, and SEVIR-LR's blocks."""

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.sevir.vil import rain_of_vil, vil_of_rain

# Codes and kg m-2, as SEVIR documents them.
TABLE = {
    16: 0.154,
    31: 0.257,
    59: 0.527,
    74: 0.775,
    100: 1.513,
    133: 3.533,
    160: 7.073,
    181: 12.136,
    219: 32.234,
    254: 79.261,
}


def codes(values, dtype="u1"):
    return xr.DataArray(np.array(values, dtype), dims="x", attrs={"units": "1"}, name="vil")


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_the_published_values(dtype):
    kg_m2 = xef.vil_to_kg_m2(codes(list(TABLE), dtype))
    assert kg_m2.dtype == np.float32 and kg_m2.attrs["units"] == "kg m-2"
    np.testing.assert_allclose(kg_m2, list(TABLE.values()), atol=5e-4)


def test_the_three_pieces():
    """Code 5 is nothing, 6 is 4 / 90.66, 18 is 16 / 90.66; 19 is exp(-64.9 / 38.9)."""
    kg_m2 = xef.vil_to_kg_m2(codes([0, 5, 6, 18, 19]))
    expected = [0, 0, 4 / 90.66, 16 / 90.66, np.exp(-64.9 / 38.9)]
    np.testing.assert_allclose(kg_m2, expected, rtol=1e-6)
    assert (xef.vil_to_kg_m2(codes(range(6, 255))).diff("x") > 0).all()


def test_codes_come_back_whole():
    every = codes(range(255), "f4")
    back = xef.kg_m2_to_vil(xef.vil_to_kg_m2(every))
    assert back[:6].values.tolist() == [0] * 6 and back.attrs["units"] == "1"
    assert back[6:].values.tolist() == list(range(6, 255))
    between = codes([17.25, 18.5, 99.125], "f4")
    np.testing.assert_array_equal(xef.kg_m2_to_vil(xef.vil_to_kg_m2(between)), between)
    gap = xr.DataArray([0.18, 0.02, -1.0], dims="x", attrs={"units": "kg m-2"})
    np.testing.assert_allclose(xef.kg_m2_to_vil(gap), [18, 2 + 0.02 * 90.66, 0], atol=1e-3)


def test_what_is_missing_stays_missing():
    assert np.isnan(xef.vil_to_kg_m2(codes([255]))).all()
    assert np.isnan(xef.vil_to_kg_m2(codes([np.nan], "f4"))).all()
    missing = xr.DataArray([np.nan], dims="x", attrs={"units": "kg m-2"})
    assert np.isnan(xef.kg_m2_to_vil(missing)).all()


def test_lazy_in_lazy_out():
    lazy = xef.kg_m2_to_vil(xef.vil_to_kg_m2(codes(range(255)).chunk(x=50)))
    assert lazy.chunks == ((50,) * 5 + (5,),)
    np.testing.assert_array_equal(lazy[6:], range(6, 255))


def test_other_units_are_refused():
    with pytest.raises(ValueError, match="(?s)vil in '1' for vil_to_kg_m2.*units 'kg m-2'"):
        xef.vil_to_kg_m2(xef.vil_to_kg_m2(codes([16])))
    with pytest.raises(ValueError, match="(?s)vil in 'kg m-2'.*no attribute units"):
        xef.kg_m2_to_vil(xr.DataArray([1.0], dims="x"))


# --- SEVIR-LR


@pytest.fixture
def event():
    """Three frames of 3 x 6 pixels that count up; x, y and lat are the pixel's own."""
    vil = xr.DataArray(
        np.arange(54, dtype="f4").reshape(3, 3, 6),
        dims=("time", "y", "x"),
        coords={
            "time": xr.date_range("2019-06-01", periods=3, freq="5min"),
            "x": np.arange(6) * 1000.0,
            "y": np.arange(3) * 1000.0,
            "lat": (("y", "x"), np.arange(18.0).reshape(3, 6)),
        },
        attrs={"units": "1"},
        name="vil",
    )
    return vil


def test_blocks_of_nine_and_every_second_frame(event):
    """The largest of rows 0..2 and columns 0..2 is that of row 2, column 2: 14; then 3 more."""
    low = xef.to_sevir_lr(event)
    assert low.values.tolist() == [[[14, 17]], [[50, 53]]]
    assert low["x"].values.tolist() == [1000, 4000] and low["y"].values.tolist() == [1000]
    assert low["lat"].values.tolist() == [[7, 10]]
    assert (low["time"].values == event["time"].values[::2]).all()
    assert low.dtype == np.float32 and low.attrs["units"] == "1" and "SEVIR-LR" in str(low.attrs)


def test_a_dataset_lazily_and_other_dims(event):
    lazy = (
        xr.concat([event, event + 1], "event").transpose("event", "x", "time", "y").chunk(event=1)
    )
    low = xef.to_sevir_lr(lazy.to_dataset())
    assert low["vil"].chunks[0] == (1, 1) and low["vil"].dims == lazy.dims
    assert low["vil"].transpose("event", "time", "y", "x")[1].values.tolist() == [
        [[15, 18]],
        [[51, 54]],
    ]


def test_a_block_with_a_missing_pixel_is_missing(event):
    low = xef.to_sevir_lr(event.where(event != 7))
    assert low.isnull().values.tolist() == [[[True, False]], [[False, False]]]


def test_no_whole_blocks(event):
    with pytest.raises(ValueError, match="(?s)y and x of a multiple of 3 pixels.*x 5"):
        xef.to_sevir_lr(event[..., 1:])
    with pytest.raises(ValueError, match="(?s)time, and y and x.*found y 3, x 6"):
        xef.to_sevir_lr(event[0])


def test_of_a_dataset_vil_alone(event):
    ds = event.to_dataset().assign(ir069=event.rename(x="x_2km", y="y_2km").drop_vars("lat"))
    with pytest.raises(ValueError, match=r"vil alone\n +found also ir069\n"):
        xef.to_sevir_lr(ds)
    with pytest.raises(TypeError, match=r"a DataArray for vil_to_kg_m2\n +found Dataset"):
        xef.vil_to_kg_m2(ds)


def test_rain_goes_to_vil_and_back():
    """On the byte scale from 6 on; less is read as none."""
    vil = xr.DataArray(np.arange(6.0, 255.0, dtype="f4"), dims="x", attrs={"units": "1"})
    back = vil_of_rain(rain_of_vil(vil.assign_attrs(pack="p", history="made")))
    np.testing.assert_allclose(back, vil, atol=1e-2)
    assert back.name == "vil" and back.attrs["pack"] == "p" and back.attrs["history"] == "made"
    with pytest.raises(ValueError, match="a rain rate in 'mm h-1'"):
        vil_of_rain(vil)
