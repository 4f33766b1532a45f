"""Weights files: where a card's file lies, whether it is the very file that is meant, and how to get it.

A file is known by its sha256. Most cards state it. Where the author of a detector publishes none, that of the first
file that is got is recorded in the lock, `weights/lock.yaml`, which belongs under version control: from then on
everybody has that very file, or an error. A file whose sha256 stands in neither place is never used.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dfdlib import digests, downloads
from dfdlib.detectors import card as cards
from dfdlib.detectors.card import Card
from dfdlib.errors import DfdError
from dfdlib.paths import SHIPPED_WEIGHTS, weights_home, written_whole

Say = Callable[[str], None]
LOCK = SHIPPED_WEIGHTS / "lock.yaml"
HEADER = """\
# Weights whose authors publish no sha256, as they were when first got with `dfd weights get`; another file is refused.
# Keep this file under version control. `recorded` says whether the file was downloaded or brought by the user.
"""


class Entry(BaseModel):
    """One weights file in the lock; `source` is that of the card, without its note."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(gt=0)]
    source: dict[str, str]
    recorded: Literal["download", "file"]


@dataclass(frozen=True)
class Identity:
    """What a weights file must be: sha256, size in bytes (None: unknown), and where that is stated."""

    sha256: str
    bytes: int | None
    stated: str


@dataclass(frozen=True)
class Status:
    """State of one detector's weights; `remedy` says what to do.

    `state` is ok, missing, changed (not the file that is meant), or unverified (nothing says which file is meant).
    """

    name: str
    path: Path
    state: Literal["ok", "missing", "changed", "unverified"]
    detail: str
    remedy: str = ""


def locate(card: Card) -> Path:
    """Where the card's weights belong, whether they are there or not."""
    kind = card.weights.source.kind
    if kind == "local":
        return (card.path.parent / card.weights.file).resolve()
    return (SHIPPED_WEIGHTS if kind == "shipped" else weights_home()) / card.weights.file


def identity(card: Card) -> Identity | None:
    """What the card's file must be: by the card, else by the lock; None if neither says it.

    Raises:
        DfdError: the lock cannot be read, or its entry of that name is of another file or source.
    """
    if card.weights.sha256:
        return Identity(card.weights.sha256, card.weights.bytes, "the card")
    entry = _lock().get(card.name)
    if entry is None:
        return None
    meant = (card.weights.file, _origin(card), card.weights.bytes or entry.bytes)
    if (entry.file, entry.source, entry.bytes) != meant:
        raise DfdError(
            f"{LOCK}: '{card.name}' is recorded as another file, size or source than its card now states.",
            "If the card is right, remove that entry and get the weights again; two cards need two names.",
        )
    return Identity(entry.sha256, entry.bytes, _lock_name())


def sha256(card: Card) -> str:
    """sha256 of the weights that the card means, from the card or the lock; the file itself is not looked at.

    Raises:
        DfdError: neither states it.
    """
    found = identity(card)
    if found is None:
        raise DfdError(
            f"Weights of '{card.name}': neither the card nor {_lock_name()} states their sha256.",
            status(card, hash_file=False).remedy,
        )
    return found.sha256


def status(card: Card, *, hash_file: bool = True) -> Status:
    """Compares the file with the card or the lock: size first, then sha256 unless `hash_file` is False."""
    path = locate(card)
    if not path.is_file():
        return Status(card.name, path, "missing", card.weights.source.note or "no such file", _obtain(card))
    try:
        known = identity(card)
    except DfdError as error:
        return Status(card.name, path, "unverified", error.message, error.hint)
    if known is None:
        detail = f"neither the card nor {_lock_name()} states a sha256"
        trust = f"If you trust this file, record it: {_command(card, path)}"
        return Status(card.name, path, "unverified", detail, trust)
    found = path.stat()
    if known.bytes not in (None, found.st_size):
        detail = f"{found.st_size:,} bytes, {known.stated} says {known.bytes:,}"
        return Status(card.name, path, "changed", detail, f"Remove the file, then: {_obtain(card)}")
    if hash_file and _sha256_of(path, found.st_mtime_ns, found.st_size) != known.sha256:
        detail = f"sha256 is not that of {known.stated}"
        return Status(card.name, path, "changed", detail, f"Remove the file, then: {_obtain(card)}")
    return Status(card.name, path, "ok", f"{found.st_size:,} bytes")


def checked(card: Card) -> Path:
    """The card's weights file, after its size and sha256 were checked.

    Raises:
        DfdError: missing, another file than is meant, or nothing says which file is meant.
    """
    found = status(card)
    if found.state != "ok":
        raise DfdError(f"{found.path}: weights of '{card.name}' are {found.state} ({found.detail}).", found.remedy)
    return found.path


def get(card: Card, say: Say = print) -> Path:
    """Downloads the card's weights, unless they are there; goes on where an earlier call was interrupted.

    The file gets its name only after its size and sha256 were compared with the card or the lock; where neither states
    a sha256, it is recorded in the lock. A file that is there is never replaced.

    Args:
        card: of the detector.
        say: gets the licence and whatever else the user should know, line by line.

    Raises:
        DfdError: another file lies there, it cannot be downloaded (a form or login stands in between, no network, ...),
            or is not the file that is meant.
    """
    say(f"{card.name}: licence of the weights: {card.weights.licence}")
    if status(card).state != "missing":
        return checked(card)
    source, target, known = card.weights.source, locate(card), identity(card)
    if source.kind not in downloads.KINDS:
        raise DfdError(f"Weights of '{card.name}' are not for download ({source.note or source.kind}).", _obtain(card))
    with downloads.alone(target) as part:
        size = known.bytes if known else card.weights.bytes
        by_hand = f"Or download the file in a browser, then: {_command(card, 'FILE')}"
        downloads.fetch(source, part, size=size, hashed=known is not None, by_hand=by_hand, say=say)
        try:
            entry = _entry(card, part, known, "download")
        except DfdError:
            downloads.discard(part)
            raise
        if known is None:
            _record(card.name, entry, say)
        os.replace(part, target)
        downloads.discard(part)
    return target


def install(card: Card, file: Path, say: Say = print) -> Path:
    """Copies a file that the user brings to where the card wants it, after checking that it is the right one.

    Where neither card nor lock states a sha256, that of this file is recorded in the lock.

    Raises:
        DfdError: not the file that is meant.
    """
    if not file.is_file():
        raise DfdError(f"{file}: no such file.", "Give the path of the weights file.")
    say(f"{card.name}: licence of the weights: {card.weights.licence}")
    target, known = locate(card), identity(card)
    if target.exists() and target.samefile(file):
        entry = _entry(card, file, known, "file")
        if known is None:
            _record(card.name, entry, say)
        return target
    with written_whole(target) as temporary:
        # What is checked is the copy: the original may lie on a medium that fails, or be written to meanwhile.
        shutil.copyfile(file, temporary)
        entry = _entry(card, temporary, known, "file", shown=str(file))
        if known is None:
            _record(card.name, entry, say)
    return target


def _entry(card: Card, file: Path, known: Identity | None, recorded: str, shown: str = "the downloaded file") -> Entry:
    """The lock's entry of a file that was just got, after comparing it with what is known of it."""
    with open(file, "rb") as opened:
        page = downloads.is_page(opened.read(1024))
    size, found = file.stat().st_size, digests.of_file(file)
    expected = known.bytes if known else card.weights.bytes
    stated = known.stated if known else "the card"
    again = {
        "download": "It was not kept. If it comes again, it was changed at its source: ask its author which is right.",
        "file": "Get the file that the card names; a changed file gets a card of its own.",
    }[recorded]
    if page or size == 0:
        raise DfdError(f"{shown}: {'a web page' if page else 'empty'}, not weights of '{card.name}'.", again)
    if known and found != known.sha256:
        raise DfdError(
            f"{shown}: sha256 {found} is not that of '{card.name}' ({known.sha256}, by {known.stated}).", again
        )
    if expected not in (None, size):
        raise DfdError(f"{shown}: {size:,} bytes, {stated} says {expected:,} (sha256 {found}).", again)
    return Entry(file=card.weights.file, sha256=found, bytes=size, source=_origin(card), recorded=recorded)


def _record(name: str, entry: Entry, say: Say) -> None:
    with downloads.exclusive(weights_home() / ".record.lock", "Another process is writing the lock.", wait=10):
        entries = {**_lock(), name: entry}
        if _lock().get(name, entry).sha256 != entry.sha256:
            raise DfdError(
                f"{LOCK}: another process just recorded another file for '{name}'.", "Compare the two files."
            )
        values = {key: entries[key].model_dump() for key in sorted(entries)}
        try:
            with written_whole(LOCK) as temporary:
                temporary.write_text(HEADER + yaml.safe_dump(values, sort_keys=False), encoding="utf-8", newline="\n")
        except OSError as error:
            raise DfdError(f"{LOCK}: cannot be written ({error}).", "Make the file writable, and try again.") from error
    say(f"{name}: sha256 {entry.sha256} ({entry.bytes:,} bytes) recorded in {LOCK}")
    if entry.recorded == "file":
        say("Its author publishes no sha256: that this is the author's file is your word alone.")
    else:
        say("Its author publishes no sha256: another file will be refused from now on. Commit the lock.")


def _lock_name() -> str:
    return f"{LOCK.parent.name}/{LOCK.name}"


def _lock() -> dict[str, Entry]:
    try:
        found = LOCK.stat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DfdError(f"{LOCK}: cannot be read ({error}).", "Mend it, or get it from git.") from error
    return _read_lock(LOCK, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _read_lock(path: Path, _mtime: int, _size: int) -> dict[str, Entry]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Entry]).validate_python(values or {})
    except (OSError, yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise DfdError(f"{path}: not a valid lock of weights ({error}).", "Mend it, or get it from git.") from error


@lru_cache(maxsize=256)
def _sha256_of(path: Path, _mtime: int, _size: int) -> str:
    return digests.of_file(path)


def _origin(card: Card) -> dict[str, str]:
    return card.weights.source.model_dump(exclude={"note"})


def _command(card: Card, file: Path | str | None = None) -> str:
    """The command that gets a card's weights, as one can type it; `file` is for its option --from."""
    own = card.path != cards.CARDS / f"{card.name}.yaml"
    words = ["dfd", "weights", "get", str(card.path) if own else card.name]
    return shlex.join(words + (["--from", str(file)] if file else []))


def _obtain(card: Card) -> str:
    source = card.weights.source
    if source.kind == "shipped":
        return f"git checkout -- weights/{card.weights.file}"
    if source.kind == "form":
        return f"Get it at {source.url}, then: {_command(card, 'FILE')}"
    return _command(card, "FILE" if source.kind == "local" else None)
