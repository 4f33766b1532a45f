"""NPR: the differences against torch's own interpolation, the network against one built of timm's blocks."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.nn import functional as F

from dfdlib.detectors import npr
from dfdlib.errors import DfdError


def down_and_up(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(F.interpolate(x, scale_factor=0.5, mode="nearest"), scale_factor=2, mode="nearest")


@pytest.mark.parametrize("size", [(2, 2), (256, 256), (64, 98)])
def test_differences_are_what_resampling_loses(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(npr.relationships(x), x - down_and_up(x))


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (9, 9)])
def test_odd_rows_and_columns_are_cut_off(size):
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    even = x[..., : size[0] // 2 * 2, : size[1] // 2 * 2]
    assert torch.equal(npr.relationships(x), even - down_and_up(even))


class Reference(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        whole = timm.create_model("resnet50", num_classes=1)
        self.conv1 = torch.nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1, self.layer1, self.layer2 = whole.bn1, whole.layer1, whole.layer2
        self.fc1 = torch.nn.Linear(512, 1)

    def forward(self, x):
        x = self.bn1(self.conv1((x - down_and_up(x)) * 2 / 3))
        x = F.max_pool2d(F.relu(x), 3, 2, 1)
        return self.fc1(F.adaptive_avg_pool2d(self.layer2(self.layer1(x)), 1).flatten(1))


def test_logits_equal_a_network_of_timms_blocks(tmp_path):
    torch.manual_seed(2)
    theirs = Reference().train()
    with torch.no_grad():
        for _ in range(8):  # statistics of its own: with the initial ones, what the image says fades away
            theirs(torch.randn(4, 3, 48, 48))
    theirs.eval()
    torch.save(theirs.state_dict(), tmp_path / "npr.pth")
    images = torch.randn(3, 3, 64, 96) * torch.tensor([0.2, 1, 4]).view(3, 1, 1, 1)
    ours = npr.load(tmp_path / "npr.pth")
    with torch.inference_mode():
        expected = theirs(images)
        assert expected.std() > 0.02
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in ours.parameters()) < 1_500_000  # two of four stages


def test_a_whole_resnet_is_refused(tmp_path):
    torch.save(timm.create_model("resnet50", num_classes=1).state_dict(), tmp_path / "whole.pth")
    with pytest.raises(DfdError, match="does not fit the architecture"):
        npr.load(tmp_path / "whole.pth")
