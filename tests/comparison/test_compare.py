"""Forecasts side by side, in Python and by `xearthformer verify`; optical flow is a stand-in."""

import re
import sys

import numpy as np
import pytest
import xarray as xr

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.comparison import compare as comparison
from xearthformer.comparison import tables as comparison_tables
from xearthformer.comparison.compare import compare
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

    def extrapolate(data, *, method, init=None, lead=12, frames=4, members=None, seed=0):
        calls.append((data.sizes["time"], list(init), lead, frames, data.chunks, data.shape[1:]))
        fc = data.earthformer.forecast("persistence", init=init, lead=lead)
        moved = [fc.isel(lead=k).shift(x=k + 1) for k in range(lead)]
        fc = fc.copy(data=np.stack(moved, axis=1))
        fc = fc.assign_coords(known=fc.notnull().astype("f4"))
        if members is None:
            return fc
        shift = xr.DataArray(0.1 * np.arange(members) + seed, dims="member")
        return (fc + shift).transpose("init", "lead", "member", ...).assign_attrs(fc.attrs)

    monkeypatch.setattr(optical_flow, "extrapolate", extrapolate)
    monkeypatch.setattr(optical_flow, "load_pysteps", lambda method: None)
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
    assert {call[2:5] for call in flow} == {(3, 4, None)}
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


def test_leads_are_an_hours_where_no_pack_says(rain):
    assert compare(rain, ["persistence"]).sizes["lead"] == 11  # all that fits
    quarters = rain.assign_coords(
        time=rain.time.values[0] + np.arange(12) * np.timedelta64(15, "m")
    )
    assert compare(quarters, ["persistence"]).sizes["lead"] == 4
    months = rain.assign_coords(time=xr.date_range("2000-01", periods=12, freq="MS"))
    with pytest.raises(ValueError, match="14 time steps of future"):
        compare(months, ["persistence"])


def test_leads_may_be_as_many_as_the_record_holds(rain):
    assert compare(rain, ["persistence"], lead=11).sizes["lead"] == 11
    with pytest.raises(ValueError, match=r"12 time steps of future.*2016-07-11 21:55:00"):
        compare(rain, ["persistence"], lead=12)


def test_a_gap_is_no_error_and_its_frames_count_for_nothing(rain):
    gap = rain.isel(time=[k for k in range(12) if k != 6])
    found = compare(gap, ["persistence"], lead=2)
    # no forecast from the frame that is missing, and no pair with it
    assert found["init"].values.tolist() == rain.time.values[[0, 1, 2, 3, 4, 5, 7, 8, 9]].tolist()
    assert found.sel(forecast="persistence")["n"].values.tolist() == [8 * 80, 8 * 80]
    whole = compare(gap, ["persistence"], lead=2, init=list(rain.time.values[[0, 1]]))
    expected = compare(rain, ["persistence"], lead=2, init=list(rain.time.values[[0, 1]]))
    xr.testing.assert_allclose(whole["mse"], expected["mse"])


def test_a_square_is_scored_and_its_surroundings_are_read(rain, flow):
    # It rains in columns 6 to 9 of rows 2 to 5 more often than anywhere else.
    rain = rain.copy(data=np.zeros(rain.shape, "f4"))
    rain[:, 2:6, 6:10] = np.random.default_rng(0).gamma(1, 4, (12, 4, 4)) + 0.5
    found = compare(rain, ["persistence", "pysteps"], lead=1, window=3, square=4, surroundings=1)
    assert flow[0][5] == (6, 5)  # rows 1 to 6, and columns 5 to 9, where the domain ends
    assert found["n"].values.tolist() == [[8 * 16], [8 * 16]]
    assert found.attrs["square"] == (
        "the square of 4 x 4 pixels from pixel 2 along y and 6 along x, of 6 x 5 that are read"
    )
    inits = list(found["init"].values)
    small = rain[:, 2:6, 6:10]
    fc = small.earthformer.forecast("persistence", init=inits, lead=1)
    expected = xef.verify(fc, small, window=3)
    for name in ("csi", "mse", "fss"):
        np.testing.assert_allclose(found.sel(forecast="persistence")[name], expected[name])
    compare(rain, ["pysteps"], lead=1, square=4)
    assert flow[-1][5] == (8, 10)  # the whole domain, where nothing is said
    # a forecast that exists already, of the whole domain or of the square
    for part in (rain, small):
        fc = part.earthformer.forecast("persistence", init=inits, lead=1)
        row = comparison.given_forecast("still", fc)
        again = compare(rain, [row], init=inits, lead=1, window=3, square=4)
        np.testing.assert_allclose(again["mse"][0], expected["mse"])


@pytest.mark.parametrize(
    "how, message",
    [
        ({"square": 9}, "within the domain, 8 x 10 pixels\n +found 9 pixels\n +try square=8"),
        ({"square": 0}, "square as a whole number from 1"),
        ({"square": 4, "surroundings": -1}, "surroundings as a whole number from 0"),
        ({"surroundings": 4}, "square that the surroundings lie around.*\n.*\n +try square="),
        ({"square": 4, "thresholds": []}, "a threshold, .*\n.*\n +try thresholds="),
        ({"known": 0.5}, "says what is known\n +found none of persistence does\n +try known=None"),
        ({"known": 2}, "above 0 and up to 1\n +found 2\n +try known=0.5$"),
        ({"confidence": 0.9, "init": "2016-07-11T21:00"}, "3 blocks of inits or more"),
    ],
)
def test_what_can_not_be_scored_so_is_an_error(rain, how, message):
    with pytest.raises(ValueError, match=message):
        compare(rain, ["persistence"], lead=1, **how)


def test_what_was_not_seen_is_left_out_of_all_rows_on_request(rain, flow, monkeypatch):
    rival = optical_flow.extrapolate

    def guess(data, **how):  # a value everywhere: 0 where nothing was seen
        return rival(data, **how).fillna(0)

    monkeypatch.setattr(optical_flow, "extrapolate", guess)
    every = compare(rain, ["persistence", "pysteps"], lead=2, window=3)
    seen = compare(rain, ["persistence", "pysteps"], lead=2, window=3, known=0.5)
    inits = every.sizes["init"]
    assert every["n"].values.tolist() == [[inits * 80, inits * 80]] * 2
    assert seen["n"].values.tolist() == [[inits * 72, inits * 64]] * 2  # a column, then two
    assert seen.attrs["known"].startswith("where 0.5 or more") and "known" not in every.attrs
    assert (seen.sel(forecast="pysteps")["mse"] == 0).all()


def test_confidence_lies_around_the_scores(rain):
    found = compare(rain, ["persistence"], lead=1, window=3, confidence=0.9)
    low, score, high = (found[f"mse{end}"].item() for end in ("_low", "", "_high"))
    assert low < score < high
    words = comparison_tables.confidence_tables(found)
    assert "90" in words or "0.9" in words
    assert f"{found['mse_pooled'].item():.3f} (" in words


def test_inits_may_be_named(rain):
    time = rain.time.values
    found = compare(rain, ["persistence"], init=slice("2016-07-11T21:10", None), lead=2)
    assert found["init"].values.tolist() == time[2:10].tolist()
    assert compare(rain, ["persistence"], init=[time[9], time[1]], lead=2).sizes["init"] == 2
    with pytest.raises(ValueError, match="some without, such as 2016-07-11 21:50:00"):
        compare(rain, ["persistence"], init=[time[2], time[10]], lead=2)
    with pytest.raises(ValueError, match="lead as a whole number of time steps"):
        compare(rain, ["persistence"], lead=0)


def test_pysteps_is_missed_before_anything_is_forecast(rain, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysteps", None)
    monkeypatch.setattr(comparison, "forecast", lambda *_, **__: pytest.fail("forecast"))
    with pytest.raises(ImportError, match="xearthformer.pysteps."):
        compare(rain, ["persistence", "pysteps"], lead=3)


@pytest.mark.parametrize("packs", [[], ["persistence", "persistence"]])
def test_packs_are_each_named_once(rain, packs):
    with pytest.raises(ValueError, match="a list of packs .*, each once"):
        compare(rain, packs)


def test_without_thresholds_there_are_errors_alone(rain):
    found = compare(rain.assign_attrs(units="1", standard_name="albedo"), ["persistence"], lead=2)
    assert "csi" not in found and "fss" not in found and "mse" in found
    assert "correlation" in comparison_tables.summary(found)
    assert comparison_tables.lead_tables(found).startswith("MSE 1, by lead (min)\n")


def test_a_lead_without_events_is_told(rain):
    found = compare(rain, ["persistence"], lead=2, window=3, thresholds=[1, 1000])
    *_, row, line = comparison_tables.summary(found).splitlines()
    assert row.split()[2] == "-"
    assert line == (
        "- for CSI and FSS: at some lead nothing reached the threshold, observed or forecast"
    )
    assert "- for" not in comparison_tables.summary(found.sel(threshold=[1]))


@pytest.mark.parametrize("size", ["16 km", "3 km", "4.2 km"])
def test_each_width_is_in_the_table_of_fss_once(rain, size):
    """16 km are 16 pixels, and 4.2 km are 4; 3 km are no other row of the table."""
    found = compare(rain, ["persistence"], lead=1, window=[size, 1, 4, 16])
    rows = [line.split()[:2] for line in comparison_tables.fss_tables(found).splitlines()[2:]]
    pixels = [["1", "px"], ["4", "px"], ["16", "px"]]
    assert rows == ([["3", "km"], *pixels] if size == "3 km" else pixels)


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
    # dry or not, the 320 pixels of each lead have a rank, those that are equal to members shared
    assert noisy["rank_histogram"].sum("rank").values.tolist() == [320, 320, 320]
    tables = comparison_tables.ensemble_tables(found)
    counts = noisy["rank_histogram"].sum("lead").values
    shares = [f"{each:.3f}" for each in (counts[0] / 960, counts[-1] / 960, 1 / 4)]
    assert tables.splitlines()[2].split() == ["noisy", *shares]
    assert "Power over that observed" in tables and "4 km" in tables
    table = comparison_tables.summary(found).splitlines()
    assert "CRPS" in table[0] and "spread / skill" in table[0]
    persistence, noisy = (line.split() for line in table[2:4])
    assert persistence[-2] == "-" and float(noisy[-2]) > 0


def test_scores_without_a_column_are_told_below_the_table(rain, ensemble):
    """Members and their mean have other ranks; no warning of xarray's speaks of it."""
    row, asked = comparison.given_forecast("noisy", ensemble), ["far", "spectrum", "reliability"]
    inits = list(ensemble.init.values)
    how = {"reference": "persistence", "confidence": 0.5, "block": 1}
    found = compare(rain, [row, "persistence"], init=inits, scores=asked, **how)
    assert found["init"].attrs == {"standard_name": "forecast_reference_time"}
    table = comparison_tables.summary(found)
    without = comparison_tables.summary(found, asked).splitlines()
    assert "spectrum" not in table and "FAR" in without[0] and "spectrum" not in without[0]
    assert without[-2:] == [
        "spectrum has a value for each wavelength: a file of the scores has them",
        "reliability has a value for each probability: a file of the scores has them",
    ]


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
    assert comparison_tables.summary(expected) in printed
    assert comparison_tables.lead_tables(expected) in printed
    assert "rain_rate, 3 leads from 6 inits, 2016-07-11 21:15:00 to 2016-07-11 21:40:00" in printed
    assert "thresholds in mm h-1" in printed
    with xr.open_dataset(out) as written:
        assert written["forecast"].values.tolist() == ["persistence", "pysteps"]
        np.testing.assert_allclose(written["csi"], expected["csi"])
        assert written["lead"].dt.total_seconds().values.tolist() == [300, 600, 900]


def test_reflectivity_is_read_as_rain_where_rain_is_wanted(rain, flow, tmp_path, capsys):
    attrs = {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}
    path = tmp_path / "dbz.nc"
    (2 * rain).rename("dbz").assign_attrs(attrs).to_netcdf(path)
    words = ["--lead", "2", "--scale", "3"]  # the old name
    assert main(["verify", str(path), "--packs", "persistence", "pysteps", *words]) == 0
    assert "rain_rate, 2 leads" in capsys.readouterr().out
    # persistence alone takes any variable as it is, unless it is told what makes rain of it
    assert main(["verify", str(path), "--packs", "persistence", *words]) == 0
    assert "dbz, 2 leads" in capsys.readouterr().out
    words += ["--zr", "223", "1.53"]
    assert main(["verify", str(path), "--packs", "persistence", *words]) == 0
    assert "rain_rate, 2 leads" in capsys.readouterr().out
    assert main(["verify", str(path), "--packs", "persistence", "--variable", "dbz", *words]) == 2
    assert "try the same without --variable" in capsys.readouterr().err


def test_the_command_draws_members_in_a_square(rain, flow, file, capsys):
    words = ["--packs", "steps", "pysteps", "--members", "3", "--lead", "2", "--window", "3"]
    words += ["--square", "4", "--surroundings", "2", "--known", "0.5", "--fss-table"]
    assert main(["verify", str(file), *words]) == 0
    printed = capsys.readouterr().out
    how = {"members": 3, "lead": 2, "window": 3, "square": 4, "surroundings": 2, "known": 0.5}
    expected = compare(rain, ["steps", "pysteps"], **how)
    assert expected["forecast"].values.tolist() == ["steps", "steps mean", "pysteps"]
    assert comparison_tables.summary(expected) in printed
    assert comparison_tables.ensemble_tables(expected) in printed
    assert expected.attrs["square"] in printed and expected.attrs["known"] in printed
    assert "; 3 members of steps;" in printed
    assert "FSS of steps, by width and threshold (mm h-1)" in printed
    assert re.search(r"(?m)^ *64 px +\d", printed)
    assert compare(rain, ["steps"], lead=1)["rank_histogram"].sizes["rank"] == 21


def test_another_step_is_mended_by_the_option_that_the_error_names(tmp_path, capsys):
    rain = xef.synthetic_storms(events=1, frames=29, size=128)["rain_rate"].isel(event=0)
    rain[::2].drop_vars("event", errors="ignore").to_netcdf(tmp_path / "rain.nc")  # 10 minutes
    words = ["verify", str(tmp_path / "rain.nc"), "--packs", "nowcast-radar", "--lead", "1"]
    words += ["--init", "2000-01-01T02:00"]
    assert main(words) == 2
    hint = re.search("try (--step 5min)$", capsys.readouterr().err.strip())
    assert hint is not None
    assert main([*words, *hint[1].split()]) == 0
    assert "1 lead from" in capsys.readouterr().out


MISTAKES = {
    "no such pack": (["--packs", "nix"], "no pack 'nix'"),
    "a typo": (
        ["--packs", "step"],
        "no pack 'step'.*persistence.*or by pysteps pysteps, .*, linda$",
    ),
    "no share": (["--known", "2"], "try --known 0.5$"),
    "no such variable": (["--variable", "tos"], "expected a variable 'tos' in .* found rain_rate"),
    "too far": (["--lead", "12"], "12 time steps of future"),
    "no flow": (["--packs", "pysteps"], "optical flow needs pysteps.*pip install"),
    "too large a square": (["--square", "9"], "try --square 8$"),
    "nothing says what is known": (["--known", "0.5"], "try the same without --known$"),
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


# --- by label


@pytest.fixture
def turns(rain):
    """Frames that are wet everywhere by turns with frames of which a pixel in eighty is."""
    wet = xr.DataArray(np.arange(12) % 2 == 0, dims="time")
    one = (rain.x == 9000) & (rain.y == 0)
    return (rain.where(wet | one, 0) + 1 * wet).astype("f4").assign_attrs(RAIN)


def test_rows_by_label_are_those_of_their_inits(turns, flow):
    ways = ["persistence", "pysteps"]
    found = compare(turns, ways, lead=1, by=xef.wet_area, reference="persistence")
    assert found["wet_area"].values.tolist() == ["over 20 %", "under 5 %"]
    assert found["inits"].values.tolist() == [4, 4]  # of the frames 3 to 10
    inits = list(turns.time.values[4:11:2])
    alone = compare(turns, ways, lead=1, init=inits, reference="persistence")
    scored = found.sel(wet_area="over 20 %")
    for name in alone.data_vars:
        np.testing.assert_allclose(scored[name], alone[name], err_msg=name)
    named = turns.assign_coords(weather=("time", np.where(np.arange(12) % 2, "dry", "wet")))
    again = compare(named, ways, lead=1, by="weather", reference="persistence")
    assert again["weather"].values.tolist() == ["dry", "wet"]
    np.testing.assert_array_equal(again["mse"][::-1], found["mse"])


def test_labels_are_of_the_square_that_is_scored(turns):
    """The wet pixel of dry frames is at the edge of the domain: one of sixteen, not of eighty."""
    square = comparison._square(turns, 4, None, [0.5])
    at = [int(square.scored[dim].start) for dim in ("y", "x")]
    one = xr.zeros_like(turns)
    one[1::2, at[0], at[1]] = 1
    data = turns.where(turns.time.dt.minute % 10 == 0, one).assign_attrs(RAIN)
    found = compare(data.chunk(time=1), ["persistence"], lead=1, square=4, by=xef.wet_area)
    assert found["wet_area"].values.tolist() == ["5 to 20 %", "over 20 %"]


def test_blocks_are_as_long_as_they_are_said_to_be(turns):
    expected = xef.verify(
        turns.earthformer.forecast("persistence", init=slice(None), lead=1)[:-1],
        turns,
        ["mse"],
        thresholds=[1],
        confidence=0.9,
        block="15min",
    )
    found = compare(turns, ["persistence"], lead=1, confidence=0.9, block="15min")
    assert found.attrs["confidence"].endswith("4 blocks of 15min of inits")
    for end in ("mse_low", "mse_high"):
        np.testing.assert_allclose(found[end][0], expected[end])
    by_label = compare(turns, ["persistence"], lead=1, by=xef.wet_area, confidence=0.9, block=2)
    assert by_label.attrs["confidence"] == "0.9, from 1000 resamples of blocks of 2 inits"
    assert np.isfinite(by_label["mse_low"]).all()
    with pytest.raises(ValueError, match="expected 3 blocks of inits or more"):
        compare(turns, ["persistence"], lead=1, confidence=0.9, block="30min")


def test_the_command_has_a_table_for_each_label(turns, tmp_path, capsys):
    turns.to_netcdf(tmp_path / "rain.nc")
    words = ["verify", str(tmp_path / "rain.nc"), "--packs", "persistence", "--lead", "1"]
    more = ["--by", "wet_area", "--confidence", "0.9", "--block", "2", "-o", f"{tmp_path}/out.nc"]
    assert main([*words, *more]) == 0
    said = capsys.readouterr().out
    tables = re.split(r"\n(?=over 20 %|under 5 %)", said)
    assert [table.splitlines()[0] for table in tables[1:]] == [
        "over 20 %, 6 inits",
        "under 5 %, 5 inits",
    ]
    assert "intervals of 0.9, from 1000 resamples of blocks of 2 inits" in tables[1]
    with xr.open_dataset(tmp_path / "out.nc") as out:
        assert out["csi"].dims == ("wet_area", "forecast", "lead", "threshold")
    assert main([*words, "--by", "season"]) == 0
    assert "\nJJA, 11 inits\n" in capsys.readouterr().out
