"""A CNN of three convolutions with overlapping max pooling, for 256 x 256 images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors


class CNN3(nn.Module):
    """Conv 3-32, 32-16, 16-8 (kernel 5), each with ReLU and MaxPool(5, stride 2); Linear 32, ReLU, Linear 2, softmax.

    `forward`: float32 (n, 3, 256, 256) in [0, 1] to float32 (n, 2), probabilities.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 16), (16, 8)):
            layers += [nn.Conv2d(before, after, 5), nn.ReLU(), nn.MaxPool2d(5, stride=2)]
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(8 * 25 * 25, 32), nn.ReLU(), nn.Linear(32, 2), nn.Softmax(dim=1)
        )

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.layers(rgb)


def load(weights: Path) -> nn.Module:
    """The network with its weights."""
    return load_strict(CNN3(), read_tensors(weights), weights)
