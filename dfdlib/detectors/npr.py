"""NPR: neighbouring pixel relationships before a truncated ResNet-50.

Tan et al., "Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake
Detection" (CVPR 2024, arXiv 2312.10461); layers and constants as in the authors' code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors


class NPR(nn.Module):
    """Stem and the first two stages of ResNet-50 on the differences within 2 x 2 blocks; the stem's kernel is 3 x 3.

    `forward`: float32 (n, 3, height, width), normalised as ImageNet, to float32 (n, 1), the logit of FAKE. An odd last
    row or column is cut off, as the authors advise.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1, self.relu, self.maxpool = whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2 = whole.layer1, whole.layer2
        self.fc1 = nn.Linear(512, 1)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(relationships(rgb) * 2.0 / 3.0))))
        return self.fc1(self.layer2(self.layer1(x)).mean(dim=(2, 3)))


def relationships(rgb: torch.Tensor) -> torch.Tensor:
    """Each pixel minus the upper left one of its 2 x 2 block: what halving and doubling by nearest neighbours loses.

    Args:
        rgb: (n, channels, height, width).

    Returns:
        The same shape, less an odd last row or column.
    """
    rgb = rgb[..., : rgb.shape[2] // 2 * 2, : rgb.shape[3] // 2 * 2]
    corners = rgb[..., ::2, ::2]
    return rgb - corners.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def load(weights: Path) -> nn.Module:
    """The network with its weights, a plain state dict."""
    return load_strict(NPR(), read_tensors(weights), weights)
