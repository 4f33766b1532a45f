"""Reading images that nobody vouches for: to upright 8-bit RGB, or to a reason why not.

The rules, the same for face detection and for scoring:
- the orientation in EXIF is applied: the image is seen as a viewer shows it;
- of an animation the first frame counts;
- grey, palette and CMYK become RGB as Pillow converts them; transparency is dropped, not composed, as the detectors'
  own code does (`convert("RGB")`);
- 16-bit grey keeps its upper 8 bits (Pillow alone would clip everything above 255 to white);
- an image of more than MAX_PIXELS is refused before it is decoded.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS = 100_000_000
MAX_BYTES = 1_000_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)


class Unreadable(Exception):
    """An image that cannot be scored; the message is the reason, in one line."""


class Header(NamedTuple):
    """What is known of a file without decoding it; None where it could not be read."""

    id: str | None
    width: int | None
    height: int | None
    format: str | None
    bytes: int | None


def read_header(path: Path) -> Header:
    """Hashes a file and reads its image header. Never raises for a bad file: fields are None instead."""
    from PIL import Image

    Image.init()  # else Pillow knows only the formats that were opened before
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(file, formats=FORMATS) as image:
                        return Header(digest, image.width, image.height, image.format, size)
            except Exception:  # Pillow's parsers raise nearly anything on hostile bytes; the reason is told at scoring
                return Header(digest, None, None, None, size)
    except OSError:
        return Header(None, None, None, None, None)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Unreadable: missing, a broken link, no permission, a folder, empty, or above MAX_BYTES.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable(f"file of {size:,} bytes is above the limit of {MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        reason = "broken link" if path.is_symlink() and not path.exists() else (error.strerror or str(error))
        raise Unreadable(f"cannot be opened: {reason}") from error
    if not data:
        raise Unreadable("empty file (0 bytes)")
    return data


def decode(data: bytes) -> np.ndarray:
    """Decodes image bytes by the rules above.

    Returns:
        uint8 array (height, width, 3), RGB, upright.

    Raises:
        Unreadable: not an image of a known format, truncated, too large, or of an unknown pixel type.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    try:
        with warnings.catch_warnings():
            # Our own bound replaces Pillow's warning, and notes on odd EXIF say nothing about the pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Unreadable(
                        f"{image.width} x {image.height} pixels is above the limit of "
                        f"{MAX_PIXELS // 1_000_000} megapixels"
                    )
                image.load()
                upright = _upright(image, ImageOps)
                return np.asarray(_to_rgb(upright))
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"above the limit of {MAX_PIXELS // 1_000_000} megapixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not an image of a known format") from error
    except MemoryError as error:
        raise Unreadable("not enough memory to decode it") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise Unreadable(f"cannot be decoded: {type(error).__name__}: {' '.join(str(error).split())}"[:300]) from error


def _upright(image, image_ops):
    try:
        return image_ops.exif_transpose(image)
    except Exception:  # a broken EXIF block must not cost the image: viewers ignore it too
        return image


def _to_rgb(image):
    if image.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise Unreadable(f"pixels of type {image.mode} (32-bit) have no defined 8-bit form")
    return image.convert("RGB")
