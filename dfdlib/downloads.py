"""Downloads of single files that go on where they stopped, and that never take one thing for another.

What has arrived lies in `<file>.part`; `<file>.part.json` beside it says of which source and which version of the file
it is the beginning. An answer that is not the rest of that very version starts the part over. Nothing that a server
says names a file here, and only http and https are ever followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdlib.errors import DfdError
from dfdlib.progress import Tracker, track

if TYPE_CHECKING:
    from requests import Response, Session

    from dfdlib.detectors.card import Source

GOOGLE_DRIVE = "https://drive.usercontent.google.com/download"
HUGGING_FACE = "https://huggingface.co"
KINDS = ("google-drive", "huggingface", "url")
TIMEOUT = (10.0, 60.0)  # seconds for a connection, and of silence
ATTEMPTS = 5  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second attempt; doubled for each further one
LONGEST_PAUSE = 60.0  # a server that asks for more (Retry-After) is left alone
CHUNK = 1 << 16
MEGABYTE = 10**6
PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|script)\b", re.I | re.S
)


class _Again(Exception):
    """An attempt failed; the next may succeed, after `wait` seconds at least; if `afresh`, not from what is there."""

    def __init__(self, reason: str, *, wait: float = 0.0, afresh: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.afresh = wait, afresh


@dataclass(frozen=True)
class _Version:
    """Which version of which file a part is the beginning of; `total` is the size of the whole in bytes."""

    origin: dict[str, str]
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range takes. A weak ETag does not promise equal bytes."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified


@dataclass(frozen=True)
class _Job:
    source: Source
    part: Path
    size: int | None  # in bytes, if it is known beforehand
    hashed: bool  # whether the whole will be compared with a known sha256
    by_hand: str
    say: Callable[[str], None]

    @property
    def origin(self) -> dict[str, str]:
        return self.source.model_dump(exclude={"note"})

    def error(self, message: str, hint: str = "") -> DfdError:
        return DfdError(f"{_where(self.source)}: {message}", f"{hint} {self.by_hand}".strip())


def is_page(beginning: bytes) -> bool:
    """Whether a file that begins like this is an HTML page."""
    return bool(PAGE.match(beginning))


@contextmanager
def exclusive(path: Path, message: str, wait: float = 0.0) -> Iterator[None]:
    """Holds a lock between processes, which ends with the process.

    Args:
        path: the lock file; it stays.
        message: of the error.
        wait: seconds to wait for another process.

    Raises:
        DfdError: another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=wait)
        lock.acquire()
    except Timeout as error:
        raise DfdError(message, "Wait until it is done, and try again.") from error
    except OSError as error:
        raise DfdError(
            f"{path.parent}: cannot be written ({error}).", "Set DFD_WEIGHTS to a folder of your own."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(target: Path) -> Iterator[Path]:
    """Gives the name of the target's part file, which no other process may touch meanwhile.

    Raises:
        DfdError: another process is getting the same file.
    """
    lock = target.with_name(f".{target.name}.lock")
    with exclusive(lock, f"{target}: another process is getting this file."):
        yield target.with_name(f"{target.name}.part")


def discard(part: Path) -> None:
    """Removes a part file and what is noted beside it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def fetch(
    source: Source,
    part: Path,
    *,
    size: int | None,
    hashed: bool,
    by_hand: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Downloads a file into `part`; goes on where an earlier call was interrupted, if the file is still the same.

    After a break, a timeout or a server's passing trouble it tries again, a few times. When it raises, what has arrived
    stays.

    Args:
        source: of a kind in KINDS.
        part: the file to fill.
        size: of the whole in bytes, if known; a source with another size is refused before anything is written.
        hashed: whether the caller will compare the whole with a known sha256. If not, only parts that are certain to be
            of one version are joined, and a file whose end can't be told is refused.
        by_hand: how to get the file otherwise: the last sentence of every error's hint.
        say: gets a line for each attempt that failed.

    Raises:
        DfdError: no network, no such file, a login or a quota stands in between, another size, no space, ...
    """
    job = _Job(source, part, size, hashed, by_hand, say)
    try:
        if part.is_symlink():
            part.unlink()  # it would be written through
        _attempts(job)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DfdError(
                f"No space left on the disk while writing {part}.",
                "Free some space and run the same command again: it goes on where it stopped.",
            ) from error
        raise DfdError(f"{part}: cannot be written ({error}).", "Mend the folder, and try again.") from error


def _attempts(job: _Job) -> None:
    import requests

    most, failures = _length(job.part) if _noted(job) else 0, 0
    with requests.Session() as session, track(None, job.part.stem, unit="MB", done=most // MEGABYTE) as tracker:
        while True:
            try:
                return _attempt(job, session, tracker)
            except _Again as again:
                if again.afresh:
                    discard(job.part)
                have = _length(job.part)
                failures = 0 if have > most else failures + 1
                most = max(have, most)
                if failures >= ATTEMPTS:
                    kept = f" {have:,} bytes are kept; the same command goes on from there." if have else ""
                    raise job.error(f"{again}, {failures} times.{kept}", "Try again later.") from again
                wait = max(again.wait, PAUSE * 2 ** max(failures - 1, 0))
                job.say(f"{again}; trying again in {wait:.0f} s")
            time.sleep(wait)


def _attempt(job: _Job, session: Session, tracker: Tracker) -> None:
    """One request, until the file is whole. Raises _Again where another may help."""
    import requests

    version = _noted(job)
    have = _length(job.part) if version else 0
    if version and have == version.total:
        return
    if version and (not (version.validator or job.hashed) or have > (version.total or have)):
        version, have = None, 0
    headers = {"Accept-Encoding": "identity"}
    if version:
        headers["Range"] = f"bytes={have}-"
        if version.validator:
            headers["If-Range"] = version.validator
    try:
        with _answer(job, session, headers) as response:
            _check(job, response)
            if version and response.status_code == 206:
                offered = _rest(job, response, version, have)
            else:
                offered, have = _whole(job, response), 0
            _save(job, response, offered, have, tracker)
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, requests.TooManyRedirects) as error:
        raise job.error(f"leads elsewhere than to http or https, or in a circle ({error}).") from error
    except requests.RequestException as error:
        raise _Again(_reason(error)) from error


def _answer(job: _Job, session: Session, headers: dict[str, str]) -> Response:
    url, fields = _address(job.source)
    response = session.get(url, params=fields, headers=headers, stream=True, timeout=TIMEOUT)
    if job.source.kind == "google-drive" and response.status_code == 200 and _says_page(response):
        page = _text(response)
        response.close()
        confirmed = _form_fields(page)
        if not confirmed:
            raise _drive_refusal(job, page)
        # Only the form's values are used: its address is the server's word.
        response = session.get(
            url, params={**fields, **confirmed, "id": job.source.id}, headers=headers, stream=True, timeout=TIMEOUT
        )
    return response


def _address(source: Source) -> tuple[str, dict[str, str]]:
    from urllib.parse import quote

    if source.kind == "google-drive":
        return GOOGLE_DRIVE, {"id": source.id, "export": "download", "confirm": "t"}
    if source.kind == "huggingface":
        return f"{HUGGING_FACE}/{source.repo}/resolve/{quote(source.revision, safe='')}/{quote(source.file)}", {}
    return source.url, {}


def _where(source: Source) -> str:
    if source.kind == "google-drive":
        return f"Google Drive, file {source.id}"
    if source.kind == "huggingface":
        return f"Hugging Face, {source.repo}, {source.file} at {source.revision}"
    return source.url


def _check(job: _Job, response: Response) -> None:
    """Raises unless the answer is a file, or the rest of one."""
    code = response.status_code
    if code == 416:
        raise _Again("the server has no more of this file", afresh=True)
    if code in (408, 425, 429) or code >= 500:
        asked = response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isascii() and asked.isdigit() else 0.0
        if wait > LONGEST_PAUSE:
            raise job.error(f"the server answers {code} and asks to wait {wait:.0f} s.", "Try again then.")
        raise _Again(f"the server answers {code} {response.reason or ''}".rstrip(), wait=wait)
    if code in (401, 403):
        raise _login(job, code, response.headers.get("X-Error-Code", ""))
    if code in (404, 410):
        raise job.error(
            f"there is no such file (any more): the server answers {code}.", "Its author may have moved it."
        )
    if code not in (200, 206):
        raise job.error(f"the server answers {code} {response.reason or ''}".rstrip() + ".")
    if _says_page(response):
        page = _text(response)
        raise _drive_refusal(job, page) if job.source.kind == "google-drive" else _no_file(job, page)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise job.error("the server sends it compressed, so that its size and rest can't be told.")


def _login(job: _Job, code: int, reason: str) -> DfdError:
    if job.source.kind == "google-drive":
        return job.error(
            f"the server answers {code}: the file is not shared with everybody, or was asked for too often.",
            f"Open https://drive.google.com/file/d/{job.source.id}/view in a browser to see which.",
        )
    if job.source.kind == "huggingface" and reason != "RepoNotFound":
        return job.error(
            f"the server answers {code}: its author asks for a login, and perhaps for consent to terms.",
            f"Log in and agree at https://huggingface.co/{job.source.repo}.",
        )
    return job.error(f"the server answers {code}: a login stands in between, or the file is not public.")


def _no_file(job: _Job, page: str) -> DfdError:
    return job.error(f"answers with a web page{_title(page)} instead of the file.", "Open the address in a browser.")


def _drive_refusal(job: _Job, page: str) -> DfdError:
    text = page.lower()
    if "quota" in text or "too many users" in text:
        return job.error(
            "Google answers with a page instead of the file: it was downloaded too often lately (quota exceeded).",
            "Try again tomorrow.",
        )
    if "sign in" in text or "servicelogin" in text:
        return job.error("Google asks for a login: the file is not shared with everybody.", "Ask its author.")
    return _no_file(job, page)


def _whole(job: _Job, response: Response) -> _Version:
    """The version that an answer with the whole file offers."""
    if response.status_code == 206:
        raise _Again("the server sends a piece, where the whole file was asked for", afresh=True)
    announced = response.headers.get("Content-Length", "")
    total = int(announced) if announced.isascii() and announced.isdigit() else None
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if total is None and not (chunked or job.size or job.hashed):
        raise job.error("the server does not say how long the file is, so that a cut one could not be told.")
    return _offered(job, response, total)


def _rest(job: _Job, response: Response, version: _Version, have: int) -> _Version:
    """The version that an answer with the rest offers; it must be the very one whose beginning is there."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != have:
        raise _Again("the server sends another piece than was asked for", afresh=True)
    total = int(found[3]) if found[3] != "*" else version.total
    offered = _offered(job, response, total)
    pairs = [(offered.etag, version.etag), (offered.modified, version.modified)]
    same = [now == then for now, then in pairs if now and then]
    # Without a hash to compare with, a server that merely keeps silent about the version is not believed.
    if not all(same) or version.total not in (None, total) or not (same or job.hashed):
        raise _Again("the file at its source may have changed since it was begun", afresh=True)
    return replace(version, total=total)


def _offered(job: _Job, response: Response, total: int | None) -> _Version:
    if job.size and total is not None and total != job.size:
        raise job.error(
            f"the file there has {total:,} bytes, {job.size:,} are expected: it is another one.",
            "It was changed, or the card is wrong.",
        )
    return _Version(job.origin, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)


def _save(job: _Job, response: Response, version: _Version, have: int, tracker: Tracker) -> None:
    """Writes an answer's bytes behind the first `have` ones of the part, up to the end of the file."""
    end = version.total if version.total is not None else job.size
    pieces = response.iter_content(CHUNK)
    first = next(pieces, b"")
    if not have and is_page(first):
        raise _no_file(job, first.decode("utf-8", "replace"))
    _check_space(job, have, end)
    with open(job.part, "ab" if have else "wb") as file:
        if not have:
            _note(job, version)
        tracker.total = None if end is None else end // MEGABYTE
        for piece in _chained(first, pieces):
            file.write(piece)
            have += len(piece)
            tracker.advance(have // MEGABYTE - tracker.done)
            if end is not None and have > end:
                break
        file.flush()
        os.fsync(file.fileno())
    if end is not None and have > end:
        discard(job.part)
        raise job.error(f"sends more than the {end:,} bytes of the file.", "It was changed, or the card is wrong.")
    if end is not None and have < end:
        raise _Again(f"the connection ended after {have:,} of {end:,} bytes")
    _note(job, replace(version, total=have))


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _check_space(job: _Job, have: int, end: int | None) -> None:
    free = shutil.disk_usage(job.part.parent).free
    present = 0 if have else _length(job.part)  # will be overwritten
    if end is not None and end - have > free + present:
        raise DfdError(
            f"{job.part.parent}: {free / MEGABYTE:,.0f} MB are free, {(end - have) / MEGABYTE:,.0f} MB are needed.",
            "Free some space, or set DFD_WEIGHTS to a folder on another disk.",
        )


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _note(job: _Job, version: _Version) -> None:
    from dfdlib.paths import written_whole

    with written_whole(_notes(job.part)) as temporary:
        temporary.write_text(json.dumps(asdict(version)), encoding="utf-8")


def _noted(job: _Job) -> _Version | None:
    """What the part that is there belongs to; None if there is none, or it is of another source."""
    if not _length(job.part):
        return None
    with suppress(OSError, ValueError, TypeError):
        values: dict[str, Any] = json.loads(_notes(job.part).read_text(encoding="utf-8"))
        version = _Version(**values)
        if version.origin == job.origin:
            return version
    return None


def _says_page(response: Response) -> bool:
    return response.headers.get("Content-Type", "").split(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    )


def _text(response: Response) -> str:
    return next(response.iter_content(1 << 18), b"").decode("utf-8", "replace")


def _title(page: str) -> str:
    found = re.search(r"<title[^>]*>(.*?)</title>", page, re.I | re.S)
    words = re.sub(r"\s+", " ", found[1]).strip()[:80] if found else ""
    return f" ({words!r})" if words else ""


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self._inside = values.get("id") == "download-form"
        elif tag == "input" and self._inside and values.get("type") == "hidden" and values.get("name"):
            self.fields[values["name"]] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def _form_fields(page: str) -> dict[str, str]:
    """The hidden values of Google Drive's page that asks whether a large file should be downloaded unscanned."""
    form = _Form()
    form.feed(page)
    return form.fields


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.ConnectTimeout | requests.ReadTimeout) or "timed out" in str(error).lower():
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"no safe connection ({error})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return "no connection to the server (is there a network?)"
