"""The walk-throughs and the demo run as they are printed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli.demo import PACKS, demo

ROOT = Path(__file__).parents[1]


def run(example, *words, cwd):
    """What an example prints, run as a user would."""
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, words)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_demo_forecasts_with_ships():
    assert not set(PACKS) - set(xef.list_packs())


def test_a_forecast_step_by_step(tmp_path):
    out = run("enso_forecast.py", cwd=tmp_path)
    assert "2010-01  " in out and " degC" in out
    assert (tmp_path / "enso_forecast.png").stat().st_size > 10_000
    assert (tmp_path / "enso_forecast.nc").exists()


@pytest.mark.slow
def test_the_table_of_a_record(tmp_path):
    xef.synthetic_sst(years=15, seed=1, start="1990-01").to_netcdf(tmp_path / "sst.nc")
    words = ("--climatology", 1990, 2004, "--inits", 2001, 2002, "--packs", "persistence", "lim")
    out = run("enso_skill.py", tmp_path / "sst.nc", *words, cwd=tmp_path)
    lines = out.splitlines()
    assert lines[0] == "Nino3.4 from every month of 2001-01 .. 2002-12, 14 months each;"
    assert [line.split()[0] for line in lines[-3:]] == ["persistence", "lim", "pairs"]
    assert lines[-1].split()[1:] == ["24"] * 5


def test_rivals_in_the_table(tmp_path):
    """XRO with members; and hindcasts of seasons, here the observed ones: they are right."""
    pytest.importorskip("XRO")
    ds = xef.synthetic_sst(years=15, seed=1, start="1990-01")
    ds.to_netcdf(tmp_path / "sst.nc")
    observed = xef.index(xef.anomaly(ds["sst"], (1990, 2004)), "nino3.4")
    seasons = observed.rolling(time=3).mean().values[2:].tolist() + [np.nan, np.nan]
    table = np.reshape(seasons, (15, 12)).T  # from JFM to DJF, by the year of the first month
    names = ["JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ", "DJF"]
    coords = {"lead": range(1, 24), "season": names, "year": range(1990, 2005)}
    hindcasts = xr.DataArray([table] * 23, coords, ("lead", "season", "year"), "nino34")
    hindcasts.to_netcdf(tmp_path / "ham.nc")
    words = ("--climatology", 1990, 2004, "--inits", 2001, 2002, "--fit", 1990, 2000)
    words += ("--packs", "persistence", "xro", "--members", 3, "--ham", "ham.nc")
    out = run("enso_skill.py", "sst.nc", *words, cwd=tmp_path)
    skill, _, ensembles = out.partition("spread / error")
    rows = {line.split("  ")[0]: line.split()[-12:] for line in skill.splitlines() if line}
    assert rows["Ham et al. (2019)"] == ["1.00"] * 5 + ["0.00"] * 5 + ["1.00", "1.000"]
    assert 0.3 < float(rows["xro"][0]) < 1 and rows["pairs"][-5:] == ["24"] * 5
    assert [line.split()[0] for line in ensembles.splitlines()[2:]] == ["xro"]


def check_nowcast(out, folder, name, inits, thresholds):
    """The table that examples/nowcast.py prints, nowcast-radar above persistence; two pictures."""
    first, head, _, *rows = out.splitlines()
    words = f"{name}: {inits} init{'s' * (inits > 1)}, critical success index, mean of 5 to 60"
    assert first.startswith(words)
    assert head.split() == ["threshold", *thresholds]
    ours, still = ([float(word) for word in row.split()[1:]] for row in rows)
    assert [row.split()[0] for row in rows] == ["nowcast-radar", "persistence"]
    assert ours[0] > still[0] > 0 and ours[1] > still[1] > 0
    for picture in ("frames.png", "csi.png"):
        assert (folder / picture).stat().st_size > 20_000


@pytest.mark.slow
def test_a_nowcast_of_a_sevir_file(tmp_path):
    out = run("nowcast.py", cwd=tmp_path)
    thresholds = ["16.0", "74.0", "133.0", "160.0", "181.0", "219.0"]
    check_nowcast(out, tmp_path, "vil", 5, thresholds)


def test_a_nowcast_of_a_radar_record(tmp_path):
    storms = xef.synthetic_storms(seed=7, events=1, size=128, frames=26)
    storms[["rain_rate"]].isel(event=0).to_netcdf(tmp_path / "record.nc")
    out = run("nowcast.py", "record.nc", cwd=tmp_path)
    check_nowcast(out, tmp_path, "rain_rate", 1, ["0.5", "1.0", "5.0"])


def test_the_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("xearthformer.cli.demo.INITS", ("2005", "2007"))
    path = demo(tmp_path / "new", packs=["persistence", "lim"])
    out = capsys.readouterr().out
    assert path == tmp_path / "new" / "enso.png" and path.stat().st_size > 50_000
    assert f"picture: {path}" in out and "took " in out
    assert "C-Nino3.4-M" in out and "pairs" in out
