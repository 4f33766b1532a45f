"""CNNDetection's ResNet-50, against timm's implementation."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from dfdlib.detectors import resnet50
from dfdlib.errors import DfdError


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    network = timm.create_model("resnet50", num_classes=1).train()
    with torch.no_grad():
        for _ in range(8):  # statistics of its own: with the initial ones, what the image says fades away
            network(torch.randn(4, 3, 48, 48))
    return network.eval()


def test_checkpoints_and_state_dicts_give_timms_logits(theirs, tmp_path):
    optimizer = torch.optim.Adam(theirs.parameters())
    torch.save(
        {"model": theirs.state_dict(), "optimizer": optimizer.state_dict(), "total_steps": 7}, tmp_path / "training.pth"
    )
    torch.save(theirs.state_dict(), tmp_path / "plain.pth")
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 97, 64)).astype(np.float32))
    images *= torch.tensor([0.2, 1, 4]).view(3, 1, 1, 1)
    with torch.inference_mode():
        expected = theirs(images)
        assert expected.std() > 0.02
        for name in ("training.pth", "plain.pth"):
            torch.testing.assert_close(resnet50.load(tmp_path / name)(images), expected, rtol=0, atol=1e-5)


class Trap:
    def __reduce__(self):
        return (open, ("trap-was-sprung", "w"))


def test_other_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(DfdError, match="would run its code"):
        resnet50.load(tmp_path / "trap.pth")
    assert not (tmp_path / "trap-was-sprung").exists()
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(DfdError, match="does not fit the architecture"):
        resnet50.load(tmp_path / "other.pth")
