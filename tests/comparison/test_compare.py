"""Forecasts side by side, in Python and by `xearthformer verify`; optical flow is a stand-in."""

import re
import sys

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.comparison import compare as comparison
from xearthformer.comparison.compare import compare
from xearthformer.datasets.radar import open as radar
from xearthformer.inference import optical_flow

RAIN = {"standard_name": "rainfall_rate", "units": "mm h-1"}


def metres(values, axis: str) -> tuple:
    attrs = {"standard_name": f"projection_{axis}_coordinate", "units": "m", "axis": axis.upper()}
    return axis, 1000.0 * np.asarray(values), attrs


@pytest.fixture
def rain() -> xr.DataArray:
    """Twelve frames, 8 x 10 pixels of 1 km: showers that move by a pixel a frame."""
    rng = np.random.default_rng(0)
    sky = rng.gamma(0.3, 4, (8, 30))
    values = np.stack([sky[:, 20 - k : 30 - k] for k in range(12)]).astype("f4")
    coords = {
        "time": xr.date_range("2016-07-11T21:00", periods=12, freq="5min"),
        "y": metres(-np.arange(8), "y"),
        "x": metres(np.arange(10), "x"),
    }
    return xr.DataArray(values, coords, ("time", "y", "x"), "rain_rate", RAIN)


@pytest.fixture
def flow(monkeypatch) -> list:
    """Stands for optical flow: knows that showers move by a pixel, notes what it is given."""
    calls = []

    def extrapolate(data, *, init=None, lead=12, frames=4):
        calls.append((data.sizes["time"], list(init), lead, frames, data.chunks))
        fc = data.earthformer.forecast("persistence", init=init, lead=lead)
        moved = [fc.isel(lead=k).shift(x=k + 1) for k in range(lead)]
        return fc.copy(data=np.stack(moved, axis=1))

    monkeypatch.setattr(optical_flow, "extrapolate", extrapolate)
    monkeypatch.setattr(optical_flow, "load_pysteps", lambda: None)
    return calls


@pytest.mark.parametrize("size", [1, 2, 100])
def test_rows_are_scored_on_the_same_inits_block_by_block(rain, flow, monkeypatch, size):
    monkeypatch.setattr(comparison, "BLOCK_BYTES", size * 8 * 10 * 4 * 3 * 2)
    found = compare(rain.chunk(time=5), ["persistence", "pysteps"], lead=3, window="3 km")
    inits = rain.time.values[3:9]  # four frames up to themselves, three leads beyond
    assert found["init"].values.tolist() == inits.tolist()
    assert [call[1] for call in flow] == [
        list(inits[i : i + size]) for i in range(0, len(inits), size)
    ]
    assert {call[2:] for call in flow} == {(3, 4, None)}
    assert max(call[0] for call in flow) == 4 + 3 + min(size, 6) - 1  # frames in memory at a time
    # what moves leaves a column a step without a value: there persistence isn't scored either
    fc = rain.earthformer.forecast("persistence", init=list(inits), lead=3)
    seen = np.arange(10) > np.arange(3)[:, None]
    fc = fc.where(xr.DataArray(seen, dims=("lead", "x")))
    expected = xef.verify(fc, rain, window="3 km")
    still = found.sel(forecast="persistence")
    for name in expected.data_vars:
        np.testing.assert_allclose(still[name], expected[name], rtol=1e-6, err_msg=name)
    moved = found.sel(forecast="pysteps")
    assert (moved["csi"] == 1).all() and (moved["mse"] == 0).all()
    assert moved["n"].values.tolist() == [6 * 8 * (10 - k) for k in (1, 2, 3)]
    assert still["left_out"].values.tolist() == [6 * 8 * k for k in (1, 2, 3)]
    assert moved["left_out"].values.tolist() == [0, 0, 0]
    assert found.attrs["pairs"] == "3 leads from 6 inits"


def test_leads_are_those_that_all_packs_reach(rain):
    assert compare(rain.isel(time=slice(12)), ["persistence"], lead=11).sizes["lead"] == 11
    with pytest.raises(ValueError, match=r"14 time steps of future.*2016-07-11 21:55:00"):
        compare(rain, ["persistence"])


def test_inits_may_be_named(rain):
    time = rain.time.values
    found = compare(rain, ["persistence"], init=slice("2016-07-11T21:10", None), lead=2)
    assert found["init"].values.tolist() == time[2:10].tolist()
    assert compare(rain, ["persistence"], init=[time[9], time[1]], lead=2).sizes["init"] == 2
    with pytest.raises(ValueError, match="some without, such as 2016-07-11 21:50:00"):
        compare(rain, ["persistence"], init=[time[2], time[10]], lead=2)
    with pytest.raises(ValueError, match="lead as a whole number from 1"):
        compare(rain, ["persistence"], lead=0)


def test_pysteps_is_missed_before_anything_is_forecast(rain, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysteps", None)
    monkeypatch.setattr(comparison, "forecast", lambda *_, **__: pytest.fail("forecast"))
    with pytest.raises(ImportError, match="xearthformer.pysteps."):
        compare(rain, ["persistence", "pysteps"], lead=3)


@pytest.mark.parametrize("packs", [[], ["persistence", "persistence"]])
def test_packs_are_each_named_once(rain, packs):
    with pytest.raises(ValueError, match="packs to compare, each once"):
        compare(rain, packs)


def test_without_thresholds_there_are_errors_alone(rain):
    found = compare(rain.assign_attrs(units="1", standard_name="albedo"), ["persistence"], lead=2)
    assert "csi" not in found and "fss" not in found and "mse" in found
    assert "correlation" in comparison.summary(found)
    assert comparison.lead_tables(found).startswith("MSE 1, by lead (min)\n")


# --- ensembles


@pytest.fixture
def ensemble(rain) -> xr.DataArray:
    """Three members about persistence, three leads from four inits."""
    fc = rain.earthformer.forecast("persistence", init=list(rain.time.values[3:7]), lead=3)
    noise = np.random.default_rng(0).gamma(0.5, 2, (3, *fc.shape)).astype("f4")
    members = [fc.copy(data=fc.values + each) for each in noise]
    return xr.concat(members, "member").transpose("init", "lead", "member", ...)


def test_an_ensemble_has_a_row_of_its_members_and_one_of_its_mean(rain, ensemble):
    inits = list(ensemble.init.values)
    rows = ["persistence", comparison.given_forecast("noisy", ensemble)]
    found = compare(rain, rows, init=inits, window="3 km")
    assert found["forecast"].values.tolist() == ["persistence", "noisy", "noisy mean"]
    assert found.sizes["lead"] == 3 and (found["n"] == 4 * 8 * 10).all()
    # CRPS of a single forecast is its mean absolute error
    for name in ("persistence", "noisy mean"):
        one = found.sel(forecast=name)
        np.testing.assert_allclose(one["crps"], one["mae"])
        assert one["spread_skill"].isnull().all()
    alone = xef.verify(ensemble, rain, ["crps", "spread_skill", "csi", "mse"])
    noisy = found.sel(forecast="noisy")
    for name in ("crps", "spread_skill", "spread"):
        np.testing.assert_allclose(noisy[name], alone[name], err_msg=name)
    # members are pooled: mean square errors average, hits and misses add up
    np.testing.assert_allclose(noisy["mse"], alone["mse"].mean("member"))
    mean = xef.verify(ensemble.mean("member", keep_attrs=True), rain, ["csi"])
    np.testing.assert_allclose(found.sel(forecast="noisy mean")["csi"], mean["csi"])
    table = comparison.summary(found).splitlines()
    assert "CRPS" in table[0] and "spread / skill" in table[0]
    persistence, noisy = (line.split() for line in table[2:4])
    assert persistence[-2] == "-" and float(noisy[-2]) > 0


def test_a_given_forecast_holds_all_that_is_compared(rain, ensemble):
    row = comparison.given_forecast("noisy", ensemble)
    with pytest.raises(
        ValueError, match=r"noisy from all inits.*\n +found none from 2016-07-11 21:"
    ):
        compare(rain, [row])
    with pytest.raises(ValueError, match=r"4 leads each\n +found 3 leads\n +try lead=3"):
        compare(rain, [row], init=list(ensemble.init.values), lead=4)


# --- the command


@pytest.fixture
def file(rain, tmp_path):
    path = tmp_path / "rain.nc"
    rain.to_netcdf(path)
    return path


def test_the_command_prints_what_compare_gives(rain, flow, file, tmp_path, capsys):
    out = tmp_path / "scores.nc"
    words = ["--packs", "persistence", "pysteps", "--lead", "3", "--window", "3 km", "--by-lead"]
    words += ["--thresholds", "0.5", "2", "-o", str(out)]
    assert main(["verify", str(file), *words]) == 0
    printed = capsys.readouterr().out
    expected = compare(rain, ["persistence", "pysteps"], lead=3, thresholds=[0.5, 2], window="3 km")
    assert comparison.summary(expected) in printed
    assert comparison.lead_tables(expected) in printed
    assert "rain_rate, 3 leads from 6 inits, 2016-07-11 21:15:00 to 2016-07-11 21:40:00" in printed
    assert "thresholds in mm h-1" in printed
    with xr.open_dataset(out) as written:
        assert written["forecast"].values.tolist() == ["persistence", "pysteps"]
        np.testing.assert_allclose(written["csi"], expected["csi"])
        assert written["lead"].dt.total_seconds().values.tolist() == [300, 600, 900]


def test_reflectivity_is_read_as_rain_where_rain_is_wanted(
    rain, flow, tmp_path, monkeypatch, capsys
):
    attrs = {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}
    path = tmp_path / "dbz.nc"
    (rain + 1).rename("dbz").assign_attrs(attrs).to_netcdf(path)
    opened = []

    def open_radar(ds):
        opened.append(list(ds.data_vars))
        return rain

    monkeypatch.setattr(radar, "open_radar", open_radar)
    words = ["--lead", "2", "--scale", "3"]  # the old name
    assert main(["verify", str(path), "--packs", "persistence", "pysteps", *words]) == 0
    assert opened == [["dbz"]] and "rain_rate, 2 leads" in capsys.readouterr().out
    # persistence alone takes any variable as it is
    assert main(["verify", str(path), "--packs", "persistence", *words]) == 0
    assert len(opened) == 1 and "dbz, 2 leads" in capsys.readouterr().out


MISTAKES = {
    "no such pack": (["--packs", "nix"], "no pack 'nix'"),
    "no such variable": (["--variable", "tos"], "expected a variable 'tos' in .* found rain_rate"),
    "too far": (["--lead", "12"], "12 time steps of future"),
    "no flow": (["--packs", "pysteps"], "optical flow needs pysteps.*pip install"),
    "no such window": (["--window", "far"], "a window as a length"),
    "another kind of output": (["-o", "out.grib"], "expected file.nc or store.zarr"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(file, capsys, monkeypatch, mistake):
    monkeypatch.setitem(sys.modules, "pysteps", None)  # as if it were not installed
    words, message = MISTAKES[mistake]
    words = words if "--packs" in words else ["--packs", "persistence", *words]
    words = words if "--lead" in words else ["--lead", "2", *words]
    assert main(["verify", str(file), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("xearthformer: error: ") and err.count("\n") == 1
    assert re.search(message, err), err


def test_months_are_verified_too(tmp_path, capsys):
    sst = xef.synthetic_sst(years=3, start="1990-01")["sst"].isel(lat=slice(30, 60, 3))
    ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
    ssta.to_netcdf(tmp_path / "ssta.nc")
    words = ["--packs", "persistence", "--lead", "2", "--init", "1991-01/1991-06", "--by-lead"]
    assert main(["verify", str(tmp_path / "ssta.nc"), *words]) == 0
    printed = capsys.readouterr().out
    assert "2 leads from 6 inits, 1991-01-15 to 1991-06-15" in printed
    assert "correlation" in printed and "by lead (months)" in printed
    assert "leaves out" not in printed
    # the same from absolute values, by a store; damped persistence knows fewer cells
    sst.to_dataset().to_zarr(tmp_path / "sst.zarr")
    words += ["--anomaly", "1990", "1992", "-o", str(tmp_path / "scores.zarr")]
    assert main(["verify", str(tmp_path / "sst.zarr"), *words]) == 0
    assert capsys.readouterr().out.partition(": sst")[2] == printed.partition(": sst")[2]
    assert xr.open_zarr(tmp_path / "scores.zarr")["forecast"].values.tolist() == ["persistence"]


def test_cells_that_one_forecast_lacks_are_told_and_scored_for_none(tmp_path, capsys):
    sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
    sst.to_netcdf(tmp_path / "sst.nc")
    words = ["--packs", "persistence", "damped-persistence", "--lead", "1", "--init", "1991-01"]
    words += ["--anomaly", "1990", "1992"]
    assert main(["verify", str(tmp_path / "sst.nc"), *words]) == 0
    printed = capsys.readouterr().out
    assert "1 lead from 1 init," in printed
    words = re.search(r"which leaves out (\d+) pairs of persistence", printed)
    still, damped = re.findall(r"(?m)^(?:damped-)?persistence .*\d$", printed)
    pairs = int(damped.split()[-1])
    assert still.split()[-1] == damped.split()[-1]
    ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
    assert pairs + int(words[1]) == int(ssta.sel(time="1991-02").count())
