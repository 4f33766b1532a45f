"""Recipes: how a data set on disk becomes the rows of a manifest. One small file each in data_prep/.

A file data_prep/<name>.py holds one `RECIPE`. Its `rows(root, **parameters)` yields `manifest.Row`s.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dfdlib import images, manifest
from dfdlib.errors import DfdError
from dfdlib.manifest import Manifest, Row


@dataclass(frozen=True)
class Recipe:
    """One data set: what it is, where it comes from, and how its folders are read.

    Attributes:
        name: as users type it; the file's name.
        version: raised whenever the rows for the same files change.
        title, licence, citation: for people and for the manifest.
        obtain: how to get the files.
        layout: the folders as they must be below the root.
        rows: `rows(root, **parameters)` yields rows; raises DfdError for a wrong layout.
        notice: a sentence that every report on these images shows first.
        makes_files: the recipe generates its images, so the root need not exist.
    """

    name: str
    version: int
    title: str
    licence: str
    citation: str
    obtain: str
    layout: str
    rows: Callable[..., Iterable[Row]] = field(repr=False)
    notice: str = ""
    makes_files: bool = False

    def parameters(self) -> dict[str, Any]:
        """Names and defaults of the recipe's own parameters."""
        found = list(inspect.signature(self.rows).parameters.values())[1:]
        return {p.name: p.default for p in found}


def names() -> list[str]:
    """Names of all recipes, sorted."""
    import data_prep

    folder = Path(data_prep.__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        DfdError: no such recipe; the message names the nearest.
    """
    known = names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise DfdError(
            f"No data set recipe named '{name}'." + (f" Did you mean '{near[0]}'?" if near else ""),
            f"Known: {', '.join(known)}. For your own folders take 'folder'.",
        )
    return importlib.import_module(f"data_prep.{name}").RECIPE


def prepare(
    name: str,
    root: Path,
    *,
    dataset: str = "",
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    parameters: dict[str, Any] | None = None,
) -> Manifest:
    """Makes the manifest of a data set.

    Args:
        name: the recipe.
        root: the data set's folder.
        dataset: name in the `dataset` column; the recipe's when empty.
        split: keep only train, val or test; None keeps all.
        limit: draw a stratified sample of this many images (`manifest.sample`).
        seed: for that draw.
        parameters: the recipe's own parameters.

    Raises:
        DfdError: unknown recipe, parameter or split; no such folder; a wrong layout; no images.
    """
    recipe = get(name)
    parameters = dict(parameters or {})
    unknown = set(parameters) - set(recipe.parameters())
    if unknown:
        raise DfdError(
            f"Recipe '{name}' has no parameter {', '.join(sorted(unknown))}.",
            f"It has: {', '.join(recipe.parameters()) or 'none'}.",
        )
    if split is not None and split not in manifest.SPLITS:
        raise DfdError(f"Unknown split '{split}'.", f"Splits are {', '.join(manifest.SPLITS)}.")
    root = Path(root)
    if not recipe.makes_files and not root.is_dir():
        raise DfdError(f"{root}: no such folder.", f"{recipe.obtain} Then give its place with --root.")
    rows = [row for row in recipe.rows(root, **parameters) if split in (None, row.split)]
    if not rows:
        raise DfdError(
            f"{root}: no images{f' of split {split}' if split else ''} found for '{name}'.",
            f"Expected below it:\n{recipe.layout}\nFound: {shown(root)}",
        )
    rows = manifest.sample(rows, limit, seed)
    return manifest.build(
        rows,
        root,
        dataset or name,
        metadata={
            "recipe": name,
            "recipe_version": recipe.version,
            "licence": recipe.licence,
            "notice": recipe.notice,
            "parameters": {**recipe.parameters(), **parameters, "split": split, "limit": limit, "seed": seed},
        },
    )


def image_paths(root: Path, folder: Path | None = None) -> Iterator[str]:
    """All files below `folder` with an image's suffix, as posix paths relative to `root`, in no special order.

    Links to files are listed (also broken ones: they get a row), links to folders are not followed.
    """
    for where, _, files in os.walk(folder or root, onerror=_cannot_list):
        relative = Path(where).relative_to(root)
        for name in files:
            if Path(name).suffix.lower() in images.SUFFIXES:
                # A name that is not Unicode cannot stand in a table: its odd bytes are spelled out.
                yield (
                    (relative / name).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                )


def _cannot_list(error: OSError) -> None:
    raise DfdError(f"{error.filename}: cannot be listed ({error.strerror}).", "Check the folder and its permissions.")


def find_layout(root: Path, candidates: Iterable[str], needed: Iterable[str], layout: str) -> Path:
    """The folder at or below `root` that holds all `needed` folders.

    Users point at the unpacked archive or at a folder within it: both are fine.

    Args:
        root: what the user gave.
        candidates: relative folders to try in order, "." for the root itself.
        needed: names of folders that must be there.
        layout: the expected layout, for the message.

    Raises:
        DfdError: none of them fits; the message shows what was expected and what is there.
    """
    needed = list(needed)
    for candidate in candidates:
        if all((root / candidate / name).is_dir() for name in needed):
            return root / candidate
    raise DfdError(
        f"{root}: not the layout of this data set. Expected:\n{layout}\nFound: {shown(root)}",
        "Unpack the data set whole, or give another --root.",
    )


def shown(root: Path, most: int = 8) -> str:
    """What lies in a folder, in one line, for messages."""
    if not root.is_dir():
        return "no such folder"
    entries = sorted(root.iterdir(), key=lambda path: path.name)
    if not entries:
        return "an empty folder"
    folders = [path.name + "/" for path in entries if path.is_dir()]
    files = Counter(path.suffix.lower() or "no suffix" for path in entries if not path.is_dir())
    parts = folders[:most] + (["..."] if len(folders) > most else [])
    parts += [f"{count} files ({suffix})" for suffix, count in files.most_common(most)]
    return ", ".join(parts)
