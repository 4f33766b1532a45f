"""Verdicts for one's own images, without labels."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dfdlib import arms, manifest, recipes, scores, scoring
from dfdlib.errors import DfdError
from dfdlib.manifest import Row
from dfdlib.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "image_path",
    "prediction",
    "confidence",
    "p_fake",
    "detector",
    "crop",
    "face_count",
    "face_x0",
    "face_y0",
    "face_x1",
    "face_y1",
    "status",
    "error",
)


def check(
    images: list[Path], detectors: list[str], crop: str = "none", device: str = "auto", threshold: float = 0.5
) -> pd.DataFrame:
    """Scores images and folders of images.

    Args:
        images: files, and folders whose images are taken at any depth.
        detectors: names or cards.
        crop: a crop profile.
        device: see `runtime.device`.
        threshold: for the verdicts.

    Returns:
        One row per image and detector, sorted by path, with COLUMNS: `prediction` is the verdict ("error" where there
        is no score), `confidence` the probability of the more likely side (as the predecessor's CSV has it).

    Raises:
        DfdError: no image at all, an unknown detector or crop.
    """
    typed = _listed(images)
    # abspath, not resolve: a link keeps its own name in the table.
    places = [Path(os.path.abspath(path)) for path in typed]
    root = Path(os.path.commonpath([path.parent for path in places]))
    names = {place.relative_to(root).as_posix(): path for place, path in zip(places, typed, strict=True)}
    table = manifest.build([Row(name, None, "checked") for name in names], root, "checked", labelled=False)
    with tempfile.TemporaryDirectory(prefix="dfd-check-") as folder:
        planned = arms.plan(table, detectors, [crop], device)
        files = scoring.score(table, planned, Path(folder), min_coverage=0)
        return _verdicts([scores.read(path).frame for path in files], names, threshold)


def _listed(images: list[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in images:
        inner = sorted(recipes.image_paths(path)) if path.is_dir() else None
        if inner is not None and not inner:
            raise DfdError(f"{path}: no images in this folder.", f"It holds: {recipes.shown(path)}")
        found.update(dict.fromkeys([path / name for name in inner] if inner is not None else [path]))
    if not found:
        raise DfdError("No images given.", "Name files or folders: dfd check photo.jpg --detector NAME")
    return list(found)


def _verdicts(frames: list[pd.DataFrame], names: dict[str, Path], threshold: float) -> pd.DataFrame:
    import pandas as pd

    frame = pd.concat(frames, ignore_index=True)
    frame["image_path"] = [str(names[path]) for path in frame.path]
    frame["prediction"] = [
        verdict(p, threshold) if status == "ok" else "error"
        for p, status in zip(frame.p_fake, frame.status, strict=True)
    ]
    frame["confidence"] = frame.p_fake.where(frame.p_fake >= 0.5, 1 - frame.p_fake)
    return frame.sort_values(["image_path", "detector"], kind="stable")[list(COLUMNS)].reset_index(drop=True)
