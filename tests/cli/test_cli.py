"""The command line: what it writes reads back as it was, and what users mistype is said."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import xearthformer as xef
from xearthformer import models
from xearthformer.cli import main
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Quantity, Training


@pytest.fixture
def sst(tiny_pack):
    """Three years of SST on the tiny pack's own grid, NaN on its one land cell."""
    grid = tiny_pack.card.grid
    values = 20 + np.random.default_rng(0).standard_normal((36, *grid.shape))
    return xr.DataArray(
        np.where(grid.is_land, np.nan, values).astype("f4"),
        dims=("time", "lat", "lon"),
        coords={
            "time": xr.date_range("2000-01", periods=36, freq="MS"),
            "lat": ("lat", grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs={"standard_name": "sea_surface_temperature", "units": "degC"},
        name="sst",
    )


@pytest.fixture
def ssta(sst):
    return sst.earthformer.anomaly(climatology=("2000", "2002"))


@pytest.fixture
def file(ssta, tmp_path):
    path = tmp_path / "in.nc"
    ssta.to_netcdf(path)
    return path


def forecast(*words):
    return main(["forecast", *map(str, words)])


@pytest.mark.parametrize("out", ["out.nc", "out.zarr"])
@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_what_is_written_reads_back_identical(ssta, tiny_pack, tmp_path, out, calendar):
    ssta = ssta if calendar == "standard" else ssta.convert_calendar(calendar)
    ssta.to_netcdf(tmp_path / "in.nc")
    span = ("--init", "2000-06/2001-03", "--lead", 3)
    path = tmp_path / out
    assert forecast(tmp_path / "in.nc", "--pack", tiny_pack.path, *span, "-o", path) == 0
    expected = ssta.earthformer.forecast(tiny_pack, init=slice("2000-06", "2001-03"), lead=3)
    with xr.open_dataset(path) as found:
        xr.testing.assert_identical(found["sst"].load(), expected)
        assert found["lead"].dtype.kind == "i" and found["lead"].attrs["units"] == "months"
        assert found["lead"].values.tolist() == [1, 2, 3]
        assert found.attrs["Conventions"] == "CF-1.11"
    with xr.open_dataset(path, decode_cf=False) as raw:
        assert all("_FillValue" not in raw[name].attrs for name in raw.coords)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("out", ["out.nc", "out.zarr"])
def test_leads_of_minutes_read_back_as_durations(tmp_path, out):
    card = Card(
        name="still",
        version="1",
        title="persistence of rain",
        model=ModelSpec(name="persistence", config={}),
        input=Quantity(standard_name="rainfall_rate", units="mm h-1"),
        output=Quantity(standard_name="rainfall_rate", units="mm h-1"),
        grid=PixelGrid(height=4, width=6),
        time_step="5min",
        history=1,
        reach=3,
        training=Training(data="none"),
    )
    pack = xef.save_pack(tmp_path / "still", models.build("persistence", "tiny"), card)
    rain = xr.DataArray(
        np.arange(72.0).reshape(3, 4, 6),
        dims=("time", "y", "x"),
        coords={"time": xr.date_range("2016-09-28T12:00", periods=3, freq="5min")},
        attrs={"standard_name": "rainfall_rate", "units": "mm h-1"},
        name="rain",
    )
    rain.to_dataset().to_zarr(tmp_path / "in.zarr", zarr_format=2)
    path = tmp_path / out
    assert forecast(tmp_path / "in.zarr", "--pack", pack.path, "--lead", "10min", "-o", path) == 0
    with xr.open_dataset(path) as found:
        xr.testing.assert_identical(found["rain"].load(), rain.earthformer.forecast(pack, lead=2))
        assert found["lead"].dt.total_seconds().values.tolist() == [300, 600]


def test_anomaly_and_list_of_inits(sst, ssta, tiny_pack, tmp_path, capsys):
    sst.to_netcdf(tmp_path / "in.nc")
    words = ("--anomaly", 2000, 2002, "--init", "2000-06", "2001-06", "--variable", "sst")
    path = tmp_path / "out.nc"
    assert forecast(tmp_path / "in.nc", "--pack", tiny_pack.path, *words, "-o", path) == 0
    assert f"{path}: 2 x 2 (init x lead) of sst by tiny" in capsys.readouterr().out
    with xr.open_dataset(path) as found:
        expected = ssta.earthformer.forecast(tiny_pack, init=["2000-06", "2001-06"])
        np.testing.assert_allclose(found["sst"], expected, rtol=1e-5, atol=1e-5)
        assert found["sst"].attrs["climatology_period"] == "2000-01/2002-12"
        assert "2000-01/2002-12; stamps" in found["sst"].attrs["history"]  # of this file


def test_how_the_network_runs(file, ssta, tiny_pack, tmp_path, compiled):
    options = (["--precision", "bf16"], ["--compile"])
    hows = ({"precision": "bf16"}, {"compile": True})
    for words, how in zip(options, hows, strict=True):
        path = tmp_path / f"{words[0]}.nc"
        assert forecast(file, "--pack", tiny_pack.path, *words, "-o", path) == 0
        assert len(compiled) == ("compile" in how)
        with xr.open_dataset(path) as found:
            expected = ssta.earthformer.forecast(tiny_pack, **how)
            xr.testing.assert_identical(found["sst"].load(), expected)


def test_what_stands_there_stays_until_it_is_replaced_whole(file, tiny_pack, tmp_path, capsys):
    path = tmp_path / "out.nc"
    path.write_text("mine")
    assert forecast(file, "--pack", tiny_pack.path, "-o", path) == 2
    assert "add --overwrite" in capsys.readouterr().err
    bad = ("--init", "1850", "--overwrite")
    assert forecast(file, "--pack", tiny_pack.path, "-o", path, *bad) == 2
    assert path.read_text() == "mine"
    assert forecast(file, "--pack", tiny_pack.path, "-o", path, "--overwrite") == 0
    assert xr.open_dataset(path).sizes["lead"] == 2
    store = tmp_path / "notes.zarr"
    store.mkdir()
    assert forecast(file, "--pack", tiny_pack.path, "-o", store, "--overwrite") == 2
    assert "stays: name another" in capsys.readouterr().err and store.is_dir()


@pytest.mark.parametrize("given", ["in.nc", "in*.nc", "link.nc", "~/in.nc"])
def test_what_is_read_is_not_written_over(ssta, tiny_pack, tmp_path, capsys, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    ssta.to_netcdf(tmp_path / "in.nc")
    (tmp_path / "link.nc").symlink_to("in.nc")
    words = "--pack", tiny_pack.path, "-o", tmp_path / "in.nc", "--overwrite"
    assert forecast(given if "~" in given else tmp_path / given, *words) == 2
    assert "in.nc is read, and stays: name another" in capsys.readouterr().err
    with xr.open_dataset(tmp_path / "in.nc") as ds:
        assert ds.sizes["time"] == ssta.sizes["time"]


@pytest.mark.parametrize("out", ["radar/frame.nc", "radar/new.h5"])
@pytest.mark.parametrize("given", ["radar", "radar/", "."])
def test_nothing_is_written_into_a_folder_that_is_read(
    tiny_pack, tmp_path, capsys, monkeypatch, given, out
):
    """Over a frame, or to be read as one the next time."""
    (tmp_path / "radar").mkdir()
    (tmp_path / "radar" / "frame.nc").write_text("mine")
    monkeypatch.chdir(tmp_path / "radar" if given == "." else tmp_path)
    target = out.removeprefix("radar/") if given == "." else out
    assert forecast(given, "--pack", tiny_pack.path, "-o", target, "--overwrite") == 2
    assert "all in the folder" in capsys.readouterr().err
    assert (tmp_path / "radar" / "frame.nc").read_text() == "mine"
    store = Path(target).with_suffix(".zarr")
    assert main(["hindcast", given, "--pack", str(tiny_pack.path), "-o", str(store)]) == 2
    assert "all in the folder" in capsys.readouterr().err and not store.exists()


def test_a_group_of_a_store_is_apart_from_what_is_read(ssta, tiny_pack, tmp_path, capsys):
    ssta.to_zarr(tmp_path / "in.zarr")
    words = "--pack", str(tiny_pack.path), "-o", str(tmp_path / "in.zarr" / "hindcast")
    assert main(["hindcast", str(tmp_path / "in.zarr"), *words, "--init", "2001-01"]) == 0
    assert xr.open_zarr(tmp_path / "in.zarr")["sst"].identical(ssta.load())


def test_names_with_a_blank_are_quoted_where_they_are_told(file, tiny_pack, tmp_path, capsys):
    assert forecast(file, "--pack", tiny_pack.path, "-o", tmp_path / "a b" / "out.nc") == 2
    assert f"mkdir -p '{tmp_path}/a b'" in capsys.readouterr().err
    assert forecast(file, "--pack", tiny_pack.path, "-o", tmp_path / "a b.h5", "--mean") == 2
    assert f"try -o '{tmp_path}/a b.nc'" in capsys.readouterr().err


def test_home_is_where_files_are_written(file, tiny_pack, tmp_path, capsys, monkeypatch):
    """As after `-o=~`, which no shell replaces."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert forecast(file, "--pack", tiny_pack.path, "-o=~/out.nc") == 0
    assert (tmp_path / "out.nc").is_file()


def test_a_hindcast_is_no_picture(file, tiny_pack, tmp_path, capsys):
    out = str(tmp_path / "out.tif")
    assert main(["hindcast", str(file), "--pack", str(tiny_pack.path), "-o", out]) == 2
    assert "expected a Zarr store" in capsys.readouterr().err


def test_packs_to_compare_come_once(file, capsys):
    assert main(["verify", str(file), "--packs", "lim", "persistence", "lim"]) == 2
    assert "; try --packs lim persistence\n" in capsys.readouterr().err


def test_missing_values_found_late_leave_nothing_behind(ssta, tiny_pack, tmp_path, capsys):
    ssta.where(ssta.lat > -12).to_netcdf(tmp_path / "in.nc")
    before = sorted(tmp_path.iterdir())
    assert forecast(tmp_path / "in.nc", "--pack", tiny_pack.path, "-o", tmp_path / "out.nc") == 2
    assert "missing" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_fill_values_are_mended_in_python_which_the_command_says(tiny_pack, sst, tmp_path, capsys):
    sst.fillna(-1000.0).where(sst.lat < 12, -1000.0).to_netcdf(tmp_path / "in.nc")
    words = ["--pack", tiny_pack.path, "--anomaly", "2000", "2001", "-o", tmp_path / "out.nc"]
    assert forecast(tmp_path / "in.nc", *words) == 2
    assert "; try in Python, on the file's data: da.where(" in capsys.readouterr().err


MISTAKES = {
    "no such file": (["nowhere.nc"], "nowhere.nc"),
    "no such store": (["nowhere.zarr"], "nowhere.zarr"),
    "no such pack": (["--pack", "nix"], "no pack 'nix'"),
    "no such variable": (["--variable", "tos"], "expected a variable 'tos' in .* found sst"),
    "another kind of output": (["-o", "out.grib"], "expected file.nc or store.zarr"),
    "no such folder": (["-o", "nowhere/out.nc"], "no folder nowhere"),
    "lead 0": (["--lead", "0"], "lead .*whole number"),
    "lead as a clock": (["--lead", "1:30"], "whole number of months, from 1; found '1:30'"),
    "an address": (["-o", "s3://bucket/out.nc"], "of this machine, found s3://bucket/out.nc"),
    "a folder of others": (["-o", "~nobody-is-so/out.nc"], "no folder ~nobody-is-so"),
    "an init outside": (["--init", "1850"], "1850"),
    "two spans": (["--init", "2000/2001", "2002/2003"], "one span A/B, .* or times"),
    "a step in words": (["--init", "2000/2001/year"], "one span A/B, or A/B/N.*2000/2001/year"),
    "a step too many": (["--init", "2000/2001/2/3"], "one span A/B, or A/B/N"),
    "a step of nothing": (["--init", "2000/2001/0"], "whole number from 1"),
    "anomaly twice": (["--anomaly", "2000", "2002"], "anomaly already|no variable|expected"),
    "no such device": (["--device", "abacus"], "found 'abacus'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(file, tiny_pack, tmp_path, capsys, monkeypatch, mistake):
    words, message = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    where = [words.pop(0)] if words[0].startswith("nowhere") else [str(file)]
    given = {"--pack": str(tiny_pack.path), "-o": "out.nc"}
    given = [word for key, value in given.items() if key not in words for word in (key, value)]
    assert forecast(*where, *given, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("xearthformer: error: ") and err.count("\n") == 1
    assert re.search(message, err), err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["forecast"],
        ["train"],
        ["verify"],
        ["table"],
        ["table", "sevir"],
        ["table", "icar-enso"],
        ["packs"],
        ["packs", "list"],
        ["packs", "show"],
        ["packs", "convert"],
        ["demo"],
    ],
)
def test_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    assert "usage: xearthformer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: "),
        (["dance"], "error: "),
        (["forecast", "in.nc"], "required: "),
        (["packs"], "error: "),
        (["forcast"], "did you mean 'forecast'"),
        (["forecast", "in.nc", "--pak", "lim"], "did you mean '--pack'"),
        (["forecast", "in.nc", "--pack", "lim", "-o", "a.nc", "--seed", "x"], "see .* --help"),
    ],
)
def test_half_a_command_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert re.search(message, err) and err.count("\n") == 1


def test_no_option_is_read_from_the_environment(monkeypatch, capsys):
    given = {"JSONARGPARSE_DEFAULT_ENV": "true", "XEARTHFORMER_PACKS__SHOW__NAME": "lim"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["packs", "show"])
    assert "arguments are required" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["packs", "show", "--help"])
    assert "ENV" not in capsys.readouterr().out


def test_every_option_is_read_with_either_stroke(tiny_pack, file, tmp_path):
    words = ["--batch_size", 2, "--init", "2000-06", "-o", tmp_path / "out.nc"]
    assert forecast(file, "--pack", tiny_pack.path, *words) == 0


FAILURES = {
    "a full disk": (RuntimeError("NetCDF: HDF error"), 2, "NetCDF: HDF error: .* the disk full"),
    "no memory": (MemoryError(), 2, "MemoryError"),
    "few letters": (UnicodeEncodeError("ascii", "ä", 0, 1, "no"), 2, "'ascii' .*PYTHONUTF8=1"),
    "control characters": (ValueError("red \x1b[31m"), 2, r"red \\x1b\[31m"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "interrupted"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_breaks_a_write_is_one_line_and_leaves_nothing(
    file, tiny_pack, tmp_path, capsys, monkeypatch, failure
):
    error, status, message = FAILURES[failure]

    def broken(ds, path, **options):
        path.write_text("half")
        raise error

    monkeypatch.setattr(xr.Dataset, "to_netcdf", broken)
    words = ["--init", "2000-06", "-o", tmp_path / "out.nc"]
    assert forecast(file, "--pack", tiny_pack.path, *words) == status
    err = capsys.readouterr().err
    assert re.search(message, err) and err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_ctrl_c_waits_for_no_thread():
    code = (
        "import sys, threading, time; from xearthformer import cli\n"
        "def command():\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    raise KeyboardInterrupt\n"
        "cli.COMMANDS['demo'] = command; sys.argv[1:] = ['demo']\n"
        "sys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "xearthformer: interrupted\n")


def test_packs_are_shown(tiny_pack, capsys):
    assert main(["packs", "show", str(tiny_pack.path)]) == 0
    out = capsys.readouterr().out
    for line in (
        r"name +tiny\n",
        r"inputs.sea_surface_temperature.units +degC\n",
        r"grid.latitude +-17.5, -12.5 .. 17.5 \(8\)\n",
        rf"weights_sha256 +{tiny_pack.card.weights_sha256}\n",
    ):
        assert re.search(line, out), out
    assert main(["packs", "show", "enso-ocean"]) == 0  # whose longest key is of 110 letters
    assert re.search(r"\nname {36}  enso-ocean\n", capsys.readouterr().out)
    assert main(["packs", "show", "nix"]) == 2


def test_packs_are_listed_without_torch():
    code = (
        "import sys; from xearthformer.cli import main; code = main(['packs', 'list']);"
        "print({'torch', 'lightning', 'matplotlib'} & set(sys.modules), file=sys.stderr);"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "set()\n"
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(xef.list_packs())


def test_a_checkpoint_is_converted_or_refused(tmp_path, capsys):
    torch.save(models.build("earthformer", "nbody").state_dict(), tmp_path / "not.pt")
    words = ["packs", "convert", str(tmp_path / "not.pt"), "-o", str(tmp_path / "pack")]
    assert main([*words, "--preset", "nix"]) == 2
    assert "no published preset 'nix'" in capsys.readouterr().err
    assert main([*words, "--preset", "enso"]) == 2
    assert "isn't a checkpoint of preset 'enso'" in capsys.readouterr().err


CONFIG = """
model: {name: persistence-that-fades, config: enso}
data: {catalog: synthetic_sst, options: {years: 4}, variable: sst, anomaly: [1960, 1963]}
period: [1960, 1963]
card: {name: faded, like: enso, training: {data: simulated}}
pack: PACK
"""


def test_a_pack_is_converted_over_another_when_asked_to(tmp_path, capsys):
    torch.save(models.build("earthformer", "enso").state_dict(), tmp_path / "a.pt")
    words = ["packs", "convert", str(tmp_path / "a.pt"), "--preset", "enso"]
    words += ["-o", str(tmp_path / "pack")]
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "card.json").write_text("mine")
    assert main(words) == 2
    assert "pack there already; try another path, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "pack" / "card.json").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0


def test_training_from_a_file(tmp_path, capsys):
    pytest.importorskip("lightning")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("PACK", str(tmp_path / "pack")))
    assert main(["train", str(path), "model.name=damped-persistence"]) == 0
    assert f"{tmp_path / 'pack'}: <Pack faded 1" in capsys.readouterr().out
    assert xef.open_pack(tmp_path / "pack").card.training.period == "1960/1963"
    other = ["train", str(path), "model.name=damped-persistence", "card.version=two"]
    assert main(other) == 2
    assert "pack there already; try another path, or overwrite=True" in capsys.readouterr().err
    assert main([*other, "overwrite=True"]) == 0
    assert main(["train", str(path)]) == 2
    assert "persistence-that-fades" in capsys.readouterr().err
    assert main(["train", str(path), "recipe.epochs=many"]) == 2
    assert "epochs" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "nowhere.yaml")]) == 2
    assert "no configuration file" in capsys.readouterr().err


def test_a_training_is_mended_by_entries_and_overrides(tmp_path, capsys):
    """In the words of its file: a training has no --anomaly, and no None."""
    pytest.importorskip("lightning")
    path = tmp_path / "config.yaml"
    words = ["train", str(path), "model.name=damped-persistence"]
    path.write_text(CONFIG.replace("PACK", str(tmp_path / "pack")).replace("1963]}", "1990]}"))
    assert main(words) == 2
    (line,) = re.findall("try (anomaly: .*), in the section data", capsys.readouterr().err)
    path.write_text(re.sub(r"anomaly: \[.*?\]", line, path.read_text()))
    assert main([*words, "stage=autoencoder"]) == 2
    override = re.findall("try (.*)", capsys.readouterr().err)
    assert override == ["stage=null"] and main([*words, *override]) == 0
    assert main(["train", str(path), "1: 2"]) == 2
    path.write_bytes(b"pack: \xe9")
    assert main(words) == 2
    assert f"a text file in UTF-8; found {path}" in capsys.readouterr().err
    path.write_text("1: 2")
    assert main(words) == 2
    assert "names of entries; found 1" in capsys.readouterr().err


def test_the_old_name_of_stage_is_read_for_one_version_more(tmp_path, capsys):
    pytest.importorskip("lightning")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("PACK", str(tmp_path / "pack")) + "part: denoiser\n")
    with pytest.warns(FutureWarning, match="'part' is now 'stage'"):
        assert main(["train", str(path), "model.name=damped-persistence"]) == 2
    assert "trained whole; found stage='denoiser'" in capsys.readouterr().err


MARKER = """
from pathlib import Path

Path("MARK").write_text("imported")


class Marker:
    def __init__(self, *args, **kwargs):
        Path("MARK").write_text("instantiated")
"""
SECTIONS = {
    "card": ("card",),
    "an entry of the card": ("card", "training"),
    "config": ("model", "config"),
    "a field of config": ("model", "config", "in_len"),
    "model": ("model",),
    "data": ("data",),
    "catalog": ("data", "catalog"),
    "options": ("data", "options"),
    "an option": ("data", "options", "seed"),
    "stage": ("stage",),
    "recipe": ("recipe",),
    "crop": ("crop",),
    "validation": ("validation",),
    "start": ("start",),
}


@pytest.mark.parametrize("table", [False, True], ids=["model", "table"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_training_file_names_no_class(tmp_path, monkeypatch, capsys, section, table):
    """A class named in a file is neither imported nor made, wherever in the file it stands."""
    mark = tmp_path / "mark"
    (tmp_path / "harmless_marker.py").write_text(MARKER.replace("MARK", str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    entries = yaml.safe_load(CONFIG.replace("PACK", str(tmp_path / "pack")))
    *path, last = SECTIONS[section]
    place = entries
    for key in path:
        place = place[key] = place[key] if isinstance(place.get(key), dict) else {}
    place[last] = {"class_path": "harmless_marker.Marker", "init_args": {}}
    if table:
        entries["models"] = [entries.pop("model")]
        entries |= {"folder": entries.pop("pack"), "scores": "enso", "test": [1963, 1963]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(entries))
    assert main(["train", str(tmp_path / "config.yaml")]) == 2
    assert capsys.readouterr().err.startswith("xearthformer: error: ")
    assert not mark.exists()


@pytest.mark.parametrize(
    "template", ["{func(harmless_marker:Marker)}", "{import(harmless_marker)}", "{env(HOME)}"]
)
@pytest.mark.parametrize("option", ["seed", "patterns", "data_root"])
def test_options_of_a_training_file_are_no_templates(
    tmp_path, monkeypatch, capsys, option, template
):
    """Intake would import what a template in an argument of an entry names."""
    mark = tmp_path / "mark"
    (tmp_path / "harmless_marker.py").write_text(MARKER.replace("MARK", str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    entries = yaml.safe_load(CONFIG.replace("PACK", str(tmp_path / "pack")))
    entries["data"]["options"] = {"years": 4, option: template}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(entries))
    assert main(["train", str(tmp_path / "config.yaml")]) == 2
    assert template in capsys.readouterr().err
    assert not mark.exists()


def test_a_card_in_a_training_file_may_say_history_and_reach(tmp_path, capsys):
    """Cards' files say so; both follow from the network."""
    pytest.importorskip("lightning")
    entries = yaml.safe_load(CONFIG.replace("PACK", str(tmp_path / "pack")))
    entries["card"] |= {"history": 5, "reach": 6}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(entries))
    assert main(["train", str(tmp_path / "config.yaml"), "model.name=damped-persistence"]) == 0
    card = xef.open_pack(tmp_path / "pack").card
    assert (card.context, card.lead) == (1, 14)


def test_python_runs_the_package_as_the_command():
    command = [sys.executable, "-m", "xearthformer", "packs", "list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "nowcast-radar" in done.stdout
