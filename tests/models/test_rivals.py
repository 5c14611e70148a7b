"""What every rival of the papers' tables does alike: shapes, gradients, causality, every door."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import xearthformer as xef
from xearthformer.comparison.papers import ENSO_PAPER, SEVIR_PAPER, enso_table
from xearthformer.datasets.simulated.nbody import nbody
from xearthformer.models import MODELS, build
from xearthformer.packs.published import ICAR_GRID

pytest.importorskip("lightning")
from xearthformer.training.train import Recipe, train

# Name -> what reads a frame, once each, in time order. UNet and Rainformer take all frames at once,
# as channels of one picture: nothing in them comes before anything else.
RECURRENT = {
    "convlstm": "encoding.0",
    "predrnn": "cells.0",
    "phydnet": "encoder.0",
    "e3d-lstm": "encoder",
}
RIVALS = ["unet", *RECURRENT, "rainformer"]
IN_PAPER = ["UNet", "ConvLSTM", "PredRNN", "PhyDNet", "E3D-LSTM", "Rainformer"]  # in that order
every = pytest.mark.parametrize("name", RIVALS)
LONG = "e3d-lstm", "rainformer"  # ten seconds and more
every_in_time = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in RIVALS]
)
SIDE = 16  # pixels of the tiny presets


def tiny(name: str) -> torch.nn.Module:
    """The tiny preset with fresh weights, the same each time."""
    torch.manual_seed(0)
    return build(name, "tiny")


def frames(batch: int, count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, count, SIDE, SIDE, 1, generator=generator)


# --- the network


@every
def test_frames_in_frames_out(name):
    model = tiny(name)
    assert (model.in_len, model.out_len, model.samples) == (4, 3, False)
    assert model.predict(frames(2, 4)).shape == (2, 3, SIDE, SIDE, 1)
    loss = model.loss(frames(2, 4), frames(2, 3, seed=2))
    assert loss.shape == () and loss.isfinite()
    longer = build(name, replace(MODELS[name][2]["tiny"], out_len=9))
    assert longer.predict(frames(1, 4)).shape == (1, 9, SIDE, SIDE, 1)


@pytest.mark.parametrize(
    ("preset", "size", "paper"),
    [("sevir", (384, 384), SEVIR_PAPER), ("enso", (24, 48), ENSO_PAPER)],
)
@every
def test_presets_are_of_the_papers_sizes(name, preset, size, paper):
    parameters, macs = paper[dict(zip(RIVALS, IN_PAPER, strict=True))[name]][:2]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = build(name, preset)
        y_BTHWC = model.predict(torch.empty(1, model.in_len, *size, 1))
    assert y_BTHWC.shape == (1, model.out_len, *size, 1)
    found = sum(p.numel() for p in model.parameters()) / 1e6
    assert found == pytest.approx(parameters, rel=0.05)
    assert counter.get_total_flops() / 2e9 == pytest.approx(macs, rel=0.15)


@every
def test_gradients_reach_every_parameter(name):
    model = tiny(name).train()
    model.loss(frames(3, 4), frames(3, 3, seed=2)).backward()
    without = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


@every
def test_a_forecast_is_the_same_in_training_and_beside_others(name):
    model, x_BTHWC = tiny(name), frames(3, 4)
    with torch.no_grad():
        expected = model.eval().predict(x_BTHWC)
        assert model.train().predict(x_BTHWC).equal(expected)
        alone = model.predict(x_BTHWC[1:2])
    torch.testing.assert_close(alone, expected[1:2], rtol=1e-4, atol=1e-5)


def calls(model: torch.nn.Module, reader: str, x_BTHWC: torch.Tensor) -> list[list[torch.Tensor]]:
    """What all modules made, in the order of their making, cut where the reader takes a frame."""
    made: list[list[torch.Tensor]] = [[]]

    def note(module, inputs, output):
        made[-1] += [part for part in flatten(output) if isinstance(part, torch.Tensor)]

    for module in model.modules():
        module.register_forward_hook(note)
    model.get_submodule(reader).register_forward_pre_hook(lambda *_: made.append([]))
    with torch.no_grad():
        made.append([model.predict(x_BTHWC)])
    return made


def flatten(output):
    if not isinstance(output, tuple | list):
        return [output]
    return [part for one in output for part in flatten(one)]


@pytest.mark.parametrize("name", RECURRENT)
def test_a_frame_changes_nothing_that_came_before_it(name):
    x_BTHWC = frames(1, 4)
    expected = calls(tiny(name).eval(), RECURRENT[name], x_BTHWC)
    assert len(expected) >= 2 + 4 and not expected[0]  # before the first frame nothing is made
    for t in range(4):
        changed = x_BTHWC.clone()
        changed[:, t] += 1
        found = calls(tiny(name).eval(), RECURRENT[name], changed)
        same = [
            all(a.equal(b) for a, b in zip(one, other, strict=True))
            for one, other in zip(expected, found, strict=True)
        ]
        # the parts before it alike, that of the frame itself and the forecast not
        assert all(same[: t + 1]) and not same[t + 1] and not same[-1]


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """Four sequences of 7 frames, two of scikit-learn's 8 x 8 digits on 16 x 16 pixels: BTHWC."""
    looks = pytest.importorskip("sklearn.datasets").load_digits().images
    ds = nbody(seed=5, sequences=4, bodies=2, frames=7, size=SIDE, digits=looks)
    return torch.from_numpy(ds["frames"].to_numpy())[..., None] / 255


@every_in_time
def test_tiny_learns_four_windows_by_heart(name, digits):
    """To a tenth of persistence's error, in up to 800 steps."""
    x_BTHWC, y_BTHWC = digits[:, :4], digits[:, 4:]
    still = (x_BTHWC[:, -1:] - y_BTHWC).square().mean().item()
    model = tiny(name).train()
    rate, steps = 1e-2, 800
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, 10 * (step + 1) / steps, 2 - 2 * step / steps)
        optimizer.zero_grad()
        model.loss(x_BTHWC, y_BTHWC).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 9:
            with torch.no_grad():
                error = (model.predict(x_BTHWC) - y_BTHWC).square().mean().item()
            if error < still / 10:
                return
    pytest.fail(f"an error of {error:.4f} after {steps} steps; persistence has {still:.4f}")


# --- what torch does with it


@every_in_time
def test_one_graph_without_breaks(name):
    """Of two frames in and two out, which have all kinds of steps; quicker than those of `tiny`."""
    model = build(name, replace(MODELS[name][2]["tiny"], in_len=2, out_len=2)).eval()
    x_BTHWC = frames(1, 2)
    compiled = torch.compile(model.predict, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert compiled(x_BTHWC).equal(model.predict(x_BTHWC))


@pytest.mark.slow
@every
def test_compiled(name):
    model, x_BTHWC = tiny(name).eval(), frames(1, 4)
    with torch.no_grad():
        found = torch.compile(model.predict, fullgraph=True)(x_BTHWC)
        torch.testing.assert_close(found, model.predict(x_BTHWC), rtol=1e-4, atol=1e-5)


@every
def test_half_precision_on_a_cpu(name):
    model, x_BTHWC = tiny(name).eval(), frames(2, 4)
    with torch.no_grad():
        expected = model.predict(x_BTHWC)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.predict(x_BTHWC)
    assert (found - expected).norm() < 0.05 * expected.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.train().loss(x_BTHWC, frames(2, 3, seed=2)).isfinite()


@every
def test_double_precision(name):
    model, x_BTHWC = tiny(name).eval(), frames(2, 4)
    with torch.no_grad():
        expected = model.predict(x_BTHWC)
        found = copy.deepcopy(model).double().predict(x_BTHWC.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


# --- the doors: train, packs, forecast, table


@pytest.fixture(scope="module")
def simulation() -> xr.DataArray:
    """32 months on the grid of ICAR-ENSO, a warm wave that travels; the north is land."""
    rng = np.random.default_rng(0)
    time = np.arange(32)[:, None, None]
    lat, lon = np.array(ICAR_GRID.latitude), np.array(ICAR_GRID.longitude)
    wave = np.cos(time / 6 + np.radians(lon)) * np.cos(np.radians(lat))[:, None]
    values = (wave + 0.1 * rng.standard_normal((32, 24, 48))).astype("f4")
    values[:, -2:] = np.nan
    coords = {
        "time": xr.date_range("1850-01", periods=32, freq="MS", use_cftime=True),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    attrs["units_metadata"] = "temperature: difference"
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "sst", attrs)


def on_icar_grid(name: str):
    """The tiny preset on 24 x 48 cells."""
    config = MODELS[name][2]["tiny"]
    # windows that divide these; a coarser grid for attention to all memories
    others = {"rainformer": {"window": 3}, "e3d-lstm": {"scales": ((4, 4),)}}
    known = {f.name for f in fields(config)}
    sizes = {key: size for key, size in (("height", 24), ("width", 48)) if key in known}
    return replace(config, **sizes, **others.get(name, {}))


@every
def test_through_every_door(name, simulation, tmp_path):
    usual = {
        "model": name,
        "data": simulation,
        "config": on_icar_grid(name),
        "card": {"like": "enso", "training": {"data": "a wave"}},
        "period": ("1850-01", "1851-12"),
        "validation": ("1852-01", "1852-05"),
        "device": "cpu",
        "progress": False,
    }
    recipe = Recipe(learning_rate=1e-3, batch_size=8, epochs=2, ema_decay=0.9)
    pack = train(pack=tmp_path / "straight", recipe=recipe, **usual)
    # stopped after an epoch and taken up again it is the same bits
    train(pack=tmp_path / "again", recipe=replace(recipe, stop=1), **usual)
    again = train(pack=tmp_path / "again", recipe=recipe, **usual)
    losses = [(tmp_path / f"{run}.run" / "losses.csv").read_text() for run in ("straight", "again")]
    assert losses[0] == losses[1] and losses[0].splitlines()[2].startswith("1,6,")
    assert again.card.weights_sha256 == pack.card.weights_sha256
    # a pack opens as what was saved
    saved = xef.save_pack(tmp_path / "one.safetensors", pack.model(), pack.card)
    opened = xef.open_pack(str(saved.path))
    assert opened.card.model == pack.card.model and opened.card.model.name == name
    # its forecast is the network's
    fc = simulation.earthformer.forecast(opened, init="1852-02")
    assert fc.shape == (1, 3, 24, 48) and fc.isel(lat=-1).isnull().all()
    inside = simulation.sel(time=slice("1851-11", "1852-02")).fillna(0).values[None, ..., None]
    scale = opened.card.scale
    with torch.no_grad():
        made = scale.undo(opened.model().predict(torch.from_numpy(scale.apply(inside))))
    np.testing.assert_allclose(fc.values[:, :, :-2], made[..., :-2, :, 0], rtol=1e-3, atol=1e-4)
    # and the papers' table has a row for it
    row = enso_table(simulation.expand_dims(model=["a"]), [str(saved.path)], "cpu").loc["here"]
    assert row["parameters (M)"].item() > 0 and row["GFLOPs"].item() > 0
    assert row["MSE (1e-4)"].item() > 0 and abs(row["C-Nino3.4-M"].item()) <= 1
