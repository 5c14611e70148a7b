"""Hindcasts and commands of a pack that samples: the same members, and stores of one ensemble."""

from dataclasses import fields

import numpy as np
import pytest
import xarray as xr
import zarr
from small_nowcast import small_nowcast
from small_prediff import rain, save
from zarr.storage import LocalStore, MemoryStore

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.hindcasts.store import read_record
from xearthformer.inference.options import Options
from xearthformer.models.layers.parallel import one_thread


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return save(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(autouse=True)
def threads():
    with one_thread():
        yield


HOW = {"members": 3, "steps": 2, "batch_size": 4}


def test_a_hindcast_of_members_is_the_forecast_and_goes_on(pack, tmp_path):
    da = rain()
    da[:, 5, :] = float("inf")  # the last three inits can't be forecast
    some = xef.hindcast(da, pack, tmp_path / "h.zarr", on_error="skip", chunks=1, **HOW)
    assert "3 of 6" in some.attrs["incomplete"]
    done = xef.hindcast(rain(), pack, tmp_path / "h.zarr", on_error="skip", chunks=1, **HOW)
    whole = rain().earthformer.forecast(pack, init=slice(None), **HOW)
    assert "incomplete" not in done.attrs and done["rr"].dims == whole.dims
    xr.testing.assert_equal(done["rr"].load(), whole)


def test_a_hindcast_of_members_of_a_nowcast_grows(tmp_path):
    """What is known is that of all members, and has no such dim."""
    pack, store = small_nowcast(tmp_path), tmp_path / "h.zarr"
    da = xef.synthetic_storms(3, events=1, size=40, frames=8)["rain_rate"].isel(event=0, drop=True)
    xef.hindcast(da[:6], pack, store, members=2)
    done = xef.hindcast(da, pack, store, members=2)
    whole = da.earthformer.forecast(pack, init=slice(None), members=2)
    assert done["rain_rate"].sizes["init"] == 5 and done["known"].dims == ("init", "lead", "y", "x")
    np.testing.assert_array_equal(done["rain_rate"], whole)
    np.testing.assert_array_equal(done["known"], whole["known"])
    with pytest.raises(ValueError, match="(?s)2 members of seed 0.*found none.*another store"):
        xef.hindcast(da, pack, store)


@pytest.mark.parametrize("chunks", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_a_hindcast_of_products_is_the_forecasts_and_grows(tmp_path, chunks):
    """Amounts, their probabilities and quantiles: one lead of three; no member is kept."""
    pack, store = small_nowcast(tmp_path), tmp_path / "h.zarr"
    da = xef.synthetic_storms(3, events=1, size=40, frames=8)["rain_rate"].isel(event=0, drop=True)
    kept = {
        "members": 3,
        "products": xef.Products([0.1, 1], quantiles=[0.2, 0.9], mean=True, accumulate="15min"),
    }
    xef.hindcast(da[:6], pack, store, chunks=chunks, **kept)
    done = xef.hindcast(da.chunk(time=3), pack, store, chunks=chunks, **kept)
    amounts = da.earthformer.forecast(pack, init=slice(None), members=3).earthformer.accumulate(
        "15min"
    )
    assert done.sizes["init"] == 5 and "incomplete" not in done.attrs
    kinds = "quantiles", "mean", "spread"
    assert {*done.data_vars} == {"probability", *(f"rain_amount_{kind}" for kind in kinds)}
    mean = amounts.astype(float).mean("member").astype("f4")
    np.testing.assert_array_equal(done["rain_amount_mean"], mean)
    chances = amounts.earthformer.exceedance([0.1, 1])
    np.testing.assert_array_equal(done["probability"], chances)
    np.testing.assert_array_equal(done["threshold"], chances["threshold"])
    np.testing.assert_array_equal(
        done["rain_amount_quantiles"], amounts.earthformer.quantiles([0.2, 0.9])
    )
    np.testing.assert_array_equal(done["known"], amounts["known"])
    assert done["lead"].values.tolist() == amounts["lead"].values.tolist()
    for other in (None, xef.Products(quantiles=[0.2, 0.9])):
        message = "(?s)the products that .* --exceed 0.1 1 --quantiles.* --mean.*another store, or"
        with pytest.raises(ValueError, match=message):
            xef.hindcast(da, pack, store, members=3, products=other)


def test_products_of_a_finished_store_and_what_is_none(tmp_path):
    pack, store = small_nowcast(tmp_path), tmp_path / "h.zarr"
    da = xef.synthetic_storms(3, events=1, size=40, frames=5)["rain_rate"].isel(event=0, drop=True)
    da.to_netcdf(tmp_path / "rain.nc")
    words = [str(tmp_path / "rain.nc"), "--pack", str(pack.path), "-o", str(store)]
    asked = ["--members", "2", "--exceed", "0.5", "--window", "3"]
    assert main(["hindcast", *words, *asked]) == 0
    opened = LocalStore(store, read_only=True)
    wanted = xef.Products(exceed=[0.5], window=3)
    done = xef.hindcast(da, pack, opened, members=2, products=wanted)
    fc = da.earthformer.forecast(pack, init=slice(None), members=2)
    expected = fc.earthformer.exceedance([0.5], window=3)
    np.testing.assert_array_equal(done["probability"], expected)
    with pytest.raises(ValueError, match="an ensemble, with the dim member"):
        xef.hindcast(da, pack, tmp_path / "o.zarr", products=wanted)
    with pytest.raises(ValueError, match="thresholds, for window"):
        xef.hindcast(da, pack, tmp_path / "o.zarr", products=xef.Products(window=3))
    assert [*(tmp_path / "o.zarr").rglob("*")] == []


@pytest.mark.parametrize(
    "other",
    [
        {"members": 4},
        {"seed": 1},
        {"steps": 3},
        {"sampler": "ddim"},
        {"guidance": xef.anticipated_intensity(sigmas=2)},
    ],
)
def test_a_store_of_another_ensemble_is_refused(pack, tmp_path, other):
    xef.hindcast(rain(steps=3), pack, tmp_path / "h.zarr", **HOW)
    with pytest.raises(ValueError, match="ensemble|grid|lead"):
        xef.hindcast(rain(steps=3), pack, tmp_path / "h.zarr", **{**HOW, **other})


def test_the_record_of_an_ensemble_stays_as_it_was(pack):
    """What version 0.1 wrote, in its words: its stores must go on to be resumed."""
    store, guidance = MemoryStore(), xef.anticipated_intensity(sigmas=2)
    xef.hindcast(rain(steps=3), pack, store, guidance=guidance, **HOW)
    assert zarr.open_group(store, path="hindcast_log", mode="r").attrs["ensemble"] == (
        "3 members of seed 0 by dpm++ in 2 steps, guided by "
        "anticipated_intensity(sigmas=2.0, scale=50.0)"
    )


def test_the_commands_take_members(pack, tmp_path, capsys):
    rain().to_netcdf(tmp_path / "rain.nc")
    words = [str(tmp_path / "rain.nc"), "--pack", str(pack.path), "--members", "2", "--steps", "2"]
    words += ["--seed", "5"]
    assert main(["forecast", *words, "-o", str(tmp_path / "fc.nc"), "--sigmas", "3"]) == 0
    assert "1 x 2 x 2 (init x lead x member)" in capsys.readouterr().out
    with xr.open_dataset(tmp_path / "fc.nc") as ds:
        assert ds["rr"].attrs["seed"] == 5 and "sigmas=3.0" in ds["rr"].attrs["history"]
        assert ds["member"].attrs["standard_name"] == "realization"
    assert main(["hindcast", *words, "-o", str(tmp_path / "h.zarr")]) == 0
    assert "6 x 2 x 2 (init x lead x member)" in capsys.readouterr().out


def test_another_constraint_of_the_same_name_makes_another_store(pack, tmp_path):
    """Two functions called `total` differ by their code, or by a number that they refer to."""

    def made(dims, factor=1.0):
        def total(fc, past):
            return fc.mean(*dims) * factor

        return xef.constraint(total, target=1.0)

    da = rain()
    how = HOW | {"members": 1}
    store = tmp_path / "h.zarr"
    xef.hindcast(da, pack, store, guidance=made(("lead", "northing", "easting")), **how)
    xef.hindcast(da, pack, store, guidance=made(("lead", "northing", "easting")), **how)
    for other in (made(("northing", "easting")), made(("lead", "northing", "easting"), 2.0)):
        with pytest.raises(ValueError, match="the constraints that .* was made with"):
            xef.hindcast(da, pack, store, guidance=other, **how)


def test_a_batch_that_decides_bits_is_the_stores(pack, tmp_path):
    da = rain()
    how = HOW | {"members": 2}
    first = xef.hindcast(da, pack, tmp_path / "h.zarr", **how).load()
    with pytest.raises(ValueError, match="batch size that .*: 4\n.*found 3"):
        xef.hindcast(da, pack, tmp_path / "h.zarr", **how | {"batch_size": 3})
    again = xef.hindcast(da, pack, tmp_path / "h.zarr", **how | {"batch_size": "auto"})
    xr.testing.assert_identical(again.load(), first)


# another value of each option of a forecast
OPTIONS = {
    "lead": 3,
    "members": 4,
    "seed": 1,
    "sampler": "ddim",
    "steps": 3,
    "guidance": xef.constraint(lambda fc, past: fc.mean("lead", "northing", "easting")),
    "batch_size": 3,
    "precision": "bf16",
    "compile": True,
    "device": "meta",
}


def test_the_record_names_every_option_that_decides_bits(pack, monkeypatch):
    """A new option is part of the record too; `beyond` is that of nowcasts alone."""
    monkeypatch.setattr("xearthformer.hindcasts.hindcast._fill", lambda *args: None)

    def record(**options):
        store = MemoryStore()
        xef.hindcast(rain(), pack, store, **HOW | options)
        return read_record(store)

    assert {field.name for field in fields(Options)} == {*OPTIONS, "beyond"}
    usual = record()
    for name, value in OPTIONS.items():
        assert record(**{name: value}) != usual, name
    assert record(device="cpu") == usual
