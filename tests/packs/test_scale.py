"""The numbers of a scale, forth and back, on everything that has arithmetic."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from xearthformer.packs.scale import Scale


def test_by_hand():
    scale = Scale(offset=2.0, factor=4.0)  # (10 - 2) / 4 = 2
    assert scale.apply(10.0) == 2.0
    assert scale.undo(2.0) == 10.0


def test_default_is_identity():
    assert Scale().apply(3.5) == 3.5 == Scale().undo(3.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_keeps_dtype_and_labels(dtype):
    da = xr.DataArray(np.arange(4, dtype=dtype), dims="x", attrs={"units": "degC"}, name="sst")
    scale = Scale(-16.549121856689453, 26.747320175170898)
    there = scale.apply(da)
    back = scale.undo(there)
    assert there.dtype == back.dtype == dtype
    np.testing.assert_allclose(back, da, atol=1e-5)
    assert back.name == "sst"


def test_lazy_stays_lazy():
    da = xr.DataArray(np.ones(4, "float32"), dims="x").chunk(x=2)
    assert Scale(1, 2).apply(da).chunks == ((2, 2),)


def test_tensor():
    torch = pytest.importorskip("torch")
    x = torch.tensor([10.0, 14.0])
    assert Scale(2, 4).apply(x).tolist() == [2.0, 3.0]
    assert Scale(2, 4).undo(Scale(2, 4).apply(x)).dtype == torch.float32


def test_json_round_trip():
    scale = Scale(1, np.float32(2))
    assert Scale(**json.loads(json.dumps(dataclasses.asdict(scale)))) == scale


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))], ids=["zero", "nan", "inf"]
)
def test_refuses_what_has_no_inverse(numbers):
    with pytest.raises(ValueError, match=r"expected a finite offset.*type Scale\(offset, 1.0\)"):
        Scale(*numbers)


RAIN = Scale(factor=20.0, floor=0.1)


def test_decibels_by_hand():
    # 1 mm/h is 10 dB above 0.1 mm/h: half of 20; what isn't above the floor is none
    rain = np.array([0.0, 0.05, 0.1, 1.0, 10.0, np.nan], "f4")
    there = RAIN.apply(rain)
    np.testing.assert_allclose(there, [0, 0, 0, 0.5, 1, np.nan], atol=1e-6)
    np.testing.assert_allclose(RAIN.undo(there), [0, 0, 0, 1, 10, np.nan], rtol=1e-6)
    assert RAIN.undo(np.float32(-0.3)) == 0 == RAIN.undo(-0.3)
    assert RAIN.apply(1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decibels_there_and_back_keep_dtype_and_labels(dtype):
    da = xr.DataArray(np.geomspace(0.2, 90, 7).astype(dtype), dims="x", name="rain")
    for there in (RAIN.apply(da), RAIN.apply(da.chunk(x=3))):
        back = RAIN.undo(there)
        assert there.dtype == back.dtype == dtype and back.name == "rain"
        assert back.chunks == there.chunks
        np.testing.assert_allclose(back, da, rtol=1e-5)


def test_decibels_of_tensors_are_undone():
    torch = pytest.importorskip("torch")
    there = np.array([-0.5, 0.0, 0.5, 1.0, np.nan], "f4")
    back = RAIN.undo(torch.from_numpy(there))
    assert back.dtype == torch.float32
    np.testing.assert_allclose(back, [0, 0, 1, 10, np.nan], rtol=1e-6)


def test_decibels_undone_are_applied_again():
    levels = np.linspace(0, 2, 9)
    np.testing.assert_allclose(RAIN.apply(RAIN.undo(levels)), levels, atol=1e-12)


@pytest.mark.parametrize("floor", [0.0, -1.0, float("nan")])
def test_a_floor_lies_above_zero(floor):
    with pytest.raises(ValueError, match="expected a finite floor above 0"):
        Scale(floor=floor)


def test_a_card_without_a_floor_still_opens():
    assert Scale(**{"offset": 1.0, "factor": 2.0}).floor is None
