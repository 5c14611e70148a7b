"""The table of nowcasts by event and regime: small records, and numbers that `compare` has too."""

import doctest
import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from small_radar import small_rain
from small_still import still_pack

import xearthformer as xef
from xearthformer.comparison.compare import compare

PLACE = Path(__file__).parents[1] / "benchmarks" / "nowcast_table.py"
SPEC = importlib.util.spec_from_file_location("nowcast_table", PLACE)
nowcast_table = importlib.util.module_from_spec(SPEC)
sys.modules["nowcast_table"] = nowcast_table  # dataclasses look their module up
SPEC.loader.exec_module(nowcast_table)


def moving(frames, start="2021-07-04T15:50"):
    """A shower of 20 x 20 pixels of 6 mm/h that goes a pixel a frame, over 64 x 400."""
    rain = np.zeros((frames, 64, 400))
    for i in range(frames):
        rain[i, 20:40, 40 + i : 60 + i] = 6
    return small_rain(rain, start=start)


@pytest.fixture
def records(tmp_path):
    """A record of 25 frames, and one of 6, which five leads can be scored of; and a pack."""
    for name, frames in (("abc_20210704", 25), ("xyz_20210705", 6)):
        moving(frames).to_netcdf(tmp_path / f"radar_{name}.nc")
    pack = shutil.copytree(xef.open_pack("persistence").path, tmp_path / "still")
    return [str(path) for path in sorted(tmp_path.glob("radar_*.nc"))], str(pack)


def test_the_examples_of_its_functions():
    found = doctest.testmod(nowcast_table)
    assert found.attempted and not found.failed


def test_events_and_regimes_of_small_records(records, tmp_path, capsys):
    files, still = records
    pictures = tmp_path / "pictures"
    how = ["--packs", "persistence", still, "--init", "//1", "--pictures", str(pictures)]
    nowcast_table.main([*files, *how])
    out = capsys.readouterr().out
    long, short, *rest = out.split("\n\n")
    regimes = {part.partition(":")[0]: part for part in rest}
    assert long.startswith("abc_20210704: 1 init, 2021-07-04T16:50 to 2021-07-04T16:50\n")
    assert "1 init, 2021-07-04T15:50" in short and "leads go to 25 min alone" in short
    inits = moving(25)["time"].values[12:13]
    whole = compare(moving(25), ["persistence"], init=list(inits), thresholds=[0.5, 1, 5])
    mean = whole.isel(forecast=0).mean("lead")
    values = [f"{value:.3f}" for value in (*mean["csi"].values, *mean["fss"].values[1:])]
    row = next(line for line in long.splitlines() if line.startswith("persistence")).split()
    assert row[1:7] == [*values, f"{mean['mse']:.3f}"] and row[7:] == ["1.00"] * 8 + ["-"]
    # of the domain's 400 km two squares of 200 have a regime each; the shower starts in the first
    assert regimes["showers"].startswith("showers: 2 squares of abc_20210704, xyz_20210705; fewer")
    assert regimes["dry"].startswith("dry: 2 squares") and "winter: no squares" in out
    # after 60 minutes there are the inits of the first record alone
    assert next(line for line in short.splitlines() if "persistence" in line).split()[10] == "-"
    assert "nan" not in out
    assert [path.suffix for path in pictures.iterdir()] == [".png"] * 2  # the best and the worst
    assert {path.name.split("_")[0] for path in pictures.iterdir()} == {"showers"}


def test_weights_stand_in_where_others_saw_the_event(records, monkeypatch, capsys):
    files, still = records
    events = {"seen": ["abc_20210704"], "unseen": ["xyz_20210705"]}

    def pack_of(name):
        training = SimpleNamespace(events=events.get(Path(name).name), data="radar")
        return SimpleNamespace(card=SimpleNamespace(training=training))

    monkeypatch.setattr(nowcast_table, "pack_of", pack_of)
    for name in events:
        Path(still).rename(Path(still).with_name(name))
        still = str(Path(still).with_name(name))
        if name == "seen":
            found = nowcast_table.weights_saw(still, "abc_20210704_east")
            assert found == "yes" and nowcast_table.weights_saw("sprog", "abc_20210704") == "-"
    options = nowcast_table.options_of(
        [*files, "--packs", "pysteps", "seen", "--held-out", f"{files[0]}={still}"]
    )
    assert options.held_out == {"abc_20210704": still}
    assert nowcast_table.weights_saw(still, "abc_20210704") == "no"
    notes = list(nowcast_table.footnotes(options.packs, options.held_out))
    assert notes == [
        "- seen: weights made from abc_20210704",
        f"- {still}, for abc_20210704: weights made from xyz_20210705",
    ]
    with pytest.raises(SystemExit):
        nowcast_table.options_of([*files, "--packs", "a", "--held-out", "other.nc=pack"])
    assert "--held-out is of a file given" in capsys.readouterr().err


def test_events_of_cards_that_are_named_after_files():
    """As examples/fit_nowcast.py writes them: the pack that ships saw Belgium's of 2021."""
    saw = nowcast_table.weights_saw
    seen, unseen = (nowcast_table.event_name(f"radar_{of}.nc") for of in ("rmi_20210704", "new_1"))
    assert saw("nowcast-radar", seen) == "yes" and saw("nowcast-radar", unseen) == "no"


def test_a_record_that_is_too_short(records, tmp_path):
    files, still = records
    two = str(tmp_path / "two.nc")
    moving(2).to_netcdf(two)
    event = nowcast_table.open_event(two, nowcast_table.options_of([two, "--packs", still]))
    assert event.lead == 1 and event.positions.tolist() == [0]
    reads_two = str(still_pack(tmp_path / "other", context=2, lead=12).path)
    options = nowcast_table.options_of([two, "--packs", reads_two])
    with pytest.raises(ValueError, match="3 frames or more, for .*still\n +found 2 in"):
        nowcast_table.open_event(two, options)
    options = nowcast_table.options_of(
        [*files, "--packs", "persistence", "--init", "2021-07-04T17/"]
    )
    with pytest.raises(ValueError, match="60 minutes after them") as error:
        nowcast_table.open_event(files[0], options)
    hint = str(error.value).split("try ")[1].split()
    options = nowcast_table.options_of([*files, "--packs", "persistence", *hint])
    assert nowcast_table.open_event(files[0], options).positions.tolist() == [12]


def test_an_ensemble_by_hand():
    rain = moving(3)
    fc = rain.earthformer.forecast("persistence", init=rain["time"].values[[0]], lead=2)
    truth = fc.copy(data=rain.values[None, 1:])
    # members of none and of four times what came: twice in the mean, power (0 + 16) / 2
    members = xr.concat([0 * truth, 4 * truth], "member", coords="minimal")
    members = members.transpose("init", "lead", "member", ...).assign_attrs(rain.attrs)
    sums = nowcast_table.sums_of(members, rain, ensemble=True)
    found = nowcast_table.ensemble_columns(nowcast_table.total([sums, sums]))
    assert found["mean/observed", ""] == found["mean/observed", "worst"] == "2.00"
    assert found["power, worst lead", "16 km"] == "8.00"
    # (24 - 12)^2 * 2 * 3 / 2 = 432 of variance, 36 of squared error: the root of 12
    assert found["spread/error", ""] == "3.46" and found["CSI", "1"] == "0.500"
    share = 400 / (64 * 400)  # 6 of 400 pixels lies between members, of the others' three ranks
    assert found["rank beyond", "highest"] == f"{1 - share:.2f}"
    assert found["MSE", "of mean"] == f"{36 * share:.3f}"
    single = nowcast_table.sums_of(truth, rain, ensemble=True)
    found = nowcast_table.ensemble_columns(nowcast_table.total([single]))
    assert found["CRPS", ""] == "0.000" and "spread/error" not in dict(found)
