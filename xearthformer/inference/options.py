"""The options of a forecast: one definition for `forecast`, `hindcast`, accessor and commands.

`Options` holds names, defaults and documentation; `documented` writes the documentation into the
docstrings of functions that spell the options out. Nothing here loads torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from ..fields.time_axis import LeadLike
    from ..models.prediff.samplers import Sampler
    from .guidance import Guidance

Precision = Literal["float32", "bf16"]
Beyond = Literal["climatology", "nan"]
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Options:
    """How to forecast.

    Parameters
    ----------
    lead : int, or a duration such as "60min", optional
        How far to forecast: a number of time steps, or a duration: text, a timedelta, a lead of
        another forecast. Default: as far as the pack reaches in one pass. Beyond that the model
        reads its own output, and the attribute `rollout` says from which lead on.
    members : int, optional
        Number of ensemble members, of a pack that can draw some. Default: one forecast. That of a
        nowcast isn't their mean: as much rain as is likely lies where most of it is likely.
    seed : int
        Random seed of an ensemble. Member m of an init depends on weights, data, seed, init and m
        alone: it has the same bits whatever other members and inits are asked for, at a given
        batch size.
    sampler : {"dpm++", "ddim", "ddpm"} or Sampler
        Sampler of a generative pack. "ddpm" is the one of the PreDiff paper and takes 1000 steps.
    steps : int, optional
        Number of sampling steps. Default: 6 for "dpm++", 50 for "ddim", 1000 for "ddpm".
    guidance : anticipated_intensity(...), constraint(...), or a list of these, optional
        What the members of an ensemble are steered towards.
    device : str
        "cpu", "cuda" or any other device of torch. "auto": a GPU if there is one.
    batch_size : int or "auto"
        Number of windows that run through the model at once; for a generative pack, of members,
        each counted once per tile of its domain. "auto": as many as keep the device busy.
    precision : {"float32", "bf16"}
        "bf16" is less exact, and faster on GPUs and on CPUs that have instructions for it; on
        others it may be slower (benchmarks/README.md).
    compile : bool
        Compile the network with torch.compile: a minute or more at first, worth it for many
        forecasts on a GPU.
    beyond : {"climatology", "nan"}
        What a nowcast says where rain comes from beyond what was seen (the coordinate `known`):
        the mean of the rain that was seen (an ensemble draws its members there), or NaN.
    """

    lead: LeadLike | None = None
    members: int | None = None
    seed: int = 0
    sampler: str | Sampler = "dpm++"
    steps: int | None = None
    guidance: Guidance | Sequence[Guidance] | None = None
    device: str = "auto"
    batch_size: int | Literal["auto"] = "auto"
    precision: Precision = "float32"
    compile: bool = False
    beyond: Beyond = "climatology"


def parameters() -> str:
    """Return the documentation of the options, as the lines of a numpy-style section."""
    doc = inspect.getdoc(Options) or ""  # empty under python -OO
    return doc.partition("----------\n")[2]


def descriptions() -> dict[str, str]:
    """Return what each option does, in one line: the help of the command line.

    >>> descriptions()["seed"][:36]
    'Random seed of an ensemble. Member m'
    """
    sections = re.findall(r"^(\w+) : .*\n((?: .*\n?)+)", parameters(), flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in sections}


def documented(function: Function) -> Function:
    """Replace the line `{options}` in a function's docstring by the documentation of the options.

    Examples
    --------
    >>> @documented
    ... def run():
    ...     '''Run it.
    ...
    ...     {options}
    ...     '''
    >>> print("\\n".join(inspect.getdoc(run).splitlines()[6:8]))
    members : int, optional
        Number of ensemble members, of a pack that can draw some. Default: one forecast. That of a
    """
    if function.__doc__:
        lines = inspect.getdoc(function) or ""
        function.__doc__ = lines.replace("{options}", parameters())
    return function
