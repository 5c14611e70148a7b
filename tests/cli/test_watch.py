"""watch: a file in, a forecast out, whatever happens to the files on the way."""

import itertools
import os
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_radar import radar_files, small_rain

import xearthformer as xef
from xearthformer import models
from xearthformer.cli import main
from xearthformer.cli import watch as module
from xearthformer.cli.folder import Failed
from xearthformer.cli.watch import Made, watch
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Quantity, Training

NAME = "still_20210704T{}.nc"


@pytest.fixture
def pack(tmp_path):
    """Persistence that looks at three frames, and makes up for none."""
    rate = Quantity(standard_name="rainfall_rate", units="mm h-1")
    card = Card(
        name="still",
        version="1",
        title="persistence of rain",
        model=ModelSpec(name="persistence", config={}),
        input=rate,
        output=rate,
        grid=PixelGrid(height=4, width=6),
        time_step="5min",
        history=3,
        reach=2,
        missing="allowed",
        training=Training(data="none"),
    )
    return xef.save_pack(tmp_path / "still", models.build("persistence", "tiny"), card)


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
    assert now(folder, pack, tmp_path) == []
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
    assert now(folder, pack, tmp_path) == []
    arrive(4, times=5)
    (made,) = now(folder, pack, tmp_path)
    assert float(xr.load_dataset(made.path)["rain_rate"].max()) == 20
    assert now(folder, pack, tmp_path) == []


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
    half.write_bytes(whole.read_bytes())
    assert next(events).path.name == NAME.format(1605)
    events.close()


def test_a_file_that_grows_is_left_alone_until_it_stays(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    watched = module.Folder(str(folder), None, pd.Timedelta("1h"), patient=True)
    assert list(watched.look()) == [] and not watched.frames
    arrive(2, times=2)  # written to since
    assert list(watched.look()) == [] and len(watched.frames) == 2
    assert list(watched.look()) == [] and len(watched.frames) == 3


def test_a_file_of_another_product_is_left_out(folder, arrive, pack, rain, tmp_path):
    arrive(0, 1, 2)
    alien = small_rain(np.ones((1, 5, 6)), start="2021-07-04T16:05")
    alien.to_netcdf(folder / "1605.nc")
    failed, made = now(folder, pack, tmp_path)
    assert "5 x 6 pixels, on another grid" in str(failed) and "1605.nc" in str(failed)
    assert made.path.name == NAME.format(1600)


def test_frames_every_ten_minutes_for_a_pack_of_five(folder, arrive, pack, rain, tmp_path):
    arrive(0, 2, 4)
    (made,) = now(folder, pack, tmp_path)
    assert made.path.name == NAME.format(1610) and made.frames == 3
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
    assert now(folder, pack, tmp_path, format="tif") == []


def test_half_written_forecasts_of_a_killed_watch_go(folder, arrive, pack, tmp_path):
    arrive(0, 1, 2)
    (tmp_path / f"{NAME.format(1555)}.part").write_text("half")
    (tmp_path / "other.part").write_text("another's")
    now(folder, pack, tmp_path)
    assert [p.name for p in tmp_path.glob("*.part")] == ["other.part"]


def test_nowcast_radar_makes_up_for_frames_that_are_missing(folder, tmp_path):
    """Thirteen frames of ODIM, as FMI writes them, but the one before the last."""
    files = radar_files.write_fmi(folder, radar_files.storms(frames=13))
    os.remove(files[-2])
    (made,) = now(folder, "nowcast-radar", tmp_path, lead=1)
    assert (made.frames, made.context) == (12, 13)
    assert any("1 of 13 frames are missing" in note for note in made.notes)
    with xr.open_dataset(made.path) as found:
        assert found["known"].dims == ("init", "lead", "y", "x")
        assert found["known"].encoding["zlib"]


# --- the command, and what is refused


def test_the_command_logs_and_stops(folder, arrive, pack, tmp_path, capsys, monkeypatch):
    arrive(0, 1, 2)
    words = ["watch", str(folder), "--pack", str(pack.path), "-o", str(tmp_path / "out")]
    assert main([*words, "--once"]) == 0
    assert NAME.format(1600) in capsys.readouterr().err
    arrive(4)
    assert main([*words, "--once"]) == 1
    assert "no forecast from 2021-07-04 16:10:00" in capsys.readouterr().err

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupt)
    assert main([*words, "--every", "5"]) == 0
    assert capsys.readouterr().err.endswith("stopped\n")


REFUSED = {
    "format": ({"format": "grib"}, "format as one of nc, zarr, tif, odim"),
    "keep": ({"keep": 0}, "keep as a whole number from 1"),
    "no folder": ({"folder": "nowhere"}, "no folder nowhere: mkdir -p nowhere"),
    "one folder": ({"output": "."}, "a folder of its own for forecasts"),
    "members": ({"members": 3}, "found 'still', whose forecasts are deterministic"),
    "lead": ({"lead": "7min"}, "lead as a whole number of time steps"),
    "another pack": ({"pack": "persistence"}, "a pack of rain, with a time step"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_watched_is_refused_at_once(folder, pack, monkeypatch, what):
    monkeypatch.chdir(folder)
    change, message = REFUSED[what]
    arguments = {"folder": ".", "pack": pack, "output": "out"} | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        watch(**arguments)
    assert list(folder.glob("out/*")) == []


def test_made_is_a_line():
    made = Made("2016-09-28 15:00:00", module.Path("a.nc"), 12, 13, 7.25, 131.0, ("1 is missing",))
    assert str(made) == (
        "2016-09-28 15:00:00: a.nc, from 12 of 13 frames, 7.2 s after the file, "
        "131.0 s after the frame; 1 is missing"
    )
