"""Preparation with OpenCV, and crops larger than the image, each against the library that it stands for."""

from __future__ import annotations

import badfiles
import numpy as np
import pytest
from PIL import Image

from dfdlib.detectors.card import Input
from dfdlib.detectors.prepare import prepare

FLAGS = {"nearest": 0, "bilinear": 1, "bicubic": 2, "box": 3, "lanczos": 4}  # of OpenCV's documentation


@pytest.mark.parametrize("interpolation", FLAGS)
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (256, 256), (431, 250), (178, 218)])
def test_opencv_resizes_as_opencv(size, interpolation):
    import cv2

    image = np.asarray(badfiles.photo(size, seed=sum(size)))
    resize = {"mode": "exact", "interpolation": interpolation, "library": "opencv"}
    made = prepare(image, Input(size=(97, 128), resize=resize))
    np.testing.assert_array_equal(made, cv2.resize(image, (128, 97), interpolation=FLAGS[interpolation]))


@pytest.mark.parametrize("size", [(480, 640), (33, 50), (1024, 700), (257, 255)])
def test_opencv_bilinear_is_interpolation_without_antialiasing(size):
    """What the cards take it for: torch's bilinear interpolation to one grey level; PIL is far from that."""
    import torch
    from torch.nn import functional as F

    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    how = Input(size=(256, 256), resize={"mode": "exact", "library": "opencv"})
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = F.interpolate(tensor, (256, 256), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(prepare(image, how) - expected).max() <= 1
    by_pil = prepare(image, Input(size=(256, 256), resize={"mode": "exact", "library": "pil"}))
    if min(size) > 256:
        assert np.abs(by_pil - expected).max() > 10


@pytest.mark.parametrize("interpolation", ["nearest", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("size", [(1, 1), (301, 77), (640, 480)])
def test_pil_resizes_as_pil(size, interpolation):
    image = badfiles.photo(size, seed=2)
    made = prepare(np.asarray(image), Input(size=(64, 51), resize={"mode": "exact", "interpolation": interpolation}))
    np.testing.assert_array_equal(made, image.resize((51, 64), Image.Resampling[interpolation.upper()]))


@pytest.mark.parametrize(
    "size", [(1, 1), (178, 218), (218, 178), (223, 225), (225, 224), (101, 400), (400, 100), (224, 223), (7, 224)]
)
def test_crops_larger_than_the_image_get_a_black_border_as_in_torchvision(size):
    from torchvision.transforms import CenterCrop

    image = badfiles.photo(size, seed=3)
    made = prepare(np.asarray(image), Input(size=(224, 224), resize={"mode": "none"}, crop="center"))
    np.testing.assert_array_equal(made, CenterCrop(224)(image))
