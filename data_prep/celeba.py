"""CelebA, aligned and cropped: 202,599 real photos of celebrities, 178x218 JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfdlib.errors import DfdError
from dfdlib.manifest import Row
from dfdlib.recipes import Recipe, find_layout, image_paths

LAYOUT = """  img_align_celeba/000001.jpg .. 202599.jpg
  list_eval_partition.txt     lines of: name 0|1|2 (train, val, test)
  identity_CelebA.txt         optional; lines of: name identity"""
PARTITION = {"0": "train", "1": "val", "2": "test"}


def rows(root: Path, rule: str = "partition") -> Iterator[Row]:
    """Rows of real images.

    Args:
        root: the folder that holds img_align_celeba.
        rule: `partition` takes the split from list_eval_partition.txt; `number>=190000` takes only files of that
            number or above, as split test: the choice of the BNext detector for RescueBox.
    """
    if rule not in ("partition", "number>=190000"):
        raise DfdError(f"CelebA: unknown rule '{rule}'.", "Rules are: partition, number>=190000")
    folder = find_layout(root, (".", "celeba", "CelebA"), ["img_align_celeba"], LAYOUT) / "img_align_celeba"
    # The zip holds a folder of the same name: after unpacking into it, images lie one level deeper.
    folder = folder / "img_align_celeba" if (folder / "img_align_celeba").is_dir() else folder
    partition = _pairs(root, "list_eval_partition.txt", needed=rule == "partition")
    identity = _pairs(root, "identity_CelebA.txt", needed=False)
    for path in image_paths(root, folder):
        name = Path(path).name
        if rule == "partition":
            if partition.get(name) not in PARTITION:
                raise DfdError(f"{root}: {name} is not in list_eval_partition.txt.", "Get the file that belongs to it.")
            yield Row(path, "real", "celeba", PARTITION[partition[name]], identity.get(name))
        elif Path(name).stem.isdecimal() and int(Path(name).stem) >= 190_000:
            yield Row(path, "real", "celeba", "test", identity.get(name))


def _pairs(root: Path, name: str, needed: bool) -> dict[str, str]:
    found = next(
        (
            path
            for path in (root / name, root / "Eval" / name, root / "celeba" / name, root / "CelebA" / name)
            if path.is_file()
        ),
        None,
    )
    if found is None:
        if needed:
            raise DfdError(f"{root}: {name} is missing.", f"Put it beside img_align_celeba. Expected:\n{LAYOUT}")
        return {}
    lines = found.read_text(encoding="utf-8").splitlines()
    return {parts[0]: parts[1] for parts in (line.replace(",", " ").split() for line in lines) if len(parts) == 2}


RECIPE = Recipe(
    name="celeba",
    version=1,
    title="CelebA, aligned and cropped (real photos, 178x218 JPEG)",
    licence="non-commercial research only (The Chinese University of Hong Kong)",
    citation="Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015",
    obtain="Download img_align_celeba.zip and list_eval_partition.txt from the CelebA project page and unpack them.",
    layout=LAYOUT,
    rows=rows,
)
