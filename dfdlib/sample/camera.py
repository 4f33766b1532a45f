"""The camera that every image of the sample set passes: lens, sensor, tone curve, JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dfdlib.sample.exact import SIZE, Array, bell_taps, blur, grain, quantise, uniform

FINAL_QUALITY = 95  # of every file, real or fake, with 4:2:0 colour


@dataclass(frozen=True)
class Camera:
    """One camera with its settings; the same distribution for real and fake images."""

    exposure: float
    balance: tuple[float, float, float]
    lens: float  # standard deviation of the blur, pixels
    vignette: float
    read_noise: float
    shot_noise: float
    contrast: float
    quality: int  # of the camera's own JPEG

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Camera:
        warmth = uniform(rng, -0.1, 0.12)
        return cls(
            exposure=uniform(rng, 0.75, 1.35),
            balance=(1.0 + warmth, 1.0, 1.0 - warmth),
            lens=uniform(rng, 0.5, 0.7),
            vignette=uniform(rng, 0.0, 0.4),
            read_noise=uniform(rng, 0.008, 0.011),
            shot_noise=uniform(rng, 0.0002, 0.0004),
            contrast=uniform(rng, 0.0, 0.35),
            quality=int(rng.integers(93, 98)),
        )

    def take(self, rng: np.random.Generator, radiance: Array) -> Array:
        """A photograph of linear light (3, SIZE, SIZE) as 8-bit pixels (SIZE, SIZE, 3), before any JPEG."""
        axis = (np.arange(SIZE, dtype=np.float32) - 127.5) * (1.0 / 127.5)
        square = axis * axis
        dimming = 1.0 - self.vignette * 0.5 * (square[None, :] + square[:, None])
        light = blur(radiance, bell_taps(self.lens))
        for plane, gain in zip(light, self.balance, strict=True):
            plane *= dimming * (self.exposure * gain)
        light = np.maximum(light, 0.0)
        noise = blur(grain(rng, light.shape), (0.7, 0.15))  # demosaicking spreads it over neighbours
        light += noise * np.sqrt(self.read_noise * self.read_noise + self.shot_noise * light)
        tone = np.sqrt(np.clip(light, 0.0, 1.0))
        return quantise(tone + self.contrast * (tone * tone * (3.0 - 2.0 * tone) - tone))


def encode(pixels: Array, quality: int, subsampling: str = "4:2:0") -> bytes:
    """A baseline JPEG of 8-bit pixels; libjpeg-turbo's integer transform is the same on every machine."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def recompress(pixels: Array, quality: int, subsampling: str = "4:2:0") -> Array:
    """Pixels after one JPEG round trip."""
    with Image.open(io.BytesIO(encode(pixels, quality, subsampling))) as image:
        return np.asarray(image.convert("RGB"))
