"""Weights: states, the lock, and getting them; after each, what lies on disk."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import fileserver
import pytest
import yaml
from fileserver import code, file, page
from typer.testing import CliRunner

from dfdlib import cli, digests, weights
from dfdlib.detectors import card as cards
from dfdlib.errors import DfdError

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
HASH = digests.of_bytes(DATA)
FORM = {"kind": "form", "url": "https://example.org/form", "note": "Ask for access"}
SOURCES = {
    "google-drive": {"kind": "google-drive", "id": "1abcDEF_-ghijk"},
    "huggingface": {"kind": "huggingface", "repo": "owner/net", "file": "a/model.pt", "revision": "0a1b2c"},
    "url": {"kind": "url", "url": "https://example.org/net.pt"},
    "form": FORM,
    "shipped": {"kind": "shipped"},
    "local": {"kind": "local"},
}


@pytest.fixture
def server(monkeypatch):
    fileserver.hasten(monkeypatch)
    with fileserver.serving() as running:
        running.answers[:] = [file(DATA, '"a"')]
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The weights folder; the lock lies beside it."""
    monkeypatch.setenv("DFD_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setattr(weights, "LOCK", tmp_path / "weights" / "lock.yaml")
    return tmp_path / "home"


@pytest.fixture
def make(tmp_path):
    """Makes a card; keys are those of `weights`, and `name`."""
    count = iter(range(100))

    def made(name="net", **changes) -> cards.Card:
        file = {"source": SOURCES["url"], "file": "net.pt", "sha256": HASH, "bytes": len(DATA), "licence": "CC-BY-NC"}
        values = {
            "schema": 1,
            "name": name,
            "family": "cnn",
            "summary": "None.",
            "architecture": "cnn3",
            "weights": {**file, **changes},
            "input": {"size": [8, 8], "resize": {"mode": "exact"}},
            "output": {"kind": "logit", "positive": "fake"},
            "trained_on": "nothing",
        }
        folder = tmp_path / f"card {next(count)}"
        folder.mkdir()
        (folder / "card.yaml").write_text(yaml.safe_dump(values))
        return cards.read(folder / "card.yaml")

    return made


@pytest.fixture
def net(make, server):
    """Makes a card whose file the server has."""
    return lambda **changes: make(source={"kind": "url", "url": f"{server.url}/net"}, **changes)


def on_disk(home):
    """The weights folder's files, without those that only serve as locks between processes."""
    return {path.name: path.read_bytes() for path in home.glob("*") if not path.name.startswith(".")}


def lock():
    return yaml.safe_load(weights.LOCK.read_text()) if weights.LOCK.exists() else {}


def refused(action, *args, match):
    with pytest.raises(DfdError, match=match) as caught:
        action(*args)
    return caught.value


def silent(_):
    pass


# --- cards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOURCES)
def test_where_files_belong(make, home, kind):
    card = make(source=SOURCES[kind])
    expected = {"shipped": weights.SHIPPED_WEIGHTS / "net.pt", "local": card.path.parent / "net.pt"}
    assert weights.locate(card) == expected.get(kind, home / "net.pt")
    assert card.as_dict()["weights"]["source"] == {"note": "", **SOURCES[kind]}
    assert next(iter(card.as_dict()["weights"]["source"])) == "kind"


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../net.pt"},
        {"file": "a/net.pt"},
        {"file": "a\\net.pt"},
        {"file": "C:net.pt"},
        {"file": "/etc/passwd"},
        {"file": ".."},
        {"file": ".hidden"},
        {"file": ""},
        {"file": "net.pt\n"},
        {"file": "net\0.pt"},
        {"file": "net.pt.part"},
        {"file": "lock.yaml"},
        {"file": "net. "},
        {"sha256": HASH.upper()},
        {"sha256": HASH + "\n"},
        {"bytes": 0},
        {"source": {"kind": "ftp"}},
        {"source": {}},
        {"source": {**SOURCES["shipped"], "url": "https://example.org/x"}},
        {"source": {"kind": "google-drive", "id": "a/../../../b"}},
        {"source": {"kind": "google-drive", "id": "short"}},
        {"source": {**SOURCES["huggingface"], "repo": "owner"}},
        {"source": {**SOURCES["huggingface"], "repo": "owner/.."}},
        {"source": {**SOURCES["huggingface"], "file": "../x"}},
        {"source": {**SOURCES["huggingface"], "file": "a//x"}},
        {"source": {**SOURCES["huggingface"], "revision": ""}},
        {"source": {k: v for k, v in SOURCES["huggingface"].items() if k != "revision"}},
        {"source": {"kind": "url", "url": "ftp://example.org/x"}},
        {"source": {"kind": "url", "url": "file:///etc/passwd"}},
        {"source": {"kind": "url", "url": "https://user:secret@example.org/x"}},
        {"source": {"kind": "form", "url": "https://example.org/form"}},
        {"source": {"kind": "shipped"}, "sha256": None},
    ],
)
def test_unsafe_or_unclear_cards_are_refused(make, changes):
    assert "not a valid card: weights" in refused(lambda: make(**changes), match="not a valid card").message


def test_a_card_must_say_that_there_is_no_hash(make):
    card = make(sha256=None, bytes=None)
    values = card.as_dict()
    for key in ("sha256", "bytes"):
        left = {**values, "weights": {k: v for k, v in values["weights"].items() if k != key}}
        with pytest.raises(ValueError, match=key):
            cards.Card.model_validate(left)


# --- getting -------------------------------------------------------------------------------------------------------


def test_get_verify_and_get_again(net, server, home):
    card, said = net(), []
    assert weights.status(card).state == "missing"
    assert weights.get(card, said.append) == home / "net.pt" == weights.checked(card)
    assert on_disk(home) == {"net.pt": DATA} and lock() == {}
    assert "CC-BY-NC" in said[0]
    weights.get(card, said.append)
    assert len(server.requests) == 1


def test_licence_comes_before_the_download(net, server):
    heard = []

    def say(line):
        heard.append((line, len(server.requests)))

    weights.get(net(), say)
    assert heard[0] == ("net: licence of the weights: CC-BY-NC", 0)


def test_resumed_downloads_end_with_the_right_file(net, server, home):
    card = net()
    server.answers[:] = [file(DATA, '"a"', cut=150_000)]
    refused(weights.get, card, silent, match="broke off")
    left = on_disk(home)
    assert sorted(left) == ["net.pt.part", "net.pt.part.json"] and DATA.startswith(left["net.pt.part"])
    assert weights.status(card).state == "missing"
    server.answers[:] = [file(DATA, '"a"')]
    weights.get(card, silent)
    assert on_disk(home) == {"net.pt": DATA} and server.ranges[-1] == f"bytes={len(left['net.pt.part'])}-"


@pytest.mark.parametrize("size", [len(DATA), None])
def test_other_bytes_never_become_weights(net, server, home, size):
    card = net(bytes=size)
    server.answers[:] = [file(OTHER)]
    error = refused(weights.get, card, silent, match="is not that of 'net'")
    assert digests.of_bytes(OTHER) in error.message and HASH in error.message and "not kept" in error.hint
    assert on_disk(home) == {} and lock() == {}
    server.answers[:] = [file(OTHER[:-1])]
    refused(weights.get, card, silent, match="299,999 bytes" if size else "is not that")
    assert on_disk(home) == {}


def test_two_versions_without_an_etag_do_not_pass(net, server, home):
    server.answers[:] = [file(OTHER, cut=150_000), file(DATA)]
    refused(weights.get, net(), silent, match="is not that of 'net'")
    assert server.ranges[1] is not None and on_disk(home) == {}
    weights.get(net(), silent)
    assert on_disk(home) == {"net.pt": DATA}


def test_a_page_never_becomes_weights(net, server, home):
    for changes in ({}, {"sha256": None, "bytes": None}):
        server.answers[:] = [page("<!doctype html><title>no</title>")]
        error = refused(weights.get, net(**changes), silent, match="web page")
        assert on_disk(home) == {} and lock() == {} and "--from FILE" in error.hint
        server.answers[:] = [page("<html>", kind="application/octet-stream")]
        refused(weights.get, net(**changes), silent, match="web page" if changes else "6 bytes, 300,000 are expected")
        assert on_disk(home) == {} and lock() == {}


def test_an_empty_file_never_becomes_weights(net, server, home):
    server.answers[:] = [file(b"")]
    refused(weights.get, net(sha256=None, bytes=None), silent, match="empty")
    assert on_disk(home) == {} and lock() == {}


def test_what_lies_there_is_never_replaced_by_a_download(net, server, home):
    home.mkdir()
    for card, content, words in (
        (net(), OTHER, "changed"),
        (net(), b"short", "changed"),
        (net(sha256=None), DATA, "unverified"),
    ):
        (home / "net.pt").write_bytes(content)
        refused(weights.get, card, silent, match=words)
        assert on_disk(home) == {"net.pt": content}
    assert server.requests == []


@pytest.mark.parametrize("number", [401, 403, 404])
def test_refusals_name_the_other_way(net, server, home, number):
    server.answers[:] = [code(number)]
    card = net()
    error = refused(weights.get, card, silent, match=str(number))
    assert f"dfd weights get '{card.path}' --from FILE" in error.hint and on_disk(home) == {}


@pytest.mark.parametrize("kind", ["form", "local", "shipped"])
def test_kinds_without_a_download(make, server, home, kind):
    card = make(source=SOURCES[kind], file="not-there.pt")
    error = refused(weights.get, card, silent, match="not for download")
    state = weights.status(card)
    assert error.hint == state.remedy and state.state == "missing"
    words = {"form": ["https://example.org/form", "--from FILE"], "local": ["--from FILE"], "shipped": ["git checkout"]}
    assert all(word in state.remedy for word in words[kind])
    assert kind != "form" or "Ask for access" in error.message
    assert server.requests == [] and on_disk(home) == {}


def test_folder_that_cannot_be_made(net, home):
    home.write_text("a file")
    assert "DFD_WEIGHTS" in refused(weights.get, net(), silent, match="cannot be written").hint


# --- bringing a file -----------------------------------------------------------------------------------------------


def test_bring_a_file(make, home, tmp_path):
    card, brought, said = make(source=FORM), tmp_path / "download (1).bin", []
    refused(weights.install, card, brought, silent, match="no such file")
    brought.write_bytes(OTHER)
    refused(weights.install, card, brought, silent, match="is not that of 'net'")
    assert on_disk(home) == {}
    brought.write_bytes(DATA)
    assert weights.install(card, brought, said.append) == home / "net.pt" == weights.checked(card)
    assert on_disk(home) == {"net.pt": DATA} and lock() == {} and brought.read_bytes() == DATA
    assert "CC-BY-NC" in said[0]
    weights.install(card, home / "net.pt", silent)  # the very file
    assert on_disk(home) == {"net.pt": DATA}


def test_bring_a_file_over_a_wrong_one(make, home, tmp_path):
    card, brought = make(source=FORM), tmp_path / "brought"
    home.mkdir()
    (home / "net.pt").write_bytes(OTHER)
    brought.write_bytes(OTHER)
    refused(weights.install, card, brought, silent, match="is not that of")
    refused(weights.install, card, home / "net.pt", silent, match="is not that of")
    assert on_disk(home) == {"net.pt": OTHER}
    brought.write_bytes(DATA)
    weights.install(card, brought, silent)
    assert on_disk(home) == {"net.pt": DATA}


def test_a_page_or_another_size_is_not_taken_without_a_hash(make, home, tmp_path):
    brought = tmp_path / "brought"
    for content, words in ((b"\n<!DOCTYPE html>", "web page"), (b"", "empty"), (DATA[:-1], "the card says 300,000")):
        brought.write_bytes(content)
        refused(weights.install, make(source=FORM, sha256=None), brought, silent, match=words)
        assert on_disk(home) == {} and lock() == {}


# --- the lock ------------------------------------------------------------------------------------------------------


def test_the_first_download_is_recorded_and_binds(net, make, server, home):
    card, said = net(sha256=None, bytes=None), []
    refused(lambda: card.digest, match="neither the card nor weights/lock.yaml states their sha256")
    weights.get(card, said.append)
    source = {"kind": "url", "url": f"{server.url}/net"}
    entry = {"file": "net.pt", "sha256": HASH, "bytes": 300_000, "source": source, "recorded": "download"}
    assert lock() == {"net": entry} and on_disk(home) == {"net.pt": DATA}
    assert any(HASH in line and "recorded" in line for line in said) and "Commit the lock" in said[-1]
    assert weights.sha256(card) == HASH and weights.checked(card) == home / "net.pt"
    assert card.digest == make(sha256=HASH).digest  # who states the hash makes no difference
    text = weights.LOCK.read_text()
    (home / "net.pt").unlink()
    server.answers[:] = [file(OTHER)]
    error = refused(weights.get, card, silent, match="by weights/lock.yaml")
    assert HASH in error.message and on_disk(home) == {} and weights.LOCK.read_text() == text
    server.answers[:] = [file(DATA)]
    weights.get(card, silent)
    assert on_disk(home) == {"net.pt": DATA} and weights.LOCK.read_text() == text
    (home / "net.pt").write_bytes(OTHER)
    refused(weights.checked, card, match=r"changed \(sha256 is not that of weights/lock.yaml\)")
    (home / "net.pt").write_bytes(OTHER[:5])
    refused(weights.checked, card, match="weights/lock.yaml says 300,000")


def test_a_brought_file_is_recorded_as_such(make, home, tmp_path):
    card, brought, said = make(source=FORM, sha256=None, bytes=None), tmp_path / "brought", []
    brought.write_bytes(DATA)
    weights.install(card, brought, said.append)
    assert lock()["net"]["recorded"] == "file" and lock()["net"]["sha256"] == HASH and on_disk(home) == {"net.pt": DATA}
    assert lock()["net"]["source"] == {"kind": "form", "url": FORM["url"]}
    assert "your word alone" in said[-1]
    brought.write_bytes(OTHER)
    refused(weights.install, card, brought, silent, match="is not that of 'net'")
    assert on_disk(home) == {"net.pt": DATA} and lock()["net"]["sha256"] == HASH


def test_a_file_that_nobody_recorded_is_not_used(make, home):
    card = make(sha256=None, bytes=None)
    home.mkdir()
    (home / "net.pt").write_bytes(DATA)
    state = weights.status(card)
    assert state.state == "unverified" and weights.status(card, hash_file=False).state == "unverified"
    error = refused(weights.checked, card, match="unverified")
    command = f"dfd weights get '{card.path}' --from {home / 'net.pt'}"
    assert command in error.hint and command in refused(lambda: card.digest, match="neither").hint
    weights.install(card, home / "net.pt", silent)
    assert weights.checked(card) == home / "net.pt" and lock()["net"]["sha256"] == HASH
    assert on_disk(home) == {"net.pt": DATA}


def test_the_lock_is_sorted_readable_and_kept(net, home):
    for name in ("zeta", "alpha", "mid"):
        weights.get(net(name=name, sha256=None, file=f"{name}.pt"), silent)
    text = weights.LOCK.read_text()
    assert list(lock()) == ["alpha", "mid", "zeta"] and text.startswith("# Weights whose authors publish no sha256")
    assert list(lock()["mid"]) == ["file", "sha256", "bytes", "source", "recorded"]
    assert [path.name for path in weights.LOCK.parent.iterdir()] == ["lock.yaml"]


def test_the_card_s_own_hash_comes_first(make, home):
    weights.LOCK.parent.mkdir()
    entry = {"file": "net.pt", "sha256": "0" * 64, "bytes": 1, "source": SOURCES["url"], "recorded": "download"}
    weights.LOCK.write_text(yaml.safe_dump({"net": entry}))
    assert weights.sha256(make()) == HASH and weights.sha256(make(sha256=None, bytes=None)) == "0" * 64


@pytest.mark.parametrize(
    "changes",
    [{"file": "b.pt"}, {"source": SOURCES["google-drive"]}, {"bytes": 5}, {"source": {**FORM, "url": "https://x.org"}}],
)
def test_a_record_of_another_card_does_not_count(make, home, tmp_path, changes):
    brought = tmp_path / "brought"
    brought.write_bytes(DATA)
    weights.install(make(source=FORM, sha256=None), brought, silent)
    other = make(**{"source": FORM, "sha256": None, **changes})
    (home / other.weights.file).write_bytes(DATA)
    refused(lambda: other.digest, match="recorded as another file, size or source")
    assert weights.status(other).state == "unverified" and "remove that entry" in weights.status(other).remedy
    refused(weights.checked, other, match="unverified")
    same = make(source={**FORM, "note": "said otherwise"}, sha256=None)
    assert weights.sha256(same) == HASH


@pytest.mark.parametrize("text", ["- a", "net: 5", "net: {sha256: abc}", "a: [", "\xff", "net: {file: a, x: 1}"])
def test_a_broken_lock_is_told(make, home, text):
    weights.LOCK.parent.mkdir()
    weights.LOCK.write_bytes(text.encode("latin-1"))
    refused(weights.sha256, make(sha256=None), match="not a valid lock")
    assert weights.sha256(make()) == HASH


def test_a_lock_that_cannot_be_read(make, home):
    weights.LOCK.mkdir(parents=True)
    refused(weights.sha256, make(sha256=None), match=r"lock.yaml: (cannot be read|not a valid lock)")


def test_an_empty_lock_is_a_lock(make, home):
    weights.LOCK.parent.mkdir()
    weights.LOCK.write_text("# nothing yet\n")
    assert weights.identity(make(sha256=None)) is None


def test_the_lock_is_read_again_only_when_it_changed(net, home, monkeypatch):
    card = net(sha256=None)
    weights.get(card, silent)
    first = card.digest
    with monkeypatch.context() as patch:
        patch.setattr(weights.yaml, "safe_load", lambda _: pytest.fail("read again"))
        assert card.digest == first
    weights.LOCK.write_text(weights.LOCK.read_text().replace(HASH, "a" * 64))
    assert weights.sha256(card) == "a" * 64 and card.digest != first


def test_a_lock_that_cannot_be_written_leaves_the_part(net, server, home, monkeypatch):
    def read_only(_):
        raise PermissionError("read-only")

    card = net(sha256=None)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "written_whole", read_only)
        refused(weights.get, card, silent, match="lock.yaml: cannot be written")
    assert sorted(on_disk(home)) == ["net.pt.part", "net.pt.part.json"] and lock() == {}
    weights.get(card, silent)
    assert on_disk(home) == {"net.pt": DATA} and len(server.requests) == 1


def test_two_at_once_lose_no_record(net, home):
    given = [net(name=f"n{i}", sha256=None, file=f"n{i}.pt") for i in range(6)]
    threads = [threading.Thread(target=weights.get, args=(card, silent)) for card in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert list(lock()) == [card.name for card in given] and len(on_disk(home)) == 6


def test_a_file_recorded_meanwhile_by_another_process(make, home, tmp_path):
    card, brought = make(sha256=None, source=FORM), tmp_path / "brought"
    brought.write_bytes(OTHER)
    original = weights._entry

    def meanwhile(*args, **options):
        entry = original(*args, **options)
        weights._record("net", entry.model_copy(update={"sha256": HASH}), silent)
        return entry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_entry", meanwhile)
        refused(weights.install, card, brought, silent, match="another process just recorded another file")
    assert on_disk(home) == {} and lock()["net"]["sha256"] == HASH


# --- the command line ----------------------------------------------------------------------------------------------


def dfd(*words):
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if isinstance(result.exception, DfdError):
        return str(result.exception)
    assert result.exception is None, result.exception
    return result.output


def test_commands(net, make, server, home, tmp_path):
    card = net(sha256=None)
    assert "missing" in dfd("weights", "verify", card.path)
    text = dfd("weights", "get", card.path)
    assert "CC-BY-NC" in text and str(home / "net.pt") in text and "Commit the lock" in text
    assert f"has sha256 {HASH}, as weights/lock.yaml says" in dfd("weights", "verify", card.path)
    assert "as the card says" in dfd("weights", "verify", make().path)
    (home / "net.pt").write_bytes(OTHER)
    assert "changed" in dfd("weights", "verify", card.path) and "changed" in dfd("weights", "get", card.path)
    (tmp_path / "mine").write_bytes(DATA)
    assert str(home / "net.pt") in dfd("weights", "get", card.path, "--from", tmp_path / "mine")
    assert on_disk(home) == {"net.pt": DATA}


def test_list_shows_every_state_and_its_remedy(net, home, monkeypatch):
    made = {
        f"n{i}": net(name=f"n{i}", file=f"n{i}.pt", sha256=hash_) for i, hash_ in enumerate([HASH, HASH, HASH, None])
    }
    home.mkdir()
    for name, content in (("n1", DATA), ("n2", OTHER), ("n3", DATA)):
        (home / f"{name}.pt").write_bytes(content)
    monkeypatch.setattr(cards, "names", lambda: list(made))
    monkeypatch.setattr(cards, "read", made.__getitem__)
    rows = yaml.safe_load(dfd("weights", "list", "--json"))
    assert [row["state"] for row in rows] == ["missing", "ok", "changed", "unverified"]
    assert [bool(row["remedy"]) for row in rows] == [True, False, True, True]
    assert all("dfd weights get" in row["remedy"] for row in rows if row["remedy"])


def test_a_bundled_card_is_called_by_its_name(make, monkeypatch):
    card = make()
    monkeypatch.setattr(cards, "CARDS", card.path.parent)
    card.path.rename(card.path.with_name("net.yaml"))
    assert weights.status(cards.read("net")).remedy == "dfd weights get net"


def test_reading_cards_and_digests_needs_neither_torch_nor_requests(make):
    program = (
        "import sys; from dfdlib.detectors import card; card.read(sys.argv[1]).digest; "
        "sys.exit(bool({'torch', 'requests', 'filelock', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program, make().path], timeout=60).returncode == 0
