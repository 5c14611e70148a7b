"""Products of members by the commands: what is written is what Python gives; hints, typed, work."""

import shlex

import numpy as np
import pytest
import xarray as xr
from small_prediff import save
from small_radar import small_rain
from small_still import still_pack

from xearthformer.cli import main
from xearthformer.cli.watch import watch
from xearthformer.inference import tasks
from xearthformer.verification.request import Products

DRAWN = ["--members", "3", "--seed", "1", "--steps", "2"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """An ensemble of 16 x 16 pixels of a kilometre, every ten minutes."""
    return save(tmp_path_factory.mktemp("pack") / "tiny")


@pytest.fixture(scope="module")
def rain(pack):
    values = np.random.default_rng(0).gamma(0.5, 4, (pack.card.context, 16, 16))
    return small_rain(values, step="10min")


@pytest.fixture(scope="module")
def members(rain, pack):
    return rain.earthformer.forecast(pack, members=3, seed=1, steps=2)


@pytest.fixture
def run(rain, pack, tmp_path):
    rain.to_dataset().to_netcdf(tmp_path / "in.nc")

    def run(*words, pack=pack, out="out.nc", drawn=DRAWN):
        place = [str(tmp_path / "in.nc"), "--pack", str(pack.path), "-o", str(tmp_path / out)]
        return main(["forecast", *place, *drawn, *words])

    return run


@pytest.mark.parametrize("out", ["out.nc", "out.zarr"])
def test_probabilities_and_quantiles_in_place_of_members(run, members, tmp_path, capsys, out):
    asked = ["--exceed", "0.5", "5 mm/h", "--window", "3 km", "--quantiles", "0.1", "0.9"]
    assert run(*asked, out=out) == 0
    said = f"{tmp_path / out}: 1 x {members.sizes['lead']} (init x lead) of probability and"
    assert f"{said} rain_rate_quantiles by tiny-prediff" in capsys.readouterr().out
    with xr.open_dataset(tmp_path / out, decode_coords="all") as found:
        assert {*found.data_vars} == {"probability", "rain_rate_quantiles"}
        chances = members.earthformer.exceedance([0.5, 5], window="3 km")
        xr.testing.assert_allclose(found["probability"].load(), chances)
        between = members.earthformer.quantiles([0.1, 0.9])
        xr.testing.assert_allclose(found["rain_rate_quantiles"].load(), between)
        assert found["threshold"].attrs["units"] == "mm h-1"
        assert found["probability"].attrs["members"] == 3
        assert found["probability"].attrs["products"] == shlex.join(
            ["--exceed", "0.5", "5 mm/h", "--window", "3 km", "--quantiles", "0.1", "0.9"]
        )
        assert "crs_wkt" in found["crs"].attrs and "long_name" not in found.attrs
        assert found["valid_time"].attrs == members["valid_time"].attrs


def test_amounts_of_members_and_their_probabilities(run, members, pack, tmp_path):
    period = f"{10 * pack.card.lead}min"
    assert run("--accumulate", period, "--exceed", "0.1", "--anywhere", "--window", "4") == 0
    amounts = members.earthformer.accumulate(period)
    chances = amounts.earthformer.exceedance([0.1], window=4, anywhere=True)
    with xr.open_dataset(tmp_path / "out.nc") as found:
        assert [*found.data_vars] == ["probability"] and found.sizes["lead"] == 1
        xr.testing.assert_allclose(found["probability"].load(), chances)
        assert found["lead_start"].values == np.timedelta64(0)
    assert run("--accumulate", period, "--quantiles", "0.5", "--with-members", "--overwrite") == 0
    with xr.open_dataset(tmp_path / "out.nc") as found:
        assert [*found.data_vars] == ["rain_amount_quantiles", "rain_amount"]
        xr.testing.assert_allclose(found["rain_amount"].load(), amounts)
    assert run("--accumulate", period, "--overwrite") == 0
    with xr.open_dataset(tmp_path / "out.nc") as found:
        xr.testing.assert_allclose(found["rain_amount"].load(), amounts)


def test_mean_and_spread_in_place_of_members(run, members, tmp_path):
    assert run("--mean") == 0
    values = members.values.astype(float)
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as found:
        assert [*found.data_vars] == ["rain_rate_mean", "rain_rate_spread"]
        mean, spread = found["rain_rate_mean"].load(), found["rain_rate_spread"].load()
        np.testing.assert_allclose(mean, values.mean(2), rtol=1e-6)
        np.testing.assert_allclose(spread, values.std(2, ddof=1), rtol=1e-6)
        assert mean.dims == ("init", "lead", "y", "x") and mean.attrs["units"] == "mm h-1"
        assert spread.attrs["cell_methods"] == "realization: standard_deviation"
        assert mean.attrs["products"] == "--mean" and mean.attrs["members"] == 3


def test_amounts_of_a_single_forecast(rain, run, tmp_path):
    still = still_pack(tmp_path, context=1, lead=2)
    five = small_rain(rain.values, step="5min")
    five.to_dataset().to_netcdf(tmp_path / "in.nc")
    assert run("--accumulate", "10min", pack=still, drawn=[]) == 0
    with xr.open_dataset(tmp_path / "out.nc") as found:
        np.testing.assert_allclose(found["rain_amount"][0, 0], rain[-1] / 6, rtol=1e-6)


def test_geotiff_of_one_product_and_of_several(run, members, pack, tmp_path):
    """Thresholds are bands; several products have their names in those of the files."""
    rioxarray = pytest.importorskip("rioxarray")
    assert run("--exceed", "0.5", "5", out="one.tif") == 0
    paths = sorted(tmp_path.glob("one*"))
    assert len(paths) == pack.card.lead and paths[0].stem.endswith("_010min")
    found = rioxarray.open_rasterio(paths[0])
    chances = members.earthformer.exceedance([0.5, 5])
    np.testing.assert_allclose(found, chances[0, 0])
    assert found.attrs["long_name"] == ("threshold 0.5 mm h-1", "threshold 5 mm h-1")
    assert found.attrs["products"] == "--exceed 0.5 5" and found.attrs["members"] == 3
    assert run("--exceed", "0.5", "--quantiles", "0.9", "--mean", out="two.tif") == 0
    names = {path.stem.rpartition("_20")[0] for path in tmp_path.glob("two*")}
    kinds = "probability", "rain_rate_quantiles", "rain_rate_mean", "rain_rate_spread"
    assert names == {f"two_{kind}" for kind in kinds}


REFUSED = {
    "members": (["--exceed", "1"], "an ensemble, with the dim member", "--members 50"),
    "units": (["--exceed", "5 K"], "units of the forecast, mm h-1", "--exceed 0.5 1 5, in mm h-1"),
    "amount": (
        ["--exceed", "10 mm"],
        "of the forecast, mm h-1",
        "--accumulate {} --exceed '10 mm'",
    ),
    "length": (["--exceed", "1", "--window", "-3"], "a window of 1", "--window '16 km', or"),
    "window": (["--window", "3"], "thresholds, for window", "--exceed 0.5 1 5"),
    "anywhere": (
        ["--exceed", "1", "--anywhere"],
        "a window, for anywhere",
        "--window '16 km' --anywhere",
    ),
    "one": (["--mean", "--members", "1"], "two members or more, for their spread", "--members 50"),
    "percent": (["--quantiles", "10", "90"], "quantiles from 0 to 1", "--quantiles 0.1 0.9"),
    "period": (["--accumulate", "7min"], "leads that fill periods of 7min", "--accumulate {}"),
    "with": (["--with-members"], "products, with members next to them", "the same without"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_before_anything_is_computed(run, pack, monkeypatch, capsys, what):
    def never(*_, **__):
        raise AssertionError("something was computed")

    words, found, hint = REFUSED[what]
    hint = hint.format(f"{10 * pack.card.lead}min")
    drawn = DRAWN if what != "members" else ["--pack", "persistence"]
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "run", never)
        assert run(*words, drawn=drawn) == 2
    said = capsys.readouterr().err
    assert found in said and f"; try {hint}" in said
    typed = shlex.split(hint.partition(",")[0]) if what != "with" else []
    kept = (
        words
        if what in ("window", "members", "one")
        else ["--exceed", "1"] * (what in ("length", "anywhere"))
    )
    assert run(*kept, *typed, drawn=DRAWN[2:] if what == "members" else DRAWN) == 0


def test_odim_holds_no_probabilities(run, tmp_path, capsys):
    assert run("--exceed", "1", out="out.h5") == 2
    said = capsys.readouterr().err
    assert "file.nc, store.zarr or file.tif, for products" in said
    typed = said.strip().rpartition("try ")[2].split()
    assert typed == ["-o", str(tmp_path / "out.nc")] and run("--exceed", "1", *typed) == 0


def test_several_variables_have_no_thresholds_in_common():
    two = xr.Dataset({name: ("member", [0.0, 1.0]) for name in ("sst", "zos")})
    with pytest.raises(ValueError, match="one variable, for --exceed 1\n +found sst, zos"):
        Products(exceed=[1.0]).of(two)
    assert Products().of(two) is two


# --- of a folder that is watched


@pytest.mark.parametrize("kind", ["nc", "zarr", "tif"])
def test_a_watch_writes_products_once(rain, pack, members, tmp_path, kind):
    """The same again is not made; other products are."""
    if kind == "tif":
        pytest.importorskip("rasterio")
    (tmp_path / "in").mkdir()
    for k, stamp in enumerate(rain.time.dt.strftime("%H%M").values):
        rain[[k]].to_netcdf(tmp_path / "in" / f"{stamp}.nc")
    how = {"members": 3, "seed": 1, "steps": 2, "once": True, "format": kind}

    def now(**options):
        products = Products(exceed=[0.5, 5.0], **options)
        (event,) = watch(tmp_path / "in", pack, tmp_path / "out", products=products, **how)
        return event

    made = now(quantiles=[0.5])
    if kind != "tif":
        with xr.open_dataset(made.path) as found:
            chances = members.earthformer.exceedance([0.5, 5])
            xr.testing.assert_allclose(found["probability"].load(), chances)
    assert "nothing new" in str(now(quantiles=[0.5]))
    assert now(window="3 km").again == "with other options"
    assert "nothing new" in str(now(window="3 km"))


def test_a_watch_refuses_products_at_once(rain, pack, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    words = ["watch", str(tmp_path / "in"), "--pack", str(pack.path), "-o", str(tmp_path / "out")]
    assert main([*words, "--once", "--exceed", "10 mm", *DRAWN]) == 2
    hint = capsys.readouterr().err.strip().rpartition("try ")[2]
    assert hint == f"--accumulate {10 * pack.card.lead}min --exceed '10 mm'"
    assert main([*words, "--once", *shlex.split(hint), *DRAWN]) == 0
    assert main([*words, "--once", "--exceed", "1", "--format", "odim", *DRAWN]) == 2
    assert capsys.readouterr().err.strip().endswith("try --format nc")
