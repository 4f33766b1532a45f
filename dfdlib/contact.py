"""Contact sheets: a look at what is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfdlib import images, manifest
from dfdlib.manifest import Manifest

if TYPE_CHECKING:
    from PIL import Image

TILE = 112


def sheet(table: Manifest, per_subset: int = 8) -> Image.Image:
    """A row of thumbnails for each label and subset, drawn as `manifest.sample` draws.

    Args:
        table: the manifest.
        per_subset: thumbnails in a row.

    Returns:
        An RGB picture; an image that cannot be read shows as a crossed box.
    """
    from PIL import Image, ImageDraw

    groups = list(table.frame.groupby(["label", "subset"], sort=True))
    picture = Image.new("RGB", (per_subset * TILE, len(groups) * (TILE + 16)), "white")
    draw = ImageDraw.Draw(picture)
    for line, ((label, subset), rows) in enumerate(groups):
        top = line * (TILE + 16)
        draw.text((2, top + 2), f"{label} / {subset} ({len(rows):,} images)", fill="black")
        drawn = manifest.sample([manifest.Row(path, label, subset) for path in rows.path], per_subset)
        for column, row in enumerate(drawn):
            picture.paste(_thumbnail(table.root / row.path), (column * TILE, top + 16))
    return picture


def _thumbnail(path) -> Image.Image:
    from PIL import Image, ImageDraw, ImageOps

    try:
        image = Image.fromarray(images.decode(images.read_bytes(path)))
        return ImageOps.pad(image, (TILE - 2, TILE - 2), color="white")
    except images.Unreadable:
        box = Image.new("RGB", (TILE - 2, TILE - 2), "lightgrey")
        ImageDraw.Draw(box).line([(0, 0), box.size], fill="grey", width=2)
        return box
