"""Configuration files: where records come from, and what files of an older version are told."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import xearthformer as xef

pytest.importorskip("lightning")
from xearthformer.training.config import (
    DataSource,
    _check_truth,
    call_with_entries,
    train_from_config,
)


def test_a_file_padded_with_empty_frames(tmp_path):
    rain = xr.DataArray(
        np.arange(36, dtype="f4").reshape(4, 3, 3),
        {"time": pd.date_range("2010-06-01", periods=4, freq="5min")},
        ("time", "y", "x"),
        "rain",
        {"standard_name": "rainfall_rate", "units": "mm h-1"},
    )
    rain.to_netcdf(tmp_path / "radar.nc")
    plain, padded = (
        DataSource(str(tmp_path / "radar.nc"), radar=True, pad=pad).open()[0]
        for pad in ((0, 0), (2, 1))
    )
    xr.testing.assert_equal(padded[2:6], plain)
    assert padded.sizes["time"] == 7 and bool(padded[[0, 1, 6]].isnull().all())


def test_an_entry_with_several_events_is_as_many_records():
    source = DataSource(catalog="nbody", options={"sequences": 3, "frames": 4}, variable="frames")
    digits = xef.nbody(sequences=3, frames=4)["frames"]
    for k, record in enumerate(source.open()):
        np.testing.assert_array_equal(record, digits[k])
    assert len(source.open()) == 3 and record.dims == ("time", "y", "x")


OLD = {
    "sst": ({"path": "synthetic", "variable": "sst", "years": 2, "seed": 3}, "sst"),
    "sst, all defaults": ({"path": "synthetic", "variable": "sst", "anomaly": [1960, 1962]}, "all"),
    "storms": ({"path": "storms", "seed": 1, "events": 2, "size": 64, "every": 2}, "storms"),
    "nbody": ({"path": "nbody", "events": 2, "frames": 12, "bodies": 2, "seed": 1}, "nbody"),
}


@pytest.mark.parametrize("name", OLD)
def test_a_path_that_was_no_path_is_told_the_line_to_write(name):
    """The line, typed as printed, gives what the old one gave."""
    entry, expected = OLD[name]
    model = {"name": "damped-persistence", "config": "enso"}
    with pytest.raises(ValueError) as error:
        call_with_entries(
            train_from_config, {"model": model, "data": entry, "card": {}, "pack": "never"}
        )
    (line,) = re.findall(r"try (data: .*)", str(error.value))
    record = DataSource(**yaml.safe_load(line)["data"]).open()[0]
    if expected == "sst":
        xr.testing.assert_equal(record, xef.synthetic_sst(2, 3)["sst"])
    elif expected == "all":
        assert record.sizes["time"] == 12 * 50 and "climatology_period" in record.attrs
    elif expected == "storms":
        rain = xef.synthetic_storms(1, 2, size=64)["rain_rate"]
        xr.testing.assert_equal(record, rain[0, ::2].drop_vars("event"))
    else:  # in version 0.1 digits had 384 pixels a side unless told otherwise
        digits = xef.nbody(1, 2, bodies=2, frames=12, size=384)["frames"][0]
        np.testing.assert_array_equal(record, digits)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "a path or an entry of a catalogue\n   found neither"),
        ({"path": "a.nc", "catalog": "nbody"}, "found path a.nc and catalog nbody"),
        ({"path": "a.nc", "options": {"seed": 1}}, "options of an entry of a catalogue"),
        ({"catalog": "nix"}, "found 'nix'"),
        ({"catalog": "nbody", "options": {"frames": 4}, "every": 10**6}, "every as 4 at most"),
        ({"catalog": "nbody", "options": {"frames": 4}, "pad": (0, 5)}, "pad of 4 at most"),
        ({"path": "a.nc", "every": 0}, "every as a whole number from 1"),
        ({"path": "a.nc", "pad": (-1, 0)}, "pad as a whole number from 0"),
    ],
)
def test_a_source_that_is_none_is_an_error(entry, words):
    with pytest.raises(ValueError, match=words):
        DataSource(**entry).open()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"pakc": "mine"}, "pakc: .*did you mean 'pack'"),
        ({"recipe": {"epoch": 1}}, "recipe.epoch: .*did you mean 'epochs'"),
        ({"data": {"catalog": "nbody", "evry": 2}}, "evry: .*did you mean 'every'"),
    ],
)
def test_an_entry_that_is_misspelt_is_asked_for(entries, words):
    with pytest.raises(ValueError, match=words):
        call_with_entries(train_from_config, entries)


WHOLE = {
    "model": {"name": "persistence", "config": {}},
    "data": {"catalog": "nbody"},
    "card": {},
    "pack": "never",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": {"epochs": True}}, "recipe.epochs as a number\n +found true"),
        ({"share": True}, "share as a number"),
        ({"period": [True, 1999]}, "period.0 as a number"),
        ({"data": [{"catalog": "nbody", "every": True}]}, "data.0.every as a number"),
        ({"data": []}, "a source of data or more"),
    ],
)
def test_what_a_file_says_for_a_number_and_for_data(change, words):
    """YAML's yes and on are true, and true is 1 for pydantic."""
    with pytest.raises(ValueError, match=words):
        call_with_entries(train_from_config, WHOLE | change)


def test_an_error_of_an_entry_ends_in_the_line_to_write():
    entries = {"model": {"name": "lim", "config": "enso"}, "card": {}, "pack": "a"}
    with pytest.raises(ValueError) as error:
        call_with_entries(train_from_config, {**entries, "data": {"path": "a.nc", "every": 0}})
    told = "expected every as a whole number from 1\n   found 0\n     try every: 1"
    assert str(error.value) == told


def test_options_that_are_called_as_methods_of_a_dict_are():
    """Their mapping is passed on as it is: nothing of it has been taken for a number."""
    _check_truth("options", {"copy": True}, {"copy": True})
