"""Vision transformers in the checkpoint layout of Hugging Face's transformers (ViTForImageClassification).

They run on timm's implementation: loading that of transformers takes many seconds, and it renames its parameters from
one major version to the next, while published files keep their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors

PLACES = {
    "vit.embeddings.cls_token": "cls_token",
    "vit.embeddings.position_embeddings": "pos_embed",
    "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "vit.layernorm": "norm",
    "classifier": "head",
}
PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.attention.query": "q",
    "attention.attention.key": "k",
    "attention.attention.value": "v",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
LAYER = r"vit\.encoder\.layer\.(\d+)\.(.+)"


def load(
    weights: Path,
    *,
    image_size: int,
    patch_size: int,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    intermediate_size: int,
    layer_norm_eps: float,
    num_labels: int,
) -> nn.Module:
    """A ViT classifier with its weights; arguments by the names of its `config.json` (hidden_act must be "gelu").

    The network takes float32 (n, 3, image_size, image_size) and answers logits, float32 (n, num_labels).
    """
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=hidden_size,
        depth=num_hidden_layers,
        num_heads=num_attention_heads,
        mlp_ratio=intermediate_size / hidden_size,
        num_classes=num_labels,
        norm_layer=partial(nn.LayerNorm, eps=layer_norm_eps),
    )
    return load_strict(network, renamed(read_tensors(weights), LAYER, PARTS, PLACES), weights)


def renamed(
    tensors: Mapping[str, torch.Tensor], layer: str, parts: Mapping[str, str], places: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """Puts a transformer's tensors under timm's names, query, key and value joined.

    Args:
        tensors: a state dict.
        layer: pattern of a name within a layer, with groups for the layer's number and the rest.
        parts: timm's names of what is in a layer; q, k and v for the three that are joined.
        places: timm's names of everything else.

    Returns:
        A state dict. Tensors without a place keep their names, so that a strict load tells of them.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        inside = re.fullmatch(layer, name)
        stem, _, leaf = (inside[2] if inside else name).rpartition(".")
        if inside and stem in parts:
            found[f"blocks.{inside[1]}.{parts[stem]}.{leaf}"] = tensor
        elif name in places:
            found[places[name]] = tensor
        elif stem in places:
            found[f"{places[stem]}.{leaf}"] = tensor
        else:
            found[name] = tensor
    for query in [name for name in found if re.fullmatch(r"blocks\.\d+\.q\.\w+", name)]:
        three = [query.replace(".q.", f".{part}.") for part in "qkv"]
        if all(name in found for name in three):
            found[query.replace(".q.", ".attn.qkv.")] = torch.cat([found.pop(name) for name in three])
    return found
