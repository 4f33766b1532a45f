"""A detector that is quick to make and to run: a one-layer ViT with random weights, as card and weights file."""

from __future__ import annotations

from pathlib import Path

import yaml

from dfdlib import digests

ARGUMENTS = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 1}


def make(folder: Path, name: str = "tiny", seed: int = 0, **changes) -> Path:
    """Writes weights and card into a folder; returns the card's path. `changes` replace keys of the card."""
    import torch
    from safetensors.torch import save_file
    from timm.models.vision_transformer import VisionTransformer

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = VisionTransformer(**ARGUMENTS)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    weights = folder / f"{name}.safetensors"
    save_file(network.state_dict(), weights)
    card = {
        "schema": 1,
        "name": name,
        "family": "vit",
        "summary": "Random weights.",
        "architecture": "timm-vit",
        "arguments": ARGUMENTS,
        "weights": {
            "source": {"kind": "local"},
            "file": weights.name,
            "sha256": digests.of_file(weights),
            "bytes": weights.stat().st_size,
            "licence": "Apache-2.0",
        },
        "input": {"size": [32, 32], "resize": {"mode": "exact", "interpolation": "bicubic", "library": "pil"}},
        "output": {"kind": "logit", "positive": "fake"},
        "trained_on": "nothing",
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    return path
