"""Meso4 and MesoInception4: small CNNs for 256 x 256 faces.

Afchar et al., "MesoNet: a Compact Facial Video Forgery Detection Network" (WIFS 2018, arXiv 1809.00888); layers as in
the authors' code, whose Keras 2 weights files are read as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dfdlib.detectors.keras_h5 import read_arrays
from dfdlib.detectors.state import load_strict, read_tensors
from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import numpy as np

EPSILON = 1e-3  # of Keras's batch normalisation; torch's is 1e-5


class Inception(nn.Module):
    """1x1 convolution beside three of 1x1 then 3x3, with dilation 1, 2 and 3; each with ReLU."""

    def __init__(self, before: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, *others = widths
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(before, first, 1), nn.ReLU())])
        for dilation, width in enumerate(others, start=1):
            wide = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            self.branches.append(nn.Sequential(nn.Conv2d(before, width, 1), nn.ReLU(), wide, nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Meso(nn.Module):
    """Four stages of convolution, ReLU, batch normalisation and max pooling; Linear 16, LeakyReLU .1, Linear 1.

    `forward`: float32 (n, 3, 256, 256) in [0, 1] to float32 (n, 1), the logit of REAL (the authors' code ends in a
    sigmoid).

    Args:
        inception: MesoInception4, whose first two stages are inception modules.
    """

    def __init__(self, *, inception: bool = False) -> None:
        super().__init__()
        if inception:
            head = [Inception(3, (1, 4, 4, 2)), Inception(11, (2, 4, 4, 2))]
            widths = (11, 12, 16, 16)
        else:
            head = [_convolution(3, 8, 3), _convolution(8, 8, 5)]
            widths = (8, 8, 16, 16)
        features = [*head, _convolution(widths[1], 16, 5), _convolution(16, 16, 5)]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(feature, nn.BatchNorm2d(width, eps=EPSILON), nn.MaxPool2d(pool))
                for feature, width, pool in zip(features, widths, (2, 2, 2, 4), strict=True)
            )
        )
        self.classifier = nn.Sequential(nn.Linear(1024, 16), nn.LeakyReLU(0.1), nn.Linear(16, 1))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        # Keras flattens with the channels last.
        return self.classifier(self.stages(rgb).permute(0, 2, 3, 1).flatten(1))


def _convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU())


def load(weights: Path, *, inception: bool = False) -> nn.Module:
    """The network with the authors' weights (.h5), or with a state dict of `Meso`.

    Raises:
        DfdError: a file of another network.
    """
    network = Meso(inception=inception)
    keras = weights.suffix == ".h5"
    tensors = _translated(read_arrays(weights), network, weights) if keras else read_tensors(weights)
    return load_strict(network, tensors, weights)


def _translated(arrays: dict[str, np.ndarray], network: Meso, path: Path) -> dict[str, torch.Tensor]:
    """Keras's arrays under the network's names.

    Keras numbers the layers of a kind in the order in which they were made, beginning anywhere; this module makes them
    in the same order.
    """
    kinds = (
        ("conv2d", nn.Conv2d, ("weight", "bias"), ("kernel", "bias")),
        ("dense", nn.Linear, ("weight", "bias"), ("kernel", "bias")),
        (
            "batch_normalization",
            nn.BatchNorm2d,
            ("weight", "bias", "running_mean", "running_var"),
            ("gamma", "beta", "moving_mean", "moving_variance"),
        ),
    )
    tensors = {}
    for kind, layer_type, ours, theirs in kinds:
        own = [name for name, module in network.named_modules() if isinstance(module, layer_type)]
        stored = _numbered(arrays, kind)
        if len(own) != len(stored):
            raise DfdError(
                f"{path}: holds {len(stored)} layers '{kind}', the network has {len(own)}.",
                "Check the card's `inception` against the file.",
            )
        for name, layer in zip(own, stored, strict=True):
            for our, their in zip(ours, theirs, strict=True):
                if f"{layer}/{their}" in arrays:
                    tensors[f"{name}.{our}"] = _tensor(arrays.pop(f"{layer}/{their}"))
            if kind == "batch_normalization":
                tensors[f"{name}.num_batches_tracked"] = torch.tensor(0)
    # What is left over shows up as surplus in the strict load.
    return tensors | {name: torch.from_numpy(array) for name, array in arrays.items()}


def _numbered(names: Iterable[str], kind: str) -> list[str]:
    """Layers of a kind by number: "dense" (0), "dense_1", ..., "dense_10"."""
    layers = {name.split("/")[0] for name in names}
    numbers = {layer: layer.removeprefix(kind).removeprefix("_") or "0" for layer in layers if layer.startswith(kind)}
    return sorted(
        (layer for layer, number in numbers.items() if number.isdigit()), key=lambda layer: int(numbers[layer])
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    """Keras's (height, width, in, out) and (in, out) as torch's (out, in, height, width) and (out, in)."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return torch.from_numpy(array.copy())
