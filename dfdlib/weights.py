"""Weights files: where a card's file lies, and whether it is the very file that the card means."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dfdlib import digests
from dfdlib.detectors.card import Card
from dfdlib.errors import DfdError
from dfdlib.paths import SHIPPED_WEIGHTS, written_whole


@dataclass(frozen=True)
class Status:
    """State of one detector's weights: `state` is ok, missing, or changed; `remedy` says what to do."""

    name: str
    path: Path
    state: str
    detail: str
    remedy: str = ""


def locate(card: Card) -> Path:
    """Where the card's weights belong, whether they are there or not."""
    if card.weights.source.kind == "shipped":
        return SHIPPED_WEIGHTS / card.weights.file
    return (card.path.parent / card.weights.file).resolve()


def status(card: Card, *, hash_file: bool = True) -> Status:
    """Compares the file with the card: size first, then sha256 unless `hash_file` is False."""
    path = locate(card)
    if not path.is_file():
        remedy = (
            f"git checkout -- weights/{card.weights.file}"
            if card.weights.source.kind == "shipped"
            else f"dfd weights get {card.name} --from FILE"
        )
        return Status(card.name, path, "missing", card.weights.source.note or "no such file", remedy)
    size = path.stat().st_size
    if size != card.weights.bytes:
        return Status(
            card.name,
            path,
            "changed",
            f"{size:,} bytes, the card says {card.weights.bytes:,}",
            "Remove the file and get it again.",
        )
    if hash_file and _sha256(path, path.stat().st_mtime_ns) != card.weights.sha256:
        return Status(card.name, path, "changed", "sha256 is not that of the card", "Remove the file and get it again.")
    return Status(card.name, path, "ok", f"{size:,} bytes")


@cache
def _sha256(path: Path, _mtime: int) -> str:
    return digests.of_file(path)


def checked(card: Card) -> Path:
    """The card's weights file, after its size and sha256 were checked.

    Raises:
        DfdError: missing, or another file than the card means.
    """
    found = status(card)
    if found.state != "ok":
        raise DfdError(f"{found.path}: weights of '{card.name}' are {found.state} ({found.detail}).", found.remedy)
    return found.path


def install(card: Card, file: Path) -> Path:
    """Copies a file that the user brings to where the card wants it, after checking that it is the right one.

    Raises:
        DfdError: not the file that the card means.
    """
    if not file.is_file():
        raise DfdError(f"{file}: no such file.", "Give the path of the weights file.")
    found = digests.of_file(file)
    if found != card.weights.sha256:
        raise DfdError(
            f"{file}: sha256 {found} is not that of '{card.name}' ({card.weights.sha256}).",
            "Get the file that the card names; a changed file gets a card of its own.",
        )
    target = locate(card)
    with written_whole(target) as temporary:
        shutil.copyfile(file, temporary)
    return target
