"""Makes a folder of images that go wrong in every way that we know of, beside good ones."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(size: tuple[int, int] = (96, 80), seed: int = 0) -> Image.Image:
    """A smooth random RGB picture of (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A PNG of side x side white pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * ((side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


GOOD = {  # name: bytes; each of these gets a score
    "plain.jpg": lambda: encoded(photo(), "JPEG"),
    "cmyk.jpg": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "grey.png": lambda: encoded(photo().convert("L"), "PNG"),
    "sixteen.png": lambda: encoded(Image.fromarray(np.arange(96 * 80, dtype=np.uint16).reshape(80, 96) * 8), "PNG"),
    "palette alpha.png": lambda: encoded(photo().convert("RGBA").quantize(32), "PNG", transparency=3),
    "animated.gif": lambda: encoded(photo(), "GIF", save_all=True, append_images=[photo(seed=1), photo(seed=2)]),
    "rotated.jpg": lambda: encoded(photo(), "JPEG", exif=_orientation(6)),
    "one pixel.png": lambda: encoded(photo((1, 1)), "PNG"),
    "really a png.jpg": lambda: encoded(photo(), "PNG"),
    'it\'s "quoted".jpg': lambda: encoded(photo(seed=3), "JPEG"),
    "Ünïcode 人脸 😀.jpg": lambda: encoded(photo(seed=4), "JPEG"),
    "new\nline.jpg": lambda: encoded(photo(seed=5), "JPEG"),
}
BAD = {  # name: bytes; each of these gets a row with the reason
    "truncated.jpg": lambda: encoded(photo((300, 200)), "JPEG")[:1500],
    "empty.jpg": lambda: b"",
    "text.jpg": lambda: b"this is no image\n",
    "bomb.png": bomb,
    "script.svg.png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "half header.png": lambda: encoded(photo(), "PNG")[:20],
}


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def fill(folder: Path) -> tuple[set[str], set[str]]:
    """Writes them all, with a broken link where links can be made; returns the names of good and bad files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in {**GOOD, **BAD}.items():
        (folder / name).write_bytes(make())
    bad = set(BAD)
    try:
        (folder / "broken link.jpg").symlink_to(folder / "nothing")
        bad.add("broken link.jpg")
    except OSError:  # Windows without the right to make links
        pass
    return set(GOOD), bad
