"""Scores: one row per manifest row for one arm, and what is needed to trace each of them. Reports read only this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdlib import tables
from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = 1
SUFFIX = ".scores.parquet"


def schema() -> pa.Schema:
    """Columns and types of a scores file.

    `p_fake` and `logit` are null unless `status` is ok; the face columns are null where the crop looks for no face, and
    the box is that of the chosen face in pixels of the upright image.
    """
    import pyarrow as pa

    text, real = pa.string(), pa.float64()
    return pa.schema(
        [
            (name, text)
            for name in ("id", "path", "label", "dataset", "subset", "group", "detector", "crop", "perturbation")
        ]
        + [
            ("p_fake", real),
            ("logit", real),
            ("status", text),
            ("error", text),
            ("face_found", pa.bool_()),
            ("face_count", pa.int64()),
        ]
        + [(name, real) for name in ("face_x0", "face_y0", "face_x1", "face_y1", "face_score")]
    )


@dataclass(frozen=True)
class Scores:
    """Scores of one arm: `table` (pyarrow, columns of `schema()`) and `metadata` (a JSON object)."""

    table: pa.Table
    metadata: dict[str, Any]

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas table; missing scores are NaN, missing flags and counts are NA."""
        import pandas as pd

        kinds = {"face_found": pd.BooleanDtype(), "face_count": pd.Int64Dtype()}
        frame = self.table.to_pandas()
        for name, kind in kinds.items():
            frame[name] = frame[name].astype(kind)
        return frame

    @property
    def detector(self) -> str:
        """Name of the detector."""
        return self.metadata["arm"]["detector"]

    @property
    def crop(self) -> str:
        """Name of the crop profile."""
        return self.metadata["arm"]["crop"]

    @property
    def perturbation(self) -> str:
        """Name of the perturbation."""
        return self.metadata["arm"]["perturbation"]

    @property
    def arm(self) -> str:
        """The arm in words: detector · crop, and the perturbation where there is one."""
        parts = [self.detector, self.crop] + ([self.perturbation] if self.perturbation != "none" else [])
        return " · ".join(parts)

    @property
    def digest(self) -> str:
        """Digest of everything that the scores depend on."""
        return self.metadata["arm_digest"]

    @property
    def coverage(self) -> float:
        """Share of rows with status ok."""
        return self.table.column("status").to_pylist().count("ok") / len(self)

    def _repr_html_(self) -> str:
        columns = ["path", "label", "subset", "p_fake", "status", "face_found"]
        return (
            f"<p><b>scores</b> {self.arm}: {len(self):,} images, coverage {self.coverage:.2%}, "
            f"arm <code>{self.digest[:12]}</code></p>" + self.frame[columns].head(8).to_html(index=False)
        )


def read(path: Path) -> Scores:
    """Reads a scores file.

    Raises:
        DfdError: see `tables.read`.
    """
    return Scores(*tables.read(Path(path), schema(), "scores", VERSION))


def files(folder: Path) -> list[Path]:
    """The scores files in a folder, sorted by name."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


def read_folder(folder: Path) -> list[Scores]:
    """All scores in a folder, sorted by data set and arm.

    Raises:
        DfdError: no such folder, or no scores in it.
    """
    if not Path(folder).is_dir() or not files(folder):
        raise DfdError(f"{folder}: no scores here.", "Make some: dfd score MANIFEST --detector NAME --out FOLDER")
    return sorted(map(read, files(folder)), key=lambda scores: (scores.metadata["manifest"]["digest"], scores.arm))


def write(path: Path, frame: pd.DataFrame, metadata: dict[str, Any]) -> None:
    """Writes a scores file from a pandas table with the columns of `schema()`."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, schema=schema(), preserve_index=False)
    tables.write(path, table, {**metadata, "kind": "scores", "schema": VERSION})


def merge(path: Path, parts: Iterable[Path], metadata: dict[str, Any]) -> None:
    """Joins part files, in the order given, to one scores file; one part at a time is in memory."""
    import pyarrow.parquet as pq

    from dfdlib.paths import written_whole

    described = tables.describe({**metadata, "kind": "scores", "schema": VERSION})
    with (
        written_whole(path) as temporary,
        pq.ParquetWriter(temporary, schema().with_metadata(described), compression="zstd") as writer,
    ):
        for part in parts:
            writer.write_table(pq.read_table(part).replace_schema_metadata(described))


def stored_digest(path: Path) -> str | None:
    """The arm digest in a scores file's metadata, or None where there is no readable file. Reads no rows."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = json.loads((pq.read_schema(path).metadata or {}).get(tables.KEY, b"{}"))
    except (OSError, pa.ArrowException, ValueError):
        return None
    current = metadata.get("kind") == "scores" and metadata.get("schema") == VERSION
    return metadata.get("arm_digest") if current else None
