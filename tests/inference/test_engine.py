"""The engine's precision and compilation; what it does with batches is tested by forecasts."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_hindcast import anomalies
from test_fused import SEVIR_LIKE

from xearthformer.inference import engine
from xearthformer.models import build
from xearthformer.models.earthformer.earthformer import PRESETS, Earthformer
from xearthformer.models.earthformer.fused import FusedEarthformer

FLOAT32 = engine.Settings("cpu", 2)
BF16 = replace(FLOAT32, precision="bf16")


class Spy(torch.nn.Module):
    """A model of one product, which says in which dtype it was taken."""

    def __init__(self):
        super().__init__()
        self.linear, self.found = torch.nn.Linear(4, 4), []

    def predict(self, x_BTHWC):
        y = self.linear(x_BTHWC)
        self.found.append((x_BTHWC.dtype, y.dtype))
        return y


def test_devices_of_torch_are_those_of_their_names(tiny_pack):
    """And so are what a store of hindcasts says of them."""
    devices = "cpu", torch.device("cpu")
    one, other = (engine.settings(tiny_pack, (2, 2), device=device) for device in devices)
    assert one == other


@pytest.mark.parametrize(("settings", "product"), [(FLOAT32, "float32"), (BF16, "bfloat16")])
def test_products_are_in_the_precision_and_the_rest_in_float32(settings, product):
    spy, x_BTHWC = Spy(), torch.rand(3, 2, 1, 1, 4)
    y_BTHWC = engine.predict(spy, x_BTHWC, 3, settings)
    assert y_BTHWC.dtype == torch.float32 and y_BTHWC.shape == (3, 3, 1, 1, 4)
    # two batches of two passes each: what was forecast is read again
    assert spy.found == [(torch.float32, getattr(torch, product))] * 4


@pytest.mark.parametrize("preset", ["tiny", "enso"])
def test_bf16_is_near_float32(preset):
    torch.manual_seed(0)
    plain = build("earthformer", preset).eval().requires_grad_(False)
    x_BTHWC = torch.rand(1, *plain.config.input_shape)
    exact = engine.predict(plain, x_BTHWC, 1, FLOAT32)
    for model in (plain, engine.fuse(plain)):
        error = (engine.predict(model, x_BTHWC, 1, BF16) - exact).square().mean().sqrt()
        assert 0 < error < 0.1 * exact.std()  # eight bits of mantissa, through untrained layers


@pytest.mark.parametrize("has", [False, True])
def test_bf16_without_the_instructions_is_slow_and_said_to_be(tiny_pack, monkeypatch, has):
    found = {"avx2": True, "avx512_bf16": False, "amx_bf16": has}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        engine.settings(tiny_pack, (2, 2), precision="bf16", device="cpu")
        engine.settings(tiny_pack, (2, 2), device="cpu")
    assert [str(one.message)[:24] for one in said] == ["this CPU has no instruct"] * (not has)


def test_a_forecast_in_bf16_says_so(tiny_pack):
    ssta = anomalies(tiny_pack)
    exact = ssta.earthformer.forecast(tiny_pack)
    fc = ssta.earthformer.forecast(tiny_pack, precision="bf16")
    assert "; in bf16;" in fc.attrs["history"] and "bf16" not in exact.attrs["history"]
    assert fc.dtype == exact.dtype and not fc.equals(exact)
    np.testing.assert_allclose(fc, exact, atol=0.2 * float(exact.std()))


def test_another_precision_is_refused(tiny_pack):
    with pytest.raises(ValueError, match='precision="float32" or "bf16".*\n.*fp16'):
        anomalies(tiny_pack).earthformer.forecast(tiny_pack, precision="fp16")


# --- torch.compile


@pytest.mark.slow
@pytest.mark.parametrize("config", [PRESETS["enso"], SEVIR_LIKE])
def test_a_published_network_is_one_graph(config):
    """The smallest stands in test_earthformer.py."""
    plain = Earthformer(config).eval().requires_grad_(False)
    x_BTHWC = torch.rand(1, *config.input_shape)
    compiled = torch.compile(plain.predict, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x_BTHWC), plain.predict(x_BTHWC))


@pytest.mark.slow
def test_a_compiled_forecast_is_the_same_to_rounding(tiny_pack, monkeypatch):
    asked, compile = [], partial(torch.compile, fullgraph=True, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda call: asked.append(call) or compile(call))
    ssta = anomalies(tiny_pack)
    fc = ssta.earthformer.forecast(tiny_pack, init=slice(None), batch_size=4, compile=True)
    exact = ssta.earthformer.forecast(tiny_pack, init=slice(None), batch_size=4)
    assert [type(call.__self__) for call in asked] == [Earthformer]
    np.testing.assert_allclose(fc, exact, atol=5e-5)


def test_what_is_not_compiled_is_fused_where_that_is_faster(tiny_pack, monkeypatch):
    assert isinstance(engine.load(tiny_pack, FLOAT32), Earthformer)
    monkeypatch.setattr(engine, "is_faster", lambda config: True)
    engine._load.cache_clear()
    try:
        assert isinstance(engine.load(tiny_pack, FLOAT32), FusedEarthformer)
    finally:
        engine._load.cache_clear()


@pytest.mark.slow
def test_compiled_by_inductor(tiny_pack):
    ssta = anomalies(tiny_pack)
    fc = ssta.earthformer.forecast(tiny_pack, compile=True)
    np.testing.assert_allclose(fc, ssta.earthformer.forecast(tiny_pack), atol=5e-5)


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [("auto", True, True), ("auto", False, False), (True, False, True), (False, True, False)],
)
def test_a_bar_shows_on_a_terminal_when_it_takes_long(
    monkeypatch, capsys, progress, terminal, shown
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    now = iter(range(0, 1000, 3))
    monkeypatch.setattr("tqdm.std.time", lambda: next(now))
    with engine.progress_bar(3, "init", progress) as bar:
        bar.update(1)
        bar.update(1)
    assert ("init" in capsys.readouterr().err) is shown


def test_a_thread_shows_no_bar_unasked(capsys):
    with ThreadPoolExecutor(1) as pool:
        bar = pool.submit(engine.progress_bar, 3, "init", "auto").result()
    assert bar.disable


def test_another_progress_is_refused():
    with pytest.raises(ValueError, match="progress=True, False or \"auto\"(.|\n)*found 'yes'"):
        engine.progress_bar(3, "init", "yes")


def test_the_environment_turns_every_bar_off():
    code = "from xearthformer.inference import engine; "
    code += "print(engine.progress_bar(3, 'init', True).disable)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"
    assert not engine.progress_bar(3, "init", True).disable
