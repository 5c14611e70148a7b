"""Samplers: from noise to a sample, with a denoiser of which they know nothing else.

`ddpm` is the paper's (Ho et al. 2020, "DDPM"). `ddim` (Song et al. 2021) and `dpm++` (Lu et al.
2022, multistep, order 2) go through the same diffusion in fewer steps; `dpm++` adds noise on the
way, which corrects a denoiser's errors. The steps themselves are those of diffusers' schedulers.
Legend of the shape suffixes: B batch; the other dims of a sample are the denoiser's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ...errors import ignored, mismatch, whole_number

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

STEPS = 1000  # of the diffusion
LAST = 5  # of them, where few steps end: at 0 only a hundredth of noise is left to find
# The schedule that the published denoiser was trained on: sqrt(beta) grows linearly with t.
BETAS = {"beta_start": 1e-4, "beta_end": 2e-2, "beta_schedule": "scaled_linear"}

Denoise = Callable[[Tensor, int], Tensor]  # (z_t, t) -> the noise in z_t
Guide = Callable[[Tensor, int, Tensor, float, bool], Tensor]  # see `sample`


class NotFinite(ArithmeticError):
    """NaN or infinity in a sample, with the step and the rows of the batch where it appeared."""

    def __init__(self, step: int, steps: int, rows: list[int]) -> None:
        super().__init__(f"NaN or infinity at step {step} of {steps} in rows {rows}")
        self.step, self.steps, self.rows = step, steps, rows


@dataclass(frozen=True)
class Method:
    """A scheduler of diffusers, with its options and the numbers of steps it can take."""

    scheduler_name: str
    steps: int  # by default
    fewest: int
    has_eta: bool = False
    even: bool = False  # its steps are those of `even_times`
    options: Mapping[str, object] = field(default_factory=dict)

    def scheduler(self) -> SchedulerMixin:
        """Return a new scheduler, without steps yet; each holds the state of one sampling."""
        import diffusers

        # "trailing": the first step is at t = 999, where z is pure noise (Lin et al. 2024).
        schedule = {"num_train_timesteps": STEPS, **BETAS, "timestep_spacing": "trailing"}
        return getattr(diffusers, self.scheduler_name)(**schedule, **self.options)

    def start(self, steps: int) -> SchedulerMixin:
        """Return a new scheduler that takes this number of steps."""
        scheduler = self.scheduler()
        asked = {"timesteps": even_times(steps)} if self.even else {"num_inference_steps": steps}
        with ignored("__array__ implementation", DeprecationWarning):  # NumPy of a tensor
            scheduler.set_timesteps(**asked)
        return scheduler


METHODS: dict[str, Method] = {
    # "fixed_small" is the posterior variance (DDPM, Eqn 7). Latents have no bounds to clip at.
    "ddpm": Method(
        "DDPMScheduler", STEPS, 1, options={"variance_type": "fixed_small", "clip_sample": False}
    ),
    "ddim": Method("DDIMScheduler", 50, 1, has_eta=True, options={"clip_sample": False}),
    # Order 2 looks back one step: a single step would be of order 1.
    "dpm++": Method(
        "DPMSolverMultistepScheduler",
        6,
        2,
        even=True,
        options={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
}


@dataclass(frozen=True)
class Sampler:
    """A sampler with its options.

    Parameters
    ----------
    name : {"ddpm", "ddim", "dpm++"}
    eta : float
        Noise added on the way; "ddim" only. 0 adds none, 1 adds as much as "ddpm".

    Raises
    ------
    ValueError
        When the name is unknown; when eta is outside 0 .. 1, or not 0 for another sampler.

    Examples
    --------
    >>> import xearthformer as xef
    >>> xef.Sampler("ddim", eta=0.5)
    Sampler(name='ddim', eta=0.5)
    >>> xef.Sampler("dpm++", eta=0.5)
    Traceback (most recent call last):
    ...
    ValueError: expected eta of 0 .. 1 for ddim, 0 for others, found Sampler(name='dpm++', eta=0.5)
    """

    name: str
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise ValueError(f"expected a sampler, one of {list(METHODS)}, found {self.name!r}")
        if not 0 <= self.eta <= METHODS[self.name].has_eta:
            raise ValueError(f"expected eta of 0 .. 1 for ddim, 0 for others, found {self}")

    def count(self, steps: int | None) -> int:
        """Return the number of steps to take: the sampler's default where `steps` is None.

        >>> Sampler("dpm++").count(None), Sampler("ddpm").count(100)
        (6, 100)
        """
        method = METHODS[self.name]
        if steps is None:
            return method.steps
        hint = f"steps={method.steps}, the default of {self.name}"
        steps = whole_number("steps", steps, method.fewest, hint)
        if steps > STEPS:
            raise mismatch(f"at most {STEPS} steps, those of the diffusion", str(steps), hint)
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
    """Take all the noise away from z_B, standard normal noise, step by step; return the sample.

    `denoise(z_t, t)` returns the noise in z_t at step t, an int of 0 .. 999. `steps` is the
    sampler's own number (see `METHODS`) by default; `eta` is that of `Sampler`. With a generator
    per row, a row's noise is drawn from its own. NotFinite is raised at the first step whose result
    is not finite.

    `guide(z_t, t, z_0, noise_std, careful)` returns what to move z by after a step; z_0 is the
    clean sample that the step predicts. `noise_std` is the standard deviation of the noise of a
    DDPM step at t; for a sampler that takes many such steps at once it is their sum, and `careful`
    is true: stop at the target.

    Examples
    --------
    Where the data is 0 everywhere, all of z is noise:

    >>> def denoise(z, t):
    ...     return z / (1 - alphas_cumprod()[t]).sqrt()
    >>> bool(sample("dpm++", denoise, torch.randn(4, 2)).abs().max() < 1e-3)
    True
    """
    method = METHODS[sampler]
    scheduler = method.start(steps := steps or method.steps)
    times = [*scheduler.timesteps.tolist(), -1]  # t = -1: the clean sample
    options = {"generator": generators, **({"eta": eta} if method.has_eta else {})}
    alphas = alphas_cumprod().to(z_B.device)
    for number, (t, next_t) in enumerate(zip(times, times[1:], strict=False), start=1):
        noise_B = denoise(z_B, t)
        # The scheduler keeps its own z: the guide's shift comes on top of a whole step.
        step_B = scheduler.step(noise_B, t, z_B, **options).prev_sample
        if guide is not None:
            # DDPM, Eqn 15: the clean sample, from z_t and the noise in it.
            clean_B = (z_B - (1 - alphas[t]).sqrt() * noise_B) / alphas[t].sqrt()
            single = sampler == "ddpm" and next_t == t - 1
            step_B = step_B + guide(z_B, t, clean_B, noise_std(t, next_t), not single)
        z_B = step_B
        finite_B = z_B.flatten(1).isfinite().all(dim=1)
        if not finite_B.all():  # no later step could bring such a row back
            raise NotFinite(number, steps, torch.nonzero(~finite_B)[:, 0].tolist())
    return z_B


@lru_cache
def _schedule() -> SchedulerMixin:
    """Return a scheduler for its constants; each sampling has its own, as they hold state."""
    return METHODS["ddpm"].scheduler()


def alphas_cumprod() -> Tensor:
    """Return the share of the data's variance that is left at each step (1000,)."""
    return _schedule().alphas_cumprod


def even_times(steps: int) -> list[int]:
    """Return steps of the diffusion, 999 first, between which signal grows by the same factor.

    Signal over noise, of which `dpm++` takes the logarithm for its time (Lu et al. 2022): members
    of 6 such steps score as those of 20 evenly spaced ones. The path ends at `LAST`; where steps
    would fall together, they go on down to 0.

    Examples
    --------
    >>> even_times(6)
    [999, 830, 577, 249, 59, 5]
    """
    kept = alphas_cumprod().double()
    signal = (kept / (1 - kept)).log()  # over noise, falling with t
    wanted = torch.linspace(float(signal[-1]), float(signal[LAST]), steps, dtype=torch.float64)
    nearest = (signal - wanted[:, None]).abs().argmin(dim=1)
    count = torch.arange(steps)
    distinct = (nearest + count).cummin(dim=0).values - count
    return distinct.maximum(steps - 1 - count).tolist()


def noise_std(t: int, next_t: int) -> float:
    """Return the sum of the noise's standard deviations over the DDPM steps from t to `next_t`.

    A single step's is the posterior standard deviation (DDPM, Eqn 7); the last step has none:

    >>> round(noise_std(999, 998), 4), noise_std(0, -1)
    (0.1414, 0.0)
    """
    alphas = alphas_cumprod().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    variance = (1 - before) / (1 - alphas) * (1 - alphas / before)
    return float(variance[next_t + 1 : t + 1].sqrt().sum())


def add_noise(clean_B: Tensor, noise_B: Tensor, t_B: Tensor) -> Tensor:
    """Return data with noise at steps t (DDPM, Eqn 4)."""
    return _schedule().add_noise(clean_B, noise_B, t_B)
