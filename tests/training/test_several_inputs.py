"""Training on several variables, from files to a forecast: ICAR-ENSO's fields, SEVIR's sensors."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from small_sevir import EVENTS, make

import xearthformer as xef
from xearthformer.datasets.icar_enso import ATTRS
from xearthformer.inference import engine
from xearthformer.packs.card import Card
from xearthformer.training.config import DataSource, call_with_entries, train_from_config
from xearthformer.training.records import frames_of, on_grid
from xearthformer.training.windows import Crop, Crops, Windows

EXAMPLES = Path(__file__).parents[2] / "examples"
FIELDS = "sst", "t300", "ua", "va"


def example(name, grid):
    """The entries of an example, of a network that trains in a second on a smaller grid."""
    entries = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    config = entries["model"]["config"]
    (t_in, _, _, c_in), (t_out, _, _, c_out) = config["input_shape"], config["target_shape"]
    height, width = grid
    small = {"base_units": 16, "num_heads": 2, "dropout": 0.0}
    small |= {"input_shape": [t_in, height, width, c_in]}
    small |= {"target_shape": [t_out, height, width, c_out]}
    small |= {"stem": {"kind": "conv", "scales": [[4, 4]], "convs": [1]}}
    entries["model"]["config"] = small
    entries["recipe"] = {"learning_rate": 0.001, "batch_size": 8, "epochs": 1}
    return entries


# --- the windows


def test_channels_known_beforehand_go_in_and_not_out():
    frames = torch.arange(12.0).reshape(4, 1, 1, 3)  # 4 frames of 3 channels
    windows = Windows(frames, torch.tensor([0]), 2, 1, torch.tensor([1]))
    x_BTHWC, y_BTHWC = windows[torch.tensor([0])]
    assert x_BTHWC.flatten().tolist() == [0, 1, 2, 3, 4, 5] and y_BTHWC.flatten().tolist() == [7]


def test_the_month_is_known_beyond_the_edge():
    frames = torch.ones(2, 4, 4, 2)  # of a variable and a known channel
    crops = Crops([frames], torch.tensor([[0, 0, -1, 2]]), 1, 1, 4, torch.tensor([0]), known=1)
    x_BTHWC, _ = crops[torch.tensor([0])]
    assert x_BTHWC[..., 0].isnan().sum() == 10 and (x_BTHWC[..., 1] == 1).all()


# --- the card


OCEAN = {
    name: {"standard_name": standard_name, "units": units, "difference": True}
    for name, standard_name, units in (
        ("sst", "sea_surface_temperature", "degC"),
        ("zos", "sea_surface_height_above_geoid", "m"),
    )
}


def learn(tmp_path, channels, out_channels=2, **card):
    """Train an Earthformer of 2 months in, 1 out, on 24 months of two variables, one cell land."""
    rng = np.random.default_rng(0)
    lat, lon = np.arange(-15.0, 20, 10), np.arange(160.0, 240, 10)
    time = xr.date_range("1990-01", periods=24, freq="MS")
    ds = xr.Dataset(coords={"time": time, "lat": lat, "lon": lon})
    for name, entries in OCEAN.items():
        values = rng.normal(size=(24, 4, 8)).astype("f4")
        values[:, 0, 0] = np.nan
        attrs = {"units": entries["units"], "long_name": f"{name} anomaly"}
        ds[name] = (("time", "lat", "lon"), values, attrs)
    config = {"input_shape": (2, 4, 8, channels), "target_shape": (1, 4, 8, out_channels)}
    config |= {"base_units": 16, "num_heads": 2, "dropout": 0.0}
    grid = {"kind": "latlon", "latitude": lat.tolist(), "longitude": lon.tolist()}
    card = {"inputs": OCEAN, "grid": grid, **card}
    recipe = xef.Recipe(epochs=1)
    paths = {"pack": tmp_path / "pack", "progress": False}
    return ds, xef.train("earthformer", ds, config=config, card=card, recipe=recipe, **paths)


def test_a_forecast_brings_the_known_channels_of_training(tmp_path, monkeypatch):
    ds, pack = learn(tmp_path, 6, known=["month", "latitude", "land"])
    assert pack.card.grid.land == ["#......."] + ["........"] * 3  # from the data
    seen, load = [], engine.load

    class Spy:
        def __init__(self, *given):
            self.model = load(*given)

        def predict(self, x_BTHWC):
            seen.append(x_BTHWC)
            return self.model.predict(x_BTHWC)

    monkeypatch.setattr(engine, "load", Spy)
    ds.earthformer.forecast(pack, init="1990-07", batch_size=1)
    frames_NHWC = frames_of(on_grid(ds, pack.card), pack.card)
    torch.testing.assert_close(seen[0][0], frames_NHWC[5:7], rtol=0, atol=0)
    # July: sin 210 degrees; 15S; land
    assert seen[0][0, -1, 0, 0].tolist() == pytest.approx([0, 0, -0.5, -(0.75**0.5), -1 / 6, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": ["weather"]}, r"known.0: Input should be 'month', .*found 'weather'"),
        ({"inputs": ["sst", "zos"]}, r"card.inputs alone.*(?s:.)*found \['sst', 'zos'\]"),
        ({"input": OCEAN["sst"]}, r"card.inputs alone.*(?s:.)*found also input"),
        ({"outputs": ["t300"]}, "outputs must be some of the inputs"),
        ({"inputs": {"sst": {"unit": "K"}}}, "inputs.sst.unit: Extra inputs are not permitted"),
    ],
)
def test_a_card_to_train_by_that_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        learn(tmp_path, 4, **change)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(("channels", "out_channels"), [(2, 1), (4, 2)])
def test_a_config_of_other_channels_is_refused(tmp_path, channels, out_channels):
    with pytest.raises(ValueError, match="4 channels in and 1 out") as error:
        learn(tmp_path, channels, out_channels, known=["month"], outputs=["sst"])
    assert "height 4, width 8" in str(error.value)


def test_a_run_for_other_outputs_is_another(tmp_path):
    """Channels, windows and frames are the same, and so would be the weights."""
    learn(tmp_path, 2, 1, outputs=["sst"])
    shutil.rmtree(tmp_path / "pack")
    with pytest.raises(ValueError, match=r"outputs \(there \['sst'\], here \['zos'\]\)"):
        learn(tmp_path, 2, 1, outputs=["zos"])


# --- ICAR-ENSO


@pytest.fixture(scope="module")
def icar(tmp_path_factory):
    """Two simulations of 44 and 40 months on 4 x 8 cells, as `open_icar_enso` gives them."""
    rng = np.random.default_rng(0)
    time = xr.date_range("0001-01-01", periods=44, freq="MS", calendar="noleap", use_cftime=True)
    coords = {
        "model": ("model", ["a", "b"]),
        "months": ("model", [44, 40]),
        "time": time,
        "lat": ("lat", [-15.0, -5.0, 5.0, 15.0], ATTRS["lat"]),
        "lon": ("lon", np.arange(160.0, 240, 10), ATTRS["lon"]),
    }
    ds = xr.Dataset(coords=coords)
    for name in FIELDS:
        values = rng.normal(size=(2, 44, 4, 8)).astype("f4")
        values[1, 40:] = np.nan  # after the end of the shorter record
        if name == "t300":
            values[..., 0, 0] = np.nan  # a shallow sea
        ds[name] = (("model", "time", "lat", "lon"), values, ATTRS[name])
    path = tmp_path_factory.mktemp("icar") / "icar.nc"
    ds.to_netcdf(path)
    return path


def test_icar_enso_learns_from_four_fields(icar, tmp_path):
    entries = example("icar_enso_fields", (4, 8))
    with xr.open_dataset(icar) as ds:
        latitude, longitude = ds["lat"].values.tolist(), ds["lon"].values.tolist()
    entries["card"]["grid"] = {"kind": "latlon", "latitude": latitude, "longitude": longitude}
    source = {"path": str(icar)}
    entries |= {"data": source, "validation": source, "pack": str(tmp_path / "icar")}
    card = call_with_entries(train_from_config, entries).card
    # 26 months in a window, of records of 44 and 40
    assert "34 training windows" in card.training.notes
    assert card.inputs["sst"].missing == "forbidden" and card.inputs["t300"].missing == "land"
    assert card.grid.land == ["#......."] + ["........"] * 3
    with xr.open_dataset(icar, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as ds:
        one = ds.isel(model=0, drop=True).load()
    fc = one.earthformer.forecast(str(tmp_path / "icar"), lead=14)
    assert list(fc) == ["sst"] and fc["sst"].notnull().all()
    other = one.assign(t300=one["t300"] + 1)  # the forecast of SST depends on what is beside it
    assert (other.earthformer.forecast(str(tmp_path / "icar"))["sst"] != fc["sst"]).any()


def test_a_record_becomes_channels(icar, tmp_path):
    (record, _) = DataSource(path=str(icar)).open()
    entries = example("icar_enso_fields", (4, 8))
    with xr.open_dataset(icar) as ds:
        latitude, longitude = ds["lat"].values.tolist(), ds["lon"].values.tolist()
    grid = {"kind": "latlon", "latitude": latitude, "longitude": longitude}
    grid["land"] = ["#......."] + ["........"] * 3
    inputs = entries["card"]["inputs"]
    inputs = {**inputs, "t300": {"difference": True, "missing": "land", "scale": {"factor": 2.0}}}
    card = Card.model_validate(
        {
            **{key: entries["card"][key] for key in ("name", "outputs", "known", "training")},
            "version": "1",
            "title": "four fields",
            "model": {"name": "earthformer", "config": {}},
            "inputs": inputs,
            "grid": grid,
            "time_step": "month",
            "context": 12,
            "lead": 14,
        }
    )
    frames_NHWC = frames_of(on_grid(record, card), card)
    assert tuple(frames_NHWC.shape) == (44, 4, 8, 6)
    np.testing.assert_array_equal(frames_NHWC[..., 0], record["sst"])
    np.testing.assert_allclose(frames_NHWC[:, 1:, :, 1], record["t300"][:, 1:] / 2)
    assert (frames_NHWC[:, 0, 0, 1] == 0).all()
    # sine and cosine of March, and of June
    np.testing.assert_allclose(frames_NHWC[[2, 5], 0, 0, 4:], [[1, 0], [0, -1]], atol=1e-6)


# --- SEVIR


@pytest.fixture(scope="module")
def storms(tmp_path_factory):
    """A corner of 32 km of an event in four sensors, with pixels of 1, 2 and 8 km."""
    sensors = ["vil", "ir069", "ir107", "lght"]
    root = make(tmp_path_factory.mktemp("sensors"), EVENTS[:1], sensors)
    ds = xef.open_sevir(root, sensors=sensors)
    corner = {"y": 32, "x": 32, "y_2km": 16, "x_2km": 16, "y_8km": 4, "x_8km": 4}
    return ds.isel({dim: slice(n) for dim, n in corner.items()}).load()


def test_sevir_learns_from_four_sensors(storms, tmp_path):
    entries = example("sevir_sensors", (32, 32))
    windows = xef.sevir_windows(storms)
    records = [windows.isel(event=i, drop=True) for i in range(windows.sizes["event"])]
    card = entries["card"] | {"grid": {"kind": "pixels", "height": 32, "width": 32}}
    pack = xef.train(
        "earthformer",
        records,
        config=entries["model"]["config"],
        card=card,
        recipe=xef.Recipe(**entries["recipe"]),
        pack=tmp_path / "sensors",
        progress=False,
    )
    assert "3 training windows" in pack.card.training.notes
    fc = records[1].earthformer.forecast(pack, init=records[1]["time"].values[12])
    assert list(fc) == ["vil"] and dict(fc.sizes) == {"init": 1, "lead": 12, "y": 32, "x": 32}
    no_lightning = records[1].drop_vars("lght")
    with pytest.raises(ValueError, match="(?s)expected a variable lght.*found vil, ir069, ir107"):
        no_lightning.earthformer.forecast(pack)


def test_wider_pixels_are_taken_onto_the_radars(storms, tmp_path):
    event = storms.isel(event=0, drop=True)
    fields = {
        "name": "sensors",
        "version": "1",
        "title": "two sensors",
        "model": {"name": "earthformer", "config": {}},
        "inputs": {"vil": {"units": "1"}, "ir069": {"units": "degC"}},
        "outputs": ["vil"],
        "grid": {"kind": "pixels", "height": 32, "width": 32},
        "time_step": "5min",
        "context": 13,
        "lead": 12,
        "training": {"data": "none"},
    }
    frames_NHWC = frames_of(
        on_grid(event, Card.model_validate(fields)), Card.model_validate(fields)
    )
    coarse = event["ir069"].transpose("time", "y_2km", "x_2km").to_numpy()
    np.testing.assert_array_equal(frames_NHWC[..., 1], coarse.repeat(2, 1).repeat(2, 2))
    both = {**fields, "outputs": ["vil", "ir069"]}
    with pytest.raises(ValueError, match="ir069 on the pixels of vil"):
        on_grid(event, Card.model_validate(both))


def test_crops_of_several_sensors(storms, tmp_path):
    """A network of 16 x 16 pixels learns from crops of a field of 32 x 32."""
    card = {
        "inputs": {"vil": {"units": "1"}, "ir069": {"units": "degC"}},
        "outputs": ["vil"],
        "known": ["month"],
        "grid": {"kind": "pixels", "height": 16, "width": 16},
    }
    event = storms.isel(event=0, drop=True)
    pack = xef.train(
        "earthformer",
        event,
        config={"input_shape": (3, 16, 16, 4), "target_shape": (2, 16, 16, 1), "base_units": 16},
        card=card,
        crop=Crop(size=16, stride=16, least=0.0),
        recipe=xef.Recipe(epochs=1),
        pack=tmp_path / "crops",
        progress=False,
    )
    fc = event.earthformer.forecast(pack)  # in tiles
    assert dict(fc.sizes) == {"init": 1, "lead": 2, "y": 32, "x": 32}
    assert fc["vil"].notnull().all() and "blended" in fc["vil"].attrs["history"]


def test_prediff_is_of_one_variable(storms, tmp_path):
    card = {"inputs": {"vil": {"units": "1"}, "ir069": {"units": "degC"}}, "outputs": ["vil"]}
    card |= {"grid": {"kind": "pixels", "height": 32, "width": 32}}
    with pytest.raises(ValueError, match="expected one channel, found 2"):
        xef.train(
            "prediff",
            storms.isel(event=0, drop=True),
            config="tiny",
            card=card,
            stage="autoencoder",
            pack=tmp_path / "prediff",
        )


def test_a_seasonal_lim_is_fitted_to_two_variables(tmp_path):
    """The second variable is the first of the month before: where it goes, the first tells."""
    rng = np.random.default_rng(3)
    time = xr.date_range("1980-03", periods=240, freq="MS")
    coords = {"time": time, "lat": [-10.0, 0.0, 10.0], "lon": [0.0, 60, 120, 180, 240, 300]}
    walk = np.zeros((241, 2))
    for t in range(1, 241):
        walk[t] = 0.8 * walk[t - 1] + rng.normal(size=2)
    patterns = rng.normal(size=(2, 3, 6))
    field = np.einsum("tk, kyx -> tyx", walk, patterns).astype("f4")
    attrs = {"units": "degC", "units_metadata": "temperature: difference"}
    sst = xr.DataArray(field[1:].copy(), coords, ("time", "lat", "lon"), attrs=attrs)
    zos_attrs = {"units": "m", "long_name": "anomaly of sea surface height"}
    zos = xr.DataArray(field[:-1], coords, sst.dims, attrs=zos_attrs)
    sst[:, 0, 0] = np.nan  # land
    config = {"height": 3, "width": 6, "channels": 2, "n_eofs": [2, 2], "in_len": 4, "out_len": 3}
    card = {
        "inputs": {
            "sst": {
                "standard_name": "sea_surface_temperature",
                "units": "degC",
                "difference": True,
                "scale": {"factor": 1},
            },
            "zos": {"units": "m", "difference": True, "scale": {"factor": 1}},
        },
        "known": ["month"],
        "grid": {
            "kind": "latlon",
            "latitude": coords["lat"],
            "longitude": coords["lon"],
        },
    }
    ds = xr.Dataset({"sst": sst, "zos": zos})
    pack = xef.train(
        "seasonal-lim",
        ds,
        config=config | {"delays": [0]},
        card=card,
        pack=tmp_path / "pair",
        progress=False,
    )
    assert pack.card.inputs["sst"].missing == "land" and pack.card.inputs["zos"].land is None
    fc = ds.earthformer.forecast(pack, init=slice("1990", "1999"), lead=1)
    assert fc["sst"][:, :, 0, 0].isnull().all() and fc["zos"].notnull().all()
    now = ds.sel(time=fc["init"].values).drop_vars("time")
    next_height, height = fc["zos"][:, 0].values, now["zos"].values
    sea = np.isfinite(now["sst"].values[0])
    better, persistent = (
        np.corrcoef(each[:, sea].ravel(), now["sst"].values[:, sea].ravel())[0, 1]
        for each in (next_height, height)
    )
    assert better > persistent + 0.05
