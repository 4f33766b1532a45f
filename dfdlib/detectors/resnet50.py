"""ResNet-50 with one logit, as CNNDetection uses it (Wang et al., "CNN-generated images are surprisingly easy to
spot... for now", CVPR 2020, arXiv 1912.11035)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors


def load(weights: Path) -> nn.Module:
    """The network with its weights; float32 (n, 3, height, width), normalised as ImageNet, to (n, 1), logit of FAKE.

    Args:
        weights: a state dict, or a training checkpoint that holds it under `model`.
    """
    from torchvision.models import resnet50

    return load_strict(resnet50(num_classes=1), read_tensors(weights), weights)
