"""Any images in two folders: real and fake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfdlib.errors import DfdError
from dfdlib.manifest import Row
from dfdlib.recipes import Recipe, image_paths, shown

LAYOUT = """  real/  (or 0_real, original, authentic)  images, at any depth
  fake/  (or 1_fake, generated, deepfake)  images, at any depth; the first folder level names the subset"""
NAMES = {"real": ("real", "0_real", "original", "authentic"), "fake": ("fake", "1_fake", "generated", "deepfake")}


def rows(root: Path, real: str = "", fake: str = "", split: str = "test") -> Iterator[Row]:
    """Rows of two folders.

    Args:
        root: the folder that holds both.
        real: the folder of real images, relative to root; empty: looked for by the usual names.
        fake: the same for fake images.
        split: the split that all images get.
    """
    for label, given in (("real", real), ("fake", fake)):
        folder = root / given if given else _find(root, label)
        if not folder.is_dir():
            raise DfdError(f"{folder}: no such folder.", f"Give the folder of {label} images.")
        for path in image_paths(root, folder):
            inner = Path(path).relative_to(folder.relative_to(root)).parts
            yield Row(path, label, inner[0] if len(inner) > 1 else label, split)


def _find(root: Path, label: str) -> Path:
    found = [path for path in root.iterdir() if path.is_dir() and path.name.lower() in NAMES[label]]
    if len(found) != 1:
        what = "no folder" if not found else "more than one folder"
        raise DfdError(
            f"{root}: {what} of {label} images. Expected:\n{LAYOUT}\nFound: {shown(root)}",
            f"Name the folder: --set {label}=FOLDER",
        )
    return found[0]


RECIPE = Recipe(
    name="folder",
    version=1,
    title="Your own images in two folders, real and fake",
    licence="yours",
    citation="",
    obtain="Put real images in one folder and fake ones in another.",
    layout=LAYOUT,
    rows=rows,
)
