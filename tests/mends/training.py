"""Training: the arguments of `train`, and the entries of the files that `xearthformer train` reads."""

import contextlib
import io
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

import xearthformer as xef
from mends import data
from mends.data import GRID, QUANTITY, SIZES, UNET
from mends.typed import END, Case, scope
from xearthformer.cli import main
from xearthformer.cli.hints import in_shell

DAMPED = {"name": "damped-persistence", "config": SIZES}
FIT = {
    "model": DAMPED,
    "data": {"path": "FOLDER/sst.nc"},
    "card": {"input": QUANTITY, "grid": GRID, "name": "small"},
    "pack": "FOLDER/pack",
    "period": ["2000", "2002"],
}
TABLE = {
    "models": [DAMPED],
    "packs": ["persistence"],
    "data": {"path": "FOLDER/sst.nc"},
    "card": FIT["card"],
    "folder": "FOLDER/table",
    "scores": "frames",
    "period": ["2000", "2001"],
    "test": ["2003", "2004"],
    "seeds": [0],
}


@dataclass(frozen=True)
class File:
    """A training file that is refused, and what is right of the pack or the table it makes then."""

    changes: dict  # of the usual entries
    right: str = "answer.card.training.period == '2000/2002'"
    dots: dict[str, str] = field(default_factory=dict)  # what the user puts in their place
    section: str | None = None  # that the entry is for
    overrides: tuple[str, ...] = ()  # after the file
    also: dict = field(default_factory=dict)  # what the words after the entry say

    def typed(self, folder: Path) -> list[str]:
        """Return what is said, which has served when typed into the file, or after its name."""
        pytest.importorskip("lightning")
        data.anomalies(60, step=10).to_netcdf(folder / "sst.nc")
        entries = {**(TABLE if "models" in self.changes else FIT), **self.changes}
        status, message = _train(entries, folder, *self.overrides)
        assert status == 2, f"served as it is, or broken ({status}): {message}"
        said = message.strip().rpartition("try ")[2]
        hint = said
        for dots, given in self.dots.items():
            hint = hint.replace(dots, given)
        overrides: list[str] = []
        if re.match(r"[\w.]+=", hint):
            overrides = shlex.split(next(_starts(hint)))[:1]
        else:
            entries = self._with(entries, _entry(hint))
        status, error = _train({**entries, **self.also}, folder, *overrides)
        assert status == 0, f"{message}\n   typed {hint}\n     got {error}"
        answer = xef.open_pack(folder / "pack") if "pack" in entries else error
        assert eval(self.right, {**scope(), "answer": answer}), f"{message}\n  typed {hint}"
        return [said]

    def said(self, hint: str) -> str:
        """Return a hint in the words of the command line."""
        return in_shell(hint, "train")

    def _with(self, entries: dict, entry: dict) -> dict:
        """Return the entries with another, which goes into a section or takes its place."""
        if self.section is None:
            return {**entries, **entry}
        whole = {"path", "catalog"} & {*entry}
        return {**entries, self.section: entry if whole else {**entries[self.section], **entry}}


def _train(entries: dict, folder: Path, *overrides: str) -> tuple[int, str]:
    """Return the exit status of the command, and what it says."""
    text = yaml.safe_dump(entries).replace("FOLDER", str(folder))
    (folder / "train.yaml").write_text(text)
    overrides = tuple(word.replace("FOLDER", str(folder)) for word in overrides)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["train", str(folder / "train.yaml"), *overrides])
    return status, err.getvalue() or out.getvalue()


def _entry(hint: str) -> dict:
    """Return the entry of YAML with which a hint begins, the longest."""
    for text in _starts(hint):
        with contextlib.suppress(yaml.YAMLError):
            found = yaml.safe_load(text)
            if isinstance(found, dict):
                return found
    raise AssertionError(f"no entry in: {hint}")


def _starts(hint: str):
    """Yield a hint up to its first words, and shorter and shorter beginnings."""
    first = re.split(r",? (?:or|with|within|for|and|as) ", hint)[0]
    yield from (first[: end.start()] for end in reversed([*END.finditer(first)]))


TRAINED = "answer.card.training.period == '2000/2002'"
DATES = {"start": "'2000'", "end": "'2002'"}
YEARS = {"[start, end]": "[2003, 2004]"}
ROWS = "'damped-persistence' in answer and 'persistence' in answer"
PREDIFF = "train('prediff', for_tiny(), config='tiny', card=RAIN_CARD, period=None, recipe=xef.Recipe(epochs=1), {})"

CASES = {
    "cli:_entries": [
        File({}, dots={"VALUE": "FOLDER/pack"}, overrides=("pack=a", "pack.name=b")),
        File({}, dots={"KEY.KEY": "card.name", "VALUE": "small"}, overrides=("card.=small",)),
    ],
    "comparison.train_table:contenders": [
        File({"models": []}, ROWS, {"NAME": "damped-persistence", "CONFIG": str(SIZES)}),
        File({"models": [DAMPED], "seeds": []}, ROWS),
        File(
            {
                "models": [DAMPED, {"name": "persistence", "config": {"in_len": 1, "out_len": 2}}],
                "packs": [],
            },
            ROWS,
            also={"models": [DAMPED]},
        ),
    ],
    "comparison.train_table:_check_apart": [
        File({"models": [DAMPED], "test": ["2001", "2004"]}, ROWS, YEARS)
    ],
    "comparison.train_table:_check_length": [
        File({"models": [DAMPED], "test": ["2004-12", "2005-12"]}, ROWS, YEARS)
    ],
    "comparison.train_table:_for_enso": [File({"models": [DAMPED], "scores": "enso"}, ROWS)],
    "datasets.catalog:read_entry": [
        File({"data": {"catalog": "nix"}}, dots={"FILE": "FOLDER/sst.nc"}, section="data")
    ],
    "errors:whole_number": [
        File({"data": {"path": "FOLDER/sst.nc", "every": 0}}, section="data"),
        File({"data": {"path": "FOLDER/sst.nc", "pad": [-1, 0]}}, section="data"),
        File(
            {
                "model": {"name": "unet", "config": UNET},
                "crop": {"size": 0, "stride": 4, "least": 0},
                "recipe": {"epochs": 1},
                "period": [2000, 2000],
            },
            "answer.card.training.notes.startswith('epoch 1 of 1')",
            {"1 or more": "16"},
        ),
    ],
    "training.config:__post_init__": [
        File({"data": {}}, dots={"FILE": "FOLDER/sst.nc"}, section="data"),
        File(
            {"data": {"path": "FOLDER/sst.nc", "options": {"years": 5}}},
            dots={"ENTRY": "synthetic_sst"},
            section="data",
            also={
                "card": {**FIT["card"], "input": {**QUANTITY, "difference": False}},
                "period": [1960, 1962],
            },
            right="answer.card.training.period == '1960/1962'",
        ),
    ],
    "training.config:opened": [
        File({"data": []}, dots={"FILE": "FOLDER/sst.nc"}, section="data"),
    ],
    "training.config:_check_truth": [
        File(
            {
                "model": {"name": "unet", "config": UNET},
                "recipe": {"epochs": True},
                "period": [2000, 2000],
            },
            "answer.card.training.notes.startswith('epoch 1 of 1')",
        )
    ],
    "training.config:open": [
        File({"data": {"path": "FOLDER/sst.nc", "every": 61}}, section="data"),
        File({"data": {"path": "FOLDER/sst.nc", "pad": [61, 0]}}, section="data"),
    ],
    "training.config:call_with_entries": [
        File(
            {
                "data": {"path": "synthetic", "years": 5, "anomaly": [1960, 1964]},
                "period": [1960, 1962],
            },
            "answer.card.training.period == '1960/1962'",
        )
    ],
    "training.cards:draft_card": [
        Case(
            "card = {'grid': GRID}",
            "train(card={'inputs': [1], 'grid': GRID})",
            TRAINED,
            {"{'standard_name': ..., 'units': ...}, ...}": "QUANTITY}, 'grid': GRID"},
        )
    ],
    "training.loop:device_of": [
        Case(
            "",
            "train('unet', config=UNET, device='gpu', recipe=xef.Recipe(epochs=1), period=(2000, 2000))",
            "answer.card.training.notes.startswith('epoch 1 of 1')",
        ),
    ],
    "training.records:check_periods": [
        Case("start, end = 2000, 2002", "train(period=('1890', '1891'))", TRAINED),
        Case(
            "start, end = 2000, 2002",
            "train(validation=('2002', '2004'))",
            TRAINED,
            {"validation=(start, end)": "validation=('2003', '2004')"},
        ),
        File({"period": ["1890", "1891"]}, dots={"START": "2000", "END": "2002"}),
    ],
    "training.records:_check_some": [
        Case("start, end = 2000, 2002", "train(period=('2000-01', '2000-02'))", TRAINED)
    ],
    "training.stages:choose": [
        Case("", "train(stage='autoencoder')", TRAINED),
        Case(
            "from xearthformer.training.windows import Crop",
            PREDIFF.format("crop=Crop(size=9, stride=16, least=0)"),
            "answer.card.training.notes.startswith('autoencoder: ')",
            only=0,
            more=1,
        ),
        File({"stage": "autoencoder"}),
    ],
    "training.train:train": [
        Case(
            "",
            "train('damped-persistence', start='lim')",
            TRAINED,
            {"...": "config='enso'"},
            only=1,
        ),
    ],
    "training.train:check_shapes": [
        Case(
            "",
            "train(config={'in_len': 1, 'out_len': 2, 'height': 5, 'width': 36})",
            TRAINED,
            {"config=...": "config=SIZES,"},
        )
    ],
    "training.train:_fit_closed_form": [
        Case(
            "data = [anomalies(60, step=10), anomalies(60, step=10)]", "train(data=data)", TRAINED
        ),
        Case(
            "from xearthformer.training.windows import Crop",
            "train(config={**SIZES, 'width': 18}, crop=Crop(size=18, stride=18, least=0))",
            TRAINED,
            {"config=...": "config=SIZES,"},
            more=1,
        ),
    ],
    "training.windows:__post_init__": [
        Case(
            "from xearthformer.training.windows import Crop",
            "Crop(4, 4, least=5)",
            "answer.least == 0.05",
        )
    ],
    "training.windows:__init__": [
        Case(
            "",
            "train('unet', config=UNET, share=0, recipe=xef.Recipe(epochs=1), period=(2000, 2000))",
            "answer.card.training.notes.startswith('epoch 1 of 1; 10 training windows')",
        )
    ],
}
