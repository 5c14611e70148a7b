"""Training: which windows, the same bits after a kill, what lands in the card, and bad input."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from default_dtype import default_dtype

import xearthformer as xef
from xearthformer import models
from xearthformer.packs.card import Card, ModelSpec, Training
from xearthformer.training import records

pytest.importorskip("lightning")
from xearthformer.training import loop
from xearthformer.training.loop import Run
from xearthformer.training.recipe import Recipe
from xearthformer.training.train import train
from xearthformer.training.windows import Draws, Windows

LATITUDE, LONGITUDE = [0.0, 5.0, 10.0, 15.0], [160.0, 165.0, 170.0, 175.0, 180.0]
CARD = {
    "name": "small",
    "input": {"standard_name": "sea_surface_temperature", "units": "degC", "difference": True},
    "grid": {"kind": "latlon", "latitude": LATITUDE, "longitude": LONGITUDE},
    "training": {"data": "made up", "notes": "a test"},
}
QUICK = Recipe(learning_rate=1e-2, batch_size=16, epochs=3, ema_decay=0.9, noise=0.05)


@dataclass(frozen=True)
class SmallConfig:
    in_len: int = 3
    out_len: int = 2
    channels: int = 8


class Small(torch.nn.Module):
    """Two convolutions with dropout and running statistics: all that a resumed run must restore."""

    samples = False

    def __init__(self, config):
        super().__init__()
        self.config, self.in_len, self.out_len = config, config.in_len, config.out_len
        self.first = torch.nn.Conv2d(config.in_len, config.channels, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(config.channels)
        self.drop = torch.nn.Dropout(0.1)
        self.last = torch.nn.Conv2d(config.channels, config.out_len, 3, padding=1)

    def predict(self, x_BTHWC, generator=None):
        x_BTHW = self.drop(torch.relu(self.norm(self.first(x_BTHWC.squeeze(-1)))))
        return self.last(x_BTHW).unsqueeze(-1)

    def loss(self, x_BTHWC, y_BTHWC):
        return torch.nn.functional.mse_loss(self.predict(x_BTHWC), y_BTHWC)


STILL = Card(
    name="still",
    version="1",
    title="persistence",
    model=ModelSpec(name="persistence", config={}),
    inputs={"sst": {}},
    outputs=["sst"],
    grid=None,
    time_step=None,
    context=1,
    lead=3,
    training=Training(data="none"),
)


models.MODELS["small"] = (SmallConfig, Small, {"": SmallConfig()})


def anomalies(years=12, start="1990-01", seed=0):
    """A damped, noisy oscillation of all cells together, every year; two cells are land."""
    rng = np.random.default_rng(seed)
    months = 12 * years
    wave = np.cos(2 * np.pi * np.arange(months) / 12)[:, None, None]
    values = 2 * wave + 0.1 * rng.standard_normal((months, len(LATITUDE), len(LONGITUDE)))
    values[:, 0, :2] = np.nan
    return xr.DataArray(
        values.astype("f4"),
        dims=("time", "lat", "lon"),
        coords={
            "time": pd.date_range(start, periods=months, freq="MS", unit="us"),
            "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
        name="ssta",
        attrs={
            "standard_name": "sea_surface_temperature",
            "units": "degC",
            "units_metadata": "temperature: difference",
        },
    )


def run(folder, **changes):
    """A short training; what isn't said is this file's usual."""
    usual = {
        "model": "small",
        "data": anomalies(),
        "config": {},
        "card": CARD,
        "pack": Path(folder) / "pack",
        "period": (1990, 1998),
        "validation": ("1999", "2001-12"),
        "recipe": QUICK,
        "device": "cpu",
        "progress": False,
    }
    if "run_folder" in changes:  # next to this function's own `folder`
        changes["folder"] = changes.pop("run_folder")
    return train(**{**usual, **changes})


def losses(folder):
    return (Path(folder) / "pack.run" / "losses.csv").read_text()


# --- fine-tuning


def test_a_fine_tuned_pack_says_nothing_of_the_weights_before(tmp_path):
    first = run(tmp_path / "a", card={**CARD, "version": "7"})
    assert first.card.scores and first.card.training.validation
    again = run(
        tmp_path / "b", start=first, period=None, validation=None, card={"name": "small"}
    ).card
    assert (again.scores, again.training.validation, again.training.period) == ({}, None, None)
    assert again.training.notes.startswith("from small 7 (made up 1990/1998); epoch ")
    assert again.version == "8"  # of the same name
    other = run(tmp_path / "b", start=first, card={}, pack=tmp_path / "b" / "other").card
    assert other.version == "1" and other.training.validation == "1999/2001-12"
    assert other.scores.keys() == first.card.scores.keys()


def test_a_start_of_another_model_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"a pack of the model 'small'(.|\n)*try train\(\"seasonal-lim\""
    ):
        run(tmp_path, start="lim")


# --- windows


def test_a_window_is_input_then_target():
    frames = torch.arange(10.0).reshape(10, 1, 1, 1)
    windows = Windows(frames, torch.tensor([0, 5]), context=3, lead=2)
    x_BTHWC, y_BTHWC = windows[torch.tensor([1, 0])]
    assert x_BTHWC.squeeze().tolist() == [[5, 6, 7], [0, 1, 2]]
    assert y_BTHWC.squeeze().tolist() == [[8, 9], [3, 4]]


def test_windows_keep_to_their_record_and_their_side_of_the_border(tmp_path):
    """24 + 12 months, 3 in, 2 out; training 1990, validation 1991, one more record taken whole."""
    card = run(tmp_path, recipe=Recipe(epochs=1, batch_size=999)).card
    record, more = anomalies(years=2), anomalies(years=1, start="0800-01")
    prepared = [records.on_grid(da, card) for da in (record, more)]
    windows = records.make_windows(
        prepared[:1], prepared[1:], card, ("1990", "1990"), ("1991", "1991")
    )
    # the last training window is months 7 .. 11 of the first record; the extra one begins at 24
    assert windows.training.starts.tolist() == [*range(8), *range(24, 32)]
    assert windows.counts == [8, 8]
    # the first validation window looks back at months 9 .. 11, the last is months 19 .. 23
    assert windows.validation.starts.tolist() == [*range(9, 20)]
    assert windows.spans == [slice(0, 12), slice(24, 36)]


def test_draws_follow_from_seed_and_epoch():
    draws = Draws([5, 100], [1.0, 0.1], batch_size=4, seed=3)
    first, again = torch.cat(list(draws)), torch.cat(list(draws))
    assert first.equal(again)
    assert [len(batch) for batch in draws] == [4, 4, 4, 3]
    assert sorted(first[first < 5].tolist()) == [0, 1, 2, 3, 4]
    assert len(set(first[first >= 5].tolist())) == 10
    draws.set_epoch(1)
    assert not torch.cat(list(draws)).equal(first)


def test_an_even_cut_has_no_runt():
    assert [len(batch) for batch in Draws([9], [1.0], batch_size=8, seed=0)] == [5, 4]


def test_a_share_above_one_repeats_whole_passes():
    order = torch.cat(list(Draws([4], [2.5], batch_size=99, seed=0)))
    assert sorted(np.bincount(order).tolist()) == [2, 2, 3, 3]


# --- the loop


def test_the_schedule_climbs_a_fifth_then_falls():
    rates = [Recipe().rate(step, 100) for step in range(100)]
    assert rates[0] == 1 / 20 and rates[19] == 1.0
    assert rates[60] == pytest.approx(0.5) and 0 < rates[99] < 1e-3


def test_ema_is_an_average_with_warm_up():
    """Weight 1 at steps 1, 2, 3, ...: the first is copied, then decay 2/11, 3/12, at most 0.2."""
    task = loop.Task(torch.nn.Linear(1, 1, bias=False), Recipe(ema_decay=0.2), 9, Run(Path(), {}))
    expected = 0.0
    for step, decay in ((1, 0), (2, 2 / 11), (3, 0.2)):
        task.model.weight.data.fill_(step)
        task.ema.update_parameters(task.model)
        expected = decay * expected + (1 - decay) * step
        assert task.ema.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_it_learns_and_the_pack_forecasts(tmp_path):
    pack = run(tmp_path, recipe=Recipe(learning_rate=1e-2, batch_size=16, epochs=30))
    scores = pack.card.scores
    assert scores["validation_loss"] < 0.1  # of a variance of one
    assert scores["validation_rmse_lead_1"] < 0.5 and scores["validation_rmse_lead_2"] < 0.5
    da = anomalies()
    fc = da.earthformer.forecast(pack, init="2000-12").isel(init=0)
    error = fc.values - da.sel(time=["2001-01", "2001-02"]).values
    assert np.sqrt(np.nanmean(error**2)) < 0.6
    assert fc.isel(lat=0, lon=0).isnull().all()


def test_a_step_that_the_data_tells_is_written_as_pandas_writes_it(tmp_path):
    da = anomalies()
    hours = xr.date_range("2000-01-01", periods=da.sizes["time"], freq="h")
    period = ("2000-01-01", "2000-01-02")
    pack = run(tmp_path, data=da.assign_coords(time=hours), period=period, validation=None)
    assert pack.card.time_step == "1h" and "x 1h in" in repr(pack)
    words = r'a time step of 1h .*\n.*found one of 3h\n.*time="1h"'
    with pytest.raises(ValueError, match=words):
        da.assign_coords(time=hours)[::3].earthformer.forecast(pack)


def test_the_card_says_what_the_data_told(tmp_path):
    card = run(tmp_path).card
    assert (card.context, card.lead, card.time_step, card.input.missing) == (3, 2, "month", "land")
    assert card.grid.land == ["##...", ".....", ".....", "....."]
    spread = float(np.sqrt(np.nanmean(anomalies().sel(time=slice("1990", "1998")).values ** 2)))
    assert card.scale.offset == 0 and card.scale.factor == pytest.approx(spread, rel=1e-5)
    assert card.training.period == "1990/1998" and card.training.validation == "1999/2001-12"
    assert card.training.notes.startswith("a test; epoch ")
    assert '"learning_rate": 0.01' in card.training.notes
    assert card.model.config == {"in_len": 3, "out_len": 2, "channels": 8}


def test_the_best_epoch_is_shipped_and_patience_ends_a_run(tmp_path):
    steep = Recipe(learning_rate=1.0, warmup=0, batch_size=16, epochs=40, patience=2, ema_decay=0)
    card = run(tmp_path, recipe=steep).card
    found = [float(line.split(",")[-1]) for line in losses(tmp_path).splitlines()[1:]]
    assert len(found) < 40 and len(found) - 1 - int(np.argmin(found)) == 2
    assert card.scores["validation_loss"] == pytest.approx(min(found), rel=1e-4)


def test_without_validation_the_last_epoch_is_shipped(tmp_path):
    pack = run(tmp_path, validation=None, period=None)
    assert pack.card.scores == {} and pack.card.training.validation is None
    assert pack.card.training.notes.startswith("a test; epoch 3 of 3")


def test_stop_keeps_the_schedule(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(whole)
    run(part, recipe=Recipe(**{**vars(QUICK), "stop": 2}))
    assert losses(part) == "".join(losses(whole).splitlines(keepends=True)[:3])


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path)
    checkpoint = (tmp_path / "pack.run" / "last.ckpt").stat().st_mtime_ns
    assert run(tmp_path).card == first.card
    assert (tmp_path / "pack.run" / "last.ckpt").stat().st_mtime_ns == checkpoint


KILLED = """
import os, signal, sys
sys.path[:0] = {tests}
import test_train as t
calls, loss = [], t.Small.loss
def deadly(self, x, y):
    calls.append(self.training)
    if sum(calls) == 11:  # of 7 steps an epoch: in the middle of the second
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, x, y)
t.Small.loss = deadly
t.run({folder!r})
"""


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    expected = run(straight)
    tests = [str(folder) for folder in Path(__file__).parents[:2]]
    code = KILLED.format(tests=tests, folder=str(killed))
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(losses(killed).splitlines()) == 2  # the header, and one whole epoch
    steps, loss = [], Small.loss

    def counted(self, x, y):
        steps.append(self.training)
        return loss(self, x, y)

    monkeypatch.setattr(Small, "loss", counted)
    found = run(killed)
    assert sum(steps) == 7 * (QUICK.epochs - 1)  # the first epoch isn't run again
    assert losses(killed) == losses(straight)
    assert found.card.weights_sha256 == expected.card.weights_sha256
    assert found.card.scores == expected.card.scores


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(tmp_path)
    assert torch.rand(3).equal(expected)


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_checkpoint_is_never_unpickled(tmp_path):
    run(tmp_path, recipe=Recipe(**{**vars(QUICK), "stop": 1}))
    evil = pickle.dumps(Evil(tmp_path / "trace"), protocol=2)
    for content in (evil, b"PK\x03\x04", b""):
        (tmp_path / "pack.run" / "last.ckpt").write_bytes(content)
        with pytest.raises(ValueError, match="last.ckpt is damaged"):
            run(tmp_path)
    assert not (tmp_path / "trace").exists()


# --- other ways in


def test_simulations_are_trained_on_next_to_the_record(tmp_path):
    extra = anomalies(years=30, start="0001-01", seed=1)
    pack = run(tmp_path, extra=extra, extra_share=0.5)
    # 108 - 4 windows of the record, 360 - 4 of the simulation
    assert "104 training windows and 0.5 x 356 from further records" in pack.card.training.notes
    assert losses(tmp_path).splitlines()[1].startswith("0,18,")  # (104 + 178) / 16 steps


@pytest.mark.parametrize(
    "changes",
    [
        {"validation": anomalies()},
        {"validation": [anomalies(seed=1), anomalies(seed=2)], "extra": anomalies(seed=2)},
        {"extra": anomalies()},  # used whole, and so in the validation's years too
    ],
)
def test_what_is_trained_on_and_validated_on_too_is_told(tmp_path, changes):
    once = Recipe(epochs=1, batch_size=99)
    with pytest.warns(
        UserWarning, match="1990-01-01 .. 2001-12-01 is trained on, and validated"
    ) as told:
        run(tmp_path, recipe=once, **changes)
    assert told[0].filename == __file__  # the line that called


def test_several_records_with_one_of_them_before_the_validation(tmp_path):
    pack = run(tmp_path, data=[anomalies(), anomalies(years=2, start="1995-01", seed=2)])
    assert "124 training windows" in pack.card.training.notes  # 104, and 24 - 4


def test_years_before_1000_are_labels_of_four_digits(tmp_path):
    time = xr.date_range("0850-01", periods=24, calendar="noleap", use_cftime=True, freq="MS")
    da = anomalies(years=2).assign_coords(time=time)
    once = Recipe(epochs=1, batch_size=99)
    training = run(
        tmp_path, data=da, period=(850, 850), validation=("0851", 851), recipe=once
    ).card.training
    assert (training.period, training.validation) == ("0850/0850", "0851/0851")


def test_a_closed_form_takes_the_same_door(tmp_path):
    config = {"in_len": 1, "out_len": 2, "height": 4, "width": 5}
    pack = run(tmp_path, model="damped-persistence", config=config)
    assert pack.card.training.notes == "a test; closed-form fit"
    assert pack.card.scores["validation_rmse_lead_1"] > 0
    lagged = anomalies().sel(time=slice("1990", "1998")).values[:, 1, 1].astype("f8")
    expected = np.mean(lagged[1:] * lagged[:-1]) / np.mean(lagged**2)
    assert pack.model().damping[0, 1, 1].item() == pytest.approx(expected, rel=1e-4)
    assert pack.model().damping[:, 0, :2].eq(0).all()


def test_a_lim_learns_where_latitudes_are(tmp_path):
    config = {"out_len": 2, "height": 4, "width": 5, "n_eofs": 2}
    pack = run(tmp_path, model="lim", config=config)
    assert pack.model().ocean.sum() == 18


def test_the_example_trains_in_seconds(tmp_path, monkeypatch):
    from xearthformer.cli import train_from_file as command

    example = Path(__file__).parents[2] / "examples" / "train_tiny.yaml"
    monkeypatch.chdir(tmp_path)
    shorter = ["data.options.years=6", "data.anomaly=[1960, 1963]", "extra=null", "recipe.epochs=1"]
    command(str(example), [*shorter, "period=[1960, 1963]", "validation=[1964, 1965]"])
    assert xef.open_pack("tiny-enso").card.training.data == "synthetic"


# --- bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation": ("1998", "2001")}, "apart from the training period"),
        ({"validation": ("2010", "2012")}, "none in 2010 .. 2012; the data spans 1990-01-01"),
        ({"period": ("start", "end")}, "the year first\n   found start, end\n"),
        ({"period": ("01/02/1990", "01/12/1998")}, "the year first\n   found 01/02/1990"),
        ({"period": ("1990-13", "1998")}, "the year first\n   found 1990-13, 1998\n"),
        ({"period": (850, 900)}, "found 0850, 0900\n +try times of the data, 1990-01-01 .. 2001"),
        ({"period": (1890, 1898)}, "period 1890 .. 1898; the data spans 1990-01-01 .. 2001-12-01"),
        ({"period": None}, "of the whole record"),
        ({"period": ("1990-01", "1990-04")}, "3 time steps in and 2 out in period"),
        ({"data": anomalies(years=12).isel(lat=slice(0, 2))}, "grid"),
        ({"card": {**CARD, "time_step": "5min"}}, "a time step of 5min"),
        ({"model": "persistence", "config": "enso"}, "none: write it as it is by xef.save_pack"),
        ({"card": {**CARD, "grid": None, "missing": "land"}}, "grid.land"),
        ({"card": {**CARD, "like": "ens"}}, "card.like: expected one of enso"),
        ({"card": {"name": "small"}}, "what quantity"),
        ({"card": {**CARD, "colour": "blue"}}, "colour"),
        ({"model": "lim", "config": {"height": 4, "width": 9, "n_eofs": 2}}, "4 x 5 cells"),
        ({"extra_share": -1.0}, "from 0 up"),
        ({"share": float("nan")}, "from 0 up"),
        ({"share": float("inf")}, "from 0 up"),
        ({"device": "cudda"}, "a device of torch\n +found 'cudda'"),
        ({"share": 0}, "a window or more an epoch"),
    ],
)
def test_bad_input_is_an_error_before_training(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        run(tmp_path, **changes)
    assert not (tmp_path / "pack.run" / "losses.csv").exists()


def test_missing_values_at_sea_are_an_error(tmp_path):
    holed = anomalies()
    holed[5, 2, 2] = np.nan
    with pytest.raises(ValueError, match="1 of"):
        run(tmp_path, data=holed)


def test_an_earthformer_of_another_grid_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="earthformer.*4 x 5"):
        run(tmp_path, model="earthformer", config="tiny")


def test_a_closed_form_wants_one_record(tmp_path):
    config = {"in_len": 1, "out_len": 2, "height": 4, "width": 5}
    with pytest.raises(ValueError, match="one record"):
        run(tmp_path, model="damped-persistence", config=config, extra=anomalies())


def test_what_another_run_wrote_is_replaced_when_asked_to(tmp_path):
    run(tmp_path)
    (tmp_path / "pack.run").rename(tmp_path / "old.run")
    other = {**CARD, "version": "7"}
    with pytest.raises(FileExistsError, match="pack there already\n.*or overwrite=True"):
        run(tmp_path, card=other)
    assert not (tmp_path / "pack.run").exists()  # refused before it trained
    assert run(tmp_path, card=other, overwrite=True).card.version == "7"


def test_a_closed_form_that_is_there_is_the_same_or_refused(tmp_path):
    config = {"in_len": 1, "out_len": 2, "height": 4, "width": 5}
    fitted = {"model": "damped-persistence", "config": config}
    first = run(tmp_path, **fitted)
    assert run(tmp_path, **fitted).card == first.card
    with pytest.raises(FileExistsError, match="or overwrite=True"):
        run(tmp_path, **fitted, period=(1990, 1995))


def test_a_folder_keeps_to_one_run(tmp_path):
    run(tmp_path)
    words = r"holds another run: it differs in recipe.seed \(there 0, here 1\)\. Choose"
    with pytest.raises(ValueError, match=words):
        run(tmp_path, recipe=Recipe(**{**vars(QUICK), "seed": 1}))
    for text in ("{", "[1]"):
        (tmp_path / "pack.run" / "run.json").write_text(text)
        with pytest.raises(ValueError, match="run.json is damaged, or not of a training run"):
            run(tmp_path)


def test_what_a_run_has_not_saved_stays(tmp_path):
    """Whatever a finished run's own folder holds; it is known by the weights that it saved."""
    once = {"recipe": Recipe(epochs=1, batch_size=99)}
    apart = {**once, "run_folder": tmp_path / "run"}
    first = run(tmp_path, **apart)
    assert run(tmp_path, **apart).card == first.card  # its own is written again
    other = xef.save_pack(tmp_path / "other", models.build("persistence", "tiny"), STILL)
    for pack in (other.path, tmp_path / "notes"):
        pack.mkdir(exist_ok=True)
        (pack / "note").write_text("mine")
        with pytest.raises(FileExistsError, match="or overwrite=True"):
            run(tmp_path, pack=pack, **apart)
    assert xef.open_pack(other.path) == other
    xef.save_pack(first.path, models.build("persistence", "tiny"), STILL, overwrite=True)
    with pytest.raises(FileExistsError, match="or overwrite=True"):
        run(tmp_path, **apart)


@pytest.mark.parametrize("given", [{}, {"run_folder": ""}])
def test_a_pack_whose_path_ends_in_a_slash_has_its_run_next_to_it(tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pack = run(tmp_path, pack="~/pack/", recipe=Recipe(epochs=1, batch_size=99), **given)
    assert pack.path == tmp_path / "pack" and (tmp_path / "pack.run" / "last.ckpt").is_file()


def test_names_of_version_0_1_are_understood(tmp_path):
    with (
        pytest.warns(FutureWarning, match="'part' is now 'stage'"),
        pytest.raises(ValueError, match="trained whole\n   found stage='denoiser'"),
    ):
        run(tmp_path, part="denoiser")
    (tmp_path / "run.json").write_text('{"part": {"name": "denoiser"}}')
    (tmp_path / "last.ckpt").touch()
    loop.claim(Run(tmp_path, {"stage": {"name": "denoiser"}}))
    with pytest.raises(ValueError, match="differs in stage"):
        loop.claim(Run(tmp_path, {"stage": {"name": "alignment"}}))


def test_a_loss_that_explodes_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="loss of epoch 0 is .*recipe.learning_rate"):
        run(tmp_path, recipe=Recipe(learning_rate=1e30, batch_size=16, epochs=5, warmup=0, clip=0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": -3},
        {"warmup": 2.0},
        {"batch_size": -1},
        {"seed": -1},
        {"seed": 2**64},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
        {"noise": float("inf")},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
    ],
)
def test_a_recipe_out_of_range_is_an_error(wrong):
    with pytest.raises(ValueError, match=f"recipe.{next(iter(wrong))}: expected"):
        Recipe(**wrong)


def test_without_lightning_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['lightning'] = None\n"
        "try:\n    import xearthformer.training.train\n"
        "except ImportError as error:\n    print(error)"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert "pip install 'xearthformer[train]'" in done.stdout


STATES = {
    "another default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another default dtype": lambda: default_dtype(torch.float64),
}


@pytest.mark.parametrize("state", STATES)
def test_what_the_user_has_set_in_torch_changes_no_training(tmp_path, state):
    wanted = run(tmp_path / "plain").card
    with STATES[state]():
        found = run(tmp_path / "set").card
    assert (found.weights_sha256, found.scores) == (wanted.weights_sha256, wanted.scores)


def test_trainings_in_threads_are_those_of_one_after_another(tmp_path):
    """They drew from one another's random numbers; the first to end set the default dtype."""
    short = Recipe(epochs=1, batch_size=64)
    wanted = run(tmp_path / "plain", recipe=short).card.weights_sha256
    with default_dtype(torch.float64), ThreadPoolExecutor() as pool:
        packs = pool.map(lambda name: run(tmp_path / name, recipe=short), ["one", "two"])
        assert [pack.card.weights_sha256 for pack in packs] == [wanted] * 2
