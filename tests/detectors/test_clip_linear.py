"""A linear layer on CLIP's features, against CLIP as transformers runs it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dfdlib.detectors import clip_linear
from dfdlib.errors import DfdError

TINY = {
    "image_size": 28,
    "patch_size": 7,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "projection_dim": 12,
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """CLIP's image side with random weights, a linear layer, and the files of both; a text tower is in the file too."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(5)
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY)).eval()
    linear = torch.nn.Linear(12, 1)
    for parameter in [*clip.parameters(), *linear.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("clip")
    clip.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    others = {
        "text_model.final_layer_norm.weight": torch.ones(24),
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "logit_scale": torch.tensor(4.6),
    }
    save_file(tensors | others, folder / "model.safetensors")
    torch.save(linear.state_dict(), folder / "fc.pth")
    return folder, clip, linear


def test_logits_equal_those_of_transformers(parts, tmp_path):
    folder, clip, linear = parts
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 3, 28, 28)).astype(np.float32))
    path = clip_linear.join(folder / "model.safetensors", folder / "fc.pth", tmp_path / "joined.safetensors")
    ours = clip_linear.load(path, **TINY)
    with torch.inference_mode():
        expected = linear(clip(pixel_values=images).image_embeds)
        answer = ours(images)
    assert expected.std() > 0.01
    assert answer.shape == (4, 1)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)


def test_joining_gives_the_same_bytes_and_leaves_the_text_out(parts, tmp_path):
    folder = parts[0]
    paths = [
        clip_linear.join(folder / "model.safetensors", folder / "fc.pth", tmp_path / f"{i}.safetensors") for i in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not [name for name in load_file(paths[0]) if name.startswith(("text_model", "logit_scale"))]


def test_other_files_are_refused(parts, tmp_path):
    folder = parts[0]
    with pytest.raises(DfdError, match="holds no image side"):
        clip_linear.join(folder / "fc.pth", folder / "fc.pth", tmp_path / "x.safetensors")
    with pytest.raises(DfdError, match="not one linear layer"):
        clip_linear.join(folder / "model.safetensors", folder / "model.safetensors", tmp_path / "x.safetensors")
    with pytest.raises(DfdError, match="does not fit the architecture"):
        clip_linear.load(folder / "model.safetensors", **TINY)
    assert not list(tmp_path.iterdir())
