"""Samplers on data whose denoiser is known exactly: a Gaussian in every component."""

import numpy as np
import pytest
import torch

from xearthformer.models.prediff import samplers
from xearthformer.models.prediff.samplers import (
    METHODS,
    STEPS,
    NotFinite,
    Sampler,
    alphas_cumprod,
    sample,
)

MEAN, STD = 1.5, 0.5
KEPT = alphas_cumprod().double()


def denoise(z: torch.Tensor, t: int) -> torch.Tensor:
    """The expected noise in z_t = sqrt(a) x + sqrt(1 - a) e, with x ~ N(MEAN, STD^2):

    E[e | z] = sqrt(1 - a) (z - sqrt(a) MEAN) / (a STD^2 + 1 - a).
    """
    a = KEPT[t]
    return (1 - a).sqrt() * (z - a.sqrt() * MEAN) / (a * STD**2 + 1 - a)


def streams(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


@pytest.mark.parametrize(
    ("sampler", "steps", "eta"),
    [
        ("ddpm", 1000, 0.0),
        ("ddpm", 250, 0.0),
        ("ddim", 50, 0.0),
        ("ddim", 100, 1.0),
        ("ddim", 30, 0.5),
        ("dpm++", 8, 0.0),
        ("dpm++", 20, 0.0),
        ("dpm++", 50, 0.0),
    ],
)
def test_a_gaussian_is_recovered(sampler, steps, eta):
    """20 rows of 1000 components: the mean is known to .0035, the deviation to .0025 (one sigma);
    the few steps of ddim and dpm++ cost up to 3 % of the deviation."""
    noise = torch.stack([torch.randn(1000, generator=g, dtype=torch.float64) for g in streams(20)])
    found = sample(sampler, denoise, noise, steps, eta, streams(20))
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(STD, rel=0.05)


def test_a_step_of_ddpm_is_the_papers():
    """Ho et al. (2020), Eqns 6, 7 and 11, in float64: the step from t = 999 to 998."""
    beta = np.linspace(np.sqrt(1e-4), np.sqrt(2e-2), STEPS) ** 2
    kept = np.cumprod(1 - beta)
    t, z, e = 999, np.array([0.3, -1.2]), np.array([0.1, 0.4])
    mean = (z - beta[t] / np.sqrt(1 - kept[t]) * e) / np.sqrt(1 - beta[t])
    std = np.sqrt((1 - kept[t - 1]) / (1 - kept[t]) * beta[t])

    scheduler = METHODS["ddpm"].scheduler()
    scheduler.set_timesteps(STEPS)
    (generator,) = streams(1)
    e_B, z_B = torch.from_numpy(e)[None], torch.from_numpy(z)[None]
    step = scheduler.step(e_B, t, z_B, generator=[generator])
    draw = torch.randn(1, 2, generator=streams(1)[0], dtype=torch.float64).numpy()
    np.testing.assert_allclose(step.prev_sample, mean + std * draw, rtol=1e-5)
    assert samplers.noise_std(t, t - 1) == pytest.approx(std, rel=1e-5)


def test_the_noise_of_a_jump_is_its_steps_added_up():
    one_by_one = [samplers.noise_std(t, t - 1) for t in range(999, 949, -1)]
    assert samplers.noise_std(999, 949) == pytest.approx(sum(one_by_one))


@pytest.mark.parametrize("steps", [2, 8, 90, 1000])
def test_signal_grows_by_the_same_factor_from_step_to_step(steps):
    """A few lie within half a step of it; of many none fall together."""
    times = np.array(samplers.even_times(steps))
    assert times[0] == 999 and (np.diff(times) < 0).all() and len(times) == steps
    if steps <= 8:
        signal = np.log((KEPT / (1 - KEPT)).numpy())
        wanted = np.linspace(signal[999], signal[5], steps)
        assert (np.abs(np.interp(-wanted, -signal, np.arange(1000)) - times) <= 0.51).all()
    elif steps == 1000:
        assert times[-1] == 0


@pytest.mark.parametrize("sampler", METHODS)
def test_a_guide_moves_the_sample(sampler):
    """Pulled down by a constant slope, every sampler ends lower; the quick ones thrice as far."""
    noise = torch.stack([torch.randn(200, generator=g, dtype=torch.float64) for g in streams(4)])

    def down(z, t, clean, noise_std, careful):
        assert careful == (sampler != "ddpm") and clean.shape == z.shape
        return -0.01 * noise_std * torch.ones_like(z)

    plain = sample(sampler, denoise, noise, generators=streams(4))
    moved = sample(sampler, denoise, noise, generators=streams(4), guide=down)
    assert 0.1 < float((plain - moved).mean()) < 0.5


@pytest.mark.parametrize("sampler", METHODS)
def test_nan_stops_at_its_step_and_names_its_row(sampler):
    calls = []

    def broken(z, t):
        calls.append(t)
        found = denoise(z, t)
        if len(calls) == 3:
            found[1, 0] = torch.nan
        return found

    noise = torch.randn(3, 8, dtype=torch.float64)
    with pytest.raises(NotFinite, match=r"step 3 of 10 in rows \[1\]"):
        sample(sampler, broken, noise, steps=10, generators=streams(3))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sampler("euler"), "one of"),
        (lambda: Sampler("dpm++", eta=0.5), "eta"),
        (lambda: Sampler("ddim", eta=1.5), "eta"),
        (lambda: Sampler("dpm++").count(1), "steps as a whole number from 2"),
        (lambda: Sampler("ddpm").count(1001), "at most 1000 steps"),
        (lambda: Sampler("ddim").count(0), "found 0"),
        (lambda: Sampler("ddim").count(2.5), "whole number"),
    ],
)
def test_what_a_sampler_cannot_do_is_an_error(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", METHODS)
def test_a_sampler_starts_without_a_warning(name):
    assert len(METHODS[name].start(6).timesteps) == 6
