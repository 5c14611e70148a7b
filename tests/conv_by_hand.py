"""Convolutions and gates in numpy, as the equations of recurrent networks have them."""

import numpy as np
import torch
from torch import nn


def convolve(x_CHW: np.ndarray, layer: nn.Conv2d, channels: slice = slice(None)) -> np.ndarray:
    """W * x + b of some output channels: the sum over a window around each place, zeros outside."""
    w_OChw = layer.weight.detach().numpy()[channels]
    k, (_, height, width) = w_OChw.shape[-1], x_CHW.shape
    padded = np.pad(x_CHW, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    y_OHW = np.zeros((len(w_OChw), height, width))
    for row in range(height):
        for column in range(width):
            window_Chw = padded[:, row : row + k, column : column + k]
            y_OHW[:, row, column] = (w_OChw * window_Chw).sum(axis=(1, 2, 3))
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()[channels, None, None]
    return y_OHW + bias


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
