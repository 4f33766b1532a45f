"""Arithmetic that gives the same bits on every machine.

Only elementwise IEEE operations (+ - * / sqrt), integers, comparisons and floor on numpy arrays: no exp, sin or pow,
no reductions over floats and no BLAS, whose vectorised versions differ in the last bit between processors. Images are
planes of shape (3, height, width), float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray
SIZE = 256  # pixels of every image's side


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number in [low, high)."""
    return low + (high - low) * float(rng.random())


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability; always draws once, so that the numbers after it do not move."""
    return float(rng.random()) < probability


def smooth(x: Array, low: float, high: float) -> Array:
    """Smoothstep: 0 below `low`, 1 above `high`, a cubic between (falling when `low` > `high`)."""
    t = x - low
    t *= 1.0 / (high - low)
    np.minimum(np.maximum(t, 0.0, out=t), 1.0, out=t)
    curve = 3.0 - 2.0 * t
    curve *= t
    curve *= t
    return curve


def fall(q: Array) -> Array:
    """A bell over a squared distance: (1 + q/4)^-4, close to exp(-q) and rational."""
    t = 0.25 * q
    t += 1.0
    t *= t
    t *= t
    return 1.0 / t


def zoom(grid: Array, height: int = SIZE, width: int = SIZE) -> Array:
    """A coarse grid (rows, columns) stretched to (height, width), linear between its knots."""

    def knots(count: int, length: int) -> tuple[Array, Array]:
        position = (np.arange(length, dtype=np.float32) + 0.5) * ((count - 1) / length)
        index = np.minimum(np.floor(position).astype(np.int64), count - 2)
        return index, position - index.astype(np.float32)

    rows, fy = knots(grid.shape[0], height)
    columns, fx = knots(grid.shape[1], width)
    tall = grid[rows] + (grid[rows + 1] - grid[rows]) * fy[:, None]
    low = tall[:, columns]
    return low + (tall[:, columns + 1] - low) * fx[None, :]


def clouds(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Value noise in [-1, 1) over the whole frame, with the given number of cells."""
    return zoom(rng.random((rows + 1, columns + 1), dtype=np.float32) * 2.0 - 1.0)


def grain(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Nearly Gaussian noise, mean 0, variance 1: the scaled sum of four uniform bytes."""
    first, *others = rng.integers(0, 256, size=(4, *shape), dtype=np.uint8)
    total = first.astype(np.uint16)
    for more in others:
        total += more
    noise = total.astype(np.float32)
    noise -= 510.0
    noise *= 1.0 / 147.8  # 4 x (256^2 - 1) / 12 = 147.8^2
    return noise


def blur(planes: Array, taps: Sequence[float]) -> Array:
    """Separable symmetric blur of the last two axes, edges repeated. `taps`: centre first, then outwards."""
    reach = len(taps) - 1
    for axis in (-2, -1):
        pad = [(0, 0)] * planes.ndim
        pad[axis] = (reach, reach)
        wide, length = np.pad(planes, pad, mode="edge"), planes.shape[axis]

        def shifted(by: int, wide: Array = wide, length: int = length, axis: int = axis) -> Array:
            start = reach + by
            return wide[..., start : start + length, :] if axis == -2 else wide[..., start : start + length]

        total = shifted(0) * taps[0]
        for distance in range(1, reach + 1):
            total += (shifted(-distance) + shifted(distance)) * taps[distance]
        planes = total
    return planes


def bell_taps(sigma: float) -> list[float]:
    """Weights for `blur` of about the given standard deviation in pixels; they sum to 1 over both sides."""
    reach = 1 if sigma < 0.7 else 2 if sigma < 1.2 else 3 if sigma < 2 else 5
    raw = []
    for distance in range(reach + 1):
        t = 1.0 + distance * distance / (2.0 * sigma * sigma) / 4.0
        raw.append(1.0 / (t * t * t * t))
    total = raw[0]
    for weight in raw[1:]:
        total = total + weight + weight
    return [weight / total for weight in raw]


def sample(planes: Array, x: Array, y: Array) -> Array:
    """Bilinear look-up of planes (3, H, W) at pixel coordinates x, y (both (h, w)), clamped to the frame."""
    height, width = planes.shape[-2:]
    x, y = np.clip(x, 0.0, width - 1.001), np.clip(y, 0.0, height - 1.001)
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = x - column.astype(np.float32), y - row.astype(np.float32)
    flat, at = planes.reshape(planes.shape[0], -1), row * width + column
    upper = flat[:, at] + (flat[:, at + 1] - flat[:, at]) * fx
    lower = flat[:, at + width] + (flat[:, at + width + 1] - flat[:, at + width]) * fx
    return upper + (lower - upper) * fy


def mix(planes: Array, mask: Array, colour: Sequence[float] | Array) -> None:
    """Paint `colour` (three numbers or planes) over `planes` in place, `mask` in [0, 1]."""
    for plane, value in zip(planes, colour, strict=True):
        step = value - plane
        step *= mask
        plane += step


def quantise(planes: Array) -> Array:
    """Planes in [0, 1] as 8-bit pixels (height, width, 3)."""
    levels = np.floor(np.clip(planes, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def planes_of(pixels: Array) -> Array:
    """8-bit pixels (height, width, 3) as planes in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) * (1.0 / 255.0)
