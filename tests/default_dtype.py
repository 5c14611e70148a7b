"""Another default dtype of torch, around what has to heed none."""

from contextlib import contextmanager

import torch


@contextmanager
def default_dtype(dtype):
    """Another default dtype, which is that of the process; it stays as the user has set it."""
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
