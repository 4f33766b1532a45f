"""ViT checkpoints of transformers on timm, against transformers itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dfdlib.detectors import transformers_vit
from dfdlib.errors import DfdError

TINY = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-2,  # far from any default, so that ignoring it shows
    "num_labels": 2,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A classifier with random weights, saved by transformers as it is published, and the classifier."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(3)
    network = ViTForImageClassification(ViTConfig(**TINY)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("vit")
    network.save_pretrained(folder)
    return folder / "model.safetensors", network


def test_logits_equal_those_of_transformers(published):
    path, theirs = published
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32))
    ours = transformers_vit.load(path, **TINY)
    with torch.inference_mode():
        expected = theirs(pixel_values=images).logits
        answer = ours(images)
    assert expected.std(dim=0).min() > 0.01  # the logits depend on the images
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)


def test_published_names_are_those_of_the_hub(published):
    """Files on the hub carry these names, whatever the installed transformers calls its own parameters."""
    names = set(load_file(published[0]))
    assert {
        "vit.embeddings.patch_embeddings.projection.weight",
        "vit.encoder.layer.1.attention.attention.query.bias",
        "vit.encoder.layer.0.attention.output.dense.weight",
        "vit.encoder.layer.0.intermediate.dense.weight",
        "classifier.weight",
    } <= names


def test_weights_load_whole_or_not_at_all(published, tmp_path):
    whole = load_file(published[0])
    for name, change in {
        "missing": lambda w: w.pop("vit.encoder.layer.1.attention.attention.key.weight"),
        "surplus": lambda w: w.update({"vit.pooler.dense.bias": torch.zeros(24)}),
        "shape": lambda w: w.update({"classifier.weight": torch.zeros(3, 24)}),
    }.items():
        tensors = dict(whole)
        change(tensors)
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(DfdError, match="does not fit the architecture"):
            transformers_vit.load(tmp_path / f"{name}.safetensors", **TINY)
    with pytest.raises(DfdError, match="does not fit the architecture"):
        transformers_vit.load(published[0], **{**TINY, "num_hidden_layers": 3})
