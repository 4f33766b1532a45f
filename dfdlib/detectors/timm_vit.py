"""Vision transformers of timm, given by their arguments or by a timm model name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors


def load(weights: Path, **arguments: Any) -> nn.Module:
    """A `timm` VisionTransformer with its weights.

    Args:
        weights: a state dict.
        arguments: those of timm.models.vision_transformer.VisionTransformer.
    """
    from timm.models.vision_transformer import VisionTransformer

    return load_strict(VisionTransformer(**arguments), read_tensors(weights), weights)
