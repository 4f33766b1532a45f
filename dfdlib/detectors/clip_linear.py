"""One linear layer on CLIP's image features.

Ojha et al., "Towards Universal Fake Image Detectors that Generalize Across Generative Models" (CVPR 2023,
arXiv 2302.10174). The authors publish the linear layer alone; `join` puts it into one file with CLIP's image side, so
that a card and its digest mean all the weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dfdlib.detectors.state import load_strict, read_tensors
from dfdlib.detectors.transformers_vit import renamed
from dfdlib.errors import DfdError
from dfdlib.paths import written_whole

PLACES = {
    "vision_model.embeddings.class_embedding": "vision.cls_token",
    "vision_model.embeddings.position_embedding.weight": "vision.pos_embed",
    "vision_model.embeddings.patch_embedding": "vision.patch_embed.proj",
    "vision_model.pre_layrnorm": "vision.norm_pre",  # sic, in every published file
    "vision_model.post_layernorm": "vision.norm",
    "visual_projection": "projection",
}
PARTS = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
LAYER = r"vision_model\.encoder\.layers\.(\d+)\.(.+)"


class ClipLinear(nn.Module):
    """CLIP's vision transformer, its projection, and a linear layer to one logit.

    `forward`: float32 (n, 3, image_size, image_size), normalised with CLIP's mean and std, to float32 (n, 1), the logit
    of FAKE. The features are not brought to unit length, as in the authors' code.

    Args:
        image_size, patch_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, projection_dim:
            as in CLIP's `config.json`; the defaults are ViT-L/14.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 14,
        hidden_size: int = 1024,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        intermediate_size: int = 4096,
        projection_dim: int = 768,
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        self.vision = VisionTransformer(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=hidden_size,
            depth=num_hidden_layers,
            num_heads=num_attention_heads,
            mlp_ratio=intermediate_size / hidden_size,
            num_classes=0,
            pre_norm=True,
            act_layer="quick_gelu",
            norm_layer=nn.LayerNorm,
        )
        self.projection = nn.Linear(hidden_size, projection_dim, bias=False)
        self.fc = nn.Linear(projection_dim, 1)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.fc(self.projection(self.vision(rgb)))


def load(weights: Path, **arguments: int) -> nn.Module:
    """The network with the weights of a file that `join` wrote; arguments as in `ClipLinear`."""
    tensors = {
        f"vision.{name}" if name.startswith("blocks.") else name: tensor
        for name, tensor in renamed(read_tensors(weights), LAYER, PARTS, PLACES).items()
    }
    for name in ("vision.cls_token", "vision.pos_embed"):
        if name in tensors:
            tensors[name] = tensors[name].reshape(1, -1, tensors[name].shape[-1])
    return load_strict(ClipLinear(**arguments), tensors, weights)


def join(clip: Path, linear: Path, out: Path) -> Path:
    """Writes CLIP's image side and a linear layer into one file. The same inputs give the same bytes.

    Args:
        clip: a CLIP model in the layout of transformers (`model.safetensors`); its text side is left out.
        linear: the linear layer's `weight` and `bias`.
        out: the safetensors file to write.

    Raises:
        DfdError: files of another kind.
    """
    from safetensors.torch import save_file

    image_side = {
        name: tensor.float().contiguous()
        for name, tensor in read_tensors(clip).items()
        # The positions 0, 1, 2, ... that older versions stored are no weights.
        if name.startswith(("vision_model.", "visual_projection.")) and not name.endswith(".position_ids")
    }
    layer = read_tensors(linear)
    if "visual_projection.weight" not in image_side:
        raise DfdError(
            f"{clip}: holds no image side of CLIP.", "Give model.safetensors of openai/clip-vit-large-patch14."
        )
    if set(layer) != {"weight", "bias"}:
        raise DfdError(f"{linear}: not one linear layer.", "Give the authors' fc_weights.pth.")
    head = {f"fc.{name}": tensor.float().contiguous() for name, tensor in layer.items()}
    with written_whole(out) as temporary:
        save_file(image_side | head, temporary)
    return out
