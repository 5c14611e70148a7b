"""What a user has set in torch, for the process or around a call, changes no network."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

ONE = threading.RLock()  # training at a time: default dtype and random numbers are the process's


@contextmanager
def defaults() -> Iterator[None]:
    """Make tensors on the CPU, and outside of inference mode: its tensors have no gradients.

    Another device is that of a user who calls `torch.set_default_device("cuda")`.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device().type != "cpu":  # a context, which each call of torch looks at
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def training() -> Iterator[None]:
    """As `defaults`; with gradients, in float32, and without the autocast that is on around.

    Other threads that train wait: they would draw from one another's random numbers.
    """
    with ONE, defaults(), torch.enable_grad(), ExitStack() as stack:
        dtype = torch.get_default_dtype()
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
