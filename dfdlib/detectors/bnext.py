"""BNext, a binary neural network, with the deepfake detector's extra channels in front and one logit behind.

Architecture: Guo et al., "Join the High Accuracy Club on ImageNet with A Binary Neural Network Ticket"
(arXiv 2211.12933); detector: Lanzino et al., "Faster Than Lies" (CVPRW 2024, arXiv 2406.04932). Parameters are named as
in the published checkpoints, so that these load strictly, and are there even where no computation uses them.

One flipped sign moves a logit by up to 0.5, so evaluation keeps the order of the original's float32 roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfdlib.detectors.front_end import check_names, extra_channels
from dfdlib.errors import DfdError

WIDTHS: Mapping[str, tuple[int, ...]] = {
    "T": (32, 64, *[128] * 2, *[256] * 2, *[512] * 6, *[1024] * 2),
    "S": (48, 96, *[192] * 2, *[384] * 2, *[768] * 6, *[1536] * 2),
    "M": (48, 96, *[192] * 4, *[384] * 4, *[768] * 8, *[1536] * 4),
    "L": (64, 128, *[256] * 4, *[512] * 4, *[1024] * 16, *[2048] * 4),
}
CLIP = 1.5  # latent weights are kept within, and activations pass gradients within, this distance of 0
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load(
    weights: Path,
    *,
    size: str | None = "T",
    widths: Sequence[int] | None = None,
    channels: Sequence[str] = ("fft", "lbp"),
) -> BNext:
    """The detector with its weights, ready to score; arguments as in `BNext`."""
    from dfdlib.detectors.state import load_strict, read_tensors

    return load_strict(BNext(size, widths=widths, channels=channels), read_tensors(weights), weights)


class BNext(nn.Module):
    """The detector: RGB in, logit of REAL out.

    In evaluation on an x86 CPU an image scores the same, to the last bit, alone and in any batch.

    Args:
        size: a published size, "T", "S", "M" or "L".
        widths: instead of a size, the width of the stem and of each block behind it. A block keeps or doubles the width
            before it; where it doubles, all but the first block halve the resolution.
        channels: extra input channels, any of "magnitude", "fft", "lbp".

    Raises:
        DfdError: for an unknown size or channel, or widths that cannot be built.
    """

    def __init__(
        self,
        size: str | None = "T",
        *,
        widths: Sequence[int] | None = None,
        channels: Sequence[str] = ("fft", "lbp"),
    ) -> None:
        super().__init__()
        self.widths = _checked_widths(size, widths)
        check_names(channels)
        self.channels = tuple(channels)
        self.base_model = Backbone(self.widths)
        self.adapter = nn.Conv2d(3 + len(channels), 3, 3, padding=1) if channels else nn.Identity()
        self.fc = nn.Linear(self.widths[-1], 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """Score a batch.

        Args:
            rgb: (N, 3, H, W) float32 in [0, 1], sides a multiple of `stride`.

        Returns:
            (N, 1) logits; positive means REAL, as published.
        """
        return _image_by_image(self.fc, self.features(rgb), exact=not self.training)

    def features(self, rgb: Tensor) -> Tensor:
        """Pooled features (N, widths[-1]) in front of the classifier, for the same input as `forward`."""
        if rgb.ndim != 4 or any(side % self.stride for side in rgb.shape[2:]):
            raise DfdError(
                f"images of shape {tuple(rgb.shape)} do not fit BNext",
                f"give (N, 3, height, width) with sides that are a multiple of {self.stride}",
            )
        x = torch.cat([rgb, extra_channels(rgb, self.channels)], dim=1) if self.channels else rgb
        # channels_last from here on: faster, and the order in which the original sums pixels.
        x = _in_full_precision(self.adapter, x.contiguous(memory_format=torch.channels_last))
        mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return self.base_model((x - mean) / std)

    @property
    def stride(self) -> int:
        """Pixels of the input per pixel of the last block."""
        return 2 ** sum(layer.stride == 2 for layer in self.base_model.feature)

    def set_temperature(self, value: float) -> None:
        """Set how far weights are binarised: clamp(w / value, -1, 1), and their signs below 1e-7.

        The authors start at 1 and multiply by 0.9 after every epoch. A model has binary weights once it is below 1e-7.
        """
        for name, buffer in self.named_buffers():
            if name.endswith(".temperature"):
                buffer.fill_(value)


def _checked_widths(size: str | None, widths: Sequence[int] | None) -> tuple[int, ...]:
    if widths is None:
        if size not in WIDTHS:
            raise DfdError(f"BNext has no size {size!r}", f"take one of {', '.join(WIDTHS)}, or give widths")
        return WIDTHS[size]
    fits = len(widths) > 1 and widths[0] >= 8 and widths[0] % 8 == 0
    if not fits or any(after not in (before, 2 * before) for before, after in pairwise(widths)):
        raise DfdError(
            f"BNext cannot be built with widths {list(widths)}",
            "start with a multiple of 8, then keep or double the width from block to block",
        )
    return tuple(widths)


class Backbone(nn.Module):
    """Stem, blocks, PReLU and global average: (N, 3, H, W) -> (N, widths[-1])."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        blocks = [
            Block(before, after, stride=2 if after != before and number > 1 else 1, attention=number % 2 == 0)
            for number, (before, after) in enumerate(pairwise(widths), start=1)
        ]
        self.feature = nn.ModuleList([Stem(widths[0]), *blocks])
        self.prelu = nn.PReLU(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.feature:
            x = layer(x)
        return self.prelu(x).mean((2, 3))


class Stem(nn.Module):
    """Full-precision 3x3 convolution at stride 2 with batch norm."""

    stride = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)  # in every checkpoint, applied by none

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(_in_full_precision(self.conv1, x))


class Block(nn.Module):
    """A 3x3 unit that mixes space, then one 1x1 unit, or two side by side where the width doubles."""

    def __init__(self, before: int, after: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.stride = stride
        self.widens = after != before
        self.Attention = Unit(before, kernel=3, stride=stride, attention=attention)
        if self.widens:
            self.FFN_1 = Unit(before, kernel=1)
            self.FFN_2 = Unit(before, kernel=1)
        else:
            self.FFN = Unit(before, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Attention(x)
        return torch.cat([self.FFN_1(x), self.FFN_2(x)], dim=1) if self.widens else self.FFN(x)


class Unit(nn.Module):
    """Binary convolution with an adaptive gate and a shortcut, width kept.

    Args:
        width: channels in and out.
        kernel: 3 or 1.
        stride: 1 or 2; at 2 the shortcut is averaged over 2x2 pixels.
        attention: multiply by the shortcut before the second norm (element-wise attention).
    """

    def __init__(self, width: int, kernel: int, stride: int = 1, attention: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride, self.attention = kernel, stride, attention
        self.move = ChannelBias(width)
        self.binary_activation = Sign()
        self.binary_conv = BinaryConv(width, kernel, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = nn.BatchNorm2d(width)
        self.activation1 = nn.PReLU(width)  # in every checkpoint, applied by attention alone
        self.activation2 = nn.PReLU(width)
        self.se = Gate(width)
        self.scale = nn.Parameter(torch.full((1, width, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        out = self.binary_conv(self.binary_activation(self.move(x)))
        out = self.activation2(self.norm1(out))
        shortcut = self.activation1(x) if self.attention else x
        if self.stride == 2:
            x = F.avg_pool2d(x, 2)
            shortcut = F.avg_pool2d(shortcut, 2) if self.attention else x
        scale = self._clamped_scale()
        out = self.se(scale * x + (1 - scale) * out) * out
        if self.attention:
            out = out * shortcut
        return self.norm2(out) + shortcut

    def _clamped_scale(self) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.scale.clamp_(0, 1)
            return self.scale
        # In evaluation the original clamps the scale of 1x1 units only.
        return self.scale.clamp(0, 1) if self.kernel == 1 else self.scale


class ChannelBias(nn.Module):
    """A learned shift per channel: where the sign's threshold lies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Sign(nn.Module):
    """sign(x), with sign(0) = 0; gradients pass where |x| <= 1.5 (straight-through estimator)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(1))  # in every checkpoint; a positive factor changes no sign

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return x.sign()
        return _StraightThrough.apply(x.clamp(-CLIP, CLIP), x.detach().sign())


class _StraightThrough(torch.autograd.Function):
    """Going forward, the value; going back, its gradient for the source that it was made from."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class BinaryConv(nn.Module):
    """Convolution with the signs of latent weights, or with clamp(w / temperature) where these are not yet binary.

    The input must be signs: -1, 0 or 1.
    """

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight = nn.Parameter(torch.randn(width, width, kernel, kernel) * 0.001)
        self.register_buffer("temperature", torch.ones(1))
        self._prepared: tuple[Any, Tensor, bool] | None = None

    def forward(self, signs: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.weight.clamp_(-CLIP, CLIP)
            weight = _StraightThrough.apply(self.weight, self._binarised())
            return F.conv2d(signs, weight, stride=self.stride, padding=self.padding)
        weight, whole = self._prepare(signs)
        if weight.is_mkldnn:
            return _convolve_bytes(signs, weight, self.stride, self.padding)
        sums = F.conv2d(signs, weight, stride=self.stride, padding=self.padding)
        # Winograd, which some devices choose, is a little off; sums of signs are whole numbers.
        return sums.round_() if whole and not sums.requires_grad else sums

    def _prepare(self, signs: Tensor) -> tuple[Tensor, bool]:
        """The binary weight, packed where the input is taken as bytes, and whether it holds signs only.

        Made once for each state of the latent weight.
        """
        as_bytes = _bytes_serve(signs)
        # Versions count every change in place: a training step, a load, a copy. Inference tensors have none.
        state = [
            (t.data_ptr(), t.device, t.dtype, object() if t.is_inference() else t._version)
            for t in (self.weight, self.temperature)
        ]
        key = (state, signs.shape[2:] if as_bytes else None)
        if self._prepared is None or self._prepared[0] != key:
            weight = self._binarised()
            whole = torch.equal(weight, weight.sign())
            if as_bytes and whole:
                weight = _pack_bytes(weight, signs.shape, self.stride, self.padding)
            self._prepared = (key, weight, whole)
        return self._prepared[1:]

    @torch.no_grad()
    def _binarised(self) -> Tensor:
        if self.temperature < 1e-7:
            binary = self.weight.sign()
        else:
            binary = (self.weight / self.temperature.clamp(min=1e-8)).clamp(-1, 1)
        return binary.contiguous(memory_format=torch.channels_last)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": None}  # packed weights cannot be copied or pickled


class Gate(nn.Module):
    """Squeeze and excitation: global average, two 1x1 convolutions (ratio 8), sigmoid; (N, C, H, W) -> (N, C, 1, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 8, 1), nn.ReLU(), nn.Conv2d(width // 8, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return _image_by_image(self._excite, self.se[0](x), exact=not self.training)

    def _excite(self, means: Tensor) -> Tensor:
        hidden = _in_full_precision(self.se[1], means).relu()
        return _in_full_precision(self.se[3], hidden).sigmoid()


def _image_by_image(compute: Callable[[Tensor], Tensor], batch: Tensor, exact: bool) -> Tensor:
    """Apply to each image alone on the CPU, whose matrix products round differently for batches."""
    if exact and batch.device.type == "cpu" and len(batch) > 1:
        return torch.cat([compute(image) for image in batch.split(1)])
    return compute(batch)


def _in_full_precision(convolve: nn.Module, x: Tensor) -> Tensor:
    """Evaluate a float32 convolution without TF32, cuDNN's default, whose 10 bits would flip signs behind it."""
    if convolve.training or x.device.type != "cuda" or x.dtype != torch.float32 or isinstance(convolve, nn.Identity):
        return convolve(x)
    bias = None if convolve.bias is None else convolve.bias.double()
    return F.conv2d(x.double(), convolve.weight.double(), bias, convolve.stride, convolve.padding).float()


def _bytes_serve(signs: Tensor) -> bool:
    """Whether oneDNN's 8-bit convolution exists for this input, and no gradient has to flow through it."""
    return (
        signs.device.type == "cpu"
        and signs.dtype == torch.float32
        and not signs.requires_grad
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    )


def _pack_bytes(weight: Tensor, shape: Sequence[int], stride: int, padding: int) -> Tensor:
    geometry = ([stride, stride], [padding, padding], [1, 1], 1)
    scales = torch.ones(len(weight))
    return torch.ops.onednn.qconv_prepack(weight.to(torch.int8), scales, 1.0, 1, *geometry, list(shape))


def _convolve_bytes(signs: Tensor, packed: Tensor, stride: int, padding: int) -> Tensor:
    """The sums of -1, 0 and 1 in integers: the float32 result, exactly, in a fraction of its time."""
    shifted = signs.to(torch.int8).add_(1).view(torch.uint8)  # 0, 1, 2 around a zero point of 1
    geometry = ([stride, stride], [padding, padding], [1, 1], 1)
    scales, zeros = torch.ones(signs.shape[1]), torch.zeros(signs.shape[1], dtype=torch.int32)
    return torch.ops.onednn.qconv2d_pointwise(
        shifted, 1.0, 1, packed, scales, zeros, None, *geometry, 1.0, 0, torch.float32, "none", [None], None
    )
