"""Samplers: from noise to a sample, by a denoiser that they know nothing else of.

`ddpm` is the paper's (Ho et al. 2020), `ddim` (Song et al. 2021) and `dpm++` (Lu et al. 2022,
multistep, order 2, with noise on the way, which makes up for a denoiser's errors) go through the
same diffusion in fewer steps. The steps themselves are those of diffusers' schedulers. Legend of
the shape suffixes: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Generator, Tensor

STEPS = 1000  # of the diffusion
BETAS = {
    "num_train_timesteps": STEPS,
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "beta_schedule": "scaled_linear",
}

Denoise = Callable[[Tensor, int], Tensor]  # (z_t, t) to the noise in it
Guide = Callable[[Tensor, int, Tensor, float, bool], Tensor]  # see `sample`


class NotFinite(ArithmeticError):
    """A sampler that met NaN or infinity: at which step, and in which rows of its batch."""

    def __init__(self, step: int, steps: int, rows: list[int]) -> None:
        super().__init__(f"NaN or infinity at step {step} of {steps} in rows {rows}")
        self.step, self.steps, self.rows = step, steps, rows


@dataclass(frozen=True)
class Method:
    """A sampler: how its scheduler is made, how many steps it takes, what its steps are told."""

    scheduler: Callable[[], Any]
    steps: int  # unless told otherwise
    fewest: int
    step_options: Callable[[float, Any], dict[str, Any]]


def _ddpm() -> Any:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    spacing = {"timestep_spacing": "trailing"}
    return DDPMScheduler(**BETAS, variance_type="fixed_small", clip_sample=False, **spacing)


def _ddim() -> Any:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**BETAS, clip_sample=False, timestep_spacing="trailing")


def _dpm() -> Any:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="sde-dpmsolver++", solver_order=2, timestep_spacing="trailing"
    )


METHODS: dict[str, Method] = {
    "ddpm": Method(_ddpm, STEPS, 1, lambda eta, generators: {"generator": generators}),
    "ddim": Method(_ddim, 50, 1, lambda eta, generators: {"eta": eta, "generator": generators}),
    "dpm++": Method(_dpm, 20, 2, lambda eta, generators: {"generator": generators}),
}


@dataclass(frozen=True)
class Sampler:
    """A sampler by its name, and what else it can be told.

    Parameters
    ----------
    name : {"ddpm", "ddim", "dpm++"}
    eta : float
        Of ddim: 0 adds no noise on the way, 1 adds as much as ddpm.

    Raises
    ------
    ValueError
        An unknown name; an eta outside 0 .. 1, or of a sampler that has none.
    """

    name: str
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise ValueError(f"expected a sampler, one of {list(METHODS)}, found {self.name!r}")
        if not 0 <= self.eta <= (self.name == "ddim"):
            raise ValueError(f"expected eta of 0 .. 1 for ddim, 0 for others, found {self}")

    def count(self, steps: int | None) -> int:
        """The steps to take: its own number where None is asked; an error where it can't be.

        >>> Sampler("dpm++").count(None), Sampler("ddpm").count(100)
        (20, 100)
        """
        method = METHODS[self.name]
        if steps is None:
            return method.steps
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise ValueError(f"expected steps as a whole number, found {steps!r}")
        if not method.fewest <= steps <= STEPS:
            raise ValueError(
                f"expected {method.fewest} .. {STEPS} steps of {self.name}, found {steps}: "
                f"steps={method.steps} is usual"
            )
        return steps


def sample(
    sampler: str,
    denoise: Denoise,
    z_B: Tensor,
    steps: int | None = None,
    eta: float = 0.0,
    generators: Sequence[Generator] | Generator | None = None,
    guide: Guide | None = None,
) -> Tensor:
    """Take all the noise away, step by step.

    Parameters
    ----------
    sampler : {"ddpm", "ddim", "dpm++"}
    denoise : (z_t, t) -> noise
        The noise in z at step t, an int of 0 .. 999.
    z_B : Tensor
        Standard normal noise to begin with.
    steps : int or None
        None: 1000 for ddpm, 50 for ddim, 20 for dpm++.
    eta : float
        Of ddim: 0 adds no noise on the way, 1 adds as much as ddpm.
    generators : list of Generator
        One a row; what noise a step adds to a row comes from the row's own.
    guide : (z_t, t, z_0, strength, careful) -> shift
        What to move z by after a step; z_0 is the clean sample that the step predicts. `strength`
        is the standard deviation of the noise of a DDPM step at t; for a sampler that takes many
        such steps at once it is their sum, and `careful` is true: stop where the aim is reached.

    Returns
    -------
    Tensor
        Of the shape of z_B.

    Raises
    ------
    NotFinite
        At the first step whose result isn't finite.

    Examples
    --------
    Of data that is 0 everywhere, all of z is noise:

    >>> def denoise(z, t):
    ...     return z / (1 - alphas_cumprod()[t]).sqrt()
    >>> bool(sample("dpm++", denoise, torch.randn(4, 2)).abs().max() < 1e-3)
    True
    """
    method = METHODS[sampler]
    scheduler = method.scheduler()
    scheduler.set_timesteps(steps := steps or method.steps)
    times = [*scheduler.timesteps.tolist(), -1]
    options = method.step_options(eta, generators)
    kept_B = alphas_cumprod().to(z_B.device)
    for number, (t, then) in enumerate(zip(times, times[1:], strict=False), start=1):
        noise_B = denoise(z_B, t)
        step = scheduler.step(noise_B, t, z_B, **options)
        if guide is not None:
            clean_B = (z_B - (1 - kept_B[t]).sqrt() * noise_B) / kept_B[t].sqrt()
            whole = sampler == "ddpm" and then == t - 1
            shift_B = guide(z_B, t, clean_B, strength(t, then), not whole)
            z_B = step.prev_sample + shift_B
        else:
            z_B = step.prev_sample
        finite_B = z_B.flatten(1).isfinite().all(dim=1)
        if not finite_B.all():
            raise NotFinite(number, steps, torch.nonzero(~finite_B)[:, 0].tolist())
    return z_B


_schedule = lru_cache(_ddpm)  # for what isn't sampling, which has schedulers of its own


def alphas_cumprod() -> Tensor:
    """The share of the data's variance that is left at each step (1000,)."""
    return _schedule().alphas_cumprod


def strength(t: int, then: int) -> float:
    """Standard deviations of the noise of the DDPM steps from t down to `then`, added up.

    Examples
    --------
    One step's is the posterior standard deviation, and the last step has none:

    >>> round(strength(999, 998), 4), strength(0, -1)
    (0.1414, 0.0)
    """
    kept = alphas_cumprod().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    variance = (1 - before) / (1 - kept) * (1 - kept / before)
    return float(variance[then + 1 : t + 1].sqrt().sum())


def noisy(clean_B: Tensor, noise_B: Tensor, t_B: Tensor) -> Tensor:
    """Data with noise at steps t (Ho et al. 2020, Eqn 4)."""
    return _schedule().add_noise(clean_B, noise_B, t_B)
