"""The manifest: what is tested. One row per image, sorted by path, with a digest of the rows.

`id` is the sha256 of the file's bytes; it is null where the bytes could not be read when the manifest was made (broken
link, no permission). `width`, `height` and `format` are null where the header could not be read. Such rows stay in the
table and end as `unreadable` scores: nothing is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dfdlib import digests, images, tables
from dfdlib.errors import DfdError
from dfdlib.progress import track

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = 1
LABELS = ("real", "fake")
SPLITS = ("train", "val", "test")


class Row(NamedTuple):
    """What a recipe says of one image: `path` is relative to the root, with forward slashes.

    `label` is None only for images that are checked, not tested (`build(..., labelled=False)`).
    """

    path: str
    label: str | None
    subset: str
    split: str = "test"
    group: str | None = None


def schema() -> pa.Schema:
    """Columns and types of a manifest file."""
    import pyarrow as pa

    text, whole = pa.string(), pa.int64()
    return pa.schema(
        [
            ("id", text),
            ("path", text),
            ("label", text),
            ("dataset", text),
            ("subset", text),
            ("split", text),
            ("group", text),
            ("width", whole),
            ("height", whole),
            ("format", text),
            ("bytes", whole),
        ]
    )


@dataclass(frozen=True)
class Manifest:
    """A manifest in memory: `table` (pyarrow, columns of `schema()`) and `metadata` (a JSON object)."""

    table: pa.Table
    metadata: dict[str, Any]

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def digest(self) -> str:
        """Digest of the rows; it does not depend on where the root is."""
        return self.metadata["digest"]

    @property
    def root(self) -> Path:
        """Folder that the paths are relative to."""
        return Path(self.metadata["root"])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas table."""
        return self.table.to_pandas()

    def counts(self) -> pd.DataFrame:
        """Images per data set, subset, split and label."""
        return (
            self.frame.groupby(["dataset", "split", "subset", "label"], sort=True).size().rename("images").reset_index()
        )

    def _repr_html_(self) -> str:
        return (
            f"<p><b>manifest</b> {len(self):,} images, digest <code>{self.digest[:12]}</code></p>"
            + self.counts().to_html(index=False)
        )


def build(
    rows: Iterable[Row], root: Path, dataset: str, metadata: dict[str, Any] | None = None, *, labelled: bool = True
) -> Manifest:
    """Reads every file once (hash and header, in parallel) and makes the manifest.

    Args:
        rows: what the recipe says; order does not matter.
        root: folder that the paths are relative to.
        dataset: name for the `dataset` column.
        metadata: recipe, parameters, licence, notice, ... to be kept with the table.
        labelled: whether every row must have a label, or none may.

    Raises:
        DfdError: no rows, an unknown label or split, the same path twice, a path that leaves the root.
    """
    ordered = sorted(rows, key=lambda row: row.path)
    _check_rows(ordered, root, LABELS if labelled else (None,))
    columns: dict[str, list] = {name: [] for name in schema().names}
    with (
        ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool,
        track(len(ordered), f"reading {dataset}") as tracker,
    ):
        headers = pool.map(lambda row: images.read_header(root / row.path), ordered)
        for row, header in zip(ordered, headers, strict=True):
            for name, value in {**row._asdict(), "dataset": dataset, **header._asdict()}.items():
                columns[name].append(value)
            tracker.advance()
    return _finish(columns, root, metadata or {})


def _check_rows(rows: list[Row], root: Path, labels: tuple[str | None, ...]) -> None:
    if not rows:
        raise DfdError(
            f"{root}: no images found for this recipe.", "Check --root, --split and the layout: dfd data list"
        )
    for earlier, row in zip([None, *rows], rows, strict=False):
        if row.label not in labels or row.split not in SPLITS:
            raise DfdError(
                f"{row.path}: label '{row.label}', split '{row.split}'; known are {labels} and {SPLITS}.",
                "Mend the recipe.",
            )
        if earlier and earlier.path == row.path:
            raise DfdError(f"{row.path}: listed twice.", "Each image may have one row: mend the list or the recipe.")
        if row.path.startswith("/") or ".." in row.path.split("/"):
            raise DfdError(f"{row.path}: leaves the root folder {root}.", "Give paths below the root.")


def _finish(columns: dict[str, list], root: Path, metadata: dict[str, Any]) -> Manifest:
    import pyarrow as pa

    table = pa.table(columns, schema=schema())
    counts = Counter(zip(columns["split"], (label or "unlabelled" for label in columns["label"]), strict=True))
    return Manifest(
        table,
        {
            **metadata,
            "kind": "manifest",
            "schema": VERSION,
            "root": root.resolve().as_posix(),
            "counts": {f"{split}/{label}": n for (split, label), n in sorted(counts.items())},
            "digest": row_digest(table),
        },
    )


def row_digest(table: pa.Table) -> str:
    """Digest of a manifest's rows: column by column as ASCII JSON, so the same on any machine."""
    hasher = hashlib.sha256()
    for name in schema().names:
        text = json.dumps([name, table.column(name).to_pylist()], ensure_ascii=True, separators=(",", ":"))
        hasher.update(text.encode("ascii"))
    return hasher.hexdigest()


def write(manifest: Manifest, path: Path) -> None:
    """Writes a manifest file, whole or not at all."""
    tables.write(path, manifest.table, manifest.metadata)


def read(path: Path) -> Manifest:
    """Reads a manifest file and checks schema, order and digest.

    Raises:
        DfdError: see `tables.read`; also rows that do not match the digest, as after an edit by hand.
    """
    table, metadata = tables.read(Path(path), schema(), "manifest", VERSION)
    if row_digest(table) != metadata.get("digest"):
        raise DfdError(
            f"{path}: the rows do not match the digest in its metadata.",
            "The file was changed after it was made: prepare it again.",
        )
    return Manifest(table, metadata)


def sample(rows: Iterable[Row], limit: int | None, seed: int = 0) -> list[Row]:
    """Draws a stratified sample by label and subset, the same on every machine.

    Each stratum gets its proportional share of `limit` (largest remainder, at least one image each where the limit
    allows); within it, images are ordered by sha256(seed, path), so that a larger limit keeps the smaller sample.
    """
    rows = sorted(rows, key=lambda row: row.path)
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise DfdError(f"limit is {limit}.", "Give a limit of at least 1.")
    strata: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        strata.setdefault((row.label, row.subset), []).append(row)
    shares = _shares({key: len(members) for key, members in strata.items()}, limit)
    chosen = []
    for key, members in strata.items():
        members.sort(key=lambda row: digests.of_value([seed, row.path]))
        chosen += members[: shares[key]]
    return chosen


def _shares(sizes: dict[tuple[str, str], int], limit: int) -> dict[tuple[str, str], int]:
    total = sum(sizes.values())
    floor = 1 if limit >= len(sizes) else 0
    shares = {key: max(floor, size * limit // total) for key, size in sizes.items()}
    # Integer remainders, ties by name: no floating point decides who gets the last image.
    by_need = sorted(sizes, key=lambda key: (-(sizes[key] * limit % total), key))
    while sum(shares.values()) < limit:
        for key in by_need:
            if sum(shares.values()) < limit and shares[key] < sizes[key]:
                shares[key] += 1
    while sum(shares.values()) > limit:
        largest = max(shares, key=lambda key: (shares[key], key))
        shares[largest] -= 1
    return shares
