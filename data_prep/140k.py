"""140k Real and Fake Faces: FFHQ photos and StyleGAN faces, 256x256 JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfdlib.manifest import Row
from dfdlib.recipes import Recipe, find_layout, image_paths

LAYOUT = """  real_vs_fake/real-vs-fake/{train,valid,test}/{real,fake}/*.jpg"""
SPLITS = {"train": "train", "valid": "val", "test": "test"}


def rows(root: Path) -> Iterator[Row]:
    """Rows of all three splits; `valid` is called val."""
    base = find_layout(root, (".", "real-vs-fake", "real_vs_fake/real-vs-fake"), SPLITS, LAYOUT)
    for folder, split in SPLITS.items():
        for label, subset in (("real", "ffhq"), ("fake", "stylegan")):
            for path in image_paths(root, base / folder / label):
                yield Row(path, label, subset, split)


RECIPE = Recipe(
    name="140k",
    version=1,
    title="140k Real and Fake Faces (FFHQ and StyleGAN, 256x256 JPEG)",
    licence="FFHQ: CC BY-NC-SA 4.0 (NVIDIA); the set states no licence of its own",
    citation="xhlulu, 140k Real and Fake Faces, Kaggle, 2020",
    obtain="Download '140k Real and Fake Faces' by xhlulu from Kaggle (login needed) and unpack it.",
    layout=LAYOUT,
    rows=rows,
)
