"""The extra channels against OpenCV, NumPy, scikit-image and reference outputs of the original detector."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.feature import local_binary_pattern
from torchvision.transforms import functional as TF

from dfdlib.detectors import front_end
from dfdlib.errors import DfdError

SIZES = [(8, 8), (9, 14), (33, 50), (64, 64), (131, 77), (225, 224)]


def greys(height: int, width: int) -> torch.Tensor:
    """Noise, few levels (many ties), a ramp, stripes of black and white, and a constant: (5, H, W) uint8."""
    random = np.random.default_rng(height * width)
    noise = random.integers(0, 256, (height, width))
    levels = random.integers(100, 103, (height, width))
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)) % 256
    stripes = np.broadcast_to(255 * (np.arange(width) // 3 % 2), (height, width))
    return torch.from_numpy(np.stack([noise, levels, ramp, stripes, np.full_like(noise, 77)]).astype(np.uint8))


def sobel_magnitude(grey: np.ndarray) -> np.ndarray:
    across, down = (cv2.Sobel(grey, cv2.CV_64F, *order, ksize=7) for order in ((1, 0), (0, 1)))
    return np.sqrt(across**2 + down**2)


def log_spectrum(grey: np.ndarray) -> np.ndarray:
    return 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey))) + 1e-9)


def binary_pattern(grey: np.ndarray) -> np.ndarray:
    return local_binary_pattern(grey, P=3, R=6, method="uniform")


ORACLES = {"magnitude": sobel_magnitude, "fft": log_spectrum, "lbp": binary_pattern}


def expected(name: str, grey: torch.Tensor) -> torch.Tensor:
    channels = np.stack([ORACLES[name](image) / 255 for image in grey.numpy()])
    return torch.from_numpy(channels.astype(np.float32))[:, None]


def crop(path: Path) -> np.ndarray:
    """The detector's preparation: short side 252, bilinear by PIL; centre 224 x 224 x 3 bytes."""
    with Image.open(path) as image:
        return np.array(TF.center_crop(TF.resize(image.convert("RGB"), 252), 224))


def to_rgb(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255)


def sha256(array: np.ndarray | torch.Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_grey_of_every_colour_equals_opencv() -> None:
    green, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    for red in range(0, 256, 16):
        images = [np.stack([np.full_like(green, red + i), green, blue], axis=2) for i in range(16)]
        want = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])
        assert np.array_equal(front_end.grey_uint8(to_rgb(images)).numpy(), want)


def test_grey_truncates_instead_of_rounding() -> None:
    rgb = torch.rand(3, 3, 40, 31, generator=torch.Generator().manual_seed(0))
    rgb[0, :, :2] = torch.tensor([0.0, 1.0])[None, :, None]
    images = (rgb.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    want = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])
    assert np.array_equal(front_end.grey_uint8(rgb).numpy(), want)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_channel_equals_its_oracle(name: str, height: int, width: int) -> None:
    grey = greys(height, width)
    got = getattr(front_end, name)(grey)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected(name, grey))


def test_lbp_of_every_constant_grey() -> None:
    # Interpolating between equal neighbours can round below them: the oracle decides each tie.
    grey = torch.arange(256, dtype=torch.uint8)[:, None, None].repeat(1, 224, 16)
    assert torch.equal(front_end.lbp(grey), expected("lbp", grey))


def test_lbp_of_an_image_smaller_than_its_radius() -> None:
    grey = greys(5, 4)
    assert torch.equal(front_end.lbp(grey), expected("lbp", grey))


@pytest.mark.parametrize("name", ORACLES)
def test_channel_of_real_images(name: str, shared: Path) -> None:
    paths = [
        path for source in ("hires1024", "ciplab") for path in sorted((shared / "data" / source).rglob("*.jpg"))[:3]
    ]
    assert len(paths) == 6
    for path in paths:
        grey = front_end.grey_uint8(to_rgb([crop(path)]))
        assert torch.equal(getattr(front_end, name)(grey), expected(name, grey))


@pytest.mark.parametrize("names", [("fft", "lbp"), ("lbp", "fft"), ("magnitude",), ("lbp", "magnitude", "fft")])
def test_extra_channels_keep_their_order(names: tuple[str, ...]) -> None:
    rgb = torch.rand(3, 3, 24, 17, generator=torch.Generator().manual_seed(1))
    got = front_end.extra_channels(rgb, names)
    grey = front_end.grey_uint8(rgb)
    want = [expected(name, grey) for name in ("magnitude", "fft", "lbp") if name in names]
    assert torch.equal(got, torch.cat(want, dim=1))


def test_extra_channels_of_none_are_empty_and_batches_are_their_images() -> None:
    rgb = torch.rand(4, 3, 21, 30, generator=torch.Generator().manual_seed(2))
    assert front_end.extra_channels(rgb, ()).shape == (4, 0, 21, 30)
    names = ("magnitude", "fft", "lbp")
    alone = [front_end.extra_channels(image, names) for image in rgb.split(1)]
    assert torch.equal(front_end.extra_channels(rgb, names), torch.cat(alone))


def test_memory_layout_does_not_matter() -> None:
    rgb = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    turned = rgb.contiguous(memory_format=torch.channels_last)
    names = ("magnitude", "fft", "lbp")
    assert torch.equal(front_end.extra_channels(rgb, names), front_end.extra_channels(turned, names))


@pytest.mark.parametrize("names", [("sobel",), ("fft", "fft")])
def test_unknown_or_repeated_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DfdError, match="magnitude"):
        front_end.extra_channels(torch.zeros(1, 3, 8, 8), names)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DfdError, match="float32"):
        front_end.grey_uint8(torch.zeros(shape))


def test_bytes_are_refused() -> None:
    with pytest.raises(DfdError, match="uint8"):
        front_end.grey_uint8(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_other_device_gives_the_same() -> None:
    rgb = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    here, there = (front_end.extra_channels(x, tuple(ORACLES)).cpu() for x in (rgb, rgb.cuda()))
    assert torch.equal(here[:, [0, 2]], there[:, [0, 2]])
    torch.testing.assert_close(there[:, 1], here[:, 1], rtol=1.2e-7, atol=1e-9)


def test_torchs_spectrum_is_within_one_rounding_of_numpys() -> None:
    # What other devices compute; run here on the CPU's own float64 transform.
    grey = greys(64, 48)[:3]
    got = front_end.fft_by_torch(grey)
    torch.testing.assert_close(got, expected("fft", grey), rtol=1.2e-7, atol=1e-9)


def test_reference_outputs_of_the_original(shared: Path) -> None:
    goldens = json.loads((shared / "goldens" / "goldens.json").read_text(encoding="utf-8"))["front_end"]
    folders = shared / "goldens" / "images", shared / "data" / "openforensics"
    paths = {path.name: path for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert len(goldens) == 24
    crops = [crop(paths[name]) for name in goldens]
    rgb = to_rgb(crops)
    grey = front_end.grey_uint8(rgb)
    channels = front_end.extra_channels(rgb, tuple(ORACLES))
    for golden, bytes_, x, g, extra in zip(goldens.values(), crops, rgb, grey, channels, strict=True):
        assert sha256(bytes_) == golden["crop_u8_sha256"]
        assert sha256(x) == golden["rgb"]["sha256_f32"]
        assert sha256(g) == golden["gray_u8_sha256"]
        assert [sha256(c) for c in extra] == [golden[name]["sha256_f32"] for name in ORACLES]
