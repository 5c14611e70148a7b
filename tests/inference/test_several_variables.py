"""Packs of several variables, and of inputs that nobody brings."""

from functools import partial

import numpy as np
import pytest
import xarray as xr
from small_ocean import SST, ZOS, Adds, AddsConfig, ocean, save

import xearthformer as xef
from xearthformer.models import MODELS


@pytest.fixture
def adds(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "adds", (AddsConfig, Adds, {}))
    return partial(save, tmp_path / "adds")


def test_variables_in_variables_out(adds):
    ds = ocean()
    fc = ds.earthformer.forecast(adds())
    assert dict(fc.sizes) == {"init": 1, "lead": 2, "lat": 3, "lon": 2}
    assert fc.attrs["title"] == "Forecast of sst, zos by pack adds 1" and list(fc) == ["sst", "zos"]
    # from June: sst 5 and zos .5; the sine of month 6 of 12 is 0
    np.testing.assert_allclose(fc["sst"], 10.0, atol=1e-6)
    np.testing.assert_allclose(fc["zos"], 0.5, atol=1e-6)
    assert (fc["sst"].attrs["units"], fc["zos"].attrs["units"]) == ("degC", "m")
    assert "forecast by pack adds 1" in fc["zos"].attrs["history"]


def test_known_months_go_on_in_a_roll_out(adds):
    fc = ocean().earthformer.forecast(adds(), init="2000-03", lead=4)
    # March is the last month read at first (sine 1), then the last month forecast, May (sine .5)
    np.testing.assert_allclose(fc["zos"][0, :, 0, 0], [1.2, 1.2, 1.7, 1.7], atol=1e-6)
    np.testing.assert_allclose(fc["sst"][0, :, 0, 0], [4.0, 4.0, 16.0, 16.0], atol=1e-5)


def test_in_units_scales_and_an_order_of_its_own(adds):
    zos = {**ZOS, "scale": {"offset": 0.0, "factor": 0.5}}
    pack = adds(inputs={"sst": {**SST, "scale": {"factor": 2.0}}, "zos": zos})
    ds = ocean().isel(lat=slice(None, None, -1)).transpose("lon", "time", "lat")
    ds["zos"] = (ds["zos"] * 100).assign_attrs(ds["zos"].attrs, units="cm")
    fc = ds.earthformer.forecast(pack)
    assert fc["zos"].dims == ("init", "lead", "lon", "lat") and fc["lat"].values[0] == 2
    # scaled: 5 / 2 + 10 * .5 / .5 = 12.5, times 2
    np.testing.assert_allclose(fc["sst"], 25.0, atol=1e-5)
    np.testing.assert_allclose(fc["zos"], 50.0, atol=1e-4)


def test_lazy_is_the_same_bits(adds):
    pack = adds()
    ds = ocean(24)
    now = ds.earthformer.forecast(pack, init=slice("2000-04", None), lead=3)
    lazy = ds.chunk(time=5).earthformer.forecast(
        pack, init=slice("2000-04", None), lead=3, chunks=4
    )
    assert lazy["sst"].chunks is not None and lazy["zos"].chunks is not None
    xr.testing.assert_identical(lazy.compute(), now)


def test_a_hindcast_of_both(adds, tmp_path):
    pack, ds = adds(), ocean(12)
    fc = ds.earthformer.forecast(pack, init=slice("2000-06", None))
    hind = xef.hindcast(ds, pack, tmp_path / "both.zarr", init=slice("2000-06", None))
    np.testing.assert_array_equal(hind["sst"], fc["sst"])
    np.testing.assert_array_equal(hind["zos"], fc["zos"])
    changed = ds.assign(zos=ds["zos"] + 1)
    with pytest.raises(ValueError, match="other values at 2000-05-01"):
        xef.hindcast(changed, pack, tmp_path / "both.zarr", init=slice("2000-06", None))


def test_members_of_noise_of_its_own(adds):
    pack, ds = adds(), ocean(12)
    few = ds.earthformer.forecast(pack, init=["2000-06", "2000-08"], lead=3, members=2, seed=5)
    assert few["sst"].dims == ("init", "lead", "member", "lat", "lon")
    more = ds.chunk(time=3).earthformer.forecast(
        pack, init=slice("2000-03", None), lead=3, members=4, seed=5, chunks=1
    )
    same = more.sel(init=few["init"]).isel(member=[0, 1]).compute()
    np.testing.assert_array_equal(few["sst"], same["sst"])
    np.testing.assert_array_equal(few["zos"], same["zos"])
    assert few["sst"].attrs["seed"] == 5
    spread = float(more["sst"].std("member").mean())
    assert 0.2 < spread < 3 and not ds.earthformer.forecast(pack)["sst"].attrs.get("seed")


def test_fewer_outputs_than_inputs(adds, monkeypatch):
    predict = Adds.predict
    monkeypatch.setattr(Adds, "predict", lambda self, x: predict(self, x)[..., :1])
    pack = adds(outputs=["sst"])
    fc = ocean().earthformer.forecast(pack)
    assert list(fc) == ["sst"] and float(fc["sst"][0, 0, 0, 0]) == pytest.approx(10)
    with pytest.raises(ValueError, match="(?s)lead up to 2: pack 'adds' doesn't forecast all") as e:
        ocean().earthformer.forecast(pack, lead=3)
    hint = str(e.value).rpartition("try ")[2]
    assert ocean().earthformer.forecast(pack, **eval(f"dict({hint})")).sizes["lead"] == 2


# --- variables that are not there, or not together


def test_a_data_array_is_for_packs_of_one(adds):
    pack, ds = adds(), ocean()
    expected = r"(?s)a Dataset of sst \(sea_surface_temp.* and zos .*found the DataArray 'sst'"
    with pytest.raises(ValueError, match=expected) as error:
        ds["sst"].earthformer.forecast(pack)
    line = str(error.value).rpartition("try ")[2].partition(", with")[0]
    line = line.replace("...", 'ds["sst"]', 1).replace("...", 'ds["zos"]', 1)
    fc = eval(line, {"xr": xr, "ds": ds}).earthformer.forecast(pack)
    xr.testing.assert_equal(fc, ds.earthformer.forecast(pack))


def test_a_missing_variable_lists_names(adds):
    with pytest.raises(ValueError, match="(?s)sea_surface_height_above_geoid.*found.*sst"):
        ocean()[["sst"]].earthformer.forecast(adds())


def test_a_substitute_stands_in(adds):
    """1 m of zos for 100 m of the depth of 20 degC."""
    depth = "depth_of_isosurface_of_sea_water_potential_temperature"
    zos = {**ZOS, "substitutes": {depth: {"units": "m", "factor": 0.01}}}
    pack, ds = adds(inputs={"sst": SST, "zos": zos}), ocean()
    fc = ds.earthformer.forecast(pack)
    d20 = (ds["zos"] * 100).assign_attrs(units="m", long_name="anomaly of the depth of 20 degC")
    other = ds.drop_vars("zos").assign(d20=d20)
    instead = other.earthformer.forecast(pack)
    np.testing.assert_allclose(instead["sst"], fc["sst"], atol=1e-5)
    np.testing.assert_allclose(instead["d20"], fc["zos"] * 100, atol=1e-4)
    assert "read in place of zos" in instead["d20"].attrs["history"]
    with pytest.raises(ValueError, match="(?s)zos: sea_surface_height_above_geoid.*t20d") as error:
        other.rename(d20="depth").earthformer.forecast(pack)
    assert 'ds.rename({"...": "zos"})' in str(error.value)
    again = other.rename(d20="depth").rename({"depth": "d20"}).earthformer.forecast(pack)
    xr.testing.assert_identical(again, instead)


def test_time_axes_that_agree_by_month(adds):
    pack, ds = adds(), ocean()
    middle = ds["time"].to_index() + np.timedelta64(14, "D")
    zos = ds["zos"].assign_coords(time=middle).rename(time="t")
    fc = xr.Dataset({"sst": ds["sst"], "zos": zos}).earthformer.forecast(pack, init="2000-05")
    xr.testing.assert_equal(fc, ds.earthformer.forecast(pack, init="2000-05"))


def test_time_axes_that_do_not_agree(adds):
    pack, ds = adds(), ocean()
    zos = ocean(start="2000-03")["zos"].rename(time="t")
    both = xr.Dataset({"sst": ds["sst"], "zos": zos})
    spans = r"(?s)sst 2000-01-01 to 2000-06-01 \(6\), zos 2000-03-01 to 2000-08-01 \(6\)"
    with pytest.raises(ValueError, match=spans) as error:
        both.earthformer.forecast(pack)
    mended = eval(str(error.value).rpartition("try ")[2], {"ds": both})
    fc = mended.earthformer.forecast(pack)
    assert fc["init"].values[0] == np.datetime64("2000-06-01")
    np.testing.assert_allclose(fc["zos"], 0.3, atol=1e-6)  # the height of June, its fourth month


def test_grids_of_their_own(adds):
    """The height comes on cells half as wide: each is taken onto the pack's grid, and back."""
    ds = ocean()
    lat, lon = np.arange(-2.5, 3, 1.0), np.arange(-0.5, 3, 1.0)
    zos = ds["zos"].reindex(lat=lat, lon=lon, method="nearest").rename(lat="y", lon="x")
    zos = zos.assign_coords(
        y=("y", lat, {"units": "degrees_north"}), x=("x", lon, {"units": "degrees_east"})
    )
    fc = ds.assign(zos=zos).earthformer.forecast(adds())
    assert fc["zos"].dims == ("init", "lead", "y", "x") and fc["sst"].dims[2:] == ("lat", "lon")
    np.testing.assert_allclose(fc["sst"], 10.0, atol=1e-5)
    np.testing.assert_allclose(
        fc["zos"].dropna("y", how="all").dropna("x", how="all"), 0.5, atol=1e-5
    )


def test_another_baseline(adds):
    ds = ocean()
    against = {"climatology_period": "1971-01/2000-12"}
    other = ds.assign({name: da.assign_attrs(against) for name, da in ds.items()})
    strict = adds(baseline={"period": ["1981", "2010"]})
    with pytest.raises(
        ValueError, match=r"(?s)against 1981-2010.*found sst against 1971-01/2000-12"
    ):
        other.earthformer.forecast(strict)
    ds.earthformer.forecast(strict)  # data that doesn't say is taken as it is
    blind = adds(baseline={"period": ["1981", "2010"], "blind": True})
    history = other.earthformer.forecast(blind)["sst"].attrs["history"]
    assert "anomalies against 1971-01/2000-12, which the pack hardly depends on" in history


def test_a_baseline_is_a_period_however_it_is_written(adds):
    """January 2001 to December 2003 is the card's period; 2004 is another, in the same record."""
    ds, strict = ocean(48, "2001-01"), adds(baseline={"period": ["2001", "2003"]})
    for written in ("2001-01/2003-12", "2001/2003", "2001-01-01/2003-12-31"):
        stated = {name: da.assign_attrs(climatology_period=written) for name, da in ds.items()}
        assert (
            ds.assign(stated).earthformer.forecast(strict).equals(ds.earthformer.forecast(strict))
        )
    other = ds.earthformer.rebase(("2004", "2004"))
    with pytest.raises(ValueError, match="(?s)against 2001-2003.*found sst against 2004-01") as e:
        other.earthformer.forecast(strict)
    half = eval(str(e.value).rpartition("try ")[2], {"ds": other})
    with pytest.raises(ValueError, match="found zos against 2004-01") as e:
        half.earthformer.forecast(strict)
    mended = eval(str(e.value).rpartition("try ")[2], {"ds": half}).earthformer.forecast(strict)
    right = ds.earthformer.rebase(("2001", "2003")).earthformer.forecast(strict)
    np.testing.assert_allclose(mended["sst"], right["sst"], atol=1e-5)
    with pytest.raises(ValueError, match=r"anomaly\(climatology=\(\"2001\", \"2003\"\)\)"):
        other.sel(time="2004").earthformer.forecast(strict)


@pytest.mark.parametrize("factor", [0.01, -0.01])
def test_a_substitute_has_the_range_of_the_input(adds, factor):
    """Heights from -1 to 3 m are depths from -100 to 300 m, or from -300 to 100 m."""
    depth = "depth_of_isosurface_of_sea_water_potential_temperature"
    zos = {**ZOS, "valid_min": -1.0, "valid_max": 3.0}
    zos["substitutes"] = {depth: {"units": "m", "factor": factor}}
    own = adds(inputs={"sst": SST, "zos": zos}).card.inputs["zos"].substituted(depth)
    low, high = sorted((-1 / factor, 3 / factor))
    assert (own.valid_min, own.valid_max) == pytest.approx((low, high))


# --- values


def test_missing_values_of_one_of_several_variables(adds):
    pack, ds = adds(), ocean()
    hole = ds.assign(zos=ds["zos"].where(ds["lat"] < 2))
    with pytest.raises(ValueError, match="4 of 12 missing or infinite in zos") as error:
        hole.earthformer.forecast(pack)
    mended = eval(str(error.value).rpartition("try ")[2].split(", which")[0], {"ds": hole})
    expected = ds.assign(zos=ds["zos"].where(ds["lat"] < 2, 0)).earthformer.forecast(pack)
    xr.testing.assert_equal(mended.earthformer.forecast(pack), expected)


def test_a_variable_that_ends_before_the_other(adds):
    """Merged, the height is missing in May and June: the record ends in April."""
    pack, ds = adds(), ocean()
    merged = xr.merge([ds[["sst"]], ds[["zos"]].isel(time=slice(4))], join="outer")
    with pytest.raises(ValueError, match="missing or infinite in zos") as error:
        merged.earthformer.forecast(pack)
    mended = eval(str(error.value).rpartition("try ")[2].split(", the")[0], {"ds": merged})
    xr.testing.assert_equal(
        mended.earthformer.forecast(pack), ds.earthformer.forecast(pack, init="2000-04")
    )


def test_values_beyond_the_range_of_one_of_several_variables(adds):
    pack = adds(inputs={"sst": SST, "zos": {**ZOS, "valid_min": -3.0, "valid_max": 3.0}})
    ds = ocean()
    wrong = ds.assign(zos=(ds["zos"] * 100).assign_attrs(ds["zos"].attrs))  # cm, labelled m
    with pytest.raises(ValueError, match="and in all 12 of 12 such values in zos") as error:
        wrong.earthformer.forecast(pack)
    hint = str(error.value).rpartition("try ")[2].split(", with")[0].replace("...", '"cm"')
    mended = eval(hint, {"ds": wrong}).earthformer.forecast(pack)
    np.testing.assert_allclose(mended["sst"], 10.0, atol=1e-5)
    bare = ds.assign(zos=ds["zos"].assign_attrs(units=""))
    with pytest.raises(ValueError, match="no attribute units of zos"):
        bare.earthformer.forecast(pack)


def test_one_of_two_variables_of_a_quantity(adds):
    ds = ocean()
    two = ds.assign(ssh=ds["zos"] * 2)
    two["ssh"].attrs = ds["zos"].attrs
    with pytest.raises(ValueError, match="(?s)found 2:.*zos.*ssh") as error:
        two.earthformer.forecast(adds())
    mended = eval(str(error.value).rpartition("try ")[2].split(", to keep")[0], {"ds": two})
    xr.testing.assert_equal(mended.earthformer.forecast(adds()), ds.earthformer.forecast(adds()))


# --- the card


def test_a_card_of_several_variables_comes_back(adds):
    pack = adds(baseline={"period": [1981, 2010]})
    assert pack.card.baseline.period == ("1981", "2010")
    assert xef.open_pack(pack.path).card == pack.card and pack.card.channels == 4
    assert '"format": 2' in (pack.path / "card.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ["zos", "sst"]}, "in their order"),
        ({"outputs": ["t300"]}, "must be some of the inputs"),
        ({"known": ["land"]}, "needs grid.land"),
        ({"known": ["latitude"], "grid": None}, "needs a grid of latitudes"),
        (
            {"inputs": {"sst": {**SST, "land": ["#"]}}, "outputs": ["sst"]},
            "inputs.sst.land must be",
        ),
        ({"known": ["weather"]}, "known"),
        ({"baseline": {"period": ["1981-07", "2011-06"]}}, "baseline.period.0"),
    ],
)
def test_a_card_that_is_refused(adds, change, message):
    with pytest.raises(ValueError, match=message):
        adds(**change)
