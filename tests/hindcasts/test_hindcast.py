"""Hindcasts: the store is the forecast, goes on where it stopped, and refuses what isn't its own.

What goes wrong on the way stands in test_hindcast_faults.py.
"""

import importlib
import json
import logging

import dask.array
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from small_hindcast import anomalies, files, forecast, hindcast, status, through
from small_still import still_pack
from zarr.storage import LocalStore, MemoryStore, ZipStore

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.hindcasts.store import LOCK
from xearthformer.inference import engine


@pytest.fixture
def ssta(tiny_pack):
    return anomalies(tiny_pack)


@pytest.fixture
def straight(ssta, tiny_pack):
    return forecast(ssta, tiny_pack)


@pytest.fixture
def counted(monkeypatch):
    """How many inits are forecast."""
    module = importlib.import_module("xearthformer.hindcasts.blocks")
    set_up, count = module.set_up, []

    def counting(entries, pack, init, options):
        count.extend(init)
        return set_up(entries, pack, init, options)

    monkeypatch.setattr(module, "set_up", counting)
    return count


# --- the store is the forecast


def test_a_store_opens_as_the_forecast(ssta, tiny_pack, straight, tmp_path):
    ds = xr.Dataset({"ssta": ssta}, attrs={"title": "mine"})
    hind = hindcast(ds, tiny_pack, tmp_path / "h.zarr")
    assert hind["ssta"].chunks == ((1,) * 10, (2,), (8,), (8,))
    assert hind.attrs == forecast(ds, tiny_pack).attrs
    with xr.open_zarr(tmp_path / "h.zarr") as found:
        xr.testing.assert_identical(found.load(), hind.load())
    xr.testing.assert_identical(hind["ssta"], straight)
    raw = xr.open_zarr(tmp_path / "h.zarr", decode_cf=False)
    assert raw["init"].attrs["standard_name"] == "forecast_reference_time"
    assert raw["lead"].attrs["units"] == "months"
    assert all("_FillValue" not in raw[name].attrs for name in ("init", "lead", "valid_time"))
    root = json.loads((tmp_path / "h.zarr" / "zarr.json").read_text())
    assert root["zarr_format"] == 3 and root["consolidated_metadata"]
    assert not (tmp_path / "h.zarr" / LOCK).exists()


FORMS = {
    "dask": (lambda da: da.chunk({"time": 5, "lat": 3}), None),
    "noleap": (lambda da: da.convert_calendar("noleap"), 3),
    "float64, turned": (lambda da: da.astype("f8").transpose("lon", "time", "lat"), 4),
    "no name": (lambda da: da.rename(None), 10),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_data_in_any_chunks(ssta, tiny_pack, tmp_path, form):
    change, chunks = FORMS[form]
    mine = change(ssta)
    hind = hindcast(mine, tiny_pack, tmp_path / "h.zarr", lead=3, chunks=chunks)
    name = mine.name or "forecast"
    assert hind[name].chunks[0][0] == (chunks or 1)
    straight = forecast(mine.compute(), tiny_pack, lead=3)
    xr.testing.assert_identical(hind[name].load(), straight.rename(name))


@pytest.mark.parametrize("chunks", [None, 2])
def test_inits_in_any_order(ssta, tiny_pack, tmp_path, chunks):
    inits = ["2000-11", "2000-03", "2000-04", "2000-09"]
    hind = hindcast(ssta, tiny_pack, tmp_path / "h.zarr", init=inits, chunks=chunks)
    xr.testing.assert_identical(hind["ssta"].load(), forecast(ssta, tiny_pack, inits))


@pytest.fixture(scope="module")
def bucket():
    """An S3 bucket of moto's server, on loopback."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "none")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        fsspec.filesystem("s3").mkdir("hindcasts")
        yield "s3://hindcasts"
    server.stop()


STORES = {
    "file://": lambda folder: f"file://{folder}/h.zarr",
    "LocalStore": lambda folder: LocalStore(folder / "h.zarr"),
    "memory://": lambda folder: f"memory://{folder}/h.zarr",
    "MemoryStore": lambda folder: MemoryStore(),
    "FSMap": lambda folder: fsspec.get_mapper(f"memory://{folder}/m.zarr"),
}


@pytest.mark.parametrize("kind", [*STORES, "s3://"])
def test_any_store(ssta, tiny_pack, straight, tmp_path, kind, request, counted):
    bucket = request.getfixturevalue("bucket") if kind == "s3://" else None
    store = f"{bucket}/h.zarr" if bucket else STORES[kind](tmp_path)
    with pytest.raises(ValueError, match="2000-07-15 .. 2000-08-15: ValueError: no August"):
        hindcast(unreadable(ssta), tiny_pack, store, chunks=2)
    with xr.open_zarr(store) as found:
        assert "6 of 10 inits" in found.attrs["incomplete"]
        assert found["ssta"].isnull().all(["lat", "lon", "lead"]).sum() == 6
    hindcast(ssta, tiny_pack, store)
    with xr.open_zarr(store) as found:
        xr.testing.assert_identical(found["ssta"].load(), straight)
        assert "incomplete" not in found.attrs
    assert status(store) == [1] * 10 and len(counted) == 10
    counted.clear()
    hindcast(ssta, tiny_pack, store)
    assert not counted


def unreadable(ssta):
    """The same data, of which August can't be read: dask raises when it is computed."""

    def read(values, block_info):
        if block_info[0]["array-location"][0][0] == 7:
            raise ValueError("no August")
        return values

    return through(read, ssta)


def test_a_finished_or_half_finished_store_is_gone_on_with(ssta, tiny_pack, tmp_path, counted):
    """Inits 0 .. 3 are done, 4 and 5 in the failed block, and July's window is mended."""
    store = tmp_path / "h.zarr"
    july = ssta.where(ssta.time.dt.month != 7)
    with pytest.raises(ValueError, match=r"(?s)2000-07-15: ValueError.*missing.*4 of 10 inits"):
        hindcast(july, tiny_pack, store)
    assert status(store) == [1] * 4 + [2] + [0] * 5
    counted.clear()
    hind = hindcast(ssta, tiny_pack, store)
    assert [str(t)[:7] for t in counted] == [f"2000-{m:02d}" for m in range(7, 13)]
    straight = forecast(ssta, tiny_pack)
    xr.testing.assert_identical(hind["ssta"].load(), straight)


def test_what_fails_is_skipped_noted_and_tried_again(ssta, tiny_pack, tmp_path, counted):
    """July is missing, and with it the windows that end in July, August and September."""
    store = tmp_path / "h.zarr"
    july = ssta.where(ssta.time.dt.month != 7)
    for _ in range(2):
        hind = hindcast(july, tiny_pack, store, on_error="skip")
        assert status(store) == [1] * 4 + [2] * 3 + [1] * 3
        said = hind.attrs["incomplete"].splitlines()
        assert said[0].startswith("3 of 10 inits") and len(said) == 4
        assert said[1].startswith("2000-07-15: ValueError: expected finite values")
        empty = hind["ssta"].isnull().all(["lead", "lat", "lon"])
        assert empty.values.tolist() == [False] * 4 + [True] * 3 + [False] * 3
    counted.clear()
    hind = hindcast(ssta, tiny_pack, store)
    assert len(counted) == 3 and "incomplete" not in hind.attrs
    straight = forecast(ssta, tiny_pack)
    xr.testing.assert_identical(hind["ssta"].load(), straight)


def test_lazy_data_is_read_where_it_is_used_and_nowhere_else(ssta, tiny_pack, tmp_path):
    inits = ["2000-03", "2000-11", "2000-12"]  # August is in no window
    hind = hindcast(unreadable(ssta), tiny_pack, tmp_path / "h.zarr", init=inits)
    straight = forecast(ssta, tiny_pack, inits)
    xr.testing.assert_identical(hind["ssta"].load(), straight)


def test_a_file_is_read_in_blocks(ssta, tiny_pack, straight, tmp_path):
    ssta.to_netcdf(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc") as ds:
        hind = hindcast(ds, tiny_pack, tmp_path / "h.zarr", chunks=4)
        assert not ds["ssta"].variable._in_memory
    np.testing.assert_array_equal(hind["ssta"], straight)


@pytest.fixture
def rain(tmp_path):
    """Rain every five minutes, one frame of it missing, and a pack that doesn't mind."""
    pack = still_pack(tmp_path, context=1, lead=3)
    rain = xr.DataArray(
        np.arange(72.0).reshape(3, 4, 6),
        dims=("time", "y", "x"),
        coords={"time": xr.date_range("2016-09-28T12:00", periods=3, freq="5min")},
        attrs={"standard_name": "rainfall_rate", "units": "mm h-1"},
        name="rain",
    )
    return rain.where(rain.time != rain.time[1]), pack


@pytest.mark.parametrize("init", [None, "2016-09-28T12:00"])
def test_windows_of_a_frame_and_forecasts_of_nothing_but_nan(rain, tmp_path, init, counted):
    """An all-NaN chunk is a file like others, and so is not taken for lost."""
    rain, pack = rain
    hind = hindcast(rain, pack, tmp_path / "h.zarr", init=init, lead="10min", chunks=1)
    straight = forecast(rain, pack, init or slice(None), lead="10min")
    xr.testing.assert_identical(hind["rain"].load(), straight)
    counted.clear()
    hindcast(rain, pack, tmp_path / "h.zarr", init=init, lead="10min")
    assert not counted


# --- the record


# What version 0.1 wrote: its stores must go on to be resumed.
CARDS = {
    "damped-persistence": "d5d3055afcb9541ed0f449ed",
}
RECORD = {
    "format": "1",
    "lead": "3",
    "precision": "float32",
    "compile": "False",
    "device": "cpu",
    "init": "3, 2010-10-15 .. 2010-12-15, digest 0d422f5941d3447b5ddfd47b",
    "grid": "lat (89), lon (180), digest cf40ae13483c5145ed419ed9",
    "variable": "sst float32 degree_Celsius temperature: difference",
}
TIMES = {
    "damped-persistence": "3, 2010-10-15 .. 2010-12-15, digest 0d422f5941d3447b5ddfd47b",
}


@pytest.mark.parametrize("name", CARDS)
def test_the_record_of_a_shipped_pack_stays_as_it_was(name):
    sst = xef.synthetic_sst(years=31, start="1980-01")["sst"]
    ssta, store = sst.earthformer.anomaly(climatology=("1981", "2010")), MemoryStore()
    hindcast(ssta, name, store, init=slice("2010-10", None), lead=3)
    weights = xef.open_pack(name).card.weights_sha256
    pack = f"{name} 1, weights {weights}, card {CARDS[name]}"
    found = dict(zarr.open_group(store, path="hindcast_log", mode="r").attrs)
    assert found == {**RECORD, "pack": pack, "times": TIMES[name]}


# --- how the network runs


def test_another_precision_makes_another_store(ssta, tiny_pack, straight, tmp_path):
    how, store = {"precision": "bf16"}, tmp_path / "h.zarr"
    for _ in range(2):
        hind = hindcast(ssta, tiny_pack, store, **how)
        xr.testing.assert_identical(hind["ssta"].load(), forecast(ssta, tiny_pack, **how))
    assert "; in bf16;" in hind["ssta"].attrs["history"] and not hind["ssta"].equals(straight)
    before = files(store)
    with pytest.raises(ValueError, match="(?s)precision .*: bf16\n.*found float32"):
        hindcast(ssta, tiny_pack, store)
    assert files(store) == before


def test_a_compiled_network_makes_another_store(ssta, tiny_pack, straight, tmp_path, compiled):
    hind = hindcast(ssta, tiny_pack, tmp_path / "h.zarr", compile=True)
    assert [type(call.__self__).__name__ for call in compiled] == ["Earthformer"]
    np.testing.assert_allclose(hind["ssta"], straight, atol=1e-4)
    with pytest.raises(ValueError, match="(?s)compile .*: True\n.*found False"):
        hindcast(ssta, tiny_pack, tmp_path / "h.zarr")


# --- what is refused


OTHER = {
    "data": (lambda ssta: {"data": ssta + ssta.where(ssta.time.dt.month == 7, 0)}, "at 2000-07-15"),
    "lazy data": (lambda ssta: {"data": (ssta * 2).chunk({"time": 1})}, "other values at 2000-01"),
    "times": (lambda ssta: {"data": ssta.shift(time=1)[1:]}, "init .*found 9, 2000-04-15"),
    "units": (lambda ssta: {"data": ssta.assign_attrs(units="K")}, "variable .*degC.*found .* K"),
    "name": (lambda ssta: {"data": ssta.rename("sst")}, "variable .*ssta float32.*found sst"),
    "grid": (lambda ssta: {"data": ssta[:, ::-1]}, "grid"),
    "init": (lambda ssta: {"init": slice("2000-04", None)}, "init .*found 9, 2000-04-15"),
    "lead": (lambda ssta: {"lead": 5}, "lead .*: 2\n.*found 5"),
    "precision": (lambda ssta: {"precision": "bf16"}, "precision .*: float32\n.*found bf16"),
    "no precision": (lambda ssta: {"precision": "fp16"}, 'precision="float32" or "bf16"'),
    "compile": (lambda ssta: {"compile": True}, "compile .*: False\n.*found True"),
    "chunks": (lambda ssta: {"chunks": 3}, "chunks .*: 1\n.*found chunks=3"),
    "on_error": (lambda ssta: {"on_error": "ignore"}, 'on_error="raise" or "skip"'),
    "no chunks": (lambda ssta: {"chunks": 0}, "chunks as a whole number from 1"),
    "chunks in words": (lambda ssta: {"chunks": "auto"}, "chunks as a whole number from 1"),
    "an init twice": (lambda ssta: {"init": ["2000-05", "2000-05"]}, "2000-05-15 more than once"),
    "no inits": (lambda ssta: {"init": "1999"}, "the data's own times"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, same_tiny_pack):
    """A hindcast that is done: it stays as it is, so one is enough."""
    store = tmp_path_factory.mktemp("finished") / "h.zarr"
    hindcast(anomalies(same_tiny_pack), same_tiny_pack, store)
    return store, files(store)


@pytest.mark.parametrize("other", OTHER)
def test_a_store_of_something_else_is_refused_and_stays(ssta, tiny_pack, finished, other):
    store, before = finished
    change, message = OTHER[other]
    with xr.set_options(keep_attrs=True):
        arguments = {"data": ssta, "pack": tiny_pack, "store": store} | change(ssta)
    with pytest.raises(ValueError, match=f"(?s)expected .*{message}"):
        hindcast(**arguments)
    assert files(store) == before


def test_a_store_of_another_pack_is_refused(ssta, tiny_pack, tmp_path):
    hindcast(ssta, tiny_pack, tmp_path / "h.zarr", init="2000-05")
    model = tiny_pack.model()
    for name, parameters, card in (
        ("other weights", {"bias": 1}, {}),
        ("other numbers on the card", {}, {"fill": 0.5}),
    ):
        state = {k: v + 1 if parameters else v for k, v in model.state_dict().items()}
        model.load_state_dict(state)
        pack = xef.save_pack(tmp_path / name, model, tiny_pack.card.model_copy(update=card))
        with pytest.raises(ValueError, match="(?s)the pack that .* tiny 1, weights .*found tiny 1"):
            hindcast(ssta, pack, tmp_path / "h.zarr", init="2000-05")


@pytest.mark.parametrize("left_out", ["record", "call"])
def test_what_one_of_the_two_lacks_is_a_difference(
    ssta, tiny_pack, tmp_path, monkeypatch, left_out
):
    """A store, or a call, of a version that has more options than the other."""
    module = importlib.import_module("xearthformer.hindcasts.hindcast")
    every, fewer = module.RECORDED, ("compile",)
    monkeypatch.setattr(module, "RECORDED", fewer if left_out == "record" else every)
    hindcast(ssta, tiny_pack, tmp_path / "h.zarr", init="2000-05")
    monkeypatch.setattr(module, "RECORDED", fewer if left_out == "call" else every)
    there, found = ("none", "float32") if left_out == "record" else ("float32", "none")
    with pytest.raises(ValueError, match=f"(?s)the precision that .*: {there}\n.*found {found}"):
        hindcast(ssta, tiny_pack, tmp_path / "h.zarr", init="2000-05")


def test_a_store_that_hindcast_did_not_make_is_refused_and_stays(ssta, tiny_pack, tmp_path):
    ssta.to_zarr(tmp_path / "mine.zarr")
    ssta.to_zarr(tmp_path / "old.zarr", zarr_format=2)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text").write_text("mine")
    for name in ("mine.zarr", "old.zarr", "notes"):
        before = files(tmp_path / name)
        with pytest.raises(ValueError, match="an empty store, or one that hindcast made"):
            hindcast(ssta, tiny_pack, tmp_path / name)
        assert files(tmp_path / name) == before
    with pytest.raises(ValueError, match="over and over"):
        hindcast(ssta, tiny_pack, ZipStore(tmp_path / "h.zip", mode="w"))
    with pytest.raises(TypeError, match="path, a URL or a Zarr store"):
        hindcast(ssta, tiny_pack, zarr.open_group(MemoryStore()))


@pytest.mark.parametrize("way", ["a store", "a disk"])
def test_a_finished_store_that_cannot_be_written_opens(
    ssta, tiny_pack, tmp_path, monkeypatch, counted, way
):
    path = tmp_path / "h.zarr"
    made = hindcast(ssta, tiny_pack, path, init=slice(None, "2000-10")).load()
    before, blocks = files(path), len(counted)
    store = LocalStore(path, read_only=True) if way == "a store" else path
    if way == "a disk":
        monkeypatch.setattr("os.access", lambda *_: False)
    again = hindcast(ssta, tiny_pack, store, init=slice(None, "2000-10"))
    xr.testing.assert_identical(again.load(), made)
    assert len(counted) == blocks
    with pytest.raises(ValueError, match="can be written.*\n.*found 2 inits missing"):
        hindcast(ssta, tiny_pack, store)
    with pytest.raises(ValueError, match="the data that"):
        hindcast(ssta + 1, tiny_pack, store, init=slice(None, "2000-10"))
    assert files(path) == before
    (path / "ssta" / "c.3.0.0.0").unlink()
    with pytest.raises(ValueError, match="can be written.*\n.*found 1 inits missing"):
        hindcast(ssta, tiny_pack, store, init=slice(None, "2000-10"))
    (tmp_path / "new").mkdir()
    with pytest.raises(ValueError, match="found 10 inits missing"):
        hindcast(ssta, tiny_pack, LocalStore(tmp_path / "new", read_only=True))


# --- the command


def test_the_command_makes_the_same_store_and_goes_on(ssta, tiny_pack, tmp_path, capsys, compiled):
    named = {"standard_name": "sea_surface_temperature", "units": "degC"}
    sst = (ssta + 20).drop_attrs(deep=False).rename("sst").assign_attrs(named)
    later = sst.assign_coords(time=sst.time + np.timedelta64(366, "D"))
    ds = xr.concat([sst, later], "time").to_dataset().assign_attrs(title="mine")
    ds.to_netcdf(tmp_path / "in.nc")
    words = ["hindcast", str(tmp_path / "in.nc"), "--pack", str(tiny_pack.path), "--lead", "1"]
    words += ["--anomaly", "2000", "2001", "-o", str(tmp_path / "h.zarr")]
    for _ in range(2):
        assert main(words) == 0
        assert f"{tmp_path / 'h.zarr'}: 22 x 1 (init x lead) of sst by" in capsys.readouterr().out
    with xr.open_zarr(tmp_path / "h.zarr") as found:
        assert found.attrs["source"].endswith("pack tiny 1, from mine")
        assert found["sst"].attrs["climatology_period"] == "2000-01/2001-12"
    assert main([*words, "--init", "2000-06/2000-08"]) == 2
    assert "expected the init that" in capsys.readouterr().err
    for option, found in ((["--precision", "bf16"], "bf16"), (["--compile"], "True")):
        assert main([*words, *option]) == 2
        assert f"found {found}; try another store" in capsys.readouterr().err
    other = str(tmp_path / "other.zarr")
    assert main([*words[:-1], other, "--precision", "bf16", "--compile"]) == 0
    assert len(compiled) == 1
    with xr.open_zarr(other) as found:
        assert "; in bf16;" in found["sst"].attrs["history"]
    assert main([*words[:-1], str(tmp_path / "h.nc")]) == 2
    assert "expected a Zarr store" in capsys.readouterr().err


def test_a_pack_of_any_domain_runs_whole_batches(monkeypatch):
    """80 x 80 cells make batches of 9 (60,000 elements): 18 inits are two of them, and no more."""
    rows = []
    predict = engine.predict

    def counted(model, x, *rest):
        rows.append(-(-len(x) // rest[1].batch_size) * rest[1].batch_size)
        return predict(model, x, *rest)

    monkeypatch.setattr(engine, "predict", counted)
    time = pd.date_range("2000-01-01", periods=18, freq="D")
    values = np.ones((18, 80, 80), np.float32)
    da = xr.DataArray(values, {"time": time}, ("time", "y", "x"), "t", {"units": "1"})
    xef.hindcast(da, "persistence", "memory://any-domain.zarr", lead=1)
    assert rows == [9, 9]


@pytest.mark.parametrize(
    ("batch_size", "megabytes", "light", "inits"),
    [(9, 1, 0, 9), (2, 1, 0, 8), (9, 14, 0, 9), (9, 50, 0, 5), (1, 500, 0, 1), (3, 1, 1, 63)],
)
def test_a_block_is_whole_batches_that_fit(batch_size, megabytes, light, inits):
    """About 8 inits in 256 MiB, of a light model 64: 18 of 14 MB are two batches of 9."""
    answer = xr.DataArray(dask.array.empty((40, megabytes * 250_000), dtype="float32"))
    module = importlib.import_module("xearthformer.hindcasts.hindcast")
    assert module._inits_per_block([answer], batch_size, bool(light)) == inits
