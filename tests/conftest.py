"""Fixtures: real data from a folder beside the repository; tests that need it skip without it."""

import os
import shutil
from pathlib import Path

# Torch's threads wait for one another on a busy machine, and how many they are is part of the bits.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
import xarray as xr

import xearthformer as xef
from xearthformer import models
from xearthformer.packs.card import Card, LatLonGrid, ModelSpec, Training
from xearthformer.packs.published import SST_ANOMALY
from xearthformer.packs.scale import Scale

SHARED = Path(__file__).parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values: $XEF_SHARED, else ../shared."""
    folder = Path(os.environ.get("XEF_SHARED", SHARED)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set XEF_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def ersst(shared: Path) -> xr.Dataset:
    """Monthly ERSST v3b, 1960 to 2009, global 2 degrees, NaN on land; loaded once, read only."""
    path = shared / "data" / "ersst_v3b_1960_2009.nc"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    with xr.open_dataset(path) as ds:
        return ds.load()


@pytest.fixture(scope="session")
def same_tiny_pack(tmp_path_factory) -> xef.Pack:
    """An untrained Earthformer of anomalies: 3 months in, 2 out, 8 x 8 cells, one of them land.

    One for all tests, to be left as it is.
    """
    config = {
        "input_shape": (3, 8, 8, 1),
        "target_shape": (2, 8, 8, 1),
        "base_units": 16,
        "num_heads": 2,
    }
    torch.manual_seed(0)
    model = models.build("earthformer", config)
    grid = LatLonGrid(
        latitude=[-17.5 + 5 * i for i in range(8)],
        longitude=[160.0 + 5 * j for j in range(8)],
        land=["#......."] + ["........"] * 7,
    )
    card = Card(
        name="tiny",
        version="1",
        title="an untrained network",
        model=ModelSpec(name="earthformer", config={}),
        input=SST_ANOMALY,
        output=SST_ANOMALY,
        grid=grid,
        time_step="month",
        history=3,
        reach=2,
        missing="land",
        scale=Scale(factor=2.0),
        training=Training(data="none"),
    )
    return xef.save_pack(tmp_path_factory.mktemp("packs") / "tiny", model, card)


@pytest.fixture
def tiny_pack(same_tiny_pack: xef.Pack, tmp_path: Path) -> xef.Pack:
    """A copy of that pack for one test."""
    return xef.open_pack(shutil.copytree(same_tiny_pack.path, tmp_path / "tiny"))


@pytest.fixture
def compiled(monkeypatch):
    """What torch is asked to compile, and gives back as it is: test_engine.py compiles."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda call: asked.append(call) or call)
    return asked
