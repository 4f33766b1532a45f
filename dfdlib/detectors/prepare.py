"""From an image to a network's input, as the card says: the one place where images are resized and normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfdlib.detectors.card import Input
from dfdlib.images import MAX_PIXELS, Unreadable

if TYPE_CHECKING:
    import numpy as np
    import torch


def prepare(image: np.ndarray, how: Input) -> np.ndarray:
    """Resizes and crops one image.

    Args:
        image: uint8 (height, width, 3), RGB.
        how: the card's input.

    Returns:
        uint8 (*how.size, 3). Range, mean and std follow on whole batches, in `to_tensor`.

    Raises:
        Unreadable: the image's shape cannot be brought to the input's size.
    """
    size = _resized(image.shape[:2], how)
    if size != image.shape[:2]:
        image = {"pil": _by_pil, "opencv": _by_opencv}[how.resize.library](image, size, how.resize.interpolation)
    return _cropped(image, how)


def _by_pil(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    import numpy as np
    from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), method))


def _by_opencv(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    import cv2

    names = {"bilinear": "LINEAR", "bicubic": "CUBIC", "lanczos": "LANCZOS4", "box": "AREA", "nearest": "NEAREST"}
    return cv2.resize(image, (size[1], size[0]), interpolation=getattr(cv2, f"INTER_{names[interpolation]}"))


def _resized(size: tuple[int, int], how: Input) -> tuple[int, int]:
    if how.resize.mode == "exact":
        return how.size
    if how.resize.mode == "none":
        return size
    short, long = sorted(size)
    # int(), not round(): torchvision.transforms.Resize truncates the longer side.
    longer = int(how.resize.size * long / short)
    if longer * how.resize.size > MAX_PIXELS:
        raise Unreadable(f"{size[1]} x {size[0]} pixels is too long and narrow for this detector's preparation")
    return (how.resize.size, longer) if size[0] <= size[1] else (longer, how.resize.size)


def _cropped(image: np.ndarray, how: Input) -> np.ndarray:
    if image.shape[:2] == how.size:
        return image
    if how.crop != "center":
        raise Unreadable(
            f"{image.shape[1]} x {image.shape[0]} pixels, but the detector takes {how.size[1]} x {how.size[0]}"
        )
    image = _padded(image, how.size)
    # round() to even halves, as torchvision.transforms.CenterCrop does.
    top = round((image.shape[0] - how.size[0]) / 2.0)
    left = round((image.shape[1] - how.size[1]) / 2.0)
    return image[top : top + how.size[0], left : left + how.size[1]]


def _padded(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Black around an image that is smaller than its crop, as torchvision.transforms.CenterCrop does."""
    import numpy as np

    short = [max(wanted - there, 0) for wanted, there in zip(size, image.shape[:2], strict=True)]
    return np.pad(image, [(lack // 2, lack - lack // 2) for lack in short] + [(0, 0)]) if any(short) else image


def to_tensor(batch: np.ndarray, how: Input, device: str) -> torch.Tensor:
    """Brings a prepared batch to the device and to the card's range.

    Args:
        batch: uint8 (n, height, width, 3).
        how: the card's input.
        device: torch device.

    Returns:
        float32 (n, 3, height, width): x / 255 for range unit, then (x - mean) / std.
    """
    import torch

    tensor = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).contiguous().float()
    if how.range == "unit":
        tensor = tensor.div_(255)
    if any(how.mean) or how.std != (1.0, 1.0, 1.0):
        mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(1, 3, 1, 1) for v in (how.mean, how.std))
        tensor = tensor.sub_(mean).div_(std)
    return tensor
