"""The papers' tables, on made data: what is printed is what the arrays say."""

import dataclasses

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from small_sevir import EVENTS, frames, make

import xearthformer as xef
from xearthformer import models
from xearthformer.cli import main
from xearthformer.comparison import papers
from xearthformer.comparison.papers import enso_table, sevir_table
from xearthformer.datasets import icar_enso
from xearthformer.datasets.sevir import backend
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Training
from xearthformer.packs.published import BYTES, ICAR_GRID
from xearthformer.packs.scale import Scale


@pytest.fixture(scope="module")
def events() -> xr.DataArray:
    """Three events of 49 frames, 8 x 12 pixels, lazy, each at a time of its own."""
    rng = np.random.default_rng(0)
    values = (255 * rng.beta(0.6, 1.2, (3, 49, 8, 12))).astype("f4").clip(0, 254)
    stamps = np.datetime64("2019-07-01T00:01", "s") + np.arange(49) * np.timedelta64(300, "s")
    time = stamps + np.arange(3)[:, None] * np.timedelta64(86_400, "s")
    coords = {"event": ["S1", "S2", "S3"], "time": (("event", "time"), time)}
    dims = "event", "time", "y", "x"
    da = xr.DataArray(values, coords, dims, "vil", {"units": "1"})
    return da.chunk(event=1)


def windows(events: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The last frame in, and the twelve frames out, of all three windows of all events."""
    x = events.values
    last = np.stack([x[:, 12 + 12 * k] for k in range(3)], axis=1)
    out = np.stack([x[:, 13 + 12 * k : 25 + 12 * k] for k in range(3)], axis=1)
    return last[:, :, None], out


def csi(forecast, observed, threshold):
    forecast, observed = np.broadcast_arrays(forecast >= threshold, observed >= threshold)
    return (forecast & observed).sum() / (forecast | observed).sum()


def test_sevir_pools_events_windows_leads_and_pixels(events):
    found = sevir_table(events, ["persistence"])
    row = found.loc["here", "persistence"]
    last, out = windows(events)
    scores = [csi(last, out, threshold) for threshold in (16, 74, 133, 160, 181, 219)]
    assert row["CSI-M"] == pytest.approx(np.mean(scores))
    assert row["CSI-219"] == pytest.approx(scores[5])
    assert row["CSI-181"] == pytest.approx(scores[4])
    mse = np.mean((last.astype(float) / 255 - out.astype(float) / 255) ** 2)
    assert row["MSE (1e-3)"] == pytest.approx(1e3 * mse)
    assert np.isnan(row["parameters (M)"]) and np.isnan(row["GFLOPs"])


def test_the_papers_stand_beside(events):
    found = sevir_table(events[:1], ["persistence"])
    assert found.loc["paper", "Earthformer"].tolist() == [15.1, 257, 0.4419, 0.1791, 0.2848, 3.6957]
    printed = papers.text(found)
    lines = printed.splitlines()
    assert lines[0].endswith("CSI-181 MSE (1e-3)")
    numbers = ["15.1", "257.0", "0.4419", "0.1791", "0.2848", "3.6957"]
    assert lines[-1].split() == ["Earthformer", *numbers]
    assert lines[2].split()[:4] == ["here", "persistence", "-", "-"]
    assert len(papers.SEVIR_PAPER) == len(papers.ENSO_PAPER) == 9


def test_an_event_is_read_at_a_time(events):
    held, most = set(), []

    def load(block, block_info):
        held.add(block_info[None]["chunk-location"][0])
        return block

    def score(*args, **kwargs):
        most.append(len(held))
        held.clear()
        return found(*args, **kwargs)

    found = papers.statistics
    lazy = events.copy(data=dask.array.map_blocks(load, events.data, dtype="f4", meta=np.empty(0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "statistics", score)
        sevir_table(lazy, ["persistence"])
    assert most == [1, 1, 1]


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> xef.Pack:
    """An untrained Earthformer of 8 x 8 pixels, 13 frames in, 6 out at a time."""
    config = {
        "input_shape": (13, 8, 8, 1),
        "target_shape": (6, 8, 8, 1),
        "base_units": 16,
        "num_heads": 2,
    }
    torch.manual_seed(0)
    model = models.build("earthformer", config)
    card = Card(
        name="tiny",
        version="1",
        title="an untrained network",
        model=ModelSpec(name="earthformer", config={}),
        input=BYTES,
        output=BYTES,
        grid=PixelGrid(height=8, width=8),
        time_step="5min",
        history=13,
        reach=6,
        scale=Scale(factor=255.0),
        training=Training(data="none"),
    )
    return xef.save_pack(tmp_path_factory.mktemp("packs") / "tiny", model, card)


def test_cost_counts_tiles_and_passes(events, network):
    found = sevir_table(events[:1], ["persistence", str(network.path)])
    row = found.loc["here", str(network.path)]
    model = network.model()
    assert row["parameters (M)"] == sum(p.numel() for p in model.parameters()) / 1e6
    one = papers.cost(network, (8, 8), 6)[1]
    # 8 x 12 pixels are two tiles of 8 x 8; twelve frames are two passes of six.
    assert one > 0 and row["GFLOPs"] == pytest.approx(4 * one)
    assert 0 <= row["CSI-M"] <= 1 and row["MSE (1e-3)"] > 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda da: da.isel(time=slice(25)), "of 49 frames"),
        (lambda da: da.isel(event=0), "events .event, time, y, x."),
    ],
)
def test_what_is_no_set_of_events(events, spoil, message):
    with pytest.raises(ValueError, match=message):
        sevir_table(spoil(events), ["persistence"])


def test_packs_have_the_history_of_the_papers(events, tiny_pack, tmp_path):
    config = dataclasses.replace(tiny_pack.model().config, input_shape=(20, 8, 8, 1))
    card = tiny_pack.card.model_copy(update={"context": 20})
    longer = xef.save_pack(tmp_path / "longer", models.build("earthformer", config), card)
    with pytest.raises(ValueError, match=r"13 frames at most.*\n.*which needs 20"):
        sevir_table(events, [str(longer.path)])
    with pytest.raises(ValueError, match="packs to score"):
        sevir_table(events, [])


# --- ICAR-ENSO


@pytest.fixture(scope="module")
def simulations() -> xr.DataArray:
    """Two models of 40 and 36 months on the whole 5-degree grid, lazy."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 40, 24, 72)).astype("f4")
    values = values.cumsum(axis=1) / 5
    values[1, 36:] = np.nan
    coords = {
        "model": ["a", "b"],
        "time": xr.date_range("1850-01", periods=40, freq="MS", use_cftime=True),
        "lat": ("lat", np.arange(-55.0, 61, 5), {"units": "degrees_north"}),
        "lon": ("lon", np.arange(0.0, 360, 5), {"units": "degrees_east"}),
    }
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    attrs["units_metadata"] = "temperature: difference"
    da = xr.DataArray(values, coords, ("model", "time", "lat", "lon"), "sst", attrs)
    return da.chunk(model=1)


def test_enso_pools_the_months_of_all_models(simulations):
    found = enso_table(simulations, ["persistence"]).loc["here", "persistence"]
    index = simulations.sel(lat=slice(-5, 5), lon=slice(190, 240)).mean(["lat", "lon"]).values
    pairs, errors = [[], []], []
    field = simulations.sel(lon=slice(95, 330)).values.astype(float)
    for model, months in ((0, 40), (1, 36)):
        for init in range(11, months - 14):
            ahead = index[model, init + 1 : init + 15]
            pairs[0].append(np.full(12, index[model, init]))
            pairs[1].append([ahead[k : k + 3].mean() for k in range(12)])
            errors.append((field[model, init] - field[model, init + 1 : init + 15]) ** 2)
    columns = zip(np.transpose(pairs[0]), np.transpose(pairs[1]), strict=True)
    correlation = np.array([np.corrcoef(f, o)[0, 1] for f, o in columns])
    weight = np.array([1.5] * 4 + [2] * 7 + [3]) * np.log(np.arange(1, 13))
    assert found["C-Nino3.4-M"] == pytest.approx(correlation.mean(), rel=1e-5)
    assert found["C-Nino3.4-WM"] == pytest.approx((weight * correlation).mean(), rel=1e-5)
    scale = 10.198975563049316 + 16.549121856689453
    assert found["MSE (1e-4)"] == pytest.approx(1e4 * np.mean(errors) / scale**2, rel=1e-5)


def test_enso_wants_its_grid(simulations):
    with pytest.raises(ValueError, match="5-degree grid of ICAR-ENSO"):
        enso_table(simulations.sel(lon=slice(180, None)), ["persistence"])
    with pytest.raises(ValueError, match="simulations .model, time, lat, lon."):
        enso_table(simulations.isel(model=0), ["persistence"])
    cut = simulations.sel(lat=ICAR_GRID.latitude, lon=ICAR_GRID.longitude)
    found, whole = (enso_table(da, ["persistence"]) for da in (cut, simulations))
    np.testing.assert_array_equal(found, whole)


# --- the commands


def test_the_command_reads_a_folder_of_sevir(tmp_path, capsys):
    """An event of the test split, another of training that isn't read."""
    held = (EVENTS[4], EVENTS[0])
    root = make(tmp_path, held)
    assert main(["table", "sevir", "--data", str(root), "--packs", "persistence"]) == 0
    lines = capsys.readouterr().out.splitlines()
    x = frames("vil", 0).astype(float)
    last = np.stack([x[12 + 12 * k] for k in range(3)])[:, None]
    out = np.stack([x[13 + 12 * k : 25 + 12 * k] for k in range(3)])
    reached = [at for at in (16, 74, 133, 160, 181, 219) if max(last.max(), out.max()) >= at]
    csi_m = np.mean([csi(last, out, threshold) for threshold in reached])
    mse = np.mean((last - out) ** 2) / 255**2
    (row,) = [line.split() for line in lines if line.startswith("here")]
    assert row[1:5] == ["persistence", "-", "-", f"{csi_m:.4f}"]
    assert row[-1] == f"{1e3 * mse:.4f}"


def test_the_commands_open_and_print(events, simulations, monkeypatch, capsys):
    asked = []

    def opens(da):
        def opener(root, split=None):
            asked.append((root, split))
            return da.to_dataset()

        return opener

    monkeypatch.setattr(backend, "open_sevir", opens(events))
    monkeypatch.setattr(icar_enso, "open_icar_enso", opens(simulations))
    assert main(["table", "sevir", "--data", "here", "--packs", "persistence"]) == 0
    assert papers.text(sevir_table(events, ["persistence"])) in capsys.readouterr().out
    assert main(["table", "icar-enso", "--data", "there", "--packs", "persistence"]) == 0
    assert papers.text(enso_table(simulations, ["persistence"])) in capsys.readouterr().out
    assert asked == [("here", "test"), ("there", "test")]
    assert main(["table", "sevir", "--data", "here", "--packs", "nix"]) == 2
    assert "no pack 'nix'" in capsys.readouterr().err
