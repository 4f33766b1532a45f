"""Digests: sha256 of bytes, of files, and of plain values in one canonical form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def of_bytes(data: bytes) -> str:
    """sha256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_value(value: Any) -> str:
    """sha256 of a JSON value in canonical form: sorted keys, ASCII, no white space.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot hold.
        TypeError: for anything that is not a JSON value.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return of_bytes(text.encode("ascii"))
