"""Downloads from a local server that behaves well and badly; after each, what lies on disk."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
from collections import namedtuple

import fileserver
import pytest
from fileserver import chunked, code, file, hanging, page

from dfdlib import downloads
from dfdlib.detectors.card import GoogleDrive, HuggingFace, Url
from dfdlib.errors import DfdError

DATA = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(400_000)
A, B = '"a"', '"b"'
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def server(monkeypatch):
    fileserver.hasten(monkeypatch)
    with fileserver.serving() as running:
        yield running


@pytest.fixture
def part(tmp_path):
    return tmp_path / "net.pt.part"


def fetch(server, part, *answers, size=None, hashed=False, source=None, said=None):
    server.answers[:] = answers
    source = source or Url(kind="url", url=f"{server.url}/files/net.pt")
    heard = (lambda _: None) if said is None else said.append
    downloads.fetch(source, part, size=size, hashed=hashed, by_hand="BY HAND", say=heard)


def refused(server, part, *answers, match, **options):
    with pytest.raises(DfdError, match=match) as caught:
        fetch(server, part, *answers, **options)
    return caught.value


def on_disk(part):
    return sorted(path.name for path in part.parent.iterdir())


BOTH = ["net.pt.part", "net.pt.part.json"]


def test_a_file_in_one_go(server, part):
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA and on_disk(part) == BOTH and server.ranges == [None]
    fetch(server, part, file(OTHER, B))  # whole already: nothing is asked for
    assert part.read_bytes() == DATA and len(server.requests) == 1
    downloads.discard(part)
    assert on_disk(part) == []


@pytest.mark.parametrize("reset", [False, True])
def test_goes_on_after_breaks(server, part, reset):
    said = []
    cuts = [file(DATA, A, cut=n, reset=reset) for n in (100_000, 100_000, 250_000, 390_000)]
    fetch(server, part, *cuts, file(DATA, A), said=said)
    assert part.read_bytes() == DATA and on_disk(part) == BOTH
    assert server.ranges[0] is None and all(server.ranges[1:]) and len(server.requests) == 5
    assert {headers.get("if-range") for _, headers in server.requests[1:]} == {A}
    assert len(said) == 4 and all("trying again" in line for line in said)


def test_goes_on_in_a_later_run(server, part):
    error = refused(server, part, file(DATA, A, cut=200_000), match="3 times")
    have = part.stat().st_size
    assert 0 < have <= 200_000 and part.read_bytes() == DATA[:have] and on_disk(part) == BOTH
    assert f"{have:,} bytes are kept" in error.message and error.hint.endswith("BY HAND")
    server.requests.clear()
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA and server.ranges == [f"bytes={have}-"]


def test_by_date_where_there_is_no_etag(server, part):
    fetch(server, part, file(DATA, cut=200_000, Last_Modified=DATE), file(DATA, Last_Modified=DATE))
    assert part.read_bytes() == DATA and server.requests[1][1]["if-range"] == DATE


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_only_a_hash_allows_to_go_on(server, part, etag):
    fetch(server, part, file(DATA, etag, cut=200_000), file(DATA, etag), hashed=True)
    assert part.read_bytes() == DATA and server.ranges[1] is not None and "if-range" not in server.requests[1][1]
    downloads.discard(part)
    server.requests.clear()
    fetch(server, part, file(DATA, etag, cut=200_000), file(DATA, etag))
    assert part.read_bytes() == DATA and server.ranges == [None, None]


def test_server_that_ignores_range(server, part):
    fetch(server, part, file(DATA, A, cut=200_000, ranges=False), file(DATA, A, ranges=False))
    assert part.read_bytes() == DATA and server.ranges[1] is not None
    downloads.discard(part)
    refused(server, part, file(DATA, A, cut=200_000, ranges=False), match="3 times")
    assert DATA.startswith(part.read_bytes()) and on_disk(part) == BOTH


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changes_between_two_parts_is_begun_anew(server, part, if_range):
    fetch(server, part, file(DATA, A, cut=200_000), file(OTHER, B, if_range=if_range))
    assert part.read_bytes() == OTHER and json.loads((part.parent / BOTH[1]).read_text())["etag"] == B
    assert len(server.requests) == (2 if if_range else 3)


def test_a_file_that_changes_its_length_is_begun_anew(server, part):
    fetch(server, part, file(DATA, cut=200_000), file(OTHER[:-5], if_range=False), hashed=True)
    assert part.read_bytes() == OTHER[:-5]


def test_a_rest_whose_version_is_kept_secret_is_not_believed_without_a_hash(server, part):
    fetch(server, part, file(DATA, A, cut=200_000), file(OTHER, if_range=False), file(OTHER, B))
    assert part.read_bytes() == OTHER and server.ranges[2] is None
    downloads.discard(part)
    fetch(server, part, file(DATA, A, cut=200_000), file(DATA, if_range=False), hashed=True)
    assert part.read_bytes() == DATA


def test_a_part_of_another_source_is_not_gone_on_with(server, part):
    refused(server, part, file(DATA, A, cut=200_000), match="3 times")
    server.requests.clear()
    fetch(server, part, file(OTHER, A), source=Url(kind="url", url=f"{server.url}/another.pt"))
    assert part.read_bytes() == OTHER and server.ranges == [None]


@pytest.mark.parametrize("notes", [None, "", "{", "[]", '{"origin": 1}', '{"a": "b"}'])
def test_a_part_of_unknown_source_is_not_gone_on_with(server, part, notes):
    part.write_bytes(OTHER[:100_000])
    if notes is not None:
        (part.parent / BOTH[1]).write_text(notes)
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA and server.ranges == [None]


def test_a_part_that_is_longer_than_the_file_is_begun_anew(server, part):
    refused(server, part, file(DATA, A, cut=200_000), match="3 times")
    part.write_bytes(DATA + b"more")
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA


def test_a_link_is_not_written_through(server, part, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "precious"
    outside.write_text("mine")
    part.symlink_to(outside)
    fetch(server, part, file(DATA, A))
    assert outside.read_text() == "mine" and not part.is_symlink() and part.read_bytes() == DATA


def test_wrong_pieces_are_refused(server, part):
    other = {"Content_Range": "bytes 5-399999/400000"}
    fetch(server, part, file(DATA, A, cut=200_000), file(OTHER, A, **other), file(DATA, A))
    assert part.read_bytes() == DATA and server.ranges[2] is None
    downloads.discard(part)
    error = refused(server, part, code(206, DATA, Content_Range="bytes 0-1/2"), match="a piece, where the whole")
    assert on_disk(part) == [] and "kept" not in error.message


def test_no_more_of_this_file(server, part):
    fetch(server, part, file(DATA, A, cut=200_000), code(416), file(OTHER, B))
    assert part.read_bytes() == OTHER and server.ranges[2] is None


def test_length_announced_too_long(server, part):
    refused(server, part, file(DATA, A, Content_Length=len(DATA) + 100), match="3 times")
    assert on_disk(part) == []  # the pieces contradict each other
    error = refused(server, part, file(DATA, A, Content_Length=500_000), size=len(DATA), match="another one")
    assert "500,000 bytes, 400,000 are expected" in error.message and on_disk(part) == []


def test_another_length_than_expected_does_not_harm_the_part(server, part):
    refused(server, part, file(DATA, A, cut=200_000), match="3 times")
    before = part.read_bytes()
    refused(server, part, file(OTHER + b"!", B), size=len(DATA), match="400,001 bytes, 400,000 are expected")
    refused(server, part, file(DATA, A, Content_Length=500_000), size=len(DATA), match="broke off, 3 times")
    assert part.read_bytes()[: len(before)] == before and DATA.startswith(part.read_bytes()) and on_disk(part) == BOTH


def test_length_announced_too_short(server, part):
    refused(server, part, file(DATA, A, Content_Length=300_000), size=len(DATA), match="300,000 bytes, 400,000 are")
    assert on_disk(part) == []
    fetch(server, part, file(DATA, A, Content_Length=300_000), hashed=True)  # the caller's hash will tell
    assert part.read_bytes() == DATA[:300_000]


def test_length_that_is_not_announced(server, part):
    fetch(server, part, chunked(DATA, A))
    assert part.read_bytes() == DATA
    downloads.discard(part)
    fetch(server, part, chunked(DATA, A, whole=False), file(DATA, A))
    assert part.read_bytes() == DATA and server.ranges[2] is not None
    downloads.discard(part)
    endless = file(DATA, A, Content_Length=None)
    refused(server, part, endless, match="does not say how long")
    assert on_disk(part) == []
    fetch(server, part, endless, size=len(DATA))
    assert part.read_bytes() == DATA
    downloads.discard(part)
    refused(server, part, chunked(DATA + b"more"), size=len(DATA), match="more than the 400,000 bytes")
    assert on_disk(part) == []


PAGES = [
    "<!DOCTYPE html><html><head><title>Sorry,\n no</title></head></html>",
    "\ufeff  <!-- hello -->\n<HTML>",
    "<html lang=en>",
]


@pytest.mark.parametrize("text", PAGES)
@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_instead_of_the_file(server, part, text, kind):
    error = refused(server, part, page(text, kind=kind), match="web page.* instead of the file")
    assert on_disk(part) == [] and len(server.requests) == 1
    assert ("'Sorry, no'" in error.message) == ("Sorry" in text)


def test_a_page_does_not_harm_the_part(server, part):
    refused(server, part, file(DATA, A, cut=200_000), page(PAGES[0]), match="instead of the file")
    have = part.stat().st_size
    assert have > 0 and part.read_bytes() == DATA[:have]
    refused(server, part, page(PAGES[0], kind="application/zip"), match="instead of the file")
    assert part.read_bytes() == DATA[:have] and on_disk(part) == BOTH
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA


def test_what_is_no_page():
    for beginning in (b"", DATA[:1000], b'\x3c\0\0\0\0\0\0\0{"a"', b"PK\x03\x04", b"\x80\x02<html>", b"<htmlx"):
        assert not downloads.is_page(beginning)


@pytest.mark.parametrize(
    ("number", "words"), [(401, "login"), (403, "login"), (404, "no such file"), (410, "no such file"), (400, "400")]
)
def test_final_answers_are_not_asked_twice(server, part, number, words):
    error = refused(server, part, page("<html>no</html>", number), match=words)
    assert on_disk(part) == [] and len(server.requests) == 1
    assert error.hint.endswith("BY HAND") and server.url in error.message


def test_passing_trouble(server, part):
    fetch(server, part, code(503, Retry_After=0), code(429, Retry_After="soon"), file(DATA, A))
    assert part.read_bytes() == DATA
    downloads.discard(part)
    server.requests.clear()
    refused(server, part, code(502), match="502 Bad Gateway, 3 times")
    assert len(server.requests) == 3 and on_disk(part) == []
    server.requests.clear()
    refused(server, part, code(429, Retry_After="3600"), match="asks to wait 3600 s")
    assert len(server.requests) == 1


def test_passing_trouble_in_the_middle_keeps_the_part(server, part):
    answers = [file(DATA, A, cut=200_000), code(500), code(500), file(DATA, A, cut=300_000), code(500), file(DATA, A)]
    fetch(server, part, *answers)
    assert part.read_bytes() == DATA and all(server.ranges[1:])


def test_redirects(server, part):
    fetch(
        server, part, code(302, Location="/there"), code(307, Location=server.url + "/x/../../evil.pt"), file(DATA, A)
    )
    assert part.read_bytes() == DATA and on_disk(part) == BOTH
    downloads.discard(part)
    secret = part.parent.parent / "secret.txt"
    secret.write_text("secret")
    for target in (secret.as_uri(), "ftp://127.0.0.1/x", "data:,x", "gopher://127.0.0.1/"):
        refused(server, part, code(302, Location=target), match="elsewhere than to http")
        assert on_disk(part) == []
    refused(server, part, code(302, Location="/round"), match="in a circle")
    assert on_disk(part) == []


def test_names_from_the_server_are_ignored(server, part):
    fetch(server, part, file(DATA, A, Content_Disposition='attachment; filename="../../evil.pt"'))
    assert on_disk(part) == BOTH and not (part.parent.parent / "evil.pt").exists()


def test_compressed_answers_are_refused(server, part):
    refused(server, part, file(DATA, A, Content_Encoding="gzip"), match="compressed")
    assert on_disk(part) == [] and server.requests[0][1]["accept-encoding"] == "identity"


def test_a_server_that_hangs(server, part, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", (0.2, 0.2))
    refused(server, part, hanging(DATA, 200_000), match="did not answer in time, 3 times", hashed=True)
    assert DATA.startswith(part.read_bytes()) and on_disk(part) == BOTH
    fetch(server, part, file(DATA), hashed=True)
    assert part.read_bytes() == DATA


def test_no_server(server, part):
    gone = Url(kind="url", url="http://127.0.0.1:9/x")
    refused(server, part, source=gone, match=r"no connection to the server \(is there a network\?\), 3 times")
    assert on_disk(part) == []


def test_interrupted_by_the_user(server, part, monkeypatch):
    ticks = iter(range(3))

    def interrupt(tracker, n=1):
        if next(ticks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(downloads.Tracker, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, part, file(DATA, A))
    have = part.stat().st_size
    assert have == 4 * downloads.CHUNK and part.read_bytes() == DATA[:have] and on_disk(part) == BOTH
    monkeypatch.undo()
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    fetch(server, part, file(DATA, A))
    assert part.read_bytes() == DATA and server.ranges == [None, f"bytes={have}-"]


def test_disk_full(server, part, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(downloads.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(399_999))
        refused(server, part, file(DATA, A), match="0 MB are free")
        assert on_disk(part) == []

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.undo()
        patch.setattr(downloads.os, "fsync", full)
        error = refused(server, part, file(DATA, A), match="No space left on the disk")
    assert part.read_bytes() == DATA and on_disk(part) == BOTH and "goes on where it stopped" in error.hint


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written(server, part):
    part.parent.chmod(0o500)
    refused(server, part, file(DATA, A), match="cannot be written")
    part.parent.chmod(0o700)


def test_progress_counts_megabytes_and_what_was_there(server, part, monkeypatch):
    made = []
    monkeypatch.setattr(downloads, "MEGABYTE", 1000)
    original = downloads.track

    def tracked(*args, **options):
        made.append((args, options))
        return original(*args, **options)

    monkeypatch.setattr(downloads, "track", tracked)
    counted = []
    monkeypatch.setattr(downloads.Tracker, "close", lambda tracker: counted.append((tracker.done, tracker.total)))
    refused(server, part, file(DATA, A, cut=200_000), match="3 times")
    have = part.stat().st_size // 1000
    fetch(server, part, file(DATA, A))
    assert made[0] == ((None, "net.pt"), {"unit": "MB", "done": 0}) and made[1][1]["done"] == have
    assert counted == [(have, 400), (400, 400)]


def test_two_processes_do_not_write_one_part(tmp_path):
    target = tmp_path / "net.pt"
    caught = []

    def second():
        try:
            with downloads.alone(target):
                caught.append(None)
        except DfdError as error:
            caught.append(error)

    with downloads.alone(target) as part:
        assert part == tmp_path / "net.pt.part"
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(5)
    assert "another process is getting this file" in caught[0].message
    second()
    assert caught[1] is None


@pytest.mark.parametrize("seed", range(25))
def test_whatever_a_server_does_no_two_versions_are_mixed(server, part, seed):
    """Random misbehaviour: what is whole is one of the versions, and what is kept is the beginning of one."""
    dice = random.Random(seed)
    versions = {etag: random.Random(seed + i).randbytes(300_000 + 10_000 * i) for i, etag in enumerate((A, B, '"c"'))}

    def misbehave():
        etag = dice.choice(list(versions))
        data, cut = versions[etag], dice.choice([None, 0, 1, dice.randrange(300_000), dice.randrange(300_000)])
        return dice.choice(
            [
                file(data, etag, cut=cut),
                file(data, etag, cut=cut, if_range=False),
                file(data, etag, cut=cut, ranges=False, reset=True),
                file(data, cut=cut, if_range=False),
                chunked(data, etag, whole=cut is None),
                code(dice.choice([408, 416, 429, 500, 503])),
                code(206, data[5:], ETag=etag, Content_Range=f"bytes 5-{len(data) - 1}/{len(data)}"),
            ]
        )

    for _ in range(3):
        try:
            fetch(server, part, *(misbehave() for _ in range(dice.randrange(1, 7))))
        except DfdError:
            if part.exists():
                assert any(data.startswith(part.read_bytes()) for data in versions.values())
        else:
            assert part.read_bytes() in versions.values()
            return
    last = dice.choice(list(versions))
    fetch(server, part, file(versions[last], last))
    assert part.read_bytes() in versions.values()


DRIVE = GoogleDrive(kind="google-drive", id="1abcDEF_-ghijk")
WARNING = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form action="http://127.0.0.1:9/search"><input type="hidden" name="q" value="no"></form>
<form id="download-form" action="http://127.0.0.1:9/evil" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="otherfile00"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="ab-12&amp;x"></form></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><p>
Sorry, you can't view or download this file at this time.</p>
Too many users have viewed or downloaded this file recently.
</body></html>"""
LOGIN = "<!doctype html><html><head><title>Google Drive: Sign in</title></head><body>Sign in to continue</body></html>"


@pytest.fixture
def drive(server, monkeypatch):
    monkeypatch.setattr(downloads, "GOOGLE_DRIVE", f"{server.url}/download")
    return server


def test_google_drive(drive, part):
    fetch(drive, part, file(DATA, cut=200_000, Last_Modified=DATE), file(DATA, Last_Modified=DATE), source=DRIVE)
    assert part.read_bytes() == DATA
    assert drive.requests[0][0] == "/download?id=1abcDEF_-ghijk&export=download&confirm=t"


def test_google_drive_that_wants_to_be_asked_twice(drive, part):
    first, second = file(DATA, A, cut=200_000), file(DATA, A)
    fetch(drive, part, page(WARNING), first, page(WARNING), second, source=DRIVE)
    assert part.read_bytes() == DATA and drive.ranges[2] == drive.ranges[3] is not None
    asked = {"/download?id=1abcDEF_-ghijk&export=download&confirm=t&uuid=ab-12%26x"}
    assert {path for path, _ in drive.requests[1::2]} == asked
    downloads.discard(part)
    refused(drive, part, page(WARNING), source=DRIVE, match="'Google Drive - Virus scan warning'")
    assert on_disk(part) == []


@pytest.mark.parametrize(("text", "words"), [(QUOTA, "quota"), (LOGIN, "not shared"), (PAGES[0], "web page")])
def test_google_drive_answers_with_a_page(drive, part, text, words):
    error = refused(drive, part, page(text), source=DRIVE, match=words)
    assert on_disk(part) == [] and DRIVE.id in error.message and "BY HAND" in error.hint
    refused(drive, part, file(DATA, A, cut=200_000), page(text), source=DRIVE, match=words)
    assert part.stat().st_size and DATA.startswith(part.read_bytes())


def test_google_drive_forbids(drive, part):
    error = refused(drive, part, page(LOGIN, 403), source=DRIVE, match="not shared with everybody")
    assert f"/file/d/{DRIVE.id}/view" in error.hint and on_disk(part) == []


HUB = HuggingFace(kind="huggingface", repo="owner/net.v1", file="sub/model.safetensors", revision="refs/pr/1")


def test_hugging_face(server, part, monkeypatch):
    monkeypatch.setattr(downloads, "HUGGING_FACE", server.url)
    there = code(302, Location=f"{server.url}/cdn?sig=1")
    fetch(server, part, there, file(DATA, A, cut=200_000), there, file(DATA, A), source=HUB)
    assert part.read_bytes() == DATA and server.ranges[3] is not None
    assert server.requests[0][0] == "/owner/net.v1/resolve/refs%2Fpr%2F1/sub/model.safetensors"


@pytest.mark.parametrize("number", [401, 403])
def test_gated_hugging_face(server, part, monkeypatch, number):
    monkeypatch.setattr(downloads, "HUGGING_FACE", server.url)
    error = refused(server, part, code(number, X_Error_Code="GatedRepo"), source=HUB, match="consent to terms")
    assert "https://huggingface.co/owner/net.v1" in error.hint and on_disk(part) == []
    error = refused(server, part, code(number, X_Error_Code="RepoNotFound"), source=HUB, match="not public")
    assert "agree" not in error.hint
