"""The table of models trained alike: rows and spread, what a second run does, what is refused."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.comparison.papers import enso_scores, enso_table, frame_scores
from xearthformer.packs.published import ICAR_GRID
from xearthformer.packs.scale import Scale

pytest.importorskip("lightning")
from xearthformer.comparison import train_table
from xearthformer.comparison.train_table import Table
from xearthformer.training.loop import pace

EXAMPLES = Path(__file__).parents[2] / "examples"
STEM = {"kind": "conv", "scales": [[4, 4]], "convs": [1]}
EARTHFORMER = {"base_units": 16, "num_heads": 2, "enc_depth": [1], "dec_depth": [1], "stem": STEM}


def anomalies(months: int = 80) -> xr.Dataset:
    """A warm wave that travels, and noise, on the grid of ICAR-ENSO; the north is land."""
    rng = np.random.default_rng(0)
    time = np.arange(months)[:, None, None]
    lat, lon = np.array(ICAR_GRID.latitude), np.array(ICAR_GRID.longitude)
    wave = np.cos(time / 6 + np.radians(lon)) * np.cos(np.radians(lat))[:, None]
    values = (wave + 0.1 * rng.standard_normal((months, 24, 48))).astype("f4")
    values[:, -2:] = np.nan
    coords = {
        "time": pd.date_range("1990-01", periods=months, freq="MS"),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    attrs["units_metadata"] = "temperature: difference"
    return xr.Dataset({"sst": (("time", "lat", "lon"), values, attrs)}, coords)


def entries(folder: Path) -> dict:
    """Two models that learn and one that is solved, beside persistence, for two seeds."""
    lengths = {"input_shape": [12, 24, 48, 1], "target_shape": [14, 24, 48, 1]}
    small = EARTHFORMER | lengths
    still = {"in_len": 12, "out_len": 14}
    return {
        "models": [
            {"name": "earthformer", "config": small},
            {"name": "convlstm", "config": {**still, **GRID, "patch": [4, 8], "hidden": [8]}},
            {"name": "damped-persistence", "config": still},
        ],
        "packs": ["persistence"],
        "data": {"path": str(folder / "sst.nc")},
        "period": ["1990-01", "1993-06"],
        "validation": ["1993-07", "1994-10"],
        "test": ["1994-11", "1996-08"],
        "card": {"like": "enso", "training": {"data": "a wave"}},
        "scores": "enso",
        "seeds": [0, 1],
        "recipe": {"learning_rate": 0.003, "batch_size": 8, "epochs": 2, "ema_decay": 0.9},
        "folder": str(folder / "table"),
        "device": "cpu",
    }


GRID = {"height": 24, "width": 48}


def command(folder: Path, **changes) -> int:
    """Write the configuration and give it to `xearthformer train`."""
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump({**entries(folder), **changes}))
    return main(["train", str(path)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of a table, and what was printed of it."""
    folder = tmp_path_factory.mktemp("enso")
    anomalies().to_netcdf(folder / "sst.nc")
    with open(folder / "printed.txt", "w") as printed, contextlib.redirect_stdout(printed):
        assert command(folder) == 0
    return folder


RUNS = [
    ("earthformer", 0),
    ("earthformer", 1),
    ("convlstm", 0),
    ("convlstm", 1),
    ("damped-persistence", None),
    ("persistence", None),
]


def test_a_line_a_model_and_seed(made):
    runs = pd.read_csv(made / "table" / "table.csv")
    found = [
        (name, None if np.isnan(seed) else seed)
        for name, seed in zip(runs["model"], runs["seed"], strict=True)
    ]
    assert found == RUNS
    for column in ("parameters (M)", "GFLOPs", "s/step"):
        assert runs[column].notna().tolist() == [True] * 4 + [False] * 2
    model = xef.open_pack(str(made / "table" / "convlstm-1")).model()
    assert runs["parameters (M)"][3] == sum(p.numel() for p in model.parameters()) / 1e6
    assert 0 < runs["s/step"][0] < 60 and runs["MSE (1e-4)"][0] != runs["MSE (1e-4)"][1]


def test_the_scores_are_those_of_the_papers_table(made):
    """On the months from a year before the test period on: what `enso_table` makes of them."""
    runs = pd.read_csv(made / "table" / "table.csv")
    sst = anomalies()["sst"].sel(time=slice("1993-11", "1996-08")).expand_dims(model=["a"])
    packs = [str(made / "table" / "earthformer-1"), "persistence"]
    expected = enso_table(sst, packs, "cpu").loc["here"].to_numpy()
    found = runs.iloc[[1, 5]][
        ["parameters (M)", "GFLOPs", "C-Nino3.4-M", "C-Nino3.4-WM", "MSE (1e-4)"]
    ]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-5)


def test_what_is_printed_is_mean_and_spread_and_the_budget(made):
    printed = (made / "printed.txt").read_text()
    runs = pd.read_csv(made / "table" / "table.csv")
    (line,) = [line for line in printed.splitlines() if line.split()[:1] == ["convlstm"]]
    skill = runs["C-Nino3.4-M"][2:4]
    spread = abs(skill[2] - skill[3]) / 2**0.5  # of two: |a - b| / sqrt(2)
    assert f"{skill.mean():.4f} ± {spread:.4f}" in line
    (line,) = [line for line in printed.splitlines() if line.split()[:1] == ["persistence"]]
    assert line.split()[1:3] == ["-", "-"] and "±" not in line
    # 42 months of training are 42 - 25 windows, in 3 batches an epoch
    assert "6 steps of up to 8 out of 17 windows, learning rate 0.003; seeds 0, 1;" in printed
    assert f"cpu with {torch.get_num_threads()} thread" in printed
    written = (made / "table" / "table.md").read_text()
    assert written.startswith("| model | parameters (M) | GFLOPs | C-Nino3.4-M |")
    assert written.splitlines()[1] == "|" + " --- |" + " ---: |" * 6
    assert f"| {skill.mean():.4f} ± {spread:.4f} |" in written and "6 steps" in written


def test_what_is_trained_is_not_trained_again(made, monkeypatch):
    """A third seed is added and one run is unfinished: one epoch of the one, two of the other."""
    before = pd.read_csv(made / "table" / "table.csv")
    epochs = []
    monkeypatch.setattr(
        "xearthformer.training.loop.Task.on_train_epoch_start",
        lambda task: epochs.append(task.current_epoch),
    )
    assert command(made) == 0 and epochs == []
    pd.testing.assert_frame_equal(pd.read_csv(made / "table" / "table.csv"), before)
    usual = entries(made)
    recipe = usual["recipe"]
    one = {"models": usual["models"][1:2], "packs": [], "seeds": [2]}
    assert command(made, **one, recipe={**recipe, "stop": 1}) == 0 and epochs == [0]
    first = (made / "table" / "convlstm-2.run" / "seconds.csv").read_text().splitlines()
    assert command(made, **one) == 0 and epochs == [0, 1]
    lines = (made / "table" / "convlstm-2.run" / "seconds.csv").read_text().splitlines()
    assert lines[:2] == first and [line.split(",")[0] for line in lines[1:]] == ["0", "1"]
    assert command(made, **one, recipe={**recipe, "learning_rate": 0.1}) == 2  # another run


def test_a_step_takes_the_median_over_epochs(tmp_path):
    lines = [
        "epoch,steps,seconds,threads,device",
        "0,3,0.5,4,cpu",
        "1,5,0.1,1,cpu",
        "2,5,0.2,1,cpu",
    ]
    (tmp_path / "seconds.csv").write_text("\n".join(lines))
    assert pace(tmp_path).seconds == 0.2 and pace(tmp_path).threads == 1


def test_frames_are_scored_by_hand(tmp_path):
    """Persistence of 0, 1, 3 on all pixels, of a scale of 10: errors of 0.1, 0.3 and of 0.2."""
    values = np.broadcast_to(np.array([0.0, 1, 3], "f4")[:, None, None], (3, 12, 12))
    time = pd.date_range("2000-01-01", periods=3, freq="5min")
    record = xr.DataArray(values, {"time": time}, ("time", "y", "x"))
    packs = {"still": xef.open_pack("persistence")}
    scored = frame_scores([record], packs, 1, 2, Scale(factor=10.0))
    mse, mae, ssim = scored["still"]
    assert mse == pytest.approx(1e3 * (0.01 + 0.09) / 2) and mae == pytest.approx(1e2 * 0.2)
    # of constant fields a and b SSIM is (2ab + c) / (a^2 + b^2 + c), c = (0.01 * range)^2
    c = (0.01 * 0.3) ** 2
    assert ssim == pytest.approx((c / (0.01 + c) + c / (0.09 + c)) / 2, rel=1e-3)
    both = frame_scores([record] * 2, packs, 1, 1, Scale(factor=10.0))["still"]
    assert both[0] == pytest.approx(1e3 * (0.01 + 0.04) / 2)
    with pytest.raises(ValueError, match=r"of 11 pixels a side or more\n.*10 x 12"):
        frame_scores([record[:, 2:]], packs, 1, 2, Scale())
    with pytest.raises(ValueError, match="frames without missing values"):
        frame_scores([record.where(record > 0)], packs, 1, 2, Scale())


def test_enso_scores_name_what_they_are_given(made):
    sst = anomalies()["sst"].isel(time=slice(30))
    pack = xef.open_pack("persistence")
    found = enso_scores([sst], {"a": pack, "b": pack}, "cpu")
    assert found["a"] == found["b"] and list(found) == ["a", "b"]


def test_frames_of_digits(tmp_path, capsys):
    """The example of N-body digits, made small."""
    pytest.importorskip("sklearn")
    config = yaml.safe_load((EXAMPLES / "table_nbody.yaml").read_text())
    chosen = [model for model in config["models"] if model["name"] in ("convlstm", "unet")]
    config |= {"models": chosen, "seeds": [3], "folder": str(tmp_path / "table")}
    for name in ("data", "validation", "test"):
        config[name]["options"] |= {"sequences": 2, "frames": 21}
    config["recipe"] |= {"epochs": 1, "batch_size": 4}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(tmp_path / "small.yaml")]) == 0
    runs = pd.read_csv(tmp_path / "table" / "table.csv").set_index("model")
    assert list(runs.index) == [*(model["name"] for model in chosen), "persistence"]
    assert list(runs.columns)[3:] == ["MSE (1e-3)", "MAE (1e-2)", "SSIM", "s/step"]
    digits = xef.nbody(
        seed=config["test"]["options"]["seed"],
        sequences=2,
        bodies=config["test"]["options"]["bodies"],
        frames=21,
        size=32,
    )
    x = digits["frames"].values / 255
    still = [(x[:, i] - x[:, i + k]) for i in (9, 10) for k in range(1, 11)]
    assert runs["MSE (1e-3)"]["persistence"] == pytest.approx(
        1e3 * np.mean(np.square(still)), rel=1e-4
    )
    assert runs["MAE (1e-2)"]["persistence"] == pytest.approx(
        1e2 * np.mean(np.abs(still)), rel=1e-4
    )
    assert -1 < runs["SSIM"]["persistence"] < 1
    assert "1 steps of up to 4 out of 4 windows" in capsys.readouterr().out


@pytest.mark.parametrize("example", ["table_enso.yaml", "table_nbody.yaml"])
def test_an_example_compares_models_of_like_size(example):
    """All rivals and Earthformer, 0.1 to 0.5 million parameters, the same frames, three seeds."""
    config = yaml.safe_load((EXAMPLES / example).read_text())
    models = [train_table.Network(**model) for model in config["models"]]
    networks = train_table.contenders(models, config["packs"], config["seeds"])
    rivals = {"unet", "convlstm", "predrnn", "phydnet", "e3d-lstm", "rainformer"}
    assert set(networks) == {"earthformer", *rivals} and config["packs"] == ["persistence"]
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}
    assert all(1e5 < size < 5e5 for size in sizes.values()), sizes
    assert len(config["seeds"]) == 3


def test_the_documentation_compares_what_can_be_compared(tmp_path):
    """Its configuration on a record of its own making, for one seed and one epoch."""
    page = (EXAMPLES.parent / "docs" / "howto" / "rivals.md").read_text()
    (block,) = re.findall(r"```yaml\n(models:.*?)```", page, re.DOTALL)
    config = yaml.safe_load(block)
    rain = np.random.default_rng(0).random((80, 64, 64), "f4")
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    time = pd.date_range("2010-01-01", periods=80, freq="60D")
    record = xr.Dataset({"rain_rate": (("time", "y", "x"), rain, attrs)}, {"time": time})
    config["data"]["path"] = str(tmp_path / config["data"]["path"])
    record.to_zarr(config["data"]["path"], zarr_format=2)
    config |= {"seeds": [0], "folder": str(tmp_path / config["folder"])}
    config["recipe"] |= {"epochs": 1, "batch_size": 64}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(tmp_path / "mine.yaml")]) == 0
    runs = pd.read_csv(tmp_path / "my-table" / "table.csv")
    assert list(runs["model"]) == ["convlstm", "unet", "persistence"]
    # uniform noise: persistence is off by twice its variance, the others by less, scaled alike
    assert runs["MSE (1e-3)"].idxmax() == 2 and runs["SSIM"].between(-1, 1).all()


def test_spread_is_shown_where_there_is_any():
    rows = {
        "model": ["a", "a", "b"],
        "seed": [0, 1, None],
        "x": [1.0, 3.0, 5.0],
        "n": [7.0, 7.0, np.nan],
    }
    cells = Table(pd.DataFrame(rows), "").cells()
    assert cells["x"].tolist() == ["2.0000 ± 1.4142", "5.0000"]
    assert cells["n"].tolist() == ["7.0000", "-"]


STILL = {"name": "persistence", "config": "enso"}
DAMPED = {"name": "damped-persistence", "config": {"in_len": 12, "out_len": 14}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": [DAMPED, DAMPED]}, "each model once; found damped-persistence twice"),
        ({"packs": ["persistence", "persistence"]}, "persistence twice"),
        ({"models": [{"name": "nix", "config": "tiny"}]}, "found 'nix'"),
        ({"models": []}, "models and seeds; found none"),
        ({"seeds": []}, "models and seeds; found none"),
        ({"seeds": [1, 0, 1]}, "each seed once; found 1 twice"),
        ({"models": [DAMPED, {"name": "lim", "config": "enso"}]}, "lim 10 in and 14 out"),
        ({"models": [STILL], "packs": []}, "try packs: [persistence]"),
        ({"models": [{"name": "prediff", "config": "tiny"}]}, "trained whole; found prediff"),
        ({"packs": ["nix"]}, "no pack 'nix'"),
        ({"test": ["1994-01", "1996-08"]}, "apart from that of validation"),
        ({"test": ["1992-01", "1993-01"]}, "apart from that of training"),
        ({"test": ["2010", "2012"]}, "14 out in test, of every record; found 2010 .. 2012"),
        ({"test": ["1995-10", "1996-08"]}, "14 out in test, of every record; found 1995-10"),
        ({"scores": "frames"}, "frames without missing values"),
        ({"validation": ["1993-01", "1994-10"]}, "apart from the training period"),
        ({"models": [{"name": "damped-persistence", "config": {"out_len": 3}}]}, "12 months in"),
        ({"models": [{**DAMPED, "config": {**DAMPED["config"], "width": 9}}]}, "for 24 x 48 cells"),
        ({"scores": "csi"}, "csi"),
    ],
)
def test_what_makes_no_table(made, changes, words, capsys, monkeypatch):
    monkeypatch.setattr(train_table, "train", lambda *_, **__: pytest.fail("trained"))
    assert command(made, **changes) == 2
    assert words in capsys.readouterr().err
