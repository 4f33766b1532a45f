"""The sample set: faces drawn by a program, with four kinds of forgery traces. Made on the spot from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dfdlib.manifest import Row
from dfdlib.recipes import Recipe, image_paths

LAYOUT = """  {train,val,test}/real/*.jpg
  {train,val,test}/fake/{blend,upsample,denoise,splice}/*.jpg"""


def rows(root: Path, train: int = 0, val: int = 400, test: int = 600, seed: int = 0) -> Iterator[Row]:
    """Draws the images where they are not there yet, then lists them.

    Args:
        root: the folder to draw into.
        train, val, test: images of each split, half of them real. The train split is only needed to train with.
        seed: of the drawing.
    """
    from dfdlib.progress import track
    from dfdlib.sample import generate

    with track(train + val + test, "drawing the sample set") as tracker:
        generate(
            root,
            counts={"train": train, "val": val, "test": test},
            seed=seed,
            progress=lambda done, _total: tracker.advance(done - tracker.done),
        )
    for split, count in (("train", train), ("val", val), ("test", test)):
        if count:
            for path in image_paths(root, root / split):
                parts = Path(path).parts
                yield Row(path, parts[1], parts[2] if parts[1] == "fake" else "drawn", split)


RECIPE = Recipe(
    name="sample",
    version=1,
    title="Sample set: drawn faces, four kinds of forgery traces (256x256 JPEG)",
    licence="Apache-2.0",
    citation="",
    obtain="Nothing to get: the images are drawn on the spot.",
    layout=LAYOUT,
    rows=rows,
    makes_files=True,
    notice="The sample set is a demonstration and test set: its faces are drawn by a program. "
    "Its figures say nothing about real deepfakes.",
)
