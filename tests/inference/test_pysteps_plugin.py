"""Packs as a nowcast method of pysteps, found by pysteps' own discovery of plugins."""

import copy
import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_nowcast import small_nowcast
from small_radar import small_rain

import xearthformer as xef
from xearthformer.inference.pysteps_modules import load_quietly

GROUP = "pysteps.plugins.importers"
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
POINTS = [EntryPoint(*item, GROUP) for item in PROJECT["entry-points"][GROUP].items()]


@pytest.fixture
def pysteps(monkeypatch):
    """pysteps, with what it discovers by the entry points of this package, installed or not."""
    pysteps = pytest.importorskip("pysteps", exc_type=ImportError)
    load_quietly()
    io, nowcasts = pysteps.io.interface, pysteps.nowcasts.interface
    monkeypatch.setattr(io, "entry_points", lambda group: POINTS if group == GROUP else [])
    own = {"_importer_methods": io, "_nowcast_methods": nowcasts}
    for name, module in own.items():
        known = {key: value for key, value in vars(module)[name].items() if key != "xearthformer"}
        monkeypatch.setattr(module, name, known)
    for point in POINTS:  # as in a process that has not loaded it
        monkeypatch.delitem(sys.modules, point.module, raising=False)
    pysteps.io.discover_importers()
    return pysteps


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return small_nowcast(tmp_path_factory.mktemp("packs"))


@pytest.fixture
def rain():
    """Two showers that move east, and a corner that no radar sees."""
    y, x = np.mgrid[:64, :64]
    shower = [9 * np.exp(-((y - 20) ** 2 + (x - 12 - 4 * t) ** 2) / 60) for t in range(4)]
    values = np.array([frame + frame[::-1, ::-1] / 2 for frame in shower])
    values[:, :6, :6] = np.nan
    return small_rain(values)


def expected(rain, pack, **options):
    fc = rain.astype(float).earthformer.forecast(pack, **options).isel(init=0)
    dims = ("member", "lead", "y", "x") if "member" in fc.dims else ("lead", "y", "x")
    return fc.transpose(*dims).values


def test_a_pack_by_pysteps_name(pysteps, rain):
    """What a user of pysteps types, on the frames of an importer and their metadata."""
    precip, metadata = xef.to_pysteps(rain)
    velocity = np.zeros((2, 64, 64))
    nowcast = pysteps.nowcasts.get_method("xearthformer")
    single = nowcast(precip, velocity, 3, metadata=metadata)
    np.testing.assert_array_equal(single, expected(rain, "nowcast-radar", lead=3))
    assert single.shape == (3, 64, 64) and np.isnan(single[:, :6, :6]).all()
    assert 1 < np.nanmax(single) < 20 and np.nanmin(single) == 0  # mm/h
    some = nowcast(precip, velocity, [1, 3], n_ens_members=2, seed=5, metadata=metadata)
    wanted = expected(rain, "nowcast-radar", lead=3, members=2, seed=5)
    np.testing.assert_array_equal(some, wanted[:, [0, 2]])


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_rows_stay_in_their_order(pysteps, pack, rain, origin):
    south_first = rain[:, ::-1] if origin == "lower" else rain
    precip, metadata = xef.to_pysteps(south_first)
    assert metadata["yorigin"] == origin
    nowcast = pysteps.nowcasts.get_method("xearthformer")
    found = nowcast(precip, None, 2, pack=pack, metadata=metadata)
    np.testing.assert_array_equal(found, expected(south_first, pack, lead=2))
    assert np.isnan(found[:, :6] if origin == "upper" else found[:, -6:])[..., :6].all()


def test_kilometres_and_minutes_are_enough(pysteps, pack, rain):
    """Members are those of a record that ends at the turn of the millennium."""
    nowcast = pysteps.nowcasts.get_method("xearthformer")
    given = {"kmperpixel": 1, "timestep": 5, "n_ens_members": 2, "pack": pack}
    dated = rain.assign_coords(time=pd.date_range(end="2000-01-01", periods=4, freq="5min"))
    wanted = expected(dated, pack, lead=2, members=2)
    for seed in (0, None):
        found = nowcast(rain.values, None, 2, seed=seed, **given)
        np.testing.assert_array_equal(found, wanted)


def test_what_pysteps_holds_otherwise_is_an_error_whose_line_works(pysteps, pack, rain):
    nowcast = pysteps.nowcasts.get_method("xearthformer")
    precip, metadata = xef.to_pysteps(rain)
    decibels, said = pysteps.utils.transformation.dB_transform(
        precip, copy.copy(metadata), 0.1, -15.0
    )
    with pytest.raises(
        ValueError, match="rain rates in mm/h\n   found mm/h transformed by dB"
    ) as e:
        nowcast(decibels, None, 2, pack=pack, metadata=said)
    line = str(e.value).partition("try precip, metadata = ")[2]
    mended = eval(line, {"pysteps": pysteps, "precip": decibels, "metadata": said})
    assert nowcast(mended[0], None, 1, pack=pack, metadata=mended[1]).shape == (1, 64, 64)
    with pytest.raises(ValueError, match="metadata of 3 frames\n   found 4 timestamps") as e:
        nowcast(precip[-3:], None, 2, pack=pack, metadata=metadata)
    line = re.search("try metadata=(.*)", str(e.value)).group(1)
    mended = eval(line, {"metadata": metadata})
    assert nowcast(precip[-3:], None, 1, pack=pack, metadata=mended).shape == (1, 64, 64)
    for wrong, words in {
        (1.5,): "timesteps as a whole number",
        (3, 1): "steps in increasing order",
        (): "steps in increasing order",
    }.items():
        with pytest.raises(ValueError, match=words):
            nowcast(precip, None, list(wrong), pack=pack, metadata=metadata)
    with pytest.raises(ValueError, match="try kmperpixel=1"):
        nowcast(precip, None, 2, pack=pack, timestep=5)
    with pytest.raises(ValueError, match="try timestep=5"):
        nowcast(precip, None, 2, pack=pack, kmperpixel=1)
    with pytest.raises(ValueError, match=r"try precip\[-4:\]"):
        nowcast(precip[0], None, 2, pack=pack, kmperpixel=1, timestep=5)


def test_files_that_open_radar_reads_by_an_importer_of_pysteps(pysteps, rain, tmp_path):
    names = [tmp_path / f"{k}.nc" for k in range(4)]
    for k, name in enumerate(names):
        rain[[k]].to_netcdf(name)
    read = pysteps.io.get_method("xearthformer", "importer")
    files = [[str(name) for name in names], list(rain.time.values)]
    precip, _, metadata = pysteps.io.read_timeseries(files, read)
    np.testing.assert_allclose(precip, rain, rtol=1e-6)
    assert (metadata["unit"], metadata["yorigin"], metadata["xpixelsize"]) == (
        "mm/h",
        "upper",
        1000,
    )
    assert len(metadata["timestamps"]) == 4
    rain.to_netcdf(tmp_path / "all.nc")
    with pytest.raises(ValueError, match="a file of one frame") as e:
        read(str(tmp_path / "all.nc"))
    assert eval(str(e.value).partition("precip, metadata = ")[2], {"xef": xef})[0].shape == (
        4,
        64,
        64,
    )
