"""What a user has set in torch for the whole process, or around a call, changes no forecast."""

import warnings

import numpy as np
import pytest
import small_prediff
import torch
import xarray as xr
from default_dtype import default_dtype
from small_nowcast import small_nowcast
from small_radar import small_rain

import xearthformer as xef
from xearthformer import models
from xearthformer.inference import engine
from xearthformer.models import MODELS

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)


def has_same_bits(forecast, dtype):
    """Whether a forecast has the same bits with another default dtype, its network opened anew."""
    engine._load.cache_clear()
    wanted = forecast()
    engine._load.cache_clear()
    with default_dtype(dtype):
        return wanted.identical(forecast())


@pytest.fixture
def rain():
    return small_rain(np.random.default_rng(0).random((6, 32, 32)) * 5)


@pytest.fixture(scope="module")
def ssta():
    sst = xef.synthetic_sst(years=31, start="1980-01")["sst"]
    return sst.earthformer.anomaly(("1981", "2010")).isel(time=slice(-24, None)).load()


@DTYPES
@pytest.mark.parametrize("name", ["lim", "enso-ersst", "damped-persistence"])
def test_packs_of_anomalies_have_the_bits_of_float32(dtype, name, ssta):
    members = 2 if name == "lim" else None
    assert has_same_bits(lambda: ssta.earthformer.forecast(name, lead=2, members=members), dtype)


@DTYPES
def test_nowcasts_have_the_bits_of_float32(dtype, rain, tmp_path):
    pack = small_nowcast(tmp_path)
    holed = rain.where((rain.x > rain.x[3]) & (rain.y < rain.y[2]))
    assert has_same_bits(lambda: holed.earthformer.forecast(pack, members=2), dtype)


@DTYPES
def test_samples_have_the_bits_of_float32(dtype, tmp_path):
    pack, rain = small_prediff.save(tmp_path / "pack"), small_prediff.rain()
    ask = {"members": 2, "steps": 2, "guidance": xef.anticipated_intensity(sigmas=2)}
    assert has_same_bits(lambda: rain.earthformer.forecast(pack, **ask), dtype)


@pytest.mark.parametrize("name", [name for name in MODELS if "tiny" in MODELS[name][2]])
def test_networks_are_float32(name):
    with default_dtype(torch.float64):
        model = models.build(name, "tiny")
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} <= {torch.float32}


def test_guidance_works_in_inference_mode_and_after_it(tmp_path):
    pack, rain = small_prediff.save(tmp_path / "pack"), small_prediff.rain()
    told = xef.anticipated_intensity(sigmas=2)

    def guided() -> xr.DataArray:
        return rain.earthformer.forecast(pack, members=1, steps=2, guidance=told)

    wanted = guided()
    engine._load.cache_clear()
    with torch.inference_mode():
        plain = rain.earthformer.forecast(pack, members=1, steps=2)  # opens the network
        assert wanted.identical(guided())
        weights = pack.model().state_dict()
    assert wanted.identical(guided())
    assert not plain.identical(wanted)
    assert not any(weight.is_inference() for weight in weights.values())


def test_another_default_device_changes_no_forecast(rain, ssta, tmp_path):
    """As of `torch.set_default_device("cuda")`; "meta" holds no numbers, so that each use fails."""
    pack = small_nowcast(tmp_path)
    calls = [
        lambda: rain.earthformer.forecast(pack, members=2),
        lambda: ssta.earthformer.forecast("enso-ersst", lead=2),
    ]
    wanted = [call() for call in calls]
    engine._load.cache_clear()
    torch.set_default_device("meta")
    try:
        found = [call() for call in calls]
    finally:
        torch.set_default_device(None)
    assert all(one.identical(other) for one, other in zip(found, wanted, strict=True))


@pytest.fixture
def medium():
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def test_products_of_less_than_float32_are_told(ssta, medium):
    """The setting is the process's: a call that changed it would change it for other threads."""
    with pytest.warns(UserWarning, match="float32 products is set to 'medium'"):
        ssta.earthformer.forecast("lim", lead=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssta.earthformer.forecast("persistence", lead=1)  # which has none
    assert torch.get_float32_matmul_precision() == "medium"
