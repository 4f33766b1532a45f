"""The extra input channels of the BNext deepfake detector, on whole batches and any device.

Lanzino et al., "Faster Than Lies" (CVPRW 2024), feed up to three hand-made channels beside RGB, all computed from an
8-bit grey image: Sobel magnitude, log spectrum and local binary pattern. Released checkpoints were trained on what
OpenCV, NumPy and scikit-image compute, so their values are reproduced to the last bit, in float64 where they used it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfdlib.errors import DfdError

NAMES = ("magnitude", "fft", "lbp")
# OpenCV's 15-bit weights of grey. BGR2GRAY was applied to RGB: red has blue's weight, as every checkpoint expects.
GREY_WEIGHTS = (3735, 19235, 9798)
SOBEL_SLOPE = (-1, -4, -5, 0, 5, 4, 1)  # OpenCV's separable kernels for ksize 7
SOBEL_SMOOTH = (1, 6, 15, 20, 15, 6, 1)
LBP_NEIGHBOURS = ((0.0, 6), (-5.19615, -3), (5.19615, -3))  # (row, column); scikit-image rounds to five decimals
LBP_MARGIN = 6  # as far as a neighbour lies


def extra_channels(rgb: Tensor, names: Sequence[str] = ("fft", "lbp")) -> Tensor:
    """Compute the extra channels of a batch.

    Args:
        rgb: (N, 3, H, W) float32 in [0, 1].
        names: any of "magnitude", "fft", "lbp"; the order of the result is always this one.

    Returns:
        (N, k, H, W) float32, each channel divided by 255 as in training.

    Raises:
        DfdError: for an unknown or repeated name, or a batch of another shape or type.
    """
    check_names(names)
    grey = grey_uint8(rgb)
    if grey.device.type == "mps":  # which has no float64
        grey = grey.cpu()
    made = [compute(grey) for name, compute in zip(NAMES, (magnitude, fft, lbp), strict=True) if name in names]
    return torch.cat(made, dim=1).to(rgb.device) if made else rgb.new_empty((len(rgb), 0, *rgb.shape[2:]))


def check_names(names: Sequence[str]) -> None:
    """Raise DfdError unless every name is an extra channel, named once."""
    if len(set(names)) != len(names) or not set(names) <= set(NAMES):
        raise DfdError(f"extra channels {list(names)} are not a choice of {', '.join(NAMES)}", "name each at most once")


def grey_uint8(rgb: Tensor) -> Tensor:
    """Truncate to bytes and mix to grey with the weights that the checkpoints were trained with.

    Equal to OpenCV's `cvtColor(bytes, COLOR_BGR2GRAY)` applied to RGB bytes.

    Args:
        rgb: (N, 3, H, W) float32 in [0, 1].

    Returns:
        (N, H, W) uint8.

    Raises:
        DfdError: for another shape or type.
    """
    if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.dtype != torch.float32:
        raise DfdError(
            f"images are {rgb.dtype} of shape {tuple(rgb.shape)}, not float32 of shape (N, 3, height, width)",
            "decode to RGB, scale to [0, 1] and stack",
        )
    red, green, blue = (rgb.detach() * 255).to(torch.uint8).to(torch.int32).unbind(1)
    mixed = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
    return ((mixed + (1 << 14)) >> 15).to(torch.uint8)


def magnitude(grey: Tensor) -> Tensor:
    """Gradient magnitude of OpenCV's 7x7 Sobel (border reflect-101), / 255.

    Args:
        grey: (N, H, W) uint8, sides of at least 4.

    Returns:
        (N, 1, H, W) float32, not negative; reaches several hundred on sharp edges.
    """
    padded = F.pad(grey[:, None].float(), (3, 3, 3, 3), mode="reflect")[:, 0].to(torch.int32)
    horizontal = _correlate(_correlate(padded, SOBEL_SMOOTH, 1), SOBEL_SLOPE, 2)
    vertical = _correlate(_correlate(padded, SOBEL_SLOPE, 1), SOBEL_SMOOTH, 2)
    length = (horizontal.double().square() + vertical.double().square()).sqrt()
    return (length / 255).float()[:, None]


def _correlate(image: Tensor, taps: Sequence[int], dim: int) -> Tensor:
    size = image.shape[dim] - len(taps) + 1
    # Integer sums: exact in any order and on any device.
    return sum(tap * image.narrow(dim, start, size) for start, tap in enumerate(taps) if tap)


def fft(grey: Tensor) -> Tensor:
    """Centred log spectrum 20 ln(|F| + 1e-9) in float64, / 255.

    Args:
        grey: (N, H, W) uint8.

    Returns:
        (N, 1, H, W) float32. On the CPU by NumPy, as in training; on other devices by torch's float64 transform, which
        can differ by a float32 rounding, and by more where the spectrum is 0 (a constant image).
    """
    if grey.device.type != "cpu":
        return fft_by_torch(grey)
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(grey.numpy())), axes=(1, 2))
    return torch.from_numpy((20 * np.log(spectrum + 1e-9) / 255).astype(np.float32))[:, None]


def fft_by_torch(grey: Tensor) -> Tensor:
    """`fft` on the tensor's own device."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(grey.double()).abs(), dim=(1, 2))
    return (20 * torch.log(spectrum + 1e-9) / 255).float()[:, None]


def lbp(grey: Tensor) -> Tensor:
    """Local binary pattern of three neighbours at radius 6, uniform, / 255.

    With three neighbours every pattern is uniform: scikit-image's code is the number of neighbours that are not darker.

    Args:
        grey: (N, H, W) uint8.

    Returns:
        (N, 1, H, W) float32, one of 0, 1, 2, 3 over 255.
    """
    centre = grey.double()
    padded = F.pad(centre, (LBP_MARGIN,) * 4)  # 0 outside of the image
    count = sum((_neighbour(padded, *offset) >= centre).to(torch.uint8) for offset in LBP_NEIGHBOURS)
    return (count.double() / 255).float()[:, None]


def _neighbour(padded: Tensor, down: float, right: int) -> Tensor:
    """What each pixel sees `down` rows and `right` columns away, linear between rows."""
    height, width = (side - 2 * LBP_MARGIN for side in padded.shape[1:])
    above = math.floor(down)
    columns = padded.narrow(2, LBP_MARGIN + right, width)
    upper = columns.narrow(1, LBP_MARGIN + above, height)
    if above == down:
        return upper
    # Row coordinates are rounded to float64 before their fraction is taken: ties with the centre depend on it.
    rows = torch.arange(height, dtype=torch.float64, device=padded.device) + down
    fraction = (rows - rows.floor())[:, None]
    return (1 - fraction) * upper + fraction * columns.narrow(1, LBP_MARGIN + above + 1, height)
