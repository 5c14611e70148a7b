"""watch: a file in, a forecast out, whatever happens to the files on the way."""

import itertools
import os
import re
import signal
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import radar_files, small_rain
from small_still import still_pack

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.cli import watch as module
from xearthformer.cli.folder import Failed
from xearthformer.cli.watch import Idle, Made, watch

NAME = "still_20210704T{}.nc"


@pytest.fixture
def pack(tmp_path):
    """Persistence that looks at three frames, and makes up for none."""
    return still_pack(tmp_path, context=3, lead=2)


@pytest.fixture
def rain():
    """Six frames from 15:50 on, of 0, 1, 2 ... mm/h."""
    return small_rain(np.arange(6.0)[:, None, None] * np.ones((4, 6)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def arrive(folder, rain):
    """Let frames of the record arrive, by their positions."""

    def arrive(*positions, times=1.0):
        for i in positions:
            path = folder / f"{rain.time[i].dt.strftime('%H%M').item()}.nc"
            (rain[[i]] * times).assign_attrs(rain.attrs).to_netcdf(path)
        time.sleep(0.02)  # longer than what clocks of disks can tell

    return arrive


def now(folder, pack, out, **options):
    """What a watch does that begins now, and stops at once."""
    return list(watch(folder, pack, out, once=True, **options))


def is_idle(events):
    return [type(event) for event in events] == [Idle]


def test_a_new_file_gives_a_new_forecast(folder, arrive, pack, rain, tmp_path):
    events = watch(folder, pack, tmp_path / "out", every=0.01)
    arrive(0, 1, 2)
    made = next(events)
    assert made.path == tmp_path / "out" / NAME.format(1600)
    assert (made.init, made.frames, made.context) == ("2021-07-04 16:00:00", 3, 3)
    assert 0 < made.after_file < 60 and made.after_frame > 1e8
    arrive(3)
    made = next(events)
    assert made.path.name == NAME.format(1605)
    with xr.open_dataset(made.path, decode_coords="all") as found:
        expected = rain[:4].earthformer.forecast(pack)
        np.testing.assert_array_equal(found["rain_rate"], expected)
        assert found["rain_rate"].values.tolist() == (3 * np.ones((1, 2, 4, 6))).tolist()
        assert found.rio.crs == xef.open_radar(rain).rio.crs
    events.close()
    assert "16:05:00: " in str(made) and ", from 3 of 3 frames, " in str(made)


def test_what_is_there_is_not_done_again(folder, arrive, pack, tmp_path):
    """Neither by the same watch nor by the next; of a folder that fills while nobody watches,
    the newest frame alone is forecast from."""
    arrive(0, 1, 2)
    assert [event.path.name for event in now(folder, pack, tmp_path)] == [NAME.format(1600)]
    (idle,) = now(folder, pack, tmp_path)
    assert str(idle) == "nothing new: the newest frame, 2021-07-04 16:00:00, has been forecast"
    arrive(3, 4)
    assert [event.path.name for event in now(folder, pack, tmp_path)] == [NAME.format(1610)]
    assert sorted(p.name for p in tmp_path.glob("*.nc")) == [NAME.format(1600), NAME.format(1610)]
    (tmp_path / NAME.format(1610)).unlink()
    assert len(now(folder, pack, tmp_path)) == 1


def test_a_gap_that_a_late_file_closes(folder, arrive, pack, tmp_path):
    """The pack can't do without 16:00: the forecast from 16:05 waits for it."""
    events = watch(folder, pack, tmp_path, every=0.01)
    arrive(0, 1, 3)
    failed = next(events)
    assert isinstance(failed, Failed) and failed.what == "no forecast from 2021-07-04 16:05:00"
    arrive(2)
    assert next(events).path.name == NAME.format(1605)
    events.close()


def test_the_newest_forecast_is_made_again_from_a_correction(folder, arrive, pack, tmp_path):
    """16:00, 16:05 and 16:10 are the context of 16:10; the frame of 15:50 is not."""
    arrive(0, 1, 2, 3, 4)
    assert len(now(folder, pack, tmp_path)) == 1
    arrive(0, times=5)
    assert is_idle(now(folder, pack, tmp_path))
    arrive(4, times=5)
    (made,) = now(folder, pack, tmp_path)
    assert made.again == f"after {folder / '1610.nc'}" and f", again, {made.again}, " in str(made)
    assert float(xr.load_dataset(made.path)["rain_rate"].max()) == 20
    assert is_idle(now(folder, pack, tmp_path))


def test_a_broken_file_is_named_tried_again_and_skipped(folder, arrive, pack, tmp_path):
    whole = tmp_path / "whole"
    arrive(0, 1, 2, 3)
    half = folder / "1605.nc"
    whole.write_bytes(half.read_bytes())
    half.write_bytes(whole.read_bytes()[:2000])
    (folder / "1610.nc.part").write_bytes(b"")  # somebody writes it still
    events = watch(folder, pack, tmp_path, every=0.01)
    first, made, last = itertools.islice(events, 3)
    assert isinstance(first, Failed) and not first.final and "1605.nc" in str(first)
    assert str(first).endswith("it is tried again") and "\n" not in str(first)
    assert made.path.name == NAME.format(1600)
    assert last.final and last.what == str(half)
    assert str(last).endswith("; given up")
    half.write_bytes(whole.read_bytes())
    assert next(events).path.name == NAME.format(1605)
    events.close()


def test_a_file_that_grows_is_left_alone_until_it_stays(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    watched = module.Folder(str(folder), module.Call("folder"), pd.Timedelta("1h"), patient=True)
    assert list(watched.look()) == [] and not watched.frames
    arrive(2, times=2)  # written to since
    assert list(watched.look()) == [] and len(watched.frames) == 2
    assert list(watched.look()) == [] and len(watched.frames) == 3


def test_a_file_on_another_grid_is_left_out(folder, arrive, pack, rain, tmp_path):
    arrive(0, 1, 2)
    alien = small_rain(np.ones((1, 5, 6)), start="2021-07-04T16:05")
    alien.to_netcdf(folder / "1605.nc")
    failed, made = now(folder, pack, tmp_path)
    path = folder / "1605.nc"
    how = "another product than most files: 5 x 6 pixels, not 4 x 6"
    assert str(failed) == f"{path}: {how}; left out"
    assert made.path.name == NAME.format(1600)


@pytest.fixture
def reflect(folder, rain):
    """Let reflectivity of 40 dBZ on the same grid arrive: another product."""

    def reflect(*positions):
        for i in positions:
            dbz = (rain[[i]] * 0 + 40).assign_attrs(units="dBZ", grid_mapping="crs")
            stamp = rain.time[i].dt.strftime("%H%M").item()
            dbz.rename("dbz").to_netcdf(folder / f"dbz{stamp}.nc")

    return reflect


def test_a_product_of_fewer_files_neither_replaces_frames_nor_joins_them(
    folder, arrive, reflect, pack, tmp_path
):
    arrive(0, 1, 2, 3, 4)
    reflect(4, 5)  # at a time that there is, and at a later one
    *failed, made = now(folder, pack, tmp_path)
    how = "another product than most files: dbz dBZ, not rain_rate mm h-1"
    expected = [f"{folder / f'dbz{clock}.nc'}: {how}; left out" for clock in (1610, 1615)]
    assert [str(one) for one in failed] == expected
    assert made.path.name == NAME.format(1610)
    assert float(xr.load_dataset(made.path)["rain_rate"].max()) == 4


def test_of_two_products_by_turns_none_is_forecast(folder, arrive, reflect, pack, tmp_path):
    """Nor is one of them where it is a frame ahead; the pattern that is named takes one."""
    arrive(0, 1, 2, 3)
    reflect(0, 1, 2)
    (failed,) = now(folder, pack, tmp_path)
    found = f"found 4 like {folder}/1605.nc and 3 like {folder}/dbz1600.nc: "
    expected = "no forecast: expected files that are mostly of one product on one grid; "
    expected += f'{found}rain_rate mm h-1, not dbz dBZ; try watch "{folder}/1*.nc"'
    assert str(failed) == expected
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path / "out"), "--once"]
    assert main(words) == 1
    pattern = re.search('try watch "(.*)"', str(failed))[1]
    (made,) = now(pattern, pack, tmp_path)
    assert made.path.name == NAME.format(1605)


def test_a_product_that_ends_gives_way_to_the_next(folder, arrive, reflect):
    """Ten minutes are looked at: from 16:05 on, there is nothing of the old one."""
    watched = module.Folder(
        str(folder), module.Call("folder"), pd.Timedelta("10min"), patient=False
    )
    arrive(0, 1, 2)
    assert list(watched.look()) == [] and len(watched.frames) == 3
    reflect(3)
    (failed,) = watched.look()
    assert failed.then == "left out" and len(watched.frames) == 3
    assert list(watched.look()) == []  # it is named once
    reflect(4, 5)
    assert list(watched.look()) == []
    assert [str(t)[11:16] for t in watched.frames] == ["16:05", "16:10", "16:15"]
    for frame in watched.frames.values():
        np.testing.assert_allclose(frame.rain, (10**4 / 200) ** (1 / 1.6), rtol=1e-5)


def test_notes_next_to_the_files_are_no_files(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    (folder / "README.txt").write_text("rain")
    assert [type(event) for event in now(folder, pack, tmp_path)] == [Made]


@pytest.mark.parametrize("kind", ["nc", "zarr", "tif", "odim"])
def test_a_forecast_with_other_options_is_made_again(folder, arrive, pack, tmp_path, kind):
    arrive(0, 1, 2)
    now(folder, pack, tmp_path, format=kind)
    assert is_idle(now(folder, pack, tmp_path, format=kind))
    (made,) = now(folder, pack, tmp_path, format=kind, lead=1)
    assert made.again == "with other options"
    assert is_idle(now(folder, pack, tmp_path, format=kind, lead=1))


def test_a_forecast_by_another_version_of_the_pack_is_made_again(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    now(folder, pack, tmp_path)
    new = pack.card.model_copy(update={"version": "2"})
    second = xef.save_pack(tmp_path / "second", pack.model(), new)
    (made,) = now(folder, second, tmp_path)
    assert made.again == "with other options"


@pytest.mark.parametrize(
    "other",
    [
        {"members": 3},
        {"seed": 1},
        {"beyond": "nan"},
        {"zr": (300.0, 1.5)},
        {"zero_below": 0.1},
        {"products": module.Products(quantiles=[0.5])},
    ],
)
def test_whatever_decides_a_forecast_is_an_option_of_it(folder, tmp_path, other):
    """Labels alone: `nowcast-radar` isn't run. Device and size of batches decide nothing."""

    def made_with(zr=None, zero_below=None, products=None, **options):
        products = products or module.Products()
        call = module.as_called(folder, zr, zero_below, None, "raise")
        return module._made_with(module._forecast_of_nothing(nowcast, options), products, call)

    nowcast = xef.open_pack("nowcast-radar")
    first = made_with(members=2)
    assert "12 leads" in first and f"weights {nowcast.card.weights_sha256[:12]}" in first
    assert first == made_with(members=2, seed=0, lead="60min", device="cpu", batch_size=3)
    assert first != made_with(**{"members": 2} | other)


def test_the_command_with_another_z_r_relation_forecasts_again(
    folder, arrive, pack, tmp_path, capsys
):
    arrive(0, 1, 2)
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path), "--once"]
    for options, done in (([], "from 3"), (["--zr", "300", "1.5"], "again, with other options")):
        assert main([*words, *options]) == 0
        assert f", {done}" in capsys.readouterr().err
        assert main([*words, *options]) == 0
        assert "has been forecast" in capsys.readouterr().err
    made_with = xr.open_dataset(tmp_path / NAME.format(1600))["rain_rate"].attrs["made_with"]
    assert made_with.endswith("; 2 leads; xef.open_radar(rain, zr=(300, 1.5))")


def test_a_pack_of_the_same_version_with_another_card_is_another(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    now(folder, pack, tmp_path)
    (name,) = pack.card.inputs
    bounded = pack.card.input.model_copy(update={"valid_max": 300.0})
    new = pack.card.model_copy(update={"inputs": {name: bounded}})
    (made,) = now(folder, xef.save_pack(tmp_path / "second", pack.model(), new), tmp_path)
    assert made.again == "with other options"


def test_frames_every_ten_minutes_for_a_pack_of_five(folder, arrive, pack, rain, tmp_path):
    arrive(0, 2, 4)
    (made,) = now(folder, pack, tmp_path)
    assert made.path.name == NAME.format(1610) and made.frames == 2
    assert ", from 2 frames of its own, others of 3 interpolated, " in str(made)
    assert "5" in xr.open_dataset(made.path)["rain_rate"].attrs["history"]


@pytest.mark.parametrize(("kind", "suffix"), [("nc", ".nc"), ("zarr", ".zarr"), ("odim", ".h5")])
def test_the_last_are_kept(folder, arrive, pack, tmp_path, kind, suffix):
    mine = tmp_path / "still_notes.nc"
    mine.write_text("mine")
    arrive(0, 1)
    for i in (2, 3, 4):
        arrive(i)
        now(folder, pack, tmp_path, format=kind, keep=2)
    expected = [f"still_20210704T{end}{suffix}" for end in ("1605", "1610")]
    assert sorted(p.name for p in tmp_path.glob("still_2*")) == expected
    assert mine.exists()


def test_pictures_go_with_their_forecasts(folder, arrive, pack, tmp_path):
    pytest.importorskip("matplotlib")
    arrive(0, 1, 2)
    (made,) = now(folder, pack, tmp_path, format="zarr", picture=True, keep=1)
    assert made.path.with_suffix(".png").read_bytes()[1:4] == b"PNG"
    arrive(3)
    now(folder, pack, tmp_path, format="zarr", keep=1)
    assert [p.name for p in tmp_path.glob("still_2*")] == ["still_20210704T1605.zarr"]


def test_geotiff_is_a_folder_of_leads(folder, arrive, pack, tmp_path):
    rioxarray = pytest.importorskip("rioxarray")
    arrive(0, 1, 2)
    (made,) = now(folder, pack, tmp_path, format="tif")
    assert made.path.is_dir()
    names = sorted(p.name for p in made.path.iterdir())
    assert names == [f"still_20210704T1600_{lead}.tif" for lead in ("005min", "010min")]
    found = rioxarray.open_rasterio(made.path / names[0])
    assert found.rio.crs is not None and float(found.max()) == 2
    assert is_idle(now(folder, pack, tmp_path, format="tif"))


def test_half_written_forecasts_of_a_killed_watch_go(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    (tmp_path / f"{NAME.format(1555)}.part").write_text("half")
    (tmp_path / "other.part").write_text("another's")
    now(folder, pack, tmp_path)
    assert [p.name for p in tmp_path.glob("*.part")] == ["other.part"]


def test_nowcast_radar_makes_up_for_frames_that_are_missing(folder, tmp_path):
    """Four frames of ODIM, as FMI writes them, but the one before the last."""
    files = radar_files.write_fmi(folder, radar_files.storms(frames=4))
    os.remove(files[-2])
    (made,) = now(folder, "nowcast-radar", tmp_path, lead=1)
    assert (made.frames, made.context) == (3, 4)
    assert any("1 of 4 frames are missing" in note for note in made.notes)
    with xr.open_dataset(made.path) as found:
        assert found["known"].dims == ("init", "lead", "y", "x")
        assert found["known"].encoding["zlib"]


# --- the command, and what is refused


def test_the_command_logs_and_stops(folder, arrive, pack, tmp_path, capsys, monkeypatch):
    arrive(0, 1, 2)
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path / "out")]
    assert main([*words, "--once"]) == 0
    line = capsys.readouterr().err
    clock = pd.Timestamp(line[:20])
    assert abs(pd.Timestamp.now("UTC") - clock) < pd.Timedelta("1min")
    assert line[20:].startswith(f" 2021-07-04 16:00:00: {tmp_path / 'out' / NAME.format(1600)}, ")
    assert main([*words, "--once"]) == 0
    assert ", 2021-07-04 16:00:00, has been forecast" in capsys.readouterr().err
    arrive(4)
    assert main([*words, "--once"]) == 1
    assert "no forecast from 2021-07-04 16:10:00" in capsys.readouterr().err

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupt)
    assert main([*words, "--every", "5"]) == 0
    assert capsys.readouterr().err.endswith("stopped\n")
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module.time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
    assert main(words) == 0
    assert capsys.readouterr().err.endswith(" stopped\n")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kind", ["nc", "zarr", "tif", "odim"])
def test_what_a_forecast_was_made_with_is_told_from_what_is_there(rain, pack, tmp_path, kind):
    fc = rain[:3].earthformer.forecast(pack).expand_dims(member=3, axis=2)
    fc = fc.assign_coords(member=range(3))
    output = module._Output(tmp_path, "still", kind, "2 leads", False, picture=False, keep=None)
    target = output.target(rain.time[2])
    assert output._read(target) is None
    output.write(fc, rain, target, 0)
    assert output._read(target) == "2 leads"


def test_codes_are_read_as_the_options_say(folder, arrive, rain, pack, tmp_path):
    """A frame of -1 alone is refused; as not seen, or as no rain, it is read."""
    arrive(0, 1, 2)
    (rain[[3]] * 0 - 1).assign_attrs(rain.attrs).to_netcdf(folder / "1605.nc")
    failed, made = now(folder, pack, tmp_path / "a")
    assert "1605.nc: expected rain of 0 to 5000 mm h-1; found -1, in 24 of 24" in str(failed)
    assert made.init.endswith("16:00:00")
    (made,) = now(folder, pack, tmp_path / "b", zero_below=0.0)
    assert made.init.endswith("16:05:00")
    watched = module.Folder(
        str(folder), module.Call("in", missing=(-1.0,)), pd.Timedelta("1h"), patient=False
    )
    assert list(watched.look()) == [] and len(watched.frames) == 4


def test_an_empty_folder_is_said_to_be(folder, pack, tmp_path, capsys):
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path / "out")]
    assert main([*words, "--once"]) == 0
    assert capsys.readouterr().err.endswith(f" no frames in {folder}\n")


def test_a_hint_in_the_words_of_the_command(folder, arrive, rain, pack, tmp_path, capsys):
    arrive(0, 1, 2)
    (rain[[3]] * 0 - 1).assign_attrs(rain.attrs).to_netcdf(folder / "1605.nc")
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path / "out"), "--once"]
    assert main(words) == 0
    log = capsys.readouterr().err
    option = re.search("; try (.*), where nothing was seen; or (.*), where nothing fell; ", log)
    assert option.groups() == ("--missing -1", "--zero-below 0")
    assert main([*words, *option[2].split()]) == 0
    assert NAME.format(1605) in capsys.readouterr().err


def test_failed_is_a_line_without_python():
    reason = "expected rain of 0 to 5000 mm h-1\n   found -1\n     try "
    assert str(Failed("a.nc", f'{reason}xef.open_radar("a.nc", missing=-1)', "given up")) == (
        "a.nc: expected rain of 0 to 5000 mm h-1; found -1; given up"
    )
    assert str(Failed("a.nc", f"{reason}another copy")).endswith("; found -1; try another copy")


REFUSED = {
    "format": ({"format": "grib"}, "format as one of nc, zarr, tif, odim"),
    "keep": ({"keep": 0}, "keep as a whole number from 1"),
    "no folder": ({"folder": "no where"}, "no folder no where: mkdir -p 'no where'"),
    "a file": ({"folder": "notes.txt"}, "notes.txt is a file: name the folder in which it lies"),
    "before now": ({"every": -1.0}, "every: expected seconds, from 0, found -1"),
    "one folder": ({"output": "."}, "a folder of its own for forecasts"),
    "one, of a name with a blank": (
        {"folder": "a b", "output": "a b"},
        "try -o 'a b/nowcasts'",
    ),
    "members": ({"members": 3}, "found 'still', whose forecasts are deterministic"),
    "lead": ({"lead": "7min"}, "lead as a whole number of time steps"),
    "another pack": ({"pack": "persistence"}, "a pack of rain, with a time step"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_watched_is_refused_at_once(folder, pack, monkeypatch, what):
    monkeypatch.chdir(folder)
    (folder / "notes.txt").touch()
    (folder / "a b").mkdir()
    change, message = REFUSED[what]
    arguments = {"folder": ".", "pack": pack, "output": "out"} | change
    with pytest.raises((ValueError, OSError), match=message):
        watch(**arguments)
    assert list(folder.glob("out/*")) == []


def test_made_is_a_line():
    made = Made("2016-09-28 15:00:00", module.Path("a.nc"), 12, 13, 7.25, 131.0, ("1 is missing",))
    assert str(made) == (
        "2016-09-28 15:00:00: a.nc, from 12 of 13 frames, 7.2 s after the file, "
        "131.0 s after the frame; 1 is missing"
    )


def test_a_log_line_obeys_no_name_of_a_file(capsys):
    module._log(Failed("red \x1b[31m.nc", "no radar\nat all"))
    err = capsys.readouterr().err
    assert "red \\x1b[31m.nc" in err and "\x1b" not in err
