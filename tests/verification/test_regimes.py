"""The regime of a frame of rain, on fields small enough to see which it is."""

import numpy as np
import pytest
from small_radar import small_rain

import xearthformer as xef
from xearthformer.verification.regimes import REGIMES, rain_regime

FAR = 20_000.0  # metres a pixel: 8 x 8 are 160 km


def field(value=0.0, **pixels):
    """8 x 8 pixels of one value, but for those at rows and columns: at_1_2=20.0."""
    frame = np.full((8, 8), value)
    for place, other in pixels.items():
        row, column = map(int, place.split("_")[1:])
        frame[row, column] = other
    return frame


LINE = field() + 20 * np.eye(8)[:, ::-1]  # of 8 pixels that touch at their corners: 226 km
CELLS = field(at_1_1=20.0, at_1_5=20.0, at_6_3=20.0)  # 20 km each
LIGHT = field(at_0_0=1.0, at_0_1=1.0, at_1_0=1.0)  # 3 of 64 pixels, none intense
FRONT = field(1.0) + 9 * (np.arange(8) < 3)  # a band of 60 x 160 km, but rain everywhere
STEADY = field(2.0, at_4_4=6.0, at_0_7=6.0)  # 2 of 64 are intense, less than 5 %
HIDDEN = np.where(np.arange(64).reshape(8, 8) < 15, 1.0, np.nan)  # less than a quarter seen


def test_what_each_regime_looks_like():
    frames = [field(), STEADY, LINE, CELLS, LIGHT, HIDDEN, FRONT]
    found = rain_regime(small_rain(frames, pixel=FAR))
    regimes = ["dry", "stratiform", "organised", "showers", "stratiform", "", "stratiform"]
    assert found.values.tolist() == regimes
    assert set(found.values) - {""} | {"winter"} == {*REGIMES}
    # mm h-1 are what the bounds are in
    other = small_rain(np.array(frames) / 3.6e6, pixel=FAR).assign_attrs(units="m s-1")
    assert rain_regime(other).values.tolist() == found.values.tolist()


def test_winter_is_what_the_season_makes_of_rain_that_is_not_convective():
    frames = [STEADY, LIGHT, field(1.0, at_2_2=6.0, at_5_5=6.0), LINE, CELLS, field()]
    november = small_rain(frames, start="2024-11-26T01:00", pixel=FAR)
    regimes = ["winter", "winter", "winter", "organised", "showers", "dry"]
    assert rain_regime(november).values.tolist() == regimes
    july = small_rain(frames[:1], pixel=FAR)
    assert rain_regime(july, winter=(6, 7, 8)).values.tolist() == ["winter"]  # in the south
    with pytest.raises(ValueError, match=r"found \(13,\)\n +try winter=\(11, 12, 1, 2, 3\)"):
        rain_regime(july, winter=(13,))


@pytest.mark.parametrize(("gap", "regime"), [(4, "organised"), (6, "showers")])
def test_cells_near_to_each_other_are_one_line(gap, regime):
    # 8 x 100 km, cells of 8 km along a row: 96 km together if what lies between is near enough
    row = np.arange(100) % (8 + gap) < 8
    frame = np.zeros((8, 100))
    frame[3] = 20 * row
    assert rain_regime(small_rain([frame])).values.tolist() == [regime]


def test_a_length_needs_pixels_that_have_one():
    obs = small_rain([LINE, CELLS]).drop_vars(["y", "x"])
    with pytest.raises(ValueError, match="pixels whose length is known") as error:
        rain_regime(obs)
    mended = eval(str(error.value).split("try ")[1].split(", for")[0])
    assert rain_regime(mended).values.tolist() == ["showers", "showers"]  # the line is 11 km


def test_scores_by_regime_of_the_init():
    rain = small_rain([STEADY, CELLS, STEADY], pixel=FAR)
    fc = rain.earthformer.forecast("persistence", init=rain["time"].values[:2], lead=1)
    found = xef.verify(fc, rain, ["bias"], thresholds=[1.0], by=xef.rain_regime(rain))
    assert found["rain_regime"].values.tolist() == ["showers", "stratiform"]
    # of 3 cells 64 pixels come; of 64 pixels 3 cells
    np.testing.assert_allclose(found["bias"].squeeze(), [3 / 64, 64 / 3])
