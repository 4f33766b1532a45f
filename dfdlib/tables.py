"""Parquet tables that describe themselves: a fixed schema and one JSON object of metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdlib.errors import DfdError
from dfdlib.paths import written_whole

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"dfd"


def describe(metadata: dict[str, Any]) -> dict[bytes, bytes]:
    """The Parquet key and value that hold `metadata`."""
    return {KEY: json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8")}


def write(path: Path, table: pa.Table, metadata: dict[str, Any]) -> None:
    """Writes a table and its metadata, whole or not at all."""
    import pyarrow.parquet as pq

    with written_whole(path) as temporary:
        pq.write_table(table.replace_schema_metadata(describe(metadata)), temporary, compression="zstd")


def read(path: Path, schema: pa.Schema, what: str, version: int) -> tuple[pa.Table, dict[str, Any]]:
    """Reads a table and checks that it is what it should be.

    Args:
        path: a Parquet file.
        schema: columns that must be there, with their types; the table comes back in this order.
        what: "manifest" or "scores", for the message, and the `kind` that the metadata must name.
        version: the schema version that this program reads.

    Raises:
        DfdError: no such file, not Parquet, another kind of table, another version, columns missing or of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DfdError(f"{path}: no such {what} file.", f"Give the path of a {what} file (Parquet).")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DfdError(f"{path}: cannot be read as Parquet ({error}).", f"Make the {what} again.") from error
    metadata = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
    if metadata.get("kind") != what:
        found = metadata.get("kind", "a Parquet file of another program")
        raise DfdError(f"{path}: this is not a {what} but {found}.", f"Give the path of a {what} file.")
    if metadata.get("schema") != version:
        raise DfdError(
            f"{path}: schema version {metadata.get('schema')}, but this program reads {version}.",
            f"Make the {what} again with this version, or use the version that made it.",
        )
    _check_columns(path, table, schema, what)
    return table.select(schema.names), metadata


def _check_columns(path: Path, table: pa.Table, schema: pa.Schema, what: str) -> None:
    problems = []
    for field in schema:
        if field.name not in table.column_names:
            problems.append(f"column '{field.name}' is missing")
        elif table.schema.field(field.name).type != field.type:
            problems.append(f"column '{field.name}' is {table.schema.field(field.name).type}, not {field.type}")
    if problems:
        raise DfdError(f"{path}: not a valid {what}: {'; '.join(problems)}.", f"Make the {what} again.")
