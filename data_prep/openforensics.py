"""Deepfake and real images: 256x256 faces derived from OpenForensics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfdlib.errors import DfdError
from dfdlib.manifest import Row
from dfdlib.recipes import Recipe, image_paths, shown

LAYOUT = """  Dataset/{Train,Validation,Test}/{Fake,Real}/*.jpg"""
SPLITS = {"Train": "train", "Validation": "val", "Test": "test"}


def rows(root: Path) -> Iterator[Row]:
    """Rows of those splits that are there: many users keep only Test."""
    base = root / "Dataset" if (root / "Dataset").is_dir() else root
    present = [name for name in SPLITS if (base / name).is_dir()]
    if not present:
        raise DfdError(
            f"{root}: not the layout of this data set. Expected:\n{LAYOUT}\nFound: {shown(root)}",
            "Unpack the data set, or give another --root.",
        )
    for name in present:
        for label in ("Real", "Fake"):
            if not (base / name / label).is_dir():
                raise DfdError(
                    f"{base / name}: folder '{label}' is missing. Found: {shown(base / name)}",
                    "Unpack the data set whole.",
                )
            for path in image_paths(root, base / name / label):
                yield Row(path, label.lower(), "openforensics", SPLITS[name])


RECIPE = Recipe(
    name="openforensics",
    version=1,
    title="Deepfake and real images (derived from OpenForensics, 256x256 JPEG)",
    licence="as stated by OpenForensics, for research; the derived set states none of its own",
    citation="Le et al., OpenForensics: Large-Scale Challenging Dataset For Multi-Face Forgery Detection, ICCV 2021",
    obtain="Download 'deepfake and real images' from Kaggle (login needed) and unpack it.",
    layout=LAYOUT,
    rows=rows,
)
