"""Crops in space: where they lie, what is beyond the edge, turns, and training by them."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.training.windows import Crop, Crops, find_crops, turn_at_random


def numbered(steps, height, width):
    """Every pixel another number (N, H, W, 1)."""
    return torch.arange(float(steps * height * width)).reshape(steps, height, width, 1)


def test_a_crop_is_a_window_in_time_and_space():
    one, other = numbered(3, 4, 4), numbered(5, 6, 8)
    crops = Crops([one, other], torch.tensor([[0, 0, 0, 0], [1, 2, 1, 3]]), 2, 1, 4)
    x_BTHWC, y_BTHWC = crops[torch.tensor([1, 0])]
    torch.testing.assert_close(x_BTHWC[0], other[2:4, 1:5, 3:7])
    torch.testing.assert_close(y_BTHWC[1], one[2:3])


def test_beyond_the_edge_is_missing():
    crops = Crops([numbered(2, 4, 4)], torch.tensor([[0, 0, -1, 2]]), 1, 1, 4)
    x_BTHWC, _ = crops[torch.tensor([0])]
    expected = [[torch.nan] * 4] + [[4 * r + 2, 4 * r + 3, torch.nan, torch.nan] for r in range(3)]
    torch.testing.assert_close(x_BTHWC[0, 0, :, :, 0], torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": -4},
        {"stride": 0},
        {"beyond": -1},
        {"least": 7.0},
        {"least": float("nan")},
        {"checks": 0},
    ],
)
def test_a_crop_out_of_range_is_an_error(wrong):
    with pytest.raises(ValueError, match=f"expected crop.{next(iter(wrong))} as"):
        Crop(**{"size": 4, "stride": 4} | wrong)


def test_crops_are_taken_where_their_middle_is_wet():
    frames = torch.zeros(4, 8, 8, 1)
    frames[1, 5, 6] = 1  # in the middle of the crop at (4, 4), of those every 2 pixels
    frames[2] = torch.nan
    crop = Crop(size=4, stride=2, least=0.2)
    places = find_crops(frames, np.arange(3), 2, crop)  # last frames 1, 2, 3
    assert places.tolist() == [[0, 4, 4]]
    wider = Crop(size=4, stride=2, beyond=2, least=0.2)
    assert places[0].tolist() in find_crops(frames, np.arange(1), 2, wider).tolist()
    frames[1, 0, 0] = 1  # only crops that reach beyond the edge have it in their middle
    assert [0, -1, -1] in find_crops(frames, np.arange(1), 2, Crop(4, 1, 1, 0.2)).tolist()


def test_input_and_target_are_turned_alike():
    torch.manual_seed(0)
    x = numbered(1, 4, 4).expand(16, 2, 4, 4, 1)
    x_turned, y_turned = turn_at_random(x, x[:, :1])
    torch.testing.assert_close(x_turned[:, :1], y_turned)
    ways = {tuple(sample.flatten().tolist()) for sample in y_turned}
    assert 3 < len(ways) <= 8
    assert all(sorted(way) == list(range(16)) for way in ways)


def rain(steps, height, width, seed):
    """Showers in mm/h, missing in a corner."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    where = rng.uniform(0, (height, width), (12, 2))
    frames = [
        sum(9 * np.exp(-((y - a) ** 2 + (x - b - t) ** 2) / 30) for a, b in where)
        for t in range(steps)
    ]
    values = np.array(frames, "f4")
    values[:, :9, :9] = np.nan
    time = pd.date_range(f"20{10 + seed}-06-01", periods=steps, freq="5min")
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, {"time": time}, ("time", "y", "x"), "rain", attrs)


CARD = {
    "input": {"standard_name": "rainfall_rate", "units": "mm h-1", "valid_min": 0.0},
    "grid": {"kind": "pixels", "height": 32, "width": 32, "spacing": 1000.0, "larger": "whole"},
    "missing": "allowed",
    "scale": {"factor": 10.0, "floor": 0.1},
}


def train(tmp_path, **changes):
    usual = {
        "config": "tiny",
        "card": CARD,
        "crop": Crop(size=48, stride=16, beyond=8, checks=5),
        "recipe": xef.Recipe(epochs=2, batch_size=4, turns=True, warmup=0.0, learning_rate=1e-3),
        "pack": tmp_path / "pack",
        "device": "cpu",
        "progress": False,
    }
    data = [rain(9, 64, 80, 0), rain(8, 70, 64, 1)]
    return xef.train("nowcast", data, **{**usual, **changes})


def test_records_of_any_size_make_a_pack_that_forecasts(tmp_path):
    pack = train(tmp_path, validation=rain(8, 64, 64, 2), share=0.2, extra=rain(7, 48, 48, 3))
    assert pack.card.scale.floor == 0.1 and pack.card.input.missing == "allowed"
    assert list(pack.card.scores) == ["validation_loss"]
    assert pack.card.training.validation == "2012-06-01 .. 2012-06-01 00:35:00"
    assert "0.2 x" in pack.card.training.notes
    data = rain(6, 50, 61, 4)
    fc = data.earthformer.forecast(pack)
    assert fc.shape == (1, 3, 50, 61) and "tiles" not in fc.attrs["history"]
    assert bool((fc.isnull().any("lead") == data[-1].isnull()).all()) and float(fc.min()) >= 0
    lazy = data.chunk(time=2, y=20).earthformer.forecast(pack)
    np.testing.assert_array_equal(lazy.values, fc.values)


def test_a_run_taken_up_again_has_the_same_losses(tmp_path):
    how = {"epochs": 2, "batch_size": 4, "turns": True}
    for folder, stops in (("once", [None]), ("twice", [1, None])):
        for stop in stops:
            recipe = xef.Recipe(**how, stop=stop)
            train(tmp_path, pack=tmp_path / folder, recipe=recipe, share=0.2)
    once, twice = ((tmp_path / f"{n}.run" / "losses.csv").read_text() for n in ("once", "twice"))
    assert once == twice


def test_a_nowcast_by_the_command(tmp_path, monkeypatch):
    """From a configuration file, on a record whose first and last windows are padded."""
    monkeypatch.chdir(tmp_path)
    da = rain(7, 48, 48, 0)
    da.to_netcdf("radar.nc")
    config = {
        "model": {"name": "nowcast", "config": "tiny"},
        "data": [{"path": "radar.nc", "radar": True, "pad": [1, 1]}],
        "crop": {"size": 48, "stride": 16},
        "card": CARD,
        "recipe": {"epochs": 1, "batch_size": 4},
        "pack": "trained",
    }
    (tmp_path / "nowcast.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "nowcast.yaml"]) == 0
    fc = da.earthformer.forecast("trained", members=2)
    assert fc.shape == (1, 3, 2, 48, 48) and fc.isel(y=slice(9, None)).notnull().all()


def test_no_wet_crop(tmp_path):
    with pytest.raises(ValueError, match="100% of its middle above zero"):
        train(tmp_path, crop=Crop(size=48, stride=16, least=1.0))
