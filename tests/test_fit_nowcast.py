"""The training of the nowcast, on a small record: a pack that forecasts, and its parts by hand."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import xearthformer as xef
from xearthformer.models.nowcast.nowcast import PRESETS

PLACE = Path(__file__).parents[1] / "examples" / "fit_nowcast.py"
SPEC = importlib.util.spec_from_file_location("fit_nowcast", PLACE)
fit_nowcast = importlib.util.module_from_spec(SPEC)
sys.modules["fit_nowcast"] = fit_nowcast  # dataclasses look their module up
SPEC.loader.exec_module(fit_nowcast)

SIZE = 96


def save(path, frames=9, size=SIZE, seed=0):
    """Showers that move 3 km a frame along x, as a NetCDF file."""
    y, x = np.mgrid[:size, :size]
    where = np.random.default_rng(seed).uniform(-20, size, (30, 2))
    values = [
        sum(9 * np.exp(-((y - a) ** 2 + (x - b - 3 * t) ** 2) / 60) for a, b in where)
        for t in range(frames)
    ]
    coords = {
        "time": pd.date_range("2016-07-11", periods=frames, freq="5min"),
        "y": ("y", 1000.0 * np.arange(size)[::-1], {"units": "m"}),
        "x": ("x", 1000.0 * np.arange(size), {"units": "m"}),
    }
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    rain = xr.DataArray(np.array(values, "f4"), coords, ("time", "y", "x"), "rain_rate", attrs)
    rain.to_netcdf(path)
    return rain


@pytest.fixture
def fit(monkeypatch, tmp_path):
    """The command, on smaller crops for a smaller network."""
    monkeypatch.setattr(fit_nowcast, "SIZE", SIZE)
    monkeypatch.setattr(fit_nowcast, "PRESETS", {"radar": PRESETS["tiny"]})
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fit_nowcast.py", *map(str, words)])
        fit_nowcast.main()

    return run


def test_a_few_steps_make_a_pack_that_forecasts(fit, tmp_path, capsys):
    """One record is left out; a second run goes on."""
    rain = save(tmp_path / "radar_one.nc")
    save(tmp_path / "radar_two.nc", seed=1)
    files = ["radar_one.nc", "radar_two.nc", "--without", "radar_two"]
    how = ["--steps", 2, "--batch", 2]
    fit(*files, *how, "--out", "first")
    out = capsys.readouterr().out
    assert "radar_one: 2 windows of 96 x 96" in out and "radar_two" not in out
    assert "2: loss " in out
    pack = xef.open_pack("first")
    assert pack.card.training.events == ["radar_one"] and pack.card.context == 4
    fc = rain.earthformer.forecast(pack, members=2)
    assert fc.shape == (1, 3, 2, SIZE, SIZE) and fc.notnull().all() and fc.max() > 1

    fit("radar_two.nc", *how, "--start", "first", "--seed", 1, "--out", "second")
    second = xef.open_pack("second")
    assert second.card.training.notes.endswith("seed 1, from first")
    assert second.card.training.events == ["radar_two"]
    assert second.card.weights_sha256 != pack.card.weights_sha256


def test_records_that_are_too_small(fit, tmp_path):
    save(tmp_path / "narrow.nc", size=64)
    save(tmp_path / "short.nc", frames=7)
    for name, found in (("narrow", "9 x 64 x 64"), ("short", "7 x 96 x 96")):
        with pytest.raises(ValueError, match=f"{name}.nc: expected 8 frames of 96.*found {found}"):
            fit(f"{name}.nc", "--steps", 1)


def test_codes_and_back():
    """Nothing, the step of a code, 20 mm/h, more than any code says; what isn't seen."""
    rain = np.array([0.0, 0.1, 0.1 * 10**0.015, 20.0, 1e4, np.nan], "f4")
    x = fit_nowcast.normalised(rain)
    assert x[:5].tolist() == pytest.approx([0, 0, 0.015, 2.30103, 5], abs=1e-5)
    codes = fit_nowcast.coded(x)
    assert codes.tolist() == [0, 0, 1, 153, 254, 255]
    back = fit_nowcast.decoded(codes)
    assert back[:4].tolist() == pytest.approx([0, 0, 0.015, 2.295]) and back[5].isnan()


def numbered():
    """A record of one window: wet everywhere, past and future the same, other at every pixel."""
    codes = 1 + torch.arange(SIZE * SIZE).view(SIZE, SIZE) % 251
    codes = codes.to(torch.uint8)
    return fit_nowcast.Record("one", codes.expand(1, 4, -1, -1), codes.expand(1, 12, -1, -1))


def test_a_batch_turns_and_brightens_past_and_future_alike(monkeypatch):
    monkeypatch.setattr(fit_nowcast, "SIZE", SIZE)
    monkeypatch.setattr(fit_nowcast, "HIDDEN", 0.0)
    rng = np.random.default_rng(0)
    past, future, leads = next(fit_nowcast.batches([numbered()], 8, rng, 12))
    assert leads == sorted({*leads}) and len(leads) == 3
    assert past.shape == (8, 4, SIZE, SIZE) and future.shape == (8, 3, SIZE, SIZE)
    middle = slice(fit_nowcast.EDGE, -fit_nowcast.EDGE)
    assert torch.equal(past[:, :3, middle, middle], future[..., middle, middle])
    assert future[..., : fit_nowcast.EDGE, :].isnan().all() and past.isfinite().all()
    assert len({tuple(each[0, 0, :3].tolist()) for each in past}) == 8  # ways and factors
    assert past.min() >= 0


def test_squares_are_taken_where_it_rains(monkeypatch):
    """Of three squares one is wet, one is dry, and one is not seen."""
    monkeypatch.setattr(fit_nowcast, "SIZE", 32)
    codes = torch.zeros(1, 4, 32, 96, dtype=torch.uint8)
    codes[..., :32], codes[..., 64:] = 100, fit_nowcast.UNSEEN
    monkeypatch.setattr(fit_nowcast, "GRID", 32)
    at, weight = fit_nowcast.places(fit_nowcast.Record("one", codes, codes))
    assert at.tolist() == [[0, 0, 0], [0, 0, 32]]
    assert weight.tolist() == pytest.approx([1, 1.03])


def test_a_hidden_side_is_missing_in_the_past_alone(monkeypatch):
    monkeypatch.setattr(fit_nowcast, "SIZE", SIZE)
    monkeypatch.setattr(fit_nowcast, "HIDDEN", 1.0)
    past, future, _ = next(fit_nowcast.batches([numbered()], 6, np.random.default_rng(0), 12))
    hidden = past.isnan().float().mean(dim=(1, 2, 3))
    assert (hidden > 0.15).all() and (hidden < 0.51).all()
    assert future[:, 0, SIZE // 2, SIZE // 2].isfinite().any()
    edge = fit_nowcast.EDGE
    assert future[..., edge:-edge, edge:-edge].isfinite().all()  # what comes there is to be learnt
