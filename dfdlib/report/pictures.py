"""Thumbnails of tested images, with the face that the crop used.

Images are read again, and nothing is taken on trust: one is shown only if its bytes are still those that were scored.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from dfdlib import digests, images
from dfdlib.images import Unreadable
from dfdlib.report.study import Arm, DataSet

LONG_SIDE = 160
MAX_BYTES = 64_000_000
QUALITY = 80
BOX = ("#000000", "#F0E442")  # dark below, Okabe and Ito's yellow above: seen on any picture


@dataclass(frozen=True)
class Picture:
    """A wrong verdict as a picture.

    Attributes:
        path, p_fake, logit, subset: of its row.
        width, height: of the thumbnail; 0 where there is none.
        data: the thumbnail as a data: URI; "" where there is none.
        why: why there is none.
    """

    path: str
    p_fake: float
    logit: float
    subset: str
    width: int = 0
    height: int = 0
    data: str = ""
    why: str = ""


def picture(data: DataSet, arm: Arm, row: int) -> Picture:
    """The thumbnail of one row with the face box of one arm, or the reason why there is none."""
    path, subset = (data.rows[name].iloc[row] for name in ("path", "subset"))
    known = {"path": path, "p_fake": float(arm.p_fake[row]), "logit": float(arm.logit[row]),
             "subset": subset if isinstance(subset, str) else ""}
    try:
        pixels = images.decode(_bytes(data, row))
    except Unreadable as reason:
        return Picture(**known, why=str(reason))
    thumbnail = Image.fromarray(pixels)
    scale = min(1.0, LONG_SIDE / max(thumbnail.size))
    size = tuple(max(1, round(side * scale)) for side in thumbnail.size)
    thumbnail = thumbnail.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    _draw_box(thumbnail, arm, row, scale)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(**known, width=size[0], height=size[1], data=uri)


def _bytes(data: DataSet, row: int) -> bytes:
    root, path, expected = data.manifest.get("root"), data.rows["path"].iloc[row], data.rows["id"].iloc[row]
    if not root:
        raise Unreadable("the manifest's folder is not recorded")
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or Path(path).is_absolute():
        raise Unreadable("its path leaves the manifest's folder")
    file = Path(root) / relative
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Unreadable(f"the file is above {MAX_BYTES // 1_000_000} MB")
    except (OSError, ValueError) as error:
        raise Unreadable("not found") from error
    content = images.read_bytes(file)
    if digests.of_bytes(content) != expected:
        raise Unreadable("the file changed since it was scored")
    return content


def _draw_box(thumbnail: Image.Image, arm: Arm, row: int, scale: float) -> None:
    box = arm.scores.frame[["face_x0", "face_y0", "face_x1", "face_y1"]].iloc[row].to_numpy(float, na_value=np.nan)
    if not np.isfinite(box).all():
        return
    limits = np.array([*thumbnail.size] * 2) - 1
    x0, y0, x1, y1 = (int(side) for side in np.clip(np.round(box * scale), 0, limits))
    if x1 <= x0 or y1 <= y0:
        return
    draw = ImageDraw.Draw(thumbnail)
    draw.rectangle((x0, y0, x1, y1), outline=BOX[0], width=4)
    draw.rectangle((x0 + 1, y0 + 1, max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1)), outline=BOX[1], width=2)
