"""Spectra: of waves and noise whose power is known, and of forecasts beside observations."""

import numpy as np
import pytest
import xarray as xr
from test_probabilistic import ensemble, frames

from xearthformer.verification.spectra import Rings
from xearthformer.verification.verify import verify

EVERYWHERE = np.ones((64, 64), bool)


def waves(length: float, shape=(64, 64), spacing=(1.0, 1.0)) -> np.ndarray:
    """Crests along y, a wave `length` long."""
    x = np.arange(shape[1]) * spacing[1]
    return np.broadcast_to(np.cos(2 * np.pi * x / length), shape)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", [32, 8, 4])
def test_a_wave_stands_at_its_length(length, axis):
    rings = Rings((64, 64), (1.0, 1.0))
    field = waves(length) if axis else waves(length).T
    found = rings.density(field, EVERYWHERE)
    assert rings.wavelengths[found.argmax()] == length
    # Hann's window spreads it over the rings beside, and no farther
    far = np.abs(np.arange(32) - found.argmax()) > 2
    assert found[far].max() < 1e-3 * found.max()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("shape", [(64, 64), (48, 65)])
def test_white_noise_is_flat(shape, spacing):
    rings = Rings(shape, spacing)
    rng = np.random.default_rng(0)
    there = rng.random(shape) < 0.9
    fields = rng.normal(5, 3, (60, *shape))
    mean = np.mean([rings.density(field, there) for field in fields], axis=0)
    # variance 9 times the area of a pixel; the longest waves lose what the mean takes
    expected = 9 * spacing[0] * spacing[1]
    np.testing.assert_allclose(mean[8:], expected, rtol=0.2)
    assert mean[8:].mean() == pytest.approx(expected, rel=0.02)


def test_it_is_the_plain_transform_averaged_around_rings():
    rng = np.random.default_rng(1)
    field = rng.normal(0, 1, (10, 16))
    taper = np.outer(np.hanning(12)[1:-1], np.hanning(18)[1:-1])
    departure = (field - (taper * field).sum() / taper.sum()) * taper
    power = np.abs(np.fft.fft2(departure)) ** 2 / (taper**2).sum()
    ring = np.rint(16 * np.hypot(np.fft.fftfreq(10)[:, None], np.fft.fftfreq(16)))
    expected = [power[ring == j].mean() for j in range(1, 9)]
    rings = Rings((10, 16), (1.0, 1.0))
    np.testing.assert_allclose(rings.density(field, np.ones((10, 16), bool)), expected)
    np.testing.assert_allclose(rings.wavelengths, 16 / np.arange(1, 9))


def test_it_is_pysteps_spectrum():
    spectral = pytest.importorskip("pysteps.utils.spectral")
    field = np.random.default_rng(2).normal(0, 1, (32, 32))
    rings = Rings((32, 32), (1.0, 1.0))
    taper = np.outer(np.hanning(34)[1:-1], np.hanning(34)[1:-1])
    departure = (field - (taper * field).sum() / taper.sum()) * taper
    expected = spectral.rapsd(departure, np.fft)[1:] * 32 * 32 / (taper**2).sum()
    found = rings.density(field, EVERYWHERE[:32, :32])
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-9)


def test_nothing_has_no_power():
    rings = Rings((64, 64), (1.0, 1.0))
    assert not rings.density(np.full((64, 64), np.nan), ~EVERYWHERE).any()


# --- as a score


@pytest.fixture
def sides():
    """Two members: the truth, and half of it; a hole in the first frame; pixels of 1 km."""
    rng = np.random.default_rng(0)
    observed = frames(rng.gamma(0.5, 4, (4, 16, 20)))
    values = np.stack([observed[1:], 0.5 * observed[1:]], axis=1)[None]
    fc = ensemble(observed, values)
    fc[0, 0, :, 3, 4] = np.nan
    return fc, observed


def test_spectra_of_members_beside_the_observed(sides):
    fc, observed = sides
    found = verify(fc, observed, ["spectrum"])
    assert found["spectrum"].dims == ("lead", "member", "wavelength")
    np.testing.assert_allclose(found["spectrum_ratio"].sel(member=0), 1)
    np.testing.assert_allclose(found["spectrum_ratio"].sel(member=1), 0.25)
    expected = Rings((16, 20), (1000.0, 1000.0)).density(
        observed[2].values, np.ones((16, 20), bool)
    )
    np.testing.assert_allclose(found["spectrum_observed"][1, 0], expected)
    mean = found["spectrum"].mean("lead")
    np.testing.assert_allclose(found["spectrum_pooled"], mean.transpose("member", "wavelength"))
    assert found["wavelength"].attrs["units"] == "m" and found["wavelength"][0] == 20_000
    assert found["spectrum"].attrs["units"] == "(mm h-1)^2 m^2"
    assert found["spectrum_ratio"].attrs["units"] == "1"
    to_8_km = found["spectrum_ratio_pooled"].sel(wavelength=slice(None, 8000))
    assert to_8_km["wavelength"].values.tolist() == [20000, 10000]


def test_spectra_are_lazy_and_add_up(sides):
    fc, observed = sides
    expected = verify(fc, observed, ["spectrum"])
    xr.testing.assert_allclose(verify(fc.chunk(lead=1), observed, ["spectrum"]).compute(), expected)


def test_a_frame_without_an_observation_counts_for_nothing(sides):
    fc, observed = sides
    gone = observed.where(observed.time < observed.time[3])
    found = verify(fc, gone, ["spectrum"])
    assert found["spectrum"].isnull().all(["member", "wavelength"]).values.tolist() == [0, 0, 1]
    shorter = verify(fc.isel(lead=slice(2)), observed, ["spectrum"])
    xr.testing.assert_allclose(found["spectrum_pooled"], shorter["spectrum_pooled"])


def test_wavelengths_have_the_units_of_the_grid(sides):
    fc, observed = sides
    plain = verify(*(da.drop_vars(["y", "x"]) for da in sides), ["spectrum"])
    assert plain["wavelength"].attrs["units"] == "1" and plain["wavelength"][0] == 20
    assert plain["spectrum"].attrs["units"] == "(mm h-1)^2"
    cells = {"y": 60 + 0.1 * np.arange(16), "x": 10 + 0.1 * np.arange(20)}
    names = {"y": "lat", "x": "lon"}
    turned = (da.assign_coords(cells).rename(names) for da in sides)
    degrees = verify(*turned, ["spectrum"])
    assert degrees["wavelength"].attrs["units"] == "km"
    assert degrees["wavelength"][0] == pytest.approx(1.6 * 111.195, rel=1e-4)  # northward is longer


def test_an_index_has_none():
    time = xr.date_range("2000-01", periods=3, freq="MS")
    index = xr.DataArray([0.0, 1, 2], {"time": time}, "time", attrs={"units": "degC"})
    coords = {"init": time[:1], "lead": [1], "valid_time": (("init", "lead"), [time[1:2]])}
    fc = xr.DataArray([[1.0]], coords, ("init", "lead"), attrs=index.attrs)
    with pytest.raises(ValueError, match="fields, for spectrum"):
        verify(fc, index, ["spectrum"])
