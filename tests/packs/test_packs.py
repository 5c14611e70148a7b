"""Packs: saved and opened again, and refused when they can't be trusted."""

import argparse
import dataclasses
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from golden_rule import card, fill
from mends.typed import serve
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_hindcast import anomalies

import xearthformer as xef
from xearthformer import models
from xearthformer.cli import main
from xearthformer.errors import PackError
from xearthformer.inference import engine
from xearthformer.models import from_published
from xearthformer.models.published.weights import load_published
from xearthformer.packs.card import Card
from xearthformer.packs.pack import save_pack, weights_hash
from xearthformer.packs.scale import Scale

NAN = float("nan")


@pytest.mark.parametrize("name", ["pack", "pack.safetensors"])
def test_round_trip_as_folder_and_as_file(tiny_pack, tmp_path, name):
    pack = xef.save_pack(tmp_path / name, tiny_pack.model(), tiny_pack.card)
    again = xef.open_pack(tmp_path / name)
    assert again.card == pack.card == tiny_pack.card
    x = torch.rand(1, *again.model().config.input_shape)
    assert torch.equal(again.model().predict(x), tiny_pack.model().predict(x))


def test_same_hash_in_both_forms(tiny_pack, tmp_path):
    file = xef.save_pack(tmp_path / "pack.safetensors", tiny_pack.model(), tiny_pack.card)
    assert file.card.weights_sha256 == tiny_pack.card.weights_sha256


def test_hash_sees_names_shapes_and_bytes():
    a = {"w": np.arange(4.0), "b": np.zeros(0)}
    assert weights_hash(a) == weights_hash(dict(reversed(a.items())))
    for other in ({**a, "w": a["w"].reshape(2, 2)}, {**a, "w": a["w"] + 1}, {**a, "c": a["b"]}):
        assert weights_hash(a) != weights_hash(other)


def test_exchanged_weights_are_refused(tiny_pack):
    file = tiny_pack.path / "weights.safetensors"
    arrays = load_file(file)
    name = next(key for key in arrays if key.endswith("bias"))
    save_file({**arrays, name: arrays[name] + 1}, file)
    with pytest.raises(PackError, match="the card expects weights with hash .* found"):
        xef.open_pack(tiny_pack.path)


def test_damaged_weights_are_refused(tiny_pack):
    (tiny_pack.path / "weights.safetensors").write_bytes(b"not tensors")
    with pytest.raises(PackError, match="can't be read"):
        xef.open_pack(tiny_pack.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": 0}, "context: .*greater than 0"),
        ({"unknown_field": 1}, "unknown_field"),
        ({"time_step": "a while"}, "'a while' is no duration"),
        ({"grid": {"kind": "latlon", "latitude": [5, 0], "longitude": [0, 5]}}, "must ascend"),
        ({"missing": "land"}, "needs grid.land"),
        ({"title": "red \x1b[31m"}, r"title has characters that can't be printed: 'red \\x1b"),
        ({"version": "1\n2"}, "version has characters"),
        ({"references": ["a", "b\x9b"]}, "references has characters"),
        ({"training": {"data": "a\u202eb"}}, "training has characters"),
        ({"scores": {"a\x07": 1.0}}, "scores has characters"),
        ({"model": {"name": "unet", "config": {"a": "\x00"}}}, "model has characters"),
        ({"un\x1bknown": 1}, "has characters"),
        ({"time_step": "-5min"}, "'-5min' is no duration above zero"),
        ({"time_step": "NaT"}, "'NaT' is no duration above zero"),
        ({"grid": {"kind": "latlon", "latitude": [0, NAN], "longitude": [0, 5]}}, "finite number"),
        ({"grid": {"kind": "latlon", "latitude": [0, 95], "longitude": [0, 5]}}, "90, 90"),
        ({"fill": NAN}, "fill: .*finite number"),
        ({"scale": {"offset": 0, "factor": 1e-300}}, "factor of 1e-30 to 1e30"),
        ({"format": 3}, r"valid: card: format 3 is of a later version .* formats up to 2$"),
        ({"format": 2}, "card: input is of format 1, found format 2$"),
        (
            {"input": {"valid_min": 5, "valid_max": -5}, "output": None},
            "valid_min 5.0 isn't below valid_max -5.0$",
        ),
        ({"context": 4}, "history is context: give one"),
        ({"known": ["month", "month"]}, "known has each name once"),
        ({"name": "a" * 101}, "name: .*at most 100 characters"),
    ],
)
def test_a_card_that_fails_validation(tiny_pack, change, message):
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["grid"].pop("land", None)
    card["missing"] = "forbidden"
    (tiny_pack.path / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(PackError, match=message):
        xef.open_pack(tiny_pack.path)


def test_land_alone_has_no_forecast(tiny_pack):
    card = tiny_pack.card.model_dump()
    card["grid"]["land"] = ["########"] * 8
    with pytest.raises(ValueError, match="grid.land has no sea"):
        Card.model_validate(card)


def test_a_score_may_be_nan(tiny_pack, tmp_path):
    """As of a correlation with zeros: a training that took hours isn't lost for it."""
    card = tiny_pack.card.model_copy(update={"scores": {"correlation": NAN}})
    assert np.isnan(save_pack(tmp_path / "new", tiny_pack.model(), card).card.scores["correlation"])


def test_what_weights_were_made_from_may_take_two_lines(tiny_pack, tmp_path):
    training = tiny_pack.card.training.model_copy(update={"notes": "one\ntwo"})
    card = tiny_pack.card.model_copy(update={"training": training})
    pack = xef.save_pack(tmp_path / "new", tiny_pack.model(), card)
    assert pack.card.training.notes == "one\ntwo"


LARGE = {
    "wide": {"base_units": 2**20},
    "deep stem": {"stem": {"kind": "stack_conv", "convs": [10**9]}},
    "deep": {"enc_depth": [10**7, 1]},
    "many cells": {"input_shape": [3, 2**30, 2**30, 1]},
    "many frames": {"target_shape": [10**9, 8, 8, 1]},
}


@pytest.mark.parametrize("case", LARGE)
def test_a_network_larger_than_its_weights_is_not_built(tiny_pack, case):
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["model"]["config"] |= LARGE[case]
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match="don't fit: |and its model's is "):
        xef.open_pack(tiny_pack.path).model()


@pytest.mark.parametrize("shape", [[3, 8, 8], 5, "abc", {"a": 1}])
@pytest.mark.parametrize("name", ["input_shape", "target_shape"])
def test_shapes_of_another_form(tiny_pack, name, shape):
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["model"]["config"][name] = shape
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match="expected shapes of four numbers"):
        xef.open_pack(tiny_pack.path)


def test_places_outside_of_a_table_are_refused(tiny_pack):
    """Of a table of 9 biases, the tenth: an IndexError in a forecast, or a GPU's end."""
    file = tiny_pack.path / "weights.safetensors"
    arrays = load_file(file)
    name = next(name for name in arrays if name.endswith("relative_position_index"))
    arrays[name] = arrays[name] + 1
    save_file(arrays, file)
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["weights_sha256"] = weights_hash(arrays)
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match=f"don't fit: expected {name} as the configuration"):
        xef.open_pack(tiny_pack.path).model()


def test_a_card_that_changes_is_read_again(tiny_pack):
    """A process keeps networks; with the same weights, another card is another network."""
    ssta = anomalies(tiny_pack)
    ssta.earthformer.forecast(tiny_pack)
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["model"]["config"]["num_heads"] = 4
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match="don't fit"):
        ssta.earthformer.forecast(xef.open_pack(tiny_pack.path))
    engine._load.cache_clear()  # as in another process, a worker
    with pytest.raises(PackError, match="another card now than when the forecast was set up"):
        ssta.earthformer.forecast(tiny_pack)


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors", "pack.safetensors"])
def test_a_pipe_is_no_pack(tiny_pack, tmp_path, name):
    """Reading one would wait for ever."""
    path = tmp_path if name == "pack.safetensors" else tiny_pack.path
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    with pytest.raises(PackError, match=f"{name} is no regular file|no pack"):
        xef.open_pack(path / name if path == tmp_path else path)


def test_a_card_of_any_length_is_not_read(tiny_pack, monkeypatch):
    monkeypatch.setattr(xef.packs.pack, "MOST_CARD", 100)
    with pytest.raises(PackError, match="more than 100 bytes"):
        xef.open_pack(tiny_pack.path)


@pytest.mark.parametrize("name", ["pack", "pack.safetensors"])
def test_what_is_there_is_replaced_when_asked_to(tiny_pack, tmp_path, name):
    model, path = tiny_pack.model(), tmp_path / name
    xef.save_pack(path, model, tiny_pack.card)
    assert xef.save_pack(path, model, tiny_pack.card).path == path  # the same: nothing is lost
    other = tiny_pack.card.model_copy(update={"version": "2"})
    with pytest.raises(FileExistsError, match=f"{name} there already\n.*or overwrite=True"):
        xef.save_pack(path, model, other)
    assert xef.open_pack(path).card.version == "1"
    assert xef.save_pack(path, model, other, overwrite=True).card.version == "2"
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_of_something_else_stays(tiny_pack, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="notes there already"):
        xef.save_pack(tmp_path / "notes", tiny_pack.model(), tiny_pack.card)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reach": 4}, "the card says lead 4, and its model's is 2"),
        ({"history": 4}, "context 4, and its model's is 3"),
        ({"grid": {"kind": "pixels", "height": 4, "width": 8}}, r"grid \(4, 8\), .* \(8, 8\)"),
    ],
)
def test_a_card_that_is_not_its_models(tiny_pack, change, message):
    card = json.loads((tiny_pack.path / "card.json").read_text()) | change
    card["missing"] = "forbidden" if "grid" in change else card["missing"]
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match=message):
        xef.open_pack(tiny_pack.path)


def test_a_card_that_is_not_a_sampling_models():
    """Its configuration says no sizes: they are the network's own."""
    pack = xef.open_pack("prediff-radar")
    card = pack.card.model_copy(update={"lead": 12})
    with pytest.raises(PackError, match="the card says lead 12, and its model's is 6"):
        dataclasses.replace(pack, card=card).model()


def test_weights_that_are_no_numbers(tiny_pack):
    model = tiny_pack.model()
    next(model.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(PackError, match="finite weights, found NaN or infinity in "):
        save_pack(tiny_pack.path.parent / "new", model, tiny_pack.card)


def test_weights_of_whole_numbers(tiny_pack):
    arrays = {name: array.astype("i8") for name, array in tiny_pack.arrays().items()}
    save_file(arrays, tiny_pack.path / "weights.safetensors")
    card = tiny_pack.card.model_copy(update={"weights_sha256": weights_hash(arrays)})
    with pytest.raises(PackError, match=r"as torch.float32, found torch.int64"):
        dataclasses.replace(tiny_pack, card=card).model()


def test_forecasts_that_are_no_numbers(tiny_pack):
    """Weights that are finite and overflow; and the card is part of where a forecast is from."""
    ssta = anomalies(tiny_pack)
    fc = ssta.earthformer.forecast(tiny_pack)
    assert len(fc.attrs["pack_card_sha256"]) == 64
    model = tiny_pack.model()
    for parameter in model.parameters():
        parameter.fill_(1e38)
    broken = save_pack(tiny_pack.path.parent / "broken", model, tiny_pack.card)
    with pytest.raises(PackError, match="finite forecasts of finite data, found NaN"):
        ssta.earthformer.forecast(broken)
    card = tiny_pack.card
    larger = {"scale": Scale(factor=3.0)}
    inputs = {name: one.model_copy(update=larger) for name, one in card.inputs.items()}
    card = card.model_copy(update={"inputs": inputs})
    other = save_pack(tiny_pack.path.parent / "other", tiny_pack.model(), card)
    attrs = ssta.earthformer.forecast(other).attrs
    assert attrs["pack_card_sha256"] != fc.attrs["pack_card_sha256"]
    assert attrs["pack_weights_sha256"] == fc.attrs["pack_weights_sha256"]


def test_keys_that_do_not_match_the_model(tiny_pack):
    file = tiny_pack.path / "weights.safetensors"
    arrays = load_file(file)
    arrays.pop(next(iter(arrays)))
    save_file(arrays, file)
    card = json.loads((tiny_pack.path / "card.json").read_text())
    card["weights_sha256"] = weights_hash(arrays)
    (tiny_pack.path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match="(?s)don't fit: .*Missing key"):
        xef.open_pack(tiny_pack.path).model()


def test_a_nowcast_of_the_model_before_says_what_to_do(tmp_path):
    """Cards of nowcast-radar 2, and of packs trained like it, configure `lags`."""
    shipped = xef.open_pack("nowcast-radar").path
    card = json.loads((shipped / "card.json").read_text())
    old = {"name": "nowcast", "config": {"lags": [1, 0]}}
    card |= {"name": "mine", "version": "2", "model": old}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match="'mine' 2 at .*, of the one that read 'lags'") as error:
        xef.open_pack(tmp_path)
    name = re.search(r'try the pack "([\w-]+)", or .*: python (\S+) radar', str(error.value))
    assert xef.open_pack(name[1]).model().out_len == 12
    assert (Path(__file__).parents[2] / name[2]).is_file()


def test_unknown_name_lists_what_there_is():
    with pytest.raises(PackError, match="no pack 'enso-erst'.*enso-ersst.*persistence"):
        xef.open_pack("enso-erst")


def test_every_pack_that_ships_opens_and_runs():
    assert {"enso-ersst", "lim", "persistence", "damped-persistence"} <= set(xef.list_packs())
    for name in xef.list_packs():
        pack = xef.open_pack(name)
        height, width = pack.card.grid.shape if pack.card.grid else (4, 5)
        given = torch.zeros(1, pack.card.context, height, width, pack.card.channels)
        y = pack.model().predict(given)
        assert y.shape == (1, pack.card.lead, height, width, len(pack.card.outputs))


def test_packs_is_a_module_that_can_still_be_called():
    module = importlib.import_module("xearthformer.packs")
    assert isinstance(module, ModuleType) and xef.packs is module
    with pytest.warns(FutureWarning, match=r"packs\(\) is now xef.list_packs\(\)"):
        assert xef.packs() == xef.list_packs()


def test_a_card_still_answers_to_its_old_names(tiny_pack):
    with pytest.warns(FutureWarning, match="card.history is now card.context"):
        assert tiny_pack.card.history == tiny_pack.card.context
    with pytest.warns(FutureWarning, match="card.reach is now card.lead"):
        assert tiny_pack.card.reach == tiny_pack.card.lead


@pytest.mark.parametrize("name", ["pack", "pack.safetensors"])
def test_a_card_file_says_history_and_reach(tiny_pack, tmp_path, name):
    """Format 1: earlier versions must open what this one writes."""
    xef.save_pack(tmp_path / name, tiny_pack.model(), tiny_pack.card)
    if name == "pack":
        text = (tmp_path / name / "card.json").read_text()
    else:
        with safe_open(tmp_path / name, "numpy") as file:
            text = file.metadata()["card"]
    card = json.loads(text)
    assert (card["format"], card["history"], card["reach"]) == (1, 3, 2)
    assert not {"context", "lead"} & card.keys()


def test_packs_of_installed_packages_are_found_but_not_imported(tiny_pack, tmp_path, monkeypatch):
    package = tmp_path / "site" / "their_pack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for file in tiny_pack.path.iterdir():
        (package / file.name).write_bytes(file.read_bytes())
    info = tmp_path / "site" / "their-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xearthformer.packs]\ntheirs = their_pack\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert "theirs" in xef.list_packs()
    assert xef.open_pack("theirs").card == tiny_pack.card


def test_from_the_hub(tiny_pack, monkeypatch):
    asked = []

    def snapshot_download(name, revision, allow_patterns):
        asked.append((name, revision))
        if name == "nobody/nothing":
            raise OSError("offline")
        return str(tiny_pack.path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert xef.open_pack("hf://owner/name@v1").card == tiny_pack.card
    assert asked == [("owner/name", "v1")]
    with pytest.raises(PackError, match="hf://nobody/nothing can't be fetched: OSError: offline"):
        xef.open_pack("hf://nobody/nothing")


@pytest.mark.parametrize("form", ["bare", "lightning"])
def test_convert_a_published_checkpoint(tmp_path, form):
    state = fill(models.build("earthformer", "enso").state_dict())
    if form == "lightning":
        state = {"state_dict": {f"torch_nn_module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(state, tmp_path / "earthformer_icarenso2021.pt")
    pack = xef.convert(tmp_path / "earthformer_icarenso2021.pt", "enso", tmp_path / "pack")
    assert pack.card.grid.shape == (24, 48)
    assert (pack.card.context, pack.card.lead) == (12, 14)
    assert pack.model()(torch.zeros(1, 12, 24, 48, 1)).shape == (1, 14, 24, 48, 1)


SMALL = {**card("earthformer_enso_v1")["model"], "base_units": 16, "num_heads": 2}


@pytest.fixture
def training_package(monkeypatch):
    """A package whose objects lie in checkpoints, and that isn't there when these are read."""
    module = ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self, content):
            self._content, self._parent = content, None

    DictConfig.__module__, DictConfig.__qualname__ = module.__name__, "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_convert_a_checkpoint_of_the_published_training(tmp_path, training_package, monkeypatch):
    model = from_published("earthformer", SMALL)
    state = {f"torch_nn_module.{k}": v for k, v in fill(model.state_dict()).items()}
    checkpoint = {
        "epoch": 3,
        "state_dict": {
            **state,
            "valid_mse.total": torch.zeros(()),
            "test_score.hits": torch.ones(3),
        },
        "hyper_parameters": {"oc": training_package.DictConfig({"a": [1], "of": dict})},
        "callbacks": {"stop": {"path": Path("a"), "wait": defaultdict(list)}},
        "args": argparse.Namespace(lr=1e-3),
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    del training_package.DictConfig
    patterns = {
        "self_pattern": SMALL["enc_attn_patterns"][0],
        "cross_self_pattern": SMALL["dec_self_attn_patterns"][0],
        "cross_pattern": SMALL["dec_cross_attn_patterns"],
    }
    lists = ("enc_attn_patterns", "dec_self_attn_patterns", "dec_cross_attn_patterns")
    config = {key: value for key, value in SMALL.items() if key not in lists} | patterns
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump({"model": config, "optim": {"lr": 1e-3}}))
    words = ["packs", "convert", str(tmp_path / "last.ckpt"), "--preset", "enso"]
    words += ["--config", str(tmp_path / "cfg.yaml"), "-o", str(tmp_path / "pack")]
    assert main(words) == 0
    pack = xef.open_pack(tmp_path / "pack")
    assert pack.card.model.config["base_units"] == 16
    call = "xef.convert(file, preset='prediff-sevir-lr', path=out, config=config)"
    names = {"file": tmp_path / "last.ckpt", "out": tmp_path / "again", "config": config}
    with pytest.raises(PackError, match="a configuration of one network") as error:
        eval(call, {"xef": xef, **names})
    assert serve(error.value, call, names).card.weights_sha256 == pack.card.weights_sha256
    x = torch.rand(1, 12, 24, 48, 1)
    wanted = load_published(model, fill(model.state_dict())).eval().requires_grad_(False)
    assert torch.equal(pack.model()(x), wanted(x))


def test_convert_refuses_a_configuration_of_other_fields(tmp_path):
    torch.save({}, tmp_path / "a.pt")
    other = {**SMALL, "input_shape": [12, 16, 16, 1], "target_shape": [14, 16, 16, 1]}
    for config, words in ((other, r"found \(16, 16, 1\)"), ({"a": 1}, "can't be built.*'a'")):
        with pytest.raises(PackError, match=words):
            xef.convert(tmp_path / "a.pt", "enso", tmp_path / "pack", config)
    with pytest.raises(PackError, match="a configuration of one network"):
        xef.convert([tmp_path / "a.pt"] * 3, "prediff-sevir-lr", tmp_path / "pack", SMALL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"PK\x03\x04" + bytes(50), "a part of one"),
        (b"hello", "no checkpoint"),
        ([torch.zeros(2)], "found a list"),
        (torch.zeros(2), "found a Tensor"),
        ({"state_dict": 5}, "a dict of tensors"),
        ({"a": 1}, "a dict of tensors"),
    ],
)
def test_convert_says_what_a_file_is(tmp_path, content, words):
    path = tmp_path / "file.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(PackError, match=words) as error:
        xef.convert(path, "nbody", tmp_path / "pack")
    assert "weights_only" not in str(error.value)


def test_convert_refuses_a_pickle_that_would_run_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    with open(tmp_path / "bad.pt", "wb") as file:
        pickle.dump({"weight": Malicious()}, file)
    torch.save({"weight": Malicious()}, tmp_path / "bad_zip.pt")
    for name in ("bad.pt", "bad_zip.pt"):
        with pytest.raises(PackError, match="is refused: expected a file of tensors") as error:
            xef.convert(tmp_path / name, "enso", tmp_path / "pack")
        assert "weights_only" not in str(error.value) and "can still" not in str(error.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "found a int"),
        ({"a": {"b": [1]}}, "isn't a checkpoint of preset"),
        ({"state_dict": 3}, "isn't a checkpoint of preset"),
        ({1: torch.zeros(2)}, "isn't a checkpoint of preset"),
        (None, "found none there"),
    ],
)
def test_convert_refuses_what_holds_no_weights(tmp_path, content, message):
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(PackError, match=message):
        xef.convert(path, "enso", tmp_path / "pack")


def test_convert_of_another_network_names_the_preset(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(PackError, match="isn't a checkpoint of preset 'enso'"):
        xef.convert(tmp_path / "other.pt", "enso", tmp_path / "pack")
    with pytest.raises(PackError, match="no published preset 'ensoo': one of enso"):
        xef.convert(tmp_path / "other.pt", "ensoo", tmp_path / "pack")


def test_listing_and_reading_cards_leaves_torch_unloaded():
    code = (
        "import sys, xearthformer as xef; xef.list_packs(); xef.open_pack('lim').arrays();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what is written can be opened, and is what was given


def test_a_pack_saved_under_the_name_of_one_that_ships(tiny_pack, tmp_path, monkeypatch):
    """`save_pack("lim")` gave back the pack that ships."""
    monkeypatch.chdir(tmp_path)
    saved = xef.save_pack("lim", tiny_pack.model(), tiny_pack.card)
    assert saved.card == tiny_pack.card and saved.path == tmp_path / "lim"
    for path in (Path("lim"), "./lim", "lim/card.json", "lim/weights.safetensors"):
        assert xef.open_pack(path).card == tiny_pack.card
    with pytest.warns(UserWarning, match="that of the folder here is './lim'"):
        assert xef.open_pack("lim").card.name == "lim"


@pytest.mark.parametrize("link, file", [("best", "one.safetensors"), ("one.safetensors", "0a1b")])
def test_a_link_to_a_pack_opens(tiny_pack, tmp_path, link, file):
    """Under another name, or to a file of a cache, which has no suffix."""
    xef.save_pack(tmp_path / "saved.safetensors", tiny_pack.model(), tiny_pack.card)
    (tmp_path / "saved.safetensors").rename(tmp_path / file)
    (tmp_path / link).symlink_to(file)
    opened = xef.open_pack(tmp_path / link)
    assert opened.card == tiny_pack.card and opened.arrays()


def broken(pack, what):
    model, card = pack.model(), pack.card
    if what == "weights":
        model.final_decoder.conv_block[0].weight.fill_(torch.nan)
    else:
        card = card.model_copy(update={"lead": 99})
    return model, card


@pytest.mark.parametrize("what", ["weights", "lead"])
@pytest.mark.parametrize("name", ["tiny", "one.safetensors"])
def test_what_could_not_be_opened_replaces_nothing(tiny_pack, tmp_path, name, what):
    first = xef.save_pack(tmp_path / name, tiny_pack.model(), tiny_pack.card)
    with pytest.raises(PackError, match="finite weights|the card says lead 99"):
        xef.save_pack(tmp_path / name, *broken(tiny_pack, what), overwrite=True)
    assert xef.open_pack(tmp_path / name) == first


def test_forms_of_a_network_that_are_saved_as_the_network(tiny_pack, tmp_path, monkeypatch):
    """Compiled, in bfloat16 (which NumPy lacks), to a folder at home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    compiled = torch.compile(tiny_pack.model(), backend="eager")
    saved = xef.save_pack("~/compiled", compiled, tiny_pack.card)
    assert saved == xef.open_pack("~/compiled") and saved.path == tmp_path / "compiled"
    assert saved.card.weights_sha256 == tiny_pack.card.weights_sha256
    half = xef.save_pack(tmp_path / "half", tiny_pack.model().bfloat16(), tiny_pack.card)
    others = half.model().state_dict()
    for key, weight in tiny_pack.model().state_dict().items():
        other = others[key]
        assert other.equal(weight.bfloat16().float() if weight.is_floating_point() else weight)


def as_bfloat16(path):
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({k: v.bfloat16() for k, v in weights.items()}, path)


UNREAD = {
    "a pointer": (lambda path: path.write_text(POINTER), "git lfs pull --include weights.saf"),
    "bfloat16": (as_bfloat16, "weights in bfloat16, expected float32"),
}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n"


@pytest.mark.parametrize("what", UNREAD)
def test_weights_that_cannot_be_read_say_why(tiny_pack, what):
    change, words = UNREAD[what]
    change(tiny_pack.path / "weights.safetensors")
    with pytest.raises(PackError, match=words):
        xef.open_pack(tiny_pack.path)


@pytest.mark.parametrize("name", ["pack.zip", "sst.nc"])
def test_another_file_is_no_pack(tmp_path, name):
    (tmp_path / name).touch()
    unpack = "; unpack it" if name == "pack.zip" else ""
    with pytest.raises(PackError, match=f"found another file{unpack}$"):
        xef.open_pack(tmp_path / name)
