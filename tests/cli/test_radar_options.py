"""Radar files on the command line: options that the hints of `open_radar` are said in."""

import re
import shlex

import numpy as np
import pytest
import xarray as xr

from xearthformer.cli import main


def rain(code=None, frames=8):
    """Frames (time, y, x) every 5 minutes; a code in the first pixel of all of them."""
    values = np.ones((frames, 4, 4), "f4")
    if code is not None:
        values[:, 0, 0] = code
    time = np.datetime64("2016-07-11T22:00") + np.arange(frames) * np.timedelta64(300, "s")
    km = {dim: (dim, 1.0 * np.arange(4), {"units": "km"}) for dim in ("y", "x")}
    attrs = {"standard_name": "rainfall_rate", "units": "mm h-1"}
    return xr.DataArray(values, {"time": time, **km}, ("time", "y", "x"), "rain_rate", attrs)


@pytest.fixture
def folder(tmp_path):
    """One file for each frame, and one that is broken."""
    for k in range(8):
        rain()[[k]].to_netcdf(tmp_path / f"rain_{k}.nc")
    (tmp_path / "rain_3.nc").write_bytes(b"\x89HDF\r\n\x1a\n broken")
    return tmp_path


def words_of(command, tmp_path):
    """The words of a command that ends well, of one that a pack of any quantity serves."""
    out = {"forecast": "out.nc", "hindcast": "out.zarr"}.get(command)
    packs = "--packs" if command == "verify" else "--pack"
    words = [packs, "persistence", "--lead", "1"]
    if command == "forecast":
        words += ["--init", "2016-07-11T22:20"]
    return words if out is None else [*words, "-o", str(tmp_path / out)]


def hint_of(text):
    return shlex.split(re.search(r"try (--[^;,\n]*)", text)[1])


@pytest.mark.parametrize("code, typed", [(-1, "-1"), (9999, "9999"), (np.inf, ".inf")])
def test_codes(tmp_path, capsys, code, typed):
    path = tmp_path / "rain.nc"
    rain(code).to_netcdf(path)
    words = words_of("verify", tmp_path)
    assert main(["verify", str(path), *words]) == 2
    hint = hint_of(capsys.readouterr().err)
    assert hint == ["--missing", typed]
    assert main(["verify", str(path), *words, *hint]) == 0
    assert re.search(r"persistence.* 105\n", capsys.readouterr().out)  # 15 pixels, 7 inits


@pytest.mark.parametrize("command", ["forecast", "hindcast"])
def test_codes_in_what_is_forecast(tmp_path, capsys, command):
    rain(-1).to_netcdf(tmp_path / "rain.nc")
    words = [command, str(tmp_path / "rain.nc"), "--pack", "nowcast-radar", "--missing", "-1"]
    assert main([*words, "-o", str(tmp_path / "out.zarr")]) == 2
    assert "domain of at least" in capsys.readouterr().err  # the rain itself is in order


def test_no_echo(tmp_path, capsys):
    dbz = rain().copy(data=np.full((8, 4, 4), 30.0, "f4"))
    dbz[:, 0, 0] = -999.0
    dbz.attrs = {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}
    dbz.to_netcdf(tmp_path / "dbz.nc")
    words = ["verify", str(tmp_path / "dbz.nc"), "--packs", "persistence", "--zr", "223", "1.53"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "--missing -999, where nothing was seen; or --zero-below 0" in said
    assert "xef." not in said
    zero = re.search(r"--zero-below [\d.]+", said)[0].split()
    assert main([*words, *zero, "--lead", "1"]) == 0
    assert " 112\n" in capsys.readouterr().out


def test_a_broken_file_in_a_folder(folder, capsys):
    words = words_of("verify", folder)
    assert main(["verify", str(folder), *words]) == 2
    said = capsys.readouterr().err
    assert "rain_3.nc" in said and hint_of(said) == ["--skip-broken"]
    with pytest.warns(UserWarning, match=r"rain_3\.nc"):
        assert main(["verify", str(folder), *words, *hint_of(said)]) == 0


def test_options_of_radar_for_something_else(tmp_path, capsys):
    rain().to_netcdf(tmp_path / "rain.nc")
    words = ["verify", str(tmp_path / "rain.nc"), "--packs", "persistence", "--lead", "1"]
    assert main([*words, "--variable", "rain_rate", "--missing", "-1", "--skip-broken"]) == 2
    assert "rain, for --missing and --skip-broken" in capsys.readouterr().err
